"""Read a connector from a ``meltano.yml``: what can be taken over, and the names of what cannot."""

from __future__ import annotations

import functools
import json
import re
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, nearest, read_object, read_yaml
from cluster.errors import SetupError
from cluster.onboarding.options import Option, hide, is_secret
from cluster.onboarding.selection import Choice
from cluster.project.dotenv import read_dotenv

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SECTIONS = {"extractors": "tap", "loaders": "target", "mappers": "mapper"}
TAKEN = {"name", "inherit_from", "pip_url", "executable", "python", "config", "mappings", "select", "metadata"}
WORDS = {"variant", "namespace", "label", "description", "docs", "repo", "logo_url", "keywords", "capabilities", "settings",
         "settings_group_validation", "settings_preamble", "usage", "next_steps", "maintenance_status", "quality", "plugin_type",
         "plugin_type_plural", "ext_repo", "hidden", "domain_url", "prereq", "definition", "supported_python_versions", "dialect",
         "target_schema"}  # fmt: skip
"""Keys that describe a plugin and make no difference here. Capabilities and settings come from the
program itself."""

TYPED_KINDS = {"integer", "decimal", "boolean", "array", "object"}
"""Kinds of settings whose value is not a text."""

VARIABLE = re.compile(r"(\\)?\$(?:\{(\w+)\}|([A-Z][A-Z0-9_]*))")
"""A variable as Meltano writes it. A backslash before it makes it plain text."""


@dataclass
class Plugin:
    """One extractor, loader or mapper."""

    name: str
    kind: str
    pip_url: str
    executable: str
    python: str
    config: dict[str, Any] = field(default_factory=dict)
    """Its config as ``config.json`` holds it: secrets are ``${NAME}``."""
    secrets: dict[str, str] = field(default_factory=dict)
    """The variables of that config whose values ``.env`` has."""
    choice: Choice = field(default_factory=Choice)
    """What it selects; empty if it selects everything."""
    left: list[str] = field(default_factory=list)
    """What is not taken over, by name."""


def read(file: Path, name: str) -> Plugin:
    """Return the plugin *name* of a ``meltano.yml``; of a file with one plugin, that one.

    :raises SetupError: E-CONFIG, the file names no plugins; E-UNKNOWN, it has no such plugin.
    """
    shown = str(file)
    document = _mapping(read_yaml(file, shown))
    plugins = _mapping(document.get("plugins"))
    entries = {str(entry["name"]): (section, entry) for section in SECTIONS for entry in _mappings(plugins.get(section)) if "name" in entry}
    if not entries:
        raise SetupError("E-CONFIG", f"{shown} names no extractor, loader or mapper.", hint="Name a Meltano project's meltano.yml.")
    matching = [item for item in entries if item == name or item.lower().replace("_", "-") == name]
    if not matching and len(entries) > 1:
        known = f"{nearest(name, entries)} There are {listed(entries)}."
        raise SetupError("E-UNKNOWN", f"{shown} has no plugin {describe(name)}.{known}", hint="Name one of these.")
    chosen = (matching or list(entries))[0]
    section, entry = entries[chosen]
    return _Reader(file, document, section).plugin(
        chosen, entry, {item: other for item, (part, other) in entries.items() if part == section}
    )


