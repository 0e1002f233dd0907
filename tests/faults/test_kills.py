"""Killed anywhere: the connectors and their runners at any byte, the engine at any byte, any change to the disk, any moment."""

from __future__ import annotations

import errno
import json
import signal
import time
from typing import TYPE_CHECKING

import pytest
from checkout import Checkout
from fault_pipeline import ROWS, Ground
from hypothesis import example, given, settings
from hypothesis import strategies as st
from processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

faults = settings.get_profile("faults")
LONGEST = 1500
"""Bytes that a tap prints in such a run, a little more: beyond them is the end."""
CHANGES = 72
"""Changes to the disk that such a run makes, likewise; a test below counts them."""
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Ground]:
    """Yield a pipeline whose buckets are folders."""
    with Ground(Checkout(tmp_path_factory.mktemp("ground") / "checkout", shared)) as made:
        yield made


@faults
@given(
    st.sampled_from(["tap", "target"]),
    st.sampled_from(["connector", "runner", "engine"]),
    st.sampled_from([0, *SIGNALS]),
    st.integers(0, LONGEST),
)
def test_killed_at_any_byte(ground: Ground, side: str, who: str, number: int, at: int) -> None:
    """A connector, its runner or the engine is killed after any byte of what passes."""
    ground.first()
    fault = {"at": at, "who": who, "signal": int(number)}
    ground.prepare(ROWS, tap=fault if side == "tap" else None, target=fault if side == "target" else None)
    ground.hit(ground.start(), killed=True)
    ground.prepare(ROWS)
    ground.mended()


@faults
@given(st.integers(1, CHANGES), st.sampled_from(SIGNALS))
def test_killed_at_any_change(ground: Ground, at: int, number: int) -> None:
    """The engine is killed before any change that it makes to the disk."""
    ground.first()
    ground.hit(ground.start(fault={"at": at, "number": int(number)}), killed=True)
    ground.mended()


@faults
@given(st.integers(1, CHANGES), st.integers(1, 30), st.sampled_from([signal.SIGTERM, signal.SIGINT]), st.sampled_from(SIGNALS))
def test_killed_while_it_puts_things_away(ground: Ground, at: int, later: int, number: int, second: int) -> None:
    """The engine gets a signal to stop before any change, and again, or is killed, some changes later: a second Ctrl-C."""
    ground.first()
    ground.hit(ground.start(fault={"at": at, "number": int(number), "later": later, "second": int(second)}), killed=True)
    ground.mended()


@faults
@example(at=23, error=errno.ENOSPC, for_good=True)  # the logs of the two sides
@example(at=24, error=errno.EIO, for_good=False)  # the processes
@given(at=st.integers(1, CHANGES), error=st.sampled_from([errno.EIO, errno.ENOSPC, errno.EROFS]), for_good=st.booleans())
def test_an_error_of_the_disk_at_any_change(ground: Ground, at: int, error: int, for_good: bool) -> None:  # noqa: FBT001 - an example's value
    """Any change fails, that one or all from there on: a broken, a full, a read-only disk."""
    ground.first()
    ground.hit(ground.start(fault={"at": at, "error": error, "for_good": int(for_good)}))
    ground.mended()


@faults
@given(st.floats(0, 0.4), st.sampled_from(SIGNALS))
def test_killed_at_any_moment(ground: Ground, moment: float, number: int) -> None:
    """The engine is killed at any moment."""
    ground.killed_after(moment, number)


@faults
@given(st.sampled_from(SIGNALS), st.integers(1, 2), st.floats(0, 0.01))
def test_killed_as_its_runners_start(ground: Ground, number: int, count: int, later: float) -> None:
    """The engine is killed as the first or the second runner comes into being: a runner that comes too late makes no folder anew."""
    ground.first()
    command = ground.start()
    deadline = time.monotonic() + 2
    while command.children() < count and time.monotonic() < deadline:
        pass  # a moment later is too late
    time.sleep(later)
    command.kill(number)
    ground.hit(command, killed=True)
    ground.mended()


@faults
@given(st.integers(1, 40), st.sampled_from(SIGNALS), st.integers(1, CHANGES))
def test_the_mending_is_killed_too(ground: Ground, again: int, number: int, at: int) -> None:
    """A run is killed, and then the one that would have put it right."""
    ground.first()
    ground.hit(ground.start(fault={"at": at, "number": int(signal.SIGKILL)}), killed=True)
    ground.hit(ground.start(fault={"at": again, "number": int(number)}), killed=True)
    ground.mended()


def test_runs_at_once(ground: Ground, tmp_path: Path) -> None:
    """Of many runs of one pipeline begun in parallel one works, and the others report that, or go on from where it ended."""
    ground.first()
    stables = [ground.another(tmp_path / f"out{number}") for number in range(4)]
    for _ in range(3):
        commands = [stable.start("run", "p", "--engine", "local", "--json") for stable in stables]
        codes = [command.wait() for command in commands]
        assert set(codes) <= {0, 1}, [command.err for command in commands]
        assert 0 in codes
        assert all("E-BUSY" in command.err for command in commands if command.code == 1)
        for command in commands:
            ground.hit(command)
        ground.settled()
    for stable in stables:
        stable.close()
    ground.mended()


