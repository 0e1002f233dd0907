"""Which pipelines are late, and why. Pure.

A success is due at each time of a schedule, within ``late_after``. A success that ends at or after
that time counts, so one that took longer than the schedule's interval does too. Both the check in
the cluster (``singer-containers/late.py``) and the commands decide here.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import islice, takewhile
from statistics import median
from typing import TYPE_CHECKING, Any

from cluster.project.due import next_due
from cluster.ui.format import count, seconds

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from typing import Self

    from cluster.runs.record import Record

SINCE = "singer/since"
"""The annotation of a CronWorkflow: since when it has this schedule."""
LATE_AFTER = "singer/late-after"
"""The annotation with the pipeline's ``late_after`` in seconds."""
SUSPENDED = "singer/suspended"
"""The annotation with the ``suspend`` that we applied. If the live one differs, a person changed
it."""
PIPELINE = "singer/pipeline"
MEMORY = "late.json"
"""The key in the bucket of artifacts under which the check keeps what it has reported."""
EVERY = timedelta(minutes=4)
"""Time between two checks."""
SLEPT = timedelta(minutes=15)
"""After a longer pause between two checks, the machine was asleep: it gets the whole time again."""
GRACE = 1800
"""Seconds that a run may be late without ``late_after``, beside twice the time that it takes."""
LOOKED_AT = 10
"""So many of a pipeline's newest records are read, and more until a success is among them."""
MOST = 200
"""Not more than these."""
FAILED = ("failed", "interrupted")


@dataclass(frozen=True)
class Watched:
    """A pipeline with a schedule."""

    pipeline: str
    schedule: tuple[str, ...]
    timezone: str
    since: datetime
    """Earlier times of the schedule do not count."""
    late_after: int | None = None
    notify: str = "failure"
    suspended: bool = False
    """Whether a person has suspended the schedule in Argo."""


@dataclass(frozen=True)
class Known:
    """What the records show of a pipeline."""

    success: datetime | None = None
    """When the last success ended."""
    usual: float = 0.0
    """The seconds that a success takes."""
    failures: int = 0
    """How many of its newest runs failed, one after the other."""
    code: str = ""
    """The error of the newest of these."""
    failed: datetime | None = None
    """When that one began."""


@dataclass(frozen=True)
class Live:
    """A run that has not ended."""

    waiting: bool
    since: str


@dataclass(frozen=True)
class Late:
    """A pipeline without the success that was due."""

    pipeline: str
    due: datetime
    why: str
    """suspended, waiting, running, failing or not-started."""
    detail: str
    success: datetime | None

    def fields(self) -> dict[str, Any]:
        """Return it for programs."""
        return {**asdict(self), "due": stamp(self.due), "success": _stamped(self.success)}

    def __str__(self) -> str:
        """Return it for people."""
        last = f"the last one ended {shown(self.success)}" if self.success else "there was none before"
        return f"{self.pipeline}: a success was due {shown(self.due)}, {last}: {self.detail}"


def stamp(moment: datetime) -> str:
    """Return a moment as in records: RFC 3339, UTC."""
    return f"{moment.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


def _stamped(moment: datetime | None) -> str | None:
    return stamp(moment) if moment else None


def shown(moment: datetime) -> str:
    """Return a moment for people."""
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def known(records: Iterable[Record], before: Known) -> Known:
    """Return what records show, newest first, beside what was known *before*.

    Backfills do not count.
    """
    plain = [record for record in _enough(records, before) if record.backfill is None and record.status != "running"]
    good = [record for record in plain if record.status == "succeeded" and record.finished]
    failed = list(takewhile(lambda record: record.status in FAILED, plain))
    return Known(
        success=max((datetime.fromisoformat(str(record.finished)) for record in good), default=before.success),
        usual=median([record.seconds or 0.0 for record in good] or [before.usual]),
        failures=len(failed),
        code=(failed[0].error or {}).get("code", failed[0].status) if failed else "",
        failed=datetime.fromisoformat(failed[0].started) if failed else None,
    )


def _enough(records: Iterable[Record], before: Known) -> Iterator[Record]:
    """Yield the newest records, until one is the last success or older than that."""
    enough = False
    for number, record in enumerate(islice(records, MOST), start=1):
        yield record
        enough |= record.backfill is None and record.status == "succeeded"
        enough |= before.success is not None and datetime.fromisoformat(record.started) < before.success
        if enough and number >= LOOKED_AT:
            return


def judge(watched: Watched, facts: Known, now: datetime, live: Live | None = None, awake: datetime | None = None) -> Late | None:
    """Return how a pipeline is late, None if it is not.

    After a sleep, which ended at *awake*, what was due before has its whole time from then on.
    """
    due = next_due(watched.schedule, watched.timezone, max(filter(None, (watched.since, facts.success))))
    if due is None:
        return None
    allowed = watched.late_after if watched.late_after is not None else GRACE + 2 * facts.usual
    if now < max(due, awake or due) + timedelta(seconds=allowed):
        return None
    return Late(watched.pipeline, due, *_why(watched, facts, due, live), facts.success)


def _why(watched: Watched, facts: Known, due: datetime, live: Live | None) -> tuple[str, str]:
    """Return why a success is missing, in a word and in a clause."""
    if live is not None and live.waiting:
        return "waiting", f"its run has been waiting for its turn since {live.since}"
    if live is not None:
        usual = f", and usually takes {seconds(facts.usual)}" if facts.usual else ""
        return "running", f"its run has been under way since {live.since}{usual}"
    if watched.suspended:
        return "suspended", "its schedule is suspended in Argo"
    if facts.failed is not None and facts.failed >= due:
        several = f"{count(facts.failures, 'run')} failed one after the other, the last"
        return "failing", f"{several if facts.failures > 1 else 'its last run failed'} with {facts.code}"
    return "not-started", "no run has begun since"


