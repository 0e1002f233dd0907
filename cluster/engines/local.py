"""The local engine: one ``tap | target`` or ``tap | mapper | target``.

Only Argo has retries, schedules and queues.

``runs/journal.py`` has the rule for data, record and state. A transform runs after the commit. If
it fails, the run fails, but data and state stay.
"""

from __future__ import annotations

import codecs
import shutil
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from cluster.engines.lock import alone, progress, sweep
from cluster.engines.processes import PLAN, Pair, Transform
from cluster.engines.rotation import keeper
from cluster.errors import Interrupted, RunError, SetupError
from cluster.host.files import file_errors, private_folder, write_private
from cluster.runs import outcome
from cluster.runs import state as state_json
from cluster.runs.history import PartHistory
from cluster.runs.journal import STOPPED, Journal, foreign, printed
from cluster.runs.record import Record, Side, new_run_id
from cluster.ui.command_line import command
from cluster.ui.format import count, megabytes, now, shown
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.engines.job import Job
    from cluster.project.parts import Plan
    from cluster.runs.history import History
    from cluster.runs.rotation import Keeper
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

    def run(self, job: Job, reason: str, started: Callable[[str], None]) -> Record:
        """Run the pipeline to its end and return its record; *started* gets the run's id.

        :raises SetupError: E-BUSY, E-ENGINE, E-STATE, E-STORE: the run has not begun.
        :raises RunError: the run failed; its record has the reason.
        """
        name = job.pipeline.name
        self.history.claim(self.name)
        with alone(self.settings, self.history, name) as lock:
            record = self._record(job, self.history, new_run_id())
            if job.plan:
                # Refuses a state of another form.
                PartHistory(self.history, job.plan, 0).own(record.state_before)
                record.divide(job.plan)
            with file_errors("The lock", lock):
                lock.write_text(record.run, encoding="utf-8")
            started(record.run)
            folder = self.settings.local / "runs" / record.run
            there = progress(folder, safe=job.pipeline.target.safe_states)
            journal = Journal(self.history, record, there)
            try:
                self._run(job, journal, folder, reason)
            except KeyboardInterrupt:
                raise Interrupted(f"What was running is stopped. {outcome.stopped(record)}") from None
            finally:
                # A run that is not settled needs its folder for the command that ends it later.
                if journal.settled or not (there.file.exists() or job.plan):
                    # After a Ctrl-C a runner may still be ending. Another one leaves it to the
                    # next command.
                    with suppress(SetupError, KeyboardInterrupt):
                        sweep(folder, name)
                if journal.settled and not folder.exists():
                    with suppress(OSError):  # the next command tries again
                        lock.write_text("", encoding="utf-8")
            return record

    def _record(self, job: Job, history: History, run: str) -> Record:
        """Return a new record. It starts from the stored state, else from the initial state."""
        pipeline = job.pipeline
        state = history.state(pipeline.name)
        if state is None and pipeline.initial_state.exists():
            state = history.own(_initial(pipeline.initial_state))
        return Record(
            run=run,
            pipeline=pipeline.name,
            engine=self.name,
            started=now(),
            tap=Side(pipeline.tap.name, job.tap.version),
            target=Side(pipeline.target.name, job.target.version),
            mapper=Side(pipeline.mapper.name, job.mapper.version) if pipeline.mapper and job.mapper else None,
            transform=Side(pipeline.transform.name, job.transform.version) if pipeline.transform and job.transform else None,
            state_before=state,
            state_after=state,
            backfill=job.backfill.as_dict() if job.backfill else None,
        )

    def _run(self, job: Job, journal: Journal, folder: Path, reason: str) -> None:
        """Load, commit, transform. The first error ends the run."""
        record = journal.record
        self._begin(journal)
        self.output.event(
            "run.started", run=record.run, pipeline=record.pipeline, engine=self.name, reason=reason, state=record.state_before
        )
        if job.plan is None:
            self._commit(job, journal, folder)
        else:
            self._parts(job, job.plan, journal, folder)
        if record.transform is not None:
            self._transform(job, journal, folder)

    def _begin(self, journal: Journal) -> None:
        """Write the record of a run, or a part of it, that begins.

        :raises RunError: it cannot be written.
        """
        try:
            journal.begin()
        except SetupError as error:
            raise self._failed(journal, RunError.of(error)) from None
        except BaseException:
            with suppress(SetupError):
                journal.fail("interrupted")
            raise

    def _parts(self, job: Job, plan: Plan, journal: Journal, folder: Path) -> None:
        """Load and commit the parts, one after the other; the others go on if one fails."""
        record, failed = journal.record, dict[str, str]()
        with file_errors("The run's folder", folder):
            write_private(private_folder(folder) / PLAN, plan.data().decode())
        try:
            for index in plan.numbers:
                part, history = plan.parts[index], PartHistory(self.history, plan, index)
                mine = self._record(job, history, record.run)
                mine.part, mine.transform = part.name, None
                own = Journal(history, mine, progress(folder / part.name, safe=job.pipeline.target.safe_states))
                try:
                    self._begin(own)
                    self._commit(job, own, folder / part.name, index)
                except RunError as error:
                    failed = failed or error.as_dict()
                    self.output.line("!", part.name, error.problem)
        except BaseException:
            with suppress(SetupError):
                journal.end_parts(dict(STOPPED))
            raise
        journal.end_parts(failed or dict(STOPPED))
        if record.error:
            raise RunError(record.error["code"], record.error["problem"], hint=record.error["hint"])

    def _commit(self, job: Job, journal: Journal, folder: Path, part: int | None = None) -> None:
        """Load and commit a run, or a part of it.

        :raises RunError: it failed; its record has the reason.
        """
        record = journal.record
        title = record.part or " → ".join(side.connector for side in record.sides)
        try:
            with self.output.step(title) as step:
                step.timed = True
                with file_errors("A file of the run", folder):
                    state = self._load(job, journal, folder, step, part)
                step.result(outcome.moved(record), "unchanged" if record.empty else "done")
                journal.commit(state)
        except SetupError as error:
            if not record.committed:
                raise self._failed(journal, RunError.of(error)) from None
            self._warn(f"{error.problem} The data is loaded; the next command for {record.pipeline} stores the state.")
        except BaseException:
            if not record.committed:
                with suppress(SetupError):
                    journal.fail("interrupted")
            raise

    def _failed(self, journal: Journal, error: RunError) -> RunError:
        """Write the record of a run that failed, and return the error to raise."""
        with suppress(SetupError):
            journal.fail("failed", error.as_dict())
        if not journal.doubtful:
            return error
        run = journal.record.run
        return RunError(error.code, f"{error.problem} It is not known whether {run} is committed.", hint=f"See {command(f'show {run}')}")

    def _warn(self, problem: str) -> None:
        self.output.line("!", "Store", problem)
        self.output.event("warning", source="store", problem=problem)

    def _load(self, job: Job, journal: Journal, folder: Path, step: StepLine, part: int | None) -> dict[str, Any] | None:
        """Run both sides, store the data, and return the state that the target printed.

        :raises SetupError: the run failed.
        """
        record = journal.record
        pair = Pair(job, folder, self._logs(record), None if job.full or job.backfill else record.state_before, part)
        watch = Watch(self.output, record, pair, step)
        keepers = [keeper(self.settings, self.environ, end.connector.name, end.folder) for end in pair.ends]

        def look() -> None:
            watch()
            journal.keep()
            self._rotate(keepers)

        try:
            pair.run(self.environ, look)
        finally:
            problems = self._rotate(keepers, last=True)
        for side, end in zip(record.sides, pair.order, strict=True):
            side.exit_code = end.exit_code
        reports = pair.reports()
        record.warnings = [*outcome.run_warnings(record.tap.connector, *reports.values()), *problems]
        journal.keep(last=True)
        failure = pair.failure(outcome.unchanged(record))
        if failure is not None:
            raise failure
        target = job.pipeline.target
        others = journal.publish(pair.target.folder / "data", target.outputs, pair.raw if job.keep_raw else None)
        state = printed(pair.target.folder / "new_state.json")
        doubts = [(target.name, text) for text in outcome.doubts(target.name, others, foreign=foreign(state, reports["tap"]))]
        doubts += [(pair.last.connector.name, text) for text in outcome.unmapped(record, reports)]
        for source, problem in doubts:
            record.warnings.append(problem)
            warn(self.output, source, problem)
        return state

    def _rotate(self, keepers: Iterable[Keeper], *, last: bool = False) -> list[str]:
        """Keep secrets that connectors replaced; at the end, return and show what is lost."""
        problems = []
        for side in keepers:
            for name in side.look(last=last):
                self.output.line("✓", side.connector, f"replaced {name} in its config; .env has the new value")
            for problem in side.problems if last else ():
                problems.append(problem)
                warn(self.output, side.connector, problem)
        return problems

    def _transform(self, job: Job, journal: Journal, folder: Path) -> None:
        """Transform the loaded data. If this fails, the run fails; data and state stay."""
        record = journal.record
        assert record.transform is not None
        try:
            with self.output.step(record.transform.connector) as step, file_errors("A file of the run", folder):
                step.timed = True
                step.detail = "transforming"
                transform = Transform(job, folder, self._logs(record))
                transform.run(self.environ, lambda: None)
                record.transform.exit_code = transform.transform.exit_code
                failure = transform.failure()
                if failure is not None:
                    raise failure
                shutil.rmtree(self._logs(record) / "transform", ignore_errors=True)
                step.result(outcome.transformed(transform.transform.end().log))
        except SetupError as error:
            problem = RunError.of(error)
            with suppress(SetupError):
                journal.end("failed", problem.as_dict())
            raise problem from None
        except BaseException:
            with suppress(SetupError):
                journal.end("interrupted")
            raise
        journal.end("succeeded")

    def _logs(self, record: Record) -> Path:
        return self.settings.local / "logs" / record.pipeline / record.run / (record.part or "")


