"""The handles that every step receives."""

from __future__ import annotations

import secrets
from base64 import b64decode, b64encode
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from cluster.argo import templates
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.kube import documents as manifests
from cluster.net import proxy
from cluster.project.dotenv import kept_secrets
from cluster.project.model import used
from cluster.project.reader import Project
from cluster.providers.existing import Existing
from cluster.providers.instance import Instance
from cluster.providers.kind import Kind
from cluster.providers.minikube import Minikube
from cluster.providers.preflight import findings, inotify_limits
from cluster.runs import format_version
from cluster.runs.history import History
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from types import TracebackType
    from typing import Self

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Info
    from cluster.kube.client import Kube
    from cluster.kube.streams import Forward
    from cluster.project.model import Connector, Pipeline
    from cluster.providers import Provider
    from cluster.providers.preflight import Shortage
    from cluster.store.s3 import S3Store

Item = TypeVar("Item")
Result = TypeVar("Result")
AT_ONCE = 8
"""How many requests are under way at once; the clients keep ten connections."""

PART_OF = "app.kubernetes.io/part-of"
INSTANCE = "singer/instance"
KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
"""What stands in a Secret of the store, and the variables that say it for an S3 that is there already."""
FORBIDDEN = 403
ROOT_SECRET = "argo-artifacts-root"  # noqa: S105 - its name
USER_SECRET = "argo-artifacts"  # noqa: S105 - its name
DOORS = {"argo": ("port_argo", "argo-server", 2746), "s3": ("port_s3", "minio", 9000), "console": ("port_console", "minio", 9001)}
"""What can be reached from the laptop: its preferred port there, the program that answers, and that program's port."""
PIPELINE = "pipeline"
ROLE = "eks.amazonaws.com/role-arn"
"""The ServiceAccount of pipelines' pods, and the annotation that gives it a role of Amazon's."""
INSIDE = "http://argo-artifacts:9000"
"""Where pods reach our own MinIO."""
CREATED = (1, 35)
"""The first Kubernetes that asks for the right to create a forward as well, which is opened by a GET."""
INITLESS = (1, 36)
"""The first Kubernetes whose image volumes are on by default; init-less pods need them."""
IMAGES = {"workflow-controller": "controller", "argo-server": "server", "minio": "minio"}
"""Deployment to the name of its image in the settings."""


