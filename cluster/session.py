"""What a command receives."""

from __future__ import annotations

import sys
from functools import cached_property
from typing import TYPE_CHECKING

from cluster.config.settings import Settings, parse
from cluster.errors import SetupError
from cluster.host.files import keep_private

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.ui.output import Output


class Session:
    """What the user chose, where facts go, and the environment the tool was started in."""

    def __init__(self, given: Mapping[str, object], output: Output, environ: Mapping[str, str], env: str = "") -> None:
        """Take what Invoke's configuration holds under ``singer``, and what ``--env`` names; both are checked when first asked for."""
        self._given = given
        self._env = env
        self.output = output
        self.environ = dict(environ)

    def to(self, env: str) -> Session:
        """Return what the same command would have received in another environment."""
        return Session(self._given, self.output, self.environ, env)

    def agrees(self, question: str, what: str) -> bool:
        """Ask on a terminal; elsewhere nobody can answer.

        :raises SetupError: E-SETTING, there is no terminal; the command has a flag that answers.
        """
        if not sys.stdin.isatty():
            raise SetupError("E-SETTING", f"{what}, and nobody is there to be asked.", hint="Say it beforehand: --yes")
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}

    @cached_property
    def settings(self) -> Settings:
        """The choices in force.

        :raises SetupError: E-SETTING, one of them is not allowed.
        """
        found = parse(self._given, self.environ, env=self._env)
        keep_private(found.local)
        return found
