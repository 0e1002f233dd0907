"""What Meltano Hub states about one variant of a connector, checked and in our terms. Pure.

The Hub's words describe the settings; what the installed program reports about itself decides
their types and which of them exist.
"""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe
from cluster.onboarding import hub, meltano, options
from cluster.onboarding.options import Option
from cluster.onboarding.selection import Choice

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cluster.onboarding.hub import Entry

TYPES = {
    "string": "string", "password": "string", "date_iso8601": "string", "email": "string", "file": "string", "integer": "integer",
    "decimal": "number", "boolean": "boolean", "array": "array", "object": "object",
}  # fmt: skip
"""The Hub's kinds of settings, and JSON's types. Another kind, such as ``oauth``, tells no type."""
ADDRESS = "sqlalchemy_url"
"""One setting instead of host, user and the others."""
VARIABLE = "$"
"""A default with this sign is a variable of Meltano."""


@dataclass(frozen=True)
class Definition:
    """One variant."""

    name: str
    variant: str
    requirements: tuple[str, ...]
    """As pip takes them, the connector's own package first."""
    executable: str = ""
    capabilities: frozenset[str] = frozenset()
    options: tuple[Option, ...] = ()
    groups: tuple[tuple[str, ...], ...] = ()
    """Each is a set of settings that is enough for the connector."""
    choice: Choice = field(default_factory=Choice)
    """What to select after discovery."""
    left: tuple[str, ...] = ()
    """Keys that have no equivalent here."""
    page: str = ""
    """The address of its page in the Hub."""
    pythons: tuple[str, ...] = ()
    """The versions that the Hub lists, such as 3.12."""
    presets: dict[str, Any] = field(default_factory=dict)
    """Values that Meltano writes into every config, by setting."""


def read(entry: Entry, variant: str, document: Mapping[str, Any]) -> Definition:
    """Read a definition.

    :raises SetupError: E-HUB, it names no package, or one that is not taken from the Hub.
    """
    requirements = _requirements(entry, variant, document.get("pip_url"))
    settings = [item for item in _list(document.get("settings")) if isinstance(item, dict) and _is_setting(item)]
    executable = _text(document, "executable")
    left: list[str] = []
    choice = meltano.choice(document, left)
    known = {str(item["name"]) for item in settings}
    groups = [tuple(str(name) for name in _list(group) if name in known) for group in _list(document.get("settings_group_validation"))]
    page = _text(document, "docs")
    return Definition(
        name=entry.name,
        variant=variant,
        requirements=requirements,
        executable=executable if re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", executable) else "",
        capabilities=frozenset(map(str, _list(document.get("capabilities")))),
        options=tuple(_option(item) for item in settings),
        groups=tuple(sorted({group for group in groups if group}, key=groups.index)),
        choice=choice,
        left=_few(left),
        page=page if re.fullmatch(r"https?://[!-~]+", page) else "",
        pythons=tuple(item for item in map(str, _list(document.get("supported_python_versions"))) if re.fullmatch(r"3\.\d{1,2}", item)),
        presets={str(item["name"]): value for item in settings if (value := _preset(item)) is not None},
    )


def _requirements(entry: Entry, variant: str, pip_url: object) -> tuple[str, ...]:
    """Split the Hub's ``pip_url`` into requirements.

    :raises SetupError: E-HUB.
    """
    title = f"{hub.HUB} names no usable package for {entry.name}, variant {variant}"
    try:
        words = shlex.split(pip_url) if isinstance(pip_url, str) else []
    except ValueError:
        words = []
    if not words:
        problem = f"{title}: pip_url is {describe(pip_url)}"
        raise hub.unusable(problem)
    requirements: list[str] = []
    for word in words:
        last = requirements[-1] if requirements else ""
        if requirements and (word in {"@", ";"} or last.endswith((" @", " ;")) or " ; " in last):
            requirements[-1] += f" {word}"  # "name @ address", or "name ; marker"
        else:
            requirements.append(word)
    for requirement in requirements:
        address = "://" in requirement
        if requirement.startswith("-"):
            raise hub.unusable(f"{title}: pip_url has the option {requirement}")
        if not requirement.isprintable():
            raise hub.unusable(f"{title}: pip_url is {describe(requirement)}")
        if VARIABLE in requirement:
            raise hub.unusable(f"{title}: pip_url needs a variable, {describe(requirement)}")
        if not re.match(r"[A-Za-z0-9]", requirement) or (not address and "/" in requirement) or "file:" in requirement:
            raise hub.unusable(f"{title}: pip_url has the path {describe(requirement)}")
    plain = re.sub(r"[-_.]+", "-", entry.name)
    return tuple(sorted(requirements, key=lambda item: plain not in re.sub(r"[-_.]+", "-", item).lower()))


def _is_setting(setting: Mapping[str, Any]) -> bool:
    name = setting.get("name")
    plain = isinstance(name, str) and re.fullmatch(r"[A-Za-z0-9_$-][^\x00-\x20]{0,99}", name)
    return bool(plain) and setting.get("kind") != "hidden" and str(name).partition(".")[0] not in options.BUILT_IN


