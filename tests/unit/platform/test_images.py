"""The images and ports that manifests, settings and code name, in agreement."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import yaml
from checkout import ROOT
from manifest_files import kind_config

from cluster.config.settings import DEFAULTS, IMAGES, Settings
from cluster.kube.documents import load
from cluster.platform.handles import Handles
from cluster.providers import NODE_PORTS

if TYPE_CHECKING:
    from pathlib import Path


def rendered(tmp_path: Path, **settings: Any) -> list[dict[str, Any]]:
    """Return the platform's objects as these settings make them."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    return Handles(Settings(root=tmp_path, **settings), {}).rendering.documents


def named(documents: list[dict[str, Any]]) -> dict[str, str]:
    """Return every image that objects name, by whom."""
    images: dict[str, str] = {}
    for document in documents:
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            images |= {item["name"]: item["image"] for item in [*spec.get("initContainers", []), *spec["containers"]]}
        if document["metadata"]["name"] == "workflow-controller-configmap":
            images["executor"] = yaml.safe_load(document["data"]["config"])["executor"]["image"]
    return images


def test_the_files_name_the_images_that_are_pulled() -> None:
    """Every image of the manifests, of kind.yaml and of the Dockerfile is one that up pulls, and none is pulled in vain."""
    images = named(load(sorted((ROOT / "manifests").glob("*/*.yaml"))))
    dockerfile = (ROOT / "singer-containers" / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    base = arguments["BASE"].replace("${PYTHON}", arguments["PYTHON"])

    assert {*images.values(), kind_config()["nodes"][0]["image"], base} == set(IMAGES.values())


def test_every_image_can_be_replaced(tmp_path: Path) -> None:
    """The images that the settings name are those that run: no public one is left anywhere."""
    mine = {name: f"registry.example.com/{name}:1" for name in IMAGES}
    images = named(rendered(tmp_path, images=",".join(f"{name}={image}" for name, image in mine.items())))

    wanted = {"workflow-controller": "controller", "argo-server": "server", "minio": "minio", "executor": "executor"}
    assert images == {who: mine[name] for who, name in wanted.items()}


def test_behind_a_mirror_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    """With mirrors for both registries no object names a public registry."""
    text = yaml.safe_dump_all(rendered(tmp_path, mirror="quay.io=registry.example.com,docker.io=registry.example.com"))

    assert "quay.io" not in text
    assert "docker.io" not in text
    assert text.count("registry.example.com") == 4


def test_everything_is_labelled_as_ours(tmp_path: Path) -> None:
    """Every object tells which checkout made it."""
    documents = rendered(tmp_path)
    assert len({document["metadata"]["labels"]["singer/instance"] for document in documents}) == 1


def test_node_ports_are_the_same_everywhere() -> None:
    """Each door on the laptop leads through kind.yaml to the Service behind it, on the port that the settings have by default."""
    services = [item for item in load(sorted((ROOT / "manifests").glob("*/*.yaml"))) if item["kind"] == "Service"]
    behind = {port["nodePort"]: port["port"] for service in services for port in service["spec"]["ports"] if "nodePort" in port}
    mapped = {item["containerPort"]: item["hostPort"] for item in kind_config()["nodes"][0]["extraPortMappings"]}

    assert behind == mapped
    assert {port: int(DEFAULTS[name]) for port, name in NODE_PORTS.items()} == mapped
