"""The commands ``sync`` and ``export``."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from cluster.engines.choice import Engines
from cluster.ui.command_line import command
from cluster.ui.format import seconds, shown

if TYPE_CHECKING:
    from cluster.session import Session


def sync(session: Session, *, plan_only: bool, as_yaml: bool) -> None:
    """Bring what stands in ``singer-configs/`` into the cluster: images, secrets, configs, schedules."""
    from cluster.platform import (
        plan,
        upgrade,
    )
    from cluster.platform.converge import converge, look
    from cluster.platform.steps import schedules

    output, begun = session.output, time.monotonic()
    with Engines(session) as engines:
        handles = engines.argo.handles
        assert handles is not None
        if as_yaml:
            output.text(yaml.safe_dump_all(schedules.all_documents(handles), sort_keys=False).rstrip())
            return
        steps = plan.sync()
        found = upgrade.older_layout(handles)
        if found:
            made = [*schedules.schedules(handles), *schedules.listeners(handles)]
            upgrade.upgrade(handles, found, made, schedules.KINDS).show(output)
            output.line(" ", "", f"the rest of the platform is brought by {command('up')}")
        if plan_only:
            for title, why in look(steps, handles).items():
                output.line("•" if why is None else " ", title, why or "in place")
                output.event("step", step=title, pending=why)
            return
        changed = converge(steps, handles, output)
        output.event("sync.finished", changed=sorted(changed), seconds=round(time.monotonic() - begun, 3))
        if not changed:
            output.line("•", "All is as in singer-configs/", seconds(time.monotonic() - begun))


def export(session: Session, *, out: str) -> None:
    """Write what would be applied to an environment into a folder, and say what has changed there."""
    from cluster.platform.export import files, write

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
