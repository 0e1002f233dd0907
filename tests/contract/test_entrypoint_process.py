"""The entrypoint as the process that it is in an image: real files, real connectors of a few lines, real signals."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from entrypoint_process import ENTRYPOINT, HANGS_SECONDS, RECORD, SAYS, STATE, Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Return an empty box."""
    return Box(tmp_path)


def gone(pid: int) -> bool:
    """Wait a moment for a process to end, and say whether it has."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        with suppress(OSError):
            if Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] == "Z":
                return True  # dead; who should collect it is not our matter
        time.sleep(0.02)
    return False


# ------------------------------------------------------------------------------------------------- what is passed on


def test_the_tap_gets_its_files_and_its_messages_go_everywhere(box: Box) -> None:
    """A tap is called with config, catalog and state, and what it prints is in the file and on standard output."""
    for name in ("config.json", "catalog.json", "state.json"):
        box.write(name, {"n": name})
    result = box.run("tap", f'printf "%s\\n" "$@" >"$BOX/arguments"; cat "$2" >"$BOX/config"\n{SAYS}')
    assert (result.code, result.out, result.err) == (0, RECORD + STATE, "")
    assert box.read("tap_output.txt") == RECORD + STATE
    flags = box.read("arguments").split()
    assert flags[0::2] == ["--config", "--catalog", "--state"]
    assert flags[3::2] == [str(box.folder / "catalog.json"), str(box.folder / "state.json")]
    assert json.loads(box.read("config")) == {"n": "config.json"}
    assert box.report == {
        "side": "tap",
        "records": {"s": 1},
        "bytes": {"s": len(RECORD)},
        "messages": {"RECORD": 1, "STATE": 1},
        "warnings": [],
        "fault": None,
        "exit_code": 0,
        "states": [hashlib.sha256(b'{"n": 1}').hexdigest()[:16]],
        "error": None,
    }


ROTATES = """sed -i "s/old/$NEW/" "$2"; echo "INFO got $NEW" >&2; """


@pytest.mark.parametrize("side", ["tap", "target"])
@pytest.mark.parametrize("end", ["exit 0", "exit 3", "kill -9 $$", "kill -TERM $PPID; sleep 9"])
def test_a_secret_that_the_connector_replaces_is_handed_over(box: Box, side: str, end: str) -> None:
    """All its values are in the file of the contract, however the connector ends; the new one is hidden in the log too."""
    box.write("config.json", {"token": "${TOKEN}", "deep": [{"again": "${TOKEN}"}], "url": "https://${USER_NAME}@x"})
    box.write("secrets/TOKEN", "old")
    box.write("secrets/USER_NAME", "ada")
    result = box.run(side, f"NEW=novel-1; {ROTATES}{end}", SINGER_ROTATED=str(box.folder / "rotated.json"))
    assert json.loads(box.read("rotated.json")) == {"TOKEN": ["old", "novel-1"]}
    assert box.report["warnings"] == []
    assert list(box.folder.glob("work/*")) == [], result.err


def test_a_replaced_secret_that_could_not_be_written(box: Box) -> None:
    """It is written as soon as that is possible, at the end at the latest: a disk may have been full."""
    box.write("config.json", {"token": "${TOKEN}"})
    box.write("secrets/TOKEN", "old")
    box.run("tap", f"NEW=novel-1; {ROTATES}sleep 1.5; mkdir $BOX/later", SINGER_ROTATED=str(box.folder / "later" / "rotated.json"))
    assert json.loads(box.read("later/rotated.json")) == {"TOKEN": ["old", "novel-1"]}


def test_a_secret_is_handed_over_while_the_connector_works(box: Box) -> None:
    """A kill of the runner loses at most a second, and each new value follows the others."""
    box.write("config.json", {"token": "${TOKEN}"})
    box.write("secrets/TOKEN", "old")
    script = (
        f"NEW=novel-1; {ROTATES}until [ -s $BOX/rotated.json ]; do sleep 0.1; done; sed -i s/novel-1/novel-2/ $2; kill -9 $PPID; sleep 1"
    )
    box.run("tap", script, SINGER_ROTATED=str(box.folder / "rotated.json"))
    kept = json.loads(box.read("rotated.json"))["TOKEN"]
    assert kept == ["old", "novel-1", "novel-2"][: max(2, len(kept))]  # of the last one it depends on the moment


def test_a_replaced_secret_that_cannot_be_kept_is_named(box: Box) -> None:
    """By its variable: without an engine, as a part of a text, or where it is no text; its value is hidden."""
    box.write("config.json", {"token": "${TOKEN}", "header": "Bearer ${KEY}", "list": "${LIST}", "same": "a ${SAME}"})
    for name in ("TOKEN", "KEY", "LIST", "SAME"):
        box.write(f"secrets/{name}", f"old-{name}")
    new = '{"token": "novel-9", "header": "Bearer x", "list": [], "same": "a old-SAME"}'
    result = box.run("tap", f"echo '{new}' >$2; echo INFO novel-9 >&2")
    assert box.report["warnings"] == [
        "The tap replaced KEY, LIST, TOKEN in its config. The new value is lost: set it again before the next run."
    ]
    assert "novel-9" not in result.err


def test_batches_go_where_both_sides_look(box: Box) -> None:
    """The root of batch_config is replaced by the shared folder, for tap and target; a bucket stays."""
    for root, seen in (("file:///home/me/x", f"file://{box.folder}/batches"), ("s3://b/x", "s3://b/x")):
        box.write("config.json", {"batch_config": {"encoding": {}, "storage": {"root": root, "prefix": "p"}}})
        for side in ("tap", "target"):
            box.run(side, 'cat "$2" >"$BOX/config"', SINGER_BATCH_DIR=str(box.folder / "batches"))
            assert json.loads(box.read("config"))["batch_config"]["storage"] == {"root": seen, "prefix": "p"}


BOTH = """case "$*" in *--help*) echo "[--catalog C] [-p --properties P]"; exit;; esac"""


@pytest.mark.parametrize("capabilities", ["catalog", "properties"])
def test_a_tap_that_reads_the_other_flag_gets_it(box: Box, capabilities: str) -> None:
    """A tap that logs that nothing is selected, and has another flag, is started again with that one; the run has a warning."""
    other = {"catalog": "properties", "properties": "catalog"}[capabilities]
    box.write("catalog.json", {"streams": []})
    script = f"""{BOTH}\ncase "$*" in *--{other}*) {SAYS}\n;; *) echo "INFO No properties were selected" >&2;; esac"""
    result = box.run("tap", script, SINGER_CAPABILITIES=capabilities)
    assert (result.code, result.out) == (0, RECORD + STATE)
    assert box.report["warnings"][0].startswith(f"The tap selects by --{other} alone, and was started again with it")


@pytest.mark.parametrize(("log", "help_"), [("nothing to do", BOTH), ("No streams were selected", "")])
def test_a_tap_that_cannot_do_better_is_started_once(box: Box, log: str, help_: str) -> None:
    """Where nothing is new, or there is no other flag, there is nothing to try again."""
    box.write("catalog.json", {"streams": []})
    box.run("tap", f'{help_}\necho "$*" >>"$BOX/times"; echo "INFO {log}" >&2', SINGER_CAPABILITIES="catalog")
    assert box.read("times").count("--catalog") == 1


@pytest.mark.parametrize("side", ["tap", "target"])
def test_files_that_are_not_there_are_not_named(box: Box, side: str) -> None:
    """Without config, catalog and state a connector is called without arguments."""
    result = box.run(side, 'echo "$#" >"$BOX/count"')
    assert (result.code, box.read("count")) == (0, "0\n")


def test_an_empty_state_is_none(box: Box) -> None:
    """An empty state is not passed on: some taps fail with it."""
    box.write("state.json", {})
    assert box.run("tap", 'echo "$#" >"$BOX/count"').code == 0
    assert box.read("count") == "0\n"


def test_the_target_reads_works_and_says_its_state(box: Box) -> None:
    """A target reads the messages, works in its own folder, and its last state that is not empty is kept."""
    box.write("config.json", {"delimiter": ";"})
    result = box.run("target", "cat >read; cat \"$2\" >config; echo '{\"n\": 1}'; echo '{\"n\": 2}'; echo '{}'", RECORD + STATE)
    states = '{"n": 1}\n{"n": 2}\n{}\n'
    assert (result.code, result.out, box.read("target_output.txt")) == (0, states, states)
    assert box.read("data/read") == RECORD + STATE
    assert json.loads(box.read("data/config")) == {"delimiter": ";"}
    assert json.loads(box.read("new_state.json")) == {"n": 2}
    assert (box.report["side"], box.report["exit_code"], box.report["error"]) == ("target", 0, None)


def test_the_target_reads_a_file(box: Box) -> None:
    """A target may read what a tap left in a file, where the two run one after the other."""
    file = box.write("tap_output.txt", RECORD)
    assert box.run("target", "cat >read", SINGER_TAP_INPUT=str(file)).code == 0
    assert box.read("data/read") == RECORD


def test_tap_and_target_are_joined_by_a_fifo(box: Box) -> None:
    """A tap that writes into a FIFO and a target that reads from it meet, whichever comes first."""
    fifo = box.folder / "fifo"
    os.mkfifo(fifo)
    with box.start("target", "cat >read; echo '{\"n\": 1}'", SINGER_TAP_INPUT=str(fifo), SINGER_REPORT="") as target:
        time.sleep(0.2)
        tap = box.run("tap", f"sleep 0.2\n{SAYS}", SINGER_TAP_OUTPUT=str(fifo), SINGER_WORK=str(box.folder / "work2"))
        target.communicate(timeout=120)
    assert (tap.code, target.returncode) == (0, 0)
    assert box.read("data/read") == RECORD + STATE


@pytest.mark.parametrize(
    "pipe", ["cp messages tap_input.txt", "mkfifo tap_input.txt; timeout 60 sh -c 'cat messages >tap_input.txt' &"], ids=["file", "fifo"]
)
def test_the_default_paths_are_those_of_the_contract(tmp_path: Path, pipe: str) -> None:
    """With nothing set but the program, the files are those in /tmp; the pipe between the two may be a file or a FIFO there."""
    script = f"""
    set -e
    mount -t tmpfs tmpfs /tmp || exit 99
    cd /tmp
    echo '{{"token": "${{TOKEN}}"}}' >config.json; echo '{{"streams": []}}' >catalog.json; echo '{{"n": 0}}' >state.json
    mkdir secrets; printf secret >secrets/TOKEN
    printf '#!/bin/sh\\nprintf "%%s\\\\n" "$@" >arguments; cat "$2" >config_read\\ncat messages\\n' >tap
    printf '#!/bin/sh\\ncat >read; echo "{{\\\\"n\\\\": 1}}"\\n' >target
    cat >messages <<'END'
{RECORD}END
    chmod +x tap target
    SINGER_EXECUTABLE=/tmp/tap {sys.executable} -I -S {ENTRYPOINT} tap >stdout
    cmp stdout messages; cmp tap_output.txt messages; grep -q secret config_read
    grep -qx /tmp/catalog.json arguments; grep -qx /tmp/state.json arguments
    {pipe}
    SINGER_EXECUTABLE=/tmp/target timeout 60 {sys.executable} -I -S {ENTRYPOINT} target </dev/null >stdout
    cmp stdout target_output.txt; grep -q n new_state.json
    cmp data/read messages
    """
    unshare = shutil.which("unshare")
    if not unshare or ENTRYPOINT.is_relative_to("/tmp") or Path(sys.executable).is_relative_to("/tmp"):
        pytest.skip("unshare (Linux) gives the test a separate /tmp, in which a checkout cannot be")
    command = [unshare, "-m", "-r", "timeout", "120", "sh", "-c", script]
    done = subprocess.run(command, env={"PATH": os.environ["PATH"]}, cwd=tmp_path, capture_output=True, text=True, check=False)
    if done.returncode == 99 or "unshare" in done.stderr:
        pytest.skip("a separate /tmp is not allowed here")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# ----------------------------------------------------------------------------------------------------- the exit code


@pytest.mark.parametrize("side", ["tap", "target"])
@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$", 137), ("kill -TERM $$", 143)])
def test_the_exit_code_is_the_connectors(box: Box, side: str, script: str, code: int) -> None:
    """A connector's exit code is passed on and reported, 128 + n for signal n."""
    assert box.run(side, script).code == code
    assert (box.report["exit_code"], box.report["error"]) == (code, None)


