"""What can go wrong with docker, kind and the user's own clusters: one sentence, one hint, an exit code, and nothing of the user's touched.

The commands are typed as a user types them; `docker` and `kind` are stand-ins that are alone on PATH. They print what those print, write
into the kubeconfig that the real ones would write into, and record what they were asked for.
"""

# ruff: noqa: E501, ISC004 - tables: a case is a line

from __future__ import annotations

import http.server
import os
import re
import signal
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
import yaml
from fake_machine import (
    CHANGES,
    DOCKER,
    HEALTHY,
    NOT_ALLOWED,
    NOT_RUNNING,
    SECONDS,
    FakeMachine,
    files,
    is_one_sentence,
)
from free_ports import row

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
def test_docker_is_not_installed(desk: FakeMachine, words: tuple[str, ...]) -> None:
    """Without docker every command that needs it reports that it is not installed and where it comes from."""
    (desk.programs / "docker").unlink()

    is_one_sentence(desk.type(*words), "E-PROGRAM", "docker is not installed", "→ Install .*https://")
    assert desk.calls == []


@pytest.mark.parametrize("words", CHANGES, ids=" ".join)
def test_docker_is_not_running(desk: FakeMachine, words: tuple[str, ...]) -> None:
    """When Docker does not answer, its own words are passed on and the hint is to start it."""
    desk.refuses("docker", NOT_RUNNING)

    is_one_sentence(desk.type(*words), "E-RUNTIME", re.escape(NOT_RUNNING.rstrip("?")), "→ Start Docker")
    assert desk.asked("^kind") == []


def test_status_asks_docker_for_the_same_thing_once(desk: FakeMachine) -> None:
    """No question about the node or the images is repeated within a command."""
    desk.owns()
    desk.type("status")

    assert len(desk.calls) > 1
    assert sorted(desk.calls) == sorted(set(desk.calls))


def test_a_question_of_dockers_ends_as_one(desk: FakeMachine) -> None:
    """Docker's own sentence keeps its own end: no full stop behind a question mark."""
    desk.refuses("docker", NOT_RUNNING)

    assert "running?." not in desk.type("stop").err


def test_docker_may_not_be_used(desk: FakeMachine) -> None:
    """A user without the right to use Docker gets no hint to start it, for it runs: the hint is about the right."""
    desk.refuses("docker", NOT_ALLOWED)
    result = desk.type("up")

    is_one_sentence(result, "E-RUNTIME", "permission denied", "→ .*(group|right|allow)")
    assert "→ Start Docker" not in result.err


def test_kind_is_not_installed(desk: FakeMachine) -> None:
    """Without kind the hint has a line that installs it."""
    (desk.programs / "kind").unlink()

    is_one_sentence(desk.type("up"), "E-PROGRAM", "kind is not installed", r"→ .*(go install sigs\.k8s\.io/kind@v|brew install kind)")


@pytest.mark.parametrize("why", ["kind was not installed", "kind failed"])
def test_a_cluster_that_somebody_makes_after_we_failed(desk: FakeMachine, why: str) -> None:
    """When our own creation came to nothing, a cluster of that name that somebody else makes later is not taken for ours."""
    program = (desk.programs / "kind").read_bytes()
    if why == "kind was not installed":
        (desk.programs / "kind").unlink()
    assert desk.type("up").code == 1
    (desk.programs / "kind").write_bytes(program)
    (desk.programs / "kind").chmod(0o755)
    desk.has("node", "running")

    desk.type("teardown", "--yes")
    assert desk.asked("^kind delete") == []
    is_one_sentence(desk.type("up"), "E-CLUSTER", "did not make")
    assert desk.asked("^kind delete") == []


