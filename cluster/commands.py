"""What each command does. ``tasks.py`` names them, this composes the parts; nothing here knows how a fact is shown."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster import backfill, network, preview, reader, redaction
from cluster.connectors import Project, kept_secrets, secrets
from cluster.engines.job import Job
from cluster.engines.local import LocalEngine
from cluster.environments import Environments
from cluster.errors import Interrupted, RunError, SetupError
from cluster.fields import describe, read_object, words
from cluster.files import replacing, sweep
from cluster.places import Place, Places
from cluster.progress import command, megabytes, seconds, shown
from cluster.runs import History, Record, new_run_id, short
from cluster.store import checked
from cluster.workflows import Way, backfill_key, workflow

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.connectors import Pipeline
    from cluster.report import Course
    from cluster.session import Session

DEMO = "exchange-rates-to-csv"
SIDES = ("tap", "target", "transform")
BENCHMARKS = ("run", "up", "argo", "night", "onboarding")
"""The sections of ``benchmarks/``, each with a table in ``docs/performance.md``."""
AT_ONCE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
"""Tests of one file stay together: they share servers."""


def _facts(pipeline: str) -> dict[str, Any]:
    return {"run": None, "pipeline": pipeline, "engine": None, "outputs": [], "records": {}, "state": None}


@contextmanager
def _finishing(session: Session, pipeline: str) -> Iterator[dict[str, Any]]:
    """End the JSON events of a run with ``run.finished``, whatever happens; the body fills in what it knows."""
    facts = _facts(pipeline)
    status = "failed"
    try:
        yield facts
        status = "succeeded"
    except SetupError as error:
        session.output.error(error)
        error.told = True
        raise
    finally:
        session.output.event("run.finished", status=status, **facts)


# ---------------------------------------------------------------------------------------------------------- running


def demo(session: Session, *, engine: str, full: bool) -> None:
    """Run the example and look at what came out."""
    output = session.output
    with Places(session) as places, _finishing(session, DEMO) as facts:
        place, record = _run(session, places, DEMO, facts, engine=engine, way=Way(full=full), verb="demo")
        table = preview.read(_csv_files(place.history, [record, *place.history.newest(DEMO, limit=50)], preview.DAYS))
        if table.dates:
            _show_rates(session, record, table)
        output.text()
        output.text(f"Next: {command('demo')} again loads only new days · {command('runs')} · {command(f'state {DEMO}')}")


def run(session: Session, pipeline: str, *, engine: str, full: bool, keep_raw: bool, first: str, last: str) -> None:
    """Run one pipeline, or several at once; with *first*, and perhaps *last*, over these days."""
    names = words(pipeline)
    way = Way(full=full, keep_raw=keep_raw, backfill=backfill.read(first, last, full=full))
    if len(names) > 1:
        _run_several(session, names, engine=engine, way=way)
        return
    name = names[0] if names else pipeline
    with Places(session) as places, _finishing(session, name) as facts:
        _, record = _run(session, places, name, facts, engine=engine, way=way, verb="run")
        session.output.text()
        session.output.text(f"Next: {command(f'show {record.run}')} · {command(f'state {name}')}")


def retry(session: Session, run: str) -> None:
    """Load again what a failed run of a staged pipeline has extracted.

    :raises SetupError: E-ENGINE, there is nothing to load again; E-STATE, other runs came after it.
    """
    with Places(session) as places:
        place, record = places.find(run)
        raw = f"raw/{record.pipeline}/{record.run}/tap_output.txt"
        again = f"Run it again: {command(f'run {record.pipeline}')}"
        if place.status(record) not in {"failed", "interrupted"}:
            raise SetupError("E-ENGINE", f"{record.run} is {place.status(record)}: there is nothing to retry.", hint=again)
        if place.stack is None or record.tap.exit_code != 0 or not place.history.store.objects(place.stack.settings.bucket_artifacts, raw):
            raise SetupError("E-ENGINE", f"What {record.run} has extracted is not kept as a whole.", hint=again)
        if record.backfill is None and place.history.state(record.pipeline) != record.state_before:
            raise SetupError("E-STATE", f"The state of {record.pipeline} has moved on since {record.run} began.", hint=again)
        with _finishing(session, record.pipeline) as facts:
            way = Way(replay=record.run, backfill=backfill.recorded(record.backfill))
            _run(session, places, record.pipeline, facts, engine="argo", way=way, verb="retry")


def _run(session: Session, places: Places, name: str, facts: dict[str, Any], *, engine: str, way: Way, verb: str) -> tuple[Place, Record]:
    """Run a pipeline, say what came of it, and put a copy of its files where people look."""
    output = session.output
    pipeline = Project.of(session.settings).pipeline(name)
    place, reason = places.choose(engine)
    facts["engine"] = place.engine
    span = f" · backfill {way.backfill}" if way.backfill else ""
    output.text(f"{verb}  {name}{span} · engine {place.label}, because {reason}")
    output.text()
    try:
        if place.stack is None:
            record = _run_local(session, place, pipeline, reason, facts, way)
        else:
            [record] = _run_argo(session, place, [pipeline], reason, way, [facts])
            _raise(record)
    except RunError:
        with suppress(SetupError):  # where the store is the trouble, its state cannot be told
            facts["state"] = place.history.state(name)
        raise
    _tell(session, place, record, facts, way)
    return place, record


def _run_local(session: Session, place: Place, pipeline: Pipeline, reason: str, facts: dict[str, Any], way: Way) -> Record:
    """Run a pipeline on this machine."""
    settings, output = session.settings, session.output
    project = Project.of(settings)
    dotenv = kept_secrets(settings.root)
    found = {
        side: secrets(file, session.environ, dotenv, shown=project.shown(file))
        for side, file in (("tap", pipeline.config), ("target", pipeline.target_config))
    }
    config = backfill.config(project, pipeline, way.backfill) if way.backfill else None
    made = Environments(settings).ensure(pipeline.connectors, output)
    if not any(environment.made for environment in made):
        output.line("✓", ", ".join(connector.name for connector in pipeline.connectors), "environments reused")
    tap, target, *transform = made
    found["transform"] = found["target"]
    job = Job(pipeline, tap, target, found, way.full, way.keep_raw, way.backfill, config, *transform)
    told = network.read(settings, session.environ).variables(session.environ)
    return LocalEngine(settings, place.history, output, {**session.environ, **told}).run(
        job, reason, started=lambda run: facts.update(run=run)
    )


def _run_argo(
    session: Session, place: Place, pipelines: Sequence[Pipeline], reason: str, way: Way, facts: Sequence[dict[str, Any]]
) -> list[Record]:
    """Bring to the cluster what the pipelines need, submit their Workflows, and follow them."""
    from cluster import plan  # noqa: PLC0415 - a run on this machine needs none of these
    from cluster.converge import converge  # noqa: PLC0415
    from cluster.objects import layout_there  # noqa: PLC0415
    from cluster.schedules import parameters, target  # noqa: PLC0415

    stack, engine = place.stack, place.argo
    assert stack is not None
    layout_there(stack)  # what a newer checkout has brought is left as it is
    stack.only = tuple(pipeline.name for pipeline in pipelines)
    # A replay extracts nothing; every other backfill has a config of its own.
    span = None if way.replay else way.backfill
    configs = {pipeline.name: backfill.config(stack.project, pipeline, span) for pipeline in pipelines} if span else {}
    converge(plan.needed(), stack, session.output)
    engine.ready()
    titles = {}
    for pipeline, known in zip(pipelines, facts, strict=True):
        run, given = new_run_id(), parameters(stack, pipeline, way)
        if pipeline.name in configs:
            given["tap-config"] = backfill_key(run)
            place.history.store.put(session.settings.bucket_configs, given["tap-config"], json.dumps(configs[pipeline.name]).encode())
        document = workflow(pipeline, run, given, target(stack), way)
        known["run"] = engine.submit(document, reason)
        sides = " → ".join(connector.name for connector in pipeline.connectors)
        titles[known["run"]] = sides if len(pipelines) == 1 else f"{pipeline.name}"
    return engine.follow(titles)


def _run_several(session: Session, names: Sequence[str], *, engine: str, way: Way) -> None:
    """Run pipelines at once, each as a Workflow of its own; they share a label and nothing else.

    :raises SetupError: E-ENGINE, not on this engine; or what the first failed run says, when all have ended.
    """
    output = session.output
    project = Project.of(session.settings)
    pipelines = [project.pipeline(name) for name in names]
    with Places(session) as places:
        place, reason = places.choose(engine)
        if place.stack is None:
            raise SetupError(
                "E-ENGINE",
                f"The engine local runs one pipeline at a time, and {len(names)} were named.",
                hint=f"Run one, or bring the engine argo up: {command('up')}",
            )
        batch = new_run_id()
        output.text(f"run  {', '.join(names)} · engine {place.label}, because {reason} · batch {batch}")
        output.text()
        facts: list[dict[str, Any]] = [_facts(name) | {"engine": place.engine} for name in names]
        status = dict.fromkeys(names, "failed")
        try:
            records = _run_argo(session, place, pipelines, reason, replace(way, batch=batch), facts)
            for record, known in zip(records, facts, strict=True):
                status[record.pipeline] = "succeeded" if record.status == "succeeded" else "failed"
                if record.status == "succeeded":
                    output.text()
                    output.text(f"{record.pipeline}")
                    _tell(session, place, record, known, way)
        finally:
            for known in facts:
                output.event("run.finished", status=status[known["pipeline"]], **known)
        errors = [RunError(**record.error) for record in records if record.error]
        for error in errors:
            output.error(error)
            error.told = True
        if errors:
            raise errors[0]


def _raise(record: Record) -> None:
    """See that a run has succeeded.

    :raises RunError: it has not; what its record says.
    """
    if record.error:
        raise RunError(record.error["code"], record.error["problem"], hint=record.error["hint"])
    if record.status != "succeeded":
        raise RunError("E-RUNNER", f"{record.run} is {record.status}.", hint=f"See {command(f'show {record.run}')}")


def _tell(session: Session, place: Place, record: Record, facts: dict[str, Any], way: Way) -> None:
    """Say what came of a run that succeeded."""
    settings, output, name = session.settings, session.output, record.pipeline
    # A run that went on from a state adds to what is there, and so does a backfill; only one that began at the beginning replaces it.
    added = way.backfill is not None or (record.state_before is not None and not way.full)
    facts.update(records=record.records, state=record.state_after)
    copies = _copies(session, place.history, record, settings.output / name / (record.run if added else ""))
    facts.update(outputs=[str(file) for file in copies])
    output.text()
    for file in copies:
        output.text(f"  {shown(file)}  {megabytes(file.stat().st_size)}")
    if not copies:
        output.text(f"  no file this time{_earlier(settings.output / name)}")
    output.text(f"  state  {_states(record)}")
    if record.total and not record.state_printed and way.backfill is None:
        output.line("!", record.target.connector, "printed no state: the next run loads the same again")


def _copies(session: Session, history: History, record: Record, folder: Path) -> list[Path]:
    """Copy the files of a run that moved something. The run has succeeded by now, so that trouble here is a warning."""
    sweep(session.settings.output / record.pipeline)
    if not record.total:
        return []
    try:
        return _copy(history, record, folder)
    except SetupError as error:
        session.output.line(
            "!", shown(folder), f"{error.problem} The run itself succeeded: {command(f'fetch {record.run}')} copies its files."
        )
        session.output.event("warning", source="output", problem=error.problem)
        return []


def _copy(history: History, record: Record, folder: Path) -> list[Path]:
    """Copy a run's files into *folder*; files of the same name are replaced, each as a whole.

    :raises SetupError: E-STORE, a file cannot be copied, or is none of the run's own.
    """
    prefix = f"{record.pipeline}/{record.run}/"
    copies = []
    for item in record.outputs:
        name = item["key"].removeprefix(prefix)
        if name == item["key"]:
            raise SetupError(
                "E-STORE",
                f"The record of {record.run} names {describe(item['key'])}, which is not a file of this run.",
                hint="Somebody else has written into the bucket: see who may, then run the pipeline again.",
            )
        file = folder / checked(name)
        history.store.download(item["bucket"], item["key"], file)
        copies.append(file)
    return copies


def _earlier(folder: Path) -> str:
    files = sorted(file for file in folder.glob("*") if file.is_file())
    return f"; from earlier: {shown(files[0])}" if files else ""


def _states(record: Record) -> str:
    same = record.state_after == record.state_before
    return f"{short(record.state_after)} ({'unchanged' if same else f'before: {short(record.state_before)}'})"


def _csv_files(history: History, records: Sequence[Record], days: int) -> list[bytes]:
    """Return the CSV files of one engine's runs, oldest first: of *records*, newest first, back to one that loaded more than *days*."""
    found: list[bytes] = []
    seen: set[str] = set()
    for record in records:
        if record.run in seen or record.engine != records[0].engine or record.status != "succeeded":
            continue
        seen.add(record.run)
        data = [history.store.get(item["bucket"], item["key"]) for item in record.outputs if item["key"].endswith(".csv")]
        found[:0] = [part for part in data if part]
        if record.total > days:
            break
    return found


