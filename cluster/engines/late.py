"""Which pipelines are late, as a command sees it from this machine."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.kube.rbac import visible
from cluster.project.reader import Project
from cluster.runs import late
from cluster.runs.rotation import INSTANCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.engines.choice import Engine
    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.runs.late import Late, Memory, Watched

CHECK = "singer-late"
"""The CronJob of the check in the cluster."""


def pipelines(engine: Engine, names: Sequence[str] = ()) -> list[Watched]:
    """Return the pipelines that an engine should start, by default all."""
    results = _in_cluster(engine.handles) if engine.handles else _here(engine)
    return [item for item in results if not names or item.pipeline in names]


def late_now(engine: Engine, watched: Sequence[Watched], now: datetime | None = None) -> list[Late]:
    """Return those of *watched* that are late.

    :raises SetupError: E-KUBE, E-RIGHTS, E-STORE.
    """
    now, live = now or datetime.now(UTC), {}
    if engine.handles:
        workflows = engine.handles.kube.objects("Workflow", engine.handles.namespace, labels=late.PIPELINE)
        live = late.unfinished(workflows)
    else:
        for item in watched:
            for record in engine.newest(item.pipeline, 1):
                if engine.status(record) == "running":
                    live[item.pipeline] = late.Live(waiting=False, since=late.shown(datetime.fromisoformat(record.started)))
    memory = replace(_memory(engine), looked=None)  # the pauses between our looks are no sleep
    seen = late.look(memory, watched, live, now, lambda name: engine.records(name, late.MOST))
    return list(seen.late)


def unwatched(engine: Engine, now: datetime | None = None) -> str | None:
    """Return why the check in the cluster does not look, None if it does or is not wanted."""
    assert engine.handles is not None
    handles = engine.handles
    hidden: Document | None = None
    job = visible(lambda: handles.kube.get("CronJob", CHECK, handles.namespace), hidden)
    if not job:
        return None
    now, looked = now or datetime.now(UTC), _memory(engine).looked
    began = datetime.fromisoformat(looked or job["metadata"]["creationTimestamp"])
    if job["spec"].get("suspend"):
        return "its CronJob is suspended"
    return f"it has not looked since {late.shown(began)}" if now - began > late.SLEPT else None


def _memory(engine: Engine) -> Memory:
    """Return what the check in the cluster has kept; empty without one."""
    if engine.handles is None:
        return late.Memory()
    return late.Memory.read(engine.history.store.get(engine.handles.settings.bucket_artifacts, late.MEMORY))


def _in_cluster(handles: Handles) -> list[Watched]:
    live = handles.kube.objects("CronWorkflow", handles.namespace, labels=f"{INSTANCE}={handles.instance.id},{late.PIPELINE}")
    return [item for item in map(late.of_schedule, live) if item]


def _here(engine: Engine) -> list[Watched]:
    """Return the pipelines with a schedule.

    Nothing on this machine remembers since when they have it. Times before the last change of
    ``pipelines.yaml`` do not count, so a new pipeline is not late.
    """
    project = Project.of(engine.session.settings)
    if not project.pipelines_file.exists():
        return []
    since = datetime.fromtimestamp(project.pipelines_file.stat().st_mtime, UTC)
    results = []
    for name in project.pipeline_names:
        pipeline = project.pipeline(name)
        if pipeline.schedule and not pipeline.paused:
            results.append(late.Watched(name, pipeline.schedule, pipeline.timezone, since, pipeline.late_after, pipeline.notify))
    return results


def report(engine: Engine) -> list[Late]:
    """Return what is late, for a command whose subject is something else.

    Local pipelines count if somebody has printed what starts them here.
    """
    if engine.handles is None and not (engine.session.settings.local / "schedule").is_dir():
        return []
    try:
        return late_now(engine, pipelines(engine))
    except SetupError:
        return []
