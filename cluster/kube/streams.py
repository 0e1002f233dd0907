"""Connections into pods over WebSockets: a port forward, and a command with streams.

Everything runs in one event loop: two threads must not read and write a TLS connection. A sender
waits for its receiver, so that memory use is bounded. Kubernetes' protocols are:

- ``v4.channel.k8s.io``, a port forward: channel 0 is data, 1 is errors. The first frame of each has
  the port.
- ``v5.channel.k8s.io``, exec: 0 is stdin, 1 stdout, 2 stderr, 3 the status; 255 ends a channel.
"""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import asynccontextmanager, suppress
from typing import IO, TYPE_CHECKING, Any, Self

import aiohttp

from cluster.errors import SetupError
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from types import TracebackType

    from cluster.kube.client import Dial, Kube

ERRORS, STDOUT, STDERR, STATUS = 1, 1, 2, 3
"""Channels: the first of a port forward, the others of a command."""
PIECE_BYTES = 1 << 16
CONNECT_SECONDS = 10
ERROR_BYTES = 1000
"""How many bytes of a command's complaints are kept."""


@asynccontextmanager
async def _open(dial: Dial, protocol: str) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS)
    async with (
        aiohttp.ClientSession(timeout=timeout) as session,
        session.ws_connect(
            dial.url,
            protocols=(protocol,),
            headers=dial.headers,
            ssl=dial.tls,
            server_hostname=dial.server_name,
            proxy=dial.proxy,
            max_msg_size=0,
        ) as socket,
    ):
        yield socket


def _refused(error: Exception, what: str) -> SetupError:
    return SetupError(
        "E-KUBE", f"{what}: {str(error) or type(error).__name__}.", hint=f"{command('status')} shows what runs; {command('up')} repairs it."
    )


# ------------------------------------------------------------------------------------------------------------ forward


class Forward:
    """A port of a program's pod on 127.0.0.1, for as long as a command lives. No daemon.

    Each connection looks for a ready pod anew, so that one that was restarted is found.
    """

    def __init__(self, kube: Kube, namespace: str, program: str, target: int, port: int = 0) -> None:
        """Listen on *port*, or on any that is free if that is taken."""
        self._find: Callable[[], Dial] = lambda: kube.dial(
            f"{kube.path('Pod', namespace, kube.ready_pod(program, namespace))}/portforward", [("ports", str(target))]
        )
        self.problem = ""
        """Why the last connection could not be carried; nothing where it could."""
        self._loop = asyncio.new_event_loop()
        self._connections: set[asyncio.Task[None]] = set()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            self._server = self._call(asyncio.start_server(self._carry, "127.0.0.1", port))
        except OSError:
            self._server = self._call(asyncio.start_server(self._carry, "127.0.0.1", 0))
        self.port: int = self._server.sockets[0].getsockname()[1]

    def __enter__(self) -> Self:
        """Listen until the body ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop listening, and end the connections that are open."""
        self.close()

    def close(self) -> None:
        """Stop listening, and end the connections that are open."""
        self._call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _end(self) -> None:
        self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)
        await self._loop.shutdown_default_executor()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            dial = await asyncio.to_thread(self._find)
            async with _open(dial, "v4.channel.k8s.io") as socket:
                up = asyncio.create_task(_up(reader, socket))
                try:
                    self.problem = await _down(socket, writer)
                finally:
                    up.cancel()
                    await asyncio.gather(up, return_exceptions=True)
        except SetupError as error:
            self.problem = error.problem
        except (aiohttp.ClientError, OSError) as error:
            self.problem = str(error)
        except asyncio.CancelledError:
            pass  # we end: nobody waits for this task
        finally:
            self._connections.discard(task)
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _up(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(aiohttp.ClientError, OSError):
        while data := await reader.read(PIECE_BYTES):
            await socket.send_bytes(b"\0" + data)
        await socket.close()


async def _down(socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> str:
    """Carry data from the pod. Return why it ended; empty after a regular end."""
    begun: set[int] = set()
    async for message in socket:
        if message.type != aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel not in begun:
            begun.add(channel)
            data = data[2:]
        if channel == ERRORS and data:
            return str(data.decode("utf-8", "replace")).strip()
        if data:
            writer.write(data)
            await writer.drain()
    return ""


# --------------------------------------------------------------------------------------------------------------- exec


def execute(
    kube: Kube, namespace: str, pod: str, container: str, command: Sequence[str], *, stdin: IO[bytes] | None = None, stdout: IO[bytes]
) -> None:
    """Run a command in a container, with streams of any length.

    It must read *stdin* to its end, or the server waits for it for ever.

    :raises SetupError: E-KUBE, the cluster refuses, the connection breaks, or the command ends with
        another exit code than 0.
    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in command)]
    query += [("stdin", "true")] if stdin else []
    dial = kube.dial(f"{kube.path('Pod', namespace, pod)}/exec", query)
    try:
        asyncio.run(_execute(dial, stdin, stdout))
    except (aiohttp.ClientError, ConnectionError, TimeoutError) as error:
        raise _refused(error, f"A command in {pod} failed") from None


async def _execute(dial: Dial, stdin: IO[bytes] | None, stdout: IO[bytes]) -> None:
    async with _open(dial, "v5.channel.k8s.io") as socket:
        sending = asyncio.create_task(_send(stdin, socket)) if stdin is not None else None
        try:
            await _receive(socket, stdout)
        finally:
            if sending:
                sending.cancel()
                await asyncio.gather(sending, return_exceptions=True)


async def _send(stdin: IO[bytes], socket: aiohttp.ClientWebSocketResponse) -> None:
    with suppress(aiohttp.ClientError, OSError):  # the command has ended early: its status tells
        while data := await asyncio.to_thread(stdin.read, PIECE_BYTES):
            await socket.send_bytes(b"\0" + data)
        await socket.send_bytes(b"\xff\0")


async def _receive(socket: aiohttp.ClientWebSocketResponse, stdout: IO[bytes]) -> None:
    """Receive until the status comes.

    :raises ConnectionError: it is not a success, or there was none.
    """
    errors = b""
    async for message in socket:
        if message.type != aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel == STDOUT:
            stdout.write(data)
        elif channel == STDERR:
            errors = (errors + data)[-ERROR_BYTES:]
        elif channel == STATUS:
            status = json.loads(data)
            if status.get("status") != "Success":
                raise ConnectionError(errors.decode("utf-8", "replace").strip() or status.get("message") or "it gave no reason")
            return
    raise ConnectionError("the connection broke")
