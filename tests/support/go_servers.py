"""Servers that tests start, built from their Go modules and kept below ``.local/``."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BUILD_SECONDS = 1200


def program(name: str, title: str, package: str) -> Path:
    """Return a program on this machine, building it where there is none.

    :raises LookupError: there is none and it cannot be built; the text tells why.
    """
    ours = ROOT / ".local" / "tests" / "bin"
    go = shutil.which("go")
    folders = [ours]
    if go:
        found = subprocess.run([go, "env", "GOPATH"], capture_output=True, text=True, check=False).stdout.strip()
        folders = [*(Path(folder) / "bin" for folder in found.split(os.pathsep) if folder), ours]
    binary = shutil.which(name) or next((str(folder / name) for folder in folders if (folder / name).is_file()), None)
    if binary:
        return Path(binary)
    if not go:
        raise LookupError(f"{title} is not here and Go, which builds it, is not either: put one of the two on PATH (go install {package}).")
    ours.mkdir(parents=True, exist_ok=True)
    try:
        subprocess.run(
            [go, "install", package],
            env={**os.environ, "GOBIN": str(ours)},
            capture_output=True,
            text=True,
            errors="replace",
            check=True,
            timeout=BUILD_SECONDS,
        )
    except subprocess.SubprocessError as error:
        said = str(getattr(error, "stderr", None) or "")[-1000:]
        raise LookupError(f"{title} is not here and cannot be built: {error} {said}") from None
    return ours / name


def wanted(name: str, title: str, package: str) -> Path:
    """Return a program; where it cannot be had, the test is skipped, and fails in CI."""
    try:
        return program(name, title, package)
    except LookupError as error:
        if os.environ.get("CI"):
            pytest.fail(str(error))
        pytest.skip(str(error))
