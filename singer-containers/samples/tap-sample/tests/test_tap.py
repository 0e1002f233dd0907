"""What must be true of the tap, with any rows in its source."""

from __future__ import annotations

import io
import json
import threading
import unittest
from contextlib import redirect_stdout
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from tap_sample.tap import TapSample


def messages(state: dict[str, Any] | None = None, **config: Any) -> list[dict[str, Any]]:
    """Return the messages of a run."""
    out = io.StringIO()
    with redirect_stdout(out):
        TapSample(config=config, state=state or {}).sync_all()
    return [json.loads(line) for line in out.getvalue().splitlines()]


class TapTest(unittest.TestCase):
    """Runs of the tap, without a target."""

    def test_a_first_run_loads_all(self) -> None:
        """The schema comes first, then each item with its key, at the end a state."""
        sent = messages()
        keys = [message["record"]["id"] for message in sent if message["type"] == "RECORD"]
        assert sent[0]["type"] == "SCHEMA"
        assert keys
        assert len(keys) == len(set(keys))
        assert sent[-1]["type"] == "STATE"

    def test_a_second_run_goes_on(self) -> None:
        """From a state, no row older than its bookmark is loaded. The last rows may come again."""
        first = messages()
        last = max(message["record"]["updated_at"] for message in first if message["type"] == "RECORD")
        again = [message["record"] for message in messages(first[-1]["value"]) if message["type"] == "RECORD"]
        assert [record for record in again if record["updated_at"] < last] == []

    def test_start_date(self) -> None:
        """Nothing older than the start date is loaded."""
        sent = [message["record"] for message in messages(start_date="2026-03-01") if message["type"] == "RECORD"]
        assert [record for record in sent if record["updated_at"] < "2026-03-01"] == []

    def test_backfills_meet(self) -> None:
        """Each row is in one of two backfills, also at the first moment of the second one."""
        for middle, start in (("2026-02-11", "2026-02-12"), ("2026-02-11T13:59:59Z", "2026-02-11T14:00:00Z")):
            parts = messages(start_date="2026-01-05T09:30:00Z", end_date=middle), messages(start_date=start)
            assert sorted(message["record"]["id"] for part in parts for message in part if message["type"] == "RECORD") == [1, 2, 3]

    def test_end_date(self) -> None:
        """Nothing later than the end date is loaded; the day itself is."""
        sent = [message["record"]["id"] for message in messages(end_date="2026-02-11") if message["type"] == "RECORD"]
        assert sent == [1, 2]

    def test_pages_of_an_api(self) -> None:
        """All pages are read, with the token and the start of the run."""
        with Api([[ROW], [{**ROW, "id": 8}]]) as api:
            config = {"api_url": api.url, "api_token": "t0ken", "start_date": "2026-01-01"}
            sent = messages(**config)
        assert [message["record"]["id"] for message in sent if message["type"] == "RECORD"] == [7, 8]
        assert [token for _, token in api.asked] == ["Bearer t0ken"] * 3
        assert all("updated_since=2026-01-01" in path for path, _ in api.asked)


ROW = {"id": 7, "name": "tongs", "price": 12.0, "updated_at": "2026-04-01T00:00:00+00:00"}


class Api:
    """An HTTP API with pages, for the duration of a ``with``."""

    def __init__(self, pages: list[list[dict[str, Any]]]) -> None:
        """Take the rows of each page."""
        asked = self.asked = []  # type: list[tuple[str, str]]

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append((self.path, self.headers["Authorization"]))
                number = len(asked) - 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps(pages[number] if number < len(pages) else []).encode())

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        """Start it."""
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self.server.shutdown()
        self.server.server_close()
