"""A checkout whose pipelines run in a real cluster, for the tests that need one. See ``clusters``."""

from __future__ import annotations

import json
import os
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from platform_checkout import Platform, why_not
from scenarios import AFTER, SCHEMA

from cluster.argo import workflow
from cluster.config.settings import Settings
from cluster.engines.argo import ArgoEngine
from cluster.platform.handles import Handles
from cluster.platform.steps import schedules
from cluster.ui.jsonl import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from cluster.runs.record import Record

CLUSTER = os.environ.get("INVOKE_SINGER_CLUSTER", "singer-argo")


@dataclass
class Done:
    """What came of a run."""

    last: dict[str, Any]
    record: dict[str, Any]


class Argo(Platform):
    """A checkout with a platform, whose pipelines are made of the scripted connectors."""

    def connector(self, name: str, side: str, capabilities: list[str]) -> None:
        """Write a connector that is one of the scripted ones: of a tap, a mapper or a target."""
        words = {"kind": side, "pip_url": f"tests/connectors/{side}-scripted", "executable": f"{side}-scripted"}
        self.write(f"{name}/connector.yaml", {**words, "capabilities": capabilities})
        self.write(f"{name}/config.json", {})

    def pipeline(
        self,
        name: str,
        tap: object,
        target: object = None,
        connector: str = "tap-scripted",
        target_connector: str = "target-scripted",
        **more: Any,
    ) -> str:
        """Add a pipeline with separate configs, or replace it."""
        self.write(f"own/{name}-tap.json", tap)
        self.write(f"own/{name}-target.json", target or {})
        file = self.root / "singer-configs" / "pipelines.yaml"
        entries = yaml.safe_load(file.read_text(encoding="utf-8"))
        entries[name] = {
            "tap": connector,
            "target": target_connector,
            "config": f"own/{name}-tap.json",
            "target_config": f"own/{name}-target.json",
            "retries": 0,
            **more,
        }
        self.write("pipelines.yaml", entries)
        return name

    def handles(self) -> Handles:
        """Return handles on the cluster."""
        return Handles(Settings(root=self.root, cluster=self.cluster, images=os.environ.get("INVOKE_SINGER_IMAGES", "")), {})

    def set_state(self, name: str, value: dict[str, Any]) -> None:
        """Give a pipeline a state to begin with."""
        with self.handles() as handles:
            handles.history.save_state(name, value)

    def get_state(self, name: str) -> Any:
        """Return a pipeline's state."""
        with self.handles() as handles:
            return handles.history.state(name)

    def data(self, name: str) -> dict[str, str]:
        """Return what is published of a pipeline."""
        with self.handles() as handles:
            store, bucket = handles.store(), handles.settings.bucket_outputs
            return {item.key: (store.get(bucket, item.key) or b"").decode() for item in store.objects(bucket, f"{name}/")}

    def runs(self, *names: str, **environ: str) -> dict[str, Done]:
        """Run pipelines in parallel and return the result of each."""
        result = self.type("run", ",".join(names), "--engine", "argo", "--json", **environ)
        assert "Traceback" not in result.err, result.err
        ends = {event["pipeline"]: event for event in result.events if event["event"] == "run.finished"}
        assert ends.keys() == set(names), result.err
        return {name: Done(end, self.type("show", end["run"], "--json").last if end["run"] else {}) for name, end in ends.items()}

    def one(self, name: str) -> Done:
        """Run one pipeline."""
        return self.runs(name)[name]

    def background(self, name: str, until: Callable[[], bool], seconds: float = 120, words: Sequence[str] = ()) -> Any:
        """Begin to run a pipeline and wait until something is so."""
        process = self.begin("run", name, "--engine", "argo", "--json", *words)
        deadline = time.monotonic() + seconds
        while not until():
            assert time.monotonic() < deadline, "it did not come to that"
            assert process.poll() is None, process.communicate()
            time.sleep(0.5)
        return process

    def pods(self, name: str) -> list[dict[str, Any]]:
        """Return the pods of a pipeline's runs that have not ended."""
        runs = {item["metadata"]["name"] for item in self.there("workflows", "-n", "argo", "-l", f"singer/pipeline={name}")}
        label = "workflows.argoproj.io/workflow"
        pods = self.there("pods", "-n", "argo", "-l", label)
        return [pod for pod in pods if pod["metadata"]["labels"][label] in runs and pod["status"]["phase"] in {"Pending", "Running"}]

    def works(self, name: str) -> bool:
        """Say whether the tap of a pipeline is running."""
        return any(item["name"] == "tap" and "running" in item["state"] for item in self.statuses(name))

    def statuses(self, name: str) -> list[dict[str, Any]]:
        """Return what the containers of a pipeline's pods are doing."""
        return [item for pod in self.pods(name) for item in pod["status"].get("containerStatuses", [])]

    def submit(self, name: str, run: str, **other: str) -> None:
        """Begin to run a pipeline, with other parameters than it would have."""
        with self.handles() as handles:
            handles.only = (name,)
            pipeline = handles.project.pipeline(name)
            parameters = schedules.parameters(handles, pipeline) | {key.replace("_", "-"): value for key, value in other.items()}
            handles.kube.create(workflow.workflow(pipeline, run, parameters, schedules.scope(handles)))

    def follow(self, name: str, run: str) -> Record:
        """Wait for the end of a run and return its record."""
        with self.handles() as handles:
            [record] = ArgoEngine(handles, Json()).follow({run: name})
        return record


@contextmanager
def argo_checkout(folder: Path, shared: Path) -> Iterator[Argo]:
    """Bring the platform of a new checkout up, and take it away afterwards; skip the test where there can be no cluster."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    checkout = Argo(folder / "checkout", shared, CLUSTER)
    checkout.connector("tap-scripted", "tap", ["catalog", "state"])
    checkout.connector("tap-discovering", "tap", ["discover", "catalog"])
    checkout.connector("target-scripted", "target", [])
    checkout.pipeline("one", {"steps": []})
    checkout.pipeline("another", {"steps": []}, connector="tap-discovering")
    try:
        up = checkout.type("up", "--json")
        assert up.code == 0, up.err
        yield checkout
    finally:
        checkout.type("teardown", "--yes")


def slow(seconds: float) -> dict[str, Any]:
    """Return a tap that takes its time, then sends three records and a state."""
    return {"steps": [SCHEMA, ["records", "s", 3, 2], ["sleep", seconds], ["state", AFTER]]}


def finished(process: Any) -> dict[str, Any]:
    """Wait for a command and return its last event."""
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in err, err
    return dict(json.loads(out.splitlines()[-1]))
