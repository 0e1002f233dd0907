"""A user's machine with a fake ``docker`` and a fake ``kind``, which print what the real ones print and record each call."""

# ruff: noqa: E501 - tables: a case is a line

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from checkout import Checkout, Result

SECONDS = 60
"""No command here has anything to wait for."""

NOT_RUNNING = "Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?"
NOT_ALLOWED = (
    "permission denied while trying to connect to the Docker daemon socket at unix:///var/run/docker.sock: "
    'Get "http://%2Fvar%2Frun%2Fdocker.sock/v1.47/containers/json": dial unix /var/run/docker.sock: connect: permission denied'
)

HEALTHY = json.dumps(
    {
        "OperatingSystem": "Docker Desktop", "ServerVersion": "28.2.2", "OSType": "linux", "Architecture": "aarch64", "NCPU": 8,
        "MemTotal": 16_000_000_000, "CgroupVersion": "2", "DockerRootDir": "/var/lib/docker", "Driver": "overlayfs",
    }
)  # fmt: skip
DOCKER = r"""
case "$1 $2" in
"ps "*)
  if [ -e "$desk/slow" ]; then /bin/sleep 1.5; fi
  case "$*" in *Ports*) [ ! -e "$desk/published" ] || /bin/cat "$desk/published"; exit 0 ;; esac
  if [ -e "$desk/node" ]; then
    read -r state <"$desk/node"
    case "$state" in
    running) status="Up 2 minutes" ;;
    paused) status="Up 2 minutes (Paused)" ;;
    *) status="Exited (137) 2 hours ago" ;;
    esac
    echo "singer-control-plane $status"
  fi ;;
"exec "*)
  case "$*" in
  *crictl*)
    if [ -e "$desk/node" ]; then echo '{"images": []}'; else echo "Error response from daemon: No such container: singer-control-plane" >&2; exit 1; fi ;;
  *import*) /bin/cat >/dev/null ;;
  esac ;;
"container inspect") [ ! -e "$desk/made-from" ] || /bin/cat "$desk/made-from" ;;
"image inspect")
  if [ -e "$desk/sizes" ]; then case "$4 $5" in *Size*kindest/node*) echo 123400000; exit 0 ;; esac; fi
  case "$5" in */singer/*|*:dev) made=built ;; *) made=pulled ;; esac
  [ -e "$desk/images" ] || [ -e "$desk/$made" ] || { echo "Error response from daemon: No such image: $5" >&2; exit 1; } ;;
"pull "*) : >"$desk/pulled" ;;
"info "*) /bin/cat "$desk/info" ;;
"start "*|"unpause "*) [ ! -e "$desk/port-taken" ] || { /bin/cat "$desk/port-taken" >&2; exit 1; } ;;
"build "*) : >"$desk/built" ;;
esac
"""
KIND = r"""
case "$1 $2" in
"create cluster")
  /bin/cat >"$desk/kind.yaml"
  if [ -e "$desk/gate" ]; then read -r _ <"$desk/gate"; /bin/rm -f "$desk/gate"; fi
  echo 'Creating cluster "singer" ...'
  /bin/cat "$desk/fails"
  exit 1 ;;
"delete cluster")
  if [ -e "$desk/slow" ]; then /bin/sleep 1.5; fi
  [ -e "$desk/stays" ] || /bin/rm -f "$desk/node" ;;
esac
"""
# As the real kind: a kubeconfig that is named, else the one of the environment, else the user's.
KUBECONFIG = r"""
kubeconfig=${KUBECONFIG:-$HOME/.kube/config}
while [ $# -gt 0 ]; do
  if [ "$1" = --kubeconfig ]; then kubeconfig=$2; fi
  shift
done
"""
TOUCH = r"""
( set -- "$@"
""" + KUBECONFIG + r"""
if [ -e "$kubeconfig.lock" ]; then
  echo "ERROR: failed to lock config file: open $kubeconfig.lock: file exists" >&2
  exit 1
fi
echo "# kind was here" >>"$kubeconfig" ) || exit 1
"""  # fmt: skip


