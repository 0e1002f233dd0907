"""Where the benchmarks work: a checkout of their own with data and connectors, our runs in it, and the bare shell pipes.

Every timed run is checked: the counts of ``run.finished`` against the input, files and state against those of the bare
pipe. A run that is fast and wrong ends the benchmark.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from checkout import Checkout
from platform_checkout import variables_set
from table import ROOT, WrongError, output_of, spread

from cluster.config.settings import VARIABLE, Settings, parse
from cluster.platform.handles import Handles
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IMAGES = {"Kubernetes": "node", "Argo": "controller"}
"""What runs in a cluster, and the images that tell its version."""

MANIFEST = """[project]
name = "{name}"
version = "1.0.0"
requires-python = ">=3.8"

[project.scripts]
{name} = "{module}:main"

[build-system]
requires = ["uv_build>=0.13,<0.14"]
build-backend = "uv_build"

[tool.uv.build-backend]
module-root = ""
"""

TAP = '''"""Becomes ``cat`` of the files in its config: the fastest tap there is."""
import json, os, sys


def main():
    config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
    os.execvp("cat", ["cat", *config["files"]])
'''

TARGET = '''"""Reads all, keeps nothing, and prints one state: how many bytes there were. Writes a file of one line."""
import json, os


def main():
    total = 0
    while data := os.read(0, 1 << 20):
        total += len(data)
    with open("bytes.txt", "w") as file:
        print(total, file=file)
    print(json.dumps({"bytes": total}))
'''


class Taken(NamedTuple):
    """Seconds on the clock, and of processors: the latter tell more where the machine is not ours alone."""

    wall: float
    cpu: float


class Lab(Checkout):
    """A copy of the project with connectors to measure."""

    def __init__(self, root: Path, shared: Path) -> None:
        """Copy the project; what its connectors need comes from uv's cache where it is there."""
        super().__init__(root, shared)
        os.environ["UV_CACHE_DIR"] = self.environ["UV_CACHE_DIR"]
        self.versions: dict[str, str] = {}
        self.data = root / "data"
        self.data.mkdir()
        for name, program in (("tap-cat", TAP), ("target-none", TARGET)):
            self.package(name, program)
        for name in ("bin", "lib", "pyvenv.cfg", "requirements.lock"):  # for the launcher: an environment that is up to date
            (root / ".venv").mkdir(exist_ok=True)
            (root / ".venv" / name).symlink_to(root / name if name == "requirements.lock" else Path(sys.prefix) / name)

    def package(self, name: str, program: str) -> None:
        """Make a project of this checkout that installs one program, for ``connector``."""
        module = name.replace("-", "_")
        package = self.root / "benchmarks" / "connectors" / name / module
        package.mkdir(parents=True)
        (package / "__init__.py").write_text(program, encoding="utf-8")
        (package.parent / "pyproject.toml").write_text(MANIFEST.format(name=name, module=module), encoding="utf-8")

    def connector(self, name: str, requirement: str, config: dict[str, Any], *capabilities: str) -> None:
        """Write a connector's files."""
        kind = name.partition("-")[0]
        self.write(f"{name}/connector.yaml", {"kind": kind, "pip_url": requirement, "capabilities": list(capabilities)})
        self.write(f"{name}/config.json", config)

    def pair(self, tap: str, target: str, streams: dict[str, int] | None, *, initial: bool = False) -> Pair:
        """Return the pipeline of two connectors, its environments made, and its catalog fixed so that no run discovers."""
        self.write("pipelines.yaml", {"p": {"tap": tap, "target": target}})
        return Pair(self, streams, initial=initial)


class Platform:
    """A lab, and the cluster in which its pipelines run."""

    def __init__(self, lab: Lab, **fixed: str) -> None:
        """Take the lab. The environment's settings hold, but for those that are *fixed*; without a name the cluster is a new one."""
        self.lab = lab
        keys = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
        self.lab.seconds = 1800
        self.environ = {f"{VARIABLE}CLUSTER": "singer-benchmark", **keys, **variables_set(), **fixed}
        chosen = {name.removeprefix(VARIABLE).lower(): value for name, value in self.environ.items() if name.startswith(VARIABLE)}
        self.settings = parse(chosen, {}, root=lab.root)
        self.versions = {name: self.settings.image(image).partition("@")[0].rpartition(":")[2] for name, image in IMAGES.items()}

    def invoke(self, *words: str) -> float:
        """Type one of our commands, which must succeed, and return how long it took."""
        began = time.monotonic()
        result = self.lab.invoke(*words, **self.environ)
        if result.code:
            raise WrongError(f"invoke {' '.join(words)}: {result.err.strip() or result.out}")
        return time.monotonic() - began

    def handles(self) -> Handles:
        """Return handles on the cluster."""
        return Handles(self.settings, self.environ)

    def node(self, script: str) -> str:
        """Return what a line of shell prints on the node, nothing where the node is no container of this machine."""
        containers = {"kind": f"{self.settings.cluster}-control-plane", "minikube": self.settings.cluster}
        container = containers.get(self.settings.provider)
        return output_of("docker", "exec", container, "sh", "-c", script) if container else ""

    def memory(self) -> float:
        """Return the memory of all processes of the node in MiB (Pss: what they share counts once), 0 where it cannot be seen."""
        lines = self.node("cat /proc/[0-9]*/smaps_rollup 2>/dev/null").splitlines()
        return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

    @contextmanager
    def up(self) -> Iterator[None]:
        """Hold the platform up until the body ends."""
        try:
            self.invoke("up")
            yield
        finally:
            self.invoke("teardown", "--yes")


