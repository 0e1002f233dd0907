"""What the parts of a run are: by the streams of the catalog, or by days."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, nearest
from cluster.errors import SetupError
from cluster.project.parts import MOST, Part, Plan
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

REST = "rest"
"""The last group of a split: the streams that no group names."""
TAKEN = ("transform", "parts.json")
"""What the folder of a run has beside those of its parts."""


# -- by streams


def by_streams(catalog: Mapping[str, Any], groups: Mapping[str, Sequence[str]], at_once: int, shown: str, tap: str) -> Plan:
    """Return a part for each selected stream, or for each of *groups* and the rest.

    :raises SetupError: E-CATALOG, no stream is selected; E-SETTING, too many are; E-UNKNOWN, a
        group names one that is not selected.
    """
    streams = list(selected(catalog))
    if not streams:
        raise SetupError("E-CATALOG", f"{shown} has no selected stream to split.", hint=f"Select some: {command(f'select {tap}')}")
    for name in (name for names in groups.values() for name in names):
        if name not in streams:
            raise SetupError(
                "E-UNKNOWN",
                f"split names the stream {describe(name)}, which {shown} does not select.{nearest(name, streams)}",
                hint=f"Correct split, or select it: {command(f'select {tap}')}",
            )
    if groups:
        named = {name for names in groups.values() for name in names}
        rest = tuple(stream for stream in streams if stream not in named)
        made = [*((name, tuple(names)) for name, names in groups.items()), *([(REST, rest)] if rest else [])]
    else:
        made = [(stream, (stream,)) for stream in streams]
    parts = zip(_names(name for name, _ in _few(made)), made, strict=True)
    return Plan(tuple(Part(name, own) for name, (_, own) in parts), at_once)


def selected(catalog: Mapping[str, Any]) -> Iterator[str]:
    """Yield the ``tap_stream_id`` of each selected stream, as ``onboarding.catalog`` reads it."""
    for entry in catalog["streams"]:
        items = entry.get("metadata")
        items = items if isinstance(items, list) else []
        root: Mapping[str, Any] = next((item.get("metadata") or {} for item in items if item.get("breadcrumb") == []), {})
        marks = (root.get("selected"), entry["schema"].get("selected"), entry.get("selected"), root.get("selected-by-default"))
        if next((bool(mark) for mark in marks if mark is not None), not items) and root.get("inclusion") != "unsupported":
            yield entry.get("tap_stream_id", entry.get("stream"))


def incremental(catalog: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield each selected stream that is incremental by a date, and the field of that date."""
    for name, method, key, field in _replicated(catalog):
        if method == "INCREMENTAL" and field.get("format") in {"date", "date-time"}:
            yield name, key


def log_based(catalog: Mapping[str, Any]) -> list[str]:
    """Return the selected streams that are read from the source's log."""
    return [name for name, method, _, _ in _replicated(catalog) if method == "LOG_BASED"]


def _replicated(catalog: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any, Mapping[str, Any]]]:
    """Yield each selected stream with its replication method, replication key, and that field."""
    chosen = set(selected(catalog))
    for entry in catalog["streams"]:
        items = entry.get("metadata")
        items = items if isinstance(items, list) else []
        root: Mapping[str, Any] = next((item.get("metadata") or {} for item in items if item.get("breadcrumb") == []), {})
        method = root.get("replication-method") or entry.get("replication_method")
        key = root.get("replication-key") or entry.get("replication_key")
        field = entry["schema"].get("properties", {}).get(key) or {}
        name = entry.get("tap_stream_id", entry.get("stream"))
        if name in chosen:
            yield name, method, key, field


def _names(streams: Iterable[str]) -> Iterator[str]:
    """Yield a name for the part of each stream or group: a folder and a key in every store."""
    seen = set(TAKEN)
    for stream in streams:
        short = name = re.sub(r"[^A-Za-z0-9_.-]+", "-", stream).strip(".-")[:80] or "stream"
        number = 1
        while name.lower() in seen:
            number += 1
            name = f"{short}-{number}"
        seen.add(name.lower())
        yield name


def _few(parts: list[Any]) -> list[Any]:
    """Check the number of parts.

    :raises SetupError: E-SETTING, there are too many.
    """
    if len(parts) > MOST:
        raise SetupError("E-SETTING", f"These are {len(parts):,} parts; a run has at most {MOST:,}.", hint="Make fewer: larger parts.")
    return parts
