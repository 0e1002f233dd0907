"""The commands ``test`` and ``bench``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.strict import describe, words
from cluster.errors import Interrupted, SetupError
from cluster.net import proxy
from cluster.ui.command_line import command
from cluster.ui.format import shown

if TYPE_CHECKING:
    from cluster.session import Session

BENCHMARKS = ("run", "up", "argo", "night", "onboarding")
"""The sections of ``benchmarks/``, each with a table in ``docs/performance.md``."""
PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
"""Tests of one file stay together: they share servers."""


def test(session: Session, *, everything: bool, options: str) -> None:
    """Run the tests: several files in parallel, unless all are wanted.

    :raises SetupError: E-INSTALL, a package is missing and this venv is not ours.
    """
    _for_tests(session)
    _python(session, "-m", "pytest", *(["--all"] if everything else PARALLEL), *options.split())


def bench(session: Session, *, quick: bool, only: str) -> None:
    """Measure this machine, and write the tables of ``docs/performance.md``.

    :raises SetupError: E-SETTING, no such benchmark; E-INSTALL, as ``test``.
    """
    chosen = words(only)
    for name in chosen:
        if name not in BENCHMARKS:
            raise SetupError("E-SETTING", f"There is no benchmark {describe(name)}.", hint=f"Name some of: {', '.join(BENCHMARKS)}.")
    _for_tests(session)
    _python(session, "benchmarks/bench.py", *chosen, *(["--quick"] if quick else []), *(["--json"] if session.as_json else []))


def _python(session: Session, *arguments: str) -> None:
    """Run a program of the checkout, and exit with its code unless it succeeded."""
    environ = {**os.environ, "SINGER_LAUNCHER": ""}
    with subprocess.Popen([sys.executable, *arguments], cwd=session.settings.root, env=environ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):  # SIGTERM; a Ctrl-C it hears itself
                process.terminate()
            process.wait()  # it removes what it has created, such as a cluster
            raise
    if code:
        raise SystemExit(code)


def _for_tests(session: Session) -> None:
    """Install the packages of tests and benchmarks into the launcher's venv.

    :raises SetupError: E-INSTALL, a package is missing and this venv is not ours.
    """
    settings = session.settings
    ours = Path(sys.prefix).resolve() == (settings.root / ".venv").resolve()
    wanted = settings.root / "requirements-dev.lock"
    stamp = Path(sys.prefix) / wanted.name
    if ours and (not stamp.exists() or stamp.read_bytes() != wanted.read_bytes()):
        with session.output.step("Packages for the tests") as step:
            network = proxy.read(settings, session.environ).variables(session.environ)
            # As in the launcher.
            pip = {"PIP_CACHE_DIR": str(settings.local / "cache" / "pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(wanted)],
                check=False,
                env={**os.environ, **pip, **network},
            )
            if done.returncode:
                raise SetupError(
                    "E-INSTALL", "The packages for the tests cannot be installed.", hint="See the lines above; then run it again."
                )
            shutil.copyfile(wanted, stamp)
            step.result("installed")
    if subprocess.run([sys.executable, "-c", "import pytest"], capture_output=True, check=False).returncode:
        raise SetupError(
            "E-INSTALL",
            "pytest is not in this venv.",
            hint=f"Install the packages of {shown(wanted)}, or run {command('test')} of the launcher, which installs them.",
        )