def test_a_state_is_not_set_during_a_run(ground: Ground, tmp_path: Path) -> None:
    """While a run is under way its pipeline's state can be neither set nor removed; afterwards it can."""
    ground.first()
    (tmp_path / "state.json").write_text('{"n": 3}', encoding="utf-8")
    ground.checkout.write("target-scripted/config.json", {"wait_for": str(tmp_path / "go")})
    stable = ground.another(tmp_path / "out")
    command = ground.start()
    eventually(lambda: command.run)
    for words in (["--set", str(tmp_path / "state.json")], ["--reset"]):
        refused = stable.start("state", "p", "--engine", "local", *words)
        assert (refused.wait(), "E-BUSY" in refused.err) == (1, True)
    (tmp_path / "go").touch()
    ground.hit(command)
    ground.settled()
    assert ground.state() == ROWS
    assert stable.start("state", "p", "--engine", "local", "--set", str(tmp_path / "state.json")).wait() == 0
    assert ground.state() == 3
    stable.close()


def test_a_clock_that_goes_back(ground: Ground) -> None:
    """Where earlier runs lie in the future, because the clock was wrong, a run goes on from their state and is complete."""
    ground.first()
    [record] = ground.records()
    future = f"2099{record.run[4:]}"
    for bucket, prefix in ((ground.buckets[1], f"runs/p/{record.run}"), (ground.buckets[2], f"p/{record.run}")):
        folder = ground.checkout.local / "buckets" / bucket / prefix
        for file in folder.rglob("run.json"):
            file.write_text(file.read_text(encoding="utf-8").replace(record.run, future), encoding="utf-8")
        folder.rename(folder.with_name(future))
    ground.hit(ground.start(fault={"at": 40, "number": int(signal.SIGKILL)}), killed=True)
    ground.mended()


def test_a_connector_without_memory(ground: Ground) -> None:
    """A tap that gets no more memory fails with its own words, and nothing has moved."""
    ground.first()
    ground.checkout.write("tap-scripted/config.json", {"steps": [["schema", "s"], ["records", "s", 3, 7], ["memory", 10**8, 10**9]]})
    command = ground.start()
    ground.hit(command)
    assert (command.code, "MemoryError" in command.err, ground.state()) == (2, True, 7)
    ground.prepare(ROWS)
    ground.mended()


def test_connectors_outlive_their_engine(ground: Ground, tmp_path: Path) -> None:
    """After the engine was killed, the next run waits until its connectors have ended: never do two of a pipeline work in parallel."""
    ground.first()
    deaf = tmp_path / "deaf"
    ground.checkout.write("tap-scripted/config.json", {"steps": [["deaf"], ["touch", str(deaf)], ["schema", "s"], ["sleep", 60]]})
    command = ground.start()
    eventually(lambda: deaf.exists() and len(ground.orphans()) >= 5)  # the command, two runners, two connectors
    command.kill(signal.SIGKILL)
    command.wait()
    assert ground.orphans()  # the tap is deaf, and has five seconds
    ground.prepare(ROWS)
    ground.mended()


def test_killed_after_its_data(ground: Ground) -> None:
    """A run that was killed after its rows were published, before its record has succeeded: the next command takes them back."""
    ground.first()
    ground.hit(ground.start(fault={"renaming": "/run.json", "nth": 2, "number": int(signal.SIGKILL)}), killed=True)
    assert (ground.state(), ground.published()) == (7, list(range(ROWS)))
    ground.prepare(7)
    ground.mended()


def test_killed_before_its_record(ground: Ground) -> None:
    """As long as the record does not say that the run succeeded, the state is the old one."""
    ground.first()
    ground.hit(ground.start(fault={"renaming": "/run.json", "nth": 2, "number": int(signal.SIGKILL)}), killed=True)
    assert (ground.state(), ground.records()[0].status) == (7, "running")
    ground.mended()


def test_killed_before_its_state(ground: Ground) -> None:
    """A run that was killed after its record has succeeded, before its state is stored: the next command stores it."""
    ground.first()
    ground.hit(ground.start(fault={"renaming": "pipelines/p/state.json", "nth": 1, "number": int(signal.SIGKILL)}), killed=True)
    assert (ground.state(), ground.records()[0].status) == (7, "succeeded")
    ground.mended()
    assert ground.records()[0].total == 0  # nothing was loaded again


@pytest.mark.parametrize("later", range(1, 12))
def test_a_second_ctrl_c(ground: Ground, later: int) -> None:
    """Ctrl-C while rows are published, and again while the run is put away: what the second one stops, the next command does."""
    ground.first()
    fault = {"renaming": "target-csv-output", "nth": 1, "number": int(signal.SIGINT), "later": later, "second": int(signal.SIGINT)}
    ground.hit(ground.start(fault=fault))
    ground.mended()


