"""Schedules: what Argo's controller would refuse is refused, with the reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.project.schedule import refusal, zone_refusal

ACCEPTED = [
    "0 6 * * *",
    "*/5 0 1 1 *",
    "0 6 * * 1-5",
    "0 6 * * MON-FRI",
    "0 6 * jan,JUL sun",
    "0 6 ? * ?",
    "0 6 1,15 * 0",
    "10-50/20 */2 * * *",
    "5/15 * * * *",
    "0  6   * * *",
    "0 0 29 2 *",
    "0 0 31 1-3 *",
    "0 0 31 2 5",
    "*/7 * * * */7",
]
REFUSED = {
    "0 25 * * 9": 'hour "25"',
    "H 6 * * *": 'minute "H"',
    "0 6 * * FUNDAY": 'weekday "FUNDAY"',
    "0 6 * * 7": "Sunday is 0",
    "0 6 * * 5-7": "Sunday is 0",
    "0 6 * * 1,07": "Sunday is 0",
    "60 6 * * *": 'minute "60"',
    "0 6 0 * *": 'day of the month "0"',
    "0 6 32 * *": 'day of the month "32"',
    "0 6 * 13 *": 'month "13"',
    "0 6 * FEB-JAN *": "month",
    "0 6 L * *": 'day of the month "L"',
    "0 6 LW * *": 'day of the month "LW"',
    "0 6 * * 5L": 'weekday "5L"',
    "0 6 * * 5#2": 'weekday "5#2"',
    "0 6 * * MON-": "weekday",
    "0 */0 * * *": "hour",
    "*/99999999999999999999 * * * *": "minute",
    "1-2-3 * * * *": "minute",
    "-1 * * * *": "minute",
    "1/2/3 * * * *": "minute",
    "0 6 * * \N{LATIN SMALL LETTER LONG S}un": "weekday",
    "٣ 6 * * *": "minute",
    "0 6 * *": "it has 4",
    "0 0 6 * * *": "it has 6",
    "@daily": "it has 1",
    "@every 1h": "it has 2",
    "TZ=UTC 0 6 * * *": "it has 6",
    "": "it has 0",
    "daily": "it has 1",
    "0 0 31 2 *": "never comes",
    "0 0 31 4,6 *": "never comes",
}


@pytest.mark.parametrize("expression", ACCEPTED)
def test_what_argo_accepts(expression: str) -> None:
    """Lists, ranges, steps, names in any case, and the question mark."""
    assert refusal(expression) == ""


@pytest.mark.parametrize(("expression", "reason"), REFUSED.items())
def test_what_argo_refuses_or_never_starts(expression: str, reason: str) -> None:
    """The reason names the field, its text, and what it may hold."""
    assert reason in refusal(expression)


BOUNDS = (
    (0, 59, ""),
    (0, 23, ""),
    (1, 31, ""),
    (1, 12, "jan feb mar apr may jun jul aug sep oct nov dec"),
    (0, 6, "sun mon tue wed thu fri sat"),
)


def robfig(field: str, least: int, most: int, names: str) -> bool:
    """Return whether robfig/cron v3 accepts one field: its rules, from ``getRange`` in its parser.go."""

    def number(text: str) -> int:
        known = names.split()
        return known.index(text.lower()) + least if text.lower() in known else int(text) if text.isascii() and text.isdecimal() else -1

    for part in filter(None, field.split(",")):
        span, *step = part.split("/")
        low, *high = span.split("-")
        if len(step) > 1 or len(high) > 1 or any(number(one) < 1 or not one.isdecimal() for one in step):
            return False
        if low not in {"*", "?"}:
            start = number(low)
            end = number(high[0]) if high else most if step else start
            if not least <= start <= end <= most:
                return False
    return True


ATOMS = "* ? 0 1 5 7 12 13 23 24 31 32 59 60 L LW MON sun JUL x"
atoms = st.sampled_from([*ATOMS.split(), ""])
parts = st.builds(lambda one, joint, two: f"{one}{joint}{two}" if joint else one, atoms, st.sampled_from(["", "", "-", "/", "#"]), atoms)
fields = st.lists(parts, min_size=1, max_size=3).map(",".join)


@given(st.tuples(fields, fields, fields, fields, fields).filter(all))
def test_argo_accepts_whatever_is_accepted(five: tuple[str, ...]) -> None:
    """No schedule that passes is one that the controller's parser refuses."""
    if refusal(" ".join(five)) == "":
        assert all(robfig(field, *bounds) for field, bounds in zip(five, BOUNDS, strict=True))


@given(st.integers(0, 4), fields.filter(bool))
def test_each_field_alone(number: int, field: str) -> None:
    """A single field of any form that passes is accepted by the controller's parser."""
    five = ["*"] * 5
    five[number] = field
    if refusal(" ".join(five)) == "":
        assert robfig(field, *BOUNDS[number])


@pytest.mark.parametrize("expression", [*ACCEPTED, *(text for text, reason in REFUSED.items() if "never" not in reason)])
def test_the_rules_of_the_controller(expression: str) -> None:
    """The table agrees with the controller's rules for expressions of five fields."""
    five = expression.split()
    if len(five) == len(BOUNDS) and "99999" not in expression:
        assert all(robfig(field, *bounds) for field, bounds in zip(five, BOUNDS, strict=True)) == (expression in ACCEPTED)


@pytest.mark.parametrize("name", ["UTC", "Europe/Berlin", "Europe/Stockholm", "America/Argentina/Buenos_Aires", "Etc/GMT-1", "Etc/UTC"])
def test_a_time_zone_that_every_argo_knows(name: str) -> None:
    """The zones of places, UTC and fixed offsets are accepted."""
    assert zone_refusal(name) == ""


ZONES = {
    "CET": "write Europe/Brussels",
    "US/Eastern": "write America/New_York",
    "Asia/Calcutta": "write Asia/Kolkata",
    "Zulu": "write UTC",
    "EST5EDT": "some releases of Argo do not know it",
    "Factory": "some releases of Argo do not know it",
    "europe/berlin": 'Did you mean "Europe/Berlin"?',
    "Mars/Olympus": "no time zone has this name",
    "localtime": "no time zone has this name",
    "posix/Europe/Berlin": "no time zone has this name",
    "right/Europe/Berlin": "no time zone has this name",
    "Europe": "no time zone has this name",
    "zone.tab": "no time zone has this name",
    "../Europe/Berlin": "no time zone has this name",
    "": "no time zone has this name",
}


@pytest.mark.parametrize(("name", "reason"), ZONES.items())
def test_a_time_zone_that_some_argo_refuses(name: str, reason: str) -> None:
    """A schedule in a zone that a controller does not know never starts: `check` reports why and what to write."""
    assert reason in zone_refusal(name)
