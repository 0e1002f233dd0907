"""The commands ``discover`` and ``select``: write a tap's catalog, and change what it selects."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from cluster.config.strict import listed, read_object
from cluster.errors import SetupError
from cluster.host.files import write_whole
from cluster.onboarding import add
from cluster.onboarding.catalog import Changes, Stream, is_system, merge, streams_of
from cluster.onboarding.probe import Probe
from cluster.onboarding.selection import Choice, few, find, select
from cluster.project.reader import Project, check_catalog
from cluster.ui.command_line import command
from cluster.ui.format import count
from cluster.ui.output import warn

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.project.model import Connector
    from cluster.session import Session

ROWS = 40
"""How many streams are shown without ``--all``."""
WIDTH = 40


def discover(session: Session, name: str, *, plan_only: bool, stream: str, everything: bool, seconds: float) -> None:
    """Write a tap's ``catalog.json``, keep its selection, and show its streams or fields.

    *name* may be a pipeline: then it is the catalog of that pipeline.

    :raises SetupError: E-DISCOVERY; E-CATALOG, the existing file is not a catalog; E-UNKNOWN, no
        such connector or stream.
    """
    write(session, name, plan_only=plan_only, stream=stream, everything=everything, seconds=seconds)
    session.output.text(f"Next: {command(f'check {name}')} · {command(f'select {name}')} (--stream and --exclude choose)")


def write(session: Session, name: str, *, plan_only: bool, stream: str, everything: bool, seconds: float) -> None:
    """Do what ``discover`` does, without printing the next command."""
    output, project = session.output, Project(session.settings.root)
    connector, file = _subject(project, name)
    before = read_catalog(project, file) if file.exists() else None
    probe = Probe(session, connector)
    probe.expect_streams()
    probe.install()
    with output.step(name) as step:
        step.detail = "discovering"
        catalog = discovered(probe, seconds)
        step.result(f"{count(len(catalog['streams']), 'stream')} found")
    changes = merge(catalog, before)
    streams = sorted(streams_of(catalog), key=is_system)
    shown = find(streams, stream, fields=False) if stream else []
    if not plan_only and catalog != before:
        write_catalog(file, catalog)
    if before is not None:
        _show_changes(session, changes)
    output.text()
    if shown:
        for one, _ in shown:
            _show_fields(session, name, one)
    else:
        _show_streams(session, name, streams, None if everything else f"discover {name} --all")
    _finish(session, connector, file, streams, changes, written=not plan_only and catalog != before, same=catalog == before)


def choose(session: Session, name: str, choice: Choice) -> None:
    """Select streams and fields of a tap's catalog; without a choice, show what is selected.

    *name* may be a pipeline. A change then goes into a catalog of that pipeline alone, at first a
    copy of the tap's.

    :raises SetupError: E-CATALOG, it has no catalog, or the file is not one; E-UNKNOWN, no such
        connector, stream or field; E-SETTING; as ``add.give_catalog``.
    """
    output, project = session.output, Project(session.settings.root)
    connector, file = _subject(project, name)
    if not file.exists():
        reason = f"It is a {connector.kind}; only taps have streams." if connector.kind != "tap" else "It has none yet."
        hint = "Name a tap." if connector.kind != "tap" else f"Discover it first: {command(f'discover {connector.name}')}"
        raise SetupError("E-CATALOG", f"{connector.name} has no catalog.json. {reason}", hint=hint)
    catalog = read_catalog(project, file)
    streams = streams_of(catalog)
    written = choice != Choice() and _apply(session, connector, catalog, streams, choice)
    if written and name != connector.name and file == connector.catalog:
        file = add.give_catalog(session, name)
    if written:
        write_catalog(file, catalog)
    _show_streams(session, connector.name, [stream for stream in streams if stream.selected], f"discover {name} --plan --all")
    _finish(session, connector, file, streams, Changes(), written=written, same=not written)
    if not any(stream.selected for stream in streams):
        output.line("!", name, "nothing is selected: a run loads nothing")


# ---------------------------------------------------------------------------------------------------------- catalogs


def _apply(session: Session, connector: Connector, catalog: dict[str, Any], streams: list[Stream], choice: Choice) -> bool:
    """Change the selection of a catalog, and return whether it has changed."""
    before = json.dumps(catalog)
    for note in select(streams, choice):
        warn(session.output, connector.name, note)
    for stream in streams:
        stream.write()
    return json.dumps(catalog) != before


def _subject(project: Project, name: str) -> tuple[Connector, Path]:
    """Return the tap that a connector's or a pipeline's name stands for, and its catalog.

    :raises SetupError: E-UNKNOWN, as ``Project.connector``.
    """
    if name not in project.connector_names and name in project.pipeline_names:
        pipeline = project.pipeline(name)
        return replace(pipeline.tap, instead=pipeline.config), pipeline.catalog
    connector = project.connector(name)
    return connector, connector.catalog


def read_catalog(project: Project, file: Path) -> dict[str, Any]:
    """Read a catalog.

    :raises SetupError: E-CATALOG, the file is not one.
    """
    catalog = read_object(file, project.shown(file), "E-CATALOG")
    check_catalog(catalog, project.shown(file))
    return catalog


def write_catalog(file: Path, catalog: dict[str, Any]) -> None:
    """Replace a catalog, indented so that ``git diff`` shows what has changed."""
    with write_whole(file, json.dumps(catalog, indent=2, ensure_ascii=False) + "\n"):
        pass


def discovered(probe: Probe, seconds: float) -> dict[str, Any]:
    """Run discovery, check the catalog's form, and return it.

    :raises SetupError: E-DISCOVERY, as ``Probe.discover``, or the catalog has not the form that
        taps expect.
    """
    catalog = probe.discover(seconds)
    try:
        check_catalog(catalog, "what it printed")
    except SetupError as error:
        raise SetupError(
            "E-DISCOVERY",
            f"{probe.connector.name}'s discovery printed no valid catalog: {error.problem}",
            hint="Report it to the tap's authors, or use another version of the tap.",
        ) from None
    return catalog


# ----------------------------------------------------------------------------------------------------------- showing


def _show_changes(session: Session, changes: Changes) -> None:
    output = session.output
    if changes.new:
        output.line("!", "new streams", few(changes.new))
    if changes.gone:
        output.line("!", "streams that are gone", few(changes.gone))
    for stream, different in list(changes.changed.items())[:ROWS]:
        output.line("!", stream, listed(different[:ROWS]))
    if len(changes.changed) > ROWS:
        output.line("!", "changed as well", count(len(changes.changed) - ROWS, "stream"))


def _show_streams(session: Session, name: str, streams: list[Stream], more: str | None) -> None:
    """Show streams as a table.

    *more* is the command that shows all streams; None shows all now. Without it, tables of the
    database itself are left out if there are others.
    """
    for stream in streams:
        session.output.event(
            "stream",
            connector=name,
            stream=stream.id,
            selected=stream.selected,
            fields=[field.name for field in stream.top],
            selected_fields=[field.name for field in stream.loaded],
            key_properties=list(stream.keys),
            replication_method=stream.method or None,
            replication_key=stream.replication_key or None,
        )
    own = [stream for stream in streams if stream.selected or not is_system(stream)]
    shown = (own or streams)[:ROWS] if more else streams
    if shown:
        session.output.table(list(map(_row, shown)), ["stream", "fields", "keys", "replication", "selected"])
    if len(shown) < len(streams):
        session.output.text(f"  … and {len(streams) - len(shown):,} more: {command(more or '')}")


def _row(stream: Stream) -> list[str]:
    """Return a stream's row in the table."""
    return [
        stream.id,
        f"{len(stream.loaded)} of {len(stream.top)}",
        _cut(", ".join(stream.keys)),
        " ".join(filter(None, (stream.method, stream.replication_key))),
        "✓" if stream.selected else "" if stream.supported else "unsupported",
    ]


