"""Secrets come from the environment or .env, reach the one connector that asks, and show up nowhere else."""

from __future__ import annotations

import json
import os
import re
import secrets
import signal
import tarfile
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from entrypoint import SECRET as ENTRYPOINT_SECRET
from processes import eventually

from cluster.project.secrets import SECRET

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from checkout import Checkout, Result

pytestmark = pytest.mark.full  # reads every file and process of a run

CANARY = "canary-7f3a9c"
OTHER = "quetzal-41be02"
LOOKING = (("runs",), ("show", "last"), ("logs", "last"), ("state", "p"), ("state", "p", "--history"))
FAMILY = 5  # processes of a run: the tool, two runners and two connectors
COPYING = (("fetch", "last"), ("report", "--print"), ("doctor", "--bundle"), ("discover", "tap-scripted"))


def test_filled_in(checkout: Checkout) -> None:
    """A secret is filled in whole or embedded, from the environment before .env; $${ stays a literal."""
    step = [
        "say",
        {
            "type": "RECORD",
            "stream": "s",
            "record": {"whole": "${TOKEN}", "in": "a ${TOKEN} b", "dotenv": "${OTHER}", "literal": "$${TOKEN}"},
        },
    ]
    checkout.scripted({"steps": [["schema", "s"], step]})
    (checkout.root / ".env").write_text(f"# mine\nTOKEN=not-this-one\nexport OTHER='{OTHER}'  \n")
    assert checkout.run(TOKEN=CANARY).code == 0

    record = json.loads(next(iter(checkout.outputs().values())))
    assert record == {"whole": CANARY, "in": f"a {CANARY} b", "dotenv": OTHER, "literal": "${TOKEN}"}


def test_nowhere_else(checkout: Checkout) -> None:
    """After a whole story a secret is in .env and nowhere else: no log, record, bucket, output, report, copy or leftover file."""
    story: list[str] = []

    def type_(*words: str) -> Result:
        result = checkout.invoke(*words, PASSWORD=OTHER)
        story.append(result.out + result.err)
        assert "Traceback" not in result.err, result.err
        return result

    (checkout.root / ".env").write_text(f"TOKEN={CANARY}\n")
    good = [["schema", "s"], ["environment"], ["records", "s", 3], ["state", {"n": 3}]]
    for steps, code in ((good, 0), ([*good, ["exit", 1]], 2)):
        checkout.scripted({"steps": steps, "token": "${TOKEN}"}, {"environment": True, "password": "${PASSWORD}"})
        assert type_("check", "p").code == 0
        assert type_("run", "p", "--raw", "--full").code == code
        for words in LOOKING:
            type_(*words)
            type_(*words, "--json")
    for words in COPYING:
        type_(*words)
    assert {file.name.partition("-")[0] for file in checkout.local.iterdir()} >= {"report.html", "support"}

    for file in files_of(checkout):
        if file != checkout.root / ".env":
            content = unpacked(file)
            assert CANARY.encode() not in content, file
            assert OTHER.encode() not in content, file
    for text in story:
        assert CANARY not in text
        assert OTHER not in text


@contextmanager
def running(
    checkout: Checkout, tap: dict[str, str] | None = None, target: dict[str, str] | None = None, password: str = "", **environ: str
) -> Iterator[subprocess.Popen[str]]:
    """Yield a run whose processes are all there; its tap waits for its end, which comes with that of the body. *password* is in .env."""
    reached = checkout.root / "reached"
    checkout.scripted({"steps": [["schema", "s"], ["touch", str(reached)], ["sleep", 60]], **(tap or {})}, target)
    (checkout.root / ".env").write_text(f"PASSWORD={password}\n")
    with checkout.start("run", "p", **environ) as process:
        try:
            eventually(lambda: (reached.exists() and len(ours(checkout)) >= FAMILY) or process.poll() is not None, 60)
            assert process.poll() is None
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=60)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")
def test_no_other_process_holds_it(checkout: Checkout) -> None:
    """While a run is on, a secret of the environment is in no argument list, and in no environment but that of the tool itself."""
    token, password = secrets.token_hex(), secrets.token_hex()  # of this test alone: others run beside it
    with running(checkout, {"token": "${TOKEN}"}, {"password": "${PASSWORD}"}, password, TOKEN=token) as process:
        holders, arguments = held(token), held(token, "cmdline") | held(password, "cmdline")
        others = held(password)
    assert holders == {process.pid}
    assert others == set()
    assert arguments == set()


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs /proc")
def test_a_run_opens_no_port(checkout: Checkout) -> None:
    """While a run on this machine is on, neither the tool nor what it has started listens anywhere."""
    with running(checkout):
        open_ports = {pid: sockets for pid in ours(checkout) if (sockets := listening(pid))}
    assert open_ports == {}