def _base(session: Session, pipeline: str) -> str:
    """Return the currency that the rates are of."""
    config = Project.of(session.settings).pipeline(pipeline).config
    return str(read_object(config, shown(config)).get("base", "EUR"))


def _show_rates(session: Session, record: Record, table: preview.Table) -> None:
    """Show the latest rates, and what this run loaded."""
    output, dates = session.output, table.dates
    if record.total:
        output.text(f"  {record.total:,} days loaded; {dates[0]} to {dates[-1]}, {table.columns} columns")
    else:
        output.text(f"  0 new days: everything up to {dates[-1]} was loaded before ({command('demo --full')} starts over)")
    output.text()
    headers, rows = preview.latest(table, _base(session, record.pipeline))
    output.table(rows, headers)


# ---------------------------------------------------------------------------------------------------------- looking


def runs(session: Session, *, pipeline: str, limit: int) -> None:
    """List the newest runs of both engines."""
    if pipeline:
        Project.of(session.settings).pipeline(pipeline)
    with Places(session) as places:
        found = _newest(places, pipeline or None, limit)
        if not found:
            session.output.text(f"No runs yet. Next: {command('demo')}")
        for place, record in found:
            session.output.event("run", **_seen(place, record))
        if found:
            session.output.table(
                [_row(place, record) for place, record in found], ["run", "pipeline", "engine", "status", "records", "time", "state after"]
            )


