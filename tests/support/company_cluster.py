"""A real cluster that somebody else has made, and what a company has in it: an Argo, an S3, people with few rights."""

from __future__ import annotations

import json
import secrets
import shutil
import socket
import subprocess
import urllib.request
from contextlib import contextmanager, suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
import real_postgres as database
import yaml
from checkout import ROOT
from platform_checkout import OTHER, Platform, gateway, run, variables_set, why_not
from processes import eventually
from real_registry import Relay

from cluster.config.settings import parse
from cluster.store.minio_admin import Admin
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from real_postgres import Postgres
    from real_registry import Distribution

OURS = "app.kubernetes.io/part-of=singer"


def image(name: str) -> str:
    """Return one of the images that the settings choose."""
    return parse({"images": variables_set().get("INVOKE_SINGER_IMAGES", "")}, {}).image(name)


KIND = """
kind: Cluster
apiVersion: kind.x-k8s.io/v1alpha4
containerdConfigPatches:
  - |-
    [plugins."io.containerd.cri.v1.images".registry]
      config_path = "/etc/containerd/certs.d"
"""
"""Nodes whose containerd reads for each registry where it is."""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Yield the kubeconfig of a cluster that somebody else has made."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    file = tmp_path_factory.mktemp("elsewhere") / "config"
    subprocess.run(["kind", "delete", "cluster", "--name", OTHER, "--kubeconfig", str(file)], capture_output=True, check=False)
    words = ["--name", OTHER, "--image", image("node"), "--wait", "180s", "--kubeconfig", str(file), "--config", "-"]
    run("kind", "create", "cluster", *words, stdin=KIND)
    yield file
    run("kind", "delete", "cluster", "--name", OTHER, "--kubeconfig", str(file))


def answers(url: str) -> int:
    """Return the status that an address answers with."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return int(answer.status)


STORE = """
apiVersion: v1
kind: Namespace
metadata: {name: store}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: s3, namespace: store}
spec:
  selector: {matchLabels: {app: s3}}
  template:
    metadata: {labels: {app: s3}}
    spec:
      containers:
        - name: s3
          image: IMAGE
          imagePullPolicy: IfNotPresent
          command: [minio, server, /data]
          env: [{name: MINIO_ROOT_USER, value: company}, {name: MINIO_ROOT_PASSWORD, value: company-password}]
---
apiVersion: v1
kind: Service
metadata: {name: s3, namespace: store}
spec:
  type: NodePort
  selector: {app: s3}
  ports: [{port: 9000, nodePort: 30999}]
"""


def store(platform: Platform) -> str:
    """Install an S3 that is not ours; return its address as soon as it answers there."""
    platform.kubectl("apply", "-f", "-", stdin=STORE.replace("IMAGE", image("minio")))
    platform.kubectl("-n", "store", "wait", "--for=condition=Available", "--timeout=120s", "deployment", "s3")
    address = run("docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", f"{OTHER}-control-plane").strip()
    url = f"http://{address}:30999"

    def answering() -> bool:
        with suppress(OSError):
            return answers(f"{url}/minio/health/live") == HTTPStatus.OK
        return False

    eventually(answering, within=60)
    return url


ENVIRONMENT = """
context: kind-{cluster}
instance: rates-team
argo: use
store: use
s3_endpoint: {endpoint}
s3_credentials: secret
s3_secret: lake-keys
bucket_configs: lake/singer/configs
bucket_artifacts: lake/singer/artifacts
bucket_outputs: lake/singer/outputs
"""
COMPANY = {"accesskey": "company", "secretkey": "company-password"}
"""What opens all of the company's S3."""
KEYS = {"accesskey": "pipelines", "secretkey": "pipelines-password"}
"""What opens our folders of it."""
DEMO = "exchange-rates-to-csv"


@pytest.fixture
def guest(tmp_path: Path, shared: Path, elsewhere: Path) -> Iterator[Platform]:
    """Yield a checkout with an environment: a cluster with an Argo and an S3 of other people's, a bucket, and keys for a part of it."""
    made = Platform(tmp_path / "company", shared, OTHER, KUBECONFIG=str(elsewhere))
    run("kind", "load", "docker-image", *map(image, ("controller", "executor", "server", "minio")), "--name", OTHER)
    folder = ROOT / "manifests"
    files = [folder / "namespace.yaml", *sorted((folder / "argo").glob("*.yaml"))]
    argo = "\n---\n".join(file.read_text() for file in files)
    for name in ("controller", "executor", "server"):
        argo = argo.replace(parse({}, {}).image(name), image(name))
    made.kubectl("apply", "--server-side", "-f", "-", stdin=argo)
    endpoint = store(made)
    (made.root / "environments").mkdir()
    (made.root / "environments" / "company.yaml").write_text(ENVIRONMENT.format(cluster=OTHER, endpoint=endpoint))
    bucket(made).prepare({"lake": True})
    rights = made.type("credentials", "--policy", "--env", "company", "--json").last["policy"]
    Admin(endpoint, COMPANY).allow(KEYS, rights)
    secret = [f"--from-literal={key}={value}" for key, value in KEYS.items()]
    made.kubectl("-n", "argo", "create", "secret", "generic", "lake-keys", *secret)
    try:
        yield made
        assert made.type("teardown", "--yes", "--env", "company").code == 0
        assert [item["metadata"]["name"] for item in made.there("deployments", "-n", "argo")] == ["argo-server", "workflow-controller"]
    finally:
        made.kubectl("delete", "namespace", "argo", "store")
        made.kubectl("delete", "customresourcedefinition", "-l", OURS)


