"""``run --watch``: another round after each change, one line for each, until Ctrl-C."""

from __future__ import annotations

import json
import re
import signal
import threading
from contextlib import contextmanager
from queue import Empty, Queue
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkout import Checkout

STEPS = [["schema", "s"], ["records", "s", 2], ["state", {"n": 2}]]


class Watch:
    """A command that watches, and its output as it comes."""

    def __init__(self, checkout: Checkout, *words: str) -> None:
        """Start the command."""
        self.process = checkout.start("run", "p", "--watch", *words)
        self._lines: Queue[str] = Queue()
        threading.Thread(target=self._read, daemon=True).start()
        if "--json" not in words:
            assert self.line() == "watching  p · a change runs it again · Ctrl-C ends it"

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line)

    def line(self) -> str:
        """Return the next line that is not empty."""
        while True:
            line = self._lines.get(timeout=60).rstrip("\n")
            if line:
                return line

    def event(self, name: str) -> dict[str, Any]:
        """Return the next event of a name."""
        while True:
            event: dict[str, Any] = json.loads(self.line())
            if event["event"] == name:
                return event

    def is_quiet(self, seconds: float) -> bool:
        """Return whether nothing is printed for some time."""
        try:
            self._lines.get(timeout=seconds)
        except Empty:
            return True
        return False


@contextmanager
def watching(checkout: Checkout, *words: str) -> Iterator[Watch]:
    """Watch, and end it by Ctrl-C."""
    watch = Watch(checkout, *words)
    try:
        yield watch
        assert watch.is_quiet(2)
        watch.process.send_signal(signal.SIGINT)
        assert watch.process.wait(30) == 0
    finally:
        watch.process.kill()
        watch.process.communicate()


def test_a_round_after_each_change(checkout: Checkout) -> None:
    """Config, code and a mistake: each change is one more line, and a mistake waits for its correction."""
    checkout.scripted({"steps": STEPS})
    checkout.copy_connectors()
    code = checkout.connectors / "tap-scripted" / "tap_scripted" / "__init__.py"
    config = "tap-scripted/config.json"
    with watching(checkout) as watch:
        assert "2 records, " in watch.line()
        assert watch.is_quiet(0.5)
        checkout.write(config, {"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}]]})
        assert re.search(r"✓ p +3 records, \d+ bytes · config.json, ", watch.line())
        assert watch.is_quiet(0.5)
        checkout.write(config, "{")
        assert watch.line().startswith("✗ p ")
        code.write_text(code.read_text(encoding="utf-8").replace('{"n": number, ', '{"m": number, '), encoding="utf-8")
        checkout.write(config, {"steps": STEPS})
        line = watch.line()
        while "✗" in line:  # it was seen between the two
            line = watch.line()
        assert "✓ p  " in line
    assert any('"m"' in text for text in checkout.outputs().values())


def test_a_connector_that_writes_into_its_own_folder(checkout: Checkout) -> None:
    """A file that the runs change themselves starts two rounds, not one after the other without end."""
    checkout.scripted({})
    checkout.copy_connectors()
    own = checkout.connectors / "target-scripted" / "cache.json"
    checkout.write("tap-scripted/config.json", {"steps": STEPS})
    checkout.write("target-scripted/config.json", {"outside": str(own)})
    with watching(checkout) as watch:
        lines = [watch.line() for _ in range(4)]
        assert "2 records, " in lines[0]
        assert re.search(r"2 records, \d+ bytes · cache.json, ", lines[2])
        assert lines[3].endswith("cache.json changes during each round: only changes between rounds count")


def test_events_for_programs(checkout: Checkout) -> None:
    """With --json each round has its events, and between two rounds the changed files are named."""
    checkout.scripted({"steps": STEPS})
    with watching(checkout, "--json") as watch:
        assert watch.event("run.finished")["records"] == {"s": 2}
        assert watch.is_quiet(0.5)
        checkout.write("tap-scripted/config.json", {"steps": [["schema", "s"], ["exit", 3]]})
        assert watch.event("watch.changed")["files"] == ["singer-configs/tap-scripted/config.json"]
        assert watch.event("run.finished")["status"] == "failed"


def test_several_pipelines_are_refused(checkout: Checkout) -> None:
    """One terminal watches one pipeline."""
    result = checkout.invoke("run", "a,b", "--watch")
    assert (result.code, "--watch runs one pipeline." in result.err) == (1, True)
    result = checkout.invoke("run", "nosuch", "--watch")
    assert (result.code, "E-UNKNOWN" in result.err) == (1, True)
