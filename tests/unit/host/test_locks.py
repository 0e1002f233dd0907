"""Locks that are looked at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.host.locks import held, only_one

if TYPE_CHECKING:
    from pathlib import Path


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    """Whether somebody holds a lock is seen, while and after; a lock that is not there is held by nobody."""
    file = tmp_path / "lock"
    assert not held(file)
    with only_one(file, "busy"):
        assert held(file)
    assert not held(file)
