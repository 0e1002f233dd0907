"""A project apart from the tool: a team's repository, made by ``init``, cloned, and run by the tool that it names."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com", "-c", "init.defaultBranch=main")


class Tool:
    """A checkout of the tool whose launcher uses the Python of the tests, and the projects that it makes."""

    def __init__(self, checkout: Checkout, shared: Path) -> None:
        """Replace the launcher: making a venv is what the launcher's own tests try."""
        self.checkout, self.root, self.shared = checkout, checkout.root, shared
        launcher = self.root / "invoke"
        launcher.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$(dirname "$0")/tasks.py" "$@"\n')

    def type(self, project: Path, *words: str, **environ: str) -> subprocess.CompletedProcess[str]:
        """Type ./invoke in a folder."""
        variables = {**self.checkout.environ, **environ}
        return subprocess.run(["./invoke", *words], cwd=project, env=variables, capture_output=True, text=True, check=False, timeout=120)

    def init(self, folder: Path) -> Path:
        """Make a project, whose connectors are installed where those of all tests are."""
        result = self.type(self.root, "init", str(folder))
        assert result.returncode == 0, result.stderr
        self.share(folder)
        return folder

    def share(self, folder: Path) -> None:
        """Let a project use the environments that other tests have made."""
        (folder / ".local").mkdir(mode=0o700, exist_ok=True)
        (folder / ".local" / "environments").symlink_to(self.shared / "environments")

    def commit(self, folder: Path) -> str:
        """Commit all that is in a folder, and return the commit."""
        for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "x"]):
            subprocess.run([*GIT, *words], cwd=folder, check=True)
        return subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    @property
    def files(self) -> set[str]:
        """What is in the checkout of the tool, but for caches."""
        names = (str(file.relative_to(self.root)) for file in self.root.rglob("*"))
        return {name for name in names if "__pycache__" not in name and not name.startswith((".local/environments", "tests/connectors"))}


@pytest.fixture
def tool(checkout: Checkout, shared: Path) -> Tool:
    """Return a checkout of the tool."""
    return Tool(checkout, shared)


def named(project: Path, **values: str) -> None:
    """Write ``tool.env``."""
    (project / "tool.env").write_text("".join(f"TOOL_{key.upper()}={value}\n" for key, value in values.items()))


def test_a_team(tool: Tool, tmp_path: Path) -> None:
    """A project in a folder with a space runs the example; a clone of it does too, and lists the secrets it needs. The tool stays clean."""
    before = tool.files
    first = tool.init(tmp_path / "our pipelines")
    assert (first / ".devcontainer" / "devcontainer.json").is_file()
    demo = tool.type(first, "demo", "--engine", "local")
    assert demo.returncode == 0, demo.stderr
    assert "days loaded" in demo.stdout
    assert list((first / "output" / "exchange-rates-to-csv").iterdir())

    tap = first / "singer-configs" / "tap-shop"
    tap.mkdir()
    (tap / "connector.yaml").write_text("kind: tap\npip_url: tap-shop\n")
    (tap / "config.json").write_text('{"api_key": "${SHOP_API_KEY}"}')
    added = tool.type(first, "add", "shop", "--tap", "tap-shop", "--target", "target-csv")
    assert added.returncode == 0, added.stderr
    assert ".env.example" in added.stdout
    names = [line for line in (first / ".env.example").read_text().splitlines() if not line.startswith("#")]
    assert names == ["SHOP_API_KEY="]

    tool.commit(first)
    assert tool.type(first, "check", "all").returncode == 1  # SHOP_API_KEY is set nowhere
    (first / ".env").write_text("SHOP_API_KEY=x\n")
    assert tool.type(first, "check", "all").returncode == 0
    subprocess.run([*GIT, "add", "--force", ".env"], cwd=first, check=True)
    committed = tool.type(first, "check", "all")
    assert (committed.returncode, ".env is in git" in committed.stderr) == (1, True)
    subprocess.run([*GIT, "rm", "--quiet", "--cached", ".env"], cwd=first, check=True)
    second = tmp_path / "second"
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "--quiet", str(first), str(second)], check=True)
    assert b"\r" not in (second / "invoke").read_bytes() + (second / "tool.env").read_bytes()  # also where git is set up for Windows
    tool.share(second)
    assert not (second / ".local" / "buckets").exists()
    assert tool.type(second, "check", "exchange-rates-to-csv").returncode == 0
    assert tool.type(second, "runs").stdout == "No runs yet. Next: ./invoke demo\n"
    assert tool.files == before


