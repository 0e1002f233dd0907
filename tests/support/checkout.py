"""A copy of the project in a new folder, and the commands that a user types in it."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
COPIED = (
    "cluster",
    "docs/schemas",
    "invoke",
    "manifests",
    "singer-configs",
    "singer-containers",
    "tasks.py",
    "template",
    "requirements.lock",
    "requirements-dev.lock",
)
INHERITED = (
    "PATH",
    "HOME",
    "LANG",
    "SSL_CERT_FILE",
    "PIP_CERT",
    "PIP_INDEX_URL",
    "UV_DEFAULT_INDEX",
    "HTTPS_PROXY",
    "HTTP_PROXY",
    "NO_PROXY",
    "COVERAGE_PROCESS_CONFIG",  # set where branches are counted
)


@dataclass
class Result:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def events(self) -> list[dict[str, Any]]:
        """The JSON events on standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def last(self) -> dict[str, Any]:
        """The last event."""
        return self.events[-1]

    @property
    def error(self) -> str:
        """The code of the error, or nothing."""
        return next((event["code"] for event in self.events if event["event"] == "error"), "")


@cache
def compile_sources() -> None:
    """Compile what checkouts copy, once for all of them."""
    for name in COPIED:
        if (ROOT / name).is_dir():
            compileall.compile_dir(ROOT / name, quiet=2)


class Checkout:
    """A copy of the project in a new folder, and what a user does in it."""

    def __init__(self, root: Path, shared: Path) -> None:
        """Copy what a user would clone; connectors' environments and uv's cache are shared with other tests."""
        compile_sources()
        self.root = root
        self.seconds = 120.0
        """The longest that a command may take."""
        for name in COPIED:
            source, copy = ROOT / name, root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy)  # with bytecode: to compile it takes longer than most commands
            else:
                shutil.copy2(source, copy)
        self.connectors = root / "tests" / "connectors"
        self.connectors.parent.mkdir()
        self.connectors.symlink_to(ROOT / "tests" / "connectors")  # in one place, so that their environments are shared
        self.local = root / ".local"
        self.local.mkdir()
        (self.local / "environments").symlink_to(shared / "environments")
        self.environ = {name: os.environ[name] for name in INHERITED if name in os.environ}
        self.environ["UV_CACHE_DIR"] = str(shared / "uv")
        self.environ["INVOKE_SINGER_HUB_URL"] = ""  # a test that needs a Hub serves its own

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Start a command and return its process."""
        return subprocess.Popen(
            [sys.executable, "-m", "invoke", *words],
            cwd=self.root,
            env={**self.environ, **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def invoke(self, *words: str, **environ: str) -> Result:
        """Type a command and wait for its end, ``seconds`` at most."""
        with self.start(*words, **environ) as process:
            out, err = process.communicate(timeout=self.seconds)
        return Result(process.returncode, out, err)

    def run(self, pipeline: str = "p", *words: str, **environ: str) -> Result:
        """Type ``run`` with ``--json``."""
        return self.invoke("run", pipeline, "--json", *words, **environ)

    def write(self, name: str, content: object) -> Path:
        """Write a file below ``singer-configs/``: a text as it is, anything else as JSON. A command never sees half of it."""
        file = self.root / "singer-configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        part = self.root / ".part"
        part.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        part.replace(file)
        return file

    def scripted(self, tap: dict[str, Any], target: dict[str, Any] | None = None, **pipeline: Any) -> None:
        """Make the pipeline ``p`` of the two scripted connectors."""
        for side, config in (("tap", tap), ("target", target or {})):
            name = f"{side}-scripted"
            capabilities = ["catalog", "state"] if side == "tap" else []
            self.write(f"{name}/connector.yaml", {"kind": side, "pip_url": f"tests/connectors/{name}", "capabilities": capabilities})
            self.write(f"{name}/config.json", config)
        self.write("pipelines.yaml", {"p": {"tap": "tap-scripted", "target": "target-scripted", **pipeline}})

    def copy_connectors(self) -> None:
        """Copy the connectors for tests into this checkout, in order to edit them."""
        self.connectors.unlink()
        shutil.copytree(ROOT / "tests" / "connectors", self.connectors)

    def state(self, pipeline: str = "p") -> Any:
        """Return the stored state, as the user's command shows it."""
        return self.invoke("state", pipeline, "--json").last["state"]

    def outputs(self) -> dict[str, str]:
        """Return the published files of all runs: their names below the bucket, and their content."""
        bucket = self.local / "buckets" / "target-csv-output"
        return {str(file.relative_to(bucket)): file.read_text(encoding="utf-8") for file in bucket.rglob("*") if file.is_file()}

    def leftovers(self) -> list[str]:
        """Return what a run should have removed: its folder, temporary files of the store."""
        folders = (self.local / "runs", self.local / "buckets" / ".part")
        return [str(file) for folder in folders if folder.exists() for file in folder.iterdir()]
