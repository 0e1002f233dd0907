"""The commands ``sync`` and ``export``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cluster.config.settings import LAPTOP
from cluster.engines.choice import Engines
from cluster.project.files import warn_of_paths
from cluster.ui.command_line import command
from cluster.ui.format import count, seconds, shown

if TYPE_CHECKING:
    from cluster.platform.handles import Handles
    from cluster.session import Session


def sync(session: Session, *, plan_only: bool, as_yaml: bool) -> None:
    """Apply ``singer-configs/`` to the cluster: images, secrets, configs, schedules.

    Without a platform on the laptop ``--yaml`` and ``--plan`` still print what would be applied.
    """
    from cluster.platform.handles import Handles

    with Engines(session) as engines:
        engines.ask_ahead("argo")
        why = engines.connect() if (plan_only or as_yaml) and session.settings.env == LAPTOP else None
        if why:
            with Handles(session.settings, session.environ) as handles:
                _without_platform(session, handles, why, as_yaml=as_yaml)
            return
        there = engines.argo.handles
        assert there is not None
        if as_yaml:
            _print_yaml(session, there)
            return
        _sync(session, there, plan_only=plan_only)


def _sync(session: Session, handles: Handles, *, plan_only: bool) -> None:
    """Apply what has changed, or show it."""
    from cluster.platform import plan, upgrade
    from cluster.platform.converge import converge, look
    from cluster.platform.steps import schedules

    output, begun = session.output, time.monotonic()
    steps = plan.sync()
    older = upgrade.older_layout(handles)
    if older:
        upgrade.upgrade(handles, older, schedules.objects(handles), schedules.KINDS).show(output)
        output.line(" ", "", f"{command('up')} upgrades the rest of the platform")
    if plan_only:
        for title, why in look(steps, handles).items():
            output.line("•" if why is None else " ", title, why or "in place")
            output.event("step", step=title, pending=why)
        return
    warn_of_paths(output, handles.project, [pair for pipeline in handles.pipelines for pair in pipeline.configs])
    schedules.warn_of_events(handles, output)
    changed = converge(steps, handles, output)
    output.event("sync.finished", changed=sorted(changed), seconds=round(time.monotonic() - begun, 3))
    if not changed:
        output.line("•", "All is as in singer-configs/", seconds(time.monotonic() - begun))


def _without_platform(session: Session, handles: Handles, why: str, *, as_yaml: bool) -> None:
    """Print what ``up`` would apply of ``singer-configs/``: the objects, or a line for each."""
    from cluster.platform import plan
    from cluster.platform.steps import schedules

    if as_yaml:
        _print_yaml(session, handles)
        return
    pending = f"waiting for the platform: {why}"
    session.output.text(f"The platform is not up: {why}. {command('up')} starts it and applies all of this.")
    for step in plan.sync():
        session.output.event("step", step=step.title, pending=pending)
    for document in [*schedules.schedules(handles), *schedules.listeners(handles)]:
        session.output.line(" ", document["metadata"]["name"], f"{document['kind']}, to be created")
    for pipeline in handles.pipelines:
        if not pipeline.schedule and not pipeline.events:
            session.output.line(" ", pipeline.name, "images, secrets and configs, to be created")


def _print_yaml(session: Session, handles: Handles) -> None:
    """Print the objects of schedules."""
    from cluster.platform.steps import schedules

    session.output.text(yaml.safe_dump_all(schedules.all_documents(handles), sort_keys=False).rstrip())


def export(session: Session, *, out: str) -> None:
    """Write what an environment would get to a folder, and list what has changed there."""
    from cluster.platform.export import files, write

    settings, output = session.settings, session.output
    folder = Path(out) if out else settings.root / "export" / settings.env
    content = files(settings)
    changed, gone = write(content, folder)
    for mark, paths in (("✓", changed), ("✗", gone)):
        for path in paths:
            output.line(mark, path, "" if mark == "✓" else "removed")
    output.event("export", path=str(folder.absolute()), files=len(content), changed=changed, removed=gone)
    result = count(len(content), "file") + ("" if changed or gone else ", nothing changed")
    output.line("✓" if changed or gone else "•", shown(folder.absolute()), result)
