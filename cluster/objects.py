"""The platform's objects in the cluster: applied under our label, pruned when they leave the repository, and removed.

What others own is never applied over. Objects of the whole cluster (Argo's CRDs, the namespace) may be there by another
instance of this project or by an administrator who applied our file: then they are used, and left alone.
"""

from __future__ import annotations

import json
import time
from base64 import b64decode
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from cluster import layout, manifests, rights
from cluster.errors import SetupError
from cluster.kept import kept_secrets
from cluster.progress import shown
from cluster.registry import LOGINS, host_of
from cluster.runs import owned
from cluster.runtime import registry_of
from cluster.stack import FORBIDDEN, INSTANCE, KEYS, PART_OF, ROOT_SECRET, USER_SECRET
from cluster.workflows import STORE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.progress import Output
    from cluster.stack import Stack

Found = TypeVar("Found")
WHOLE_CLUSTER = ("CustomResourceDefinition", "Namespace")
ARGOS = ("CronWorkflow", "Workflow", "WorkflowTemplate")
MADE = ("Secret", "ConfigMap")
"""Kinds of which we also make objects that do not stand in a file."""
KEPT_KINDS = ("PersistentVolumeClaim", "Secret")
"""What stays in a cluster that is not ours when its data is kept."""
PULL_TYPE = "kubernetes.io/dockerconfigjson"
PULL_KEY = ".dockerconfigjson"
"""Of a Secret that pods pull images with: its type, and the key that holds what Docker's ``config.json`` does."""
VERBS = ("get", "list", "create", "patch", "delete")
GONE_SECONDS = 120
PODS_SECONDS = 30
POLL_SECONDS = 0.5


