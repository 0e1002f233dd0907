"""The parts of ``doctor`` that need no machine: what is said on which system, clocks, room on the disk, and what a bundle hides."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.config.settings import IMAGES, Settings
from cluster.doctor import checks, fixes
from cluster.doctor.timeouts import begin, within
from cluster.host import system as advice
from cluster.host.locks import held, only_one
from cluster.host.subprocesses import TOO_LONG, run
from cluster.net.http import Answer
from cluster.project import redaction
from cluster.project.redaction import HIDDEN, redacted
from cluster.providers import preflight

if TYPE_CHECKING:
    from pathlib import Path

UBUNTU = {"NAME": "Ubuntu", "VERSION_ID": "24.04", "ID": "ubuntu", "ID_LIKE": "debian"}


@pytest.mark.parametrize(
    ("platform", "release", "kernel", "system", "installs", "starts"),
    [
        ("darwin", {}, "", advice.System("macos"), "brew", "open -a Docker"),
        ("linux", UBUNTU, "6.8.0-45-generic", advice.System("linux", "debian"), "apt", "systemctl"),
        ("linux", UBUNTU, "5.15.153.1-microsoft-standard-WSL2", advice.System("wsl", "debian"), "WSL integration", "Windows"),
        ("linux", {"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "5.14.0", advice.System("linux", "fedora"), "dnf", "systemctl"),
        ("linux", {"ID": "opensuse-tumbleweed", "ID_LIKE": "opensuse suse"}, "6.9", advice.System("linux", "suse"), "zypper", "systemctl"),
        ("linux", {"ID": "arch"}, "6.9-arch1", advice.System("linux", "arch"), "pacman", "systemctl"),
        ("linux", {"ID": "alpine"}, "6.6", advice.System("linux", "alpine"), "apk", "service"),
        ("linux", {"ID": "nixos"}, "6.6", advice.System("linux", ""), "", "systemctl"),
        ("linux", {}, "", advice.System("linux", ""), "", "systemctl"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_to_type_is_that_of_the_system(
    platform: str, release: dict[str, str], kernel: str, system: advice.System, installs: str, starts: str
) -> None:
    """Each system is told from what it says of itself, and gets its own lines; one that is not known gets none that do not fit."""
    assert advice.read(platform, release, kernel) == system
    assert installs in system.choose(advice.INSTALL_RUNTIME)
    assert bool(installs) == bool(system.choose(advice.INSTALL_RUNTIME))
    assert starts in system.choose(advice.START_DOCKER)
    assert system.choose(advice.SET_CLOCK)


@pytest.mark.parametrize(("free", "fatal"), [(0.2, True), (1, False), (50, None)])
def test_room_for_connectors(free: float, fatal: bool | None) -> None:  # noqa: FBT001 - a column of the table
    """Too little room for the connectors' environments stops, a little is a warning, and enough is not worth a word."""
    found = preflight.room(int(free * 10**9))
    assert (None if found is None else found.fatal) == fatal


@pytest.mark.parametrize(
    ("ahead", "status"),
    [([None], "unneeded"), ([0.4, 7200], "ok"), ([-61], "slow"), ([61, 7200], "slow"), ([901], "fail"), ([-901], "fail")],
)
def test_the_clock_goes_by_whoever_is_nearest(ahead: list[float | None], status: str) -> None:
    """Of several clocks that disagree, the one that is nearest to ours counts: one server may be wrong."""

    class Machine(checks.Machine):
        def __init__(self) -> None:
            self.answers = [Answer(200, 0.1, seconds) for seconds in ahead]

    assert checks.clock(Machine()).status == status


def test_registries_are_those_of_the_images() -> None:
    """Only registries are asked that images come from, mirrors in their place; the one that images are pushed to as well."""
    images = [image for found in checks.registries_of(Settings()).values() for image in found]
    assert sorted(images) == sorted(IMAGES.values())
    assert "kindest/node" not in str(checks.registries_of(Settings(provider="existing")))
    mirrored = checks.registries_of(Settings(mirror="quay.io=mirror.example.com/quay", registry="registry.example.com/data"))
    assert list(mirrored) == ["docker.io", "mirror.example.com", "registry.example.com"]


def test_every_provider_has_a_check() -> None:
    """Whatever provider is chosen, the names of the checks are unlike each other."""
    for provider in checks.PROVIDERS:
        names = [check.name for check in checks.all_checks(Settings(provider=provider))]
        assert len(names) == len(set(names))


def test_kind_is_pinned_for_every_platform_that_it_has() -> None:
    """There is a checksum for Linux and macOS on both processors, and a download of the pinned version."""
    assert set(fixes.CHECKSUMS) == {f"{system}-{processor}" for system in ("darwin", "linux") for processor in ("amd64", "arm64")}
    assert len({*fixes.CHECKSUMS.values()}) == 4
    major, minor, _ = fixes.KIND.removeprefix("v").split(".")
    assert (int(major), int(minor)) >= checks.LEAST["kind"]


