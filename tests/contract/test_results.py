"""What people read of runs: their files, their ends, their states; and that output never decides about data."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import yaml
from scenarios import GOOD

if TYPE_CHECKING:
    from checkout import Checkout

STREAMS = [[kind, f"s{number}", *rest] for number in range(30) for kind, rest in (("schema", []), ("records", [1]))]


@pytest.mark.parametrize("redirection", ["| head -1", "> /dev/full", ">&-", "2> /dev/full", "2>&-", "<&-"])
@pytest.mark.parametrize("options", ["", "--json"], ids=["lines", "json"])
def test_a_run_does_not_depend_on_its_output(checkout: Checkout, redirection: str, options: str) -> None:
    """A reader that is gone, a full disk, a closed stream: the run goes on, and its exit code is that of the run."""
    checkout.scripted({"steps": GOOD})
    command = f"{sys.executable} -m invoke run p {options}"
    line = f"{{ {command}; echo $? > code; }} {redirection}" if redirection.startswith("|") else f"{command} {redirection}; echo $? > code"
    done = subprocess.run(["sh", "-c", line], cwd=checkout.root, env=checkout.environ, capture_output=True, text=True, check=False)
    assert (checkout.root / "code").read_text() == "0\n", done.stderr
    assert checkout.state() == {"n": 2}
    assert checkout.invoke("show", "last", "--json").last["status"] == "succeeded"
    assert "Traceback" not in done.stderr


def test_an_exit_code_is_that_of_the_run(checkout: Checkout) -> None:
    """A run that fails ends with 2, also if nobody reads its output; what a full disk cut off is an error elsewhere."""
    checkout.scripted({"steps": [["schema", "s"], ["exit", 1]]})
    line = f"{{ {sys.executable} -m invoke run p; echo $? > code; }} | true"
    subprocess.run(["sh", "-c", line], cwd=checkout.root, env=checkout.environ, capture_output=True, check=False)
    assert (checkout.root / "code").read_text() == "2\n"
    command = [sys.executable, "-m", "invoke", "runs"]
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(command, cwd=checkout.root, env=checkout.environ, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.returncode, done.stderr.split()[0]) == (1, "E-DISK")


def test_many_files_are_summed_up(checkout: Checkout) -> None:
    """A run of many files lists some of them, and how many there are; so do fetch and show."""
    checkout.scripted({"steps": STREAMS})
    printed = checkout.invoke("run", "p").out
    run = checkout.invoke("runs", "--json").last["run"]
    assert len(re.findall(rf"^  output/p/{run}/s\d+\.jsonl  ", printed, re.MULTILINE)) == 10
    assert re.search(rf"^  … 30 files in all, .+, in output/p/{run}$", printed, re.MULTILINE)
    fetched = checkout.invoke("fetch", "last").out
    assert (fetched.count("✓ "), "30 files in all" in fetched) == (10, True)
    shown = checkout.invoke("show", "last").out
    assert (len(re.findall(r"^  file +", shown, re.MULTILINE)), "30 files in all" in shown) == (20, True)
    assert len(checkout.invoke("fetch", "last", "--json").events) == 30


def test_a_file_with_a_line_break_in_its_name(checkout: Checkout) -> None:
    """It is shown in one line."""
    checkout.scripted({"steps": GOOD}, {"file": "a\nb.csv"})
    assert "/a\\nb.csv  0 bytes" in checkout.invoke("run", "p").out


@pytest.mark.parametrize(
    ("config", "warning"),
    [
        ({"destination_path": "/data/out"}, "target-scripted wrote 2 records of s to /data/out"),
        (
            {"host": "db.example.com", "port": 5432, "database": "dwh", "default_target_schema": "raw", "password": "${DB_PASSWORD}"},
            "target-scripted wrote 2 records of s to schema raw, database dwh, host db.example.com:5432",
        ),
        ({"sqlalchemy_url": "postgresql://db.example.com/dwh"}, "wrote 2 records of s to database dwh, host db.example.com"),
        ({}, "target-scripted left no file for 2 records of s"),
    ],
)
def test_records_without_a_file(checkout: Checkout, config: dict[str, object], warning: str) -> None:
    """If a target leaves no file, the report names the path that its config makes it write."""
    checkout.scripted({"steps": GOOD}, {**config, "outside": str(checkout.root / "database")})
    result = checkout.invoke("run", "p", DB_PASSWORD="swordfish-17")
    assert result.code == 0, result.err
    assert warning in result.out
    assert "swordfish" not in result.out


def test_one_record(checkout: Checkout) -> None:
    """One record is no plural; a run without new ones names the newest file."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 1], ["state", {"n": 1}]], "again": [["schema", "s"]]})
    assert "  1 record, " in checkout.invoke("run", "p").out
    run = checkout.invoke("runs", "--json").last["run"]
    assert f"no new records, so no file; the newest is output/p/{run}/s.jsonl" in checkout.invoke("run", "p").out


