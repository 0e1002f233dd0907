"""A real Postgres as the target, and dbt after the load: what is in the tables, with any failure between."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import documents
import pytest
import yaml
from processes import alive, eventually

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkout import Checkout, Result
    from real_postgres import Postgres

pytestmark = pytest.mark.full  # installs a target and dbt

PIPELINE = "exchange-rates-to-postgres"
SCHEMA = ["schema", "s"]
"""The stream ``s`` with the key ``n``."""
TYPED: dict[str, Any] = {
    "type": "SCHEMA",
    "stream": "typed",
    "key_properties": ["id"],
    "schema": {
        "type": "object",
        "properties": {
            "id": {"type": "integer"},
            "day": {"type": ["string", "null"], "format": "date"},
            "moment": {"type": ["string", "null"], "format": "date-time"},
            "amount": {"type": ["number", "null"]},
            "yes": {"type": ["boolean", "null"]},
            "more": {"type": ["object", "null"]},
            "words": {"type": ["array", "null"], "items": {"type": "string"}},
            "Name": {"type": ["string", "null"]},
        },
    },
}
ROW = {
    "id": 12345678901,
    "day": "2026-02-28",
    "moment": "2026-02-28T12:00:00Z",
    "amount": 0.1,
    "yes": True,
    "more": {"a": [1, None]},
    "words": ["x", "日本 😀"],
    "Name": 'Ærø, "the\'\nisland"',
}


class Warehouse:
    """A checkout whose target is a new database in the test's Postgres, as a role that owns it."""

    def __init__(self, checkout: Checkout, server: Postgres) -> None:
        """Make the role and the database."""
        self.checkout = checkout
        self.server = server
        self.name = f"w{secrets.token_hex(4)}"
        self.password = f"canary-{secrets.token_hex(6)}"
        server.sql(f"CREATE ROLE {self.name} LOGIN PASSWORD '{self.password}'")
        server.sql(f"CREATE DATABASE {self.name} OWNER {self.name}")
        self.config()

    def config(self, **other: Any) -> None:
        """Write the target's config: the shipped one, with this server's address, and what is *other*."""
        file = self.checkout.root / "singer-configs" / "target-postgres" / "config.json"
        shipped = json.loads(file.read_text())
        self.checkout.write(
            "target-postgres/config.json", shipped | {"port": self.server.port, "user": self.name, "database": self.name} | other
        )

    def pipeline(self, tap: str = "tap-exchange-rates", **keys: Any) -> None:
        """Make the only pipeline."""
        self.checkout.write("pipelines.yaml", {PIPELINE: {"tap": tap, "target": "target-postgres", **keys}})

    def steps(self, *steps: Any, again: Any = None, **keys: Any) -> None:
        """Make the pipeline's tap one that does these steps; *again* are those after there is a state."""
        config = {"steps": list(steps), **({"again": again} if again else {})}
        self.checkout.scripted(config)
        self.pipeline("tap-scripted", **keys)

    def run(self, *words: str, **environ: str) -> Result:
        """Type ``run``."""
        return self.checkout.run(PIPELINE, *words, TARGET_POSTGRES_PASSWORD=self.password, **environ)

    @contextmanager
    def running(self) -> Iterator[subprocess.Popen[str]]:
        """Begin a run, and see that it has ended afterwards."""
        with self.checkout.start("run", PIPELINE, "--json", TARGET_POSTGRES_PASSWORD=self.password) as process:
            try:
                yield process
            finally:
                process.kill()

    def rows(self, text: str) -> list[tuple[str, ...]]:
        """Ask the database."""
        return self.server.sql(text, self.name)

    def numbers(self) -> list[int]:
        """Return what is in the table of the stream ``s``, none where there is no table yet."""
        try:
            return [int(number) for (number,) in self.rows("SELECT n FROM rates.s ORDER BY n")]
        except subprocess.CalledProcessError:
            return []

    def state(self) -> Any:
        """Return the pipeline's state."""
        return self.checkout.state(PIPELINE)

    def shown(self) -> dict[str, Any]:
        """Return the record of the last run."""
        return self.checkout.invoke("show", "last", "--json").last


@pytest.fixture
def warehouse(checkout: Checkout, postgres: Postgres) -> Warehouse:
    """Return a checkout with a database."""
    return Warehouse(checkout, postgres)


