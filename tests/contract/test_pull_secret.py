"""The Secret with which a company's pods pull images: which pods get it, and the messages if it is not as it must be.

The API server is a stand-in that keeps what it is given.
"""

from __future__ import annotations

import json
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from loopback_server import ServingHTTP

from cluster.config.settings import ROOT, parse
from cluster.errors import SetupError
from cluster.platform.credentials import PULL_KEY, PULL_TYPE
from cluster.platform.handles import Handles
from cluster.platform.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NAME = "registry-login"
NAMESPACE = "/api/v1/namespaces/rates"
SECRET = f"{NAMESPACE}/secrets/{NAME}"
SETTINGS = {
    "provider": "existing",
    "context": "company",
    "namespace": "rates",
    "registry": "registry.example.com:5000/data",
    "pull_secret": NAME,
    "store": "use",
    "s3_endpoint": "https://s3.example.com",
    "s3_credentials": "identity",
    "initless_pods": "false",
}


class Api(ServingHTTP):
    """An API server in which everything may be done, with the objects that it was given."""

    def __init__(self) -> None:
        """Know Argo, and the namespace as an administrator has made it from our file."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.address = f"http://127.0.0.1:{self.server_address[1]}"
        ours = {"metadata": {"name": "rates", "labels": {"app.kubernetes.io/part-of": "singer"}}}
        self.objects: dict[str, dict[str, Any]] = {NAMESPACE: ours}

    def secret(self, logins: object, kind: str = PULL_TYPE, key: str = PULL_KEY) -> None:
        """Let the Secret be there."""
        data = {key: b64encode(json.dumps(logins).encode()).decode()}
        self.objects[SECRET] = {"metadata": {"name": NAME}, "type": kind, "data": data}


class _Handler(BaseHTTPRequestHandler):
    server: Api

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        wanted = dict(pair.split("=") for text in parse_qs(url.query).get("labelSelector", []) for pair in text.split(",") if "=" in pair)
        below = [item for key, item in self.server.objects.items() if key.rpartition("/")[0] == url.path]
        items = [item for item in below if wanted.items() <= (item["metadata"].get("labels") or {}).items()]
        if url.path.rpartition("/")[0].endswith("/customresourcedefinitions"):
            self._say(200, self.server.objects[NAMESPACE])
        elif url.path in self.server.objects:
            self._say(200, self.server.objects[url.path])
        else:
            self._say(404 if url.path == SECRET else 200, {"items": items})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self._say(200, {"status": {"allowed": True}})

    def do_PATCH(self) -> None:
        content = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.objects[self.path.partition("?")[0]] = content
        self._say(200, content)

    def _say(self, status: int, content: object) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield an API server."""
    with Api() as serving:
        yield serving


@pytest.fixture
def handles(api: Api, tmp_path: Path) -> Handles:
    """Return the handles that ``up`` has."""
    (tmp_path / "manifests").symlink_to(ROOT / "manifests")
    content = {
        "contexts": [{"name": "company", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": api.address}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (tmp_path / "kubeconfig").write_text(yaml.safe_dump(content))
    return Handles(parse(SETTINGS, {}, root=tmp_path), {"KUBECONFIG": str(tmp_path / "kubeconfig")})


def test_who_pulls_with_it(handles: Handles) -> None:
    """Pods of runs, by their ServiceAccount, and Argo's own are given the Secret; without the setting nobody is."""
    wanted = [{"name": NAME}]
    objects = {(item["kind"], item["metadata"]["name"]): item for item in handles.rendering.documents}
    assert objects["ServiceAccount", "pipeline"]["imagePullSecrets"] == wanted
    for name in ("workflow-controller", "argo-server"):
        assert objects["Deployment", name]["spec"]["template"]["spec"]["imagePullSecrets"] == wanted
    plain = Handles(parse({**SETTINGS, "pull_secret": ""}, {}, root=handles.settings.root), handles.environ)
    assert "imagePullSecrets" not in json.dumps(plain.rendering.documents)


def test_it_is_there(handles: Handles, api: Api) -> None:
    """With a login for the registry in it there is nothing to say; how its address is written does not matter."""
    api.secret({"auths": {"https://registry.example.com:5000/v2/": {"auth": "x"}}})
    Objects().apply(handles, lambda _: None)
    assert Objects().pending(handles) is None


@pytest.mark.parametrize(
    ("logins", "kind", "problem"),
    [
        (None, "", f"the Secret {NAME} is not in the namespace rates"),
        ({"auths": {}}, "Opaque", f"the Secret {NAME} has the type Opaque, not {PULL_TYPE}"),
        ({"auths": {"other.example.com": {}}}, PULL_TYPE, f"the Secret {NAME} has no login for registry.example.com:5000"),
        ({"auths": None}, PULL_TYPE, f"the Secret {NAME} holds no logins"),
        ([], PULL_TYPE, f"the Secret {NAME} holds no logins"),
    ],
)
def test_it_is_not_as_it_must_be(handles: Handles, api: Api, logins: object, kind: str, problem: str) -> None:
    """A Secret that is missing, of another type, or without a login for the registry is reported before any pod waits for an image."""
    if kind:
        api.secret(logins, kind)
    with pytest.raises(SetupError, match=problem) as caught:
        Objects().apply(handles, lambda _: None)
    assert caught.value.code == "E-SECRET"
    assert f"kubectl -n rates create secret docker-registry {NAME} --docker-server=registry.example.com:5000" in caught.value.hint
    assert Objects().pending(handles) == problem
