"""What a live Workflow reports about its run. Pure."""

from __future__ import annotations

import base64
import gzip
import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.argo.workflow import PIPELINE
from cluster.ui.format import one_line

if TYPE_CHECKING:
    from collections.abc import Mapping

ENDED = {"Succeeded", "Failed", "Error"}
LOADING = {"run", "run-with-mapper", "extract", "extract-with-mapper"}
"""The templates whose pods have the tap, which reports its records."""


# ----------------------------------------------------------------------------------------------------------- live ones


@dataclass(frozen=True)
class WorkflowStatus:
    """The status of a live Workflow."""

    run: str
    pipeline: str
    phase: str
    message: str
    started: str
    finished: str | None
    records: int
    """As reported by the tap, a few seconds ago."""
    step: str
    """The template that runs."""
    parts: tuple[int, int] | None
    """How many parts of the run are loaded, and how many it has; None without parts."""
    parameters: Mapping[str, str]

    @property
    def ended(self) -> bool:
        """Whether the run has ended."""
        return self.phase in ENDED

    @property
    def waiting(self) -> str | None:
        """What it waits for; None if it does not wait, or if only its pods show it."""
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
    nodes = nodes_of(status)
    parameters = {item["name"]: str(item.get("value", "")) for item in live["spec"].get("arguments", {}).get("parameters", [])}
    running = [node for node in nodes if node.get("type") == "Pod" and node.get("phase") in {"Running", "Pending"}]
    split = sum(len(json.loads(parameters.get(name, "[]"))) for name in ("first", "parts"))
    loads = [node for node in nodes if node.get("type") == "Pod" and node.get("templateName") in LOADING]
    backoff = next((str(node["message"]) for node in nodes if str(node.get("message", "")).startswith("Backoff")), "")
    return WorkflowStatus(
        run=live["metadata"]["name"],
        pipeline=live["metadata"].get("labels", {}).get(PIPELINE) or parameters.get("pipeline", ""),
        phase=str(status.get("phase", "")),
        message=str(status.get("message", "")) or ("" if running else backoff),
        started=live["metadata"]["creationTimestamp"],
        finished=status.get("finishedAt"),
        records=sum(_records(node, split=bool(split)) for node in nodes if node.get("templateName") in LOADING),
        step=str(running[-1].get("templateName", "")) if running else "",
        parameters=parameters,
        parts=(sum(node.get("phase") == "Succeeded" for node in loads), split) if split else None,
    )


def nodes_of(status: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the nodes of a Workflow, which Argo compresses if there are many.

    None are known if it compresses them in another way than by default.
    """
    nodes = status.get("nodes") or {}
    if status.get("compressedNodes"):
        with suppress(gzip.BadGzipFile):
            nodes = json.loads(gzip.decompress(base64.b64decode(status["compressedNodes"])))
    return list(nodes.values())


def _records(node: Mapping[str, Any], *, split: bool) -> int:
    """Return the records that a pod reports in its progress, see ``entrypoint.progress``.

    Only running pods count, and in a run with parts those that have loaded theirs.
    """
    progress, phase = re.fullmatch(r"(\d+)/(\d+)", str(node.get("progress", ""))), node.get("phase")
    if not progress or node.get("type") != "Pod" or phase not in ({"Running", "Succeeded"} if split else {"Running"}):
        return 0
    return int(progress[1]) - 1 if phase == "Succeeded" else int(progress[1])


# -- CronWorkflows

OUR_MANAGER = "singer"
"""The field manager of ``kube.client``."""
LAST_SCHEDULE = "cronworkflows.argoproj.io/last-used-schedule"
REFUSALS = {"SpecError": "Argo refuses it", "SubmissionError": "Argo could not start it"}


def schedule_trouble(live: Mapping[str, Any]) -> str | None:
    """Return why Argo's controller does not follow a live CronWorkflow, if the object shows it.

    The controller writes conditions and the schedule of its last start, and writes nothing about a
    schedule that it cannot parse. What it wrote before our last change does not count.
    """
    times = {entry.get("manager"): str(entry.get("time", "")) for entry in live["metadata"].get("managedFields", ())}
    applied = times.pop(OUR_MANAGER, "")
    if not times or max(times.values()) <= applied:
        return None
    status, spec = live.get("status") or {}, live["spec"]
    for condition in status.get("conditions") or ():
        if condition.get("status") == "True" and condition.get("type") in REFUSALS:
            return f"{REFUSALS[condition['type']]}: {one_line(str(condition.get('message', ''))) or 'no reason'}".rstrip(".")
    zone = f"CRON_TZ={spec['timezone']} " if spec.get("timezone") else ""
    used = (live["metadata"].get("annotations") or {}).get(LAST_SCHEDULE, "")
    last = str(status.get("lastScheduledTime") or "")
    if used and last > applied and used != ",".join(zone + schedule for schedule in spec.get("schedules", ())):
        return f"Argo still uses an earlier schedule, {used.removeprefix(zone)}, and started it at {last}"
    return None
