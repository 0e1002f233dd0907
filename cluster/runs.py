"""Run records and states: what is remembered of a pipeline between its runs.

Keys and fields are those of ``docs/contracts.md``. A record is written when a run begins and again when it ends, so
that there is no run without one. A state is only ever replaced as a whole, and every version of it is kept.
"""

from __future__ import annotations

import json
import re
import secrets
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cluster import layout
from cluster.errors import SetupError
from cluster.fields import describe, listed

if TYPE_CHECKING:
    from cluster.settings import Settings
    from cluster.store import Store, Version

SCHEMA = 1
OWNER = "owner.json"
SHOWN = 120
"""How many characters of a state fit into a line."""
WORD = "[a-z0-9][a-z0-9.-]*"
"""What a pipeline and a run can be called, as Kubernetes allows it: they become names of folders here."""
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


def newest_first(dated: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Return pipelines and runs, those that began last first; of those that began at once, by their ids."""
    return sorted(dated, key=lambda pair: (dated[pair], pair[1]), reverse=True)


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
    status: str = "running"
    finished: str | None = None
    seconds: float | None = None
    records: dict[str, int] = field(default_factory=dict)
    bytes: dict[str, int] = field(default_factory=dict)
    messages: dict[str, int] = field(default_factory=dict)
    state_after: dict[str, Any] | None = None
    state_printed: bool = False
    outputs: list[dict[str, Any]] = field(default_factory=list)
    raw: str | None = None
    backfill: dict[str, str | None] | None = None
    """``from`` and ``to`` of a run that was given dates instead of the state, and left the state as it was."""
    transform: Side | None = None
    """What ran after the load, where the pipeline has a transform."""
    loaded: bool = False
    """Whether data and state are stored: of a success always; of a failure where it was the transform that failed."""
    error: dict[str, str] | None = None
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
        fields = json.loads(data)
        if fields["schema"] != SCHEMA:
            raise ValueError(f"schema {fields['schema']}")
        sides = {name: Side(**fields[name]) for name in ("tap", "target", "transform") if name != "transform" or fields.get(name)}
        return Record(**{**fields, **sides})
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(str(error)) from None


def write_record(record: Record) -> bytes:
    """Return the content of ``run.json``."""
    return json.dumps(asdict(record), indent=1).encode()


def owned(data: bytes | None) -> dict[str, Any]:
    """Read the object ``owner.json`` of a bucket, which says whose it is; nothing where there is none, or it is damaged."""
    try:
        found = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        found = {}
    return found if isinstance(found, dict) else {}


def short(state: dict[str, Any] | None) -> str:
    """Say what a state says: the bookmark where there is one, else the JSON, else none."""
    if not state:
        return "none"
    bookmarks = state.get("bookmarks")
    if isinstance(bookmarks, dict) and len(bookmarks) == 1:
        mark = next(iter(bookmarks.values()))
        if isinstance(mark, dict) and isinstance(mark.get("replication_key_value"), str | int | float):
            return str(mark["replication_key_value"])
    text = json.dumps(state)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def states(record: Record) -> str:
    """Return a record's state after the run, and before it."""
    same = record.state_after == record.state_before
    return f"{short(record.state_after)} ({'unchanged' if same else f'before: {short(record.state_before)}'})"


class History:
    """Records and states of all pipelines, in a store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Take an open store."""
        self.store = store
        self.settings = settings

    def claim(self, engine: str) -> None:
        """See that the buckets belong to *engine*; each engine has its own states.

        :raises SetupError: E-ENGINE, they belong to another one; E-LAYOUT, a newer checkout has them.
        """
        bucket = self.settings.bucket_configs
        found = self.store.get(bucket, OWNER)
        if found is None:
            self.store.put(bucket, OWNER, json.dumps({"engine": engine, "layout": layout.LAYOUT}).encode())
            return
        said, place = owned(found), self.store.url(bucket, OWNER).removesuffix("/" + OWNER)
        owner = said.get("engine") if said else "unknown"
        layout.see(f"The bucket {place}", said.get("layout"))
        if owner != engine:
            raise SetupError(
                "E-ENGINE",
                f"The bucket {place} belongs to the engine {owner}, this is {engine}.",
                hint="Give this engine buckets of its own: singer.bucket_configs, singer.bucket_artifacts, singer.bucket_outputs.",
            )

    # -- states

    @staticmethod
    def state_key(pipeline: str) -> str:
        """Return where a pipeline's state is."""
        return f"pipelines/{pipeline}/state.json"

    def state(self, pipeline: str) -> dict[str, Any] | None:
        """Return the pipeline's state, None where it has none yet.

        :raises SetupError: E-STATE, what is there is not a JSON object.
        """
        bucket, key = self.settings.bucket_configs, self.state_key(pipeline)
        data = self.store.get(bucket, key)
        if data is None:
            return None
        try:
            state = json.loads(data)
        except (ValueError, RecursionError):
            state = None
        if not isinstance(state, dict):
            raise SetupError(
                "E-STATE",
                f"The state of {pipeline} is not a JSON object: {self.store.url(bucket, key)}.",
                hint=f"Replace it (state {pipeline} --set FILE) or start over (state {pipeline} --reset).",
            )
        return state or None

    def save_state(self, pipeline: str, state: dict[str, Any]) -> None:
        """Replace the pipeline's state."""
        self.store.put(self.settings.bucket_configs, self.state_key(pipeline), json.dumps(state).encode())

    def reset_state(self, pipeline: str) -> None:
        """Remove the pipeline's state; its versions stay."""
        self.store.delete(self.settings.bucket_configs, self.state_key(pipeline))

    def state_versions(self, pipeline: str) -> list[Version]:
        """Return the versions of the pipeline's state, newest first."""
        return self.store.versions(self.settings.bucket_configs, self.state_key(pipeline))

    # -- records

    @staticmethod
    def record_key(pipeline: str, run: str) -> str:
        """Return where a run's record is."""
        return f"runs/{pipeline}/{run}/run.json"

    def save(self, record: Record) -> None:
        """Write the record."""
        self.store.put(self.settings.bucket_artifacts, self.record_key(record.pipeline, record.run), write_record(record))

    def take_back(self, record: Record) -> None:
        """Save the record of a run that did not succeed, then remove what it has published: no success is told of data that is gone."""
        self.save(record)
        data, raw = f"{record.pipeline}/{record.run}/", f"raw/{record.pipeline}/{record.run}/"
        for bucket, prefix in ((self.settings.bucket_outputs, data), (self.settings.bucket_artifacts, raw)):
            for item in self.store.objects(bucket, prefix):
                self.store.delete(bucket, item.key)
        if record.outputs or record.raw:
            record.outputs, record.raw = [], None
            self.save(record)

    def read(self, pipeline: str, run: str) -> Record | None:
        """Return one record, None where there is none, it cannot be read, or it is that of another run."""
        data = self.store.get(self.settings.bucket_artifacts, self.record_key(pipeline, run))
        try:
            record = read_record(data) if data is not None else None
        except ValueError:
            return None
        return record if record is not None and (record.pipeline, record.run) == (pipeline, run) else None

    def dated(self, pipeline: str | None = None) -> dict[tuple[str, str], str]:
        """Return pipeline and run of every record, and when the run began."""
        prefix = f"runs/{pipeline}/" if pipeline else "runs/"
        items = self.store.objects(self.settings.bucket_artifacts, prefix)
        keys = ((re.fullmatch(f"runs/({WORD})/({WORD})/run.json", item.key), item.modified) for item in items)
        return {(key[1], key[2]): began(key[2], modified) for key, modified in keys if key}

    def ids(self, pipeline: str | None = None) -> list[tuple[str, str]]:
        """Return pipeline and run of every record, newest first."""
        return newest_first(self.dated(pipeline))

    def newest(self, pipeline: str | None = None, limit: int | None = None) -> list[Record]:
        """Return the newest records, newest first."""
        records = (self.read(*pair) for pair in self.ids(pipeline)[:limit])
        return [record for record in records if record is not None]

    def find(self, run: str) -> Record:
        """Return the record of a run, named by its id, an unambiguous part of it, or ``last``.

        :raises SetupError: E-UNKNOWN, there is none, or more than one.
        """
        pairs = self.ids()
        if run == "last":
            record = next(filter(None, (self.read(*pair) for pair in pairs)), None)
            matching = pairs[:1]
        else:
            matching = [pair for pair in pairs if pair[1] == run] or [pair for pair in pairs if run and run in pair[1]]
            record = self.read(*matching[0]) if len(matching) == 1 else None
        if record is None:
            latest = listed(pair[1] for pair in pairs[:3])
            many = f" fits {len(matching)} runs" if len(matching) > 1 else " is not known"
            raise SetupError("E-UNKNOWN", f"The run {describe(run)}{many}. The latest are: {latest}.", hint="Name one of these, or: last.")
        return record
