"""A pipeline as Argo's objects, and what is read out of a live Workflow."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from argo_models import unknown
from example_pipeline import AFTER, IMAGES, MAPPER, PLAIN, ROOT, TARGET, parameters_of
from manifest_files import MANIFESTS, find

from cluster.argo import status, templates
from cluster.argo import workflow as argo_workflow
from cluster.argo.workflow import RunOptions
from cluster.config.settings import Settings
from cluster.project import parts
from cluster.project.backfill import Backfill
from cluster.project.files import files_key
from cluster.project.model import File
from cluster.project.parts import Part, Plan
from cluster.runs.record import began

LATER = datetime(2026, 11, 24, 8, 15, 5, tzinfo=UTC)
RUN = "20261124t081501-2bcd"
PARTS = Plan((Part("a", ("a",)), Part("b", ("b",)), Part("c", ("c",))), at_once=2, first_alone=True, skipped=frozenset({"a"}))
FILES = {"a/x": File(b"1", 1), "b": File(b"2", 1)}


def test_a_run_as_a_document() -> None:
    """A Workflow is the template's name and its parameters, under our labels; its name is the run's id."""
    expected = yaml.safe_load(f"""
        apiVersion: argoproj.io/v1alpha1
        kind: Workflow
        metadata:
          name: {RUN}
          namespace: argo
          labels:
            app.kubernetes.io/name: p
            app.kubernetes.io/part-of: singer
            app.kubernetes.io/managed-by: singer
            singer/instance: 0a1b2c3d
            singer/pipeline: p
        spec:
          workflowTemplateRef: {{name: streaming}}
          arguments:
            parameters:
              - {{name: pipeline, value: p}}
              - {{name: tap, value: tap-x}}
              - {{name: tap-image, value: "localhost/singer/tap-x:1"}}
              - {{name: tap-version, value: "1.0"}}
              - {{name: tap-config, value: connectors/tap-x/config.json}}
              - {{name: tap-catalog, value: connectors/tap-x/catalog.json}}
              - {{name: initial-state, value: connectors/tap-x/state.json}}
              - {{name: target, value: target-x}}
              - {{name: target-image, value: "localhost/singer/target-x:1"}}
              - {{name: target-version, value: "2.0"}}
              - {{name: target-config, value: connectors/target-x/config.json}}
              - {{name: commit-image, value: "localhost/singer/commit:1"}}
              - {{name: full, value: "false"}}
              - {{name: outputs, value: '["*.csv"]'}}
              - {{name: safe-states, value: "auto"}}
              - {{name: resources, value: "{{}}"}}
              - {{name: timeout, value: "3600"}}
              - {{name: retries, value: "2"}}
              - {{name: notify, value: failure}}
              - {{name: ui, value: "http://127.0.0.1:2746"}}
              - {{name: tap-output, value: /singer/shared/pipe}}
          activeDeadlineSeconds: 90000
    """)
    assert argo_workflow.workflow(PLAIN, RUN, parameters_of(PLAIN), TARGET) == expected


def test_a_run_with_parts() -> None:
    """The pods get indexes of the plan, and so many run together; those that are skipped are left out, and one may run first."""
    spec = argo_workflow.workflow(PLAIN, RUN, parameters_of(PLAIN, RunOptions(plan=PARTS)), TARGET, RunOptions(plan=PARTS))["spec"]
    values = {item["name"]: item["value"] for item in spec["arguments"]["parameters"]}
    assert (values["first"], values["parts"], values["split"], values["pending"]) == ("[1]", "[2]", "true", "7200s")
    assert (spec["entrypoint"], spec["parallelism"], spec["activeDeadlineSeconds"]) == ("parts", 2, 93600)
    assert values["plan"] == PARTS.key
    short = parameters_of(replace(PLAIN, timeout=45), RunOptions(plan=PARTS))
    assert short["pending"] == "900s", "as long as in a run without parts"
    assert parts.read(PARTS.data()) == replace(PARTS, first_alone=False)


def test_a_thousand_parts() -> None:
    """A plan of a thousand parts stays out of the Workflow, whose parameters are far below Argo's limits."""
    plan = Plan(tuple(Part(f"{number:0>60}", (f"{number:0>200}",)) for number in range(1000)), at_once=50)
    document = json.dumps(argo_workflow.workflow(PLAIN, RUN, parameters_of(PLAIN, RunOptions(plan=plan)), TARGET, RunOptions(plan=plan)))
    assert len(document) < 10_000


@pytest.mark.parametrize(
    ("number", "mapped", "again"), [(1000, False, 1), (900, False, 2), (1000, True, 1), (700, True, 2), (300, True, 6), (3, True, 10)]
)
def test_argo_keeps_only_so_many_attempts(number: int, again: int, *, mapped: bool) -> None:
    """Of very many parts, each is tried again less often than the pipeline has it: a Workflow has at most 1 MB."""
    pipeline = replace(PLAIN, mapper=MAPPER if mapped else None, retries=10)
    plan = Plan(tuple(Part(str(index)) for index in range(number)))
    assert parameters_of(pipeline, RunOptions(plan=plan))["retries"] == str(again)


