"""What is read from the answers of container runtimes: real answers, whose sources are in ``runtimes/README.md``."""

# ruff: noqa: E501 - a table: a case is a line

from __future__ import annotations

import json
import os
import platform
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from cluster.containers.runtime import Info, Runtime, full_name, read_info

ANSWERS = Path(__file__).parent / "runtimes"


class Says(NamedTuple):
    """What we make of an answer."""

    program: str
    words: str
    version: str
    platform: str
    cpus: int
    memory: float
    """In GiB, as people set it."""
    rootless: bool
    cgroups: str
    apart: bool
    """Whether it runs in a virtual machine, seen from Linux."""
    root: str = "/var/lib/docker"
    delegated: bool = True


RUNTIMES = {
    "docker-desktop-macos-arm64": Says("docker", "Docker Desktop 27.0 (8.2 GB, 12 CPUs)", "27.0.3", "linux/arm64", 12, 7.657, False, "2", True),
    "docker-desktop-linux": Says("docker", "Docker Desktop 29.4 (3.9 GB, 12 CPUs)", "29.4.1", "linux/amd64", 12, 3.658, False, "2", True),
    "docker-desktop-wsl": Says("docker", "Docker Desktop 20.10 (4.1 GB, 6 CPUs)", "20.10.21", "linux/amd64", 6, 3.795, False, "1", True),
    "docker-wsl": Says("docker", "docker 23.0 (17 GB, 12 CPUs)", "23.0.3", "linux/amd64", 12, 15.59, False, "2", False),
    "orbstack-macos": Says("docker", "OrbStack 28.5 (17 GB, 6 CPUs)", "28.5.2", "linux/amd64", 6, 15.67, False, "2", True),
    "colima-macos-arm64": Says("docker", "Colima 29.5 (2.1 GB, 2 CPUs)", "29.5.2", "linux/arm64", 2, 1.913, False, "2", True),
    "rancher-desktop-macos-arm64": Says("docker", "Rancher Desktop 29.5 (4.1 GB, 2 CPUs)", "29.5.3", "linux/arm64", 2, 3.824, False, "2", True),
    "rancher-desktop-wsl": Says("docker", "Rancher Desktop (25 GB, 6 CPUs)", "", "linux/amd64", 6, 23.47, False, "", True, "/"),
    "docker-debian": Says("docker", "docker 20.10 (25 GB, 2 CPUs)", "20.10.24+dfsg1", "linux/amd64", 2, 23.541, False, "1", False),
    "docker-rootless-debian": Says("docker", "docker 24.0 (16 GB, 8 CPUs)", "24.0.6", "linux/amd64", 8, 15.03, True, "2", False, "/home/user/.local/share/docker"),
    "docker-rootless-ubuntu-cgroup-v1": Says("docker", "docker", "", "linux/amd64", 0, 0, True, "1", False, "/"),
    "docker-snap-ubuntu": Says("docker", "docker 28.4 (17 GB, 2 CPUs)", "28.4.0", "linux/amd64", 2, 15.56, False, "2", False, "/var/snap/docker/common/var-lib-docker"),
    "nerdctl-centos": Says("nerdctl", "containerd 1.5 (67 GB, 24 CPUs)", "1.5.9", "linux/amd64", 24, 62.65, False, "1", False, "/"),
    "podman-machine-macos-arm64": Says("podman", "podman 6.1 (2.0 GB, 5 CPUs)", "6.1.1", "linux/arm64", 5, 1.896, True, "2", True, "/var/home/core/.local/share/containers/storage"),
    "podman-rootless-fedora": Says("podman", "podman 4.0 (16 GB, 8 CPUs)", "4.0.0", "linux/amd64", 8, 15.275, True, "2", False, "/home/user/.local/share/containers/storage", delegated=False),
}  # fmt: skip


def answer(name: str, program: str = "docker") -> Info:
    """Return the runtime that a recorded answer describes."""
    return read_info((ANSWERS / f"{name}.json").read_text(encoding="utf-8"), program)


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_runtime_is_known_by_what_it_says(name: str) -> None:
    """The runtime's name, version, platform, size and limits are read from its own answer, for every product."""
    says = RUNTIMES[name]
    info = answer(name, says.program)

    assert str(info) == says.words
    assert (info.version, info.platform, info.cpus, info.cgroups) == (says.version, says.platform, says.cpus, says.cgroups)
    assert info.memory / 2**30 == pytest.approx(says.memory, abs=0.001)
    assert (info.rootless, info.delegated, info.root) == (says.rootless, says.delegated, says.root)
    assert info.in_a_machine_of_its_own == (says.apart or platform.system() != "Linux")


