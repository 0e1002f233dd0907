"""Reads ``singer-configs/`` into the typed models of ``project.model``.

The keys are Meltano's (``pip_url``, ``executable``, ``capabilities``, ``python``) where Meltano has
them. Keys and defaults are listed in ``docs/contracts.md``; a test compares the two.
"""

from __future__ import annotations

import os
import re
import shlex
from copy import copy
from dataclasses import replace
from datetime import datetime
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Self

from cluster.config.settings import BUCKET_NAME, ENVIRONMENTS, LAPTOP, OBJECT, QUANTITY, pairs
from cluster.config.strict import Fields, MistakeError, describe, listed, nearest, read_object, read_yaml
from cluster.errors import SetupError
from cluster.project import debian, planning
from cluster.project.dotenv import kept_secrets
from cluster.project.files import read_files
from cluster.project.model import CAPABILITIES, CONFIG, KINDS, NAME, NAME_ALLOWED, PROJECT_FILES, Connector, Events, Pipeline
from cluster.project.requirements import correction, correction_of_words, is_wrong, with_space
from cluster.project.schedule import refusal, zone_refusal
from cluster.project.secrets import check_notify_url, refuse_typed_secrets, secrets
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cluster.config.settings import Settings
    from cluster.project.parts import Plan

SCHEDULE = 'a cron expression of five fields, such as "0 6 * * *"'
TIMEZONE = "an IANA name such as Europe/Berlin"
DURATION = r"[1-9]\d*(s|m|h)"
LATE_AFTER = "a duration such as 30m or 6h"
UNREADABLE = "the whole file"
NOWHERE = ".none"
"""The folder of a connector that is not there."""
DATE = 'a date in quotes, such as "2023-05-01"'
SELECTION = r"[^\x00-\x1f-][^\x00-\x1f]*"
"""dbt's selection of a part of a project. A leading hyphen would make it an option."""
PARAMETER_BYTES = 1 << 15
"""Linux allows 128 KiB for a variable; escapes in JSON and other parameters need some of it."""
SECONDS = {"s": 1, "m": 60, "h": 3600}
GROUP = rf"(?!{planning.REST}$)[A-Za-z0-9][A-Za-z0-9_-]{{0,49}}"
SPLIT = f"streams, or groups such as {{large: [orders], small: [users, teams]}}; {planning.REST} is the group of the others"


