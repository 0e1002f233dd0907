"""Start and stop tap, mapper and target as processes joined by pipes, or a transform as one.

Each process runs the entrypoint of the images in its own folder of the run. This module returns
what they report; ``local`` decides what that means for the pipeline.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, Any

from cluster.config.settings import TOOL
from cluster.engines.lock import RUNNER_LOCK, SAFE_STATE
from cluster.errors import SetupError
from cluster.host.files import file_errors, log_lines, private, private_folder, write_private
from cluster.project.secrets import secret_names
from cluster.runs import outcome
from cluster.runs.outcome import TAIL_BYTES
from cluster.runs.rotation import FILE
from cluster.ui import exact_json
from cluster.ui.format import seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from cluster.engines.job import Job
    from cluster.errors import RunError
    from cluster.project.model import Connector
    from cluster.project.venvs import Environment

ENTRYPOINT = TOOL / "singer-containers" / "entrypoint.py"
START = "import os, sys; sys.path.append(os.path.dirname(sys.argv.pop(1))); import entrypoint; entrypoint.main()"
"""Starts the entrypoint from its bytecode. A script is compiled at each start, for 20 ms."""
TICK_SECONDS = 0.2
GRACE_SECONDS = 10.0
"""How long the other side has to end after one has failed."""
STOP_SECONDS = 8.0
"""How long both sides have to end after a signal. The entrypoint gives its connector 5 seconds."""
PIPE_BYTES = 1 << 20
PLAN = "parts.json"
"""The file in the folder of a run with its parts."""
NOT_OURS = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"}


def without_secrets(environ: Mapping[str, str], configs: Iterable[Path]) -> dict[str, str]:
    """Return the environment without these configs' secrets: connectors get them in files."""
    hidden = {name for file in configs for name in secret_names(file)} | NOT_OURS
    return {name: value for name, value in environ.items() if name not in hidden and not name.startswith(("SINGER_", "INVOKE_"))}


