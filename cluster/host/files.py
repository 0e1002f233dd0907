"""Files and folders for the user alone, whole writes, and errors of files as sentences."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

PARTS = f".{'[0-9a-f]' * 16}.part"
"""The temporary files of ``replacing``."""


def log_lines(data: bytes) -> list[str]:
    """Return the lines of a log. They end with LF, CR LF or CR.

    ``str.splitlines`` would also split at U+2028.
    """
    text = re.sub(r"\r\n?", "\n", data.decode("utf-8", "replace"))
    return text.removesuffix("\n").split("\n") if text else []


def private(path: str, flags: int) -> int:
    """Open a file that only its user may read: an ``opener`` for ``open``. No link is followed."""
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(descriptor, 0o600)
    return descriptor


def write_private(file: Path, text: str) -> None:
    """Write a file that only its user may read."""
    with open(file, "w", opener=private, encoding="utf-8") as handle:
        handle.write(text)


def keep_private(folder: Path) -> None:
    """Make *folder* private if it exists: pip and others create it by the umask."""
    with suppress(OSError):
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)


def private_folder(folder: Path) -> Path:
    """Create *folder* and its missing parents for the user alone, and return it.

    An existing folder does not change.
    """
    if not folder.is_dir():
        private_folder(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)
    return folder


@contextmanager
def replacing(what: str, file: Path) -> Iterator[Path]:
    """Yield a temporary file beside *file* that replaces it when the body succeeds.

    :raises SetupError: E-STORE or E-DISK, it cannot be written; *file* is as it was.
    """
    part = file.with_name(f".{secrets.token_hex(8)}.part")
    with file_errors(what, file):
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            yield part
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)


@contextmanager
def write_whole(file: Path, text: str | bytes, *, mode: int | None = None) -> Iterator[Path]:
    """Write *text* beside *file* and yield that path; replace *file* when the body succeeds.

    Line ends stay as they are, and a link stays a link. Permissions are *mode*, or those of the
    file that was there.

    :raises SetupError: E-DISK, E-STORE.
    """
    file = file.resolve()
    with replacing(file.name, file) as part:
        part.touch(mode or 0o666)
        part.write_bytes(text.encode() if isinstance(text, str) else text)
        if mode is None and file.exists():
            shutil.copymode(file, part)
        yield part


@contextmanager
def file_errors(what: str, path: Path) -> Iterator[None]:
    """Turn an ``OSError`` about *path* into a sentence.

    :raises SetupError: E-DISK, the disk is full; E-STORE, anything else.
    """
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise SetupError(
                "E-DISK",
                f"The disk is full: {what} cannot be written to {path}.",
                hint="Make room, then run it again. State and earlier files are unchanged.",
            ) from None
        raise SetupError(
            "E-STORE",
            f"{what} cannot be read or written at {error.filename or path}: {error.strerror or error}.",
            hint="See that the folder is there, is yours and can be written.",
        ) from None
