"""What must be true of the tap, whatever its source has."""

from __future__ import annotations

import io
import json
import unittest
from contextlib import redirect_stdout
from typing import Any

from tap_sample.tap import TapSample


def messages(state: dict[str, Any] | None = None, **config: Any) -> list[dict[str, Any]]:
    """Return what a run prints."""
    out = io.StringIO()
    with redirect_stdout(out):
        TapSample(config=config, state=state or {}).sync_all()
    return [json.loads(line) for line in out.getvalue().splitlines()]


class TapTest(unittest.TestCase):
    """Runs of the tap, without a target."""

    def test_a_first_run_loads_all(self) -> None:
        """The schema comes first, then each item with its key, at the end a state."""
        found = messages()
        keys = [message["record"]["id"] for message in found if message["type"] == "RECORD"]
        assert found[0]["type"] == "SCHEMA"
        assert keys
        assert len(keys) == len(set(keys))
        assert found[-1]["type"] == "STATE"

    def test_a_second_run_loads_nothing_twice(self) -> None:
        """From the state that a run has left, nothing is loaded that has not changed."""
        state = messages()[-1]["value"]
        assert [message for message in messages(state) if message["type"] == "RECORD"] == []

    def test_start_date(self) -> None:
        """Nothing older than the start date is loaded."""
        found = [message["record"] for message in messages(start_date="2026-03-01") if message["type"] == "RECORD"]
        assert [record for record in found if record["updated_at"] < "2026-03-01"] == []
