"""``docs/contracts.md`` against the code: what it lists is there, and what is there is listed."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import entrypoint
import pytest
from checkout import ROOT
from contract_tables import first_column, names, table

from cluster import errors
from cluster.errors import SetupError
from cluster.onboarding.conformance import RULES
from cluster.project.reader import Project
from cluster.runs import format_version
from cluster.runs.record import Record

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

RUNNER = Path(entrypoint.__file__)
COMMIT = [RUNNER.with_name("commit.py"), RUNNER.with_name("kube_secret.py")]
SOURCES = [*sorted((ROOT / "cluster").rglob("*.py")), ROOT / "benchmarks" / "bench.py", RUNNER, *COMMIT]
CODE = re.compile(r"E-[A-Z]+(-[A-Z]+)*")


@cache
def nodes() -> Iterable[ast.AST]:
    """Return all parts of every source file."""
    return [node for file in SOURCES for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))]


@cache
def raised() -> tuple[set[str], set[str]]:
    """Return the error codes in the code other than in comparisons, and patterns of those that are put together."""
    codes: set[str] = set()
    patterns: set[str] = set()
    compared = {id(part) for node in nodes() if isinstance(node, ast.Compare) for part in ast.walk(node)}
    for node in nodes():
        if id(node) in compared:
            continue
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and CODE.fullmatch(node.value):
            codes.add(node.value)
        elif isinstance(node, ast.JoinedStr):
            pattern = "".join(re.escape(str(part.value)) if isinstance(part, ast.Constant) else "[A-Z]+" for part in node.values)
            if re.fullmatch(r"E\\-[][A-Z+\\-]+", pattern):
                patterns.add(pattern)
    return codes, patterns


def test_every_error_code_that_can_happen_is_listed() -> None:
    """The page explains every code that a user can meet."""
    codes, _ = raised()
    assert codes - first_column("## Error codes") == set()


def test_every_error_code_that_is_listed_can_happen() -> None:
    """The page explains no code that nothing raises."""
    codes, patterns = raised()
    listed = first_column("## Error codes") - codes
    assert {code for code in listed if not any(re.fullmatch(pattern, code) for pattern in patterns)} == set()


def test_every_exit_code_is_listed() -> None:
    """The page lists success and the four ways to end otherwise."""
    ours = {value for name, value in vars(errors).items() if name.startswith("EXIT_")}
    assert {int(row[0]) for row in table("## Exit codes")} == {0, *ours}


def test_every_event_is_listed() -> None:
    """Every event that a program may meet is in the table, and no other."""
    stated = {
        node.args[0].value
        for node in nodes()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "event"
        if node.args and isinstance(node.args[0], ast.Constant)
    }
    assert stated == first_column("## JSON events (`--json`)")


def test_every_rule_is_listed() -> None:
    """The table of what ``check`` looks at lists every rule with its severity, and no other."""
    listed = {row[0].strip("`"): row[1] for row in table("## What `check CONNECTOR` looks at")}
    assert listed == {name: severity for name, (severity, _) in RULES.items()}


def test_every_layout_is_listed() -> None:
    """The table of layouts lists what came with each, in the words that an upgrade shows."""
    assert {int(row[0]): row[1] for row in table("## Layout")} == format_version.NEWS


def test_every_key_of_a_run_is_listed() -> None:
    """The table of ``run.json`` lists every key of a record, and no other."""
    assert {field.name for field in fields(Record)} == first_column("## `run.json`")


@pytest.mark.parametrize(
    ("files", "heading"),
    [
        ([RUNNER], "## Entrypoint (`singer-containers/entrypoint.py tap|mapper|target|transform`)"),
        (COMMIT, "## Commit (`singer-containers/commit.py commit|finish`)"),
    ],
    ids=["entrypoint", "commit"],
)
def test_every_variable_of_the_entrypoint_is_listed(files: list[Path], heading: str) -> None:
    """Every SINGER_ variable that our programs in images read is in the table, and no other."""
    read = {
        node.value
        for file in files
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"SINGER_[A-Z0-9_]+[A-Z]", node.value)
    }
    assert read == first_column(heading)


# -------------------------------------------------------------------------------------------------- singer-configs/


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Make a smallest checkout: a tap and a target with what is required, and a pipeline of the two."""
    folder = tmp_path / "singer-configs"
    for side in ("tap", "target"):
        (folder / f"{side}-x").mkdir(parents=True)
        (folder / f"{side}-x" / "connector.yaml").write_text(f"kind: {side}\npip_url: {side}-x\n", encoding="utf-8")
    (folder / "pipelines.yaml").write_text("p: {tap: tap-x, target: target-x}\n", encoding="utf-8")
    return folder


