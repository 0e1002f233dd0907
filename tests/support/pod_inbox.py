"""A server on this machine that takes the messages of pods."""

from __future__ import annotations

import http.server
import json
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from platform_checkout import run

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield an address that pods reach, and what they sent to it."""
    got: list[dict[str, Any]] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    gateways = run("docker", "network", "inspect", "kind", "--format", "{{range .IPAM.Config}}{{.Gateway}} {{end}}").split()
    [address] = [word for word in gateways if ":" not in word]
    with http.server.ThreadingHTTPServer((address, 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://{address}:{server.server_port}/", got
        server.shutdown()
