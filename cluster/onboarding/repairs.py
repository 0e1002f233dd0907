"""What ``new`` changes by itself if a connector is older than its dependencies or than this Python.

A repair is a requirement more, an older Python, or older packages for the program or its build. It
is kept in ``connector.yaml``, so that every venv and image has it.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.onboarding import package
from cluster.project.debian import FAILED
from cluster.project.removed import LAST_OLD_SIX, last_python
from cluster.project.repair import LACKS, SETUPTOOLS, asks_for
from cluster.project.venvs import OURS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path

    from cluster.project.model import Connector
    from cluster.project.venvs import Environments

OLDEST_PYTHON = 8
"""The oldest Python 3 that is tried: the entrypoint runs on no older one."""
NUMPY = re.compile(r"numpy\.dtype size changed|numpy\.ndarray size changed|_ARRAY_API not found|compiled using NumPy 1\.x")
"""What a program prints that was compiled for numpy 1, and finds numpy 2."""
COMPILED = re.compile(r"may indicate binary incompatibility|multiarray failed to import|undefined symbol|SystemError: initialization of")
"""What a program prints whose packages were made for an older Python."""
NO_WHEEL = re.compile(r"no wheels with a matching Python|does not satisfy Python")
"""What uv prints if a package is for other Pythons only."""
NEWER = re.compile(r"(?:requires Python |does not satisfy Python)>=(3\.\d+)")
"""What uv prints if a package needs a newer Python."""

OLD_C = re.compile(r"\.(?:c|cc|cpp|h|pyx):\d+:\d+: error: |longintrepr\.h: No such file")
"""What compilers print if C code was written for an older Python."""

BUILDS = {
    r"No module named 'pkg_resources'": SETUPTOOLS,
    r"Invalid dash-separated key": "setuptools<78",
    r"project/version requirement specifiers": "setuptools<66",
    r"use_2to3 is invalid": "setuptools<58",
    r"no attribute 'cython_sources'": "cython<3",
}
"""What builds print that are too old for these packages, and the versions that they need."""
OLD_SETUPTOOLS, THEIR_PYTHON = {"setuptools<66", "setuptools<58"}, "3.11"
"""Those that no later Python can run."""
BROKEN = re.compile(r"^(?:ImportError|ModuleNotFoundError|AttributeError|TypeError)\b", re.MULTILINE)
"""What a program prints that does not fit the packages that it imports."""


class DoesNotStartError(SetupError):
    """The connector's program ends with an error when it is asked for its help."""

    def __init__(self, problem: str, *, hint: str, output: str, built: Sequence[str] = ()) -> None:
        """Keep what the program printed, and the packages that were built on this machine."""
        super().__init__("E-CONNECTOR", problem, hint=hint)
        self.output = output
        self.built = built


@dataclass(frozen=True)
class Repair:
    """One change of ``connector.yaml``."""

    reason: str
    requirement: str = ""
    python: str = ""
    exclude_newer: str = ""
    constraint: str = ""
    """A version for a package that builds others; with it *python* may be another one too."""

    @property
    def change(self) -> str:
        """The change in words."""
        if self.constraint:
            return f"{self.constraint} is used for the build{f', and Python {self.python}' if self.python else ''}"
        if self.exclude_newer:
            return f"its packages are resolved as of {self.exclude_newer.partition('T')[0]}"
        return f"Python {self.python} is used" if self.python else f"{self.requirement} is added"

    @property
    def undone(self) -> str:
        """The end of the change in words."""
        if self.constraint:
            return f"{self.constraint} is not used for the build"
        if self.exclude_newer:
            return "its packages are resolved as of today"
        return f"Python {self.python} is not used" if self.python else f"{self.requirement} is removed again"

    @property
    def key(self) -> tuple[str, ...]:
        """What makes it another repair."""
        return self.requirement, self.python, self.exclude_newer, self.constraint


def proposals(error: SetupError, connector: Connector, environments: Environments, *, ask: bool = False) -> Iterator[Repair]:
    """Yield what may help against an error of ``new``, the best first.

    *ask* is whether the user may be asked for the download of a Python.
    """
    if isinstance(error, DoesNotStartError):
        yield from _to_start(error, connector, environments, ask=ask)
        yield from _as_of_its_release(error.output, connector, environments)
    elif error.code == "E-INSTALL":
        yield from _to_install(connector, environments, ask=ask)


def _to_start(error: DoesNotStartError, connector: Connector, environments: Environments, *, ask: bool) -> Iterator[Repair]:
    """Yield what may help against a program that does not start.

    A package that was built here may be older than this Python: then its wheels show which one it
    is for.
    """
    output = error.output
    module = LACKS.search(output)
    if module:
        yield from _requirement(SETUPTOOLS, connector, f"it imports {module[1]}")
        return
    if NUMPY.search(output):
        yield from _requirement("numpy<2", connector, "it was compiled for numpy 1")
    last = last_python(output)
    if last or COMPILED.search(output):
        older = (version for version in _older(connector) if not last or _minor(version) <= _minor(last))
        suitable = (version for version in older if last or not error.built or environments.resolves(connector, version, error.built))
        for python in _obtainable(suitable, environments, ask=ask):
            yield Repair(f"it is older than Python {_version(connector)}", python=python)


