"""A pipeline as an Argo Workflow or CronWorkflow. Pure.

The templates in ``manifests/singer/`` hold what pipelines have in common. A Workflow names one of
them and gives its parameters. The name of a Workflow is the id of its run.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.project.files import files_key

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.kube.documents import Document
    from cluster.project.backfill import Backfill
    from cluster.project.model import Pipeline
    from cluster.project.parts import Plan

PIPELINE = "singer/pipeline"
BATCH = "singer/batch"
STOPPING = "singer/stopping"
"""Labels of Workflows: the pipeline, the batch of runs that started together, and ``true`` for one
that we stop."""
IMAGES = "singer-images"
NOTIFY = "singer-notify"
"""ConfigMaps and a Secret of ours, as the templates name them."""
COMMIT = "commit"
PIPE = "/singer/shared/pipe"
MAPPED = "/singer/shared/mapped"
"""The FIFO between mapper and target."""
RAW = "/singer/shared/raw"
WAITING_SECONDS = 86400
"""How long a run may wait for its turn, on top of its pipeline's timeout."""
PENDING_SECONDS = 900
"""How long a pod may wait for a node and for its image, as the templates have it."""
DEADLINE_SECONDS = 6 * 3600
"""How late a schedule may still start: a laptop sleeps."""
NODES = 12_000
"""How many nodes fit into a Workflow: compressed, each takes 65 to 75 bytes. Argo allows 1 MB."""
KEPT = 20
"""Finished Workflows of a schedule that stay to be looked at; their records stay for ever."""


# ----------------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True)
class RunOptions:
    """How one run differs from what its schedule would do."""

    full: bool = False
    keep_raw: bool = False
    replay: str = ""
    """The run whose tap output is loaded again, without extracting."""
    batch: str = ""
    backfill: Backfill | None = None
    plan: Plan | None = None
    """The parts of the run, if they are not those of the pipeline."""


PLAIN = RunOptions()


@dataclass(frozen=True)
class WorkflowScope:
    """What the Workflows of an installation share: namespace, labels, address of Argo's UI."""

    namespace: str
    labels: Mapping[str, str]
    ui: str


def config_key(pipeline: Pipeline, name: str) -> str:
    """Return the key of a pipeline's file, such as ``catalog``, in the bucket of configs."""
    connector = {"target_config": pipeline.target, "mapper_config": pipeline.mapper}.get(name) or pipeline.tap
    own = {"catalog": connector.catalog, "initial_state": connector.initial_state}.get(name, connector.config)
    if getattr(pipeline, name) == own:
        return f"connectors/{connector.name}/{own.name}"
    return f"pipelines/{pipeline.name}/{name}.json"


def backfill_key(run: str) -> str:
    """Return where in the bucket of configs the tap's config of a backfill is; it expires there."""
    return f"backfills/{run}.json"


def resources(pipeline: Pipeline) -> dict[str, Any]:
    """Return the pipeline's resources for Kubernetes: requests, and memory as a limit too."""
    if not pipeline.resources:
        return {}
    wanted: dict[str, Any] = {"requests": dict(pipeline.resources)}
    if "memory" in pipeline.resources:
        wanted["limits"] = {"memory": pipeline.resources["memory"]}
    return wanted


def parameters(
    pipeline: Pipeline, images: Mapping[str, str], versions: Mapping[str, str], ui: str, options: RunOptions = PLAIN
) -> dict[str, str]:
    """Return the parameters of a pipeline's template. *images*, *versions* are by connector."""
    tap, target = pipeline.tap.name, pipeline.target.name
    values = {
        "pipeline": pipeline.name,
        "tap": tap,
        "tap-image": images[tap],
        "tap-version": versions.get(tap, ""),
        "tap-config": config_key(pipeline, "config"),
        "tap-catalog": config_key(pipeline, "catalog"),
        "initial-state": config_key(pipeline, "initial_state"),
        "target": target,
        "target-image": images[target],
        "target-version": versions.get(target, ""),
        "target-config": config_key(pipeline, "target_config"),
        "commit-image": images[COMMIT],
        "full": str(options.full or options.backfill is not None).lower(),
        **{f"{item.kind}-files": files_key(item.files) for item, _ in pipeline.configs if item.files},
        **_mapper(pipeline, images, versions, options),
        **_transform(pipeline, images, versions),
        **_parts(pipeline, options),
        "outputs": json.dumps(list(pipeline.target.outputs)),
        "safe-states": {True: "true", False: "false", None: "auto"}[pipeline.target.safe_states],
        "resources": json.dumps(resources(pipeline)),
        "timeout": str(pipeline.timeout),
        "retries": str(retries(pipeline, options.plan or pipeline.plan)),
        "notify": pipeline.notify,
        "ui": ui,
    }
    if options.backfill:
        values["backfill"] = json.dumps(options.backfill.as_dict())
    if pipeline.mode == "streaming":
        # With a mapper the raw output is the mapper's: nothing is stored before it.
        values["tap-output"] = f"{RAW}:{PIPE}" if options.keep_raw and not pipeline.mapper else PIPE
    elif options.replay:
        values["from-run"] = options.replay
    return values


