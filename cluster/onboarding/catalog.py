"""A Singer catalog: streams, fields, selection and replication. Pure.

Selection is read as singer-sdk and singer-python read it. Of a stream and of a field, its own
``selected`` counts, else ``selected-by-default``, else the selection of its parent. An
``automatic`` field is always loaded, an ``unsupported`` one never. Taps differ where a catalog
leaves it open. So selection is written for every stream and every field: into the metadata, and for
the oldest taps into the schema as well.
"""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from cluster.config.strict import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Path = tuple[str, ...]
SYSTEM_SCHEMAS = {
    "crdb_internal", "ctxsys", "dbsnmp", "information_schema", "mdsys", "mysql", "performance_schema", "pg_automv", "pg_catalog",
    "pg_internal", "pg_toast", "sys", "system", "xdb",
}  # fmt: skip
"""Schemas with tables of the database itself, in small letters."""
PLAIN_NAMES = {"mysql", "sys", "system", "xdb"}
"""Those that may also be the first word of a stream's name."""


@dataclass
class Field:
    """One field of a stream, or of an object in it.

    ``path`` ends with its name, after those of its parents.
    """

    path: Path
    type: str
    inclusion: str
    """``available``, ``automatic`` or ``unsupported``."""
    selected: bool

    @property
    def name(self) -> str:
        """The path as people write it."""
        return ".".join(self.path)