@dataclass(frozen=True)
class Objects:
    """Everything but the programs themselves is as the manifests say, and what left the manifests is gone."""

    title: str = "Objects"
    well: str = "as in manifests/"
    needs: tuple[str, ...] = ("Cluster",)
    budget: float = 30

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-FOREIGN, the cluster has an Argo or a namespace of somebody else's; E-RIGHTS, we may not; E-ARGO; E-LAYOUT.
        """
        say("whose the cluster is")
        before = older_layout(stack)
        if stack.settings.argo == "use":
            argo_is_there(stack)
        applied = [document for document in _documents(stack) if document["kind"] not in WHOLE_CLUSTER or not self._there(stack, document)]
        _allowed(stack, applied)
        not_others(stack, [key(document) for document in applied])
        for document in applied:
            say(manifests.name(document))
            stack.kube.apply(document)
        _secrets(stack)
        why = _cannot_pull(stack)
        if why:
            host = stack.settings.registry.partition("/")[0] or "REGISTRY"
            raise SetupError(
                "E-SECRET",
                f"Pods cannot pull images: {why}.",
                hint=f"kubectl -n {stack.namespace} create secret docker-registry {stack.settings.pull_secret} --docker-server={host} "
                "--docker-username=… --docker-password=…; or correct singer.pull_secret.",
            )
        pruned = _prune(stack)
        upgraded = f", layout {before} to {layout.LAYOUT}" if before else ""
        return f"{len(applied)} applied" + (f", {pruned} pruned" if pruned else "") + upgraded

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        live = _live(stack)
        differing = []
        for document in _documents(stack):
            found = live.get(key(document))
            if found is None and document["kind"] in WHOLE_CLUSTER and self._there(stack, document):
                continue
            differing.append(manifests.differs(document, found))
        gone = [f"{kind.lower()}/{name} is wanted no more" for kind, name in _unwanted(stack.documents, live)]
        why = [text for text in differing if text] + gone
        if why:
            return why[0] + (f", and {len(why) - 1} more" if len(why) > 1 else "")
        return "credentials are missing" if _unfilled(stack) else _cannot_pull(stack)

    @staticmethod
    def _there(stack: Stack, document: manifests.Document) -> bool:
        """Say whether an object of the whole cluster is there already and to be left alone.

        :raises SetupError: E-FOREIGN, it is somebody else's.
        """
        kind, name = key(document)
        hidden: manifests.Document | None = {}
        live = _seen(lambda: stack.kube.get(kind, name), hidden)
        if live is None or stack.owns(live):
            return False
        if not stack.provider.ours and (not live or _is_shared(stack, live)):
            # What may not be looked at is known by what the cluster serves, a namespace also by what may be done in it.
            served = name.partition(".")[0] in stack.kube.argo
            known = served if kind != "Namespace" else stack.kube.may("create", "", "configmaps", name) or "workflows" in stack.kube.argo
            return bool(live) or known
        name = manifests.name(document)
        if document["kind"] == "Namespace":
            hint = "Choose another one: INVOKE_SINGER_NAMESPACE=singer, or singer.namespace in invoke.yaml."
        else:
            hint = "Use the Argo that is there (INVOKE_SINGER_ARGO=use), or another cluster."
        raise SetupError("E-FOREIGN", f"{name} is there and not ours.", hint=hint)


def not_others(stack: Stack, wanted: Iterable[tuple[str, str]]) -> None:
    """See that no object that is about to be applied, by kind and name, is another instance's.

    :raises SetupError: E-FOREIGN, one is.
    """
    keys = set(wanted)
    for kind in sorted({kind for kind, _ in keys} - set(WHOLE_CLUSTER)):
        for item in _list(stack, kind, stack.namespace, INSTANCE):
            if (kind, item["metadata"]["name"]) in keys and not stack.owns(item):
                name = manifests.name({**item, "kind": kind})
                raise other_instance(f"{name} in the namespace {stack.namespace}", item["metadata"]["labels"][INSTANCE])


def not_anothers_bucket(stack: Stack, found: bytes | None) -> None:
    """See by what *found* says, the bucket's ``owner.json``, that it is not another instance's.

    :raises SetupError: E-FOREIGN, it is; E-LAYOUT, a newer checkout has brought it.
    """
    said, bucket = owned(found), f"The bucket {stack.settings.bucket_configs}"
    instance = said.get("instance")
    if instance is not None and instance != stack.instance.id:
        raise other_instance(bucket, str(instance))
    layout.see(bucket, said.get("layout"))


def other_instance(what: str, instance: str) -> SetupError:
    """Return the error for what another checkout has brought."""
    return SetupError(
        "E-FOREIGN",
        f"{what} belongs to another installation, {instance}.",
        hint=f"Choose a namespace and buckets of your own; or share this one: singer.instance: {instance}, wherever it is brought from.",
    )


def argo_is_there(stack: Stack) -> None:
    """See that the cluster knows Workflows.

    :raises SetupError: E-ARGO, it does not.
    """
    if stack.kube.get("CustomResourceDefinition", "workflows.argoproj.io") is None:
        where = stack.provider.context
        raise SetupError(
            "E-ARGO", f"There is no Argo Workflows in the cluster of {where}.", hint="Install ours: INVOKE_SINGER_ARGO=install"
        )


def _documents(stack: Stack) -> list[manifests.Document]:
    return [document for document in stack.documents if document["kind"] != "Deployment"]


def _is_shared(stack: Stack, live: manifests.Document | None) -> bool:
    """Say whether an object was made from our files, by another instance or by an administrator."""
    return live is not None and not stack.owns(live) and (live["metadata"].get("labels") or {}).get(PART_OF) == "singer"


def _list(stack: Stack, kind: str, namespace: str = "", labels: str = "") -> list[manifests.Document]:
    """Return objects; none where we may not look."""
    nothing: list[manifests.Document] = []
    return _seen(lambda: stack.kube.objects(kind, namespace, labels=labels), nothing)


def _seen(look: Callable[[], Found], otherwise: Found) -> Found:
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


# ------------------------------------------------------------------------------------------------------------ upgrades


def layout_there(stack: Stack) -> int | None:
    """Return the layout of the platform that is in the cluster, None where none of ours is, or it may not be seen.

    :raises SetupError: E-LAYOUT, a newer checkout has brought it.
    """
    nothing: manifests.Document | None = None
    live = _seen(lambda: stack.kube.get("ConfigMap", STORE, stack.namespace), nothing)
    if live is None or not stack.owns(live):
        return None
    found = (live["metadata"].get("annotations") or {}).get(layout.RECORD)
    return layout.see(f"The platform in the namespace {stack.namespace}", found)


@dataclass(frozen=True)
class Upgrade:
    """What becomes of the objects of an older layout."""

    found: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    def tell(self, output: Output) -> None:
        """Say it, before anything is done."""
        output.event("upgrade", **{"from": self.found, "to": layout.LAYOUT}, new=self.new, changed=self.changed, gone=self.gone)
        output.line("!", "Upgrade", f"layout {self.found} to {layout.LAYOUT}: {'; '.join(layout.news(self.found))}")
        for mark, names in (("new", self.new), ("changes", self.changed), ("goes", self.gone)):
            for name in names:
                output.line(" ", f"  {mark}", name)


def older_layout(stack: Stack) -> int | None:
    """Return the layout of the platform that is in the cluster, where it is older than that of this checkout.

    :raises SetupError: E-LAYOUT, a newer checkout has brought it.
    """
    found = layout_there(stack)
    return None if found == layout.LAYOUT else found


def upgrade(stack: Stack, found: int, wanted: Sequence[manifests.Document], of_kinds: Iterable[str]) -> Upgrade:
    """Return what becomes of the objects of some kinds, of the layout *found*."""
    live = _live_of(stack, of_kinds)
    there = [document for document in wanted if key(document) in live]
    new = [document for document in wanted if key(document) not in live and document["kind"] not in WHOLE_CLUSTER]
    return Upgrade(
        found,
        tuple(map(manifests.name, new)),
        tuple(manifests.name(document) for document in there if manifests.differs(document, live[key(document)])),
        tuple(f"{kind.lower()}/{name}" for kind, name in _unwanted(wanted, live)),
    )


# ------------------------------------------------------------------------------------------------------------- rights


def _allowed(stack: Stack, documents: list[manifests.Document]) -> None:
    """See that we may do what we are about to do, before anything is touched. On a cluster of our own we may do everything.

    :raises SetupError: E-RIGHTS, we may not; what an administrator must apply is written down.
    """
    if stack.provider.ours:
        return
    whole = [document for document in documents if document["kind"] in WHOLE_CLUSTER]
    missing = [document for document in whole if not stack.kube.may("create", *_resource(stack, document["kind"]))]
    if missing:
        file = stack.settings.platform / "for-administrator.yaml"
        rights.for_administrator(file, map(unowned, missing))
        names = ", ".join(sorted({document["kind"] for document in missing}))
        raise SetupError(
            "E-RIGHTS",
            f"You may not create a {names} in the cluster of {stack.provider.context}.",
            hint=f"Let an administrator apply {shown(file)} (kubectl apply --server-side -f {shown(file)}), then run it again.",
        )
    kinds = sorted({document["kind"] for document in stack.documents if document["kind"] not in WHOLE_CLUSTER} | {"Secret"})
    stack.kube.need([(verb, *_resource(stack, kind)) for kind in kinds for verb in VERBS], stack.namespace, "up")


def _resource(stack: Stack, kind: str) -> tuple[str, str]:
    """Return a kind's API group and plural."""
    _, *parts = stack.kube.path(kind).strip("/").split("/")
    return (parts[0], parts[-1]) if len(parts) > 2 else ("", parts[-1])  # noqa: PLR2004 - apis/<group>/<version>/<plural>


