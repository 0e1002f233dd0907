"""A requirement more in a ``connector.yaml`` that somebody wrote by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.errors import SetupError
from cluster.project.repair import asks_for, lacks, with_setuptools

if TYPE_CHECKING:
    from pathlib import Path

FORMS = {
    "kind: tap  # a tap\npip_url: tap-x==1.0   # pinned\npython: '3.12'\n": "pip_url: tap-x==1.0 setuptools<81   # pinned\n",
    'pip_url: "tap-x[s3]"\nkind: tap\n': "pip_url: tap-x[s3] setuptools<81\n",
    "pip_url: [tap-x, 'a<2']  # two\n": "pip_url: [tap-x, 'a<2', setuptools<81]  # two\n",
    "pip_url:\n  - tap-x\n  - a<2  # old\nkind: tap\n": "  - a<2\n  - setuptools<81  # old\n",
    "pip_url:\n- tap-x\n": "- tap-x\n- setuptools<81\n",
    "pip_url: git+https://example.org/x.git@v1#subdirectory=a": "pip_url: git+https://example.org/x.git@v1#subdirectory=a setuptools<81",
}


@pytest.mark.parametrize(("text", "changed"), FORMS.items())
def test_a_requirement_more(text: str, changed: str) -> None:
    """However the requirements are written, one is added, and comments and other lines stay."""
    result = with_setuptools(text, "connector.yaml")
    assert changed in result
    assert [line for line in text.splitlines() if "pip_url" not in line and "a<2" not in line][1:] == [
        line for line in result.splitlines() if "pip_url" not in line and "a<2" not in line and "- setuptools" not in line
    ][1:]


def test_a_form_that_cannot_be_changed() -> None:
    """A value that other keys share is left alone."""
    with pytest.raises(SetupError, match="cannot be changed"):
        with_setuptools("outputs: &a [x]\npip_url: *a\n", "connector.yaml")


def test_a_setuptools_of_its_own() -> None:
    """A connector that asks for some setuptools keeps them."""
    assert asks_for("setuptools", ["tap-x", "setuptools==60"])
    assert not asks_for("setuptools", ["setuptools-scm"])


@pytest.mark.parametrize(
    ("source", "error", "module"),
    [
        ("import pkg_resources\n", "ModuleNotFoundError: No module named 'pkg_resources'", "pkg_resources"),
        ("from distutils.util import strtobool\n", "ModuleNotFoundError: No module named 'distutils'", "distutils"),
        ("import pkg_resources\n", "another error", ""),
        ("import json\n", "ModuleNotFoundError: No module named 'pkg_resources'", ""),
    ],
)
def test_what_a_program_lacks(tmp_path: Path, source: str, error: str, module: str) -> None:
    """A program is started only if a package of its venv imports one of the modules."""
    packages = tmp_path / "lib" / "python3.13" / "site-packages"
    packages.mkdir(parents=True)
    (packages / "x.py").write_text(source)
    program = tmp_path / "program"
    program.write_text(f'#!/bin/sh\necho "{error}" >&2\nexit 1\n')
    program.chmod(0o755)
    assert lacks(tmp_path, program) == module
