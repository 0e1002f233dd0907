"""A pipeline that is split by streams, on the local engine: its parts, their record, and what a failure of one leaves."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import eventually

from cluster.config.settings import Settings
from cluster.project.parts import Part, Plan
from cluster.runs.history import History
from cluster.runs.record import Record, Side, new_run_id
from cluster.store import FolderStore
from cluster.ui.format import now

if TYPE_CHECKING:
    from checkout import Checkout, Result

STREAMS = ("a", "b", "c")


def split(checkout: Checkout, rows: dict[str, int], faults: dict[str, int] | None = None, how: Any = "streams", **pipeline: Any) -> None:
    """Make a pipeline of a tap with streams, each with so many rows, that is split."""
    checkout.scripted({"steps": [["streams", rows, 2, faults or {}]]}, {"often": True}, split=how, **pipeline)
    streams = [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": name in rows} for name in sorted({*STREAMS, *rows})]
    checkout.write("tap-scripted/catalog.json", {"streams": streams})


def shown(checkout: Checkout) -> dict[str, Any]:
    """Return the record of the last run."""
    return checkout.invoke("show", "last", "--json").last


def marks(**numbers: int) -> dict[str, Any]:
    """Return a state."""
    return {"bookmarks": {name: {"n": number} for name, number in numbers.items()}}


def loaded(checkout: Checkout, result: Result) -> dict[str, str]:
    """Return the files of a run, without the run's folder."""
    prefix = f"p/{result.last['run']}/"
    return {name.removeprefix(prefix): text for name, text in checkout.outputs().items() if name.startswith(prefix)}


def test_each_stream_is_a_part(checkout: Checkout) -> None:
    """Each selected stream loads by itself; the record of the run has the sum, and the state all bookmarks."""
    split(checkout, {"a": 3, "c": 2})

    result = checkout.run()

    assert result.code == 0, result.err
    assert result.last["records"] == {"a": 3, "c": 2}
    assert loaded(checkout, result) == {"a/a.jsonl": '{"n": 0}\n{"n": 1}\n{"n": 2}\n', "c/c.jsonl": '{"n": 0}\n{"n": 1}\n'}
    assert checkout.state() == marks(a=3, c=2)
    record = shown(checkout)
    assert [(part["name"], part["streams"], part["status"], part["records"]) for part in record["parts"]] == [
        ("a", ["a"], "succeeded", 3),
        ("c", ["c"], "succeeded", 2),
    ]
    assert (record["state_before"], record["state_after"]) == (None, marks(a=3, c=2))
    assert checkout.leftovers() == []
    assert "2 of 2 loaded" in checkout.invoke("show", "last").out
    assert "succeeded 2/2 parts" in checkout.invoke("runs").out

    split(checkout, {"a": 4, "c": 2})
    again = checkout.run()
    assert (again.last["records"], checkout.state()) == ({"a": 1}, marks(a=4, c=2))
    stored = [event["run"] for event in checkout.invoke("state", "p", "--history", "--json").events]
    assert (stored[-2:], {*stored[:-2]}) == ([result.last["run"]] * 2, {again.last["run"]}), "each part stores its bookmarks"


def test_groups_and_the_rest(checkout: Checkout) -> None:
    """Streams of a group load together; those that no group names are the last one."""
    split(checkout, {"a": 1, "b": 2, "c": 3}, how={"large": ["c", "a"]})
    assert checkout.run().code == 0
    assert [(part["name"], part["streams"], part["records"]) for part in shown(checkout)["parts"]] == [
        ("large", ["c", "a"], 4),
        ("rest", ["b"], 2),
    ]
    assert checkout.state() == marks(a=1, b=2, c=3)


