"""The facts that ``up`` makes true. Each can look without touching (``pending``) and be repeated (``apply``)."""

from __future__ import annotations

import json
import re
import time
from base64 import b64decode
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Protocol, Self

import urllib3

from cluster import images, kept, manifests
from cluster.connectors import secret_names, secrets
from cluster.environments import Environments
from cluster.errors import SetupError
from cluster.objects import Objects, argo_is_there, not_anothers_bucket, not_others, owner
from cluster.runs import OWNER
from cluster.stack import INSTANCE, ROOT_SECRET, USER_SECRET, at_once
from cluster.store import parted
from cluster.workflows import BUCKETS, NOTIFY, config_key

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.connectors import Connector
    from cluster.settings import Settings
    from cluster.stack import Stack

ARGO_MAJOR = 4
"""The first Argo whose manifests know our templates' words."""
ARTIFACT_DAYS = 14
ARN = "arn:aws:s3:::"
OWN = ("config", "catalog", "initial_state", "target_config")
"""What a pipeline may have of its own instead of its connectors'."""
NOTIFY_URL = "SINGER_NOTIFY_URL"
"""The variable, or the line in ``.env``, with the address that is told of failed runs."""
CONNECTOR = "connector-"
"""What the name of a connector's Secret begins with."""
POLL_SECONDS = 0.25


class Step(Protocol):
    """One fact that ``up`` makes true."""

    @property
    def title(self) -> str:
        """What a person reads."""

    @property
    def well(self) -> str:
        """What a person reads where nothing is pending."""

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
    well: str = "its API answers"
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
    well: str = "on this machine, or on the node already"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        missing = stack.runtime.absent(platform_images(stack))
        stack.instance.bring(*(f"image {image}" for image in missing))
        for image in missing:
            images.pull(image, stack.runtime, say)
        return f"{len(missing)} pulled"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``. What is on the node already need not be on the laptop."""
        wanted_ = stack.provider.missing_images(platform_images(stack))
        missing = stack.runtime.absent(platform_images(stack) if wanted_ is None else wanted_)
        return f"missing: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Built:
    """The connectors' images are built."""

    title: str = "Images of connectors"
    well: str = "built from what singer-configs/ says"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        environments = Environments(stack.settings)
        for connector in stack.connectors:
            environments.ensure_lock(connector)
        platform = stack.provider.platform
        built = [images.COMMIT] if self._no_commit(stack) else []
        if built:
            say(_for(platform, images.COMMIT))
            stack.instance.bring(*(f"image {name}" for name in images.made(images.commit_tag(stack.settings), images.COMMIT, platform)))
            images.build_commit(stack.settings, stack.runtime, lambda line: say(f"{_for(platform, images.COMMIT)}: {line}"), platform)
        missing = self._missing(stack)
        bases = {images.arguments(connector, stack.settings)["BASE"] for connector in missing}
        made = [name for item in missing for name in images.made(images.tag(item, stack.settings), item.name, platform)]
        stack.instance.bring(*(f"image {image}" for image in [*stack.runtime.absent(sorted(bases)), *made]))
        for connector in missing:
            name = _for(platform, connector.name)
            say(name)
            images.build(connector, stack.settings, stack.runtime, lambda line, name=name: say(f"{name}: {line}"), platform)  # type: ignore[misc]
        built += [connector.name for connector in missing]
        return f"{_for(platform, f'{len(built)} built')}: {', '.join(built)}"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        missing = [connector.name for connector in self._missing(stack)] + ([images.COMMIT] if self._no_commit(stack) else [])
        return f"{_for(stack.provider.platform, 'not built')}: {', '.join(missing)}" if missing else None

    @staticmethod
    def _no_commit(stack: Stack) -> bool:
        tag = images.commit_tag(stack.settings)
        return stack.provider.missing_images([tag]) != [] and bool(stack.runtime.absent([tag], stack.provider.platform))

    @staticmethod
    def _missing(stack: Stack) -> list[Connector]:
        tags = {images.tag(connector, stack.settings): connector for connector in stack.connectors}
        missing = stack.provider.missing_images(list(tags))
        absent = stack.runtime.absent(list(tags) if missing is None else missing, stack.provider.platform)
        # An image that is on the node need not be here, but for the names that people use with docker run on the laptop.
        nameless = [] if stack.settings.registry else stack.runtime.absent([images.readable(connector.name) for connector in tags.values()])
        return [connector for tag, connector in tags.items() if tag in absent or images.readable(connector.name) in nameless]


