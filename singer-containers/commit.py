"""Commit a run in the cluster (``commit.py commit``), and end it (``commit.py finish``).

It is the only program in a pipeline's pods with S3 credentials, and the only one that uses the API.

- ``commit`` waits for tap, mapper and target, and stores data, record and state if both succeeded.
- ``finish`` is the exit handler of the Workflow, for a run that failed, has a transform, or sends
  a message. It removes the data of a failed run, writes its record, and sends the message. After a
  transform, it records the result; the data stays.
- ``keep`` waits for the tap of a staged run. As ``commit`` does, it keeps secrets that the
  connector replaced in its config (``kube_secret``).

``runs/journal.py`` has the rule for data, record and state; the local engine uses it too.
"""

from __future__ import annotations

import json
import math
import os
import re
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

import kube_secret

from cluster.config.settings import Settings
from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines
from cluster.host.locks import held
from cluster.host.parallel import ahead
from cluster.net import proxy
from cluster.project import parts
from cluster.runs import notify, outcome
from cluster.runs import state as state_json
from cluster.runs.history import History, PartHistory
from cluster.runs.journal import Journal, Progress, foreign, printed
from cluster.runs.record import Record, Side
from cluster.store.s3 import S3Store
from cluster.ui.format import count as counted
from cluster.ui.format import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cluster.project.parts import Plan
    from cluster.store import Store

ENGINE = "argo"
HOPELESS = 90
"""The exit code for errors that a retry cannot fix; the templates do not retry it."""
NEVER_AGAIN = {"E-OUTPUTS", "E-STATE", "E-ENGINE"}
CONTAINERS = Path("/var/run/argo/ctr")
"""Argo writes each container's exit code here within a second, unless the container was killed."""
START_SECONDS = 300.0
"""How long a side may take to begin; the entrypoint waits this long at a FIFO."""
LOST_SECONDS = 5.0
"""How long after the end of a side its exit code may arrive."""
OTHER_SECONDS = 2.0
"""How long the other side may go on after one has failed; then Argo kills it without a report."""
LOOK_SECONDS = 0.05
NO_CAUSE = {None, 128 + signal.SIGTERM}
"""Exit codes in a side's report that do not explain a failure: something stopped the side."""
STOPPED = {"code": "E-CANCELLED", "problem": "The run was stopped.", "hint": f"Run it again. {outcome.UNCHANGED}"}
SHUTDOWN = {"message": "workflow shutdown with strategy: Stop"}
"""Argo's message about a node that it has stopped."""
POD_NODE = re.compile(r"\(\d+:(\d+)\)\(\d+\)$")
"""How the name of a part's node ends: its position and its index in the plan, then the attempt."""
MINIO = "argo-artifacts"
"""The host of the store that comes with the platform."""
PAUSES = (1.0, 3.0, 10.0, 20.0)
"""Seconds between attempts to write the record of a failed run, as the store may be down."""


@dataclass(frozen=True)
class Run:
    """The run, as the Workflow describes it in ``SINGER_*`` variables (``docs/contracts.md``)."""

    pipeline: str
    run: str
    started: str
    tap: Side
    target: Side
    shared: Path
    """The folder that the containers of the pod share."""
    extracted: str = ""
    """The run whose tap output was loaded; if empty, this run."""
    after: tuple[str, ...] = ()
    """The sides that ``commit`` waits for: those in its pod."""
    globs: tuple[str, ...] = ("**/*",)
    mapper: Side | None = None
    """The mapper between tap and target."""
    transform: Side | None = None
    """The transform that follows the load."""
    backfill: dict[str, str | None] | None = None
    """The dates of a backfill, which leaves the state unchanged."""
    safe_states: bool | None = False
    """``safe_states`` of the target; None: while its working folder has no file."""
    initial_state: str = "none"
    """The key of the pipeline's initial state in the bucket of configs."""
    plan: str = "none"
    """The key of the plan of a run with parts, in the bucket of configs."""
    index: int | None = None
    """Which part of the plan this pod loads."""
    part: str | None = None
    """Its name."""
    status: str = ""
    failures: tuple[Mapping[str, Any], ...] = ()
    """Argo's report of the nodes that failed; of very many, only some."""
    stopped: bool = False
    """Whether Argo stopped any of them because somebody asked for it."""
    settings: Settings = field(default_factory=Settings)

    @property
    def stop(self) -> tuple[Mapping[str, Any], ...]:
        """Argo's report of a node that it stopped; empty if nobody stopped the run."""
        return (SHUTDOWN,) if self.stopped else ()

    @property
    def sides(self) -> dict[str, Side]:
        """Tap, mapper and target, in the order of the data."""
        return {"tap": self.tap, **({"mapper": self.mapper} if self.mapper else {}), "target": self.target}


