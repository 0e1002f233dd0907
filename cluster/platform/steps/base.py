"""The protocol of a step: one condition that ``up`` establishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles


class Step(Protocol):
    """One condition that ``up`` establishes."""

    @property
    def title(self) -> str:
        """The name for people."""

    @property
    def ok(self) -> str:
        """The text for people while nothing is pending."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The titles of the steps that come first."""

    @property
    def budget(self) -> float:
        """Seconds until the condition must hold after ``apply``."""

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """Establish the condition, and pass progress to *say*.

        Safe to repeat. Return what was done.
        """

    def pending(self, handles: Handles) -> str | None:
        """Return what is missing, or None. Changes nothing.

        :raises SetupError: waiting cannot help.
        """
