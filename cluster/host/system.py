"""The commands that install, start or enlarge something on this operating system.

We print them and never run them.
"""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

FAMILIES = {
    "debian": "debian", "ubuntu": "debian", "fedora": "fedora", "rhel": "fedora", "centos": "fedora",
    "arch": "arch", "suse": "suse", "opensuse": "suse", "alpine": "alpine",
}  # fmt: skip
"""A word of ``ID`` or ``ID_LIKE`` in ``/etc/os-release``, and the family with the same package
manager."""
INSTALL_RUNTIME = {
    "macos": "brew install --cask docker, then open -a Docker",
    "wsl": "install Docker Desktop in Windows, and switch this distribution on in its Settings > Resources > WSL integration",
    "debian": "sudo apt install docker.io, then sudo usermod -aG docker $USER, and log in again",
    "fedora": "sudo dnf install podman",
    "arch": "sudo pacman -S docker, then sudo systemctl enable --now docker and sudo usermod -aG docker $USER, and log in again",
    "suse": "sudo zypper install docker, then sudo systemctl enable --now docker and sudo usermod -aG docker $USER, and log in again",
    "alpine": "sudo apk add docker, then sudo rc-update add docker && sudo service docker start",
}
START_DOCKER = {
    "macos": "open -a Docker",
    "wsl": "start Docker Desktop in Windows, or sudo service docker start",
    "alpine": "sudo service docker start",
    "linux": "sudo systemctl start docker",
}
SET_CLOCK = {
    "macos": "sudo sntp -sS time.apple.com",
    "wsl": "sudo hwclock --hctosys, or in Windows wsl --shutdown",
    "alpine": "sudo rc-service ntpd restart",
    "linux": "sudo timedatectl set-ntp true",
}
MEMORY_OF_WSL = "In Windows: memory=6GB below [wsl2] in %UserProfile%\\.wslconfig, then wsl --shutdown."


@dataclass(frozen=True)
class System:
    """An operating system: ``linux``, ``macos`` or ``wsl``. All but macOS have a family."""

    name: str
    family: str = ""

    def choose(self, lines: dict[str, str]) -> str:
        """Return the line for this system: by name, family, or any Linux; else nothing."""
        keys = ([] if self.name == "linux" else [self.name]) + [self.family, "linux"]
        return next((lines[key] for key in keys if key in lines), "")


def read(name: str, release: Mapping[str, str], kernel: str) -> System:
    """Return the system for ``sys.platform``, ``os-release`` and the kernel's release."""
    if name == "darwin":
        return System("macos")
    words = [word.partition("-")[0] for word in f"{release.get('ID', '')} {release.get('ID_LIKE', '')}".split()]
    family = next((FAMILIES[word] for word in words if word in FAMILIES), "")
    return System("wsl" if "microsoft" in kernel.lower() else "linux", family)


@cache
def here() -> System:
    """Return the system of this machine."""
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        release = {}
    return read(sys.platform, release, platform.release())
