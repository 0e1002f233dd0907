"""Pipelines in a cluster for benchmarks alone.

Measures what a run of the example takes on top of the bare ``tap | target``, and how much of that Kubernetes and Argo
take by themselves. Then what many small records cost, and how long ``invoke sync`` takes with many pipelines.
"""

from __future__ import annotations

import re
import threading
import time
from contextlib import contextmanager
from statistics import median
from typing import TYPE_CHECKING, Any

from lab import Platform, lab, wall
from table import Row, WrongError, spread

from cluster.argo.status import seen
from cluster.argo.workflow import RunOptions, workflow
from cluster.containers.images import commit_tag
from cluster.platform.steps.schedules import parameters, scope
from cluster.runs.record import new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Pair

REST_SECONDS = 30
"""Argo's controller reads each schedule that has changed, and nobody runs ``sync`` meanwhile."""
EXAMPLE = {"base": "EUR", "source": "packaged", "start_date": "2020-01-01", "end_date": "2026-10-30"}
OVERHEAD, GROWTH = 4.0, 1.1
"""The goals: seconds on top of the bare pipe, times the memory of few records."""
MODES = ("streaming", "staged")
FLOOR = "floor"
BARE = "bare"
PROMPT = "value: 100ms"
"""How soon our controller looks at a change, as its manifest has it."""
POLL_SECONDS = 0.1
SAMPLE_SECONDS = 0.5
WIDTH = 60
"""Characters of a small record's text."""

TAP = '''"""Prints the same records again and again: the fastest tap that needs no file."""
import json, sys


def main():
    config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
    schema = {"type": "object", "properties": {"n": {"type": "integer"}, "text": {"type": "string"}}}
    print(json.dumps({"type": "SCHEMA", "stream": "s", "key_properties": ["n"], "schema": schema}))
    block = (json.dumps({"type": "RECORD", "stream": "s", "record": {"n": 1, "text": "x" * config["width"]}}) + "\\n") * 1000
    for _ in range(config["records"] // 1000):
        sys.stdout.write(block)
    print(json.dumps({"type": "STATE", "value": {"records": config["records"]}}))
'''


class Runs(Platform):
    """A platform whose pipelines are run one at a time, and timed from the Workflow's submission to its success."""

    def run(self, name: str) -> float:
        """Run a pipeline from the beginning, or the empty Workflow, and return the seconds."""
        with self.handles() as handles:
            run = new_run_id()
            if name == FLOOR:
                document = empty(commit_tag(self.settings), run, handles.namespace)
            else:
                pipeline, options = handles.project.pipeline(name), RunOptions(full=True)
                document = workflow(pipeline, run, parameters(handles, pipeline, options), scope(handles), options)
            began = time.monotonic()
            handles.kube.create(document)
            ended = {
                "labels": "workflows.argoproj.io/completed=true",
                "fields": f"metadata.name={run}",
            }  # an empty answer costs the server least
            while not (objects := handles.kube.objects("Workflow", handles.namespace, **ended)):
                time.sleep(POLL_SECONDS)
            taken = time.monotonic() - began
            self.record = None if name == FLOOR else handles.history.read(name, run)
        if objects[0]["status"]["phase"] != "Succeeded":
            raise WrongError(f"{run} of {name}: {seen(objects[0]).message}")
        return taken

    @contextmanager
    def watched(self) -> Iterator[dict[str, int]]:
        """Yield the peak memory (RSS, in kB) of the entrypoints on the node, by side, filled in until the body ends.

        The kernel keeps each process's peak, so that it does not matter how seldom one looks, but for what came last.
        """
        peaks: dict[str, int] = {}
        script = (
            "for f in $(grep -la /opt/code/entrypoint.py /proc/[0-9]*/cmdline 2>/dev/null); do"
            ' d=${f%/cmdline}; echo "$(tr "\\0" " " <$d/cmdline 2>/dev/null) $(grep VmHWM $d/status 2>/dev/null)"; done'
        )
        line = re.compile(r"^/usr/local/bin/python.*entrypoint\.py (tap|target) .*VmHWM:\s+(\d+) kB", re.MULTILINE)
        done = threading.Event()

        def look() -> None:
            while not done.wait(SAMPLE_SECONDS):
                for side, size in line.findall(self.node(script)):
                    peaks[side] = max(peaks.get(side, 0), int(size))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield peaks
        finally:
            done.set()
            thread.join()


