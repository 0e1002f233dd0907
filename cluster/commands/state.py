"""The command ``state``: show, change, roll back or copy a pipeline's state."""

from __future__ import annotations

import itertools
from contextlib import suppress
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.strict import read_object, read_text
from cluster.engines.choice import Engines
from cluster.errors import SetupError
from cluster.project.reader import Project
from cluster.runs import state as state_json
from cluster.runs.record import short
from cluster.ui import exact_json
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from cluster.runs.history import History
    from cluster.session import Session


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
    with Engines(session) as engines:
        place, _ = engines.choose(engine)
        history, output = place.history, session.output
        history.claim(place.engine)
        if change.copy_to:
            from cluster.commands.copy_state import copy  # noqa: PLC0415 - a state of this machine needs nothing of a cluster

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
        output.text(exact_json.dumps(current, indent=2) if current else f"{pipeline} has no state yet: its next run loads everything.")


def _new_state(history: History, pipeline: str, change: Change) -> dict[str, Any] | None:
    """Return the state that there shall be, None where it is removed."""
    if change.set_to:
        file = Path(change.set_to)
        read_object(file, change.set_to, "E-STATE")
        try:
            return state_json.read(read_text(file, change.set_to))
        except ValueError as error:
            hint = f"Write the value of a STATE message into it, or what {command(f'state {pipeline}')} prints."
            raise SetupError("E-STATE", f"{change.set_to} is not a state: {error}.", hint=hint) from None
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
    try:
        return state_json.read(data)
    except ValueError as error:
        raise SetupError("E-STATE", f"The version {version} is not a state: {error}.", hint="Choose another version.") from None


def _show_versions(session: Session, history: History, pipeline: str) -> None:
    rows, versions = [], history.state_versions(pipeline)
    # Versions of the same moment begin alike: as much is shown as tells them apart.
    width = next(number for number in itertools.count(8) if len({item.id[:number] for item in versions}) == len(versions))
    for item in versions:
        data = None if item.deleted else history.store.get(history.settings.bucket_configs, history.state_key(pipeline), item.id)
        with suppress(ValueError):
            found = exact_json.loads(data or b"null")
        session.output.event("state", pipeline=pipeline, state=found, version=item.id, modified=item.modified.isoformat())
        rows.append([item.id[:width], f"{item.modified:%Y-%m-%d %H:%M:%S}", "removed" if item.deleted else short(found)])
    session.output.table(rows, ["version", "time (UTC)", "state"])
