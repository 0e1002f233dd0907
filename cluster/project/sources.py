"""What an image installs of a connector: the lock, the packages that no index has, its own code.

Commits, wheels and folders of this machine are fetched here, with the user's own logins, and copied
into the build context. So the builder needs neither git nor a secret. The code of a folder is
packaged here too: an edit changes one small layer of the image.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.host.locks import exclusive
from cluster.host.subprocesses import find, last_line
from cluster.project.uv_messages import LOGIN, NETWORK, without_login
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.config.settings import Settings
    from cluster.project.model import Connector

IN_IMAGE = "/build/sources"
"""Where the Dockerfile copies the folder of ``write``."""
SECONDS = 600
"""The timeout of each command of git."""
GIT = re.compile(r"(?P<name>[\w.-]+)\S* @ git\+(?P<url>\S+)@(?P<commit>[0-9a-f]{40,64})(?:#(?P<fragment>[^\s;]+))?(?P<marker> ;.*)?")
"""A line of the lock for a commit."""
FILE = re.compile(r"(?:[\w.-]+\S* @ file://)?(?P<path>\.{0,2}/[^;\n]+?)(?P<marker> ;.*?)?(?: \\(?:\n .*)*)?")
"""Lines of the lock for a wheel or a folder of this machine."""
VARIABLES = {"GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_PREFIX"}
"""Variables of a hook of git that would lead to the user's own repository."""
LEFT_BY_TOOLS = ("__pycache__", "*.pyc", "*.egg-info", ".git", ".local", ".venv", ".*_cache")
LEFT_BY_BUILDS = ("build", "dist", "output")
"""Names that are not copied into the build context."""


@dataclass(frozen=True)
class Commit:
    """A requirement that is a commit of a git repository."""

    name: str
    url: str
    commit: str
    subdirectory: str

    @property
    def key(self) -> str:
        """Its name in the cache."""
        return "-".join([self.name, self.commit, *filter(None, [re.sub(r"[^\w.-]", "-", self.subdirectory)])])


def split(lock: str) -> tuple[str, list[tuple[Commit | Path, str]]]:
    """Split a lock into the packages with hashes, and commits and paths, each with its marker."""
    hashed: list[str] = []
    others: list[tuple[Commit | Path, str]] = []
    for block in re.split(r"\n(?=\S)", lock):
        git, file = GIT.fullmatch(block.strip()), FILE.fullmatch(block.strip())
        if git:
            subdirectory = re.search(r"subdirectory=([^&]+)", git["fragment"] or "")
            commit = Commit(git["name"], git["url"], git["commit"], subdirectory[1] if subdirectory else "")
            others.append((commit, git["marker"] or ""))
        elif file:
            others.append((Path(file["path"]), file["marker"] or ""))
        elif not block.startswith("#"):  # a comment may have an address with a password
            hashed.append(block)
    return "\n".join(hashed).rstrip("\n") + "\n", others


def write(connector: Connector, settings: Settings, folder: Path, say: Callable[[str], None]) -> None:
    """Write what the image installs into *folder*.

    ``locked`` has two files of requirements, and what they name: ``requirements.lock`` for what has
    hashes, ``sources.txt`` for the rest. ``build-constraints.txt`` limits what builds them. ``own``
    has the wheels of the connector's folders. A folder that is no wheel for all machines is in
    ``sources.txt``.

    :raises SetupError: E-NETWORK, E-INSTALL, E-PROGRAM, a commit cannot be had; E-DISK, E-STORE.
    """
    hashed, others = split(connector.lock.read_text(encoding="utf-8"))
    paths = [
        (packaged(item, connector, settings, say) if isinstance(item, Commit) else settings.root / item, rest) for item, rest in others
    ]
    lines = []
    with file_errors("The build context", folder):
        shutil.rmtree(folder, ignore_errors=True)
        locked, own = folder / "locked", folder / "own"
        for part in (private_folder(folder), locked, own):
            part.mkdir(mode=0o755, exist_ok=True)
        paths += [(project, "") for project in connector.projects if not own_wheel(project, connector, settings, own, say)]
        for number, (path, marker) in enumerate(paths):
            copy = locked / str(number) / path.resolve().name
            if path.is_dir():
                shutil.copytree(path, copy, ignore=partial(_left_out, path))
            else:
                copy.parent.mkdir()
                shutil.copyfile(path, copy)
            lines.append(f"{IN_IMAGE}/{copy.relative_to(locked).as_posix()}{marker}\n")
        (locked / "requirements.lock").write_text(hashed, encoding="utf-8")
        (locked / "sources.txt").write_text("".join(lines), encoding="utf-8")
        if connector.build_constraints:
            (locked / "build-constraints.txt").write_text("\n".join(connector.build_constraints), encoding="utf-8")


def own_wheel(project: Path, connector: Connector, settings: Settings, folder: Path, say: Callable[[str], None]) -> bool:
    """Write the wheel of a connector's folder, if it is one for all machines.

    It is built from a copy without what earlier builds left, such as modules that are deleted.
    """
    say(f"packaging {project.name}")
    with tempfile.TemporaryDirectory(prefix=".", dir=folder.parent) as work:
        copy = Path(work) / project.name
        shutil.copytree(project, copy, ignore=partial(_left_out, project))
        wheel = _wheel(copy, connector, Environments(settings), Path(work) / "wheel")
        if wheel:
            wheel.rename(folder / wheel.name)
    return wheel is not None


