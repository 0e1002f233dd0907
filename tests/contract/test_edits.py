"""The next run uses every edit of a connector whose code is in the checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from checkout import Checkout

CODE = """\
import json
from importlib.metadata import version
from pathlib import Path

def main():
    other("main")

def other(name="other"):
    row = {"name": name, "code": 1, "data": json.loads(Path(__file__).with_name("data.json").read_text()), "colorama": version("colorama")}
    print(json.dumps({"type": "SCHEMA", "stream": "s", "schema": {"properties": {}}, "key_properties": []}))
    print(json.dumps({"type": "RECORD", "stream": "s", "record": row}))
"""
PYPROJECT = """\
[project]
name = "tap-own"
version = "1"
requires-python = ">=3.8"
dependencies = ["colorama==0.4.5"]
[project.scripts]
tap-own = "tap_own.tap:main"
[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"
[tool.uv.build-backend]
module-root = ""
"""
SETUP = """\
from setuptools import setup
setup(name="tap-own", version="1", packages=["tap_own"], package_data={"tap_own": ["*.json"]}, install_requires=["colorama==0.4.5"],
      entry_points={"console_scripts": ["tap-own=tap_own.tap:main"]})
"""
COPYING = """\
import shutil, subprocess, sys
from setuptools import setup
if "editable_wheel" in sys.argv:
    raise SystemExit("this project cannot be used where it lies")
"""


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize(
    ("manifest", "text", "copied"),
    [
        pytest.param("pyproject.toml", PYPROJECT, False, id="pyproject.toml"),
        pytest.param("setup.py", SETUP, False, id="setup.py", marks=pytest.mark.full),
        pytest.param("setup.py", COPYING + SETUP, True, id="not editable", marks=pytest.mark.full),
    ],
)
def test_every_edit_is_run(checkout: Checkout, manifest: str, text: str, *, copied: bool) -> None:
    """Code, data, an entry point and a dependency: each edit is in the next run. The environments do not pile up."""
    checkout.scripted({})
    environments = checkout.local / "environments"
    environments.unlink()  # they would be shared with other tests
    folder = checkout.root / "tap-own"
    package = folder / "tap_own"
    package.mkdir(parents=True)
    (folder / manifest).write_text(text, encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "tap.py").write_text(CODE, encoding="utf-8")
    (package / "data.json").write_text("1", encoding="utf-8")
    checkout.write("tap-own/connector.yaml", {"kind": "tap", "pip_url": "./tap-own", "capabilities": []})
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-own", "target": "target-scripted"}})

    def loaded() -> object:
        result = checkout.run()
        assert (result.code, result.err) == (0, "")
        return json.loads(Path(result.last["outputs"][0]).read_text(encoding="utf-8"))

    row: dict[str, object] = {"name": "main", "code": 1, "data": 1, "colorama": "0.4.5"}
    assert loaded() == row
    edits: list[tuple[Path, str, str, dict[str, object]]] = [
        (package / "tap.py", '"code": 1', '"code": 2', {"code": 2}),
        (package / "data.json", "1", "2", {"data": 2}),
        (folder / manifest, "tap_own.tap:main", "tap_own.tap:other", {"name": "other"}),
        (folder / manifest, "colorama==0.4.5", "colorama==0.4.6", {"colorama": "0.4.6"}),
    ]
    for file, old, new, changed in edits:
        edit(file, old, new)
        row.update(changed)
        assert loaded() == row
    assert not list(folder.glob("**/*.part"))
    for venv in environments.iterdir():
        if (venv / ".ready").exists():
            os.utime(venv / ".ready", (0, 0))
    before = len(list(environments.glob("tap-own-*")))
    assert before == (7 if copied else 5)  # two locks; code and data, a copy each or nothing
    edit(folder / manifest, "colorama==0.4.6", "colorama==0.4.4")
    row["colorama"] = "0.4.4"
    assert loaded() == row
    assert len(list(environments.glob("tap-own-*"))) == 2
