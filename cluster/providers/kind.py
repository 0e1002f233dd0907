"""A kind cluster of our own: ``up`` creates it, ``teardown`` deletes it.

Whose a cluster is, is written down before it is created, so that one that was killed halfway is known as ours and
made anew, and one of the same name that somebody else made is left alone. kind gets a kubeconfig of the project's own.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cluster.containers.ports import conflict
from cluster.containers.runtime import full_name
from cluster.errors import SetupError
from cluster.host.subprocesses import check, ended, find, follow, last_line
from cluster.kube import documents
from cluster.net import proxy
from cluster.providers import NODE_PORTS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.providers.instance import Instance

NETWORK = "kind"
CONTROL_PLANE = "-control-plane"
LABEL = "io.x-k8s.kind.cluster"
SCRUBBED = {"KIND_CLUSTER_NAME", "KIND_EXPERIMENTAL_DOCKER_NETWORK", "KIND_EXPERIMENTAL_PROVIDER", "KUBECONFIG"}
"""Variables of the user's own kind work that must not lead ours elsewhere."""

PROXY_FILE = "/etc/systemd/system/containerd.service.d/singer-network.conf"
TRUSTED_FILE = "/etc/ssl/certs/singer-network.pem"
"""Of the node. Programs in Go trust what lies in that folder, beside the system's own."""
ORIGIN_FILE = "/etc/singer-checkout"
"""Of the node: the folder of the checkout that made it, so that a cluster whose checkout is gone can be told from somebody else's."""
TAKE_FILE = 'umask 077 && mkdir -p "${1%/*}" && cat >"$1"'
"""Content comes over standard input: it may hold a password."""


