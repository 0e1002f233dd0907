"""The ``.env`` file of the checkout: read and written."""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.config.settings import LAPTOP
from cluster.config.strict import read_text
from cluster.errors import SetupError
from cluster.host.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def dotenvs(root: Path, env: str = LAPTOP) -> list[Path]:
    """Return the files with secrets that count in an environment, the later over the earlier; they need not be there."""
    return [root / ".env", *([root / f".env.{env}"] if env != LAPTOP else [])]


def kept_secrets(root: Path, env: str = LAPTOP) -> dict[str, str]:
    """Return what ``.env`` and the environment's own say.

    :raises SetupError: E-CONFIG, with the line that is no value.
    """
    return {name: value for file in dotenvs(root, env) for name, value in read_dotenv(file).items()}


def read_dotenv(file: Path) -> dict[str, str]:
    """Read ``NAME=value`` lines: comments, blank lines, ``export`` and quotes are understood; nothing is expanded.

    :raises SetupError: E-CONFIG, with the line that is something else.
    """
    return parse_dotenv(read_text(file, file.name), file.name) if file.exists() else {}


def parse_dotenv(text: str, shown: str) -> dict[str, str]:
    """Read what stands in a file such as ``.env``.

    :raises SetupError: E-CONFIG, with the line that is something else.
    """
    values: dict[str, str] = {}
    for number, raw in enumerate(text.split("\n"), start=1):
        line = raw.strip()
        if not line or line.startswith("#"):
            continue
        found = re.fullmatch(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=\s*(.*)", line)
        if not found:
            raise SetupError("E-CONFIG", f"{shown}, line {number} is not NAME=value.", hint=f"Correct line {number} of {shown}.")
        quoted = re.fullmatch(r"(['\"])(.*?)\1\s*(?:#.*)?", found[2])
        values[found[1]] = quoted[2] if quoted else re.sub(r"(^|\s+)#.*$", "", found[2])
    return values


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
