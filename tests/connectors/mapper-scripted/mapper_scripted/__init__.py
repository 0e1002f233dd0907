"""A mapper that hides fields and renames streams, and misbehaves as its config asks.

For its messages: ``hide`` (fields), ``rename`` (stream to stream), ``drop`` (leave out the messages of these types). Also ``careless``
(leave out what is no JSON), ``read`` (stop after so many lines), ``say`` (a line to print first).

For its process: ``stderr``, ``pid``, ``environment``, ``deaf`` (ignore SIGTERM), ``sleep`` (seconds at the end).

For its end: ``exit`` (exit code), ``exit_at`` (exit code at a line number: ``[3, 7]``), ``kill`` (kill itself), ``kill_runner``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time


def mapped(message: dict, config: dict) -> dict:
    """Return a message with its stream renamed, and without hidden fields."""
    if "stream" in message:
        message["stream"] = config.get("rename", {}).get(message["stream"], message["stream"])
    for fields in (message.get("record"), message.get("schema", {}).get("properties")):
        for name in config.get("hide", []):
            (fields or {}).pop(name, None)
    return message


def main() -> None:
    """Pass messages on to the end, or as far as the config asks."""
    config = {}
    if "--config" in sys.argv:
        with open(sys.argv[sys.argv.index("--config") + 1], encoding="utf-8") as file:
            config = json.load(file)
    if config.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if config.get("pid"):
        print(os.getpid(), file=sys.stderr, flush=True)
    if config.get("environment"):
        print(json.dumps(dict(os.environ)), file=sys.stderr, flush=True)
    if "say" in config:
        print(config["say"], flush=True)
    # Without a buffer it takes from the pipe just what it reads: what it leaves is there to be seen.
    for number, line in enumerate(open(0, "rb", buffering=0 if "read" in config else -1), start=1):
        if line.strip():
            try:
                message = json.loads(line)
            except ValueError:
                if config.get("careless"):
                    continue
                raise
            if message["type"] not in config.get("drop", []):
                print(json.dumps(mapped(message, config)), flush=True)
        if config.get("exit_at", [0])[0] == number:
            print(config.get("stderr", ""), file=sys.stderr, flush=True)
            sys.exit(config["exit_at"][1])
        if number == config.get("read"):
            os._exit(config.get("exit", 0))
    time.sleep(config.get("sleep", 0))
    if config.get("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if config.get("kill_runner"):
        os.kill(os.getppid(), signal.SIGKILL)
        time.sleep(60)
    print(config.get("stderr", ""), file=sys.stderr, flush=True)
    sys.exit(config.get("exit", 0))