class Kind:
    """A cluster of one node, in a container of the laptop's runtime."""

    name = "kind"
    ours = True
    publishes = True
    platform = ""

    def __init__(self, settings: Settings, instance: Instance, runtime: Runtime) -> None:
        """Take the settings and what is remembered of this checkout's installation; nothing is run yet."""
        self.settings = settings
        self.instance = instance
        self.runtime = runtime
        self.cluster = settings.cluster
        self.context = f"kind-{self.cluster}"
        self.kubeconfig = settings.local / "kubeconfig"
        self.node = f"{self.cluster}{CONTROL_PLANE}"
        self.network = proxy.read(settings, os.environ)

    def describe(self) -> str:
        """See ``Provider``."""
        return f'kind cluster "{self.cluster}"'

    @property
    def kubernetes(self) -> str:
        """See ``Provider``."""
        image = self.runtime.image_of(self.node) or self.settings.image("node")
        found = re.search(r":v(\d+\.\d+)", image)
        return found[1] if found else ""

    def ready(self) -> None:
        """See ``Provider``.

        :raises SetupError: E-PROGRAM, E-RUNTIME.
        """
        if not self._node_state():
            find("kind")

    # -- looking

    def _node_state(self) -> str:
        """Return the state of the node's container, such as ``running``; nothing where there is none.

        :raises SetupError: E-RUNTIME, the runtime does not answer.
        """
        found = self.runtime.containers(f"{LABEL}={self.cluster}")
        return found.get(self.node, next(iter(found.values()), ""))

    def pending(self) -> str | None:
        """See ``Provider``."""
        state = self._node_state()
        if not state:
            return "not created yet"
        if not self.instance.owns(self.cluster):
            return "a cluster of this name is there, and is not ours"
        if not self.instance.complete:
            return "its creation was broken off"
        if state != "running":
            return f"its node is {state}"
        if not self._kubeconfig_is_whole():
            return "its kubeconfig is gone"
        return "it does not know the proxy and the certificates that are set" if self._needs_telling() else None

    def _kubeconfig_is_whole(self) -> bool:
        try:
            return f"current-context: {self.context}\n" in self.kubeconfig.read_text(encoding="utf-8")
        except (OSError, ValueError):
            return False

    # -- doing

    def ensure(self, say: Callable[[str], None]) -> str:
        """See ``Provider``.

        :raises SetupError: E-CLUSTER, there is one of this name that is not ours, or kind failed.
        """
        state = self._node_state()
        if state and not self.instance.owns(self.cluster):
            raise SetupError(
                "E-CLUSTER",
                f'There is a kind cluster "{self.cluster}" that this checkout did not make.',
                hint="Leave it alone by another name: INVOKE_SINGER_CLUSTER=singer2, or singer.cluster in invoke.yaml.",
            )
        done = "created"
        if not self.instance.complete and self.instance.maker:
            ended(self.instance.maker, ("kind", "create", self.cluster))
            state = self._node_state()
        if state and not self.instance.complete:
            say("removing what a broken-off creation has left")
            self._kind("delete", "cluster", "--name", self.cluster)
            state, done = "", "created anew"
        if not state:
            self._create(say)
            if self.network.matters_inside:
                self._tell()
            return done
        if state != "running":
            self._start(state)
            done = "started"
        if not self._kubeconfig_is_whole():
            self.kubeconfig.unlink(missing_ok=True)
            self._kind("export", "kubeconfig", "--name", self.cluster)
            self.kubeconfig.chmod(0o600)
            done = "kubeconfig made anew"
        if self._needs_telling():
            self._tell()
            done = "told of the network"
        return done

    def _start(self, state: str) -> None:
        """Start the node's container.

        :raises SetupError: E-PORT, somebody else has taken one of its ports, which cannot be changed any more; E-CLUSTER.
        """
        result = self.runtime.run("unpause" if state == "paused" else "start", self.node)
        if result.returncode == 0:
            return
        # docker's last line only says which container it is
        text = result.stderr.partition("Error: failed to start containers:")[0] or result.stderr
        hint = f"See {self.runtime.program} logs {self.node}, or invoke teardown and up."
        raise conflict(text, self.instance.ports.values(), self.runtime) or SetupError(
            "E-CLUSTER", f"Starting the node failed: {last_line(text)}", hint=hint
        )

    def _create(self, say: Callable[[str], None]) -> None:
        again = self.instance.owns(self.cluster)
        self.instance.claim(self.cluster)
        image = self.settings.image("node")
        self.instance.bring(*(f"image {name}" for name in self.runtime.absent([image])), *self._new_network())
        code, text = self._kind_create(say)
        if code and "already exist" in text and again:
            # The node of our creation that was killed a moment ago came into being only now.
            self._kind("delete", "cluster", "--name", self.cluster)
            code, text = self._kind_create(say)
        if code:
            if "already exist" in text or not self._node_state():
                self.instance.forget()  # what is or comes there is somebody else's
            problem, hint = failure(text)
            raise SetupError("E-CLUSTER", problem, hint=hint)
        self.kubeconfig.chmod(0o600)
        self.runtime.run(*self._taking(ORIGIN_FILE), stdin=str(self.settings.root))
        self.instance.finish()

    def _kind_create(self, say: Callable[[str], None]) -> tuple[int, str]:
        command = ["kind", "create", "cluster", "--name", self.cluster, "--config", "-", "--kubeconfig", str(self.kubeconfig)]
        self.kubeconfig.unlink(missing_ok=True)
        return follow(
            command,
            lambda line: say(line.strip(" •✓✗")),
            stdin=yaml.safe_dump(self.config()),
            environ=self._environ(),
            started=self.instance.made_by,
        )

    def config(self) -> documents.Document:
        """Return kind's configuration: the file of the repository with this instance's ports and node image."""
        document = documents.load([self.settings.root / "manifests" / "kind.yaml"])[0]
        document = documents.with_value(document, "nodes.0.image", self.settings.image("node"))
        for number, mapping in enumerate(document["nodes"][0]["extraPortMappings"]):
            port = self.instance.ports[NODE_PORTS[mapping["containerPort"]]]
            document = documents.with_value(document, f"nodes.0.extraPortMappings.{number}.hostPort", port)
        return document

    def _kind(self, *words: str) -> str:
        command = ["kind", *words, "--kubeconfig", str(self.kubeconfig)]
        return check(
            command, code="E-CLUSTER", doing=f"kind {words[0]}", hint="See what kind says; then run it again.", environ=self._environ()
        )

    def _environ(self) -> dict[str, str]:
        """Return what kind is told. No proxy: kubeadm would write it, password and all, into the pods of Kubernetes itself."""
        hidden = dict.fromkeys((SCRUBBED & os.environ.keys()) | set(proxy.PROXY_VARIABLES), "")
        return {**hidden, "KIND_EXPERIMENTAL_PROVIDER": self.runtime.program}

    # -- the node's network

    def _told(self) -> dict[str, str]:
        """Return the files of the node by which its containerd knows the proxy and the certificates, and what shall be in them."""
        subnets = self.runtime.run("network", "inspect", NETWORK, "--format", "{{range .IPAM.Config}}{{.Subnet}} {{end}}").stdout.split()
        told = self.network.in_containers([self.node, *subnets])
        lines = (f'Environment="{name}={value.replace("%", "%%")}"' for name, value in told.items())
        return {PROXY_FILE: "\n".join(["[Service]", *lines, ""]), TRUSTED_FILE: self.network.certificates}

    def _needs_telling(self) -> bool:
        """Say whether the node's containerd goes by another proxy or other certificates than it shall. Without either no node is asked."""
        if not self.network.matters_inside and not self.instance.told:
            return False
        there = (self.runtime.run("exec", self.node, "cat", file).stdout for file in (PROXY_FILE, TRUSTED_FILE))
        return list(there) != list(self._told().values())

    def _tell(self) -> None:
        """Tell the node's containerd its proxy and certificates, and restart it, which pods survive."""
        hint = f"See {self.runtime.program} logs {self.node}; then run it again."
        for file, content in self._told().items():
            done = self.runtime.run(*self._taking(file), stdin=content)
            if done.returncode:
                raise SetupError("E-CLUSTER", f"The node does not take {file}: {last_line(done.stderr)}", hint=hint)
        self.instance.making = True  # images that are on their way are sent once more
        for words in (("daemon-reload",), ("restart", "containerd")):
            self.runtime.check("exec", self.node, "systemctl", *words, code="E-CLUSTER", doing="Restarting containerd", hint=hint)
        self.instance.tell(told=self.network.matters_inside)

    def _taking(self, file: str) -> tuple[str, ...]:
        return ("exec", "--interactive", self.node, "sh", "-c", TAKE_FILE, "-", file)

    # -- images

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``. A node that a broken-off creation has left is none: it is about to be removed."""
        if not self.instance.complete and not self.instance.making:
            return None
        if self.network.matters_inside and not self.instance.told:
            return None  # its containerd is about to be restarted
        there = self.runtime.on_node(self.node)
        return None if there is None else [image for image in images if full_name(image) not in there]

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """See ``Provider``.

        :raises SetupError: E-IMAGE, the runtime or containerd refused.
        """
        say(f"{len(images)} images to the node")
        self.runtime.into_node(self.node, images)

    # -- ending

    def stop(self) -> bool:
        """See ``Provider``."""
        if self._node_state() != "running" or not self.instance.owns(self.cluster):
            return False
        hint = f"See {self.runtime.program} ps; then run it again."
        self.runtime.check("stop", self.node, code="E-CLUSTER", doing="Stopping the node", hint=hint)
        return True

    def delete(self) -> list[str]:
        """See ``Provider``. The volume dies with the node's container."""
        there = bool(self._node_state())
        if there and not self.instance.owns(self.cluster):
            return []
        if there:
            self._kind("delete", "cluster", "--name", self.cluster)
        self.kubeconfig.unlink(missing_ok=True)
        self._remove_network()
        return [self.describe()] if there else []

    def _new_network(self) -> list[str]:
        """Return kind's network, if it is not there yet: kind makes it with the first cluster, and never removes it."""
        return [f"network {NETWORK}"] if self.runtime.run("network", "inspect", NETWORK).returncode else []

    def _remove_network(self) -> None:
        """Remove kind's network if it came with us and no other container needs it, also none that is stopped."""
        thing = f"network {NETWORK}"
        if (
            thing in self.instance.brought
            and not self.runtime.run("ps", "--all", "--quiet", "--filter", f"network={NETWORK}").stdout.strip()
        ):
            self.runtime.run("network", "rm", NETWORK)
            self.instance.took_away(thing)

    def left(self) -> list[str]:
        """See ``Provider``."""
        return list(self.runtime.containers(f"{LABEL}={self.cluster}"))


