"""The manifests: valid, complete, least privilege, and in agreement with each other. Needs no cluster."""

import json
import re

import kubernetes_schemas
import pytest
from argo_models import unknown
from manifest_files import (
    ALL,
    BUCKETS,
    CORE,
    MANIFESTS,
    NAMESPACE,
    SECRET_KEYS,
    SERVICES,
    WORKFLOWS,
    WORKLOADS,
    Document,
    argo_config,
    containers,
    documents,
    each,
    find,
    images,
    kind_config,
    name_of,
    pod_spec,
    rules,
)
from pod_security import violations

CLUSTER_SCOPED = {"Namespace", "CustomResourceDefinition"}
LABELS = {"app.kubernetes.io/part-of": "singer", "app.kubernetes.io/managed-by": "singer"}
CRDS = {
    "workflows": ("Workflow", ["wf"]),
    "workflowtemplates": ("WorkflowTemplate", ["wftmpl"]),
    "cronworkflows": ("CronWorkflow", ["cwf", "cronwf"]),
    "workflowtasksets": ("WorkflowTaskSet", ["wfts"]),
    "workflowtaskresults": ("WorkflowTaskResult", []),
    "workflowartifactgctasks": ("WorkflowArtifactGCTask", ["wfat"]),
    "workfloweventbindings": ("WorkflowEventBinding", ["wfeb"]),
}


@each(CORE)
def test_core_objects_match_the_schema_of_their_kind(document: Document) -> None:
    """The API server of this Kubernetes version accepts every object, without an unknown field."""
    kubernetes_schemas.validate(document)


def test_workflow_objects_match_argos_model() -> None:
    """Argo knows every field of our own Workflows, templates and schedules."""
    unknown_keys = {name: unknown(document["kind"], document) for name, document in WORKFLOWS.items()}
    assert {name: keys for name, keys in unknown_keys.items() if keys} == {}


@each(ALL)
def test_objects_are_labelled(document: Document) -> None:
    """The labels of every object name what it is, what it is a part of, and who manages it."""
    labels = document["metadata"]["labels"]
    assert labels.keys() >= {"app.kubernetes.io/name"}
    by_hand = {"app.kubernetes.io/managed-by": "hand"} if document["kind"] in {"Workflow", "CronWorkflow"} else {}
    assert labels.items() >= (LABELS | by_hand).items()


@each(ALL)
def test_objects_name_their_namespace(document: Document) -> None:
    """Every object lies in our namespace, unless its kind has none."""
    assert document["metadata"].get("namespace") == (None if document["kind"] in CLUSTER_SCOPED else NAMESPACE)


def test_no_object_stands_twice() -> None:
    """No two documents describe the same object."""
    seen = [(document["kind"], name_of(document)) for _, document in documents()]
    assert len(seen) == len(set(seen))


def test_no_manifest_is_a_template() -> None:
    """Double braces stand only where Argo fills them in: in the controller's configuration and in Workflow objects."""
    for name, document in CORE.items():
        if document["kind"] != "ConfigMap":
            assert "{{" not in json.dumps(document), name


def test_the_namespace_enforces_restricted() -> None:
    """The API server refuses pods that do not comply with the `restricted` standard in our namespace."""
    labels = find("Namespace", NAMESPACE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert labels["pod-security.kubernetes.io/enforce-version"] == "latest"


@each(WORKLOADS)
def test_pods_comply_with_restricted(document: Document) -> None:
    """Every pod of ours may start in a namespace that enforces `restricted`."""
    assert violations(pod_spec(document)) == []


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"hostNetwork": True}, "pod: hostNetwork"),
        ({"securityContext": {"runAsNonRoot": True}}, "c: seccompProfile"),
        ({"securityContext": {"seccompProfile": {"type": "RuntimeDefault"}}}, "c: runAsNonRoot"),
        ({"volumes": [{"name": "v", "hostPath": {"path": "/"}}]}, "volume v"),
        ({"containers": [{"name": "c", "securityContext": {"capabilities": {"drop": ["ALL"]}}}]}, "c: allowPrivilegeEscalation"),
        ({"containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": False}}]}, "c: capabilities"),
    ],
    ids=["host network", "no seccomp", "root", "host path", "escalation", "capabilities"],
)
def test_the_checker_of_restricted_finds_violations(change: Document, problem: str) -> None:
    """A pod that the API server would refuse is found here first."""
    good: Document = {
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "c", "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}}],
    }
    assert violations(good) == []
    assert violations(good | change) == [problem]


