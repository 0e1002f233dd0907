"""Odd content of files, odd output of connectors: a sentence and an exit code, never a traceback, a hang, or a write elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import entrypoint
import pytest
from checkout import Checkout
from fault_pipeline import Ground
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

faults = settings.get_profile("faults")
SECONDS = 60
DEEP = 10_000
WIDE = 100_000_000
MEMORY_KB = 256_000
"""Address space of a runner, its connector and the shells between them: much less than what passes, or than one line of it."""

ODD = [
    b"",
    b"\0",
    b"\xff\xfe",
    b"\xef\xbb\xbf{}",
    b'{"n": "\\ud800"}',
    b'{"\\ud800": 1}',
    b'{"n": 1, "n": 2}',
    b'{"n": 1e999}',
    b'{"n": -1E+999, "m": NaN}',
    b'{"n": ' + b"9" * 5000 + b"}",
    b"[" * DEEP + b"]" * DEEP,
    b'{"a":' * DEEP + b"1" + b"}" * DEEP,
    b"{}\n{}",
    b'{"streams": [[[{}]]]}',
    b'{"streams": [{"tap_stream_id": "\\u0000", "schema": {}}]}',
    b"null",
    b'"text"',
    b"\r\n\r\n",
    b"a: &a [x]\nb: &b [*a, *a]\n",
    b"\n".join(b"a%d: &a%d [%s]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 9) if n else b"x") for n in range(12)),
    b"&a [*a]",
    b"p: &p {tap: *p}",
    b"? {a: b}\n: c",
    b"!!binary x",
    b"!!timestamp 9999-99-99",
    b"2001-13-45: x",
    b"- " * 300,
    b"%YAML 9.9\n---\n{}",
    b"--- {}\n--- {}",
    b"p: !!float 1_000e9999\n",
    b"<<: {tap: x}\n",
    b"\xe2\x80\xa8: \xc2\x85",
    b"=",
    b"A=\0",
    b"export =",
    b"A='" + b"x" * 100_000,
]
"""What a file may hold that nobody meant to write. The longest of the YAML ones would be nine times nine times … texts."""

FILES = {
    "singer-configs/pipelines.yaml": {"p": {"tap": "tap-scripted", "target": "target-scripted", "timeout": "1m", "retries": 1, "schedule": "0 6 * * *"}},
    "singer-configs/tap-scripted/connector.yaml": {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": ["catalog", "state"]},
    "singer-configs/tap-scripted/config.json": {"steps": [["schema", "s"]]},
    "singer-configs/tap-scripted/catalog.json": {"streams": [{"tap_stream_id": "s", "schema": {}, "metadata": []}]},
    "singer-configs/tap-scripted/state.json": {"n": 1},
    ".local/buckets/singer-configs/pipelines/p/state.json": {"n": 1},
    ".local/buckets/singer-configs/owner.json": {"engine": "local"},
    ".local/buckets/artifacts/runs/p/20200101t000000-aaaa/run.json": {"schema": 1, "run": "20200101t000000-aaaa", "pipeline": "p"},
    ".local/locks/p.lock": "20200101t000000-aaaa",
    ".local/instance.json": {"cluster": "x"},
    ".env": "A=1\nB='2'\n",
    "invoke.yaml": {"singer": {"engine": "local"}},
}  # fmt: skip
"""The files that the commands read, and something right to begin from."""

texts = st.text(max_size=12) | st.sampled_from(
    ["../..", "/etc", "${A}", "${", "$${", "~", "-", "--help", "1e999", "\ud800", "\0", "p", "x" * 5000]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def changed(right: Any, draw: Callable[[st.SearchStrategy[Any]], Any]) -> Any:
    """Return *right* with something in it replaced by anything."""
    if isinstance(right, dict) and right and draw(st.integers(0, 5)):
        key = draw(st.sampled_from(sorted(right)))
        return {**right, (draw(texts) if draw(st.integers(0, 5)) == 0 else key): changed(right[key], draw)}
    if isinstance(right, list) and right and draw(st.booleans()):
        return [changed(right[0], draw), *right[1:]]
    return draw(values)


@st.composite
def contents(draw: Callable[[st.SearchStrategy[Any]], Any], right: Any) -> bytes:
    """Draw what a file may hold: odd things, the right thing with something replaced, or any bytes."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return bytes(draw(st.sampled_from(ODD)))
    if kind == 1:
        return bytes(draw(st.binary(max_size=60)))
    if isinstance(right, str):
        more: str = draw(st.text(max_size=40))
        return (right + more).encode("utf-8", "surrogatepass")
    text: str = json.dumps(changed(right, draw), ensure_ascii=kind == 2)
    return text.encode("utf-8", "surrogatepass")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Ground]:
    """Yield a pipeline whose buckets are folders."""
    with Ground(Checkout(tmp_path_factory.mktemp("ground") / "checkout", shared)) as made:
        yield made


