"""Which project a command uses, where one is inside another."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.project.tool import ambiguous

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def projects(tmp_path: Path) -> Path:
    """Return a project with another one and a clone of the tool in it."""
    for name in (
        "outer/tool.env",
        "outer/inner/tool.env",
        "outer/tool/template/invoke",
        "outer/inner/singer-configs/x",
        "tool/template/invoke",
    ):
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    return tmp_path


@pytest.mark.parametrize(
    ("root", "tool", "here", "other"),
    [
        ("outer", "tool", "outer", ""),
        ("outer", "tool", "outer/singer-configs", ""),
        ("outer", "tool", "outer/inner", "outer/inner"),
        ("outer", "tool", "outer/inner/singer-configs", "outer/inner"),
        ("outer", "outer/tool", "outer/tool/docs", "outer/tool"),
        ("outer/inner", "tool", "outer/inner", ""),
        ("outer/inner", "tool", "outer", ""),
        ("outer/tool", "outer/tool", "outer/tool", "outer"),
        ("outer/tool", "outer/tool", "outer/tool/docs", "outer"),
        ("tool", "tool", "tool", ""),
        ("outer", "tool", ".", ""),
        ("outer", "tool", "tool", ""),
    ],
)
def test_another_project_may_be_meant(projects: Path, root: str, tool: str, here: str, other: str) -> None:
    """The one whose launcher was typed is used; a nearer one, or the one around a clone of the tool, is named."""
    assert ambiguous(projects / root, projects / tool, projects / here) == (projects / other if other else None)
