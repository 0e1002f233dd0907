"""What starts scheduled pipelines on this machine: cron's lines, systemd's units, launchd's files.

systemd knows time zones, launchd does not. Of the programs named cron, cronie knows ``CRON_TZ``,
and Debian's takes it for a variable of the command. So a pipeline with another zone than the
machine is looked at every hour there, and ``run --if-due`` decides.
"""

from __future__ import annotations

import plistlib
import re
import shlex
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

from cluster.project.due import fields, normal

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from cluster.project.model import Pipeline

FOLDERS = {"cron": "", "systemd": "~/.config/systemd/user/", "launchd": "~/Library/LaunchAgents/"}
"""What can start pipelines, and where its files belong."""
UTC_NAMES = {"UTC", "Etc/UTC", "Etc/UCT", "Etc/Universal", "Etc/Zulu", "UCT", "Universal", "Zulu"}
WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat")
CODES = "Exit codes: 0 success; 1 something to correct first; 2 the run failed; 70 a bug; 130 stopped."


@dataclass(frozen=True)
class Machine:
    """Where the pipelines run: the checkout, the folder of logs, and the zone of the machine."""

    root: Path
    logs: Path
    zone: str

    @property
    def name(self) -> str:
        """The name of the checkout's units; another checkout has another one."""
        name = re.sub(r"[^A-Za-z0-9_.-]", "-", self.root.name)
        return name if name.startswith("singer") else f"singer-{name}"

    def words(self, pipeline: str, *more: str) -> list[str]:
        """Return the command that runs a pipeline, by absolute paths."""
        return [str(self.root / "invoke"), "run", pipeline, "--engine", "local", "--unattended", *more]


def crontab(pipelines: Sequence[Pipeline], machine: Machine) -> str:
    """Return the lines for ``crontab -e``."""
    lines = [
        f"# Scheduled pipelines of {machine.root}, on the engine local.",
        "# Paste these lines into: crontab -e. Print them again after a change in pipelines.yaml.",
        f"# The times are in {machine.zone or 'a zone without a name'}, the time zone of this machine.",
        f"# {CODES}",
    ]
    for pipeline in pipelines:
        lines.append(f"# {described(pipeline)}")
        log = shlex.quote(str(machine.logs / f"{pipeline.name}.log"))
        here = same_zone(pipeline.timezone, machine.zone)
        command = shlex.join(machine.words(pipeline.name, *([] if here else ["--if-due"])))
        rest = f'{command} >>{log} 2>&1 || echo "exit code $?" >>{log}'.replace("%", r"\%")
        times = [normal(item) for item in pipeline.schedule] if here else [f"{listed(minutes(pipeline, machine.zone), 60)} * * * *"]
        lines += [f"{time}  {rest}" for time in times]
    return "\n".join(lines) + "\n"


def systemd(pipelines: Sequence[Pipeline], machine: Machine) -> dict[str, str]:
    """Return the units for ``~/.config/systemd/user``: a service for all, and a timer for each."""
    program, *words = machine.words("%i")
    # systemd takes neither quotes nor backslashes in the name of a program, and no dollar as $$.
    start = """/bin/sh -c 'exec "$$0" "$$@"' """ if set(program) & set("'\"\\$") else ""
    for sign, escaped in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$")):
        program = program.replace(sign, escaped)
    service = [
        f"# A pipeline of {machine.root}, on the engine local. Its output: journalctl --user -u '{machine.name}@*'",
        f"# {CODES}",
        "[Unit]",
        "Description=Pipeline %i",
        "",
        "[Service]",
        "Type=oneshot",
        f'ExecStart={start}"{program}" {" ".join(words)}',
    ]
    units = {f"{machine.name}@.service": "\n".join(service) + "\n"}
    for pipeline in pipelines:
        name = f"{machine.name}@{pipeline.name}.timer"
        times = [f"OnCalendar={time}" for item in pipeline.schedule for time in on_calendar(item, pipeline.timezone)]
        timer = [f"# systemctl --user daemon-reload; systemctl --user enable --now {name}", "[Unit]", f"Description={described(pipeline)}"]
        timer += ["", "[Timer]", *times, "Persistent=true", "", "[Install]", "WantedBy=timers.target"]
        units[name] = "\n".join(timer) + "\n"
    return units


def launchd(pipelines: Sequence[Pipeline], machine: Machine) -> dict[str, str]:
    """Return the files for ``~/Library/LaunchAgents``.

    launchd has no time zones, and starts what a sleeping machine has missed once: ``--if-due``
    decides.
    """
    files = {}
    for pipeline in pipelines:
        log = str(machine.logs / f"{pipeline.name}.log")
        label = f"{machine.name}.{pipeline.name}"
        agent = {
            "Label": label,
            "ProgramArguments": machine.words(pipeline.name, "--if-due"),
            "StartCalendarInterval": [{"Minute": minute} for minute in minutes(pipeline, machine.zone)],
            "StandardOutPath": log,
            "StandardErrorPath": log,
        }
        head, _, rest = plistlib.dumps(agent, sort_keys=False).decode().partition("\n")
        about = f"{described(pipeline)}. launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/{label}.plist"
        # A comment of XML cannot have two hyphens; to a shell, ? is one too.
        files[f"{label}.plist"] = f"{head}\n<!-- {about.replace('--', '-?')} -->\n{rest}"
    return files


def described(pipeline: Pipeline) -> str:
    """Return a pipeline and its schedule, for people."""
    return f"{pipeline.name}: {' and '.join(pipeline.schedule)} in {pipeline.timezone}"


def same_zone(one: str, other: str) -> bool:
    """Return whether two names are of the same zone. One without a name is like no other."""
    return one == other or {one, other} <= UTC_NAMES


def minutes(pipeline: Pipeline, zone: str) -> list[int]:
    """Return the minutes of every hour in *zone* at which the pipeline may be due."""
    there, here, now = ZoneInfo(pipeline.timezone), ZoneInfo(zone) if zone else None, datetime.now(UTC)
    moments = [now + timedelta(days=15 * number) for number in range(25)]
    offsets = [(moment.astimezone(here).utcoffset(), moment.astimezone(there).utcoffset()) for moment in moments]
    shifts = {int(((mine or timedelta()) - (other or timedelta())).total_seconds()) // 60 for mine, other in offsets}
    return sorted({(minute + shift) % 60 for item in pipeline.schedule for minute in fields(item).minutes for shift in shifts})


def on_calendar(expression: str, timezone: str) -> list[str]:
    """Return an expression as calendar events of systemd: two if either of two days is enough."""
    parsed = fields(expression)
    days, months = listed(parsed.days, 31), listed(parsed.months, 12)
    # 7 is Sunday too.
    chosen = sorted({int(day) % len(WEEKDAYS) for day in parsed.weekdays if isinstance(day, int)})
    weekdays = "" if len(chosen) == len(WEEKDAYS) else ",".join(WEEKDAYS[day] for day in chosen)
    time = f"{listed(parsed.hours, 24)}:{listed(parsed.minutes, 60)}:00 {timezone}"
    if parsed.day_and or not weekdays or days == "*":
        if not parsed.day_and:
            weekdays, days = "", "*"  # either is enough, and one of them is every day
        return [f"{weekdays} *-{months}-{days} {time}".lstrip()]
    return [f"{weekdays} *-{months}-* {time}", f"*-{months}-{days} {time}"]


def listed(values: Iterable[int], count: int) -> str:
    """Return numbers as a list with commas, all of them as a star."""
    known = sorted(values)
    return "*" if len(known) == count else ",".join(map(str, known))