def test_a_part_that_fails(checkout: Checkout) -> None:
    """The others load, the run fails with its reason, and its retry loads what is missing."""
    split(checkout, {"a": 2, "b": 5, "c": 2}, {"b": 3})

    result = checkout.run()

    assert (result.code, result.error, result.last["status"]) == (2, "E-TAP-FAILED", "failed")
    assert "Part b: tap-scripted ended with exit code 1" in result.err
    assert "retry" in result.err
    assert checkout.state() == marks(a=2, c=2)
    assert sorted(loaded(checkout, result)) == ["a/a.jsonl", "c/c.jsonl"]
    folder = checkout.root / "output" / "p" / result.last["run"]
    assert result.last["outputs"] == [str(folder / file) for file in ("a/a.jsonl", "c/c.jsonl")]
    assert (folder / "c" / "c.jsonl").exists()
    record = shown(checkout)
    assert [part["status"] for part in record["parts"]] == ["succeeded", "failed", "succeeded"]
    assert record["parts"][1]["error"]["code"] == "E-TAP-FAILED"
    assert (record["status"], record["loaded"], record["records"]) == ("failed", False, {"a": 2, "b": 3, "c": 2})
    assert ["4 of 7" in checkout.invoke(*words).out for words in (["runs"], ["show", "last"])] == [True, True]
    assert checkout.leftovers() == []
    assert {event["part"] for event in checkout.invoke("logs", "last", "--json").events if event["side"] == "tap"} <= set(STREAMS)

    split(checkout, {"a": 9, "b": 5, "c": 9})
    again = checkout.invoke("retry", "last", "--json")
    assert (again.code, again.last["records"]) == (0, {"b": 5}), again.err
    assert [part["status"] for part in shown(checkout)["parts"]] == ["skipped", "succeeded", "skipped"]
    assert checkout.state() == marks(a=2, b=5, c=2)
    refused = checkout.invoke("retry", result.last["run"], "--json")
    assert (refused.error, "are loaded, the last of them by" in refused.err) == ("E-ENGINE", True), refused.err


def test_the_retry_of_a_full_run(checkout: Checkout) -> None:
    """What is missing starts over too, on the engine of the run; a run without records names the folder of earlier files."""
    split(checkout, {"a": 4, "b": 4}, {"b": 1})
    file = checkout.write("state.json", marks(a=2, b=2))
    assert checkout.invoke("state", "p", "--set", str(file)).code == 0
    assert checkout.run("p", "--full").code == 2
    assert shown(checkout)["full"] is True

    split(checkout, {"a": 4, "b": 4})
    again = checkout.invoke("retry", "last")

    assert (again.code, "4 records" in again.out) == (0, True), again.out
    assert "1 part, one after the other · engine local, because the run was there" in again.out
    assert checkout.state() == marks(a=4, b=4)
    assert "no new records, so no file; earlier ones are in output/p" in checkout.invoke("run", "p").out


def test_a_retry_after_a_change_of_split(checkout: Checkout) -> None:
    """It loads the streams that are missing, or refuses: never is one left out that counts as loaded."""
    split(checkout, {"a": 2, "b": 2}, {"b": 1}, how={"one": ["a"], "two": ["b"]})
    run = checkout.run().last["run"]
    for rows, how, reason in (
        ({"a": 2, "b": 2}, {"x": ["b", "a"]}, "part x has streams that it has loaded, and others"),
        ({"a": 2}, "streams", "is not selected any more: b"),
    ):
        split(checkout, rows, how=how)
        refused = checkout.invoke("retry", run, "--json")
        assert (refused.code, refused.error, reason in refused.err) == (1, "E-ENGINE", True), refused.err

    split(checkout, {"a": 2, "b": 2, "c": 2}, how={"new": ["b"], "old": ["a"]})
    again = checkout.invoke("retry", run, "--json")
    assert (again.code, again.last["records"]) == (0, {"b": 2, "c": 2}), again.err
    assert checkout.state() == marks(a=2, b=2, c=2)


