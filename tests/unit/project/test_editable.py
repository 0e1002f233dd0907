"""Which files of a connector's project make a difference, and which of them need an installation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from cluster.project.editable import installed_content, project_files

if TYPE_CHECKING:
    from pathlib import Path

STATIC = '[project]\nname = "tap-x"\nversion = "1"\n'
DYNAMIC = '[project]\nname = "tap-x"\ndynamic = ["version"]\n'


def project(folder: Path, manifest: str = STATIC, package: str = "tap_x") -> Path:
    """Write a small project and return its folder."""
    for name, text in {
        "pyproject.toml": manifest,
        f"{package}/__init__.py": "",
        f"{package}/tap.py": "",
        f"{package}/schemas/a.json": "{}",
        "requirements.txt": "",
        "more.py": "",
    }.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("package", ["tap_x", "src/tap_x"])
@pytest.mark.parametrize("edited", ["tap.py", "__init__.py", "schemas/a.json", "new.py", "schemas/b.json", "../more.py"])
def test_edits_that_need_no_installation(tmp_path: Path, package: str, edited: str) -> None:
    """Code and data of a package are read where they lie."""
    folder = project(tmp_path, package=package)
    before = installed_content(folder)
    (folder / package / edited.replace("../", "../" * (package.count("/") + 1))).write_text("1", encoding="utf-8")
    assert installed_content(folder) == before


@pytest.mark.parametrize(
    "edited",
    [
        "pyproject.toml",
        "setup.cfg",
        "setup.py",
        "requirements.txt",
        "one_more.py",
        "tap_x/_fast.pyx",
        "tap_x/sub/x.py",
        "tap_y/__init__.py",
    ],
)
def test_edits_that_need_an_installation(tmp_path: Path, edited: str) -> None:
    """What an installation reads, compiles or finds needs a new one."""
    folder = project(tmp_path)
    before = installed_content(folder)
    (folder / edited).parent.mkdir(exist_ok=True)
    (folder / edited).write_text("1", encoding="utf-8")
    assert installed_content(folder) != before


def test_a_version_in_the_code_is_installed(tmp_path: Path) -> None:
    """Where pyproject.toml has no version, the files that usually have it are read by an installation."""
    folder = project(tmp_path, DYNAMIC)
    before = installed_content(folder)
    (folder / "tap_x" / "tap.py").write_text("1", encoding="utf-8")
    assert installed_content(folder) == before
    (folder / "tap_x" / "__init__.py").write_text('__version__ = "2"', encoding="utf-8")
    assert installed_content(folder) != before


def test_a_moved_project_is_installed(tmp_path: Path) -> None:
    """An installation names the folder, so another folder needs another one."""
    assert installed_content(project(tmp_path / "a")) != installed_content(project(tmp_path / "b"))


def test_the_files_that_count(tmp_path: Path) -> None:
    """Source and metadata count, in a fixed order; what is made, documentation and tests beside the packages do not."""
    counted = ["a/build/x.py", "a/deep/x.py", "a/notes.md", "a/tests/x.py", "b.py", "data.json", "pyproject.toml"]
    for name in [
        *counted,
        "tap.egg-info/PKG-INFO",
        "src/x.egg-info/SOURCES.txt",
        "x.dist-info/RECORD",
        "README.md",
        "x.pyc",
        "a/__pycache__/x.py",
        ".venv/lib/y.py",
        "tests/test_x.py",
        "dist/x.whl",
        "build/x",
    ]:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
    assert [str(file.relative_to(tmp_path)) for file in project_files(tmp_path)] == counted


def test_a_checkout_below_a_folder_named_tests_counts_too(tmp_path: Path) -> None:
    """Only folders inside the project are left out: where the checkout lies does not matter."""
    folder = tmp_path / "tests" / "build"
    folder.mkdir(parents=True)
    (folder / "x.py").touch()
    assert project_files(folder) == [folder / "x.py"]