def test_files_are_named_by_their_content() -> None:
    """A run and a schedule name the hash of the files that a connector takes along; another content is another name."""
    first, second = ({"name": f"{side}-files", "value": key} for side, key in (("tap", files_key(FILES)), ("target", files_key({}))))
    made = replace(PLAIN, tap=replace(PLAIN.tap, files=FILES))
    for spec in (
        argo_workflow.workflow(made, RUN, parameters_of(made), TARGET)["spec"],
        argo_workflow.cron_workflow(made, parameters_of(made), TARGET)["spec"]["workflowSpec"],
    ):
        assert first in spec["arguments"]["parameters"]
        assert second not in spec["arguments"]["parameters"]
    assert re.fullmatch(r"files/[0-9a-f]{32}", files_key(FILES))
    assert (
        files_key({"b": File(b"2", 5), "a/x": File(b"1", 1)}) == files_key(FILES) != files_key({"a/x": File(b"2", 1), "b": File(b"1", 1)})
    )


def test_a_schedule_as_a_document() -> None:
    """A CronWorkflow never overlaps itself, forgives a laptop that slept, and is suspended where the pipeline is paused."""
    made = argo_workflow.cron_workflow(replace(PLAIN, paused=True), parameters_of(PLAIN), TARGET)
    spec = made["spec"]
    assert spec.pop("workflowSpec") == argo_workflow.workflow(PLAIN, RUN, parameters_of(PLAIN), TARGET)["spec"]
    assert spec.pop("workflowMetadata") == {"labels": made["metadata"]["labels"]}
    assert spec == {
        "schedules": ["0 6 * * *"],
        "timezone": "Europe/Berlin",
        "suspend": True,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 21600,
        "successfulJobsHistoryLimit": 20,
        "failedJobsHistoryLimit": 20,
    }


def test_a_schedule_of_a_split_pipeline() -> None:
    """Each run has the parts of the plan, so many together; none runs first, because tables are there after the first run."""
    split = replace(PLAIN, plan=replace(PARTS, skipped=frozenset(), first_alone=False))
    spec = argo_workflow.cron_workflow(split, parameters_of(split), TARGET)["spec"]["workflowSpec"]
    values = {item["name"]: item["value"] for item in spec["arguments"]["parameters"]}
    assert (spec["entrypoint"], spec["parallelism"], values["first"], values["parts"]) == ("parts", 2, "[]", "[0, 1, 2]")
    assert split.plan is not None
    assert values["plan"] == split.plan.key


WAYS = {
    "plain": RunOptions(),
    "from the beginning": RunOptions(full=True),
    "with raw output": RunOptions(keep_raw=True),
    "in a batch": RunOptions(batch=RUN),
    "over days of the past": RunOptions(backfill=Backfill("2024-01-01")),
    "in parts": RunOptions(plan=PARTS),
}


@pytest.mark.parametrize("mode", ["streaming", "staged"])
@pytest.mark.parametrize("options", [*WAYS.values(), RunOptions(replay="20261123t081501-2bcd")], ids=[*WAYS, "again"])
@pytest.mark.parametrize("mapped", [False, True], ids=["", "with a mapper"])
@pytest.mark.parametrize("after", [False, True], ids=["", "and a transform"])
def test_argo_and_the_template_know_all_of_it(mode: str, options: RunOptions, *, after: bool, mapped: bool) -> None:
    """For every kind of run, Argo knows every field, and the template every parameter and the entrypoint."""
    tap, target = (replace(side, files=FILES) for side in (PLAIN.tap, PLAIN.target))
    pipeline = replace(PLAIN, mode=mode, tap=tap, target=target, transform=AFTER if after else None)
    if mapped:
        pipeline = replace(pipeline, mapper=replace(MAPPER, files=FILES), mapper_config=MAPPER.config)
    if (options.replay and mode == "streaming") or (options.plan and mode == "staged"):
        return
    made = argo_workflow.workflow(pipeline, RUN, parameters_of(pipeline, options), TARGET, options)
    template = find("WorkflowTemplate", mode)["spec"]
    assert unknown("Workflow", made) == set()
    assert unknown("CronWorkflow", argo_workflow.cron_workflow(pipeline, parameters_of(pipeline), TARGET)) == set()
    declared = {item["name"] for item in template["arguments"]["parameters"]}
    names = {item["name"] for item in made["spec"]["arguments"]["parameters"]}
    assert names <= declared
    optional = {"from-run", "backfill"} | (set() if after else {name for name in declared if name.startswith("transform")})
    optional |= {"split", "plan", "first", "parts", "pending"} if options.plan is None else set()
    optional |= set() if mapped else {name for name in declared if name.startswith("mapper")} | {"pipes", "after"}
    assert declared - names <= optional
    assert ("-with-mapper" in made["spec"].get("entrypoint", "")) is (mapped and not options.replay)
    assert after is made["spec"].get("entrypoint", "").endswith("-and-transform")
    assert made["spec"].get("entrypoint", template["entrypoint"]) in {item["name"] for item in template["templates"]}


