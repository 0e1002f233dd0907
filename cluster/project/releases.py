"""What the package index tells of releases: the newest one, and when one was uploaded."""

from __future__ import annotations

import html
import json
import re
import subprocess
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename
from packaging.version import Version

from cluster.errors import SetupError
from cluster.net import http

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from cluster.net.proxy import Network

JSON = "application/vnd.pypi.simple.v1+json"
LINK = re.compile(r"<a\s([^>]*)>([^<]+)</a>")
REQUIRES = re.compile(r"data-requires-python=[\"']([^\"']*)")
ANSWER_SECONDS = 10
MOST_BYTES = 16 << 20


def day_after(name: str, version: str, index: str | None, network: Network) -> str:
    """Return the midnight after the upload of a release, as uv's ``--exclude-newer`` takes it.

    The result is empty if the index does not tell.
    """
    url = f"{(index or default_index()).rstrip('/')}/{canonicalize_name(name)}/"
    times: list[datetime] = []
    with suppress(SetupError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        status, body = http.read(url, network, http.pool(url, network), seconds=ANSWER_SECONDS, most=MOST_BYTES, accept=JSON)
        files = json.loads(body)["files"] if status == HTTPStatus.OK else []
        times = [datetime.fromisoformat(file["upload-time"]) for file in files if _version(file["filename"]) == version]
    return f"{(min(times) + timedelta(days=1)).date()}T00:00:00Z" if times else ""


def newest(name: str, python: str, indexes: Sequence[str], network: Network, seconds: float) -> str:
    """Return the newest release for a Python on the first index that has a package, as uv chooses.

    Pre-releases and withdrawn files do not count. The result is empty if no index lists any.

    :raises SetupError: E-PROXY, E-CERTIFICATE, E-NETWORK, an index does not answer.
    """
    for index in indexes:
        url = f"{index.rstrip('/')}/{canonicalize_name(name)}/"
        accept = f"{JSON}, text/html;q=0.1"
        status, body = http.read(url, network, http.pool(url, network), seconds=seconds, most=MOST_BYTES, accept=accept)
        files = list(_files(body.decode("utf-8", "replace"))) if status == HTTPStatus.OK else []
        versions = [Version(_version(filename)) for filename, requires in files if _version(filename) and _allows(requires, python)]
        if versions:
            return str(max((version for version in versions if not version.is_prerelease), default=""))
    return ""


def _files(page: str) -> Iterator[tuple[str, str]]:
    """Yield the files on a page of an index, JSON or HTML, and the Pythons that they need."""
    try:
        for file in json.loads(page)["files"]:
            if not file.get("yanked"):
                yield str(file["filename"]), str(file.get("requires-python") or "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        for attributes, filename in LINK.findall(page):
            if "data-yanked" not in attributes:
                requires = REQUIRES.search(attributes)
                yield filename.strip(), html.unescape(requires[1]) if requires else ""


def _allows(requires: str, python: str) -> bool:
    try:
        return SpecifierSet(requires).contains(python)
    except InvalidSpecifier:
        return True


def day_after_commits(commits: Sequence[str], cache: Path) -> str:
    """Return the midnight after the newest of some commits, like ``day_after``.

    *cache* is uv's. It has the repositories of the commits that uv has installed.
    """
    times: list[datetime] = []
    for repository in cache.glob("git-v*/db/*"):
        for commit in commits:
            command = ["git", "-C", str(repository), "show", "--no-patch", "--format=%cI", commit]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            with suppress(ValueError):
                times.append(datetime.fromisoformat(done.stdout.strip()))
    return f"{(max(times).astimezone(UTC) + timedelta(days=1)).date()}T00:00:00Z" if times else ""


def _version(filename: str) -> str:
    """Return the version in the name of a wheel or of sources; empty for another file."""
    with suppress(ValueError):
        return str(parse_wheel_filename(filename)[1] if filename.endswith(".whl") else parse_sdist_filename(filename)[1])
    return ""


def default_index() -> str:
    """Return the default index of pip and uv, empty if there is no pip."""
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - an environment of the user's own may lack it
    except ImportError:
        return ""
    return str(PyPI.simple_url)
