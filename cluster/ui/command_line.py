"""Our commands as a user types them: with the launcher and the ``--env`` of this session."""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = frozenset({"add", "bench", "check", "discover", "init", "lock", "new", "schedule", "search", "select", "test", "upgrade"})
"""Commands that use the checkout only: they have no ``--env``."""


@dataclass(frozen=True)
class CommandLine:
    """How the user started this session: the launcher, and the environment of ``--env``."""

    launcher: str = "invoke"
    env: str = ""

    def command(self, words: str, *arguments: str) -> str:
        """Return a command that runs as printed: *arguments* are quoted, *words* are not."""
        env = f" --env {shlex.quote(self.env)}" if self.env and words.split(maxsplit=1)[0] not in HERE else ""
        return " ".join([shlex.quote(self.launcher), words, *map(shlex.quote, arguments)]) + env


_session = [CommandLine()]
"""The command line of this process; a list, because threads read it too."""


def start(launcher: str, env: str) -> None:
    """Set how this process was started. The frame calls it once."""
    _session[:] = [CommandLine(launcher or "invoke", env)]


def launcher() -> str:
    """Return how the user started the tool: ``./invoke``, ``invoke``, a path."""
    return _session[-1].launcher


def command(words: str, *arguments: str) -> str:
    """Return one of our commands as this session's user types it; see ``CommandLine.command``."""
    return _session[-1].command(words, *arguments)


@contextmanager
def elsewhere(env: str) -> Iterator[None]:
    """Print the commands of the body with another ``--env``."""
    _session.append(replace(_session[-1], env=env))
    try:
        yield
    finally:
        _session.pop()
