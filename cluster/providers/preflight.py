"""Checks of a machine before its cluster is created or started: memory, disk, kernel, ports.

``up`` and ``doctor`` use them. Each check turns readings into shortages, and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.containers.ports import holder
from cluster.errors import SetupError
from cluster.host import system
from cluster.ui.format import gigabytes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cluster.containers.runtime import Info, Runtime

GB = 10**9
MEMORY_LEAST, MEMORY_GOOD = 2.5 * GB, 4 * GB
"""An empty kind node takes about 1 GB, the idle platform less than 1 GiB on top
(``benchmarks/up.py``), a run about 0.3 GB."""
DISK_LEAST, DISK_GOOD = 5 * GB, 10 * GB
"""All images unpacked are about 2.5 GB, on the laptop and once more on the node."""
CHECKOUT_LEAST, CHECKOUT_GOOD = 0.5 * GB, 2 * GB
"""The environments of the examples and their downloads are about 0.3 GB; what a tap loads comes on
top."""
INOTIFY = {"max_user_instances": 512, "max_user_watches": 524288}
"""What kind's documentation asks for (Known Issues, "Pod errors due to too many open files")."""
INSTANCES_LEAST = 64
"""A node of ours holds 27 (counted on one that is idle); the kernel's default is 128, and will
do."""

MORE_MEMORY = {
    "Docker Desktop": "Docker Desktop: Settings > Resources > Memory, 6 GB.",
    "OrbStack": "orb config set memory_mib 6144",
    "Rancher Desktop": "Rancher Desktop: Preferences > Virtual Machine > Memory, 6 GB.",
    "Colima": "colima stop, then colima start --memory 6",
    "podman": "podman machine stop, podman machine set --memory 6144, podman machine start",
}
MORE_DISK = "Make room ({program} system df shows what {program} uses), then run it again."


@dataclass(frozen=True)
class Shortage:
    """A resource of which there is too little."""

    subject: str
    fact: str
    remedy: str
    fatal: bool = False


def findings(info: Info, program: str, limits: Mapping[str, int], *, anew: bool = True) -> Iterator[Shortage]:
    """Yield shortages. *limits* are this machine's inotify limits, if they apply to the runtime.

    A cluster that is only woken has its images: little disk is then no reason to keep people from
    their data.
    """
    yield from _memory(info)
    yield from _disk(info, program, anew=anew)
    if info.cpus == 1:
        yield Shortage("CPUs", f"{info.product} has one CPU: everything will be slow.", "Give it two or more.")
    if info.rootless and info.cgroups == "1":
        remedy = "Boot with cgroup v2 (systemd.unified_cgroup_hierarchy=1), or use a runtime that runs as root."
        yield Shortage("cgroups", f"A rootless {info.product} on cgroup v1 cannot run kind's nodes.", remedy, fatal=True)
    elif info.rootless and not info.delegated:
        remedy = "See https://kind.sigs.k8s.io/docs/user/rootless/: a file with Delegate=yes for user@.service, then log in again."
        yield Shortage(
            "cgroups", f"A rootless {info.product} cannot give kind's nodes limits: nothing is delegated to it.", remedy, fatal=True
        )
    elif info.cgroups == "1":
        yield Shortage("cgroups", "This machine has cgroup v1, which Kubernetes has deprecated and will drop.", "Boot with cgroup v2.")
    yield from _inotify(limits)


def _memory(info: Info) -> Iterator[Shortage]:
    if not info.memory or info.memory >= MEMORY_GOOD:
        return
    remedy = MORE_MEMORY.get(info.product, "End other programs, or use a machine with more memory.")
    if system.here().name == "wsl":
        remedy = system.MEMORY_OF_WSL
    few = info.memory < MEMORY_LEAST
    needs = f"the platform needs {gigabytes(MEMORY_LEAST)}" if few else "pipelines may be slow"
    yield Shortage("Memory", f"{info.product} has {gigabytes(info.memory)} of memory: {needs}.", remedy, fatal=few)


def _disk(info: Info, program: str, *, anew: bool) -> Iterator[Shortage]:
    free = info.disk
    if free is None or free >= DISK_GOOD:
        return
    few = anew and free < DISK_LEAST
    fact = f"{gigabytes(free)} are free where {info.product} keeps its images: the platform needs {gigabytes(DISK_LEAST)}."
    yield Shortage("Disk", fact, MORE_DISK.format(program=program), fatal=few)


def _inotify(limits: Mapping[str, int]) -> Iterator[Shortage]:
    for name, wanted in INOTIFY.items():
        limit = limits.get(name, wanted)
        if limit < wanted:
            fatal = name == "max_user_instances" and limit < INSTANCES_LEAST
            fact = f"fs.inotify.{name} is {limit}, and kind asks for {wanted}: pods may fail with too many open files."
            yield Shortage("inotify", fact, f"sudo sysctl -w fs.inotify.{name}={wanted}", fatal=fatal)


def inotify_limits(info: Info, folder: Path = Path("/proc/sys/fs/inotify")) -> dict[str, int]:
    """Return this machine's inotify limits; none if the runtime is in a virtual machine."""
    if info.in_a_machine_of_its_own:
        return {}
    limits = {}
    for name in INOTIFY:
        try:
            limits[name] = int((folder / name).read_text(encoding="ascii"))
        except (OSError, ValueError):
            continue
    return limits


def ports_taken(moved: Mapping[int, int], runtime: Runtime | None) -> Iterator[Shortage]:
    """Return for each preferred port who uses it, and its replacement."""
    for preferred, used in moved.items():
        who = holder(preferred, runtime)
        yield Shortage(f"Port {preferred}", f"It is taken{f' by {who}' if who else ''}: {used} is used instead.", "")


def room(free: int) -> Shortage | None:
    """Return a shortage if the checkout's disk has too little space."""
    if free >= CHECKOUT_GOOD:
        return None
    fact = f"{gigabytes(free)} are free where this checkout is: connectors and their files need {gigabytes(CHECKOUT_LEAST)}."
    return Shortage("Checkout", fact, "Make room, or move the checkout.", fatal=free < CHECKOUT_LEAST)


def fatal(shortages: list[Shortage]) -> SetupError | None:
    """Return the error for the first fatal shortage."""
    worst = next((item for item in shortages if item.fatal), None)
    return SetupError("E-RESOURCES", worst.fact, hint=worst.remedy) if worst else None
