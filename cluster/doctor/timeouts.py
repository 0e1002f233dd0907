"""Work that is not waited for any longer than so long."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

Result = TypeVar("Result")


def begin(work: Callable[[], Result]) -> Future[Result]:
    """Begin to work in a thread that need not end: a name server that does not answer cannot be given up otherwise."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def within(seconds: float, work: Callable[[], Result], otherwise: Result) -> Result:
    """Return what comes of *work* within *seconds*, else *otherwise*."""
    try:
        return begin(work).result(seconds)
    except TimeoutError:
        return otherwise
