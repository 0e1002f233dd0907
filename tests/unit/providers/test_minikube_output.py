"""What minikube prints, in the forms of its source (pkg/minikube/out/register) and of 1.38.1, and what we make of it."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from cluster.providers.minikube_output import KUBERNETES, event, failure, progress_of


def line(kind: str, **data: str) -> str:
    """Return an event as minikube prints it."""
    event = {
        "specversion": "1.0",
        "id": "8f0b1b0c-6d1a-4a0e-9d53-2d0f3c4f5a6b",
        "source": "https://minikube.sigs.k8s.io/",
        "type": f"io.k8s.sigs.minikube.{kind}",
        "datacontenttype": "application/json",
        "data": data,
    }
    return json.dumps(event, separators=(",", ":"))


def error(name: str, message: str, exitcode: int = 80, advice: str = "") -> str:
    """Return the event of an error, as ``out.Error`` makes it."""
    return line("error", name=name, message=message, exitcode=str(exitcode), advice=advice, url="", issues="")


PRELOAD = "https://storage.googleapis.com/minikube-preloaded-volume-tarballs/v18/v1.36.2/preloaded-images-k8s-v18-v1.36.2-containerd-overlay2-amd64.tar.lz4?checksum=file:https://x.example.com/a.sha256"
SPOKEN = {
    line("step", currentstep="5", totalsteps="19", name="Pulling Base Image", message="Pulling base image v0.0.50 ..."): "step 5 of 19: Pulling base image v0.0.50",
    line("step", currentstep="0", totalsteps="19", name="Initial Minikube Setup", message="minikube v1.38.1 on Debian 12"): "step 0 of 19: minikube v1.38.1 on Debian 12",
    line("step", currentstep="", totalsteps="19", name="Stopping", message='Stopping node "singer" ...'): 'Stopping node "singer"',
    line("step", currentstep="19", totalsteps="19", name="Done", message=""): "step 19 of 19: Done",
    line("download", currentstep="2", totalsteps="19", artifact=PRELOAD): "downloading preloaded-images-k8s-v18-v1.36.2-containerd-overlay2-amd64.tar.lz4",
    line("download.progress", currentstep="2", totalsteps="19", artifact=PRELOAD, progress="0.4231557"): "downloading preloaded-images-k8s-v18-v1.36.2-containerd-overlay2-amd64.tar.lz4 42 %",
    line("download.progress", currentstep="5", totalsteps="19", artifact="gcr.io/k8s-minikube/kicbase:v0.0.50@sha256:0a1b", progress="1.000000"): "downloading kicbase:v0.0.50 100 %",
    line("download.progress", currentstep="5", totalsteps="19", artifact="https://dl.k8s.io/release/v1.36.2/bin/linux/amd64/kubelet", progress="NaN%"): "downloading kubelet",
    line("warning", message="This container is having trouble accessing https://registry.k8s.io"): "minikube warns: This container is having trouble accessing https://registry.k8s.io.",
    line("info", message="HTTP_PROXY=http://proxy.example.com"): "",
    error("GUEST_START", "failed to start node: boom"): "",
    "E1124 09:00:00.000000   12345 out.go:291] unable to execute": "",
    '{"Name":"singer","Host":"Running"}': "",
    "[]": "",
    "": "",
}  # fmt: skip


@pytest.mark.parametrize("printed", SPOKEN)
def test_what_is_reported_while_minikube_works(printed: str) -> None:
    """Each step and each download becomes a few words; what is no event is silent."""
    assert progress_of(printed) == SPOKEN[printed]


@pytest.mark.parametrize("data", [None, "text", 3, ["a"]])
def test_an_event_of_another_form(data: Any) -> None:
    """An event whose data are not as expected is still an event, with nothing in it."""
    assert event(json.dumps({"type": "io.k8s.sigs.minikube.step", "data": data})) == ("step", {})
    assert progress_of(json.dumps({"type": "io.k8s.sigs.minikube.step", "data": data})) == ""


DOCKER_RUN = (
    "error provisioning guest: Failed to start host: recreate: creating host: create: creating: create kic node: create container: docker run -d -t --privileged "
    "--name singer gcr.io/k8s-minikube/kicbase:v0.0.50: exit status 125\nstdout:\nc74942014451\n\nstderr:\n"
)
OFFER = "\n\nRun 'docker run --help' for more information"
NO_IMAGE = (
    "Failed to start host: recreate: creating host: create: creating: setting up container node: preparing volume for singer container: docker run --rm "
    "--entrypoint /usr/bin/test -v singer:/var gcr.io/k8s-minikube/kicbase:v0.0.50@sha256:eb4f -d /var/lib: exit status 125\nstdout:\n\nstderr:\n"
    "Unable to find image 'gcr.io/k8s-minikube/kicbase:v0.0.50@sha256:eb4f' locally\n"
    'docker: Error response from daemon: Get "https://gcr.io/v2/": dial tcp: lookup gcr.io on 127.0.0.53:53: no such host'
)
PROXIES = "Verify that your HTTP_PROXY and HTTPS_PROXY environment variables are set correctly."
KNOWN = [
    (error("GUEST_PROVISION", DOCKER_RUN + "docker: Error response from daemon: driver failed programming external connectivity on endpoint singer (4d19): Error starting userland proxy: listen tcp4 127.0.0.1:2746: bind: address already in use" + OFFER), "A port .* was taken", "another port"),
    (error("INET_LOOKUP_HOST", NO_IMAGE + OFFER, 48, PROXIES), 'cannot be downloaded: docker: Error response from daemon: Get "https://gcr.io/v2/": .*no such host\\.$', "HTTPS_PROXY"),
    (error("INET_LOOKUP_HOST", 'Get "https://api.github.com/repos/kubernetes/kubernetes/releases/tags/v1.36.2": dial tcp: lookup api.github.com on 127.0.0.53:53: no such host', 48, PROXIES), f"does not know Kubernetes {KUBERNETES}, and cannot ask", "network.*Update minikube"),
    (error("GUEST_PROVISION", DOCKER_RUN + "docker: Error response from daemon: failed to set up container networking: Bind for 127.0.0.1:2746 failed: port is already allocated."), "A port .* was taken", "another port"),
    (error("GUEST_PROVISION", DOCKER_RUN + "docker: Error response from daemon: Ports are not available: exposing port TCP 127.0.0.1:9000 -> 0.0.0.0:0: listen tcp 127.0.0.1:9000: bind: address already in use."), "A port .* was taken", "another port"),
    (error("PROVIDER_DOCKER_NOT_RUNNING", '"docker version --format <no value>-<no value>:<no value>" exit status 1: Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?', 63, "Start the Docker service"), "does not run: .*Is the docker daemon running\\?$", "^Start it"),
    (error("DRV_DOCKER_NOT_RUNNING", "Found docker, but the docker service isn't running. Try restarting the docker service.", 55), "does not run", "^Start it"),
    (error("PROVIDER_DOCKER_NEWGRP", '"docker version" exit status 1: permission denied while trying to connect to the Docker daemon socket', 69, "Add your user to the 'docker' group: 'sudo usermod -aG docker $USER && newgrp docker'"), "may not be used", "usermod"),
    (error("DRV_NOT_HEALTHY", "Found driver(s) but none were healthy. See above for suggestions how to fix installed drivers.", 55), "not healthy", "^Start it"),
    (error("DRV_AS_ROOT", 'The "docker" driver should not be used with root privileges.', 57), "root", "as a user"),
    (error("RSRC_DOCKER_MEMORY", "Docker Desktop only has 1987MiB available, less than the required 1800MiB for Kubernetes", 23, '1. Click on "Docker for Desktop" menu icon\n\t\t\t4. Increase "Memory" slider bar to {{.recommend}} or higher'), "too little memory: Docker Desktop only has 1987MiB", "Resources"),
    (error("RSRC_OVER_ALLOC_MEM", "Requested memory allocation 4000MB is more than your system limit 3900MB.", 23, "Start minikube with less memory allocated: 'minikube start --memory={{.advised}}mb'"), "too little memory", "Resources"),
    (error("RSRC_DOCKER_CORES", "Docker Desktop has less than 2 CPUs configured, but Kubernetes requires at least 2 to be available", 29), "too few CPUs", "Resources"),
    (error("RSRC_DOCKER_STORAGE", 'preload extraction failed: "No space left on device"', 26, "Try one or more of the following"), "disk is full", "Make room"),
    (error("GUEST_PROVISION_NOSPACE", "write /var/lib/docker/tmp/x: no space left on device", 80), "disk is full", "Make room"),
    (error("K8S_FAIL_CONNECT", "error fetching Kubernetes version list from GitHub: Get https://api.github.com: dial tcp: lookup api.github.com: no such host", 40), f"does not know Kubernetes {KUBERNETES}, and cannot ask", "network.*Update minikube"),
    (error("K8S_NEW_UNSUPPORTED", "Kubernetes version 1.36.2 is not supported by this release of minikube", 106), f"does not know Kubernetes {KUBERNETES}\\.", "^Update minikube"),
    (error("INET_CACHE_KUBECTL", "Failed to cache binaries: Get https://dl.k8s.io: i/o timeout", 40), "cannot be downloaded: .*i/o timeout", "HTTPS_PROXY.*NO_PROXY"),
    (error("GUEST_PROVISION", "error provisioning guest: Failed to start host: failed to download kic base image or any fallback image"), "cannot be downloaded", "HTTPS_PROXY"),
    (error("INET_PROXY_503", "proxyconnect tcp: proxy: unexpected response code: 503", 40, "Confirm that you have supplied the correct value to --hyperv-virtual-switch using the 'Get-VMSwitch' command"), "A proxy is in the way", "NO_PROXY"),
    (error("GUEST_PROVISION", DOCKER_RUN + "docker: Error response from daemon: toomanyrequests: You have reached your pull rate limit."), "too many requests", "Wait"),
]  # fmt: skip


@pytest.mark.parametrize(("printed", "problem", "hint"), KNOWN)
def test_a_known_reason_of_a_failure(printed: str, problem: str, hint: str) -> None:
    """A reason that people meet is one sentence in our words and one thing to do, with any output around it."""
    error = failure(f"{line('step', currentstep='1', totalsteps='19', name='x', message='y')}\n{printed}\n! Exiting")
    assert error.code == "E-CLUSTER"
    assert re.search(problem, error.problem), error.problem
    assert re.search(hint, error.hint), error.hint
    assert "\n" not in error.problem + error.hint


def test_any_other_reason_keeps_minikubes_words_and_advice() -> None:
    """What we do not know is passed on: the last line of minikube's message, and its advice on one line."""
    reason = failure(error("GUEST_START", "failed to start node:\n\tkubeadm init: exit status 1", advice="Try this:\n\t\t1. restart\n"))
    assert reason.problem == "minikube failed: kubeadm init: exit status 1."
    assert reason.hint == "Try this: 1. restart"


