"""``state PIPELINE --copy-to ENV``: copy a pipeline's state to an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.engines.choice import Engines
from cluster.errors import SetupError
from cluster.platform.ownership import need_our_bucket
from cluster.runs import bookmarks
from cluster.runs.history import OWNER
from cluster.ui.command_line import command, elsewhere
from cluster.ui.format import count

if TYPE_CHECKING:
    from cluster.engines.choice import Engine
    from cluster.session import Session


def copy(session: Session, source: Engine, pipeline: str, env: str, *, sure: bool) -> None:
    """Copy the state of a pipeline from *source* to the platform of an environment.

    :raises SetupError: E-BUSY, a run is under way on one of them. E-STATE, there is nothing to
        copy. E-SETTING, both are the same, or another state is there and nobody can answer.
        E-DOWN, E-FOREIGN, E-LAYOUT, the platform is not there, or not ours.
    """
    there = session.to(env)
    same = session.settings.env == there.settings.env
    if source.handles is not None and same:
        hint = "Name another environment; or, with --engine or --env, another source."
        raise SetupError("E-SETTING", f"The state of {pipeline} comes from {source.label}: it is there already.", hint=hint)
    with source.quiet(pipeline):
        state = source.history.state(pipeline)
        if state is None:
            hint = "Name a source that has one: --engine or --env."
            raise SetupError("E-STATE", f"{pipeline} has no state on {source.label}: there is nothing to copy.", hint=hint)
        with elsewhere(env), Engines(there) as engines:
            _put(session, source, engines.argo, pipeline, state, sure=sure)


def _put(session: Session, source: Engine, to: Engine, pipeline: str, state: dict[str, Any], *, sure: bool) -> None:
    """Replace the state that a pipeline has in *to*, unless it is the same, or the answer is no."""
    history, output = to.history, session.output
    assert to.handles is not None
    need_our_bucket(to.handles, history.store.get(history.settings.bucket_configs, OWNER))
    history.claim(to.engine)
    with to.quiet(pipeline):
        before = history.state(pipeline)
        output.table([[source.label, bookmarks.short(state)], [to.label, bookmarks.short(before)]], ["", "state"])
        another = before is not None and before != state
        if another and not sure and not session.agrees("Replace it?", f"{pipeline} has another state on {to.label}"):
            output.text("Nothing was copied.")
            return
        if before != state:
            history.save_state(pipeline, state)
    sides = {name: {"engine": side.engine, "env": side.session.settings.env} for name, side in (("source", source), ("destination", to))}
    output.event("state.copied", pipeline=pipeline, **sides, state=state, before=before, changed=before != state)
    if before == state:
        output.line("•", f"State of {pipeline}", f"the same on {to.label}")
        return
    kept = f"{count(len(history.state_versions(pipeline)), 'version')} kept there"
    output.line("✓", f"State of {pipeline}", f"copied to {to.label}, {kept}; data stays")
    output.text(f"Next: {command('run', pipeline)}")
