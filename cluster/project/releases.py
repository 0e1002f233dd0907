"""When a release was uploaded to the package index."""

from __future__ import annotations

import json
from contextlib import suppress
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name, parse_sdist_filename, parse_wheel_filename

from cluster.errors import SetupError
from cluster.net import http

if TYPE_CHECKING:
    from cluster.net.proxy import Network

INDEX = "https://pypi.org/simple"
JSON = "application/vnd.pypi.simple.v1+json"
ANSWER_SECONDS = 10
MOST_BYTES = 16 << 20


def day_after(name: str, version: str, index: str | None, network: Network) -> str:
    """Return the midnight after the upload of a release, as uv's ``--exclude-newer`` takes it.

    The result is empty if the index does not tell.
    """
    url = f"{(index or INDEX).rstrip('/')}/{canonicalize_name(name)}/"
    times: list[datetime] = []
    with suppress(SetupError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        status, body = http.read(url, network, http.pool(url, network), seconds=ANSWER_SECONDS, most=MOST_BYTES, accept=JSON)
        files = json.loads(body)["files"] if status == HTTPStatus.OK else []
        times = [datetime.fromisoformat(file["upload-time"]) for file in files if _version(file["filename"]) == version]
    return f"{(min(times) + timedelta(days=1)).date()}T00:00:00Z" if times else ""


def _version(filename: str) -> str:
    """Return the version in the name of a wheel or of sources; empty for another file."""
    with suppress(ValueError):
        return str(parse_wheel_filename(filename)[1] if filename.endswith(".whl") else parse_sdist_filename(filename)[1])
    return ""
