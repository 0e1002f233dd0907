"""Strict reading of the files that people write.

Pure but for opening the file. An error names the file, the key, its value and what is allowed.
"""

from __future__ import annotations

import difflib
import json
import re
from typing import TYPE_CHECKING, Any, NoReturn

import yaml

from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
    from pathlib import Path

SHOWN = 80
SCHEMA = "# yaml-language-server: $schema={}docs/schemas/{}.json\n"
"""The first line of a file: it names the JSON Schema by which an editor completes its keys."""


class _Loader(yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader):  # type: ignore[misc]
    """YAML without surprises: a key that stands twice is an error, and keys are strings."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001, FBT002 - PyYAML's signature
        seen: set[object] = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":  # <<: *other
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, str):
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} is not a string", problem_mark=key_node.start_mark)
            if key in seen:
                raise yaml.MarkedYAMLError(problem=f"the key {key!r} stands twice", problem_mark=key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)  # type: ignore[no-any-return]


def read_text(file: Path, shown: str) -> str:
    """Read a text file; a byte order mark and the line ends of Windows are accepted.

    :raises SetupError: E-CONFIG, it cannot be read or is not UTF-8.
    """
    return read_exact(file, shown).removeprefix("\ufeff").replace("\r\n", "\n")


def read_exact(file: Path, shown: str) -> str:
    """Read a text file that is written back: with its byte order mark and line ends.

    :raises SetupError: E-CONFIG, it cannot be read or is not UTF-8.
    """
    try:
        return file.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise SetupError("E-CONFIG", f"{shown} is not there.", hint=f"Write {shown}; docs/contracts.md describes it.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SetupError("E-CONFIG", f"{shown} cannot be read: {error}.", hint="Save it as UTF-8 text that you may read.") from None


def read_yaml(file: Path, shown: str) -> Any:
    """Read a file that holds one YAML document.

    :raises SetupError: E-CONFIG, with line and column.
    """
    return parse_yaml(read_text(file, shown), shown)


def parse_yaml(text: str, shown: str) -> Any:
    """Read one YAML document, the text of the file *shown*.

    :raises SetupError: E-CONFIG, with line and column.
    """
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of the safe loader
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        position = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise SetupError("E-CONFIG", f"{shown}{position}: {error.problem}.", hint=f"Correct {shown}.") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise SetupError("E-CONFIG", f"{shown} is not YAML: {error}.", hint=f"Correct {shown}.") from None


def yaml_events(text: str) -> Iterator[yaml.Event]:
    """Yield the events of a YAML text, with their positions."""
    return yaml.parse(text, Loader=_Loader)


def no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``: Python's parser takes them, no other parser of JSON does.

    :raises ValueError: always.
    """
    raise ValueError(f"it has {name}, which JSON does not allow")


def read_object(file: Path, shown: str, code: str = "E-CONFIG") -> dict[str, Any]:
    """Read a file that holds one JSON object.

    :raises SetupError: *code*, with line and column.
    """
    text = read_text(file, shown)
    try:
        value = json.loads(text, parse_constant=no_constant)
    except json.JSONDecodeError as error:
        raise SetupError(code, f"{shown}, line {error.lineno}, column {error.colno}: {error.msg}.", hint=f"Correct {shown}.") from None
    except (ValueError, RecursionError) as error:
        raise SetupError(code, f"{shown} is not JSON: {error}.", hint=f"Correct {shown}.") from None
    if not isinstance(value, dict):
        raise SetupError(
            code, f"{shown} holds {describe(value)}, not a JSON object.", hint=f"Correct {shown}: it begins with {{ and ends with }}."
        )
    return value


def describe(value: object) -> str:
    """Return a value as JSON, short enough for a sentence."""
    try:
        text = json.dumps(value, ensure_ascii=False, default=str)
    except (ValueError, RecursionError):  # a YAML alias may lead to a value that contains itself
        text = "a value that contains itself"
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def nearest(word: str, known: Iterable[str]) -> str:
    """Return `` Did you mean "x"?`` or nothing."""
    close = _closest(word, known)
    return f' Did you mean "{close}"?' if close else ""


