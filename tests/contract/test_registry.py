"""Images for a cluster that pulls them from a registry: a real one, asked as the steps of ``up`` and ``sync`` ask it.

``docker`` is a stand-in that really pushes; where a container runtime answers, the last tests push with that one.
"""

# ruff: noqa: E501 - a table: a case is a line

from __future__ import annotations

import json
import shutil
import subprocess
from base64 import b64encode
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fake_docker as pushing
import pytest
import trustme
import yaml
from loopback_server import ServingHTTP
from real_registry import outward
from real_stores import free_ports

from cluster.config.settings import Settings, parse
from cluster.containers import images
from cluster.containers.registry import Registry, refusal
from cluster.errors import SetupError
from cluster.net import proxy
from cluster.platform.converge import converge
from cluster.platform.handles import Handles
from cluster.platform.steps.images import Built, Loaded
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.jsonl import Json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checkout import Checkout
    from real_registry import Distribution

AMD, ARM = "linux/amd64", "linux/arm64"
STEPS = (Built(), Loaded())


# ------------------------------------------------------------------------------------------------------- what is asked


def asking(host: str, folder: Path, *, plain: bool = False, **environ: str) -> Registry:
    """Return a registry as it is asked from a machine whose home is *folder*."""
    settings = Settings(root=folder, ca_bundle=environ.pop("ca_bundle", ""))
    return Registry(host, proxy.read(settings, environ), {"HOME": str(folder), **environ}, plain=lambda: plain)


def docker_knows(folder: Path, **config: object) -> None:
    """Write what ``docker login`` writes."""
    (folder / ".docker").mkdir(exist_ok=True)
    (folder / ".docker" / "config.json").write_text(json.dumps(config))


def helper(folder: Path, name: str, body: str) -> None:
    """Put a credential helper into *folder*. It writes down what it is asked for."""
    file = folder / f"docker-credential-{name}"
    file.write_text(f'#!/bin/sh\nread -r address\necho "$1 $address" >>{folder}/asked\n{body}\n')
    file.chmod(0o755)


def test_what_a_registry_has(registries: Callable[..., Distribution], tmp_path: Path) -> None:
    """A tag that is not there is nothing; one that is has its labels, for each platform where there are several."""
    server = registries()
    asked = asking(server.host, tmp_path)
    assert asked.look(f"{server.host}/data/tap-x:1") is None
    server.put("data/tap-x:1", {AMD: {"a": "b"}})
    server.put("data/tap-x:2", {AMD: {"a": "c"}, ARM: {}, "unknown/unknown": {}})
    assert asked.look(f"{server.host}/data/tap-x:1") == {AMD: {"a": "b"}}
    assert asked.look(f"{server.host}/data/tap-x:2") == {AMD: {"a": "c"}, ARM: {}}
    assert asked.look(f"{server.host}/data/tap-x:3") is None


