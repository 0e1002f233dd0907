"""States in words: the bookmark of each stream instead of JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST = 3
"""How many streams fit into a line."""
LONGEST = 60
"""How many characters of a bookmark fit into a line."""


def bookmarks(state: Mapping[str, Any] | None) -> dict[str, str]:
    """Return each stream of a state with its bookmark; nothing for a state of another form."""
    return {stream: _mark(value) for stream, value in _by_stream(state).items()}


def _by_stream(state: Mapping[str, Any] | None) -> dict[str, Any]:
    streams = (state or {}).get("bookmarks")
    return streams if isinstance(streams, dict) and not set(state or {}) - {"bookmarks", "currently_syncing"} else {}


def _mark(bookmark: Any) -> str:
    """Return a bookmark's value, or its fields if it has several."""
    if not isinstance(bookmark, dict):
        return _cut(bookmark)
    fields = {key: value for key, value in bookmark.items() if key != "replication_key" and value not in (None, {}, [])}
    if isinstance(fields.get("partitions"), list):
        return _partitions(fields["partitions"])
    if not fields:
        return "no bookmark"
    if set(fields) <= {"replication_key_value", bookmark.get("replication_key")} or len(fields) == 1:
        return _cut(next(iter(fields.values())))
    return ", ".join(f"{key} {_cut(value)}" for key, value in fields.items() if key != "replication_key_signpost")


def _partitions(partitions: list[Any]) -> str:
    """Return how many partitions a stream of the SDK has, and their newest bookmark."""
    values = [item["replication_key_value"] for item in partitions if isinstance(item, dict) and item.get("replication_key_value")]
    alike = len({type(value) for value in values}) == 1 and isinstance(values[0], str | int | float)
    return count(len(partitions), "partition") + (f" up to {_cut(max(values))}" if alike else "")


def _cut(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    text = getattr(value, "text", text)  # a number with its digits as they were written
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def short(state: Mapping[str, Any] | None) -> str:
    """Return a state in one line: the bookmark of one stream, or streams with theirs."""
    streams = _by_stream(state)
    if not state or state == {"bookmarks": {}}:
        return "none"
    if len(streams) == 1:
        return _mark(next(iter(streams.values())))
    if streams:
        more = f" · and {len(streams) - MOST} more" if len(streams) > MOST else ""
        return " · ".join(f"{stream} {_mark(mark)}" for stream, mark in list(streams.items())[:MOST]) + more
    keys = [f"{key} {_mark(value)}" for key, value in state.items()]
    return " · ".join(keys[:MOST]) + (f" · and {len(keys) - MOST} more" if len(keys) > MOST else "")


def change(before: Mapping[str, Any] | None, after: Mapping[str, Any] | None) -> str:
    """Return a run's state in one line: after it, and before it."""
    return f"{short(after)} ({'unchanged' if after == before else f'before: {short(before)}'})"
