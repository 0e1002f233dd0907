"""The JSON Schemas for editors: they are up to date, named by the files, and of one mind with the reader."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import editor_schemas
import jsonschema
import pytest
import yaml
from checkout import ROOT

from cluster.config.settings import parse
from cluster.errors import SetupError
from cluster.project.reader import Project, check_catalog

if TYPE_CHECKING:
    from pathlib import Path

    from jsonschema.protocols import Validator

SCHEMAS = {file.stem: json.loads(file.read_text(encoding="utf-8")) for file in editor_schemas.FOLDER.glob("*.json")}
NAMED = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
FILES = [ROOT / "singer-configs" / "pipelines.yaml", *sorted((ROOT / "singer-configs").glob("*/connector.yaml"))]
DELETE = "delete"
RIGHT, WRONG = True, False


def validator(name: str) -> Validator:
    """Return the validator of one schema."""
    return jsonschema.Draft7Validator(SCHEMAS[name])


def test_they_are_up_to_date() -> None:
    """Each file is what its program writes; a new key of the reader changes it."""
    written = {name: editor_schemas.text(schema) for name, schema in editor_schemas.schemas().items()}
    files = {file.name: file.read_text(encoding="utf-8") for file in editor_schemas.FOLDER.iterdir()}
    assert files == written, "run PYTHONPATH=. .venv/bin/python tests/support/editor_schemas.py"


@pytest.mark.parametrize("name", SCHEMAS)
def test_they_are_json_schemas(name: str) -> None:
    """Each is one of its draft, and explains every key."""
    jsonschema.Draft7Validator.check_schema(SCHEMAS[name])
    inside = SCHEMAS[name].get("additionalProperties") or SCHEMAS[name]
    properties = inside["properties"].get("singer", inside)["properties"]
    assert [key for key, schema in properties.items() if not schema.get("description")] == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_the_files_name_them(file: Path) -> None:
    """The first line of each file in the repository leads to the schema that it obeys."""
    text = file.read_text(encoding="utf-8")
    named = NAMED.match(text)
    assert named
    schema = (file.parent / named[1]).resolve()
    assert schema.is_relative_to(editor_schemas.FOLDER)
    assert list(validator(schema.stem).iter_errors(yaml.safe_load(text))) == []


@pytest.mark.parametrize("file", [".vscode/settings.json", "template/vscode.json"])
def test_catalogs_are_known_by_their_path(file: str) -> None:
    """JSON has no comments, and a tap gets its catalog as it is: so the settings of the editor name the schema, here and in a project."""
    [association] = json.loads((ROOT / file).read_text(encoding="utf-8"))["json.schemas"]
    assert (ROOT / association["url"]).resolve() == editor_schemas.FOLDER / "catalog.json"
    [match] = association["fileMatch"]
    catalogs = list(ROOT.glob(match.removeprefix("/")))
    assert catalogs
    assert all(validator("catalog").is_valid(json.loads(catalog.read_text(encoding="utf-8"))) for catalog in catalogs)


STREAM = {"tap_stream_id": "users", "schema": {"type": "object"}}


@pytest.mark.parametrize(
    ("content", "right"),
    [
        ({"streams": [STREAM]}, RIGHT),
        ({"streams": []}, RIGHT),
        ({"streams": [STREAM], "$schema": "x", "version": 1}, RIGHT),
        ({"streams": [{"stream": "users", "schema": {}}]}, RIGHT),
        ({"streams": [STREAM | {"stream": 1}]}, RIGHT),
        ({"streams": [STREAM | {"metadata": [{"breadcrumb": [], "metadata": {"selected": True, "own": 1}}]}]}, RIGHT),
        ({"streams": [STREAM | {"metadata": 1}]}, RIGHT),
        ({}, WRONG),
        ({"streams": None}, WRONG),
        ({"streams": {"users": STREAM}}, WRONG),
        ({"streams": ["users"]}, WRONG),
        ({"streams": [{"schema": {}}]}, WRONG),
        ({"streams": [{"stream": 1, "schema": {}}]}, WRONG),
        ({"streams": [STREAM | {"tap_stream_id": 1, "stream": "users"}]}, WRONG),
        ({"streams": [STREAM | {"tap_stream_id": None, "stream": "users"}]}, WRONG),
        ({"streams": [{"tap_stream_id": "users"}]}, WRONG),
        ({"streams": [STREAM | {"schema": "object"}]}, WRONG),
    ],
)
def test_a_catalog(content: dict[str, Any], right: bool) -> None:  # noqa: FBT001 - a column of the table
    """A catalog is right for the editor where it is right for the reader; keys of a tap's own harm neither."""
    assert (validator("catalog").is_valid(content), reads(lambda: check_catalog(content, "catalog.json"))) == (right, right)


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("kind", "target", RIGHT),
        ("kind", "pipe", WRONG),
        ("kind", DELETE, WRONG),
        ("kind", None, WRONG),
        ("pip_url", "tap-x==1.0 requests", RIGHT),
        ("pip_url", ["tap-x", "git+https://example.com/x.git"], RIGHT),
        ("pip_url", 1, WRONG),
        ("pip_url", DELETE, WRONG),
        ("executable", "tap-y", RIGHT),
        ("executable", "bin/tap-y", WRONG),
        ("executable", None, RIGHT),
        ("capabilities", ["discover", "catalog"], RIGHT),
        ("capabilities", ["discovery"], WRONG),
        ("python", "3.12", RIGHT),
        ("python", 3.12, WRONG),
        ("python", "3.12.1", WRONG),
        ("exclude_newer", "2023-05-01", RIGHT),
        ("exclude_newer", "May 2023", WRONG),
        ("outputs", "*.csv", RIGHT),
        ("outputs", [1], WRONG),
        ("safe_states", True, RIGHT),
        ("safe_states", "yes", WRONG),
        ("system_packages", ["libpq5"], RIGHT),
        ("system_packages", ["lib pq5"], WRONG),
        ("settings", {"a": 1}, WRONG),
        ("required", "[host user, url]", RIGHT),
        ("pipurl", "x", WRONG),
    ],
)
def test_a_connector(tmp_path: Path, key: str, value: object, right: bool) -> None:  # noqa: FBT001 - a column of the table
    """A key of connector.yaml is right for the editor where it is right for the reader."""
    content = changed({"kind": "tap", "pip_url": "tap-x"}, key, value)
    write(tmp_path, "tap-x/connector.yaml", content)
    assert (validator("connector").is_valid(content), reads(lambda: Project(tmp_path).connector("tap-x"))) == (right, right)


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("tap", DELETE, WRONG),
        ("tap", None, WRONG),
        ("mode", "staged", RIGHT),
        ("mode", "stage", WRONG),
        ("mode", None, RIGHT),
        ("schedule", "0 6 * * *", RIGHT),
        ("schedule", ["0 6 * * *", "0 7 * * *"], RIGHT),
        ("schedule", 6, WRONG),
        ("timezone", "Europe/Berlin", RIGHT),
        ("timezone", 1, WRONG),
        ("paused", False, RIGHT),
        ("paused", "no", WRONG),
        ("retries", 10, RIGHT),
        ("retries", 11, WRONG),
        ("retries", "2", WRONG),
        ("retries", True, WRONG),
        ("timeout", "90s", RIGHT),
        ("timeout", "1d", WRONG),
        ("timeout", 90, WRONG),
        ("notify", "always", RIGHT),
        ("notify", "never ever", WRONG),
        ("resources", {"cpu": "500m"}, RIGHT),
        ("resources", {"cpu": 1}, WRONG),
        ("resources", {"gpu": "1"}, WRONG),
        ("resources", "500m", WRONG),
        ("resources", None, RIGHT),
        ("events", {"bucket": "incoming", "prefix": "rates/"}, RIGHT),
        ("events", {"buckets": "incoming"}, WRONG),
        ("shedule", "0 6 * * *", WRONG),
        ("split", {}, WRONG),
        ("split", {"large": []}, WRONG),
        ("split", {"large": ["orders", "orders"]}, WRONG),
        ("split", {"rest": ["orders"]}, WRONG),
        ("at_once", 0, WRONG),
    ],
)
def test_a_pipeline(tmp_path: Path, key: str, value: object, right: bool) -> None:  # noqa: FBT001 - a column of the table
    """A key of pipelines.yaml is right for the editor where it is right for the reader."""
    for side in ("tap", "target"):
        write(tmp_path, f"{side}-x/connector.yaml", {"kind": side, "pip_url": "x"})
    content = {"p": changed({"tap": "tap-x", "target": "target-x"}, key, value)}
    write(tmp_path, "pipelines.yaml", content)
    assert (validator("pipelines").is_valid(content), reads(lambda: Project(tmp_path).pipeline("p"))) == (right, right)


