"""A tap that does what its config asks, step by step: what the tests need to see go wrong.

``{"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}], ["exit", 1]]}``. See ``STEPS``.
"""

from __future__ import annotations

import datetime as dt
import gzip
import json
import os
import resource
import signal
import subprocess
import sys
import time

CATALOG = {"streams": [{"tap_stream_id": "s", "stream": "s", "schema": {"type": "object", "properties": {"n": {"type": "integer"}}}}]}


def option(name: str) -> str | None:
    """Return the value that follows an option on the command line."""
    return sys.argv[sys.argv.index(name) + 1] if name in sys.argv else None


def load(name: str) -> dict:
    """Read the JSON file that an option names."""
    path = option(name)
    if not path:
        return {}
    with open(path, encoding="utf-8") as file:
        return json.load(file)


def say(message: object) -> None:
    """Print one line, and flush it."""
    print(message if isinstance(message, str) else json.dumps(message), flush=True)


def records(stream: str, count: int, first: int = 0, width: int = 0) -> None:
    """Print records numbered from *first*, each with a text of *width* characters."""
    for number in range(first, first + count):
        record = {"n": number, **({"text": "x" * width} if width else {})}
        print(json.dumps({"type": "RECORD", "stream": stream, "record": record}))
    sys.stdout.flush()


def count(stream: str, batches: int, size: int, pause: float = 0) -> None:
    """Go on from the number in the state: records in batches, after each the state, then a pause of seconds."""
    first = load("--state").get("n", 0)
    for _ in range(batches):
        records(stream, size, first)
        first += size
        say({"type": "STATE", "value": {"n": first}})
        time.sleep(pause)


def strike(who: str, number: int) -> None:
    """Send a signal to this connector, its runner or the engine, which the tests name; with 0 just end with exit code 1."""
    if number == 0:
        os._exit(1)
    os.kill({"connector": os.getpid, "runner": os.getppid, "engine": lambda: int(os.environ["FAULTS_ENGINE"])}[who](), number)


def source(rows: int, batch: int, fault: dict | None = None) -> None:
    """Go on from the number in the state up to *rows*, a state after each batch; the *fault* strikes after so many bytes."""
    messages = [{"type": "SCHEMA", "stream": "s", "key_properties": ["n"], "schema": {"type": "object"}}]
    for number in range(load("--state").get("n", 0), rows):
        messages.append({"type": "RECORD", "stream": "s", "record": {"n": number}})
        if (number + 1) % batch == 0 or number + 1 == rows:
            messages.append({"type": "STATE", "value": {"n": number + 1}})
    data = "".join(json.dumps(message) + "\n" for message in messages).encode()
    at = min(fault["at"], len(data)) if fault else 0
    write(data[:at])
    if fault:
        strike(fault["who"], fault["signal"])
    write(data[at:])


def streams(rows: dict, batch: int = 2, faults: dict | None = None, pause: float = 0) -> None:
    """Load each selected stream of the catalog from its bookmark up to so many rows, a state after each batch.

    A fault of a stream is the number of rows after which the tap exits with code 1.
    """
    marks = load("--state").get("bookmarks", {})
    for name in [entry["tap_stream_id"] for entry in load("--catalog")["streams"] if entry.get("selected", True)]:
        STEPS["schema"](name)
        for number in range(marks.get(name, {}).get("n", 0), rows.get(name, 0)):
            if (faults or {}).get(name) == number:
                sys.exit(1)
            records(name, 1, number)
            marks = {**marks, name: {"n": number + 1}}
            if (number + 1) % batch == 0 or number + 1 == rows[name]:
                say({"type": "STATE", "value": {"bookmarks": marks}})
                time.sleep(pause)


def grow(batches: int, size: int, pause: float = 0) -> None:
    """Go on from the bookmark of each selected stream: records in batches, after each the state, then a pause of seconds."""
    marks = load("--state").get("bookmarks", {})
    for name in [entry["tap_stream_id"] for entry in load("--catalog")["streams"] if entry.get("selected", True)]:
        STEPS["schema"](name)
        for _ in range(batches):
            first = marks.get(name, {}).get("n", 0)
            records(name, size, first)
            marks = {**marks, name: {"n": first + size}}
            say({"type": "STATE", "value": {"bookmarks": marks}})
            time.sleep(pause)


def days(stream: str, inclusive: bool = True, timed: bool = False, pause: float = 0) -> None:
    """Load a record for each day, or for each six hours, from ``start_date`` to ``end_date`` of the config."""
    config = load("--config")
    first, last = (dt.datetime.fromisoformat(config[key].replace("Z", "")) for key in ("start_date", "end_date"))
    STEPS["schema"](stream)
    while first < last or (inclusive and first == last):
        say({"type": "RECORD", "stream": stream, "record": {"n": first.isoformat()}})
        first += dt.timedelta(hours=6 if timed else 24)
        time.sleep(pause)


