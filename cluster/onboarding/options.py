"""What a connector's config may hold: read from ``--about``, else from the sample in its README. Pure."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, nearest
from cluster.errors import SetupError
from cluster.project.secrets import is_secret_key, is_typed_secret

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

BUILT_IN = {
    "add_record_metadata", "batch_config", "batch_size_rows", "default_target_schema", "faker_config", "flattening_enabled",
    "flattening_max_depth", "flattening_max_key_length", "flattening_separator", "hard_delete", "load_method",
    "process_activate_version_messages", "stream_map_config", "stream_maps", "validate_records",
}  # fmt: skip
"""What every connector of the SDK takes. Those who need one of these know it; nobody wants to be asked."""

NOT_CONFIG = {"type", "stream", "streams", "bookmarks", "currently_syncing"}
"""Keys of messages, catalogs and states, which READMEs show too."""

NEAR = 300
"""How far before a block of code, in characters, the word stands that says what it is."""

DATE = "date_iso8601"
"""The format of a setting that takes a date or a time."""

COMMENT = re.compile(r'("(?:[^"\\]|\\.)*")|//[^\n]*|,(?=\s*[}\]])')
"""What samples have that JSON has not: comments, and commas behind the last item. Texts are matched first, to be left alone."""


@dataclass(frozen=True)
class Option:
    """One key of a config."""

    name: str
    schema: Mapping[str, Any] = field(default_factory=dict)
    """Its JSON schema, as far as it is known."""
    required: bool = False
    example: Any = None

    @property
    def kinds(self) -> set[str]:
        """The JSON types that it may have; none is known where it is empty."""
        return _kinds(self.schema)

    @property
    def allowed(self) -> list[Any]:
        """The values that it may have, where these are a few."""
        return _list(self.schema.get("enum"))

    @property
    def description(self) -> str:
        """One line about it."""
        return " ".join(str(self.schema.get("description", "")).split())

    @property
    def label(self) -> str:
        """Its name as a person would write it, if that is known and not the same."""
        title = str(self.schema.get("title", ""))
        return "" if re.sub(r"[\W_]+", "", title).lower() == re.sub(r"[\W_]+", "", self.name).lower() else title

    @property
    def default(self) -> Any:
        """What the connector takes where the config says nothing."""
        return self.schema.get("default")

    @property
    def secret(self) -> bool:
        """Whether its value is a secret: it says so, or its name does."""
        return is_secret(self.name, self.schema)

    @property
    def missed(self) -> bool:
        """Whether the connector cannot do without it."""
        return self.required and self.default is None

    def read(self, text: str) -> Any:
        """Return what somebody has typed as the value that the connector expects.

        :raises SetupError: E-SETTING, it is none of its types.
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
        found: Any = text
        with suppress(ValueError, RecursionError):
            found = json.loads(text)
        if kinds and _kind(found) not in kinds and not (_kind(found) == "integer" and "number" in kinds):
            hint = f"Write it as JSON, such as {self.name}={_sample(kinds)}"
            raise SetupError("E-SETTING", f"{self.name} is {describe(found)}; allowed is {' or '.join(sorted(kinds))}.", hint=hint)
        return found


def _is_date(text: str) -> bool:
    with suppress(ValueError):
        return bool(datetime.fromisoformat(text))
    return False


def is_secret(name: str, schema: Mapping[str, Any]) -> bool:
    """Say whether the value of a key is a secret, by its JSON schema or by its name."""
    return _declared(schema) or (is_secret_key(name) and not _kinds(schema) & {"boolean", "integer", "number"})


def _declared(schema: Mapping[str, Any]) -> bool:
    return bool(schema.get("secret") or schema.get("writeOnly") or schema.get("format") == "password")


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    found: set[str] = set()
    for part in (schema, *_list(schema.get("anyOf")), *_list(schema.get("oneOf"))):
        kind = part.get("type") if isinstance(part, dict) else None
        found |= {str(item) for item in (_list(kind) or [kind]) if item is not None}
    return found - {"null"}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _kind(value: Any) -> str:
    kinds = {bool: "boolean", int: "integer", float: "number", str: "string", list: "array", dict: "object", type(None): "null"}
    return kinds[type(value)]


