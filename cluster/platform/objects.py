"""Step: the platform's objects are in the cluster, and objects that left ``manifests/`` are not.

Objects of others are never overwritten. CRDs and the namespace may come from another installation
or from an administrator: then we use them and leave them alone. Start reading at ``Objects``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents, rbac
from cluster.platform import backup
from cluster.platform.ownership import WHOLE_CLUSTER, is_shared, key, live_objects, need_argo, need_ours, unowned, unwanted
from cluster.platform.upgrade import older_layout
from cluster.runs import format_version
from cluster.ui.format import and_more, shown, typed

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles

VERBS = ("get", "list", "create", "patch", "delete")


@dataclass(frozen=True)
class Objects:
    """The platform's objects but for the Deployments."""

    title: str = "Objects"
    ok: str = "as in manifests/"
    needs: tuple[str, ...] = ("Cluster",)
    budget: float = 30

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-FOREIGN, the cluster has an Argo or a namespace that is not ours;
            E-RIGHTS; E-ARGO; E-LAYOUT.
        """
        say("checking ownership")
        layout_before = older_layout(handles)
        if handles.settings.argo == "use":
            need_argo(handles)
        wanted = [
            document
            for document in _without_deployments(handles)
            if document["kind"] not in WHOLE_CLUSTER or not _exists_elsewhere(handles, document)
        ]
        _need_rights(handles, wanted)
        need_ours(handles, map(key, wanted))
        for document in wanted:
            say(documents.name(document))
            handles.kube.apply(document)
        handles.credentials.ensure(backup.saved_credentials(handles.settings))
        _need_pull_secret(handles)
        pruned = _prune(handles)
        done = [f"{len(wanted)} applied"] + [f"{pruned} removed"] * bool(pruned)
        return ", ".join([*done, *([f"layout {layout_before} to {format_version.LAYOUT}"] if layout_before else [])])

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        live = live_objects(handles)
        reasons: list[str] = []
        for document in _without_deployments(handles):
            item = live.get(key(document))
            if item is None and document["kind"] in WHOLE_CLUSTER and _exists_elsewhere(handles, document):
                continue
            reasons += filter(None, [documents.differs(document, item)])
        reasons += [f"{kind.lower()}/{name} is obsolete" for kind, name in unwanted(handles.rendering.documents, live)]
        if reasons:
            return and_more(reasons)
        return "credentials are missing" if handles.credentials.missing() else handles.credentials.pull_trouble()


def _without_deployments(handles: Handles) -> list[Document]:
    return [document for document in handles.rendering.documents if document["kind"] != "Deployment"]


def _exists_elsewhere(handles: Handles, document: Document) -> bool:
    """Return whether a cluster-wide object exists already and is not ours to change.

    :raises SetupError: E-FOREIGN, it belongs to somebody else.
    """
    kind, name = key(document)
    hidden: Document | None = {}
    live = rbac.visible(lambda: handles.kube.get(kind, name), hidden)
    if live is None or handles.owns(live):
        return False
    if not handles.provider.ours and (not live or is_shared(handles, live)):
        return bool(live) or _exists_unseen(handles, kind, name)
    if kind == "Namespace":
        hint = "Choose another one: INVOKE_SINGER_NAMESPACE=singer, or singer.namespace in invoke.yaml."
    else:
        hint = "Use the existing Argo (INVOKE_SINGER_ARGO=use), or another cluster."
    raise SetupError("E-FOREIGN", f"{documents.name(document)} exists and is not ours.", hint=hint)


def _exists_unseen(handles: Handles, kind: str, name: str) -> bool:
    """Return whether an object that we may not read exists, by what we may do with it."""
    if kind == "Namespace":
        return handles.kube.may("create", "", "configmaps", name) or "workflows" in handles.kube.argo
    return name.partition(".")[0] in handles.kube.argo


def _need_rights(handles: Handles, wanted: list[Document]) -> None:
    """Check our rights before anything changes. In a cluster of our own we have all.

    :raises SetupError: E-RIGHTS, one is missing; a file for the administrator is written.
    """
    if handles.provider.ours:
        return
    whole = [document for document in wanted if document["kind"] in WHOLE_CLUSTER]
    refused = [document for document in whole if not handles.kube.may("create", *_resource(handles, document["kind"]))]
    if refused:
        file = handles.settings.platform / "for-administrator.yaml"
        rbac.for_administrator(file, map(unowned, refused))
        kinds = ", ".join(sorted({document["kind"] for document in refused}))
        raise SetupError(
            "E-RIGHTS",
            f"You may not create a {kinds} in the cluster of {handles.provider.context}.",
            hint=f"Let an administrator apply {shown(file)} (kubectl apply --server-side -f {typed(file)}), then run it again.",
        )
    namespaced = sorted({document["kind"] for document in handles.rendering.documents} - set(WHOLE_CLUSTER) | {"Secret"})
    handles.kube.need([(verb, *_resource(handles, kind)) for kind in namespaced for verb in VERBS], handles.namespace, "up")


def _resource(handles: Handles, kind: str) -> tuple[str, str]:
    """Return a kind's API group and plural."""
    _, *parts = handles.kube.path(kind).strip("/").split("/")
    return (parts[0], parts[-1]) if len(parts) > 2 else ("", parts[-1])  # noqa: PLR2004 - apis/<group>/<version>/<plural>


def _need_pull_secret(handles: Handles) -> None:
    """Check the Secret that pods pull images with.

    :raises SetupError: E-SECRET, it is missing or of no use.
    """
    trouble = handles.credentials.pull_trouble()
    if trouble:
        host = handles.settings.registry.partition("/")[0] or "REGISTRY"
        raise SetupError(
            "E-SECRET",
            f"Pods cannot pull images: {trouble}.",
            hint=f"kubectl -n {handles.namespace} create secret docker-registry {handles.settings.pull_secret} --docker-server={host} "
            "--docker-username=… --docker-password=…; or correct singer.pull_secret.",
        )


def _prune(handles: Handles) -> int:
    """Delete our objects that left the manifests, and return their number."""
    obsolete = unwanted(handles.rendering.documents, live_objects(handles))
    for kind, name in obsolete:
        handles.kube.delete(kind, name, handles.namespace)
    return len(obsolete)
