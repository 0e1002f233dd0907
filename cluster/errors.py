"""The errors that users are meant to see. Anything else is a bug and keeps its traceback."""

from __future__ import annotations

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

    def prepare(self) -> None:
        """Make what the hint names. Called once, before somebody is told: most errors name what is there."""

    def as_dict(self) -> dict[str, str]:
        """Return the form that stands in ``run.json``."""
        return {"code": self.code, "problem": self.problem, "hint": self.hint}


class RunError(SetupError):
    """A run that began and failed. Its record tells why; state and earlier outputs are untouched."""

    exit_code = EXIT_RUN

    @classmethod
    def of(cls, error: SetupError) -> RunError:
        """Return *error* as one of a run that has begun."""
        return error if isinstance(error, RunError) else cls(error.code, error.problem, hint=error.hint)


class Interrupted(KeyboardInterrupt):
    """SIGTERM, or a Ctrl-C of which there is something to say."""