def unowned(document: manifests.Document) -> manifests.Document:
    """Return an object for an administrator to apply: ours by its labels, but of no instance."""
    labels = {name: value for name, value in document["metadata"]["labels"].items() if name != INSTANCE}
    return manifests.with_value(document, "metadata.labels", labels)


# ------------------------------------------------------------------------------------------------------------ secrets


def _secret_names(stack: Stack) -> tuple[str, ...]:
    if stack.settings.store == "install":
        return (ROOT_SECRET, USER_SECRET)
    return () if stack.settings.s3_credentials == "identity" else (stack.settings.s3_secret,)


def _unfilled(stack: Stack) -> list[str]:
    """Name the Secrets of the store that are not there or are empty, as far as we may look."""
    hidden: dict[str, str] | None = {"": ""}
    return [name for name in _secret_names(stack) if _seen(partial(stack.secret, name), hidden) is None]


def _secrets(stack: Stack) -> None:
    """Make random credentials once; those that are there stay, and those that were kept with the data come back.

    :raises SetupError: E-SECRET, those of an S3 that is there are not set, or the Secret with them is not there.
    """
    if stack.settings.s3_credentials != "keys":
        for name in _unfilled(stack):
            raise SetupError(
                "E-SECRET",
                f"The Secret {name} is not in the namespace {stack.namespace}, or it is empty.",
                hint=f"Let whoever owns the bucket make it, with the keys {' and '.join(KEYS)}; or correct singer.s3_secret.",
            )
        return
    if stack.settings.store == "use":
        missing = [name for name in KEYS.values() if not stack.environ.get(name)]
        if missing:
            raise SetupError(
                "E-SECRET",
                f"store is use, and {missing[0]} is not set.",
                hint=f"Put {missing[0]}=… into .env, or set it in the environment.",
            )
        wanted = {key: stack.environ[name] for key, name in KEYS.items()}
        if stack.secret(stack.settings.s3_secret) != wanted:
            stack.make_secret(stack.settings.s3_secret, wanted)
        return
    kept = kept_secrets(stack.settings)
    for name, user in ((ROOT_SECRET, "root"), (USER_SECRET, "pipeline")):
        if not stack.secret(name):
            stack.make_secret(name, kept.get(name) or stack.new_credentials(user))