@dataclass(frozen=True)
class Loaded:
    """All images are on the node."""

    title: str = "Images on the node"
    well: str = "all there"
    needs: tuple[str, ...] = (Pulled.title, Built.title)
    budget: float = 10
    node_seconds: float = 120
    """How long the node may take to take images. It does so long before the cluster is there: loading and booting overlap."""

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        deadline = time.monotonic() + self.node_seconds
        while True:
            if stack.instance.making and not stack.instance.complete:
                deadline = time.monotonic() + self.node_seconds  # the cluster has a bound of its own
            missing = stack.provider.missing_images(wanted(stack))
            try:
                if missing:
                    stack.provider.load_images(missing, say)
                if missing is not None:
                    return f"{len(missing)} loaded" if missing else "all there"
                say("waiting for the node")
            except SetupError:
                # The node may be a new one: what a killed creation left is removed while images are on their way there.
                if not stack.instance.making or time.monotonic() > deadline:
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
class Restored:
    """Data that an earlier teardown has kept is in MinIO's volume again."""

    title: str = "Kept data"
    well: str = "brought back"
    needs: tuple[str, ...] = (Objects.title, Loaded.title)
    budget: float = 5

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        return kept.load(stack, helper_image(stack), say)

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        return "not brought back yet" if kept.archive(stack.settings).exists() else None


