"""The platform's coming up: beside ``kind create cluster --wait`` alone, and beside the same work done one command after the other.

All in turn, so that a machine that slows down slows all of them, and with all images on this machine, so that no download
is timed. The clusters have a name of their own and are removed.
"""

from __future__ import annotations

import subprocess
import time
from statistics import median
from typing import TYPE_CHECKING

import yaml
from lab import Platform, lab
from table import Row, WrongError, output_of, spread

from cluster.platform.steps.images import wanted
from cluster.providers.kind import Kind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NAME = "singer-benchmark-up"
SETTLE_SECONDS = 30
UP, WARM, MEMORY = 1.35, 1.0, 1024
"""The goals: times `kind create`, seconds, MiB."""


def run(*command: str, stdin: str = "") -> None:
    """Run a program, which must succeed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongError(f"{' '.join(command)}: {done.stderr}")


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that *work* takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


class ByHand:
    """What a person does without us, whose kubeconfig is not touched either."""

    def __init__(self, platform: Platform) -> None:
        """Take the platform that is made otherwise, and what it is made of."""
        self.kubeconfig = str(platform.lab.root / "kubeconfig")
        self.handles = platform.handles()
        self.images = wanted(self.handles)

    def create(self) -> None:
        """Make the cluster, and wait."""
        assert isinstance(self.handles.provider, Kind)
        config = yaml.safe_dump(self.handles.provider.config(self.handles.runtime.info.cgroups))
        run(*self._kind("create", "cluster"), "--kubeconfig", self.kubeconfig, "--config", "-", "--wait", "300s", stdin=config)

    def delete(self) -> None:
        """Remove the cluster."""
        run(*self._kind("delete", "cluster"), "--kubeconfig", self.kubeconfig)

    def one_after_the_other(self) -> None:
        """Create and wait, load image after image, apply, wait for the programs."""
        self.create()
        for image in self.images:
            run(*self._kind("load", "docker-image", image))
        secrets = [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "argo"}, "stringData": values}
            for name, values in (
                ("argo-artifacts-root", {"accesskey": "root-user", "secretkey": "root-password"}),
                ("argo-artifacts", {"accesskey": "pipeline", "secretkey": "pipeline-password"}),
            )
        ]
        documents = self.handles.rendering.documents
        programs = [document for document in documents if document["kind"] == "Deployment"]
        argo = [document for document in documents if document["apiVersion"].startswith("argoproj.io")]
        self._apply([document for document in documents if document not in [*programs, *argo]] + secrets)
        self._kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self._apply(argo)
        self._apply(programs)
        self._kubectl("-n", "argo", "wait", "--for=condition=Available", "--timeout=300s", "deployment", "--all")

    def _kind(self, *words: str) -> tuple[str, ...]:
        return ("kind", *words, "--name", NAME)

    def _apply(self, documents: list[dict[str, object]]) -> None:
        self._kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def _kubectl(self, *words: str, stdin: str = "") -> None:
        node = ("docker", "exec", "-i", f"{NAME}-control-plane")
        run(*node, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words, stdin=stdin)


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure."""
    with lab() as checkout:
        platform = Platform(checkout, INVOKE_SINGER_CLUSTER=NAME, INVOKE_SINGER_PROVIDER="kind")
        versions |= {
            "kind": output_of("kind", "version", "-q"),
            "docker": output_of("docker", "version", "-f", "{{.Server.Version}}"),
        } | platform.versions
        hand = ByHand(platform)
        hand.delete()
        alone, ours, warm, sequence = [], [], [], []
        try:
            platform.invoke("up")  # images are built and pulled by now
            platform.invoke("teardown", "--yes")
            for _ in range(1 if quick else 3):
                alone.append(timed(hand.create))
                empty = settled(platform)
                hand.delete()
                ours.append(platform.invoke("up"))
                warm += [platform.invoke("up") for _ in range(3)]
                full = settled(platform)
                platform.invoke("teardown", "--yes")
                sequence.append(timed(hand.one_after_the_other))
                hand.delete()
        finally:
            platform.invoke("teardown", "--yes")
            hand.delete()
    what = "`invoke up` from nothing, images local"
    ratio, warmth, added = median(a / b for a, b in zip(ours, alone, strict=True)), median(warm), full - empty
    yield Row(what, spread(ours), f"`kind create cluster --wait`: {spread(alone)}", f"{ratio:.2f}", f"at most {UP}", ratio <= UP)
    yield Row(what, spread(ours), f"one command after the other: {spread(sequence)}", f"{median(ours) / median(sequence):.2f}")
    yield Row("`invoke up`, everything in place", spread(warm), goal=f"at most {WARM} s", met=warmth <= WARM)
    compared = f"an empty node: {empty:,.0f} MiB"
    yield Row(
        "memory of the idle platform's node", f"{full:,.0f} MiB", compared, f"{added:+,.0f} MiB", f"at most +{MEMORY} MiB", added <= MEMORY
    )


def settled(platform: Platform) -> float:
    """Return the node's memory in MiB, after it has settled."""
    time.sleep(SETTLE_SECONDS)
    return platform.memory()
