"""Running other people's programs: docker and kind. Arguments are lists, never shell lines."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INSTALL = {
    "docker": "Install Docker (https://docs.docker.com/get-started/get-docker/) or another container runtime with its command.",
    "kind": "Install kind 0.33 or later: go install sigs.k8s.io/kind@v0.33.0, or brew install kind (https://kind.sigs.k8s.io).",
}
SHOWN = 300


def find(program: str) -> str:
    """Return where a program is.

    :raises SetupError: E-PROGRAM, it is not on PATH.
    """
    found = shutil.which(program)
    if found is None:
        raise SetupError("E-PROGRAM", f"{program} is not installed, or not on PATH.", hint=INSTALL.get(program, f"Install {program}."))
    return found


def run(command: list[str], *, stdin: str | None = None, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, whatever its exit code, and return what it printed.

    :raises SetupError: E-PROGRAM, it is not on PATH.
    """
    return subprocess.run(
        [find(command[0]), *command[1:]], input=stdin, capture_output=True, text=True, check=False, env={**os.environ, **(environ or {})}
    )


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


def follow(
    command: list[str], say: Callable[[str], None], *, stdin: str | None = None, environ: Mapping[str, str] | None = None
) -> tuple[int, str]:
    """Run a program, handing each line it prints to *say*; return its exit code and all its lines."""
    lines: list[str] = []
    with subprocess.Popen(
        [find(command[0]), *command[1:]],
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environ or {})},
        start_new_session=True,
    ) as process:
        assert process.stdout is not None
        try:
            if process.stdin is not None:
                process.stdin.write(stdin or "")
                process.stdin.close()
            for line in process.stdout:
                lines.append(line.rstrip())
                if line.strip():
                    say(line.strip())
        except BaseException:
            process.terminate()
            raise
    return process.returncode, "\n".join(lines)


def last_line(text: str) -> str:
    """Return the last line that says something, as a sentence."""
    line = next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it gave no reason")
    return line[:SHOWN].rstrip(".") + "."
