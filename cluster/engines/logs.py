"""The logs of a run: local files, the logs of pods, and those that Argo stored as artifacts."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.argo.status import seen as seen_of
from cluster.errors import SetupError
from cluster.host.files import log_lines
from cluster.host.parallel import ahead
from cluster.project.model import KINDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.engines.choice import Engine
    from cluster.runs.record import Record

Line = tuple[str, str, str]
LOOK_SECONDS = 1.0
ARGOS = re.compile(r"\bargo=true\b")
"""Marks the lines that Argo itself writes into the logs of containers."""
STEPS = {"extract": "tap", "load": "target", "transform": "transform", "record": "finish", "run": "commit"}
"""The side of a container ``main``, by template. In a pod with a target, it is the commit."""


def at_work(engine: Engine, record: Record) -> bool:
    """Return whether more lines may come. In the cluster the record precedes the last lines."""
    if engine.handles is None:
        return engine.status(record) == "running"
    live = engine.argo.live(record.run)
    return live is not None and not seen_of(live).ended


def lines(engine: Engine, record: Record, seen: dict[tuple[str, str], str]) -> Iterator[Line]:
    """Yield part, side and text of each new line; *seen* keeps how far each log was read.

    The part is empty for a run without parts.
    """
    if engine.handles is None:
        yield from _files(engine, record, seen)
        return
    label = f"workflows.argoproj.io/workflow={record.run}"
    pods = engine.handles.kube.objects("Pod", engine.handles.namespace, labels=label)
    if not any(pod for pod, _ in seen):  # from then on, each pod is shown before it is deleted
        yield from _stored(engine, record, seen, {pod["metadata"]["name"] for pod in pods})
    yield from _pods(engine, record, pods, seen)


def _files(engine: Engine, record: Record, seen: dict[tuple[str, str], str]) -> Iterator[Line]:
    folder = engine.session.settings.local / "logs" / record.pipeline / record.run
    for part in [*(item["name"] for item in record.parts or ()), ""]:
        for side in KINDS:
            file = folder / part / f"{side}.log"
            if not file.exists():
                continue
            whole = log_lines(file.read_bytes())
            count = int(seen.get((part, side), "0"))
            seen[part, side] = str(len(whole))
            yield from ((part, side, line) for line in whole[count:])


def _part(record: Record, pod: Mapping[str, Any]) -> str:
    """Return the part of a run that a pod loads; empty if none."""
    index = [
        item.get("value") for container in pod["spec"]["containers"] for item in container.get("env", ()) if item["name"] == "SINGER_PART"
    ]
    return str(record.parts[int(index[0])]["name"]) if record.parts and index and index[0] else ""


def _pods(engine: Engine, record: Record, pods: Sequence[Mapping[str, Any]], seen: dict[tuple[str, str], str]) -> Iterator[Line]:
    handles = engine.handles
    assert handles is not None
    kube, namespace = handles.kube, handles.namespace
    containers = [
        (pod, pod["metadata"]["name"], item["name"])
        for pod in sorted(pods, key=lambda item: str(item["metadata"]["creationTimestamp"]))
        for item in pod["spec"]["containers"]
        if item["name"] in {"tap", "mapper", "target", "main"}
    ]
    read = ahead(lambda item: kube.log_since(item[1], namespace, item[2], seen.get(item[1:], "")), containers)
    for (pod, name, container), log in zip(containers, read, strict=True):
        for moment, text in log:
            seen[name, container] = moment
            if not ARGOS.search(text):
                yield _part(record, pod), side_of(name, record.run, container, len(pod["spec"]["containers"])), text


def _stored(engine: Engine, record: Record, seen: dict[tuple[str, str], str], there: set[str]) -> Iterator[Line]:
    """Yield the stored logs, pod by pod, without those of the pods that are still *there*."""
    store, bucket, prefix = engine.history.store, engine.history.settings.bucket_artifacts, f"workflows/{record.run}/"
    objects = [item for item in store.objects(bucket, prefix) if item.key.endswith(".log")]
    several = {item.key.rpartition("/")[0] for item in objects if not item.key.endswith("/main.log")}
    files: dict[str, list[str]] = {}
    for item in sorted(objects, key=lambda item: item.modified):
        folder = item.key.rpartition("/")[0]
        if ("", item.key) not in seen and folder.removeprefix(prefix) not in there:
            files.setdefault(folder, []).append(item.key)

    def read(folder: str) -> tuple[str, list[tuple[str, bytes]]]:
        """Return the part that a pod has loaded, and its logs."""
        report, logs = None, list[tuple[str, bytes]]()
        with suppress(SetupError):
            report = store.get(bucket, f"{folder}/tap.json") if record.parts else None
            logs.extend((key, store.get(bucket, key) or b"") for key in files[folder])
        return str(json.loads(report).get("part", "")) if report else "", logs

    for folder, (part, logs) in zip(files, ahead(read, files), strict=True):
        for key, data in logs:
            seen["", key] = "read"
            container = key.removeprefix(f"{folder}/").removesuffix(".log")
            side = side_of(folder.removeprefix(prefix), record.run, container, 3 if folder in several else 1)
            yield from ((part, side, line) for line in log_lines(data) if not ARGOS.search(line))


def side_of(pod: str, run: str, container: str, containers: int) -> str:
    """Return the side that a log belongs to: the container's name; for ``main``, from its pod."""
    if container != "main":
        return container
    template = pod.removeprefix(run).strip("-").partition("-")[0]
    return "commit" if containers > 2 or template == "load" else STEPS.get(template, "commit")  # noqa: PLR2004 - main, and Argo's own