def _initial(file: Path) -> dict[str, Any] | None:
    """Return the initial state of a pipeline.

    :raises SetupError: E-STATE, the file is not a state.
    """
    try:
        return state_json.read(file.read_bytes().removeprefix(codecs.BOM_UTF8)) or None
    except ValueError as error:
        raise SetupError("E-STATE", f"{shown(file)} is not a state: {error}.", hint=f"Correct {shown(file)}, or remove it.") from None


class Watch:
    """Reads the reports of a running pair, and updates the record and the progress."""

    def __init__(self, output: Output, record: Record, pair: Pair, step: StepLine) -> None:
        """Take the pair, its record, and the outputs that show progress."""
        self.output = output
        self.record = record
        self.pair = pair
        self.step = step
        self._warnings: list[str] = []
        self._began = self._last_event = time.monotonic()

    def __call__(self) -> None:
        """Copy the counts into the record and show progress."""
        record = self.record
        outcome.counts(record, self.pair.reports())
        passed = time.monotonic() - self._began
        size = sum(record.bytes.values())
        self.step.detail = "waiting for the first record"
        if record.total:
            self.step.detail = f"{count(record.total, 'record')} · {record.total / passed:,.0f}/s · {megabytes(size)}"
        if time.monotonic() - self._last_event > EVENT_SECONDS:
            self._last_event = time.monotonic()
            more: dict[str, Any] = {"tap_records": sum((record.tap_records or {}).values())} if record.mapper else {}
            more |= {"part": record.part} if record.part else {}
            self.output.event("run.progress", run=record.run, records=record.total, bytes=size, seconds=round(passed, 1), **more)
        for end in self.pair.order[:-1]:
            self._show_warnings(end.connector.name, end.new_log_lines())

    def _show_warnings(self, connector: str, lines: Iterable[str]) -> None:
        """Show the first warnings of the tap or the mapper."""
        for text in outcome.warnings(lines, self._warnings):
            warn(self.output, connector, text)
