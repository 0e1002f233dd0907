"""The local engine: exactly one ``tap | target`` pair. Retries, schedules, fan-out and queues are Argo's work.

The state rule: the last non-empty state that the target printed becomes the pipeline's state only after both sides
ended with exit code 0 and the outputs and the record are stored. In every other case the old state stays as it was.
The record decides: once it says that the run is loaded, the state follows, if need be by the next command.
A transform runs after that: whatever becomes of it, data and state stay, and only the run's status tells.
"""

from __future__ import annotations

import json
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.engines.lock import alone, sweep
from cluster.engines.processes import Pair, Transform
from cluster.errors import RunError, SetupError
from cluster.host.files import file_errors
from cluster.runs.outcome import moved, outputs, run_warnings, transformed, warnings
from cluster.runs.record import Record, Side, new_run_id
from cluster.ui.format import megabytes, now

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.engines.job import Job
    from cluster.runs.history import History
    from cluster.ui.output import Output, StepLine

EVENT_SECONDS = 1.0


class LocalEngine:
    """Runs a ``Job`` on this machine."""

    name = "local"

    def __init__(self, settings: Settings, history: History, output: Output, environ: Mapping[str, str]) -> None:
        """Take the handles; nothing is started yet."""
        self.settings = settings
        self.history = history
        self.output = output
        self.environ = environ
        self._put_away = False
        """Whether nothing of the run is left to be done by the next command."""

    def run(self, job: Job, reason: str, started: Callable[[str], None]) -> Record:
        """Run the pipeline to its end and return its record; *started* is told the run's id.

        :raises SetupError: E-BUSY, E-ENGINE, E-STATE, E-STORE: nothing has begun.
        :raises RunError: the run failed; its record tells why.
        """
        name = job.pipeline.name
        self.history.claim(self.name)
        with alone(self.settings, self.history, name) as lock:
            self._put_away = False
            record = self._record(job)
            with file_errors("The lock", lock):
                lock.write_text(record.run, encoding="utf-8")
            started(record.run)
            folder = self.settings.local / "runs" / record.run
            try:
                self._run(job, record, folder, reason)
            finally:
                with suppress(SetupError):  # a runner that was about to start when a Ctrl-C came is still ending
                    sweep(folder, name)
                if self._put_away and not folder.exists():
                    with suppress(OSError):  # then the next command looks again
                        lock.write_text("", encoding="utf-8")
            return record

    def _record(self, job: Job) -> Record:
        """Begin the record: the state of the store, else the connector's initial one, is where the run starts."""
        pipeline = job.pipeline
        state = self.history.state(pipeline.name)
        if state is None and pipeline.initial_state.exists():
            state = json.loads(pipeline.initial_state.read_bytes()) or None
        return Record(
            run=new_run_id(),
            pipeline=pipeline.name,
            engine=self.name,
            started=now(),
            tap=Side(pipeline.tap.name, job.tap.version),
            target=Side(pipeline.target.name, job.target.version),
            transform=Side(pipeline.transform.name, job.transform.version) if pipeline.transform and job.transform else None,
            state_before=state,
            state_after=state,
            backfill=job.backfill.as_dict() if job.backfill else None,
        )

    def _run(self, job: Job, record: Record, folder: Path, reason: str) -> None:
        """Run, then store in this order: data, record, state. The first error ends it."""
        began = time.monotonic()
        committed = False
        try:
            self.history.save(record)
            self.output.event(
                "run.started", run=record.run, pipeline=record.pipeline, engine=self.name, reason=reason, state=record.state_before
            )
            with self.output.step(f"{record.tap.connector} → {record.target.connector}") as step:
                step.timed = True
                with file_errors("A file of the run", folder):
                    state = self._load(job, record, folder, step)
                step.result(moved(record.total, record.records, record.bytes), "done" if record.total else "unchanged")
                record.state_printed = state is not None
                state = None if job.backfill else state
                record.loaded, record.state_after = True, state if state is not None else record.state_before
                if record.transform is None:
                    self._finish(record, "succeeded", began)
                self.history.save(record)
                committed = True
                if state is not None:
                    self.history.save_state(record.pipeline, state)
                self._put_away = record.transform is None
        except SetupError as error:
            found = RunError.of(error)
            if committed:
                hint = f"{error.hint} Data and record are stored: the next run stores the state of this one first."
                raise RunError(error.code, error.problem, hint=hint) from None
            record.error = found.as_dict()
            self._undo(record, "failed", began)
            raise found from None
        except BaseException:
            if not committed:
                self._undo(record, "interrupted", began)
            raise
        if record.transform is not None:
            self._go_on(job, record, folder, began)

    def _go_on(self, job: Job, record: Record, folder: Path, began: float) -> None:
        """Transform what is loaded. The run ends as that does; what is stored stays."""
        assert record.transform is not None
        try:
            with self.output.step(record.transform.connector) as step:
                step.timed = True
                with file_errors("A file of the run", folder):
                    self._transform(job, record, folder, step)
        except SetupError as error:
            found = RunError.of(error)
            record.error = found.as_dict()
            with suppress(SetupError):
                self._end(record, "failed", began)
            raise found from None
        except BaseException:
            with suppress(SetupError):
                self._end(record, "interrupted", began)
            raise
        self._end(record, "succeeded", began)

    def _end(self, record: Record, status: str, began: float) -> None:
        """Write how a run that is loaded has ended."""
        self._finish(record, status, began)
        self.history.save(record)
        self._put_away = True

    def _load(self, job: Job, record: Record, folder: Path, step: StepLine) -> dict[str, Any] | None:
        """Run both sides, store the data, and return the new state, None where the target printed none.

        :raises SetupError: the run failed.
        """
        pair = Pair(job, folder, self._logs(record), None if job.full or job.backfill else record.state_before)
        watch = Watch(self.output, record, pair, step)
        pair.run(self.environ, watch)
        record.tap.exit_code, record.target.exit_code = pair.tap.exit_code, pair.target.exit_code
        record.warnings = run_warnings(record.tap.connector, pair.tap.report(), pair.target.report())
        failure = pair.failure()
        if failure is not None:
            raise failure
        self._publish(job, record, pair)
        file = pair.target.folder / "new_state.json"
        return dict(json.loads(file.read_bytes())) if file.exists() else None

    def _transform(self, job: Job, record: Record, folder: Path, step: StepLine) -> None:
        """Run what follows the load.

        :raises SetupError: it failed.
        """
        step.detail = "transforming"
        transform = Transform(job, folder, self._logs(record))
        transform.run(self.environ, lambda: None)
        assert record.transform is not None
        record.transform.exit_code = transform.transform.exit_code
        failure = transform.failure()
        if failure is not None:
            raise failure
        shutil.rmtree(self._logs(record) / "transform", ignore_errors=True)
        step.result(transformed(transform.transform.end().log))

    def _logs(self, record: Record) -> Path:
        return self.settings.local / "logs" / record.pipeline / record.run

    def _publish(self, job: Job, record: Record, pair: Pair) -> None:
        """Store what the target left, and what the tap said if that was asked for."""
        store, settings = self.history.store, self.settings
        data = pair.target.folder / "data"
        for file in outputs(data, job.pipeline.target.outputs):
            key = f"{record.pipeline}/{record.run}/{file.relative_to(data).as_posix()}"
            item = {"bucket": settings.bucket_outputs, "key": key, "bytes": file.stat().st_size}
            record.outputs.append(item)
            store.upload(settings.bucket_outputs, key, file)
        if job.keep_raw:
            record.raw = f"raw/{record.pipeline}/{record.run}/tap_output.txt"
            store.upload(settings.bucket_artifacts, record.raw, pair.tap.folder / "raw")

    @staticmethod
    def _finish(record: Record, status: str, began: float) -> None:
        record.status = status
        record.finished = now()
        record.seconds = round(time.monotonic() - began, 3)

    def _undo(self, record: Record, status: str, began: float) -> None:
        """Write the record of a run that did not succeed and take back what it stored; where the store fails, the next command does."""
        self._finish(record, status, began)
        record.loaded, record.state_after = False, record.state_before
        with suppress(SetupError):
            self.history.take_back(record)
            self._put_away = True


