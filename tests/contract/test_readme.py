"""What README and tutorial show works as it stands there, from the top of a fresh clone."""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import documents
import pytest
import yaml

if TYPE_CHECKING:
    from checkout import Checkout

README = documents.read("README.md")
TUTORIAL = documents.read("docs/tutorial.md")
CONNECTORS = documents.read("docs/connectors.md")


def test_a_pipeline_of_your_own(checkout: Checkout) -> None:
    """The three files of the README, written as they stand there, make a pipeline that runs."""
    connector, pipeline = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)
    (config,) = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    checkout.write("target-jsonl/connector.yaml", connector)
    checkout.write("target-jsonl/config.json", config)
    file = checkout.root / "singer-configs" / "pipelines.yaml"
    file.write_text(file.read_text() + pipeline)

    assert checkout.invoke("check", "all").code == 0
    (name,) = yaml.safe_load(pipeline)
    result = checkout.run(name)
    assert result.code == 0, result.err
    assert result.last["outputs"] == [str(checkout.root / "output" / name / result.last["run"] / "exchange_rate.jsonl")]


def test_a_schedule(checkout: Checkout) -> None:
    """The pipeline of the operations page, with all that it may have, is one."""
    text = documents.read("docs/operations.md")
    scheduled = next(block.text for block in documents.blocks(text) if block.language == "yaml")
    checkout.write("pipelines.yaml", scheduled)
    result = checkout.invoke("check", "all")
    assert result.code == 0, result.err


@pytest.fixture
def clone(tmp_path: Path, checkout: Checkout) -> Path:
    """Return a fresh clone; where there is no git, or no repository, a copy of the same files."""
    if shutil.which("git") and (documents.ROOT / ".git").exists():
        return documents.fresh_clone(tmp_path)
    return checkout.root


@pytest.mark.parametrize(
    ("text", "least"),
    [
        pytest.param(README, 1, id="README.md", marks=pytest.mark.full),  # half a minute
        pytest.param(TUTORIAL, 10, id="tutorial.md", marks=pytest.mark.full),  # a minute
        pytest.param(CONNECTORS, 6, id="connectors.md", marks=pytest.mark.full),  # minutes
    ],
)
def test_every_command_of_a_page(text: str, least: int, clone: Path, checkout: Checkout) -> None:
    """Each command of the page, but for those that need a platform, works in the order in which they stand, and prints what is shown."""
    if text is not README:  # the README begins with nothing; for other pages our venv and connectors' venvs are there already
        share_venvs(clone, checkout)
    environ = {**checkout.environ, "PATH": os.environ["PATH"]}
    assert documents.walk(text, clone, environ, platform=False) >= least


def share_venvs(clone: Path, checkout: Checkout) -> None:
    """Let a clone use the venvs of the tests."""
    if (Path(sys.prefix) / "requirements.lock").exists():
        (clone / ".venv").symlink_to(sys.prefix)
    if not (clone / ".local").exists():
        (clone / ".local").mkdir()
        (clone / ".local" / "environments").symlink_to((checkout.local / "environments").resolve())
