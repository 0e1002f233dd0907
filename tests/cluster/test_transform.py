"""A load into a real Postgres and dbt after it, in a real cluster: what a run leaves in the tables, in its record and in its state."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from argo_checkout import argo_checkout
from company_cluster import PASSWORD
from scenarios import AFTER, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo
    from real_postgres import Postgres

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
LOAD = [SCHEMA, ["records", "s", 3], ["state", AFTER]]
ENVIRON = {"TARGET_POSTGRES_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up, and whose transform sums up what was loaded."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        checkout.write("dbt-rates/models/rates.yml", {"sources": [{"name": "singer", "schema": "rates", "tables": [{"name": "s"}]}]})
        (checkout.root / "singer-configs/dbt-rates/models/latest_rates.sql").unlink()
        yield checkout


def pipeline(argo: Argo, warehouse: Postgres, name: str, sql: str, mode: str) -> None:
    """Write the model, and a pipeline that ends with it."""
    argo.write("dbt-rates/models/total.sql", "{{ config(materialized='table') }} " + sql)
    config = {"host": warehouse.host, "port": warehouse.port, "user": "singer", "database": "singer", "default_target_schema": "rates"}
    target = {**config, "password": "${TARGET_POSTGRES_PASSWORD}"}
    argo.pipeline(name, {"steps": LOAD}, target, target_connector="target-postgres", transform="dbt-rates", mode=mode)


@pytest.mark.parametrize("mode", ["streaming", "staged"])
def test_a_transform_that_fails_then_one_that_does_not(argo: Argo, warehouse: Postgres, mode: str) -> None:
    """The failed run has its rows and its state; the next one, of the corrected model, loads nothing twice and makes the table."""
    name = f"transformed-{mode}"
    pipeline(argo, warehouse, name, "select nothing from {{ source('singer', 's') }}", mode)
    done = argo.runs(name, **ENVIRON)[name]
    record, error = done.record, done.record["error"]
    assert (record["status"], record["loaded"], error["code"]) == ("failed", True, "E-TRANSFORM-FAILED")
    assert 'column "nothing" does not exist' in error["problem"]
    assert "The data is loaded and the state has moved on" in error["hint"]
    assert argo.get_state(name) == record["state_after"] == AFTER
    assert warehouse.sql("SELECT n FROM rates.s ORDER BY n", "singer") == [("0",), ("1",), ("2",)]
    lines = [event for event in argo.type("logs", record["run"], "--json").events if event["side"] == "transform"]
    assert any('column "nothing" does not exist' in event["line"] for event in lines)
    assert not any(PASSWORD in event["line"] for event in lines)

    pipeline(argo, warehouse, name, "select sum(n) as total from {{ source('singer', 's') }}", mode)
    done = argo.runs(name, **ENVIRON)[name]
    assert (done.record["status"], done.record["loaded"], done.record["transform"]["exit_code"]) == ("succeeded", True, 0)
    assert done.last["state"] == AFTER
    assert warehouse.sql("SELECT total FROM rates.total", "singer") == [("3",)]
    assert warehouse.sql("SELECT count(*) FROM rates.s", "singer") == [("3",)]


def test_the_password_is_in_no_object_but_its_secret(argo: Argo) -> None:
    """Neither Workflows nor pods nor ConfigMaps have the password in them; the transform has no separate Secret."""
    for kind in ("workflows", "pods", "configmaps"):
        assert PASSWORD not in str(argo.there(kind, "-n", "argo"))
    names = {item["metadata"]["name"] for item in argo.there("secrets", "-n", "argo")}
    assert "connector-target-postgres" in names
    assert "connector-dbt-rates" not in names
