"""The rules of Singer: those for taps, judged by their messages, and those for targets.

Pure: lines go in, findings come out. A rule has a name, a severity and a hint. A finding has the
rule, what was seen and where. If a rule is broken a thousand times in the same manner, that is one
finding.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import TYPE_CHECKING, Any, Literal

from jsonschema import Draft4Validator, Draft7Validator, FormatChecker
from jsonschema.exceptions import SchemaError
from referencing import Registry
from referencing.exceptions import Unresolvable

from cluster.config.strict import describe, listed, no_constant

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

Severity = Literal["error", "warning"]
ERROR: Severity = "error"
WARNING: Severity = "warning"

RULES: dict[str, tuple[Severity, str]] = {
    "json": (ERROR, "Print nothing but Singer messages on standard output; a log belongs on standard error."),
    "message-type": (ERROR, "Send SCHEMA, RECORD, STATE, ACTIVATE_VERSION or BATCH."),
    "message-form": (ERROR, "Give the message what the specification asks for."),
    "schema-form": (ERROR, "Correct the stream's JSON Schema."),
    "schema-draft": (WARNING, "Targets on singer-sdk refuse this: select without these fields, or load it with another target."),
    "schema-first": (ERROR, "Send a stream's SCHEMA before its first RECORD."),
    "key-in-schema": (ERROR, "Declare every key property and bookmark property in the schema."),
    "key-in-record": (ERROR, "Give every record a value for each key property."),
    "record-schema": (ERROR, "Send records that match the schema, or correct the schema."),
    "record-format": (WARNING, "Write dates in the format of RFC 3339."),
    "record-undeclared": (WARNING, "Declare the field in the schema; targets leave out what is not declared, or fail."),
    "bookmark-in-record": (WARNING, "Give every record a value for what the stream is replicated by."),
    "not-selected": (ERROR, "Send only what the catalog selects."),
    "stream-unknown": (WARNING, "Name streams as the catalog does; whether this one is selected is not known."),
    "nothing-sent": (WARNING, "Send a SCHEMA for every selected stream, also where it has no records."),
    "state-back": (ERROR, "Let bookmarks only move on."),
    "state-missing": (WARNING, "Send a STATE with a bookmark for every incremental stream; without it the next run loads all again."),
    "exit-code": (ERROR, "See the tap's log."),
    "second-run": (ERROR, "Let the tap take the state that it has printed."),
    "second-run-all": (ERROR, "Begin at the bookmark."),
    "second-run-older": (WARNING, "Begin at the bookmark, unless the tap is meant to load the last days again."),
    "mapper-messages": (ERROR, "Pass on every message that a tap may send, and end with exit code 0; see the mapper's log."),
    "mapper-state": (ERROR, "Pass on every state as it came, after the records before it; else the next run loads the same again."),
    "mapper-broken": (ERROR, "End with another exit code if the input is broken; else data is lost unnoticed."),
    "target-messages": (ERROR, "Take every message that a tap may send, and end with exit code 0; see the target's log."),
    "target-version": (WARNING, "Do not join it with a tap that sends ACTIVATE_VERSION."),
    "target-output": (ERROR, "Print nothing but states on standard output; a log belongs on standard error."),
    "target-state": (ERROR, "Print the last state, as it came, when all before it is stored."),
    "target-no-state": (WARNING, "Print the state; without it the next run loads the same again."),
    "target-broken": (ERROR, "End with another exit code if the input is broken; else data is lost unnoticed."),
    "target-outputs": (WARNING, 'Add a glob that matches to "outputs" in its connector.yaml, or correct its config.'),
    "target-columns": (WARNING, "Load streams whose schema grows within a run with another target, or with another version of this one."),
}
"""Each rule's severity, and what to do if it is broken."""

MARK = "replication_key_value"
NO_MARKS = {"starting_replication_value", "replication_key", "replication_key_signpost"}
"""What singer-sdk keeps beside its bookmark."""

FORMATS = FormatChecker(formats=())
FORMATS.checks("date-time", raises=ValueError)(lambda value: not isinstance(value, str) or bool(_moment(value)))
FORMATS.checks("date", raises=ValueError)(lambda value: not isinstance(value, str) or bool(date.fromisoformat(value)))
FORMATS.checks("time", raises=ValueError)(lambda value: not isinstance(value, str) or time.fromisoformat(value) is not None)


