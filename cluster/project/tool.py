"""``tool.env``: the tool that a project names, and what git tells of the tool's checkout."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.config.strict import read_text
from cluster.errors import SetupError

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Mapping
    from pathlib import Path

FILE = "tool.env"
SILENT = {"GIT_TERMINAL_PROMPT": "0"}
"""git fails where it would ask for a login."""
SECONDS = 60


def read(file: Path) -> dict[str, str]:
    """Return the values of ``tool.env``, empty where it has none."""
    keys = ("TOOL_PATH", "TOOL_GIT", "TOOL_VERSION", "TOOL_BEFORE")
    lines = dict(line.partition("=")[::2] for line in read_text(file, FILE).splitlines() if not line.startswith("#"))
    return {key: lines.get(key, "").strip() for key in keys}


def around(root: Path) -> Path | None:
    """Return the project whose folder has *root* in it; None if there is none."""
    return next((folder for folder in root.parents if (folder / FILE).is_file()), None)


def ambiguous(root: Path, tool: Path, here: Path) -> Path | None:
    """Return another project that the user of *root*, working in *here*, may mean.

    That is a nearer one, inside of *root*; or if *root* is the tool itself, the one around it.
    """
    for folder in (here, *here.parents):
        if folder == root:
            return around(root) if root == tool else None
        if (folder / FILE).is_file() or (folder / "template" / "invoke").is_file():
            return folder if folder.is_relative_to(root) else None
    return None


def _git(*words: str, environ: Mapping[str, str], seconds: float) -> subprocess.CompletedProcess[str]:
    from cluster.host.subprocesses import run  # noqa: PLC0415 - every command imports this module, few ask git

    return run(["git", *words], environ=environ, seconds=seconds)


def git(folder: Path, *words: str) -> str | None:
    """Return what git prints in a folder; None if it fails, or if there is no git."""
    try:
        done = _git("-C", str(folder), *words, environ=SILENT, seconds=SECONDS)
    except SetupError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def version(checkout: Path) -> str:
    """Return the tag of a checkout, else its commit; empty if it is none of git."""
    return git(checkout, "describe", "--tags", "--exact-match") or git(checkout, "rev-parse", "HEAD") or ""


def origin(checkout: Path) -> str:
    """Return the address that a checkout was cloned from, without a password."""
    return re.sub(r"(?<=://)[^/@]*@", "", git(checkout, "remote", "get-url", "origin") or "")


def is_local(address: str) -> bool:
    """Return whether a git repository is a path of this machine, or an address of it."""
    if "://" in address:
        host = urlsplit(address).hostname or ""  # none in file:///…
    else:
        host, colon, _ = address.partition(":")  # user@host:path; a path may have a colon too
        host = host.rpartition("@")[2] if colon and "/" not in host else ""
    return host in {"", "localhost", "::1"} or host.startswith("127.")


def newest(address: str, seconds: float = SECONDS, environ: Mapping[str, str] | None = None) -> str:
    """Return the tag of the newest release of a repository; empty if it has none.

    :raises ValueError: git cannot read it; the text is what git printed.
    :raises SetupError: E-PROGRAM, there is no git.
    """
    from packaging.version import InvalidVersion, Version  # noqa: PLC0415 - most commands ask for no release

    done = _git("ls-remote", "--tags", "--refs", address, environ={**(environ or {}), **SILENT}, seconds=seconds)
    if done.returncode:
        raise ValueError(done.stderr)
    releases: list[tuple[Version, str]] = []
    for tag in re.findall(r"refs/tags/(\S+)$", done.stdout, re.MULTILINE):
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        if not version.is_prerelease:
            releases.append((version, tag))
    return max(releases)[1] if releases else ""
