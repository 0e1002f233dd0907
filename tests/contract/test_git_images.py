"""Images of connectors from git: this machine fetches and packages the commit, and the builder gets the package."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import zipfile
from typing import TYPE_CHECKING

import fake_docker
import pytest
from checkout import ROOT
from real_stores import free_ports
from ssh_server import PROGRAM, ssh_server

from cluster.config.settings import Settings
from cluster.containers import images
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from pathlib import Path

BACKEND = """
import pathlib, subprocess, tarfile, zipfile

def version():
    return subprocess.check_output(["git", "describe", "--tags"], text=True).strip().removeprefix("v")

def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = f"tap_git-{version()}"
    with zipfile.ZipFile(f"{folder}/{name}-TAG.whl", "w") as wheel:
        wheel.writestr("tap_git.py", pathlib.Path("tap_git.py").read_text())
        wheel.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\\nName: tap-git\\nVersion: {version()}\\n")
        wheel.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: TAG\\n")
        wheel.writestr(f"{name}.dist-info/entry_points.txt", "[console_scripts]\\ntap-git = tap_git:main\\n")
        wheel.writestr(f"{name}.dist-info/RECORD", "")
    return f"{name}-TAG.whl"

def build_sdist(folder, config_settings=None):
    name = f"tap_git-{version()}"
    pathlib.Path("PKG-INFO").write_text(f"Metadata-Version: 2.1\\nName: tap-git\\nVersion: {version()}\\n")
    with tarfile.open(f"{folder}/{name}.tar.gz", "w:gz") as sdist:
        for file in ("PKG-INFO", "pyproject.toml", "backend.py", "tap_git.py"):
            sdist.add(file, f"{name}/{file}")
    return f"{name}.tar.gz"
"""
"""A build without an index, whose version comes from a tag."""
PYPROJECT = """
[project]
name = "tap-git"
dynamic = ["version"]
scripts = {tap-git = "tap_git:main"}
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
"""
REFUSALS = {
    "E: Some index files failed to download.\nThe command '/bin/sh -c x' returned a non-zero code: 100": "E: Some index files failed",
    "#9 1.2 error: Hash mismatch for `x==1`\n#9 1.2\n------\nDockerfile:45\n------\nERROR: failed to solve: x": "Hash mismatch for `x==1`.",
    "error: Failed to build `x==1`\n   x.c:407: warning\n   x.c:9: fatal error: odd.h: No such file": "x 1 does not build: x.c:9: fatal",
    "E: Unable to locate package libodd\n": "Debian has no package libodd.",
    "error: the base image has Python 3.12, not 3.10\nThe command '/bin/sh -c x' returned a non-zero code: 1": "not 3.10.",
}
"""What builders print, and what the user reads of it."""


class Desk:
    """A checkout with a tap from a git repository, and a fake docker."""

    def __init__(self, folder: Path) -> None:
        """Make both; the repository has one commit and one tag."""
        self.desk, self.root, self.repository = folder / "desk", folder / "checkout", folder / "tap-git.git"
        for name in ("singer-containers", "requirements.lock"):
            copy = self.root / name
            copy.parent.mkdir(exist_ok=True)
            (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy)
        self.settings = Settings(root=self.root)
        self.progress: list[str] = []
        fake_docker.install(folder / "bin", self.desk)
        self.commit()
        self.connector(f"git+file://{self.repository}")

    def commit(self, tag: str = "py3-none-any") -> None:
        """Commit the tap, whose wheel has this tag, into a bare repository."""
        work = self.repository.parent / "work"
        if not work.exists():
            git("init", "--quiet", "--bare", str(self.repository))
            git("clone", "--quiet", str(self.repository), str(work))
        (work / "pyproject.toml").write_text(PYPROJECT)
        (work / "backend.py").write_text(BACKEND.replace("TAG", tag))
        (work / "tap_git.py").write_text("def main():\n    print('usage: tap-git')\n")
        git("-C", str(work), "add", "--all")
        git("-C", str(work), "commit", "--quiet", "--message", tag)
        git("-C", str(work), "tag", f"v1.{len(tag)}")
        git("-C", str(work), "push", "--quiet", "--tags", "origin", "HEAD")

    def connector(self, pip_url: str) -> None:
        """Write the tap."""
        folder = self.root / "singer-configs" / "tap-git"
        folder.mkdir(parents=True, exist_ok=True)
        words = {"kind": "tap", "pip_url": pip_url, "system_packages": ["libodd"]}
        (folder / "connector.yaml").write_text(json.dumps(words))

    def build(self) -> list[str]:
        """Build the image, as ``sync`` does, and return the requirements that are not from an index."""
        connector = Project(self.root).connector("tap-git")
        Environments(self.settings).ensure_lock(connector)
        shutil.rmtree(self.desk / "sources", ignore_errors=True)
        images.build(connector, self.settings, Runtime("docker"), self.progress.append)
        return (self.desk / "sources" / "sources.txt").read_text().splitlines()

    def refused(self) -> SetupError:
        """Return the error of a build."""
        with pytest.raises(SetupError) as caught:
            self.build()
        assert "\n" not in caught.value.problem + caught.value.hint
        assert list((self.root / ".local" / "build").glob("*")) == []
        return caught.value

    def relocate(self, address: str) -> None:
        """Change the address in the lock alone, and forget what was fetched."""
        lock = self.root / "singer-configs" / "tap-git" / "requirements.lock"
        head, _, rest = lock.read_text().partition("\n")
        lock.write_text(head + "\n" + re.sub(r"git[+]\S+(?=@[0-9a-f]{40})", f"git+{address}", rest))
        shutil.rmtree(self.root / ".local" / "cache" / "sources", ignore_errors=True)

    @property
    def builds(self) -> list[str]:
        """The calls of the builder."""
        return [call for call in (self.desk / "calls").read_text().splitlines() if call.startswith("docker build")]


def git(*words: str) -> None:
    """Run git as a user who is known."""
    subprocess.run(["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words], check=True, capture_output=True)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """Return a checkout with a tap from git."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    return Desk(tmp_path)


