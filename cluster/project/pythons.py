"""The Pythons of connectors: those of this machine, else builds that uv downloads.

Downloads need consent. They are in ``.local/pythons``; ``teardown --all`` removes them.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import pairs
from cluster.config.strict import listed
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private
from cluster.host.locks import exclusive
from cluster.project.uv_messages import NETWORK, reason, without_login

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.config.settings import Settings
    from cluster.net.proxy import Network

SECONDS = 1200
"""The longest download."""
RELEASES = "astral-sh/python-build-standalone/releases/download"
"""The path of uv's builds on github.com."""
MIRROR = "UV_PYTHON_INSTALL_MIRROR"
LIST = "UV_PYTHON_DOWNLOADS_JSON_URL"


class Pythons:
    """Finds and downloads Pythons by their version (``3.9``)."""

    def __init__(self, settings: Settings, network: Network, run: Callable[..., subprocess.CompletedProcess[str]]) -> None:
        """Take the settings, the network, and a function that runs uv."""
        self.settings = settings
        self.network = network
        self.folder = settings.local / "pythons"
        self._run = run
        self._declined = False

    def find(self, version: str) -> Path | str | None:
        """Return an interpreter: of PATH, of uv or pyenv, else one that was downloaded."""
        result = self._run(["python", "find", "--no-python-downloads", "--no-project", "--system", version])
        if result.returncode == 0:
            return result.stdout.strip()
        return pyenv_pythons().get(version) or self._downloaded(version)

    def _downloaded(self, version: str) -> Path | None:
        interpreters = self.folder.glob(f"cpython-{version}.*/bin/python{version}")
        return max((file for file in interpreters if os.access(file, os.X_OK)), default=None)

    def missing(self, name: str, version: str) -> SetupError:
        """Return the error for a connector whose Python is not on this machine."""
        listing = self._run(["python", "list", "--only-installed", "--no-python-downloads"]).stdout
        versions = {*re.findall(r"^cpython-(3\.\d+)", listing, re.MULTILINE), *pyenv_pythons()}
        problem = (
            f"{name} needs Python {version}, which is not installed; "
            f"installed is {listed(sorted(versions, key=lambda text: int(text[2:])))}."
        )
        if self.policy != "no":
            again = "Type it again with INVOKE_SINGER_PYTHON_DOWNLOADS=yes, and it is downloaded into .local"
            return SetupError("E-PYTHON", problem, hint=f"{again}; or install it: pyenv install {version}.")
        return SetupError("E-PYTHON", problem, hint=_install(name, version))

    # -- downloads

    @property
    def policy(self) -> str:
        """The setting ``python_downloads``. uv's own setting may forbid downloads, too."""
        return "no" if os.environ.get("UV_PYTHON_DOWNLOADS") == "never" else self.settings.python_downloads

    def may_download(self, *, ask: bool) -> bool:
        """Return whether the user has agreed to downloads, or can be asked."""
        return self.policy == "yes" or (not self._declined and self.policy == "ask" and ask and sys.stdin.isatty() and sys.stdout.isatty())

    def agreed(self, name: str, version: str) -> bool:
        """Return whether the user agrees to a download. Asks, unless the setting is ``yes``."""
        if self.policy == "yes":
            return True
        question = f"{name} needs Python {version}, which is not on this machine. Download it into .local (30 MB)? [y/N] "
        try:
            agreed = input(question).strip().lower() in {"y", "yes"}
        except EOFError:
            agreed = False
        self._declined = not agreed
        return agreed

    def download(self, name: str, version: str) -> None:
        """Download a build of uv's makers into ``.local/pythons``. A failure leaves nothing.

        :raises SetupError: E-PYTHON, there is none for this machine; E-NETWORK, E-DOWNLOAD,
            E-PROXY, E-CERTIFICATE, E-DISK, E-STORE.
        """
        with file_errors(f"Python {version}", self.folder):
            private_folder(self.folder)
            with exclusive(self.folder / ".download"):
                if self._downloaded(version):
                    return
                install = ["python", "install", "--no-bin", "--no-registry", "--install-dir", str(self.folder), version]
                try:
                    result = self._run(install, seconds=SECONDS)
                except subprocess.TimeoutExpired:
                    result = subprocess.CompletedProcess(install, 1, "", "error: The download timed out")
                finally:
                    # What uv leaves if it is stopped.
                    shutil.rmtree(self.folder / ".temp", ignore_errors=True)
                failed = result.stderr if result.returncode else self._broken(version)
                if failed:
                    for folder in self.folder.glob(f"cpython-{version}[.-]*"):
                        folder.unlink() if folder.is_symlink() else shutil.rmtree(folder, ignore_errors=True)
                    raise self._failure(name, version, without_login(self.network.hide(failed)))

    def _broken(self, version: str) -> str:
        """Return why the interpreter that was downloaded does not run; empty if it does."""
        interpreter = self._downloaded(version)
        if interpreter is None:
            return f"error: The archive has no python{version}"
        try:
            result = subprocess.run([interpreter, "-I", "-c", "import encodings"], capture_output=True, text=True, check=False, timeout=60)
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"error: It does not run on this machine: {error}"
        return f"error: It does not run on this machine\n{result.stderr}" if result.returncode else ""

    def _failure(self, name: str, version: str, text: str) -> SetupError:
        """Return the error for a download that failed, and keep uv's output in a log."""
        file = private_folder(self.settings.local / "logs" / "pythons") / f"{version}.log"
        write_private(file, text)
        log = f"Log: {os.path.relpath(file, self.settings.root)}"
        what = f"Python {version} cannot be downloaded"
        refused = self.network.refusal(what, text, log.removeprefix("Log: "))
        if refused:
            return refused
        if "No space left on device" in text:
            return SetupError("E-DISK", f"The disk is full: {what}.", hint="Free space, then run it again.")
        if "No download found" in text:
            return SetupError("E-PYTHON", f"uv has no Python {version} for this machine, which {name} needs.", hint=_install(name, version))
        if NETWORK.search(text):
            problem = f"{what}: {_server(text) or 'the server'} cannot be reached."
            return SetupError("E-NETWORK", problem, hint=f"Connect to the network, or name a mirror with {MIRROR}. {log}")
        if LIST in os.environ and os.environ[LIST] in text and "Failed to download" not in text:
            return SetupError("E-DOWNLOAD", f"{what}: {reason(text)}", hint=f"Correct {LIST}. {log}")
        status = re.search(r"HTTP status \w+ error \((\d+)", text)
        why = f"{_server(text)} answers {status[1]}." if status else reason(text)
        return SetupError("E-DOWNLOAD", f"{what}: {why}", hint=f"Run it again; if it stays so, name another mirror with {MIRROR}. {log}")


def mirror(settings: Settings) -> str:
    """Return the mirror of uv's builds, as ``singer.mirror`` names it; empty without one."""
    host = pairs(settings.mirror).get("github.com")
    return f"https://{host}/{RELEASES}" if host else ""


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


def _install(name: str, version: str) -> str:
    return (
        f"Install Python {version} (uv python install {version}, or pyenv install {version}), "
        f'or change "python" in singer-configs/{name}/connector.yaml.'
    )


def _server(text: str) -> str:
    """Return the server that uv names."""
    url = re.search(r"https?://[^/\s`')]+", text)
    return url[0] if url else ""
