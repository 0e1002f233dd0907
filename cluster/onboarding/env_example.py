"""``.env.example``: the names of a project's secrets, in git, for the next member of the team."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.host.files import write_whole
from cluster.project.dotenv import read_dotenv
from cluster.project.secrets import config_files, secret_names

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.ui.output import Output

NAME = ".env.example"


def update(root: Path, output: Output) -> None:
    """Append the names that ``.env.example`` lacks and report them; without that file do nothing.

    :raises SetupError: E-CONFIG, it cannot be read; E-DISK, it cannot be written.
    """
    file = root / NAME
    if not file.exists():
        return
    known = read_dotenv(file)
    names = dict.fromkeys(name for config in config_files(root) for name in _names(config))
    missing = [name for name in names if name not in known]
    if missing:
        text = file.read_text(encoding="utf-8")
        gap = "\n" if text and not text.endswith("\n") else ""
        with write_whole(file, text + gap + "".join(f"{name}=\n" for name in missing)):
            pass
        output.line("✓", NAME, ", ".join(missing))


def _names(config: Path) -> list[str]:
    try:
        return secret_names(config)
    except (OSError, ValueError):  # the command that needs it reports it
        return []
