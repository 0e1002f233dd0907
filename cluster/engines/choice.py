"""The two engines, each with its records and states; and which of them a command uses."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster.config.settings import CHOICES, LAPTOP
from cluster.config.strict import describe, listed, nearest
from cluster.engines.lock import alone, is_running
from cluster.errors import SetupError
from cluster.host.parallel import ahead
from cluster.project.dotenv import kept_secrets
from cluster.providers.instance import Instance
from cluster.runs.history import History, newest_first
from cluster.runs.record import began
from cluster.store import open_store
from cluster.ui.command_line import command
from cluster.ui.format import shown
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from types import TracebackType
    from typing import Self

    from cluster.argo.status import WorkflowStatus
    from cluster.engines.argo import ArgoEngine
    from cluster.platform.handles import Handles
    from cluster.runs.record import Record, Status
    from cluster.session import Session


@dataclass
class Engine:
    """The records and states of an engine; for argo, also the connection to the cluster."""

    engine: str
    history: History
    session: Session
    handles: Handles | None = None

    @property
    def label(self) -> str:
        """The name to show: the engine, and the environment unless it is the laptop."""
        env = self.session.settings.env
        return self.engine if env == LAPTOP else f"{self.engine} in {env}"

    @property
    def argo(self) -> ArgoEngine:
        """The argo engine itself.

        :raises SetupError: E-ENGINE, this is the local engine.
        """
        if self.handles is None:
            raise SetupError(
                "E-ENGINE", "The run is of the engine local; this command is for runs of argo.", hint="On local, Ctrl-C stops a run."
            )
        from cluster.engines.argo import ArgoEngine  # noqa: PLC0415 - a run on this machine needs nothing of it

        return ArgoEngine(self.handles, self.session.output)

    def status(self, record: Record) -> Status:
        """Return the status of a run as it is now: a killed run could not update its record.

        A run may have ended since *record* was read.
        """
        if self._is_outdated(record):
            newest = self.history.read(record.pipeline, record.run) or record
            return "interrupted" if newest.status == "running" else newest.status
        return record.status

    def _is_outdated(self, record: Record) -> bool:
        """Return whether a run on this machine is not under way any more, unlike in *record*."""
        return self.handles is None and record.status == "running" and not is_running(self.session.settings, record)

    @contextmanager
    def quiet(self, pipeline: str) -> Iterator[None]:
        """Check that no run of a pipeline is under way.

        On this machine, none can begin until the body ends.

        :raises SetupError: E-BUSY, a run is under way.
        """
        if self.handles is None:
            with alone(self.session.settings, self.history, pipeline):
                yield
            return
        running = [seen.run for seen, _ in self._live(pipeline) if not seen.ended]
        if running:
            hint = f"Wait, or {command(f'cancel {running[0]}')}"
            raise SetupError("E-BUSY", f"A run of {pipeline} is under way ({running[0]}).", hint=hint)
        yield

    def logs(self, record: Record) -> str:
        """Return the folder with a run's logs, or the command that prints them."""
        if self.handles is None:
            return shown(self.session.settings.local / "logs" / record.pipeline / record.run)
        return command(f"logs {record.run}")

    def dated(self, pipeline: str | None = None) -> dict[tuple[str, str], str]:
        """Return when each run began, by pipeline and run id.

        Includes runs without a record, of which only Argo knows.
        """
        return self._dated(pipeline, self._live(pipeline))

    def _dated(self, pipeline: str | None, live: Iterable[tuple[WorkflowStatus, dict[str, Any]]]) -> dict[tuple[str, str], str]:
        begun = {(seen.pipeline, seen.run): began(seen.run, datetime.fromisoformat(seen.started)) for seen, _ in live}
        return self.history.dated(pipeline) | begun

    def newest(self, pipeline: str | None, limit: int | None) -> list[Record]:
        """Return the newest runs, newest first."""
        return list(self.records(pipeline, limit))

    def records(self, pipeline: str | None = None, limit: int | None = None) -> Iterator[Record]:
        """Yield the newest runs, newest first. Few are read that nobody takes."""
        live = self._live(pipeline)
        known = {seen.run: item for seen, item in live}
        pairs = newest_first(self._dated(pipeline, live))[:limit]
        return (record for record in ahead(lambda pair: self.read(*pair, known), pairs) if record is not None)

    def read(self, pipeline: str, run: str, known: Mapping[str, dict[str, Any]] | None = None) -> Record | None:
        """Return a run, None if there is neither a record nor a Workflow.

        Its Workflow, one of those *known*, matters only until it has ended.
        """
        record = self.history.read(pipeline, run)
        if record is not None and self._is_outdated(record):
            record = self.history.read(pipeline, run)  # it may have ended meanwhile
        if self.handles is None or (record is not None and record.status != "running"):
            return record
        live = self.argo.live(run) if known is None else known.get(run)
        if record is None:
            return self.argo.partial(live) if live else None
        if live is None:
            record.status = "interrupted"  # its Workflow was deleted
        return record

    def _live(self, pipeline: str | None) -> list[tuple[WorkflowStatus, dict[str, Any]]]:
        if self.handles is None:
            return []
        from cluster.argo import workflow  # noqa: PLC0415 - a run on this machine needs nothing of them
        from cluster.argo.status import seen  # noqa: PLC0415

        selector = f"{workflow.PIPELINE}={pipeline}" if pipeline else workflow.PIPELINE
        return [(seen(live), live) for live in self.handles.kube.objects("Workflow", self.handles.namespace, labels=selector)]


