"""A run that goes on until somebody ends it, and the processes of its connectors."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from scenarios import SCHEMA

if TYPE_CHECKING:
    from checkout import Checkout

SLOW = {"steps": [SCHEMA, ["records", "s", 3, 2], ["state", {"n": 5}], ["child"], ["pid"], ["sleep", 60]]}
"""A tap that starts another program, and then has all the time in the world."""


def pids(checkout: Checkout, run: str) -> list[int]:
    """Return the processes of the tap, its child and the target, as their logs tell."""
    folder = checkout.local / "logs" / "p" / run
    logs = [folder / "tap.log", folder / "target.log"]
    return [int(number) for log in logs if log.exists() for number in re.findall(r"^\d+$", log.read_text(), re.MULTILINE)]
