"""The container runtime of this machine: docker, podman or nerdctl.

All three take the same commands as far as we need them. ``info`` identifies the product, not the
program's name: ``docker`` may be Docker Desktop, OrbStack, Colima, Rancher Desktop or an alias of
podman.
"""

from __future__ import annotations

import json
import platform
import re
import shutil
import subprocess
import tempfile
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import SetupError
from cluster.host import system
from cluster.host.subprocesses import check, find, follow, last_line, run
from cluster.ui.format import gigabytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

PROGRAMS = ("docker", "podman", "nerdctl")
PRODUCTS = (
    ("Docker Desktop", "OperatingSystem", "Docker Desktop"),
    ("OrbStack", "OperatingSystem", "OrbStack"),
    ("Rancher Desktop", "OperatingSystem", "Rancher Desktop( .*)?"),
    ("Rancher Desktop", "Name", "lima-rancher-desktop"),
    ("Colima", "Name", "colima(-.*)?"),
)
"""Products, with the key and value of ``info`` that identify them. Colima's machines have
profiles."""
IMPORT_IMAGES = """
ctr images import --help | grep -q -e ' --local' && set -- --local
exec ctr --namespace=k8s.io images import --digests "$@" -
"""
IMPORT = ("sh", "-c", IMPORT_IMAGES, "-")
"""The command with which a node's containerd reads an archive from standard input. ``--local``, if
known, takes two thirds of the CPU time."""
ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


@dataclass(frozen=True)
class Info:
    """What ``info`` reports. Sizes are in bytes; 0 if unknown."""

    product: str
    version: str
    platform: str
    """In the form of images, such as ``linux/arm64``."""
    cpus: int
    memory: int
    rootless: bool
    cgroups: str
    root: str
    """The folder of its images, on the runtime's machine."""
    driver: str
    delegated: bool = True
    """Whether containers can have limits. Without root, systemd must delegate them."""
    remote: bool = False
    """Whether it reports that it runs elsewhere."""
    insecure: tuple[str, ...] = ()
    """The registries that it speaks to without TLS if they want it so."""

    def __str__(self) -> str:
        """Return what it is, in few words: ``Docker Desktop 27.0 (8.2 GB, 12 CPUs)``."""
        version = ".".join(self.version.split(".")[:2])
        has = [gigabytes(self.memory)] if self.memory else []
        has += [f"{self.cpus} CPU{'s' if self.cpus > 1 else ''}"] if self.cpus else []
        return " ".join(filter(None, (self.product, version, f"({', '.join(has)})" if has else "")))

    @property
    def in_a_machine_of_its_own(self) -> bool:
        """Whether it runs in a virtual machine, with its own memory, disk and sysctls."""
        return self.remote or self.product in {name for name, _, _ in PRODUCTS} or platform.system() != "Linux"

    @property
    def disk(self) -> int | None:
        """Free bytes where its images are, None where that cannot be seen from here."""
        if self.in_a_machine_of_its_own:
            return None
        folder = next((path for path in [Path(self.root), *Path(self.root).parents] if path.exists()), Path("/"))
        try:
            return shutil.disk_usage(folder).free
        except OSError:
            return None


def read_info(text: str, program: str) -> Info:
    """Read what ``info --format`` printed: Docker's fields, which nerdctl has too, or podman's.

    :raises ValueError: it is neither.
    """
    data = json.loads(text)
    if not isinstance(data, dict):
        raise TypeError("no object")
    if "host" in data:
        return _podman(data)
    product = next((name for name, key, sign in PRODUCTS if re.fullmatch(sign, str(data.get(key) or ""))), "")
    options = " ".join(map(str, data.get("SecurityOptions") or []))
    return Info(
        product=product or ("containerd" if program == "nerdctl" else "docker"),
        version=str(data.get("ServerVersion") or "").removeprefix("v"),
        platform=_platform(data.get("OSType"), data.get("Architecture")),
        cpus=int(data.get("NCPU") or 0),
        memory=int(data.get("MemTotal") or 0),
        rootless="rootless" in options,
        cgroups=str(data.get("CgroupVersion") or ""),
        root=str(data.get("DockerRootDir") or "/"),
        driver=str(data.get("Driver") or ""),
        delegated=all(data.get(key, True) for key in ("MemoryLimit", "PidsLimit", "CPUShares")),
        insecure=_named(((data.get("RegistryConfig") or {}).get("IndexConfigs") or {}), "Secure", spared=True),
    )


