"""What a connector's image is made from, and what a registry answers about it."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any

import pytest

from cluster.config.settings import DIGESTS, IMAGES, Settings
from cluster.containers import images
from cluster.containers.runtime import Runtime
from cluster.project.reader import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ARGO = "quay.io/argoproj/argocli:v4.1.2"
NODE = IMAGES["node"]
DAEMON = "Error response from daemon: "


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Return a small checkout with one tap that lives in it."""
    files = {
        "singer-containers/Dockerfile": "FROM x\n",
        "singer-containers/entrypoint.py": "print()\n",
        "singer-containers/tap-x/pyproject.toml": '[project]\nname = "tap-x"\nversion = "1"\n',
        "singer-containers/tap-x/tap_x.py": "x = 1\n",
        "singer-configs/tap-x/connector.yaml": "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\n",
        "singer-configs/tap-x/config.json": "{}",
        "singer-configs/tap-x/requirements.lock": "requests==1\n",
        "singer-configs/tap-y/connector.yaml": "kind: tap\npip_url: tap-y==1\n",
        "singer-configs/tap-y/requirements.lock": "requests==1\n",
    }
    for name, text in files.items():
        file = tmp_path / "checkout" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "checkout"


def test_a_tag_that_must_not_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """MinIO is pulled by its digest, and has its usual name afterwards; an image from a mirror is pulled by its name."""
    program = tmp_path / "docker"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    images.pull(IMAGES["minio"], Runtime("docker"), lambda _: None)
    images.pull("mirror.example.com/minio/minio:1", Runtime("docker"), lambda _: None)
    repository, _, _ = IMAGES["minio"].rpartition(":")
    exact = f"{repository}@{DIGESTS[IMAGES['minio']]}"
    assert (tmp_path / "calls").read_text().splitlines() == [
        f"pull {exact}",
        f"tag {exact} {IMAGES['minio']}",
        "pull mirror.example.com/minio/minio:1",
    ]


def tag(root: Path, name: str = "tap-x", **settings: Any) -> str:
    """Return a connector's image."""
    return images.tag(Project(root).connector(name), Settings(root=root, tool=root, **settings))


def writes(name: str, text: str) -> Callable[[Path], object]:
    """Return a change: this file has this content."""

    def write(root: Path) -> None:
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    return write


YAML = "singer-configs/tap-x/connector.yaml"
BUILT_FROM = {
    "Dockerfile": writes("singer-containers/Dockerfile", "FROM y\n"),
    "uv": writes("singer-containers/build.lock", "uv==2\n"),
    "entrypoint": writes("singer-containers/entrypoint.py", "print(1)\n"),
    "lock": writes("singer-configs/tap-x/requirements.lock", "requests==2\n"),
    "a file of the project": writes("singer-containers/tap-x/tap_x.py", "x = 2\n"),
    "another file in the project": writes("singer-containers/tap-x/schemas/rates.json", "{}"),
    "a data file of the project": writes("singer-containers/tap-x/tap_x/rates.csv", "a,b\n"),
    "the project's manifest": writes("singer-containers/tap-x/pyproject.toml", '[project]\nname = "tap-x"\nversion = "2"\n'),
    "a package named as what builds leave": writes("singer-containers/tap-x/tap_x/build/x.py", "x"),
    "a package named tests": writes("singer-containers/tap-x/tap_x/tests/x.py", "x"),
    "a text in a package": writes("singer-containers/tap-x/tap_x/notes.md", "x"),
    "a commit of git": writes("singer-configs/tap-x/requirements.lock", f"tap-x @ git+https://example.com/tap-x@{'a' * 40}\n"),
    "a file of the project has another name": lambda root: (root / "singer-containers/tap-x/tap_x.py").rename(root / "singer-containers/tap-x/x.py"),
    "capabilities": writes(YAML, "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state]\n"),
    "executable": writes(YAML, "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\nexecutable: other\n"),
    "kind": writes(YAML, "kind: target\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\n"),
    "system packages": writes(YAML, "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\nsystem_packages: [libpq5]\n"),
    "python": writes(YAML, 'kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\npython: "3.12"\n'),
}  # fmt: skip
NOT_BUILT_FROM = {
    "config": writes("singer-configs/tap-x/config.json", '{"a": 1}'),
    "catalog": writes("singer-configs/tap-x/catalog.json", '{"streams": []}'),
    "outputs": writes(YAML, 'kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\noutputs: "*.csv"\n'),
    "a comment": writes(YAML, "# Ours.\nkind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\n"),
    "another connector": writes("singer-configs/tap-y/requirements.lock", "requests==2\n"),
    "the project's bytecode": writes("singer-containers/tap-x/__pycache__/tap_x.cpython-313.pyc", "x"),
    "the project's tests": writes("singer-containers/tap-x/tests/test_x.py", "x"),
    "a pipeline": writes("singer-configs/pipelines.yaml", "p: {tap: tap-x, target: tap-y}\n"),
    "the time of a file": lambda root: os.utime(root / "singer-containers/entrypoint.py", (1, 1)),
    "secrets": writes(".env", "TOKEN=1\n"),
}


