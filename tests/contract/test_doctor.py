"""``doctor``: each check sees what it is there for, prints what to do, and counts only for the engine that needs it.

The commands are typed on a machine of stand-ins, as in ``fake_machine``; index and registries are a server of the test's own.
"""

# ruff: noqa: E501 - a table: a case is a line

from __future__ import annotations

import base64
import fcntl
import hashlib
import json
import os
import re
import shutil
import socket
import ssl
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import quote

import pytest
import trustme
from company_proxy import Proxy
from fake_machine import DOCKER, HEALTHY, KIND, NOT_ALLOWED, NOT_RUNNING, FakeMachine, files
from long_run import SLOW, pids
from loopback_server import ServingHTTP
from processes import alive, eventually
from scenarios import SCHEMA

from cluster.config.settings import Settings
from cluster.containers.runtime import Runtime
from cluster.providers import kind
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from types import TracebackType

    from checkout import Checkout, Result

VERSION = 'case "$1" in version) /bin/cat "$desk/version"; exit 0 ;; esac\n'
COPY = r"""
case "$1" in cp) [ ! -e "$desk/origin" ] || /bin/cp "$desk/origin" "$3"; exit 0 ;; esac
"""
ARGO = ("--engine", "argo")


class World(ServingHTTP):
    """What is outside: a package index and registries, in one server, for as long as the body of its ``with`` runs."""

    def __init__(self) -> None:
        """Answer 200, with the right time, without a delay."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.says = {"simple": 200, "v2": 200, "readyz": 200}
        """The status, by the first part of the path: of the index, of the registries, of a cluster's API."""
        self.ahead: float | None = 0
        """By how many seconds its clock is ahead; None: it does not tell."""
        self.released: dict[str, str] = {}
        """The newest version of packages, on the index."""
        self.age = 0
        """How long a proxy has kept its answer."""
        self.answers = threading.Event()
        self.answers.set()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, also if a client waits."""
        self.answers.set()
        super().__exit__(kind, error, trace)


class _Handler(BaseHTTPRequestHandler):
    server: World

    def do_HEAD(self) -> None:
        """Answer as the test wants it."""
        self.server.answers.wait(60)
        self.send_response_only(self.server.says[self.path.split("/")[1]])
        if self.server.ahead is not None:
            self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
            self.send_header("Age", str(self.server.age))
        self.end_headers()

    def do_GET(self) -> None:
        """Answer alike; the page of a package lists its newest version."""
        self.do_HEAD()
        name = self.path.strip("/").rpartition("/")[2]
        files = [{"filename": f"{name}-{self.server.released[name]}.tar.gz"}] if name in self.server.released else []
        self.wfile.write(json.dumps({"files": files}).encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Patient(FakeMachine):
    """A machine without a problem, until a test breaks something."""

    world: World

    def well(self, world: World) -> Self:
        """Install what is needed; index and registries are *world*."""
        self.world = world
        self.install("docker", COPY + DOCKER)
        self.install("kind", VERSION + KIND)
        self.has("version", "kind v0.33.0 go1.26.8 linux/amd64")
        texts = [file.read_text(encoding="utf-8") for file in self.checkout.root.glob("singer-configs/*/connector.yaml")]
        world.released = {name: version for text in texts for name, version in re.findall(r"^pip_url: ([\w-]+)==(\S+)", text, re.MULTILINE)}
        return self

    @property
    def environ(self) -> dict[str, str]:
        """See ``FakeMachine``; nothing leads out of this machine."""
        mirrors = ",".join(f"{name}={self.world.host}" for name in ("docker.io", "quay.io"))
        outside = {"PIP_INDEX_URL": f"http://{self.world.host}/simple", "INVOKE_SINGER_MIRROR": mirrors, "UV_DEFAULT_INDEX": ""}
        return {**super().environ, **outside, "HTTPS_PROXY": "", "HTTP_PROXY": ""}

    def without(self, *programs: str) -> None:
        """Take programs off PATH."""
        for program in programs:
            (self.programs / program).unlink()

    def only_scripted(self, *, made: bool) -> None:
        """Let there be two connectors, whose environments are made, or not."""
        for folder in (self.checkout.root / "singer-configs").glob("*/"):
            shutil.rmtree(folder)
        self.checkout.scripted({"steps": []})
        if made:
            assert self.checkout.run().code == 0
        else:
            (self.checkout.local / "environments").unlink()


@pytest.fixture
def patient(checkout: Checkout, tmp_path: Path) -> Iterator[Patient]:
    """Yield a machine without a problem."""
    with World() as world:
        yield Patient(checkout, tmp_path / "machine").well(world)


def diagnosis(result: Result, name: str) -> list[dict[str, Any]]:
    """Return the findings of one check."""
    assert "Traceback" not in result.err
    return [event for event in result.events if event["event"] == "doctor" and event["name"] == name]


def test_all_is_well(patient: Patient) -> None:
    """On a machine without a problem every line reports that, the exit code is 0 for either engine, and nothing was touched."""
    patient.checkout.invoke("--list")  # bytecode
    before = files(patient.checkout.root)
    result = patient.type("doctor", "--json", *ARGO)

    seen = {event["name"]: event for event in result.events if event["event"] == "doctor"}
    assert {name for name, event in seen.items() if event["status"] != "ok" and not name.startswith("Port ")} == {".env"}, result.out
    assert (result.last["event"], result.last["engine"], result.last["ok"], result.code) == ("doctor.finished", "argo", True, 0)
    assert {"Python", "uv", "Container runtime", "Memory", "CPUs", "kind", "Ports", "Proxy", "Package index", "Clock"} <= set(seen)
    assert seen["Container runtime"]["seen"] == "Docker Desktop 28.2 (16 GB, 8 CPUs), linux/arm64, as root"
    assert seen["kind"]["seen"].startswith("0.33.0 in ")
    page = patient.type("doctor")
    assert page.code == 0
    assert page.out.startswith("doctor  engine local, because the platform is not up (")
    assert "The engine local works here." in page.out
    assert patient.asked("create|delete|start|stop|pull|build|import") == []
    assert files(patient.checkout.root) == before


def test_a_connector_is_outdated(patient: Patient) -> None:
    """A newer package is shown with the one thing to do, and fails nothing; without an index nothing is compared."""
    patient.world.released["meltanolabs-target-csv"] = "99.0"
    result = patient.type("doctor", "--json")
    [finding] = diagnosis(result, "Connectors")
    assert (result.code, finding["status"], "99.0 is released" in finding["seen"]) == (0, "ok", True)
    assert finding["hint"] == "Change pip_url in singer-configs/target-csv/connector.yaml, then invoke lock target-csv"
    patient.world.says["simple"] = 404
    [finding] = diagnosis(patient.type("doctor", "--json"), "Connectors")
    assert (finding["status"], finding["hint"]) == ("unneeded", "")


@dataclass
class Case:
    """Something that is broken, and the finding about it."""

    name: str
    """The check that sees it."""
    breaks: Callable[[Patient], object]
    status: str
    says: str
    does: str = ""
    """A regular expression that the hint matches."""
    settings: dict[str, str] = field(default_factory=dict)
    local: str = ""
    """What it is for the local engine: unneeded, where only the other one needs it."""


def has(name: str, text: str) -> Callable[[Patient], object]:
    """Let a stand-in say something else."""
    return lambda patient: patient.has(name, text)


def recorded(name: str) -> Callable[[Patient], object]:
    """Let the runtime print the answer of a real one: see ``tests/unit/containers/runtimes/README.md``."""
    return lambda patient: patient.has("info", (RECORDED / f"{name}.json").read_text(encoding="utf-8"))


def memory(size: int) -> Callable[[Patient], object]:
    """Give the runtime so much memory."""
    return has("info", HEALTHY.replace("16000000000", str(size)))


def writes(name: str, text: str) -> Callable[[Patient], object]:
    """Replace a file of the checkout, readable by its owner alone."""

    def write(patient: Patient) -> None:
        file = patient.checkout.root / name
        file.write_text(text)
        file.chmod(0o600)

    return write


def world(**facts: Any) -> Callable[[Patient], object]:
    """Let the world be otherwise."""
    return lambda patient: vars(patient.world).update(facts)


RECORDED = Path(__file__).resolve().parents[1] / "unit" / "containers" / "runtimes"
CASES = [
    Case("Settings", lambda _: None, "fail", "singer.engine is .lcoal.", "invoke.yaml", {"INVOKE_SINGER_ENGINE": "lcoal"}, "fail"),
    Case("Keys", writes("invoke.yaml", "replication: {retries: 3}\n"), "slow", "invoke.yaml has replication, which neither", "below singer:", local="slow"),
    Case("Python", writes("requirements.lock", "invoke==9.9 \\\n    --hash=sha256:0\n"), "slow", r"invoke \S+ \(wanted 9\.9\)", ".venv", local="slow"),
    Case("singer-configs/", writes("singer-configs/target-csv/connector.yaml", "kind: tup\n"), "fail", "connector.yaml: kind is .tup.*and 2 more", "check", local="fail"),
    Case(".env", writes(".env", "nonsense\n"), "fail", "line 1 is not NAME=value", "Correct line 1", local="fail"),
    Case("S3", lambda _: None, "fail", "http://127.0.0.1:9 is not reachable: the connection is refused", "Connect to the network", {"INVOKE_SINGER_LOCAL_STORE": "s3", "INVOKE_SINGER_S3_ENDPOINT": "http://127.0.0.1:9"}, "fail"),
    Case("Proxy", lambda _: None, "fail", "http://127.0.0.1:9 is not reachable: the connection is refused", "Correct singer.proxy", {"INVOKE_SINGER_PROXY": "http://jane:secret@127.0.0.1:9"}, "fail"),
    Case("Proxy", lambda _: None, "fail", "HTTPS_PROXY is not the address of a proxy", "Correct HTTPS_PROXY", {"HTTPS_PROXY": "http://jane:secret@[::1"}, "fail"),
    Case("Package index", lambda _: None, "slow", "not an address", "PIP_INDEX_URL", {"PIP_INDEX_URL": "http://jane:secret@[::1"}, "slow"),
    Case("Certificates", lambda _: None, "fail", "no.pem, named by singer.ca_bundle, cannot be read", "BEGIN CERTIFICATE", {"INVOKE_SINGER_CA_BUNDLE": "no.pem"}, "fail"),
    Case("Clock", world(ahead=7200), "fail", "2.0 h behind", "sudo |w32tm", local="fail"),
    Case("Clock", world(ahead=-300), "slow", "5 min ahead", "sudo |w32tm", local="slow"),
    Case("Clock", world(ahead=None), "unneeded", "not compared", local="unneeded"),
    Case("Container runtime", lambda patient: patient.without("docker"), "fail", "docker is not installed", "Install Docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.refuses("docker", NOT_RUNNING), "fail", "Docker does not answer: Cannot connect", "Start Docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.refuses("docker", NOT_ALLOWED), "fail", "permission denied", "usermod -aG docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.install("docker", "/bin/sleep 60"), "fail", "Docker does not answer: no answer within 5 s", "Start Docker", local="unneeded"),
    Case("Memory", memory(2 * 10**9), "fail", "2.0 GB of memory: the platform needs 2.5 GB", "Docker Desktop", local="unneeded"),
    Case("Memory", memory(3 * 10**9), "slow", "3.0 GB of memory: pipelines may be slow", "Docker Desktop", local="slow"),
    Case("CPUs", has("info", HEALTHY.replace('"NCPU": 8', '"NCPU": 1')), "slow", "one CPU", "two or more", local="slow"),
    Case("cgroups", recorded("docker-rootless-ubuntu-cgroup-v1"), "fail", "rootless .* cgroup v1", "cgroup v2", local="unneeded"),
    Case("cgroups", recorded("podman-rootless-fedora"), "fail", "rootless podman .* nothing is delegated", "Delegate=yes", local="unneeded"),
    Case("Memory", recorded("colima-macos-arm64"), "fail", "Colima has 2.1 GB of memory", "colima start --memory", local="unneeded"),
    Case("Clock", world(ahead=-7200, age=7200), "ok", "right to the minute", local="ok"),
    Case("kind", lambda patient: patient.without("kind"), "fail", "kind is not installed", "doctor --fix", local="unneeded"),
    Case("kind", has("version", "kind v0.20.0 go1.20 linux/amd64"), "fail", "v0.20.0 is too old: it takes 0.33 or later", "doctor --fix", local="unneeded"),
    Case("kind", lambda patient: patient.install("kind", "exit 3"), "fail", "prints no version: it gave no reason", "doctor --fix", local="unneeded"),
    Case("minikube", lambda _: None, "fail", "minikube is not installed", "Install minikube", {"INVOKE_SINGER_PROVIDER": "minikube"}, "unneeded"),
    Case("Context", lambda _: None, "fail", "no context .nowhere.", "INVOKE_SINGER_CONTEXT", {"INVOKE_SINGER_PROVIDER": "existing", "INVOKE_SINGER_CONTEXT": "nowhere"}, "unneeded"),
    Case("Other checkouts", has("node", "running"), "fail", 'kind cluster "singer" .* did not make it', "INVOKE_SINGER_CLUSTER=singer2", local="unneeded"),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.name}: {case.says}"[:60])
def test_something_is_broken(patient: Patient, case: Case) -> None:
    """What is broken is seen, with its remedy; it counts for the engine that needs it, and the other one works without."""
    case.breaks(patient)
    for engine, status in (("argo", case.status), ("local", case.local)):
        result = patient.type("doctor", "--json", "--engine", engine, **case.settings)
        (seen,) = diagnosis(result, case.name)
        assert seen["status"] == status, seen
        assert re.search(case.says, seen["seen"]), seen
        assert re.search(case.does, seen["hint"]), seen
        assert result.code == (1 if status == "fail" else 0), result.out
        assert ("E-DOCTOR" in result.err) == (status == "fail")
        assert "secret" not in result.out.replace("no secret", "")


@pytest.mark.parametrize(
    ("status", "says", "does"),
    [
        (503, "answers 503", "later"),
        (403, r"refuses \(403\)", "PIP_INDEX_URL"),
        (401, r"asks for a user and a password \(401\)", "PIP_INDEX_URL"),
    ],
)
def test_the_index(patient: Patient, status: int, says: str, does: str) -> None:
    """An index that does not serve us fails as long as an environment is to be made; where all are there it is only noted."""
    patient.world.says["simple"] = status
    patient.only_scripted(made=False)
    result = patient.type("doctor", "--json")
    (seen,) = diagnosis(result, "Package index")
    assert (seen["status"], result.code) == ("fail", 1)
    assert re.search(says, seen["seen"])
    assert re.search(does, seen["hint"])


def test_a_connector_s_python(patient: Patient) -> None:
    """A connector that asks for a Python that is not here is a warning about that connector: the others run."""
    file = patient.checkout.root / "singer-configs" / "target-csv" / "connector.yaml"
    file.write_text(file.read_text() + 'python: "3.99"\n')
    result = patient.type("doctor", "--json")
    (ours, theirs) = diagnosis(result, "Python")
    assert (ours["status"], theirs["status"], result.code) == ("ok", "slow", 0)
    assert "target-csv needs Python 3.99" in theirs["seen"]
    assert "the other connectors work without it" in theirs["seen"]
    assert "pyenv install 3.99" in theirs["hint"]


def test_the_index_is_not_needed_any_more(patient: Patient) -> None:
    """Where all environments are there, an index that does not answer is only noted."""
    patient.only_scripted(made=True)
    patient.world.says["simple"] = 503
    result = patient.type("doctor", "--json")
    (seen,) = diagnosis(result, "Package index")
    assert (seen["status"], result.code) == ("slow", 0)
    assert "the environments of all connectors are there" in seen["seen"]


@pytest.mark.parametrize(
    ("status", "images", "engine", "expected"),
    [(403, False, "argo", "fail"), (503, False, "argo", "fail"), (503, True, "argo", "slow"), (503, False, "local", "unneeded"), (429, False, "argo", "slow"), (401, False, "argo", "ok")],
)  # fmt: skip
def test_a_registry(patient: Patient, status: int, *, images: bool, engine: str, expected: str) -> None:
    """A registry that refuses fails for argo, unless its images are here; one that wants to know who asks is as it should be."""
    patient.world.says["v2"] = status
    if images:
        patient.has("images")
    result = patient.type("doctor", "--json", "--engine", engine)
    (seen,) = diagnosis(result, f"Registry {patient.world.host}")
    assert seen["status"] == expected, seen
    assert result.code == (1 if expected == "fail" else 0)
    assert expected == "ok" or str(status) in seen["seen"]


def test_nobody_answers(patient: Patient) -> None:
    """An index and a registry that take connections and never answer are given up soon."""
    patient.world.answers.clear()
    patient.only_scripted(made=False)
    result = patient.type("doctor", "--json")
    for name in ("Package index", f"Registry {patient.world.host}"):
        (seen,) = diagnosis(result, name)
        assert "no answer within 2 s" in seen["seen"]
    assert result.code == 1


def test_a_runtime_that_hangs(patient: Patient) -> None:
    """A container runtime that never answers is given up, and nothing that was asked of it goes on behind the user's back."""
    patient.install("docker", 'echo $$ >>"$desk/asked"; exec /bin/sleep 60')
    result = patient.type("doctor", "--json")
    (seen,) = diagnosis(result, "Container runtime")
    assert (seen["status"], result.code) == ("unneeded", 0)
    processes = [int(number) for number in (patient.desk / "asked").read_text().split()]
    assert processes
    assert [process for process in processes if alive(process)] == []


