"""What a live Workflow reports about its run. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.argo.workflow import PIPELINE

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDED = {"Succeeded", "Failed", "Error"}


# ----------------------------------------------------------------------------------------------------------- live ones


@dataclass(frozen=True)
class WorkflowStatus:
    """What a live Workflow says of its run."""

    run: str
    pipeline: str
    phase: str
    message: str
    started: str
    finished: str | None
    records: int
    """As the tap has told Argo, a few seconds ago."""
    step: str
    """The template that is at work."""
    given: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self.phase in ENDED

    @property
    def waiting(self) -> str | None:
        """What it waits for, None where it does not or where only its pods can tell."""
        if self.phase == "":
            return "waiting for Argo"
        if "lock" in self.message.lower():
            return "waiting: another run of this pipeline is under way"
        if self.phase == "Pending":
            return f"waiting: {self.message or 'other Workflows are under way'}"
        if self.message.startswith("Backoff"):
            return "waiting before the next try"
        return {"record": "writing the record", "transform": "transforming"}.get(self.step)


def seen(live: Mapping[str, Any]) -> WorkflowStatus:
    """Read a live Workflow."""
    status = live.get("status", {})
    nodes = list(status.get("nodes", {}).values())
    given = {item["name"]: str(item.get("value", "")) for item in live["spec"].get("arguments", {}).get("parameters", [])}
    running = [node for node in nodes if node.get("type") == "Pod" and node.get("phase") in {"Running", "Pending"}]
    backoff = next((str(node["message"]) for node in nodes if str(node.get("message", "")).startswith("Backoff")), "")
    return WorkflowStatus(
        run=live["metadata"]["name"],
        pipeline=live["metadata"].get("labels", {}).get(PIPELINE) or given.get("pipeline", ""),
        phase=str(status.get("phase", "")),
        message=str(status.get("message", "")) or ("" if running else backoff),
        started=live["metadata"]["creationTimestamp"],
        finished=status.get("finishedAt"),
        records=max((_count(node) for node in nodes if node.get("templateName") in {"run", "extract"}), default=0),
        step=str(running[-1].get("templateName", "")) if running else "",
        given=given,
    )


def _count(node: Mapping[str, Any]) -> int:
    """Return how many records a pod has told of: the first number of its progress, unless that only says done or not."""
    found = re.fullmatch(r"(\d+)/(\d+)", str(node.get("progress", "")))
    return int(found[1]) if found and node.get("type") == "Pod" and node.get("phase") == "Running" else 0
