"""The end of a log: the sentence that people see of a connector or a transform that failed."""

from __future__ import annotations

import pytest

from cluster.errors import RunError
from cluster.runs.outcome import SideResult, dbt_words, explain, explain_all, last_words, transformed, warnings

TRACEBACK = """2026-11-24 12:47:14,326 | INFO     | target-x | begins
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    connect()
"""
FIRST = "sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed: port 5432: Connection refused"
BELOW = "\n\tIs the server running on that host?\n[SQL: \nCREATE TABLE t (\n\tn BIGINT\n)\n]\n(Background on this error at: https://sqlalche.me/e/21/e3q8)\n"


ENDS = {
    "nothing": ("", ""),
    "a last line": ("one\ntwo.\n\n", "two"),
    "a log line": ("2026-11-24 12:47:14,326 | ERROR | tap-x | no such base\n", "no such base"),
    "a traceback": (f"{TRACEBACK}KeyError: 'base'\n", "KeyError: 'base'"),
    "of several lines": (f"{TRACEBACK}{FIRST}{BELOW}", "connection failed: port 5432: Connection refused"),
    "two tracebacks": (f"{TRACEBACK}ValueError: one\n\nDuring handling of it, another:\n\n{TRACEBACK}ValueError: two\n", "ValueError: two"),
    "an error after a traceback": (f"{TRACEBACK}ValueError: x\n2026-11-24 12:48:00,000 | ERROR | tap-x | gave up\n", "gave up"),
    "a summary": (
        "ERROR | x | Config validation error: '100' is not of type 'integer'\nERROR | x | Config validation failed\n",
        "Config validation error: '100' is not of type 'integer'",
    ),
    "a summary that was raised": (
        f"ERROR | x | 'api_url' is a required property\n{TRACEBACK}singer_sdk.exceptions.ConfigValidationError: Config validation failed\n",
        "'api_url' is a required property",
    ),
    "a coloured summary": (
        "\033[31mERROR\033[0m | x | 'api_url' is a required property\n\033[31mERROR\033[0m | x | Config validation failed\n",
        "'api_url' is a required property",
    ),
    "a coloured traceback": (
        "\033[1mTraceback (most recent call last)\033[0m:\n  x()\n\033[31mKeyError\033[0m: 'base'\n",
        "KeyError: 'base'",
    ),
    "a colon, and more below": (f"{TRACEBACK}ValueError: these are missing:\n  host, port\n", "ValueError: these are missing: host, port"),
    "a colon, and nothing below": ("no such table\nLINE 1:\n", "no such table"),
    "an error of syntax": (
        f"{TRACEBACK}  File \"tap_mine/tap.py\", line 12\n    def x(\n         ^\nSyntaxError: '(' was never closed\n",
        "SyntaxError: '(' was never closed (tap_mine/tap.py, line 12)",
    ),
    "cut off": ("Traceback (most recent call last):\n  File", "File"),
}


@pytest.mark.parametrize(("log", "says"), ENDS.values(), ids=ENDS)
def test_the_last_words_of_a_connector(log: str, says: str) -> None:
    """The exception counts if a traceback ends the log, without the lines below it; else the last line with text."""
    assert last_words(log.encode()) == says


DBT = {
    "all models pass": (["Running with dbt=1.11.16", "Done. PASS=2 WARN=0 ERROR=0"], ""),
    "no connection": (
        ["Encountered an error:\nDatabase Error\n  connection failed: FATAL:  no such user\n"],
        "connection failed: FATAL:  no such user",
    ),
    "a model": (
        ["Failure in model m (models/m.sql)", "  Database Error in model m (models/m.sql)\n  relation t does not exist"],
        "model m (models/m.sql): relation t does not exist",
    ),
    "a test": (["Failure in test t (x.yml)", "  Got 1 result", "", "Failure in test u (x.yml)"], "test t (x.yml): Got 1 result"),
    "cut off": (["Encountered an error:"], ""),
}


@pytest.mark.parametrize(("lines", "says"), DBT.values(), ids=DBT)
def test_what_dbt_says_of_a_failure(lines: list[str], says: str) -> None:
    """The first model or test that failed, and why, in dbt's words."""
    assert dbt_words("".join(f"10:00:00  {line}\n" for line in lines).encode()) == says


def test_what_dbt_says_of_a_success() -> None:
    """How many models and tests passed, and how many only warned."""
    assert transformed(b"10:00:01  Done. PASS=2 WARN=0 ERROR=0\n") == "2 models and tests passed"
    assert transformed(b"10:00:01  Done. PASS=12 WARN=1 ERROR=0\n") == "12 models and tests passed, 1 warned"
    assert transformed(b"") == "done"


def test_a_tap_that_lacks_a_replication_method() -> None:
    """Taps of databases discover none, and do not begin without: the hint is the command that writes it."""
    error = SideResult("tap", "tap-x", 1, log=b"CRITICAL Unrecognized replication_method None\n").failure()
    assert error is not None
    assert "invoke select tap-x --replication FULL_TABLE" in error.hint
    other = SideResult("tap", "tap-x", 1, log=b"CRITICAL replication_method FULL_TABLE failed\n").failure()
    assert other is not None
    assert "select" not in other.hint


WHOSE = {
    "a record before its schema": (
        "RecordsWithoutSchemaException: A record for stream 's' was encountered before a corresponding schema",
        True,
    ),
    "a record against its schema": (
        "InvalidRecord: Record Message Validation Error: Additional properties are not allowed ('x' was unexpected)",
        True,
    ),
    "a schema of draft 4": ("InvalidJSONSchema: Schema Validation Error: True is not of type 'number'", True),
    "a date that is none": ("ValueError: Could not parse value '12021-01-01T00:00:00Z' for field 'd'", True),
    "a key that is null": ('null value in column "id" of relation "39c2f403" violates not-null constraint', True),
    "of an old target": ("jsonschema.exceptions.ValidationError: None is not of type 'integer'", True),
    "its own config": ("Config validation error: '100' is not of type 'integer'", False),
    "its database": ("connection failed: port 5432: Connection refused", False),
}


