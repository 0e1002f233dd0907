"""A project apart from the tool: the repository of a team, in which every command works."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import TOOL
from cluster.errors import SetupError
from cluster.host.files import file_errors
from cluster.project.tool import FILE, around, git, is_local, origin, version
from cluster.ui.format import shown

if TYPE_CHECKING:
    from cluster.session import Session

TEMPLATE = {
    "invoke": "invoke",
    "README.md": "README.md",
    "gitattributes": ".gitattributes",
    "gitignore": ".gitignore",
    "env.example": ".env.example",
    "workflow.yml": ".github/workflows/pipelines.yml",
    "devcontainer.json": ".devcontainer/devcontainer.json",
    "vscode.json": ".vscode/settings.json",
    "pipelines.yaml": "singer-configs/pipelines.yaml",
}
"""The files of ``template/``, and where they are in a project."""
COPIED = ("singer-configs/tap-exchange-rates", "singer-configs/target-csv", "singer-containers/tap-exchange-rates", "docs/schemas")
"""Folders of the tool that a project starts with: the example, and the schemas for editors."""
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.egg-info", "build", ".venv")


def init(session: Session, folder: str) -> None:
    """Write a project into *folder*, which may have other files.

    :raises SetupError: E-EXISTS, it has some of the project's files; E-CONFIG, it is inside the
        tool's checkout; E-DISK, it cannot be written.
    """
    root, output = Path(folder).expanduser().resolve(), session.output
    if root.is_relative_to(TOOL):
        raise SetupError(
            "E-CONFIG", f"{folder or root} is inside the checkout of the tool.", hint="Name a folder beside it, such as ../pipelines."
        )
    there = [name for name in (*TEMPLATE.values(), *COPIED, FILE) if os.path.lexists(root / name)]
    if there:
        raise SetupError("E-EXISTS", f"{folder} has {there[0]} already.", hint="Name another folder, or one without it.")
    with output.step("Project") as step, file_errors("The project", root):
        root.mkdir(parents=True, exist_ok=True)
        for source, name in TEMPLATE.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(TOOL / "template" / source, file)
        for name in COPIED:
            shutil.copytree(TOOL / name, root / name, ignore=LEFT_OUT)
        (root / FILE).write_text(_tool(root), encoding="utf-8")
        step.result(shown(root))
    outer = around(root)
    if outer:
        output.line("!", shown(root), f"is inside the project {outer}: a command uses the project whose ./invoke you type")
    problem = unreachable(TOOL)
    if problem:
        output.line("!", FILE, problem)
    output.text(f"Next: cd {shlex.quote(shown(root))} && ./invoke demo · git init && git add --all && git commit to share it")


def _tool(root: Path) -> str:
    """Return ``tool.env``: the path of the tool, and the version to fetch where that is absent."""
    return (
        "# The tool that runs this project: the checkout at TOOL_PATH, absolute or seen from here. Where\n"
        "# there is none: TOOL_VERSION, a tag or a commit, of the git repository TOOL_GIT.\n"
        f"TOOL_PATH={os.path.relpath(TOOL, root)}\nTOOL_GIT={origin(TOOL)}\nTOOL_VERSION={version(TOOL)}\n"
    )


def unreachable(tool: Path) -> str:
    """Return why others cannot fetch the version that ``tool.env`` names, and what to do."""
    address = origin(tool)
    if not address:
        return "the tool has no git repository that others reach: write TOOL_GIT before you share the project"
    if is_local(address):
        return f"TOOL_GIT is {address}, which only this machine reaches: write the repository's address before you share the project"
    if git(tool, "status", "--porcelain"):
        return "the tool has changes that are not committed, and that TOOL_VERSION lacks"
    if not git(tool, "branch", "--remotes", "--contains", "HEAD"):
        return "the tool's commit is not pushed yet, so nobody else can fetch TOOL_VERSION"
    return ""
