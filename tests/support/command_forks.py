"""The command line, warm: a process that has read all modules already, and forks a real command each time it is asked.

A command started like this is the user's own in every respect but one: it need not read its modules first. That is what
makes thousands of runs affordable. Jobs come as JSON lines on standard input; for each there are two lines of answer, the
command's process and, at its end, its exit code (-n for signal n).

A job may name a ``fault``. At the ``at``-th change that the command makes to the disk it gets the signal ``number``, and
``later`` changes after that the signal ``second``. A change is a file opened for writing, renamed or removed, a folder made,
a process started. Or the change fails with the operating system's ``error``, with ``for_good`` all later ones too. Instead
of ``at``: the ``nth`` time that something is renamed to what has ``renaming`` in it. Python's audit hooks report the
changes, so that nothing in the command knows.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.link", "os.symlink", "subprocess.Popen", "fcntl.flock"}
MODULES = [
    "cluster.commands.history",
    "cluster.commands.run",
    "cluster.engines.local",
    "cluster.project.venvs",
    "cluster.store.s3",
    "invoke.main",
    "tasks",
    "uv",
    "rich.console",
    "cluster.platform.plan",
]


def changes(event: str, arguments: tuple[Any, ...]) -> bool:
    """Say whether an audited event is about to change something outside of this process."""
    if event == "open":
        path, _, flags = arguments
        return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR)) and path != os.devnull and not isinstance(path, int)
    return event in CHANGES


HARMLESS = {"os.remove", "os.rmdir", "fcntl.flock"}
"""What a disk that is full still allows."""


def watch(fault: dict[str, Any], changes_file: int) -> None:
    """Count the changes that this process makes, and strike. Their number is written to the file *changes*."""
    process, count, renamed, struck_at = os.getpid(), 0, 0, 0
    at, error = fault.get("at", 0), fault.get("error", 0)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count, renamed, struck_at
        if not changes(event, arguments) or os.getpid() != process:
            return
        count += 1
        os.pwrite(changes_file, f"{count} {event} {arguments[0]!r:.100}\n".ljust(160).encode(), 0)
        if event == "os.rename" and fault.get("renaming") and fault["renaming"] in str(arguments[1]):
            renamed += 1
        if fault.get("number") and not struck_at and (count == at or renamed == fault.get("nth")):
            struck_at = count
            os.kill(process, fault["number"])
        if fault.get("second") and struck_at and count == struck_at + fault["later"]:
            os.kill(process, fault["second"])
        struck = count == at or (fault.get("for_good") and count > at)
        if error and struck and event != "fcntl.flock" and not (error == errno.ENOSPC and event in HARMLESS):
            raise OSError(error, os.strerror(error), str(arguments[0]))

    sys.addaudithook(hook)


def command(job: dict[str, Any]) -> int:
    """Be the command of a job, and return its exit code."""
    program = importlib.import_module("invoke.main").program

    for name, key, flags in (("out", 1, os.O_WRONLY), ("err", 2, os.O_WRONLY)):
        os.dup2(os.open(job[name], flags | os.O_CREAT | os.O_TRUNC, 0o600), key)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.environ.clear()
    os.environ.update({**job["environ"], "FAULTS_ENGINE": str(os.getpid())})
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "fault" in job:
        changes_file = os.open(job["out"] + ".changes", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        watch(job["fault"], changes_file)
    try:
        program.run(["invoke", *job["words"]])
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except KeyboardInterrupt:
        return 130
    return 0


def main() -> None:
    """Serve jobs until there is nobody to send one."""
    sys.path.insert(0, str(Path.cwd()))
    for module in MODULES:
        importlib.import_module(module)
    print(os.getpid(), flush=True)  # noqa: T201 - it is ready
    for line in sys.stdin:
        job = json.loads(line)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                code = command(job)
                sys.stdout.flush()
            except KeyboardInterrupt:  # it was none yet
                code = 130
            except BaseException:  # noqa: BLE001 - as an interpreter does at its end
                traceback.print_exc()
            finally:
                os._exit(code)
        print(pid, flush=True)  # noqa: T201 - the answer
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201 - likewise


if __name__ == "__main__":
    main()
