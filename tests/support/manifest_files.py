"""The manifests as data: every object, and what tests look up in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import yaml
from checkout import ROOT

from cluster.kube.documents import load

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]

MANIFESTS = ROOT / "manifests"
NAMESPACE = "argo"
BUCKETS = ("singer-configs", "artifacts", "target-csv-output")
SECRET_KEYS = ["accesskey", "secretkey"]
ARGO = "argoproj.io/v1alpha1"


def name_of(document: Document) -> str:
    """Return an object's name, or what its name will begin with."""
    return str(document["metadata"].get("name") or document["metadata"]["generateName"])


def documents() -> Iterator[tuple[str, Document]]:
    """Return every object of every manifest with a readable name; kind's own configuration is not one."""
    for file in sorted(MANIFESTS.rglob("*.yaml")):
        if file.name == "kind.yaml":
            continue
        for document in load([file]):
            yield f"{file.relative_to(MANIFESTS)}:{document['kind']}/{name_of(document)}", document


ALL = dict(documents())
CORE = {name: document for name, document in ALL.items() if document["apiVersion"] != ARGO}
WORKFLOWS = {name: document for name, document in ALL.items() if document["apiVersion"] == ARGO}
WORKLOADS = {name: document for name, document in ALL.items() if document["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}}
SERVICES = {name: document for name, document in ALL.items() if document["kind"] == "Service"}


def each(chosen: dict[str, Document]) -> pytest.MarkDecorator:
    """Run a test once for each of these objects."""
    return pytest.mark.parametrize("document", chosen.values(), ids=chosen.keys())


def find(kind: str, name: str) -> Document:
    """Return the one object of this kind and name."""
    matching = [document for document in ALL.values() if (document["kind"], name_of(document)) == (kind, name)]
    assert len(matching) == 1, f"{kind}/{name}: {len(matching)} objects"
    return matching[0]


def kind_config() -> Document:
    """Return kind's configuration."""
    return dict(yaml.safe_load((MANIFESTS / "kind.yaml").read_text(encoding="utf-8")))


def argo_config() -> Document:
    """Return the controller's configuration: the YAML inside the ConfigMap."""
    data = find("ConfigMap", "workflow-controller-configmap")["data"]
    assert list(data) == ["config"]
    return dict(yaml.safe_load(data["config"]))


def rules(role: str) -> list[Document]:
    """Return the rules of a role."""
    return list(find("Role", role)["rules"])


def pod_spec(document: Document) -> Document:
    """Return the pod specification of a workload."""
    return dict(document["spec"]["template"]["spec"])


def containers(spec: Document) -> list[Document]:
    """Return every container of a pod specification."""
    return [*spec.get("initContainers", []), *spec["containers"]]


def images() -> dict[str, str]:
    """Return every image that the manifests name, by who names it."""
    used = {f"{name}:{container['name']}": container["image"] for name, doc in WORKLOADS.items() for container in containers(pod_spec(doc))}
    return used | {"executor": argo_config()["executor"]["image"], "node": kind_config()["nodes"][0]["image"]}
