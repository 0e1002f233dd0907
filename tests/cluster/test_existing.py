"""The platform as a guest in a real cluster that somebody else has made: what it brings, what it leaves, what it may not."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.request
from contextlib import suppress
from http import HTTPStatus
from typing import TYPE_CHECKING

import pytest
import yaml
from clusters import OTHER, Platform, given, run, why_not
from conftest import ROOT
from processes import eventually
from registries import Relay

from cluster.settings import parse
from cluster.store.admin import Admin
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from registries import Distribution

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
OURS = "app.kubernetes.io/part-of=singer"


def image(name: str) -> str:
    """Return one of the images that the settings choose."""
    return parse({"images": given().get("INVOKE_SINGER_IMAGES", "")}, {}).image(name)


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


@pytest.fixture
def guest(tmp_path: Path, shared: Path, elsewhere: Path) -> Iterator[Platform]:
    """Yield a checkout that is a guest in that cluster. Whatever it does, the kubeconfig it was given stays as it is."""
    before = elsewhere.read_bytes()
    settings = {"KUBECONFIG": str(elsewhere), "INVOKE_SINGER_PROVIDER": "existing", "INVOKE_SINGER_CONTEXT": f"kind-{OTHER}"}
    found = Platform(tmp_path / "guest", shared, OTHER, **settings)
    yield found
    assert found.type("teardown", "--yes").code == 0
    assert elsewhere.read_bytes() == before


def answers(url: str) -> int:
    """Return the status that an address answers with."""
    with urllib.request.urlopen(url, timeout=20) as answer:
        return int(answer.status)


def test_the_story_of_a_guest(guest: Platform) -> None:
    """Up, up again, a look through forwarded ports, stop, up, teardown with and without data: the host is as it was before."""
    before = {item["metadata"]["name"] for item in guest.there("namespaces")}
    first = guest.type("up", "--json")
    assert first.code == 0, first.err
    assert guest.type("status").code == 0
    second = guest.type("up", "--json")
    assert (second.code, second.last["changed"]) == (0, [])
    password = guest.type("credentials", "--json").last["password"]

    with guest.begin("forward", "--json") as process:
        assert process.stdout
        doors = json.loads(process.stdout.readline())["doors"]
        assert answers(doors["argo"]) == 200
        assert answers(f"{doors['s3']}/minio/health/cluster") == 200
        process.terminate()
        process.communicate(timeout=20)

    assert guest.type("stop").code == 0
    assert {item["spec"]["replicas"] for item in guest.there("deployments", "-n", "argo")} == {0}
    woken = guest.type("up", "--json")
    assert woken.code == 0, woken.err
    assert set(woken.last["changed"]) == {"Argo Workflows", "MinIO"}

    kept = guest.type("teardown", "--yes", "--keep-data")
    assert kept.code == 0, kept.err
    assert "volume claim" in kept.out
    assert guest.there("deployments", "-n", "argo") == []
    again = guest.type("up", "--json")
    assert again.code == 0, again.err
    assert guest.type("credentials", "--json").last["password"] == password

    assert guest.type("teardown", "--yes").code == 0
    assert {item["metadata"]["name"] for item in guest.there("namespaces")} == before
    assert guest.there("customresourcedefinitions", "-l", OURS) == []


def test_an_argo_of_somebody_elses(guest: Platform) -> None:
    """Where Argo's CRDs or our namespace's name belong to somebody else, they are not touched, and a way round is named."""
    crd = next(item for item in yaml.safe_load_all((ROOT / "manifests/argo/crds.yaml").read_text()) if item)
    crd["metadata"]["labels"] = {"app": "theirs"}
    guest.kubectl("apply", "-f", "-", stdin=json.dumps(crd))
    guest.kubectl("create", "namespace", "theirs")
    try:
        refused = guest.type("up")
        assert (refused.code, "E-FOREIGN" in refused.err, "INVOKE_SINGER_ARGO=use" in refused.err) == (1, True, True), refused.err
        there = guest.type("up", INVOKE_SINGER_NAMESPACE="theirs")
        assert (there.code, "E-FOREIGN" in there.err, "INVOKE_SINGER_NAMESPACE" in there.err) == (1, True, True), there.err
        (found,) = guest.there("customresourcedefinitions", "-l", "app=theirs")
        assert found["metadata"].get("labels") == {"app": "theirs"}
    finally:
        guest.kubectl("delete", "customresourcedefinition", crd["metadata"]["name"])
        guest.kubectl("delete", "namespace", "theirs")


def test_an_argo_that_is_used(guest: Platform) -> None:
    """With argo: use the Argo that an administrator has installed serves our namespace, and stays when we go."""
    folder = ROOT / "manifests"
    files = [folder / "namespace.yaml", *sorted((folder / "argo").glob("*.yaml"))]
    text = "\n---\n".join(file.read_text() for file in files)
    missing = guest.type("up", INVOKE_SINGER_ARGO="use", INVOKE_SINGER_NAMESPACE="ours")
    assert (missing.code, "E-ARGO" in missing.err) == (1, True), missing.err
    guest.type("teardown", "--yes", INVOKE_SINGER_ARGO="use", INVOKE_SINGER_NAMESPACE="ours")
    run("kind", "load", "docker-image", *map(image, ("controller", "executor", "server")), "--name", guest.cluster)
    guest.kubectl("apply", "--server-side", "-f", "-", stdin=text)
    try:
        used = guest.type("up", "--json", INVOKE_SINGER_ARGO="use")
        assert used.code == 0, used.err
        assert guest.type("status", INVOKE_SINGER_ARGO="use").code == 0
        assert guest.type("teardown", "--yes", INVOKE_SINGER_ARGO="use").code == 0
        assert [item["metadata"]["name"] for item in guest.there("deployments", "-n", "argo")] == ["argo-server", "workflow-controller"]
    finally:
        guest.kubectl("delete", "namespace", "argo")
        guest.kubectl("delete", "customresourcedefinition", "-l", OURS)


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


def store(place: Platform) -> str:
    """Install an S3 that is not ours; return its address as soon as it answers there."""
    place.kubectl("apply", "-f", "-", stdin=STORE.replace("IMAGE", image("minio")))
    place.kubectl("-n", "store", "wait", "--for=condition=Available", "--timeout=120s", "deployment", "s3")
    address = run("docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.IPAddress}}", f"{OTHER}-control-plane").strip()
    url = f"http://{address}:30999"

    def answering() -> bool:
        with suppress(OSError):
            return answers(f"{url}/minio/health/live") == HTTPStatus.OK
        return False

    eventually(answering, within=60)
    return url


def test_a_store_that_is_used(guest: Platform) -> None:
    """With store: use no MinIO of ours is installed: buckets and configs are in the S3 that was named, and stay when we go."""
    run("kind", "load", "docker-image", image("minio"), "--name", guest.cluster)
    settings = {"INVOKE_SINGER_STORE": "use", "INVOKE_SINGER_S3_ENDPOINT": store(guest)}
    keys = {"AWS_ACCESS_KEY_ID": "company", "AWS_SECRET_ACCESS_KEY": "company-password"}
    try:
        refused = guest.type("up", **settings)
        assert (refused.code, "E-SECRET" in refused.err) == (1, True), refused.err
        used = guest.type("up", "--json", **settings, **keys)
        assert used.code == 0, used.err
        assert guest.type("status", **settings, **keys).code == 0
        assert "minio" not in {item["metadata"]["name"] for item in guest.there("deployments", "-n", "argo")}
        assert guest.type("teardown", "--yes", **settings, **keys).code == 0
        files = guest.kubectl("-n", "store", "exec", "deploy/s3", "--", "ls", "/data/singer-configs/connectors")
        assert "target-csv" in files
    finally:
        guest.kubectl("delete", "namespace", "store")


def test_a_user_who_may_not(guest: Platform, tmp_path: Path, elsewhere: Path) -> None:
    """A user without rights over the whole cluster gets a file for an administrator; once that is applied, up needs no more."""
    guest.kubectl("create", "namespace", "people")
    guest.kubectl("-n", "people", "create", "serviceaccount", "me")
    token = guest.kubectl("-n", "people", "create", "token", "me", "--duration=2h").strip()
    content = yaml.safe_load(elsewhere.read_text())
    content["users"][0]["user"] = {"token": token}
    mine = tmp_path / "mine"
    mine.write_text(yaml.safe_dump(content))
    try:
        refused = guest.type("up", KUBECONFIG=str(mine))
        assert (refused.code, "E-RIGHTS" in refused.err) == (1, True), refused.err
        file = guest.local / "for-administrator.yaml"
        kinds = {item["kind"] for item in yaml.safe_load_all(file.read_text())}
        assert kinds == {"Namespace", "CustomResourceDefinition"}

        guest.kubectl("apply", "--server-side", "-f", "-", stdin=file.read_text())
        lacking = guest.type("up", KUBECONFIG=str(mine))
        assert (lacking.code, "create secrets" in lacking.err) == (1, True), lacking.err
        guest.kubectl("-n", "argo", "create", "rolebinding", "me", "--clusterrole=cluster-admin", "--serviceaccount=people:me")
        allowed = guest.type("up", KUBECONFIG=str(mine))
        assert allowed.code == 0, allowed.err
        assert guest.type("teardown", "--yes", KUBECONFIG=str(mine)).code == 0
        assert guest.there("deployments", "-n", "argo") == []
        assert "argo" in {item["metadata"]["name"] for item in guest.there("namespaces")}
    finally:
        guest.kubectl("delete", "namespace", "people", "argo")
        guest.kubectl("delete", "customresourcedefinition", "-l", OURS)


def test_a_namespace_that_hangs(guest: Platform) -> None:
    """A namespace that does not go away is said with the cluster's reason, and the next teardown goes on from there."""
    assert guest.type("up").code == 0
    held = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "held", "namespace": "argo", "finalizers": ["example.com/held"]}}
    guest.kubectl("apply", "-f", "-", stdin=json.dumps(held))
    began = time.monotonic()
    hangs = guest.type("teardown", "--yes")
    assert (hangs.code, "E-LEFT" in hangs.err, "example.com/held" in hangs.err) == (1, True, True), hangs.err
    assert time.monotonic() - began < 200
    guest.kubectl("-n", "argo", "patch", "configmap", "held", "--type=merge", "-p", '{"metadata": {"finalizers": null}}')
    assert guest.type("teardown", "--yes").code == 0
    assert "argo" not in {item["metadata"]["name"] for item in guest.there("namespaces")}


