"""Kill what a run in a cluster consists of: its pods, their containers, and Argo's controller."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from platform_checkout import run

if TYPE_CHECKING:
    from argo_checkout import Argo

POD = "workflows.argoproj.io/workflow"
CONTAINERS = ["tap", "target", "main", "supervisor"]


def node(argo: Argo, *words: str) -> str:
    """Run a program on the cluster's node."""
    return run("docker", "exec", f"{argo.cluster}-control-plane", *words)


def kill(argo: Argo, run_: str, victim: str) -> None:
    """Kill the *victim* of a run: ``pod`` (all that it has), ``a pod``, a container in all of them, or ``controller``.

    What is not there any more is no victim.
    """
    if victim == "controller":
        argo.kubectl("-n", "argo", "delete", "pod", "-l", "app.kubernetes.io/name=workflow-controller", "--grace-period=0", "--force")
        return
    alive = ["--field-selector=status.phase!=Succeeded"] if victim == "a pod" else []
    pods = argo.kubectl("-n", "argo", "get", "pods", "-l", f"{POD}={run_}", "-o", "name", *alive).split()
    if victim == "a pod":
        pods = random.sample(pods, min(1, len(pods)))
    if victim in {"pod", "a pod"}:
        argo.kubectl("-n", "argo", "delete", "--grace-period=0", "--force", "--ignore-not-found", "--wait=false", *pods or ["pod/none"])
        return
    for pod in pods:
        labels = {"pod.name": pod.removeprefix("pod/"), "container.name": victim}
        chosen = [word for key, value in labels.items() for word in ("--label", f"io.kubernetes.{key}={value}")]
        for container in node(argo, "crictl", "ps", "-q", *chosen).split():
            node(argo, "sh", "-c", f"crictl stop --timeout 0 {container} || true")
