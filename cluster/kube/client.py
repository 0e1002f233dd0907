"""The Kubernetes API, as far as we need it. The only importer of ``kubernetes``.

Objects are plain dicts, as in the manifests. The client library handles authentication, TLS and
proxies. Paths come from a table of the kinds that we use, so no discovery can be outdated.
"""

from __future__ import annotations

import json
import re
import ssl
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import urllib3
import yaml
from kubernetes.client import ApiClient, Configuration
from kubernetes.config.config_exception import ConfigException
from kubernetes.config.kube_config import load_kube_config

from cluster.errors import SetupError
from cluster.host.files import log_lines
from cluster.kube import rbac
from cluster.net.http import in_few_words
from cluster.net.proxy import login
from cluster.ui.command_line import command
from cluster.ui.format import shown, typed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from cluster.kube.rbac import Right
    from cluster.net.proxy import Network

FIELD_MANAGER = "singer"
TIMEOUT = (3, 30)
"""Seconds to connect, seconds between two reads."""
RETRIES = urllib3.Retry(
    total=10, connect=0, read=0, redirect=0, other=0, allowed_methods=None, raise_on_status=False, retry_after_max=TIMEOUT[1]
)
"""A server that is too busy is asked again if it names a time (``Retry-After``), as kubectl does.
The API server answers like this also when it begins to serve new kinds."""

ARGO = "apis/argoproj.io/v1alpha1"
KINDS = {
    "Namespace": ("api/v1", "namespaces", False),
    "Node": ("api/v1", "nodes", False),
    "Pod": ("api/v1", "pods", True),
    "Secret": ("api/v1", "secrets", True),
    "ConfigMap": ("api/v1", "configmaps", True),
    "Service": ("api/v1", "services", True),
    "ServiceAccount": ("api/v1", "serviceaccounts", True),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims", True),
    "Event": ("api/v1", "events", True),
    "Deployment": ("apis/apps/v1", "deployments", True),
    "StatefulSet": ("apis/apps/v1", "statefulsets", True),
    "CronJob": ("apis/batch/v1", "cronjobs", True),
    "Role": ("apis/rbac.authorization.k8s.io/v1", "roles", True),
    "RoleBinding": ("apis/rbac.authorization.k8s.io/v1", "rolebindings", True),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies", True),
    "CustomResourceDefinition": ("apis/apiextensions.k8s.io/v1", "customresourcedefinitions", False),
    "Workflow": (ARGO, "workflows", True),
    "WorkflowTemplate": (ARGO, "workflowtemplates", True),
    "CronWorkflow": (ARGO, "cronworkflows", True),
    "EventSource": (ARGO, "eventsources", True),
    "Sensor": (ARGO, "sensors", True),
}
"""Kind to API path, plural, and whether it lives in a namespace."""


class Dial(NamedTuple):
    """What a WebSocket to the API server needs."""

    url: str
    headers: dict[str, str]
    tls: ssl.SSLContext
    server_name: str | None
    proxy: str | None


class RefusedError(SetupError):
    """The API server refuses a request."""

    def __init__(self, status: int, problem: str, hint: str) -> None:
        """Keep the HTTP status."""
        super().__init__("E-KUBE", problem, hint=hint)
        self.status = status


class LackingError(SetupError):
    """A missing permission. ``prepare`` writes the file for the administrator."""

    status = 403

    def __init__(self, right: Right, folder: Path) -> None:
        """Take the right and the folder for the file.

        Nothing is written: a hidden object is no error.
        """
        super().__init__("E-RIGHTS", right.problem, hint="Ask an administrator for this right.")
        self.right = right
        self.folder = folder

    def prepare(self) -> None:
        """See ``SetupError``. Where the file cannot be written, asking is what is left."""
        with suppress(SetupError):
            file = self.right.write(self.folder)
            self.hint = f"Let an administrator apply {shown(file)} (kubectl apply -f {typed(file)}), then run it again."


