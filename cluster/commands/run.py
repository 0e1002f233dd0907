"""Commands that run a pipeline: prepare, run, report."""

from __future__ import annotations

import json
import re
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from cluster.argo.workflow import DEADLINE_SECONDS, RunOptions, backfill_key, retries, workflow
from cluster.config.strict import describe, listed, read_object, words
from cluster.engines import notifications
from cluster.engines.choice import Engine, Engines
from cluster.engines.job import Job
from cluster.engines.local import LocalEngine
from cluster.engines.lock import keep_secrets
from cluster.errors import RunError, SetupError
from cluster.host.locks import sweep
from cluster.host.parallel import ahead
from cluster.net import proxy
from cluster.project import backfill
from cluster.project.destination import destination
from cluster.project.dotenv import kept_secrets
from cluster.project.due import next_due
from cluster.project.files import warn_of_paths
from cluster.project.reader import Project
from cluster.project.secrets import secrets
from cluster.project.venvs import Environments
from cluster.runs import bookmarks, outcome, rates
from cluster.runs.history import PartHistory, newest_first
from cluster.runs.outputs import copy
from cluster.runs.record import DONE, Record, new_run_id
from cluster.ui.command_line import command
from cluster.ui.format import and_more, count, shown
from cluster.ui.listing import list_files
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.project.model import Pipeline
    from cluster.project.parts import Plan
    from cluster.session import Session


AT_ONCE = r"[1-9]\d?|100"


def _facts(pipeline: str) -> dict[str, Any]:
    return {"run": None, "pipeline": pipeline, "engine": None, "outputs": [], "records": {}, "state": None, "interrupted": False}


@contextmanager
def _finishing(session: Session, pipeline: str) -> Iterator[dict[str, Any]]:
    """End the JSON events of a run with ``run.finished``. The body fills in the facts."""
    facts = _facts(pipeline)
    status = "failed"
    try:
        yield facts
        status = "succeeded"
    except SetupError as error:
        session.output.error(error)
        error.shown = True
        raise
    except KeyboardInterrupt:
        facts["interrupted"] = True
        raise
    finally:
        session.output.event("run.finished", status=status, **facts)


def demo(session: Session, *, engine: str, full: bool) -> None:
    """Run the example, and show what it has loaded."""
    output = session.output
    with Engines(session) as engines, _finishing(session, rates.DEMO) as facts:
        used, record = _run(session, engines, rates.DEMO, facts, asked=engine, options=RunOptions(full=full), verb="demo")
        table = rates.rates(used.history, [record, *used.history.newest(rates.DEMO, limit=50)], rates.DAYS)
        if table.dates:
            _show_rates(session, record, table)
        output.text()
        output.text(f"Next: {command('demo')} again loads only new days · {command('runs')} · {command('state', rates.DEMO)}")


def run(
    session: Session,
    pipeline: str,
    *,
    engine: str,
    full: bool,
    keep_raw: bool,
    first: str,
    last: str,
    every: str = "",
    at_once: str = "",
    if_due: bool = False,
    unattended: bool = False,
) -> None:
    """Run a pipeline, or several in parallel.

    With *first* the run is a backfill, up to *last*, in chunks of *every*. With *if_due*, do
    nothing if its schedule was not due since its last run. If it is *unattended*, what stops it
    before it begins sends a message.

    :raises SetupError: E-SETTING, *if_due* with several pipelines.
    """
    names = words(pipeline)
    if if_due and len(names) > 1:
        raise SetupError("E-SETTING", "--if-due is for one pipeline.", hint="Name one pipeline.")
    options = RunOptions(full=full, keep_raw=keep_raw, backfill=backfill.read(first, last, full=full))
    if every or at_once:
        options = _in_parts(Project.of(session.settings), names, options, every, at_once)
    if len(names) > 1:
        _run_several(session, names, asked=engine, options=options)
        return
    name = names[0] if names else pipeline
    with Engines(session) as engines, _finishing(session, name) as facts:
        with notifications.unattended(session, name, facts) if unattended else nullcontext():
            if if_due and not _is_due(session, engines, name, engine):
                return
            _, record = _run(session, engines, name, facts, asked=engine, options=options, verb="run")
        session.output.text()
        session.output.text(f"Next: {command('show', record.run)} · {command('state', name)}")


