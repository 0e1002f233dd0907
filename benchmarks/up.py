"""Time the platform's coming up and print one Markdown table: ``python benchmarks/up.py [--rounds 3]``.

Needs docker and kind, and all images on this machine (``invoke up`` once before fetches them), so that no download is
timed. In turn, so that a machine that slows down slows all of them: ``kind create cluster --wait`` alone, ``invoke up``
from nothing, the same work done one command after the other, and ``invoke up`` on what is up already. Then what the
idle platform adds to an empty node's memory. The clusters have names of their own and are removed.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import yaml  # noqa: E402
from conftest import Checkout  # noqa: E402 - the tests' copy of the project

from cluster.settings import parse  # noqa: E402
from cluster.stack import Stack  # noqa: E402
from cluster.steps import wanted  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

NAME = "singer-benchmark"
SETTLE_SECONDS = 30
UP, WARM, MEMORY = 1.5, 2.0, 1024
"""The goals: times `kind create`, seconds, MiB."""


class Place:
    """A checkout of its own, and the cluster of its own that the commands are about."""

    def __init__(self, folder: Path) -> None:
        """Copy the project; the settings of the environment hold, but for the cluster's name and ports."""
        shared = ROOT / ".local" / "tests"
        (shared / "environments").mkdir(parents=True, exist_ok=True)
        self.checkout = Checkout(folder / "checkout", shared)
        given = {name: value for name, value in os.environ.items() if name.startswith(("INVOKE_SINGER_", "DOCKER_"))}
        self.environ = {**given, "INVOKE_SINGER_CLUSTER": NAME}
        prefix = "INVOKE_SINGER_"
        chosen = {name.removeprefix(prefix).lower(): value for name, value in self.environ.items() if name.startswith(prefix)}
        self.stack = Stack(parse(chosen, {}, root=self.checkout.root), {})
        self.images = wanted(self.stack)
        self.kubeconfig = folder / "kubeconfig"

    def invoke(self, *words: str) -> None:
        """Type one of our commands, which must succeed."""
        result = self.checkout.invoke(*words, seconds=900, **self.environ)
        if result.code:
            sys.exit(f"invoke {' '.join(words)}: {result.out}{result.err}")

    def kind(self, *words: str, stdin: str = "") -> None:
        """Run kind, which must succeed."""
        done = subprocess.run(
            ["kind", *words, "--name", NAME, *(["--kubeconfig", str(self.kubeconfig)] if words[0] != "load" else [])],
            input=stdin, capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode:
            sys.exit(f"kind {' '.join(words)}: {done.stderr}")

    def create(self) -> None:
        """Make the cluster as its users do, and wait."""
        self.kind("create", "cluster", "--config", "-", "--wait", "300s", stdin=yaml.safe_dump(self.stack.provider.config()))  # type: ignore[attr-defined]

    def delete(self) -> None:
        """Remove the cluster."""
        self.kind("delete", "cluster")

    def kubectl(self, *words: str, stdin: str = "") -> None:
        """Run the node's own kubectl."""
        command = ["docker", "exec", "-i", f"{NAME}-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words]
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
        if done.returncode:
            sys.exit(f"kubectl {' '.join(words)}: {done.stderr}")

    def one_after_the_other(self) -> None:
        """Do what a person does without us: create and wait, load image after image, apply, wait for the programs."""
        self.create()
        for image in self.images:
            self.kind("load", "docker-image", image)
        secrets = [
            {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": "argo"}, "stringData": values}
            for name, values in (
                ("argo-artifacts-root", {"accesskey": "root-user", "secretkey": "root-password"}),
                ("argo-artifacts", {"accesskey": "pipeline", "secretkey": "pipeline-password"}),
            )
        ]
        documents = [document for document in self.stack.documents if document["kind"] != "Deployment"] + secrets
        argo = [document for document in documents if document["apiVersion"].startswith("argoproj.io")]
        self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all([item for item in documents if item not in argo]))
        self.kubectl("wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
        self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(argo))
        programs = [document for document in self.stack.documents if document["kind"] == "Deployment"]
        self.kubectl("apply", "--server-side", "-f", "-", stdin=yaml.safe_dump_all(programs))
        self.kubectl("-n", "argo", "wait", "--for=condition=Available", "--timeout=300s", "deployment", "--all")

    def memory(self) -> float:
        """Return the node's memory in MiB, after it has settled."""
        time.sleep(SETTLE_SECONDS)
        command = ["docker", "exec", f"{NAME}-control-plane", "sh", "-c", "cat /proc/[0-9]*/smaps_rollup 2>/dev/null"]
        text = subprocess.run(command, capture_output=True, text=True, check=False).stdout
        return sum(int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")) / 1024


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that *work* takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


def shown(values: list[float]) -> str:
    """Return a median with the least and the most."""
    return f"{statistics.median(values):.1f} s ({min(values):.1f} to {max(values):.1f}, {len(values)} runs)"


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    alone: list[float] = []
    ours: list[float] = []
    warm: list[float] = []
    sequence: list[float] = []
    with tempfile.TemporaryDirectory(dir=ROOT / ".local") as folder:
        place = Place(Path(folder))
        place.delete()
        place.invoke("up")  # images are built and pulled by now
        place.invoke("teardown", "--yes")
        for _ in range(options.rounds):
            alone.append(timed(place.create))
            place.delete()
            ours.append(timed(lambda: place.invoke("up")))
            warm += [timed(lambda: place.invoke("up")) for _ in range(3)]
            place.invoke("teardown", "--yes")
            sequence.append(timed(place.one_after_the_other))
            place.delete()
        place.create()
        empty = place.memory()
        place.delete()
        place.invoke("up")
        full = place.memory()
        place.invoke("teardown", "--yes")
    ratio = statistics.median(a / b for a, b in zip(ours, alone, strict=True))
    print(f"- {platform.machine()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}; {datetime.now(UTC):%Y-%m-%d}")
    warmth, added = statistics.median(warm), full - empty
    rows = [
        ("`kind create cluster --wait` alone", shown(alone), "", ""),
        ("`invoke up` from nothing, images local", f"{shown(ours)}, {ratio:.2f} times that", f"{UP}", met(yes=ratio <= UP)),
        ("the same, one command after the other", shown(sequence), "", ""),
        ("`invoke up`, everything in place", shown(warm), f"{WARM} s", met(yes=warmth <= WARM)),
        ("memory of the idle platform", f"{added:.0f} MiB on top of {empty:.0f}", f"{MEMORY} MiB", met(yes=added <= MEMORY)),
    ]
    print("\n| what | measured | goal | met |\n|---|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def met(*, yes: bool) -> str:
    """Say whether a goal is reached."""
    return "yes" if yes else "**no**"


if __name__ == "__main__":
    main()
