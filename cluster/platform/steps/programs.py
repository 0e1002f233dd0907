"""Steps: MinIO and Argo Workflows are running."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents
from cluster.platform.objects import Objects
from cluster.platform.ownership import argo_is_there
from cluster.platform.steps.images import Loaded
from cluster.platform.steps.storage import silent

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles

ARGO_MAJOR = 4
"""The first Argo whose manifests know our templates' words."""


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

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``. A pod that waits between two tries to pull is made anew: the image may be there by now."""
        for document in self._documents(handles):
            say(documents.name(document))
            handles.kube.apply(document)
        for name in self.deployments:
            for pod in self._pods(handles, name):
                trouble = documents.pod_trouble(pod)
                if trouble and trouble[1]:
                    handles.kube.delete("Pod", pod["metadata"]["name"], handles.namespace)
        return "available"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``.

        :raises SetupError: E-POD, a pod cannot become well by waiting.
        """
        for document in self._documents(handles):
            name = document["metadata"]["name"]
            live = handles.kube.get("Deployment", name, handles.namespace)
            why = documents.differs(document, live) or documents.not_ready({**(live or {}), "kind": "Deployment"})
            if live and live["spec"].get("replicas") != document["spec"]["replicas"]:
                why = "stopped"
            if why:
                return self._trouble(handles, name) or f"{name}: {why}"
        door, path = self.door
        return silent(handles.url(door) + path)

    def _documents(self, handles: Handles) -> list[documents.Document]:
        return [item for item in handles.documents if item["kind"] == "Deployment" and item["metadata"]["name"] in self.deployments]

    @staticmethod
    def _pods(handles: Handles, name: str) -> list[documents.Document]:
        pods = handles.kube.objects("Pod", handles.namespace, labels=f"app.kubernetes.io/name={name}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _trouble(self, handles: Handles, name: str) -> str | None:
        """Say what keeps a program's pods from running.

        :raises SetupError: E-POD, waiting is hopeless.
        """
        for pod in self._pods(handles, name):
            found = documents.pod_trouble(pod)
            if found is None:
                continue
            why, hopeless = found
            if hopeless:
                container = pod["spec"]["containers"][0]["name"]
                log = handles.kube.log(pod["metadata"]["name"], handles.namespace, container, lines=5, previous=True).strip().splitlines()
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

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        say(handles.provider.context)
        return "found"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``. Where its Deployment may not be read, its CRDs must be enough.

        :raises SetupError: E-ARGO, there is none, or it is too old.
        """
        argo_is_there(handles)
        if not handles.kube.may("list", "apps", "deployments"):
            return None
        controllers = [item for item in handles.kube.objects("Deployment") if item["metadata"]["name"].endswith(self.program)]
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
            if not namespaced or found["metadata"]["namespace"] == handles.namespace:
                return None if found.get("status", {}).get("availableReplicas") else f"{found['metadata']['name']} is not available"
        return "its controller does not look after our namespace" if controllers else "its controller is not there"
