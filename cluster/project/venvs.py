"""The connectors' venvs: one for each connector, made by uv from a lock, shared by all runs.

``connector.yaml`` names the requirements. ``requirements.lock`` beside it holds their resolution
with hashes; the local venv and the image are both made from it.

The name of a venv has a hash of the lock, the Python and the connector's project folders: an edit
makes a new venv.
"""

from __future__ import annotations

import ast
import hashlib
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.strict import listed
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private
from cluster.host.locks import exclusive
from cluster.net import proxy
from cluster.project import debian
from cluster.project.model import PROJECT_FILES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import PurePath

    from cluster.config.settings import Settings
    from cluster.project.model import Connector
    from cluster.ui.output import Output

READY = ".ready"
FINDING = threading.Lock()
"""uv reads variables of ``sysconfig``. Before Python 3.12, two threads that fill these together may
find some missing (python/cpython#92452)."""
OPTION = re.compile(r"^(?!\s*#).*?(?<!\S)(--?(?!hash=|-hash=)[A-Za-z][\w-]*)", re.MULTILINE)
"""An option of pip in a lock. A lock must not choose the package index: that is a setting of the
machine."""
KEY = "# For: "
LEAST_PYTHON = "3.11"
"""The lock of a connector without ``python`` holds for this version and all later ones."""

