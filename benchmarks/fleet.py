"""A pipeline in many pods, in a cluster for benchmarks alone.

Eight streams are loaded by one pod, and in parts, so many at the same time: by a tap that waits for an API, and by one
that computes. Each run must have all rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from argo import Runs
from lab import lab
from table import Row, WrongError, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

STREAMS = 8
BATCHES = 10
SECONDS, QUICK = {"waits": 30.0, "computes": 20.0}, 3.0
"""How long each stream takes."""
AT_ONCE = (1, 2, 4, 8)
GOAL = 3.2
"""The goal: how much faster eight streams that wait are in four pods."""
TAPS = {"waits": "a tap that waits for an API", "computes": "a tap that computes"}

TAP = '''"""Loads the streams of the catalog, and waits or computes before each of the batches."""
import json, sys, time


def given(name):
    return json.load(open(sys.argv[sys.argv.index(name) + 1]))


def main():
    config, marks = given("--config"), {}
    pause = config["seconds"] / config["batches"]
    for entry in given("--catalog")["streams"]:
        name = entry["tap_stream_id"]
        print(json.dumps({"type": "SCHEMA", "stream": name, "key_properties": ["n"], "schema": {"properties": {"n": {"type": "integer"}}}}))
        for number in range(config["batches"]):
            if config["computes"]:
                began = time.process_time()
                while time.process_time() - began < pause:
                    pass
            else:
                time.sleep(pause)
            marks[name] = {"n": number}
            print(json.dumps({"type": "RECORD", "stream": name, "record": {"n": number}}))
            print(json.dumps({"type": "STATE", "value": {"bookmarks": marks}}), flush=True)
'''

TARGET = '''"""Reads all, keeps nothing, and prints the last state."""
import json, sys


def main():
    state = {}
    for line in sys.stdin:
        message = json.loads(line)
        state = message["value"] if message["type"] == "STATE" else state
    print(json.dumps(state))
'''


def prepare(platform: Runs, seconds: dict[str, float]) -> None:
    """Write a pipeline for each tap, alone and in parts."""
    for name, program in (("tap-slow", TAP), ("target-sink", TARGET)):
        platform.lab.package(name, program)
        platform.lab.connector(name, f"benchmarks/connectors/{name}", {}, *(["catalog"] if name == "tap-slow" else []))
    names = [f"s{number}" for number in range(STREAMS)]
    catalog = {"streams": [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": True} for name in names]}
    platform.lab.write("tap-slow/catalog.json", catalog)
    pipelines: dict[str, dict[str, Any]] = {}
    for tap in TAPS:
        platform.lab.write(f"{tap}.json", {"seconds": seconds[tap], "batches": BATCHES, "computes": tap == "computes"})
        same = {"tap": "tap-slow", "target": "target-sink", "config": f"{tap}.json"}
        pipelines[f"{tap}-alone"] = same
        pipelines |= {f"{tap}-{many}": {**same, "split": "streams", "at_once": many} for many in AT_ONCE}
    platform.lab.write("pipelines.yaml", pipelines)


def taken(platform: Runs, name: str) -> float:
    """Run a pipeline, and check its rows."""
    seconds = platform.run(name)
    if platform.record is None or platform.record.total != STREAMS * BATCHES:
        raise WrongError(f"{name} should have {STREAMS * BATCHES} rows: {platform.record}")
    return seconds


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure."""
    seconds = dict.fromkeys(TAPS, QUICK) if quick else SECONDS
    with lab() as checkout:
        platform = Runs(checkout)
        prepare(platform, seconds)
        with platform.up():
            for tap, what in TAPS.items():
                alone = taken(platform, f"{tap}-alone")
                for many in AT_ONCE:
                    parts = taken(platform, f"{tap}-{many}")
                    goal = (f"at least {GOAL}", alone / parts >= GOAL) if (tap, many) == ("waits", 4) else ("", None)
                    compared = f"one pod: {spread([alone])}"
                    title = f"{STREAMS} streams of {seconds[tap]:.0f} s, {what}: {many} at a time"
                    yield Row(title, spread([parts]), compared, f"{alone / parts:.2f} times as fast", *goal)
        versions |= platform.versions | checkout.versions