def _newest(places: Places, pipeline: str | None, limit: int) -> list[tuple[Place, Record]]:
    """Return the newest runs of both engines, newest first, each with where it is."""
    found = [(place, record) for place in places.all for record in place.newest(pipeline, limit)]
    return sorted(found, key=lambda pair: pair[1].started, reverse=True)[:limit]


def _seen(place: Place, record: Record) -> dict[str, Any]:
    """Return a record's fields with the status as it is now."""
    fields = asdict(record)
    del fields["schema"]  # every event has one of its own
    fields["status"] = place.status(record)
    return fields


def _row(place: Place, record: Record) -> list[str]:
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
    with Places(session) as places:
        place, record = places.find(run)
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
            ("state", _states(record)),
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
    with Places(session) as places:
        place, record = places.find(run)
        folder = session.settings.output / record.pipeline / record.run
        for file, item in zip(_copy(place.history, record, folder), record.outputs, strict=True):
            session.output.event("file", path=str(file), bytes=item["bytes"])
            session.output.line("✓", shown(file), megabytes(item["bytes"]))
        if not record.outputs:
            session.output.line("•", record.run, "left no files")


def logs(session: Session, run: str, *, follow: bool) -> None:
    """Show what tap, target and commit have said, on request until the run has ended."""
    with Places(session) as places:
        place, record = places.find(run)
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
    with Places(session) as places:
        place, record = places.find(run)
        engine = place.argo
        if place.status(record) != "running":
            session.output.line("•", record.run, f"has ended before: {place.status(record)}")
            return
        with session.output.step(record.run) as step:
            step.detail = "stopping"
            record = engine.cancel(record.run)
            late = record.status == "succeeded"
            step.result("succeeded before it could be stopped" if late else f"{record.status}; the state is as it was")


