"""A target that writes records into ``<stream>.jsonl`` and prints states, and misbehaves as its config asks.

For its reading: ``read`` (stop after so many lines), ``lenient`` (leave out lines that are broken), ``batches`` (false: do not read
batch files), ``wait_for``, ``sleep`` (seconds at the end).

For its output: ``silent`` (print no state), ``often`` (print each state as it comes), ``say`` (lines to print at the end), ``stderr``,
``pid``, ``environment``.

For its files: ``link`` (leave a symbolic link ``[name, where]``), ``file`` (leave an empty file), ``table`` (leave a file
``[name, text]``). With ``outside`` it appends rows to that file, down to the disk, before a state is printed,
as a database does.

For a part of a run: ``parts`` (what it does where the first message is of that stream).

For its end: ``exit``, ``exit_at`` (exit code at a line number: ``[3, 7]``), ``exit_on`` (fail where a line holds that text), ``kill`` (kill
itself). With ``fault`` it sends ``who`` the ``signal`` after ``at`` bytes, or at the end if ``at`` is -1.
"""

from __future__ import annotations

import gzip
import json
import os
import signal
import sys
import time


def strike(who: str, number: int) -> None:
    """Send a signal to this connector, its runner or the engine, which the tests name; with 0 just end with exit code 1."""
    if number == 0:
        os._exit(1)
    os.kill({"connector": os.getpid, "runner": os.getppid, "engine": lambda: int(os.environ["FAULTS_ENGINE"])}[who](), number)


def finish(config: dict, state: object) -> None:
    """Do what the config asks for at the end."""
    if config.get("stderr"):
        print(config["stderr"], file=sys.stderr, flush=True)
    if "link" in config:
        os.symlink(config["link"][1], config["link"][0])
    if "file" in config:
        open(config["file"], "w", encoding="utf-8").close()
    if "table" in config:
        with open(config["table"][0], "w", encoding="utf-8") as file:
            file.write(config["table"][1])
    if state is not None and not config.get("silent"):
        print(json.dumps(state), flush=True)
    for line in config.get("say", []):
        print(line if isinstance(line, str) else json.dumps(line), flush=True)
    if config.get("fault", {}).get("at") == -1:
        strike(config["fault"]["who"], config["fault"]["signal"])
    time.sleep(config.get("sleep", 0))
    if config.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    sys.exit(config.get("exit", 0))


def understand(line: bytes, config: dict) -> dict:
    """Return the message in a line."""
    if config.get("exit_on", "\n\n").encode() in line:
        sys.exit(1)
    try:
        return json.loads(line)
    except ValueError:
        if config.get("lenient"):
            return {"type": "NONE"}
        raise


def main() -> None:
    """Read messages to the end, or as far as the config asks."""
    config = {}
    if "--config" in sys.argv:
        with open(sys.argv[sys.argv.index("--config") + 1], encoding="utf-8") as file:
            config = json.load(file)
    if config.get("pid"):
        print(os.getpid(), file=sys.stderr, flush=True)
    if config.get("environment"):
        print(json.dumps(dict(os.environ)), file=sys.stderr, flush=True)
    state = None
    files: dict = {}
    rows: list = []
    fault, size = config.get("fault", {}), 0
    # Without a buffer it takes from the pipe just what it reads: what it leaves is there to be seen.
    for number, line in enumerate(open(0, "rb", buffering=0 if '"read"' in json.dumps(config) else -1), start=1):
        if not line.strip():
            continue
        message = understand(line, config)
        config.update(config.pop("parts", {}).get(message.get("stream"), {}))
        if message["type"] == "STATE":
            state = message["value"]
            for file in files.values():
                file.flush()
            if "outside" in config:
                with open(config["outside"], "a", encoding="utf-8") as outside:
                    outside.writelines(rows)
                    outside.flush()
                    os.fsync(outside.fileno())
                rows.clear()
            if config.get("often"):
                print(json.dumps(state), flush=True)
        elif message["type"] == "BATCH" and config.get("batches", True):
            for name in message["manifest"]:
                path = name.replace("file://", "")
                with gzip.open(path, "rt", encoding="utf-8") as batch, open(f"{message['stream']}.jsonl", "a", encoding="utf-8") as file:
                    file.write(batch.read())
        elif message["type"] == "RECORD" and "outside" in config:
            rows.append(json.dumps(message["record"]) + "\n")
        elif message["type"] == "RECORD":
            stream = message["stream"]
            if stream not in files:
                files[stream] = open(f"{stream}.jsonl", "a", encoding="utf-8")
            files[stream].write(json.dumps(message["record"]) + "\n")
        size += len(line)
        if size - len(line) <= fault.get("at", -1) < size:
            strike(fault["who"], fault["signal"])
        if config.get("exit_at", [0])[0] == number:
            sys.exit(config["exit_at"][1])
        if number == config.get("read"):
            os._exit(config.get("exit", 0))
    for file in files.values():
        file.close()
    while "wait_for" in config and not os.path.exists(config["wait_for"]):
        time.sleep(0.02)
    finish(config, state)
