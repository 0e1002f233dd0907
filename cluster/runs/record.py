"""The record of a run, ``run.json``.

``docs/contracts.md`` lists its keys. A run writes its record when it begins and when it ends.
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
"""Letters of a run's suffix, in sort order. None look alike; without vowels they form no words."""


def new_run_id() -> str:
    """Return a new run id, UTC time and a suffix, that is also valid as a Workflow's name.

    Ids sort by time: half of the suffix is the fraction of the second, the other half is random.
    """
    now = datetime.now(UTC)
    high, low = divmod(now.microsecond * len(LETTERS) ** 2 // 1_000_000, len(LETTERS))
    return f"{now:%Y%m%dt%H%M%S}-{LETTERS[high]}{LETTERS[low]}{secrets.choice(LETTERS)}{secrets.choice(LETTERS)}"


def began(run: str, otherwise: datetime) -> str:
    """Return when a run began, from its id, as text that sorts by time.

    Our ids begin with the time; those of scheduled runs end with it. For any other id, such as that
    of a Workflow created by hand, use *otherwise*.
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
    """The content of ``run.json``."""

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
    batches: dict[str, dict[str, int]] = field(default_factory=dict)
    """The files of BATCH messages by stream: ``files``, ``bytes``, and ``uncounted`` files."""
    state_after: dict[str, Any] | None = None
    state_printed: bool = False
    state_kept: dict[str, Any] | None = None
    """The newest state stored while the run was under way."""
    outputs: list[dict[str, Any]] = field(default_factory=list)
    raw: str | None = None
    backfill: dict[str, str | None] | None = None
    """``from`` and ``to`` of a backfill, which leaves the state unchanged."""
    mapper: Side | None = None
    """The mapper between tap and target, if the pipeline has one."""
    tap_records: dict[str, int] | None = None
    tap_bytes: dict[str, int] | None = None
    """What the tap sent to the mapper, by stream; ``records`` has what the mapper passed on."""
    transform: Side | None = None
    """The transform that ran after the load, if the pipeline has one."""
    loaded: bool = False
    """Whether data and state are stored: after a success, or if only the transform failed."""
    error: dict[str, str] | None = None
    warnings: list[str] = field(default_factory=list)
    """Warnings of the tap, the target and the run, without secrets. They do not fail a run."""
    schema: int = SCHEMA

    @property
    def committed(self) -> bool:
        """Whether data is stored and the state follows. Earlier versions wrote no ``loaded``."""
        return self.loaded or self.status == "succeeded"

    @property
    def sides(self) -> list[Side]:
        """Tap, mapper and target, in the order of the data."""
        return [self.tap, *([self.mapper] if self.mapper else []), self.target]

    @property
    def total(self) -> int:
        """The number of records in all streams."""
        return sum(self.records.values())

    @property
    def empty(self) -> bool:
        """Whether the run moved neither a record nor a batch file."""
        return not self.total and not self.batches


def read_record(data: bytes) -> Record:
    """Read a ``run.json``.

    :raises ValueError: it is no record, or its schema is unknown.
    """
    try:
        fields = exact_json.loads(data)
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        sides = {name: Side(**fields[name]) for name in ("tap", "target")}
        sides |= {name: Side(**fields[name]) for name in ("mapper", "transform") if fields.get(name)}
        return Record(**{**fields, **sides})
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def write_record(record: Record) -> bytes:
    """Return the content of ``run.json``."""
    return exact_json.dumps(asdict(record), indent=1).encode()
