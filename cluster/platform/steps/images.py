"""Steps: images are pulled, built, and on the nodes; Workflows written by hand find their names."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cluster.argo import workflow
from cluster.containers import images
from cluster.errors import SetupError
from cluster.host.waiting import CLOCK, until
from cluster.kube.rbac import visible
from cluster.platform.objects import Objects
from cluster.platform.ownership import need_ours
from cluster.project.venvs import Environments
from cluster.ui.command_line import command
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.project.model import Connector

POLL_SECONDS = 0.25
KEPT = 3
"""How many images of a connector stay on this machine: edits make many, and some are undone."""
PLATFORM_LOADED = "Argo and MinIO on the node"
NODE_SECONDS = 120
"""How long a node may refuse images. Loading overlaps with its start."""


@dataclass(frozen=True)
class Pulled:
    """The images of Argo and MinIO are on the laptop, or on the nodes already."""

    title: str = "Images of Argo and MinIO"
    ok: str = "on this machine, or on the node already"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        absent = handles.runtime.absent(platform_images(handles))
        handles.instance.bring(*(f"image {image}" for image in absent))
        for image in absent:
            images.pull(image, handles.runtime, say)
        return f"{len(absent)} pulled"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        needed = handles.provider.missing_images(platform_images(handles))
        absent = handles.runtime.absent(platform_images(handles) if needed is None else needed)
        return f"missing: {', '.join(absent)}" if absent else None


@dataclass(frozen=True)
class Built:
    """The images of connectors and of ``commit`` are built."""

    title: str = "Images of connectors"
    ok: str = "built from singer-configs/"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        environments = Environments(handles.settings)
        for connector in handles.connectors:
            environments.ensure_lock(connector)
        missing, commit = _unbuilt(handles)
        built = [images.COMMIT] if commit else []
        if commit:
            self._build_commit(handles, say)
        with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
            list(pool.map(lambda connector: self._build(handles, connector, say), missing))
        built += [connector.name for connector in missing]
        return f"{_for(handles.provider.platform, f'{len(built)} built')}: {', '.join(built)}"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        connectors, commit = _unbuilt(handles)
        missing = [connector.name for connector in connectors] + [images.COMMIT] * commit
        return f"{_for(handles.provider.platform, 'not built')}: {', '.join(missing)}" if missing else None

    @staticmethod
    def _build_commit(handles: Handles, say: Callable[[str], None]) -> None:
        platform = handles.provider.platform
        title = _for(platform, images.COMMIT)
        say(title)
        names = images.made(images.commit_tag(handles.settings), images.COMMIT, platform)
        handles.instance.bring(*(f"image {name}" for name in names))
        images.build_commit(handles.settings, handles.runtime, lambda line: say(f"{title}: {line}"), platform)

    @staticmethod
    def _build(handles: Handles, connector: Connector, say: Callable[[str], None]) -> None:
        platform = handles.provider.platform
        title = _for(platform, connector.name)
        say(title)
        if handles.provider.put_edit(connector, lambda line: say(f"{title}: {line}")):
            return
        Built._remember(handles, connector)
        images.build(connector, handles.settings, handles.runtime, lambda line: say(f"{title}: {line}"), platform)
        prefix = f"image {images.repository(connector.name, handles.settings)}:"
        built = [thing for thing in handles.instance.brought if thing.startswith(prefix)]
        for thing in built[:-KEPT]:
            handles.runtime.run("rmi", thing.removeprefix("image "))
            handles.instance.took_away(thing)

    @staticmethod
    def _remember(handles: Handles, connector: Connector) -> None:
        """Remember the images that we are about to add to this machine, base image included."""
        settings = handles.settings
        names = images.made(images.tag(connector, settings), connector.name, handles.provider.platform)
        base = images.arguments(connector, settings)["BASE"]
        handles.instance.bring(*(f"image {image}" for image in [*handles.runtime.absent([base]), *names]))


def _unbuilt(handles: Handles) -> tuple[list[Connector], bool]:
    """Return the connectors without an image here or on the nodes, and whether ``commit`` lacks it.

    ``up`` and ``sync`` also want a connector's readable name.
    """
    commit = images.commit_tag(handles.settings)
    tags = {images.tag(connector, handles.settings): connector for connector in handles.connectors}
    needed = handles.provider.missing_images([*tags, commit])
    absent = handles.runtime.absent([*tags, commit] if needed is None else needed, handles.provider.platform)
    readable = [] if handles.settings.registry or handles.only else [images.readable(connector.name) for connector in tags.values()]
    nameless = handles.runtime.absent(readable) if readable else []
    connectors = [connector for tag, connector in tags.items() if tag in absent or images.readable(connector.name) in nameless]
    return connectors, commit in absent


@dataclass(frozen=True)
class Loaded:
    """Images are on the nodes: all, or only those of Argo and MinIO.

    Argo and MinIO start while the images of connectors are built and loaded.
    """

    title: str = "Images on the node"
    ok: str = "all there"
    needs: tuple[str, ...] = (PLATFORM_LOADED, Pulled.title, Built.title)
    budget: float = 10
    platform_only: bool = False

    @classmethod
    def of_platform(cls) -> Self:
        """Return the step for the images of Argo and MinIO."""
        return cls(PLATFORM_LOADED, needs=(Pulled.title,), platform_only=True)

    def _wanted(self, handles: Handles) -> list[str]:
        return platform_images(handles) if self.platform_only else wanted(handles)

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``.

        A new node refuses images while it starts, or while an incomplete one is removed.
        """
        loaded = 0

        def pending() -> str | None:
            nonlocal loaded
            missing = handles.provider.missing_images(self._wanted(handles))
            if missing is None:
                say("waiting for the node")
                return "the node does not take images"
            try:
                if missing:
                    handles.provider.load_images(missing, say)
            except SetupError as error:
                if not handles.instance.making:
                    raise
                say("loading again")
                return error.problem.rstrip(".")
            loaded = len(missing)
            return None

        def error(reason: str) -> SetupError:
            hint = f"{command('status')} checks again; {command('up')} continues from here."
            return SetupError("E-TIMEOUT", f"{self.title}: {reason}, after {NODE_SECONDS} s.", hint=hint)

        while handles.instance.making and not handles.instance.complete and pending():
            CLOCK.sleep(POLL_SECONDS)  # the step Cluster has a time limit
        if not loaded:
            until(pending, seconds=NODE_SECONDS, error=error, poll=POLL_SECONDS)
        return f"{loaded} loaded" if loaded else "all there"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        missing = handles.provider.missing_images(self._wanted(handles))
        if missing is None:
            return "the node is stopped" if handles.instance.complete else "the node does not exist yet"
        return f"missing: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class ImageNames:
    """The ConfigMap with the image of each connector is up to date.

    Workflows written by hand use it.
    """

    title: str = "Names of images"
    ok: str = "as built"
    needs: tuple[str, ...] = (Objects.title, Built.title)
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        say(workflow.IMAGES)
        document = image_names(handles)
        need_ours(handles, [("ConfigMap", workflow.IMAGES)])
        if handles.only:
            document["data"] = {**self._live(handles), **document["data"]}
        handles.kube.apply(document)
        return count(len(document["data"]), "image")

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``.

        A run only needs the names of its connectors, and goes on without the right to read
        them.
        """
        names: dict[str, str] = image_names(handles)["data"]
        if handles.only:
            live = visible(partial(self._live, handles), names)
            return None if names.items() <= live.items() else "new connectors are missing"
        return None if self._live(handles) == names else "the list of images has changed"

    @staticmethod
    def _live(handles: Handles) -> dict[str, str]:
        return (handles.kube.get("ConfigMap", workflow.IMAGES, handles.namespace) or {}).get("data") or {}


def _for(platform: str, what: str) -> str:
    """Add the platform of images that are not for this machine's own."""
    return f"{what} for {platform}" if platform else what


