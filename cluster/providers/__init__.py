"""Where a cluster comes from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

NODE_PORTS = {32746: "port_argo", 30900: "port_s3", 30901: "port_console"}
"""Of the Services in ``manifests/``: node port to the instance's port on the laptop."""


class Provider(Protocol):
    """A cluster that we may use: found or made, given images, and taken away again as far as it is ours."""

    name: str
    ours: bool
    """Whether the cluster itself is made and deleted by us; else only our objects in it are."""

    @property
    def publishes(self) -> bool:
        """Whether node ports are on 127.0.0.1; else the tool forwards them for as long as it needs them."""

    @property
    def cluster(self) -> str:
        """What the instance remembers it by."""

    @property
    def context(self) -> str:
        """The name of its context."""

    @property
    def kubeconfig(self) -> Path:
        """The project's own file with that context."""

    @property
    def platform(self) -> str:
        """What images must be for, such as ``linux/arm64``; nothing where it is the runtime's own, or not known.

        :raises SetupError: E-SETTING, the nodes are of several, and none was chosen.
        """

    def describe(self) -> str:
        """Return one line for people: what this is and where."""

    @property
    def kubernetes(self) -> str:
        """The version of Kubernetes, such as ``1.37``; nothing where only the cluster itself can tell."""

    def ready(self) -> None:
        """See, before anything is begun, that what is needed is there.

        :raises SetupError: it is not.
        """

    def pending(self) -> str | None:
        """Say what keeps the cluster from being there, None where nothing does. Looks, never touches."""

    def ensure(self, say: Callable[[str], None]) -> str:
        """Make the cluster be there: create, start or finish it. Return what was done."""

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """Return those of *images* that no node has, None where no node can be asked."""

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """Bring images from the laptop's container runtime to every node, in one archive."""

    def stop(self) -> bool:
        """Stop the cluster so that ``ensure`` wakes it; say whether it was running."""

    def delete(self) -> list[str]:
        """Take away what is ours, and return what was taken away."""

    def left(self) -> list[str]:
        """Return the containers of the cluster that are still there after ``delete``."""
