"""The source of the rows. Replace the sample by a request to your source, and keep ``changed``."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

SAMPLE: list[dict[str, Any]] = [
    {"id": 1, "name": "anvil", "price": 120.0, "updated_at": "2026-01-05T09:30:00+00:00"},
    {"id": 2, "name": "bellows", "price": 45.5, "updated_at": "2026-02-11T14:00:00+00:00"},
    {"id": 3, "name": "crucible", "price": None, "updated_at": "2026-03-20T08:15:00+00:00"},
]


def changed(since: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows that changed after *since* (None: all), ordered by ``updated_at``."""
    for row in SAMPLE:
        if since is None or row["updated_at"] > since:
            yield row
