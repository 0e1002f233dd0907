"""The commands that run pipelines: what they need is brought, the run is followed to its end, and what came of it is told."""

from __future__ import annotations

import json
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.argo.workflow import RunOptions, backfill_key, workflow
from cluster.config.strict import words
from cluster.engines.choice import Engine, Engines
from cluster.engines.job import Job
from cluster.engines.local import LocalEngine
from cluster.errors import RunError, SetupError
from cluster.host.locks import sweep
from cluster.net import proxy
from cluster.project import backfill
from cluster.project.dotenv import kept_secrets
from cluster.project.reader import Project
from cluster.project.secrets import secrets
from cluster.project.venvs import Environments
from cluster.runs import rates
from cluster.runs.outputs import copy
from cluster.runs.record import Record, new_run_id, states
from cluster.ui.command_line import command
from cluster.ui.format import megabytes, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cluster.project.model import Pipeline
    from cluster.runs.history import History
    from cluster.session import Session


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
        error.shown = True
        raise
    finally:
        session.output.event("run.finished", status=status, **facts)


def demo(session: Session, *, engine: str, full: bool) -> None:
    """Run the example and look at what came out."""
    output = session.output
    with Engines(session) as engines, _finishing(session, rates.DEMO) as facts:
        place, record = _run(session, engines, rates.DEMO, facts, engine=engine, way=RunOptions(full=full), verb="demo")
        table = rates.rates(place.history, [record, *place.history.newest(rates.DEMO, limit=50)], rates.DAYS)
        if table.dates:
            _show_rates(session, record, table)
        output.text()
        output.text(f"Next: {command('demo')} again loads only new days · {command('runs')} · {command(f'state {rates.DEMO}')}")


def run(session: Session, pipeline: str, *, engine: str, full: bool, keep_raw: bool, first: str, last: str) -> None:
    """Run one pipeline, or several at once; with *first*, and perhaps *last*, over these days."""
    names = words(pipeline)
    way = RunOptions(full=full, keep_raw=keep_raw, backfill=backfill.read(first, last, full=full))
    if len(names) > 1:
        _run_several(session, names, engine=engine, way=way)
        return
    name = names[0] if names else pipeline
    with Engines(session) as engines, _finishing(session, name) as facts:
        _, record = _run(session, engines, name, facts, engine=engine, way=way, verb="run")
        session.output.text()
        session.output.text(f"Next: {command(f'show {record.run}')} · {command(f'state {name}')}")


def retry(session: Session, run: str) -> None:
    """Load again what a failed run of a staged pipeline has extracted.

    :raises SetupError: E-ENGINE, there is nothing to load again; E-STATE, other runs came after it.
    """
    with Engines(session) as engines:
        place, record = engines.find(run)
        raw = f"raw/{record.pipeline}/{record.run}/tap_output.txt"
        again = f"Run it again: {command(f'run {record.pipeline}')}"
        if place.status(record) not in {"failed", "interrupted"}:
            raise SetupError("E-ENGINE", f"{record.run} is {place.status(record)}: there is nothing to retry.", hint=again)
        if (
            place.handles is None
            or record.tap.exit_code != 0
            or not place.history.store.objects(place.handles.settings.bucket_artifacts, raw)
        ):
            raise SetupError("E-ENGINE", f"What {record.run} has extracted is not kept as a whole.", hint=again)
        if record.backfill is None and place.history.state(record.pipeline) != record.state_before:
            raise SetupError("E-STATE", f"The state of {record.pipeline} has moved on since {record.run} began.", hint=again)
        with _finishing(session, record.pipeline) as facts:
            way = RunOptions(replay=record.run, backfill=backfill.recorded(record.backfill))
            _run(session, engines, record.pipeline, facts, engine="argo", way=way, verb="retry")


def _run(
    session: Session, engines: Engines, name: str, facts: dict[str, Any], *, engine: str, way: RunOptions, verb: str
) -> tuple[Engine, Record]:
    """Run a pipeline, say what came of it, and put a copy of its files where people look."""
    output = session.output
    pipeline = Project.of(session.settings).pipeline(name)
    place, reason = engines.choose(engine)
    facts["engine"] = place.engine
    span = f" · backfill {way.backfill}" if way.backfill else ""
    output.text(f"{verb}  {name}{span} · engine {place.label}, because {reason}")
    output.text()
    try:
        if place.handles is None:
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