def test_credentials_that_are_no_longer_valid(guest: Platform, tmp_path: Path, elsewhere: Path) -> None:
    """An expired token and a cluster that is gone are sentences with something to do, and nothing else happens."""
    content = yaml.safe_load(elsewhere.read_text())
    content["users"][0]["user"] = {"token": "expired"}
    expired = tmp_path / "expired"
    expired.write_text(yaml.safe_dump(content))
    result = guest.type("up", KUBECONFIG=str(expired))
    assert (result.code, "401" in result.err, "Traceback" in result.err) == (1, True, False), result.err

    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    expired.write_text(yaml.safe_dump(content))
    result = guest.type("up", KUBECONFIG=str(expired))
    assert (result.code, "cannot be reached" in result.err) == (1, True), result.err


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
KEYS = {"accesskey": "pipelines", "secretkey": "pipelines-password"}
DEMO = "exchange-rates-to-csv"


@pytest.fixture
def company(tmp_path: Path, shared: Path, elsewhere: Path) -> Iterator[Platform]:
    """Yield a checkout with an environment: a cluster with an Argo and an S3 of other people's, a bucket, and keys for a part of it."""
    found = Platform(tmp_path / "company", shared, OTHER, KUBECONFIG=str(elsewhere))
    run("kind", "load", "docker-image", *map(image, ("controller", "executor", "server", "minio")), "--name", OTHER)
    folder = ROOT / "manifests"
    files = [folder / "namespace.yaml", *sorted((folder / "argo").glob("*.yaml"))]
    argo = "\n---\n".join(file.read_text() for file in files)
    for name in ("controller", "executor", "server"):
        argo = argo.replace(parse({}, {}).image(name), image(name))
    found.kubectl("apply", "--server-side", "-f", "-", stdin=argo)
    endpoint = store(found)
    (found.root / "environments").mkdir()
    (found.root / "environments" / "company.yaml").write_text(ENVIRONMENT.format(cluster=OTHER, endpoint=endpoint))
    S3Store(endpoint, access_key="company", secret_key="company-password", region="us-east-1").prepare({"lake": True})
    rights = found.type("credentials", "--policy", "--env", "company", "--json").last["policy"]
    Admin(endpoint, {"accesskey": "company", "secretkey": "company-password"}).allow(KEYS, rights)
    secret = [f"--from-literal={key}={value}" for key, value in KEYS.items()]
    found.kubectl("-n", "argo", "create", "secret", "generic", "lake-keys", *secret)
    try:
        yield found
        assert found.type("teardown", "--yes", "--env", "company").code == 0
        assert [item["metadata"]["name"] for item in found.there("deployments", "-n", "argo")] == ["argo-server", "workflow-controller"]
    finally:
        found.kubectl("delete", "namespace", "argo", "store")
        found.kubectl("delete", "customresourcedefinition", "-l", OURS)


