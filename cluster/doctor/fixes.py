"""The repairs of ``doctor --fix``: safe ones, in this checkout, with the user's rights."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import pairs
from cluster.containers.runtime import ARCHITECTURES
from cluster.engines.lock import alone
from cluster.errors import SetupError
from cluster.host.locks import only_one
from cluster.host.subprocesses import FOLDER, ended
from cluster.net import http
from cluster.project.tool import FILE as TOOL_FILE
from cluster.providers.instance import Instance
from cluster.runs.history import History
from cluster.store import open_store
from cluster.ui.format import shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.config.settings import Settings
    from cluster.net.proxy import Network
    from cluster.platform.handles import Handles

KIND = "v0.33.0"
CHECKSUMS = {
    "darwin-amd64": "5a99f26f57246dc9319dd294803313197a0f34d33c525b3ea8b655db5916ece0",
    "darwin-arm64": "0c8c7dbe5e23594a198b786c4bc13dacc101fa6196b0cb0b23a1ca44e61f4b4f",
    "linux-amd64": "aee6151561422756b764a4ae28e7f44cda5af5a9eead3cc9985112b1de8d8e0d",
    "linux-arm64": "20022bee6cfcd5086cb7234d218e3454e6090022f2a8f55d1fa7fcf42c3867a2",
}
"""SHA-256 of the released programs."""
PUBLISHER = "github.com"
"""The host of its releases; ``singer.mirror`` may name another one."""


def kind(settings: Settings, network: Network) -> Callable[[], str] | None:
    """Return a function that fetches kind; None if there is none for this machine."""
    system = f"{sys.platform}-{ARCHITECTURES.get(platform.machine(), '')}"
    if system not in CHECKSUMS:
        return None
    host = pairs(settings.mirror).get(PUBLISHER, PUBLISHER)
    return partial(_fetched, f"https://{host}/kubernetes-sigs/kind/releases/download/{KIND}/kind-{system}", CHECKSUMS[system], network)


def _fetched(url: str, digest: str, network: Network) -> str:
    file = FOLDER / "kind"
    http.fetch(url, digest, file, network)
    return f"fetched kind {KIND} to {shown(file)}; its checksum is right"


def close(file: Path) -> str:
    """Make a file readable by its owner alone."""
    file.chmod(0o600)
    return f"only you may read {shown(file)} now"


def platform_lock(settings: Settings) -> Path:
    """Return the lock that up, stop and teardown hold."""
    return settings.platform / "locks" / "platform"


def remove_half(handles: Handles) -> str:
    """Remove a cluster whose creation was interrupted, unless another command is at work on it.

    :raises SetupError: E-BUSY; E-CLUSTER, E-RUNTIME, it cannot be removed.
    """
    with only_one(platform_lock(handles.settings), "Another up, stop or teardown of this checkout is under way."):
        if handles.instance.maker:
            ended(handles.instance.maker, (handles.provider.name, handles.provider.cluster))
        handles.provider.delete()
        handles.instance.forget()
    return f"removed what was there of the {handles.provider.describe()}"


def tidy(settings: Settings, environ: Mapping[str, str], pipeline: str) -> str:
    """End the record of a killed run, and remove its folder, as its next run would.

    :raises SetupError: E-BUSY, the pipeline runs again by now; E-STORE.
    """
    history = History(open_store(settings, environ), settings)
    with alone(settings, history, pipeline):
        pass
    return f"tidied up after the killed run of {pipeline}"


def drop(folder: Path) -> str:
    """Remove a folder that a killed command was making."""
    shutil.rmtree(folder, ignore_errors=True)
    return f"removed {shown(folder)}"


# -- what the checks read


def used_bytes(folder: Path) -> int:
    """Return the bytes that the files below a folder have on its disk."""
    total = 0
    for path, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):  # removed meanwhile
                total += Path(path, name).lstat().st_blocks * 512
    return total


def free_bytes(folder: Path) -> int:
    """Return the free space on a folder's disk, in bytes.

    :raises SetupError: E-STORE, nothing can be written there.
    """
    if not os.access(folder, os.W_OK):
        raise SetupError(
            "E-STORE", f"Nothing can be written in {folder}.", hint="See that the checkout is yours: ls -ld shows whose it is."
        )
    return shutil.disk_usage(folder).free


def alive(file: Path) -> bool:
    """Return whether the process whose number is in a file exists."""
    with suppress(OSError, ValueError):
        os.kill(int(file.read_text(encoding="ascii")), 0)
        return True
    return False


def remembers(checkout: Path, cluster: str) -> bool:
    """Return whether a checkout, or a project, exists and owns a cluster."""
    there = (checkout / "cluster").is_dir() or (checkout / TOOL_FILE).is_file()
    return there and Instance(checkout / ".local" / "instance.json").owns(cluster)
