"""The entrypoint's parts: what it counts, what it passes on, what it keeps; secrets, catalogs and FIFOs."""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import threading
import time
import tracemalloc
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import entrypoint
import pytest
from entrypoint import (
    HEAD_BYTES,
    Counter,
    EntrypointError,
    LastState,
    connection,
    fill,
    open_to_read,
    open_to_write,
    secret_reader,
    select_all,
)
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

SOURCE = Path(entrypoint.__file__).read_text(encoding="utf-8")
TYPES = ("RECORD", "RECORD", "RECORD", "SCHEMA", "STATE", "ACTIVATE_VERSION", "BATCH")
STREAMS = (
    "users",
    "users2",
    'a "quoted" name',
    "back\\slash",
    "line\nbreak",
    "tab\t",
    "größe",
    "日本",
    "😀",
    "\u2028",
    "nul\x00",
    "a}",
    "a,",
    '{"type": "RECORD", "stream": "x"}',
)
BAD_LINES = (
    b"INFO hello",
    b"[]",
    b"1",
    b"null",
    b"nan",
    b'"type"',
    b"{",
    b'{"stream": "users"}',
    b'{"type": 3, "stream": "users"}',
    b'{"type": "RECORD", "stream": 5}',
    b'{"type": "RECORD" "stream": "users"}',
    b'{"stream": "users", "type": "RECORD", "record": {}} trailing',
    b"\xff\xfe",
    b"{'type': 'RECORD', 'stream': 'users'}",
)

plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(STREAMS)
names = st.text(max_size=8)
values = st.recursive(plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3), max_leaves=8)
sizes = st.sampled_from((0, 0, 0, 0, 0, 1, 100, 5000, HEAD_BYTES - 60, HEAD_BYTES, HEAD_BYTES + 1, 3 * HEAD_BYTES))
spacing = st.sampled_from(((", ", ": "), (",", ":"), (" ,\t", " :  "), (",\r", ":\r")))


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    """Make one line as some tap might print it, without its newline."""
    kind = draw(st.sampled_from(TYPES))
    message: dict[str, Any] = {"type": kind}
    if kind == "STATE":
        message["value"] = draw(st.dictionaries(names, values, max_size=2))
    else:
        message["stream"] = draw(st.sampled_from(STREAMS) | st.text(min_size=1, max_size=8))
        message["record" if kind == "RECORD" else "schema"] = draw(st.dictionaries(names, values, max_size=3))
    size = draw(sizes)
    if size:
        message["padding"] = "x" * size
    if draw(st.booleans()):
        message = {key: message[key] for key in draw(st.permutations(list(message)))}
    text = json.dumps(message, ensure_ascii=draw(st.booleans()), separators=draw(spacing))
    before, after = draw(st.sampled_from((("", ""), ("", "\r"), (" \t", ""), ("", "  "))))
    return f"{before}{text}{after}".encode()


lines = st.lists(messages() | st.sampled_from((b"", b"\r", b"  ")), max_size=12)


