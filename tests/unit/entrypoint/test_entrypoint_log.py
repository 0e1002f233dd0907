"""The entrypoint and a connector's log: no secret in it, its warnings kept, a helper process that holds it."""

from __future__ import annotations

import base64
import json
import re
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import entrypoint
import pytest
from entrypoint import Encoding, Redactor, written_forms
from entrypoint_process import RECORD, SAYS, STATE, Box
from hypothesis import given
from hypothesis import strategies as st

from cluster.project import redaction

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "p\u00e4ss'w\"ord<&> %2F\\n+=/"
SCHEMA = '{"type": "SCHEMA", "stream": "s", "schema": {"properties": {"id": {}}}, "key_properties": ["id"]}\n'


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return an empty box."""
    return Box(tmp_path)


# ----------------------------------------------------------------------------------------------------------- secrets


@given(st.text(min_size=4).filter(str.strip), st.binary(max_size=7), st.binary(max_size=7))
def test_no_common_encoding_of_a_secret_stays(value: str, before: bytes, after: bytes) -> None:
    """A secret is replaced as it is, in JSON, in an address, in Python's notation and in base64, alone or in a longer text."""
    redactor = Redactor()
    redactor.add(value)
    encoded = value.encode("utf-8", "surrogateescape" if value.isprintable() else "surrogatepass")
    for form in {value, json.dumps(value), quote(value, safe="", errors="replace"), repr(value)}:
        assert value.strip() not in redactor.text(f"begin {form} end") or len(value.strip()) < 4
    if len(encoded) >= 9:
        text = base64.b64encode(before + encoded + after)
        assert redactor.hide(text) != text


def test_both_engines_know_the_same_forms() -> None:
    """What the entrypoint hides in logs, doctor's bundle and the page hide too."""
    assert written_forms(SECRET) <= set(redaction.written_forms(SECRET))


@pytest.mark.parametrize("side", ["tap", "target"])
def test_a_log_holds_no_secret(box: Box, side: str) -> None:
    """What a connector prints of its secrets reaches neither log nor report, also when it is written in two halves."""
    box.write("secrets/TOKEN", "s3cret-token")
    box.write("config.json", {"token": "${TOKEN}"})
    encoded = base64.b64encode(b"u:s3cret-token").decode()
    script = f"printf 'INFO half s3cret-' >&2; sleep 0.2; echo token >&2; echo 'WARNING {encoded} of s3cret-token' >&2; exit 3"
    result = box.run(side, script)
    assert "s3cret" not in result.err + json.dumps(box.report)
    assert encoded[8:16] not in result.err
    assert "INFO half ***" in result.err
    assert box.report["warnings"] == ["*** of ***"] or "***" in box.report["warnings"][0]


def test_an_offending_line_shows_no_secret(box: Box) -> None:
    """A tap that prints its secret among its messages: the error names the line without it."""
    box.write("secrets/TOKEN", "s3cret-token")
    box.write("config.json", {"token": "${TOKEN}"})
    result = box.run("tap", "echo my token is s3cret-token")
    assert result.code == entrypoint.OWN_ERROR
    assert "s3cret" not in result.err + json.dumps(box.report)
    assert "my token is ***" in result.err


# ---------------------------------------------------------------------------------------------------------- warnings


def test_warnings_are_reported(box: Box) -> None:
    """The first warnings of a log are in the report, each once; what the SDK prints at every run is not."""
    lines = [
        "WARNING tap: one",
        "2026-01-01 | WARNING | tap-x | two",
        "WARNING Stream is assumed to be unsorted, no resume",
        "WARNING tap: one",
    ]
    box.run("tap", "".join(f"echo '{line}' >&2\n" for line in lines) + SAYS)
    assert [re.sub("^tap: ", "", text) for text in box.report["warnings"]] == ["one", "two"]


def test_the_level_of_a_coloured_line_is_read(box: Box) -> None:
    """A colour ends in a letter, right before the level."""
    box.run("tap", f"printf '2026-01-01 [\\033[33mWARNING\\033[0m] tap-x: one\\n' >&2\n{SAYS}")
    assert box.report["warnings"] == ["tap-x: one"]


