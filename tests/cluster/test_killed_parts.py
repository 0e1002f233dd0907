"""Runs with parts, and backfills in chunks, in a real cluster, killed at random moments.

After each kill a retry, or the next run, goes on. No row is lost or doubled, no bookmark is ahead of its data, and no part loses the
bookmarks of another.
"""

from __future__ import annotations

import json
import os
import random
import time
from datetime import date, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import argo_checkout, finished
from argo_kills import CONTAINERS, strike
from argo_parts import by_stream

from cluster.runs.record import DONE, new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
KILLS = int(os.environ.get("SINGER_TEST_KILLS", "5"))
"""How many kills each test makes."""
SPAN = 16.0
"""Seconds from a run's submission within which it is killed: about as long as it takes."""
VICTIMS = ["pod", "a pod", "controller", *CONTAINERS]
STREAMS = "abc"
OTHER = {"n": 77}
"""The bookmark of a stream that is not selected any more."""
GROWTH = 8
"""How many rows each stream has more in each run."""
DAYS, EVERY, CHUNKS = 12, 3, 4
LOST = 6
"""How many more attempts a killed backfill gets: the last one is not killed."""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


@pytest.fixture
def chance() -> random.Random:
    """Return a source of moments and victims, whose seed is printed if the test fails."""
    seed = random.randrange(10**6)
    print("seed", seed)  # noqa: T201 - with the failure
    return random.Random(seed)


def numbers(state: dict[str, Any]) -> dict[str, int]:
    """Return the bookmarks of the streams; that of another stream must be there."""
    assert state["bookmarks"]["other"] == OTHER, state
    return {stream: state["bookmarks"].get(stream, {"n": 0})["n"] for stream in STREAMS}


def published(argo: Argo, name: str) -> dict[str, list[int]]:
    """Return the numbers of the rows of each stream that are published, sorted."""
    rows: dict[str, list[int]] = {stream: [] for stream in STREAMS}
    for key, text in argo.data(name).items():
        rows[key.rpartition("/")[2].removesuffix(".jsonl")] += [json.loads(line)["n"] for line in text.splitlines()]
    return {stream: sorted(list_) for stream, list_ in rows.items()}


def expect(argo: Argo, name: str, before: dict[str, int], run: str, status: str, parts: list[dict[str, Any]]) -> dict[str, int]:
    """Check rows, bookmarks and record after a run that may have been killed, and return the bookmarks."""
    shown = (run, status, parts)
    after = numbers(argo.get_state(name))
    assert published(argo, name) == {stream: list(range(number)) for stream, number in after.items()}, (before, after, shown)
    moved = {part["name"]: GROWTH if part["status"] == "succeeded" else 0 for part in parts}
    assert after == {stream: before[stream] + moved[stream] for stream in STREAMS}, (before, after, shown)
    assert (status == "succeeded") == all(part["status"] in DONE for part in parts), shown
    assert status in {"succeeded", "failed", "interrupted"}, shown
    return after


@pytest.mark.parametrize("retries", [0, 2])
def test_parts_killed_at_any_moment(argo: Argo, retries: int, chance: random.Random) -> None:
    """Each part has all its rows up to its bookmark, once; a retry loads the parts that are missing, and moves no other bookmark."""
    steps = [["grow", 2, GROWTH // 2, 1]]
    name = by_stream(argo, f"split-{retries}", STREAMS, steps, split="streams", at_once=2, retries=retries)
    argo.set_state(name, {"bookmarks": {"other": OTHER}})
    assert argo.one(name).last["status"] == "succeeded"  # brings images and configs
    history = []
    for _ in range(KILLS):
        before, run, victim, moment = numbers(argo.get_state(name)), new_run_id(), chance.choice(VICTIMS), chance.uniform(0, SPAN)
        argo.submit(name, run)
        hit = strike(argo, run, victim, moment)
        record = argo.follow(name, run)
        line = f"{hit} {victim} after {moment:.1f} s: {record.status}, {(record.error or {}).get('code')}, {record.done} parts"
        print(line)  # noqa: T201 - with the failure, and with -rP: what was killed when
        history.append(line)
        after = expect(argo, name, before, run, record.status, record.parts or [])
        if victim == "controller":
            assert record.status == "succeeded", history
        if record.done < len(STREAMS) and chance.random() < 0.5:
            again = argo.type("retry", run, "--json")
            assert again.code == 0, (history, again.err)
            second = argo.type("show", again.last["run"], "--json").last
            expect(argo, name, after, second["run"], second["status"], second["parts"])
    assert argo.one(name).last["status"] == "succeeded"
    assert argo.pods(name) == []


def chunk(first: date) -> list[str]:
    """Return the rows of the chunk that begins on a day."""
    return [f"{first + timedelta(days=day)}T00:00:00" for day in range(EVERY)]


def test_chunks_killed_at_any_moment(argo: Argo, chance: random.Random) -> None:
    """A backfill is killed, and so is its retry: each chunk that is done has its days once, the others nothing, and the state stays."""
    tap = {"steps": [["days", "s", True, False, 1]], "start_date": "2000-01-01", "end_date": None}
    name = argo.pipeline("chunked", tap, at_once=2)
    state = {"n": 1}
    argo.set_state(name, state)
    kills, year = 0, 2000
    history: list[str] = []
    while kills < KILLS:
        year += 1
        begins = [date(year, 1, 1) + timedelta(days=EVERY * number) for number in range(CHUNKS)]
        last = begins[-1] + timedelta(days=EVERY - 1)
        words = ["run", name, "--engine", "argo", "--from", str(begins[0]), "--to", str(last), "--every", f"{EVERY}d"]
        loaded: set[str] = set()
        for attempt in range(LOST):
            known = {item["metadata"]["name"] for item in argo.there("workflows", "-n", "argo")}
            process = argo.begin(*words, "--json")
            run = begun(argo, known)
            if attempt < LOST - 1 and kills < KILLS:
                victim, moment = chance.choice(VICTIMS), chance.uniform(0, SPAN)
                hit = strike(argo, run, victim, moment)
                kills += 1
                history.append(f"{year}: {hit} {victim} after {moment:.1f} s")
            end = finished(process)
            record = argo.type("show", run, "--json").last
            history.append(f"{record['status']}, {(record['error'] or {}).get('code')}, {[part['status'] for part in record['parts']]}")
            print("\n".join(history[-2:]))  # noqa: T201 - with the failure, and with -rP: what was killed when
            assert end["status"] in {record["status"], "failed"}, (end, record)
            done = {part["from"] for part in record["parts"] if part["status"] in DONE}
            assert loaded <= done, history
            loaded = done
            days = sorted(json.loads(line)["n"] for key, text in argo.data(name).items() for line in text.splitlines())
            of_year = [day for day in days if day.startswith(str(year))]
            assert of_year == [day for first in begins if str(first) in done for day in chunk(first)], history
            assert argo.get_state(name) == state, history
            if record["status"] == "succeeded":
                break
            words = ["retry", run]
        assert len(loaded) == CHUNKS, history
    assert argo.pods(name) == []


def begun(argo: Argo, known: set[str]) -> str:
    """Return the run that a command has begun."""
    deadline = time.monotonic() + 60
    while not (new := {item["metadata"]["name"] for item in argo.there("workflows", "-n", "argo")} - known):
        assert time.monotonic() < deadline
        time.sleep(0.3)
    [run] = new
    return str(run)