def read(environ: Mapping[str, str]) -> Run:
    """Read the run from the environment variables."""
    return Run(
        pipeline=environ["SINGER_PIPELINE"],
        run=environ["SINGER_RUN"],
        started=environ.get("SINGER_STARTED") or now(),
        tap=Side(environ["SINGER_TAP"], environ.get("SINGER_TAP_VERSION", "")),
        target=Side(environ["SINGER_TARGET"], environ.get("SINGER_TARGET_VERSION", "")),
        shared=Path(environ.get("SINGER_SHARED", "/singer/shared")),
        extracted=environ.get("SINGER_FROM_RUN", ""),
        after=tuple(side for side in environ.get("SINGER_AFTER", "").split(",") if side),
        globs=tuple(json.loads(environ.get("SINGER_OUTPUTS") or '["**/*"]')),
        safe_states={"true": True, "auto": None}.get(environ.get("SINGER_SAFE_STATES", "false"), False),
        mapper=Side(name, environ.get("SINGER_MAPPER_VERSION", "")) if (name := environ.get("SINGER_MAPPER")) else None,
        transform=Side(name, environ.get("SINGER_TRANSFORM_VERSION", "")) if (name := environ.get("SINGER_TRANSFORM")) else None,
        backfill=json.loads(environ.get("SINGER_BACKFILL") or "null"),
        initial_state=environ.get("SINGER_INITIAL_KEY") or "none",
        plan=environ.get("SINGER_PLAN") or "none",
        index=int(environ["SINGER_PART"]) if environ.get("SINGER_PART") else None,
        status=environ.get("SINGER_STATUS", ""),
        failures=tuple(failures(environ.get("SINGER_FAILURES", ""))),
        stopped=environ.get("SINGER_STOPPED") == "true",
        settings=read_settings(environ),
    )


def read_settings(environ: Mapping[str, str]) -> Settings:
    """Read where the store is, from the environment variables."""
    return Settings(
        root=Path("/"),
        local_store="s3",
        s3_endpoint=environ["SINGER_S3_ENDPOINT"],
        s3_region=environ.get("SINGER_S3_REGION", "us-east-1"),
        bucket_configs=environ["SINGER_BUCKET_CONFIGS"],
        bucket_artifacts=environ["SINGER_BUCKET_ARTIFACTS"],
        bucket_outputs=environ["SINGER_BUCKET_OUTPUTS"],
    )


def failures(text: str) -> list[dict[str, Any]]:
    """Read Argo's ``workflow.failures``, oldest first.

    It is a JSON list in a JSON string, or ``null`` if nothing failed.
    """
    try:
        value = json.loads(text)
        value = json.loads(value) if isinstance(value, str) else value
    except ValueError:
        value = beginning(text)
    nodes = [node for node in value if isinstance(node, dict)] if isinstance(value, list) else []
    return sorted(nodes, key=lambda node: str(node.get("finishedAt")))


def beginning(text: str) -> list[Any]:
    """Return the nodes at the beginning of ``workflow.failures`` that was cut off."""
    with suppress(ValueError):
        text = json.loads(f'{text.rstrip(chr(92))}"') if text.startswith('"') else text
    nodes, end = [], text.find("{")
    with suppress(ValueError):
        while end > 0:
            node, end = json.JSONDecoder().raw_decode(text, end)
            nodes.append(node)
            end = text.find("{", end)
    return nodes


# -------------------------------------------------------------------------------------- the parts


