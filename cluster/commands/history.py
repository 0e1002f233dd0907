"""Commands about runs that have begun: runs, show, report, fetch, logs, cancel."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.strict import words
from cluster.engines import late as lateness
from cluster.engines import logs as run_logs
from cluster.engines.choice import Engine, Engines
from cluster.errors import SetupError
from cluster.host.files import replacing
from cluster.project import backfill, redaction
from cluster.project.model import KINDS
from cluster.project.reader import Project
from cluster.runs import bookmarks, outcome, rates
from cluster.runs.late import shown as shown_time
from cluster.runs.outputs import copy
from cluster.runs.record import DONE, fields_of
from cluster.ui.command_line import command
from cluster.ui.format import count, megabytes, seconds, shown
from cluster.ui.listing import list_files
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cluster.runs.record import Record
    from cluster.runs.report import Course
    from cluster.session import Session

FILES = 20
"""How many files of a run ``show`` lists."""
STREAM = 40
"""How many characters of a stream's name ``show`` prints."""
HEADERS = ("run", "pipeline", "engine", "status", "records", "time", "state after")


def runs(session: Session, *, pipeline: str, limit: int) -> None:
    """List the newest runs of both engines."""
    if pipeline:
        Project.of(session.settings).pipeline(pipeline)
    with Engines(session) as engines:
        newest = _newest(engines, pipeline or None, limit)
        if not newest:
            session.output.text(f"No runs yet. Next: {command('demo')}")
            return
        for engine, record in newest:
            session.output.event("run", **_fields(engine, record))
        session.output.table([_row(engine, record) for engine, record in newest], HEADERS)


def late(session: Session, *, pipeline: str) -> None:
    """List the pipelines whose success is overdue, on the engine that a run would use.

    :raises SetupError: E-LATE, there are some.
    """
    if pipeline:
        Project.of(session.settings).pipeline(pipeline)
    with Engines(session) as engines:
        engine, _ = engines.choose("")
        watched = lateness.pipelines(engine, [pipeline] if pipeline else ())
        overdue = lateness.late_now(engine, watched)
        why = lateness.unwatched(engine) if engine.handles else None
    output = session.output
    for item in overdue:
        output.event("late", engine=engine.label, **item.fields())
    if why:
        warn(output, "check", f"The check for late pipelines does not work: {why}.")
    if not overdue:
        output.line("✓", count(len(watched), "pipeline"), f"with a schedule on the engine {engine.label}; none is late")
        return
    cells = [[item.pipeline, shown_time(item.due), shown_time(item.success) if item.success else "never", item.detail] for item in overdue]
    output.table(cells, ("pipeline", "due", "last success", "why"))
    hint = f"See {command('runs --pipeline', overdue[0].pipeline)}"
    if engine.handles is None and all(item.why == "not-started" for item in overdue):
        hint = f"Let something start them: {command('schedule --print cron')}"
    raise SetupError("E-LATE", f"{len(overdue)} of {count(len(watched), 'pipeline')} late on the engine {engine.label}.", hint=hint)


def _newest(engines: Engines, pipeline: str | None, limit: int) -> list[tuple[Engine, Record]]:
    """Return the newest runs of both engines, newest first."""
    records = [(engine, record) for engine in engines.available() for record in engine.newest(pipeline, limit)]
    return sorted(records, key=lambda pair: pair[1].started, reverse=True)[:limit]


def _fields(engine: Engine, record: Record) -> dict[str, Any]:
    """Return a record's fields with the status of the run, and of its parts, at this moment.

    A run that was killed could not update its parts: none of them runs any more.
    """
    fields = fields_of(record)
    del fields["schema"]  # every event has its own
    fields["status"] = engine.status(record)
    for item in fields.get("parts", ()):
        if item["status"] == "running" and fields["status"] == "interrupted":
            item["status"] = "interrupted"
    return fields


def _row(engine: Engine, record: Record) -> list[str]:
    """Return the cells of a run. The status includes the error code or the number of warnings."""
    status: str = engine.status(record)
    if record.parts:
        status += f" {record.done}/{len(record.parts)} parts"
    if record.error and status != "succeeded":
        status += f" {record.error['code']}"
    elif record.warnings:
        status += f", {count(len(record.warnings), 'warning')}"
    after = f"backfill {backfill.recorded(record.backfill)}" if record.backfill else bookmarks.short(record.state_after)
    duration = seconds(record.seconds) if record.seconds is not None else ""
    return [record.run, record.pipeline, engine.label, status, _moved(record), duration, after]


