"""A tap from a git repository, in a real cluster: fetched by this machine, built into an image, and run."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from argo_checkout import argo_checkout
from checkout import ROOT
from scenarios import AFTER, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
COMPILED = """
[project]
name = "odd-extension"
version = "1"
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"
[[tool.setuptools.ext-modules]]
name = "odd_extension"
sources = ["odd.c"]
"""
SOURCE = """
#include <Python.h>
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "odd_extension", 0, -1, 0};
PyMODINIT_FUNC PyInit_odd_extension(void) { return PyModule_Create(&module); }
"""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as found:
        yield found


def repository(folder: Path) -> str:
    """Commit what is in a folder, and return what ``pip_url`` takes."""
    git = ["git", "-C", str(folder), "-c", "user.name=Ada", "-c", "user.email=ada@example.org"]
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "One"]):
        subprocess.run([*git, *words], check=True)
    return f"git+file://{folder}"


def test_a_tap_from_git_with_compiled_code(argo: Argo, tmp_path: Path) -> None:
    """A tap and an extension in C, both from git, run in the cluster; nothing is built twice, and no compiler is in the image."""
    shutil.copytree(ROOT / "tests/connectors/tap-scripted", tmp_path / "tap")
    (tmp_path / "extension").mkdir()
    (tmp_path / "extension/pyproject.toml").write_text(COMPILED)
    (tmp_path / "extension/odd.c").write_text(SOURCE)
    sources = [repository(tmp_path / "tap"), repository(tmp_path / "extension")]
    words = {"kind": "tap", "executable": "tap-scripted", "capabilities": ["catalog", "state"]}
    argo.write("tap-git/connector.yaml", {**words, "pip_url": sources})
    argo.write("tap-git/config.json", {})
    name = argo.pipeline("from-git", {"steps": [SCHEMA, ["records", "s", 3], ["state", AFTER]]}, connector="tap-git")

    done = argo.one(name)
    assert (done.record["status"], done.record["records"]) == ("succeeded", {"s": 3})
    assert argo.get_state(name) == AFTER
    inside = ["docker", "run", "--rm", "--entrypoint", "sh", "tap-git:dev", "-c"]
    look = "python -c 'import odd_extension' && ! command -v gcc && ! command -v uv && ! ls -d /build"
    subprocess.run([*inside, look], check=True)

    shutil.rmtree(tmp_path / "tap")  # the image is there: the repository is not asked again
    assert argo.one(name).record["status"] == "succeeded"
