"""A tap whose code is in the checkout, to be edited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

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
FIRST: dict[str, Any] = {"name": "main", "code": 1, "data": 1, "colorama": "0.4.5"}
"""The record before an edit."""
EDITS: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("tap_own/tap.py", '"code": 1', '"code": 2', {"code": 2}),
    ("tap_own/data.json", "1", "2", {"data": 2}),
    ("MANIFEST", "tap_own.tap:main", "tap_own.tap:other", {"name": "other"}),
    ("MANIFEST", "colorama==0.4.5", "colorama==0.4.6", {"colorama": "0.4.6"}),
)
"""Edits of code, data, an entry point and a dependency: file, texts, and what is different in the record."""


def write(folder: Path, manifest: str = "pyproject.toml", text: str = PYPROJECT) -> None:
    """Write the tap's project."""
    package = folder / "tap_own"
    package.mkdir(parents=True)
    (folder / manifest).write_text(text, encoding="utf-8")
    (package / "__init__.py").touch()
    (package / "tap.py").write_text(CODE, encoding="utf-8")
    (package / "data.json").write_text("1", encoding="utf-8")


def edit(file: Path, old: str, new: str) -> None:
    """Replace a text in a file."""
    text = file.read_text(encoding="utf-8")
    assert old in text
    file.write_text(text.replace(old, new), encoding="utf-8")
