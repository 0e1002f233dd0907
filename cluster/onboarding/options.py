"""The options of a connector's config, from ``--about`` or a sample in its README. Pure."""

from __future__ import annotations

import json
import re
import shlex
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, nearest, words
from cluster.errors import SetupError
from cluster.project.secrets import MAPS, is_secret_key, is_typed_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BUILT_IN = {
    "add_record_metadata", "batch_config", "batch_size_rows", "default_target_schema", "faker_config", "flattening_enabled",
    "flattening_max_depth", "flattening_max_key_length", "flattening_separator", "hard_delete", "load_method",
    "process_activate_version_messages", "stream_map_config", "stream_maps", "validate_records",
}  # fmt: skip
"""Options of every connector of the SDK: ``--set`` takes them, ``new`` does not ask for them."""
CONNECTION = (
    "host", "hostname", "server", "address", "account", "port", "user", "username", "login", "password", "database", "dbname",
    "db_name", "warehouse", "role", "schema", "filter_schemas", "default_target_schema", "path", "files", "base_url", "url", "api_url",
)  # fmt: skip
"""What people know of a source or destination, in the order in which they name it."""
LOGIN = ("host", "hostname", "server", "port", "user", "username", "password", "database", "dbname", "db_name")
"""The parts of an address, of which several settings together replace a whole one."""
OBSCURE = re.compile(r"^(ssl|ssh|tls|proxy)([_.]|$)|sqlalchemy_url$|^dialect", re.IGNORECASE)
"""Options that few installations need, or that replace several others; secret ones, too."""

NOT_CONFIG = {"type", "stream", "streams", "bookmarks", "currently_syncing"}
"""Keys of messages, catalogs and states, of which READMEs have samples, too."""

NEAR = 300
"""How far before a block of code, in characters, its caption may be."""

DATE = "date_iso8601"
"""The format of a setting that takes a date or a time."""

COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|,(?=\s*[}\]])')
"""What samples have and JSON has not: comments, and commas after the last item. Texts are matched
first, and stay."""