def test_workflow_pods_comply_with_restricted_by_default() -> None:
    """A Workflow without security settings gets those that `restricted` asks for, in Argo's containers as in its own."""
    config = argo_config()
    made = [{"name": name, "securityContext": config[name]["securityContext"]} for name in ("executor", "mainContainer")]
    assert violations({"securityContext": config["workflowDefaults"]["spec"]["securityContext"], "containers": made}) == []


@each(WORKLOADS)
def test_containers_are_explicit(document: Document) -> None:
    """Every container names its command, its pull policy, its requests and a limit of memory, and cannot write to its image."""
    spec = pod_spec(document)
    assert spec["enableServiceLinks"] is False
    assert isinstance(spec["automountServiceAccountToken"], bool)
    for container in containers(spec):
        assert container["command"]
        assert container["imagePullPolicy"] == "IfNotPresent"
        assert container["resources"]["requests"].keys() == {"cpu", "memory"}
        assert "memory" in container["resources"]["limits"]
        assert container["securityContext"]["readOnlyRootFilesystem"] is True


@pytest.mark.parametrize("image", images().values(), ids=images().keys())
def test_images_are_pinned(image: str) -> None:
    """Every image names a version: a tag that is a release, never `latest` or none."""
    tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
    assert re.fullmatch(r"v\d+\.\d+\.\d+|RELEASE\.[0-9TZ-]+", tag), image


def test_argos_images_have_one_version() -> None:
    """Controller, server and executor are of the same release."""
    assert len({image.rpartition(":")[2] for image in images().values() if "/argoproj/" in image}) == 1


@each(WORKLOADS)
def test_selectors_match_their_pods(document: Document) -> None:
    """A workload selects exactly the pods that it makes."""
    selector = document["spec"]["selector"]["matchLabels"]
    labels = document["spec"]["template"]["metadata"]["labels"]
    assert labels.items() >= selector.items()
    assert labels.items() >= LABELS.items()
    assert [other for other in WORKLOADS.values() if other["spec"]["template"]["metadata"]["labels"].items() >= selector.items()] == [
        document
    ]


@each(WORKLOADS)
def test_probes_and_mounts_name_what_is_there(document: Document) -> None:
    """A probe's port is a port of its container, and every mount has its volume."""
    spec = pod_spec(document)
    volumes = {volume["name"] for volume in spec.get("volumes", [])}
    for container in containers(spec):
        ports = {port["name"] for port in container["ports"]}
        assert {container[probe]["httpGet"]["port"] for probe in container if probe.endswith("Probe")} <= ports
        assert {mount["name"] for mount in container.get("volumeMounts", [])} == volumes


@each(SERVICES)
def test_services_reach_their_pods(document: Document) -> None:
    """Every port of a Service is a named port of the pods that it selects, with the same number."""
    [chosen] = [
        pod_spec(workload)
        for workload in WORKLOADS.values()
        if workload["spec"]["template"]["metadata"]["labels"].items() >= document["spec"]["selector"].items()
    ]
    ports = {port["name"]: port["containerPort"] for container in containers(chosen) for port in container["ports"]}
    for port in document["spec"]["ports"]:
        assert ports[port["targetPort"]] == port["port"]


def test_kind_publishes_the_node_ports_on_loopback_only() -> None:
    """The ports that kind publishes are those of our Services, each under its Service's own number, on 127.0.0.1."""
    config = kind_config()
    [node] = config["nodes"]
    published = {mapping["containerPort"]: mapping["hostPort"] for mapping in node["extraPortMappings"]}
    ours = {port["nodePort"]: port["port"] for service in SERVICES.values() for port in service["spec"]["ports"] if "nodePort" in port}
    assert published == ours == {32746: 2746, 30900: 9000, 30901: 9001}
    assert {mapping["listenAddress"] for mapping in node["extraPortMappings"]} == {"127.0.0.1"}
    assert config["networking"]["apiServerAddress"] == "127.0.0.1"


def test_bindings_join_a_role_and_an_account_that_exist() -> None:
    """Every RoleBinding gives a role of ours to a service account of ours, and every pod runs as one of them or as none."""
    for document in ALL.values():
        if document["kind"] == "RoleBinding":
            [subject] = document["subjects"]
            assert (subject["kind"], subject["namespace"]) == ("ServiceAccount", NAMESPACE)
            assert find("Role", document["roleRef"]["name"])
            assert find("ServiceAccount", subject["name"])
    for document in WORKLOADS.values():
        spec = pod_spec(document)
        assert ("serviceAccountName" in spec) is spec["automountServiceAccountToken"]
        assert find("ServiceAccount", spec["serviceAccountName"]) if "serviceAccountName" in spec else True
    assert find("ServiceAccount", argo_config()["workflowDefaults"]["spec"]["serviceAccountName"])


