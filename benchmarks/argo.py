"""Time pipelines in a cluster and print one Markdown table: ``python benchmarks/argo.py [--quick]``.

Needs docker and kind. Everything happens in a copy of the checkout with a cluster of its own, which is removed afterwards;
``INVOKE_SINGER_CLUSTER`` and the other settings of the environment hold. Three things are measured: what a run of the example
takes on top of the bare ``tap | target``, what many small records cost, and how long ``invoke sync`` takes with many pipelines.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import statistics
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lab import WrongError, lab

from cluster.runs import new_run_id
from cluster.schedules import parameters, target
from cluster.settings import parse
from cluster.stack import Stack
from cluster.workflows import Way, seen, workflow

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Lab

NAME = "singer-benchmark"
EXAMPLE = {"base": "EUR", "source": "packaged", "start_date": "2020-01-01", "end_date": "2026-10-30"}
OVERHEAD, GROWTH = 4.0, 1.1
"""The goals: seconds on top of the bare pipe, times the memory of a tenth of the records."""
POLL_SECONDS = 0.1
SAMPLE_SECONDS = 2.0
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


class Platform:
    """A lab, and the cluster in which its pipelines run."""

    def __init__(self, place: Lab) -> None:
        """Take the lab; the settings of the environment hold, with a cluster of our own where none is named."""
        given = {name: value for name, value in os.environ.items() if name.startswith(("INVOKE_SINGER_", "DOCKER_"))}
        self.lab = place
        self.environ = {"INVOKE_SINGER_CLUSTER": NAME, **given}
        prefix = "INVOKE_SINGER_"
        chosen = {name.removeprefix(prefix).lower(): value for name, value in self.environ.items() if name.startswith(prefix)}
        self.settings = parse(chosen, {}, root=place.root)

    def invoke(self, *words: str) -> float:
        """Type one of our commands, which must succeed, and return how long it took."""
        began = time.monotonic()
        result = self.lab.invoke(*words, seconds=1800, **self.environ)
        if result.code:
            raise WrongError(f"invoke {' '.join(words)}: {result.out}{result.err}")
        return time.monotonic() - began

    def run(self, name: str) -> float:
        """Run a pipeline from the beginning; return the seconds from the Workflow's submission to its success."""
        with Stack(self.settings, self.environ) as stack:
            pipeline, way, run = stack.project.pipeline(name), Way(full=True), new_run_id()
            document = workflow(pipeline, run, parameters(stack, pipeline, way), target(stack), way)
            began = time.monotonic()
            stack.kube.create(document)
            ended = {"labels": "workflows.argoproj.io/completed=true", "fields": f"metadata.name={run}"}  # an empty answer costs the server least
            while not stack.kube.objects("Workflow", stack.namespace, **ended):
                time.sleep(POLL_SECONDS)
            taken = time.monotonic() - began
            live = stack.kube.get("Workflow", run, stack.namespace) or {}
            record = stack.history.read(name, run)
        if record is None or record.status != "succeeded":
            raise WrongError(f"{run}: {seen(live).message}")
        self.record = record
        return taken

    @contextmanager
    def watched(self) -> Iterator[dict[str, int]]:
        """Yield the peak memory (RSS, in kB) of the entrypoints on the node, by side, filled in until the body ends.

        The kernel keeps each process's peak, so that it does not matter how seldom one looks.
        """
        peaks: dict[str, int] = {}
        script = (
            "for f in $(grep -la /opt/code/entrypoint.py /proc/[0-9]*/cmdline 2>/dev/null); do"
            ' d=${f%/cmdline}; echo "$(tr "\\0" " " <$d/cmdline 2>/dev/null) $(grep VmHWM $d/status 2>/dev/null)"; done'
        )
        command = ["docker", "exec", f"{self.settings.cluster}-control-plane", "sh", "-c", script]
        done = threading.Event()

        def look() -> None:
            while not done.wait(SAMPLE_SECONDS):
                text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
                for side, size in re.findall(
                    r"^/usr/local/bin/python.*entrypoint\.py (tap|target) .*VmHWM:\s+(\d+) kB", text, re.MULTILINE
                ):
                    peaks[side] = max(peaks.get(side, 0), int(size))

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield peaks
        finally:
            done.set()
            thread.join()


def overhead(place: Platform, *, rounds: int) -> Iterator[tuple[str, str, str, str]]:
    """Measure the example: submit to success, minus the bare pipe on this machine, in turn; then with Argo's other form of pods."""
    place.lab.write("tap-exchange-rates/config.json", EXAMPLE)
    pair = place.lab.pair("tap-exchange-rates", "target-csv", None)
    modes = ("streaming", "staged")
    place.lab.write("pipelines.yaml", {mode: {"tap": "tap-exchange-rates", "target": "target-csv", "mode": mode} for mode in modes})
    place.invoke("sync")
    for form in ("", ", pods with an init container"):
        if form:
            place.environ["INVOKE_SINGER_INITLESS_PODS"] = "false"
            place.invoke("up")
        taken: dict[str, list[float]] = {mode: [] for mode in (*modes, "bare")}
        for _ in range(rounds + 1):  # the first is for nothing
            taken["bare"].append(pair.bare().wall)
            for mode in modes:
                taken[mode].append(place.run(mode))
        bare = taken["bare"][1:]
        if not form:
            yield "the example: bare pipe `tap \\| target`", spread(bare), "", ""
        for mode in modes:
            extra = statistics.median(taken[mode][1:]) - statistics.median(bare)
            goal = (f"at most +{OVERHEAD} s", met(yes=extra <= OVERHEAD)) if mode == "streaming" and not form else ("", "")
            yield f"the example, {mode}{form}: submit to success", f"{spread(taken[mode][1:])}, +{extra:.1f} s", *goal
    del place.environ["INVOKE_SINGER_INITLESS_PODS"]
    place.invoke("up")


