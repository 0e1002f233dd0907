"""What ``new`` changes by itself if a connector is older than its dependencies or than this Python.

A repair is a requirement more, an older Python, or older packages. It is kept in
``connector.yaml``, so that every venv and image has it.
"""

from __future__ import annotations

import re
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.project.debian import FAILED

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cluster.project.model import Connector
    from cluster.project.venvs import Environments

OLDEST_PYTHON = 8
"""The oldest Python 3 that is tried: the entrypoint runs on no older one."""
SETUPTOOLS = "setuptools<81"
"""The last versions with ``pkg_resources``. From Python 3.12 on they also provide ``distutils``."""
COLLECTIONS = re.compile(r"cannot import name '\w+' from 'collections'|module 'collections' has no attribute")
"""What Python 3.10 and later print for names that they have removed from ``collections``."""
COMPILED = re.compile(
    r"may indicate binary incompatibility|_ARRAY_API not found|multiarray failed to import|undefined symbol|"
    r"module 'inspect' has no attribute"
)
"""What a program prints whose packages were made for another older Python."""


BROKEN = re.compile(r"^(?:ImportError|ModuleNotFoundError|AttributeError|TypeError)\b", re.MULTILINE)
"""What a program prints that does not fit the packages that it imports."""


class DoesNotStartError(SetupError):
    """The connector's program ends with an error when it is asked for its help."""

    def __init__(self, problem: str, *, hint: str, output: str) -> None:
        """Keep what the program printed."""
        super().__init__("E-CONNECTOR", problem, hint=hint)
        self.output = output


@dataclass(frozen=True)
class Repair:
    """One change of ``connector.yaml``."""

    reason: str
    requirement: str = ""
    python: str = ""
    exclude_newer: str = ""

    @property
    def change(self) -> str:
        """The change in words."""
        if self.exclude_newer:
            return f"its packages are resolved as of {self.exclude_newer.partition('T')[0]}"
        return f"Python {self.python} is used" if self.python else f"{self.requirement} is added"


def proposals(error: SetupError, connector: Connector, environments: Environments) -> Iterator[Repair]:
    """Yield what may help against an error of ``new``, the best first."""
    if isinstance(error, DoesNotStartError):
        module = re.search(r"No module named '(pkg_resources|distutils)\b", error.output)
        if module and not any(re.match(r"setuptools\b", item) for item in connector.requirements):
            yield Repair(f"it imports {module[1]}", requirement=SETUPTOOLS)
        elif COLLECTIONS.search(error.output) or COMPILED.search(error.output):
            newest = 9 if COLLECTIONS.search(error.output) else 99
            suitable = [python for python in _older(connector) if int(python.partition(".")[2]) <= newest]
            for python in _installed(connector, environments, suitable):
                yield Repair(f"it is older than Python {_version(connector)}", python=python)
        yield from _as_of_its_release(error.output, connector, environments)
    elif error.code == "E-INSTALL":
        packages = _without_wheels(connector, environments)
        if packages:
            suitable = [python for python in _older(connector) if environments.resolves(connector, python, packages)]
            for python in [*_installed(connector, environments, suitable), *suitable][:1]:
                yield Repair(f"{', '.join(packages)} cannot be built for Python {_version(connector)}", python=python)


def _as_of_its_release(output: str, connector: Connector, environments: Environments) -> Iterator[Repair]:
    """Yield the packages of its day, if the present ones do not fit together."""
    if BROKEN.search(output) and not connector.exclude_newer:
        moment = environments.released(connector)
        if moment:
            yield Repair("it is older than its dependencies", exclude_newer=moment)


def _without_wheels(connector: Connector, environments: Environments) -> list[str]:
    """Return the packages that uv could not build, by its log of the last attempt."""
    with suppress(OSError):
        log = (environments.logs / f"{connector.name}.log").read_text(encoding="utf-8")
        return list(dict.fromkeys(match[1].lower() for match in FAILED.finditer(log)))
    return []


def _version(connector: Connector) -> str:
    return connector.python or f"{sys.version_info[0]}.{sys.version_info[1]}"


def _older(connector: Connector) -> list[str]:
    """Return the Python versions that are older than the connector's, newest first."""
    return [f"3.{minor}" for minor in range(int(_version(connector).partition(".")[2]) - 1, OLDEST_PYTHON - 1, -1)]


def _installed(connector: Connector, environments: Environments, versions: Iterable[str]) -> list[str]:
    """Return those of the versions that this machine has."""
    there = []
    for version in versions:
        with suppress(SetupError):
            environments.python(replace(connector, python=version))
            there.append(version)
    return there