def _cannot_pull(stack: Stack) -> str | None:
    """Say what is wrong with the Secret that pods pull images with, None where nothing is, as far as we may look."""
    name = stack.settings.pull_secret
    hidden: manifests.Document | None = {}
    found = _seen(lambda: stack.kube.get("Secret", name, stack.namespace), hidden) if name else hidden
    if found is hidden:
        return None
    if found is None:
        return f"the Secret {name} is not in the namespace {stack.namespace}"
    if found.get("type") != PULL_TYPE:
        return f"the Secret {name} is of the type {found.get('type')}, not {PULL_TYPE}"
    host = registry_of(stack.settings.registry)
    try:
        logins = json.loads(b64decode(found["data"][PULL_KEY]))["auths"]
        known = {host_of(address) for address in logins}
    except (KeyError, ValueError, TypeError):
        return f"the Secret {name} holds no logins"
    if stack.settings.registry and LOGINS.get(host, host) not in known:
        return f"the Secret {name} has no login for {host}"
    return None


# -------------------------------------------------------------------------------------------------- pruning, removing


def _live(stack: Stack) -> dict[tuple[str, str], manifests.Document]:
    """Return what of ours the cluster has, of the kinds that stand in the manifests or that we make beside them."""
    return _live_of(stack, all_kinds(stack))


def all_kinds(stack: Stack) -> set[str]:
    """Return the kinds of all that the platform is made of, whatever the settings choose of it."""
    return {document["kind"] for document in [*manifests.load(_all_files(stack)), *stack.documents]} | set(MADE)


def _live_of(stack: Stack, some: Iterable[str]) -> dict[tuple[str, str], manifests.Document]:
    return {key(item): item for kind in sorted(some) for item in ours(stack, kind)}


def _all_files(stack: Stack) -> list[Path]:
    folder = stack.settings.root / "manifests"
    return [
        folder / "namespace.yaml",
        folder / "network-policies.yaml",
        *folder.glob("argo/*.yaml"),
        *folder.glob("events/*.yaml"),
        folder / "minio" / "minio.yaml",
        *folder.glob("singer/*.yaml"),
    ]


def ours(stack: Stack, kind: str) -> list[manifests.Document]:
    """Return the objects of a kind that are ours: in our namespace, or of the whole cluster."""
    found = _list(stack, kind, stack.namespace, f"{INSTANCE}={stack.instance.id}")
    return [{**item, "kind": kind} for item in found]


def _unwanted(documents: Iterable[manifests.Document], live: Mapping[tuple[str, str], manifests.Document]) -> list[tuple[str, str]]:
    """Return what we applied once and no longer do. What carries no digest, such as most Secrets, was not applied as a whole."""
    wanted = {key(document) for document in documents}
    return [
        found for found, item in live.items() if found not in wanted and manifests.CONTENT in (item["metadata"].get("annotations") or {})
    ]


def _prune(stack: Stack) -> int:
    """Delete what we applied once and no longer do."""
    gone = _unwanted(stack.documents, _live(stack))
    for kind, name in gone:
        stack.kube.delete(kind, name, stack.namespace)
    return len(gone)