def two_parts(checkout: Checkout) -> None:
    """Let a tap load the stream ``a``, and hang in ``b``."""
    checkout.scripted({"steps": [["streams", {"b": 2}, 2, {}, 60]]}, {"often": True}, split="streams")
    streams: list[dict[str, Any]] = [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": True} for name in ("a", "b")]
    checkout.write("tap-scripted/catalog.json", {"streams": streams})


def test_a_run_with_parts_is_interrupted(checkout: Checkout) -> None:
    """Ctrl-C tells what is loaded and how to go on, and so does ``show``; before, there is nothing to retry."""
    two_parts(checkout)
    with checkout.start("run", "p") as process:
        eventually(lambda: list((checkout.local / "logs" / "p").glob("*/b/tap.log")))
        busy = checkout.invoke("retry", "last", "--json")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    [run] = [folder.name for folder in (checkout.local / "logs" / "p").iterdir()]
    go_on = f"retry {run} loads what is missing"
    assert (process.returncode, "1 of 2 parts are loaded" in err, go_on in err) == (130, True, True), err
    assert (busy.code, busy.error, f"logs {run} --follow" in busy.err) == (1, "E-BUSY", True), busy.err
    assert go_on in checkout.invoke("show", "last").out
    assert [part["status"] for part in shown(checkout)["parts"]] == ["succeeded", "interrupted"]
    assert (checkout.state(), checkout.leftovers()) == (None, [])

    checkout.scripted({"steps": [["streams", {"b": 2}]]}, {"often": True}, split="streams")
    again = checkout.invoke("retry", run, "--json")
    assert (again.code, again.last["records"], checkout.state()) == (0, {"b": 2}, marks(b=2)), again.err


@pytest.mark.full
def test_a_run_with_parts_is_interrupted_impatiently(checkout: Checkout) -> None:
    """However often Ctrl-C is pressed while a tap does not end, the message is about this run and what it has loaded."""
    split(checkout, {"a": 2, "b": 2})
    checkout.scripted({"parts": {"b": {"steps": [["deaf"], ["sleep", 60]]}}, "steps": [["streams", {"a": 2}]]}, split="streams")
    with checkout.start("run", "p") as process:
        eventually(lambda: list((checkout.local / "runs").glob("*/b/tap/report.json")))
        time.sleep(1)
        for _ in range(3):
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        _, err = process.communicate(timeout=60)
    assert (process.returncode, "1 of 2 parts are loaded" in err, "cluster" in err) == (130, True, False), err
    split(checkout, {"a": 2, "b": 2})
    assert checkout.invoke("retry", "last").code == 0
    assert (checkout.state(), checkout.leftovers()) == (marks(a=2, b=2), [])


@pytest.mark.full
def test_a_run_with_parts_is_killed(checkout: Checkout) -> None:
    """Before the next command of its pipeline, ``show`` and ``runs`` call no part running, and no state unchanged."""
    two_parts(checkout)
    with checkout.start("run", "p") as process:
        eventually(lambda: list((checkout.local / "logs" / "p").glob("*/b/tap.log")))
        assert "state p shows it" in checkout.invoke("show", "last").out, "the parts that have ended moved the state"
        process.kill()
    for words in (["show", "last"], ["runs"]):
        record = checkout.invoke(*words, "--json").last
        assert (record["status"], [part["status"] for part in record["parts"]]) == ("interrupted", ["succeeded", "interrupted"]), words
    out = checkout.invoke("show", "last").out
    assert re.search(r"part b +interrupted", out), out
    assert "state p shows it" in out


def test_bookmarks_of_other_streams_stay(checkout: Checkout) -> None:
    """A stream that is deselected or renamed keeps its bookmark, a new one starts without; a part gets none of another part."""
    split(checkout, {"a": 2, "b": 2, "c": 2})
    checkout.run()
    split(checkout, {"a": 3, "b": 3})
    assert checkout.run().last["records"] == {"a": 1, "b": 1}
    assert checkout.state() == marks(a=3, b=3, c=2)
    split(checkout, {"a": 3, "b-renamed": 2})
    assert checkout.run().last["records"] == {"b-renamed": 2}
    assert checkout.state() == marks(a=3, b=3, c=2) | {"bookmarks": {**marks(a=3, b=3, c=2)["bookmarks"], "b-renamed": {"n": 2}}}


@pytest.mark.parametrize(
    ("pipeline", "catalog", "code", "says"),
    [
        ({"split": "all"}, True, "E-CONFIG", "streams, or groups such as"),
        ({"split": {"rest": ["a"]}}, True, "E-CONFIG", "rest is the group of the others"),
        ({"split": {"x": ["a"], "y": ["a"]}}, True, "E-CONFIG", "with each stream once"),
        ({"split": {"x": ["z"]}}, True, "E-UNKNOWN", 'the stream "z"'),
        ({"split": "streams", "mode": "staged"}, True, "E-CONFIG", "mode: staged"),
        ({"split": "streams"}, False, "E-CATALOG", "there is no singer-configs/tap-scripted/catalog.json"),
    ],
)
def test_a_split_that_is_refused(checkout: Checkout, pipeline: dict[str, Any], catalog: bool, code: str, says: str) -> None:  # noqa: FBT001 - a parameter of the test
    """What cannot be split is one sentence and one thing to do, before anything has begun."""
    checkout.scripted({"steps": []}, **pipeline)
    if catalog:
        checkout.write("tap-scripted/catalog.json", {"streams": [{"tap_stream_id": "a", "schema": {}}]})
    result = checkout.run()
    assert (result.code, result.error) == (1, code)
    assert says in result.err


def test_a_state_of_another_form(checkout: Checkout) -> None:
    """A state without bookmarks by stream cannot be split: neither the pipeline's nor one that a tap prints."""
    split(checkout, {"a": 1})
    file = checkout.write("state.json", {"n": 2})
    checkout.invoke("state", "p", "--set", str(file))
    refused = checkout.run()
    assert (refused.code, refused.error, "beside bookmarks" in refused.err) == (1, "E-STATE", True), refused.err
    assert "start over: state PIPELINE --reset" in refused.err

    checkout.invoke("state", "p", "--reset")
    checkout.scripted({"steps": [["schema", "a"], ["state", {"n": 1}]]}, split="streams")
    printed = checkout.run()
    assert (printed.code, printed.error, checkout.state()) == (2, "E-STATE", None), printed.err


# -- by days

YEARS = {"start_date": "2020-01-01", "end_date": None}
QUARTER = ("--from", "2024-01-15", "--to", "2024-03-10", "--every", "month")


def by_days(checkout: Checkout, *, end: str = "inclusive", timed: bool = False, target: dict[str, Any] | None = None) -> None:
    """Make a pipeline of a tap that loads a row for each day, or each six hours, between its two dates."""
    dates = {key: f"{value}T00:00:00Z" if timed and value else value for key, value in YEARS.items()}
    checkout.scripted({"steps": [["days", "s", end == "inclusive", timed], ["state", {"n": 1}]], **dates}, target)
    checkout.write(
        "tap-scripted/connector.yaml",
        {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": ["catalog", "state"], "end_date": end},
    )


def moments(checkout: Checkout, *results: Result) -> list[str]:
    """Return the rows of runs, in order."""
    texts = [text for result in results for text in loaded(checkout, result).values()]
    return sorted(json.loads(line)["n"] for text in texts for line in text.splitlines())


@pytest.mark.parametrize(
    ("end", "timed", "count"), [(end, timed, 224 if timed else 56) for end in ("inclusive", "exclusive") for timed in (False, True)]
)
def test_a_backfill_in_chunks(checkout: Checkout, end: str, timed: bool, count: int) -> None:  # noqa: FBT001 - a parameter of the test
    """Each month is a part; every row, also at the boundaries, is loaded exactly once, and the state stays."""
    by_days(checkout, end=end, timed=timed)

    result = checkout.run("p", *QUARTER)

    assert result.code == 0, result.err
    rows = moments(checkout, result)
    assert (len(rows), len(set(rows)), rows[0][:10], rows[-1][:10]) == (count, count, "2024-01-15", "2024-03-10")
    assert checkout.state() is None
    record = shown(checkout)
    assert [(part["name"], part["from"], part["to"]) for part in record["parts"]] == [
        ("2024-01-15", "2024-01-15", "2024-01-31"),
        ("2024-02-01", "2024-02-01", "2024-02-29"),
        ("2024-03-01", "2024-03-01", "2024-03-10"),
    ]
    assert record["backfill"] == {"from": "2024-01-15", "to": "2024-03-10", "every": "month"}


def test_the_rest_of_a_backfill(checkout: Checkout) -> None:
    """What is done is done: the retry loads the chunk that failed, and no other."""
    by_days(checkout, target={"exit_on": "2024-02-10"})
    failed = checkout.run("p", *QUARTER, "--at-once", "3")
    assert (failed.code, failed.error) == (2, "E-TARGET-FAILED")
    assert [part["status"] for part in shown(checkout)["parts"]] == ["succeeded", "failed", "succeeded"]

    by_days(checkout)
    again = checkout.invoke("retry", "last", "--json")

    assert (again.code, again.last["records"]) == (0, {"s": 29}), again.err
    rows = moments(checkout, failed, again)
    assert (len(rows), len(set(rows))) == (56, 56)
    assert (shown(checkout)["retry_of"], shown(checkout)["at_once"]) == (failed.last["run"], 3)
    for run in (again.last["run"], failed.last["run"]):
        refused = checkout.invoke("retry", run, "--json")
        assert (refused.code, refused.error) == (1, "E-ENGINE"), refused.err
        assert "run p --from 2024-01-15 --to 2024-03-10 --every month --at-once 3" in refused.err
    assert f"All parts of {failed.last['run']} are loaded, the last of them by {again.last['run']}" in refused.err


@pytest.mark.full  # six commands
def test_a_retry_of_each_of_two_runs(checkout: Checkout) -> None:
    """A retry that failed and the first run have the same rest: either loads what the other has not."""
    by_days(checkout, target={"exit_on": "T"})
    first = checkout.run("p", *QUARTER, "--at-once", "3").last["run"]
    by_days(checkout, target={"exit_on": "2024-02-10"})
    second = checkout.invoke("retry", first, "--json").last["run"]
    assert [part["status"] for part in shown(checkout)["parts"]] == ["succeeded", "failed", "succeeded"]

    by_days(checkout, target={"exit_on": "2024-02-20"})
    assert "1 part, one after the other" in checkout.invoke("retry", first, "--at-once", "2").out
    assert (shown(checkout)["retry_of"], shown(checkout)["at_once"]) == (first, 2)
    by_days(checkout)
    assert checkout.invoke("retry", second, "--json").last["records"] == {"s": 29}
    assert checkout.invoke("retry", first, "--json").error == "E-ENGINE"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--every", "month"), "needs --from and --to"),
        (("--from", "2024-01-01", "--every", "month"), "needs --from and --to, as days"),
        (("--from", "2024-01-01", "--to", "2024-01-31", "--every", "fortnight"), "is no length"),
        (("--from", "2000-01-01", "--to", "2024-01-31", "--every", "day"), "more than 1,000 parts"),
        (("--at-once", "3"), "is for runs with parts"),
        (("--at-once", "0"), "is not a number from 1 to 100"),
        (("--at-once", "101"), "is not a number from 1 to 100"),
    ],
)
def test_chunks_that_are_refused(checkout: Checkout, words: tuple[str, ...], says: str) -> None:
    """What makes no chunks is one sentence and one hint, before anything has begun."""
    by_days(checkout)
    result = checkout.invoke("run", "p", *words)
    assert (result.code, says in result.err) == (1, True), result.err