@dataclass
class Finding:
    """A rule that was broken: what was seen, where first, and how often."""

    rule: str
    problem: str
    line: int | None = None
    stream: str = ""
    run: int = 1
    times: int = 1

    @property
    def severity(self) -> Severity:
        """``error`` or ``warning``."""
        return RULES[self.rule][0]

    @property
    def hint(self) -> str:
        """What to do."""
        return RULES[self.rule][1]


@dataclass(frozen=True)
class Expected:
    """What the catalog allows for a stream."""

    names: frozenset[str] = frozenset()
    """The names that its messages may have."""
    selected: bool = True
    left_out: frozenset[str] = frozenset()
    """Its fields that are not selected."""
    replication_key: str = ""
    """Its replication key, if it is incremental."""


@dataclass
class StreamSeen:
    """What a run has sent of one stream."""

    schema: bool = False
    keys: tuple[str, ...] = ()
    bookmark: str = ""
    declared: frozenset[str] | None = None
    records: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    least: Any = None
    """The least value of its replication key."""
    validator: Any = None


class Conformance:
    """The messages of one run, judged line by line."""

    def __init__(
        self, expected: Sequence[Expected] | None = None, state: Mapping[str, Any] | None = None, *, number: int = 1, rows: int = 3
    ) -> None:
        """Take the streams of the catalog, the tap's initial state, and how many rows to keep."""
        self.expected = expected
        self._by_name = {name: one for one in expected or () for name in one.names}
        self.number = number
        self.rows = rows
        self.initial = state
        self.state: dict[str, Any] | None = None
        self.states: list[Any] = []
        """The value of each STATE."""
        self.lines = 0
        self.streams: dict[str, StreamSeen] = {}
        self._findings: dict[tuple[str, str, str], Finding] = {}
        self._marks = marks(state or {}, self._mark_names())

    @property
    def findings(self) -> list[Finding]:
        """The findings: errors first, then in the order of lines."""
        return sorted(self._findings.values(), key=lambda finding: (finding.severity, finding.line or 0))

    @property
    def records(self) -> int:
        """The records of all streams."""
        return sum(seen.records for seen in self.streams.values())

    def find(self, rule: str, problem: str, *, stream: str = "", line: int | None = None, alike: str = "") -> None:
        """Add a finding. One that is *alike* is counted instead."""
        key = (rule, stream, alike or problem)
        if key in self._findings:
            self._findings[key].times += 1
        else:
            self._findings[key] = Finding(rule, problem, line, stream, self.number)

    # -- lines

    def line(self, text: bytes) -> None:
        """Judge the next line."""
        self.lines += 1
        if not text.strip():
            return
        try:
            message = json.loads(text, parse_constant=no_constant)
        except (ValueError, RecursionError):
            self._here("json", f"is not JSON: {describe(text.decode('utf-8', 'replace').strip())}", alike="json")
            return
        kind = message.get("type") if isinstance(message, dict) else None
        if not isinstance(kind, str) or kind not in FORMS:
            shown = describe(kind if kind is not None else message)
            self._here("message-type", f"is no Singer message: {shown}", alike=str(kind))
            return
        lacks = _lacks(kind, message)
        if lacks:
            self._here("message-form", f"is a {kind} without {lacks}", stream=str(message.get("stream", "")), alike=kind + lacks)
        elif kind == "STATE":
            self.states.append(message["value"])
            self._state(message["value"])
        elif kind == "SCHEMA":
            self._schema(message["stream"], message)
        elif kind == "RECORD":
            self._record(message["stream"], message["record"])

    def _here(self, rule: str, problem: str, *, stream: str = "", alike: str = "") -> None:
        self.find(rule, f"Line {self.lines:,} {problem}.", stream=stream, line=self.lines, alike=alike)

    def _stream(self, name: str) -> StreamSeen:
        if name not in self.streams:
            self.streams[name] = StreamSeen()
            if self.expected is not None and name not in self._by_name:
                self._here("stream-unknown", f"is of {name}, which the catalog does not know", stream=name)
            elif not self._expected(name).selected:
                self._here("not-selected", f"is of {name}, which is not selected", stream=name)
        return self.streams[name]

    def _schema(self, name: str, message: Mapping[str, Any]) -> None:
        seen, schema = self._stream(name), message["schema"]
        seen.schema = True
        seen.keys = tuple(map(str, message["key_properties"]))
        bookmarks = message.get("bookmark_properties") or []
        bookmarks = [bookmarks] if isinstance(bookmarks, str) else bookmarks
        seen.validator = self._validator(name, schema)
        declared = schema.get("properties")
        seen.declared = frozenset(declared) if isinstance(declared, dict) else None
        bookmark = str(bookmarks[0]) if bookmarks else self._expected(name).replication_key
        seen.bookmark = bookmark if seen.declared is None or bookmark in seen.declared else ""
        missing = [key for key in (*seen.keys, *map(str, bookmarks)) if seen.declared is not None and key not in seen.declared]
        if missing:
            self._here("key-in-schema", f"declares {name} without {listed(missing)}, which it needs as key or for replication", stream=name)

    def _validator(self, name: str, schema: Mapping[str, Any]) -> Any:
        limited = _old_limit(schema)
        kind = Draft4Validator if limited else Draft7Validator
        if limited:
            self._here("schema-draft", f"has a schema of draft 4 for {name}: {limited}", stream=name, alike="draft")
        try:
            kind.check_schema(schema)
        except SchemaError as error:
            self._here("schema-form", f"has no valid schema for {name}: {_at(error.absolute_path)}{_cut(error.message)}", stream=name)
            return None
        return kind(schema, registry=Registry(), format_checker=FORMATS)

    def _expected(self, name: str) -> Expected:
        return self._by_name.get(name, Expected())

    def _record(self, name: str, record: dict[str, Any]) -> None:
        seen = self._stream(name)
        seen.records += 1
        if len(seen.rows) < self.rows:
            seen.rows.append(record)
        if not seen.schema:
            self._here("schema-first", f"is a record of {name}, whose schema has not come yet", stream=name, alike="schema")
        for key in seen.keys:
            if record.get(key) is None:
                self._here("key-in-record", f"is a record of {name} without its key {key}", stream=name, alike=key)
        for key in sorted(record.keys() & self._expected(name).left_out):
            self._here("not-selected", f"has the field {key} of {name}, which is not selected", stream=name, alike=f"field {key}")
        for key in sorted(record.keys() - (seen.declared if seen.declared is not None else record.keys())):
            self._here("record-undeclared", f"has the field {key}, which the schema of {name} does not declare", stream=name, alike=key)
        self._match(name, seen, record)
        if seen.bookmark:
            value = record.get(seen.bookmark)
            if value is None:
                self._here("bookmark-in-record", f"is a record of {name} without {seen.bookmark}", stream=name, alike="bookmark")
            elif seen.least is None or _before(value, seen.least):
                seen.least = value

    def _match(self, name: str, seen: StreamSeen, record: dict[str, Any]) -> None:
        try:
            errors = list(seen.validator.iter_errors(record)) if seen.validator else []
        except (re.error, Unresolvable, RecursionError) as wrong:  # in the schema
            self._here("schema-form", f"cannot be held against the schema of {name}: {_cut(str(wrong))}", stream=name, alike="schema")
            seen.validator = None
            return
        for error in errors:
            rule = "record-format" if error.validator == "format" else "record-schema"
            alike = f"{error.validator} {'.'.join(part for part in error.absolute_path if isinstance(part, str))}"
            what = f"does not match the schema of {name}: {_at(error.absolute_path)}{_cut(error.message)}"
            self._here(rule, what, stream=name, alike=alike)

    # -- states

    def _mark_names(self) -> set[str]:
        known = {one.replication_key for one in self.expected or ()} | {seen.bookmark for seen in self.streams.values()}
        return {MARK} | (known - {""})

    def _state(self, state: dict[str, Any]) -> None:
        bookmarks = marks(state, self._mark_names())
        for path, value in bookmarks.items():
            before = self._marks.get(path)
            if before is not None and _before(value, before):
                where = ".".join(path)
                self._here("state-back", f"moves the bookmark {where} back from {describe(before)} to {describe(value)}", alike=where)
        self._marks.update(bookmarks)
        self.state = state

    def bookmark(self, stream: str, state: Mapping[str, Any] | None) -> Any:
        """Return a stream's bookmark in a state, None if there is not exactly one."""
        wanted = {stream, *self._expected(stream).names}
        values = [value for path, value in marks(state or {}, self._mark_names()).items() if wanted & set(path)]
        return values[0] if len(values) == 1 else None

    # -- ends

    def finish(self, exit_code: int | None, last_words: str = "") -> None:
        """Judge the whole run. *exit_code* is None if the tap was stopped before its end."""
        if exit_code:
            message = f': "{last_words}"' if last_words else ", without a word"
            self.find("exit-code" if self.number == 1 else "second-run", f"The tap ended with exit code {exit_code}{message}.")
        if exit_code is None or exit_code:
            return
        for one in self.expected or ():
            if one.selected and not one.names & self.streams.keys():
                self.find("nothing-sent", f"Of {min(one.names)}, which is selected, nothing came.", stream=min(one.names))
        for name, seen in self.streams.items():
            one = self._expected(name)
            incremental = one.replication_key if self.expected is not None else seen.bookmark
            kept = any({name, *one.names} & set(path) for path in marks(self.state or {}, self._mark_names()))
            if incremental and seen.records and not kept:
                self.find("state-missing", f"No STATE has a bookmark for {name}, which is incremental.", stream=name)

    def compare(self, first: Conformance) -> None:
        """Judge a second run, which began from the state of the *first* one."""
        for name, seen in self.streams.items():
            begun, mark = first.streams.get(name), self.bookmark(name, self.initial)
            if begun is None or seen.least is None or mark is None or not _before(seen.least, mark):
                continue
            all_again = begun.least is not None and not _before(begun.least, seen.least) and _before(begun.least, mark)
            rule = "second-run-all" if all_again and seen.records >= begun.records else "second-run-older"
            what = "is loaded from the beginning again" if rule == "second-run-all" else "brings older records again"
            problem = f"{name} {what}: {seen.bookmark} {describe(seen.least)}, and the bookmark is {describe(mark)}."
            self.find(rule, problem, stream=name)


