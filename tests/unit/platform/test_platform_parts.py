"""What the platform is made from: ports, claims, images, other programs' words, the plan, and what YAML and Python must agree on."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import os
import random
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from graphlib import TopologicalSorter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from cluster.config.settings import DEFAULTS, IMAGES, Settings, parse
from cluster.containers import images
from cluster.containers.ports import free
from cluster.containers.runtime import Runtime, full_name
from cluster.errors import SetupError
from cluster.kube.documents import load
from cluster.platform import plan
from cluster.platform.handles import Handles
from cluster.project.reader import Project
from cluster.providers import NODE_PORTS, kind
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).resolve().parents[3]
NAMES = ("port_argo", "port_s3", "port_console")


# -- ports


def row(count: int) -> int:
    """Return the first of *count* neighbouring ports that are free. Below the range from which the system gives ports to programs."""
    for first in random.sample(range(20000, 30000), 500):
        if all(free(port) for port in range(first, first + count)):
            return first
    return pytest.skip("no free ports")


def preferred(*ports: int) -> dict[str, int]:
    """Return ports by the names of their settings."""
    return dict(zip(NAMES, ports, strict=True))


def chosen(file: Path, *ports: int) -> list[int]:
    """Return what an instance makes of these preferences."""
    instance = Instance(file)
    instance.choose_ports(preferred(*ports))
    return [instance.ports[name] for name in NAMES]


def test_free_ports_are_as_preferred(tmp_path: Path) -> None:
    """Where nobody listens the ports are those of the settings."""
    first = row(3)
    assert chosen(tmp_path / "instance.json", first + 2, first, first + 1) == [first + 2, first, first + 1]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - as other people's programs do
def test_a_port_that_is_taken_gives_way_to_the_next(tmp_path: Path, address: str) -> None:
    """Where somebody listens, on the loopback interface or on all of them, the next free port is taken, and none twice."""
    first = row(5)
    with socket.create_server((address, first)), socket.create_server((address, first + 2)):
        assert chosen(tmp_path / "instance.json", first, first, first) == [first + 1, first + 3, first + 4]
    assert chosen(tmp_path / "instance.json", first, first + 1, first + 2) == [first, first + 1, first + 2]


def test_a_port_that_was_let_go_a_moment_ago_is_free(tmp_path: Path) -> None:
    """A connection that has just ended on a port does not drive the platform to another one."""
    first = row(3)
    with socket.create_server(("127.0.0.1", first)) as server, socket.create_connection(("127.0.0.1", first)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert chosen(tmp_path / "instance.json", first, first + 1, first + 2)[0] == first


def test_ports_stay_while_there_is_a_cluster(tmp_path: Path) -> None:
    """The ports of a cluster that is there are kept, though they are taken by the cluster itself and the settings have changed."""
    file, first = tmp_path / "instance.json", row(6)
    instance = Instance(file)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    instance.claim("singer")
    instance.finish()

    with socket.create_server(("127.0.0.1", first)):
        assert chosen(file, first + 3, first + 4, first + 5) == [first, first + 1, first + 2]
    Instance(file).forget()
    assert chosen(file, first + 3, first + 4, first + 5) == [first + 3, first + 4, first + 5]


def test_steps_write_down_at_the_same_time(tmp_path: Path) -> None:
    """What steps that overlap write down is all there afterwards, and none stumbles over another."""
    instance = Instance(tmp_path / "instance.json")
    things = [f"image {number}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(instance.bring, things))

    assert sorted(Instance(tmp_path / "instance.json").brought) == sorted(things)


# -- what is remembered


READ = (
    "import sys; from pathlib import Path; from cluster.providers.instance import Instance;"
    "i = Instance(Path(sys.argv[1])); print(i.id, i.owns('singer'), i.owns('other'), i.complete, sorted(i.ports.values()))"
)


def remembered(file: Path) -> str:
    """Return what a new process reads."""
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", READ, str(file)], env=environ, capture_output=True, text=True, check=True).stdout.strip()


def test_whose_the_cluster_is_is_remembered(tmp_path: Path) -> None:
    """That a cluster is being made, that it is made, and that it is gone again is known to every later command; the checkout's id stays."""
    file, first = tmp_path / ".local" / "instance.json", row(3)
    instance = Instance(file)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    ports = [first, first + 1, first + 2]
    assert not file.exists()

    instance.claim("singer")
    assert remembered(file) == f"{instance.id} True False False {ports}"
    instance.finish()
    assert remembered(file) == f"{instance.id} True False True {ports}"
    instance.forget()
    assert remembered(file) == f"{instance.id} False False False []"
    instance.claim("other")
    assert remembered(file) == f"{instance.id} False True False []"
    assert [item.name for item in file.parent.iterdir()] == ["instance.json"]
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_cluster_is_not_complete_when_it_is_begun_anew(tmp_path: Path) -> None:
    """A cluster that is made a second time counts as broken off until it is made, whatever the first one was."""
    file = tmp_path / "instance.json"
    instance = Instance(file)
    instance.claim("singer")
    instance.finish()
    instance.claim("singer")

    assert Instance(file).owns("singer")
    assert not Instance(file).complete


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0" * 64, b"\xff\xfe", b"null", b"[]", b'"x"', b"7", b'{"id": "0123abcd", "clus'], ids=repr
)
def test_a_file_that_was_damaged(tmp_path: Path, content: bytes) -> None:
    """From a damaged file nothing is believed, above all not that a cluster is ours, and the next command writes a sound one."""
    file = tmp_path / "instance.json"
    file.write_bytes(content)
    instance = Instance(file)

    assert re.fullmatch(r"[0-9a-f]{8}", instance.id)
    assert not instance.owns("singer")
    assert not instance.complete
    assert file.read_bytes() == content
    instance.claim("singer")
    assert Instance(file).id == instance.id
    assert Instance(file).owns("singer")


