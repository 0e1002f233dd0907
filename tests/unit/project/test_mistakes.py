"""All mistakes of an entry are reported in one go, and none that only follows from another one."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.config.settings import parse
from cluster.errors import SetupError
from cluster.project.reader import Project, mistakes

if TYPE_CHECKING:
    from pathlib import Path


def write(root: Path, name: str, content: object) -> None:
    """Write a file of ``singer-configs/``."""
    file = root / "singer-configs" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content) if name.endswith(".json") else yaml.safe_dump(content), encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a checkout with a tap and a target."""
    for kind in ("tap", "target"):
        write(tmp_path, f"{kind}-x/connector.yaml", {"kind": kind, "pip_url": "x"})
    return tmp_path


def test_a_connector(root: Path) -> None:
    """Wrong values, unknown keys and a required key that is missing are all named, with the mistyped one once."""
    write(root, "tap-y/connector.yaml", {"kindd": "tap", "pip_url": "x=1", "python": 3.12, "capabilities": ["x"], "more": 1})
    write(root, "tap-y/config.json", {"password": "a", "nested": {"token": "b"}})

    _, errors = mistakes(Project(root), "connector", "tap-y")

    named = [
        "kind is missing",
        "pip_url is",
        "capabilities is",
        "python is",
        "more is not a known key",
        "password, nested.token hold secrets",
    ]
    assert [word in error.problem for error, word in zip(errors, named, strict=True)] == [True] * len(named)


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"tap": "tap-x", "target": "target-x"}, []),
        (
            {"tap": "tap", "target": "target-x", "retries": 99, "shedule": "x", "timezone": "Mars"},
            ["tap", "retries", "shedule", "timezone"],
        ),
        (
            {"tap": "target-x", "tarrget": "x", "resources": {"cpu": "lots", "disk": 1}},
            ["tap", "target", "resources.cpu", "resources.disk"],
        ),
        ({"tap": "tap-x", "target": "target-x", "mapper": "none", "mapper_config": "none.json"}, ["mapper", "mapper_config"]),
        ({"tap": "tap-x", "target": "target-x", "mapper_config": "x", "mode": "x"}, ["mapper_config", "mode"]),
        ({"tap": "tap-x", "target": "target-x", "schedule": "x", "late_after": "1h"}, ["schedule"]),
        ({"tap": "tap-x", "target": "target-x", "transform": "none", "transform_select": "tag:x"}, ["transform"]),
        ({"tap": "none", "target": "target-x", "split": "streams", "events": 7}, ["tap", "events"]),
        ({"tap": "tap-x", "target": "target-x", "events": {"bucket": "!", "webhook": 5}}, ["events.bucket", "events.webhook"]),
    ],
)
def test_a_pipeline(root: Path, entry: dict[str, object], expected: list[str]) -> None:
    """All keys with a mistake are named; what follows from a connector that is not there is not."""
    write(root, "pipelines.yaml", {"p": entry})
    _, errors = mistakes(Project(root), "pipeline", "p")

    assert [re.findall(r": p\.([\w.]+) is ", error.problem)[0] for error in errors] == expected


def test_files(root: Path) -> None:
    """A config that is no JSON, a catalog and an initial state are read even if another one is wrong."""
    write(root, "pipelines.yaml", {"p": {"tap": "tap-x", "target": "target-x", "retries": -1}})
    write(root, "tap-x/catalog.json", {"stream": []})
    write(root, "tap-x/state.json", [])
    (root / "singer-configs" / "tap-x" / "config.json").write_text("{", encoding="utf-8")

    rest, errors = mistakes(Project(root), "pipeline", "p")

    named = ["tap-x/config.json, line 1", "p.retries", "tap-x/catalog.json has no list", "tap-x/state.json holds"]
    assert [word in error.problem for error, word in zip(errors, named, strict=True)] == [True] * len(named)
    assert rest is not None
    assert not rest.is_readable(root / "singer-configs" / "tap-x" / "config.json")


def test_an_entry_that_is_no_mapping(root: Path) -> None:
    """It is one mistake, without those of the keys that it cannot have."""
    write(root, "pipelines.yaml", {"p": [1]})

    rest, errors = mistakes(Project(root), "pipeline", "p")

    assert (rest, len(errors)) == (None, 1)


def test_settings(tmp_path: Path) -> None:
    """All settings that are wrong are known to ``check all``, those in the file of an environment too."""
    (tmp_path / "environments").mkdir()
    (tmp_path / "environments" / "far.yaml").write_text("context: c\nengin: x\nstore: maybe\n", encoding="utf-8")

    with pytest.raises(SetupError) as caught:
        parse({"enigne": "x", "port_s3": "abc", "provider": "kint"}, {"INVOKE_SINGER_X": ""}, env="far", root=tmp_path)

    errors = [caught.value, *caught.value.others]
    assert [re.split(" is |: ", error.problem)[-2 if "far" in error.problem else 0] for error in errors] == [
        "singer.enigne",
        "INVOKE_SINGER_X",
        "engin",
        "singer.store",
        "singer.port_s3",
    ]
    assert all("environments/far.yaml" in error.hint for error in errors[2:])
