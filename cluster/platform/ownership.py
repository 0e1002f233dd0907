"""Whose an object in the cluster is: ours, another installation's, or somebody else's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents
from cluster.kube.rbac import visible
from cluster.platform.rendering import INSTANCE, PART_OF
from cluster.runs import format_version
from cluster.runs.history import owned

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles

Key = tuple[str, str]
"""Kind and name."""
WHOLE_CLUSTER = ("CustomResourceDefinition", "Namespace")
"""Kinds without a namespace."""
MADE = ("Secret", "ConfigMap")
"""Kinds of which we also create objects that are not in a file."""


# -- checks before a change


def need_ours(handles: Handles, wanted: Iterable[Key]) -> None:
    """Check that no object that is about to be applied belongs to another installation.

    :raises SetupError: E-FOREIGN, one does.
    """
    keys = set(wanted)
    for kind in sorted({kind for kind, _ in keys} - set(WHOLE_CLUSTER)):
        for item in visible_objects(handles, kind, handles.namespace, INSTANCE):
            if (kind, item["metadata"]["name"]) in keys and not handles.owns(item):
                name = documents.name({**item, "kind": kind})
                raise foreign(f"{name} in the namespace {handles.namespace}", item["metadata"]["labels"][INSTANCE])


def need_our_bucket(handles: Handles, content: bytes | None) -> None:
    """Check that the bucket is ours. *content* is its ``owner.json``.

    :raises SetupError: E-FOREIGN, it is; E-LAYOUT, a newer checkout wrote it.
    """
    owner_file, bucket = owned(content), f"The bucket {handles.settings.bucket_configs}"
    instance = owner_file.get("instance")
    if instance is not None and instance != handles.instance.id:
        raise foreign(bucket, str(instance))
    format_version.see(bucket, owner_file.get("layout"))


def need_argo(handles: Handles) -> None:
    """Check that the cluster has Argo's CRDs.

    :raises SetupError: E-ARGO, it does not.
    """
    if handles.kube.get("CustomResourceDefinition", "workflows.argoproj.io") is None:
        raise SetupError(
            "E-ARGO",
            f"The cluster of {handles.provider.context} has no Argo Workflows.",
            hint="Install ours: INVOKE_SINGER_ARGO=install",
        )


def foreign(what: str, instance: str) -> SetupError:
    """Return the error for an object of another installation."""
    return SetupError(
        "E-FOREIGN",
        f"{what} belongs to another installation, {instance}.",
        hint=f"Choose another namespace and other buckets; or share this installation: singer.instance: {instance}, in each checkout.",
    )


# -- single objects


def key(document: Document) -> Key:
    """Return kind and name."""
    return document["kind"], document["metadata"]["name"]


def is_shared(handles: Handles, live: Document | None) -> bool:
    """Return whether another installation or an administrator applied our file."""
    return live is not None and not handles.owns(live) and (live["metadata"].get("labels") or {}).get(PART_OF) == "singer"


def unowned(document: Document) -> Document:
    """Return an object for an administrator to apply: without the label of an installation."""
    labels = {name: value for name, value in document["metadata"]["labels"].items() if name != INSTANCE}
    return documents.with_value(document, "metadata.labels", labels)


def owner(handles: Handles) -> bytes:
    """Return the content of our bucket's ``owner.json``."""
    return json.dumps({"engine": "argo", "instance": handles.instance.id, "layout": format_version.LAYOUT}).encode()


# -- all live objects


def visible_objects(handles: Handles, kind: str, namespace: str = "", labels: str = "") -> list[Document]:
    """Return objects; none if we may not list them."""
    hidden: list[Document] = []
    return visible(lambda: handles.kube.objects(kind, namespace, labels=labels), hidden)


def ours(handles: Handles, kind: str) -> list[Document]:
    """Return our objects of a kind, in our namespace or cluster-wide."""
    live = visible_objects(handles, kind, handles.namespace, f"{INSTANCE}={handles.instance.id}")
    return [{**item, "kind": kind} for item in live]


def live_objects(handles: Handles) -> dict[Key, Document]:
    """Return our objects of all kinds that the platform consists of."""
    return live_of_kinds(handles, all_kinds(handles))


def live_of_kinds(handles: Handles, kinds: Iterable[str]) -> dict[Key, Document]:
    """Return our objects of these kinds."""
    return {key(item): item for kind in sorted(kinds) for item in ours(handles, kind)}


def all_kinds(handles: Handles) -> set[str]:
    """Return the kinds that the platform consists of, under any settings."""
    return {document["kind"] for document in [*documents.load(_all_files(handles)), *handles.rendering.documents]} | set(MADE)


def _all_files(handles: Handles) -> list[Path]:
    folder = handles.settings.tool / "manifests"
    return [
        folder / "namespace.yaml",
        folder / "network-policies.yaml",
        *folder.glob("argo/*.yaml"),
        *folder.glob("events/*.yaml"),
        folder / "late" / "account.yaml",
        folder / "minio" / "minio.yaml",
        *folder.glob("singer/*.yaml"),
    ]


def unwanted(wanted: Iterable[Document], live: Mapping[Key, Document]) -> list[Key]:
    """Return the live objects that we applied and no longer want.

    Most Secrets carry no digest: we did not apply them.
    """
    keys = set(map(key, wanted))
    return [name for name, item in live.items() if name not in keys and documents.CONTENT in (item["metadata"].get("annotations") or {})]
