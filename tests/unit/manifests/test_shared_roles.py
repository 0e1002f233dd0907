"""Who may do what in a cluster that several people share: the roles, evaluated as Kubernetes does, and the table that promises them."""

from __future__ import annotations

import re
from typing import Any

import kubernetes_schemas
import pytest
from documents import ROOT, read

from cluster.kube import documents

ROLES = {item["metadata"]["name"]: item for item in documents.load([ROOT / "manifests" / "administrator" / "roles.yaml"])}
LOOK = {"get workflows", "list workflows", "list pods", "get pods/log"}
BRING = {
    *(f"{verb} secrets" for verb in ("get", "list", "create", "patch", "delete")),
    *(f"{verb} configmaps" for verb in ("get", "list", "create", "patch")),
}
STARTS = ("cronworkflows", "eventsources", "sensors")
RUN = LOOK | BRING | {"create workflows", "patch workflows"}
FORWARD = {"list pods", "get pods/portforward"}
NEEDED: dict[str, set[str]] = {
    "runs": LOOK,
    "show": LOOK,
    "logs": LOOK,
    "fetch": LOOK,
    "report": LOOK,
    "state": LOOK,
    "run": RUN,
    "demo": RUN,
    "retry": RUN,
    "cancel": LOOK | {"patch workflows"},
    "sync": BRING | {f"{verb} {what}" for verb in ("get", "list", "create", "patch", "delete") for what in STARTS},
    "credentials": {"get secrets"},
    "forward": FORWARD,
}
"""The requests of each command to the API server, in the words of this test."""


def allowed(role: dict[str, Any], what: str) -> bool:
    """Say whether a role allows a verb on a resource."""
    verb, resource = what.split()
    group = "argoproj.io" if "workflow" in resource or resource in STARTS else ""
    return any(group in rule["apiGroups"] and resource in rule["resources"] and verb in rule["verbs"] for rule in role["rules"])


def promised() -> dict[str, list[str]]:
    """Return the commands of each role that the page names."""
    rows = re.findall(r"^\| `(singer-\w+)` \| (.+) \|$", read("docs/company.md"), re.MULTILINE)
    commands = {role: re.findall(r"`(\w+)`", text) for role, text in rows}
    return {"singer-viewer": commands["singer-viewer"], "singer-operator": [*commands["singer-viewer"], *commands["singer-operator"]]}


@pytest.mark.parametrize("name", ROLES)
def test_a_role_is_valid(name: str) -> None:
    """Kubernetes knows it, and it allows nothing by a wildcard, nothing over the whole cluster and no role to be given away."""
    role = ROLES[name]
    kubernetes_schemas.validate(role)
    words = [word for rule in role["rules"] for part in rule.values() for word in part]
    assert not {"*", "escalate", "bind", "impersonate", "roles", "rolebindings"} & set(words)


@pytest.mark.parametrize("name", ROLES)
def test_a_role_allows_what_is_promised(name: str) -> None:
    """Each command that the page promises to a role finds what it asks the cluster for."""
    commands = promised()[name]
    assert commands
    missing = {f"{command}: {what}" for command in commands for what in NEEDED[command] if not allowed(ROLES[name], what)}
    assert missing == set()


def test_a_viewer_changes_nothing() -> None:
    """A viewer reads, and no Secret; what only an operator may do is refused."""
    viewer = ROLES["singer-viewer"]
    assert {verb for rule in viewer["rules"] for verb in rule["verbs"]} == {"get", "list"}
    assert not allowed(viewer, "get secrets")
    only_operator = [command for command in promised()["singer-operator"] if command not in promised()["singer-viewer"]]
    assert [command for command in only_operator if all(allowed(viewer, what) for what in NEEDED[command])] == []