def bucket(guest: Platform) -> S3Store:
    """Return the company's S3 as its administrator opens it."""
    endpoint = yaml.safe_load((guest.root / "environments" / "company.yaml").read_text())["s3_endpoint"]
    return S3Store(endpoint, access_key=COMPANY["accesskey"], secret_key=COMPANY["secretkey"], region="us-east-1")


def person(guest: Platform, role: str, elsewhere: Path, folder: Path) -> dict[str, str]:
    """Return the kubeconfig, as a variable, of somebody who has this role alone."""
    guest.kubectl("-n", "argo", "create", "serviceaccount", role)
    guest.kubectl("-n", "argo", "create", "rolebinding", role, f"--role={role}", f"--serviceaccount=argo:{role}")
    token = guest.kubectl("-n", "argo", "create", "token", role, "--duration=2h").strip()
    content = yaml.safe_load(elsewhere.read_text())
    content["users"][0]["user"] = {"token": token}
    file = folder / role
    file.write_text(yaml.safe_dump(content))
    return {"KUBECONFIG": str(file)}


LOGIN = "registry-login"


@contextmanager
def pulling(guest: Platform, server: Distribution, elsewhere: Path, folder: Path) -> Iterator[None]:
    """Let the environment's images go through a registry that wants a login, and lead the cluster's node there until the body ends."""
    node = f"{OTHER}-control-plane"
    address = run("docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.Gateway}}", node).strip()
    login = folder / "docker" / "config.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"auths": {server.host: {"auth": server.auth}}}))
    content = yaml.safe_load(elsewhere.read_text())
    content["contexts"][0]["name"] = content["current-context"] = "company"  # no name of kind's: nothing is loaded onto the node
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    guest.settings |= {"KUBECONFIG": str(file), "DOCKER_CONFIG": str(login.parent)}
    environment = guest.root / "environments" / "company.yaml"
    text = environment.read_text().replace(f"kind-{OTHER}", "company")
    environment.write_text(f"{text}registry: {server.host}/data\npull_secret: {LOGIN}\n")
    with Relay((address, 0), server.host) as relay:
        hosts = f"/etc/containerd/certs.d/{server.host}"
        run("docker", "exec", node, "mkdir", "-p", hosts)
        run("docker", "exec", "-i", node, "tee", f"{hosts}/hosts.toml", stdin=f'[host."http://{address}:{relay.server_address[1]}"]\n')
        yield


def let_pull(guest: Platform, server: Distribution) -> None:
    """Make the Secret that pods pull with, as an administrator does."""
    user, password = server.user
    words = [f"--docker-server={server.host}", f"--docker-username={user}", f"--docker-password={password}"]
    guest.kubectl("-n", "argo", "create", "secret", "docker-registry", LOGIN, *words)


def pulled(guest: Platform) -> set[str]:
    """Return the images that the containers of runs had, but for Argo's own."""
    pods = guest.there("pods", "-n", "argo", "-l", "workflows.argoproj.io/workflow")
    return {
        container["image"] for pod in pods for container in pod["spec"]["containers"] if container["name"] not in {"supervisor", "wait"}
    }


PASSWORD = f"canary-{secrets.token_hex(6)}"
"""Of the role ``singer`` in the warehouse."""


@pytest.fixture(scope="module")
def warehouse() -> Iterator[Postgres]:
    """Yield a Postgres that pods reach, with a role and a database named ``singer``."""
    if not all(map(database.program, database.PROGRAMS)):
        pytest.skip("there is no Postgres server on this machine: apt-get install postgresql")
    address = "" if why_not() else gateway()
    if not address:
        pytest.skip(why_not() or "containers have no way to a server of this machine")
    with socket.create_server((address, 0)) as free:
        port = int(free.getsockname()[1])
    started = database.new(port, address)
    try:
        started.start()
        started.sql(f"CREATE ROLE singer LOGIN PASSWORD '{PASSWORD}'")
        started.sql("CREATE DATABASE singer OWNER singer")
        yield started
    finally:
        started.stop()
        shutil.rmtree(started.folder)
