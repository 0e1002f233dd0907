"""README and tutorial as a reader types them who has Docker and kind: all of each page, in order, in a fresh clone."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import documents
import pytest
from platform_checkout import environ, kubeconfigs, run, why_not

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
    subprocess.run(["./invoke", "teardown", "--yes"], cwd=clone, env=environ(CLUSTER), capture_output=True, check=False)


@pytest.mark.parametrize("page", ["README.md", "docs/tutorial.md"])
def test_every_command_of_a_page(page: str, clone: Path) -> None:
    """Each command works in the order in which they stand, prints what is shown, and at the end nothing is left."""
    before = kubeconfigs()
    assert documents.walk(documents.read(page), clone, environ(CLUSTER), platform=True) > 1
    assert kubeconfigs() == before
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={CLUSTER}") == ""
