"""The pure parts of what makes the connectors' environments: uv's words and versions."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from documents import ROOT
from hypothesis import given
from hypothesis import strategies as st

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.project.model import Connector
from cluster.project.pythons import pyenv_pythons
from cluster.project.uv_messages import reason
from cluster.project.venvs import Environments, version

if TYPE_CHECKING:
    from pathlib import Path

# What uv 0.13 really prints on standard error.
NOT_FOUND = """\
error: No solution found when resolving dependencies
  cause: Because no-such-tap was not found in the package registry and you require no-such-tap==9.9, we can conclude that your \
requirements are unsatisfiable.

hint: A hint that is not for our users.
"""
CONFLICT = """\
error: No solution found when resolving dependencies
  cause: Because you require requests<1 and requests>2, we can conclude that your requirements are unsatisfiable.
"""
UNPARSABLE = """\
error: Couldn't parse requirement in `-` at position 0
  cause: Unexpected end of version specifier, expected version
         a===
          ^^^
"""
BUILD = """\
warning: Something before it.
error: Failed to build `bad @ file:///checkout/bad`
  cause: The build backend returned an error
  cause: Call to `nothing.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         Traceback (most recent call last):
           File "<string>", line 8, in <module>
         ModuleNotFoundError: No module named 'nothing'

hint: This error likely indicates that `bad@1` depends on `nothing`, but doesn't declare it as a build dependency.
"""
SETUP = """\
error: The build backend returned an error
  cause: Call to `setuptools.build_meta.get_requires_for_build_wheel` failed (exit status: 1)

         [stderr]
         error in tap-a setup command: 'install_requires' must be a string; Expected comma
             jsonpath-ng>=1.5.3pyarrow>=5.0.0
                        ~~~~~~~^
"""
GIT = """\
error: Git operation failed
  cause: process didn't exit successfully: `/usr/bin/git fetch 'https://git.example.org/tap.git'` (exit status: 128)
         --- stderr
         fatal: 'tap.git' does not appear to be a git repository
         fatal: Could not read from remote repository.

         Please make sure you have the correct access rights
         and the repository exists.
"""
SAID = {
    GIT: "Git operation failed: 'tap.git' does not appear to be a git repository.",
    NOT_FOUND: "no-such-tap was not found in the package registry and you require no-such-tap==9.9.",
    CONFLICT: "you require requests<1 and requests>2.",
    UNPARSABLE: "Couldn't parse requirement: Unexpected end of version specifier, expected version.",
    BUILD: "Failed to build `bad @ file:///checkout/bad`: ModuleNotFoundError: No module named 'nothing'.",
    SETUP: "The build backend returned an error: error in tap-a setup command: 'install_requires' must be a string; Expected comma.",
    "error: Request failed.\n": "Request failed.",
    "": "uv gave no reason.",
}


@pytest.mark.parametrize(
    ("text", "sentence"), SAID.items(), ids=["git", "not found", "conflict", "unparsable", "build", "setup", "plain", "nothing"]
)
def test_what_uv_says_becomes_a_sentence(text: str, sentence: str) -> None:
    """Of uv's output the user reads what failed and why, without its hints, excerpts and conclusions."""
    assert reason(text) == sentence


@given(
    st.lists(st.sampled_from(["error: ", "  cause: ", "hint: ", "[stderr]", "\n", "words", " ", "x" * 200, "Because "])).map("".join)
    | st.text()
)
def test_whatever_uv_says_is_one_sentence(text: str) -> None:
    """However uv words it, the user reads one line of a readable length that ends as a sentence does."""
    sentence = reason(text)
    assert "\n" not in sentence
    assert 1 < len(sentence) <= 301
    assert sentence.endswith((".", "?"))


def connector(folder: Path, requirement: str = "", project: Path | None = None) -> Connector:
    """Return a connector with one requirement, or with a folder of this repository."""
    return Connector(
        name="tap-x",
        folder=folder,
        kind="tap",
        requirements=(requirement,) if requirement else (),
        projects=(project,) if project else (),
        executable="tap-x",
        capabilities=(),
        python=None,
        outputs=("**/*",),
    )


LOCK = """\
# For: python 3.11+, tap-x
other==2.0
tap-x-more==9.0 \\
    --hash=sha256:00
tap-x==1.2.3 ; python_version >= "3.11" \\
    --hash=sha256:01
my-tap @ git+https://example.org/my-tap@abc
"""


@pytest.mark.parametrize(
    ("requirement", "expected"),
    [
        ("tap-x", "1.2.3"),
        ("tap-x==1.2.3", "1.2.3"),
        ("Tap_X>=1", "1.2.3"),
        ("tap.x[s3]~=1.0", "1.2.3"),
        ("tap-x ; python_version > '3'", "1.2.3"),
        ("tap-x-more", "9.0"),
        ("x", "unknown"),
        ("my-tap @ git+https://example.org/my-tap", "unknown"),
        ("git+https://example.org/my-tap", "unknown"),
    ],
)
def test_the_version_is_that_of_the_lock(tmp_path: Path, requirement: str, expected: str) -> None:
    """A connector's version is the one in its lock for its own package, in any spelling, and for no other."""
    locked = connector(tmp_path, requirement)
    locked.lock.write_text(LOCK, encoding="utf-8")
    assert version(locked) == expected