def test_a_login(registries: Callable[..., Distribution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry is asked with the login that docker or podman has for it: in their file, or from a credential helper that it names."""
    server = registries(login=True)
    server.put("data/tap-x:1", {AMD: {}})
    image, (user, password) = f"{server.host}/data/tap-x:1", server.user
    with pytest.raises(SetupError, match="because the registry wants a login: 401") as caught:
        asking(server.host, tmp_path).look(image)
    assert (caught.value.code, f"docker login {server.host}" in caught.value.hint) == ("E-IMAGE", True)

    docker_knows(tmp_path, auths={f"https://{server.host}/v1/": {"auth": server.auth}})
    assert asking(server.host, tmp_path).look(image)
    docker_knows(tmp_path, auths={server.host: {"auth": b64encode(b"docker:wrong").decode()}})
    with pytest.raises(SetupError, match="wants a login"):
        asking(server.host, tmp_path).look(image)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    helper(tmp_path, "example", f"""echo '{{"Username": "{user}", "Secret": "{password}"}}'""")
    for config in ({"credHelpers": {server.host: "example"}}, {"auths": {server.host: {}}, "credsStore": "example"}):
        docker_knows(tmp_path, **config)
        assert asking(server.host, tmp_path).look(image)
    assert (tmp_path / "asked").read_text().splitlines() == [f"get {server.host}"] * 2

    docker_knows(tmp_path)
    podman = tmp_path / "auth.json"
    podman.write_text(json.dumps({"auths": {server.host: {"auth": server.auth}}}))
    assert asking(server.host, tmp_path, REGISTRY_AUTH_FILE=str(podman)).look(image)


def test_a_credential_helper_that_fails(registries: Callable[..., Distribution], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A helper that is not installed or fails is named with its own words; one that knows nobody is as no login at all."""
    server = registries(login=True)
    image = f"{server.host}/data/tap-x:1"
    docker_knows(tmp_path, credHelpers={server.host: "ecr-login"})
    with pytest.raises(SetupError, match="docker-credential-ecr-login is not installed") as caught:
        asking(server.host, tmp_path).look(image)
    assert caught.value.code == "E-PROGRAM"

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    helper(tmp_path, "ecr-login", "echo no EC2 IMDS role found >&2; exit 1")
    with pytest.raises(SetupError, match=f"gives no login for {server.host}: no EC2 IMDS role found") as caught:
        asking(server.host, tmp_path).look(image)
    assert f"echo {server.host} | docker-credential-ecr-login get" in caught.value.hint

    helper(tmp_path, "ecr-login", "echo credentials not found in native keychain; exit 1")
    with pytest.raises(SetupError, match="wants a login"):
        asking(server.host, tmp_path).look(image)


def test_a_companys_certificate(registries: Callable[..., Distribution], tmp_path: Path) -> None:
    """A registry whose certificate is the company's own is refused, until Docker's folder for it or ca_bundle has the authority."""
    authority = trustme.CA()
    server = registries(authority=authority)
    server.put("data/tap-x:1", {AMD: {}})
    image = f"{server.host}/data/tap-x:1"
    with pytest.raises(SetupError, match="authority that is not known") as caught:
        asking(server.host, tmp_path).look(image)
    assert (caught.value.code, "singer.ca_bundle" in caught.value.hint) == ("E-CERTIFICATE", True)

    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    assert asking(server.host, tmp_path, ca_bundle=str(tmp_path / "ca.pem")).look(image)
    known = tmp_path / ".docker" / "certs.d" / server.host
    known.mkdir(parents=True)
    (tmp_path / "ca.pem").rename(known / "ca.crt")
    assert asking(server.host, tmp_path).look(image)


def test_a_registry_without_tls(registries: Callable[..., Distribution], tmp_path: Path) -> None:
    """Elsewhere than on this machine TLS is only done without where the container runtime does so too."""
    server = registries(address=outward())
    server.put("data/tap-x:1", {AMD: {}})
    image = f"{server.host}/data/tap-x:1"
    assert asking(server.host, tmp_path, plain=True).look(image) == {AMD: {}}
    with pytest.raises(SetupError, match=f"{server.host} cannot be asked for images, because the registry uses no TLS") as caught:
        asking(server.host, tmp_path).look(image)
    assert (caught.value.code, f"name {server.host} in insecure-registries" in caught.value.hint) == ("E-IMAGE", True)


def test_nobody_is_there(tmp_path: Path) -> None:
    """A registry that nobody answers at is named, with what to do."""
    host = f"127.0.0.1:{free_ports(1)[0]}"
    with pytest.raises(SetupError, match=f"{host} is not reachable: the connection is refused") as caught:
        asking(host, tmp_path).look(f"{host}/data/tap-x:1")
    assert caught.value.code == "E-NETWORK"


@pytest.mark.parametrize(
    ("status", "problem", "todo"),
    [
        (403, "this login may not: 403", "docker login HOST as a user who may"),
        (429, "there were too many requests: 429", "Wait a few minutes"),
        (500, "the registry failed: 500", "check its log"),
        (507, "the registry has no space left: 507", "for space"),
        (418, "418", "Run it again"),
        (200, "it does not answer as a registry does", "Run it again"),
    ],
)
def test_what_it_answers(tmp_path: Path, status: int, problem: str, todo: str) -> None:
    """Any answer of a registry other than an image is one sentence with its meaning and one thing to do, without a retry."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Retry-After", "3600")
            self.end_headers()
            self.wfile.write(b"<html>log in to the guests' network</html>")

        def log_message(self, *args: object) -> None:
            pass

    with ServingHTTP(("127.0.0.1", 0), Answers) as serving:
        host = f"127.0.0.1:{serving.server_address[1]}"
        with pytest.raises(SetupError) as caught:
            asking(host, tmp_path).look(f"{host}/data/tap-x:1")
    assert caught.value.code == "E-IMAGE"
    assert caught.value.problem.startswith(f"{host}/data/tap-x:1 cannot be asked for")
    assert problem in caught.value.problem
    assert todo.replace("HOST", host) in caught.value.hint


@pytest.mark.parametrize("content", ["[]", "{}", '{"manifests": 1}', '{"manifests": [{}]}', '{"config": []}', '"x"', "null", "\u00e9{"])
def test_no_registry_at_all(tmp_path: Path, content: str) -> None:
    """Any JSON that comes back instead of a registry's is reported as no registry's."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(content.encode())

        def log_message(self, *args: object) -> None:
            pass

    with ServingHTTP(("127.0.0.1", 0), Answers) as serving:
        host = f"127.0.0.1:{serving.server_address[1]}"
        with pytest.raises(SetupError, match="does not answer as a registry does"):
            asking(host, tmp_path).look(f"{host}/data/tap-x:1")


@pytest.mark.parametrize(
    "config",
    [
        {"auths": []},
        {"auths": {"HOST": "x"}},
        {"auths": {"HOST": {"auth": "\u00e9"}}},
        {"credHelpers": 1},
        {"auths": {"HOST": {"auth": 1}}},
    ],
)
def test_a_file_of_dockers_that_is_damaged(registries: Callable[..., Distribution], tmp_path: Path, config: dict[str, Any]) -> None:
    """A file of Docker's that cannot be read counts as no login: Docker reports what is wrong with it."""
    server = registries(login=True)
    docker_knows(tmp_path, **json.loads(json.dumps(config).replace("HOST", server.host)))
    with pytest.raises(SetupError, match="wants a login"):
        asking(server.host, tmp_path).look(f"{server.host}/data/tap-x:1")


@pytest.mark.parametrize("user", ["jane", "<token>"])
def test_a_registry_that_gives_tokens(tmp_path: Path, user: str) -> None:
    """If a registry wants a token, the login gets it; a helper's token is exchanged for one."""
    seen = []

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append((self.command, self.path, self.headers.get("Authorization", "")))
            if self.path.startswith("/token"):
                self._say(200, {"token": "t0ken"})
            elif self.headers.get("Authorization") != "Bearer t0ken":
                where = f"http://{self.headers['Host']}/token"
                self._say(401, {}, f'Bearer realm="{where}",service="example",scope="repository:data/tap-x:pull"')
            elif "/blobs/" in self.path:
                self._say(200, {"os": "linux", "architecture": "amd64"})
            else:
                self._say(200, {"schemaVersion": 2, "config": {"digest": "sha256:0"}})

        def do_POST(self) -> None:
            seen.append((self.command, self.rfile.read(int(self.headers["Content-Length"])).decode(), ""))
            self._say(200, {"access_token": "t0ken"})

        def _say(self, status: int, content: dict[str, object], challenge: str = "") -> None:
            self.send_response(status)
            if challenge:
                self.send_header("WWW-Authenticate", challenge)
            self.end_headers()
            self.wfile.write(json.dumps(content).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ServingHTTP(("127.0.0.1", 0), Answers) as serving:
        host = f"127.0.0.1:{serving.server_address[1]}"
        docker_knows(tmp_path, auths={host: {"auth": b64encode(f"{user}:s3cret".encode()).decode()}})
        assert asking(host, tmp_path).look(f"{host}/data/tap-x:1") == {AMD: {}}
    asked = next(item for item in seen if "service=example" in item[1])
    if user == "jane":
        assert asked[2] == f"Basic {b64encode(b'jane:s3cret').decode()}"
        assert "scope=repository%3Adata%2Ftap-x%3Apull" in asked[1]
    else:
        assert asked[0] == "POST"
        assert "refresh_token=s3cret" in asked[1]


# ----------------------------------------------------------------------------------------------- what the steps make of it


class Desk:
    """A machine with a checkout, a login, and a company's cluster that has a registry and nodes."""

    def __init__(self, checkout: Checkout, folder: Path, server: Distribution, api: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Take the checkout, which has one pipeline."""
        self.checkout, self.server, self.folder = checkout, server, folder
        checkout.scripted({"steps": []})
        for connector in Project(checkout.root).connector_names:
            Environments(Settings(root=checkout.root)).ensure_lock(Project(checkout.root).connector(connector))
        self.desk = folder / "desk"
        pushing.install(folder / "programs", self.desk)
        monkeypatch.setenv("PATH", str(folder / "programs"), prepend=":")
        docker_knows(folder, auths={server.host: {"auth": server.auth}} if server.login else {})
        monkeypatch.setenv("HOME", str(folder))
        monkeypatch.delenv("DOCKER_CONFIG", raising=False)
        kubeconfig = folder / "kubeconfig"
        content = {
            "contexts": [{"name": "company", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {"server": api}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
        }
        kubeconfig.write_text(yaml.safe_dump(content))
        self.environ = {"HOME": str(folder), "KUBECONFIG": str(kubeconfig)}

    def handles(self, **settings: str) -> Handles:
        """Return the handles that a command has."""
        values = {"provider": "existing", "context": "company", "registry": f"{self.server.host}/data", **settings}
        handles = Handles(replace(parse(values, {}, root=self.checkout.root), tool=self.checkout.root), self.environ)
        handles.provider.ensure(lambda _: None)
        return handles

    def bring(self, **settings: str) -> set[str]:
        """Do what ``sync`` does about images, and return the steps that changed something."""
        with self.handles(**settings) as handles:
            return set(converge(STEPS, handles, Json()))

    def refused(self, **settings: str) -> SetupError:
        """Do the same, and return what it ends with."""
        with pytest.raises(SetupError) as caught:
            self.bring(**settings)
        return caught.value

    def tags(self, **settings: str) -> list[str]:
        """Return the names of all images that are wanted, without the registry."""
        with self.handles(**settings) as handles:
            ours = [images.tag(connector, handles.settings) for connector in handles.connectors]
            return [name.partition("/")[2] for name in (*ours, images.commit_tag(handles.settings))]

    def asked(self, start: str) -> list[str]:
        """Return the calls of docker that begin so."""
        file = self.desk / "calls"
        return [line for line in file.read_text().splitlines() if line.startswith(f"docker {start}")] if file.exists() else []

    def forget(self) -> None:
        """Be another machine, on which nothing was built, with another checkout of the same."""
        for file in (self.desk / "calls", self.desk / "images.json", self.checkout.local / "instance.json"):
            file.unlink(missing_ok=True)


@pytest.fixture
def nodes() -> list[str]:
    """Return the machines that the cluster has nodes of. A test may change it."""
    return ["amd64"]


@pytest.fixture
def api(nodes: list[str]) -> Iterator[str]:
    """Yield the address of an API server that knows nodes; without nodes, they may not be looked at."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            items = [{"status": {"nodeInfo": {"architecture": name, "operatingSystem": "linux"}}} for name in nodes]
            self.send_response(200 if nodes else 403)
            self.end_headers()
            self.wfile.write(json.dumps({"items": items}).encode())

        def log_message(self, *args: object) -> None:
            pass

    with ServingHTTP(("127.0.0.1", 0), Answers) as serving:
        yield f"http://127.0.0.1:{serving.server_address[1]}"


@pytest.fixture
def login() -> bool:
    """Say whether the registry wants a login: each answer takes its time then. A test may say so."""
    return False


@pytest.fixture
def desk(
    login: bool,  # noqa: FBT001 - a fixture
    checkout: Checkout,
    tmp_path: Path,
    registries: Callable[..., Distribution],
    api: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Desk:
    """Return a machine."""
    return Desk(checkout, tmp_path / "machine", registries(login=login), api, monkeypatch)


@pytest.mark.parametrize("login", [True])
def test_what_is_missing_is_pushed_once(desk: Desk) -> None:
    """Images are built and pushed with Docker's own login; a second time nothing is, nor on another machine that has none of them."""
    assert desk.bring() == {step.title for step in STEPS}
    names = desk.tags()
    assert {name for image in names for name in desk.server.tags(image.partition(":")[0])} == {name.partition(":")[2] for name in names}
    assert len(desk.asked("push")) == len(desk.asked("build")) == len(names)
    assert desk.bring() == set()

    desk.forget()
    assert desk.bring() == set()
    assert desk.asked("") == []


def test_what_is_there_can_be_seen_before(desk: Desk) -> None:
    """The plan names what would be built, and nothing of what the registry has; it needs no container runtime for that."""
    (desk.checkout.root / "environments").mkdir()
    lines = {"context": "company", "registry": f"{desk.server.host}/data", "instance": "team"}
    (desk.checkout.root / "environments" / "company.yaml").write_text(yaml.safe_dump(lines))

    def plan() -> dict[str, str | None]:
        result = desk.checkout.invoke("up", "--plan", "--env", "company", "--json", **desk.environ)
        assert result.code == 0, result.err
        return {event["step"]: event["pending"] for event in result.events if event["event"] == "step"}

    assert plan()[Built.title] == "not built for linux/amd64: tap-scripted, target-scripted, commit"
    for name in desk.tags():
        desk.server.put(name, {AMD: {}})
    (desk.folder / "programs" / "docker").write_text("#!/bin/sh\nexit 1\n")
    assert plan()[Built.title] is None


def test_only_what_is_missing(desk: Desk) -> None:
    """What the registry has lost, by a rule for old images say, is noticed and pushed again, and nothing else."""
    desk.bring()
    name = desk.tags()[0]
    desk.server.delete(name)
    (desk.desk / "calls").unlink()
    assert desk.bring() == {Loaded.title}
    assert [call.rpartition("/")[2] for call in desk.asked("push")] == [name.rpartition("/")[2]]


def test_a_tag_that_was_built_by_other_means(desk: Desk) -> None:
    """A tag that is there is taken as it is, from any builder and any time: its name is its content, and it is not pushed over."""
    for name in desk.tags():
        desk.server.put(name, {AMD: {"maintainer": "somebody"}})
    assert desk.bring() == set()
    assert desk.asked("") == []


def test_a_tag_with_other_content(desk: Desk) -> None:
    """A tag whose own label names other sources is refused, and neither built nor pushed over."""
    name = desk.tags()[0]
    desk.server.put(name, {AMD: {images.CONTENT: "tap-scripted:0123456789ab"}})
    error = desk.refused()
    assert error.code == "E-IMAGE"
    assert f"/{name}, and its label names other content: tap-scripted:0123456789ab." in error.problem
    assert "Nothing was pushed over it" in error.hint
    assert desk.asked("push") == []


def test_a_registry_that_is_away(desk: Desk) -> None:
    """While a registry is away a command waits for it only if it needs an unseen image; then it fails without a retry."""
    desk.bring()
    desk.server.stop()
    assert desk.bring() == set()
    desk.forget()
    error = desk.refused()
    assert error.code == "E-NETWORK"
    assert desk.server.host in error.problem
    assert desk.asked("build") == []


@pytest.mark.parametrize("login", [True])
def test_a_login_that_is_missing(desk: Desk) -> None:
    """A missing login is reported before anything is built."""
    docker_knows(desk.folder)
    error = desk.refused()
    assert (error.code, "wants a login" in error.problem) == ("E-IMAGE", True)
    assert desk.asked("build") == []


PUSHING = [
    ("denied: requested access to the resource is denied", "this login may not", "docker login HOST"),
    ("no basic auth credentials", "wants a login", "docker login HOST"),
    ("unauthorized: authentication required", "wants a login", "credential helper"),
    (
        "denied: User: arn:aws:iam::1:user/x is not authorized to perform: ecr:InitiateLayerUpload",
        "not authorized to perform: ecr:Init",
        "the right",
    ),
    ("name unknown: The repository with name 'data/tap-x' does not exist in the registry with id '1'", "has no such", "--repository-name data/"),
    ("toomanyrequests: Rate exceeded", "too many requests", "Wait a few minutes"),
    ("denied: adding 12 MiB of storage resource, which when updated to current usage will exceed the configured upper limit: quota", "no space", "space"),
    ("received unexpected HTTP status: 507 Insufficient Storage", "no space left", "for space"),
    ("received unexpected HTTP status: 500 Internal Server Error", "the registry failed", "log and disk"),
    ("tls: failed to verify certificate: x509: certificate signed by unknown authority", "certificate is not trusted", "certs.d/HOST/ca.crt"),
    ("http: server gave HTTP response to HTTPS client", "uses no TLS", "insecure-registries"),
    ("dial tcp: lookup registry.example.com: no such host", "name is not known", "Connect to the network"),
    ("dial tcp 10.0.0.1:443: i/o timeout", "does not answer", "Connect to the network"),
    ('error getting credentials - err: exec: "docker-credential-x": executable file not found in $PATH', "helper gives no login", "for HOST"),
    ("short read: expected 10 bytes but got 0", "cannot be pushed: short read", "Run it again"),
]  # fmt: skip


@pytest.mark.parametrize(("printed", "problem", "todo"), PUSHING, ids=[words[1] for words in PUSHING])
def test_what_docker_says_of_a_push(printed: str, problem: str, todo: str) -> None:
    """What docker prints when it cannot push is one sentence: the image, what it means, docker's own words; and one thing to do."""
    error = refusal("registry.example.com/data/tap-x:1", "pushed", f"latest: digest\n{printed}\n", "docker")
    assert error.code == "E-IMAGE"
    assert error.problem.startswith("registry.example.com/data/tap-x:1 cannot be pushed")
    assert problem in error.problem
    assert printed.rstrip(".") in error.problem
    assert todo.replace("HOST", "registry.example.com") in error.hint


def test_a_push_that_is_refused(desk: Desk) -> None:
    """A push that is refused ends the command with that sentence; what was built stays, and is pushed when it may be."""
    desk.desk.joinpath("refuses-push").write_text("denied: requested access to the resource is denied")
    error = desk.refused()
    assert (error.code, "cannot be pushed, because this login may not: denied" in error.problem) == ("E-IMAGE", True)
    desk.desk.joinpath("refuses-push").unlink()
    assert desk.bring() == {Loaded.title}


def test_somebody_else_pushes_at_the_same_time(desk: Desk) -> None:
    """Where tags cannot be changed, one that somebody else has pushed a moment before is as good as ours."""
    names = desk.tags()
    with desk.handles() as handles:
        Built().apply(handles, lambda _: None)
        missing = handles.provider.missing_images([f"{desk.server.host}/{name}" for name in names])
        assert missing
        for name in names:
            desk.server.put(name, {AMD: {}})
        refusal_ = (
            "tag invalid: The image tag already exists in the 'data/x' repository and cannot be overwritten because the tag is immutable."
        )
        desk.desk.joinpath("refuses-push").write_text(refusal_)
        handles.provider.load_images(missing, lambda _: None)
        assert Loaded().pending(handles) is None


# -------------------------------------------------------------------------------------------------------------- platforms


def test_nodes_of_another_kind(desk: Desk, nodes: list[str]) -> None:
    """If the nodes are of another kind than this machine, that is reported, and images are built and pushed for them."""
    nodes[:] = ["arm64", "arm64"]
    with desk.handles() as handles:
        assert str(Built().pending(handles)).startswith("not built for linux/arm64: ")
    desk.bring()
    assert all(f"--platform {ARM}" in call for call in desk.asked("build"))
    asked = asking(desk.server.host, desk.folder)
    assert [set(asked.look(f"{desk.server.host}/{name}") or {}) for name in desk.tags()] == [{ARM}] * len(desk.tags())


def test_an_image_of_this_machines_kind_is_not_pushed(desk: Desk, nodes: list[str]) -> None:
    """An image that is here for another kind of machine is built anew before it is pushed."""
    nodes[:] = []
    with desk.handles() as handles:
        Built().apply(handles, lambda _: None)
    nodes[:] = ["arm64"]
    assert desk.bring() == {step.title for step in STEPS}
    assert len(desk.asked(f"build --file {desk.checkout.root}/singer-containers/Dockerfile ")) == 4


@pytest.mark.parametrize(
    ("refusal_", "problem"),
    [
        ("exec /bin/sh: exec format error", "exec format error"),
        ("ERROR: no match for platform in manifest sha256:0: not found", "no match for platform"),
        ("", "the builder used its own platform"),
    ],
)
def test_a_builder_that_cannot(desk: Desk, nodes: list[str], refusal_: str, problem: str) -> None:
    """A builder that knows only its own kind, with a message or without, ends in one sentence, and nothing is pushed."""
    nodes[:] = ["arm64"]
    name = "refuses-build" if refusal_ else "builds-its-own"
    desk.desk.joinpath(name).write_text(refusal_)
    error = desk.refused()
    assert error.code == "E-BUILD"
    assert "cannot be built for linux/arm64 on this machine: " in error.problem
    assert problem in error.problem
    assert "--install arm64" in error.hint
    assert desk.asked("push") == []


def test_a_tag_for_other_machines(desk: Desk) -> None:
    """A tag that is there for other machines than the cluster's is refused; with image_platform this cluster has different tags."""
    for name in desk.tags():
        desk.server.put(name, {ARM: {}})
    error = desk.refused()
    assert (error.code, "for linux/arm64; the cluster needs linux/amd64" in error.problem) == ("E-IMAGE", True)
    assert f"image_platform: {AMD}" in error.hint
    assert desk.bring(image_platform=AMD) == {step.title for step in STEPS}
    assert set(desk.tags()).isdisjoint(desk.tags(image_platform=AMD))


def test_nodes_of_two_kinds(desk: Desk, nodes: list[str]) -> None:
    """Where nodes are of two kinds one has to be chosen; then pods go to nodes of that kind alone."""
    nodes[:] = ["arm64", "amd64"]
    error = desk.refused()
    assert (error.code, "linux/amd64, linux/arm64" in error.problem) == ("E-SETTING", True)
    assert "INVOKE_SINGER_IMAGE_PLATFORM=linux/amd64" in error.hint
    assert desk.asked("build") == []
    desk.bring(image_platform=ARM)
    with desk.handles(image_platform=ARM, argo="use") as handles:
        chosen = [item["spec"]["nodeSelector"] for item in handles.rendering.documents if item["kind"] == "WorkflowTemplate"]
    assert chosen == [{"kubernetes.io/os": "linux", "kubernetes.io/arch": "arm64"}] * 2


def test_nodes_that_may_not_be_looked_at(desk: Desk, nodes: list[str]) -> None:
    """Who may not look at nodes brings images of this machine's kind, as before."""
    nodes[:] = []
    assert desk.bring() == {step.title for step in STEPS}
    assert not any("--platform" in call for call in desk.asked("build"))


# ------------------------------------------------------------------------------------------------- a real container runtime


@pytest.fixture
def docker() -> Iterator[Callable[[str], None]]:
    """Return what makes an image of one file with the machine's own Docker; they are removed. Without one the test is skipped."""
    if shutil.which("docker") is None or subprocess.run(["docker", "info"], capture_output=True, check=False).returncode:
        pytest.skip("docker is not on PATH, or does not answer")
    made = []

    def make(image: str) -> None:
        context = Path(__file__).parent
        build = ["docker", "build", "--tag", image, "--label", images.OURS, "--file", "-", str(context)]
        subprocess.run(build, input="FROM scratch\nCOPY test_registry.py /x\n", text=True, capture_output=True, check=True)
        made.append(image)

    yield make
    for image in made:
        subprocess.run(["docker", "rmi", image], capture_output=True, check=False)


def guest(folder: Path, host: str, **environ: str) -> Any:
    """Return the provider of a company's cluster, whose nodes may not be looked at."""
    from cluster.containers.runtime import Runtime  # noqa: PLC0415
    from cluster.providers.existing import Existing  # noqa: PLC0415
    from cluster.providers.instance import Instance  # noqa: PLC0415

    content = {
        "contexts": [{"name": "company", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": "https://127.0.0.1:1"}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    (folder / "kubeconfig").write_text(yaml.safe_dump(content))
    settings = Settings(root=folder, provider="existing", context="company", registry=f"{host}/data")
    environ |= {"KUBECONFIG": str(folder / "kubeconfig")}
    return Existing(settings, Instance(folder / "instance.json"), Runtime("docker"), environ)


def test_docker_pushes_with_a_credential_helper(
    registries: Callable[..., Distribution], docker: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real Docker pushes to a real registry with the login of a credential helper, which is asked by nobody but it and us."""
    server = registries(login=True)
    image = f"{server.host}/data/tap-x:1"
    docker(image)
    user, password = server.user
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    config = tmp_path / "config"
    config.mkdir()
    monkeypatch.setenv("DOCKER_CONFIG", str(config))
    provider = guest(tmp_path, server.host, DOCKER_CONFIG=str(config))
    with pytest.raises(SetupError, match="wants a login"):
        provider.load_images([image], lambda _: None)

    (config / "config.json").write_text(json.dumps({"credHelpers": {server.host: "example"}}))
    helper(tmp_path, "example", f"""echo '{{"Username": "{user}", "Secret": "{password}"}}'""")
    provider = guest(tmp_path, server.host, DOCKER_CONFIG=str(config))
    assert provider.missing_images([image]) == [image]
    provider.load_images([image], lambda _: None)
    assert provider.missing_images([image]) == []
    assert server.tags("data/tap-x") == ["1"]


def test_docker_does_not_know_a_companys_certificate(
    registries: Callable[..., Distribution], docker: Callable[[str], None], tmp_path: Path
) -> None:
    """Where a real Docker does not trust a registry's certificate, the user reads where to put the authority's."""
    server = registries(address=outward(), authority=trustme.CA())
    image = f"{server.host}/data/tap-x:1"
    docker(image)
    with pytest.raises(SetupError, match="certificate is not trusted") as caught:
        guest(tmp_path, server.host).load_images([image], lambda _: None)
    assert f"/etc/docker/certs.d/{server.host}/ca.crt" in caught.value.hint


def test_docker_finds_nobody(docker: Callable[[str], None], tmp_path: Path) -> None:
    """Where nobody answers a real Docker, the user reads that the registry does not answer."""
    image = f"127.0.0.1:{free_ports(1)[0]}/data/tap-x:1"
    docker(image)
    with pytest.raises(SetupError, match="because the registry does not answer: "):
        guest(tmp_path, image.partition("/")[0]).load_images([image], lambda _: None)
