"""``new``: make a connector from a package, a ``meltano.yml`` or a scaffold, and try it out.

The connector is made in a temporary folder and moved to ``singer-configs/`` when it is complete. A
failure before that leaves nothing; a failure of the trial afterwards is a warning.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, read_object
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_whole
from cluster.host.locks import only_one
from cluster.onboarding import check, discover, env_example, from_hub, meltano, sample_tap
from cluster.onboarding.draft import KINDS, ConnectorDraft, ConnectorRequest
from cluster.onboarding.hub import HUB
from cluster.onboarding.probe import DISCOVER_SECONDS
from cluster.onboarding.selection import Choice
from cluster.project import dotenv
from cluster.project.dotenv import read_dotenv
from cluster.project.files import from_checkout, warn_of_paths
from cluster.project.model import NAME, NAME_ALLOWED
from cluster.project.reader import Project
from cluster.project.requirements import with_space
from cluster.project.secrets import is_secret_key, secret_names
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.project.model import Connector
    from cluster.session import Session

TRIAL = check.Limits(records=1_000, seconds=60, rows=3)
"""The limits of the check that ends ``new``."""


def new(session: Session, request: ConnectorRequest, *, meltano_file: str = "", from_scratch: bool = False, ask: bool) -> None:
    """Make a connector, with its venv, and try it out.

    One that exists gets the settings of ``--set``, and is asked for those that it lacks.

    :raises SetupError: E-EXISTS; E-SETTING; as ``ConnectorDraft``. Then nothing is left.
    """
    ask = ask and sys.stdin.isatty()
    project = Project(session.settings.root)
    existing = project.connector(request.name) if request.name in project.connector_names else None
    if existing and existing.kind in KINDS and not (meltano_file or from_scratch or request.pip_url or request.kind or request.variant):
        _complete(session, existing, request.typed, ask=ask)
        return
    _check_name(project, request.name, request.variant)
    if request.kind not in {"", *KINDS}:
        raise SetupError(
            "E-SETTING", f"--kind is {describe(request.kind)}; allowed is {listed(KINDS)}.", hint="Pass one of these, or none."
        )
    if request.variant and (request.pip_url or meltano_file or from_scratch):
        problem = "--variant is for Meltano Hub, not for --pip-url, --from-meltano or --from-scratch."
        raise SetupError("E-SETTING", problem, hint="Pass only one of these options.")
    if meltano_file:
        _take_over(request, Path(meltano_file), project.root)
    elif not request.pip_url and not from_scratch:
        from_hub.fill_in(session, request)
    elif with_space(project.root, request.pip_url):
        request.requirements = [request.pip_url if "/" in request.pip_url else f"./{request.pip_url}"]
    with only_one(session.settings.local / "locks" / "connectors", "Another connector of this checkout is being made."):
        draft, config = _make(session, request, from_scratch=from_scratch, ask=ask)
    connector = Project(session.settings.root).connector(request.name)
    if request.left:
        session.output.line("!", meltano_file or HUB, f"not taken over: {listed(request.left)}")
    missing = draft.missing(config)
    env_example.update(session.settings.root, session.output)
    _report(session, connector, config, missing, request)
    others = draft.gaps(config)[1:]
    if others and not ask:
        instead = "; or ".join(listed(names) for names in others)
        session.output.line("!", Project(session.settings.root).shown(connector.config), f"instead of {listed(missing)}: {instead}")
    _try_out(session, connector, missing, request.choice)
    if from_scratch:
        session.output.text(f"      {command('test', '--connector', request.name)} for the tap's own test")


def _report(session: Session, connector: Connector, config: Mapping[str, Any], missing: Sequence[str], request: ConnectorRequest) -> None:
    """Report the connector that was made or completed."""
    project = Project(session.settings.root)
    files = listed(sorted(file.name for file in connector.folder.iterdir()))
    session.output.line("✓", project.shown(connector.folder), f"{connector.kind}; {files}")
    if connector.files:
        session.output.line("✓", "files", f"{listed(sorted(connector.files))}: each run has a copy")
    session.output.event(
        "connector",
        connector=connector.name,
        kind=connector.kind,
        executable=connector.executable,
        capabilities=list(connector.capabilities),
        settings=sorted(config),
        secrets=secret_names(connector.config),
        missing=list(missing),
        left=list(request.left),
        source=request.source or None,
        variant=request.hub.variant if request.hub else None,
    )
    warn_of_paths(session.output, project, [(connector, connector.config)])


def _make(session: Session, request: ConnectorRequest, *, from_scratch: bool, ask: bool) -> tuple[ConnectorDraft, dict[str, Any]]:
    """Make the connector, and return its draft and config. A failure leaves nothing."""
    output, root = session.output, session.settings.root
    destination = root / "singer-configs" / request.name
    scaffold = sample_tap.write(root, request.name) if from_scratch else None
    if scaffold is not None:
        request.pip_url = os.path.relpath(scaffold, root)
    output.text(f"new  {request.name} · {request.pip_url or request.name}")
    output.text()
    for note in request.notes:
        output.line(*note)
    with _staging_folder(session, request.name) as folder:
        draft = ConnectorDraft(session, request, folder, ask=ask)
        try:
            draft.install()
            own = destination / "config.json"
            config, secrets = draft.configure(_read_config(Project(root), own) if own.exists() else None)
            draft.take_along(config)
            (folder / "config.json").write_text(_as_json(config), encoding="utf-8")
            draft.connector()
            dotenv.keep(root / ".env", secrets)
            with file_errors("The connector", destination):
                _move(folder, destination)
        except BaseException:
            draft.undo()
            draft.environments.forget(request.name)
            if scaffold is not None:
                shutil.rmtree(scaffold, ignore_errors=True)
            raise
    if secrets:
        output.line("✓", ".env", listed(sorted(secrets)))
    return draft, config


def _complete(session: Session, connector: Connector, settings: Mapping[str, str], *, ask: bool) -> None:
    """Set settings of a connector that exists, ask for those without a value, and try it out.

    :raises SetupError: E-SETTING, an unknown setting, or a value that is not allowed; E-SECRET;
        E-CONFIG, it lacks settings, and nobody can be asked; E-EXISTS, it lacks none. Then no file
        has changed.
    """
    root, name = session.settings.root, connector.name
    project = Project(root)
    session.output.text(f"new  {name} · settings of the connector in {project.shown(connector.folder)}")
    session.output.text()
    config = _read_config(project, connector.config)
    with _staging_folder(session, name) as folder:
        for file in (connector.folder / "connector.yaml", connector.lock):
            if file.exists():
                shutil.copy2(file, folder)
        request = ConnectorRequest(name, kind=connector.kind, typed=dict(settings), hub=from_hub.of(session, connector))
        draft = ConnectorDraft(session, request, folder, ask=ask)
        draft.study(Project(root, configs=folder.parent).connector(name))
        if not settings and not ask:
            raise _nothing_set(project, connector, draft.missing(config))
        config, secrets = draft.configure(config)
    dotenv.keep(root / ".env", secrets)
    with write_whole(connector.config, _as_json(config)):
        pass
    if secrets:
        session.output.line("✓", ".env", listed(sorted(secrets)))
    missing = draft.missing(config)
    env_example.update(session.settings.root, session.output)
    _report(session, connector, config, missing, ConnectorRequest(name))
    _try_out(session, connector, missing, Choice())


def _nothing_set(project: Project, connector: Connector, missing: Sequence[str]) -> SetupError:
    """Return the error of ``new`` for a connector that exists, without settings."""
    if missing:
        return check.lacking(project, connector, missing)
    hint = f"Set its settings: {command('new', connector.name, '--set', 'key=value')}; or choose another name."
    return SetupError("E-EXISTS", f"{project.shown(connector.folder)} is there already, and lacks no setting.", hint=hint)


def _move(folder: Path, destination: Path) -> None:
    """Move a finished connector to its place, into a folder with a config if there is one."""
    if not destination.exists():
        folder.rename(destination)
        return
    for file in sorted(folder.iterdir(), key=lambda file: file.name == "connector.yaml"):
        file.replace(destination / file.name)


def _read_config(project: Project, file: Path) -> dict[str, Any]:
    return read_object(file, project.shown(file)) if file.exists() else {}


def _as_json(config: Mapping[str, Any]) -> str:
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _take_over(request: ConnectorRequest, file: Path, root: Path) -> None:
    """Fill in a request from a ``meltano.yml``. Options of the command line override it.

    Files of the checkout that a tap reads are named by their paths in it.

    :raises SetupError: as ``meltano.read``; E-CONFIG, it names no package.
    """
    plugin = meltano.read(file, request.name)
    request.pip_url = request.pip_url or plugin.pip_url
    if not request.pip_url:
        reason = listed(item for item in plugin.left if item.startswith("pip_url")) if plugin.left else "nothing"
        raise SetupError(
            "E-CONFIG", f"{file} names no package for {plugin.name}: {reason}.", hint="Name its package as well: --pip-url tap-…"
        )
    request.kind = request.kind or plugin.kind
    request.executable = request.executable or plugin.executable
    request.python = request.python or plugin.python
    request.config, request.secrets, request.choice, request.left = plugin.config, plugin.secrets, plugin.choice, plugin.left
    if request.kind == "tap":
        request.config = from_checkout(request.config, root)


def _check_name(project: Project, name: str, variant: str) -> None:
    """Check that a new connector may have this name. The *variant* is for the hint.

    :raises SetupError: E-CONFIG, it is not allowed; E-EXISTS, it is taken.
    """
    if not re.fullmatch(NAME, name):
        raise SetupError("E-CONFIG", f"{describe(name)} is not allowed as a connector's name.", hint=f"Use {NAME_ALLOWED}.")
    if name in project.connector_names:
        hint = f"Choose another name, such as {name}-2; or set its settings: {command('new', name, '--set', 'key=value')}"
        if variant:
            full = variant if "--" in variant else f"{name}--{variant}"
            hint = f"Give it another name: {command('new', f'{name}-2', '--variant', full)}"
        raise SetupError("E-EXISTS", f"{project.shown(project.configs / name)} is there already.", hint=hint)
    if name in project.pipeline_names:
        raise SetupError("E-EXISTS", f"{name} is the name of a pipeline.", hint=f"Choose another name, such as tap-{name}.")


@contextmanager
def _staging_folder(session: Session, name: str) -> Iterator[Path]:
    """Yield a folder of that name for making the connector, and remove its rest."""
    outer = Path(tempfile.mkdtemp(dir=private_folder(session.settings.local / "making")))
    folder = outer / name
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(outer, ignore_errors=True)


# --------------------------------------------------------------------------------------------------------- the trial


def _try_out(session: Session, connector: Connector, missing: Sequence[str], choice: Choice) -> None:
    """Discover and check the connector, if its config is complete, and print the next command.

    An error is a warning here: the connector exists, and can be corrected.
    """
    output, name = session.output, connector.name
    if _show_missing(session, connector, missing, choice):
        return
    try:
        _discover_and_check(session, connector, choice)
    except SetupError as error:
        output.text()
        output.line("!", error.code, f"{error.problem} → {error.hint}")
        output.event("warning", source=name, problem=error.problem, hint=error.hint)
        following = f"{command(f'check {name}')} · {command(_following(session, connector))}"
        output.text()
        output.text(f"Next: put that right, then {following}")
        return
    output.text()
    output.text(f"Next: {command(_following(session, connector))}")


def _show_missing(session: Session, connector: Connector, missing: Sequence[str], choice: Choice) -> bool:
    """Print missing settings and variables, and the next command. Return whether any are."""
    output = session.output
    variables = {**read_dotenv(session.settings.root / ".env"), **session.environ}
    unset = [variable for variable in secret_names(connector.config) if variable not in variables]
    config = Project(session.settings.root).shown(connector.config)
    lacks = {file: names for file, names in ((config, missing), (".env", unset)) if names}
    for file, names in lacks.items():
        output.line("!", file, f"missing: {listed(names)}")
    if lacks:
        by_hand = {file: [name for name in names if file == ".env" or not is_secret_key(name)] for file, names in lacks.items()}
        written = " and ".join(f"{listed(names)} into {file}" for file, names in by_hand.items() if names)
        parts = [f"write {written}"] if written else []
        secret = [f"{name}=…" for name in missing if is_secret_key(name)]
        if secret:  # not into the config: it is in git
            parts.append(f"type {command('new', connector.name, *(word for item in secret for word in ('--set', item)))}")
        output.text()
        ask = f"{command('new', connector.name)} asks for them on a terminal"
        output.text(f"Next: {' and '.join(parts)}, or {ask}; then {command(_trial_command(connector, choice))}")
    return bool(lacks)


def _discover_and_check(session: Session, connector: Connector, choice: Choice) -> None:
    """Run ``discover``, ``select`` and ``check``, as far as the connector has them.

    :raises SetupError: as these commands.
    """
    name = connector.name
    if "discover" in connector.capabilities:
        session.output.text()
        discover.write(session, name, plan_only=False, stream="", everything=False, seconds=DISCOVER_SECONDS)
        if choice != Choice():
            session.output.text()
            discover.choose(session, name, choice)
    if connector.kind != "target" or not secret_names(connector.config):
        session.output.text()
        check.check(session, name, TRIAL, sure=False)


def _trial_command(connector: Connector, choice: Choice) -> str:
    """Return the command that tries the connector out once its config is complete."""
    if choice != Choice():
        return f"discover {connector.name}, and {command(f'select {connector.name} {choice.options()}')}"
    return f"{'discover' if 'discover' in connector.capabilities else 'check'} {connector.name}"


def _following(session: Session, connector: Connector) -> str:
    """Return the next command: it runs a pipeline with the connector, or adds the first one."""
    project = Project(session.settings.root)
    for name in project.pipeline_names:
        with suppress(SetupError):
            if connector.name in {side.name for side in project.pipeline(name).connectors}:
                return f"run {name}"
    return f"add {_pipeline(session, connector)}"


def _pipeline(session: Session, connector: Connector) -> str:
    """Return the arguments of ``add`` for a first pipeline: the connector with one that exists."""
    project = Project(session.settings.root)
    known = sorted(map(project.connector, project.connector_names), key=lambda item: item.name not in {"target-csv", "tap-exchange-rates"})
    tap, target = (next((item.name for item in (connector, *known) if item.kind == kind), f"{kind}-csv") for kind in ("tap", "target"))
    name = f"{tap.removeprefix('tap-')}-to-{target.removeprefix('target-')}"[:45].rstrip("-")
    unused = next(item for item in (name, *(f"{name}-{number}" for number in range(2, 1000))) if item not in project.pipeline_names)
    return f"{unused} --tap {tap}{f' --mapper {connector.name}' * (connector.kind == 'mapper')} --target {target}"


def read_settings(words: Sequence[str]) -> dict[str, str]:
    """Parse the ``key=value`` texts of ``--set``.

    :raises SetupError: E-SETTING, one has another form, or a key appears twice.
    """
    settings: dict[str, str] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not key.strip() or key.strip() in settings:
            what = "stands twice" if equals and key.strip() else "is not key=value"
            raise SetupError(
                "E-SETTING", f"--set {key.strip() or word} {what}.", hint="Pass each setting once: --set start_date=2024-01-01"
            )
        settings[key.strip()] = value
    return settings