def _closest(word: str, known: Iterable[str]) -> str:
    """Return the word of *known* that is most like *word*; empty if none is."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1)), "")


def listed(words: Iterable[str]) -> str:
    """Join *words* for a sentence."""
    return ", ".join(words) or "none"


def words(text: str) -> tuple[str, ...]:
    """Return the words of a comma list, each once: Invoke takes no lists."""
    return tuple(dict.fromkeys(word.strip(" ") for word in text.split(",") if word.strip(" ")))


class MistakeError(SetupError):
    """A mistake at keys of a file; the rest of it can be read without them."""

    def __init__(self, code: str, problem: str, *, hint: str, keys: Iterable[tuple[str, str]]) -> None:
        """Take the keys, each as the file and the path in it."""
        super().__init__(code, problem, hint=hint)
        self.keys = frozenset(keys)


def _text(pattern: str) -> dict[str, Any]:
    """Return the JSON Schema of a string that matches all of *pattern*."""
    return {"type": "string", "pattern": f"^({pattern})$"}


TEXT = r"[^\x00-\x1f]+"
MAPPING = "a mapping of keys to values"


class Fields:
    """The keys of one mapping; ``finish`` refuses those that were not read."""

    def __init__(self, data: object, *, shown: str, at: str = "", skipped: Collection[tuple[str, str]] = ()) -> None:
        """Take the mapping at the key path *at* of the file *shown*.

        The keys *skipped* have known mistakes: they are read as if they were absent, and one that
        is required has a value of the right type.

        :raises SetupError: E-CONFIG, it is not a mapping.
        """
        self.shown = shown
        self.at = at
        self._skipped = skipped
        self._asked: dict[str, dict[str, Any] | Fields] = {}
        """What may stand at each key that was read: its JSON Schema, or the mapping."""
        if not isinstance(data, dict):
            self._wrong("", data, MAPPING)
        self._data: Mapping[str, Any] = data

    def _wrong(self, key: str, value: object, allowed: str) -> NoReturn:
        path = self._path(key) or "the document"
        end = "" if allowed.endswith("?") else "."
        raise MistakeError(
            "E-CONFIG",
            f"{self.shown}: {path} is {describe(value)}; allowed is {allowed}{end}",
            hint=f"Correct {path} in {self.shown}.",
            keys=[(self.shown, path)] if key else [],
        )

    def _path(self, key: str) -> str:
        return ".".join(part for part in (self.at, key) if part)

    def skips(self, key: str) -> bool:
        """Return whether *key* has a known mistake."""
        return bool(self._skipped) and (self.shown, self._path(key)) in self._skipped

    def _take(self, key: str, default: Any, allowed: str, schema: dict[str, Any] | None = None) -> Any:
        if schema:
            self._asked[key] = {"description": allowed, "required": default is ... and key not in self._asked, **schema}
        self._asked.setdefault(key, {})
        if self.skips(key):
            return default
        if key in self._data and self._data[key] is not None:
            return self._data[key]
        if default is ...:
            path = self._path(key)
            close = _closest(key, sorted(str(name) for name in set(self._data) - set(self._asked)))
            written = f' "{close}" may be a mistyped "{key}".' if close else ""
            hint = f'Rename "{close}" to "{key}" in {self.shown}.' if close else f"Add {path} to {self.shown}."
            keys = [(self.shown, self._path(name)) for name in (key, close) if name]
            raise MistakeError("E-CONFIG", f"{self.shown}: {path} is missing; it is {allowed}.{written}", hint=hint, keys=keys)
        return default

    def text(self, key: str, default: Any = ..., *, pattern: str = TEXT, allowed: str = "a text") -> Any:
        """Return a string that matches *pattern*, or *default* (may be None) without the key."""
        value = self._take(key, default, allowed, _text(pattern))
        if value is not default and not (isinstance(value, str) and re.fullmatch(pattern, value)):
            self._wrong(key, value, allowed)
        return key if value is ... else value

    def choice(self, key: str, allowed: Collection[str], default: Any = ...) -> str:
        """Return one of the words *allowed*."""
        value = self._take(key, default, f"one of {listed(allowed)}", {"enum": list(allowed)})
        if value is ...:
            return next(iter(allowed))
        if not isinstance(value, str) or value not in allowed:
            self._wrong(key, value, f"one of {listed(allowed)}")
        return value

    def texts(self, key: str, default: Any = ..., *, pattern: str = TEXT, allowed: str = "a text or a list of texts") -> tuple[str, ...]:
        """Return a list of strings; one string is a list of one."""
        value = self._take(key, default, allowed, {"anyOf": [_text(pattern), {"type": "array", "items": _text(pattern)}]})
        values = [key] if value is ... else [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(item, str) and re.fullmatch(pattern, item) for item in values):
            self._wrong(key, value, allowed)
        return tuple(values)

    def has(self, key: str) -> bool:
        """Return whether *key* has a value, right or wrong; from then on it is a known key."""
        return self._take(key, None, "") is not None or self.skips(key)

    def is_list(self, key: str) -> bool:
        """Return whether the value of *key* is a list."""
        return isinstance(self._data.get(key), list)

    def groups(self, key: str, word: str, *, pattern: str, allowed: str) -> dict[str, tuple[str, ...]] | None:
        """Return lists of texts by names that match *pattern*.

        Empty for the text *word*, None without the key.
        """
        group = {"type": "array", "items": _text(TEXT), "minItems": 1, "uniqueItems": True}
        lists = {"type": "object", "propertyNames": _text(pattern), "additionalProperties": group, "minProperties": 1}
        value = self._take(key, None, allowed, {"anyOf": [{"enum": [word]}, lists]})
        if value is None or value == word:
            return None if value is None else {}
        if not isinstance(value, dict) or not value or not all(isinstance(name, str) and re.fullmatch(pattern, name) for name in value):
            self._wrong(key, value, allowed)
        if not all(isinstance(items, list) and items and all(isinstance(item, str) for item in items) for items in value.values()):
            self._wrong(key, value, allowed)
        return {name: tuple(items) for name, items in value.items()}

    def flag(self, key: str, *, default: bool) -> bool:
        """Return true or false; a text such as "yes" is an error."""
        value = self._take(key, default, "true or false", {"type": "boolean"})
        if not isinstance(value, bool):
            self._wrong(key, value, "true or false")
        return value

    def number(self, key: str, *, default: int, least: int, most: int) -> int:
        """Return a whole number between *least* and *most*."""
        form = {"type": "integer", "minimum": least, "maximum": most}
        value = self._take(key, default, f"a whole number from {least} to {most}", form)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            self._wrong(key, value, f"a whole number from {least} to {most}")
        return value

    def mapping(self, key: str) -> Fields:
        """Return the mapping of *key*, an empty one without the key."""
        value = self._take(key, {}, MAPPING)
        if not isinstance(value, dict):
            self._wrong(key, value, MAPPING)
        inside = Fields(value, shown=self.shown, at=self._path(key), skipped=self._skipped)
        self._asked[key] = inside
        return inside

    @property
    def schema(self) -> dict[str, Any]:
        """The JSON Schema of the mapping, with the keys that were read; null is as no key."""
        properties, required = dict[str, Any](), list[str]()
        for key, asked in self._asked.items():
            if isinstance(asked, Fields):
                properties[key] = {"anyOf": [asked.schema, {"type": "null"}]}
                continue
            form = {name: value for name, value in asked.items() if name not in {"description", "required"}}
            if asked.get("required"):
                required.append(key)
            else:
                form = {"anyOf": [*form.get("anyOf", [form]), {"type": "null"}]}
            properties[key] = {"description": asked.get("description", ""), **form}
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    def refuse(self, key: str, allowed: str) -> NoReturn:
        """Refuse the value of *key*."""
        self._wrong(key, self._data.get(key), allowed)

    def finish(self) -> None:
        """Refuse every key that was not read.

        :raises SetupError: E-CONFIG, with the nearest known key.
        """
        for key in self._data:
            if key not in self._asked and not self.skips(key):
                path = self._path(key)
                raise MistakeError(
                    "E-CONFIG",
                    f"{self.shown}: {path} is not a known key.{nearest(key, self._asked)} Known are {listed(self._asked)}.",
                    hint=f"Correct or remove {path} in {self.shown}.",
                    keys=[(self.shown, path)],
                )
