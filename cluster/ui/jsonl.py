"""Output for programs: one JSON object per line. Fields: ``docs/contracts.md``."""

from __future__ import annotations

import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.ui import exact_json
from cluster.ui.format import in_words, now
from cluster.ui.output import StepLine

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from cluster.errors import SetupError

SCHEMA = 1


class Json:
    """One JSON object per line on standard output; errors in words on standard error as well."""

    def __init__(self, always: Mapping[str, str] | None = None) -> None:
        """Take the fields that every event has. Lines of several threads do not mix."""
        self._lock = threading.Lock()
        self._always = dict(always or {})

    def event(self, name: str, /, **fields: Any) -> None:
        """See ``Output``."""
        text = exact_json.dumps({"event": name, "time": now(), "schema": SCHEMA, **self._always, **fields}, default=str)
        with self._lock:
            print(text, flush=True)

    def line(self, mark: str, title: str, detail: str = "") -> None:
        """People read the other forms."""

    def text(self, text: str = "") -> None:
        """People read the other forms."""

    def table(self, rows: Sequence[Sequence[str]], headers: Sequence[str]) -> None:
        """People read the other forms."""

    @contextmanager
    def step(self, title: str) -> Iterator[StepLine]:
        """See ``Output``."""
        step = StepLine(title)
        self.event("step.started", step=title)
        try:
            yield step
        except BaseException:
            step.status = "failed"
            raise
        finally:
            self.event("step.finished", step=title, status=step.status, detail=step.detail, seconds=round(step.seconds, 3))

    def error(self, error: SetupError) -> None:
        """See ``Output``."""
        error.prepare()
        self.event("error", **error.as_dict(), exit_code=error.exit_code)
        print(in_words(error), file=sys.stderr, flush=True)
