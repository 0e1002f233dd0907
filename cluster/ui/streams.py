"""Standard streams that never fail, so that output does not decide what a command does."""

from __future__ import annotations

import errno
import io
import os
import select
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import TextIO


class _Descriptor(io.FileIO):
    """A descriptor that drops what it cannot write, and remembers why."""

    lost: OSError | None = None

    def write(self, data: Any, /) -> int:
        """Write, or drop the data; wait while a descriptor that does not block is full."""
        try:
            while self.lost is None:
                written = super().write(data)
                if written is not None:
                    return written
                select.select([], [self], [])
        except OSError as error:
            self.lost = error
        return len(memoryview(data))


def keep_writable() -> None:
    """Replace standard output and error by streams that never fail, and open closed ones."""
    for number, mode in ((0, os.O_RDONLY), (1, os.O_WRONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)  # the lowest free number, so this one
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115 - as long as the process
    sys.stdout, sys.stderr = (_stream(stream, number) for number, stream in ((1, sys.stdout), (2, sys.stderr)))


def _stream(stream: TextIO | None, number: int) -> TextIO:
    """Return a stream that does not fail; a stream that a test has set stays."""
    if stream is not None and (stream is not {1: sys.__stdout__, 2: sys.__stderr__}[number]):
        return stream
    encoding = stream.encoding if stream is not None else "utf-8"
    raw = _Descriptor(number, "w", closefd=False)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding, errors="replace", line_buffering=raw.isatty() or number == 2)


def lost() -> str | None:
    """Return why standard output is incomplete; None if its reader closed the pipe."""
    sys.stdout.flush()
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    error = raw.lost if isinstance(raw, _Descriptor) else None
    return None if error is None or error.errno == errno.EPIPE else error.strerror
