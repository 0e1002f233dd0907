"""What a command receives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cluster.progress import Output
    from cluster.settings import Settings


@dataclass(frozen=True)
class Session:
    """What the user chose, where facts go, and the environment the tool was started in."""

    settings: Settings
    output: Output
    environ: dict[str, str]
