"""Argo Events: an EventSource listens, and a Sensor starts a pipeline. Objects as data, pure."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.argo.templates import CA
from cluster.argo.workflow import labels, workflow
from cluster.errors import SetupError
from cluster.net.proxy import BUNDLE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from cluster.argo.workflow import WorkflowScope
    from cluster.config.settings import Settings
    from cluster.kube.documents import Document
    from cluster.project.model import Events, Pipeline

KINDS = ("EventSource", "Sensor")
ACCOUNT = "events"
"""The ServiceAccount that may create Workflows, and nothing else."""
EVENT = "start"
"""The name of the one event of a pipeline, and of what depends on it."""
PORT = 12000
TRIES = 3
USER = 9731
"""The user that Argo Events' own controller runs as; its image names none."""
POD: Document = {
    "securityContext": {"runAsNonRoot": True, "runAsUser": USER, "seccompProfile": {"type": "RuntimeDefault"}},
    "container": {
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}, "limits": {"memory": "128Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
    },
}
"""What the namespace asks of every pod."""


def documents(
    pipeline: Pipeline, values: Mapping[str, str], target: WorkflowScope, settings: Settings, endpoint: str, *, trusting: bool
) -> list[Document]:
    """Return the objects for what starts a pipeline; *values* are the parameters of the run.

    *endpoint* is where pods reach the store.

    :raises SetupError: E-SETTING, there are no credentials for the bucket.
    """
    assert pipeline.events is not None
    source = (
        _bucket(pipeline, pipeline.events, settings, endpoint, trusting=trusting) if pipeline.events.bucket else _webhook(pipeline.events)
    )
    return [
        _object("EventSource", pipeline, target, {"template": POD, **source}),
        _object("Sensor", pipeline, target, _sensor(pipeline, values, target)),
    ]


def _object(kind: str, pipeline: Pipeline, target: WorkflowScope, spec: Document) -> Document:
    metadata = {"name": pipeline.name, "namespace": target.namespace, "labels": labels(pipeline, target)}
    return {"apiVersion": "argoproj.io/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}


def _bucket(pipeline: Pipeline, events: Events, settings: Settings, endpoint: str, *, trusting: bool) -> Document:
    """Listen to the store that runs use, for objects that arrive in a bucket of it."""
    secret = events.secret or settings.s3_secret
    if settings.s3_credentials == "identity" and not events.secret:
        raise SetupError(
            "E-SETTING",
            f"{pipeline.name} is started by objects in the bucket {events.bucket}, and Argo Events opens a bucket by keys alone.",
            hint=f"Name a Secret with accesskey and secretkey: {pipeline.name}.events.secret in pipelines.yaml.",
        )
    url = urlsplit(endpoint)
    listening: dict[str, Any] = {
        "endpoint": url.netloc,
        "insecure": url.scheme == "http",
        "region": settings.s3_region,
        "bucket": {"name": events.bucket},
        "events": ["s3:ObjectCreated:*"],
        "filter": {"prefix": events.prefix, "suffix": events.suffix},
        "accessKey": {"name": secret, "key": "accesskey"},
        "secretKey": {"name": secret, "key": "secretkey"},
    }
    if trusting:
        listening["caCertificate"] = {"name": CA, "key": BUNDLE}
    return {"minio": {EVENT: listening}}


def _webhook(events: Events) -> Document:
    """Listen for POST, at a Service of the cluster that Argo Events makes."""
    listening: dict[str, Any] = {"port": str(PORT), "endpoint": events.webhook, "method": "POST", "url": ""}
    if events.secret:
        listening["authSecret"] = {"name": events.secret, "key": "token"}
    return {"service": {"ports": [{"port": PORT, "targetPort": PORT}]}, "webhook": {EVENT: listening}}


def _sensor(pipeline: Pipeline, values: Mapping[str, str], target: WorkflowScope) -> Document:
    """Create a run for each event.

    It is created as it is, not submitted by Argo's program, which would need further rights.
    """
    run = workflow(pipeline, "", values, target)
    run["metadata"] = {"generateName": f"{pipeline.name}-", **{key: value for key, value in run["metadata"].items() if key != "name"}}
    return {
        "template": {"serviceAccountName": ACCOUNT, **POD},
        "dependencies": [{"name": EVENT, "eventSourceName": pipeline.name, "eventName": EVENT}],
        "triggers": [
            {
                "template": {"name": "run", "k8s": {"operation": "create", "source": {"resource": run}}},
                "retryStrategy": {"steps": TRIES},
            }
        ],
    }
