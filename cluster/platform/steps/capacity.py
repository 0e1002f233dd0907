"""Step: every pipeline's pod fits on a node.

A pod that never fits would wait, and hold one of Argo's slots.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube.rbac import visible
from cluster.ui.format import gigabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.project.model import Pipeline

UNITS = {
    "": 1.0, "m": 1e-3, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
    "Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40,
}  # fmt: skip
"""The suffixes of Kubernetes' quantities."""


@dataclass(frozen=True)
class Capacity:
    """A node of our own cluster can hold each pipeline's pod.

    Other clusters may add nodes, so they are not asked.
    """

    title: str = "Resources"
    ok: str = "every pipeline fits on a node"
    needs: tuple[str, ...] = ("Cluster",)
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-RESOURCES, a pipeline asks for too much. Only the user can change
            that.
        """
        say(self.title)
        problem = self.pending(handles)
        if problem:
            raise SetupError(
                "E-RESOURCES", f"{problem}.", hint="Lower its resources in singer-configs/pipelines.yaml, or give the machine more."
            )
        return self.ok

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        pipelines = [pipeline for pipeline in handles.pipelines if pipeline.resources] if handles.provider.ours else []
        hidden: list[Document] = []
        nodes = visible(lambda: handles.kube.objects("Node"), hidden) if pipelines else []
        rooms = [node["status"]["allocatable"] for node in nodes if "allocatable" in node.get("status", {})]
        if not rooms:
            return None
        largest = {name: max(quantity(room[name]) for room in rooms) for name in ("cpu", "memory")}
        return next((problem for pipeline in pipelines if (problem := excess(pipeline, largest))), None)


def excess(pipeline: Pipeline, largest: Mapping[str, float]) -> str | None:
    """Return how a pipeline asks for more than the largest node has.

    In streaming mode a pod has tap, mapper and target; in staged mode tap and mapper, or target.
    """
    sides = ["tap", *(["mapper"] if pipeline.mapper else []), *(["target"] if pipeline.mode == "streaming" else [])]
    containers = len(sides)
    for name, text in pipeline.resources.items():
        if containers * quantity(text) > largest[name]:
            amount = gigabytes(largest[name]) if name == "memory" else f"{largest[name]:g}"
            each = f" for {', '.join(sides[:-1])} and {sides[-1]} each" if containers > 1 else ""
            return f"{pipeline.name} asks for {name}: {text}{each}, and the largest node has {amount}"
    return None


def quantity(text: str) -> float:
    """Return a quantity of Kubernetes as a number: CPUs or bytes."""
    match = re.fullmatch(r"([\d.]+)([A-Za-z]*)", text)
    return float(match[1]) * UNITS.get(match[2], 1.0) if match else 0.0
