"""What is asked of the store and of the cluster about a run with parts: each object once."""

from __future__ import annotations

import json
from collections import Counter
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from cluster.config.settings import Settings
from cluster.engines import logs
from cluster.engines.choice import Engine
from cluster.errors import SetupError
from cluster.project.parts import Part, Plan
from cluster.runs.history import History, PartHistory
from cluster.runs.record import Record, Side
from cluster.store.folders import FolderStore

if TYPE_CHECKING:
    from pathlib import Path

RUN, EARLIER = "20261124t081501-2bcd", "20261123t081501-2bcd"
PLAN = Plan(tuple(Part(f"2026-11-0{day}") for day in range(1, 5)))


class Watched(FolderStore):
    """A store that remembers what was read."""

    def __init__(self, root: Path) -> None:
        """Read nothing yet."""
        super().__init__(root)
        self.read = Counter[str]()
        self.broken = ""

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """Read, and remember it."""
        self.read[key] += 1
        if key == self.broken:
            raise SetupError("E-STORE", "It does not answer.", hint="Wait.")
        return super().get(bucket, key, version)


class Kube:
    """An API server with Workflows, and with pods that have one line of log."""

    def __init__(self) -> None:
        """Remember what was asked."""
        self.workflows, self.pods, self.asked = list[dict[str, Any]](), list[dict[str, Any]](), list[str]()

    def get(self, _: str, name: str, __: str) -> dict[str, Any] | None:
        """Return a Workflow."""
        self.asked.append(name)
        return next((item for item in self.workflows if item["metadata"]["name"] == name), None)

    def objects(self, kind: str, *_: str, **__: str) -> list[dict[str, Any]]:
        """Return the Workflows, or the pods."""
        self.asked.append(kind)
        return self.workflows if kind == "Workflow" else self.pods

    def log_since(self, pod: str, _: str, container: str, since: str) -> list[tuple[str, str]]:
        """Return its line."""
        return [] if since else [("2026-11-24T08:15:02Z", f"{pod} {container}")]


class Cluster:
    """An engine on these: a run under way with two of its four parts loaded, after one that has ended."""

    def __init__(self, folder: Path) -> None:
        """Write the records, and what Argo stores of the pods of the two parts."""
        settings = Settings(root=folder)
        self.store, self.kube = Watched(folder / "buckets"), Kube()
        self.store.prepare({settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False})
        history = History(self.store, settings)
        handles = SimpleNamespace(kube=self.kube, history=history, settings=settings, namespace="argo")
        session = SimpleNamespace(settings=settings, output=None)
        self.engine = Engine("argo", history, cast("Any", session), cast("Any", handles))
        for run, status in ((EARLIER, "succeeded"), (RUN, "running")):
            self.record = Record(run, "p", "argo", "2026-11-24T08:15:01Z", Side("tap-x", "1"), Side("target-x", "1"), None)
            self.record.divide(PLAN)
            self.record.status = cast("Any", status)
            history.save(self.record)
            metadata = {"name": run, "labels": {"singer/pipeline": "p"}, "creationTimestamp": "2026-11-24T08:15:01Z"}
            self.kube.workflows.append({"metadata": metadata, "spec": {}, "status": {"phase": "Running"}})
        for index in range(2):
            part = Record(
                RUN, "p", "argo", "", Side("tap-x", "1"), Side("target-x", "1"), None, status="succeeded", part=PLAN.parts[index].name
            )
            PartHistory(history, PLAN, index).save(part)
            for file in ("tap.log", "target.log", "main.log"):
                self.store.put(settings.bucket_artifacts, f"workflows/{RUN}/{self.pod(index)}/{file}", f"stored {index}\n".encode())
            self.store.put(
                settings.bucket_artifacts, f"workflows/{RUN}/{self.pod(index)}/tap.json", json.dumps({"part": part.part}).encode()
            )
        self.store.read.clear()

    @staticmethod
    def pod(index: int) -> str:
        """Return the name of the pod of a part."""
        return f"{RUN}-run-{index}"

    def has(self, index: int) -> None:
        """Let the pod of a part be there."""
        environment = [{"name": "SINGER_PART", "value": str(index)}]
        containers = [{"name": name, "env": environment} for name in ("wait", "tap", "target", "main")]
        self.kube.pods.append(
            {"metadata": {"name": self.pod(index), "creationTimestamp": "2026-11-24T08:15:01Z"}, "spec": {"containers": containers}}
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Cluster:
    """Return the run in its cluster."""
    return Cluster(tmp_path)


def test_stored_logs(cluster: Cluster) -> None:
    """Each pod's logs follow each other, with its part, and nothing is read twice; a second look shows nothing again."""
    seen: dict[tuple[str, str], str] = {}
    lines = list(logs.lines(cluster.engine, cluster.record, seen))
    first, second = PLAN.parts[0].name, PLAN.parts[1].name
    assert [(part, text) for part, _, text in lines] == [(first, "stored 0")] * 3 + [(second, "stored 1")] * 3
    assert {side for _, side, _ in lines} == {"tap", "target", "commit"}
    assert set(cluster.store.read.values()) == {1}
    assert list(logs.lines(cluster.engine, cluster.record, seen)) == []


def test_logs_of_deleted_pods(cluster: Cluster) -> None:
    """The logs of pods that are gone are shown too, before those of the pods that are there; none is shown twice."""
    cluster.has(1)
    cluster.has(2)
    seen: dict[tuple[str, str], str] = {}
    lines = list(logs.lines(cluster.engine, cluster.record, seen))
    names = [part.name for part in PLAN.parts]
    assert [text for _, _, text in lines[:3]] == ["stored 0"] * 3
    assert [(part, side) for part, side, _ in lines[3:]] == [(name, side) for name in names[1:3] for side in ("tap", "target", "commit")]
    cluster.kube.pods.pop(0)
    assert list(logs.lines(cluster.engine, cluster.record, seen)) == []


def test_a_log_that_cannot_be_read_at_once(cluster: Cluster) -> None:
    """The others are shown, and that one as soon as it can be read."""
    cluster.store.broken = f"workflows/{RUN}/{cluster.pod(0)}/tap.json"
    seen: dict[tuple[str, str], str] = {}
    assert [part for part, _, _ in logs.lines(cluster.engine, cluster.record, seen)] == [PLAN.parts[1].name] * 3
    cluster.store.broken = ""
    assert [part for part, _, _ in logs.lines(cluster.engine, cluster.record, seen)] == [PLAN.parts[0].name] * 3


def test_the_newest_runs(cluster: Cluster) -> None:
    """The Workflows are listed once, and the parts of a run that has ended are not looked at."""
    records = cluster.engine.newest(None, 10)
    assert [(record.run, record.status, [part["status"] for part in record.parts or ()]) for record in records] == [
        (RUN, "running", ["succeeded", "succeeded", "waiting", "waiting"]),
        (EARLIER, "succeeded", ["waiting"] * 4),
    ]
    assert cluster.kube.asked == ["Workflow"]
    assert set(cluster.store.read.values()) == {1}


def test_one_run(cluster: Cluster) -> None:
    """Only the Workflow of a run under way is asked for; without it, the run was interrupted."""
    for run in (EARLIER, RUN):
        assert cluster.engine.read("p", run) is not None
    assert cluster.kube.asked == [RUN]
    cluster.kube.workflows.clear()
    record = cluster.engine.read("p", RUN)
    assert record is not None
    assert record.status == "interrupted"
    assert cluster.engine.read("p", "20261101t081501-2bcd") is None
