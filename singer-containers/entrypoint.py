"""Run one Singer connector, ``entrypoint.py tap`` or ``entrypoint.py target``, or what follows a load, ``entrypoint.py transform``.

Outside a pipeline ``entrypoint.py discover`` prints a tap's catalog, ``about`` what the program says of itself, and
``alone WORDS`` runs it with words of one's own.

The ENTRYPOINT of every connector image and the runner of the local engine, so that a pipeline behaves alike in both.
It reads the files at the paths of the origin tutorial (each can be moved by a ``SINGER_*`` variable, see
``docs/contracts.md``), fills ``${NAME}`` secrets into the config, runs the connector, counts what the tap says and keeps
the last good state that the target says. A transform is dbt in a project; the target's config gives it its connection.
Standard library only; memory does not grow with the data.
"""

from __future__ import annotations

import base64
import codecs
import hashlib
import html
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
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from types import FrameType

SIDES = ("tap", "target", "transform", "about", "discover", "alone")
OWN_ERROR = 90
"""Exit code when the entrypoint itself found the error; connectors use low numbers, signals 128 and above."""

CHUNK = 1 << 20
PIPE_BYTES = 1 << 20
GATHER_SECONDS = (0.002, 0.016)
"""How long messages of a tap that writes each by itself may gather: at first, and at the most."""
REPORT_SECONDS = 0.5
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
STOP_SECONDS = 5.0
GRACE_SECONDS = 10.0
"""How long the tap may take to end by itself after the target has failed."""
LOOK_SECONDS = 0.2
HELPER_SECONDS = 2.0
"""How long to wait for output after the connector has ended: a helper process may still hold its pipe."""
MESSAGES = ("SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH", "LOG")
"""The types of Singer messages: an object of such a type is no state."""
SAFE_SECONDS = 1.0
"""How often the newest state of a target is written to ``SINGER_SAFE_STATE``."""
LAST_STATES = 64
"""How many of the tap's last states its report names."""
SHOWN = 200
"""How many characters of an offending line are shown."""
LOG_LINE_BYTES = 1 << 16
"""A log line is passed on after so many bytes even without a newline."""
WARNINGS = 3
"""How many different warnings of the connector's log are reported."""
NOISE = re.compile("Stream is assumed to be unsorted")
"""A warning that Meltano's SDK prints at every run of every stream without a sorted key."""


class EntrypointError(Exception):
    """An observed fact, one thing to do, and the code under which both are documented."""

    def __init__(self, code: str, problem: str, hint: str) -> None:
        """Keep the three apart; ``str()`` gives the problem."""
        super().__init__(problem)
        self.code = code
        self.problem = problem
        self.hint = hint


def target_ended() -> EntrypointError:
    """Return what to say where the target did not read to the end."""
    return EntrypointError("E-TARGET-ENDED", "The target ended before it had read everything.", "See the target's log.")


# ---------------------------------------------------------------------------------------------------------- secrets

SECRET = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")


def fill(value: Any, secret: Callable[[str], str]) -> Any:
    """Replace every ``${NAME}`` in the strings of *value* by ``secret(NAME)``; ``$${`` becomes a literal ``${``."""
    if isinstance(value, str):
        return SECRET.sub(lambda found: secret(found[1]) if found[1] else "${", value)
    if isinstance(value, dict):
        return {key: fill(item, secret) for key, item in value.items()}
    if isinstance(value, list):
        return [fill(item, secret) for item in value]
    return value


def secret_reader(folder: Path, environ: Mapping[str, str]) -> Callable[[str], str]:
    """Return a function that finds a secret in *folder* (a file by its name), else in *environ*."""

    def secret(name: str) -> str:
        try:
            return (folder / name).read_bytes().decode("utf-8")  # as it is: read_text would change line ends
        except UnicodeDecodeError:
            raise EntrypointError("E-SECRET", f"The secret {name} is not text.", f"Write it to {folder / name} as UTF-8.") from None
        except OSError:
            pass
        try:
            return environ[name]
        except KeyError:
            raise EntrypointError(
                "E-SECRET", f"config.json asks for ${{{name}}}, which is not set.", f"Set {name} in the environment."
            ) from None

    return secret


HIDDEN = "***"
SHORT = 4
"""A shorter value is replaced only between characters that are no part of a word."""


