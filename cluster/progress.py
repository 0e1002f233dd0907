"""What people and programs see. The only importer of ``rich``.

The left edge answers "is it well?": ``✓`` done, ``•`` nothing to do, a spinner while it runs, ``!`` works but look,
``✗`` stopped. The same facts go to a terminal (rich), to anything else (one plain line when something changed) and to
a program (``--json``: one object per line). The rest of the code states facts and does not know which.
"""

from __future__ import annotations

import json
import os
import re
import sys
import textwrap
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.live import Live
    from rich.text import Text

    from cluster.errors import SetupError

SCHEMA = 1
TITLE_WIDTH = 44
STYLES = {"✓": "green", "•": "dim", "!": "yellow", "✗": "red", " ": ""}
MARKS = {"done": "✓", "unchanged": "•", "warning": "!", "failed": "✗"}
NARROW = 30
"""A column narrower than this is not worth wrapping into."""
HERE = frozenset({"add", "bench", "check", "discover", "new", "select", "test"})
"""Commands of the checkout alone: they know no ``--env``."""
NAMED = "SINGER_ENV"
"""The variable with the environment that ``--env`` has named, as ``SINGER_LAUNCHER`` says how the tool was started."""
REMIND_SECONDS = 10
"""Without a terminal, a step that runs for so long says what it is doing."""


class Step:
    """One thing under way. ``detail`` is what it does now, later what came of it; ``status`` a key of ``MARKS``."""

    def __init__(self, title: str) -> None:
        """Begin; the clock runs from now."""
        self.title = title
        self.detail = ""
        self.status = "done"
        self.started = time.monotonic()
        self.timed = False

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return time.monotonic() - self.started

    def result(self, detail: str, status: str = "done") -> None:
        """Say what came of it."""
        self.detail, self.status = detail, status


class Output(Protocol):
    """Where facts go. ``line``, ``text`` and ``table`` are for people, ``event`` is for programs, steps for both."""

    def event(self, name: str, /, **fields: Any) -> None:
        """State a fact for a program."""

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """State a fact for a person: one line, its state at the left edge."""

    def text(self, text: str = "") -> None:
        """Say something to a person."""

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """Show rows to a person."""

    def step(self, title: str) -> Any:
        """Return a context manager that yields a ``Step`` and shows it until it ends."""

    def error(self, error: SetupError) -> None:
        """Show an error: code and problem, then what to do, on standard error."""


def seconds(value: float) -> str:
    """Return a duration as people read it: one decimal under ten seconds, whole above."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def megabytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    if size < 1000:
        return f"{size:.0f} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def gigabytes(size: float) -> str:
    """Return memory or disk as people read it: one decimal under ten, whole above."""
    return f"{size / 1e9:.1f} GB" if size < 9.95e9 else f"{size / 1e9:,.0f} GB"


def now() -> str:
    """Return the time as RFC 3339, UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def command(words: str) -> str:
    """Return one of our commands as it runs when typed: with ``./`` when the tool was started so, and with the same ``--env``."""
    named = os.environ.get(NAMED)
    also = f" --env {named}" if named and words.split(maxsplit=1)[0] not in HERE else ""
    return f"{os.environ.get('SINGER_LAUNCHER') or 'invoke'} {words}{also}"


@contextmanager
def elsewhere(env: str) -> Iterator[None]:
    """Let the commands that the body prints be those of another environment than ``--env`` has named."""
    named = os.environ.get(NAMED, "")
    os.environ[NAMED] = env
    try:
        yield
    finally:
        os.environ[NAMED] = named


STYLING = re.compile(r"\x1b\[[0-9;:]*m")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""What a terminal obeys instead of showing it: control characters, and those that turn the direction of what follows."""


def printable(text: str) -> str:
    """Return *text* as it can go to a terminal: colours left out, what would move the cursor or fill the clipboard made visible.

    Connectors and stores say what they like: their logs, names and errors are shown, never obeyed.
    """
    return ACTING.sub(lambda found: found[0].encode("unicode_escape").decode(), STYLING.sub("", text))


def one_line(text: str) -> str:
    """Return *text* as ``printable`` does, in one line: nobody's words begin a line that looks like one of ours."""
    return printable(" ".join(text.split("\n")))


