"""A cluster of minikube's, and what can go wrong with it: the same promises as with kind.

`minikube` and `docker` are stand-ins that are alone on PATH. Their forms are those of minikube 1.38.1: events, exit codes, kubeconfig. So
are the profile that a failed start leaves behind and the current profile that it forgets when it deletes any.
"""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import json
import re
import signal
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from fake_machine import CHANGES, SECONDS, FakeMachine, is_one_sentence

from cluster.config.settings import Settings
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.host.subprocesses import ended
from cluster.providers import NODE_PORTS
from cluster.providers.instance import Instance
from cluster.providers.minikube import Minikube
from cluster.providers.minikube_output import KUBERNETES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from checkout import Checkout

DOCKER = r"""
case "$1 $2" in
"info "*)
  if [ -e "$desk/rootless" ]; then options='"name=rootless"'; fi
  echo "{\"OSType\": \"linux\", \"Architecture\": \"x86_64\", \"SecurityOptions\": [$options]}" ;;
"ps "*)
  case "$*" in *name.minikube.sigs.k8s.io=singer*) if [ -e "$desk/container" ]; then echo "singer Up 2 minutes"; fi ;; esac ;;
"image inspect") [ -e "$desk/images" ] || exit 1 ;;
"save "*) echo archive >"$3" ;;
esac
"""
MINIKUBE = r"""
arguments=$*
command=$1
profile=minikube
while [ $# -gt 0 ]; do
  case "$1" in --profile) profile=$2 ;; --output=json) json=1 ;; esac
  shift
done
kubeconfig=${KUBECONFIG%%:*}
kubeconfig=${kubeconfig:-$HOME/.kube/config}

event() {
  printf '{"specversion":"1.0","id":"0","source":"https://minikube.sigs.k8s.io/","type":"io.k8s.sigs.minikube.%s","datacontenttype":"application/json","data":%s}\n' "$1" "$2"
}
step() { event step "{\"currentstep\":\"$1\",\"message\":\"$2\",\"name\":\"$2\",\"totalsteps\":\"19\"}"; }
gate() { if [ -e "$desk/gate-$1" ]; then read -r _ <"$desk/gate-$1"; fi; }
configured() { case "$(/bin/cat "$kubeconfig" 2>/dev/null)" in *"name: $profile"*) return 0 ;; esac; return 1; }
write() {
  current=
  case "$arguments" in *--keep-context*) ;; *) current="current-context: $profile" ;; esac
  printf 'apiVersion: v1\nkind: Config\nclusters:\n- name: %s\n%s\n' "$profile" "$current" >"$kubeconfig"
}
remove() { /bin/rm -f "$desk/profile-$profile" "$desk/container"; }
absent() {
  [ ! -e "$desk/profile-$profile" ] || return 1
  event info "{\"message\":\"Profile \\\"$profile\\\" not found. Run \\\"minikube profile list\\\" to view all profiles.\"}"
}

case "$command" in
status)
  if absent; then exit 85; fi
  read -r host <"$desk/profile-$profile"
  if [ "$host" = Nonexistent ]; then printf null; exit 7; fi
  if [ "$host" != Running ]; then
    printf '{"Name":"%s","Host":"%s","Kubelet":"%s","APIServer":"%s","Kubeconfig":"%s","Worker":false}' "$profile" "$host" "$host" "$host" "$host"; exit 7
  fi
  if configured; then kept=Configured code=0; else kept=Misconfigured code=4; fi
  printf '{"Name":"%s","Host":"Running","Kubelet":"Running","APIServer":"Running","Kubeconfig":"%s","Worker":false}' "$profile" "$kept"
  exit $code ;;
start)
  step 0 "[$profile] minikube v1.38.1 on Debian 12 (docker/amd64)"
  gate early
  [ -e "$desk/profile-$profile" ] || echo Nonexistent >"$desk/profile-$profile"
  step 5 "Pulling base image v0.0.50 ..."
  gate profile
  if [ -e "$desk/fails" ]; then
    event error '{"message":"StartHost failed, but will try again: boom"}'
    /bin/cat "$desk/fails"
    read -r code <"$desk/code"
    exit "$code"
  fi
  : >"$desk/container"
  step 8 "Creating docker container (CPUs=2, Memory=6000MB) ..."
  gate container
  echo Running >"$desk/profile-$profile"
  write
  gate late
  step 19 "Done! kubectl is now configured to use \"$profile\" cluster" ;;
stop)
  if absent; then exit 85; fi
  /bin/rm -f "$kubeconfig"
  echo Stopped >"$desk/profile-$profile" ;;
delete)
  remove
  /bin/rm -f "$desk/current" ;;
update-context) write ;;
config)
  case "$arguments" in
  "config get profile"*) [ -e "$desk/current" ] || { echo 'Error: specified key could not be found in config' >&2; exit 14; }; /bin/cat "$desk/current" ;;
  "config set profile "*) set -- $arguments; echo "$4" >"$desk/current" ;;
  esac ;;
image)
  case "$arguments" in
  "image ls"*)
    host=; if [ -e "$desk/profile-$profile" ]; then read -r host <"$desk/profile-$profile"; fi
    if [ "$host" != Running ]; then echo '[]'; exit; fi
    more=; if [ -e "$desk/loaded" ]; then more=', "docker.io/library/a:1", "quay.io/b/c:2"'; fi
    echo "[{\"id\": \"sha256:1\", \"repoTags\": [\"registry.k8s.io/pause:3.10.1\"$more]}]" ;;
  "image load"*) [ -e "$desk/refuses" ] || : >"$desk/loaded" ;;
  esac ;;
esac
"""


