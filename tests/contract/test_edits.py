"""The next run uses every edit of a connector whose code is in the checkout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from edited_tap import EDITS, FIRST, PYPROJECT, edit, write

if TYPE_CHECKING:
    from checkout import Checkout

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
    write(folder, manifest, text)
    checkout.write("tap-own/connector.yaml", {"kind": "tap", "pip_url": "./tap-own", "capabilities": []})
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-own", "target": "target-scripted"}})

    def loaded() -> object:
        result = checkout.run()
        assert (result.code, result.err) == (0, "")
        return json.loads(Path(result.last["outputs"][0]).read_text(encoding="utf-8"))

    row = dict(FIRST)
    assert loaded() == row
    for name, old, new, changed in EDITS:
        edit(folder / name.replace("MANIFEST", manifest), old, new)
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
