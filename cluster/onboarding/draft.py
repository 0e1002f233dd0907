"""A connector while ``new`` makes it: its package, its program and its config."""

from __future__ import annotations

import os
import re
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.strict import SCHEMA, listed
from cluster.errors import SetupError
from cluster.host.subprocesses import last_line
from cluster.onboarding import definition, options, package, prompts, repairs
from cluster.onboarding.options import Option
from cluster.onboarding.probe import ABOUT_SECONDS, Probe
from cluster.onboarding.remedies import remedy
from cluster.onboarding.repairs import DoesNotStartError
from cluster.onboarding.selection import Choice
from cluster.project.dotenv import read_dotenv
from cluster.project.files import relative_files
from cluster.project.model import CAPABILITIES
from cluster.project.reader import Project
from cluster.project.secrets import secret_names_in
from cluster.project.venvs import Environments, programs
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.onboarding.definition import Definition
    from cluster.onboarding.repairs import Repair
    from cluster.project.model import Connector
    from cluster.session import Session

KINDS = ("tap", "target", "mapper")
MAPPER = re.compile(r"(?!tap|target)(.*[-_])?(map|mapper|mapping|transform|transformer)([-_].*)?", re.IGNORECASE)
"""Names of programs that are mappers: their flags and capabilities are those of a target."""
OBTAINING = frozenset({"E-CERTIFICATE", "E-DISK", "E-DOWNLOAD", "E-NETWORK", "E-PROXY", "E-STORE"})
"""Errors for which a repair is not to blame."""
FLAGS = {"--catalog": "catalog", "--properties": "properties", "--discover": "discover", "--state": "state"}
"""A flag in a program's help, and the capability that it shows."""


@dataclass
class ConnectorRequest:
    """What a command line or a ``meltano.yml`` asks ``new`` to make.

    Empty fields are determined from the package.
    """

    name: str
    pip_url: str = ""
    kind: str = ""
    executable: str = ""
    python: str = ""
    typed: dict[str, str] = field(default_factory=dict)
    """Settings of ``--set``, as they were typed."""
    config: dict[str, Any] = field(default_factory=dict)
    """Settings of ``meltano.yml``, as the config holds them."""
    secrets: dict[str, str] = field(default_factory=dict)
    """The variables of that config, with their values."""
    choice: Choice = field(default_factory=Choice)
    """What to select after discovery; empty for everything."""
    left: list[str] = field(default_factory=list)
    """What of the ``meltano.yml`` or the Hub's definition is not taken over, by name."""
    variant: str = ""
    """A variant in Meltano Hub, or ``NAME--VARIANT`` if the connector gets another name."""
    hub: Definition | None = None
    """What Meltano Hub states about that variant."""
    requirements: list[str] = field(default_factory=list)
    """The words of ``pip_url``, if they must not be split again."""
    source: str = ""
    """The source of the package's name: ``hub``, ``cache`` or another one."""
    others: list[str] = field(default_factory=list)
    """The other variants in Meltano Hub, each as ``--variant`` takes it."""
    near: list[str] = field(default_factory=list)
    """Similar names in Meltano Hub, which does not have this one."""
    notes: list[tuple[str, str, str]] = field(default_factory=list)
    """Lines to print before the connector is made."""


@dataclass(frozen=True)
class Abilities:
    """What a connector's program knows."""

    kind: str
    capabilities: frozenset[str]
    options: Sequence[Option]
    """Those to ask for."""
    described: bool
    """Whether the program describes itself (``--about``): then it has no other options."""
    every_option: Sequence[Option] = ()
    """All options, with those of the SDK, if the program describes itself."""


