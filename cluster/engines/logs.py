"""The logs of a run: local files, running pods, or the logs that Argo stored as artifacts."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cluster.argo.status import seen as seen_of
from cluster.errors import SetupError
from cluster.host.files import log_lines
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
    if pods:
        yield from _pods(engine, record, pods, seen)
    elif not any(pod for pod, _ in seen):  # otherwise the pods' lines are already shown
        yield from _stored(engine, record, seen)


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
    for pod in sorted(pods, key=lambda item: str(item["metadata"]["creationTimestamp"])):
        name = pod["metadata"]["name"]
        for container in (item["name"] for item in pod["spec"]["containers"] if item["name"] in {"tap", "mapper", "target", "main"}):
            for moment, text in handles.kube.log_since(name, handles.namespace, container, seen.get((name, container), "")):
                seen[name, container] = moment
                if not ARGOS.search(text):
                    yield _part(record, pod), side_of(name, record.run, container, len(pod["spec"]["containers"])), text


def _stored(engine: Engine, record: Record, seen: dict[tuple[str, str], str]) -> Iterator[Line]:
    history = engine.history
    bucket, prefix = history.settings.bucket_artifacts, f"workflows/{record.run}/"
    objects = [item for item in history.store.objects(bucket, prefix) if item.key.endswith(".log")]
    done = {key for _, key in seen}
    several = {item.key.rpartition("/")[0] for item in objects if not item.key.endswith("/main.log")}
    for item in sorted(objects, key=lambda item: item.modified):
        folder, _, file = item.key.rpartition("/")
        if item.key in done:
            continue
        seen["", item.key] = "read"
        try:
            data = history.store.get(bucket, item.key) or b""
            report = history.store.get(bucket, f"{folder}/tap.json") if record.parts else None
        except SetupError:
            continue
        part = str(json.loads(report).get("part", "")) if report else ""
        side = side_of(folder.rpartition("/")[2], record.run, file.removesuffix(".log"), 3 if folder in several else 1)
        yield from ((part, side, line) for line in log_lines(data) if not ARGOS.search(line))


def side_of(pod: str, run: str, container: str, containers: int) -> str:
    """Return the side that a log belongs to: the container's name; for ``main``, from its pod."""
    if container != "main":
        return container
    template = pod.removeprefix(run).strip("-").partition("-")[0]
    return "commit" if containers > 2 or template == "load" else STEPS.get(template, "commit")  # noqa: PLR2004 - main, and Argo's own
