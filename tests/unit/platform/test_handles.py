"""What the settings make of the manifests: another namespace, an Argo or a store that is there, ports that are not published."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import certifi
import kubernetes_schemas
import pytest
import yaml
from pod_security import violations

from cluster.config.settings import Settings, parse
from cluster.errors import SetupError
from cluster.platform import plan
from cluster.platform.handles import Handles
from cluster.platform.steps.storage import policy

ROOT = Path(__file__).resolve().parents[3]
USED = {"store": "use", "s3_endpoint": "https://s3.example.com", "bucket_artifacts": "team-artifacts", "s3_region": "eu-central-1"}


def rendered(folder: Path, **settings: Any) -> list[dict[str, Any]]:
    """Return the objects that these settings make, each checked against Kubernetes' own schemas."""
    for name in ("manifests", "singer-configs"):
        (folder / name).symlink_to(ROOT / name)
    documents = Handles(parse(settings, {}, root=folder), {}).rendering.documents
    for document in documents:
        if "argoproj" not in document["apiVersion"]:
            kubernetes_schemas.validate(document)
    return documents


def names(documents: list[dict[str, Any]], kind: str) -> set[str]:
    """Return the names of the objects of one kind."""
    return {document["metadata"]["name"] for document in documents if document["kind"] == kind}