def test_a_proxy_that_looks_into_what_passes(patient: Patient, tmp_path: Path) -> None:
    """If a company's certificate is not known, or its proxy wants a password, the finding names that, without the password."""
    patient.only_scripted(made=False)
    index = {"PIP_INDEX_URL": "https://index.invalid/simple", "SSL_CERT_FILE": "", "REQUESTS_CA_BUNDLE": "", "CURL_CA_BUNDLE": ""}
    with Proxy(tmp_path, login="jane:s3cr3t") as strict:
        address = strict.address.replace("//", "//jane:{}@")
        for password, says, does in (
            ("s3cr3t", "authority that is not known", "singer.ca_bundle"),
            ("wr0ng", "asks for a user", "user:password@"),
        ):
            result = patient.type("doctor", "--json", INVOKE_SINGER_PROXY=address.format(password), PIP_CERT="", **index)
            (seen,) = diagnosis(result, "Package index")
            assert says in seen["seen"]
            assert does in seen["hint"]
            assert password not in result.out + result.err
            (seen,) = diagnosis(result, "Proxy")
            assert (seen["status"], "172.17.0.1" in seen["seen"]) == ("slow", True)


def test_a_port_that_is_taken(patient: Patient) -> None:
    """The holder of a port is named, and which one is used in its place; ports of a cluster that is stopped cannot be moved."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        result = patient.type("doctor", "--json", *ARGO, INVOKE_SINGER_PORT_S3=str(port))
        (seen,) = diagnosis(result, f"Port {port}")
        assert (seen["status"], result.code) == ("slow", 0)
        assert re.search(rf'taken by ".+" \(pid {os.getpid()}\): \d+ is used instead', seen["seen"])

        patient.owns(first=port)
        patient.has("node", "exited")
        result = patient.type("doctor", "--json", *ARGO)
        (seen,) = [seen for seen in diagnosis(result, "Ports") if str(port) in seen["seen"]]
        assert (seen["status"], result.code) == ("fail", 1)
        assert f"(pid {os.getpid()})" in seen["seen"]
        patient.has("published", f"singer-control-plane\t127.0.0.1:{port}->30900/tcp")
        (seen,) = diagnosis(patient.type("doctor", "--json", *ARGO), "Ports")
        assert seen["status"] == "ok"


def test_uv_is_broken(patient: Patient, tmp_path: Path) -> None:
    """Where uv's package has lost its program, or that does not run, the way out is named."""
    package = tmp_path / "broken" / "uv"
    package.mkdir(parents=True)
    for body in ("raise FileNotFoundError('uv')", f"return {str(tmp_path)!r}", "return '/bin/false'"):
        (package / "__init__.py").write_text(f"def find_uv_bin():\n    {body}\n")
        result = patient.type("doctor", "--json", PYTHONPATH=str(tmp_path / "broken"), PYTHONDONTWRITEBYTECODE="1")
        (seen,) = diagnosis(result, "uv")
        assert (seen["status"], result.code) == ("fail", 1)
        assert ".venv" in seen["hint"]


