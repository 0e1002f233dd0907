"""One run of a pipeline at a time, on this machine.

The lock is the kernel's: it is let go when the process ends, however it ends. The locked file holds the id of a run from
before it begins until all of it is put away, so that whoever finds the lock free and an id in the file knows that this run
was killed, or could not reach the store, and ends it.
"""

from __future__ import annotations

import fcntl
import re
import shutil
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import IO, TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder
from cluster.host.locks import held

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.runs.history import History
    from cluster.runs.record import Record

RUNNER_LOCK = "runner.lock"
"""In the folder of a side of a run: what its runner holds for as long as it lives."""
LOOK_SECONDS = 0.05
WAIT_SECONDS = 20
"""How long the connectors of a run that was killed may take to end; their runners kill them after five."""
RUN_ID = r"\d{8}t\d{6}-\w+"


@contextmanager
def alone(settings: Settings, history: History, pipeline: str) -> Iterator[Path]:
    """Hold the pipeline's lock, after ending what a killed run has left, and yield the locked file, empty.

    :raises SetupError: E-BUSY, another run of this pipeline holds it.
    """
    folder = settings.local / "locks"
    file = folder / f"{pipeline}.lock"
    with file_errors("The lock", file):
        private_folder(folder)
        handle = open(file, "a+", opener=private, encoding="utf-8", errors="replace")  # noqa: SIM115 - the next line closes it
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = _run_in(file)
            raise SetupError(
                "E-BUSY",
                f"Another run of {pipeline} is under way{f' ({running})' if running else ''}.",
                hint="Wait until it has ended; two runs of one pipeline never overlap.",
            ) from None
        left = _run_in(file)
        if re.fullmatch(RUN_ID, left):
            _settle(settings, history, pipeline, left)
        with file_errors("The lock", file):
            handle.truncate(0)
        yield file


def is_running(settings: Settings, record: Record) -> bool:
    """Say whether a run whose record says "running" really is."""
    file = settings.local / "locks" / f"{record.pipeline}.lock"
    return held(file) and _run_in(file) == record.run


def killed(settings: Settings) -> dict[str, str]:
    """Return the runs that were killed and have not been tidied up after, by pipeline; the next run of each, or ``alone``, does it."""
    files = sorted((settings.local / "locks").glob("*.lock"))
    runs = {file.stem: _run_in(file) for file in files if not held(file)}
    return {pipeline: run for pipeline, run in runs.items() if re.fullmatch(RUN_ID, run)}


def _run_in(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip()


def _settle(settings: Settings, history: History, pipeline: str, run: str) -> None:
    """End a run that did not end itself. Its record tells how: one that is loaded gets its state, any other is taken back.

    :raises SetupError: E-BUSY, its connectors are still there.
    """
    sweep(settings.local / "runs" / run, pipeline)
    record = history.read(pipeline, run)
    if record is None:  # it had not begun
        return
    if record.committed and record.state_printed and record.state_after is not None and record.backfill is None:
        history.save_state(pipeline, record.state_after)
    if record.status == "running":
        record.status = "interrupted"
        record.error = {"code": "E-RUNNER", "problem": "The run was killed.", "hint": "Run it again."}
        if record.committed:
            history.save(record)
    if not record.committed:
        history.take_back(record)


def sweep(folder: Path, pipeline: str) -> None:
    """Remove the folder of a run as soon as no runner is at work there; one that comes later finds its lock gone, and ends.

    :raises SetupError: E-BUSY, its connectors are still there.
    """
    deadline = time.monotonic() + WAIT_SECONDS
    with ExitStack() as held:
        for file in folder.glob(f"*/{RUNNER_LOCK}"):
            with suppress(FileNotFoundError):
                _take(held.enter_context(file.open("rb")), pipeline, deadline)
        shutil.rmtree(folder, ignore_errors=True)


def _take(handle: IO[bytes], pipeline: str, deadline: float) -> None:
    """Wait until nobody else holds a lock: when the engine is gone, its runners stop their connectors.

    :raises SetupError: E-BUSY, they take too long.
    """
    while True:
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        if time.monotonic() > deadline:
            raise SetupError(
                "E-BUSY", f"Connectors of a run of {pipeline} that was killed are still ending.", hint="Wait a moment, then run it again."
            )
        time.sleep(LOOK_SECONDS)
