"""A night on one cluster: many pipelines with schedules close together, each of which must have run once when it is over.

The pipelines' connectors are the tests' scripted ones; each pipeline has a number of records and a state that no other has.
"""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from lab import Platform, lab
from table import Row, WrongError, spread

from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.platform.handles import Handles
    from cluster.runs.record import Record

LEAD_SECONDS = 60
"""From the beginning to the first schedule: ``sync`` of all pipelines must be over."""
PATIENCE_SECONDS = 3600
"""From the last schedule to giving up."""
SAMPLE_SECONDS = 5.0
MEMORY = 4096
"""The goal: MiB of the node at the most, so that a laptop with 8 GB keeps half for itself."""
POD = "workflows.argoproj.io/workflow"
"""The label of pods that belong to a Workflow."""


class Watch:
    """What was seen of a cluster while pipelines were running in it: the most of everything."""

    def __init__(self, platform: Platform) -> None:
        """Have seen nothing yet."""
        self.platform = platform
        self.pods = 0
        self.memory = 0.0
        self.silent = 0
        """How often the cluster's API did not answer."""

    @contextmanager
    def looking(self) -> Iterator[None]:
        """Look now and then until the body ends."""
        done = threading.Event()

        def look() -> None:
            with self.platform.handles() as handles:
                while not done.wait(SAMPLE_SECONDS):
                    self.memory = max(self.memory, self.platform.memory())
                    try:
                        pods = handles.kube.objects("Pod", handles.namespace, labels=POD)
                    except SetupError:
                        self.silent += 1
                        continue
                    self.pods = max(self.pods, sum(pod["status"].get("phase") == "Running" for pod in pods))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()


def write(platform: Platform, names: list[str], first: datetime, minutes: int) -> None:
    """Write the pipelines; their schedules begin at *first* and are spread over some minutes, each for one minute of one day."""
    for side in ("tap", "target"):
        platform.lab.connector(
            f"{side}-scripted", f"tests/connectors/{side}-scripted", {}, *(["catalog", "state"] if side == "tap" else [])
        )
    pipelines = {}
    for number, name in enumerate(names):
        count = records(number)
        steps = [["schema", "s"], ["records", "s", count], ["state", {"n": count}]]
        platform.lab.write(f"night/{name}.json", {"steps": steps, "again": [["exit", 9]]})  # a second run finds a state, and fails
        pipelines[name] = {
            "tap": "tap-scripted",
            "target": "target-scripted",
            "config": f"night/{name}.json",
            "schedule": f"{first + timedelta(minutes=number * minutes // len(names)):%-M %-H %-d %-m *}",
        }
    platform.lab.write("pipelines.yaml", pipelines)


def records(number: int) -> int:
    """Return how many records the pipeline of that number has."""
    return 100 + number


def ended(handles: Handles, names: list[str], until: float) -> None:
    """Wait until each pipeline has a record and no Workflow is under way.

    :raises WrongError: they have not come to that in time.
    """
    while True:
        try:
            missing = set(names) - {pipeline for pipeline, _ in handles.history.ids()}
            if not missing and not handles.kube.objects("Workflow", handles.namespace, labels="workflows.argoproj.io/completed!=true"):
                return
        except SetupError as error:  # a busy cluster may be silent for a moment; what it was is counted by the watch
            missing = {error.problem}
        if time.time() > until:
            raise WrongError(f"no end of {len(missing)} pipelines, such as {min(missing, default='one that is under way')}")
        time.sleep(SAMPLE_SECONDS)


def outcome(handles: Handles, names: list[str]) -> tuple[list[Record], list[str]]:
    """Return the records of all runs, and what is not as it should be."""
    runs, wrong = [], []
    for number, name in enumerate(names):
        count = records(number)
        mine = handles.history.newest(name)
        runs += mine
        if [(run.status, run.records) for run in mine] != [("succeeded", {"s": count})]:
            wrong.append(f"{name}: {len(mine)} records, of {[run.status for run in mine]}, {[run.records for run in mine]}")
        if handles.history.state(name) != {"n": count}:
            wrong.append(f"{name}: the state is {handles.history.state(name)}")
        bucket = handles.settings.bucket_outputs
        store = handles.store()
        lines = [(store.get(bucket, item.key) or b"").count(b"\n") for item in store.objects(bucket, f"{name}/")]
        if lines != [count]:
            wrong.append(f"{name}: lines of its files: {lines}")
    return runs, wrong


def restarts(handles: Handles) -> int:
    """Return how often the platform's own containers have been started again."""
    pods = handles.kube.objects("Pod", handles.namespace, labels=f"!{POD}")
    return sum(status["restartCount"] for pod in pods for status in pod["status"].get("containerStatuses", []))


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure."""
    count, minutes = (10, 2) if quick else (200, 10)
    names = [f"night-{number:03d}" for number in range(count)]
    with lab() as checkout:
        platform = Platform(checkout)
        first = datetime.now(UTC)  # for images to be built; the schedules that count are written below
        write(platform, names, first - timedelta(days=2), minutes)
        with platform.up():
            versions |= platform.versions
            idle = platform.memory()
            first = (datetime.now(UTC) + timedelta(seconds=LEAD_SECONDS + 60)).replace(second=0, microsecond=0)
            write(platform, names, first, minutes)
            platform.invoke("sync")
            watch = Watch(platform)
            with platform.handles() as handles, watch.looking():
                before = restarts(handles)
                if datetime.now(UTC) >= first:
                    raise WrongError(f"`invoke sync` of {count} pipelines took longer than {LEAD_SECONDS} s")
                ended(handles, names, first.timestamp() + minutes * 60 + PATIENCE_SECONDS)
            platform.invoke("status")
            with platform.handles() as handles:
                runs, wrong = outcome(handles, names)
                again = restarts(handles) - before
    yield from outcome_rows(f"{count} pipelines, scheduled within {minutes} min", runs, wrong, watch, idle=idle, again=again)


def outcome_rows(what: str, runs: list[Record], wrong: list[str], watch: Watch, **figures: Any) -> Iterator[Row]:
    """Yield what came of it."""
    seconds = [run.seconds or 0.0 for run in runs]
    starts, ends = ([datetime.fromisoformat(text) for run in runs if (text := getattr(run, name))] for name in ("started", "finished"))
    night = (max(ends) - min(starts)).total_seconds()
    good = f"{len(runs)} runs" + (f"; {len(wrong)} are wrong: {wrong[0]}" if wrong else "")
    yield Row(f"{what}: runs", good, goal="each has its record, data and state, none twice", met=not wrong)
    yield Row(
        f"{what}: first start to last end",
        spread([night]),
        f"waits and runs added up: {spread([sum(seconds)])}",
        f"{night / sum(seconds):.2f}",
    )
    yield Row(f"{what}: a run, from its minute to its record", spread(seconds))
    yield Row(f"{what}: pods at a time, at most", f"{watch.pods}")
    if watch.memory:
        more = f"{watch.memory - figures['idle']:+,.0f} MiB"
        compared = f"before: {figures['idle']:,.0f} MiB"
        yield Row(
            f"{what}: memory of the node, at most",
            f"{watch.memory:,.0f} MiB",
            compared,
            more,
            f"at most {MEMORY:,} MiB",
            watch.memory <= MEMORY,
        )
    lost = f"{figures['again']} restarts of the platform's containers, {watch.silent} requests without an answer"
    yield Row(f"{what}: the cluster", lost, goal="none", met=not (figures["again"] or watch.silent))
