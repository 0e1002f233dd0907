"""Commands about runs that have begun: runs, show, report, fetch, logs, cancel."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.engines import logs as reader
from cluster.engines.choice import Engine, Engines
from cluster.errors import SetupError
from cluster.host.files import replacing
from cluster.project import backfill, redaction
from cluster.project.reader import Project
from cluster.runs import rates
from cluster.runs.outputs import copy
from cluster.runs.record import Record, short, states
from cluster.ui.command_line import command
from cluster.ui.format import megabytes, seconds, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.runs.report import Course
    from cluster.session import Session

SIDES = ("tap", "target", "transform")


def runs(session: Session, *, pipeline: str, limit: int) -> None:
    """List the newest runs of both engines."""
    if pipeline:
        Project.of(session.settings).pipeline(pipeline)
    with Engines(session) as engines:
        found = _newest(engines, pipeline or None, limit)
        if not found:
            session.output.text(f"No runs yet. Next: {command('demo')}")
        for place, record in found:
            session.output.event("run", **_seen(place, record))
        if found:
            session.output.table(
                [_row(place, record) for place, record in found], ["run", "pipeline", "engine", "status", "records", "time", "state after"]
            )


def _newest(engines: Engines, pipeline: str | None, limit: int) -> list[tuple[Engine, Record]]:
    """Return the newest runs of both engines, newest first, each with where it is."""
    found = [(place, record) for place in engines.available() for record in place.newest(pipeline, limit)]
    return sorted(found, key=lambda pair: pair[1].started, reverse=True)[:limit]


def _seen(place: Engine, record: Record) -> dict[str, Any]:
    """Return a record's fields with the status as it is now."""
    fields = asdict(record)
    del fields["schema"]  # every event has one of its own
    fields["status"] = place.status(record)
    return fields


def _row(place: Engine, record: Record) -> list[str]:
    taken = seconds(record.seconds) if record.seconds is not None else ""
    return [
        record.run,
        record.pipeline,
        place.label,
        place.status(record),
        f"{record.total:,}",
        taken,
        short(record.state_after),
    ]


def show(session: Session, run: str) -> None:
    """Show one run."""
    with Engines(session) as engines:
        place, record = engines.find(run)
        history, output = place.history, session.output
        fields = _seen(place, record)
        output.event("run", **fields)
        output.text(f"{record.run} · {record.pipeline} · engine {record.engine} · {fields['status']}")
        sides = [(side, f"{end['connector']} {end['version']}, {_ended(end['exit_code'])}") for side in SIDES if (end := fields[side])]
        streams = [
            (f"stream {name}", f"{count:,} records, {megabytes(record.bytes.get(name, 0))}") for name, count in record.records.items()
        ]
        facts = [
            ("started", record.started),
            ("took", seconds(record.seconds) if record.seconds is not None else "not known"),
            *sides,
            *streams,
            *([("backfill", str(backfill.recorded(record.backfill)))] if record.backfill else []),
            ("state", states(record)),
            *(("file", f"{history.store.url(item['bucket'], item['key'])}  {megabytes(item['bytes'])}") for item in record.outputs),
            *([("raw", history.store.url(session.settings.bucket_artifacts, record.raw))] if record.raw else []),
            ("logs", place.logs(record)),
            *([("error", f"{record.error['code']}  {record.error['problem']}"), ("→", record.error["hint"])] if record.error else []),
        ]
        output.table([list(fact) for fact in facts], ["", ""])


def _ended(code: int | None) -> str:
    return "no exit code" if code is None else f"exit code {code}"


def fetch(session: Session, run: str) -> None:
    """Copy a run's files to where people look, into a folder of the run's own."""
    with Engines(session) as engines:
        place, record = engines.find(run)
        folder = session.settings.output / record.pipeline / record.run
        for file, item in zip(copy(place.history, record, folder), record.outputs, strict=True):
            session.output.event("file", path=str(file), bytes=item["bytes"])
            session.output.line("✓", shown(file), megabytes(item["bytes"]))
        if not record.outputs:
            session.output.line("•", record.run, "left no files")


def logs(session: Session, run: str, *, follow: bool) -> None:
    """Show what tap, target and commit have said, on request until the run has ended."""
    with Engines(session) as engines:
        place, record = engines.find(run)
        shown_: dict[tuple[str, str], str] = {}
        while True:
            more = follow and reader.at_work(place, record)
            for side, text in reader.lines(place, record, shown_):
                session.output.event("log", run=record.run, side=side, line=text)
                session.output.text(f"{side:<7} {text}")
            if not more:
                break
            time.sleep(reader.LOOK_SECONDS)
        if not shown_:
            session.output.line("•", record.run, "has no logs, or they have expired")


def cancel(session: Session, run: str) -> None:
    """Stop a run in the cluster."""
    with Engines(session) as engines:
        place, record = engines.find(run)
        engine = place.argo
        if place.status(record) != "running":
            session.output.line("•", record.run, f"has ended before: {place.status(record)}")
            return
        with session.output.step(record.run) as step:
            step.detail = "stopping"
            record = engine.cancel(record.run)
            late = record.status == "succeeded"
            step.result("succeeded before it could be stopped" if late else f"{record.status}; the state is as it was")


def report(session: Session, *, out: str, limit: int, only_print: bool) -> None:
    """Write a page about the newest runs of both engines, and open it in the browser."""
    import webbrowser  # noqa: PLC0415 - every other command would wait for what only a page needs

    from cluster.runs.report import page  # noqa: PLC0415

    output, file = session.output, Path(out) if out else session.settings.platform / "report.html"
    with Engines(session) as engines:
        found = _newest(engines, None, limit)
        if not found:
            output.text(f"No runs yet. Next: {command('demo')}")
            return
        records = _to_show(session, found)
        text = page(records, _courses(session, found), datetime.now(UTC))
    with replacing("The report", file) as part:
        part.touch(mode=0o600)
        part.write_text(text, encoding="utf-8")
    output.event("report", path=str(file), runs=len(found))
    output.text(shown(file.absolute()))
    if not only_print:
        webbrowser.open(file.absolute().as_uri())


def _to_show(session: Session, found: Sequence[tuple[Engine, Record]]) -> list[Record]:
    """Return records with the status that they have now, and without secrets that a connector has printed: a page is passed on lightly."""
    secrets_ = set(redaction.known(session.settings, session.environ))
    return [
        replace(
            record,
            engine=place.label,
            status=place.status(record),
            error=record.error and {key: redaction.redacted(text, secrets_) for key, text in record.error.items()},
        )
        for place, record in found
    ]


def _courses(session: Session, found: Sequence[tuple[Engine, Record]]) -> Sequence[Course]:
    """Return the course of the example's rates over a year, as the engine that ran it last has loaded them."""
    runs = [(place, record) for place, record in found if record.pipeline == rates.DEMO]
    with suppress(SetupError):
        if runs:
            table = rates.rates(runs[0][0].history, [record for _, record in runs], rates.YEAR)
            return rates.courses(table, rates.base(session.settings))
    return []