def test_every_recorded_answer_is_used_and_has_a_source() -> None:
    """No answer lies about unused, and each one's figures have a source."""
    names = {file.stem for file in ANSWERS.glob("*.json")}
    sourced = set(re.findall(r"^\| `([a-z0-9-]+)` ", (ANSWERS / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    assert names == set(RUNTIMES) == sourced


def test_podman_under_the_name_of_docker() -> None:
    """Where docker is podman's other name, it is known as podman."""
    assert answer("podman-rootless-fedora", "docker").product == "podman"


@pytest.mark.parametrize(("key", "name", "product"), [("Name", "nicolima", "docker"), ("Name", "colima-work", "Colima"), ("Name", "docker desktop", "docker"), ("OperatingSystem", "Colima Linux", "docker")])  # fmt: skip
def test_a_machine_with_a_similar_name(key: str, name: str, product: str) -> None:
    """A machine that only sounds like a product is not taken for it; a profile of Colima's is."""
    assert read_info(f'{{"{key}": "{name}"}}', "docker").product == product


def test_the_disk_of_a_machine_of_its_own_is_not_ours() -> None:
    """Free disk is known only if the images are on this machine; a folder that we may not see counts with the one above it."""
    assert answer("docker-desktop-macos-arm64").disk is None
    assert answer("podman-machine-macos-arm64", "podman").disk is None
    if platform.system() == "Linux":
        assert (answer("docker-rootless-debian").disk or 0) > 0


@pytest.mark.parametrize("text", ["", "null", "[]", "docker", "7"])
def test_an_answer_that_is_none(text: str) -> None:
    """What is no answer is not taken for one."""
    with pytest.raises((ValueError, TypeError)):
        read_info(text, "docker")


def test_registries_without_tls() -> None:
    """The registries that docker or podman is configured to use without TLS are known, and no others."""
    docker = {"public.example.com": {"Secure": True}, "lan:5000": {"Secure": False}}
    podman = {"search": ["docker.io"], "public.example.com": {"Insecure": False}, "lan:5000": {"Insecure": True}}
    assert read_info(json.dumps({"RegistryConfig": {"IndexConfigs": docker}}), "docker").insecure == ("lan:5000",)
    assert read_info(json.dumps({"host": {}, "registries": podman}), "podman").insecure == ("lan:5000",)
    assert answer("docker-debian").insecure == ()


FULL_NAMES = {
    "python:3.13": "docker.io/library/python:3.13",
    "localhost/singer/tap-x:0123456789ab": "localhost/singer/tap-x:0123456789ab",
    "singer/tap-x:0123456789ab": "docker.io/singer/tap-x:0123456789ab",
    "docker.io/library/python:3.13-slim-bookworm": "docker.io/library/python:3.13-slim-bookworm",
    "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z": "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z",
    "localhost/x:1": "localhost/x:1",
    "localhost:5000/x/y:1": "localhost:5000/x/y:1",
    "registry:5000/x:1": "registry:5000/x:1",
    "docker.io/kindest/node:v1.37.0@sha256:ab": "docker.io/kindest/node:v1.37.0",
    "localhost:5000/x@sha256:ab": "localhost:5000/x@sha256:ab",
}


@pytest.mark.parametrize(("image", "name"), FULL_NAMES.items())
def test_an_image_is_recognised_on_the_node(image: str, name: str) -> None:
    """However an image is written in the settings, it is recognised among those on the node, and not loaded again."""
    assert full_name(image) == name


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a docker that has the images a and b alone on PATH. Return the file of its calls."""
    file = tmp_path / "calls"
    script = tmp_path / "docker"
    script.write_text(
        f"#!/bin/sh\necho \"$*\" >>'{file}'\n[ $1 = image ] || exit 0\nshift 4\n"
        'for image; do case $image in a|b) echo linux/amd64 ;; *) code=1 ;; esac; done\nexit "${code:-0}"\n'
    )
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    return file


def test_a_question_is_asked_once_until_something_acts(calls: Path) -> None:
    """Answers are kept for all threads, and only while a command keeps them."""
    runtime = Runtime("docker")
    runtime.containers("x")
    runtime.keep_answers()
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(runtime.containers, "xxxx"))
    runtime.keep_answers()
    runtime.containers("x")
    assert len(calls.read_text().splitlines()) == 2

    with runtime.acting():
        runtime.containers("x")
        runtime.containers("x")
    assert len(calls.read_text().splitlines()) == 4
    for _ in range(3):
        runtime.containers("x")
    assert len(calls.read_text().splitlines()) == 5

    runtime.forget_answers()
    runtime.containers("x")
    runtime.containers("x")
    assert len(calls.read_text().splitlines()) == 7


@pytest.mark.parametrize(
    ("images", "platform", "absent", "asked"),
    [
        ("ab", "", "", 1),
        ("ab", "linux/amd64", "", 1),
        ("", "", "", 0),
        ("axb", "", "x", 4),
        ("ab", "linux/arm64", "ab", 3),
    ],
)
def test_images_that_are_there_are_asked_for_in_one_call(calls: Path, images: str, platform: str, absent: str, asked: int) -> None:
    """Only if one is missing, each is asked for by itself."""
    assert Runtime("docker").absent(list(images), platform) == list(absent)
    assert len(calls.read_text().splitlines() if calls.exists() else []) == asked
