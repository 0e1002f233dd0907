"""A platform behind a company's proxy: what is built, the node, and pods reach the world through it, with our two settings alone."""

from __future__ import annotations

import json
import shlex
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import pytest
from company_proxy import Proxy
from pip._internal.models.index import PyPI
from platform_checkout import Platform, gateway, run, why_not

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from checkout import Result

pytestmark = [pytest.mark.cluster, pytest.mark.slow]

NAME = "singer-net"
INDEX = f"{PyPI.simple_url}/colorama/"
"""A page of the world outside: of the index that pip goes to by itself."""
PASSWORDS = ("secret-word", "p%40ss")
NOTHING = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "SSL_CERT_FILE", "PIP_CERT", "REQUESTS_CA_BUNDLE"), "")
"""No variable configures the network."""
FETCH = "import sys, urllib.request; print(*(urllib.request.urlopen(url, timeout=30).status for url in sys.argv[1:]))"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Yield a proxy that containers reach, and that asks for a password."""
    address = "" if why_not() else gateway()
    if not address:
        pytest.skip(why_not() or "containers have no way to a server of this machine")
    with Proxy(tmp_path_factory.mktemp("company"), address=address, login=f"jane:{PASSWORDS[0]}") as running:
        yield running


@pytest.fixture(scope="module")
def other(proxy: Proxy, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    """Yield another proxy, with another authority, and a password that has to be encoded."""
    with Proxy(tmp_path_factory.mktemp("other"), address=str(proxy.server_address[0]), login=f"jane:{unquote(PASSWORDS[1])}") as running:
        yield running


@pytest.fixture(scope="module")
def platform(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Platform]:
    """Yield a checkout without a cluster; what a test leaves is removed."""
    made = Platform(tmp_path_factory.mktemp("platform") / "checkout", shared, cluster=NAME)
    for image in ("Dockerfile", "Dockerfile.commit"):  # so that nothing is built already
        file = made.root / "singer-containers" / image
        file.write_text(f"{file.read_text()}# {made.root}\n")
    yield made
    made.type("teardown", "--yes")


def behind(proxy: Proxy, password: str = PASSWORDS[0]) -> dict[str, str]:
    """Return our two settings."""
    address = proxy.address.replace("//", f"//jane:{password}@")
    return {"INVOKE_SINGER_PROXY": address, "INVOKE_SINGER_CA_BUNDLE": str(proxy.ca)}


def up(platform: Platform, **settings: str) -> Result:
    """Bring the platform up, and check that no password is printed."""
    result = platform.type("up", "--json", **{**NOTHING, **settings})
    assert result.code == 0, result.err
    assert not any(password in result.out + result.err for password in PASSWORDS)
    return result


def pod(platform: Platform, *urls: str) -> str:
    """Return what a pod that takes ``singer-network`` gets from these addresses."""
    image = next(tag for tag in run("docker", "images", "--format", "{{.Repository}}:{{.Tag}}").split() if "singer/target-csv" in tag)
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": ["python", "-c", FETCH, *urls],
        "envFrom": [{"secretRef": {"name": "singer-network", "optional": True}}],
        "volumeMounts": [{"name": "network", "mountPath": "/singer/network", "readOnly": True}],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [container],
        "volumes": [{"name": "network", "configMap": {"name": "singer-network", "optional": True}}],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    platform.kubectl("-n", "argo", "delete", "pod", "asking", "--ignore-not-found")
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "asking", "namespace": "argo"}, "spec": spec}
    platform.kubectl("apply", "-f", "-", stdin=json.dumps(document))
    platform.kubectl("-n", "argo", "wait", "pod/asking", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=90s")
    return platform.kubectl("-n", "argo", "logs", "asking").strip()


def pulls(platform: Platform, proxy: Proxy, image: str) -> bool:
    """Let the node pull an image that is nowhere, and say whether it asked the registry through the proxy."""
    node = ["docker", "exec", f"{platform.cluster}-control-plane"]
    run(*node, "sh", "-c", f"crictl pull {shlex.quote(image)} 2>&1 || true")
    return any(f"https://{image.partition('/')[0]}/v2/" in line for line in proxy.seen)


def test_a_platform_behind_a_proxy(platform: Platform, proxy: Proxy) -> None:
    """Images are built, the node pulls and pods fetch through the proxy; its password is in no image and in no object but a Secret."""
    up(platform, **behind(proxy))
    assert {PyPI.netloc, PyPI.file_storage_domain} <= proxy.hosts()
    for name in ("target-csv", "commit"):
        tag = f"{name}:dev"
        layers = run("docker", "history", "--no-trunc", tag) + run("docker", "image", "inspect", tag)
        assert PASSWORDS[0] not in layers
        inside = run("docker", "run", "--rm", "--entrypoint", "sh", tag, "-c", "ls -d /build 2>&1; env")
        assert "No such file" in inside
        assert "proxy" not in inside.lower()

    assert pod(platform, INDEX, "http://argo-artifacts:9000/minio/health/live") == "200 200"
    assert f"GET {INDEX}" in proxy.seen
    assert not any("argo-artifacts" in line for line in proxy.seen + proxy.refused)
    assert pulls(platform, proxy, "one.invalid/x:1")
    assert PASSWORDS[0] not in platform.kubectl("get", "configmaps,pods,deployments,workflowtemplates", "-A", "-o", "yaml")

    assert up(platform, **behind(proxy)).last["changed"] == []
    run_ = platform.type("run", "exchange-rates-to-csv", "--engine", "argo", "--json", **{**NOTHING, **behind(proxy)})
    assert run_.code == 0, run_.err
    assert "www.ecb.europa.eu" in proxy.hosts()


def test_when_the_proxy_changes(platform: Platform, proxy: Proxy, other: Proxy) -> None:
    """Without the settings node and pods forget the proxy, and they learn of another one: without a new cluster, and for good."""
    assert {"Cluster", "Objects"} <= set(up(platform).last["changed"])
    for kind in ("configmap", "secret"):
        assert platform.there(kind, "-n", "argo", "--field-selector=metadata.name=singer-network") == []
    assert not pulls(platform, proxy, "two.invalid/x:1")
    assert up(platform).last["changed"] == []

    settings = behind(other, PASSWORDS[1])
    assert {"Cluster", "Objects"} <= set(up(platform, **settings).last["changed"])
    assert pulls(platform, other, "three.invalid/x:1")
    assert platform.type("stop").code == 0
    up(platform, **settings)
    assert pulls(platform, other, "four.invalid/x:1")
