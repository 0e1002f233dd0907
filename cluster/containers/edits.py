"""An edit of a connector's own code, put on a node without a builder.

The code is the last layer of an image. It is made here, from the wheels of the connector's folders.
On the node it replaces the last layer of the former image. Everything unexpected is built by the
builder.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.containers import images, layers
from cluster.host.files import file_errors, private_folder
from cluster.project import sources, wheels

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.project.model import Connector

VENV = "opt/connector"
"""The folder of the image that the last layer changes."""
DEPENDENCIES = f"{VENV}/pyvenv.cfg"
"""A file of another layer."""


def put(connector: Connector, settings: Settings, runtime: Runtime, node: str, say: Callable[[str], None]) -> bool:
    """Put a connector's image on a node if only its own code is new. Return whether it is there.

    :raises SetupError: E-INSTALL, E-DISK, E-STORE: the code cannot be packaged.
    """
    former, image = images.former(connector, settings), images.tag(connector, settings)
    if not former or former == image:
        return False
    work = settings.local / "build"
    with file_errors("The build context", work), tempfile.TemporaryDirectory(prefix=".", dir=private_folder(work)) as folder:
        own = Path(folder) / "own"
        own.mkdir()
        if not all(sources.own_wheel(project, connector, settings, own, say) for project in connector.projects):
            return False
        before = layers.read(runtime, node, former)
        try:
            content = _content(connector, sorted(own.iterdir()), before.names) if before else None
        except wheels.UnusualError:
            return False
    edited_meanwhile = images.tag(connector, settings) != image
    if before is None or content is None or edited_meanwhile:
        return False
    labels = {images.CONTENT: image.rpartition("/")[2]}
    if not layers.send(runtime, node, lambda file: layers.replace(before, content, image, labels, file)):
        return False
    images.remember(connector, settings, image)
    runtime.run("rmi", images.readable(connector.name))  # it has the former code
    return True


def _content(connector: Connector, own: list[Path], names: list[str]) -> dict[str, wheels.File] | None:
    """Return the files of the new layer; None if the old one is not what it should be."""
    if DEPENDENCIES in names or not all(f"{VENV}/".startswith(name) or name.startswith(f"{VENV}/") for name in names):
        return None
    packages = {name.partition("/site-packages/")[0] for name in names if "/site-packages/" in name}
    if len(packages) != bool(own):
        return None
    content: dict[str, wheels.File] = {}
    for wheel in own:
        content |= wheels.files(wheel, f"{next(iter(packages))}/site-packages", VENV)
    for file in images.transform_files(connector):
        content[f"{VENV}/project/{file.relative_to(connector.folder).as_posix()}"] = wheels.File(file.read_bytes(), 0o644)
    return content