def test_the_tool_is_fetched(tool: Tool, tmp_path: Path) -> None:
    """Without a checkout at its path, the version that tool.env names is fetched once; from then on no network is needed."""
    version = tool.commit(tool.root)
    project = tool.init(tmp_path / "pipelines")
    assert f"TOOL_VERSION={version}" in (project / "tool.env").read_text()
    elsewhere = tmp_path / "server"
    tool.root.rename(elsewhere)
    named(project, path="../checkout", git=str(elsewhere), version=version)
    first = tool.type(project, "runs")
    assert (first.returncode, first.stdout) == (0, "No runs yet. Next: ./invoke demo\n")
    assert "Fetching the tool" in first.stderr
    elsewhere.rename(tmp_path / "away")
    second = tool.type(project, "runs")
    assert (second.returncode, second.stdout, second.stderr) == (0, first.stdout, "")


@pytest.mark.parametrize(
    ("values", "problem", "hint"),
    [
        ({}, "The tool is not here", "Write one of them into tool.env."),
        ({"path": "../nowhere"}, "nowhere, and tool.env names no TOOL_GIT", "Write one of them into tool.env."),
        (
            {"path": "../nowhere", "git": "NOWHERE", "version": "main"},
            "The tool cannot be fetched",
            "Connect to the network, or correct TOOL_GIT",
        ),
        ({"git": "TOOL", "version": "v99"}, "The tool cannot be fetched", "Connect to the network, or correct TOOL_GIT"),
        ({"path": "../old"}, "is too old", "Update it"),
        (None, "tool.env is not there", "Restore it from git"),
    ],
    ids=["nothing", "path", "repository", "version", "old", "file"],
)
def test_a_tool_that_cannot_be_had(tool: Tool, tmp_path: Path, values: dict[str, str] | None, problem: str, hint: str) -> None:
    """The launcher ends with one sentence and one thing to do, and leaves nothing half made."""
    tool.commit(tool.root)
    project = tool.init(tmp_path / "pipelines")
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "tasks.py").write_text("")
    places = {"NOWHERE": str(tmp_path / "no-repository"), "TOOL": str(tool.root)}
    named(project, **{key: places.get(value, value) for key, value in (values or {}).items()})
    if values is None:
        (project / "tool.env").unlink()
    result = tool.type(project, "runs")
    assert (result.returncode, result.stdout) == (1, "")
    assert problem in result.stderr
    assert f"→ {hint}" in result.stderr.splitlines()[-1]
    assert not (project / ".local" / "tool").exists() or list((project / ".local" / "tool").iterdir()) == []


def test_where_no_project_can_be(tool: Tool, tmp_path: Path) -> None:
    """A folder in the checkout of the tool, and one that has such files, are refused; nothing is written. Other files do no harm."""
    before = tool.files
    inside = tool.type(tool.root, "init", "projects")
    assert (inside.returncode, "E-CONFIG" in inside.stderr) == (1, True)
    assert tool.files == before
    folder = tmp_path / "used"
    folder.mkdir()
    (folder / "README.md").write_text("ours")
    used = tool.type(tool.root, "init", str(folder))
    assert (used.returncode, "README.md already" in used.stderr) == (1, True)
    assert [file.name for file in folder.iterdir()] == ["README.md"]
    (folder / "README.md").rename(folder / "LICENSE")
    assert tool.type(tool.root, "init", str(folder)).returncode == 0
    assert (folder / "LICENSE").read_text() == "ours"


def released(tool: Tool, tag: str, news: str) -> None:
    """Release a version of the tool."""
    (tool.root / "CHANGELOG.md").write_text(f"# Changelog\n\n## [{tag}]\n\n- {news}\n")
    settings = tool.root / "cluster" / "config" / "settings.py"
    settings.write_text(re.sub(r"minio/minio:[v\d.-]*RELEASE", f"minio/minio:{tag}-RELEASE", settings.read_text()))
    launcher = tool.root / "template" / "invoke"
    launcher.write_text(f"{launcher.read_text()}# {tag}\n")
    tool.commit(tool.root)
    subprocess.run([*GIT, "tag", tag], cwd=tool.root, check=True)