class _Reader:
    """Merges a plugin's entry with those that it inherits from, and Meltano's locked one."""

    def __init__(self, file: Path, document: Mapping[str, Any], section: str) -> None:
        self.file = file
        self.document = document
        self.section = section
        self.dotenv = read_dotenv(file.parent / ".env")

    def plugin(self, name: str, entry: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]]) -> Plugin:
        chain = [entry]
        while str(chain[-1].get("inherit_from", "")) in others and len(chain) <= len(others):
            chain.append(others[str(chain[-1]["inherit_from"])])
        base = chain[-1]
        locked = self._locked(str(base.get("inherit_from") or base["name"]), base.get("variant"))
        merged: dict[str, Any] = {}
        for part in (locked, *reversed(chain)):
            for key, value in part.items():
                deep = key in {"config", "metadata"} and isinstance(value, dict)
                merged[key] = {**_mapping(merged.get(key)), **value} if deep else value
        plugin = Plugin(
            name=name,
            kind=SECTIONS[self.section],
            pip_url="",
            executable=str(merged.get("executable") or ""),
            python="",
        )
        plugin.pip_url = self._pip_url(merged, plugin)
        plugin.python = self._python(merged, plugin)
        self._mapping(merged, plugin)
        self._config(merged, [str(part["name"]) for part in chain], plugin)
        plugin.choice = choice(merged, plugin.left)
        used = {key for part in chain for key in part}
        plugin.left += sorted(used - TAKEN - WORDS)
        plugin.left += self._elsewhere({str(part["name"]) for part in chain})
        return plugin

    def _locked(self, name: str, variant: object) -> Mapping[str, Any]:
        """Return the hub's entry of a plugin, which Meltano keeps beside ``meltano.yml``."""
        folder = self.file.parent / "plugins" / self.section
        files = [folder / f"{name}--{variant}.lock"] if variant else sorted(folder.glob(f"{name}--*.lock"))
        return read_object(files[0], str(files[0])) if files and files[0].is_file() else {}

    def _pip_url(self, merged: Mapping[str, Any], plugin: Plugin) -> str:
        words = str(merged.get("pip_url") or "").split()
        options = [word for word in words if word.startswith("-")]
        if options or any("$" in word for word in words):
            plugin.left.append("pip_url (" + " ".join(word for word in words if word.startswith("-") or "$" in word) + ")")
        kept = [word for word in words if word not in options and "$" not in word]
        if any("://" not in word and "@" not in word and "/" in word for word in kept):
            plugin.left.append(f"pip_url ({' '.join(kept)}, a folder of that project)")
            return ""
        return " ".join(kept)

    def _python(self, merged: Mapping[str, Any], plugin: Plugin) -> str:
        version = re.search(r"(3\.\d{1,2})", str(merged.get("python") or ""))
        if merged.get("python") and not version:
            plugin.left.append(f"python ({merged['python']})")
        return version[1] if version else ""

    def _mapping(self, merged: dict[str, Any], plugin: Plugin) -> None:
        """Add the config of a mapper's mapping, if it has only one."""
        mappings = _mappings(merged.get("mappings"))
        if len(mappings) == 1:
            merged["config"] = {**_mapping(merged.get("config")), **_mapping(mappings[0].get("config"))}
        elif mappings:
            plugin.left.append(f"mappings ({', '.join(str(item.get('name')) for item in mappings)}): one mapper_config each")

    def _config(self, merged: Mapping[str, Any], names: list[str], plugin: Plugin) -> None:
        """Take over the config of ``meltano.yml`` and the values in ``.env``."""
        settings = {str(item["name"]): item for item in _mappings(merged.get("settings")) if "name" in item}
        config = _mapping(merged.get("config"))
        for key, setting in settings.items():
            variables = [re.sub(r"\W", "_", f"{name}_{key}").upper() for name in names]
            variable = next((item for item in [*variables, str(setting.get("env") or "")] if item in self.dotenv), None)
            if variable and _secret(key, setting):
                config[key] = f"${{{variable}}}"
            elif variable:
                config[key] = _typed(self.dotenv[variable], str(setting.get("kind", "string")))
        for key, value in config.items():
            setting = settings.get(key, {})
            if key.startswith("_"):
                plugin.left.append(f"config.{key}")
                continue
            unknown: list[str] = []
            ours = self._typed_variable(value, setting) if not _secret(key, setting) else None
            if ours is None:
                ours = self._expanded(value, plugin, unknown)
            if unknown:
                plugin.left.append(f"config.{key} ({', '.join(f'${item}' for item in unknown)})")
                continue
            option = Option(key, {"secret": True} if _secret(key, setting) else {})
            ours, secrets = hide(option, ours, plugin.name)
            plugin.secrets.update(secrets)
            plugin.config = _merged(plugin.config, functools.reduce(lambda inner, part: {part: inner}, reversed(key.split(".")), ours))

    def _typed_variable(self, value: Any, setting: Mapping[str, Any]) -> Any:
        """Return a typed setting's value if it is one variable, else None: a number stays one."""
        variable = VARIABLE.fullmatch(value) if isinstance(value, str) else None
        if variable is None or variable[1] or setting.get("kind") not in TYPED_KINDS:
            return None
        text = self.dotenv.get(variable[2] or variable[3])
        return None if text is None else _typed(text, str(setting["kind"]))

    def _expanded(self, value: Any, plugin: Plugin, unknown: list[str]) -> Any:
        """Return a value with variables as ``${NAME}``.

        Of Meltano's own variables only the project's folder is known.
        """
        if isinstance(value, dict):
            return {key: self._expanded(item, plugin, unknown) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expanded(item, plugin, unknown) for item in value]
        if not isinstance(value, str):
            return value if isinstance(value, bool | int | float | None) else str(value)  # dates

        def ours(variable: re.Match[str]) -> str:
            name = variable[2] or variable[3]
            if variable[1]:
                return variable[0][1:].replace("${", "$${")
            if name == "MELTANO_PROJECT_ROOT":
                return str(self.file.parent.resolve())
            if name.startswith("MELTANO_"):
                unknown.append(name)
            elif name in self.dotenv:
                plugin.secrets[name] = self.dotenv[name]
            return f"${{{name}}}"

        return VARIABLE.sub(ours, value)

    def _elsewhere(self, names: set[str]) -> list[str]:
        """Return the environments and schedules of the file that name the plugin."""
        environments = []
        for environment in _mappings(self.document.get("environments")):
            plugins = _mapping(_mapping(environment.get("config")).get("plugins"))
            if any(item.get("name") in names for item in _mappings(plugins.get(self.section))):
                environments.append(f"environments.{environment.get('name')}")
        schedules = _mappings(self.document.get("schedules"))
        return environments + [f"schedules.{item.get('name')}" for item in schedules if names & {item.get("extractor"), item.get("loader")}]