IGNORED = {"__pycache__", ".venv", "dist", "build", "tests", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
IGNORED_SUFFIXES = {".egg-info", ".dist-info"}
"""Folders in a connector's project that make no difference: what builds and tests leave behind."""

NETWORK = re.compile(
    r"error sending request|dns error|failed to lookup|connection refused|network unreachable|tcp connect|timed out|"
    r"client error \(Connect\)|request failed after \d+ retr|network was disabled|couldn't connect to server|could not resolve host",
    re.IGNORECASE,
)


LOGIN = re.compile(
    r"could not read (?:Username|Password)|terminal prompts disabled|Authentication failed for|Permission denied \(publickey|"
    r"Host key verification failed",
    re.IGNORECASE,
)
"""What git and SSH print if a server asks for a login that they do not have."""

NO_QUESTIONS = {"GIT_TERMINAL_PROMPT": "0", "GCM_INTERACTIVE": "never", "SSH_ASKPASS": "false", "SSH_ASKPASS_REQUIRE": "force"}
"""Git and SSH fail instead of asking. Credential helpers and the SSH agent still work."""


@dataclass(frozen=True)
class Environment:
    """A finished venv: its folder, the connector's program in it, and the connector's version."""

    folder: Path
    executable: Path
    version: str
    made: bool
    """Whether this command made it."""


class Environments:
    """Makes the venvs of a checkout, in ``.local/environments``."""

    def __init__(self, settings: Settings) -> None:
        """Take the checkout's settings; no venv is made yet."""
        self.settings = settings
        self.folder = settings.local / "environments"
        self.logs = settings.local / "logs" / "environments"
        self.network = proxy.read(settings, os.environ)

    def ensure(self, connectors: Sequence[Connector], output: Output) -> list[Environment]:
        """Return a venv for each connector, in order. Missing ones are made in parallel.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-EXECUTABLE, E-DISK.
        """
        missing = [connector for connector in connectors if self.find(connector) is None]
        if not missing:
            return [environment for connector in connectors if (environment := self.find(connector))]
        title = f"{', '.join(connector.name for connector in missing)}"
        with output.step(title) as step:
            step.detail = "installing"
            step.timed = True
            with ThreadPoolExecutor(max_workers=len(missing)) as pool:
                made = dict(zip((connector.name for connector in missing), pool.map(self._make, missing), strict=True))
            new = sum(environment.made for environment in made.values())
            step.result(f"environment{'s' * (new > 1)} installed" if new else "ready")
        return [made.get(connector.name) or self._make(connector) for connector in connectors]

    def install(self, connector: Connector, output: Output) -> tuple[Path, bool]:
        """Return the folder of the connector's venv, and whether this call made it.

        The program in it is not checked.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-DISK.
        """
        with output.step(connector.name) as step:
            step.detail = "installing"
            step.timed = True
            folder, made = self._installed(connector)
            step.result("environment installed" if made else "environment reused")
        return folder, made

    def find(self, connector: Connector) -> Environment | None:
        """Return the connector's venv if it exists and is up to date. Reads only."""
        if not self._locked(connector):
            return None
        folder = self._folder_of(connector)
        executable = folder / "bin" / connector.executable
        if (folder / READY).exists() and executable.exists():
            return Environment(folder, executable, version(connector), made=False)
        return None

    # -- the lock

    def _asked(self, connector: Connector) -> str:
        """Return the lock's first line: Python, requirements and a hash of the projects."""
        projects = [os.path.relpath(folder, self.settings.root) for folder in connector.projects]
        digest = hashlib.sha256()
        for folder in connector.projects:
            for name in (*PROJECT_FILES, "setup.cfg"):
                digest.update((folder / name).read_bytes() if (folder / name).is_file() else b"")
        suffix = f" {digest.hexdigest()[:12]}" if projects else ""
        python = connector.python or f"{LEAST_PYTHON}+"
        before = f", uploaded before {connector.exclude_newer}" if connector.exclude_newer else ""
        return f"python {python}{before}, {' '.join([*connector.requirements, *projects])}{suffix}"

    def _locked(self, connector: Connector) -> bool:
        """Return whether the lock exists and belongs to the connector's present requirements.

        :raises SetupError: E-INSTALL, it has an option of pip, such as another index.
        """
        try:
            text = connector.lock.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        if text.partition("\n")[0] != KEY + self._asked(connector):
            return False
        option = OPTION.search(text)
        if option:
            shown = self.shown(connector.lock)
            raise SetupError(
                "E-INSTALL",
                f"{shown} has the option {option[1]}, which this tool never writes.",
                hint=f"Restore {shown}, or remove it: the next run writes it again.",
            )
        return True

    def ensure_lock(self, connector: Connector) -> None:
        """Write the connector's lock, unless it exists and is up to date."""
        private_folder(self.folder)
        with exclusive(self.folder / f"{connector.name}.lock"):  # a run may be writing it
            if not self._locked(connector):
                self.lock(connector)

    def lock(self, connector: Connector) -> None:
        """Resolve the connector's requirements into its ``requirements.lock``.

        :raises SetupError: E-INSTALL, E-NETWORK, E-PYTHON.
        """
        part = self.folder / f"{connector.name}.lock.part"
        part.unlink(missing_ok=True)
        sources = _manifests(connector)
        arguments = ["pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
        arguments += ["--python", str(self.python(connector)), "--python-version", connector.python or LEAST_PYTHON]
        arguments += ["--exclude-newer", connector.exclude_newer] if connector.exclude_newer else []
        arguments += ["--output-file", str(part), *sources, *(["-"] if connector.requirements else [])]
        self.uv(connector, arguments, "\n".join(connector.requirements))
        with file_errors("The lock", connector.lock):
            text = part.read_text(encoding="utf-8")
            part.write_text(
                f"{KEY}{self._asked(connector)}\n# Written by the tool whenever that line changes; commit it.\n{text}", encoding="utf-8"
            )
            shutil.move(part, connector.lock)

    def resolves(self, connector: Connector, python: str, wheels: Sequence[str]) -> bool:
        """Return whether the requirements resolve for a Python, with wheels of these packages.

        The Python need not be installed.
        """
        sources = _manifests(connector)
        arguments = [
            "pip",
            "compile",
            "--quiet",
            "--no-python-downloads",
            "--python-version",
            python,
            *(f"--only-binary={name}" for name in wheels),
        ]
        arguments += [*sources, *(["-"] if connector.requirements else [])]
        return self.run(arguments, "\n".join(connector.requirements)).returncode == 0

    def released(self, connector: Connector) -> str:
        """Return the midnight after the upload of the connector's own package; see ``releases``.

        The result is empty if its package is not from an index.
        """
        requirement = re.match(r"[\w.-]+(?![\w.-])(?!.*(?:@|://))", connector.requirements[0]) if connector.requirements else None
        if requirement is None or connector.projects or not connector.lock.exists():
            return ""
        from cluster.project import releases  # noqa: PLC0415 - slow to import, and seldom needed

        return releases.day_after(requirement[0], version(connector), chosen_index(self.environ()), self.network)

    # -- the environment

    def _key(self, connector: Connector) -> str:
        digest = hashlib.sha256(connector.lock.read_bytes())
        digest.update(f"{connector.python or sys.version_info[:2]}".encode())
        digest.update(project_content(connector))
        return digest.hexdigest()[:12]

    def _folder_of(self, connector: Connector) -> Path:
        return self.folder / f"{connector.name}-{self._key(connector)}"

    def _make(self, connector: Connector) -> Environment:
        folder, made = self._installed(connector)
        executable = folder / "bin" / connector.executable
        if not executable.exists():
            raise SetupError(
                "E-EXECUTABLE",
                f"{connector.name} has no program {connector.executable}; what its packages install: {listed(programs(folder))}.",
                hint=f'Correct "executable" in singer-configs/{connector.name}/connector.yaml.',
            )
        return Environment(folder, executable, version(connector), made=made)

    def _installed(self, connector: Connector) -> tuple[Path, bool]:
        """Return the folder of the connector's venv, and whether this call made it."""
        with file_errors("The environment", self.folder):
            private_folder(self.folder)
            with exclusive(self.folder / f"{connector.name}.lock"):
                if not self._locked(connector):
                    self.lock(connector)
                folder = self._folder_of(connector)
                if (folder / READY).exists():
                    return folder, False
                part = folder.with_name(folder.name + ".part")
                shutil.rmtree(part, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
                try:
                    self._install(connector, part)
                    part.rename(folder)
                finally:
                    shutil.rmtree(part, ignore_errors=True)
                return folder, True

    def _install(self, connector: Connector, folder: Path) -> None:
        self.uv(connector, ["venv", "--quiet", "--relocatable", "--python", str(self.python(connector)), str(folder)])
        into = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
        # A requirement that is an address has no hash. If there is none of these, hashes are
        # required.
        hashes = [] if re.search(r"^\S+ @ ", connector.lock.read_text(encoding="utf-8"), re.MULTILINE) else ["--require-hashes"]
        self.uv(connector, [*into, *hashes, "--no-deps", "--requirements", str(connector.lock)])
        if connector.projects:
            self.uv(connector, [*into, "--no-deps", *map(str, connector.projects)])
        (folder / READY).touch()

    def python(self, connector: Connector) -> Path | str:
        """Return the connector's interpreter: its version from PATH or pyenv, else ours.

        :raises SetupError: E-PYTHON, there is no such version.
        """
        if connector.python is None or connector.python == f"{sys.version_info[0]}.{sys.version_info[1]}":
            return getattr(sys, "_base_executable", sys.executable)
        result = self.run(["python", "find", "--no-python-downloads", "--no-project", "--system", connector.python])
        if result.returncode == 0:
            return result.stdout.strip()
        of_pyenv = pyenv_pythons()
        if connector.python in of_pyenv:
            return of_pyenv[connector.python]
        listing = self.run(["python", "list", "--only-installed", "--no-python-downloads"]).stdout
        versions = {*re.findall(r"^cpython-(3\.\d+)", listing, re.MULTILINE), *of_pyenv}
        raise SetupError(
            "E-PYTHON",
            f"{connector.name} needs Python {connector.python}, which is not installed; "
            f"installed is {listed(sorted(versions, key=lambda text: int(text[2:])))}.",
            hint=f"Install Python {connector.python} (uv python install {connector.python}, or pyenv install {connector.python}), "
            f'or change "python" in singer-configs/{connector.name}/connector.yaml.',
        )

    # -- uv

    def run(self, arguments: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run uv to its end, with any exit code."""
        command = [uv_program(), "--no-config", "--no-progress", "--color", "never", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=self.environ(), cwd=self.settings.root, umask=0o077
        )

    def uv(self, connector: Connector, arguments: list[str], stdin: str = "") -> None:
        """Run uv. If it fails, keep its output in a log and raise its reason as a sentence."""
        result = self.run(arguments, stdin)
        if result.returncode == 0:
            return
        log = self.log(connector, f"uv {' '.join(arguments)}\n{stdin}\n{self.network.hide(result.stdout + result.stderr)}")
        text = result.stderr.strip()
        refused = self.network.refusal(f"{connector.name} cannot be installed", text, log)
        if refused:
            raise refused
        if "No space left on device" in text:
            raise SetupError("E-DISK", f"The disk is full: {connector.name} cannot be installed.", hint="Free space, then run it again.")
        if LOGIN.search(text):
            raise SetupError(
                "E-NETWORK",
                f"{connector.name} cannot be installed: {git_server(text)} asks for a login.",
                hint=f"Log in with git once, such as: git ls-remote ADDRESS. Log: {log}",
            )
        if NETWORK.search(text) and "Git operation failed" in text:
            raise SetupError(
                "E-NETWORK",
                f"{connector.name} is not installed yet, and {git_server(text)} cannot be reached.",
                hint=f"Connect to the network; behind a company's proxy set singer.proxy. Log: {log}",
            )
        if NETWORK.search(text):
            raise SetupError(
                "E-NETWORK",
                f"{connector.name} is not installed yet, and the package index cannot be reached.",
                hint=f"Connect to the network; behind a company's index or proxy set PIP_INDEX_URL or singer.proxy. Log: {log}",
            )
        remedy = f'Correct "pip_url" in singer-configs/{connector.name}/connector.yaml.'
        lacking = debian.for_build(text)
        if lacking:
            remedy = f"Install what its build needs, on Debian: sudo apt-get install {' '.join(lacking)}."
        if re.search(r"Hash mismatch|--require-hashes|requirements\.lock", text):
            remedy = f"Restore {self.shown(connector.lock)}, or remove it: the next run writes it again."
        raise SetupError("E-INSTALL", f"{connector.name} cannot be installed: {reason(text)}", hint=f"{remedy} Log: {log}")

    def log(self, connector: Connector, text: str) -> str:
        """Keep the output of a program that failed, and return the name of the file."""
        file = private_folder(self.logs) / f"{connector.name}.log"
        write_private(file, text)
        return self.shown(file)

    def shown(self, path: Path) -> str:
        """Return *path* as a person at the checkout's root would type it."""
        return os.path.relpath(path, self.settings.root)

    def environ(self) -> dict[str, str]:
        """Return uv's variables: a cache in the checkout, index and certificates as for pip."""
        environ = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "PYTHONPATH", "PYTHONHOME"}}
        environ.setdefault("UV_CACHE_DIR", str(self.settings.local / "cache" / "uv"))
        environ.update(NO_QUESTIONS)
        environ.setdefault("GIT_ASKPASS", "false")
        index = chosen_index(environ)
        if index:
            environ["UV_DEFAULT_INDEX"] = index
        environ.update(self.network.variables(environ))
        if "SSL_CERT_FILE" not in environ:
            bundle = pip_setting("cert")
            if bundle:
                environ["SSL_CERT_FILE"] = bundle
        return environ


def pyenv_pythons() -> dict[str, Path]:
    """Return pyenv's interpreters by version (``3.12``): the newest patch of each."""
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders: dict[str, tuple[int, Path]] = {}
    for folder in root.glob("versions/3.*"):
        version = re.fullmatch(r"(3\.\d+)\.(\d+)", folder.name)
        interpreter = folder / "bin" / "python"
        if version and os.access(interpreter, os.X_OK):
            folders[version[1]] = max(folders.get(version[1], (-1, interpreter)), (int(version[2]), interpreter))
    return {version: interpreter for version, (_, interpreter) in folders.items()}


def chosen_index(environ: Mapping[str, str]) -> str | None:
    """Return the package index of uv's settings, else of pip's; None if neither names one."""
    return environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or pip_setting("index-url")


def pip_setting(name: str) -> str | None:
    """Return a setting of pip: in a company's network, pip is usually configured."""
    return os.environ.get("PIP_" + name.upper().replace("-", "_")) or _pip_files().get(name)


@cache
def _pip_files() -> dict[str, str]:
    """Return the global settings of pip's files.

    ``pip config get`` would read the user's file alone, not the machine's.
    """
    result = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    settings = re.findall(r"^global\.([\w-]+)=(.+)$", result.stdout, re.MULTILINE)
    return {name: str(ast.literal_eval(value)) for name, value in settings}


def reason(text: str) -> str:
    """Return uv's error as one sentence: what failed, and the last cause."""
    error = re.split(r"^hint: ", re.split(r"^error: ", text, flags=re.MULTILINE)[-1], flags=re.MULTILINE)[0]
    parts = re.split(r"^ +cause: ", error, flags=re.MULTILINE)
    failed, *causes = ([line.strip() for line in part.splitlines() if line.strip()] for part in parts)
    sentence = failed[0] if failed else "uv gave no reason"
    if causes and causes[-1]:
        # Of a program that uv ran, the last line of its output; of a conflict, uv's first sentence.
        cause = causes[-1][-1 if any("stderr]" in line or "-- stderr" in line for line in causes[-1]) else 0]
        sentence = cause if sentence.startswith("No solution found") else f"{sentence}: {cause}"
    sentence = re.sub(r"^Because |, we can conclude that .*| in `-` at position \d+", "", sentence)[:300]
    return sentence if sentence.endswith((".", "?")) else sentence + "."


def uv_program() -> str:
    """Return the path of uv. Any thread may call this.

    :raises ImportError: its package is damaged.
    """
    from uv import find_uv_bin  # noqa: PLC0415 - only where something has to be made

    with FINDING:
        return find_uv_bin()


def git_server(text: str) -> str:
    """Return the address that git could not fetch, without a user and a password."""
    address = re.search(r"((?:https?|ssh)://)(?:[^@/\s`'\"]+@)?([^\s`'\"?#]+)|[\w.-]+@([\w.-]+:[^\s`'\"]+)", text)
    return f"{address[1] or ''}{address[2] or address[3]}".rstrip(".:") if address else "the git server"


def without_login(text: str) -> str:
    """Return *text* without the users and passwords of web addresses, which may be tokens."""
    return re.sub(r"(https?://)[^\s/@'\"]+@", r"\1", text)


def programs(folder: Path) -> list[str]:
    """Return the programs that the packages of a venv have installed."""
    own = re.compile(r"python|pip|activate|deactivate|pydoc")
    return sorted(file.name for file in (folder / "bin").iterdir() if not own.match(file.name))


def _manifests(connector: Connector) -> list[str]:
    """Return the file of each project that names its requirements."""
    return [str(next(folder / name for name in PROJECT_FILES if (folder / name).is_file())) for folder in connector.projects]


def project_files(folder: Path) -> list[Path]:
    """Return the files of a connector's project that its venv and image depend on, sorted."""
    return sorted(file for file in folder.rglob("*") if file.is_file() and counts(file.relative_to(folder)))


def counts(file: PurePath) -> bool:
    """Return whether a file, by its path in a connector's project, makes a difference."""
    ignored = IGNORED.intersection(file.parts) or any(part.endswith(tuple(IGNORED_SUFFIXES)) for part in file.parts)
    return not ignored and file.suffix not in {".pyc", ".md"}


def project_content(connector: Connector) -> bytes:
    """Return names and contents of the connector's project files, for hashes in names."""
    return b"".join(content(folder, project_files(folder)) for folder in connector.projects)


def content(folder: Path, files: Iterable[Path]) -> bytes:
    """Return names and contents of files below *folder*, to be hashed."""
    return b"".join(f"\0{file.relative_to(folder)}\0".encode() + file.read_bytes() for file in files)


def version(connector: Connector) -> str:
    """Return the connector's version in its project or lock, or "unknown"."""
    if connector.projects:
        with suppress(tomllib.TOMLDecodeError, FileNotFoundError):
            text = (connector.projects[0] / "pyproject.toml").read_text(encoding="utf-8")
            return str(tomllib.loads(text).get("project", {}).get("version", "unknown"))
        return "unknown"
    # Not by packaging, whose import takes longer than the rest: every run asks for the version.
    name = re.split(r"[\s\[<>=!~;@]", connector.requirements[0], maxsplit=1)[0]
    pattern = re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace(r"\-", "-").replace(r"\.", "."))
    pinned = re.search(rf"^{pattern}==([^\s;\\]+)", connector.lock.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return pinned[1] if pinned else "unknown"
