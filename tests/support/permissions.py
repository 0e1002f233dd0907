"""What each service account may do in our namespace: the whole list. What is in no row is refused.

Read by the offline check of our roles, and by the question to a real API server.
"""

from __future__ import annotations

NAMESPACE = "argo"
LOOK = {"get", "list", "watch"}
VERBS = {*LOOK, "create", "update", "patch", "delete", "deletecollection"}
ARGO = "argoproj.io"
MAY: dict[str, dict[str, set[str]]] = {
    "default": {},
    "pipeline": {f"workflowtaskresults.{ARGO}": {"create", "patch"}},
    "events": {f"workflows.{ARGO}": {"create"}},
    "late": {f"workflows.{ARGO}": {"list"}, f"cronworkflows.{ARGO}": {"list"}},
    "argo-server": {
        f"workflows.{ARGO}": LOOK,
        f"workflowtemplates.{ARGO}": LOOK,
        f"cronworkflows.{ARGO}": LOOK,
        f"workfloweventbindings.{ARGO}": LOOK,
        "pods": LOOK,
        "pods/log": LOOK,
        "events": {"list", "watch"},
        "configmaps:workflow-controller-configmap": {"get"},
        "secrets:argo-artifacts": {"get"},
    },
    "workflow-controller": {
        f"workflows.{ARGO}": VERBS - {"deletecollection"},
        f"cronworkflows.{ARGO}": {*LOOK, "patch"},
        f"workflowtemplates.{ARGO}": LOOK,
        f"workflowtasksets.{ARGO}": {"list", "watch"},
        f"workflowartifactgctasks.{ARGO}": {"list", "watch"},
        f"workflowtaskresults.{ARGO}": {"list", "watch", "deletecollection"},
        f"workflows.{ARGO}/finalizers": {"update"},
        f"cronworkflows.{ARGO}/finalizers": {"update"},
        "pods": {*LOOK, "create", "patch", "delete"},
        "pods/exec": {"create"},
        "configmaps": LOOK,
        "serviceaccounts": {"get"},
        "events": {"create", "patch"},
    },
}
"""Account to resource to verbs; after a colon the one object's name, after a slash the subresource."""
OPTIONAL = {"events"}
"""Accounts that are there only where a setting asks for them."""
RESOURCES = {
    *(resource for rights in MAY.values() for resource in rights),
    "secrets",
    "secrets:argo-artifacts-root",
    "secrets:connector-tap",
    "secrets:singer-notify",
    "configmaps:singer-store",
    "pods/attach",
    "pods/portforward",
    "pods/ephemeralcontainers",
    "serviceaccounts/token",
    "services",
    "persistentvolumeclaims",
    "deployments.apps",
    "jobs.batch",
    "networkpolicies.networking.k8s.io",
    "roles.rbac.authorization.k8s.io",
    "rolebindings.rbac.authorization.k8s.io",
}
TRIED = {
    "pipeline": (
        ("get", "secrets:argo-artifacts"),
        ("list", "secrets"),
        ("get", "secrets:argo-artifacts-root"),
        ("get", "configmaps:singer-store"),
        ("create", "pods"),
        ("create", "pods/exec"),
        ("get", "pods"),
        ("get", "pods/log"),
        ("create", f"workflows.{ARGO}"),
        ("patch", f"workflows.{ARGO}"),
        ("get", f"workflows.{ARGO}"),
        ("list", f"workflowtaskresults.{ARGO}"),
        ("delete", f"workflowtaskresults.{ARGO}"),
        ("create", "serviceaccounts/token"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
    ),
    "events": (
        ("get", f"workflows.{ARGO}"),
        ("list", f"workflows.{ARGO}"),
        ("delete", f"workflows.{ARGO}"),
        ("get", f"workflowtemplates.{ARGO}"),
        ("create", f"cronworkflows.{ARGO}"),
        ("get", "secrets:argo-artifacts"),
        ("create", "pods"),
        ("create", "serviceaccounts/token"),
    ),
    "late": (
        ("get", "secrets:argo-artifacts"),
        ("list", "secrets"),
        ("create", f"workflows.{ARGO}"),
        ("patch", f"cronworkflows.{ARGO}"),
        ("create", f"workflowtaskresults.{ARGO}"),
        ("list", "pods"),
        ("create", "pods"),
        ("create", "serviceaccounts/token"),
    ),
    "argo-server": (
        ("create", f"workflows.{ARGO}"),
        ("delete", f"workflows.{ARGO}"),
        ("patch", f"workflows.{ARGO}"),
        ("create", f"cronworkflows.{ARGO}"),
        ("update", f"workflowtemplates.{ARGO}"),
        ("delete", "pods"),
        ("create", "pods/exec"),
        ("list", "secrets"),
        ("get", "secrets:argo-artifacts-root"),
        ("get", "secrets:connector-tap"),
        ("create", "serviceaccounts/token"),
    ),
    "workflow-controller": (
        ("get", "secrets:argo-artifacts"),
        ("list", "secrets"),
        ("get", "secrets:argo-artifacts-root"),
        ("update", f"workflowtemplates.{ARGO}"),
        ("create", f"cronworkflows.{ARGO}"),
        ("create", "serviceaccounts/token"),
        ("create", "deployments.apps"),
        ("update", "configmaps"),
        ("create", "rolebindings.rbac.authorization.k8s.io"),
        ("delete", "networkpolicies.networking.k8s.io"),
    ),
    "default": (("get", "pods"), ("list", "secrets"), ("create", "pods"), ("create", f"workflowtaskresults.{ARGO}")),
}
"""What each of them must not do: what somebody who has its token would try first."""


def granted(account: str, verb: str, resource: str) -> bool:
    """Return whether the list allows it; a right for all objects is one for each."""
    rights = MAY[account]
    return verb in rights.get(resource, set()) | rights.get(resource.partition(":")[0], set())
