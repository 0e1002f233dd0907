"""``check``: read the files in ``singer-configs/``, or try a connector.

A tap runs twice, for a moment. A mapper or a target reads messages of ours. No state, bucket or
file of the checkout changes.
"""

from __future__ import annotations

import json
import re
import sys
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from cluster.config.settings import ENVIRONMENTS, ROOT, environments
from cluster.config.strict import describe, listed, nearest, read_object, read_text
from cluster.errors import SetupError
from cluster.host.subprocesses import run
from cluster.onboarding import env_example, options, target_cases
from cluster.onboarding.catalog import merge, streams_of
from cluster.onboarding.conformance import ERROR, Conformance, Expected, Finding
from cluster.onboarding.discover import discovered, read_catalog
from cluster.onboarding.probe import Probe
from cluster.project.reader import Project, checked, described, further, mistakes
from cluster.project.secrets import is_secret_key, refuse_typed_secrets, secret_names
from cluster.project.venvs import refuse_conflict
from cluster.runs.outcome import remedy
from cluster.ui.command_line import command
from cluster.ui.format import count, shown
from cluster.ui.format import seconds as as_seconds
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.onboarding.conformance import StreamSeen
    from cluster.onboarding.probe import Ended, Loaded
    from cluster.project.model import Connector
    from cluster.session import Session

ALL = "all"
COLUMNS = 6
WIDTH = 24
GIT_SECONDS = 10
MESSAGE_LENGTH = 120
SHOW_EVERY = 100
"""After how many records the progress line changes."""


@dataclass(frozen=True)
class Limits:
    """The limits of a check: records read, seconds for a program, rows shown of a stream."""

    records: int = 10_000
    seconds: int = 60
    rows: int = 3


def check(session: Session, name: str, limits: Limits, *, sure: bool) -> None:
    """Check a connector by trying it, a pipeline by reading its files, or all files.

    :raises SetupError: E-UNKNOWN, nothing has that name; E-CHECK, a connector breaks rules; or the
        first error in a file, after all errors were shown.
    """
    refused = _refused_settings(session) if name == ALL else []
    project = Project(ROOT if refused else session.settings.root)
    if min(limits.records, limits.seconds) < 1 or limits.rows < 0:
        raise SetupError("E-SETTING", "--records and --seconds are numbers from 1, --rows from 0.", hint="Correct it, or leave it out.")
    if name == ALL:
        _check_files(session, project, refused)
    elif name in project.connector_names and project.connector(name).kind == "transform":
        _show_ok(session, "connector", name, _read(session, project, "connector", name))
    elif name in project.connector_names:
        _check_connector(session, project, project.connector(name), limits, sure=sure)
    elif name in project.pipeline_names:
        _show_ok(session, "pipeline", name, _read(session, project, "pipeline", name))
    else:
        known = [*project.connector_names, *project.pipeline_names]
        raise SetupError(
            "E-UNKNOWN",
            f"There is no connector or pipeline {describe(name)}.{nearest(name, [*known, ALL])} There are {listed(known)}.",
            hint=f"Name one of these, or {ALL} to read every file.",
        )


# ------------------------------------------------------------------------------------------------------------- files


def _check_files(session: Session, project: Project, refused: Sequence[tuple[str, SetupError]]) -> None:
    """Read every file in ``singer-configs/`` and show all that is wrong, after what is *refused*.

    An error that several share is shown once.

    :raises SetupError: the first error.
    """
    errors = [*refused, *_in_git(project.root).items()]
    try:
        pipelines = project.pipeline_names
    except SetupError as error:
        pipelines = []
        errors.append(("pipelines.yaml", error))
    for file, one in errors:
        session.output.event("check", kind="file", name=file, ok=False, **one.as_dict())
    for kind, item in [("connector", name) for name in project.connector_names] + [("pipeline", name) for name in pipelines]:
        wrong = _wrong(session, project, kind, item)
        errors += [(item, one) for one in wrong]
        for one in wrong:
            session.output.event("check", kind=kind, name=item, ok=False, **one.as_dict())
        if not wrong:
            _show_ok(session, kind, item, described(project, kind, item))
    for problem, hint in {one.problem: one.hint for _, one in errors}.items():
        names = list(dict.fromkeys(name for name, one in errors if one.problem == problem))
        more = f" ({count(len(names) - 1, 'other')} for the same reason: {listed(names[1:])})" if len(names) > 1 else ""
        session.output.line("✗", names[0], f"{problem} → {hint}{more}")
    if errors:
        raise errors[0][1]


