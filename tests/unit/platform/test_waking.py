"""What is shown while programs start, and their ports answer nothing yet or close the connection."""

from __future__ import annotations

import socket
import struct
import threading
from typing import TYPE_CHECKING

import pytest

from cluster.platform.steps.storage import silent

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def resetting() -> Iterator[int]:
    """Return the port of a program that resets every connection, as a published port does before its program listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                connection.recv(1)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                connection.close()

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


def test_a_connection_that_is_reset_is_a_clause(resetting: int) -> None:
    """While the platform wakes, no exception of Python is part of what people read."""
    url = f"http://127.0.0.1:{resetting}"
    assert silent(url) == f"{url} does not answer yet: the connection is closed"


def test_a_port_where_nobody_listens_is_a_clause() -> None:
    """The reason is in our words, not in the library's."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
    assert silent(url) == f"{url} does not answer yet: the connection is refused"
