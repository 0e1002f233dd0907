"""One connector's program, alone: what it says of itself, what streams it has, what it does with a few messages.

It is started as in a run, by the entrypoint, with the same files and the same environment; its folder, in which its
secrets lie, is the user's alone and is gone when it has ended, however it ends.
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
from functools import cached_property, partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from cluster.config.strict import listed
from cluster.engines.processes import STOP_SECONDS, Process, without_secrets
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.net import proxy
from cluster.project.dotenv import read_dotenv
from cluster.project.reader import Project
from cluster.project.redaction import redacted
from cluster.project.secrets import secrets
from cluster.project.venvs import Environments
from cluster.runs.outcome import last_words, outputs, warnings
from cluster.ui.format import seconds as as_seconds
from cluster.ui.format import shown as shown_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cluster.project.model import Connector
    from cluster.project.venvs import Environment
    from cluster.session import Session

ABOUT_SECONDS = 60
DISCOVER_SECONDS = 600
"""A database with thousands of tables takes its time."""
CHUNK = 1 << 20


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    exit_code: int | None
    """None where it was stopped."""
    said: str
    """The last line of its log."""
    warnings: list[str]
    """The first warnings in its log."""


class Probe:
    """Runs one connector's program alone, outside any pipeline."""

    def __init__(self, session: Session, connector: Connector) -> None:
        """Take the connector; its environment is made when its program is first asked for something."""
        self.session = session
        self.connector = connector
        self.hide: Callable[[str], str] = str
        """Takes the connector's secrets out of what it has said."""
        self.log = session.settings.local / "logs" / "probes" / f"{connector.name}.log"
        """What the program has said the last time."""

    @cached_property
    def environment(self) -> Environment:
        """The connector's environment.

        :raises SetupError: as ``Environments.ensure``.
        """
        [made] = Environments(self.session.settings).ensure([self.connector], self.session.output)
        return made

    def about(self) -> dict[str, Any] | None:
        """Return what the program says of itself (``--about --format=json``), None where it does not know that."""
        with self.answering("about") as (end, answer):
            return _object(answer) if _ended(end, ABOUT_SECONDS) and end.exit_code == 0 else None

    def expect_streams(self) -> None:
        """See that it can be asked for streams.

        :raises SetupError: E-DISCOVERY, it is no tap, or cannot discover.
        """
        name, capabilities = self.connector.name, self.connector.capabilities
        where = f"singer-configs/{name}/connector.yaml"
        if self.connector.kind != "tap":
            raise SetupError("E-DISCOVERY", f"{name} is a {self.connector.kind}; only taps have streams.", hint="Name a tap.")
        if capabilities and "discover" not in capabilities:
            raise SetupError(
                "E-DISCOVERY",
                f"{name} cannot discover its streams: the capabilities in {where} are {listed(capabilities)}.",
                hint='Write its catalog.json by hand; or, if its program knows --discover, add "discover" to them.',
            )

    def discover(self, seconds: float = DISCOVER_SECONDS) -> dict[str, Any]:
        """Return the tap's catalog.

        :raises SetupError: E-DISCOVERY, as ``expect_streams``, or it failed, printed no catalog or took longer than *seconds*;
            E-SECRET; as ``Environments.ensure``.
        """
        self.expect_streams()
        name = self.connector.name
        with self.answering("discover") as (end, answer):
            if not _ended(end, seconds):
                raise SetupError(
                    "E-DISCOVERY",
                    f"{name} was stopped: its discovery took longer than {as_seconds(seconds)}.",
                    hint=f"Give it more with --seconds, or see what it waits for. Log: {shown_path(self.log)}",
                )
            failure = replace(end.end(), unchanged="").failure()
            if failure is not None:
                raise SetupError(failure.code, self.hide(failure.problem), hint=failure.hint)
            catalog = _object(answer)
            assert catalog is not None, "the entrypoint prints a catalog or fails"
            return catalog

    def sync(self, catalog: object, state: object, take: Callable[[bytes], bool], seconds: float) -> Ended:
        """Run the tap with a catalog and a state, where there are any, handing each line to *take*, until that says no.

        :raises SetupError: what the entrypoint found; E-SECRET; as ``Environments.ensure``.
        """
        deadline = time.monotonic() + seconds
        files = {name: content for name, content in (("catalog.json", catalog), ("state.json", state)) if content}
        with self.running("alone", stdout=subprocess.PIPE, files=files) as end:
            stopped = not all(map(take, _lines(end, deadline))) or not _ended(end, deadline - time.monotonic())
            return self._how(end, stopped=stopped)

    def load(self, messages: bytes, seconds: float) -> tuple[Ended, bytes, list[str]]:
        """Give the target messages to read, and return how it ended, what it printed, and the files that it left.

        :raises SetupError: as ``sync``; E-OUTPUTS.
        """
        with tempfile.TemporaryFile() as source, tempfile.TemporaryFile() as answer:
            source.write(messages)
            source.seek(0)
            with self.running("alone", stdin=source, stdout=answer) as end:
                how = self._how(end, stopped=not _ended(end, seconds))
                data = end.folder / "data"
                left = [str(file.relative_to(data)) for file in outputs(data)]
            answer.seek(0)
            return how, answer.read(), left

    def _how(self, end: Process, *, stopped: bool) -> Ended:
        """Say how a program ended.

        :raises SetupError: it did not begin: what the entrypoint found.
        """
        said = [self.hide(text) for text in warnings(end.new_log_lines(), [])]
        if stopped:
            return Ended(None, "", said)
        how = end.end()
        failure = replace(how, unchanged="").failure()
        if failure is not None and how.report.get("error"):
            raise SetupError(failure.code, self.hide(failure.problem), hint=failure.hint)
        return Ended(how.exit_code, self.hide(last_words(how.log)), said)

    @contextmanager
    def answering(self, side: str, *words: str) -> Iterator[tuple[Process, IO[bytes]]]:
        """Start the program as ``running`` does, with a file that takes what it prints."""
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
        """Start the entrypoint's *side* and yield it; what is left of it after the body is ended, and its folder removed.

        *files* are written into the folder before, as JSON: ``catalog.json`` and ``state.json`` are given to the program.

        :raises SetupError: E-SECRET, its config asks for one that is not set; as ``Environments.ensure``.
        """
        settings, environ = self.session.settings, self.session.environ
        environment = self.environment
        config, shown = self.connector.config, Project(settings.root).shown(self.connector.config)
        found = {} if side == "about" else secrets(config, environ, read_dotenv(settings.root / ".env"), shown=shown)
        self.hide = partial(redacted, known=found.values())
        with file_errors("The connector's folder", settings.local):
            probes = private_folder(settings.local / "probes")
            _sweep(probes)
            folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=probes))
        lifeline, ours = os.pipe()
        private_folder(self.log.parent)
        end = Process(side, self.connector, environment, config, folder, self.log)
        try:
            end.prepare(found)
            (folder / "data").mkdir()
            for name, content in (files or {}).items():
                (folder / name).write_text(json.dumps(content), encoding="utf-8")
            told = proxy.read(settings, environ).variables(environ)
            own = end.variables(SINGER_CATALOG=str(folder / "catalog.json"))
            environ = {**without_secrets({**environ, **told}, [end.config]), **own}
            end.start(environ, lifeline, *words, stdin=stdin, stdout=stdout)
            yield end
        finally:
            end.terminate()
            end.kill(time.monotonic() + STOP_SECONDS)
            os.close(lifeline)
            os.close(ours)
            shutil.rmtree(folder, ignore_errors=True)


def _sweep(probes: Path) -> None:
    """Remove what commands have left that were killed: there are secrets in it."""
    for folder in probes.iterdir():
        try:
            os.kill(int(folder.name.partition("-")[0]), 0)
        except (ProcessLookupError, ValueError):
            shutil.rmtree(folder, ignore_errors=True)
        except PermissionError:
            continue  # somebody else's process has the number now


def _ended(end: Process, seconds: float) -> bool:
    """Wait for the end, *seconds* at the most, and say whether it came."""
    try:
        end.process.wait(seconds)
    except subprocess.TimeoutExpired:
        return False
    return True


def _lines(end: Process, deadline: float) -> Iterator[bytes]:
    """Yield what the program prints, line by line, until its end or the *deadline*."""
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
    """Return the object that the entrypoint has printed, None where it had nothing to print."""
    answer.seek(0)
    text = answer.read()
    return dict(json.loads(text)) if text else None
