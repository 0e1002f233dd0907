"""A connector in the making: what its package installs, what that is and knows, and what its config is to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.strict import listed
from cluster.errors import SetupError
from cluster.host.subprocesses import last_line
from cluster.onboarding import definition, options, package, prompts
from cluster.onboarding.probe import ABOUT_SECONDS, Probe
from cluster.project.dotenv import read_dotenv
from cluster.project.model import CAPABILITIES
from cluster.project.reader import Project
from cluster.project.venvs import Environments, programs
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cluster.onboarding.definition import Definition
    from cluster.onboarding.options import Option
    from cluster.project.model import Connector
    from cluster.session import Session

KINDS = ("tap", "target")
ABILITIES = {"--catalog": "catalog", "--properties": "properties", "--discover": "discover", "--state": "state"}
"""What stands in a program's help, and what we call it."""


@dataclass
class ConnectorRequest:
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
    variant: str = ""
    """A variant in Meltano Hub, or ``NAME--VARIANT`` if the connector gets another name."""
    hub: Definition | None = None
    """What Meltano Hub states about that variant."""
    requirements: list[str] = field(default_factory=list)
    """The words of ``pip_url``, if they are not to be split again."""
    source: str = ""
    """What named the package: ``hub``, ``cache`` or nothing."""
    near: list[str] = field(default_factory=list)
    """Similar names in Meltano Hub, which does not have this one."""
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    """Lines to print before the connector is made."""