class Project:
    """The folder ``singer-configs/`` of a checkout.

    Each file is read once, when it is needed: a command sees one state of it.
    """

    def __init__(
        self,
        root: Path,
        *,
        configs: Path | None = None,
        pipelines: Path | None = None,
        env: str = LAPTOP,
        resources: Mapping[str, str] | None = None,
    ) -> None:
        """Take the checkout's folder; ``configs`` and ``pipelines`` replace what is in it.

        The environment may override configs; *resources* are those of pipelines without any.
        """
        self.root = root
        self.env = env
        self.instead = root / ENVIRONMENTS / env
        self.resources = resources or {}
        self.configs = configs or root / "singer-configs"
        self.pipelines_file = pipelines or self.configs / "pipelines.yaml"
        self._connectors: dict[str, Connector] = {}
        self._pipelines: dict[str, Pipeline] = {}
        self._passed: set[tuple[str, Path]] = set()
        """The files that have been checked, and as what."""
        self.skipped: frozenset[tuple[str, str]] = frozenset()
        """Keys of files, and files, that have known mistakes, and are passed over."""

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """Return the project of the settings' checkout and environment."""
        return cls(settings.root, env=settings.env, resources=pairs(settings.resources))

    def skipping(self, keys: frozenset[tuple[str, str]]) -> Self:
        """Return the same project, read without some more keys that have mistakes."""
        other = copy(self)
        other.skipped = self.skipped | keys
        other._connectors, other._pipelines = dict(self._connectors), {}  # noqa: SLF001 - one of us
        return other

    def shown(self, path: Path) -> str:
        """Return *path* as a person at the checkout's root would type it."""
        return os.path.relpath(path, self.root)

    @cached_property
    def _resolved(self) -> Path:
        return self.configs.resolve()

    @cached_property
    def connector_names(self) -> list[str]:
        """The names of all connectors: the folders with a ``connector.yaml``."""
        return sorted(file.parent.name for file in self.configs.glob("*/connector.yaml"))

    @cached_property
    def _entries(self) -> dict[str, Any]:
        file = self.pipelines_file
        entries = read_yaml(file, self.shown(file))
        if entries is None:
            return {}
        if not isinstance(entries, dict):
            Fields(entries, shown=self.shown(file))
        self._check_instead()
        return dict(entries)

    def _check_instead(self) -> None:
        """Check that each file of the environment overrides an existing config."""
        for file in sorted(self.instead.rglob("*")):
            name = file.relative_to(self.instead)
            if file.is_file() and not (file.name == CONFIG and (self.configs / name).is_file()):
                raise SetupError(
                    "E-CONFIG",
                    f"{self.shown(file)} overrides no config: there is no {self.shown(self.configs / name)}.",
                    hint=f"Name it as the {CONFIG} that it overrides, or remove it.",
                )

    def _instead(self, file: Path) -> Path | None:
        """Return the environment's config that overrides a file of ``singer-configs/``."""
        if file.name != CONFIG:
            return None
        override = self.instead / os.path.relpath(file, self.configs)
        return override if override.is_file() else None

    def _fields(self, content: object, shown: str, at: str = "") -> Fields:
        """Return the keys of a connector or a pipeline; the editors' schemas are made of them."""
        return Fields(content, shown=shown, at=at, skipped=self.skipped)

    def is_readable(self, file: Path) -> bool:
        """Return whether a file has no known mistake that prevents further checks."""
        return (self.shown(file), UNREADABLE) not in self.skipped

    @property
    def pipeline_names(self) -> list[str]:
        """The names of all pipelines, in the file's order."""
        return list(self._entries)

    def connector(self, name: str) -> Connector:
        """Return one connector.

        :raises SetupError: E-UNKNOWN, there is no such connector; E-CONFIG, its files are wrong.
        """
        if name not in self._connectors:
            self._connectors[name] = self._read_connector(name)
        return self._connectors[name]

    def _read_connector(self, name: str) -> Connector:
        known = self.connector_names
        if name not in known:
            raise SetupError(
                "E-UNKNOWN",
                f"There is no connector {describe(name)}.{nearest(name, known)} Connectors are {listed(known)}.",
                hint=f"Write singer-configs/{name}/connector.yaml, or name one of these."
                if re.fullmatch(NAME, name)
                else f"Name one of these; a name is {NAME_ALLOWED}.",
            )
        folder = self.configs / name
        shown = self.shown(folder / "connector.yaml")
        if not re.fullmatch(NAME, name):
            raise SetupError("E-CONFIG", f"{shown}: the folder's name is not allowed for a connector.", hint=f"Rename it: {NAME_ALLOWED}.")
        fields = self._fields(read_yaml(folder / "connector.yaml", shown), shown)
        kind = fields.choice("kind", KINDS)
        requirements, projects = self._requirements(fields)
        connector = Connector(
            name=name,
            folder=folder,
            kind=kind,
            requirements=requirements,
            projects=projects,
            executable=fields.text("executable", name, pattern=r"[A-Za-z0-9._-]+", allowed="the name of a program"),
            capabilities=fields.texts("capabilities", (), pattern="|".join(CAPABILITIES), allowed=f"a list of {listed(CAPABILITIES)}"),
            python=fields.text("python", None, pattern=r"3\.\d{1,2}", allowed='a version in quotes, such as "3.12"'),
            exclude_newer=fields.text("exclude_newer", None, pattern=r"\d{4}-\d\d-\d\d(T[\d:]{8}Z)?", allowed=DATE),
            build_constraints=fields.texts(
                "build_constraints", (), pattern=r"[A-Za-z0-9][\w.-]* ?[<>=!~][\w.*,<>=!~ ]+", allowed="a list such as setuptools<66"
            ),
            outputs=fields.texts("outputs", ("**/*",), allowed="a glob such as *.csv, or a list of them"),
            settings=fields.texts("settings", (), allowed="a list of keys that its config may hold, such as start_date"),
            required=fields.texts("required", (), allowed="a list of groups of settings, such as [host user, url]"),
            instead=self._instead(folder / CONFIG),
            end_exclusive=fields.choice("end_date", ("inclusive", "exclusive"), "inclusive") == "exclusive",
            safe_states=_safe_states(fields),
            system_packages=fields.texts("system_packages", (), pattern=debian.NAME, allowed="a list of Debian packages, such as libpq5"),
            files=read_files(fields, self.root),
        )
        _check_parameter(fields, "outputs", "\n".join(connector.outputs))
        for constraint in connector.build_constraints:
            if is_wrong(constraint, self.root):
                _refuse_requirement(fields, "build_constraints", constraint, correction(constraint))
        if connector.exclude_newer and not _is_date(connector.exclude_newer):
            fields.refuse("exclude_newer", f"{DATE}, of the calendar")
        if connector.files and kind == "transform":
            fields.refuse("files", "left out for a transform: all of its folder goes along")
        for glob in connector.outputs:
            if glob.startswith("/") or ".." in glob.split("/") or "\\" in glob:
                fields.refuse("outputs", "a glob below the target's own folder: no leading slash, no .., no backslash")
        fields.finish()
        self._check_config(connector.config, connector)
        if kind == "transform":
            read_yaml(folder / "dbt_project.yml", self.shown(folder / "dbt_project.yml"))
        return connector

    def _requirements(self, fields: Fields) -> tuple[tuple[str, ...], tuple[Path, ...]]:
        """Read ``pip_url``: requirements, and folders.

        A list's items are taken as they are. A folder is installed again when it changes, so
        ``-e`` makes no difference.
        """
        texts = fields.texts("pip_url", allowed="requirements such as tap-x==1.0, or a folder")
        try:
            words = list(texts) if fields.is_list("pip_url") else "\n".join(shlex.split(texts[0])).replace("\n@\n", " @ ").split("\n")
        except ValueError:
            fields.refuse("pip_url", "requirements with balanced quotes")
        requirements: list[str] = []
        projects: list[Path] = []
        for word in (re.sub(r"^(-e|--editable)([ =]|$)", "", word).strip() for word in words):
            if word.startswith("-"):
                fields.refuse("pip_url", "requirements only; options such as an index belong into the environment (UV_DEFAULT_INDEX)")
            path = (self.root / Path(word).expanduser()).resolve()
            if is_wrong(word, self.root):
                meant = correction(word) if fields.is_list("pip_url") else correction_of_words(texts[0], self.root)
                _refuse_requirement(fields, "pip_url", word, meant)
            if "://" in word or "@" in word or "/" not in word:
                requirements.extend(filter(None, [word]))
            elif path.suffix == ".whl" and path.is_file():
                requirements.append(f"./{self.shown(path)}")
            elif any((path / name).is_file() for name in PROJECT_FILES):
                projects.append(path)
            elif not fields.is_list("pip_url") and with_space(self.root, texts[0]):
                _refuse_requirement(fields, "pip_url", word, correction_of_words(texts[0], self.root))
            else:
                spaces = "; a path with a space is an item of a list" if len(words) > 1 and not fields.is_list("pip_url") else ""
                fields.refuse("pip_url", f"a wheel, or a folder with a {' or '.join(PROJECT_FILES)}; {word} is neither{spaces}")
        if not requirements and not projects:
            fields.refuse("pip_url", "at least one requirement")
        return tuple(requirements), tuple(projects)

    def pipeline(self, name: str) -> Pipeline:
        """Return one pipeline with its connectors.

        :raises SetupError: E-UNKNOWN, there is none of that name; E-CONFIG, its entry or its files
            are wrong.
        """
        if name not in self._pipelines:
            self._pipelines[name] = self._read_pipeline(name)
        return self._pipelines[name]

    def _read_pipeline(self, name: str) -> Pipeline:
        if name not in self._entries:
            raise SetupError(
                "E-UNKNOWN",
                f"There is no pipeline {describe(name)}.{nearest(name, self._entries)} Pipelines are {listed(self._entries)}.",
                hint=f"Add it to {self.shown(self.pipelines_file)}, or name one of these.",
            )
        self._check_name(name)
        fields = self._fields(self._entries[name], self.shown(self.pipelines_file), name)
        tap, target = self._side(fields, "tap"), self._side(fields, "target")
        mapper = self._side(fields, "mapper") if fields.has("mapper") else None
        if mapper is None and fields.has("mapper_config") and not fields.skips("mapper_config"):
            fields.refuse("mapper_config", "a config of the mapper, and none is named")
        pipeline = Pipeline(
            name=name,
            tap=tap,
            target=target,
            mode=fields.choice("mode", ("streaming", "staged"), "streaming"),
            config=self._file(fields, "config", tap.config),
            catalog=self._file(fields, "catalog", tap.catalog),
            target_config=self._file(fields, "target_config", target.config),
            initial_state=self._file(fields, "state", tap.initial_state),
            schedule=_schedules(fields),
            timezone=fields.text("timezone", "UTC", allowed=TIMEZONE),
            paused=fields.flag("paused", default=False),
            resources={**self.resources, **self._resources(fields.mapping("resources"))},
            timeout=_seconds(fields.text("timeout", "24h", pattern=DURATION, allowed="a duration such as 90s, 30m or 6h")),
            retries=fields.number("retries", default=2, least=0, most=10),
            notify=fields.choice("notify", ("never", "failure", "warning", "always"), "failure"),
            transform=self._side(fields, "transform") if fields.has("transform") else None,
            transform_select=fields.text("transform_select", "", pattern=SELECTION, allowed="dbt's words, such as tag:daily"),
            events=self._events(fields.mapping("events")) if fields.has("events") and not fields.skips("events") else None,
            mapper=mapper,
            mapper_config=self._file(fields, "mapper_config", mapper.config) if mapper else None,
            at_once=fields.number("at_once", default=4, least=1, most=100),
            late_after=_seconds(late) if (late := fields.text("late_after", "", pattern=DURATION, allowed=LATE_AFTER)) else None,
        )
        groups = self._groups(fields)
        fields.finish()
        if groups is not None and pipeline.mode == "staged":
            fields.refuse("split", "left out with mode: staged, which loads all streams from one file")
        _check_parameter(fields, "transform_select", pipeline.transform_select)
        if pipeline.transform_select and not pipeline.transform:
            fields.refuse("transform_select", "a part of a transform, and none is named")
        if pipeline.late_after and not pipeline.schedule and not fields.skips("schedule"):
            fields.refuse("late_after", "a bound for a schedule, and there is none")
        reason = zone_refusal(pipeline.timezone)
        if reason:
            fields.refuse("timezone", f"{TIMEZONE}; {reason}")
        self._check_files(pipeline)
        return pipeline if groups is None or self.skipped else replace(pipeline, plan=self._plan(pipeline, groups))

    @staticmethod
    def _groups(fields: Fields) -> dict[str, tuple[str, ...]] | None:
        """Read ``split``: groups of streams, empty if each is a part; None if it is absent."""
        groups = fields.groups("split", "streams", pattern=GROUP, allowed=SPLIT)
        names = [name for streams in (groups or {}).values() for name in streams]
        if len(names) > len({*names}):
            fields.refuse("split", f"{SPLIT}, with each stream once")
        return groups

    def _plan(self, pipeline: Pipeline, groups: Mapping[str, Sequence[str]]) -> Plan:
        """Return the parts of a pipeline that is split.

        :raises SetupError: E-CATALOG, there is no catalog.
        """
        shown = self.shown(pipeline.catalog)
        if not pipeline.catalog.exists():
            raise SetupError(
                "E-CATALOG",
                f"{pipeline.name} is split by streams, and there is no {shown}.",
                hint=f"Make it: {command(f'discover {pipeline.tap.name}')}",
            )
        return planning.by_streams(read_object(pipeline.catalog, shown, "E-CATALOG"), groups, pipeline.at_once, shown, pipeline.tap.name)

    def _check_name(self, name: str) -> None:
        """Check the name of a pipeline.

        :raises SetupError: E-CONFIG, it is not allowed, or is a connector's.
        """
        shown = self.shown(self.pipelines_file)
        if not re.fullmatch(NAME, name):
            raise SetupError(
                "E-CONFIG", f"{shown}: {describe(name)} is not allowed as a pipeline's name.", hint=f"Rename it: {NAME_ALLOWED}."
            )
        if name in self.connector_names:
            raise SetupError("E-CONFIG", f"{shown}: {name} is also the name of a connector.", hint="Rename one of the two.")

    def _side(self, fields: Fields, kind: str) -> Connector:
        name = fields.text(kind, allowed=f"the name of a {kind} below singer-configs/")
        if fields.skips(kind):
            return Connector(kind, self.configs / NOWHERE, kind, (), (), kind, (), None, ())
        if name not in self.connector_names:
            fields.refuse(kind, f"one of {listed(self.connector_names)}.{nearest(name, self.connector_names)}".rstrip("."))
        connector = self.connector(name)
        if connector.kind != kind:
            fields.refuse(kind, f"a {kind}; {name} is a {connector.kind}")
        return connector

    def _file(self, fields: Fields, key: str, default: Path) -> Path:
        value: str | None = fields.text(key, None, allowed="a file below singer-configs/")
        if value is None:
            return default
        file: Path = (self.configs / value).resolve()
        if not file.is_relative_to(self._resolved) or not file.is_file():
            fields.refuse(key, "a file below singer-configs/ that is there")
        return self._instead(self.configs / value) or file

    @staticmethod
    def _events(fields: Fields) -> Events:
        key = {"pattern": r"[!-~]+", "allowed": "a part of an object's key, such as rates/ or .csv"}
        events = Events(
            bucket=fields.text("bucket", "", pattern=BUCKET_NAME, allowed="the name of a bucket"),
            prefix=fields.text("prefix", "", **key),
            suffix=fields.text("suffix", "", **key),
            webhook=fields.text("webhook", "", pattern=r"/[A-Za-z0-9/._-]*", allowed="a path such as /rates"),
            secret=fields.text("secret", "", pattern=OBJECT, allowed="the name of a Secret"),
        )
        fields.finish()
        if bool(events.bucket) == bool(events.webhook):
            fields.refuse("webhook" if events.webhook else "bucket", "left out where the other of bucket and webhook is named, else needed")
        if events.webhook and (events.prefix or events.suffix):
            fields.refuse("prefix" if events.prefix else "suffix", "for a bucket alone")
        return events

    def _resources(self, fields: Fields) -> dict[str, str]:
        quantities = {
            key: fields.text(key, None, pattern=QUANTITY, allowed="a Kubernetes quantity in quotes, such as 500m or 512Mi")
            for key in ("cpu", "memory")
        }
        fields.finish()
        return {key: value for key, value in quantities.items() if value is not None}

    def _check_files(self, pipeline: Pipeline) -> None:
        for connector, file in pipeline.configs:
            self._check_config(file, connector)
        self._once(self._check_catalog, pipeline.catalog, "catalog")
        self._once(self._check_state, pipeline.initial_state, "state")

    def _check_config(self, file: Path, connector: Connector) -> None:
        self._once(
            lambda file, shown: refuse_typed_secrets(read_object(file, shown), connector.name, shown=shown),
            file,
            f"config of {connector.name}",
        )

    @staticmethod
    def _check_catalog(file: Path, shown: str) -> None:
        check_catalog(read_object(file, shown, "E-CATALOG"), shown)

    @staticmethod
    def _check_state(file: Path, shown: str) -> None:
        read_object(file, shown, "E-STATE")

    def _once(self, check: Callable[[Path, str], object], file: Path, what: str) -> None:
        """Check a file that is there, which many pipelines may share, until it passes."""
        if (what, file) in self._passed or not file.exists():
            return
        key = self.shown(file), what
        if key in self.skipped:
            return
        try:
            check(file, self.shown(file))
        except SetupError as error:
            keys = [key] if error.code == "E-SECRET-TYPED" else [key, (key[0], UNREADABLE)]
            raise MistakeError(error.code, error.problem, hint=error.hint, keys=keys) from None
        self._passed.add((what, file))


