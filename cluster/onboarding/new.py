"""``new``: from a package, a ``meltano.yml`` or nothing to a connector that is tried out.

Everything is made beside ``singer-configs/`` and moved there as a whole when it is complete: what fails halfway leaves nothing.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.host.locks import only_one
from cluster.onboarding import check, discover, from_hub, meltano, sample_tap
from cluster.onboarding.draft import KINDS, ConnectorRequest, Making, quoted
from cluster.onboarding.hub import HUB
from cluster.onboarding.probe import DISCOVER_SECONDS
from cluster.project import dotenv
from cluster.project.dotenv import read_dotenv
from cluster.project.model import NAME, NAME_ALLOWED
from cluster.project.reader import Project
from cluster.project.secrets import secret_names
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cluster.project.model import Connector
    from cluster.session import Session

TRY = check.Limits(records=1_000, seconds=60, rows=3)
"""How far a new connector is tried."""


def new(session: Session, wish: ConnectorRequest, *, meltano_file: str = "", from_scratch: bool = False, ask: bool) -> None:
    """Make a connector of a package, with its environment, and try it out; or of what a ``meltano.yml`` says, or of nothing.

    :raises SetupError: E-EXISTS, there is one of that name; E-SETTING; as ``Making``. Then nothing has been made.
    """
    project, output = Project(session.settings.root), session.output
    _see_free(project, wish.name)
    if wish.kind not in {"", *KINDS}:
        raise SetupError("E-SETTING", f"--kind is {describe(wish.kind)}; allowed is tap or target.", hint="Give one of these, or none.")
    if meltano_file:
        _take_over(wish, Path(meltano_file))
    elif not wish.pip_url and not from_scratch:
        from_hub.fill_in(session, wish)
    with only_one(session.settings.local / "locks" / "connectors", "Another connector of this checkout is being made."):
        making, config = _make(session, wish, from_scratch=from_scratch, ask=ask and sys.stdin.isatty())
    connector, missing = Project(session.settings.root).connector(wish.name), making.missing(config)
    output.line(
        "✓", project.shown(connector.folder), f"{connector.kind}; {listed(sorted(file.name for file in connector.folder.iterdir()))}"
    )
    if wish.left:
        output.line("!", meltano_file or HUB, f"not taken over: {listed(wish.left)}")
    output.event(
        "connector",
        connector=wish.name,
        kind=connector.kind,
        executable=connector.executable,
        capabilities=list(connector.capabilities),
        settings=sorted(config),
        secrets=secret_names(connector.config),
        missing=missing,
        left=wish.left,
        source=wish.source or None,
        variant=wish.hub.variant if wish.hub else None,
    )
    others = making.gaps(config)[1:]
    if others:
        output.line("!", project.shown(connector.config), f"instead of {listed(missing)}: {'; or '.join(map(listed, others))}")
    _try_out(session, wish, connector, missing)
    if from_scratch:
        words = f'test --options="-k {wish.name}"'
        output.text(f"      {command(words)} for the tap's own test")


def _make(session: Session, wish: ConnectorRequest, *, from_scratch: bool, ask: bool) -> tuple[Making, dict[str, Any]]:
    """Make the connector beside the others and move it there; what fails leaves nothing."""
    output, root = session.output, session.settings.root
    place = root / "singer-configs" / wish.name
    source = sample_tap.write(root, wish.name) if from_scratch else None
    if source is not None:
        wish.pip_url = os.path.relpath(source, root)
    output.text(f"new  {wish.name} · {wish.pip_url or wish.name}")
    output.text()
    for note in wish.notes:
        output.line(*note)
    with _staged(session, wish.name) as folder:
        making = Making(session, wish, folder, ask=ask)
        try:
            making.install()
            config, secrets = making.configure()
            (folder / "config.json").write_text(json.dumps(config, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            making.connector()
            dotenv.keep(root / ".env", secrets)
            with file_errors("The connector", place):
                folder.rename(place)
        except BaseException:
            making.undo()
            if source is not None:
                shutil.rmtree(source, ignore_errors=True)
            raise
    if secrets:
        output.line("✓", ".env", listed(sorted(secrets)))
    return making, config


def _take_over(wish: ConnectorRequest, file: Path) -> None:
    """Fill in what a ``meltano.yml`` says of the connector; what the command says comes first.

    :raises SetupError: as ``meltano.read``; E-CONFIG, it does not say what to install.
    """
    plugin = meltano.read(file, wish.name)
    wish.pip_url = wish.pip_url or plugin.pip_url
    if not wish.pip_url:
        why = listed(item for item in plugin.left if item.startswith("pip_url")) if plugin.left else "nothing"
        raise SetupError(
            "E-CONFIG", f"{file} does not say what to install for {plugin.name}: {why}.", hint="Name its package as well: --pip-url tap-…"
        )
    wish.kind = wish.kind or plugin.kind
    wish.executable = wish.executable or plugin.executable
    wish.python = wish.python or plugin.python
    wish.config, wish.secrets, wish.select, wish.left = plugin.config, plugin.secrets, plugin.options, plugin.left


def _see_free(project: Project, name: str) -> None:
    """See that a connector may have this name.

    :raises SetupError: E-CONFIG, it may not; E-EXISTS, it is taken.
    """
    if not re.fullmatch(NAME, name):
        raise SetupError("E-CONFIG", f"{describe(name)} is not allowed as a connector's name.", hint=f"Name it with {NAME_ALLOWED}.")
    folder = project.configs / name
    if folder.exists():
        raise SetupError(
            "E-EXISTS", f"{project.shown(folder)} is there already.", hint=f"Choose another name, such as {name}-2, or remove that folder."
        )
    if name in project.pipeline_names:
        raise SetupError("E-EXISTS", f"{name} is the name of a pipeline.", hint=f"Choose another name, such as tap-{name}.")


@contextmanager
def _staged(session: Session, name: str) -> Iterator[Path]:
    """Yield a folder of that name in which the connector is made; what is left of it afterwards goes."""
    outer = Path(tempfile.mkdtemp(dir=private_folder(session.settings.local / "making")))
    folder = outer / name
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(outer, ignore_errors=True)


def _try_out(session: Session, wish: ConnectorRequest, connector: Connector, missing: Sequence[str]) -> None:
    """Discover and check what was made, as far as its config reaches, and say what comes next.

    What goes wrong now is said and no more: the connector is made, and can be put right where it is.
    """
    project, output, name = Project(session.settings.root), session.output, connector.name
    config = project.shown(connector.config)
    known = {**read_dotenv(session.settings.root / ".env"), **session.environ}
    unset = [variable for variable in secret_names(connector.config) if variable not in known]
    lacks = {file: names for file, names in ((config, missing), (".env", unset)) if names}
    for file, names in lacks.items():
        output.line("!", file, f"missing: {listed(names)}")
    if lacks:
        output.text()
        what = " and ".join(f"{listed(names)} into {file}" for file, names in lacks.items())
        output.text(f"Next: write {what}; then {command(_then(connector, wish))}")
        return
    try:
        if "discover" in connector.capabilities:
            output.text()
            discover.write(session, name, plan_only=False, stream="", everything=False, seconds=DISCOVER_SECONDS)
            if wish.select:
                output.text()
                _select(session, wish)
        if connector.kind == "tap" or not secret_names(connector.config):
            output.text()
            check.check(session, name, TRY, sure=False)
    except SetupError as error:
        output.text()
        output.line("!", error.code, f"{error.problem} → {error.hint}")
        output.event("warning", source=name, problem=error.problem, hint=error.hint)
        output.text()
        output.text(f"Next: put that right, then {command(f'check {name}')} · {command(f'add {_pipeline(project, connector)}')}")
        return
    output.text()
    output.text(f"Next: {command(f'add {_pipeline(project, connector)}')}")


def _select(session: Session, wish: ConnectorRequest) -> None:
    """Select what a ``meltano.yml`` or the Hub selects.

    The Hub's selection is only a proposal: if it does not fit the streams, it is left out.
    """
    try:
        discover.choose(session, wish.name, False, True, *wish.select.values())  # noqa: FBT003 - as it is typed: --none
    except SetupError as error:
        if not wish.hub:
            raise
        session.output.line("!", HUB, f"its selection does not fit these streams, so all stay selected: {error.problem}")


def _then(connector: Connector, wish: ConnectorRequest) -> str:
    """Return the command that tries a connector out when its config is complete."""
    if wish.select:
        options = " ".join(f"--{name} {quoted(value)}" for name, value in wish.select.items() if value)
        return f"discover {connector.name}, and {command(f'select {connector.name} --none {options}')}"
    return f"{'discover' if 'discover' in connector.capabilities else 'check'} {connector.name}"


def _pipeline(project: Project, connector: Connector) -> str:
    """Return the words that make the first pipeline of a connector, together with one that is there."""
    others = [item for item in map(project.connector, project.connector_names) if item.kind != connector.kind]
    preferred = sorted(others, key=lambda item: item.name not in {"target-csv", "tap-exchange-rates"})
    other = preferred[0].name if preferred else f"{'target' if connector.kind == 'tap' else 'tap'}-csv"
    tap, target = (connector.name, other) if connector.kind == "tap" else (other, connector.name)
    name = f"{tap.removeprefix('tap-')}-to-{target.removeprefix('target-')}"[:45].rstrip("-")
    free = next(item for item in (name, *(f"{name}-{number}" for number in range(2, 1000))) if item not in project.pipeline_names)
    return f"{free} --tap {tap} --target {target}"


def read_given(words: Sequence[str]) -> dict[str, str]:
    """Read ``key=value`` settings.

    :raises SetupError: E-SETTING, one is something else, or a key stands twice.
    """
    given: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip() or key.strip() in given:
            what = "stands twice" if equals and key.strip() else "is not key=value"
            raise SetupError(
                "E-SETTING", f"--set {key.strip() or word} {what}.", hint="Give each setting once: --set start_date=2024-01-01"
            )
        given[key.strip()] = value
    return given
