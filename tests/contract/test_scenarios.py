"""The scenario table on the local engine: every command typed, every process real."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from scenarios import AFTER, BEFORE, CASES, GOOD, HIT, IN_PARTS, ROWS, SPLIT, STREAMS, Case, Column, of_stream

if TYPE_CHECKING:
    from checkout import Checkout, Result


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scenario(checkout: Checkout, case: Case) -> None:
    """A run ends as its case expects; state and earlier files are kept, and nothing is left over."""
    checkout.scripted({"steps": GOOD})
    assert checkout.run().code == 0
    first = checkout.outputs()
    assert list(first.values()) == ['{"n": 0}\n{"n": 1}\n']

    checkout.scripted(case.tap, case.target, **case.pipeline)
    checkout.write(
        "tap-scripted/connector.yaml", {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": list(case.capabilities)}
    )
    result = checkout.run()

    assert result.error == case.error, result.err
    assert result.code == (2 if case.error else 0)
    assert "Traceback" not in result.err
    assert result.last["event"] == "run.finished"
    assert result.last["status"] == ("failed" if case.error else "succeeded")
    assert result.last["state"] == case.state == checkout.state()
    if case.error:
        sentence, hint = result.err.strip().splitlines()
        assert sentence.startswith(f"{case.error}  ")
        assert hint.startswith("→ ")
        assert re.search(case.says, sentence + hint)
        assert checkout.outputs() == first
    else:
        files = {name: text for name, text in checkout.outputs().items() if name not in first}
        assert first.items() <= checkout.outputs().items()
        assert sum(text.count("\n") for text in files.values()) == case.records
        assert result.last["records"] == ({"s": case.records} if case.records else {})
    assert checkout.leftovers() == []

    record = checkout.invoke("show", "last", "--json").last
    assert record["run"] == result.last["run"]
    assert record["status"] == result.last["status"]
    assert record["state_before"] == BEFORE
    assert record["state_after"] == case.state
    assert (record["error"] or {}).get("code", "") == case.error


@pytest.mark.full  # five commands for each case
@pytest.mark.parametrize(("column", "case"), IN_PARTS, ids=lambda item: item.name)
def test_scenario_in_parts(checkout: Checkout, column: Column, case: Case) -> None:
    """One part ends as a run without parts does, with the same error; the others load, and the retry loads what is missing alone."""
    pipeline = dict.fromkeys(case.pipeline, "8s")  # the timeout of each part, also of those that load
    before, after = column.state(BEFORE, BEFORE), column.state(case.state, AFTER)
    checkout.scripted(of_stream(case.tap, HIT), of_stream(case.target, HIT), **pipeline)
    able = {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": list(case.capabilities)}
    checkout.write("tap-scripted/connector.yaml", able)
    if column is SPLIT:
        catalog = [{"tap_stream_id": stream, "stream": stream, "schema": {}, "selected": True} for stream in STREAMS]
        checkout.write("tap-scripted/catalog.json", {"streams": catalog})
    assert checkout.invoke("state", "p", "--set", str(checkout.write("state.json", before))).code == 0
    alone = problem(checkout.run()) if case.error else ""

    tap, target = column.configs(case)
    checkout.scripted(tap, target, **pipeline, **column.pipeline)
    checkout.write("tap-scripted/connector.yaml", able)
    result = checkout.run("p", *column.words)

    status = "failed" if case.error else "succeeded"
    assert (result.code, result.error, result.last["status"]) == (2 if case.error else 0, case.error, status), result.err
    record = checkout.invoke("show", "last", "--json").last
    assert (record["status"], record["state_before"], record["state_after"], result.last["state"]) == (status, before, after, after)
    states = dict.fromkeys(column.parts, "succeeded") | {column.hit: status}
    assert {part["name"]: part["status"] for part in record["parts"]} == states
    files = rows(checkout, result.last["run"])
    hit = files.pop(column.hit, "")
    assert files == {part: ROWS for part in column.parts if part != column.hit}
    assert checkout.leftovers() == []
    if not case.error:
        assert record["records"] == {stream: count for stream, count in {"a": 3, HIT: case.records, "c": 3}.items() if count}
        assert hit.count("\n") == case.records
        return
    assert (hit, record["parts"][1]["error"]["code"]) == ("", case.error)
    assert problem(result) == record["error"]["problem"] == f"Part {column.hit}: {alone}"
    assert f"retry {result.last['run']} loads what is missing" in result.err

    tap, target = column.configs()
    checkout.scripted(tap, target, **column.pipeline)
    again = checkout.invoke("retry", "last", "--json")
    assert (again.code, again.last["records"], again.last["state"]) == (0, {HIT: 3}, column.state(AFTER, AFTER)), again.err
    assert rows(checkout, again.last["run"]) == {column.hit: ROWS}


def rows(checkout: Checkout, run: str) -> dict[str, str]:
    """Return what a run has published, by part."""
    return {name.split("/")[2]: text for name, text in checkout.outputs().items() if name.startswith(f"p/{run}/")}


def problem(result: Result) -> str:
    """Return the sentence of a command's error."""
    return str(next(event["problem"] for event in result.events if event["event"] == "error"))


