"""Kubernetes objects as plain data: what is applied, in which order, and the messages about those that are not ready yet."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.kube.documents import CONTENT, differs, labelled, load, name, not_ready, ordered, pod_trouble, stamped, with_value

if TYPE_CHECKING:
    from collections.abc import Iterator

Document = dict[str, Any]

FOLDER = Path(__file__).resolve().parents[3] / "manifests"
SHIPPED = load([FOLDER / "namespace.yaml", FOLDER / "network-policies.yaml", *sorted(FOLDER.glob("*/*.yaml"))])
IDS = [name(document) for document in SHIPPED]
MINIO = next(document for document in SHIPPED if name(document) == "deployment/minio")
IMAGE = "quay.io/minio/minio:RELEASE.2025-09-07T16-13-09Z"


# -- files


def test_files_are_read_in_their_order(tmp_path: Path) -> None:
    """Every object of every file is there, in the order in which people wrote them; empty documents are none."""
    one, two = tmp_path / "one.yaml", tmp_path / "two.yaml"
    one.write_text(
        "# nothing yet\n---\nkind: Service\nmetadata: {name: größe}\n---\n---\nkind: Role\nmetadata: {name: b}\n", encoding="utf-8"
    )
    two.write_text("kind: Namespace\nmetadata: {name: c}\n---\n", encoding="utf-8")

    assert [name(document) for document in load([one, two])] == ["service/größe", "role/b", "namespace/c"]


def test_what_others_need_is_applied_first() -> None:
    """The namespace comes first, definitions and credentials before what uses them, programs after everything they mount."""
    shuffled = sorted(SHIPPED, key=lambda document: json.dumps(document, sort_keys=True)[::-1])
    kinds = [document["kind"] for document in ordered(shuffled)]

    assert kinds[0] == "Namespace"
    last = {kind: len(kinds) - 1 - kinds[::-1].index(kind) for kind in kinds}
    needed = {
        "CustomResourceDefinition",
        "ServiceAccount",
        "Role",
        "RoleBinding",
        "Secret",
        "ConfigMap",
        "PersistentVolumeClaim",
        "Service",
    }
    assert all(last[kind] < kinds.index("Deployment") for kind in needed)


def test_what_nothing_depends_on_keeps_its_order() -> None:
    """Objects of one kind stay in the order of the files, so that two ups apply the same in the same order."""
    services = [{"kind": "Service", "metadata": {"name": letter}} for letter in "cab"]

    assert [document["metadata"]["name"] for document in ordered(services)] == ["c", "a", "b"]


# -- values


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("spec.template.spec.containers.0.image", "other:1"),
        ("spec.template.spec.containers.0.args.1", "serve"),
        ("spec.replicas", 0),
        ("metadata", {}),
    ],
)
def test_a_value_is_set_in_a_copy(path: str, value: object) -> None:
    """A value that the settings choose stands where the path leads, all else is as in the file, and the file's object is as before."""
    before = copy.deepcopy(MINIO)
    changed = with_value(MINIO, path, value)

    assert before == MINIO
    assert changed != MINIO
    at: Any = changed
    for part in path.split("."):
        at = at[int(part)] if isinstance(at, list) else at[part]
    assert at == value
    assert len(list(leaves(changed))) <= len(list(leaves(MINIO)))


@pytest.mark.parametrize(
    "path",
    [
        "spec.replica",
        "spec.template.spec.containers.0.imagePullSecret",
        "spec.template.spec.containers.1.image",
        "specs.replicas",
        "metadata.annotations.x",
        "",
    ],
)
def test_a_misspelt_path_adds_nothing(path: str) -> None:
    """A path that is not in the file is refused, instead of applying a field that nothing reads."""
    before = copy.deepcopy(MINIO)
    with pytest.raises(LookupError):
        with_value(MINIO, path, "x")
    assert before == MINIO


def test_labels_are_added_to_the_object_alone() -> None:
    """Our labels join those of the file on the object; its selector and its pods stay as they are, and so does the file's object."""
    before = copy.deepcopy(MINIO)
    result = labelled(MINIO, {"singer/instance": "0123abcd"})

    assert before == MINIO
    assert result["metadata"]["labels"] == {**MINIO["metadata"]["labels"], "singer/instance": "0123abcd"}
    assert result["spec"] == MINIO["spec"]
    assert labelled({"kind": "Role", "metadata": {"name": "x"}}, {"a": "b"})["metadata"]["labels"] == {"a": "b"}


