"""A cluster that is there already: Docker Desktop's, Rancher Desktop's, k3d's, somebody's kind, a company's.

It is never created, stopped or deleted by us: only our own objects in it are. Its ports are not published, so that the
tool forwards them. How an image reaches its nodes depends on what the cluster is; that is read from the context's name
and from what the nodes say of themselves.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import LAPTOP
from cluster.config.strict import listed
from cluster.containers.images import REPOSITORY, other, push
from cluster.containers.registry import Registry
from cluster.containers.runtime import full_name, registry_of
from cluster.errors import SetupError
from cluster.host.subprocesses import check
from cluster.kube import kubeconfig
from cluster.net import proxy
from cluster.ui.format import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.kube.kubeconfig import Context
    from cluster.net.proxy import Network
    from cluster.providers.instance import Instance

SHARED = ("docker-desktop", "rancher-desktop", "orbstack", "colima")
"""Contexts whose nodes use the images of the laptop's own runtime: nothing has to be brought there."""
NODES = {"kind-": "io.x-k8s.kind.cluster={name}", "k3d-": "k3d.cluster={name}"}
"""Contexts whose nodes are containers of the laptop's runtime, and the label of these containers."""
HELPERS = ("-serverlb", "-tools", "-external-load-balancer")
"""How containers end that carry such a label and are no nodes."""
AT_ONCE = 8
"""How many images a registry is asked for at once."""


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
        """Take the settings and the environment in which the user's kubeconfig is named; nothing is read or asked yet.

        A registry is asked *through* a proxy where there is one; *nodes* tells the platforms of the cluster's nodes.
        """
        self.settings = settings
        self.instance = instance
        self.runtime = runtime
        self.environ = environ
        self.network = through or proxy.read(settings, environ)
        self.nodes = nodes
        self._there: set[str] = set()
        """Images that the registry has, as far as this process has to ask."""

    @cached_property
    def _found(self) -> Context:
        """The context; of an environment the same as ever, because a name may lead to another cluster by now.

        :raises SetupError: E-CONTEXT, it is not.
        """
        found, known = kubeconfig.find(self.settings.context, self.environ), self.instance
        if self.settings.env == LAPTOP or (known.cluster, known.server) in {("", ""), (found.name, found.server)}:
            return found
        raise SetupError(
            "E-CONTEXT",
            f"The environment {self.settings.env} is in the context {known.cluster} at {known.server}; "
            f"the settings and your kubeconfig now lead to {found.name} at {found.server}.",
            hint=f"Correct the context or KUBECONFIG. If the cluster has moved for good, delete {shown(known.file)} and type up again.",
        )

    @property
    def context(self) -> str:
        """The name of the context.

        :raises SetupError: E-CONTEXT, there is none of that name.
        """
        return self._found.name

    @cached_property
    def kubeconfig(self) -> Path:
        """A file of our own with this one context, as the user's kubeconfig has it now."""
        file = self.settings.platform / "kubeconfig"
        self._found.save(file)
        return file

    @property
    def cluster(self) -> str:
        """What stands in the instance's memory."""
        return self.context

    def describe(self) -> str:
        """See ``Provider``."""
        return f'context "{self.context}" at {self._found.server} · namespace {self.settings.namespace}'

    @property
    def kubernetes(self) -> str:
        """See ``Provider``."""
        return ""

    def ready(self) -> None:
        """See ``Provider``.

        :raises SetupError: E-CONTEXT; E-IMAGE, connectors' images have no way into this cluster.
        """
        if self._pulls and not self.settings.registry:
            raise SetupError(
                "E-IMAGE",
                f"The cluster of the context {self.context} cannot take connectors' images from this machine.",
                hint="Name a registry that it pulls from: INVOKE_SINGER_REGISTRY=registry.example.com/data, or singer.registry.",
            )

    def pending(self) -> str | None:
        """See ``Provider``. Whether its API answers is asked by whoever uses it."""
        return None if self.instance.owns(self.context) and self.instance.complete else "not used yet"

    def ensure(self, say: Callable[[str], None]) -> str:
        """See ``Provider``."""
        say(self._found.server)
        if not self.instance.owns(self.context):
            self.instance.claim(self.context, self.name, self._found.server)
        self.instance.finish()
        return "found"

    # -- images

    @cached_property
    def _nodes(self) -> list[str]:
        """The cluster's nodes that are containers of the laptop's runtime."""
        for prefix, label in NODES.items():
            if self.context.startswith(prefix):
                found = self.runtime.containers(label.format(name=self.context.removeprefix(prefix)))
                return [name for name in found if not name.endswith(HELPERS)]
        return []

    @property
    def _shares(self) -> bool:
        return self.context.startswith(SHARED)

    @property
    def _profile(self) -> str:
        """The minikube profile that the context is of: minikube names them alike, and says so in the cluster's extensions."""
        said = str(self._found.cluster.get("extensions", ""))
        return self.context if self.context == "minikube" or "minikube.sigs.k8s.io" in said else ""

    @property
    def _pulls(self) -> bool:
        """Whether its nodes get images from a registry alone."""
        return not (self._shares or self._profile or self._nodes)

    @cached_property
    def platform(self) -> str:
        """See ``Provider``. What the setting says, else what the nodes are, as far as we may look."""
        if self.settings.image_platform or not (self.settings.registry and self._pulls):
            return self.settings.image_platform
        found = sorted(self.nodes())
        if len(found) > 1:
            raise SetupError(
                "E-SETTING",
                f"The nodes of {self.context} are {listed(found)}, and images are built for one of these.",
                hint=f"Choose one, to whose nodes pods then go: image_platform: {found[0]} in the environment's file, "
                f"or INVOKE_SINGER_IMAGE_PLATFORM={found[0]}",
            )
        return found[0] if found else ""

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``. A cluster that we cannot bring images to pulls what others have published by itself.

        :raises SetupError: E-IMAGE and what ``Registry.look`` raises, the registry cannot be asked, or has something else there.
        """
        if self._shares:
            return self.runtime.absent(images)
        if self._profile:
            words = ["minikube", "image", "ls", "--profile", self._profile]
            listed = check(words, code="E-IMAGE", doing="Asking minikube for its images", hint="See minikube status.").split()
            return [image for image in images if full_name(image) not in listed]
        if self._nodes:
            return self._missing_on_nodes(images)
        ours = [image for image in images if image.startswith(self._repository)]
        if not (self.settings.registry and ours):
            return ours
        self.platform  # noqa: B018 - asked for once, not by each of those who look
        with ThreadPoolExecutor(max_workers=AT_ONCE) as pool:
            return [image for image, there in zip(ours, pool.map(self._has, ours), strict=True) if not there]

    @cached_property
    def _registry(self) -> Registry:
        host = registry_of(self.settings.registry)
        return Registry(host, self.network, self.environ, plain=lambda: host in self.runtime.info.insecure)

    def _has(self, image: str) -> bool:
        """Say whether the registry has an image.

        One that it was seen to have earlier is taken to be there while it cannot be asked: nodes keep what they have pulled.
        """
        if image in self._there:
            return True
        try:
            found = self._registry.look(full_name(image))
        except SetupError:
            if image not in self.instance.pushed:
                raise
            self._there.add(image)  # nobody waits for it twice
            return True
        if found is None:
            return False
        wrong = other(image, found, self.platform)
        if wrong:
            raise wrong
        self._there.add(image)
        if self.instance.owns(self.context):
            self.instance.saw_pushed(image)
        return True

    @property
    def _repository(self) -> str:
        return f"{self.settings.registry or REPOSITORY}/"

    def _missing_on_nodes(self, images: Sequence[str]) -> list[str] | None:
        there = [self.runtime.on_node(node) for node in self._nodes]
        if any(found is None for found in there):
            return None
        return [image for image in images if any(full_name(image) not in (found or ()) for found in there)]

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """See ``Provider``.

        :raises SetupError: E-IMAGE, a node or the registry refuses them.
        """
        if self._profile:
            say(f"{len(images)} images to minikube")
            with tempfile.TemporaryDirectory(dir=self.settings.local) as folder:
                file = Path(folder) / "images.tar"
                self.runtime.save(images, file)
                words = ["minikube", "image", "load", str(file), "--profile", self._profile]
                check(words, code="E-IMAGE", doing="Loading images", hint="See minikube status; then run it again.")
        for node in self._nodes:
            say(f"{len(images)} images to {node}")
            self.runtime.into_node(node, images)
        if self._pulls:
            for image in images:
                say(image)
                push(image, self.runtime, say)

    # -- ending

    def stop(self) -> bool:
        """See ``Provider``. The cluster is not ours to stop."""
        return False

    def delete(self) -> list[str]:
        """See ``Provider``. The cluster stays; our copy of its credentials does not."""
        (self.settings.platform / "kubeconfig").unlink(missing_ok=True)
        return []

    def left(self) -> list[str]:
        """See ``Provider``."""
        return []
