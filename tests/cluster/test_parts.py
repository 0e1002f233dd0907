"""Runs with parts in a real cluster: a pod for each part, one record, and what a failure, a kill and a cancel leave."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import argo_checkout, finished
from argo_parts import marks, split

from cluster.argo.status import nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
EIGHT = "abcdefgh"
SLOW = 6.0
"""How many seconds each of a stream's ten states takes."""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def rows(argo: Argo, name: str, run: str) -> dict[str, int]:
    """Return how many rows each file of a run has, by part."""
    return {key.split("/")[2]: text.count("\n") for key, text in argo.data(name).items() if f"/{run}/" in key}


def test_eight_slow_streams_in_four_pods(argo: Argo) -> None:
    """They take at most 1/3.2 of the time of one pod, with the same rows and state."""
    split(argo, "alone", EIGHT, rows=20, pause=SLOW)
    split(argo, "parts", EIGHT, rows=20, pause=SLOW, split="streams", at_once=4)
    argo.set_state("parts", {"bookmarks": {"other": {"n": 1}}})
    alone, parts = argo.one("alone"), argo.one("parts")
    assert (alone.record["error"], parts.record["error"]) == (None, None)
    assert parts.record["records"] == alone.record["records"] == dict.fromkeys(EIGHT, 20)
    assert argo.get_state("parts") == {"bookmarks": {"other": {"n": 1}} | marks(EIGHT, 20)["bookmarks"]}
    assert [part["status"] for part in parts.record["parts"]] == ["succeeded"] * 8
    assert rows(argo, "parts", parts.record["run"]) == dict.fromkeys(EIGHT, 20)
    print(alone.record["seconds"], parts.record["seconds"], parts.record["parts"])  # noqa: T201 - with -s: the figure
    assert parts.record["seconds"] * 3.2 <= alone.record["seconds"]


def test_a_part_that_fails_and_its_retry(argo: Argo) -> None:
    """The others load; the retry loads what is missing alone."""
    name = split(argo, "fails", "abc", faults={"b": 3}, split="streams")
    done = argo.one(name)
    shown = f"{done.record} {argo.type('logs', done.record['run']).out}"
    assert (done.last["status"], done.record["error"]["code"]) == ("failed", "E-TAP-FAILED"), shown
    assert done.record["error"]["problem"].startswith("Part b: tap-scripted ended with exit code 1")
    assert [part["status"] for part in done.record["parts"]] == ["succeeded", "failed", "succeeded"]
    assert argo.get_state(name) == marks("ac")
    assert rows(argo, name, done.record["run"]) == {"a": 4, "c": 4}
    assert "a" in argo.type("logs", done.record["run"]).out

    split(argo, name, "abc", split="streams")
    again = argo.type("retry", done.record["run"], "--json")
    assert (again.code, again.last["records"]) == (0, {"b": 4}), again.err
    assert argo.get_state(name) == marks("abc")


def test_a_pod_of_a_part_is_killed(argo: Argo) -> None:
    """Argo starts it again, and every row is there once."""
    name = split(argo, "killed", "abcd", rows=16, pause=2, split="streams", at_once=2, retries=2)
    argo.set_state(name, {"bookmarks": {"a": {"n": 2}}})
    process = argo.background(name, lambda: argo.works(name))
    time.sleep(3)
    for pod in argo.pods(name)[:1]:
        argo.kubectl("delete", "pod", "-n", "argo", pod["metadata"]["name"], "--grace-period=0", "--force")
    last = finished(process)
    record = argo.type("show", last["run"], "--json").last
    assert record["status"] == "succeeded", record
    assert argo.get_state(name) == marks("abcd", 16)
    assert rows(argo, name, last["run"]) == {"a": 14, "b": 16, "c": 16, "d": 16}


def test_a_run_with_parts_is_cancelled(argo: Argo) -> None:
    """What is loaded stays, what is not keeps its bookmarks; the retry loads the rest."""
    name = split(argo, "cancelled", "abcd", rows=8, pause=3, split="streams", at_once=2)
    argo.set_state(name, marks("abcd", 2))
    process = argo.background(name, lambda: any(pod["status"] == "succeeded" for pod in parts_of(argo, name)), 200)
    run = argo.type("runs", "--pipeline", name, "--json").last["run"]
    assert argo.type("cancel", run).code == 0
    finished(process)
    record = argo.type("show", run, "--json").last
    assert (record["status"], record["error"]["code"]) == ("interrupted", "E-CANCELLED")
    state = argo.get_state(name)["bookmarks"]
    done = {part["name"] for part in record["parts"] if part["status"] == "succeeded"}
    assert {stream: mark["n"] for stream, mark in state.items()} == {stream: 8 if stream in done else 2 for stream in "abcd"}
    again = argo.type("retry", run, "--json")
    assert (again.code, set(again.last["records"])) == (0, set("abcd") - done), again.err
    assert argo.get_state(name) == marks("abcd", 8)


