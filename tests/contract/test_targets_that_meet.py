"""Targets that load one Postgres at the same time, as the parts of a run do: the first alone, then the others together."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout
    from real_postgres import Postgres

pytestmark = pytest.mark.full  # installs two targets
TOGETHER = 6
ROWS = 20
READY_SECONDS = 6
"""How long all targets may take until they read: they then meet at their first message."""
TARGETS = {
    "meltanolabs-target-postgres": ("0.8.1", "database"),
    "pipelinewise-target-postgres": ("2.1.2", "dbname"),
}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, checkout: Checkout, postgres: Postgres) -> list[str]:
    """Return the command of a target that loads into the schema ``meet`` of a new database."""
    package: str = request.param
    version, key = TARGETS[package]
    pip_url = [f"{package}=={version}", *(["setuptools<81"] if package.startswith("pipelinewise") else [])]
    name = package.partition("-")[0]
    checkout.write(f"target-{name}/connector.yaml", {"kind": "target", "pip_url": pip_url, "executable": "target-postgres"})
    database = f"meet_{name}"
    postgres.sql(f"DROP DATABASE IF EXISTS {database}")
    postgres.sql(f"CREATE DATABASE {database}")
    config = {"host": postgres.host, "port": postgres.port, "user": "postgres", "password": postgres.password, key: database}
    file = checkout.root / "meet.json"
    file.write_text(json.dumps(config | {"default_target_schema": "meet"}), encoding="utf-8")
    checkout.seconds = 300
    checkout.invoke("check", f"target-{name}")  # makes its venv; there is no config.json to check with
    [program] = (checkout.local / "environments").glob(f"target-{name}-*/bin/target-postgres")
    return [str(program), "--config", str(file)]


def messages(stream: str, first: int, *more: str) -> bytes:
    """Return what a tap prints for a part: rows of a stream, and a state. Its schema may have *more* fields."""
    fields = {"id": {"type": "integer"}, **{name: {"type": ["string", "null"]} for name in ("name", *more)}}
    lines: list[Any] = [{"type": "SCHEMA", "stream": stream, "key_properties": ["id"], "schema": {"type": "object", "properties": fields}}]
    lines += [
        {"type": "RECORD", "stream": stream, "record": {"id": number, **dict.fromkeys(("name", *more), "x")}}
        for number in range(first, first + ROWS)
    ]
    lines.append({"type": "STATE", "value": {"bookmarks": {stream: {"id": first}}}})
    return "".join(f"{json.dumps(line)}\n" for line in lines).encode()


def load(target: list[str], streams: dict[int, str], folder: Path, *more: str) -> list[tuple[int, str]]:
    """Load streams together, and return exit codes and logs."""
    logs = {number: folder / f"{number}.log" for number in streams}
    running = {}
    for number in streams:
        with logs[number].open("wb") as log:
            running[number] = subprocess.Popen(target, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=log)
    time.sleep(READY_SECONDS)
    for number, process in running.items():
        assert process.stdin is not None
        process.stdin.write(messages(streams[number], number * ROWS, *more))
        process.stdin.close()
    return [(process.wait(120), logs[number].read_text(errors="replace")[-500:]) for number, process in running.items()]


@pytest.mark.parametrize("streams", [["t"] * TOGETHER, [f"t{number}" for number in range(TOGETHER)]], ids=["one table", "tables"])
def test_the_first_part_creates_what_the_others_need(target: list[str], streams: list[str], postgres: Postgres, tmp_path: Path) -> None:
    """Schema and tables are missing at first; all targets succeed, and every row is there once."""
    parts = dict(enumerate(streams))
    ends = load(target, {0: parts.pop(0)}, tmp_path) + load(target, parts, tmp_path)
    assert [code for code, _ in ends] == [0] * TOGETHER, ends
    assert loaded(postgres, tmp_path, *sorted(set(streams))) == list(range(TOGETHER * ROWS))


def test_the_first_part_adds_the_column_that_the_others_need(target: list[str], postgres: Postgres, tmp_path: Path) -> None:
    """The chunks of a backfill bring a new field into a table that is there: all succeed, and every row is there once."""
    assert load(target, {0: "t"}, tmp_path)[0][0] == 0
    parts = dict.fromkeys(range(1, TOGETHER), "t")
    ends = load(target, {1: parts.pop(1)}, tmp_path, "new") + load(target, parts, tmp_path, "new")
    assert [code for code, _ in ends] == [0] * (TOGETHER - 1), ends
    assert loaded(postgres, tmp_path, "t") == list(range(TOGETHER * ROWS))


def loaded(postgres: Postgres, folder: Path, *tables: str) -> list[int]:
    """Return the keys of all rows, sorted."""
    config = json.loads((folder / "checkout" / "meet.json").read_text())
    name = config.get("database") or config["dbname"]
    return sorted(int(row[0]) for table in tables for row in postgres.sql(f"SELECT id FROM meet.{table}", name))  # noqa: S608 - names of the test
