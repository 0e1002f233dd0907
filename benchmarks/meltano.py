"""Ways to type commands and take their time: ours, or Meltano's with its quickest means."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from table import WrongError
from uv import find_uv_bin

from cluster.project.venvs import pip_setting

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Typist:
    """Commands of a way through some work, and how long each part of it took."""

    def __init__(self, folder: Path, **environ: str) -> None:
        """Start in an empty folder; caches are in it where *environ* names no others."""
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "INVOKE_", "SINGER_"))}
        index = pip_setting("index-url")
        for_uv = {"UV_DEFAULT_INDEX": index} if index else {}
        caches = {"UV_CACHE_DIR": str(folder / "cache" / "uv"), "PIP_CACHE_DIR": str(folder / "cache" / "pip")}
        self.environ = {**for_uv, **inherited, **caches, **environ}
        self.taken: dict[str, list[float]] = defaultdict(list)
        self.versions = {"uv": version("uv")}

    def type(self, part: str, command: str, *, within: Path | None = None) -> None:
        """Type a command, as a shell would read it, and take its time.

        :raises WrongError: it fails.
        """
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=within or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.taken[part].append(time.monotonic() - begun)
        print(f"{self.taken[part][-1]:8.1f} s  {command}", file=sys.stderr)
        if done.returncode:
            raise WrongError(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


class Meltano(Typist):
    """A project of Meltano's, installed by uv. Its hub is spared its part by definitions in files, which makes ``add`` faster."""

    def __init__(self, folder: Path, part: str = "", **environ: str) -> None:
        """Install it, and make an empty project."""
        tools = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin"), "UV_PYTHON": sys.executable}
        path = f"{folder / 'bin'}{os.pathsep}{Path(find_uv_bin()).parent}{os.pathsep}{os.environ['PATH']}"
        super().__init__(folder, **{**environ, **tools, "PATH": path, "MELTANO_SEND_ANONYMOUS_USAGE_STATS": "false"})
        self.project = folder / "project"
        self.type(part, "uv tool install --quiet meltano")
        self.type(part, "meltano init project")
        command = [str(folder / "bin" / "meltano"), "--version"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True, env=self.environ).stdout
        self.versions["Meltano"] = printed.split()[-1]

    def add(self, part: str, name: str, pip_url: str, settings: Sequence[Mapping[str, Any]], *capabilities: str) -> None:
        """Add a connector with such settings; a ``value`` of one is its default."""
        tap = name.startswith("tap-")
        definition = {
            "name": name,
            "namespace": name.replace("-", "_"),
            "variant": "local",
            "label": name,
            "docs": "https://example.org",
            "repo": "https://example.org",
            "plugin_type": "extractors" if tap else "loaders",
            "pip_url": pip_url,
            "executable": name,
            "capabilities": capabilities,
            "settings": settings,
        }
        (self.folder / f"{name}.yml").write_text(json.dumps(definition), encoding="utf-8")
        kind = "extractor" if tap else "loader"
        self.type(part, f"meltano add --plugin-type {kind} {name} --from-ref ../{name}.yml", within=self.project)
