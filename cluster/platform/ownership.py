"""Which objects in the cluster are ours, another installation's, or somebody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypeVar

from cluster.errors import SetupError
from cluster.kube import documents as manifests
from cluster.platform.handles import FORBIDDEN, INSTANCE, PART_OF
from cluster.runs import format_version
from cluster.runs.history import owned

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from cluster.platform.handles import Handles

Found = TypeVar("Found")
WHOLE_CLUSTER = ("CustomResourceDefinition", "Namespace")
MADE = ("Secret", "ConfigMap")
"""Kinds of which we also make objects that do not stand in a file."""


def not_others(handles: Handles, wanted: Iterable[tuple[str, str]]) -> None:
    """See that no object that is about to be applied, by kind and name, is another instance's.

    :raises SetupError: E-FOREIGN, one is.
    """
    keys = set(wanted)
    for kind in sorted({kind for kind, _ in keys} - set(WHOLE_CLUSTER)):
        for item in visible_objects(handles, kind, handles.namespace, INSTANCE):
            if (kind, item["metadata"]["name"]) in keys and not handles.owns(item):
                name = manifests.name({**item, "kind": kind})
                raise other_instance(f"{name} in the namespace {handles.namespace}", item["metadata"]["labels"][INSTANCE])


def not_anothers_bucket(handles: Handles, found: bytes | None) -> None:
    """See by what *found* says, the bucket's ``owner.json``, that it is not another instance's.

    :raises SetupError: E-FOREIGN, it is; E-LAYOUT, a newer checkout has brought it.
    """
    said, bucket = owned(found), f"The bucket {handles.settings.bucket_configs}"
    instance = said.get("instance")
    if instance is not None and instance != handles.instance.id:
        raise other_instance(bucket, str(instance))
    format_version.see(bucket, said.get("layout"))


def other_instance(what: str, instance: str) -> SetupError:
    """Return the error for what another checkout has brought."""
    return SetupError(
        "E-FOREIGN",
        f"{what} belongs to another installation, {instance}.",
        hint=f"Choose a namespace and buckets of your own; or share this one: singer.instance: {instance}, wherever it is brought from.",
    )


def argo_is_there(handles: Handles) -> None:
    """See that the cluster knows Workflows.

    :raises SetupError: E-ARGO, it does not.
    """
    if handles.kube.get("CustomResourceDefinition", "workflows.argoproj.io") is None:
        where = handles.provider.context
        raise SetupError(
            "E-ARGO", f"There is no Argo Workflows in the cluster of {where}.", hint="Install ours: INVOKE_SINGER_ARGO=install"
        )


def is_shared(handles: Handles, live: manifests.Document | None) -> bool:
    """Say whether an object was made from our files, by another instance or by an administrator."""
    return live is not None and not handles.owns(live) and (live["metadata"].get("labels") or {}).get(PART_OF) == "singer"


def visible_objects(handles: Handles, kind: str, namespace: str = "", labels: str = "") -> list[manifests.Document]:
    """Return objects; none where we may not look."""
    nothing: list[manifests.Document] = []
    return visible(lambda: handles.kube.objects(kind, namespace, labels=labels), nothing)


def visible(look: Callable[[], Found], otherwise: Found) -> Found:
    """Return what a look finds, *otherwise* where we may not look."""
    try:
        return look()
    except SetupError as error:
        if getattr(error, "status", 0) != FORBIDDEN:
            raise
        return otherwise


def key(document: manifests.Document) -> tuple[str, str]:
    """Return what tells an object from the others of ours."""
    return document["kind"], document["metadata"]["name"]


def unowned(document: manifests.Document) -> manifests.Document:
    """Return an object for an administrator to apply: ours by its labels, but of no instance."""
    labels = {name: value for name, value in document["metadata"]["labels"].items() if name != INSTANCE}
    return manifests.with_value(document, "metadata.labels", labels)


# -------------------------------------------------------------------------------------------------- pruning, removing


def live_objects(handles: Handles) -> dict[tuple[str, str], manifests.Document]:
    """Return what of ours the cluster has, of the kinds that stand in the manifests or that we make beside them."""
    return live_of_kinds(handles, all_kinds(handles))


def all_kinds(handles: Handles) -> set[str]:
    """Return the kinds of all that the platform is made of, whatever the settings choose of it."""
    return {document["kind"] for document in [*manifests.load(all_files(handles)), *handles.documents]} | set(MADE)


def live_of_kinds(handles: Handles, some: Iterable[str]) -> dict[tuple[str, str], manifests.Document]:
    """Return our objects of these kinds, by kind and name."""
    return {key(item): item for kind in sorted(some) for item in ours(handles, kind)}


def all_files(handles: Handles) -> list[Path]:
    """Return every manifest of the platform, whichever of them the settings choose."""
    folder = handles.settings.root / "manifests"
    return [
        folder / "namespace.yaml",
        folder / "network-policies.yaml",
        *folder.glob("argo/*.yaml"),
        *folder.glob("events/*.yaml"),
        folder / "minio" / "minio.yaml",
        *folder.glob("singer/*.yaml"),
    ]


def ours(handles: Handles, kind: str) -> list[manifests.Document]:
    """Return the objects of a kind that are ours: in our namespace, or of the whole cluster."""
    found = visible_objects(handles, kind, handles.namespace, f"{INSTANCE}={handles.instance.id}")
    return [{**item, "kind": kind} for item in found]


def unwanted(documents: Iterable[manifests.Document], live: Mapping[tuple[str, str], manifests.Document]) -> list[tuple[str, str]]:
    """Return what we applied once and no longer do. What carries no digest, such as most Secrets, was not applied as a whole."""
    wanted = {key(document) for document in documents}
    return [
        found for found, item in live.items() if found not in wanted and manifests.CONTENT in (item["metadata"].get("annotations") or {})
    ]


def owner(handles: Handles) -> bytes:
    """Return what stands in the bucket to say whose it is."""
    return json.dumps({"engine": "argo", "instance": handles.instance.id, "layout": format_version.LAYOUT}).encode()
