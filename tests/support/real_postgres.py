"""A real Postgres for tests: a server of the test session's own in a temporary folder, on one address alone."""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

START_SECONDS = 60
PROGRAMS = ("initdb", "postgres", "psql")
PLACES = "/usr/lib/postgresql/*/bin"
"""Where Debian and Ubuntu have the server's programs: not on PATH, the newest version last."""


def program(name: str) -> str | None:
    """Return where one of Postgres' programs is, None where it is not on this machine."""
    debian = sorted(Path("/").glob(f"{PLACES[1:]}/{name}"), key=lambda file: int(file.parts[-3]) if file.parts[-3].isdigit() else 0)
    return shutil.which(name) or (str(debian[-1]) if debian else None)


@dataclass
class Postgres:
    """A server. Tests may stop or kill it; who asks for the next ``postgres`` gets it running again."""

    folder: Path
    port: int
    password: str
    """Of the superuser ``postgres``."""
    host: str = "127.0.0.1"
    """Where it listens, and nowhere else."""
    process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file of its log."""
        return self.folder / "postgres.log"

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self.process is not None and self.process.poll() is None

    def create(self) -> None:
        """Make the folder with its data: UTF-8, and every connection with a password."""
        file = self.folder / "password"
        file.touch(mode=0o600)
        file.write_text(self.password, encoding="utf-8")
        if _other_user():
            for path in (self.folder, file):
                shutil.chown(path, *_other_user().values())
        self._run("initdb", "--pgdata", str(self.folder / "data"), "--username=postgres", f"--pwfile={file}", "--auth=scram-sha-256",
                  "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions")  # fmt: skip
        file.unlink()
        with (self.folder / "data" / "pg_hba.conf").open("a", encoding="utf-8") as rules:
            rules.write("host all all all scram-sha-256\n")

    def start(self) -> None:
        """Start it and wait until it answers.

        :raises RuntimeError: it does not; the text is the end of its log.
        """
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [str(program("postgres")), "-D", str(self.folder / "data"), "-p", str(self.port), "-h", self.host,
                 "-c", "unix_socket_directories=", "-c", "fsync=off", "-c", "max_connections=30", "-c", "log_statement=ddl"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.folder, **_other_user(),
            )  # fmt: skip
        deadline = time.monotonic() + START_SECONDS
        while self.running and time.monotonic() < deadline:
            with suppress(subprocess.CalledProcessError):
                self.sql("SELECT 1")
                return
            time.sleep(0.05)
        self.stop()
        raise RuntimeError(self.log.read_text(encoding="utf-8", errors="replace")[-2000:])

    def stop(self, how: signal.Signals = signal.SIGINT) -> None:
        """End it with every connection cut, in order, unless *how* is another signal."""
        if self.running:
            assert self.process is not None
            self.process.send_signal(how)
            self.process.wait(START_SECONDS)

    def sql(self, text: str, database: str = "postgres", user: str = "postgres", password: str = "") -> list[tuple[str, ...]]:
        """Run statements and return the rows of the last one, each value as text.

        :raises CalledProcessError: the server does not answer or refuses.
        """
        words = ["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--field-separator=\x1f", "--set=ON_ERROR_STOP=1"]
        out = subprocess.run(
            [str(program("psql")), *words, f"--host={self.host}", f"--port={self.port}", f"--username={user}", database],
            env={**os.environ, "PGPASSWORD": password or self.password, "PGCONNECT_TIMEOUT": "5"},
            input=text, capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        return [tuple(line.split("\x1f")) for line in out.splitlines()]

    def _run(self, name: str, *words: str) -> None:
        done = subprocess.run([str(program(name)), *words], capture_output=True, text=True, check=False, cwd=self.folder, **_other_user())
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)


def _other_user() -> Mapping[str, Any]:
    """Return who shall run the server where we are root, whom it refuses; nothing where we are not."""
    if os.geteuid() != 0:
        return {}
    names = {entry.pw_name: entry for entry in pwd.getpwall()}
    entry = names.get("postgres") or names["nobody"]
    return {"user": entry.pw_uid, "group": entry.pw_gid}


def folder() -> Path:
    """Return a new folder that another user may enter: pytest's own are for us alone."""
    made = Path(tempfile.mkdtemp(prefix="singer-postgres-"))
    made.chmod(0o711)
    return made


def new(port: int, host: str = "127.0.0.1") -> Postgres:
    """Return a server that has its data and is not started yet."""
    server = Postgres(folder(), port, secrets.token_hex(8), host)
    server.create()
    return server
