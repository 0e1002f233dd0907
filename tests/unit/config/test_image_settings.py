"""The settings that choose images, and values that no setting takes."""

from __future__ import annotations

import pytest

from cluster.config.settings import IMAGES, parse
from cluster.errors import SetupError


def test_images_are_the_public_ones_by_default() -> None:
    """Without a setting every image is the one that is written down, and its name includes its registry."""
    settings = parse({}, {})
    assert {name: settings.image(name) for name in IMAGES} == IMAGES
    assert all("." in image.partition("/")[0] for image in IMAGES.values())


def test_an_image_is_replaced_by_name() -> None:
    """singer.images replaces those that it names, word for word, and no others."""
    settings = parse({"images": " minio = registry.example.com:5000/silo:1@sha256:ab , python=python:3.12-slim,"}, {})

    assert settings.image("minio") == "registry.example.com:5000/silo:1@sha256:ab"
    assert settings.image("python") == "python:3.12-slim"
    assert settings.image("node") == IMAGES["node"]


def test_a_mirror_replaces_a_registry() -> None:
    """singer.mirror replaces a registry in every image that comes from it; an image that is named goes before."""
    settings = parse({"mirror": "quay.io=registry.example.com/quay, docker.io=localhost:5000", "images": "minio=quay.io/my/minio:1"}, {})

    assert settings.image("controller") == IMAGES["controller"].replace("quay.io", "registry.example.com/quay")
    assert settings.image("node") == IMAGES["node"].replace("docker.io", "localhost:5000")
    assert settings.image("minio") == "quay.io/my/minio:1"
    only = parse({"mirror": "quay.io=registry.example.com"}, {})
    assert only.image("python") == IMAGES["python"]


REFUSED = [
    ("images", "minoi=x:1"),
    ("images", "minio"),
    ("images", "minio="),
    ("images", "=x:1"),
    ("images", "x:1"),
    ("images", "controller=a:1,server="),
    ("mirror", "quay.io"),
    ("mirror", "quay.io="),
    ("mirror", "=registry.example.com"),
    ("cluster", ""),
    ("cluster", "Singer"),
    ("cluster", "my_cluster"),
    ("cluster", "-x"),
    ("cluster", "x-"),
    ("cluster", "x" * 41),
    ("cluster", "a b"),
    ("registry", "https://registry.example.com"),
    ("registry", "Registry/x"),
    ("registry", "registry.example.com/"),
    ("port_argo", ""),
    ("port_argo", "80"),
    ("port_s3", "65001"),
    ("port_s3", "9000/tcp"),
    ("port_console", "-9001"),
    ("port_console", "²"),
]


@pytest.mark.parametrize(("key", "value"), REFUSED)
def test_what_cannot_be_chosen(key: str, value: str) -> None:
    """A value that cannot work is refused with the setting's name and what is allowed, before anything is made."""
    with pytest.raises(SetupError) as caught:
        parse({key: value}, {})
    assert caught.value.code == "E-SETTING"
    assert caught.value.problem.startswith(f"singer.{key} ")
    assert "allowed" in caught.value.problem
