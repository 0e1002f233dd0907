"""The protocol of a store, the entries of its listings, and the rules for keys."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder, replacing
from cluster.host.locks import lock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

KEY_BYTES = 1024
PART_BYTES = 255
"""The limits of a key (S3) and of each part between slashes (file systems)."""


@dataclass(frozen=True)
class Object:
    """An object in a listing. ``size`` is in bytes, ``modified`` has a time zone."""

    key: str
    size: int
    modified: datetime
    etag: str = ""
    """The MD5 of its content, in many cases; else anything, or nothing."""


@dataclass(frozen=True)
class Version:
    """A version of an object; ``deleted`` marks its removal. Lists have the newest one first."""

    id: str
    size: int
    modified: datetime
    deleted: bool


class Store(Protocol):
    """Object storage, as the engines use it. Every method may raise SetupError: E-STORE, E-DISK.

    A bucket may be a folder in a bucket, such as ``lake/singer``; its keys begin below that folder.
    """

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """Create the missing buckets; those with the value true keep every version."""

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """Return the object, None if it does not exist."""

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """Write the object; readers see the old one or the new one."""

    def change(self, bucket: str, key: str, changed: Callable[[bytes | None], bytes]) -> None:
        """Replace the object by what *changed* returns for it; no other writer's object is lost."""

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """Write the object from *file*, which the store may move."""

    def download(self, bucket: str, key: str, file: Path) -> None:
        """Write the object into *file*, replacing it as a whole."""

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """Return the objects whose keys begin with *prefix*, by key."""

    def delete(self, bucket: str, *keys: str) -> None:
        """Remove objects, if they exist; a bucket with versions keeps those."""

    def versions(self, bucket: str, key: str) -> list[Version]:
        """Return all versions of one object, newest first."""

    def url(self, bucket: str, key: str) -> str:
        """Return the path or the ``s3://`` URL of the object."""


def parted(bucket: str) -> tuple[str, str]:
    """Split a bucket into its name and the prefix of its keys: ``lake/singer`` has ``singer/``."""
    name, _, folder = bucket.partition("/")
    return name, f"{folder}/" if folder else ""


def checked(key: str) -> str:
    """Return *key* if it is valid in every store: a path below its bucket.

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
    """Return whether a key can begin with *prefix*."""
    *folders, _ = prefix.split("/")
    return not any(part.strip() in {"", ".", ".."} for part in folders)


@contextmanager
def fetching(key: str, file: Path) -> Iterator[Path]:
    """Replace *file* by a copy of an object, as ``replacing`` does, readable for the user only.

    The temporary file is locked, so that ``sweep`` can tell those of a killed process.
    """
    with file_errors(key, file):
        private_folder(file.parent)
    with replacing(key, file) as part, open(part, "xb", opener=private) as held:
        lock(held)
        yield part