def programs(name: str, below: int) -> list[int]:
    """Return the processes with *name* in their command lines among the descendants of a process."""
    there: dict[int, tuple[int, str]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            there[int(folder.name)] = parent, (folder / "cmdline").read_text(errors="replace")

    def descends(pid: int) -> bool:
        return pid in there and (there[pid][0] == below or descends(there[pid][0]))

    return [pid for pid, (_, line) in there.items() if f"/bin/{name}" in line and "entrypoint.py" not in line and descends(pid)]


# ------------------------------------------------------------------------------------------------------------- tables


def test_types_and_keys(warehouse: Warehouse) -> None:
    """Each stream is a table: columns of the stream's types, the key as primary key, every value as the tap sent it."""
    warehouse.steps(["say", TYPED], ["say", {"type": "RECORD", "stream": "typed", "record": ROW}])
    result = warehouse.run()
    assert result.code == 0, result.err

    columns = {
        row[0]: row[1] for row in warehouse.rows("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = 'typed'")
    }
    assert {name: columns[name] for name in TYPED["schema"]["properties"]} == {
        "id": "bigint",
        "day": "date",
        "moment": "timestamp without time zone",
        "amount": "numeric",
        "yes": "boolean",
        "more": "jsonb",
        "words": "ARRAY",
        "Name": "text",
    }
    assert warehouse.rows("SELECT conkey::text FROM pg_constraint WHERE conrelid = 'rates.typed'::regclass AND contype = 'p'") == [("{1}",)]
    [(text,)] = warehouse.rows("SELECT to_jsonb(typed) FROM rates.typed")
    row = json.loads(text)
    assert {name: row[name] for name in ROW} == ROW | {"moment": "2026-02-28T12:00:00"}


def test_no_row_twice(warehouse: Warehouse) -> None:
    """A second run, one that starts over and a backfill leave each day once; only the first two may move the state."""
    warehouse.pipeline()
    config = {"base": "EUR", "source": "packaged", "start_date": "2026-01-01"}
    warehouse.checkout.write("tap-exchange-rates/config.json", {**config, "end_date": "2026-02-27"})
    first = warehouse.run().last
    days = int(warehouse.rows("SELECT count(*) FROM rates.exchange_rate")[0][0])
    assert days == sum(first["records"].values()) > 30

    warehouse.checkout.write("tap-exchange-rates/config.json", {**config, "end_date": "2026-03-31"})
    second = warehouse.run().last
    more = sum(second["records"].values())
    assert 0 < more < days
    full = warehouse.run("--full").last
    assert sum(full["records"].values()) == days + more
    assert full["state"] == second["state"] != first["state"]
    warehouse.server.sql('UPDATE rates.exchange_rate SET "USD" = 0', warehouse.name)
    back = warehouse.run("--from", "2026-02-02", "--to", "2026-02-06").last
    assert back["records"] == {"exchange_rate": 5}
    assert back["state"] == second["state"]
    [row] = warehouse.rows('SELECT count(*), count(DISTINCT date), count(*) FILTER (WHERE "USD" > 0) FROM rates.exchange_rate')
    assert row == (str(days + more), str(days + more), "5")


# -------------------------------------------------------------------------------------------------------- interruptions


@pytest.fixture
def halfway(warehouse: Warehouse) -> Iterator[tuple[Warehouse, subprocess.Popen[str]]]:
    """Yield a run that has loaded its first two rows, and whose tap waits for something before it sends the third and the state."""
    warehouse.config(batch_size_rows=1)
    gate = warehouse.checkout.root / "gate"
    warehouse.steps(SCHEMA, ["records", "s", 2], ["wait", str(gate)], ["records", "s", 1, 2], ["state", {"n": 3}])
    with warehouse.running() as process:
        eventually(lambda: warehouse.numbers() == [0, 1], within=60)
        yield warehouse, process


def again(warehouse: Warehouse) -> None:
    """See that nothing is lost: the state is as it was, and the next run loads each row once."""
    assert warehouse.state() is None
    (warehouse.checkout.root / "gate").touch()
    result = warehouse.run()
    assert result.code == 0, result.err
    assert result.last["state"] == {"n": 3}
    assert warehouse.numbers() == [0, 1, 2]


def test_the_target_is_killed_between_batch_and_state(halfway: tuple[Warehouse, subprocess.Popen[str]]) -> None:
    """The rows are there, the state is not: the next run begins where this one began, and no row is there twice."""
    warehouse, process = halfway
    [pid] = programs("target-postgres", process.pid)
    os.kill(pid, signal.SIGKILL)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert "E-TARGET-FAILED  target-postgres ended with exit code 137 (killed, perhaps out of memory)" in err
    assert json.loads(out.splitlines()[-1])["state"] is None
    again(warehouse)


def test_the_engine_is_killed_between_batch_and_state(halfway: tuple[Warehouse, subprocess.Popen[str]]) -> None:
    """A command that is killed leaves no connector running, and the next run is right."""
    warehouse, process = halfway
    [pid] = programs("target-postgres", process.pid)
    process.kill()
    process.communicate(timeout=60)
    eventually(lambda: not alive(pid), within=60)
    again(warehouse)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["in order", "as a crash"])
