"""``tool.env``: the tool that a project names, and what git tells of the tool's checkout."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.subprocesses import run

if TYPE_CHECKING:
    from pathlib import Path

FILE = "tool.env"
SILENT = {"GIT_TERMINAL_PROMPT": "0"}
"""git fails where it would ask for a login."""
SECONDS = 60


def git(folder: Path, *words: str) -> str | None:
    """Return what git prints in a folder; None if it fails, or if there is no git."""
    try:
        done = run(["git", "-C", str(folder), *words], environ=SILENT, seconds=SECONDS)
    except SetupError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def version(checkout: Path) -> str:
    """Return the tag of a checkout, else its commit; empty if it is none of git."""
    return git(checkout, "describe", "--tags", "--exact-match") or git(checkout, "rev-parse", "HEAD") or ""
