"""Another version of the tool for a project: what it changes, then the change, and the way back."""

from __future__ import annotations

import ast
import re
import shutil
from typing import TYPE_CHECKING

from packaging.version import InvalidVersion, Version

from cluster.config.settings import IMAGES
from cluster.config.strict import describe, read_text
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_whole
from cluster.host.subprocesses import run
from cluster.runs import format_version
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cluster.session import Session

FILE = "tool.env"
REFRESHED = {"template/invoke": "invoke", "docs/schemas": "docs/schemas"}
"""Files of the tool that a project has copies of, and where."""
SHOWN = 30
"""How many lines of the changelog are printed; the whole is one command away."""
SECONDS = 300.0


def upgrade(session: Session, to: str, *, back: bool, plan: bool, yes: bool) -> None:
    """Change the version of the tool that a project names; without *to* it is the newest release.

    :raises SetupError: E-SETTING, this is no project, or the version cannot be changed here.
        E-UNKNOWN, there is no such version. E-LAYOUT, it is older than the data. E-NETWORK, git
        cannot reach the repository.
    """
    settings, output = session.settings, session.output
    if settings.root == settings.tool:
        problem = "This is the checkout of the tool; upgrade is for a project that names its tool."
        raise SetupError("E-SETTING", problem, hint="git pull updates it; docs/projects.md describes projects.")
    values = _read(settings.root / FILE)
    here = (settings.root / values["TOOL_PATH"]).resolve() == settings.tool if values["TOOL_PATH"] else False
    current = values["TOOL_VERSION"]
    if back:
        to = values["TOOL_BEFORE"]
        if not to:
            raise SetupError("E-UNKNOWN", f"{FILE} names no version before this one.", hint=f"Name one: {command('upgrade --to VERSION')}")
    folder, to = (settings.tool, _of_checkout(settings.tool, to)) if here else _fetched(session, values["TOOL_GIT"], to)
    if to == current:
        output.line("✓", "Tool", f"{to} is the one that this project names")
        return
    _check_layout(folder, to)
    for title, detail in _changes(settings.tool if not here else folder, folder, current, to):
        output.line("!", title, detail)
    output.event("tool", **{"from": current, "to": to, "plan": plan})
    if plan:
        output.text(f"Next: {command(f'upgrade --to {to}')}")
        return
    if not yes and not session.agrees(f"Use {to} from now on?", f"upgrade changes {FILE}, and the copies of the tool's files"):
        return
    for source, name in REFRESHED.items():
        _copy(folder / source, settings.root / name)
    text = read_text(settings.root / FILE, FILE)
    for key, value in (("TOOL_VERSION", to), ("TOOL_BEFORE", current)):
        line = f"{key}={value}\n"
        text = re.sub(rf"^{key}=.*\n?", line, text, flags=re.MULTILINE) if re.search(rf"^{key}=", text, re.MULTILINE) else text + line
    with write_whole(settings.root / FILE, text):
        pass
    output.line("✓", "Tool", f"{to}, before {current or 'none'}")
    output.text(f"Next: commit {FILE} · {command('up')} upgrades a platform · {command('upgrade --back')} undoes it")


def _read(file: Path) -> dict[str, str]:
    """Return the values of ``tool.env``, empty where it has none."""
    keys = ("TOOL_PATH", "TOOL_GIT", "TOOL_VERSION", "TOOL_BEFORE")
    lines = dict(line.partition("=")[::2] for line in read_text(file, FILE).splitlines() if not line.startswith("#"))
    return {key: lines.get(key, "").strip() for key in keys}


def _of_checkout(tool: Path, to: str) -> str:
    """Return the version of the checkout that ``TOOL_PATH`` names.

    :raises SetupError: E-SETTING, it is not at the version *to*.
    """
    version = _git(tool, "describe", "--tags", "--exact-match") or _git(tool, "rev-parse", "HEAD")
    if to and to not in {version, _git(tool, "rev-parse", "HEAD"), _git(tool, "rev-parse", "--abbrev-ref", "HEAD")}:
        raise SetupError(
            "E-SETTING",
            f"This machine uses the checkout at TOOL_PATH, {tool}, which is at {version or 'no commit'}.",
            hint=f"git -C {tool} checkout {to}, then {command('upgrade')} writes that version into {FILE}.",
        )
    if not version:
        raise SetupError("E-SETTING", f"The tool at TOOL_PATH, {tool}, has no commit to name.", hint=f"Write TOOL_GIT into {FILE}.")
    return version


def _fetched(session: Session, git: str, to: str) -> tuple[Path, str]:
    """Return the folder of a version, and its name; it is fetched if it is not there.

    :raises SetupError: E-SETTING, there is no repository; E-UNKNOWN; E-NETWORK.
    """
    if not git:
        raise SetupError("E-SETTING", f"{FILE} names no repository to fetch from.", hint=f"Write TOOL_GIT into {FILE}.")
    version = to or _newest(git)
    tools = session.settings.local / "tool"
    folder = tools / re.sub(r"[^A-Za-z0-9._-]", "-", version)
    if not (folder / "tasks.py").is_file():
        with session.output.step("Tool") as step, file_errors("The tool", tools):
            part = private_folder(tools) / f"{folder.name}.part"
            shutil.rmtree(part, ignore_errors=True)
            try:
                _must(run(["git", "clone", "--quiet", "--no-checkout", git, str(part)], environ=_SILENT, seconds=SECONDS).stderr, part, git)
                if not _git(part, "checkout", "--quiet", "--detach", version, succeeded="yes"):
                    problem = f"{git} has no version {describe(version)}."
                    raise SetupError("E-UNKNOWN", problem, hint=f"Name a tag or a commit: {command('upgrade --to VERSION')}")
                part.rename(folder)
            finally:
                shutil.rmtree(part, ignore_errors=True)
            step.result(f"{version} fetched")
    return folder, version


