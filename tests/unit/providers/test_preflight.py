"""The findings about a machine before a cluster is made on it, and the program that holds a port."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from cluster.containers.ports import holder, read_lsof
from cluster.containers.runtime import Info, Runtime
from cluster.providers import preflight
from cluster.providers.preflight import INOTIFY, fatal, findings, inotify_limits

ROOT = Path(__file__).resolve().parents[3]
GB = 10**9
DESKTOP = Info(
    "Docker Desktop", "28.2.2", "linux/arm64", 8, 16 * GB, rootless=False, cgroups="2", root="/var/lib/docker", driver="overlayfs"
)
PLAIN = replace(DESKTOP, product="docker", root="/")


def subjects(info: Info, **limits: int) -> list[tuple[str, bool]]:
    """Return what is found: its subject, and whether nothing works with it."""
    return [(item.subject, item.fatal) for item in findings(info, "docker", limits)]


def test_a_healthy_machine() -> None:
    """A machine that lacks nothing has no findings."""
    assert subjects(DESKTOP) == []
    assert fatal(list(findings(DESKTOP, "docker", {}))) is None


@pytest.mark.parametrize(
    ("changed", "finding"),
    [
        ({"memory": 2 * GB}, ("Memory", True)),
        ({"memory": 3 * GB}, ("Memory", False)),
        ({"cpus": 1}, ("CPUs", False)),
        ({"cgroups": "1"}, ("cgroups", False)),
        ({"cgroups": "1", "rootless": True}, ("cgroups", True)),
        ({"rootless": True, "delegated": False}, ("cgroups", True)),
    ],
    ids=str,
)
def test_a_machine_that_lacks_something(changed: dict[str, object], finding: tuple[str, bool]) -> None:
    """Each lack is found by itself; what slows things down is a warning, what prevents a cluster is an error."""
    assert subjects(replace(DESKTOP, **changed)) == [finding]  # type: ignore[arg-type]


@pytest.mark.parametrize("product", ["Docker Desktop", "OrbStack", "Rancher Desktop", "Colima", "podman"])
def test_more_memory_is_had_where_the_product_has_it(product: str) -> None:
    """The hint about too little memory uses the words of the product that provides it."""
    finding = next(item for item in findings(replace(DESKTOP, product=product, memory=2 * GB), "docker", {}) if item.subject == "Memory")
    assert {
        "Docker Desktop": "Settings",
        "OrbStack": "orb ",
        "Rancher Desktop": "Preferences",
        "Colima": "colima start",
        "podman": "podman machine",
    }[product] in finding.remedy
    assert product in finding.fact


def test_a_runtime_that_says_nothing_of_its_memory() -> None:
    """What is not known is not complained about."""
    assert subjects(replace(DESKTOP, memory=0, cpus=0)) == []


class Roomy(Info):
    """A machine of which we say how much room it has."""

    free = 0
    disk = property(lambda self: self.free)


@pytest.mark.parametrize(("free", "finding"), [(4, [("Disk", True)]), (7, [("Disk", False)]), (50, [])])
def test_the_disk(free: int, finding: list[tuple[str, bool]]) -> None:
    """Too little room where the images are stops; a little more is a warning; who has data in a cluster may wake it all the same."""
    machine = type("Machine", (Roomy,), {"free": free * GB})(**asdict(PLAIN))
    assert subjects(machine) == finding
    assert not fatal(list(findings(machine, "docker", {}, anew=False)))


def test_a_disk_that_cannot_be_seen() -> None:
    """The disk of a virtual machine cannot be seen from here, and there is no finding about it."""
    assert DESKTOP.disk is None
    assert subjects(DESKTOP) == []


def test_inotify(tmp_path: Path) -> None:
    """Limits below what kind asks for are named with the line that raises them; below the kernel's own default nothing works."""
    few = {"max_user_instances": 128, "max_user_watches": 65536}
    for name, value in few.items():
        (tmp_path / name).write_text(f"{value}\n")
    limits = inotify_limits(PLAIN, tmp_path)
    assert limits == few
    results = list(findings(PLAIN, "docker", limits))
    assert [item.remedy for item in results if item.subject == "inotify"] == [
        f"sudo sysctl -w fs.inotify.{name}={INOTIFY[name]}" for name in few
    ]
    assert not any(item.fatal for item in results)
    assert ("inotify", True) in subjects(PLAIN, max_user_instances=63)
    assert inotify_limits(DESKTOP, tmp_path) == {}


# -- who holds a port


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])  # noqa: S104 - as other people's programs do
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_that_holds_a_port(address: str) -> None:
    """The program that listens on a port is named with its number, whichever address it listens on."""
    family = "AF_INET6" if ":" in address else "AF_INET"
    program = (
        f"import socket; s = socket.create_server(({address!r}, 0), family=socket.{family}); print(s.getsockname()[1], flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = int(process.stdout.readline())
        assert holder(port).endswith(f"(pid {process.pid})")
        process.communicate("\n")


@pytest.mark.skipif(not sys.platform.startswith("linux") or os.geteuid() != 0, reason="looks as somebody else: needs root on Linux")
def test_a_program_of_somebody_else() -> None:
    """Where the program is not ours to see, at least its user is named."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        look = f"import encodings.ascii, os, sys; sys.path.insert(0, {str(ROOT)!r}); from cluster.containers.ports import holder"
        look += f"; os.setgroups([]); os.setgid(65534); os.setuid(65534); print(holder({server.getsockname()[1]}))"
        printed = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True).stdout
    assert printed == 'a program of the user "root"\n'


PUBLISHED = r"""#!/bin/sh
printf 'db\t127.0.0.1:5432->5432/tcp, 6379/tcp\n'
printf 'web\t0.0.0.0:8000-8010->8000-8010/tcp, [::]:8000-8010->8000-8010/tcp\n'
printf 'inner\t9000/tcp\n'
"""


def test_a_container_that_holds_a_port(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A container is named that publishes the port, alone or in a range; one that only exposes it is not."""
    program = tmp_path / "podman"
    program.write_text(PUBLISHED)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    runtime = Runtime("podman")
    assert [runtime.publisher(port) for port in (5432, 8000, 8005, 8010, 8011, 6379, 9000)] == ["db", "web", "web", "web", "", "", ""]
    assert holder(8005, runtime) == 'the container "web"'


def test_what_macos_prints() -> None:
    """Of what lsof prints the first program is read."""
    assert read_lsof("p812\ncphp-fpm\nf7\np813\ncphp-fpm\nf7\n") == '"php-fpm" (pid 812)'
    assert read_lsof("p812\ncCode Helper (Plugin)\nf7\n") == '"Code Helper (Plugin)" (pid 812)'
    assert read_lsof("") == ""


def test_a_port_that_nobody_holds() -> None:
    """If nobody listens nobody is named, also not a program that is connected to that port elsewhere."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert holder(port) == ""


@pytest.mark.parametrize(("free", "fatal"), [(0.2, True), (1, False), (50, None)])
def test_room_for_connectors(free: float, fatal: bool | None) -> None:  # noqa: FBT001 - a column of the table
    """Too little room for the connectors' environments stops, a little is a warning, and enough is not worth a word."""
    finding = preflight.room(int(free * 10**9))
    assert (None if finding is None else finding.fatal) == fatal