class Pair:
    """The pipeline ``p`` of a lab, run by us and as a line of shell."""

    def __init__(self, lab: Lab, streams: dict[str, int] | None, *, initial: bool) -> None:
        """Take what must arrive, if that is known: stream to number. With *initial*, runs go on from the state of a first run."""
        self.lab = lab
        self.streams = streams
        self.records = sum((streams or {}).values())
        self.folder = lab.root / "bare"
        settings = Settings(root=lab.root)
        pipeline = Project(lab.root).pipeline("p")
        with redirect_stdout(sys.stderr):
            tap, target = Environments(settings).ensure([pipeline.tap, pipeline.target], Plain())
        lab.versions |= {pipeline.tap.name: tap.version, pipeline.target.name: target.version}
        self.tap = [str(tap.executable), "--config", str(pipeline.config)]
        self.target = [str(target.executable), "--config", str(pipeline.target_config)]
        if "discover" in pipeline.tap.capabilities:
            text = subprocess.run([*self.tap, "--discover"], capture_output=True, text=True, check=True).stdout
            self.tap += ["--catalog", str(lab.write(f"{pipeline.tap.name}/catalog.json", text))]
        self.full = [] if initial else ["--full"]
        self.left: tuple[Any, Any] | None = None
        self.initial: Any = None
        if initial:
            self.initial = self._ours()[1]["state"]
            self.tap += ["--state", str(lab.write("state.json", self.initial))]

    def ours(self) -> Taken:
        """Run it with our command; return the seconds that the command took."""
        taken, last = self._ours()
        if self.streams is not None and last["records"] != self.streams:
            raise WrongError(f"run.finished counts {last['records']}, the input is {self.streams}")
        bucket = self.lab.local / "buckets" / "target-csv-output"
        self._check(digests(bucket / "p" / last["run"]), last["state"])
        for folder in (bucket / "p", self.lab.local / "logs" / "p", self.lab.root / "output"):
            shutil.rmtree(folder, ignore_errors=True)
        return taken

    def _ours(self) -> tuple[Taken, dict[str, Any]]:
        began = clock()
        result = self.lab.run("p", *self.full)
        taken = since(began)
        if result.code:
            raise WrongError(result.err)
        return taken, result.last

    def bare(self) -> Taken:
        """Run the same programs with the same files as a line of shell; return the seconds that it took."""
        self.folder.mkdir()
        line = f"{shlex.join(self.tap)} | {shlex.join(self.target)} >../bare.state"
        began = clock()
        with (self.lab.root / "bare.log").open("wb") as log:
            done = subprocess.run(
                ["bash", "-o", "pipefail", "-c", line],
                cwd=self.folder,
                env=self.lab.environ,
                stdin=subprocess.DEVNULL,
                stderr=log,
                check=False,
            )
        taken = since(began)
        if done.returncode:
            raise WrongError((self.lab.root / "bare.log").read_text(encoding="utf-8"))
        states = (self.lab.root / "bare.state").read_text(encoding="utf-8").splitlines()
        self._check(digests(self.folder), json.loads(states[-1]) if states else None)
        shutil.rmtree(self.folder)
        return taken

    def _check(self, files: dict[str, str], state: Any) -> None:
        """See that every run leaves the same. Where the target printed no state, the one that the run began with stays."""
        result = files, state or self.initial
        self.left = self.left or result
        if self.left != result:
            raise WrongError(f"one run left {self.left}, another {result}")


def digests(folder: Path) -> dict[str, str]:
    """Return the name and the SHA-256 of every file below *folder*."""
    results = {}
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                results[str(path.relative_to(folder))] = hashlib.file_digest(file, "sha256").hexdigest()
    return results


@contextmanager
def lab() -> Iterator[Lab]:
    """Yield a lab on the checkout's own disk; nothing is left of it."""
    shared = ROOT / ".local" / "tests"
    (shared / "environments").mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="benchmark-", dir=shared.parent) as folder:
        root = Path(folder) / "checkout"
        root.mkdir()
        yield Lab(root, shared)


def clock() -> Taken:
    """Return the time now: on the clock, and of all child processes that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Taken(time.perf_counter(), used.ru_utime + used.ru_stime)


def since(began: Taken) -> Taken:
    """Return what has passed."""
    now = clock()
    return Taken(now.wall - began.wall, now.cpu - began.cpu)


def in_turn(times: int, *actions: Callable[[], Taken]) -> list[list[Taken]]:
    """Return the seconds of each of *actions*, done in turn *times* times after once for nothing: a loaded machine is so for all."""
    rounds = [[action() for action in actions] for _ in range(times + 1)]
    return [list(column) for column in zip(*rounds[1:], strict=True)]


def timed(lab: Lab, *command: str) -> Callable[[], Taken]:
    """Return an action: run a command in the lab, and say how long it took."""

    def action() -> Taken:
        began = clock()
        done = subprocess.run(command, cwd=lab.root, env=lab.environ, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        taken = since(began)
        if done.returncode:
            raise WrongError(done.stderr)
        return taken

    return action


def wall(values: list[Taken]) -> float:
    """Return the median of the seconds on the clock."""
    return median(value.wall for value in values)


def shown(values: list[Taken]) -> str:
    """Return the seconds on the clock, and the median of the processors'."""
    return spread([value.wall for value in values], f", CPU {median(value.cpu for value in values):.2f} s")
