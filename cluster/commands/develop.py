"""The commands for who works on this checkout: its tests and its benchmarks."""

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
from cluster.ui.format import shown

if TYPE_CHECKING:
    from cluster.session import Session

BENCHMARKS = ("run", "up", "argo", "night", "onboarding")
"""The sections of ``benchmarks/``, each with a table in ``docs/performance.md``."""
AT_ONCE = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
"""Tests of one file stay together: they share servers."""


def test(session: Session, *, everything: bool, options: str) -> None:
    """Run the tests of this checkout: several files at once, but for those that need the machine for themselves.

    :raises SetupError: E-INSTALL, what they need is not there and this environment is not ours to change.
    """
    _for_tests(session)
    _python(session, "-m", "pytest", *(["--all"] if everything else AT_ONCE), *options.split())


def bench(session: Session, *, quick: bool, only: str) -> None:
    """Measure what this machine can, and write it to ``docs/performance.md``.

    :raises SetupError: E-SETTING, there is no such benchmark; E-INSTALL, as ``test``.
    """
    chosen = words(only)
    for name in chosen:
        if name not in BENCHMARKS:
            raise SetupError("E-SETTING", f"There is no benchmark {describe(name)}.", hint=f"Name some of: {', '.join(BENCHMARKS)}.")
    _for_tests(session)
    _python(session, "benchmarks/bench.py", *chosen, *(["--quick"] if quick else []), *(["--json"] if session.as_json else []))


def _python(session: Session, *arguments: str) -> None:
    """Run a program of the checkout, and end as it does, unless it ended well."""
    environ = {**os.environ, "SINGER_LAUNCHER": ""}
    with subprocess.Popen([sys.executable, *arguments], cwd=session.settings.root, env=environ) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):  # SIGTERM; a Ctrl-C it hears itself
                process.terminate()
            process.wait()  # it takes away what it has made, such as a cluster
            raise
    if code:
        raise SystemExit(code)


def _for_tests(session: Session) -> None:
    """Install what tests and benchmarks need, where the environment is that of the launcher.

    :raises SetupError: E-INSTALL, it is not there and this environment is not ours to change.
    """
    settings = session.settings
    ours = Path(sys.prefix).resolve() == (settings.root / ".venv").resolve()
    wanted = settings.root / "requirements-dev.lock"
    stamp = Path(sys.prefix) / wanted.name
    if ours and (not stamp.exists() or stamp.read_bytes() != wanted.read_bytes()):
        with session.output.step("What the tests need") as step:
            told = proxy.read(settings, session.environ).variables(session.environ)
            pip = {"PIP_CACHE_DIR": str(settings.local / "cache" / "pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}  # as the launcher says
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes", "--requirement", str(wanted)],
                check=False,
                env={**os.environ, **pip, **told},
            )
            if done.returncode:
                raise SetupError("E-INSTALL", "What the tests need cannot be installed.", hint="See the lines above; then run it again.")
            shutil.copyfile(wanted, stamp)
            step.result("installed")
    if subprocess.run([sys.executable, "-c", "import pytest"], capture_output=True, check=False).returncode:
        raise SetupError(
            "E-INSTALL",
            "pytest is not in this environment.",
            hint=f"Install it: {shown(wanted)} lists all that the tests need; ./invoke test does it by itself.",
        )