def _left_out(source: Path, folder: str, names: list[str]) -> set[str]:
    """Return the names in *folder* to leave out. Those of builds count only in *source*."""
    patterns = LEFT_BY_TOOLS + LEFT_BY_BUILDS * (Path(folder) == source)
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def packaged(commit: Commit, connector: Connector, settings: Settings, say: Callable[[str], None]) -> Path:
    """Return a commit as a package: from the cache, else fetched and packaged now.

    :raises SetupError: E-NETWORK, E-INSTALL, E-PROGRAM, E-DISK, E-STORE.
    """
    cache = settings.local / "cache" / "sources"
    kept = cache / commit.key
    with file_errors("The cache of sources", cache):
        private_folder(cache)
        with exclusive(cache / f"{commit.key}.lock"):
            if not kept.is_dir():
                with tempfile.TemporaryDirectory(prefix=".", dir=cache) as work:
                    environments = Environments(settings)
                    say(f"fetching {without_login(commit.url)}")
                    _fetch(commit, connector, environments, Path(work) / "source")
                    say(f"packaging {commit.name}")
                    _package(commit, connector, environments, Path(work)).rename(kept)
    return next(kept.iterdir())


def _fetch(commit: Commit, connector: Connector, environments: Environments, folder: Path) -> None:
    """Check out a commit with its submodules, and with the tags that name its version."""
    _git(["clone", "--filter=blob:none", "--no-checkout", "--", commit.url, str(folder)], commit, connector, environments)
    inside = ["-C", str(folder)]
    _git([*inside, "fetch", "--no-tags", "origin", commit.commit], commit, connector, environments)
    _git([*inside, "checkout", "--detach", commit.commit], commit, connector, environments)
    _git([*inside, "submodule", "update", "--init", "--recursive"], commit, connector, environments)


def _git(arguments: list[str], commit: Commit, connector: Connector, environments: Environments) -> None:
    """Run git, which asks no question.

    :raises SetupError: E-NETWORK, the server is away or asks for a login; E-INSTALL, it lacks the
        commit, or anything else.
    """
    environ = {name: value for name, value in environments.environ().items() if name not in VARIABLES}
    environ.update({"GIT_LFS_SKIP_SMUDGE": "1", "LC_ALL": "C"})  # as uv does; known words
    command = [find("git"), *arguments]
    try:
        result = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", check=False, env=environ, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        result = subprocess.CompletedProcess(command, 1, "", "timed out")
    if result.returncode:
        raise _refusal(result.stderr, arguments, commit, connector, environments)


def _refusal(stderr: str, arguments: list[str], commit: Commit, connector: Connector, environments: Environments) -> SetupError:
    """Return the error for what git printed, which is kept in a log."""
    text, url = without_login(environments.network.hide(stderr)), without_login(commit.url)
    log = environments.log(connector, f"git {without_login(' '.join(arguments))}\n{text}")
    refused = environments.network.refusal(f"{commit.name} cannot be fetched", text, log)
    if refused:
        return refused
    if LOGIN.search(text):
        return SetupError(
            "E-NETWORK",
            f"{commit.name} cannot be fetched: {url} asks for a login.",
            hint=f"Log in with git once, such as: git ls-remote {url}. Log: {log}",
        )
    if NETWORK.search(text):
        return SetupError(
            "E-NETWORK",
            f"{commit.name} cannot be fetched: {url} cannot be reached.",
            hint=f"Connect to the network; behind a company's proxy set singer.proxy. Log: {log}",
        )
    if "fetch" in arguments:
        return SetupError(
            "E-INSTALL",
            f"{commit.name} cannot be fetched: {url} does not have the commit {commit.commit[:12]} any more.",
            hint=f"Remove {environments.shown(connector.lock)}: the next run locks a commit that exists. Log: {log}",
        )
    cause = re.search(r"^fatal: (.+)$", text, re.MULTILINE)
    return SetupError(
        "E-INSTALL",
        f"{commit.name} cannot be fetched from {url}: {last_line(cause[1] if cause else text)}",
        hint=f'Correct "pip_url" in singer-configs/{connector.name}/connector.yaml. Log: {log}',
    )


def _package(commit: Commit, connector: Connector, environments: Environments, work: Path) -> Path:
    """Return a folder with one package: a wheel for all machines, else an sdist.

    The local engine builds the same wheel. An sdist may lack files that its build needs, so it is
    for packages that have to be compiled.
    """
    source = (work / "source" / commit.subdirectory).resolve()
    if not source.is_relative_to((work / "source").resolve()) or not source.is_dir():
        raise SetupError(
            "E-INSTALL",
            f"{commit.name} cannot be packaged: {without_login(commit.url)} has no folder {commit.subdirectory}.",
            hint=f'Correct "pip_url" in singer-configs/{connector.name}/connector.yaml.',
        )
    package = _wheel(source, connector, environments, work / "wheel")
    if package is None:
        build = _build(connector, environments)
        environments.uv(connector, [*build, "--sdist", "--out-dir", str(work / "sdist"), str(source)])
        [package] = (work / "sdist").glob("*.tar.gz")
    (work / "package").mkdir()
    package.rename(work / "package" / package.name)
    return work / "package"


def _wheel(source: Path, connector: Connector, environments: Environments, folder: Path) -> Path | None:
    """Build a wheel into *folder*. Return None if it is not for all machines."""
    environments.run([*_build(connector, environments), "--wheel", "--out-dir", str(folder), str(source)])
    return next(folder.glob("*-none-any.whl"), None)


def _build(connector: Connector, environments: Environments) -> list[str]:
    """Return uv's command that builds a package."""
    python: Path | str = sys.executable
    with suppress(SetupError):  # a wheel for all machines can be built by any Python
        python = environments.python(connector)
    return ["build", "--quiet", "--no-python-downloads", "--python", str(python), *environments.for_builds(connector)]
