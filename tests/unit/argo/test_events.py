"""What starts a pipeline beside its schedule: objects of Argo Events, and the Workflow that is in them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from argo_models import unknown
from example_pipeline import LABELS, PLAIN, TARGET, parameters_of
from manifest_files import find
from pod_security import violations

from cluster.argo import events, status, templates, workflow
from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.project.model import Events
from cluster.project.reader import Project

INCOMING = Events("incoming", "orders/", ".csv", "", "")
CALLED = Events("", "", "", "/orders", "orders-webhook")
SETTINGS = Settings(root=Path("/checkout"))
MINIO = "http://argo-artifacts:9000"


def made(listening: Events = INCOMING, settings: Settings = SETTINGS, *, trusting: bool = False, **pipeline: Any) -> tuple[Any, Any]:
    """Return the EventSource and the Sensor of a pipeline."""
    chosen = replace(PLAIN, events=listening, **pipeline)
    source, sensor = events.documents(chosen, parameters_of(chosen), TARGET, settings, MINIO, trusting=trusting)
    return source, sensor


def run_of(sensor: dict[str, Any]) -> dict[str, Any]:
    """Return the Workflow that a Sensor creates."""
    (trigger,) = sensor["spec"]["triggers"]
    assert trigger["template"]["k8s"]["operation"] == "create"
    return dict(trigger["template"]["k8s"]["source"]["resource"])


@pytest.mark.parametrize("listening", [INCOMING, CALLED], ids=["bucket", "webhook"])
def test_argo_events_knows_every_field(listening: Events) -> None:
    """Its models know what we write, but for the Workflow inside, which is Argo Workflows' own and known to its models."""
    source, sensor = made(listening, trusting=True)
    declared = {".apiVersion", ".kind"}
    below = ".spec.webhook.start."  # the models have these one level lower than its JSON schema, which we follow
    assert {path for path in unknown("EventSource", source, "events") if not path.startswith(below)} == declared
    for called in source["spec"].get("webhook", {}).values():
        assert unknown("WebhookContext", called, "events") == set()
    inside = ".spec.triggers[0].template.k8s.source.resource."
    assert {path for path in unknown("Sensor", sensor, "events") if not path.startswith(inside)} == declared
    assert unknown("Workflow", run_of(sensor)) == set()


@pytest.mark.parametrize("mode", ["streaming", "staged"])
def test_the_run_is_that_of_the_pipeline(mode: str) -> None:
    """It is what `run` would submit, with a name that the cluster makes up; the template knows each parameter and lacks none."""
    _, sensor = made(mode=mode)
    run, chosen = run_of(sensor), replace(PLAIN, mode=mode)
    submitted = workflow.workflow(chosen, "20261124t081501-2bcd", parameters_of(chosen), TARGET)
    assert run["metadata"].pop("generateName") == "p-"
    assert submitted["metadata"].pop("name")
    assert run == submitted
    parameters = find("WorkflowTemplate", mode)["spec"]["arguments"]["parameters"]
    passed = {item["name"] for item in run["spec"]["arguments"]["parameters"]}
    assert passed <= {item["name"] for item in parameters}
    assert passed >= {item["name"] for item in parameters if not item.keys() & {"value", "valueFrom"}}


def test_the_commands_know_the_run() -> None:
    """Whose run it is stands where `runs` looks for it, when it has a name and has begun."""
    run = run_of(made()[1])
    live = {**run, "metadata": {**run["metadata"], "name": "p-x7k2q", "creationTimestamp": "2026-11-24T08:15:05Z"}}
    seen = status.seen(live)
    assert (seen.run, seen.pipeline, seen.parameters["tap"]) == ("p-x7k2q", "p", "tap-x")
    assert live["metadata"]["labels"].items() >= {**LABELS, workflow.PIPELINE: "p"}.items()


