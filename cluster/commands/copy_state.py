"""``state PIPELINE --copy-to ENV``: copies a pipeline's state to an environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.engines.choice import Engines
from cluster.errors import SetupError
from cluster.platform.ownership import need_our_bucket
from cluster.runs.history import OWNER
from cluster.runs.record import short
from cluster.ui.command_line import command, elsewhere

if TYPE_CHECKING:
    from cluster.engines.choice import Engine
    from cluster.session import Session


def copy(session: Session, source: Engine, pipeline: str, env: str, *, sure: bool) -> None:
    """Make the state that a pipeline has in *source* that of the platform of an environment, and say what there is on both sides.

    :raises SetupError: E-BUSY, a run is under way on one of them; E-STATE, there is nothing to copy; E-SETTING, they are one,
        or another state would be replaced and nobody is asked; E-DOWN, E-FOREIGN, E-LAYOUT, the platform is not there, or not for us.
    """
    there = session.to(env)
    same = session.settings.env == there.settings.env
    if source.handles is not None and same:
        hint = "Name another environment; or, with --engine or --env, where the state comes from."
        raise SetupError("E-SETTING", f"The state of {pipeline} comes from {source.label}: it is there already.", hint=hint)
    with source.quiet(pipeline):
        state = source.history.state(pipeline)
        if state is None:
            hint = "Name where it has one: --engine or --env."
            raise SetupError("E-STATE", f"{pipeline} has no state on {source.label}: there is nothing to copy.", hint=hint)
        with elsewhere(env), Engines(there) as engines:
            _put(session, source, engines.argo, pipeline, state, sure=sure)


def _put(session: Session, source: Engine, place: Engine, pipeline: str, state: dict[str, Any], *, sure: bool) -> None:
    """Replace the state that a pipeline has in *place*, unless it is the same, or the answer is no."""
    history, output = place.history, session.output
    assert place.handles is not None
    need_our_bucket(place.handles, history.store.get(history.settings.bucket_configs, OWNER))
    history.claim(place.engine)
    with place.quiet(pipeline):
        before = history.state(pipeline)
        output.table([[source.label, short(state)], [place.label, short(before)]], ["", "state"])
        another = before is not None and before != state
        if another and not sure and not session.agrees("Replace it?", f"{pipeline} has another state on {place.label}"):
            output.text("Nothing was copied.")
            return
        if before != state:
            history.save_state(pipeline, state)
    sides = {name: {"engine": side.engine, "env": side.session.settings.env} for name, side in (("source", source), ("destination", place))}
    output.event("state.copied", pipeline=pipeline, **sides, state=state, before=before, changed=before != state)
    if before == state:
        output.line("•", f"State of {pipeline}", f"the same on {place.label}")
        return
    kept = len(history.state_versions(pipeline))
    output.line("✓", f"State of {pipeline}", f"copied to {place.label}, where {kept} versions are kept; data stays where it is")
    output.text(f"Next: {command(f'run {pipeline}')}")