def of_part(run: Run, history: History) -> tuple[Run, History]:
    """Return the run and its history as this pod sees them: only its part, if the run has parts.

    The first pod writes the record of the whole run, which is there while it runs.

    :raises SetupError: E-STORE, the plan cannot be read.
    """
    if run.index is None:
        return run, history
    plan = plan_of(run, history)
    if history.read_alone(run.pipeline, run.run) is None:
        history.save(whole(run, history, plan))
    part = replace(run, part=plan.parts[run.index].name, transform=None, started=now())
    return part, PartHistory(history, plan, run.index)


def plan_of(run: Run, history: History) -> Plan:
    """Return the plan of a run with parts.

    :raises SetupError: E-STORE, it cannot be read.
    """
    with suppress(ValueError, KeyError, TypeError):
        return parts.read(history.store.get(run.settings.bucket_configs, run.plan) or b"")
    raise SetupError("E-STORE", f"The plan of {run.run} is not in the bucket: {run.plan}.", hint="Start it again, as before.")


def whole(run: Run, history: History, plan: Plan) -> Record:
    """Return a new record of a run with parts.

    :raises SetupError: E-STATE, E-STORE.
    """
    record = new_record(run, history.state(run.pipeline) or initial(run, history))
    record.divide(plan)
    return record


def failed_part(run: Run, journal: Journal, facts: dict[str, Any]) -> None:
    """Write the record of a part whose attempt has failed. Argo may try it again."""
    left = Traces()
    left.reports["main"] = facts
    for side in run.after:
        left.reports[side] = report(run.shared / f"{side}.json")
        with suppress(OSError):
            left.logs[side] = (CONTAINERS / side / "combined").read_bytes()[-outcome.TAIL_BYTES :]
    with suppress(SetupError):  # the exit handler writes it then
        count(journal.record, left.reports)
        journal.fail("failed", cause(run, left, outcome.unchanged(journal.record)).as_dict())


def end_killed(run: Run, history: History, record: Record) -> None:
    """Write the records of parts whose ``main`` could not, from what their last pods have left."""
    known = history.parts(record)
    ended = {name for name, stored in known.items() if not doubtful(stored)}
    views = [view for view in history.views(record) if view.part.name not in ended | view.plan.skipped]
    pods = pods_by_part(run, history.store, [item["name"] for item in record.parts or ()]) if views else {}

    def end(view: PartHistory) -> None:
        pod = pods[view.part.name]
        part = replace(run, part=view.part.name, transform=None, failures=of_pod(run, pod))
        stored = known.get(view.part.name)
        journal = Journal(view, stored or new_record(part, view.state(run.pipeline) or initial(part, view)))
        left = traces(run, history.store, only=f"{pod}/")
        count(journal.record, left.reports)
        why = cause(part, left, outcome.unchanged(journal.record))
        journal.fail("interrupted" if why.code == "E-CANCELLED" else "failed", why.as_dict())

    list(ahead(end, [view for view in views if view.part.name in pods]))


def doubtful(part: Record) -> bool:
    """Return whether ``main`` did not know how its part ended.

    Argo stops it when a side fails, perhaps before it knows why; and it sees sides that Argo stops.
    """
    return part.status in {"running", "interrupted"} or (part.error or {}).get("code") == "E-RUNNER"


def of_pod(run: Run, pod: str) -> tuple[Mapping[str, Any], ...]:
    """Return Argo's report of a pod; if it was cut off, and the run stopped, then of a stop."""
    own = tuple(node for node in run.failures if node.get("podName") == pod)
    return own or run.stop


def pods_by_part(run: Run, store: Store, parts: Sequence[str]) -> dict[str, str]:
    """Return the last pod of each part of a run: by the reports of their taps, and by Argo's nodes.

    A pod that was killed for its timeout may have left no report.
    """
    bucket, pods = run.settings.bucket_artifacts, dict[str, str]()
    items = sorted(store.objects(bucket, f"workflows/{run.run}/"), key=lambda item: item.modified)
    keys = [item.key for item in items if item.key.endswith("/tap.json")]
    for key, data in zip(keys, ahead(lambda key: store.get(bucket, key), keys), strict=True):
        with suppress(ValueError, KeyError):
            pods[json.loads(data or b"{}")["part"]] = key.split("/")[2]
    return pods | failed_pods(run, parts)


