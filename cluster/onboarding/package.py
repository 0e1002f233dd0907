"""What a connector's package has brought into its environment: its programs, its README."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import TYPE_CHECKING

from cluster.config.strict import listed, nearest
from cluster.errors import SetupError
from cluster.project.venvs import programs

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.project.model import Connector


@dataclass(frozen=True)
class Package:
    """One installed package."""

    name: str
    summary: str
    readme: str
    programs: tuple[str, ...]
    """What this package itself installs, not what its dependencies do."""


def installed(environment: Path, connector: Connector) -> Package:
    """Return the package that the connector's first requirement has installed."""
    found = {
        _plain(item.name): item for item in distributions(path=[str(folder) for folder in environment.glob("lib/python*/site-packages")])
    }
    name = _asked(connector)
    package = found.get(_plain(name)) if name else next((item for item in found.values() if item.read_text("direct_url.json")), None)
    if package is None:
        return Package(name or connector.requirements[0], "", "", ())
    told = package.metadata.json
    return Package(package.name, str(told.get("summary", "")), str(told.get("description", "")), _programs(package))


def _asked(connector: Connector) -> str | None:
    """Return the name of the package that is asked for, None where only an address is."""
    if not connector.requirements:
        return str(tomllib.loads((connector.projects[0] / "pyproject.toml").read_text(encoding="utf-8")).get("project", {}).get("name"))
    found = re.match(r"([A-Za-z0-9][A-Za-z0-9._-]*)\s*($|[\[<>=!~;@,])", connector.requirements[0])
    return found[1] if found else None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _programs(package: Distribution) -> tuple[str, ...]:
    scripts = {point.name for point in package.entry_points if point.group == "console_scripts"}
    files = {file.name for file in package.files or () if ".." in file.parts and file.parent.name == "bin"}
    return tuple(sorted(scripts | files))


def likely(package: Package, name: str) -> list[str]:
    """Return the programs that the connector *name* may mean: one where that is clear, else all."""
    named = [program for program in package.programs if _plain(program) == _plain(name)]
    singer = [program for program in package.programs if re.match(r"(tap|target)[-_]", program)]
    return next((found for found in (named, singer) if len(found) == 1), list(package.programs))


def program(package: Package, environment: Path, asked: str) -> str:
    """See that a program that somebody has named is there, and return it.

    :raises SetupError: E-EXECUTABLE, it is not.
    """
    there = programs(environment)
    if asked not in there:
        own = listed(package.programs or there)
        raise SetupError(
            "E-EXECUTABLE", f"{package.name} installs no program {asked}.{nearest(asked, there)}", hint=f"Name one of its own: {own}."
        )
    return asked
