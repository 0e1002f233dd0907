"""What tests store into: a real MinIO, the same buckets in it and in folders, and a real Postgres."""

from __future__ import annotations

import http.client
import os
import secrets
import shutil
import subprocess
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pytest
import real_postgres as database
from free_ports import row
from go_servers import MINIO

from cluster.config.settings import Settings
from cluster.runs.history import History
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real_postgres import Postgres

    from cluster.store import Store

START_SECONDS = 60
STARTS = 3


def free_ports(count: int) -> list[int]:
    """Return ports that nobody listens on. The system gives them to nobody else while a server is restarted."""
    first = row(count)
    return list(range(first, first + count))


@dataclass
class Minio:
    """A MinIO server of this test session. Tests may kill it; who asks for the next ``minio`` gets it running again."""

    binary: Path
    folder: Path
    access_key: str
    secret_key: str
    port: int = 0
    console_port: int = 0
    region: str = ""
    process: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        """Where it answers as S3 does."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def console(self) -> str:
        """Where it answers with web pages."""
        return f"http://127.0.0.1:{self.console_port}"

    @property
    def data(self) -> Path:
        """What it writes into."""
        return self.folder / "data"

    @property
    def log(self) -> Path:
        """The file of its log."""
        return self.folder / "minio.log"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start it and wait until it answers. Its first start chooses the ports, later ones keep them."""
        first = self.process is None
        for _ in range(STARTS):
            if first:
                self.port, self.console_port = free_ports(2)
            self._launch()
            if self._answers():
                return
            self.stop()
        pytest.fail(f"MinIO does not start. {self.log} ends:\n{self.log.read_text(encoding='utf-8', errors='replace')[-4000:]}")

    def _launch(self) -> None:
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [
                    str(self.binary),
                    "server",
                    str(self.data),
                    f"--address=127.0.0.1:{self.port}",
                    f"--console-address=127.0.0.1:{self.console_port}",
                    f"--certs-dir={self.folder / 'certs'}",
                ],
                env={
                    **{name: value for name, value in os.environ.items() if not name.startswith("MINIO_")},
                    "MINIO_ROOT_USER": self.access_key,
                    "MINIO_ROOT_PASSWORD": self.secret_key,
                    "MINIO_UPDATE": "off",
                    **({"MINIO_SITE_REGION": self.region} if self.region else {}),
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def _answers(self) -> bool:
        """Wait until it reports that it is ready; return False when it has ended or takes too long."""
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            with suppress(OSError, http.client.HTTPException):
                connection.request("GET", "/minio/health/cluster")
                if connection.getresponse().status == http.client.OK:
                    connection.close()
                    return self.running
            connection.close()
            time.sleep(0.05)
        return False

    def kill(self) -> None:
        """Kill it, as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """Ask it to end, and kill it if it does not."""
        if self.process is not None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def restart(self) -> None:
        """Start it again where it was, with what it had stored."""
        self.stop()
        self.start()

    def environ(self) -> dict[str, str]:
        """Return what a user sets to use it: the settings and the credentials."""
        return {
            "INVOKE_SINGER_LOCAL_STORE": "s3",
            "INVOKE_SINGER_S3_ENDPOINT": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }


@pytest.fixture(scope="session")
def minio_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    """Start one MinIO for the session. Each process of pytest has its own, because tests kill it."""
    server = Minio(MINIO.program(), tmp_path_factory.mktemp("minio"), secrets.token_hex(8), secrets.token_hex(20))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def minio(minio_server: Minio) -> Minio:
    """Return the session's MinIO, running again if a test has stopped it."""
    if not minio_server.running:
        minio_server.restart()
    return minio_server


@dataclass
class Buckets:
    """A store with its three buckets, as the settings choose it; only this test uses them."""

    settings: Settings
    environ: dict[str, str]

    def open(self) -> Store:
        """Return a separate handle, as another process would have."""
        return open_store(self.settings, self.environ)

    @cached_property
    def store(self) -> Store:
        """The handle that the test uses."""
        return self.open()

    @property
    def history(self) -> History:
        """What is remembered of pipelines."""
        return History(self.store, self.settings)

    @property
    def versioned(self) -> str:
        """The bucket that keeps every version."""
        return self.settings.bucket_configs

    @property
    def plain(self) -> str:
        """A bucket that does not."""
        return self.settings.bucket_artifacts

    def variables(self) -> dict[str, str]:
        """Return the settings as a process gets them, with the credentials."""
        texts = {
            name: str(value).lower() if isinstance(value, bool) else str(value)
            for name, value in asdict(self.settings).items()
            if name not in {"root", "tool"}
        }
        return {**{f"INVOKE_SINGER_{name.upper()}": text for name, text in texts.items()}, **self.environ}


def bucket_names() -> dict[str, Any]:
    """Return names of buckets that nobody else uses, as settings."""
    suffix = secrets.token_hex(4)
    return {f"bucket_{name}": f"{name}-{suffix}" for name in ("configs", "artifacts", "outputs")}


def s3_buckets(minio: Minio, root: Path) -> Buckets:
    """Return a place in MinIO."""
    settings = Settings(root=root, local_store="s3", s3_endpoint=minio.endpoint, **bucket_names())
    return Buckets(settings, {"AWS_ACCESS_KEY_ID": minio.access_key, "AWS_SECRET_ACCESS_KEY": minio.secret_key})


@pytest.fixture(params=["folder", "s3"])
def buckets(request: pytest.FixtureRequest, tmp_path: Path) -> Buckets:
    """Return a place in each kind of store."""
    root = tmp_path / "root"
    if request.param == "s3":
        return s3_buckets(request.getfixturevalue("minio"), root)
    return Buckets(Settings(root=root, **bucket_names()), {})


@pytest.fixture
def s3(minio: Minio, tmp_path: Path) -> Buckets:
    """Return a place in MinIO."""
    return s3_buckets(minio, tmp_path / "root")


@pytest.fixture
def folders(tmp_path: Path) -> Buckets:
    """Return a place in folders."""
    return Buckets(Settings(root=tmp_path / "root", **bucket_names()), {})


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[Postgres]:
    """Start one Postgres for the session. Without a server on the machine its tests are skipped; in CI they fail."""
    if not all(map(database.program, database.PROGRAMS)):
        reason = "There is no Postgres server on this machine: apt-get install postgresql, or put initdb, postgres and psql on PATH."
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
    server = database.new(free_ports(1)[0])
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(server.folder)


@pytest.fixture
def postgres(postgres_server: Postgres) -> Postgres:
    """Return the session's Postgres, running again if a test has stopped it."""
    if not postgres_server.running:
        postgres_server.start()
    return postgres_server