@pytest.mark.parametrize(("line", "taps"), WHOSE.values(), ids=WHOSE)
def test_whom_the_hint_names_if_a_target_fails(line: str, *, taps: bool) -> None:
    """A target that refuses what the tap sent: the hint leads to the tap, and to the command that names the message."""
    source, ended = SideResult("tap", "tap-x", 0), SideResult("target", "target-y", 1, log=f"{line}\n".encode())
    error = explain(source.failure(), ended.failure(), source, ended)
    assert error is not None
    assert (error.code, line in error.problem) == ("E-TARGET-FAILED", True)
    assert ("invoke check tap-x" in error.hint) is taps
    own = RunError("E-TAP-FAILED", "tap-x ended with exit code 1.", hint="")
    assert explain(own, ended.failure(), source, ended) is own


REFUSED = "InvalidRecord: Record Message Validation Error"
THREE: dict[str, tuple[dict[str, tuple[int, str]], str, str]] = {
    "all succeed": ({}, "", ""),
    "the mapper": (
        {"tap": (90, "E-MAPPER-ENDED"), "mapper": (3, ""), "target": (1, "")},
        "E-MAPPER-FAILED",
        "map-y ended with exit code 3",
    ),
    "the mapper, which then ended": ({"mapper": (90, "E-MAPPER-ENDED")}, "E-MAPPER-ENDED", "map-y ended"),
    "the mapper, noticed by the tap": ({"tap": (90, "E-MAPPER-ENDED")}, "E-MAPPER-ENDED", "map-y ended before"),
    "the mapper, which never began": ({"tap": (90, "E-PIPE"), "mapper": (90, "E-CONFIG"), "target": (90, "E-PIPE")}, "E-CONFIG", "x"),
    "the target": ({"tap": (90, "E-MAPPER-ENDED"), "mapper": (90, "E-TARGET-ENDED"), "target": (5, "")}, "E-TARGET-FAILED", "target-z"),
    "the target, noticed by the mapper": ({"mapper": (90, "E-TARGET-ENDED")}, "E-TARGET-ENDED", "target-z ended before"),
    "the tap": ({"tap": (4, ""), "mapper": (1, ""), "target": (1, "")}, "E-TAP-FAILED", "tap-x"),
    "the tap, which never began": ({"tap": (90, "E-CONFIG"), "mapper": (90, "E-PIPE"), "target": (90, "E-PIPE")}, "E-CONFIG", "x"),
}


@pytest.mark.parametrize(("codes", "code", "says"), THREE.values(), ids=THREE)
def test_which_of_three_has_failed(codes: dict[str, tuple[int, str]], code: str, says: str) -> None:
    """With a mapper, two sides may fail because the third did: the third is named."""
    ends = []
    for side, connector in (("tap", "tap-x"), ("mapper", "map-y"), ("target", "target-z")):
        exit_code, own = codes.get(side, (0, ""))
        problem = {"E-MAPPER-ENDED": "The mapper ended", "E-TARGET-ENDED": "The target ended"}.get(own, "x")
        reported = {"code": own, "problem": f"{problem} before it had read everything.", "hint": "See."} if own else None
        ends.append(SideResult(side, connector, exit_code, {"exit_code": exit_code, "error": reported}, b"oops"))
    error = explain_all(ends, {end.side: end.failure() for end in ends})
    assert (error.code if error else "") == code
    assert says in (error.problem if error else "")


def test_a_refused_record_may_be_the_mappers() -> None:
    """A target that refuses a record: the hint names the tap and the mapper."""
    refused = SideResult("target", "target-z", 1, log=f"{REFUSED}\n".encode())
    ends = [SideResult("tap", "tap-x", 0), SideResult("mapper", "map-y", 0), refused]
    error = explain_all(ends, {end.side: end.failure() for end in ends})
    assert error is not None
    assert error.hint.startswith("Correct tap-x or map-y or its data: invoke check tap-x names the message.")


def test_coloured_warnings_are_shown() -> None:
    """The level of a line is read without its colour, which ends in a letter."""
    assert list(warnings(["[\033[33mWARNING\033[0m] slow", "\033[32mINFO\033[0m fine"], [])) == ["slow"]


HINTS = {
    "SyntaxError: invalid syntax (tap_mine/tap.py, line 12)": "Correct that line.",
    "connection to server at 127.0.0.1, port 5432 failed: Connection refused": "See whether the server runs and can be reached",
    "requests.exceptions.ConnectionError: Failed to resolve 'api.example.org'": "See whether the server runs and can be reached",
    "KeyError: 'base'": "Correct its config.json",
}


@pytest.mark.parametrize(("text", "hint"), HINTS.items(), ids=HINTS)
def test_the_hint_if_discovery_fails(text: str, hint: str) -> None:
    """A mistake in the code, and a server that is away, are no faults of the config."""
    error = {"code": "E-DISCOVERY", "problem": "The tap's discovery ended with exit code 1.", "hint": "Correct its config.json."}
    failure = SideResult("tap", "tap-x", 90, {"error": error}, f"{text}\nE-DISCOVERY  x\n".encode()).failure()
    assert failure is not None
    assert failure.problem == f'tap-x\'s discovery ended with exit code 1: "{text}".'
    assert failure.hint.startswith(hint)