def marks(state: Mapping[str, Any], names: set[str]) -> dict[tuple[str, ...], Any]:
    """Return the bookmarks of a state by path: values with one of *names*, and dates."""
    bookmarks: dict[tuple[str, ...], Any] = {}

    def look(value: object, path: tuple[str, ...]) -> None:
        if isinstance(value, dict):
            for key, item in value.items():
                look(item, (*path, str(key)))
        elif isinstance(value, list):
            for number, item in enumerate(value):
                part = item.get("context", number) if isinstance(item, dict) else number
                look(item, (*path, json.dumps(part, sort_keys=True)))
        elif not path or path[-1] in NO_MARKS or value is None or isinstance(value, bool):
            return
        elif path[-1] in names or (isinstance(value, str) and _comparable(value) is not value):
            bookmarks[path] = value

    look(state, ())
    return bookmarks


def _before(one: object, other: object) -> bool:
    """Return whether *one* is less than *other*: as numbers, as moments, else as texts.

    Other values are not compared.
    """
    numbers = int | float
    if isinstance(one, numbers) and isinstance(other, numbers):
        return one < other
    if isinstance(one, str) and isinstance(other, str):
        left, right = _comparable(one), _comparable(other)
        return bool(left < right) if type(left) is type(right) else one < other
    return False


