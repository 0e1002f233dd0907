"""Change the selection of a catalog: its streams, fields and replication. Pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from cluster.config.strict import describe, listed, nearest
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cluster.onboarding.catalog import Path, Stream

METHODS = ("FULL_TABLE", "INCREMENTAL", "LOG_BASED")
SHOWN = 20
EXCLUDABLE = {"", "unsupported"}
"""What ``Stream.fixed`` returns for a field that may be excluded: it is optional, or is not loaded
anyway."""


@dataclass(frozen=True)
class Choice:
    """The options of ``select``. Names may be globs; a field is ``stream.field``."""

    everything: bool = False
    nothing: bool = False
    streams: tuple[str, ...] = ()
    """These streams and no others."""
    fields: tuple[str, ...] = ()
    """Of their streams these fields and no others."""
    add: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    """``INCREMENTAL``, or ``stream=INCREMENTAL``."""
    keys: tuple[str, ...] = ()
    """``updated_at``, or ``stream=updated_at``."""

    def options(self) -> str:
        """Return the options of ``select`` that make this choice, as a shell takes them."""
        flags = {"--all": self.everything, "--none": self.nothing}
        lists = {
            "--stream": self.streams,
            "--field": self.fields,
            "--add": self.add,
            "--exclude": self.exclude,
            "--replication": self.methods,
            "--replication-key": self.keys,
        }
        words = [flag for flag, chosen in flags.items() if chosen]
        return " ".join([*words, *(f"{flag} {shlex.quote(','.join(names))}" for flag, names in lists.items() if names)])


def select(streams: Sequence[Stream], choice: Choice) -> list[str]:
    """Apply *choice* to the streams, and return a note for each part that is not possible.

    An error leaves them unchanged.

    :raises SetupError: E-UNKNOWN, no stream or field has such a name; E-SETTING, a replication that
        the stream does not allow.
    """
    notes = [*_whole(streams, choice), *_only(streams, choice.fields), *_add(streams, choice.add), *_exclude(streams, choice.exclude)]
    _replicate(streams, choice)
    for stream in streams:
        for field in stream.top:
            if not field.selected and stream.fixed(field.path) not in EXCLUDABLE:
                stream.choose(field.path, selected=True)
    return notes


def _whole(streams: Sequence[Stream], choice: Choice) -> list[str]:
    """Select all streams, none, or only those that *choice* names."""
    named = [stream for pattern in choice.streams for stream, _ in find(streams, pattern, fields=False)]
    if choice.everything or choice.nothing or named:
        for stream in streams:
            stream.selected = choice.everything and stream.supported
    if choice.everything:
        for stream in streams:
            for field in stream.top:
                stream.choose(field.path, selected=True)
    return _take(named)


def _take(streams: Iterable[Stream]) -> list[str]:
    """Select streams, except unsupported ones."""
    notes = []
    for stream in streams:
        stream.selected = stream.supported
        if not stream.supported:
            notes.append(f"{stream.id} is unsupported: the tap cannot load it")
    return notes


def _take_field(stream: Stream, path: Path) -> list[str]:
    stream.choose(path, selected=True)
    field = stream.fields[path]
    return [] if field.selected else [f"{stream.id}.{field.name} is unsupported: the tap cannot load it"]


def _only(streams: Sequence[Stream], patterns: Iterable[str]) -> list[str]:
    """Select these fields, and no others of their streams."""
    pairs = [pair for pattern in patterns for pair in find(streams, pattern)]
    concerned = {stream.id: stream for stream, _ in pairs}.values()
    notes = _take(concerned)
    for stream in concerned:
        for field in stream.top:
            stream.choose(field.path, selected=False)
    for stream, paths in pairs:
        for path in paths or [field.path for field in stream.top]:
            notes += _take_field(stream, path)
    return notes


def _add(streams: Sequence[Stream], patterns: Iterable[str]) -> list[str]:
    pairs = [pair for pattern in patterns for pair in find(streams, pattern)]
    notes = _take({stream.id: stream for stream, _ in pairs}.values())
    for stream, paths in pairs:
        for path in paths:
            notes += _take_field(stream, path)
    return notes


def _exclude(streams: Sequence[Stream], patterns: Iterable[str]) -> list[str]:
    notes = []
    for stream, paths in (pair for pattern in patterns for pair in find(streams, pattern)):
        if not paths:
            stream.selected = False
        for path in paths:
            reason = stream.fixed(path)
            if reason in EXCLUDABLE:
                stream.choose(path, selected=False)
            else:
                notes.append(f"{stream.id}.{stream.fields[path].name} is {reason}: it is loaded with every record")
    return notes


def find(streams: Sequence[Stream], pattern: str, *, fields: bool = True) -> list[tuple[Stream, list[Path]]]:
    """Return the streams that a name or a glob matches; for ``stream.field``, with fields.

    :raises SetupError: E-UNKNOWN, it matches none.
    """
    whole = [stream for stream in streams if pattern in stream.names] or [stream for stream in streams if _matches(stream, pattern)]
    if whole:
        return [(stream, []) for stream in whole]
    head, missing, near = "", pattern, []
    for dot in (position for position, letter in enumerate(pattern) if letter == "." and fields):
        head, missing = pattern[:dot], pattern[dot + 1 :]
        near = [stream for stream in streams if _matches(stream, head)]
        pairs = [(stream, [path for path, field in stream.fields.items() if fnmatchcase(field.name, missing)]) for stream in near]
        if any(paths for _, paths in pairs):
            return [(stream, paths) for stream, paths in pairs if paths]
        if near:
            break
    if near:
        raise _unknown_field(near[0], missing, {field.name for stream in near for field in stream.fields.values()})
    known = {name for stream in streams for name in stream.names}
    raise SetupError(
        "E-UNKNOWN",
        f"There is no stream {describe(pattern)} in the catalog.{nearest(pattern, known)}",
        hint=f"Its streams are {few(known)}.",
    )


def _matches(stream: Stream, pattern: str) -> bool:
    return any(fnmatchcase(name, pattern) for name in stream.names)


def _unknown_field(stream: Stream, name: str, known: Iterable[str]) -> SetupError:
    return SetupError(
        "E-UNKNOWN", f"{stream.id} has no field {describe(name)}.{nearest(name, known)}", hint=f"Its fields are {few(known)}."
    )


def _replicate(streams: Sequence[Stream], choice: Choice) -> None:
    """Set replication methods and keys.

    :raises SetupError: E-SETTING, no such method, or the stream does not allow it; E-UNKNOWN, no
        such stream or field.
    """
    wanted: dict[str, dict[str, str]] = {}
    for name, texts in (("method", choice.methods), ("key", choice.keys)):
        for text in texts:
            pattern, _, value = text.rpartition("=")
            chosen = [stream for stream, _ in find(streams, pattern, fields=False)] if pattern else [s for s in streams if s.selected]
            for stream in chosen:
                wanted.setdefault(stream.id, {})[name] = value
    for stream in streams:
        if stream.id in wanted:
            replication = wanted[stream.id]
            method = replication.get("method", "INCREMENTAL").upper().replace("-", "_")
            key = replication.get("key", "")
            _check_replication(stream, method, key, replication.get("method", ""))
            stream.replicate(method, key)


def _check_replication(stream: Stream, method: str, key: str, typed: str) -> None:
    if method not in METHODS:
        raise SetupError(
            "E-SETTING",
            f"{describe(typed)} is no replication method.{nearest(method, METHODS)}",
            hint=f"Name one of {listed(METHODS)}; for one stream: {stream.id}=FULL_TABLE",
        )
    if stream.forced_method not in {"", method}:
        raise SetupError(
            "E-SETTING", f"The tap replicates {stream.id} by {stream.forced_method} only, not by {method}.", hint="Leave it out."
        )
    if key and (key,) not in stream.fields:
        known = [field.name for field in stream.top]
        raise SetupError(
            "E-UNKNOWN", f"{stream.id} has no field {describe(key)}.{nearest(key, known)}", hint=f"Its fields are {few(known)}."
        )
    if key and stream.valid_keys and key not in stream.valid_keys:
        raise SetupError(
            "E-SETTING", f"The tap cannot replicate {stream.id} by {key}.", hint=f"Its replication keys are {listed(stream.valid_keys)}."
        )
    if method == "INCREMENTAL" and not key and not stream.replication_key:
        raise SetupError(
            "E-SETTING",
            f"{stream.id} has no replication key, and INCREMENTAL needs one.",
            hint=f"Name it: --replication-key {stream.id}={few(stream.valid_keys) if stream.valid_keys else 'FIELD'}",
        )


def few(names: Iterable[str]) -> str:
    """Return the first names as a list, and the number of the others."""
    ordered = sorted(names)
    return listed(ordered[:SHOWN]) + (f" and {len(ordered) - SHOWN:,} more" if len(ordered) > SHOWN else "")