def written_forms(value: str) -> set[str]:
    """Return the forms in which programs write a value: as it is, quoted for URLs, JSON, Python and HTML, in base64.

    In base64 a value has one of three forms inside a longer text, by its position; ``user:password`` is the usual case.
    ``cluster/project/redaction.py`` has the same function; a test compares the two.
    """
    forms: set[str] = set()
    for part in {value, *value.splitlines()}:
        if not part.strip():
            continue
        encoded = part.encode("utf-8", "surrogateescape")
        forms |= {part, part.strip(), quote(part, safe="", errors="replace"), quote_plus(part, errors="replace")}
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
        """Know no secret yet."""
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
    """Return a target's config as variables for a transform; objects and lists in it are left out.

    dbt hides the values of variables that begin with ``DBT_ENV_SECRET_`` from all that it says, and lets nothing but
    ``profiles.yml`` use them: so is named what has a secret in it.
    """
    variables = {}
    for key, value in config.items():
        if value is None or isinstance(value, (dict, list)):
            continue
        text = value if isinstance(value, str) else json.dumps(value)
        hidden = any(found[1] for found in SECRET.finditer(text))
        name = re.sub(r"[^A-Za-z0-9]", "_", key).upper()
        variables[f"{'DBT_ENV_SECRET_' if hidden else ''}TARGET_{name}"] = fill(text, secret)
    return variables


# --------------------------------------------------------------------------------------------------------- counting

HEAD = re.compile(rb'[ \t]*\{\s*"type"\s*:\s*"([A-Z_]+)"\s*,\s*(?:"stream"\s*:\s*"([^"\\]*)"\s*[,}]|"value"\s*:\s*[{}])', re.ASCII)
"""The beginning of nearly every Singer message: from it alone type and stream are known, the rest need not be parsed."""

HEAD_BYTES = 1 << 16
"""Where the head was not found in so many bytes, it will not be: such a line is read whole, then parsed."""


SURROGATES = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})")
"""A surrogate pair as JSON writes it, or as a group one half without the other."""
PAIR_BYTES = 12


class Encoding:
    """Finds the first bytes in a stream that are not UTF-8 text as JSON wants it. ASCII costs next to nothing."""

    def __init__(self) -> None:
        """Start at the beginning of a stream."""
        self.fault = ""
        """What is wrong, empty as long as nothing is: ``is not UTF-8 (byte 0xe9, column 55)``."""
        self.fault_line = 0
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._began = False
        self._tail = b""

    def look(self, chunk: bytes, lines: int) -> None:
        """Look at the next *chunk*; *lines* have ended before it."""
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
        """Take the end of the stream."""
        if not self.fault:
            self._surrogates(self._tail + b" " * PAIR_BYTES, lines - self._tail.count(b"\n"))

    def _surrogates(self, text: bytes, lines: int) -> None:
        """Look for half a pair. The end of *text* waits for the next chunk if a pair may be cut there."""
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


