"""What each command does. ``tasks.py`` names them, this composes the parts; nothing here knows how a fact is shown."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster import preview
from cluster.connectors import Project, read_dotenv, secrets
from cluster.engines.job import Job
from cluster.engines.local import LocalEngine
from cluster.engines.lock import alone, is_running
from cluster.environments import Environments
from cluster.errors import RunError, SetupError
from cluster.fields import describe, listed, nearest, read_object
from cluster.progress import command, megabytes, seconds, shown
from cluster.runs import History, Record
from cluster.settings import CHOICES
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.connectors import Pipeline
    from cluster.session import Session

DEMO = "exchange-rates-to-csv"
SHOWN = 120
"""How many characters of a state fit into a line."""


def _environ(session: Session) -> dict[str, str]:
    """Return the environment with ``.env`` below it."""
    return {**read_dotenv(session.settings.root / ".env"), **session.environ}


def _history(session: Session) -> History:
    return History(open_store(session.settings, _environ(session)), session.settings)


def _engine(session: Session, asked: str) -> tuple[str, str]:
    """Return the engine to use and why.

    :raises SetupError: E-SETTING, no such engine; E-ENGINE, it is not there.
    """
    if asked and asked not in CHOICES["engine"]:
        raise SetupError(
            "E-SETTING",
            f"There is no engine {describe(asked)}.{nearest(asked, CHOICES['engine'])} Engines are {listed(CHOICES['engine'])}.",
            hint="Name one of these, or leave --engine out.",
        )
    chosen = asked or session.settings.engine
    if chosen == "argo":
        raise SetupError(
            "E-ENGINE", "The engine argo is not there yet: this version runs pipelines on the engine local.", hint="Use --engine local."
        )
    if chosen == "local":
        return "local", "--engine says so" if asked else "the setting singer.engine says so"
    return "local", "it is the only one so far"


@contextmanager
def _finishing(session: Session, pipeline: str) -> Iterator[dict[str, Any]]:
    """End the JSON events of a run with ``run.finished``, whatever happens; the body fills in what it knows."""
    facts: dict[str, Any] = {"run": None, "pipeline": pipeline, "engine": None, "outputs": [], "records": {}, "state": None}
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
    with _finishing(session, DEMO) as facts:
        record = _run(session, DEMO, facts, engine=engine, full=full, keep_raw=False, verb="demo")
        history = _history(session)
        table = preview.read(_csv_files(history, record))
        if table.dates:
            _show_rates(session, record, table)
        output.text()
        output.text(f"Next: {command('demo')} again loads only new days · {command('runs')} · {command(f'state {DEMO}')}")


def run(session: Session, pipeline: str, *, engine: str, full: bool, keep_raw: bool) -> None:
    """Run one pipeline."""
    with _finishing(session, pipeline) as facts:
        record = _run(session, pipeline, facts, engine=engine, full=full, keep_raw=keep_raw, verb="run")
        session.output.text()
        session.output.text(f"Next: {command(f'show {record.run}')} · {command(f'state {pipeline}')}")


def _run(session: Session, name: str, facts: dict[str, Any], *, engine: str, full: bool, keep_raw: bool, verb: str) -> Record:
    """Run a pipeline, say what came of it, and put a copy of its files where people look."""
    settings, output = session.settings, session.output
    chosen, reason = _engine(session, engine)
    facts["engine"] = chosen
    project = Project(settings.root)
    pipeline = project.pipeline(name)
    dotenv = read_dotenv(settings.root / ".env")
    found = {
        side: secrets(file, session.environ, dotenv, shown=project.shown(file))
        for side, file in (("tap", pipeline.config), ("target", pipeline.target_config))
    }
    output.text(f"{verb}  {name} · engine {chosen}, because {reason}")
    output.text()
    history = _history(session)
    tap, target = Environments(settings).ensure([pipeline.tap, pipeline.target], output)
    if not tap.made and not target.made:
        output.line("✓", f"{pipeline.tap.name}, {pipeline.target.name}", "environments reused")
    job = Job(pipeline, tap, target, found, full=full, keep_raw=keep_raw)
    try:
        record = LocalEngine(settings, history, output, session.environ).run(job, reason, started=lambda run: facts.update(run=run))
    except RunError:
        with suppress(SetupError):  # where the store is the trouble, its state cannot be told
            facts["state"] = history.state(name)
        raise
    # A run that went on from a state adds to what is there; only one that began at the beginning replaces it.
    added = record.state_before is not None and not full
    facts.update(records=record.records, state=record.state_after)
    copies = _copies(session, history, record, settings.output / name / (record.run if added else ""))
    facts.update(outputs=[str(file) for file in copies])
    output.text()
    for file in copies:
        output.text(f"  {shown(file)}  {megabytes(file.stat().st_size)}")
    if not copies:
        output.text(f"  no file this time{_earlier(settings.output / name)}")
    output.text(f"  state  {_states(record)}")
    if record.total and not record.state_printed:
        output.line("!", pipeline.target.name, "printed no state: the next run loads the same again")
    return record


def _copies(session: Session, history: History, record: Record, folder: Path) -> list[Path]:
    """Copy the files of a run that moved something. The run has succeeded by now, so that trouble here is a warning."""
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
    """Copy a run's files into *folder*; files of the same name are replaced, each as a whole."""
    prefix = f"{record.pipeline}/{record.run}/"
    copies = []
    for item in record.outputs:
        file = folder / item["key"].removeprefix(prefix)
        history.store.download(item["bucket"], item["key"], file)
        copies.append(file)
    return copies