def around(root: Path) -> set[str]:
    """Return the names of all that lies beside a checkout, and in it outside of the places where we write."""
    inside = {str(file) for file in root.rglob("*") if file.relative_to(root).parts[0] not in {".local", "output"}}
    return {str(file) for file in root.parent.iterdir() if not file.name.startswith("out")} | {
        name for name in inside if "__pycache__" not in name
    }


def answers(ground: Ground, *words: str) -> None:
    """See that a command ends in time, with a sentence where something is wrong."""
    command = ground.start(*words)
    timer = threading.Timer(SECONDS, command.kill, (signal.SIGKILL,))
    timer.start()
    code = command.wait()
    timer.cancel()
    assert code in {0, 1, 2}, (words, code, command.err[-2000:])
    assert "Traceback" not in command.err, command.err
    assert code == 0 or command.err.count("→") == 1, command.err


COMMANDS = [
    ("run", "p", "--engine", "local", "--json"),
    ("runs", "--json"),
    ("state", "p", "--engine", "local"),
    ("show", "last"),
    ("status",),
]


@pytest.mark.parametrize("name", FILES)
@faults
@given(st.data())
def test_any_file(ground: Ground, name: str, data: st.DataObject) -> None:
    """Any text may be in a file that a command reads."""
    root = ground.checkout.root
    for file, right in FILES.items():
        path = root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(right if isinstance(right, str) else json.dumps(right), encoding="utf-8")
        if file in {".local/instance.json", ".local/buckets/artifacts/runs/p/20200101t000000-aaaa/run.json"}:
            path.unlink()
    before = around(root)
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_bytes(data.draw(contents(FILES[name])))
    for words in data.draw(st.lists(st.sampled_from(COMMANDS), min_size=1, max_size=2)):
        answers(ground, *words)
    (root / name).unlink(missing_ok=True)
    assert around(root) - before <= {str(root / "singer-configs" / f"{side}-scripted" / "requirements.lock") for side in ("tap", "target")}


@pytest.mark.parametrize(
    "text", ["[1]", "singer: [", "singer: 1", "\0", "singer: {engine: {}}", "run: 1", f"a: {'{b: ' * 490}1{'}' * 490}"]
)
def test_an_invoke_yaml_that_is_none(ground: Ground, text: str) -> None:
    """An invoke.yaml that cannot be read is named in a sentence."""
    file = ground.checkout.root / "invoke.yaml"
    file.write_text(text, encoding="utf-8")
    command = ground.start("runs")
    assert (command.wait(), command.err.split()[0], "invoke.yaml" in command.err) == (1, "E-CONFIG", True)
    file.unlink()


@faults
@given(
    st.sampled_from(["ENGINE", "LOCAL_STORE", "S3_ENDPOINT", "BUCKET_CONFIGS", "PROXY", "CA_BUNDLE", "PORT_S3", "IMAGES", "CLUSTER"]),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20),
)
def test_any_setting(ground: Ground, key: str, value: str) -> None:
    """A setting may have any value."""
    environ: dict[str, Any] = {f"INVOKE_SINGER_{key}": value}
    command = ground.start("runs", **environ)
    assert command.wait() in {0, 1}, command.err
    assert "Traceback" not in command.err, command.err


# ------------------------------------------------------------------------------------------------ what connectors say

RECORD = b'{"type": "RECORD", "stream": "s", "record": {"n": 1}}'
LINES = [
    RECORD,
    RECORD.replace(b"1", b"9" * 5000),
    RECORD.replace(b"1", b"1e999"),
    RECORD.replace(b"1", b"[" * DEEP + b"]" * DEEP),
    RECORD.replace(b"n", b"\xff\xfe"),
    RECORD.replace(b"n", b"\\ud800"),
    RECORD.replace(b"n", b"\0"),
    RECORD.replace(b'"s"', b'"\\ud800"'),
    RECORD.replace(b'"s"', b'"\xff"'),
    RECORD.replace(b'"s"', b'"s", "stream": "t"'),
    b'{"record": {"n": 1}, "stream": "s", "type": "RECORD"}',
    b'{"record": ' + b'{"a":' * DEEP + b"1" + b"}" * DEEP + b', "type": "RECORD"}',
    b'{"type": "RECORD"}',
    b'{"type": ["RECORD"]}',
    b'{"type": "RECORD", "stream": {}}',
    b'{"type": "STATE", "value": {}}',
    b'{"type": "\\ud800"}',
    *ODD,
]


