"""Another version of the tool for a project: what it changes, then the change, and the way back."""

from __future__ import annotations

import ast
import re
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import IMAGES
from cluster.config.strict import describe, read_text
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_whole
from cluster.host.subprocesses import find, run
from cluster.project.tool import FILE, SILENT, git, newest, read
from cluster.project.tool import version as version_of
from cluster.runs import format_version
from cluster.ui.command_line import command
from cluster.ui.format import typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.session import Session

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
    values = read(settings.root / FILE)
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
    _check_version(folder, to)
    for mark, title, detail in _changes(settings.tool, folder, current, to):
        output.line(mark, title, detail)
    wrong = "" if here else _files_checked(folder, settings.root)
    if wrong:
        output.line("!", "Files", f"{to} does not read them: {wrong}")
    output.event("tool", **{"from": current, "to": to, "plan": plan})
    if plan:
        output.text(f"Next: {command(f'upgrade --to {to}')}")
        return
    if not yes and not session.agrees(f"Use {to} from now on?", f"upgrade changes {FILE}, and the copies of the tool's files"):
        return
    _write(settings.root, folder, to, current)
    output.line("✓", "Tool", f"{to}, before {current or 'none'}")
    output.text(f"Next: commit {FILE} · {command('up')} upgrades a platform · {command('upgrade --back')} undoes it")


def _write(project: Path, tool: Path, to: str, before: str) -> None:
    """Name another version in a project, and replace its copies of the tool's files."""
    for source, name in REFRESHED.items():
        _copy(tool / source, project / name)
    text = read_text(project / FILE, FILE)
    for key, value in (("TOOL_VERSION", to), ("TOOL_BEFORE", before)):
        line = f"{key}={value}\n"
        text = re.sub(rf"^{key}=.*\n?", line, text, flags=re.MULTILINE) if re.search(rf"^{key}=", text, re.MULTILINE) else text + line
    with write_whole(project / FILE, text):
        pass


def _of_checkout(tool: Path, to: str) -> str:
    """Return the version of the checkout that ``TOOL_PATH`` names.

    :raises SetupError: E-SETTING, it is not at the version *to*; E-PROGRAM, there is no git.
    """
    find("git")
    version = version_of(tool)
    if to and to not in {version, git(tool, "rev-parse", "HEAD"), git(tool, "rev-parse", "--abbrev-ref", "HEAD")}:
        raise SetupError(
            "E-SETTING",
            f"This machine uses the checkout at TOOL_PATH, {tool}, which is at {version or 'no commit'}.",
            hint=f"git -C {typed(tool)} checkout {to}, then {command('upgrade')} writes that version into {FILE}.",
        )
    if not version:
        raise SetupError("E-SETTING", f"The tool at TOOL_PATH, {tool}, has no commit to name.", hint=f"Write TOOL_GIT into {FILE}.")
    return version


def _fetched(session: Session, address: str, to: str) -> tuple[Path, str]:
    """Return the folder of a version, and its name: a tag, else the commit, which never moves.

    It is fetched if it is not there.

    :raises SetupError: E-SETTING, there is no repository; E-UNKNOWN; E-NETWORK.
    """
    if not address:
        raise SetupError("E-SETTING", f"{FILE} names no repository to fetch from.", hint=f"Write TOOL_GIT into {FILE}.")
    to = to or _newest(address)
    tools = session.settings.local / "tool"
    if (_folder(tools, to) / "tasks.py").is_file():
        return _folder(tools, to), to
    with (
        session.output.step("Tool") as step,
        file_errors("The tool", tools),
        tempfile.TemporaryDirectory(dir=private_folder(tools)) as work,
    ):
        part = Path(work) / "tool"
        done = run(["git", "clone", "--quiet", "--no-checkout", address, str(part)], environ=SILENT, seconds=SECONDS)
        if done.returncode:
            raise _unreachable(address, "fetched", done.stderr)
        tag = git(part, "rev-parse", "--verify", "--quiet", f"refs/tags/{to}^{{commit}}")
        commit = (
            tag or git(part, "rev-parse", "--verify", "--quiet", f"origin/{to}^{{commit}}") or git(part, "rev-parse", f"{to}^{{commit}}")
        )
        if not commit or git(part, "checkout", "--quiet", "--detach", commit) is None:
            hint = f"Name a tag, a branch or a commit: {command('upgrade --to VERSION')}"
            raise SetupError("E-UNKNOWN", f"{address} has no version {describe(to)}.", hint=hint)
        version = to if tag else commit
        if not _folder(tools, version).exists():
            part.rename(_folder(tools, version))
        step.result(f"{version} fetched")
    return _folder(tools, version), version


