"""Who holds a port of this machine, as far as that can be seen without being root."""

from __future__ import annotations

import re
import shutil
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.programs import run

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.runtime import Runtime

LISTENING = "0A"
"""The state in the kernel's tables."""


def holder(port: int, runtime: Runtime | None = None) -> str:
    """Return who listens on a port, such as ``"php-fpm" (pid 812)`` or ``the container "db"``; nothing where that cannot be seen.

    A container's port is held by a helper of the runtime, which tells nothing: so the runtime is asked first.
    """
    if runtime is not None:
        names = runtime.run("ps", "--filter", f"publish={port}", "--format", "{{.Names}}").stdout.split()
        if names:
            return f'the container "{names[0]}"'
    found = next(_processes(port), None) if sys.platform.startswith("linux") else _by_lsof(port)
    return f'"{found[1]}" (pid {found[0]})' if found else ""


def _processes(port: int, proc: Path = Path("/proc")) -> Iterator[tuple[int, str]]:
    """Yield the processes of ours to see that listen on a port: its sockets by the kernel's tables, their owners by open files."""
    sockets = set()
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in (proc / "net" / table).read_text(encoding="ascii").splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENING and int(words[1].rpartition(":")[2], 16) == port:
                    sockets.add(f"socket:[{words[9]}]")
    if not sockets:
        return
    for folder in proc.iterdir():
        if folder.name.isdecimal() and _has(folder / "fd", sockets):
            with suppress(OSError):
                yield int(folder.name), (folder / "comm").read_text(encoding="utf-8", errors="replace").strip()


def _has(folder: Path, sockets: set[str]) -> bool:
    try:
        return any(str(entry.readlink()) in sockets for entry in folder.iterdir())
    except OSError:  # another user's, or it has just ended
        return False


def _by_lsof(port: int) -> tuple[int, str] | None:
    if shutil.which("lsof") is None:
        return None
    found = re.findall(r"^p(\d+)\nc(.+)$", run(["lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"]).stdout, re.MULTILINE)
    return (int(found[0][0]), found[0][1]) if found else None
