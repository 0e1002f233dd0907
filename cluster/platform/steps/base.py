"""The protocol of a step: one condition that ``up`` establishes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles

POLL_SECONDS = 0.25


class Step(Protocol):
    """One fact that ``up`` makes true."""

    @property
    def title(self) -> str:
        """What a person reads."""

    @property
    def well(self) -> str:
        """What a person reads where nothing is pending."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The titles of the steps that must come first."""

    @property
    def budget(self) -> float:
        """How many seconds the fact may take to become true after ``apply``."""

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """Make it so, saying what is being done. Safe to repeat. Return what was done."""

    def pending(self, handles: Handles) -> str | None:
        """Say what is still missing, or None. Looks, never touches.

        :raises SetupError: waiting is hopeless.
        """