# -- what has changed


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every value that holds no other."""
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from leaves(item, (*path, key))
    if not inside:
        yield path


def edited(document: Document, path: tuple[Any, ...], value: object) -> Document:
    """Return a copy with another value at *path*; None removes what is there."""
    changed = copy.deepcopy(document)
    parent: Any = changed
    for part in path[:-1]:
        parent = parent[part]
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed


@pytest.mark.full  # thousands of changes
@pytest.mark.parametrize("document", SHIPPED, ids=IDS)
def test_every_change_of_a_manifest_is_seen(document: Document) -> None:
    """Any change or removal in a manifest makes the next up apply it, and the message names the object."""
    live = stamped(document)
    identity = {("kind",), ("metadata", "name")}
    for path in set(leaves(document)) - identity:
        for value in ("changed by a test", None):
            changed = stamped(edited(document, path, value))
            assert differs(changed, live) == f"{name(document)} has changed", path
    added = stamped(edited(document, ("metadata", "annotations"), {**document["metadata"].get("annotations", {}), "new": "1"}))
    assert differs(added, live) is not None


@pytest.mark.parametrize("document", SHIPPED, ids=IDS)
def test_what_the_server_adds_is_no_change(document: Document) -> None:
    """Defaults, status and notes that Kubernetes itself adds to an object do not make up apply it again."""
    before = copy.deepcopy(document)
    wanted = stamped(document)
    live = copy.deepcopy(wanted)
    live["metadata"] |= {"uid": "5f1c", "resourceVersion": "812", "generation": 3, "creationTimestamp": "2026-11-22T20:35:12Z"}
    live["metadata"]["managedFields"] = [{"manager": "singer", "operation": "Apply"}]
    live["metadata"]["annotations"]["deployment.kubernetes.io/revision"] = "2"
    live["status"] = {"observedGeneration": 3}
    if "spec" in live:
        live["spec"] = {**live["spec"], "progressDeadlineSeconds": 600}

    assert differs(wanted, live) is None
    assert before == document
    turned = json.loads(json.dumps(document, sort_keys=True))
    assert differs(stamped(turned), live) is None


def test_what_is_missing_or_was_made_by_hand_is_reported() -> None:
    """An object that is not there is called missing; one that somebody made by hand is put right as one that has changed."""
    wanted = stamped(MINIO)

    assert differs(wanted, None) == "deployment/minio is missing"
    assert differs(wanted, {"kind": "Deployment", "metadata": {"name": "minio"}}) == "deployment/minio has changed"
    assert differs(wanted, {"kind": "Deployment", "metadata": {"name": "minio", "annotations": None}}) == "deployment/minio has changed"
    assert wanted["metadata"]["annotations"][CONTENT]


# -- Deployments and others


def deployment(generation: int = 1, wanted: int | None = 1, **status: object) -> Document:
    """Return a Deployment as the API server reports it."""
    spec = {} if wanted is None else {"replicas": wanted}
    return {"kind": "Deployment", "metadata": {"name": "minio", "generation": generation}, "spec": spec, "status": status}


READY = {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
ROLLOUTS = {
    "not looked at yet": (deployment(), "not noticed yet"),
    "an edit that nobody has noticed, its old pod ready": (deployment(2, **READY), "not noticed yet"),
    "noticed, no pod yet": (deployment(observedGeneration=1), "its new pods are not there yet"),
    "scheduled, not ready": (
        deployment(observedGeneration=1, replicas=1, updatedReplicas=1, unavailableReplicas=1),
        "0 of 1 pods are available",
    ),
    "the old pod stopped, the new one not made": (deployment(2, observedGeneration=2), "its new pods are not there yet"),
    "the old pod serves while the new one is to be made": (
        deployment(2, observedGeneration=2, replicas=1, readyReplicas=1, availableReplicas=1),
        "its new pods are not there yet",
    ),
    "one of two": (
        deployment(wanted=2, observedGeneration=1, replicas=2, updatedReplicas=2, availableReplicas=1, unavailableReplicas=1),
        "1 of 2 pods are available",
    ),
}


@pytest.mark.parametrize("case", ROLLOUTS)
def test_a_program_that_is_not_there_yet(case: str) -> None:
    """While a program is rolled out the user reads how far it is."""
    live, why = ROLLOUTS[case]
    assert not_ready(live) == why


@pytest.mark.parametrize("available", [1, 2])
def test_an_old_pod_beside_the_new_one(available: int) -> None:
    """While the old pod of a program is still there the wait goes on, and its message does not sound as if all were ready."""
    both = {"replicas": 2, "updatedReplicas": 1, "readyReplicas": available, "availableReplicas": available}
    why = not_ready(deployment(2, observedGeneration=2, **both))

    assert why is not None
    assert f"{available} of 1 pods are available" not in why


@pytest.mark.parametrize(
    "live",
    [deployment(**READY), deployment(wanted=None, **READY), deployment(2, **{**READY, "observedGeneration": 2}), deployment(wanted=0, observedGeneration=1)],
    ids=["available", "with the default number of pods", "after an edit", "scaled to nothing"],
)  # fmt: skip
def test_a_program_that_is_there(live: Document) -> None:
    """A program all of whose pods are available is not waited for."""
    assert not_ready(live) is None


def with_condition(kind: str, **conditions: str) -> Document:
    """Return an object with these conditions."""
    return {
        "kind": kind,
        "metadata": {"name": "x"},
        "status": {"conditions": [{"type": key, "status": conditions[key]} for key in conditions]},
    }


WAITING = [
    (None, "not there yet"),
    ({"kind": "CustomResourceDefinition", "metadata": {"name": "x"}}, "not established yet"),
    ({"kind": "CustomResourceDefinition", "metadata": {"name": "x"}, "status": {"storedVersions": []}}, "not established yet"),
    (with_condition("CustomResourceDefinition", NamesAccepted="True", Established="False"), "not established yet"),
    (with_condition("Node", MemoryPressure="False", Ready="False"), "not ready yet"),
    (with_condition("Node", MemoryPressure="Unknown", Ready="Unknown"), "not ready yet"),
]


@pytest.mark.parametrize(("live", "why"), WAITING)
def test_objects_that_are_not_ready(live: Document | None, why: str) -> None:
    """A definition counts once the API serves it, a node once it is ready; until then the user reads that it is not."""
    assert not_ready(live) == why


@pytest.mark.parametrize(
    "live",
    [
        with_condition("CustomResourceDefinition", NamesAccepted="True", Established="True"),
        with_condition("Node", MemoryPressure="False", DiskPressure="False", PIDPressure="False", Ready="True"),
        {"kind": "Service", "metadata": {"name": "x"}, "spec": {"type": "NodePort"}, "status": {"loadBalancer": {}}},
        {"kind": "ConfigMap", "metadata": {"name": "x"}, "data": {}},
    ],
    ids=lambda live: live["kind"],
)
def test_objects_that_are_ready(live: Document) -> None:
    """What is served, and what has nothing to become ready, is not waited for."""
    assert not_ready(live) is None


# -- pods


def pod(*containers: Document, scheduled: Document | None = None, init: tuple[Document, ...] = (), **status: object) -> Document:
    """Return a pod as the API server reports it, scheduled by default."""
    conditions = [{"type": "PodReadyToStartContainers", "status": "False"}, scheduled or {"type": "PodScheduled", "status": "True"}]
    reported: Document = {"phase": "Pending", "conditions": conditions, "containerStatuses": list(containers), **status}
    if init:
        reported["initContainerStatuses"] = list(init)
    return {"kind": "Pod", "metadata": {"name": "minio-6d5f7c9b8-x2x7k"}, "status": reported}


def container(state: Document, restarts: int = 0, name: str = "minio", image: str = IMAGE, **more: object) -> Document:
    """Return one container's status."""
    return {"name": name, "image": image, "ready": False, "started": False, "restartCount": restarts, "state": state, **more}