@pytest.mark.parametrize("at", [0, 2])
def test_a_lock_with_a_merge_conflict(tmp_path: Path, at: int) -> None:
    """It is not resolved again, which would drop both sides without a word: the error names the file and two remedies."""
    made, lines = Environments(Settings(root=tmp_path)), LOCK.splitlines()
    locked = connector(tmp_path, "tap-x")
    conflict = ["<<<<<<< HEAD", "a==1", "=======", "a==2", ">>>>>>> branch"]
    text = "\n".join([*lines[:at], *conflict, *lines[at:]])
    locked.lock.write_text(text, encoding="utf-8")
    with pytest.raises(SetupError, match=r"requirements\.lock has the marks of a merge conflict") as caught:
        made.find(locked)
    assert "git checkout --theirs requirements.lock" in caught.value.hint
    assert locked.lock.read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("text", "expected"), [('[project]\nversion = "0.3.1"\n', "0.3.1"), ('[project]\ndynamic = ["version"]\n', "unknown")]
)
def test_the_version_of_a_folder_is_its_own(tmp_path: Path, text: str, expected: str) -> None:
    """A folder of this repository has the version of its pyproject.toml."""
    (tmp_path / "pyproject.toml").write_text(text, encoding="utf-8")
    assert version(connector(tmp_path, project=tmp_path)) == expected


def test_interpreters_of_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter that pyenv has installed counts without being on PATH; of one version the newest patch."""
    for name in ("3.9.2", "3.9.18", "3.12.1", "3.13-dev", "miniconda3"):
        interpreter = tmp_path / "versions" / name / "bin" / "python"
        interpreter.parent.mkdir(parents=True)
        interpreter.touch(0o700)
    (tmp_path / "versions" / "3.10.1" / "bin").mkdir(parents=True)
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path))
    assert pyenv_pythons() == {
        "3.9": tmp_path / "versions" / "3.9.18" / "bin" / "python",
        "3.12": tmp_path / "versions" / "3.12.1" / "bin" / "python",
    }


@pytest.mark.full  # starts pip or uv
def test_a_connector_takes_its_python_from_pyenv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connector whose Python is in pyenv alone gets that one; one that is nowhere is an error with what to type."""
    interpreter = tmp_path / "pyenv" / "versions" / "3.5.9" / "bin" / "python"
    interpreter.parent.mkdir(parents=True)
    interpreter.touch(0o700)
    environments = Environments(Settings(root=tmp_path))
    old = replace(connector(tmp_path, "tap-x"), python="3.5")
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "none"))
    with pytest.raises(SetupError, match=r"tap-x needs Python 3\.5, which is not installed; installed is 3\.") as caught:
        environments.python(old)
    assert "INVOKE_SINGER_PYTHON_DOWNLOADS=yes" in caught.value.hint
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    assert environments.python(old) == interpreter


@pytest.mark.full  # starts pip or uv
def test_what_pips_files_say_counts(tmp_path: Path) -> None:
    """A file of pip's that is not the user's own counts too: a company writes it for the whole machine. A variable goes before it."""
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://index.example.com/100%25/simple\ncert = /etc/company.pem\n"
        "extra-index-url =\n  https://a/x\n  https://b/x\n[install]\nquiet = 1\n"
    )
    environ = {name: value for name, value in os.environ.items() if not name.startswith("PIP_")}
    ask = "from cluster.project.venvs import pip_setting; print(*map(pip_setting, ('index-url', 'cert', 'quiet')), sep='|')"
    for more, cert in (({}, "/etc/company.pem"), ({"PIP_CERT": "/mine.pem"}, "/mine.pem")):
        variables = {**environ, "PIP_CONFIG_FILE": str(file), **more}
        printed = subprocess.run([sys.executable, "-c", ask], env=variables, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert printed == f"https://index.example.com/100%25/simple|{cert}|None\n"
    ask = "from cluster.project.venvs import extra_indexes; import os; print(extra_indexes(os.environ))"
    indexes: tuple[tuple[dict[str, str], list[str]], ...] = (
        ({}, ["https://a/x", "https://b/x"]),
        ({"PIP_EXTRA_INDEX_URL": "c d"}, ["c", "d"]),
        ({"UV_INDEX": "e"}, ["e"]),
    )
    for chosen, expected in indexes:
        variables = {**environ, "PIP_CONFIG_FILE": str(file), **chosen}
        printed = subprocess.run([sys.executable, "-c", ask], env=variables, cwd=ROOT, capture_output=True, text=True, check=True).stdout
        assert printed == f"{expected}\n"


TOGETHER = """
import sys, threading
from cluster.project.venvs import uv_program
sys.setswitchinterval(1e-6)
found, gate = [], threading.Barrier(8)
def find():
    gate.wait()
    found.append(uv_program())
threads = [threading.Thread(target=find) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(found))
"""


@pytest.mark.parametrize("_time", range(2))
def test_connectors_are_installed_together(_time: int) -> None:
    """Tap and target get their venvs in two threads: neither finds half of what Python knows of itself."""
    command = [sys.executable, "-c", TOGETHER]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT, timeout=60)
    assert (result.stdout.strip(), result.stderr) == ("8", "")