def _is_date(text: str) -> bool:
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def _refuse_requirement(fields: Fields, key: str, word: str, meant: str) -> NoReturn:
    """Refuse a requirement, with what it probably means."""
    allowed = f"requirements as pip takes them, such as tap-x==1.0, and {describe(word)} is none"
    fields.refuse(key, f"{allowed}. Did you mean {meant if meant.startswith('[') else describe(meant)}?" if meant else allowed)


def _schedules(fields: Fields) -> tuple[str, ...]:
    """Read ``schedule``: cron expressions that Argo's controller accepts.

    One that it refuses would stop the others, too.
    """
    expressions = fields.texts("schedule", (), allowed=SCHEDULE)
    for expression in expressions:
        reason = refusal(expression)
        if reason:
            which = f'"{expression}"' if len(expressions) > 1 else "it"
            fields.refuse("schedule", f"{SCHEDULE}; Argo refuses {which}: {reason}")
    return expressions


def _check_parameter(fields: Fields, key: str, text: str) -> None:
    """Check a value that becomes a parameter of a Workflow, and a variable of its pod.

    :raises SetupError: E-CONFIG, it has ``{{…}}``, or is too long for a variable.
    """
    if "{{" in text:
        fields.refuse(key, "a text without {{, because Argo would replace {{…}} in it")
    if len(text.encode()) > PARAMETER_BYTES:
        fields.refuse(key, f"a text of at most {PARAMETER_BYTES:,} bytes; it has {len(text.encode()):,}, too many for a variable of a pod")


