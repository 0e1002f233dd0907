"""Removes our objects from a cluster that is not ours. Start reading at ``remove``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.waiting import until
from cluster.kube import documents
from cluster.kube.rbac import visible
from cluster.platform.ownership import WHOLE_CLUSTER, ours, visible_objects
from cluster.platform.rendering import INSTANCE, PART_OF
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cluster.platform.handles import Handles

ARGO_KINDS = ("CronWorkflow", "Workflow", "WorkflowTemplate")
DATA_KINDS = ("PersistentVolumeClaim", "Secret")
"""What stays if the data is kept."""
GONE_SECONDS = 120
POD_SECONDS = 30


def remove(handles: Handles, say: Callable[[str], None], *, keep_data: bool) -> Iterator[str]:
    """Remove our objects, and yield what stays with its reason.

    :raises SetupError: E-LEFT, an object does not go away.
    """
    our_namespace = handles.owns(visible(lambda: handles.kube.get("Namespace", handles.namespace), None))
    _delete_workflows(handles, say, everything=our_namespace)
    kept = DATA_KINDS if keep_data else ()
    _delete_objects(handles, say, kept)
    if our_namespace and not keep_data:
        say(f"namespace {handles.namespace}")
        handles.kube.delete("Namespace", handles.namespace)
        _wait_for_namespace(handles, say)
    else:
        _wait_for_objects(handles, say, kept)
    if keep_data:
        yield f"the volume claim argo-artifacts and its credentials in the namespace {handles.namespace}: the next up uses them"
        return
    yield from _delete_crds(handles, say)


def _delete_workflows(handles: Handles, say: Callable[[str], None], *, everything: bool) -> None:
    """Delete Workflows while the controller runs: their pods carry its finalizer."""
    label = "" if everything else f"{INSTANCE}={handles.instance.id}"
    for item in ours(handles, "CronJob"):
        handles.kube.delete("CronJob", item["metadata"]["name"], handles.namespace)
    for kind in ("CronWorkflow", "Workflow"):
        for item in handles.kube.objects(kind, handles.namespace, labels=label):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            handles.kube.delete(kind, item["metadata"]["name"], handles.namespace)

    def pods() -> list[documents.Document]:
        return handles.kube.objects("Pod", handles.namespace, labels="workflows.argoproj.io/workflow")

    def pending() -> str | None:
        left = len(pods())
        return _reported(f"{count(left, 'pod')} of workflows" if left else None, say)

    try:
        until(pending, seconds=POD_SECONDS)
    except TimeoutError:  # the controller is gone: remove its finalizer
        for pod in pods():
            handles.kube.patch("Pod", pod["metadata"]["name"], handles.namespace, {"metadata": {"finalizers": None}})


def _delete_objects(handles: Handles, say: Callable[[str], None], kept: tuple[str, ...]) -> None:
    for kind in reversed(documents.ORDER):
        if kind in (*WHOLE_CLUSTER, *kept):
            continue
        for item in ours(handles, kind):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            handles.kube.delete(kind, item["metadata"]["name"], handles.namespace)


def _wait_for_namespace(handles: Handles, say: Callable[[str], None]) -> None:
    """Wait until the namespace is gone.

    :raises SetupError: E-LEFT, it stays.
    """

    def pending() -> str | None:
        live = handles.kube.get("Namespace", handles.namespace)
        if live is None:
            return None
        conditions = live.get("status", {}).get("conditions", [])
        reasons = [item["message"] for item in conditions if item["status"] == "True" and item["type"].startswith("Namespace")]
        return _reported("; ".join(reasons) or "the cluster gives no reason", say)

    def error(reason: str) -> SetupError:
        return SetupError(
            "E-LEFT",
            f"The namespace {handles.namespace} does not go away: {reason}.",
            hint=f"kubectl describe namespace {handles.namespace} shows more; teardown continues from here.",
        )

    until(pending, seconds=GONE_SECONDS, error=error)


def _wait_for_objects(handles: Handles, say: Callable[[str], None], kept: tuple[str, ...]) -> None:
    """Wait until our objects are gone.

    A Deployment stays until its pods end, and the next ``up`` must not meet it.

    :raises SetupError: E-LEFT, one stays.
    """

    def pending() -> str | None:
        left = [item for kind in documents.ORDER if kind not in (*WHOLE_CLUSTER, *kept) for item in ours(handles, kind)]
        return _reported(", ".join(map(documents.name, left)) or None, say)

    def error(reason: str) -> SetupError:
        return SetupError("E-LEFT", f"Still there: {reason}.", hint="teardown continues from here; kubectl describe shows more.")

    until(pending, seconds=GONE_SECONDS, error=error)


def _reported(reason: str | None, say: Callable[[str], None]) -> str | None:
    if reason:
        say(f"waiting for {reason}")
    return reason


def _delete_crds(handles: Handles, say: Callable[[str], None]) -> Iterator[str]:
    """Delete Argo's CRDs unless somebody else uses them; then yield that reason."""
    crds = ours(handles, "CustomResourceDefinition")
    used = _used_elsewhere(handles) if crds else ""
    if used:
        yield f"Argo's CRDs: {used}"
        return
    for item in crds:
        say(f"customresourcedefinition/{item['metadata']['name']}")
        handles.kube.delete("CustomResourceDefinition", item["metadata"]["name"])


def _used_elsewhere(handles: Handles) -> str:
    """Return which other namespaces use Argo's CRDs, as a clause; empty if none does."""
    objects = [item for kind in ARGO_KINDS for item in visible_objects(handles, kind)]
    instances = [item for item in visible_objects(handles, "Namespace", labels=f"{PART_OF}=singer") if not handles.owns(item)]
    others = {item["metadata"]["namespace"] for item in objects} | {item["metadata"]["name"] for item in instances}
    others -= {handles.namespace}
    return f"they are used in {', '.join(sorted(others))}" if others else ""
