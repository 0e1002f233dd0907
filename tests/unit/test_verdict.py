"""What the end of a log says: the sentence that people see of a connector or a transform that failed."""

from __future__ import annotations

import pytest

from cluster.verdict import dbt_words, last_words, transformed

TRACEBACK = """2026-11-24 12:47:14,326 | INFO     | target-x | begins
Traceback (most recent call last):
  File "x.py", line 1, in <module>
    connect()
"""
FIRST = "sqlalchemy.exc.OperationalError: (psycopg.OperationalError) connection failed: port 5432: Connection refused"
BELOW = "\n\tIs the server running on that host?\n[SQL: \nCREATE TABLE t (\n\tn BIGINT\n)\n]\n(Background on this error at: https://sqlalche.me/e/21/e3q8)\n"


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("", ""),
        ("one\ntwo.\n\n", "two"),
        ("2026-11-24 12:47:14,326 | ERROR | tap-x | no such base\n", "no such base"),
        (f"{TRACEBACK}KeyError: 'base'\n", "KeyError: 'base'"),
        (f"{TRACEBACK}{FIRST}{BELOW}", "connection failed: port 5432: Connection refused"),
        (f"{TRACEBACK}ValueError: one\n\nDuring handling of the above exception, another exception occurred:\n\n{TRACEBACK}ValueError: two\n", "ValueError: two"),
        (f"{TRACEBACK}ValueError: first try\n2026-11-24 12:48:00,000 | ERROR    | tap-x | gave up after 3 tries\n", "gave up after 3 tries"),
        ("Traceback (most recent call last):\n  File", "File"),
    ],
    ids=["nothing", "a last line", "a log line", "a traceback", "of several lines", "two tracebacks", "an error after a traceback", "cut off"],
)  # fmt: skip
def test_the_last_words_of_a_connector(log: str, says: str) -> None:
    """What was raised counts, where a traceback ends the log, without what stands below it; else the last line that says something."""
    assert last_words(log.encode()) == says


@pytest.mark.parametrize(
    ("log", "says"),
    [
        ("10:00:00  Running with dbt=1.11.16\n10:00:01  Done. PASS=2 WARN=0 ERROR=0\n", ""),
        (
            "10:00:00  Encountered an error:\nDatabase Error\n  connection to server failed: FATAL:  no such user\n  \n",
            "connection to server failed: FATAL:  no such user",
        ),
        (
            "10:00:00  Failure in model m (models/m.sql)\n10:00:00    Database Error in model m (models/m.sql)\n  relation \"t\" does not exist\n",
            'model m (models/m.sql): relation "t" does not exist',
        ),
        (
            "10:00:00  Failure in test t (models/x.yml)\n10:00:00    Got 1 result, configured to fail if != 0\n10:00:00\n10:00:00  Failure in test u (x)\n",
            "test t (models/x.yml): Got 1 result, configured to fail if != 0",
        ),
        ("10:00:00  Encountered an error:\n", ""),
    ],
    ids=["all is well", "no connection", "a model", "a test", "cut off"],
)  # fmt: skip
def test_what_dbt_says_of_a_failure(log: str, says: str) -> None:
    """The first model or test that failed, and why, in dbt's words."""
    assert dbt_words(log.encode()) == says


def test_what_dbt_says_of_a_success() -> None:
    """How many models and tests passed, and how many only warned."""
    assert transformed(b"10:00:01  Done. PASS=2 WARN=0 ERROR=0\n") == "2 models and tests passed"
    assert transformed(b"10:00:01  Done. PASS=12 WARN=1 ERROR=0\n") == "12 models and tests passed, 1 warned"
    assert transformed(b"") == "done"
