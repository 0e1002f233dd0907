"""The ``.env`` file of the checkout, read and appended to.

python-dotenv parses it, as it does for Meltano and dbt.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import stat
from typing import TYPE_CHECKING

from cluster.config.settings import LAPTOP
from cluster.config.strict import read_exact, read_text
from cluster.errors import SetupError
from cluster.host.files import write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from dotenv.parser import Binding

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
ASSIGNED = re.compile(
    r"""(\A\s*(?:export[^\S\r\n]+)?'?\w+'?[^\S\r\n]*=[^\S\r\n]*)"""
    r"""(?:'(?:\\'|[^'])*'|"(?:\\"|[^"])*"|[^\r\n]*?)"""
    r"""((?:[^\S\r\n]+\#[^\r\n]*)?[^\S\r\n]*(?:\r\n|\n|\r)?\Z)"""
)
"""A line that sets a variable: what is before its value, and what follows it."""
ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
"""What a double-quoted value escapes."""


def dotenvs(root: Path, env: str = LAPTOP) -> list[Path]:
    """Return the files with secrets of an environment; the later one overrides.

    They may be absent.
    """
    return [root / ".env", *([root / f".env.{env}"] if env != LAPTOP else [])]


def kept_secrets(root: Path, env: str = LAPTOP) -> dict[str, str]:
    """Return the variables of ``.env``, overridden by those of the environment's own file.

    :raises SetupError: E-CONFIG, with the line that sets no variable.
    """
    return {name: value for file in dotenvs(root, env) for name, value in read_dotenv(file).items()}


def read_dotenv(file: Path) -> dict[str, str]:
    """Read a ``.env`` file; an absent file is empty.

    :raises SetupError: E-CONFIG, with the line that sets no variable.
    """
    return parse_dotenv(read_text(file, file.name), file.name) if file.exists() else {}


def parse_dotenv(text: str, shown: str) -> dict[str, str]:
    """Parse the text of a ``.env`` file. ``$NAME`` and ``${NAME}`` are not expanded.

    :raises SetupError: E-CONFIG, with the line that sets no variable. No text of the file is part
        of the message.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - needed only if there is a .env file

    values: dict[str, str] = {}
    for binding in parse_stream(io.StringIO(text.removeprefix("\ufeff"), newline="")):
        if binding.key is None and not binding.error:
            continue  # a comment, or blank lines at the end
        if binding.error or binding.value is None or not VARIABLE.fullmatch(binding.key or ""):
            raise _unreadable(binding, shown)
        values[binding.key or ""] = binding.value
    return values


def _unreadable(binding: Binding, shown: str) -> SetupError:
    """Return the error for a line that sets no variable."""
    written = binding.original.string
    line = binding.original.line + len(re.findall(r"\r\n|\n|\r", written[: len(written) - len(written.lstrip())]))
    if re.match(r"(?:export\s+)?[A-Za-z_]\w*[^\S\r\n]*=[^\S\r\n]*['\"]", written.lstrip()):
        problem = f"{shown}, line {line}: a quote is not closed, or text follows the closing quote."
        return SetupError("E-CONFIG", problem, hint=f"Write \\ before a quote inside the value in line {line} of {shown}.")
    hint = f"Correct line {line} of {shown}. Put a value of several lines in double quotes."
    return SetupError("E-CONFIG", f"{shown}, line {line} is not NAME=value.", hint=hint)


def keep(file: Path, secrets: Mapping[str, str]) -> None:
    """Append *secrets* to ``.env``, readable by its owner alone. Existing lines stay as they are.

    :raises SetupError: E-SECRET, the file has another value for one, or a value is not text. No
        value is part of the message.
    """
    known = read_dotenv(file)
    lines = []
    for name, value in secrets.items():
        if name not in known:
            lines.append(f"{name}={written(name, value)}\n")
        elif known[name] != value:
            hint = f"Change it there by hand, or leave it out of the command: {name} is then taken from {file.name}."
            raise SetupError("E-SECRET", f"{file.name} has another value for {name}.", hint=hint)
    if lines:
        text = read_exact(file, file.name) if file.exists() else ""
        gap = "\n" if text and not text.endswith("\n") else ""
        with write_whole(file, f"{text}{gap}{''.join(lines)}", mode=0o600):
            pass


def renew(file: Path, name: str, values: Sequence[str]) -> None:
    """Replace the value of *name* by the last of *values*, if it is one of the others.

    All other text, and the mode of the file, stay as they are.

    :raises SetupError: E-SECRET, it has another value by now, or the file may not be changed;
        E-STORE, E-DISK. No value is part of the message.
    """
    from dotenv.parser import parse_stream  # noqa: PLC0415 - needed only if there is a .env file

    known = read_dotenv(file).get(name)
    if known == values[-1]:
        return
    if known not in values:
        raise SetupError("E-SECRET", f"{file.name} has another value by now", hint=f"See which value of {name} works.")
    if not os.access(file, os.W_OK):
        raise SetupError("E-SECRET", f"{file.name} is read-only", hint=f"Make {file.name} writable.")
    text = read_exact(file, file.name)
    start = len(text) - len(text.removeprefix("\ufeff"))
    parts = [text[:start]]
    last = -1
    for binding in parse_stream(io.StringIO(text, newline="")):
        parts.append(binding.original.string)
        last = len(parts) - 1 if binding.key == name else last
    parts[last] = ASSIGNED.sub(lambda match: f"{match[1]}{written(name, values[-1])}{match[2]}", parts[last], count=1)
    new = "".join(parts)
    if parse_dotenv(new, file.name).get(name) != values[-1]:
        raise SetupError("E-SECRET", f"its line in {file.name} cannot be changed", hint=f"Write {name}=value in {file.name}.")
    mode = stat.S_IMODE(file.stat().st_mode)
    with write_whole(file, new, mode=0o600) as part:
        part.chmod(mode)


def written(name: str, value: str) -> str:
    """Return *value* as ``.env`` holds it: bare if a shell reads it unchanged, else quoted.

    :raises SetupError: E-SECRET, it is not text, and so cannot be written as UTF-8.
    """
    try:
        value.encode()
    except UnicodeEncodeError:
        raise SetupError("E-SECRET", f"The value of {name} is not UTF-8 text.", hint=f"Set {name} in the environment instead.") from None
    if value and shlex.quote(value) == value:
        return value
    if not set(value) & {"'", "\\"} and value.isprintable():
        return f"'{value}'"
    return '"' + "".join(ESCAPES.get(letter, letter) for letter in value) + '"'
