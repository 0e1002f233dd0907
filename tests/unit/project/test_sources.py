"""What a lock names beside packages with hashes, and what a failed build lacks. Pure parts."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.project.debian import failed_build, for_build
from cluster.project.sources import Commit, split

ONE, TWO = "1" * 40, "2" * 40
LOCK = f"""\
# For: python 3.11+, tap-x
backoff==1.8.0 \\
    --hash=sha256:00 \\
    --hash=sha256:01
archive @ https://example.org/archive.zip \\
    --hash=sha256:02
shared @ git+ssh://git@example.org/data/shared.git@{TWO}#subdirectory=packages/shared&egg=shared ; sys_platform == 'linux'
tap-x @ git+https://example.org/tap-x.git@{ONE}
./wheels/tap_y-1-py3-none-any.whl ; python_full_version < '4' \\
    --hash=sha256:03
./my wheels/tap_w-1-py3-none-any.whl \\
    --hash=sha256:05
tap-z @ file:///home/me/tap-z
urllib3==2.0 ; python_full_version < '4' \\
    --hash=sha256:04
"""


def test_a_lock_is_split() -> None:
    """Only what has a hash of an index stays in the lock; commits and files of this machine keep their markers."""
    hashed, others = split(LOCK)
    names = [line.partition("=")[0].partition(" ")[0] for line in hashed.splitlines() if line[0] not in " #"]
    assert names == ["backoff", "archive", "urllib3"]
    assert hashed.count("--hash") == 4
    assert others == [
        (Commit("shared", "ssh://git@example.org/data/shared.git", TWO, "packages/shared"), " ; sys_platform == 'linux'"),
        (Commit("tap-x", "https://example.org/tap-x.git", ONE, ""), ""),
        (Path("./wheels/tap_y-1-py3-none-any.whl"), " ; python_full_version < '4'"),
        (Path("./my wheels/tap_w-1-py3-none-any.whl"), ""),
        (Path("/home/me/tap-z"), ""),
    ]
    assert len({item.key for item, _ in others if isinstance(item, Commit)}) == 2


def test_a_lock_without_addresses_stays_as_it_is() -> None:
    """A lock of packages of an index goes into the image unchanged."""
    assert split("a==1 \\\n    --hash=sha256:00\n") == ("a==1 \\\n    --hash=sha256:00\n", [])


# What uv 0.13 printed in a container of python:3.13-slim-bookworm, shortened.
BUILDS = {
    "#12 3.214 error: Failed to build `psycopg2==2.9.10`\n#12 3.2   cause: The build backend returned an error\n#12 3.2 \n"
    "#12 3.2          [stderr]\n#12 3.2          Error: pg_config executable not found.\n#12 3.2          pg_config is required\n"
    "#12 3.2 \n#12 3.2 hint: Build failures usually indicate a problem\n#12 ERROR: process did not complete\n": (
        "psycopg2 2.9.10",
        "Error: pg_config executable not found.",
        ["build-essential", "libpq-dev"],
    ),
    "error: Failed to build `mysqlclient==2.2.4`\n         /bin/sh: 1: pkg-config: not found\n"
    "         Exception: Can not find valid pkg-config name.\n": (
        "mysqlclient 2.2.4",
        "/bin/sh: 1: pkg-config: not found",
        ["build-essential", "default-libmysqlclient-dev", "pkg-config"],
    ),
    "error: Failed to build `pyodbc==4.0.30`\n  cause: x\n         error: [Errno 2] No such file or directory: 'g++'\n": (
        "pyodbc 4.0.30",
        "error: [Errno 2] No such file or directory: 'g++'",
        ["build-essential"],
    ),
    "error: Failed to build `lxml==4.6.3`\n   Error: Please make sure the libxml2 and libxslt development packages are installed.\n": (
        "lxml 4.6.3",
        "Error: Please make sure the libxml2 and libxslt development packages are installed.",
        ["build-essential", "libxslt1-dev"],
    ),
    "error: Failed to build `tap-c @ file:///build/sources/0/tap_c-0.1.tar.gz`\n"
    "   c.c:1:10: fatal error: odd.h: No such file or directory\n"
    "   compilation terminated.\n   error: command '/usr/bin/gcc' failed with exit code 1\n": (
        "tap-c",
        "c.c:1:10: fatal error: odd.h: No such file or directory",
        [],
    ),
    "Setting up libpq-dev and gcc: not found\nERROR: No matching distribution found for tap-x==9\n": ("", "", []),
}


@pytest.mark.parametrize(("text", "expected"), BUILDS.items(), ids=[expected[0] or "another error" for expected in BUILDS.values()])
def test_what_a_build_lacks(text: str, expected: tuple[str, str, list[str]]) -> None:
    """Of a build that failed, the package, the cause and the Debian packages that help are read; another failure needs none."""
    package, cause, _ = failed_build(text)
    assert (package, cause, for_build(text)) == expected