def _parts(pipeline: Pipeline, options: RunOptions) -> dict[str, str]:
    """Return the parameters of a run with parts: a pod finds its own by its index."""
    plan = options.plan or pipeline.plan
    if plan is None:
        return {}
    alone = 1 if plan.first_alone else 0
    return {
        "split": "true",
        "plan": plan.key,
        "first": json.dumps(plan.numbers[:alone]),
        "parts": json.dumps(plan.numbers[alone:]),
        # A cluster may have room for one pod only: the others wait their turn.
        "pending": f"{max(PENDING_SECONDS, pipeline.timeout * _rounds(plan))}s",
    }


def retries(pipeline: Pipeline, plan: Plan | None) -> int:
    """Return how often Argo tries a run, or each of its parts, again.

    Of very many parts, a Workflow has no room for all attempts. Argo has a node for each part, each
    attempt, and each container of an attempt.
    """
    if plan is None:
        return pipeline.retries
    containers = 4 if pipeline.mapper else 3
    attempts = (NODES // (len(plan.numbers) or 1) - 1) // (1 + containers)
    return min(pipeline.retries, max(attempts - 1, 0))


def _rounds(plan: Plan | None) -> int:
    """Return how many parts run one after the other."""
    return 1 if plan is None else math.ceil(len(plan.numbers) / plan.at_once) + plan.first_alone


def _mapper(pipeline: Pipeline, images: Mapping[str, str], versions: Mapping[str, str], options: RunOptions) -> dict[str, str]:
    """Return the parameters of the mapper, none if the pipeline has none."""
    if pipeline.mapper is None:
        return {}
    name = pipeline.mapper.name
    values = {"mapper": name, "mapper-image": images[name], "mapper-version": versions.get(name, "")}
    values["mapper-config"] = config_key(pipeline, "mapper_config")
    values["after"] = "tap,mapper,target" if pipeline.mode == "streaming" else "tap,mapper"
    if pipeline.mode == "streaming":
        values["pipes"] = f"{PIPE}:{MAPPED}"
        values["mapper-output"] = f"{RAW}:{MAPPED}" if options.keep_raw else MAPPED
    return values


def _transform(pipeline: Pipeline, images: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of what follows the load, none where nothing does."""
    if pipeline.transform is None:
        return {}
    name = pipeline.transform.name
    values = {"transform": name, "transform-image": images[name], "transform-version": versions.get(name, "")}
    return {**values, "transform-select": pipeline.transform_select}


def _spec(pipeline: Pipeline, values: Mapping[str, str], options: RunOptions = PLAIN) -> Document:
    plan = options.plan or pipeline.plan
    spec: Document = {
        "workflowTemplateRef": {"name": pipeline.mode},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in values.items()]},
        "activeDeadlineSeconds": pipeline.timeout * (_rounds(plan) + bool(pipeline.transform)) + WAITING_SECONDS,
        **({"parallelism": plan.at_once} if plan else {}),
    }
    # A replay loads what the mapper passed on.
    mapped = pipeline.mapper is not None and not options.replay
    what = "parts" if plan else "replay" if options.replay else "run"
    entrypoint = f"{what}{'-with-mapper' * mapped}{'-and-transform' * bool(pipeline.transform)}"
    return spec if entrypoint == "run" else {"entrypoint": entrypoint, **spec}


def labels(pipeline: Pipeline, target: WorkflowScope) -> dict[str, str]:
    """Return what tells whose a pipeline's objects are."""
    return {"app.kubernetes.io/name": pipeline.name, **target.labels, PIPELINE: pipeline.name}


def workflow(pipeline: Pipeline, run: str, values: Mapping[str, str], target: WorkflowScope, options: RunOptions = PLAIN) -> Document:
    """Return the Workflow of one run."""
    marks = labels(pipeline, target) | ({BATCH: options.batch} if options.batch else {})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run, "namespace": target.namespace, "labels": marks},
        "spec": _spec(pipeline, values, options),
    }


def cron_workflow(pipeline: Pipeline, values: Mapping[str, str], target: WorkflowScope) -> Document:
    """Return the schedule of a pipeline that has one."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "CronWorkflow",
        "metadata": {"name": pipeline.name, "namespace": target.namespace, "labels": labels(pipeline, target)},
        "spec": {
            "schedules": list(pipeline.schedule),
            "timezone": pipeline.timezone,
            "suspend": pipeline.paused,
            "concurrencyPolicy": "Forbid",
            "startingDeadlineSeconds": DEADLINE_SECONDS,
            "successfulJobsHistoryLimit": KEPT,
            "failedJobsHistoryLimit": KEPT,
            "workflowMetadata": {"labels": labels(pipeline, target)},
            "workflowSpec": _spec(pipeline, values),
        },
    }


def image_map(images: Mapping[str, str], target: WorkflowScope) -> Document:
    """Return the ConfigMap from which Workflows written by hand take their images."""
    marks = {"app.kubernetes.io/name": IMAGES, **target.labels, "workflows.argoproj.io/configmap-type": "Parameter"}
    metadata = {"name": IMAGES, "namespace": target.namespace, "labels": marks}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(sorted(images.items()))}
