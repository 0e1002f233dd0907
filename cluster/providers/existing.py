"""An existing cluster: Docker Desktop's, Rancher Desktop's, k3d's, somebody's kind, a company's.

We never create, stop or delete it, only our objects in it. Its ports are not published, so we
forward them. How an image reaches its nodes depends on the kind of cluster, which the context's
name tells.
"""

from __future__ import annotations

import tempfile
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import LAPTOP
from cluster.config.strict import listed
from cluster.containers.images import REPOSITORY, other, push
from cluster.containers.registry import Registry
from cluster.containers.runtime import full_name, registry_of
from cluster.errors import SetupError
from cluster.host.parallel import in_parallel
from cluster.host.subprocesses import check
from cluster.kube import kubeconfig
from cluster.net import proxy
from cluster.ui.format import count, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.kube.kubeconfig import Context
    from cluster.net.proxy import Network
    from cluster.project.model import Connector
    from cluster.providers.instance import Instance

SHARED = ("docker-desktop", "rancher-desktop", "orbstack", "colima")
"""Contexts whose nodes use the images of the laptop's runtime."""
NODES = {"kind-": "io.x-k8s.kind.cluster={name}", "k3d-": "k3d.cluster={name}"}
"""Contexts whose nodes are containers of the laptop's runtime, with the label of these
containers."""
HELPERS = ("-serverlb", "-tools", "-external-load-balancer")
"""Suffixes of containers with such a label that are not nodes."""


