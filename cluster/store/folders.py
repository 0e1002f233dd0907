"""Buckets as folders, for the local engine: no server is needed.

An object is a file. A write fills a temporary file on the same file system, flushes it to the disk,
and renames it over the old object. In a bucket with versions the version is written first, so no
crash can lose the newest one.
"""

from __future__ import annotations

import os
import secrets
import shutil
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.host.locks import lock, try_lock
from cluster.store.protocol import Object, Version, can_begin, checked, fetching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

DELETED = ".deleted"


class FolderStore:
    """A ``Store`` in a folder. Only the user may read it, as states can be confidential."""

    def __init__(self, root: Path) -> None:
        """Take the folder; ``prepare`` creates it."""
        self.root = root
        self._temporary = root / ".part"
        self._versions = root / ".versions"

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """Create the folders. Remove what killed writes left, unless a write is in progress."""
        with file_errors("The buckets", self.root):
            for folder in (self.root, self._temporary, *(self.root / name for name in buckets)):
                private_folder(folder)
            for name, versioned in buckets.items():
                if versioned:
                    private_folder(self._versions / name)
            with self._open(self._temporary) as temporary:
                for part in self._temporary.iterdir() if try_lock(temporary) else ():
                    part.unlink(missing_ok=True)

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """See ``Store``."""
        file = self._file(bucket, key)
        if version is not None:
            if "/" in version or version.endswith(DELETED):
                return None
            file = self._history(bucket, key) / version
        with file_errors(key, file):
            try:
                return file.read_bytes()
            except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
                return None

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """See ``Store``."""
        file = self._file(bucket, key)
        with file_errors(key, file), self._writing():
            self._publish(self._part(data), bucket, key)

    def change(self, bucket: str, key: str, changed: Callable[[bytes | None], bytes]) -> None:
        """See ``Store``. Only changes wait for each other, not other writes."""
        with file_errors(key, self.root), self._open(self.root) as folder:
            lock(folder)
            self.put(bucket, key, changed(self.get(bucket, key)))

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``. Moves the file; if it is a link, copies what it leads to."""
        with file_errors(key, self._file(bucket, key)), self._writing():
            part = self._temporary / secrets.token_hex(8)
            try:
                if file.is_symlink():
                    shutil.copyfile(file, part)
                else:
                    shutil.move(file, part)
                descriptor = os.open(part, os.O_RDONLY)
                try:
                    os.fchmod(descriptor, 0o600)  # the target may have made it readable for others
                    os.fsync(descriptor)
                finally:
                    os.close(descriptor)
                self._publish(part, bucket, key)
            finally:
                part.unlink(missing_ok=True)

    def download(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``."""
        source = self._file(bucket, key)
        with fetching(key, file) as part:
            shutil.copyfile(source, part)

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """See ``Store``."""
        base = self.root / bucket
        objects: list[Object] = []
        if not can_begin(prefix):
            return objects
        with file_errors(prefix or bucket, base):
            for path, _, names in os.walk(base / prefix.rpartition("/")[0], onerror=_unless_missing):
                for name in names:
                    file = Path(path) / name
                    key = file.relative_to(base).as_posix()
                    if key.startswith(prefix):
                        with suppress(FileNotFoundError):  # deleted since it was listed
                            facts = file.stat()
                            objects.append(Object(key, facts.st_size, datetime.fromtimestamp(facts.st_mtime, UTC)))
        return sorted(objects, key=lambda item: item.key)

    def delete(self, bucket: str, *keys: str) -> None:
        """See ``Store``."""
        for key in keys:
            self._delete(bucket, key)

    def _delete(self, bucket: str, key: str) -> None:
        file = self._file(bucket, key)
        with file_errors(key, file):
            if not self._keeps_versions(bucket):
                if file.is_file():
                    file.unlink(missing_ok=True)
                return
            with self._writing(), self._turn(bucket):
                if file.is_file():
                    self._rename(self._part(b""), self._history(bucket, key) / (self._version_id(bucket, key) + DELETED))
                    file.unlink()

    def versions(self, bucket: str, key: str) -> list[Version]:
        """See ``Store``."""
        history = self._history(bucket, checked(key))
        with file_errors(key, history):
            if not history.is_dir():
                return []
            files = sorted((file for file in history.iterdir() if file.is_file()), reverse=True)
            facts = [(file.name, file.stat()) for file in files]
        return [Version(name, fact.st_size, datetime.fromtimestamp(fact.st_mtime, UTC), name.endswith(DELETED)) for name, fact in facts]

    def url(self, bucket: str, key: str) -> str:
        """See ``Store``."""
        return str(self._file(bucket, key))

    def _file(self, bucket: str, key: str) -> Path:
        if any(part in {"", ".", ".."} for part in bucket.split("/")):
            raise SetupError("E-STORE", f"{bucket!r} is not a bucket.", hint="Name a bucket of this store.")
        return self.root / bucket / checked(key)

    def _history(self, bucket: str, key: str) -> Path:
        return self._versions / bucket / key

    def _keeps_versions(self, bucket: str) -> bool:
        return (self._versions / bucket).is_dir()

    @contextmanager
    def _turn(self, bucket: str) -> Iterator[None]:
        """Lock a bucket with versions for a writer, so that the newest version is the object."""
        with self._open(self._versions / bucket) as folder:
            lock(folder)
            yield

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Protect temporary files from ``prepare``."""
        with self._open(self._temporary) as folder:
            lock(folder, shared=True)
            yield

    @staticmethod
    @contextmanager
    def _open(folder: Path) -> Iterator[int]:
        """Yield the descriptor of a folder."""
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _version_id(self, bucket: str, key: str) -> str:
        """Return a name that sorts after all other versions, even if the clock went back."""
        history = self._history(bucket, key)
        newest = max((item.name.partition("-")[0] for item in history.iterdir()), default="0") if history.is_dir() else "0"
        return f"{max(time.time_ns(), int(newest) + 1):020d}-{secrets.token_hex(4)}"

    def _part(self, data: bytes) -> Path:
        """Write *data* to a temporary file, and flush it to the disk."""
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
        """Turn a temporary file into the version and the object; after a failure, into neither."""
        file = self._file(bucket, key)
        if not self._keeps_versions(bucket):
            self._rename(part, file)
            return
        version: Path | None = None
        try:
            copy = self._part(part.read_bytes())  # before anything is visible: the disk may be full
            with self._turn(bucket):
                version = self._history(bucket, key) / self._version_id(bucket, key)
                self._rename(copy, version)
                self._rename(part, file)
        except OSError:
            part.unlink(missing_ok=True)
            if version is not None:
                version.unlink(missing_ok=True)
            raise

    @staticmethod
    def _rename(part: Path, file: Path) -> None:
        """Rename a temporary file, and flush the folder to the disk."""
        try:
            private_folder(file.parent)
            part.replace(file)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        descriptor = os.open(file.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _unless_missing(error: OSError) -> None:
    """Ignore a missing folder in a listing; raise any other error."""
    if not isinstance(error, (FileNotFoundError, NotADirectoryError)):
        raise error