def _option(setting: Mapping[str, Any]) -> Option:
    kind = str(setting.get("kind") or "string")
    values = [item.get("value") for item in _list(setting.get("options")) if isinstance(item, dict)]
    schema: dict[str, Any] = {"title": _text(setting, "label"), "description": _text(setting, "description")}
    if kind in TYPES:
        schema["type"] = TYPES[kind]
    if kind == "date_iso8601":
        schema["format"] = options.DATE
    if kind == "options" and values and all(isinstance(value, str) for value in values):
        schema.update(type="string", enum=values)
    if setting.get("sensitive") or kind == "password":
        schema["secret"] = True
    preset = _preset(setting)
    if preset is not None:
        schema["default"] = preset
    name, words = str(setting["name"]), {key: value for key, value in schema.items() if value != ""}
    return Option(name, words, example=setting.get("placeholder"), nested="." in name)


def _preset(setting: Mapping[str, Any]) -> Any:
    """Return the value that Meltano writes if the user sets none.

    None if there is no such value, if it is a secret, or if it has a variable of Meltano.
    """
    value, kind = setting.get("value"), TYPES.get(str(setting.get("kind")), "string")
    if isinstance(value, str) and kind != "string":
        with suppress(ValueError, RecursionError):
            value = json.loads(value.lower() if kind == "boolean" else value)
    secret = setting.get("sensitive") or setting.get("kind") == "password"
    return None if secret or VARIABLE in json.dumps(value, default=str) else value


def merged(program: Sequence[Option], stated: Definition, *, complete: bool) -> list[Option]:
    """Return the settings of the program, in the Hub's words, and those that the Hub alone lists.

    *complete* means that the program reports all its settings: then only parts of these are added,
    such as ``s3.bucket``. Settings of every group come first.
    """
    own = {option.name: option for option in program}
    names = set(own)
    always = set(stated.groups[0]).intersection(*stated.groups[1:]) if stated.groups else set()
    result: list[Option] = []
    for option in stated.options:
        ours = own.pop(option.name, None)
        outer, dot, _ = option.name.partition(".")
        if ours is None and complete and not (dot and outer in names):
            continue
        required = option.name in always
        if ours is None:
            result.append(replace(option, required=required))
        else:
            words = {key: option.schema[key] for key in ("title", "description", "secret", "format") if key in option.schema}
            schema = {**option.schema, **ours.schema, **words}
            if ours.kinds:
                schema = {**schema, "type": sorted(ours.kinds)} if "anyOf" not in ours.schema and "oneOf" not in ours.schema else schema
            result.append(Option(ours.name, schema, ours.required or required, ours.example or option.example))
    order = {name: number for number, name in enumerate(dict.fromkeys(name for group in stated.groups for name in group))}
    return sorted(
        [*result, *own.values()],
        key=lambda option: (not option.needed and option.name not in order, order.get(option.name, len(order)), options.rank(option)),
    )


def with_login(stated: Definition, program: Iterable[Option]) -> Definition:
    """Return the definition with host, user and password as a group, if it has an address alone.

    The Hub lists ``sqlalchemy_url`` as the one group of connectors that take both.
    """
    names = {option.name for option in (*program, *stated.options)}
    login = tuple(name for name in options.LOGIN if name in names)
    if (ADDRESS,) not in stated.groups or not {"host", "hostname", "server"} & set(login):
        return stated
    return replace(stated, groups=(login, *stated.groups))


def presets(stated: Definition, program: Sequence[Option], chosen: Iterable[Option]) -> dict[str, Any]:
    """Return the Hub's values for unset settings, without those that the program assumes itself."""
    own = {option.name: option.default for option in program}
    own |= {f"{option.name}.{part.name}": part.default for option in program for part in option.parts if "object" in option.kinds}
    known = {option.name for option in chosen}
    return {name: value for name, value in stated.presets.items() if name in known and own.get(name) != value}


def lacking(stated: Definition, chosen: Sequence[Option], config: Mapping[str, Any]) -> list[list[str]]:
    """Return for each group what the config lacks, the one first that is nearest to complete.

    The list is empty if one group is complete.
    """
    known = {option.name: option for option in chosen}
    gaps = [
        [name for name in group if name in known and known[name].default is None and not options.holds(config, known[name])]
        for group in stated.groups
    ]
    if not all(gaps):
        return []
    pairs = sorted(zip(gaps, stated.groups, strict=True), key=lambda pair: len(pair[0]) / len(pair[1]))
    return [gap for gap, _ in pairs]


def _few(left: Sequence[str]) -> tuple[str, ...]:
    """Shorten what a definition has for single fields: some list hundreds."""
    return tuple(left) if len(left) <= 3 else (f"metadata of {len(left)} fields",)  # noqa: PLR2004 - more do not fit a line


def _text(document: Mapping[str, Any], key: str) -> str:
    value = document.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
