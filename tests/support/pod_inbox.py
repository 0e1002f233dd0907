"""A server on this machine that takes messages about runs: on loopback, or where pods reach it."""

from __future__ import annotations

import json
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from loopback_server import ServingHTTP
from platform_checkout import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def taking_messages(address: str, path: str = "/", status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL of a server that answers with *status*, and what was sent to it."""
    got: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ServingHTTP((address, 0), Handler) as server:
        yield f"http://{address}:{server.server_port}{path}", got


@contextmanager
def inbox(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the URL of such a server that pods reach, and what they sent to it."""
    gateways = run("docker", "network", "inspect", "kind", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}").split()
    [address] = [word for word in gateways if ":" not in word]
    with taking_messages(address, status=status) as taken:
        yield taken
