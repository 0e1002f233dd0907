"""The cases that every engine must get right, written once.

Each has a run before it that leaves the state ``{"n": 2}`` and one file; each tells what the second run must do. Each is also the
second of three parts of a run, which is split by streams or a backfill in chunks: see ``Column``.
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
ROWS = '{"n": 2}\n{"n": 3}\n{"n": 4}\n'
"""Their file."""
CATALOG = "it needs a catalog.json, so its tap does not discover"


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
    unsplit: str = ""
    """Why a pipeline with ``split`` cannot come to this."""


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
    Case("discovery fails", {"steps": MORE, "discover_exit": 4}, capabilities=("discover", "catalog"), error="E-DISCOVERY", says="exit code 4", unsplit=CATALOG),
    Case("discovery prints no catalog", {"steps": MORE, "discover": ["Hello"]}, capabilities=("discover", "catalog"), error="E-DISCOVERY", says="Hello", unsplit=CATALOG),
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


STREAMS = ("a", "b", "c")
HIT = "b"
"""The streams of a run with parts, and that of the part which is as the case."""


@dataclass(frozen=True)
class Column:
    """A run with three parts, a stream in each: the second one is as the case, the others load their rows."""

    name: str
    parts: tuple[str, ...]
    """The names of its parts."""
    words: tuple[str, ...] = ()
    """What is typed after the pipeline; nothing if it is split by streams."""

    @property
    def pipeline(self) -> dict[str, Any]:
        """The keys of its pipeline."""
        return {} if self.words else {"split": "streams"}

    @property
    def hit(self) -> str:
        """The part that is as the case."""
        return self.parts[STREAMS.index(HIT)]

    def configs(self, case: Case | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the configs of tap and target; without a case all parts load their rows."""
        taps = {part: {"steps": of_stream(MORE, stream)} for part, stream in zip(self.parts, STREAMS, strict=True)}
        dates = {"start_date": "2020-01-01", "end_date": None} if self.words else {}
        if case is None:
            return {"parts": taps, **dates}, {}
        return {"parts": {**taps, self.hit: of_stream(case.tap, HIT)}, **dates}, {"parts": {HIT: of_stream(case.target, HIT)}}

    def state(self, hit: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
        """Return the state after a run that ended with these bookmarks; a backfill leaves it as it was before."""
        before = dict.fromkeys(STREAMS, BEFORE)
        return {"bookmarks": before if self.words else {**dict.fromkeys(STREAMS, others), HIT: hit}}


def of_stream(value: Any, stream: str) -> Any:
    """Return steps, or what a target does, for another stream than ``s``, with its bookmark as the state."""
    if isinstance(value, dict):
        marks = value.keys() == {"n"}
        return {"bookmarks": {stream: value}} if marks else {key: of_stream(item, stream) for key, item in value.items()}
    if isinstance(value, list):
        return [of_stream(item, stream) for item in value]
    return stream if value == "s" else value.replace('"s"', f'"{stream}"') if isinstance(value, str) else value


SPLIT = Column("split", STREAMS)
CHUNKS = Column("chunks", ("2024-01-01", "2024-02-01", "2024-03-01"), ("--from", "2024-01-01", "--to", "2024-03-31", "--every", "month"))
IN_PARTS = [(column, case) for column in (SPLIT, CHUNKS) for case in CASES if column is CHUNKS or not case.unsplit]
