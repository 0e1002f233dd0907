"""The platform's objects as they should be: ``manifests/`` with the choices of the settings."""

from __future__ import annotations

from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import yaml

from cluster.argo import templates
from cluster.errors import SetupError
from cluster.kube import documents
from cluster.net import proxy
from cluster.project.secrets import may_rotate
from cluster.runs import format_version, rotation

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.kube.documents import Document
    from cluster.net.proxy import Network
    from cluster.project.reader import Project
    from cluster.providers import Provider

PART_OF = "app.kubernetes.io/part-of"
INSTANCE = rotation.INSTANCE
PIPELINE = "pipeline"
"""The ServiceAccount of pipelines' pods."""
LATE = "late"
"""The ServiceAccount of the check for late pipelines."""
SECRETS = "pipeline-secrets"
"""The Role with which runs keep what a connector replaced in its Secret."""
CONNECTOR = "connector-"
"""The prefix of a connector's Secret."""
ROLE = "eks.amazonaws.com/role-arn"
"""The annotation that lets a ServiceAccount take an IAM role."""
MINIO = "http://argo-artifacts:9000"
"""The address of our own MinIO in the cluster."""
METRICS = "workflow-controller-metrics"
"""The Service with the metrics of Argo's controller."""
INITLESS = (1, 36)
"""The first Kubernetes with image volumes on by default. Pods without an init container need
them."""
IMAGES = {"workflow-controller": "controller", "argo-server": "server", "minio": "minio"}
"""Deployment to the name of its image in the settings."""


def labels(instance: str) -> dict[str, str]:
    """Return the labels of the objects of an installation."""
    return {PART_OF: "singer", "app.kubernetes.io/managed-by": "singer", INSTANCE: instance}