@pytest.mark.parametrize("role", [document["metadata"]["name"] for document in ALL.values() if document["kind"] == "Role"])
def test_roles_have_no_wildcards(role: str) -> None:
    """No role names `*`, and none but that of people who bring them secrets other than by name."""
    for rule in rules(role):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "secrets" not in rule["resources"] or role == "singer-operator" or rule["resourceNames"]
    assert not any(document["kind"] in {"ClusterRole", "ClusterRoleBinding"} for document in ALL.values())


def test_the_ui_only_reads() -> None:
    """A user of the UI's port can change nothing, and of the secrets sees only the one that opens archived logs."""
    assert {verb for rule in rules("argo-server") for verb in rule["verbs"]} <= {"get", "list", "watch"}
    assert {"pods/exec", "serviceaccounts/token"}.isdisjoint(resource for rule in rules("argo-server") for resource in rule["resources"])
    [secrets] = [rule for rule in rules("argo-server") if "secrets" in rule["resources"]]
    assert (secrets["resourceNames"], secrets["verbs"]) == (["argo-artifacts"], ["get"])


def test_pipelines_only_report_their_results() -> None:
    """A pipeline's pods have no right but to write their own results."""
    assert rules("pipeline") == [{"apiGroups": ["argoproj.io"], "resources": ["workflowtaskresults"], "verbs": ["create", "patch"]}]


def test_secret_skeletons_hold_no_value() -> None:
    """The repository holds no credentials, and no empty ones either: MinIO would take its well-known default user then."""
    secrets = {document["metadata"]["name"]: document for document in ALL.values() if document["kind"] == "Secret"}
    assert secrets.keys() == {"argo-artifacts", "argo-artifacts-root"}
    for document in secrets.values():
        assert document.keys() == {"apiVersion", "kind", "metadata", "type"}


def test_minio_reads_its_root_credentials_from_the_secret() -> None:
    """MinIO's pod waits for the keys of the root secret, and reads them from where they are mounted."""
    spec = pod_spec(find("Deployment", "minio"))
    [container] = spec["containers"]
    [secret] = [volume["secret"] for volume in spec["volumes"] if "secret" in volume]
    assert secret["secretName"] == "argo-artifacts-root"
    assert [item["key"] for item in secret["items"]] == SECRET_KEYS
    assert not secret.get("optional")
    mount = next(mount["mountPath"] for mount in container["volumeMounts"] if mount["name"] == "root-credentials")
    env = {variable["name"]: variable["value"] for variable in container["env"]}
    files = [env["MINIO_ROOT_USER_FILE"], env["MINIO_ROOT_PASSWORD_FILE"]]
    assert files == [f"{mount}/{item['path']}" for item in secret["items"]]


def test_minio_is_ready_only_when_it_can_serve() -> None:
    """Start and readiness ask for buckets and users, not only for the process."""
    [container] = pod_spec(find("Deployment", "minio"))["containers"]
    probes = {name: container[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "readiness", "liveness")}
    assert probes == {"startup": "/minio/health/cluster", "readiness": "/minio/health/cluster", "liveness": "/minio/health/live"}


def test_argo_stores_artifacts_in_our_minio() -> None:
    """Endpoint, bucket, region and secret of Argo's repository are those of the Service, the policy and MinIO."""
    s3 = argo_config()["artifactRepository"]["s3"]
    service = find("Service", "argo-artifacts")
    ports = {port["name"]: port["port"] for port in service["spec"]["ports"]}
    assert s3["endpoint"] == f"{service['metadata']['name']}:{ports['s3']}"
    assert s3["bucket"] in BUCKETS
    assert [s3["accessKeySecret"], s3["secretKeySecret"]] == [{"name": "argo-artifacts", "key": key} for key in SECRET_KEYS]
    [container] = pod_spec(find("Deployment", "minio"))["containers"]
    assert s3["region"] == next(variable["value"] for variable in container["env"] if variable["name"] == "MINIO_SITE_REGION")
    assert not s3["keyFormat"].startswith(("runs/", "raw/"))


def test_argos_configuration_is_known_to_argo() -> None:
    """Argo's models know every field of the defaults and of the repository: a misspelt one stops the controller or is lost."""
    config = argo_config()
    assert unknown("ArtifactRepository", config["artifactRepository"]) == set()
    assert unknown("WorkflowSpec", config["workflowDefaults"]["spec"]) == set()
    for name in ("executor", "mainContainer"):
        assert unknown("Container", {"image": "any", **config[name]}) == set()
    assert config.keys() == {
        "artifactRepository",
        "executor",
        "initlessPod",
        "mainContainer",
        "metricsConfig",
        "nodeEvents",
        "parallelism",
        "retentionPolicy",
        "telemetryConfig",
        "workflowDefaults",
    }


