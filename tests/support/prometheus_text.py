"""Prometheus' text format, read strictly: what a Prometheus would refuse raises ``ValueError``."""

from __future__ import annotations

import math
import re
from typing import NamedTuple

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
SAMPLE = re.compile(rf"({NAME})(?:\{{(.*)\}})? (\S+)(?: (-?\d+))?")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
COMMENT = re.compile(rf"# (HELP|TYPE) ({NAME}) ?(.*)")
TYPES = {"counter", "gauge", "histogram", "summary", "untyped"}
PARTS = {"histogram": ("_bucket", "_sum", "_count"), "summary": ("", "_sum", "_count")}


class Series(NamedTuple):
    """A metric with its labels."""

    name: str
    labels: frozenset[tuple[str, str]]


def parsed(text: str) -> tuple[dict[str, str], dict[Series, float]]:
    """Return the type of each family, and the value of each series.

    :raises ValueError: a line is not of the format, a series comes twice, a family is torn apart or has no type.
    """
    if not text.endswith("\n"):
        raise ValueError("the last line does not end")
    types: dict[str, str] = {}
    values: dict[Series, float] = {}
    order: list[str] = []
    for line in text.splitlines():
        comment, sample = COMMENT.fullmatch(line), SAMPLE.fullmatch(line)
        if comment and comment[1] == "TYPE":
            if comment[2] in types or comment[3] not in TYPES:
                raise ValueError(line)
            types[comment[2]] = comment[3]
        elif sample:
            series = Series(sample[1], labels(sample[2] or ""))
            if series in values:
                raise ValueError(f"twice: {line}")
            values[series] = number(sample[3])
            of = family(sample[1], types)
            if order[-1:] != [of] and of in order:
                raise ValueError(f"torn apart: {line}")
            order.append(of)
        elif line.strip() and not line.startswith("#"):
            raise ValueError(line)
    return types, values


def labels(text: str) -> frozenset[tuple[str, str]]:
    """Return the labels between the braces."""
    pairs, at = list[tuple[str, str]](), 0
    while at < len(text):
        match = LABEL.match(text, at)
        if not match:
            raise ValueError(text)
        pairs.append((match[1], match[2]))
        at = match.end()
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError(f"a label comes twice: {text}")
    return frozenset(pairs)


def family(name: str, types: dict[str, str]) -> str:
    """Return the family of a sample."""
    if types.get(name) in {"counter", "gauge", "untyped"}:
        return name
    for kind, suffixes in PARTS.items():
        for suffix in suffixes:
            base = name.removesuffix(suffix) if suffix else name
            if name.endswith(suffix) and types.get(base) == kind:
                return base
    raise ValueError(f"{name} has no type")


def number(text: str) -> float:
    """Return a value."""
    value = float(text)
    if math.isnan(value) and text != "NaN":
        raise ValueError(text)
    return value
