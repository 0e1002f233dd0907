"""The commands that messages name, as a user types them in this checkout and environment."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = frozenset({"add", "bench", "check", "discover", "new", "search", "select", "test"})
"""Commands of the checkout alone: they know no ``--env``."""
NAMED = "SINGER_ENV"
"""The variable with the environment that ``--env`` has named, as ``SINGER_LAUNCHER`` says how the tool was started."""


def command(words: str) -> str:
    """Return one of our commands as it runs when typed: with ``./`` when the tool was started so, and with the same ``--env``."""
    named = os.environ.get(NAMED)
    also = f" --env {named}" if named and words.split(maxsplit=1)[0] not in HERE else ""
    return f"{os.environ.get('SINGER_LAUNCHER') or 'invoke'} {words}{also}"


@contextmanager
def elsewhere(env: str) -> Iterator[None]:
    """Let the commands that the body prints be those of another environment than ``--env`` has named."""
    named = os.environ.get(NAMED, "")
    os.environ[NAMED] = env
    try:
        yield
    finally:
        os.environ[NAMED] = named