class Watch:
    """Looks at a pair while it runs: counts for the record, and something to see for people and programs."""

    def __init__(self, output: Output, record: Record, pair: Pair, step: StepLine) -> None:
        """Take what is watched and where it is shown."""
        self.output = output
        self.record = record
        self.pair = pair
        self.step = step
        self._warnings: list[str] = []
        self._began = self._last_event = time.monotonic()

    def __call__(self) -> None:
        """Take over the counts and show what is new."""
        record, report = self.record, self.pair.tap.report()
        for name in ("records", "bytes", "messages"):
            setattr(record, name, report.get(name, getattr(record, name)))
        passed = time.monotonic() - self._began
        size = sum(record.bytes.values())
        self.step.detail = "waiting for the first record"
        if record.total:
            self.step.detail = f"{record.total:,} records · {record.total / passed:,.0f}/s · {megabytes(size)}"
        if time.monotonic() - self._last_event > EVENT_SECONDS:
            self._last_event = time.monotonic()
            self.output.event("run.progress", run=record.run, records=record.total, bytes=size, seconds=round(passed, 1))
        self._show_warnings(self.pair.tap.new_log_lines())

    def _show_warnings(self, lines: Iterable[str]) -> None:
        """Show the first warnings of the tap: what it works around is worth knowing."""
        for said in warnings(lines, self._warnings):
            self.output.line("!", self.record.tap.connector, said)
            self.output.event("warning", source=self.record.tap.connector, problem=said)
