"""Store what a run left, in the cluster: ``commit.py commit`` and, at a Workflow's end, ``commit.py finish``.

The only program of a pipeline's pods that has S3 credentials. ``commit`` waits for tap and target,
and stores data, record and state if both succeeded. ``finish`` runs if the Workflow did not
succeed: it removes what was stored, writes the record of the failed run, and sends the message.
After a transform, ``finish`` records how that ended; what is stored stays. ``runs/journal.py`` has
the rule, for the local engine too.
"""

from __future__ import annotations

import json
import math
import os
import signal
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import notify

from cluster.config.settings import Settings
from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines
from cluster.host.locks import held
from cluster.net import proxy
from cluster.runs import outcome
from cluster.runs import state as state_json
from cluster.runs.history import History
from cluster.runs.journal import Journal, Progress, foreign, printed
from cluster.runs.record import Record, Side
from cluster.store.s3 import S3Store
from cluster.ui.format import now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cluster.store import Store

ENGINE = "argo"
HOPELESS = 90
"""Exit code of what a second try will not change; the templates' retries leave it out. Anything else is 1."""
NEVER_AGAIN = {"E-OUTPUTS", "E-STATE", "E-ENGINE"}
CONTAINERS = Path("/var/run/argo/ctr")
"""Where Argo leaves each container's exit code, a second late at the most; not where the container itself was killed."""
START_SECONDS = 300.0
"""How long a side may take to begin: as long as the entrypoint waits at a FIFO."""
LOST_SECONDS = 5.0
"""How long after the end of a side something may tell how it ended."""
OTHER_SECONDS = 2.0
"""How long the other side may take to end by itself, once one has ended badly: Argo ends it then, and it tells nothing more."""
LOOK_SECONDS = 0.05
UNTOLD = {None, 128 + signal.SIGTERM}
"""Exit codes, as a side reports them, that tell of nothing but that it was told to end."""
STOPPED = {"code": "E-CANCELLED", "problem": "The run was stopped.", "hint": f"Run it again. {outcome.UNCHANGED}"}
PAUSES = (1.0, 3.0, 10.0, 20.0)
"""Seconds between the tries to write the record of a failed run: the store may be what failed."""


@dataclass(frozen=True)
class Run:
    """What the Workflow says of its run, in ``SINGER_*`` variables (``docs/contracts.md``)."""

    pipeline: str
    run: str
    started: str
    tap: Side
    target: Side
    shared: Path
    """The folder that the containers of the pod share."""
    extracted: str = ""
    """The run whose tap output was loaded; none named, this one's."""
    after: tuple[str, ...] = ()
    """The sides whose ends a commit waits for: those in its own pod."""
    globs: tuple[str, ...] = ("**/*",)
    transform: Side | None = None
    """What follows the load."""
    backfill: dict[str, str | None] | None = None
    """Of a run that leaves the state as it is."""
    safe_states: bool | None = False
    """``safe_states`` of the target; None: as long as its working folder has no file."""
    initial_state: str = "none"
    """Where in the bucket of configs the state is with which the pipeline begins."""
    status: str = ""
    failures: tuple[Mapping[str, Any], ...] = ()
    settings: Settings = field(default_factory=Settings)


def read(environ: Mapping[str, str]) -> Run:
    """Read the run's facts from the environment."""
    settings = Settings(
        root=Path("/"),
        local_store="s3",
        s3_endpoint=environ["SINGER_S3_ENDPOINT"],
        s3_region=environ.get("SINGER_S3_REGION", "us-east-1"),
        bucket_configs=environ["SINGER_BUCKET_CONFIGS"],
        bucket_artifacts=environ["SINGER_BUCKET_ARTIFACTS"],
        bucket_outputs=environ["SINGER_BUCKET_OUTPUTS"],
    )
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
        transform=Side(name, environ.get("SINGER_TRANSFORM_VERSION", "")) if (name := environ.get("SINGER_TRANSFORM")) else None,
        backfill=json.loads(environ.get("SINGER_BACKFILL") or "null"),
        initial_state=environ.get("SINGER_INITIAL_KEY") or "none",
        status=environ.get("SINGER_STATUS", ""),
        failures=tuple(failures(environ.get("SINGER_FAILURES", ""))),
        settings=settings,
    )


