"""Locks between processes, by ``flock`` on a file."""

from __future__ import annotations

import fcntl
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import private, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@contextmanager
def only_one(file: Path, problem: str) -> Iterator[None]:
    """Hold *file* for as long as the body runs. The kernel lets go when the process ends, however it ends.

    :raises SetupError: E-BUSY with *problem*, somebody else holds it.
    """
    private_folder(file.parent)
    with open(file, "a", opener=private, encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise SetupError("E-BUSY", problem, hint="Wait until it has ended, then run it again.") from None
        yield


def held(file: Path) -> bool:
    """Say whether somebody holds *file*, as ``only_one`` does. Looks, never touches."""
    try:
        handle = file.open("rb")
    except OSError:
        return False
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