class Existing:
    """A context of the user's kubeconfig."""

    name = "existing"
    ours = False
    publishes = False

    def __init__(
        self,
        settings: Settings,
        instance: Instance,
        runtime: Runtime,
        environ: Mapping[str, str],
        *,
        through: Network | None = None,
        nodes: Callable[[], set[str]] = set,
    ) -> None:
        """Take the settings and the environment, which names the user's kubeconfig.

        Nothing is read or asked yet.

        *through* is the network on the path to a registry; *nodes* returns the platforms of the
        cluster's nodes.
        """
        self.settings = settings
        self.instance = instance
        self.runtime = runtime
        self.environ = environ
        self.network = through or proxy.read(settings, environ)
        self.nodes = nodes
        self._seen: set[str] = set()
        """Images that this process need not look for in the registry again."""

    @cached_property
    def _context(self) -> Context:
        """The context. That of an environment must lead to the same cluster as before.

        :raises SetupError: E-CONTEXT, there is none of that name, or it leads to another cluster.
        """
        context, known = kubeconfig.find(self.settings.context, self.environ), self.instance
        if self.settings.env == LAPTOP or (known.cluster, known.server) in {("", ""), (context.name, context.server)}:
            return context
        raise SetupError(
            "E-CONTEXT",
            f"The environment {self.settings.env} is in the context {known.cluster} at {known.server}; "
            f"the settings and your kubeconfig now lead to {context.name} at {context.server}.",
            hint=f"Correct the context or KUBECONFIG. If the cluster has moved for good, delete {shown(known.file)} and run up again.",
        )

    @property
    def context(self) -> str:
        """The name of the context.

        :raises SetupError: E-CONTEXT, there is none of that name.
        """
        return self._context.name

    def kubeconfig(self) -> Path:
        """See ``Provider``. Copies this one context from the user's kubeconfig."""
        file = self.settings.platform / "kubeconfig"
        self._context.save(file)
        return file

    @property
    def cluster(self) -> str:
        """See ``Provider``."""
        return self.context

    def foreign(self) -> SetupError | None:
        """See ``Provider``. Any cluster may be used."""
        return None

    def describe(self) -> str:
        """See ``Provider``."""
        return f'context "{self.context}" at {self._context.server} · namespace {self.settings.namespace}'

    @property
    def kubernetes(self) -> str:
        """See ``Provider``."""
        return ""

    def ready(self) -> None:
        """See ``Provider``.

        :raises SetupError: E-CONTEXT; E-IMAGE, connectors' images cannot reach this cluster.
        """
        if self._pulls and not self.settings.registry:
            raise SetupError(
                "E-IMAGE",
                f"The cluster of the context {self.context} cannot take connectors' images from this machine.",
                hint="Name a registry that it pulls from: INVOKE_SINGER_REGISTRY=registry.example.com/data, or singer.registry.",
            )

    def pending(self) -> str | None:
        """See ``Provider``. Does not check whether the API answers."""
        return None if self.instance.owns(self.context) and self.instance.complete else "not used yet"

    def ensure(self, say: Callable[[str], None]) -> str:
        """See ``Provider``."""
        say(self._context.server)
        if not self.instance.owns(self.context):
            self.instance.claim(self.context, self.name, self._context.server)
        self.instance.finish()
        return "connected"

    # -- images

    @cached_property
    def _nodes(self) -> list[str]:
        """The cluster's nodes that are containers of the laptop's runtime."""
        for prefix, label in NODES.items():
            if self.context.startswith(prefix):
                containers = self.runtime.containers(label.format(name=self.context.removeprefix(prefix)))
                return [name for name in containers if not name.endswith(HELPERS)]
        return []

    @property
    def _shares(self) -> bool:
        return self.context.startswith(SHARED)

    @property
    def _profile(self) -> str:
        """The context's minikube profile, of the same name; minikube marks the cluster's entry."""
        extensions = str(self._context.cluster.get("extensions", ""))
        return self.context if self.context == "minikube" or "minikube.sigs.k8s.io" in extensions else ""

    @property
    def _pulls(self) -> bool:
        """Whether its nodes get images only from a registry."""
        return not (self._shares or self._profile or self._nodes)

    @cached_property
    def platform(self) -> str:
        """See ``Provider``. The setting, else the platform of the nodes, if we may list them."""
        if self.settings.image_platform or not (self.settings.registry and self._pulls):
            return self.settings.image_platform
        platforms = sorted(self.nodes())
        if len(platforms) > 1:
            raise SetupError(
                "E-SETTING",
                f"The nodes of {self.context} are {listed(platforms)}, and images are built for one of these.",
                hint=f"Choose the one for pods: image_platform: {platforms[0]} in the environment's file, "
                f"or INVOKE_SINGER_IMAGE_PLATFORM={platforms[0]}",
            )
        return platforms[0] if platforms else ""

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``. A cluster that pulls its images gets public ones without our help.

        :raises SetupError: E-IMAGE, and what ``Registry.look`` raises: the registry does not
            answer, or has another image.
        """
        if self._shares:
            return self.runtime.absent(images)
        if self._profile:
            words = ["minikube", "image", "ls", "--profile", self._profile]
            present = check(words, code="E-IMAGE", doing="Asking minikube for its images", hint="See minikube status.").split()
            return [image for image in images if full_name(image) not in present]
        if self._nodes:
            return self._missing_on_nodes(images)
        ours = [image for image in images if image.startswith(self._repository)]
        if not (self.settings.registry and ours):
            return ours
        has = partial(self._has, platform=self.platform)
        return [image for image, there in zip(ours, in_parallel(has, ours), strict=True) if not there]

    @cached_property
    def _registry(self) -> Registry:
        host = registry_of(self.settings.registry)
        return Registry(host, self.network, self.environ, plain=lambda: host in self.runtime.info.insecure)

    def _has(self, image: str, *, platform: str) -> bool:
        """Return whether the registry has an image.

        While the registry does not answer, an image that was seen there earlier counts: nodes keep
        their images.
        """
        if image in self._seen:
            return True
        try:
            live = self._registry.look(full_name(image))
        except SetupError:
            if image not in self.instance.pushed:
                raise
            self._seen.add(image)  # do not wait for it twice
            return True
        if live is None:
            return False
        wrong = other(image, live, platform)
        if wrong:
            raise wrong
        self._seen.add(image)
        if self.instance.owns(self.context):
            self.instance.saw_pushed(image)
        return True

    @property
    def _repository(self) -> str:
        return f"{self.settings.registry or REPOSITORY}/"

    def _missing_on_nodes(self, images: Sequence[str]) -> list[str] | None:
        on_nodes = [self.runtime.on_node(node) for node in self._nodes]
        if any(present is None for present in on_nodes):
            return None
        return [image for image in images if any(full_name(image) not in (present or ()) for present in on_nodes)]

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """See ``Provider``.

        :raises SetupError: E-IMAGE, a node or the registry refuses them.
        """
        if self._profile:
            say(f"{count(len(images), 'image')} to minikube")
            with tempfile.TemporaryDirectory(dir=self.settings.local) as folder:
                file = Path(folder) / "images.tar"
                self.runtime.save(images, file)
                words = ["minikube", "image", "load", str(file), "--profile", self._profile]
                check(words, code="E-IMAGE", doing="Loading images", hint="Check minikube status, then run it again.")
        for node in self._nodes:
            say(f"{count(len(images), 'image')} to {node}")
            self.runtime.into_node(node, images)
        if self._pulls:
            for image in images:
                say(image)
                push(image, self.runtime, say)

    def put_edit(self, connector: Connector, say: Callable[[str], None]) -> bool:  # noqa: ARG002 - see Provider
        """See ``Provider``. A builder makes each image: some of these clusters pull it."""
        return False

    # -- ending

    def stop(self) -> bool:
        """See ``Provider``. The cluster is not ours."""
        return False

    def delete(self) -> list[str]:
        """See ``Provider``. Removes our copy of the credentials only."""
        (self.settings.platform / "kubeconfig").unlink(missing_ok=True)
        return []

    def left(self) -> list[str]:
        """See ``Provider``."""
        return []
