"""What starts pipelines in the cluster: a CronWorkflow for each schedule, objects of Argo Events for other beginnings.

Beside them the images that Workflows written by hand take.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.argo import events, workflow
from cluster.config.settings import LAPTOP
from cluster.containers import images
from cluster.errors import SetupError
from cluster.kube import documents as manifests
from cluster.platform.handles import INSTANCE, at_once
from cluster.platform.ownership import key, not_others, ours
from cluster.project.model import used
from cluster.project.venvs import version

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cluster.platform.handles import Handles
    from cluster.project.model import Pipeline

KINDS = ("CronWorkflow", *events.KINDS)
SUSPENDED = "singer/suspended"
"""The annotation with what we have said last: what is suspended otherwise, somebody has suspended by hand."""


@dataclass(frozen=True)
class Schedules:
    """Schedules are as in ``pipelines.yaml``; what somebody has suspended by hand stays so."""

    title: str = "Schedules"
    well: str = "as in pipelines.yaml"
    needs: tuple[str, ...] = ("Objects", "Images on the node", "Configs", "Connectors' secrets")
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-ARGO, there is no Argo Events for what is to start by events; E-FOREIGN.
        """
        live = _live(handles)
        wanted = [*schedules(handles), *listeners(handles)]
        kinds = [document["kind"] for document in wanted]
        if "Sensor" in kinds:
            _events_are_there(handles)
        not_others(handles, [key(document) for document in (_images(handles), *wanted)])

        def make(document: manifests.Document) -> None:
            say(manifests.name(document))
            handles.kube.apply(as_left(document, live.get(key(document))))

        at_once(make, [document for document in wanted if manifests.differs(document, live.get(key(document)))])
        gone = live.keys() - {key(document) for document in wanted}

        def remove(found: tuple[str, str]) -> None:
            """Remove a schedule with what it has started, unless a run is under way: that one goes on to its end."""
            running = live[found].get("status", {}).get("active")
            handles.kube.delete(*found, handles.namespace, owned="Orphan" if running else "Background")

        at_once(remove, sorted(gone))
        handles.kube.apply(_images(handles))
        counts = [f"{kinds.count('CronWorkflow')} schedules"] + [f"{kinds.count('Sensor')} started by events"] * ("Sensor" in kinds)
        return ", ".join([*counts, *([f"{len(gone)} removed"] if gone else []), *_without_events(handles)])

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        live = _live(handles)
        wanted = [*schedules(handles), *listeners(handles)]
        differing = [why for document in wanted if (why := manifests.differs(document, live.get(key(document))))]
        gone = sorted(live.keys() - {key(document) for document in wanted})
        differing += [f"{name} has left pipelines.yaml" for name in dict.fromkeys(name for _, name in gone)]
        there = handles.kube.get("ConfigMap", workflow.IMAGES, handles.namespace) or {}
        if there.get("data") != _images(handles)["data"]:
            differing.append("the list of images has changed")
        return differing[0] + (f", and {len(differing) - 1} more" if len(differing) > 1 else "") if differing else None


def chosen_images(handles: Handles) -> dict[str, str]:
    """Return the images of the connectors that pipelines use, by connector, and that of ``commit``."""
    found = {connector.name: images.tag(connector, handles.settings) for connector in handles.connectors}
    return {**found, workflow.COMMIT: images.commit_tag(handles.settings)}


def target(handles: Handles) -> workflow.WorkflowScope:
    """Return where Workflows of this installation go. The pages of an environment are not at a port that happens to be free here."""
    ports = handles.instance.ports if handles.settings.env == LAPTOP else handles.settings.ports
    return workflow.WorkflowScope(
        handles.namespace, handles.labels, handles.settings.argo_url.rstrip("/") or f"http://127.0.0.1:{ports['port_argo']}"
    )