@dataclass(frozen=True)
class Change:
    """What becomes of a state; at most one of these."""

    set_to: str = ""
    rollback: str = ""
    copy_to: str = ""
    reset: bool = False


def state(session: Session, pipeline: str, change: Change, *, engine: str, versions: bool, sure: bool) -> None:
    """Show a pipeline's state or its history, replace it, remove it, go back to an earlier one, or carry it to an environment.

    :raises SetupError: E-SETTING, more than one was asked for; E-BUSY, a run is under way; E-STATE, no such version.
    """
    Project.of(session.settings).pipeline(pipeline)
    if sum(map(bool, (*astuple(change), versions))) > 1:
        told = "Of --set, --reset, --history, --rollback and --copy-to more than one was given."
        raise SetupError("E-SETTING", told, hint="Give one of them.")
    with Places(session) as places:
        place, _ = places.choose(engine)
        history, output = place.history, session.output
        history.claim(place.engine)
        if change.copy_to:
            from cluster.moving import copy  # noqa: PLC0415 - a state of this machine needs nothing of a cluster

            copy(session, place, pipeline, change.copy_to, sure=sure)
            return
        if change != Change():
            new = _new_state(history, pipeline, change)
            with place.quiet(pipeline):
                if new:
                    history.save_state(pipeline, new)
                else:
                    history.reset_state(pipeline)
            kept = len(history.state_versions(pipeline))
            output.line("✓", f"State of {pipeline}", f"{'replaced' if new else 'removed: the next run starts over'}; {kept} versions kept")
        if versions:
            _show_versions(session, history, pipeline)
            return
        current = history.state(pipeline)
        output.event("state", pipeline=pipeline, state=current)
        output.text(json.dumps(current, indent=2) if current else f"{pipeline} has no state yet: its next run loads everything.")


