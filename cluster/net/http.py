"""HTTP to the outside: whether an address answers, and downloads.

Honours proxy and certificates.
"""

from __future__ import annotations

import hashlib
import socket
import ssl
import tempfile
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder
from cluster.net.proxy import login, shown, system_store

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cluster.net.proxy import Network

ANSWER_SECONDS = 2
FETCH_SECONDS = 30
"""To connect, and between two pieces."""
PIECE_BYTES = 1 << 16


@dataclass(frozen=True)
class Answer:
    """The answer of an address."""

    status: int
    seconds: float
    ahead: float | None
    """Seconds by which the clock there is ahead of ours; None if it sends no date."""


def ask(url: str, network: Network) -> Answer:
    """Ask an address for its head; any answer at all is one.

    :raises SetupError: E-PROXY, E-CERTIFICATE, E-NETWORK, nobody answers.
    """
    began = time.monotonic()
    try:
        response = pool(url, network).request(
            "HEAD", url, retries=False, timeout=urllib3.Timeout(connect=ANSWER_SECONDS, read=ANSWER_SECONDS), redirect=False
        )
    except urllib3.exceptions.HTTPError as error:
        raise unreachable(url, network, error) from None
    taken = time.monotonic() - began
    # An answer from a proxy's cache is older than its date.
    age = response.headers.get("Age", "0")
    ahead = None
    with suppress(TypeError, ValueError):
        date = parsedate_to_datetime(response.headers["Date"]) if "Date" in response.headers else None
        ahead = (date - datetime.now(UTC)).total_seconds() + float(age) if date else None
    return Answer(response.status, taken, ahead)


def connects(url: str) -> str | None:
    """Return why an address accepts no connection, or None."""
    parts = urlsplit(url)
    try:
        port = parts.port or {"https": 443}.get(parts.scheme, 80)
        with socket.create_connection((parts.hostname or "", port), ANSWER_SECONDS):
            return None
    except (OSError, ValueError) as error:
        return in_few_words(error)


def fetch(url: str, digest: str, file: Path, network: Network) -> None:
    """Download a program to *file*, if its SHA-256 is *digest*.

    :raises SetupError: E-PROXY, E-CERTIFICATE, E-NETWORK, it cannot be reached; E-DOWNLOAD, it is
        not there, broke off, or is another one; E-DISK, E-STORE.
    """
    hint = "Run it again; if it stays so, name a mirror in singer.mirror: github.com=artifacts.example.com"
    timeout = urllib3.Timeout(connect=FETCH_SECONDS, read=FETCH_SECONDS)
    checksum = hashlib.sha256()
    with file_errors(file.name, file), tempfile.TemporaryDirectory(dir=private_folder(file.parent), prefix=".") as folder:
        part = Path(folder) / file.name
        try:
            retries = urllib3.Retry(total=5, connect=0, read=0, other=0)  # redirects alone
            with pool(url, network).request("GET", url, preload_content=False, retries=retries, timeout=timeout) as response:
                if response.status != HTTPStatus.OK:
                    raise SetupError("E-DOWNLOAD", f"{shown(url)} answers {response.status} for {file.name}.", hint=hint)
                with part.open("wb") as target:
                    for piece in response.stream(PIECE_BYTES):
                        checksum.update(piece)
                        target.write(piece)
        except (urllib3.exceptions.ProtocolError, urllib3.exceptions.ReadTimeoutError):
            raise SetupError("E-DOWNLOAD", f"The download of {file.name} from {shown(url)} broke off.", hint=hint) from None
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(url, network, error) from None
        if checksum.hexdigest() != digest:
            raise SetupError(
                "E-DOWNLOAD", f"What {shown(url)} gave for {file.name} is not what its makers published: the checksum differs.", hint=hint
            )
        part.chmod(0o755)
        part.replace(file)


