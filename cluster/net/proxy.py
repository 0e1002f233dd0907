"""Proxy and CA certificates of a company, from two settings and the environment.

Only this module knows proxies and CA certificates. A proxy's address may hold a password: it goes
to programs in their environment and into a cluster as a Secret, never into an argument, message or
log.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from functools import cached_property
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cluster.config.settings import Settings

NAME = "singer-network"
"""The name of the Secret with the variables and of the ConfigMap with the certificates."""
IN_PODS = "/singer/network"
"""The folder of the certificates in a pod."""
PROXY_VARIABLES = tuple(spelling for name in ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY") for spelling in (name, name.lower()))
BUNDLE = "ca.pem"
HERE = ("localhost", "127.0.0.1", "::1")
INSIDE = ("10.96.0.0/12", "10.244.0.0/16", ".svc", ".cluster.local", "argo-artifacts", "argo-server", "workflow-controller-metrics")
"""What is in a cluster: Services and pods by kind's and minikube's addresses, and ours by the names
that pods say."""
NAMES_OF_BUNDLE = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Variables that may name CA certificates. The first that is set counts."""
BUNDLE_VARIABLES = (*NAMES_OF_BUNDLE, "PIP_CERT", "GIT_SSL_CAINFO", "AWS_CA_BUNDLE")
"""The variables of OpenSSL and uv, requests, curl, pip, git and boto3."""
UV_SYSTEM = "UV_SYSTEM_CERTS"
"""The variable that makes uv trust the system's certificates. pip does so by itself."""
CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[\w+/=\s]+-----END CERTIFICATE-----")

REFUSALS = (
    (
        r"\b407\b|proxy auth\w+ required|proxy authorization required",
        "E-PROXY",
        "{proxy} asks for a user and a password",
        "Set them in the environment: INVOKE_SINGER_PROXY=http://user:password@host:port",
    ),
    (
        r"UnknownIssuer|certificate verify failed|unable to get local issuer|self.signed certificate|signed by unknown authority",
        "E-CERTIFICATE",
        "a certificate is signed by an authority that is not known here",
        "Let singer.ca_bundle name a file with your company's CA certificates.",
    ),
    (
        r"tunnel error|unsuccessful tunnel|cannot connect to proxy|unable to connect to proxy|proxyconnect|ProxyError",
        "E-PROXY",
        "{proxy} cannot be reached, or does not let this pass",
        "Correct singer.proxy or HTTPS_PROXY.",
    ),
)
"""Patterns in the output of uv, pip, git and Docker, with code, problem and hint."""


