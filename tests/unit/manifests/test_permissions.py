"""Who may do what: our roles, evaluated as the API server does, and what our pods may reach. Needs no cluster."""

from __future__ import annotations

from itertools import product
from typing import Any

import permissions as rights
import pytest
from manifest_files import ALL, WORKLOADS, argo_config, each, find, pod_spec
from pod_security import violations
from workflow_templates import containers, each_template, mounts

from cluster.platform.backup import _document

TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"


def allowed(account: str, verb: str, resource: str) -> bool:
    """Say whether a role of ours that is bound to the account has a rule for this, as Kubernetes evaluates it."""
    whole, _, name = resource.partition(":")
    whole, _, sub = whole.partition("/")
    plural, _, group = whole.partition(".")
    asked = f"{plural}/{sub}" if sub else plural
    roles = [
        item["roleRef"]["name"]
        for item in ALL.values()
        if item["kind"] == "RoleBinding" and {"kind": "ServiceAccount", "name": account, "namespace": rights.NAMESPACE} in item["subjects"]
    ]
    return any(
        group in rule["apiGroups"]
        and asked in rule["resources"]
        and verb in rule["verbs"]
        and (not rule.get("resourceNames") or name in rule["resourceNames"])
        for role in roles
        for rule in find("Role", role)["rules"]
    )


@pytest.mark.parametrize("account", rights.MAY)
def test_an_account_may_do_what_the_list_says(account: str) -> None:
    """Of every verb on every resource, an account has exactly the rights of the list."""
    cases = list(product(sorted(rights.VERBS), sorted(rights.RESOURCES)))
    assert {case for case in cases if allowed(account, *case)} == {case for case in cases if rights.granted(account, *case)}


def test_the_list_is_whole() -> None:
    """No role of an account grants a right that the list does not know, and every account of ours is in it; other roles are people's."""
    bound = {item["roleRef"]["name"] for item in ALL.values() if item["kind"] == "RoleBinding"}
    people = {item["metadata"]["name"] for item in ALL.values() if item["kind"] == "Role"} - bound
    assert people == {"singer-viewer", "singer-operator"}
    for document in ALL.values():
        if document["kind"] == "Role" and document["metadata"]["name"] in bound:
            account = document["metadata"]["name"]
            for rule in document["rules"]:
                for group, resource, verb, name in product(
                    rule["apiGroups"], rule["resources"], rule["verbs"], rule.get("resourceNames", [""])
                ):
                    plural, slash, sub = resource.partition("/")
                    whole = f"{plural}.{group}" if group else plural
                    assert rights.granted(account, verb, f"{whole}{slash}{sub}{':' if name else ''}{name}"), (account, verb, resource)
    assert {item["metadata"]["name"] for item in ALL.values() if item["kind"] == "ServiceAccount"} == rights.MAY.keys() - {"default"}


@pytest.mark.parametrize(("account", "verb", "resource"), [(who, *what) for who, tries in rights.TRIED.items() for what in tries])
def test_what_an_account_must_not_do(account: str, verb: str, resource: str) -> None:
    """With an account's token nobody can read credentials, start pods or change who may do what."""
    assert not allowed(account, verb, resource)


@each_template
def test_no_connector_has_a_token(template: dict[str, Any]) -> None:
    """In a run's pods nothing but Argo's own container sees the token of the service account."""
    empty = {volume["name"] for volume in template["volumes"] if volume.get("emptyDir") == {}}
    for name in containers(template):
        assert mounts(template, name).get(TOKEN) in empty


@each(WORKLOADS)
def test_only_who_asks_the_api_has_a_token(document: dict[str, Any]) -> None:
    """A pod has its account's token only where its program speaks with the API server."""
    name = document["metadata"]["name"]
    assert pod_spec(document)["automountServiceAccountToken"] is (name in {"workflow-controller", "argo-server"})


def test_the_pod_that_copies_data_is_restricted() -> None:
    """The pod of teardown --keep-data has no token, no privileges and a bounded life."""
    spec = _document("argo", "localhost/singer/x:1")["spec"]
    assert violations(spec) == []
    assert spec["automountServiceAccountToken"] is False
    assert spec["activeDeadlineSeconds"] > 0


def test_what_argo_adds_is_bounded() -> None:
    """Argo's own container has a limit of memory, and no pod of a run lives for ever."""
    config = argo_config()
    assert config["executor"]["resources"]["limits"]["memory"]
    assert config["workflowDefaults"]["spec"]["activeDeadlineSeconds"]
    assert config["workflowDefaults"]["spec"]["securityContext"]["runAsUser"] > 0
