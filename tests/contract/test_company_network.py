"""Behind a company's proxy, with only our two settings set: what passes through it, and what a user reads when it does not."""

from __future__ import annotations

import os
import re
import socket
import ssl
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import TYPE_CHECKING

import pytest
import trustme
import yaml
from company_proxy import Proxy

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.kube.client import Kube
from cluster.net import proxy as network
from cluster.platform.steps.storage import silent
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from checkout import Checkout, Result
    from real_stores import Minio

pytestmark = pytest.mark.full  # installs packages through proxies

PACKAGE = "colorama"
"""What has to be fetched: small, and without further requirements."""
PASSWORD = "p%40ss"
PUBLIC = {"SSL_CERT_FILE": "", "PIP_CERT": "", "REQUESTS_CA_BUNDLE": "", "HTTPS_PROXY": "", "HTTP_PROXY": ""}
"""Only our settings configure the network."""


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    """Return a proxy that everybody may use."""
    with Proxy(tmp_path) as running:
        yield running


@pytest.fixture
def strict(tmp_path: Path) -> Iterator[Proxy]:
    """Return a proxy that asks for a password."""
    with Proxy(tmp_path, login="jane:p@ss") as running:
        yield running


@pytest.fixture
def fresh(checkout: Checkout) -> Checkout:
    """Return a checkout with a pipeline whose environments are not there, nor in any cache."""
    checkout.scripted({"steps": []})
    wanted = {"kind": "tap", "pip_url": f"tests/connectors/tap-scripted {PACKAGE}", "capabilities": ["catalog", "state"]}
    checkout.write("tap-scripted/connector.yaml", wanted)
    (checkout.local / "environments").unlink()
    checkout.environ["UV_CACHE_DIR"] = str(checkout.root.parent / "uv")
    return checkout


def run(checkout: Checkout, proxy: str, ca: Path | None = None) -> Result:
    """Run the pipeline with our settings alone."""
    settings = {"INVOKE_SINGER_PROXY": proxy, **({"INVOKE_SINGER_CA_BUNDLE": str(ca)} if ca else {})}
    return checkout.run(**PUBLIC, **settings)


def with_password(proxy: Proxy) -> str:
    """Return the proxy's address as its user writes it."""
    return proxy.address.replace("//", f"//jane:{PASSWORD}@")


def is_one_sentence(result: Result, code: str, *says: str) -> None:
    """Assert that the user reads the code, one sentence and one hint, and no password."""
    sentence, hint = result.err.strip().splitlines()
    assert sentence.startswith(f"{code}  ")
    assert hint.startswith("→ ")
    for pattern in says:
        assert re.search(pattern, sentence + hint), result.err
    assert (result.code, PASSWORD in result.out + result.err) == (1, False)


def test_environments_are_installed_through_the_proxy(fresh: Checkout, strict: Proxy) -> None:
    """With a proxy that asks for a password and looks into what passes, the two settings are enough to run a pipeline."""
    result = run(fresh, with_password(strict), strict.ca)

    assert result.code == 0, result.err
    assert any(f"/{PACKAGE}/" in line for line in strict.seen), strict.seen
    assert any(re.search(rf"GET \S+/{PACKAGE}-\S+\.whl", line) for line in strict.seen), strict.seen
    assert strict.refused == []
    logs = [file.read_bytes() for file in fresh.local.rglob("*.log")]
    assert not any(b"p%40ss" in log or b"p@ss" in log for log in logs)


def test_without_the_company_s_certificate(fresh: Checkout, proxy: Proxy) -> None:
    """If the proxy's authority is not known, the hint is to name its certificate."""
    is_one_sentence(run(fresh, proxy.address), "E-CERTIFICATE", "authority that is not known", "→ .*singer.ca_bundle")
    assert proxy.seen == []


def test_without_the_password(fresh: Checkout, strict: Proxy) -> None:
    """If the proxy asks for a user and a password, the hint names where to put them."""
    is_one_sentence(run(fresh, strict.address, strict.ca), "E-PROXY", f"the proxy {strict.address} asks", "→ .*user:password@")
    assert strict.refused


def test_with_a_wrong_password(fresh: Checkout, strict: Proxy) -> None:
    """A wrong password is answered as a missing one, and repeated nowhere."""
    address = strict.address.replace("//", "//jane:wr0ng@")
    result = run(fresh, address, strict.ca)

    is_one_sentence(result, "E-PROXY", "asks for a user and a password")
    assert "wr0ng" not in result.out + result.err + "".join(file.read_text() for file in fresh.local.rglob("*.log"))


