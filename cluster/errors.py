"""The errors that users are meant to see. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EXIT_SETUP = 1
EXIT_RUN = 2
EXIT_BUG = 70
EXIT_INTERRUPTED = 130


class SetupError(Exception):
    """Something the user can put right: an observed fact and one thing to do.

    The codes are listed in ``docs/contracts.md``.
    """

    exit_code = EXIT_SETUP

    def __init__(self, code: str, problem: str, *, hint: str) -> None:
        """Keep code, problem and hint apart; ``str()`` gives the problem."""
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.hint = hint
        self.told = False  # whether the user has seen it

    def as_dict(self) -> dict[str, str]:
        """Return the form that stands in ``run.json``."""
        return {"code": self.code, "problem": self.problem, "hint": self.hint}


class RunError(SetupError):
    """A run that began and failed. Its record tells why; state and earlier outputs are untouched."""

    exit_code = EXIT_RUN


class Interrupted(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is."""


@contextmanager
def file_errors(what: str, path: Path) -> Iterator[None]:
    """Turn what the operating system says about *path* into a sentence.

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