def empty(image: str, run: str, namespace: str) -> dict[str, Any]:
    """Return a Workflow whose one pod has as many containers as a run's, under their names, and nothing to do."""
    containers = [{"name": name, "image": image, "command": ["/bin/true"]} for name in ("tap", "target", "main")]
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run, "namespace": namespace},
        "spec": {
            "entrypoint": "empty",
            "serviceAccountName": "pipeline",
            "templates": [{"name": "empty", "containerSet": {"containers": containers}}],
        },
    }


def overhead(platform: Runs, *, quick: bool) -> Iterator[Row]:
    """Measure the example in both modes, the bare pipe on this machine and the empty Workflow, in turn; then as upstream does it."""
    platform.lab.write("tap-exchange-rates/config.json", EXAMPLE)
    pair = platform.lab.pair("tap-exchange-rates", "target-csv", None)
    platform.lab.write("pipelines.yaml", {mode: {"tap": "tap-exchange-rates", "target": "target-csv", "mode": mode} for mode in MODES})
    platform.invoke("sync")
    rounds = 1 if quick else 7
    taken = in_turns(platform, pair, rounds, BARE, FLOOR, *MODES)
    for mode in MODES:
        extra = median(taken[mode]) - median(taken[BARE])
        goal = (f"at most +{OVERHEAD} s", extra <= OVERHEAD) if mode == "streaming" else ("", None)
        what, pipe = f"the example, {mode}: submit to success", f"pipe: {spread(taken[BARE])}"
        yield Row(what, spread(taken[mode]), pipe, f"{extra:+.1f} s", *goal)
    ours, floor = taken["streaming"], taken[FLOOR]
    compared = f"an empty Workflow of three containers: {spread(floor)}"
    yield Row("the example, streaming: submit to success", spread(ours), compared, f"{median(ours) - median(floor):+.1f} s")

    platform.environ["INVOKE_SINGER_INITLESS_PODS"] = "false"
    initial = in_turns(platform, pair, rounds, *MODES)
    for mode in MODES:
        more = median(taken[mode]) - median(initial[mode])
        compared = f"pods with an init container: {spread(initial[mode])}"
        yield Row(f"the example, {mode}: submit to success", spread(taken[mode]), compared, f"{more:+.1f} s")
    manifest = platform.lab.root / "manifests" / "argo" / "controller.yaml"
    kept = manifest.read_text(encoding="utf-8")
    if PROMPT not in kept:
        raise WrongError(f"{manifest.name} has no {PROMPT}")
    manifest.write_text(kept.replace(PROMPT, "value: 10s"), encoding="utf-8")
    upstream = in_turns(platform, pair, 1 if quick else 3, "staged")["staged"]
    compared = f"upstream's defaults, staged, an init container, a look each 10 s: {spread(upstream)}"
    yield Row("the example, streaming: submit to success", spread(ours), compared, f"{median(ours) / median(upstream):.2f}")
    manifest.write_text(kept, encoding="utf-8")
    del platform.environ["INVOKE_SINGER_INITLESS_PODS"]
    platform.invoke("up")


def in_turns(platform: Runs, pair: Pair, rounds: int, *names: str) -> dict[str, list[float]]:
    """Bring the platform to what is set, and return the seconds of each name, one after the other, after once for nothing."""
    platform.invoke("up")
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds + 1):
        for name in names:
            taken[name].append(wall([pair.bare()]) if name == BARE else platform.run(name))
    return {name: seconds[1:] for name, seconds in taken.items()}