def _refused_settings(session: Session) -> list[tuple[str, SetupError]]:
    """Return the mistakes in ``invoke.yaml``, in variables and in the files of environments."""
    errors: dict[str, tuple[str, SetupError]] = {}
    for env in ("", *environments(ROOT)):
        try:
            _ = session.to(env).settings
        except SetupError as error:
            for one in (error, *error.others):
                errors.setdefault(one.problem, (f"{ENVIRONMENTS}/{env}.yaml" if env else "settings", one))
    return list(errors.values())


def _in_git(root: Path) -> dict[str, SetupError]:
    """Return an error for each file with secrets that is in git."""
    try:
        names = run(["git", "-C", str(root), "ls-files", "--", ".env", ".env.*"], seconds=GIT_SECONDS).stdout.splitlines()
    except SetupError:  # there is no git
        return {}
    hint = "git rm --cached {}, and commit; then replace its secrets: the history of git keeps them."
    return {
        name: SetupError("E-SECRET-TYPED", f"{name} is in git, and so are its secrets.", hint=hint.format(name))
        for name in names
        if name != env_example.NAME
    }


def _show_ok(session: Session, kind: str, name: str, detail: str) -> None:
    session.output.line("✓", name, detail)
    session.output.event("check", kind=kind, name=name, ok=True)


def _read(session: Session, project: Project, kind: str, name: str) -> str:
    """Read the files of a connector or a pipeline, and describe it in a few words.

    :raises SetupError: the first mistake.
    """
    detail = checked(project, kind, name, session.environ)
    for look in _looks(session, project, kind, name):
        look()
    return detail


def _wrong(session: Session, project: Project, kind: str, name: str) -> list[SetupError]:
    """Return all mistakes of a connector or a pipeline."""
    rest, errors = mistakes(project, kind, name)
    looks: list[Callable[[], object]] = []
    try:
        looks += further(rest, name, session.environ) if rest and kind == "pipeline" else ()
    except SetupError as error:  # of .env
        errors.append(error)
    looks += _looks(session, rest, kind, name) if rest else ()
    for look in looks:
        try:
            look()
        except SetupError as error:
            errors.append(error)
    return list({error.problem: error for error in errors}.values())


def _looks(session: Session, project: Project, kind: str, name: str) -> Iterator[Callable[[], object]]:
    """Yield the checks of a connector or a pipeline that has been read."""
    if kind == "pipeline":
        for connector, file in project.pipeline(name).configs:
            if project.is_readable(file):
                yield partial(_refuse_gaps, project, connector, file)
        return
    connector = project.connector(name)
    if project.is_readable(connector.config):
        known, complete = set(connector.settings), "about" in connector.capabilities
        yield partial(_warn_of_keys, session, project, connector, known, complete=complete)
    if connector.catalog.exists():
        yield partial(read_catalog, project, connector.catalog)
    if connector.lock.exists():
        shown_lock = project.shown(connector.lock)
        yield lambda: refuse_conflict(read_text(connector.lock, shown_lock), shown_lock)


def _refuse_gaps(project: Project, connector: Connector, file: Path) -> None:
    """Refuse a pipeline's config without the settings that its connector needs."""
    missing, instead = _gaps(connector, _config(project, file))
    if missing:
        raise lacking(project, connector, missing, instead, file)


def _config(project: Project, file: Path) -> dict[str, Any]:
    return read_object(file, project.shown(file)) if file.exists() else {}


