"""The templates of pipelines and the examples that use them: what must hold of all of them. Needs no cluster."""

from __future__ import annotations

import json
import re

import kubernetes_schemas
import pytest
import yaml
from contract_tables import first_column
from manifest_files import BUCKETS, MANIFESTS, WORKFLOWS, Document, argo_config, find, name_of
from pod_security import violations
from workflow_templates import LEAVES, TEMPLATES, USES, containers, each_template, environment, mounts, parameters, side

SIDES = ("tap", "mapper", "target", "transform")
CONNECTION = {"transform": "target"}
"""Whose config and whose Secret a side has that has none itself."""
NETWORK = {"secretRef": {"name": "singer-network", "optional": True}}
"""What a pod behind a company's proxy has to know; docs/contracts.md."""


@each_template
def test_pods_are_valid_and_comply_with_restricted(template: Document) -> None:
    """With Argo's defaults and the parameters filled in, every pod is one that Kubernetes knows and that `restricted` allows."""
    config = argo_config()
    spec = {
        "securityContext": config["workflowDefaults"]["spec"]["securityContext"],
        "volumes": template.get("volumes", []),
        "containers": [
            {"name": name, **config["mainContainer"], **{key: value for key, value in container.items() if key != "dependencies"}}
            for name, container in containers(template).items()
        ],
    }
    assert violations(spec) == []
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "x"}, "spec": spec}
    kubernetes_schemas.validate(pod)


@each_template
def test_containers_are_explicit(template: Document) -> None:
    """Argo never has to ask a registry for an image's command, and a pod whose image never comes ends."""
    for container in containers(template).values():
        assert container["command"][0] == "/usr/local/bin/python"
        assert container["args"]
    assert template["pendingTimeout"]
    assert template["activeDeadlineSeconds"]


@each_template
def test_only_our_own_container_has_credentials(template: Document) -> None:
    """S3 credentials are in the environment of `commit` alone; a connector has its own Secret and nobody else's."""
    for name, container in containers(template).items():
        whose = side(template, name)
        references = [value for value in environment(container).values() if isinstance(value, dict)]
        assert bool(references) is (whose == "commit" and container["args"] != ["keep"])
        assert all(value["secretKeyRef"]["name"] == "argo-artifacts" for value in references)
        secrets = {volume["name"]: volume["secret"] for volume in template["volumes"] if "secret" in volume}
        seen = [secrets[volume]["secretName"] for volume in mounts(template, name).values() if volume in secrets]
        wanted = {"commit": ["singer-notify"] if template["name"] == "record" else []}
        assert seen == wanted.get(whose, [f"connector-{{{{workflow.parameters.{CONNECTION.get(whose, whose)}}}}}"])
        assert all(secret["optional"] for secret in secrets.values())


@each_template
def test_a_side_sees_its_own_config_alone(template: Document) -> None:
    """The config and the files of one side are not among the mounts of the other, and one with its secrets filled in lies in memory."""
    for name, container in containers(template).items():
        whose = side(template, name)
        if whose not in SIDES:
            continue
        seen = mounts(template, name)
        work = next(volume for volume in template["volumes"] if volume["name"] == seen["/singer/work"])
        assert work["emptyDir"]["medium"] == "Memory"
        assert environment(container)["SINGER_WORK"].startswith("/singer/work/")
        for artifact in template["inputs"]["artifacts"]:
            others_ = {"tap", "mapper", "target"} - {CONNECTION.get(whose, whose)}
            if artifact["name"] in {f"{other}-{what}" for other in others_ for what in ("config", "files")}:
                assert not any(artifact["path"].startswith(path + "/") for path in seen)
        others = [sibling for sibling in containers(template) if sibling != name]
        assert not any(
            "/singer/work" in mounts(template, sibling) and mounts(template, sibling)["/singer/work"] == work["name"] for sibling in others
        )


@each_template
def test_replaced_secrets_reach_our_own_container_alone(template: Document) -> None:
    """A side writes them on a volume in memory that only `main` reads; `main` alone has a token, and only beside a side."""
    memory = {volume["name"] for volume in template["volumes"] if volume.get("emptyDir", {}).get("medium") == "Memory"}
    tokens = {volume["name"] for volume in template["volumes"] if "projected" in volume}
    sides = [name for name, container in containers(template).items() if "SINGER_ROTATED" in environment(container)]
    assert bool(tokens) is bool(sides)
    for name, container in containers(template).items():
        seen = mounts(template, name)
        if name in sides:
            assert environment(container)["SINGER_ROTATED"].startswith("/singer/rotated/")
            assert seen["/singer/rotated"] in memory
            assert mounts(template, "main")[f"/singer/rotated/{name}"] == seen["/singer/rotated"]
            assert list(seen.values()).count(seen["/singer/rotated"]) == 1
        assert (set(seen.values()) & tokens == tokens) is (name == "main" or not tokens)
        read = {f"/singer/rotated/{side}" for side in sides} if name == "main" else set()
        assert {path for path in seen if path.startswith("/singer/rotated/")} == read