@pytest.mark.parametrize(("side", "line"), [("tap", "ERROR no rights"), ("target", "2026 | \033[31mCRITICAL\033[0m | x | no rights")])
def test_an_error_in_the_log_of_a_success_is_a_warning(box: Box, side: str, line: str) -> None:
    """Green means loaded: a connector that logs an error and ends with 0 is noticed; one that fails has its error."""
    script = f"cat >/dev/null; printf '{line}\\nINFO got ERROR 500, again\\n' >&2"
    assert box.run(side, script).code == 0
    assert box.report["warnings"] == [f"The {side} logged an error, and ended with exit code 0: no rights"]
    box.run(side, f"{script}; exit 1")
    assert box.report["warnings"] == []


COLUMNS = ("id", "gone", "old")
CHANGED: dict[str, tuple[dict[str, Any], tuple[str, ...], list[str]]] = {
    "a column is gone": ({}, COLUMNS, ["The schema of s lacks selected columns: gone, old. Run invoke discover to see what exists."]),
    "all are there": ({}, ("id",), []),
    "the tap uses other names": ({}, ("ID",), []),
    "the tap itself removes it": ({"stream_maps": {"s": {"gone": None}}}, COLUMNS, []),
}


@pytest.mark.parametrize(("config", "columns", "warned"), CHANGED.values(), ids=CHANGED)
def test_a_selected_column_that_is_gone_is_a_warning(box: Box, config: dict[str, Any], columns: tuple[str, ...], warned: list[str]) -> None:
    """Green means loaded: a column that the source no longer has is named; not one that the tap was asked to leave out."""
    marks = [{"breadcrumb": ["properties", name], "metadata": {"selected": True}} for name in columns]
    marks += [{"breadcrumb": ["properties", "odd"], "metadata": {"selected": True, "inclusion": "unsupported"}}]
    box.write("catalog.json", {"streams": [{"stream": "s", "schema": {}, "selected": True, "metadata": marks}]})
    box.write("config.json", config)
    assert box.run("tap", f"cat <<'END'\n{SCHEMA}{RECORD}END").code == 0
    assert box.report["warnings"] == warned


SELECTED_NONE = {
    "deselected": [{"stream": "s", "schema": {}, "metadata": [{"breadcrumb": [], "metadata": {"selected": False}}]}],
    "never selected": [{"stream": "s", "schema": {}, "metadata": []}],
    "no stream": [],
}


@pytest.mark.parametrize("streams", SELECTED_NONE.values(), ids=SELECTED_NONE)
def test_a_catalog_that_selects_nothing_is_a_warning(box: Box, streams: list[dict[str, Any]]) -> None:
    """Green means loaded: a tap that sends nothing because nothing is selected; not one that selects by other means."""
    box.write("catalog.json", {"streams": streams})
    box.run("tap", "exit 0")
    (warning,) = box.report["warnings"]
    assert warning.startswith("No stream of the catalog is selected")
    box.run("tap", SAYS)
    assert box.report["warnings"] == []


def test_a_selected_stream_that_is_gone_is_a_warning(box: Box) -> None:
    """Green means loaded: a stream of the catalog for which the tap sends nothing is named."""
    selected = {"breadcrumb": [], "metadata": {"selected": True}}
    streams: list[dict[str, Any]] = [
        {"stream": name, "tap_stream_id": name, "schema": {}, "metadata": [selected]} for name in ("s", "renamed")
    ]
    box.write("catalog.json", {"streams": streams})
    result = box.run("tap", f"cat <<'END'\n{SCHEMA}{RECORD}END")
    assert result.code == 0
    assert len(box.report["warnings"]) == 1
    assert "renamed" in box.report["warnings"][0]


def test_a_secret_that_the_tap_replaces_is_named(box: Box) -> None:
    """A tap that writes a new refresh token into its config: the run names the variable, and shows neither value."""
    box.write("secrets/TOKEN", "old-token-1")
    box.write("config.json", {"refresh_token": "${TOKEN}", "base": "EUR"})
    box.run("tap", f"""sed 's/old-token-1/new-token-2/' "$2" >"$BOX/new" && cat "$BOX/new" >"$2"\n{SAYS}""")
    (warning,) = box.report["warnings"]
    assert warning.startswith("The tap replaced TOKEN in its config.")
    assert "token-" not in json.dumps(box.report)


def test_a_stream_that_is_not_selected_may_be_away(box: Box) -> None:
    """Nothing is expected of a stream that nobody selected."""
    box.write("catalog.json", {"streams": [{"stream": "other", "schema": {}, "metadata": [{"breadcrumb": [], "metadata": {}}]}]})
    box.run("tap", SAYS)
    assert box.report["warnings"] == []


# ----------------------------------------------------------------------------------------------------- bytes of a tap