def _podman(info: dict[str, Any]) -> Info:
    host, store = info["host"], info.get("store") or {}
    return Info(
        product="podman",
        version=str((info.get("version") or {}).get("Version") or ""),
        platform=_platform(host.get("os"), host.get("arch")),
        cpus=int(host.get("cpus") or 0),
        memory=int(host.get("memTotal") or 0),
        rootless=bool((host.get("security") or {}).get("rootless")),
        cgroups=str(host.get("cgroupVersion") or "").removeprefix("v"),
        root=str(store.get("graphRoot") or "/"),
        driver=str(store.get("graphDriverName") or ""),
        delegated={"cpu", "memory", "pids"} <= set(host.get("cgroupControllers", ("cpu", "memory", "pids"))),
        remote=bool(host.get("serviceIsRemote")),
        insecure=_named(info.get("registries") or {}, "Insecure", spared=False),
    )


def _named(registries: dict[str, Any], key: str, *, spared: bool) -> tuple[str, ...]:
    """Return the registries whose value at a key is not *spared*; podman lists other names too."""
    return tuple(name for name, value in registries.items() if isinstance(value, dict) and value.get(key, spared) is not spared)


def _platform(system: object, machine: object) -> str:
    return f"{system or 'linux'}/{ARCHITECTURES.get(str(machine), str(machine or 'unknown'))}"


