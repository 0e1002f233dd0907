"""What an engine is asked to run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.project.backfill import Backfill
    from cluster.project.model import Pipeline
    from cluster.project.venvs import Environment


@dataclass(frozen=True)
class Job:
    """Everything a run needs, looked up and checked before it begins."""

    pipeline: Pipeline
    tap: Environment
    target: Environment
    secrets: Mapping[str, Mapping[str, str]]
    """For ``tap`` and ``target``: what each config asks for. A transform has the target's."""
    full: bool
    """Start over: the tap gets no state."""
    keep_raw: bool
    """Keep what the tap printed."""
    backfill: Backfill | None = None
    config: Mapping[str, Any] | None = None
    """The tap's config where it is not the pipeline's file: that of a backfill."""
    transform: Environment | None = None