def _show_fields(session: Session, name: str, stream: Stream) -> None:
    """Show the fields of a stream as a tree."""
    rows = []
    for field in stream.fields.values():
        key = len(field.path) == 1 and field.path[0] in stream.keys
        session.output.event(
            "field",
            connector=name,
            stream=stream.id,
            field=list(field.path),
            type=field.type,
            key=key,
            inclusion=field.inclusion,
            selected=field.selected,
        )
        mark = "✓" if field.selected else ""
        rows.append(["  " * (len(field.path) - 1) + field.path[-1], field.type, "key" if key else "", field.inclusion, mark])
    how = " ".join(filter(None, (stream.method, stream.replication_key)))
    chosen = "selected" if stream.selected else "not selected" if stream.supported else "unsupported"
    session.output.text(" · ".join(filter(None, (stream.id, how, chosen))))
    session.output.table(rows, ["field", "type", "", "inclusion", "selected"])


def _finish(
    session: Session, connector: Connector, file: Path, streams: list[Stream], changes: Changes, *, written: bool, same: bool
) -> None:
    shown = Project(session.settings.root).shown(file)
    selected = sum(stream.selected for stream in streams)
    session.output.event(
        "catalog",
        connector=connector.name,
        path=shown,
        streams=len(streams),
        selected=selected,
        new=changes.new,
        gone=changes.gone,
        changed=changes.changed,
        written=written,
    )
    session.output.text()
    mark, what = ("✓", "written") if written else ("•", "unchanged") if same else (" ", "would be written")
    session.output.line(mark, shown, f"{what}; {selected:,} of {count(len(streams), 'stream')} selected")


def _cut(text: str) -> str:
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"
