"""The file of ``doctor --bundle``, without secrets.

It has the results of doctor, versions, settings, the platform, the newest runs and logs.
"""

from __future__ import annotations

import json
import platform
import re
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.config.settings import TOOL
from cluster.doctor.timeouts import within
from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder
from cluster.host.subprocesses import run, which
from cluster.platform import backup, plan
from cluster.platform.converge import look
from cluster.platform.credentials import ROOT_SECRET, USER_SECRET
from cluster.project.redaction import known, redacted
from cluster.runs.history import History
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.doctor.checks import Machine
    from cluster.runs.record import Record

SECONDS = 10
"""The longest wait for the platform."""
RUNS, LOGS, LINES = 5, 8, 60


def write(machine: Machine, findings: Sequence[str]) -> Path:
    """Write the file, readable by the user alone, and return its path.

    :raises SetupError: E-DISK, E-STORE, it cannot be written.
    """
    silence = [f"no answer within {SECONDS} s"]
    nothing: tuple[list[str], list[str]] = (silence, [])
    platform_lines, passwords = within(SECONDS, partial(_platform, machine), nothing)
    kept_too = (value for values in backup.saved_credentials(machine.settings).values() for value in values.values())
    secrets = {*known(machine.settings, machine.environ), *passwords, *kept_too}
    parts = {
        "Doctor": list(findings),
        "Versions": _versions(machine),
        "Settings": _settings(machine),
        "Platform": platform_lines,
        "Runs": within(SECONDS, partial(_runs, machine), silence),
        "Logs": list(_logs(machine.settings.local / "logs")),
    }
    text = "\n".join(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in parts.items())
    file = machine.settings.local / f"support-{datetime.now(UTC):%Y%m%dt%H%M%S}.txt"
    with file_errors("The file", file):
        private_folder(file.parent)
        with open(file, "w", opener=private, encoding="utf-8", errors="replace") as target:
            target.write(redacted(text, secrets))
    return file


def _versions(machine: Machine) -> list[str]:
    """Return the versions of the system and of programs."""
    versions = [f"system    {platform.platform()}", f"python    {sys.version.splitlines()[0]}"]
    asked = {"git": ("rev-parse", "HEAD"), machine.settings.provider: ("version",)}
    with suppress(SetupError):
        asked[machine.runtime.program] = ("version",)
    for name, words in asked.items():
        if which(name):
            folder = ["-C", str(TOOL)] if name == "git" else []
            answer = run([name, *folder, *words], seconds=SECONDS)
            versions += [f"{name}  {line}" for line in (answer.stdout or answer.stderr).splitlines()]
    return versions


def _settings(machine: Machine) -> list[str]:
    """Return the settings that differ from the defaults, and variables of other programs."""
    lines = [f"{key} = {value}" for key, value in machine.settings.changed.items()] or ["the defaults"]
    names = re.compile(
        r"(INVOKE_|UV_|PIP_|KIND_|DOCKER_(HOST|CONTEXT|CONFIG)$|MINIKUBE_|KUBECONFIG|.*_PROXY$|.*_CA_BUNDLE$|SSL_CERT)", re.IGNORECASE
    )
    return lines + [f"{name}={value}" for name, value in sorted(machine.environ.items()) if names.match(name)]


def _platform(machine: Machine) -> tuple[list[str], list[str]]:
    """Return the condition of each part of the platform, and the passwords to redact."""
    handles, passwords = machine.handles, []
    if handles is None or not handles.instance.cluster:
        return [str(machine.trouble or "none")], []
    conditions = look(plan.up(handles.settings), handles)
    with suppress(SetupError):
        passwords = [value for name in (ROOT_SECRET, USER_SECRET) for value in (handles.credentials.secret(name) or {}).values()]
    return [f"{title}: {why or 'in place'}" for title, why in conditions.items()], passwords


def _runs(machine: Machine) -> list[str]:
    """Return the records of the newest runs of either engine."""
    handles, settings = machine.handles, machine.settings
    records = []
    try:
        records += History(open_store(settings, _with_dotenv(machine)), settings).newest(limit=RUNS)
        if handles is not None and handles.instance.complete:
            records += handles.history.newest(limit=RUNS)
    except SetupError as error:
        return [*map(_record, records), f"{error.code}  {error.problem}"]
    return [*map(_record, records)] or ["none"]


def _record(record: Record) -> str:
    return json.dumps(asdict(record), indent=1)


def _with_dotenv(machine: Machine) -> Mapping[str, Any]:
    return machine.handles.environ if machine.handles else machine.environ


def _logs(folder: Path) -> Iterator[str]:
    """Yield the ends of the newest logs."""
    files = [file for file in folder.glob("**/*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[:LOGS]:
        with suppress(OSError), file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - LINES * 400))
            lines = log.read().decode("utf-8", "replace").splitlines()[-LINES:]
            yield "\n".join([f"### {file.relative_to(folder)}", *lines, ""])