def many(place: Platform, *, records: int) -> Iterator[tuple[str, str, str, str]]:
    """Measure many small records through streaming, and a tenth of them: what differs is not the start."""
    place.lab.package("tap-block", TAP)
    place.lab.connector("tap-block", "benchmarks/connectors/tap-block", {})
    place.lab.connector("target-none", "benchmarks/connectors/target-none", {})
    sizes = {"few": records // 10, "many": records}
    pipelines = {}
    for name, size in sizes.items():
        place.lab.write(f"{name}.json", {"records": size, "width": WIDTH})
        pipelines[name] = {"tap": "tap-block", "target": "target-none", "config": f"{name}.json"}
    place.lab.write("pipelines.yaml", pipelines)
    place.invoke("sync")
    taken, peaks = {}, {}
    for name, size in sizes.items():
        with place.watched() as seen_:
            taken[name] = place.run(name)
        peaks[name] = seen_
        if place.record.records != {"s": size}:
            raise WrongError(f"the record says {place.record.records}, the tap printed {size}")
    rate = (sizes["many"] - sizes["few"]) / (taken["many"] - taken["few"])
    volume = sum(place.record.bytes.values()) / 1e6
    yield f"{records:,} records, {volume:,.0f} MB, streaming", f"{taken['many']:.1f} s; {rate:,.0f} records/s without the start", "", ""
    for side in ("tap", "target"):
        few, all_ = (peaks[name].get(side, 0) / 1e3 for name in sizes)
        growth = all_ / few if few else 0.0
        goal = f"at most {GROWTH} times that of a tenth"
        yield (
            f"peak memory (RSS): entrypoint of the {side}",
            f"{all_:.1f} MB, {few:.1f} MB for a tenth",
            goal,
            met(yes=0 < growth <= GROWTH),
        )


def sync(place: Platform, *, pipelines: int) -> Iterator[tuple[str, str, str, str]]:
    """Measure ``invoke sync``: many pipelines, each with a config and a schedule of its own, which is paused."""
    entries = {}
    for number in range(pipelines):
        place.lab.write(f"many/{number}.json", {**EXAMPLE, "start_date": f"{2000 + number % 20}-01-01"})
        entries[f"p-{number}"] = {
            "tap": "tap-exchange-rates", "target": "target-csv", "config": f"many/{number}.json",
            "schedule": f"{number % 60} {number // 60 % 24} * * *", "paused": True,
        }  # fmt: skip
    place.lab.write("pipelines.yaml", entries)
    yield f"`invoke sync` of {pipelines:,} pipelines, first", f"{place.invoke('sync'):.1f} s", "", ""
    yield "the same, unchanged", spread([place.invoke("sync") for _ in range(3)]), "", ""
    place.lab.write("many/0.json", EXAMPLE)
    entries["p-1"]["schedule"] = "0 0 1 1 *"
    place.lab.write("pipelines.yaml", entries)
    yield "the same, one config and one schedule changed", f"{place.invoke('sync'):.1f} s", "", ""
    place.lab.write("pipelines.yaml", {"p-0": entries["p-0"]})
    yield f"the same, {pipelines - 1:,} removed", f"{place.invoke('sync'):.1f} s", "", ""


def spread(values: list[float]) -> str:
    """Return a median with the least and the most."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f} to {max(values):.1f}, {len(values)} runs)"


def met(*, yes: bool) -> str:
    """Say whether a goal is reached."""
    return "yes" if yes else "**no**"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small data and few runs: to see that it works, not to quote")
    quick = parser.parse_args().quick
    rows: list[tuple[str, str, str, str]] = []
    with lab() as copy:
        place = Platform(copy)
        try:
            place.invoke("up")
            for measured in (
                overhead(place, rounds=1 if quick else 7),
                many(place, records=200_000 if quick else 10_000_000),
                sync(place, pipelines=50 if quick else 1000),
            ):
                for row in measured:
                    print(f"{row[0]}: {row[1]}", file=sys.stderr, flush=True)
                    rows.append(row)
        finally:
            place.invoke("teardown", "--yes")
    print(f"- {platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; {datetime.now(UTC):%Y-%m-%d}")
    if quick:
        print("- quick: small data and few runs, not to be quoted")
    print("\n| what | measured | goal | met |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
