"""The argo engine: submit a run as a Workflow, and follow it.

``singer-containers/commit.py`` commits data, record and state in the cluster. So a run ends the
same if nobody follows it. The engine needs neither kubectl nor the argo CLI.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.argo import status, workflow
from cluster.errors import Interrupted, RunError, SetupError
from cluster.host.files import log_lines
from cluster.host.parallel import ahead
from cluster.kube.documents import pod_trouble
from cluster.runs import outcome, rotation
from cluster.runs.history import OWNER
from cluster.runs.journal import KILLED, Journal
from cluster.runs.record import Record, Side
from cluster.ui.command_line import command
from cluster.ui.format import count, now
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.ui.output import Output, StepLine

POLL_SECONDS = 1.0
FIRST_POLL_SECONDS, FIRST_SECONDS = 0.2, 30.0
"""The first seconds of a run, in which its end is looked for more often: most runs are short."""
SILENT_SECONDS = 60.0
"""Stop following a run when the API server has not answered for this time."""
STORE_SECONDS = 45.0
STORE_LOOK_SECONDS = 5.0
"""Without an answer of the store for this time, a run is given up; and the time between checks."""
CANCEL_SECONDS = 90.0
DELETED_SECONDS = 60.0
"""How long to wait for the pods of a deleted Workflow."""
NEEDED = (("create", "argoproj.io", "workflows"), ("get", "argoproj.io", "workflows"), ("list", "", "pods"), ("get", "", "pods/log"))
"""The rights that starting and following a run takes."""


class StoreWatch:
    """Checks that the store answers: without it, a run cannot be committed."""

    def __init__(self, handles: Handles) -> None:
        """Take the handles; the first check comes after ``STORE_LOOK_SECONDS``."""
        self.handles = handles
        self._answered = self._looked = time.monotonic()

    def look(self, run: str) -> None:
        """Ask the store, at most every few seconds.

        :raises RunError: E-STORE, it has not answered for a minute.
        """
        if time.monotonic() - self._looked < STORE_LOOK_SECONDS:
            return
        try:
            self.handles.history.store.get(self.handles.settings.bucket_configs, OWNER)
        except SetupError as error:
            if time.monotonic() - self._answered > STORE_SECONDS:
                raise RunError(
                    "E-STORE",
                    f"The store has not answered for a minute, so {run} cannot be committed: {error.problem}",
                    hint=f"{error.hint.rstrip('.')}; then {command(f'show {run}')}.",
                ) from None
        else:
            self._answered = time.monotonic()
        self._looked = time.monotonic()


class ArgoEngine:
    """Submits, follows and stops Workflows."""

    name = "argo"

    def __init__(self, handles: Handles, output: Output) -> None:
        """Take the handles; nothing is sent yet."""
        self.handles = handles
        self.output = output
        self._left = threading.Event()
        """Set when nobody follows the runs any longer."""

    def ready(self) -> None:
        """Check, before the first run, that runs can be started and followed here.

        :raises SetupError: E-RIGHTS, a right is missing; E-ENGINE or E-LAYOUT, the buckets belong
            to another engine or a newer checkout; E-KUBE, E-STORE.
        """
        if not self.handles.provider.ours:
            self.handles.kube.need(NEEDED, self.handles.namespace, "run")
        self.handles.history.claim(self.name)

    # -- one run

    def submit(self, document: Document, reason: str) -> str:
        """Create a Workflow and return the id of its run.

        :raises SetupError: E-RIGHTS, E-KUBE, E-STATE, E-STORE: the run has not begun.
        """
        pipeline = document["metadata"]["labels"][workflow.PIPELINE]
        state = self.handles.history.state(pipeline)
        self.handles.kube.create(document)
        run = str(document["metadata"]["name"])
        self.output.event("run.started", run=run, pipeline=pipeline, engine=self.name, reason=reason, state=state)
        return run

    def live(self, run: str) -> dict[str, Any] | None:
        """Return the run's Workflow, None if it was deleted. Records stay, Workflows do not."""
        return self.handles.kube.get("Workflow", run, self.handles.namespace)

    def stop(self, run: str, *, now: bool = False) -> None:
        """Ask Argo to stop a run. With *now*, the exit handler does not write the record."""
        live = self.live(run)
        if live is None:
            return
        seen = status.seen(live)
        # A Workflow that waits for its turn can only be terminated.
        how = "Terminate" if now or seen.phase in {"", "Pending"} else "Stop"
        change = {"metadata": {"labels": {workflow.STOPPING: "true"}}, "spec": {"shutdown": how}}
        self.handles.kube.patch("Workflow", run, self.handles.namespace, change)

    def cancel(self, run: str) -> Record:
        """Stop a run, wait for its end, and return its record.

        :raises SetupError: E-TIMEOUT, it does not end in time.
        """
        self.stop(run)
        deadline = time.monotonic() + CANCEL_SECONDS
        while (live := self.live(run)) is not None and not status.seen(live).ended:
            if time.monotonic() > deadline:
                raise SetupError(
                    "E-TIMEOUT", f"{run} is still stopping after {CANCEL_SECONDS:.0f} s.", hint=f"Look again: {command('runs')}"
                )
            time.sleep(POLL_SECONDS)
        return self.record(run, live)

    # -- following

    def follow(self, titles: Mapping[str, str]) -> list[Record]:
        """Follow runs in parallel, each under its title, and return their records.

        :raises Interrupted: Ctrl-C; the user chooses whether the runs go on.
        """
        with ThreadPoolExecutor(max_workers=len(titles)) as pool:
            futures = [pool.submit(self._follow, run, title) for run, title in titles.items()]
            try:
                while wait(futures, timeout=0.2).not_done:
                    pass
            except KeyboardInterrupt:
                running = [run for run, future in zip(titles, futures, strict=True) if not future.done()]
                raise self._interrupted(running) from None
            finally:
                self._left.set()
        return [future.result() for future in futures]

    def _interrupted(self, runs: Sequence[str]) -> Interrupted:
        """Ask whether to stop the runs that have not ended; without a terminal they go on."""
        if not runs:
            return Interrupted("All runs have ended.")
        these, one = " and ".join(runs), len(runs) == 1
        it, goes, stops = ("it", "goes", "is being stopped") if one else ("them", "go", "are being stopped")
        answer = ""
        if sys.stdin.isatty():
            with suppress(EOFError, KeyboardInterrupt):
                answer = input(f"\n{these}: leave {it} running, or stop {it}? [L/s] ").strip().lower()
        if answer not in {"s", "stop"}:
            logs, cancel = command("logs", runs[0]), command("cancel", ",".join(runs))
            return Interrupted(f"{these} {goes} on in the cluster. {logs} · {cancel} stops {it}.")
        for run in runs:
            self.stop(run)
        return Interrupted(f"{these} {stops}. {command('show', runs[0]) if one else command('runs')} tells what is loaded.")

    def _follow(self, run: str, title: str) -> Record:
        """Show what the run does, every second, until it has ended.

        :raises SetupError: E-KUBE, the API server has not answered for a minute.
        :raises RunError: E-STORE, the store has not answered.
        """
        with self.output.step(title) as step:
            step.timed = True
            hopeless: RunError | None = None
            answered = time.monotonic()
            store = StoreWatch(self.handles)
            newest: dict[str, Any] | None = None
            deleted = False
            looked = 0.0
            while not self._left.is_set():
                try:
                    live = self.live(run)
                    deleted = live is None
                    newest = live or newest
                    seen = status.seen(live) if live is not None else None
                    if seen is None or seen.ended:
                        break
                    if time.monotonic() - looked >= POLL_SECONDS:
                        hopeless = self._look(seen, step) or hopeless
                        looked = time.monotonic()
                    answered = time.monotonic()
                except SetupError as error:
                    step.detail = error.problem.rstrip(".")
                    if time.monotonic() - answered > SILENT_SECONDS:
                        raise
                store.look(run)
                time.sleep(FIRST_POLL_SECONDS if step.seconds < FIRST_SECONDS else POLL_SECONDS)
            record = self._deleted(run, newest) if deleted and newest is not None else self.record(run, newest, hopeless)
            step.took = record.seconds
            step.result(outcome.moved(record), "unchanged" if record.empty else "done")
            if record.status != "succeeded":
                step.result(record.status if record.status != "running" else "goes on", "failed" if record.error else "warning")
        if record.status == "succeeded":
            self._warn(record)
        return record

    def _deleted(self, run: str, newest: Mapping[str, Any]) -> Record:
        """End a run whose Workflow was deleted, and with it the exit handler."""
        deadline = time.monotonic() + DELETED_SECONDS
        label = f"workflows.argoproj.io/workflow={run}"
        while self.handles.kube.objects("Pod", self.handles.namespace, labels=label) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)  # until its pods have ended, the commit may still go on
        record, history = self.partial(newest), self.handles.history
        record.error = RunError("E-CANCELLED", f"The Workflow of {run} was deleted.", hint="Run it again.").as_dict()
        record.status = "interrupted"
        with suppress(SetupError):
            stored = history.read_alone(record.pipeline, run)
            if stored is None:
                record.state_before = history.state(record.pipeline)
            journal = Journal(history, stored or record)
            if journal.record.parts is not None and journal.record.status == "running" and not journal.record.loaded:
                journal.end_parts(record.error)
                return journal.record
            if journal.record.committed:
                journal.follow()
                if journal.record.status == "running":
                    journal.end("interrupted", {**record.error, "hint": f"Run it again. {outcome.LOADED}"})
                return journal.record
            journal.fail("interrupted", {**record.error, "hint": f"Run it again. {outcome.unchanged(journal.record)}"})
            return journal.record
        return record

    def _warn(self, record: Record) -> None:
        """Show the first warnings of tap and mapper, from the logs that Argo stored.

        The run has succeeded, so a log that cannot be read is no error.
        """
        for text in record.warnings:
            if rotation.LOST in text:
                warn(self.output, record.pipeline, text)
        store, bucket, known = self.handles.history.store, self.handles.settings.bucket_artifacts, list[str]()
        with suppress(SetupError):
            sides = {f"{name}.log": side for name, side in (("tap", record.tap), ("mapper", record.mapper)) if side}
            keys = [item.key for item in store.objects(bucket, f"workflows/{record.run}/") if item.key.rpartition("/")[2] in sides]
            for key, log in zip(keys, ahead(lambda key: store.get(bucket, key), keys), strict=True):
                side = sides[key.rpartition("/")[2]]
                for text in outcome.warnings(log_lines(log or b""), known):
                    warn(self.output, side.connector, text)

    def _look(self, seen: status.WorkflowStatus, step: StepLine) -> RunError | None:
        """Show what a run does or waits for. If it waits in vain, stop it and return the reason."""
        parts = f"{seen.parts[0]} of {seen.parts[1]} parts" if seen.parts else ""
        step.detail = seen.waiting or (
            " · ".join(filter(None, [parts, count(seen.records, "record"), f"{seen.records / step.seconds:,.0f}/s"]))
            if seen.records
            else parts or "running"
        )
        if seen.records:
            self.output.event("run.progress", run=seen.run, records=seen.records, bytes=None, seconds=round(step.seconds, 1))
            return None
        if seen.phase in {"", "Pending"}:
            return None
        label = f"workflows.argoproj.io/workflow={seen.run}"
        for pod in self.handles.kube.objects("Pod", self.handles.namespace, labels=label):
            trouble = pod_trouble(pod) if pod.get("status", {}).get("phase") in {"Pending", "Running"} else None
            if trouble is None:
                continue
            why, hopeless = trouble
            step.detail = why
            if hopeless:
                images = f"{command('sync')} brings images to the cluster"
                images += "; singer.pull_secret lets pods pull them" if self.handles.settings.registry else ""
                again = f"{command('retry', seen.run)} loads what is missing." if seen.parts else f"run it again. {outcome.UNCHANGED}"
                # If the exit handler itself lacks its image, it cannot write the record.
                self.stop(seen.run, now=seen.step == "record")
                return RunError(
                    "E-IMAGE-PULL",
                    f"The pod of {seen.pipeline} {why}.",
                    hint=f"{images}; then {again}",
                )
        return None

    # -- the record

    def record(self, run: str, live: Mapping[str, Any] | None, hopeless: RunError | None = None) -> Record:
        """Return the record of a run.

        If the cluster could not write it, make it from the Workflow, and store it if possible.

        :raises SetupError: E-UNKNOWN, there is neither a record nor a Workflow.
        """
        seen = status.seen(live) if live is not None else None
        record, silent = None, None
        history = self.handles.history
        try:
            record = history.read(seen.pipeline, run) if seen else history.find(run)
        except SetupError as error:
            if seen is None:
                raise
            silent = error if error.code in {"E-STORE", "E-KUBE"} else None
        if record is not None and record.parts is not None and record.status == "running" and seen is not None and seen.ended:
            self._end_parts(record, self.partial(live or {}), hopeless)
            hopeless = None
        if record is not None and record.committed:
            with suppress(SetupError):
                Journal(history, record).follow()
            if record.status == "running" and seen is not None and seen.ended:
                self._close(record, self.partial(live or {}))
            return record
        if seen is None:
            assert record is not None
            return record
        if record is None or (record.status == "running" and seen.ended) or hopeless is not None:
            before = record.state_before if record else None
            record = self._made(live or {}, silent, hopeless)
            if silent is None and seen.ended:
                with suppress(SetupError):
                    record.state_after = history.state(record.pipeline)
                    record.state_before = before or record.state_after
                    history.save(record)
        return record

    def _made(self, live: Mapping[str, Any], silent: SetupError | None, hopeless: RunError | None) -> Record:
        """Return a record as the Workflow shows it; *silent* is an error of the store."""
        record = self.partial(live)
        if hopeless is not None:
            record.error, record.status = hopeless.as_dict(), "failed"
        elif record.error and silent:
            problem = f"{silent.problem} It is not known whether {record.run} is committed."
            record.error = RunError(silent.code, problem, hint=f"When the store answers: {command(f'show {record.run}')}").as_dict()
        return record

    def _end_parts(self, record: Record, known: Record, hopeless: RunError | None) -> None:
        """Complete the record of a run with parts: the cluster could not, or it was given up."""
        with suppress(SetupError):
            if not record.loaded:
                Journal(self.handles.history, record).end_parts(known.error or dict(KILLED))
            if hopeless is not None:
                record.error, record.status = hopeless.as_dict(), "failed"
                self.handles.history.save(record)

    def _close(self, record: Record, known: Record) -> None:
        """Complete the record of a loaded run: the cluster could not write how it ended."""
        record.status, record.finished, record.error = known.status, known.finished, known.error
        with suppress(SetupError):
            self.handles.history.save(record)

    @staticmethod
    def partial(live: Mapping[str, Any]) -> Record:
        """Return a record with what the Workflow alone shows of its run."""
        seen = status.seen(live)
        record = Record(
            run=seen.run,
            pipeline=seen.pipeline,
            engine=ArgoEngine.name,
            started=seen.started,
            tap=Side(seen.parameters.get("tap", ""), seen.parameters.get("tap-version", "")),
            target=Side(seen.parameters.get("target", ""), seen.parameters.get("target-version", "")),
            mapper=Side(name, seen.parameters.get("mapper-version", "")) if (name := seen.parameters.get("mapper")) else None,
            transform=Side(name, seen.parameters.get("transform-version", "")) if (name := seen.parameters.get("transform")) else None,
            state_before=None,
            backfill=json.loads(seen.parameters.get("backfill") or "null"),
        )
        if not seen.ended:
            return record
        record.status, record.finished = "succeeded", seen.finished or now()
        if seen.phase != "Succeeded":
            why = outcome.of_argo(seen.pipeline, seen.run, [*messages(live.get("status", {})), seen.message])
            record.error, record.status = why.as_dict(), "interrupted" if why.code == "E-CANCELLED" else "failed"
        return record


def messages(facts: Mapping[str, Any]) -> list[str]:
    """Return Argo's messages about the pods that failed, oldest first."""
    nodes = [node for node in status.nodes_of(facts) if node.get("type") == "Pod"]
    failed = [node for node in nodes if node.get("phase") in {"Failed", "Error"}]
    return [str(node.get("message") or "") for node in sorted(failed, key=lambda node: str(node.get("finishedAt")))]
