"""Servers of a test's own, on loopback, that serve in the background for as long as the body of their ``with`` runs."""

from __future__ import annotations

import threading
from http.server import ThreadingHTTPServer
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from types import TracebackType


class Serving(ThreadingTCPServer):
    """A server of connections."""

    daemon_threads = True
    request_queue_size = 128
    """With the default of 5, many clients of a busy machine wait a second for their connection."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that are killed, or trust nobody, hang up in the middle of a sentence."""

    def __enter__(self) -> Self:
        """Serve until the body ends."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening."""
        self.shutdown()
        self.server_close()


class ServingHTTP(Serving, ThreadingHTTPServer):
    """A server of HTTP."""
