"""Connectors and pipelines as typed models."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cluster.project.parts import Plan


NAME = r"[a-z0-9]([a-z0-9-]{0,48}[a-z0-9])?"
"""A DNS label with room for a suffix: names become parts of Kubernetes object names, S3 keys and
file names."""

NAME_ALLOWED = "small letters, digits and hyphens, at most 50"
CAPABILITIES = (
    "about", "activate-version", "batch", "catalog", "discover", "hard-delete", "log-based", "properties", "schema-flattening",
    "soft-delete", "state", "stream-maps", "structured-logging", "test",
)  # fmt: skip
KINDS = ("tap", "mapper", "target", "transform")
CONFIG = "config.json"
PROJECT_FILES = ("pyproject.toml", "setup.py")
"""The files that make a folder installable."""


@dataclass(frozen=True)
class File:
    """A file that a connector takes along."""

    content: bytes
    modified: int
    """Unix time, in seconds. Some taps read only files that are newer than their state."""


@dataclass(frozen=True)
class Connector:
    """A tap, a mapper, a target or a transform: a folder below ``singer-configs/``.

    That of a transform is its dbt project, too.
    """

    name: str
    folder: Path
    kind: str
    requirements: tuple[str, ...]
    """Requirements as pip takes them, without those in ``projects``."""
    projects: tuple[Path, ...]
    """Folders to install."""
    executable: str
    capabilities: tuple[str, ...]
    python: str | None
    outputs: tuple[str, ...]
    settings: tuple[str, ...] = ()
    """The keys of its config, if ``connector.yaml`` lists them: backfills check them."""
    instead: Path | None = None
    """The environment's config that overrides it."""
    end_exclusive: bool = False
    """Whether a tap loads only what is before ``end_date``."""
    safe_states: bool | None = None
    """Whether rows are safe when the target prints a state.

    None: while its working folder has no file.
    """
    system_packages: tuple[str, ...] = ()
    """Debian packages that its image needs, such as shared libraries."""
    required: tuple[str, ...] = ()
    """Groups of settings, each as names with spaces between them; one group is enough."""
    exclude_newer: str | None = None
    """Its packages are resolved as of this time, as uv's ``--exclude-newer`` takes it."""
    build_constraints: tuple[str, ...] = ()
    """Versions of the packages that build others, as uv's ``--build-constraints`` takes them."""
    files: Mapping[str, File] = field(default_factory=dict, hash=False, repr=False)
    """The files that it takes along, by path below the checkout."""

    @cached_property
    def config(self) -> Path:
        """Its ``config.json``, which may be absent."""
        return self.instead or self.folder / CONFIG

    @cached_property
    def catalog(self) -> Path:
        """Its ``catalog.json``, which may be absent."""
        return self.folder / "catalog.json"

    @cached_property
    def initial_state(self) -> Path:
        """Its ``state.json``, which may be absent."""
        return self.folder / "state.json"

    @property
    def lock(self) -> Path:
        """The resolution of its requirements, with hashes."""
        return self.folder / "requirements.lock"


@dataclass(frozen=True)
class Events:
    """What starts a pipeline besides its schedule: objects in a bucket, or a webhook."""

    bucket: str
    prefix: str
    suffix: str
    webhook: str
    """The path to call; either this or the bucket is empty."""
    secret: str
    """The Secret for the bucket, by default the store's; or the one that callers must pass."""


@dataclass(frozen=True)
class Pipeline:
    """A tap, a target and their schedule: an entry of ``pipelines.yaml``."""

    name: str
    tap: Connector
    target: Connector
    mode: str
    config: Path
    catalog: Path
    target_config: Path
    initial_state: Path
    schedule: tuple[str, ...]
    timezone: str
    paused: bool
    resources: Mapping[str, str]
    timeout: int
    """Seconds."""
    retries: int
    notify: str
    transform: Connector | None = None
    """The transform that runs after each load."""
    transform_select: str = ""
    """A part of its project; empty for all."""
    events: Events | None = None
    mapper: Connector | None = None
    """The program between tap and target, which changes streams and fields."""
    mapper_config: Path | None = None
    plan: Plan | None = None
    """The parts of each run, if it is split."""
    at_once: int = 4
    """How many parts of a run may run at the same time."""
    late_after: int | None = None
    """Seconds after a time of the schedule until which a success must have ended; None: judged by
    how long its runs take."""

    @property
    def connectors(self) -> tuple[Connector, ...]:
        """The connectors of a run, in order."""
        return (self.tap, *([self.mapper] if self.mapper else []), self.target, *([self.transform] if self.transform else []))

    @property
    def configs(self) -> tuple[tuple[Connector, Path], ...]:
        """Tap, mapper and target, each with its config in this pipeline."""
        mapper = [(self.mapper, self.mapper_config)] if self.mapper and self.mapper_config else []
        return ((self.tap, self.config), *mapper, (self.target, self.target_config))


def used(pipelines: Iterable[Pipeline]) -> list[Connector]:
    """Return the connectors of *pipelines*, each once."""
    return list({connector.name: connector for pipeline in pipelines for connector in pipeline.connectors}.values())