@each_template
def test_both_sides_share_their_batch_files(template: Document) -> None:
    """The folder has the same path on both sides, on the one volume that both have; the bucket takes it from pod to pod."""
    for name, container in containers(template).items():
        if side(template, name) in {"tap", "mapper", "target"}:
            assert environment(container)["SINGER_BATCH_DIR"] == "/singer/shared/batches"
            assert mounts(template, name)["/singer/shared"] == "shared"
    keys = {
        artifact["name"]: artifact["s3"]["key"].replace("inputs.parameters.from-run", "workflow.name")
        for kind in ("inputs", "outputs")
        for artifact in template.get(kind, {}).get("artifacts", [])
        if artifact["path"] == "/singer/shared/batches"
    }
    staged = template["name"] in {"extract", "extract-with-mapper", "load"}
    assert keys == ({"batches": "raw/{{workflow.parameters.pipeline}}/{{workflow.name}}/batches"} if staged else {})


@each_template
def test_inputs_lie_on_volumes(template: Document) -> None:
    """What is optional and missing is absent: an input that lies on no volume would be an empty folder then."""
    runs: Document = template.get("containerSet") or template.get("container") or {}
    volumes = runs.get("volumeMounts", [])
    for artifact in template.get("inputs", {}).get("artifacts", []):
        assert any(artifact["path"].startswith(mount["mountPath"] + "/") for mount in volumes)
        assert artifact["archive"] == {"none": {}}
        assert bool(artifact.get("optional")) is (artifact["name"] not in {"tap-config", "tap-output"})


@each_template
def test_data_and_state_are_never_outputs(template: Document) -> None:
    """Argo stores outputs of failed pods too: only reports are outputs, and a tap's output is stored below its own run."""
    for artifact in template.get("outputs", {}).get("artifacts", []):
        assert artifact["s3"].keys() == {"key"}
        assert re.match(r"workflows/\{\{workflow.name\}\}/|raw/.*/\{\{workflow.name\}\}/", artifact["s3"]["key"])
        assert artifact["path"] in {
            "/singer/shared/tap.json",
            "/singer/shared/mapper.json",
            "/singer/shared/target.json",
            "/singer/shared/transform.json",
            "/singer/shared/main.json",
            "/singer/shared/batches",
            "/tmp/tap_output.txt",
        }


def test_nothing_is_committed_before_all_has_ended_well() -> None:
    """The container that stores results gets the names of all whose results they are: all others of its pod."""
    for name, after in (
        ("streaming:run", "tap,target"),
        ("streaming:run-with-mapper", "tap,mapper,target"),
        ("staged:extract", "tap"),
        ("staged:extract-with-mapper", "tap,mapper"),
        ("staged:load", "target"),
    ):
        pod = containers(LEAVES[name][1])
        names = {item["name"]: item["value"] for item in pod["main"]["env"] if "value" in item}["SINGER_AFTER"]
        assert names in {after, "{{workflow.parameters.after}}"}
        assert sorted(after.split(",")) == sorted(pod.keys() - {"main"})
        for other in after.split(","):
            variables = {item["name"]: item["value"] for item in pod[other]["env"]}
            assert (variables["SINGER_REPORT"], variables["SINGER_LOCK"]) == (
                f"/singer/shared/{other}.json",
                f"/singer/shared/{other}.lock",
            )
    [dag] = [template["dag"] for template in find("WorkflowTemplate", "staged")["spec"]["templates"] if template["name"] == "run"]
    assert {task["name"]: task.get("depends") for task in dag["tasks"]} == {"extract": None, "load": "extract"}


@pytest.mark.parametrize(
    ("mode", "load"),
    [("streaming", "run"), ("streaming", "run-with-mapper"), ("staged", "run"), ("staged", "run-with-mapper"), ("staged", "replay")],
)
def test_a_transform_follows_a_load_that_ended_well(mode: str, load: str) -> None:
    """It is a step after the whole load, which is what it is for a pipeline without one; a load that failed is not transformed."""
    templates = {template["name"]: template for template in find("WorkflowTemplate", mode)["spec"]["templates"]}
    tasks = {task["name"]: (task["template"], task.get("depends")) for task in templates[f"{load}-and-transform"]["dag"]["tasks"]}
    assert tasks == {load: (load, None), "transform": ("transform", load)}
    assert "main" not in containers(templates["transform"]) or side(templates["transform"], "main") == "transform"


