"""Runs the steps in parallel, as far as their needs allow. The first error stops the others."""

from __future__ import annotations

import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, NamedTuple

from cluster.errors import SetupError
from cluster.host.waiting import CLOCK, until
from cluster.ui.command_line import command
from cluster.ui.format import seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.host.waiting import Clock
    from cluster.platform.handles import Handles
    from cluster.platform.steps.base import Step
    from cluster.ui.output import Output

POLL_SECONDS = 0.25


class Taken(NamedTuple):
    """The seconds of a change."""

    seconds: float
    waiting: float
    """How many of them the step waited, such as for a pod, after its own work was done."""


def converge(steps: Sequence[Step], handles: Handles, output: Output, clock: Clock = CLOCK) -> dict[str, Taken]:
    """Establish every step's condition.

    Return the seconds of each change; conditions that held already are not in it.

    :raises SetupError: the first one of a step. What was done stays, and the next ``up`` continues
        from there.
    """
    by_title = {step.title: step for step in steps}
    graph = TopologicalSorter({step.title: [need for need in step.needs if need in by_title] for step in steps})
    graph.prepare()
    changed: dict[str, Taken] = {}
    stopped = threading.Event()
    running: dict[Future[Taken | None], str] = {}
    handles.runtime.keep_answers()
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        try:
            while graph.is_active():
                running |= {pool.submit(_establish, by_title[title], handles, output, stopped, clock): title for title in graph.get_ready()}
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
        finally:
            handles.runtime.forget_answers()
    return changed


def _establish(step: Step, handles: Handles, output: Output, stopped: threading.Event, clock: Clock) -> Taken | None:
    """Establish one condition, and return the seconds; None if it held already."""
    if _pending(step, handles) is None:
        return None
    began = time.monotonic()
    with output.step(step.title) as line:
        line.timed = True

        def say(text: str) -> None:
            if stopped.is_set():
                raise SetupError(
                    "E-STOPPED", f"{step.title} was stopped, because another step failed.", hint=f"{command('up')} continues from here."
                )
            line.detail = text

        with handles.runtime.acting():
            done = step.apply(handles, say)
            worked = time.monotonic()
            _wait(step, handles, say, clock)
        line.detail = done
    return Taken(time.monotonic() - began, time.monotonic() - worked)


def _pending(step: Step, handles: Handles) -> str | None:
    """Return what is missing. What cannot be asked yet is missing, with that reason."""
    try:
        return step.pending(handles)
    except SetupError as error:
        return error.problem.rstrip(".")


def _wait(step: Step, handles: Handles, say: Callable[[str], None], clock: Clock) -> None:
    """Wait until nothing is pending, and report what is.

    :raises SetupError: E-TIMEOUT with the last reason; or what the step raises if waiting cannot
        help.
    """

    def pending() -> str | None:
        reason = step.pending(handles)
        if reason:
            say(f"{reason} (of at most {seconds(step.budget)})")
        return reason

    def error(reason: str) -> SetupError:
        return SetupError(
            "E-TIMEOUT",
            f"{step.title}: {reason}, after {seconds(step.budget)}.",
            hint=f"{command('status')} checks again; {command('up')} continues from here.",
        )

    until(pending, seconds=step.budget, error=error, poll=POLL_SECONDS, clock=clock)


def look(steps: Sequence[Step], handles: Handles) -> dict[str, str | None]:
    """Return what is missing for each step, and change nothing.

    Steps whose needs are missing are not asked.
    """
    titles = {step.title for step in steps}
    results: dict[str, str | None] = {}
    with ThreadPoolExecutor(max_workers=len(steps)) as pool:
        while len(results) < len(steps):
            ready = [step for step in steps if step.title not in results and all(need in results for need in step.needs if need in titles)]
            looks = {step.title: pool.submit(_look, step, handles, results) for step in ready}
            results |= {title: future.result() for title, future in looks.items()}
    return {step.title: results[step.title] for step in steps}


def _look(step: Step, handles: Handles, results: dict[str, str | None]) -> str | None:
    blocking = [need for need in step.needs if results.get(need)]
    return f"waiting for {', '.join(blocking)}" if blocking else _pending(step, handles)
