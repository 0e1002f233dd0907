"""How images reach the nodes of a cluster that is there already: by what the cluster is, which its context tells.

The runtime and minikube are stand-ins that are alone on PATH, say what the real ones say, and record what they were asked for.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.config.settings import Settings
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.providers.existing import Existing
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    from pathlib import Path

OURS = "localhost/singer/tap-x:0123456789ab"
THEIRS = "quay.io/minio/minio:1"

DOCKER = r"""
case "$1 $2" in
"ps "*) [ ! -e "$desk/containers" ] || /bin/cat "$desk/containers" ;;
"exec "*)
  case "$*" in
  *crictl*) /bin/cat "$desk/on-$2" ;;
  *import*) /bin/cat >"$desk/into-$3" ;;
  esac ;;
"image inspect") [ -e "$desk/has-all" ] ;;
"info "*) echo '{"ServerVersion": "28.2.2", "OSType": "linux", "Architecture": "x86_64"}' ;;
"save --output") echo archive >"$3" ;;
"save "*) echo archive ;;
esac
"""
MINIKUBE = r"""
case "$1 $2" in
"image ls") /bin/cat "$desk/on-minikube" ;;
"image load") /bin/cat "$3" >"$desk/into-minikube" ;;
esac
"""


class Desk:
    """A machine with a runtime, and a kubeconfig with one context."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Install the programs."""
        self.folder = folder
        self.programs = folder / "programs"
        self.programs.mkdir()
        monkeypatch.setenv("PATH", str(self.programs))
        for program, body in (("docker", DOCKER), ("minikube", MINIKUBE)):
            file = self.programs / program
            record = f"printf '%s\\n' \"{program} $*\" >>'{folder}/calls'"
            file.write_text(f"#!/bin/sh\ndesk='{folder}'\n{record}\n{body}\n")
            file.chmod(0o755)

    def has(self, name: str, text: str = "") -> None:
        """Set a fact of this machine."""
        (self.folder / name).write_text(text)

    def node(self, name: str, *images: str) -> None:
        """Let a node have these images."""
        self.has(f"on-{name}", json.dumps({"images": [{"repoTags": list(images)}]}))

    def asked(self, start: str) -> list[str]:
        """Return the calls that begin so."""
        file = self.folder / "calls"
        return [line for line in file.read_text().splitlines() if line.startswith(start)] if file.exists() else []

    def guest(self, context: str, **cluster: object) -> Existing:
        """Return the provider for a context of that name."""
        content = {
            "contexts": [{"name": context, "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:6443", **cluster}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        (self.folder / "config").write_text(yaml.safe_dump(content))
        settings = Settings(root=self.folder, provider="existing", context=context)
        settings.local.mkdir(exist_ok=True)
        environ = {"KUBECONFIG": str(self.folder / "config")}
        return Existing(settings, Instance(self.folder / "instance.json"), Runtime(), environ)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a machine."""
    return Desk(tmp_path, monkeypatch)


def say(_text: str) -> None:
    """Hear what is being done."""


KIND = ("kind-work", ["work-control-plane", "work-worker"], ["work-external-load-balancer"])
K3D = ("k3d-work", ["k3d-work-server-0"], ["k3d-work-serverlb", "k3d-work-tools"])


@pytest.mark.parametrize(("context", "nodes", "others"), [KIND, K3D], ids=["kind", "k3d"])
def test_nodes_in_containers(desk: Desk, context: str, nodes: list[str], others: list[str]) -> None:
    """With kind and k3d an image is missing that any node lacks, and goes to every node, not to what only balances their load."""
    desk.has("containers", "".join(f"{name} Up 2 minutes\n" for name in [*nodes, *others]))
    desk.node(nodes[0], OURS)
    for node in nodes[1:]:
        desk.node(node)
    guest = desk.guest(context)
    guest.ready()

    assert guest.missing_images([OURS, THEIRS]) == ([OURS, THEIRS] if len(nodes) > 1 else [THEIRS])
    guest.load_images([OURS], say)
    assert sorted(file.name for file in desk.folder.glob("into-*")) == sorted(f"into-{node}" for node in nodes)


@pytest.mark.parametrize("context", ["docker-desktop", "rancher-desktop", "orbstack", "colima", "colima-work"])
def test_nodes_that_share_the_runtimes_images(desk: Desk, context: str) -> None:
    """If the cluster runs on the runtime's own images nothing is loaded: a built image is there."""
    guest = desk.guest(context)
    guest.ready()
    assert guest.missing_images([OURS]) == [OURS]
    desk.has("has-all")
    assert guest.missing_images([OURS]) == []
    guest.load_images([OURS], say)
    assert desk.asked("docker save") == desk.asked("docker push") == []


def test_a_minikube_of_the_users(desk: Desk) -> None:
    """A context that minikube has made takes images through minikube, with any name of the profile."""
    desk.has("on-minikube", f"{THEIRS}\n")
    guest = desk.guest("work", extensions=[{"name": "cluster_info", "extension": {"provider": "minikube.sigs.k8s.io"}}])
    guest.ready()
    assert guest.missing_images([OURS, THEIRS]) == [OURS]
    guest.load_images([OURS], say)
    assert (desk.folder / "into-minikube").read_text() == "archive\n"
    assert all("--profile work" in call for call in desk.asked("minikube"))
    assert list((desk.folder / ".local").glob("*/images.tar")) == []


def test_a_company_without_a_registry(desk: Desk) -> None:
    """Without a registry connectors' images cannot get into such a cluster: that is reported first."""
    with pytest.raises(SetupError, match="cannot take connectors' images") as caught:
        desk.guest("company").ready()
    assert "INVOKE_SINGER_REGISTRY" in caught.value.hint
