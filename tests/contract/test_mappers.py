"""A mapper between tap and target, on the local engine: what it changes, how it fails, and what it must not see."""

from __future__ import annotations

import json
import re
import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from processes import alive, eventually

if TYPE_CHECKING:
    from checkout import Checkout

SCHEMA: list[Any] = ["schema", "s"]
AFTER = {"n": 3}
STEPS: list[list[Any]] = [SCHEMA, ["records", "s", 3, 0, 5], ["state", AFTER]]
MAPS = {"hide": ["text"], "rename": {"s": "t"}}
PERSON = {"id": 1, "name": "Ada", "email": "ada@example.org"}


def mapped(checkout: Checkout, mapper: dict[str, Any], steps: list[list[Any]] | None = None, target: Any = None, **pipeline: Any) -> None:
    """Make the pipeline ``p`` of the scripted connectors, with a mapper."""
    checkout.scripted({"steps": steps or STEPS}, target, mapper="mapper-scripted", **pipeline)
    checkout.write("mapper-scripted/connector.yaml", {"kind": "mapper", "pip_url": "tests/connectors/mapper-scripted"})
    checkout.write("mapper-scripted/config.json", mapper)


def test_what_a_mapper_passes_on_is_what_is_loaded(checkout: Checkout) -> None:
    """Streams and fields have the mapper's names in files, events and records; what the tap sent is counted too, and the state passes."""
    mapped(checkout, {"environment": True}, mapper_config="own/maps.json")
    checkout.write("own/maps.json", {**MAPS, "stream_maps": {"s": {}, "gone": {}, "x*": {}, "__else__": None}})
    result = checkout.run("p", "--raw")
    assert result.code == 0, result.err
    assert list(checkout.outputs().values()) == ['{"n": 0}\n{"n": 1}\n{"n": 2}\n']
    assert [name.rpartition("/")[2] for name in checkout.outputs()] == ["t.jsonl"]
    assert (result.last["records"], result.last["state"]) == ({"t": 3}, AFTER)

    record = checkout.invoke("show", "last", "--json").last
    assert (record["records"], record["tap_records"]) == ({"t": 3}, {"s": 3})
    assert record["bytes"]["t"] < record["tap_bytes"]["s"]
    assert (record["mapper"]["connector"], record["mapper"]["exit_code"], record["state_after"]) == ("mapper-scripted", 0, AFTER)
    [warning] = record["warnings"]
    assert warning == "stream_maps of mapper-scripted names streams that tap-scripted did not send: gone."
    raw = (checkout.local / "buckets" / "artifacts" / record["raw"]).read_text()
    assert "xxxxx" not in raw  # nothing is stored before the mapper
    shown = checkout.invoke("show", "last").out
    assert re.search(r"sent by tap s +3 records", shown)
    assert re.search(r"stream t +3 records", shown)
    sides = {event["side"] for event in checkout.invoke("logs", "last", "--json").events}
    assert "mapper" in sides
    assert "tap-scripted → mapper-scripted → target-scripted" in checkout.invoke("check", "p").out


