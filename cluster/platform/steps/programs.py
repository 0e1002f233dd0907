"""Steps: MinIO and Argo Workflows run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube import documents
from cluster.platform.objects import Objects
from cluster.platform.ownership import need_argo
from cluster.platform.steps.images import PLATFORM_LOADED
from cluster.platform.steps.storage import silent
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles

ARGO_MAJOR = 4
"""The first Argo that supports the fields of our templates."""


@dataclass(frozen=True)
class Running:
    """Deployments run as in the manifests. Their images are loaded first, so no node pulls them."""

    title: str
    deployments: tuple[str, ...]
    door: tuple[str, str]
    """One of ``DOORS``, and a path there that answers 200. After a restart of the node, Kubernetes
    reports an outdated status of pods for a while, so the path decides."""
    needs: tuple[str, ...] = (Objects.title, PLATFORM_LOADED)
    ok: str = "available"
    budget: float = 300

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        Replaces pods that wait for their next attempt to pull: the image may be there by now.
        """
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

        :raises SetupError: E-POD, waiting cannot help a pod.
        """
        for document in self._documents(handles):
            name = document["metadata"]["name"]
            live = handles.kube.get("Deployment", name, handles.namespace)
            reason = documents.differs(document, live) or documents.not_ready({**(live or {}), "kind": "Deployment"})
            if live and live["spec"].get("replicas") != document["spec"]["replicas"]:
                reason = "stopped"
            if reason:
                return self._pod_trouble(handles, name) or f"{name}: {reason}"
        door, path = self.door
        return silent(handles.url(door) + path)

    def _documents(self, handles: Handles) -> list[documents.Document]:
        return [
            item for item in handles.rendering.documents if item["kind"] == "Deployment" and item["metadata"]["name"] in self.deployments
        ]

    @staticmethod
    def _pods(handles: Handles, name: str) -> list[documents.Document]:
        pods = handles.kube.objects("Pod", handles.namespace, labels=f"app.kubernetes.io/name={name}")
        return [pod for pod in pods if "deletionTimestamp" not in pod["metadata"]]

    def _pod_trouble(self, handles: Handles, name: str) -> str | None:
        """Return what keeps a Deployment's pods from running.

        :raises SetupError: E-POD, waiting cannot help.
        """
        for pod in self._pods(handles, name):
            trouble = documents.pod_trouble(pod)
            if trouble is None:
                continue
            reason, hopeless = trouble
            if hopeless:
                container = pod["spec"]["containers"][0]["name"]
                log = handles.kube.log(pod["metadata"]["name"], handles.namespace, container, lines=5, previous=True).strip().splitlines()
                last = f' The end of its log: "{log[-1]}"' if log else ""
                raise SetupError("E-POD", f"deployment/{name}: {reason}.{last}", hint=f"Correct that, then run {command('up')} again.")
            return f"{name}: {reason}"
        return None


@dataclass(frozen=True)
class ArgoThere:
    """An existing Argo Workflows watches our namespace."""

    title: str = "Argo Workflows"
    ok: str = "watches our namespace"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 60
    program: str = "workflow-controller"

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        say(handles.provider.context)
        return "connected"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``. Without the right to list Deployments, the CRDs must do.

        :raises SetupError: E-ARGO, there is none, or it is too old.
        """
        need_argo(handles)
        if not handles.kube.may("list", "apps", "deployments"):
            return None
        controllers = [item for item in handles.kube.objects("Deployment") if item["metadata"]["name"].endswith(self.program)]
        for controller in controllers:
            container = controller["spec"]["template"]["spec"]["containers"][0]
            version = re.search(r":v?(\d+)\.(\d+)", container["image"])
            if version and int(version[1]) < ARGO_MAJOR:
                raise SetupError(
                    "E-ARGO",
                    f"The existing Argo Workflows is {container['image'].rpartition(':')[2]}; our templates need v{ARGO_MAJOR} or later.",
                    hint="Ask its administrator for an upgrade, or install ours into another cluster.",
                )
            if "--namespaced" not in container.get("args", []) or controller["metadata"]["namespace"] == handles.namespace:
                return (
                    None if controller.get("status", {}).get("availableReplicas") else f"{controller['metadata']['name']} is not available"
                )
        return "its controller does not watch our namespace" if controllers else "its controller is missing"
