"""The platform on a real, new cluster: the story of a day, and what can break in between."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from platform_checkout import NAME, Platform, kubeconfigs, run, why_not

from cluster.containers.runtime import Runtime
from cluster.providers.kind import ClusterContainers
from cluster.providers.kind import clusters as kind_clusters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Platform]:
    """Yield a checkout without a cluster; what a test leaves is removed."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made = Platform(tmp_path_factory.mktemp("platform") / "checkout", shared)
    yield made
    made.type("teardown", "--yes")


def test_the_story_of_a_day(platform: Platform) -> None:
    """Up from nothing, up again, something deleted by hand, up, stop, up, teardown: each ends as it reports, and nothing is left."""
    mine = kubeconfigs()
    first = platform.type("up", "--json")
    assert first.code == 0, first.err
    assert {"Cluster", "MinIO", "Argo Workflows", "Configs"} <= set(first.last["changed"])
    assert platform.type("status").code == 0
    credentials = platform.type("credentials", "--json").last

    second = platform.type("up", "--json")
    assert (second.code, second.last["changed"]) == (0, [])
    assert ClusterContainers(NAME, "running", platform.root) in kind_clusters(Runtime())

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
    with platform.begin("up") as process:
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    again = platform.type("up", "--json")

    assert again.code == 0, again.err
    assert platform.type("status").code == 0


def test_killed_after_each_step(platform: Platform) -> None:
    """An up that is killed right after any of its steps is finished by the next ones, and they end in the same platform."""
    platform.type("teardown", "--yes")
    for _ in range(20):
        with platform.begin("up", "--json") as process:
            assert process.stdout
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "step.finished" and event["status"] == "done":
                    process.send_signal(signal.SIGKILL)
                    break
            else:
                break
            process.communicate()
    assert platform.type("up", "--json").last["changed"] == []
    assert platform.type("status").code == 0


@pytest.mark.parametrize("what", ["kill", "pause", "stop"])
def test_a_node_that_was_ended_by_somebody_else(platform: Platform, what: str) -> None:
    """After the engine was restarted, or the node was stopped or paused by hand, up wakes the platform with its data."""
    assert platform.type("up").code == 0
    put(platform, "pipelines/p/state.json", '{"n": 1}')
    before = versions(platform, "pipelines/p/state.json")
    run("docker", what, f"{NAME}-control-plane")
    assert platform.type("status").code == 1
    woken = platform.type("up", "--json")
    assert woken.code == 0, woken.err
    assert versions(platform, "pipelines/p/state.json") == before


def test_a_kubeconfig_that_was_deleted(platform: Platform) -> None:
    """When the project's own kubeconfig is deleted or damaged, up makes it anew."""
    assert platform.type("up").code == 0
    file = platform.local / "kubeconfig"
    file.unlink()
    assert platform.type("status").code == 1
    assert platform.type("up").code == 0
    assert file.stat().st_mode & 0o077 == 0
    file.write_text("{")
    assert platform.type("up").code == 0
    assert platform.type("status").code == 0


def test_a_cluster_that_is_not_ours(platform: Platform, tmp_path: Path, shared: Path) -> None:
    """Another checkout neither uses nor removes a cluster of the same name."""
    assert platform.type("up").code == 0
    other = Platform(tmp_path / "other", shared)
    result = other.type("up")

    assert (result.code, "did not make" in result.err) == (1, True)
    assert other.type("teardown", "--yes").code == 0
    assert platform.type("status").code == 0


def test_data_outlives_the_cluster(platform: Platform) -> None:
    """After a teardown that keeps data, the next up has the same buckets, versions of state and credentials, and nothing is kept twice."""
    assert platform.type("up").code == 0
    password = platform.type("credentials", "--json").last["password"]
    for number in range(3):
        put(platform, "pipelines/kept/state.json", json.dumps({"n": number}))
    before = versions(platform, "pipelines/kept/state.json")
    assert len(before) == 3

    torn = platform.type("teardown", "--yes", "--keep-data")
    assert torn.code == 0, torn.err
    archive = platform.local / "kept" / "minio.tar"
    assert str(archive.relative_to(platform.root)) in torn.out
    assert archive.stat().st_mode & 0o077 == 0
    assert run("docker", "ps", "-aq", "--filter", f"label=io.x-k8s.kind.cluster={NAME}") == ""

    again = platform.type("up", "--json")
    assert again.code == 0, again.err
    assert platform.type("credentials", "--json").last["password"] == password
    assert versions(platform, "pipelines/kept/state.json") == before
    assert list(archive.parent.iterdir()) == []
    assert platform.type("status").code == 0


def test_data_that_cannot_be_kept(platform: Platform) -> None:
    """Where the data cannot be read because the cluster is stopped, nothing is removed."""
    assert platform.type("up").code == 0
    assert platform.type("stop").code == 0
    refused = platform.type("teardown", "--yes", "--keep-data")

    assert (refused.code, "E-KEEP" in refused.err, "Nothing was removed" in refused.err) == (1, True, True), refused.err
    assert run("docker", "ps", "-aq", "--filter", f"label=io.x-k8s.kind.cluster={NAME}") != ""


def test_the_seeds_lines(platform: Platform, tmp_path: Path) -> None:
    """A tap alone and a target alone, by docker run with their configs as bind mounts; the files belong to the user."""
    assert platform.type("up").code == 0
    configs, samples = platform.root / "singer-configs", ROOT / "singer-containers" / "samples"
    mount = "type=bind,source={},target={}"
    config = mount.format(configs / "tap-exchange-rates" / "config.json", "/opt/code/config.json")
    printed = run("docker", "run", "--rm", "--mount", config, "tap-exchange-rates:dev").splitlines()
    assert [json.loads(line)["type"] for line in printed[:2]] == ["SCHEMA", "RECORD"]
    assert json.loads(printed[-1])["type"] == "STATE"

    (tmp_path / "out").mkdir()
    user = f"{(tmp_path / 'out').stat().st_uid}:{(tmp_path / 'out').stat().st_gid}"
    mounts = (
        mount.format(configs / "target-csv" / "config.json", "/tmp/config.json"),
        mount.format(samples / "tap-exchange-rates.txt", "/tmp/tap_input.txt"),
        mount.format(tmp_path / "out", "/tmp/data"),
    )
    words = [word for item in mounts for word in ("--mount", item)]
    state = run("docker", "run", "--rm", "--user", user, *words, "target-csv:dev").splitlines()[-1]
    assert "bookmarks" in json.loads(state)
    (file,) = (tmp_path / "out").iterdir()
    assert len(file.read_text().splitlines()) == 4
    assert file.stat().st_uid == (tmp_path / "out").stat().st_uid


def put(platform: Platform, key: str, text: str) -> None:
    """Write an object as the pipelines' user, with the shell that users have."""
    store(platform, f"s.put(b, {key!r}, {text!r}.encode())")


def versions(platform: Platform, key: str) -> list[str]:
    """Return the ids of an object's versions."""
    return store(platform, f"print(*[v.id for v in s.versions(b, {key!r})])").split()


def store(platform: Platform, work: str) -> str:
    """Do something with the platform's store, as a program of the checkout would."""
    program = (
        "import os; from cluster.config.settings import parse; from cluster.platform.handles import Handles; from pathlib import Path;"
        f"c = parse({{'cluster': {NAME!r}}}, {{}}, root=Path.cwd()); s = Handles(c, os.environ).store(); b = 'singer-configs'; {work}"
    )
    python = shutil.which("python3", path=str(ROOT / ".venv" / "bin")) or "python3"
    done = subprocess.run([python, "-c", program], cwd=platform.root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout
