"""Send a message about a run's end to Slack, or to any address that accepts JSON.

Both engines send the same message. The address is a secret and is never printed.
Standard library only.
"""

from __future__ import annotations

import json
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

SECONDS = 10.0
"""Timeout for the server's answer."""
LINES = 10
"""How many lines of the log a message has."""
SLACK = "hooks.slack.com"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """Rejects redirects: a secret address must not reach another server."""

    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow no redirect."""


def wanted(choice: str, *, good: bool, warnings: Sequence[str] = ()) -> bool:
    """Return whether a run's end is worth a message, by the ``notify`` of its pipeline."""
    return choice == "always" or (choice != "never" and not good) or (choice == "warning" and bool(warnings))


@dataclass(frozen=True)
class Route:
    """How to reach an address, if not as the environment of this process has it."""

    proxy: str | None
    bundle: Path | None
    """The CA certificates to trust; None for the system's."""

    def handlers(self, scheme: str) -> list[urllib.request.BaseHandler]:
        """Return what makes urllib use it."""
        context = ssl.create_default_context(cafile=self.bundle)
        return [urllib.request.ProxyHandler({scheme: self.proxy} if self.proxy else {}), urllib.request.HTTPSHandler(context=context)]


def send(address: str, facts: Mapping[str, Any], seconds: float = SECONDS, route: Route | None = None) -> str:
    """Send the facts, and return the problem; empty if there is none."""
    try:
        url = urlsplit(address)
        body = {"text": facts["text"]} if url.hostname == SLACK else facts
        if url.scheme not in {"http", "https"}:
            return "the address does not begin with http:// or https://"
        headers = {"Content-Type": "application/json", "User-Agent": "singer"}
        request = urllib.request.Request(address, data=json.dumps(body).encode(), headers=headers)  # noqa: S310 - checked above
        handlers = route.handlers(url.scheme) if route else []
        with urllib.request.build_opener(_NoRedirects, *handlers).open(request, timeout=seconds):
            return ""
    except urllib.error.HTTPError as refused:
        with refused:
            return f"the server answers {refused.code}"
    except (ValueError, HTTPException):  # their texts contain the address
        return "the address is not valid, or its server does not use HTTP"
    except OSError as failed:
        return str(getattr(failed, "reason", "") or failed) or type(failed).__name__


def message(
    pipeline: str, run: str | None, error: Mapping[str, str] | None, log: Sequence[str], warnings: Sequence[str], link: str
) -> dict[str, Any]:
    """Return the facts for programs, and a text for people. Slack accepts only the text.

    *run* is None if something stopped it before it began.
    """
    lines = list(log[-LINES:])
    subject = f"{pipeline}: " + (f"run {run} {'failed' if error else 'succeeded'}." if run else "no run has begun.")
    parts = [subject + (f" {error['code']}  {error['problem']}" if error else "")]
    parts += [f"→ {error['hint']}"] if error else []
    parts += [f"Warning: {warning}" for warning in warnings]
    parts += ["```\n" + "\n".join(lines) + "\n```"] if lines else []
    parts += [link] if link else []
    return {
        "pipeline": pipeline,
        "run": run,
        "status": "failed" if error else "succeeded",
        "error": dict(error) if error else None,
        "warnings": list(warnings),
        "log": lines,
        "link": link or None,
        "text": "\n".join(parts),
    }
