"""Secrets that a connector replaced in its own config, such as refresh tokens that work once.

The entrypoint leaves the values of each secret in a file: first the one that the config had, last
the newest. Each engine keeps the newest where the first came from, also if the run fails: the old
one may be worthless by now. A value that was set meanwhile by somebody else stays.
"""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING

from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

FILE = "rotated.json"
INSTANCE = "singer/instance"
"""The label of a Secret that an installation has made."""
ROTATED = "singer/rotated"
"""The annotation of a Secret whose values a run has replaced, as ``rotation`` reads it."""
LOST = "and the new value is lost"
"""Words in each warning about a secret that could not be kept."""
AGAIN_SECONDS = 5.0
"""Time between two attempts to keep a value."""


def read(file: Path) -> dict[str, list[str]]:
    """Return the values of each replaced secret, oldest first; empty if there is no file."""
    try:
        return {str(name): [str(value) for value in values] for name, values in json.loads(file.read_bytes()).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def rotation(annotations: Mapping[str, str]) -> dict[str, list[str]]:
    """Return, for each replaced value of a Secret, digests of the first value and of the last.

    While the laptop still has the first one, ``sync`` must not put it back.
    """
    try:
        noted = json.loads(annotations.get(ROTATED, "{}"))
        return {str(name): [str(first), str(last)] for name, (first, last) in noted.items()}
    except (ValueError, AttributeError, TypeError):
        return {}


def digest(value: str) -> str:
    """Return a digest of a value, to recognise it."""
    return hashlib.sha256(value.encode()).hexdigest()


class Keeper:
    """Keeps the newest values of the secrets that one connector replaced."""

    def __init__(self, connector: str, file: Path, keep: Callable[[str, list[str]], None]) -> None:
        """Take the entrypoint's *file*, and *keep*, which stores the last of a secret's values.

        *keep* raises ``SetupError`` if it cannot.
        """
        self.connector = connector
        self.kept: dict[str, str] = {}
        """The newest value of each secret that was kept."""
        self._file = file
        self._keep = keep
        self._why: dict[str, str] = {}
        self._next = 0.0

    def look(self, *, last: bool = False) -> list[str]:
        """Keep what is new, and return its names; *last*: without a pause after an error."""
        names: list[str] = []
        if time.monotonic() < self._next and not last:
            return names
        for name, values in read(self._file).items():
            if self.kept.get(name) == values[-1]:
                continue
            try:
                self._keep(name, values)
            except SetupError as error:
                self._why[name] = error.problem
                self._next = time.monotonic() + AGAIN_SECONDS
            else:
                self._why.pop(name, None)
                self.kept[name] = values[-1]
                names.append(name)
        return names

    @property
    def problems(self) -> list[str]:
        """A sentence for each secret whose newest value could not be kept."""
        return [
            f"{self.connector} replaced {name} in its config, {LOST}: {why.rstrip('.')}. Set {name} again before the next run."
            for name, why in self._why.items()
        ]
