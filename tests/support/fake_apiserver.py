"""A stand-in for a company's cluster: an API server that keeps objects, knows who may do what, and remembers what it was asked.

It answers in the words of Kubernetes, as far as this project asks; ``tests/cluster`` asks a real one. Nothing runs in it.
"""

from __future__ import annotations

import json
import secrets
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from fake_docker import install
from loopback_server import ServingHTTP

from cluster.kube.client import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from checkout import Checkout, Result
    from real_registry import Distribution
    from real_stores import Minio

NAMESPACE = "rates"
INSTANCE = "rates-team"
USER = "jane@example.com"
SUBRESOURCES = {"log"}
BUSY = (429, {"message": "storage is (re)initializing"})
BY_PLURAL = {plural: kind for kind, (_, plural, _) in KINDS.items()}
ENVIRONMENT = """
context: far
namespace: {namespace}
instance: {instance}
argo: use
registry: {registry}/data
store: use
s3_endpoint: http://0.0.0.0:{port}
s3_credentials: identity
bucket_configs: {lake}-configs
bucket_artifacts: {lake}-artifacts
bucket_outputs: {lake}-outputs
"""
"""0.0.0.0 is this machine too; 127.0.0.1 is refused, because no pod would reach it."""


class Asked(NamedTuple):
    """A request as the authorizer of the API server sees it."""

    verb: str
    resource: str
    namespace: str
    name: str

    @property
    def group(self) -> str:
        """The API group of the resource; nothing for Kubernetes' own."""
        return self.resource.partition("/")[0].partition(".")[2]

    @property
    def plural(self) -> str:
        """The resource without its group, but with what is below it."""
        whole, slash, sub = self.resource.partition("/")
        return whole.partition(".")[0] + slash + sub

    def refusal(self) -> str:
        """Say no, in Kubernetes' words."""
        what = self.resource.partition("/")[0] + (f' "{self.name}"' if self.name else "")
        where = f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
        return f'{what} is forbidden: User "{USER}" cannot {self.verb} resource "{self.plural}" in API group "{self.group}" {where}'