@pytest.mark.parametrize(("name", "mark"), [("singer", "cluster"), ("singer2", "tool.env")])
def test_clusters_of_other_checkouts(patient: Patient, tmp_path: Path, name: str, mark: str) -> None:
    """A second checkout or project is fine beside the first, unless both want one name; a cluster whose checkout is gone is left over."""
    other = tmp_path / "other"
    (other / ".local").mkdir(parents=True)
    (other / mark).mkdir() if mark == "cluster" else (other / mark).touch()
    facts = {"id": "0123abcd", "cluster": name, "complete": True}
    (other / ".local" / "instance.json").write_text(json.dumps(facts))
    patient.has("node", "running")
    patient.has("origin", str(other))
    patient.install("docker", COPY + DOCKER.replace("singer-control-plane $status", f"{name}-control-plane $status"))

    def seen() -> tuple[str, str, str]:
        (finding,) = diagnosis(patient.type("doctor", "--json", *ARGO), "Other checkouts")
        assert str(other) in finding["seen"]
        assert f'"{name}" (running)' in finding["seen"]
        return finding["status"], finding["seen"], finding["hint"]

    status, says, does = seen()
    assert (status, "do not meet" in says) == (("fail", False) if name == "singer" else ("ok", True))
    assert ("INVOKE_SINGER_CLUSTER=singer2" in does) == (name == "singer")
    for gone in (other / ".local" / "instance.json", other / mark):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        status, says, does = seen()
        assert status == ("fail" if name == "singer" else "slow")
        assert "left behind" in says
        assert does.endswith(f"kind delete cluster --name {name}")
    patient.type("doctor", "--fix", *ARGO)
    assert patient.asked("^kind delete") == []


