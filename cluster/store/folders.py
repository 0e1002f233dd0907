"""Buckets as folders: for the local engine, where there is no server and none is needed.

An object is a file; a write goes to a temporary file on the same file system, to the disk, and then replaces the old
object in one step. Where versions are kept, a version is written first, so that no crash can lose the last one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import SetupError, file_errors
from cluster.store.protocol import Object, Version

if TYPE_CHECKING:
    from collections.abc import Mapping

ABANDONED_SECONDS = 3600
DELETED = ".deleted"


class FolderStore:
    """A ``Store`` below one folder. Only the user may look into it: states and outputs can be confidential."""

    def __init__(self, root: Path) -> None:
        """Take the folder; it is made by ``prepare``."""
        self.root = root
        self._temporary = root / ".part"
        self._versions = root / ".versions"

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """Make the folders, and sweep what an interrupted write left behind."""
        with file_errors("The buckets", self.root):
            for folder in (self.root, self._temporary, *(self.root / name for name in buckets)):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for name, versioned in buckets.items():
                if versioned:
                    (self._versions / name).mkdir(mode=0o700, parents=True, exist_ok=True)
            for part in self._temporary.iterdir():
                if time.time() - part.stat().st_mtime > ABANDONED_SECONDS:
                    part.unlink(missing_ok=True)

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """See ``Store``."""
        file = self._file(bucket, key) if version is None else self._history(bucket, key) / version
        with file_errors(key, file):
            try:
                return file.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """See ``Store``."""
        file = self._file(bucket, key)
        with file_errors(key, file):
            self._publish(self._part(data), bucket, key)

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``. On the same file system the file is moved, whatever its size."""
        with file_errors(key, self._file(bucket, key)):
            part = self._temporary / secrets.token_hex(8)
            try:
                shutil.move(file, part)
                descriptor = os.open(part, os.O_RDONLY)
                try:
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._publish(part, bucket, key)
            finally:
                part.unlink(missing_ok=True)

    def download(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``."""
        with file_errors(key, file):
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
            try:
                shutil.copyfile(self._file(bucket, key), part)
                part.replace(file)
            finally:
                part.unlink(missing_ok=True)

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """See ``Store``."""
        base = self.root / bucket
        start = base / prefix.rpartition("/")[0]
        found = []
        with file_errors(prefix or bucket, base):
            for folder, _, names in os.walk(start):
                for name in names:
                    file = Path(folder) / name
                    key = file.relative_to(base).as_posix()
                    if key.startswith(prefix):
                        facts = file.stat()
                        found.append(Object(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)))
        return sorted(found, key=lambda item: item.key)

    def delete(self, bucket: str, key: str) -> None:
        """See ``Store``."""
        file = self._file(bucket, key)
        with file_errors(key, file):
            if not file.exists():
                return
            if (self._versions / bucket).is_dir():
                history = self._history(bucket, key)
                self._part(b"").replace(history / (self._version_id() + DELETED))
            file.unlink(missing_ok=True)

    def versions(self, bucket: str, key: str) -> list[Version]:
        """See ``Store``."""
        history = self._versions / bucket / key
        if not history.is_dir():
            return []
        with file_errors(key, history):
            return [
                Version(file.name, file.stat().st_size, datetime.fromtimestamp(file.stat().st_mtime, UTC), file.name.endswith(DELETED))
                for file in sorted(history.iterdir(), reverse=True)
            ]

    def url(self, bucket: str, key: str) -> str:
        """See ``Store``."""
        return str(self._file(bucket, key))

    def _file(self, bucket: str, key: str) -> Path:
        file = self.root / bucket / key
        if not key or any(part in {"", ".", ".."} for part in key.split("/")) or "\0" in key:
            raise SetupError("E-STORE", f"{key!r} is not a key.", hint="Name a file below its folder, without .. in it.")
        return file

    def _history(self, bucket: str, key: str) -> Path:
        self._file(bucket, key)
        history = self._versions / bucket / key
        history.mkdir(mode=0o700, parents=True, exist_ok=True)
        return history

    @staticmethod
    def _version_id() -> str:
        """Return a name that sorts by time, also for two writes in one microsecond."""
        return f"{time.time_ns():020d}-{secrets.token_hex(4)}"

    def _part(self, data: bytes) -> Path:
        """Write *data* to a temporary file, down to the disk."""
        part = self._temporary / secrets.token_hex(8)
        try:
            with part.open("xb") as file:
                os.fchmod(file.fileno(), 0o600)
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        return part

    def _publish(self, part: Path, bucket: str, key: str) -> None:
        """Make a finished temporary file the object, its version first."""
        file = self.root / bucket / key
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if (self._versions / bucket).is_dir():
            version = self._history(bucket, key) / self._version_id()
            part.replace(version)
            part = self._part(version.read_bytes())
        part.replace(file)
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