def test_checkouts_are_told_apart(tmp_path: Path) -> None:
    """Two checkouts never have the same id, so that neither takes the other's objects for its own."""
    assert len({Instance(tmp_path / str(number)).id for number in range(50)}) == 50


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """Where the note cannot be written the user is told so, and no cluster is begun."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError) as caught:
        Instance(tmp_path / "file" / "instance.json").claim("singer")
    assert caught.value.code == "E-STORE"


# -- the settings of images


def test_images_are_the_public_ones_by_default() -> None:
    """Without a setting every image is the one that is written down, and its registry stands in its name."""
    settings = parse({}, {})
    assert {name: settings.image(name) for name in IMAGES} == IMAGES
    assert all("." in image.partition("/")[0] for image in IMAGES.values())


def test_an_image_is_replaced_by_name() -> None:
    """singer.images replaces those that it names, word for word, and no others."""
    settings = parse({"images": " minio = registry.example.com:5000/silo:1@sha256:ab , python=python:3.12-slim,"}, {})

    assert settings.image("minio") == "registry.example.com:5000/silo:1@sha256:ab"
    assert settings.image("python") == "python:3.12-slim"
    assert settings.image("node") == IMAGES["node"]


def test_a_mirror_takes_the_place_of_a_registry() -> None:
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


# -- connectors' images


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


def tag(root: Path, name: str = "tap-x", **settings: str) -> str:
    """Return a connector's image."""
    return images.tag(Project(root).connector(name), Settings(root=root, **settings))


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
    "entrypoint": writes("singer-containers/entrypoint.py", "print(1)\n"),
    "lock": writes("singer-configs/tap-x/requirements.lock", "requests==2\n"),
    "a file of the project": writes("singer-containers/tap-x/tap_x.py", "x = 2\n"),
    "another file in the project": writes("singer-containers/tap-x/schemas/rates.json", "{}"),
    "a file of the project has another name": lambda root: (root / "singer-containers/tap-x/tap_x.py").rename(root / "singer-containers/tap-x/x.py"),
    "capabilities": writes(YAML, "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state]\n"),
    "executable": writes(YAML, "kind: tap\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\nexecutable: other\n"),
    "kind": writes(YAML, "kind: target\npip_url: singer-containers/tap-x\ncapabilities: [state, catalog]\n"),
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
    writes(f"{folder}/target/manifest.json", "{}")(checkout)
    assert tag(checkout, "dbt-x") == before
    writes(f"{folder}/models/m.sql", "select 2")(checkout)
    assert tag(checkout, "dbt-x") != before


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
        found = images.arguments(Project(checkout).connector("tap-y"), Settings(root=checkout, mirror=mirror))
        assert found["BASE"] == f"{registry}/library/python:3.11-slim-bookworm"


# -- other programs' words

ARGO = "quay.io/argoproj/argocli:v4.1.2"
NODE = IMAGES["node"]
DAEMON = "Error response from daemon: "
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


# -- the plan


def graph() -> TopologicalSorter[str]:
    """Return what needs what."""
    titles = {step.title for step in plan.up(Settings())}
    return TopologicalSorter({step.title: titles.intersection(step.needs) for step in plan.up(Settings())})


