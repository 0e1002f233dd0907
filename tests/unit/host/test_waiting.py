"""Waiting with a deadline, on a clock that tests turn."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from cluster.errors import SetupError
from cluster.host.waiting import Clock, until


class ManualClock:
    """A clock that moves only when it is waited on."""

    def __init__(self) -> None:
        self.time = 100.0

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.time += seconds

    def clock(self) -> Clock:
        """Return the form that ``until`` takes."""
        return Clock(lambda: self.time, self.sleep)


def test_waiting_ends_when_nothing_is_pending() -> None:
    """It polls at the interval, and returns as soon as the condition holds."""
    clock = ManualClock()
    reasons = chain(["not created", "starting"], repeat(None))
    until(lambda: next(reasons), seconds=10, poll=2, clock=clock.clock())
    assert clock.time == 104


def test_a_timeout_has_the_last_reason() -> None:
    """The error that the user sees names what was still missing, not what was missing first."""
    clock = ManualClock()
    reasons = chain(["not created"], repeat("its image is pulled"))
    with pytest.raises(SetupError, match="its image is pulled, after 10 s"):
        until(
            lambda: next(reasons),
            seconds=10,
            error=lambda reason: SetupError("E-TIMEOUT", f"MinIO: {reason}, after 10 s.", hint="…"),
            clock=clock.clock(),
        )
    assert 110 < clock.time <= 111


def test_a_deadline_that_has_passed_still_looks_once() -> None:
    """With no time left, a condition that holds is no timeout."""
    until(lambda: None, seconds=-1)
    with pytest.raises(TimeoutError, match="held"):
        until(lambda: "held", seconds=-1)
