"""A kind cluster of our own, with the project's own kubeconfig."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cluster.containers import edits, layers
from cluster.containers.ports import SIGNS, conflict
from cluster.containers.runtime import full_name
from cluster.errors import SetupError
from cluster.host.subprocesses import brief, check, find, follow, last_line
from cluster.kube import documents
from cluster.net import proxy
from cluster.providers import NODE_PORTS
from cluster.providers.owned import Owned
from cluster.ui.command_line import command
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.project.model import Connector
    from cluster.providers.instance import Instance

NETWORK = "kind"
CONTROL_PLANE = "-control-plane"
LABEL = "io.x-k8s.kind.cluster"
SCRUBBED = {"KIND_CLUSTER_NAME", "KIND_EXPERIMENTAL_DOCKER_NETWORK", "KIND_EXPERIMENTAL_PROVIDER", "KUBECONFIG"}
"""Variables that would point kind at another cluster of the user."""

NODE_RUNS = "Starting control-plane"
"""What kind prints when the node runs, and Kubernetes is about to start there."""
CGROUP_V1 = "kind: KubeletConfiguration\nfailCgroupV1: false\n"
"""Without this, the kubelet of Kubernetes 1.35 and later does not start on cgroup v1."""
PROXY_FILE = "/etc/systemd/system/containerd.service.d/singer-network.conf"
TRUSTED_FILE = "/etc/ssl/certs/singer-network.pem"
"""On the node. Programs in Go trust the files of that folder."""
ORIGIN_FILE = "/etc/singer-checkout"
"""On the node: the folder of its checkout. ``doctor`` finds clusters whose checkout is gone."""
WRITE_FILE = 'umask 077 && mkdir -p "${1%/*}" && cat >"$1"'
"""The content is read from standard input: it may hold a password."""
READ_FILES = 'for file; do cat "$file"; printf "\\0"; done'


class Kind(Owned[str]):
    """A cluster of one node, a container of the laptop's runtime.

    Its state is that of the container.
    """

    name = "kind"
    noun = "kind cluster"
    start_words = ("kind", "create")
    publishes = True

    def __init__(self, settings: Settings, instance: Instance, runtime: Runtime) -> None:
        """See ``Owned``."""
        super().__init__(settings, instance, runtime)
        self.context = f"kind-{self.cluster}"
        self.node = f"{self.cluster}{CONTROL_PLANE}"
        self.network = proxy.read(settings, os.environ)

    @property
    def kubernetes(self) -> str:
        """See ``Provider``."""
        image = self.runtime.image_of(self.node) or self.settings.image("node")
        version = re.search(r":v(\d+\.\d+)", image)
        return version[1] if version else ""

    def ready(self) -> None:
        """See ``Provider``.

        :raises SetupError: E-PROGRAM, E-RUNTIME.
        """
        if self._state() is None:
            find("kind")

    # -- its state

    def _state(self) -> str | None:
        """Return the state of the node's container, such as ``running``; None if there is none.

        :raises SetupError: E-RUNTIME, the runtime does not answer.
        """
        containers = self.runtime.containers(f"{LABEL}={self.cluster}")
        return containers.get(self.node) or next(iter(containers.values()), None)

    def _trouble(self, state: str) -> str | None:
        if state != "running":
            return f"its node is {state}"
        if not self._kubeconfig_is_whole():
            return "its kubeconfig is missing"
        return "its node has an outdated proxy or certificates" if self._network_differs() else None

    def _kubeconfig_is_whole(self) -> bool:
        try:
            return f"current-context: {self.context}\n" in self.file.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False

    # -- creating and starting

    def _repair(self, state: str, say: Callable[[str], None]) -> str:
        done = "unchanged"
        if state != "running":
            say("starting the node")
            self._start(state)
            done = "started"
        if not self._kubeconfig_is_whole():
            self.file.unlink(missing_ok=True)
            self._kind("export", "kubeconfig", "--name", self.cluster)
            self.file.chmod(0o600)
            done = "kubeconfig restored"
        if self._network_differs():
            self._configure_network()
            done = "proxy and certificates updated"
        return done

    def _start(self, state: str) -> None:
        """Start the node's container.

        :raises SetupError: E-PORT, another program uses one of its ports, which cannot change any
            more; E-CLUSTER.
        """
        result = self.runtime.run("unpause" if state == "paused" else "start", self.node)
        if result.returncode == 0:
            return
        # The last line of docker only names the container.
        text = result.stderr.partition("Error: failed to start containers:")[0] or result.stderr
        hint = f"See {self.runtime.program} logs {self.node}, or {command('teardown')}, then {command('up')}."
        raise conflict(text, self.instance.ports.values(), self.runtime) or SetupError(
            "E-CLUSTER", f"Starting the node failed: {last_line(text)}", hint=hint
        )

    def _create(self, say: Callable[[str], None]) -> None:
        interrupted = self.instance.owns(self.cluster)
        self.instance.claim(self.cluster)
        image = self.settings.image("node")
        self.instance.bring(*(f"image {name}" for name in self.runtime.absent([image])), *self._new_network())
        code, text = self._kind_create(say)
        if code and "already exist" in text and interrupted:
            # The node of the interrupted creation appeared only now.
            self._delete()
            code, text = self._kind_create(say)
        if code:
            if "already exist" in text or self._state() is None:
                self.instance.forget()  # a cluster that is or comes there is not ours
            problem, hint = failure(text)
            raise SetupError("E-CLUSTER", problem, hint=hint)
        self.file.chmod(0o600)
        self.runtime.run(*self._write_command(ORIGIN_FILE), stdin=str(self.settings.root))
        self.instance.finish()
        if self.network.matters_inside and not self.instance.node_network_configured:
            self._configure_network()

    def _unlock(self) -> None:
        """Remove the lock of our kubeconfig that a killed kind left: kind never waits for it."""
        self.file.with_name(f"{self.file.name}.lock").unlink(missing_ok=True)

    def _kind_create(self, say: Callable[[str], None]) -> tuple[int, str]:
        self._unlock()
        command = ["kind", "create", "cluster", "--name", self.cluster, "--config", "-", "--kubeconfig", str(self.file)]
        self.file.unlink(missing_ok=True)

        def hear(line: str) -> None:
            say(brief(line))
            if NODE_RUNS in line and self.network.matters_inside and not self.instance.node_network_configured:
                with suppress(SetupError):  # it is done again after the creation
                    self._configure_network()

        return follow(
            command,
            hear,
            stdin=yaml.safe_dump(self.config(self.runtime.info.cgroups)),
            environ=self._environ(),
            started=self.instance.made_by,
        )

    def config(self, cgroups: str = "2") -> documents.Document:
        """Return kind's configuration, with this instance's ports and node image.

        *cgroups* is the version of cgroups that the runtime has.
        """
        document = documents.load([self.settings.tool / "manifests" / "kind.yaml"])[0]
        document = documents.with_value(document, "nodes.0.image", self.settings.image("node"))
        for number, mapping in enumerate(document["nodes"][0]["extraPortMappings"]):
            port = self.instance.ports[NODE_PORTS[mapping["containerPort"]]]
            document = documents.with_value(document, f"nodes.0.extraPortMappings.{number}.hostPort", port)
        if cgroups == "1":
            document["kubeadmConfigPatches"] = [CGROUP_V1]
        return document

    def _kind(self, *words: str) -> str:
        self._unlock()
        hint = f"Run it again; {command('doctor')} checks this machine."
        return check(
            ["kind", *words, "--kubeconfig", str(self.file)], code="E-CLUSTER", doing=f"kind {words[0]}", hint=hint, environ=self._environ()
        )

    def _environ(self) -> dict[str, str]:
        """Return kind's variables.

        No proxy: kubeadm would write it, with its password, into the pods of Kubernetes.
        """
        hidden = dict.fromkeys((SCRUBBED & os.environ.keys()) | set(proxy.PROXY_VARIABLES), "")
        return {**hidden, "KIND_EXPERIMENTAL_PROVIDER": self.runtime.program}

    # -- the node's network

    def _network_files(self) -> dict[str, str]:
        """Return the node's files with containerd's proxy and certificates, and their content."""
        subnets = self.runtime.ask("network", "inspect", NETWORK, "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}").stdout.split()
        variables = self.network.in_containers([self.node, *subnets])
        lines = (f'Environment="{name}={value.replace("%", "%%")}"' for name, value in variables.items())
        return {PROXY_FILE: "\n".join(["[Service]", *lines, ""]), TRUSTED_FILE: self.network.certificates}

    def _network_differs(self) -> bool:
        """Return whether the node has another proxy or other certificates than it should.

        Without either, do not ask it.
        """
        if not self.network.matters_inside and not self.instance.node_network_configured:
            return False
        live = self.runtime.ask("exec", self.node, "sh", "-c", READ_FILES, "-", PROXY_FILE, TRUSTED_FILE).stdout
        return live.split("\0")[:-1] != list(self._network_files().values())

    def _configure_network(self) -> None:
        """Give the node's containerd its proxy and certificates, and restart it.

        Pods survive that.
        """
        hint = f"See {self.runtime.program} logs {self.node}; then run it again."
        for file, content in self._network_files().items():
            result = self.runtime.run(*self._write_command(file), stdin=content)
            if result.returncode:
                raise SetupError("E-CLUSTER", f"Writing {file} on the node failed: {last_line(result.stderr)}", hint=hint)
        self.instance.making = True  # images that are being loaded are loaded once more
        for words in (("daemon-reload",), ("restart", "containerd")):
            self.runtime.check("exec", self.node, "systemctl", *words, code="E-CLUSTER", doing="Restarting containerd", hint=hint)
        self.instance.configured_network(configured=self.network.matters_inside)

    def _write_command(self, file: str) -> tuple[str, ...]:
        return ("exec", "--interactive", self.node, "sh", "-c", WRITE_FILE, "-", file)

    # -- images

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``.

        The node of an interrupted creation does not count: it is about to be removed.
        """
        if not self.instance.complete and not self.instance.making:
            return None
        if self.network.matters_inside and not self.instance.node_network_configured:
            return None  # its containerd is about to be restarted
        there = self.runtime.on_node(self.node)
        return None if there is None else [image for image in images if full_name(image) not in there]

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """See ``Provider``.

        :raises SetupError: E-IMAGE, the runtime or containerd refused.
        """
        say(f"{count(len(images), 'image')} to the node")
        layers.load(self.runtime, self.node, images, self.settings.local / "build")

    def put_edit(self, connector: Connector, say: Callable[[str], None]) -> bool:
        """See ``Provider``.

        :raises SetupError: E-INSTALL, E-DISK, E-STORE: the code cannot be packaged.
        """
        return self.instance.complete and edits.put(connector, self.settings, self.runtime, self.node, say)

    # -- stopping and deleting

    def stop(self) -> bool:
        """See ``Provider``."""
        if self._state() != "running" or not self.instance.owns(self.cluster):
            return False
        hint = f"See {self.runtime.program} ps; then run it again."
        self.runtime.check("stop", self.node, code="E-CLUSTER", doing="Stopping the node", hint=hint)
        return True

    def _delete(self) -> None:
        self._kind("delete", "cluster", "--name", self.cluster)

    def _deleted(self) -> None:
        """Remove kind's network if we created it and no container uses it, running or not."""
        network = f"network {NETWORK}"
        if network not in self.instance.brought:
            return
        if not self.runtime.run("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").stdout.strip():
            self.runtime.run("network", "rm", NETWORK)
            self.instance.took_away(network)

    def _new_network(self) -> list[str]:
        """Return kind's network if it does not exist yet. kind never removes it."""
        return [f"network {NETWORK}"] if self.runtime.run("network", "inspect", NETWORK).returncode else []

    def left(self) -> list[str]:
        """See ``Provider``."""
        return list(self.runtime.containers(f"{LABEL}={self.cluster}"))


