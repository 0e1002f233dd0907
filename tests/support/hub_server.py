"""A small Meltano Hub on loopback, with invented connectors, which can misbehave."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
import zipfile
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from loopback_server import ServingHTTP

SECTIONS = ("extractors", "loaders", "mappers")


class HubServer(ServingHTTP):
    """Answers the requests that clients of Meltano Hub send, and serves packages."""

    def __init__(self) -> None:
        """Listen on a free port, with three empty indexes."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.documents: dict[str, Any] = {f"{section}/index": {} for section in SECTIONS}
        """By their path. A text or bytes are sent as they are."""
        self.packages: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.status = 200
        self.delay = 0.0
        """Seconds before each answer."""

    @property
    def url(self) -> str:
        """The setting ``hub_url``."""
        return f"http://127.0.0.1:{self.server_address[1]}"

    def add(self, name: str, variant: str = "example", section: str = "extractors", **definition: Any) -> None:
        """Add a variant; the first one of a name is its default."""
        entry = self.documents[f"{section}/index"].setdefault(name, {"default_variant": variant, "variants": {}})
        entry["variants"][variant] = {"ref": f"{self.url}/unused"}
        self.documents[f"{section}/{name}--{variant}"] = {"name": name, "variant": variant, **definition}

    def package(
        self,
        name: str,
        source: str,
        programs: str = "",
        *,
        python: str = "py3",
        needs: str = "",
        requires: str = "",
        version: str = "1",
        uploaded: str = "",
        code: str = "",
    ) -> str:
        """Serve a wheel with one module for a Python, and return its requirement."""
        module, info = name.replace("-", "_"), f"{name.replace('-', '_')}-{version}.dist-info"
        wheel_name = f"{module}-{version}-{python}-none-any.whl"
        dependency = f"Requires-Dist: {needs}\n" if needs else ""
        dependency += f"Requires-Python: {requires}\n" if requires else ""
        files = {
            f"{module}.py": source,
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\nSummary: An example\n{dependency}",
            f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: {python}-none-any\n",
            f"{info}/entry_points.txt": f"[console_scripts]\n{programs or name} = {module}:main\n",
        }
        files.update({f"{module}_code.so": code} if code else {})
        files[f"{info}/RECORD"] = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
        wheel = io.BytesIO()
        with zipfile.ZipFile(wheel, "w") as archive:
            for file, content in files.items():
                archive.writestr(file, content)
        self.packages[f"/{wheel_name}"] = wheel.getvalue()
        self._list(name, wheel_name, uploaded)
        return f"{name} @ {self.url}/{wheel_name}"

    def source(self, name: str) -> None:
        """Serve the sources of a package, which cannot be built."""
        file, content = f"{name}-1.tar.gz", io.BytesIO()
        with tarfile.open(fileobj=content, mode="w:gz") as archive:
            for path, text in {
                "PKG-INFO": f"Metadata-Version: 2.2\nName: {name}\nVersion: 1\n",
                "pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
                f'[project]\nname = "{name}"\nversion = "1"\n',
                "backend.py": "raise SystemExit('error: no compiler')\n",
            }.items():
                info = tarfile.TarInfo(f"{name}-1/{path}")
                info.size = len(text)
                archive.addfile(info, io.BytesIO(text.encode()))
        self.packages[f"/{file}"] = content.getvalue()
        self._list(name, file)

    @property
    def index(self) -> str:
        """A package index with the packages that are served."""
        return f"{self.url}/simple/"

    def _list(self, name: str, file: str, uploaded: str = "") -> None:
        digest = hashlib.sha256(self.packages[f"/{file}"]).hexdigest()
        listed = json.loads(self.packages.get(f"/simple/{name}/", '{"files": []}'))
        time = {"upload-time": uploaded} if uploaded else {}
        entry = {"filename": file, "url": f"{self.url}/{file}", "hashes": {"sha256": digest}, "requires-python": None, **time}
        page = {"meta": {"api-version": "1.1"}, "name": name, "files": [*listed["files"], entry]}
        self.packages[f"/simple/{name}/"] = json.dumps(page).encode()


class _Handler(BaseHTTPRequestHandler):
    server: HubServer

    def do_GET(self) -> None:
        """Answer one request."""
        server, path = self.server, self.path.partition("/meltano/api/v1/plugins/")[2]
        if self.path in server.packages:
            self._send(200, server.packages[self.path])
            return
        server.asked.append(path)
        time.sleep(server.delay)
        document = server.documents.get(path)
        body = document if isinstance(document, str | bytes) else json.dumps(document)
        self._send(server.status if document is not None else 404, body.encode() if isinstance(body, str) else body)

    def do_HEAD(self) -> None:
        """Answer what uv asks about a package."""
        self._send(200 if self.path in self.server.packages else 404, b"")

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status == HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", 'Basic realm="example"')
        if self.path.startswith("/simple/"):
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Print nothing."""