def _folder(tools: Path, version: str) -> Path:
    """Return where a version is, as the launcher of a project names it."""
    return tools / re.sub(r"[^A-Za-z0-9._-]", "-", version)


def _unreachable(git: str, what: str, stderr: str) -> SetupError:
    """Return the error for a repository that git cannot read."""
    lines = [line.removeprefix("fatal: ") for line in stderr.splitlines() if line.startswith("fatal: ")]
    reason = (lines or stderr.strip().splitlines() or ["git gave no reason"])[0].rstrip(".")
    return SetupError("E-NETWORK", f"{git} cannot be {what}: {reason}.", hint=f"Connect to the network, or correct TOOL_GIT in {FILE}.")


def _newest(git: str) -> str:
    """Return the tag of the newest release.

    :raises SetupError: E-NETWORK; E-UNKNOWN, there is no release.
    """
    try:
        tag = newest(git)
    except ValueError as error:
        raise _unreachable(git, "read", str(error)) from None
    if not tag:
        hint = f"Name a tag, a branch or a commit: {command('upgrade --to main')}"
        raise SetupError("E-UNKNOWN", f"{git} has no release yet.", hint=hint)
    return tag


def _check_version(folder: Path, to: str) -> None:
    """Check that a version knows projects, and the layout of the data that is there.

    :raises SetupError: E-LAYOUT, it does not.
    """
    layout = _layout(folder)
    hint = f"Stay at this version, or name a newer one: {command('upgrade --to VERSION')}"
    if not (folder / "template" / "invoke").is_file():
        raise SetupError("E-LAYOUT", f"{to} is too old to run a project, so there would be no way back. Nothing was changed.", hint=hint)
    if layout < format_version.LAYOUT:
        problem = (
            f"{to} knows layout {layout} of platforms and buckets, and this version writes {format_version.LAYOUT}. Nothing was changed."
        )
        raise SetupError("E-LAYOUT", problem, hint=hint)


def _files_checked(folder: Path, root: Path) -> str:
    """Return what another version finds wrong in the project's files; nothing if it reads them."""
    environ = {"SINGER_PROJECT": str(root)}
    done = run([sys.executable, str(folder / "tasks.py"), "check", "all"], environ=environ, seconds=60)
    return done.stderr.strip().splitlines()[0] if done.returncode == 1 and done.stderr.strip() else ""


def _layout(folder: Path) -> int:
    """Return the newest layout that the tool in *folder* knows."""
    text = _text(folder, "cluster/runs/format_version.py")
    return max((int(number) for number in re.findall(r"^    (\d+): \"", text, re.MULTILINE)), default=1)


def _changes(old: Path, new: Path, current: str, to: str) -> Iterator[tuple[str, str, str]]:
    """Return what another version changes, as marks, titles and details."""
    yield "!", "Tool", f"{current or 'none'} → {to} ({_number(old)} → {_number(new)})"
    ours, theirs = (IMAGES if old == new else _images(old)), _images(new)
    for name in sorted({*ours, *theirs}):
        if ours.get(name) != theirs.get(name):
            yield "!", "Image", f"{name}: {ours.get(name, 'none')} → {theirs.get(name, 'none')}"
    if _layout(new) > _layout(old):
        yield "!", "Layout", f"{_layout(old)} → {_layout(new)}: then there is no way back once it has written data"
    if _files(old / "manifests") != _files(new / "manifests"):
        yield "!", "Manifests", "other objects; `up --plan` shows which of a platform change"
    before = set(_text(old, "CHANGELOG.md").splitlines())
    lines = [line for line in _text(new, "CHANGELOG.md").splitlines() if line.strip() and line not in before]
    for number, line in enumerate(lines[:SHOWN]):
        yield " ", "" if number else "Changelog", line
    if len(lines) > SHOWN:
        yield " ", "", f"{len(lines) - SHOWN} more lines: {new / 'CHANGELOG.md'}"


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