def failed_pods(run: Run, parts: Sequence[str]) -> dict[str, str]:
    """Return the last pod of each part that failed, as far as Argo's report of them is complete."""
    nodes = [(POD_NODE.search(str(node.get("displayName"))), node.get("podName")) for node in run.failures]
    return {parts[int(match[1])]: str(pod) for match, pod in nodes if match and pod}


def ended_parts(run: Run, history: History) -> Record:
    """Write the record of a run with parts, and of parts that could not do it themselves.

    :raises SetupError: the store does not accept it.
    """
    history.claim(ENGINE)
    record = history.read_alone(run.pipeline, run.run)
    if record is None or record.parts is None:
        record = whole(run, history, plan_of(run, history))
    journal = Journal(history, record)
    if record.status == "running" and not record.loaded:
        end_killed(run, history, record)
        messages = [str(node.get("message") or "") for node in (*run.failures, *run.stop)]
        journal.end_parts(outcome.of_argo(run.pipeline, run.run, messages, outcome.rest(record)).as_dict())
    if record.status == "running":
        return (transformed(run, history) or record) if run.status == "Succeeded" else untransformed(run, journal)
    return record


# -------------------------------------------------------------------------- the other containers


def ends(
    run: Run,
    containers: Path = CONTAINERS,
    *,
    start: float = START_SECONDS,
    lost: float = LOST_SECONDS,
    other: float = OTHER_SECONDS,
    look: Callable[[], None] = lambda: None,
) -> dict[str, int | None]:
    """Wait until all sides have ended, or one has failed; return the exit codes so far.

    An exit code comes from the entrypoint's report, or from Argo's file if the entrypoint was
    killed. If the whole container was killed there is neither, only a lock that no process holds:
    the side is lost, and its code is None.
    """
    patience = {"absent": start, "held": math.inf, "free": lost}
    seen: dict[str, tuple[str, float]] = {}
    bad = math.inf
    while True:
        codes: dict[str, int | None] = {}
        for side in run.after:
            lock = run.shared / f"{side}.lock"
            how = "held" if held(lock) else "free" if lock.exists() else "absent"
            code = exit_code(run, side, containers)  # read after the lock: a side reports first
            if side not in seen or seen[side][0] != how:  # the patience counts from the change
                seen[side] = how, time.monotonic()
            if code is not None or time.monotonic() - seen[side][1] > patience[how]:
                codes[side] = code
        if any(code != 0 for code in codes.values()):
            bad = min(bad, time.monotonic())
        if len(codes) == len(run.after) or time.monotonic() - bad > other:
            return codes
        look()
        time.sleep(LOOK_SECONDS)


def exit_code(run: Run, side: str, containers: Path) -> int | None:
    """Return the exit code that a side, or else Argo, has reported; None if neither has yet."""
    code = report(run.shared / f"{side}.json").get("exit_code")
    if code is None:
        with suppress(OSError, ValueError):
            code = int((containers / side / "exitcode").read_text(encoding="utf-8"))
    return code


# ---------------------------------------------------------------------------------------- a success


def begun(run: Run, history: History) -> Journal:
    """Return the journal of this attempt.

    The state before the run comes from an earlier attempt's record, if that did not commit.

    :raises SetupError: E-STATE, E-STORE.
    """
    state = history.state(run.pipeline)
    earlier = history.read(run.pipeline, run.run)
    before = state or initial(run, history)
    if earlier is not None and not earlier.committed:
        before = earlier.state_before
    record = new_record(run, before)
    record.state_kept = state if state != before else None
    progress = Progress(run.shared / "safe_state.json", run.shared / "data", run.safe_states)
    return Journal(history, record, progress)


def attempt(run: Run, history: History) -> Journal:
    """Record that the run is under way, unless it is committed. ``commit`` reports store errors."""
    journal = Journal(history, new_record(run, None))
    with suppress(SetupError):
        history.claim(ENGINE)
        earlier = history.read(run.pipeline, run.run)
        if earlier is not None and earlier.committed:
            return Journal(history, earlier)
        journal = begun(run, history)
        journal.begin()
    return journal