MUCH: list[list[Any]] = [SCHEMA, ["records", "s", 200_000]]
FAILURES: dict[str, tuple[dict[str, Any], list[list[Any]], dict[str, Any], str, str]] = {
    "it fails": (
        {"exit_at": [1, 3], "stderr": "KeyError: 'x'"},
        STEPS,
        {},
        "E-MAPPER-FAILED",
        "mapper-scripted .*exit code 3: \"KeyError: 'x'",
    ),
    "it prints words": ({"say": "Welcome"}, STEPS, {}, "E-MAPPER-OUTPUT", "Line 1 of the mapper's output .*Welcome"),
    "it ends early": ({"read": 2}, STEPS, {}, "E-MAPPER-ENDED", "mapper-scripted ended before it had read everything"),
    "the tap fails": ({}, [SCHEMA, ["stderr", "no such base"], ["exit", 4]], {}, "E-TAP-FAILED", "no such base"),
    "the target fails": ({}, MUCH, {"exit_at": [9, 5]}, "E-TARGET-FAILED", "target-scripted .*exit code 5"),
}
RARE: dict[str, tuple[dict[str, Any], list[list[Any]], dict[str, Any], str, str]] = {
    "it fails, and much is left": ({"exit_at": [1000, 7]}, MUCH, {}, "E-MAPPER-FAILED", "mapper-scripted .*exit code 7"),
    "it is killed": ({"kill": True}, STEPS, {}, "E-MAPPER-FAILED", "137.*killed"),
    "its runner is killed": ({"kill_runner": True}, STEPS, {}, "E-RUNNER", "runner of mapper-scripted was killed"),
    "it ends early, and much is left": ({"read": 9}, MUCH, {}, "E-MAPPER-ENDED", "mapper-scripted ended before"),
    "it is deaf and takes too long": ({"deaf": True, "sleep": 60}, STEPS, {"timeout": "1s"}, "E-TIMEOUT", "longer than"),
    "the tap prints half a message": ({}, [SCHEMA, ["raw", '{"type": "REC']], {}, "E-TAP-OUTPUT", "Line 2"),
    "the target ends early": ({}, MUCH, {"read": 9}, "E-TARGET-ENDED", "target-scripted ended before"),
}
CASES = [pytest.param(*case, id=name) for name, case in FAILURES.items()]
CASES += [pytest.param(*case, id=name, marks=pytest.mark.full) for name, case in RARE.items()]


@pytest.mark.parametrize(("mapper", "steps", "target", "code", "says"), CASES)
def test_the_side_that_failed_is_named(
    checkout: Checkout, mapper: dict[str, Any], steps: list[list[Any]], target: dict[str, Any], code: str, says: str
) -> None:
    """Whichever of the three fails, the error is its own; state and files stay, and nothing is left over."""
    more = {key: value for key, value in target.items() if key == "timeout"}
    mapped(checkout, {**MAPS, **mapper}, steps, target, **more)
    result = checkout.run()
    assert (result.code, result.error) == (2, code), result.err
    sentence, hint = result.err.strip().splitlines()
    assert re.search(says, sentence)
    assert hint.startswith("→ ")
    assert (checkout.outputs(), checkout.state(), checkout.leftovers()) == ({}, None, [])
    if code.startswith("E-MAPPER"):
        assert "mapper.log" in hint


def test_each_program_sees_its_own_secrets_alone(checkout: Checkout) -> None:
    """Neither the environment of a program nor any log has a secret of another one, and its own is not in its log."""
    mapped(checkout, {"environment": True, "salt": "${SALT}"}, [["environment"], *STEPS], {"environment": True, "password": "${PASSWORD}"})
    config = {"steps": [["environment"], *STEPS], "token": "${TOKEN}"}
    checkout.write("tap-scripted/config.json", config)
    secrets = {"TOKEN": "tap-token-1234", "SALT": "mapper-salt-1234", "PASSWORD": "target-password-1234"}
    assert checkout.run("p", **secrets).code == 0
    for side in ("tap", "mapper", "target"):
        [log] = checkout.local.glob(f"logs/p/*/{side}.log")
        text = log.read_text()
        assert "PATH" in text
        assert not [value for value in secrets.values() if value in text]
    missing = checkout.run("p", TOKEN="x", PASSWORD="y")
    assert (missing.error, "singer-configs/mapper-scripted/config.json asks for ${SALT}" in missing.err) == ("E-SECRET", True)


def started(checkout: Checkout) -> list[int]:
    """Return the ids that tap, mapper and target have logged, none before all have."""
    logs = [file.read_text().split() for file in checkout.local.glob("logs/p/*/*.log")]
    return [int(words[0]) for words in logs] if len(logs) == 3 and all(logs) else []


def test_ctrl_c_ends_all_three(checkout: Checkout) -> None:
    """No process outlives an interrupted run, and its record has the status."""
    mapped(checkout, {"pid": True, "sleep": 600}, [["pid"], SCHEMA, ["sleep", 600]], {"pid": True})
    with checkout.start("run", "p", "--json") as process:
        pids = eventually(lambda: started(checkout))
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)
    assert process.returncode == 130
    assert eventually(lambda: not any(map(alive, pids)))
    assert (checkout.outputs(), checkout.leftovers()) == ({}, [])
    assert checkout.invoke("show", "last", "--json").last["status"] == "interrupted"


