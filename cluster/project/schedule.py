"""Cron expressions and time zones, as Argo's controller accepts them.

Argo parses schedules with robfig/cron (``ParseStandard``). If that refuses one expression, none of
the pipeline's schedules starts. cronsim checks the syntax; the rules below are those in which the
two parsers differ.

The controller of Argo 3.7.10 and 4.0.1 lacks the legacy names of time zones, such as CET. There, a
schedule with such a name never starts, without an error.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from importlib import resources

from cluster.config.strict import nearest

FIELDS = {
    "minute": "0-59",
    "hour": "0-23",
    "day of the month": "1-31",
    "month": "1-12 or JAN-DEC",
    "weekday": "0-6 or SUN-SAT; Sunday is 0",
}
"""The five fields, and what each may hold."""
SUNDAY = 7
"""A weekday for cron(8) and cronsim, not for Argo."""
STEPS = re.compile(r"\d{5}")
"""A number too long for any field; robfig/cron fails to parse it, cronsim takes it for a step."""
START = datetime(2024, 1, 1, tzinfo=UTC)
FIXED_ZONE = re.compile(r"UTC|Etc/(UTC|GMT([+-]\d+)?)")
"""Zones without a place; those with one are in ``zone.tab``."""


@cache
def refusal(expression: str) -> str:
    """Return why Argo would never start a schedule; empty if it would.

    Many pipelines have the same schedule: each is parsed once.
    """
    texts = expression.replace("?", "*").split()
    if len(texts) != len(FIELDS):
        return f"the five fields are {', '.join(FIELDS)}; it has {len(texts)}"
    for number, (name, allowed) in enumerate(FIELDS.items()):
        alone = ["*"] * len(FIELDS)
        alone[number] = texts[number]
        if not _parses(" ".join(alone)) or _only_cronsim(name, texts[number]):
            return f'its {name} "{texts[number]}" is not allowed; a {name} is {allowed}, with , - / and *'
    day, month, weekday = texts[2:]
    if weekday == "*" and not _parses(f"* * {day} {month} *"):
        return "its day of the month never comes in that month"
    return ""


@cache
def _parses(expression: str) -> bool:
    """Return whether cronsim accepts an expression. Many schedules have fields in common."""
    from cronsim import CronSim, CronSimError  # noqa: PLC0415 - needed only for pipelines with a schedule

    try:
        CronSim(expression, START)
    except CronSimError:
        return False
    return True


def _only_cronsim(name: str, text: str) -> bool:
    """Return whether cronsim accepts a field that robfig/cron refuses."""
    if STEPS.search(text) or not text.isascii():
        return True
    if name == "day of the month":
        return "L" in text.upper()
    if name == "weekday":
        atoms = [atom for part in text.split(",") for atom in part.partition("/")[0].split("-")]
        return bool(set(text.upper()) & set("L#")) or any(atom.isdecimal() and int(atom) == SUNDAY for atom in atoms)
    return False


def zone_refusal(name: str) -> str:
    """Return why a time zone is refused; empty if every release of Argo knows it."""
    if name == "UTC":
        return ""
    places = _places()
    if name in places:
        return ""
    zones, links = _zones()
    if FIXED_ZONE.fullmatch(name) and name in zones:
        return ""
    if name in links:
        return f"{name} is a legacy name that some releases of Argo do not know, write {links[name].replace('Etc/UTC', 'UTC')}"
    if name in zones:
        return f"{name} is not the zone of a place, and some releases of Argo do not know it"
    return f"no time zone has this name.{nearest(name, places)}".rstrip(".")


@cache
def _places() -> set[str]:
    """Return the zones of places. Every command reads the pipelines: the table is read once."""
    lines = (resources.files("tzdata") / "zoneinfo" / "zone.tab").read_text("utf-8").splitlines()
    return {line.split("\t")[2] for line in lines if not line.startswith("#")}


@cache
def _zones() -> tuple[set[str], dict[str, str]]:
    """Return all zones, and the zone of each legacy name."""
    lines = [line.split() for line in (resources.files("tzdata") / "zoneinfo" / "tzdata.zi").read_text("utf-8").splitlines()]
    return {words[1] for words in lines if words[0] == "Z"}, {words[2]: words[1] for words in lines if words[0] == "L"}
