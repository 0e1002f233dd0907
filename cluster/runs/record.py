"""The record of a run, ``run.json``.

Keys and fields are those of ``docs/contracts.md``. A record is written when a run begins and again when it ends, so
that no run is without one.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from cluster.ui import exact_json

Status = Literal["running", "succeeded", "failed", "interrupted"]
SCHEMA = 1
LETTERS = "2456789bcdfghjkmnpqrstvwxz"
"""Of a run's suffix: nothing that is easily confused, no vowels and so no words; in the order in which they sort."""


def new_run_id() -> str:
    """Return a run's id: UTC time and a suffix, fit to be a Workflow's name.

    Ids sort by time: half of the suffix is the fraction of the second, the other half is random.
    """
    now = datetime.now(UTC)
    high, low = divmod(now.microsecond * len(LETTERS) ** 2 // 1_000_000, len(LETTERS))
    return f"{now:%Y%m%dt%H%M%S}-{LETTERS[high]}{LETTERS[low]}{secrets.choice(LETTERS)}{secrets.choice(LETTERS)}"


def began(run: str, otherwise: datetime) -> str:
    """Return when a run began, as its id tells it, so that runs can be sorted: ours begin with the time, scheduled ones end with it.

    Where the id tells nothing, as with a Workflow that somebody has created by hand, *otherwise* is taken.
    """
    ours, scheduled = re.match(r"\d{8}t\d{6}(?=-)", run), re.search(r"-(\d{10})$", run)
    if ours:
        return ours[0]
    return f"{datetime.fromtimestamp(int(scheduled[1]), UTC) if scheduled else otherwise:%Y%m%dt%H%M%S}"


@dataclass
class Side:
    """One connector of a run."""

    connector: str
    version: str
    exit_code: int | None = None


@dataclass
class Record:
    """What is known of one run: the content of its ``run.json``."""

    run: str
    pipeline: str
    engine: str
    started: str
    tap: Side
    target: Side
    state_before: dict[str, Any] | None
    status: Status = "running"
    finished: str | None = None
    seconds: float | None = None
    records: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    state_after: dict[str, Any] | None = None
    state_printed: bool = False
    state_kept: dict[str, Any] | None = None
    """The newest state that was stored while the run was under way."""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    raw: str | None = None
    backfill: dict[str, str | None] | None = None
    """``from`` and ``to`` of a run that was given dates instead of the state, and left the state as it was."""
    transform: Side | None = None
    """What ran after the load, where the pipeline has a transform."""
    loaded: bool = False
    """Whether data and state are stored: of a success always; of a failure where it was the transform that failed."""
    error: dict[str, str] | None = None
    warnings: list[str] = field(default_factory=list)
    """What the tap, the target or the run warned about, without secrets; a run with warnings may still have succeeded."""
    schema: int = SCHEMA

    @property
    def committed(self) -> bool:
        """Whether data is stored and the state follows. Earlier versions wrote no ``loaded``."""
        return self.loaded or self.status == "succeeded"

    @property
    def total(self) -> int:
        """Records of all streams."""
        return sum(self.records.values())


def read_record(data: bytes) -> Record:
    """Read a ``run.json``.

    :raises ValueError: it is not one, or of a schema that this version does not know.
    """
    try:
        fields = exact_json.loads(data)
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        sides = {name: Side(**fields[name]) for name in ("tap", "target", "transform") if name != "transform" or fields.get(name)}
        return Record(**{**fields, **sides})
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def write_record(record: Record) -> bytes:
    """Return the content of ``run.json``."""
    return exact_json.dumps(asdict(record), indent=1).encode()
