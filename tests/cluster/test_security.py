"""What docs/security.md promises of the platform, asked of a real cluster."""

from __future__ import annotations

import gzip
import json
import socket
import subprocess
import tarfile
import time
import urllib.error
import urllib.request
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import permissions as rights
import pytest
from argo_checkout import argo_checkout, finished, slow
from platform_checkout import run

from cluster.containers.images import commit_tag

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
CANARY, OTHER = "canary-5b81e0d7", "quetzal-c2f94a11"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount"
PROBE = "singer-probe"
KINDS = "workflows,workflowtemplates,cronworkflows,workflowtaskresults,pods,configmaps,events"


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def node(argo: Argo, script: str, stdin: str = "") -> str:
    """Run a shell script on the cluster's node; what is secret goes through its standard input, so that it is nobody's argument."""
    return run("docker", "exec", "-i", f"{argo.cluster}-control-plane", "sh", "-c", script, stdin=stdin)


def test_every_account_may_do_what_the_list_says(argo: Argo) -> None:
    """The API server itself, asked as each service account, grants the rights of the list and refuses what would be tried first."""
    tries = [(who, verb, what) for who, rows in rights.TRIED.items() for verb, what in rows]
    there = rights.MAY.keys() - rights.OPTIONAL
    tries += [(who, verb, what) for who in sorted(there) for what, verbs in rights.MAY[who].items() for verb in sorted(verbs)]
    tries = [item for item in tries if item[0] in there]
    lines = []
    for who, verb, what in tries:
        whole, _, name = what.partition(":")
        whole, _, sub = whole.partition("/")
        lines.append(f"{who} {verb} {whole}{f'/{name}' if name else ''} {f'--subresource={sub}' if sub else ''}")
    ask = "kubectl --kubeconfig /etc/kubernetes/admin.conf -n argo auth can-i $verb $what $sub --as=system:serviceaccount:argo:$who"
    printed = node(argo, f"while read -r who verb what sub; do {ask} </dev/null 2>/dev/null || true; done", "\n".join(lines) + "\n")
    answers = [line for line in printed.split() if line in {"yes", "no"}]
    assert len(answers) == len(tries)
    expected = ["yes" if rights.granted(*row) else "no" for row in tries]
    assert {row: answer for row, answer, right in zip(tries, answers, expected, strict=True) if answer != right} == {}


def test_the_ui_changes_nothing(argo: Argo) -> None:
    """A user of the UI cannot delete, stop or submit a run."""
    name = argo.pipeline("looked-at", {"steps": []})
    run_ = argo.one(name).last["run"]
    before = {item["metadata"]["name"] for item in argo.there("workflows", "-n", "argo")}
    base = f"http://127.0.0.1:{argo.port('port_argo')}/api/v1/workflows/argo"
    for method, path, body in (
        ("DELETE", f"/{run_}", None),
        ("PUT", f"/{run_}/terminate", b"{}"),
        ("PUT", f"/{run_}/resubmit", b"{}"),
        ("POST", "/submit", json.dumps({"resourceKind": "WorkflowTemplate", "resourceName": "streaming"}).encode()),
    ):
        request = urllib.request.Request(f"{base}{path}", data=body, method=method, headers={"Content-Type": "application/json"})
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=10)
        with refused.value as answer:
            assert answer.code in {400, 403, 500}, (method, path)
    assert {item["metadata"]["name"] for item in argo.there("workflows", "-n", "argo")} == before


def test_only_this_machine_reaches_the_ports(argo: Argo) -> None:
    """Every published port is bound to 127.0.0.1, and on the machine's other address nobody answers."""
    inspected = run("docker", "inspect", "--format", "{{json .NetworkSettings.Ports}}", f"{argo.cluster}-control-plane")
    bound = [binding for bindings in json.loads(inspected).values() for binding in bindings or []]
    assert len(bound) >= 4
    assert {binding["HostIp"] for binding in bound} == {"127.0.0.1"}
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing: it tells the address that the machine would send from
        address = probe.getsockname()[0]
        for binding in bound:
            with (
                pytest.raises(OSError, match=r"refused|timed out|unreachable"),
                socket.create_connection((address, int(binding["HostPort"])), 3),
            ):
                pass


def test_a_pod_with_privileges_is_refused(argo: Argo) -> None:
    """The API server refuses a pod that runs as root or with privileges in our namespace, for every user."""
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "intruder"},
        "spec": {"hostPID": True, "containers": [{"name": "c", "image": "x"}]},
    }
    node_ = ["docker", "exec", "-i", f"{argo.cluster}-control-plane", "kubectl", "--kubeconfig", "/etc/kubernetes/admin.conf"]
    tried = subprocess.run([*node_, "-n", "argo", "create", "-f", "-"], input=json.dumps(pod), capture_output=True, text=True, check=False)
    assert tried.returncode != 0
    assert "violates PodSecurity" in tried.stderr


