"""States and records of all runs in a store. Every version of a state is kept."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed
from cluster.errors import SetupError
from cluster.host.parallel import ahead
from cluster.project.parts import planned
from cluster.runs import format_version
from cluster.runs import state as state_json
from cluster.runs.record import Record, began, read_record, write_record
from cluster.ui import exact_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.config.settings import Settings
    from cluster.project.parts import Plan
    from cluster.store import Store, Version
OWNER = "owner.json"
WORD = "[a-z0-9][a-z0-9.-]*"
"""The name of a pipeline or a run, as Kubernetes allows it; it becomes the name of a folder."""


def newest_first(dated: dict[tuple[str, str], str]) -> list[tuple[str, str]]:
    """Return pipelines and runs, the newest first; ids decide between equal times."""
    return sorted(dated, key=lambda pair: (dated[pair], pair[1]), reverse=True)


def owned(data: bytes | None) -> dict[str, Any]:
    """Parse ``owner.json`` of a bucket; an empty object if it is missing or damaged."""
    try:
        owner = json.loads(data or b"{}")
    except (ValueError, RecursionError):
        owner = {}
    return owner if isinstance(owner, dict) else {}


class History:
    """Records and states of all pipelines, in a store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        """Take an open store."""
        self.store = store
        self.settings = settings

    def claim(self, engine: str) -> None:
        """Check that the buckets belong to *engine*; each engine has its own states.

        :raises SetupError: E-ENGINE, they are another engine's; E-LAYOUT, a newer checkout's.
        """
        bucket = self.settings.bucket_configs
        data = self.store.get(bucket, OWNER)
        if data is None:
            self.store.put(bucket, OWNER, json.dumps({"engine": engine, "layout": format_version.LAYOUT}).encode())
            return
        facts, url = owned(data), self.store.url(bucket, OWNER).removesuffix("/" + OWNER)
        owner = facts.get("engine") if facts else "unknown"
        format_version.see(f"The bucket {url}", facts.get("layout"))
        if owner != engine:
            raise SetupError(
                "E-ENGINE",
                f"The bucket {url} belongs to the engine {owner}, this is {engine}.",
                hint="Choose other buckets for this engine: singer.bucket_configs, singer.bucket_artifacts, singer.bucket_outputs.",
            )

    # -- states

    @staticmethod
    def state_key(pipeline: str) -> str:
        """Return where a pipeline's state is."""
        return f"pipelines/{pipeline}/state.json"

    def state(self, pipeline: str) -> dict[str, Any] | None:
        """Return the pipeline's state, None where it has none yet.

        :raises SetupError: E-STATE, the object in the bucket is not a state.
        """
        bucket, key = self.settings.bucket_configs, self.state_key(pipeline)
        data = self.store.get(bucket, key)
        if data is None:
            return None
        try:
            state = state_json.read(data) or None
        except ValueError:
            raise SetupError(
                "E-STATE",
                f"The state of {pipeline} is not a JSON object: {self.store.url(bucket, key)}.",
                hint=f"Replace it (state {pipeline} --set FILE) or start over (state {pipeline} --reset).",
            ) from None
        return self.own(state)

    def own(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return what of a state is this run's: all of it."""
        return state

    def save_state(self, pipeline: str, state: dict[str, Any]) -> None:
        """Replace the pipeline's state. Its numbers keep their digits."""
        self.store.put(self.settings.bucket_configs, self.state_key(pipeline), exact_json.dumps(state).encode())

    def reset_state(self, pipeline: str) -> None:
        """Remove the pipeline's state; its versions stay."""
        self.store.delete(self.settings.bucket_configs, self.state_key(pipeline))

    def state_versions(self, pipeline: str) -> list[Version]:
        """Return the versions of the pipeline's state, newest first."""
        return self.store.versions(self.settings.bucket_configs, self.state_key(pipeline))

    # -- records

    def record_key(self, pipeline: str, run: str) -> str:
        """Return where a run's record is."""
        return f"runs/{pipeline}/{run}/run.json"

    def folder(self, record: Record) -> str:
        """Return the prefix of a run's files, in the buckets of outputs and artifacts."""
        return f"{record.pipeline}/{record.run}/"

    def save(self, record: Record) -> None:
        """Write the record."""
        self.store.put(self.settings.bucket_artifacts, self.record_key(record.pipeline, record.run), write_record(record))

    def take_back(self, record: Record) -> None:
        """Save the record of a run that did not succeed, then remove its files.

        So no record of a success names missing files.
        """
        self.save(record)
        self.remove_files(record)
        if record.outputs or record.raw:
            record.outputs, record.raw = [], None
            self.save(record)

    def remove_files(self, record: Record) -> None:
        """Remove what a run has published.

        The raw output of a staged run stays: ``retry`` loads it again.
        """
        name = self.folder(record)
        prefixes = [(self.settings.bucket_outputs, name)]
        if record.engine == "local":
            prefixes.append((self.settings.bucket_artifacts, f"raw/{name}"))
        for bucket, prefix in prefixes:
            self.store.delete(bucket, *(item.key for item in self.store.objects(bucket, prefix)))

    def read(self, pipeline: str, run: str) -> Record | None:
        """Return one record, None if it is missing, unreadable or that of another run.

        That of a run with parts which is under way has the sums over its parts.
        """
        record = self.read_alone(pipeline, run)
        if record is not None and record.parts is not None and record.status == "running":
            record.gather(self.parts(record))
        return record

    def read_alone(self, pipeline: str, run: str) -> Record | None:
        """Return one record as it is stored, without looking at those of its parts."""
        data = self.store.get(self.settings.bucket_artifacts, self.record_key(pipeline, run))
        try:
            record = read_record(data) if data is not None else None
        except ValueError:
            return None
        return record if record is not None and (record.pipeline, record.run) == (pipeline, run) else None

    def views(self, record: Record) -> list[PartHistory]:
        """Return the history of each part of a run, in order."""
        plan = planned(record.parts or ())
        return [PartHistory(self, plan, number) for number in range(len(plan.parts))]

    def begun(self, record: Record) -> list[PartHistory]:
        """Return the histories of those parts of a run that have a record.

        One list of names costs less than a request for each part that has none.
        """
        folder = f"parts/{record.pipeline}/{record.run}/"
        there = {item.key for item in self.store.objects(self.settings.bucket_artifacts, folder)}
        return [view for view in self.views(record) if view.record_key(record.pipeline, record.run) in there]

    def parts(self, record: Record) -> dict[str, Record]:
        """Return the records of those parts of a run that have begun, by name."""
        return self.each_part(record, lambda view: view.read(record.pipeline, record.run))

    def each_part(self, record: Record, do: Callable[[PartHistory], Record | None]) -> dict[str, Record]:
        """Do something with the histories of those parts that have begun, eight at a time.

        Return the records that it returns, by the name of the part.
        """
        views = self.begun(record)
        return {view.part.name: part for view, part in zip(views, ahead(do, views), strict=True) if part is not None}

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
        """Return the newest records, newest first, as they are stored."""
        return list(self.records(pipeline, limit))

    def records(self, pipeline: str | None = None, limit: int | None = None) -> Iterator[Record]:
        """Yield the newest records, newest first. Few are read that nobody takes."""
        records = ahead(lambda pair: self.read_alone(*pair), self.ids(pipeline)[:limit])
        return (record for record in records if record is not None)

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


class PartHistory(History):
    """One part of a run: its record, its files, and its share of the pipeline's state."""

    def __init__(self, history: History, plan: Plan, index: int) -> None:
        """Take the history of the run, and which part of *plan* it is."""
        super().__init__(history.store, history.settings)
        self.plan = plan
        self.index = index
        self.part = plan.parts[index]
        self._share: dict[str, Any] | None = None

    def record_key(self, pipeline: str, run: str) -> str:
        """See ``History``."""
        return f"parts/{pipeline}/{run}/{self.part.name}.json"

    def folder(self, record: Record) -> str:
        """See ``History``."""
        return f"{super().folder(record)}{self.part.name}/"

    def own(self, state: dict[str, Any] | None) -> dict[str, Any] | None:
        """Return the bookmarks of a state without those of other parts' streams.

        :raises SetupError: E-STATE, the state has not its bookmarks by stream.
        """
        with self.by_stream():
            return self.plan.own(self.index, state)

    def state(self, pipeline: str) -> dict[str, Any] | None:
        """Return the part's share of the pipeline's state.

        :raises SetupError: E-STATE, the object in the bucket is not a state by stream.
        """
        self._share = super().state(pipeline)
        return self._share

    def save_state(self, pipeline: str, state: dict[str, Any]) -> None:
        """Merge the part's bookmarks into the pipeline's state; no other part's change is lost."""

        def merged(data: bytes | None) -> bytes:
            old = state_json.read(data) if data is not None else None
            return exact_json.dumps(self.plan.merged(self.index, old, self._share, state)).encode()

        with self.by_stream():
            self.store.change(self.settings.bucket_configs, self.state_key(pipeline), merged)

    @staticmethod
    @contextmanager
    def by_stream() -> Iterator[None]:
        """Turn the reason why a state cannot be split into an error.

        :raises SetupError: E-STATE, the state has not its bookmarks by stream.
        """
        try:
            yield
        except ValueError as error:
            raise SetupError(
                "E-STATE",
                f"The state cannot be split by streams: {error}.",
                hint="Leave split out of pipelines.yaml. Or, if only an old state has this form, start over: state PIPELINE --reset",
            ) from None
