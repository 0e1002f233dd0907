"""The handles that every step receives."""

from __future__ import annotations

import secrets
from base64 import b64decode
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cluster import manifests
from cluster.connectors import Project, read_dotenv
from cluster.errors import SetupError
from cluster.instance import Instance
from cluster.providers.kind import Kind
from cluster.runs import History
from cluster.runtime import Runtime

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.kube import Kube
    from cluster.providers import Provider
    from cluster.settings import Settings
    from cluster.store.s3 import S3Store

NAMESPACE = "argo"
PART_OF = "app.kubernetes.io/part-of"
INSTANCE = "singer/instance"
ROOT_SECRET = "argo-artifacts-root"  # noqa: S105 - its name
USER_SECRET = "argo-artifacts"  # noqa: S105 - its name


class Stack:
    """Settings, provider, and what is opened when it is first needed: the cluster's API and its store."""

    def __init__(self, settings: Settings, environ: Mapping[str, str]) -> None:
        """Take the settings; nothing is run yet."""
        self.settings = settings
        self.environ = {**read_dotenv(settings.root / ".env"), **environ}
        self.instance = Instance(settings.local / "instance.json")
        self.instance.choose_ports(settings.ports)
        self.runtime = Runtime(settings.runtime)
        self.provider: Provider = Kind(settings, self.instance, self.runtime)

    @cached_property
    def project(self) -> Project:
        """What stands in ``singer-configs/``."""
        return Project(self.settings.root)

    @cached_property
    def kube(self) -> Kube:
        """The cluster's API, by the project's own kubeconfig."""
        from cluster.kube import Kube  # noqa: PLC0415 - kubernetes takes 0.3 s to import

        return Kube(self.provider.kubeconfig, self.provider.context)

    @property
    def labels(self) -> dict[str, str]:
        """What our objects carry."""
        return {INSTANCE: self.instance.id}

    @cached_property
    def documents(self) -> list[manifests.Document]:
        """The platform's objects as they shall be, in the order of application; the Secrets are made apart."""
        folder = self.settings.root / "manifests"
        files = [folder / "namespace.yaml", *sorted((folder / "argo").glob("*.yaml")), folder / "minio" / "minio.yaml"]
        documents = [self._with_images(document) for document in manifests.load(files)]
        return [manifests.stamped(manifests.labelled(document, self.labels)) for document in manifests.ordered(documents)]

    def _with_images(self, document: manifests.Document) -> manifests.Document:
        """Set the images that the settings choose."""
        image = "spec.template.spec.containers.0.image"
        chosen = {"workflow-controller": "controller", "argo-server": "server", "minio": "minio"}
        if document["kind"] == "Deployment":
            return manifests.with_value(document, image, self.settings.image(chosen[document["metadata"]["name"]]))
        if document["kind"] == "ConfigMap" and document["metadata"]["name"] == "workflow-controller-configmap":
            config = document["data"]["config"].replace("quay.io/argoproj/argoexec:v4.1.2", self.settings.image("executor"))
            return manifests.with_value(document, "data.config", config)
        return document

    # -- secrets and store

    def secret(self, name: str) -> dict[str, str] | None:
        """Return the values of one of our Secrets, None where it is not there or not filled in."""
        found = self.kube.get("Secret", name, NAMESPACE)
        data = (found or {}).get("data") or {}
        return {key: b64decode(value).decode() for key, value in data.items()} or None

    def make_secret(self, name: str, values: Mapping[str, str]) -> None:
        """Create or replace one of our Secrets."""
        metadata: dict[str, Any] = {"name": name, "namespace": NAMESPACE}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": dict(values)}
        labels = {PART_OF: "singer", "app.kubernetes.io/managed-by": "singer", **self.labels}
        self.kube.apply(manifests.labelled(document, labels))

    @staticmethod
    def new_credentials(user: str) -> dict[str, str]:
        """Return random credentials."""
        return {"accesskey": f"{user}-{secrets.token_hex(4)}", "secretkey": secrets.token_urlsafe(24)}

    def store(self, secret: str = USER_SECRET) -> S3Store:
        """Return the cluster's store as its user, or with *secret* as its root.

        :raises SetupError: E-STORE, the credentials are not there yet.
        """
        from cluster.store.s3 import S3Store  # noqa: PLC0415 - minio takes 0.2 s to import

        found = self.secret(secret)
        if found is None:
            raise SetupError("E-STORE", "MinIO's credentials are not there yet.", hint="invoke up makes them.")
        return S3Store(
            f"http://127.0.0.1:{self.instance.ports['port_s3']}",
            access_key=found["accesskey"],
            secret_key=found["secretkey"],
            region=self.settings.s3_region,
        )

    @cached_property
    def history(self) -> History:
        """States and records of the cluster."""
        return History(self.store(), self.settings)