def test_a_transform_is_a_step_more() -> None:
    """A pipeline with a transform has its image, version and selection, another entrypoint, and as much time again; all else is as without."""
    plain, more = PLAIN, replace(PLAIN, transform=AFTER, transform_select="tag:daily")
    own = {"transform": "dbt-x", "transform-image": IMAGES["dbt-x"], "transform-version": "3.0", "transform-select": "tag:daily"}
    assert parameters_of(more) == parameters_of(plain) | own
    made = [argo_workflow.workflow(pipeline, RUN, parameters_of(pipeline), TARGET)["spec"] for pipeline in (plain, more)]
    assert [spec.get("entrypoint") for spec in made] == [None, "run-and-transform"]
    assert made[1]["activeDeadlineSeconds"] - made[0]["activeDeadlineSeconds"] == PLAIN.timeout


def test_a_mapper_is_a_container_more() -> None:
    """A pipeline with a mapper has its image, version and config; with --raw its output is kept, not the tap's."""
    mapped = replace(PLAIN, mapper=MAPPER, mapper_config=ROOT / "maps.json")
    own = {"mapper": "map-x", "mapper-image": IMAGES["map-x"], "mapper-version": "4.0", "mapper-config": "pipelines/p/mapper_config.json"}
    joined = {"pipes": "/singer/shared/pipe:/singer/shared/mapped", "after": "tap,mapper,target", "mapper-output": "/singer/shared/mapped"}
    assert parameters_of(mapped) == parameters_of(PLAIN) | own | joined
    assert parameters_of(mapped, WAYS["with raw output"]) == parameters_of(mapped) | {
        "mapper-output": "/singer/shared/raw:/singer/shared/mapped"
    }
    assert parameters_of(replace(mapped, mode="staged")) == parameters_of(replace(PLAIN, mode="staged")) | own | {"after": "tap,mapper"}


def test_the_ways_differ_in_what_they_should() -> None:
    """--full, --raw, a batch and a retry are each one parameter or label."""
    plain = parameters_of(PLAIN)
    assert parameters_of(PLAIN, WAYS["from the beginning"]) == {**plain, "full": "true"}
    assert parameters_of(PLAIN, WAYS["over days of the past"]) == {
        **plain,
        "full": "true",
        "backfill": '{"from": "2024-01-01", "to": null}',
    }
    assert parameters_of(PLAIN, WAYS["with raw output"]) == {**plain, "tap-output": "/singer/shared/raw:/singer/shared/pipe"}
    assert argo_workflow.workflow(PLAIN, RUN, plain, TARGET, WAYS["in a batch"])["metadata"]["labels"]["singer/batch"] == RUN
    staged = replace(PLAIN, mode="staged")
    again = RunOptions(replay="20261123t081501-2bcd")
    assert parameters_of(staged, again)["from-run"] == again.replay
    assert argo_workflow.workflow(staged, RUN, parameters_of(staged, again), TARGET, again)["spec"]["entrypoint"] == "replay"


def test_files_of_a_pipelines_own_have_keys_of_its_own() -> None:
    """A config that replaces a connector's own is stored below the pipeline, so that one tap serves several."""
    own = replace(PLAIN, config=ROOT / "a.json", catalog=ROOT / "b.json", target_config=ROOT / "c.json")
    keys = [argo_workflow.config_key(own, name) for name in ("config", "catalog", "target_config")]
    assert keys == ["pipelines/p/config.json", "pipelines/p/catalog.json", "pipelines/p/target_config.json"]
    assert "pipelines/p/state.json" not in keys


@pytest.mark.parametrize(
    ("asked", "made"),
    [
        ({}, {}),
        ({"cpu": "500m"}, {"requests": {"cpu": "500m"}}),
        ({"cpu": "1", "memory": "1Gi"}, {"requests": {"cpu": "1", "memory": "1Gi"}, "limits": {"memory": "1Gi"}}),
    ],
)
def test_resources(asked: dict[str, str], made: dict[str, Any]) -> None:
    """What a pipeline asks for is kept for it; of memory it gets no more, of processors what is left over."""
    assert json.loads(parameters_of(replace(PLAIN, resources=asked))["resources"]) == made