@pytest.mark.parametrize("document", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_templates_agree_with_what_they_start(document: Document) -> None:
    """Every parameter that is used is declared and the other way round; every variable is one that our programs read."""
    spec = document["spec"]
    declared = {item["name"] for item in spec["arguments"]["parameters"]}
    assert parameters(json.dumps(spec)) == declared
    known = first_column("## Entrypoint (`singer-containers/entrypoint.py tap|mapper|target|transform`)")
    ours = first_column("## Commit (`singer-containers/commit.py commit|finish`)")
    stored = set(find("ConfigMap", "singer-store")["data"])
    for template in spec["templates"]:
        for name, container in containers(template).items() if {"container", "containerSet"} & template.keys() else ():
            variables = {key for key in environment(container) if key.startswith("SINGER_")}
            if side(template, name) == "commit":
                assert variables <= ours
                assert container["envFrom"] == [{"configMapRef": {"name": "singer-store"}}, NETWORK]
                assert stored <= ours
                assert {"SINGER_PIPELINE", "SINGER_RUN", "SINGER_STARTED", "SINGER_TAP", "SINGER_TARGET"} <= variables
            else:
                assert variables <= known
                assert container["envFrom"] == [NETWORK]
                assert environment(container)["SINGER_REPORT"].startswith("/singer/shared/")


@pytest.mark.parametrize("document", TEMPLATES.values(), ids=TEMPLATES.keys())
def test_runs_of_a_pipeline_wait_for_each_other(document: Document) -> None:
    """A mutex by pipeline; and after a success no pod is started unless there is a transform or a notification to send."""
    spec = document["spec"]
    assert spec["synchronization"]["mutexes"] == [{"name": "pipeline-{{workflow.parameters.pipeline}}"}]
    [finish] = [template for template in spec["templates"] if template["name"] == spec["onExit"]]
    [[step]] = finish["steps"]
    conditions = (
        '"{{workflow.status}}" != "Succeeded"',
        '"{{workflow.parameters.notify}}" == "always"',
        '"{{workflow.parameters.transform}}" != ""',
        *(['"{{workflow.parameters.split}}" == "true"'] if document["metadata"]["name"] == "streaming" else []),
    )
    assert step["when"].split(" || ") == list(conditions)
    assert step["continueOn"] == {"failed": True, "error": True}


@each_template
def test_retries_are_bounded(template: Document) -> None:
    """A run is retried as its pipeline asks, with pauses, within its timeout; what the entrypoint refuses is not."""
    if template["name"] == "record":
        return
    retry = template["retryStrategy"]
    assert retry["limit"] == "{{workflow.parameters.retries}}"
    assert retry["backoff"]["maxDuration"] == template["activeDeadlineSeconds"] == "{{workflow.parameters.timeout}}"
    assert retry["expression"] == "asInt(lastRetry.exitCode) != 90"


@each_template
def test_the_store_is_named_alike(template: Document) -> None:
    """Inputs come from the bucket, the endpoint and the region that the commit and Argo itself use."""
    stored = find("ConfigMap", "singer-store")["data"]
    assert [stored[f"SINGER_BUCKET_{name}"] for name in ("CONFIGS", "ARTIFACTS", "OUTPUTS")] == list(BUCKETS)
    repository = argo_config()["artifactRepository"]["s3"]
    assert stored["SINGER_S3_ENDPOINT"] == f"http://{repository['endpoint']}"
    for artifact in template.get("inputs", {}).get("artifacts", []):
        if "bucket" in artifact["s3"]:
            assert artifact["s3"]["bucket"] == stored["SINGER_BUCKET_CONFIGS"]
            for key in ("endpoint", "insecure", "region", "accessKeySecret", "secretKeySecret"):
                assert artifact["s3"][key] == repository[key]


@pytest.mark.parametrize("document", USES.values(), ids=USES.keys())
def test_examples_give_what_the_template_asks_for(document: Document) -> None:
    """A Workflow and a CronWorkflow for people who write YAML: every parameter without a default is given, and no other name."""
    spec = document["spec"].get("workflowSpec", document["spec"])
    template = find("WorkflowTemplate", spec["workflowTemplateRef"]["name"])["spec"]
    arguments = {item["name"]: item for item in spec["arguments"]["parameters"]}
    declared = {item["name"]: item for item in template["arguments"]["parameters"]}
    assert arguments.keys() <= declared.keys()
    assert {name for name, item in declared.items() if not {"value", "valueFrom"} & item.keys()} <= arguments.keys()
    for side_ in ("tap", "target"):
        folder = MANIFESTS.parent / "singer-configs" / arguments[side_]["value"]
        assert (folder / "connector.yaml").exists()
        assert arguments[f"{side_}-image"]["valueFrom"]["configMapKeyRef"] == {"name": "singer-images", "key": arguments[side_]["value"]}
    pipelines = yaml.safe_load((MANIFESTS.parent / "singer-configs" / "pipelines.yaml").read_text(encoding="utf-8"))
    assert arguments["pipeline"]["value"] in pipelines


def test_every_kind_of_workflow_object_is_here() -> None:
    """Two templates, and one example of each way to use them."""
    assert sorted(document["kind"] for document in WORKFLOWS.values()) == [
        "CronWorkflow",
        "Workflow",
        "WorkflowTemplate",
        "WorkflowTemplate",
    ]
    assert {name_of(document) for document in TEMPLATES.values()} == {"streaming", "staged"}
