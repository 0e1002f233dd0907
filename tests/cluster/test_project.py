"""A project apart from the tool on a real cluster: its images are built from both, and nothing is left in either."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import documents
import pytest
from platform_checkout import environ, run, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CLUSTER = "singer-project"


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Path]:
    """Return a project whose tool is a fresh clone, and take away what its commands have left when they stopped halfway."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    tool = documents.fresh_clone(tmp_path)
    folder = tmp_path / "our pipelines"
    typed(tool, "init", str(folder))
    yield folder
    subprocess.run(["./invoke", "teardown", "--yes"], cwd=folder, env=environ(CLUSTER), capture_output=True, check=False)


def typed(folder: Path, *words: str) -> str:
    """Type a command that must succeed, and return what it printed."""
    done = subprocess.run(["./invoke", *words], cwd=folder, env=environ(CLUSTER), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_platform_of_a_project(project: Path) -> None:
    """``up``, the example in the cluster, an edit of the project's own tap in it, and ``teardown``; the tool's checkout stays clean."""
    typed(project, "up")
    assert "days loaded" in typed(project, "demo", "--engine", "argo")
    source = project / "singer-containers" / "tap-exchange-rates" / "tap_exchange_rates" / "__init__.py"
    source.write_text(source.read_text() + "\nEDITED = True\n")
    assert "succeeded" in typed(project, "run", "exchange-rates-to-csv", "--engine", "argo", "--full") + typed(project, "show", "last")
    assert list((project / "output" / "exchange-rates-to-csv").iterdir())
    typed(project, "teardown", "--yes")
    assert run("docker", "ps", "--all", "--quiet", "--filter", f"label=io.x-k8s.kind.cluster={CLUSTER}") == ""
    tool = next(path for path in project.parent.iterdir() if (path / "tasks.py").exists())
    assert run("git", "-C", str(tool), "status", "--porcelain") == ""
