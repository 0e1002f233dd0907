"""What ``new`` proposes for a build that its tools are too new for. uv is asked what the package index has."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.onboarding.repairs import proposals
from cluster.project.model import Connector
from cluster.project.venvs import Environments

TAP = Connector("tap-x", Path("tap-x"), "tap", ("tap-x",), (), "tap-x", (), "3.12", ("**/*",))


@pytest.mark.parametrize(
    ("line", "constraint", "python"),
    [
        ("ModuleNotFoundError: No module named 'pkg_resources'", "setuptools<81", ""),
        ("setuptools.errors.InvalidConfigError: Invalid dash-separated key 'description-file' in 'metadata'", "setuptools<78", ""),
        ("'install_requires' must be a string containing valid project/version requirement specifiers", "setuptools<66", "3.11"),
        ("error in googleads setup command: use_2to3 is invalid.", "setuptools<58", "3.11"),
        ("AttributeError: 'build_ext' object has no attribute 'cython_sources'", "cython<3", ""),
    ],
)
def test_a_build_that_is_older_than_what_builds_it(tmp_path: Path, line: str, constraint: str, python: str) -> None:
    """Older packages are proposed for the build, once, and the Python that can still run them."""
    environments = Environments(Settings(root=tmp_path, python_downloads="yes"))
    environments.logs.mkdir(parents=True)
    (environments.logs / "tap-x.log").write_text(f"error: Failed to build: `old==1`\n  {line}\n")
    error = SetupError("E-INSTALL", "", hint="")
    first = next(proposals(error, TAP, environments))
    assert (first.constraint, first.python) == (constraint, python)
    assert first.change.startswith(f"{constraint} is used for the build")
    again = replace(TAP, build_constraints=(constraint,))
    assert not [repair for repair in proposals(error, again, environments) if repair.constraint]
