"""The most used connectors of Meltano Hub: which of them ``new`` finds, installs, starts and tries, and which images are built.

Beside each the bare ``uv pip install`` of the same package and the program's ``--help``. Which connectors, and in which order: the
rows of the table on the page, else those of a file with lines such as ``extractors<TAB>tap-csv<TAB>meltanolabs``.

Three variables change that. ``BENCH_HUB_LIST`` names that file. ``BENCH_HUB_FOLDER`` is a folder that keeps the results, so that a second
call goes on where the first ended. ``BENCH_HUB_IMAGES`` is how many images are built (all, if it is not set).
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from table import ROOT, Row, content_of, grid, page_of, spread
from uv import find_uv_bin

from cluster.config.settings import VARIABLE, parse
from cluster.containers import images
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.onboarding.definition import read
from cluster.onboarding.hub import SECTIONS, Entry, Hub
from cluster.project.reader import Project
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.onboarding.definition import Definition

HEADERS = ("connector", "found", "installed", "started", "tried", "image", "`uv pip install`, `--help`")
INSTALL_SECONDS, NEW_SECONDS, HELP_SECONDS = 900, 1800, 120
GOAL = 0.95
SEEN: list[Attempt] = []
"""What ``rows`` has tried, for ``details``."""


@dataclass
class Attempt:
    """What became of one connector. Seconds are 0, and texts empty, for what was not reached."""

    name: str
    variant: str
    source: str = ""
    """Where its definition came from; empty if the Hub has none."""
    installed: float = 0
    started: float = 0
    """Seconds of the program's ``--help``."""
    tried: str = ""
    seconds: float = 0
    """Those of the whole ``new``."""
    python: str = ""
    repairs: list[str] = field(default_factory=list)
    problem: str = ""
    image: float = 0
    image_problem: str = ""
    bare_installed: float = 0
    bare_started: float = 0
    bare_problem: str = ""


