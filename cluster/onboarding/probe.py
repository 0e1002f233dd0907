"""Run one connector's program outside a pipeline: ``--about``, discovery, or a few messages.

The entrypoint starts it as in a run, with the same files and variables. Its folder holds secrets:
only the user can read it, and it is removed when the program has ended, however it ends.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cluster.config.strict import listed
from cluster.engines.lock import keep_secrets
from cluster.engines.processes import STOP_SECONDS, Process, without_secrets
from cluster.engines.rotation import keeper
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.net import proxy
from cluster.onboarding.target_cases import misplaced
from cluster.project.dotenv import read_dotenv
from cluster.project.reader import Project
from cluster.project.redaction import redacted
from cluster.project.secrets import secrets
from cluster.project.venvs import Environments
from cluster.runs.outcome import last_words, outputs, unmatched, warnings
from cluster.ui.format import seconds as as_seconds
from cluster.ui.format import shown as shown_path
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cluster.project.model import Connector
    from cluster.project.venvs import Environment
    from cluster.session import Session

ABOUT_SECONDS = 60
DISCOVER_SECONDS = 600
"""A database with thousands of tables takes minutes."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    exit_code: int | None
    """None if it was stopped."""
    last_line: str
    """The decisive line of its log."""
    warnings: list[str]
    """The first warnings in its log."""


@dataclass(frozen=True)
class Loaded:
    """What a target did with messages."""

    end: Ended
    printed: bytes
    files: list[str]
    """The files that it left, relative to its folder."""
    unmatched: list[str]
    """Those that ``outputs`` in its ``connector.yaml`` does not match."""
    misplaced: list[str]
    """What is wrong with the columns of its files; see ``target_cases.misplaced``."""


