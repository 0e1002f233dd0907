"""A cluster that is there already: Docker Desktop's, Rancher Desktop's, k3d's, somebody's kind, a company's.

It is never created, stopped or deleted by us: only our own objects in it are. Its ports are not published, so that the
tool forwards them. How an image reaches its nodes depends on what the cluster is; that is read from the context's name
and from what the nodes say of themselves.
"""

from __future__ import annotations

import tempfile
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from cluster import kubeconfig
from cluster.errors import SetupError
from cluster.images import REPOSITORY, push
from cluster.programs import check
from cluster.progress import shown
from cluster.runtime import full_name
from cluster.settings import LAPTOP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cluster.instance import Instance
    from cluster.kubeconfig import Context
    from cluster.runtime import Runtime
    from cluster.settings import Settings

SHARED = ("docker-desktop", "rancher-desktop", "orbstack", "colima")
"""Contexts whose nodes use the images of the laptop's own runtime: nothing has to be brought there."""
NODES = {"kind-": "io.x-k8s.kind.cluster={name}", "k3d-": "k3d.cluster={name}"}
"""Contexts whose nodes are containers of the laptop's runtime, and the label of these containers."""
HELPERS = ("-serverlb", "-tools", "-external-load-balancer")
"""How containers end that carry such a label and are no nodes."""


class Existing:
    """A context of the user's kubeconfig."""

    name = "existing"
    ours = False
    publishes = False

    def __init__(self, settings: Settings, instance: Instance, runtime: Runtime, environ: Mapping[str, str]) -> None:
        """Take the settings, and the environment in which the user's kubeconfig is named; nothing is read yet."""
        self.settings = settings
        self.instance = instance
        self.runtime = runtime
        self.environ = environ

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
        if not (self._shares or self._profile or self._nodes or self.settings.registry):
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

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``. A cluster that we cannot bring images to pulls what others have published by itself."""
        if self._shares:
            return self.runtime.absent(images)
        if self._profile:
            words = ["minikube", "image", "ls", "--profile", self._profile]
            listed = check(words, code="E-IMAGE", doing="Asking minikube for its images", hint="See minikube status.").split()
            return [image for image in images if full_name(image) not in listed]
        if self._nodes:
            return self._missing_on_nodes(images)
        return [image for image in images if image.startswith(self._repository) and image not in self.instance.pushed]

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
        if not (self._profile or self._nodes or self._shares):
            for image in images:
                say(image)
                push(image, self.runtime, say)
                self.instance.push(image)

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