@dataclass(frozen=True)
class Option:
    """One key of a config."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    """Its JSON schema, if known."""
    required: bool = False
    example: Any = None
    nested: bool = False
    """Whether the name is a path: ``s3.bucket`` is a key within ``s3``."""

    @property
    def kinds(self) -> set[str]:
        """Its JSON types; empty if they are not known."""
        return _kinds(self.schema)

    @property
    def allowed(self) -> list[Any]:
        """Its allowed values, if the schema lists them."""
        return _list(self.schema.get("enum"))

    @property
    def description(self) -> str:
        """Its description, in one line."""
        return " ".join(str(self.schema.get("description", "")).split())

    @property
    def label(self) -> str:
        """Its name as a person would write it, if that is known and not the same."""
        title = str(self.schema.get("title", ""))
        return "" if re.sub(r"[\W_]+", "", title).lower() == re.sub(r"[\W_]+", "", self.name).lower() else title

    @property
    def default(self) -> Any:
        """The connector's default."""
        return self.schema.get("default")

    @property
    def secret(self) -> bool:
        """Whether its value is a secret, by its schema or its name."""
        return is_secret(self.name, self.schema)

    @property
    def needed(self) -> bool:
        """Whether the connector does not work without it."""
        return self.required and self.default is None

    @property
    def asked_first(self) -> bool:
        """Whether ``new`` asks for it before it offers the rest."""
        known = self.name.lower() in CONNECTION or self.name == "start_date" or self.example is not None
        return self.needed or known or (self.secret and not OBSCURE.search(self.name))

    @property
    def sample(self) -> str:
        """A JSON example of a list or an object; empty for an option of another type."""
        return json.dumps(_sample(self.schema), ensure_ascii=False) if self.kinds & {"array", "object"} else ""

    @property
    def parts(self) -> list[Option]:
        """The settings within an object, or within each object of a list, needed ones first."""
        schema = _mapping(self.schema.get("items")) if "array" in self.kinds else self.schema
        needed = _list(schema.get("required"))
        properties = _mapping(schema.get("properties")) if {"array", "object"} & self.kinds else {}
        inside = [Option(str(name), _mapping(part), required=name in needed) for name, part in properties.items()]
        return sorted(inside, key=lambda option: not option.needed)

    def read(self, text: str) -> Any:
        """Convert what the user typed to the type of the option.

        A list of texts may also be typed as ``a,b``.

        :raises SetupError: E-SETTING, it is of another type, or not an allowed value.
        """
        allowed, kinds = self.allowed, self.kinds
        if allowed and text not in map(str, allowed):
            raise SetupError(
                "E-SETTING", f"{self.name} is {describe(text)}; allowed is one of {listed(map(str, allowed))}.", hint="Give one of these."
            )
        if self.schema.get("format") == DATE and "${" not in text and not _is_date(text):
            hint = f"Write it as {self.name}=2024-01-31 or {self.name}=2024-01-31T08:00:00Z"
            raise SetupError("E-SETTING", f"{self.name} is {describe(text)}; allowed is a date or a time.", hint=hint)
        if self.secret or "string" in kinds or isinstance(self.example, str):
            return text
        value: Any = text
        with suppress(ValueError, RecursionError):
            value = json.loads(text)
        if kinds == {"array"} and not isinstance(value, dict | list) and _kinds(_mapping(self.schema.get("items"))) == {"string"}:
            value = list(words(text))
        if kinds and _kind(value) not in kinds and not (_kind(value) == "integer" and "number" in kinds):
            example = shlex.quote(f"{self.name}={self.sample or SAMPLES[min(kinds & SAMPLES.keys(), default='null')]}")
            raise SetupError(
                "E-SETTING",
                f"{self.name} is {describe(value)}; allowed is {' or '.join(sorted(kinds))}.",
                hint=f"Write it as JSON, such as {example}",
            )
        wrong = _wrong(self.schema, value, self.name) if isinstance(value, dict | list) else ""
        if wrong:
            raise SetupError("E-SETTING", f"{wrong}.", hint=f"Write it as JSON, such as {shlex.quote(f'{self.name}={self.sample}')}")
        return value


def _wrong(schema: Mapping[str, Any], value: Any, name: str) -> str:
    """Return what of a list or an object its schema does not allow, without the value itself."""
    from jsonschema import Draft7Validator  # noqa: PLC0415 - few settings need it, and it is slow to import
    from jsonschema.exceptions import SchemaError, best_match  # noqa: PLC0415
    from referencing import Registry  # noqa: PLC0415
    from referencing.exceptions import Unresolvable  # noqa: PLC0415

    with suppress(SchemaError, Unresolvable):
        Draft7Validator.check_schema(schema)
        # The registry is empty: a reference must not fetch anything.
        error = best_match(Draft7Validator(schema, registry=Registry()).iter_errors(value))
        if error is None:
            return ""
        where = name + "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path)
        if error.validator == "required":
            return f"{where} has no {listed(part for part in error.validator_value if part not in error.instance)}"
        allowed = error.validator_value if isinstance(error.validator_value, list) else [error.validator_value]
        if error.validator in {"type", "enum"}:
            return f"{where} is of another kind; allowed is {' or '.join(str(item) for item in allowed if item != 'null')}"
        return f"{where} is not allowed: its schema has {error.validator} {describe(error.validator_value)}"
    return ""


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        return bool(datetime.fromisoformat(text))
    return False


def is_secret(name: str, schema: Mapping[str, Any]) -> bool:
    """Return whether the value of a key is a secret, by its JSON schema or by its name."""
    return _declared(schema) or (is_secret_key(name) and not _kinds(schema) & {"boolean", "integer", "number"})