class Machine(FakeMachine):
    """A user's machine with minikube and no kind, a profile of the user's, and variables that must not lead us elsewhere."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        """Install both programs; there is no profile of our name yet."""
        super().__init__(checkout, folder)
        (self.programs / "kind").unlink()
        (self.desk / "fails").unlink()
        self.install("docker", DOCKER)
        self.install("minikube", MINIKUBE)
        self.has("current", "work")
        self.has("profile-work", "Running")

    @property
    def environ(self) -> dict[str, str]:
        """What the user has set."""
        return {
            **super().environ,
            "INVOKE_SINGER_PROVIDER": "minikube",
            "MINIKUBE_PROFILE": "work",
            "MINIKUBE_HOME": str(self.home / "mini"),
            "MINIKUBE_NODES": "3",
        }

    def fails(self, name: str, message: str, code: int = 80, advice: str = "") -> None:
        """Let the next start end with an error event, as ``out.Error`` makes it."""
        data = {"name": name, "message": message, "exitcode": str(code), "advice": advice, "url": "", "issues": ""}
        event = {"specversion": "1.0", "id": "0", "type": "io.k8s.sigs.minikube.error", "data": data}
        self.has("fails", json.dumps(event))
        self.has("code", str(code))

    @property
    def profile(self) -> str:
        """The state of our profile; empty if it does not exist."""
        file = self.desk / "profile-singer"
        return file.read_text().strip() if file.exists() else ""

    def maker(self) -> int:
        """Return the minikube that makes the cluster, as soon as our command has written it down."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            if recorded := Instance(self.checkout.local / "instance.json").maker:
                return recorded
            time.sleep(0.01)
        return pytest.fail("nobody makes a cluster")

    def provider(self) -> Minikube:
        """Return the provider as a command of this checkout has it, with what is remembered."""
        settings = Settings(root=self.checkout.root, provider="minikube")
        instance = Instance(settings.local / "instance.json")
        instance.choose_ports(settings.ports)
        return Minikube(settings, instance, Runtime("docker"))


@pytest.fixture
def machine(checkout: Checkout, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    """Yield a machine; after each test the user's kubeconfigs and profiles are as before."""
    fresh = Machine(checkout, tmp_path / "machine")
    for name, value in fresh.environ.items():
        monkeypatch.setenv(name, value)
    yield fresh
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in fresh.kubeconfigs] == fresh.before
    assert sorted(item.name for item in (fresh.home / ".kube").iterdir()) == ["config"]
    assert (fresh.desk / "profile-work").read_text() == "Running\n"
    assert (fresh.desk / "current").read_text() == "work\n"
    assert all("--profile singer" in call for call in fresh.asked("^minikube"))


