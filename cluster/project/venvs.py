"""The connectors' environments: one each, made by uv, locked, kept and shared by all runs.

``connector.yaml`` says what people asked for; the resolution with hashes lies beside it in ``requirements.lock`` and
serves both the local environment and the image. An environment is keyed by that lock, its Python and the content of
projects of this repository, so that an edit is never run stale and nothing is built twice.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from cluster.config.strict import listed
from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder, write_private
from cluster.net import proxy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.project.model import Connector
    from cluster.ui.output import Output

READY = ".ready"
OPTION = re.compile(r"^(?!\s*#).*?(?<!\S)(--?(?!hash=|-hash=)[A-Za-z][\w-]*)", re.MULTILINE)
"""In a lock: where packages come from is a property of the machine, and a lock from somebody else must not change it."""
KEY = "# For: "
LEAST_PYTHON = "3.11"
"""Where a connector does not say, its lock holds for every Python from here on."""

IGNORED = {"__pycache__", ".venv", "dist", "build", "tests", ".pytest_cache", ".ruff_cache", ".mypy_cache"}

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
    """A finished environment: where it is, its program, and the connector's version."""

    folder: Path
    executable: Path
    version: str
    made: bool
    """Whether it was made just now."""


class Environments:
    """Makes the environments of a checkout, below ``.local/environments``."""

    def __init__(self, settings: Settings) -> None:
        """Take the checkout's settings; nothing is made yet."""
        self.settings = settings
        self.folder = settings.local / "environments"
        self.logs = settings.local / "logs" / "environments"
        self.network = proxy.read(settings, os.environ)

    def ensure(self, connectors: Sequence[Connector], output: Output) -> list[Environment]:
        """Return an environment for each connector, in order; those that are missing are made in parallel.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-EXECUTABLE, E-DISK.
        """
        missing = [connector for connector in connectors if self.find(connector) is None]
        if not missing:
            return [found for connector in connectors if (found := self.find(connector))]
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
        """Return the folder of the connector's environment, and whether it was made just now; no program is looked for in it.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-DISK.
        """
        with output.step(connector.name) as step:
            step.detail = "installing"
            step.timed = True
            folder, made = self._installed(connector)
            step.result("environment installed" if made else "environment reused")
        return folder, made

    def find(self, connector: Connector) -> Environment | None:
        """Return the connector's environment if it is there and up to date. Looks, never touches."""
        if not self._locked(connector):
            return None
        folder = self._place(connector)
        executable = folder / "bin" / connector.executable
        if (folder / READY).exists() and executable.exists():
            return Environment(folder, executable, version(connector), made=False)
        return None

    # -- the lock

    def _asked(self, connector: Connector) -> str:
        """Return one line that says what the lock must answer."""
        projects = [os.path.relpath(folder, self.settings.root) for folder in connector.projects]
        digest = hashlib.sha256()
        for folder in connector.projects:
            digest.update((folder / "pyproject.toml").read_bytes())
        suffix = f" {digest.hexdigest()[:12]}" if projects else ""
        return f"python {connector.python or LEAST_PYTHON + '+'}, {' '.join([*connector.requirements, *projects])}{suffix}"

    def _locked(self, connector: Connector) -> bool:
        """Say whether the lock is there and answers what the connector asks for.

        :raises SetupError: E-INSTALL, there is more in it than packages: an option of pip, such as another index.
        """
        try:
            text = connector.lock.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        if text.partition("\n")[0] != KEY + self._asked(connector):
            return False
        option = OPTION.search(text)
        if option:
            shown = self._shown(connector.lock)
            raise SetupError(
                "E-INSTALL",
                f"{shown} has the option {option[1]}, which this tool never writes.",
                hint=f"See who has changed it; restore {shown}, or remove it: the next run makes it anew.",
            )
        return True

    def ensure_lock(self, connector: Connector) -> None:
        """Make the connector's lock, unless it is there and answers what the connector asks for."""
        private_folder(self.folder)
        with exclusive(self.folder / f"{connector.name}.lock"):  # a run may be making it at this moment
            if not self._locked(connector):
                self.lock(connector)

    def lock(self, connector: Connector) -> None:
        """Resolve the connector's requirements into its ``requirements.lock``.

        :raises SetupError: E-INSTALL, E-NETWORK, E-PYTHON.
        """
        part = self.folder / f"{connector.name}.lock.part"
        part.unlink(missing_ok=True)
        sources = [str(folder / "pyproject.toml") for folder in connector.projects]
        arguments = ["pip", "compile", "--quiet", "--universal", "--generate-hashes", "--no-header", "--no-annotate"]
        arguments += ["--python", str(self.python(connector)), "--python-version", connector.python or LEAST_PYTHON]
        arguments += ["--output-file", str(part), *sources, *(["-"] if connector.requirements else [])]
        self._uv(connector, arguments, "\n".join(connector.requirements))
        with file_errors("The lock", connector.lock):
            text = part.read_text(encoding="utf-8")
            part.write_text(
                f"{KEY}{self._asked(connector)}\n# Written by the tool whenever that line changes; commit it.\n{text}", encoding="utf-8"
            )
            shutil.move(part, connector.lock)

    # -- the environment

    def _key(self, connector: Connector) -> str:
        digest = hashlib.sha256(connector.lock.read_bytes())
        digest.update(f"{connector.python or sys.version_info[:2]}".encode())
        digest.update(project_content(connector))
        return digest.hexdigest()[:12]

    def _place(self, connector: Connector) -> Path:
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
        """Return the folder of the connector's environment, and whether it was made just now."""
        with file_errors("The environment", self.folder):
            private_folder(self.folder)
            with exclusive(self.folder / f"{connector.name}.lock"):
                if not self._locked(connector):
                    self.lock(connector)
                folder = self._place(connector)
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
        self._uv(connector, ["venv", "--quiet", "--relocatable", "--python", str(self.python(connector)), str(folder)])
        into = ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(folder / "bin" / "python")]
        # Of a repository or an address there may be no hash; where all have one, none may lack it.
        hashes = [] if re.search(r"^\S+ @ ", connector.lock.read_text(encoding="utf-8"), re.MULTILINE) else ["--require-hashes"]
        self._uv(connector, [*into, *hashes, "--no-deps", "--requirements", str(connector.lock)])
        if connector.projects:
            self._uv(connector, [*into, "--no-deps", *map(str, connector.projects)])
        (folder / READY).touch()

    def python(self, connector: Connector) -> Path | str:
        """Return the interpreter for the connector: the one it names, else ours.

        :raises SetupError: E-PYTHON, it is not on PATH.
        """
        if connector.python is None or connector.python == f"{sys.version_info[0]}.{sys.version_info[1]}":
            return getattr(sys, "_base_executable", sys.executable)
        result = self._run(["python", "find", "--no-python-downloads", "--no-project", "--system", connector.python])
        if result.returncode:
            listing = self._run(["python", "list", "--only-installed", "--no-python-downloads"]).stdout
            there = sorted(set(re.findall(r"^cpython-(3\.\d+)", listing, re.MULTILINE)), key=lambda text: int(text[2:]))
            raise SetupError(
                "E-PYTHON",
                f"{connector.name} needs Python {connector.python}, which is not on PATH; there is {listed(there)}.",
                hint=f'Install Python {connector.python}, or change "python" in singer-configs/{connector.name}/connector.yaml.',
            )
        return result.stdout.strip()

    # -- uv

    def _run(self, arguments: list[str], stdin: str = "") -> subprocess.CompletedProcess[str]:
        from uv import find_uv_bin  # noqa: PLC0415 - only where something has to be made

        command = [find_uv_bin(), "--no-config", "--no-progress", "--color", "never", *arguments]
        return subprocess.run(
            command, input=stdin, capture_output=True, text=True, check=False, env=self._environ(), cwd=self.settings.root, umask=0o077
        )

    def _uv(self, connector: Connector, arguments: list[str], stdin: str = "") -> None:
        """Run uv, keep what it says, and turn a failure into a sentence."""
        result = self._run(arguments, stdin)
        if result.returncode == 0:
            return
        private_folder(self.logs)
        log = self.logs / f"{connector.name}.log"
        write_private(log, f"uv {' '.join(arguments)}\n{stdin}\n{self.network.hide(result.stdout + result.stderr)}")
        text = result.stderr.strip()
        refused = self.network.refusal(f"{connector.name} cannot be installed", text, self._shown(log))
        if refused:
            raise refused
        if "No space left on device" in text:
            raise SetupError("E-DISK", f"The disk is full: {connector.name} cannot be installed.", hint="Make room, then run it again.")
        if LOGIN.search(text):
            raise SetupError(
                "E-INSTALL",
                f"{connector.name} cannot be installed: {git_server(text)} asks for a login.",
                hint=f"Log in with git once, such as: git ls-remote ADDRESS. Log: {self._shown(log)}",
            )
        if NETWORK.search(text) and "Git operation failed" in text:
            raise SetupError(
                "E-NETWORK",
                f"{connector.name} is not installed yet, and {git_server(text)} cannot be reached.",
                hint=f"Connect to the network; behind a company's proxy set singer.proxy. Log: {self._shown(log)}",
            )
        if NETWORK.search(text):
            raise SetupError(
                "E-NETWORK",
                f"{connector.name} is not installed yet, and the package index cannot be reached.",
                hint="Connect to the network; behind a company's index or proxy set PIP_INDEX_URL or singer.proxy. "
                f"Log: {self._shown(log)}",
            )
        remedy = f'Correct "pip_url" in singer-configs/{connector.name}/connector.yaml.'
        if re.search(r"Hash mismatch|--require-hashes|requirements\.lock", text):
            remedy = f"Restore {self._shown(connector.lock)}, or remove it: the next run makes it anew."
        raise SetupError("E-INSTALL", f"{connector.name} cannot be installed: {reason(text)}", hint=f"{remedy} Log: {self._shown(log)}")

    def _shown(self, path: Path) -> str:
        return os.path.relpath(path, self.settings.root)

    def _environ(self) -> dict[str, str]:
        """Return uv's environment: its cache is ours, its index and certificates are those that pip knows unless uv has its own."""
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


