"""What people and programs see: the same facts in lines, in JSON and on a terminal."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.commands.frame import choose
from cluster.errors import RunError, SetupError
from cluster.ui.command_line import CommandLine
from cluster.ui.format import count, megabytes, now, seconds, shown
from cluster.ui.jsonl import Json
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from cluster.ui.output import Output

ROOT = Path(__file__).resolve().parents[3]
LONG = "a title that is longer than the column that titles have, by quite a few words"
STEPS = [
    ("tap-x", "installed", "done", "✓"),
    ("tap-x → target-x", "no new records", "unchanged", "•"),
    ("größe", "works, but look", "warning", "!"),
    ("target-x", "it failed", "failed", "✗"),
    (LONG, "100 rows", "done", "✓"),
    ("quiet", "", "done", "✓"),
]


def steps(output: Output) -> None:
    """Go through every step, then one that is broken off."""
    for title, detail, status, _ in STEPS:
        with output.step(title) as step:
            step.detail = "under way"
            step.result(detail, status)
    with suppress(OSError), output.step("broken off") as step:
        step.detail = "under way"
        raise OSError


def events(text: str) -> list[dict[str, Any]]:
    """Read JSON lines."""
    return [json.loads(line) for line in text.splitlines()]


def test_lines_and_json_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    """Every step is one line for people, with its state at the left edge, and a start and an end for programs."""
    steps(Plain())
    lines = capsys.readouterr().out.splitlines()
    expected = [(mark, title, detail) for title, detail, _, mark in STEPS] + [("✗", "broken off", "under way")]
    assert [tuple(filter(None, re.split(r"  +", line[2:]))) for line in lines] == [tuple(filter(None, item[1:])) for item in expected]
    assert [line[0] for line in lines] == [item[0] for item in expected]
    assert all(line == line.rstrip() for line in lines)

    steps(Json())
    printed = events(capsys.readouterr().out)
    assert [event["step"] for event in printed if event["event"] == "step.started"] == [item[1] for item in expected]
    ends = [event for event in printed if event["event"] == "step.finished"]
    wanted = [(title, status, detail) for title, detail, status, _ in STEPS] + [("broken off", "failed", "under way")]
    assert [(event["step"], event["status"], event["detail"]) for event in ends] == wanted
    assert all(0 <= event["seconds"] < 10 for event in ends)


def test_people_and_programs_each_see_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    """Text, lines and tables are for people, events for programs."""
    for output in (Plain(), Json()):
        output.event("run", run="r", total=1)
        output.text("Some text.")
        output.line("!", "tap-x", "look")
        output.table([["1", "22"], ["333", "4"]], ["a", "b"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.rstrip() for line in lines[:-1]] == ["Some text.", f"! {'tap-x':<44}  look", "  a    b", "  1    22", "  333  4"]
    event = json.loads(lines[-1])
    assert {key: event[key] for key in ("event", "run", "total", "schema")} == {"event": "run", "run": "r", "total": 1, "schema": 1}
    assert abs(datetime.fromisoformat(event["time"]) - datetime.now(UTC)) < timedelta(minutes=1)
    assert now().endswith("Z")


@pytest.mark.parametrize(
    ("error", "code"), [(SetupError("E-X", "A fact.", hint="Do it."), 1), (RunError("E-X", "A fact.", hint="Do it."), 2)]
)
def test_an_error_is_printed_on_standard_error(capsys: pytest.CaptureFixture[str], error: SetupError, code: int) -> None:
    """People and programs get code, fact and hint in words on standard error; programs an event as well."""
    Plain().error(error)
    plain = capsys.readouterr()
    Json().error(error)
    machine = capsys.readouterr()
    assert plain.err.strip() == machine.err.strip() == "E-X  A fact.\n→ Do it."
    assert plain.out == ""
    (event,) = events(machine.out)
    assert (event["event"], event["code"], event["problem"], event["hint"], event["exit_code"]) == (
        "error",
        "E-X",
        "A fact.",
        "Do it.",
        code,
    )


def test_an_event_is_one_line_whatever_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    """Line breaks and paths in a fact do not break the form: one JSON object per line."""
    Json().event("warning", problem="a\nb\u2028c", file=Path("/x"))
    (event,) = events(capsys.readouterr().out)
    assert (event["problem"], event["file"]) == ("a\nb\u2028c", "/x")


# ---------------------------------------------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.0 s"),
        (0.04, "0.0 s"),
        (1.25, "1.2 s"),
        (9.94, "9.9 s"),
        (10, "10 s"),
        (61, "61 s"),
        (150, "2 min"),
        (3600, "60 min"),
        (7200, "2.0 h"),
    ],
)
def test_durations(value: float, text: str) -> None:
    """Durations are short: seconds, then minutes, then hours."""
    assert seconds(value) == text


@given(st.floats(0, 1e6))
def test_a_duration_is_not_far_from_the_truth(value: float) -> None:
    """What is shown is at most a quarter away from what was, and has a decimal only under ten seconds or in hours."""
    number, unit = seconds(value).split()
    assert abs(float(number) * {"s": 1, "min": 60, "h": 3600}[unit] - value) <= max(0.051, 0.26 * value)
    if unit != "h":
        assert ("." in number) == (float(number) < 10 and unit == "s")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 bytes"),
        (999, "999 bytes"),
        (1000, "1.0 kB"),
        (99_900, "99.9 kB"),
        (100_000, "0.1 MB"),
        (1.5e6, "1.5 MB"),
        (2.5e9, "2,500.0 MB"),
    ],
)
def test_sizes(size: float, text: str) -> None:
    """Sizes are bytes, then kB, then MB."""
    assert megabytes(size) == text


def test_paths_are_shown_as_one_would_type_them(tmp_path: Path) -> None:
    """A path below the folder one is in is relative, any other is whole."""
    assert shown(Path.cwd() / "output" / "x.csv") == "output/x.csv"
    assert shown(tmp_path / "x.csv") == str(tmp_path / "x.csv")


def test_a_path_is_whole_and_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From the root folder a path keeps its slash; a line break in a name is visible."""
    assert shown(tmp_path / "a\nb.csv") == f"{tmp_path}/a\\nb.csv"
    monkeypatch.chdir("/")
    assert shown(tmp_path / "x.csv") == str(tmp_path / "x.csv")