def _new_state(history: History, pipeline: str, change: Change) -> dict[str, Any] | None:
    """Return the state that there shall be, None where it is removed."""
    if change.set_to:
        return read_object(Path(change.set_to), change.set_to, "E-STATE")
    return _version(history, pipeline, change.rollback) if change.rollback else None


def _version(history: History, pipeline: str, version: str) -> dict[str, Any]:
    """Return an earlier state, named by the beginning of its version.

    :raises SetupError: E-STATE, there is none, or it was the removal of one.
    """
    found = [item for item in history.state_versions(pipeline) if item.id.startswith(version)]
    key = history.state_key(pipeline)
    data = history.store.get(history.settings.bucket_configs, key, found[0].id) if len(found) == 1 and not found[0].deleted else None
    if data is None:
        hint = f"See {command(f'state {pipeline} --history')}"
        raise SetupError("E-STATE", f"{pipeline} has no state of the version {version}.", hint=hint)
    return dict(json.loads(data))


def _show_versions(session: Session, history: History, pipeline: str) -> None:
    rows, versions = [], history.state_versions(pipeline)
    # Versions of the same moment begin alike: as much is shown as tells them apart.
    width = next(number for number in itertools.count(8) if len({item.id[:number] for item in versions}) == len(versions))
    for item in versions:
        data = None if item.deleted else history.store.get(history.settings.bucket_configs, history.state_key(pipeline), item.id)
        with suppress(ValueError):
            found = json.loads(data or b"null")
        session.output.event("state", pipeline=pipeline, state=found, version=item.id, modified=item.modified.isoformat())
        rows.append([item.id[:width], f"{item.modified:%Y-%m-%d %H:%M:%S}", "removed" if item.deleted else short(found)])
    session.output.table(rows, ["version", "time (UTC)", "state"])


def sync(session: Session, *, plan_only: bool, as_yaml: bool) -> None:
    """Bring what stands in ``singer-configs/`` into the cluster: images, secrets, configs, schedules."""
    from cluster import objects, plan, schedules  # noqa: PLC0415 - no other command here needs them
    from cluster.converge import converge, look  # noqa: PLC0415

    output, begun = session.output, time.monotonic()
    with Places(session) as places:
        stack = places.argo.stack
        assert stack is not None
        if as_yaml:
            output.text(yaml.safe_dump_all(schedules.documents(stack), sort_keys=False).rstrip())
            return
        steps = plan.sync()
        found = objects.older_layout(stack)
        if found:
            made = [*schedules.schedules(stack), *schedules.listeners(stack)]
            objects.upgrade(stack, found, made, schedules.KINDS).tell(output)
            output.line(" ", "", f"the rest of the platform is brought by {command('up')}")
        if plan_only:
            for title, why in look(steps, stack).items():
                output.line("•" if why is None else " ", title, why or "in place")
                output.event("step", step=title, pending=why)
            return
        changed = converge(steps, stack, output)
        output.event("sync.finished", changed=sorted(changed), seconds=round(time.monotonic() - begun, 3))
        if not changed:
            output.line("•", "All is as in singer-configs/", seconds(time.monotonic() - begun))