def test_a_platform_that_is_up(patient: Patient) -> None:
    """Where the platform is up, what making one would need is noted and does not fail: it works without."""
    patient.owns()
    cluster, user = {"server": f"http://{patient.world.host}"}, {"token": "t"}
    config = {
        "current-context": "kind-singer",
        "contexts": [{"name": "kind-singer", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": user}],
    }
    (patient.checkout.local / "kubeconfig").write_text(json.dumps(config))
    patient.has("info", HEALTHY.replace("16000000000", "2000000000"))
    patient.without("kind")
    result = patient.type("doctor", "--json")

    assert (result.last["engine"], result.last["reason"], result.last["ok"]) == ("argo", "the platform is up", True)
    assert result.code == 0
    assert {diagnosis(result, name)[0]["status"] for name in ("Memory", "kind")} == {"slow"}


def test_nothing_is_right(patient: Patient) -> None:
    """Where nothing is right there is one page that can be read, with something to do in it, and no traceback."""
    patient.without("docker", "kind")
    patient.only_scripted(made=False)
    for name, text in ((".env", "nonsense\n"), ("singer-configs/pipelines.yaml", "p: [\n"), ("requirements.lock", "invoke==9.9 \\\n")):
        (patient.checkout.root / name).write_text(text)
    (patient.checkout.local / "instance.json").write_text("{")
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "INVOKE_SINGER_MIRROR": "docker.io=127.0.0.1:9,quay.io=127.0.0.1:9"}
    result = patient.type(
        "doctor", *ARGO, INVOKE_SINGER_PROXY="http://jane:s3cr3t@127.0.0.1:9", INVOKE_SINGER_CA_BUNDLE="no.pem", **nowhere
    )

    assert result.code == 1
    assert "Traceback" not in result.out + result.err
    assert "s3cr3t" not in result.out + result.err
    assert len(result.out.splitlines()) < 50
    lines = result.out.splitlines()
    assert all(lines[number + 1].startswith("  → ") for number, line in enumerate(lines) if line.startswith("✗"))
    assert sum(line.startswith("✗") for line in lines) >= 7
    assert result.err.strip().startswith("E-DOCTOR  The engine argo will not work here: see ")


def test_an_engine_that_does_not_exist(patient: Patient) -> None:
    """A misspelt engine is refused as everywhere."""
    result = patient.type("doctor", "--engine", "agro")
    assert result.code == 1
    assert 'E-SETTING  There is no engine "agro". Did you mean "argo"?' in result.err


# ---------------------------------------------------------------------------------------------------------- putting right


class Publisher(ServingHTTP):
    """The site that publishes kind, over TLS with a test's authority."""

    PROGRAM = b"#!/bin/sh\necho 'kind v0.33.0 go1.26.8 linux/amd64'\n"

    def __init__(self, folder: Path) -> None:
        """Serve the program as a whole, wherever it is asked for."""
        super().__init__(("127.0.0.1", 0), _Downloads)
        authority = trustme.CA()
        self.ca = folder / "publisher.pem"
        authority.cert_pem.write_to_path(str(self.ca))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(context)
        self.socket = context.wrap_socket(self.socket, server_side=True)
        self.gives = "all"
        self.asked: list[str] = []


class _Downloads(BaseHTTPRequestHandler):
    server: Publisher

    def do_GET(self) -> None:
        """Send the program, or a page that leads to it, or half of it."""
        self.server.asked.append(self.path)
        if self.server.gives == "elsewhere" and not self.path.startswith("/objects/"):
            self.send_response(302)
            self.send_header("Location", f"/objects{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        program = self.server.PROGRAM
        self.send_response(404 if self.server.gives == "nothing" else 200)
        self.send_header("Content-Length", str(len(program)))
        self.end_headers()
        self.wfile.write(program[:10] if self.server.gives == "half" else program)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def publisher(tmp_path: Path) -> Iterator[Publisher]:
    """Yield a publisher of kind."""
    with Publisher(tmp_path) as running:
        yield running


def pin(patient: Patient, digest: str) -> None:
    """Let the checkout be one that pins another kind, for every platform."""
    file = patient.checkout.root / "cluster" / "doctor" / "fixes.py"
    file.write_text(re.sub(r'"[0-9a-f]{64}"', f'"{digest}"', file.read_text()))


def fix(patient: Patient, publisher: Publisher | None, *words: str, **settings: str) -> Result:
    """Type ``doctor --fix`` with a mirror of what GitHub has."""
    host = f"127.0.0.1:{publisher.server_port}" if publisher else "127.0.0.1:9"
    mirror = {"INVOKE_SINGER_MIRROR": f"{patient.environ['INVOKE_SINGER_MIRROR']},github.com={host}"}
    ca = {"INVOKE_SINGER_CA_BUNDLE": str(publisher.ca)} if publisher else {}
    return patient.type("doctor", "--fix", *ARGO, *words, **{**mirror, **ca, **settings})


@pytest.mark.parametrize("gives", ["all", "elsewhere"])
def test_kind_is_fetched(patient: Patient, publisher: Publisher, gives: str) -> None:
    """Kind is fetched into the checkout, as its makers published it, and comes before another one that is on PATH."""
    publisher.gives = gives
    patient.has("version", "kind v0.20.0 go1.20 linux/amd64")
    pin(patient, hashlib.sha256(publisher.PROGRAM).hexdigest())
    result = fix(patient, publisher)

    program = patient.checkout.local / "bin" / "kind"
    assert result.code == 0, result.out + result.err
    assert program.read_bytes() == publisher.PROGRAM
    assert os.access(program, os.X_OK)
    assert [file.name for file in program.parent.iterdir()] == ["kind"]
    assert re.search(r"^✓ kind +fetched kind v0\.33\.0 to \.local/bin/kind; its checksum is right", result.out, re.MULTILINE)
    assert re.search(r"^✓ kind +0\.33\.0 in \.local/bin$", result.out, re.MULTILINE)
    assert re.fullmatch(r"/kubernetes-sigs/kind/releases/download/v0\.33\.0/kind-\w+-\w+", publisher.asked[0])
    assert fix(patient, publisher, "--json").code == 0
    assert len(publisher.asked) == (1 if gives == "all" else 2)


@pytest.mark.parametrize(
    ("gives", "digest", "code", "says"),
    [
        ("all", "0" * 64, "E-DOWNLOAD", "the checksum differs"),
        ("nothing", "", "E-DOWNLOAD", "answers 404 for kind"),
        ("half", "", "E-DOWNLOAD", "broke off"),
    ],
)
def test_kind_cannot_be_fetched(patient: Patient, publisher: Publisher, gives: str, digest: str, code: str, says: str) -> None:
    """What is not there, breaks off or is another program is never put in place; the rest of the page is shown all the same."""
    publisher.gives = gives
    patient.without("kind")
    pin(patient, digest or hashlib.sha256(publisher.PROGRAM).hexdigest())
    result = fix(patient, publisher)

    assert result.code == 1
    assert re.search(rf"^{code}  .*{says}.*\n→ .*singer\.mirror", result.err, re.MULTILINE), result.err
    assert list((patient.checkout.local / "bin").iterdir()) == []
    assert re.search("^✗ kind +kind is not installed", result.out, re.MULTILINE)
    assert fix(patient, publisher, "--json").error == code


def test_kind_cannot_be_reached(patient: Patient, publisher: Publisher) -> None:
    """Without a network, or with a certificate that nobody knows, the finding names that as the reason."""
    patient.without("kind")
    assert re.search("^E-NETWORK  https://127.0.0.1:9 is not reachable: the connection is refused", fix(patient, None).err, re.MULTILINE)
    result = fix(patient, publisher, INVOKE_SINGER_CA_BUNDLE="")
    assert re.search("^E-CERTIFICATE  https://127.0.0.1:\\d+ is not reachable: a certificate", result.err, re.MULTILINE), result.err


@contextmanager
def running(checkout: Checkout) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Yield a run that takes its time, and its id."""
    checkout.scripted(SLOW, {"pid": True})
    with checkout.start("run", "p", "--json", "--engine", "local") as process:
        assert process.stdout is not None
        events = (json.loads(line) for line in process.stdout)
        run = next(event["run"] for event in events if event["event"] == "run.started")
        eventually(lambda: len(pids(checkout, run)) == 3)
        yield process, run
        process.kill()


def test_what_is_put_right(patient: Patient) -> None:
    """What killed commands have left is removed, secrets are closed, and nothing else is touched; the second time there is nothing to do."""
    checkout = patient.checkout
    (checkout.root / ".env").write_text("TOKEN=canary\n")
    (checkout.root / ".env").chmod(0o644)
    (checkout.root / ".venv.making").mkdir()
    (checkout.root / ".venv.making" / "pid").write_text(str(1 << 22))
    patient.owns(complete=False)
    with running(checkout) as (process, run):
        process.kill()
        process.wait()
        eventually(lambda: not [pid for pid in pids(checkout, run) if alive(pid)])

    result = patient.type("doctor", "--json", *ARGO)
    (env,) = diagnosis(result, ".env")
    assert (env["status"], env["hint"]) == ("slow", "chmod 600 .env")
    left = [seen["seen"] for seen in diagnosis(result, "Leftovers")]
    assert [any(word in text for text in left) for word in ('the kind cluster "singer"', f"the run {run} of p", ".venv")] == [True] * 3
    assert {seen["status"] for seen in diagnosis(result, "Leftovers")} == {"slow"}
    assert patient.asked("^kind (delete|create)") == []

    events = patient.type("doctor", "--fix", "--json", *ARGO).events
    assert len([event for event in events if event["event"] == "doctor.fixed"]) == 4
    assert (checkout.root / ".env").stat().st_mode & 0o777 == 0o600
    assert not (checkout.root / ".venv.making").exists()
    assert [call.split(" --kubeconfig")[0] for call in patient.asked("^kind (delete|create)")] == ["kind delete cluster --name singer"]
    assert checkout.invoke("show", run, "--json").last["status"] == "interrupted"
    assert checkout.leftovers() == []
    assert [event["seen"] for event in events if event.get("name") == "Leftovers" and event["event"] == "doctor"] == ["none"]
    again = patient.type("doctor", "--fix", *ARGO)
    assert "• Nothing to correct that would be safe" in again.out


def test_what_is_running_is_left_alone(patient: Patient) -> None:
    """A run, an up and an environment that are under way are no leftovers."""
    checkout = patient.checkout
    (checkout.root / ".venv.making").mkdir()
    (checkout.root / ".venv.making" / "pid").write_text(str(os.getpid()))
    patient.owns(complete=False)
    with running(checkout) as (process, _), (checkout.local / "locks" / "platform").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        result = patient.type("doctor", "--fix", "--json", *ARGO)
        assert [seen["seen"] for seen in diagnosis(result, "Leftovers")] == ["none"]
        assert [event for event in result.events if event["event"] == "doctor.fixed"] == []
        assert process.poll() is None
    assert (checkout.root / ".venv.making").exists()
    assert patient.asked("^kind (delete|create)") == []


# ---------------------------------------------------------------------------------------------------------- the bundle

CANARIES = {name: f"canary-{name}-{number:04x}" for number, name in enumerate(("dotenv", "quoted", "named", "environ", "aws", "typed", "proxy", "index", "notify", "kept", "commented", "docker"), 7000)}  # fmt: skip


def test_a_bundle_has_no_secret(patient: Patient) -> None:
    """Wherever secrets are, none of them is in the file for asking for help, in no form; what helps is, for its owner's eyes only."""
    checkout, secret = patient.checkout, CANARIES
    odd = 'p"w\\d/ü%&1'
    (checkout.root / ".env").write_text(
        f"TOKEN={secret['dotenv']}  # mine\nQUOTED='{secret['quoted']}'\nODD='{odd}'\nPIN=zq7\n# OLD={secret['commented']}\n"
        f"SINGER_NOTIFY_URL=https://hooks.example.com/{secret['notify']}\n"
    )
    forms = [odd, quote(odd, safe=""), json.dumps(odd)[1:-1], base64.b64encode(odd.encode()).decode()]
    logged = [
        *secret.values(),
        *forms,
        "pin is zq7",
        '{"client_secret": "hunter two"}',
        "Authorization: Bearer abcdef123456",
    ]
    checkout.scripted(
        {"steps": [SCHEMA, *(["stderr", text] for text in logged), ["exit", 1]], "token": "${NAMED}"},
        {"password": "${ODD}"},
    )
    config = checkout.root / "singer-configs" / "tap-scripted" / "config.json"
    environ = {
        "NAMED": secret["named"],
        "MY_API_KEY": secret["environ"],
        "DOCKER_AUTH_CONFIG": json.dumps({"auths": {"registry.example.com": {"auth": secret["docker"]}}}),
        "AWS_SECRET_ACCESS_KEY": secret["aws"],
        "HTTPS_PROXY": f"http://jane:{secret['proxy']}@127.0.0.1:9",
        "PIP_INDEX_URL": f"http://bob:{secret['index']}@{patient.world.host}/simple",
    }
    assert checkout.run(**{**environ, "HTTPS_PROXY": "", "PIP_INDEX_URL": checkout.environ.get("PIP_INDEX_URL", "")}).code == 2
    log = next((checkout.local / "logs" / "p").glob("*/tap.log"))
    assert secret["named"] not in log.read_text()
    log.write_text("\n".join([log.read_text(), *logged]))  # as a version that did not redact logs has left it
    config.write_text(json.dumps({"token": "${NAMED}", "nested": {"password": secret["typed"]}}))
    kept = checkout.local / "kept"
    kept.mkdir()
    (kept / "minio.tar").touch()
    (kept / "secrets.json").write_text(json.dumps({"argo-artifacts-root": {"accesskey": "root", "secretkey": secret["kept"]}}))
    with (checkout.local / "logs" / "p" / "kept.log").open("w") as file:
        file.write(f"minio prints {secret['kept']} to root\nhttps://bob:sesame@x/y\n")

    result = patient.type("doctor", "--bundle", **environ)
    (name,) = re.findall(r"\.local/support-\w+\.txt", result.out)
    bundle = checkout.root / name
    text = bundle.read_text()
    for value in [*secret.values(), *forms, "zq7", "hunter", "abcdef123456", "sesame"]:
        assert value not in text + result.out + result.err, value
    assert bundle.stat().st_mode & 0o777 == 0o600
    for helps in (
        "## Doctor",
        "engine local",
        "Container runtime: Docker Desktop",
        "python    3.",
        "kind v0.33.0",
        "PIP_INDEX_URL=http://***@",
        '"status": "failed"',
        "tap.log",
        "mirror = ",
    ):
        assert helps in text, helps
    assert "bundle" in {event["event"] for event in patient.type("doctor", "--bundle", "--json").events}


def test_a_bundle_where_nothing_is_right(patient: Patient) -> None:
    """Where nothing is right, and nothing was run, the file is written all the same, and has in it what was seen."""
    patient.without("docker", "kind")
    (patient.checkout.root / ".env").write_text("nonsense\n")
    result = patient.type("doctor", "--bundle", INVOKE_SINGER_ENGINE="lcoal")

    (bundle,) = patient.checkout.local.glob("support-*.txt")
    assert "Traceback" not in result.err
    assert result.code == 1
    assert "✗ Settings: singer.engine is" in bundle.read_text()


def test_a_cluster_says_whose_it_is(patient: Patient, monkeypatch: pytest.MonkeyPatch) -> None:
    """The owner of a cluster that a checkout has made can find out which checkout, also when the cluster is stopped."""
    monkeypatch.setenv("PATH", str(patient.programs))
    root = patient.checkout.root
    patient.install("kind", f'/bin/cat >/dev/null; : >"{root}/.local/kubeconfig"; echo running >"$desk/node"')
    patient.install("docker", 'case "$*" in *singer-checkout) case "$1" in exec) /bin/cat >"$desk/origin" ;; esac ;; esac' + COPY + DOCKER)
    runtime = Runtime("docker")
    assert kind.clusters(runtime) == []
    settings, instance = Settings(root=root), Instance(root / ".local" / "instance.json")
    instance.choose_ports(settings.ports)
    kind.Kind(settings, instance, runtime).ensure(lambda _: None)
    assert kind.clusters(runtime) == [kind.ClusterContainers("singer", "running", root)]
    patient.has("node", "exited")
    assert kind.clusters(runtime) == [kind.ClusterContainers("singer", "exited", root)]
