"""One run of a pipeline at a time, on this machine.

The kernel holds the lock and drops it when the process ends, however it ends. The locked file
holds the id of a run from before it begins until nothing of it is left to do. An id in a file
that is not locked is a run that was killed, or that could not reach the store: the next command
for that pipeline ends it.
"""

from __future__ import annotations

import re
import shutil
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from cluster.engines.rotation import recover
from cluster.errors import SetupError
from cluster.host import locks
from cluster.host.files import file_errors, private, private_folder
from cluster.host.waiting import until
from cluster.runs.journal import Journal, Progress

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.runs.history import History
    from cluster.runs.record import Record

RUNNER_LOCK = "runner.lock"
"""The file in the folder of a side that its runner locks while it runs."""
SAFE_STATE = "safe_state.json"
"""The file in the target's folder with the newest state that the target printed."""
WAIT_SECONDS = 20
"""How long the connectors of a killed run may take to end; their runners kill them after five."""
LOOK_SECONDS = 0.05
RUN_ID = r"\d{8}t\d{6}-\w+"


@contextmanager
def alone(settings: Settings, history: History, pipeline: str) -> Iterator[Path]:
    """Hold the pipeline's lock, after ending a killed run, and yield the locked file, empty.

    :raises SetupError: E-BUSY, another run of this pipeline holds it.
    """
    folder = settings.local / "locks"
    file = folder / f"{pipeline}.lock"
    with file_errors("The lock", file):
        private_folder(folder)
        handle = open(file, "a+", opener=private, encoding="utf-8", errors="replace")  # noqa: SIM115 - the next line closes it
    with handle:
        if not locks.claim(handle):
            running = _run_in(file)
            raise SetupError(
                "E-BUSY",
                f"Another run of {pipeline} is under way{f' ({running})' if running else ''}.",
                hint="Wait until it has ended; two runs of one pipeline never overlap.",
            )
        unfinished = _run_in(file)
        if re.fullmatch(RUN_ID, unfinished):
            _end(settings, history, pipeline, unfinished)
        with file_errors("The lock", file):
            handle.truncate(0)
        yield file


def is_running(settings: Settings, record: Record) -> bool:
    """Return whether a run whose record is ``running`` really is."""
    file = settings.local / "locks" / f"{record.pipeline}.lock"
    return locks.held(file) and _run_in(file) == record.run


def killed(settings: Settings) -> dict[str, str]:
    """Return the killed runs that no command has ended yet, by pipeline."""
    runs = {file.stem: _killed_in(file) for file in sorted((settings.local / "locks").glob("*.lock"))}
    return {pipeline: run for pipeline, run in runs.items() if re.fullmatch(RUN_ID, run)}


def _killed_in(file: Path) -> str:
    """Return the run in a file that is not locked. A run may begin, or end, while this looks."""
    run = _run_in(file)
    return run if run and not locks.held(file) and _run_in(file) == run else ""


def _run_in(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="replace").strip()


def _end(settings: Settings, history: History, pipeline: str, run: str) -> None:
    """End a killed run, by its record and its folder.

    :raises SetupError: E-BUSY, its connectors still run; E-STORE, E-DISK.
    """
    folder = settings.local / "runs" / run
    with no_runner(folder, pipeline):
        record = history.read_alone(pipeline, run)
        if record is not None:  # otherwise it had not begun
            for view in history.begun(record):
                stored = view.read(pipeline, run)
                if stored is not None:
                    Journal(view, stored, progress(folder / view.part.name)).recover()
            Journal(history, record, progress(folder)).recover()
        list(recover(settings, {}, run))  # what it cannot keep is lost
        shutil.rmtree(folder, ignore_errors=True)


def keep_secrets(settings: Settings, environ: Mapping[str, str]) -> list[str]:
    """Keep the secrets that connectors of killed runs replaced; return what could not be kept.

    Call this before reading secrets. It waits for the runners, which may still write them down.
    """
    for pipeline, run in killed(settings).items():
        with suppress(SetupError), no_runner(settings.local / "runs" / run, pipeline):
            pass
    return list(recover(settings, environ))


def progress(folder: Path, *, safe: bool | None = None) -> Progress:
    """Return where the target of a run, or of a part of it, leaves its newest state."""
    return Progress(folder / "target" / SAFE_STATE, folder / "target" / "data", safe)


def sweep(folder: Path, pipeline: str) -> None:
    """Remove the folder of a run as soon as no runner works there.

    :raises SetupError: E-BUSY, its connectors still run.
    """
    with no_runner(folder, pipeline):
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def no_runner(folder: Path, pipeline: str) -> Iterator[None]:
    """Wait until no runner works in the folder of a run.

    A runner that starts later ends itself, because its lock file is gone.

    :raises SetupError: E-BUSY, they take too long.
    """
    busy = SetupError("E-BUSY", f"Connectors of a killed run of {pipeline} are still ending.", hint="Wait a moment, then run it again.")
    with ExitStack() as held:
        handles = []
        for file in [*folder.glob(f"*/{RUNNER_LOCK}"), *folder.glob(f"*/*/{RUNNER_LOCK}")]:
            with suppress(FileNotFoundError):
                handles.append(held.enter_context(file.open("rb")))
        until(
            lambda: None if all(map(locks.try_lock, handles)) else "",
            seconds=WAIT_SECONDS,
            poll=LOOK_SECONDS,
            error=lambda _: busy,
        )
        yield