def test_the_sensor_hears_the_source() -> None:
    """The Sensor depends on the one event of the pipeline's own EventSource, and runs as the account that may create Workflows."""
    source, sensor = made()
    (dependency,) = sensor["spec"]["dependencies"]
    assert dependency["eventSourceName"] == source["metadata"]["name"]
    assert [dependency["eventName"]] == list(source["spec"]["minio"])
    account = sensor["spec"]["template"]["serviceAccountName"]
    assert find("ServiceAccount", account)
    assert find("Role", account)["rules"] == [{"apiGroups": ["argoproj.io"], "resources": ["workflows"], "verbs": ["create"]}]


@pytest.mark.parametrize("document", made())
def test_its_pods_comply_with_restricted(document: dict[str, Any]) -> None:
    """What Argo Events runs for us may start in a namespace that enforces `restricted`, and asks for little."""
    template = document["spec"]["template"]
    container = {"name": "main", **template["container"]}
    assert violations({"securityContext": template["securityContext"], "containers": [container]}) == []
    assert container["resources"]["requests"] == {"cpu": "10m", "memory": "32Mi"}


def test_a_bucket_of_the_store() -> None:
    """The bucket is looked for where runs find theirs, opened by the store's Secret or one that is named, by the company's certificates."""
    (listening,) = made(trusting=True)[0]["spec"]["minio"].values()
    assert (listening["endpoint"], listening["insecure"], listening["bucket"]) == ("argo-artifacts:9000", True, {"name": "incoming"})
    assert listening["filter"] == {"prefix": "orders/", "suffix": ".csv"}
    assert listening["accessKey"] == {"name": "argo-artifacts", "key": "accesskey"}
    assert listening["caCertificate"]["name"] == templates.CA
    own = made(replace(INCOMING, secret="incoming-keys"))[0]["spec"]["minio"]["start"]
    assert (own["secretKey"], "caCertificate" in own) == ({"name": "incoming-keys", "key": "secretkey"}, False)


def test_a_bucket_without_keys() -> None:
    """Where the store is opened by the pods' identity, a Secret must be named, and the hint names the line to write."""
    settings = replace(SETTINGS, store="use", s3_credentials="identity")
    with pytest.raises(SetupError, match="opens a bucket by keys alone") as caught:
        made(settings=settings)
    assert (caught.value.code, "p.events.secret" in caught.value.hint) == ("E-SETTING", True)
    assert made(replace(INCOMING, secret="incoming-keys"), settings)


def test_a_call_with_a_token() -> None:
    """A webhook is a POST to a path of the cluster's own, with a token where a Secret is named."""
    spec = made(CALLED)[0]["spec"]
    (listening,) = spec["webhook"].values()
    assert (listening["method"], listening["endpoint"], listening["authSecret"]) == (
        "POST",
        "/orders",
        {"name": "orders-webhook", "key": "token"},
    )
    assert [str(port["port"]) for port in spec["service"]["ports"]] == [listening["port"]]
    assert "authSecret" not in made(replace(CALLED, secret=""))[0]["spec"]["webhook"]["start"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{}", "p.events.bucket"),
        ("{bucket: incoming, webhook: /x}", "p.events.webhook"),
        ("{webhook: orders}", "a path such as /rates"),
        ("{webhook: /orders, prefix: a/}", "p.events.prefix"),
        ("{bucket: In}", "the name of a bucket"),
        ("{bucket: incoming, secret: A_B}", "the name of a Secret"),
        ("{buket: incoming}", "Did you mean"),
        ("incoming", "a mapping"),
    ],
)
def test_what_is_refused(tmp_path: Path, text: str, problem: str) -> None:
    """Another form than that of the page is answered with the key and what is allowed."""
    for side in ("tap", "target"):
        (tmp_path / "singer-configs" / f"{side}-x").mkdir(parents=True)
        (tmp_path / "singer-configs" / f"{side}-x" / "connector.yaml").write_text(f"kind: {side}\npip_url: {side}-x\n", encoding="utf-8")
    (tmp_path / "singer-configs" / "pipelines.yaml").write_text(f"p: {{tap: tap-x, target: target-x, events: {text}}}\n", encoding="utf-8")
    with pytest.raises(SetupError) as caught:
        Project(tmp_path).pipeline("p")
    assert (caught.value.code, problem in caught.value.problem) == ("E-CONFIG", True), caught.value.problem
