"""A minikube cluster of our own, with the project's own kubeconfig.

minikube's home, with its downloads, stays the user's. minikube prints its events as JSON lines.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

from cluster.containers.ports import conflict
from cluster.containers.runtime import full_name
from cluster.errors import SetupError
from cluster.host.subprocesses import find, follow, run
from cluster.net import proxy
from cluster.providers import NODE_PORTS
from cluster.providers.minikube_output import AGAIN, KUBERNETES, failure, progress_of
from cluster.providers.owned import Owned
from cluster.ui.command_line import command
from cluster.ui.format import count

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence


DRIVERS = ("docker", "podman")
"""Runtimes in which minikube makes its node a container, whose ports it publishes; else it makes a
virtual machine."""
LABEL = "name.minikube.sigs.k8s.io"
"""What its containers carry, with the profile's name."""
NO_PROFILE = 85
"""Its exit code where there is no profile of that name."""
ELSEWHERE = ("PROFILE", "DRIVER", "VM_DRIVER", "NODES", "HA", "NAMESPACE", "NO_KUBERNETES", "DOWNLOAD_ONLY", "DRY_RUN", "STATIC_IP")
SCRUBBED = {f"MINIKUBE_{name}" for name in ELSEWHERE}
"""Variables that each stand for a flag, and must not lead our cluster elsewhere. How much memory it
gets, or where images are downloaded from, remains the user's choice."""


class State(NamedTuple):
    """The status of a profile as minikube prints it: ``Running``, ``Stopped``, ``Configured``."""

    host: str
    api: str = ""
    kubeconfig: str = ""

    @property
    def trouble(self) -> str | None:
        """What keeps the cluster from running."""
        if self.host != "Running":
            return f"its node is {self.host.lower()}"
        return None if self.api == "Running" else f"its API server is {self.api.lower()}"


LOST = State("without its profile")
"""The node's container exists, and this MINIKUBE_HOME has no profile for it."""
GONE = {"Host": "Nonexistent"}
"""minikube prints ``null`` for a profile without a machine, or if it cannot ask the machine."""


