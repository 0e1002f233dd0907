"""Steps: images are pulled, built, and on the nodes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.containers import images
from cluster.errors import SetupError
from cluster.platform.steps.base import POLL_SECONDS
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles
    from cluster.project.model import Connector


@dataclass(frozen=True)
class Pulled:
    """The platform's images are on the laptop."""

    title: str = "Images of Argo and MinIO"
    well: str = "on this machine, or on the node already"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        missing = handles.runtime.absent(platform_images(handles))
        handles.instance.bring(*(f"image {image}" for image in missing))
        for image in missing:
            images.pull(image, handles.runtime, say)
        return f"{len(missing)} pulled"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``. What is on the node already need not be on the laptop."""
        wanted_ = handles.provider.missing_images(platform_images(handles))
        missing = handles.runtime.absent(platform_images(handles) if wanted_ is None else wanted_)
        return f"missing: {', '.join(missing)}" if missing else None


@dataclass(frozen=True)
class Built:
    """The connectors' images are built."""

    title: str = "Images of connectors"
    well: str = "built from what singer-configs/ says"
    needs: tuple[str, ...] = ()
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        environments = Environments(handles.settings)
        for connector in handles.connectors:
            environments.ensure_lock(connector)
        platform = handles.provider.platform
        built = [images.COMMIT] if self._no_commit(handles) else []
        if built:
            say(_for(platform, images.COMMIT))
            handles.instance.bring(*(f"image {name}" for name in images.made(images.commit_tag(handles.settings), images.COMMIT, platform)))
            images.build_commit(handles.settings, handles.runtime, lambda line: say(f"{_for(platform, images.COMMIT)}: {line}"), platform)
        missing = self._missing(handles)
        bases = {images.arguments(connector, handles.settings)["BASE"] for connector in missing}
        made = [name for item in missing for name in images.made(images.tag(item, handles.settings), item.name, platform)]
        handles.instance.bring(*(f"image {image}" for image in [*handles.runtime.absent(sorted(bases)), *made]))
        for connector in missing:
            name = _for(platform, connector.name)
            say(name)
            images.build(connector, handles.settings, handles.runtime, lambda line, name=name: say(f"{name}: {line}"), platform)  # type: ignore[misc]
        built += [connector.name for connector in missing]
        return f"{_for(platform, f'{len(built)} built')}: {', '.join(built)}"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        missing = [connector.name for connector in self._missing(handles)] + ([images.COMMIT] if self._no_commit(handles) else [])
        return f"{_for(handles.provider.platform, 'not built')}: {', '.join(missing)}" if missing else None

    @staticmethod
    def _no_commit(handles: Handles) -> bool:
        tag = images.commit_tag(handles.settings)
        return handles.provider.missing_images([tag]) != [] and bool(handles.runtime.absent([tag], handles.provider.platform))

    @staticmethod
    def _missing(handles: Handles) -> list[Connector]:
        tags = {images.tag(connector, handles.settings): connector for connector in handles.connectors}
        missing = handles.provider.missing_images(list(tags))
        absent = handles.runtime.absent(list(tags) if missing is None else missing, handles.provider.platform)
        # An image that is on the node need not be here, but for the names that people use with docker run on the laptop.
        nameless = (
            [] if handles.settings.registry else handles.runtime.absent([images.readable(connector.name) for connector in tags.values()])
        )
        return [connector for tag, connector in tags.items() if tag in absent or images.readable(connector.name) in nameless]


@dataclass(frozen=True)
class Loaded:
    """All images are on the node."""

    title: str = "Images on the node"
    well: str = "all there"
    needs: tuple[str, ...] = (Pulled.title, Built.title)
    budget: float = 10
    node_seconds: float = 120
    """How long the node may take to take images. It does so long before the cluster is there: loading and booting overlap."""

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        deadline = time.monotonic() + self.node_seconds
        while True:
            if handles.instance.making and not handles.instance.complete:
                deadline = time.monotonic() + self.node_seconds  # the cluster has a bound of its own
            missing = handles.provider.missing_images(wanted(handles))
            try:
                if missing:
                    handles.provider.load_images(missing, say)
                if missing is not None:
                    return f"{len(missing)} loaded" if missing else "all there"
                say("waiting for the node")
            except SetupError:
                # The node may be a new one: what a killed creation left is removed while images are on their way there.
                if not handles.instance.making or time.monotonic() > deadline:
                    raise
                say("once more")
            if time.monotonic() > deadline:
                raise SetupError(
                    "E-TIMEOUT", "The node does not take images.", hint="invoke status looks again; invoke up goes on from here."
                )
            time.sleep(POLL_SECONDS)

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        missing = handles.provider.missing_images(wanted(handles))
        if missing is None:
            return "the node is not there yet"
        return f"missing: {', '.join(missing)}" if missing else None


def _for(platform: str, what: str) -> str:
    """Say for which platform something is, where that is not simply this machine's."""
    return f"{what} for {platform}" if platform else what


def helper_image(handles: Handles) -> str:
    """Return an image of ours with Python, for pods that help the platform.

    :raises SetupError: E-KEEP, no pipeline uses one.
    """
    found = handles.connectors
    if not found:
        raise SetupError("E-KEEP", "Data can be kept and brought back only where there is a pipeline.", hint="Add one to pipelines.yaml.")
    return images.tag(found[0], handles.settings)


def wanted(handles: Handles) -> list[str]:
    """Return all images that the node needs."""
    ours = [images.tag(connector, handles.settings) for connector in handles.connectors]
    return [*platform_images(handles), *ours, images.commit_tag(handles.settings)]


def platform_images(handles: Handles) -> list[str]:
    """Return the images of other people that the settings choose to install."""
    argo = ("controller", "executor", "server") if handles.settings.argo == "install" else ()
    return [handles.settings.image(name) for name in (*argo, *(("minio",) if handles.settings.store == "install" else ()))]
