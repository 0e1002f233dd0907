"""The connectors' venvs: one for each connector, made by uv from a lock, shared by all runs.

``connector.yaml`` names the requirements. ``requirements.lock`` beside it holds their resolution
with hashes; the local venv and the image are both made from it.

The name of a venv has a hash of the lock and the Python. The project folders of a connector have a
small venv on top of it, see ``editable``. A venv that a newer one replaced is removed.
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
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from cluster.config.strict import listed, read_exact
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private, write_whole
from cluster.host.locks import InUse, exclusive, remove_unused, try_lock
from cluster.net import proxy
from cluster.project import debian, editable, pythons, repair
from cluster.project.model import PROJECT_FILES
from cluster.project.pythons import Pythons
from cluster.project.uv_messages import LOGIN, NETWORK, reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cluster.config.settings import Settings
    from cluster.project.model import Connector
    from cluster.ui.output import Output

READY = ".ready"
"""The file that a finished venv has. Its time is that of the last use. A process that uses it locks
it."""
REPLACED_AFTER = 60 * 60
"""The seconds without use after which a replaced venv is removed."""
FORGOTTEN_AFTER = 7 * 24 * 60 * 60
"""The seconds without use after which the venv of a removed connector is removed."""
FINDING = threading.Lock()
"""uv reads variables of ``sysconfig``. Before Python 3.12, two threads that fill these together may
find some missing (python/cpython#92452)."""
OPTION = re.compile(r"^(?!\s*#).*?(?<!\S)(--?(?!hash=|-hash=)[A-Za-z][\w-]*)", re.MULTILINE)
"""An option of pip in a lock. A lock must not choose the package index: that is a setting of the
machine."""
CONFLICT = re.compile(r"^(<{7}|>{7}) ", re.MULTILINE)
"""A mark of git, in a file that two branches have changed."""
KEY = "# For: "
OURS = f"{sys.version_info[0]}.{sys.version_info[1]}"
"""The Python that runs this tool. A connector without ``python`` gets it."""
INDEX_SECONDS = 30
RESOLVE = ("pip", "compile", "--quiet", "--no-python-downloads", "--python-version")
"""uv's command that resolves for a Python, which need not be installed."""
LEAST_PYTHON = "3.11"
"""The lock of a connector without ``python`` holds for this version and all later ones."""

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
    in_use: InUse | None = field(default=None, compare=False, repr=False)
    """While it exists, no command removes the venv."""


def refuse_conflict(text: str, shown: str) -> None:
    """Check that a lock has no marks of a merge conflict.

    :raises SetupError: E-INSTALL, it has.
    """
    if CONFLICT.search(text):
        hint = f"Take one side, such as: git checkout --theirs {shown}; or remove it: the next run writes it again."
        raise SetupError("E-INSTALL", f"{shown} has the marks of a merge conflict.", hint=hint)


class Environments:
    """Makes the venvs of a checkout, in ``.local/environments``."""

    _added: ClassVar[dict[tuple[Path, tuple[str, ...]], str]] = {}
    """Requirements that this process has added, by folder and requirements of the connector."""

    def __init__(self, settings: Settings) -> None:
        """Take the checkout's settings; no venv is made yet."""
        self.settings = settings
        self.folder = settings.local / "environments"
        self.logs = settings.local / "logs" / "environments"
        self.network = proxy.read(settings, os.environ)
        self.pythons = Pythons(settings, self.network, self.run)
        self._made: set[Path] = set()

    def ensure(self, connectors: Sequence[Connector], output: Output) -> list[Environment]:
        """Return a venv for each connector, in order. Missing ones are made in parallel.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-EXECUTABLE, E-DISK.
        """
        connectors = [self._present(connector) for connector in connectors]
        existing = {connector.name: self.find(connector) for connector in connectors}
        missing = [connector for connector in connectors if existing[connector.name] is None]
        if not missing:
            return [self._used(environment) for connector in connectors if (environment := existing[connector.name])]
        self.obtain(missing, output)
        title = f"{', '.join(connector.name for connector in missing)}"
        with output.step(title) as step:
            step.detail = "installing"
            step.timed = True
            self.environ()  # reads pip's settings once, not in each thread
            with ThreadPoolExecutor(max_workers=len(missing)) as pool:
                made = dict(zip((connector.name for connector in missing), pool.map(self._make, missing), strict=True))
            new = sum(environment.made for environment in made.values())
            step.result(f"environment{'s' * (new > 1)} installed" if new else "ready")
        made.update({connector.name: self._repaired(connector, made[connector.name], output) for connector in missing})
        return [self._used(made.get(connector.name) or self._make(connector)) for connector in connectors]

    def install(self, connector: Connector, output: Output, *, ask: bool = True) -> tuple[Path, bool]:
        """Return the folder of the connector's venv, and whether this call made it.

        The program in it is not checked. *ask* is whether the user may be asked for a download.

        :raises SetupError: E-PYTHON, E-INSTALL, E-NETWORK, E-DISK.
        """
        self.obtain([connector], output, ask=ask)
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
        folder = self._ready(connector)
        executable = folder / "bin" / connector.executable if folder else None
        if folder and executable and executable.exists():
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
        before += f", built with {' '.join(connector.build_constraints)}" if connector.build_constraints else ""
        return f"python {python}{before}, {' '.join([*connector.requirements, *projects])}{suffix}"

    def _locked(self, connector: Connector) -> bool:
        """Return whether the lock exists and belongs to the connector's present requirements.

        :raises SetupError: E-INSTALL, it has an option of pip, such as another index, or marks of
            a conflict.
        """
        try:
            text = connector.lock.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            return False
        refuse_conflict(text, self.shown(connector.lock))
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
        connector = self._present(connector)
        private_folder(self.folder)
        with exclusive(self.folder / f"{connector.name}.lock"):  # a run may be writing it
            if not self._locked(connector):
                self.obtain([connector])
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
        arguments += ["--output-file", str(part), *self.for_builds(connector), *sources, *(["-"] if connector.requirements else [])]
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
        arguments = [*RESOLVE, python, *self.for_builds(connector), *(f"--only-binary={name}" for name in wheels)]
        arguments += [*sources, *(["-"] if connector.requirements else [])]
        return self.run(arguments, "\n".join(connector.requirements)).returncode == 0

    def without_wheels(self, packages: Sequence[str], python: str) -> list[str]:
        """Return those of the packages, as ``NAME==VERSION``, that have no wheel for a Python."""
        arguments = [*RESOLVE, python, "--no-deps", "--only-binary=:all:", "-"]
        if not packages or self.run(arguments, "\n".join(packages)).returncode == 0:
            return []
        return [package for package in packages if self.run(arguments, package).returncode]

    def for_builds(self, connector: Connector) -> list[str]:
        """Return uv's option with the versions of the packages that build the connector's."""
        if not connector.build_constraints:
            return []
        file = self.folder / f"{connector.name}.build-constraints"
        with file_errors("The build constraints", file):
            private_folder(self.folder)
            write_private(file, "\n".join(connector.build_constraints))
        return ["--build-constraints", str(file)]

    def exists(self, package: str) -> bool:
        """Return whether the package index has a package; True if it cannot be asked."""
        try:
            result = self.run(["pip", "compile", "--quiet", "--no-deps", "-"], package, seconds=INDEX_SECONDS)
        except subprocess.TimeoutExpired:
            return True
        return "was not found in the package registry" not in result.stderr

    def released(self, connector: Connector) -> str:
        """Return the midnight after the release of the connector's own package; see ``releases``.

        The result is empty for a folder, and if nobody tells.
        """
        if not connector.requirements or connector.projects or not connector.lock.exists():
            return ""
        from cluster.project import releases  # noqa: PLC0415 - slow to import, and seldom needed

        requirement = re.match(r"[\w.-]+(?![\w.-])(?!.*(?:@|://))", connector.requirements[0])
        if requirement is None:
            commits = re.findall(r"@ git\+\S+@([0-9a-f]{40,64})\b", connector.lock.read_text(encoding="utf-8"))
            return releases.day_after_commits(commits, Path(self.environ()["UV_CACHE_DIR"])) if shutil.which("git") else ""
        return releases.day_after(requirement[0], version(connector), chosen_index(self.environ()), self.network)

    # -- the environment

    def _folder(self, connector: Connector, content: bytes = b"") -> Path:
        """Return the folder of the venv of a lock, or of one on top of it with *content*."""
        lock = connector.lock.read_bytes()
        if connector.projects:  # the first line also changes where the packages stay the same
            lock = lock.partition(b"\n")[2]
        digest = hashlib.sha256(lock)
        digest.update(f"{connector.python or sys.version_info[:2]}".encode())
        digest.update(content)
        return self.folder / f"{connector.name}-{digest.hexdigest()[:12]}"

    def _stacked(self, connector: Connector) -> Iterator[tuple[Path, bool]]:
        """Yield the folders that may have the venv of the connector's projects.

        The first one uses their code where it lies, the second one has a copy. Each is computed
        when it is needed: for a copy, all files are read.
        """
        if connector.projects:
            live = b"".join(editable.installed_content(folder) for folder in connector.projects)
            yield self._folder(connector, b"live" + live), True
            yield self._folder(connector, b"copied" + project_content(connector)), False

    def _ready(self, connector: Connector) -> Path | None:
        """Return the folder of the connector's finished venv, if there is one."""
        dependencies = self._folder(connector)
        if not _works(dependencies):
            return None
        if not connector.projects:
            return dependencies
        return next((folder for folder, _ in self._stacked(connector) if _works(folder)), None)

    def _used(self, environment: Environment) -> Environment:
        """Return an environment that no command removes while it is used."""
        folder = environment.folder
        return replace(environment, in_use=InUse(folder / READY, folder / editable.DEPENDENCIES / READY))

    def _remove_unused(self, connector: Connector, keep: Sequence[Path]) -> None:
        """Remove unused venvs: those that others replaced, and those of removed connectors."""
        for folder in self.folder.iterdir():
            name = re.sub(r"-[0-9a-f]{12}(\.part)?$", "", folder.name)
            replaced = name == connector.name and folder not in keep
            forgotten = not (self.settings.root / "singer-configs" / name).is_dir()
            if name == folder.name or not (replaced or forgotten):
                continue
            with suppress(OSError), (folder / READY).open("rb") as file:
                unused = time.time() - os.fstat(file.fileno()).st_mtime
                if unused > (REPLACED_AFTER if replaced else FORGOTTEN_AFTER) and try_lock(file):
                    shutil.rmtree(folder)

    def forget(self, name: str) -> None:
        """Remove what is left of a connector that was not made, besides its log."""
        (self.folder / f"{name}.build-constraints").unlink(missing_ok=True)
        remove_unused(self.folder / f"{name}.lock")

    def remove(self, folder: Path) -> None:
        """Remove a venv and the one below it, as far as this object has made them."""
        for venv in self._made & {folder, folder.parent / (folder / editable.DEPENDENCIES).resolve().name}:
            shutil.rmtree(venv, ignore_errors=True)

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

    def _present(self, connector: Connector) -> Connector:
        """Return the connector with what a repair in this process has added."""
        added = self._added.get((connector.folder, connector.requirements))
        return replace(connector, requirements=(*connector.requirements, added)) if added else connector

    def _repaired(self, connector: Connector, environment: Environment, output: Output) -> Environment:
        """Return a venv with old setuptools, if the program of a new one needs them.

        The requirement is written into ``connector.yaml``. If it does not help, all is as before.
        """
        if not environment.made or connector.kind == "transform" or repair.asks_for("setuptools", connector.requirements):
            return environment
        module = repair.lacks(environment.folder, environment.executable, connector.projects)
        if not module:
            return environment
        file = connector.folder / "connector.yaml"
        shown, lock = self.shown(file), connector.lock.read_text(encoding="utf-8")
        try:
            text = repair.with_setuptools(read_exact(file, shown), shown)
            better = self._make(replace(connector, requirements=(*connector.requirements, repair.SETUPTOOLS)))
            if repair.lacks(better.folder, better.executable, connector.projects):
                raise SetupError("E-INSTALL", f"{repair.SETUPTOOLS} does not help.", hint="")
            with write_whole(file, text):
                pass
        except SetupError as error:
            with write_whole(connector.lock, lock):
                pass
            output.line("!", connector.name, f"it imports {module}, which it lacks; adding {repair.SETUPTOOLS} failed: {error.problem}")
            return environment
        self._added[connector.folder, connector.requirements] = repair.SETUPTOOLS
        output.line("!", connector.name, f"it imports {module}: {repair.SETUPTOOLS} is added to {shown}")
        output.event("repair", connector=connector.name, reason=f"it imports {module}", change=f"{repair.SETUPTOOLS} is added")
        return better

    def _installed(self, connector: Connector) -> tuple[Path, bool]:
        """Return the folder of the connector's venv, and whether this call made it."""
        with file_errors("The environment", self.folder):
            private_folder(self.folder)
            with exclusive(self.folder / f"{connector.name}.lock"):
                if not self._locked(connector):
                    self.lock(connector)
                ready = self._ready(connector)
                if ready:
                    return ready, False
                folder = dependencies = self._folder(connector)
                if not _works(dependencies):
                    self._finish(dependencies, partial(self._install, connector))
                for folder, live in self._stacked(connector):
                    if self._finish(folder, partial(self._stack, connector, dependencies, live=live)):
                        break
                self._remove_unused(connector, [folder, dependencies])
                return folder, True

    def _finish(self, folder: Path, install: Callable[[Path], bool]) -> bool:
        """Make a venv completely, or not at all. Return whether it can be used."""
        part = folder.with_name(folder.name + ".part")
        shutil.rmtree(part, ignore_errors=True)
        shutil.rmtree(folder, ignore_errors=True)
        try:
            if not install(part):
                return False
            (part / READY).touch()
            part.rename(folder)
            self._made.add(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)
        return True

    def _install(self, connector: Connector, folder: Path) -> bool:
        """Make the venv of the lock's packages."""
        self.uv(connector, ["venv", "--quiet", "--relocatable", "--python", str(self.python(connector)), str(folder)])
        # A requirement that is an address has no hash. If there is none of these, hashes are
        # required.
        hashes = [] if re.search(r"^\S+ @ ", connector.lock.read_text(encoding="utf-8"), re.MULTILINE) else ["--require-hashes"]
        self.uv(connector, [*_into(folder), *hashes, *self.for_builds(connector), "--no-deps", "--requirements", str(connector.lock)])
        return True

    def _stack(self, connector: Connector, dependencies: Path, folder: Path, *, live: bool) -> bool:
        """Make the venv of the connector's projects. Return whether their code is used as asked."""
        python = dependencies / "bin" / "python"
        self.uv(connector, ["venv", "--quiet", "--relocatable", "--python", str(python), str(folder)])
        command = [*_into(folder), *self.for_builds(connector), "--no-deps"]
        command += [word for project in connector.projects for word in ("--editable", str(project))]
        if not live:
            self.uv(connector, [word for word in command if word != "--editable"])
        elif self.run(command).returncode:
            return False
        editable.stack(folder, dependencies, programs(dependencies))
        return not live or all(editable.is_live(folder / "bin" / "python", project) for project in connector.projects)

    def python(self, connector: Connector) -> Path | str:
        """Return the connector's interpreter: its version on this machine, else ours.

        :raises SetupError: E-PYTHON, there is no such version.
        """
        if connector.python is None or connector.python == OURS:
            return getattr(sys, "_base_executable", sys.executable)
        interpreter = self.pythons.find(connector.python)
        if interpreter is None:
            raise self.pythons.missing(connector.name, connector.python)
        return interpreter

    def obtain(self, connectors: Iterable[Connector], output: Output | None = None, *, ask: bool = True) -> None:
        """Download the Pythons that connectors need and this machine lacks, if the user agrees.

        Without *output* there is no question.

        :raises SetupError: as ``Pythons.download``.
        """
        names = {connector.python: connector.name for connector in connectors if connector.python and connector.python != OURS}
        for version, name in names.items():
            if not self.pythons.may_download(ask=ask and output is not None) or self.pythons.find(version):
                continue
            if not self.pythons.agreed(name, version):
                continue
            if output is None:
                self.pythons.download(name, version)
                continue
            with output.step(f"Python {version}") as step:
                step.detail = "downloading"
                step.timed = True
                self.pythons.download(name, version)
                step.result("downloaded into .local/pythons")

    # -- uv

    def run(self, arguments: list[str], stdin: str = "", *, seconds: float | None = None) -> subprocess.CompletedProcess[str]:
        """Run uv to its end, with any exit code.

        :raises subprocess.TimeoutExpired: it takes longer than *seconds*.
        """
        command = [uv_program(), "--no-config", "--no-progress", "--color", "never", *arguments]
        return subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            env=self.environ(),
            cwd=self.settings.root,
            umask=0o077,
            timeout=seconds,
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
        mirror = pythons.mirror(self.settings)
        if mirror:
            environ.setdefault(pythons.MIRROR, mirror)
        # uv would make this folder in the user's home.
        if not (Path.home() / ".local" / "share" / "uv" / "credentials").exists():
            environ.setdefault("UV_CREDENTIALS_DIR", str(self.settings.local / "cache" / "uv-credentials"))
        environ.update(NO_QUESTIONS)
        environ.setdefault("GIT_ASKPASS", "false")
        index = chosen_index(environ)
        if index:
            environ["UV_DEFAULT_INDEX"] = index
        extra = extra_indexes(environ)
        if extra:
            environ["UV_INDEX"] = " ".join(extra)
        environ.update(self.network.variables(environ))
        if "SSL_CERT_FILE" not in environ:
            bundle = pip_setting("cert")
            if bundle:
                environ["SSL_CERT_FILE"] = bundle
        return environ


def chosen_index(environ: Mapping[str, str]) -> str | None:
    """Return the package index of uv's settings, else of pip's; None if neither names one."""
    return environ.get("UV_DEFAULT_INDEX") or environ.get("UV_INDEX_URL") or pip_setting("index-url")


def extra_indexes(environ: Mapping[str, str]) -> list[str]:
    """Return the further package indexes of uv's settings, else of pip's.

    uv asks them before the default index, and takes a package from the first one that has it.
    """
    ours = environ.get("UV_INDEX") or environ.get("UV_EXTRA_INDEX_URL")
    return (ours or pip_setting("extra-index-url") or "").split()


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


def uv_program() -> str:
    """Return the path of uv. Any thread may call this.

    :raises ImportError: its package is damaged.
    """
    from uv import find_uv_bin  # noqa: PLC0415 - only where something has to be made

    with FINDING:
        return find_uv_bin()


def _works(folder: Path) -> bool:
    """Return whether a venv is finished, and its interpreter is still there."""
    return (folder / READY).exists() and (folder / "bin" / "python").exists()


def git_server(text: str) -> str:
    """Return the address that git could not fetch, without a user and a password."""
    address = re.search(r"((?:https?|ssh)://)(?:[^@/\s`'\"]+@)?([^\s`'\"?#]+)|[\w.-]+@([\w.-]+:[^\s`'\"]+)", text)
    return f"{address[1] or ''}{address[2] or address[3]}".rstrip(".:") if address else "the git server"


def programs(folder: Path) -> list[str]:
    """Return the programs that the packages of a venv have installed."""
    own = re.compile(r"python|pip|activate|deactivate|pydoc")
    return sorted(file.name for file in (folder / "bin").iterdir() if not own.match(file.name))


def _into(venv: Path) -> list[str]:
    """Return uv's command that installs into a venv."""
    return ["pip", "install", "--quiet", "--compile-bytecode", "--python", str(venv / "bin" / "python")]


def _manifests(connector: Connector) -> list[str]:
    """Return the file of each project that names its requirements."""
    return [str(next(folder / name for name in PROJECT_FILES if (folder / name).is_file())) for folder in connector.projects]


def project_content(connector: Connector) -> bytes:
    """Return names and contents of the connector's project files, for hashes in names."""
    return b"".join(editable.content(folder, editable.project_files(folder)) for folder in connector.projects)


def version(connector: Connector) -> str:
    """Return the connector's version in its project or lock, or "unknown"."""
    if connector.projects:
        return editable.version_of(connector.projects[0]) or "unknown"
    # Not by packaging, whose import takes longer than the rest: every run asks for the version.
    name = re.split(r"[\s\[<>=!~;@]", connector.requirements[0], maxsplit=1)[0]
    pattern = re.sub(r"[-_.]+", "[-_.]+", re.escape(name).replace(r"\-", "-").replace(r"\.", "."))
    pinned = re.search(rf"^{pattern}==([^\s;\\]+)", connector.lock.read_text(encoding="utf-8"), re.MULTILINE | re.IGNORECASE)
    return pinned[1] if pinned else "unknown"