class Stream:
    """One entry of a catalog. ``write`` puts changes into the entry."""

    def __init__(self, entry: dict[str, Any], *, default: bool = False) -> None:
        """Take an entry that ``reader.check_catalog`` accepts.

        *default* is its selection if it has none.
        """
        self.entry = entry
        self.id = str(entry.get("tap_stream_id", entry.get("stream")))
        self.schema: dict[str, Any] = entry["schema"]
        items = entry.get("metadata")
        self._items = [item for item in items if _is_metadata(item)] if isinstance(items, list) else []
        self._facts: dict[Path, dict[str, Any]] = {_path(item["breadcrumb"]): item["metadata"] for item in self._items}
        self.fields = {field.path: field for field in self._fields(self.schema, (), selected=True)}
        root = self._facts.get((), {})
        marks = (root.get("selected"), self.schema.get("selected"), entry.get("selected"), root.get("selected-by-default"))
        self.supported = root.get("inclusion") != "unsupported"
        self.selected = self.supported and bool(_first(marks, otherwise=default or not self._items))
        self.method = str(root.get("replication-method") or entry.get("replication_method") or self.forced_method)
        only = self.valid_keys[0] if len(self.valid_keys) == 1 else ""
        self.replication_key = str(root.get("replication-key") or entry.get("replication_key") or only)

    def _fields(self, schema: Mapping[str, Any], above: Path, *, selected: bool) -> Iterator[Field]:
        for name, part in _properties(schema).items():
            path = (*above, name)
            facts = self._facts.get(path, {})
            inclusion = str(facts.get("inclusion") or part.get("inclusion") or "available")
            marks = (facts.get("selected"), part.get("selected"), facts.get("selected-by-default"))
            chosen = inclusion == "automatic" or (inclusion != "unsupported" and bool(_first(marks, otherwise=True)))
            yield Field(path, kind(part), inclusion, selected and chosen)
            yield from self._fields(part, path, selected=selected and chosen)

    # -- from the tap

    @property
    def names(self) -> set[str]:
        """Its id and its name."""
        return {self.id, str(self.entry.get("stream") or self.id)}

    @property
    def keys(self) -> tuple[str, ...]:
        """Its primary key."""
        return _texts(self._facts.get((), {}).get("table-key-properties")) or _texts(self.entry.get("key_properties"))

    @property
    def forced_method(self) -> str:
        """The replication method, if the tap allows only one."""
        return str(self._facts.get((), {}).get("forced-replication-method") or "")

    @property
    def valid_keys(self) -> tuple[str, ...]:
        """The fields that it can be replicated by, if the tap lists them."""
        return _texts(self._facts.get((), {}).get("valid-replication-keys"))

    @property
    def schema_name(self) -> str:
        """The database schema that it is in, if the tap tells."""
        facts = self._facts.get((), {})
        return str(facts.get("schema-name") or facts.get("database-name") or "")

    @property
    def top(self) -> list[Field]:
        """Its own fields, without those of nested objects."""
        return [field for path, field in self.fields.items() if len(path) == 1]

    @property
    def loaded(self) -> list[Field]:
        """Its selected fields, without those of nested objects."""
        return [field for field in self.top if field.selected]

    def fixed(self, path: Path) -> str:
        """Return why a field is always or never loaded; empty if it can be selected."""
        inclusion = self.fields[path].inclusion
        if inclusion != "available":
            return inclusion
        if path in {(key,) for key in self.keys}:
            return "a key"
        return "the replication key" if path == (self.replication_key,) and self.method == "INCREMENTAL" else ""

    # -- choosing

    def choose(self, path: Path, *, selected: bool) -> None:
        """Select a field and its parents, or deselect it; its nested fields follow."""
        for other, field in self.fields.items():
            below, above = other[: len(path)] == path, other == path[: len(other)]
            if below or (selected and above):
                field.selected = (selected and field.inclusion != "unsupported") or (field.inclusion == "automatic" and len(other) == 1)

    def write(self) -> None:
        """Write the selection into the entry."""
        old = not self._items or _marked(self.schema)
        self._mark((), "selected", self.selected)
        if old:
            self.schema["selected"] = self.selected
        self.entry["selected"] = self.selected
        for path, field in self.fields.items():
            part = self._part(path)
            above = self.fields.get(path[:-1])
            if above is None or above.selected != field.selected:
                if field.inclusion != "unsupported":
                    self._mark(path, "selected", field.selected)
                    if old:
                        part["selected"] = field.selected
            else:  # the same as its parent
                self._facts.get(path, {}).pop("selected", None)
                part.pop("selected", None)

    def replicate(self, method: str, key: str) -> None:
        """Write the replication into the metadata, and where singer-sdk reads it.

        An empty *key* stays as it is.
        """
        self.method = method
        self._mark((), "replication-method", method)
        self.entry["replication_method"] = method
        if key:
            self.replication_key = key
            self._mark((), "replication-key", key)
            self.entry["replication_key"] = key

    def _mark(self, path: Path, name: str, value: object) -> None:
        if path not in self._facts:
            if not isinstance(self.entry.get("metadata"), list):
                self.entry["metadata"] = []
            facts: dict[str, Any] = {}
            item = {"breadcrumb": [part for name in path for part in ("properties", name)], "metadata": facts}
            self.entry["metadata"].append(item)
            self._items.append(item)
            self._facts[path] = facts
        self._facts[path][name] = value

    def _part(self, path: Path) -> dict[str, Any]:
        part = self.schema
        for name in path:
            part = part["properties"][name]
        return part

    def take_over(self, before: Stream) -> None:
        """Take over the selection of an earlier catalog.

        A new field is selected if all fields were.
        """
        self.selected = self.supported and before.selected
        all_of_it = all(field.selected for field in before.fields.values() if field.inclusion != "unsupported")
        for path, field in self.fields.items():
            earlier, above = before.fields.get(path), self.fields.get(path[:-1])
            chosen = earlier.selected if earlier else all_of_it and field.selected
            possible = field.inclusion != "unsupported" and (above is None or above.selected)
            field.selected = possible and (chosen or field.inclusion == "automatic")
        root = before._facts.get((), {})
        if "view-key-properties" in root:
            self._mark((), "view-key-properties", root["view-key-properties"])
        if root.get("replication-method") and not self.forced_method:
            self.replicate(before.method, before.replication_key)


# ------------------------------------------------------------------------------------------------------- discovering