@pytest.mark.parametrize("mask", ["000", "022", "077"])
def test_only_the_user_may_look(checkout: Checkout, mask: str) -> None:
    """For every umask, below .local and output every folder is 0700 and every file 0600, after runs that succeeded and failed."""
    tap = {"steps": [["schema", "s"], ["records", "s", 1], ["state", {"n": 1}]]}
    before = os.umask(int(mask, 8))
    try:
        checkout.local.chmod(0o777 & ~int(mask, 8))
        checkout.scripted(tap)
        assert checkout.run("p", "--raw").code == 0
        checkout.scripted({"steps": [["exit", 1]]})
        assert checkout.run().code == 2
        for words in (("fetch", checkout.invoke("runs", "--json").events[-1]["run"]), ("report", "--print")):
            assert checkout.invoke(*words).code == 0
        checkout.invoke("doctor", "--bundle")
    finally:
        os.umask(before)
    tops = (checkout.local, checkout.root / "output")
    paths = [*tops, *(path for top in tops for path in top.rglob("*") if not path.is_symlink())]
    assert {path.name for path in paths} >= {"output", "tap.log", "state.json", "run.json", "s.jsonl"}
    public = checkout.local / "network" / "ca.pem"  # certificates, which builds and containers must read; its folder is private
    open_ = {str(path): oct(path.stat().st_mode & 0o777) for path in paths if path.stat().st_mode & 0o077 and path != public}
    assert open_ == {}


def files_of(checkout: Checkout) -> Iterator[Path]:
    """Yield every file below the checkout; what is shared with other tests is behind a link."""
    return (file for file in checkout.root.rglob("*") if file.is_file() and not file.is_symlink())


def unpacked(file: Path) -> bytes:
    """Return what a file holds, and what is packed in it."""
    content = file.read_bytes()
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            return content + b"".join(archive.read(name) for name in archive.namelist())
    if tarfile.is_tarfile(file):
        with tarfile.open(file) as packed:
            return content + b"".join(member.read() for name in packed if (member := packed.extractfile(name)))
    return content


def held(secret: str, where: str = "environ") -> set[int]:
    """Return the processes of this machine that have a secret in their environment, or among their arguments."""
    processes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if secret.encode() in (process / where).read_bytes():
                processes.add(int(process.name))
    return processes


def ours(checkout: Checkout) -> set[int]:
    """Return the processes that work in a checkout, or in a folder below it."""
    processes = set()
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").resolve().is_relative_to(checkout.root.resolve()):
                processes.add(int(process.name))
    return processes


def listening(pid: int) -> list[str]:
    """Return the addresses on which a process listens, in the kernel's notation."""
    inodes = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(OSError):
            inodes.add(str(descriptor.readlink()))
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/{pid}/net/{name}").read_text().splitlines()[1:]]
    return [line[1] for line in lines if line[3] == "0A" and f"socket:[{line[9]}]" in inodes]


def test_one_notation() -> None:
    """What the checks call a secret is what the entrypoint fills in."""
    assert SECRET.pattern == ENTRYPOINT_SECRET.pattern
    assert re.findall(SECRET, "${A}$${B}") == ["A", ""]
