"""Configs: what a listing of the bucket tells without reading an object."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime

import pytest

from cluster.platform.steps.storage import same
from cluster.store import Object

CONTENT = b'{"start_date": "2026-01-01"}'
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


@pytest.mark.parametrize(
    ("size", "etag", "expected"),
    [
        (len(CONTENT), MD5, True),
        (len(CONTENT), "0" * 32, False),  # other content, or a store that encrypts: then the object is read
        (len(CONTENT), f"{MD5}-2", False),
        (len(CONTENT), "", False),
        (1, MD5, False),
    ],
)
def test_a_listing_shows_what_is_the_same(size: int, etag: str, *, expected: bool) -> None:
    """The size and the MD5 of the content are enough; without them nothing is assumed."""
    assert same(CONTENT, Object("connectors/x/config.json", size, datetime.now(UTC), etag)) is expected