def test_postgres_is_restarted_during_a_run(halfway: tuple[Warehouse, subprocess.Popen[str]], how: signal.Signals) -> None:
    """After a restart of the server between two batches the target connects again: the run succeeds, with every row once."""
    warehouse, process = halfway
    warehouse.server.stop(how)
    warehouse.server.start()
    (warehouse.checkout.root / "gate").touch()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert json.loads(out.splitlines()[-1])["state"] == {"n": 3} == warehouse.state()
    assert warehouse.numbers() == [0, 1, 2]


def test_postgres_is_away_after_a_batch(halfway: tuple[Warehouse, subprocess.Popen[str]]) -> None:
    """A server that does not come back fails the run too: rows without a state are loaded again, once it is back."""
    warehouse, process = halfway
    warehouse.server.stop(signal.SIGQUIT)
    (warehouse.checkout.root / "gate").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 2, err
    assert err.startswith("E-TARGET-FAILED  ")
    warehouse.server.start()
    again(warehouse)


def test_postgres_is_away_before_a_run(warehouse: Warehouse) -> None:
    """A server that is not there is named in the error; the run after it is right."""
    warehouse.steps(SCHEMA, ["records", "s", 3], ["state", {"n": 3}])
    warehouse.server.stop()
    result = warehouse.run()
    assert (result.code, result.error) == (2, "E-TARGET-FAILED")
    [words] = re.findall('exit code 1: "(.{20})', result.err)
    [log] = (warehouse.checkout.local / "logs" / PIPELINE).glob("*/target.log")
    assert words in log.read_text(encoding="utf-8")
    warehouse.server.start()
    again(warehouse)


# ------------------------------------------------------------------------------------------------------------ mistakes


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"password": "not-this-one"}, '"w'),
        ({"database": "none"}, '"none"'),
        ({"host": "nowhere.invalid"}, "'nowhere.invalid'"),
        ({"default_target_schema": "locked"}, "schema locked"),
        ({"database": "postgres"}, "database postgres"),
    ],
    ids=["password", "database", "host", "no right to create a table", "no right to create a schema"],
)
def test_what_the_config_has_wrong(warehouse: Warehouse, wrong: dict[str, Any], says: str) -> None:
    """Each mistake is one sentence with the message of Postgres, and where to correct it; the password is nowhere."""
    warehouse.server.sql("CREATE SCHEMA locked", warehouse.name)
    warehouse.password = wrong.get("password", warehouse.password)
    warehouse.config(**{key: value for key, value in wrong.items() if key != "password"})
    warehouse.steps(SCHEMA, ["records", "s", 3], ["state", {"n": 3}])
    result = warehouse.run()
    assert result.code == 2
    sentence, hint = result.err.strip().splitlines()
    assert sentence.startswith('E-TARGET-FAILED  target-postgres ended with exit code 1: "')
    assert says in sentence
    assert "sqlalche" not in sentence
    assert "singer-configs/target-postgres/config.json" in hint
    assert warehouse.state() is None
    assert nowhere(warehouse) == []


def test_the_password_is_not_set(warehouse: Warehouse) -> None:
    """A run that lacks the password ends before it begins, and names the file that it belongs into."""
    warehouse.steps(SCHEMA)
    result = warehouse.checkout.run(PIPELINE)
    assert result.code == 1
    assert result.error == "E-SECRET"
    assert "TARGET_POSTGRES_PASSWORD" in result.err


def test_nobody_is_disturbed_who_has_no_postgres(checkout: Checkout) -> None:
    """As they come, the warehouse's connectors are no pipeline's: checking all and running the example ask for no password."""
    result = checkout.invoke("check", "all", "--json")
    assert result.code == 0, result.err
    assert {"target-postgres", "dbt-rates"} <= {event["name"] for event in result.events}
    used = {
        name
        for entry in yaml.safe_load((checkout.root / "singer-configs/pipelines.yaml").read_text()).values()
        for name in entry.values()
        if isinstance(name, str)
    }
    assert not {"target-postgres", "dbt-rates"} & used