class ConnectorDraft:
    """A connector while ``new`` makes it."""

    def __init__(self, session: Session, request: ConnectorRequest, folder: Path, *, ask: bool) -> None:
        """Take the request and the folder; *ask* is whether a user can answer questions."""
        self.session = session
        self.request = request
        self.folder = folder
        self.ask = ask
        self.environments = Environments(session.settings)
        self.options: Sequence[Option] = ()
        self.every_option: Sequence[Option] = ()
        self.package = package.Package("", "", "", ())
        self.venv: Path | None = None
        """The connector's venv, if this command made it."""
        self.described = False
        self.preset: dict[str, Any] = {}
        """Values that the Hub sets, by option."""
        self.keys: dict[str, Any] = {"kind": request.kind or "tap", "pip_url": request.requirements or request.pip_url or request.name}
        if request.python:
            self.keys["python"] = request.python

    def connector(self) -> Connector:
        """Write ``connector.yaml`` as far as it is known, and read it as every command does."""
        project = Project(self.session.settings.root, configs=self.folder.parent)
        file = self.folder / "connector.yaml"
        summary = SCHEMA.format("../../", "connector")
        summary += f"# {' '.join(self.package.summary.split())}\n" if self.package.summary else ""
        summary += f"# {self.request.hub.page}\n" if self.request.hub and self.request.hub.page else ""
        file.write_text(summary + yaml.dump(self.keys, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=110), encoding="utf-8")
        try:
            return project.connector(self.request.name)
        except SetupError as error:
            problem = error.problem.replace(f"{project.shown(self.folder)}/", "")
            raise SetupError(error.code, problem, hint="Correct the command.") from None

    def install(self) -> None:
        """Make its venv, and determine its program, kind, capabilities and options.

        A failure with a known remedy is repaired, each at most once. A repair that does not help is
        undone before the next one.

        :raises SetupError: as ``Environments.ensure``; E-EXECUTABLE, it installs no program, or
            several and none was named; E-CONNECTOR.
        """
        tried: set[tuple[str, ...]] = set()
        refused: SetupError | None = None
        error = self._attempt()
        while error is not None:
            repair = next((item for item in self._proposals(error) if item.key not in tried), None)
            if repair is None:
                raise refused or error
            tried.add(repair.key)
            before = dict(self.keys)
            self._apply(repair)
            later = self._attempt()
            if later is not None and later.code in OBTAINING:
                raise later
            if later is not None and _is_no_help(later, error):
                self.keys = before
                self.undo()
                if later.code == "E-PYTHON":
                    refused = later
                else:
                    self.session.output.line("•", self.request.name, f"that does not help: {repair.undone}")
                    self.session.output.event("repair", connector=self.request.name, reason="it does not help", change=repair.undone)
                continue
            error = later
        self._fit_images()

    def _fit_images(self) -> None:
        """Let images use this Python, if they could not install the same packages with theirs.

        Name the Debian packages with the shared libraries that they need.
        """
        venv = self.environments.find(self.connector())
        lacking = package.system_packages(venv.folder) if venv else []
        if lacking:
            self.keys["system_packages"] = lacking
            reason, change = "it uses shared libraries of Debian", f"system_packages has {listed(lacking)} for images"
            self.session.output.line("!", self.request.name, f"{reason}: {change}")
            self.session.output.event("repair", connector=self.request.name, reason=reason, change=change)
        repair = repairs.for_images(venv.folder, self.environments) if venv and "python" not in self.keys else None
        if repair is not None:
            self._apply(repair)
            error = self._attempt()
            if error is not None:
                raise error

    def _attempt(self) -> SetupError | None:
        """Make the venv and try the program. Return the error, if there is one."""
        try:
            self._install()
        except SetupError as error:
            return error
        return None

    def _proposals(self, error: SetupError) -> Iterator[Repair]:
        """Yield repairs of a failure. A Python that the user named is not replaced."""
        for repair in repairs.proposals(error, self.connector(), self.environments, ask=self.ask):
            if not (repair.python and self.request.python):
                yield repair

    def _apply(self, repair: Repair) -> None:
        """Change the keys of ``connector.yaml`` and report it. The failed venv is removed."""
        if repair.python:
            self.keys["python"] = repair.python
        if repair.constraint:
            self.keys["build_constraints"] = [*self.keys.get("build_constraints", []), repair.constraint]
        if repair.exclude_newer:
            self.keys["exclude_newer"] = repair.exclude_newer
        if repair.requirement:
            connector = self.connector()
            self.keys["pip_url"] = [*connector.requirements, *self._folders(connector), repair.requirement]
        self.undo()
        self.session.output.line("!", self.request.name, f"{repair.reason}: {repair.change}")
        self.session.output.event("repair", connector=self.request.name, reason=repair.reason, change=repair.change)

    def _install(self) -> None:
        connector = self.connector()
        try:
            venv, made = self.environments.install(connector, self.session.output, ask=self.ask)
        except SetupError as error:
            if error.code not in {"E-INSTALL", "E-PYTHON"} or "apt-get" in error.hint or "_DOWNLOADS=yes" in error.hint:
                raise
            log = re.search(r"Log: .*", error.hint)
            hint = f"Name another with {'--python' if error.code == 'E-PYTHON' else '--pip-url'}. {log[0] if log else ''}".rstrip()
            if self.request.others and error.code == "E-INSTALL":
                again = command("new", self.request.name, "--variant", self.request.others[0])
                hint = f"Try another variant: {again} {log[0] if log else ''}".rstrip()
            if self.request.near:
                hint = f"Name the connector that you mean, such as {listed(self.request.near)}, or its package with --pip-url."
            raise SetupError(error.code, error.problem, hint=hint) from None
        self.venv = venv if made else None
        self.package = package.installed(venv, connector)
        self.keys["executable"] = self._executable(venv)
        self._determine(self.connector(), venv)
        if self.keys["executable"] == self.request.name:
            del self.keys["executable"]

    def _folders(self, connector: Connector) -> list[str]:
        return [os.path.relpath(folder, self.session.settings.root) for folder in connector.projects]

    def undo(self) -> None:
        """Remove the venv, if this command made it. The caller removes the folder."""
        if self.venv is not None:
            self.environments.remove(self.venv)
            self.venv = None

    def _executable(self, venv: Path) -> str:
        installed, request = self.package, self.request
        if request.executable:
            return package.program(installed, venv, request.executable)
        stated = request.hub.executable if request.hub else ""
        if stated in programs(venv):
            return stated
        names = package.likely(installed, request.hub.name if request.hub else request.name)
        if not names:
            raise SetupError(
                "E-EXECUTABLE",
                f"{installed.name} installs no program: it is no connector.",
                hint="Name the connector's package with --pip-url.",
            )
        if len(names) == 1:
            return names[0]
        if self.ask:
            answer = prompts.line(f"{installed.name} installs {listed(names)}. Which one? ")
            return package.program(installed, venv, answer)
        url = ("--pip-url", request.pip_url) if request.pip_url else ()
        raise SetupError(
            "E-EXECUTABLE",
            f"{installed.name} installs {len(names)} programs: {listed(names)}.",
            hint=f"Name one: {command('new', request.name, *url, '--executable', names[0])}",
        )

    def _determine(self, connector: Connector, venv: Path) -> None:
        """Determine kind, capabilities and options of the program.

        :raises SetupError: E-CONNECTOR, it is no Singer connector, of the other kind, or does not
            start.
        """
        abilities = self._look(connector, venv)
        self._check_kind(connector.executable, abilities.kind)
        self.keys["kind"] = abilities.kind
        capabilities = [item for item in CAPABILITIES if item in abilities.capabilities]
        settings = sorted({option.name.partition(".")[0] if option.nested else option.name for option in self.options})
        lists = {"capabilities": capabilities, "settings": settings, "required": self._required()}
        self.keys.update({key: words for key, words in lists.items() if words})

    def _required(self) -> list[str]:
        """Return the groups of settings of which the connector needs one, each as a text."""
        always = [option.name for option in self.options if option.needed]
        groups = definition.lacking(self.request.hub, self.options, {}) if self.request.hub else []
        return [" ".join(dict.fromkeys([*always, *group])) for group in groups or [always] if group or always]

    def _look(self, connector: Connector, venv: Path) -> Abilities:
        """Return what the program and the Hub tell, and keep the options."""
        abilities = described(Probe(self.session, connector)) or self._from_help(connector, venv)
        if self.request.kind == "mapper" and "discover" not in abilities.capabilities:
            abilities = replace(abilities, kind="mapper")
        if self.request.hub:
            abilities = self._with_hub(self.request.hub, abilities)
        self.options, self.described = abilities.options, abilities.described
        self.every_option = abilities.every_option or abilities.options
        return abilities

    def study(self, connector: Connector) -> None:
        """Learn the options of a connector that exists; a copy of it is in the draft's folder.

        If its program does not start, they are the settings in ``connector.yaml``.
        """
        venv = Probe(self.session, connector).install().folder
        self.package = package.installed(venv, connector)
        try:
            self._look(connector, venv)
        except SetupError as error:
            if error.code != "E-CONNECTOR":
                raise
            self.options = self.every_option = [Option(name) for name in connector.settings]

    def _with_hub(self, stated: Definition, program: Abilities) -> Abilities:
        """Add what the Hub states to what the program shows. ``--about`` shows all options."""
        stated = self.request.hub = definition.with_login(stated, program.options)
        merged = definition.merged(program.options, stated, complete=program.described)
        self.preset = definition.presets(stated, program.options, merged)
        if program.described:
            return replace(program, options=merged)
        if not program.capabilities:  # an old help that lists no flags
            return replace(program, kind=self.request.kind, capabilities=stated.capabilities, options=merged)
        return replace(program, capabilities=program.capabilities | (stated.capabilities - set(FLAGS.values())), options=merged)

    def _check_kind(self, program: str, kind: str) -> None:
        """Check that the program is of the kind that was asked for.

        :raises SetupError: E-CONNECTOR, it is of the other kind.
        """
        request = self.request
        named = next((item for item in KINDS if request.name.startswith(f"{item}-")), kind)
        wanted = request.kind or named
        if wanted != kind:
            words = self.keys["pip_url"]
            url = words if isinstance(words, str) else package.one_text(words)
            right = command("new", f"{kind}-{request.name.removeprefix(f'{wanted}-')}", "--pip-url", url)
            raise SetupError("E-CONNECTOR", f"{program} is a {kind}, not a {wanted}.", hint=f"Make it as one: {right}")

    def _from_help(self, connector: Connector, venv: Path) -> Abilities:
        """Return the abilities of a program without ``--about``, from its help and its README.

        :raises SetupError: E-CONNECTOR, it does not start, or has no ``--config``.
        """
        probe = Probe(self.session, connector)
        code, output = _output(probe, "--help")
        if "--config" not in output and code:
            raise DoesNotStartError(
                f"{connector.executable} does not start: {last_line(output)}",
                hint=remedy(
                    output,
                    self.request.name,
                    package.one_text([*connector.requirements, *self._folders(connector)]),
                    package.versions(venv),
                    self.environments.exists,
                ),
                output=output,
                built=package.built(venv),
            )
        if "--config" not in output:
            raise SetupError(
                "E-CONNECTOR",
                f"{connector.executable} is no Singer connector: its help has no --config.",
                hint="Name the connector's package with --pip-url, or its program with --executable.",
            )
        capabilities = frozenset(capability for flag, capability in FLAGS.items() if flag in output)
        samples = options.from_readme(self.package.readme)
        needed = options.needed(samples, self._refusal(probe))
        kind = kind_of(connector.executable, capabilities)
        return Abilities(kind, capabilities if kind == "tap" else frozenset(), needed, described=False)

    def _refusal(self, probe: Probe) -> str:
        """Return the program's output with an empty config: it names the keys that it needs."""
        config = self.folder / "config.json"
        config.write_text("{}", encoding="utf-8")
        try:
            return _output(probe, "--discover")[1]
        finally:
            config.unlink()

    # -- the config

    def configure(self, config: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], dict[str, str]]:
        """Return the config, and the variables of the secrets in it with their values.

        *config* has the values of a connector that exists; they stay as they are.

        :raises SetupError: E-SETTING, an unknown setting, or a value that is not allowed.
        """
        request = self.request
        variables = {**read_dotenv(self.session.settings.root / ".env"), **self.session.environ, **request.secrets}
        begun = {
            name: options.literal(options.option(self.every_option, name, complete=False), value, variables)
            for name, value in request.config.items()
        }
        filled = ConfigDraft(request.name, self.options, {**begun, **(config or {})}, dict(request.secrets), complete=self.described)
        filled.set(request.typed)
        filled.take_variables(variables)
        if self.ask:
            self.converse(filled)
        if config is None:
            filled.preset(self.preset)
        return filled.finish()

    def converse(self, filled: ConfigDraft) -> None:
        """Ask for the settings that have no value: of several groups for one, then for the rest."""
        gaps = self.gaps(filled.config)
        chosen = prompts.group(self.session.output, gaps) if len(gaps) > 1 else ()
        filled.require(chosen)
        others = {name for group in gaps for name in group} - set(chosen) if chosen else set()
        asked = [option for option in filled.open if option.name not in others]
        later = command("new", self.request.name, "--set", "key=value")
        prompts.ask(self.session.output, asked, filled.take, later=later)

    def take_along(self, config: Mapping[str, Any]) -> None:
        """Write into ``files`` what the config of a tap names by its path in the checkout."""
        files = relative_files(config, self.session.settings.root) if self.keys["kind"] == "tap" else []
        self.keys.update({"files": files} if files else {})

    def missing(self, config: Mapping[str, Any]) -> list[str]:
        """Return the settings that the connector needs and its config lacks."""
        return list(dict.fromkeys([*options.missing(self.options, config), *(name for group in self.gaps(config)[:1] for name in group)]))

    def gaps(self, config: Mapping[str, Any]) -> list[list[str]]:
        """Return what each of the Hub's groups of settings lacks; empty if one is complete."""
        return definition.lacking(self.request.hub, self.options, config) if self.request.hub else []


