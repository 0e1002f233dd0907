"""A backfill: one run over a span of days that the user names, beside the pipeline's own progress.

Singer does not define backfills. Most taps take ``start_date`` from the config, some ``end_date``;
both are replaced for the one run. The tap decides whether the last day is included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, read_object
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.project.model import Pipeline
    from cluster.project.reader import Project

START, END = "start_date", "end_date"
MOMENT = r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?"


@dataclass(frozen=True)
class Backfill:
    """The first and the last day, as the user typed them."""

    first: str
    last: str | None = None

    def as_dict(self) -> dict[str, str | None]:
        """Return the fields of a run's record."""
        return {"from": self.first, "to": self.last}

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
    if end < begin:
        raise SetupError("E-SETTING", f"--to {last} is before --from {first}.", hint="Exchange the two dates.")
    return Backfill(first, last or None)


def _moment(flag: str, text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text) if re.fullmatch(MOMENT, text) else None
    except ValueError:
        moment = None
    if moment is None:
        raise SetupError("E-SETTING", f"{flag} {describe(text)} is not a date.", hint="Write it like 2024-01-31 or 2024-01-31T06:00:00Z.")
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def recorded(fields: Mapping[str, Any] | None) -> Backfill | None:
    """Return the backfill of a record."""
    return Backfill(fields["from"], fields["to"]) if fields else None


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
    timed = isinstance(written.get(START), str) and "T" in written[START]
    return written | {name: _like(text, name, timed=timed) for name, text in dates.items()}


def _like(text: str | None, name: str, *, timed: bool) -> str | None:
    """Write a day as the config writes its own start: many taps take a date and time only."""
    if text is None or "T" in text or not timed:
        return text
    return text + ("T00:00:00Z" if name == START else "T23:59:59Z")