def config(documents: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the controller's configuration."""
    (config_map,) = [item for item in documents if item["metadata"]["name"] == "workflow-controller-configmap"]
    return dict(yaml.safe_load(config_map["data"]["config"]))


def test_without_a_choice_the_manifests_stand_as_they_are(tmp_path: Path) -> None:
    """By default the controller's configuration means what its file contains, word for word."""
    source = yaml.safe_load((ROOT / "manifests" / "argo" / "default-argo-configmap.yaml").read_text())
    assert config(rendered(tmp_path)) == yaml.safe_load(source["data"]["config"])


def test_no_object_has_an_empty_list(tmp_path: Path) -> None:
    """Kubernetes drops an empty list. If Argo CD then applied the exported one, it would conflict with ours."""

    def empty(value: object) -> bool:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else []
        return value == [] or any(map(empty, parts))

    core = [item for item in rendered(tmp_path, network_policies=True) if item["kind"] != "CustomResourceDefinition"]
    assert [item["metadata"]["name"] for item in core if empty(item)] == []


def test_everything_moves_to_another_namespace(tmp_path: Path) -> None:
    """With another namespace no object and no role stays in the one that the manifests name."""
    documents = rendered(tmp_path, namespace="team-a", network_policies=True)

    assert names(documents, "Namespace") == {"team-a"}
    assert {item["metadata"].get("namespace", "team-a") for item in documents} == {"team-a"}
    subjects = [subject for item in documents for subject in item.get("subjects", [])]
    assert subjects
    assert {subject["namespace"] for subject in subjects} == {"team-a"}


def test_an_argo_that_is_there(tmp_path: Path) -> None:
    """With argo: use nothing of Argo's own is applied, and its Argo finds our artifact repository in our namespace."""
    documents = rendered(tmp_path, argo="use")

    assert names(documents, "CustomResourceDefinition") == set()
    assert names(documents, "Deployment") == {"minio"}
    assert names(documents, "ServiceAccount") == {"pipeline", "late"}
    (repository,) = [item for item in documents if item["metadata"]["name"] == "artifact-repositories"]
    assert repository["metadata"]["annotations"]["workflows.argoproj.io/default-artifact-repository"] in repository["data"]
    (artifacts,) = map(yaml.safe_load, repository["data"].values())
    assert (artifacts["archiveLogs"], artifacts["s3"]["bucket"], artifacts["s3"]["endpoint"]) == (True, "artifacts", "argo-artifacts:9000")


def test_pods_of_an_argo_that_is_there(tmp_path: Path) -> None:
    """With argo: use every pod has our ServiceAccount and complies with `restricted`, no matter which defaults that Argo has."""
    templates = [item["spec"] for item in rendered(tmp_path, argo="use") if item["kind"] == "WorkflowTemplate"]
    assert {spec["serviceAccountName"] for spec in templates} == {"pipeline"}
    for spec in templates:
        for template in spec["templates"]:
            containers = template.get("containerSet", {}).get("containers", []) + (
                [template["container"]] if "container" in template else []
            )
            volumes = template.get("volumes", [])
            assert violations({"securityContext": spec["securityContext"], "containers": containers, "volumes": volumes}) == []
            assert all(container["resources"]["requests"] for container in containers)


def test_a_store_that_is_there(tmp_path: Path) -> None:
    """With store: use no MinIO is installed, and Argo is led to the endpoint, region and bucket that were named, with TLS."""
    documents = rendered(tmp_path, **USED)

    assert names(documents, "Deployment") == {"workflow-controller", "argo-server"}
    assert names(documents, "PersistentVolumeClaim") == set()
    store = config(documents)["artifactRepository"]["s3"]
    assert (store["endpoint"], store["insecure"], store["region"], store["bucket"]) == (
        "s3.example.com",
        False,
        "eu-central-1",
        "team-artifacts",
    )


def test_network_policies_are_a_choice(tmp_path: Path) -> None:
    """NetworkPolicies are applied only where they were asked for."""
    assert names(rendered(tmp_path), "NetworkPolicy") == set()


def test_network_policies_on_request(tmp_path: Path) -> None:
    """With network_policies: true each of the three programs has one."""
    assert names(rendered(tmp_path, network_policies=True), "NetworkPolicy") == {"minio", "argo-server", "workflow-controller"}


@pytest.mark.parametrize("settings", [{}, {"argo": "use"}, USED, {"argo": "use", **USED}], ids=str)
def test_every_choice_is_a_plan(settings: dict[str, str]) -> None:
    """For every choice, the steps that are left come in an order in which they can be done."""
    titles = [step.title for step in plan.up(parse(settings, {}))]
    for step in plan.up(parse(settings, {})):
        assert all(titles.index(need) < titles.index(step.title) for need in step.needs if need in titles)
    assert ("MinIO" in titles) == ("store" not in settings)


def test_the_policy_is_about_the_buckets_that_were_chosen() -> None:
    """The pipelines' user is allowed the buckets that the settings name, and no others."""
    rules = policy(Settings(bucket_artifacts="a-b", bucket_outputs="out"))
    named = {
        resource.removeprefix("arn:aws:s3:::").removesuffix("/*") for item in rules["Statement"] for resource in item.get("Resource", [])
    }
    assert named == {"singer-configs", "a-b", "out"}


def pieces(value: Any, key: str) -> list[Any]:
    """Return the values of a key, at any depth."""
    if isinstance(value, dict):
        return [piece for name, item in value.items() for piece in ([item] if name == key else []) + pieces(item, key)]
    return [piece for item in value for piece in pieces(item, key)] if isinstance(value, list) else []


FOLDERS: dict[str, Any] = {f"bucket_{name}": f"lake/singer/{name}" for name in ("configs", "artifacts", "outputs")}


def test_folders_of_a_bucket_are_before_every_key(tmp_path: Path) -> None:
    """Where a bucket is a folder of one, Argo's keys begin with it: those of inputs, of outputs and of logs, each with its own."""
    documents = rendered(tmp_path, **{**USED, **FOLDERS})
    addresses = [item for document in documents if document["kind"] == "WorkflowTemplate" for item in pieces(document, "s3")]
    assert addresses
    for address in addresses:
        ours = "configs" if "bucket" in address else "artifacts"
        assert (address.get("bucket", "lake"), address["key"].startswith(f"lake/singer/{ours}/".removeprefix("lake/"))) == ("lake", True)
    repository = config(documents)["artifactRepository"]["s3"]
    assert (repository["bucket"], repository["keyFormat"]) == ("lake", "singer/artifacts/workflows/{{workflow.name}}/{{pod.name}}")
    (variables,) = [item["data"] for item in documents if item["metadata"]["name"] == "singer-store"]
    assert variables["SINGER_BUCKET_OUTPUTS"] == "lake/singer/outputs"


def test_what_can_be_listed_is_below_the_folder() -> None:
    """The policy for folders of a bucket names the bucket once for each, with what may be listed, and objects below them alone."""
    statements = {item["Sid"]: item for item in policy(Settings(**FOLDERS))["Statement"]}
    listing = [item for sid, item in statements.items() if sid.startswith("ListOurObjects")]
    assert {item["Condition"]["StringLike"]["s3:prefix"][0] for item in listing} == {
        f"{item.partition('/')[2]}/*" for item in FOLDERS.values()
    }
    assert all(item["Resource"] == ["arn:aws:s3:::lake"] for item in listing)
    assert statements["LookAtOurBuckets"]["Resource"] == ["arn:aws:s3:::lake"]
    assert statements["ReadAndWriteObjects"]["Resource"] == [f"arn:aws:s3:::{item}/*" for item in FOLDERS.values()]


def test_keys_of_a_secret_that_is_there(tmp_path: Path) -> None:
    """With another Secret every reference to the store's keys is to that one."""
    documents = rendered(tmp_path, **USED, s3_credentials="secret", s3_secret="lake-keys")
    references = [*pieces(documents, "secretKeyRef"), *pieces(documents, "accessKeySecret"), *pieces(documents, "secretKeySecret")]
    references += [config(documents)["artifactRepository"]["s3"]["accessKeySecret"]]
    (server,) = [item for item in documents if (item["kind"], item["metadata"]["name"]) == ("Role", "argo-server")]
    references += [{"name": name} for name in pieces(server, "resourceNames")[-1]]
    assert len(references) > 10
    assert {item["name"] for item in references} == {"lake-keys"}


def test_the_identity_of_pods_needs_no_keys(tmp_path: Path) -> None:
    """With the pods' identity no object names a key; Argo asks its SDK, and the pods' ServiceAccount has the role that was named."""
    role = "arn:aws:iam::123456789012:role/singer"
    documents = rendered(tmp_path, **USED, s3_credentials="identity", s3_role=role)
    for key in ("secretKeyRef", "accessKeySecret", "secretKeySecret"):
        assert pieces(documents, key) == []
    places = [config(documents)["artifactRepository"]["s3"], *(item for item in pieces(documents, "s3") if "bucket" in item)]
    assert all(address["useSDKCreds"] is True for address in places)
    (account,) = [item for item in documents if (item["kind"], item["metadata"]["name"]) == ("ServiceAccount", "pipeline")]
    assert account["metadata"]["annotations"]["eks.amazonaws.com/role-arn"] == role


def test_a_store_with_a_certificate_of_the_companys(tmp_path: Path) -> None:
    """Where the company's certificates are named, Argo knows the store by them too; by plain HTTP none are needed."""
    documents = rendered(tmp_path, **USED, ca_bundle=certifi.where())
    (secret,) = [item for item in documents if (item["kind"], item["metadata"]["name"]) == ("Secret", "singer-ca")]
    places = [config(documents)["artifactRepository"]["s3"], *(item for item in pieces(documents, "s3") if "bucket" in item)]
    assert len(places) > 5
    assert all(address["caSecret"] == {"name": "singer-ca", "key": next(iter(secret["data"]))} for address in places)


def test_a_store_by_plain_http(tmp_path: Path) -> None:
    """If the store has no TLS, no certificate is mounted for it."""
    documents = rendered(tmp_path, **{**USED, "s3_endpoint": "http://s3.example.com"}, ca_bundle=certifi.where())
    assert pieces(documents, "caSecret") == []
    assert "singer-ca" not in names(documents, "Secret")


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"s3_credentials": "identity"}, "singer.s3_credentials"),
        ({"s3_secret": "lake-keys"}, "singer.s3_secret"),
        ({**USED, "s3_secret": "Lake Keys"}, "singer.s3_secret"),
        ({**USED, "s3_role": "arn:aws:iam::123456789012:role/singer"}, "singer.s3_role"),
        ({**USED, "s3_credentials": "identity", "s3_role": "singer"}, "singer.s3_role"),
        ({"bucket_outputs": "artifacts"}, "singer.bucket_artifacts"),
        ({"bucket_outputs": "artifacts/out"}, "singer.bucket_outputs"),
        ({"bucket_outputs": "lake/../other"}, "singer.bucket_outputs"),
        ({"bucket_outputs": "lake/{{x}}"}, "singer.bucket_outputs"),
        ({"bucket_outputs": "lake/"}, "singer.bucket_outputs"),
    ],
    ids=str,
)
def test_what_does_not_fit_a_store(settings: dict[str, str], problem: str) -> None:
    """What would be ignored, and buckets whose keys could be alike, are refused."""
    with pytest.raises(SetupError) as caught:
        parse(settings, {})
    assert caught.value.code == "E-SETTING"
    assert caught.value.problem.startswith(f"{problem} ")


