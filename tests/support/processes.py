"""Processes, as a test sees them from outside."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


def eventually(fact: Callable[[], Any], within: float = 60, why: Callable[[], Any] = lambda: "it did not come to pass") -> Any:
    """Wait until *fact* is true and return it; else say *why* not."""
    deadline = time.monotonic() + within
    while not (result := fact()):
        assert time.monotonic() < deadline, why()
        time.sleep(0.05)
    return result


def alive(pid: int) -> bool:
    """Say whether a process runs; one that has ended and waits to be noticed does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