def at_once(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the same with each of *items*, a few at a time, and return the results in their order.

    :raises Exception: what the first that failed raised; what has not begun by then does not begin.
    """
    with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
        return list(pool.map(work, items))


class Handles:
    """Settings, provider, and what is opened when it is first needed: the cluster's API and its store."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Take the settings; nothing is run yet.

        :raises SetupError: E-CLUSTER, this checkout has a platform from another provider.
        """
        self.settings = settings
        self.environ = {**kept_secrets(settings.root, settings.env), **environ}
        self.namespace = settings.namespace
        self.instance = Instance(settings.platform / "instance.json", settings.instance)
        if self.instance.provider not in {"", settings.provider}:
            was, now = self.instance.provider, settings.provider
            raise SetupError(
                "E-CLUSTER",
                f'This checkout has a platform of the provider {was} ("{self.instance.cluster}"), and singer.provider is {now}.',
                hint=f"Take it away first: INVOKE_SINGER_PROVIDER={was} invoke teardown. Or set singer.provider to {was}.",
            )
        self.instance.choose_ports(settings.ports)
        self.network = proxy.read(settings, environ)
        self.runtime = Runtime(settings.runtime)
        self.provider = self._provider()
        self._forwards: dict[str, Forward] = {}
        self.only: tuple[str, ...] = ()

    def _provider(self) -> Provider:
        if self.settings.provider == "existing":
            return Existing(self.settings, self.instance, self.runtime, self.environ, through=self.network, nodes=self._nodes)
        return (Minikube if self.settings.provider == "minikube" else Kind)(self.settings, self.instance, self.runtime)

    def __enter__(self) -> Self:
        """Hold what is opened until the body ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close what was opened."""
        for forward in self._forwards.values():
            forward.close()
        self._forwards.clear()

    @cached_property
    def project(self) -> Project:
        """What stands in ``singer-configs/``."""
        return Project.of(self.settings)

    @property
    def pipelines(self) -> list[Pipeline]:
        """The pipelines that the command is about: those in ``only``, where none is named all."""
        return [self.project.pipeline(name) for name in self.only or self.project.pipeline_names]

    @property
    def connectors(self) -> list[Connector]:
        """The connectors of these pipelines, each once."""
        return used(self.pipelines)

    @property
    def host(self) -> Info | None:
        """What the laptop's runtime says, None where the cluster is not in it.

        :raises SetupError: E-PROGRAM, E-RUNTIME.
        """
        return self.runtime.info if self.provider.ours and self.provider.publishes else None

    def lacks(self) -> list[Shortage]:
        """Return what is not as it should be on the machine that the cluster is, or will be, on."""
        host = self.host
        return list(findings(host, self.runtime.program, inotify_limits(host), anew=not self.instance.complete)) if host else []

    @cached_property
    def kube(self) -> Kube:
        """The cluster's API, by the project's own kubeconfig."""
        from cluster.kube.client import Kube  # noqa: PLC0415 - kubernetes takes 0.3 s to import

        return Kube(self.provider.kubeconfig, self.provider.context, self.network)

    def _nodes(self) -> set[str]:
        """Return the platforms of the cluster's nodes, none where we may not look; Windows runs none of ours."""
        try:
            infos = [node["status"]["nodeInfo"] for node in self.kube.objects("Node")]
        except SetupError as error:
            if getattr(error, "status", 0) != FORBIDDEN:
                raise
            return set()
        return {f"linux/{info['architecture']}" for info in infos if info["operatingSystem"] == "linux"}

    @property
    def labels(self) -> dict[str, str]:
        """What our objects carry."""
        return {PART_OF: "singer", "app.kubernetes.io/managed-by": "singer", INSTANCE: self.instance.id}

    def owns(self, live: Mapping[str, Any] | None) -> bool:
        """Say whether a live object carries this instance's label."""
        return ((live or {}).get("metadata", {}).get("labels") or {}).get(INSTANCE) == self.instance.id

    @property
    def inside(self) -> str:
        """Where pods reach the store."""
        return self.settings.s3_endpoint.rstrip("/") if self.settings.store == "use" else INSIDE

    @property
    def trusting(self) -> bool:
        """Whether pods reach the store by TLS with certificates of a company's own."""
        return bool(self.network.certificates) and self.inside.startswith("https:")

    # -- what shall be in the cluster

    @cached_property
    def documents(self) -> list[manifests.Document]:
        """The platform's objects as they shall be, in the order of application; the Secrets are made apart."""
        documents = [self.placed(self._chosen(document)) for document in manifests.load(self._files())]
        if self.settings.argo == "use":
            documents.append(self.placed(self._repository()))
        documents += self._for_pods()
        return [manifests.stamped(manifests.labelled(document, self.labels)) for document in manifests.ordered(documents)]

    def _files(self) -> list[Any]:
        """Return the manifests that the settings choose."""
        folder = self.settings.root / "manifests"
        argo = sorted((folder / "argo").glob("*.yaml")) if self.settings.argo == "install" else [folder / "argo" / "executor.yaml"]
        minio = [folder / "minio" / "minio.yaml"] if self.settings.store == "install" else []
        events = [folder / "events" / "events.yaml"] if self.settings.argo_events == "use" else []
        policies = [folder / "network-policies.yaml"] if self.settings.network_policies else []
        return [folder / "namespace.yaml", *argo, *minio, *events, *policies, *sorted((folder / "singer").glob("*.yaml"))]

    def _chosen(self, document: manifests.Document) -> manifests.Document:
        """Set the images, ports and store that the settings choose."""
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "Deployment":
            document = manifests.with_value(document, "spec.template.spec.containers.0.image", self.settings.image(IMAGES[name]))
            return manifests.pulling(document, self.settings.pull_secret)
        if kind == "Service" and not self.provider.publishes:
            for port in document["spec"]["ports"]:
                del port["nodePort"]
            return manifests.with_value(document, "spec.type", "ClusterIP")
        if kind == "WorkflowTemplate" and self.settings.argo == "use":
            document = templates.with_defaults(document, yaml.safe_load(self._argo_config["data"]["config"]))
        if name == templates.STORE:
            document = manifests.annotated(document, {format_version.RECORD: str(format_version.LAYOUT)})
        if kind == "WorkflowTemplate" or name == templates.STORE:
            return templates.placed(document, self.settings, self.inside, trusting=self.trusting)
        if kind in {"ServiceAccount", "Role"}:
            return self._let_in(document)
        if kind == "ConfigMap" and name == "workflow-controller-configmap":
            return manifests.with_value(document, "data.config", yaml.safe_dump(self._controller(document), sort_keys=False))
        return document

    def _let_in(self, document: manifests.Document) -> manifests.Document:
        """Set what opens store and registry: for pipelines' pods a role and a pull secret, for Argo's pages the Secret of the store."""
        name = document["metadata"]["name"]
        if (document["kind"], name) == ("ServiceAccount", PIPELINE):
            document = manifests.annotated(document, {ROLE: self.settings.s3_role}) if self.settings.s3_role else document
            return manifests.pulling(document, self.settings.pull_secret)
        if (document["kind"], name) == ("Role", "argo-server"):
            secret = [self.settings.s3_secret]
            rules = [{**rule, "resourceNames": secret} if "secrets" in rule["resources"] else rule for rule in document["rules"]]
            return manifests.with_value(document, "rules", rules)
        return document

    def _controller(self, document: manifests.Document) -> manifests.Document:
        """Return the controller's configuration, with what the settings choose."""
        config: manifests.Document = yaml.safe_load(document["data"]["config"])
        config = manifests.with_value(config, "executor.image", self.settings.image("executor"))
        chosen = self.settings.initless_pods
        installed = self.settings.argo == "install"  # of an Argo that is there, only what leads to the store is ours
        initless = chosen is True or (chosen == "auto" and installed and (self.provider.ours or self.kube.version >= INITLESS))
        config = manifests.with_value(config, "initlessPod.enabled", initless)
        templates.stored(config["artifactRepository"]["s3"], self.settings, self.inside, trusting=self.trusting)
        return config

    @cached_property
    def _argo_config(self) -> manifests.Document:
        """The configuration of our own Argo, as it stands in the repository."""
        return manifests.load([self.settings.root / "manifests" / "argo" / "default-argo-configmap.yaml"])[0]

    def _repository(self) -> manifests.Document:
        """Return our artifact repository as an Argo of somebody else's finds it: as the default of our namespace."""
        repository = yaml.safe_dump(self._controller(self._argo_config)["artifactRepository"], sort_keys=False)
        annotations = {"workflows.argoproj.io/default-artifact-repository": "singer"}
        metadata = {"name": "artifact-repositories", "namespace": self.namespace, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"singer": repository}}

    def _for_pods(self) -> list[manifests.Document]:
        """Return what tells pods of the proxy and the certificates, nothing where there are none.

        The variables are a Secret, because a proxy's address may hold a password. The certificates are apart from it: as a
        variable they would be too long for any program to start.
        """
        variables, certificates = self.network.in_pods(), self.network.certificates
        metadata = {"name": proxy.NAME, "namespace": self.namespace}
        encoded = {name: b64encode(value.encode()).decode() for name, value in variables.items()}
        found: list[manifests.Document] = []
        if variables:
            found.append({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "data": encoded})
        if certificates:
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {proxy.BUNDLE: certificates}})
        if self.trusting:
            data = {proxy.BUNDLE: b64encode(certificates.encode()).decode()}
            found.append(
                {"apiVersion": "v1", "kind": "Secret", "metadata": {**metadata, "name": templates.CA}, "type": "Opaque", "data": data}
            )
        return found

    def placed(self, document: manifests.Document) -> manifests.Document:
        """Put an object into our namespace: the manifests name it ``argo``."""
        if document["kind"] == "Namespace":
            return manifests.with_value(document, "metadata.name", self.namespace)
        if "namespace" in document["metadata"]:
            document = manifests.with_value(document, "metadata.namespace", self.namespace)
        for number, subject in enumerate(document.get("subjects", [])):
            if "namespace" in subject:
                document = manifests.with_value(document, f"subjects.{number}.namespace", self.namespace)
        return document

    # -- how it is reached from here

    def url(self, door: str) -> str:
        """Return where one of ``DOORS`` is reached from this machine: a published port, else one that is forwarded until we end.

        :raises SetupError: E-KUBE, the cluster cannot be reached.
        """
        if door == "s3" and self.settings.store == "use":
            return self.settings.s3_endpoint.rstrip("/")
        return f"http://127.0.0.1:{self.port(door)}"

    def port(self, door: str) -> int:
        """Return the port of a door on 127.0.0.1.

        :raises SetupError: E-RIGHTS, no port may be forwarded.
        """
        name, program, target = DOORS[door]
        if self.provider.publishes:
            return self.instance.ports[name]
        if door not in self._forwards:
            verbs = ("get", *(["create"] if self.kube.version >= CREATED else []))
            self.kube.need([(verb, "", "pods/portforward") for verb in verbs], self.namespace, "forward")
            from cluster.kube.streams import Forward  # noqa: PLC0415 - aiohttp takes 0.2 s to import

            self._forwards[door] = Forward(self.kube, self.namespace, program, target, self.instance.ports[name])
        return self._forwards[door].port

    # -- secrets and store

    def secret(self, name: str) -> dict[str, str] | None:
        """Return the values of one of our Secrets, None where it is not there or not filled in."""
        found = self.kube.get("Secret", name, self.namespace)
        data = (found or {}).get("data") or {}
        return {key: b64decode(value).decode() for key, value in data.items()} or None

    def make_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Create or replace one of our Secrets."""
        metadata: dict[str, Any] = {"name": name, "namespace": self.namespace}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": dict(values)}
        self.kube.apply(manifests.labelled(document, self.labels))

    @staticmethod
    def new_credentials(user: str) -> dict[str, str]:
        """Return random credentials."""
        return {"accesskey": f"{user}-{secrets.token_hex(4)}", "secretkey": secrets.token_urlsafe(24)}

    def keys(self, secret: str = "") -> dict[str, str] | None:
        """Return the keys of the cluster's store: those of pipelines, or of *secret*. None where it is no keys that open it.

        :raises SetupError: E-STORE, they are not there yet; E-SECRET, we may not read them, and have none.
        """
        given = {name: self.environ.get(variable, "") for name, variable in KEYS.items()}
        found: dict[str, str] | None = given if all(given.values()) else None
        if secret or self.settings.s3_credentials != "identity":
            try:
                found = self.secret(secret or self.settings.s3_secret)
            except SetupError as error:  # who may not read Secrets may have keys of their own
                if getattr(error, "status", 0) != FORBIDDEN:
                    raise
                if found is None:
                    raise SetupError(
                        "E-SECRET",
                        f"You may not read the Secret {secret or self.settings.s3_secret}, and no keys of your own are set.",
                        hint="Put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into .env, or ask for the role singer-operator.",
                    ) from None
            if found is None:
                raise SetupError("E-STORE", "The store's credentials are not there yet.", hint=f"{command('up')} makes them.")
        return found

    def store(self, secret: str = "") -> S3Store:
        """Return the cluster's store as its user, or with *secret* as its root.

        :raises SetupError: E-STORE, the credentials are not there yet.
        """
        from cluster.store.s3 import S3Store  # noqa: PLC0415 - minio takes 0.2 s to import

        found = self.keys(secret) or {}
        url = self.url("s3")
        return S3Store(
            url,
            access_key=found.get("accesskey"),
            secret_key=found.get("secretkey"),
            session_token=self.environ.get("AWS_SESSION_TOKEN") if found.get("accesskey") == self.environ.get(KEYS["accesskey"]) else None,
            region=self.settings.s3_region,
            ca_bundle=self.network.trusted() if url.startswith("https:") else None,
            proxy=self.network.proxy_for(url),
        )

    @cached_property
    def history(self) -> History:
        """States and records of the cluster."""
        return History(self.store(), self.settings)
