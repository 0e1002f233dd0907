"""Runs programs such as docker and kind. Arguments are lists, never shell lines."""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
import unicodedata
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING

from cluster.config.settings import ROOT
from cluster.errors import SetupError
from cluster.host import system
from cluster.ui.command_line import command as ours

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

FOLDER = ROOT / ".local" / "bin"
"""Programs of this checkout, which take precedence over PATH."""
SHOWN = 300
BRIEF = 80
SYMBOLS = {"So", "Sk", "Cf", "Mn"}
"""Unicode categories of emoji and of what modifies them."""
POLL_SECONDS = 0.25
TOO_LONG = 124
"""The exit code after a timeout, as that of timeout(1)."""

_limited: set[subprocess.Popen[str]] = set()
_stopping = threading.Event()


def which(program: str) -> str | None:
    """Return the path of a program: in this checkout, else on PATH."""
    return shutil.which(program, path=FOLDER) or shutil.which(program)


def install(program: str) -> str:
    """Return how to install a program."""
    runtime = system.here().choose({key: f": {line}" for key, line in system.INSTALL_RUNTIME.items()})
    known = {
        "docker": "Install Docker (https://docs.docker.com/get-started/get-docker/) or another container runtime with its command"
        f"{runtime}.",
        "kind": f"Let {ours('doctor --fix')} fetch it into this checkout, or install kind 0.33 or later: brew install kind, or "
        "go install sigs.k8s.io/kind@v0.33.0 (https://kind.sigs.k8s.io).",
        "minikube": "Install minikube 1.38 or later: brew install minikube, or https://minikube.sigs.k8s.io/docs/start/.",
    }
    return known.get(program, f"Install {program}.")


def find(program: str) -> str:
    """Return the path of a program.

    :raises SetupError: E-PROGRAM, it is not on PATH.
    """
    path = which(program)
    if path is None:
        raise SetupError("E-PROGRAM", f"{program} is not installed, or not on PATH.", hint=install(program))
    return path


def run(
    command: list[str], *, stdin: str | None = None, environ: Mapping[str, str] | None = None, seconds: float | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return its result, with any exit code.

    One that takes longer than *seconds* is killed with all that it has started, and has ended with
    ``TOO_LONG``.

    :raises SetupError: E-PROGRAM, it is not on PATH.
    """
    words = [find(command[0]), *command[1:]]
    if seconds is not None and _stopping.is_set():
        return subprocess.CompletedProcess(words, TOO_LONG, "", "stopped")
    with subprocess.Popen(
        words,
        stdin=None if stdin is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        env={**os.environ, **(environ or {})},
        start_new_session=seconds is not None,
    ) as process:
        if seconds is not None:
            _limited.add(process)
        try:
            out, err = process.communicate(stdin, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return subprocess.CompletedProcess(words, TOO_LONG, "", f"no answer within {seconds:.0f} s")
        except BaseException:
            process.kill()
            raise
        finally:
            _limited.discard(process)
    return subprocess.CompletedProcess(words, process.returncode, out, err)


def give_up() -> None:
    """Kill the programs that ``run`` runs with a time limit, and start no more of them."""
    _stopping.set()
    for process in list(_limited):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def check(
    command: list[str], *, code: str, doing: str, hint: str, stdin: str | None = None, environ: Mapping[str, str] | None = None
) -> str:
    """Run a program that must succeed, and return its standard output.

    :raises SetupError: *code*, with the last line that it printed.
    """
    result = run(command, stdin=stdin, environ=environ)
    if result.returncode:
        raise SetupError(code, f"{doing} failed: {last_line(result.stderr or result.stdout)}", hint=hint)
    return result.stdout


def ended(pid: int, words: Collection[str], seconds: float = 10) -> bool:
    """End a program that an earlier command of ours has left running; say whether there was one.

    It is ended, with its session, only if its command line has all of *words*: the number may be
    somebody else's by now.
    """
    try:
        line = Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8").replace("\0", " ")
    except OSError:
        line = run(["ps", "-o", "command=", "-p", str(pid)]).stdout if sys.platform == "darwin" else ""
    if not all(word in line for word in words):
        return False
    deadline = time.monotonic() + seconds
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGTERM)
        while time.monotonic() < deadline:
            os.killpg(pid, 0)
            time.sleep(0.1)
        os.killpg(pid, signal.SIGKILL)
    return True


def follow(
    command: list[str],
    say: Callable[[str], None],
    *,
    stdin: str | None = None,
    environ: Mapping[str, str] | None = None,
    started: Callable[[int], None] = lambda _: None,
) -> tuple[int, str]:
    """Run a program in a new session, pass each line to *say*; return exit code and output.

    *started* receives the process id, to end the program if we are killed.
    """
    lines: list[str] = []
    with subprocess.Popen(
        [find(command[0]), *command[1:]],
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, **(environ or {})},
        start_new_session=True,
    ) as process:
        started(process.pid)
        assert process.stdout is not None
        try:
            if process.stdin is not None:
                with suppress(BrokenPipeError):  # it ended early; its output has the reason
                    process.stdin.write((stdin or "").encode())
                    process.stdin.close()
            latest = ""
            for line in _lines(process.stdout):
                if line is not None:
                    lines.append(line)
                    latest = line.strip() or latest
                say(latest)
        except BaseException:
            process.terminate()
            raise
    return process.returncode, "\n".join(lines)


def _lines(stream: IO[bytes]) -> Iterator[str | None]:
    """Yield the lines of a program's output, and None regularly, so that the caller can stop."""
    rest = b""
    while True:
        if not select.select([stream], [], [], POLL_SECONDS)[0]:
            yield None
            continue
        part = os.read(stream.fileno(), 1 << 16)
        *whole, rest = (rest + part).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace").rstrip()
        if not part:
            if rest:
                yield rest.decode("utf-8", "replace")
            return


def brief(line: str) -> str:
    """Return a line of a program's progress without symbols and without the end of long lists."""
    text = "".join(letter for letter in line if unicodedata.category(letter) not in SYMBOLS)
    text = " ".join(text.split()).strip("• ").removesuffix("...").rstrip()
    return text if len(text) <= BRIEF else f"{text[: BRIEF - 1].rstrip(' ,')}…"


def last_line(text: str) -> str:
    """Return the last line that is not blank, as a sentence."""
    line = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it gave no reason")
    return line[:SHOWN] + ("" if line[:SHOWN].endswith((".", "?", "!")) else ".")
