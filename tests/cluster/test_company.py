"""An environment in a real cluster that a company has: an Argo, an S3, a registry, a warehouse, people with few rights."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from company_cluster import DEMO, KEYS, LOGIN, PASSWORD, bucket, let_pull, person, pulled, pulling
from platform_checkout import NAME, OTHER, Platform

from cluster.kube.client import Kube, LackingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_apiserver import Api
    from real_postgres import Postgres
    from real_registry import Distribution

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ENV = ("--env", "company")
CODE = "singer-containers/tap-exchange-rates/tap_exchange_rates/tap.py"


def size(folder: Path) -> int:
    """Return the bytes that a registry has."""
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.name == "data")


def test_the_story_of_an_environment(guest: Platform, elsewhere: Path, tmp_path: Path) -> None:
    """A file moves the example to a cluster with an S3 of others and few rights; git and sync want the same; strangers are kept out."""
    first = guest.type("up", *ENV, "--json")
    assert first.code == 0, first.err
    assert {event["env"] for event in first.events} == {"company"}
    again = guest.type("up", *ENV, "--json")
    assert (again.code, again.last["changed"]) == (0, [])
    assert guest.type("status", *ENV).code == 0
    assert "argo-artifacts" not in {item["metadata"]["name"] for item in guest.there("secrets", "-n", "argo")}

    done = guest.type("run", DEMO, *ENV, "--json")
    assert (done.code, done.last["status"], done.last["engine"]) == (0, "succeeded", "argo"), done.err
    assert guest.type("runs", *ENV, "--json").last["run"] == done.last["run"]
    assert guest.type("runs", "--json").events == []
    assert guest.type("state", DEMO, *ENV, "--json").last["state"] == done.last["state"]
    assert "argo in company" in guest.type("runs", *ENV).out

    export = guest.type("export", *ENV)
    assert export.code == 0, export.err
    folder = guest.root / "export" / "company"
    objects = "\n---\n".join(file.read_text() for file in sorted((folder / "objects").iterdir()))
    # Without --force-conflicts: where another manager had another value for a field, this would fail.
    guest.kubectl("apply", "--server-side", "--field-manager=argocd-controller", "-f", "-", stdin=objects)
    assert guest.type("sync", *ENV, "--json").last["changed"] == []

    root = shutil.copytree(guest.root, tmp_path / "another", symlinks=True)
    shutil.rmtree(root / ".local" / "platforms")
    file = root / "environments" / "company.yaml"
    file.write_text(file.read_text().replace("rates-team", "another-team"))
    (root / "singer-configs" / "pipelines.yaml").write_text("mine: {tap: tap-exchange-rates, target: target-csv, schedule: 0 5 * * *}\n")
    before = {item["metadata"]["name"] for item in guest.there("cronworkflows", "-n", "argo")}
    mine, guest.root = guest.root, root
    foreign = guest.type("sync", *ENV)
    assert (foreign.code, "E-FOREIGN" in foreign.err, "rates-team" in foreign.err) == (1, True, True), foreign.err
    guest.root = mine
    assert {item["metadata"]["name"] for item in guest.there("cronworkflows", "-n", "argo")} == before
    assert guest.type("sync", *ENV, "--json").last["changed"] == []

    guest.kubectl("apply", "-f", "-", stdin=(folder / "administrator" / "roles.yaml").read_text())
    viewer, operator = (person(guest, role, elsewhere, tmp_path) for role in ("singer-viewer", "singer-operator"))
    keys = {"AWS_ACCESS_KEY_ID": KEYS["accesskey"], "AWS_SECRET_ACCESS_KEY": KEYS["secretkey"]}
    keyless = guest.type("runs", *ENV, **viewer)
    assert (keyless.code, "E-SECRET" in keyless.err, "lake-keys" in keyless.err) == (1, True, True), keyless.err
    for words in (("runs",), ("show", "last"), ("logs", "last"), ("fetch", "last"), ("state", DEMO)):
        seen = guest.type(*words, *ENV, **viewer, **keys)
        assert seen.code == 0, seen.err
    refused = guest.type("run", DEMO, *ENV, **viewer, **keys)
    assert (refused.code, "E-RIGHTS" in refused.err, "Traceback" in refused.err) == (1, True, False), refused.err
    for words in (("sync",), ("run", DEMO), ("credentials",)):
        allowed = guest.type(*words, *ENV, **operator)
        assert allowed.code == 0, allowed.err


def test_an_environment_whose_cluster_is_another_one(guest: Platform, elsewhere: Path, tmp_path: Path) -> None:
    """Once it was used, a context of the same name that leads elsewhere is refused by every command, and nothing is asked there."""
    assert guest.type("up", *ENV).code == 0
    content = yaml.safe_load(elsewhere.read_text())
    content["clusters"][0]["cluster"]["server"] = "https://127.0.0.1:1"
    moved = tmp_path / "moved"
    moved.write_text(yaml.safe_dump(content))
    for words in (("up",), ("status",), ("run", DEMO), ("runs",), ("sync",)):
        refused = guest.type(*words, *ENV, KUBECONFIG=str(moved))
        assert refused.code == 1
        assert "https://127.0.0.1:1" in refused.out + refused.err
        assert "in the context" in refused.out + refused.err


def test_the_files_for_an_administrator_suffice(guest: Platform, elsewhere: Path, tmp_path: Path) -> None:
    """Who has no right at all gets to run a pipeline by what the refusals write for an administrator, and by nothing else."""
    assert guest.type("up", *ENV).code == 0
    guest.kubectl("-n", "argo", "create", "role", "nothing", "--verb=get", "--resource=endpoints")
    keys = {"AWS_ACCESS_KEY_ID": KEYS["accesskey"], "AWS_SECRET_ACCESS_KEY": KEYS["secretkey"]}
    nobody = {**person(guest, "nothing", elsewhere, tmp_path), **keys}
    applied: list[str] = []
    while (done := guest.type("run", DEMO, *ENV, **nobody)).code:
        assert "E-RIGHTS" in done.err, done.err
        file = re.search(r"\(kubectl apply (?:--server-side )?-f (\S+)\)", done.err)
        assert file, done.err
        assert file[1] not in applied, done.err
        applied.append(file[1])
        guest.kubectl("apply", "-f", "-", stdin=(guest.root / file[1]).read_text())
    assert len(applied) > 1
    for verb, what in (("delete", "secrets"), ("create", "pods"), ("delete", "workflowtemplates.argoproj.io"), ("create", "rolebindings")):
        node = ["docker", "exec", f"{OTHER}-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"]
        words = [*node, "-n", "argo", "auth", "can-i", verb, what, "--as=system:serviceaccount:argo:nothing"]
        assert subprocess.run(words, capture_output=True, text=True, check=False).stdout.strip() == "no", (verb, what)


def test_a_platform_of_another_layout(guest: Platform) -> None:
    """A newer checkout's platform is left as it is; an upgrade of an older one is announced before it is done."""
    assert guest.type("up", *ENV).code == 0
    note = ("-n", "argo", "annotate", "configmap", "singer-store")
    guest.kubectl(*note, "singer/layout=99", "--overwrite")
    for words in (("up",), ("sync",), ("run", DEMO)):
        refused = guest.type(*words, *ENV)
        assert (refused.code, "E-LAYOUT" in refused.err) == (1, True), refused.err
    guest.kubectl(*note, "singer/layout-", "singer/content-")
    planned = guest.type("up", "--plan", *ENV)
    assert "layout 1 to " in planned.out, planned.out
    made = guest.type("up", *ENV)
    assert (made.code, "! Upgrade" in made.out) == (0, True), made.err
    assert "Upgrade" not in guest.type("up", *ENV).out


