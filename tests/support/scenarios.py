"""The cases that every engine must get right, written once.

Each has a run before it that leaves the state ``{"n": 2}`` and one file; each tells what the second run must do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

SCHEMA = ["schema", "s"]
BEFORE = {"n": 2}
GOOD = [SCHEMA, ["records", "s", 2], ["state", BEFORE]]
AFTER = {"n": 5}
MORE = [SCHEMA, ["records", "s", 3, 2], ["state", AFTER]]
"""What a tap does that goes on from ``BEFORE``: three more records."""


@dataclass(frozen=True)
class Case:
    """A tap and a target that behave in some way, and what must come of it."""

    name: str
    tap: dict[str, Any] = field(default_factory=dict)
    """Its config for the second run; ``steps`` is what it does."""
    target: dict[str, Any] = field(default_factory=dict)
    error: str = ""
    """The error's code, or nothing: it succeeds."""
    says: str = ""
    """A regular expression that problem and hint, as they are printed, match."""
    records: int = 0
    """How many records the second run's file has."""
    state: dict[str, Any] = field(default_factory=lambda: BEFORE)
    pipeline: dict[str, Any] = field(default_factory=dict)
    capabilities: tuple[str, ...] = ("catalog", "state")


def steps(*more: list[Any]) -> dict[str, Any]:
    """Return a tap's config: a schema, then *more*."""
    return {"steps": [SCHEMA, *more]}


CASES = [
    # What succeeds, and is reported as a success
    Case("all succeeds", {"steps": MORE}, records=3, state=AFTER),
    Case("tap emits no record", steps(["state", BEFORE])),
    Case("tap emits nothing at all", {"steps": []}),
    Case("target prints no state", {"steps": MORE}, {"silent": True}, records=3),
    Case("target prints an empty state", {"steps": MORE}, {"silent": True, "say": [{}]}, records=3),
    Case("an empty state after a good one does not wipe it out", {"steps": MORE}, {"say": [{}]}, records=3, state=AFTER),
    Case("the last state counts", {"steps": MORE}, {"silent": True, "say": [{"n": 3}, AFTER]}, records=3, state=AFTER),
    Case("blank lines and odd spacing are no messages", steps(["say", ""], ["say", '  { "stream" : "s" , "record":{"n":1}, "type":"RECORD"}']), records=1),
    Case("the last line needs no newline", steps(["raw", '{"type": "RECORD", "stream": "s", "record": {"n": 9}}']), records=1),
    Case("the last line needs no newline, wherever its type stands", steps(["raw", '{"record": {"n": 9}, "stream": "s", "type": "RECORD"}']), records=1),
    Case("a long line", steps(["records", "s", 1, 0, 5_000_000]), records=1),
    Case("messages of other types pass", steps(["say", {"type": "ACTIVATE_VERSION", "stream": "s", "version": 1}], ["records", "s", 1]), records=1),
    # The tap
    Case("tap fails immediately", {"steps": [["stderr", "ValueError: no such base"], ["exit", 1]]}, error="E-TAP-FAILED", says=r'tap-scripted ended with exit code 1: "ValueError: no such base"'),
    Case("tap fails without a word", {"steps": [["exit", 3]]}, error="E-TAP-FAILED", says="exit code 3, and its log is empty"),
    Case("tap fails halfway", steps(["records", "s", 3, 2], ["state", AFTER], ["exit", 1]), error="E-TAP-FAILED"),
    Case("tap is killed", steps(["records", "s", 3, 2], ["state", AFTER], ["kill"]), error="E-TAP-FAILED", says="137.*killed, perhaps out of memory"),
    Case("tap's runner is killed", steps(["records", "s", 3, 2], ["state", AFTER], ["kill_runner"], ["sleep", 60]), error="E-RUNNER", says="killed from outside"),
    Case("tap prints a banner first", {"steps": [["say", "Welcome to tap 2.0"], *MORE]}, error="E-TAP-OUTPUT", says="Line 1 .*Welcome to tap 2.0"),
    Case("tap prints words halfway", steps(["records", "s", 3, 2], ["say", "oops"], ["state", AFTER]), error="E-TAP-OUTPUT", says="Line 5 .*oops"),
    Case("tap prints JSON that is no message", steps(["say", {"hello": 1}]), error="E-TAP-OUTPUT", says="not a Singer message"),
    Case("tap prints half a message at the end", steps(["records", "s", 3, 2], ["state", AFTER], ["raw", '{"type": "REC']), error="E-TAP-OUTPUT", says="Line 6"),
    Case("tap prints a message with a broken record", steps(["raw", '{"type": "RECORD", "stream": "s", "record": {"n"\n']), error="E-TARGET-FAILED", says="JSONDecodeError"),
    Case("tap takes too long", steps(["sleep", 60]), pipeline={"timeout": "1s"}, error="E-TIMEOUT", says="longer than 1.0 s"),
    Case("tap that does not listen takes too long", steps(["deaf"], ["sleep", 60]), pipeline={"timeout": "1s"}, error="E-TIMEOUT"),
    # Discovery
    Case("discovery fails", {"steps": MORE, "discover_exit": 4}, capabilities=("discover", "catalog"), error="E-DISCOVERY", says="exit code 4"),
    Case("discovery prints no catalog", {"steps": MORE, "discover": ["Hello"]}, capabilities=("discover", "catalog"), error="E-DISCOVERY", says="Hello"),
    # The target
    Case("target fails immediately", {"steps": MORE}, {"exit_at": [1, 7], "stderr": "unused"}, error="E-TARGET-FAILED", says="target-scripted ended with exit code 7"),
    Case("target fails halfway", steps(["records", "s", 200_000]), {"exit_at": [1000, 7]}, error="E-TARGET-FAILED", says="exit code 7"),
    Case("target fails at the end", {"steps": MORE}, {"exit": 1, "stderr": "OSError: no space"}, error="E-TARGET-FAILED", says="OSError: no space"),
    Case("target is killed", {"steps": MORE}, {"kill": True}, error="E-TARGET-FAILED", says="137"),
    Case("target ends early, much is left", steps(["records", "s", 200_000], ["state", AFTER]), {"read": 1000}, error="E-TARGET-ENDED", says="target-scripted ended before it had read everything"),
    Case("target ends early, little is left", {"steps": MORE}, {"read": 2}, error="E-TARGET-ENDED", says="target-scripted ended before it had read everything"),
    Case("target prints a state that is not JSON", {"steps": MORE}, {"say": ['{"n": 5']}, error="E-TARGET-OUTPUT", says=r"not a state"),
    Case("target prints a list", {"steps": MORE}, {"say": [[1]]}, error="E-TARGET-OUTPUT"),
    Case("both fail", steps(["records", "s", 1], ["stderr", "tap first"], ["exit", 1]), {"exit": 1}, error="E-TAP-FAILED", says="tap first"),
    # What the target leaves
    Case("a link out of its folder", {"steps": MORE}, {"link": ["passwd", "/etc/passwd"]}, error="E-OUTPUTS", says="passwd"),
    Case("a link to nowhere", {"steps": MORE}, {"link": ["gone", "nowhere"]}, error="E-OUTPUTS", says="gone"),
    Case("a linked folder", {"steps": MORE}, {"link": ["folder", "/etc"]}, records=3, state=AFTER),
]  # fmt: skip
