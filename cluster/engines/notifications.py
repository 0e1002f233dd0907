"""Messages about the ends of runs on this machine: ``notify`` of the local engine.

The cluster sends the same message in the same cases, from ``singer-containers/commit.py``.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines
from cluster.net import proxy
from cluster.project.dotenv import kept_secrets
from cluster.project.secrets import NOTIFY_URL
from cluster.runs.journal import STOPPED
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

    from cluster.project.model import Pipeline
    from cluster.runs.history import History
    from cluster.runs.record import Record
    from cluster.session import Session


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
            log = _log(session, pipeline.name, run, record) if error else []
            deliver(session, url, notify.message(pipeline.name, run, error, log, warnings, ""))


def deliver(session: Session, url: str, facts: Mapping[str, Any]) -> bool:
    """Send a message, and return whether it arrived. One that did not is a warning."""
    from cluster.runs import notify  # noqa: PLC0415 - most runs send no message

    network = proxy.read(session.settings, session.environ)
    problem = notify.send(url, facts, route=notify.Route(network.proxy_for(url), network.trusted()))
    if problem:
        warn(session.output, "notify", f"The notification was not sent: {problem}.")
    return not problem


def _log(session: Session, pipeline: str, run: str, record: Record | None) -> list[str]:
    """Return the log of the side that failed, else of the tap."""
    sides = [("tap", record.tap), ("mapper", record.mapper), ("target", record.target), ("transform", record.transform)] if record else []
    failed = [name for name, side in sides if side is not None and side.exit_code not in {0, None}]
    file = session.settings.local / "logs" / pipeline / run / f"{failed[0] if failed else 'tap'}.log"
    try:
        return log_lines(file.read_bytes())
    except OSError:
        return []