def _earlier(folder: Path) -> str:
    files = sorted(file for file in folder.glob("*") if file.is_file())
    return f"; from earlier: {shown(files[0])}" if files else ""


def _states(record: Record) -> str:
    same = record.state_after == record.state_before
    return f"{_short(record.state_after)} ({'unchanged' if same else f'before: {_short(record.state_before)}'})"


def _short(state: dict[str, Any] | None) -> str:
    """Say what a state says: the bookmark where there is one, else the JSON, else none."""
    if not state:
        return "none"
    bookmarks = state.get("bookmarks")
    if isinstance(bookmarks, dict) and len(bookmarks) == 1:
        mark = next(iter(bookmarks.values()))
        if isinstance(mark, dict) and isinstance(mark.get("replication_key_value"), str | int | float):
            return str(mark["replication_key_value"])
    text = json.dumps(state)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _csv_files(history: History, record: Record) -> list[bytes]:
    """Return the CSV files of the pipeline's runs, oldest first: back to the one that started over."""
    found: list[bytes] = []
    for other in [record, *history.newest(record.pipeline, limit=50)]:
        if other.engine != record.engine or other.status != "succeeded" or (other.run == record.run and other is not record):
            continue
        data = [history.store.get(item["bucket"], item["key"]) for item in other.outputs if item["key"].endswith(".csv")]
        found[:0] = [part for part in data if part]
        if other.total > preview.DAYS:
            break
    return found


def _show_rates(session: Session, record: Record, table: preview.Table) -> None:
    """Show the latest rates, and what this run loaded."""
    output, dates = session.output, table.dates
    config = Project(session.settings.root).pipeline(record.pipeline).config
    base = str(read_object(config, shown(config)).get("base", "EUR"))
    if record.total:
        output.text(f"  {record.total:,} days loaded; {dates[0]} to {dates[-1]}, {table.columns} columns")
    else:
        output.text(f"  0 new days: everything up to {dates[-1]} was loaded before ({command('demo --full')} starts over)")
    output.text()
    headers, rows = preview.latest(table, base)
    output.table(rows, headers)


# ---------------------------------------------------------------------------------------------------------- looking


def runs(session: Session, *, pipeline: str, limit: int) -> None:
    """List the newest runs."""
    history = _history(session)
    if pipeline:
        Project(session.settings.root).pipeline(pipeline)
    records = history.newest(pipeline or None, limit)
    if not records:
        session.output.text(f"No runs yet. Next: {command('demo')}")
    for record in records:
        session.output.event("run", **_seen(session, record))
    if records:
        session.output.table(
            [_row(session, record) for record in records], ["run", "pipeline", "engine", "status", "records", "time", "state after"]
        )


def _seen(session: Session, record: Record) -> dict[str, Any]:
    """Return a record's fields with the status as it is now: a run that was killed could not say so itself."""
    fields = asdict(record)
    del fields["schema"]  # every event has one of its own
    if record.status == "running" and not is_running(session.settings, record):
        fields["status"] = "interrupted"
    return fields


def _row(session: Session, record: Record) -> list[str]:
    taken = seconds(record.seconds) if record.seconds is not None else ""
    return [
        record.run,
        record.pipeline,
        record.engine,
        _seen(session, record)["status"],
        f"{record.total:,}",
        taken,
        _short(record.state_after),
    ]


def show(session: Session, run: str) -> None:
    """Show one run."""
    history, output = _history(session), session.output
    record = history.find(run)
    fields = _seen(session, record)
    output.event("run", **fields)
    output.text(f"{record.run} · {record.pipeline} · engine {record.engine} · {fields['status']}")
    facts = [
        ("started", record.started),
        ("took", seconds(record.seconds) if record.seconds is not None else "not known"),
        *(
            (side, f"{end['connector']} {end['version']}, {_ended(end['exit_code'])}")
            for side, end in (("tap", fields["tap"]), ("target", fields["target"]))
        ),
        *((f"stream {stream}", f"{count:,} records, {megabytes(record.bytes.get(stream, 0))}") for stream, count in record.records.items()),
        ("state", _states(record)),
        *(("file", f"{history.store.url(item['bucket'], item['key'])}  {megabytes(item['bytes'])}") for item in record.outputs),
        *([("raw", history.store.url(session.settings.bucket_artifacts, record.raw))] if record.raw else []),
        ("logs", shown(session.settings.local / "logs" / record.pipeline / record.run)),
        *([("error", f"{record.error['code']}  {record.error['problem']}"), ("→", record.error["hint"])] if record.error else []),
    ]
    output.table([list(fact) for fact in facts], ["", ""])


