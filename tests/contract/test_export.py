"""What ``export`` writes: all that would be applied, the same on every machine, valid, and nothing that is secret."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import certifi
import kubernetes_schemas
import pytest
import yaml
from argo_models import unknown

from cluster.config.settings import parse
from cluster.platform.handles import Handles
from cluster.platform.steps import schedules

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

FILE = """
context: far
namespace: rates
instance: rates-team
argo: use
argo_url: https://argo.example.com
registry: registry.example.com/data
store: use
s3_endpoint: https://s3.example.com
bucket_configs: lake/singer/configs
bucket_artifacts: lake/singer/artifacts
bucket_outputs: lake/singer/outputs
"""
HIDDEN = "a-value-that-nobody-may-see"


@pytest.fixture
def company(checkout: Checkout) -> Checkout:
    """Return a checkout with an environment, and a pipeline that needs a secret. There is no kubeconfig at all."""
    (checkout.root / "environments").mkdir()
    (checkout.root / "environments" / "company.yaml").write_text(FILE)
    checkout.scripted({"steps": [], "token": "${EXPORT_TOKEN}"}, schedule="0 6 * * *")
    (checkout.root / ".env").write_text(f"EXPORT_TOKEN={HIDDEN}\nAWS_SECRET_ACCESS_KEY={HIDDEN}\nSINGER_NOTIFY_URL=https://{HIDDEN}\n")
    checkout.environ["KUBECONFIG"] = str(checkout.root / "none")
    return checkout


def exported(checkout: Checkout, *words: str, **environ: str) -> dict[str, Any]:
    """Export, and return the output."""
    result = checkout.invoke("export", "--env", "company", "--json", *words, **environ)
    assert result.code == 0, result.err
    return result.last


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder."""
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def objects(folder: Path) -> list[dict[str, Any]]:
    """Return what kustomize would apply."""
    resources = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    return [yaml.safe_load((folder / name).read_text()) for name in resources]


def test_twice_gives_no_difference(company: Checkout, tmp_path: Path) -> None:
    """A second export changes nothing, and another checkout on a machine with other variables writes the same."""
    first = exported(company)
    folder = company.root / "export" / "company"
    before = tree(folder)
    assert sorted(first["changed"]) == sorted(before)
    again = exported(company)
    assert (again["changed"], again["removed"], tree(folder)) == ([], [], before)

    root = shutil.copytree(company.root, tmp_path / "other", symlinks=True)
    shutil.rmtree(root / "export")
    company.root = root
    exported(company, "--out", "elsewhere", HTTPS_PROXY="http://proxy.example.com:1", INVOKE_SINGER_PORT_ARGO="2746")
    assert tree(root / "elsewhere") == before


def test_it_is_what_would_be_applied(company: Checkout) -> None:
    """Every object is the one that up and sync apply, word for word, but for Secrets and for what an administrator applies."""
    exported(company)
    settings = parse({}, {}, env="company", root=company.root)
    with Handles(settings, {}) as handles:
        wanted = [*handles.rendering.documents, *schedules.all_documents(handles)]
    objects_ = {(item["kind"], item["metadata"]["name"]): item for item in objects(company.root / "export" / "company")}
    assert objects_ == {
        (item["kind"], item["metadata"]["name"]): item
        for item in wanted
        if item["kind"] not in {"Secret", "Namespace", "CustomResourceDefinition"}
    }
    assert {("WorkflowTemplate", "streaming"), ("CronWorkflow", "p"), ("ConfigMap", "singer-images")} <= objects_.keys()
    assert all(item["metadata"]["namespace"] == "rates" for item in objects_.values())


def test_it_is_valid(company: Checkout) -> None:
    """Kubernetes and Argo know every object, those for the administrator too; images are named by their content in the registry."""
    exported(company)
    folder = company.root / "export" / "company"
    others = [item for file in (folder / "administrator").glob("*.yaml") for item in yaml.safe_load_all(file.read_text())]
    others += list(yaml.safe_load_all((folder / "examples" / "secrets.yaml").read_text()))
    for item in [*objects(folder), *others]:
        if item["kind"] in {"WorkflowTemplate", "CronWorkflow"}:
            assert unknown(item["kind"], item) == set()
        else:
            kubernetes_schemas.validate(item)
    assert {item["kind"] for item in others} == {"Namespace", "Role", "Secret"}
    assert json.loads((folder / "administrator" / "s3-policy.json").read_text())["Statement"]
    (images,) = [item["data"] for item in objects(folder) if item["metadata"]["name"] == "singer-images"]
    assert {name.rpartition("/")[0] for name in images.values()} == {"registry.example.com/data"}
    readme = (folder / "README.md").read_text()
    assert all(f"`{image}`" in readme for image in images.values())
    application = yaml.safe_load((folder / "examples" / "argocd-application.yaml").read_text())
    assert application["spec"]["destination"]["namespace"] == "rates"


