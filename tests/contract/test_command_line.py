"""The front door: what ``./invoke`` answers before a command begins. Started as the launcher starts it."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import tasks

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout


def typed(checkout: Checkout, *words: str, cwd: Path | None = None, launcher: str = "./invoke") -> subprocess.CompletedProcess[str]:
    """Type a command as the launcher passes it on."""
    return subprocess.run(
        [sys.executable, str(checkout.root / "tasks.py"), *words],
        cwd=cwd or checkout.root,
        env={**checkout.environ, "SINGER_LAUNCHER": launcher},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


@pytest.mark.parametrize("words", [[], ["--list"]], ids=["alone", "--list"])
def test_the_overview(checkout: Checkout, words: list[str]) -> None:
    """Alone it lists all commands in groups, one line each, and how to get help."""
    result = typed(checkout, *words)
    assert (result.returncode, result.stderr) == (0, "")
    groups = re.findall(r"^([A-Z][a-z ]+)\n((?:  [a-z].+\n)+)", result.stdout, re.MULTILINE)
    listed = {title: re.findall(r"^  ([a-z]+) +[A-Z]", lines, re.MULTILINE) for title, lines in groups}
    assert listed == {title: [task.name for task in group] for title, group in tasks.GROUPS.items()}
    assert result.stdout.splitlines()[-1].endswith("./invoke run --help")
    assert max(map(len, result.stdout.splitlines())) <= 100


def test_help(checkout: Checkout) -> None:
    """A command's help is the same on either side of its name, and has an example on a separate line."""
    after, before = typed(checkout, "run", "--help"), typed(checkout, "--help", "run")
    assert (after.returncode, after.stdout) == (0, before.stdout)
    assert "  ./invoke run exchange-rates-to-csv" in after.stdout.splitlines()
    assert after.stdout.startswith("Usage: ./invoke run PIPELINE [options]\n")
    for words in (["run", "exchange-rates-to-csv", "--full", "--help"], ["run", "-h"], ["help", "run"]):
        assert typed(checkout, *words).stdout == after.stdout
    listed = re.findall(r"^  (PIPELINE|.*--[a-z-]+)", after.stdout, re.MULTILINE)
    assert (listed[0], listed[-1]) == ("PIPELINE", "  -j, --json".strip())


def test_the_general_help(checkout: Checkout) -> None:
    """It has the commands and the few options that a first day needs, not those of Invoke, in at most 65 lines."""
    result = typed(checkout, "--help")
    assert (result.returncode, typed(checkout, "help").stdout) == (0, result.stdout)
    lines = result.stdout.splitlines()
    assert len(lines) <= 65
    assert not [line for line in lines if "--echo" in line or "--pty" in line or len(line) > 100]
    assert [line for line in lines if line.startswith("  -j, --json")]


def test_version(checkout: Checkout) -> None:
    """The version is ours, with Invoke's."""
    assert re.fullmatch(r"singer \d+\.\d+\.\d+ \(Invoke \d[\d.]+\)\n", typed(checkout, "--version").stdout)


