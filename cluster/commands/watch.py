"""``run --watch``: run a pipeline again whenever its connectors, configs or catalog change."""

from __future__ import annotations

import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from cluster.commands import run
from cluster.config.strict import words
from cluster.errors import Interrupted, SetupError
from cluster.project.editable import project_files
from cluster.project.reader import Project
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cluster.project.model import Pipeline
    from cluster.session import Session
    from cluster.ui.output import Output, StepLine

    Snapshot = dict[Path, tuple[int, int]]
    """Watched files, each with its time of modification in nanoseconds and its size in bytes."""

SECONDS = 0.25
"""How often to look for changes. One that lasts longer, as of an editor or git, counts when it is
over."""
LOCK = "requirements.lock"
IN_A_ROW = 3
NAMED = 2
"""How many changed files a line names."""


def watch(session: Session, name: str, **options: Any) -> None:
    """Run a pipeline, and again after each change, until Ctrl-C. *options* are those of ``run``.

    :raises SetupError: E-SETTING, several pipelines; E-UNKNOWN, there is none of that name.
    """
    if len(words(name)) != 1:
        raise SetupError("E-SETTING", "--watch runs one pipeline.", hint="Name one.")
    [name] = words(name)
    project, names = Project.of(session.settings), [name]
    with suppress(SetupError):  # a mistake in the file is shown by the first round
        names = project.pipeline_names
    if name not in names:
        project.pipeline(name)
    files = Files(session, name)
    session.output.text(f"watching  {name} · a change runs it again · Ctrl-C ends it")
    session.output.text()
    changed: list[Path] = []
    warned: set[str] = set()
    while True:
        before = files.snapshot()
        _round(session, name, [file.name for file in changed], warned, **options)
        try:
            changed = files.wait(before)
        except KeyboardInterrupt as error:
            if isinstance(error, Interrupted):  # SIGTERM
                raise
            session.output.text()
            return
        session.output.event("watch.changed", pipeline=name, files=[files.shown(file) for file in changed])


def _round(session: Session, name: str, changed: Sequence[str], warned: set[str], **options: Any) -> None:
    """Run the pipeline once. A failure is shown, and the next change runs it again."""
    more = [count(len(changed) - NAMED, "more file")] if len(changed) > NAMED else []
    if session.as_json:
        with suppress(SetupError):  # the events have it
            run.run(session, name, **options)
        return
    errors: list[SetupError] = []
    with suppress(SetupError), session.output.step(name) as line:
        line.timed = True
        output = OneLine(session.output, line, errors, warned)
        try:
            run.run(session.showing(output), name, **options)
        except SetupError as error:
            line.detail = ""
            if not error.shown:
                errors.append(error)
            raise
        finally:
            line.took = None
            line.detail = " · ".join(filter(None, [line.detail, ", ".join([*changed[:NAMED], *more])]))
    for failure in errors:
        session.output.error(failure)


class OneLine:
    """The output of a round: one line, warnings above it, errors below it."""

    def __init__(self, output: Output, line: StepLine, errors: list[SetupError], warned: set[str]) -> None:
        """Show the round's steps in *line*, collect errors in *errors*, and warnings in *warned*.

        A warning that is in *warned* is not shown again.
        """
        self._output = output
        self._line = line
        self._errors = errors
        self._warned = warned

    def event(self, name: str, /, **fields: Any) -> None:
        """See ``Output``."""
        self._output.event(name, **fields)

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """See ``Output``."""
        if mark == "!" and f"{title} {detail}" not in self._warned:
            self._warned.add(f"{title} {detail}")
            self._output.line(mark, title, detail)

    def text(self, text: str = "") -> None:
        """Show nothing: the line has the result."""

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """Show nothing, as ``text``."""

    @contextmanager
    def step(self, title: str) -> Iterator[StepLine]:
        """See ``Output``. All steps share the round's line."""
        self._line.detail = title
        yield self._line

    def error(self, error: SetupError) -> None:
        """See ``Output``. The error is shown below the line."""
        self._errors.append(error)


class Files:
    """The files on which the next run of a pipeline depends."""

    def __init__(self, session: Session, pipeline: str) -> None:
        """Take the pipeline's name; its entry is read at each look."""
        self.session = session
        self.pipeline = pipeline
        self._files: list[Path] = []
        """The files of the last look at which the entry could be read."""
        self._during: dict[Path, int] = {}
        """Files that changed during the last round, and during how many in a row."""

    def shown(self, file: Path) -> str:
        """Return a file as a person at the checkout's root would type it."""
        return Project.of(self.session.settings).shown(file)

    def snapshot(self) -> Snapshot:
        """Look at the files."""
        project = Project.of(self.session.settings)
        try:
            self._files = _files(project, project.pipeline(self.pipeline))
        except SetupError:  # what cannot be read is one of these
            self._files = self._files or project_files(project.configs)
        snapshot: Snapshot = {}
        for file in (project.pipelines_file, project.root / ".env", *project.instead.rglob("*"), *self._files):
            with suppress(OSError):
                status = file.stat()
                snapshot[file] = (status.st_mtime_ns, status.st_size)
        return snapshot

    def wait(self, before: Snapshot) -> list[Path]:
        """Wait until files have changed, and are no longer changing; return these.

        Changes since *before* count, but a lock may be written by the round itself. So is data that
        changes during ``IN_A_ROW`` rounds: from then on only its changes between rounds count. Code
        is never taken for data.
        """
        after = self.snapshot()
        during = {file for file in _changes(before, after) if file.name != LOCK}
        self._during = {file: self._during.get(file, 0) + 1 for file in during}
        own = {file for file, rounds in self._during.items() if rounds >= IN_A_ROW and file.suffix != ".py"}
        for file in sorted(own):
            if self._during[file] == IN_A_ROW:
                problem = f"{self.shown(file)} changes during each round: only changes between rounds count"
                self.session.output.line("!", self.pipeline, problem)
        before = {**after, **{file: before.get(file, (0, 0)) for file in during - own}}
        latest: Snapshot | None = None
        while True:
            now = self.snapshot()
            changed = _changes(before, now)
            if now == latest and changed:
                return sorted(changed)
            latest = now
            time.sleep(SECONDS)


def _changes(before: Snapshot, after: Snapshot) -> set[Path]:
    """Return the files that are new, gone or different."""
    return {file for file in before.keys() | after.keys() if before.get(file) != after.get(file)}


def _files(project: Project, pipeline: Pipeline) -> list[Path]:
    """Return the files of a pipeline and its connectors."""
    files = [*(file for _, file in pipeline.configs), pipeline.catalog, pipeline.initial_state]
    for connector in pipeline.connectors:
        files += [project.root / name for name in connector.files]
        for folder in (connector.folder, *connector.projects):
            files += project_files(folder)
    return files
