"""``requirements.lock`` anew, on purpose: what changes, tried before it is kept."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.files import write_whole
from cluster.project.reader import Project
from cluster.project.repair import helped
from cluster.project.venvs import Environments
from cluster.ui.command_line import command
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.project.model import Connector
    from cluster.session import Session

PINNED = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?(?:==([^\s;\\]+)| @ (\S+))", re.MULTILINE)
ALL = "all"
SECONDS = 60
COMMIT = 12
"""How many letters of a commit are printed."""


def renew(session: Session, names: Sequence[str], *, plan: bool) -> None:
    """Resolve the requirements of connectors again, and show the changes; ``all`` names every one.

    A lock is kept if its packages can be installed, and if the program still starts.

    :raises SetupError: E-UNKNOWN; E-INSTALL and as ``Environments.ensure``: the lock is as before.
    """
    project = Project.of(session.settings)
    environments = Environments(session.settings)
    connectors = [project.connector(name) for name in (project.connector_names if list(names) == [ALL] else names)]
    changed = [connector for connector in connectors if _renew(session, environments, connector, plan=plan)]
    if plan and changed:
        session.output.text(f"Next: {command('lock', ','.join(connector.name for connector in changed))}")
    elif changed:
        session.output.text(f"Next: {command('check', changed[0].name)}, then commit {count(len(changed), 'lock')}")


def _renew(session: Session, environments: Environments, connector: Connector, *, plan: bool) -> bool:
    """Renew one lock and return whether it changed."""
    output = session.output
    environments.ensure_lock(connector)
    before = connector.lock.read_text(encoding="utf-8")
    started = plan or _starts(session, environments, connector)
    kept = False
    try:
        with output.step(connector.name) as step:
            step.detail = "resolving"
            step.timed = True
            environments.obtain([connector], output)
            environments.lock(connector)
            after = connector.lock.read_text(encoding="utf-8")
            rows = differences(before, after)
            step.result(f"{count(len(rows), 'package')} changed" if rows else "up to date")
        for name, old, new in rows:
            output.line(" ", f"  {name}", f"{old} → {new}")
            output.event("package", connector=connector.name, package=name, before=old, after=new)
        if not plan and rows:
            if started and not _starts(session, environments, connector):
                raise SetupError(
                    "E-INSTALL",
                    f"{connector.executable} does not start with the newer packages; the lock is as before.",
                    hint=f"Name the versions that it needs in singer-configs/{connector.name}/connector.yaml, at pip_url.",
                )
            kept = True
    finally:
        if not kept:
            with write_whole(connector.lock, before):
                pass
    return bool(rows)


def differences(before: str, after: str) -> list[tuple[str, str, str]]:
    """Return the packages whose versions differ between two locks: name, old and new version.

    A package that is absent has the version ``none``; that from git has the first letters of its
    commit.
    """
    old, new = _versions(before), _versions(after)
    return [(name, old.get(name, "none"), new.get(name, "none")) for name in sorted({*old, *new}) if old.get(name) != new.get(name)]


def _versions(lock: str) -> dict[str, str]:
    """Return the versions in a lock; with markers a package may have several."""
    versions: dict[str, list[str]] = {}
    for name, version, address in PINNED.findall(lock):
        commit = re.search(r"@([0-9a-f]{40})\b", address)
        versions.setdefault(name.lower(), []).append(version or (commit[1][:COMMIT] if commit else address))
    return {name: ", ".join(several) for name, several in versions.items()}


def _starts(session: Session, environments: Environments, connector: Connector) -> bool:
    """Return whether the program of a connector prints its help, with the packages of its lock."""
    [environment] = environments.ensure([connector], session.output)
    result = helped(environment.folder, environment.executable, SECONDS)
    return result is not None and result.returncode == 0