def _in_parts(project: Project, names: Sequence[str], options: RunOptions, every: str, number: str) -> RunOptions:
    """Return the options with the parts that ``--every`` and ``--at-once`` ask for.

    :raises SetupError: E-SETTING, there are none.
    """
    if len(names) > 1:
        raise SetupError("E-SETTING", "--every and --at-once are for one pipeline.", hint="Name one.")
    pipeline = project.pipeline(names[0] if names else "")
    if every and options.backfill is None:
        raise SetupError("E-SETTING", "--every needs --from and --to.", hint="Pass them: the days to load.")
    at_once = _number(number) or pipeline.at_once
    if number and not every and not pipeline.plan:
        raise SetupError("E-SETTING", f"--at-once {number} is for runs with parts.", hint="Add split to the pipeline, or pass --every.")
    if every and options.backfill:
        plan = backfill.plan(project, pipeline, backfill.chunks(options.backfill, every), at_once)
        return replace(options, backfill=replace(options.backfill, every=every), plan=plan)
    return replace(options, plan=replace(pipeline.plan, at_once=at_once) if pipeline.plan else None)


def _number(text: str) -> int | None:
    """Read ``--at-once``; None if it was not passed.

    :raises SetupError: E-SETTING, it is not a number from 1 to 100.
    """
    if text and not re.fullmatch(AT_ONCE, text):
        raise SetupError("E-SETTING", f"--at-once {describe(text)} is not a number from 1 to 100.", hint="Pass such a number.")
    return int(text) if text else None


def _is_due(session: Session, engines: Engines, name: str, asked: str) -> bool:
    """Return whether a pipeline's schedule was due since its last run began.

    A time that was missed counts for six hours, as in the cluster; without a run, for one hour. A
    retry is no such run: it leaves out what an earlier run has loaded.

    :raises SetupError: E-SETTING, the pipeline has no schedule.
    """
    pipeline, now = Project.of(session.settings).pipeline(name), datetime.now(UTC)
    if not pipeline.schedule:
        raise SetupError("E-SETTING", f"{name} has no schedule, and --if-due asks whether it is due.", hint="Leave --if-due out.")
    used, _ = engines.choose(asked)
    last = next((record for record in used.records(name) if record.backfill is None and record.retry_of is None), None)
    since = now - timedelta(hours=1)
    if last is not None:
        since = max(datetime.fromisoformat(last.started), now - timedelta(seconds=DEADLINE_SECONDS))
    due = next_due(pipeline.schedule, pipeline.timezone, since)
    if due is not None and due <= now and not pipeline.paused:
        return True
    session.output.line(
        "•", name, "is paused" if pipeline.paused else f"is not due before {due:%Y-%m-%d %H:%M} UTC" if due else "never due"
    )
    return False


def retry(session: Session, run: str, *, at_once: str = "") -> None:
    """Load what a run with parts has not, or again what a failed staged run has extracted.

    What an earlier retry has loaded counts as loaded.

    :raises SetupError: E-BUSY, a run is under way; E-ENGINE, there is no extracted data, or it is
        loaded; E-STATE, other runs came after it.
    """
    with Engines(session) as engines:
        used, record = engines.find(run)
        again = f"Run it again: {_again(record)}"
        status = used.status(record)
        if status == "running":
            raise SetupError("E-BUSY", f"{record.run} is under way.", hint=f"Wait for its end: {command(f'logs {record.run} --follow')}")
        if status == "succeeded":
            raise SetupError("E-ENGINE", f"{record.run} is succeeded: there is nothing to retry.", hint=again)
        with used.quiet(record.pipeline):  # ends a killed run, whose parts may be loaded
            record = used.read(record.pipeline, record.run) or record
        number, first = _number(at_once), record.retry_of or record.run
        retries = _retries(used, record.pipeline, first)
        if record.parts is not None:
            _retry_parts(session, engines, used, record, retries, number, again)
            return
        if number:
            raise SetupError("E-SETTING", f"--at-once {number} is for runs with parts.", hint="Leave it out.")
        raw = f"raw/{record.pipeline}/{first}/tap_output.txt"
        ended = all(side.exit_code == 0 for side in record.sides[:-1])
        if used.handles is None or not ended or not used.history.store.objects(used.handles.settings.bucket_artifacts, raw):
            raise SetupError("E-ENGINE", f"The data that {record.run} extracted is not complete.", hint=again)
        done = next((item.run for item in retries if item.committed), None)
        if done:
            raise SetupError("E-ENGINE", f"The data that {record.run} extracted is loaded, by {done}.", hint=again)
        if record.backfill is None and used.history.state(record.pipeline) != record.state_before:
            raise SetupError("E-STATE", f"The state of {record.pipeline} has moved on since {record.run} began.", hint=again)
        with _finishing(session, record.pipeline) as facts:
            options = RunOptions(replay=first, backfill=backfill.recorded(record.backfill))
            _run(session, engines, record.pipeline, facts, asked=used, options=options, verb="retry")


