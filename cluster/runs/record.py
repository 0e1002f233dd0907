"""The record of a run, ``run.json``.

``docs/contracts.md`` lists its keys. A run writes its record when it begins and when it ends.
"""

from __future__ import annotations

import re
import secrets
from collections import Counter
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from cluster.ui import exact_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cluster.project.parts import Plan

Status = Literal["running", "succeeded", "failed", "interrupted"]
SCHEMA = 1
DONE = {"succeeded", "skipped"}
"""The statuses of parts that are loaded, by this run or by the one that it retries."""
RARE = {"part", "parts", "full", "at_once", "retry_of"}
"""The keys that most records lack."""
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
    """``from``, ``to`` and ``every`` of a backfill, which leaves the state unchanged."""
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
    part: str | None = None
    """The name of the part, in the record of one."""
    parts: list[dict[str, Any]] | None = None
    """The parts of the run, None if it has none. See ``divide`` and ``gather``."""
    full: bool | None = None
    """With parts: whether they start over, without a state."""
    at_once: int | None = None
    """With parts: how many of them may run at the same time."""
    retry_of: str | None = None
    """In a retry: the run whose parts, or extracted data, it loads. It is no retry itself."""
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
    def stored(self) -> int:
        """How many of these records are loaded for certain: all of a success, else of its parts."""
        done = (item["records"] for item in self.parts or () if item["status"] == "succeeded")
        return self.total if self.committed else sum(done)

    @property
    def done(self) -> int:
        """How many of its parts are loaded."""
        return sum(item["status"] in DONE for item in self.parts or ())

    @property
    def failed_part(self) -> str:
        """The name of the first part that failed, else of one that was stopped; empty if none."""
        ended = {item["status"]: item["name"] for item in reversed(self.parts or ())}
        return str(ended.get("failed") or ended.get("interrupted") or "")

    def divide(self, plan: Plan) -> None:
        """List the parts of a run that begins, and how it runs them."""
        self.parts, self.full, self.at_once, self.retry_of = [], plan.full, plan.at_once, plan.retry_of or None
        for part in plan.parts:
            dates = {"from": part.span[0], "to": part.span[1]} if part.span else {}
            status = "skipped" if part.name in plan.skipped else "waiting"
            counts = {"status": status, "records": 0, "seconds": None, "error": None}
            self.parts.append({"name": part.name, "streams": list(part.streams), **dates, **counts})

    def gather(self, begun: Mapping[str, Record]) -> None:
        """Sum up the records of the parts that have begun in the record of their run."""
        done = [begun[item["name"]] for item in self.parts or () if item["name"] in begun]
        for item in self.parts or ():
            part = begun.get(item["name"])
            if part is not None:
                status = "succeeded" if part.committed else part.status
                item.update(status=status, records=part.total, seconds=part.seconds, error=part.error)
        for name in ("records", "bytes", "messages"):
            setattr(self, name, _sums(getattr(part, name) for part in done))
        if self.mapper:
            self.tap_records = _sums(part.tap_records or {} for part in done)
            self.tap_bytes = _sums(part.tap_bytes or {} for part in done)
        self.batches = {}
        for stream, batch in (pair for part in done for pair in part.batches.items()):
            self.batches[stream] = _sums([self.batches.get(stream, {}), batch])
        self.outputs = [file for part in done for file in part.outputs]
        self.warnings = list(dict.fromkeys(text for part in done for text in part.warnings))
        self.state_printed = any(part.state_printed for part in done)
        for number, side in enumerate(self.sides):
            codes = [code for part in done if (code := part.sides[number].exit_code) is not None]
            side.exit_code = max(codes) if codes else None

    @property
    def empty(self) -> bool:
        """Whether the run moved neither a record nor a batch file."""
        return not self.total and not self.batches


def _sums(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(total)


def fields_of(record: Record) -> dict[str, Any]:
    """Return the keys of ``run.json``; those of parts and of retries only if they have a value."""
    return {key: value for key, value in asdict(record).items() if value is not None or key not in RARE}


def read_record(data: bytes) -> Record:
    """Read a ``run.json``. Keys that a later version has added are left out.

    :raises ValueError: it is no record, or its schema is unknown.
    """
    try:
        fields = exact_json.loads(data)
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        sides = {name: Side(**fields[name]) for name in ("tap", "target")}
        sides |= {name: Side(**fields[name]) for name in ("mapper", "transform") if fields.get(name)}
        known = {key: value for key, value in fields.items() if key in Record.__dataclass_fields__}
        return Record(**{**known, **sides})
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def write_record(record: Record) -> bytes:
    """Return the content of ``run.json``."""
    return exact_json.dumps(fields_of(record), indent=1).encode()
