"""Steps: the cluster answers; saved data is restored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.platform import backup
from cluster.platform.objects import Objects
from cluster.platform.steps.images import Loaded, helper_image

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.platform.handles import Handles


@dataclass(frozen=True)
class Cluster:
    """The cluster exists and its API answers."""

    title: str = "Cluster"
    ok: str = "its API answers"
    needs: tuple[str, ...] = ()
    budget: float = 180

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        done = handles.provider.ensure(say)
        handles.reconnect()
        return done

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        return handles.provider.pending() or handles.kube.silent()


@dataclass(frozen=True)
class Restored:
    """Data that an earlier ``teardown --keep-data`` saved is in MinIO's volume."""

    title: str = "Kept data"
    ok: str = "restored"
    needs: tuple[str, ...] = (Objects.title, Loaded.title)
    budget: float = 5

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        return backup.load(handles, helper_image(handles), say)

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        return "not restored yet" if backup.archive(handles.settings).exists() else None