def test_the_whole_life(machine: Machine) -> None:
    """A cluster is created with our ports on 127.0.0.1 and our kubeconfig, exists, is stopped, woken, deleted; each change is reported."""
    progress: list[str] = []
    provider = machine.provider()
    assert provider.publishes
    assert provider.pending() == "not created yet"

    assert provider.ensure(progress.append) == "created"
    assert progress[0].startswith("step 0 of 19: ")
    assert "step 5 of 19: Pulling base image v0.0.50" in progress
    assert machine.provider().pending() is None
    (start,) = machine.asked("^minikube start")
    ports = provider.instance.ports
    for port, name in NODE_PORTS.items():
        assert f"--ports=127.0.0.1:{ports[name]}:{port}" in start
    for flag in (
        "--driver=docker",
        "--container-runtime=containerd",
        f"--kubernetes-version={KUBERNETES}",
        "--listen-address=127.0.0.1",
        "--interactive=false",
    ):
        assert flag in start
    kubeconfig = machine.checkout.local / "kubeconfig"
    assert yaml.safe_load(kubeconfig.read_text())["current-context"] == provider.context == "singer"
    assert kubeconfig.stat().st_mode & 0o077 == 0

    assert machine.provider().stop()
    assert not machine.provider().stop()
    assert machine.provider().pending() == "its node is stopped"
    assert machine.provider().ensure(progress.append) == "started"
    assert machine.provider().pending() is None
    assert "--ports" not in machine.asked("^minikube start")[-1]

    assert machine.provider().delete() == ['minikube cluster "singer"']
    assert (machine.provider().left(), machine.profile, kubeconfig.exists()) == ([], "", False)
    assert machine.provider().delete() == []


def test_it_is_not_led_elsewhere(machine: Machine) -> None:
    """Of the user's variables those that choose another profile or form are not passed on; where minikube keeps its downloads is."""
    machine.install("minikube", '/usr/bin/env >"$desk/environ"\nexit 85')
    assert machine.provider().pending() == "not created yet"
    variables = dict(line.partition("=")[::2] for line in (machine.desk / "environ").read_text().splitlines())

    assert (variables["MINIKUBE_PROFILE"], variables["MINIKUBE_NODES"]) == ("", "")
    assert variables["MINIKUBE_HOME"] == str(machine.home / "mini")
    assert variables["KUBECONFIG"] == str(machine.checkout.local / "kubeconfig")
    assert "MINIKUBE_ROOTLESS" not in variables
    machine.has("rootless")
    machine.provider().pending()
    assert "MINIKUBE_ROOTLESS=true\n" in (machine.desk / "environ").read_text()
    machine.install("minikube", MINIKUBE)


def test_a_virtual_machine(machine: Machine) -> None:
    """Where minikube has to make a virtual machine it chooses its driver, and no port is published."""
    machine.install("nerdctl", DOCKER)
    provider = Minikube(machine.provider().settings, machine.provider().instance, Runtime("nerdctl"))

    assert not provider.publishes
    assert provider.ensure(lambda _: None) == "created"
    (start,) = machine.asked("^minikube start")
    assert not re.search("--(driver|ports|listen-address)", start)
    assert provider.delete() == [provider.describe()]


def test_a_kubeconfig_that_is_gone(machine: Machine) -> None:
    """A kubeconfig of ours that was deleted is made anew, without a new cluster."""
    machine.provider().ensure(lambda _: None)
    (machine.checkout.local / "kubeconfig").unlink()

    assert machine.provider().pending() == "its kubeconfig is missing"
    assert machine.provider().ensure(lambda _: None) == "kubeconfig restored"
    assert machine.provider().pending() is None
    assert len(machine.asked("^minikube start")) == 1


def test_a_machine_that_is_gone(machine: Machine) -> None:
    """A profile of ours whose machine is gone, or does not answer, is started and never deleted: there may be data in it."""
    machine.provider().ensure(lambda _: None)
    machine.has("profile-singer", "Nonexistent")

    assert machine.provider().pending() == "its node is nonexistent"
    assert machine.provider().ensure(lambda _: None) == "started"
    assert machine.provider().pending() is None
    assert machine.asked("^minikube delete") == []


def test_a_node_without_its_profile(machine: Machine) -> None:
    """A node of ours of which minikube does not know, because its home is another one now, is left as it is until teardown."""
    machine.provider().ensure(lambda _: None)
    (machine.desk / "profile-singer").unlink()

    assert machine.provider().pending() == "its node is without its profile"
    with pytest.raises(SetupError, match="does not know it") as raised:
        machine.provider().ensure(lambda _: None)
    assert "MINIKUBE_HOME" in raised.value.hint
    assert machine.asked("^minikube delete") == []
    assert machine.provider().delete() == ['minikube cluster "singer"']
    assert machine.provider().left() == []


def test_a_port_that_was_taken_while_it_was_stopped(machine: Machine) -> None:
    """A cluster keeps its ports: where one is taken when it is woken, they are named, and the cluster stays."""
    machine.provider().ensure(lambda _: None)
    machine.provider().stop()
    machine.fails(
        "GUEST_PROVISION", "error provisioning guest: docker start singer: Bind for 127.0.0.1:9000 failed: port is already allocated"
    )

    with pytest.raises(SetupError, match=r"^Port 9000, which the cluster needs, was taken") as raised:
        machine.provider().ensure(lambda _: None)
    assert raised.value.code == "E-PORT"
    assert "End that program" in raised.value.hint
    assert machine.profile == "Stopped"


