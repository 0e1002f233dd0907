"""The commands that look at what runs have left, change it, and carry it elsewhere."""

from __future__ import annotations

import itertools
import json
import time
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster import backfill, example, preview, reader, redaction
from cluster.connectors import Project
from cluster.errors import SetupError
from cluster.fields import read_object
from cluster.files import replacing
from cluster.outputs import copy
from cluster.places import Place, Places
from cluster.progress import command, megabytes, seconds, shown
from cluster.runs import History, Record, short, states

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.report import Course
    from cluster.session import Session

SIDES = ("tap", "target", "transform")


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
    with Places(session) as places:
        place, record = places.find(run)
        folder = session.settings.output / record.pipeline / record.run
        for file, item in zip(copy(place.history, record, folder), record.outputs, strict=True):
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
    runs = [(place, record) for place, record in found if record.pipeline == example.DEMO]
    with suppress(SetupError):
        if runs:
            table = example.rates(runs[0][0].history, [record for _, record in runs], preview.YEAR)
            return preview.courses(table, example.base(session.settings))
    return []
