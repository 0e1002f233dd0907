"""A checkout whose platform is in a real cluster, for the tests that need one.

Run by ``./invoke test --all`` where docker and kind are. The images are the public ones unless ``INVOKE_SINGER_IMAGES`` names others.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkout import INHERITED, Checkout

if TYPE_CHECKING:
    from checkout import Result

NAME = "singer-test"
OTHER = "singer-other"
SECONDS = 600


def why_not() -> str:
    """Say why there can be no cluster here, nothing if there can."""
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "docker does not answer"
    return ""


def variables_set() -> dict[str, str]:
    """Return what is set for these tests: images from elsewhere, Docker's own variables."""
    return {name: value for name, value in os.environ.items() if name.startswith(("INVOKE_SINGER_", "DOCKER_"))}


def environ(cluster: str) -> dict[str, str]:
    """Return the environment of somebody whose cluster has a name that no other test uses."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **variables_set(), "INVOKE_SINGER_CLUSTER": cluster}


def run(*command: str, stdin: str = "") -> str:
    """Run a program that must succeed, and return what it printed."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Platform(Checkout):
    """A checkout whose platform is in a cluster that no other test uses."""

    def __init__(self, root: Path, shared: Path, cluster: str = NAME, **settings: str) -> None:
        """Copy the project; *settings* are in force for every command."""
        super().__init__(root, shared)
        self.seconds = SECONDS
        self.cluster = cluster
        self.settings = {"INVOKE_SINGER_CLUSTER": cluster, **settings}

    def type(self, *words: str, **environ: str) -> Result:
        """Type a command of the platform, which may take its time."""
        return self.invoke(*words, **{**variables_set(), **self.settings, **environ})

    def begin(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Begin to type a command."""
        return self.start(*words, **{**variables_set(), **self.settings, **environ})

    def kubectl(self, *words: str, stdin: str = "") -> str:
        """Ask the cluster's node itself: no program of the user's is needed."""
        node = ["docker", "exec", "-i", f"{self.cluster}-control-plane"]
        return run(*node, "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words, stdin=stdin)

    def there(self, kind: str, *words: str) -> list[dict[str, Any]]:
        """Return the objects of a kind."""
        return list(json.loads(self.kubectl("get", kind, "-o", "json", *words))["items"])

    def port(self, name: str) -> int:
        """Return one of the instance's ports."""
        return int(json.loads((self.local / "instance.json").read_text())["ports"][name])


def kubeconfigs() -> dict[str, bytes]:
    """Return the user's own kubeconfig, byte for byte."""
    files = [Path.home() / ".kube" / "config", *map(Path, os.environ.get("KUBECONFIG", "").split(os.pathsep))]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def gateway() -> str:
    """Return an address of this machine on which containers reach it."""
    networks = json.loads(run("docker", "network", "inspect", "bridge"))
    gateways = [config.get("Gateway") for network in networks for config in network["IPAM"]["Config"]]
    for address in [*filter(None, gateways), "172.17.0.1"]:
        try:
            socket.create_server((address, 0)).close()
        except OSError:
            continue
        return str(address)
    return ""