def test_every_command_of_the_page(warehouse: Warehouse) -> None:
    """The page about the warehouse, typed from top to bottom, ends with a model of the newest rates."""
    environ = {**warehouse.checkout.environ, "PATH": os.environ["PATH"], "TARGET_POSTGRES_PASSWORD": warehouse.password}
    assert documents.walk(documents.read("docs/warehouse.md"), warehouse.checkout.root, environ, platform=False) == 3
    assert int(warehouse.rows("SELECT count(*) FROM rates.latest_rates")[0][0]) > 20
    [row] = warehouse.rows("SELECT count(*), count(DISTINCT date) FROM rates.exchange_rate")
    assert row[0] == row[1]


def nowhere(warehouse: Warehouse) -> list[Path]:
    """Return the files of the checkout in which the password stands."""
    files = [file for file in warehouse.checkout.root.rglob("*") if file.is_file() and not file.is_symlink()]
    return [file for file in files if warehouse.password.encode() in file.read_bytes()]


# ----------------------------------------------------------------------------------------------------------- transforms

STEPS = [SCHEMA, ["records", "s", 2], ["state", {"n": 2}]]
AGAIN = [SCHEMA, ["state", {"n": 2}]]
"""What the tap has to say when there is nothing new."""


@pytest.fixture
def transformed(warehouse: Warehouse) -> Warehouse:
    """Return a warehouse whose pipeline has a transform: one model, which sums up, and one test of it."""
    warehouse.checkout.write("dbt-rates/models/rates.yml", yaml.safe_dump(SOURCES))
    (warehouse.checkout.root / "singer-configs/dbt-rates/models/latest_rates.sql").unlink()
    model(warehouse, "select sum(n) as total from {{ source('singer', 's') }}")
    warehouse.steps(*STEPS, again=AGAIN, transform="dbt-rates")
    return warehouse


SOURCES = {
    "sources": [{"name": "singer", "schema": "rates", "tables": [{"name": "s"}]}],
    "models": [{"name": "total", "columns": [{"name": "total", "data_tests": ["not_null"]}]}],
}


def model(warehouse: Warehouse, text: str) -> None:
    """Write the transform's model."""
    warehouse.checkout.write("dbt-rates/models/total.sql", "{{ config(materialized='table') }} " + text)


def test_the_example_from_the_rates_to_a_model(warehouse: Warehouse) -> None:
    """The shipped project makes one row for each currency that the newest day has, and its test passes."""
    warehouse.checkout.write(
        "tap-exchange-rates/config.json", {"base": "EUR", "source": "packaged", "start_date": "2026-03-01", "end_date": "2026-03-31"}
    )
    warehouse.pipeline(transform="dbt-rates")
    result = warehouse.run()
    assert result.code == 0, result.err

    rates = {row[0]: row[1] for row in warehouse.rows("SELECT currency, rate FROM rates.latest_rates")}
    [newest] = warehouse.rows('SELECT "USD", "JPY" FROM rates.exchange_rate ORDER BY date DESC LIMIT 1')
    assert (rates["USD"], rates["JPY"]) == newest
    assert len(rates) > 20
    record = warehouse.shown()
    assert record["transform"] == {"connector": "dbt-rates", "version": "1.11.16", "exit_code": 0}
    assert (record["status"], record["loaded"]) == ("succeeded", True)


