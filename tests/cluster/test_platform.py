"""The platform on a real cluster: the story of a day, and what can break in between.

Run by ``./invoke test --all`` where docker and kind are. The images are the public ones unless ``INVOKE_SINGER_IMAGES`` names others.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import Checkout

if TYPE_CHECKING:
    from collections.abc import Iterator

    from conftest import Result

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
NAME = "singer-test"
SECONDS = 600


def why_not() -> str:
    """Say why there can be no cluster here, nothing if there can."""
    for program in ("docker", "kind"):
        if shutil.which(program) is None:
            return f"{program} is not on PATH"
    if subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        return "docker does not answer"
    return ""


class Platform(Checkout):
    """A checkout whose cluster has a name of its own."""

    def type(self, *words: str) -> Result:
        """Type a command of the platform, which may take its time."""
        environ = {name: value for name, value in os.environ.items() if name.startswith(("INVOKE_SINGER_", "DOCKER_"))}
        return self.invoke(*words, seconds=SECONDS, **{**environ, "INVOKE_SINGER_CLUSTER": NAME})

    def kubectl(self, *words: str) -> str:
        """Ask the cluster's node itself: no program of the user's is needed."""
        command = ["docker", "exec", f"{NAME}-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def port(self, name: str) -> int:
        """Return one of the instance's ports."""
        return int(json.loads((self.local / "instance.json").read_text())["ports"][name])


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Platform]:
    """Yield a checkout without a cluster; whatever a test leaves is taken away."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    found = Platform(tmp_path_factory.mktemp("platform") / "checkout", shared)
    yield found
    found.type("teardown", "--yes")


def kubeconfigs() -> dict[str, bytes]:
    """Return the user's own kubeconfig, byte for byte."""
    files = [Path.home() / ".kube" / "config", *map(Path, os.environ.get("KUBECONFIG", "").split(os.pathsep))]
    return {str(file): file.read_bytes() for file in files if file.is_file()}


def test_the_story_of_a_day(platform: Platform) -> None:
    """Up from nothing, up again, something deleted by hand, up, stop, up, teardown: each ends as it says, and nothing is left."""
    mine = kubeconfigs()
    first = platform.type("up", "--json")
    assert first.code == 0, first.err
    assert {"Cluster", "MinIO", "Argo Workflows", "Configs"} <= set(first.last["changed"])
    assert platform.type("status").code == 0
    credentials = platform.type("credentials", "--json").last

    second = platform.type("up", "--json")
    assert (second.code, second.last["changed"]) == (0, [])

    platform.kubectl("-n", "argo", "delete", "deployment", "minio")
    assert platform.type("status").code == 1
    healed = platform.type("up", "--json")
    assert (healed.code, healed.last["changed"]) == (0, ["MinIO"])

    assert platform.type("stop").code == 0
    woken = platform.type("up", "--json")
    assert woken.code == 0, woken.err
    assert "Cluster" in woken.last["changed"]
    assert platform.type("credentials", "--json").last["password"] == credentials["password"]

    platform.write("target-csv/config.json", {"destination_path": ".", "changed": True})
    assert platform.type("up", "--json").last["changed"] == ["Configs"]

    assert platform.type("teardown", "--yes").code == 0
    left = subprocess.run(
        ["docker", "ps", "-aq", "--filter", f"label=io.x-k8s.kind.cluster={NAME}"], capture_output=True, text=True, check=True
    )
    assert left.stdout == ""
    assert not (platform.local / "kubeconfig").exists()
    assert kubeconfigs() == mine
    assert platform.type("teardown", "--yes").code == 0


def test_who_may_do_what(platform: Platform) -> None:
    """The ports are on the loopback interface alone, the UI may not create, the kubeconfig is the user's alone."""
    assert platform.type("up").code == 0
    published = subprocess.run(["docker", "port", f"{NAME}-control-plane"], capture_output=True, text=True, check=True).stdout
    assert all(line.rpartition("-> ")[2].startswith("127.0.0.1:") for line in published.splitlines())
    assert (platform.local / "kubeconfig").stat().st_mode & 0o077 == 0
    address = f"http://127.0.0.1:{platform.port('port_argo')}/api/v1/workflows/argo"
    with urllib.request.urlopen(address, timeout=10) as answer:
        assert answer.status == 200
    request = urllib.request.Request(
        address, data=b'{"workflow": {"metadata": {"name": "x"}, "spec": {}}}', headers={"Content-Type": "application/json"}
    )
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=10)
    assert refused.value.code in {400, 403}
    refused.value.close()
    assert "accesskey" not in platform.type("status").out


@pytest.mark.parametrize("seconds", [0.5, 4, 12])
def test_killed_while_it_makes_the_cluster(platform: Platform, seconds: float) -> None:
    """An up that is killed at some second is finished by the next one."""
    platform.type("teardown", "--yes")
    environ = {name: value for name, value in os.environ.items() if name.startswith("INVOKE_SINGER_")}
    with platform.start("up", **{**environ, "INVOKE_SINGER_CLUSTER": NAME}) as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = platform.type("up", "--json")

    assert again.code == 0, again.err
    assert platform.type("status").code == 0


def test_a_cluster_that_is_not_ours(platform: Platform, tmp_path: Path, shared: Path) -> None:
    """Another checkout neither uses nor removes a cluster of the same name."""
    assert platform.type("up").code == 0
    other = Platform(tmp_path / "other", shared)
    result = other.type("up")

    assert (result.code, "did not make" in result.err) == (1, True)
    assert other.type("teardown", "--yes").code == 0
    assert platform.type("status").code == 0
