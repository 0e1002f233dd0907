"""Projects of a connector: a small venv for their code, on top of the venv of their dependencies.

The code is used where it lies, so an edit needs no installation. A file that an installation reads,
such as ``pyproject.toml`` or a source to be compiled, makes a new small venv. A project that cannot
be installed in this way is copied, and each edit makes a new small venv.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path, PurePath

DEPENDENCIES = "dependencies"
"""The link in a small venv to the venv below it."""
COMPILED = {".c", ".cc", ".cpp", ".cxx", ".f", ".f90", ".go", ".h", ".hpp", ".i", ".pxd", ".pyx", ".rs", ".proto", ".toml", ".y"}
"""Sources in a package that an installation compiles."""
VERSIONS = {"__about__.py", "__init__.py", "__version__.py", "_version.py", "version.py"}
"""Files of a package that an installation reads, unless its version is in ``pyproject.toml``."""
IGNORED = {"__pycache__", ".git", ".local", ".venv", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
IGNORED_SUFFIXES = {".egg-info", ".dist-info"}
"""Folders in a connector's project that make no difference: what builds and tests leave behind."""
IGNORED_AT_TOP = {"dist", "build", "tests"}
"""Likewise, but only beside the project's packages: inside of one, such a folder is code."""

ORIGINS = """
import importlib.util, json, sys
origins = []
for name in sys.argv[1:]:
    try:
        spec = importlib.util.find_spec(name)
    except (ImportError, ValueError):
        spec = None
    if spec is not None:
        origins.append(spec.origin or next(iter(spec.submodule_search_locations or ()), ""))
print(json.dumps(origins))
"""
"""A program that prints the files from which Python imports each of its arguments."""


def project_files(folder: Path) -> list[Path]:
    """Return the files of a connector's project that its venv and image depend on, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and counts(file.relative_to(folder)))


def counts(file: PurePath) -> bool:
    """Return whether a file, by its path in a connector's project, makes a difference."""
    ignored = IGNORED.intersection(file.parts) or any(part.endswith(tuple(IGNORED_SUFFIXES)) for part in file.parts)
    at_top = file.parts[0] in IGNORED_AT_TOP or (len(file.parts) == 1 and file.suffix == ".md")
    return not ignored and not at_top and file.suffix != ".pyc"


def content(folder: Path, files: Iterable[Path]) -> bytes:
    """Return names and contents of files below *folder*, to be hashed."""
    return b"".join(f"\0{file.relative_to(folder)}\0".encode() + file.read_bytes() for file in files)


def installed_content(folder: Path) -> bytes:
    """Return what an installation of a project depends on, if its code is used where it lies."""
    files = project_files(folder)
    packages = _packages(folder)
    fixed = version_of(folder) is not None
    read = [file for file in files if not _is_live(file.relative_to(folder), packages, fixed=fixed)]
    folders = sorted({str(file.parent.relative_to(folder)) for file in files})
    return "\0".join([str(folder), *packages, *folders]).encode() + content(folder, read)


def version_of(folder: Path) -> str | None:
    """Return the version in a project's ``pyproject.toml``; None if it is elsewhere."""
    import tomllib  # noqa: PLC0415 - needed only for connectors with code in the checkout

    with suppress(OSError, tomllib.TOMLDecodeError, UnicodeDecodeError):
        written = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
        for table in (written.get("project"), written.get("tool", {}).get("poetry")):
            if isinstance(table, dict) and isinstance(table.get("version"), str):
                return str(table["version"])
    return None


def stack(venv: Path, dependencies: Path, programs: list[str]) -> None:
    """Let a venv have the packages and *programs* of another, in the same folder."""
    (venv / DEPENDENCIES).symlink_to(f"../{dependencies.name}")
    [packages] = venv.glob("lib/python*/site-packages")
    folder = f"os.path.join(sys.prefix, {f'{DEPENDENCIES}/{packages.relative_to(venv)}'!r})"
    (packages / f"{DEPENDENCIES}.pth").write_text(f"import os, site, sys; site.addsitedir({folder})\n", encoding="utf-8")
    for name in programs:
        program, copy = dependencies / "bin" / name, venv / "bin" / name
        with program.open("rb") as file:
            script = file.read(2) == b"#!"
        if copy.exists():
            continue
        if script:  # its first line starts the Python beside it
            shutil.copy2(program, copy)
        else:
            copy.symlink_to(f"../{DEPENDENCIES}/bin/{name}")


def package_folders(venv: Path) -> list[Path]:
    """Return the folders with the packages of a venv, and of the one below it."""
    return [*venv.glob("lib/python*/site-packages"), *venv.glob(f"{DEPENDENCIES}/lib/python*/site-packages")]


def is_live(python: Path, folder: Path) -> bool:
    """Return whether a Python imports a project's packages from its folder."""
    names = [name.partition(".")[0] for name in map(_name, _packages(folder))]
    command = [str(python), "-I", "-c", ORIGINS, *names]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, cwd="/")
    if done.returncode:
        return False
    origins = [origin for origin in json.loads(done.stdout) if origin]
    return bool(origins) and all(folder.resolve() in _resolved(folder, origin).parents for origin in origins)


def _resolved(folder: Path, origin: str) -> Path:
    return (folder / origin).resolve()


def _name(package: str) -> str:
    return package.rpartition("/")[2].removesuffix(".py")


def _packages(folder: Path) -> list[str]:
    """Return packages and modules at the top of a project, as paths: ``src/x``, ``tap_x.py``."""
    paths = []
    for top in (folder, folder / "src"):
        paths += [file.parent for file in top.glob("*/__init__.py")]
        paths += [file for file in top.glob("*.py") if file.name != "setup.py"]
    return sorted(str(path.relative_to(folder)) for path in paths)


def _is_live(file: PurePath, packages: list[str], *, fixed: bool) -> bool:
    """Return whether an edit of a project's file needs no installation."""
    package = next((package for package in packages if package == str(file) or file.is_relative_to(package)), None)
    if package is None or file.suffix in COMPILED:
        return False
    return fixed or not (file.name in VERSIONS and str(file.parent) in {package, "."})