def write(data: bytes) -> None:
    """Write all of *data* to standard output, and flush it."""
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def memory(limit: int, wanted: int) -> None:
    """Have no more memory than *limit* bytes, and want more."""
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    print(len(bytearray(wanted)), file=sys.stderr)


def argument(name: str) -> None:
    """Print, as a record, what was given for an option: the file's content, or null."""
    path = option(name)
    say({"type": "RECORD", "stream": "s", "record": {"given": load(name) if path else None}})


def file(path: str) -> None:
    """Print, as a record, the text of a file, or null if it does not exist."""
    text = None
    if os.path.exists(path):
        with open(path, encoding="utf-8") as content:
            text = content.read()
    say({"type": "RECORD", "stream": "s", "record": {"file": text}})


def facts(path: str) -> None:
    """Print, as a record, where a file really is, and when it was modified."""
    say({"type": "RECORD", "stream": "s", "record": {"is": os.path.realpath(path), "modified": int(os.path.getmtime(path))}})


def batch(stream: str, size: int, folder: str = "", first: int = 0) -> None:
    """Write records into a file, by default below the root of ``batch_config``, and print its address."""
    folder = folder or load("--config")["batch_config"]["storage"]["root"].replace("file://", "")
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, f"{stream}-{first}.json.gz")
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps({"n": number}) + "\n" for number in range(first, first + size))
    encoding = {"format": "jsonl", "compression": "gzip"}
    say({"type": "BATCH", "stream": stream, "encoding": encoding, "manifest": [f"file://{path}"]})


def renew(key: str, more: str) -> None:
    """Replace a value in the config by a longer one, as a tap whose token works once."""
    config = load("--config")
    config[key] += more
    with open(option("--config"), "w", encoding="utf-8") as file:
        json.dump(config, file)


def wait(path: str) -> None:
    """Wait until a file is there."""
    while not os.path.exists(path):
        time.sleep(0.05)


STEPS = {
    "schema": lambda stream: say(
        {
            "type": "SCHEMA",
            "stream": stream,
            "key_properties": ["n"],
            "schema": {"type": "object", "properties": {"n": {"type": "integer"}}},
        }
    ),
    "records": records,
    "count": count,
    "source": source,
    "streams": streams,
    "grow": grow,
    "days": days,
    "memory": memory,
    "state": lambda value: say({"type": "STATE", "value": value}),
    "say": say,
    "raw": lambda text: (sys.stdout.buffer.write(text.encode("latin-1")), sys.stdout.buffer.flush()),
    "stderr": lambda text: print(text, file=sys.stderr, flush=True),
    "sleep": time.sleep,
    "wait": wait,
    "exit": sys.exit,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "kill_runner": lambda: os.kill(os.getppid(), signal.SIGKILL),
    "child": lambda: print(subprocess.Popen(["sleep", "600"]).pid, file=sys.stderr, flush=True),
    "pid": lambda: print(os.getpid(), file=sys.stderr, flush=True),
    "pid_in": lambda path: print(os.getpid(), file=open(path, "w", encoding="utf-8"), flush=True),
    "deaf": lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
    "environment": lambda: print(json.dumps(dict(os.environ)), file=sys.stderr, flush=True),
    "argument": argument,
    "file": file,
    "facts": facts,
    "batch": batch,
    "renew": renew,
    "touch": lambda path: open(path, "w", encoding="utf-8").close(),
}


def of_part(config: dict) -> dict:
    """Return the config with its keys for this part of a run: that of a stream in the catalog, or of a first day."""
    names = [stream["tap_stream_id"] for stream in load("--catalog").get("streams", [])] + [config.get("start_date")]
    return {**config, **next((config["parts"][name] for name in names if name in config.get("parts", {})), {})}


def main() -> None:
    """Do the steps of ``steps``; those of ``again`` where there is a state. ``parts`` has other keys for parts of a run."""
    config = of_part(load("--config"))
    if "--discover" in sys.argv:
        for name, *arguments in config.get("before_discovery", []):
            STEPS[name](*arguments)
        for line in config.get("discover", [CATALOG]):
            say(line)
        sys.exit(config.get("discover_exit", 0))
    steps = config.get("steps", [])
    if option("--state") and "again" in config:
        steps = config["again"]
    for name, *arguments in steps:
        STEPS[name](*arguments)