def choice(definition: Mapping[str, Any], left: list[str]) -> Choice:
    """Translate patterns: ``orders.*`` is a stream, ``orders.id`` a field, ``!`` excludes.

    What of ``metadata`` has no equivalent is appended to *left*.
    """
    patterns = [str(item) for item in definition["select"]] if isinstance(definition.get("select"), list) else []
    names: dict[str, list[str]] = {name: [] for name in ("stream", "field", "exclude", "replication", "replication-key")}
    for pattern in patterns:
        whole = pattern.removeprefix("!").removesuffix(".*")
        kind = "exclude" if pattern.startswith("!") else "stream" if whole != pattern or "." not in whole else "field"
        names[kind].append(whole)
    for stream, facts in _mapping(definition.get("metadata")).items():
        for key, value in _mapping(facts).items():
            known = {"replication-method": "replication", "replication-key": "replication-key"}.get(key)
            if known and isinstance(value, str) and "." not in stream:
                names[known].append(f"{stream}={value}")
            else:
                left.append(f"metadata.{stream}.{key}")
    if not any(names.values()):
        return Choice()
    return Choice(
        nothing=True,
        streams=tuple(names["stream"] or ([] if names["field"] else ["*"])),
        fields=tuple(names["field"]),
        exclude=tuple(names["exclude"]),
        methods=tuple(names["replication"]),
        keys=tuple(names["replication-key"]),
    )


def _merged(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Merge two mappings, the second over the first: ``s3: {key: …}`` and ``s3.secret`` are one."""
    both = {key: _merged(one[key], value) for key, value in other.items() if isinstance(value, dict) and isinstance(one.get(key), dict)}
    return {**one, **other, **both}


def _mapping(value: object) -> dict[str, Any]:
    return dict(value) if isinstance(value, dict) else {}


def _mappings(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _secret(key: str, setting: Mapping[str, Any]) -> bool:
    return bool(setting.get("sensitive")) or setting.get("kind") == "password" or is_secret(key.rpartition(".")[2], {})


def _typed(text: str, kind: str) -> Any:
    if kind in TYPED_KINDS:
        with suppress(ValueError):
            return json.loads(text.lower() if kind == "boolean" else text)
    return text