CALLS: dict[str, Callable[[Kube, str], object]] = {
    "get": lambda kube, there: kube.get("Secret", "x", there),
    "get of the whole cluster": lambda kube, _: kube.get("Namespace", "x"),
    "list": lambda kube, there: kube.objects("Workflow", there),
    "list with labels": lambda kube, there: kube.objects("Pod", there, labels="a=b"),
    "create": lambda kube, there: kube.create({**empty("argoproj.io/v1alpha1", "Workflow", there, generateName="x-"), "spec": {}}),
    "apply": lambda kube, there: kube.apply(empty("v1", "ConfigMap", there, name="x")),
    "patch": lambda kube, there: kube.patch("CronWorkflow", "x", there, {"spec": {"suspend": True}}),
    "delete": lambda kube, there: kube.delete("ConfigMap", "x", there),
    "log": lambda kube, there: kube.log_since("x", there, "tap", ""),
}


def empty(version: str, kind: str, namespace: str, **metadata: str) -> dict[str, Any]:
    """Return an object without content."""
    return {"apiVersion": version, "kind": kind, "metadata": {"namespace": namespace, **metadata}}


def test_the_stand_in_refuses_as_this_one_does(elsewhere: Path, api: Api, tmp_path: Path, shared: Path) -> None:
    """What is read from the refusals of the tests' own API server is what a real one's say, for every verb."""
    installed = Platform(tmp_path / "checkout", shared, OTHER)
    installed.kubectl("create", "namespace", "people")
    try:
        installed.kubectl("-n", "people", "create", "serviceaccount", "me")
        content = yaml.safe_load(elsewhere.read_text())
        content["users"][0]["user"] = {"token": installed.kubectl("-n", "people", "create", "token", "me").strip()}
        context = content["current-context"]
        (tmp_path / "real").write_text(yaml.safe_dump(content))
        content["clusters"][0]["cluster"] = {"server": api.url}
        (tmp_path / "stand-in").write_text(yaml.safe_dump(content))
        api.denies_all = True
        real, ours = (Kube(tmp_path / name, context) for name in ("real", "stand-in"))
        for name, call in CALLS.items():
            lacking = []
            for kube in (real, ours):
                with pytest.raises(LackingError) as caught:
                    call(kube, "people")
                lacking.append((caught.value.right.what, caught.value.right.namespace, caught.value.right.rules))
            assert lacking[0] == lacking[1], name
        assert real.user == "system:serviceaccount:people:me"
        assert [kube.may("create", "", "pods/exec", "people") for kube in (real, ours)] == [False, False]
    finally:
        installed.kubectl("delete", "namespace", "people")


