"""What a connector's image is built from, with a builder that keeps what it was given."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.config.settings import Settings
from cluster.containers import images
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.host.subprocesses import brief
from cluster.project.reader import Project

if TYPE_CHECKING:
    from cluster.project.model import Connector

ROOT = Path(__file__).resolve().parents[3]
BUILDER = """#!/bin/sh
for word; do case "$word" in SOURCES=*) sources="${word#SOURCES=}" ;; OWN=*) own="${word#OWN=}" ;; esac; last="$word"; done
echo "$@" >>"$(dirname "$0")/calls"
test "$1" = build || exit 0
cp -R "$last/$sources" "$(dirname "$0")/given"
cp -R "$last/$own" "$(dirname "$0")/own"
case "$last" in */.context-*) cp -R "$last" "$(dirname "$0")/context" ;; esac
"""


@pytest.fixture
def builder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder that what a build installs is copied to."""
    program = tmp_path / "bin" / "docker"
    program.parent.mkdir()
    program.write_text(BUILDER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    return program.parent / "given"


def project(folder: Path) -> Path:
    """Write a project that has been installed and tested in place."""
    for name in (
        *("pyproject.toml", "README.md", "src/tap_x/__init__.py", "src/tap_x/build/kept.py"),
        *("build/lib/tap_x.py", "src/tap_x.egg-info/PKG-INFO", "src/tap_x/__pycache__/x.pyc", ".git/HEAD"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("x")
    return folder


def connector(root: Path, folder: Path) -> Connector:
    """Return a tap that lives in *folder*, of a checkout in *root*."""
    configs = root / "singer-configs" / "tap-x"
    configs.mkdir(parents=True)
    (configs / "connector.yaml").write_text("kind: tap\npip_url: taps/x\n")
    (configs / "requirements.lock").write_text("")
    (root / "taps" / "x").mkdir(parents=True, exist_ok=True)
    (root / "taps" / "x" / "pyproject.toml").touch()
    (root / "singer-containers").mkdir()
    for name in ("Dockerfile", "entrypoint.py"):
        (root / "singer-containers" / name).touch()
    read = Project(root).connector("tap-x")
    return replace(read, projects=(folder,))


@pytest.mark.parametrize("path", ["checkout/taps/x", "elsewhere/x"])
def test_a_project_anywhere_is_in_the_image(tmp_path: Path, builder: Path, path: str) -> None:
    """A connector whose folder the build context excludes, or that is outside of the checkout, is built with all of its sources."""
    root = tmp_path / "checkout"
    folder = project(tmp_path / path)
    tap = replace(connector(root, folder), build_constraints=("setuptools<66",))
    images.build(tap, Settings(root=root, tool=root), Runtime("docker"), lambda _: None)

    copied = sorted(file.relative_to(builder / "0/x").as_posix() for file in (builder / "0/x").rglob("*") if file.is_file())
    assert copied == ["README.md", "pyproject.toml", "src/tap_x/__init__.py", "src/tap_x/build/kept.py"]
    assert (builder / "sources.txt").read_text() == "/build/sources/0/x\n"
    assert (builder / "build-constraints.txt").read_text() == "setuptools<66"
    assert not list((root / ".local" / "build").iterdir())


def test_a_project_apart_from_the_tool(tmp_path: Path, builder: Path) -> None:
    """The builder gets the files of the tool that the Dockerfile copies, and of the project only what it installs."""
    root = tmp_path / "pipelines"
    (root / ".env").parent.mkdir()
    (root / ".env").write_text("SECRET=1")
    tap = connector(root, project(root / "taps" / "x"))
    shutil.rmtree(root / "singer-containers")
    images.build(tap, Settings(root=root), Runtime("docker"), lambda _: None)

    context = builder.with_name("context")
    copied = re.findall(r"^COPY (?!--from|\$)(\S+) ", (ROOT / "singer-containers" / "Dockerfile").read_text(), re.MULTILINE)
    assert [name for name in copied if not (context / name).exists()] == []
    assert {path.name for path in context.iterdir()} == {".dockerignore", ".local", "cluster", "singer-containers"}
    assert [path.name for path in (context / ".local" / "build").iterdir()] == ["tap-x"]
    assert (builder / "0/x/pyproject.toml").exists()
    assert not list((root / ".local" / "build").iterdir())


def test_a_transform_is_built_with_its_project(tmp_path: Path, builder: Path) -> None:
    """The builder gets the dbt project of a transform, but not what dbt and the tool keep beside it."""
    root = tmp_path / "checkout"
    connector(root, tmp_path)
    folder = root / "singer-configs" / "dbt-x"
    for name in ("dbt_project.yml", "models/m.sql", "requirements.lock", "config.json", "target/run.sql", "logs/dbt.log"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")
    (folder / "connector.yaml").write_text("kind: transform\npip_url: dbt-core\n")
    images.build(Project(root).connector("dbt-x"), Settings(root=root, tool=root), Runtime("docker"), lambda _: None)

    own = builder.with_name("own")
    copied = sorted(file.relative_to(own).as_posix() for file in own.rglob("*") if file.is_file())
    assert copied == ["project/dbt_project.yml", "project/models/m.sql", "project/requirements.lock"]


NEEDS: dict[str, tuple[dict[str, Any], bool]] = {
    "packages of an index": ({}, False),
    "Debian packages": ({"system_packages": ("libpq5",)}, True),
    "a dbt project": ({"kind": "transform"}, True),
}


@pytest.mark.parametrize("what", NEEDS)
def test_stages_that_a_connector_does_not_need_are_not_built(tmp_path: Path, builder: Path, what: str) -> None:
    """The builder makes no layers for shared libraries and own code if a connector has neither."""
    root, (values, all_stages) = tmp_path / "checkout", NEEDS[what]
    tap = replace(connector(root, tmp_path), projects=(), **values)
    images.build(tap, Settings(root=root, tool=root), Runtime("docker"), lambda _: None)
    [build] = [line for line in builder.with_name("calls").read_text().splitlines() if line.startswith("build ")]
    assert (" --target plain " not in build) is all_stages


def test_the_context_has_the_folder_of_projects() -> None:
    """The builder may read the copies, and nothing else of the folder that they are in."""
    ignore = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in ignore if ".local" in line] == ["!.local/network", "!.local/build"]


@pytest.mark.parametrize("left", ["build/lib/y.py", "src/tap_x.egg-info/SOURCES.txt", "src/tap_x/__pycache__/y.pyc"])
def test_what_an_installation_leaves_behind_makes_no_image_outdated(tmp_path: Path, left: str) -> None:
    """A run on this machine that installs the project in place does not make the next ``up`` build its image again."""
    root = tmp_path / "checkout"
    folder = project(root / "taps" / "x")
    tap = connector(root, folder)
    before = images.tag(tap, Settings(root=root, tool=root))
    (folder / left).parent.mkdir(parents=True, exist_ok=True)
    (folder / left).write_text("y")
    assert images.tag(tap, Settings(root=root, tool=root)) == before


LINES = {
    " • Preparing nodes 📦  ...": "Preparing nodes",
    " ✓ Starting control-plane 🕹️": "Starting control-plane",
    f"Successfully installed {' '.join(f'tap-{number}-1.0' for number in range(40))}": r"Successfully installed tap-0-1\.0 .{1,60}…",
}


@pytest.mark.parametrize("line", LINES, ids=[line[:20] for line in LINES])
def test_progress_of_other_programs_is_brief(line: str) -> None:
    """Without a terminal, a builder's list of packages and kind's symbols do not fill the log."""
    assert re.fullmatch(LINES[line], brief(line))
    assert len(brief(line)) <= 80


def test_the_builder_of_this_test_is_run(builder: Path) -> None:
    """The program that the tests above rely on is the one that is found."""
    subprocess.run([builder.parent / "docker", "ps"], check=True)


CLASSIC = """#!/bin/sh
echo "$@" >>"$(dirname "$0")/calls"
test "$1" = build || exit 0
echo 'Step 1/2 : RUN true
 ---> Running in aaaaaaaaaaaa
Removing intermediate container aaaaaaaaaaaa
 ---> 0123456789ab
Step 2/2 : RUN false
 ---> Running in bbbbbbbbbbbb'
exit 1
"""


def test_the_container_of_a_build_that_fails(builder: Path, tmp_path: Path) -> None:
    """What the classic builder leaves of a step that failed is removed, and nothing else."""
    (builder.parent / "docker").write_text(CLASSIC)
    root = tmp_path / "checkout"
    with pytest.raises(SetupError, match="cannot be built"):
        images.build(replace(connector(root, tmp_path), projects=()), Settings(root=root), Runtime("docker"), lambda _line: None)
    calls = (builder.parent / "calls").read_text().splitlines()
    assert [call for call in calls if not call.startswith("build")] == ["rm --force bbbbbbbbbbbb"]