@dataclass(frozen=True)
class Rendering:
    """The objects of one installation."""

    settings: Settings
    network: Network
    provider: Provider
    labels: dict[str, str]
    kubernetes: Callable[[], tuple[int, int]]
    """Asks the cluster for its version."""
    project: Callable[[], Project]
    """Returns what is in ``singer-configs/``."""

    @property
    def endpoint(self) -> str:
        """The address of the store for pods."""
        return self.settings.s3_endpoint.rstrip("/") if self.settings.store == "use" else MINIO

    @property
    def trusting(self) -> bool:
        """Whether pods need the company's certificates to reach the store."""
        return bool(self.network.certificates) and self.endpoint.startswith("https:")

    @cached_property
    def documents(self) -> list[Document]:
        """The objects in the order of application, without the Secrets of store and connectors."""
        rendered = [self.in_namespace(self._chosen(document)) for document in documents.load(self._files())]
        if not self.settings.metrics:
            rendered = [document for document in rendered if document["metadata"]["name"] != METRICS]
        if self.settings.argo == "use":
            rendered.append(self.in_namespace(self._repository()))
        rendered += self._for_pods()
        return [documents.stamped(documents.labelled(document, self.labels)) for document in documents.ordered(rendered)]

    def _files(self) -> list[Path]:
        """Return the manifests that the settings choose."""
        folder, settings = self.settings.tool / "manifests", self.settings
        argo = sorted((folder / "argo").glob("*.yaml")) if settings.argo == "install" else [folder / "argo" / "executor.yaml"]
        minio = [folder / "minio" / "minio.yaml"] if settings.store == "install" else []
        events = [folder / "events" / "events.yaml"] if settings.argo_events == "use" else []
        policies = [folder / "network-policies.yaml"] if settings.network_policies else []
        late = folder / "late" / "account.yaml"
        return [folder / "namespace.yaml", *argo, *minio, late, *events, *policies, *sorted((folder / "singer").glob("*.yaml"))]

    def _chosen(self, document: Document) -> Document:
        """Set the images, ports and store that the settings choose."""
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "Deployment":
            document = documents.with_value(document, "spec.template.spec.containers.0.image", self.settings.image(IMAGES[name]))
            return documents.pulling(document, self.settings.pull_secret)
        if kind == "Service" and not self.provider.publishes and name != METRICS:
            for port in document["spec"]["ports"]:
                del port["nodePort"]
            return documents.with_value(document, "spec.type", "ClusterIP")
        if kind == "WorkflowTemplate" and self.settings.argo == "use":
            document = templates.with_defaults(document, yaml.safe_load(self._argo_config["data"]["config"]))
        if name == templates.STORE:
            document = documents.annotated(document, {format_version.RECORD: str(format_version.LAYOUT)})
        if kind == "WorkflowTemplate" or name == templates.STORE:
            placed = templates.placed(document, self.settings, self.endpoint, trusting=self.trusting)
            return templates.without_metrics(placed) if kind == "WorkflowTemplate" and not self.settings.metrics else placed
        if kind in {"ServiceAccount", "Role"}:
            return self._with_access(document)
        if kind == "ConfigMap" and name == "workflow-controller-configmap":
            return documents.with_value(document, "data.config", yaml.safe_dump(self._controller(document), sort_keys=False))
        return document

    def _with_access(self, document: Document) -> Document:
        """Add IAM role and pull secret for pipelines, and the store's Secret for Argo's UI."""
        kind, name = document["kind"], document["metadata"]["name"]
        if kind == "ServiceAccount" and name in {PIPELINE, LATE}:
            document = documents.annotated(document, {ROLE: self.settings.s3_role}) if self.settings.s3_role else document
            return documents.pulling(document, self.settings.pull_secret)
        if (kind, name) == ("Role", "argo-server"):
            secret = [self.settings.s3_secret]
            rules = [{**rule, "resourceNames": secret} if "secrets" in rule["resources"] else rule for rule in document["rules"]]
            return documents.with_value(document, "rules", rules)
        if (kind, name) == ("Role", SECRETS) and not self._rotating:
            # Kubernetes drops an empty list. An exported one would conflict with what is there.
            return {key: value for key, value in document.items() if key != "rules"}
        if (kind, name) == ("Role", SECRETS):  # a rule without names would allow all
            rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": self._rotating, "verbs": ["get", "patch"]}
            return documents.with_value(document, "rules", [rule])
        return document

    @property
    def secrets_role(self) -> Document | None:
        """The Role with which runs keep what a connector replaced; None if none needs it."""
        if not self._rotating:
            return None
        return next(item for item in self.documents if (item["kind"], item["metadata"]["name"]) == ("Role", SECRETS))

    @cached_property
    def _rotating(self) -> list[str]:
        """The Secrets of the connectors that may replace a token in their config."""
        names: set[str] = set()
        with suppress(SetupError):  # files that cannot be read are reported by those who need them
            project = self.project()
            for name in project.pipeline_names:
                with suppress(SetupError):
                    names |= {CONNECTOR + side.name for side, file in project.pipeline(name).configs if may_rotate(file)}
        return sorted(names)

    def _controller(self, document: Document) -> Document:
        """Return the controller's configuration, with what the settings choose."""
        config: Document = yaml.safe_load(document["data"]["config"])
        config = documents.with_value(config, "executor.image", self.settings.image("executor"))
        config = documents.with_value(config, "initlessPod.enabled", self._initless())
        config = documents.with_value(config, "metricsConfig.enabled", self.settings.metrics)
        templates.stored(config["artifactRepository"]["s3"], self.settings, self.endpoint, trusting=self.trusting)
        return config

    def _initless(self) -> bool:
        """Return whether pods go without an init container.

        An Argo that we do not install has its own choice.
        """
        if self.settings.initless_pods != "auto":
            return self.settings.initless_pods
        return self.settings.argo == "install" and (self.provider.ours or self.kubernetes() >= INITLESS)

    @cached_property
    def _argo_config(self) -> Document:
        """The configuration of our own Argo, as in the repository."""
        return documents.load([self.settings.tool / "manifests" / "argo" / "default-argo-configmap.yaml"])[0]

    def _repository(self) -> Document:
        """Return our artifact repository as the default of our namespace, for an existing Argo."""
        repository = yaml.safe_dump(self._controller(self._argo_config)["artifactRepository"], sort_keys=False)
        annotations = {"workflows.argoproj.io/default-artifact-repository": "singer"}
        metadata = {"name": "artifact-repositories", "namespace": self.settings.namespace, "annotations": annotations}
        return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"singer": repository}}

    def check(self, image: str) -> Document:
        """Return the CronJob of the check for late pipelines, which runs in *image*."""
        job = documents.load([self.settings.tool / "manifests" / "late" / "check.yaml"])[0]
        placed = templates.placed(self.in_namespace(job), self.settings, self.endpoint)
        placed = documents.with_value(placed, "spec.jobTemplate.spec.template.spec.containers.0.image", image)
        return documents.stamped(documents.labelled(placed, self.labels))

    def _for_pods(self) -> list[Document]:
        """Return the objects with the proxy and the certificates for pods, if there are any.

        The variables are a Secret, because a proxy's address may hold a password. The certificates
        are a file: as a variable they exceed the limit for starting a program.
        """
        variables, certificates = self.network.in_pods(), self.network.certificates
        metadata = {"name": proxy.NAME, "namespace": self.settings.namespace}
        secret = {"apiVersion": "v1", "kind": "Secret", "type": "Opaque"}
        rendered: list[Document] = []
        if variables:
            encoded = {name: b64encode(value.encode()).decode() for name, value in variables.items()}
            rendered.append({**secret, "metadata": metadata, "data": encoded})
        if certificates:
            rendered.append({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {proxy.BUNDLE: certificates}})
        if self.trusting:
            data = {proxy.BUNDLE: b64encode(certificates.encode()).decode()}
            rendered.append({**secret, "metadata": {**metadata, "name": templates.CA}, "data": data})
        return rendered

    def in_namespace(self, document: Document) -> Document:
        """Return an object in our namespace. The manifests use the name ``argo``."""
        namespace = self.settings.namespace
        if document["kind"] == "Namespace":
            return documents.with_value(document, "metadata.name", namespace)
        if "namespace" in document["metadata"]:
            document = documents.with_value(document, "metadata.namespace", namespace)
        for number, subject in enumerate(document.get("subjects", [])):
            if "namespace" in subject:
                document = documents.with_value(document, f"subjects.{number}.namespace", namespace)
        return document