class Making:
    """A connector while it is being made."""

    def __init__(self, session: Session, wish: ConnectorRequest, folder: Path, *, ask: bool) -> None:
        """Take what is wanted and the folder in which it is made; *ask* says whether somebody can answer."""
        self.session = session
        self.wish = wish
        self.folder = folder
        self.ask = ask
        self.options: list[Option] = []
        self.program: list[Option] = []
        """What the program itself reports."""
        self.about: dict[str, Any] | None = None
        self.package = package.Package("", "", "", ())
        self.made: Path | None = None
        """The environment, if it is of this command's making."""
        self.keys: dict[str, Any] = {"kind": wish.kind or "tap", "pip_url": wish.requirements or wish.pip_url or wish.name}
        if wish.python:
            self.keys["python"] = wish.python

    def connector(self) -> Connector:
        """Write ``connector.yaml`` as far as it is known and read it, as every command will."""
        project = Project(self.session.settings.root, configs=self.folder.parent)
        file = self.folder / "connector.yaml"
        summary = f"# {' '.join(self.package.summary.split())}\n" if self.package.summary else ""
        summary += f"# {self.wish.hub.page}\n" if self.wish.hub and self.wish.hub.page else ""
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
            if self.wish.near:
                hint = f"Name the connector that you mean, such as {listed(self.wish.near)}, or its package with --pip-url."
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
        stated = wish.hub.executable if wish.hub else ""
        if stated in programs(environment):
            return stated
        names = package.likely(found, wish.hub.name if wish.hub else wish.name)
        if not names:
            raise SetupError(
                "E-EXECUTABLE",
                f"{found.name} installs no program: it is no connector.",
                hint="Name the connector's package with --pip-url.",
            )
        if len(names) == 1:
            return names[0]
        if self.ask:
            answer = prompts.line(f"{found.name} installs {listed(names)}. Which one? ")
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
        if self.wish.hub:
            known, kind = self._stated(self.wish.hub, known, kind)
        self._agree(connector.executable, kind)
        self.keys["kind"] = kind
        found = {
            "capabilities": [item for item in CAPABILITIES if item in known],
            "settings": sorted({self._key(item.name) for item in self.options}),
        }
        self.keys.update({key: words for key, words in found.items() if words})

    def _stated(self, stated: Definition, known: set[str], kind: str) -> tuple[set[str], str]:
        """Add what the Hub states to what the program reports; return its capabilities and its kind."""
        self.program = self.options
        self.options = definition.merged(self.options, stated, complete=self.about is not None)
        if self.about is not None:
            return known, kind
        if not known:  # an old help that lists no options
            return set(stated.capabilities), self.wish.kind
        return known | (stated.capabilities - set(ABILITIES.values())), kind

    def _key(self, name: str) -> str:
        """Return the key of a config that holds a setting: ``s3.bucket`` of the Hub is within ``s3``."""
        return name.partition(".")[0] if self.wish.hub else name

    def _agree(self, program: str, kind: str) -> None:
        """See that the program is what was asked for.

        :raises SetupError: E-CONNECTOR, it is of the other kind.
        """
        wish = self.wish
        named = next((item for item in KINDS if wish.name.startswith(f"{item}-")), kind)
        wanted = wish.kind or named
        if wanted != kind:
            words = f"new {kind}-{wish.name.removeprefix(f'{wanted}-')} --pip-url {quoted(wish.pip_url or wish.name)}"
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
                hint=_remedy(said, self.wish.pip_url or self.wish.name, _again(self.wish)),
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
        with probe.answering("alone", *words) as (end, answer):
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
            write(option, option.read(text))

        def write(option: Option, value: Any) -> None:
            value, hidden = options.hide(option, value, wish.name)
            secrets.update(hidden)
            if wish.hub:
                definition.put(config, option.name, value)
            else:
                config[option.name] = value

        for name, text in wish.given.items():
            take(options.option(self.options, name, complete=self.about is not None), text)
        for option in self._unset(config):
            if option.secret and options.variable(wish.name, option.name) in known:
                write(option, f"${{{options.variable(wish.name, option.name)}}}")
        if self.ask:
            self._choose_group(config)
            prompts.ask(self.session.output, self._unset(config), take)
        for option, value in self._defaults(config):
            write(option, value)
        return config, secrets

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        """Return the settings without which the connector cannot work."""
        names = [option.name for option in self._unset(config) if option.missed]
        return list(dict.fromkeys([*names, *(name for group in self.gaps(config)[:1] for name in group)]))

    def _unset(self, config: Mapping[str, Any]) -> list[Option]:
        """Return the settings that have no value yet."""
        return [option for option in self.options if not definition.holds(config, option.name)]

    def _defaults(self, config: Mapping[str, Any]) -> list[tuple[Option, Any]]:
        """Return what to write for unset settings: variables of required secrets, and values that the Hub sets."""
        values = definition.presets(self.wish.hub, self.program, self.options) if self.wish.hub else {}
        unset = self._unset(config)
        values.update({item.name: f"${{{options.variable(self.wish.name, item.name)}}}" for item in unset if item.secret and item.missed})
        return [(option, values[option.name]) for option in unset if option.name in values]

    def gaps(self, config: Mapping[str, Any]) -> list[list[str]]:
        """Return what each group of settings lacks; nothing if one of them is complete."""
        return definition.lacking(self.wish.hub, self.options, config) if self.wish.hub else []

    def _choose_group(self, config: Mapping[str, Any]) -> None:
        """Ask which group of settings to fill in, if there are several and none is complete."""
        gaps = self.gaps(config)
        if len(gaps) > 1:
            chosen = prompts.group(self.session.output, gaps)
            needed = gaps[chosen] if chosen is not None else []
            self.options = [replace(option, required=True) if option.name in needed else option for option in self.options]
            self.options.sort(key=lambda option: not option.missed)


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists on one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


def _again(wish: ConnectorRequest) -> str:
    """Return the command, to be typed again with something more."""
    if wish.hub:
        return command(f"new {wish.name} --variant {wish.variant or wish.hub.variant}")
    return command(f"new {wish.name}" + (f" --pip-url {quoted(wish.pip_url)}" if wish.pip_url else ""))


def quoted(words: str) -> str:
    """Return words as a shell takes them for one."""
    return f'"{words}"' if re.search(r"[\s<>*?;&|()\[\]]", words) else words


def _remedy(said: str, pip_url: str, again: str) -> str:
    """Say what to do about a program that does not start. The commonest reason is that its dependencies have moved on."""
    module = re.search(r"No module named '(\w+)", said)
    if module and module[1] == "pkg_resources":
        return f'It is older than its dependencies. Try: {again.partition(" --pip-url")[0]} --pip-url "{pip_url} setuptools<81"'
    if module:
        return f'Add what it misses to --pip-url, such as "{pip_url} {module[1]}".'
    return "Try an older Python, such as --python 3.10, or another version with --pip-url."
