"""The command ``check``: what stands in ``singer-configs/``, and whether a connector does what Singer asks of it.

A tap is run twice, for a moment; a target is given messages of our own. Nothing is kept of either: no state, no bucket
and no file is changed.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed, nearest, read_object
from cluster.errors import SetupError
from cluster.onboarding import target_cases
from cluster.onboarding.catalog import merge, streams_of
from cluster.onboarding.conformance import ERROR, Conformance, Expected, Finding
from cluster.onboarding.discover import catalog_file, count, discovered, read_catalog
from cluster.onboarding.probe import Probe
from cluster.project.reader import Project, checked
from cluster.project.secrets import refuse_typed_secrets, secret_names
from cluster.ui.format import seconds as as_seconds
from cluster.ui.format import shown

if TYPE_CHECKING:
    from cluster.onboarding.conformance import StreamSeen
    from cluster.onboarding.probe import Ended
    from cluster.project.model import Connector
    from cluster.session import Session

ALL = "all"
COLUMNS = 6
WIDTH = 24
SAID = 120
SHOW_EVERY = 100
"""After so many records the moving line is brought up to date."""


@dataclass(frozen=True)
class Limits:
    """How much of a tap's output is enough, how long a program may take, and how many rows of a stream are shown."""

    records: int = 10_000
    seconds: int = 60
    rows: int = 3


def check(session: Session, name: str, limits: Limits, *, sure: bool) -> None:
    """Check a connector by trying it, a pipeline by reading its files, or all files.

    :raises SetupError: E-UNKNOWN, there is nothing of that name; E-CHECK, a connector breaks rules; or the first thing that is
        wrong with a file, after all have been shown.
    """
    project = Project(session.settings.root)
    if min(limits.records, limits.seconds) < 1 or limits.rows < 0:
        raise SetupError("E-SETTING", "--records and --seconds are numbers from 1, --rows from 0.", hint="Correct it, or leave it out.")
    if name == ALL:
        _check_files(session, project)
    elif name in project.connector_names and project.connector(name).kind == "transform":  # what it does is no affair of Singer's
        _tell(session, "connector", name, _checked(session, project, "connector", name))
    elif name in project.connector_names:
        _check_connector(session, project, project.connector(name), limits, sure=sure)
    elif name in project.pipeline_names:
        _tell(session, "pipeline", name, _checked(session, project, "pipeline", name))
    else:
        known = [*project.connector_names, *project.pipeline_names]
        raise SetupError(
            "E-UNKNOWN",
            f"There is no connector or pipeline {describe(name)}.{nearest(name, [*known, ALL])} There are {listed(known)}.",
            hint=f"Name one of these, or {ALL} to read every file.",
        )


# ------------------------------------------------------------------------------------------------------------- files


def _check_files(session: Session, project: Project) -> None:
    """Read every file below ``singer-configs/`` and say what is wrong with each.

    :raises SetupError: the first thing that is wrong.
    """
    problems: list[SetupError] = []
    try:
        pipelines = project.pipeline_names
    except SetupError as error:
        pipelines = []
        problems.append(error)
        session.output.line("✗", "pipelines.yaml", error.problem)
    todo = [("connector", item) for item in project.connector_names] + [("pipeline", item) for item in pipelines]
    for kind, item in todo:
        try:
            detail = _checked(session, project, kind, item)
        except SetupError as error:
            problems.append(error)
            session.output.line("✗", item, error.problem)
            session.output.event("check", kind=kind, name=item, ok=False, **error.as_dict())
        else:
            _tell(session, kind, item, detail)
    if problems:
        raise problems[0]


def _tell(session: Session, kind: str, name: str, detail: str) -> None:
    session.output.line("✓", name, detail)
    session.output.event("check", kind=kind, name=name, ok=True)


def _checked(session: Session, project: Project, kind: str, name: str) -> str:
    detail = checked(project, kind, name, session.environ)
    if kind == "connector" and catalog_file(project.connector(name)).exists():
        read_catalog(project, project.connector(name))
    return detail


