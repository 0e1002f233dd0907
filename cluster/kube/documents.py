"""Kubernetes objects as plain data: loading, changing, ordering; why a live one is not ready.

Pure but for reading the files. There is no templating language: a file is valid as it stands, and a
value is set at a path that must be there.
"""

from __future__ import annotations

import copy
import hashlib
import json
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

Document = dict[str, Any]
LOADER = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
"""The loader in C reads our manifests seven times as fast."""

CONTENT = "singer/content"
"""The annotation with a digest of what was applied."""

CRASHES = 3
"""So many crashes are not bad luck."""
QUICK_SECONDS = 15

ORDER = (
    "Namespace", "CustomResourceDefinition", "ServiceAccount", "Role", "RoleBinding", "Secret", "ConfigMap", "PersistentVolumeClaim",
    "Service", "NetworkPolicy", "Deployment", "StatefulSet", "WorkflowTemplate", "CronWorkflow", "CronJob",
    "EventSource", "Sensor",
)  # fmt: skip
"""The order of application. Deletion is in reverse."""


def load(files: Iterable[Path]) -> list[Document]:
    """Return the documents of YAML files, in their order."""
    return [document for file in files for document in yaml.load_all(file.read_text(encoding="utf-8"), LOADER) if document]


def ordered(documents: Iterable[Document]) -> list[Document]:
    """Return *documents* in the order in which they can be applied."""
    return sorted(documents, key=lambda document: ORDER.index(document["kind"]))


def name(document: Mapping[str, Any]) -> str:
    """Return ``kind/name`` as people write it."""
    return f"{document['kind'].lower()}/{document['metadata']['name']}"


def with_value(document: Document, path: str, value: object) -> Document:
    """Return a copy of *document* with *value* at *path*: keys and list indices joined by dots.

    :raises KeyError: the path is not there; nothing is ever added by a misspelt path.
    """
    changed = copy.deepcopy(document)
    *parents, last = path.split(".")
    parent: Any = changed
    for part in parents:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    key: Any = int(last) if isinstance(parent, list) else last
    parent[key]
    parent[key] = value
    return changed


def labelled(document: Document, labels: Mapping[str, str]) -> Document:
    """Return *document* with more labels, not on its pods: selectors stay unchanged."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "labels": {**metadata.get("labels", {}), **labels}}}


def annotated(document: Document, annotations: Mapping[str, str]) -> Document:
    """Return *document* with more annotations."""
    metadata = document["metadata"]
    return {**document, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **annotations}}}


def pulling(document: Document, secret: str) -> Document:
    """Return a copy of a Deployment or ServiceAccount with the pull *secret*, if any."""
    changed = copy.deepcopy(document)
    if secret:
        spec = changed["spec"]["template"]["spec"] if changed["kind"] == "Deployment" else changed
        spec["imagePullSecrets"] = [{"name": secret}]
    return changed


def stamped(document: Document) -> Document:
    """Return *document* with a digest of its content as an annotation."""
    digest = hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()[:16]
    return annotated(document, {CONTENT: digest})


def differs(document: Mapping[str, Any], live: Mapping[str, Any] | None) -> str | None:
    """Return how a live object differs from the stamped *document*, or None."""
    if live is None:
        return f"{name(document)} is missing"
    stamp = document["metadata"]["annotations"][CONTENT]
    return None if (live["metadata"].get("annotations") or {}).get(CONTENT) == stamp else f"{name(document)} has changed"


def not_ready(live: Mapping[str, Any] | None) -> str | None:
    """Return why a live object is not ready, or None."""
    if live is None:
        return "not there yet"
    if live["kind"] in {"Deployment", "StatefulSet"}:
        return _not_rolled_out(live)
    wanted = {"CustomResourceDefinition": "Established", "Node": "Ready"}.get(live["kind"])
    if wanted and condition(live, wanted) != "True":
        return f"not {wanted.lower()} yet"
    return None


def _not_rolled_out(live: Mapping[str, Any]) -> str | None:
    status, wanted = live.get("status", {}), live["spec"].get("replicas", 1)
    if status.get("observedGeneration", 0) < live["metadata"].get("generation", 0):
        return "not noticed yet"
    if status.get("updatedReplicas", 0) < wanted:
        return "its new pods are not there yet"
    available = status.get("availableReplicas", 0)
    if available < wanted:
        return f"{available} of {wanted} pods are available"
    return "its old pods are not gone yet" if status.get("replicas", 0) > wanted else None


def condition(live: Mapping[str, Any], kind: str) -> str:
    """Return the status of one of an object's conditions: True, False or Unknown."""
    return next((item["status"] for item in live.get("status", {}).get("conditions", []) if item["type"] == kind), "Unknown")


def _ends_quickly(container: Mapping[str, Any]) -> bool:
    """Return whether a container's last run was short.

    A longer one may have waited for a network.
    """
    last = container.get("lastState", {}).get("terminated", {})
    try:
        began, ended = (datetime.fromisoformat(last[name]) for name in ("startedAt", "finishedAt"))
    except (KeyError, TypeError, ValueError):
        return True
    return (ended - began).total_seconds() < QUICK_SECONDS


def pod_trouble(pod: Mapping[str, Any]) -> tuple[str, bool] | None:
    """Return what keeps a pod from running, and whether waiting cannot help; or None."""
    for item in pod.get("status", {}).get("conditions", []):
        if item["type"] == "PodScheduled" and item["status"] == "False":
            return f"not schedulable: {item.get('message', item.get('reason', 'no reason given'))}", False
    status = pod.get("status", {})
    for container in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        waiting = container.get("state", {}).get("waiting", {})
        reason = waiting.get("reason", "")
        image = container.get("image", "")
        if reason in {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}:
            return f"cannot pull {image}: {waiting.get('message', reason)}", reason != "ErrImagePull"
        if reason in {"CreateContainerConfigError", "CreateContainerError", "RunContainerError"}:
            return f"container {container['name']} cannot start: {waiting.get('message', reason)}", False
        if reason == "CrashLoopBackOff":
            return f"container {container['name']} keeps crashing", container.get("restartCount", 0) >= CRASHES and _ends_quickly(container)
        if reason in {"ContainerCreating", "PodInitializing"}:
            return f"starting container {container['name']} of {image}", False
    return None