@dataclass(frozen=True)
class Running:
    """Programs run as the manifests say. Their images are on the node first, so that no node has to pull."""

    title: str
    deployments: tuple[str, ...]
    door: tuple[str, str]
    """One of ``DOORS``, and a path there that answers 200 when all is well: the last word, for what
    Kubernetes says of pods is old for a while after the node was stopped and started."""
    needs: tuple[str, ...] = (Objects.title, Loaded.title)
    well: str = "available"
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
                    stack.kube.delete("Pod", pod["metadata"]["name"], stack.namespace)
        return "available"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``.

        :raises SetupError: E-POD, a pod cannot become well by waiting.
        """
        for document in self._documents(stack):
            name = document["metadata"]["name"]
            live = stack.kube.get("Deployment", name, stack.namespace)
            why = manifests.differs(document, live) or manifests.not_ready({**(live or {}), "kind": "Deployment"})
            if live and live["spec"].get("replicas") != document["spec"]["replicas"]:
                why = "stopped"
            if why:
                return self._trouble(stack, name) or f"{name}: {why}"
        door, path = self.door
        return silent(stack.url(door) + path)

    def _documents(self, stack: Stack) -> list[manifests.Document]:
        return [item for item in stack.documents if item["kind"] == "Deployment" and item["metadata"]["name"] in self.deployments]

    @staticmethod
    def _pods(stack: Stack, name: str) -> list[manifests.Document]:
        pods = stack.kube.objects("Pod", stack.namespace, labels=f"app.kubernetes.io/name={name}")
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
                log = stack.kube.log(pod["metadata"]["name"], stack.namespace, container, lines=5, previous=True).strip().splitlines()
                said = f' Its last words: "{log[-1]}"' if log else ""
                raise SetupError(
                    "E-POD", f"deployment/{name}: {why}.{said}", hint="Put that right, then invoke up again; what is done passes at once."
                )
            return f"{name}: {why}"
        return None


@dataclass(frozen=True)
class ArgoThere:
    """An Argo Workflows of somebody else's is there, and looks after our namespace."""

    title: str = "Argo Workflows"
    well: str = "there, and looks after our namespace"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 60
    program: str = "workflow-controller"

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        say(stack.provider.context)
        return "found"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``. Where its Deployment may not be read, its CRDs must be enough.

        :raises SetupError: E-ARGO, there is none, or it is too old.
        """
        argo_is_there(stack)
        if not stack.kube.may("list", "apps", "deployments"):
            return None
        controllers = [item for item in stack.kube.objects("Deployment") if item["metadata"]["name"].endswith(self.program)]
        for found in controllers:
            container = found["spec"]["template"]["spec"]["containers"][0]
            version = re.search(r":v?(\d+)\.(\d+)", container["image"])
            if version and int(version[1]) < ARGO_MAJOR:
                raise SetupError(
                    "E-ARGO",
                    f"The Argo Workflows there is {container['image'].rpartition(':')[2]}; our templates need v{ARGO_MAJOR} or later.",
                    hint="Ask its administrator for an upgrade, or install ours into another cluster.",
                )
            namespaced = {"--namespaced"} & set(container.get("args", []))
            if not namespaced or found["metadata"]["namespace"] == stack.namespace:
                return None if found.get("status", {}).get("availableReplicas") else f"{found['metadata']['name']} is not available"
        return "its controller does not look after our namespace" if controllers else "its controller is not there"


@dataclass(frozen=True)
class Buckets:
    """The buckets are there, with their versions and expiry, and the pipelines' user may use them."""

    title: str = "Buckets and user"
    well: str = "there, and the pipelines' user may use them"
    needs: tuple[str, ...] = ("MinIO", Objects.title)
    budget: float = 30

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        from cluster.store.admin import BACKFILLS, EXPIRING, Admin, expire  # noqa: PLC0415 - minio takes 0.2 s to import

        settings, ours = stack.settings, stack.settings.store == "install"
        store = stack.store(ROOT_SECRET if ours else "")
        say("buckets")
        store.prepare(self.names(stack))
        if ours:
            expire(store, {settings.bucket_artifacts: EXPIRING, settings.bucket_configs: BACKFILLS}, ARTIFACT_DAYS)
            say("user")
            root, user = stack.secret(ROOT_SECRET), stack.secret(USER_SECRET)
            assert root is not None
            assert user is not None
            Admin(store.endpoint, root).allow(user, policy(settings))
        unkept = (
            "" if store.versioned(settings.bucket_configs) else f"; {settings.bucket_configs} keeps no versions: states have no history"
        )
        return f"{len(self.names(stack))} buckets{unkept}"

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``. Asked as the pipelines' user: what it sees is what they will see."""
        try:
            store = stack.store()
            for name in self.names(stack):
                store.objects(name, "owner")
            root = stack.secret(ROOT_SECRET) if stack.settings.store == "install" else None
            if root:
                from cluster.store.admin import Admin  # noqa: PLC0415 - minio takes 0.2 s to import

                if not Admin(store.endpoint, root).follows(policy(stack.settings)):
                    return "the policy of the pipelines' user is not ours of today"
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
    well: str = "the same as singer-configs/"
    needs: tuple[str, ...] = (Buckets.title,)
    budget: float = 10

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        store, bucket = stack.store(), stack.settings.bucket_configs
        not_anothers_bucket(stack, store.get(bucket, OWNER))
        here, there = self.here(stack), self._there(stack)

        def put(name: str) -> None:
            say(name)
            store.put(bucket, name, here[name])

        at_once(put, [name for name in sorted(here) if there.get(name) != here[name]])
        gone = sorted(there.keys() - here.keys())
        at_once(lambda name: store.delete(bucket, name), gone)
        return f"{len(here)} objects" + (f", {len(gone)} removed" if gone else "")

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        here, there = self.here(stack), self._there(stack)
        differing = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
        return f"not as in singer-configs/: {', '.join(differing)}" if differing else None

    @staticmethod
    def here(stack: Stack) -> dict[str, bytes]:
        """Return what shall be in the bucket, by key."""
        files = {OWNER: owner(stack)}
        connectors = stack.connectors if stack.only else map(stack.project.connector, stack.project.connector_names)
        for connector in connectors:
            for file in (connector.config, connector.folder / "catalog.json", connector.folder / "state.json"):
                key = f"connectors/{connector.name}/{file.name}"
                if file.exists():
                    files[key] = file.read_bytes()
                elif file == connector.config and connector.kind == "tap":  # a Workflow's input that may not be missing
                    files[key] = b"{}"
        for pipeline in stack.pipelines:
            for name in OWN:
                key = config_key(pipeline, name)
                if key.startswith("pipelines/"):
                    files[key] = getattr(pipeline, name).read_bytes()
        return files

    @staticmethod
    def _there(stack: Stack) -> dict[str, bytes | None]:
        store, bucket = stack.store(), stack.settings.bucket_configs
        prefixes = ["connectors/", "pipelines/"]
        if stack.only:
            prefixes = [f"connectors/{connector.name}/" for connector in stack.connectors] + [f"pipelines/{name}/" for name in stack.only]
        names = [item.key for prefix in (*prefixes, OWNER) for item in store.objects(bucket, prefix)]
        states = re.compile("pipelines/[^/]+/state.json")
        names = [name for name in names if not states.fullmatch(name)]
        return dict(zip(names, at_once(lambda name: store.get(bucket, name), names), strict=True))