def test_unknown_fields_are_noticed() -> None:
    """A misspelt field of a Workflow is found with its path."""
    assert unknown("WorkflowSpec", {"podGC": {"strategy": "OnPodSuccess", "delay": "1s"}}) == {".podGC.delay"}


def test_the_controller_reads_the_shipped_configuration() -> None:
    """Controller and server read the ConfigMap of this repository, and the server may."""
    [container] = pod_spec(find("Deployment", "workflow-controller"))["containers"]
    assert "--configmap=workflow-controller-configmap" in container["args"]
    [rule] = [rule for rule in rules("argo-server") if "configmaps" in rule["resources"]]
    assert rule["resourceNames"] == ["workflow-controller-configmap"]


@pytest.mark.parametrize(("plural", "expected"), CRDS.items(), ids=CRDS.keys())
def test_definitions_have_argos_names(plural: str, expected: tuple[str, list[str]]) -> None:
    """Every kind has the names under which Argo and its command line look for it, in the version that Argo speaks."""
    kind, short = expected
    spec = find("CustomResourceDefinition", f"{plural}.argoproj.io")["spec"]
    assert (spec["group"], spec["scope"]) == ("argoproj.io", "Namespaced")
    names = {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower(), "shortNames": short}
    assert {"shortNames": []} | spec["names"] == names
    [version] = spec["versions"]
    assert (version["name"], version["served"], version["storage"]) == ("v1alpha1", True, True)
    assert ("subresources" in version) is (plural in {"workflowtasksets", "workflowartifactgctasks"})


def test_definitions_replace_specs_whole() -> None:
    """A field that leaves a spec in the repository leaves it in the cluster, and no field is pruned on its way in."""
    definitions = [document for document in ALL.values() if document["kind"] == "CustomResourceDefinition"]
    assert {document["spec"]["names"]["plural"] for document in definitions} == CRDS.keys()
    for document in definitions:
        schema = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
        for part in schema.get("properties", {}).values():
            assert part == {"type": "object", "x-kubernetes-map-type": "atomic", "x-kubernetes-preserve-unknown-fields": True}
        assert "spec" in schema.get("properties", {}) or schema["x-kubernetes-preserve-unknown-fields"] is True


def test_the_policy_covers_our_buckets_only() -> None:
    """The pipelines' user may look into our three buckets, read and write their objects, and do nothing else."""
    policy = json.loads((MANIFESTS / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
    allowed = {statement["Sid"]: statement for statement in policy["Statement"] if statement["Effect"] == "Allow"}
    look, use = allowed["ListOurObjects"], allowed["ReadAndWriteObjects"]
    ask = allowed["LookAtOurBuckets"]
    assert len(allowed) == 3
    assert ask["Resource"] == look["Resource"]
    assert look["Resource"] == [f"arn:aws:s3:::{bucket}" for bucket in BUCKETS]
    assert use["Resource"] == [f"arn:aws:s3:::{bucket}/*" for bucket in BUCKETS]
    assert "*" not in "".join(ask["Action"] + look["Action"] + use["Action"])
    # Argo lists a prefix to tell a missing object from a folder; without the right an optional artifact would fail.
    assert "s3:ListBucket" in look["Action"]


def test_the_policy_denies_what_would_last() -> None:
    """No pipeline can delete an older version of a config or a state, nor make keys that outlive its own."""
    policy = json.loads((MANIFESTS / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
    denied = {statement["Sid"]: statement for statement in policy["Statement"] if statement["Effect"] == "Deny"}
    history = denied.pop("KeepTheHistoryOfConfigsAndStates")
    assert (history["Action"], history["Resource"]) == (["s3:DeleteObjectVersion"], ["arn:aws:s3:::singer-configs/*"])
    assert "admin:CreateServiceAccount" in denied.pop("MakeNoFurtherKeys")["Action"]
    assert denied == {}


def test_network_policies_select_pods_and_ports_that_exist() -> None:
    """Every policy selects a workload of ours and names only ports that its container has, for ingress alone."""
    policies = [document for document in ALL.values() if document["kind"] == "NetworkPolicy"]
    assert policies
    for policy in policies:
        spec = policy["spec"]
        assert spec["policyTypes"] == ["Ingress"]
        [chosen] = [
            pod_spec(workload)
            for workload in WORKLOADS.values()
            if workload["spec"]["template"]["metadata"]["labels"].items() >= spec["podSelector"]["matchLabels"].items()
        ]
        ports = {port["name"] for container in containers(chosen) for port in container["ports"]}
        assert {port["port"] for rule in spec.get("ingress", []) for port in rule["ports"]} <= ports