def parameters(handles: Handles, pipeline: Pipeline, way: workflow.RunOptions = workflow.PLAIN) -> dict[str, str]:
    """Return the parameters with which a pipeline runs in this installation."""
    return workflow.parameters(pipeline, chosen_images(handles), _versions([pipeline]), target(handles).ui, way)


def _versions(pipelines: Iterable[Pipeline]) -> dict[str, str]:
    return {connector.name: version(connector) for connector in used(pipelines)}


def schedules(handles: Handles) -> list[manifests.Document]:
    """Return the CronWorkflows as they shall be."""
    scheduled = [pipeline for pipeline in handles.pipelines if pipeline.schedule]
    place, tags, versions = target(handles), chosen_images(handles), _versions(scheduled)
    made = [workflow.cron_workflow(pipeline, workflow.parameters(pipeline, tags, versions, place.ui), place) for pipeline in scheduled]
    for document in made:
        document["metadata"]["annotations"] = {SUSPENDED: str(document["spec"]["suspend"]).lower()}
    return [manifests.stamped(document) for document in made]


def listeners(handles: Handles) -> list[manifests.Document]:
    """Return the objects of Argo Events as they shall be; none where it is not used.

    :raises SetupError: E-SETTING, nothing says what opens a bucket.
    """
    if handles.settings.argo_events != "use":
        return []
    started = [pipeline for pipeline in handles.pipelines if pipeline.events]
    place, tags, versions = target(handles), chosen_images(handles), _versions(started)
    made = [
        document
        for pipeline in started
        for document in events.documents(
            pipeline,
            workflow.parameters(pipeline, tags, versions, place.ui),
            place,
            handles.settings,
            handles.inside,
            trusting=handles.trusting,
        )
    ]
    return [manifests.stamped(document) for document in made]


def documents(handles: Handles) -> list[manifests.Document]:
    """Return all that is applied here, for people who want to read it."""
    return [_images(handles), *schedules(handles), *listeners(handles)]


def _without_events(handles: Handles) -> list[str]:
    """Say which pipelines events do not start here."""
    names = [pipeline.name for pipeline in handles.pipelines if pipeline.events and handles.settings.argo_events != "use"]
    return [f"no events for {', '.join(names)}: argo_events is none"] if names else []


def _events_are_there(handles: Handles) -> None:
    """See that the cluster knows the objects of Argo Events.

    :raises SetupError: E-ARGO, it does not.
    """
    if not {"eventsources", "sensors"} <= handles.kube.argo:
        raise SetupError(
            "E-ARGO",
            f"There is no Argo Events in the cluster of {handles.provider.context}.",
            hint="Let its administrator install it, or leave argo_events out: then only schedules start pipelines.",
        )


def _images(handles: Handles) -> manifests.Document:
    return workflow.image_map(chosen_images(handles), target(handles))


def _live(handles: Handles) -> dict[tuple[str, str], manifests.Document]:
    """Return what is there. Where Argo Events is not used, we need not be allowed to look for what an earlier use of it has left."""
    strict = KINDS if handles.settings.argo_events == "use" else ("CronWorkflow",)
    label = f"{INSTANCE}={handles.instance.id}"
    found = [{**item, "kind": kind} for kind in strict for item in handles.kube.objects(kind, handles.namespace, labels=label)]
    found += [item for kind in KINDS if kind not in strict for item in ours(handles, kind)]
    return {key(item): item for item in found}


def as_left(document: manifests.Document, live: manifests.Document | None) -> manifests.Document:
    """Leave a schedule suspended, or going, that somebody has suspended or resumed by hand since we applied it."""
    if live is None or document["kind"] != "CronWorkflow":
        return document
    said = (live["metadata"].get("annotations") or {}).get(SUSPENDED)
    suspended = bool(live["spec"].get("suspend"))
    wanted = document["metadata"]["annotations"][SUSPENDED]
    if said is None or said == str(suspended).lower() or said != wanted:
        return document
    return manifests.with_value(document, "spec.suspend", suspended)