def _moved(record: Record) -> str:
    """Return the number of records, loaded of all, and the batch files if there are any."""
    files, size = (sum(batch[name] for batch in record.batches.values()) for name in ("files", "bytes"))
    return outcome.counted(record) + (f" · {count(files, 'file')}, {megabytes(size)}" if files else "")


def show(session: Session, run: str) -> None:
    """Show one run."""
    with Engines(session) as engines:
        engine, record = engines.find(run)
        output = session.output
        fields = _fields(engine, record)
        output.event("run", **fields)
        output.text(f"{record.run} · {record.pipeline} · engine {record.engine} · {fields['status']}")
        sides = [(side, f"{end['connector']} {end['version']}, {_exit(end['exit_code'])}") for side in KINDS if (end := fields[side])]
        streams = [
            (f"stream {_name(name)}", f"{count(number, 'record')}, {megabytes(record.bytes.get(name, 0))}")
            for name, number in record.records.items()
        ] + [(f"batch {_name(name)}", _batch(batch)) for name, batch in record.batches.items()]
        sent = [
            (f"sent by tap {_name(name)}", f"{count(number, 'record')}, {megabytes((record.tap_bytes or {}).get(name, 0))}")
            for name, number in (record.tap_records or {}).items()
        ]
        loaded = outcome.counted(record)
        # Each part that ends moves the state; the record has it at the end.
        moving = bool(record.parts) and record.status == "running"
        facts = [
            ("started", record.started),
            ("took", seconds(record.seconds) if record.seconds is not None else "not known"),
            *sides,
            *sent,
            *streams,
            *([("loaded", f"{loaded} records")] if loaded != f"{record.total:,}" else []),
            *_parts(fields.get("parts", ())),
            *([("full", "it starts over, without the state")] if record.full else []),
            *([("retry of", record.retry_of)] if record.retry_of else []),
            *([("backfill", str(backfill.recorded(record.backfill)))] if record.backfill else []),
            *([("state", f"{command('state', record.pipeline)} shows it")] if moving else _state(record)),
            *_files(engine, record),
            *([("raw", engine.history.store.url(session.settings.bucket_artifacts, record.raw))] if record.raw else []),
            ("logs", engine.logs(record)),
            *([("error", f"{record.error['code']}  {record.error['problem']}"), ("→", record.error["hint"])] if record.error else []),
            *([("→", outcome.rest(record))] if record.parts and not record.error and fields["status"] == "interrupted" else []),
            *(("warning", text) for text in record.warnings),
        ]
        output.table([list(fact) for fact in facts], ["", ""])


