"""Pipelines that a call and an object in a bucket start, by a real Argo Events in a real cluster.

Its manifests are the reader's to name, an EventBus ``default`` for the namespace of runs among them: ``SINGER_TEST_ARGO_EVENTS=FILE``.
"""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from company_cluster import COMPANY, DEMO, bucket
from platform_checkout import OTHER, run
from processes import eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from platform_checkout import Platform

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
ENV = ("--env", "company")
VARIABLE = "SINGER_TEST_ARGO_EVENTS"
TOKEN = "canary-of-the-caller"
CALLED, FILED = "called", "filed"


@pytest.fixture
def listening(guest: Platform) -> Iterator[Platform]:
    """Yield an environment whose cluster has Argo Events, with a pipeline that a call starts and one that objects in a bucket start."""
    if not os.environ.get(VARIABLE):
        pytest.skip(f"no manifests of Argo Events are named: {VARIABLE}=FILE")
    documents = [item for item in yaml.safe_load_all(Path(os.environ[VARIABLE]).read_text(encoding="utf-8")) if item]
    buses = [item for item in documents if item["kind"] == "EventBus"]
    others = [item for item in documents if item["kind"] != "EventBus"]
    run("kind", "load", "docker-image", *images(others), "--name", OTHER)
    guest.kubectl("apply", "--server-side", "-f", "-", stdin=written(others))
    guest.kubectl("-n", "argo-events", "wait", "--for=condition=Available", "--timeout=180s", "deployment", "--all")
    guest.kubectl("-n", "argo", "apply", "-f", "-", stdin=written(buses))
    for name, values in (("caller", {"token": TOKEN}), ("lake-root", COMPANY)):
        words = [f"--from-literal={key}={value}" for key, value in values.items()]
        guest.kubectl("-n", "argo", "create", "secret", "generic", name, *words)
    file = guest.root / "environments" / "company.yaml"
    file.write_text(file.read_text() + "argo_events: use\n")
    sides = {"tap": "tap-exchange-rates", "target": "target-csv"}
    guest.write(
        "pipelines.yaml",
        {
            DEMO: sides,
            CALLED: {**sides, "events": {"webhook": "/rates", "secret": "caller"}},
            FILED: {**sides, "events": {"bucket": "lake", "prefix": "incoming/", "suffix": ".csv", "secret": "lake-root"}},
        },
    )
    try:
        yield guest
    finally:
        guest.kubectl("-n", "argo", "delete", "eventsources,sensors", "--all", "--timeout=60s")
        guest.kubectl("-n", "argo", "delete", "eventbus", "--all", "--timeout=60s")
        guest.kubectl("delete", "-f", "-", "--ignore-not-found", "--timeout=120s", stdin=written(others))


def images(documents: list[dict[str, Any]]) -> list[str]:
    """Return the images of the Deployments among some objects."""
    pods = [item["spec"]["template"]["spec"] for item in documents if item["kind"] in {"Deployment", "StatefulSet"}]
    return sorted({container["image"] for pod in pods for container in pod["containers"]})


def written(documents: list[dict[str, Any]]) -> str:
    """Return objects as kubectl reads them."""
    return "\n---\n".join(map(json.dumps, documents))


def call(platform: Platform, token: str) -> str:
    """Call the webhook from a node of the cluster, and return the status."""
    (service,) = platform.there("services", "-n", "argo", f"--field-selector=metadata.name={CALLED}-eventsource-svc")
    url = f"http://{service['spec']['clusterIP']}:12000/rates"
    words = ["-s", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "10", "-X", "POST", "-d", "{}"]
    return run("docker", "exec", f"{OTHER}-control-plane", "curl", *words, "-H", f"Authorization: Bearer {token}", url)


def runs(platform: Platform, name: str) -> list[str]:
    """Return how the runs of a pipeline have ended."""
    return [event["status"] for event in platform.type("runs", "--pipeline", name, *ENV, "--json").events]


def subscribing(platform: Platform, name: str) -> bool:
    """Return whether a pipeline's Sensor subscribes to events."""
    return "Subscribing" in platform.kubectl("-n", "argo", "logs", "-l", f"sensor-name={name}")


def succeeded(platform: Platform, name: str) -> bool:
    """Return whether a pipeline has one run, which succeeded."""
    return runs(platform, name) == ["succeeded"]


def seen(platform: Platform, name: str) -> str:
    """Return what there is to see of a pipeline's events: for a failure."""
    logs = [platform.kubectl("-n", "argo", "logs", "-l", f"{kind}-name={name}", "--tail=20") for kind in ("eventsource", "sensor")]
    workflows = [item for item in platform.there("workflows", "-n", "argo") if item["metadata"]["name"].startswith(name)]
    return "\n".join([*logs, *(json.dumps({key: item.get(key) for key in ("metadata", "status")}) for item in workflows)])


def test_what_events_start(listening: Platform) -> None:
    """A call with the token and an object with the right name start a run each, others none; what has left the file is taken away."""
    up = listening.type("up", *ENV, "--json")
    assert up.code == 0, up.err
    for kind in ("eventsource", "sensor"):
        for name in (CALLED, FILED):
            eventually(partial(listening.there, "pods", "-n", "argo", "-l", f"{kind}-name={name}"), within=60)
            words = ["-l", f"{kind}-name={name}", "--for=condition=Ready", "--timeout=120s"]
            listening.kubectl("-n", "argo", "wait", "pod", *words)
    for name in (CALLED, FILED):  # what comes before a Sensor has subscribed starts nothing
        eventually(partial(subscribing, listening, name), within=60)
    assert listening.type("sync", *ENV, "--json").last["changed"] == []

    assert call(listening, "of nobody") != "200"
    lake = bucket(listening)
    lake.put("lake", "incoming/other.txt", b"x")
    assert call(listening, TOKEN) == "200"
    lake.put("lake", "incoming/rates.csv", b"x")
    for name in (CALLED, FILED):
        eventually(partial(succeeded, listening, name), 180, partial(seen, listening, name))
    assert TOKEN not in listening.kubectl("-n", "argo", "get", "workflows,eventsources,sensors", "-o", "json")
    assert listening.type("sync", *ENV, "--json").last["changed"] == []

    sides = {"tap": "tap-exchange-rates", "target": "target-csv"}
    listening.write("pipelines.yaml", {DEMO: sides, CALLED: sides})
    gone = listening.type("sync", *ENV)
    assert gone.code == 0, gone.err
    assert [item["metadata"]["name"] for item in listening.there("sensors", "-n", "argo")] == []
    assert [item["metadata"]["name"] for item in listening.there("eventsources", "-n", "argo")] == []
