"""Somebody whom the cluster does not allow all that a command needs: each verb is named, with the file that allows it and nothing else.

The cluster is a stand-in that refuses in Kubernetes' words, and allows what the files' roles allow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import kubernetes_schemas
import pytest
import yaml
from fake_apiserver import INSTANCE, NAMESPACE, USER

if TYPE_CHECKING:
    from pathlib import Path

    from fake_apiserver import Api, Company

RUN = "20261124t060000-abcd"
WORKFLOWS, SCHEDULES = "workflows.argoproj.io", "cronworkflows.argoproj.io"


@pytest.fixture
def brought(company: Company) -> Company:
    """Return an environment that is up, with a run under way whose pod is there."""
    up = company.there("up", "--json")
    assert up.code == 0, up.err
    company.runs(RUN)
    labels = {"workflows.argoproj.io/workflow": RUN}
    company.api.add("Pod", f"{RUN}-run-1", metadata={"labels": labels}, spec={"containers": [{"name": "tap"}]}, status={"phase": "Running"})
    return company


def refused(company: Company, *words: str) -> tuple[str, Path]:
    """Type a command that a right is lacking for; return its message, and the file that it names, which exists."""
    result = company.there(*words)
    assert (result.code, "Traceback" in result.err) == (1, False), result.err
    sentence, hint = result.err.strip().splitlines()
    assert sentence.startswith("E-RIGHTS  You may not "), result.err
    file = re.search(r"\(kubectl apply (?:--server-side )?-f (\S+)\)", hint)
    assert file, hint
    return sentence, company.root / file[1]


def grant(api: Api, file: Path) -> list[dict[str, Any]]:
    """Do what the administrator does: apply the file. Return the rules of its roles."""
    rules, bound = [], []
    for document in yaml.safe_load_all(file.read_text()):
        kubernetes_schemas.validate(document)
        if "rules" in document:
            rules += document["rules"]
        else:
            bound.append(document)
            assert [(item["kind"], item["name"]) for item in document["subjects"]] == [("User", USER)]
    assert bound
    for rule in rules:
        for group, plural, verb in product(rule["apiGroups"], rule["resources"], rule["verbs"]):
            whole, slash, sub = plural.partition("/")
            api.denied.discard((verb, f"{whole}.{group}" * bool(group) or f"{whole}{slash}{sub}"))
    return rules


@dataclass(frozen=True)
class Case:
    """A right that is lacking, the command that needs it, and the one object that it is about, where it is about one."""

    verb: str
    resource: str
    words: tuple[str, ...]
    name: str = ""
    again: bool = True
    """Whether the command can come to its end here: no run is carried out."""
    passing: bool = False
    """Whether the object is one of a run's own, so that a right to this one would be of no use for the next run."""


CASES = [
    Case("list", WORKFLOWS, ("runs",)),
    Case("list", "secrets", ("sync",)),
    Case("create", WORKFLOWS, ("run", "p"), again=False),
    Case("patch", WORKFLOWS, ("cancel", RUN), RUN, again=False, passing=True),
    Case("patch", SCHEDULES, ("sync",), "p"),
    Case("delete", SCHEDULES, ("sync",), "p"),
    Case("get", "configmaps", ("sync",), "singer-images"),
    Case("get", "pods/log", ("logs", RUN), f"{RUN}-run-1", passing=True),
]


def prepare(company: Company, case: Case) -> None:
    """Let there be something to do that needs the right."""
    if case.resource == SCHEDULES:
        schedule: dict[str, Any] = {"schedule": "0 7 * * *"} if case.verb == "patch" else {}
        company.checkout.scripted({"steps": []}, **schedule)
    company.api.denied.add((case.verb, case.resource))


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.verb} {case.resource}")
def test_a_right_is_named_with_what_grants_it(brought: Company, case: Case) -> None:
    """Verb, kind, object and namespace are named, and who one is; the file allows exactly that to this user, and then the command works."""
    prepare(brought, case)
    sentence, file = refused(brought, *case.words)
    named = f' "{case.name}"' if case.name else ""
    what = f"{case.verb} {case.resource}{named} in the namespace {NAMESPACE}"
    assert what in sentence
    assert USER in sentence
    plural, _, group = case.resource.partition(".")
    exactly = {"apiGroups": [group], "resources": [plural], "verbs": [case.verb]}
    alone = {"resourceNames": [case.name]} if case.name and not case.passing else {}
    assert grant(brought.api, file) == [{**exactly, **alone}]
    assert {item["metadata"]["namespace"] for item in yaml.safe_load_all(file.read_text())} == {NAMESPACE}
    assert file.parent == brought.root / ".local" / "platforms" / "company" / "rights"
    if case.again:
        again = brought.there(*case.words)
        assert again.code == 0, again.err