def test_a_secret_is_in_its_own_container_alone(argo: Argo) -> None:
    """While a run is on and after it, a secret is in no argument, environment, object, log, bucket or image; no connector has a token."""
    name = argo.pipeline("guarded", {**slow(40), "token": "${TOKEN}"}, {"password": "${PASSWORD}"})
    process = argo.begin("run", name, "--engine", "argo", "--json", TOKEN=CANARY, PASSWORD=OTHER)
    try:
        deadline = time.monotonic() + 300  # the connectors' images are built first
        while not argo.works(name):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.5)
        [pod] = [item["metadata"]["name"] for item in argo.pods(name)]
        secrets = f"{CANARY}\n{OTHER}\n"
        assert node(argo, "grep -lFf - /proc/[0-9]*/cmdline /proc/[0-9]*/environ 2>/dev/null || true", secrets) == ""
        for side in ("tap", "target", "main"):
            assert argo.kubectl("-n", "argo", "exec", pod, "-c", side, "--", "ls", "-A", TOKEN) == ""
        for side, own in (("tap", CANARY), ("target", OTHER)):
            seen = argo.kubectl(
                "-n", "argo", "exec", pod, "-c", side, "--", "sh", "-c", "cat /singer/secrets/* /singer/work/*/* 2>/dev/null; true"
            )
            assert own in seen
            assert ({CANARY, OTHER} - {own}).pop() not in seen
        assert finished(process)["status"] == "succeeded"
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()

    stored = node(argo, "grep -rlFf - /var/local-path-provisioner /var/log/pods 2>/dev/null || true", secrets)
    assert stored == ""
    seen = argo.kubectl("get", KINDS, "-A", "-o", "json") + "".join(
        argo.type(*words).out for words in (("logs", "last"), ("show", "last", "--json"))
    )
    assert CANARY not in seen
    assert OTHER not in seen
    for image in images(argo):
        assert words_in(image, CANARY, OTHER) == set(), image


def test_network_policies(argo: Argo) -> None:
    """Where the network enforces policies, other namespaces' pods reach neither MinIO nor the UI, ours the buckets alone; runs succeed."""
    on = {"INVOKE_SINGER_NETWORK_POLICIES": "true"}
    with argo.handles() as handles:
        image = commit_tag(handles.settings)
    doors = {item["metadata"]["name"]: item["spec"] for item in argo.there("services", "-n", "argo")}
    addresses = {
        "minio": (doors["argo-artifacts"]["clusterIP"], 9000),
        "console": (doors["argo-artifacts"]["clusterIP"], 9001),
        "ui": (doors["argo-server"]["clusterIP"], 2746),
    }
    api = argo.there("services", "-n", "default", "--field-selector=metadata.name=kubernetes")[0]["spec"]["clusterIP"]
    nothing = {"podSelector": {"matchLabels": {"who": "bound"}}, "policyTypes": ["Egress"]}
    probers = [(PROBE, "bound"), (PROBE, "free"), ("argo", "ours")]
    objects: list[dict[str, Any]] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": PROBE}},
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": "nothing", "namespace": PROBE},
            "spec": nothing,
        },
        *(prober(namespace, who, image, {"api": (api, 443), **addresses}) for namespace, who in probers),
    ]
    try:
        assert argo.type("up", **on).code == 0
        argo.kubectl("apply", "-f", "-", stdin="\n---\n".join(map(json.dumps, objects)))
        reached = {}
        for namespace, who in probers:
            argo.kubectl("-n", namespace, "wait", "--for=jsonpath={.status.phase}=Succeeded", f"pod/{who}", "--timeout=120s")
            reached[who] = set(argo.kubectl("-n", namespace, "logs", who).split())
        if "api" in reached["bound"]:
            pytest.skip("the network of this cluster does not enforce NetworkPolicies")
        assert reached == {"bound": set(), "free": {"api"}, "ours": {"api", "minio"}}
        assert argo.runs("one", **on)["one"].last["status"] == "succeeded"
        assert argo.type("status", **on).code == 0
    finally:
        argo.kubectl("-n", "argo", "delete", "pod", "ours", "--ignore-not-found", "--wait=false")
        argo.kubectl("delete", "namespace", PROBE, "--ignore-not-found", "--wait=false")
        assert argo.type("up").code == 0
    assert argo.there("networkpolicies", "-n", "argo") == []


def prober(namespace: str, who: str, image: str, doors: dict[str, tuple[str, int]]) -> dict[str, Any]:
    """Return a pod that prints which doors it can open."""
    program = f"""
import socket, time
time.sleep(5)  # policies are in force by then
for name, address in {doors!r}.items():
    try:
        socket.create_connection(address, 3).close()
        print(name)
    except OSError:
        pass
"""
    container = {
        "name": "probe",
        "image": image,
        "imagePullPolicy": "Never",
        "command": ["/usr/local/bin/python", "-c", program],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }
    safe = {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": who, "namespace": namespace, "labels": {"who": who}},
        "spec": {"restartPolicy": "Never", "automountServiceAccountToken": False, "securityContext": safe, "containers": [container]},
    }


def images(argo: Argo) -> list[str]:
    """Return the images of ours that the pipeline ran in, as this machine's docker has them."""
    with argo.handles() as handles:
        commit = commit_tag(handles.settings)
    ours = argo.there("configmaps", "-n", "argo", "--field-selector=metadata.name=singer-images")[0]["data"]
    return sorted({commit, ours["tap-scripted"], ours["target-scripted"]})


def words_in(image: str, *words: str) -> set[str]:
    """Return which words are in an image: in its configuration, its history, or a file of one of its layers."""
    present: set[str] = set()
    with subprocess.Popen(["docker", "save", image], stdout=subprocess.PIPE) as process:
        assert process.stdout
        with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
            for member in archive:
                data = archive.extractfile(member)
                content = data.read() if data else b""
                content = gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content
                present |= {word for word in words if word.encode() in content}
    assert process.returncode == 0
    return present
