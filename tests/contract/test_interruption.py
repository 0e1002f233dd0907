"""What happens when a run is ended from outside: nothing of it goes on, the state is as it was, the next run succeeds."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
from long_run import SLOW, pids
from processes import alive, eventually
from scenarios import BEFORE, GOOD, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from checkout import Checkout


@pytest.fixture
def running(checkout: Checkout) -> Iterator[tuple[Checkout, subprocess.Popen[str], str, list[int]]]:
    """Yield a run that is under way after a good one: its command's process, its id, its connectors' processes."""
    checkout.scripted({"steps": GOOD})
    assert checkout.run().code == 0
    checkout.scripted(SLOW, {"pid": True})
    with checkout.start("run", "p", "--json") as process:
        assert process.stdout is not None
        run = json.loads(process.stdout.readline())["run"]
        eventually(lambda: len(pids(checkout, run)) == 3)
        yield checkout, process, run, pids(checkout, run)
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_interrupted(running: tuple[Checkout, subprocess.Popen[str], str, list[int]], number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM stop both connectors and all that they have started; the exit code is 130."""
    checkout, process, run, connectors = running
    process.send_signal(number)
    out, err = process.communicate(timeout=120)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert "Interrupted." in err
    last = json.loads(out.splitlines()[-1])
    assert (last["event"], last["status"], last["run"]) == ("run.finished", "failed", run)
    eventually(lambda: not [pid for pid in connectors if alive(pid)])  # the kernel takes a moment for a SIGKILL
    assert checkout.state() == BEFORE
    assert checkout.leftovers() == []
    assert checkout.invoke("show", run, "--json").last["status"] == "interrupted"


def test_killed(running: tuple[Checkout, subprocess.Popen[str], str, list[int]]) -> None:
    """When our own process is killed its connectors stop too; the record names the reason, and the next run succeeds."""
    checkout, process, run, connectors = running
    process.kill()
    process.wait()

    eventually(lambda: not [pid for pid in connectors if alive(pid)])
    assert checkout.state() == BEFORE
    assert checkout.invoke("runs", "--json").events[0]["status"] == "interrupted"
    checkout.scripted({"steps": [SCHEMA, ["records", "s", 1, 2], ["state", {"n": 3}]]})
    assert checkout.run().last["state"] == {"n": 3}
    record = json.loads((checkout.local / f"buckets/artifacts/runs/p/{run}/run.json").read_bytes())
    assert (record["status"], record["error"]["code"]) == ("interrupted", "E-RUNNER")
    assert checkout.leftovers() == []


def test_interrupted_while_installing(checkout: Checkout) -> None:
    """Ctrl-C while environments are made leaves nothing half-made, and the next run succeeds."""
    (checkout.local / "environments").unlink()
    checkout.scripted(SLOW)  # it does not end before the signal comes
    with checkout.start("run", "p") as process:
        folder = checkout.local / "environments"
        eventually(lambda: folder.exists() and list(folder.glob("*.part")))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)

    assert process.returncode == 130
    assert "Traceback" not in err
    assert not list(folder.glob("*.part"))
    checkout.scripted({"steps": GOOD})
    assert checkout.run().last["state"] == BEFORE


def test_output_that_nobody_reads(checkout: Checkout) -> None:
    """A reader that goes away (| head) ends the command without a traceback."""
    checkout.scripted({"steps": GOOD})
    checkout.run()
    with checkout.start("runs") as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.stderr is not None
        assert process.stderr.read() == ""

    assert process.returncode == 0


@pytest.fixture
def small_disk(checkout: Checkout, tmp_path: Path) -> Iterator[Callable[[str, str], Path]]:
    """Yield a function that puts a folder below .local on a separate file system of a small size."""
    mounted: list[Path] = []

    def make(name: str, size: str) -> Path:
        folder = checkout.local / name
        kept = tmp_path / "kept"
        folder.mkdir(exist_ok=True)
        folder.rename(kept)
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, check=False
        )
        if done.returncode:
            pytest.skip(f"a small disk cannot be mounted here: {done.stderr.strip()}")
        mounted.append(folder)
        for item in kept.iterdir():
            subprocess.run(["cp", "-a", str(item), str(folder)], check=True)
        return folder

    yield make
    for folder in mounted:
        subprocess.run(["umount", str(folder)], check=True)


def test_disk_full_in_the_buckets(checkout: Checkout, small_disk: Callable[[str, str], Path]) -> None:
    """When the outputs do not fit, the run fails with that reason, and state and earlier files are as they were."""
    checkout.scripted({"steps": GOOD})
    checkout.run()
    before = checkout.outputs()
    small_disk("buckets", "200k")
    checkout.scripted({"steps": [SCHEMA, ["records", "s", 1, 0, 400_000], ["state", {"n": 5}]]})
    result = checkout.run()

    assert (result.code, result.error) == (2, "E-DISK")
    assert "Traceback" not in result.err
    assert checkout.state() == BEFORE
    assert checkout.outputs() == before
    assert checkout.leftovers() == []
    assert checkout.invoke("show", "last", "--json").last["error"]["code"] == "E-DISK"


def test_disk_full_where_the_run_works(checkout: Checkout, small_disk: Callable[[str, str], Path]) -> None:
    """When the target itself finds the disk full, its own words are shown."""
    checkout.scripted({"steps": GOOD})
    checkout.run()
    small_disk("runs", "200k")
    checkout.scripted({"steps": [SCHEMA, ["records", "s", 1, 0, 400_000], ["state", {"n": 5}]]})
    result = checkout.run()

    assert (result.code, result.error) == (2, "E-TARGET-FAILED")
    assert os.strerror(errno.ENOSPC) in result.err
    assert checkout.state() == BEFORE


def test_raw_output_on_a_full_disk(checkout: Checkout, small_disk: Callable[[str, str], Path]) -> None:
    """When the raw output does not fit, the entrypoint reports it."""
    checkout.scripted({"steps": GOOD})
    checkout.run()
    small_disk("runs", "200k")
    checkout.scripted({"steps": [SCHEMA, ["records", "s", 2000, 0, 400], ["state", {"n": 5}]]}, {"silent": True})
    result = checkout.run("p", "--raw")

    assert (result.code, result.error) == (2, "E-DISK")
    assert checkout.state() == BEFORE


def test_orphans_of_a_deaf_connector(checkout: Checkout) -> None:
    """A connector that ignores SIGTERM is killed, and so is what it has started."""
    checkout.scripted({"steps": GOOD})
    checkout.run()
    checkout.scripted({"steps": [["deaf"], *SLOW["steps"]]}, {"pid": True})
    with checkout.start("run", "p", "--json") as process:
        assert process.stdout is not None
        run = json.loads(process.stdout.readline())["run"]
        eventually(lambda: len(pids(checkout, run)) == 3)
        connectors = pids(checkout, run)
        os.kill(process.pid, signal.SIGINT)
        process.communicate(timeout=120)

    assert process.returncode == 130
    eventually(lambda: not [pid for pid in connectors if alive(pid)])