def test_a_proxy_that_is_not_there(fresh: Checkout) -> None:
    """Where nobody listens at the proxy's address, the user reads which address that is."""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        address = f"http://127.0.0.1:{nobody.getsockname()[1]}"
    is_one_sentence(run(fresh, address), "E-PROXY", f"the proxy {address} cannot be reached", "→ Correct singer.proxy")


def test_settings_that_cannot_be(fresh: Checkout) -> None:
    """A proxy that is no address and a bundle that is no file are refused before anything is fetched."""
    is_one_sentence(run(fresh, f"ftp://jane:{PASSWORD}@proxy"), "E-SETTING", "singer.proxy is not the address of a proxy")
    is_one_sentence(run(fresh, "", fresh.root / "no.pem"), "E-SETTING", "no.pem, named by singer.ca_bundle, cannot be read")
    is_one_sentence(run(fresh, "", fresh.root / "tasks.py"), "E-SETTING", "tasks.py, named by singer.ca_bundle, holds no CA certificates")


# -- our own clients


class Api(BaseHTTPRequestHandler):
    """What answers as an API server does, as far as it is asked here."""

    def do_GET(self) -> None:
        """Say yes."""
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def api(tmp_path: Path) -> Iterator[Path]:
    """Return the kubeconfig of an API server on loopback."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.cert_pem.write_to_path(str(tmp_path / "api.pem"))
    with HTTPServer(("127.0.0.1", 0), Api) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield kubeconfig(tmp_path, f"https://127.0.0.1:{server.server_port}")
        server.shutdown()


def kubeconfig(folder: Path, server: str) -> Path:
    """Write a kubeconfig with one context."""
    file = folder / "kubeconfig"
    file.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority": str(folder / "api.pem")}}],
                "users": [{"name": "u", "user": {"token": "t"}}],
                "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            }
        )
    )
    return file


def test_the_cluster_s_api_on_this_machine(api: Path, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster on loopback is asked directly, with any proxy in environment and settings."""
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.address)
    kube = Kube(api, "c", network.read(Settings(root=tmp_path, proxy=proxy.address), os.environ))

    assert kube.silent() is None
    assert kube.dial("/", []).proxy is None
    assert (proxy.seen, proxy.refused) == ([], [])


def test_the_api_of_a_cluster_elsewhere(strict: Proxy, tmp_path: Path) -> None:
    """A cluster that is not on this machine is asked through the proxy, with its password; NO_PROXY excludes it."""
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "api.pem"))
    file = kubeconfig(tmp_path, "https://cluster.invalid:6443")
    settings = Settings(root=tmp_path, proxy=with_password(strict))
    through = Kube(file, "c", network.read(settings, {}))

    assert "cannot be reached" in str(through.silent())
    assert strict.refused == []  # it was let in: the name leads nowhere
    assert through.dial("/", []).proxy == with_password(strict)
    assert Kube(file, "c", network.read(settings, {"NO_PROXY": ".invalid"})).dial("/", []).proxy is None

    without = Kube(file, "c", network.read(Settings(root=tmp_path, proxy=strict.address), {}))
    assert without.silent()
    assert strict.refused == ["CONNECT cluster.invalid:6443"]


def test_the_store_on_this_machine(minio: Minio, proxy: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """S3 on loopback and the health checks of the platform's doors go past the proxy."""
    for name in ("HTTPS_PROXY", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, proxy.address)
    settings = Settings(root=tmp_path, local_store="s3", s3_endpoint=minio.endpoint, proxy=proxy.address)
    store = open_store(settings, {**os.environ, **minio.environ()})

    assert store.objects(settings.bucket_configs, "") == []
    assert silent(f"{minio.endpoint}/minio/health/cluster") is None
    assert (proxy.seen, proxy.refused) == ([], [])


def test_a_store_elsewhere(strict: Proxy, tmp_path: Path) -> None:
    """S3 that is not on this machine is reached through the proxy, with its password, and what the proxy refuses is a sentence."""
    environ = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}
    with pytest.raises(SetupError, match="asks for a user and a password"):
        open_store(Settings(root=tmp_path, local_store="s3", s3_endpoint="https://s3.invalid", proxy=strict.address), environ)
    assert strict.refused
    with pytest.raises(SetupError):
        open_store(Settings(root=tmp_path, local_store="s3", s3_endpoint="http://s3.invalid", proxy=with_password(strict)), environ)
    assert strict.hosts() == {"s3.invalid"}