@dataclass(frozen=True)
class ConnectorSecrets:
    """What connectors' configs ask for is in a Secret of each connector. One that others have made is used as it is."""

    title: str = "Connectors' secrets"
    well: str = "as the environment and .env say"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 10

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        there = self._there(stack)
        wanted_ = self._wanted(stack, there)
        not_others(stack, [("Secret", name) for name in wanted_])
        for name in self._differing(stack, there, wanted_):
            say(name)
            if wanted_.get(name):
                stack.make_secret(name, wanted_[name])
            else:
                stack.kube.delete("Secret", name, stack.namespace)
        theirs = sum(secret.theirs for secret in there.values())
        return f"{len([name for name, values in wanted_.items() if values])} secrets" + (f", {theirs} of others" if theirs else "")

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        there = self._there(stack)
        differing = self._differing(stack, there, self._wanted(stack, there))
        return f"not up to date: {', '.join(differing)}" if differing else None

    @staticmethod
    def _there(stack: Stack) -> dict[str, _Secret]:
        """Return the Secrets of connectors and of notifications that are in the cluster, by name."""
        found = {item["metadata"]["name"]: item for item in stack.kube.objects("Secret", stack.namespace)}
        return {name: _Secret.of(item) for name, item in found.items() if name == NOTIFY or name.startswith(CONNECTOR)}

    @staticmethod
    def _wanted(stack: Stack, there: Mapping[str, _Secret]) -> dict[str, dict[str, str]]:
        """Return the Secrets by name that we make; one without values shall not be there."""
        connectors = {CONNECTOR + connector.name: connector for connector in stack.connectors}
        found = {name: _secrets_of(stack, connector, there.get(name)) for name, connector in connectors.items()}
        if NOTIFY_URL in stack.environ:
            found[NOTIFY] = {"url": stack.environ[NOTIFY_URL]} if stack.environ[NOTIFY_URL] else {}
        return {name: values for name, values in found.items() if name not in there or not there[name].theirs}

    @staticmethod
    def _differing(stack: Stack, there: Mapping[str, _Secret], wanted_: Mapping[str, dict[str, str]]) -> list[str]:
        """Name the Secrets that are not as they shall be, also those of connectors that no pipeline uses any more."""
        ours = [name for name, secret in there.items() if secret.instance == stack.instance.id]
        gone = [name for name in ours if name != NOTIFY and name not in wanted_ and not stack.only]
        return [name for name, values in wanted_.items() if (there[name].values if name in there else {}) != values] + gone


@dataclass(frozen=True)
class _Secret:
    """A Secret that is in the cluster."""

    instance: str
    """Which installation has made it, as its label says."""
    values: dict[str, str]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one."""
        instance = (item["metadata"].get("labels") or {}).get(INSTANCE, "")
        return cls(instance, {key: b64decode(value).decode(errors="replace") for key, value in (item.get("data") or {}).items()})

    @property
    def theirs(self) -> bool:
        """Whether no installation of ours has made it: an administrator has, or what keeps a company's secrets."""
        return not self.instance


