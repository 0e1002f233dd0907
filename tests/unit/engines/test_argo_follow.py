"""Runs of the argo engine whose end the cluster cannot record: a deleted Workflow, a store that is gone, a lost answer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cluster.config.settings import Settings
from cluster.engines import argo
from cluster.engines.argo import ArgoEngine
from cluster.errors import RunError, SetupError
from cluster.runs.history import History
from cluster.runs.journal import Journal
from cluster.runs.record import Record, Side
from cluster.store.folders import FolderStore
from cluster.ui.jsonl import Json

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

RUN = "20261124t081501-2bcd"
BEFORE, AFTER = {"n": 2}, {"n": 5}


def workflow(phase: str, message: str = "") -> dict[str, Any]:
    """Return a live Workflow."""
    metadata = {"name": RUN, "labels": {"singer/pipeline": "p"}, "creationTimestamp": "2026-11-24T08:15:01Z"}
    return {"metadata": metadata, "spec": {}, "status": {"phase": phase, "message": message}}


class Kube:
    """An API server that shows one Workflow, a look after the other; None: it was deleted."""

    def __init__(self, looks: Sequence[dict[str, Any] | None]) -> None:
        """Take what each look shows; the last one lasts."""
        self.looks = list(looks)

    def get(self, *_: str) -> dict[str, Any] | None:
        """Return the Workflow."""
        return self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]

    def objects(self, *_: str, **__: str) -> list[dict[str, Any]]:
        """Return the pods: none."""
        return []


class Away(FolderStore):
    """A store that does not answer any more."""

    away = False

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """Answer, unless it is away."""
        if self.away:
            raise SetupError("E-STORE", "http://minio:9000 cannot be reached: connection refused.", hint="Start it.")
        return super().get(bucket, key, version)


class Followed:
    """An engine on these stand-ins, with the run under way and one file of it published."""

    def __init__(self, folder: Path, *looks: dict[str, Any] | None) -> None:
        """Begin the run."""
        settings = Settings(root=folder)
        self.store = Away(folder / "buckets")
        self.store.prepare({settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False})
        self.history = History(self.store, settings)
        self.history.save_state("p", BEFORE)
        self.journal = Journal(self.history, record())
        self.journal.begin()
        data = folder / "data"
        data.mkdir()
        (data / "s.csv").write_text("a\n", encoding="utf-8")
        self.journal.publish(data, ("*.csv",))
        handles = SimpleNamespace(kube=Kube(looks), history=self.history, settings=settings, namespace="argo")
        self.engine = ArgoEngine(cast("Any", handles), Json())

    def files(self) -> list[str]:
        """Return what is published."""
        return [item.key for item in self.store.objects(self.history.settings.bucket_outputs)]


def record() -> Record:
    """Return the record of a run that is under way."""
    return Record(RUN, "p", "argo", "2026-11-24T08:15:01Z", Side("tap-x", "1"), Side("target-x", "2"), BEFORE, state_after=BEFORE)


def test_a_workflow_that_was_deleted(tmp_path: Path) -> None:
    """The run is recorded as interrupted, its files are taken back, and its error makes the command end with 2."""
    run = Followed(tmp_path, workflow("Running"), None)
    [record] = run.engine.follow({RUN: "p"})
    stored = run.history.read("p", RUN)
    assert stored is not None
    assert (record.status, stored.status, stored.state_after) == ("interrupted", "interrupted", BEFORE)
    assert (stored.error or {})["problem"] == f"The Workflow of {RUN} was deleted."
    assert "State and earlier files are unchanged." in (stored.error or {})["hint"]
    assert (run.files(), run.history.state("p")) == ([], BEFORE)


def test_a_workflow_that_was_deleted_after_its_commit(tmp_path: Path) -> None:
    """A committed run has succeeded, even if something happens to its Workflow; a state that is missing follows."""
    run = Followed(tmp_path, workflow("Running"), None)
    run.journal.commit(AFTER)
    run.history.save_state("p", BEFORE)
    [record] = run.engine.follow({RUN: "p"})
    assert (record.status, run.history.state("p"), run.files()) == ("succeeded", AFTER, [f"p/{RUN}/s.csv"])


def test_a_store_that_is_gone_during_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command ends soon, with one sentence and what to do."""
    monkeypatch.setattr(argo, "STORE_SECONDS", 0.5)
    monkeypatch.setattr(argo, "STORE_LOOK_SECONDS", 0.1)
    run = Followed(tmp_path, workflow("Running"))
    run.store.away = True
    with pytest.raises(RunError, match="The store has not answered for a minute") as caught:
        run.engine.follow({RUN: "p"})
    assert (caught.value.code, caught.value.hint) == ("E-STORE", f"Start it; then invoke show {RUN}.")


def test_a_committed_run_is_not_reported_as_failed(tmp_path: Path) -> None:
    """The Workflow failed after the commit, and the store does not answer: it is not known. When it answers, the run succeeded."""
    failed = workflow("Failed", "failed to put file: connection refused")
    run = Followed(tmp_path, failed)
    run.journal.commit(AFTER)
    run.store.away = True
    [record] = run.engine.follow({RUN: "p"})
    assert record.error is not None
    assert f"It is not known whether {RUN} is committed." in record.error["problem"]
    assert "unchanged" not in record.error["hint"]
    run.store.away = False
    assert run.engine.record(RUN, failed).status == "succeeded"