@dataclass(frozen=True)
class ClusterContainers:
    """A kind cluster of this machine, ours or not."""

    name: str
    state: str
    """The state of its node, such as ``running``."""
    checkout: Path | None
    """The folder of the checkout that made it; None for clusters that people made by hand."""


def clusters(runtime: Runtime) -> list[ClusterContainers]:
    """Return all kind clusters of this machine.

    :raises SetupError: E-PROGRAM, E-RUNTIME.
    """
    nodes = {name: state for name, state in sorted(runtime.containers(LABEL).items()) if name.endswith(CONTROL_PLANE)}
    origins = {node: runtime.read(node, ORIGIN_FILE).strip() for node in nodes}
    return [
        ClusterContainers(node.removesuffix(CONTROL_PLANE), state, Path(origins[node]) if origins[node] else None)
        for node, state in nodes.items()
    ]


def failure(text: str) -> tuple[str, str]:
    """Return problem and hint for kind's output when it failed."""
    known = (
        *((sign, "A port that the cluster needs was taken a moment ago.", "Run it again: another port is chosen.") for sign in SIGNS),
        ("too many open files", "The limit of inotify instances is reached.", "sudo sysctl -w fs.inotify.max_user_instances=512"),
        (
            "toomanyrequests",
            "The registry of the node's image answers: too many requests.",
            "Wait an hour, or name a mirror in singer.mirror.",
        ),
        (
            "no such host",
            "The registry of the node's image cannot be reached.",
            "Connect to the network, or name a mirror in singer.mirror.",
        ),
        ("manifest unknown", "The node's image is not there under that name.", "Name another one: singer.images with node=…"),
        (": not found", "The node's image is not there under that name.", "Name another one: singer.images with node=…"),
        ("no space left", "The disk is full.", "Make room (docker system df shows what Docker uses), then run it again."),
    )
    for sign, problem, hint in known:
        if sign in text.lower():
            return problem, hint
    errors = [line for line in text.splitlines() if line.startswith("ERROR")]
    reason = text if "Command Output:" in text or not errors else errors[-1]
    return f"kind failed: {last_line(reason)}", f"Run it again; if that fails, run {command('teardown')} first."