def _ended(code: int | None) -> str:
    return "no exit code" if code is None else f"exit code {code}"


def fetch(session: Session, run: str) -> None:
    """Copy a run's files into ``output/<pipeline>/<run>/``."""
    history = _history(session)
    record = history.find(run)
    folder = session.settings.output / record.pipeline / record.run
    for file, item in zip(_copy(history, record, folder), record.outputs, strict=True):
        session.output.event("file", path=str(file), bytes=item["bytes"])
        session.output.line("✓", shown(file), megabytes(item["bytes"]))
    if not record.outputs:
        session.output.line("•", record.run, "left no files")


def state(session: Session, pipeline: str, *, set_to: str, reset: bool) -> None:
    """Show a pipeline's state, or replace it, or remove it."""
    Project(session.settings.root).pipeline(pipeline)
    if set_to and reset:
        raise SetupError("E-SETTING", "--set and --reset were both given.", hint="Give one of the two.")
    history, output = _history(session), session.output
    history.claim("local")
    if set_to or reset:
        new = read_object(Path(set_to), set_to, "E-STATE") if set_to else None
        with alone(session.settings, history, pipeline):
            if new:
                history.save_state(pipeline, new)
            else:
                history.reset_state(pipeline)
        kept = len(history.state_versions(pipeline))
        output.line("✓", f"State of {pipeline}", f"{'replaced' if new else 'removed: the next run starts over'}; {kept} versions kept")
    current = history.state(pipeline)
    output.event("state", pipeline=pipeline, state=current)
    output.text(json.dumps(current, indent=2) if current else f"{pipeline} has no state yet: its next run loads everything.")


# --------------------------------------------------------------------------------------------------------- checking


def check(session: Session, name: str) -> None:
    """Read every file below ``singer-configs/`` and say what is wrong with each.

    :raises SetupError: the first thing that is wrong, after all have been shown.
    """
    project, output = Project(session.settings.root), session.output
    problems: list[SetupError] = []
    connectors = [item for item in project.connector_names if name in {"", item}]
    try:
        pipelines = [item for item in project.pipeline_names if name in {"", item}]
    except SetupError as error:
        pipelines = []
        problems.append(error)
        output.line("✗", "pipelines.yaml", error.problem)
    if name and not connectors and not pipelines:
        known = [*project.connector_names, *project.pipeline_names]
        raise SetupError(
            "E-UNKNOWN",
            f"There is no connector or pipeline {describe(name)}.{nearest(name, known)} There are {listed(known)}.",
            hint="Name one of these, or none to check all.",
        )
    for kind, names in (("connector", connectors), ("pipeline", pipelines)):
        for item in names:
            try:
                detail = _checked(session, project, kind, item)
            except SetupError as error:
                problems.append(error)
                output.line("✗", item, error.problem)
                output.event("check", kind=kind, name=item, ok=False, **error.as_dict())
            else:
                output.line("✓", item, detail)
                output.event("check", kind=kind, name=item, ok=True)
    if problems:
        raise problems[0]


def _checked(session: Session, project: Project, kind: str, name: str) -> str:
    if kind == "connector":
        connector = project.connector(name)
        return f"{connector.kind}, {' '.join([*connector.requirements, *map(project.shown, connector.projects)])}"
    pipeline: Pipeline = project.pipeline(name)
    dotenv = read_dotenv(session.settings.root / ".env")
    for file in (pipeline.config, pipeline.target_config):
        secrets(file, session.environ, dotenv, shown=project.shown(file))
    return f"{pipeline.tap.name} → {pipeline.target.name}"


def test(session: Session, *, everything: bool, options: str) -> None:
    """Run the tests of this checkout.

    :raises SetupError: E-INSTALL, what they need is not there and this environment is not ours to change.
    """
    settings = session.settings
    ours = Path(sys.prefix).resolve() == (settings.root / ".venv").resolve()
    wanted = settings.root / "requirements-dev.lock"
    stamp = Path(sys.prefix) / wanted.name
    if ours and (not stamp.exists() or stamp.read_bytes() != wanted.read_bytes()):
        with session.output.step("What the tests need") as step:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(wanted)], check=False
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
    arguments = [sys.executable, "-m", "pytest", *(["--all"] if everything else []), *options.split()]
    code = subprocess.run(arguments, cwd=settings.root, check=False, env={**os.environ, "SINGER_LAUNCHER": ""}).returncode
    if code:
        raise SystemExit(code)
