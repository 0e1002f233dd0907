"""Where the rows come from: pages of an HTTP API, or a sample while ``api_url`` is not set.

Adapt ``_pages`` to your source. The tap calls ``changed`` and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import requests

SAMPLE: list[dict[str, Any]] = [
    {"id": 1, "name": "anvil", "price": 120.0, "updated_at": "2026-01-05T09:30:00+00:00"},
    {"id": 2, "name": "bellows", "price": 45.5, "updated_at": "2026-02-11T14:00:00+00:00"},
    {"id": 3, "name": "crucible", "price": None, "updated_at": "2026-03-20T08:15:00+00:00"},
]
SECONDS = 60
"""How long one request may take."""


def changed(config: Mapping[str, Any], since: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows that changed later than *since* (None: all), in the order of ``updated_at``.

    In a first run *since* is ``start_date`` of the config: then the moment itself belongs to it.
    ``end_date`` is the last day or moment; backfills set both.
    """
    begin, end = _moment(since), _moment(config.get("end_date"), last=True)
    first = since == config.get("start_date")
    rows: Iterable[dict[str, Any]] = _pages(config, since) if config.get("api_url") else SAMPLE
    for row in rows:
        moment = _moment(row["updated_at"])
        early = begin and moment and (moment < begin or (moment == begin and not first))
        late = end and moment and moment > end
        if not early and not late:
            yield row


def _moment(text: str | None, *, last: bool = False) -> datetime | None:
    """Return a moment, in UTC if it names no time zone; of a day the first or the *last* one."""
    if not text:
        return None
    moment = datetime.fromisoformat(text)
    if last and len(text) == len("2026-01-01"):
        moment += timedelta(days=1, microseconds=-1)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _pages(config: Mapping[str, Any], since: str | None) -> Iterator[dict[str, Any]]:
    """Yield the rows of all pages. The API counts pages from 1, and an empty page is the last."""
    with requests.Session() as session:
        if config.get("api_token"):
            session.headers["Authorization"] = f"Bearer {config['api_token']}"
        page = 1
        while True:
            parameters = {"page": page, **({"updated_since": since} if since else {})}
            answer = session.get(f"{config['api_url'].rstrip('/')}/items", params=parameters, timeout=SECONDS)
            answer.raise_for_status()
            rows = answer.json()
            if not rows:
                return
            yield from rows
            page += 1
