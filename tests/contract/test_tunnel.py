"""Connections into pods: a port forward that carries what any program sends, and a command with streams.

The API server is a stand-in that speaks Kubernetes' WebSocket protocols and leads to real sockets and real processes;
``tests/cluster`` does the same against a real one.
"""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import os
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml
from aiohttp import WSMsgType, web

from cluster.errors import SetupError
from cluster.kube.client import Kube
from cluster.kube.streams import Forward, execute

if TYPE_CHECKING:
    from collections.abc import Iterator

MEGABYTE = 1 << 20
POD = {
    "metadata": {"name": "minio-7f"},
    "status": {"conditions": [{"type": "Ready", "status": "True"}]},
}


class ApiServer:
    """A stand-in for the API server: one pod, whose ports are those of this machine and whose commands run here."""

    def __init__(self) -> None:
        """Begin to listen."""
        self.pods = [POD]
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()
        self.port = asyncio.run_coroutine_threadsafe(self._start(), self.loop).result()

    async def _start(self) -> int:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/argo/pods", self._list)
        app.router.add_get("/api/v1/namespaces/argo/pods/minio-7f/portforward", self._forward)
        app.router.add_get("/api/v1/namespaces/argo/pods/minio-7f/exec", self._exec)
        self.runner = web.AppRunner(app, shutdown_timeout=1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", 0).start()
        return int(self.runner.addresses[0][1])

    def stop(self) -> None:
        """End, with all connections."""
        asyncio.run_coroutine_threadsafe(self.runner.cleanup(), self.loop).result()
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.loop.close()

    async def _list(self, _request: web.Request) -> web.Response:
        return web.json_response({"items": self.pods})

    async def _forward(self, request: web.Request) -> web.WebSocketResponse:
        port = int(request.query["ports"])
        answer = web.WebSocketResponse(protocols=("v4.channel.k8s.io",), max_msg_size=0)
        await answer.prepare(request)
        for channel in (b"\0", b"\1"):
            await answer.send_bytes(channel + port.to_bytes(2, "little"))
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            await answer.send_bytes(b"\1connection refused")
            await answer.close()
            return answer

        async def down() -> None:
            while data := await reader.read(1 << 16):
                await answer.send_bytes(b"\0" + data)
            await answer.close()

        task = asyncio.create_task(down())
        async for message in answer:
            if message.type == WSMsgType.BINARY:
                writer.write(message.data[1:])
                await writer.drain()
        task.cancel()
        writer.close()
        await asyncio.gather(task, writer.wait_closed(), return_exceptions=True)
        return answer

    async def _exec(self, request: web.Request) -> web.WebSocketResponse:
        answer = web.WebSocketResponse(protocols=("v5.channel.k8s.io",), max_msg_size=0)
        await answer.prepare(request)
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(*request.query.getall("command"), stdin=pipe, stdout=pipe, stderr=pipe)

        async def out(stream: asyncio.StreamReader | None, channel: bytes) -> None:
            while stream and (data := await stream.read(1 << 16)):
                await answer.send_bytes(channel + data)

        async def into() -> None:
            assert process.stdin
            async for message in answer:
                if message.data[:1] == b"\xff":
                    process.stdin.close()
                    return
                process.stdin.write(message.data[1:])
                await process.stdin.drain()

        feeding = asyncio.create_task(into())
        await asyncio.gather(out(process.stdout, b"\1"), out(process.stderr, b"\2"))
        code = await process.wait()
        feeding.cancel()
        status = {"status": "Success"} if code == 0 else {"status": "Failure", "message": f"command terminated with exit code {code}"}
        await answer.send_bytes(b"\3" + json.dumps(status).encode())
        await answer.close()
        return answer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    """Yield the stand-in."""
    started = ApiServer()
    yield started
    started.stop()


@pytest.fixture
def kube(server: ApiServer, tmp_path: Path) -> Kube:
    """Return the API as our own code uses it."""
    content = {
        "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{server.port}"}}],
        "users": [{"name": "c", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    return Kube(tmp_path / "kubeconfig", "c")


@pytest.fixture
def echo() -> Iterator[int]:
    """Yield the port of a server that sends back what it gets."""
    with socket.create_server(("127.0.0.1", 0), backlog=64) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listening.getsockname()[1]


def exchange(port: int, size: int) -> bool:
    """Send *size* random bytes, and say whether the same came back."""
    sent = os.urandom(size)
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        threading.Thread(target=connection.sendall, args=(sent,), daemon=True).start()
        came, left = hashlib.sha256(), size
        while left and (data := connection.recv(1 << 16)):
            came.update(data)
            left -= len(data)
    return came.digest() == hashlib.sha256(sent).digest()


def test_what_is_sent_comes_back_unharmed(kube: Kube, echo: int) -> None:
    """Megabytes in both directions at one time arrive as they were sent."""
    with Forward(kube, "argo", "minio", echo) as forward:
        assert exchange(forward.port, 30 * MEGABYTE)


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_only_this_machine_reaches_a_forwarded_port(kube: Kube, echo: int) -> None:
    """What is forwarded listens on 127.0.0.1 and on no other address."""
    with Forward(kube, "argo", "minio", echo) as forward:
        lines = [
            line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text(encoding="ascii").splitlines()[1:]
        ]
        addresses = {line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{forward.port:04X}")}
        assert addresses == {f"0100007F:{forward.port:04X}"}


def test_many_connections_at_once(kube: Kube, echo: int) -> None:
    """Connections do not wait for each other, and none gets another's bytes."""
    with Forward(kube, "argo", "minio", echo) as forward, ThreadPoolExecutor(20) as pool:
        assert all(pool.map(lambda _: exchange(forward.port, MEGABYTE), range(40)))


def test_it_listens_on_the_loopback_interface_alone(kube: Kube, echo: int) -> None:
    """The forwarded port cannot be reached by another machine."""
    with Forward(kube, "argo", "minio", echo) as forward:
        address = f"{forward.port:04X}"
        lines = Path("/proc/net/tcp").read_text().splitlines()
        listening = [line.split()[1] for line in lines if line.split()[1].endswith(address)]
    assert {entry.partition(":")[0] for entry in listening} <= {"0100007F"}


def test_a_port_that_is_taken(kube: Kube, echo: int) -> None:
    """Where the preferred port is taken another one is used; where it is free, that one."""
    with Forward(kube, "argo", "minio", echo, echo) as forward:
        assert forward.port != echo
        assert exchange(forward.port, 1000)


def test_nobody_listens_in_the_pod(kube: Kube) -> None:
    """A connection to a program that is not there ends without delay, and the reason is known."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        unused = free.getsockname()[1]
    with Forward(kube, "argo", "minio", unused) as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as connection:
            assert connection.recv(1) == b""
        assert "refused" in forward.problem


def test_a_pod_that_comes_back(kube: Kube, server: ApiServer, echo: int) -> None:
    """While no pod is ready a connection ends without delay; when one is, the next connection finds it."""
    server.pods = []
    with Forward(kube, "argo", "minio", echo) as forward:
        with socket.create_connection(("127.0.0.1", forward.port), timeout=60) as connection:
            assert connection.recv(1) == b""
        assert "No pod of minio is ready" in forward.problem
        server.pods = [POD]
        assert exchange(forward.port, 1000)


def test_closing_ends_open_connections(kube: Kube, echo: int) -> None:
    """When the command ends, its port is free again and open connections end with it."""
    with Forward(kube, "argo", "minio", echo) as forward:
        connection = socket.create_connection(("127.0.0.1", forward.port), timeout=60)
        connection.sendall(b"x")
        assert connection.recv(1) == b"x"
        port = forward.port
    assert connection.recv(1) == b""
    connection.close()
    with pytest.raises(OSError, match="refused"):
        socket.create_connection(("127.0.0.1", port), timeout=1)


def test_a_command_with_streams(kube: Kube) -> None:
    """What goes into a command's standard input comes out of its standard output, whole, and its end is noticed."""
    sent = os.urandom(20 * MEGABYTE)
    out = io.BytesIO()
    execute(kube, "argo", "minio-7f", "data", ["cat"], stdin=io.BytesIO(sent), stdout=out)
    assert out.getvalue() == sent


def test_a_command_that_fails(kube: Kube) -> None:
    """When the command fails the user reads its own words; when it has none, its exit code."""
    for command, words in ((["sh", "-c", "echo no such folder >&2; exit 3"], "no such folder"), (["false"], "exit code 1")):
        with pytest.raises(SetupError, match=words) as caught:
            execute(kube, "argo", "minio-7f", "data", command, stdout=io.BytesIO())
        assert caught.value.code == "E-KUBE"


def test_a_pod_that_is_not_there(kube: Kube) -> None:
    """A command in a pod that is gone is a sentence, not a traceback."""
    with pytest.raises(SetupError, match="404") as caught:
        execute(kube, "argo", "gone", "data", ["true"], stdout=io.BytesIO())
    assert caught.value.code == "E-KUBE"
