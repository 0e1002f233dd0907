"""The output of commands: events, lines, tables, steps and errors, as a protocol."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.errors import SetupError


class StepLine:
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
        """Return a context manager that yields a ``StepLine`` and shows it until it ends."""

    def error(self, error: SetupError) -> None:
        """Show an error: code and problem, then what to do, on standard error."""
