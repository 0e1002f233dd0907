"""What every step receives: settings, provider, cluster, store.

Cluster and store are opened when first needed.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.kube.rbac import visible
from cluster.net import proxy
from cluster.platform.credentials import KEYS, Credentials
from cluster.platform.rendering import INSTANCE, Rendering, labels
from cluster.project.dotenv import kept_secrets
from cluster.project.model import used
from cluster.project.reader import Project
from cluster.providers.existing import Existing
from cluster.providers.instance import Instance
from cluster.providers.kind import Kind
from cluster.providers.minikube import Minikube
from cluster.providers.preflight import findings, inotify_limits
from cluster.runs.history import History
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import TracebackType
    from typing import Self

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Info
    from cluster.kube.client import Kube
    from cluster.kube.documents import Document
    from cluster.kube.streams import Forward
    from cluster.project.model import Connector, Pipeline
    from cluster.providers import Provider
    from cluster.providers.preflight import Shortage
    from cluster.store.s3 import S3Store

DOORS = {"argo": ("port_argo", "argo-server", 2746), "s3": ("port_s3", "minio", 9000), "console": ("port_console", "minio", 9001)}
"""What the laptop can reach: the preferred port there, the Deployment that answers, and its
port."""
CREATED = (1, 35)
"""The first Kubernetes that also asks for the verb ``create`` to open a forward."""


def _import_clients() -> None:
    """Import the clients of Kubernetes and S3, while the runtime answers."""
    import cluster.kube.client  # noqa: PLC0415
    import cluster.store.s3  # noqa: F401, PLC0415


class Handles:
    """Settings and provider of an installation, and lazily its cluster, store and objects."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Take the settings. Nothing is started or asked yet.

        :raises SetupError: E-CLUSTER, this checkout has a platform of another provider.
        """
        self.settings = settings
        self.environ = {**kept_secrets(settings.root, settings.env), **environ}
        self.namespace = settings.namespace
        self.instance = Instance(settings.platform / "instance.json", settings.instance)
        self._same_provider()
        self.instance.choose_ports(settings.ports)
        self.network = proxy.read(settings, environ)
        self.runtime = Runtime(settings.runtime)
        self.provider = self._provider()
        self.labels = labels(self.instance.id)
        self.only: tuple[str, ...] = ()
        """The pipelines of the command; empty for all."""
        self.credentials = Credentials(settings, self.environ, self.labels, lambda: self.kube)
        self.rendering = Rendering(settings, self.network, self.provider, self.labels, lambda: self.kube.version, lambda: self.project)
        self._forwards: dict[str, Forward] = {}

    def _same_provider(self) -> None:
        before, now = self.instance.provider, self.settings.provider
        if before not in {"", now}:
            raise SetupError(
                "E-CLUSTER",
                f'This checkout has a platform of the provider {before} ("{self.instance.cluster}"), and singer.provider is {now}.',
                hint=f"Remove it first: INVOKE_SINGER_PROVIDER={before} {command('teardown')}. Or set singer.provider to {before}.",
            )

    def _provider(self) -> Provider:
        if self.settings.provider == "existing":
            return Existing(self.settings, self.instance, self.runtime, self.environ, through=self.network, nodes=self._node_platforms)
        return (Minikube if self.settings.provider == "minikube" else Kind)(self.settings, self.instance, self.runtime)

    def __enter__(self) -> Self:
        """Keep forwards open until the body ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the forwards."""
        for forward in self._forwards.values():
            forward.close()
        self._forwards.clear()

    # -- the project

    @cached_property
    def project(self) -> Project:
        """The content of ``singer-configs/``."""
        return Project.of(self.settings)

    @property
    def pipelines(self) -> list[Pipeline]:
        """The pipelines of the command."""
        return [self.project.pipeline(name) for name in self.only or self.project.pipeline_names]

    @property
    def connectors(self) -> list[Connector]:
        """The connectors of these pipelines, without duplicates."""
        return used(self.pipelines)

    # -- the machine

    @property
    def host(self) -> Info | None:
        """The laptop's container runtime; None if the cluster does not run in it.

        :raises SetupError: E-PROGRAM, E-RUNTIME.
        """
        return self.runtime.info if self.provider.ours and self.provider.publishes else None

    def lacks(self) -> list[Shortage]:
        """Return what the machine of the cluster has too little of."""
        host = self.host
        return list(findings(host, self.runtime.program, inotify_limits(host), anew=not self.instance.complete)) if host else []

    def ask_ahead(self, *questions: Callable[[], object]) -> None:
        """Ask a node in this machine's runtime in the background what the steps will ask.

        The runtime keeps the answers until a step acts. An error is raised where it matters.
        """
        self.runtime.keep_answers()

        def ask(question: Callable[[], object]) -> None:
            with suppress(SetupError):
                question()

        if self.provider.name == "kind" and self.instance.complete:
            for question in questions:
                threading.Thread(target=ask, args=[question], daemon=True).start()
            threading.Thread(target=_import_clients, daemon=True).start()

    # -- the cluster

    @cached_property
    def kube(self) -> Kube:
        """The cluster's API, opened with the project's own kubeconfig."""
        from cluster.kube.client import Kube  # noqa: PLC0415 - kubernetes takes 0.3 s to import

        return Kube(self.provider.kubeconfig(), self.provider.context, self.network)

    def reconnect(self) -> None:
        """Read the kubeconfig again at the next request: the provider has changed it."""
        self.__dict__.pop("kube", None)

    def owns(self, live: Document | None) -> bool:
        """Return whether a live object carries this instance's label."""
        return ((live or {}).get("metadata", {}).get("labels") or {}).get(INSTANCE) == self.instance.id

    def _node_platforms(self) -> set[str]:
        """Return the platforms of the Linux nodes; empty if we may not list nodes."""
        hidden: list[Document] = []
        infos = [node["status"]["nodeInfo"] for node in visible(lambda: self.kube.objects("Node"), hidden)]
        return {f"linux/{info['architecture']}" for info in infos if info["operatingSystem"] == "linux"}

    # -- the store

    def url(self, door: str) -> str:
        """Return the address of one of ``DOORS`` here: a published port, or one that we forward.

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

    def store(self, secret: str = "") -> S3Store:
        """Return the cluster's store, opened with the keys of pipelines or with those in *secret*.

        :raises SetupError: E-STORE, there are no keys yet.
        """
        from cluster.store.s3 import S3Store  # noqa: PLC0415 - minio takes 0.2 s to import

        keys = self.credentials.keys(secret) or {}
        url = self.url("s3")
        parameters: dict[str, Any] = {"access_key": keys.get("accesskey"), "secret_key": keys.get("secretkey")}
        if keys.get("accesskey") == self.environ.get(KEYS["accesskey"]):
            parameters["session_token"] = self.environ.get("AWS_SESSION_TOKEN")
        return S3Store(
            url,
            **parameters,
            region=self.settings.s3_region,
            ca_bundle=self.network.trusted() if url.startswith("https:") else None,
            proxy=self.network.proxy_for(url),
            own=self.settings.store == "install",
        )

    @cached_property
    def history(self) -> History:
        """States and records of the cluster."""
        return History(self.store(), self.settings)