def test_nothing_secret_is_in_it(company: Checkout) -> None:
    """Secrets are named with their keys and have placeholders; no value of one is anywhere, and none is applied."""
    exported(company)
    folder = company.root / "export" / "company"
    assert [path for path, data in tree(folder).items() if HIDDEN.encode() in data] == []
    assert "Secret" not in {item["kind"] for item in objects(folder)}
    example = {item["metadata"]["name"]: item["stringData"] for item in yaml.safe_load_all((folder / "examples/secrets.yaml").read_text())}
    assert example["connector-tap-scripted"] == {"EXPORT_TOKEN": "REPLACE-ME"}
    assert example["argo-artifacts"].keys() == {"accesskey", "secretkey"}
    assert "connector-target-scripted" not in example


def test_certificates_are_exported(company: Checkout) -> None:
    """A company's own certificates, which are no secret, are part of it: Argo finds the store's beside what refers to them."""
    shutil.copy(certifi.where(), company.root / "ca.pem")
    (company.root / "environments" / "company.yaml").write_text(FILE + "ca_bundle: ca.pem\n")
    exported(company)
    objects_ = {item["metadata"]["name"]: item for item in objects(company.root / "export" / "company")}
    assert objects_["singer-ca"]["data"].keys() == {"ca.pem"}
    assert "singer-ca" in json.dumps(objects_["streaming"])


def test_a_change_is_a_change_of_its_file(company: Checkout) -> None:
    """Another schedule changes one line beside the digest in one file; a pipeline that leaves takes its files with it."""
    exported(company)
    folder = company.root / "export" / "company"
    file = folder / "objects" / "cronworkflow-p.yaml"
    before = file.read_text().splitlines()
    pipelines = {"p": {"tap": "tap-scripted", "target": "target-scripted", "schedule": "0 7 * * *"}}
    company.write("pipelines.yaml", pipelines)
    assert exported(company)["changed"] == ["objects/cronworkflow-p.yaml"]
    changed = [line for line in file.read_text().splitlines() if line not in before]
    assert len(changed) == 2
    assert any("0 7 * * *" in line for line in changed)

    del pipelines["p"]["schedule"]
    company.write("pipelines.yaml", pipelines)
    last = exported(company)
    gone = ["objects/cronjob-singer-late.yaml", "objects/cronworkflow-p.yaml"]
    assert (last["changed"], last["removed"]) == (["kustomization.yaml"], gone)


def test_what_is_there_is_not_overwritten(company: Checkout) -> None:
    """A folder with other people's files is refused; the files of their own that people put beside ours stay."""
    (company.root / "theirs").mkdir()
    (company.root / "theirs" / "kustomization.yaml").write_text("resources: []\n")
    refused = company.invoke("export", "--env", "company", "--out", "theirs")
    assert (refused.code, "E-SETTING" in refused.err, "--out" in refused.err) == (1, True, True), refused.err
    exported(company)
    patch = company.root / "export" / "company" / "patches" / "mine.yaml"
    patch.parent.mkdir()
    patch.write_text("kind: Patch\n")
    exported(company)
    assert patch.read_text() == "kind: Patch\n"


@pytest.mark.parametrize(
    ("words", "text", "problem"),
    [
        ((), FILE, "--env NAME"),
        (("--env", "company"), FILE.replace("instance: rates-team\n", ""), "instance: company"),
        (("--env", "company"), FILE.replace("argo: use\n", ""), "initless_pods: false"),
    ],
)
def test_what_only_a_machine_or_a_cluster_could_tell(company: Checkout, words: tuple[str, ...], text: str, problem: str) -> None:
    """A value that depends on the machine, or on a request to a cluster, must be set in the environment's file."""
    (company.root / "environments" / "company.yaml").write_text(text)
    result = company.invoke("export", *words)
    assert (result.code, "E-SETTING" in result.err, problem in result.err) == (1, True, True), result.err
