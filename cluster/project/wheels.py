"""What an installation of a wheel writes, without installing it.

An edit in the cluster needs the files of one wheel for all machines, for another Python than this
machine has. See the format of wheels: https://packaging.python.org/specifications/.
"""

from __future__ import annotations

import configparser
import re
import zipfile
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SCRIPT = """#!{python}
# -*- coding: utf-8 -*-
import sys
from {module} import {first}
if __name__ == "__main__":
    sys.exit({function}())
"""
ENTRY = re.compile(r"(?P<module>[\w.]+)\s*:\s*(?P<function>[\w.]+)\s*(?:\[.*\])?")


class File(NamedTuple):
    """A file of an installation."""

    content: bytes
    mode: int


class UnusualError(Exception):
    """Only an installer can install this wheel."""


def files(wheel: Path, packages: str, prefix: str) -> dict[str, File]:
    """Return what a wheel puts into a venv, by path.

    *packages* is the folder of the venv for packages, *prefix* the venv itself.

    :raises UnusualError: the wheel has parts that are not known here.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            return dict(_files(archive, packages, f"{prefix}/bin"))
    except (zipfile.BadZipFile, configparser.Error, KeyError, ValueError) as error:
        raise UnusualError(str(error)) from None


def _files(archive: zipfile.ZipFile, packages: str, programs: str) -> Iterator[tuple[str, File]]:
    python = f"/{programs}/python"
    for entry in archive.infolist():
        if entry.is_dir():
            continue
        content = archive.read(entry)
        first, _, rest = entry.filename.partition("/")
        mode = 0o755 if entry.external_attr >> 16 & 0o111 else 0o644
        if ".." in entry.filename.split("/") or entry.filename.startswith("/"):
            raise UnusualError(entry.filename)
        if not first.endswith(".data"):
            yield f"{packages}/{entry.filename}", File(content, mode)
        elif rest.startswith(("purelib/", "platlib/")):
            yield f"{packages}/{rest.partition('/')[2]}", File(content, mode)
        elif rest.startswith("scripts/"):
            if content.startswith(b"#!python"):
                content = f"#!{python}".encode() + content[len(b"#!python") :]
            yield f"{programs}/{rest.partition('/')[2]}", File(content, 0o755)
        else:
            raise UnusualError(entry.filename)
        if first.endswith(".dist-info") and rest == "entry_points.txt":
            for name, script in _scripts(content.decode(), python):
                yield f"{programs}/{name}", File(script.encode(), 0o755)


def _scripts(text: str, python: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of each program of an ``entry_points.txt``."""
    parser = configparser.ConfigParser(delimiters=("=",), interpolation=None)
    parser.optionxform = str  # type: ignore[assignment, method-assign] # names are case-sensitive
    parser.read_string(text)
    for section in ("console_scripts", "gui_scripts"):
        for name, value in parser.items(section) if parser.has_section(section) else ():
            entry = ENTRY.fullmatch(value.strip())
            if entry is None or "/" in name:
                raise UnusualError(value)
            function = entry["function"]
            yield name, SCRIPT.format(python=python, module=entry["module"], first=function.partition(".")[0], function=function)
