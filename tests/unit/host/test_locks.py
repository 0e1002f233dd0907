"""Locks between processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from cluster.errors import SetupError
from cluster.host.locks import exclusive, held, only_one, remove_unused, sweep, try_lock

if TYPE_CHECKING:
    from pathlib import Path

HOLD = """
import fcntl, sys
with open(sys.argv[1], "a") as handle:
    fcntl.flock(handle, fcntl.LOCK_EX)
    print("held", flush=True)
    sys.stdin.read()
"""


def holder(file: Path) -> subprocess.Popen[str]:
    """Start a process that holds the lock of *file* until its input ends."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(file)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_lock_of_another_process_is_seen_and_respected(tmp_path: Path) -> None:
    """The second command is refused with its reason; after a SIGKILL of the first the lock is free."""
    file = tmp_path / "locks" / "platform"
    with only_one(file, "Another up is under way."):
        assert held(file)
    assert not held(file)
    with holder(file) as process:
        assert held(file)
        with file.open("rb") as handle:
            assert not try_lock(handle)
        with pytest.raises(SetupError, match="Another up is under way"), only_one(file, "Another up is under way."):
            pass
        process.kill()
        process.wait()
        with exclusive(file):
            assert held(file)


def test_who_looks_at_a_lock_does_not_hold_it(tmp_path: Path) -> None:
    """A command that only looks whether another one is under way is no reason to refuse a third, however slow the machine is."""
    file = tmp_path / "lock"
    file.touch()
    with file.open("rb") as looking:
        assert try_lock(looking, shared=True)
        threading.Timer(0.1, looking.close).start()
        with only_one(file, "Another up is under way."):
            assert held(file)


def test_a_lock_whose_file_is_removed(tmp_path: Path) -> None:
    """A file in use stays. Who waited for a lock whose file is gone makes it anew, and holds that one."""
    file = tmp_path / "lock"
    inside = threading.Event()

    def wait() -> None:
        with exclusive(file):
            inside.set()
            leave.wait(10)

    leave = threading.Event()
    with exclusive(file):
        remove_unused(file)
        assert file.exists()
        waiting = threading.Thread(target=wait)
        waiting.start()
        file.unlink()
    assert inside.wait(10)
    assert held(file)
    leave.set()
    waiting.join()
    remove_unused(file)
    assert not file.exists()


def test_sweeping_leaves_files_that_are_still_written(tmp_path: Path) -> None:
    """A temporary file whose process is gone is removed; one that is locked, and any other file, stays."""
    written, left, other = (tmp_path / name for name in (f".{'a' * 16}.part", f".{'b' * 16}.part", ".hidden.part"))
    for file in (written, left, other):
        file.touch()
    with holder(written) as process:
        sweep(tmp_path)
        assert sorted(tmp_path.iterdir()) == sorted([written, other])
        process.kill()