def _declared(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("secret") or schema.get("writeOnly") or schema.get("format") == "password")


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    kinds: set[str] = set()
    for part in (schema, *_list(schema.get("anyOf")), *_list(schema.get("oneOf"))):
        kind = part.get("type") if isinstance(part, dict) else None
        kinds |= {str(item) for item in (_list(kind) or [kind]) if item is not None}
    return kinds - {"null"}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return kinds[type(value)]


SAMPLES = {"array": ["a", "b"], "boolean": "true", "integer": "5", "null": "null", "number": "0.5", "object": {"key": "value"}}
"""An example for each JSON type."""


def _sample(schema: Mapping[str, Any], depth: int = 4) -> Any:
    """Return an example of a value: of an object its required keys, else its first two."""
    kinds, allowed, default = _kinds(schema), _list(schema.get("enum")), schema.get("default")
    if allowed or default is not None or not depth:
        return allowed[0] if allowed else default
    if "array" in kinds:
        return [_sample(_mapping(schema.get("items")), depth - 1)] if _mapping(schema.get("items")) else SAMPLES["array"]
    if "object" in kinds:
        properties = {str(name): _mapping(part) for name, part in _mapping(schema.get("properties")).items()}
        shown = [name for name in properties if name in _list(schema.get("required"))] or list(properties)[:2]
        return {name: _sample(properties[name], depth - 1) for name in shown} or SAMPLES["object"]
    return {"boolean": True, "integer": 5, "number": 0.5}.get(min(kinds, default=""), "…")


def from_about(about: Mapping[str, Any]) -> list[Option]:
    """Return the options of ``--about`` without those of the SDK, in the order of questions.

    A mapper cannot do without stream maps.

    Needed ones come first, then those of the connection, secrets, the others.
    """
    chosen = [option for option in all_of(about) if option.name not in BUILT_IN or (option.name == MAPS and option.required)]
    return sorted(chosen, key=rank)


def all_of(about: Mapping[str, Any]) -> list[Option]:
    """Return all options of ``--about``, in its order."""
    settings = about.get("settings")
    properties = settings.get("properties") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(properties, dict):
        return []
    needed = _list(settings.get("required"))
    return [Option(name, schema if isinstance(schema, dict) else {}, required=name in needed) for name, schema in properties.items()]


def rank(option: Option) -> tuple[bool, int, bool]:
    """Return the sort key of an option: what people know comes before what they must look up."""
    name = option.name.lower()
    connection = CONNECTION.index(name) if name in CONNECTION else len(CONNECTION)
    return not option.needed, connection, not (option.secret and not OBSCURE.search(name))


def named(name: str) -> Option:
    """Return the option of that name; one with a dot is part of another."""
    return Option(name, nested="." in name)


def missing(options: Sequence[Option], config: Mapping[str, Any]) -> list[str]:
    """Return the options that the connector needs and *config* lacks."""
    return [option.name for option in options if option.needed and not holds(config, option)]


def holds(config: Mapping[str, Any], option: Option) -> bool:
    """Return whether a config has a value for an option."""
    value: Any = config
    for part in _path(option):
        if not isinstance(value, dict) or part not in value:
            return False
        value = value[part]
    return True


def put(config: dict[str, Any], option: Option, value: Any) -> None:
    """Write the value of an option into a config."""
    *outer, last = _path(option)
    for part in outer:
        if not isinstance(config.get(part), dict):
            config[part] = {}
        config = config[part]
    config[last] = value


def _path(option: Option) -> list[str]:
    return option.name.split(".") if option.nested else [option.name]


def from_readme(text: str) -> list[Option]:
    """Return the keys of a README's sample config: the first one, one near the word config."""
    samples: list[tuple[bool, int, dict[str, Any]]] = []
    for block, before in _blocks(text):
        with suppress(ValueError, RecursionError):
            sample = json.loads(COMMENT.sub(lambda part: part[1] or "", block))
            if (
                isinstance(sample, dict)
                and not sample.keys() & NOT_CONFIG
                and any(not isinstance(value, dict) for value in sample.values())
            ):
                samples.append(("config" not in before.lower(), len(samples), sample))
    return [Option(name, example=value) for name, value in min(samples)[2].items()] if samples else []


