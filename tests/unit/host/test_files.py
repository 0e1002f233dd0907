"""Text that is read line by line."""

from __future__ import annotations

import pytest

from cluster.host.files import log_lines

CASES = [
    (b"", []),
    (b"\n", [""]),
    (b"a", ["a"]),
    (b"a\nb\n", ["a", "b"]),
    (b"10 %\r20 %\r\ndone\n", ["10 %", "20 %", "done"]),
    ("one\u2028line\x85of\x0blog\n".encode(), ["one\u2028line\x85of\x0blog"]),
    (b"caf\xe9\n", ["caf\ufffd"]),
]


@pytest.mark.parametrize(("data", "lines"), CASES, ids=[repr(data) for data, _ in CASES])
def test_a_log_has_the_lines_that_a_terminal_shows(data: bytes, lines: list[str]) -> None:
    """A line ends where a terminal ends it, and nowhere else; what is not text is replaced."""
    assert log_lines(data) == lines