class Kube:
    """One cluster, by kubeconfig and context. The user's current context is not used."""

    def __init__(self, kubeconfig: Path, context: str, network: Network | None = None) -> None:
        """Read the kubeconfig; *network* has the proxy if that has none. Nothing is sent yet.

        :raises SetupError: E-KUBE, the file or the context in it is not there or not valid.
        """
        self.kubeconfig = kubeconfig
        self.rights = kubeconfig.parent / "rights"
        """Where it is written what an administrator must apply: beside what else is remembered of
        the cluster."""
        self.context = context
        try:
            config = Configuration()
            config.proxy = None  # else the environment's, also for what NO_PROXY excludes
            load_kube_config(str(kubeconfig), context, client_configuration=config, persist_config=False)  # type: ignore[no-untyped-call]
        except (ConfigException, yaml.YAMLError, OSError, ValueError) as error:
            raise SetupError(
                "E-KUBE",
                f"The context {context} of {kubeconfig} cannot be used: {str(error).splitlines()[0].rstrip('.')}.",
                hint="See that the file is there, and that the cluster it names still is.",
            ) from None
        self.server = str(config.host)
        if config.proxy is None and network is not None:
            config.proxy = network.proxy_for(self.server)
        config.no_proxy = ""
        if config.proxy and login(config.proxy):
            config.proxy_headers = urllib3.make_headers(proxy_basic_auth=login(config.proxy))
        config.retries = RETRIES
        self._client: Any = ApiClient(config)

    # -- objects

    def get(self, kind: str, name: str, namespace: str = "") -> dict[str, Any] | None:
        """Return an object; None if it, or its kind, does not exist."""
        status, data = self._call("GET", self.path(kind, namespace, name))
        return None if status == 404 else data

    def objects(self, kind: str, namespace: str = "", *, labels: str = "", fields: str = "") -> list[dict[str, Any]]:
        """Return the objects of a kind with *labels* (``key=value,…``), by default everywhere."""
        query = [pair for pair in (("labelSelector", labels), ("fieldSelector", fields)) if pair[1]]
        status, data = self._call("GET", self.path(kind, namespace), query=query)
        return [] if status == 404 else list(data.get("items", []))

    def apply(self, document: Mapping[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Apply an object by server-side apply. Fields that others own stay theirs.

        :raises SetupError: E-KUBE, the server refuses it.
        """
        metadata = document["metadata"]
        query = [("fieldManager", FIELD_MANAGER), ("force", "true"), ("fieldValidation", "Strict")]
        query += [("dryRun", "All")] if dry_run else []
        path = self.path(document["kind"], metadata.get("namespace", ""), metadata["name"])
        _, data = self._call("PATCH", path, query=query, body=document, content_type="application/apply-patch+yaml", absent=False)
        return data

    def create(self, document: Mapping[str, Any]) -> dict[str, Any]:
        """Create an object; the server may make up its name."""
        _, data = self._call("POST", self.path(document["kind"], document["metadata"].get("namespace", "")), body=document, absent=False)
        return data

    def patch(self, kind: str, name: str, namespace: str, change: Mapping[str, Any]) -> dict[str, Any]:
        """Change fields of an object by a merge patch."""
        _, data = self._call(
            "PATCH", self.path(kind, namespace, name), body=change, content_type="application/merge-patch+json", absent=False
        )
        return data

    def delete(self, kind: str, name: str, namespace: str = "", *, owned: str = "Foreground") -> bool:
        """Delete an object and return whether it existed.

        What it owns goes before it (``Foreground``), after it (``Background``, where nobody waits
        for that), or stays (``Orphan``).
        """
        status, _ = self._call("DELETE", self.path(kind, namespace, name), query=[("propagationPolicy", owned)])
        return status != 404

    # -- what else is asked

    def log(self, pod: str, namespace: str, container: str, *, lines: int = 20, previous: bool = False) -> str:
        """Return the last lines of a container's log; empty if it has none yet."""
        query = [("container", container), ("tailLines", str(lines)), ("previous", str(previous).lower())]
        response = self._send("GET", f"{self.path('Pod', namespace, pod)}/log", query, None, "application/json")
        return response.data.decode("utf-8", "replace") if response.status == 200 else ""

    def log_since(self, pod: str, namespace: str, container: str, since: str) -> list[tuple[str, str]]:
        """Return a container's log lines after *since*, each with its time; all if that is empty.

        :raises SetupError: E-RIGHTS, we may not read them.
        """
        query = [("container", container), ("timestamps", "true")] + ([("sinceTime", since)] if since else [])
        response = self._send("GET", f"{self.path('Pod', namespace, pod)}/log", query, None, "application/json")
        if response.status == 403:
            raise self._refusal(403, _read(response.data), f"the log of {pod}")
        if response.status != 200:
            return []
        pairs = (line.partition(" ") for line in log_lines(response.data))
        return [(moment, text) for moment, _, text in pairs if moment > since]

    def may(self, verb: str, group: str, resource: str, namespace: str = "") -> bool:
        """Return whether we may do something. A resource may have a part: ``pods/log``."""
        plural, _, part = resource.partition("/")
        attributes = {"verb": verb, "group": group, "resource": plural, "subresource": part, "namespace": namespace}
        body = {"apiVersion": "authorization.k8s.io/v1", "kind": "SelfSubjectAccessReview", "spec": {"resourceAttributes": attributes}}
        _, data = self._call("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=body, absent=False)
        return bool(data.get("status", {}).get("allowed"))

    def need(self, wanted: Iterable[tuple[str, str, str]], namespace: str, name: str) -> None:
        """Check rights before use: verb, API group and plural.

        *name* is the file's for the administrator.

        :raises LackingError: E-RIGHTS, with all that is lacking.
        """
        refused = [right for right in wanted if not self.may(*right, namespace)]
        if refused:
            raise LackingError(rbac.several(refused, self.user, namespace, name), self.rights)

    @property
    def user(self) -> str:
        """Our user name in the cluster; empty if unknown."""
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        with suppress(RefusedError, LackingError):
            _, data = self._call("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", body=body, absent=False)
            return str(data.get("status", {}).get("userInfo", {}).get("username", ""))
        return ""

    @cached_property
    def version(self) -> tuple[int, int]:
        """The version of Kubernetes, such as (1, 36)."""
        _, data = self._call("GET", "/version", absent=False)
        numbers = re.findall(r"\d+", f"{data.get('major', '')}.{data.get('minor', '')}")  # or "36+"
        return (int(numbers[0]), int(numbers[1])) if len(numbers) > 1 else (0, 0)

    @property
    def argo(self) -> set[str]:
        """The plurals of Argo's kinds in the cluster, from discovery, which needs no right."""
        _, data = self._call("GET", f"/{ARGO}")
        return {str(item["name"]) for item in data.get("resources", [])}

    def silent(self) -> str | None:
        """Return why the API server does not answer, or None."""
        try:
            response = self._send("GET", "/readyz", [], None, "application/json")
        except SetupError as error:
            return error.problem.rstrip(".")
        return None if response.status == 200 else f"the API server answers {response.status}"

    # -- connections into pods

    def dial(self, path: str, query: Sequence[tuple[str, str]]) -> Dial:
        """Return what a WebSocket to this path needs: see ``streams``."""
        config = self._client.configuration
        _, url, headers, *_ = self._client.param_serialize("GET", path, query_params=list(query), auth_settings=["BearerToken"])
        context = ssl.create_default_context(cafile=config.ssl_ca_cert)
        if config.cert_file:
            context.load_cert_chain(config.cert_file, config.key_file)
        if not config.verify_ssl:
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        kept = {name: value for name, value in headers.items() if name.lower() == "authorization"}
        return Dial(url, kept, context, config.tls_server_name, config.proxy)

    def ready_pod(self, name: str, namespace: str) -> str:
        """Return a ready pod of a program.

        :raises SetupError: E-KUBE, there is none.
        """
        for pod in self.objects("Pod", namespace, labels=f"app.kubernetes.io/name={name}"):
            ready = any(item["type"] == "Ready" and item["status"] == "True" for item in pod.get("status", {}).get("conditions", []))
            if ready and "deletionTimestamp" not in pod["metadata"]:
                return str(pod["metadata"]["name"])
        raise SetupError("E-KUBE", f"No pod of {name} is ready.", hint="invoke status shows what it waits for.")

    # -- how

    @staticmethod
    def path(kind: str, namespace: str = "", name: str = "") -> str:
        """Return the API path of a kind, of its objects in a namespace, or of one object."""
        root, plural, namespaced = KINDS[kind]
        middle = f"/namespaces/{namespace}" if namespaced and namespace else ""
        return f"/{root}{middle}/{plural}" + (f"/{name}" if name else "")

    def _send(self, method: str, path: str, query: Iterable[tuple[str, str]], body: object, content_type: str) -> Any:
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        request = self._client.param_serialize(
            method, path, query_params=list(query), header_params=headers, body=body, auth_settings=["BearerToken"]
        )
        try:
            response = self._client.call_api(*request, _request_timeout=TIMEOUT)
            response.read()
        except urllib3.exceptions.HTTPError as error:
            raise SetupError(
                "E-KUBE",
                f"The cluster at {self.server} cannot be reached: {in_few_words(error, None)}.",
                hint=f"Check whether it runs; {command('up')} starts it.",
            ) from None
        return response

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: Iterable[tuple[str, str]] = (),
        body: object = None,
        content_type: str = "application/json",
        absent: bool = True,
    ) -> tuple[int, dict[str, Any]]:
        response = self._send(method, path, query, body, content_type)
        data = _read(response.data)
        if response.status < 300 or (response.status == 404 and absent):
            return response.status, data
        raise self._refusal(response.status, data, f"{method} {path}", body)

    def _refusal(self, status: int, data: Mapping[str, Any], request: str, body: object = None) -> SetupError:
        """Return the error for a refusal."""
        message = str(data.get("message", ""))
        right = rbac.read(message, body) if status == 403 else None
        return LackingError(right, self.rights) if right else refusal(status, message, request)


def _read(answer: bytes) -> dict[str, Any]:
    """Decode an answer of the API server. One that is no object becomes a message."""
    try:
        data = json.loads(answer or b"{}")
    except ValueError:
        data = None
    return data if isinstance(data, dict) else {"message": answer[:200].decode("utf-8", "replace")}


def refusal(status: int, message: str, request: str) -> RefusedError:
    """Return the error for the API server's refusal."""
    hints = {
        401: "The credentials in the kubeconfig are no longer valid: make them anew.",
        403: "A rule of the cluster forbids it, or it does not know who you are: ask its administrator.",
        404: "What it needs is not installed there.",
        409: "It changed at the same time: run it again.",
        429: "It is busy: wait a moment, then run it again.",
    }
    problem = f"The cluster refuses ({status}): {message.strip().rstrip('.') or request}."
    return RefusedError(status, problem, hints.get(status, f"The request was {request}."))