def test_the_builder_gets_the_package_of_the_commit(desk: Desk) -> None:
    """The context has the wheel with the version of the tag, and no repository; it is fetched once, and the server may be away then."""
    assert desk.build() == ["/build/sources/0/tap_git-1.12-py3-none-any.whl"]
    files = {file.name for file in (desk.desk / "sources").rglob("*") if file.is_file()}
    assert files == {"requirements.lock", "sources.txt", "tap_git-1.12-py3-none-any.whl"}
    assert "git+" not in (desk.desk / "sources" / "requirements.lock").read_text()
    assert f"fetching file://{desk.repository}" in desk.progress

    desk.repository.rename(desk.repository.with_name("away"))
    desk.progress.clear()
    assert desk.build() == ["/build/sources/0/tap_git-1.12-py3-none-any.whl"]
    assert not any("fetching" in line for line in desk.progress)


@pytest.mark.full
def test_a_package_with_compiled_code_goes_as_its_source(desk: Desk) -> None:
    """A wheel for this machine alone is of no use in an image: the builder gets an sdist, of exactly the commit in the lock."""
    desk.build()
    desk.commit("cp311-cp311-linux_x86_64")
    assert desk.build() == ["/build/sources/0/tap_git-1.12-py3-none-any.whl"], "the lock has the commit, not the branch"
    (desk.root / "singer-configs" / "tap-git" / "requirements.lock").unlink()
    assert desk.build() == ["/build/sources/0/tap_git-1.24.tar.gz"]


def test_a_git_server_that_fails(desk: Desk) -> None:
    """A server that is away, a repository that is gone and a commit that vanished are one sentence each, and no build begins."""
    desk.build()
    builds = len(desk.builds)
    away = f"127.0.0.1:{free_ports(1)[0]}/tap-git.git"
    desk.relocate(f"http://jane:secret@{away}")
    error = desk.refused()
    assert (error.code, error.problem) == ("E-NETWORK", f"tap-git cannot be fetched: http://{away} cannot be reached.")
    assert "secret" not in "".join(file.read_text() for file in (desk.root / ".local" / "logs").rglob("*.log"))

    desk.relocate(f"file://{desk.root}/nowhere.git")
    error = desk.refused()
    assert error.code == "E-INSTALL"
    assert re.search(
        r"tap-git cannot be fetched from file://\S+/nowhere.git: '\S+' does not appear to be a git repository\.", error.problem
    )

    shutil.rmtree(desk.repository)
    shutil.rmtree(desk.repository.parent / "work")
    desk.commit("py2.py3-none-any")
    desk.relocate(f"file://{desk.repository}")
    error = desk.refused()
    assert error.code == "E-INSTALL"
    assert re.search(r"tap-git cannot be fetched: file://\S+ does not have the commit [0-9a-f]{12} any more\.", error.problem)
    assert "Remove singer-configs/tap-git/requirements.lock" in error.hint
    assert len(desk.builds) == builds


