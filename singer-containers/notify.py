"""Tell Slack, or any address that takes JSON, how a run ended. Standard library only; it never raises.

The address is a secret: it is read from a file, and never part of what is printed.
"""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SECONDS = 10.0
"""The most that an address may take to answer."""
LINES = 10
"""Of the log, so many lines are told."""
SLACK = "hooks.slack.com"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A secret address must not lead somewhere else."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none."""


def tell(
    environ: Mapping[str, str],
    *,
    pipeline: str,
    run: str,
    error: Mapping[str, str] | None,
    log: Sequence[str] = (),
    seconds: float = SECONDS,
) -> bool:
    """Send the message if there is an address; say whether it has arrived. What goes wrong is one line on standard error."""
    try:
        address = Path(environ.get("SINGER_NOTIFY_FILE", "/singer/notify/url")).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        address = ""
    if not address:
        return False
    facts = message(pipeline, run, error, log, environ.get("SINGER_LINK", ""))
    why = send(address, facts, seconds)
    if why:
        print(f"The message could not be sent: {why}.", file=sys.stderr, flush=True)
    return not why


def send(address: str, facts: Mapping[str, Any], seconds: float) -> str:
    """Send the facts; return what went wrong, nothing where nothing did."""
    try:
        url = urlsplit(address)
        body = {"text": facts["text"]} if url.hostname == SLACK else facts
        if url.scheme not in {"http", "https"}:
            return "its address is not one of http or https"
        headers = {"Content-Type": "application/json", "User-Agent": "singer"}
        request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 - looked at above
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as refused:
        with refused:
            return f"the server answers {refused.code}"
    except (ValueError, HTTPException):  # they would repeat the address
        return "its address is not one, or nothing of HTTP is there"
    except OSError as failed:
        return str(getattr(failed, "reason", "") or failed) or type(failed).__name__


def message(pipeline: str, run: str, error: Mapping[str, str] | None, log: Sequence[str], link: str) -> dict[str, Any]:
    """Return what is sent: the facts, and a text for people. Slack takes the text alone."""
    lines = list(log[-LINES:])
    parts = [f"{pipeline}: run {run} " + (f"failed. {error['code']}  {error['problem']}" if error else "succeeded.")]
    parts += [f"→ {error['hint']}"] if error else []
    parts += ["```\n" + "\n".join(lines) + "\n```"] if lines else []
    parts += [link] if link else []
    return {
        "pipeline": pipeline,
        "run": run,
        "status": "failed" if error else "succeeded",
        "error": dict(error) if error else None,
        "log": lines,
        "link": link or None,
        "text": "\n".join(parts),
    }
