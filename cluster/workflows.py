"""A pipeline as Argo's objects, and what a live Workflow says of its run. Pure: documents in, documents out.

The templates in ``manifests/singer/`` hold all that pipelines have in common; what is made here names one of them and
gives its parameters. The name of a Workflow is the id of its run.
"""

from __future__ import annotations

import copy
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.network import BUNDLE
from cluster.store.protocol import parted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cluster.backfill import Backfill
    from cluster.connectors import Pipeline
    from cluster.manifests import Document
    from cluster.settings import Settings

PIPELINE = "singer/pipeline"
BATCH = "singer/batch"
"""Labels of Workflows: whose run it is, and which runs were asked for at once."""
IMAGES = "singer-images"
STORE = "singer-store"
NOTIFY = "singer-notify"
"""ConfigMaps and a Secret of ours, as the templates name them."""
CA = "singer-ca"
"""The Secret with the certificates by which Argo knows the store. They are nobody's secret; Argo takes them from nowhere else."""
COMMIT = "commit"
BUCKETS = {"singer-configs": "bucket_configs", "artifacts": "bucket_artifacts", "target-csv-output": "bucket_outputs"}
"""Buckets as the manifests name them, and the settings that may name others."""
PIPE = "/singer/shared/pipe"
RAW = "/singer/shared/raw"
WAITING_SECONDS = 86400
"""How long a run may wait for its turn, on top of its pipeline's timeout."""
DEADLINE_SECONDS = 6 * 3600
"""How late a schedule may still start: a laptop sleeps."""
KEPT = 20
"""Finished Workflows of a schedule that stay to be looked at; their records stay for ever."""
ENDED = {"Succeeded", "Failed", "Error"}


# ----------------------------------------------------------------------------------------------------------- templates


def placed(document: Document, settings: Settings, endpoint: str, *, trusting: bool = False) -> Document:
    """Return a document of ``manifests/singer/`` with the store that the settings choose: *endpoint*, region, buckets, credentials.

    With a platform that they choose, pods go to nodes of that kind alone.
    """
    changed = copy.deepcopy(document)
    if changed["kind"] == "WorkflowTemplate" and settings.image_platform:
        system, _, machine = settings.image_platform.partition("/")
        changed["spec"]["nodeSelector"] = {"kubernetes.io/os": system, "kubernetes.io/arch": machine}
    for place in _s3(changed):
        stored(place, settings, endpoint, trusting=trusting)
    if changed["kind"] == "ConfigMap":
        data = changed["data"]
        data.update(SINGER_S3_ENDPOINT=endpoint, SINGER_S3_REGION=settings.s3_region)
        for key, bucket in list(data.items()):
            if key.startswith("SINGER_BUCKET_"):
                data[key] = getattr(settings, BUCKETS[bucket])
    for container in _containers(changed):
        if "env" in container:
            container["env"] = [item for item in container["env"] if not _is_key(item) or settings.s3_credentials != "identity"]
        for item in filter(_is_key, container.get("env", [])):
            item["valueFrom"]["secretKeyRef"]["name"] = settings.s3_secret
    return changed


def with_defaults(template: Document, config: Mapping[str, Any]) -> Document:
    """Return a WorkflowTemplate that brings along what our own Argo's *config* gives every Workflow: another one has other defaults."""
    changed = copy.deepcopy(template)
    changed["spec"] = {**copy.deepcopy(config["workflowDefaults"]["spec"]), **changed["spec"]}
    for container in _containers(changed):
        for key, value in config["mainContainer"].items():
            container.setdefault(key, copy.deepcopy(value))
    return changed


def stored(place: dict[str, Any], settings: Settings, endpoint: str, *, trusting: bool) -> None:
    """Lead one of Argo's places in S3 to the store that the settings choose, *trusting* the certificates of the Secret ``CA``.

    One that names no bucket is in that of artifacts.
    """
    name, folder = parted(getattr(settings, BUCKETS[place.get("bucket", "artifacts")]))
    for key in ("key", "keyFormat"):
        if key in place:
            place[key] = folder + place[key]
    if "bucket" not in place:
        return
    url = urlsplit(endpoint)
    place.update(endpoint=url.netloc, insecure=url.scheme == "http", region=settings.s3_region, bucket=name)
    if trusting:
        place["caSecret"] = {"name": CA, "key": BUNDLE}
    if settings.s3_credentials == "identity":
        place["useSDKCreds"] = True
        del place["accessKeySecret"], place["secretKeySecret"]
    else:
        for key in ("accessKeySecret", "secretKeySecret"):
            place[key] = {**place[key], "name": settings.s3_secret}