def test_a_backfill_of_a_tap_without_a_start(checkout: Checkout) -> None:
    """Its incremental streams start from a temporary state; the pipeline's own stays, and an end is refused."""
    checkout.scripted({"steps": [["schema", "s"], ["argument", "--state"], ["state", {"bookmarks": {"s": {"n": 9}}}]]})
    stream = {
        "tap_stream_id": "s",
        "schema": {"properties": {"at": {"type": "string", "format": "date-time"}}},
        "metadata": [{"breadcrumb": [], "metadata": {"selected": True, "replication-method": "INCREMENTAL", "replication-key": "at"}}],
    }
    checkout.write("tap-scripted/catalog.json", {"streams": [stream]})
    file = checkout.write("state.json", {"bookmarks": {"s": {"replication_key_value": "2026-01-01", "version": 7}}})
    checkout.invoke("state", "p", "--set", str(file))

    result = checkout.run("p", "--from", "2024-01-01")

    assert result.code == 0, result.err
    [text] = loaded(checkout, result).values()
    mark = json.loads(text)["given"]["bookmarks"]["s"]
    assert mark == {
        "replication_key": "at",
        "replication_key_value": "2024-01-01",
        "at": "2024-01-01",
        "last_replication_method": "INCREMENTAL",
        "version": 7,
    }
    assert checkout.state() == {"bookmarks": {"s": {"replication_key_value": "2026-01-01", "version": 7}}}
    refused = checkout.run("p", "--from", "2024-01-01", "--to", "2024-02-01")
    assert (refused.code, "cannot be bounded above" in refused.err) == (1, True), refused.err


def test_a_thousand_parts_fit_on_the_screen(checkout: Checkout) -> None:
    """Those that did not succeed are shown, and the first of those that are loaded or wait."""
    plan = Plan(tuple(Part(f"part-{number:03}") for number in range(1000)))
    record = Record(new_run_id(), "p", "local", now(), Side("tap-x", "1"), Side("target-x", "1"), None, status="interrupted")
    record.divide(plan)
    assert record.parts is not None
    for number, item in enumerate(record.parts):
        item["status"] = "succeeded" if number < 40 else "failed" if number in {50, 60} else "waiting"
    split(checkout, {"a": 1})
    assert checkout.run().code == 0
    history = History(FolderStore(checkout.local / "buckets"), Settings(root=checkout.root))
    history.save(record)
    rows = [line.split() for line in checkout.invoke("show", record.run).out.splitlines() if " part" in line]
    assert rows[0] == ["parts", "40", "of", "1000", "loaded,", "958", "waiting"]
    assert [row[1] for row in rows[1:3]] == ["part-050", "part-060"]
    assert len(rows) == 43