def test_hundreds_of_parts_are_cancelled(argo: Argo) -> None:
    """Argo makes no attempts of those that are left: of a thousand, it could not even keep that they were stopped."""
    argo.pipeline("days", {"steps": [["days", "s"]], "start_date": "2020-01-01", "end_date": None}, retries=2)
    words = ("--from", "2023-01-01", "--to", "2023-12-31", "--every", "1d", "--at-once", "4")
    process = argo.background("days", lambda: any(part["status"] == "succeeded" for part in parts_of(argo, "days")), 200, words)
    run = argo.type("runs", "--pipeline", "days", "--json").last["run"]
    assert argo.type("cancel", run).code == 0
    assert finished(process)["status"] == "interrupted"
    record = argo.type("show", run, "--json").last
    assert (record["status"], record["error"]["code"], len(record["parts"])) == ("interrupted", "E-CANCELLED", 365)
    live = json.loads(argo.kubectl("get", "workflow", run, "-n", "argo", "-o", "json"))
    assert live["status"]["phase"] in {"Failed", "Succeeded"}
    begun = [node for node in nodes_of(live["status"]) if node["type"] == "Retry"]
    assert len(begun) < 100
    assert argo.pods("days") == []


def test_a_backfill_in_months(argo: Argo) -> None:
    """Four chunks at a time; the one that failed is loaded by the retry, each day is there once, and the state stays."""
    tap = {"steps": [["days", "s"]], "start_date": "2020-01-01", "end_date": None}
    argo.pipeline("months", tap, {"exit_on": "2024-07-15"})
    words = ("--from", "2024-01-01", "--to", "2024-12-31", "--every", "month", "--at-once", "4")
    failed = argo.type("run", "months", "--engine", "argo", "--json", *words).last
    assert failed["status"] == "failed"
    states = [part["status"] for part in argo.type("show", failed["run"], "--json").last["parts"]]
    assert (states[6], set(states[:6] + states[7:])) == ("failed", {"succeeded"})

    argo.pipeline("months", tap)
    again = argo.type("retry", failed["run"], "--json").last
    assert again["records"] == {"s": 31}
    days = [line for text in argo.data("months").values() for line in text.splitlines()]
    assert (len(days), len(set(days)), argo.get_state("months")) == (366, 366, None)


def test_many_small_parts(argo: Argo) -> None:
    """A hundred parts, ten at a time: one record with all of them."""
    name = split(argo, "many", [f"stream-{number}" for number in range(100)], rows=2, split="streams", at_once=10)
    done = argo.one(name)
    assert (done.record["error"], len(done.record["parts"])) == (None, 100)
    assert sum(done.record["records"].values()) == 200
    print(done.record["seconds"])  # noqa: T201 - with -s: the figure


def test_room_for_one_pod(argo: Argo) -> None:
    """In a cluster that has room for one pod at a time the others wait, and all parts are loaded."""
    name = split(argo, "narrow", "abcd", split="streams", at_once=4, resources={"cpu": f"{int(free(argo) * 0.3)}m"})
    process, most = argo.begin("run", name, "--engine", "argo", "--json"), 0
    while process.poll() is None:
        most = max(most, sum(pod["status"]["phase"] == "Running" for pod in argo.pods(name)))
        time.sleep(0.5)
    assert (finished(process)["status"], most) == ("succeeded", 1)
    assert argo.get_state(name) == marks("abcd")


def free(argo: Argo) -> float:
    """Return how much of the node's processors no pod has requested, in thousandths of one."""

    def milli(quantity: str) -> float:
        return float(quantity[:-1]) if quantity.endswith("m") else float(quantity) * 1000

    [node] = argo.there("nodes")
    pods = [pod for pod in argo.there("pods", "-A") if pod["status"]["phase"] in {"Pending", "Running"}]
    asked = [item["resources"].get("requests", {}).get("cpu", "0") for pod in pods for item in pod["spec"]["containers"]]
    return milli(node["status"]["allocatable"]["cpu"]) - sum(map(milli, asked))


def test_a_schedule(argo: Argo) -> None:
    """It runs all parts; after a change of the catalog a new stream is a part, and one that was deselected keeps its bookmark."""
    name = split(argo, "minutely", "abc", split="streams", schedule="* * * * *", retries=2)
    assert argo.type("sync").code == 0
    first = scheduled(argo, name, "abc")
    assert [(part["name"], part["status"]) for part in first["parts"]] == [(stream, "succeeded") for stream in "abc"]
    assert (first["records"], argo.get_state(name)) == (dict.fromkeys("abc", 4), marks("abc"))
    split(argo, name, "abd", rows=6, split="streams", schedule="* * * * *", retries=2)
    assert argo.type("sync").code == 0
    second = scheduled(argo, name, "abd")
    assert second["records"] == {"a": 2, "b": 2, "d": 6}
    assert argo.get_state(name) == {"bookmarks": {**marks("abd", 6)["bookmarks"], **marks("c")["bookmarks"]}}
    split(argo, name, "abd", rows=6, split="streams")
    assert argo.type("sync").code == 0


def scheduled(argo: Argo, name: str, streams: str) -> dict[str, Any]:
    """Wait for the first success of a schedule's run with these parts, and return its record."""
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        for event in argo.type("runs", "--pipeline", name, "--json").events[::-1]:
            if event["status"] == "succeeded" and [part["name"] for part in event["parts"]] == list(streams):
                return event
        time.sleep(2)
    raise AssertionError(argo.type("runs", "--pipeline", name, "--json").out)


def parts_of(argo: Argo, name: str) -> list[dict[str, Any]]:
    """Return the parts of a pipeline's newest run, as its record lists them so far."""
    events = argo.type("runs", "--pipeline", name, "--json").events
    return list(events[0].get("parts") or []) if events else []
