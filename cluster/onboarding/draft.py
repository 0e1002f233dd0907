"""A connector in the making: what its package installs, what that is and knows, and what its config is to be."""

from __future__ import annotations

import re
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.strict import listed
from cluster.errors import SetupError
from cluster.host.subprocesses import last_line
from cluster.onboarding import options, package, prompts
from cluster.onboarding.probe import ABOUT_SECONDS, Probe
from cluster.project.dotenv import read_dotenv
from cluster.project.model import CAPABILITIES
from cluster.project.reader import Project
from cluster.project.secrets import secret_names_in
from cluster.project.venvs import Environments
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

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


class Making:
    """A connector while it is being made."""

    def __init__(self, session: Session, wish: ConnectorRequest, folder: Path, *, ask: bool) -> None:
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
            words = f"new {kind}-{wish.name.removeprefix(f'{wanted}-')} --pip-url {quoted(self.keys['pip_url'])}"
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
            config[option.name], found = options.hide(option, option.read(text), wish.name)
            secrets.update(found)

        for option in self.options:
            if option.name in config:
                config[option.name] = options.literal(option, config[option.name], {**known, **wish.secrets})
        for name, text in wish.given.items():
            take(options.option(self.options, name, complete=self.about is not None), text)
        for option in self.options:
            variable = options.variable(wish.name, option.name)
            if option.secret and option.name not in config and variable in known:
                config[option.name] = f"${{{variable}}}"
        if self.ask:
            prompts.ask(self.session.output, [option for option in self.options if option.name not in config], take)
        for option in self.options:
            if option.secret and option.missed:
                config.setdefault(option.name, f"${{{options.variable(wish.name, option.name)}}}")
        used = secret_names_in(config)
        return config, {name: value for name, value in secrets.items() if name in used}

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        """Return the settings without which the connector cannot work."""
        return [option.name for option in self.options if option.missed and option.name not in config]


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists on one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


def _again(wish: ConnectorRequest) -> str:
    """Return the command, to be typed again with something more."""
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
