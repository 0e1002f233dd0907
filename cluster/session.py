"""What a command receives."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from cluster.files import keep_private
from cluster.settings import Settings, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.progress import Output


class Session:
    """What the user chose, where facts go, and the environment the tool was started in."""

    def __init__(self, given: Mapping[str, object], output: Output, environ: Mapping[str, str], env: str = "") -> None:
        """Take what Invoke's configuration holds under ``singer``, and what ``--env`` names; both are checked when first asked for."""
        self._given = given
        self._env = env
        self.output = output
        self.environ = dict(environ)

    @cached_property
    def settings(self) -> Settings:
        """The choices in force.

        :raises SetupError: E-SETTING, one of them is not allowed.
        """
        found = parse(self._given, self.environ, env=self._env)
        keep_private(found.local)
        return found
