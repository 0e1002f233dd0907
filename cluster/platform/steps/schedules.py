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

    from cluster.platform.handles import Stack
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

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``.

        :raises SetupError: E-ARGO, there is no Argo Events for what is to start by events; E-FOREIGN.
        """
        live = _live(stack)
        wanted = [*schedules(stack), *listeners(stack)]
        kinds = [document["kind"] for document in wanted]
        if "Sensor" in kinds:
            _events_are_there(stack)
        not_others(stack, [key(document) for document in (_images(stack), *wanted)])

        def make(document: manifests.Document) -> None:
            say(manifests.name(document))
            stack.kube.apply(as_left(document, live.get(key(document))))

        at_once(make, [document for document in wanted if manifests.differs(document, live.get(key(document)))])
        gone = live.keys() - {key(document) for document in wanted}

        def remove(found: tuple[str, str]) -> None:
            """Remove a schedule with what it has started, unless a run is under way: that one goes on to its end."""
            running = live[found].get("status", {}).get("active")
            stack.kube.delete(*found, stack.namespace, owned="Orphan" if running else "Background")

        at_once(remove, sorted(gone))
        stack.kube.apply(_images(stack))
        counts = [f"{kinds.count('CronWorkflow')} schedules"] + [f"{kinds.count('Sensor')} started by events"] * ("Sensor" in kinds)
        return ", ".join([*counts, *([f"{len(gone)} removed"] if gone else []), *_without_events(stack)])

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        live = _live(stack)
        wanted = [*schedules(stack), *listeners(stack)]
        differing = [why for document in wanted if (why := manifests.differs(document, live.get(key(document))))]
        gone = sorted(live.keys() - {key(document) for document in wanted})
        differing += [f"{name} has left pipelines.yaml" for name in dict.fromkeys(name for _, name in gone)]
        there = stack.kube.get("ConfigMap", workflow.IMAGES, stack.namespace) or {}
        if there.get("data") != _images(stack)["data"]:
            differing.append("the list of images has changed")
        return differing[0] + (f", and {len(differing) - 1} more" if len(differing) > 1 else "") if differing else None


def chosen_images(stack: Stack) -> dict[str, str]:
    """Return the images of the connectors that pipelines use, by connector, and that of ``commit``."""
    found = {connector.name: images.tag(connector, stack.settings) for connector in stack.connectors}
    return {**found, workflow.COMMIT: images.commit_tag(stack.settings)}


def target(stack: Stack) -> workflow.Target:
    """Return where Workflows of this installation go. The pages of an environment are not at a port that happens to be free here."""
    ports = stack.instance.ports if stack.settings.env == LAPTOP else stack.settings.ports
    return workflow.Target(stack.namespace, stack.labels, stack.settings.argo_url.rstrip("/") or f"http://127.0.0.1:{ports['port_argo']}")


def parameters(stack: Stack, pipeline: Pipeline, way: workflow.Way = workflow.PLAIN) -> dict[str, str]:
    """Return the parameters with which a pipeline runs in this installation."""
    return workflow.parameters(pipeline, chosen_images(stack), _versions([pipeline]), target(stack).ui, way)


def _versions(pipelines: Iterable[Pipeline]) -> dict[str, str]:
    return {connector.name: version(connector) for connector in used(pipelines)}


def schedules(stack: Stack) -> list[manifests.Document]:
    """Return the CronWorkflows as they shall be."""
    scheduled = [pipeline for pipeline in stack.pipelines if pipeline.schedule]
    place, tags, versions = target(stack), chosen_images(stack), _versions(scheduled)
    made = [workflow.cron_workflow(pipeline, workflow.parameters(pipeline, tags, versions, place.ui), place) for pipeline in scheduled]
    for document in made:
        document["metadata"]["annotations"] = {SUSPENDED: str(document["spec"]["suspend"]).lower()}
    return [manifests.stamped(document) for document in made]


def listeners(stack: Stack) -> list[manifests.Document]:
    """Return the objects of Argo Events as they shall be; none where it is not used.

    :raises SetupError: E-SETTING, nothing says what opens a bucket.
    """
    if stack.settings.argo_events != "use":
        return []
    started = [pipeline for pipeline in stack.pipelines if pipeline.events]
    place, tags, versions = target(stack), chosen_images(stack), _versions(started)
    made = [
        document
        for pipeline in started
        for document in events.documents(
            pipeline,
            workflow.parameters(pipeline, tags, versions, place.ui),
            place,
            stack.settings,
            stack.inside,
            trusting=stack.trusting,
        )
    ]
    return [manifests.stamped(document) for document in made]


def documents(stack: Stack) -> list[manifests.Document]:
    """Return all that is applied here, for people who want to read it."""
    return [_images(stack), *schedules(stack), *listeners(stack)]


def _without_events(stack: Stack) -> list[str]:
    """Say which pipelines events do not start here."""
    names = [pipeline.name for pipeline in stack.pipelines if pipeline.events and stack.settings.argo_events != "use"]
    return [f"no events for {', '.join(names)}: argo_events is none"] if names else []


def _events_are_there(stack: Stack) -> None:
    """See that the cluster knows the objects of Argo Events.

    :raises SetupError: E-ARGO, it does not.
    """
    if not {"eventsources", "sensors"} <= stack.kube.argo:
        raise SetupError(
            "E-ARGO",
            f"There is no Argo Events in the cluster of {stack.provider.context}.",
            hint="Let its administrator install it, or leave argo_events out: then only schedules start pipelines.",
        )


def _images(stack: Stack) -> manifests.Document:
    return workflow.image_map(chosen_images(stack), target(stack))


def _live(stack: Stack) -> dict[tuple[str, str], manifests.Document]:
    """Return what is there. Where Argo Events is not used, we need not be allowed to look for what an earlier use of it has left."""
    strict = KINDS if stack.settings.argo_events == "use" else ("CronWorkflow",)
    label = f"{INSTANCE}={stack.instance.id}"
    found = [{**item, "kind": kind} for kind in strict for item in stack.kube.objects(kind, stack.namespace, labels=label)]
    found += [item for kind in KINDS if kind not in strict for item in ours(stack, kind)]
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