def _secrets_of(stack: Stack, connector: Connector, there: _Secret | None) -> dict[str, str]:
    """Return the secrets that a connector's configs ask for in any pipeline; what is not set here may be *there*.

    :raises SetupError: E-SECRET, one that the command's pipelines need is not set; what only others need may be missing.
    """
    known = there.values if there and there.theirs else {**(there.values if there else {}), **stack.environ}
    values: dict[str, str] = {}
    needed = {pipeline.name for pipeline in stack.pipelines}
    for name in stack.project.pipeline_names:
        try:
            pipeline = stack.project.pipeline(name)
        except SetupError:
            if name in needed:
                raise
            continue
        for side, file in ((pipeline.tap, pipeline.config), (pipeline.target, pipeline.target_config)):
            if side.name != connector.name:
                continue
            values |= {key: known[key] for key in secret_names(file) if key in known}
            if name in needed:
                try:
                    secrets(file, known, {}, shown=stack.project.shown(file))
                except SetupError as error:
                    if there and there.theirs:
                        error.hint = f"Have it added to the Secret {CONNECTOR}{connector.name}, which is not ours to change."
                    raise
    return values


def _for(platform: str, what: str) -> str:
    """Say for which platform something is, where that is not simply this machine's."""
    return f"{what} for {platform}" if platform else what


def silent(url: str) -> str | None:
    """Say why an address does not answer 200, None if it does."""
    try:
        # A connection of its own each time: MinIO goes on answering as it did when a connection was made.
        status = urllib3.request("GET", url, timeout=2, retries=False, headers={"Connection": "close"}).status
    except urllib3.exceptions.HTTPError as error:
        return f"{url} does not answer yet: {str(error).rpartition(': ')[2]}"
    return None if status == HTTPStatus.OK else f"{url} answers {status}"


def policy(settings: Settings) -> dict[str, Any]:
    """Return the policy of the pipelines' user, for the buckets that the settings name."""
    found: dict[str, Any] = json.loads((settings.root / "manifests" / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
    ours = [item for item in found["Statement"] if "Resource" in item or settings.store == "install"]  # the rest is MinIO's own
    return {**found, "Statement": [made for statement in ours for made in _granted(statement, settings)]}


def _granted(statement: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """Return a statement about the buckets that were chosen. Where we have a folder of one, only what is below it can be listed."""
    chosen = {ARN + name: parted(getattr(settings, setting)) for name, setting in BUCKETS.items()}
    whole, below = list[str](), list[dict[str, Any]]()
    for resource in statement.get("Resource", ()):
        name, folder = chosen[resource.removesuffix("/*")]
        if resource.endswith("/*"):
            whole.append(f"{ARN}{name}/{folder}*")
        elif folder and "s3:ListBucket" in statement["Action"]:
            condition = {"StringLike": {"s3:prefix": [f"{folder}*"]}}
            sid = f"{statement['Sid']}{len(below) + 1}"
            below.append({**statement, "Sid": sid, "Resource": [ARN + name], "Condition": condition})
        else:
            whole.append(ARN + name)
    if not below and not whole:
        return [statement]
    return ([{**statement, "Resource": list(dict.fromkeys(whole))}] if whole else []) + below


def helper_image(stack: Stack) -> str:
    """Return an image of ours with Python, for pods that help the platform.

    :raises SetupError: E-KEEP, no pipeline uses one.
    """
    found = stack.connectors
    if not found:
        raise SetupError("E-KEEP", "Data can be kept and brought back only where there is a pipeline.", hint="Add one to pipelines.yaml.")
    return images.tag(found[0], stack.settings)


def wanted(stack: Stack) -> list[str]:
    """Return all images that the node needs."""
    ours = [images.tag(connector, stack.settings) for connector in stack.connectors]
    return [*platform_images(stack), *ours, images.commit_tag(stack.settings)]


def platform_images(stack: Stack) -> list[str]:
    """Return the images of other people that the settings choose to install."""
    argo = ("controller", "executor", "server") if stack.settings.argo == "install" else ()
    return [stack.settings.image(name) for name in (*argo, *(("minio",) if stack.settings.store == "install" else ()))]
