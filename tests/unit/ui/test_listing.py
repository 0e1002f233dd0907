"""Files in a list."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.ui.listing import list_files
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    import pytest


def test_many_files(capsys: pytest.CaptureFixture[str]) -> None:
    """The last line names the folder that has all of them."""
    list_files(Plain(), [(Path(f"output/p/run/{part:02}/s.csv"), 500_000) for part in range(12)])
    lines = capsys.readouterr().out.splitlines()
    assert (len(lines), lines[-1]) == (11, "  … 12 files in all, 6.0 MB, in output/p/run")
