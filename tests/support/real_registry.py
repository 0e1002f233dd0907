"""A real registry of images on loopback.

It is `distribution`, the one that Docker's own image ``registry`` holds.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import re
import secrets
import socket
import ssl
import subprocess
import time
from contextlib import suppress
from dataclasses import dataclass
from socketserver import BaseRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from company_proxy import join
from fake_docker import INDEX, MANIFEST, Answer, put, send
from go_servers import REGISTRY
from loopback_server import Serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    import trustme

START_SECONDS = 60


@dataclass
class Distribution:
    """A registry of one test or of the session."""

    binary: Path
    folder: Path
    address: str = "127.0.0.1"
    port: int = 0
    login: bool = False
    """Whether it asks for one: then it has one user, whose password it makes up."""
    authority: trustme.CA | None = None
    """Who signs its certificate; without one it speaks without TLS."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """What stands before its images' names."""
        return f"{self.address}:{self.port}"

    @property
    def log(self) -> Path:
        """The file of its log."""
        return self.folder / "registry.log"

    @property
    def user(self) -> tuple[str, str]:
        """The user and the password, as its log tells once."""
        log = self.log.read_text(encoding="utf-8")
        return re.findall(r" user=(\S+)", log)[-1], re.findall(r" password=(\S+)", log)[-1]

    @property
    def auth(self) -> str:
        """User and password as Docker's files hold them."""
        return base64.b64encode(":".join(self.user).encode()).decode()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        from real_stores import free_ports  # noqa: PLC0415 - the stand-in needs no store

        self.folder.mkdir(exist_ok=True)
        self.port = self.port or free_ports(1)[0]
        config: dict[str, Any] = {
            "version": 0.1,
            "log": {"accesslog": {"disabled": True}},
            "storage": {"filesystem": {"rootdirectory": str(self.folder / "data")}, "delete": {"enabled": True}},
            "http": {"addr": self.host, "secret": secrets.token_hex(16)},
        }
        if self.login:
            config["auth"] = {"htpasswd": {"realm": "tests", "path": str(self.folder / "htpasswd")}}
        if self.authority:
            issued = self.authority.issue_cert(self.address)
            issued.private_key_pem.write_to_path(str(self.folder / "key.pem"))
            issued.cert_chain_pems[0].write_to_path(str(self.folder / "cert.pem"))
            config["http"]["tls"] = {"certificate": str(self.folder / "cert.pem"), "key": str(self.folder / "key.pem")}
        file = self.folder / "config.yml"
        file.write_text(yaml.safe_dump(config))
        environ = {**os.environ, "OTEL_TRACES_EXPORTER": "none", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen([str(self.binary), "serve", str(file)], env=environ, stdout=log, stderr=log)
        deadline = time.monotonic() + START_SECONDS
        while self.process.poll() is None and time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection((self.address, self.port), 2):
                return
            time.sleep(0.05)
        pytest.fail(f"The registry does not start: {self.log.read_text(encoding='utf-8')[-2000:]}")

    def stop(self) -> None:
        """Ask it to end."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(10)

    def request(self, method: str, path: str, body: bytes = b"", kind: str = "application/octet-stream") -> Answer:
        """Ask it for something as its user."""
        headers = {
            "Content-Type": kind,
            "Accept": f"{MANIFEST}, {INDEX}",
            **({"Authorization": f"Basic {self.auth}"} if self.login else {}),
        }
        context = None
        if self.authority:
            context = ssl.create_default_context()
            self.authority.configure_trust(context)
        return send(self.host, method, path, body, headers, trusting=context)

    def put(self, image: str, platforms: Mapping[str, Mapping[str, str]]) -> None:
        """Put an image there that has these labels for each platform: ``put("data/x:1", {"linux/amd64": {}})``."""
        put(image, platforms, self.request)

    def delete(self, image: str) -> None:
        """Delete an image there, as a rule for old ones would."""
        name, _, tag = image.rpartition(":")
        digest = self.request("GET", f"/v2/{name}/manifests/{tag}").headers["Docker-Content-Digest"]
        assert self.request("DELETE", f"/v2/{name}/manifests/{digest}").status == http.client.ACCEPTED

    def tags(self, name: str) -> list[str]:
        """Return the tags that a repository has."""
        return list(json.loads(self.request("GET", f"/v2/{name}/tags/list").body).get("tags") or [])


class Relay(Serving):
    """Carries what comes to an address on to another one, for as long as the body of its ``with`` runs."""

    def __init__(self, address: tuple[str, int], there: str) -> None:
        """Listen at an address, port 0 for a free one; *there* is ``host:port``."""
        host, _, port = there.partition(":")
        self.there = host, int(port)
        super().__init__(address, _Carrier)


class _Carrier(BaseRequestHandler):
    server: Relay

    def handle(self) -> None:
        with socket.create_connection(self.server.there) as there:
            join(self.request, there)


def outward() -> str:
    """Return an address of this machine that is not its loopback's; without one the test is skipped."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.connect(("192.0.2.1", 9))  # an address of nobody's; nothing is sent
        except OSError:
            pytest.skip("this machine has no other address than its loopback's")
        return str(tried.getsockname()[0])


@pytest.fixture
def registries(tmp_path: Path) -> Iterator[Callable[..., Distribution]]:
    """Return a function that starts registries; they end with the test."""
    started: list[Distribution] = []

    def start(**how: Any) -> Distribution:
        started.append(Distribution(REGISTRY.program(), tmp_path / f"registry-{len(started)}", **how))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        server.stop()