_SILENT = {"GIT_TERMINAL_PROMPT": "0"}


def _must(stderr: str, made: Path, git: str) -> None:
    if not (made / ".git").is_dir():
        reason = stderr.strip().splitlines()[-1] if stderr.strip() else "git gave no reason"
        raise SetupError("E-NETWORK", f"{git} cannot be fetched: {reason}", hint=f"Connect to the network, or correct TOOL_GIT in {FILE}.")


def _newest(git: str) -> str:
    """Return the tag of the newest release.

    :raises SetupError: E-NETWORK; E-UNKNOWN, there is no release.
    """
    done = run(["git", "ls-remote", "--tags", "--refs", git], environ=_SILENT, seconds=60)
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or ["git gave no reason"])[-1]
        raise SetupError("E-NETWORK", f"{git} cannot be read: {reason}", hint=f"Connect to the network, or correct TOOL_GIT in {FILE}.")
    releases: list[tuple[Version, str]] = []
    for tag in re.findall(r"refs/tags/(\S+)$", done.stdout, re.MULTILINE):
        try:
            version = Version(tag)
        except InvalidVersion:
            continue
        if not version.is_prerelease:
            releases.append((version, tag))
    if not releases:
        hint = f"Name a tag, a branch or a commit: {command('upgrade --to main')}"
        raise SetupError("E-UNKNOWN", f"{git} has no release yet.", hint=hint)
    return max(releases)[1]


def _check_layout(folder: Path, to: str) -> None:
    """Check that a version knows the layout of data that this version may have written.

    :raises SetupError: E-LAYOUT, it does not.
    """
    layout = _layout(folder)
    if layout < format_version.LAYOUT:
        raise SetupError(
            "E-LAYOUT",
            f"{to} knows layout {layout} of platforms and buckets, and this version writes {format_version.LAYOUT}. Nothing was changed.",
            hint=f"Stay at this version, or name one that knows it: {command('upgrade --to VERSION')}",
        )


def _layout(folder: Path) -> int:
    """Return the newest layout that the tool in *folder* knows."""
    text = _text(folder, "cluster/runs/format_version.py")
    return max((int(number) for number in re.findall(r"^    (\d+): \"", text, re.MULTILINE)), default=1)


def _changes(old: Path, new: Path, current: str, to: str) -> Iterator[tuple[str, str]]:
    """Return what another version changes, as titles and details."""
    yield "Tool", f"{current or 'none'} → {to} ({_number(old)} → {_number(new)})"
    ours, theirs = (IMAGES if old == new else _images(old)), _images(new)
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            yield "Image", f"{name}: {ours.get(name, 'none')} → {theirs.get(name, 'none')}"
    if _layout(new) > _layout(old):
        yield "Layout", f"{_layout(old)} → {_layout(new)}: then there is no way back once it has written data"
    if _files(old / "manifests") != _files(new / "manifests"):
        yield "Manifests", "other objects; `up --plan` shows which of a platform change"
    before = set(_text(old, "CHANGELOG.md").splitlines())
    lines = [line for line in _text(new, "CHANGELOG.md").splitlines() if line.strip() and line not in before]
    for line in lines[:SHOWN]:
        yield "Changelog", line
    if len(lines) > SHOWN:
        yield "Changelog", f"{len(lines) - SHOWN} more lines: {new / 'CHANGELOG.md'}"


def _images(tool: Path) -> dict[str, str]:
    """Return the images that the tool in a folder pins."""
    for node in ast.parse(_text(tool, "cluster/config/settings.py")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id == "IMAGES":
            return dict(ast.literal_eval(node.value))
    return {}


def _number(tool: Path) -> str:
    """Return the version number of the tool in a folder."""
    match = re.search(r'^__version__ = "(.+)"$', _text(tool, "cluster/__init__.py"), re.MULTILINE)
    return match[1] if match else "no number"


def _text(tool: Path, name: str) -> str:
    file = tool / name
    return file.read_text(encoding="utf-8") if file.is_file() else ""


def _files(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*.yaml")}


def _copy(source: Path, target: Path) -> None:
    """Replace the project's copy of a file or folder; one that the version lacks stays."""
    with file_errors("The project", target):
        if source.is_dir():
            shutil.copytree(source, target, dirs_exist_ok=True)
        elif source.is_file():
            part = target.with_name(f".{target.name}.part")
            shutil.copy(source, part)
            part.replace(target)


def _git(folder: Path, *words: str, succeeded: str = "") -> str:
    """Return what git prints in a folder, or *succeeded*; nothing if it fails."""
    done = run(["git", "-C", str(folder), *words], environ=_SILENT, seconds=60)
    return (succeeded or done.stdout.strip()) if done.returncode == 0 else ""