class Runtime:
    """One program, and the same commands for each."""

    def __init__(self, chosen: str = "auto") -> None:
        """Take the setting ``singer.runtime``. Nothing is run yet."""
        self.chosen = chosen
        self.patience: float | None = None
        """The timeout of a command in seconds; None for none."""
        self._answers: dict[tuple[str, ...], Future[subprocess.CompletedProcess[str]]] | None = None
        self._acting = 0
        """How many steps act at this moment."""
        self._lock = threading.Lock()

    @cached_property
    def program(self) -> str:
        """The program: the chosen one, else the first that is on PATH.

        :raises SetupError: E-PROGRAM, there is none.
        """
        if self.chosen != "auto":
            find(self.chosen)
            return self.chosen
        return next((name for name in PROGRAMS if shutil.which(name)), "") or find(PROGRAMS[0])

    @cached_property
    def info(self) -> Info:
        """Its ``info``.

        :raises SetupError: E-RUNTIME, it does not answer.
        """
        result = self.ask("info", "--format", "{{json .}}")
        try:
            answer = json.loads(result.stdout)
            if result.returncode or answer.get("ServerErrors"):
                raise self.silent(result.stderr or "\n".join(answer.get("ServerErrors") or []))
            return read_info(result.stdout, self.program)
        except (ValueError, TypeError, AttributeError, KeyError):
            raise self.silent(result.stderr) from None

    def silent(self, text: str) -> SetupError:
        """Return the error for a runtime that does not answer, with its own words."""
        denied = "permission denied" in text.lower()
        hint = (
            "Put your user into the group docker: sudo usermod -aG docker $USER, then log in again."
            if denied
            else {"podman": "Start its machine: podman machine start. Then run it again."}.get(
                self.program, f"Start Docker ({system.here().choose(system.START_DOCKER)}), then run it again."
            )
        )
        return SetupError("E-RUNTIME", f"{self.program.capitalize()} does not answer: {last_line(text)}", hint=hint)

    # -- commands

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of its commands to its end, with any exit code."""
        return run([self.program, *words], stdin=stdin, seconds=self.patience)

    def keep_answers(self) -> None:
        """From now on, ask the same question once, while nothing acts."""
        with self._lock:
            self._answers = {} if self._answers is None and not self._acting else self._answers

    def forget_answers(self) -> None:
        """Ask each question anew from now on."""
        with self._lock:
            self._answers = None

    @contextmanager
    def acting(self) -> Iterator[None]:
        """Ask each question anew until the body has ended: it changes something."""
        with self._lock:
            kept = self._answers is not None or self._acting
            self._answers = None
            self._acting += 1
        try:
            yield
        finally:
            with self._lock:
                self._acting -= 1
                self._answers = {} if kept and not self._acting else None

    def ask(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run one of its commands that changes nothing, or return the answer that is kept."""
        with self._lock:
            first = self._answers is None or words not in self._answers
            answer = Future[subprocess.CompletedProcess[str]]() if self._answers is None else self._answers.setdefault(words, Future())
        if first:
            try:
                answer.set_result(self.run(*words))
            except BaseException as error:
                answer.set_exception(error)
                raise
        return answer.result()

    def check(self, *words: str, code: str, doing: str, hint: str) -> str:
        """Run one of its commands that must succeed, and return its standard output."""
        return check([self.program, *words], code=code, doing=doing, hint=hint)

    def follow(self, words: Sequence[str], say: Callable[[str], None], *, environ: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Run one of its commands and pass each line to *say*; *environ* is added to ours."""
        return follow([self.program, *words], say, environ=environ)

    def containers(self, label: str) -> dict[str, str]:
        """Return the containers with a label and their state, by name.

        States are ``running``, ``paused``, ``exited`` and ``created``. Read from ``Status``, which
        all three programs have; nerdctl has no ``State``.

        :raises SetupError: E-RUNTIME, it does not answer.
        """
        result = self.ask("ps", "--all", "--filter", f"label={label}", "--format", "{{.Names}} {{.Status}}")
        if result.returncode:
            raise self.silent(result.stderr)
        lines = (line.split() for line in result.stdout.splitlines())
        return {words[0]: _state(words[1:]) for words in lines if words}

    def publisher(self, port: int) -> str:
        """Return the container that publishes a port of this machine; nothing where none does.

        Read from ``Ports``, which all three programs have; a filter for it has docker alone.
        """
        for line in self.run("ps", "--format", "{{.Names}}\t{{.Ports}}").stdout.splitlines():
            name, _, ports = line.partition("\t")
            for first, last in re.findall(r":(\d+)(?:-(\d+))?->", ports):
                if int(first) <= port <= int(last or first):
                    return name
        return ""

    def read(self, container: str, file: str) -> str:
        """Return the text of a file in a container, also a stopped one; empty without one."""
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "copy"
            self.run("cp", f"{container}:{file}", str(copy))
            return copy.read_text(encoding="utf-8", errors="replace") if copy.is_file() else ""

    def image_of(self, container: str) -> str:
        """Return the image of a container; empty if there is none, or it is unknown."""
        result = self.ask("container", "inspect", "--format", "{{.Config.Image}}", container)
        return "" if result.returncode else result.stdout.strip()

    # -- images

    def absent(self, images: Sequence[str], platform: str = "") -> list[str]:
        """Return those of *images* that it does not have, or has for another platform."""
        if not images:
            return []
        inspect = ("image", "inspect", "--format", "{{.Os}}/{{.Architecture}}" if platform else "{{.Id}}")

        def there(*names: str) -> bool:
            result = self.ask(*inspect, *names)
            return not result.returncode and (not platform or result.stdout.split() == [platform] * len(names))

        if there(*images):
            return []
        with ThreadPoolExecutor() as pool:
            return [image for image, present in zip(images, pool.map(there, images), strict=True) if not present]

    def sizes(self, images: Sequence[str]) -> dict[str, int]:
        """Return the sizes in bytes, unpacked, of those of *images* that it has."""
        sizes = {}
        for image in images:
            result = self.run("image", "inspect", "--format", "{{.Size}}", image)
            if result.returncode == 0 and result.stdout.strip().isdecimal():
                sizes[image] = int(result.stdout)
        return sizes

    def on_node(self, node: str) -> set[str] | None:
        """Return the images of a node in a container, by full name; None if it cannot be asked."""
        result = self.ask("exec", node, "crictl", "images", "--output", "json")
        if result.returncode:
            return None
        return {tag for image in json.loads(result.stdout or "{}").get("images", []) for tag in image.get("repoTags", [])}

    def _save(self, images: Sequence[str], *options: str) -> list[str]:
        return ["save", *(["--multi-image-archive"] if self.info.product == "podman" else []), *options, *images]

    def save(self, images: Sequence[str], archive: Path) -> None:
        """Write images into one archive.

        :raises SetupError: E-IMAGE, the runtime refused.
        """
        hint = "Run it again; invoke status shows what is missing."
        self.check(*self._save(images, "--output", str(archive)), code="E-IMAGE", doing="Saving images", hint=hint)

    def into_node(self, node: str, images: Sequence[str]) -> None:
        """Stream images into the containerd of a node in a container, in one archive.

        :raises SetupError: E-IMAGE, the runtime or containerd refused.
        """
        importing = [self.program, "exec", "--interactive", node, *IMPORT]
        with subprocess.Popen([find(self.program), *self._save(images)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as saving:
            assert saving.stdout is not None
            assert saving.stderr is not None
            done = subprocess.run(importing, stdin=saving.stdout, capture_output=True, text=True, check=False)
            saving.stdout.close()  # else saving waits forever after a failed import
            output = saving.stderr.read().decode("utf-8", "replace")
        if saving.returncode or done.returncode:
            raise SetupError(
                "E-IMAGE",
                f"Loading images failed: {last_line(done.stderr or output)}",
                hint="Run it again; invoke status shows what is missing.",
            )


def _state(status: Sequence[str]) -> str:
    """Return the state from a status such as ``Up 3 minutes (Paused)`` or ``Exited (137)``."""
    first = (status[0] if status else "created").lower()
    if first == "up":
        return "paused" if "(Paused)" in status else "running"
    return first


def registry_of(repository: str) -> str:
    """Return the registry that a repository is in: what stands before the names of its images."""
    return full_name(f"{repository}/x").partition("/")[0]


def full_name(image: str) -> str:
    """Return an image's name as containerd writes it: with registry, without a digest."""
    name = image.partition("@")[0] if ":" in image.partition("@")[0].rpartition("/")[2] else image
    first, slash, _ = name.partition("/")
    if not slash:
        return f"docker.io/library/{name}"
    return name if "." in first or ":" in first or first == "localhost" else f"docker.io/{name}"
