"""Keep secrets that connectors replaced in ``.env``, for the local engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.host.locks import exclusive
from cluster.project.dotenv import read_dotenv, renew
from cluster.runs.rotation import FILE, Keeper

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster.config.settings import Settings


def keeper(settings: Settings, environ: Mapping[str, str], connector: str, folder: Path) -> Keeper:
    """Return what keeps the secrets of one side, whose files are in *folder*."""
    return Keeper(connector, folder / FILE, partial(_keep, settings, environ))


def recover(settings: Settings, environ: Mapping[str, str], run: str = "*") -> Iterator[str]:
    """Keep what a killed run left, of all runs or of *run*; yield what could not be kept."""
    runs = settings.local / "runs"
    for file in sorted([*runs.glob(f"{run}/*/{FILE}"), *runs.glob(f"{run}/*/*/{FILE}")]):
        left = keeper(settings, environ, f"The {file.parent.name} of {file.parents[1].name}", file.parent)
        left.look(last=True)
        yield from left.problems


def _keep(settings: Settings, environ: Mapping[str, str], name: str, values: list[str]) -> None:
    """Write the last of *values* into ``.env``, if ``.env`` has one of the others.

    :raises SetupError: the value came from the environment, or ``.env`` cannot be changed.
    """
    file = settings.root / ".env"
    with file_errors(file.name, file), exclusive(private_folder(settings.local) / "dotenv.lock"):
        there = read_dotenv(file).get(name)
        if there not in values and environ.get(name) == values[0]:
            raise SetupError("E-SECRET", "it came from the environment", hint=f"Put {name}=… into .env.")
        if there is None:
            raise SetupError("E-SECRET", ".env has it no more", hint=f"Put {name}=… into .env.")
        renew(file, name, values)
    if environ.get(name) in values[:-1]:
        raise SetupError("E-SECRET", f"it is in .env, but the environment still has the old one, unset {name}", hint=f"unset {name}")