def _again(record: Record) -> str:
    """Return the command that starts a run like this one."""
    dates = {f"--{name}": value for name, value in (record.backfill or {}).items() if value}
    dates |= {"--at-once": str(record.at_once)} if "--every" in dates and record.at_once else {}
    return command("run", record.pipeline, *["--full"][: bool(record.full)], *(word for pair in dates.items() for word in pair))


def _retries(used: Engine, pipeline: str, run: str) -> list[Record]:
    """Return the retries of a run, oldest first."""
    dated = used.history.dated(pipeline)
    since = dated.get((pipeline, run), "")
    later = ahead(lambda pair: used.history.read(*pair), [pair for pair in reversed(newest_first(dated)) if dated[pair] >= since])
    return [record for record in later if record is not None and record.retry_of == run]


def _retry_parts(
    session: Session, engines: Engines, used: Engine, record: Record, retries: Sequence[Record], number: int | None, again: str
) -> None:
    """Load the parts of a run that neither it nor one of its *retries* has loaded.

    :raises SetupError: E-ENGINE, there are none, or ``split`` has changed.
    """
    project, parts = Project.of(session.settings), record.parts or []
    pipeline = project.pipeline(record.pipeline)
    loaded = {name for run in (record, *retries) for item in run.parts or () if item["status"] in DONE for name in _names(item)}
    left = [name for item in parts if item["status"] not in DONE for name in _names(item) if name not in loaded]
    if not left:
        last = next((item.run for item in reversed(retries) if item.run != record.run and item.done), None)
        by, hint = (f", the last of them by {last}", again) if last else ("", "")
        if record.backfill is None or not last:
            hint = f"Go on from there: {command('run', record.pipeline)}"
        raise SetupError("E-ENGINE", f"All parts of {record.run} are loaded{by}.", hint=hint)
    at_once = number or record.at_once or pipeline.at_once
    if "from" in parts[0]:
        plan = backfill.plan(project, pipeline, [(item["from"], item["to"]) for item in parts], at_once).only(left)
    else:
        plan = pipeline.plan or backfill.WHOLE
        plan = _left(session, record, plan, loaded, set(left), again) if parts[0]["streams"] else plan
    plan = replace(plan, at_once=at_once, retry_of=record.retry_of or record.run)
    with _finishing(session, record.pipeline) as facts:
        options = RunOptions(full=bool(record.full), backfill=backfill.recorded(record.backfill), plan=plan)
        _run(session, engines, record.pipeline, facts, asked=used, options=options, verb="retry")


def _names(item: Mapping[str, Any]) -> list[str]:
    """Return what a part of a record loads: its streams, or all of them on its days."""
    return item["streams"] or [item["name"]]


def _left(session: Session, record: Record, plan: Plan, loaded: set[str], left: set[str], again: str) -> Plan:
    """Return the plan of today that loads the streams *left*, and none of those that are *loaded*.

    :raises SetupError: E-ENGINE, a part has other streams too, or none of them is selected.
    """
    parts = {part.name: {*part.streams} or loaded | left for part in plan.parts}
    mixed = next((name for name, streams in parts.items() if streams & loaded and streams - loaded), None)
    if mixed is not None:
        problem = f"split has changed since {record.run} began: part {mixed} has streams that it has loaded, and others."
        raise SetupError("E-ENGINE", problem, hint=again)
    gone = left.difference(*parts.values())
    if gone and gone == left:
        raise SetupError("E-ENGINE", f"What {record.run} did not load is not selected any more: {listed(sorted(gone))}.", hint=again)
    if gone:
        warn(session.output, record.pipeline, f"What is not selected any more is left out: {listed(sorted(gone))}.")
    return plan.only([name for name, streams in parts.items() if not streams or not streams <= loaded])