def person(company: Platform, role: str, elsewhere: Path, folder: Path) -> dict[str, str]:
    """Return the kubeconfig, as a variable, of somebody who has this role alone."""
    company.kubectl("-n", "argo", "create", "serviceaccount", role)
    company.kubectl("-n", "argo", "create", "rolebinding", role, f"--role={role}", f"--serviceaccount=argo:{role}")
    token = company.kubectl("-n", "argo", "create", "token", role, "--duration=2h").strip()
    content = yaml.safe_load(elsewhere.read_text())
    content["users"][0]["user"] = {"token": token}
    file = folder / role
    file.write_text(yaml.safe_dump(content))
    return {"KUBECONFIG": str(file)}


def test_the_story_of_an_environment(company: Platform, elsewhere: Path, tmp_path: Path) -> None:
    """A file moves the example to a cluster with an S3 of others and few rights; git and sync want the same; strangers are kept out."""
    env = ("--env", "company")
    first = company.type("up", *env, "--json")
    assert first.code == 0, first.err
    assert {event["env"] for event in first.events} == {"company"}
    again = company.type("up", *env, "--json")
    assert (again.code, again.last["changed"]) == (0, [])
    assert company.type("status", *env).code == 0
    assert "argo-artifacts" not in {item["metadata"]["name"] for item in company.there("secrets", "-n", "argo")}

    done = company.type("run", DEMO, *env, "--json")
    assert (done.code, done.last["status"], done.last["engine"]) == (0, "succeeded", "argo"), done.err
    assert company.type("runs", *env, "--json").last["run"] == done.last["run"]
    assert company.type("runs", "--json").events == []
    assert company.type("state", DEMO, *env, "--json").last["state"] == done.last["state"]
    assert "argo in company" in company.type("runs", *env).out

    export = company.type("export", *env)
    assert export.code == 0, export.err
    folder = company.root / "export" / "company"
    objects = "\n---\n".join(file.read_text() for file in sorted((folder / "objects").iterdir()))
    # Without --force-conflicts: where another manager had another value for a field, this would fail.
    company.kubectl("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=objects)
    assert company.type("sync", *env, "--json").last["changed"] == []

    root = shutil.copytree(company.root, tmp_path / "another", symlinks=True)
    shutil.rmtree(root / ".local" / "platforms")
    file = root / "environments" / "company.yaml"
    file.write_text(file.read_text().replace("rates-team", "another-team"))
    (root / "singer-configs" / "pipelines.yaml").write_text("mine: {tap: tap-exchange-rates, target: target-csv, schedule: 0 5 * * *}\n")
    before = {item["metadata"]["name"] for item in company.there("cronworkflows", "-n", "argo")}
    mine, company.root = company.root, root
    foreign = company.type("sync", *env)
    assert (foreign.code, "E-FOREIGN" in foreign.err, "rates-team" in foreign.err) == (1, True, True), foreign.err
    company.root = mine
    assert {item["metadata"]["name"] for item in company.there("cronworkflows", "-n", "argo")} == before
    assert company.type("sync", *env, "--json").last["changed"] == []

    company.kubectl("apply", "-f", "-", stdin=(folder / "administrator" / "roles.yaml").read_text())
    viewer, operator = (person(company, role, elsewhere, tmp_path) for role in ("singer-viewer", "singer-operator"))
    keys = {"AWS_ACCESS_KEY_ID": KEYS["accesskey"], "AWS_SECRET_ACCESS_KEY": KEYS["secretkey"]}
    keyless = company.type("runs", *env, **viewer)
    assert (keyless.code, "E-SECRET" in keyless.err, "lake-keys" in keyless.err) == (1, True, True), keyless.err
    for words in (("runs",), ("show", "last"), ("logs", "last"), ("fetch", "last"), ("state", DEMO)):
        seen = company.type(*words, *env, **viewer, **keys)
        assert seen.code == 0, seen.err
    refused = company.type("run", DEMO, *env, **viewer, **keys)
    assert (refused.code, "E-RIGHTS" in refused.err, "Traceback" in refused.err) == (1, True, False), refused.err
    for words in (("sync",), ("run", DEMO), ("credentials",)):
        allowed = company.type(*words, *env, **operator)
        assert allowed.code == 0, allowed.err


def test_an_environment_whose_cluster_is_another_one(company: Platform, elsewhere: Path, tmp_path: Path) -> None:
    """Once it was used, a context of the same name that leads elsewhere is refused by every command, and nothing is asked there."""
    env = ("--env", "company")
    assert company.type("up", *env).code == 0
    content = yaml.safe_load(elsewhere.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    moved = tmp_path / "moved"
    moved.write_text(yaml.safe_dump(content))
    for words in (("up",), ("status",), ("run", DEMO), ("runs",), ("sync",)):
        refused = company.type(*words, *env, KUBECONFIG=str(moved))
        assert refused.code == 1
        assert "https://127.0.0.1:1" in refused.out + refused.err
        assert "in the context" in refused.out + refused.err


def test_images_come_from_a_registry(company: Platform, elsewhere: Path, registries: Callable[..., Distribution], tmp_path: Path) -> None:
    """With a registry that wants a login, up brings the images there, and pods get them with a Secret that is there already."""
    server = registries(login=True)
    node = f"{OTHER}-control-plane"
    gateway = run("docker", "inspect", "--format", "{{.NetworkSettings.Networks.kind.Gateway}}", node).strip()
    login = tmp_path / "docker" / "config.json"
    login.parent.mkdir()
    login.write_text(json.dumps({"auths": {server.host: {"auth": server.auth}}}))
    content = yaml.safe_load(elsewhere.read_text())
    content["contexts"][0]["name"] = content["current-context"] = "company"  # no name of kind's: nothing is loaded onto the node
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump(content))
    company.settings |= {"KUBECONFIG": str(file), "DOCKER_CONFIG": str(login.parent)}
    environment = company.root / "environments" / "company.yaml"
    text = environment.read_text().replace(f"kind-{OTHER}", "company")
    environment.write_text(f"{text}registry: {server.host}/data\npull_secret: registry-login\n")
    with Relay((gateway, 0), server.host) as relay:
        folder = f"/etc/containerd/certs.d/{server.host}"
        run("docker", "exec", node, "mkdir", "-p", folder)
        run("docker", "exec", "-i", node, "tee", f"{folder}/hosts.toml", stdin=f'[host."http://{gateway}:{relay.server_address[1]}"]\n')
        missing = company.type("up", "--env", "company")
        assert (missing.code, "E-SECRET" in missing.err, "registry-login" in missing.err) == (1, True, True), missing.err
        user, password = server.user
        words = [f"--docker-server={server.host}", f"--docker-username={user}", f"--docker-password={password}"]
        company.kubectl("-n", "argo", "create", "secret", "docker-registry", "registry-login", *words)
        first = company.type("up", "--env", "company", "--json")
        assert first.code == 0, first.err
        done = company.type("run", DEMO, "--env", "company", "--json")
        assert (done.code, done.last["status"]) == (0, "succeeded"), done.err
        again = company.type("up", "--env", "company", "--json")
        assert (again.code, again.last["changed"]) == (0, [])
    pods = company.there("pods", "-n", "argo", "-l", "workflows.argoproj.io/workflow")
    used = {container["image"] for pod in pods for container in pod["spec"]["containers"] if container["name"] != "supervisor"}
    names = ("tap-exchange-rates", "target-csv", "commit")
    assert used >= {f"{server.host}/data/{name}:{tag}" for name in names for tag in server.tags(f"data/{name}")}
    assert [len(server.tags(f"data/{name}")) for name in names] == [1, 1, 1]
