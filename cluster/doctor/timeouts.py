"""Run work in a thread, with a timeout."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def begin(work: Callable[[], Result]) -> Future[Result]:
    """Start *work* in a daemon thread: a name server that does not answer never returns."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def within(seconds: float, work: Callable[[], Result], otherwise: Result) -> Result:
    """Return the result of *work* if it takes at most *seconds*, else *otherwise*."""
    try:
        return begin(work).result(seconds)
    except TimeoutError:
        return otherwise
