"""The variables for a proxy and for certificates that programs get, from settings and environment alone."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme
import yaml

from cluster.config.settings import Settings, parse
from cluster.errors import SetupError
from cluster.net import proxy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ROOT = Path(__file__).resolve().parents[3]
PROXY = "http://proxy.example.com:3128"
SECRET = "http://jane:p%40ss%25word@proxy.example.com:3128"


def read(root: Path, environ: Mapping[str, str] | None = None, **settings: Any) -> proxy.Network:
    """Return what these settings and this environment say."""
    return proxy.read(Settings(root=root, **settings), environ or {})


@pytest.fixture
def ca(tmp_path: Path) -> Path:
    """Return a company's CA certificate."""
    file = tmp_path / "company-ca.pem"
    trustme.CA().cert_pem.write_to_path(str(file))
    return file


def test_without_settings_there_are_no_variables(tmp_path: Path) -> None:
    """Without a proxy and certificates no program gets a variable, not even for what to reach directly."""
    network = read(tmp_path, {"NO_PROXY": "example.com"})

    assert (network.variables({}), network.in_containers(), network.in_pods()) == ({}, {}, {})
    assert (network.trusted(), network.warning, network.describe(), network.matters_inside) == (None, "", "", False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "http_proxy"])
@pytest.mark.parametrize("address", ["http://jane:word@[::1", "http://jane:word@:3128", "jane:word@proxy:port", ":::"])
def test_an_environment_that_names_no_proxy(tmp_path: Path, name: str, address: str) -> None:
    """A value from the environment that is no address is refused, and not shown, because it may hold a password."""
    with pytest.raises(SetupError, match=f"{name.upper()} is not the address of a proxy") as caught:
        read(tmp_path, {name: address})
    assert "word" not in caught.value.problem + caught.value.hint


@pytest.mark.parametrize(
    ("environ", "http", "https"),
    [
        ({"HTTPS_PROXY": PROXY}, "", PROXY),
        ({"https_proxy": PROXY, "HTTP_PROXY": "http://other:1"}, "http://other:1", PROXY),
        ({"HTTPS_PROXY": "proxy.example.com:3128"}, "", PROXY),
        ({"HTTPS_PROXY": "", "https_proxy": PROXY}, "", PROXY),
        ({"HTTPS_PROXY": "socks5h://proxy:1080"}, "", "socks5h://proxy:1080"),
    ],
)
def test_the_environment_is_the_default(tmp_path: Path, environ: dict[str, str], http: str, https: str) -> None:
    """A variable of the environment, in either spelling, counts for its own scheme."""
    variables = read(tmp_path, environ).variables(environ)

    assert (variables.get("HTTP_PROXY", ""), variables["HTTPS_PROXY"], variables["https_proxy"]) == (http, https, https)


