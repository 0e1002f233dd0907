"""``check``, typed: a tap that breaks each rule of Singer, a target that breaks each, and those that break none."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from processes import alive, eventually

from cluster.onboarding.conformance import RULES

if TYPE_CHECKING:
    from checkout import Checkout, Result

Steps = list[list[Any]]
SCHEMA = ["schema", "s"]
GOOD: Steps = [SCHEMA, ["records", "s", 2], ["state", {"bookmarks": {"s": {"n": 1}}}]]
STREAM = {
    "tap_stream_id": "s",
    "stream": "s",
    "schema": {"type": "object", "properties": {"n": {"type": "integer"}, "text": {"type": "string"}}},
}
INCREMENTAL = {**STREAM, "replication_method": "INCREMENTAL", "replication_key": "n"}


def say(**message: Any) -> list[Any]:
    """Return the step that prints a message."""
    return ["say", message]


def record(stream: str = "s", **values: Any) -> list[Any]:
    """Return the step that prints a record."""
    return say(type="RECORD", stream=stream, record=values)


def schema(**message: Any) -> list[Any]:
    """Return the step that prints a schema."""
    return say(**{"type": "SCHEMA", "stream": "s", "key_properties": ["n"], "schema": STREAM["schema"], **message})


def described(**properties: Any) -> dict[str, Any]:
    """Return a schema with these properties beside the key."""
    return {"type": "object", "properties": {"n": {"type": "integer"}, **properties}}


def marked(value: Any) -> list[Any]:
    """Return the step that prints a state."""
    return ["state", {"bookmarks": {"s": {"replication_key_value": value}}}]


@dataclass(frozen=True)
class Case:
    """What a tap does, which rule it breaks, and the finding."""

    rule: str
    steps: Steps
    says: str
    again: Steps | None = None
    streams: list[dict[str, Any]] = field(default_factory=list)
    """Its catalog, where it has one."""


CASES = [
    Case("json", [["say", "Welcome to tap 2.0"], *GOOD], r'Line 1 is not JSON: "Welcome to tap 2.0"'),
    Case("json", [SCHEMA, ["raw", '{"type": "RECORD", "stream": "s", "record": {"n": NaN}}\n']], "Line 2 is not JSON"),
    Case("message-type", [*GOOD, say(type="RECROD", stream="s")], r'Line 5 is no Singer message: "RECROD"'),
    Case("message-type", [["say", [1]]], r"Line 1 is no Singer message: \[1\]"),
    Case("message-form", [SCHEMA, say(type="RECORD", stream="s")], "Line 2 is a RECORD without a record"),
    Case("message-form", [say(type="SCHEMA", stream="s", schema={})], "Line 1 is a SCHEMA without a list of key_properties"),
    Case("message-form", [say(type="STATE", value=[1])], "Line 1 is a STATE without a value that is an object"),
    Case("schema-form", [schema(schema=described(text={"type": "strin"}))], r"no valid schema for s: properties\.text\.type"),
    Case("schema-draft", [schema(schema=described(n={"minimum": 0, "exclusiveMinimum": False})), *GOOD[1:]], r"properties\.n\.exclusiveM"),
    Case("schema-first", [record(n=1), *GOOD], "Line 1 is a record of s, whose schema has not come yet"),
    Case("key-in-schema", [schema(key_properties=["id"])], "Line 1 declares s without id"),
    Case("key-in-schema", [schema(bookmark_properties=["at"])], "Line 1 declares s without at"),
    Case("key-in-record", [SCHEMA, record(m=1)], "Line 2 is a record of s without its key n"),
    Case("key-in-record", [schema(schema=described(n={"type": ["null", "integer"]})), record(n=None)], "without its key n"),
    Case("record-schema", [SCHEMA, record(n="1"), record(n="2")], r"Line 2 does not match the schema of s: n: '1' is not of type 'integer'. 2 times"),
    Case("record-schema", [schema(schema={**described(), "required": ["x"]}), record(n=1)], "'x' is a required property"),
    Case("record-format", [schema(schema=described(at={"type": "string", "format": "date-time"})), record(n=1, at="24.12.2024")], "at: '24.12.2024' is not a 'date-time'"),
    Case("record-undeclared", [SCHEMA, record(n=1, more=2)], "Line 2 has the field more, which the schema of s does not declare"),
    Case("bookmark-in-record", [schema(bookmark_properties=["text"]), record(n=1), marked("x")], "is a record of s without text"),
    Case("not-selected", [schema(stream="other"), record("other", n=1), *GOOD], "Line 1 is of other, which is not selected", streams=[STREAM, {**STREAM, "tap_stream_id": "db-other", "stream": "other", "metadata": [{"breadcrumb": [], "metadata": {}}]}]),
    Case("stream-unknown", [schema(stream="other"), record("other", n=1), *GOOD], "Line 1 is of other, which the catalog does not know", streams=[STREAM]),
    Case("not-selected", [schema(), record(n=1, text="x")], "Line 2 has the field text of s, which is not selected", streams=[{**STREAM, "metadata": [{"breadcrumb": [], "metadata": {"selected": True}}, {"breadcrumb": ["properties", "text"], "metadata": {"selected": False}}]}]),
    Case("nothing-sent", GOOD, "Of silent, which is selected, nothing came", streams=[STREAM, {**STREAM, "tap_stream_id": "silent", "stream": "silent"}]),
    Case("state-back", [SCHEMA, marked(5), marked(4)], r"moves the bookmark bookmarks\.s\.replication_key_value back from 5 to 4"),
    Case("state-back", [SCHEMA, ["state", {"at": "2024-02-01"}], ["state", {"at": "2024-01-31T23:00:00Z"}]], "moves the bookmark at back"),
    Case("state-back", [SCHEMA, marked(5)], "moves the bookmark .* back from 5 to 3", again=[SCHEMA, marked(3)]),
    Case("state-missing", [SCHEMA, record(n=1)], "No STATE has a bookmark for s, which is incremental", streams=[INCREMENTAL]),
    Case("exit-code", [*GOOD, ["stderr", "ValueError: no such base"], ["exit", 3]], r'ended with exit code 3: "ValueError: no such base"'),
    Case("second-run", GOOD, "ended with exit code 4, without a word", again=[["exit", 4]]),
    Case("second-run-all", [SCHEMA, ["records", "s", 5], marked(4)], "s is loaded from the beginning again: n 0, and the bookmark is 4", again=[SCHEMA, ["records", "s", 5], marked(4)], streams=[INCREMENTAL]),
    Case("second-run-older", [SCHEMA, ["records", "s", 5], marked(4)], "s brings older records again: n 3, and the bookmark is 4", again=[SCHEMA, ["records", "s", 2, 3], marked(4)], streams=[INCREMENTAL]),
]  # fmt: skip


def tap(checkout: Checkout, steps: Steps, again: Steps | None = None, streams: list[dict[str, Any]] | None = None, **config: Any) -> None:
    """Make the scripted tap do these steps, and others where it is given a state."""
    checkout.scripted({"steps": steps, **({} if again is None else {"again": again}), **config})
    if streams:
        checkout.write("tap-scripted/catalog.json", {"streams": streams})


def findings(result: Result) -> list[dict[str, Any]]:
    """Return what was found, as the events say."""
    return [event for event in result.events if event["event"] == "finding"]


def refused(result: Result, code: str, *says: str) -> None:
    """See one sentence and one hint at the end."""
    sentence, hint = result.err.strip().splitlines()
    assert (result.code, sentence.partition("  ")[0], hint[:2]) == (1, code, "→ ")
    for text in says:
        assert text in sentence + hint


def untouched(checkout: Checkout) -> dict[str, bytes]:
    """Return all files that a check must leave as they are."""
    folders = [checkout.root / "singer-configs", checkout.local / "buckets", checkout.root / "output"]
    return {str(file): file.read_bytes() for folder in folders for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock"}


# -------------------------------------------------------------------------------------------------------------- taps


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.rule)
def test_a_tap_that_breaks_a_rule(checkout: Checkout, case: Case) -> None:
    """Each rule that a tap breaks is named, with what was seen and what to do; an error ends with 1, a warning with 0."""
    tap(checkout, case.steps, case.again, case.streams)
    result = checkout.invoke("check", "tap-scripted", "--json")
    broken = [finding for finding in findings(result) if finding["rule"] == case.rule]
    severity, hint = RULES[case.rule]
    assert broken, result.out
    assert re.search(case.says, " ".join(f"{one['problem']} {one['times']} times" for one in broken)), broken
    assert {(one["severity"], one["hint"]) for one in broken} == {(severity, hint)}
    (verdict,) = [event for event in result.events if event["event"] == "check"]
    if severity == "error":
        refused(result, "E-CHECK", "tap-scripted does not do what Singer asks of it", case.rule)
        assert (verdict["ok"], verdict["code"]) == (False, "E-CHECK")
    else:
        assert (verdict["ok"], result.code) == (True, 0)


def test_every_rule_has_a_case() -> None:
    """No rule is there that nothing breaks."""
    mappers = {rule for rule in RULES if rule.startswith("mapper-")}  # in test_mappers
    assert {case.rule for case in CASES} | {case.rule for case in TARGETS} | mappers == set(RULES)


def test_a_tap_that_breaks_none(checkout: Checkout) -> None:
    """A good tap passes; its counts and first rows are shown; no state, bucket or file is changed."""
    tap(checkout, GOOD, [SCHEMA, ["records", "s", 1, 1], ["state", {"bookmarks": {"s": {"n": 1}}}]])
    assert checkout.run().code == 0
    before = untouched(checkout)
    result = checkout.invoke("check", "tap-scripted")
    assert (result.code, result.err) == (0, "")
    for line in (
        r"✓ tap-scripted +first run: 2 records in 1 stream",
        r"✓ tap-scripted +second run, from its state: 1 record in 1 stream",
        r"  s  2 records",
        r"✓ tap-scripted +does what Singer asks of a tap",
    ):
        assert re.search(rf"^{line}(, [\d.]+ s)?$", result.out, re.MULTILINE), result.out
    assert untouched(checkout) == before
    assert list((checkout.local / "probes").iterdir()) == []


def test_the_same_mistake_is_reported_once(checkout: Checkout) -> None:
    """What is wrong a thousand times over is one line with a number, and the rows that are shown are cut."""
    odd = [record(n=f"{number}", text="x\n" * 100) for number in range(50)]
    tap(checkout, [schema(), *odd], rows=2)
    out = checkout.invoke("check", "tap-scripted", "--rows", "2").out
    assert len(re.findall(r"^✗ record-schema .* 50 times\.", out, re.MULTILINE)) == 1
    assert re.search(r"^  0 +(x ){11}x?…$", out, re.MULTILINE)
    assert len(re.findall(r"^  \d+ +x", out, re.MULTILINE)) == 2


@pytest.mark.parametrize("limit", [["--records", "10"], ["--seconds", "5"]], ids=" ".join)  # in five seconds a tap starts on any machine
def test_a_tap_without_end(checkout: Checkout, limit: list[str]) -> None:
    """A tap that would run for hours is stopped when enough was seen; that is no mistake, and its state is tried."""
    pid = checkout.root / "pid"
    endless: Steps = [SCHEMA, marked(1), ["pid_in", str(pid)], ["records", "s", 20], ["sleep", 600]]
    tap(checkout, endless, [SCHEMA, ["records", "s", 1, 1], marked(1)])
    result = checkout.invoke("check", "tap-scripted", "--json", *limit)
    tried = [event for event in result.events if event["event"] == "tried"]
    assert (result.code, result.last["ok"]) == (0, True)
    assert [(event["run"], event["exit_code"]) for event in tried] == [(1, None), (2, 0)]
    assert tried[0]["records"]["s"] == (10 if "--records" in limit else 20)
    assert not alive(int(pid.read_text()))


def test_it_begins_where_a_run_would(checkout: Checkout) -> None:
    """The tap is given its catalog, its initial state and its secrets; a state of the pipeline is not used."""
    tap(checkout, [["argument", "--state"]], [["argument", "--state"], ["argument", "--catalog"]], [STREAM], token="${TOKEN}")
    checkout.write("tap-scripted/state.json", {"n": 7})
    result = checkout.invoke("check", "tap-scripted", "--json", TOKEN="canary-7f3a9c")
    (sample,) = [event for event in result.events if event["event"] == "sample"]
    assert [row["given"] for row in sample["rows"]] == [{"n": 7}, {"streams": [STREAM]}]
    assert "canary-7f3a9c" not in result.out + result.err
    refused(checkout.invoke("check", "tap-scripted"), "E-SECRET", "TOKEN")


def test_a_secret_that_is_printed_is_not_shown(checkout: Checkout) -> None:
    """What a tap prints of its secrets is not in the findings about it."""
    tap(checkout, [["say", "token ${TOKEN}"], ["stderr", "ValueError: ${TOKEN}"], ["exit", 1]], token="${TOKEN}")
    result = checkout.invoke("check", "tap-scripted", "--json", TOKEN="canary-7f3a9c")
    assert [one["problem"] for one in findings(result)] == [
        'The tap ended with exit code 1: "ValueError: ***".',
        'Line 1 is not JSON: "token ***".',
    ]
    assert "canary-7f3a9c" not in result.out + result.err


def test_wrong_words(checkout: Checkout) -> None:
    """A name that is none is answered with the nearest, and a limit below one is refused."""
    tap(checkout, GOOD)
    refused(checkout.invoke("check", "tap-scriptd"), "E-UNKNOWN", 'Did you mean "tap-scripted"', "all to read every file")
    refused(checkout.invoke("check", "tap-scripted", "--records", "0"), "E-SETTING", "--records")


def test_ctrl_c(checkout: Checkout) -> None:
    """Ctrl-C ends the check, the tap and what it has started; its folder is gone."""
    tap(checkout, [SCHEMA, ["child"], ["pid"], ["sleep", 600]])
    log = checkout.local / "logs/probes/tap-scripted.log"
    with checkout.start("check", "tap-scripted") as process:
        pids = eventually(
            lambda: numbers if log.exists() and len(numbers := re.findall(r"^\d+$", log.read_text(), re.MULTILINE)) == 2 else None
        )
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in err
    eventually(lambda: not [pid for pid in pids if alive(int(pid))])  # the kernel takes a moment for a SIGKILL
    assert list((checkout.local / "probes").iterdir()) == []


# ----------------------------------------------------------------------------------------------------------- targets

NEEDS_HOST = """
import json, sys

