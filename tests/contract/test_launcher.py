"""The launcher on a bare machine: a fresh copy, a system Python, nothing else."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from processes import eventually

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """Return a folder with the few programs that a bare machine has, and a separate home beside it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (tmp_path / "home").mkdir()
    for name in ("sh", "cat", "cmp", "cp", "dirname", "mkdir", "mv", "realpath", "rm", "sleep"):
        path = shutil.which(name)
        assert path
        (folder / name).symlink_to(path)
    return folder


def script(file: Path, text: str) -> None:
    """Write a shell script that can be run."""
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)


def python(tools: Path, name: str = "python3") -> None:
    """Put this Python onto the bare machine."""
    script(tools / name, f'exec {getattr(sys, "_base_executable", sys.executable)} "$@"')


def environ(checkout: Checkout, tools: Path, **more: str) -> dict[str, str]:
    """Return the environment of the bare machine."""
    return {**checkout.environ, "PATH": str(tools), "HOME": str(tools.parent / "home"), **more}


def launch(checkout: Checkout, tools: Path, *words: str, cwd: Path | None = None, **more: str) -> subprocess.CompletedProcess[str]:
    """Type ./invoke."""
    command = [str(checkout.root / "invoke") if cwd else "./invoke", *words]
    return subprocess.run(
        command, cwd=cwd or checkout.root, env=environ(checkout, tools, **more), capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.full  # makes two venvs
def test_first_use_and_after(checkout: Checkout, tools: Path, tmp_path: Path) -> None:
    """The first use makes the venv with its bytecode; the next is quiet. Nothing is written elsewhere; printed commands begin with ./."""
    python(tools)
    first = launch(checkout, tools, "runs", PYTHONDONTWRITEBYTECODE="1")
    second = launch(checkout, tools, "runs")
    verbose = launch(checkout, tools, "runs", PYTHONDONTWRITEBYTECODE="1", PYTHONVERBOSE="1")
    compiled = re.findall(r"# code object from '?(.+\.py)'?$", verbose.stderr, re.MULTILINE)

    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert "Making" in first.stderr
    assert [file for file in compiled if file.startswith(str(checkout.root))] == []
    assert second.stderr == ""
    assert second.stdout == "No runs yet. Next: ./invoke demo\n"
    assert list((tmp_path / "home").iterdir()) == []

    elsewhere = launch(checkout, tools, "runs", cwd=tmp_path)
    assert elsewhere.stdout == f"No runs yet. Next: {checkout.root}/invoke demo\n"

    lock = checkout.root / "requirements.lock"
    lock.write_text(lock.read_text() + "# another lock\n")
    (checkout.root / ".venv/bin/python").unlink()
    changed = launch(checkout, tools, "--list")
    assert (changed.returncode, "Making" in changed.stderr) == (0, True)
    assert "demo" in changed.stdout


def test_no_python(checkout: Checkout, tools: Path) -> None:
    """Without a Python that is new enough there is one sentence and what to do; another name for it is found."""
    script(tools / "python3", "exit 1")
    result = launch(checkout, tools, "demo")

    assert result.returncode == 1
    assert result.stderr == "Python 3.11 or later is not here.\n→ Install it, or name it: SINGER_PYTHON=/path/to/python3.12 ./invoke demo\n"
    assert not (checkout.root / ".venv").exists()

    result = launch(checkout, tools, "demo", SINGER_PYTHON="/nowhere/python")
    assert "Python 3.11 or later is not here." in result.stderr


def test_no_venv_module(checkout: Checkout, tools: Path) -> None:
    """If Debian's python3-venv is missing, the error names it."""
    real = getattr(sys, "_base_executable", sys.executable)
    script(tools / "bare", f'case "$*" in *ensurepip*) exit 1;; esac\nexec {real} "$@"')
    script(tools / "python3", f'case "$2" in *version_info*) echo {tools / "bare"};; esac')
    result = launch(checkout, tools, "demo")

    assert result.returncode == 1
    assert "has no venv module." in result.stderr
    assert "apt install python3-venv" in result.stderr


@pytest.mark.full  # makes a venv
def test_no_network(checkout: Checkout, tools: Path) -> None:
    """If the packages cannot be downloaded, the error names what to do, and the next use begins again."""
    python(tools)
    result = launch(checkout, tools, "runs", PIP_INDEX_URL="http://127.0.0.1:9/simple", PIP_RETRIES="0")

    assert result.returncode == 1
    assert "What requirements.lock names cannot be installed." in result.stderr
    assert "PIP_INDEX_URL or INVOKE_SINGER_PROXY" in result.stderr
    assert launch(checkout, tools, "runs").returncode == 0


@pytest.mark.full  # makes a venv
def test_uv_that_fails(checkout: Checkout, tools: Path) -> None:
    """Where uv cannot install, pip does."""
    python(tools)
    result = launch(checkout, tools, "runs", UV_CACHE_DIR="/dev/null/cache")

    assert (result.returncode, result.stdout) == (0, "No runs yet. Next: ./invoke demo\n"), result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.full  # makes a venv
def test_several_at_once_and_one_killed(checkout: Checkout, tools: Path) -> None:
    """A first use that is killed does not block the next, and several in parallel make the environment once."""
    python(tools)
    with subprocess.Popen(["./invoke", "runs"], cwd=checkout.root, env=environ(checkout, tools), stderr=subprocess.DEVNULL) as killed:
        eventually((checkout.root / ".venv" / "bin").exists)
        os.kill(killed.pid, signal.SIGKILL)
    several = [
        subprocess.Popen(
            ["./invoke", "runs"],
            cwd=checkout.root,
            env=environ(checkout, tools),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    outputs = [process.communicate(timeout=300) for process in several]

    assert [process.returncode for process in several] == [0, 0, 0], outputs
    assert sum("Making" in err for _, err in outputs) == 1
    assert not (checkout.root / ".venv.making").exists()


@pytest.mark.full  # makes three venvs
def test_a_folder_with_a_space(checkout: Checkout, tools: Path, tmp_path: Path) -> None:
    """A checkout may lie in a folder whose name has spaces and quotes, and may be moved; connectors are found there too."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 1]]})
    (checkout.root / ".local/environments").unlink()
    python(tools)
    odd = tmp_path / "it's a folder"
    checkout.root.rename(odd)
    checkout.root, checkout.local = odd, odd / ".local"
    assert launch(checkout, tools, "run", "p").returncode == 0
    moved = tmp_path / "moved elsewhere"
    odd.rename(moved)
    checkout.root = moved
    result = launch(checkout, tools, "run", "p")

    assert result.returncode == 0, result.stderr
    assert "environments reused" in result.stdout