def _seconds(duration: str) -> int:
    return int(duration[:-1]) * SECONDS[duration[-1]]


def check_catalog(catalog: Mapping[str, Any], shown: str) -> None:
    """Check that a catalog has the form that taps expect.

    :raises SetupError: E-CATALOG, it has not.
    """
    streams = catalog.get("streams")
    hint = f"Correct {shown}, or remove it so that it is discovered."
    if not isinstance(streams, list):
        raise SetupError("E-CATALOG", f'{shown} has no list "streams".', hint=hint)
    for number, stream in enumerate(streams):
        name = stream.get("tap_stream_id", stream.get("stream")) if isinstance(stream, dict) else None
        if not isinstance(name, str):
            raise SetupError("E-CATALOG", f'{shown}: streams[{number}] has no "tap_stream_id".', hint=hint)
        if not isinstance(stream.get("schema"), dict):
            raise SetupError("E-CATALOG", f'{shown}: the stream "{name}" has no "schema".', hint=hint)


def mistakes(project: Project, kind: str, name: str) -> tuple[Project | None, list[SetupError]]:
    """Return all mistakes in the entry and the files of a connector or a pipeline.

    With them the project without the keys that have mistakes; None if it cannot be read.
    """
    errors: list[SetupError] = []
    while True:
        try:
            project.connector(name) if kind == "connector" else project.pipeline(name)
        except SetupError as error:
            keys = error.keys if isinstance(error, MistakeError) else frozenset()
            if keys and keys <= project.skipped:  # a consequence of the others
                return None, errors
            errors.append(error)
            if not keys:
                return None, errors
            project = project.skipping(keys)
        else:
            return project, errors