def test_a_store_on_this_machine_cannot_be_used_by_pods() -> None:
    """With store: use an address of this machine alone is refused: pods would look for it in themselves."""
    with pytest.raises(Exception, match="pods reach"):
        parse({"store": "use", "s3_endpoint": "http://127.0.0.1:9000"}, {})


def test_runs_may_change_the_secrets_that_have_a_token(tmp_path: Path) -> None:
    """The role names the Secrets of connectors whose config in a pipeline has a token as a variable, and no rule is without names."""
    configs = tmp_path / "singer-configs"
    entry = {"tap": "tap-a", "target": "target-b"}
    files: dict[str, Any] = {
        "pipelines.yaml": {"one": entry, "two": {**entry, "config": "two.json"}, "broken": {"tap": "tap-none", "target": "target-b"}},
        "tap-a/connector.yaml": {"kind": "tap", "pip_url": "a"},
        "target-b/connector.yaml": {"kind": "target", "pip_url": "b"},
        "tap-a/config.json": {"token_url": "no variable", "password": "${B}"},
        "target-b/config.json": {"password": "${B}"},
        "two.json": {},
    }
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    for wanted, two in (([], {}), (["connector-tap-a"], {"oauth": [{"refreshToken": "x${A}"}]})):
        for name, content in {**files, "two.json": two}.items():
            (configs / name).parent.mkdir(parents=True, exist_ok=True)
            (configs / name).write_text(yaml.safe_dump(content) if name.endswith("yaml") else json.dumps(content))
        rendering = Handles(Settings(root=tmp_path), {}).rendering
        (role,) = [item for item in rendering.documents if (item["kind"], item["metadata"]["name"]) == ("Role", "pipeline-secrets")]
        assert [rule["resourceNames"] for rule in role.get("rules", [])] == ([wanted] if wanted else [])
        assert rendering.secrets_role == (role if wanted else None)
