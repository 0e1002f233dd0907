"""A run on this machine that ends while a command looks at it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

from cluster.config.settings import Settings
from cluster.engines.choice import Engine
from cluster.runs.history import History
from cluster.runs.record import Record, Side
from cluster.store import open_store

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.session import Session


def test_a_run_that_ends_while_it_is_looked_at(tmp_path: Path) -> None:
    """It has the status with which it ended; only a run that could not update its record was interrupted."""
    settings = Settings(root=tmp_path)
    history = History(open_store(settings, {}), settings)
    engine = Engine("local", history, cast("Session", SimpleNamespace(settings=settings)))
    run = Record("20261130t060000-aaaa", "p", "local", "2026-11-30T06:00:00Z", Side("t", "1"), Side("t", "1"), None)
    history.save(run)
    before = engine.read("p", run.run)
    assert before is not None
    assert (before.status, engine.status(before)) == ("running", "interrupted")
    run.status = "succeeded"
    history.save(run)
    assert engine.status(before) == "succeeded"
