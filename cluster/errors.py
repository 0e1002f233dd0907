"""The errors that users are meant to see. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

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
        self.shown = False  # whether the user has seen it
        self.others: Sequence[SetupError] = ()  # of the same files, to be shown with it

    def prepare(self) -> None:
        """Create the files that the hint refers to. Called once, before the error is shown."""

    def as_dict(self) -> dict[str, str]:
        """Return the form of ``run.json``."""
        return {"code": self.code, "problem": self.problem, "hint": self.hint}


def raise_all(errors: Sequence[SetupError]) -> None:
    """Raise the first of *errors*, if there are any, with the others to be shown with it."""
    if errors:
        errors[0].others = errors[1:]
        raise errors[0]


class RunError(SetupError):
    """A run that began and failed. Its record has the reason; state and earlier outputs stay."""

    exit_code = EXIT_RUN

    @classmethod
    def of(cls, error: SetupError) -> RunError:
        """Return *error* as that of a run that has begun."""
        return error if isinstance(error, RunError) else cls(error.code, error.problem, hint=error.hint)


class Interrupted(KeyboardInterrupt):
    """SIGTERM, or a Ctrl-C with a message."""
