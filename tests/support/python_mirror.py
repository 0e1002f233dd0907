"""A mirror of uv's builds of Python on loopback: a Python of this machine as an archive, and servers that misbehave."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import sys
import tarfile
import time
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from loopback_server import ServingHTTP

from cluster.project.pythons import pyenv_pythons

if TYPE_CHECKING:
    from pathlib import Path

LEFT_OUT = {"__pycache__", "ensurepip", "idlelib", "lib2to3", "site-packages", "test", "tests", "tkinter", "turtledemo"}


def old_python(oldest: int = 8) -> tuple[str, Path] | None:
    """Return a Python of pyenv that is older than ours, with its version; None if there is none."""
    for minor in range(sys.version_info[1] - 1, oldest - 1, -1):
        interpreter = pyenv_pythons().get(f"3.{minor}")
        if interpreter:
            return f"3.{minor}", interpreter
    return None


def archive(interpreter: Path, version: str) -> bytes:
    """Return an installation of Python in the form of uv's builds, without its tests and packages."""
    folder = interpreter.parents[1]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as packed:
        packed.add(folder / "bin" / f"python{version}", f"python/bin/python{version}")
        packed.add(folder / "lib" / f"python{version}", f"python/lib/python{version}", filter=_kept)
    return content.getvalue()


def _kept(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = member.name.split("/")
    return None if LEFT_OUT.intersection(parts) or any(part.startswith("config-") for part in parts) else member


class PythonMirror(ServingHTTP):
    """Serves uv's list of downloads, with one Python, and its archive."""

    def __init__(self, version: str, content: bytes) -> None:
        """Listen on a free port; *version* is one such as ``3.9``."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.version = version
        self.content = content
        self.status = 200
        self.promised = len(content)
        """The length that the answer promises."""
        self.delay = 0.0
        self.seconds = "2"
        """How long uv waits."""
        """Seconds before the archive."""
        self.list: bytes | None = None
        """What to send instead of the list."""
        self.digest: str | None = hashlib.sha256(content).hexdigest()
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        """The address of the list: uv's ``--python-downloads-json-url``."""
        return f"http://127.0.0.1:{self.server_address[1]}/list.json"

    @property
    def variables(self) -> dict[str, str]:
        """The variables with which uv uses this mirror, and does not wait for long."""
        return {"UV_PYTHON_DOWNLOADS_JSON_URL": self.url, "UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": self.seconds}

    def listing(self) -> bytes:
        """Return the list, with this machine's platform."""
        minor = int(self.version.partition(".")[2])
        libc = "none" if sys.platform == "darwin" else "gnu"
        system = "darwin" if sys.platform == "darwin" else "linux"
        machine = {"arm64": "aarch64", "AMD64": "x86_64"}.get(platform.machine(), platform.machine())
        entry: dict[str, Any] = {"name": "cpython", "arch": {"family": machine, "variant": None}, "os": system, "libc": libc}
        entry |= {"major": 3, "minor": minor, "patch": 99, "prerelease": "", "variant": None, "build": None}
        entry |= {"url": self.url.replace("list.json", "python.tar.gz"), "sha256": self.digest}
        return json.dumps({f"cpython-{self.version}.99-{system}-{machine}-{libc}": entry}).encode()


class _Handler(BaseHTTPRequestHandler):
    server: PythonMirror

    def do_GET(self) -> None:
        """Answer one request."""
        server = self.server
        server.asked.append(self.path)
        if self.path == "/list.json":
            body = server.listing() if server.list is None else server.list
            self._send(200, body, len(body))
        else:
            time.sleep(server.delay)
            self._send(server.status, server.content, server.promised)

    def _send(self, status: int, body: bytes, promised: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(promised))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