def remove(stack: Stack, say: Callable[[str], None], *, keep_data: bool) -> Iterator[str]:
    """Remove our objects from a cluster that is not ours, and yield what stays, with its reason.

    :raises SetupError: E-LEFT, something does not go away.
    """
    namespace = _seen(lambda: stack.kube.get("Namespace", stack.namespace), None)
    whole = stack.owns(namespace) and not keep_data
    _end_workflows(stack, say, everything=stack.owns(namespace))
    for kind in reversed(manifests.ORDER):
        if kind in WHOLE_CLUSTER or (keep_data and kind in KEPT_KINDS):
            continue
        for item in ours(stack, kind):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            stack.kube.delete(kind, item["metadata"]["name"], stack.namespace)
    if whole:
        say(f"namespace {stack.namespace}")
        stack.kube.delete("Namespace", stack.namespace)
        _until_gone(stack, say)
    else:
        _until_all_gone(stack, say, KEPT_KINDS if keep_data else ())
    if keep_data:
        yield f"the volume claim argo-artifacts and its credentials in the namespace {stack.namespace}: the next up finds them"
    crds = [] if keep_data else ours(stack, "CustomResourceDefinition")
    used = _used_elsewhere(stack) if crds else ""
    if used:
        yield f"Argo's CRDs: {used}"
        return
    for item in crds:
        say(f"customresourcedefinition/{item['metadata']['name']}")
        stack.kube.delete("CustomResourceDefinition", item["metadata"]["name"])


def _end_workflows(stack: Stack, say: Callable[[str], None], *, everything: bool) -> None:
    """Delete Workflows while the controller is there: their pods carry a finalizer of its."""
    label = "" if everything else f"{INSTANCE}={stack.instance.id}"
    for kind in ("CronWorkflow", "Workflow"):
        for item in stack.kube.objects(kind, stack.namespace, labels=label):
            say(f"{kind.lower()}/{item['metadata']['name']}")
            stack.kube.delete(kind, item["metadata"]["name"], stack.namespace)
    deadline = time.monotonic() + PODS_SECONDS
    while pods := stack.kube.objects("Pod", stack.namespace, labels="workflows.argoproj.io/workflow"):
        if time.monotonic() > deadline:
            for pod in pods:
                stack.kube.patch("Pod", pod["metadata"]["name"], stack.namespace, {"metadata": {"finalizers": None}})
            return
        say(f"{len(pods)} pods of workflows")
        time.sleep(POLL_SECONDS)


def _until_gone(stack: Stack, say: Callable[[str], None]) -> None:
    deadline = time.monotonic() + GONE_SECONDS
    while live := stack.kube.get("Namespace", stack.namespace):
        conditions = live.get("status", {}).get("conditions", [])
        why = "; ".join(item["message"] for item in conditions if item["status"] == "True" and item["type"].startswith("Namespace"))
        say(why or f"namespace {stack.namespace}")
        if time.monotonic() > deadline:
            raise SetupError(
                "E-LEFT",
                f"The namespace {stack.namespace} does not go away: {why or 'the cluster gives no reason'}.",
                hint=f"kubectl describe namespace {stack.namespace} tells more; teardown goes on from here.",
            )
        time.sleep(POLL_SECONDS)


def _until_all_gone(stack: Stack, say: Callable[[str], None], kept: tuple[str, ...]) -> None:
    """Wait until what we deleted is gone: a Deployment stays until its pods have ended, and the next ``up`` must not meet it."""
    deadline = time.monotonic() + GONE_SECONDS
    while left := [item for kind in manifests.ORDER if kind not in (*WHOLE_CLUSTER, *kept) for item in ours(stack, kind)]:
        say(f"{manifests.name(left[0])} ends")
        if time.monotonic() > deadline:
            names = ", ".join(map(manifests.name, left))
            raise SetupError("E-LEFT", f"Still there: {names}.", hint="teardown goes on from here; kubectl describe tells more.")
        time.sleep(POLL_SECONDS)


def _used_elsewhere(stack: Stack) -> str:
    """Say who else uses Argo's CRDs, nothing where nobody does."""
    objects = [item for kind in ARGOS for item in _list(stack, kind)]
    instances = [item for item in _list(stack, "Namespace", labels=f"{PART_OF}=singer") if not stack.owns(item)]
    others = {item["metadata"]["namespace"] for item in objects} | {item["metadata"]["name"] for item in instances}
    others -= {stack.namespace}
    return f"they are used in {', '.join(sorted(others))}" if others else ""


def owner(stack: Stack) -> bytes:
    """Return what stands in the bucket to say whose it is."""
    return json.dumps({"engine": "argo", "instance": stack.instance.id, "layout": layout.LAYOUT}).encode()