def test_an_upgrade(tool: Tool, tmp_path: Path) -> None:
    """The newest release is fetched, what it changes is shown first, and one command goes back. Runs and states stay."""
    released(tool, "v0.1.0", "the first")
    project = tool.init(tmp_path / "pipelines")
    server = tmp_path / "server"
    tool.root.rename(server)
    tool.root = server
    named(project, git=str(server), version="v0.1.0")
    assert tool.type(project, "runs").returncode == 0
    released(tool, "v0.2.0", "a second thing")
    subprocess.run([*GIT, "tag", "v0.3.0rc1"], cwd=server, check=True)

    plan = tool.type(project, "upgrade", "--plan")
    assert plan.returncode == 0, plan.stderr
    assert "v0.1.0 → v0.2.0" in plan.stdout
    assert "- a second thing" in plan.stdout
    assert "minio: quay.io/minio/minio:v0.1.0-RELEASE" in plan.stdout
    assert "TOOL_VERSION=v0.1.0" in (project / "tool.env").read_text()
    assert tool.type(project, "upgrade").returncode == 1  # there is nobody to ask

    done = tool.type(project, "upgrade", "--yes")
    assert done.returncode == 0, done.stderr
    assert "TOOL_VERSION=v0.2.0\n" in (project / "tool.env").read_text()
    assert (project / "invoke").read_text().endswith("# v0.2.0\n")
    again = tool.type(project, "upgrade", "--yes")
    assert "v0.2.0 is the one that this project names" in again.stdout, again.stderr
    back = tool.type(project, "upgrade", "--back", "--yes")
    assert back.returncode == 0, back.stderr
    assert "TOOL_VERSION=v0.1.0\n" in (project / "tool.env").read_text()
    assert not (project / "invoke").read_text().endswith("# v0.2.0\n")
    branch = tool.type(project, "upgrade", "--to", "main", "--yes")
    assert branch.returncode == 0, branch.stderr
    head = subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=server, check=True, capture_output=True, text=True).stdout
    assert f"TOOL_VERSION={head}" in (project / "tool.env").read_text()
    reader = server / "cluster" / "project" / "reader.py"
    reader.write_text(reader.read_text().replace('"mode", ("streaming", "staged"), "streaming"', '"mode", ("staged",), "staged"'))
    tool.commit(server)
    with (project / "singer-configs" / "pipelines.yaml").open("a") as file:
        file.write("  mode: streaming\n")
    plan = tool.type(project, "upgrade", "--to", "main", "--plan")
    assert "does not read them: E-CONFIG" in plan.stdout, plan.stdout + plan.stderr


@pytest.mark.parametrize(
    ("words", "code", "hint"),
    [
        (["--to", "v99"], "E-UNKNOWN", "Name a tag, a branch or a commit"),
        ([], "E-UNKNOWN", "Name a tag, a branch or a commit"),
        (["--back"], "E-UNKNOWN", "Name one"),
        (["--to", "old", "--yes"], "E-LAYOUT", "Stay at this version"),
        (["--to", "first", "--yes"], "E-LAYOUT", "Stay at this version"),
    ],
    ids=["unknown", "no release", "no way back", "older than the data", "older than projects"],
)
def test_an_upgrade_that_cannot_be(tool: Tool, tmp_path: Path, words: list[str], code: str, hint: str) -> None:
    """The project stays as it is, and nothing half fetched is left."""
    template = tool.root / "template" / "invoke"
    template.rename(tmp_path / "template")
    tool.commit(tool.root)
    subprocess.run([*GIT, "tag", "first"], cwd=tool.root, check=True)
    (tmp_path / "template").rename(template)
    layouts = tool.root / "cluster" / "runs" / "format_version.py"
    text = layouts.read_text()
    layouts.write_text(text.replace('    3: "', '    # "'))
    old = tool.commit(tool.root)
    subprocess.run([*GIT, "tag", "old"], cwd=tool.root, check=True)
    layouts.write_text(text)
    tool.commit(tool.root)
    project = tool.init(tmp_path / "pipelines")
    version = (project / "tool.env").read_text().partition("TOOL_VERSION=")[2].strip()
    assert version != old
    server = tmp_path / "server"
    tool.root.rename(server)
    named(project, git=str(server), version=version)
    before = (project / "tool.env").read_bytes()
    assert tool.type(project, "runs").returncode == 0
    result = tool.type(project, "upgrade", *words)
    assert (result.returncode, result.stderr.split(maxsplit=1)[0]) == (1, code), result.stderr
    assert f"→ {hint}" in result.stderr
    assert (project / "tool.env").read_bytes() == before
    assert not list((project / ".local" / "tool").glob("*.part"))


def test_an_upgrade_of_a_checkout_that_this_machine_uses(tool: Tool, tmp_path: Path) -> None:
    """The command that the error prints can be typed, also where the checkout is in a folder with a space."""
    first = tool.commit(tool.root)
    spaced = tmp_path / "a tool"
    tool.root.rename(spaced)
    tool.root = spaced
    project = tool.init(tmp_path / "pipelines")
    (spaced / "LICENSE").write_text("")
    tool.commit(spaced)
    result = tool.type(project, "upgrade", "--to", first, "--yes")
    assert (result.returncode, result.stderr.split(maxsplit=1)[0]) == (1, "E-SETTING")
    printed = result.stderr.rpartition("→ ")[2].partition(", then")[0]
    subprocess.run(["sh", "-c", printed], cwd=project, check=True, capture_output=True)
    assert subprocess.run([*GIT, "rev-parse", "HEAD"], cwd=spaced, check=True, capture_output=True, text=True).stdout.strip() == first


def test_an_upgrade_in_the_tool_itself(tool: Tool) -> None:
    """The checkout of the tool is updated with git."""
    result = tool.type(tool.root, "upgrade")
    assert (result.returncode, "git pull" in result.stderr) == (1, True)