def test_the_setting_counts_for_both_schemes(tmp_path: Path) -> None:
    """The setting replaces the environment's proxies; what the user reaches directly stays that way."""
    environ = {"HTTPS_PROXY": "http://old:1", "no_proxy": "intern.example.com, 10.1.0.0/16 ,localhost"}
    variables = read(tmp_path, environ, proxy="proxy.example.com:3128").variables(environ)

    assert {variables[name] for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy")} == {PROXY}
    assert variables["NO_PROXY"] == variables["no_proxy"] == "intern.example.com,10.1.0.0/16,localhost,127.0.0.1,::1"


def test_containers_reach_the_cluster_directly(tmp_path: Path) -> None:
    """In a container all that is in the cluster is reached without the proxy: by Service name, by suffix and by address."""
    variables = read(tmp_path, {"NO_PROXY": "intern"}, proxy=PROXY, namespace="data").in_containers(
        ["singer-control-plane", "172.18.0.0/16"]
    )
    rules = variables["NO_PROXY"].split(",")

    assert rules[0] == "intern"
    assert {"localhost", "127.0.0.1", "::1", ".svc", ".cluster.local", ".data", "singer-control-plane", "172.18.0.0/16"} <= set(rules)
    assert {"10.96.0.0/12", "10.244.0.0/16"} <= set(rules)
    assert len(rules) == len(set(rules))


def services() -> Iterator[str]:
    """Yield the names of our Services."""
    for file in (ROOT / "manifests").rglob("*.yaml"):
        for document in yaml.safe_load_all(file.read_text(encoding="utf-8")):
            if document and document["kind"] == "Service":
                yield document["metadata"]["name"]


def test_every_service_is_reached_directly(tmp_path: Path) -> None:
    """Each Service of the manifests is reached without the proxy by the name that pods of our namespace say."""
    assert set(services()) <= set(read(tmp_path, proxy=PROXY).in_pods()["NO_PROXY"].split(","))


@pytest.mark.parametrize("address", ["127.0.0.1:3128", "http://localhost:3128", "http://jane:secret@[::1]:3128"])
def test_a_proxy_on_this_machine_is_none_for_containers(tmp_path: Path, address: str) -> None:
    """A proxy on the loopback interface serves programs here; containers get none, and the user reads what to do."""
    network = read(tmp_path, proxy=address)

    assert network.variables({})["HTTPS_PROXY"]
    assert network.in_containers() == {}
    assert "host.docker.internal:3128" in network.warning
    assert "172.17.0.1:3128" in network.warning
    assert "secret" not in network.warning


@pytest.mark.parametrize(
    ("rules", "url", "direct"),
    [
        ("", "https://example.com", False),
        ("example.com", "https://example.com:8443/x", True),
        ("example.com", "https://www.example.com", True),
        (".example.com", "https://www.example.com", True),
        ("*.example.com", "https://www.example.com", True),
        ("example.com", "https://notexample.com", False),
        ("example.com:443", "https://example.com", True),
        ("10.0.0.0/8", "https://10.9.8.7:6443", True),
        ("10.0.0.0/8", "https://11.9.8.7:6443", False),
        ("10.9.8.7", "https://10.9.8.7", True),
        ("fd00::/8", "https://[fd00::1]:6443", True),
        ("*", "https://example.com", True),
        ("", "https://127.0.0.1:6443", True),
        ("", "http://127.8.9.1", True),
        ("", "http://localhost:9000", True),
        ("", "https://[::1]:6443", True),
        (" ,,", "https://example.com", False),
    ],
)
def test_what_is_reached_directly(tmp_path: Path, rules: str, url: str, *, direct: bool) -> None:
    """Our own clients go by NO_PROXY as other programs do, and never through the proxy to this machine."""
    assert (read(tmp_path, {"NO_PROXY": rules}, proxy=PROXY).proxy_for(url) is None) is direct


def test_the_proxy_of_a_scheme(tmp_path: Path) -> None:
    """An address of http is not reached through the proxy that is for https alone."""
    network = read(tmp_path, {"HTTPS_PROXY": PROXY})

    assert (network.proxy_for("http://example.com"), network.proxy_for("wss://example.com")) == (None, PROXY)


def test_the_password_is_nowhere(tmp_path: Path) -> None:
    """User and password reach programs, and are in nothing that people read."""
    network = read(tmp_path, proxy=SECRET)
    output = f"curl: {SECRET} refuses jane:p%40ss%25word, and p@ss%word"

    assert network.in_pods()["HTTPS_PROXY"] == SECRET
    assert proxy.login(SECRET) == "jane:p@ss%word"
    assert network.describe() == PROXY
    assert "ss" not in network.hide(output).replace("***", "")
    refusal = network.refusal("x cannot be installed", "407", "log")
    assert refusal is not None
    assert "p%40" not in refusal.problem + refusal.hint


@pytest.mark.parametrize(
    "address", ["ftp://u:hidden@proxy", "http://", "http://u:hidden@proxy/path", "hidden proxy", "http://proxy:hidden"]
)
def test_a_proxy_that_is_no_address(address: str) -> None:
    """A proxy that is no address is refused without repeating it: what was typed may be a password."""
    with pytest.raises(SetupError) as caught:
        parse({"proxy": address}, {})

    assert caught.value.code == "E-SETTING"
    assert "singer.proxy" in caught.value.problem
    assert "hidden" not in caught.value.problem + caught.value.hint


def test_a_company_s_certificate_is_added_to_the_public_ones(tmp_path: Path, ca: Path) -> None:
    """What the setting names is trusted beside the public authorities, by every program, here and in pods."""
    environ = {"SSL_CERT_FILE": "/etc/other.pem", "PIP_CERT": "/etc/other.pem"}
    network = read(tmp_path, environ, ca_bundle=ca.name)
    variables = network.variables(environ)

    file = Path(variables["SSL_CERT_FILE"])
    assert file == tmp_path / ".local" / "network" / "ca.pem"
    assert set(variables.values()) == {str(file)}
    assert ca.read_text().strip() in file.read_text()
    assert file.read_text().count("BEGIN CERTIFICATE") > 50
    assert network.in_pods()["REQUESTS_CA_BUNDLE"] == "/singer/network/ca.pem"
    assert "HTTPS_PROXY" not in variables


@pytest.mark.parametrize("name", ["SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_variable_names_all_that_is_trusted(tmp_path: Path, ca: Path, name: str) -> None:
    """The certificates that the environment names are trusted and no others; a variable that a program already has is kept."""
    environ = {name: str(ca), "PIP_CERT": "/etc/pip.pem"}
    network = read(tmp_path, environ)
    variables = network.variables(environ)

    assert network.certificates.count("BEGIN CERTIFICATE") == 1
    assert {"PIP_CERT", name}.isdisjoint(variables)
    assert Path(variables["AWS_CA_BUNDLE"]).read_text() == network.certificates


def no_file(folder: Path) -> Path:
    """Return a file that is not there."""
    return folder / "no.pem"


def some_text(folder: Path) -> Path:
    """Return a file without certificates."""
    (folder / "no.pem").write_text("Dear colleague,\n")
    return folder / "no.pem"


def broken(folder: Path) -> Path:
    """Return a file with half a certificate."""
    (folder / "no.pem").write_text("-----BEGIN CERTIFICATE-----\nTm90aGluZw==\n-----END CERTIFICATE-----\n")
    return folder / "no.pem"


@pytest.mark.parametrize("make", [no_file, some_text, broken, lambda folder: folder])
@pytest.mark.parametrize("named_by", ["singer.ca_bundle", "SSL_CERT_FILE"])
def test_a_bundle_that_is_none(tmp_path: Path, make: Any, named_by: str) -> None:
    """A bundle that is not there or holds no certificates is answered with the file and with who names it."""
    file = str(make(tmp_path))
    network = read(tmp_path, {"SSL_CERT_FILE": file}, **({"ca_bundle": file} if named_by == "singer.ca_bundle" else {}))
    with pytest.raises(SetupError) as caught:
        network.variables({})

    assert caught.value.code == "E-SETTING"
    assert file in caught.value.problem
    assert named_by in caught.value.problem


WORDS = {
    "uv, 407": ("cause: tunnel error: proxy authorization required", "E-PROXY"),
    "pip, 407": ("OSError('Tunnel connection failed: 407 Proxy Authentication Required')", "E-PROXY"),
    "uv, refused": ("cause: tunnel error: failed to create underlying connection\n  cause: Connection refused (os error 111)", "E-PROXY"),
    "pip, refused": ("ProxyError('Cannot connect to proxy.', NewConnectionError('Connection refused'))", "E-PROXY"),
    "docker, refused": ("proxyconnect tcp: dial tcp 10.0.0.1:3128: connect: connection refused", "E-PROXY"),
    "uv, certificate": ("cause: invalid peer certificate: UnknownIssuer", "E-CERTIFICATE"),
    "pip, certificate": ("SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed')", "E-CERTIFICATE"),
    "docker, certificate": ("x509: certificate signed by unknown authority", "E-CERTIFICATE"),
    "something else": ("error: No solution found; tap-x 4.0.7 is not there", ""),
}


@pytest.mark.parametrize("case", WORDS)
def test_what_programs_say_of_a_proxy(tmp_path: Path, case: str) -> None:
    """The words of uv, pip and Docker become a code, a sentence and one thing to do; others are nobody's proxy."""
    text, code = WORDS[case]
    refusal = read(tmp_path, proxy=PROXY).refusal("tap-x cannot be installed", text, "x.log")

    assert (refusal.code if refusal else "") == code
    if refusal:
        assert refusal.problem.startswith("tap-x cannot be installed: ")
        assert "x.log" in refusal.hint


def test_uv_trusts_the_system_where_openssl_does_not_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ca: Path) -> None:
    """On macOS a company's certificate in the keychain is enough; a bundle that was chosen still wins."""
    monkeypatch.setattr("sys.platform", "darwin")
    assert read(tmp_path).variables({}) == {"UV_SYSTEM_CERTS": "true"}
    assert read(tmp_path).variables({"UV_SYSTEM_CERTS": "false"}) == {}
    assert "UV_SYSTEM_CERTS" not in read(tmp_path, ca_bundle=str(ca)).variables({})
