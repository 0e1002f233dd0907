"""Output to a terminal, with rich. The only importer of ``rich``."""

from __future__ import annotations

import textwrap
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.ui.format import MARKS, TITLE_WIDTH, one_line, printable, seconds, summary
from cluster.ui.output import StepLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.live import Live
    from rich.text import Text

    from cluster.errors import SetupError
STYLES = {"✓": "green", "•": "dim", "!": "yellow", "✗": "red", " ": ""}
NARROW = 30
"""A column narrower than this is not worth wrapping into."""


class Terminal:
    """Colours and a moving line on a terminal; what is finished stays on the screen."""

    def __init__(self) -> None:
        """Start with nothing under way."""
        from rich.console import Console
        from rich.spinner import Spinner

        self._console = Console(highlight=False, soft_wrap=True)
        self._spinner = Spinner("dots")
        self._steps: list[StepLine] = []
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
    def step(self, title: str) -> Iterator[StepLine]:
        """See ``Output``. Steps may overlap."""
        from rich.live import Live

        step = StepLine(title)
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