@dataclass
class ConfigDraft:
    """A connector's config while ``new`` fills it in."""

    connector: str
    options: Sequence[Option]
    config: dict[str, Any]
    secrets: dict[str, str]
    complete: bool
    """Whether the connector has no other options than these."""

    def take(self, option: Option, text: str) -> None:
        """Set an option to what the user typed. A secret becomes a variable.

        :raises SetupError: E-SETTING, the option does not allow it.
        """
        self._write(option, option.read(text))

    def _write(self, option: Option, value: Any) -> None:
        value, secrets = options.hide(option, value, self.connector)
        options.put(self.config, option, value)
        self.secrets.update(secrets)

    def preset(self, values: Mapping[str, Any]) -> None:
        """Set options that have no value yet."""
        for option in self.open:
            if option.name in values:
                self._write(option, values[option.name])

    def set(self, typed: Mapping[str, str]) -> None:
        """Set the options of ``--set``.

        :raises SetupError: E-SETTING, an unknown option, or a value that is not allowed.
        """
        for name, text in typed.items():
            self.take(options.option(self.options, name, complete=self.complete), text)

    def take_variables(self, variables: Mapping[str, str]) -> None:
        """Name the variable of each secret option for which there is one."""
        for option in self.open:
            variable = options.variable(self.connector, option.name)
            if option.secret and variable in variables:
                self._write(option, f"${{{variable}}}")

    @property
    def open(self) -> list[Option]:
        """The options without a value."""
        return [option for option in self.options if not options.holds(self.config, option)]

    def require(self, names: Collection[str]) -> None:
        """Treat these options as needed."""
        self.options = [replace(option, required=True) if option.name in names else option for option in self.options]

    def finish(self) -> tuple[dict[str, Any], dict[str, str]]:
        """Name a variable for each needed secret. Return the config and the secrets it uses."""
        for option in self.open:
            if option.secret and option.needed:
                self._write(option, f"${{{options.variable(self.connector, option.name)}}}")
        used = secret_names_in(self.config)
        return self.config, {name: value for name, value in self.secrets.items() if name in used}


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: lists on one line."""


_Dumper.add_representer(list, lambda dumper, data: dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True))


def _is_no_help(later: SetupError, error: SetupError) -> bool:
    """Return whether a repair led to the same failure, or to an earlier one."""
    early = {"E-INSTALL", "E-PYTHON"}
    same = (later.code, later.problem) == (error.code, error.problem)
    return same or later.code == "E-PYTHON" or (later.code in early and error.code not in early)


def described(probe: Probe) -> Abilities | None:
    """Return what a program tells about itself, None if it has no ``--about``."""
    about = probe.about()
    if not about or not isinstance(about.get("capabilities"), list):
        return None
    capabilities = frozenset(map(str, about["capabilities"])) | {"about"}
    kind = kind_of(probe.connector.executable, capabilities - {"about", "state"})
    return Abilities(kind, capabilities, options.from_about(about), described=True, every_option=options.all_of(about))


def kind_of(program: str, capabilities: frozenset[str]) -> str:
    """Return the kind of a program: a target and a mapper differ in their names only.

    A target may have the flags of a tap, which singer-python gives to all that use its parser.
    """
    if program.startswith("target-"):
        return "target"
    if "discover" not in capabilities and MAPPER.fullmatch(program):
        return "mapper"
    return "tap" if capabilities & {*FLAGS.values()} else "target"


def _output(probe: Probe, *words: str) -> tuple[int | None, str]:
    """Run the program and return its exit code, None if it does not end, and its whole output."""
    with probe.answering("alone", *words) as (end, answer):
        code = None
        with suppress(subprocess.TimeoutExpired):
            code = end.process.wait(ABOUT_SECONDS)
        answer.seek(0)
        return code, (answer.read() + end.log.read_bytes()).decode("utf-8", "replace")