@dataclass(frozen=True)
class ClusterContainers:
    """A kind cluster of this machine, whoever made it."""

    name: str
    state: str
    """Of its node, such as ``running``."""
    checkout: Path | None
    """The folder of the checkout that made it; None where it says nothing, as those that people make by hand."""


def clusters(runtime: Runtime) -> list[ClusterContainers]:
    """Return all kind clusters of this machine.

    :raises SetupError: E-PROGRAM, E-RUNTIME.
    """
    nodes = {name: state for name, state in sorted(runtime.containers(LABEL).items()) if name.endswith(CONTROL_PLANE)}
    told = {node: runtime.read(node, ORIGIN_FILE).strip() for node in nodes}
    return [
        ClusterContainers(node.removesuffix(CONTROL_PLANE), state, Path(told[node]) if told[node] else None)
        for node, state in nodes.items()
    ]


def failure(text: str) -> tuple[str, str]:
    """Turn what kind printed when it failed into a problem and a hint."""
    known = (
        ("port is already allocated", "A port that the cluster needs was taken a moment ago.", "Run it again: another port is chosen."),
        ("address already in use", "A port that the cluster needs was taken a moment ago.", "Run it again: another port is chosen."),
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
    said = text if "Command Output:" in text or not errors else errors[-1]
    return f"kind failed: {last_line(said)}", "See the line above; run it again, or invoke teardown first."
