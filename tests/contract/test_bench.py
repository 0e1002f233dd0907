"""``invoke bench``: what is measured, shown and left alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import eventually

if TYPE_CHECKING:
    from checkout import Checkout

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "performance.md"
COPIES = ROOT / ".local"


def test_a_benchmark_that_is_not_there(checkout: Checkout) -> None:
    """Its name is refused before anything is installed or measured."""
    result = checkout.invoke("bench", "--only", "run,rum", "--json")
    assert (result.code, result.error) == (1, "E-SETTING")
    assert "There is no benchmark" in result.err
    assert "run, loop, up, argo, fleet, night, onboarding, hub" in result.err


def test_what_cannot_be_measured_here(checkout: Checkout) -> None:
    """Without docker and kind each section that needs them is named with the reason, and the page stays as it was."""
    before = PAGE.read_bytes()
    bare = checkout.root / "bare"
    bare.mkdir()
    command = [sys.executable, "-m", "invoke", "bench", "--only", "up,argo,night", "--json"]
    done = subprocess.run(command, cwd=ROOT, env={**checkout.environ, "PATH": str(bare)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout.splitlines()[-1])
    assert last["event"] == "bench.finished"
    assert last["written"] == []
    assert last["skipped"] == dict.fromkeys(("up", "argo", "night"), "docker is not on PATH")
    assert PAGE.read_bytes() == before


@pytest.mark.full  # makes a venv
def test_a_benchmark_that_is_stopped() -> None:
    """SIGTERM ends all that was begun, and its copy of the checkout is gone."""
    there = set(COPIES.glob("benchmark-*"))
    with subprocess.Popen([sys.executable, "-m", "invoke", "bench", "--quick", "--only", "run"], cwd=ROOT) as process:
        eventually(lambda: set(COPIES.glob("benchmark-*")) - there, 60)
        process.terminate()
        assert process.wait(60) == 130
    assert set(COPIES.glob("benchmark-*")) <= there


@pytest.mark.slow
def test_a_quick_look() -> None:
    """--quick measures the local engine, tells each row, and writes nothing."""
    before = PAGE.read_bytes()
    command = [sys.executable, "-m", "invoke", "bench", "--quick", "--only", "run", "--json"]
    done = subprocess.run(command, cwd=ROOT, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    *rows, last = [json.loads(line) for line in done.stdout.splitlines()]
    assert {row["event"] for row in rows} == {"bench.row"}
    assert {row["section"] for row in rows} == {"run"}
    assert [row["what"] for row in rows if row["what"].startswith("peak memory (RSS)")] != []
    assert (last["event"], last["written"], last["wrong"]) == ("bench.finished", [], {})
    assert PAGE.read_bytes() == before