class Process:
    """One side of the pipe, or a transform: its connector, folder, process and log."""

    def __init__(self, side: str, connector: Connector, environment: Environment, config: Path, folder: Path, log: Path) -> None:
        """Keep the parts of *side*, such as ``tap``, without starting it."""
        self.config_override: Mapping[str, Any] | None = None
        """A config that replaces the file's, None to use the file."""
        self.state: Mapping[str, Any] | None = None
        """The state that the tap starts from."""
        self.side = side
        self.connector = connector
        self.environment = environment
        self.config = config
        self.folder = folder
        self.home = folder
        """The folder with the connector's files, and its working folder."""
        self.log = log
        self.stopped = False
        self.unchanged = outcome.LOADED if side == "transform" else outcome.UNCHANGED
        self._process: subprocess.Popen[bytes] | None = None
        self._log_read = 0

    @property
    def process(self) -> subprocess.Popen[bytes]:
        """The runner's process. Call this after ``start``."""
        assert self._process is not None
        return self._process

    @property
    def exit_code(self) -> int:
        """Wait for the end, and return the exit code: 128 + n for signal n."""
        code = self.process.wait()
        return code if code >= 0 else 128 - code

    def prepare(self, secrets: Mapping[str, str]) -> None:
        """Create the folder with secrets, lock, config, state and copies of the connector's files.

        Only the user can read it.
        """
        folder = self.folder / "secrets"
        private_folder(folder)
        write_private(self.folder / RUNNER_LOCK, "")
        for name, value in secrets.items():
            write_private(folder / name, value)
        for name, content in (("config.json", self.config_override), ("state.json", self.state)):
            if content is not None:
                write_private(self.folder / name, exact_json.dumps(content))
        self.remove_files()
        for name, source in self.connector.files.items():
            file = self.home / "files" / name
            private_folder(file.parent)
            file.write_bytes(source.content)
            file.chmod(0o400)
            os.utime(file, (source.modified, source.modified))

    def remove_files(self) -> None:
        """Remove the files that are outside of the run's folder."""
        if self.home != self.folder:
            shutil.rmtree(self.home, ignore_errors=True)

    def variables(self, **more: str) -> dict[str, str]:
        """Return the entrypoint's variables for this run (see ``docs/contracts.md``)."""
        return {
            "SINGER_EXECUTABLE": str(self.environment.executable),
            "SINGER_CAPABILITIES": ",".join(self.connector.capabilities),
            "SINGER_CONFIG": str(self.config if self.config_override is None else self.folder / "config.json"),
            "SINGER_STATE": str(self.folder / "state.json"),
            "SINGER_TAP_OUTPUT": "-",
            "SINGER_TAP_INPUT": "-",
            "SINGER_TARGET_OUTPUT": os.devnull,
            "SINGER_NEW_STATE": str(self.folder / "new_state.json"),
            "SINGER_OUTPUT_DIR": str(self.home / "data"),
            "SINGER_FILES": str(self.home / "files"),
            "SINGER_SECRETS": str(self.folder / "secrets"),
            "SINGER_REPORT": str(self.folder / "report.json"),
            "SINGER_WORK": str(self.folder / "work"),
            "SINGER_LOCK": str(self.folder / RUNNER_LOCK),
            "SINGER_ROTATED": str(self.folder / FILE),
            **more,
        }

    def start(self, environ: Mapping[str, str], lifeline: int, *words: str, stdin: int | IO[bytes], stdout: int | IO[bytes]) -> None:
        """Start the runner in a new session, so that Ctrl-C reaches only us and we stop it."""
        path = f"{self.environment.folder / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}"
        with open(self.log, "wb", opener=private) as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", START, str(ENTRYPOINT), self.side, *words],
                env={**environ, "PATH": path, "SINGER_LIFELINE": str(lifeline)},
                stdin=stdin,
                stdout=stdout,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=(lifeline,),
                umask=0o077,
            )

    def terminate(self) -> None:
        """Send SIGTERM to the runner if it is running."""
        if self._process is not None and self._process.poll() is None:
            self.stopped = True
            self._process.terminate()

    def kill(self, deadline: float) -> None:
        """Wait until *deadline*, then kill the runner and its process group."""
        if self._process is None:
            return
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(max(0.0, deadline - time.monotonic()))
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def report(self) -> dict[str, Any]:
        """Return the runner's newest report, empty if there is none."""
        try:
            report = json.loads((self.folder / "report.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return report if isinstance(report, dict) else {}

    def new_log_lines(self) -> Iterator[str]:
        """Yield the lines that were logged since the last call."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(self._log_read)
            text = log.read(TAIL_BYTES)
            whole = text[: text.rfind(b"\n") + 1] or (text if len(text) == TAIL_BYTES else b"")
            self._log_read += len(whole)
            yield from log_lines(whole)

    def end(self) -> outcome.SideResult:
        """Return the result of this side; its exit code is 0 if we stopped it."""
        code = self.exit_code
        return outcome.SideResult(
            side=self.side,
            connector=self.connector.name,
            exit_code=0 if self.stopped else code,
            report=self.report(),
            log=self._tail(),
            killed=self.process.returncode < 0,
            config=self._config_shown(),
            log_at=shown(self.log),
            unchanged=self.unchanged,
        )

    def _config_shown(self) -> str:
        if self.side == "transform":
            return shown(self.connector.folder)
        return f"{shown(self.config)}{'' if self.config.exists() else ', which is not there'}"

    def _tail(self) -> bytes:
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
            return log.read()
        return b""


class Processes:
    """Processes that run in parallel: started together, and stopped if one fails."""

    def __init__(self, job: Job, folder: Path, logs: Path, *ends: Process) -> None:
        """Keep the job, the folders of the run and its logs, and the processes to run."""
        self.job = job
        self.logs = logs
        self.folder = folder
        self.ends = ends
        self._ended: queue.SimpleQueue[Process] = queue.SimpleQueue()

    def run(self, environ: Mapping[str, str], look: Callable[[], None]) -> None:
        """Run all processes to their end, and call *look* regularly.

        No process is left when this returns or raises.

        :raises SetupError: E-TIMEOUT, E-SECRET, or the folders cannot be created.
        """
        secrets = self.job.secrets()
        with file_errors("The run's folder", self.folder):
            private_folder(self.logs)
            private_folder(self.folder)
            for end in self.ends:
                end.prepare(secrets[end.side])
        lifeline, ours = os.pipe()
        try:
            self.start(without_secrets(environ, (file for _, file in self.job.pipeline.configs)), lifeline)
            for end in self.ends:
                threading.Thread(target=self._wait, args=(end,), daemon=True).start()
            self._follow(look)
        finally:
            for end in self.ends:
                end.terminate()
            deadline = time.monotonic() + STOP_SECONDS
            for end in self.ends:
                end.kill(deadline)
                end.remove_files()
            os.close(lifeline)
            os.close(ours)
            look()

    def start(self, environ: Mapping[str, str], lifeline: int) -> None:
        """Start all processes."""
        raise NotImplementedError

    def _wait(self, end: Process) -> None:
        end.process.wait()
        self._ended.put(end)

    def _follow(self, look: Callable[[], None]) -> None:
        """Wait for all processes; after one fails, at most ``GRACE_SECONDS`` for the others.

        :raises SetupError: E-TIMEOUT, the run took longer than the pipeline's timeout.
        """
        running = set(self.ends)
        timeout = self.job.pipeline.timeout
        deadline = time.monotonic() + timeout
        failed = False
        while running:
            with suppress(queue.Empty):
                end = self._ended.get(timeout=TICK_SECONDS)
                running.discard(end)
                if end.process.returncode and not failed:
                    failed = True
                    deadline = time.monotonic() + GRACE_SECONDS
            look()
            if running and time.monotonic() > deadline:
                if failed:
                    return
                raise SetupError(
                    "E-TIMEOUT",
                    f"{self.job.pipeline.name} was stopped: it took longer than {seconds(timeout)}.",
                    hint='Raise "timeout" in singer-configs/pipelines.yaml, or load less at a time.',
                )


class Pair(Processes):
    """The tap and the target of a run, perhaps a mapper, and the pipes between them."""

    def __init__(self, job: Job, folder: Path, logs: Path, state: dict[str, Any] | None, part: int | None = None) -> None:
        """Prepare all sides; the tap starts from *state*, None for no state.

        With *part*, they load this part of the run, and *folder* is in that of the run.
        """
        pipeline = job.pipeline
        self.part = part
        self.tap = Process("tap", pipeline.tap, job.tap, pipeline.config, folder / "tap", logs / "tap.log")
        self.target = Process("target", pipeline.target, job.target, pipeline.target_config, folder / "target", logs / "target.log")
        self.tap.config_override, self.tap.state = job.config, state
        if pipeline.tap.files:  # some taps keep paths in their state: they must not change
            self.tap.home = folder.parents[1 if part is None else 2] / "files" / pipeline.name
        self.order = [self.tap, self.target]
        """The sides, in the order of the data."""
        if pipeline.mapper and pipeline.mapper_config and job.mapper:
            config, log = pipeline.mapper_config, logs / "mapper.log"
            self.order.insert(1, Process("mapper", pipeline.mapper, job.mapper, config, folder / "mapper", log))
        self.last = self.order[-2]
        """The side that the target reads."""
        super().__init__(job, folder, logs, *reversed(self.order))

    @property
    def raw(self) -> Path:
        """The file with what the target reads, if it is kept."""
        return self.last.folder / "raw"

    def start(self, environ: Mapping[str, str], lifeline: int) -> None:
        """Start all sides, joined by pipes, the target first."""
        of_target = {} if self.target.connector.safe_states is False else {"SINGER_SAFE_STATE": str(self.target.folder / SAFE_STATE)}
        own: dict[str, dict[str, str]] = {"tap": {"SINGER_CATALOG": str(self.job.pipeline.catalog)}, "target": of_target, "mapper": {}}
        if self.part is not None:
            own["tap"] |= {"SINGER_PARTS": str(self.folder.parent / PLAN), "SINGER_PART": str(self.part)}
        batches = str(self.folder / "batches")
        if self.job.keep_raw:
            own[self.last.side]["SINGER_TAP_OUTPUT"] = f"{self.raw}:-"
        if self.last is not self.tap:
            own["tap"]["SINGER_READER"] = "mapper"
        pipes = [os.pipe() for _ in self.order[1:]]
        try:
            for _, writes in pipes:
                with suppress(AttributeError, OSError):  # only Linux can resize a pipe
                    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
            inputs = [subprocess.DEVNULL, *(reads for reads, _ in pipes)]
            outputs = [*(writes for _, writes in pipes), subprocess.DEVNULL]
            for end, stdin, stdout in reversed(list(zip(self.order, inputs, outputs, strict=True))):
                end.start({**environ, **end.variables(SINGER_BATCH_DIR=batches, **own[end.side])}, lifeline, stdin=stdin, stdout=stdout)
        finally:
            for pipe in pipes:
                for descriptor in pipe:
                    os.close(descriptor)

    def reports(self) -> dict[str, dict[str, Any]]:
        """Return the newest report of each side, in the order of the data."""
        return {end.side: end.report() for end in self.order}

    def failure(self, unchanged: str) -> RunError | None:
        """Return the error of the run, None if all sides succeeded; *unchanged* ends its hint."""
        for end in self.order:
            end.unchanged = unchanged
        ends = [end.end() for end in self.order]
        return outcome.explain_all(ends, {end.side: end.failure() for end in ends})


class Transform(Processes):
    """The transform that runs after a load."""

    def __init__(self, job: Job, folder: Path, logs: Path) -> None:
        """Prepare the transform of a job that has one."""
        pipeline = job.pipeline
        assert pipeline.transform is not None
        assert job.transform is not None
        config, log = pipeline.target_config, logs / "transform.log"
        self.transform = Process("transform", pipeline.transform, job.transform, config, folder / "transform", log)
        super().__init__(job, folder, logs, self.transform)

    def start(self, environ: Mapping[str, str], lifeline: int) -> None:
        """Start dbt on the project."""
        end = self.transform
        variables = end.variables(
            SINGER_PROJECT=str(end.connector.folder),
            SINGER_SELECT=self.job.pipeline.transform_select,
            SINGER_OUTPUT_DIR=str(end.log.with_suffix("")),  # its log refers to files there
        )
        end.start({**environ, **variables}, lifeline, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    def failure(self) -> RunError | None:
        """Return the error of the transform, None if it succeeded."""
        return self.transform.end().failure()