@dataclass(frozen=True)
class Network:
    """The network of this machine. Addresses are as the user wrote them; empty without a proxy."""

    http: str
    https: str
    bypass: tuple[str, ...]
    """What this machine reaches without the proxy, as in NO_PROXY."""
    bundle: Path | None
    bundle_name: str
    """The setting or variable that names the bundle."""
    folder: Path
    """The folder of our copy of the certificates."""
    namespace: str
    chosen: bool
    """Whether the setting names the bundle. Then it overrides the variables of each program."""

    # -- certificates

    @cached_property
    def certificates(self) -> str:
        """The CA certificates to trust; empty if each program uses its own.

        What the setting names is added to the public ones, so that a company's own certificate
        alone is enough. A variable names all that shall be trusted.

        :raises SetupError: E-SETTING, the file is not there or holds none.
        """
        if self.bundle is None:
            return ""
        try:
            own = CERTIFICATE.findall(self.bundle.read_text(encoding="utf-8", errors="replace"))
        except OSError as error:
            raise self._unusable(f"cannot be read: {error.strerror}") from None
        public: list[str] = []
        if self.chosen:
            import certifi  # noqa: PLC0415 - mostly there is nothing to trust

            public = CERTIFICATE.findall(Path(certifi.where()).read_text(encoding="utf-8"))
        text = "\n".join(dict.fromkeys(own + public)) + "\n"
        if not own or self._copied() != text:
            self._verify(own)
        return text

    def _verify(self, certificates: list[str]) -> None:
        """Check that a program can use certificates.

        :raises SetupError: E-SETTING, it cannot.
        """
        import ssl  # noqa: PLC0415 - takes 15 ms to import, and 15 ms to read them

        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata="\n".join(certificates))
        except (ssl.SSLError, ValueError):
            raise self._unusable("holds no CA certificates in PEM form") from None

    def _copied(self) -> str:
        """Return the content of our copy, which was verified; empty if there is none."""
        try:
            return (self.folder / BUNDLE).read_text(encoding="utf-8")
        except (OSError, ValueError):
            return ""

    def _unusable(self, why: str) -> SetupError:
        return SetupError(
            "E-SETTING",
            f"{self.bundle}, named by {self.bundle_name}, {why}.",
            hint=f"Let {self.bundle_name} name a file with your company's CA certificates: text with BEGIN CERTIFICATE lines.",
        )

    def trusted(self) -> Path | None:
        """Return our copy of the certificates, up to date; None without any.

        :raises SetupError: E-SETTING, E-DISK, E-STORE.
        """
        if not self.certificates:
            return None
        file = private_folder(self.folder) / BUNDLE
        with file_errors("The certificates", file):
            if self._copied() != self.certificates:
                with tempfile.NamedTemporaryFile("w", dir=self.folder, prefix=".", encoding="utf-8", delete=False) as part:
                    part.write(self.certificates)
                Path(part.name).chmod(0o644)  # builds and containers read it as other users
                Path(part.name).replace(file)
        return file

    # -- variables of programs

    def variables(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the variables for a program on this machine, beside its *environ*.

        :raises SetupError: E-SETTING, the certificates cannot be used.
        """
        file = self.trusted()
        bundles = [name for name in BUNDLE_VARIABLES if self.chosen or name not in environ] if file else []
        certificates = dict.fromkeys(bundles, str(file))
        if not file and system_store() and UV_SYSTEM not in environ:
            certificates[UV_SYSTEM] = "true"
        return {**_both_cases(self.http, self.https, self.bypass), **certificates}

    def in_containers(self, names: Iterable[str] = ()) -> dict[str, str]:
        """Return the proxy's variables for containers. *names* and the cluster bypass it.

        A proxy on this machine's loopback interface is left out: containers cannot reach it.
        """
        http, https = (("" if unreachable(url) else url) for url in (self.http, self.https))
        return _both_cases(http, https, (*self.bypass, *INSIDE, f".{self.namespace}", *names))

    def in_pods(self) -> dict[str, str]:
        """Return the variables for pods. The certificates are mounted at ``IN_PODS``."""
        bundles = dict.fromkeys(BUNDLE_VARIABLES, f"{IN_PODS}/{BUNDLE}") if self.certificates else {}
        return {**self.in_containers(), **bundles}

    @property
    def matters_inside(self) -> bool:
        """Whether containers need any variable."""
        return bool(self.in_pods())

    # -- what we ourselves do

    def proxy_for(self, url: str) -> str | None:
        """Return the proxy for an address; None to connect directly."""
        parts = urlsplit(url)
        proxy = self.https if parts.scheme in {"https", "wss"} else self.http
        direct = loopback(url) or any(_matches(rule, parts.hostname or "") for rule in self.bypass)
        return None if direct or not proxy else proxy

    def hide(self, text: str) -> str:
        """Return *text* without the proxy's user and password."""
        for url in (self.http, self.https):
            known, at, _ = urlsplit(url).netloc.rpartition("@")
            password = known.partition(":")[2]
            for secret in (known, password, unquote(password)):
                text = text.replace(secret, "***") if at and secret else text
        return text

    def describe(self) -> str:
        """Return the proxy for people, without its password."""
        return " and ".join(dict.fromkeys(shown(url) for url in (self.https, self.http) if url))

    def refusal(self, what: str, text: str, log: str = "") -> SetupError | None:
        """Return the error if a program's output blames the proxy or a certificate.

        *what* did not work is a clause; *log* is where all of its words are, if they are kept.
        """
        through = f"the proxy {self.describe()}" if self.http or self.https else "a proxy"
        for sign, code, problem, hint in REFUSALS:
            if re.search(sign, text, re.IGNORECASE):
                return SetupError(code, f"{what}: {problem.format(proxy=through)}.", hint=f"{hint} Log: {log}" if log else hint)
        return None

    @property
    def warning(self) -> str:
        """A warning about a proxy that containers cannot reach; empty if there is none."""
        lost = next((url for url in (self.https, self.http) if unreachable(url)), "")
        port = urlsplit(lost).port or 3128
        return lost and (
            f"The proxy {shown(lost)} listens on this machine's loopback interface, which containers do not reach: images and pods go "
            f"without it. Let it listen on Docker's bridge too, and name that: singer.proxy http://172.17.0.1:{port} on Linux, "
            f"http://host.docker.internal:{port} with Docker Desktop."
        )


def read(settings: Settings, environ: Mapping[str, str]) -> Network:
    """Return the network of the settings, or else of the environment.

    :raises SetupError: E-PROXY, what the environment names is no address.
    """
    http, https = (_address(settings.proxy or _either(environ, name), name) for name in ("HTTP_PROXY", "HTTPS_PROXY"))
    rules = [rule.strip() for rule in _either(environ, "NO_PROXY").split(",")]
    name = next((name for name in NAMES_OF_BUNDLE if environ.get(name)), "")
    bundle = settings.ca_bundle or environ.get(name, "")
    return Network(
        http=http,
        https=https,
        bypass=tuple(dict.fromkeys([*filter(None, rules), *HERE])),
        bundle=settings.root / Path(bundle).expanduser() if bundle else None,
        bundle_name="singer.ca_bundle" if settings.ca_bundle else name,
        folder=settings.local / "network",
        namespace=settings.namespace,
        chosen=bool(settings.ca_bundle),
    )


def system_store() -> bool:
    """Return whether OpenSSL does not read the system's certificates: on macOS and Windows."""
    return sys.platform in {"darwin", "win32"}


def login(url: str) -> str:
    """Return ``user:password`` of an address; empty without one. Libraries need it separately."""
    return unquote(urlsplit(url).netloc.rpartition("@")[0])


def shown(url: str) -> str:
    """Return an address without user and password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def loopback(url: str) -> bool:
    """Return whether an address is this machine's own."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def unreachable(url: str) -> bool:
    """Return whether containers cannot reach a proxy."""
    return bool(url) and loopback(url)


def _either(environ: Mapping[str, str], name: str) -> str:
    return environ.get(name) or environ.get(name.lower()) or ""


def _address(text: str, name: str) -> str:
    """Return a proxy as an address: people leave ``http://`` out, and some programs insist on it.

    :raises SetupError: E-PROXY, it is none; it may hold a password, and is not shown.
    """
    url = text if not text or "://" in text else f"http://{text}"
    try:
        if not url or (urlsplit(url).hostname and urlsplit(url).port != 0):
            return url
    except ValueError:
        pass
    raise SetupError("E-PROXY", f"{name} is not the address of a proxy.", hint=f"Correct {name}: http://proxy.example.com:3128")


def _both_cases(http: str, https: str, bypass: Iterable[str]) -> dict[str, str]:
    """Return the variables in both spellings, as programs know either; none without a proxy."""
    variables = {name: url for name, url in (("HTTP_PROXY", http), ("HTTPS_PROXY", https)) if url}
    if variables:
        variables["NO_PROXY"] = ",".join(dict.fromkeys(bypass))
    return {spelling: value for name, value in variables.items() for spelling in (name, name.lower())}


def _matches(rule: str, host: str) -> bool:
    """Return whether a rule of NO_PROXY covers *host*: a domain, an address or a range."""
    try:
        return ip_address(host) in ip_network(rule, strict=False)
    except ValueError:
        name = re.sub(r":\d+$", "", rule).removeprefix("*").removeprefix(".").lower()
        return rule == "*" or host == name or (bool(name) and host.endswith(f".{name}"))
