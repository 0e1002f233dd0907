"""A registry of images: which images it has, and the meaning of its refusals.

The container runtime pushes and pulls. We only ask, which needs no runtime and returns data that
runtimes only print. The login comes from the runtimes' files and their credential helpers.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from functools import cached_property
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

import urllib3

from cluster.errors import SetupError
from cluster.host.subprocesses import last_line, run
from cluster.net.http import pool, unreachable
from cluster.net.proxy import loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from cluster.net.proxy import Network

HOSTS = {"docker.io": "registry-1.docker.io"}
"""Registries whose host differs from that in names of images."""
LOGINS = {"docker.io": "index.docker.io"}
"""Registries whose login has another name than in names of images."""
TIMEOUT = urllib3.Timeout(connect=5, read=30)
INDEXES = ("application/vnd.oci.image.index.v1+json", "application/vnd.docker.distribution.manifest.list.v2+json")
MANIFESTS = ("application/vnd.oci.image.manifest.v1+json", "application/vnd.docker.distribution.manifest.v2+json")
TOKEN = "<token>"  # noqa: S105 - marks the secret as a token
"""A credential helper's user for a secret that is exchanged for a token."""
NOBODY = "credentials not found"
"""A credential helper's message without a login for the registry."""
NO_TLS = "wrong.version|record.layer|packet.length|http.request"
"""OpenSSL's messages for a server without TLS."""
MEANINGS = (
    ("throttled", "too ?many ?requests"),
    ("taken", "immutable|already exists in the"),
    ("full", "no space left|quota|insufficient storage"),
    ("helper", "error getting credentials|docker-credential-"),
    ("nameless", "name unknown|name_unknown|repository with name"),
    ("missing", "manifest unknown|not found"),
    ("login", "unauthorized|no basic auth credentials|authentication required"),
    ("denied", "denied|forbidden"),
    ("plain", "http response to https client"),
    ("nowhere", "no such host"),
    ("silent", "timeout|connection refused|deadline exceeded|connection reset|unreachable"),
    ("untrusted", "x509"),
    ("proxy", "proxy"),
    ("fault", "internal server error|bad gateway|service unavailable|http status: 5"),
)
"""Meaning and pattern of messages of registries and runtimes. The first match counts."""
ANSWERS = {
    "throttled": ("there were too many requests", "Wait a few minutes, then run it again: what is there stays."),
    "full": ("the registry has no space left", "Ask the registry's administrator for space, then run it again."),
    "helper": (
        "the credential helper gives no login",
        "Check the program that Docker's config.json names for {host}.",
    ),
    "nameless": (
        "the registry has no such repository",
        "Ask the registry's administrator to create {repository}; at Amazon: aws ecr create-repository --repository-name {repository}",
    ),
    "login": ("the registry wants a login", "{program} login {host}, or a credential helper in Docker's config.json; then run it again."),
    "denied": ("this login may not", "{program} login {host} as a user who may, or ask the registry's administrator for the right."),
    "plain": (
        "the registry uses no TLS",
        "Give it a certificate, or name {host} in insecure-registries of Docker's daemon.json.",
    ),
    "nowhere": ("the registry's name is not known", "Connect to the network that the registry is in, then run it again."),
    "silent": ("the registry does not answer", "Connect to the network that the registry is in, then run it again."),
    "untrusted": (
        "the registry's certificate is not trusted",
        "Give Docker the CA certificate: /etc/docker/certs.d/{host}/ca.crt, with Docker Desktop the system's; then run it again.",
    ),
    "proxy": ("the proxy refuses", "Correct the proxy in Docker's own settings."),
    "fault": ("the registry failed", "Ask the registry's administrator to check its log and disk, then run it again."),
}
"""Problem and remedy for each meaning. Unknown reasons fall back to the registry's own message."""


def meaning(text: str) -> str:
    """Return the meaning of a text; empty if it is unknown."""
    return next((name for name, sign in MEANINGS if re.search(sign, text.lower())), "")


def parts(image: str) -> tuple[str, str, str]:
    """Return the registry, the repository and the tag of an image's full name."""
    host, _, rest = image.partition("/")
    repository, _, tag = rest.rpartition(":")
    return host, repository, tag