def _sample(kinds: set[str]) -> str:
    samples = {"array": '\'["a", "b"]\'', "object": '\'{"key": "value"}\'', "boolean": "true", "integer": "5", "number": "0.5"}
    return next((samples[kind] for kind in sorted(kinds) if kind in samples), "null")


def from_about(about: Mapping[str, Any]) -> list[Option]:
    """Return the options that ``--about --format=json`` names: first those that are needed, then secrets, then the others."""
    settings = about.get("settings")
    properties = settings.get("properties") if isinstance(settings, dict) else None
    if not isinstance(settings, dict) or not isinstance(properties, dict):
        return []
    needed = _list(settings.get("required"))
    found = [Option(name, schema if isinstance(schema, dict) else {}, required=name in needed) for name, schema in properties.items()]
    return sorted((option for option in found if option.name not in BUILT_IN), key=lambda option: (not option.missed, not option.secret))


def from_readme(text: str) -> list[Option]:
    """Return the keys of the sample of a config in a README: the first block of code that holds one, if there is, near the word config."""
    samples: list[tuple[bool, int, dict[str, Any]]] = []
    for block, before in _blocks(text):
        with suppress(ValueError, RecursionError):
            sample = json.loads(COMMENT.sub(lambda found: found[1] or "", block))
            if (
                isinstance(sample, dict)
                and not sample.keys() & NOT_CONFIG
                and any(not isinstance(value, dict) for value in sample.values())
            ):
                samples.append(("config" not in before.lower(), len(samples), sample))
    return [Option(name, example=value) for name, value in min(samples)[2].items()] if samples else []


def needed(samples: Sequence[Option], refusal: str) -> list[Option]:
    """Return the options, those first that a program of the older kind has named when it got an empty config."""
    found = re.search(r"missing required keys:? \[([^\]]*)\]", refusal, re.IGNORECASE)
    names = re.findall(r"['\"]([^'\"]+)['\"]", found[1]) if found else []
    known = {option.name: option for option in samples}
    first = [replace(known.pop(name, Option(name)), required=True) for name in names]
    return [*first, *known.values()]


def _blocks(text: str) -> Iterator[tuple[str, str]]:
    """Yield the blocks of code that hold an object, each with the text before it: fenced as in Markdown, or indented."""
    for found in re.finditer(r"^( *)```[^\n]*\n(.*?)^ *```|(?:^(?: {2,}|\t)[^\n]*\n|^\n)+", text, re.MULTILINE | re.DOTALL):
        inside = re.search(r"\{.*\}", found[0], re.DOTALL)  # some stand in a shell command: cat > config.json
        if inside:
            yield inside[0], text[max(0, found.start() - NEAR) : found.start()] + found[0][: inside.start()]


def option(options: Sequence[Option], name: str, *, complete: bool) -> Option:
    """Return the option of that name; where all are known there must be one.

    :raises SetupError: E-SETTING, there is none.
    """
    found = next((item for item in options if item.name == name), None)
    if found is None and complete and name not in BUILT_IN:
        known = [item.name for item in options]
        raise SetupError(
            "E-SETTING",
            f"It has no setting {describe(name)}.{nearest(name, known)} Settings are {listed(known)}.",
            hint="Name one of these.",
        )
    return found or Option(name)


def hide(option: Option, value: Any, connector: str) -> tuple[Any, dict[str, str]]:
    """Take the secrets out of a value; return it with ``${VARIABLE}`` in their places, and the variables with what they stand for."""
    found: dict[str, str] = {}

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
        found[name] = str(item)
        return f"${{{name}}}"

    return look(value, option.schema, (option.name,), secret=False), found


def variable(connector: str, *path: str) -> str:
    """Return the variable that holds a secret, as Meltano would name it: ``TAP_GITHUB_AUTH_TOKEN``."""
    name = re.sub(r"[^A-Za-z0-9]+", "_", "_".join((connector, *path))).upper()
    return name if not name[0].isdecimal() else f"_{name}"