def chosen_index(environ: Mapping[str, str]) -> str | None:
    """Return the package index that uv is set to, else the one that pip is; None where neither is and uv goes to its own."""
    return environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or pip_setting("index-url")


def pip_setting(name: str) -> str | None:
    """Return what pip is set to, from its variables and files: people behind a company's index have told pip already."""
    return os.environ.get("PIP_" + name.upper().replace("-", "_")) or _pip_files().get(name)


@cache
def _pip_files() -> dict[str, str]:
    """Return what pip's files say for all its commands. ``pip config get`` would look into the user's file alone, not the machine's."""
    result = subprocess.run([sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False)
    found = re.findall(r"^global\.([\w-]+)=(.+)$", result.stdout, re.MULTILINE)
    return {name: str(ast.literal_eval(value)) for name, value in found}


def reason(text: str) -> str:
    """Return what uv says as one sentence: what failed, and the last cause that it names."""
    error = re.split(r"^hint: ", re.split(r"^error: ", text, flags=re.MULTILINE)[-1], flags=re.MULTILINE)[0]
    parts = re.split(r"^ +cause: ", error, flags=re.MULTILINE)
    failed, *causes = ([line.strip() for line in part.splitlines() if line.strip()] for part in parts)
    found = failed[0] if failed else "uv gave no reason"
    if causes and causes[-1]:
        # Of a program that uv ran, the last line that it said; of a conflict, the sentence that uv begins with.
        cause = causes[-1][-1 if any("stderr]" in line or "-- stderr" in line for line in causes[-1]) else 0]
        found = cause if found.startswith("No solution found") else f"{found}: {cause}"
    found = re.sub(r"^Because |, we can conclude that .*| in `-` at position \d+", "", found)[:300]
    return found if found.endswith((".", "?")) else found + "."


def git_server(text: str) -> str:
    """Return the address of the repository that git could not fetch, without a user and a password."""
    address = re.search(r"((?:https?|ssh)://)(?:[^@/\s`'\"]+@)?([^\s`'\"?#]+)|[\w.-]+@([\w.-]+:[^\s`'\"]+)", text)
    return f"{address[1] or ''}{address[2] or address[3]}".rstrip(".:") if address else "the git server"


def programs(folder: Path) -> list[str]:
    """Return what the packages of an environment have installed as programs."""
    own = re.compile(r"python|pip|activate|deactivate|pydoc")
    return sorted(file.name for file in (folder / "bin").iterdir() if not own.match(file.name))


def project_files(folder: Path) -> list[Path]:
    """Return the files of a project of this repository that make a difference, in a fixed order."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not IGNORED.intersection(file.relative_to(folder).parts) and file.suffix not in {".pyc", ".md"}
    )


def project_content(connector: Connector) -> bytes:
    """Return names and contents of all that makes a difference in the connector's projects: what keys of environments and images hash."""
    return b"".join(content(folder, project_files(folder)) for folder in connector.projects)


def content(folder: Path, files: Iterable[Path]) -> bytes:
    """Return names and contents of files below *folder*, to be hashed."""
    return b"".join(f"\0{file.relative_to(folder)}\0".encode() + file.read_bytes() for file in files)


def version(connector: Connector) -> str:
    """Return the connector's version as its lock or its project says, "unknown" where neither does."""
    if connector.projects:
        text = (connector.projects[0] / "pyproject.toml").read_text(encoding="utf-8")
        found = re.search(r'^version\s*=\s*"([^"]+)"', text, re.MULTILINE)
    else:
        name = re.split(r"[\s\[<>=!~;@]", connector.requirements[0], maxsplit=1)[0]
        pattern = re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace(r"\-", "-").replace(r"\.", "."))
        found = re.search(rf"^{pattern}==([^\s;\\]+)", connector.lock.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return found[1] if found else "unknown"


@contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Wait until nobody else holds *file*, and hold it. The kernel lets go when the process ends, however it ends."""
    with open(file, "a", opener=private, encoding="utf-8") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