def read(url: str, network: Network, connections: Any, *, seconds: float, most: int, accept: str = "*/*") -> tuple[int, bytes]:
    """Return the status and the body of an address, within *seconds* and *most* bytes in all.

    *connections* is what ``pool`` returned for this host, *accept* the wanted type of content.

    :raises SetupError: E-PROXY, E-CERTIFICATE, E-NETWORK: no answer in time, or too large a one.
    """
    answers: list[tuple[int, bytes] | Exception] = []

    def ask_it() -> None:
        try:
            answers.append(_body(connections, url, seconds, most, accept))
        except Exception as error:  # noqa: BLE001 - raised again below, in the caller's thread
            answers.append(error)

    # A server that sends one byte now and then meets every timeout of a socket, but not this one.
    thread = threading.Thread(target=ask_it, daemon=True)
    thread.start()
    thread.join(seconds)
    answer = answers[0] if answers else TimeoutError()
    if isinstance(answer, urllib3.exceptions.MaxRetryError) and answer.reason:
        answer = answer.reason
    refused = isinstance(answer, urllib3.exceptions.NewConnectionError)  # a TimeoutError, too
    if isinstance(answer, TimeoutError | urllib3.exceptions.TimeoutError) and not refused:
        hint = "Run it again later; behind a company's proxy set singer.proxy or HTTPS_PROXY."
        raise SetupError("E-NETWORK", f"{shown(url)} does not answer within {seconds:g} s.", hint=hint)
    if isinstance(answer, urllib3.exceptions.HTTPError):
        raise unreachable(url, network, answer)
    if isinstance(answer, Exception):
        raise answer
    return answer


def _body(connections: Any, url: str, seconds: float, most: int, accept: str) -> tuple[int, bytes]:
    retries = urllib3.Retry(total=3, connect=0, read=0, other=0)  # redirects alone
    timeout = urllib3.Timeout(connect=seconds, read=seconds)
    headers = {**connections.headers, "Accept": accept}
    with connections.request("GET", url, preload_content=False, retries=retries, timeout=timeout, headers=headers) as response:
        body = b""
        while piece := response.read1(PIECE_BYTES):
            body += piece
            if len(body) > most:
                hint = "Correct the address: this is another kind of page."
                raise SetupError("E-NETWORK", f"{shown(url)} answers with more than {most >> 20} MiB.", hint=hint)
        return int(response.status), body


def pool(url: str, network: Network, also: Iterable[Path] = ()) -> Any:
    """Return a connection pool for an address; *also* are more files of certificates for it."""
    how: dict[str, Any] = {"ssl_context": _trusting(network, also), "headers": urllib3.make_headers(basic_auth=login(url) or None)}
    proxy = network.proxy_for(url)
    if proxy is None:
        return urllib3.PoolManager(**how)
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login(proxy) or None), **how)


def _trusting(network: Network, also: Iterable[Path]) -> ssl.SSLContext:
    """Return a context with the configured certificates, else the system's and the public ones."""
    context: ssl.SSLContext
    if network.certificates:
        context = ssl.create_default_context(cadata=network.certificates)
    elif system_store():
        import truststore  # noqa: PLC0415 - of these systems only

        context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        import certifi  # noqa: PLC0415 - only here

        context = ssl.create_default_context()
        context.load_verify_locations(certifi.where())
    for file in also:
        with suppress(OSError):  # its own program reports what is wrong
            context.load_verify_locations(file)
    return context


def unreachable(url: str, network: Network, error: Exception) -> SetupError:
    """Return the error for an address that does not answer."""
    text = network.hide(f"{type(error).__name__} {error}")
    return network.refusal(f"{shown(url)} is not reachable", text) or SetupError(
        "E-NETWORK",
        f"{shown(url)} is not reachable: {in_few_words(error)}.",
        hint="Connect to the network; behind a company's proxy set singer.proxy or HTTPS_PROXY.",
    )


def in_few_words(error: Exception, seconds: float | None = ANSWER_SECONDS) -> str:
    """Return why there was no answer, as a clause."""
    text = f"{type(error).__name__} {error}".lower()
    known = (
        (("resol", "gaierror", "name or service", "nodename"), "its name is not known"),
        (("timeout", "timed out"), f"no answer within {seconds:g} s" if seconds else "no answer in time"),
        (("refused",), "the connection is refused"),
        (("reset", "aborted", "closed connection", "remote end closed"), "the connection is closed"),
        (("unreachable", "no route"), "there is no route to it"),
    )
    return next(
        (words for signs, words in known if any(sign in text for sign in signs)), str(error).rpartition(": ")[2].strip("'\").").strip()
    )