class Api:
    """What the API server has and allows."""

    def __init__(self) -> None:
        """Begin with the namespace, and with Argo's definition of Workflows."""
        self.url = ""
        self.objects: dict[tuple[str, str], dict[str, Any]] = {}
        self.denied: set[tuple[str, str]] = set()
        """Verb and resource (``workflows.argoproj.io``) that the user may not."""
        self.denies_all = False
        self.workflows, self.events = True, False
        """Whether Argo's Workflows are served, and Argo Events."""
        self.refuses = ""
        """The answer of an admission webhook to each change."""
        self.busy = 0
        """How many of the next requests the server refuses because it is too busy."""
        self.asked: list[Asked] = []
        self.add("CustomResourceDefinition", "workflows.argoproj.io")
        self.add("Namespace", NAMESPACE, metadata={"labels": {"app.kubernetes.io/part-of": "singer"}})
        controller = {"spec": {"containers": [{"image": "quay.io/argoproj/workflow-controller:v4.1.2"}]}}
        self.add("Deployment", "workflow-controller", spec={"template": controller}, status={"availableReplicas": 1})
        self.get("Deployment", "workflow-controller")["metadata"]["namespace"] = "argo"

    def add(self, kind: str, name: str, **more: Any) -> dict[str, Any]:
        """Let an object be there; *more* has further metadata."""
        metadata = {"creationTimestamp": "2026-11-24T06:00:00Z", **more.pop("metadata", {}), "name": name}
        self.objects[kind, name] = {"kind": kind, "metadata": metadata, **more}
        return self.objects[kind, name]

    def get(self, kind: str, name: str) -> dict[str, Any]:
        """Return an object that is there."""
        return self.objects[kind, name]

    @property
    def changes(self) -> list[Asked]:
        """What was to be changed, as far as it was allowed."""
        return [item for item in self.asked if item.verb in {"create", "patch", "delete"} and not self.forbids(item)]

    def forbids(self, asked: Asked) -> bool:
        """Say whether the user may not do this."""
        return self.denies_all or (asked.verb, asked.resource) in self.denied

    # -- requests

    def answer(self, method: str, url: str, body: Any) -> tuple[int, Any]:
        """Return status and body of the answer to a request."""
        path, query = urlsplit(url).path, {key: value[0] for key, value in parse_qs(urlsplit(url).query).items()}
        if path in {"/version", "/readyz"}:
            return 200, {"major": "1", "minor": "36"}
        if path.endswith("selfsubjectaccessreviews"):
            wanted = body["spec"]["resourceAttributes"]
            resource = ".".join(filter(None, (wanted["resource"], wanted["group"]))) + (
                f"/{wanted['subresource']}" * bool(wanted["subresource"])
            )
            return 201, {"status": {"allowed": not self.forbids(Asked(wanted["verb"], resource, "", ""))}}
        if path.endswith("selfsubjectreviews"):
            return 201, {"status": {"userInfo": {"username": USER}}}
        parts = path.strip("/").split("/")
        group, rest = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        namespace = rest[1] if rest[:1] == ["namespaces"] and len(rest) > 2 else ""
        plural, name, sub = [*(rest[2:] if namespace else rest), "", "", ""][:3]
        if plural not in BY_PLURAL:
            known = ("workflows", "cronworkflows", "workflowtemplates") * self.workflows + ("eventsources", "sensors") * self.events
            return 200, {"resources": [{"name": name} for name in known]}
        resource = ".".join(filter(None, (plural, group))) + (f"/{sub}" if sub else "")
        verb = {"GET": "get" if name else "list", "POST": "create"}.get(method, method.lower())
        asked = Asked(verb, resource, name if plural == "namespaces" else namespace, name)  # so Kubernetes has it
        return self._sub(asked) if sub in SUBRESOURCES else self._do(asked, BY_PLURAL[plural], query, body)

    def _sub(self, asked: Asked) -> tuple[int, Any]:
        self.asked.append(asked)
        return (403, {"message": asked.refusal()}) if self.forbids(asked) else (200, "2026-11-24T06:00:01Z a line\n")

    def _do(self, asked: Asked, kind: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        there = (kind, asked.name) in self.objects
        applied = asked.verb == "patch" and "fieldManager" in query
        for step in (asked, *([asked._replace(verb="create")] if applied and not there else [])):
            self.asked.append(step)
            if self.forbids(step):
                return 403, {"message": step.refusal()}
        if asked.verb == "list":
            return 200, {"items": [item for (known, _), item in sorted(self.objects.items()) if known == kind and chosen(item, query)]}
        if asked.verb != "get" and self.refuses:
            return 403, {"message": self.refuses}
        if asked.verb == "create" or applied:
            return 200, self._write(kind, body)
        if not there:
            return 404, {"message": f'{asked.resource} "{asked.name}" not found'}
        return 200, self._change(asked.verb, kind, asked.name, body)

    def _write(self, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        metadata = body["metadata"]
        name = metadata.get("name") or metadata["generateName"] + secrets.token_hex(3)
        if "stringData" in body:  # is for writing alone
            encoded = {key: b64encode(value.encode()).decode() for key, value in body["stringData"].items()}
            body = {**{key: value for key, value in body.items() if key != "stringData"}, "data": encoded}
        return self.add(kind, name, metadata=metadata, **{key: value for key, value in body.items() if key not in {"kind", "metadata"}})

    def _change(self, verb: str, kind: str, name: str, body: Any) -> dict[str, Any]:
        changed = self.objects[kind, name]
        if verb == "delete":
            del self.objects[kind, name]
        if verb == "patch":
            changed.update({key: {**changed.get(key, {}), **value} for key, value in body.items()})
        return changed


def chosen(item: dict[str, Any], query: dict[str, str]) -> bool:
    """Say whether an object carries the labels that a list asks for."""
    labels = item["metadata"].get("labels") or {}
    pairs = (part.partition("=") for part in query.get("labelSelector", "").split(",") if part)
    return all(labels.get(key) == value if equals else key in labels for key, equals, value in pairs)


@pytest.fixture
def api() -> Iterator[Api]:
    """Yield an API server on loopback."""
    fake = Api()

    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            fake.busy, busy = max(fake.busy - 1, 0), fake.busy > 0
            status, body = BUSY if busy else fake.answer(self.command, self.path, yaml.safe_load(data) if data else None)
            content = body.encode() if isinstance(body, str) else json.dumps(body).encode()
            self.send_response(status)
            if busy:
                self.send_header("Retry-After", "0")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def do_GET(self) -> None:
            self.answer()

        do_POST = do_PATCH = do_DELETE = do_GET  # noqa: N815 - the server calls them by these names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ServingHTTP(("127.0.0.1", 0), Handler) as server:
        fake.url = f"http://127.0.0.1:{server.server_port}"
        yield fake


class Company:
    """A checkout with the environment ``company``: stand-ins for its cluster and for docker, a real MinIO, a real registry."""

    def __init__(self, checkout: Checkout, api: Api, minio: Minio, registry: str, folder: Path) -> None:
        """Write the environment and the kubeconfig; nothing is typed yet."""
        self.checkout, self.api, self.root = checkout, api, checkout.root
        lake = f"lake-{secrets.token_hex(4)}"
        (checkout.root / "environments").mkdir()
        self.file = checkout.root / "environments" / "company.yaml"
        self.file.write_text(ENVIRONMENT.format(port=minio.port, lake=lake, namespace=NAMESPACE, instance=INSTANCE, registry=registry))
        context = {"name": "far", "context": {"cluster": "far", "user": "far"}}
        server = {"name": "far", "cluster": {"server": api.url}}
        content = {"contexts": [context], "clusters": [server], "users": [{"name": "far", "user": {"token": "x"}}]}
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(yaml.safe_dump(content))
        docker = install(folder / "programs", folder / "desk")
        checkout.environ |= {"KUBECONFIG": str(kubeconfig), "PATH": f"{docker.parent}:{checkout.environ['PATH']}"}
        checkout.environ |= {"AWS_ACCESS_KEY_ID": minio.access_key, "AWS_SECRET_ACCESS_KEY": minio.secret_key}
        checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}]]}, schedule="0 6 * * *")

    def type(self, *words: str, **environ: str) -> Result:
        """Type a command."""
        return self.checkout.invoke(*words, **environ)

    def there(self, *words: str, **environ: str) -> Result:
        """Type a command with the environment."""
        return self.type(*words, "--env", "company", **environ)

    def runs(self, name: str, pipeline: str = "p", phase: str = "Running") -> None:
        """Let a run be under way in the cluster, or in another phase."""
        parameters = [{"name": key, "value": value} for key, value in {"pipeline": pipeline, "tap": "tap-x", "target": "target-x"}.items()]
        labels = {"singer/pipeline": pipeline, "singer/instance": INSTANCE}
        spec = {"arguments": {"parameters": parameters}}
        self.api.add("Workflow", name, metadata={"labels": labels}, spec=spec, status={"phase": phase})


@pytest.fixture
def company(checkout: Checkout, api: Api, minio: Minio, registries: Callable[..., Distribution], tmp_path: Path) -> Company:
    """Return a checkout with an environment."""
    return Company(checkout, api, minio, registries().host, tmp_path)
