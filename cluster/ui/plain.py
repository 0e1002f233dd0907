"""Output without a terminal: one plain line when something changed."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.ui.format import MARKS, TITLE_WIDTH, in_words, one_line, printable, seconds, summary
from cluster.ui.output import StepLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.errors import SetupError
REMIND_SECONDS = 10
"""After this time a step prints its progress, and again each time it has passed."""


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
    def step(self, title: str) -> Iterator[StepLine]:
        """See ``Output``. A long step prints its progress now and then."""
        step = StepLine(title)
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
