"""One run of a pipeline at a time, on this machine.

The lock is the kernel's: it is let go when the process ends, however it ends. The locked file holds the id of the run
under way, so that whoever finds the lock free and an id in the file knows that this run was killed.
"""

from __future__ import annotations

import fcntl
import re
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.files import file_errors, held, private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.runs import History, Record
    from cluster.settings import Settings

RUN_ID = r"\d{8}t\d{6}-\w+"


@contextmanager
def alone(settings: Settings, history: History, pipeline: str) -> Iterator[Path]:
    """Hold the pipeline's lock, after tidying up what a killed run has left, and yield the locked file.

    :raises SetupError: E-BUSY, another run of this pipeline holds it.
    """
    folder = settings.local / "locks"
    file = folder / f"{pipeline}.lock"
    with file_errors("The lock", file):
        private_folder(folder)
        handle = open(file, "a+", opener=private, encoding="utf-8")  # noqa: SIM115 - the next line closes it
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = file.read_text(encoding="utf-8").strip()
            raise SetupError(
                "E-BUSY",
                f"Another run of {pipeline} is under way{f' ({running})' if running else ''}.",
                hint="Wait until it has ended; two runs of one pipeline never overlap.",
            ) from None
        left = file.read_text(encoding="utf-8").strip()
        if re.fullmatch(RUN_ID, left):
            _tidy(settings, history, pipeline, left)
        try:
            yield file
        finally:
            handle.truncate(0)


def is_running(settings: Settings, record: Record) -> bool:
    """Say whether a run whose record says "running" really is."""
    file = settings.local / "locks" / f"{record.pipeline}.lock"
    return held(file) and file.read_text(encoding="utf-8").strip() == record.run


def killed(settings: Settings) -> dict[str, str]:
    """Return the runs that were killed and have not been tidied up after, by pipeline; the next run of each, or ``alone``, does it."""
    files = sorted((settings.local / "locks").glob("*.lock"))
    runs = {file.stem: file.read_text(encoding="utf-8", errors="replace").strip() for file in files if not held(file)}
    return {pipeline: run for pipeline, run in runs.items() if re.fullmatch(RUN_ID, run)}


def _tidy(settings: Settings, history: History, pipeline: str, run: str) -> None:
    """End the record of a run that was killed, and remove its folder with the secrets in it."""
    shutil.rmtree(settings.local / "runs" / run, ignore_errors=True)
    record = history.read(pipeline, run)
    if record is not None and record.status == "running":
        record.status = "interrupted"
        record.error = {"code": "E-RUNNER", "problem": "The run was killed.", "hint": "Run it again."}
        history.save(record)
