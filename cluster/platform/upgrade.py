"""The layout of the platform in the cluster, and what an upgrade changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.argo.templates import STORE
from cluster.kube import documents
from cluster.platform.ownership import WHOLE_CLUSTER, key, live_of_kinds, unwanted, visible
from cluster.runs import format_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cluster.platform.handles import Handles
    from cluster.ui.output import Output


# ------------------------------------------------------------------------------------------------------------ upgrades


def layout_there(handles: Handles) -> int | None:
    """Return the layout of the platform that is in the cluster, None where none of ours is, or it may not be seen.

    :raises SetupError: E-LAYOUT, a newer checkout has brought it.
    """
    nothing: documents.Document | None = None
    live = visible(lambda: handles.kube.get("ConfigMap", STORE, handles.namespace), nothing)
    if live is None or not handles.owns(live):
        return None
    found = (live["metadata"].get("annotations") or {}).get(format_version.RECORD)
    return format_version.see(f"The platform in the namespace {handles.namespace}", found)


@dataclass(frozen=True)
class Upgrade:
    """What becomes of the objects of an older layout."""

    found: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    def tell(self, output: Output) -> None:
        """Say it, before anything is done."""
        output.event("upgrade", **{"from": self.found, "to": format_version.LAYOUT}, new=self.new, changed=self.changed, gone=self.gone)
        output.line("!", "Upgrade", f"layout {self.found} to {format_version.LAYOUT}: {'; '.join(format_version.news(self.found))}")
        for mark, names in (("new", self.new), ("changes", self.changed), ("goes", self.gone)):
            for name in names:
                output.line(" ", f"  {mark}", name)


def older_layout(handles: Handles) -> int | None:
    """Return the layout of the platform that is in the cluster, where it is older than that of this checkout.

    :raises SetupError: E-LAYOUT, a newer checkout has brought it.
    """
    found = layout_there(handles)
    return None if found == format_version.LAYOUT else found


def upgrade(handles: Handles, found: int, wanted: Sequence[documents.Document], of_kinds: Iterable[str]) -> Upgrade:
    """Return what becomes of the objects of some kinds, of the layout *found*."""
    live = live_of_kinds(handles, of_kinds)
    there = [document for document in wanted if key(document) in live]
    new = [document for document in wanted if key(document) not in live and document["kind"] not in WHOLE_CLUSTER]
    return Upgrade(
        found,
        tuple(map(documents.name, new)),
        tuple(documents.name(document) for document in there if documents.differs(document, live[key(document)])),
        tuple(f"{kind.lower()}/{name}" for kind, name in unwanted(wanted, live)),
    )
