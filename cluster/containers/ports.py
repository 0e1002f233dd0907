"""Who holds a port of this machine, as far as that can be seen without being root."""

from __future__ import annotations

import pwd
import re
import shutil
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.subprocesses import run

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from cluster.containers.runtime import Runtime


LISTENING = "0A"
"""The state in the kernel's tables."""
SIGNS = ("port is already allocated", "address already in use", "ports are not available")
"""What the runtimes print when they cannot publish a port."""
NAMED = re.compile(r"(?:bind for|host port|port tcp|listen tcp[46]?) \S*?:(\d+)\b", re.IGNORECASE)
"""Where they name it, if they do."""


def holder(port: int, runtime: Runtime | None = None) -> str:
    """Return who listens on a port, such as ``"php-fpm" (pid 812)`` or ``the container "db"``.

    A container's port is held by a helper of the runtime, which tells nothing: so the runtime is
    asked first.
    """
    container = runtime.publisher(port) if runtime is not None else ""
    if container:
        return f'the container "{container}"'
    if not sys.platform.startswith("linux"):
        return read_lsof(_lsof(port))
    sockets = dict(_sockets(port))
    process = next(_processes(sockets), None) if sockets else None
    if process:
        return f'"{process[1]}" (pid {process[0]})'
    return f'a program of the user "{_user(next(iter(sockets.values())))}"' if sockets else ""


def conflict(text: str, ports: Collection[int], runtime: Runtime) -> SetupError | None:
    """Return the error if the runtime's output reports that a port is taken.

    *ports* are those that the container publishes. Not every runtime names the one.
    """
    if not any(sign in text.lower() for sign in SIGNS):
        return None
    named = NAMED.search(text)
    port = int(named[1]) if named else next((number for number in ports if not free(number)), 0)
    who = holder(port, runtime)
    return SetupError(
        "E-PORT",
        f"Port {port or 'of the cluster'}, which the cluster needs, was taken while it was stopped{f', by {who}' if who else ''}.",
        hint="End that program, then run it again: a cluster's ports are fixed when it is made.",
    )


def _sockets(port: int, proc: Path = Path("/proc")) -> Iterator[tuple[str, int]]:
    """Yield the sockets that listen on a port, with their users, from the kernel's tables."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    yield f"socket:[{words[9]}]", int(words[7])


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)


def _processes(sockets: Collection[str], proc: Path = Path("/proc")) -> Iterator[tuple[int, str]]:
    """Yield the processes with one of these sockets open, if we may see their open files."""
    for folder in proc.iterdir():
        if folder.name.isdecimal() and _has(folder / "fd", sockets):
            with suppress(OSError):
                yield int(folder.name), (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()


def _has(folder: Path, sockets: Collection[str]) -> bool:
    try:
        return any(str(entry.readlink()) in sockets for entry in folder.iterdir())
    except OSError:  # another user's, or it has just ended
        return False


def _lsof(port: int) -> str:
    return run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]).stdout if shutil.which("lsof") else ""


def read_lsof(text: str) -> str:
    """Return the first program in the output of ``lsof -F``: lines of a letter and its value."""
    process = re.search(r"^p(\d+)\nc(.+)$", text, re.MULTILINE)
    return f'"{process[2]}" (pid {process[1]})' if process else ""


def free(port: int) -> bool:
    """Return whether a port of 127.0.0.1 is free, on this address and on all addresses."""
    for address in ("127.0.0.1", "0.0.0.0"):  # noqa: S104 - bound only for a moment
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                tried.bind((address, port))
            except OSError:
                return False
    return True