def test_the_event_that_ended_it_counts() -> None:
    """What minikube printed about an earlier try, or about where to report it after, is not taken for the reason."""
    first = line("error", message="StartHost failed, but will try again: boom")
    last = line("error", message="If the above advice does not help, please let us know")
    reason = failure("\n".join((first, error("GUEST_CERT", "Failed to setup certs: bang"), last)))
    assert reason.problem == "minikube failed: Failed to setup certs: bang."


@pytest.mark.parametrize("advice", ["", "minikube delete{{.profile}}"])
def test_advice_that_is_none(advice: str) -> None:
    """No advice, or a template that minikube has not filled in, is replaced by a hint of ours."""
    assert "invoke teardown" in failure(error("GUEST_CERT", "Failed to setup certs: boom", advice=advice)).hint


def test_a_failure_without_an_event() -> None:
    """Where minikube printed no event, its last line is the reason."""
    assert (
        failure("Error: unknown flag: --ports\nSee 'minikube start --help' for usage.\n").problem
        == "minikube failed: See 'minikube start --help' for usage."
    )
    assert failure("").problem == "minikube failed: it gave no reason."
    assert (
        failure("X Exiting due to MK_USAGE: loading profile: boom\n* \n╭──╮\n│ x │\n╰──╯\n").problem
        == "minikube failed: loading profile: boom."
    )