# -- the cluster's objects


def of_schedule(cron: Mapping[str, Any]) -> Watched | None:
    """Return what to watch of a live CronWorkflow; None if it is paused or not one of ours."""
    metadata, spec = cron["metadata"], cron["spec"]
    notes, name = metadata.get("annotations") or {}, (metadata.get("labels") or {}).get(PIPELINE)
    if name is None or notes.get(SUSPENDED) == "true":
        return None
    values = {item["name"]: item.get("value") for item in spec.get("workflowSpec", {}).get("arguments", {}).get("parameters", [])}
    return Watched(
        name,
        tuple(spec.get("schedules", ())),
        spec.get("timezone") or "UTC",
        datetime.fromisoformat(notes.get(SINCE) or metadata["creationTimestamp"]),
        int(notes[LATE_AFTER]) if LATE_AFTER in notes else None,
        values.get("notify") or "failure",
        bool(spec.get("suspend")),
    )


def unfinished(workflows: Iterable[Mapping[str, Any]]) -> dict[str, Live]:
    """Return the runs that have not ended, by pipeline; one that runs before one that waits."""
    runs: dict[str, Live] = {}
    for item in workflows:
        phase = item.get("status", {}).get("phase") or ""
        name = (item["metadata"].get("labels") or {}).get(PIPELINE)
        if name and phase in {"", "Pending", "Running"} and (name not in runs or runs[name].waiting):
            runs[name] = Live(phase != "Running", shown(datetime.fromisoformat(item["metadata"]["creationTimestamp"])))
    return runs


# -- the check, which remembers what it has reported


@dataclass(frozen=True)
class Note:
    """What the check remembers of a pipeline."""

    success: str | None = None
    usual: float = 0.0
    late: str | None = None
    """The due time that was reported; None if it was on time."""

    @property
    def facts(self) -> Known:
        """What it tells without a look at the records."""
        return Known(datetime.fromisoformat(self.success) if self.success else None, self.usual)


@dataclass(frozen=True)
class Memory:
    """What the check knows from its earlier looks."""

    looked: str | None = None
    awake: str | None = None
    """When it looked again after a pause."""
    pipelines: Mapping[str, Note] = field(default_factory=dict)

    @classmethod
    def read(cls, data: bytes | None) -> Self:
        """Read it; without any, or if it is damaged, it is empty."""
        try:
            facts = json.loads(data or b"{}")
            return cls(facts.get("looked"), facts.get("awake"), {name: Note(**note) for name, note in facts.get("pipelines", {}).items()})
        except (ValueError, TypeError, AttributeError):
            return cls()

    def write(self) -> bytes:
        """Return what ``read`` reads."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    def woken(self, now: datetime) -> datetime | None:
        """Return when the machine woke last, as far as the pauses between looks show it."""
        if self.looked and now - datetime.fromisoformat(self.looked) > SLEPT:
            return now
        return datetime.fromisoformat(self.awake) if self.awake else None


@dataclass(frozen=True)
class Look:
    """What one look has shown."""

    memory: Memory
    """To keep, if all of its messages arrive."""
    late: tuple[Late, ...]
    new: tuple[Late, ...]
    """Those that were not reported yet."""
    again: tuple[str, ...]
    """The pipelines that were reported and have succeeded since."""


def look(
    memory: Memory, pipelines: Sequence[Watched], live: Mapping[str, Live], now: datetime, records: Callable[[str], Iterable[Record]]
) -> Look:
    """Judge all pipelines. Records are read only of those that may be late, or were."""
    awake = memory.woken(now)
    notes, late, new, again = dict[str, Note](), list[Late](), list[Late](), list[str]()
    for watched in pipelines:
        note = memory.pipelines.get(watched.pipeline, Note())
        overdue = judge(watched, note.facts, now, awake=awake)
        if overdue or note.late:
            facts = known(records(watched.pipeline), note.facts)
            overdue = judge(watched, facts, now, live.get(watched.pipeline), awake)
            if note.late and not overdue and facts.success and stamp(facts.success) >= note.late:
                again.append(watched.pipeline)
            if overdue and not note.late:
                new.append(overdue)
            reported = (note.late or stamp(overdue.due)) if overdue else None
            note = Note(_stamped(facts.success), facts.usual, reported)
        late += [overdue] if overdue else []
        notes[watched.pipeline] = note
    kept = Memory(stamp(now), _stamped(awake), notes)
    return Look(kept, tuple(late), tuple(new), tuple(again))


def unreported(memory: Memory, before: Memory, names: Iterable[str]) -> Memory:
    """Return a memory in which *names* are as they were reported before: their message was lost."""
    earlier = {name: before.pipelines.get(name, Note()).late for name in names}
    notes = {name: replace(note, late=earlier.get(name, note.late)) for name, note in memory.pipelines.items()}
    return replace(memory, pipelines=notes)


def message(late: Sequence[Late], again: Sequence[str]) -> dict[str, Any]:
    """Return the message about pipelines that are late, or on time again: one for all of them."""
    names = [item.pipeline for item in late] or list(again)
    error = None
    if late:
        text = "\n".join(map(str, late))
        error = {"code": "E-LATE", "problem": f"{count(len(late), 'pipeline')} late. {text}", "hint": "See: invoke runs --late"}
    else:
        text = f"On time again: {', '.join(again)}"
    return {
        "pipeline": names[0] if len(names) == 1 else None,
        "run": None,
        "status": "late" if late else "on time",
        "error": error,
        "warnings": [],
        "log": [],
        "link": None,
        "text": f"Late. {text}" if late else text,
        "pipelines": names,
        "late": [item.fields() for item in late],
    }
