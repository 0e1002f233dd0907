"""The rules for a tap's messages: any line is judged, and what is allowed breaks none."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.onboarding.conformance import RULES, Conformance, Expected, marks
from cluster.onboarding.target_cases import CASES, PREFIX, broken, lines, misplaced

if TYPE_CHECKING:
    from pathlib import Path

Message = dict[str, Any]


def judged(*messages: object, expected: list[Expected] | None = None, state: Message | None = None) -> Conformance:
    """Judge messages; a text is a line as it stands."""
    run = Conformance(expected, state)
    for message in messages:
        run.line(message.encode() if isinstance(message, str) else json.dumps(message).encode())
    run.finish(0)
    return run


def rules(run: Conformance) -> list[str]:
    """Return the rules that were broken."""
    return [finding.rule for finding in run.findings]


def schema(properties: Message | None = None, **message: Any) -> Message:
    """Return a SCHEMA message."""
    described = {"type": "object", "properties": properties or {"n": {"type": "integer"}}}
    return {"type": "SCHEMA", "stream": "s", "key_properties": [], "schema": described, **message}


def record(**values: Any) -> Message:
    """Return a RECORD message."""
    return {"type": "RECORD", "stream": "s", "record": values}


def state(**value: Any) -> Message:
    """Return a STATE message."""
    return {"type": "STATE", "value": value}


# ------------------------------------------------------------------------------------------------------ what is right


@pytest.mark.parametrize("case", CASES)
def test_our_own_messages_break_no_rule(case: str) -> None:
    """What targets are tried with is what a good tap may send, in streams with names that nobody else uses."""
    run = Conformance()
    for line in lines(case).splitlines():
        run.line(line)
    run.finish(0)
    assert run.findings == []
    assert all(name.startswith(PREFIX) for name in run.streams)


def test_half_a_message_is_half_a_message() -> None:
    """The broken input is good up to its last line, and small."""
    run = Conformance()
    for line in broken().splitlines():
        run.line(line)
    assert [(finding.rule, finding.line) for finding in run.findings] == [("json", run.lines)]


@pytest.mark.parametrize(
    ("properties", "value"),
    [
        ({"x": {"type": ["null", "number"], "multipleOf": 1e-38}}, 0.1),
        ({"x": {"type": "number", "exclusiveMaximum": 1e38}}, 12.5),
        ({"x": {"anyOf": [{"type": "string", "format": "date-time"}, {"type": ["string", "null"]}]}}, "not a date"),
        ({"x": {"type": ["null", "string"], "format": "date-time"}}, "2024-01-01T00:00:00.123456Z"),
        ({"x": {"type": ["null", "string"], "format": "date-time"}}, "2024-01-01 00:00:00+05:30"),
        ({"x": {"type": "integer"}}, 10**30),
        ({"x": {}}, [{"deep": [None]}]),
        ({"x": True}, 1),
        ({"x": {"type": "string", "format": "uuid"}}, "anything"),
    ],
)
def test_schemas_of_real_taps(properties: Message, value: object) -> None:
    """Schemas of every draft that taps use are understood, and formats that nobody promises to check are not checked."""
    assert rules(judged(schema(properties), record(x=value))) == []


def test_a_schema_of_draft_4() -> None:
    """Old taps limit numbers so. It is understood, and the warning names the field: newer targets refuse it."""
    run = judged(schema({"x": {"type": "number", "minimum": -1e38, "exclusiveMinimum": True}}), record(x=12.5))
    assert rules(run) == ["schema-draft"]
    assert run.findings[0].problem == "Line 1 has a schema of draft 4 for s: properties.x.exclusiveMinimum."


@pytest.mark.parametrize(
    "properties", [{"x": {"$ref": "#/nowhere"}}, {"x": {"$ref": "http://127.0.0.1:9/x.json"}}, {"x": {"type": "string", "pattern": "("}}]
)
def test_schemas_that_cannot_be_used(properties: Message) -> None:
    """A reference to nowhere and a pattern that is none are the schema's fault, reported once; nothing is fetched."""
    run = judged(schema(properties), record(x="y"), record(x="y"))
    assert rules(run) == ["schema-form"]


# -------------------------------------------------------------------------------------------------------------- states


