"""Runs with parts in a real cluster, together with a mapper, a transform, a schedule, messages, retries and the mutex."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import argo_checkout, finished
from argo_parts import marks, split
from company_cluster import PASSWORD
from pod_inbox import inbox

from cluster.argo.status import nodes_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo
    from real_postgres import Postgres

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
TOTAL = """{{ config(materialized='table') }}
select count(*) as n
from (select n from {{ source('singer', 'renamed') }} union all select n from {{ source('singer', 'b') }}) as both_of_them
"""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up, with a mapper, and a transform that sums up two tables."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        prepare(checkout)
        yield checkout


def prepare(argo: Argo) -> None:
    """Write the connectors that are not in every checkout."""
    argo.connector("mapper-scripted", "mapper", [])
    sources = [{"name": "singer", "schema": "shop", "tables": [{"name": "renamed"}, {"name": "b"}]}]
    argo.write("dbt-rates/models/rates.yml", {"sources": sources})
    (argo.root / "singer-configs/dbt-rates/models/latest_rates.sql").unlink()
    argo.write("dbt-rates/models/total.sql", TOTAL)


def pods(argo: Argo, run: str, template: str = "") -> list[dict[str, Any]]:
    """Return the pods of a run as its Workflow lists them, oldest first."""
    [live] = [item for item in argo.there("workflows", "-n", "argo") if item["metadata"]["name"] == run]
    nodes = [node for node in nodes_of(live["status"]) if node["type"] == "Pod"]
    return sorted((node for node in nodes if template in {"", node["templateName"]}), key=lambda node: node["startedAt"])


def test_a_mapper_a_transform_and_messages(argo: Argo, warehouse: Postgres) -> None:
    """The mapper is in each part; the transform runs once, after all parts have succeeded; each run sends one message."""
    config = {"host": warehouse.host, "port": warehouse.port, "user": "singer", "database": "singer", "default_target_schema": "shop"}
    argo.write("own/shop-maps.json", {"rename": {"a": "renamed"}})
    more: dict[str, Any] = {"target_connector": "target-postgres", "mapper": "mapper-scripted", "mapper_config": "own/shop-maps.json"}
    more |= {"transform": "dbt-rates", "notify": "always", "split": "streams", "at_once": 2}
    target = {**config, "password": "${TARGET_POSTGRES_PASSWORD}"}

    def shop(rows: int, faults: dict[str, int]) -> None:
        split(argo, "shop", "ab", rows=rows, faults=faults, target=target, **more)

    with inbox() as (url, got):
        environ = {"TARGET_POSTGRES_PASSWORD": PASSWORD, "SINGER_NOTIFY_URL": url}
        shop(4, {"b": 3})
        failed = argo.runs("shop", **environ)["shop"].record
        assert (failed["status"], failed["loaded"], failed["error"]["code"]) == ("failed", False, "E-TAP-FAILED"), failed
        assert (failed["transform"]["exit_code"], pods(argo, failed["run"], "transform")) == (None, [])
        safe = argo.get_state("shop")["bookmarks"].get("b", {"n": 0})["n"]  # rows that the target has committed stay
        shop(4, {})
        again = argo.type("retry", failed["run"], "--json", **environ)
        assert again.code == 0, again.err
        record = argo.type("show", again.last["run"], "--json").last
        assert [part["status"] for part in record["parts"]] == ["skipped", "succeeded"]
        assert (record["records"], record["tap_records"], record["loaded"]) == ({"b": 4 - safe}, {"b": 4 - safe}, True)
        assert record["transform"]["exit_code"] == 0
        assert warehouse.sql("SELECT n FROM shop.total", "singer") == [("8",)]
        shop(6, {})
        done = argo.runs("shop", **environ)["shop"].record
    assert (done["status"], done["error"], done["transform"]["exit_code"]) == ("succeeded", None, 0), done
    assert (done["records"], done["tap_records"]) == ({"renamed": 2, "b": 2}, {"a": 2, "b": 2})
    assert (argo.get_state("shop"), warehouse.sql("SELECT n FROM shop.total", "singer")) == (marks("ab", 6), [("12",)])
    loads, [transform] = pods(argo, done["run"], "run-with-mapper"), pods(argo, done["run"], "transform")
    assert len(loads) == 2
    assert max(node["finishedAt"] for node in loads) <= transform["startedAt"]
    assert [(message["status"], message["run"]) for message in got] == [
        ("failed", failed["run"]),
        ("succeeded", record["run"]),
        ("succeeded", done["run"]),
    ]
    assert got[0]["error"]["problem"].startswith("Part b: ")


def test_a_schedule_and_the_mutex(argo: Argo) -> None:
    """A schedule starts all parts; a run by hand waits until the scheduled one has ended, and none loads a row again."""
    name = split(argo, "minutely", "abc", pause=6, split="streams", at_once=2, schedule="* * * * *")
    assert argo.type("sync", "--json").code == 0
    deadline = time.monotonic() + 120
    while not argo.works(name):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    split(argo, name, "abc", pause=6, split="streams", at_once=2, schedule="* * * * *", paused=True)
    assert argo.type("sync", "--json").last["changed"] == ["Schedules"]
    by_hand = finished(argo.begin("run", name, "--engine", "argo", "--json"))
    scheduled, second = sorted(argo.type("runs", "--pipeline", name, "--json").events, key=lambda event: event["started"])
    assert scheduled["run"].startswith("minutely-")
    assert (scheduled["status"], scheduled["records"]) == ("succeeded", dict.fromkeys("abc", 4)), scheduled
    assert (second["run"], second["status"], second["records"]) == (by_hand["run"], "succeeded", {}), second
    first_pod = pods(argo, second["run"], "run")[0]
    assert scheduled["finished"] <= first_pod["startedAt"]
    assert argo.get_state(name) == marks("abc")
    assert sum(text.count("\n") for text in argo.data(name).values()) == 12


def test_retries_and_the_timeout_are_those_of_each_part(argo: Argo) -> None:
    """A part that fails is tried again, and the others are not; a part does not pay for the time of those before it."""
    name = split(argo, "tried", "abc", rows=4, pause=6, faults={"b": 3}, split="streams", at_once=1, retries=1, timeout="40s")
    done = argo.one(name)
    assert (done.record["status"], done.record["error"]["code"]) == ("failed", "E-TAP-FAILED"), done.record
    assert done.record["error"]["problem"].startswith("Part b: ")
    assert [part["status"] for part in done.record["parts"]] == ["succeeded", "failed", "succeeded"]
    indexes = [
        next(item["value"] for item in node["inputs"]["parameters"] if item["name"] == "part")
        for node in pods(argo, done.record["run"], "run")
    ]
    assert sorted(indexes) == ["0", "1", "1", "2"]
    assert done.record["seconds"] > 40
    assert argo.get_state(name) == marks("ac")
