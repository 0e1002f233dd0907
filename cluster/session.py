"""The session: what every command receives."""

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
    """Settings, output and variables of one command."""

    def __init__(
        self, configured: Mapping[str, object], output: Output, environ: Mapping[str, str], env: str = "", *, as_json: bool = False
    ) -> None:
        """Take Invoke's configuration and the value of ``--env``; ``settings`` checks both."""
        self._configured = configured
        self._env = env
        self.output = output
        self.environ = dict(environ)
        self.as_json = as_json

    def to(self, env: str) -> Session:
        """Return the session of the same command in another environment."""
        return Session(self._configured, self.output, self.environ, env, as_json=self.as_json)

    def showing(self, output: Output) -> Session:
        """Return the session of the same command with another output."""
        return Session(self._configured, output, self.environ, self._env, as_json=self.as_json)

    def agrees(self, question: str, what: str) -> bool:
        """Ask on a terminal whether to do *what*.

        :raises SetupError: E-SETTING, there is no terminal; ``--yes`` skips the question.
        """
        if not sys.stdin.isatty():
            raise SetupError("E-SETTING", f"{what}, and there is no terminal to ask on.", hint="Pass --yes to skip the question.")
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}

    @cached_property
    def settings(self) -> Settings:
        """The settings in force.

        :raises SetupError: E-SETTING, one of them is not allowed.
        """
        settings = parse(self._configured, self.environ, env=self._env)
        keep_private(settings.local)
        return settings
