"""Removes our objects from a cluster that we do not own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents
from cluster.platform.handles import INSTANCE, PART_OF
from cluster.platform.ownership import WHOLE_CLUSTER, ours, visible, visible_objects

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.platform.handles import Handles
ARGOS = ("CronWorkflow", "Workflow", "WorkflowTemplate")
KEPT_KINDS = ("PersistentVolumeClaim", "Secret")
"""What stays in a cluster that is not ours when its data is kept."""
GONE_SECONDS = 120
PODS_SECONDS = 30
POLL_SECONDS = 0.5


def remove(handles: Handles, say: Callable[[str], None], *, keep_data: bool) -> Iterator[str]:
    """Remove our objects from a cluster that is not ours, and yield what stays, with its reason.

    :raises SetupError: E-LEFT, something does not go away.
    """
    namespace = visible(lambda: handles.kube.get("Namespace", handles.namespace), None)
    whole = handles.owns(namespace) and not keep_data
    _end_workflows(handles, say, everything=handles.owns(namespace))
    for kind in reversed(documents.ORDER):
        if kind in WHOLE_CLUSTER or (keep_data and kind in KEPT_KINDS):
            continue
        for item in ours(handles, kind):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            handles.kube.delete(kind, item["metadata"]["name"], handles.namespace)
    if whole:
        say(f"namespace {handles.namespace}")
        handles.kube.delete("Namespace", handles.namespace)
        _until_gone(handles, say)
    else:
        _until_all_gone(handles, say, KEPT_KINDS if keep_data else ())
    if keep_data:
        yield f"the volume claim argo-artifacts and its credentials in the namespace {handles.namespace}: the next up finds them"
    crds = [] if keep_data else ours(handles, "CustomResourceDefinition")
    used = _used_elsewhere(handles) if crds else ""
    if used:
        yield f"Argo's CRDs: {used}"
        return
    for item in crds:
        say(f"customresourcedefinition/{item['metadata']['name']}")
        handles.kube.delete("CustomResourceDefinition", item["metadata"]["name"])


def _end_workflows(handles: Handles, say: Callable[[str], None], *, everything: bool) -> None:
    """Delete Workflows while the controller is there: their pods carry a finalizer of its."""
    label = "" if everything else f"{INSTANCE}={handles.instance.id}"
    for kind in ("CronWorkflow", "Workflow"):
        for item in handles.kube.objects(kind, handles.namespace, labels=label):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            handles.kube.delete(kind, item["metadata"]["name"], handles.namespace)
    deadline = time.monotonic() + PODS_SECONDS
    while pods := handles.kube.objects("Pod", handles.namespace, labels="workflows.argoproj.io/workflow"):
        if time.monotonic() > deadline:
            for pod in pods:
                handles.kube.patch("Pod", pod["metadata"]["name"], handles.namespace, {"metadata": {"finalizers": None}})
            return
        say(f"{len(pods)} pods of workflows")
        time.sleep(POLL_SECONDS)


def _until_gone(handles: Handles, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while live := handles.kube.get("Namespace", handles.namespace):
        conditions = live.get("status", {}).get("conditions", [])
        why = "; ".join(item["message"] for item in conditions if item["status"] == "True" and item["type"].startswith("Namespace"))
        say(why or f"namespace {handles.namespace}")
        if time.monotonic() > deadline:
            raise SetupError(
                "E-LEFT",
                f"The namespace {handles.namespace} does not go away: {why or 'the cluster gives no reason'}.",
                hint=f"kubectl describe namespace {handles.namespace} tells more; teardown goes on from here.",
            )
        time.sleep(POLL_SECONDS)


def _until_all_gone(handles: Handles, say: Callable[[str], None], kept: tuple[str, ...]) -> None:
    """Wait until what we deleted is gone: a Deployment stays until its pods have ended, and the next ``up`` must not meet it."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := [item for kind in documents.ORDER if kind not in (*WHOLE_CLUSTER, *kept) for item in ours(handles, kind)]:
        say(f"{documents.name(left[0])} ends")
        if time.monotonic() > deadline:
            names = ", ".join(map(documents.name, left))
            raise SetupError("E-LEFT", f"Still there: {names}.", hint="teardown goes on from here; kubectl describe tells more.")
        time.sleep(POLL_SECONDS)


def _used_elsewhere(handles: Handles) -> str:
    """Say who else uses Argo's CRDs, nothing where nobody does."""
    objects = [item for kind in ARGOS for item in visible_objects(handles, kind)]
    instances = [item for item in visible_objects(handles, "Namespace", labels=f"{PART_OF}=singer") if not handles.owns(item)]
    others = {item["metadata"]["namespace"] for item in objects} | {item["metadata"]["name"] for item in instances}
    others -= {handles.namespace}
    return f"they are used in {', '.join(sorted(others))}" if others else ""
