"""The installed package of a connector: its programs and its README."""

from __future__ import annotations

import re
import shlex
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import TYPE_CHECKING, Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from cluster.config.strict import listed, nearest
from cluster.errors import SetupError
from cluster.project.editable import package_folders
from cluster.project.venvs import programs
from cluster.runs import libraries

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cluster.project.model import Connector


SINGER = r"(tap|target)[-_]"


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    summary: str
    readme: str
    programs: tuple[str, ...]
    """Those of this package itself, without those of its dependencies."""


def installed(venv: Path, connector: Connector) -> Package:
    """Return the connector's package, of its requirements.

    That is the first one with a program named like a tap or target, else with any program, else the
    first one.
    """
    packages = _distributions(venv)
    names = _required(connector)
    required = [packages[canonicalize_name(name)] for name in names if name and canonicalize_name(name) in packages]
    if not all(names):
        required += filter(_has_address, packages.values())
    package = next(filter(_singer, required), None) or next(filter(_programs, required), required[0] if required else None)
    if package is None:
        return Package(next(filter(None, names), connector.requirements[0]), "", "", ())
    metadata = package.metadata.json
    return Package(package.name, str(metadata.get("summary", "")), str(metadata.get("description", "")), _programs(package))


def one_text(requirements: Iterable[str]) -> str:
    """Return requirements as one ``pip_url``; those with a space are quoted in it."""
    return " ".join(shlex.quote(item) if re.search(r"[\s'\"]", item) else item for item in requirements)


def versions(venv: Path) -> dict[str, str]:
    """Return the versions of all packages of a venv by their normalised names."""
    return {name: package.version for name, package in _distributions(venv).items()}


def _distributions(venv: Path) -> dict[str, Distribution]:
    folders = [str(folder) for folder in package_folders(venv)]
    return {canonicalize_name(item.name): item for item in distributions(path=folders)}


def compiled(venv: Path) -> list[str]:
    """Return the packages of a venv that are made for one Python or machine, as requirements."""
    packages = (item for item in _distributions(venv).items() if not _has_address(item[1]))
    special = (
        (name, item) for name, item in packages if not re.search(r"^Tag: \S*py3-none-any", item.read_text("WHEEL") or "", re.MULTILINE)
    )
    return sorted(f"{name}=={item.version}" for name, item in special)


def _has_address(package: Distribution) -> bool:
    """Return whether a package was installed from a repository or a file."""
    return bool(package.read_text("direct_url.json"))


def _required(connector: Connector) -> list[str]:
    """Return the names of the connector's requirements; an empty one for an address alone."""
    names = []
    for requirement in connector.requirements:
        try:
            names.append(Requirement(requirement).name)
        except InvalidRequirement:
            names.append("")
    for folder in connector.projects:
        project: Mapping[str, Any] = {}
        with suppress(tomllib.TOMLDecodeError, OSError):
            project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8")).get("project", {})
        names.append(str(project.get("name", "")))
    return names


def _programs(package: Distribution) -> tuple[str, ...]:
    scripts = {point.name for point in package.entry_points if point.group == "console_scripts"}
    files = {file.name for file in package.files or () if ".." in file.parts and file.parent.name == "bin"}
    return tuple(sorted(scripts | files))


def _singer(package: Distribution) -> list[str]:
    return [program for program in _programs(package) if re.match(SINGER, program)]


def built(venv: Path) -> list[str]:
    """Return the packages of a venv that were compiled on this machine: on Linux, by their tags."""
    compiled = re.compile(r"^Tag: \S+-linux_\w+$", re.MULTILINE)
    return sorted(name for name, package in _distributions(venv).items() if compiled.search(package.read_text("WHEEL") or ""))


def with_old_six(venv: Path) -> list[str]:
    """Return the packages of a venv with a copy of six that Python 3.12 cannot import from."""
    files = ((name, file) for name, item in _distributions(venv).items() for file in item.files or ())
    copies = ((name, Path(str(file.locate()))) for name, file in files if file.name == "six.py")
    texts = ((name, copy.read_text(encoding="utf-8", errors="replace")) for name, copy in copies if copy.is_file())
    return sorted({name for name, text in texts if "def find_module" in text and "def find_spec" not in text})


def system_packages(venv: Path) -> list[str]:
    """Return the Debian packages that the wheels of a venv need in an image.

    What was compiled on this machine is compiled in the image too, which then knows what it needs.
    """
    here = built(venv)
    installed = [package for name, package in _distributions(venv).items() if name not in here]
    files = [Path(str(file.locate())) for package in installed for file in package.files or () if ".so" in file.suffixes]
    return libraries.packages((file.name, file.read_bytes()) for file in files if file.is_file())


def likely(package: Package, name: str) -> list[str]:
    """Return the connector's program; all of the package if it is not clear which one."""
    named = [program for program in package.programs if canonicalize_name(program) == canonicalize_name(name)]
    singer = [program for program in package.programs if re.match(SINGER, program)]
    return next((names for names in (named, singer) if len(names) == 1), list(package.programs))


def program(package: Package, venv: Path, name: str) -> str:
    """Check that a program is installed, and return its name.

    :raises SetupError: E-EXECUTABLE, it is not.
    """
    known = programs(venv)
    if name not in known:
        own = listed(package.programs or known)
        raise SetupError(
            "E-EXECUTABLE", f"{package.name} installs no program {name}.{nearest(name, known)}", hint=f"Its programs are {own}."
        )
    return name
