"""A pipeline ``p`` of a tap and a target, and the parameters of its Workflow."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.argo import workflow as argo_workflow
from cluster.project.model import Connector, Pipeline

if TYPE_CHECKING:
    from cluster.argo.workflow import RunOptions

ROOT = Path("/checkout/singer-configs")
LABELS = {"app.kubernetes.io/part-of": "singer", "app.kubernetes.io/managed-by": "singer", "singer/instance": "0a1b2c3d"}
TARGET = argo_workflow.WorkflowScope("argo", LABELS, "http://127.0.0.1:2746")
IMAGES = {name: f"localhost/singer/{name}:1" for name in ("tap-x", "map-x", "target-x", "dbt-x", "commit")}
VERSIONS = {"tap-x": "1.0", "map-x": "4.0", "target-x": "2.0", "dbt-x": "3.0"}


def connector(name: str, kind: str) -> Connector:
    """Return a connector of these tests."""
    return Connector(name, ROOT / name, kind, (name,), (), name, (), None, ("*.csv",))


TAP, SINK, AFTER = connector("tap-x", "tap"), connector("target-x", "target"), connector("dbt-x", "transform")
MAPPER = connector("map-x", "mapper")
PLAIN = Pipeline(
    name="p",
    tap=TAP,
    target=SINK,
    mode="streaming",
    config=TAP.config,
    catalog=TAP.folder / "catalog.json",
    target_config=SINK.config,
    initial_state=TAP.folder / "state.json",
    schedule=("0 6 * * *",),
    timezone="Europe/Berlin",
    paused=False,
    resources={},
    timeout=3600,
    retries=2,
    notify="failure",
)


def parameters_of(pipeline: Pipeline, options: RunOptions = argo_workflow.PLAIN) -> dict[str, str]:
    """Return the parameters of a pipeline."""
    return argo_workflow.parameters(pipeline, IMAGES, VERSIONS, TARGET.ui, options)
