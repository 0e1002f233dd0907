"""``new``: from a package to a connector that is tried out.

Everything is made beside ``singer-configs/`` and moved there as a whole when it is complete: what fails halfway leaves nothing.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from cluster.connectors import CAPABILITIES, NAME, NAME_ALLOWED, Project, read_dotenv, secret_names
from cluster.environments import Environments
from cluster.errors import SetupError
from cluster.fields import describe, listed
from cluster.files import file_errors, only_one, private_folder
from cluster.programs import last_line
from cluster.progress import command
from cluster.workshop import checking, dotenv, meltano, options, package, scratch, streams
from cluster.workshop.probe import ABOUT_SECONDS, DISCOVER_SECONDS, Probe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.connectors import Connector
    from cluster.session import Session
    from cluster.workshop.options import Option

KINDS = ("tap", "target")
ABILITIES = {"--catalog": "catalog", "--properties": "properties", "--discover": "discover", "--state": "state"}
"""What stands in a program's help, and what we call it."""

TRY = checking.Limits(records=1_000, seconds=60, rows=3)
"""How far a new connector is tried."""


@dataclass
class Wish:
    """What somebody wants a connector to be. What is empty is found out."""

    name: str
    pip_url: str = ""
    kind: str = ""
    executable: str = ""
    python: str = ""
    given: dict[str, str] = field(default_factory=dict)
    """Settings as they were typed."""
    config: dict[str, Any] = field(default_factory=dict)
    """Settings as they are to stand in the config."""
    secrets: dict[str, str] = field(default_factory=dict)
    """Variables of that config, with their values."""
    select: dict[str, str] = field(default_factory=dict)
    """Options of ``select``, all of them, with their values; none where everything is loaded."""
    left: list[str] = field(default_factory=list)
    """What a ``meltano.yml`` has that we have not."""


