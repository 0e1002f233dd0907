"""What an upgrade from an older layout of the platform changes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cluster.argo.templates import STORE
from cluster.kube import documents
from cluster.kube.rbac import visible
from cluster.platform.ownership import WHOLE_CLUSTER, key, live_of_kinds, unwanted
from cluster.runs import format_version

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cluster.platform.handles import Handles
    from cluster.ui.output import Output


@dataclass(frozen=True)
class Upgrade:
    """The changes to the objects of an older layout."""

    before: int
    new: tuple[str, ...]
    changed: tuple[str, ...]
    gone: tuple[str, ...]

    def show(self, output: Output) -> None:
        """Print the changes, before they are made."""
        output.event("upgrade", **{"from": self.before, "to": format_version.LAYOUT}, new=self.new, changed=self.changed, gone=self.gone)
        output.line("!", "Upgrade", f"layout {self.before} to {format_version.LAYOUT}: {'; '.join(format_version.news(self.before))}")
        for change, names in (("new", self.new), ("changes", self.changed), ("goes", self.gone)):
            for name in names:
                output.line(" ", f"  {change}", name)


def older_layout(handles: Handles) -> int | None:
    """Return the layout in the cluster if it is older than ours; None without a platform.

    :raises SetupError: E-LAYOUT, the layout is newer.
    """
    hidden: documents.Document | None = None
    live = visible(lambda: handles.kube.get("ConfigMap", STORE, handles.namespace), hidden)
    if live is None or not handles.owns(live):
        return None
    text = (live["metadata"].get("annotations") or {}).get(format_version.RECORD)
    layout = format_version.see(f"The platform in the namespace {handles.namespace}", text)
    return None if layout == format_version.LAYOUT else layout


def upgrade(handles: Handles, before: int, wanted: Sequence[documents.Document], kinds: Iterable[str]) -> Upgrade:
    """Return the changes to the objects of some kinds, from the layout *before*."""
    live = live_of_kinds(handles, kinds)
    there = [document for document in wanted if key(document) in live]
    new = [document for document in wanted if key(document) not in live and document["kind"] not in WHOLE_CLUSTER]
    return Upgrade(
        before,
        tuple(map(documents.name, new)),
        tuple(documents.name(document) for document in there if documents.differs(document, live[key(document)])),
        tuple(f"{kind.lower()}/{name}" for kind, name in unwanted(wanted, live)),
    )