class Shop:
    """A copy of the project in which connectors are made and removed, one after the other."""

    def __init__(self, root: Path, kept: Path) -> None:
        """Copy what is committed; uv's cache is shared by both sides, and by later calls if the folder is kept."""
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(root)], check=True)
        self.root, self.kept, self.bare_first = root, kept, False
        inherited = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV" and not name.startswith("BENCH_")}
        self.environ = {**inherited, "UV_CACHE_DIR": str(kept / "cache")}
        chosen = {name.removeprefix(VARIABLE).lower(): value for name, value in os.environ.items() if name.startswith(VARIABLE)}
        self.settings = parse(chosen, {}, root=root)
        self.builds = not why_no_images()
        self.hub = Hub(self.settings, os.environ, seconds=60)
        os.environ["UV_CACHE_DIR"] = self.environ["UV_CACHE_DIR"]

    def attempt(self, kind: str, result: Attempt) -> None:
        """Install a connector both ways and try it out, as far as an earlier call has not."""
        entry = Entry(kind, result.name, (result.variant,))
        try:
            stated = read(entry, result.variant, self.hub.definition(entry, result.variant).document)
        except SetupError as error:
            result.problem = error.problem
            return
        with tempfile.TemporaryDirectory(prefix="bare-", dir=self.root.parent) as folder:
            ways = [] if result.bare_installed or result.bare_problem else [partial(self.bare, Path(folder), stated, result)]
            ways += [] if result.seconds else [partial(self.new, kind, result)]
            self.bare_first = not self.bare_first
            for step in ways if self.bare_first else ways[::-1]:
                step()

    def bare(self, venv: Path, stated: Definition, result: Attempt) -> None:
        """Do what most tools do: install into a venv of this Python, and start the program."""
        uv = [find_uv_bin(), "--no-config", "--no-progress"]
        python = getattr(sys, "_base_executable", sys.executable)
        seconds, text = self.timed([*uv, "venv", "--quiet", "--clear", "--python", python, str(venv)])
        install = [*uv, "pip", "install", "--quiet", "--python", str(venv)]
        more, problem = self.timed([*install, *stated.requirements], INSTALL_SECONDS)
        result.bare_problem = last(text or problem)
        if text or problem:
            return
        result.bare_installed = seconds + more
        result.bare_started, problem = self.help(venv / "bin" / (stated.executable or result.name))
        result.bare_problem = last(problem)

    def new(self, kind: str, result: Attempt) -> None:
        """Type ``new``, and keep its result."""
        name = f"{result.name}-{result.variant}".lower()
        began = time.monotonic()
        words = ["new", name, "--variant", f"{result.name}--{result.variant}", "--no-input", "--json"]
        done = self.run([sys.executable, "-m", "invoke", *words], NEW_SECONDS)
        result.seconds = time.monotonic() - began
        events: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
        result.repairs = [event["change"] for event in events if event["event"] == "repair"]
        result.source = "hub"
        error = next((f"{event['code']} {event['problem']}" for event in events if event["event"] == "error"), "")
        made = next((event for event in events if event["event"] == "connector"), {})
        steps = [event["seconds"] for event in events if event["event"] == "step.finished" and event["detail"].startswith("environment")]
        result.installed = sum(steps) if made or error.startswith("E-CONNECTOR") else 0
        result.problem = error or ("" if made or not done.returncode else last(done.stderr) or "no answer")
        if made:
            connector = Project(self.root).connector(name)
            result.python = connector.python or ""
            [environment] = [item for item in [Environments(self.settings).find(connector)] if item]
            result.started, result.problem = self.help(environment.executable)
            result.tried = tried(kind, events)
            shutil.copytree(connector.folder, self.kept / "connectors" / name, dirs_exist_ok=True)
            shutil.rmtree(connector.folder)
        log = self.root / ".local" / "logs" / "environments" / f"{name}.log"
        if log.exists():
            (self.kept / "logs").mkdir(exist_ok=True)
            shutil.copy(log, self.kept / "logs")
        shutil.rmtree(self.root / ".local" / "environments", ignore_errors=True)
        (self.root / ".env").unlink(missing_ok=True)

    def image(self, result: Attempt) -> None:
        """Build its image, start the program in it, and remove the image."""
        name = f"{result.name}-{result.variant}".lower()
        folder = self.root / "singer-configs" / name
        shutil.copytree(self.kept / "connectors" / name, folder)
        connector = Project(self.root).connector(name)
        runtime = Runtime(self.settings.runtime)
        began = time.monotonic()
        try:
            images.build(connector, self.settings, runtime, lambda _line: None)
            result.image = time.monotonic() - began
            program = f"/opt/connector/bin/{connector.executable}"
            done = runtime.run("run", "--rm", "--network", "none", "--entrypoint", program, images.tag(connector, self.settings), "--help")
            result.image_problem = last(done.stderr) if done.returncode else ""
        except SetupError as error:
            result.image_problem = f"{error.code} {error.problem}"
        finally:
            images.remove(images.made(images.tag(connector, self.settings), name, ""), runtime)
            shutil.rmtree(folder)

    def help(self, program: Path) -> tuple[float, str]:
        """Start a program for its help. Return the seconds, and what it printed if it failed."""
        if not program.exists():
            return 0, f"there is no program {program.name}"
        return self.timed([str(program), "--help"], HELP_SECONDS)

    def timed(self, command: Sequence[str], seconds: float = HELP_SECONDS) -> tuple[float, str]:
        """Run a command. Return the seconds, and what it printed if it failed."""
        began = time.monotonic()
        done = self.run(command, seconds)
        if done.returncode:
            return 0, done.stderr or done.stdout or f"exit code {done.returncode}"
        return time.monotonic() - began, ""

    def run(self, command: Sequence[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy, for so many seconds at most."""
        pipe = subprocess.PIPE
        with subprocess.Popen(
            command, env=self.environ, cwd=self.root, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe, text=True, start_new_session=True
        ) as process:
            try:
                out, err = process.communicate(timeout=seconds)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGTERM)
                out, err = process.communicate()
                err = f"not ready after {seconds:.0f} s"
            return subprocess.CompletedProcess(command, process.returncode, out, err)


def why_no_images() -> str:
    """Say why no image can be built here, nothing if one can."""
    try:
        _ = Runtime().info
    except SetupError as error:
        return error.problem
    return ""


def tried(kind: str, events: Sequence[Mapping[str, Any]]) -> str:
    """Return how far the trial came, in words."""
    made = next(event for event in events if event["event"] == "connector")
    lacking = [*made["missing"], *made["secrets"]]
    if lacking:
        return f"missing: {', '.join(lacking)}"
    checked = next((event for event in events if event["event"] == "check"), None)
    if checked:
        return "checked" if checked["ok"] else "checked, with findings"
    if any(event["event"] == "catalog" for event in events):
        return "discovered"
    warning = next((event["problem"] for event in events if event["event"] == "warning"), "")
    return warning or ("settings asked for" if kind == "tap" else "not tried without a login")


def last(text: str) -> str:
    """Return the last line with text."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:200] if lines else ""


def listing() -> list[tuple[str, str, str]]:
    """Return kind, name and variant of the connectors, the most used first."""
    file = os.environ.get("BENCH_HUB_LIST")
    if file:
        kinds = {section: kind for kind, section in SECTIONS.items()}
        rows = [line.split("\t") for line in Path(file).read_text(encoding="utf-8").splitlines()]
        return [(kinds[row[0]], row[1], row[2]) for row in rows if row[0] in kinds]
    listed = re.findall(r"^\| (tap|target)-(\S+), (\S+) \|", content_of("hub", page_of("hub").read_text(encoding="utf-8")), re.MULTILINE)
    return [(kind, f"{kind}-{name}", variant) for kind, name, variant in listed]


def attempts(versions: dict[str, str], *, quick: bool) -> Iterator[Attempt]:
    """Yield what became of each connector."""
    wanted = listing()[: 3 if quick else None]
    with tempfile.TemporaryDirectory(prefix="singer-hub-") as folder:
        kept = Path(os.environ.get("BENCH_HUB_FOLDER") or folder).resolve()
        kept.mkdir(exist_ok=True)
        shop = Shop(Path(folder) / "checkout", kept)
        versions["uv"] = version("uv")
        left = int(os.environ.get("BENCH_HUB_IMAGES") or len(wanted)) if shop.builds else 0
        for kind, name, variant in wanted:
            file = kept / f"{name}--{variant}.json"
            result = Attempt(**json.loads(file.read_text())) if file.exists() else Attempt(name, variant)
            shop.attempt(kind, result)
            file.write_text(json.dumps(asdict(result), indent=1))
            if left > 0 and result.started and not (result.image or result.image_problem):
                shop.image(result)
                file.write_text(json.dumps(asdict(result), indent=1))
            left -= bool(result.image or result.image_problem)
            yield result


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Try each connector, and yield the sums."""
    SEEN.clear()
    for result in attempts(versions, quick=quick):
        SEEN.append(result)
        print("  ".join(cells(result)), file=sys.stderr, flush=True)
    yield from sums(SEEN)


def sums(results: Sequence[Attempt]) -> Iterator[Row]:
    """Yield the rows about all connectors. What was not tried one way does not count there."""
    goal = f"at least {GOAL:.0%}"
    tried = [item for item in results if item.seconds or item.problem]
    started = [item for item in tried if item.started]
    bare = [item for item in results if item.bare_installed or item.bare_problem]
    bare_started = [item for item in bare if item.bare_started]
    yield Row("found in the Hub", f"{sum(bool(item.source) for item in tried)} of {len(tried)}")
    counts = f"{len(started)} of {len(tried)}", f"{len(bare_started)} of {len(bare)}"
    yield Row("installed and started", *counts, "", goal, len(started) >= GOAL * len(tried))
    both = [item for item in bare_started if item.started]
    if both:
        yield Row("installation", spread([item.installed for item in both]), spread([item.bare_installed for item in both]))
    images_tried = [item for item in results if item.image or item.image_problem]
    built = [item.image for item in images_tried if not item.image_problem]
    if built:
        yield Row("image built, and the program starts in it", f"{len(built)} of {len(images_tried)}")
        yield Row("an image", spread(built))


def details() -> str:
    """Return the table of the connectors that ``rows`` has tried."""
    return grid(HEADERS, [cells(item) for item in SEEN])


def cells(item: Attempt) -> list[str]:
    """Return a connector's row. What was not tried has no words."""
    python = [f"Python {item.python}"] if item.python else []
    repairs = [f"`{match[1]}`" for repair in item.repairs if (match := re.match(r"(\S+) is (?:added|used for the build)", repair))]
    also = f" ({', '.join(python + repairs)})" if python + repairs else ""
    started = f"{item.started:.1f} s{also}" if item.started else ""
    return [
        f"{item.name}, {item.variant}",
        item.source or failure(item.problem),
        f"{item.installed:.1f} s" if item.installed else failure(item.problem),
        started or failure(item.problem if item.installed else ""),
        plain(item.tried),
        f"{item.image:.0f} s" if item.image and not item.image_problem else failure(item.image_problem),
        f"{item.bare_installed:.1f} s, {item.bare_started:.1f} s" if item.bare_started else failure(item.bare_problem),
    ]


def failure(problem: str) -> str:
    """Return the reason for a cell without a time, nothing if there is none."""
    return f"**no**: {plain(problem)}" if problem else ""


def plain(text: str) -> str:
    """Return a text that fits into a cell of a page, without the folders of this machine."""
    return re.sub(r"\s+", " ", re.sub(r"'/\S+/(\S+)'", r"'\1'", text).replace("|", "/"))[:160]
