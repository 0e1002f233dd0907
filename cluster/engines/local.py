"""The local engine: exactly one ``tap | target`` pair, as two processes joined by a pipe of the operating system.

Both sides run the same entrypoint as the images do. Retries, schedules, fan-out and queues are Argo's work.

The state rule: the last non-empty state that the target printed becomes the pipeline's state only after both sides
ended with exit code 0 and the outputs and the record are stored. In every other case the old state stays as it was.
"""

from __future__ import annotations

import fcntl
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.connectors import secret_names
from cluster.errors import RunError, SetupError, file_errors
from cluster.progress import megabytes, now, seconds, shown
from cluster.runs import Record, Side, new_run_id

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cluster.connectors import Connector, Pipeline
    from cluster.environments import Environment
    from cluster.progress import Output, Step
    from cluster.runs import History
    from cluster.settings import Settings

ENTRYPOINT = Path(__file__).resolve().parents[2] / "singer-containers" / "entrypoint.py"
TICK_SECONDS = 0.2
EVENT_SECONDS = 1.0
GRACE_SECONDS = 10.0
"""How long the other side may take to end by itself after one has failed."""
STOP_SECONDS = 8.0
"""How long both sides may take to end when they are told to; the entrypoint gives its connector five."""
PIPE_BYTES = 1 << 20
SHOWN_WARNINGS = 3
NOT_OURS = {"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "VIRTUAL_ENV"}


@dataclass(frozen=True)
class Job:
    """Everything a run needs, looked up and checked before it begins."""

    pipeline: Pipeline
    tap: Environment
    target: Environment
    secrets: Mapping[str, Mapping[str, str]]
    """For ``tap`` and ``target``: what each config asks for."""
    full: bool
    """Start over: the tap gets no state."""
    keep_raw: bool
    """Keep what the tap printed."""


# ------------------------------------------------------------------------------------------------- one at a time


@contextmanager
def alone(settings: Settings, history: History, pipeline: str) -> Iterator[Path]:
    """Hold the pipeline's lock, and tidy up after a run of it that was killed.

    The kernel lets go of the lock when the process ends, however it ends. The file holds the id of the run under way.

    :raises SetupError: E-BUSY, another run of this pipeline holds it.
    """
    folder = settings.local / "locks"
    file = folder / f"{pipeline}.lock"
    with file_errors("The lock", file):
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle = file.open("a+")
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            running = file.read_text(encoding="utf-8").strip()
            raise SetupError(
                "E-BUSY",
                f"Another run of {pipeline} is under way{f' ({running})' if running else ''}.",
                hint="Wait until it has ended; two runs of one pipeline never overlap.",
            ) from None
        left = file.read_text(encoding="utf-8").strip()
        if left:
            _tidy(settings, history, pipeline, left)
        try:
            yield file
        finally:
            handle.truncate(0)


def is_running(settings: Settings, record: Record) -> bool:
    """Say whether a run whose record says "running" really is."""
    file = settings.local / "locks" / f"{record.pipeline}.lock"
    try:
        with file.open() as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except OSError:
                return handle.read().strip() == record.run
    except OSError:
        pass
    return False


def _tidy(settings: Settings, history: History, pipeline: str, run: str) -> None:
    """End the record of a run that was killed, and remove its folder with the secrets in it."""
    if not re.fullmatch(r"\d{8}t\d{6}-\w+", run):
        return
    shutil.rmtree(settings.local / "runs" / run, ignore_errors=True)
    record = history.read(pipeline, run)
    if record is not None and record.status == "running":
        record.status = "interrupted"
        record.error = {"code": "E-RUNNER", "problem": "The run was killed.", "hint": "Run it again."}
        history.save(record)


# ------------------------------------------------------------------------------------------------------- the run


class LocalEngine:
    """Runs a ``Job`` on this machine."""

    name = "local"

    def __init__(self, settings: Settings, history: History, output: Output, environ: Mapping[str, str]) -> None:
        """Take the handles; nothing is started yet."""
        self.settings = settings
        self.history = history
        self.output = output
        self.environ = environ

    def run(self, job: Job, reason: str, started: Callable[[str], None]) -> Record:
        """Run the pipeline to its end and return its record; *started* is told the run's id.

        :raises SetupError: E-BUSY, E-ENGINE, E-STORE: before anything began.
        :raises RunError: the run failed; its record tells why.
        """
        pipeline = job.pipeline
        self.history.claim(self.name)
        with alone(self.settings, self.history, pipeline.name) as lock:
            before = self.history.state(pipeline.name)
            if before is None and pipeline.initial_state.exists():
                before = json.loads(pipeline.initial_state.read_bytes()) or None
            record = Record(
                run=new_run_id(),
                pipeline=pipeline.name,
                engine=self.name,
                started=now(),
                tap=Side(pipeline.tap.name, job.tap.version),
                target=Side(pipeline.target.name, job.target.version),
                state_before=before,
                state_after=before,
            )
            with file_errors("The lock", lock):
                lock.write_text(record.run, encoding="utf-8")
            started(record.run)
            self.output.event("run.started", run=record.run, pipeline=pipeline.name, engine=self.name, reason=reason, state=before)
            folder = self.settings.local / "runs" / record.run
            began = time.monotonic()
            committing = False
            try:
                self.history.save(record)
                with self.output.step(f"{pipeline.tap.name} → {pipeline.target.name}") as step:
                    step.timed = True
                    state = Attempt(self, job, record, folder, step).run()
                    step.result(told(record), "done" if record.total else "unchanged")
                    self._finish(record, "succeeded", began, state)
                    committing = True  # from here on the state may be the new one: what it stands for must stay
                    if state is not None:
                        self.history.save_state(pipeline.name, state)
            except SetupError as error:
                found = error if isinstance(error, RunError) else RunError(error.code, error.problem, hint=error.hint)
                record.error = found.as_dict()
                self._finish_badly(record, "failed", began, keep=committing)
                raise found from None
            except BaseException:
                if not committing:
                    self._finish_badly(record, "interrupted", began)
                raise
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            return record

    def _finish(self, record: Record, status: str, began: float, state: dict[str, Any] | None = None) -> None:
        record.status = status
        record.finished = now()
        record.seconds = round(time.monotonic() - began, 3)
        record.state_after = state if state is not None else record.state_before
        self.history.save(record)

    def _finish_badly(self, record: Record, status: str, began: float, *, keep: bool = False) -> None:
        """Write the record of a run that did not succeed, as far as the store lets us, and remove what it stored."""
        with suppress(SetupError):
            if not keep:
                for item in record.outputs:
                    self.history.store.delete(item["bucket"], item["key"])
                record.outputs = []
            self._finish(record, status, began)


def told(record: Record) -> str:
    """Say what a run moved."""
    if not record.total:
        return "no new records"
    streams = "" if len(record.records) == 1 else f" in {len(record.records)} streams"
    return f"{record.total:,} records{streams}, {megabytes(sum(record.bytes.values()))}"


class Attempt:
    """One try at a job: its folder, its two processes, what they report."""

    def __init__(self, engine: LocalEngine, job: Job, record: Record, folder: Path, step: Step) -> None:  # noqa: PLR0913 - one call, right above
        """Take what the run consists of; ``folder`` is made by ``run``."""
        self.engine = engine
        self.job = job
        self.record = record
        self.folder = folder
        self.step = step
        self.logs = engine.settings.local / "logs" / record.pipeline / record.run
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.ended: queue.SimpleQueue[str] = queue.SimpleQueue()
        self.stopped: set[str] = set()
        self._log_read = 0
        self._warnings = 0
        self._last_event = 0.0
        self._started = time.monotonic()

    # -- files

    def log(self, side: str) -> Path:
        """Return where a side's standard error goes."""
        return self.logs / f"{side}.log"

    def prepare(self) -> None:
        """Make the run's folder: only the user may look into it, and it is gone when the run is over."""
        with file_errors("The run's folder", self.folder):
            self.logs.mkdir(mode=0o700, parents=True, exist_ok=True)
            for side in ("tap", "target"):
                secrets = self.folder / side / "secrets"
                secrets.mkdir(mode=0o700, parents=True)
                self.folder.chmod(0o700)
                for name, value in self.job.secrets[side].items():
                    file = secrets / name
                    file.touch(mode=0o600)
                    file.write_text(value, encoding="utf-8")
            if self.record.state_before is not None and not self.job.full:
                (self.folder / "tap" / "state.json").write_text(json.dumps(self.record.state_before), encoding="utf-8")

    def variables(self, side: str, connector: Connector, environment: Environment, config: Path) -> dict[str, str]:
        """Return the environment of one side: the user's, without anybody's secrets, and the paths of this run."""
        pipeline = self.job.pipeline
        hidden = {name for file in (pipeline.config, pipeline.target_config) for name in secret_names(file)}
        environ = {
            name: value
            for name, value in self.engine.environ.items()
            if name not in hidden | NOT_OURS and not name.startswith(("SINGER_", "INVOKE_SINGER_"))
        }
        folder = self.folder / side
        return environ | {
            "PATH": f"{environment.folder / 'bin'}{os.pathsep}{environ.get('PATH', os.defpath)}",
            "SINGER_EXECUTABLE": str(environment.executable),
            "SINGER_CAPABILITIES": ",".join(connector.capabilities),
            "SINGER_CONFIG": str(config),
            "SINGER_CATALOG": str(pipeline.catalog),
            "SINGER_STATE": str(folder / "state.json"),
            "SINGER_TAP_OUTPUT": f"{folder / 'raw'}:-" if self.job.keep_raw else "-",
            "SINGER_TAP_INPUT": "-",
            "SINGER_TARGET_OUTPUT": os.devnull,
            "SINGER_NEW_STATE": str(folder / "new_state.json"),
            "SINGER_OUTPUT_DIR": str(folder / "data"),
            "SINGER_SECRETS": str(folder / "secrets"),
            "SINGER_REPORT": str(folder / "report.json"),
            "SINGER_WORK": str(folder / "work"),
        }

    def report(self, side: str) -> dict[str, Any]:
        """Return what a side has reported so far."""
        try:
            found = json.loads((self.folder / side / "report.json").read_bytes())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    # -- processes

    def run(self) -> dict[str, Any] | None:
        """Run both sides to their end, store what they left, and return the new state, None where there is none.

        :raises SetupError: the run failed.
        """
        self.prepare()
        lifeline, ours = os.pipe()
        try:
            self.start(lifeline)
            self.follow()
        finally:
            self.stop()
            os.close(lifeline)
            os.close(ours)
            self.look_at_log()
            self.count()
        for side, ends in (("tap", self.record.tap), ("target", self.record.target)):
            ends.exit_code = exit_code(self.processes[side])
        error = self.failure()
        if error is not None:
            raise error
        self.publish()
        file = self.folder / "target" / "new_state.json"
        return json.loads(file.read_bytes()) if file.exists() else None

    def start(self, lifeline: int) -> None:
        """Start both sides, each in a session of its own: a Ctrl-C reaches us, and we stop them in order."""
        pipeline, job = self.job.pipeline, self.job
        reads, writes = os.pipe()
        with suppress(AttributeError, OSError):  # Linux only; elsewhere the pipe has the size it has
            fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        try:
            for side, connector, environment, config, streams in (
                ("target", pipeline.target, job.target, pipeline.target_config, {"stdin": reads, "stdout": subprocess.DEVNULL}),
                ("tap", pipeline.tap, job.tap, pipeline.config, {"stdin": subprocess.DEVNULL, "stdout": writes}),
            ):
                environ = self.variables(side, connector, environment, config) | {"SINGER_LIFELINE": str(lifeline)}
                with self.log(side).open("wb") as log:
                    process = subprocess.Popen(
                        [sys.executable, "-I", "-S", str(ENTRYPOINT), side],
                        env=environ,
                        stderr=log,
                        cwd=self.folder / side,
                        start_new_session=True,
                        pass_fds=(lifeline,),
                        **streams,  # type: ignore[arg-type]
                    )
                self.processes[side] = process
                threading.Thread(target=self._wait, args=(side, process), daemon=True).start()
        finally:
            os.close(reads)
            os.close(writes)

    def _wait(self, side: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        self.ended.put(side)

    def follow(self) -> None:
        """Wait for both sides, showing what flows. After a failure the other side has a moment to end by itself.

        :raises SetupError: E-TIMEOUT, the run took longer than its pipeline allows.
        """
        running = set(self.processes)
        deadline = self._started + self.job.pipeline.timeout
        while running:
            try:
                side = self.ended.get(timeout=TICK_SECONDS)
            except queue.Empty:
                pass
            else:
                running.discard(side)
                if self.processes[side].returncode:
                    deadline = min(deadline, time.monotonic() + GRACE_SECONDS)
            if running:
                self.show()
            if running and time.monotonic() > deadline:
                if len(running) == 1:
                    return  # the other side has failed: that is the error to show
                raise SetupError(
                    "E-TIMEOUT",
                    f"{self.record.pipeline} was stopped: it took longer than {seconds(self.job.pipeline.timeout)}.",
                    hint='Raise "timeout" in singer-configs/pipelines.yaml, or load less at a time.',
                )

    def stop(self) -> None:
        """End what still runs: ask, wait, kill, with everything that the connectors have started themselves."""
        for side, process in self.processes.items():
            if process.poll() is None:
                self.stopped.add(side)
                process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, deadline - time.monotonic()))
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    # -- what is shown meanwhile

    def count(self) -> None:
        """Take over the tap's counts."""
        report = self.report("tap")
        for name in ("records", "bytes", "messages"):
            setattr(self.record, name, report.get(name, getattr(self.record, name)))

    def show(self) -> None:
        """Say how far it is."""
        self.look_at_log()
        self.count()
        passed = time.monotonic() - self._started
        size = sum(self.record.bytes.values())
        if self.record.total:
            self.step.detail = f"{self.record.total:,} records · {self.record.total / passed:,.0f}/s · {megabytes(size)}"
        else:
            self.step.detail = "waiting for the first record"
        if time.monotonic() - self._last_event > EVENT_SECONDS:
            self._last_event = time.monotonic()
            self.engine.output.event("run.progress", run=self.record.run, records=self.record.total, bytes=size, seconds=round(passed, 1))

    def look_at_log(self) -> None:
        """Show the first warnings of the tap: what it works around is worth knowing."""
        with suppress(OSError), self.log("tap").open("rb") as log:
            log.seek(self._log_read)
            text = log.read(1 << 16)
            complete = text[: text.rfind(b"\n") + 1] or (text if len(text) == 1 << 16 else b"")
            self._log_read += len(complete)
            for line in complete.decode("utf-8", "replace").splitlines():
                if re.search(r"\bWARNING\b", line) and self._warnings < SHOWN_WARNINGS:
                    self._warnings += 1
                    self.engine.output.line("!", self.job.pipeline.tap.name, message(line))
                    self.engine.output.event("warning", source=self.job.pipeline.tap.name, problem=message(line))

    # -- the end

    def failure(self) -> SetupError | None:
        """Return the error that explains the run, None where both sides ended well.

        Where both failed, the cause comes first: a target that ended early makes the tap's side break its pipe, and a
        tap that failed may leave its target with half a message.
        """
        errors = {side: self._failure(side) for side in ("tap", "target")}
        tap, target = errors["tap"], errors["target"]
        if tap is not None and (tap.code != "E-TARGET-ENDED" or target is None):
            return tap
        return target

    def _failure(self, side: str) -> SetupError | None:
        code = exit_code(self.processes[side])
        if code == 0 or side in self.stopped:
            return None
        connector = self.job.pipeline.tap if side == "tap" else self.job.pipeline.target
        log = shown(self.log(side))
        report = self.report(side)
        told = report.get("error")
        after = "State and earlier files are unchanged."
        if isinstance(told, dict):
            problem = str(told["problem"]).replace("The target ", f"{self.job.pipeline.target.name} ").replace("The tap's ", f"{connector.name}'s ")
            where = log if told["code"] != "E-TARGET-ENDED" else shown(self.log("target"))
            return RunError(told["code"], problem, hint=f"{told['hint']} {after} Log: {where}")
        if report.get("exit_code") is None:
            return RunError(
                "E-RUNNER",
                f"The runner of {connector.name} was killed from outside (exit code {code}).",
                hint=f"See whether the machine is out of memory, then run it again. {after} Log: {log}",
            )
        last = last_words(self.log(side))
        said = f': "{last}"' if last else ", and its log is empty"
        killed = " (killed, perhaps out of memory)" if code == 128 + signal.SIGKILL else ""
        return RunError(
            "E-TAP-FAILED" if side == "tap" else "E-TARGET-FAILED",
            f"{connector.name} ended with exit code {code}{killed}{said}.",
            hint=f"See its log, and its config.json in {shown(connector.folder)}. {after} Log: {log}",
        )

    def publish(self) -> None:
        """Store what the target left, and what the tap said if that was asked for.

        :raises SetupError: E-OUTPUTS, a file leads out of the target's folder; E-STORE, E-DISK.
        """
        settings, record, store = self.engine.settings, self.record, self.engine.history.store
        data = self.folder / "target" / "data"
        for file in outputs(data, self.job.pipeline.target.outputs):
            key = f"{record.pipeline}/{record.run}/{file.relative_to(data).as_posix()}"
            size = file.stat().st_size
            store.upload(settings.bucket_outputs, key, file)
            record.outputs.append({"bucket": settings.bucket_outputs, "key": key, "bytes": size})
        if self.job.keep_raw:
            record.raw = f"raw/{record.pipeline}/{record.run}/tap_output.txt"
            store.upload(settings.bucket_artifacts, record.raw, self.folder / "tap" / "raw")


