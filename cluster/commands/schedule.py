"""The command ``schedule``: what starts the scheduled pipelines on this machine."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING
from zoneinfo import available_timezones

from cluster.config.strict import describe, listed
from cluster.errors import SetupError
from cluster.host.files import private_folder, replacing
from cluster.project import timers
from cluster.project.reader import Project
from cluster.project.timers import FOLDERS
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from cluster.session import Session

LOCALTIME = Path("/etc/localtime")


def schedule(session: Session, kind: str, *, out: str = "") -> None:
    """Print what starts the scheduled pipelines here, or write it to the folder *out*.

    Nothing is installed.

    :raises SetupError: E-SETTING, there is no such *kind*.
    """
    if kind not in FOLDERS:
        problem = f"--print is {describe(kind)}; allowed is {listed(FOLDERS)}." if kind else "What shall start the pipelines is missing."
        raise SetupError("E-SETTING", problem, hint=f"{command('schedule')} --print {'launchd' if sys.platform == 'darwin' else 'cron'}")
    project = Project.of(session.settings)
    pipelines = [pipeline for name in project.pipeline_names if (pipeline := project.pipeline(name)).schedule and not pipeline.paused]
    machine = timers.Machine(session.settings.root, private_folder(session.settings.local / "schedule"), zone())
    files = {"crontab": timers.crontab(pipelines, machine)} if kind == "cron" else getattr(timers, kind)(pipelines, machine)
    for name, content in files.items():
        path = f"{FOLDERS[kind]}{name}"
        session.output.event("schedule", kind=kind, path=path, content=content)
        if out:
            with replacing(name, Path(out) / name) as part:
                part.write_text(content, encoding="utf-8")
            session.output.line("✓", name, f"{out}, for {path}")
            continue
        if kind != "cron":
            session.output.text(f"# --- {path}")
        session.output.text(content)
    if not pipelines:
        session.output.text("# No pipeline has a schedule that is not paused.")


def zone(localtime: Path = LOCALTIME) -> str:
    """Return the name of this machine's time zone; empty if it has none that we know."""
    name = str(localtime.resolve()).partition("zoneinfo/")[2]
    return name if name in available_timezones() else ""