def test_a_build_that_needs_a_compiler(desk: Desk) -> None:
    """A build that lacks a compiler is repeated with one, and the next one begins with it; what still fails is named."""
    lacks = "error: Failed to build `ciso8601==2.3`\n  cause: x\n   error: command 'gcc' failed: No such file or directory\n"
    (desk.desk / "fails-without-compiler").write_text(lacks)
    desk.build()
    first, second = desk.builds
    assert "BUILD_PACKAGES" not in first
    assert "--build-arg BUILD_PACKAGES=build-essential " in second
    assert "needs build-essential: building again with it" in desk.progress
    desk.build()
    assert "--build-arg BUILD_PACKAGES=build-essential " in desk.builds[2]

    (desk.desk / "refuses-build").write_text("error: Failed to build `odd==1.0`\n   fatal error: odd.h: No such file or directory\n")
    error = desk.refused()
    assert error.code == "E-BUILD"
    assert "because odd 1.0 does not build: fatal error: odd.h: No such file or directory." in error.problem
    assert '"system_packages" in singer-configs/tap-git/connector.yaml' in error.hint
    for text, reason in REFUSALS.items():
        (desk.desk / "refuses-build").write_text(text)
        error = desk.refused()
        assert (error.code, reason in error.problem) == ("E-BUILD", True), error.problem


def test_a_package_that_does_not_build_here(desk: Desk) -> None:
    """If this machine lacks what a package's build needs, the error names the Debian packages that have it."""
    work = desk.repository.parent / "work"
    (work / "backend.py").write_text("def build_wheel(*_):\n    raise SystemExit('Error: pg_config executable not found.')\n")
    git("-C", str(work), "commit", "--quiet", "--all", "--message", "Two")
    git("-C", str(work), "push", "--quiet", "origin", "HEAD")
    error = desk.refused()
    assert (error.code, "pg_config executable not found" in error.problem) == ("E-INSTALL", True)
    assert error.hint.startswith("Install what its build needs, on Debian: sudo apt-get install build-essential libpq-dev. Log: ")


@pytest.mark.full
def test_an_edit_of_a_folder_changes_one_layer(desk: Desk) -> None:
    """The code of a folder is a separate wheel: an edit changes nothing else that the image installs."""
    folder = desk.root / "taps" / "own"
    folder.mkdir(parents=True)
    backend = BACKEND.replace("TAG", "py3-none-any").replace("version()", "'1'").replace("def '1':", "def version():")
    (folder / "pyproject.toml").write_text(PYPROJECT)
    (folder / "backend.py").write_text(backend)
    (folder / "tap_git.py").write_text("CODE = 1\n")
    (folder / "build").mkdir()
    (folder / "build" / "deleted.py").touch()
    desk.connector("./taps/own")

    def installed() -> tuple[dict[str, bytes], list[bytes]]:
        assert desk.build() == []
        sources = {file.name: file.read_bytes() for file in (desk.desk / "sources").iterdir()}
        with zipfile.ZipFile(next((desk.desk / "own").glob("*.whl"))) as wheel:
            return sources, [wheel.read(name) for name in wheel.namelist() if name.endswith(".py")]

    before, code = installed()
    assert code == [b"CODE = 1\n"]
    (folder / "tap_git.py").write_text("CODE = 2\n")
    assert installed() == (before, [b"CODE = 2\n"])


@pytest.mark.full
@pytest.mark.skipif(PROGRAM is None, reason="there is no SSH server on this machine (openssh-server)")
def test_a_private_repository_over_ssh(desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user's key is enough, for the lock, the venv and the image; without it nobody is asked, and the error names the login."""
    with ssh_server(tmp_path / "ssh") as (address, client):
        monkeypatch.setenv("GIT_SSH_COMMAND", f"ssh -F {client}")
        desk.connector(f"git+{address}{desk.repository}")
        assert desk.build() == ["/build/sources/0/tap_git-1.12-py3-none-any.whl"]
        assert not list((desk.desk / "sources").rglob("key*"))
        [environment] = Environments(desk.settings).ensure([Project(desk.root).connector("tap-git")], Plain())
        assert subprocess.run([environment.executable], capture_output=True, text=True, check=True).stdout == "usage: tap-git\n"

        (tmp_path / "ssh" / "allowed").write_text("")
        (desk.root / "singer-configs" / "tap-git" / "requirements.lock").unlink()
        shutil.rmtree(desk.root / ".local" / "cache")
        error = desk.refused()
        assert (error.code, error.problem.endswith(" asks for a login.")) == ("E-NETWORK", True), error.problem
        assert "git ls-remote" in error.hint
