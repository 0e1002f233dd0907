"""What the engines need of object storage, what a listing says, and the rules that hold for every store."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder, replacing
from cluster.host.locks import lock

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

KEY_BYTES = 1024
PART_BYTES = 255
"""Of a key as a whole, which is S3's limit, and of what stands between two slashes, which is that of file systems."""


@dataclass(frozen=True)
class Object:
    """What a listing says of an object. ``size`` in bytes, ``modified`` with a time zone."""

    key: str
    size: int
    modified: datetime


@dataclass(frozen=True)
class Version:
    """One version of an object, newest first in a list; ``deleted`` marks the moment when it was removed."""

    id: str
    size: int
    modified: datetime
    deleted: bool


class Store(Protocol):
    """What the engines need of object storage. Every method raises SetupError E-STORE or E-DISK where it cannot.

    A bucket may be a folder of one: ``lake/singer``. Keys are below it.
    """

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """Make the buckets that are missing; where the value is true, keep every version."""

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """Return the object, or None where there is none."""

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write the object: readers see the old one or the new one."""

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """Write the object from *file*, which the store may take for itself."""

    def download(self, bucket: str, key: str, file: Path) -> None:
        """Write the object into *file*, replacing it as a whole."""

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """Return the objects whose keys begin with *prefix*, by key."""

    def delete(self, bucket: str, key: str) -> None:
        """Remove the object, if it is there; its versions stay where versions are kept."""

    def versions(self, bucket: str, key: str) -> list[Version]:
        """Return all versions of one object, newest first."""

    def url(self, bucket: str, key: str) -> str:
        """Return where a person finds the object: a path or an ``s3://`` URL."""


def parted(bucket: str) -> tuple[str, str]:
    """Return the bucket itself and what its keys begin with: ``lake/singer`` is the folder ``singer/`` of the bucket ``lake``."""
    name, _, folder = bucket.partition("/")
    return name, f"{folder}/" if folder else ""


def checked(key: str) -> str:
    """Return *key*, which must be a path below its bucket: what is a key in one store is one in every store.

    :raises SetupError: E-STORE, it is not.
    """
    try:
        parts = [part.encode() for part in key.split("/")]
    except UnicodeEncodeError:
        parts = []  # not text
    unfit = any(part.strip() in {b".", b".."} or not 0 < len(part) <= PART_BYTES for part in parts)
    if not key.strip() or not parts or unfit or len(b"/".join(parts)) > KEY_BYTES or "\0" in key:
        raise SetupError("E-STORE", f"{key!r} is not a key.", hint="Name a file below its folder, without .. in it.")
    return key


def can_begin(prefix: str) -> bool:
    """Say whether a key can begin with *prefix*."""
    *folders, _ = prefix.split("/")
    return not any(part.strip() in {"", ".", ".."} for part in folders)


@contextmanager
def fetching(key: str, file: Path) -> Iterator[Path]:
    """Do as ``replacing`` does, for a copy of an object: it and the folders that are missing are for the user's eyes only.

    The temporary file is held, so that ``sweep`` knows those of a process that was killed.
    """
    with file_errors(key, file):
        private_folder(file.parent)
    with replacing(key, file) as part, open(part, "xb", opener=private) as held:
        lock(held)
        yield part
