"""README and tutorial as a reader types them who has Docker and kind: all of each page, in order, in a fresh clone."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

import documents
import pytest
from checkout import INHERITED
from platform_checkout import kubeconfigs, run, variables_set, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CLUSTER = "singer-tutorial"


@pytest.fixture
def clone(tmp_path: Path) -> Iterator[Path]:
    """Return a fresh clone, and take away what its commands have left when they stopped halfway."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    clone = documents.fresh_clone(tmp_path)
    yield clone
    subprocess.run(["./invoke", "teardown", "--yes"], cwd=clone, env=environ(), capture_output=True, check=False)


def environ() -> dict[str, str]:
    """Return the environment of somebody whose cluster has a name that no other test uses."""
    inherited = {name: os.environ[name] for name in INHERITED if name in os.environ}
    return {**inherited, **variables_set(), "INVOKE_SINGER_CLUSTER": CLUSTER}


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_command_of_a_page(page: str, clone: Path) -> None:
    """Each command works in the order in which they stand, prints what is shown, and at the end nothing is left."""
    before = kubeconfigs()
    assert documents.walk(documents.read(page), clone, environ(), platform=True) > 1
    assert kubeconfigs() == before
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={CLUSTER}") == ""