@pytest.mark.parametrize(("number", "text"), [(0, "0 records"), (1, "1 record"), (2, "2 records"), (1000, "1,000 records")], ids=str)
def test_one_is_no_plural(number: int, text: str) -> None:
    """One thing has no s."""
    assert count(number, "record") == text


def test_printed_commands_can_be_typed() -> None:
    """What a user has chosen is quoted as a shell needs it; --env is repeated for the commands that know it."""
    line = CommandLine("/a folder/invoke", "company")
    assert line.command("new tap-x", "--set", "password=pass$HOME", 'a "b" c') == (
        "'/a folder/invoke' new tap-x --set 'password=pass$HOME' 'a \"b\" c'"
    )
    assert line.command("runs") == "'/a folder/invoke' runs --env company"
    assert CommandLine().command("show", "last") == "invoke show last"


# ----------------------------------------------------------------------------------------------- streams that never fail

WRITE = """
import sys
from cluster.ui import streams
streams.keep_writable()
print("a line", flush=True)
print("x" * 100_000)
sys.stderr.write(f"{streams.lost()}, {sys.stdin.read()!r}")
"""


@pytest.mark.parametrize(
    ("redirection", "left"),
    [
        ("| true", "None, ''"),
        ("> /dev/full", "No space left on device, ''"),
        (">&-", "None, ''"),
        ("2>/dev/full", ""),
        ("2>&-", ""),
        ("<&-", "None, ''"),
    ],
)
def test_output_that_cannot_be_written(tmp_path: Path, redirection: str, left: str) -> None:
    """A reader that is gone, a full disk and a closed stream are no errors of the command; a full disk is known afterwards."""
    (tmp_path / "write.py").write_text(WRITE)
    line = f"{{ {sys.executable} {tmp_path / 'write.py'} {redirection if redirection[0] != '|' else ''}; echo $? > {tmp_path / 'code'}; }}"
    line += f" {redirection}" if redirection[0] == "|" else ""
    done = subprocess.run(
        ["sh", "-c", line],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ((tmp_path / "code").read_text().strip(), done.stderr) == ("0", left)


# ---------------------------------------------------------------------------------------------------------- terminal

COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-8]|4[0-8]|9[0-7]|10[0-7])(?:;\d+)*m")
CODES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def on_a_terminal(script: str, columns: int = 100, **environ: str) -> str:
    """Run a few lines on a real terminal and return what came, escape codes and all."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    code = f"from cluster.commands.frame import choose\nfrom cluster.errors import SetupError\noutput = choose(as_json=False)\n{script}"
    variables = {"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **environ}
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=variables, stdin=theirs, stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        received = b""
        with suppress(OSError):  # at its end a terminal raises EIO
            while part := os.read(ours, 65536):
                received += part
    os.close(ours)
    assert process.returncode == 0, received.decode()
    return received.decode().replace("\r\n", "\n")


SHOW = f"""
steps = {STEPS!r}
for title, detail, status, _ in steps:
    with output.step(title) as step:
        step.result(detail, status)
try:
    with output.step("broken off") as step:
        step.detail = "under way"
        raise OSError
except OSError:
    pass