KIND_SAYS = {
    "a port was taken": (
        'ERROR: failed to create cluster: command "docker run --name singer-control-plane" failed with error: exit status 125\n\nCommand Output: 924bc5\n'
        "docker: Error response from daemon: driver failed programming external connectivity on endpoint singer-control-plane (b1bc): "
        "Bind for 127.0.0.1:2746 failed: port is already allocated.",
        ["port", "→ Run it again"],
    ),
    "too many open files": (
        "ERROR: failed to create cluster: failed to create fsnotify watcher: too many open files",
        ["inotify", "→ sudo sysctl -w fs.inotify.max_user_instances="],
    ),
    "no network": (
        'ERROR: failed to create cluster: failed to pull image "kindest/node:v1.37.0": command "docker pull kindest/node:v1.37.0" failed with error: exit '
        'status 1\n\nCommand Output: Error response from daemon: Get "https://registry-1.docker.io/v2/": dial tcp: lookup registry-1.docker.io: no such host',
        ["cannot be reached", "→ Connect to the network.*mirror"],
    ),
    "rate limit": (
        'ERROR: failed to create cluster: failed to pull image "kindest/node:v1.37.0": command "docker pull kindest/node:v1.37.0" failed with error: exit '
        "status 1\n\nCommand Output: Error response from daemon: toomanyrequests: You have reached your unauthenticated pull rate limit.",
        ["too many requests", "→ Wait .*mirror"],
    ),
    "something else": (
        "ERROR: failed to create cluster: failed to remove control plane taint: exit status 1",
        ["failed to remove control plane taint: exit status 1", "→ "],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", KIND_SAYS)
def test_kind_fails(desk: FakeMachine, case: str) -> None:
    """When kind cannot make the cluster, its reason becomes one sentence with a remedy; kind was led to our own kubeconfig and name."""
    text, says = KIND_SAYS[case]
    desk.has("fails", text)

    is_one_sentence(desk.type("up"), "E-CLUSTER", *says)
    (call,) = desk.asked("^kind create")
    assert f"--kubeconfig {desk.checkout.local / 'kubeconfig'}" in call
    assert "--name singer " in call


def test_somebody_else_makes_one_of_that_name_at_the_same_time(desk: FakeMachine) -> None:
    """When kind finds that a cluster of that name has come into being a moment ago, which this checkout never began, it is left alone."""
    desk.has("fails", 'ERROR: failed to create cluster: node(s) already exist for a cluster with the name "singer"')

    is_one_sentence(desk.type("up"), "E-CLUSTER")
    assert desk.asked("^kind delete") == []


def test_another_port_after_one_was_taken(desk: FakeMachine) -> None:
    """The hint to run it again, because a port was taken, is true: the next time another port is chosen."""

    def asked_for() -> int:
        return int(yaml.safe_load((desk.desk / "kind.yaml").read_text())["nodes"][0]["extraPortMappings"][0]["hostPort"])

    desk.has("fails", "docker: Error response from daemon: Bind for 127.0.0.1:2746 failed: port is already allocated.")
    assert desk.type("up").code == 1
    first = asked_for()
    with socket.create_server(("127.0.0.1", first)):
        assert desk.type("up").code == 1
    assert asked_for() != first


@pytest.mark.parametrize("state", ["running", "exited", "paused"])
def test_a_cluster_that_is_not_ours(desk: FakeMachine, state: str) -> None:
    """A cluster of the same name that this checkout did not make is neither used, started, stopped nor removed, and the hint names a way round."""
    desk.has("node", state)

    is_one_sentence(desk.type("up"), "E-CLUSTER", "did not make", "→ .*INVOKE_SINGER_CLUSTER=")
    for words in (("stop",), ("teardown", "--yes"), ("teardown", "--yes", "--all")):
        assert desk.type(*words).code == 0
    is_one_sentence(desk.type("status"), "E-CLUSTER", "did not make", "→ .*INVOKE_SINGER_CLUSTER=")
    assert desk.asked("^kind|^docker (start|stop|rm|kill|restart|unpause) ") == []
    assert (desk.desk / "node").exists()


def test_nothing_is_loaded_into_a_cluster_that_is_not_ours(desk: FakeMachine) -> None:
    """Also where Docker is slow to tell whose the cluster is, no image is put on the node of somebody else's."""
    desk.has("node", "running")
    desk.has("images")
    desk.has("slow")

    is_one_sentence(desk.type("up"), "E-CLUSTER", "did not make")
    assert desk.asked("^docker save|ctr .*import") == []


def test_nothing_is_loaded_into_a_cluster_that_is_about_to_be_made_anew(desk: FakeMachine) -> None:
    """After a creation that was broken off, images wait for the new node instead of going to the old one, which is removed."""
    desk.owns(complete=False)
    desk.has("images")
    desk.has("slow")
    desk.type("up")

    assert desk.asked("^kind (delete|create)")[0].startswith("kind delete cluster --name singer ")
    first = desk.calls.index(desk.asked("^kind create")[0])
    assert [call for call in desk.calls[:first] if call.startswith("docker save")] == []


def test_status_without_a_cluster(desk: FakeMachine) -> None:
    """Without a cluster status prints in one sentence what is missing and how to make it, and touches nothing."""
    result = desk.type("status")

    is_one_sentence(result, "E-DOWN", "The platform is not up: not created yet.", "→ .*up")
    assert result.out == ""
    as_json = desk.type("status", "--json")
    assert as_json.error == "E-DOWN"
    assert {event["step"]: event["pending"] for event in as_json.events if event["event"] == "step"}["Cluster"] == "not created yet"
    assert desk.changing == []


def test_the_credentials_of_a_platform_that_is_not_up(desk: FakeMachine) -> None:
    """A request for credentials or a shell before there is a platform gets the hint to run up."""
    for word in ("credentials", "shell"):
        is_one_sentence(desk.type(word), "E-DOWN", "→ .*up")
    assert desk.changing == []


def test_teardown_asks(desk: FakeMachine) -> None:
    """Without a terminal and without --yes nobody can agree, so that nothing is removed."""
    desk.owns()

    is_one_sentence(desk.type("teardown"), "E-SETTING", "→ .*--yes")
    is_one_sentence(desk.type("teardown", "--all"), "E-SETTING", "→ .*--yes")
    assert desk.changing == []
    assert (desk.checkout.local / "kubeconfig").exists()


@pytest.mark.parametrize("words", [(), ("--all",)], ids=["", "--all"])
def test_teardown_of_nothing(desk: FakeMachine, words: tuple[str, ...]) -> None:
    """Where nothing is, teardown is content, as often as it is typed."""
    for _ in range(2):
        result = desk.type("teardown", "--yes", *words)
        assert (result.code, result.err) == (0, "")
    assert desk.changing == []


def test_teardown_of_our_own(desk: FakeMachine) -> None:
    """Teardown removes the cluster by its name and our kubeconfig, and knows afterwards that nothing is there."""
    desk.owns()
    result = desk.type("teardown", "--yes")

    assert (result.code, result.err) == (0, "")
    kubeconfig = desk.checkout.local / "kubeconfig"
    assert desk.changing == [f"kind delete cluster --name singer --kubeconfig {kubeconfig}"]
    assert not kubeconfig.exists()
    desk.has("node", "running")
    is_one_sentence(desk.type("up"), "E-CLUSTER", "did not make")


def test_the_lock_of_a_kind_that_was_killed(desk: FakeMachine) -> None:
    """A kubeconfig is locked by a file, and kind never waits for it: what a killed kind left does not stop the next one."""
    desk.owns()
    lock = desk.checkout.local / "kubeconfig.lock"
    lock.touch()
    result = desk.type("teardown", "--yes")
    assert (result.code, result.err, lock.exists()) == (0, "", False)


def test_teardown_that_leaves_something(desk: FakeMachine) -> None:
    """When a container of the cluster is still there after its removal, teardown reports it and how to remove it."""
    desk.owns()
    desk.has("stays")

    is_one_sentence(desk.type("teardown", "--yes"), "E-LEFT", "still there: singer-control-plane", "→ docker rm .*singer-control-plane")


def test_open(desk: FakeMachine) -> None:
    """A door's address is printed for people and programs; one that does not exist is answered with those that do."""
    is_one_sentence(desk.type("open", "nope", "--print"), "E-SETTING", "'nope'", "argo, minio")
    port = row(2)  # another program may take the usual ones between two commands
    settings = {"INVOKE_SINGER_PORT_ARGO": str(port), "INVOKE_SINGER_PORT_CONSOLE": str(port + 1)}
    for door, known in (("argo", port), ("minio", port + 1)):
        result = desk.type("open", door, "--print", **settings)
        assert (result.code, result.err, result.out) == (0, "", f"http://127.0.0.1:{known}\n")
        event = desk.type("open", door, "--print", "--json", **settings).last
        assert (event["event"], event["door"], event["url"]) == ("open", door, result.out.strip())
    assert desk.changing == []


def test_a_plan_touches_nothing(desk: FakeMachine) -> None:
    """A plan shows every step and every image, and neither runs anything that changes something nor writes a file."""
    before = files(desk.checkout.root)
    result = desk.type("up", "--plan")

    assert (result.code, result.err) == (0, "")
    assert "not created yet" in result.out
    assert re.search(r"^  quay\.io/argoproj/argocli:", result.out, re.MULTILINE)
    assert re.search(r"^ +localhost/singer/tap-exchange-rates:[0-9a-f]{12} +to be built$", result.out, re.MULTILINE)
    events = desk.type("up", "--plan", "--json").events
    assert {event["event"] for event in events} - {"warning"} == {"up.started", "step", "plan"}  # a port may be taken here
    assert all(event["pending"] for event in events if event["event"] == "step")
    assert desk.changing == []
    assert files(desk.checkout.root) == before


def test_a_connector_that_has_no_lock_yet(desk: FakeMachine) -> None:
    """A connector whose lock was not made yet is answered with a sentence and a remedy, not with a traceback."""
    desk.has("images")
    (desk.checkout.root / "singer-configs" / "target-csv" / "requirements.lock").unlink()
    result = desk.type("up", "--plan")

    assert "Traceback" not in result.out + result.err
    assert result.code in {0, 1}


def test_two_at_once(desk: FakeMachine) -> None:
    """While an up is under way, a second up, a stop and a teardown are refused and leave it alone."""
    desk.has("images")
    gate = desk.desk / "gate"
    subprocess.run(["mkfifo", str(gate)], check=True)
    with desk.start("up") as first:
        try:
            with gate.open("w") as opened:  # opens when kind waits at its other end
                for words in CHANGES:
                    is_one_sentence(desk.type(*words), "E-BUSY", "under way", "→ Wait")
                assert first.poll() is None
                opened.write("go\n")
            _, err = first.communicate(timeout=SECONDS)
        finally:
            first.kill()

    assert "E-CLUSTER" in err
    assert first.returncode == 1
    assert len(desk.asked("^kind create")) == 1
    assert desk.asked("^kind delete|^docker stop") == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted_while_kind_says_nothing(desk: FakeMachine, number: signal.Signals) -> None:
    """Ctrl-C or SIGTERM while kind pulls an image for minutes without a word ends up soon, with 130."""
    desk.has("images")
    gate = desk.desk / "gate"
    subprocess.run(["mkfifo", str(gate)], check=True)
    with desk.start("up") as process:
        try:
            with gate.open("w"):  # opens when kind waits at its other end
                process.send_signal(number)
                _, err = process.communicate(timeout=SECONDS)
        finally:
            process.kill()

    assert process.returncode == 130
    assert "Interrupted" in err
    assert "Traceback" not in err


def test_settings_that_cannot_be(desk: FakeMachine) -> None:
    """A setting of the platform that is not allowed is refused before any program is run."""
    is_one_sentence(desk.type("up", INVOKE_SINGER_CLUSTER="My_Cluster"), "E-SETTING", "singer.cluster")
    is_one_sentence(desk.type("up", INVOKE_SINGER_IMAGES="minoi=x:1"), "E-SETTING", "singer.images")
    is_one_sentence(desk.type("up", INVOKE_SINGER_PORT_S3="80"), "E-SETTING", "singer.port_s3")
    assert desk.calls == []


def test_the_registry_refuses(desk: FakeMachine) -> None:
    """When an image of the platform cannot be pulled, the user reads which one, why, and that a mirror is the way round."""
    desk.has("gate-pull")
    refusal = 'echo "Error response from daemon: toomanyrequests: You have reached your pull rate limit." >&2; exit 1'
    desk.install("docker", DOCKER.replace('"pull "*)', f'"pull "*) {refusal} ;;\n"unused "*)'))
    desk.install("kind", '/bin/cat >/dev/null\nwhile [ -e "$desk/gate-pull" ]; do echo still; /bin/sleep 0.1; done')
    result = desk.type("up")
    (desk.desk / "gate-pull").unlink()

    is_one_sentence(
        result, "E-IMAGE-PULL", r"quay\.io/\S+ cannot be pulled from quay\.io: too many requests", "INVOKE_SINGER_MIRROR=quay.io="
    )


def test_an_image_cannot_be_built(desk: FakeMachine) -> None:
    """When a connector's image cannot be built, the user reads the builder's last line and where all of them are."""
    desk.has("gate-pull")
    refusal = 'echo "#9 1.2 pip is resolving"; echo "ERROR: No matching distribution found for tap-x==9"; exit 1'
    desk.install("docker", DOCKER.replace('"build "*)', f'"build "*) {refusal} ;;\n"unused "*)'))
    desk.install("kind", '/bin/cat >/dev/null\nwhile [ -e "$desk/gate-pull" ]; do echo still; /bin/sleep 0.1; done')
    result = desk.type("up")
    (desk.desk / "gate-pull").unlink()

    is_one_sentence(
        result, "E-BUILD", "(tap-exchange-rates|commit) cannot be built: ERROR: No matching distribution found for tap-x==9", "→ See "
    )
    log = re.search(r"See (\S+\.log)", result.err)
    assert log is not None
    assert "pip is resolving" in (desk.checkout.root / log[1]).read_text()


# -- what the machine lacks, and who holds its ports


def test_the_first_lines_say_where_and_with_what(desk: FakeMachine) -> None:
    """Before anything is done the user reads which cluster, which Kubernetes, on what, and the ports."""
    lines = desk.type("up").out.splitlines()
    assert lines[0] == 'singer  kind cluster "singer" · Kubernetes 1.37 · Docker Desktop 28.2 (16 GB, 8 CPUs)'
    assert "127.0.0.1 only" in lines[1]


def test_a_cluster_that_could_be_used_instead(desk: FakeMachine) -> None:
    """When a cluster on this machine could serve, the first up prints the line that takes it; one elsewhere is not offered."""
    company(desk, "https://10.1.2.3:6443")
    assert "company" not in desk.type("up", "--plan").out
    company(desk, "https://127.0.0.1:6443")
    out = desk.type("up", "--plan").out
    assert (
        "because nothing else is chosen; there is also company: INVOKE_SINGER_PROVIDER=existing INVOKE_SINGER_CONTEXT=company invoke up"
        in out
    )
    desk.owns()
    assert "nothing else is chosen" not in desk.type("up", "--plan").out


def test_too_little_memory(desk: FakeMachine) -> None:
    """With too little memory nothing is begun, and the hint names where this product has the setting; a little more gives a warning."""
    desk.has("info", HEALTHY.replace("16000000000", "2000000000"))
    is_one_sentence(
        desk.type("up"), "E-RESOURCES", "Docker Desktop has 2.0 GB of memory", "→ Docker Desktop: Settings > Resources > Memory"
    )
    assert desk.changing == []

    desk.has("info", HEALTHY.replace("16000000000", "3500000000"))
    assert re.search(r"^! Memory +Docker Desktop has 3\.5 GB", desk.type("up").out, re.MULTILINE)


def test_the_plan_says_what_it_would_take(desk: FakeMachine) -> None:
    """The plan is shown in any case: every image with its size, that of the node too, memory, disk, and what would stop it; nothing is touched."""
    desk.has("info", HEALTHY.replace("16000000000", "2000000000"))
    desk.has("sizes")
    result = desk.type("up", "--plan")

    assert result.code == 0
    assert re.search(
        r"^✗ This would stop it +Docker Desktop has 2\.0 GB of memory: the platform needs 2\.5 GB\. Docker Desktop: ",
        result.out,
        re.MULTILINE,
    )
    assert re.search(r"^ +docker\.io/kindest/node:v1\.37\.0 +123\.4 MB$", result.out, re.MULTILINE)
    assert "to be pulled" in result.out
    assert "to be built" in result.out
    assert "Docker Desktop has 2.0 GB of memory, and a disk that cannot be seen from here." in result.out
    started, *others = desk.type("up", "--plan", "--json").events
    assert (started["event"], started["kubernetes"], started["runtime"]["memory"]) == ("up.started", "1.37", 2_000_000_000)
    (plan,) = [event for event in others if event["event"] == "plan"]
    assert set(plan["images"].values()) == {123_400_000, None}
    assert desk.changing == []


def test_the_kubernetes_that_runs(desk: FakeMachine) -> None:
    """Of a cluster that is there its own Kubernetes is named, not the one that a new cluster would have."""
    desk.owns()
    desk.has("made-from", "docker.io/kindest/node:v1.36.1@sha256:ab")
    assert "· Kubernetes 1.36 ·" in desk.type("up", "--plan").out


def test_a_cluster_that_runs_is_not_checked(desk: FakeMachine) -> None:
    """What must be there before a cluster is made or woken does not stop an up that finds it running."""
    desk.has("info", HEALTHY.replace("16000000000", "2000000000"))
    desk.owns()
    (desk.checkout.local / "kubeconfig").write_text("apiVersion: v1\nkind: Config\ncurrent-context: kind-singer\nclusters: []\n")
    assert "This would stop it" not in desk.type("up", "--plan", SSL_CERT_FILE="").out  # no certificates to tell the node of

    desk.has("node", "exited")
    is_one_sentence(desk.type("up"), "E-RESOURCES", "2.0 GB")


def test_who_holds_a_port_that_was_preferred(desk: FakeMachine) -> None:
    """For a preferred port that is taken, the message names the program or container and the port used instead; free ports have none."""
    port = row(4)
    with socket.create_server(("127.0.0.1", port)):
        settings = {
            "INVOKE_SINGER_PORT_S3": str(port),
            "INVOKE_SINGER_PORT_CONSOLE": str(port + 1),
            "INVOKE_SINGER_PORT_ARGO": str(port + 3),
        }
        out = desk.type("up", "--plan", **settings).out
        taken = re.findall(r"^! (.+)", out, re.MULTILINE)
        assert len(taken) == 1, out
        assert re.fullmatch(rf'Port {port} +It is taken by "\S+" \(pid {os.getpid()}\): {port + 1} is used instead\.', taken[0])
        desk.has("published", f"web\t0.0.0.0:{port - 1}-{port + 1}->80-82/tcp")
        assert 'It is taken by the container "web": ' in desk.type("up", "--plan", **settings).out
        desk.owns(first=port)  # a cluster keeps its ports
        assert "It is taken" not in desk.type("up", "--plan", **settings).out


TAKEN = {
    "docker": "Error response from daemon: driver failed programming external connectivity on endpoint singer-control-plane (b1bc): Bind for 127.0.0.1:{port} failed: port is already allocated",
    "docker 20": "Error response from daemon: driver failed programming external connectivity on endpoint singer-control-plane (9469): Error starting userland proxy: listen tcp4 127.0.0.1:{port}: bind: address already in use\nError: failed to start containers: singer-control-plane",
    "docker 28": "Error response from daemon: failed to set up container networking: driver failed programming external connectivity on endpoint singer-control-plane (b1bc): failed to bind host port 127.0.0.1:{port}/tcp: address already in use",
    "Docker Desktop": "Error response from daemon: Ports are not available: exposing port TCP 127.0.0.1:{port} -> 127.0.0.1:0: listen tcp 127.0.0.1:{port}: bind: address already in use",
    "podman": 'Error: unable to start container "b1bc": rootlessport listen tcp 127.0.0.1:{port}: bind: address already in use',
    "no port named": "Error: address already in use",
}  # fmt: skip


@pytest.mark.parametrize("runtime", TAKEN)
def test_a_port_that_was_taken_while_the_cluster_was_stopped(desk: FakeMachine, runtime: str) -> None:
    """When the node cannot start because of its port, the user reads which, by whom, and what to do: nothing is removed."""
    port = row(3)
    with socket.create_server(("127.0.0.1", port)):
        desk.owns(first=port)
        desk.has("node", "exited")
        desk.has("images")
        desk.has("port-taken", TAKEN[runtime].format(port=port))
        is_one_sentence(desk.type("up"), "E-PORT", rf'Port {port}, .* by "\S+" \(pid {os.getpid()}\)', "→ End that program")
    assert desk.asked("^kind") == []
    assert (desk.desk / "node").exists()


def test_a_node_that_does_not_start(desk: FakeMachine) -> None:
    """When the node cannot start for another reason, the runtime's own words are passed on, not its count of what failed."""
    desk.owns()
    desk.has("node", "exited")
    desk.has("images")
    desk.has("port-taken", "Error response from daemon: network kind not found\nError: failed to start containers: singer-control-plane")

    is_one_sentence(
        desk.type("up"), "E-CLUSTER", "Starting the node failed: .*network kind not found", "→ See docker logs singer-control-plane"
    )


# -- a cluster that is there already

GUEST = {"INVOKE_SINGER_PROVIDER": "existing"}


def company(desk: FakeMachine, server: str) -> None:
    """Let the user's kubeconfig have a context of a company's cluster."""
    content = {
        "current-context": "company",
        "contexts": [{"name": "company", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": server}}],
        "users": [{"name": "u", "user": {"token": "t"}}],
    }
    file = desk.kubeconfigs[1]
    file.write_text(yaml.safe_dump(content))
    desk.before[1] = (file.read_bytes(), file.stat().st_mtime_ns)


def test_a_context_that_is_not_there(desk: FakeMachine) -> None:
    """A context that is misspelt, or none where none is current, is answered before any program is run."""
    company(desk, "https://10.1.2.3:6443")

    is_one_sentence(desk.type("up", **GUEST, INVOKE_SINGER_CONTEXT="compny"), "E-CONTEXT", 'Did you mean "company"')
    assert desk.calls == []


def test_a_context_elsewhere(desk: FakeMachine) -> None:
    """The user's current context is not taken when its cluster is elsewhere: its address is shown, and the line that names it."""
    company(desk, "https://10.1.2.3:6443")

    is_one_sentence(desk.type("up", **GUEST), "E-CONTEXT", "https://10.1.2.3:6443", "→ .*INVOKE_SINGER_CONTEXT=company")
    assert desk.calls == []


def test_a_cluster_that_does_not_answer(desk: FakeMachine) -> None:
    """A cluster that does not answer is reported within seconds; teardown afterwards has nothing to do."""
    company(desk, "https://127.0.0.1:1")
    desk.has("images")
    chosen = {**GUEST, "INVOKE_SINGER_CONTEXT": "company"}

    is_one_sentence(desk.type("up", **chosen), "E-KUBE", "cannot be reached")
    assert desk.changing == []
    is_one_sentence(desk.type("status", **chosen), "E-DOWN")


def test_the_plan_for_a_cluster_that_is_there_needs_no_runtime(desk: FakeMachine) -> None:
    """Where the cluster is not in a runtime of this machine, a machine without one sees the whole plan."""
    company(desk, "https://127.0.0.1:1")
    (desk.programs / "docker").unlink()
    result = desk.type("up", "--plan", **GUEST, INVOKE_SINGER_CONTEXT="company")

    assert (result.code, result.err) == (0, "")
    assert "quay.io/minio/minio" in result.out


def test_a_cluster_that_cannot_take_images(desk: FakeMachine, server: str) -> None:
    """A company's cluster takes no images from this machine: before anything is built, the registry's setting is named."""
    company(desk, server)

    is_one_sentence(desk.type("up", **GUEST, INVOKE_SINGER_CONTEXT="company"), "E-IMAGE", "→ .*INVOKE_SINGER_REGISTRY=")
    assert desk.asked("^docker (build|pull|push|save)") == []


@pytest.fixture
def server() -> Iterator[str]:
    """Yield the address of an API server that reports its version, and that it is ready."""

    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'{"major": "1", "minor": "33"}')

        def log_message(self, *args: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


def test_the_provider_is_changed_while_a_platform_is_up(desk: FakeMachine) -> None:
    """A kind cluster of this checkout is not forgotten when another provider is chosen: the error names what to type first."""
    desk.owns()
    company(desk, "https://127.0.0.1:1")

    for words in CHANGES:
        is_one_sentence(
            desk.type(*words, **GUEST, INVOKE_SINGER_CONTEXT="company"),
            "E-CLUSTER",
            "provider kind",
            "→ .*INVOKE_SINGER_PROVIDER=kind invoke teardown",
        )
    assert desk.changing == []