def _run(
    session: Session, engines: Engines, name: str, facts: dict[str, Any], *, asked: str | Engine, options: RunOptions, verb: str
) -> tuple[Engine, Record]:
    """Run a pipeline, copy its files to ``output/``, and report the result.

    *asked* is what ``--engine`` names, or for a retry the engine of its run.
    """
    output = session.output
    pipeline = Project.of(session.settings).pipeline(name)
    engines.ask_ahead(asked if isinstance(asked, str) else asked.engine)
    engine, reason = engines.choose(asked) if isinstance(asked, str) else (asked, "the run was there")
    facts["engine"] = engine.engine
    span = f" · backfill {options.backfill}" if options.backfill else ""
    plan = options.plan or pipeline.plan
    if plan:
        how = "one after the other" if engine.handles is None else f"{plan.at_once} at a time"
        if engine.handles is not None and (room := retries(pipeline, plan)) < pipeline.retries:
            how += f", each tried again at most {count(room, 'time')}: Argo keeps no more attempts of so many"
        span += f" · {count(len(plan.numbers), 'part')}, {how}"
    output.text(f"{verb}  {name}{span} · engine {engine.label}, because {reason}")
    output.text()
    try:
        if engine.handles is None:
            record = _run_local(session, engine, pipeline, reason, facts, options)
        else:
            [record] = _run_argo(session, engine, [pipeline], reason, options, [facts])
            _raise_error(record)
    except (RunError, KeyboardInterrupt) as error:
        with suppress(SetupError):  # the store itself may be the trouble
            facts["state"] = engine.history.state(name)
        if isinstance(error, RunError):
            _report_parts(session, engine, facts)
        raise
    _report(session, engine, pipeline, record, facts, options)
    return engine, record


def _run_local(session: Session, engine: Engine, pipeline: Pipeline, reason: str, facts: dict[str, Any], options: RunOptions) -> Record:
    """Run a pipeline on this machine."""
    settings, output = session.settings, session.output
    project = Project.of(settings)
    for problem in keep_secrets(settings, session.environ):
        output.line("!", "Secret", problem)
        output.event("warning", source="secrets", problem=problem)

    def values() -> dict[str, dict[str, str]]:
        dotenv = kept_secrets(settings.root)
        read = {item.kind: secrets(file, session.environ, dotenv, shown=project.shown(file)) for item, file in pipeline.configs}
        return {**read, "transform": read["target"]}

    values()  # a missing one is an error before anything is installed
    options = _planned(session, engine, pipeline, options)
    config = backfill.config(project, pipeline, options.backfill) if options.backfill and not _from_bookmarks(options) else None
    venvs = Environments(settings).ensure(pipeline.connectors, output)
    if not any(venv.made for venv in venvs):
        output.line("✓", ", ".join(connector.name for connector in pipeline.connectors), "environments reused")
    made = {connector.kind: venv for connector, venv in zip(pipeline.connectors, venvs, strict=True)}
    job = Job(
        pipeline,
        made["tap"],
        made["target"],
        values,
        options.full,
        options.keep_raw,
        options.backfill,
        config,
        options.plan,
        transform=made.get("transform"),
        mapper=made.get("mapper"),
    )
    network = proxy.read(settings, session.environ).variables(session.environ)
    with notifications.notifying(session, engine.history, pipeline, facts):
        return LocalEngine(settings, engine.history, output, {**session.environ, **network}).run(
            job, reason, started=lambda run: facts.update(run=run)
        )


