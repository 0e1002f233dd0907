"""Shared libraries that programs lack."""

from __future__ import annotations

import pytest

from cluster.runs import libraries


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ({"pyodbc.so": b"\x7fELF\0libodbc.so.2\0libc.so.6\0libpq.so.5\0"}, ["libpq5", "unixodbc"]),
        ({"fast.so": b"\0libgomp-a34b3233.so.1\0"}, []),
        ({"driver.so": b"\0libpq.so.5\0", "libpq.so.5": b"\0libc.so.6\0"}, []),
        ({"words.so": b"\0install libpq.so.5 first\0"}, []),
    ],
)
def test_what_compiled_code_needs(code: dict[str, bytes], packages: list[str]) -> None:
    """Known libraries that the code is linked to need a Debian package, unless they come along."""
    assert libraries.packages(code.items()) == packages