def failures(text: str) -> list[dict[str, Any]]:
    """Read Argo's ``workflow.failures``, oldest first: a JSON list in a JSON string, or ``null`` where nothing failed."""
    try:
        found = json.loads(text)
        found = json.loads(found) if isinstance(found, str) else found
    except ValueError:
        return []
    nodes = [node for node in found if isinstance(node, dict)] if isinstance(found, list) else []
    return sorted(nodes, key=lambda node: str(node.get("finishedAt")))


# ------------------------------------------------------------------------------------------------- the other containers


def ends(
    run: Run,
    containers: Path = CONTAINERS,
    *,
    start: float = START_SECONDS,
    lost: float = LOST_SECONDS,
    other: float = OTHER_SECONDS,
    look: Callable[[], None] = lambda: None,
) -> dict[str, int | None]:
    """Wait until both sides have ended, or one has not ended well; return the exit codes so far, None of one that is lost.

    The entrypoint's report is there as soon as its connector has ended; Argo's file where the entrypoint was killed; where the
    whole container was, nothing but its lock, which nobody holds any more.
    """
    patience = {"absent": start, "held": math.inf, "free": lost}
    seen: dict[str, tuple[str, float]] = {}
    bad = math.inf
    while True:
        codes: dict[str, int | None] = {}
        for side in run.after:
            lock = run.shared / f"{side}.lock"
            how = "held" if held(lock) else "free" if lock.exists() else "absent"
            code = exit_code(run, side, containers)  # after its lock: who lets go of that has reported before
            if side not in seen or seen[side][0] != how:  # counted from when it was seen, not from when we looked last
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
    """Return the exit code of a side, as it has reported it, else as Argo has seen it; None as long as there is neither."""
    code = report(run.shared / f"{side}.json").get("exit_code")
    if code is None:
        with suppress(OSError, ValueError):
            code = int((containers / side / "exitcode").read_text(encoding="utf-8"))
    return code


# -------------------------------------------------------------------------------------------------------- a success


def begun(run: Run, history: History) -> Journal:
    """Return the journal of this attempt. An earlier attempt that did not commit keeps the state that the run began with.

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
    """Write that the run is under way, unless it is committed. A store that fails is met again by the commit."""
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
    """Store data, record and state of a run whose two sides have succeeded. Safe to repeat.

    :raises SetupError: something could not be stored; the state is as it was.
    """
    history.claim(ENGINE)
    earlier = history.read(run.pipeline, run.run)
    if earlier is not None and Journal(history, earlier).follow():
        return earlier
    journal = begun(run, history)
    record = journal.record
    reports = {side: report(run.shared / f"{side}.json") for side in ("tap", "target")}
    if not reports["tap"]:  # staged: the tap ran in a pod of its own
        reports["tap"] = traces(run, history.store, run.extracted).reports["tap"]
    count(record, reports)
    record.tap.exit_code = record.target.exit_code = 0
    raw = run.shared / "raw"
    others = journal.publish(run.shared / "data", run.globs, raw if raw.is_file() else None)
    staged = f"raw/{run.pipeline}/{run.extracted or run.run}/tap_output.txt"
    if record.raw is None and history.store.objects(run.settings.bucket_artifacts, staged):  # it went there before it was loaded
        record.raw = staged
    state = printed(run.shared / "new_state.json")
    for problem in outcome.doubts(run.target.connector, others, foreign=foreign(state, reports["tap"])):
        print(f"WARNING {problem}", flush=True)
    journal.commit(state)
    return record


def initial(run: Run, history: History) -> dict[str, Any] | None:
    """Return the initial state of the connector or the pipeline, None if there is none."""
    with suppress(ValueError):
        return state_json.read(history.store.get(run.settings.bucket_configs, run.initial_state) or b"{}") or None
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
        transform=run.transform,
        state_before=state,
        state_after=state,
        backfill=run.backfill,
    )


def count(record: Record, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy the reports of the two sides into the record."""
    tap = reports["tap"]
    record.records, record.bytes, record.messages = tap.get("records", {}), tap.get("bytes", {}), tap.get("messages", {})
    record.tap.exit_code, record.target.exit_code = (reports[side].get("exit_code") for side in ("tap", "target"))
    record.warnings = outcome.run_warnings(record.tap.connector, tap, reports["target"])


def report(file: Path) -> dict[str, Any]:
    """Return the JSON object in a file, an empty one if there is none."""
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


