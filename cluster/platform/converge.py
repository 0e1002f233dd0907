"""Runs the steps: what can overlap does, every wait names what it waits for, and the first error stops the rest."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.ui.format import seconds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.platform.handles import Handles
    from cluster.platform.steps.base import Step
    from cluster.ui.output import Output

POLL_SECONDS = 0.25


def converge(steps: Sequence[Step], handles: Handles, output: Output) -> dict[str, float]:
    """Make every step's fact true, and return the seconds that each change took; what was true already is not among them.

    :raises SetupError: the first one that a step raises; what was done stays, and the next ``up`` goes on from there.
    """
    by_title = {step.title: step for step in steps}
    graph = TopologicalSorter({step.title: [need for need in step.needs if need in by_title] for step in steps})
    graph.prepare()
    changed: dict[str, float] = {}
    stopped = threading.Event()
    running: dict[Future[float], str] = {}
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            while graph.is_active():
                running |= {pool.submit(_one, by_title[title], handles, output, stopped): title for title in graph.get_ready()}
                done, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in done:
                    title = running.pop(future)
                    taken = future.result()
                    if taken:
                        changed[title] = taken
                    graph.done(title)
        except BaseException:
            stopped.set()
            raise
    return changed


def _one(step: Step, handles: Handles, output: Output, stopped: threading.Event) -> float:
    """Make one fact true, and return how long that took; 0 where it was true already."""
    if _pending(step, handles) is None:
        return 0
    began = time.monotonic()
    with output.step(step.title) as shown:
        shown.timed = True

        def say(text: str) -> None:
            if stopped.is_set():
                raise SetupError(
                    "E-STOPPED", f"{step.title} was stopped, because another step failed.", hint="invoke up goes on from here."
                )
            shown.detail = text

        done = step.apply(handles, say)
        _until(step, handles, say)
        shown.detail = done
    return time.monotonic() - began


def _pending(step: Step, handles: Handles) -> str | None:
    """Look once. What cannot be looked at yet is pending, with that reason."""
    try:
        return step.pending(handles)
    except SetupError as error:
        return error.problem.rstrip(".")


def _until(step: Step, handles: Handles, say: object) -> None:
    """Wait until nothing is pending, saying what is.

    :raises SetupError: E-TIMEOUT with the last reason; or what the step raises where waiting is hopeless.
    """
    assert callable(say)
    deadline = time.monotonic() + step.budget
    while why := step.pending(handles):
        say(f"{why} (of at most {seconds(step.budget)})")
        if time.monotonic() > deadline:
            raise SetupError(
                "E-TIMEOUT",
                f"{step.title}: {why}, after {seconds(step.budget)}.",
                hint="invoke status looks again; invoke up goes on from here.",
            )
        time.sleep(POLL_SECONDS)


def look(steps: Sequence[Step], handles: Handles) -> dict[str, str | None]:
    """Look at every fact, without touching anything. What needs a fact that is missing is not looked at."""
    titles = {step.title for step in steps}
    found: dict[str, str | None] = {}
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        while len(found) < len(steps):
            ready = [step for step in steps if step.title not in found and all(need in found for need in step.needs if need in titles)]
            looks = {step.title: pool.submit(_look, step, handles, found) for step in ready}
            found |= {title: look.result() for title, look in looks.items()}
    return {step.title: found[step.title] for step in steps}


def _look(step: Step, handles: Handles, found: dict[str, str | None]) -> str | None:
    blocked = [need for need in step.needs if found.get(need)]
    return f"waiting for {', '.join(blocked)}" if blocked else _pending(step, handles)