def test_another_store() -> None:
    """Templates and the commit's variables are given endpoint, region and buckets of the settings; nothing else changes."""
    settings = Settings(s3_region="eu-1", bucket_configs="c-1", bucket_artifacts="a-1", bucket_outputs="o-1")
    made = templates.placed(find("WorkflowTemplate", "streaming"), settings, "https://s3.example.com")
    [run] = [template for template in made["spec"]["templates"] if template["name"] == "run"]
    for artifact in run["inputs"]["artifacts"]:
        s3 = artifact["s3"]
        assert (s3["endpoint"], s3["insecure"], s3["region"], s3["bucket"]) == ("s3.example.com", False, "eu-1", "c-1")
    assert [artifact["s3"].keys() for artifact in run["outputs"]["artifacts"]] == [{"key"}] * 3
    data = templates.placed(find("ConfigMap", "singer-store"), settings, "https://s3.example.com")["data"]
    assert list(data.values()) == ["https://s3.example.com", "eu-1", "c-1", "a-1", "o-1"]
    same = templates.placed(find("WorkflowTemplate", "staged"), Settings(), "http://argo-artifacts:9000")
    assert same == find("WorkflowTemplate", "staged")


def test_kinds_of_files() -> None:
    """What lies in manifests/singer/ are templates and where their buckets are; the examples lie apart and are never applied by us."""
    kinds = [yaml.safe_load(file.read_text(encoding="utf-8"))["kind"] for file in sorted((MANIFESTS / "singer").glob("*.yaml"))]
    assert sorted(kinds) == ["ConfigMap", "WorkflowTemplate", "WorkflowTemplate"]


# ------------------------------------------------------------------------------------------------------- live Workflows


def live(phase: str = "", message: str = "", **nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a Workflow as the API server has it."""
    made = argo_workflow.workflow(PLAIN, RUN, parameters_of(PLAIN), TARGET)
    made["metadata"]["creationTimestamp"] = "2026-11-24T08:15:01Z"
    return {**made, "status": {"phase": phase, "message": message, "nodes": nodes}} if phase else made


def pod(phase: str = "Running", template: str = "run", **more: Any) -> dict[str, Any]:
    """Return a node that is a pod."""
    return {"type": "Pod", "phase": phase, "templateName": template, **more}


@pytest.mark.parametrize(
    ("workflow", "waiting", "records", "ended"),
    [
        (live(), "waiting for Argo", 0, False),
        (live("Pending", "Waiting for argo/Mutex/pipeline-p lock. Lock status: 0/1"), "waiting: another run of this pipeline is under way", 0, False),
        (live("Pending"), "waiting: other Workflows are under way", 0, False),
        (live("Running", a=pod("Pending")), None, 0, False),
        (live("Running", a=pod(progress="41200/41201")), None, 41200, False),
        (live("Running", a=pod(progress="0/1")), None, 0, False),
        (live("Running", a=pod("Succeeded", "extract", progress="7/7"), b=pod(template="load", progress="0/1")), None, 0, False),
        (live("Running", a={"type": "Retry", "phase": "Running", "message": "Backoff for 10 seconds"}, b=pod("Failed")), "waiting before the next try", 0, False),
        (live("Running", a=pod("Failed"), b=pod(template="record")), "writing the record", 0, False),
        (live("Succeeded", a=pod("Succeeded", progress="1/1")), None, 0, True),
        (live("Failed", "child failed"), None, 0, True),
        (live("Error"), None, 0, True),
    ],
)  # fmt: skip
def test_what_a_run_does(workflow: dict[str, Any], waiting: str | None, records: int, *, ended: bool) -> None:
    """A live Workflow shows what its run waits for, how many records it has moved, and whether it has ended."""
    seen = status.seen(workflow)
    assert (seen.run, seen.pipeline, seen.records, seen.ended) == (RUN, "p", records, ended)
    if not ended:
        assert seen.waiting == waiting


def test_records_of_a_run_with_parts() -> None:
    """Those that are loaded count too. Argo shows a part without a record as 1/1."""
    split = live("Running", a=pod("Succeeded", progress="1/1"), b=pod("Succeeded", progress="42/42"), c=pod(progress="5/6"))
    split["spec"]["arguments"]["parameters"] = [{"name": "first", "value": "[0]"}, {"name": "parts", "value": "[1, 2, 3]"}]
    seen = status.seen(split)
    assert (seen.parts, seen.records) == ((2, 4), 46)


def test_scheduled_runs_are_sorted_among_the_others() -> None:
    """A scheduled run's id ends with Unix time: runs are sorted by their start, no matter who started them."""
    ids = ["20261124t081501-2bcd", "exchange-rates-to-csv-1795508102", "20261124t081503-2bcd", "20201124-1795508104", "by-hand-x7k2p"]
    assert sorted(ids, key=lambda run: began(run, LATER)) == ids
