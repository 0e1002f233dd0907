"""Locks between processes, by ``flock`` on a file."""

from __future__ import annotations

import fcntl
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import IO

POLL_SECONDS = 0.05


def take(handle: IO[str] | IO[bytes] | int, seconds: float | None = 0, *, shared: bool = False) -> bool:
    """Lock an open file or folder within *seconds*, None for any time; return whether we hold it.

    The kernel lets go when the file is closed, or when the process ends.
    """
    how = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
    if seconds is None:
        fcntl.flock(handle, how)
        return True
    deadline = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL_SECONDS)
        else:
            return True


@contextmanager
def only_one(file: Path, problem: str) -> Iterator[None]:
    """Hold *file* for as long as the body runs. The kernel lets go when the process ends, however it ends.

    :raises SetupError: E-BUSY with *problem*, somebody else holds it.
    """
    private_folder(file.parent)
    with open(file, "a", opener=private, encoding="utf-8") as handle:
        if not take(handle):
            raise SetupError("E-BUSY", problem, hint="Wait until it has ended, then run it again.")
        yield


def held(file: Path) -> bool:
    """Say whether somebody holds *file*, as ``only_one`` does. Looks, never touches."""
    try:
        handle = file.open("rb")
    except OSError:
        return False
    with handle:
        return not take(handle, shared=True)