def many(platform: Runs, *, quick: bool) -> Iterator[Row]:
    """Measure many small records through streaming, 10 GB of them, and few: what differs is not the start."""
    platform.lab.package("tap-block", TAP)
    platform.lab.connector("tap-block", "benchmarks/connectors/tap-block", {})
    platform.lab.connector("target-none", "benchmarks/connectors/target-none", {})
    sizes = {"few": 20_000, "many": 200_000} if quick else {"few": 1_000_000, "many": 80_000_000}
    pipelines = {}
    for name, size in sizes.items():
        platform.lab.write(f"{name}.json", {"records": size, "width": WIDTH})
        pipelines[name] = {"tap": "tap-block", "target": "target-none", "config": f"{name}.json"}
    platform.lab.write("pipelines.yaml", pipelines)
    platform.invoke("sync")
    taken, peaks, volume = {}, {}, {}
    for name, size in sizes.items():
        with platform.watched() as peaks[name]:
            taken[name] = platform.run(name)
        if platform.record is None or platform.record.records != {"s": size}:
            raise WrongError(f"the tap printed {size}, the record is {platform.record}")
        volume[name] = f"{sum(platform.record.bytes.values()) / 1e9:.2f} GB"
    rate = (sizes["many"] - sizes["few"]) / (taken["many"] - taken["few"])
    few = f"{sizes['few']:,} records, {volume['few']}: {spread([taken['few']])}"
    yield Row(
        f"{sizes['many']:,} records, {volume['many']}, streaming", spread([taken["many"]]), few, f"{rate:,.0f} records/s without the start"
    )
    for side in ("tap", "target"):
        less, most = (peaks[name].get(side, 0) / 1e3 for name in sizes)
        growth = most / less if less else 0.0
        ours, compared = (f"{size:.1f} MB for {volume[name]}" for size, name in ((most, "many"), (less, "few")))
        yield Row(
            f"peak memory (RSS): entrypoint of the {side}", ours, compared, f"{growth:.2f}", f"at most {GROWTH}", 0 < growth <= GROWTH
        )


def sync(platform: Runs, *, quick: bool) -> Iterator[Row]:
    """Measure ``invoke sync``: many pipelines, each with a config and a paused schedule."""
    entries, count = {}, 50 if quick else 1000
    for number in range(count):
        platform.lab.write(f"many/{number}.json", {**EXAMPLE, "start_date": f"{2000 + number % 20}-01-01"})
        entries[f"p-{number}"] = {
            "tap": "tap-exchange-rates", "target": "target-csv", "config": f"many/{number}.json",
            "schedule": f"{number % 60} {number // 60 % 24} * * *", "paused": True,
        }  # fmt: skip
    platform.lab.write("pipelines.yaml", entries)
    what = f"`invoke sync` of {count:,} pipelines"

    def measured(case: str, most: float | None = None, times: int = 1) -> Row:
        seconds = [platform.invoke("sync") for _ in range(times)]
        time.sleep(0 if quick else REST_SECONDS)
        goal, met = (f"at most {most:g} s", median(seconds) <= most) if most and not quick else ("", None)
        return Row(f"{what}, {case}", spread(seconds), goal=goal, met=met)

    yield measured("all of them new", 6)
    yield measured("unchanged", 1, times=3)
    platform.lab.write("many/0.json", EXAMPLE)
    entries["p-1"]["schedule"] = "0 0 1 1 *"
    platform.lab.write("pipelines.yaml", entries)
    yield measured("one config and one schedule changed")
    platform.lab.write("pipelines.yaml", {"p-0": entries["p-0"]})
    yield measured("all but one removed", 4)


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure."""
    with lab() as checkout:
        platform = Runs(checkout)
        with platform.up():
            for part in (overhead, many, sync):
                yield from part(platform, quick=quick)
        versions |= platform.versions | checkout.versions