def test_minikube_cannot_tell(machine: Machine) -> None:
    """Where minikube cannot read the profile, its reason is passed on, and nothing is done."""
    data = '{"name": "HOST_CONFIG_LOAD", "message": "Error getting cluster config: boom", "exitcode": "38", "advice": ""}'
    machine.install("minikube", f'echo \'{{"type": "io.k8s.sigs.minikube.error", "data": {data}}}\'\nexit 38')

    is_one_sentence(machine.type("up"), "E-CLUSTER", "minikube failed: Error getting cluster config: boom")
    assert machine.asked("^minikube (?!status )") == []


def test_images(machine: Machine) -> None:
    """Images go to the node in one temporary archive; a node that is not running is not asked; an image that it refuses is reported."""
    images = ["a:1", "quay.io/b/c:2"]
    assert machine.provider().missing_images(images) is None
    machine.provider().ensure(lambda _: None)
    provider = machine.provider()
    assert provider.missing_images(images) == images

    machine.has("refuses")
    with pytest.raises(SetupError, match=r"the node does not have a:1, quay\.io/b/c:2") as raised:
        provider.load_images(images, lambda _: None)
    assert raised.value.code == "E-IMAGE"
    (machine.desk / "refuses").unlink()
    provider.load_images(images, lambda _: None)
    assert provider.missing_images(images) == []
    assert len(machine.asked("^docker save ")) == 2
    assert not list(machine.checkout.local.glob("*.tar"))
    provider.stop()
    assert provider.missing_images(images) is None


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
def test_minikube_is_not_installed(machine: Machine, words: tuple[str, ...]) -> None:
    """Without minikube every command that needs it reports that, and where it comes from."""
    (machine.programs / "minikube").unlink()

    is_one_sentence(machine.type(*words), "E-PROGRAM", "minikube is not installed", r"→ .*brew install minikube.*https://")


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
def test_docker_is_not_running(machine: Machine, words: tuple[str, ...]) -> None:
    """When Docker does not answer, that is reported before minikube is asked for anything."""
    machine.refuses("docker", "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?")

    is_one_sentence(machine.type(*words), "E-RUNTIME", "Is the docker daemon running", "→ Start Docker")
    assert machine.asked("^minikube") == []


SAYS: dict[str, tuple[Any, ...]] = {
    "a port was taken": (
        ("GUEST_PROVISION", "error provisioning guest: docker run: exit status 125\nstderr:\ndocker: Bind for 127.0.0.1:2746 failed: port is already allocated"),
        ["A port", "→ Run it again"],
    ),
    "no network": (
        ("INET_LOOKUP_HOST", 'Failed to start host: docker: Get "https://gcr.io/v2/": dial tcp: lookup gcr.io: no such host', 48),
        ["cannot be downloaded", "→ .*HTTPS_PROXY"],
    ),
    "an old minikube": (("K8S_NEW_UNSUPPORTED", "Kubernetes version 1.36.2 is not supported by this release of minikube", 106), [KUBERNETES, "→ Update"]),
    "root": (("DRV_AS_ROOT", 'The "docker" driver should not be used with root privileges.', 57), ["root", "→ Run it as a user"]),
    "little memory": (("RSRC_DOCKER_MEMORY", "Docker Desktop only has 1700MiB available", 23), ["memory: Docker Desktop only has 1700MiB", "→ "]),
    "something else": (("GUEST_CERT", "Failed to setup certs: boom", 80, "Do this."), ["minikube failed: Failed to setup certs: boom", "→ Do this"]),
}  # fmt: skip


@pytest.mark.parametrize("case", SAYS)
def test_minikube_fails(machine: Machine, case: str) -> None:
    """A start that fails is one sentence with a remedy; nothing of it is left, nor remembered, so that other ports can be chosen next time."""
    event, says = SAYS[case]
    machine.has("images")
    machine.fails(*event)

    is_one_sentence(machine.type("up"), "E-CLUSTER", *says)
    assert machine.profile == ""
    assert Instance(machine.checkout.local / "instance.json").cluster == ""
    assert "Leave it" not in machine.type("teardown", "--yes").out