class Counter:
    """Counts the messages of a tap, by type and by stream, in a byte stream that is cut anywhere.

    ``feed`` returns the bytes that may be passed on: only lines known to be Singer messages, in full or as far as they
    have come. A long line is not held back once its beginning is known, so memory stays flat. Most chunks consist of
    records of one stream: these are counted by two searches in C, not line by line.
    """

    def __init__(self) -> None:
        """Start with nothing counted."""
        self.messages: dict[str, int] = {}
        self.records: dict[str, int] = {}
        self.bytes: dict[str, int] = {}
        self.lines = 0
        self.streams: set[str] = set()
        """The streams that the tap has begun: those with a SCHEMA, a RECORD or a BATCH."""
        self.blank = 0
        """The number of the first blank line, 0 where there is none."""
        self._held: list[bytes] = []  # beginning of a line that is not yet understood
        self._held_bytes = 0
        self._open: tuple[str, str] | None = None  # type and stream of the line we are in the middle of
        self._run = b""  # the head that the last record began with
        self._run_kind = ("", "")
        self._states: deque[bytes] | None = deque(maxlen=LAST_STATES)  # None: one was too long to be kept

    def feed(self, chunk: bytes) -> bytes:
        """Take the next *chunk* and return what may be passed on.

        :raises EntrypointError: E-TAP-OUTPUT, a line is not a Singer message; what came before it is counted.
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
        if position == len(chunk) or self._understands(chunk, position):
            return chunk
        self._hold(chunk[position:])
        return chunk[:position]

    @property
    def ended(self) -> int:
        """How many lines have ended."""
        return self.lines - (self._open is not None)

    def finish(self) -> bytes:
        """Take the end of the stream and return the last line, if it had no newline.

        :raises EntrypointError: E-TAP-OUTPUT, as ``feed``.
        """
        rest = self._release()
        if rest:
            self._line(rest)
        return rest

    def digests(self) -> list[str]:
        """Return a digest of each of the last states, in canonical form; none if one was cut between two chunks."""
        found = []
        for line in self._states or ():
            with suppress(ValueError, RecursionError):
                text = json.dumps(json.loads(line).get("value"), sort_keys=True)
                found.append(hashlib.sha256(text.encode()).hexdigest()[:16])
        return found

    def too_long(self) -> EntrypointError:
        """Let go of a line that memory does not hold, and return what to say of it."""
        self._held = []
        return EntrypointError(
            "E-TAP-OUTPUT",
            f"Line {self.lines + 1:,} of the tap's output is no Singer message as far as it has come, and more than memory holds.",
            "A tap may print only Singer messages on standard output; its log belongs on standard error.",
        )

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
        found = HEAD.match(line)
        kind = self._begins(found) if found else self._parsed(line)
        if kind[0] == "STATE" and len(line) > HEAD_BYTES:
            self._states = None
        elif kind[0] == "STATE" and self._states is not None:
            self._states.append(line)
        self._add(kind, 1, len(line))

    def _understands(self, data: bytes, position: int) -> bool:
        """Look at a line that has not ended yet: say whether its beginning is enough to let it pass."""
        found = HEAD.match(data, position, position + HEAD_BYTES)
        if not found or (found[1] == b"STATE" and len(data) - position < HEAD_BYTES):
            return False
        self._open = self._begins(found)
        if self._open[0] == "STATE":
            self._states = None
        self.lines += 1
        self._add(self._open, 1, len(data) - position)
        return True

    def _begins(self, found: re.Match[bytes]) -> tuple[str, str]:
        kind = found[1].decode("ascii"), (found[2] or b"").decode("utf-8", "replace")
        if kind[0] == "RECORD":
            self._run, self._run_kind = found[0].lstrip(b" \t"), kind
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
                "E-TAP-OUTPUT",
                f"Line {self.lines:,} of the tap's output is not a Singer message: {shorten(shown)!r}.",
                "A tap may print only Singer messages on standard output; its log belongs on standard error.",
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
    """Cut *text* to what fits into a sentence."""
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


# ------------------------------------------------------------------------------------------------------------ state


def unwrapped(value: Any) -> Any:
    """Return the state inside a whole STATE message, or inside Meltano's ``singer_state``; else *value*."""
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
        """The line of the state, as it came: its numbers keep their digits."""
        self._rest: list[bytes] = []

    def feed(self, chunk: bytes) -> None:
        """Take the next *chunk*.

        :raises EntrypointError: E-TARGET-OUTPUT, a line is not a JSON object.
        """
        *lines, rest = chunk.split(b"\n")
        for line in lines:
            self._rest.append(line)
            self.finish()
        self._rest.append(rest)

    def finish(self) -> None:
        """Take the end of the output; a last line needs no newline."""
        line, self._rest = b"".join(self._rest), []
        self._line(line)

    def too_long(self) -> EntrypointError:
        """Let go of a line that memory does not hold, and return what to say of it."""
        self._rest = []
        return EntrypointError(
            "E-TARGET-OUTPUT",
            "The target printed a line that is more than memory holds.",
            "A target may print only states on standard output; its log belongs on standard error.",
        )

    def _line(self, line: bytes) -> None:
        if not line.strip():
            return
        try:
            value = unwrapped(json.loads(line))
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
    """Write *text* so that a reader sees the old file or the new one, never half of it."""
    part = path.with_name(f".{path.name}.{os.getpid()}")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def read_json(path: Path, code: str, what: str) -> dict[str, Any]:
    """Read a JSON object.

    :raises EntrypointError: *code*, it is not one.
    """
    try:
        value = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise EntrypointError(code, f"The {what} is not valid JSON: {error}.", f"Correct the {what}.") from None
    if not isinstance(value, dict):
        raise EntrypointError(code, f"The {what} is not a JSON object.", f"Correct the {what}.")
    return value


def existing(environ: Mapping[str, str], variable: str, *defaults: str) -> Path | None:
    """Return the first path that is a file or a FIFO: the variable's if it is set, else the defaults."""
    candidates = [environ[variable]] if environ.get(variable) else defaults
    return next((path for path in map(Path, candidates) if path.is_file() or path.is_fifo()), None)


# ------------------------------------------------------------------------------------------------------------ pipes


def open_to_write(path: str, seconds: float, ended: Path | None = None) -> int:
    """Open a file or FIFO for writing and return its descriptor; ``-`` is standard output.

    :raises EntrypointError: E-PIPE, nobody reads the FIFO within *seconds*: the other side may not have started at all.
    """
    if path == "-":
        return 1
    if Path(path).is_fifo():
        return open_fifo(path, os.O_WRONLY, "reads", seconds, ended)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)


def open_to_read(path: str, seconds: float, ended: Path | None = None) -> int:
    """Open a file or FIFO for reading and return its descriptor; ``-`` is standard input.

    :raises EntrypointError: E-PIPE, nobody writes into the FIFO within *seconds*.
    """
    if path == "-":
        return 0
    if Path(path).is_fifo():
        return open_fifo(path, os.O_RDONLY, "writes into", seconds, ended)
    return os.open(path, os.O_RDONLY)