def _gaps(connector: Connector, config: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Return what a config lacks of ``required``: of the first group, and of each other one.

    Both are empty if one group is complete.
    """
    gaps = [[name for name in group.split() if not options.holds(config, options.named(name))] for group in connector.required]
    return (gaps[0], gaps[1:]) if gaps and all(gaps) else ([], [])


def _warn_of_keys(session: Session, project: Project, connector: Connector, known: set[str], *, complete: bool) -> None:
    """Show the keys of a connector's config that are not *known*.

    If the list is not *complete*, only those that look like a mistyped one.
    """
    config = _config(project, connector.config)
    absent = known - config.keys()
    for key in sorted(config.keys() - known - options.BUILT_IN) if known else ():
        near = nearest(key, absent)
        if complete or near:
            text = f'{project.shown(connector.config)}: {connector.name} knows no setting "{key}".{near}'
            warn(session.output, connector.name, text)


# -------------------------------------------------------------------------------------------------------- connectors


def _check_connector(session: Session, project: Project, connector: Connector, limits: Limits, *, sure: bool) -> None:
    output, name = session.output, connector.name
    probe = Probe(session, connector)
    _check_config(project, probe)
    if connector.kind == "tap":
        most = f"{count(limits.records, 'record')} or {as_seconds(limits.seconds)}"
        output.text(f"check  {name} · two runs of at most {most} each; nothing is kept")
        output.text()
        findings = _check_tap(session, project, probe, limits)
    elif connector.kind == "mapper":
        output.text(f"check  {name} · {len(target_cases.TO_MAPPERS)} kinds of messages, in streams named {target_cases.PREFIX}…")
        output.text()
        findings = _check_mapper(session, probe, limits)
    else:
        output.text(f"check  {name} · {len(target_cases.CASES)} kinds of messages, in streams named {target_cases.PREFIX}…")
        output.text()
        if not sure and secret_names(connector.config):
            _ask(name)
        findings = _check_target(session, probe, limits)
    for finding in findings:
        finding.problem = probe.hide(finding.problem)
        _show_finding(session, name, finding)
    errors = list(dict.fromkeys(finding.rule for finding in findings if finding.severity == ERROR))
    if errors:
        what = f"{name} does not do what Singer asks of it: {listed(errors)}."
        error = SetupError("E-CHECK", what, hint=f"See the lines above; docs/contracts.md lists the rules. Log: {shown(probe.log)}")
        output.event("check", kind="connector", name=name, ok=False, **error.as_dict())
        raise error
    warned = f", {count(len(findings), 'thing')} to look at" if findings else ""
    output.text()
    _show_ok(session, "connector", name, f"does what Singer asks of a {connector.kind}{warned}")


def _check_config(project: Project, probe: Probe) -> None:
    """Check a connector's config against the answer of its program to ``--about``.

    No secret is typed into the config, and no needed setting is missing. Unknown keys are shown.

    :raises SetupError: E-SECRET-TYPED; E-CONFIG, a setting is missing.
    """
    connector, about = probe.connector, probe.about() or {}
    shown_config = project.shown(connector.config)
    config = _config(project, connector.config)
    settings = about.get("settings")
    properties = settings.get("properties") if isinstance(settings, dict) else None
    facts = properties if isinstance(properties, dict) else {}
    known = {key for key, fact in facts.items() if isinstance(fact, dict) and fact.get("secret")}
    refuse_typed_secrets(config, connector.name, shown=shown_config, known=known)
    gaps, instead = _gaps(connector, config)
    missing = list(dict.fromkeys([*options.missing(options.from_about(about), config), *gaps]))
    if missing:
        raise lacking(project, connector, missing, instead)
    _warn_of_keys(probe.session, project, connector, set(facts) or set(connector.settings), complete=bool(facts))


def lacking(
    project: Project, connector: Connector, missing: Sequence[str], instead: Sequence[Sequence[str]] = (), file: Path | None = None
) -> SetupError:
    """Return the error for settings that a connector needs and its config lacks.

    *instead* are other groups, of which one is enough. *file* is the config of a pipeline.
    """
    shown_config = project.shown(file or connector.config)
    them = "it" if len(missing) == 1 else "them"
    arguments = " ".join(f"--set {name}=…" for name in missing)
    # A secret does not belong into the config, which is in git.
    secret = any(map(is_secret_key, missing))
    hint = f"{'Type' if secret else f'Write {them} there, or type'} {command(f'new {connector.name} {arguments}')}"
    if file not in {None, connector.config}:  # new writes into the connector's own config
        hint = f"Write {them} there{', secrets as ${NAME}' * secret}."
    return SetupError(
        "E-CONFIG",
        f"{shown_config} has no {listed(missing)}, and {connector.name} needs {them}{'; or '.join(['', *map(listed, instead)])}.",
        hint=hint,
    )


def _show_finding(session: Session, name: str, finding: Finding) -> None:
    often = f" {finding.times:,} times." if finding.times > 1 else ""
    mark = "✗" if finding.severity == ERROR else "!"
    hint = finding.hint
    if finding.rule in {"exit-code", "second-run"}:
        quoted = re.search('"(.*)"', finding.problem)
        hint = remedy(quoted[1] if quoted else "", name, "its config.json") or hint
    session.output.line(mark, finding.rule, f"{finding.problem}{often} → {hint}")
    session.output.event(
        "finding",
        connector=name,
        rule=finding.rule,
        severity=finding.severity,
        run=finding.run,
        stream=finding.stream or None,
        line=finding.line,
        times=finding.times,
        problem=finding.problem,
        hint=hint,
    )


# -------------------------------------------------------------------------------------------------------------- taps


def _check_tap(session: Session, project: Project, probe: Probe, limits: Limits) -> list[Finding]:
    """Run a tap, then again from its state, and return the rules that it breaks."""
    connector = probe.connector
    probe.install()
    catalog = _catalog(project, probe, limits)
    expected = _expected(catalog) if catalog else None
    initial = connector.initial_state
    state = read_object(initial, project.shown(initial), "E-STATE") if initial.exists() else None
    first = Conformance(expected, state, rows=limits.rows)
    _try(session, probe, catalog, first, limits, "first run")
    findings = first.findings
    if first.state and not any(finding.rule == "exit-code" for finding in findings):
        second = Conformance(expected, first.state, number=2, rows=0)
        _try(session, probe, catalog, second, limits, "second run, from its state")
        second.compare(first)
        findings += second.findings
    else:
        session.output.line("•", connector.name, "no second run: no state to begin it from")
    for stream, seen in first.streams.items():
        _show_rows(session, connector.name, stream, seen)
    return findings


def _catalog(project: Project, probe: Probe, limits: Limits) -> dict[str, Any] | None:
    """Return the catalog of a run: the tap's own, else a discovered one, else None."""
    connector = probe.connector
    if connector.catalog.exists():
        return read_catalog(project, connector.catalog)
    if "discover" not in connector.capabilities:
        return None
    catalog = discovered(probe, limits.seconds)
    merge(catalog, None)
    return catalog


def _expected(catalog: dict[str, Any]) -> list[Expected]:
    """Return what a run with this catalog may send."""
    return [
        Expected(
            names=frozenset(stream.names | {str(stream.entry.get("stream_alias") or stream.id)}),
            selected=stream.selected,
            left_out=frozenset(field.name for field in stream.top if not field.selected),
            replication_key=stream.replication_key if stream.method in {"INCREMENTAL", ""} else "",
        )
        for stream in streams_of(catalog)
    ]


def _try(session: Session, probe: Probe, catalog: object, run: Conformance, limits: Limits, title: str) -> None:
    """Run the tap once within the limits, judge its messages, and show what came."""
    output, name = session.output, probe.connector.name
    with output.step(name) as step:
        step.detail = title

        def take(line: bytes) -> bool:
            run.line(line)
            if run.records % SHOW_EVERY == 0:
                step.detail = f"{title}: {count(run.records, 'record')}"
            return run.records < limits.records

        end = probe.sync(catalog, run.initial, take, limits.seconds)
        run.finish(end.exit_code, end.last_line)
        stopped = ", stopped there" if end.exit_code is None else ""
        step.result(f"{title}: {count(run.records, 'record')} in {count(len(run.streams), 'stream')}{stopped}", _status(end))
    for warning in end.warnings if run.number == 1 else ():
        warn(output, name, warning)
    output.event(
        "tried",
        connector=name,
        run=run.number,
        records={stream: seen.records for stream, seen in run.streams.items()},
        lines=run.lines,
        state=run.state,
        exit_code=end.exit_code,
    )


def _status(end: Ended) -> str:
    return "failed" if end.exit_code else "done"


def _show_rows(session: Session, name: str, stream: str, seen: StreamSeen) -> None:
    """Show the first rows of a stream as a table, keys first, cut to the terminal."""
    session.output.event("sample", connector=name, stream=stream, records=seen.records, rows=seen.rows)
    names = list(dict.fromkeys(key for row in seen.rows for key in (*seen.keys, *row) if key in row))
    first = names[:COLUMNS]
    more = f", {count(len(names) - COLUMNS, 'more field')}" if len(names) > COLUMNS else ""
    session.output.text()
    session.output.text(f"  {stream}  {count(seen.records, 'record')}{more}")
    if first:
        session.output.table([[_value(row.get(key, "")) for key in first] for row in seen.rows], first)


def _value(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= WIDTH else text[: WIDTH - 1] + "…"


# ----------------------------------------------------------------------------------------------------------- targets


def _ask(name: str) -> None:
    """Ask before messages are sent to a target that needs secrets: it may load into a database.

    :raises SetupError: E-SETTING, there is no terminal to ask on, or the answer is no.
    """
    what = f"{name} asks for secrets, so it may load somewhere else than into a folder, and what is loaded there stays."
    if not sys.stdin.isatty():
        raise SetupError("E-SETTING", f"{what} There is no terminal to ask on.", hint="Pass --yes to skip the question.")
    if input(f"{what}\nLoad into streams named {target_cases.PREFIX}…? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise SetupError("E-SETTING", "Nothing was loaded.", hint="Give it the config of a test database, or answer with yes.")


def _check_target(session: Session, probe: Probe, limits: Limits) -> list[Finding]:
    """Send a target all messages, then half a message; return the rules that it breaks."""
    probe.install()
    run = Conformance()
    name, output = probe.connector.name, session.output
    with output.step(name) as step:
        step.detail = "all messages together"
        loaded = probe.load(target_cases.lines(*target_cases.CASES), limits.seconds)
        failed = "failed" if loaded.end.exit_code is None else _status(loaded.end)
        step.result(f"all messages together: {_described(loaded.end)}", failed)
    end, printed = loaded.end, loaded.printed
    if end.exit_code != 0:
        end, printed = _find_cases(session, probe, limits, run, end)
    if end.exit_code == 0:
        _judge_states(run, printed)
    _judge_files(run, loaded)
    _send_half(session, probe, limits, run)
    output.event("tried", connector=name, run=1, records={}, lines=0, state=None, exit_code=end.exit_code, files=loaded.files)
    if loaded.files:
        cut = "…" * (len(loaded.files) > COLUMNS)
        files = f"left {count(len(loaded.files), 'file')}, which are removed: {listed(loaded.files[:COLUMNS])}{cut}"
        output.line("✓", name, files)
    return run.findings


def _check_mapper(session: Session, probe: Probe, limits: Limits) -> list[Finding]:
    """Send a mapper all messages, then half a message; return the rules that it breaks."""
    probe.install()
    name, output, run = probe.connector.name, session.output, Conformance()
    with output.step(name) as step:
        step.detail = "all messages together"
        loaded = probe.load(target_cases.lines(*target_cases.TO_MAPPERS), limits.seconds)
        step.result(f"all messages together: {_described(loaded.end)}", "done" if loaded.end.exit_code == 0 else "failed")
    if loaded.end.exit_code == 0:
        for line in loaded.printed.splitlines():
            run.line(line)
        if run.states != target_cases.passed_on():
            run.find("mapper-state", f"It got {count(len(target_cases.passed_on()), 'state')}, and passed on {describe(run.states)}.")
    else:
        run.find("mapper-messages", f"It cannot take the messages: {_described(loaded.end)}.")
    _send_half(session, probe, limits, run)
    records = {stream: seen.records for stream, seen in run.streams.items()}
    output.event("tried", connector=name, run=1, records=records, lines=run.lines, state=run.state, exit_code=loaded.end.exit_code)
    return run.findings


def _send_half(session: Session, probe: Probe, limits: Limits, run: Conformance) -> None:
    """Check that a mapper or a target fails if its input ends within a message."""
    with session.output.step(probe.connector.name) as step:
        step.detail = "half a message"
        broken = probe.load(target_cases.broken(), limits.seconds).end
        step.result(f"half a message: {_described(broken)}", "done" if broken.exit_code else "failed")
    if broken.exit_code == 0:
        run.find(f"{probe.connector.kind}-broken", "Half a message at the end of its input went unnoticed: it ended with exit code 0.")


def _described(end: Ended) -> str:
    """Describe how a program ended, in a few words."""
    if end.exit_code is None:
        return "took too long, stopped"
    line = end.last_line if len(end.last_line) <= MESSAGE_LENGTH else end.last_line[:MESSAGE_LENGTH] + "…"
    return f"exit code {end.exit_code}" + (f', "{line}"' if end.exit_code and line else "")


def _judge_files(run: Conformance, loaded: Loaded) -> None:
    """Check that ``outputs`` matches the target's files, and that their columns are right."""
    if loaded.unmatched:
        names = listed(loaded.unmatched[:COLUMNS]) + "…" * (len(loaded.unmatched) > COLUMNS)
        run.find("target-outputs", f'"outputs" does not match {count(len(loaded.unmatched), "file")} that it left: {names}.')
    for problem in loaded.misplaced:
        run.find("target-columns", problem, alike="columns")


def _judge_states(run: Conformance, printed: bytes) -> None:
    """Check that the target printed states only, and the last one last."""
    states: list[Any] = []
    for number, line in enumerate(printed.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            states.append(json.loads(line))
        except (ValueError, RecursionError):
            states.append(None)
        if not isinstance(states[-1], dict):
            what = describe(line.decode("utf-8", "replace"))
            run.find("target-output", f"Line {number} of what it printed is no state: {what}.", line=number, alike="output")
    good = [state for state in states if isinstance(state, dict)]
    if not good:
        run.find("target-no-state", "It printed no state.")
    elif good[-1] != target_cases.END:
        run.find("target-state", f"The last state that it printed is {describe(good[-1])}, not {describe(target_cases.END)}.")


def _find_cases(session: Session, probe: Probe, limits: Limits, run: Conformance, end: Ended) -> tuple[Ended, bytes]:
    """Find the kinds of messages that a target cannot take, by sending each alone.

    Then send the others together.
    """
    failures: dict[str, list[str]] = {}
    with session.output.step(probe.connector.name) as step:
        for case in target_cases.CASES:
            step.detail = f"the messages {case} alone"
            alone = probe.load(target_cases.lines(case), limits.seconds).end
            if alone.exit_code != 0:
                failures.setdefault(_described(alone), []).append(case)
        failed = [case for cases in failures.values() for case in cases]
        step.result(f"each kind of messages alone: {count(len(failed), 'kind')} of {len(target_cases.CASES)} not taken", "failed")
    for reason, cases in failures.items():
        rule = "target-version" if cases == [target_cases.OPTIONAL] else "target-messages"
        which = "any messages" if len(cases) == len(target_cases.CASES) else f"the messages {listed(cases)}"
        run.find(rule, f"It cannot take {which}: {reason}.", stream=cases[0] if len(cases) == 1 else "")
    others = [case for case in target_cases.CASES if case not in failed]
    if not failed:
        run.find("target-messages", f"It takes each kind of messages alone, but not all of them together: {_described(end)}.")
    if not failed or not others:
        return end, b""
    again = probe.load(target_cases.lines(*others), limits.seconds)
    if again.end.exit_code != 0:
        problem = f"It takes each of the other kinds of messages alone, but not all of them together: {_described(again.end)}."
        run.find("target-messages", problem)
    return again.end, again.printed
