"""Numbers, times, paths and errors as people read them."""

from __future__ import annotations

import re
import shlex
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.errors import SetupError
    from cluster.ui.output import StepLine
TITLE_WIDTH = 44
MARKS = {"done": "✓", "unchanged": "•", "warning": "!", "failed": "✗"}


def seconds(value: float) -> str:
    """Return a duration as people read it: one decimal under ten seconds, whole above."""
    if value < 10:
        return f"{value:.1f} s"
    if value < 120:
        return f"{value:.0f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.1f} h"


def megabytes(size: float) -> str:
    """Return a number of bytes as people read it."""
    if size < 1000:
        return f"{size:.0f} bytes"
    return f"{size / 1e6:,.1f} MB" if size >= 1e5 else f"{size / 1e3:,.1f} kB"


def gigabytes(size: float) -> str:
    """Return memory or disk as people read it: one decimal under ten, whole above."""
    return f"{size / 1e9:.1f} GB" if size < 9.95e9 else f"{size / 1e9:,.0f} GB"


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``1 image`` or ``1,200 images``."""
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def and_more(reasons: Sequence[str]) -> str:
    """Return the first reason with the number of the others."""
    return reasons[0] + (f", and {len(reasons) - 1} more" if len(reasons) > 1 else "")


def now() -> str:
    """Return the time as RFC 3339, UTC, with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


STYLING = re.compile(r"\x1b\[[0-9;:]*m")
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that act on a terminal: control characters, and changes of the writing direction."""


def printable(text: str) -> str:
    """Return *text* without colours, and with control characters as visible escapes.

    Connectors and stores choose their logs, names and errors: a terminal shows them, and never
    obeys them.
    """
    return ACTING.sub(lambda match: match[0].encode("unicode_escape").decode(), STYLING.sub("", text))


def one_line(text: str) -> str:
    """Return *text* as ``printable`` does, in one line, so that none begins like ours."""
    return printable(" ".join(text.split("\n")))


def shown(path: Path) -> str:
    """Return *path* in one line, relative to the current folder if it is below that."""
    here = Path.cwd()
    below = path.is_relative_to(here) and here != Path(here.root)
    return str(path.relative_to(here) if below else path).replace("\n", "\\n")


def typed(path: Path) -> str:
    """Return *path* as a person types it in a command: as ``shown``, in quotes if it needs them."""
    return shlex.quote(shown(path))


def in_words(error: SetupError) -> str:
    """Return an error as people read it: code and problem, then the hint."""
    return printable(f"{error.code}  {error.problem}\n→ {error.hint}")


def summary(step: StepLine) -> str:
    """Return a step's result, with its time if that is worth knowing."""
    duration = seconds(step.seconds) if step.seconds >= 1 or step.timed else ""
    return ", ".join(filter(None, (step.detail, duration)))