def helper_image(handles: Handles) -> str:
    """Return an image with Python, for pods that help the platform.

    :raises SetupError: E-KEEP, there is no pipeline, so we have no image.
    """
    connectors = handles.connectors
    if not connectors:
        raise SetupError("E-KEEP", "Data can be kept and restored only if there is a pipeline.", hint="Add one to pipelines.yaml.")
    return images.tag(connectors[0], handles.settings)


def wanted(handles: Handles) -> list[str]:
    """Return all images that the nodes need."""
    ours = [images.tag(connector, handles.settings) for connector in handles.connectors]
    return [*platform_images(handles), *ours, images.commit_tag(handles.settings)]


def chosen_images(handles: Handles) -> dict[str, str]:
    """Return the image of each connector that pipelines use, and that of ``commit``."""
    tags = {connector.name: images.tag(connector, handles.settings) for connector in handles.connectors}
    return {**tags, workflow.COMMIT: images.commit_tag(handles.settings)}


def image_names(handles: Handles) -> Document:
    """Return the ConfigMap of ``ImageNames``."""
    return workflow.image_map(chosen_images(handles), workflow.WorkflowScope(handles.namespace, handles.labels, ui=""))


def platform_images(handles: Handles) -> list[str]:
    """Return the images of Argo and MinIO, as far as the settings install them."""
    argo = ("controller", "executor", "server") if handles.settings.argo == "install" else ()
    minio = ("minio",) if handles.settings.store == "install" else ()
    return [handles.settings.image(name) for name in (*argo, *minio)]
