"""How the API server refuses a request, in Kubernetes' own words, and the roles that are made of it."""

# ruff: noqa: E501 - a table: a case is a line

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import kubernetes_schemas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.kube import rbac

if TYPE_CHECKING:
    from cluster.kube.rbac import Right

NODES = 'nodes is forbidden: User "jane" cannot list resource "nodes" in API group "" at the cluster scope'
GKE = (
    'secrets "argo-artifacts" is forbidden: User "jane@example.com" cannot get resource "secrets" in API group "" in the namespace "rates": '
    'requires one of ["container.secrets.get"] permission(s).'
)
ACCOUNT = (
    'workflows.argoproj.io is forbidden: User "system:serviceaccount:ci:deployer" cannot create resource "workflows" '
    'in API group "argoproj.io" in the namespace "rates"'
)
FORWARD = 'pods "minio-7f" is forbidden: User "jane" cannot create resource "pods/portforward" in API group "" in the namespace "rates"'
GIVES = (
    '{} is forbidden: user "jane" (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently held:\n'
    '{{APIGroups:["argoproj.io"], Resources:["workflowtaskresults"], Verbs:["create" "patch"]}}'
)
RULES = [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]
ROLE = {"kind": "Role", "metadata": {"name": "pipeline", "namespace": "rates"}, "rules": RULES}
BINDING = {
    "kind": "RoleBinding",
    "metadata": {"name": "pipeline", "namespace": "rates"},
    "roleRef": {"kind": "Role", "name": "pipeline"},
}


def right_of(message: str, body: object = None) -> Right:
    """Return the right that a message is about."""
    right = rbac.read(message, body)
    assert right is not None
    return right


def documents(right: Right) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return role and binding, which Kubernetes knows."""
    role, binding = right.documents()
    for document in (role, binding):
        kubernetes_schemas.validate(document)
    assert binding["roleRef"] == {"apiGroup": "rbac.authorization.k8s.io", "kind": role["kind"], "name": role["metadata"]["name"]}
    return role, binding


@pytest.mark.parametrize(
    ("message", "problem", "kind", "rule", "subject"),
    [
        (NODES, "You may not list nodes in the whole cluster; to the cluster you are jane.", "ClusterRole", ("", "nodes", "list", None), ("User", "jane")),
        (GKE, 'You may not get secrets "argo-artifacts" in the namespace rates; to the cluster you are jane@example.com.', "Role", ("", "secrets", "get", "argo-artifacts"), ("User", "jane@example.com")),
        (ACCOUNT, "You may not create workflows.argoproj.io in the namespace rates; to the cluster you are system:serviceaccount:ci:deployer.", "Role", ("argoproj.io", "workflows", "create", None), ("ServiceAccount", "deployer")),
        (FORWARD, 'You may not create pods/portforward "minio-7f" in the namespace rates; to the cluster you are jane.', "Role", ("", "pods/portforward", "create", None), ("User", "jane")),
    ],
    ids=["whole cluster", "by name", "service account", "subresource"],
)  # fmt: skip
def test_a_refusal_becomes_a_role(
    message: str, problem: str, kind: str, rule: tuple[str, str, str, str | None], subject: tuple[str, str]
) -> None:
    """The sentence names verb, kind, object, where and who; the role has this one right, for the one object if it can be named."""
    right = right_of(message)
    role, binding = documents(right)
    group, resource, verb, name = rule
    exactly = {"apiGroups": [group], "resources": [resource], "verbs": [verb], **({"resourceNames": [name]} if name else {})}
    assert (right.problem, role["kind"], role["rules"]) == (problem, kind, [exactly])
    assert [(item["kind"], item["name"]) for item in binding["subjects"]] == [subject]


def test_rights_that_are_granted() -> None:
    """Who makes a role must have its rights: they are what is asked for. Who gives a role to somebody must be allowed to give this one."""
    right = right_of(GIVES.format('roles.rbac.authorization.k8s.io "pipeline"'), ROLE)
    assert documents(right)[0]["rules"] == RULES
    assert "make the Role pipeline, which gives rights that you do not have, in the namespace rates" in right.problem
    right = right_of(GIVES.format('rolebindings.rbac.authorization.k8s.io "pipeline"'), BINDING)
    (rule,) = documents(right)[0]["rules"]
    assert (rule["resources"], rule["verbs"], rule["resourceNames"]) == (["roles"], ["bind"], ["pipeline"])


@pytest.mark.parametrize(
    "message",
    [
        'pods "x" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false',
        'pods "x" is forbidden: exceeded quota: small, requested: pods=1, used: pods=5, limited: pods=5',
        'admission webhook "policy.example.com" denied the request: label owner is missing',
        NODES.replace("jane", "system:anonymous"),
        GIVES.format('roles.rbac.authorization.k8s.io "pipeline"'),
        "",
    ],
)
def test_what_is_no_lack_of_rights(message: str) -> None:
    """What a policy or a quota forbids, who is not known at all, and what is not understood become no role."""
    assert rbac.read(message) is None


def test_each_lack_has_a_role_and_each_user_a_binding() -> None:
    """What was granted before stays when the next file is applied: other rights and other users have names of their own."""
    one, other = right_of(ACCOUNT), right_of(ACCOUNT.replace("ci:deployer", "ci:other"))
    (role, first), (same, second) = documents(one), documents(other)
    assert role == same
    assert first["metadata"]["name"] != second["metadata"]["name"]
    names = {documents(right_of(message))[0]["metadata"]["name"] for message in (NODES, GKE, ACCOUNT, FORWARD)}
    assert len(names) == 4


@given(st.text(), st.text(), st.text())
def test_odd_words(user: str, name: str, resource: str) -> None:
    """For any message of a server, the file's name is one below its folder, and its content is YAML of the right form."""
    message = f'x "{name}" is forbidden: User "{user}" cannot get resource "{resource}" in API group "" in the namespace "rates"'
    right = rbac.read(message)
    if right is not None:
        assert right.name.replace("-", "").replace(".", "").isalnum()
        assert len(right.documents()) == 2
