"""Several requests at the same time: the one number of them, and the two ways to wait."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

Item = TypeVar("Item")
Result = TypeVar("Result")
PARALLEL = 8
"""Requests in parallel. The clients keep as many connections at least."""


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Call *work* with each of *items*, a few in parallel, and return the results in order.

    :raises Exception: the first one that *work* raised. Calls that have not begun by then never
        begin.
    """
    with ThreadPoolExecutor(PARALLEL) as pool:
        return list(pool.map(work, items))


def ahead(work: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Yield the results of ``in_parallel``, as the reader takes them: few wait in memory."""
    begun = deque[Future[Result]]()
    with ThreadPoolExecutor(PARALLEL) as pool:
        for item in items:
            begun.append(pool.submit(work, item))
            if len(begun) == 2 * PARALLEL:
                yield begun.popleft().result()
        while begun:
            yield begun.popleft().result()
