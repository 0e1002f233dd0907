"""``doctor``: each check sees what it is there for, says what to do, and counts only for the engine that needs it.

The commands are typed on a machine of stand-ins, as in ``test_platform_errors``; index and registries are a server of the test's own.
"""

# ruff: noqa: E501 - a table: a case is a line

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import threading
import time
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, Self

import pytest
from proxy import Proxy
from test_platform_errors import DOCKER, HEALTHY, KIND, NOT_ALLOWED, NOT_RUNNING, Desk, files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from types import TracebackType

    from conftest import Checkout, Result

VERSION = 'case "$1" in version) /bin/cat "$desk/version"; exit 0 ;; esac\n'
COPY = r"""
case "$1" in cp) [ ! -e "$desk/origin" ] || /bin/cp "$desk/origin" "$3"; exit 0 ;; esac
"""
ARGO = ("--engine", "argo")


class World(ThreadingHTTPServer):
    """What is outside: a package index and registries, in one server, for as long as the body of its ``with`` runs."""

    daemon_threads = True

    def __init__(self) -> None:
        """Answer 200, with the right time, at once."""
        super().__init__(("127.0.0.1", 0), _Handler)
        self.host = f"127.0.0.1:{self.server_port}"
        self.says = {"simple": 200, "v2": 200}
        """The status, by the first part of the path: of the index, of the registries."""
        self.ahead: float | None = 0
        """By how many seconds its clock is ahead; None: it does not tell."""
        self.answers = threading.Event()
        self.answers.set()

    def __enter__(self) -> Self:
        """Serve until the body ends."""
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop, whoever waits."""
        self.answers.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: World

    def do_HEAD(self) -> None:
        """Answer as the test wants it."""
        self.server.answers.wait(60)
        self.send_response_only(self.server.says[self.path.split("/")[1]])
        if self.server.ahead is not None:
            self.send_header("Date", formatdate(time.time() + self.server.ahead, usegmt=True))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Patient(Desk):
    """A machine on which all is well, until a test breaks something."""

    world: World

    def well(self, world: World) -> Self:
        """Install what is needed; index and registries are *world*."""
        self.world = world
        self.install("docker", COPY + DOCKER)
        self.install("kind", VERSION + KIND)
        self.has("version", "kind v0.33.0 go1.26.8 linux/amd64")
        return self

    @property
    def environ(self) -> dict[str, str]:
        """See ``Desk``; nothing leads out of this machine."""
        mirrors = ",".join(f"{name}={self.world.host}" for name in ("docker.io", "quay.io"))
        outside = {"PIP_INDEX_URL": f"http://{self.world.host}/simple", "INVOKE_SINGER_MIRROR": mirrors, "UV_DEFAULT_INDEX": ""}
        return {**super().environ, **outside, "HTTPS_PROXY": "", "HTTP_PROXY": ""}

    def without(self, *programs: str) -> None:
        """Take programs off PATH."""
        for program in programs:
            (self.programs / program).unlink()

    def only_scripted(self, *, made: bool) -> None:
        """Let there be two connectors, whose environments are made, or not."""
        for name in ("tap-exchange-rates", "target-csv", "currencies-to-csv"):
            shutil.rmtree(self.checkout.root / "singer-configs" / name)
        self.checkout.scripted({"steps": []})
        if made:
            assert self.checkout.run().code == 0
        else:
            (self.checkout.local / "environments").unlink()


@pytest.fixture
def patient(checkout: Checkout, tmp_path: Path) -> Iterator[Patient]:
    """Yield a machine on which all is well."""
    with World() as world:
        yield Patient(checkout, tmp_path / "machine").well(world)


def diagnosis(result: Result, name: str) -> list[dict[str, Any]]:
    """Return what was said of one thing."""
    assert "Traceback" not in result.err
    return [event for event in result.events if event["event"] == "doctor" and event["name"] == name]


def test_all_is_well(patient: Patient) -> None:
    """Where all is well every line says so, the exit code is 0 for either engine, and nothing was touched."""
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


@dataclass
class Case:
    """Something that is broken, and what must be said of it."""

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
    return lambda patient: [setattr(patient.world, name, value) for name, value in facts.items()]


ROOTLESS = HEALTHY.replace('"CgroupVersion": "2"', '"CgroupVersion": "1", "SecurityOptions": ["name=rootless"]')
CASES = [
    Case("Settings", lambda _: None, "fail", "singer.engine is .lcoal.", "invoke.yaml", {"INVOKE_SINGER_ENGINE": "lcoal"}, "fail"),
    Case("Python", writes("requirements.lock", "invoke==9.9 \\\n    --hash=sha256:0\n"), "slow", r"invoke \S+ \(wanted 9\.9\)", ".venv", local="slow"),
    Case("singer-configs/", writes("singer-configs/target-csv/connector.yaml", "kind: tup\n"), "fail", "connector.yaml: kind is .tup.*and 2 more", "check", local="fail"),
    Case(".env", writes(".env", "nonsense\n"), "fail", "line 1 is not NAME=value", "Correct line 1", local="fail"),
    Case("S3", lambda _: None, "fail", "http://127.0.0.1:9 is not reachable: the connection is refused", "Connect to the network", {"INVOKE_SINGER_LOCAL_STORE": "s3", "INVOKE_SINGER_S3_ENDPOINT": "http://127.0.0.1:9"}, "fail"),
    Case("Proxy", lambda _: None, "fail", "http://127.0.0.1:9 is not reachable: the connection is refused", "Correct singer.proxy", {"INVOKE_SINGER_PROXY": "http://jane:secret@127.0.0.1:9"}, "fail"),
    Case("Certificates", lambda _: None, "fail", "no.pem, named by singer.ca_bundle, cannot be read", "BEGIN CERTIFICATE", {"INVOKE_SINGER_CA_BUNDLE": "no.pem"}, "fail"),
    Case("Clock", world(ahead=7200), "fail", "2.0 h behind", "sudo |w32tm", local="fail"),
    Case("Clock", world(ahead=-300), "slow", "5 min ahead", "sudo |w32tm", local="slow"),
    Case("Clock", world(ahead=None), "unneeded", "not compared", local="unneeded"),
    Case("Container runtime", lambda patient: patient.without("docker"), "fail", "docker is not installed", "Install Docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.refuses("docker", NOT_RUNNING), "fail", "Docker does not answer: Cannot connect", "Start Docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.refuses("docker", NOT_ALLOWED), "fail", "permission denied", "usermod -aG docker", local="unneeded"),
    Case("Container runtime", lambda patient: patient.install("docker", "/bin/sleep 60"), "fail", "Docker does not answer: no answer within 4 s", "Start Docker", local="unneeded"),
    Case("Memory", memory(2 * 10**9), "fail", "2.0 GB of memory: the platform needs 2.5 GB", "Docker Desktop", local="unneeded"),
    Case("Memory", memory(3 * 10**9), "slow", "3.0 GB of memory: pipelines may be slow", "Docker Desktop", local="slow"),
    Case("CPUs", has("info", HEALTHY.replace('"NCPU": 8', '"NCPU": 1')), "slow", "one CPU", "two or more", local="slow"),
    Case("cgroups", has("info", ROOTLESS), "fail", "rootless .* cgroup v1", "cgroup v2", local="unneeded"),
    Case("kind", lambda patient: patient.without("kind"), "fail", "kind is not installed", "doctor --fix", local="unneeded"),
    Case("kind", has("version", "kind v0.20.0 go1.20 linux/amd64"), "fail", "v0.20.0 is too old: it takes 0.33 or later", "doctor --fix", local="unneeded"),
    Case("kind", lambda patient: patient.install("kind", "exit 3"), "fail", "does not tell its version: exit code 3", "doctor --fix", local="unneeded"),
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


def test_a_proxy_that_looks_into_what_passes(patient: Patient, tmp_path: Path) -> None:
    """Where a company's certificate is not known, or its proxy wants a password, that is what is said, and the password is not."""
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


