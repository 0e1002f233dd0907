"""Taps with code in C, in a real cluster: from git repositories of this machine, and one of 2019 from the package index."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
import yaml
from argo_checkout import argo_checkout
from checkout import ROOT
from company_cluster import PASSWORD
from scenarios import AFTER, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo
    from real_postgres import Postgres

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
COMPILED = """
[project]
name = "odd-extension"
version = "1"
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[[tool.setuptools.ext-modules]]
name = "odd_extension"
sources = ["odd.c"]
"""
SOURCE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "odd_extension", 0, -1, 0};
PyMODINIT_FUNC PyInit_odd_extension(void) { return PyModule_Create(&module); }
"""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def repository(folder: Path) -> str:
    """Commit what is in a folder, and return what ``pip_url`` takes."""
    git = ["git", "-C", str(folder), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "One"]):
        subprocess.run([*git, *words], check=True)
    return f"git+file://{folder}"


@pytest.fixture(scope="module")
def repositories(argo: Argo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the repositories that the connector ``tap-git`` is made of: a tap, and an extension in C."""
    folder = tmp_path_factory.mktemp("repositories")
    shutil.copytree(ROOT / "tests/connectors/tap-scripted", folder / "tap")
    (folder / "extension").mkdir()
    (folder / "extension/pyproject.toml").write_text(COMPILED)
    (folder / "extension/odd.c").write_text(SOURCE)
    sources = [repository(folder / "tap"), repository(folder / "extension")]
    words = {"kind": "tap", "executable": "tap-scripted", "capabilities": ["catalog", "state"]}
    argo.write("tap-git/connector.yaml", {**words, "pip_url": sources})
    argo.write("tap-git/config.json", {})
    return folder


def test_a_tap_from_git_with_compiled_code_into_postgres(argo: Argo, repositories: Path, warehouse: Postgres) -> None:
    """Its records are rows; the next run begins at the state of the first one."""
    assert repositories.is_dir()
    config = {"host": warehouse.host, "port": warehouse.port, "user": "singer", "database": "singer", "default_target_schema": "git"}
    target = {**config, "password": "${TARGET_POSTGRES_PASSWORD}"}
    steps = [SCHEMA, ["records", "s", 3], ["state", AFTER]]
    name = argo.pipeline("git-to-postgres", {"steps": steps}, target, connector="tap-git", target_connector="target-postgres")

    done = argo.runs(name, TARGET_POSTGRES_PASSWORD=PASSWORD)[name]
    assert (done.record["status"], done.record["records"], done.record["loaded"]) == ("succeeded", {"s": 3}, True)
    assert warehouse.sql("SELECT n FROM git.s ORDER BY n", "singer") == [("0",), ("1",), ("2",)]
    assert argo.get_state(name) == AFTER

    done = argo.runs(name, TARGET_POSTGRES_PASSWORD=PASSWORD)[name]
    assert (done.record["status"], done.record["state_before"]) == ("succeeded", AFTER)
    assert warehouse.sql("SELECT count(*) FROM git.s", "singer") == [("3",)]


def test_a_tap_from_git_with_compiled_code(argo: Argo, repositories: Path) -> None:
    """It runs in the cluster; nothing is built twice, and no compiler is in the image."""
    name = argo.pipeline("from-git", {"steps": [SCHEMA, ["records", "s", 3], ["state", AFTER]]}, connector="tap-git")

    done = argo.one(name)
    assert (done.record["status"], done.record["records"]) == ("succeeded", {"s": 3})
    assert argo.get_state(name) == AFTER
    inside = ["docker", "run", "--rm", "--entrypoint", "sh", "tap-git:dev", "-c"]
    look = "python -c 'import odd_extension' && ! command -v gcc && ! command -v uv && ! ls -d /build"
    subprocess.run([*inside, look], check=True)

    shutil.rmtree(repositories / "tap")  # the image is there: the repository is not asked again
    assert argo.one(name).record["status"] == "succeeded"


@pytest.mark.skipif(not all(map(shutil.which, ("gcc", "pg_config"))), reason="the lock of psycopg2 2.8 needs a compiler and libpq-dev")
def test_a_tap_of_2019_into_csv(argo: Argo, warehouse: Postgres) -> None:
    """It pins a psycopg2 that has no wheel, and runs on Python 3.10 in an image of that version."""
    rows = "INSERT INTO people SELECT n, 'Person ' || n FROM generate_series(1, 3) n"
    warehouse.sql(f"CREATE TABLE people (id int PRIMARY KEY, name text); {rows}", "singer", "singer", PASSWORD)
    config = {"host": warehouse.host, "port": warehouse.port, "user": "singer", "dbname": "singer", "password": PASSWORD}
    made = argo.type("new", "tap-old", "--pip-url", "pipelinewise-tap-postgres==1.1.0", "--python", "3.10", "--no-input",
                     *(word for key, value in config.items() for word in ("--set", f"{key}={value}")))  # fmt: skip
    assert "select tap-old --replication FULL_TABLE" in made.out
    assert argo.type("select", "tap-old", "--stream", "singer-public-people", "--replication", "FULL_TABLE").code == 0
    file = argo.root / "singer-configs/pipelines.yaml"
    argo.write(file.name, {**yaml.safe_load(file.read_text()), "old-to-csv": {"tap": "tap-old", "target": "target-csv"}})

    done = argo.one("old-to-csv")
    assert done.record.get("records") == {"public-people": 3}, done.last
    [rows] = argo.data("old-to-csv").values()
    assert [line.split(",")[:2] for line in rows.splitlines()[1:]] == [["1", "Person 1"], ["2", "Person 2"], ["3", "Person 3"]]