def needed(samples: Sequence[Option], refusal: str) -> list[Option]:
    """Return the options of a program without ``--about``.

    Its error about an empty config names those that it needs.
    """
    keys = re.search(r"missing required keys:? \[([^\]]*)\]", refusal, re.IGNORECASE)
    names = re.findall(r"['\"]([^'\"]+)['\"]", keys[1]) if keys else []
    known = {option.name: option for option in samples}
    first = [replace(known.pop(name, Option(name)), required=True) for name in names]
    return [*first, *known.values()]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield blocks of code with an object, fenced or indented, and the text before each."""
    for block in re.finditer(r"^( *)```[^\n]*\n(.*?)^ *```|(?:^(?: {2,}|\t)[^\n]*\n|^\n)+", text, re.MULTILINE | re.DOTALL):
        inside = re.search(r"\{.*\}", block[0], re.DOTALL)
        if inside:
            yield inside[0], text[max(0, block.start() - NEAR) : block.start()] + block[0][: inside.start()]


def option(options: Sequence[Option], name: str, *, complete: bool) -> Option:
    """Return the option of that name. If the list is *complete*, an unknown name is an error.

    :raises SetupError: E-SETTING, there is no such option.
    """
    known_option = next((item for item in options if item.name == name), None)
    if known_option is None and complete and name not in BUILT_IN:
        known = [item.name for item in options]
        raise SetupError(
            "E-SETTING",
            f"It has no setting {describe(name)}.{nearest(name, known)} Settings are {listed(known)}.",
            hint="Name one of these.",
        )
    return known_option or Option(name)


def hide(option: Option, value: Any, connector: str) -> tuple[Any, dict[str, str]]:
    """Replace each secret in a value by ``${VARIABLE}``. Return it and the variables' values."""
    secrets: dict[str, str] = {}
    if option.name == MAPS:
        return value, secrets

    def look(item: Any, schema: Mapping[str, Any], path: tuple[str, ...], *, secret: bool) -> Any:
        secret = secret or _declared(schema)
        if isinstance(item, dict):
            below = _mapping(schema.get("properties"))
            return {key: look(inner, _mapping(below.get(key)), (*path, key), secret=secret) for key, inner in item.items()}
        if isinstance(item, list):
            inside = _mapping(schema.get("items"))
            return [look(inner, inside, (*path, str(number)), secret=secret) for number, inner in enumerate(item)]
        key = next(part for part in reversed(path) if not part.isdigit() or part == path[0])
        if isinstance(item, bool | None) or not str(item) or "${" in str(item) or not (secret or is_typed_secret(key, str(item))):
            return item
        name = variable(connector, *path)
        secrets[name] = str(item)
        return f"${{{name}}}"

    return look(value, option.schema, (option.name,), secret=False), secrets


def literal(option: Option, value: Any, variables: Mapping[str, str]) -> Any:
    """Return the value of *option* for the config: of ``${NAME}``, the number it stands for.

    ``${NAME}`` is always a text when it is filled in. A setting that takes no text gets the
    variable's value itself.
    """
    name = value[2:-1] if isinstance(value, str) and re.fullmatch(r"\$\{\w+\}", value) else ""
    if name not in variables or option.secret or not option.kinds or "string" in option.kinds:
        return value
    with suppress(SetupError):
        return option.read(variables[name].lower() if option.kinds == {"boolean"} else variables[name])
    return value


def variable(connector: str, *path: str) -> str:
    """Return the name of a secret's variable, as Meltano builds it: ``TAP_GITHUB_AUTH_TOKEN``."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join((connector, *path))).upper()
    return name if not name[0].isdecimal() else f"_{name}"
