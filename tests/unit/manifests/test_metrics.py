"""Metrics for Prometheus, the dashboard for them, and the pod of the check for late pipelines."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import kubernetes_schemas
import pytest
import yaml
from argo_models import unknown
from contract_tables import names, table
from pod_security import violations

from cluster.config.settings import parse
from cluster.platform.handles import Handles

if TYPE_CHECKING:
    from manifest_files import Document

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
PREFIX = "argo_workflows_"
ARGOS = {"gauge", "error_count", "queue_depth_gauge"}
"""Metrics of Argo's controller itself that the dashboard shows."""


def handles(folder: Path, **settings: Any) -> Handles:
    """Return handles of a checkout with these settings."""
    for name in ("manifests", "singer-configs"):
        (folder / name).symlink_to(ROOT / name)
    return Handles(parse(settings, {}, root=folder), {})


def metrics(documents: list[Document]) -> dict[str, list[Document]]:
    """Return the metrics of each template of each mode."""
    results = {}
    for document in documents:
        if document["kind"] == "WorkflowTemplate":
            name, spec = document["metadata"]["name"], document["spec"]
            results[name] = [metric for part in (spec, *spec["templates"]) for metric in part.get("metrics", {}).get("prometheus", [])]
    return results


def test_every_mode_has_the_documented_metrics(tmp_path: Path) -> None:
    """Argo's models know them, both modes have the same, and operations.md lists them with their type and labels."""
    documented = {names(row[0])[0].removeprefix(PREFIX): (row[1], set(names(row[2]))) for row in table("## Metrics", PAGE)}
    by_mode = metrics(handles(tmp_path).rendering.documents)
    assert by_mode.keys() == {"streaming", "staged"}
    for results in by_mode.values():
        kinds = {item["name"]: ({"counter", "gauge"} & item.keys(), {label["key"] for label in item["labels"]}) for item in results}
        assert {name: ("".join(kind), labels) for name, (kind, labels) in kinds.items()} == documented
        for item in results:
            assert unknown("Prometheus", item) == set()
            assert item["help"]


def test_counts_come_from_the_pods_that_load(tmp_path: Path) -> None:
    """Every template with metrics has the parameters that they name."""
    documents = handles(tmp_path).rendering.documents
    templates = [item for document in documents if document["kind"] == "WorkflowTemplate" for item in document["spec"]["templates"]]
    counting = [item for item in templates if "metrics" in item]
    assert {item["name"] for item in counting} == {"run", "run-with-mapper", "load"}
    for item in counting:
        wanted = set(re.findall(r"{{outputs\.parameters\.(\w+)}}", json.dumps(item["metrics"])))
        assert wanted == {parameter["name"] for parameter in item["outputs"]["parameters"]} == {"records", "bytes"}


@pytest.mark.parametrize("on", ["true", "false"])
def test_one_setting_turns_them_off(tmp_path: Path, on: str) -> None:
    """Off, nothing of them is applied, and Argo's endpoint is off."""
    documents = handles(tmp_path, metrics=on).rendering.documents
    [settings] = [item for item in documents if item["metadata"]["name"] == "workflow-controller-configmap"]
    assert yaml.safe_load(settings["data"]["config"])["metricsConfig"]["enabled"] is (on == "true")
    assert any(item["metadata"]["name"] == "workflow-controller-metrics" for item in documents) is (on == "true")
    assert [bool(results) for results in metrics(documents).values()] == [on == "true"] * 2


def test_the_service_leads_to_the_port(tmp_path: Path) -> None:
    """Service, annotations, container and configuration name one port."""
    documents = {(item["kind"], item["metadata"]["name"]): item for item in handles(tmp_path).rendering.documents}
    service = documents["Service", "workflow-controller-metrics"]
    [container] = documents["Deployment", "workflow-controller"]["spec"]["template"]["spec"]["containers"]
    config = yaml.safe_load(documents["ConfigMap", "workflow-controller-configmap"]["data"]["config"])["metricsConfig"]
    [port] = [item["containerPort"] for item in container["ports"] if item["name"] == service["spec"]["ports"][0]["targetPort"]]
    assert port == config["port"] == int(service["metadata"]["annotations"]["prometheus.io/port"])
    assert config["secure"] is False


def test_the_dashboard_shows_what_there_is() -> None:
    """Each query names metrics that exist; the panels do not overlap."""
    dashboard = json.loads((ROOT / "docs" / "dashboard.json").read_text(encoding="utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    queries += [item["query"] for item in dashboard["templating"]["list"]]
    known = {names(row[0])[0].removeprefix(PREFIX) for row in table("## Metrics", PAGE)}
    shown = {name for query in queries for name in re.findall(rf"{PREFIX}(\w+)", query)}
    assert shown == known | ARGOS
    cells = [
        (x, y)
        for panel in dashboard["panels"]
        for at in [panel["gridPos"]]
        for x in range(at["x"], at["x"] + at["w"])
        for y in range(at["y"], at["y"] + at["h"])
    ]
    assert len(cells) == len(set(cells))


@pytest.mark.parametrize("settings", [{}, {"image_platform": "linux/arm64", "provider": "existing", "namespace": "rates"}])
def test_the_check_for_late_pipelines_is_a_valid_pod(tmp_path: Path, settings: dict[str, str]) -> None:
    """Kubernetes knows all of it, `restricted` allows it, and only this container has the store's keys."""
    job = handles(tmp_path, **settings).rendering.check("registry.example.com/commit:1")
    kubernetes_schemas.validate(job)
    pod = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    assert violations(pod) == []
    [container] = pod["containers"]
    assert container["image"] == "registry.example.com/commit:1"
    assert job["metadata"]["namespace"] == settings.get("namespace", "argo")
    assert pod.get("nodeSelector", {}).get("kubernetes.io/arch") == ("arm64" if settings else None)


def test_the_check_without_keys(tmp_path: Path) -> None:
    """Where pods have an identity for the store, the check has no keys either."""
    store = {
        "store": "use",
        "s3_endpoint": "https://s3.example.com",
        "s3_credentials": "identity",
        "s3_role": "arn:aws:iam::123456789012:role/s",
    }
    rendering = handles(tmp_path, **store).rendering
    [container] = rendering.check("commit:1")["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert [item["name"] for item in container["env"]] == ["SINGER_NAMESPACE"]
    [account] = [item for item in rendering.documents if (item["kind"], item["metadata"]["name"]) == ("ServiceAccount", "late")]
    assert account["metadata"]["annotations"]
