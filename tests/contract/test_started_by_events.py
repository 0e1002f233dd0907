"""Pipelines that events start, applied to a cluster that has Argo Events and to one that has not; both are a stand-in."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from fake_apiserver import Company

CALLED = {"webhook": "/p"}
OBJECTS = {("EventSource", "p"), ("Sensor", "p")}


@pytest.fixture
def started(company: Company) -> Company:
    """Return a checkout with a pipeline that a call starts, and a cluster with Argo Events."""
    company.checkout.scripted({"steps": []}, events=CALLED)
    company.file.write_text(company.file.read_text() + "argo_events: use\n")
    company.api.events = True
    return company


def test_events_come_and_go(started: Company) -> None:
    """`up` applies the account, `sync` the objects of pipelines.yaml, as --yaml prints them; what leaves the file leaves the cluster."""
    api = started.api
    assert started.there("export").code == 0
    up = started.there("up")
    assert (up.code, "1 started by events" in up.out) == (0, True), up.err
    assert api.objects.keys() >= {("ServiceAccount", "events"), ("Role", "events"), ("RoleBinding", "events"), *OBJECTS}
    assert "nothing changed" in started.there("up").out
    printed = {(item["kind"], item["metadata"]["name"]): item for item in yaml.safe_load_all(started.there("sync", "--yaml").out)}
    for key in OBJECTS:
        assert api.get(*key)["spec"] == printed[key]["spec"]
    assert yaml.safe_load((started.root / "export/company/objects/sensor-p.yaml").read_text()) == printed["Sensor", "p"]

    started.checkout.scripted({"steps": []})
    synced = started.there("sync")
    assert (synced.code, "2 removed" in synced.out) == (0, True), synced.err
    assert not OBJECTS & api.objects.keys()
    started.file.write_text(started.file.read_text().replace("argo_events: use\n", ""))
    assert started.there("up").code == 0
    assert ("ServiceAccount", "events") not in api.objects


def test_a_cluster_without_argo_events(started: Company) -> None:
    """If Argo Events is to be used and is missing, that is reported; if it is not to be used, all else is applied, with a notice."""
    started.api.events = False
    refused = started.there("up")
    assert (refused.code, "E-ARGO" in refused.err, "Argo Events" in refused.err) == (1, True, True), refused.err
    assert not OBJECTS & started.api.objects.keys()
    started.file.write_text(started.file.read_text().replace("argo_events: use\n", ""))
    up = started.there("up")
    assert (up.code, "no events for p" in up.out) == (0, True), up.out + up.err


def test_no_right_to_look_for_what_is_not_used(company: Company) -> None:
    """Who may not look at Argo Events' objects can bring everything else."""
    company.api.denied |= {("list", "eventsources.argoproj.io"), ("list", "sensors.argoproj.io")}
    assert company.there("up").code == 0
