"""The platform as a guest in a real cluster that somebody else has made: what it brings, what it leaves, what it may not."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from checkout import ROOT
from company_cluster import OURS, answers, image, store
from platform_checkout import OTHER, Platform, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def guest(tmp_path: Path, shared: Path, elsewhere: Path) -> Iterator[Platform]:
    """Yield a checkout that is a guest in that cluster. No test changes the kubeconfig that it was passed."""
    before = elsewhere.read_bytes()
    settings = {"KUBECONFIG": str(elsewhere), "INVOKE_SINGER_PROVIDER": "existing", "INVOKE_SINGER_CONTEXT": f"kind-{OTHER}"}
    made = Platform(tmp_path / "guest", shared, OTHER, **settings)
    yield made
    assert made.type("teardown", "--yes").code == 0
    assert elsewhere.read_bytes() == before


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
        (definition,) = guest.there("customresourcedefinitions", "-l", "app=theirs")
        assert definition["metadata"].get("labels") == {"app": "theirs"}
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
        assert (lacking.code, "delete secrets" in lacking.err) == (1, True), lacking.err
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
    """A namespace that does not go away is reported with the cluster's reason, and the next teardown goes on from there."""
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