def refusal(image: str, doing: str, text: str, program: str = "docker") -> SetupError:
    """Return the error for a registry's answer *text*; *doing* is what was tried."""
    host, repository, _ = parts(image)
    known = ANSWERS.get(meaning(text))
    if known is None:
        return SetupError(
            "E-IMAGE", f"{image} cannot be {doing}: {last_line(text)}", hint="Run it again; invoke status shows what is missing."
        )
    answer, hint = known
    problem = f"{image} cannot be {doing}, because {answer}: {last_line(text)}"
    return SetupError("E-IMAGE", problem, hint=hint.format(host=host, repository=repository, program=program))


class Registry:
    """One registry, by the name that it has in images."""

    def __init__(self, host: str, network: Network, environ: Mapping[str, str], *, plain: Callable[[], bool]) -> None:
        """Take network and environment; *plain* tells whether the runtime uses plain HTTP there."""
        self.host = host
        self.network = network
        self.environ = environ
        self.plain = plain
        self._authorized: dict[str, str] = {}
        """The header for each repository."""

    def look(self, image: str) -> dict[str, dict[str, str]] | None:
        """Return the labels of an image for each platform; None if the registry has no such image.

        :raises SetupError: E-IMAGE, the registry refuses; E-NETWORK, E-PROXY, E-CERTIFICATE, it
            cannot be reached; E-PROGRAM, a credential helper is not installed.
        """
        try:
            return self._look(image)
        except (AttributeError, KeyError, TypeError, ValueError):
            raise refusal(image, f"asked for at {self.host}", "it does not answer as a registry does") from None

    def _look(self, image: str) -> dict[str, dict[str, str]] | None:
        manifest = self._get(image, f"manifests/{parts(image)[2]}")
        if manifest is None:
            return None
        manifest["schemaVersion"]  # every manifest has it
        digests = [entry["digest"] for entry in manifest.get("manifests", []) if entry.get("platform", {}).get("os") != "unknown"]
        manifests = [self._get(image, f"manifests/{digest}") for digest in digests] if "manifests" in manifest else [manifest]
        blobs = [manifest["config"]["digest"] for manifest in manifests if manifest and "config" in manifest]
        configs = [blob for blob in (self._get(image, f"blobs/{digest}") for digest in blobs) if blob and "architecture" in blob]
        return {f"{item.get('os', 'linux')}/{item['architecture']}": (item.get("config") or {}).get("Labels") or {} for item in configs}

    # -- how

    @cached_property
    def _base(self) -> str:
        """Where it answers: with TLS, else without, where the runtimes would do so too.

        :raises SetupError: E-IMAGE, it speaks without TLS, and they would not.
        """
        name = HOSTS.get(self.host, self.host)
        try:
            self._pool.request("HEAD", f"https://{name}/v2/", retries=False, timeout=TIMEOUT)
        except (urllib3.exceptions.SSLError, urllib3.exceptions.ProtocolError) as error:
            if "certificate" not in str(error) and (loopback(f"//{name}") or self.plain()):
                return f"http://{name}"
            if re.search(NO_TLS, str(error).lower()):
                answer, hint = ANSWERS["plain"]
                problem = f"{self.host} cannot be asked for images, because {answer}."
                raise SetupError("E-IMAGE", problem, hint=hint.format(host=self.host)) from None
        except urllib3.exceptions.HTTPError:
            pass  # the next request reports why
        return f"https://{name}"

    @cached_property
    def _pool(self) -> Any:
        folders = (Path("/etc/docker"), Path(self.environ.get("HOME", "/")) / ".docker", Path("/etc/containers"))
        also = [file for folder in folders for file in sorted((folder / "certs.d" / self.host).glob("*.crt"))]
        return pool(f"https://{HOSTS.get(self.host, self.host)}", self.network, also)

    def _get(self, image: str, path: str) -> Any:
        """Return the content of a path below an image's repository; None if there is none."""
        _, repository, _ = parts(image)
        url = f"{self._base}/v2/{repository}/{path}"
        response = self._send("GET", url, repository)
        if response.status == HTTPStatus.UNAUTHORIZED:
            self._authorized[repository] = self._login(image, response.headers.get("WWW-Authenticate", ""))
            response = self._send("GET", url, repository)
        if response.status == HTTPStatus.NOT_FOUND:
            return None
        return self._read(image, response)

    def _send(self, method: str, url: str, repository: str = "", **how: Any) -> Any:
        headers = {"Accept": ", ".join((*INDEXES, *MANIFESTS, "*/*"))}
        if self._authorized.get(repository):
            headers["Authorization"] = self._authorized[repository]
        # Redirects alone, to another host without the login; who asks us to wait may mean an hour.
        retries = urllib3.Retry(total=5, connect=0, read=0, other=0, respect_retry_after_header=False)
        try:
            return self._pool.request(method, url, **{"headers": headers, **how}, retries=retries, timeout=TIMEOUT)
        except urllib3.exceptions.HTTPError as error:
            raise unreachable(url, self.network, error) from None

    def _read(self, image: str, response: Any) -> Any:
        """Return what an answer holds.

        :raises SetupError: E-IMAGE, it is another answer.
        """
        if response.status != HTTPStatus.OK:
            phrase = response.reason or (HTTPStatus(response.status).phrase if response.status in set(HTTPStatus) else "")
            raise refusal(image, f"asked for at {self.host}", f"{response.status} {phrase}")
        return dict(json.loads(response.data))

    def _login(self, image: str, challenge: str) -> str:
        """Return the header that a challenge asks for."""
        known = self._credentials
        basic = f"Basic {b64encode(':'.join(known).encode()).decode()}" if known else ""
        parameters = dict(re.findall(r'(\w+)="([^"]*)"', challenge))
        if not challenge.lower().startswith("bearer") or "realm" not in parameters:
            return basic
        query = {"service": parameters.get("service", ""), "scope": parameters.get("scope") or f"repository:{parts(image)[1]}:pull"}
        if known and known[0] == TOKEN:
            fields = {"grant_type": "refresh_token", "client_id": "singer", "refresh_token": known[1], **query}
            response = self._send("POST", parameters["realm"], fields=fields, encode_multipart=False, headers={})
        else:
            response = self._send("GET", f"{parameters['realm']}?{urlencode(query)}", headers={"Authorization": basic} if basic else {})
        answer = self._read(image, response)
        return f"Bearer {answer.get('token') or answer.get('access_token')}"

    # -- who we are there

    @cached_property
    def _credentials(self) -> tuple[str, str] | None:
        """The runtimes' user and password for this registry; None without a login."""
        name = LOGINS.get(self.host, self.host)
        for config in configs(self.environ):
            helpers, logins = _mapping(config.get("credHelpers")), _mapping(config.get("auths"))
            address = next((address for address in logins if host_of(address) == name), self.host)
            entry = _mapping(logins.get(address))
            helper = helpers.get(self.host) or helpers.get(name) or ("" if entry.get("auth") else config.get("credsStore"))
            login = self._helped(str(helper), address) if helper else _login(entry)
            if login:
                return login
        return None

    def _helped(self, helper: str, address: str) -> tuple[str, str] | None:
        """Ask a credential helper, None where it knows nobody."""
        program = f"docker-credential-{helper}"
        result = run([program, "get"], stdin=address)
        try:
            answer = json.loads(result.stdout)
            return str(answer["Username"]), str(answer["Secret"])
        except (ValueError, KeyError, TypeError):
            output = result.stderr if result.stderr.strip() else result.stdout if result.returncode else ""
        if NOBODY in output:
            return None
        raise SetupError(
            "E-IMAGE", f"{program} gives no login for {self.host}: {last_line(output)}", hint=f"Try it: echo {address} | {program} get"
        )


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _login(entry: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return user and password from a runtime's file; None if it has none, or is unreadable."""
    try:
        user, colon, password = b64decode(entry.get("auth", "")).decode().partition(":")
    except (TypeError, ValueError):
        return None
    if entry.get("identitytoken"):
        return TOKEN, str(entry["identitytoken"])
    return (user, password) if colon else None


def host_of(address: str) -> str:
    """Return the host of a login's address, which may have ``https://`` and a path."""
    return address.partition("://")[2].partition("/")[0] if "://" in address else address.partition("/")[0]


def configs(environ: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """Yield the files with the runtimes' logins: of Docker and nerdctl, then of podman."""
    home = Path(environ.get("HOME", "/"))
    files = [Path(environ.get("DOCKER_CONFIG") or home / ".docker") / "config.json"]
    files += [Path(environ[name]) for name in ("REGISTRY_AUTH_FILE",) if environ.get(name)]
    files += [Path(environ.get("XDG_RUNTIME_DIR") or "/run") / "containers" / "auth.json", home / ".config" / "containers" / "auth.json"]
    for file in files:
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # its own program reports what is wrong
        if isinstance(content, dict):
            yield content
