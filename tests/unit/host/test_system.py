"""Which system this is, and the commands that fit it."""

from __future__ import annotations

import pytest

from cluster.host import system as advice

UBUNTU = {"NAME": "Ubuntu", "VERSION_ID": "24.04", "ID": "ubuntu", "ID_LIKE": "debian"}


@pytest.mark.parametrize(
    ("platform", "release", "kernel", "system", "installs", "starts"),
    [
        ("darwin", {}, "", advice.System("macos"), "brew", "open -a Docker"),
        ("linux", UBUNTU, "6.8.0-45-generic", advice.System("linux", "debian"), "apt", "systemctl"),
        ("linux", UBUNTU, "5.15.153.1-microsoft-standard-WSL2", advice.System("wsl", "debian"), "WSL integration", "Windows"),
        ("linux", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "5.14.0", advice.System("linux", "fedora"), "dnf", "systemctl"),
        ("linux", {"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"}, "6.9", advice.System("linux", "suse"), "zypper", "systemctl"),
        ("linux", {"ID": "arch"}, "6.9-arch1", advice.System("linux", "arch"), "pacman", "systemctl"),
        ("linux", {"ID": "alpine"}, "6.6", advice.System("linux", "alpine"), "apk", "service"),
        ("linux", {"ID": "nixos"}, "6.6", advice.System("linux", ""), "", "systemctl"),
        ("linux", {}, "", advice.System("linux", ""), "", "systemctl"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_to_type_is_that_of_the_system(
    platform: str, release: dict[str, str], kernel: str, system: advice.System, installs: str, starts: str
) -> None:
    """Each system is recognised from its own description, and gets its own lines; an unknown one gets none that do not fit."""
    assert advice.read(platform, release, kernel) == system
    assert installs in system.choose(advice.INSTALL_RUNTIME)
    assert bool(installs) == bool(system.choose(advice.INSTALL_RUNTIME))
    assert starts in system.choose(advice.START_DOCKER)
    assert system.choose(advice.SET_CLOCK)
