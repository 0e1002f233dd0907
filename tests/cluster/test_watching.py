"""What a real cluster reports by itself: metrics for Prometheus, and messages about late pipelines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argo_checkout import argo_checkout
from pod_inbox import inbox
from prometheus_text import Series, parsed
from scenarios import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
PREFIX = "argo_workflows_singer_"
SERVICE = "/api/v1/namespaces/argo/services/workflow-controller-metrics:9090/proxy/metrics"


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def test_metrics(argo: Argo) -> None:
    """Prometheus can read the endpoint; each run counts once, also one that took several attempts."""
    names = [
        argo.pipeline("counted", {"steps": GOOD}),
        argo.pipeline("counted-staged", {"steps": GOOD}, mode="staged"),
        argo.pipeline("uncounted", {"steps": [["schema", "s"], ["records", "s", 5], ["exit", 3]]}, retries=1),
    ]
    argo.runs(*names)
    types, values = parsed(argo.kubectl("get", "--raw", SERVICE))
    assert types["argo_workflows_gauge"] == "gauge"

    def value(name: str, pipeline: str, **more: str) -> float:
        return values.get(Series(f"{PREFIX}{name}", frozenset({"pipeline": pipeline, **more}.items())), 0)

    for name in names[:2]:
        assert value("runs_total", name, status="Succeeded") == 1
        assert value("records_total", name) == 2
        assert value("bytes_total", name) > 0
        assert value("run_seconds", name, status="Succeeded") > 0
        assert value("last_success_timestamp_seconds", name) > 1.7e9
    assert value("runs_total", "uncounted", status="Failed") == 1
    assert value("records_total", "uncounted") == value("last_success_timestamp_seconds", "uncounted") == 0


def check(argo: Argo, number: int) -> str:
    """Let the check look now, and return what it printed."""
    job = f"look-{number}"
    argo.kubectl("-n", "argo", "create", "job", "--from=cronjob/singer-late", job)
    argo.kubectl("-n", "argo", "wait", "--for=condition=complete", "--timeout=120s", f"job/{job}")
    return argo.kubectl("-n", "argo", "logs", f"job/{job}")


def test_a_pipeline_that_is_late(argo: Argo) -> None:
    """It is reported once, with its reason, and once more after its next success; the check goes with the last schedule."""
    name = argo.pipeline("overdue", {"steps": GOOD}, schedule="0 2 * * *")
    with inbox() as (url, got):
        assert argo.type("sync", SINGER_NOTIFY_URL=url).code == 0
        assert argo.type("runs", "--late").code == 0
        argo.kubectl("-n", "argo", "annotate", "--overwrite", "cronworkflow", name, "singer/since=2026-01-01T00:00:00Z")
        late = argo.type("runs", "--late", "--json")
        assert (late.code, late.events[0]["why"]) == (1, "not-started")
        argo.kubectl("-n", "argo", "patch", "cronworkflow", name, "--type=merge", "-p", '{"spec": {"suspend": true}}')
        assert "1 late, 1 new" in check(argo, 1)
        assert "1 late, 0 new" in check(argo, 2)
        assert "suspended in Argo" in argo.type("status").out
        argo.one(name)
        assert "0 late" in check(argo, 3)
        assert argo.type("runs", "--late").code == 0
    assert [(message["status"], message["pipelines"]) for message in got] == [("late", [name]), ("on time", [name])]
    argo.write("pipelines.yaml", {})
    argo.pipeline(name, {"steps": GOOD})
    assert argo.type("sync", SINGER_NOTIFY_URL=url).code == 0
    assert argo.there("cronjobs", "-n", "argo") == []