# -------------------------------------------------------------------------------------------------------- a failure


@dataclass
class Traces:
    """What the pods of a run have left in the bucket: reports and logs, those of the newest pod that has any."""

    reports: dict[str, dict[str, Any]] = field(default_factory=lambda: {"tap": {}, "target": {}, "transform": {}, "main": {}})
    logs: dict[str, bytes] = field(default_factory=lambda: {"tap": b"", "target": b"", "transform": b"", "main": b""})
    pods: list[str] = field(default_factory=list)
    """Oldest first."""


def traces(run: Run, store: Store, other: str = "") -> Traces:
    """Look below ``workflows/<run>/``, where Argo has put reports and logs by pod; *other* is another run."""
    found = Traces()
    bucket, prefix = run.settings.bucket_artifacts, f"workflows/{other or run.run}/"
    objects = sorted(store.objects(bucket, prefix), key=lambda item: item.modified)
    there = {item.key.removeprefix(prefix) for item in objects}
    for name in (item.key.removeprefix(prefix) for item in objects):
        pod, _, file = name.partition("/")
        if pod not in found.pods:
            found.pods.append(pod)
        side, _, kind = file.rpartition(".")
        if side not in found.reports:
            continue
        if kind == "json":
            with suppress(ValueError):
                found.reports[side] = json.loads(store.get(bucket, prefix + name) or b"{}")
            if f"{pod}/{side}.log" not in there:  # a step with one container, which Argo calls main
                found.logs[side] = (store.get(bucket, f"{prefix}{pod}/main.log") or b"")[-outcome.TAIL_BYTES :]
        elif kind == "log":
            found.logs[side] = (store.get(bucket, prefix + name) or b"")[-outcome.TAIL_BYTES :]
    return found


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
        ends = {side: end_of(run, left, side, codes.get(side), unchanged) for side in ("tap", "target")}
        # Of a side that still worked when the commit gave up, or could not begin, Argo has made an end: that is not the cause.
        silent = UNTOLD if codes or known.code == "E-POD" else set()
        failures = {
            side: end.failure()
            for side, end in ends.items()
            if side in codes or (left.reports[side] and left.reports[side].get("exit_code") not in silent)
        }
        error = outcome.explain(failures.get("tap"), failures.get("target"), ends["target"], ends["tap"].fault)
        if error is not None:
            return error
        reported = left.reports["main"].get("error")
        if isinstance(reported, dict):
            return RunError(reported["code"], reported["problem"], hint=f"{reported['hint']} {unchanged}")
    return known


def end_of(run: Run, left: Traces, side: str, waited: int | None, unchanged: str) -> outcome.SideResult:
    """Return how a side ended, as far as its traces tell; *waited* is the code that the container ``main`` saw."""
    connector = {"tap": run.tap, "target": run.target, "transform": run.transform or run.target}[side].connector
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
    """Write the record of a run that did not succeed, and take its files back. A committed run stays committed.

    :raises SetupError: the store refuses.
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
    """Write into the record of a loaded run that its transform failed or was stopped."""
    left = traces(run, journal.history.store)
    error = outcome.of_argo(run.pipeline, run.run, [str(node.get("message") or "") for node in run.failures], outcome.LOADED)
    reported = end_of(run, left, "transform", None, outcome.LOADED).failure() if left.reports["transform"] else None
    if reported is not None and error.code not in {"E-CANCELLED", "E-TIMEOUT"}:
        error = reported
    if journal.record.transform is not None:
        journal.record.transform.exit_code = left.reports["transform"].get("exit_code")
    journal.end("interrupted" if error.code == "E-CANCELLED" else "failed", error.as_dict())
    return journal.record


def transformed(run: Run, history: History) -> Record | None:
    """Write into the record of a loaded run that its transform succeeded, unless that is there already."""
    record = history.read(run.pipeline, run.run)
    if record is not None and record.loaded and record.status == "running" and record.transform is not None:
        record.transform.exit_code = 0
        Journal(history, record).end("succeeded")
    return record


def finish(run: Run, history: History, environ: Mapping[str, str], pauses: Iterable[float] = PAUSES) -> int:
    """End a run: write its record if it failed or was transformed, and send the message, which never changes the result."""
    problem, record = None, None
    if run.status != "Succeeded" or run.transform:
        end = transformed if run.status == "Succeeded" else failed
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
    wanted = environ.get("SINGER_NOTIFY", "failure")
    good = run.status == "Succeeded" or (record is not None and record.status == "succeeded")
    if wanted == "always" or (wanted == "failure" and not good):
        why = None if good else record.error if record else unknown(run, problem).as_dict()
        log = b"" if why is None else last_log(run, history)
        notify.notify(environ, pipeline=run.pipeline, run=run.run, error=why, log=log_lines(log))
    return 1 if problem else 0


def unknown(run: Run, problem: SetupError | None) -> RunError:
    """Return the error of a run whose record cannot be read: it may be committed."""
    first = problem.problem if problem else "Its record cannot be read."
    return RunError("E-STORE", f"{first} It is not known whether {run.run} is committed.", hint=f"When the store answers: show {run.run}")


def last_log(run: Run, history: History) -> bytes:
    """Return the log that is worth reading: of the side that failed, else of the tap."""
    try:
        left = traces(run, history.store)
    except SetupError:
        return b""
    sides = [side for side in ("tap", "target", "transform") if left.reports[side].get("exit_code") not in {0, None}]
    return left.logs[sides[0] if sides else "tap"]


# ------------------------------------------------------------------------------------------------------ the program


class Stopped(BaseException):
    """SIGTERM: the pod is being deleted. No ``except Exception`` may swallow it."""


def stop(_number: int, _frame: object) -> NoReturn:
    """Take a SIGTERM, once: the record is written in the grace period that follows."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise Stopped


