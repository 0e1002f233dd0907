"""A company's proxy: it looks into what passes, with certificates of a test's authority, and may ask for a password.

Test equipment. It listens at a chosen address, sends everything on to where it was meant for, and remembers what it saw.
"""

from __future__ import annotations

import base64
import socket
import ssl
import threading
from contextlib import suppress
from functools import cache
from socketserver import StreamRequestHandler
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trustme
from loopback_server import Serving

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 30
PIECE_BYTES = 1 << 16


class Proxy(Serving):
    """An intercepting proxy, for as long as the body of its ``with`` runs."""

    allow_reuse_address = True

    def __init__(self, folder: Path, *, address: str = "127.0.0.1", login: str = "") -> None:
        """Listen on a free port; *login* is the ``user:password`` that it asks for."""
        super().__init__((address, 0), _Handler)
        self.wanted = "Basic " + base64.b64encode(login.encode()).decode() if login else ""
        self.address = f"http://{address}:{self.server_address[1]}"
        self.seen: list[str] = []
        """The first request of each connection: its method and its whole address."""
        self.refused: list[str] = []
        self._authority = trustme.CA(organization_name="An example company")
        self.ca = folder / "company-ca.pem"
        self._authority.cert_pem.write_to_path(str(self.ca))
        self.certificate = cache(self._certificate)

    def _certificate(self, host: str) -> ssl.SSLContext:
        """Return what is shown to who asks for *host*: a certificate of our own."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(host).configure_cert(context)
        return context

    def hosts(self) -> set[str]:
        """Return whom anybody has asked through it."""
        return {str(urlsplit(line.split()[1]).hostname) for line in self.seen}


class _Handler(StreamRequestHandler):
    server: Proxy
    timeout = SECONDS

    def handle(self) -> None:
        """Take one connection: a request to be sent on, or CONNECT and then what is inside."""
        method, target, headers = self._head()
        if self.server.wanted and headers.get("proxy-authorization") != self.server.wanted:
            self.server.refused.append(f"{method} {target}")
            answer = 'HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm="company"\r\n'
            self.wfile.write(f"{answer}Content-Length: 0\r\nConnection: close\r\n\r\n".encode())
            return
        if method == "CONNECT":
            self._look_into(target)
            return
        url = urlsplit(target)
        self.server.seen.append(f"{method} {target}")
        with socket.create_connection((str(url.hostname), url.port or 80), SECONDS) as there:
            path = (url.path or "/") + (f"?{url.query}" if url.query else "")
            kept = "".join(f"{name}: {value}\r\n" for name, value in headers.items() if not name.startswith(("proxy-", "connection")))
            there.sendall(f"{method} {path} HTTP/1.1\r\n{kept}connection: close\r\n\r\n".encode())
            join(self.connection, there)

    def _head(self) -> tuple[str, str, dict[str, str]]:
        method, target, *_ = self.rfile.readline().decode().split()
        headers = {}
        while line := self.rfile.readline().decode().strip():
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        return method, target, headers

    def _look_into(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with self.server.certificate(host).wrap_socket(self.connection, server_side=True) as here:
            first = here.recv(PIECE_BYTES)
            method, path, *_ = first.split(b"\r\n", 1)[0].decode().split()
            self.server.seen.append(f"{method} https://{host}{path}")
            try:
                plain = socket.create_connection((host, int(port)), SECONDS)
            except OSError:
                here.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                return
            with plain, ssl.create_default_context().wrap_socket(plain, server_hostname=host) as there:
                there.sendall(first)
                join(here, there)


def join(here: socket.socket, there: socket.socket) -> None:
    """Carry both directions until one side ends."""

    def carry(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while piece := source.recv(PIECE_BYTES):
                sink.sendall(piece)
        for side in (source, sink):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    back = threading.Thread(target=carry, args=(there, here), daemon=True)
    back.start()
    carry(here, there)
    back.join(SECONDS)
