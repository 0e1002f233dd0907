"""The output of commands: events, lines, tables, steps and errors, as a protocol."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.errors import SetupError


class StepLine:
    """A step: ``detail`` is its progress, later its result; ``status`` is a key of ``MARKS``."""

    def __init__(self, title: str) -> None:
        """Begin; the clock runs from now."""
        self.title = title
        self.detail = ""
        self.status = "done"
        self.started = time.monotonic()
        self.took: float | None = None
        """The time to show, if a record has measured it; else the step's own."""
        self.timed = False

    @property
    def seconds(self) -> float:
        """How long it has been running, or took."""
        return time.monotonic() - self.started if self.took is None else self.took

    def result(self, detail: str, status: str = "done") -> None:
        """Set the result."""
        self.detail, self.status = detail, status


def warn(output: Output, source: str, problem: str) -> None:
    """State a warning for a person and for a program. A run goes on."""
    output.line("!", source, problem)
    output.event("warning", source=source, problem=problem)


class Output(Protocol):
    """Where facts go: lines, texts and tables to people, events to programs, steps to both."""

    def event(self, name: str, /, **fields: Any) -> None:
        """State a fact for a program."""

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """State a fact for a person: one line, its state at the left edge."""

    def text(self, text: str = "") -> None:
        """Show a text to a person."""

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """Show rows to a person."""

    def step(self, title: str) -> Any:
        """Return a context manager that yields a ``StepLine`` and shows it until it ends."""

    def error(self, error: SetupError) -> None:
        """Show an error: code and problem, then what to do, on standard error."""
