"""A backfill: one run over a span of days that the user names, beside the pipeline's own progress.

Singer does not define backfills. Most taps take ``start_date`` from the config, some ``end_date``;
both are replaced for the one run. ``end_date`` of ``connector.yaml`` tells whether the tap includes
its last day. In chunks, each day is in one of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import MAXYEAR, UTC, date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, read_object
from cluster.errors import SetupError
from cluster.project.parts import MOST, Part, Plan, bookmarks
from cluster.project.planning import incremental, log_based, selected

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cluster.project.model import Pipeline
    from cluster.project.reader import Project

START, END = "start_date", "end_date"
WHOLE = Plan((Part("all"),))
"""The plan of a run whose only part has all streams."""
EVERY = r"day|week|month|[1-9]\d{0,3}d"
DAYS = {"day": 1, "week": 7}
MOMENT = r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?"


@dataclass(frozen=True)
class Backfill:
    """The first and the last day, as the user typed them."""

    first: str
    last: str | None = None
    every: str = ""
    """The length of its chunks; empty if it has none."""

    def as_dict(self) -> dict[str, str | None]:
        """Return the fields of a run's record."""
        return {"from": self.first, "to": self.last, **({"every": self.every} if self.every else {})}

    def __str__(self) -> str:
        """Return it for people."""
        return f"from {self.first}" + (f" to {self.last}" if self.last else "")


def read(first: str, last: str, *, full: bool) -> Backfill | None:
    """Read ``--from`` and ``--to``; None if neither was passed.

    :raises SetupError: E-SETTING, one of them is not a date, they are in the wrong order, or
        another flag excludes them.
    """
    if not first and not last:
        return None
    if not first:
        raise SetupError("E-SETTING", "--to needs --from.", hint="Pass --from as well.")
    if full:
        raise SetupError("E-SETTING", "--from excludes --full.", hint="Leave out --full: a backfill uses no state.")
    begin, end = (_moment(flag, text) for flag, text in (("--from", first), ("--to", last or first)))
    # A last day is loaded to its end.
    if end < begin and ("T" in last or end.date() < begin.astimezone(UTC).date()):
        raise SetupError("E-SETTING", f"--to {last} is before --from {first}.", hint="Exchange the two dates.")
    return Backfill(first, last or None)