class Minikube(Owned[State]):
    """A profile with one node."""

    name = "minikube"
    noun = "minikube profile"
    start_words = ("minikube", "start")

    @property
    def context(self) -> str:
        """The name of its context."""
        return self.cluster

    @cached_property
    def driver(self) -> str:
        """Minikube's driver; empty to let minikube choose.

        :raises SetupError: E-PROGRAM, there is no container runtime.
        """
        return self.runtime.program if self.runtime.program in DRIVERS else ""

    @property
    def publishes(self) -> bool:
        """Whether the node is a container, which publishes its ports."""
        return bool(self.driver)

    @property
    def kubernetes(self) -> str:
        """See ``Provider``."""
        return ".".join(KUBERNETES.removeprefix("v").split(".")[:2])

    def ready(self) -> None:
        """See ``Provider``.

        :raises SetupError: E-PROGRAM, E-RUNTIME.
        """
        self.left()
        find("minikube")

    # -- its state

    def _state(self) -> State | None:
        """Return the status of the profile; None if there is no profile of this name.

        :raises SetupError: E-PROGRAM, minikube is missing; E-RUNTIME, the runtime does not answer;
            E-CLUSTER, minikube failed.
        """
        containers = self.left()
        result = self._run("status", "--output", "json")
        if result.returncode == NO_PROFILE:
            return LOST if containers else None
        try:
            nodes = json.loads(result.stdout)
            node = (nodes[0] if isinstance(nodes, list) else nodes) or GONE
            return State(node["Host"], node.get("APIServer", ""), node.get("Kubeconfig", ""))
        except (ValueError, LookupError, TypeError):
            raise failure(result.stderr + result.stdout) from None

    def _trouble(self, state: State) -> str | None:
        return state.trouble or (None if self._has_kubeconfig(state) else "its kubeconfig is missing")

    def _has_kubeconfig(self, state: State) -> bool:
        return state.kubeconfig == "Configured" and self.file.exists()

    # -- creating and starting

    def _repair(self, state: State, say: Callable[[str], None]) -> str:
        if state is LOST:
            raise SetupError(
                "E-CLUSTER",
                f'The node of the minikube cluster "{self.cluster}" exists, and minikube does not know it.',
                hint=f"Set MINIKUBE_HOME as it was when the cluster was created, or run {command('teardown')}, which removes the node.",
            )
        if state.trouble:  # it holds data, so it is never deleted
            self._start([], say)
            return "started"
        if not self._has_kubeconfig(state):
            self.file.unlink(missing_ok=True)  # minikube would lose the embedded certificates
            self._check("update-context")
            self.file.chmod(0o600)
            return "kubeconfig restored"
        return "unchanged"

    def _create(self, say: Callable[[str], None]) -> None:
        self.instance.claim(self.cluster, self.name)
        self.file.unlink(missing_ok=True)
        self._start(self._flags(), say)

    def _flags(self) -> list[str]:
        """Return the flags of a new cluster; minikube remembers them.

        Without ``--keep-context``: the kubeconfig is ours, and kubectl in ``invoke shell`` needs
        its current context.
        """
        flags = [f"--kubernetes-version={KUBERNETES}", "--container-runtime=containerd", "--nodes=1", "--embed-certs"]
        if self.driver:
            flags += [f"--driver={self.driver}", "--listen-address=127.0.0.1"]
            flags += [f"--ports=127.0.0.1:{self.instance.ports[name]}:{port}" for port, name in NODE_PORTS.items()]
        return flags

    def _start(self, flags: Sequence[str], say: Callable[[str], None]) -> None:
        """Create the cluster, or start the existing one.

        :raises SetupError: E-CLUSTER, minikube failed.
        """
        progress = "minikube start"

        def hear(line: str) -> None:
            nonlocal progress
            progress = progress_of(line) or progress
            say(progress)

        always = ["--interactive=false", "--wait=apiserver,system_pods", "--output=json"]
        command = ["minikube", "start", "--profile", self.cluster, *flags, *always]
        code, text = follow(command, hear, environ=self._environ, started=self.instance.made_by)
        if code:
            error = failure(text)
            if not self.instance.complete:
                self._give_up()
            elif error.hint == AGAIN:
                raise conflict(text, self.instance.ports.values(), self.runtime) or error
            raise error
        self.file.chmod(0o600)
        self.instance.finish()

    def _give_up(self) -> None:
        """Remove a failed creation, as kind does, so that the next one can choose other ports."""
        with suppress(SetupError):
            if self._state() is not None:
                self._delete()
            self.instance.forget()  # a cluster that comes there is not ours

    def _run(self, *words: str) -> subprocess.CompletedProcess[str]:
        return run(["minikube", *words, "--profile", self.cluster], environ=self._environ)

    def _check(self, *words: str) -> str:
        result = self._run(*words)
        if result.returncode:
            raise failure(result.stderr + result.stdout)
        return result.stdout

    @cached_property
    def _environ(self) -> dict[str, str]:
        """Minikube's variables.

        Without the last one it would run a rootless podman through sudo.
        """
        network = proxy.read(self.settings, os.environ).variables(os.environ)
        environ = {**dict.fromkeys(SCRUBBED & os.environ.keys(), ""), **network, "KUBECONFIG": str(self.file)}
        return {**environ, "MINIKUBE_ROOTLESS": "true"} if self.driver and self.runtime.info.rootless else environ

    # -- images

    def missing_images(self, images: Sequence[str]) -> list[str] | None:
        """See ``Provider``.

        Not while the node is created: minikube still unpacks its own images there.
        """
        if not self.instance.complete:
            return None
        result = self._run("image", "ls", "--format", "json")
        try:
            listed = json.loads(result.stdout) or []
        except ValueError:
            return None
        there = {tag for image in listed for tag in image.get("repoTags") or ()}
        return [image for image in images if full_name(image) not in there] if there else None

    def load_images(self, images: Sequence[str], say: Callable[[str], None]) -> None:
        """See ``Provider``.

        From its standard input minikube would create a file itself, and leave it behind.

        :raises SetupError: E-IMAGE, the runtime or minikube refused.
        """
        say(f"{count(len(images), 'image')} to the node")
        archive = self.settings.local / "images.tar"
        try:
            self.runtime.save(images, archive)
            result = self._run("image", "load", str(archive))
        finally:
            archive.unlink(missing_ok=True)
        missing = self.missing_images(images)
        if result.returncode or missing:  # minikube also exits with 0 if a node refused them
            reason = failure(result.stderr).problem if result.returncode else f"the node does not have {', '.join(missing or ())}."
            raise SetupError("E-IMAGE", f"Loading images failed: {reason}", hint="Run it again; invoke status shows what is missing.")

    # -- stopping and deleting

    def stop(self) -> bool:
        """See ``Provider``."""
        state = self._state()
        if state is None or state.host != "Running" or not self.instance.owns(self.cluster):
            return False
        self._check("stop", "--output", "json")
        return True

    def _delete(self) -> None:
        """Delete the profile, not minikube's downloads, and keep the user's current profile."""
        current = self._run("config", "get", "profile").stdout.strip()
        self._check("delete", "--output", "json")
        if current and current != self.cluster:
            self._check("config", "set", "profile", current)

    def left(self) -> list[str]:
        """See ``Provider``."""
        return list(self.runtime.containers(f"{LABEL}={self.cluster}")) if self.driver else []
