"""Secrets go into ``.env`` of the checkout, and nowhere else."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.connectors import parse_dotenv, read_dotenv
from cluster.errors import SetupError
from cluster.fields import read_text
from cluster.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def keep(file: Path, secrets: Mapping[str, str]) -> None:
    """Append *secrets* to ``.env``, for the user's eyes only; what stands in it stays.

    :raises SetupError: E-SECRET, one has another value there, or cannot stand there. No value is part of a message.
    """
    known = read_dotenv(file)
    lines = []
    for name, value in secrets.items():
        if name not in known:
            lines.append(_line(name, value))
        elif known[name] != value:
            hint = f"Change it there by hand, or leave it out of the command: {name} is then taken from {file.name}."
            raise SetupError("E-SECRET", f"{name} stands in {file.name} with another value.", hint=hint)
    if lines:
        text = read_text(file, file.name) if file.exists() else ""
        gap = "\n" if text and not text.endswith("\n") else ""
        with write_whole(file, f"{text}{gap}{''.join(lines)}", mode=0o600):
            pass


def _line(name: str, value: str) -> str:
    """Return a line that is read as this value.

    :raises SetupError: E-SECRET, there is none.
    """
    for written in (value, f'"{value}"', f"'{value}'"):
        with suppress(SetupError):
            if parse_dotenv(f"{name}={written}", "") == {name: value}:
                return f"{name}={written}\n"
    raise SetupError(
        "E-SECRET", f"The value of {name} cannot stand in .env: it has line breaks.", hint=f"Set {name} in the environment instead."
    )