class Making:
    """A connector while it is being made."""

    def __init__(self, session: Session, wish: Wish, folder: Path, *, ask: bool) -> None:
        """Take what is wanted and the folder in which it is made; *ask* says whether somebody can answer."""
        self.session = session
        self.wish = wish
        self.folder = folder
        self.ask = ask
        self.options: list[Option] = []
        self.about: dict[str, Any] | None = None
        self.package = package.Package("", "", "", ())
        self.made: Path | None = None
        """The environment, if it is of this command's making."""
        self.keys: dict[str, Any] = {"kind": wish.kind or "tap", "pip_url": wish.pip_url or wish.name}
        if wish.python:
            self.keys["python"] = wish.python

    def connector(self) -> Connector:
        """Write ``connector.yaml`` as far as it is known and read it, as every command will."""
        project = Project(self.session.settings.root, configs=self.folder.parent)
        file = self.folder / "connector.yaml"
        summary = f"# {' '.join(self.package.summary.split())}\n" if self.package.summary else ""
        file.write_text(summary + yaml.dump(self.keys, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
        try:
            return project.connector(self.wish.name)
        except SetupError as error:
            problem = error.problem.replace(f"{project.shown(self.folder)}/", "")
            raise SetupError(error.code, problem, hint="Correct the command.") from None

    def install(self) -> None:
        """Make its environment, and find its program in it.

        :raises SetupError: as ``Environments.ensure``; E-EXECUTABLE, it has none, or several and none was named.
        """
        connector = self.connector()
        environments = Environments(self.session.settings)
        try:
            environment, made = environments.install(connector, self.session.output)
        except SetupError as error:
            if error.code not in {"E-INSTALL", "E-PYTHON"}:
                raise
            log = re.search(r"Log: .*", error.hint)
            hint = f"Name another with {'--python' if error.code == 'E-PYTHON' else '--pip-url'}. {log[0] if log else ''}".rstrip()
            raise SetupError(error.code, error.problem, hint=hint) from None
        self.made = environment if made else None
        self.package = package.installed(environment, connector)
        self.keys["executable"] = self._executable(environment)
        self._understand(self.connector())
        if self.keys["executable"] == self.wish.name:
            del self.keys["executable"]

    def undo(self) -> None:
        """Remove what has been made outside of the folder."""
        if self.made is not None:
            shutil.rmtree(self.made, ignore_errors=True)

    def _executable(self, environment: Path) -> str:
        found, wish = self.package, self.wish
        if wish.executable:
            return package.program(found, environment, wish.executable)
        names = package.likely(found, wish.name)
        if not names:
            raise SetupError(
                "E-EXECUTABLE",
                f"{found.name} installs no program: it is no connector.",
                hint="Name the connector's package with --pip-url.",
            )
        if len(names) == 1:
            return names[0]
        if self.ask:
            answer = input(f"{found.name} installs {listed(names)}. Which one? ").strip()
            return package.program(found, environment, answer)
        raise SetupError(
            "E-EXECUTABLE",
            f"{found.name} installs {len(names)} programs: {listed(names)}.",
            hint=f"Name one: {_again(wish)} --executable {names[0]}",
        )

    def _understand(self, connector: Connector) -> None:
        """Find out what the program is, what it knows and what its config may hold.

        :raises SetupError: E-CONNECTOR, it is no Singer connector, of the other kind, or does not start.
        """
        probe = Probe(self.session, connector)
        about = probe.about()
        if about and isinstance(about.get("capabilities"), list):
            self.about = about
            known = {str(item) for item in about["capabilities"]} | {"about"}
            kind = "tap" if known & {"catalog", "discover"} else "target"
            self.options = options.from_about(about)
        else:
            text = self._help(probe)
            known = {ability for flag, ability in ABILITIES.items() if flag in text}
            kind = "tap" if known else "target"
            samples = options.from_readme(self.package.readme)
            self.options = options.needed(samples, self._refusal(probe))
        self._agree(connector.executable, kind)
        self.keys["kind"] = kind
        found = {"capabilities": [item for item in CAPABILITIES if item in known], "settings": sorted(item.name for item in self.options)}
        self.keys.update({key: words for key, words in found.items() if words})

    def _agree(self, program: str, kind: str) -> None:
        """See that the program is what was asked for.

        :raises SetupError: E-CONNECTOR, it is of the other kind.
        """
        wish = self.wish
        named = next((item for item in KINDS if wish.name.startswith(f"{item}-")), kind)
        wanted = wish.kind or named
        if wanted != kind:
            words = f"new {kind}-{wish.name.removeprefix(f'{wanted}-')} --pip-url {_quoted(self.keys['pip_url'])}"
            hint = f"Make it as one: {command(words)}"
            raise SetupError("E-CONNECTOR", f"{program} is a {kind}, not a {wanted}.", hint=hint)

    def _help(self, probe: Probe) -> str:
        """Return the help of a program that does not describe itself.

        :raises SetupError: E-CONNECTOR, it does not start, or knows no ``--config``.
        """
        code, said = self._says(probe, "--help")
        if "--config" in said:
            return said
        program = probe.connector.executable
        if code:
            raise SetupError(
                "E-CONNECTOR",
                f"{program} does not start: {last_line(said)}",
                hint=_remedy(said, str(self.keys["pip_url"]), _again(self.wish)),
            )
        raise SetupError(
            "E-CONNECTOR",
            f"{program} is no Singer connector: its help knows no --config.",
            hint="Name the connector's package with --pip-url, or its program with --executable.",
        )

    def _refusal(self, probe: Probe) -> str:
        """Return what a program of the older kind says to an empty config: which keys it needs."""
        config = self.folder / "config.json"
        config.write_text("{}", encoding="utf-8")
        try:
            return self._says(probe, "--discover")[1]
        finally:
            config.unlink()

    def _says(self, probe: Probe, *words: str) -> tuple[int | None, str]:
        """Run the program and return its exit code, None where it does not end, and all that it prints."""
        with tempfile.TemporaryFile() as answer, probe.running("alone", *words, stdout=answer) as end:
            code = None
            with suppress(subprocess.TimeoutExpired):
                code = end.process.wait(ABOUT_SECONDS)
            answer.seek(0)
            return code, (answer.read() + end.log.read_bytes()).decode("utf-8", "replace")

    # -- the config

    def configure(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the config, and the secrets that it names by their variables.

        :raises SetupError: E-SETTING, a setting is not known or has a value that is not allowed.
        """
        wish = self.wish
        config: dict[str, Any] = dict(wish.config)
        secrets: dict[str, str] = dict(wish.secrets)
        known = {**read_dotenv(self.session.settings.root / ".env"), **self.session.environ}

        def take(option: Option, text: str) -> None:
            config[option.name], found = options.hide(option, option.read(text), wish.name)
            secrets.update(found)

        for name, text in wish.given.items():
            take(options.option(self.options, name, complete=self.about is not None), text)
        for option in self.options:
            variable = options.variable(wish.name, option.name)
            if option.secret and option.name not in config and variable in known:
                config[option.name] = f"${{{variable}}}"
        if self.ask:
            self._ask(config, take)
        for option in self.options:
            if option.secret and option.missed:
                config.setdefault(option.name, f"${{{options.variable(wish.name, option.name)}}}")
        return config, secrets

    def _ask(self, config: Mapping[str, Any], take: Any) -> None:
        """Ask for what is needed, for secrets and for where to begin; for the rest only those who want to be asked."""
        open_ = [option for option in self.options if option.name not in config]
        first = [option for option in open_ if option.missed or option.secret or option.name == "start_date" or option.example is not None]
        rest = [option for option in open_ if option not in first]
        if first:
            self.session.output.text("\nIts settings. An empty answer leaves one out.")
        for option in first:
            self._ask_for(option, take)
        if rest and input(f"\n{len(rest)} more: {listed(option.name for option in rest)}. Set some of them? [y/N] ").strip().lower() in {
            "y",
            "yes",
        }:
            for option in rest:
                self._ask_for(option, take)

    def _ask_for(self, option: Option, take: Any) -> None:
        output = self.session.output
        kinds = listed(map(str, option.schema.get("enum") or sorted(option.kinds)))
        facts = ["needed"] if option.missed else []
        facts += [kinds] if kinds != "none" else []
        facts += [f"default {describe(option.default)}"] if option.default is not None else []
        facts += [f"for example {describe(option.example)}"] if option.example is not None and not option.secret else []
        output.text(f"\n{option.name}  {' · '.join(facts)}\n  {option.description}".rstrip())
        while True:
            text = (getpass.getpass("  (not shown) > ") if option.secret else input("  > ")).strip()
            if not text:
                return
            try:
                take(option, text)
            except SetupError as error:
                output.text(f"  {error.problem} {error.hint}")
            else:
                return

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        """Return the settings without which the connector cannot work."""
        return [option.name for option in self.options if option.missed and option.name not in config]


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists on one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


def _again(wish: Wish) -> str:
    """Return the command, to be typed again with something more."""
    return command(f"new {wish.name}" + (f" --pip-url {_quoted(wish.pip_url)}" if wish.pip_url else ""))


def _quoted(words: str) -> str:
    return f'"{words}"' if re.search(r"[\s<>*?;&|()\[\]]", words) else words


def _remedy(said: str, pip_url: str, again: str) -> str:
    """Say what to do about a program that does not start. The commonest reason is that its dependencies have moved on."""
    module = re.search(r"No module named '(\w+)", said)
    if module and module[1] == "pkg_resources":
        return f'It is older than its dependencies. Try: {again.partition(" --pip-url")[0]} --pip-url "{pip_url} setuptools<81"'
    if module:
        return f'Add what it misses to --pip-url, such as "{pip_url} {module[1]}".'
    return "Try an older Python, such as --python 3.10, or another version with --pip-url."


# ------------------------------------------------------------------------------------------------------ the command


def new(session: Session, wish: Wish, *, meltano_file: str = "", from_scratch: bool = False, ask: bool) -> None:
    """Make a connector of a package, with its environment, and try it out; or of what a ``meltano.yml`` says, or of nothing.

    :raises SetupError: E-EXISTS, there is one of that name; E-SETTING; as ``Making``. Then nothing has been made.
    """
    project, output = Project(session.settings.root), session.output
    see_free(project, wish.name)
    if wish.kind not in {"", *KINDS}:
        raise SetupError("E-SETTING", f"--kind is {describe(wish.kind)}; allowed is tap or target.", hint="Give one of these, or none.")
    if meltano_file:
        take_over(wish, Path(meltano_file))
    with only_one(session.settings.local / "locks" / "connectors", "Another connector of this checkout is being made."):
        making, config = _make(session, wish, from_scratch=from_scratch, ask=ask and sys.stdin.isatty())
    connector, missing = Project(session.settings.root).connector(wish.name), making.missing(config)
    output.line(
        "✓", project.shown(connector.folder), f"{connector.kind}; {listed(sorted(file.name for file in connector.folder.iterdir()))}"
    )
    if wish.left:
        output.line("!", meltano_file, f"not taken over: {listed(wish.left)}")
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
    )
    _try_out(session, wish, connector, missing)
    if from_scratch:
        words = f'test --options="-k {wish.name}"'
        output.text(f"      {command(words)} for the tap's own test")


def _make(session: Session, wish: Wish, *, from_scratch: bool, ask: bool) -> tuple[Making, dict[str, Any]]:
    """Make the connector beside the others and move it there; what fails leaves nothing."""
    output, root = session.output, session.settings.root
    place = root / "singer-configs" / wish.name
    source = scratch.write(root, wish.name) if from_scratch else None
    if source is not None:
        wish.pip_url = os.path.relpath(source, root)
    output.text(f"new  {wish.name} · {wish.pip_url or wish.name}")
    output.text()
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


def take_over(wish: Wish, file: Path) -> None:
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


def see_free(project: Project, name: str) -> None:
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


def _try_out(session: Session, wish: Wish, connector: Connector, missing: Sequence[str]) -> None:
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
            streams.write(session, name, plan_only=False, stream="", everything=False, seconds=DISCOVER_SECONDS)
            if wish.select:
                output.text()
                streams.choose(session, name, False, True, *wish.select.values())  # noqa: FBT003 - as it is typed: --none
        if connector.kind == "tap" or not secret_names(connector.config):
            output.text()
            checking.check(session, name, TRY, sure=False)
    except SetupError as error:
        output.text()
        output.line("!", error.code, f"{error.problem} → {error.hint}")
        output.event("warning", source=name, problem=error.problem, hint=error.hint)
        output.text()
        output.text(f"Next: put that right, then {command(f'check {name}')} · {command(f'add {_pipeline(project, connector)}')}")
        return
    output.text()
    output.text(f"Next: {command(f'add {_pipeline(project, connector)}')}")


def _then(connector: Connector, wish: Wish) -> str:
    """Return the command that tries a connector out when its config is complete."""
    if wish.select:
        options = " ".join(f"--{name} {_quoted(value)}" for name, value in wish.select.items() if value)
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
