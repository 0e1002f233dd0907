"""What all rings share: a checkout of its own for a test, and the commands typed in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

pytest_plugins = ["real_stores", "real_registry", "fake_apiserver", "company_cluster"]
ROOT = Path(__file__).resolve().parents[1]
COPIED = (
    "cluster",
    "invoke",
    "manifests",
    "singer-configs",
    "singer-containers",
    "tasks.py",
    "tests/connectors",
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


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``: what takes longer than CI should."""
    parser.addoption("--all", action="store_true", help="run slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    """Choose how many faults are tried: some that are the same each time, or with ``--all`` many that are not."""
    everything = config.getoption("--all")
    settings.register_profile(
        "faults",
        database=None,
        deadline=None,  # the machine may be busy
        derandomize=not everything,
        max_examples=200 if everything else 4,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),  # a smaller example of a race is not a smaller race
        report_multiple_bugs=False,
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless ``--all`` was given."""
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: ./invoke test --all runs it"))


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


class Checkout:
    """A copy of the project in a folder of its own, and what a user does in it."""

    def __init__(self, root: Path, shared: Path) -> None:
        """Copy what a user would clone; connectors' environments and uv's cache are shared with other tests."""
        self.root = root
        for name in COPIED:
            source, copy = ROOT / name, root / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, copy)
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

    def invoke(self, *words: str, seconds: float = 120, **environ: str) -> Result:
        """Type a command and wait for its end, *seconds* at the most."""
        with self.start(*words, **environ) as process:
            out, err = process.communicate(timeout=seconds)
        return Result(process.returncode, out, err)

    def run(self, pipeline: str = "p", *words: str, **environ: str) -> Result:
        """Type ``run`` with ``--json``."""
        return self.invoke("run", pipeline, "--json", *words, **environ)

    def write(self, name: str, content: object) -> Path:
        """Write a file below ``singer-configs/``: a text as it is, anything else as JSON."""
        file = self.root / "singer-configs" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return file

    def scripted(self, tap: dict[str, Any], target: dict[str, Any] | None = None, **pipeline: Any) -> None:
        """Make the pipeline ``p`` of the two scripted connectors."""
        for side, config in (("tap", tap), ("target", target or {})):
            name = f"{side}-scripted"
            capabilities = ["catalog", "state"] if side == "tap" else []
            self.write(f"{name}/connector.yaml", {"kind": side, "pip_url": f"tests/connectors/{name}", "capabilities": capabilities})
            self.write(f"{name}/config.json", config)
        self.write("pipelines.yaml", {"p": {"tap": "tap-scripted", "target": "target-scripted", **pipeline}})

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


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder that tests share, also from one session to the next: environments and downloads."""
    folder = ROOT / ".local" / "tests"
    (folder / "environments").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, shared: Path) -> Checkout:
    """Return a fresh copy of the project."""
    return Checkout(tmp_path / "checkout", shared)
