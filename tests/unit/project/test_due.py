"""When a schedule is due: as Argo's controller has it, also where clocks change."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from cluster.project.due import next_due, normal


def at(text: str) -> datetime:
    """Return a moment in UTC."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("expressions", "zone", "after", "due"),
    [
        (["0 6 * * *"], "UTC", "2026-11-29 05:59:59", "2026-11-29 06:00"),
        (["0 6 * * *"], "UTC", "2026-11-29 06:00", "2026-11-30 06:00"),
        (["0 6 * * *"], "Europe/Berlin", "2026-11-29 04:00", "2026-11-29 05:00"),
        (["0 6 * * *", "30 5 * * *"], "Asia/Kolkata", "2026-11-29 00:10", "2026-11-29 00:30"),
        (["0 0 29 2 *"], "UTC", "2026-11-29 00:00", "2028-02-29 00:00"),
        # 02:30 is skipped on 28 March 2027 in Berlin, and comes twice on 25 October 2026.
        (["30 2 * * *"], "Europe/Berlin", "2027-03-27 02:00", "2027-03-29 00:30"),
        (["30 2 * * *"], "Europe/Berlin", "2026-10-24 22:00", "2026-10-25 00:30"),
        (["30 2 * * *"], "Europe/Berlin", "2026-10-25 00:30", "2026-10-25 01:30"),
        (["30 2 * * *"], "Europe/Berlin", "2026-10-25 01:30", "2026-10-26 01:30"),
        (["45 * * * *"], "Australia/Lord_Howe", "2026-10-03 15:20", "2026-10-03 15:45"),
        # Both days restrict it: either is enough. A step is no star for Argo.
        (["0 0 13 * FRI"], "UTC", "2026-11-28 00:00", "2026-12-04 00:00"),
        (["0 0 */20 * 1"], "UTC", "2026-11-29 00:00", "2026-11-30 00:00"),
        (["0 0 31 2 *"], "UTC", "2026-11-29 00:00", None),
    ],
)
def test_next_due(expressions: list[str], zone: str, after: str, due: str | None) -> None:
    """The first moment after another one at which a schedule is due."""
    if due is None:
        expressions = []
    assert next_due(expressions, zone, at(after)) == (at(due) if due else None)


def test_every_moment_of_a_day_with_a_clock_change() -> None:
    """An hourly schedule has 25 runs on the longer day and 23 on the shorter one."""
    for day, hours in (("2026-10-24 22:00", 25), ("2027-03-27 23:00", 23)):
        moment, seen = at(day), 0
        first = moment
        while (moment - first).total_seconds() < hours * 3600:
            following = next_due(["0 * * * *"], "Europe/Berlin", moment)
            assert following is not None
            assert (following - moment).total_seconds() == 3600
            moment, seen = following, seen + 1
        assert seen == hours


def test_normal() -> None:
    """Stars of day fields with a step become ranges, which cron(8) reads as Argo reads the star."""
    assert normal("*/5 0 */2 ? */3") == "*/5 0 1-31/2 * 0-6/3"
    assert normal("0 6 */1 * *") == "0 6 */1 * *"