def waiting(reason: str, message: str = "") -> Document:
    """Return the state of a container that waits."""
    return {"waiting": {"reason": reason, **({"message": message} if message else {})}}


NOWHERE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/1 nodes are available: 1 Insufficient memory. preemption: 0/1 nodes are available: 1 No preemption victims found.",
}
GONE = f'failed to pull and unpack image "{IMAGE}": failed to resolve reference "{IMAGE}": {IMAGE}: not found'
BACK_OFF = f'Back-off pulling image "{IMAGE}": ErrImagePull: {GONE}'
CRASHED = {"terminated": {"reason": "Error", "exitCode": 1}}
CRASHING = waiting("CrashLoopBackOff", "back-off 40s restarting failed container=minio pod=minio-6d5f7c9b8-x2x7k_argo(5f1c)")
RUNNING = {"running": {"startedAt": "2026-11-22T20:35:12Z"}}


def lasted(seconds: int) -> Document:
    """Return the last state of a container that ran for *seconds*."""
    return {"terminated": {"exitCode": 1, "startedAt": "2026-11-22T20:35:00Z", "finishedAt": f"2026-11-22T20:35:{seconds:02}Z"}}


TROUBLES: dict[str, tuple[Document, str, bool]] = {
    "no room on the node": (pod(scheduled=NOWHERE), "1 Insufficient memory", False),
    "not schedulable, without a message": (pod(scheduled={"type": "PodScheduled", "status": "False", "reason": "SchedulerError"}), "SchedulerError", False),
    "first try to pull": (pod(container(waiting("ErrImagePull", GONE))), f"cannot pull {IMAGE}.*not found", False),
    "tries to pull were given up": (pod(container(waiting("ImagePullBackOff", BACK_OFF))), f"cannot pull {IMAGE}.*not found", True),
    "an image that may not be pulled": (pod(container(waiting("ErrImageNeverPull", f'Container image "{IMAGE}" is not present with pull policy of Never'))), "is not present", True),
    "crashes after having waited": (pod(container(CRASHING, 5, lastState=lasted(31))), "keeps crashing", False),
    "crashes immediately": (pod(container(CRASHING, 5, lastState=lasted(2))), "keeps crashing", True),
    "no name of an image": (pod(container(waiting("InvalidImageName", "couldn't parse image name"), image="a b")), "cannot pull a b", True),
    "image of an init container": (pod(container(waiting("PodInitializing")), init=(container(waiting("ImagePullBackOff"), image="init:1"),)), "cannot pull init:1", True),
    "a Secret that is not there yet": (pod(container(waiting("CreateContainerConfigError", 'secret "argo-artifacts" not found'))), 'minio cannot start: secret "argo-artifacts" not found', False),
    "a program that is not in the image": (pod(container(waiting("RunContainerError", 'exec: "nope": executable file not found in $PATH'))), "executable file not found", False),
    "crashed once": (pod(container(CRASHING, 1, lastState=CRASHED), phase="Running"), "minio keeps crashing", False),
    "crashes again and again": (pod(container(CRASHING, 5, lastState=CRASHED), phase="Running"), "minio keeps crashing", True),
    "the second container crashes": (pod(container(RUNNING, name="first"), container(CRASHING, 5), phase="Running"), "minio keeps crashing", True),
    "being made": (pod(container(waiting("ContainerCreating"))), f"starting container minio of {IMAGE}", False),
    "after its init container": (pod(container(waiting("PodInitializing")), init=(container({"terminated": {"reason": "Completed", "exitCode": 0}}, name="init"),)), "starting container minio", False),
}  # fmt: skip


@pytest.mark.parametrize("case", TROUBLES)
def test_what_keeps_a_pod_from_running(case: str) -> None:
    """The user reads in Kubernetes' own words what a pod waits for, and up stops waiting only where waiting cannot help."""
    live, says, hopeless = TROUBLES[case]
    trouble = pod_trouble(live)

    assert trouble is not None
    for part in says.split(".*"):
        assert part in trouble[0]
    assert trouble[1] is hopeless


@pytest.mark.parametrize(
    "live",
    [
        pod(container(RUNNING, ready=True, started=True), phase="Running"),
        pod(container(RUNNING), phase="Running"),
        pod(container(RUNNING, 7, lastState=CRASHED), phase="Running"),
        pod(container(CRASHED, 1), phase="Running"),
        {"kind": "Pod", "metadata": {"name": "x"}, "status": {"phase": "Pending"}},
        {"kind": "Pod", "metadata": {"name": "x"}},
    ],
    ids=["ready", "running, not ready yet", "running again after crashes", "ended a moment ago", "just made", "without a status"],
)
def test_a_pod_without_trouble(live: Document) -> None:
    """A pod that runs, or of which nothing is known yet, has no message."""
    assert pod_trouble(live) is None