@pytest.mark.parametrize("name", ["singer", "singer2"])
def test_clusters_of_other_checkouts(patient: Patient, tmp_path: Path, name: str) -> None:
    """A second checkout is fine beside the first, unless both want one name; a cluster whose checkout is gone is left over."""
    other = tmp_path / "other"
    (other / "cluster").mkdir(parents=True)
    (other / ".local").mkdir()
    facts = {"id": "0123abcd", "cluster": name, "complete": True}
    (other / ".local" / "instance.json").write_text(json.dumps(facts))
    patient.has("node", "running")
    patient.has("origin", str(other))
    patient.install("docker", COPY + DOCKER.replace("singer-control-plane $status", f"{name}-control-plane $status"))

    def seen() -> tuple[str, str, str]:
        (found,) = diagnosis(patient.type("doctor", "--json", *ARGO), "Other checkouts")
        assert str(other) in found["seen"]
        assert f'"{name}" (running)' in found["seen"]
        return found["status"], found["seen"], found["hint"]

    status, says, does = seen()
    assert (status, "do not meet" in says) == (("fail", False) if name == "singer" else ("ok", True))
    assert ("INVOKE_SINGER_CLUSTER=singer2" in does) == (name == "singer")
    for gone in (other / ".local" / "instance.json", other / "cluster"):
        shutil.rmtree(gone) if gone.is_dir() else gone.unlink()
        status, says, does = seen()
        assert status == ("fail" if name == "singer" else "slow")
        assert "left behind" in says
        assert does.endswith(f"kind delete cluster --name {name}")
    patient.type("doctor", "--fix", *ARGO)
    assert patient.asked("^kind delete") == []


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
