"""A clean start with every Python that we promise and that is on this machine."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from checkout import Checkout

VERSIONS = ("3.11", "3.12", "3.13", "3.14")


def interpreter(version: str) -> str | None:
    """Return a Python of this version: of pyenv, where it need not be chosen, else on PATH."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    places: list[Path | str | None] = [*home.glob(f"versions/{version}.*/bin/python{version}"), shutil.which(f"python{version}")]
    for path in map(str, filter(None, places)):
        answer = subprocess.run(
            [path, "-c", "import ensurepip, venv, sys; print(sys.version)"], capture_output=True, text=True, check=False
        )
        if answer.stdout.startswith(version):
            return str(path)
    return None


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS)
def test_a_clean_start(checkout: Checkout, version: str) -> None:
    """In a fresh copy ./invoke demo makes its environment with this Python and ends with the rates in a file."""
    python = interpreter(version)
    if python is None:
        pytest.skip(f"Python {version} with its venv module is not here")
    done = subprocess.run(
        ["./invoke", "demo", "--engine", "local"],
        cwd=checkout.root,
        env={**checkout.environ, "SINGER_PYTHON": python},
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
        umask=0,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    made = (checkout.root / ".venv" / "pyvenv.cfg").read_text(encoding="utf-8")
    assert re.search(rf"^version = {re.escape(version)}\.", made, re.MULTILINE)
    assert "Warning" not in done.stderr
    [file] = (checkout.root / "output" / "exchange-rates-to-csv").glob("*/exchange_rate.csv")
    assert file.stat().st_size > 100_000
    for name in (".venv", ".local"):
        assert (checkout.root / name).stat().st_mode & 0o077 == 0, "for every umask, nobody else changes what is run, or looks into it"