def test_the_state_is_what_the_next_run_begins_with(checkout: Checkout) -> None:
    """The tap is given the stored state, and with --full none."""
    checkout.scripted({"steps": GOOD, "again": [["schema", "s"], ["argument", "--state"], ["state", {"n": 9}]]})
    checkout.run()

    assert checkout.run().last["state"] == {"n": 9}
    assert '{"given": {"n": 2}}\n' in checkout.outputs().values()
    assert checkout.run("p", "--full").last["state"] == {"n": 2}


def test_the_connectors_initial_state(checkout: Checkout) -> None:
    """Where the store has no state yet, the tap is given the state.json of its folder; later it is not."""
    checkout.scripted({"steps": [["exit", 1]], "again": [["schema", "s"], ["argument", "--state"], ["state", {"n": 1}]]})
    checkout.write("tap-scripted/state.json", {"n": 0})

    assert checkout.run().last["state"] == {"n": 1}
    assert checkout.run().last["state"] == {"n": 1}
    assert sorted(checkout.outputs().values()) == ['{"given": {"n": 0}}\n', '{"given": {"n": 1}}\n']


def test_the_catalog(checkout: Checkout) -> None:
    """The tap is given its catalog; one that is discovered has every stream selected."""
    steps = [["schema", "s"], ["argument", "--catalog"]]
    checkout.scripted({"steps": steps})
    checkout.write("tap-scripted/catalog.json", {"streams": [{"tap_stream_id": "mine", "schema": {}}]})
    checkout.run()
    assert '"mine"' in next(iter(checkout.outputs().values()))

    (checkout.root / "singer-configs/tap-scripted/catalog.json").unlink()
    checkout.write(
        "tap-scripted/connector.yaml", {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": ["discover", "catalog"]}
    )
    checkout.run()
    catalog = json.loads(max(checkout.outputs().items())[1])["given"]
    assert catalog["streams"][0]["selected"] is True
    assert catalog["streams"][0]["metadata"] == [{"breadcrumb": [], "metadata": {"selected": True}}]


def test_files_for_people(checkout: Checkout) -> None:
    """Each run's files are in a folder named for the run: from the beginning, from a state, or fetched."""
    checkout.scripted({"steps": GOOD, "again": [["schema", "s"], ["records", "s", 1, 2], ["state", {"n": 3}]]})
    first, second = checkout.run().last, checkout.run().last
    folder = checkout.root / "output" / "p"

    assert first["outputs"] == [str(folder / first["run"] / "s.jsonl")]
    assert second["outputs"] == [str(folder / second["run"] / "s.jsonl")]
    assert (folder / first["run"] / "s.jsonl").read_text() == '{"n": 0}\n{"n": 1}\n'
    assert (folder / second["run"] / "s.jsonl").read_text() == '{"n": 2}\n'

    third = checkout.run("p", "--full").last
    assert third["outputs"] == [str(folder / third["run"] / "s.jsonl")]
    assert sorted(file.name for file in folder.iterdir()) == sorted(run["run"] for run in (first, second, third))
    (folder / first["run"] / "s.jsonl").unlink()
    assert checkout.invoke("fetch", first["run"]).code == 0
    assert (folder / first["run"] / "s.jsonl").read_text() == '{"n": 0}\n{"n": 1}\n'


def test_raw_output_is_kept_on_request(checkout: Checkout) -> None:
    """With --raw, what the tap printed is in the artifacts, byte for byte, and show names the object."""
    checkout.scripted({"steps": GOOD})
    checkout.run("p", "--raw")
    record = checkout.invoke("show", "last", "--json").last
    raw = (checkout.local / "buckets" / "artifacts" / record["raw"]).read_text()

    assert [json.loads(line)["type"] for line in raw.splitlines()] == ["SCHEMA", "RECORD", "RECORD", "STATE"]
    assert record["raw"] in checkout.invoke("show", "last").out


def test_files_that_outputs_does_not_match(checkout: Checkout) -> None:
    """A file with another suffix is published and copied, and a warning names it."""
    checkout.scripted({"steps": GOOD})
    connector = {"kind": "target", "pip_url": "tests/connectors/target-scripted", "capabilities": [], "outputs": "*.csv"}
    checkout.write("target-scripted/connector.yaml", connector)
    result = checkout.run()
    assert list(checkout.outputs().values()) == ['{"n": 0}\n{"n": 1}\n']
    assert [name.rpartition("/")[2] for name in result.last["outputs"]] == ["s.jsonl"]
    [warning] = [event for event in result.events if event["event"] == "warning"]
    assert "does not match 1 file that it left: 's.jsonl'" in warning["problem"]


def test_a_state_is_a_state(checkout: Checkout) -> None:
    """`state --set` takes off the wrappings of other tools, keeps every digit, and refuses a message that is no state."""
    checkout.scripted({"steps": GOOD})
    file, exact = checkout.root / "given.json", '{"id": 12345678901234567890.123456789, "price": 1.10}'
    for wrapped in ("%s", '{"type": "STATE", "value": %s}', '{"singer_state": %s}'):
        file.write_text(wrapped % exact, encoding="utf-8")
        assert checkout.invoke("state", "p", "--set", str(file)).code == 0
        assert exact in checkout.invoke("state", "p", "--json").out
        assert checkout.invoke("state", "p", "--reset").code == 0
    file.write_text('{"type": "RECORD", "stream": "s", "record": {"n": 1}}', encoding="utf-8")
    refused = checkout.invoke("state", "p", "--set", str(file))
    assert (refused.code, "E-STATE" in refused.err, "of the type RECORD" in refused.err) == (1, True, True), refused.err
    assert checkout.state() is None
