"""What ``new`` proposes against the errors of old connectors."""

from __future__ import annotations

from pathlib import Path

import pytest

from cluster.config.settings import Settings
from cluster.onboarding import package
from cluster.onboarding.repairs import OLD_C, DoesNotStartError, proposals
from cluster.project.debian import FAILED
from cluster.project.model import Connector
from cluster.project.removed import last_python
from cluster.project.venvs import Environments


def connector(*requirements: str) -> Connector:
    """Return a tap with these requirements."""
    return Connector("tap-x", Path("tap-x"), "tap", requirements, (), "tap-x", (), "3.12", ("**/*",))


@pytest.mark.parametrize(
    ("log", "packages"),
    [
        ("error: Failed to build `orjson==3.6.1`\n  cause: The build backend returned an error", ["orjson"]),
        ("  cause: Failed to download and build `psycopg2-binary==2.8.5`", ["psycopg2-binary"]),
        ("error: Failed to build: `pandas==1.4.4`", ["pandas"]),
        ("error: No solution found", []),
    ],
)
def test_the_package_that_cannot_be_built(log: str, packages: list[str]) -> None:
    """The log of uv names it."""
    assert [match[1] for match in FAILED.finditer(log)] == packages


def test_requirements(tmp_path: Path) -> None:
    """A module that setuptools had is a requirement more, unless there is one already; other modules are not known."""
    environments = Environments(Settings(root=tmp_path))
    for module in ("pkg_resources", "distutils"):
        error = DoesNotStartError("", hint="", output=f"ModuleNotFoundError: No module named '{module}'")
        assert [repair.requirement for repair in proposals(error, connector("tap-x"), environments)] == ["setuptools<81"]
        assert list(proposals(error, connector("tap-x", "setuptools==60"), environments)) == []
    other = DoesNotStartError("", hint="", output="ModuleNotFoundError: No module named 'yaml'")
    assert list(proposals(other, connector("tap-x"), environments)) == []


def test_names_that_python_has_removed(tmp_path: Path) -> None:
    """Python 3.10 has removed names of ``collections``: only older ones are proposed."""
    error = DoesNotStartError("", hint="", output="ImportError: cannot import name 'Mapping' from 'collections'")
    environments = Environments(Settings(root=tmp_path, python_downloads="yes"))
    assert [repair.python for repair in proposals(error, connector("tap-x"), environments)] == ["3.9", "3.8"]


def test_a_program_that_was_compiled_for_another_numpy(tmp_path: Path) -> None:
    """The old numpy is proposed before an older Python, unless the connector asks for one itself."""
    output = "ValueError: numpy.dtype size changed, may indicate binary incompatibility. Expected 96 from C header"
    error = DoesNotStartError("", hint="", output=output)
    environments = Environments(Settings(root=tmp_path, python_downloads="yes"))
    assert next(proposals(error, connector("tap-x"), environments)).change == "numpy<2 is added"
    assert all(repair.python for repair in proposals(error, connector("tap-x", "numpy==2.0"), environments))


@pytest.mark.parametrize(
    ("line", "older"),
    [
        ("psycopg/psycopgmodule.c:920:36: error: lvalue required as left operand of assignment", True),
        ("fatal error: longintrepr.h: No such file or directory", True),
        ("./psycopg/psycopg.h:36:10: fatal error: libpq-fe.h: No such file or directory", False),
    ],
)
def test_c_code_that_is_older_than_this_python(line: str, older: bool) -> None:  # noqa: FBT001
    """What the compiler refuses is older than this Python. A header of a library that is missing is another case."""
    assert bool(OLD_C.search(line)) == older


def test_packages_that_were_built_here(tmp_path: Path) -> None:
    """A wheel that was built on this machine has another tag than those of the package index."""
    tags = {"here": "cp311-cp311-linux_x86_64", "index": "cp311-cp311-manylinux_2_17_x86_64", "pure": "py3-none-any"}
    for name, tag in tags.items():
        info = tmp_path / "lib" / "python3.11" / "site-packages" / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "WHEEL").write_text(f"Wheel-Version: 1.0\nTag: {tag}\n")
    assert package.built(tmp_path) == ["here"]


def test_the_package_of_the_connector(tmp_path: Path) -> None:
    """Of several requirements with programs, the one with a program of Singer is the connector."""
    for name, program in {"numpy": "f2py", "odd": "target-odd"}.items():
        info = tmp_path / "lib" / "python3.11" / "site-packages" / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[console_scripts]\n{program} = x:main\n")
    assert package.installed(tmp_path, connector("numpy<2", "odd")).name == "odd"


def test_packages_with_an_old_copy_of_six(tmp_path: Path) -> None:
    """Python 3.12 cannot import from a copy of six without ``find_spec``."""
    for name, text in {"urllib3": "def find_module(): pass", "botocore": "def find_module(): pass\ndef find_spec(): pass"}.items():
        packages = tmp_path / "lib" / "python3.11" / "site-packages"
        info = packages / f"{name}-1.dist-info"
        info.mkdir(parents=True)
        (packages / name).mkdir()
        (packages / name / "six.py").write_text(text)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
        (info / "RECORD").write_text(f"{name}/six.py,,\n")
    assert package.with_old_six(tmp_path) == ["urllib3"]
    assert last_python("ModuleNotFoundError: No module named 'urllib3.packages.six.moves'") == "3.11"