@dataclass
class Changes:
    """The difference between a catalog and an earlier one."""

    new: list[str] = dataclasses.field(default_factory=list)
    gone: list[str] = dataclasses.field(default_factory=list)
    changed: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """What has changed, by stream."""


def streams_of(catalog: Mapping[str, Any]) -> list[Stream]:
    """Return the streams of a catalog whose form has been checked."""
    return [Stream(entry) for entry in catalog["streams"]]


def is_system(stream: Stream) -> bool:
    """Return whether a stream is a table or view of the database itself."""
    schema = (stream.schema_name or re.split(r"[-.]", stream.id, maxsplit=1)[0]).lower()
    return schema in SYSTEM_SCHEMAS and (bool(stream.schema_name) or schema not in PLAIN_NAMES)


def merge(discovered: Mapping[str, Any], before: Mapping[str, Any] | None) -> Changes:
    """Write the selection of an earlier catalog into a discovered one.

    A new stream is selected if all streams were. Tables of the database itself are left out, unless
    there are no others.
    """
    known = {stream.id: stream for stream in streams_of(before)} if before else {}
    everything = all(stream.selected for stream in known.values() if stream.supported and not is_system(stream))
    streams = [Stream(entry, default=True) for entry in discovered["streams"]]
    only_system = all(map(is_system, streams))
    changes = Changes()
    for stream in streams:
        if stream.id in known:
            earlier = known.pop(stream.id)
            stream.take_over(earlier)
            different = _differences(earlier, stream)
            if different:
                changes.changed[stream.id] = different
        else:
            stream.selected = stream.selected and everything and (only_system or not is_system(stream))
            changes.new.append(stream.id)
        stream.write()
    changes.gone = list(known)
    return changes


def _differences(before: Stream, after: Stream) -> list[str]:
    """Return what differs between two versions of a stream: fields, types and keys."""
    added = [f"+{field.name}" for path, field in after.fields.items() if path not in before.fields]
    removed = [f"-{field.name}" for path, field in before.fields.items() if path not in after.fields]
    types = [
        f"{field.name}: {before.fields[path].type} → {field.type}"
        for path, field in after.fields.items()
        if path in before.fields and before.fields[path].type != field.type
    ]
    keys = [f"keys: {listed(before.keys)} → {listed(after.keys)}"] if before.keys != after.keys else []
    return [*added, *removed, *types, *keys]


def kind(schema: Mapping[str, Any]) -> str:
    """Return a schema's type for people: ``string``, ``date-time?`` (or null), ``object``."""
    types: dict[str, None] = {}
    for part in chain([schema], *(_parts(schema.get(word)) for word in ("anyOf", "oneOf", "allOf"))):
        declared = part.get("type")
        for one in [declared] if isinstance(declared, str) else declared if isinstance(declared, list) else []:
            types[str(part.get("format") or one) if one == "string" else str(one)] = None
    null = types.pop("null", 0) is None
    return (" | ".join(types) or "any") + ("?" if null else "")


def _parts(value: object) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _properties(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    properties = schema.get("properties")
    return {str(name): part for name, part in properties.items() if isinstance(part, dict)} if isinstance(properties, dict) else {}


def _marked(schema: Mapping[str, Any]) -> bool:
    """Return whether a schema itself carries selection, as those of the oldest taps do."""
    return any({"selected", "inclusion"} & part.keys() for part in (schema, *_properties(schema).values()))


def _is_metadata(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("breadcrumb"), list) and isinstance(item.get("metadata"), dict)


def _path(breadcrumb: list[Any]) -> Path:
    """Return the path of a breadcrumb: the names in ``["properties", "a", "properties", "b"]``."""
    return tuple(map(str, breadcrumb[1::2]))


def _first(values: Iterable[object], *, otherwise: object) -> object:
    """Return the first value that is not None."""
    return next((value for value in values if value is not None), otherwise)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