@pytest.mark.parametrize("what", BUILT_FROM)
def test_an_edit_of_what_an_image_is_made_from(checkout: Path, what: str) -> None:
    """After an edit of anything that is in an image, a new image is built: nothing stale is run."""
    before = tag(checkout)
    BUILT_FROM[what](checkout)
    assert tag(checkout) != before


@pytest.mark.parametrize("what", NOT_BUILT_FROM)
def test_an_edit_of_anything_else(checkout: Path, what: str) -> None:
    """An edit of what is not in an image builds nothing."""
    before = tag(checkout)
    NOT_BUILT_FROM[what](checkout)
    assert tag(checkout) == before


def test_the_image_of_a_transform_has_its_project(checkout: Path) -> None:
    """An edit of a model makes another image; what dbt leaves in the folder when it is run there by hand does not."""
    folder = "singer-configs/dbt-x"
    for name, text in {
        "connector.yaml": "kind: transform\npip_url: dbt-core\n",
        "dbt_project.yml": "name: x\n",
        "models/m.sql": "select 1",
    }.items():
        writes(f"{folder}/{name}", text)(checkout)
    before = tag(checkout, "dbt-x")
    for left in ("target/run.sql", "logs/dbt.log", "macros/__pycache__/x.pyc"):
        writes(f"{folder}/{left}", "x")(checkout)
    assert tag(checkout, "dbt-x") == before
    seen = {before}
    for edited in ("models/m.sql", "models/target/m.sql", "tests/t.sql", "models/docs.md", "dbt_packages/p/m.sql"):
        writes(f"{folder}/{edited}", "select 2")(checkout)
        seen.add(tag(checkout, "dbt-x"))
    assert len(seen) == 6


def test_what_the_builder_must_make(checkout: Path) -> None:
    """An edit of the connector's own code leaves the dependencies as they are; anything else changes them."""

    def dependencies() -> str:
        return images.dependencies(Project(checkout).connector("tap-x"), Settings(root=checkout, tool=checkout))

    before = dependencies()
    for own in ("a file of the project", "a data file of the project"):
        BUILT_FROM[own](checkout)
        assert dependencies() == before
    seen = {before}
    for other in ("Dockerfile", "uv", "entrypoint", "lock", "capabilities", "executable", "kind", "system packages", "python"):
        BUILT_FROM[other](checkout)
        seen.add(dependencies())
    assert len(seen) == 10


def test_settings_that_make_another_image(checkout: Path) -> None:
    """Another base image makes another image, be it named or from a mirror; the images of the platform and the ports do not."""
    base = tag(checkout)
    assert len({base, tag(checkout, images="python=python:3.13-slim"), tag(checkout, mirror="docker.io=registry.example.com")}) == 3
    assert tag(checkout, images="minio=x:1", mirror="quay.io=y", port_argo=3000, cluster="other") == base


def test_images_of_two_checkouts(checkout: Path) -> None:
    """The same files in another folder make the same image; two connectors with the same lock have an image each."""
    elsewhere = checkout.rename(checkout.with_name("elsewhere"))
    first = tag(elsewhere)
    back = elsewhere.rename(checkout)

    assert tag(back) == first
    assert tag(back, "tap-y").partition(":")[0] != first.partition(":")[0]
    assert re.fullmatch(r"localhost/singer/tap-x:[0-9a-f]{12}", first)