def test_a_transform_that_fails(transformed: Warehouse) -> None:
    """The run fails and reports what failed; data and state stand, and the next run transforms without loading again."""
    model(transformed, "select null::int as total")
    result = transformed.run()
    assert (result.code, result.error) == (2, "E-TRANSFORM-FAILED")
    sentence, hint = result.err.strip().splitlines()
    assert 'dbt-rates ended with exit code 1: "test not_null_total_total (models/rates.yml): Got 1 result, configured to fail' in sentence
    assert "the state has moved on" in hint
    assert result.last["state"] == {"n": 2} == transformed.state()
    assert transformed.numbers() == [0, 1]
    record = transformed.shown()
    assert (record["status"], record["loaded"], record["transform"]["exit_code"]) == ("failed", True, 1)
    assert record["state_after"] == {"n": 2}
    assert transformed.checkout.leftovers() == []
    lines = [event for event in transformed.checkout.invoke("logs", "last", "--json").events if event["side"] == "transform"]
    assert any("not_null_total_total" in event["line"] for event in lines)

    model(transformed, "select sum(n) as total from {{ source('singer', 's') }}")
    result = transformed.run()
    assert result.code == 0, result.err
    assert result.last["records"] == {}
    assert transformed.rows("SELECT total FROM rates.total") == [("1",)]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("select * from rates.nothing", 'model total (models/total.sql): relation "rates.nothing" does not exist'),
        ("select * from {{ ref('nothing') }}", "depends on a node named 'nothing' which was not found"),
        ("select '{{ env_var(\"DBT_ENV_SECRET_TARGET_PASSWORD\") }}' as total", "DBT_ENV_SECRET_"),
    ],
    ids=["a table that is not there", "a model that is not there", "the password in a model"],
)
def test_what_a_model_has_wrong(transformed: Warehouse, text: str, says: str) -> None:
    """A mistake in a model is one sentence with dbt's own reason."""
    model(transformed, text)
    result = transformed.run()
    assert (result.code, result.error) == (2, "E-TRANSFORM-FAILED")
    assert says in result.err.splitlines()[0]
    assert nowhere(transformed) == []


def test_a_transform_has_the_targets_connection_and_no_other_secret(transformed: Warehouse) -> None:
    """The tap's secrets are not in the transform's environment, and the target's password is in no file and no table."""
    model(transformed, 'select \'{{ env_var("TAP_TOKEN", "hidden") }}\' || \' {{ env_var("TARGET_USER") }}\' as total')
    transformed.checkout.write("tap-scripted/config.json", {"steps": STEPS, "token": "${TAP_TOKEN}"})
    result = transformed.run(TAP_TOKEN="quetzal-41be02")
    assert result.code == 0, result.err
    assert transformed.rows("SELECT total FROM rates.total") == [(f"hidden {transformed.name}",)]
    assert nowhere(transformed) == []


def test_a_part_of_the_project(transformed: Warehouse) -> None:
    """Only what transform_select names is made; a name that nothing has is an error, not silence."""
    transformed.checkout.write("dbt-rates/models/other.sql", "select 1 as one")
    transformed.steps(*STEPS, transform="dbt-rates", transform_select="other")
    assert transformed.run().code == 0
    assert transformed.rows("SELECT to_regclass('rates.total'), to_regclass('rates.other')") == [("", "rates.other")]

    transformed.steps(*STEPS, transform="dbt-rates", transform_select="othre")
    result = transformed.run()
    assert result.error == "E-TRANSFORM-FAILED"
    assert "othre" in result.err


def test_postgres_goes_away_while_it_is_transformed(transformed: Warehouse) -> None:
    """The run fails, what is loaded stays so, and the next run transforms."""
    model(transformed, "select pg_sleep(600)::text as total")
    with transformed.running() as process:
        eventually(
            lambda: transformed.rows("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()")
        )
        transformed.server.stop(signal.SIGQUIT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 2
    assert err.startswith("E-TRANSFORM-FAILED  ")
    transformed.server.start()
    assert transformed.state() == {"n": 2}
    model(transformed, "select sum(n) as total from {{ source('singer', 's') }}")
    assert transformed.run().last["records"] == {}
    assert transformed.rows("SELECT total FROM rates.total") == [("1",)]


def test_interrupted_while_it_is_transformed(transformed: Warehouse) -> None:
    """SIGTERM ends dbt too; the run is interrupted, and what it has loaded stands."""
    model(transformed, "select pg_sleep(600)::text as total")
    with transformed.running() as process:
        eventually(
            lambda: transformed.rows("SELECT 1 FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> pg_backend_pid()")
        )
        [dbt] = programs("dbt", process.pid)
        process.terminate()
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    eventually(lambda: not alive(dbt))
    record = transformed.shown()
    assert (record["status"], record["loaded"], record["state_after"]) == ("interrupted", True, {"n": 2})
    assert transformed.state() == {"n": 2}
    assert transformed.checkout.leftovers() == []


def test_a_load_that_fails_is_not_transformed(transformed: Warehouse) -> None:
    """Where the load has failed nothing is transformed; the rows that the target has acknowledged, and their state, stay."""
    transformed.steps(SCHEMA, ["records", "s", 2], ["state", {"n": 2}], ["exit", 1], transform="dbt-rates")
    assert transformed.run().error == "E-TAP-FAILED"
    record = transformed.shown()
    assert (record["loaded"], record["transform"]["exit_code"], transformed.state()) == (False, None, {"n": 2})