# -- what a bundle hides


@given(st.text(min_size=1, max_size=40), st.sampled_from([str, json.dumps, quote, quote_plus, lambda text: quote(text, safe="")]))
def test_a_known_secret_is_hidden_in_every_form(secret: str, form: object) -> None:
    """A value that is known to be secret is not in the text any more, in whichever form it was written."""
    written = form(secret)  # type: ignore[operator]
    if len(secret.strip()) >= 4 and not set(secret) <= set(HIDDEN):
        assert written.strip('"') not in redacted(f"it said <{written}> once", [secret])


def test_a_short_secret_does_not_make_all_unreadable() -> None:
    """A value of a letter or two is hidden where it stands alone, not in the middle of words and numbers."""
    assert redacted("pin 1 of 10 in room 11: 1", ["1"]) == "pin *** of 10 in room 11: ***"


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("http://jane:pa@ss@proxy.example.com:3128/", "pa@ss"),
        ('{"password": "two words"}', "two words"),
        ("client_secret='two words'", "two words"),
        (r'{"message": "{\"api_key\": \"abc def\"}"}', "abc def"),
        ("GET /v1?access_token=abcdef&page=2", "abcdef"),
        ("Authorization: Basic amFuZTpwYXNz", "amFuZTpwYXNz"),
        ("authorization=bearer abc.def-ghi", "abc.def-ghi"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is used", "eyJzdWIiOiIxIn0"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----", "MIIE"),
        ("-----BEGIN PRIVATE KEY-----\nMIIE", "MIIE"),
        ("MY_SECRET_ACCESS_KEY: wJalrX/UtnFEMI", "wJalrX/UtnFEMI"),
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str, secret: str) -> None:
    """Also a secret that nobody knows of is hidden, where it looks like one; what stands around it can still be read."""
    found = redacted(f"before {text} after", [])
    assert secret not in found
    assert found.startswith("before ")


def test_what_is_known_to_be_secret(tmp_path: Path) -> None:
    """What is secret in configs, ``.env`` and environment is known; keys of streams, and what a catalog describes, are none."""
    folder = tmp_path / "singer-configs" / "tap-x"
    folder.mkdir(parents=True)
    config = {"api_key": "k1", "oauth": {"client_secret": "k2"}, "token": "${NAMED}", "primary_key": "id", "start_date": "2026-01-01"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "catalog.json").write_text('{"streams": [{"schema": {"properties": {"password": {"type": "string"}}}}]}')
    for number, odd in enumerate(("[1", "5", '"text"', "[{}]", "null")):
        (folder / f"odd{number}.json").write_text(odd)
    (tmp_path / ".env").write_text("A=k3\n\nexport B='k4' # mine\n")
    environ = {"NAMED": "k5", "OTHER": "no", "GH_TOKEN": "k6", "TOKENIZERS_PARALLELISM": "false", "PWD": "/home", "U": "http://me:k7@host/"}
    found = set(redaction.known(Settings(root=tmp_path), environ))
    assert {"k1", "k2", "k3", "k4", "k5", "k6", "k7"} <= found
    assert found & {"id", "string", "2026-01-01", "no", "false", "/home"} == set()


def test_what_is_no_secret_stays() -> None:
    """Ordinary lines of logs are as they were."""
    lines = "tap ended with exit code 1\nhttps://api.example.com/v1?page=2 answers 404\n2,000 records, 1.2 MB\nauthor: me\n"
    assert redacted(lines, []) == lines


def test_base64_of_a_secret_is_hidden() -> None:
    """A Secret of Kubernetes holds its values in base64."""
    encoded = base64.b64encode(b"correct horse").decode()
    assert encoded not in redacted(f"data: {encoded}", ["correct horse"])


# -- work in bounded time


def test_a_program_that_does_not_end_is_given_up_with_its_children() -> None:
    """A program that takes too long is killed with what it has started, also where that holds its output open."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    done = run([sys.executable, "-c", code], seconds=1)
    assert (done.returncode, done.stdout, done.stderr) == (TOO_LONG, "", "no answer within 1 s")


def test_work_that_does_not_end_is_not_waited_for() -> None:
    """What comes in time is taken, what does not is replaced, and an error is an error."""
    assert within(10, lambda: 1, 2) == 1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as endless:
        assert within(0.1, endless.wait, -1) == -1
        endless.kill()
    with pytest.raises(ZeroDivisionError):
        begin(lambda: 1 // 0).result(10)


def test_a_lock_is_seen_without_being_taken(tmp_path: Path) -> None:
    """Whether somebody holds a lock is seen, while and after; a lock that is not there is held by nobody."""
    file = tmp_path / "lock"
    assert not held(file)
    with only_one(file, "busy"):
        assert held(file)
    assert not held(file)
