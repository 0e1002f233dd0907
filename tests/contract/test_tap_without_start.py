"""Backfills of the real tap-postgres, which has no ``start_date``: its incremental streams start from a temporary state."""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from checkout import Checkout, Result
    from real_postgres import Postgres

pytestmark = pytest.mark.full  # installs a tap
PACKAGE = "meltanolabs-tap-postgres==0.10.0"
MONTHS = ("2024-01-31 23:59:59.999", "2024-02-01 00:00:00", "2024-02-15 12:00:00.5", "2024-03-31 23:59:59")
SQL = f"""
CREATE TABLE orders (id int PRIMARY KEY, at timestamp NOT NULL);
CREATE TABLE events (id int PRIMARY KEY, at timestamptz NOT NULL);
CREATE TABLE numbers (id int PRIMARY KEY, at bigint NOT NULL);
INSERT INTO orders SELECT row_number() OVER (), t::timestamp FROM unnest(ARRAY{list(MONTHS)}) t;
INSERT INTO events SELECT row_number() OVER (), (t || '+00')::timestamptz FROM unnest(ARRAY{list(MONTHS)}) t;
INSERT INTO numbers SELECT n, n FROM generate_series(1, 4) n;
"""  # noqa: S608 - names and values of the test
BY_DATE = ("orders", "events")
FEBRUARY = ("--from", "2024-02-01")


@pytest.fixture
def source(checkout: Checkout, postgres: Postgres) -> str:
    """Return a database with three tables, each with a row of January and three later ones; the pipeline ``p`` reads it."""
    checkout.seconds = 300
    database = f"source_{secrets.token_hex(4)}"
    postgres.sql(f"CREATE DATABASE {database}")
    postgres.sql(SQL, database)
    checkout.scripted({"steps": []})
    config = {"host": postgres.host, "port": postgres.port, "user": "postgres", "password": "${SOURCE_PASSWORD}", "database": database}
    checkout.environ["SOURCE_PASSWORD"] = postgres.password
    definition = {"kind": "tap", "pip_url": PACKAGE, "executable": "tap-postgres", "capabilities": ["catalog", "discover", "state"]}
    checkout.write("tap-postgres/connector.yaml", definition)
    checkout.write("tap-postgres/config.json", config | {"filter_schemas": ["public"]})
    pipeline(checkout)
    discovered = checkout.invoke("discover", "tap-postgres")
    assert discovered.code == 0, discovered.err
    words = ("--all", "--replication", "INCREMENTAL", "--replication-key", "at")
    chosen = checkout.invoke("select", "tap-postgres", *words)
    assert chosen.code == 0, chosen.err
    return database


def pipeline(checkout: Checkout, **keys: Any) -> None:
    """Write the pipeline."""
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-postgres", "target": "target-scripted", **keys}})


def rows(checkout: Checkout, result: Result) -> dict[str, list[int]]:
    """Return the keys of the rows that a run has loaded, by stream."""
    files = {name.rpartition("/")[2]: text for name, text in checkout.outputs().items() if result.last["run"] in name}
    return {name.removesuffix(".jsonl"): [json.loads(line)["id"] for line in text.splitlines()] for name, text in files.items()}


@pytest.mark.parametrize("split", [{}, {"split": "streams"}], ids=["whole", "split"])
def test_a_backfill(checkout: Checkout, postgres: Postgres, source: str, split: dict[str, Any]) -> None:
    """Rows from the day on are loaded, each once; the state stays; what no date bounds is loaded whole, and named."""
    pipeline(checkout, **split)
    first = checkout.run()
    assert first.code == 0, first.err
    assert rows(checkout, first) == {f"public-{name}": [1, 2, 3, 4] for name in (*BY_DATE, "numbers")}
    state = checkout.state()

    result = checkout.run("p", *FEBRUARY)

    assert result.code == 0, result.err
    loaded = rows(checkout, result)
    assert loaded == {f"public-{name}": [2, 3, 4] for name in BY_DATE} | {"public-numbers": [1, 2, 3, 4]}
    assert checkout.state() == state
    [warning] = [event["problem"] for event in result.events if event["event"] == "warning"]
    assert "loaded whole: public-numbers" in warning

    postgres.sql("INSERT INTO orders VALUES (5, '2024-04-01')", source)
    after = checkout.run()
    assert set(rows(checkout, after)["public-orders"]) - {4} == {5}


@pytest.mark.usefixtures("source")
@pytest.mark.parametrize("words", [("--to", "2024-02-29"), ("--to", "2024-03-31", "--every", "month")], ids=["an end", "chunks"])
def test_what_cannot_be_bounded_above(checkout: Checkout, words: tuple[str, ...]) -> None:
    """An end, and so chunks, are refused before anything has begun."""
    refused = checkout.run("p", *FEBRUARY, *words)
    assert (refused.code, refused.error) == (1, "E-SETTING"), refused.err
    assert "cannot be bounded above" in refused.err
    assert checkout.outputs() == {}


def test_an_end_in_the_config_of_the_tap(checkout: Checkout, source: str) -> None:
    """What bounds the rows above is an option of the tap, in a config for the backfill's pipeline: as in operations.md."""
    config = json.loads((checkout.root / "singer-configs/tap-postgres/config.json").read_text(encoding="utf-8"))
    options = {f"public-{name}": {"custom_where_clauses": ["at < '2024-03-01'"]} for name in BY_DATE}
    checkout.write("february.json", config | {"stream_options": options})
    pipeline(checkout, config="february.json")
    result = checkout.run("p", *FEBRUARY)
    assert result.code == 0, (source, result.err)
    assert rows(checkout, result) == {f"public-{name}": [2, 3] for name in BY_DATE} | {"public-numbers": [1, 2, 3, 4]}
    assert checkout.state() is None
