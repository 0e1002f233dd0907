"""Missing rights: which one it is, and the role that an administrator can apply."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

CANNOT = re.compile(
    r'^(?:\S+ "(?P<name>[^"]*)" )?.*User "(?P<user>[^"]*)" cannot (?P<verb>\S+) resource "(?P<resource>[^"]+)" '
    r'in API group "(?P<group>[^"]*)"(?: in the namespace "(?P<namespace>[^"]*)")?',
    re.DOTALL,
)
"""An authorizer's message. Admission, such as a quota, also answers 403, with other messages."""
GIVES = re.compile(r'user "(?P<user>[^"]*)" \(.*is attempting to grant RBAC permissions not currently held', re.DOTALL)
"""The refusal to grant rights that the user does not have."""
BY_NAME = ("get", "patch", "update", "delete")
"""Verbs that a role can allow for one object alone; who lists or creates has not named it yet."""
PASSING = ("workflows", "pods", "pods/log")
"""What a run brings and takes along: the next one's have other names."""
RBAC = "rbac.authorization.k8s.io"
ANYBODY = "system:anonymous"
PLACEHOLDER = "REPLACE-ME"
SERVICE_ACCOUNT = "system:serviceaccount:"
FORBIDDEN = 403
Result = TypeVar("Result")


@dataclass(frozen=True)
class Right:
    """A missing right, in a namespace or else in the whole cluster."""

    what: str
    """The words after: you may not."""
    name: str
    user: str
    namespace: str
    rules: tuple[Mapping[str, Any], ...]

    @property
    def problem(self) -> str:
        """What a person reads."""
        where = f"in the namespace {self.namespace}" if self.namespace else "in the whole cluster"
        return f"You may not {self.what} {where}" + (f"; to the cluster you are {self.user}" if self.user else "") + "."

    def documents(self) -> list[dict[str, Any]]:
        """Return a role with this right, and its binding to the user."""
        scope = "" if self.namespace else "Cluster"
        name = f"singer-{self.name}"
        # Another user who lacks the same gets a binding of their own, beside this one.
        binding = f"{name}-{hashlib.sha256(self.user.encode()).hexdigest()[:6]}"
        scoped = {"namespace": self.namespace} if self.namespace else {}
        labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "singer"}
        role = {"kind": f"{scope}Role", "metadata": {"name": name, **scoped, "labels": labels}, "rules": list(self.rules)}
        reference = {"apiGroup": RBAC, "kind": role["kind"], "name": name}
        metadata = {"name": binding, **scoped, "labels": labels}
        bound = {"kind": f"{scope}RoleBinding", "metadata": metadata, "roleRef": reference, "subjects": [subject(self.user)]}
        return [{"apiVersion": f"{RBAC}/v1", **document} for document in (role, bound)]

    def write(self, folder: Path) -> Path:
        """Write them into a file for an administrator, and return it.

        :raises SetupError: E-STORE, E-DISK: it cannot be written.
        """
        file = folder / f"{self.name}.yaml"
        for_administrator(file, self.documents())
        return file


def for_administrator(file: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Write a private file with objects for an administrator.

    :raises SetupError: E-STORE, E-DISK: it cannot be written.
    """
    with file_errors("The file for the administrator", file):
        private_folder(file.parent)
        write_private(file, yaml.safe_dump_all(documents, sort_keys=False))


def subject(user: str) -> dict[str, str]:
    """Return a user as a binding names it; service accounts have a form of their own."""
    if user.startswith(SERVICE_ACCOUNT):
        namespace, _, name = user.removeprefix(SERVICE_ACCOUNT).partition(":")
        return {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    return {"apiGroup": RBAC, "kind": "User", "name": user or PLACEHOLDER}


def read(message: str, body: object = None) -> Right | None:
    """Return the right that a refusal names, or None. *body* is what we sent."""
    lacking = CANNOT.search(message)
    if lacking:
        if lacking["user"] == ANYBODY:
            return None
        verb, resource, name = lacking["verb"], lacking["resource"], lacking["name"] or ""
        rule: dict[str, Any] = {"apiGroups": [lacking["group"]], "resources": [resource], "verbs": [verb]}
        if name and verb in BY_NAME and resource not in PASSING:
            rule["resourceNames"] = [name]
        whole, slash, sub = resource.partition("/")
        full = f"{whole}.{lacking['group']}" * bool(lacking["group"]) or whole
        what = f"{verb} {full}{slash}{sub}" + (f' "{name}"' if name else "")
        named = (verb, whole, sub, name if "resourceNames" in rule else "")
        return Right(what, _file(named), lacking["user"], lacking["namespace"] or "", (rule,))
    granting = GIVES.search(message)
    return _of_grant(body, granting["user"]) if granting and isinstance(body, dict) and {"rules", "roleRef"} & body.keys() else None


def _of_grant(body: Mapping[str, Any], user: str) -> Right:
    """Return the right to create a role, or to bind one."""
    kind, metadata = str(body["kind"]), body["metadata"]
    if "rules" in body:
        rules = tuple(body["rules"])
    else:
        resource = f"{body['roleRef']['kind'].lower()}s"
        rules = ({"apiGroups": [RBAC], "resources": [resource], "verbs": ["bind"], "resourceNames": [body["roleRef"]["name"]]},)
    what = f"make the {kind} {metadata['name']}, which gives rights that you do not have,"
    return Right(what, _file(("give", kind.lower(), metadata["name"])), user, metadata.get("namespace", ""), rules)


def several(refused: Iterable[tuple[str, str, str]], user: str, namespace: str, name: str) -> Right:
    """Return several rights as one. Each is a verb, an API group and a plural."""
    verbs: dict[tuple[str, str], list[str]] = {}
    for verb, group, plural in refused:
        verbs.setdefault((group, plural), []).append(verb)
    what = "; ".join(f"{', '.join(those)} {plural}{'.' if group else ''}{group}" for (group, plural), those in verbs.items())
    rules = tuple({"apiGroups": [group], "resources": [plural], "verbs": those} for (group, plural), those in verbs.items())
    return Right(what, name, user, namespace, rules)


def visible(look: Callable[[], Result], otherwise: Result) -> Result:
    """Return the result of *look*, or *otherwise* if the cluster does not let us look."""
    try:
        return look()
    except SetupError as error:
        if getattr(error, "status", 0) != FORBIDDEN:
            raise
        return otherwise


def _file(words: Iterable[str]) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", "-".join(filter(None, words)).lower()).strip("-.")