class Engines:
    """The engines of this checkout, opened on first use and closed at the end."""

    def __init__(self, session: Session) -> None:
        """Take the session; nothing is opened yet."""
        self.session = session
        self._open = ExitStack()
        self._down: tuple[str | None] | None = None

    def __enter__(self) -> Self:
        """Keep the engines open until the body ends."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close the engines."""
        self._open.close()

    @cached_property
    def local(self) -> Engine:
        """The local engine."""
        settings = self.session.settings
        environ = {**kept_secrets(settings.root), **self.session.environ}
        return Engine("local", History(open_store(settings, environ), settings), self.session)

    @cached_property
    def argo(self) -> Engine:
        """The argo engine.

        :raises SetupError: E-DOWN, the platform is not up.
        """
        why = self.connect()
        if why:
            raise SetupError("E-DOWN", f"The platform is not up: {why}.", hint=command("up"))
        return Engine("argo", self._stack.history, self.session, self._stack)

    @cached_property
    def _stack(self) -> Handles:
        from cluster.platform.handles import Handles  # noqa: PLC0415 - a run on this machine needs nothing of it

        return self._open.enter_context(Handles(self.session.settings, self.session.environ))

    def ask_ahead(self, asked: str) -> None:
        """Ask in the background what a run in the cluster needs, unless it is for this machine."""
        if (asked or self.session.settings.engine) != "local" and Instance(self.session.settings.platform / "instance.json").complete:
            with suppress(SetupError):
                self._stack.ask_ahead(lambda: self._stack.provider.missing_images([]))

    def connect(self) -> str | None:
        """Return why the platform is not up, None if it is. Asks once, and never starts a cluster.

        :raises SetupError: E-CONTEXT, the environment's context is missing or leads to another
            cluster than before.
        """
        if self._down is None:
            self._down = (self._connect(),)
        return self._down[0]

    def _connect(self) -> str | None:
        settings = self.session.settings
        known = Instance(settings.platform / "instance.json").complete
        if not known and settings.env == LAPTOP:
            return "there is none yet"
        try:
            why = self._stack.kube.silent()
            if not known and why is None:  # another checkout created it
                self._stack.provider.ensure(lambda _: None)
        except SetupError as error:
            if error.code == "E-CONTEXT" and settings.env != LAPTOP:
                raise
            return error.problem.rstrip(".")
        return why

    def choose(self, asked: str) -> tuple[Engine, str]:
        """Return the engine to use and why.

        :raises SetupError: E-SETTING, no such engine; E-DOWN, the platform is not up; E-ENGINE, not
            in this environment.
        """
        engine, reason = self.engine(asked)
        return self.argo if engine == "argo" else self.local, reason

    def engine(self, asked: str) -> tuple[str, str]:
        """Return the name of the engine to use and why, without opening it.

        :raises SetupError: E-SETTING, no such engine; E-ENGINE, not in this environment.
        """
        if asked and asked not in CHOICES["engine"]:
            raise SetupError(
                "E-SETTING",
                f"There is no engine {describe(asked)}.{nearest(asked, CHOICES['engine'])} Engines are {listed(CHOICES['engine'])}.",
                hint="Name one of these, or leave --engine out.",
            )
        env = self.session.settings.env
        if env != LAPTOP:
            if asked == "local":
                hint = "Leave --engine out, or the environment."
                raise SetupError("E-ENGINE", f"The engine local works on the laptop only; the environment is {env}.", hint=hint)
            return "argo", "an environment has no other"
        chosen = asked or self.session.settings.engine
        if chosen != "auto":
            return chosen, "--engine selects it" if asked else "the setting singer.engine selects it"
        return ("local", f"the platform is not up ({command('up')} starts it)") if self.connect() else ("argo", "the platform is up")

    def available(self) -> list[Engine]:
        """Return the engines that can be used now: local, and argo if the platform is up.

        An environment other than the laptop has argo alone.

        :raises SetupError: E-DOWN, the platform of the environment is not up.
        """
        if self.session.settings.env != LAPTOP:
            return [self.argo]
        return [self.local] if self.connect() else [self.local, self.argo]

    def find(self, run: str) -> tuple[Engine, Record]:
        """Return a run and its engine, by id, by an unambiguous part of the id, or as ``last``.

        ``last`` passes over damaged records, with a warning.

        :raises SetupError: E-UNKNOWN, no run matches, or several do; E-STORE, the record is
            damaged.
        """
        dated = [(moment, name, pipeline, engine) for engine in self.available() for (pipeline, name), moment in engine.dated().items()]
        known = [(engine, pipeline, name) for _, name, pipeline, engine in sorted(dated, key=lambda item: item[:2], reverse=True)]
        matching = [item for item in known if item[2] == run] or [item for item in known if run and run in item[2]]
        if not (known if run == "last" else len(matching) == 1):
            latest = listed(item[2] for item in known[:3])
            many = f" fits {len(matching)} runs" if len(matching) > 1 else " is not known"
            raise SetupError("E-UNKNOWN", f"The run {describe(run)}{many}. The latest are: {latest}.", hint="Name one of these, or: last.")
        damaged: list[str] = []
        for engine, pipeline, name in known if run == "last" else matching:
            record = engine.read(pipeline, name)
            if record is not None:
                for problem in damaged:
                    warn(self.session.output, "last", f"{problem} An older run is shown.")
                return engine, record
            history = engine.history
            url = history.store.url(self.session.settings.bucket_artifacts, history.record_key(pipeline, name))
            damaged.append(f"The record of the run {name} is damaged: {url}.")
        hint = f"Restore it, or remove it. {command('show last')} shows the newest run with a record."
        raise SetupError("E-STORE", damaged[0], hint=hint)