def _is_key(variable: Mapping[str, Any]) -> bool:
    """Say whether a container's variable is one of S3's keys."""
    return variable["name"] in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def _containers(template: Document) -> Iterator[dict[str, Any]]:
    for item in template.get("spec", {}).get("templates", []):
        yield from item.get("containerSet", {}).get("containers", [])
        if "container" in item:
            yield item["container"]


def _s3(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        if isinstance(value.get("s3"), dict):
            yield value["s3"]
        for item in value.values():
            yield from _s3(item)
    elif isinstance(value, list):
        for item in value:
            yield from _s3(item)


# ----------------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True)
class Way:
    """How one run differs from what its schedule would do."""

    full: bool = False
    keep_raw: bool = False
    replay: str = ""
    """The run whose tap output is loaded again, without extracting."""
    batch: str = ""
    backfill: Backfill | None = None


PLAIN = Way()


@dataclass(frozen=True)
class Target:
    """Where Workflows go: the namespace, the labels that make them ours, the address of Argo's pages."""

    namespace: str
    labels: Mapping[str, str]
    ui: str


def config_key(pipeline: Pipeline, name: str) -> str:
    """Return where in the bucket of configs a pipeline's ``config``, ``catalog``, ``initial_state`` or ``target_config`` is."""
    connector = pipeline.target if name == "target_config" else pipeline.tap
    own = {"catalog": connector.folder / "catalog.json", "initial_state": connector.folder / "state.json"}.get(name, connector.config)
    if getattr(pipeline, name) == own:
        return f"connectors/{connector.name}/{own.name}"
    return f"pipelines/{pipeline.name}/{name}.json"


def backfill_key(run: str) -> str:
    """Return where in the bucket of configs the tap's config of a backfill is; it expires there."""
    return f"backfills/{run}.json"


def resources(pipeline: Pipeline) -> dict[str, Any]:
    """Return the pipeline's resources as Kubernetes has them: asked for, and of memory no more than that."""
    if not pipeline.resources:
        return {}
    found: dict[str, Any] = {"requests": dict(pipeline.resources)}
    if "memory" in pipeline.resources:
        found["limits"] = {"memory": pipeline.resources["memory"]}
    return found


def parameters(pipeline: Pipeline, images: Mapping[str, str], versions: Mapping[str, str], ui: str, way: Way = PLAIN) -> dict[str, str]:
    """Return the parameters of the pipeline's template; *images* and *versions* are by connector."""
    tap, target = pipeline.tap.name, pipeline.target.name
    found = {
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
        "full": str(way.full or way.backfill is not None).lower(),
        **_transform(pipeline, images, versions),
        "outputs": json.dumps(list(pipeline.target.outputs)),
        "resources": json.dumps(resources(pipeline)),
        "timeout": str(pipeline.timeout),
        "retries": str(pipeline.retries),
        "notify": pipeline.notify,
        "ui": ui,
    }
    if way.backfill:
        found["backfill"] = json.dumps(way.backfill.as_dict())
    if pipeline.mode == "streaming":
        found["tap-output"] = f"{RAW}:{PIPE}" if way.keep_raw else PIPE
    elif way.replay:
        found["from-run"] = way.replay
    return found


def _transform(pipeline: Pipeline, images: Mapping[str, str], versions: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of what follows the load, none where nothing does."""
    if pipeline.transform is None:
        return {}
    name = pipeline.transform.name
    found = {"transform": name, "transform-image": images[name], "transform-version": versions.get(name, "")}
    return {**found, "transform-select": pipeline.transform_select}


def _spec(pipeline: Pipeline, given: Mapping[str, str], way: Way = PLAIN) -> Document:
    spec: Document = {
        "workflowTemplateRef": {"name": pipeline.mode},
        "arguments": {"parameters": [{"name": name, "value": value} for name, value in given.items()]},
        "activeDeadlineSeconds": pipeline.timeout * (2 if pipeline.transform else 1) + WAITING_SECONDS,
    }
    entrypoint = ("replay" if way.replay else "run") + ("-and-transform" if pipeline.transform else "")
    return spec if entrypoint == "run" else {"entrypoint": entrypoint, **spec}


def labels(pipeline: Pipeline, target: Target) -> dict[str, str]:
    """Return what tells whose a pipeline's objects are."""
    return {"app.kubernetes.io/name": pipeline.name, **target.labels, PIPELINE: pipeline.name}


def workflow(pipeline: Pipeline, run: str, given: Mapping[str, str], target: Target, way: Way = PLAIN) -> Document:
    """Return the Workflow of one run."""
    marks = labels(pipeline, target) | ({BATCH: way.batch} if way.batch else {})
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Workflow",
        "metadata": {"name": run, "namespace": target.namespace, "labels": marks},
        "spec": _spec(pipeline, given, way),
    }


def cron_workflow(pipeline: Pipeline, given: Mapping[str, str], target: Target) -> Document:
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
            "workflowSpec": _spec(pipeline, given),
        },
    }