# What follows is last in this file: a node that has pulled an image with a login gives it to no pod without one (Kubernetes 1.35 on).


def test_images_come_from_a_registry(guest: Platform, elsewhere: Path, registries: Callable[..., Distribution], tmp_path: Path) -> None:
    """With a registry that wants a login, up brings the images there, and pods get them with a Secret that is there already."""
    server = registries(login=True)
    with pulling(guest, server, elsewhere, tmp_path):
        missing = guest.type("up", *ENV)
        assert (missing.code, "E-SECRET" in missing.err, LOGIN in missing.err) == (1, True, True), missing.err
        let_pull(guest, server)
        first = guest.type("up", *ENV, "--json")
        assert first.code == 0, first.err
        done = guest.type("run", DEMO, *ENV, "--json")
        assert (done.code, done.last["status"]) == (0, "succeeded"), done.err
        again = guest.type("up", *ENV, "--json")
        assert (again.code, again.last["changed"]) == (0, [])
        before = size(server.folder)
        text = (guest.root / CODE).read_text(encoding="utf-8")
        (guest.root / CODE).write_text(f"{text}# edited\n", encoding="utf-8")
        edited = guest.type("run", DEMO, *ENV, "--json")
        (guest.root / CODE).write_text(text, encoding="utf-8")
        assert (edited.code, edited.last["status"]) == (0, "succeeded"), edited.err
        assert size(server.folder) - before < 200_000, "an edit pushes a small layer, and no other"
    names = ("tap-exchange-rates", "target-csv", "commit")
    assert pulled(guest) >= {f"{server.host}/data/{name}:{tag}" for name in names for tag in server.tags(f"data/{name}")}
    assert [len(server.tags(f"data/{name}")) for name in names] == [2, 1, 1]


def test_from_the_laptop_to_the_company(
    guest: Platform, elsewhere: Path, registries: Callable[..., Distribution], warehouse: Postgres, tmp_path: Path
) -> None:
    """One file moves a pipeline from the laptop's cluster to one with a registry and an S3 of the company's; both load one warehouse."""
    name, laptop = "exchange-rates", {"INVOKE_SINGER_CLUSTER": NAME}
    (guest.root / ".env").write_text(f"TARGET_POSTGRES_PASSWORD={PASSWORD}\n")
    address = {"host": warehouse.host, "port": warehouse.port, "user": "singer", "database": "singer"}
    config = guest.root / "singer-configs" / "target-postgres" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), **address}))
    guest.write("pipelines.yaml", {name: {"tap": "tap-exchange-rates", "target": "target-postgres", "transform": "dbt-rates"}})
    file = guest.root / "environments" / "company.yaml"
    content = file.read_text()
    file.unlink()
    before = files(guest.root / "singer-configs")

    def days() -> int:
        return int(warehouse.sql("SELECT count(*) FROM rates.exchange_rate", "singer")[0][0])

    try:
        assert guest.type("up", **laptop).code == 0
        first = guest.type("run", name, "--json", **laptop)
        assert (first.code, first.last["status"], first.last["engine"]) == (0, "succeeded", "argo"), first.err
        loaded = days()
        assert loaded > 0

        file.write_text(content)
        server = registries(login=True)
        with pulling(guest, server, elsewhere, tmp_path):
            let_pull(guest, server)
            up = guest.type("up", *ENV, "--json")
            assert up.code == 0, up.err
            copied = guest.type("state", name, "--copy-to", "company", **laptop)
            assert copied.code == 0, copied.err
            on = guest.type("run", name, *ENV, "--json")
            assert (on.code, on.last["status"], on.last["state"], days()) == (0, "succeeded", first.last["state"], loaded), on.err
            whole = guest.type("run", name, "--full", *ENV, "--json")
            assert (whole.code, whole.last["status"], days()) == (0, "succeeded", loaded), whole.err
        record = guest.type("show", "last", *ENV, "--json").last
        assert (record["run"], sum(record["records"].values()), record["transform"]["exit_code"]) == (whole.last["run"], loaded, 0)
        assert warehouse.sql("SELECT count(*) FROM rates.latest_rates", "singer") != [("0",)]
        assert {image.rpartition("/")[0] for image in pulled(guest)} == {f"{server.host}/data"}
        assert "minio" not in {item["metadata"]["name"] for item in guest.there("deployments", "-n", "argo")}
        assert bucket(guest).get("lake", f"singer/configs/pipelines/{name}/state.json") is not None
        assert files(guest.root / "singer-configs") == before
        assert guest.type("runs", "--json", **laptop).last["run"] == first.last["run"]
    finally:
        assert guest.type("teardown", "--yes", **laptop).code == 0


def files(folder: Path) -> dict[str, bytes]:
    """Return the content of a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}