def _run_local(session: Session, place: Engine, pipeline: Pipeline, reason: str, facts: dict[str, Any], way: RunOptions) -> Record:
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
    told = proxy.read(settings, session.environ).variables(session.environ)
    return LocalEngine(settings, place.history, output, {**session.environ, **told}).run(
        job, reason, started=lambda run: facts.update(run=run)
    )


def _run_argo(
    session: Session, place: Engine, pipelines: Sequence[Pipeline], reason: str, way: RunOptions, facts: Sequence[dict[str, Any]]
) -> list[Record]:
    """Bring to the cluster what the pipelines need, submit their Workflows, and follow them."""
    from cluster.platform import plan  # noqa: PLC0415 - a run on this machine needs none of these
    from cluster.platform.converge import converge  # noqa: PLC0415
    from cluster.platform.steps.schedules import parameters, scope  # noqa: PLC0415
    from cluster.platform.upgrade import older_layout  # noqa: PLC0415

    handles, engine = place.handles, place.argo
    assert handles is not None
    older_layout(handles)  # refuses a newer layout
    handles.only = tuple(pipeline.name for pipeline in pipelines)
    # A replay extracts nothing; every other backfill has a config of its own.
    span = None if way.replay else way.backfill
    configs = {pipeline.name: backfill.config(handles.project, pipeline, span) for pipeline in pipelines} if span else {}
    converge(plan.needed(), handles, session.output)
    engine.ready()
    titles = {}
    for pipeline, known in zip(pipelines, facts, strict=True):
        run, given = new_run_id(), parameters(handles, pipeline, way)
        if pipeline.name in configs:
            given["tap-config"] = backfill_key(run)
            place.history.store.put(session.settings.bucket_configs, given["tap-config"], json.dumps(configs[pipeline.name]).encode())
        document = workflow(pipeline, run, given, scope(handles), way)
        known["run"] = engine.submit(document, reason)
        sides = " → ".join(connector.name for connector in pipeline.connectors)
        titles[known["run"]] = sides if len(pipelines) == 1 else f"{pipeline.name}"
    return engine.follow(titles)


def _run_several(session: Session, names: Sequence[str], *, engine: str, way: RunOptions) -> None:
    """Run pipelines at once, each as a Workflow of its own; they share a label and nothing else.

    :raises SetupError: E-ENGINE, not on this engine; or what the first failed run says, when all have ended.
    """
    output = session.output
    project = Project.of(session.settings)
    pipelines = [project.pipeline(name) for name in names]
    with Engines(session) as engines:
        place, reason = engines.choose(engine)
        if place.handles is None:
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
            error.shown = True
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


def _tell(session: Session, place: Engine, record: Record, facts: dict[str, Any], way: RunOptions) -> None:
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
    output.text(f"  state  {states(record)}")
    if record.total and not record.state_printed and way.backfill is None:
        output.line("!", record.target.connector, "printed no state: the next run loads the same again")


def _copies(session: Session, history: History, record: Record, folder: Path) -> list[Path]:
    """Copy the files of a run that moved something. The run has succeeded by now, so that trouble here is a warning."""
    sweep(session.settings.output / record.pipeline)
    if not record.total:
        return []
    try:
        return copy(history, record, folder)
    except SetupError as error:
        session.output.line(
            "!", shown(folder), f"{error.problem} The run itself succeeded: {command(f'fetch {record.run}')} copies its files."
        )
        session.output.event("warning", source="output", problem=error.problem)
        return []


def _earlier(folder: Path) -> str:
    files = sorted(file for file in folder.glob("*") if file.is_file())
    return f"; from earlier: {shown(files[0])}" if files else ""


def _show_rates(session: Session, record: Record, table: rates.Table) -> None:
    """Show the latest rates, and what this run loaded."""
    output, dates = session.output, table.dates
    if record.total:
        output.text(f"  {record.total:,} days loaded; {dates[0]} to {dates[-1]}, {table.columns} columns")
    else:
        output.text(f"  0 new days: everything up to {dates[-1]} was loaded before ({command('demo --full')} starts over)")
    output.text()
    headers, rows = rates.latest(table, rates.base(session.settings))
    output.table(rows, headers)
