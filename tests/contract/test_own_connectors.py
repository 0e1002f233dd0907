"""Connectors that live in this repository: their own tests, each in its own environment."""

from __future__ import annotations

import subprocess

import pytest
from checkout import ROOT

from cluster.config.settings import Settings
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.plain import Plain

PROJECT = Project(ROOT)
OWN = [name for name in PROJECT.connector_names if any((folder / "tests").is_dir() for folder in PROJECT.connector(name).projects)]


@pytest.mark.skipif(not OWN, reason="no connector of this repository has tests")
@pytest.mark.parametrize("name", OWN)
def test_its_own_tests_pass(name: str) -> None:
    """The tests in the folder ``tests`` of a connector of this repository pass."""
    connector = PROJECT.connector(name)
    [environment] = Environments(Settings(root=ROOT)).ensure([connector], Plain())
    for folder in connector.projects:
        command = [str(environment.folder / "bin" / "python"), "-B", "-m", "unittest", "discover", "tests"]
        result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        assert result.returncode == 0, result.stdout + result.stderr
