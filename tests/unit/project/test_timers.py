"""What is printed for cron, systemd and launchd."""

from __future__ import annotations

import plistlib
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from cluster.project import timers
from cluster.project.reader import Project

if TYPE_CHECKING:
    from cluster.project.model import Pipeline

BERLIN = timers.Machine(Path("/home/ada lovelace/50% singer"), Path("/home/ada lovelace/50% singer/.local/schedule"), "Europe/Berlin")
UTC = replace(BERLIN, root=Path("/srv/singer"), logs=Path("/srv/singer/.local/schedule"), zone="Etc/UTC")


def pipeline(*schedule: str, timezone: str = "Europe/Berlin") -> Pipeline:
    """Return the example with another schedule."""
    root = Path(__file__).resolve().parents[3]
    return replace(Project(root).pipeline("exchange-rates-to-csv"), name="rates", schedule=schedule, timezone=timezone)


def lines(text: str) -> list[str]:
    """Return the lines that are no comments."""
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_cron_in_the_zone_of_the_machine() -> None:
    """The line has the schedule; what the shell and cron would read as theirs is escaped."""
    [first, second] = lines(timers.crontab([pipeline("15 17 * * 1-5", "0 8 */2 * 6")], BERLIN))
    assert first == (
        "15 17 * * 1-5  '/home/ada lovelace/50\\% singer/invoke' run rates --engine local --unattended"
        " >>'/home/ada lovelace/50\\% singer/.local/schedule/rates.log' 2>&1"
        " || echo \"exit code $?\" >>'/home/ada lovelace/50\\% singer/.local/schedule/rates.log'"
    )
    assert second.startswith("0 8 1-31/2 * 6  ")


def test_cron_takes_no_step_after_one_number() -> None:
    """Argo goes on to the last number. Debian's cron refuses such a line, and all others with it."""
    [line] = lines(timers.crontab([pipeline("5/15,7 1-5/2,8/4 2/3 FEB/2 MON/2")], BERLIN))
    assert line.startswith("5-59/15,7 1-5/2,8-23/4 2-31/3 FEB-12/2 MON-6/2  ")


@pytest.mark.parametrize(
    ("schedule", "zone", "minutes"),
    [
        ("15 17 * * 1-5", "Europe/Berlin", "15"),
        ("*/30 6 * * *", "Asia/Kolkata", "0,30"),
        ("0 6 * * *", "Asia/Kathmandu", "15"),
        ("0 6 * * *", "Australia/Lord_Howe", "0,30"),  # its summer time is half an hour
        ("* * * * *", "Europe/Berlin", "*"),
    ],
)
def test_cron_elsewhere(schedule: str, zone: str, minutes: str) -> None:
    """A pipeline with another zone is looked at every hour; no line relies on CRON_TZ."""
    text = timers.crontab([pipeline(schedule, timezone=zone)], UTC)
    [line] = lines(text)
    assert line.startswith(f"{minutes} * * * *  /srv/singer/invoke run rates --engine local --unattended --if-due >>")
    assert "CRON_TZ" not in text
    assert not lines(timers.crontab([pipeline(schedule, timezone="UTC")], UTC))[0].count("--if-due")


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("15 17 * * 1-5", ["Mon,Tue,Wed,Thu,Fri *-*-* 17:15:00 Europe/Berlin"]),
        ("*/20 8-10/2 1 JAN,JUL *", ["*-1,7-1 8,10:0,20,40:00 Europe/Berlin"]),
        ("0 0 13 * FRI", ["Fri *-*-* 0:0:00 Europe/Berlin", "*-*-13 0:0:00 Europe/Berlin"]),
        ("0 0 1-31 * 5", ["*-*-* 0:0:00 Europe/Berlin"]),
    ],
)
def test_systemd_calendar(expression: str, expected: list[str]) -> None:
    """A schedule becomes calendar events with its time zone; either of two days is enough, as for Argo."""
    assert timers.on_calendar(expression, "Europe/Berlin") == expected


def test_systemd_units() -> None:
    """One service, and a timer for each pipeline; the path is quoted as systemd wants it."""
    units = timers.systemd([pipeline("15 17 * * *")], BERLIN)
    assert list(units) == ["singer-50--singer@.service", "singer-50--singer@rates.timer"]
    assert 'ExecStart="/home/ada lovelace/50%% singer/invoke" run %i --engine local --unattended' in units["singer-50--singer@.service"]
    assert "OnCalendar=*-*-* 17:15:00 Europe/Berlin\nPersistent=true\n" in units["singer-50--singer@rates.timer"]


@pytest.mark.parametrize(
    ("folder", "start"),
    [
        ("/srv/a b", '"/srv/a b/invoke" run'),
        ("/srv/ada's", """/bin/sh -c 'exec "$$0" "$$@"' "/srv/ada's/invoke" run"""),
        ('/srv/a"b', """/bin/sh -c 'exec "$$0" "$$@"' "/srv/a\\"b/invoke" run"""),
        ("/srv/$HOME", """/bin/sh -c 'exec "$$0" "$$@"' "/srv/$$HOME/invoke" run"""),
    ],
)
def test_systemd_and_odd_folders(folder: str, start: str) -> None:
    """A unit has no quotes and no escaped dollar in the name of its program, but in arguments."""
    [service, _] = timers.systemd([pipeline("15 17 * * *")], replace(UTC, root=Path(folder))).values()
    assert f"\nExecStart={start} %i " in service


def test_launchd_and_hyphens() -> None:
    """A comment of XML ends at two hyphens; what it has to copy fits the file all the same."""
    machine = replace(UTC, root=Path("/srv/my---singer (2)"))
    [(name, text)] = timers.launchd([replace(pipeline("15 17 * * *"), name="a--b")], machine).items()
    comment = text.partition("<!--")[2].partition("-->")[0]
    assert "--" not in comment
    assert plistlib.loads(text.encode())["Label"] + ".plist" == name
    assert fnmatch(name, comment.split("/LaunchAgents/")[1].strip())


def test_launchd() -> None:
    """The command is started every hour, and decides by itself."""
    [(name, text)] = timers.launchd([pipeline("15,45 17 * * *")], UTC).items()
    agent = plistlib.loads(text.encode())
    assert (name, agent["Label"]) == ("singer.rates.plist", "singer.rates")
    assert agent["ProgramArguments"] == ["/srv/singer/invoke", "run", "rates", "--engine", "local", "--unattended", "--if-due"]
    assert agent["StartCalendarInterval"] == [{"Minute": 15}, {"Minute": 45}]