@pytest.mark.parametrize(
    ("words", "problem", "hint"),
    [
        (["run"], "run needs a pipeline. There are: exchange-rates-to-csv, currencies-to-csv.", "./invoke run exchange-rates-to-csv"),
        (["state", "--reset"], "state needs a pipeline. There are: exchange-rates-to-csv,", "./invoke state exchange-rates-to-csv"),
        (["discover"], "discover needs a connector. There are: tap-exchange-rates,", "./invoke discover tap-exchange-rates"),
        (["check"], "check needs a name. There are: exchange-rates-to-csv, currencies-to-csv, dbt-rates,", "./invoke check "),
        (["open"], "open needs a door. There are: argo, minio.", "./invoke open argo"),
        (["add", "p"], "add needs a tap and a target.", "./invoke add --help shows an example."),
        (["rnu"], 'There is no command "rnu". Did you mean "run"?', "./invoke --list"),
        (["--help", "rnu"], 'There is no command "rnu". Did you mean "run"?', "./invoke --list"),
        (["runs", "--limit", "x"], '"x" is no whole number.', "./invoke runs --help"),
        (["run", "p", "--engine"], "--engine needs a value.", "./invoke run --help"),
        (["run", "p", "--at-once", "4", "--from="], "--from needs a value.", "./invoke run --help"),
        (["run", "p", "--at-once", "", "--full"], "--at-once needs a value.", "./invoke run --help"),
        (
            ["runs", "nightly"],
            'runs takes no word such as "nightly"; a pipeline is named with --pipeline.',
            "./invoke runs --pipeline nightly",
        ),
        (["run", "p", "-f"], 'There is no option "-f".', "./invoke --help"),
        (["demo", "--engin", "local"], 'There is no option "--engin". Did you mean "--engine"?', "./invoke --help"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_incomplete_command(checkout: Checkout, words: list[str], problem: str, hint: str) -> None:
    """What is missing is answered with the names that exist, and what is misspelt with what was meant."""
    result = typed(checkout, *words)
    assert (result.returncode, result.stdout) == (1, "")
    fact, arrow = result.stderr.strip().splitlines()
    assert fact.startswith(f"E-SETTING  {problem}")
    assert arrow.startswith(f"→ {hint}")


def test_a_run_that_is_not_named(checkout: Checkout) -> None:
    """A command that needs a run lists the newest; a program gets the error as an event."""
    assert "It is a run's id, a part of it, or last." in typed(checkout, "show").stderr
    checkout.scripted({"records": 3})
    run = checkout.run().last["run"]
    assert f"show needs a run. There are: {run}." in typed(checkout, "show").stderr
    event = json.loads(typed(checkout, "show", "--json").stdout)
    assert (event["event"], event["code"]) == ("error", "E-SETTING")


def test_a_damaged_record(checkout: Checkout) -> None:
    """The newest run that can be read is shown, with a word about the one that cannot; named itself, it is an error."""
    checkout.scripted({"records": 3})
    runs = [checkout.run().last["run"] for _ in range(2)]
    record = checkout.local / "buckets" / "artifacts" / "runs" / "p" / runs[1] / "run.json"
    record.write_text(record.read_text()[:40])
    last, named = (checkout.invoke("show", word, "--json") for word in ("last", runs[1]))
    assert (last.code, last.last["run"]) == (0, runs[0])
    [warning] = [event for event in last.events if event["event"] == "warning"]
    assert warning["problem"].startswith(f"The record of the run {runs[1]} is damaged: ")
    assert str(record) in warning["problem"]
    assert (named.code, named.last["code"], runs[1] in named.last["problem"]) == (1, "E-STORE", True)
    assert "show last" in named.last["hint"]


def test_it_is_the_same_command_line(checkout: Checkout, tmp_path: Path) -> None:
    """Settings of invoke.yaml and the exit codes are the same as with Invoke's own program; a launcher's path is quoted."""
    (checkout.root / "invoke.yaml").write_text("singer: {engine: nowhere}\n")
    own, invokes = typed(checkout, "run", "exchange-rates-to-csv", launcher=""), checkout.invoke("run", "exchange-rates-to-csv")
    assert (own.returncode, own.stderr) == (invokes.code, invokes.err)
    assert "singer.engine" in own.stderr
    (checkout.root / "invoke.yaml").write_text("engine: local\n")
    beside = typed(checkout, "runs")
    assert (beside.returncode, "engine is a setting of singer" in beside.stderr) == (1, True)
    (checkout.root / "invoke.yaml").write_text("singer: [\n")
    assert (own := typed(checkout, "runs")).returncode == 1
    assert own.stderr.strip().startswith("E-CONFIG  invoke.yaml, line")
    (checkout.root / "invoke.yaml").unlink()
    result = typed(checkout, "runs", cwd=tmp_path, launcher="/a folder/invoke")
    assert result.stdout == "No runs yet. Next: '/a folder/invoke' demo\n"


@pytest.mark.parametrize(
    ("line", "candidates"),
    [
        ("ru", ["run", "runs"]),
        ("run ", ["exchange-rates-to-csv", "currencies-to-csv"]),
        ("run ex", ["exchange-rates-to-csv"]),
        ("run exchange-rates-to-csv,", ["exchange-rates-to-csv,currencies-to-csv"]),
        ("run --engine local ex", ["exchange-rates-to-csv"]),
        ("run exchange-rates-to-csv --engine ", ["local", "argo"]),
        ("run exchange-rates-to-csv --ra", ["--raw"]),
        ("runs --pipeline cu", ["currencies-to-csv"]),
        ("check tap", ["tap-exchange-rates"]),
        ("add p --tap tap-exchange-rates --target target-c", ["target-csv"]),
        ("status --env ", ["laptop", "far"]),
        ("status --env nowhere --js", ["--json"]),
        ("report --out ", []),
        ("schedule --print s", ["systemd"]),
        ("new tap-", []),
        ("select currencies-to-csv --str", ["--stream"]),
        ("select currencies-to-csv --stream cu", ["currency"]),
        ("select currencies-to-csv --exclude currency,e", ["currency,exchange_rate", "currency,exchange_rate_long"]),
        ("discover nothing --stream ", []),
        ("select cur", ["currencies-to-csv"]),
        ("show last ", ["--env", "--json", "--help"]),
        ("--help ru", ["run", "runs"]),
        ("runs --he", ["--help"]),
        ("--vers", ["--version"]),
    ],
)
def test_completion(checkout: Checkout, line: str, candidates: list[str]) -> None:
    """The Tab key offers commands, options, and the names that an argument may have."""
    (checkout.root / "environments").mkdir()
    (checkout.root / "environments" / "far.yaml").write_text("context: far\n")
    result = typed(checkout, "--complete", "--", "./invoke", *line.split(" "))
    assert (result.returncode, result.stderr, result.stdout.split()) == (0, "", candidates)


def test_completion_of_runs(checkout: Checkout) -> None:
    """A run is completed by its id, the newest first. Files that cannot be read give no candidates and no error."""
    checkout.scripted({"records": 3})
    run = checkout.run().last["run"]
    assert typed(checkout, "--complete", "--", "invoke", "show", "").stdout.split() == ["last", run]
    (checkout.root / "singer-configs" / "pipelines.yaml").write_text("p: [")
    result = typed(checkout, "--complete", "--", "invoke", "run", "")
    assert (result.returncode, result.stdout.strip(), result.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("shell", "asks"),
    [
        ("bash", 'COMP_WORDS=(./invoke run ex) COMP_CWORD=2; _singer_invoke ./invoke ex run; printf "%s\\n" "${COMPREPLY[@]}"'),
        ("fish", 'complete --do-complete "./invoke run ex"'),
    ],
)
def test_completion_in_a_shell(checkout: Checkout, tmp_path: Path, shell: str, asks: str) -> None:
    """The printed script completes the name of a pipeline."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    script = tmp_path / "script"
    script.write_text(typed(checkout, "--print-completion-script", shell).stdout)
    program = checkout.root / "invoke"
    program.unlink()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" tasks.py "$@"\n')
    program.chmod(0o755)
    result = subprocess.run(
        [shell, "-c", f'source "{script}"; {asks}'], cwd=checkout.root, env=checkout.environ, capture_output=True, text=True, check=True
    )
    assert result.stdout.split() == ["exchange-rates-to-csv"]