FAULTS = {
    "latin-1": (
        SCHEMA.encode() + b'{"type": "RECORD", "stream": "s", "record": {"id": "caf\xe9"}}\n',
        2,
        "is not UTF-8 (byte 0xe9)",
    ),
    "a byte order mark": (b"\xef\xbb\xbf" + SCHEMA.encode(), 1, "begins with a byte order mark (BOM)"),
    "half a character": (
        SCHEMA.encode() * 2 + b'{"type": "RECORD", "stream": "s", "record": {"id": "\\ud83d"}}\n',
        3,
        "has half of a character (\\ud83d)",
    ),
    "the other half": (b'{"type": "RECORD", "stream": "s", "record": {"id": "\\uDE00"}}\n', 1, "has half of a character (\\uDE00)"),
}
SOUND = "\u00e9\u4e2d\U0001f600"


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 13, 1000])
@pytest.mark.parametrize(("data", "line", "fault"), FAULTS.values(), ids=FAULTS)
def test_a_fault_in_the_bytes_is_noticed_wherever_they_are_cut(data: bytes, line: int, fault: str, size: int) -> None:
    """The line and the fault are named, however the stream is cut into chunks."""
    if "BOM" in fault and size < 3:
        pytest.skip("a pipe delivers more than two bytes first")
    encoding, lines = Encoding(), 0
    for start in range(0, len(data), size):
        encoding.look(data[start : start + size], lines)
        lines += data[start : start + size].count(b"\n")
    encoding.finish(lines)
    assert (encoding.fault_line, encoding.fault) == (line, fault)


@given(st.text(), st.integers(1, 40), st.booleans())
def test_sound_text_is_no_fault(text: str, size: int, ascii_only: bool) -> None:  # noqa: FBT001 - an argument of the property
    """Any text that a tap sends as JSON, escaped or not, passes without a fault."""
    text = text.encode("utf-8", "ignore").decode() + SOUND + "\\ud83d"
    data = json.dumps({"type": "RECORD", "stream": "s", "record": {"id": text}}, ensure_ascii=ascii_only).encode() + b"\n"
    encoding = Encoding()
    for start in range(0, len(data), size):
        encoding.look(data[start : start + size], 0)
    encoding.finish(0)
    assert encoding.fault == ""


def test_a_fault_is_reported_and_the_bytes_pass(box: Box) -> None:
    """The run goes on with such bytes: the target may take them. The report names the line; a blank line counts too."""
    box.write("lines", RECORD + "\n" + STATE)
    result = box.run("tap", 'cat "$BOX/lines"')
    assert (result.code, result.out) == (0, RECORD + "\n" + STATE)
    assert box.report["fault"] == {"line": 2, "problem": "is blank"}


# ---------------------------------------------------------------------------------------------------- helper processes


@pytest.mark.full  # waits for seconds
@pytest.mark.parametrize("held", ["1", "2"])
def test_a_helper_that_outlives_the_connector_does_not_hold_the_run(box: Box, held: str) -> None:
    """A process that the connector leaves behind, with its output open, is not waited for; what came before counts."""
    other = "2>/dev/null" if held == "1" else ">/dev/null"
    process = box.start("tap", f'sleep 60 </dev/null {other} &\necho $! >"$BOX/helper"\n{SAYS}')
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (0, RECORD + STATE)
    if held == "1":
        assert "outlived the tap" in err
        assert "outlived the tap" in box.report["warnings"][0]


@pytest.mark.full  # waits for seconds
def test_discovery_keeps_the_whole_log_and_waits_for_no_helper(box: Box) -> None:
    """What a tap logs while it discovers its streams is all there, and a process that it leaves behind is not waited for."""
    script = 'seq 30000 >&2\nsleep 60 </dev/null 2>/dev/null &\necho $! >"$BOX/helper"\necho \'{"streams": []}\''
    out, err = box.start("discover", script).communicate(timeout=30)
    assert json.loads(out) == {"streams": []}
    assert [int(line) for line in err.splitlines() if line.isdigit()] == list(range(1, 30001))


@pytest.mark.full  # waits for seconds
def test_a_slow_tap_is_waited_for(box: Box) -> None:
    """Silence of a connector that is still at work is no end."""
    began = time.monotonic()
    result = box.run("tap", f"sleep {entrypoint.HELPER_SECONDS + 1}\n{SAYS}")
    assert result.out == RECORD + STATE
    assert time.monotonic() - began > entrypoint.HELPER_SECONDS
