"""Where a cluster comes from: kind, minikube, or an existing one.

Start reading at ``Provider``. ``owned`` holds what kind and minikube share. This package may import
``argo``, ``runs``, ``containers`` and what is below them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from cluster.errors import SetupError
    from cluster.project.model import Connector

NODE_PORTS = {32746: "port_argo", 30900: "port_s3", 30901: "port_console"}
"""Node port of a Service in ``manifests/`` to the instance's port on the laptop."""


class Provider(Protocol):
    """A cluster: created or located, given images, and removed as far as it is ours."""

    @property
    def name(self) -> str:
        """The value of the setting ``provider``."""

    @property
    def ours(self) -> bool:
        """Whether we create and delete the cluster itself.

        Otherwise only our objects in it are ours.
        """

    @property
    def publishes(self) -> bool:
        """Whether node ports are on 127.0.0.1. Otherwise we forward them while we need them."""

    @property
    def cluster(self) -> str:
        """Its name in the instance file."""

    @property
    def context(self) -> str:
        """The name of its context."""

    @property
    def platform(self) -> str:
        """The platform of its images, such as ``linux/arm64``; empty for the runtime's default.

        :raises SetupError: E-SETTING, the nodes have several, and the settings choose none.
        """

    @property
    def kubernetes(self) -> str:
        """The version of Kubernetes, such as ``1.37``; empty if only the cluster knows it."""

    def kubeconfig(self) -> Path:
        """Return the project's own file with that context, up to date."""

    def describe(self) -> str:
        """Return one line for people: what this is and where."""

    def ready(self) -> None:
        """Check, before anything starts, that what is needed exists.

        :raises SetupError: it does not.
        """

    def foreign(self) -> SetupError | None:
        """Return the error if the cluster of this name is somebody else's."""

    def pending(self) -> str | None:
        """Return what keeps the cluster from being there. Changes nothing."""

    def ensure(self, say: Callable[[str], None]) -> str:
        """Create, start or repair the cluster. Return what was done."""

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """Return those of *images* that a node lacks; None if no node can be asked."""

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """Copy images from the laptop's container runtime to every node, in one archive."""

    def put_edit(self, connector: Connector, say: Callable[[str], None]) -> bool:
        """Put a connector's image on the nodes without a builder, if only its own code is new.

        Return whether it is there; if not, it must be built.
        """

    def stop(self) -> bool:
        """Stop the cluster; ``ensure`` starts it again. Return whether it was running."""

    def delete(self) -> list[str]:
        """Remove what is ours, and return what was removed."""

    def left(self) -> list[str]:
        """Return the containers of the cluster that still exist after ``delete``."""