@faults
@given(
    st.lists(st.sampled_from(LINES) | st.binary(max_size=30), max_size=6),
    st.booleans(),
    st.lists(st.integers(1, 200), min_size=1, max_size=5),
)
def test_any_line(lines: list[bytes], newline: bool, cuts: list[int]) -> None:  # noqa: FBT001 - an example's value
    """A tap and a target may print anything, cut anywhere: it is counted and passed on as it is, or refused with a sentence."""
    data = b"\n".join(lines) + b"\n" * newline
    pieces, start = [], 0
    for number in range(len(data)):
        size = cuts[number % len(cuts)] ** 2
        pieces.append(data[start : start + size])
        start += size
        if start >= len(data):
            break
    counter, passed = entrypoint.Counter(), b""
    with suppress(entrypoint.EntrypointError):
        for piece in pieces:
            passed += counter.feed(piece)
        passed += counter.finish()
        assert passed == data
    assert data.startswith(passed)
    json.dumps([counter.records, counter.bytes, counter.messages]).encode()
    last = entrypoint.LastState()
    with suppress(entrypoint.EntrypointError):
        for piece in pieces:
            last.feed(piece)
        last.finish()


def runner(tmp_path: Path, side: str, script: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
    """Run one side with little memory; its connector is a script of the shell, its input none."""
    connector = tmp_path / "connector"
    connector.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    connector.chmod(0o700)
    paths = {name: str(tmp_path / name.lower()) for name in ("SINGER_NEW_STATE", "SINGER_OUTPUT_DIR", "SINGER_REPORT", "SINGER_WORK")}
    environ = {"PATH": os.environ["PATH"], "SINGER_EXECUTABLE": str(connector), "SINGER_TAP_INPUT": "-", **paths, **environ}
    command = ["sh", "-c", f'ulimit -v {MEMORY_KB}; exec "$@"', "sh", sys.executable, "-I", "-S", entrypoint.__file__, side]
    return subprocess.run(command, env=environ, stdin=subprocess.DEVNULL, capture_output=True, timeout=SECONDS, check=False)


FILL = f"head -c {WIDE} /dev/zero | tr '\\0' x"
HEAD = '{"type": "RECORD", "stream": "s", "record": {"text": "'


@pytest.mark.full  # passes 100 MB through pipes
@pytest.mark.parametrize("end", [r'"}}\n', '"}}'], ids=["newline", "no newline"])
def test_a_line_of_100_mb(tmp_path: Path, end: str) -> None:
    """A record of 100 MB passes, with or without a newline at its end, through a runner that has not the memory for it."""
    sink = tmp_path / "sink"
    done = runner(tmp_path, "tap", f"printf '{HEAD}'; {FILL}; printf '{end}'", SINGER_TAP_OUTPUT=str(sink))
    assert (done.returncode, done.stderr) == (0, b"")
    assert sink.stat().st_size == WIDE + len(HEAD) + len(end.replace(r"\n", "\n"))
    assert json.loads((tmp_path / "singer_report").read_text(encoding="utf-8"))["records"] == {"s": 1}


@pytest.mark.full  # reads until its memory is full
@pytest.mark.parametrize("side", ["tap", "target"])
def test_a_line_of_a_gigabyte_that_is_nothing(tmp_path: Path, side: str) -> None:
    """A line without end that is no message is more than the runner can hold: it reports that, and ends the connector."""
    done = runner(tmp_path, side, "cat /dev/zero", SINGER_TAP_OUTPUT=os.devnull, SINGER_TARGET_OUTPUT=os.devnull)
    assert b"Traceback" not in done.stderr
    code = "E-TAP-OUTPUT" if side == "tap" else "E-TARGET-OUTPUT"
    assert (done.returncode, done.stderr.decode().split()[0]) == (entrypoint.OWN_ERROR, code)
    assert json.loads((tmp_path / "singer_report").read_text(encoding="utf-8"))["error"]["code"] == code