def _run_argo(
    session: Session,
    engine: Engine,
    pipelines: Sequence[Pipeline],
    reason: str,
    options: RunOptions,
    facts: Sequence[dict[str, Any]],
) -> list[Record]:
    """Prepare the cluster for the pipelines, submit their Workflows, and follow them."""
    from cluster.platform import plan  # noqa: PLC0415 - the local engine needs none of these
    from cluster.platform.converge import converge  # noqa: PLC0415
    from cluster.platform.steps.schedules import parameters, scope  # noqa: PLC0415
    from cluster.platform.upgrade import older_layout  # noqa: PLC0415

    handles, argo = engine.handles, engine.argo
    assert handles is not None
    older_layout(handles)  # refuses a newer layout
    warn_of_paths(session.output, handles.project, [pair for pipeline in pipelines for pair in pipeline.configs])
    handles.only = tuple(pipeline.name for pipeline in pipelines)
    own = {pipeline.name: _planned(session, engine, pipeline, options) for pipeline in pipelines}
    # A replay extracts nothing; every other backfill has a config for the tap.
    span = None if options.replay else options.backfill
    dated = [pipeline for pipeline in pipelines if span and not _from_bookmarks(own[pipeline.name])]
    configs = {pipeline.name: backfill.config(handles.project, pipeline, span) for pipeline in dated if span}
    converge(plan.needed(), handles, session.output)
    argo.ready()
    titles = {}
    for pipeline, known in zip(pipelines, facts, strict=True):
        run, mine = new_run_id(), own[pipeline.name]
        values = parameters(handles, pipeline, mine)
        if mine.plan:
            engine.history.store.put(session.settings.bucket_configs, mine.plan.key, mine.plan.data())
        if pipeline.name in configs:
            values["tap-config"] = backfill_key(run)
            engine.history.store.put(session.settings.bucket_configs, values["tap-config"], json.dumps(configs[pipeline.name]).encode())
        document = workflow(pipeline, run, values, scope(handles), mine)
        known["run"] = argo.submit(document, reason)
        sides = " → ".join(connector.name for connector in pipeline.connectors)
        titles[known["run"]] = sides if len(pipelines) == 1 else f"{pipeline.name}"
    return argo.follow(titles)


def _from_bookmarks(options: RunOptions) -> bool:
    """Return whether a backfill starts from bookmarks, because the tap has no ``start_date``."""
    return options.plan is not None and any(part.state for part in options.plan.parts)


def _planned(session: Session, engine: Engine, pipeline: Pipeline, options: RunOptions) -> RunOptions:
    """Return the options with the parts of a run, if it has any.

    If the tables may be missing, the first part runs alone: targets that create the same ones at
    the same time get in each other's way.

    :raises SetupError: E-SETTING, the backfill is not possible; E-STATE, the state has not its
        bookmarks by stream.
    """
    plan, project = options.plan or pipeline.plan, Project.of(session.settings)
    if options.backfill and not options.replay:
        backfill.check(project, pipeline)
    if options.backfill and not options.replay and not (plan and plan.parts[0].span):
        state = engine.history.state(pipeline.name)
        with PartHistory.by_stream():
            bounded = backfill.from_bookmarks(project, pipeline, options.backfill, plan, state)
        streams = backfill.whole(project, pipeline, bounded) if bounded else []
        if streams:
            warn(session.output, pipeline.tap.name, f"Streams that are not INCREMENTAL by a date are loaded whole: {and_more(streams)}.")
        plan = bounded or plan
    if plan is None:
        return options
    PartHistory(engine.history, plan, 0).state(pipeline.name)  # refuses another form
    alone = options.full or options.backfill is not None or engine.history.state(pipeline.name) is None
    return replace(options, plan=replace(plan, first_alone=alone, full=options.full))


def _run_several(session: Session, names: Sequence[str], *, asked: str, options: RunOptions) -> None:
    """Run pipelines in parallel, each as a Workflow; they share a label and nothing else.

    :raises SetupError: E-ENGINE, not on this engine; or the error of the first failed run, after
        all have ended.
    """
    output = session.output
    project = Project.of(session.settings)
    pipelines = [project.pipeline(name) for name in names]
    with Engines(session) as engines:
        engines.ask_ahead(asked)
        engine, reason = engines.choose(asked)
        if engine.handles is None:
            raise SetupError(
                "E-ENGINE",
                f"The engine local runs one pipeline at a time, and {len(names)} were named.",
                hint=f"Run one, or start the engine argo: {command('up')}",
            )
        batch = new_run_id()
        output.text(f"run  {', '.join(names)} · engine {engine.label}, because {reason} · batch {batch}")
        output.text()
        facts: list[dict[str, Any]] = [_facts(name) | {"engine": engine.engine} for name in names]
        status = dict.fromkeys(names, "failed")
        try:
            records = _run_argo(session, engine, pipelines, reason, replace(options, batch=batch), facts)
            for pipeline, record, known in zip(pipelines, records, facts, strict=True):
                status[record.pipeline] = "succeeded" if record.status == "succeeded" else "failed"
                if record.status == "succeeded":
                    output.text()
                    output.text(f"{record.pipeline}")
                    _report(session, engine, pipeline, record, known, options)
                else:
                    _report_parts(session, engine, known)
        except KeyboardInterrupt:
            for known in facts:
                known["interrupted"] = True
            raise
        finally:
            for known in facts:
                output.event("run.finished", status=status[known["pipeline"]], **known)
        errors = [RunError(**record.error) for record in records if record.error]
        for error in errors:
            output.error(error)
            error.shown = True
        if errors:
            raise errors[0]


