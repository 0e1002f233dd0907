"""A requirement more for old programs: they import modules that only old setuptools have."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING, Any, cast

import yaml

from cluster.config.strict import parse_yaml, yaml_events
from cluster.errors import SetupError
from cluster.project.editable import package_folders

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

SETUPTOOLS = "setuptools<81"
"""The last versions with ``pkg_resources``. From Python 3.12 on they also provide ``distutils``."""
IMPORTED = re.compile(rb"^\s*(?:import|from) +(?:pkg_resources|distutils)\b", re.MULTILINE)
LACKS = re.compile(r"No module named '(pkg_resources|distutils)\b")
SECONDS = 30
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR")
"""The variables for a program that only prints its help."""
LAST_DISTUTILS = 11


def lacks(venv: Path, executable: Path, projects: Iterable[Path] = ()) -> str:
    """Return ``pkg_resources`` or ``distutils`` if a program fails without it; else nothing.

    Only a program that may import one of them is started, with ``--help``. The venv may use the
    code of *projects*.
    """
    packages = package_folders(venv)
    if not packages or _has_both(packages) or not any(map(_imports, [*packages, *projects])):
        return ""
    result = helped(venv, executable, SECONDS)
    missing = LACKS.search(result.stderr.decode("utf-8", "replace")) if result and result.returncode else None
    return missing[1] if missing else ""


def helped(venv: Path, executable: Path, seconds: float) -> subprocess.CompletedProcess[bytes] | None:
    """Start a program with ``--help``; return None if it cannot start or takes too long."""
    environ = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    command = [str(executable), "--help"]
    try:
        return subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False, env=environ, cwd=venv, timeout=seconds)
    except (OSError, subprocess.TimeoutExpired):
        return None


def _has_both(packages: Collection[Path]) -> bool:
    """Return whether a venv has both modules."""
    names = {name for folder in packages for name in ("pkg_resources", "setuptools") if (folder / name).is_dir()}
    minor = min(int(folder.parent.name.removeprefix("python3.").rstrip("t")) for folder in packages)
    return "pkg_resources" in names and (minor <= LAST_DISTUTILS or "setuptools" in names)


def _imports(folder: Path) -> bool:
    """Return whether a file below a folder imports one of the modules."""
    return any(IMPORTED.search(file.read_bytes()) for file in folder.rglob("*.py") if file.is_file())


def asks_for(name: str, requirements: Collection[str]) -> bool:
    """Return whether requirements have some version of a package."""
    return any(re.match(rf"{name}\b(?!-)", item) for item in requirements)


def with_setuptools(text: str, shown: str) -> str:
    """Return the text of a ``connector.yaml`` with the requirement more, all else as it is.

    :raises SetupError: E-CONFIG, it is written in a form that this cannot change.
    """
    before = parse_yaml(text, shown)
    value = before["pip_url"]
    expected = [*value, SETUPTOOLS] if isinstance(value, list) else f"{value} {SETUPTOOLS}"
    changed = _changed(text, expected)
    if parse_yaml(changed, shown) != {**before, "pip_url": expected}:
        raise SetupError("E-CONFIG", f"{shown} cannot be changed.", hint=f'Add {SETUPTOOLS} to "pip_url" by hand.')
    return changed


def _changed(text: str, expected: object) -> str:
    """Return the text with another value of ``pip_url``: a word more, or an item more."""
    events = list(yaml_events(text))
    key = next(n for n, event in enumerate(events) if isinstance(event, yaml.ScalarEvent) and event.value == "pip_url")
    start = events[key + 1]
    if isinstance(start, yaml.ScalarEvent):
        return text[: _at(start.start_mark).index] + _scalar(str(expected)) + text[_at(start.end_mark).index :]
    if not isinstance(start, yaml.SequenceStartEvent):
        return text
    end = next(n for n in range(key + 1, len(events)) if isinstance(events[n], yaml.SequenceEndEvent))
    last = _at(events[end - 1].end_mark).index
    more = f", {SETUPTOOLS}" if start.flow_style else f"\n{' ' * _at(start.start_mark).column}- {SETUPTOOLS}"
    return text[:last] + more + text[last:]


def _at(mark: Any) -> yaml.Mark:
    """Return a mark; only events that no file has lack one."""
    return cast("yaml.Mark", mark)


def _scalar(text: str) -> str:
    """Return a text as YAML on one line."""
    return yaml.safe_dump(text, width=10_000, allow_unicode=True).removesuffix("...\n").strip()