def test_every_change_is_tried(ground: Ground) -> None:
    """The changes that are chosen from above are those that a run makes: hardly one is missed, hardly one is tried in vain."""
    ground.first()
    command = ground.start(fault={})
    command.wait()
    assert CHANGES - 10 <= command.changes <= CHANGES


# ------------------------------------------------------------------------------------------------------------ progress

BATCH = 4


def outside(file: Path) -> list[int]:
    """Return the numbers of the rows that the target has written outside of the buckets, in order."""
    return [json.loads(line)["n"] for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


@pytest.mark.parametrize("side", ["tap", "target"])
@pytest.mark.parametrize("who", ["connector", "runner", "engine"])
@pytest.mark.parametrize("number", [0, signal.SIGKILL])
def test_progress_of_a_database_survives(ground: Ground, tmp_path: Path, side: str, who: str, number: int) -> None:
    """However a load into a database ends, its state is never ahead of the rows there, and the next run goes on close behind."""
    ground.clear()
    file = tmp_path / "rows"
    ground.prepare(40, batch=BATCH, **{side: {"at": 1500, "who": who, "signal": int(number)}})
    strike = json.loads((ground.checkout.root / "singer-configs/target-scripted/config.json").read_text(encoding="utf-8"))
    ground.checkout.write("target-scripted/config.json", {**strike, "outside": str(file)})
    command = ground.start()
    command.wait()
    eventually(lambda: not ground.orphans(), why=ground.orphans)
    reached = len(outside(file))
    # The end of the engine, or of what runs the tap, stops the target: perhaps before its first row.
    assert reached > BATCH or who == "engine" or (side, who) == ("tap", "runner")
    assert ground.state() <= reached
    if command.code == 2 and (side, who, number) != ("target", "runner", signal.SIGKILL):  # it writes once a second
        assert reached - ground.state() <= BATCH
        [record] = ground.records()
        kept = {"n": ground.state()} if ground.state() else None
        assert (record.status, record.state_after, record.state_kept) == ("failed", kept, kept)
        assert ("The state has moved on as far as rows are safe" in command.err) == bool(kept)
    ground.prepare(40, batch=BATCH)
    ground.checkout.write("target-scripted/config.json", {"often": True, "outside": str(file)})
    assert ground.run().code == 0
    rows = outside(file)
    assert (ground.state(), set(rows)) == (40, set(range(40)))
    if who != "engine" and (side, who, number) != ("target", "runner", signal.SIGKILL):  # as above: up to a second is lost
        assert len(rows) - 40 <= BATCH, "the next run has loaded again what was safe"
    assert ground.leftovers() == []


def test_progress_of_a_long_load_is_at_most_ten_seconds_old(ground: Ground, tmp_path: Path) -> None:
    """While a long load is under way, its state in the store follows what the target prints."""
    ground.clear()
    file, seconds = tmp_path / "rows", 14
    ground.checkout.write("tap-scripted/config.json", {"steps": [["schema", "s"], ["count", "s", seconds * 2, BATCH, 0.5]]})
    ground.checkout.write("target-scripted/config.json", {"often": True, "outside": str(file)})
    command = ground.start()
    printed: dict[int, float] = {}
    deadline = time.monotonic() + 60
    behind = 0.0
    while len(outside(file)) < seconds * 2 * BATCH and time.monotonic() < deadline:
        printed.setdefault(len(outside(file)), time.monotonic())
        now = time.monotonic()  # before the look at the state, so that a slow look adds nothing
        newer = [moment for rows, moment in printed.items() if rows > ground.state()]
        behind = max(behind, now - min(newer)) if newer else behind
        time.sleep(0.2)
    command.kill(signal.SIGKILL)
    command.wait()
    eventually(lambda: not ground.orphans(), why=ground.orphans)  # the next test begins without them
    assert ground.state() > BATCH
    assert ground.state() <= len(outside(file))
    assert behind <= 10 + 2  # and what the machine takes to look


@pytest.mark.parametrize("safe", [None, False])
def test_progress_of_files_is_not_kept(ground: Ground, safe: bool | None) -> None:  # noqa: FBT001 - a case's value
    """A target that leaves files in its folder, or whose connector.yaml refuses, keeps the old state when it fails."""
    ground.first()
    more = {} if safe is None else {"safe_states": safe}
    connector = {"kind": "target", "pip_url": "tests/connectors/target-scripted", "capabilities": []}
    ground.checkout.write("target-scripted/connector.yaml", {**connector, **more})
    ground.prepare(ROWS, tap={"at": 900, "who": "connector", "signal": 0})
    command = ground.start()
    command.wait()
    assert (command.code, ground.state()) == (2, 7)
    ground.checkout.write("target-scripted/connector.yaml", connector)
    ground.prepare(ROWS)
    ground.mended()
