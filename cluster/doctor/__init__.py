"""``invoke doctor``: check everything that the other commands need.

``checks`` and ``outdated`` only look, ``fixes`` corrects what is safe, ``bundle`` writes a file for
those who help.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING

from cluster.config.strict import listed
from cluster.doctor import checks, outdated
from cluster.doctor.checks import Check, CheckResult, Machine
from cluster.doctor.timeouts import begin, within
from cluster.engines.choice import Engines
from cluster.errors import SetupError
from cluster.host.subprocesses import give_up
from cluster.ui.command_line import command
from cluster.ui.format import shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future

    from cluster.session import Session
    from cluster.ui.output import Output

SECONDS = 8
"""The longest wait for a check."""
MARKS = {"ok": "✓", "slow": "!", "fail": "✗", "unneeded": "•"}


def doctor(session: Session, *, engine: str, fix: bool, bundle: bool, releases: bool) -> None:
    """Run all checks. On request, correct what is safe, and write the file for those who help.

    *releases* is whether the newest releases of the tool, and of what it pins, are asked for.

    :raises SetupError: E-DOCTOR, something that the engine needs does not work; what a fix raised.
    """
    output = session.output
    try:
        refused = _fixed(Machine(session), output) if fix else []
        machine = Machine(session)
        chosen, reason, up = _engine(session, machine, engine)
        title = f"engine {chosen}, because {reason}"
        output.text(f"doctor  {title}")
        output.text()
        results = []
        for result in _looked(machine, chosen, [*checks.all_checks(machine.settings), *outdated.all_checks(ask_releases=releases)], up=up):
            results.append(result)
            _show(output, result)
        failed = [result for result in results if result.status == "fail"]
        output.event("doctor.finished", engine=chosen, reason=reason, ok=not failed)
        output.text()
        if bundle:
            _bundle(machine, output, [title, *map(_line, results)])
    finally:
        give_up()
    if refused:
        raise refused[0]
    if failed:
        fixable = any(result.fix for result in failed)
        hint = f"{command('doctor --fix')} corrects what is safe." if fixable else "Follow the arrows above, then run it again."
        names = listed(dict.fromkeys(result.name for result in failed))
        raise SetupError("E-DOCTOR", f"The engine {chosen} will not work here: see {names}.", hint=hint)
    spared = dict.fromkeys(result.name for result in results if result.status == "unneeded" and result.hint)
    output.text(f"The engine {chosen} works here." + (f" {command('up')} would need more: {listed(spared)}." if spared else ""))


def _bundle(machine: Machine, output: Output, lines: list[str]) -> None:
    """Write the file for those who help, and print its path."""
    from cluster.doctor.bundle import write  # noqa: PLC0415 - on request only

    file = write(machine, lines)
    output.event("bundle", path=str(file))
    output.text(f"All of this, versions, settings, runs and logs, without secrets: {shown(file)}. Read it before you send it.")
    output.text()


def _engine(session: Session, machine: Machine, asked: str) -> tuple[str, str, bool]:
    """Return the engine that a command would use, why, and whether it is a platform that is up.

    :raises SetupError: E-SETTING, there is no such engine.
    """
    if machine.refused:
        return "local", "the settings cannot be read", False
    with Engines(session) as engines:

        def choose() -> tuple[str, str, bool]:
            engine, reason = engines.engine(asked)
            return engine, reason, engine == "argo" and engines.connect() is None

        return within(SECONDS, choose, ("local", "the platform does not answer", False))


def _looked(machine: Machine, engine: str, wanted: Sequence[Check], *, up: bool) -> Iterator[CheckResult]:
    """Run checks in parallel, and yield their results in order, judged for the engine."""
    deadline = time.monotonic() + SECONDS
    begun = [(check, begin(partial(check.made, machine))) for check in wanted]
    for check, future in begun:
        yield from (checks.weighed(seen, check, engine, up=up) for seen in _result(check, future, deadline))
    yield checks.clock(machine)


def _result(check: Check, future: Future[list[CheckResult]], deadline: float) -> list[CheckResult]:
    try:
        return future.result(max(0, deadline - time.monotonic()))
    except TimeoutError:
        return [check.failed(f"no answer within {SECONDS} s", "Run it again; if it happens again, look at what hangs there.")]


def _fixed(machine: Machine, output: Output) -> list[SetupError]:
    """Correct what is safe, and return the errors of what failed."""
    refused = []
    fixes = [(seen.name, seen.fix) for seen in _looked(machine, "argo", checks.all_checks(machine.settings), up=False) if seen.fix]
    for name, fix in fixes:
        try:
            with output.step(name) as step:
                step.result(fix())
        except SetupError as error:
            output.error(error)
            error.shown = True
            refused.append(error)
        else:
            output.event("doctor.fixed", name=name, done=step.detail)
    if not fixes:
        output.line("•", "Nothing to correct that would be safe")
    output.text()
    return refused


def _show(output: Output, seen: CheckResult) -> None:
    output.line(MARKS[seen.status], seen.name, seen.seen)
    if seen.hint:
        output.text(f"  → {seen.hint}")
    output.event("doctor", name=seen.name, status=seen.status, seen=seen.seen, hint=seen.hint)


def _line(seen: CheckResult) -> str:
    return f"{MARKS[seen.status]} {seen.name}: {seen.seen}" + (f"\n  → {seen.hint}" if seen.hint else "")