def _raise_error(record: Record) -> None:
    """Raise the error of a run that did not succeed.

    :raises RunError: the error in its record.
    """
    if record.error:
        raise RunError(record.error["code"], record.error["problem"], hint=record.error["hint"])
    if record.status != "succeeded":
        raise RunError("E-RUNNER", f"{record.run} is {record.status}.", hint=f"See {command('show', record.run)}")


def _report(session: Session, engine: Engine, pipeline: Pipeline, record: Record, facts: dict[str, Any], options: RunOptions) -> None:
    """Report a run that succeeded: its files, or where the target has written, and its state."""
    output = session.output
    facts.update(records=record.records, state=record.state_after)
    copies = _copies(session, engine, record)
    facts.update(outputs=[str(file) for file in copies])
    output.text()
    list_files(output, [(file, file.stat().st_size) for file in copies])
    if not copies:
        output.text(f"  {_no_file(session, engine, pipeline, record)}")
    output.text(f"  state  {bookmarks.change(record.state_before, record.state_after)}")
    if not record.empty and not record.state_printed and options.backfill is None:
        output.line("!", record.target.connector, "printed no state: the next run loads the same again")


def _report_parts(session: Session, engine: Engine, facts: dict[str, Any]) -> None:
    """Report the files of the parts that a failed run has loaded."""
    record = None
    with suppress(SetupError):  # the store itself may be the trouble
        record = engine.history.read(facts["pipeline"], facts["run"]) if facts["run"] else None
    if record is not None and record.parts and record.outputs and record.status != "running":
        copies = _copies(session, engine, record)
        facts.update(outputs=[str(file) for file in copies])
        session.output.text()
        list_files(session.output, [(file, file.stat().st_size) for file in copies])


def _copies(session: Session, engine: Engine, record: Record) -> list[Path]:
    """Copy the files of a run that has records to its folder in ``output/``.

    The run has ended by now, so an error is a warning.
    """
    folder = session.settings.output / record.pipeline
    sweep(folder)
    if record.empty:
        return []
    try:
        return copy(engine.history, record, folder / record.run)
    except SetupError as error:
        problem = f"{error.problem} The data itself is loaded: {command('fetch', record.run)} copies its files."
        session.output.line("!", shown(folder / record.run), problem)
        session.output.event("warning", source="output", problem=error.problem)
        return []


def _no_file(session: Session, engine: Engine, pipeline: Pipeline, record: Record) -> str:
    """Return why a run has no file: where its target writes, or where those of earlier runs are."""
    if record.empty:
        return "no new records, so no file" + _earlier(engine, session.settings.output / record.pipeline)
    where = ""
    if pipeline.target_config.exists():
        where = destination(read_object(pipeline.target_config, pipeline.target_config.name))
    loaded = f"{count(record.total, 'record')} of {', '.join(record.records)}" if record.total else outcome.batched(record.batches.values())
    if where:
        return f"{record.target.connector} wrote {loaded} to {where}"
    return f"{record.target.connector} left no file for {loaded}"


def _earlier(engine: Engine, folder: Path) -> str:
    """Return which file is the newest, or for a backfill or a part where all are."""
    files = [file for file in folder.rglob("*") if file.is_file()]
    newest = max(files, key=lambda file: file.stat().st_mtime, default=None)
    if newest is None:
        return ""
    with suppress(SetupError):
        record = engine.history.read(folder.name, newest.relative_to(folder).parts[0])
        if record is None or record.parts or record.backfill:
            return f"; earlier ones are in {shown(folder)}"
    return f"; the newest is {shown(newest)}"


def _show_rates(session: Session, record: Record, table: rates.Table) -> None:
    """Show the latest rates, and what this run loaded."""
    output, dates = session.output, table.dates
    if record.total:
        output.text(f"  {count(record.total, 'day')} loaded; {dates[0]} to {dates[-1]}, {table.columns} columns")
    else:
        output.text(f"  0 new days: everything up to {dates[-1]} was loaded before ({command('demo --full')} starts over)")
    output.text()
    headers, rows = rates.latest(table, rates.base(session.settings))
    output.table(rows, headers)