def test_a_target_that_fails_leaves_no_state(box: Box) -> None:
    """The state of a target that failed is not written."""
    assert box.run("target", "cat >read; echo '{\"n\": 1}'; exit 1", RECORD).code == 1
    assert not (box.folder / "new_state.json").exists()


@pytest.mark.parametrize("arguments", [[], ["pipe"], ["--help"]], ids=str)
def test_wrong_usage_is_refused(arguments: list[str]) -> None:
    """Without a side, or with another word, usage is shown and the exit code is 2."""
    command = [sys.executable, "-I", "-S", str(ENTRYPOINT), *arguments]
    done = subprocess.run(command, env={"SINGER_EXECUTABLE": "true"}, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize("environ", [{}, {"SINGER_EXECUTABLE": ""}], ids=str)
def test_the_executable_is_required(environ: dict[str, str]) -> None:
    """Without a program to run, usage is shown and the exit code is 2."""
    done = subprocess.run([sys.executable, "-I", "-S", str(ENTRYPOINT), "tap"], env=environ, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.startswith("usage: ")) == (2, True)


FOUND = {
    "tap, a line that is no message": ("tap", "echo hello", {}, "E-TAP-OUTPUT"),
    "tap, no such program": ("tap", "", {"SINGER_EXECUTABLE": "/no/such/program"}, "E-EXECUTABLE"),
    "tap, a program of another machine": ("tap", "", {"SINGER_EXECUTABLE": "/etc/passwd"}, "E-EXECUTABLE"),
    "tap, nobody reads the FIFO": ("tap", "", {"SINGER_TAP_OUTPUT": "fifo", "SINGER_PIPE_SECONDS": "0.3"}, "E-PIPE"),
    "tap, a folder that is not there": ("tap", "", {"SINGER_TAP_OUTPUT": "/no/such/folder/file"}, "E-PIPE"),
    "tap, the disk is full": ("tap", f"{SAYS}", {"SINGER_TAP_OUTPUT": "/dev/full"}, "E-DISK"),
    "target, a line that is no state": ("target", "cat >read; echo done", {}, "E-TARGET-OUTPUT"),
    "target, no such program": ("target", "", {"SINGER_EXECUTABLE": "/no/such/program"}, "E-EXECUTABLE"),
    "target, it ended early": ("target", "echo '{\"n\": 1}'", {}, "E-TARGET-ENDED"),
    "target, nobody writes into the FIFO": ("target", "", {"SINGER_TAP_INPUT": "fifo", "SINGER_PIPE_SECONDS": "0.3"}, "E-PIPE"),
    "target, no such input": ("target", "", {"SINGER_TAP_INPUT": "/no/such/file"}, "E-PIPE"),
}


@pytest.mark.parametrize(("side", "script", "environ", "code"), FOUND.values(), ids=FOUND)
def test_an_error_of_its_own(box: Box, side: str, script: str, environ: dict[str, Any], code: str) -> None:
    """What the entrypoint finds itself ends with 90, a sentence and a hint on standard error, the same in the report, and no state."""
    if environ.get("SINGER_TAP_OUTPUT") == "/dev/full" and not Path("/dev/full").exists():
        pytest.skip("/dev/full (Linux) stands for a full disk")
    os.mkfifo(box.folder / "fifo")
    environ = {name: str(box.folder / "fifo") if value == "fifo" else value for name, value in environ.items()}
    result = box.run(side, script, RECORD if side == "target" else "", **environ)
    error = box.report["error"]
    assert (result.code, box.report["exit_code"], error["code"]) == (90, 90, code)
    assert result.err == f"{code}  {error['problem']}\n→ {error['hint']}\n"
    assert not (box.folder / "new_state.json").exists()
    assert not (box.folder / "work").exists()


UNREADABLE = {
    "config.json does not parse": ("config.json", "{", "E-CONFIG"),
    "config.json is a list": ("config.json", "[]", "E-CONFIG"),
    "config.json is deeper than deep": ("config.json", "[" * 100_000, "E-CONFIG"),
    "catalog.json does not parse": ("catalog.json", "oops", "E-CATALOG"),
    "state.json is a text": ("state.json", '"n"', "E-STATE"),
    "a secret is not set": ("config.json", '{"token": "${NO_SUCH_TOKEN}"}', "E-SECRET"),
}


@pytest.mark.parametrize(("name", "content", "code"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_file_that_is_wrong(box: Box, name: str, content: str, code: str) -> None:
    """A file that is not what it should be is an error under its own code, and the connector is not started."""
    box.write(name, content)
    result = box.run("tap", 'touch "$BOX/started"')
    assert (result.code, box.report["error"]["code"], result.err.split()[0]) == (90, code, code)
    assert not (box.folder / "started").exists()


def test_a_secret_that_is_not_text(box: Box) -> None:
    """A secret's file that is not UTF-8 is an error with a sentence, not a traceback."""
    box.write("config.json", {"token": "${TOKEN}"})
    box.write("secrets/TOKEN", "").write_bytes(b"\xff\xfe")
    result = box.run("tap", "true")
    assert (result.code, "Traceback" in result.err) == (90, False)


def test_a_number_that_is_none(box: Box) -> None:
    """A variable that should be a number and is not is an error with a sentence, not a traceback."""
    result = box.run("tap", "true", SINGER_PIPE_SECONDS="soon")
    assert "Traceback" not in result.err
    assert result.code in {2, 90}


def test_a_tap_whose_reader_has_gone(box: Box) -> None:
    """A tap is stopped when nobody reads any more, and the report names the target as the reason."""
    with box.start("tap", f"trap '' PIPE\nwhile cat <<'END'\n{RECORD}END\ndo :; done", SINGER_TAP_OUTPUT="-") as process:
        assert process.stdout
        assert process.stderr
        assert process.stdout.readline() == RECORD
        process.stdout.close()
        err = process.stderr.read()
    assert (process.returncode, box.report["error"]["code"]) == (90, "E-TARGET-ENDED")
    assert "E-TARGET-ENDED  " in err


# --------------------------------------------------------------------------------------------------------- secrets


def test_secrets_are_filled_in_where_only_the_user_can_look(box: Box) -> None:
    """The config holds the secrets of folder and environment while the connector runs, for its owner only, and is gone afterwards."""
    box.write("config.json", {"a": "${FROM_FILE}", "b": ["x${FROM_ENVIRONMENT}", "$${LITERAL}"]})
    box.write("secrets/FROM_FILE", "one")
    look = (
        "import os, sys; file = sys.argv[1]; folder = os.path.dirname(file)\n"
        "print(oct(os.stat(folder).st_mode), oct(os.stat(file).st_mode), open(file).read())"
    )
    result = box.run("tap", f'{sys.executable} -I -S -c \'{look}\' "$2" >"$BOX/seen"', FROM_ENVIRONMENT="two", FROM_FILE="not this")
    assert result.code == 0
    folder, file, config = box.read("seen").split(maxsplit=2)
    assert (folder[-3:], file[-3:]) == ("700", "600")
    assert json.loads(config) == {"a": "one", "b": ["xtwo", "${LITERAL}"]}
    assert not (box.folder / "work").exists()


@pytest.mark.parametrize("name", [".", "tap-x"])
def test_a_folder_that_is_there_is_not_ours_to_clear(box: Box, name: str) -> None:
    """A working folder that exists already is used or refused; the user's files in it are not removed."""
    work = box.folder / name
    work.mkdir(exist_ok=True)
    config = work / "config.json"
    config.write_text("{}", encoding="utf-8")
    box.run("tap", "true", SINGER_WORK=str(work), SINGER_CONFIG=str(config))
    assert config.exists()


def test_the_connector_sees_no_variable_of_ours(box: Box) -> None:
    """A connector gets the environment without SINGER_ and INVOKE_ variables: some read their settings from there."""
    result = box.run("tap", 'env >"$BOX/environment"', INVOKE_X="1", OTHER="2", SINGER_ANYTHING="3")
    assert result.code == 0
    seen = box.read("environment")
    assert "OTHER=2\n" in seen
    assert "SINGER_" not in seen
    assert "INVOKE_" not in seen


# --------------------------------------------------------------------------------------------------------- catalogs


def test_the_catalog_of_a_part(box: Box) -> None:
    """A part gets its streams and the deselected ones: neither another part's, nor one that was selected after the run began."""
    plan = {"parts": [{"name": "one", "streams": ["a", "b"]}, {"name": "two", "streams": ["c"]}]}
    catalog: list[dict[str, Any]] = [{"tap_stream_id": name, "schema": {}} for name in "abcd"]
    catalog.append({"tap_stream_id": "off", "schema": {}, "selected": False})
    box.write("catalog.json", {"streams": catalog})
    box.write("state.json", {"bookmarks": {name: {"n": 1} for name in "abcd"}})
    plan_file = str(box.write("parts.json", plan))
    script = 'for file; do case "$file" in /*) cat "$file"; echo;; esac; done >"$BOX/given"'
    for index, streams in enumerate(["ab", "c"]):
        done = box.run("tap", script, SINGER_PART=str(index), SINGER_PARTS=plan_file, SINGER_CAPABILITIES="catalog,state")
        assert done.code == 0
        got, state = map(json.loads, box.read("given").splitlines())
        assert [stream["tap_stream_id"] for stream in got["streams"]] == [*streams, "off"]
        assert set(state["bookmarks"]) == {*streams, "d"}


DISCOVERED = '{"streams": [{"stream": "s", "schema": {}}]}'
TAP = f"""case "$*" in
*--help*) echo "$HELP" >&2;;
*--discover*) echo '{DISCOVERED}';;
*) printf '%s\\n' "$@" >"$BOX/arguments"; for last; do :; done; cat "$last" >"$BOX/catalog";;
esac"""


@pytest.mark.parametrize(
    ("capabilities", "text", "flag"),
    [
        ("catalog,state", "", "--catalog"),
        ("properties,state", "", "--properties"),
        ("properties,catalog", "", "--catalog --properties"),
        ("properties", "[--catalog CATALOG]", "--properties"),
        ("", "usage: tap [--catalog CATALOG] [--properties PROPERTIES]", "--catalog --properties"),
        ("state", "usage: tap [--properties PROPERTIES]", "--properties"),
        ("", "usage: tap", "--catalog"),
    ],
)
def test_the_catalog_is_named_as_the_tap_knows_it(box: Box, capabilities: str, text: str, flag: str) -> None:
    """The flags follow the capabilities, else the tap's help. A tap that knows both may read only one of them: it gets both."""
    box.write("catalog.json", DISCOVERED)
    assert box.run("tap", TAP, SINGER_CAPABILITIES=capabilities, HELP=text).code == 0
    catalog = str(box.folder / "catalog.json")
    assert box.read("arguments").split() == [word for one in flag.split() for word in (one, catalog)]


@pytest.mark.parametrize(
    ("capabilities", "text", "passed"),
    [
        ("catalog,state", "", True),
        ("", "usage: tap [--config CONFIG] [--state STATE]", True),
        ("", "usage: tap [--config CONFIG]", False),
        ("discover,catalog", "usage: tap [--config CONFIG] [--state STATE]", True),
        ("discover,catalog", "usage: tap [--config CONFIG]", False),
        ("", "error: no such option --help", True),
    ],
)
def test_a_state_is_passed_only_to_a_tap_that_takes_one(box: Box, capabilities: str, text: str, passed: bool) -> None:  # noqa: FBT001
    """``--state`` is left out for a tap whose help does not have it."""
    box.write("state.json", {"n": 1})
    box.write("catalog.json", DISCOVERED)
    assert box.run("tap", TAP, SINGER_CAPABILITIES=capabilities, HELP=text).code == 0
    assert ("--state" in box.read("arguments").split()) is passed


def test_a_secret_keeps_its_line_ends(box: Box) -> None:
    """A secret from a file is filled in byte for byte."""
    secret = "".join(map(chr, range(1, 256))) + "\r\n\r"
    (box.folder / "secrets").mkdir()
    (box.folder / "secrets" / "KEY").write_bytes(secret.encode())
    box.write("config.json", {"key": "${KEY}"})
    assert box.run("tap", 'cat "$2" >"$BOX/config"', SINGER_SECRETS=str(box.folder / "secrets")).code == 0
    assert json.loads(box.read("config")) == {"key": secret}


@pytest.mark.parametrize(
    ("capabilities", "flag"), [("catalog,discover", "--catalog"), ("discover,properties", "--properties"), ("discover", "--properties")]
)
def test_without_a_catalog_it_is_discovered(box: Box, capabilities: str, flag: str) -> None:
    """A tap that knows discovery and has no catalog is asked for it, and every stream is selected."""
    box.write("config.json", {})
    result = box.run("tap", TAP, SINGER_CAPABILITIES=capabilities, HELP="usage: tap [--properties PROPERTIES]")
    assert result.code == 0
    assert flag in box.read("arguments").split()
    (stream,) = json.loads(box.read("catalog"))["streams"]
    assert stream["selected"] is True
    assert not (box.folder / "work").exists()


@pytest.mark.parametrize("script", ["exit 1", "echo oops", "echo '[]'", "echo '{\"streams\": {}}'", "true"])
def test_discovery_that_fails(box: Box, script: str) -> None:
    """A discovery that ends with an error or prints no catalog is E-DISCOVERY."""
    result = box.run("tap", script, SINGER_CAPABILITIES="catalog,discover")
    assert (result.code, box.report["error"]["code"]) == (90, "E-DISCOVERY")


# ------------------------------------------------------------------------------------------------ outside a pipeline

GREETINGS = ["", "Welcome to tap 2.0\\n", '{"level": "info"}\\n', "{not JSON}\\n\\n  ", "a {\\n"]


@pytest.mark.parametrize("greeting", GREETINGS)
def test_a_catalog_is_printed_without_what_comes_before_it(box: Box, greeting: str) -> None:
    """With the word discover, the catalog is printed and nothing else; a greeting before it does no harm, in a run neither."""
    box.write("config.json", {"token": "${TOKEN}"})
    says = f"""cat "$2" >"$BOX/config"; printf '{greeting}%s\\n' '{DISCOVERED}'"""
    result = box.run("discover", says, TOKEN="secret")
    assert (result.code, json.loads(result.out)) == (0, json.loads(DISCOVERED))
    assert json.loads(box.read("config")) == {"token": "secret"}
    assert not (box.folder / "work").exists()
    assert box.run("tap", f'case "$*" in *--discover*) {says};; esac', SINGER_CAPABILITIES="catalog,discover", TOKEN="secret").code == 0


def test_a_discovery_that_fails_prints_nothing(box: Box) -> None:
    """A file that is no catalog is not passed on; the report gives the reason."""
    result = box.run("discover", "echo oops")
    assert (result.code, result.out, box.report["error"]["code"]) == (90, "", "E-DISCOVERY")


@pytest.mark.parametrize("greeting", GREETINGS[:2])
def test_what_a_program_says_of_itself(box: Box, greeting: str) -> None:
    """With the word about, the program is asked without its config, and what it answers is printed and nothing else."""
    box.write("config.json", {"token": "${NOT_SET}"})
    result = box.run("about", f"""echo "$@" >"$BOX/arguments"; printf '{greeting}%s' '{{"name": "x"}}'""")
    assert (result.code, json.loads(result.out)) == (0, {"name": "x"})
    assert box.read("arguments").split() == ["--about", "--format=json"]


@pytest.mark.parametrize(("script", "code"), [("exit 2", 2), ("echo hello", 0), ("echo '[1]'", 0)])
def test_a_program_that_says_nothing_of_itself(box: Box, script: str, code: int) -> None:
    """A program that does not know the question leaves nothing, and its exit code is passed on."""
    result = box.run("about", script)
    assert (result.code, result.out) == (code, "")


@pytest.mark.parametrize("side", ["tap", "target"])
def test_files_that_are_taken_along(box: Box, side: str) -> None:
    """The connector reads its files by their relative paths; afterwards its working folder has only what it wrote itself."""
    (box.folder / "files/data/deep").mkdir(parents=True)
    for name in ("people.jsonl", "data/deep/more.jsonl"):
        box.write(f"files/{name}", name)
    box.write("files/.modified.json", {"people.jsonl": 1_000_000_000})
    script = (
        'test data/deep/more.jsonl -nt people.jsonl && cat people.jsonl data/deep/more.jsonl >"$BOX/seen"; mkdir -p data; echo 1 >data/mine'
    )
    result = box.run(side, script, SINGER_FILES=str(box.folder / "files"), SINGER_FILES_KEY="files/0")
    assert result.code == 0, result.err
    assert box.read("seen") == "people.jsonldata/deep/more.jsonl"
    assert [item.relative_to(box.folder / "data").as_posix() for item in sorted((box.folder / "data").rglob("*"))] == ["data", "data/mine"]


def test_files_that_the_bucket_lacks(box: Box) -> None:
    """A connector never starts without the files that it needs: it might succeed, and load nothing."""
    result = box.run("tap", 'touch "$BOX/started"', SINGER_FILES=str(box.folder / "files"), SINGER_FILES_KEY="files/0")
    assert (result.code, box.report["error"]["code"]) == (90, "E-CONFIG")
    assert "files/0" in box.report["error"]["problem"]
    assert not (box.folder / "started").exists()
    assert box.run("tap", SAYS, SINGER_FILES=str(box.folder / "files"), SINGER_FILES_KEY="none").code == 0


def test_a_program_alone(box: Box) -> None:
    """With the word alone, the connector gets its files and what else was typed; what it reads and prints is not looked at."""
    box.write("config.json", {})
    box.write("catalog.json", DISCOVERED)
    box.write("state.json", {"n": 1})
    (box.folder / "data").mkdir()
    result = box.run("alone", "pwd; cat; echo $@; exit 3", "no message\n", words=("--dev", "x"), SINGER_CAPABILITIES="catalog")
    folder = box.folder
    arguments = f"--config {folder}/work/config.json --catalog {folder}/catalog.json --state {folder}/state.json --dev x"
    assert (result.code, result.out) == (3, f"{folder}/data\nno message\n{arguments}\n")


# ---------------------------------------------------------------------------------------------------------- endings

WAITS = 'trap \'echo ended >"$BOX/ended"; exit 7\' TERM; echo $$ >"$BOX/pid"; while :; do sleep 0.05; done'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP], ids=lambda number: number.name)
@pytest.mark.parametrize("side", ["tap", "target"])
def test_a_signal_stops_the_connector(box: Box, side: str, number: signal.Signals) -> None:
    """When the entrypoint gets a signal to end, so does the connector, in order; nothing of the secrets is left."""
    box.write("config.json", {"token": "secret"})
    with box.start(side, WAITS) as process:
        pid = int(box.wait_for("pid"))
        time.sleep(0.1)  # the very beginning is the next test's
        process.send_signal(number)
        assert process.wait(HANGS_SECONDS) == 128 + number
    assert box.read("ended") == "ended\n"
    assert gone(pid)
    assert not (box.folder / "work").exists()
    assert not (box.folder / "new_state.json").exists()


@pytest.mark.full  # waits for seconds
def test_a_connector_that_is_deaf_is_killed(box: Box) -> None:
    """A connector that ignores SIGTERM does not outlive the entrypoint."""
    with box.start("tap", "trap '' TERM; echo $$ >\"$BOX/pid\"; while :; do sleep 0.05; done") as process:
        pid = int(box.wait_for("pid"))
        process.send_signal(signal.SIGTERM)
        assert process.wait(HANGS_SECONDS) == 128 + signal.SIGTERM
    outlived = not gone(pid)
    if outlived:
        os.kill(pid, signal.SIGKILL)
    assert not outlived


def test_a_signal_at_the_very_beginning_stops_the_connector_too(box: Box) -> None:
    """A connector that was started a moment before the entrypoint gets a signal does not outlive it."""
    outlived = []
    for _ in range(12):  # each time the moment is a little different
        box.run("tap", 'kill -TERM $PPID; echo $$ >"$BOX/pid"; exec sleep 20 >/dev/null 2>&1')
        time.sleep(0.05)
        pid = int(box.read("pid") or 0)
        with suppress(ProcessLookupError):
            if pid:
                os.kill(pid, signal.SIGKILL)
                outlived.append(pid)
        box.write("pid", "")
    assert outlived == []


def test_the_end_of_the_lifeline_stops_everything(box: Box) -> None:
    """When the process that started the entrypoint is gone, the connector is ended, and nothing that it started is left."""
    reads, writes = os.pipe()
    script = f"(trap '' TERM; sleep 60) & echo $! >\"$BOX/grandchild\"; {WAITS}"
    try:
        with box.start("tap", script, SINGER_LIFELINE=str(reads)) as process:
            pids = [int(box.wait_for(name)) for name in ("grandchild", "pid")]
            os.close(writes)
            writes = -1
            process.wait(HANGS_SECONDS)
    finally:
        os.close(reads)
        if writes >= 0:
            os.close(writes)
    assert all(gone(pid) for pid in pids)
    assert box.read("ended") == "ended\n"
    assert not (box.folder / "work").exists()


def test_a_runner_that_comes_too_late_does_not_begin(box: Box) -> None:
    """Where the engine has removed the lock, because its run is over, nothing is started and no folder is left."""
    reads, writes = os.pipe()
    try:
        lock = box.folder / "run" / "lock"
        work = box.folder / "run" / "work"
        result = box.run("tap", 'touch "$BOX/began"', SINGER_LIFELINE=str(reads), SINGER_LOCK=str(lock), SINGER_WORK=str(work))
    finally:
        os.close(reads)
        os.close(writes)
    assert result.code != 0
    assert not (box.folder / "began").exists()
    assert not lock.parent.exists()


def test_the_connector_does_not_hold_the_lifeline(box: Box) -> None:
    """A connector inherits no descriptor but the three standard ones."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("descriptors are counted in /proc (Linux)")
    reads, writes = os.pipe()
    try:
        result = box.run("tap", 'ls /proc/self/fd | wc -l >"$BOX/count"', SINGER_LIFELINE=str(reads))
    finally:
        os.close(reads)
        os.close(writes)
    assert result.code == 0
    assert int(box.read("count")) == 4  # the three, and the folder that ls reads


def test_the_report_is_kept_up_to_date(box: Box) -> None:
    """While a tap runs its report shows how far it has come."""
    with box.start("tap", f"{SAYS}\nsleep 0.7\n{SAYS}\n{WAITS}") as process:
        box.wait_for("pid")
        deadline = time.monotonic() + 120
        while not box.read("report.json") or not box.report["records"]:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        assert box.report["exit_code"] is None
        process.terminate()
        process.wait(HANGS_SECONDS)


# ------------------------------------------------------------------------------------------------------ old Pythons


def old_pythons() -> list[str]:
    """Find interpreters of 3.8 and 3.9 that really run."""
    named = [shutil.which(f"python3.{minor}") for minor in (8, 9)]
    installed = sorted(map(str, Path.home().glob(".pyenv/versions/3.[89].*/bin/python")))
    by_version: dict[tuple[int, int], str] = {}
    for path in filter(None, [*named, *installed]):
        done = subprocess.run([path, "-c", "import sys; print(sys.version_info[:2])"], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            by_version.setdefault(ast.literal_eval(done.stdout), path)
    return [path for _, path in sorted(by_version.items())]


@pytest.mark.parametrize("side", ["tap", "target"])
def test_it_runs_on_old_pythons(tmp_path: Path, side: str) -> None:
    """An image may have a Python as old as 3.8: config, secrets, messages, state and an error work there too."""
    pythons = old_pythons()
    if not pythons:
        pytest.skip("there is no Python 3.8 or 3.9 on this machine")
    for number, python in enumerate(pythons):
        (tmp_path / str(number)).mkdir()
        box = Box(tmp_path / str(number))
        box.write("config.json", {"token": "${TOKEN}"})
        says = SAYS if side == "tap" else "cat >read; echo '{\"n\": 1}'"
        result = box.run(side, f'cat "$2" >"$BOX/config"\n{says}', RECORD, python, TOKEN="secret")
        assert (result.code, result.err) == (0, "")
        assert json.loads(box.read("config")) == {"token": "secret"}
        assert box.report["records"] == ({"s": 1} if side == "tap" else {})
        assert box.read("new_state.json") == ("" if side == "tap" else '{"n": 1}')
        assert box.run(side, "cat >/dev/null; echo oops", "", python, TOKEN="secret").code == 90
