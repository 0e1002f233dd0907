"""Run ids and run records."""

from __future__ import annotations

import json
import re
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.engines.lock import RUN_ID
from cluster.runs.outcome import counted
from cluster.runs.record import Record, Side, new_run_id, read_record, write_record

texts = st.text(max_size=12)
counts = st.dictionaries(texts, st.integers(min_value=0), max_size=3)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)
states = st.none() | st.dictionaries(texts, values, max_size=3)
sides = st.builds(Side, texts, texts, st.none() | st.integers(0, 255))
records = st.builds(
    Record,
    run=texts,
    pipeline=texts,
    engine=texts,
    started=texts,
    tap=sides,
    target=sides,
    state_before=states,
    status=st.sampled_from(["running", "succeeded", "failed", "interrupted"]),
    finished=st.none() | texts,
    seconds=st.none() | st.floats(0, 1e9),
    records=counts,
    bytes=counts,
    messages=counts,
    state_after=states,
    outputs=st.lists(st.fixed_dictionaries({"bucket": texts, "key": texts, "bytes": st.integers(min_value=0)}), max_size=3),
    raw=st.none() | texts,
    error=st.none() | st.fixed_dictionaries({"code": texts, "problem": texts, "hint": texts}),
)


def test_run_ids_sort_by_time() -> None:
    """Runs that begin a few milliseconds apart are listed in the order in which they began."""
    ids = []
    for _ in range(40):
        ids.append(new_run_id())
        time.sleep(0.003)
    assert ids == sorted(ids)


def test_a_run_id_is_a_name_for_kubernetes() -> None:
    """An id contains the start of the run in UTC, can be an object's name in Kubernetes, and is found again in a lock."""
    before = datetime.now(UTC).replace(microsecond=0)
    run = new_run_id()
    assert before <= datetime.strptime(run[:15], "%Y%m%dt%H%M%S").replace(tzinfo=UTC) <= datetime.now(UTC)
    assert re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", run)
    assert len(run) <= 63
    assert re.fullmatch(RUN_ID, run)


def test_run_ids_differ() -> None:
    """Runs that begin together have ids of their own, all but always."""
    assert len({new_run_id() for _ in range(20)}) > 15


@given(records)
def test_a_record_comes_back_as_it_was_written(record: Record) -> None:
    """What is written into ``run.json`` is what is read from it, and it is a JSON object of plain ASCII or UTF-8."""
    data = write_record(record)
    assert read_record(data) == record
    assert json.loads(data)["run"] == record.run
    assert record.total == sum(record.records.values())


GOOD = json.loads(write_record(Record("r", "p", "local", "t", Side("a", "1"), Side("b", "2"), None)))


@pytest.mark.parametrize("schema", [0, 2, "1", None, [1]], ids=repr)
def test_a_record_of_another_schema_is_refused(schema: object) -> None:
    """A record of a version that this one does not know is refused, not guessed at."""
    assert read_record(json.dumps(GOOD).encode()).run == "r"
    with pytest.raises(ValueError, match="schema"):
        read_record(json.dumps({**GOOD, "schema": schema}).encode())


BROKEN = {
    "nothing": b"",
    "half of it": json.dumps(GOOD).encode()[:80],
    "not UTF-8": b'{"schema": 1, "run": "\xff"}',
    "a list": b"[]",
    "a text": b'"x"',
    "null": b"null",
    "nested too deep": b"[" * 100_000,
    "without a schema": json.dumps({key: value for key, value in GOOD.items() if key != "schema"}).encode(),
    "without a tap": json.dumps({key: value for key, value in GOOD.items() if key != "tap"}).encode(),
    "a tap that is a list": json.dumps({**GOOD, "tap": []}).encode(),
    "a tap that is null": json.dumps({**GOOD, "tap": None}).encode(),
    "without a run": json.dumps({key: value for key, value in GOOD.items() if key != "run"}).encode(),
}


@pytest.mark.parametrize("data", BROKEN.values(), ids=BROKEN)
def test_what_is_no_record_is_refused(data: bytes) -> None:
    """A file that is damaged, or is something else, is refused with the one error that readers expect."""
    with pytest.raises(ValueError):  # noqa: PT011 - the kind of error is what readers rely on
        read_record(data)


PARTS = [{"name": name, "status": status, "records": number} for name, status, number in (("a", "succeeded", 700), ("b", "failed", 300))]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"status": "succeeded", "loaded": True}, "1,000"),
        ({"status": "failed", "loaded": True}, "1,000"),
        ({"status": "failed"}, "0 of 1,000"),
        ({"status": "interrupted"}, "0 of 1,000"),
        ({"status": "failed", "state_kept": {"n": 1}}, "some of 1,000"),
        ({"status": "running"}, "1,000"),
        ({"status": "failed", "parts": PARTS}, "700 of 1,000"),
        ({"status": "running", "parts": PARTS}, "700 of 1,000"),
        ({"status": "failed", "records": {}}, "0"),
    ],
)
def test_what_was_loaded(fields: dict[str, Any], words: str) -> None:
    """A number alone was loaded; of a run or a part that failed, `runs`, `show` and `report` print how much of it was not."""
    record = Record("r", "p", "local", "2026-01-01T00:00:00Z", Side("tap-x", "1"), Side("target-x", "1"), None)
    assert counted(replace(record, **{"records": {"s": 600, "t": 400}, **fields})) == words