def _comparable(text: str) -> Any:
    """Return the moment that a text names, else the text."""
    try:
        return _moment(text)
    except ValueError:
        return text


def _moment(text: str) -> datetime:
    """Parse a date or a moment. Without a zone it is UTC.

    :raises ValueError: it is neither.
    """
    if len(text) < len("2020-01-01") or text[4] != "-":
        raise ValueError(text)
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


STREAM = ("stream", str, "the name of its stream")
FORMS: dict[str, tuple[tuple[str, type, str], ...]] = {
    "SCHEMA": (STREAM, ("schema", dict, "a schema"), ("key_properties", list, "a list of key_properties")),
    "RECORD": (STREAM, ("record", dict, "a record")),
    "STATE": (("value", dict, "a value that is an object"),),
    "ACTIVATE_VERSION": (STREAM, ("version", int, "a version that is a number")),
    "BATCH": (STREAM, ("manifest", list, "a manifest")),
}


def _lacks(kind: str, message: Mapping[str, Any]) -> str:
    """Return what a message lacks; empty if it is complete."""
    missing = [what for key, wanted, what in FORMS[kind] if not isinstance(message.get(key), wanted)]
    return listed(missing) if missing else ""


def _old_limit(schema: object, above: str = "") -> str:
    """Return where a schema has an ``exclusiveMaximum`` of draft 4, true or false; else empty."""
    if not isinstance(schema, dict | list):
        return ""
    parts = list(schema.items() if isinstance(schema, dict) else enumerate(schema))
    old = (f"{above}{key}" for key, part in parts if key in {"exclusiveMaximum", "exclusiveMinimum"} and isinstance(part, bool))
    return next(old, "") or next(filter(None, (_old_limit(part, f"{above}{key}.") for key, part in parts)), "")


def _at(path: Iterable[object]) -> str:
    where = ".".join(map(str, path))
    return f"{where}: " if where else ""


def _cut(message: str, most: int = 160) -> str:
    text = message.rstrip(".")
    return text if len(text) <= most else text[:most] + "…"