class FakeMachine:
    """A user's machine: what is on PATH, a home with a kubeconfig, and a checkout."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        """Install both programs; Docker runs, has no image and no container."""
        self.checkout = checkout
        checkout.seconds = SECONDS
        self.folder = folder
        self.programs = folder / "programs"
        self.home = folder / "home"
        for made in (self.programs, self.home / ".kube", folder / "desk"):
            made.mkdir(parents=True)
        self.desk = folder / "desk"
        self.calls_file = folder / "calls"
        self.calls_file.touch()
        self.kubeconfigs = [self.home / ".kube" / "config", self.home / "work.kubeconfig"]
        for file in self.kubeconfigs:
            file.write_bytes(b"# mine\r\napiVersion: v1\nkind: Config\ncurrent-context: work\n\n")
        self.before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in self.kubeconfigs]
        self.install("docker", DOCKER)
        self.install("kind", TOUCH + KIND)
        self.has("info", HEALTHY)
        self.has("fails", "ERROR: failed to create cluster: failed to remove control plane taint: exit status 1")

    def install(self, program: str, body: str) -> None:
        """Put a program on PATH."""
        file = self.programs / program
        record = f"printf '%s\\n' \"{program} $*\" >>'{self.calls_file}'"
        file.write_text(f"#!/bin/sh\ndesk='{self.desk}'\n{record}\n{body}\n")
        file.chmod(0o755)

    def refuses(self, program: str, text: str) -> None:
        """Let a program do nothing but say *text*."""
        self.has("refusal", text)
        self.install(program, '/bin/cat "$desk/refusal" >&2\nexit 1')

    def has(self, name: str, text: str = "") -> None:
        """Set a fact of this machine that the stand-ins know."""
        (self.desk / name).write_text(text + "\n")

    def owns(self, *, complete: bool = True, first: int = 9000) -> None:
        """Let the checkout remember that it made the cluster, which runs."""
        self.has("node", "running")
        ports = {"port_s3": first, "port_console": first + 1, "port_argo": first + 2}
        facts = {"id": "0123abcd", "cluster": "singer", "complete": complete, "ports": ports}
        (self.checkout.local / "instance.json").write_text(json.dumps(facts))
        (self.checkout.local / "kubeconfig").write_text("apiVersion: v1\ncurrent-context: kind-singer\nkind: Config\n")

    @property
    def environ(self) -> dict[str, str]:
        """What the user has set: only the stand-ins are on PATH."""
        return {"PATH": str(self.programs), "HOME": str(self.home), "KUBECONFIG": str(self.kubeconfigs[1]), "KIND_CLUSTER_NAME": "work"}

    def start(self, *words: str, **environ: str) -> subprocess.Popen[str]:
        """Begin to type a command."""
        return self.checkout.start(*words, **{**self.environ, **environ})

    def type(self, *words: str, **environ: str) -> Result:
        """Type a command and wait for its end."""
        return self.checkout.invoke(*words, **{**self.environ, **environ})

    @property
    def calls(self) -> list[str]:
        """What the programs were asked for."""
        return self.calls_file.read_text().splitlines()

    def asked(self, pattern: str) -> list[str]:
        """Return the calls in which a pattern is found."""
        return [call for call in self.calls if re.search(pattern, call)]

    @property
    def changing(self) -> list[str]:
        """The calls that change something; all others only look."""
        return self.asked(
            r"^kind |^docker (?!ps |info |network inspect |exec \S+ (crictl images|sh -c for file;) |image inspect |images |container inspect )"
        )


@pytest.fixture
def desk(checkout: Checkout, tmp_path: Path) -> Iterator[FakeMachine]:
    """Yield a machine; after each test the user's kubeconfigs are as before."""
    machine = FakeMachine(checkout, tmp_path / "machine")
    yield machine
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in machine.kubeconfigs] == machine.before
    assert sorted(item.name for item in (machine.home / ".kube").iterdir()) == ["config"]


def is_one_sentence(result: Result, code: str, *says: str) -> None:
    """Assert that the user sees the error's code, one sentence and one hint, exit code 1 and no traceback."""
    lines = result.err.strip().splitlines()
    assert len(lines) == 2, result.err
    sentence, hint = lines
    assert sentence.startswith(f"{code}  "), result.err
    assert hint.startswith("→ ")
    assert result.code == 1
    assert "Traceback" not in result.out
    for part in says:
        assert re.search(part, sentence + hint), result.err


CHANGES = [("up",), ("stop",), ("teardown", "--yes")]


def files(root: Path) -> dict[str, bytes]:
    """Return every file of a checkout but Python's bytecode, and its content."""
    paths = [file for file in root.rglob("*") if file.is_file() and "__pycache__" not in file.parts]
    return {str(file.relative_to(root)): file.read_bytes() for file in paths}