def export(session: Session, *, out: str) -> None:
    """Write what would be applied to an environment into a folder, and say what has changed there."""
    from cluster.export import files, write  # noqa: PLC0415 - no other command needs it

    settings, output = session.settings, session.output
    folder = Path(out) if out else settings.root / "export" / settings.env
    found = files(settings)
    changed, gone = write(found, folder)
    for mark, paths in (("✓", changed), ("✗", gone)):
        for path in paths:
            output.line(mark, path, "" if mark == "✓" else "removed")
    output.event("export", path=str(folder.absolute()), files=len(found), changed=changed, removed=gone)
    name = shown(folder.absolute())
    output.line("✓" if changed or gone else "•", name, f"{len(found)} files" + ("" if changed or gone else ", nothing changed"))


def report(session: Session, *, out: str, limit: int, only_print: bool) -> None:
    """Write a page about the newest runs of both engines, and open it in the browser."""
    import webbrowser  # noqa: PLC0415 - every other command would wait for what only a page needs

    from cluster.report import page  # noqa: PLC0415

    output, file = session.output, Path(out) if out else session.settings.platform / "report.html"
    with Places(session) as places:
        found = _newest(places, None, limit)
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


def _to_show(session: Session, found: Sequence[tuple[Place, Record]]) -> list[Record]:
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


def _courses(session: Session, found: Sequence[tuple[Place, Record]]) -> Sequence[Course]:
    """Return the course of the example's rates over a year, as the engine that ran it last has loaded them."""
    runs = [(place, record) for place, record in found if record.pipeline == DEMO]
    with suppress(SetupError):
        if runs:
            files = _csv_files(runs[0][0].history, [record for _, record in runs], preview.YEAR)
            return preview.courses(preview.read(files), _base(session, DEMO))
    return []


# ---------------------------------------------------------------------------------------------------------- testing


def test(session: Session, *, everything: bool, options: str) -> None:
    """Run the tests of this checkout: several files at once, but for those that need the machine for themselves.

    :raises SetupError: E-INSTALL, what they need is not there and this environment is not ours to change.
    """
    _for_tests(session)
    _python(session, "-m", "pytest", *(["--all"] if everything else AT_ONCE), *options.split())


def bench(session: Session, *, quick: bool, only: str, as_json: bool) -> None:
    """Measure what this machine can, and write it to ``docs/performance.md``.

    :raises SetupError: E-SETTING, there is no such benchmark; E-INSTALL, as ``test``.
    """
    chosen = words(only)
    for name in chosen:
        if name not in BENCHMARKS:
            raise SetupError("E-SETTING", f"There is no benchmark {describe(name)}.", hint=f"Name some of: {', '.join(BENCHMARKS)}.")
    _for_tests(session)
    _python(session, "benchmarks/bench.py", *chosen, *(["--quick"] if quick else []), *(["--json"] if as_json else []))


def _python(session: Session, *arguments: str) -> None:
    """Run a program of the checkout, and end as it does, unless it ended well."""
    environ = {**os.environ, "SINGER_LAUNCHER": ""}
    with subprocess.Popen([sys.executable, *arguments], cwd=session.settings.root, env=environ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):  # SIGTERM; a Ctrl-C it hears itself
                process.terminate()
            process.wait()  # it takes away what it has made, such as a cluster
            raise
    if code:
        raise SystemExit(code)


def _for_tests(session: Session) -> None:
    """Install what tests and benchmarks need, where the environment is that of the launcher.

    :raises SetupError: E-INSTALL, it is not there and this environment is not ours to change.
    """
    settings = session.settings
    ours = Path(sys.prefix).resolve() == (settings.root / ".venv").resolve()
    wanted = settings.root / "requirements-dev.lock"
    stamp = Path(sys.prefix) / wanted.name
    if ours and (not stamp.exists() or stamp.read_bytes() != wanted.read_bytes()):
        with session.output.step("What the tests need") as step:
            told = network.read(settings, session.environ).variables(session.environ)
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(wanted)],
                check=False,
                env={**os.environ, **told},
            )
            if done.returncode:
                raise SetupError("E-INSTALL", "What the tests need cannot be installed.", hint="See the lines above; then run it again.")
            shutil.copyfile(wanted, stamp)
            step.result("installed")
    if subprocess.run([sys.executable, "-c", "import pytest"], capture_output=True, check=False).returncode:
        raise SetupError(
            "E-INSTALL",
            "pytest is not in this environment.",
            hint=f"Install it: {shown(wanted)} lists all that the tests need; ./invoke test does it by itself.",
        )
