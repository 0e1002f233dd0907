"""What ``init`` writes about the tool must be of use to the rest of the team."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from cluster.onboarding.init import unreachable
from cluster.project.tool import is_local

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("/home/jane/singer", True),
        ("../singer.git", True),
        ("~/singer", True),
        ("singer", True),
        ("./a:b", True),
        ("file:///home/jane/singer", True),
        ("http://localhost:3000/singer.git", True),
        ("ssh://git@127.0.0.1/singer.git", True),
        ("http://[::1]:80/x", True),
        ("git@localhost:singer.git", True),
        ("https://github.com/example/singer.git", False),
        ("ssh://git@git.example.com:22/data/singer.git", False),
        ("git://git.example.com/singer", False),
        ("git@github.com:example/singer.git", False),
        ("github:example/singer.git", False),
        ("https://localhost.example.com/x", False),
    ],
)
def test_addresses(address: str, *, local: bool) -> None:
    """Paths and this machine's own names are of no use to others; every form of a remote address is."""
    assert is_local(address) is local


def test_a_tool_that_was_cloned_from_a_path(tmp_path: Path) -> None:
    """The path would be in the team's repository, so it is named, with what to write in its place."""
    for words in (["init", "--quiet"], ["remote", "add", "origin", "/home/jane/singer"]):
        subprocess.run(["git", *words], cwd=tmp_path, check=True)

    assert unreachable(tmp_path) == (
        "TOOL_GIT is /home/jane/singer, which only this machine reaches: write the repository's address before you share the project"
    )
