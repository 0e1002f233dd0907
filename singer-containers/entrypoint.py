"""Run a connector: ``entrypoint.py tap``, or ``mapper``, ``target``, ``transform``.

Every connector image starts this program, and so does the local engine: a pipeline behaves alike
in both. The program

- reads its files at fixed paths; ``docs/contracts.md`` lists the ``SINGER_*`` variables for others;
- fills ``${NAME}`` secrets into the config and starts the connector;
- counts the messages of tap and mapper, and keeps the last valid state that the target prints.

A transform is a dbt project; it connects with the target's config. Outside a pipeline,
``discover`` prints a tap's catalog, ``about`` prints the connector's description, and
``alone ARGUMENTS`` starts the connector with these arguments.

Python 3.8 and its standard library are enough. Memory does not grow with the data.
"""

from __future__ import annotations

import base64
import codecs
import errno
import gc
import hashlib
import json
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus, unquote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

SIDES = ("tap", "mapper", "target", "transform", "about", "discover", "alone")
OWN_ERROR = 90
"""Exit code for the entrypoint's errors. Connectors use low numbers, signals 128 and above."""

CHUNK = 1 << 20
PIPE_BYTES = 1 << 20
GATHER_SECONDS = (0.002, 0.016)
"""Shortest and longest pause before the next read from a tap that writes message by message."""
REPORT_SECONDS = 0.5
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SECONDS = 5.0
GRACE_SECONDS = 10.0
"""How long the tap has to end after the target has failed."""
LOOK_SECONDS = 0.2
HELPER_SECONDS = 2.0
"""How long to wait for output after the connector's end, if a helper process holds the pipe."""
MESSAGES = ("SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH", "LOG")
"""The types of Singer messages. An object of one of these types is not a state."""
SAFE_SECONDS = 1.0
"""How often the newest state of a target is written to ``SINGER_SAFE_STATE``."""
ROTATED_SECONDS = 1.0
"""How often the connector's config is compared with the one that it got."""
SCHEMAS = 256
"""How many streams' schemas are compared with the catalog."""
LAST_STATES = 64
"""How many of the tap's last states have a digest in its report."""
SHOWN = 200
"""How many characters of an invalid line an error shows."""
LOG_LINE_BYTES = 1 << 16
"""A longer log line is passed on before its newline."""
WARNINGS = 3
"""How many different warnings from the connector's log are in the report."""
LEVEL = re.compile(r"\b(CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b\s*(?:\|[^|]*\||[|:\]-]+)?\s*(.+)$")
"""The first level in a log line, and the message after it."""
ERRORS = ("CRITICAL", "FATAL", "ERROR")
CATALOG_FLAGS = {"--catalog": "catalog", "--properties": "properties"}
"""The flags for a catalog, and the capability of each."""
NOTHING = re.compile(
    rb"\b(no|without) (\w+ )?(streams?|properties|tables?|catalog)\b[^\n]*\bselected|nothing[^\n]* selected", re.IGNORECASE
)
"""How a tap logs that nothing is selected."""
STYLING = re.compile(r"\x1b\[[0-9;:]*m")
"""A colour. It ends in a letter, next to the level."""
TIMES = ".modified.json"
"""In ``SINGER_FILES``, when each file was modified: taps compare this with their state."""
NOISE = re.compile("Stream is assumed to be unsorted")
"""The SDK prints this in every run, for every stream without a sorted key."""


class EntrypointError(Exception):
    """An error with a documented code, the problem, and one thing to do."""

    def __init__(self, code: str, problem: str, hint: str) -> None:
        """Keep the three parts; ``str()`` returns the problem."""
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.hint = hint


def ended_early(side: str) -> EntrypointError:
    """Return the error for a mapper or a target that did not read all of its input."""
    return EntrypointError(f"E-{side.upper()}-ENDED", f"The {side} ended before it had read everything.", f"See the {side}'s log.")


# ---------------------------------------------------------------------------------------------------------- secrets

SECRET = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def fill(value: Any, secret: Callable[[str], str]) -> Any:
    """Replace ``${NAME}`` in all strings of *value* by ``secret(NAME)``, and ``$${`` by ``${``."""
    if isinstance(value, str):
        return SECRET.sub(lambda match: secret(match[1]) if match[1] else "${", value)
    if isinstance(value, dict):
        return {key: fill(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, secret) for item in value]
    return value