SETTINGS = {"properties": {"host": {"type": "string"}, "dbname": {"type": "string"}, "token": {"type": "string", "secret": True}}, "required": ["host", "dbname"]}

def main():
    if "--about" in sys.argv:
        print(json.dumps({"capabilities": ["state"], "settings": SETTINGS}))
        return
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}}
    print(json.dumps({"type": "SCHEMA", "stream": "s", "key_properties": ["n"], "schema": schema}))
    print(json.dumps({"type": "RECORD", "stream": "s", "record": {"n": 1}}))
"""


@dataclass(frozen=True)
class Target:
    """What a target does, which rule it breaks, and the finding."""

    rule: str
    config: dict[str, Any]
    says: str
    outputs: str = "**/*"


MISPLACED = "id,text\n1,singer_check_text_1\n2,singer_check_more_2,singer_check_text_2\n"
"""What target-csv writes when a schema grows: the header is the first schema's, the rows follow the second's."""
NARROW = "id\ttext\n1\tsinger_check_text_1\n2\tsinger_check_text_2\n"
TARGETS = [
    Target("target-messages", {"exit_at": [3, 7]}, r"It cannot take the messages plain, nulls, .*version: exit code 7"),
    Target("target-messages", {"exit_on": "DROP TABLE"}, "It cannot take the messages quotes: exit code 1"),
    Target("target-messages", {"exit_at": [20, 1]}, "takes each kind of messages alone, but not all of them together: exit code 1"),
    Target("target-version", {"exit_on": "ACTIVATE_VERSION"}, "It cannot take the messages version: exit code 1"),
    Target("target-output", {"say": ["loaded 7 rows"]}, r'Line \d+ of what it printed is no state: "loaded 7 rows"'),
    Target("target-state", {"silent": True, "say": [{"check": "middle"}]}, "The last state that it printed is .*middle"),
    Target("target-no-state", {"silent": True}, "It printed no state"),
    Target("target-broken", {"lenient": True}, "Half a message at the end of its input went unnoticed"),
    Target("target-outputs", {"file": "odd.tsv"}, r'"outputs" does not match 1 file that it left: odd\.tsv', outputs="*.jsonl"),
    Target("target-columns", {"table": ["t.csv", MISPLACED]}, r't\.csv has a value of the column "more" under the column "text"\.'),
    Target("target-columns", {"table": ["t.tsv", NARROW]}, r't\.tsv lacks the values of the column "more"'),
]


@pytest.mark.full
@pytest.mark.parametrize("case", TARGETS, ids=lambda case: case.rule)
def test_a_target_that_breaks_a_rule(checkout: Checkout, case: Target) -> None:
    """Each rule that a target breaks is named; which kind of message it cannot take is found out."""
    checkout.scripted({}, case.config)
    connector = {"kind": "target", "pip_url": "tests/connectors/target-scripted", "outputs": case.outputs}
    checkout.write("target-scripted/connector.yaml", connector)
    result = checkout.invoke("check", "target-scripted", "--json")
    broken = findings(result)
    assert case.rule in {one["rule"] for one in broken} <= {case.rule, "target-version"}
    assert re.search(case.says, " ".join(one["problem"] for one in broken)), broken
    assert result.code == (1 if RULES[case.rule][0] == "error" else 0)


@pytest.mark.full
@pytest.mark.parametrize("name", ["target-scripted", "target-csv", "target-jsonl"])
def test_a_target_that_breaks_none(checkout: Checkout, name: str) -> None:
    """Real targets take every odd message; what they leave is counted and gone."""
    checkout.scripted({})
    if name == "target-jsonl":
        checkout.write("target-jsonl/connector.yaml", {"kind": "target", "pip_url": "target-jsonl==0.1.4"})
        checkout.write("target-jsonl/config.json", {"destination_path": ".", "do_timestamp_file": False})
    before = untouched(checkout)
    result = checkout.invoke("check", name)
    assert (result.code, result.err) == (0, "")
    assert re.search(rf"^✓ {name} +does what Singer asks of a target", result.out, re.MULTILINE)
    assert re.search(rf"^✓ {name} +left \d+ files, which are removed: singer_check_", result.out, re.MULTILINE)
    assert untouched(checkout) == before
    assert not list(checkout.root.rglob("singer_check_*"))


@pytest.mark.full
def test_the_same_failure_is_shown_once(checkout: Checkout) -> None:
    """A target that fails in the same manner with every kind of message is one finding, not one for each kind."""
    checkout.scripted({}, {"exit_at": [1, 3]})
    result = checkout.invoke("check", "target-scripted", "--json")
    assert [one["problem"] for one in findings(result)] == ["It cannot take any messages: exit code 3."]


def test_a_missing_setting_is_named_before_anything_is_tried(checkout: Checkout) -> None:
    """A setting that the program needs and the config lacks is named once, with the command that sets it; nothing runs."""
    checkout.scripted({})
    checkout.copy_connectors()
    source = checkout.connectors / "tap-about/tap_about/__init__.py"
    source.write_text(NEEDS_HOST)
    checkout.write("tap-about/connector.yaml", {"kind": "tap", "pip_url": "tests/connectors/tap-about"})
    result = checkout.invoke("check", "tap-about")
    problem = "singer-configs/tap-about/config.json has no host, dbname, and tap-about needs them."
    refused(result, "E-CONFIG", problem, "invoke new tap-about --set host=… --set dbname=…")
    assert "first run" not in result.out
    completed = checkout.invoke("new", "tap-about", "--set", "host=db", "--set", "dbname=shop", "--set", "token=s3cret")
    assert (completed.code, completed.err) == (0, "")
    config = json.loads((checkout.root / "singer-configs/tap-about/config.json").read_text())
    assert config == {"host": "db", "dbname": "shop", "token": "${TAP_ABOUT_TOKEN}"}
    assert (checkout.root / ".env").read_text() == "TAP_ABOUT_TOKEN=s3cret\n"
    assert checkout.invoke("check", "tap-about").code == 0
    refused(checkout.invoke("new", "tap-about", "--set", "hst=db"), "E-SETTING", 'no setting "hst". Did you mean "host"')
    refused(checkout.invoke("new", "tap-about"), "E-EXISTS", "new tap-about --set key=value")


def test_an_error_that_several_share_is_shown_once(checkout: Checkout) -> None:
    """A broken connector is one line of ``check all``, with the pipelines that use it."""
    checkout.scripted({})
    entry = {"tap": "tap-scripted", "target": "target-scripted"}
    checkout.write("pipelines.yaml", {"p": entry, "q": entry})
    checkout.write("target-scripted/connector.yaml", {"kind": "target", "pip_url": "x", "python": "4"})
    out = checkout.invoke("check", "all").out
    (line,) = [line for line in out.splitlines() if line.startswith("✗")]
    assert line.startswith("✗ target-scripted ")
    assert line.endswith("(2 others for the same reason: p, q)")


def test_all_mistakes_in_one_go(checkout: Checkout) -> None:
    """`check all` shows every mistake of every file, each with what to do; a program gets an event for each."""
    checkout.scripted({"token": "abc", "a": "${NO_SUCH_A}", "b": "${NO_SUCH_B}"})
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-scripted", "target": "target-scriptd", "retries": 99, "shedule": "x"}})
    (checkout.root / "invoke.yaml").write_text("singer: {enigne: local, local_store: tape}\n")
    result = checkout.invoke("check", "all")
    words = [
        "singer.enigne",
        "singer.local_store",
        "token holds a secret",
        "p.target is",
        "p.retries is",
        "p.shedule is",
        "NO_SUCH_B}, which are",
    ]
    lines = [line for line in result.out.splitlines() if line.startswith("✗")]
    assert [len([line for line in lines if word in line and " → " in line]) for word in words] == [1] * len(words), result.out
    assert (result.code, len(lines), result.err.count("E-SETTING")) == (1, len(words), 1)
    events = [event for event in checkout.invoke("check", "all", "--json").events if event["event"] == "check" and not event["ok"]]
    assert [event["name"] for event in events] == ["settings"] * 2 + ["tap-scripted"] + ["p"] * 5


def test_a_lock_with_a_conflict(checkout: Checkout) -> None:
    """A merge that was left half done is reported by ``check all``, not by the next run alone."""
    checkout.scripted({})
    (checkout.root / "singer-configs" / "tap-scripted" / "requirements.lock").write_text(
        "<<<<<<< HEAD\nx==1\n=======\nx==2\n>>>>>>> other\n"
    )
    refused(checkout.invoke("check", "all"), "E-INSTALL", "singer-configs/tap-scripted/requirements.lock has the marks of a merge conflict")


def test_keys_of_a_config(checkout: Checkout) -> None:
    """`check all` finds mistyped keys, and pipelines whose config lacks a needed one. A list from a README may be incomplete."""
    checkout.scripted({}, {})
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-scripted", "target": "target-scripted", "config": "p/config.json"}})
    known = {"settings": ["host", "start_date"], "required": ["host", "address"], "pip_url": "x", "kind": "tap"}
    checkout.write("tap-scripted/config.json", {"hosst": "db", "pages": 5, "stream_maps": {}})
    checkout.write("p/config.json", {"host": "db"})
    for capabilities, unknown in ((["discover"], ["hosst"]), (["about"], ["hosst", "pages"])):
        checkout.write("tap-scripted/connector.yaml", {**known, "capabilities": capabilities})
        result = checkout.invoke("check", "all")
        assert (result.code, re.findall('knows no setting "(.*?)"', result.out)) == (0, unknown), result.err
    assert 'tap-scripted knows no setting "hosst". Did you mean "host"?' in result.out

    checkout.write("p/config.json", {})
    problem = "singer-configs/p/config.json has no host, and tap-scripted needs it; or address."
    refused(checkout.invoke("check", "all"), "E-CONFIG", problem, "Write it there.")
    refused(checkout.invoke("check", "p"), "E-CONFIG", problem)


def test_a_target_with_secrets_is_asked_for(checkout: Checkout) -> None:
    """Into a target that needs secrets, which may be a database, nothing is loaded without a yes."""
    checkout.scripted({}, {"password": "${PASSWORD}"})
    refused(checkout.invoke("check", "target-scripted", PASSWORD="x"), "E-SETTING", "asks for secrets", "--yes")
    assert checkout.invoke("check", "target-scripted", "--yes", PASSWORD="x").code == 0


def test_a_secret_that_the_program_knows(checkout: Checkout) -> None:
    """What a program's own --about calls secret may not be typed into its config, under any name; with its variable it may."""
    checkout.scripted({})
    checkout.write("tap-about/connector.yaml", {"kind": "tap", "pip_url": "tests/connectors/tap-about"})
    checkout.write("tap-about/config.json", {"pin": "4711"})
    refused(checkout.invoke("check", "tap-about"), "E-SECRET-TYPED", "tap-about/config.json: pin holds a secret itself", "TAP_ABOUT_PIN=…")
    checkout.write("tap-about/config.json", {"pin": "${PIN}"})
    assert checkout.invoke("check", "tap-about", PIN="4711").code == 0