class Probe:
    """Runs one connector's program alone, outside any pipeline."""

    def __init__(self, session: Session, connector: Connector) -> None:
        """Take the connector; its venv is made when its program first runs, or by ``install``."""
        self.session = session
        self.connector = connector
        self.hide: Callable[[str], str] = str
        """Redacts the connector's secrets in its output."""
        self.log = session.settings.local / "logs" / "probes" / f"{connector.name}.log"
        """The log of the program's last run."""
        self._environment: Environment | None = None

    def install(self) -> Environment:
        """Return the connector's venv; if it is missing, make it and show that as a step.

        :raises SetupError: as ``Environments.ensure``.
        """
        if self._environment is None:
            [self._environment] = Environments(self.session.settings).ensure([self.connector], self.session.output)
        return self._environment

    def about(self) -> dict[str, Any] | None:
        """Return the answer to ``--about --format=json``, None if there is no such option."""
        with self.answering("about") as (end, answer):
            return _object(answer) if _ended(end, ABOUT_SECONDS) and end.exit_code == 0 else None

    def expect_streams(self) -> None:
        """Check that it is a tap that can discover streams.

        :raises SetupError: E-DISCOVERY, it is not.
        """
        name, capabilities = self.connector.name, self.connector.capabilities
        file = f"singer-configs/{name}/connector.yaml"
        if self.connector.kind != "tap":
            raise SetupError("E-DISCOVERY", f"{name} is a {self.connector.kind}; only taps have streams.", hint="Name a tap.")
        if capabilities and "discover" not in capabilities:
            raise SetupError(
                "E-DISCOVERY",
                f"{name} cannot discover its streams: the capabilities in {file} are {listed(capabilities)}.",
                hint='Write its catalog.json by hand. If its program has --discover, add "discover" to them.',
            )

    def discover(self, seconds: float = DISCOVER_SECONDS) -> dict[str, Any]:
        """Return the tap's catalog.

        :raises SetupError: E-DISCOVERY, as ``expect_streams``, or it failed, printed no catalog or
            took longer than *seconds*; E-SECRET; as ``Environments.ensure``.
        """
        self.expect_streams()
        name = self.connector.name
        with self.answering("discover") as (end, answer):
            if not _ended(end, seconds):
                raise SetupError(
                    "E-DISCOVERY",
                    f"{name} was stopped: its discovery took longer than {as_seconds(seconds)}.",
                    hint=f"Raise --seconds, or look in its log for what it waits for: {shown_path(self.log)}",
                )
            failure = replace(end.end(), unchanged="").failure()
            if failure is not None:
                raise SetupError(failure.code, self.hide(failure.problem), hint=failure.hint)
            catalog = _object(answer)
            if catalog is None:
                raise SetupError("E-DISCOVERY", f"{name} printed no catalog.", hint=f"See its log: {shown_path(self.log)}")
            return catalog

    def sync(self, catalog: object, state: object, take: Callable[[bytes], bool], seconds: float) -> Ended:
        """Run the tap with a catalog and a state, if any.

        Hand each line to *take*, until it returns False.

        :raises SetupError: the entrypoint's error; E-SECRET; as ``Environments.ensure``.
        """
        deadline = time.monotonic() + seconds
        files = {name: content for name, content in (("catalog.json", catalog), ("state.json", state)) if content}
        with self.running("alone", stdout=subprocess.PIPE, files=files) as end:
            stopped = not all(map(take, _lines(end, deadline))) or not _ended(end, deadline - time.monotonic())
            return self._how(end, stopped=stopped)

    def load(self, messages: bytes, seconds: float) -> Loaded:
        """Let the target read messages.

        :raises SetupError: as ``sync``; E-OUTPUTS.
        """
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
            source.write(messages)
            source.seek(0)
            with self.running("alone", stdin=source, stdout=answer) as end:
                ended = self._how(end, stopped=not _ended(end, seconds))
                data = end.folder / "data"
                files = outputs(data)
                names = [file.relative_to(data).as_posix() for file in files]
                others = unmatched(data, files, self.connector.outputs)
                wrong = [problem for file in files for problem in misplaced(file)]
            answer.seek(0)
            return Loaded(ended, answer.read(), names, others, wrong)

    def _how(self, end: Process, *, stopped: bool) -> Ended:
        """Return how a program ended.

        :raises SetupError: it did not start: the entrypoint's error.
        """
        warned = [self.hide(text) for text in warnings(end.new_log_lines(), [])]
        if stopped:
            return Ended(None, "", warned)
        result = end.end()
        failure = replace(result, unchanged="").failure()
        if failure is not None and result.report.get("error"):
            raise SetupError(failure.code, self.hide(failure.problem), hint=failure.hint)
        return Ended(result.exit_code, self.hide(last_words(result.log)), warned)

    @contextmanager
    def answering(self, side: str, *words: str) -> Iterator[tuple[Process, IO[bytes]]]:
        """Start the program as ``running`` does, with a file for its output."""
        with tempfile.TemporaryFile() as answer, self.running(side, *words, stdout=answer) as end:
            yield end, answer

    @contextmanager
    def running(
        self,
        side: str,
        *words: str,
        stdout: int | IO[bytes],
        stdin: int | IO[bytes] = subprocess.DEVNULL,
        files: Mapping[str, object] | None = None,
    ) -> Iterator[Process]:
        """Start the entrypoint's *side* and yield it. After the body, end it and remove its folder.

        *files* are written into the folder before, as JSON. The program gets ``catalog.json`` and
        ``state.json``.

        :raises SetupError: E-SECRET, its config asks for one that is not set; as
            ``Environments.ensure``.
        """
        environment = self.install()
        values = {} if side == "about" else self._secrets()
        self.hide = partial(redacted, known=values.values())
        folder = self._folder()
        lifeline, ours = os.pipe()
        private_folder(self.log.parent)
        end = Process(side, self.connector, environment, self.connector.config, folder, self.log)
        try:
            end.prepare(values)
            (folder / "data").mkdir()
            for name, content in (files or {}).items():
                (folder / name).write_text(json.dumps(content), encoding="utf-8")
            end.start(self._environ(end), lifeline, *words, stdin=stdin, stdout=stdout)
            yield end
        finally:
            end.terminate()
            end.kill(time.monotonic() + STOP_SECONDS)
            os.close(lifeline)
            os.close(ours)
            self._keep_rotated(folder)
            shutil.rmtree(folder, ignore_errors=True)

    def _folder(self) -> Path:
        """Return a new folder for a program; those that killed commands have left are removed."""
        local = self.session.settings.local
        with file_errors("The connector's folder", local):
            probes = private_folder(local / "probes")
            _sweep(probes)
            return Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=probes))

    def _keep_rotated(self, folder: Path) -> None:
        """Keep secrets that the program replaced in its config, and show those that are lost."""
        rotated = keeper(self.session.settings, self.session.environ, self.connector.name, folder)
        rotated.look(last=True)
        for problem in rotated.problems:
            warn(self.session.output, self.connector.name, problem)

    def _secrets(self) -> dict[str, str]:
        """Return the values of the config's secrets.

        :raises SetupError: E-SECRET, one is not set.
        """
        root, config = self.session.settings.root, self.connector.config
        keep_secrets(self.session.settings, self.session.environ)  # a run shows what is lost
        return secrets(config, self.session.environ, read_dotenv(root / ".env"), shown=Project(root).shown(config))

    def _environ(self, end: Process) -> dict[str, str]:
        """Return the user's variables without secrets, those of the proxy and the entrypoint's."""
        environ = self.session.environ
        network = proxy.read(self.session.settings, environ).variables(environ)
        own = end.variables(SINGER_CATALOG=str(end.folder / "catalog.json"), SINGER_BATCH_DIR=str(end.folder / "batches"))
        return {**without_secrets({**environ, **network}, [end.config]), **own}


def _sweep(probes: Path) -> None:
    """Remove the folders of commands that were killed: they hold secrets."""
    for folder in probes.iterdir():
        try:
            os.kill(int(folder.name.partition("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue  # the number belongs to a process of another user by now


def _ended(end: Process, seconds: float) -> bool:
    """Wait at most *seconds*, and return whether the program has ended."""
    try:
        end.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines(end: Process, deadline: float) -> Iterator[bytes]:
    """Yield the program's output by lines, until its end or the *deadline*."""
    assert end.process.stdout is not None
    source = end.process.stdout.fileno()
    rest: list[bytes] = []
    while select.select([source], [], [], max(0.0, deadline - time.monotonic()))[0]:
        chunk = os.read(source, CHUNK)
        *whole, last = chunk.split(b"\n")
        for line in whole:
            yield b"".join([*rest, line])
            rest = []
        rest.append(last)
        if not chunk:
            if any(rest):
                yield b"".join(rest)
            return


def _object(answer: IO[bytes]) -> dict[str, Any] | None:
    """Return the object that the entrypoint has printed, None if it printed nothing."""
    answer.seek(0)
    text = answer.read()
    return dict(json.loads(text)) if text else None