def _moment(flag: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if re.fullmatch(MOMENT, text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise SetupError("E-SETTING", f"{flag} {describe(text)} is not a date.", hint="Write it like 2024-01-31 or 2024-01-31T06:00:00Z.")
    if moment.year == MAXYEAR:  # no day is after its last one
        raise SetupError("E-SETTING", f"{flag} {text} is too late.", hint="Leave out --to to load all that is there.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def recorded(fields: Mapping[str, Any] | None) -> Backfill | None:
    """Return the backfill of a record."""
    return Backfill(fields["from"], fields["to"], fields.get("every", "")) if fields else None


def config(project: Project, pipeline: Pipeline, backfill: Backfill) -> dict[str, Any]:
    """Return the tap's config with the dates of a backfill. Secrets stay ``${NAME}``.

    :raises SetupError: E-SETTING, the tap does not take these dates, as far as config and
        ``connector.yaml`` tell.
    """
    file, tap = pipeline.config, pipeline.tap
    written = read_object(file, project.shown(file)) if file.exists() else {}
    dates = {START: backfill.first} | ({END: backfill.last} if backfill.last else {})
    missing = [name for name in dates if name not in written and name not in tap.settings]
    if missing:
        raise SetupError(
            "E-SETTING",
            f'{project.shown(file)} has no "{missing[0]}", and {tap.name} has no such setting in its connector.yaml.',
            hint=f"If it does, write settings: [{', '.join(dates)}] into {project.shown(tap.folder / 'connector.yaml')}.",
        )
    timed = "T" in backfill.first or (isinstance(written.get(START), str) and "T" in written[START])
    return written | {name: _like(text, name, timed=timed, exclusive=tap.end_exclusive) for name, text in dates.items()}


def _like(text: str, name: str, *, timed: bool, exclusive: bool) -> str:
    """Write a day as the config writes its own start: many taps take a date and time only.

    The end of a tap that excludes it is the day after the last one to load.
    """
    if "T" in text:
        return text
    if name == END and exclusive:
        text = str(date.fromisoformat(text) + timedelta(days=1))
    end = name == END and not exclusive
    return text + ("T23:59:59Z" if end else "T00:00:00Z") * timed


def check(project: Project, pipeline: Pipeline) -> None:
    """Check that no selected stream is read from the source's log, whose position would move.

    :raises SetupError: E-SETTING, one is.
    """
    streams = log_based(_catalog(project, pipeline)) if pipeline.catalog.exists() else []
    if streams:
        raise SetupError(
            "E-SETTING",
            f"{streams[0]} is LOG_BASED: a backfill would read the changes that the next run needs.",
            hint=f"Use another pipeline of {pipeline.tap.name}, whose catalog does not select it.",
        )


# -- of a tap without a start


def takes_start(project: Project, pipeline: Pipeline) -> bool:
    """Return whether the tap has ``start_date``, as far as config and ``connector.yaml`` tell."""
    file, tap = pipeline.config, pipeline.tap
    return START in tap.settings or (file.exists() and START in read_object(file, project.shown(file)))


def from_bookmarks(
    project: Project, pipeline: Pipeline, backfill: Backfill, plan: Plan | None, state: Mapping[str, Any] | None
) -> Plan | None:
    """Return *plan* from bookmarks at the first day, for a tap without ``start_date``.

    None if it has one, if the pipeline is staged, or if no incremental stream of the catalog has a
    date as its key. The other keys of a bookmark are those of the pipeline's *state*, such as the
    version of a table.

    :raises SetupError: E-SETTING, there is an end, which a bookmark cannot express.
    """
    keys = _keys(project, pipeline)
    if not keys:
        return None
    if backfill.last:
        raise _endless(pipeline)
    old = bookmarks(state)
    marks = {name: {**_own(old.get(name)), **_mark(key, backfill.first)} for name, key in keys.items()}
    base = plan or WHOLE
    made = []
    for part in base.parts:
        own = {name: mark for name, mark in marks.items() if name in part.streams or not part.streams}
        made.append(replace(part, state={"bookmarks": own} if own else None))
    return replace(base, parts=tuple(made))


def whole(project: Project, pipeline: Pipeline, plan: Plan) -> list[str]:
    """Return the selected streams that no bookmark of *plan* bounds."""
    known = {name for part in plan.parts for name in (part.state or {}).get("bookmarks", ())}
    known |= {name for part in plan.parts if part.name in plan.skipped for name in part.streams}
    return [name for name in selected(_catalog(project, pipeline)) if name not in known]


def _catalog(project: Project, pipeline: Pipeline) -> dict[str, Any]:
    return read_object(pipeline.catalog, project.shown(pipeline.catalog), "E-CATALOG")


def _keys(project: Project, pipeline: Pipeline) -> dict[str, str]:
    """Return the incremental streams that bookmarks can bound, each with the field of its date.

    Empty if the tap has ``start_date``, or if the pipeline is staged or has no catalog.
    """
    if takes_start(project, pipeline) or not pipeline.catalog.exists() or pipeline.mode == "staged":
        return {}
    return dict(incremental(_catalog(project, pipeline)))


def _endless(pipeline: Pipeline) -> SetupError:
    return SetupError(
        "E-SETTING",
        f"{pipeline.tap.name} has no end_date: its rows are bounded below by a bookmark, and cannot be bounded above.",
        hint=f"Leave out --to and --every, or write settings: [{START}, {END}] into its connector.yaml if it has them.",
    )


def _own(mark: Any) -> dict[str, Any]:
    return dict(mark) if isinstance(mark, dict) else {}


def _mark(key: str, first: str) -> dict[str, str]:
    """Return a bookmark as Meltano's SDK, PipelineWise and singer-python read it."""
    return {"replication_key": key, "replication_key_value": first, key: first, "last_replication_method": "INCREMENTAL"}


# -- in chunks


def chunks(backfill: Backfill, every: str) -> Iterator[tuple[str, str]]:
    """Yield the first and the last day of each chunk.

    :raises SetupError: E-SETTING, *every* or the dates do not allow it.
    """
    if not re.fullmatch(EVERY, every):
        raise SetupError("E-SETTING", f"--every {describe(every)} is no length.", hint="Write day, week, month or a number such as 30d.")
    if backfill.last is None or "T" in backfill.first + backfill.last:
        raise SetupError("E-SETTING", "--every needs --from and --to, as days.", hint="Write them like 2024-01-31.")
    day, last = date.fromisoformat(backfill.first), date.fromisoformat(backfill.last)
    while day <= last:
        after = _after(day, every)
        yield str(day), str(min(after - timedelta(days=1), last))
        day = after


def _after(day: date, every: str) -> date:
    """Return the first day of the next chunk. Months are those of the calendar."""
    if every == "month":
        return (day.replace(day=1) + timedelta(days=32)).replace(day=1)
    return day + timedelta(days=DAYS.get(every) or int(every.removesuffix("d")))


def plan(project: Project, pipeline: Pipeline, spans: Iterable[tuple[str, str]], at_once: int) -> Plan:
    """Return a part for each of *spans*. The tap loads all of its streams in each.

    :raises SetupError: E-SETTING, the tap does not take these dates, or there are too many.
    """
    if _keys(project, pipeline):
        raise _endless(pipeline)
    parts = []
    for first, last in islice(spans, MOST + 1):
        dates = config(project, pipeline, Backfill(first, last))
        parts.append(Part(first, (), (first, last), {START: dates[START], END: dates[END]}))
    if len(parts) > MOST:
        raise SetupError("E-SETTING", f"These are more than {MOST:,} parts.", hint="Make larger ones with --every.")
    if pipeline.mode == "staged":
        problem = f"{pipeline.name} is staged: it loads a backfill from one file, so not in parts."
        raise SetupError("E-SETTING", problem, hint="Leave out --every, or mode: staged.")
    return Plan(tuple(parts), at_once)
