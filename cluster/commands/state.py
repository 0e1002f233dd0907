"""The command ``state``: show, change, roll back or copy a pipeline's state."""

from __future__ import annotations

import hashlib
import itertools
import json
from contextlib import suppress
from dataclasses import astuple, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.strict import read_object, read_text
from cluster.engines.choice import Engines
from cluster.errors import SetupError
from cluster.host.parallel import ahead
from cluster.project.reader import Project
from cluster.runs import bookmarks
from cluster.runs import state as state_json
from cluster.ui import exact_json
from cluster.ui.command_line import command
from cluster.ui.format import count

if TYPE_CHECKING:
    from cluster.runs.history import History
    from cluster.runs.record import Record
    from cluster.session import Session
    from cluster.store import Version

RECORDS = 200
"""How many of the newest records ``--history`` reads to name the run of each version."""
SAME = timedelta(minutes=10)
"""How long after the end of a run its state may be stored."""
RESOLUTION = timedelta(seconds=1)
"""S3 knows no fractions of a second: a version may seem to be older than it is."""


@dataclass(frozen=True)
class Change:
    """A change of a state; at most one of these."""

    set_to: str = ""
    rollback: str = ""
    copy_to: str = ""
    reset: bool = False


def state(session: Session, pipeline: str, change: Change, *, engine: str, versions: bool, sure: bool) -> None:
    """Show a pipeline's state or its history, replace it, remove it, roll it back, or copy it.

    :raises SetupError: E-SETTING, more than one option; E-BUSY, a run is under way; E-STATE, no
        such version.
    """
    Project.of(session.settings).pipeline(pipeline)
    if sum(map(bool, (*astuple(change), versions))) > 1:
        problem = "There is more than one of --set, --reset, --history, --rollback and --copy-to."
        raise SetupError("E-SETTING", problem, hint="Use only one of them.")
    with Engines(session) as engines:
        used, _ = engines.choose(engine)
        history, output = used.history, session.output
        history.claim(used.engine)
        if change.copy_to:
            from cluster.commands.copy_state import copy  # noqa: PLC0415 - only this needs the cluster's modules

            copy(session, used, pipeline, change.copy_to, sure=sure)
            return
        if change != Change():
            new = _new_state(history, pipeline, change)
            with used.quiet(pipeline):
                if new:
                    history.save_state(pipeline, new)
                else:
                    history.reset_state(pipeline)
            kept = f"{count(len(history.state_versions(pipeline)), 'version')} kept"
            output.line("✓", f"State of {pipeline}", f"{'replaced' if new else 'removed: the next run starts over'}; {kept}")
        if versions:
            _show_versions(session, history, pipeline)
            return
        current = history.state(pipeline)
        output.event("state", pipeline=pipeline, state=current)
        output.text(exact_json.dumps(current, indent=2) if current else f"{pipeline} has no state yet: its next run loads everything.")


def _new_state(history: History, pipeline: str, change: Change) -> dict[str, Any] | None:
    """Return the new state, None to remove it."""
    if change.set_to:
        file = Path(change.set_to)
        if not file.is_file():
            raise SetupError("E-CONFIG", f"{change.set_to} is not there.", hint="Name the file with the state.")
        read_object(file, change.set_to, "E-STATE")
        try:
            return state_json.read(read_text(file, change.set_to))
        except ValueError as error:
            hint = f"Write the value of a STATE message into it, or what {command('state', pipeline)} prints."
            raise SetupError("E-STATE", f"{change.set_to} is not a state: {error}.", hint=hint) from None
    return _version(history, pipeline, change.rollback) if change.rollback else None


def _version(history: History, pipeline: str, version: str) -> dict[str, Any]:
    """Return an earlier state, named by the beginning of its version.

    :raises SetupError: E-STATE, no such version, or it was a removal.
    """
    matching = [item for item in history.state_versions(pipeline) if item.id.startswith(version)]
    value = _stored(history, pipeline, matching[0]) if len(matching) == 1 else None
    if value is None:
        hint = f"See {command('state', pipeline, '--history')}"
        raise SetupError("E-STATE", f"{pipeline} has no state of the version {version}.", hint=hint)
    try:
        return state_json.unwrapped(value)
    except ValueError as error:
        raise SetupError("E-STATE", f"The version {version} is not a state: {error}.", hint="Choose another version.") from None


def _show_versions(session: Session, history: History, pipeline: str) -> None:
    """Show each version of a state, the newest first, with what has stored it."""
    rows, versions = [], history.state_versions(pipeline)
    # Versions of the same moment begin alike: show as much as tells them apart.
    width = next(number for number in itertools.count(8) if len({item.id[:number] for item in versions}) == len(versions))
    states = list(ahead(lambda item: _stored(history, pipeline, item), versions))
    runs, same = _runs(versions, states, history.newest(pipeline, RECORDS)), _same(versions, states)
    for item, value, run, older in zip(versions, states, runs, same, strict=True):
        session.output.event("state", pipeline=pipeline, state=value, version=item.id, modified=item.modified.isoformat(), run=run)
        origin = "state --reset" if item.deleted else run or (f"as {older[:width]}: rollback" if older else "state --set")
        rows.append([item.id[:width], f"{item.modified:%Y-%m-%d %H:%M:%S}", "removed" if item.deleted else bookmarks.short(value), origin])
    session.output.table(rows, ["version", "time (UTC)", "state", "stored by"])


def _stored(history: History, pipeline: str, version: Version) -> Any:
    """Return the state of a version, None for a removal and for damaged data."""
    if version.deleted:
        return None
    with suppress(ValueError):
        return exact_json.loads(history.store.get(history.settings.bucket_configs, history.state_key(pipeline), version.id) or b"null")
    return None


def _same(versions: list[Version], states: list[Any]) -> list[str]:
    """Return the last earlier version with the same state as each version, empty if none has it."""
    known, same = dict[bytes, str](), list[str]()
    for version, value in zip(reversed(versions), reversed(states), strict=True):
        digest = hashlib.sha256(json.dumps(value, sort_keys=True).encode()).digest()
        same.insert(0, known.get(digest, ""))
        known[digest] = version.id
    return same


def _runs(versions: list[Version], states: list[Any], records: list[Record]) -> list[str | None]:
    """Return the run that stored each version, None for a person.

    A run stores versions while it is under way: nobody else changes the state then. Its last one
    may come just after its record.
    """
    ended = [record for record in records if record.backfill is None and record.finished]
    spans = [(_moment(record.finished), _moment(record.started), record) for record in ended]
    left, runs = {record.run for record in ended}, list[str | None]()
    for version, value in zip(reversed(versions), reversed(states), strict=True):
        moment = version.modified
        latest = moment if moment.microsecond else moment + RESOLUTION
        near = [(finish, record) for finish, begin, record in spans if begin <= latest < finish + SAME]
        # A run that waits for its turn begins before the one that stores this ends.
        during = [pair for pair in near if moment <= pair[0]]
        after = (record for _, record in near if value and record.state_after == value and record.run in left)
        record = min(during, key=lambda pair: (pair[0], pair[1].run))[1] if during else next(after, None)
        if record is not None and record.state_after == value:
            left.discard(record.run)  # a rollback may store the same state again
        runs.insert(0, record.run if record is not None else None)
    return runs


def _moment(text: str | None) -> datetime:
    return datetime.fromisoformat(str(text))
