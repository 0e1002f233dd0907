"""Argo's WorkflowTemplates with what the settings choose: namespace, buckets, images, defaults.

Pure.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from cluster.net.proxy import BUNDLE
from cluster.store.protocol import parted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cluster.config.settings import Settings
    from cluster.kube.documents import Document
STORE = "singer-store"
CA = "singer-ca"
"""The Secret with the store's certificates: public, but Argo reads them only from a Secret."""
BUCKETS = {"singer-configs": "bucket_configs", "artifacts": "bucket_artifacts", "target-csv-output": "bucket_outputs"}
"""Buckets as the manifests name them, and the settings that may name others."""


# ----------------------------------------------------------------------------------------------------------- templates


def placed(document: Document, settings: Settings, endpoint: str, *, trusting: bool = False) -> Document:
    """Return a document of ``manifests/singer/`` with the store of the settings.

    Sets *endpoint*, region, buckets and credentials. If the settings choose a platform, pods only
    go to such nodes.
    """
    changed: Document = json.loads(json.dumps(document))  # a YAML alias becomes a copy
    if changed["kind"] in {"WorkflowTemplate", "CronJob"} and settings.image_platform:
        system, _, machine = settings.image_platform.partition("/")
        pod = changed["spec"] if changed["kind"] == "WorkflowTemplate" else changed["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        pod["nodeSelector"] = {"kubernetes.io/os": system, "kubernetes.io/arch": machine}
    for location in _s3(changed):
        stored(location, settings, endpoint, trusting=trusting)
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
    """Return a WorkflowTemplate with the defaults of our Argo's *config*, for another Argo."""
    changed = copy.deepcopy(template)
    changed["spec"] = {**copy.deepcopy(config["workflowDefaults"]["spec"]), **changed["spec"]}
    for container in _containers(changed):
        for key, value in config["mainContainer"].items():
            container.setdefault(key, copy.deepcopy(value))
    return changed


def without_metrics(template: Document) -> Document:
    """Return a WorkflowTemplate without metrics."""
    changed = copy.deepcopy(template)
    changed["spec"].pop("metrics", None)
    for item in changed["spec"].get("templates", []):
        item.pop("metrics", None)
    return changed


def stored(location: dict[str, Any], settings: Settings, endpoint: str, *, trusting: bool) -> None:
    """Set the store of an S3 location of Argo.

    *trusting* adds the certificates of the Secret ``CA``.

    One that names no bucket is in that of artifacts.
    """
    name, folder = parted(getattr(settings, BUCKETS[location.get("bucket", "artifacts")]))
    for key in ("key", "keyFormat"):
        if key in location:
            location[key] = folder + location[key]
    if "bucket" not in location:
        return
    url = urlsplit(endpoint)
    location.update(endpoint=url.netloc, insecure=url.scheme == "http", region=settings.s3_region, bucket=name)
    if trusting:
        location["caSecret"] = {"name": CA, "key": BUNDLE}
    if settings.s3_credentials == "identity":
        location["useSDKCreds"] = True
        del location["accessKeySecret"], location["secretKeySecret"]
    else:
        for key in ("accessKeySecret", "secretKeySecret"):
            location[key] = {**location[key], "name": settings.s3_secret}


def _is_key(variable: Mapping[str, Any]) -> bool:
    """Return whether a container's variable is one of S3's keys."""
    return variable["name"] in {"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"}


def _containers(template: Document) -> Iterator[dict[str, Any]]:
    yield from template.get("spec", {}).get("jobTemplate", {}).get("spec", {}).get("template", {}).get("spec", {}).get("containers", [])
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