@pytest.mark.parametrize(
    ("key", "value", "right"),
    [
        ("engine", "local", RIGHT),
        ("engine", "lokal", WRONG),
        ("port_argo", 8080, RIGHT),
        ("port_argo", "8080", RIGHT),
        ("port_argo", 80, WRONG),
        ("port_argo", "http", WRONG),
        ("network_policies", True, RIGHT),
        ("network_policies", "true", RIGHT),
        ("network_policies", "on", WRONG),
        ("initless_pods", "auto", RIGHT),
        ("python_downloads", True, RIGHT),
        ("python_downloads", "always", WRONG),
        ("registry", "registry.example.com/data", RIGHT),
        ("registry", "https://registry.example.com", WRONG),
        ("resources", "cpu=100m,memory=512Mi", RIGHT),
        ("resources", "cpu=much", WRONG),
        ("bucket_outputs", "lake/singer/outputs", RIGHT),
        ("bucket_outputs", "Lake", WRONG),
        ("cluster", "Singer", WRONG),
        ("cluster", 1, WRONG),
        ("colour", "red", WRONG),
    ],
)
def test_a_setting(tmp_path: Path, key: str, value: Any, right: bool) -> None:  # noqa: FBT001 - a column of the table
    """A setting is right for the editor where it is right for a command: in invoke.yaml, and in an environment's file."""
    assert (validator("settings").is_valid({"singer": {key: value}}), reads(lambda: parse({key: value}, {}))) == (right, right)
    (tmp_path / "environments").mkdir()
    content = {"context": "far", key: value}
    (tmp_path / "environments" / "far.yaml").write_text(yaml.safe_dump(content))
    assert (validator("environment").is_valid(content), reads(lambda: parse({}, {}, env="far", root=tmp_path))) == (right, right)


def changed(content: dict[str, Any], key: str, value: object) -> dict[str, Any]:
    """Return a mapping with another value, or without the key."""
    rest = {name: old for name, old in content.items() if name != key}
    return rest if value == DELETE else {**rest, key: value}


def write(root: Path, name: str, content: object) -> None:
    """Write a YAML file below ``singer-configs/``."""
    file = root / "singer-configs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump(content), encoding="utf-8")


def reads(read: Any) -> bool:
    """Return whether the product takes it."""
    try:
        read()
    except SetupError:
        return False
    return True
