"""The facts that ``up`` makes true. Each can look without touching (``pending``) and be repeated (``apply``)."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol

import urllib3

from cluster import images, manifests
from cluster.connectors import secrets
from cluster.environments import Environments
from cluster.errors import SetupError
from cluster.runs import OWNER
from cluster.stack import INSTANCE, NAMESPACE, ROOT_SECRET, USER_SECRET

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.connectors import Connector
    from cluster.stack import Stack

ARTIFACT_DAYS = 14
POLL_SECONDS = 0.25
PLATFORM = ("controller", "executor", "server", "minio")


class Step(Protocol):
    """One fact that ``up`` makes true."""

    @property
    def title(self) -> str:
        """What a person reads."""

    @property
    def needs(self) -> tuple[str, ...]:
        """The titles of the steps that must come first."""

    @property
    def budget(self) -> float:
        """How many seconds the fact may take to become true after ``apply``."""

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """Make it so, saying what is being done. Safe to repeat. Return what was done."""

    def pending(self, stack: Stack) -> str | None:
        """Say what is still missing, or None. Looks, never touches.

        :raises SetupError: waiting is hopeless.
        """


@dataclass(frozen=True)
class Cluster:
    """The cluster is there and its API answers."""

    title: str = "Cluster"
    needs: tuple[str, ...] = ()
    budget: float = 180

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        done = stack.provider.ensure(say)
        stack.__dict__.pop("kube", None)
        return done

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        return stack.provider.pending() or stack.kube.silent()


@dataclass(frozen=True)
class Pulled:
    """The platform's images are on the laptop."""

    title: str = "Images of Argo and MinIO"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        missing = stack.runtime.absent(self._names(stack))
        for image in missing:
            images.pull(image, stack.runtime, say)
        return f"{len(missing)} pulled"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``. What is on the node already need not be on the laptop."""
        if stack.provider.missing_images(self._names(stack)) == []:
            return None
        missing = stack.runtime.absent(self._names(stack))
        return f"missing: {', '.join(missing)}" if missing else None

    @staticmethod
    def _names(stack: Stack) -> list[str]:
        return [stack.settings.image(name) for name in PLATFORM]


@dataclass(frozen=True)
class Built:
    """The connectors' images are built."""

    title: str = "Images of connectors"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        environments = Environments(stack.settings)
        for connector in used(stack):
            environments.ensure_lock(connector)
        missing = self._missing(stack)
        for connector in missing:
            say(connector.name)
            images.build(connector, stack.settings, stack.runtime, lambda line, name=connector.name: say(f"{name}: {line}"))  # type: ignore[misc]
        return f"{len(missing)} built: {', '.join(connector.name for connector in missing)}"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        missing = self._missing(stack)
        return f"not built: {', '.join(connector.name for connector in missing)}" if missing else None

    @staticmethod
    def _missing(stack: Stack) -> list[Connector]:
        tags = {images.tag(connector, stack.settings): connector for connector in used(stack)}
        missing = stack.provider.missing_images(list(tags))
        if missing is not None:
            tags = {name: tags[name] for name in missing}
        return [tags[name] for name in stack.runtime.absent(list(tags))]