def further(project: Project, name: str, environ: Mapping[str, str]) -> Iterator[Callable[[], object]]:
    """Yield the checks of a pipeline that has been read: its messages and its secrets."""
    pipeline = project.pipeline(name)
    dotenv = kept_secrets(project.root, project.env)
    if pipeline.notify != "never":
        yield partial(check_notify_url, {**dotenv, **environ})
    for _, file in pipeline.configs:
        if project.is_readable(file):
            yield partial(secrets, file, environ, dotenv, shown=project.shown(file))


def described(project: Project, kind: str, name: str) -> str:
    """Describe a connector or a pipeline in a few words."""
    if kind == "connector":
        connector = project.connector(name)
        return f"{connector.kind}, {' '.join([*connector.requirements, *map(project.shown, connector.projects)])}"
    return " → ".join(connector.name for connector in project.pipeline(name).connectors)


def checked(project: Project, kind: str, name: str, environ: Mapping[str, str]) -> str:
    """Read a connector or a pipeline with all its files, and describe it in a few words.

    :raises SetupError: what is wrong with it.
    """
    if kind == "pipeline":
        for check in further(project, name, environ):
            check()
    return described(project, kind, name)


def _safe_states(fields: Fields) -> bool | None:
    """Return ``safe_states``; if absent, False for a target with ``outputs``, else None."""
    if fields.has("safe_states"):
        return fields.flag("safe_states", default=False)
    return False if fields.has("outputs") else None