def open_fifo(path: str, flags: int, verb: str, seconds: float, ended: Path | None = None) -> int:
    """Open a FIFO, which waits for the other side; in a thread, because nothing else can bound that wait everywhere.

    *ended* is a file that the other side leaves at its end: after that nobody comes any more.
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
        raise EntrypointError("E-PIPE", f"Nobody {verb} {path}: {why}.", "See why the other side did not start.")
    found = opened[0]
    if isinstance(found, OSError):
        raise found
    return found


def widen(descriptor: int) -> int:
    """Ask for a larger pipe buffer, and return its size; 0 where there is no such thing (it is Linux's)."""
    try:
        import fcntl

        return fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except (ImportError, AttributeError, OSError):
        return 0


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of *data*, however many calls it takes."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def holder(descriptor: int) -> str:
    """Return the name and id of a process that holds the other end of a pipe, as far as that can be seen (on Linux)."""
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
        """Read the settings of *side* (``tap``, ``target`` or ``transform``) from *environ*; nothing is opened yet."""
        self.side = side
        self.environ = environ
        self.executable = environ.get("SINGER_EXECUTABLE", "")
        self.capabilities = {word for word in environ.get("SINGER_CAPABILITIES", "").split(",") if word}
        self.counter = Counter()
        self.encoding = Encoding()
        self.redactor = Redactor()
        self.warnings: list[str] = []
        self.last_state = LastState()
        self.process: subprocess.Popen[bytes] | None = None
        self.starting = False
        self.stopping = False
        self.interrupted = 0
        self.orphaned = False
        self.abandoned = False
        self.pipe = environ.get("SINGER_PIPE", "")
        self.held: int | None = None
        self._reported = 0.0
        self._logs: list[threading.Thread] = []
        self._help: bytes | None = None
        self._safe = ""
        self._safe_lock = threading.Lock()

    # -- report

    def report(self, *, exit_code: int | None = None, error: EntrypointError | None = None) -> None:
        """Bring the report file up to date: at the end, and now and then before."""
        self._reported = time.monotonic()
        self.progress(ended=exit_code is not None)
        path = self.environ.get("SINGER_REPORT")
        if not path:
            return
        facts = {
            "side": self.side,
            "records": self.counter.records,
            "bytes": self.counter.bytes,
            "messages": self.counter.messages,
            "warnings": self.warnings,
            "fault": self.fault(),
            "exit_code": exit_code,
            **({"states": self.counter.digests()} if self.side == "tap" and exit_code is not None else {}),
            "error": error and {"code": error.code, "problem": error.problem, "hint": error.hint},
        }
        with suppress(OSError):  # a report that cannot be written must not be what ends a run
            write_whole(Path(path), json.dumps(facts))

    def fault(self) -> dict[str, Any] | None:
        """Return the first fault in the bytes that the tap printed: its line and what is wrong with it."""
        if self.encoding.fault:
            return {"line": self.encoding.fault_line, "problem": self.encoding.fault}
        return {"line": self.counter.blank, "problem": "is blank"} if self.counter.blank else None

    def warn(self, text: str) -> None:
        """Report a warning, and print it to the log."""
        text = self.redactor.text(text)
        self.warnings.append(text)
        print(f"WARNING {text}", file=sys.stderr, flush=True)

    def progress(self, *, ended: bool) -> None:
        """Tell Argo how many records the tap has sent so far; how many will come, nobody knows."""
        path = self.environ.get("ARGO_PROGRESS_FILE")
        if not path or self.side != "tap":
            return
        count = sum(self.counter.records.values())
        with suppress(OSError):
            Path(path).write_text(f"{count}/{max(1, count if ended else count + 1)}\n", encoding="utf-8")

    def report_sometimes(self) -> None:
        """Bring the report up to date unless that was done a moment ago."""
        if time.monotonic() - self._reported > REPORT_SECONDS:
            self.report()

    # -- the connector's process

    def start(self, arguments: list[str], more: Mapping[str, str] | None = None, **streams: Any) -> subprocess.Popen[bytes]:
        """Start the connector, with *more* variables.

        :raises EntrypointError: E-EXECUTABLE, there is none.
        """
        command = [self.executable, *arguments]
        hidden = ("SINGER_", "INVOKE_")
        environ = {name: value for name, value in self.environ.items() if not name.startswith(hidden)}
        environ.update(more or {})
        streams.setdefault("stderr", subprocess.PIPE)
        self.starting = True
        try:
            self.process = subprocess.Popen(command, env=environ, **streams)
        except OSError as error:
            reason = error.strerror or str(error)
            raise EntrypointError(
                "E-EXECUTABLE", f"{self.executable} cannot be started: {reason}.", 'Correct "executable" in connector.yaml.'
            ) from None
        finally:
            self.starting = False
        if self.process.stderr is not None:
            self.relay(self.process.stderr.fileno())
        if self.interrupted:
            raise SystemExit(128 + self.interrupted)
        return self.process

    def relay(self, source: int) -> None:
        """Copy a connector's log to ours, without secrets, until its end."""
        thread = threading.Thread(target=self._relay, args=(source,), daemon=True)
        self._logs.append(thread)
        thread.start()

    def _relay(self, source: int) -> None:
        held = b""
        with suppress(OSError):  # whoever reads our log may have gone: the connector must not notice
            while data := os.read(source, CHUNK):
                held += data
                whole = max(held.rfind(b"\n"), held.rfind(b"\r")) + 1
                if not whole and len(held) > LOG_LINE_BYTES:
                    whole = LOG_LINE_BYTES // 2
                lines, held = self.redactor.hide(held[:whole]), held[whole:]
                self._heed(lines)
                with suppress(OSError):
                    write_all(2, lines)
            write_all(2, self.redactor.hide(held))

    def _heed(self, lines: bytes) -> None:
        """Keep the first warnings of a log for the report."""
        if b"WARNING" not in lines:
            return
        for line in lines.decode("utf-8", "replace").splitlines():
            found = re.search(r"\bWARNING\b\s*(?:\|[^|]*\||[|:\]-]+)?\s*(.+)$", line)
            if found and len(self.warnings) < WARNINGS and found[1] not in self.warnings and not NOISE.search(found[1]):
                self.warnings.append(found[1].strip()[:SHOWN])

    def finish_logs(self) -> None:
        """Wait a moment for the rest of the connector's log."""
        deadline = time.monotonic() + HELPER_SECONDS
        for thread in self._logs:
            thread.join(max(0.0, deadline - time.monotonic()))

    def output(self, process: subprocess.Popen[bytes]) -> Iterator[bytes]:
        """Yield what the connector prints, until its end.

        A helper process that outlives the connector and holds its output does not hold the run: after a moment of
        silence the output counts as ended, with a warning.
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
                    self.warn(f"{holder(source)} outlived the {self.side} and still holds its output; it is no longer waited for.")
                    return

    def interrupt(self, number: int, _frame: FrameType | None) -> None:
        """Take a signal: end, but not between the start of a process and knowing it."""
        self.interrupted = number
        if not self.starting:
            raise SystemExit(128 + number)

    def wait(self, process: subprocess.Popen[bytes]) -> int:
        """Wait for the connector and return its exit code, 128 + n for signal n."""
        code = process.wait()
        self.finish_logs()
        return code if code >= 0 else 128 - code

    def stop(self) -> None:
        """Ask the connector to end, and end it if it does not. Safe to call at any time, from any thread."""
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
        """Stop when the engine is gone, however it went: at its end the kernel closes the other side of this pipe."""
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

    # -- the other side, where both share a folder

    def make_pipe(self) -> None:
        """Make the FIFO that both sides share, unless the other one was quicker."""
        if self.pipe:
            with suppress(FileExistsError):
                os.mkfifo(self.pipe, 0o600)

    def end_of(self, side: str) -> Path | None:
        """Return the file that a side leaves beside the FIFO at its end: its exit code stands in it."""
        return Path(f"{self.pipe}.{side}") if self.pipe else None

    def leave(self, code: int) -> None:
        """Let the other side know that this one has ended, and how."""
        path = self.end_of(self.side)
        if path is not None:
            with suppress(OSError):
                path.write_text(str(code), encoding="utf-8")

    def hold(self) -> None:
        """Hold a lock as long as this process lives, so that others see when it is gone, however it went.

        An engine has made the file before, and takes it away when the run is over: whoever comes too late must not begin.

        :raises FileNotFoundError: the run is over.
        """
        path = self.environ.get("SINGER_LOCK")
        if path:
            import fcntl

            made = "SINGER_LIFELINE" in self.environ
            self.held = os.open(path, os.O_WRONLY if made else os.O_CREAT | os.O_WRONLY, 0o600)
            fcntl.flock(self.held, fcntl.LOCK_EX)
            if not os.fstat(self.held).st_nlink:
                raise FileNotFoundError(2, "the run is over", path)

    def watch_target(self) -> None:
        """Stop the tap a while after the target has failed: it may have nothing to write for hours, and not notice."""
        path = self.end_of("target")
        if path is None or self.side != "tap":
            return

        def watch(path: Path) -> None:
            while True:
                time.sleep(LOOK_SECONDS)
                with suppress(OSError):
                    if path.read_text(encoding="utf-8") not in {"", "0"}:
                        break
            time.sleep(GRACE_SECONDS)
            self.abandoned = True
            self.stop()

        threading.Thread(target=watch, args=(path,), daemon=True).start()

    # -- files

    def pipe_seconds(self) -> float:
        """Return how long to wait for the other side of a FIFO."""
        text = self.environ.get("SINGER_PIPE_SECONDS") or "300"
        try:
            return float(text)
        except ValueError:
            raise EntrypointError("E-PIPE", f"SINGER_PIPE_SECONDS is {text!r}, not a number.", "Set it to seconds.") from None

    def given(self) -> dict[str, Any] | None:
        """Return the config as it was written, None where there is none."""
        path = existing(self.environ, "SINGER_CONFIG", "/tmp/config.json", "/opt/code/config.json")
        return None if path is None else read_json(path, "E-CONFIG", "config.json")

    def secret(self, name: str) -> str:
        """Return the value of a secret."""
        value = secret_reader(Path(self.environ.get("SINGER_SECRETS", "/tmp/secrets")), self.environ)(name)
        self.redactor.add(value)
        return value

    def config(self, work: Path) -> list[str]:
        """Write the config with its secrets filled in, and return the arguments that name it."""
        given = self.given()
        if given is None:
            return []
        filled = work / "config.json"
        filled.touch(0o600)
        filled.write_text(json.dumps(fill(given, self.secret)), encoding="utf-8")
        return ["--config", str(filled)]

    def catalog(self, work: Path, config: list[str]) -> list[str]:
        """Return the arguments that name the catalog: the file, else what discovery finds, else none."""
        path = existing(self.environ, "SINGER_CATALOG", "/tmp/catalog.json")
        if path is not None:
            read_json(path, "E-CATALOG", "catalog")
        elif "discover" in self.capabilities:
            path = work / "catalog.json"
            path.write_text(json.dumps(select_all(self.discover(config))), encoding="utf-8")
        else:
            return []
        return self.catalog_flags(path)

    def catalog_flags(self, path: Path) -> list[str]:
        """Return the arguments that name the catalog, by the flag that the tap reads.

        A tap that knows both gets both: old taps accept ``--catalog``, and read ``--properties`` alone.
        """
        known = {"--catalog": "catalog", "--properties": "properties"}
        flags = [flag for flag, name in known.items() if name in self.capabilities]
        if not flags:
            flags = [flag for flag in known if flag.encode() in self.help()]
        return [word for flag in flags or ["--catalog"] for word in (flag, str(path))]

    def help(self) -> bytes:
        """Return the connector's help, asked for once: it answers what ``capabilities`` leaves open."""
        if self._help is None:
            process = self.start(["--help"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            self._help = process.communicate()[0]
        return self._help

    def discover(self, config: list[str]) -> dict[str, Any]:
        """Ask the tap for its catalog.

        :raises EntrypointError: E-DISCOVERY, the tap failed or printed something else.
        """
        process = self.start([*config, "--discover"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        text = process.communicate()[0]
        code = self.wait(process)
        hint = "Correct its config.json, or put a catalog.json beside it."
        if code:
            raise EntrypointError("E-DISCOVERY", f"The tap's discovery ended with exit code {code}.", hint)
        catalog = object_in(text, lambda found: isinstance(found.get("streams"), list))
        if catalog is None:
            shown = shorten(text.decode("utf-8", "replace").strip())
            raise EntrypointError("E-DISCOVERY", f"The tap's discovery printed no catalog: {shown!r}.", hint)
        return catalog

    def state(self) -> list[str]:
        """Return the arguments that name the state: the stored one, else the connector's initial one, else none."""
        if self.environ.get("SINGER_FULL") == "true":
            return []
        for path in (existing(self.environ, "SINGER_STATE", "/tmp/state.json"), existing(self.environ, "SINGER_INITIAL_STATE")):
            if path is not None and read_json(path, "E-STATE", "state"):
                return ["--state", str(path)] if self.takes_state() else []
        return []

    def takes_state(self) -> bool:
        """Return whether the tap has the flag ``--state``. If neither its capabilities nor its help tell, it is passed."""
        return "state" in self.capabilities or b"--config" not in self.help() or b"--state" in self.help()

    # -- the sides

    def tap(self, work: Path) -> int:
        """Run the tap and return its exit code; its messages go to every place of ``SINGER_TAP_OUTPUT``."""
        config = self.config(work)
        arguments = [*config, *self.catalog(work, config)]
        arguments += self.state()
        places = self.environ.get("SINGER_TAP_OUTPUT") or "/tmp/tap_output.txt:-"
        sinks = [open_to_write(place, self.pipe_seconds(), self.end_of("target")) for place in places.split(":") if place]
        process = self.start(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        source = process.stdout.fileno()
        few = widen(source) // 16
        nap, longest = GATHER_SECONDS
        try:
            for chunk in self.output(process):
                self.encoding.look(chunk, self.counter.ended)
                pass_on(self.counter.feed(chunk), sinks)
                self.report_sometimes()
                if len(chunk) < few:  # a tap that writes message by message: let some gather, or each wakes the target
                    time.sleep(nap)
                    nap = min(2 * nap, longest)
            self.encoding.finish(self.counter.ended)
            pass_on(self.counter.finish(), sinks)
        except BrokenPipeError:
            self.stop()
            raise target_ended() from None
        except EntrypointError:
            self.stop()
            raise
        except MemoryError:
            error = self.counter.too_long()
            self.stop()
            raise error from None
        finally:
            process.stdout.close()
        code = self.wait(process)
        if code == 0:
            self.warn_of_missing(arguments)
        return code

    def warn_of_missing(self, arguments: list[str]) -> None:
        """Warn of selected streams that the tap never mentioned: it may have renamed or lost them."""
        flag = next((flag for flag in ("--catalog", "--properties") if flag in arguments), None)
        catalog = arguments[arguments.index(flag) + 1] if flag else None
        if catalog is None:
            return
        streams = read_json(Path(catalog), "E-CATALOG", "catalog").get("streams", [])
        wanted = [names for names in map(selected_names, streams) if names]
        missing = [names[0] for names in wanted if not self.counter.streams.intersection(names)]
        if missing and len(missing) == len(wanted) and self.counter.streams:
            return  # a tap that names its streams differently than its catalog does
        if missing:
            names = ", ".join(missing[:WARNINGS]) + (f" and {len(missing) - WARNINGS} more" if len(missing) > WARNINGS else "")
            self.warn(f"Selected, but the tap sent nothing for it, not even a SCHEMA: {names}. invoke discover shows what the source has.")

    def target(self, work: Path) -> int:
        """Run the target and return its exit code; after an exit code of 0 the new state is written."""
        arguments = self.config(work)
        folder = Path(self.environ.get("SINGER_OUTPUT_DIR") or "/tmp/data")
        folder.mkdir(parents=True, exist_ok=True)
        source = existing(self.environ, "SINGER_TAP_INPUT", "/tmp/tap_input.txt")
        named = self.environ.get("SINGER_TAP_INPUT") or (str(source) if source else "-")
        stdin = open_to_read(named, self.pipe_seconds(), self.end_of("tap"))
        places = self.environ.get("SINGER_TARGET_OUTPUT") or "/tmp/target_output.txt:-"
        sinks = [open_to_write(place, self.pipe_seconds()) for place in places.split(":") if place]
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
            # The connector and this process share the descriptor: what it did not read is still there to be read.
            if os.read(stdin, 1):
                raise target_ended()
            if self.last_state.state is not None:
                write_whole(Path(self.environ.get("SINGER_NEW_STATE") or "/tmp/new_state.json"), self.last_state.text)
        return code

    def transform(self, work: Path) -> int:
        """Run dbt in its project and return its exit code. What it writes beside the tables lies in ``SINGER_OUTPUT_DIR``."""
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
            "DBT_WARN_ERROR_OPTIONS": '{"error": ["NoNodesForSelectionCriteria"]}',  # what selects nothing is misspelt
            **connection(self.given() or {}, self.secret),
        }
        arguments = ["build", *(["--select", *select] if select else [])]
        process = self.start(arguments, variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=work)
        assert process.stdout is not None
        self.relay(process.stdout.fileno())
        return self.wait(process)

    def keep_state(self) -> None:
        """Write the newest state to ``SINGER_SAFE_STATE``, if it is set: an engine reads it while the target runs."""
        path = self.environ.get("SINGER_SAFE_STATE")
        with self._safe_lock:
            text = self.last_state.text
            if path and text != self._safe:
                with suppress(OSError):
                    write_whole(Path(path), text)
                    self._safe = text

    def watch_state(self) -> None:
        """Write the newest state every second, in a thread: the target may print nothing more for hours."""
        if not self.environ.get("SINGER_SAFE_STATE"):
            return

        def watch() -> None:
            while True:
                time.sleep(SAFE_SECONDS)
                self.keep_state()

        threading.Thread(target=watch, daemon=True).start()

    # -- outside a pipeline

    def print_catalog(self, work: Path) -> int:
        """Print what discovery finds, and nothing but that."""
        print(json.dumps(self.discover(self.config(work))), flush=True)
        return 0

    def about(self, _work: Path) -> int:
        """Print what the connector says of itself, and nothing but that; nothing where it does not know the question."""
        process = self.start(["--about", "--format=json"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        found = object_in(process.communicate()[0])
        code = self.wait(process)
        if code == 0 and found is not None:
            print(json.dumps(found), flush=True)
        return code

    def alone(self, work: Path, words: list[str]) -> int:
        """Run the connector with the files that are there and *words*; what it reads and prints is ours, and not looked at."""
        arguments = self.config(work)
        catalog = existing(self.environ, "SINGER_CATALOG")
        if catalog is not None:
            arguments += self.catalog_flags(catalog)
        arguments += self.state()
        return self.wait(self.start(arguments + words, cwd=self.environ.get("SINGER_OUTPUT_DIR") or None))


def object_in(output: bytes, wanted: Callable[[dict[str, Any]], bool] = bool) -> dict[str, Any] | None:
    """Return the first JSON object in *output* that is *wanted* and begins a line: some programs greet before they answer."""
    text = output.decode("utf-8", "replace")
    decoder = json.JSONDecoder()
    for start in re.finditer(r"^\s*(?=\{)", text, re.MULTILINE):
        try:
            found = decoder.raw_decode(text, start.end())[0]
        except (ValueError, RecursionError):
            continue
        if wanted(found):
            return dict(found)
    return None


def pass_on(data: bytes, sinks: list[int]) -> None:
    """Write *data* to every sink."""
    if data:
        for sink in sinks:
            write_all(sink, data)


def select_all(catalog: dict[str, Any]) -> dict[str, Any]:
    """Select every stream of a discovered catalog that does not say otherwise, in both forms that taps know."""
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
    """Return the names of a catalog's stream, none if the stream is not selected."""
    if not isinstance(stream, dict):
        return ()
    metadata: Any = stream.get("metadata")
    metadata = metadata if isinstance(metadata, list) else []
    root = next((item.get("metadata") for item in metadata if isinstance(item, dict) and item.get("breadcrumb") in ([], ())), None)
    schema = stream.get("schema") if isinstance(stream.get("schema"), dict) else {}
    marks = [part.get("selected") for part in (root, stream, schema) if isinstance(part, dict)]
    names = [stream.get("stream"), stream.get("tap_stream_id")]
    return tuple(name for name in names if isinstance(name, str)) if True in marks else ()


def run(side: str, environ: Mapping[str, str], words: list[str]) -> int:
    """Run one side and return the exit code; every error becomes a report and one line on standard error."""
    runner = Runner(side, environ)
    sides: dict[str, Callable[[Path], int]] = {
        "tap": runner.tap,
        "target": runner.target,
        "transform": runner.transform,
        "about": runner.about,
        "discover": runner.print_catalog,
        "alone": partial(runner.alone, words=words),
    }
    for number in SIGNALS:
        signal.signal(number, runner.interrupt)
    runner.watch_lifeline()
    made = False
    code = 128 + signal.SIGTERM
    work = Path(environ.get("SINGER_WORK") or f"/tmp/singer-{os.getpid()}-{time.time_ns()}").absolute()
    try:
        runner.hold()
        work.mkdir(mode=0o700, parents=True)
        made = True
        runner.report()
        runner.make_pipe()
        runner.watch_target()
        code = sides[side](work)
        if runner.abandoned:
            raise target_ended()
        runner.report(exit_code=code)
    except EntrypointError as error:
        code = OWN_ERROR
        cause = target_ended() if runner.abandoned else error  # what came of stopping the connector is not the cause
        cause = EntrypointError(cause.code, runner.redactor.text(cause.problem), cause.hint)
        runner.report(exit_code=code, error=cause)
        print(f"{cause.code}  {cause.problem}\n→ {cause.hint}", file=sys.stderr)
    except OSError as error:
        code = OWN_ERROR
        full = error.errno in {28, 122}  # ENOSPC, EDQUOT
        found = EntrypointError(
            "E-DISK" if full else "E-PIPE",
            f"{error.filename or 'A file of the run'}: {error.strerror or error}.",
            "Make room on the disk, then run it again." if full else "See that the folder is there and can be written.",
        )
        runner.report(exit_code=code, error=found)
        print(f"{found.code}  {found.problem}\n→ {found.hint}", file=sys.stderr)
    finally:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        runner.stop()
        runner.finish_logs()
        runner.leave(code)
        if made:  # a folder that was there already is not ours to clear
            for name in ("config.json", "catalog.json"):
                with suppress(OSError):
                    (work / name).unlink()
            with suppress(OSError):
                work.rmdir()
        if runner.orphaned:  # nobody is left to sweep what the connector has started: the whole session ends with us
            os.killpg(0, signal.SIGKILL)
    return code


def main() -> NoReturn:
    """Take the side from the command line, everything else from the environment."""
    chosen = sys.argv[1] if len(sys.argv) > 1 else os.environ.get("SINGER_SIDE", "")
    if chosen not in SIDES or not os.environ.get("SINGER_EXECUTABLE"):
        print(f"usage: SINGER_EXECUTABLE=<program> entrypoint.py {'|'.join(SIDES)}", file=sys.stderr)
        raise SystemExit(2)
    raise SystemExit(run(chosen, os.environ, sys.argv[2:]))


if __name__ == "__main__":
    main()