def leave(run: Run, facts: Mapping[str, Any]) -> None:
    """Leave a report for whoever ends the Workflow."""
    with suppress(OSError):
        (run.shared / "main.json").write_text(json.dumps(facts), encoding="utf-8")


def complain(error: SetupError) -> None:
    """Say what is wrong, in the form that all our programs have."""
    print(f"{error.code}  {error.problem}\n→ {error.hint}", file=sys.stderr, flush=True)


def open_history(run: Run, environ: Mapping[str, str]) -> History:
    """Return states and records in the cluster's store."""
    store = S3Store(
        run.settings.s3_endpoint,
        access_key=environ.get("AWS_ACCESS_KEY_ID"),
        secret_key=environ.get("AWS_SECRET_ACCESS_KEY"),
        session_token=environ.get("AWS_SESSION_TOKEN"),
        region=run.settings.s3_region,
        ca_bundle=environ.get("SSL_CERT_FILE"),
        proxy=proxy.read(run.settings, environ).proxy_for(run.settings.s3_endpoint),
    )
    return History(store, run.settings)


def main() -> NoReturn:
    """Do what the command line names; everything else comes from the environment."""
    command = sys.argv[1] if len(sys.argv) == 2 else ""  # noqa: PLR2004 - the program and its one argument
    if command not in {"commit", "finish"}:
        print("usage: commit.py commit|finish", file=sys.stderr)
        raise SystemExit(2)
    run = read(os.environ)
    history = open_history(run, os.environ)
    if command == "finish":
        raise SystemExit(finish(run, history, os.environ))
    signal.signal(signal.SIGTERM, stop)
    journal = attempt(run, history)
    try:
        raise SystemExit(try_commit(run, history, journal))
    except Stopped:
        # A Workflow that somebody deleted has no exit handler: this is the last program of the run that can write its record.
        with suppress(SetupError):
            stored = history.read(run.pipeline, run.run)
            if stored is None or not stored.committed:
                journal.fail("interrupted", STOPPED)
        raise SystemExit(128 + signal.SIGTERM) from None


def try_commit(run: Run, history: History, journal: Journal) -> int:
    """Wait for both sides, then store what they left; return the exit code."""
    codes = ends(run, look=journal.keep)
    journal.keep(last=True)
    if any(code != 0 for code in codes.values()):
        leave(run, {"ended": codes})
        print("Nothing is stored: " + ", ".join(f"{side} ended with exit code {code}" for side, code in codes.items() if code != 0))
        return HOPELESS if HOPELESS in codes.values() else 1
    try:
        record = commit(run, history)
    except SetupError as error:
        complain(error)
        leave(run, {"error": error.as_dict()})
        return HOPELESS if error.code in NEVER_AGAIN else 1
    print(f"{record.total:,} records, {len(record.outputs)} files, state {'moved' if record.state_printed else 'unchanged'}")
    return 0


if __name__ == "__main__":
    main()
