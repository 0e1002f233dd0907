"""Pythons that uv downloads: from a mirror on loopback that misbehaves, and the sentence for each of its faults."""

from __future__ import annotations

import tarfile
from io import BytesIO
from typing import TYPE_CHECKING

import pytest
from python_mirror import PythonMirror

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.project.pythons import mirror
from cluster.project.removed import last_python
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.project.pythons import Pythons


SYSCONFIG = "# system configuration generated and used by the sysconfig module\nbuild_time_vars = {}\n"
"""What uv reads in an installation."""


def packed(script: str) -> bytes:
    """Return an archive with a script as its Python."""
    content = BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, text in {"lib/python3.8/_sysconfigdata_.py": SYSCONFIG, "bin/python3.8": script}.items():
            file = tarfile.TarInfo(f"python/{name}")
            file.size, file.mode = len(text), 0o755
            archive.addfile(file, BytesIO(text.encode()))
    return content.getvalue()


WORKS = packed("#!/bin/sh\nexit 0\n")


def pythons(folder: Path, monkeypatch: pytest.MonkeyPatch, server: PythonMirror, policy: str = "yes") -> Pythons:
    """Return the Pythons of a checkout that uses this mirror."""
    for name, value in server.variables.items():
        monkeypatch.setenv(name, value)
    return Environments(Settings(root=folder, python_downloads=policy)).pythons  # type: ignore[arg-type]


def left(folder: Path) -> list[str]:
    """Return what a download has left of a Python."""
    return [file.name for file in (folder / ".local" / "pythons").glob("*") if not file.name.startswith(".")]


FAULTS: dict[str, tuple[dict[str, object], str, str]] = {
    "404": ({"status": 404}, "E-DOWNLOAD", "answers 404"),
    "a page instead of the archive": ({"content": b"<html>", "promised": 6, "digest": None}, "E-DOWNLOAD", "Invalid gzip header"),
    "another archive": ({"digest": "0" * 64}, "E-DOWNLOAD", "Hash mismatch"),
    "an archive that ends early": ({"promised": len(WORKS) + 1}, "E-DOWNLOAD", "end of file"),
    "a server that is slow": ({"delay": 5}, "E-NETWORK", "cannot be reached"),
    "a page instead of the list": ({"list": b"<html>"}, "E-DOWNLOAD", "Unable to parse the JSON"),
    "a list without it": ({"list": b"{}"}, "E-PYTHON", "uv has no Python 3.8 for this machine"),
}


@pytest.mark.parametrize(("faults", "code", "words"), FAULTS.values(), ids=FAULTS)
def test_a_download_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, faults: dict[str, object], code: str, words: str) -> None:
    """Each fault is one sentence with one thing to do, and nothing of the Python is left."""
    with PythonMirror("3.8", WORKS) as server:
        server.seconds = "1"
        for name, value in faults.items():
            setattr(server, name, value)
        with pytest.raises(SetupError) as caught:
            pythons(tmp_path, monkeypatch, server).download("tap-x", "3.8")
    error = caught.value
    assert error.code == code
    assert words in error.problem
    assert "\n" not in error.problem + error.hint
    assert left(tmp_path) == []
    assert not (tmp_path / ".local" / "pythons" / ".temp").exists()


def test_nobody_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a network the error names the server."""
    with PythonMirror("3.8", WORKS) as server:
        pythons_ = pythons(tmp_path, monkeypatch, server)
    with pytest.raises(SetupError, match=r"Python 3.8 cannot be downloaded: http://127.0.0.1:\d+ cannot be reached.") as caught:
        pythons_.download("tap-x", "3.8")
    assert caught.value.code == "E-NETWORK"


@pytest.mark.parametrize("script", ["#!/bin/sh\nexit 1\n", "#!/nowhere\n", "not a program"])
def test_a_python_that_does_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """A build for another machine is removed again."""
    with PythonMirror("3.8", packed(script)) as server, pytest.raises(SetupError, match="It does not run on this machine") as caught:
        pythons(tmp_path, monkeypatch, server).download("tap-x", "3.8")
    assert caught.value.code == "E-DOWNLOAD"
    assert left(tmp_path) == []


def test_a_download(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python is downloaded once, into ``.local``, and then it is found there."""
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with PythonMirror("3.8", WORKS) as server:
        made = pythons(tmp_path, monkeypatch, server)
        if made.find("3.8"):
            pytest.skip("Python 3.8 is on this machine")
        made.download("tap-x", "3.8")
        made.download("tap-x", "3.8")
        assert [path for path in server.asked if path != "/list.json"] == ["/python.tar.gz"]
    interpreter = made.find("3.8")
    assert str(interpreter).startswith(f"{tmp_path}/.local/pythons/cpython-3.8.99-")


@pytest.mark.parametrize("policy", ["yes", "ask", "no"])
def test_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, policy: str) -> None:
    """Without a terminal the setting decides; uv's own setting forbids downloads too."""
    with PythonMirror("3.8", WORKS) as server:
        made = pythons(tmp_path, monkeypatch, server, policy)
        assert made.may_download(ask=True) == (policy == "yes")
        monkeypatch.setenv("UV_PYTHON_DOWNLOADS", "never")
        assert not made.may_download(ask=True)


def test_the_mirror_of_the_settings(tmp_path: Path) -> None:
    """The mirror of github.com has uv's builds too."""
    assert mirror(Settings(root=tmp_path)) == ""
    url = mirror(Settings(root=tmp_path, mirror="github.com=artifacts.example.com/gh"))
    assert url == "https://artifacts.example.com/gh/astral-sh/python-build-standalone/releases/download"


REMOVED = {
    "ModuleNotFoundError: No module named 'imp'": "3.11",
    "ModuleNotFoundError: No module named 'xml.etree.cElementTree'": "3.8",
    "ImportError: cannot import name 'Mapping' from 'collections' (/x.py)": "3.9",
    "ImportError: cannot import name 'getargspec' from 'inspect' (/x.py)": "3.10",
    "AttributeError: module 'ssl' has no attribute 'wrap_socket'": "3.11",
    "AttributeError: module 'collections' has no attribute 'typo'": "",
    "ModuleNotFoundError: No module named 'yaml'": "",
}


@pytest.mark.parametrize(("output", "version"), REMOVED.items())
def test_what_python_has_removed(output: str, version: str) -> None:
    """The last Python that has it is known."""
    assert last_python(output) == version