# -------------------------------------------------------------------------------------------------------- connectors


def _check_connector(session: Session, project: Project, connector: Connector, limits: Limits, *, sure: bool) -> None:
    output, name = session.output, connector.name
    probe = Probe(session, connector)
    _refuse_secrets_it_knows(project, probe)
    if connector.kind == "tap":
        output.text(f"check  {name} · two runs of at most {limits.records:,} records or {as_seconds(limits.seconds)} each; nothing is kept")
        output.text()
        findings = _check_tap(session, project, probe, limits)
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
    _tell(session, "connector", name, f"does what Singer asks of a {connector.kind}{warned}")


def _refuse_secrets_it_knows(project: Project, probe: Probe) -> None:
    """See that no secret is typed into the config: the program itself may know which of its settings are secret.

    :raises SetupError: E-SECRET-TYPED.
    """
    config = probe.connector.config
    if not config.exists():
        return
    settings = ((probe.about() or {}).get("settings") or {}).get("properties") or {}
    known = {key for key, facts in settings.items() if isinstance(facts, dict) and facts.get("secret")}
    refuse_typed_secrets(read_object(config, project.shown(config)), probe.connector.name, shown=project.shown(config), known=known)


def _show_finding(session: Session, name: str, finding: Finding) -> None:
    often = f" {finding.times:,} times." if finding.times > 1 else ""
    mark = "✗" if finding.severity == ERROR else "!"
    session.output.line(mark, finding.rule, f"{finding.problem}{often} → {finding.hint}")
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
        hint=finding.hint,
    )


# -------------------------------------------------------------------------------------------------------------- taps


def _check_tap(session: Session, project: Project, probe: Probe, limits: Limits) -> list[Finding]:
    """Conformance a tap, and again from the state that it has printed, and say which rules it breaks."""
    connector = probe.connector
    assert probe.environment  # what has to be installed is shown as a step of its own
    catalog = _catalog(project, probe, limits)
    expected = _expected(catalog) if catalog else None
    initial = connector.folder / "state.json"
    given = read_object(initial, project.shown(initial), "E-STATE") if initial.exists() else None
    first = Conformance(expected, given, rows=limits.rows)
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
    """Return the catalog that a run would use: the tap's own, else a discovered one, else none."""
    connector = probe.connector
    if catalog_file(connector).exists():
        return read_catalog(project, connector)
    if "discover" not in connector.capabilities:
        return None
    catalog = discovered(probe, limits.seconds)
    merge(catalog, None)
    return catalog


def _expected(catalog: dict[str, Any]) -> list[Expected]:
    """Return what a run with this catalog may bring."""
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
    """Conformance the tap once, as far as the limits let it, and say what came."""
    output, name = session.output, probe.connector.name
    with output.step(name) as step:
        step.detail = title

        def take(line: bytes) -> bool:
            run.line(line)
            if run.records % SHOW_EVERY == 0:
                step.detail = f"{title}: {run.records:,} records"
            return run.records < limits.records

        how = probe.sync(catalog, run.given, take, limits.seconds)
        run.finish(how.exit_code, how.said)
        stopped = ", stopped there" if how.exit_code is None else ""
        step.result(f"{title}: {count(run.records, 'record')} in {count(len(run.streams), 'stream')}{stopped}", _status(how))
    for said in how.warnings if run.number == 1 else ():
        output.line("!", name, said)
        output.event("warning", source=name, problem=said)
    output.event(
        "tried",
        connector=name,
        run=run.number,
        records={stream: seen.records for stream, seen in run.streams.items()},
        lines=run.lines,
        state=run.state,
        exit_code=how.exit_code,
    )


def _status(how: Ended) -> str:
    return "failed" if how.exit_code else "done"