@pytest.mark.parametrize("state", ["Running", "Stopped", "Nonexistent"])
def test_a_profile_that_is_not_ours(machine: Machine, state: str) -> None:
    """A profile of our name that this checkout did not make is neither used, started, stopped nor deleted, and the hint names a way round."""
    machine.has("profile-singer", state)
    machine.has("images")

    is_one_sentence(machine.type("up"), "E-CLUSTER", "did not make", "→ .*INVOKE_SINGER_CLUSTER=")
    for words in (("stop",), ("teardown", "--yes"), ("teardown", "--yes", "--all")):
        assert machine.type(*words).code == 0
    is_one_sentence(machine.type("status"), "E-CLUSTER", "did not make")
    assert machine.asked("^minikube (?!status )|^docker save") == []
    assert machine.profile == state


def test_a_container_of_another_home_of_minikubes(machine: Machine) -> None:
    """A container of that profile's name is somebody's, too: minikube would remove it, with its profile in any home."""
    machine.has("container")

    is_one_sentence(machine.type("up"), "E-CLUSTER", "did not make")
    assert machine.asked("^minikube (?!status )") == []


@pytest.mark.parametrize("moment", ["early", "profile", "container", "late"])
def test_killed_at_any_moment(machine: Machine, moment: str) -> None:
    """An up that is killed leaves minikube at work; the next one ends that, and makes the one cluster that it would have made."""
    machine.has("images")
    gate = machine.desk / f"gate-{moment}"
    subprocess.run(["/usr/bin/mkfifo", str(gate)], check=True)
    with machine.start("up") as process:
        try:
            with gate.open("w"):  # opens when minikube waits at its other end
                maker = machine.maker()
                process.kill()
                process.communicate()
                gate.unlink()
                done = machine.provider().ensure(lambda _: None)
                assert not ended(maker, ("minikube", "start"))
        finally:
            process.kill()

    assert done == ("created" if moment == "early" else "created again")
    assert machine.provider().pending() is None
    assert machine.provider().delete()
    assert machine.provider().left() == []


def test_killed_while_it_wakes(machine: Machine) -> None:
    """A cluster that was complete is started again after an up that was killed while it woke it, and never deleted."""
    machine.has("images")
    machine.provider().ensure(lambda _: None)
    machine.provider().stop()
    gate = machine.desk / "gate-container"
    subprocess.run(["/usr/bin/mkfifo", str(gate)], check=True)
    with machine.start("up") as process:
        try:
            with gate.open("w"):
                maker = machine.maker()
                process.kill()
                process.communicate()
                gate.unlink()
                assert machine.provider().ensure(lambda _: None) == "started"
                assert not ended(maker, ("minikube", "start"))
        finally:
            process.kill()

    assert machine.provider().pending() is None
    assert machine.asked("^minikube delete") == []


@pytest.mark.parametrize("moment", ["early", "profile", "container"])
def test_teardown_after_a_kill(machine: Machine, moment: str) -> None:
    """A teardown after an up that was killed ends minikube, too: it would make anew what is deleted."""
    machine.has("images")
    gate = machine.desk / f"gate-{moment}"
    subprocess.run(["/usr/bin/mkfifo", str(gate)], check=True)
    with machine.start("up") as process:
        try:
            with gate.open("w"):
                maker = machine.maker()
                process.kill()
                process.communicate()
                result = machine.type("teardown", "--yes")
                assert not ended(maker, ("minikube", "start"))
        finally:
            process.kill()

    assert (result.code, result.err) == (0, "")
    assert machine.provider().pending() == "not created yet"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_while_minikube_says_nothing(machine: Machine, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while minikube works without a word ends up soon, with 130."""
    machine.has("images")
    gate = machine.desk / "gate-profile"
    subprocess.run(["/usr/bin/mkfifo", str(gate)], check=True)
    with machine.start("up") as process:
        try:
            with gate.open("w"):
                process.send_signal(number)
                _, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()

    assert process.returncode == 130
    assert not re.search("Traceback", err)


def test_teardown_of_our_own(machine: Machine) -> None:
    """Teardown deletes the profile by its name and our kubeconfig, and knows afterwards that nothing is there; a wrong provider is refused before."""
    machine.provider().ensure(lambda _: None)
    is_one_sentence(
        machine.type("teardown", "--yes", INVOKE_SINGER_PROVIDER="kind"),
        "E-CLUSTER",
        "provider minikube",
        "→ .*PROVIDER=minikube invoke teardown",
    )
    assert machine.profile == "Running"

    result = machine.type("teardown", "--yes")
    assert (result.code, result.err) == (0, "")
    assert machine.profile == ""
    assert not (machine.checkout.local / "kubeconfig").exists()
    assert "Nothing of ours is left" in result.out