@st.composite
def cut(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """Cut *data* into chunks: anywhere, or into equal ones."""
    small = [1, 7] if len(data) < 5000 else []
    size = draw(st.sampled_from((0, *small, 4096, HEAD_BYTES, 1 << 20)))
    if size:
        return [data[start : start + size] for start in range(0, len(data), size)]
    places = sorted({0, len(data), *draw(st.lists(st.integers(0, len(data)), max_size=12))})
    return [data[start:end] for start, end in pairwise(places)]


def counted(data: bytes) -> tuple[dict[str, int], dict[str, int], dict[str, int]]:
    """Count messages by type, records by stream and bytes by stream, in the simplest way."""
    types: dict[str, int] = {}
    records: dict[str, int] = {}
    sizes: dict[str, int] = {}
    for line in re.findall(rb"[^\n]*\n|[^\n]+$", data):
        if not line.strip():
            continue
        message = json.loads(line)
        kind, stream = message["type"], message.get("stream")
        types[kind] = types.get(kind, 0) + 1
        if kind == "RECORD":
            records[stream] = records.get(stream, 0) + 1
        if stream is not None:
            sizes[stream] = sizes.get(stream, 0) + len(line)
    return types, records, sizes


# --------------------------------------------------------------------------------------------------------- counting


@settings(max_examples=200)
@given(lines=lines, newline=st.booleans(), data=st.data())
def test_what_a_tap_says_is_passed_on_unchanged_and_counted(lines: list[bytes], newline: bool, data: st.DataObject) -> None:  # noqa: FBT001 - an example's value
    """However a tap's output is cut, it arrives byte for byte, no sooner than it was read, and the counts are those of its lines."""
    text = b"\n".join(lines) + b"\n" * newline
    counter, read, passed = Counter(), b"", b""
    for chunk in data.draw(cut(text)):
        read += chunk
        passed += counter.feed(chunk)
        assert read.startswith(passed)
    passed += counter.finish()
    assert passed == text
    assert (counter.messages, counter.records, counter.bytes) == counted(text)


@given(rows=st.lists(st.tuples(st.sampled_from(STREAMS), st.integers(1, 60)), min_size=1, max_size=6), size=st.integers(1, 5000))
def test_records_in_a_row_are_counted(rows: list[tuple[str, int]], size: int) -> None:
    """Most of a tap's output is many records of one stream one after the other: the counts are those of its lines, wherever it is cut."""
    text = b"".join(
        json.dumps({"type": "RECORD", "stream": stream, "record": {}}).encode() + b"\n" for stream, times in rows for _ in range(times)
    )
    counter = Counter()
    passed = b"".join(counter.feed(text[start : start + size]) for start in range(0, len(text), size))
    assert passed + counter.finish() == text
    assert (counter.messages, counter.records, counter.bytes) == counted(text)


@given(
    before=st.lists(messages() | st.just(b""), max_size=6),
    bad=st.sampled_from(BAD_LINES),
    after=st.lists(messages(), max_size=2),
    data=st.data(),
)
def test_a_line_that_is_no_message_is_named_and_not_passed_on(
    before: list[bytes], bad: bytes, after: list[bytes], data: st.DataObject
) -> None:
    """The error names the line; what came before it in earlier chunks has been passed on, and nothing from it on."""
    good = b"".join(line + b"\n" for line in before)
    text = good + b"\n".join([bad, *after])
    counter, read, passed = Counter(), b"", b""
    with pytest.raises(EntrypointError, match=rf"^Line {len(before) + 1} of the tap's output") as caught:  # noqa: PT012
        for chunk in data.draw(cut(text)):
            whole = read[: read.rfind(b"\n") + 1]
            read += chunk
            passed += counter.feed(chunk)
        counter.finish()
    assert caught.value.code == "E-TAP-OUTPUT"
    assert good.startswith(passed)
    assert len(passed) >= min(len(whole), len(good))
    assert (counter.messages, counter.records, counter.bytes) == counted(good)


def test_line_numbers_are_right_after_thousands_of_lines() -> None:
    """Line numbers count every line: alike ones, other ones, blank ones, long ones."""
    record = b'{"type": "RECORD", "stream": "s", "record": {}}\n'
    long = b'{"type": "RECORD", "stream": "s", "record": {"x": "' + b"x" * 100_000 + b'"}}\n'
    counter = Counter()
    counter.feed(record * 1000 + b"\n" + record * 400)
    counter.feed(record * 100)
    counter.feed(long[:70_000])
    counter.feed(long[70_000:] + b'{"type": "STATE", "value": {}}\n')
    with pytest.raises(EntrypointError, match=r"^Line 1,504 of the tap's output is not a Singer message: 'oops'\.$"):
        counter.feed(b"oops\n")
    assert (counter.messages, counter.records) == ({"RECORD": 1501, "STATE": 1}, {"s": 1501})


def test_a_long_offending_line_is_shortened() -> None:
    """An error shows enough of a line to recognise it, not megabytes."""
    counter = Counter()
    with pytest.raises(EntrypointError, match="xxxx…") as caught:
        counter.feed(b"x" * 1_000_000 + b"\n")
    assert len(caught.value.problem) < 400


ODD = {
    "invalid UTF-8": b'"record": {"name": "caf\xe9"}',
    "numbers beyond float": b'"record": {"a": 1e999, "b": -1E-999, "c": 1' + b"0" * 400 + b"}",
    "an integer of 5,000 digits": b'"record": {"a": ' + b"9" * 5000 + b"}",
    "nesting 100,000 deep": b'"record": ' + b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
    "a lone surrogate": b'"record": {"a": "\\ud800"}',
    "NUL bytes": b'"record": {"a": "\x00\x00"}',
}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
@pytest.mark.parametrize("head", [True, False], ids=["type first", "type last"])
@pytest.mark.parametrize("size", [1 << 20, 5000], ids=["whole", "in chunks"])
def test_odd_records_pass_unchanged_or_are_refused(odd: bytes, head: bool, size: int) -> None:  # noqa: FBT001 - a case
    """What is hardly JSON arrives as it was or is an error that names its line: never altered, never a crash."""
    kind = b'"type": "RECORD", "stream": "s"'
    line = b"{" + b", ".join([kind, odd] if head else [odd, kind]) + b"}\n"
    counter, passed, refused = Counter(), b"", ""
    try:
        for start in range(0, len(line), size):
            passed += counter.feed(line[start : start + size])
        passed += counter.finish()
    except EntrypointError as error:
        refused = f"{error.code} {error.problem}"
    if refused and not head:
        assert refused.startswith("E-TAP-OUTPUT Line 1 of")
        assert (passed, counter.records, counter.bytes) == (b"", {}, {})
    else:
        assert (refused, passed) == ("", line)
        assert (counter.records, counter.bytes) == ({"s": 1}, {"s": len(line)})


def test_memory_does_not_grow_with_a_line() -> None:
    """A record of 64 MB goes through in chunks of 64 kB with a few of them in memory."""
    counter, chunk, passed = Counter(), b"x" * 65536, 0
    tracemalloc.start()
    try:
        passed += len(counter.feed(b'{"type": "RECORD", "stream": "s", "record": {"x": "'))
        for _ in range(1024):
            passed += len(counter.feed(chunk))
        passed += len(counter.feed(b'"}}\n'))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert (counter.records, counter.bytes) == ({"s": 1}, {"s": passed})


def test_the_beginning_of_a_long_line_is_not_held_back() -> None:
    """A reader gets a large record while it is being written."""
    counter = Counter()
    beginning = b'{"type": "RECORD", "stream": "s", "record": {"x": "'
    assert counter.feed(beginning) == beginning
    assert counter.feed(b"abc") == b"abc"


# ------------------------------------------------------------------------------------------------------------ state

state_lines = st.lists(
    st.dictionaries(names, values, max_size=2).map(json.dumps).filter(lambda line: not re.search("NaN|Infinity", line))
    | st.sampled_from(("{}", "", "  ", "\r", ' {"a": 1}\r')),
    max_size=10,
)


@given(lines=state_lines, newline=st.booleans(), data=st.data())
def test_the_last_state_is_kept(lines: list[str], newline: bool, data: st.DataObject) -> None:  # noqa: FBT001 - an example's value
    """However a target's output is cut, its last JSON object that is not empty is the state."""
    states = [value for line in lines if line.strip() and (value := json.loads(line))]
    last = LastState()
    for chunk in data.draw(cut(("\n".join(lines) + "\n" * newline).encode())):
        last.feed(chunk)
    last.finish()
    assert json.dumps(last.state) == json.dumps(states[-1] if states else None)


@pytest.mark.parametrize(
    "line",
    ["done", "[1]", "1", "null", '"state"', '{"a": 1', '{"a": 1} {"b": 2}', "[" * 100_000, "\udcff", '{"n": NaN}', '{"n": [-Infinity]}'],
)
@pytest.mark.parametrize("end", ["\n", ""], ids=["newline", "end"])
def test_a_target_may_print_only_states(line: str, end: str) -> None:
    """Any other line is E-TARGET-OUTPUT, shows the line, and leaves the state before it known."""
    last = LastState()
    last.feed(b'{"a": 1}\n')
    with pytest.raises(EntrypointError, match="printed a line that is not a state") as caught:  # noqa: PT012
        for chunk in (line.encode("utf-8", "surrogateescape"), end.encode()):
            last.feed(chunk)
        last.finish()
    assert caught.value.code == "E-TARGET-OUTPUT"
    assert len(caught.value.problem) < 400
    assert last.state == {"a": 1}


# ---------------------------------------------------------------------------------------------------------- secrets

dollars = st.text(alphabet="${}aA_1 \n", max_size=12)


def nested(texts: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    """Make configs with *texts* as their strings."""
    return st.recursive(
        texts | st.none() | st.booleans() | st.integers(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    )


def never(name: str) -> str:
    """Fail: no secret is asked for."""
    raise AssertionError(name)


@given(nested(dollars.filter(lambda text: "${" not in text)))
def test_a_config_without_secrets_is_unchanged(config: object) -> None:
    """Dollars and braces that are no ``${`` stay as they are, and no secret is looked up."""
    assert fill(config, never) == config


@given(dollars)
def test_every_text_can_be_written_literally(text: str) -> None:
    """With ``$${`` for every ``${`` any text comes out as it was meant."""
    assert fill([text.replace("${", "$${")], never) == [text]


@given(st.text(), st.text(alphabet="ab \n", max_size=5), st.text(alphabet="ab}{", max_size=5))
def test_a_secret_is_put_in_as_it_is(value: str, before: str, after: str) -> None:
    """Any secret, also one with ``${``, quotes and backslashes, replaces its name in the config, at any depth."""
    config = {"a": [{"b": f"{before}${{NAME}}{after}${{NAME}}"}], "n": 1}
    assert fill(config, {"NAME": value}.__getitem__) == {"a": [{"b": f"{before}{value}{after}{value}"}], "n": 1}


@pytest.mark.parametrize("text", ["${}", "${1A}", "${A", "${A-B}", "$A", "$ {A}", "${ A }"])
def test_what_is_no_name_is_no_secret(text: str) -> None:
    """Only ``${NAME}`` is replaced; keys never are."""
    assert fill({"${A}": text}, never) == {"${A}": text}


def test_a_secret_comes_from_its_file_else_from_the_environment(tmp_path: Path) -> None:
    """The folder's file wins over the environment, to the last byte; what is in neither is E-SECRET without any value in it."""
    (tmp_path / "TOKEN").write_text("from the file\n", encoding="utf-8")
    secret = secret_reader(tmp_path, {"TOKEN": "from the environment", "USER": "me"})
    assert (secret("TOKEN"), secret("USER")) == ("from the file\n", "me")
    with pytest.raises(EntrypointError, match=r"\$\{OTHER\}, which is not set") as caught:
        secret("OTHER")
    assert caught.value.code == "E-SECRET"


def test_a_transforms_connection() -> None:
    """Each text, number and boolean of the target's config is a variable; one with a secret in it has the name that dbt hides."""
    config = {
        "host": "db",
        "port": 5432,
        "ssl": True,
        "default-schema": "x",
        "password": "${PW}",
        "url": "a:${PW}@b",
        "literal": "$${PW}",
        "more": {},
        "none": None,
    }
    assert connection(config, {"PW": "secret"}.__getitem__) == {
        "TARGET_HOST": "db",
        "TARGET_PORT": "5432",
        "TARGET_SSL": "true",
        "TARGET_DEFAULT_SCHEMA": "x",
        "DBT_ENV_SECRET_TARGET_PASSWORD": "secret",
        "DBT_ENV_SECRET_TARGET_URL": "a:secret@b",
        "TARGET_LITERAL": "${PW}",
    }


# --------------------------------------------------------------------------------------------------------- catalogs


def root_facts(stream: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata of the stream itself."""
    (facts,) = [item["metadata"] for item in stream["metadata"] if item["breadcrumb"] == []]
    return dict(facts)


@pytest.mark.parametrize(
    ("facts", "selected"),
    [
        ({}, True),
        ({"inclusion": "available"}, True),
        ({"inclusion": "automatic"}, True),
        ({"selected-by-default": True}, True),
        ({"selected-by-default": False}, False),
        ({"selected": False}, False),
        ({"selected": True, "selected-by-default": False}, True),
        ({"inclusion": "unsupported"}, False),
        ({"inclusion": "unsupported", "selected": True}, False),
    ],
)
def test_every_stream_is_selected_that_does_not_say_otherwise(facts: dict[str, Any], selected: bool) -> None:  # noqa: FBT001 - a case
    """A discovered stream is selected for both kinds of taps, and the rest of its entry is kept."""
    field = {"breadcrumb": ["properties", "id"], "metadata": {"inclusion": "automatic"}}
    stream = {
        "tap_stream_id": "s",
        "schema": {"type": "object"},
        "metadata": [field, {"breadcrumb": [], "metadata": {"table-key-properties": ["id"], **facts}}],
    }
    catalog = select_all({"streams": [stream], "version": 1})
    (stream,) = catalog["streams"]
    assert catalog["version"] == 1
    assert (stream["selected"], root_facts(stream)["selected"]) == (selected, selected)
    assert root_facts(stream) == {"table-key-properties": ["id"], **facts, "selected": selected}
    assert field in stream["metadata"]
    assert (stream["tap_stream_id"], stream["schema"]) == ("s", {"type": "object"})


@pytest.mark.parametrize("metadata", [None, {}, "x", [], [None, 3, "x"], [{"metadata": {}}]], ids=repr)
def test_a_stream_without_metadata_is_selected(metadata: object) -> None:
    """A stream whose metadata is missing or odd is selected too."""
    (stream,) = select_all({"streams": [{"stream": "s", "metadata": metadata}]})["streams"]
    assert stream["selected"] is True
    assert {"breadcrumb": [], "metadata": {"selected": True}} in stream["metadata"]


@pytest.mark.parametrize("facts", [None, [], "x", 1], ids=repr)
def test_odd_facts_about_a_stream_do_not_crash(facts: object) -> None:
    """A stream whose own metadata is no mapping is selected, or refused as what is no catalog."""
    catalog = {"streams": [{"stream": "s", "metadata": [{"breadcrumb": [], "metadata": facts}]}]}
    with suppress(EntrypointError):
        (stream,) = select_all(catalog)["streams"]
        assert stream["selected"] is True


@given(st.lists(values))
def test_odd_catalogs_do_not_crash(streams: list[Any]) -> None:
    """What is no stream is left as it is."""
    others = [stream for stream in streams if not isinstance(stream, dict)]
    catalog = select_all({"streams": list(streams)})
    assert repr([stream for stream in catalog["streams"] if not isinstance(stream, dict)]) == repr(others)


# ------------------------------------------------------------------------------------------------------------ FIFOs


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """Make a FIFO."""
    path = tmp_path / "fifo"
    os.mkfifo(path)
    return path


def later(call: Callable[[], object], seconds: float = 0.15) -> threading.Thread:
    """Call something in a moment, in a thread."""
    thread = threading.Timer(seconds, call)
    thread.start()
    return thread


def all_of(descriptor: int) -> bytes:
    """Read a descriptor to its end and close it."""
    with open(descriptor, "rb") as file:
        return file.read()


@pytest.mark.parametrize(("opens", "verb"), [(open_to_read, "writes into"), (open_to_write, "reads")], ids=["read", "write"])
def test_nobody_on_the_other_side(fifo: Path, opens: Callable[[str, float], int], verb: str) -> None:
    """A FIFO that nobody opens on the other side is E-PIPE after the time allowed, and the error names the missing side."""
    began = time.monotonic()
    with pytest.raises(EntrypointError, match=f"No process {verb} {fifo}") as caught:
        opens(str(fifo), 0.3)
    assert caught.value.code == "E-PIPE"
    assert time.monotonic() - began > 0.25


def test_a_writer_that_comes_late(fifo: Path) -> None:
    """A reader waits for a writer and gets everything."""
    thread = later(lambda: fifo.write_bytes(b"data" * 50_000))
    assert all_of(open_to_read(str(fifo), 10)) == b"data" * 50_000
    thread.join()


def test_a_writer_that_has_nothing_to_say(fifo: Path) -> None:
    """A writer that comes and goes without a byte is an empty stream, not an error."""
    thread = later(lambda: fifo.write_bytes(b""))
    assert all_of(open_to_read(str(fifo), 10)) == b""
    thread.join()


def test_a_writer_that_is_slow_with_its_first_byte(fifo: Path) -> None:
    """The time allowed is for opening: a tap that opened the pipe may take longer than that to say its first word."""
    writer = os.open(fifo, os.O_RDWR)  # opens without waiting for a reader

    def slowly() -> None:
        time.sleep(0.6)
        entrypoint.write_all(writer, b"late")
        os.close(writer)

    thread = threading.Thread(target=slowly)
    thread.start()
    try:
        content = all_of(open_to_read(str(fifo), 0.3))
    finally:
        descriptor = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)  # so that the writer ends in any case
        thread.join()
        os.close(descriptor)
    assert content == b"late"


def test_a_reader_that_comes_late(fifo: Path) -> None:
    """A writer waits for a reader, who gets everything; more than a pipe holds does not fail."""
    received: list[bytes] = []
    thread = later(lambda: received.append(fifo.read_bytes()))
    descriptor = open_to_write(str(fifo), 10)
    try:
        entrypoint.write_all(descriptor, b"data" * 50_000)
    finally:
        os.close(descriptor)
        thread.join()
    assert received == [b"data" * 50_000]


def test_a_file_is_written_anew_and_for_its_owner_only(tmp_path: Path) -> None:
    """A plain file needs no other side; what it held is gone, and others may not read it."""
    path = tmp_path / "file"
    descriptor = open_to_write(str(path), 0)
    entrypoint.write_all(descriptor, b"new")
    os.close(descriptor)
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"new", 0o600)
    assert all_of(open_to_read(str(path), 0)) == b"new"
    os.close(open_to_write(str(path), 0))
    assert path.read_bytes() == b""


# ------------------------------------------------------------------------------------------------------- the program


def imported(tree: ast.AST) -> Iterable[str]:
    """Yield the top-level modules that a program imports, anywhere in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (name.name.split(".")[0] for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield (node.module or "").split(".")[0]


def test_it_is_written_for_python_3_8() -> None:
    """Connectors need old Pythons: the entrypoint's syntax is that of 3.8."""
    ast.parse(SOURCE, feature_version=(3, 8))


def test_it_needs_the_standard_library_only() -> None:
    """An image needs nothing but a Python to run it."""
    assert set(imported(ast.parse(SOURCE))) <= sys.stdlib_module_names