@dataclass(frozen=True)
class Loaded:
    """All images are on the node."""

    title: str = "Images on the node"
    needs: tuple[str, ...] = (Pulled.title, Built.title)
    budget: float = 10
    node_seconds: float = 120
    """How long the node may take to take images. It does so long before the cluster is there: loading and booting overlap."""

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        deadline = time.monotonic() + self.node_seconds
        while True:
            missing = stack.provider.missing_images(wanted(stack))
            try:
                if missing:
                    stack.provider.load_images(missing, say)
                if missing is not None:
                    return f"{len(missing)} loaded" if missing else "all there"
                say("waiting for the node")
            except SetupError:
                # The node may be a new one: what a killed creation left is removed while images are on their way there.
                if time.monotonic() > deadline:
                    raise
                say("once more")
            if time.monotonic() > deadline:
                raise SetupError(
                    "E-TIMEOUT", "The node does not take images.", hint="invoke status looks again; invoke up goes on from here."
                )
            time.sleep(POLL_SECONDS)

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        missing = stack.provider.missing_images(wanted(stack))
        if missing is None:
            return "the node is not there yet"
        return f"missing: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Objects:
    """Everything but the programs themselves is as the manifests say, and what left the manifests is gone."""

    title: str = "Objects"
    needs: tuple[str, ...] = (Cluster.title,)
    budget: float = 30

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-FOREIGN, the cluster has an Argo or a namespace of somebody else's.
        """
        foreign = self._foreign(stack)
        if foreign:
            raise SetupError(
                "E-FOREIGN", f"{foreign} is there and not ours.", hint="Use another cluster: this one has an Argo of somebody else's."
            )
        documents = self._documents(stack)
        for document in documents:
            say(manifests.name(document))
            stack.kube.apply(document)
            if document["kind"] == "Namespace":
                self._secrets(stack)
        pruned = self._prune(stack)
        return f"{len(documents)} applied" + (f", {pruned} pruned" if pruned else "")

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        live = self._live(stack)
        differing = [why for document in self._documents(stack) if (why := manifests.differs(document, live.get(key(document))))]
        if differing:
            return f"{differing[0]}" + (f", and {len(differing) - 1} more" if len(differing) > 1 else "")
        if not stack.secret(ROOT_SECRET) or not stack.secret(USER_SECRET):
            return "credentials are missing"
        return None

    @staticmethod
    def _documents(stack: Stack) -> list[manifests.Document]:
        return [document for document in stack.documents if document["kind"] != "Deployment"]

    @staticmethod
    def _secrets(stack: Stack) -> None:
        """Make random credentials once; those that are there stay."""
        for name, user in ((ROOT_SECRET, "root"), (USER_SECRET, "pipeline")):
            if not stack.secret(name):
                stack.make_secret(name, stack.new_credentials(user))

    @staticmethod
    def _live(stack: Stack) -> dict[tuple[str, str], manifests.Document]:
        """Return what of ours the cluster has, of the kinds that stand in the manifests."""
        kinds = sorted({document["kind"] for document in stack.documents})
        label = f"{INSTANCE}={stack.instance.id}"
        return {(kind, item["metadata"]["name"]): item for kind in kinds for item in stack.kube.objects(kind, NAMESPACE, labels=label)}

    def _prune(self, stack: Stack) -> int:
        """Delete what we applied once and no longer do. What carries no digest, such as Secrets, was not applied from a file."""
        kept = {key(document) for document in stack.documents}
        gone = [
            found
            for found, item in self._live(stack).items()
            if found not in kept and manifests.CONTENT in (item["metadata"].get("annotations") or {})
        ]
        for kind, name in gone:
            stack.kube.delete(kind, name, NAMESPACE)
        return len(gone)

    @staticmethod
    def _foreign(stack: Stack) -> str:
        """Name a cluster-wide object of ours-to-be that somebody else has made."""
        for document in stack.documents:
            if document["kind"] in {"CustomResourceDefinition", "Namespace"}:
                live = stack.kube.get(document["kind"], document["metadata"]["name"])
                owner = ((live or {}).get("metadata", {}).get("labels") or {}).get(INSTANCE)
                if live is not None and owner != stack.instance.id:
                    return manifests.name(document)
        return ""


@dataclass(frozen=True)
class Running:
    """Programs run as the manifests say. Their images are on the node first, so that no node has to pull."""

    title: str
    deployments: tuple[str, ...]
    door: tuple[str, str]
    """The name of a port on the laptop, and a path there that answers 200 when all is well: the last word, for what
    Kubernetes says of pods is old for a while after the node was stopped and started."""
    needs: tuple[str, ...] = (Objects.title, Loaded.title)
    budget: float = 300

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``. A pod that waits between two tries to pull is made anew: the image may be there by now."""
        for document in self._documents(stack):
            say(manifests.name(document))
            stack.kube.apply(document)
        for name in self.deployments:
            for pod in self._pods(stack, name):
                trouble = manifests.pod_trouble(pod)
                if trouble and trouble[1]:
                    stack.kube.delete("Pod", pod["metadata"]["name"], NAMESPACE)
        return "available"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``.

        :raises SetupError: E-POD, a pod cannot become well by waiting.
        """
        for document in self._documents(stack):
            name = document["metadata"]["name"]
            live = stack.kube.get("Deployment", name, NAMESPACE)
            why = manifests.differs(document, live) or manifests.not_ready({**(live or {}), "kind": "Deployment"})
            if why:
                return self._trouble(stack, name) or f"{name}: {why}"
        port, path = self.door
        return silent(f"http://127.0.0.1:{stack.instance.ports[port]}{path}")

    def _documents(self, stack: Stack) -> list[manifests.Document]:
        return [item for item in stack.documents if item["kind"] == "Deployment" and item["metadata"]["name"] in self.deployments]

    @staticmethod
    def _pods(stack: Stack, name: str) -> list[manifests.Document]:
        pods = stack.kube.objects("Pod", NAMESPACE, labels=f"app.kubernetes.io/name={name}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _trouble(self, stack: Stack, name: str) -> str | None:
        """Say what keeps a program's pods from running.

        :raises SetupError: E-POD, waiting is hopeless.
        """
        for pod in self._pods(stack, name):
            found = manifests.pod_trouble(pod)
            if found is None:
                continue
            why, hopeless = found
            if hopeless:
                container = pod["spec"]["containers"][0]["name"]
                log = stack.kube.log(pod["metadata"]["name"], NAMESPACE, container, lines=5, previous=True).strip().splitlines()
                said = f' Its last words: "{log[-1]}"' if log else ""
                raise SetupError(
                    "E-POD", f"deployment/{name}: {why}.{said}", hint="Put that right, then invoke up again; what is done passes at once."
                )
            return f"{name}: {why}"
        return None


@dataclass(frozen=True)
class Buckets:
    """The buckets are there, with their versions and expiry, and the pipelines' user may use them."""

    title: str = "Buckets and user"
    needs: tuple[str, ...] = ("MinIO",)
    budget: float = 30

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        from cluster.store.admin import Admin, expire  # noqa: PLC0415 - minio takes 0.2 s to import

        settings, root = stack.settings, stack.secret(ROOT_SECRET)
        user = stack.secret(USER_SECRET)
        assert root is not None
        assert user is not None
        store = stack.store(ROOT_SECRET)
        say("buckets")
        store.prepare(self.names(stack))
        expire(store, settings.bucket_artifacts, ARTIFACT_DAYS)
        say("user")
        policy = json.loads((settings.root / "manifests" / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
        Admin(store.endpoint, root).allow(user, policy)
        return f"{len(self.names(stack))} buckets"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``. Asked as the pipelines' user: what it sees is what they will see."""
        try:
            store = stack.store()
            for name in self.names(stack):
                store.objects(name, "owner")
        except SetupError as error:
            return error.problem.rstrip(".")
        return None

    @staticmethod
    def names(stack: Stack) -> dict[str, bool]:
        """Return the buckets, and whether every version is kept."""
        settings = stack.settings
        return {settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False}


@dataclass(frozen=True)
class Configs:
    """The files of ``singer-configs/`` are in the bucket as they are here; states there are never touched."""

    title: str = "Configs"
    needs: tuple[str, ...] = (Buckets.title,)
    budget: float = 10

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        store, bucket = stack.store(), stack.settings.bucket_configs
        here, there = self._here(stack), self._there(stack)
        for name in sorted(here.keys() - {name for name in here if there.get(name) == here[name]}):
            say(name)
            store.put(bucket, name, here[name])
        gone = sorted(there.keys() - here.keys())
        for name in gone:
            store.delete(bucket, name)
        return f"{len(here)} objects" + (f", {len(gone)} removed" if gone else "")

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        here, there = self._here(stack), self._there(stack)
        differing = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
        return f"not as in singer-configs/: {', '.join(differing)}" if differing else None

    @staticmethod
    def _here(stack: Stack) -> dict[str, bytes]:
        files = {OWNER: json.dumps({"engine": "argo", "instance": stack.instance.id}).encode()}
        for connector in map(stack.project.connector, stack.project.connector_names):
            for name in ("config.json", "catalog.json"):
                file = connector.folder / name
                if file.exists():
                    files[f"connectors/{connector.name}/{name}"] = file.read_bytes()
        return files

    @staticmethod
    def _there(stack: Stack) -> dict[str, bytes | None]:
        store, bucket = stack.store(), stack.settings.bucket_configs
        names = [item.key for prefix in ("connectors/", OWNER) for item in store.objects(bucket, prefix)]
        return {name: store.get(bucket, name) for name in names}


@dataclass(frozen=True)
class ConnectorSecrets:
    """What connectors' configs ask for is in a Secret of each connector."""

    title: str = "Connectors' secrets"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 10

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        wanted_ = self._wanted(stack)
        for name, values in wanted_.items():
            say(name)
            stack.make_secret(name, values)
        return f"{len(wanted_)} secrets"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        differing = [name for name, values in self._wanted(stack).items() if stack.secret(name) != values]
        return f"not up to date: {', '.join(differing)}" if differing else None

    @staticmethod
    def _wanted(stack: Stack) -> dict[str, dict[str, str]]:
        found = {}
        for connector in used(stack):
            values = secrets(connector.config, stack.environ, {}, shown=stack.project.shown(connector.config))
            if values:
                found[f"connector-{connector.name}"] = values
        return found


def silent(url: str) -> str | None:
    """Say why an address does not answer 200, None if it does."""
    try:
        # A connection of its own each time: MinIO goes on answering as it did when a connection was made.
        status = urllib3.request("GET", url, timeout=2, retries=False, headers={"Connection": "close"}).status
    except urllib3.exceptions.HTTPError as error:
        return f"{url} does not answer yet: {str(error).rpartition(': ')[2]}"
    return None if status == HTTPStatus.OK else f"{url} answers {status}"


def used(stack: Stack) -> list[Connector]:
    """Return the connectors that a pipeline uses, each once."""
    pipelines = map(stack.project.pipeline, stack.project.pipeline_names)
    found = {connector.name: connector for pipeline in pipelines for connector in (pipeline.tap, pipeline.target)}
    return list(found.values())


def wanted(stack: Stack) -> list[str]:
    """Return all images that the node needs."""
    return [stack.settings.image(name) for name in PLATFORM] + [images.tag(connector, stack.settings) for connector in used(stack)]


def key(document: manifests.Document) -> tuple[str, str]:
    """Return what tells an object from the others of ours."""
    return document["kind"], document["metadata"]["name"]