def image_map(images: Mapping[str, str], target: Target) -> Document:
    """Return the ConfigMap from which Workflows written by hand take their images."""
    marks = {"app.kubernetes.io/name": IMAGES, **target.labels, "workflows.argoproj.io/configmap-type": "Parameter"}
    metadata = {"name": IMAGES, "namespace": target.namespace, "labels": marks}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": dict(sorted(images.items()))}


# ----------------------------------------------------------------------------------------------------------- live ones


@dataclass(frozen=True)
class Seen:
    """What a live Workflow says of its run."""

    run: str
    pipeline: str
    phase: str
    message: str
    started: str
    finished: str | None
    records: int
    """As the tap has told Argo, a few seconds ago."""
    step: str
    """The template that is at work."""
    given: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in ENDED

    @property
    def waiting(self) -> str | None:
        """What it waits for, None where it does not or where only its pods can tell."""
        if self.phase == "":
            return "waiting for Argo"
        if "lock" in self.message.lower():
            return "waiting: another run of this pipeline is under way"
        if self.phase == "Pending":
            return f"waiting: {self.message or 'other Workflows are under way'}"
        if self.message.startswith("Backoff"):
            return "waiting before the next try"
        return {"record": "writing the record", "transform": "transforming"}.get(self.step)


def seen(live: Mapping[str, Any]) -> Seen:
    """Read a live Workflow."""
    status = live.get("status", {})
    nodes = list(status.get("nodes", {}).values())
    given = {item["name"]: str(item.get("value", "")) for item in live["spec"].get("arguments", {}).get("parameters", [])}
    running = [node for node in nodes if node.get("type") == "Pod" and node.get("phase") in {"Running", "Pending"}]
    backoff = next((str(node["message"]) for node in nodes if str(node.get("message", "")).startswith("Backoff")), "")
    return Seen(
        run=live["metadata"]["name"],
        pipeline=live["metadata"].get("labels", {}).get(PIPELINE) or given.get("pipeline", ""),
        phase=str(status.get("phase", "")),
        message=str(status.get("message", "")) or ("" if running else backoff),
        started=live["metadata"]["creationTimestamp"],
        finished=status.get("finishedAt"),
        records=max((_count(node) for node in nodes if node.get("templateName") in {"run", "extract"}), default=0),
        step=str(running[-1].get("templateName", "")) if running else "",
        given=given,
    )


def _count(node: Mapping[str, Any]) -> int:
    """Return how many records a pod has told of: the first number of its progress, unless that only says done or not."""
    found = re.fullmatch(r"(\d+)/(\d+)", str(node.get("progress", "")))
    return int(found[1]) if found and node.get("type") == "Pod" and node.get("phase") == "Running" else 0
