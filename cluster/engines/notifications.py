"""Messages about the ends of runs on this machine: ``notify`` of the local engine.

The cluster sends the same message in the same cases, from ``singer-containers/commit.py``.
"""

from __future__ import annotations

import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines, private_folder, replacing
from cluster.net import proxy
from cluster.project.dotenv import kept_secrets
from cluster.project.reader import Project
from cluster.project.secrets import NOTIFY_URL
from cluster.runs.journal import STOPPED
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path
    from typing import Any

    from cluster.project.model import Pipeline
    from cluster.runs.history import History
    from cluster.runs.record import Record
    from cluster.session import Session

DAY_SECONDS = 86_400


@contextmanager
def notifying(session: Session, history: History, pipeline: Pipeline, facts: Mapping[str, Any]) -> Iterator[None]:
    """Send a message about the run of the body, if its pipeline wants one.

    *facts* gets the id of the run as soon as it begins; without one there is no message.
    """
    error: dict[str, str] | None = None
    try:
        yield
    except RunError as failed:
        error = failed.as_dict()
        raise
    except KeyboardInterrupt:
        error = STOPPED
        raise
    finally:
        settled = pipeline.notify == "never" or (pipeline.notify == "failure" and error is None)
        if facts.get("run") and not settled:
            _send(session, history, pipeline, str(facts["run"]), error)


@contextmanager
def unattended(session: Session, pipeline: str, facts: Mapping[str, Any]) -> Iterator[None]:
    """Send a message if something stops the body before its run begins: nobody sees the error.

    Another run that is in progress is no problem. *facts* gets the id of a run that begins.
    """
    name = re.sub(r"[^A-Za-z0-9_.-]", "-", pipeline)[:80]
    sent = private_folder(session.settings.local / "schedule") / f"{name}.sent"
    try:
        yield
    except SetupError as error:
        if not facts.get("run") and error.code != "E-BUSY":
            with suppress(SetupError):
                _send_once_a_day(session, pipeline, error, sent)
        raise
    finally:
        if facts.get("run"):
            sent.unlink(missing_ok=True)


def _send_once_a_day(session: Session, pipeline: str, error: SetupError, sent: Path) -> None:
    """Send a message about a problem, unless the same was sent within a day: a timer comes again.

    The file *sent* has the last problem.
    """
    from cluster.runs import notify  # noqa: PLC0415 - as below

    with suppress(SetupError):  # the entry may be what is wrong
        if Project.of(session.settings).pipeline(pipeline).notify == "never":
            return
    url = address(session)
    with suppress(OSError):
        if sent.read_text(encoding="utf-8") == error.problem and time.time() - sent.stat().st_mtime < DAY_SECONDS:
            return
    if url and deliver(session, url, notify.message(pipeline, None, error.as_dict(), [], [], "")):
        with replacing(sent.name, sent) as part:
            part.write_text(error.problem, encoding="utf-8")


def address(session: Session) -> str:
    """Return where messages go; empty if nowhere."""
    known = {**kept_secrets(session.settings.root, session.settings.env), **session.environ}
    return str(known.get(NOTIFY_URL, "")).strip()


def _send(session: Session, history: History, pipeline: Pipeline, run: str, error: dict[str, str] | None) -> None:
    """Send the message. What goes wrong is a warning: the run has ended by now."""
    from cluster.runs import notify  # noqa: PLC0415 - most runs send no message

    record: Record | None = None
    with suppress(SetupError):
        record = history.read(pipeline.name, run)
    if error and record and record.error:
        error = record.error
    warnings = record.warnings if record else []
    if not notify.wanted(pipeline.notify, good=error is None, warnings=warnings):
        return
    with suppress(SetupError):
        url = address(session)
        if url:
            log = _log(session, history, record) if error and record else []
            deliver(session, url, notify.message(pipeline.name, run, error, log, warnings, ""))


def deliver(session: Session, url: str, facts: Mapping[str, Any]) -> bool:
    """Send a message, and return whether it arrived. One that did not is a warning."""
    from cluster.runs import notify  # noqa: PLC0415 - most runs send no message

    network = proxy.read(session.settings, session.environ)
    problem = notify.send(url, facts, route=notify.Route(network.proxy_for(url), network.trusted()))
    if problem:
        warn(session.output, "notify", f"The notification was not sent: {problem}.")
    return not problem


def _log(session: Session, history: History, record: Record) -> list[str]:
    """Return the log of the side that failed, else of the tap.

    With parts, it is that of the first part that failed.
    """
    part = record.failed_part
    own = history.parts(record).get(part, record) if part else record
    sides = [("tap", own.tap), ("mapper", own.mapper), ("target", own.target), ("transform", own.transform)]
    failed = [name for name, side in sides if side is not None and side.exit_code not in {0, None}]
    file = session.settings.local / "logs" / record.pipeline / record.run / part / f"{failed[0] if failed else 'tap'}.log"
    try:
        return log_lines(file.read_bytes())
    except OSError:
        return []
