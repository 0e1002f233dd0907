"""Waiting for a condition, with a deadline."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Clock:
    """The time, and how to let it pass. Tests inject one that does not sleep."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


CLOCK = Clock()


def until(
    pending: Callable[[], str | None],
    *,
    seconds: float,
    error: Callable[[str], Exception] = TimeoutError,
    poll: float = POLL_SECONDS,
    clock: Clock = CLOCK,
) -> None:
    """Call *pending* every *poll* seconds until it returns None.

    Until then it returns what is waited for.

    :raises Exception: what *error* makes of the last reason, when *seconds* have passed. *pending*
        is called at least once.
    """
    deadline = clock.now() + seconds
    while (reason := pending()) is not None:
        if clock.now() > deadline:
            raise error(reason)
        clock.sleep(poll)
