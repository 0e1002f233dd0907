"""Step: what starts pipelines in the cluster.

A schedule is a CronWorkflow; events need objects of Argo Events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.argo import events, workflow
from cluster.argo.status import schedule_trouble
from cluster.config.settings import LAPTOP
from cluster.errors import SetupError
from cluster.host.parallel import in_parallel
from cluster.kube import documents
from cluster.platform.ownership import key, need_ours, ours
from cluster.platform.rendering import INSTANCE
from cluster.platform.steps.images import chosen_images, image_names
from cluster.project.model import used
from cluster.project.secrets import NOTIFY_URL
from cluster.project.venvs import version
from cluster.runs.late import LATE_AFTER, SINCE, SUSPENDED
from cluster.ui.command_line import command
from cluster.ui.format import and_more, count, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.platform.ownership import Key
    from cluster.project.model import Pipeline
    from cluster.ui.output import Output

KINDS = ("CronWorkflow", "CronJob", *events.KINDS)


@dataclass(frozen=True)
class Schedules:
    """Schedules are as in ``pipelines.yaml``, and Argo follows them.

    Those that a person suspended stay suspended.
    """

    title: str = "Schedules"
    ok: str = "as in pipelines.yaml"
    needs: tuple[str, ...] = ("Objects", "Images on the node", "Configs", "Connectors' secrets")
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-ARGO, there is no Argo Events for pipelines that events start;
            E-FOREIGN.
        """
        live = _live(handles)
        wanted = objects(handles)
        kinds = [document["kind"] for document in wanted]
        if "Sensor" in kinds:
            _need_argo_events(handles)
        need_ours(handles, map(key, wanted))

        def apply(document: Document) -> None:
            say(documents.name(document))
            handles.kube.apply(dated(as_left(document, live.get(key(document))), live.get(key(document))))

        in_parallel(apply, [document for document in wanted if documents.differs(document, live.get(key(document)))])
        obsolete = sorted(live.keys() - set(map(key, wanted)))
        in_parallel(lambda name: _remove(handles, name, live[name]), obsolete)
        done = [count(kinds.count("CronWorkflow"), "schedule")]
        done += [f"{kinds.count('Sensor')} started by events"] * ("Sensor" in kinds)
        return ", ".join([*done, *([f"{len(obsolete)} removed"] if obsolete else [])])

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        live = _live(handles)
        wanted = objects(handles)
        reasons = [reason for document in wanted if (reason := documents.differs(document, live.get(key(document))))]
        obsolete = sorted(live.keys() - set(map(key, wanted)))
        reasons += dict.fromkeys(f"{name} has left pipelines.yaml" for _, name in obsolete)
        if reasons:
            return and_more(reasons)
        _need_followed([live[key(document)] for document in wanted if document["kind"] == "CronWorkflow"])
        return None


def _need_followed(live: list[Document]) -> None:
    """Check that Argo's controller follows the schedules. To apply them again would not help.

    :raises SetupError: E-ARGO, it does not.
    """
    troubles = [f"{item['metadata']['name']}: {trouble}" for item in live if (trouble := schedule_trouble(item))]
    if troubles:
        raise SetupError(
            "E-ARGO",
            f"Argo does not follow a schedule. {and_more(troubles)}.",
            hint=f"Correct the schedule in pipelines.yaml, then run {command('sync')}.",
        )


def _remove(handles: Handles, name: Key, live: Document) -> None:
    """Delete a schedule with its Workflows.

    If one is running, leave all of them, so that it ends by itself.
    """
    running = live.get("status", {}).get("active")
    handles.kube.delete(*name, handles.namespace, owned="Orphan" if running else "Background")


# -- the objects


def scope(handles: Handles) -> workflow.WorkflowScope:
    """Return namespace, labels and Argo's address for Workflows.

    An environment has no ports that depend on this machine.
    """
    ports = handles.instance.ports if handles.settings.env == LAPTOP else handles.settings.ports
    url = handles.settings.argo_url.rstrip("/") or f"http://127.0.0.1:{ports['port_argo']}"
    return workflow.WorkflowScope(handles.namespace, handles.labels, url)


def parameters(handles: Handles, pipeline: Pipeline, options: workflow.RunOptions = workflow.PLAIN) -> dict[str, str]:
    """Return the parameters of a run in this installation."""
    return workflow.parameters(pipeline, chosen_images(handles), _versions([pipeline]), scope(handles).ui, options)


def objects(handles: Handles) -> list[Document]:
    """Return all objects of this step.

    :raises SetupError: E-SETTING, a bucket's credentials are not set.
    """
    return [*schedules(handles), *listeners(handles), *checks(handles)]


def schedules(handles: Handles) -> list[Document]:
    """Return the CronWorkflows."""
    scheduled = [pipeline for pipeline in handles.pipelines if pipeline.schedule]
    target, images, versions = scope(handles), chosen_images(handles), _versions(scheduled)
    made = [workflow.cron_workflow(pipeline, workflow.parameters(pipeline, images, versions, target.ui), target) for pipeline in scheduled]
    for document in made:
        document["metadata"]["annotations"] = {SUSPENDED: str(document["spec"]["suspend"]).lower()}
    for pipeline, document in zip(scheduled, made, strict=True):
        if pipeline.late_after is not None:
            document["metadata"]["annotations"][LATE_AFTER] = str(pipeline.late_after)
    return [documents.stamped(document) for document in made]