def test_a_connector_with_a_python_of_its_own(checkout: Path) -> None:
    """A connector that asks for a Python is built from the base image of that Python, also behind a mirror."""
    writes("singer-configs/tap-y/connector.yaml", 'kind: tap\npip_url: tap-y==1\npython: "3.11"\n')(checkout)
    for mirror, registry in (("", "docker.io"), ("docker.io=localhost:5000", "localhost:5000")):
        arguments = images.arguments(Project(checkout).connector("tap-y"), Settings(root=checkout, mirror=mirror))
        assert arguments["BASE"] == f"{registry}/library/python:3.11-slim-bookworm"
        assert arguments["CONNECTOR_PYTHON"] == "3.11", "a base image with another Python is refused"


REGISTRIES = [
    (ARGO, DAEMON + "manifest for quay.io/argoproj/argocli:v4.1.2 not found: manifest unknown: manifest unknown", "no image of that name", "singer.images"),
    (ARGO, DAEMON + f'failed to resolve reference "{ARGO}": {ARGO}: not found', "no image of that name", "singer.images"),
    (ARGO, DAEMON + "unauthorized: access to the requested resource is not authorized", "wants a login", "docker login quay.io"),
    (ARGO, DAEMON + "pull access denied for argoproj/argocli, repository does not exist or may require 'docker login': denied: requested access to the resource is denied", "login, or the image is gone", "docker login quay.io"),
    (ARGO, DAEMON + 'Head "https://quay.io/v2/argoproj/argocli/manifests/v4.1.2": denied', "login", "docker login quay.io"),
    (NODE, DAEMON + "toomanyrequests: You have reached your unauthenticated pull rate limit. https://www.docker.com/increase-rate-limit", "too many requests", "Wait"),
    (NODE, "failed to copy: httpReadSeeker: failed open: unexpected status code https://registry-1.docker.io/v2/kindest/node/manifests/x: 429 Too Many Requests - Server message: toomanyrequests: You have reached your pull rate limit.", "too many requests", "Wait"),
    (ARGO, DAEMON + "unexpected status from HEAD request to https://quay.io/v2/argoproj/argocli/manifests/v4.1.2: 429 Too Many Requests", "too many requests", "Wait"),
    (ARGO, DAEMON + 'Get "https://quay.io/v2/": dial tcp: lookup quay.io on 127.0.0.53:53: no such host', "name is not known", "Connect to the network"),
    (ARGO, DAEMON + 'Get "https://quay.io/v2/": net/http: request canceled while waiting for connection (Client.Timeout exceeded while awaiting headers)', "does not answer", "Connect to the network"),
    (ARGO, DAEMON + 'Get "https://quay.io/v2/": dial tcp 34.224.1.1:443: i/o timeout', "does not answer", "Connect to the network"),
    (ARGO, DAEMON + 'Get "https://quay.io/v2/": dial tcp 127.0.0.1:443: connect: connection refused', "does not answer", "Connect to the network"),
    (ARGO, DAEMON + 'Get "https://quay.io/v2/": tls: failed to verify certificate: x509: certificate signed by unknown authority', "certificate is not trusted", "CA certificate"),
    (ARGO, "v4.1.2: Pulling from argoproj/argocli\n" + DAEMON + "write /var/lib/docker/tmp/x: input/output error", "write /var/lib/docker/tmp/x: input/output error.", "again"),
    (ARGO, "", "no reason", "again"),
]  # fmt: skip


@pytest.mark.parametrize(("image", "text", "answer", "remedy"), REGISTRIES)
def test_what_a_registry_answers(image: str, text: str, answer: str, remedy: str) -> None:
    """An image that cannot be pulled is named with the registry's reason in plain words, what to do, and the mirror as the other way."""
    problem, hint = images.unpulled(image, text)

    assert problem.startswith(f"{image} cannot be pulled")
    assert answer in problem
    assert problem.endswith(".")
    assert "\n" not in problem
    assert remedy in hint
    assert f"INVOKE_SINGER_MIRROR={image.partition('/')[0]}=" in hint