def test_runs_tell_how_they_ended(checkout: Checkout) -> None:
    """A failure has its code in the list of runs, and a backfill its days."""
    steps = [["schema", "s"], ["records", "s", 1], ["state", {"n": 1}]]
    checkout.scripted({"steps": steps, "start_date": "2020-01-01"})
    assert checkout.run("p", "--from", "2024-01-01").code == 0
    checkout.scripted({"steps": [["schema", "s"], ["exit", 1]]})
    assert checkout.run().code == 2
    failed, filled = checkout.invoke("runs").out.splitlines()[1:]
    assert "failed E-TAP-FAILED" in failed
    assert "backfill from 2024-01-01" in filled


def test_a_run_keeps_its_warnings(checkout: Checkout) -> None:
    """Green means loaded: a selected stream for which the tap sends nothing stays visible, for people and programs."""
    selected = [{"breadcrumb": [], "metadata": {"selected": True}}]
    streams = [{"tap_stream_id": name, "stream": name, "schema": {"type": "object"}, "metadata": selected} for name in ("s", "renamed")]
    checkout.scripted({"steps": GOOD})
    checkout.write("tap-scripted/catalog.json", {"streams": streams})
    result = checkout.invoke("run", "p")
    assert result.code == 0, result.err
    assert "1 warning" in checkout.invoke("runs").out
    assert "renamed" in checkout.invoke("show", "last").out
    (warning,) = checkout.invoke("show", "last", "--json").last["warnings"]
    assert "renamed" in warning


def test_the_history_of_a_state(checkout: Checkout) -> None:
    """Each version names what has stored it: a run, a rollback, --set or --reset."""
    checkout.scripted({"steps": GOOD})
    run = checkout.run().last["run"]
    file = checkout.write("new.json", {"n": 9})
    assert checkout.invoke("state", "p", "--set", str(file)).code == 0
    first = checkout.invoke("state", "p", "--history", "--json").events[-1]
    assert first["run"] == run
    assert checkout.invoke("state", "p", "--rollback", first["version"]).code == 0
    assert checkout.invoke("state", "p", "--reset").code == 0
    stored = [re.split(r"  +", line.strip())[-1] for line in checkout.invoke("state", "p", "--history").out.splitlines()[1:]]
    assert stored[0] == "state --reset"
    assert re.fullmatch(r"as \w+: rollback", stored[1])
    assert stored[2:] == ["state --set", run]


def test_a_state_of_several_streams(checkout: Checkout) -> None:
    """Streams and bookmarks are shown, not JSON that is cut off."""
    days = [f"2024-0{number}-01T00:00:00Z" for number in range(1, 6)]
    marks = {f"stream_{day[6]}": {"replication_key": "at", "replication_key_value": day} for day in days}
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 1], ["state", {"bookmarks": marks}]]})
    assert "  state  stream_1 2024-01-01T00:00:00Z · stream_2 2024-02-01T00:00:00Z" in checkout.invoke("run", "p").out
    shown = checkout.invoke("show", "last").out
    assert re.findall(r"^  state stream_\d +(\S+) \(before: none\)$", shown, re.MULTILINE) == days
    assert "and 2 more" in checkout.invoke("runs").out

    partitions = [{"context": {"id": number}, "replication_key_value": day} for number, day in enumerate(days * 300)]
    name = "a" * 150
    steps = [["schema", name], ["records", name, 1], ["state", {"bookmarks": {name: {"partitions": partitions}, "t": {"at": 1}}}]]
    checkout.scripted({"steps": steps})
    assert checkout.invoke("run", "p").code == 0
    lines = checkout.invoke("show", "last").out.splitlines()
    assert f"1,500 partitions up to {days[-1]}" in next(line for line in lines if line.startswith(f"  state {'a' * 40}… "))
    assert len(next(line for line in lines if line.startswith("  started "))) < 100


def test_schedules_can_be_read_before_there_is_a_platform(checkout: Checkout) -> None:
    """Sync prints the objects, or a plan, without a cluster; applying them needs one."""
    checkout.scripted({"steps": GOOD}, schedule="0 6 * * *")
    objects = list(yaml.safe_load_all(checkout.invoke("sync", "--yaml").out))
    assert ("CronWorkflow", "p") in [(item["kind"], item["metadata"]["name"]) for item in objects]
    planned = checkout.invoke("sync", "--plan")
    assert (planned.code, "The platform is not up: there is none yet. invoke up starts it" in planned.out) == (0, True)
    assert re.search(r"^  p +CronWorkflow, to be created$", planned.out, re.MULTILINE)
    assert {json.loads(line)["event"] for line in checkout.invoke("sync", "--plan", "--json").out.splitlines()} == {"step"}
    assert checkout.invoke("sync").code == 1


def test_the_status_without_a_container_runtime(checkout: Checkout) -> None:
    """It is one sentence and one command."""
    result = checkout.invoke("status", PATH=str(checkout.root / "empty"))
    assert (result.code, result.out) == (1, "")
    assert re.fullmatch(r"\nE-PROGRAM  docker is not installed, or not on PATH\.\n→ Install Docker [^\n]+\n", result.err)
