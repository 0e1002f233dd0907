"""The commands ``test`` and ``bench``, for people who change this checkout."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import TOOL
from cluster.config.strict import describe, words
from cluster.errors import Interrupted, SetupError
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.command_line import command
from cluster.ui.format import count, seconds, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.session import Session

BENCHMARKS = ("run", "loop", "up", "argo", "fleet", "night", "onboarding", "hub")
"""The sections of ``benchmarks/``, each with a table in ``docs/performance.md``. That of ``hub`` is
in ``docs/connectors.md``."""
IN_PARALLEL = ("--numprocesses=auto", "--maxprocesses=4", "--dist=loadfile")
"""The tests of one file run in one process, because they share servers. Unit tests have none."""
LEVELS: dict[str, tuple[str, ...]] = {
    "": IN_PARALLEL,
    "unit": (*IN_PARALLEL, "--dist=worksteal", "tests/unit"),
    "full": (*IN_PARALLEL, "--full"),
    "all": ("--all",),  # a cluster needs the machine to itself
}
"""The arguments of pytest, by the option that selects tests."""


def test(session: Session, *, options: str, connector: str, **levels: bool) -> None:
    """Run the tests of one level of ``LEVELS``, or those of a connector.

    :raises SetupError: E-SETTING, more than one level; E-INSTALL, this venv has no pytest and is
        not ours to change.
    """
    selected = [level for level, on in levels.items() if on]
    if len(selected) > 1:
        raise SetupError("E-SETTING", f"--{' and --'.join(selected)} exclude each other.", hint="Pass one of them.")
    if connector:
        _test_connector(session, connector)
        return
    _for_tests(session)
    # With PYTHONDONTWRITEBYTECODE, as in many containers, each process would compile all modules.
    bytecode = {"PYTHONPYCACHEPREFIX": str(session.settings.local / "cache" / "bytecode"), "PYTHONDONTWRITEBYTECODE": ""}
    _python("-m", "pytest", *LEVELS["".join(selected)], *options.split(), environ=bytecode)


def _test_connector(session: Session, name: str) -> None:
    """Run the tests in a connector's project, in its venv; what they print is shown if one fails.

    :raises SetupError: E-UNKNOWN, no such connector; E-SETTING, it has no tests here; as
        ``Environments.ensure``.
    """
    connector = Project(session.settings.root).connector(name)
    folders = [folder for folder in connector.projects if (folder / "tests").is_dir()]
    if not folders:
        hint = f"Name a connector whose project has a folder tests, such as one of {command('new', 'tap-mine', '--from-scratch')}"
        raise SetupError("E-SETTING", f"{name} has no project with tests in this checkout.", hint=hint)
    [environment] = Environments(session.settings).ensure([connector], session.output)
    began = time.monotonic()
    for folder in folders:
        words = [str(environment.folder / "bin" / "python"), "-B", "-m", "unittest", "discover", "tests"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
        number = re.search(r"^Ran (\d+) test", done.stderr, re.MULTILINE)
        if done.returncode:
            session.output.text((done.stdout + done.stderr).rstrip())
            raise SystemExit(done.returncode)
        detail = f"{count(int(number[1]), 'test')} passed" if number else "no tests"
        session.output.line("✓", name, f"{detail}, {seconds(time.monotonic() - began)}")


def bench(session: Session, *, quick: bool, only: str) -> None:
    """Measure this machine and write the tables of ``docs/performance.md``.

    :raises SetupError: E-SETTING, unknown benchmark; E-INSTALL, as ``test``.
    """
    names = words(only)
    for name in names:
        if name not in BENCHMARKS:
            raise SetupError("E-SETTING", f"There is no benchmark {describe(name)}.", hint=f"Name some of: {', '.join(BENCHMARKS)}.")
    _for_tests(session)
    arguments = (*names, *(["--quick"] if quick else []), *(["--json"] if session.as_json else []))
    # As in test; people seldom set it.
    _python("benchmarks/bench.py", *arguments, environ={"PYTHONDONTWRITEBYTECODE": ""})


def _python(*arguments: str, environ: Mapping[str, str] | None = None) -> None:
    """Run a Python program of the checkout. If it fails, exit with its exit code."""
    variables = {**os.environ, "SINGER_LAUNCHER": "", **(environ or {})}
    with subprocess.Popen([sys.executable, *arguments], cwd=TOOL, env=variables) as process:
        try:
            code = process.wait()
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):  # SIGTERM reaches us alone, Ctrl-C the program too
                process.terminate()
            process.wait()  # it removes what it has created, such as a cluster
            raise
    if code:
        raise SystemExit(code)


def _for_tests(session: Session) -> None:
    """Install ``requirements-dev.lock`` if the launcher has created this venv.

    :raises SetupError: E-INSTALL, the installation fails, or this venv has no pytest and is not
        ours to change.
    """
    settings = session.settings
    ours = Path(sys.prefix).resolve() == (TOOL / ".venv").resolve()
    lock = TOOL / "requirements-dev.lock"
    installed = Path(sys.prefix) / lock.name
    if ours and (not installed.exists() or installed.read_bytes() != lock.read_bytes()):
        with session.output.step("Packages for tests") as step:
            install = ("install", "--quiet", "--require-hashes", "--requirement", str(lock))
            environments = Environments(settings)
            # As in the launcher.
            if environments.run(["pip", *install, "--no-deps", "--python", sys.executable]).returncode:
                pip = {"PIP_CACHE_DIR": str(settings.local / "cache" / "pip"), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
                network = environments.network.variables(session.environ)
                command = [sys.executable, "-m", "pip", *install, "--no-compile"]
                if subprocess.run(command, check=False, env={**os.environ, **pip, **network}).returncode:
                    raise SetupError(
                        "E-INSTALL", "pip cannot install the packages for tests.", hint="Read the lines of pip above, then run it again."
                    )
            shutil.copyfile(lock, installed)
            step.result("installed")
    if importlib.util.find_spec("pytest") is None:
        raise SetupError(
            "E-INSTALL",
            f"The venv {shown(Path(sys.prefix))} has no pytest, and ./invoke has not created it.",
            hint=f"Install {shown(lock)} into it, or use ./invoke, which installs it.",
        )