def listeners(handles: Handles) -> list[Document]:
    """Return the objects of Argo Events; none if the settings do not use it.

    :raises SetupError: E-SETTING, a bucket's credentials are not set.
    """
    if handles.settings.argo_events != "use":
        return []
    started = [pipeline for pipeline in handles.pipelines if pipeline.events]
    target, images, versions = scope(handles), chosen_images(handles), _versions(started)
    rendering = handles.rendering
    made = [
        document
        for pipeline in started
        for document in events.documents(
            pipeline,
            workflow.parameters(pipeline, images, versions, target.ui),
            target,
            handles.settings,
            rendering.endpoint,
            trusting=rendering.trusting,
        )
    ]
    return [documents.stamped(document) for document in made]


def checks(handles: Handles) -> list[Document]:
    """Return the check for late pipelines, if messages have an address, here or in the cluster.

    One that is there stays: an export has it before messages have an address.
    """
    address = handles.environ.get(NOTIFY_URL)
    if not _watched(handles) or address == "":
        return []
    check = handles.rendering.check(chosen_images(handles)[workflow.COMMIT])
    there = address or any(handles.kube.get(*name, handles.namespace) for name in (("Secret", workflow.NOTIFY), key(check)))
    return [check] if there else []


def _watched(handles: Handles) -> bool:
    """Return whether any pipeline with a schedule sends messages."""
    return any(pipeline.schedule and not pipeline.paused and pipeline.notify != "never" for pipeline in handles.pipelines)


def all_documents(handles: Handles) -> list[Document]:
    """Return the objects of this step and the names of images, for ``export``.

    An export has the check, whether or not messages have an address by now.
    """
    check = [handles.rendering.check(chosen_images(handles)[workflow.COMMIT])] if _watched(handles) else []
    return [image_names(handles), *schedules(handles), *listeners(handles), *check]


def as_left(document: Document, live: Document | None) -> Document:
    """Return a schedule with the ``suspend`` that a person has set since we applied it."""
    if live is None or document["kind"] != "CronWorkflow":
        return document
    applied = (live["metadata"].get("annotations") or {}).get(SUSPENDED)
    suspended = bool(live["spec"].get("suspend"))
    wanted = document["metadata"]["annotations"][SUSPENDED]
    if applied is None or applied == str(suspended).lower() or applied != wanted:
        return document
    return documents.with_value(document, "spec.suspend", suspended)


def dated(document: Document, live: Document | None) -> Document:
    """Return a schedule with the time since when it is as it is: earlier times are not late."""
    if document["kind"] != "CronWorkflow":
        return document
    notes = (live["metadata"].get("annotations") or {}) if live else {}
    spec, before = document["spec"], live["spec"] if live else {}
    same = all((before.get(name) or False) == spec[name] for name in ("schedules", "timezone", "suspend"))
    since = notes.get(SINCE) or (live["metadata"]["creationTimestamp"] if live else "")
    return documents.annotated(document, {SINCE: since if same and since else now()})


def _versions(pipelines: Iterable[Pipeline]) -> dict[str, str]:
    return {connector.name: version(connector) for connector in used(pipelines)}


# -- the cluster


def _live(handles: Handles) -> dict[Key, Document]:
    """Return the live objects.

    If the settings do not use Argo Events, we may lack the right to list its leftovers.
    """
    strict = KINDS if handles.settings.argo_events == "use" else ("CronWorkflow",)
    label = f"{INSTANCE}={handles.instance.id}"
    items = [{**item, "kind": kind} for kind in strict for item in handles.kube.objects(kind, handles.namespace, labels=label)]
    items += [item for kind in KINDS if kind not in strict for item in ours(handles, kind)]
    return {key(item): item for item in items}


def warn_of_events(handles: Handles, output: Output) -> None:
    """Show the pipelines that have events, if the settings do not use Argo Events."""
    names = [pipeline.name for pipeline in handles.pipelines if pipeline.events and handles.settings.argo_events != "use"]
    if names:
        problem, hint = f"no events for {', '.join(names)}: argo_events is none", "Set argo_events: use, or remove their events."
        output.line("!", "Schedules", f"{problem} → {hint}")
        output.event("warning", source="Schedules", problem=problem, hint=hint)


def _need_argo_events(handles: Handles) -> None:
    """Check that the cluster has Argo Events.

    :raises SetupError: E-ARGO, it does not.
    """
    if not {"eventsources", "sensors"} <= handles.kube.argo:
        raise SetupError(
            "E-ARGO",
            f"The cluster of {handles.provider.context} has no Argo Events.",
            hint="Let its administrator install it, or leave argo_events out: then only schedules start pipelines.",
        )