def _to_install(connector: Connector, environments: Environments, *, ask: bool) -> Iterator[Repair]:
    """Yield older packages for the build, then Pythons for which it can be installed."""
    packages, log = _without_wheels(connector, environments)
    yield from _to_build(log, connector, environments, ask=ask)
    newer = NEWER.search(log)
    if newer and _minor(newer[1]) > _minor(_version(connector)) and environments.resolves(connector, newer[1], []):
        for python in _obtainable([newer[1]], environments, ask=ask):
            yield Repair(f"it needs a newer Python than {_version(connector)}", python=python)
    elif packages or NO_WHEEL.search(log):
        what = f"{', '.join(packages)} cannot be built" if packages else "it has no wheel"
        resolving = (version for version in _older(connector) if environments.resolves(connector, version, packages))
        compiling = _older(connector) if OLD_C.search(log) else []
        for python in _obtainable(chain(resolving, compiling), environments, ask=ask):
            yield Repair(f"{what} for Python {_version(connector)}", python=python)


def _to_build(log: str, connector: Connector, environments: Environments, *, ask: bool) -> Iterator[Repair]:
    """Yield older packages for a build that fails with the present ones."""
    for constraint in (constraint for words, constraint in BUILDS.items() if re.search(words, log)):
        if constraint in connector.build_constraints:
            continue
        reason = f"its build is older than {constraint.partition('<')[0]}"
        if constraint in OLD_SETUPTOOLS and (connector.python is None or _minor(connector.python) > _minor(THEIR_PYTHON)):
            for python in _obtainable([THEIR_PYTHON], environments, ask=ask):
                yield Repair(reason, constraint=constraint, python=python)
        else:
            yield Repair(reason, constraint=constraint)


def for_images(venv: Path, environments: Environments) -> Repair | None:
    """Return what makes images use this Python, if a package cannot be used with theirs.

    That is one without a wheel for theirs, or with an old copy of six. A package that was built
    here may be too old to be built with a newer Python.
    """
    theirs = environments.settings.image_python
    if theirs in {"", OURS}:
        return None
    old = package.with_old_six(venv) if _minor(OURS) <= LAST_OLD_SIX < _minor(theirs) else []
    if old:
        return Repair(f"Python {theirs}, which images use, cannot import six in {', '.join(old)}", python=OURS)
    names = [item.partition("==")[0] for item in environments.without_wheels(package.compiled(venv), theirs)]
    if not names:
        return None
    return Repair(f"{', '.join(names)} {'have' if names[1:] else 'has'} no wheel for Python {theirs}, which images use", python=OURS)


def _requirement(requirement: str, connector: Connector, reason: str) -> Iterator[Repair]:
    """Yield a requirement more, unless the connector has one of that package."""
    name = re.split(r"[<=>]", requirement)[0]
    if not asks_for(name, connector.requirements):
        yield Repair(reason, requirement=requirement)


def _as_of_its_release(output: str, connector: Connector, environments: Environments) -> Iterator[Repair]:
    """Yield the packages of its day, if the present ones do not fit together."""
    if BROKEN.search(output) and not connector.exclude_newer:
        moment = environments.released(connector)
        if moment:
            yield Repair("it is older than its dependencies", exclude_newer=moment)


def _without_wheels(connector: Connector, environments: Environments) -> tuple[list[str], str]:
    """Return the packages that uv could not build, and its log of the last attempt."""
    with suppress(OSError):
        log = (environments.logs / f"{connector.name}.log").read_text(encoding="utf-8")
        return list(dict.fromkeys(match[1].lower() for match in FAILED.finditer(log))), log
    return [], ""


def _version(connector: Connector) -> str:
    return connector.python or OURS


def _minor(version: str) -> int:
    return int(version.partition(".")[2])


def _older(connector: Connector) -> list[str]:
    """Return the Python versions that are older than the connector's, newest first."""
    return [f"3.{minor}" for minor in range(_minor(_version(connector)) - 1, OLDEST_PYTHON - 1, -1)]


def _obtainable(versions: Iterable[str], environments: Environments, *, ask: bool) -> Iterator[str]:
    """Yield the versions that this machine has or may download; if there are none, the newest.

    Then the next error states what to type.
    """
    newest = ""
    none = True
    for version in versions:
        newest = newest or version
        if version == OURS or environments.pythons.may_download(ask=ask) or environments.pythons.find(version):
            none = False
            yield version
    if none and newest:
        yield newest
