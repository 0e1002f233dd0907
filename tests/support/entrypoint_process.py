"""The entrypoint as a process, with separate files in place of an image's ``/tmp``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import entrypoint

ENTRYPOINT = Path(entrypoint.__file__)
RECORD = '{"type": "RECORD", "stream": "s", "record": {"id": 1}}\n'
STATE = '{"type": "STATE", "value": {"n": 1}}\n'
SAYS = f"cat <<'END'\n{RECORD}{STATE}END"
OWN_PATHS = {
    "SINGER_CONFIG": "config.json",
    "SINGER_CATALOG": "catalog.json",
    "SINGER_STATE": "state.json",
    "SINGER_TAP_OUTPUT": "tap_output.txt:-",
    "SINGER_TAP_INPUT": "-",
    "SINGER_TARGET_OUTPUT": "target_output.txt:-",
    "SINGER_NEW_STATE": "new_state.json",
    "SINGER_OUTPUT_DIR": "data",
    "SINGER_SECRETS": "secrets",
    "SINGER_REPORT": "report.json",
    "SINGER_WORK": "work",
}


HANGS_SECONDS = 120
"""No process of these tests works that long, even on a busy machine."""


@dataclass
class Result:
    """What the process left behind."""

    code: int
    out: str
    err: str


class Box:
    """A folder that stands for an image's ``/tmp``: every default path of the contract, moved there by its variable."""

    def __init__(self, folder: Path) -> None:
        """Take an empty folder."""
        self.folder = folder
        self.environ = {"PATH": os.environ["PATH"], "BOX": str(folder)}
        for variable, name in OWN_PATHS.items():
            self.environ[variable] = name if name == "-" else str(folder / name)

    def write(self, name: str, content: object) -> Path:
        """Write a file: a text as it is, anything else as JSON."""
        file = self.folder / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        return file

    def read(self, name: str) -> str:
        """Read a file, empty if it does not exist."""
        file = self.folder / name
        return file.read_text(encoding="utf-8") if file.exists() else ""

    @property
    def report(self) -> dict[str, Any]:
        """The report."""
        return dict(json.loads(self.read("report.json")))

    def start(
        self, side: str, script: str, python: str = sys.executable, words: tuple[str, ...] = (), **environ: str
    ) -> subprocess.Popen[str]:
        """Start the entrypoint with a connector that is a script of the shell, in which ``$BOX`` is this folder."""
        connector = self.write(f"connector-{side}", f"#!/bin/sh\n{script}\n")
        connector.chmod(0o700)
        lifeline = environ.get("SINGER_LIFELINE")
        return subprocess.Popen(
            [python, "-I", "-S", str(ENTRYPOINT), side, *words],
            env={**self.environ, "SINGER_EXECUTABLE": str(connector), **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            pass_fds=[int(lifeline)] if lifeline else [],
        )

    def run(
        self, side: str, script: str, stdin: str = "", python: str = sys.executable, words: tuple[str, ...] = (), **environ: str
    ) -> Result:
        """Run the entrypoint to its end."""
        with self.start(side, script, python, words, **environ) as process:
            out, err = process.communicate(stdin, timeout=HANGS_SECONDS)
        return Result(process.returncode, out, err)

    def wait_for(self, name: str) -> str:
        """Wait until the connector has written a file with a line in it, and return the line."""
        deadline = time.monotonic() + HANGS_SECONDS
        while not self.read(name).endswith("\n"):
            assert time.monotonic() < deadline, f"{name} was not written"
            time.sleep(0.02)
        return self.read(name).strip()
