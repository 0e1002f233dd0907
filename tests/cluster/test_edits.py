"""In a real cluster too, the next run uses every edit of a connector whose code is in the checkout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from argo_checkout import argo_checkout
from edited_tap import EDITS, FIRST, edit, write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Return a checkout with a platform."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def test_every_edit_is_run(argo: Argo) -> None:
    """Code, data, an entry point and a dependency. Only the last one needs a builder, and a deleted module is gone."""
    folder = argo.root / "tap-own"
    write(folder)
    (folder / "tap_own" / "deleted.py").touch()
    argo.write("tap-own/connector.yaml", {"kind": "tap", "pip_url": "./tap-own", "capabilities": []})
    argo.write("tap-own/config.json", {})
    name = argo.pipeline("edited", {}, connector="tap-own")

    def loaded() -> object:
        result = argo.runs(name)[name]
        return json.loads(Path(result.last["outputs"][0]).read_text(encoding="utf-8"))

    row = dict(FIRST)
    assert loaded() == row
    for file, old, new, changed in EDITS:
        edit(folder / file.replace("MANIFEST", "pyproject.toml"), old, new)
        row.update(changed)
        assert loaded() == row
    (folder / "tap_own" / "deleted.py").unlink()
    edit(
        folder / "tap_own" / "tap.py",
        "def main",
        "import importlib.util\nassert not importlib.util.find_spec('tap_own.deleted')\n\ndef main",
    )
    assert loaded() == row
