"""Locks between processes, by ``flock`` on a file.

The kernel releases a lock when its process ends, also by SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager, suppress
from typing import IO, TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import PARTS, private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LOOKERS_SECONDS = 5.0
"""How long ``claim`` waits for processes that look at a lock; they hold it for an instant."""


def lock(file: int | IO[bytes] | IO[str], *, shared: bool = False) -> None:
    """Lock an open file or folder, and wait until that is possible."""
    fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)


def try_lock(file: int | IO[bytes] | IO[str], *, shared: bool = False) -> bool:
    """Lock an open file or folder without waiting. Return False if another process holds it."""
    try:
        fcntl.flock(file, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def claim(file: IO[bytes] | IO[str]) -> bool:
    """Lock an open file; return False if another process holds it.

    ``held`` locks a file too, shared and for an instant: a process that looks does not hold it.
    """
    deadline = time.monotonic() + LOOKERS_SECONDS
    while not try_lock(file):
        if not try_lock(file, shared=True) or time.monotonic() > deadline:
            return False
        fcntl.flock(file, fcntl.LOCK_UN)  # two processes that claim it must not wait for each other
        time.sleep(0.01)
    return True


class InUse:
    """Shared locks on files of folders, for as long as the object exists."""

    def __init__(self, *files: Path) -> None:
        """Lock the files that exist, and set their time to now."""
        self._descriptors: list[int] = []
        for file in files:
            with suppress(OSError):
                self._descriptors.append(os.open(file, os.O_RDONLY | os.O_CLOEXEC))
                lock(self._descriptors[-1], shared=True)
                os.utime(file)

    def __del__(self) -> None:
        """Release them."""
        for descriptor in self._descriptors:
            os.close(descriptor)


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait for the lock of *file*, and hold it during the body."""
    while True:
        with open(file, "a", opener=private, encoding="utf-8") as handle:
            lock(handle)
            if _is_there(handle, file):
                yield
                return


def _is_there(handle: IO[str], file: Path) -> bool:
    """Return whether an open file still has its name: ``remove_unused`` may have been quicker."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(handle.fileno()), file.stat())
    return False


def remove_unused(file: Path) -> None:
    """Remove the file of a lock that nobody holds."""
    with suppress(OSError), file.open("rb") as handle:
        if try_lock(handle):
            file.unlink()


@contextmanager
def only_one(file: Path, problem: str) -> Iterator[None]:
    """Hold the lock of *file* during the body, without waiting for it.

    :raises SetupError: E-BUSY with *problem*, another process holds it.
    """
    private_folder(file.parent)
    with open(file, "a", opener=private, encoding="utf-8") as handle:
        if not claim(handle):
            raise SetupError("E-BUSY", problem, hint="Wait until it has ended, then run it again.")
        yield


def held(file: Path) -> bool:
    """Return whether a process holds the lock of *file*."""
    try:
        handle = file.open("rb")
    except OSError:
        return False
    with handle:
        return not try_lock(handle, shared=True)


def sweep(folder: Path) -> None:
    """Remove the temporary files below *folder* whose process is gone.

    Those that are still written are locked.
    """
    for part in folder.rglob(PARTS):
        remove_unused(part)
