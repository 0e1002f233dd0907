"""A way to the store on which something goes wrong: at the n-th request, once or from there on.

Test equipment. It stands before a real server, sends every request on as it came, and breaks the one that a test chooses.
"""

from __future__ import annotations

import http.client
import os
import signal
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING

from loopback_server import ServingHTTP
from processes import eventually

if TYPE_CHECKING:
    from fault_pipeline import Command

WAYS = ["500", "503", "half", "nothing", "reset", "lost", "slow", "killed before", "killed after"]
"""A server's errors; half of an answer; the connection ended, or reset, and the request not done. The request done and the
answer lost; late; the command killed before the request is done, or after it and before the answer."""
SLOW_SECONDS = 0.2
SECONDS = 30


@dataclass
class Trouble:
    """What goes wrong, and when."""

    kind: str = ""
    at: int = 0
    """The number of the request, from 1 on."""
    for_good: bool = False


class BrokenStore(ServingHTTP):
    """The way to the server at *port*, for as long as the body of its ``with`` runs."""

    def __init__(self, port: int) -> None:
        """Listen on a free port."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.port = port
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        self.trouble = Trouble()
        self.seen: list[str] = []
        """The requests since the last trouble was set."""
        self.victim: Command | None = None
        self._lock = threading.Lock()

    def set(self, kind: str = "", at: int = 0, *, for_good: bool = False) -> None:
        """Let this be what goes wrong from now on."""
        with self._lock:
            self.trouble, self.seen, self.victim = Trouble(kind, at, for_good), [], None

    def next(self, line: str) -> str:
        """Take a request into account, and return how it goes wrong, or nothing."""
        with self._lock:
            self.seen.append(line)
            count = len(self.seen)
            struck = count == self.trouble.at or (self.trouble.for_good and count > self.trouble.at > 0)
            return self.trouble.kind if struck else ""

    def kill(self) -> None:
        """Kill the command whose requests these are."""
        victim = eventually(lambda: self.victim, SECONDS)
        with suppress(ProcessLookupError):
            os.kill(victim.pid, signal.SIGKILL)


class _Handler(BaseHTTPRequestHandler):
    server: BrokenStore
    protocol_version = "HTTP/1.1"
    timeout = SECONDS

    def _any(self) -> None:
        kind = self.server.next(f"{self.command} {self.path}")
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if kind in {"500", "503"}:
            self.wfile.write(f"HTTP/1.1 {kind} Trouble\r\nContent-Length: 0\r\n\r\n".encode())
            return
        if kind == "slow":
            time.sleep(SLOW_SECONDS)
        if kind == "killed before":
            self.server.kill()
        if kind in {"nothing", "reset", "killed before"}:
            self._hang_up(reset=kind == "reset")
            return
        there = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=SECONDS)
        try:
            there.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                there.putheader(name, value)
            there.endheaders(body)
            answer = there.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):  # the server itself is gone
            self._hang_up()
            return
        finally:
            there.close()
        if kind == "killed after":
            self.server.kill()
        if kind in {"lost", "killed after"}:
            self._hang_up()
            return
        size = answer.getheader("Content-Length") if self.command == "HEAD" else str(len(data))
        kept = [
            (name, value)
            for name, value in answer.getheaders()
            if name.lower() not in {"content-length", "connection", "transfer-encoding"}
        ]
        head = "".join(f"{name}: {value}\r\n" for name, value in [*kept, ("Content-Length", size or "0")])
        text = f"HTTP/1.1 {answer.status} {answer.reason}\r\n{head}\r\n".encode("latin-1") + data
        self.wfile.write(text[: len(text) // 2] if kind == "half" else text)
        if kind == "half":
            self._hang_up()

    do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _any  # noqa: N815 - the names of http.server

    def _hang_up(self, *, reset: bool = False) -> None:
        if reset:
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        with suppress(OSError):
            if not reset:
                self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 - the name of http.server
        """Say nothing."""