def outputs(folder: Path, globs: tuple[str, ...]) -> list[Path]:
    """Return the files below *folder* that fit one of *globs*, sorted.

    :raises SetupError: E-OUTPUTS, a link leads out of the folder, or a name is not text.
    """
    found = {file for glob in globs for file in folder.glob(glob) if not file.is_dir()}
    home = folder.resolve()
    for file in found:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise SetupError("E-OUTPUTS", f"The target left a file whose name is not UTF-8: {file.name!r}.", hint="Give its files other names.") from None
        if not file.resolve().is_relative_to(home) or not file.is_file():
            raise SetupError(
                "E-OUTPUTS",
                f"The target left {file.relative_to(folder)}, which is not a file in its own folder.",
                hint='Correct its config, or "outputs" in its connector.yaml.',
            )
    return sorted(found)


def exit_code(process: subprocess.Popen[bytes]) -> int:
    """Return a process's exit code, 128 + n for signal n."""
    code = process.wait()
    return code if code >= 0 else 128 - code


def message(line: str) -> str:
    """Return what a log line says, without its time, level and logger."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", line)
    found = re.search(r"(?:\|\s*|\b)(?:CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b\s*(?:\|[^|]*\||[:\]-]+|\|)?\s*(.+)$", text)
    return (found[1] if found else text).strip()


def last_words(log: Path, most: int = 300) -> str:
    """Return the last line of a log that says something, without its prefix and any final full stop."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - (1 << 16)))
            lines = file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return ""
    last = next((line for line in reversed(lines) if line.strip()), "")
    return message(last)[:most].rstrip(". ")