@pytest.mark.parametrize(
    ("states", "back"),
    [
        ([{"bookmarks": {"s": {"replication_key_value": 5}}}, {"bookmarks": {"s": {"replication_key_value": 5}}}], False),
        ([{"bookmarks": {"s": {"replication_key_value": 5}}}, {"bookmarks": {"s": {"replication_key_value": 4}}}], True),
        ([{"bookmarks": {"s": {"at": "2024-01-01T00:00:00Z"}}}, {"bookmarks": {"s": {"at": "2024-01-01T01:00:00+02:00"}}}], True),
        ([{"bookmarks": {"s": {"at": "2024-01-01"}}}, {"bookmarks": {"s": {"at": "2024-01-01T00:00:00"}}}], False),
        ([{"at": "2024-01-02"}, {}, {"at": "2024-01-01"}], True),
        ([{"bookmarks": {"s": {"n": 9}}}, {"bookmarks": {"s": {"n": 10}}}], False),
        ([{"bookmarks": {"s": {"n": 9}}}, {"bookmarks": {"s": {"n": "10"}}}], False),
        ([{"offset": 9, "version": 1700000000}, {"offset": 1, "version": 1}], False),
        ([{"currently_syncing": "b"}, {"currently_syncing": "a"}], False),
        ([{"s": {"starting_replication_value": "2024-01-02"}}, {"s": {"starting_replication_value": "2024-01-01"}}], False),
    ],
)
def test_bookmarks_only_move_on(states: list[Message], back: bool) -> None:  # noqa: FBT001 - a case
    """A bookmark that moves back is found, numbers and moments alike; what is no bookmark may move as it likes."""
    run = judged(schema(bookmark_properties=["n"]), *(state(**value) for value in states))
    assert ("state-back" in rules(run)) is back


def test_partitions_differ_by_their_context() -> None:
    """The parts that singer-sdk keeps of a stream may come in any order."""

    def partitions(*pairs: tuple[str, int]) -> Message:
        return state(bookmarks={"s": {"partitions": [{"context": {"id": name}, "replication_key_value": value} for name, value in pairs]}})

    assert rules(judged(partitions(("a", 1), ("b", 9)), partitions(("b", 9), ("a", 2)))) == []
    assert rules(judged(partitions(("a", 1), ("b", 9)), partitions(("b", 8), ("a", 2)))) == ["state-back"]


def test_a_state_that_was_passed_counts() -> None:
    """The first bookmark may not be before the one that the tap was given."""
    assert rules(
        judged(state(bookmarks={"s": {"replication_key_value": 1}}), state={"bookmarks": {"s": {"replication_key_value": 2}}})
    ) == ["state-back"]


def test_names_of_streams() -> None:
    """Messages may come under any name that the catalog has for a stream."""
    expected = [Expected(frozenset({"db-users", "users"}), replication_key="n"), Expected(frozenset({"x"}), selected=False)]
    good = judged(schema(stream="users"), record(n=1) | {"stream": "users"}, state(bookmarks={"db-users": {"n": 1}}), expected=expected)
    assert rules(good) == []
    assert rules(judged(schema(stream="x"), expected=expected)) == ["not-selected", "nothing-sent"]


# ------------------------------------------------------------------------------------------------------------- always

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3))
keys = st.sampled_from(["type", "stream", "schema", "record", "value", "key_properties", "bookmark_properties", "properties", "manifest"])
words = st.sampled_from(["SCHEMA", "RECORD", "STATE", "BATCH", "ACTIVATE_VERSION", "s", "object"])
nearly = st.dictionaries(keys, words | values | st.dictionaries(keys, words | values, max_size=3) | st.lists(words, max_size=2), max_size=6)


@given(st.lists(st.binary(max_size=40) | (values | nearly).map(lambda value: json.dumps(value).encode()), max_size=8))
def test_whatever_comes_is_judged(printed: list[bytes]) -> None:
    """No line, however odd, ends the check; what it finds are rules."""
    run = Conformance([Expected(frozenset({"s"}))], {"a": [1]})
    for line in printed:
        run.line(line)
    run.finish(1, "oops")
    assert {finding.rule for finding in run.findings} <= set(RULES)
    assert "exit-code" in rules(run)
    assert run.lines == len(printed)


@given(values)
def test_marks_of_any_state(value: object) -> None:
    """Bookmarks are looked for in a state of any form."""
    assert all(isinstance(path, tuple) for path in marks({"value": value}, {"value"}))


@pytest.mark.parametrize(
    ("name", "text", "wrong"),
    [
        ("a.csv", "id,text\n1,singer_check_text_1\n2,singer_check_more_2,singer_check_text_2\n", 2),
        ("a.csv", "id,text\n1,singer_check_text_1\nid,more,text\n2,singer_check_more_2,singer_check_text_2\n", 2),
        ("a.csv", "id,text,more\n1,singer_check_text_1,\n2,singer_check_text_2,singer_check_more_2\n", 0),
        ("a.tsv", "id\ttext\n1\tsinger_check_text_1\n", 1),
        ("a.csv", "id,name\n1,one\n", 0),
        ("a.jsonl", '{"text": "singer_check_text_1"}\n', 0),
        ("a.csv", "", 0),
    ],
)
def test_values_in_the_wrong_column(tmp_path: Path, name: str, text: str, wrong: int) -> None:
    """A table whose rows do not follow its header is found by the values of the case in which a schema grows."""
    (tmp_path / name).write_text(text)
    assert len(list(misplaced(tmp_path / name))) == wrong
