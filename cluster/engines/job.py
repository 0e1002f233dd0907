"""The input of an engine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.project.backfill import Backfill
    from cluster.project.model import Pipeline
    from cluster.project.parts import Plan
    from cluster.project.venvs import Environment


@dataclass(frozen=True)
class Job:
    """Everything a run needs, looked up and checked before it begins."""

    pipeline: Pipeline
    tap: Environment
    target: Environment
    secrets: Callable[[], Mapping[str, Mapping[str, str]]]
    """Reads the secrets in the configs of ``tap``, ``mapper``, ``target`` and ``transform``.

    Before each load: another run, or the part before, may have replaced them.
    """
    full: bool
    """Start over, without a state."""
    keep_raw: bool
    """Keep the tap's output."""
    backfill: Backfill | None = None
    config: Mapping[str, Any] | None = None
    """The tap's config for a backfill, which replaces the pipeline's file."""
    plan: Plan | None = None
    """The parts of the run, None if it has none."""
    transform: Environment | None = None
    mapper: Environment | None = None
