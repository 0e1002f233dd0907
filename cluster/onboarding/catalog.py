"""A Singer catalog: what streams and fields there are, which of them are selected, and how they are replicated.

Pure. Selection is read as singer-sdk and singer-python read it: of a stream and of a field its own ``selected`` counts,
else ``selected-by-default``, else that of what it stands in; what is ``automatic`` is always loaded, what is
``unsupported`` never. Where nothing is said, taps differ. So it is written out for every stream and every field, in the
metadata, and in the schema as well where a tap is so old that it looks there: then no tap has to guess.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Any

from cluster.config.strict import listed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

Path = tuple[str, ...]


@dataclass
class Field:
    """One field of a stream, or of an object in it; ``path`` is its name after those of the objects it stands in."""

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
    """One entry of a catalog. What is chosen here stands in the entry after ``write``."""

    def __init__(self, entry: dict[str, Any], *, unsaid: bool = False) -> None:
        """Take an entry whose form has been checked (``connectors.check_catalog``); *unsaid* counts where it says nothing."""
        self.entry = entry
        self.id = str(entry.get("tap_stream_id", entry.get("stream")))
        self.schema: dict[str, Any] = entry["schema"]
        items = entry.get("metadata")
        self._items = [item for item in items if _is_metadata(item)] if isinstance(items, list) else []
        self._facts: dict[Path, dict[str, Any]] = {_path(item["breadcrumb"]): item["metadata"] for item in self._items}
        self.fields = {field.path: field for field in self._fields(self.schema, (), selected=True)}
        root = self._facts.get((), {})
        said = (root.get("selected"), self.schema.get("selected"), entry.get("selected"), root.get("selected-by-default"))
        self.supported = root.get("inclusion") != "unsupported"
        self.selected = self.supported and bool(_first(said, otherwise=unsaid or not self._items))
        self.method = str(root.get("replication-method") or entry.get("replication_method") or self.forced_method)
        only = self.valid_keys[0] if len(self.valid_keys) == 1 else ""
        self.replication_key = str(root.get("replication-key") or entry.get("replication_key") or only)

    def _fields(self, schema: Mapping[str, Any], above: Path, *, selected: bool) -> Iterator[Field]:
        for name, part in _properties(schema).items():
            path = (*above, name)
            facts = self._facts.get(path, {})
            inclusion = str(facts.get("inclusion") or part.get("inclusion") or "available")
            said = (facts.get("selected"), part.get("selected"), facts.get("selected-by-default"))
            chosen = inclusion == "automatic" or (inclusion != "unsupported" and bool(_first(said, otherwise=True)))
            yield Field(path, kind(part), inclusion, selected and chosen)
            yield from self._fields(part, path, selected=selected and chosen)

    # -- what the tap says

    @property
    def names(self) -> set[str]:
        """The names under which people know it."""
        return {self.id, str(self.entry.get("stream") or self.id)}

    @property
    def keys(self) -> tuple[str, ...]:
        """The fields that tell its records apart."""
        return _texts(self._facts.get((), {}).get("table-key-properties")) or _texts(self.entry.get("key_properties"))

    @property
    def forced_method(self) -> str:
        """The replication method where the tap leaves no choice, else nothing."""
        return str(self._facts.get((), {}).get("forced-replication-method") or "")

    @property
    def valid_keys(self) -> tuple[str, ...]:
        """The fields that it can be replicated by, as far as the tap says so."""
        return _texts(self._facts.get((), {}).get("valid-replication-keys"))

    @property
    def top(self) -> list[Field]:
        """Its own fields, without those of objects in it."""
        return [field for path, field in self.fields.items() if len(path) == 1]

    @property
    def loaded(self) -> list[Field]:
        """Those of its own fields that are selected."""
        return [field for field in self.top if field.selected]

    def fixed(self, path: Path) -> str:
        """Say why nobody can choose whether a field is loaded; nothing where one can."""
        inclusion = self.fields[path].inclusion
        if inclusion != "available":
            return inclusion
        if path in {(key,) for key in self.keys}:
            return "a key"
        return "the replication key" if path == (self.replication_key,) and self.method == "INCREMENTAL" else ""

    # -- choosing

    def choose(self, path: Path, *, selected: bool) -> None:
        """Select a field, what it stands in and what stands in it, or nothing of it and of what stands in it."""
        for other, field in self.fields.items():
            below, above = other[: len(path)] == path, other == path[: len(other)]
            if below or (selected and above):
                field.selected = (selected and field.inclusion != "unsupported") or (field.inclusion == "automatic" and len(other) == 1)

    def write(self) -> None:
        """Bring into the entry what was chosen."""
        old = not self._items or _marked(self.schema)
        self._say((), "selected", self.selected)
        if old:
            self.schema["selected"] = self.selected
        self.entry["selected"] = self.selected
        for path, field in self.fields.items():
            part = self._part(path)
            above = self.fields.get(path[:-1])
            if above is None or above.selected != field.selected:
                if field.inclusion != "unsupported":
                    self._say(path, "selected", field.selected)
                    if old:
                        part["selected"] = field.selected
            else:  # as what it stands in
                self._facts.get(path, {}).pop("selected", None)
                part.pop("selected", None)

    def replicate(self, method: str, key: str) -> None:
        """Say how it is replicated, in the metadata and where singer-sdk reads it; an empty *key* leaves that as it is."""
        self.method = method
        self._say((), "replication-method", method)
        self.entry["replication_method"] = method
        if key:
            self.replication_key = key
            self._say((), "replication-key", key)
            self.entry["replication_key"] = key

    def _say(self, path: Path, name: str, value: object) -> None:
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
        """Take over what people had chosen in an earlier catalog; a new field is selected where all fields were."""
        self.selected = self.supported and before.selected
        all_of_it = all(field.selected for field in before.fields.values() if field.inclusion != "unsupported")
        for path, field in self.fields.items():
            was, above = before.fields.get(path), self.fields.get(path[:-1])
            chosen = was.selected if was else all_of_it and field.selected
            possible = field.inclusion != "unsupported" and (above is None or above.selected)
            field.selected = possible and (chosen or field.inclusion == "automatic")
        root = before._facts.get((), {})
        if "view-key-properties" in root:
            self._say((), "view-key-properties", root["view-key-properties"])
        if root.get("replication-method") and not self.forced_method:
            self.replicate(before.method, before.replication_key)


# ------------------------------------------------------------------------------------------------------- discovering


@dataclass
class Changes:
    """How a catalog differs from an earlier one."""

    new: list[str] = dataclasses.field(default_factory=list)
    gone: list[str] = dataclasses.field(default_factory=list)
    changed: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    """Stream to what is different in it."""


def streams_of(catalog: Mapping[str, Any]) -> list[Stream]:
    """Return the streams of a catalog whose form has been checked."""
    return [Stream(entry) for entry in catalog["streams"]]


def merge(found: Mapping[str, Any], before: Mapping[str, Any] | None) -> Changes:
    """Write into a discovered catalog what people chose *before*; a new stream is selected where all streams were."""
    known = {stream.id: stream for stream in streams_of(before)} if before else {}
    everything = all(stream.selected for stream in known.values() if stream.supported)
    changes = Changes()
    for entry in found["streams"]:
        stream = Stream(entry, unsaid=True)
        if stream.id in known:
            earlier = known.pop(stream.id)
            stream.take_over(earlier)
            different = _differences(earlier, stream)
            if different:
                changes.changed[stream.id] = different
        else:
            stream.selected = stream.selected and everything
            changes.new.append(stream.id)
        stream.write()
    changes.gone = list(known)
    return changes


def _differences(before: Stream, after: Stream) -> list[str]:
    """Say what has come, gone and changed its type among the fields of a stream, and whether its keys have changed."""
    added = [f"+{field.name}" for path, field in after.fields.items() if path not in before.fields]
    removed = [f"-{field.name}" for path, field in before.fields.items() if path not in after.fields]
    types = [
        f"{field.name}: {before.fields[path].type} → {field.type}"
        for path, field in after.fields.items()
        if path in before.fields and before.fields[path].type != field.type
    ]
    keys = [f"keys: {listed(before.keys)} → {listed(after.keys)}"] if before.keys != after.keys else []
    return [*added, *removed, *types, *keys]


# ------------------------------------------------------------------------------------------------------ small things


def kind(schema: Mapping[str, Any]) -> str:
    """Say what values a schema describes: ``string``, ``date-time?`` (or null), ``integer | string``, ``object``."""
    types: dict[str, None] = {}
    for part in chain([schema], *(_parts(schema.get(word)) for word in ("anyOf", "oneOf", "allOf"))):
        given = part.get("type")
        for one in [given] if isinstance(given, str) else given if isinstance(given, list) else []:
            types[str(part.get("format") or one) if one == "string" else str(one)] = None
    null = types.pop("null", 0) is None
    return (" | ".join(types) or "any") + ("?" if null else "")


def _parts(value: object) -> list[dict[str, Any]]:
    return [part for part in value if isinstance(part, dict)] if isinstance(value, list) else []


def _properties(schema: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    found = schema.get("properties")
    return {str(name): part for name, part in found.items() if isinstance(part, dict)} if isinstance(found, dict) else {}


def _marked(schema: Mapping[str, Any]) -> bool:
    """Say whether a schema carries selection itself, as those of the oldest taps do."""
    return any({"selected", "inclusion"} & part.keys() for part in (schema, *_properties(schema).values()))


def _is_metadata(item: object) -> bool:
    return isinstance(item, dict) and isinstance(item.get("breadcrumb"), list) and isinstance(item.get("metadata"), dict)


def _path(breadcrumb: list[Any]) -> Path:
    """Return the field that a breadcrumb leads to: every second word of ``["properties", "a", "properties", "b"]``."""
    return tuple(map(str, breadcrumb[1::2]))


def _first(values: Iterable[object], *, otherwise: object) -> object:
    """Return the first value that says something."""
    return next((value for value in values if value is not None), otherwise)


def _texts(value: object) -> tuple[str, ...]:
    return tuple(map(str, value)) if isinstance(value, list) else ()
