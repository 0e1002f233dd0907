"""What kind prints when it fails, and the configuration that it gets."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from checkout import ROOT
from free_ports import preferred, row
from manifest_files import kind_config

from cluster.config.settings import IMAGES, Settings
from cluster.containers.runtime import Runtime
from cluster.providers import kind
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    from pathlib import Path

NODE = IMAGES["node"]
CREATING = (
    'Creating cluster "singer" ...\n • Ensuring node image (kindest/node:v1.37.0) 🖼  ...\n ✓ Ensuring node image (kindest/node:v1.37.0) 🖼\n'
)
DOCKER_RUN = (
    CREATING + ' • Preparing nodes 📦   ...\n ✗ Preparing nodes 📦 \nDeleted nodes: ["singer-control-plane"]\n'
    'ERROR: failed to create cluster: command "docker run --name singer-control-plane --hostname singer-control-plane --label '
    "io.x-k8s.kind.role=control-plane --privileged --security-opt seccomp=unconfined --security-opt apparmor=unconfined --tmpfs /tmp "
    "--tmpfs /run --volume /var --volume /lib/modules:/lib/modules:ro -e KIND_EXPERIMENTAL_CONTAINERD_SNAPSHOTTER --detach --tty --label "
    "io.x-k8s.kind.cluster=singer --net kind --restart=on-failure:1 --init=false --cgroupns=private --publish=127.0.0.1:2746:32746/TCP "
    f'-e KUBECONFIG=/etc/kubernetes/admin.conf {NODE}" failed with error: exit status 125\n\nCommand Output: 924bc56918b8\n'
    "docker: Error response from daemon: "
)  # fmt: skip
PULLING = (
    'Creating cluster "singer" ...\n • Ensuring node image (kindest/node:v1.37.0) 🖼  ...\n ✗ Ensuring node image (kindest/node:v1.37.0) 🖼\n'
    f'ERROR: failed to create cluster: failed to pull image "{NODE}": command "docker pull {NODE}" failed with error: exit status 1\n\n'
    "Command Output: Error response from daemon: "
)  # fmt: skip
ENDPOINT = "driver failed programming external connectivity on endpoint singer-control-plane (b1bc52e0): "
KINDS = [
    (DOCKER_RUN + ENDPOINT + "Bind for 127.0.0.1:2746 failed: port is already allocated.", "port", "again"),
    (DOCKER_RUN + "failed to set up container networking: " + ENDPOINT + "failed to bind host port 127.0.0.1:2746/tcp: address already in use", "port", "again"),
    (DOCKER_RUN + "Ports are not available: exposing port TCP 127.0.0.1:2746 -> 0.0.0.0:0: listen tcp 127.0.0.1:2746: bind: An attempt was made", "port", "again"),
    (DOCKER_RUN + "failed to create shim task: cgroups: cgroup mountpoint does not exist: unknown.", "cgroup mountpoint does not exist", "again"),
    (DOCKER_RUN + "write /var/lib/docker/x: no space left on device.", "disk is full", "docker system df"),
    (CREATING + "ERROR: failed to create cluster: failed to create fsnotify watcher: too many open files", "inotify", "sudo sysctl -w fs.inotify.max_user_instances="),
    (PULLING + 'Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io on 127.0.0.53:53: no such host', "cannot be reached", "mirror"),
    (PULLING + "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit", "too many requests", "mirror"),
    (PULLING + "manifest for kindest/node:v9 not found: manifest unknown: manifest unknown", "not there under that name", "node="),
    (PULLING + 'failed to resolve reference "docker.io/kindest/node:v9": docker.io/kindest/node:v9: not found', "not there under that name", "node="),
    ('ERROR: failed to create cluster: node(s) already exist for a cluster with the name "singer"', 'node(s) already exist for a cluster with the name "singer"', "teardown"),
    ("ERROR: unknown flag: --config", "unknown flag", "again"),
    ("", "no reason", "again"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "answer", "remedy"), KINDS)
def test_what_kind_prints_when_it_fails(text: str, answer: str, remedy: str) -> None:
    """Of what kind prints the user reads the reason in one sentence of a readable length, and what to do."""
    problem, hint = kind.failure(text)

    assert answer in problem
    assert problem.endswith(".")
    assert not problem.endswith("..")
    assert "\n" not in problem
    assert len(problem) < 350
    assert remedy in hint


def test_the_cluster_is_made_with_the_ports_and_the_image_that_were_chosen(tmp_path: Path) -> None:
    """The program kind is given the instance's own ports and the node image of the settings; everything else is as in kind.yaml."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    settings = Settings(root=tmp_path, images="node=registry.example.com/node:1")
    instance = Instance(tmp_path / "instance.json")
    first = row(3)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    config = kind.Kind(settings, instance, Runtime("docker")).config()

    assert config["nodes"][0].pop("image") == "registry.example.com/node:1"
    assert [item.pop("hostPort") for item in config["nodes"][0]["extraPortMappings"]] == [first, first + 1, first + 2]
    assert {item["listenAddress"] for item in config["nodes"][0]["extraPortMappings"]} == {"127.0.0.1"}
    plain = kind_config()
    del plain["nodes"][0]["image"]
    for item in plain["nodes"][0]["extraPortMappings"]:
        del item["hostPort"]
    assert config == plain
    patched = kind.Kind(settings, instance, Runtime("docker")).config("1")
    assert [yaml.safe_load(patch) for patch in patched["kubeadmConfigPatches"]] == [{"kind": "KubeletConfiguration", "failCgroupV1": False}]


PROGRAMS = {
    "docker": 'echo "$*" >>"$CALLS"\ncase $1 in info) echo \'{"ServerVersion": "28", "OSType": "linux", "Architecture": "x86_64"}\' ;; esac\n',
    "kind": 'echo " • Starting control-plane 🕹️ ..."\nfor try in $(seq 100); do grep -q restart "$CALLS" && break; sleep 0.05; done\n'
    'echo "kind ends" >>"$CALLS"\necho >"$8"\n',
}


def test_containerd_gets_its_proxy_before_kubernetes_starts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So images are loaded while the cluster starts, and its start is not interrupted at the end."""
    for name, script in PROGRAMS.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
    instance = Instance(tmp_path / "instance.json")
    first = row(3)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    (tmp_path / ".local").mkdir()
    settings = Settings(root=tmp_path, proxy="http://proxy.example.com:3128")
    assert kind.Kind(settings, instance, Runtime("docker")).ensure(lambda _: None) == "created"
    calls = (tmp_path / "calls").read_text().splitlines()
    restarts = [number for number, call in enumerate(calls) if call.endswith("systemctl restart containerd")]
    assert len(restarts) == 1
    assert restarts[0] < calls.index("kind ends")
    assert instance.node_network_configured