def commit(run: Run, history: History) -> Record:
    """Store data, record and state of a run whose sides have succeeded. Safe to repeat.

    :raises SetupError: something could not be stored; the state is unchanged.
    """
    history.claim(ENGINE)
    earlier = history.read(run.pipeline, run.run)
    if earlier is not None and Journal(history, earlier).follow():
        return earlier
    journal = begun(run, history)
    record = journal.record
    reports = {side: report(run.shared / f"{side}.json") for side in run.sides}
    if not reports["tap"]:  # staged: tap and mapper ran in another pod
        reports = {**traces(run, history.store, run.extracted).reports, "target": reports["target"]}
    count(record, reports)
    for side in record.sides:
        side.exit_code = 0
    raw = run.shared / "raw"
    others = journal.publish(run.shared / "data", run.globs, raw if raw.is_file() else None)
    staged = f"raw/{run.pipeline}/{run.extracted or run.run}/tap_output.txt"
    if record.raw is None and history.store.objects(run.settings.bucket_artifacts, staged):
        record.raw = staged
    state = printed(run.shared / "new_state.json")
    for problem in outcome.doubts(run.target.connector, others, foreign=foreign(state, reports["tap"])):
        print(f"WARNING {problem}", flush=True)
    journal.commit(state)
    return record


def initial(run: Run, history: History) -> dict[str, Any] | None:
    """Return the initial state of the connector or the pipeline, None if there is none."""
    with suppress(ValueError):
        return history.own(state_json.read(history.store.get(run.settings.bucket_configs, run.initial_state) or b"{}") or None)
    return None


def new_record(run: Run, state: dict[str, Any] | None) -> Record:
    """Return the record of a run that began with *state*."""
    return Record(
        run=run.run,
        pipeline=run.pipeline,
        engine=ENGINE,
        started=run.started,
        tap=run.tap,
        target=run.target,
        mapper=run.mapper,
        transform=run.transform,
        state_before=state,
        state_after=state,
        backfill=run.backfill,
        part=run.part,
        retry_of=run.extracted if run.extracted not in {"", run.run} else None,
    )