def shown(path: Path) -> str:
    """Return *path* relative to where the user is, if it is below, else whole."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)


class Plain:
    """Lines without colour or cursor movement: for pipes, files and CI."""

    def event(self, name: str, /, **fields: Any) -> None:
        """Programs read ``--json``."""

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """See ``Output``."""
        print(f"{mark} {one_line(title):<{TITLE_WIDTH}}  {one_line(detail)}".rstrip(), flush=True)

    def text(self, text: str = "") -> None:
        """See ``Output``."""
        print(printable(text), flush=True)

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """See ``Output``."""
        lines = [[one_line(cell) for cell in line] for line in [*([headers] if any(headers) else []), *rows]]
        widths = [max(len(line[column]) for line in lines) for column in range(len(headers))]
        for line in lines:
            print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip(), flush=True)

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """See ``Output``. A long step says now and then what it is doing."""
        step = Step(title)
        ended = threading.Event()

        def remind() -> None:
            while not ended.wait(REMIND_SECONDS):
                self.line(" ", step.title, " · ".join(filter(None, (step.detail, seconds(step.seconds)))))

        reminder = threading.Thread(target=remind, daemon=True)
        reminder.start()
        try:
            yield step
        except BaseException:
            step.status = "failed"
            raise
        finally:
            ended.set()
            reminder.join()
            self.line(MARKS[step.status], step.title, summary(step))

    def error(self, error: SetupError) -> None:
        """See ``Output``."""
        error.prepare()
        print(f"\n{in_words(error)}", file=sys.stderr, flush=True)


def in_words(error: SetupError) -> str:
    """Return an error as people read it."""
    return printable(f"{error.code}  {error.problem}\n→ {error.hint}")


def summary(step: Step) -> str:
    """Say what came of a step, and how long it took where that is worth knowing."""
    time_taken = seconds(step.seconds) if step.seconds >= 1 or step.timed else ""
    return ", ".join(filter(None, (step.detail, time_taken)))


class Terminal:
    """Colours and a moving line on a terminal; what is finished stays on the screen."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        from rich.console import Console
        from rich.spinner import Spinner

        self._console = Console(highlight=False, soft_wrap=True)
        self._spinner = Spinner("dots")
        self._steps: list[Step] = []
        self._live: Live | None = None
        self._lock = threading.RLock()

    def event(self, name: str, /, **fields: Any) -> None:
        """Programs read ``--json``."""

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """See ``Output``."""
        indent = TITLE_WIDTH + 4
        room = self._console.width - indent
        detail = one_line(detail)
        lines = textwrap.wrap(detail, room, break_long_words=False, break_on_hyphens=False) if room >= NARROW else [detail]
        self._console.print(self._row(mark, title, ("\n" + " " * indent).join(lines)))

    def _row(self, mark: str, title: str, detail: str, *, width: int | None = None) -> Text:
        from rich.text import Text

        row = Text()
        row.append(mark, style=STYLES.get(mark, "cyan"))
        row.append(f" {one_line(title):<{TITLE_WIDTH}}  ")
        row.append(printable(detail), style="dim" if mark in {"✓", "•"} else "")
        if width:
            row.truncate(width, overflow="ellipsis")
        return row

    def text(self, text: str = "") -> None:
        """See ``Output``."""
        self._console.print(printable(text), markup=False)

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """See ``Output``."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim", show_header=any(headers))
        for column, header in enumerate(headers):
            # What one copies from the first column, such as a run's id, is never cut.
            least = max((len(row[0]) for row in rows), default=0) if column == 0 else None
            table.add_column(Text(one_line(header)), no_wrap=True, min_width=least)
        for row in rows:
            table.add_row(*(Text(one_line(cell)) for cell in row))
        from rich.padding import Padding

        self._console.print(Padding(table, (0, 0, 0, 2)))

    def __rich__(self) -> Any:
        """Draw the steps under way: what ``Live`` asks for, ten times a second."""
        from rich.console import Group

        frame = self._spinner.render(time.monotonic())
        mark = getattr(frame, "plain", "·")
        with self._lock:
            return Group(
                *(
                    self._row(
                        mark,
                        step.title,
                        " · ".join(filter(None, (one_line(step.detail), seconds(step.seconds)))),
                        width=self._console.width,
                    )
                    for step in self._steps
                )
            )

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """See ``Output``. Steps may overlap."""
        from rich.live import Live

        step = Step(title)
        with self._lock:
            self._steps.append(step)
            if self._live is None:
                self._live = Live(self, console=self._console, refresh_per_second=10, transient=True)
                self._live.start()
        try:
            yield step
        except BaseException:
            step.status = "failed"
            raise
        finally:
            with self._lock:
                self._steps.remove(step)
                live = None
                if not self._steps:
                    live, self._live = self._live, None
            if live:
                live.stop()
            self.line(MARKS[step.status], step.title, summary(step))

    def error(self, error: SetupError) -> None:
        """See ``Output``."""
        from rich.console import Console
        from rich.text import Text

        error.prepare()
        console = Console(stderr=True, highlight=False, soft_wrap=True)
        console.print()
        console.print(Text.assemble((error.code, "bold red"), "  ", printable(error.problem)))
        console.print(Text.assemble(("→ ", "bold"), printable(error.hint)))


class Json:
    """One JSON object per line on standard output; errors in words on standard error as well."""

    def __init__(self, always: Mapping[str, str] | None = None) -> None:
        """Lines of several threads do not mix. What is *always* so stands in each of them."""
        self._lock = threading.Lock()
        self._always = dict(always or {})

    def event(self, name: str, /, **fields: Any) -> None:
        """See ``Output``."""
        text = json.dumps({"event": name, "time": now(), "schema": SCHEMA, **self._always, **fields}, default=str)
        with self._lock:
            print(text, flush=True)

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """People read the other forms."""

    def text(self, text: str = "") -> None:
        """People read the other forms."""

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """People read the other forms."""

    @contextmanager
    def step(self, title: str) -> Iterator[Step]:
        """See ``Output``."""
        step = Step(title)
        self.event("step.started", step=title)
        try:
            yield step
        except BaseException:
            step.status = "failed"
            raise
        finally:
            self.event("step.finished", step=title, status=step.status, detail=step.detail, seconds=round(step.seconds, 3))

    def error(self, error: SetupError) -> None:
        """See ``Output``."""
        error.prepare()
        self.event("error", **error.as_dict(), exit_code=error.exit_code)
        print(in_words(error), file=sys.stderr, flush=True)


def choose(*, as_json: bool, env: str = "") -> Output:
    """Return the form that fits: JSON on request, colours on a terminal, else plain lines. Programs are told of an *env* elsewhere."""
    if as_json:
        return Json({"env": env} if env not in {"", "laptop"} else {})
    if sys.stdout.isatty() and os.environ.get("TERM") != "dumb":
        return Terminal()
    return Plain()