output.text("[bold]Some[/bold] text [x].")
output.line("!", "tap-x", "look at [red]")
output.error(SetupError("E-X", "A fact about [blue] things.", hint="Do [it]."))
"""


@pytest.fixture(scope="module", params=[{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
def screen(request: pytest.FixtureRequest) -> tuple[dict[str, str], str]:
    """Show everything on a terminal, with and without colours."""
    return request.param, on_a_terminal(SHOW, **request.param)


def test_a_terminal_shows_the_same_facts(screen: tuple[dict[str, str], str]) -> None:
    """What is finished stays on the screen, one line per step, whole, with its state at the left edge."""
    lines = [line.rstrip() for line in CODES.sub("", screen[1]).replace("\r", "\n").splitlines()]
    for title, detail, _, mark in STEPS:
        assert f"{mark} {title:<44}  {detail}".rstrip() in lines
    assert f"✗ {'broken off':<44}  under way" in lines
    assert f"! {'tap-x':<44}  look at [red]" in lines
    assert "[bold]Some[/bold] text [x]." in lines
    assert lines[-2:] == ["E-X  A fact about [blue] things.", "→ Do [it]."]


def test_colours_are_those_that_the_user_wants(screen: tuple[dict[str, str], str]) -> None:
    """There are colours on a terminal, and none where NO_COLOR is set."""
    environ, text = screen
    assert bool(COLOUR.search(text)) == ("NO_COLOR" not in environ)


def test_a_table_shows_what_its_cells_say() -> None:
    """Brackets in a cell are text: extras of a requirement, parts of a path, what an error quotes."""
    text = on_a_terminal('output.table([["tap-x[s3]", "[/tmp/x]"], ["[red]", "1"]], ["name", "[b]"])')
    assert [line.split() for line in CODES.sub("", text).splitlines()] == [["name", "[b]"], ["tap-x[s3]", "[/tmp/x]"], ["[red]", "1"]]


def test_a_narrow_terminal_does_not_cut_what_one_copies() -> None:
    """A run's id is whole in the list of runs, however narrow the terminal is."""
    row = ["20261122t203512-k4f9", "exchange-rates-to-csv", "local", "succeeded", "7,000", "3.1 s", "2026-11-20"]
    text = on_a_terminal(f'output.table([{row!r}], ["run", "pipeline", "engine", "status", "records", "time", "state after"])', columns=60)
    assert row[0] in CODES.sub("", text)


# ------------------------------------------------------------------------------------------- what others say is shown

HOSTILE = (
    "up\x1b[2A",  # the cursor, over what stands above
    "wipe\x1b[2J\x1b[H",
    "clipboard\x1b]52;c;cm0gLXJmIH4=\x07",
    "link\x1b]8;;http://evil.example\x1b\\here\x1b]8;;\x1b\\",
    "title\x1b]0;root\x07",
    "again\rover",
    "back\b\b\b\bfore",
    "eight bits\x9b2A\x9d52;c;eA==\x9c",
    "turned \u202etxt.exe",
    "forged\n✓ All is ready",
)
OBEYED = re.compile("[\x00-\x09\x0b-\x1a\x1c-\x1f\x7f-\x9f\u202e]|\x1b(?!\\[[0-9;]*m)")
SAY = f"""
for text in {HOSTILE!r}:
    output.line("!", text, text)
    output.table([[text, text]], [text, text])
    output.error(SetupError("E-X", text.replace("\\n", " "), hint=text.replace("\\n", " ")))
    output.text(text.replace("\\n", " "))
"""


def test_a_terminal_obeys_nobody_else() -> None:
    """A connector's output moves no cursor, sets no title, fills no clipboard, makes no link and begins no line of ours."""
    for text in (on_a_terminal(SAY, columns=300), on_a_terminal(SAY, columns=300, TERM="dumb")):
        assert OBEYED.findall(text) == []
        assert not any(line.startswith("✓") for line in CODES.sub("", text).splitlines())
        for word in ("clipboard", "here", "52;c;cm0gLXJmIH4=", r"\x1b]8", r"\u202etxt.exe"):
            assert word in text


def test_colours_of_others_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    """A coloured log line is read without its colours; letters of any script stay."""
    Plain().text("\x1b[1;31mERROR\x1b[0m größe 表 \t🙂")
    assert capsys.readouterr().out == "ERROR größe 表 \t🙂\n"


# ------------------------------------------------------------------------------------------------------------ choose


def test_the_form_follows_the_reader() -> None:
    """JSON is for those who ask for it, plain lines for files, pipes and simple terminals, colours for terminals."""
    code = "from cluster.commands.frame import choose; import sys; print(type(choose(as_json=len(sys.argv) > 1)).__name__)"
    piped = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert piped.stdout == "Plain\n"
    assert on_a_terminal("print(type(output).__name__)") == "Terminal\n"
    assert on_a_terminal("print(type(output).__name__)", TERM="dumb") == "Plain\n"
    assert on_a_terminal("print(type(choose(as_json=True)).__name__)") == "Json\n"
    assert isinstance(choose(as_json=True), Json)