def count(record: Record, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy the reports of the sides into the record."""
    outcome.counts(record, reports)
    names = ["tap", *(["mapper"] if record.mapper else []), "target"]
    for name, side in zip(names, record.sides, strict=True):
        side.exit_code = reports[name].get("exit_code")
    ordered = [reports[name] for name in names]
    record.warnings = [*outcome.run_warnings(record.tap.connector, *ordered), *outcome.unmapped(record, reports)]


def rotating(run: Run, environ: Mapping[str, str]) -> Callable[..., None]:
    """Return a function that keeps what the sides replaced in their configs."""
    keepers = {side: kube_secret.keeper(side, run.sides[side].connector, environ) for side in run.after}

    def keep(*, last: bool = False) -> None:
        for side, keeper in keepers.items():
            for name in keeper.look(last=last):
                print(f"{keeper.connector} replaced {name} in its config; its Secret has the new value", flush=True)
            if last and keeper.problems:
                _add_warnings(run.shared / f"{side}.json", keeper.problems)

    return keep


def _add_warnings(file: Path, problems: list[str]) -> None:
    """Add warnings to the report of a side that has ended, from where the record takes them."""
    for problem in problems:
        print(f"WARNING {problem}", flush=True)
    facts = report(file)
    if facts:
        facts["warnings"] = [*facts.get("warnings", []), *problems]
        file.write_text(json.dumps(facts), encoding="utf-8")


def report(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is none."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------------------------------- a failure


TRACED = ("tap", "mapper", "target", "transform", "main")


@dataclass
class Traces:
    """The reports and logs that a run's pods left in the bucket; for each side, the newest."""

    reports: dict[str, dict[str, Any]] = field(default_factory=lambda: {side: {} for side in TRACED})
    logs: dict[str, bytes] = field(default_factory=lambda: dict.fromkeys(TRACED, b""))
    pods: list[str] = field(default_factory=list)
    """Oldest first."""


def traces(run: Run, store: Store, other: str = "", only: str = "") -> Traces:
    """Read the reports and logs that Argo stored below ``workflows/<run>/``, by pod.

    *other* is another run to read instead, *only* how the names of the pods begin.
    """
    left = Traces()
    bucket, prefix = run.settings.bucket_artifacts, f"workflows/{other or run.run}/"
    objects = sorted(store.objects(bucket, prefix + only), key=lambda item: item.modified)
    there = {item.key.removeprefix(prefix) for item in objects}
    for name in (item.key.removeprefix(prefix) for item in objects):
        pod, _, file = name.partition("/")
        if pod not in left.pods:
            left.pods.append(pod)
        side, _, kind = file.rpartition(".")
        if side not in left.reports:
            continue
        if kind == "json":
            with suppress(ValueError):
                left.reports[side] = json.loads(store.get(bucket, prefix + name) or b"{}")
            if f"{pod}/{side}.log" not in there:  # a step with one container, main
                left.logs[side] = (store.get(bucket, f"{prefix}{pod}/main.log") or b"")[-outcome.TAIL_BYTES :]
        elif kind == "log":
            left.logs[side] = (store.get(bucket, prefix + name) or b"")[-outcome.TAIL_BYTES :]
    return left


def cause(run: Run, left: Traces, unchanged: str = outcome.UNCHANGED) -> RunError:
    """Return the error that explains a failed run; its hint ends with *unchanged*."""
    messages = [str(node.get("message") or "") for node in run.failures]
    known = outcome.of_argo(run.pipeline, run.run, messages, unchanged)
    if known.code in {"E-CANCELLED", "E-TIMEOUT"} or outcome.pod_deleted(messages):
        return known
    pods = [str(node.get("podName")) for node in run.failures if node.get("podName")]
    lost = bool(pods) and not any(pod in left.pods for pod in pods)
    if not lost:
        codes = left.reports["main"].get("ended", {})
        ends = {side: end_of(run, left, side, codes.get(side), unchanged) for side in run.sides}
        # If the commit gave up or could not begin, Argo stopped the sides that still worked. Their
        # ends are not the cause.
        silent = NO_CAUSE if codes or known.code == "E-POD" else set()
        failures = {
            side: end.failure()
            for side, end in ends.items()
            if side in codes or (left.reports[side] and left.reports[side].get("exit_code") not in silent)
        }
        error = outcome.explain_all(list(ends.values()), failures)
        if error is not None:
            return error
        reported = left.reports["main"].get("error")
        if isinstance(reported, dict):
            return RunError(reported["code"], reported["problem"], hint=f"{reported['hint']} {unchanged}")
    return known


def end_of(run: Run, left: Traces, side: str, waited: int | None, unchanged: str) -> outcome.SideResult:
    """Return how a side ended, from its traces; *waited* is the exit code that ``main`` saw."""
    connector = {**run.sides, "transform": run.transform or run.target}[side].connector
    facts = left.reports[side]
    code = facts.get("exit_code")
    if code is None:
        code = waited
    return outcome.SideResult(
        side,
        connector,
        code,
        facts,
        left.logs[side],
        killed=facts.get("exit_code") is None and (code or 0) > 128,  # noqa: PLR2004 - 128 + n for signal n
        config=f"singer-configs/{connector}" + ("" if side == "transform" else "/config.json"),
        log_at=f"logs {run.run}",
        unchanged=unchanged,
    )


def failed(run: Run, history: History) -> Record:
    """Write the record of a run that failed, and remove its files. A committed run stays committed.

    :raises SetupError: the store does not accept it.
    """
    history.claim(ENGINE)
    earlier = history.read(run.pipeline, run.run)
    if earlier is not None and earlier.committed:
        journal = Journal(history, earlier)
        journal.follow()
        return untransformed(run, journal) if earlier.status == "running" else earlier
    try:
        journal = begun(run, history)
    except SetupError as error:
        if error.code != "E-STATE":
            raise
        journal = Journal(history, new_record(run, None))
    left = traces(run, history.store)
    count(journal.record, left.reports)
    why = cause(run, left, outcome.unchanged(journal.record))
    journal.fail("interrupted" if why.code == "E-CANCELLED" else "failed", why.as_dict())
    return journal.record


def untransformed(run: Run, journal: Journal) -> Record:
    """Record that the transform of a loaded run failed or was stopped."""
    left = traces(run, journal.history.store, only=f"{run.run}-transform-")
    error = outcome.of_argo(run.pipeline, run.run, [str(node.get("message") or "") for node in run.failures], outcome.LOADED)
    reported = end_of(run, left, "transform", None, outcome.LOADED).failure() if left.reports["transform"] else None
    if reported is not None and error.code not in {"E-CANCELLED", "E-TIMEOUT"}:
        error = reported
    if journal.record.transform is not None:
        journal.record.transform.exit_code = left.reports["transform"].get("exit_code")
    journal.end("interrupted" if error.code == "E-CANCELLED" else "failed", error.as_dict())
    return journal.record


def transformed(run: Run, history: History) -> Record | None:
    """Record that the transform of a loaded run succeeded, unless the record has it already."""
    record = history.read_alone(run.pipeline, run.run)
    if record is not None and record.loaded and record.status == "running" and record.transform is not None:
        record.transform.exit_code = 0
        Journal(history, record).end("succeeded")
    return record


def finish(run: Run, history: History, environ: Mapping[str, str], pauses: Iterable[float] = PAUSES) -> int:
    """End a run: write its record if it failed or has a transform, then send the message.

    A message that cannot be sent does not change the result.
    """
    problem, record = None, None
    if run.status != "Succeeded" or run.transform or run.plan != "none":
        end = ended_parts if run.plan != "none" else transformed if run.status == "Succeeded" else failed
        for pause in (*pauses, None):
            try:
                record = end(run, history)
            except SetupError as error:
                complain(error)
                problem = error
                if pause is not None:
                    time.sleep(pause)
            else:
                problem = None
                break
    choice = environ.get("SINGER_NOTIFY", "failure")
    good = (run.status == "Succeeded" and run.plan == "none") or (record is not None and record.status == "succeeded")
    if choice in {"warning", "always"}:
        with suppress(SetupError):  # a run that main has recorded
            record = record or history.read(run.pipeline, run.run)
    warnings = record.warnings if record else []
    if notify.wanted(choice, good=good, warnings=warnings):
        why = None if good else record.error if record else unknown(run, problem).as_dict()
        log = b"" if why is None else last_log(run, history, record)
        tell(environ, notify.message(run.pipeline, run.run, why, log_lines(log), warnings, environ.get("SINGER_LINK", "")))
    return 1 if problem else 0


def tell(environ: Mapping[str, str], facts: Mapping[str, Any], seconds: float = notify.SECONDS) -> bool:
    """Send a message if there is an address, and return whether it arrived. Never raises.

    A failure is one line on standard error.
    """
    try:
        address = Path(environ.get("SINGER_NOTIFY_FILE", "/singer/notify/url")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        address = ""
    if not address:
        return False
    problem = notify.send(address, facts, seconds)
    if problem:
        print(f"The notification was not sent: {problem}.", file=sys.stderr, flush=True)
    return not problem


def unknown(run: Run, problem: SetupError | None) -> RunError:
    """Return the error for a run whose record cannot be read, so that it may be committed."""
    first = problem.problem if problem else "Its record cannot be read."
    return RunError("E-STORE", f"{first} It is not known whether {run.run} is committed.", hint=f"When the store answers: show {run.run}")


def last_log(run: Run, history: History, record: Record | None) -> bytes:
    """Return the log of the side that failed, else of the tap.

    With parts, it is that of the first part that failed, and no other pod is looked at.
    """
    only = ""
    if record is not None and record.parts is not None:
        pod = failed_pods(run, [item["name"] for item in record.parts]).get(record.failed_part)
        only = f"{pod}/" if pod else f"{run.run}-transform-"
    try:
        left = traces(run, history.store, only=only)
    except SetupError:
        return b""
    sides = [side for side in TRACED[:-1] if left.reports[side].get("exit_code") not in {0, None}]
    return left.logs[sides[0] if sides else "tap"]


# -------------------------------------------------------------------------------------- the program


class Stopped(BaseException):
    """SIGTERM: the pod is being deleted. No ``except Exception`` may swallow it."""


def stop(_number: int, _frame: object) -> NoReturn:
    """Handle the first SIGTERM: ``main`` writes the record within the grace period."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def leave(run: Run, facts: Mapping[str, Any]) -> None:
    """Write a report for ``finish``."""
    with suppress(OSError):
        (run.shared / "main.json").write_text(json.dumps(facts), encoding="utf-8")


def counts(run: Run, record: Record) -> None:
    """Write what was loaded where Argo reads it for the metrics."""
    for name, number in (("records", record.total), ("bytes", sum(record.bytes.values()))):
        with suppress(OSError):
            (run.shared / name).write_text(str(number), encoding="utf-8")


def give_up(run: Run, journal: Journal, facts: dict[str, Any]) -> None:
    """Leave a report for ``finish``; a part of a run writes its own record."""
    leave(run, facts)
    if run.part is not None and not journal.record.committed:
        failed_part(run, journal, facts)


def complain(error: SetupError) -> None:
    """Print an error in the form that all our programs use."""
    print(f"{error.code}  {error.problem}\n→ {error.hint}", file=sys.stderr, flush=True)


def open_history(settings: Settings, environ: Mapping[str, str]) -> History:
    """Open the states and records in the cluster's store."""
    store = S3Store(
        settings.s3_endpoint,
        access_key=environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=environ.get("AWS_SESSION_TOKEN"),
        region=settings.s3_region,
        ca_bundle=environ.get("SSL_CERT_FILE"),
        proxy=proxy.read(settings, environ).proxy_for(settings.s3_endpoint),
        own=urlsplit(settings.s3_endpoint).hostname == MINIO,
    )
    return History(store, settings)


def main() -> NoReturn:
    """Run the command of the command line; the environment has its parameters."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and its one argument
    if command not in {"commit", "finish", "keep"}:
        print("usage: commit.py commit|finish|keep", file=sys.stderr)
        raise SystemExit(2)
    run = read(os.environ)
    if command == "keep":
        raise SystemExit(keep_alone(run, rotating(run, os.environ)))
    history = open_history(run.settings, os.environ)
    if command == "finish":
        raise SystemExit(finish(run, history, os.environ))
    signal.signal(signal.SIGTERM, stop)
    try:
        run, history = of_part(run, history)
    except SetupError as error:
        complain(error)
        leave(run, {"error": error.as_dict()})
        raise SystemExit(HOPELESS if error.code in NEVER_AGAIN else 1) from None
    journal = attempt(run, history)
    try:
        raise SystemExit(try_commit(run, history, journal, rotating(run, os.environ)))
    except Stopped:
        # A deleted Workflow has no exit handler: only this program can still write the record.
        with suppress(SetupError):
            stored = history.read(run.pipeline, run.run)
            if stored is None or not stored.committed:
                journal.fail("interrupted", STOPPED)
        raise SystemExit(128 + signal.SIGTERM) from None


def keep_alone(run: Run, rotate: Callable[..., None]) -> int:
    """Wait for the tap of a pod that commits nothing, and return its exit code for Argo."""
    codes = ends(run, look=rotate)
    rotate(last=True)
    return 0 if all(code == 0 for code in codes.values()) else HOPELESS if HOPELESS in codes.values() else 1


def try_commit(run: Run, history: History, journal: Journal, rotate: Callable[..., None]) -> int:
    """Wait for all sides, then commit; return the exit code."""

    def look() -> None:
        journal.keep()
        rotate()

    try:
        codes = ends(run, look=look)
    finally:  # also if the pod is deleted
        rotate(last=True)
    journal.keep(last=True)
    if any(code != 0 for code in codes.values()):
        give_up(run, journal, {"ended": codes})
        print("Nothing is stored: " + ", ".join(f"{side} ended with exit code {code}" for side, code in codes.items() if code != 0))
        return HOPELESS if HOPELESS in codes.values() else 1
    try:
        record = commit(run, history)
    except SetupError as error:
        complain(error)
        give_up(run, journal, {"error": error.as_dict()})
        return HOPELESS if error.code in NEVER_AGAIN else 1
    state = "moved" if record.state_printed else "unchanged"
    counts(run, record)
    print(f"{outcome.moved(record)}, {counted(len(record.outputs), 'file')}, state {state}")
    return 0


if __name__ == "__main__":
    main()
