"""The platform's objects in the cluster: applied under our label, pruned when they leave the repository, and removed.

What others own is never applied over. Objects of the whole cluster (Argo's CRDs, the namespace) may be there by another
instance of this project or by an administrator who applied our file: then they are used, and left alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents as manifests
from cluster.kube import rbac
from cluster.platform.credentials import cannot_pull, make_credentials, unfilled
from cluster.platform.ownership import WHOLE_CLUSTER, argo_is_there, is_shared, key, live_objects, not_others, unowned, unwanted, visible
from cluster.platform.upgrade import older_layout
from cluster.runs import format_version
from cluster.ui.format import shown

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles
VERBS = ("get", "list", "create", "patch", "delete")


@dataclass(frozen=True)
class Objects:
    """Everything but the programs themselves is as the manifests say, and what left the manifests is gone."""

    title: str = "Objects"
    well: str = "as in manifests/"
    needs: tuple[str, ...] = ("Cluster",)
    budget: float = 30

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-FOREIGN, the cluster has an Argo or a namespace of somebody else's; E-RIGHTS, we may not; E-ARGO; E-LAYOUT.
        """
        say("whose the cluster is")
        before = older_layout(handles)
        if handles.settings.argo == "use":
            argo_is_there(handles)
        applied = [
            document for document in _documents(handles) if document["kind"] not in WHOLE_CLUSTER or not self._there(handles, document)
        ]
        _allowed(handles, applied)
        not_others(handles, [key(document) for document in applied])
        for document in applied:
            say(manifests.name(document))
            handles.kube.apply(document)
        make_credentials(handles)
        why = cannot_pull(handles)
        if why:
            host = handles.settings.registry.partition("/")[0] or "REGISTRY"
            raise SetupError(
                "E-SECRET",
                f"Pods cannot pull images: {why}.",
                hint=f"kubectl -n {handles.namespace} create secret docker-registry {handles.settings.pull_secret} --docker-server={host} "
                "--docker-username=… --docker-password=…; or correct singer.pull_secret.",
            )
        pruned = _prune(handles)
        upgraded = f", layout {before} to {format_version.LAYOUT}" if before else ""
        return f"{len(applied)} applied" + (f", {pruned} pruned" if pruned else "") + upgraded

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        live = live_objects(handles)
        differing = []
        for document in _documents(handles):
            found = live.get(key(document))
            if found is None and document["kind"] in WHOLE_CLUSTER and self._there(handles, document):
                continue
            differing.append(manifests.differs(document, found))
        gone = [f"{kind.lower()}/{name} is wanted no more" for kind, name in unwanted(handles.documents, live)]
        why = [text for text in differing if text] + gone
        if why:
            return why[0] + (f", and {len(why) - 1} more" if len(why) > 1 else "")
        return "credentials are missing" if unfilled(handles) else cannot_pull(handles)

    @staticmethod
    def _there(handles: Handles, document: manifests.Document) -> bool:
        """Say whether an object of the whole cluster is there already and to be left alone.

        :raises SetupError: E-FOREIGN, it is somebody else's.
        """
        kind, name = key(document)
        hidden: manifests.Document | None = {}
        live = visible(lambda: handles.kube.get(kind, name), hidden)
        if live is None or handles.owns(live):
            return False
        if not handles.provider.ours and (not live or is_shared(handles, live)):
            # What may not be looked at is known by what the cluster serves, a namespace also by what may be done in it.
            served = name.partition(".")[0] in handles.kube.argo
            known = (
                served if kind != "Namespace" else handles.kube.may("create", "", "configmaps", name) or "workflows" in handles.kube.argo
            )
            return bool(live) or known
        name = manifests.name(document)
        if document["kind"] == "Namespace":
            hint = "Choose another one: INVOKE_SINGER_NAMESPACE=singer, or singer.namespace in invoke.yaml."
        else:
            hint = "Use the Argo that is there (INVOKE_SINGER_ARGO=use), or another cluster."
        raise SetupError("E-FOREIGN", f"{name} is there and not ours.", hint=hint)


def _documents(handles: Handles) -> list[manifests.Document]:
    return [document for document in handles.documents if document["kind"] != "Deployment"]


# ------------------------------------------------------------------------------------------------------------- rights


def _allowed(handles: Handles, documents: list[manifests.Document]) -> None:
    """See that we may do what we are about to do, before anything is touched. On a cluster of our own we may do everything.

    :raises SetupError: E-RIGHTS, we may not; what an administrator must apply is written down.
    """
    if handles.provider.ours:
        return
    whole = [document for document in documents if document["kind"] in WHOLE_CLUSTER]
    missing = [document for document in whole if not handles.kube.may("create", *_resource(handles, document["kind"]))]
    if missing:
        file = handles.settings.platform / "for-administrator.yaml"
        rbac.for_administrator(file, map(unowned, missing))
        names = ", ".join(sorted({document["kind"] for document in missing}))
        raise SetupError(
            "E-RIGHTS",
            f"You may not create a {names} in the cluster of {handles.provider.context}.",
            hint=f"Let an administrator apply {shown(file)} (kubectl apply --server-side -f {shown(file)}), then run it again.",
        )
    kinds = sorted({document["kind"] for document in handles.documents if document["kind"] not in WHOLE_CLUSTER} | {"Secret"})
    handles.kube.need([(verb, *_resource(handles, kind)) for kind in kinds for verb in VERBS], handles.namespace, "up")


def _resource(handles: Handles, kind: str) -> tuple[str, str]:
    """Return a kind's API group and plural."""
    _, *parts = handles.kube.path(kind).strip("/").split("/")
    return (parts[0], parts[-1]) if len(parts) > 2 else ("", parts[-1])  # noqa: PLR2004 - apis/<group>/<version>/<plural>


def _prune(handles: Handles) -> int:
    """Delete what we applied once and no longer do."""
    gone = unwanted(handles.documents, live_objects(handles))
    for kind, name in gone:
        handles.kube.delete(kind, name, handles.namespace)
    return len(gone)