def _parts(parts: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return the parts of a run: those that run or did not succeed, and the first of the others."""
    done = [item for item in parts if item["status"] in DONE]
    waiting = [item for item in parts if item["status"] == "waiting"]
    begun = [item for item in parts if item["status"] not in {*DONE, "waiting"}]
    rows = [(f"part {_name(item['name'])}", _part(item)) for item in (*begun, *waiting[:FILES], *done[:FILES])]
    left = f", {len(waiting)} waiting" if waiting else ""
    return [("parts", f"{len(done)} of {len(parts)} loaded{left}"), *rows] if parts else []


def _part(item: Mapping[str, Any]) -> str:
    """Return a part in words."""
    took = f", {seconds(item['seconds'])}" if item["seconds"] is not None else ""
    why = f", {item['error']['code']}  {item['error']['problem']}" if item["error"] else ""
    return f"{item['status']}, {count(item['records'], 'record')}{took}{why}"


def _name(stream: str) -> str:
    """Return the name of a stream, short enough for the first column of a table."""
    return stream if len(stream) <= STREAM else f"{stream[:STREAM]}…"


def _batch(batch: Mapping[str, int]) -> str:
    return f"{outcome.batched([batch])}, {megabytes(batch['bytes'])}"


def _exit(code: int | None) -> str:
    return "no exit code" if code is None else f"exit code {code}"


def _state(record: Record) -> list[tuple[str, str]]:
    """Return a run's state: one row, or one for each stream that has a bookmark."""
    before, after = bookmarks.bookmarks(record.state_before), bookmarks.bookmarks(record.state_after)
    if len(after) < 2 or record.state_after == record.state_before:  # noqa: PLR2004 - one stream fits into one row
        return [("state", bookmarks.change(record.state_before, record.state_after))]
    rows = []
    for stream, mark in after.items():
        earlier = before.get(stream, "none")
        rows.append((f"state {_name(stream)}", f"{mark} ({'unchanged' if earlier == mark else f'before: {earlier}'})"))
    return rows


def _files(engine: Engine, record: Record) -> list[tuple[str, str]]:
    """Return the first of a run's files, and how many there are."""
    rows = [("file", f"{engine.history.store.url(item['bucket'], item['key'])}  {megabytes(item['bytes'])}") for item in record.outputs]
    size = megabytes(sum(item["bytes"] for item in record.outputs))
    return rows if len(rows) <= FILES else [*rows[:FILES], ("files", f"{count(len(rows), 'file')} in all, {size}")]


def fetch(session: Session, run: str) -> None:
    """Copy a run's files to its folder in ``output/``."""
    with Engines(session) as engines:
        engine, record = engines.find(run)
        files = copy(engine.history, record, session.settings.output / record.pipeline / record.run)
        sizes = [int(item["bytes"]) for item in record.outputs]
        for file, size in zip(files, sizes, strict=True):
            session.output.event("file", path=str(file), bytes=size)
        list_files(session.output, list(zip(files, sizes, strict=True)), mark="✓")
        if not files:
            session.output.line("•", record.run, "has no files")


def logs(session: Session, run: str, *, follow: bool) -> None:
    """Show the logs of a run's containers or processes; with *follow* until it has ended."""
    with Engines(session) as engines:
        engine, record = engines.find(run)
        seen: dict[tuple[str, str], str] = {}
        while True:
            more = follow and run_logs.at_work(engine, record)
            for part, side, text in run_logs.lines(engine, record, seen):
                session.output.event("log", run=record.run, side=side, line=text, **({"part": part} if part else {}))
                session.output.text(f"{part} {side:<7} {text}".lstrip())
            if not more:
                break
            time.sleep(run_logs.LOOK_SECONDS)
        if not seen:
            session.output.line("•", record.run, "has no logs, or they have expired")


def cancel(session: Session, run: str) -> None:
    """Stop a run in the cluster, or several with commas."""
    with Engines(session) as engines:
        for engine, record in [engines.find(name) for name in words(run) or (run,)]:
            argo = engine.argo
            if engine.status(record) != "running":
                session.output.line("•", record.run, f"has ended before: {engine.status(record)}")
                continue
            with session.output.step(record.run) as step:
                step.detail = "stopping"
                ended = argo.cancel(record.run)
                late = ended.status == "succeeded"
                step.result("succeeded before it could be stopped" if late else f"{ended.status}. {outcome.stopped(ended)}")


def report(session: Session, *, out: str, limit: int, only_print: bool) -> None:
    """Write a page about the newest runs of both engines, and open it in the browser."""
    import webbrowser  # noqa: PLC0415 - slow, and only this command needs it

    from cluster.runs.report import page  # noqa: PLC0415

    output, file = session.output, Path(out) if out else session.settings.platform / "report.html"
    with Engines(session) as engines:
        newest = _newest(engines, None, limit)
        if not newest:
            output.text(f"No runs yet. Next: {command('demo')}")
            return
        overdue = [str(item) for engine in engines.available() for item in lateness.report(engine)]
        text = page(_redacted(session, newest), _courses(session, newest), datetime.now(UTC), overdue)
    with replacing("The report", file) as part:
        part.touch(mode=0o600)
        part.write_text(text, encoding="utf-8")
    output.event("report", path=str(file), runs=len(newest))
    output.text(shown(file.absolute()))
    if not only_print:
        webbrowser.open(file.absolute().as_uri())


def _redacted(session: Session, newest: Sequence[tuple[Engine, Record]]) -> list[Record]:
    """Return records with their status at this moment, and without secrets: a page is passed on."""
    secrets = set(redaction.known(session.settings, session.environ))
    return [
        replace(
            record,
            engine=engine.label,
            status=engine.status(record),
            error=record.error and {key: redaction.redacted(text, secrets) for key, text in record.error.items()},
        )
        for engine, record in newest
    ]


def _courses(session: Session, newest: Sequence[tuple[Engine, Record]]) -> Sequence[Course]:
    """Return the course of the example's rates over a year, as its last engine has loaded them."""
    examples = [(engine, record) for engine, record in newest if record.pipeline == rates.DEMO]
    with suppress(SetupError):
        if examples:
            table = rates.rates(examples[0][0].history, [record for _, record in examples], rates.YEAR)
            return rates.courses(table, rates.base(session.settings))
    return []
