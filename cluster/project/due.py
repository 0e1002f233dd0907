"""When a schedule is due, as Argo's controller sees it. Pure.

Argo follows the clock of the time zone: a time that a clock change skips is never due, and one that
comes twice is due twice. Its day fields differ from cron(8) too: there, ``*/2`` counts as a star.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from zoneinfo import ZoneInfo

    from cronsim import CronSim

SHIFT = timedelta(hours=3)
"""No clock change is longer."""
DAY_STEPS = re.compile(r"\*/0*([2-9]|[1-9]\d+)")
OPEN_STEPS = re.compile(r"(?<![\w-])(\w+)/")
"""A step after one number, which goes on to the last one. Debian's cron does not take it."""
LAST = (59, 23, 31, 12, 6)
"""The last value of each field."""


def normal(expression: str) -> str:
    """Return an expression that means to cron(8) and cronsim what it means to Argo."""
    texts = zip(expression.replace("?", "*").split(), LAST, strict=True)
    minute, hour, day, month, weekday = (OPEN_STEPS.sub(rf"\1-{last}/", text) for text, last in texts)
    day, weekday = DAY_STEPS.sub(r"1-31/\1", day), DAY_STEPS.sub(r"0-6/\1", weekday)
    return f"{minute} {hour} {day} {month} {weekday}"


def fields(expression: str, start: datetime = datetime(2024, 1, 1)) -> CronSim:  # noqa: DTZ001 - the clock on the wall
    """Return a parsed expression, which yields times of the clock after *start*."""
    from cronsim import CronSim  # noqa: PLC0415 - needed only for pipelines with a schedule

    return CronSim(normal(expression), start)


def next_due(expressions: Iterable[str], timezone: str, after: datetime) -> datetime | None:
    """Return the first time after *after* at which one of *expressions* is due; None if never."""
    zone = _zone(timezone)
    return min(filter(None, (_next(expression, zone, after) for expression in expressions)), default=None)


@cache
def _zone(name: str) -> ZoneInfo:
    from zoneinfo import ZoneInfo  # noqa: PLC0415 - needed only for pipelines with a schedule

    return ZoneInfo(name)


def _next(expression: str, zone: ZoneInfo, after: datetime) -> datetime | None:
    """Return when one expression is due next."""
    best: datetime | None = None
    last: datetime | None = None
    clock = after.astimezone(zone).replace(tzinfo=None)
    for wall in fields(expression, clock if _steady(zone, after) else clock - SHIFT):
        if best is not None and last is not None and wall > last:
            break
        for moment in _moments(wall, zone):
            if moment > after and (best is None or moment < best):
                best, last = moment, wall + SHIFT
        if best is not None and _steady(zone, best):
            break
    return best


def _steady(zone: ZoneInfo, moment: datetime) -> bool:
    """Return whether no clock changes within hours of a moment."""
    return (moment - 2 * SHIFT).astimezone(zone).utcoffset() == (moment + 2 * SHIFT).astimezone(zone).utcoffset()


def _moments(wall: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return when the clock shows a time: once, twice, or never."""
    moments = {wall.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)}
    return [moment for moment in sorted(moments) if moment.astimezone(zone).replace(tzinfo=None) == wall]