def test_the_plan_can_be_done() -> None:
    """Everything that a step needs is a step of the plan, none needs itself in a circle, and none stands before what it needs."""
    titles = [step.title for step in plan.up(Settings())]

    assert len(set(titles)) == len(titles)
    assert {need for step in plan.up(Settings()) for need in step.needs} <= {*titles, "Kept data"}
    assert set(graph().static_order()) == set(titles)
    assert all(titles.index(need) < titles.index(step.title) for step in plan.up(Settings()) for need in step.needs if need in titles)


def test_what_takes_longest_begins_at_once() -> None:
    """Making the cluster, pulling and building overlap: none of them waits for anything."""
    started = graph()
    started.prepare()
    ready = set(started.get_ready())

    assert ready == {step.title for step in plan.up(Settings()) if not step.needs}
    assert {"Cluster", "Images of Argo and MinIO", "Images of connectors"} <= ready


def test_every_step_has_a_time() -> None:
    """Every step ends some day: none may wait for longer than five minutes."""
    assert all(0 < step.budget <= 300 for step in plan.up(Settings()))


# -- what YAML and Python agree on


def rendered(tmp_path: Path, **settings: str) -> list[dict[str, Any]]:
    """Return the platform's objects as these settings make them."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    return Handles(Settings(root=tmp_path, **settings), {}).documents


def named(documents: list[dict[str, Any]]) -> dict[str, str]:
    """Return every image that objects name, by whom."""
    found = {}
    for document in documents:
        if document["kind"] == "Deployment":
            spec = document["spec"]["template"]["spec"]
            found |= {item["name"]: item["image"] for item in [*spec.get("initContainers", []), *spec["containers"]]}
        if document["metadata"]["name"] == "workflow-controller-configmap":
            found["executor"] = yaml.safe_load(document["data"]["config"])["executor"]["image"]
    return found


def kind_config() -> dict[str, Any]:
    """Return kind's configuration as it stands in the repository."""
    return load([ROOT / "manifests" / "kind.yaml"])[0]


def test_the_files_name_the_images_that_are_pulled() -> None:
    """Every image of the manifests, of kind.yaml and of the Dockerfile is one that up pulls, and none is pulled in vain."""
    found = named(load(sorted((ROOT / "manifests").glob("*/*.yaml"))))
    dockerfile = (ROOT / "singer-containers" / "Dockerfile").read_text(encoding="utf-8")
    arguments = dict(re.findall(r"^ARG (\w+)=(\S+)$", dockerfile, re.MULTILINE))
    base = arguments["BASE"].replace("${PYTHON}", arguments["PYTHON"])

    assert {*found.values(), kind_config()["nodes"][0]["image"], base} == set(IMAGES.values())


def test_every_image_can_be_replaced(tmp_path: Path) -> None:
    """Whatever images the settings name are those that run: no public one is left anywhere."""
    mine = {name: f"registry.example.com/{name}:1" for name in IMAGES}
    found = named(rendered(tmp_path, images=",".join(f"{name}={image}" for name, image in mine.items())))

    wanted = {"workflow-controller": "controller", "argo-server": "server", "minio": "minio", "executor": "executor"}
    assert found == {who: mine[name] for who, name in wanted.items()}


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
    behind = {port["nodePort"]: port["port"] for service in services for port in service["spec"]["ports"]}
    mapped = {item["containerPort"]: item["hostPort"] for item in kind_config()["nodes"][0]["extraPortMappings"]}

    assert behind == mapped
    assert {port: int(DEFAULTS[name]) for port, name in NODE_PORTS.items()} == mapped


def test_the_cluster_is_made_with_the_ports_and_the_image_that_were_chosen(tmp_path: Path) -> None:
    """The program kind is given the instance's own ports and the node image of the settings; everything else is as in kind.yaml."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    settings = Settings(root=tmp_path, images="node=registry.example.com/node:1")
    instance = Instance(tmp_path / "instance.json")
    first = row(3)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    found = kind.Kind(settings, instance, Runtime("docker")).config()

    assert found["nodes"][0].pop("image") == "registry.example.com/node:1"
    assert [item.pop("hostPort") for item in found["nodes"][0]["extraPortMappings"]] == [first, first + 1, first + 2]
    assert {item["listenAddress"] for item in found["nodes"][0]["extraPortMappings"]} == {"127.0.0.1"}
    plain = kind_config()
    del plain["nodes"][0]["image"]
    for item in plain["nodes"][0]["extraPortMappings"]:
        del item["hostPort"]
    assert found == plain