def known(read: Callable[[], object]) -> set[str]:
    """Return the keys that are named to somebody who wrote another one."""
    with pytest.raises(SetupError, match="zzz is not a known key") as caught:
        read()
    return set(caught.value.problem.partition("Known are ")[2].rstrip(".").split(", "))


def test_every_key_of_a_connector_is_listed(configs: Path) -> None:
    """The keys of ``connector.yaml`` that are read are those of the page."""
    file = configs / "tap-x" / "connector.yaml"
    file.write_text(file.read_text(encoding="utf-8") + "zzz: 1\n", encoding="utf-8")
    assert known(lambda: Project(configs.parent).connector("tap-x")) == first_column("## `singer-configs/<name>/`")


def test_every_key_of_a_pipeline_is_listed(configs: Path) -> None:
    """The keys of ``pipelines.yaml`` that are read are those of the page, also those of ``resources``."""
    heading = "## `singer-configs/pipelines.yaml`"
    file = configs / "pipelines.yaml"
    file.write_text("p: {tap: tap-x, target: target-x, zzz: 1}\n", encoding="utf-8")
    assert known(lambda: Project(configs.parent).pipeline("p")) == first_column(heading)
    file.write_text("p: {tap: tap-x, target: target-x, resources: {zzz: 1}}\n", encoding="utf-8")
    (resources,) = [row[1] for row in table(heading) if row[0] == "`resources`"]
    assert known(lambda: Project(configs.parent).pipeline("p")) == set(names(resources))


def test_the_defaults_are_those_of_the_page(configs: Path) -> None:
    """The page describes correctly what is left out."""
    project = Project(configs.parent)
    tap, pipeline = project.connector("tap-x"), project.pipeline("p")
    page = {row[0].strip("`"): row[2] for heading in ("<name>/", "pipelines.yaml") for row in table(f"## `singer-configs/{heading}`")}
    assert (page["executable"], tap.executable) == ("the folder's name", "tap-x")
    assert (page["capabilities"], tap.capabilities) == ("`[]`", ())
    assert page["outputs"] == f"`{tap.outputs[0]}`"
    assert page["python"].startswith("any")
    assert tap.python is None
    assert page["mode"] == f"`{pipeline.mode}`"
    assert (page["schedule"], pipeline.schedule) == ("none", ())
    assert page["timezone"] == f"`{pipeline.timezone}`"
    assert page["paused"] == f"`{str(pipeline.paused).lower()}`"
    assert (page["resources"], pipeline.resources) == ("none", {})
    assert page["timeout"] == f"`{pipeline.timeout // 3600}h`"
    assert page["retries"] == str(pipeline.retries)
    assert page["notify"] == f"`{pipeline.notify}`"


def test_the_words_of_the_page_are_allowed(configs: Path) -> None:
    """Every word that the page gives as a value is taken."""
    rows = {row[0].strip("`"): names(row[1]) for row in table("## `singer-configs/pipelines.yaml`")}
    for key in ("mode", "notify"):
        assert rows[key]
        for word in rows[key]:
            (configs / "pipelines.yaml").write_text(f"p: {{tap: tap-x, target: target-x, {key}: {word}}}\n", encoding="utf-8")
            assert getattr(Project(configs.parent).pipeline("p"), key) == word
    (words,) = [names(row[1]) for row in table("## `singer-configs/<name>/`") if row[0] == "`capabilities`"]
    (configs / "tap-x" / "connector.yaml").write_text(f"kind: tap\npip_url: x\ncapabilities: {words}\n", encoding="utf-8")
    assert Project(configs.parent).connector("tap-x").capabilities == tuple(words)