def secret_reader(folder: Path, environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that reads a secret from the file *folder*/NAME, else from *environ*."""

    def secret(name: str) -> str:
        try:
            return (folder / name).read_bytes().decode("utf-8")  # read_text changes line ends
        except UnicodeDecodeError:
            raise EntrypointError("E-SECRET", f"The secret {name} is not UTF-8 text.", f"Write it to {folder / name} as UTF-8.") from None
        except OSError:
            pass
        try:
            return environ[name]
        except KeyError:
            raise EntrypointError(
                "E-SECRET", f"config.json asks for ${{{name}}}, which is not set.", f"Set {name} in the environment."
            ) from None

    return secret


def replaced(template: Any, written: Any, known: Mapping[str, list[str]]) -> Iterator[tuple[str, str | None]]:
    """Yield the ``${NAME}`` of *template* that have other values in *written*, with the new value.

    It is None if it cannot be kept. *known* are the values that each had before.
    """
    if isinstance(template, dict) and isinstance(written, dict):
        for key in template.keys() & written.keys():
            yield from replaced(template[key], written[key], known)
    elif isinstance(template, list) and isinstance(written, list):
        for one, other in zip(template, written):  # noqa: B905 - Python 3.8 has no strict
            yield from replaced(one, other, known)
    elif isinstance(template, str):
        whole = SECRET.fullmatch(template)
        text = str(written) if isinstance(written, (str, int, float)) and not isinstance(written, bool) else ""
        if whole and whole[1]:
            if text not in known[whole[1]]:
                yield whole[1], text or None
        elif written != fill(template, lambda name: known[name][0]):
            yield from ((match[1], None) for match in SECRET.finditer(template) if match[1])


HIDDEN = "***"
SHORT = 4
"""A shorter value is replaced only if it is a whole word."""


def written_forms(value: str) -> set[str]:
    """Return the value as it is, quoted for URLs, JSON, Python and HTML, and in base64.

    Inside a longer text, such as ``user:password``, base64 encodes a value in one of three ways,
    depending on its position. ``cluster/project/redaction.py`` has this function too; a test
    compares the two.
    """
    import html  # needed only for connectors with secrets

    forms: set[str] = set()
    for part in {value, *value.splitlines()}:
        if not part.strip():
            continue
        encoded = part.encode("utf-8", "surrogateescape")
        forms |= {
            part,
            part.strip(),
            quote(part, errors="replace"),
            quote(part, safe="", errors="replace"),
            quote_plus(part, errors="replace"),
        }
        forms |= {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1], html.escape(part)}
        forms |= {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()}
        for before in range(3):
            known = (8 * (before + len(encoded))) // 6
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                inner = encode(bytes(before) + encoded).decode()[(8 * before + 5) // 6 : known]
                if len(inner) >= 2 * SHORT:
                    forms.add(inner)
    return forms


class Redactor:
    """Replaces secrets in texts and logs."""

    def __init__(self) -> None:
        """Start without secrets."""
        self._pattern: re.Pattern[bytes] | None = None
        self._values: set[str] = set()

    def add(self, value: str) -> None:
        """Hide this value from now on."""
        self._values.add(value)
        self._pattern = None

    def hide(self, data: bytes) -> bytes:
        """Return *data* with every form of every secret replaced."""
        if not self._values:
            return data
        if self._pattern is None:
            forms = {form.encode("utf-8", "surrogateescape") for value in self._values for form in written_forms(value)}
            words = [
                re.escape(form) if len(form) >= SHORT else rb"(?<![\w*])" + re.escape(form) + rb"(?![\w*])"
                for form in sorted(forms, key=len, reverse=True)
            ]
            self._pattern = re.compile(b"|".join(words))
        return self._pattern.sub(HIDDEN.encode(), data)

    def text(self, text: str) -> str:
        """Return *text* with every form of every secret replaced."""
        return self.hide(text.encode("utf-8", "surrogatepass")).decode("utf-8", "replace")


def connection(config: Mapping[str, Any], secret: Callable[[str], str]) -> dict[str, str]:
    """Return a target's config as variables for a transform, without its objects and lists.

    The variable of a value with a secret begins with ``DBT_ENV_SECRET_``: dbt hides such values in
    its output, and accepts them in ``profiles.yml`` only.
    """
    variables = {}
    for key, value in config.items():
        if value is None or isinstance(value, (dict, list)):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        hidden = any(match[1] for match in SECRET.finditer(text))
        name = re.sub(r"[^A-Za-z0-9]", "_", key).upper()
        variables[f"{'DBT_ENV_SECRET_' if hidden else ''}TARGET_{name}"] = fill(text, secret)
    return variables


# --------------------------------------------------------------------------------------------------------- counting

HEAD = re.compile(rb'[ \t]*\{\s*"type"\s*:\s*"([A-Z_]+)"\s*,\s*(?:"stream"\s*:\s*"([^"\\]*)"\s*[,}]|"value"\s*:\s*[{}])', re.ASCII)
"""Beginning of nearly every Singer message. It has type and stream: the rest needs no parsing."""

GZIP = b"\x1f\x8b"
"""The first bytes of a compressed file: the SDK compresses every batch of JSON lines."""
HEAD_BYTES = 1 << 16
"""A line without a head in its first bytes is read to its end, then parsed."""


SURROGATES = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})")
"""A surrogate pair as JSON escapes it; the group matches one half without the other."""
PAIR_BYTES = 12


class Encoding:
    """Finds the first bytes of a stream that JSON does not allow as UTF-8. ASCII is fast."""

    def __init__(self) -> None:
        """Start at the beginning of a stream."""
        self.fault = ""
        """The first fault, such as ``is not UTF-8 (byte 0xe9)``; empty if there is none."""
        self.fault_line = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._began = False
        self._tail = b""

    def look(self, chunk: bytes, lines: int) -> None:
        """Check the next *chunk*; *lines* is the number of lines that ended before it."""
        if self.fault:
            return
        if not self._began and chunk.startswith(codecs.BOM_UTF8):
            self._fault("begins with a byte order mark (BOM)", lines + 1)
        self._began = True
        pending = self._decoder.getstate()[0]
        if pending or not chunk.isascii():
            try:
                self._decoder.decode(chunk)
            except UnicodeDecodeError as error:
                before = bytes(error.object)[: error.start]
                self._fault(f"is not UTF-8 (byte 0x{error.object[error.start]:02x})", lines + before.count(b"\n") + 1)
                return
        self._surrogates(self._tail + chunk, lines - self._tail.count(b"\n"))

    def finish(self, lines: int) -> None:
        """Check the rest at the end of the stream."""
        if not self.fault:
            self._surrogates(self._tail + b" " * PAIR_BYTES, lines - self._tail.count(b"\n"))

    def _surrogates(self, text: bytes, lines: int) -> None:
        """Find half a pair; keep the end of *text* for the next chunk if it may cut a pair."""
        last, end = len(text) - PAIR_BYTES + 1, 0
        if b"\\ud" in text or b"\\uD" in text:
            for match in SURROGATES.finditer(text):
                before = text[: match.start()]
                escaped = (len(before) - len(before.rstrip(b"\\"))) % 2
                if match[1] and not escaped and match.start() < last:
                    self._fault(f"has half of a character ({match[1].decode()})", lines + before.count(b"\n") + 1)
                    return
                end = match.end() if match[1] is None else end
        cut = text.find(b"\\", max(end, last))
        self._tail = text[cut:] if cut >= 0 else b""

    def _fault(self, fault: str, line: int) -> None:
        self.fault, self.fault_line = fault, line


class Batches:
    """Counts the files that BATCH messages name, and their records.

    Both sides share ``folder``, if there is one. Files elsewhere are linked or copied into it, and
    the message names these: in a pod, the target sees no other file of the tap.
    """

    def __init__(self, folder: str = "") -> None:
        """Start without files. If *folder* is empty, they stay where they are."""
        self.folder = folder
        self.streams: dict[str, dict[str, int]] = {}
        """For each stream ``files``, their ``bytes``, and ``uncounted`` files."""

    def take(self, line: bytes, number: int) -> tuple[int, bytes]:
        """Count the files of a BATCH message; return their records, and the line to pass on.

        :raises EntrypointError: E-TAP-OUTPUT, a file cannot be read.
        """
        message = json.loads(line)
        manifest, encoding = message.get("manifest"), message.get("encoding")
        if not isinstance(manifest, list):
            return 0, line
        counts = self.streams.setdefault(str(message.get("stream", "")), {"files": 0, "bytes": 0, "uncounted": 0})
        records, names = 0, []
        for address in map(str, manifest):
            counts["files"] += 1
            path, rows = self._local(address), None
            try:
                if path is not None:
                    path = self._shared(path)
                    counts["bytes"] += path.stat().st_size
                    rows = rows_in(path, encoding if isinstance(encoding, dict) else {})
            except OSError as error:
                raise EntrypointError(
                    "E-TAP-OUTPUT",
                    f"Line {number:,} of the tap's output names the batch file {address}, which cannot be read: {error.strerror or error}.",
                    "Correct the tap's batch_config: its files must exist when it sends their names.",
                ) from None
            records += rows or 0
            counts["uncounted"] += rows is None
            names.append(address if path == self._local(address) else f"file://{path}")
        return records, line if names == manifest else json.dumps({**message, "manifest": names}).encode() + b"\n"

    @staticmethod
    def _local(address: str) -> Path | None:
        """Return the path in a ``file://`` address, or a plain path; else None."""
        path = re.sub("^file://(localhost(?=/))?", "", address)
        if "://" in path:
            return None
        return Path(path if Path(path).exists() else unquote(path))

    def _shared(self, path: Path) -> Path:
        """Return a file's path in the shared folder; link or copy it there if it is elsewhere."""
        if not self.folder or str(path.resolve()).startswith(f"{Path(self.folder).resolve()}{os.sep}"):
            return path
        import shutil  # few taps need it

        number = sum(stream["files"] for stream in self.streams.values())
        there = Path(self.folder) / f"{number}-{path.name}"
        there.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(str(path.resolve()), str(there))
        except OSError:  # on another disk, or not ours
            shutil.copyfile(str(path), str(there))
        return there


def rows_in(path: Path, encoding: Mapping[str, Any]) -> int | None:
    """Return the number of records in a batch file.

    None if it is broken or not JSON lines: the standard library cannot read Parquet.
    """
    with path.open("rb") as file:
        packed = file.read(2) == GZIP
        if encoding.get("format") != "jsonl" or not (packed or encoding.get("compression") in (None, "", "none")):
            return None
        file.seek(0)
        import gzip  # few taps need it
        import zlib

        rows, last = 0, b"\n"
        try:
            source: Any = gzip.GzipFile(fileobj=file) if packed else file
            for data in iter(partial(source.read, CHUNK), b""):
                rows, last = rows + data.count(b"\n"), data[-1:]
        except (EOFError, zlib.error, gzip.BadGzipFile):
            return None
        return rows + (last != b"\n")


class Counter:
    """Counts the messages of a tap or a mapper by type and stream; chunks may end anywhere.

    ``feed`` returns the bytes to pass on: lines, or beginnings of lines, that are Singer messages.
    A line is passed on as soon as its beginning is known, so memory does not grow with its length.
    Most chunks hold records of one stream only: two searches in C count them.
    """

    def __init__(self, batches: Batches | None = None, side: str = "tap") -> None:
        """Start with empty counts; *side* is who prints the messages, for errors."""
        self.batches = batches or Batches()
        self.side = side
        self.messages: dict[str, int] = {}
        self.records: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.lines = 0
        self.streams: set[str] = set()
        """The streams with a message, such as a SCHEMA, a RECORD or a BATCH."""
        self.schemas: dict[str, bytes] = {}
        """The last SCHEMA of each stream, unless it was too long to keep."""
        self.blank = 0
        """The number of the first blank line, 0 if there is none."""
        self._held: list[bytes] = []  # beginning of a line without a complete head
        self._held_bytes = 0
        self._open: tuple[str, str] | None = None  # of a line that has not ended
        self._run = b""  # head of the last record
        self._run_kind = ("", "")
        self._states: deque[bytes] | None = deque(maxlen=LAST_STATES)  # None: one was too long
        self._changed: list[tuple[bytes, bytes]] = []  # lines of the chunk, and their new text

    def feed(self, chunk: bytes) -> bytes:
        """Count the next *chunk* and return the bytes to pass on.

        :raises EntrypointError: E-TAP-OUTPUT or E-MAPPER-OUTPUT, a line is not a Singer message;
            earlier lines count.
        """
        if self._held:
            if self._held_bytes > HEAD_BYTES and b"\n" not in chunk:
                self._hold(chunk)
                return b""
            chunk = self._release() + chunk
        position = 0
        if self._open is not None:
            end = chunk.find(b"\n") + 1
            self._add(self._open, 0, end or len(chunk))
            if not end:
                return chunk
            self._open = None
            position = end
        last = chunk.rfind(b"\n") + 1
        if position < last:
            self._lines(chunk, position, last)
            position = last
        if position < len(chunk) and not self._understands(chunk, position):
            self._hold(chunk[position:])
            chunk = chunk[:position]
        return self._with_changes(chunk) if self._changed else chunk

    @property
    def ended(self) -> int:
        """The number of lines that have ended."""
        return self.lines - (self._open is not None)

    def finish(self) -> bytes:
        """Count the rest at the end of the stream, and return a last line without a newline.

        :raises EntrypointError: as ``feed``.
        """
        rest = self._release()
        if rest:
            self._line(rest)
        return self._with_changes(rest)

    def digests(self) -> list[str]:
        """Return a digest of each of the last states; none if one of them was too long to keep."""
        digests = []
        for line in self._states or ():
            with suppress(ValueError, RecursionError):
                text = json.dumps(json.loads(line).get("value"), sort_keys=True)
                digests.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        return digests

    def too_long(self) -> EntrypointError:
        """Free a line that does not fit into memory, and return the error."""
        self._held = []
        return EntrypointError(
            f"E-{self.side.upper()}-OUTPUT",
            f"Line {self.lines + 1:,} of the {self.side}'s output does not begin like a Singer message and does not fit into memory.",
            f"A {self.side} may print only Singer messages on standard output; its log belongs on standard error.",
        )

    def _with_changes(self, chunk: bytes) -> bytes:
        """Return *chunk* with the lines of BATCH messages whose files were moved."""
        done: list[bytes] = []
        for line, new in self._changed:
            at = chunk.find(line)
            while at and chunk[at - 1 : at] != b"\n":  # it may be a part of a longer line
                at = chunk.find(line, at + 1)
            done += chunk[:at], new
            chunk = chunk[at + len(line) :]
        self._changed = []
        return b"".join([*done, chunk])

    def _hold(self, part: bytes) -> None:
        self._held.append(part)
        self._held_bytes += len(part)

    def _release(self) -> bytes:
        held, self._held, self._held_bytes = b"".join(self._held), [], 0
        return held

    def _lines(self, data: bytes, start: int, end: int) -> None:
        """Count the complete lines in ``data[start:end]``."""
        run = self._run
        if run and data.startswith(run, start):
            lines = data.count(b"\n", start, end)
            if 1 + data.count(b"\n" + run, start, end) == lines:
                self._add(self._run_kind, lines, end - start)
                self.lines += lines
                return
        while start < end:
            stop = data.index(b"\n", start) + 1
            run = self._run
            if run and data.startswith(run, start):
                self._add(self._run_kind, 1, stop - start)
                self.lines += 1
            else:
                self._line(data[start:stop])
            start = stop

    def _line(self, line: bytes) -> None:
        self.lines += 1
        if not line.strip():
            self.blank = self.blank or self.lines
            return
        head = HEAD.match(line)
        kind = self._begins(head) if head else self._parsed(line)
        if kind[0] == "RECORD":
            pass  # nearly every line
        elif kind[0] == "STATE" and len(line) > HEAD_BYTES:
            self._states = None
        elif kind[0] == "STATE" and self._states is not None:
            self._states.append(line)
        elif kind[0] == "SCHEMA" and (kind[1] in self.schemas or len(self.schemas) < SCHEMAS):
            self.schemas[kind[1]] = line if len(line) <= HEAD_BYTES else b""
        elif kind[0] == "BATCH":
            self._batch(kind[1], line)
        self._add(kind, 1, len(line))

    def _batch(self, stream: str, line: bytes) -> None:
        """Count the files of a BATCH message, and note the line that is passed on instead."""
        self._parsed(line)
        records, changed = self.batches.take(line, self.lines)
        if records:
            self.records[stream] = self.records.get(stream, 0) + records
        if changed != line:
            self._changed.append((line, changed))

    def _understands(self, data: bytes, position: int) -> bool:
        """Return whether a line that has not ended has a head; if it has, count the line."""
        head = HEAD.match(data, position, position + HEAD_BYTES)
        if not head or head[1] == b"BATCH" or (head[1] in {b"STATE", b"SCHEMA"} and len(data) - position < HEAD_BYTES):
            return False
        self._open = self._begins(head)
        if self._open[0] == "STATE":
            self._states = None
        if self._open[0] == "SCHEMA":
            self.schemas.pop(self._open[1], None)
        self.lines += 1
        self._add(self._open, 1, len(data) - position)
        return True

    def _begins(self, head: re.Match[bytes]) -> tuple[str, str]:
        kind = head[1].decode("ascii"), (head[2] or b"").decode("utf-8", "replace")
        if kind[0] == "RECORD":
            self._run, self._run_kind = head[0].lstrip(b" \t"), kind
        return kind

    def _parsed(self, line: bytes) -> tuple[str, str]:
        try:
            message = json.loads(line)
            kind = message["type"]
            stream = message.get("stream", "")
        except (ValueError, KeyError, TypeError, RecursionError):
            kind = stream = None
        if not isinstance(kind, str) or not isinstance(stream, str):
            shown = line.decode("utf-8", "replace").strip()
            raise EntrypointError(
                f"E-{self.side.upper()}-OUTPUT",
                f"Line {self.lines:,} of the {self.side}'s output is not a Singer message: {shorten(shown)!r}.",
                f"A {self.side} may print only Singer messages on standard output; its log belongs on standard error.",
            )
        return kind, stream

    def _add(self, kind: tuple[str, str], lines: int, size: int) -> None:
        name, stream = kind
        if lines:
            self.streams.add(stream)
            self.messages[name] = self.messages.get(name, 0) + lines
            if name == "RECORD":
                self.records[stream] = self.records.get(stream, 0) + lines
        if stream:
            self.bytes[stream] = self.bytes.get(stream, 0) + size


def shorten(text: str) -> str:
    """Cut *text* to the length that an error shows."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


# ------------------------------------------------------------------------------------------------------------ state


def unwrapped(value: Any) -> Any:
    """Return the state inside a STATE message or Meltano's ``singer_state``, else *value*."""
    while isinstance(value, dict):
        if value.get("type") == "STATE" and "value" in value:
            value = value["value"] or {}
        elif set(value) == {"singer_state"}:
            value = value["singer_state"] or {}
        else:
            break
    return value


class LastState:
    """Reads a target's standard output line by line and keeps the last non-empty JSON object."""

    def __init__(self) -> None:
        """Start without a state."""
        self.state: dict[str, Any] | None = None
        self.text = ""
        """The line of the state, unparsed, so that numbers keep all digits."""
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Read the next *chunk*.

        :raises EntrypointError: E-TARGET-OUTPUT, a line is not a JSON object.
        """
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._rest.append(line)
            self.finish()
        self._rest.append(rest)

    def finish(self) -> None:
        """Read the rest as a line, with or without a newline."""
        line, self._rest = b"".join(self._rest), []
        self._line(line)

    def too_long(self) -> EntrypointError:
        """Free a line that does not fit into memory, and return the error."""
        self._rest = []
        return EntrypointError(
            "E-TARGET-OUTPUT",
            "The target printed a line that does not fit into memory.",
            "A target may print only states on standard output; its log belongs on standard error.",
        )

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            value = unwrapped(json.loads(line, parse_constant=no_constant))
        except (ValueError, RecursionError):
            value = None
        if not isinstance(value, dict) or value.get("type") in MESSAGES:
            shown = line.decode("utf-8", "replace").strip()
            raise EntrypointError(
                "E-TARGET-OUTPUT",
                f"The target printed a line that is not a state (a JSON object): {shorten(shown)!r}.",
                "A target may print only states on standard output; its log belongs on standard error.",
            )
        if value:
            self.state = value
            self.text = line.decode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------------------ files


def write_whole(path: Path, text: str) -> None:
    """Replace a file atomically: a reader gets the old text or the new one."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def no_constant(name: str) -> NoReturn:
    """Refuse ``NaN`` and ``Infinity``: Python's parser takes them, no other parser of JSON does."""
    raise ValueError(f"it has {name}")


def read_json(path: Path, code: str, what: str) -> dict[str, Any]:
    """Read a JSON object.

    :raises EntrypointError: with *code*, the file is not a JSON object.
    """
    try:
        value = json.loads(path.read_bytes(), parse_constant=no_constant)
    except (ValueError, RecursionError) as error:
        raise EntrypointError(code, f"The {what} is not valid JSON: {error}.", f"Correct the {what}.") from None
    if not isinstance(value, dict):
        raise EntrypointError(code, f"The {what} is not a JSON object.", f"Correct the {what}.")
    return value


def exit_code_in(path: Path | None) -> int:
    """Return the exit code that a side has written at its end, 0 if there is none."""
    with suppress(OSError, ValueError):
        return int(path.read_text(encoding="utf-8")) if path is not None else 0
    return 0


def existing(environ: Mapping[str, str], variable: str, *defaults: str) -> Path | None:
    """Return the variable's path, else a default, that is a file or a FIFO; None if none is."""
    candidates = [environ[variable]] if environ.get(variable) else defaults
    return next((path for path in map(Path, candidates) if path.is_file() or path.is_fifo()), None)


# ------------------------------------------------------------------------------------------------------------ pipes


def open_to_write(path: str, seconds: float, ended: Path | None = None) -> int:
    """Open a file or FIFO for writing and return its descriptor; ``-`` is standard output.

    :raises EntrypointError: E-PIPE, no process opens the FIFO for reading within *seconds*.
    """
    if path == "-":
        return 1
    if Path(path).is_fifo():
        return open_fifo(path, os.O_WRONLY, "reads", seconds, ended)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def open_to_read(path: str, seconds: float, ended: Path | None = None) -> int:
    """Open a file or FIFO for reading and return its descriptor; ``-`` is standard input.

    :raises EntrypointError: E-PIPE, no process opens the FIFO for writing within *seconds*.
    """
    if path == "-":
        return 0
    if Path(path).is_fifo():
        return open_fifo(path, os.O_RDONLY, "writes into", seconds, ended)
    return os.open(path, os.O_RDONLY)


def open_fifo(path: str, flags: int, verb: str, seconds: float, ended: Path | None = None) -> int:
    """Open a FIFO, and wait at most *seconds* for the other side.

    The open call blocks without a timeout, so a thread makes it. *ended* is a file that the other
    side writes at its end: once it exists, waiting is useless.
    """
    opened: list[int | OSError] = []

    def wait() -> None:
        try:
            opened.append(os.open(path, flags))
        except OSError as error:
            opened.append(error)

    thread = threading.Thread(target=wait, daemon=True)
    thread.start()
    deadline = time.monotonic() + seconds
    while thread.is_alive() and time.monotonic() < deadline:
        gone = ended is not None and ended.exists()
        thread.join(min(LOOK_SECONDS, max(0.0, deadline - time.monotonic())))
        if gone:
            break
    if not opened:
        gone = ended is not None and ended.exists()
        why = "the other side has ended" if gone else f"after {seconds:.0f} s"
        raise EntrypointError("E-PIPE", f"No process {verb} {path}: {why}.", "Check the log of the other side.")
    result = opened[0]
    if isinstance(result, OSError):
        raise result
    return result


def widen(descriptor: int) -> int:
    """Enlarge a pipe's buffer and return its size; 0 if the system cannot (only Linux can)."""
    try:
        import fcntl

        return fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return 0


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*: one call may write only a part."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def holder(descriptor: int) -> str:
    """Return name and id of a process at the other end of a pipe, if Linux's /proc has them."""
    with suppress(OSError):
        pipe = os.readlink(f"/proc/self/fd/{descriptor}")
        for process in Path("/proc").glob("[0-9]*"):
            if process.name == str(os.getpid()):
                continue
            with suppress(OSError):
                if any(os.readlink(str(file)) == pipe for file in (process / "fd").iterdir()):
                    name = (process / "comm").read_text(encoding="utf-8", errors="replace").strip()
                    return f"The process {name} ({process.name})"
    return "A helper process"


# ------------------------------------------------------------------------------------------------------- the runner


class Runner:
    """One side of a pipeline: its files, its process, its report."""

    def __init__(self, side: str, environ: Mapping[str, str]) -> None:
        """Read the settings of *side* (one of ``SIDES``) from *environ*, without opening files."""
        self.side = side
        self.environ = environ
        self.executable = environ.get("SINGER_EXECUTABLE", "")
        self.capabilities = {word for word in environ.get("SINGER_CAPABILITIES", "").split(",") if word}
        self.counter = Counter(Batches(environ.get("SINGER_BATCH_DIR", "")), "mapper" if side == "mapper" else "tap")
        self.encoding = Encoding()
        self.redactor = Redactor()
        self.warnings: list[str] = []
        self.errors: list[str] = []
        self.last_state = LastState()
        self.process: subprocess.Popen[bytes] | None = None
        self.starting = False
        self.stopping = False
        self.interrupted = 0
        self.orphaned = False
        self.abandoned = False
        self.pipes = [path for path in environ.get("SINGER_PIPE", "").split(":") if path]
        """The FIFOs of the run, in the order of the data: with a mapper there are two."""
        self.held: int | None = None
        self.maps: Any = None
        """The stream maps in the config of a mapper."""
        self.folder: Path | None = None
        """The working folder of a connector that takes files along."""
        self._links: list[Path] = []
        self._reported = 0.0
        self._logs: list[threading.Thread] = []
        self._help: bytes | None = None
        self._safe = ""
        self._safe_lock = threading.Lock()
        self._config: Path | None = None
        self._config_seen: tuple[int, ...] = ()
        self._values: dict[str, list[str]] = {}
        """The values of each secret in the config: the one that it had, and those that followed."""
        self._lost: set[str] = set()
        self._nothing = False
        self._rotation_lock = threading.Lock()

    # -- report

    def report(self, *, exit_code: int | None = None, error: EntrypointError | None = None) -> None:
        """Write the report file: from time to time during the run, and at its end."""
        self._reported = time.monotonic()
        self.progress()
        path = self.environ.get("SINGER_REPORT")
        if not path:
            return
        facts = {
            "side": self.side,
            "records": self.counter.records,
            "bytes": self.counter.bytes,
            "messages": self.counter.messages,
            **({"batches": self.counter.batches.streams} if self.counter.batches.streams else {}),
            "warnings": self.warnings,
            "fault": self.fault(),
            "exit_code": exit_code,
            **({"states": self.counter.digests()} if self.side == "tap" and exit_code is not None else {}),
            **self.named_part(),
            **({"maps": mapped_streams(self.maps)} if self.side == "mapper" else {}),
            "error": error and {"code": error.code, "problem": error.problem, "hint": error.hint},
        }
        with suppress(OSError):  # a failed write must not end the run
            write_whole(Path(path), json.dumps(facts))

    def fault(self) -> dict[str, Any] | None:
        """Return the line and the problem of the first fault in the tap's output, None if none."""
        if self.encoding.fault:
            return {"line": self.encoding.fault_line, "problem": self.encoding.fault}
        return {"line": self.counter.blank, "problem": "is blank"} if self.counter.blank else None

    def warn(self, text: str) -> None:
        """Add a warning to the report and the log."""
        text = self.redactor.text(text)
        self.warnings.append(text)
        print(f"WARNING {text}", file=sys.stderr, flush=True)

    def progress(self) -> None:
        """Write Argo's progress file: records so far, and one more.

        Argo has no 0/0, and shows N/M of a pod that has succeeded as M/M.
        """
        path = self.environ.get("ARGO_PROGRESS_FILE")
        if not path or self.side != "tap":
            return
        count = sum(self.counter.records.values())
        with suppress(OSError):
            Path(path).write_text(f"{count}/{count + 1}\n", encoding="utf-8")

    def report_sometimes(self) -> None:
        """Write the report unless the last one is recent."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self.report()

    # -- the connector's process

    def start(self, arguments: list[str], more: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[bytes]:
        """Start the connector, with *more* variables.

        :raises EntrypointError: E-EXECUTABLE, the program does not exist or cannot start.
        """
        command = [self.executable, *arguments]
        hidden = ("SINGER_", "INVOKE_")
        environ = {name: value for name, value in self.environ.items() if not name.startswith(hidden)}
        environ.update(more or {})
        streams.setdefault("stderr", subprocess.PIPE)
        streams.setdefault("cwd", self.folder)
        self.starting = True
        try:
            self.process = subprocess.Popen(command, env=environ, **streams)
            if self.process.stderr is not None:
                log, self.process.stderr = self.process.stderr, None  # only the relay may read it
                self.relay(log)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EntrypointError(
                "E-EXECUTABLE", f"{self.executable} cannot be started: {reason}.", 'Correct "executable" in connector.yaml.'
            ) from None
        finally:
            self.starting = False
        if self.interrupted:
            raise SystemExit(128 + self.interrupted)
        return self.process

    def relay(self, source: IO[bytes]) -> None:
        """Copy the connector's log to standard error, without secrets, in a thread."""
        thread = threading.Thread(target=self._relay, args=(source,), daemon=True)
        self._logs.append(thread)
        thread.start()

    def _relay(self, source: IO[bytes]) -> None:
        held = b""
        with suppress(OSError):  # our log may have lost its reader: the connector goes on
            while data := os.read(source.fileno(), CHUNK):
                held += data
                self.keep_rotated()  # hide a new secret in the lines that follow it
                whole = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
                if not whole and len(held) > LOG_LINE_BYTES:
                    whole = LOG_LINE_BYTES // 2
                lines, held = self.redactor.hide(held[:whole]), held[whole:]
                self._keep_warnings(lines)
                with suppress(OSError):
                    write_all(2, lines)
            write_all(2, self.redactor.hide(held))

    def _keep_warnings(self, lines: bytes) -> None:
        """Keep the first warnings and errors of the log for the report."""
        if b"elected" in lines and NOTHING.search(lines):
            self._nothing = True
        if not any(level.encode() in lines for level in ("WARNING", *ERRORS)):
            return
        for line in lines.decode("utf-8", "replace").splitlines():
            match = LEVEL.search(STYLING.sub("", line))
            kept = self.errors if match and match[1] in ERRORS else self.warnings if match and match[1] == "WARNING" else None
            text = match[2].strip()[:SHOWN] if match else ""
            if kept is not None and len(kept) < WARNINGS and text not in kept and not NOISE.search(text):
                kept.append(text)

    def warn_of_errors(self) -> None:
        """Warn of errors that the connector logged, although its exit code is 0."""
        for text in self.errors:
            self.warn(f"The {self.side} logged an error, and ended with exit code 0: {text}")

    def finish_logs(self) -> None:
        """Wait at most ``HELPER_SECONDS`` for the rest of the connector's log."""
        deadline = time.monotonic() + HELPER_SECONDS
        for thread in self._logs:
            thread.join(max(0.0, deadline - time.monotonic()))

    def output(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """Yield what the connector prints, until its end.

        A helper process may outlive the connector and keep its output open. The run does not wait
        for it: after ``HELPER_SECONDS`` of silence it warns and stops reading.
        """
        assert process.stdout is not None
        source = process.stdout.fileno()
        quiet_since = None
        while True:
            if select.select([source], [], [], LOOK_SECONDS)[0]:
                data = os.read(source, CHUNK)
                if not data:
                    return
                quiet_since = None
                yield data
            elif process.poll() is not None:
                quiet_since = quiet_since or time.monotonic()
                if time.monotonic() - quiet_since > HELPER_SECONDS:
                    self.warn(f"{holder(source)} outlived the {self.side} and keeps its output open; the run goes on without it.")
                    return

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: exit, or let ``start`` exit once it knows the new process."""
        self.interrupted = number
        if not self.starting:
            raise SystemExit(128 + number)

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the connector and return its exit code: 128 + n for signal n."""
        code = process.wait()
        self.finish_logs()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Terminate the connector; kill it after ``STOP_SECONDS``. Any thread may call this."""
        self.stopping = True
        process = self.process
        if process is None or process.poll() is not None:
            return
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    def watch_lifeline(self) -> None:
        """Stop when the engine ends, even killed: the kernel then closes its end of this pipe."""
        number = self.environ.get("SINGER_LIFELINE")
        if not number:
            return
        descriptor = int(number)
        os.set_inheritable(descriptor, False)

        def watch() -> None:
            with suppress(OSError):
                os.read(descriptor, 1)
            self.orphaned = True
            os.kill(os.getpid(), signal.SIGTERM)

        threading.Thread(target=watch, daemon=True).start()

    # -- the other sides of the pipeline, in a shared folder

    def make_pipes(self) -> None:
        """Create the FIFOs that the sides share, unless another side already has."""
        for pipe in self.pipes:
            with suppress(FileExistsError):
                os.mkfifo(pipe, 0o600)

    def end_of(self, side: str) -> Path | None:
        """Return the file beside the first FIFO into which a side writes its exit code."""
        return Path(f"{self.pipes[0]}.{side}") if self.pipes else None

    @property
    def sides(self) -> list[str]:
        """The sides that share the FIFOs, in the order of the data."""
        return ["tap", *(["mapper"] if len(self.pipes) > 1 or self.side == "mapper" else []), "target"]

    def reader(self) -> str:
        """Return the side that reads what this one prints."""
        return self.environ.get("SINGER_READER") or self.sides[self.sides.index(self.side) + 1]

    def leave(self, code: int) -> None:
        """Write this side's exit code for the other side."""
        path = self.end_of(self.side)
        if path is not None:
            with suppress(OSError):
                path.write_text(str(code), encoding="utf-8")

    def hold(self) -> None:
        """Lock ``SINGER_LOCK`` until this process ends, so that others notice even a kill.

        The local engine creates the file before it starts us, and deletes it after the run. A
        runner that starts later than that must not begin.

        :raises FileNotFoundError: the run is over.
        """
        path = self.environ.get("SINGER_LOCK")
        if path:
            import fcntl

            exists = "SINGER_LIFELINE" in self.environ
            self.held = os.open(path, os.O_WRONLY if exists else os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(self.held, fcntl.LOCK_EX)
            if not os.fstat(self.held).st_nlink:
                raise FileNotFoundError(2, "the run is over", path)

    def watch_readers(self) -> None:
        """Stop a tap or a mapper ``GRACE_SECONDS`` after a failure of a side that comes after it.

        They notice the broken pipe only when they write, which may be hours later.
        """
        after = self.sides[self.sides.index(self.side) + 1 :] if self.side in self.sides else []
        ends = [path for path in map(self.end_of, after) if path is not None]
        if not ends:
            return

        def watch() -> None:
            while not any(exit_code_in(path) for path in ends):
                time.sleep(LOOK_SECONDS)
            time.sleep(GRACE_SECONDS)
            self.abandoned = True
            self.stop()

        threading.Thread(target=watch, daemon=True).start()

    # -- files

    def link_files(self) -> None:
        """Link the files that the connector takes along into its working folder.

        :raises EntrypointError: E-CONFIG, the bucket of configs lacks them.
        """
        source, key = self.environ.get("SINGER_FILES"), self.environ.get("SINGER_FILES_KEY", "none")
        if not source or not Path(source).is_dir():
            if key != "none":
                problem = f"The connector's files are not in the bucket of configs: there is no {key}."
                raise EntrypointError("E-CONFIG", problem, "Upload them with invoke sync, then run it again.")
            return
        self.folder = Path(self.environ.get("SINGER_OUTPUT_DIR") or "/tmp/data").absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        times = Path(source) / TIMES
        modified = read_json(times, "E-CONFIG", TIMES) if times.exists() else {}
        for file in sorted(Path(source).rglob("*")):
            name = file.relative_to(source)
            if file.is_file() and file != times:
                if str(name) in modified:
                    with suppress(OSError):  # a read-only mount
                        os.utime(file, (modified[str(name)],) * 2)
                link = self.folder / name
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(file)
                self._links.append(link)

    def unlink_files(self) -> None:
        """Remove the links, and folders that hold nothing else: they are no outputs."""
        for link in self._links:
            if link.is_symlink():
                link.unlink()
            for parent in link.relative_to(str(self.folder)).parents:
                if parent.parts:
                    with suppress(OSError):
                        (Path(str(self.folder)) / parent).rmdir()

    def pipe_seconds(self) -> float:
        """Return the timeout for the other side of a FIFO."""
        text = self.environ.get("SINGER_PIPE_SECONDS") or "300"
        try:
            return float(text)
        except ValueError:
            raise EntrypointError("E-PIPE", f"SINGER_PIPE_SECONDS is {text!r}, not a number.", "Set it to seconds.") from None

    def template(self) -> dict[str, Any] | None:
        """Return the config with its ``${NAME}`` references, None if there is no config."""
        path = existing(self.environ, "SINGER_CONFIG", "/tmp/config.json", "/opt/code/config.json")
        own = self.part[0].get("config", {})
        return (own or None) if path is None else {**read_json(path, "E-CONFIG", "config.json"), **own}

    def secret(self, name: str) -> str:
        """Return the value of a secret, and hide it in logs from now on."""
        value = secret_reader(Path(self.environ.get("SINGER_SECRETS", "/tmp/secrets")), self.environ)(name)
        self.redactor.add(value)
        return value

    def config(self, work: Path) -> list[str]:
        """Write the config with its secrets filled in, and return the ``--config`` arguments."""
        template = self.template()
        if template is None:
            return []
        filled = work / "config.json"
        filled.touch(0o600)
        content = fill(template, self.remembered)
        with suppress(KeyError, TypeError, AttributeError):
            # Both sides share this folder of the run, which is removed at its end.
            if self.environ.get("SINGER_BATCH_DIR") and content["batch_config"]["storage"]["root"].startswith("file:"):
                content["batch_config"]["storage"]["root"] = f"file://{self.environ['SINGER_BATCH_DIR']}"
        filled.write_text(json.dumps(content), encoding="utf-8")
        self.watch_config(filled)
        return ["--config", str(filled)]

    def remembered(self, name: str) -> str:
        """Return the value of a secret, and remember it: the connector may replace it."""
        value = self.secret(name)
        self._values.setdefault(name, [value])
        return value

    def watch_config(self, config: Path) -> None:
        """Look every second for secrets that the connector replaces: a kill must not lose them."""
        self._config = config if self._values else None
        if not self._values or not self.environ.get("SINGER_ROTATED"):
            return

        def watch() -> None:
            while True:
                time.sleep(ROTATED_SECONDS)
                self.keep_rotated()

        threading.Thread(target=watch, daemon=True).start()

    def keep_rotated(self, *, last: bool = False) -> None:
        """Write secrets that the connector replaced in its config to ``SINGER_ROTATED``.

        The engine keeps them where they came from. *last*: warn of those that are lost.
        """
        path, config = self.environ.get("SINGER_ROTATED"), self._config
        if config is None:
            return
        with self._rotation_lock:
            try:
                facts = config.stat()
                seen = facts.st_mtime_ns, facts.st_size, facts.st_ino
                if seen == self._config_seen and not last:
                    return
                new = dict(replaced(self.template(), read_json(config, "E-CONFIG", "config.json"), self._values))
            except (OSError, EntrypointError):
                return  # there is none, or the connector is writing it
            kept = {name: value for name, value in new.items() if value is not None and path}
            for name, value in new.items():
                self.redactor.add(value or self._values[name][-1])
            if kept and path:
                values = {name: [*known, kept[name]] if name in kept else known for name, known in self._values.items()}
                try:
                    write_whole(Path(path), json.dumps({name: known for name, known in values.items() if len(known) > 1}))
                except OSError:
                    kept = {}  # the last look tries again
            # Only now: a signal may have ended this call before it wrote them.
            for name, value in kept.items():
                self._values[name].append(value)
            self._config_seen = seen
            lost = new.keys() - kept.keys() - self._lost if last else set()
            self._lost |= lost
        if lost:
            self.warn(
                f"The {self.side} replaced {', '.join(sorted(lost))} in its config. "
                "The new value is lost: set it again before the next run."
            )

    def catalog(self, work: Path, config: list[str]) -> list[str]:
        """Return the arguments for the catalog: the file's, else a discovered one, else none."""
        path = existing(self.environ, "SINGER_CATALOG", "/tmp/catalog.json")
        if path is not None:
            catalog = read_json(path, "E-CATALOG", "catalog")
        elif "discover" in self.capabilities:
            catalog = select_all(self.discover(config))
        else:
            return []
        if path is None or self.part[0].get("streams"):
            path = work / "catalog.json"
            streams = [stream for stream in catalog.get("streams", []) if self.has(stream)]
            path.write_text(json.dumps({**catalog, "streams": streams}), encoding="utf-8")
        return self.catalog_flags(path)

    def has(self, stream: Any) -> bool:
        """Return whether the tap gets a stream: one of its part, or a deselected one.

        A stream that was selected after the plan was made is in no part, and must not be in all.
        """
        own, name = self.part[0].get("streams"), stream_id(stream)
        return not own or name in own or not (name in self.part[1] or is_selected(stream))

    def catalog_flags(self, path: Path) -> list[str]:
        """Return the catalog's path, with the flags that the tap accepts.

        A tap that accepts both flags gets both: some old taps accept ``--catalog``, but ignore it.
        """
        flags = [flag for flag, name in CATALOG_FLAGS.items() if name in self.capabilities]
        if not flags:
            flags = [flag for flag in CATALOG_FLAGS if flag.encode() in self.help()]
        return [word for flag in flags or ["--catalog"] for word in (flag, str(path))]

    def help(self) -> bytes:
        """Return the output of ``--help``, cached: it lists flags that ``capabilities`` omits."""
        if self._help is None:
            process = self.start(["--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self._help = b"".join(self.output(process))
        return self._help

    def discover(self, config: list[str]) -> dict[str, Any]:
        """Run the tap's discovery and return the catalog.

        :raises EntrypointError: E-DISCOVERY, the tap failed or printed no catalog.
        """
        process = self.start([*config, "--discover"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        text = b"".join(self.output(process))
        code = self.wait(process)
        hint = "Correct its config.json, or put a catalog.json beside it."
        if code:
            raise EntrypointError("E-DISCOVERY", f"The tap's discovery ended with exit code {code}.", hint)
        catalog = object_in(text, lambda value: isinstance(value.get("streams"), list))
        if catalog is None:
            shown = shorten(text.decode("utf-8", "replace").strip())
            raise EntrypointError("E-DISCOVERY", f"The tap's discovery printed no catalog: {shown!r}.", hint)
        return catalog

    def state(self, work: Path) -> list[str]:
        """Return the arguments for the state: the stored one, else the initial one, else none.

        If another tool has wrapped it, the tap gets a copy without the wrapping.
        """
        if "state" in self.part[0]:
            (work / "state.json").write_text(json.dumps(self.part[0]["state"]), encoding="utf-8")
            return ["--state", str(work / "state.json")]
        if self.environ.get("SINGER_FULL") == "true":
            return []
        for file in (existing(self.environ, "SINGER_STATE", "/tmp/state.json"), existing(self.environ, "SINGER_INITIAL_STATE")):
            value = read_json(file, "E-STATE", "state") if file is not None else {}
            state = self.own(unwrapped(value))
            if not state:
                continue
            copy = work / "state.json"
            if state is not value:
                copy.write_text(json.dumps(state), encoding="utf-8")
            return ["--state", str(file if state is value else copy)] if self.takes_state() else []
        return []

    def own(self, state: Any) -> Any:
        """Return the state without the bookmarks of other parts' streams."""
        others = self.part[1]
        if not others or not state:
            return state
        marks = state.get("bookmarks")
        if not isinstance(marks, dict) or set(state) - {"bookmarks", "currently_syncing"}:
            hint = "Leave out split. Or, if only an old state has this form, start over: state PIPELINE --reset"
            raise EntrypointError("E-STATE", "The state has not its bookmarks by stream.", hint)
        mine = {stream: mark for stream, mark in marks.items() if stream not in others}
        return state if mine == marks else {"bookmarks": mine} if mine else None

    def takes_state(self) -> bool:
        """Return whether the tap accepts ``--state``; True if its help lists no flags at all."""
        return "state" in self.capabilities or b"--config" not in self.help() or b"--state" in self.help()

    # -- the sides

    def open_outputs(self) -> list[int]:
        """Open the destinations in ``SINGER_TAP_OUTPUT`` of the tap or the mapper."""
        paths = self.environ.get("SINGER_TAP_OUTPUT") or "/tmp/tap_output.txt:-"
        ended = self.end_of(self.reader())
        return [open_to_write(path, self.pipe_seconds(), ended) for path in paths.split(":") if path]

    def other_flag(self, arguments: list[str]) -> str | None:
        """Return the other flag for a catalog, if the tap logged that nothing is selected."""
        used = CATALOG_FLAGS.keys() & set(arguments)
        if not self._nothing or len(used) != 1 or {"SCHEMA", "RECORD", "BATCH"} & self.counter.messages.keys():
            return None
        [other] = CATALOG_FLAGS.keys() - used
        return other if other.encode() in self.help() else None

    def sync(self, arguments: list[str], sinks: list[int], stdin: int = subprocess.DEVNULL) -> int:
        """Run the tap or the mapper once, pass on and count its messages; return its exit code."""
        process = self.start(arguments, stdin=stdin, stdout=subprocess.PIPE)
        assert process.stdout is not None
        source = process.stdout.fileno()
        few = widen(source) // 16
        nap, longest = GATHER_SECONDS
        end = select.poll()
        end.register(source, 0)
        try:
            for chunk in self.output(process):
                self.encoding.look(chunk, self.counter.ended)
                pass_on(self.counter.feed(chunk), sinks)
                self.report_sometimes()
                if len(chunk) < few:
                    # A tap that writes message by message would wake the target for each of them.
                    end.poll(nap * 1000)
                    nap = min(2 * nap, longest)
            self.encoding.finish(self.counter.ended)
            pass_on(self.counter.finish(), sinks)
        except BrokenPipeError:
            self.stop()
            raise ended_early(self.reader()) from None
        except EntrypointError:
            self.stop()
            raise
        except MemoryError:
            error = self.counter.too_long()
            self.stop()
            raise error from None
        finally:
            process.stdout.close()
        return self.wait(process)

    def open_input(self, *defaults: str) -> int:
        """Open ``SINGER_TAP_INPUT``, which a mapper or a target reads; else the FIFO before it."""
        fifo = self.pipes[self.sides.index(self.side) - 1] if self.pipes else ""
        source = None if fifo else existing(self.environ, "SINGER_TAP_INPUT", *defaults)
        path = self.environ.get("SINGER_TAP_INPUT") or fifo or (str(source) if source else "-")
        writer = self.sides[self.sides.index(self.side) - 1]
        return open_to_read(path, self.pipe_seconds(), self.end_of(writer))

    def tap(self, work: Path) -> int:
        """Run the tap and return its exit code."""
        config = self.config(work)
        arguments = [*config, *self.catalog(work, config)]
        arguments += self.state(work)
        sinks = self.open_outputs()
        code = self.sync(arguments, sinks)
        other = self.other_flag(arguments) if code == 0 else None
        if other:
            self.warn(f'The tap selects by {other} alone, and was started again with it: write "{other[2:]}" into its capabilities.')
            code = self.sync([other if word in CATALOG_FLAGS else word for word in arguments], sinks)
        if code == 0:
            self.warn_of_missing(arguments)
        return code

    def warn_of_missing(self, arguments: list[str]) -> None:
        """Warn if no stream is selected, or if a selected one has no message: it may be renamed."""
        flag = next((flag for flag in CATALOG_FLAGS if flag in arguments), None)
        catalog = arguments[arguments.index(flag) + 1] if flag else None
        if catalog is None:
            return
        streams = read_json(Path(catalog), "E-CATALOG", "catalog").get("streams", [])
        wanted = [names for names in map(selected_names, streams) if names]
        if not wanted and not {"SCHEMA", "RECORD", "BATCH"} & self.counter.messages.keys():
            self.warn("No stream of the catalog is selected, and the tap sent none. Run invoke select to choose streams.")
        missing = [names[0] for names in wanted if not self.counter.streams.intersection(names)]
        if missing and len(missing) == len(wanted) and self.counter.streams:
            return  # this tap uses other stream names than its catalog
        if missing:
            names = ", ".join(missing[:WARNINGS]) + (f" and {len(missing) - WARNINGS} more" if len(missing) > WARNINGS else "")
            self.warn(f"The tap sent no message, not even a SCHEMA, for selected streams: {names}. Run invoke discover to see what exists.")
        config = self.template() or {}
        # With these settings the tap itself changes columns.
        if not config.get("stream_maps") and not config.get("flattening_enabled"):
            self.warn_of_columns(streams)

    def warn_of_columns(self, streams: list[Any]) -> None:
        """Warn of selected columns that are not in the schema of their stream."""
        for stream in streams:
            name = next((name for name in selected_names(stream) if self.counter.schemas.get(name)), "")
            with suppress(ValueError, RecursionError, KeyError, TypeError):
                present = set(json.loads(self.counter.schemas[name])["schema"]["properties"])
                gone = [column for column in selected_columns(stream) if column not in present]
                # A tap may use other names than its catalog.
                if gone and present.intersection(selected_columns(stream)):
                    names = ", ".join(gone[:WARNINGS]) + (f" and {len(gone) - WARNINGS} more" if len(gone) > WARNINGS else "")
                    self.warn(f"The schema of {name} lacks selected columns: {names}. Run invoke discover to see what exists.")

    def mapper(self, work: Path) -> int:
        """Run the mapper and return its exit code. What it prints goes on to the target."""
        self.maps = (self.template() or {}).get("stream_maps")
        stdin = self.open_input()
        code = self.sync(self.config(work), self.open_outputs(), stdin)
        if code == 0:
            self.need_all_read(stdin)
        return code

    def need_all_read(self, stdin: int) -> None:
        """Check that a mapper or a target that succeeded has read all of its input.

        It shares this descriptor with us: what it did not read, we can read.

        :raises EntrypointError: E-MAPPER-ENDED or E-TARGET-ENDED, it has not.
        """
        if os.read(stdin, 1):
            raise ended_early(self.side)

    def target(self, work: Path) -> int:
        """Run the target and return its exit code. If it is 0, write the new state."""
        arguments = self.config(work)
        folder = Path(self.environ.get("SINGER_OUTPUT_DIR") or "/tmp/data")
        folder.mkdir(parents=True, exist_ok=True)
        stdin = self.open_input("/tmp/tap_input.txt")
        outputs = self.environ.get("SINGER_TARGET_OUTPUT") or "/tmp/target_output.txt:-"
        sinks = [open_to_write(output, self.pipe_seconds()) for output in outputs.split(":") if output]
        process = self.start(arguments, stdin=stdin, stdout=subprocess.PIPE, cwd=folder)
        assert process.stdout is not None
        self.watch_state()
        try:
            for chunk in self.output(process):
                pass_on(chunk, sinks)
                self.last_state.feed(chunk)
            self.last_state.finish()
        except EntrypointError:
            self.stop()
            raise
        except MemoryError:
            error = self.last_state.too_long()
            self.stop()
            raise error from None
        finally:
            self.keep_state()
            process.stdout.close()
        code = self.wait(process)
        if code == 0:
            self.need_all_read(stdin)
            if self.last_state.state is not None:
                write_whole(Path(self.environ.get("SINGER_NEW_STATE") or "/tmp/new_state.json"), self.last_state.text)
        return code

    def transform(self, work: Path) -> int:
        """Run dbt and return its exit code; its files and logs go to ``SINGER_OUTPUT_DIR``."""
        project = self.environ.get("SINGER_PROJECT") or "/opt/connector/project"
        folder = Path(self.environ.get("SINGER_OUTPUT_DIR") or "/tmp/data")
        folder.mkdir(parents=True, exist_ok=True)
        select = self.environ.get("SINGER_SELECT", "").split()
        variables = {
            "DBT_PROJECT_DIR": project,
            "DBT_PROFILES_DIR": project,
            "DBT_TARGET_PATH": str(folder / "target"),
            "DBT_LOG_PATH": str(folder / "logs"),
            "DBT_LOG_LEVEL_FILE": "none",
            "DBT_USE_COLORS": "false",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_VERSION_CHECK": "false",
            # A selection without any model is a typing error.
            "DBT_WARN_ERROR_OPTIONS": '{"error": ["NoNodesForSelectionCriteria"]}',
            **connection(self.template() or {}, self.secret),
        }
        arguments = ["build", *(["--select", *select] if select else [])]
        process = self.start(arguments, variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=work)
        assert process.stdout is not None
        self.relay(process.stdout)
        return self.wait(process)

    def keep_state(self) -> None:
        """Write the newest state to ``SINGER_SAFE_STATE``; the engine reads it during the run."""
        path = self.environ.get("SINGER_SAFE_STATE")
        with self._safe_lock:
            text = self.last_state.text
            if path and text != self._safe:
                with suppress(OSError):
                    write_whole(Path(path), text)
                    self._safe = text

    def watch_state(self) -> None:
        """Write the newest state every second: the target may print nothing more for hours."""
        if not self.environ.get("SINGER_SAFE_STATE"):
            return

        def watch() -> None:
            while True:
                time.sleep(SAFE_SECONDS)
                self.keep_state()

        threading.Thread(target=watch, daemon=True).start()

    @cached_property
    def part(self) -> tuple[dict[str, Any], set[str]]:
        """The tap's part in ``SINGER_PARTS``, and the streams of the other parts; empty if none."""
        path, index = existing(self.environ, "SINGER_PARTS"), self.environ.get("SINGER_PART", "")
        if self.side != "tap" or not index:
            return {}, set()
        if path is None:
            raise EntrypointError("E-CONFIG", "The plan of the run's parts is missing.", "Run it again.")
        parts = read_json(path, "E-CONFIG", "plan of parts")["parts"]
        mine: dict[str, Any] = parts[int(index)]
        return mine, {stream for part in parts for stream in part["streams"]} - set(mine["streams"])

    def named_part(self) -> dict[str, str]:
        """Return the name of the part for the report; nothing if there is none, or no plan."""
        with suppress(EntrypointError, KeyError, IndexError):
            return {"part": self.part[0]["name"]}
        return {}

    # -- outside a pipeline

    def print_catalog(self, work: Path) -> int:
        """Print the discovered catalog and nothing else."""
        print(json.dumps(self.discover(self.config(work))), flush=True)
        return 0

    def about(self, _work: Path) -> int:
        """Print the JSON of ``--about``, or nothing if the connector does not know the flag."""
        process = self.start(["--about", "--format=json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        description = object_in(b"".join(self.output(process)))
        code = self.wait(process)
        if code == 0 and description is not None:
            print(json.dumps(description), flush=True)
        return code

    def alone(self, work: Path, words: list[str]) -> int:
        """Run the connector on our standard streams, with its files and the arguments *words*."""
        arguments = self.config(work)
        catalog = existing(self.environ, "SINGER_CATALOG")
        if catalog is not None:
            arguments += self.catalog_flags(catalog)
        arguments += self.state(work)
        return self.wait(self.start(arguments + words, cwd=self.environ.get("SINGER_OUTPUT_DIR") or self.folder))


def object_in(output: bytes, wanted: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any] | None:
    """Return the first JSON object that begins a line and is *wanted*; skip text before it."""
    text = output.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^\s*(?=\{)", text, re.MULTILINE):
        try:
            value = decoder.raw_decode(text, start.end())[0]
        except (ValueError, RecursionError):
            continue
        if wanted(value):
            return dict(value)
    return None


def pass_on(data: bytes, sinks: list[int]) -> None:
    """Write *data* to every sink."""
    if data:
        for sink in sinks:
            write_all(sink, data)


def select_all(catalog: dict[str, Any]) -> dict[str, Any]:
    """Select all streams that the catalog does not deselect, in both forms that taps read."""
    for stream in catalog["streams"]:
        if not isinstance(stream, dict):
            continue
        metadata = stream.get("metadata")
        if not isinstance(metadata, list):
            metadata = stream["metadata"] = []
        root = next((item for item in metadata if isinstance(item, dict) and item.get("breadcrumb") == []), None)
        if root is None:
            root = {"breadcrumb": [], "metadata": {}}
            metadata.append(root)
        facts = root["metadata"] = root["metadata"] if isinstance(root.get("metadata"), dict) else {}
        chosen = facts.get("selected", facts.get("selected-by-default", True))
        facts["selected"] = stream["selected"] = bool(chosen) and facts.get("inclusion") != "unsupported"
    return catalog


def selected_names(stream: Any) -> tuple[str, ...]:
    """Return the names of a stream of the catalog; none if the stream is not selected."""
    if not isinstance(stream, dict):
        return ()
    metadata: Any = stream.get("metadata")
    metadata = metadata if isinstance(metadata, list) else []
    root = next((item.get("metadata") for item in metadata if isinstance(item, dict) and item.get("breadcrumb") in ([], ())), None)
    schema = stream.get("schema") if isinstance(stream.get("schema"), dict) else {}
    marks = [part.get("selected") for part in (root, stream, schema) if isinstance(part, dict)]
    names = [stream.get("stream"), stream.get("tap_stream_id")]
    return tuple(name for name in names if isinstance(name, str)) if True in marks else ()


def is_selected(stream: Any) -> bool:
    """Return whether a stream of the catalog is selected; without any mark or metadata it is."""
    if not isinstance(stream, dict):
        return True
    metadata: Any = stream.get("metadata")
    metadata = metadata if isinstance(metadata, list) else []
    root = next((item.get("metadata") or {} for item in metadata if isinstance(item, dict) and item.get("breadcrumb") == []), {})
    schema = stream.get("schema") or {}
    marks = (root.get("selected"), schema.get("selected"), stream.get("selected"), root.get("selected-by-default"))
    return next((bool(mark) for mark in marks if mark is not None), not metadata)


def stream_id(stream: Any) -> Any:
    """Return the name of a stream of the catalog, as states use it."""
    return stream.get("tap_stream_id", stream.get("stream")) if isinstance(stream, dict) else None


def mapped_streams(maps: Any) -> list[str]:
    """Return the streams of the tap that stream maps of Meltano's SDK name, without patterns."""
    if not isinstance(maps, dict):
        return []
    sources = [entry.get("__source__") or name if isinstance(entry, dict) else name for name, entry in maps.items()]
    return [name for name in sources if isinstance(name, str) and not name.startswith("__") and not set(name) & set("*?[")]


def selected_columns(stream: dict[str, Any]) -> list[str]:
    """Return the columns that the metadata of a stream in the catalog selects by name."""
    columns: list[str] = []
    for item in stream["metadata"]:
        first, *names = item["breadcrumb"] or [""]
        facts = item["metadata"]
        if first == "properties" and len(names) == 1 and facts.get("selected") is True and facts.get("inclusion") != "unsupported":
            columns += names
    return columns


def of_system(error: OSError) -> EntrypointError:
    """Return the error for a file or a pipe that cannot be used."""
    full = error.errno in {errno.ENOSPC, errno.EDQUOT}
    return EntrypointError(
        "E-DISK" if full else "E-PIPE",
        f"{error.filename or 'A file of the run'}: {error.strerror or error}.",
        "Free space on the disk, then run it again." if full else "Check that the folder exists and is writable.",
    )


def remove_work(folder: Path) -> None:
    """Remove the files with secrets, and the folder if nothing else is in it."""
    for name in ("config.json", "catalog.json", "state.json"):
        with suppress(OSError):
            (folder / name).unlink()
    with suppress(OSError):
        folder.rmdir()


def run(side: str, environ: Mapping[str, str], words: list[str]) -> int:
    """Run one side and return its exit code; report every error, and print it."""
    runner = Runner(side, environ)
    sides: dict[str, Callable[[Path], int]] = {
        "tap": runner.tap,
        "mapper": runner.mapper,
        "target": runner.target,
        "transform": runner.transform,
        "about": runner.about,
        "discover": runner.print_catalog,
        "alone": partial(runner.alone, words=words),
    }
    for number in SIGNALS:
        signal.signal(number, runner.interrupt)
    runner.watch_lifeline()
    created = False
    code = 128 + signal.SIGTERM
    work = Path(environ.get("SINGER_WORK") or f"/tmp/singer-{os.getpid()}-{time.time_ns()}").absolute()
    try:
        runner.hold()
        work.mkdir(mode=0o700, parents=True)
        created = True
        runner.report()
        runner.make_pipes()
        runner.watch_readers()
        runner.link_files()
        code = sides[side](work)
        runner.keep_rotated(last=True)
        runner.unlink_files()
        if runner.abandoned:
            raise ended_early(runner.reader())
        if code == 0 and side in ("tap", "mapper", "target"):
            runner.warn_of_errors()
        runner.report(exit_code=code)
    except (EntrypointError, OSError) as error:
        code = OWN_ERROR
        runner.keep_rotated(last=True)
        # After we stopped the tap, its error is a consequence of that.
        cause = ended_early(runner.reader()) if runner.abandoned else error if isinstance(error, EntrypointError) else of_system(error)
        cause = EntrypointError(cause.code, runner.redactor.text(cause.problem), cause.hint)
        runner.report(exit_code=code, error=cause)
        print(f"{cause.code}  {cause.problem}\n→ {cause.hint}", file=sys.stderr)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        runner.stop()
        runner.finish_logs()
        runner.keep_rotated(last=True)
        runner.leave(code)
        if created:  # a folder that existed before is not ours to delete
            remove_work(work)
        if runner.orphaned:
            # Without the engine, only we can end processes that the connector has started.
            os.killpg(0, signal.SIGKILL)
    return code


def main() -> NoReturn:
    """Read the side from the command line, and everything else from the environment."""
    side = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SINGER_SIDE", "")
    if side not in SIDES or not os.environ.get("SINGER_EXECUTABLE"):
        print(f"usage: SINGER_EXECUTABLE=<program> entrypoint.py {'|'.join(SIDES)}", file=sys.stderr)
        raise SystemExit(2)
    code = run(side, os.environ, sys.argv[2:])
    gc.freeze()  # the garbage collector's last look would take 5 ms, while the other side waits
    raise SystemExit(code)


if __name__ == "__main__":
    main()