def _show_rows(session: Session, name: str, stream: str, seen: StreamSeen) -> None:
    """Show the first rows of a stream as a table: its keys first, as many fields as fit, values cut."""
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
    """Ask whether a target that needs secrets may be given messages: what it loads goes somewhere else than this machine.

    :raises SetupError: E-SETTING, nobody is there to be asked, or the answer is no.
    """
    what = f"{name} asks for secrets, so it may load somewhere else than into a folder, and what is loaded there stays."
    if not sys.stdin.isatty():
        raise SetupError("E-SETTING", f"{what} Nobody is there to be asked.", hint="Say it beforehand: --yes")
    if input(f"{what}\nLoad into streams named {target_cases.PREFIX}…? [y/N] ").strip().lower() not in {"y", "yes"}:
        raise SetupError("E-SETTING", "Nothing was loaded.", hint="Give it a config for tries, or answer with --yes.")


def _check_target(session: Session, probe: Probe, limits: Limits) -> list[Finding]:
    """Give a target every kind of message, then half a message, and say which rules it breaks."""
    assert probe.environment  # what has to be installed is shown as a step of its own
    run = Conformance()
    name, output = probe.connector.name, session.output
    with output.step(name) as step:
        step.detail = "all messages at once"
        how, printed, left = probe.load(target_cases.lines(*target_cases.CASES), limits.seconds)
        step.result(f"all messages at once: {_ended(how)}", _status(how) if how.exit_code is not None else "failed")
    if how.exit_code != 0:
        how, printed = _find_guilty(session, probe, limits, run, how)
    if how.exit_code == 0:
        _judge_states(run, printed)
    with output.step(name) as step:
        step.detail = "half a message"
        broken, _, _ = probe.load(target_cases.broken(), limits.seconds)
        step.result(f"half a message: {_ended(broken)}", "done" if broken.exit_code else "failed")
    if broken.exit_code == 0:
        run.find("target-broken", "Half a message at the end of its input went unnoticed: it ended with exit code 0.")
    output.event("tried", connector=name, run=1, records={}, lines=0, state=None, exit_code=how.exit_code, files=left)
    if left:
        output.line("✓", name, f"left {count(len(left), 'file')}, which are removed: {listed(left[:COLUMNS])}{'…' * (len(left) > COLUMNS)}")
    return run.findings


def _ended(how: Ended) -> str:
    if how.exit_code is None:
        return "took too long, stopped"
    said = how.said if len(how.said) <= SAID else how.said[:SAID] + "…"
    return f"exit code {how.exit_code}" + (f', "{said}"' if how.exit_code and said else "")


def _judge_states(run: Conformance, printed: bytes) -> None:
    """See that nothing but states was printed, and the last one last."""
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


def _find_guilty(session: Session, probe: Probe, limits: Limits, run: Conformance, how: Ended) -> tuple[Ended, bytes]:
    """Find out which kinds of messages a target cannot take, each tried alone; then give it the others at once."""
    guilty = []
    with session.output.step(probe.connector.name) as step:
        for case in target_cases.CASES:
            step.detail = f"the messages {case} alone"
            alone, _, _ = probe.load(target_cases.lines(case), limits.seconds)
            if alone.exit_code != 0:
                guilty.append(case)
                rule = "target-version" if case == target_cases.OPTIONAL else "target-messages"
                run.find(rule, f"It cannot take the messages {case}: {_ended(alone)}.", stream=case)
        step.result(f"each kind of messages alone: {count(len(guilty), 'kind')} of {len(target_cases.CASES)} not taken", "failed")
    others = [case for case in target_cases.CASES if case not in guilty]
    if not guilty:
        run.find("target-messages", f"It takes each kind of messages alone, and not all of them at once: {_ended(how)}.")
    if not guilty or not others:
        return how, b""
    again, printed, _ = probe.load(target_cases.lines(*others), limits.seconds)
    if again.exit_code != 0:
        run.find("target-messages", f"It takes each of the other kinds of messages alone, and not all of them at once: {_ended(again)}.")
    return again, printed