def test_creating_by_applying(brought: Company) -> None:
    """What is applied and not there yet needs the right to create it, which no role gives for one object alone."""
    brought.checkout.scripted({"steps": []}, schedule="0 6 * * *")
    del brought.api.objects["CronWorkflow", "p"]
    brought.api.denied.add(("create", SCHEDULES))
    sentence, file = refused(brought, "sync")
    assert f'create {SCHEDULES} "p" in the namespace {NAMESPACE}' in sentence
    assert grant(brought.api, file) == [{"apiGroups": ["argoproj.io"], "resources": ["cronworkflows"], "verbs": ["create"]}]
    assert brought.there("sync").code == 0


def test_up_asks_beforehand(company: Company) -> None:
    """All that `up` lacks is reported in one message, before anything is changed; one file allows it, and then `up` works."""
    api = company.api
    api.denied |= {("create", "roles.rbac.authorization.k8s.io"), ("patch", "roles.rbac.authorization.k8s.io"), ("delete", "configmaps")}
    sentence, file = refused(company, "up")
    assert "You may not delete configmaps; create, patch roles.rbac.authorization.k8s.io in the namespace rates" in sentence
    assert api.changes == []
    rules = grant(api, file)
    assert {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["delete"]} in rules
    assert (len(rules), api.denied) == (2, set())
    assert company.there("up").code == 0


def test_run_asks_beforehand(brought: Company) -> None:
    """All the rights that following a run needs are checked before it is begun."""
    brought.api.denied |= {("list", "pods"), ("get", "pods/log")}
    sentence, file = refused(brought, "run", "p")
    assert "You may not list pods; get pods/log in the namespace rates" in sentence
    assert [name for kind, name in brought.api.objects if kind == "Workflow"] == [RUN]
    assert [rule["resources"] for rule in grant(brought.api, file)] == [["pods"], ["pods/log"]]


def test_a_port_that_may_not_be_forwarded(company: Company) -> None:
    """If no port may be forwarded the error comes before any program waits for it."""
    company.api.denied |= {("get", "pods/portforward"), ("create", "pods/portforward")}
    sentence, file = refused(company, "forward")
    assert "get, create pods/portforward in the namespace rates" in sentence
    assert grant(company.api, file) == [{"apiGroups": [""], "resources": ["pods/portforward"], "verbs": ["get", "create"]}]


def test_the_whole_cluster(company: Company) -> None:
    """A namespace that may not be made is written down for an administrator, whose it is from then on."""
    del company.api.objects["Namespace", NAMESPACE]
    company.api.denied |= {("create", "namespaces"), ("create", "configmaps")}
    company.api.workflows = False
    sentence, file = refused(company, "up")
    assert "create a Namespace" in sentence
    (document,) = yaml.safe_load_all(file.read_text())
    assert (document["kind"], document["metadata"]["name"]) == ("Namespace", NAMESPACE)
    assert "singer/instance" not in document["metadata"]["labels"]
    assert INSTANCE not in file.read_text()


def test_what_no_role_helps_with(brought: Company) -> None:
    """A quota or a policy refuses with the same number: its own words are shown, and no file is written."""
    brought.checkout.scripted({"steps": []}, schedule="0 7 * * *")
    brought.api.refuses = 'cronworkflows.argoproj.io "p" is forbidden: exceeded quota: small, requested: count/cronworkflows=1, limited: 0'
    result = brought.there("sync")
    assert (result.code, "E-KUBE" in result.err, "exceeded quota: small" in result.err) == (1, True, True), result.err
    assert not (brought.root / ".local" / "platforms" / "company" / "rights").exists()


def test_what_may_merely_not_be_seen(brought: Company) -> None:
    """A right that a command can do without is not mentioned, and nothing is written."""
    brought.api.denied |= {("list", "networkpolicies.networking.k8s.io")}
    assert brought.there("up").code in {0, 1}
    brought.api.denied |= {("get", "configmaps")}
    assert brought.there("runs").code == 0
    assert not (brought.root / ".local" / "platforms" / "company" / "rights").exists()


def test_a_program_reads_it_too(brought: Company) -> None:
    """The event has the code and the file, which is there by then."""
    brought.api.denied.add(("list", WORKFLOWS))
    result = brought.there("runs", "--json")
    assert (result.code, result.error) == (1, "E-RIGHTS")
    file = brought.root / result.last["hint"].partition("apply ")[2].partition(" (")[0]
    assert file.is_file()
    assert file.stat().st_mode & 0o077 == 0