def test_entries_that_make_no_sense(checkout: Checkout) -> None:
    """A tap as a mapper, a mapper as a target, and a config of no mapper are refused with one sentence."""
    mapped(checkout, {})
    entry = {"tap": "tap-scripted", "target": "target-scripted"}
    for more, says in (
        ({"mapper": "tap-scripted"}, "a mapper; tap-scripted is a tap"),
        ({"target": "mapper-scripted"}, "a target; mapper-scripted is a mapper"),
        ({"mapper_config": "mapper-scripted/config.json"}, "a config of the mapper, and none is named"),
    ):
        checkout.write("pipelines.yaml", {"p": {**entry, **more}})
        result = checkout.invoke("check", "p")
        assert (result.code, says in result.err) == (1, True), result.err


def test_check_tries_a_mapper(checkout: Checkout) -> None:
    """One that passes everything on is fine; one that swallows states, or fails on a message, breaks a rule."""
    mapped(checkout, MAPS)
    good = checkout.invoke("check", "mapper-scripted", "--json")
    assert (good.code, good.last["ok"]) == (0, True), good.err
    for config, rule in (
        ({"drop": ["STATE"]}, "mapper-state"),
        ({"exit_at": [5, 1]}, "mapper-messages"),
        ({"careless": True}, "mapper-broken"),
        ({"say": "Hello"}, "json"),
    ):
        checkout.write("mapper-scripted/config.json", config)
        result = checkout.invoke("check", "mapper-scripted", "--json")
        assert (result.code, rule in {event.get("rule") for event in result.events}) == (1, True), result.out


def test_add_makes_a_pipeline_with_a_mapper(checkout: Checkout) -> None:
    """``add --mapper`` writes the entry, and its event names the mapper."""
    mapped(checkout, MAPS)
    checkout.write("pipelines.yaml", "p: {tap: tap-scripted, target: target-scripted}\n")
    result = checkout.invoke("add", "q", "--tap", "tap-scripted", "--mapper", "mapper-scripted", "--target", "target-scripted", "--json")
    assert (result.last["pipeline"], result.last["mapper"]) == ("q", "mapper-scripted"), result.err
    assert checkout.run("q").last["records"] == {"t": 3}


@pytest.mark.full
def test_the_mapper_of_meltano(checkout: Checkout) -> None:
    """``new`` makes it from its package: a field is hidden, an e-mail hashed, a stream renamed; a wrong expression blames the mapper."""
    (checkout.root / "people.jsonl").write_text(json.dumps(PERSON) + "\n")
    maps = {"people": {"name": None, "email": "md5(email)", "__alias__": "persons"}}
    assert checkout.invoke("new", "tap-jsonl", "--set", "path=people.jsonl", "--set", "stream_name=people").code == 0
    made = checkout.invoke("new", "map-people", "--pip-url", "meltano-map-transform", "--set", f"stream_maps={json.dumps(maps)}", "--json")
    [connector] = [event for event in made.events if event["event"] == "connector"]
    assert (made.code, connector["kind"], connector["missing"]) == (0, "mapper", []), made.err
    assert checkout.invoke("add", "p", "--tap", "tap-jsonl", "--mapper", "map-people", "--target", "target-csv").code == 0
    first = checkout.run()
    assert first.last["records"] == {"persons": 1}, first.err
    [(name, text)] = checkout.outputs().items()
    assert name.endswith("persons.csv")
    assert text.splitlines()[0].startswith("id,email,")
    assert "5bfcf2d8e394674550332640d72db509" in text
    assert "Ada" not in text
    assert checkout.state() == first.last["state"] != {}

    maps["people"]["email"] = "nosuch(email)"
    checkout.write("map-people/config.json", {"stream_maps": maps})
    began = time.monotonic()
    failed = checkout.run("p", "--full")
    assert (failed.error, "nosuch" in failed.err) == ("E-MAPPER-FAILED", True), failed.err
    assert time.monotonic() - began < checkout.seconds / 2
    incomplete = checkout.invoke("new", "map-nothing", "--pip-url", "meltano-map-transform", "--no-input")
    assert "missing: stream_maps" in incomplete.out, incomplete.err
