"""Connectors that are older than their dependencies or than this Python: ``new`` repairs them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_server import HubServer
from made_connectors import TAP, environments, files, made, project, succeeded
from python_mirror import PythonMirror, archive, old_python
from terminal_user import Typist

if TYPE_CHECKING:
    from checkout import Checkout

pytestmark = pytest.mark.full  # installs packages that need repairs

BACKEND = '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n'
WHEEL = """
import pathlib, zipfile

def build_wheel(folder, config_settings=None, metadata_directory=None):
    with zipfile.ZipFile(f"{folder}/tap_shop-1-py3-none-any.whl", "w") as wheel:
        wheel.writestr("tap_shop.py", pathlib.Path("tap_shop.py").read_text())
        wheel.writestr("tap_shop-1.dist-info/METADATA", "Metadata-Version: 2.1\\nName: tap-shop\\nVersion: 1\\nRequires-Dist: shop-sdk\\n")
        wheel.writestr("tap_shop-1.dist-info/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr("tap_shop-1.dist-info/entry_points.txt", "[console_scripts]\\ntap-shop = tap_shop:main\\n")
        wheel.writestr("tap_shop-1.dist-info/RECORD", "")
    return "tap_shop-1-py3-none-any.whl"
"""
"""A build without an index."""
OLDER = [f"3.{minor}" for minor in range(sys.version_info[1] - 1, 7, -1)]
NEWER = [f"3.{minor}" for minor in range(sys.version_info[1] + 1, 16)]


def here(version: str) -> bool:
    """Return whether this machine has a Python of that version."""
    return any(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")) or shutil.which(f"python{version}") is not None


def test_pkg_resources(checkout: Checkout) -> None:
    """A tap that imports ``pkg_resources`` gets the setuptools that still have it, and works."""
    there = set(environments(checkout, "tap-oldest"))
    words = ["new", "tap-oldest", "--pip-url", project(checkout, f"import pkg_resources\n{TAP}"), "--json"]
    result = succeeded(checkout.invoke(*words, "--set", "api_key=x", "--set", "start_date=2024"))
    assert made(checkout, "tap-oldest", "connector.yaml")["pip_url"] == ["connectors/odd", "setuptools<81"]
    (event,) = [event for event in result.events if event["event"] == "repair"]
    assert (event["reason"], event["change"]) == ("it imports pkg_resources", "setuptools<81 is added")
    assert len(set(environments(checkout, "tap-oldest")) - there) <= 2  # its project's venv, and that of the dependencies


def test_a_repair_that_does_not_help(checkout: Checkout) -> None:
    """If the connector does not start with the repair either, nothing is left, and the repair is not tried again."""
    before, there = files(checkout), environments(checkout, "tap-broken")
    source = project(checkout, "import pkg_resources\nraise SystemExit('still broken')")
    before.update(files(checkout))
    result = checkout.invoke("new", "tap-broken", "--pip-url", source)
    assert result.code == 1
    assert result.out.count("setuptools<81 is added") == 1
    assert "E-CONNECTOR  tap-shop does not start: still broken" in result.err
    assert files(checkout) == before
    assert set(environments(checkout, "tap-broken")) <= set(there)
    assert not list((checkout.root / ".local" / "environments").glob("tap-broken.*"))


def test_a_package_without_a_wheel_for_this_python(checkout: Checkout) -> None:
    """The newest Python for which there is a wheel is taken, if this machine has it, and kept."""
    version = next((version for version in OLDER if here(version)), None)
    if version is None:
        pytest.skip("there is no Python from 3.8 to the one before this")
    with HubServer() as server:
        server.package("odd-shop-tap", f"import compiled\n{TAP}", "tap-shop", needs="compiled==1")
        server.package("compiled", "", python=f"cp{version.replace('.', '')}")
        server.source("compiled")
        words = ["new", "tap-shop", "--pip-url", "odd-shop-tap", "--no-input"]
        result = succeeded(checkout.invoke(*words, UV_DEFAULT_INDEX=server.index))
        assert f"compiled cannot be built for Python 3.{sys.version_info[1]}: Python {version} is used" in result.out
        assert made(checkout, "tap-shop", "connector.yaml")["python"] == version

        refused = checkout.invoke(
            *words[:1], "tap-other", *words[2:], "--python", f"3.{sys.version_info[1]}", UV_DEFAULT_INDEX=server.index
        )
        assert refused.err.strip().startswith("E-INSTALL  ")
        assert "is used" not in refused.out


def test_a_package_without_a_wheel_for_the_python_of_images(checkout: Checkout) -> None:
    """Images take this Python where theirs has no wheel. Packages with a wheel for both change nothing."""
    ours, theirs = (f"cp3{minor}" for minor in (sys.version_info[1], sys.version_info[1] + 1))
    base = f"example.com/python:3.{sys.version_info[1] + 1}-slim"
    with HubServer() as server:
        server.package("fast", "", python=ours)
        server.package("both", "", python=ours)
        server.package("both", "", python=theirs)
        server.package("odd-fast-tap", TAP, "tap-fast", needs="fast==1")
        server.package("odd-plain-tap", TAP, "tap-plain", needs="both==1")
        variables = {"UV_DEFAULT_INDEX": server.index, "INVOKE_SINGER_IMAGES": f"python={base}"}
        for name in ("fast", "plain"):
            result = succeeded(checkout.invoke("new", f"tap-{name}", "--pip-url", f"odd-{name}-tap", "--no-input", **variables))
            words = f"fast has no wheel for Python 3.{sys.version_info[1] + 1}, which images use: Python 3.{sys.version_info[1]} is used"
            assert (words in result.out) == (name == "fast")
            python = made(checkout, f"tap-{name}", "connector.yaml").get("python")
            assert python == (f"3.{sys.version_info[1]}" if name == "fast" else None)


def test_a_shared_library_that_images_need(checkout: Checkout) -> None:
    """``connector.yaml`` names the Debian package of a library that compiled code is linked to."""
    with HubServer() as server:
        server.package("odd-odbc-tap", TAP, "tap-odbc", code="\0libodbc.so.2\0")
        result = succeeded(checkout.invoke("new", "tap-odbc", "--pip-url", "odd-odbc-tap", "--no-input", UV_DEFAULT_INDEX=server.index))
    assert "it uses shared libraries of Debian: system_packages has unixodbc for images" in result.out
    assert made(checkout, "tap-odbc", "connector.yaml")["system_packages"] == ["unixodbc"]


def test_pips_extra_index_counts(checkout: Checkout) -> None:
    """A package that only a further index of pip's has is installed from there; its needs come from the default one."""
    with HubServer() as server:
        server.package("odd-private-tap", f"import idna\n{TAP}", "tap-shop", needs="idna")
        words = ["new", "tap-shop", "--pip-url", "odd-private-tap", "--no-input"]
        succeeded(checkout.invoke(*words, PIP_EXTRA_INDEX_URL=f"{server.index} {server.index}"))


def test_a_package_for_newer_pythons(checkout: Checkout) -> None:
    """A package that needs a newer Python than ours gets the oldest one that it allows."""
    version = next((version for version in NEWER if here(version)), None)
    if version is None:
        pytest.skip("there is no newer Python than this one")
    with HubServer() as server:
        server.package("odd-new-tap", TAP, "tap-new", requires=f">={version}")
        result = succeeded(checkout.invoke("new", "tap-new", "--pip-url", "odd-new-tap", "--no-input", UV_DEFAULT_INDEX=server.index))
    assert f"it needs a newer Python than 3.{sys.version_info[1]}: Python {version} is used" in result.out
    assert made(checkout, "tap-new", "connector.yaml")["python"] == version


# ------------------------------------------------------------------------------------------------ Pythons that uv downloads


@pytest.fixture
def bare(checkout: Checkout, tmp_path: Path) -> Checkout:
    """Return a checkout on a machine whose only Python is ours."""
    home = tmp_path / "home"
    home.mkdir()
    paths = [path for path in os.environ["PATH"].split(":") if "pyenv" not in path]
    checkout.environ.update(PATH=":".join(paths), HOME=str(home), PYENV_ROOT=str(home / "none"))
    return checkout


def test_a_python_that_is_downloaded(bare: Checkout) -> None:
    """Without consent one error states what to type; with it the Python is downloaded into the checkout, and repaired there."""
    old = old_python()
    if old is None:
        pytest.skip("pyenv has no Python from 3.8 to the one before ours")
    version, interpreter = old
    words = ["new", "tap-old", "--pip-url", "odd-old-tap", "--no-input"]
    with HubServer() as server, PythonMirror(version, archive(interpreter, version)) as mirror:
        server.package("odd-old-tap", f"import compiled\n{TAP}", "tap-old", needs="compiled==1")
        server.package("compiled", "", python=f"cp{version.replace('.', '')}")
        server.source("compiled")
        variables = {"UV_DEFAULT_INDEX": server.index, **mirror.variables, "UV_HTTP_TIMEOUT": "30"}
        before = files(bare)

        refused = bare.invoke(*words, **variables)
        if mirror.asked == [] and refused.code == 0:
            pytest.skip(f"uv finds a Python {version} on this machine")
        assert refused.err.strip().startswith(f"E-PYTHON  tap-old needs Python {version}, which is not installed; installed is ")
        assert "Type it again with INVOKE_SINGER_PYTHON_DOWNLOADS=yes" in refused.err
        assert (files(bare), mirror.asked) == (before, [])

        bare.environ.update(variables)
        person = Typist(bare, *words[:-1])
        person.sees(f"tap-old needs Python {version}, which is not on this machine. Download it into .local (30 MB)? [y/N] ")
        person.types("n")
        assert person.ends() == 1
        assert files(bare) == before

        result = succeeded(bare.invoke(*words, INVOKE_SINGER_PYTHON_DOWNLOADS="yes"))
        assert f"compiled cannot be built for Python 3.{sys.version_info[1]}: Python {version} is used" in result.out
        assert made(bare, "tap-old", "connector.yaml")["python"] == version
        assert [file.name.partition("-linux")[0] for file in bare.local.glob("pythons/cpython-*.*.*")] != []

        bare.write("tap-old/config.json", {"api_key": "${SHOP_KEY}", "start_date": "2024"})
        bare.environ["SHOP_KEY"] = "x"
        shutil.rmtree(bare.local / "pythons")
        again = succeeded(bare.invoke("check", "tap-old", INVOKE_SINGER_PYTHON_DOWNLOADS="yes"))
        assert f"Python {version}" in again.out


# ------------------------------------------------------------------------------------------------ connectors that exist


def test_a_connector_written_by_hand(checkout: Checkout) -> None:
    """``check``, ``discover`` and ``run`` add the old setuptools too, once, and keep the rest of ``connector.yaml``."""
    source = project(checkout, f"import pkg_resources\n{TAP}")
    text = f"kind: tap  # by hand\npip_url: {source}   # ours\nexecutable: tap-shop\ncapabilities: [catalog, discover, state]\n"
    checkout.write("tap-hand/connector.yaml", text)
    checkout.write("tap-hand/config.json", {"api_key": "${SHOP_KEY}", "start_date": "2024"})
    checkout.environ["SHOP_KEY"] = "x"

    first = succeeded(checkout.invoke("discover", "tap-hand"))
    assert first.out.count("it imports pkg_resources: setuptools<81 is added to singer-configs/tap-hand/connector.yaml") == 1
    kept = (checkout.root / "singer-configs" / "tap-hand" / "connector.yaml").read_text(encoding="utf-8")
    assert kept == text.replace(source, f"{source} setuptools<81")

    checkout.write("pipelines.yaml", {"p": {"tap": "tap-hand", "target": "target-scripted"}})
    checkout.write("target-scripted/connector.yaml", {"kind": "target", "pip_url": "tests/connectors/target-scripted"})
    for words in (["check", "tap-hand"], ["run", "p", "--engine", "local"]):
        again = succeeded(checkout.invoke(*words))
        assert "setuptools" not in again.out


def test_an_interpreter_that_is_gone(checkout: Checkout) -> None:
    """A venv whose interpreter was removed is made again."""
    succeeded(checkout.invoke("new", "tap-gone", "--pip-url", project(checkout), "--set", "api_key=x", "--set", "start_date=2024"))
    (venv,) = sorted((checkout.local / "environments").glob("tap-gone-*/bin/python"), key=lambda file: file.lstat().st_mtime)[-1:]
    venv.unlink()
    venv.symlink_to("/nowhere/python3")
    result = succeeded(checkout.invoke("check", "tap-gone"))
    assert "environment installed" in result.out
    assert venv.exists()


def test_a_repair_that_makes_it_worse(checkout: Checkout) -> None:
    """A repair that cannot be installed is undone before the next one, and nothing is left."""
    with HubServer() as server:
        server.package("odd-shop-tap", "import pkg_resources", "tap-worse")
        words = ["new", "tap-worse", "--pip-url", "odd-shop-tap", "--no-input"]
        result = checkout.invoke(*words, UV_DEFAULT_INDEX=server.index)
    assert result.code == 1
    assert "that does not help: setuptools<81 is removed again" in result.out
    assert "E-CONNECTOR  tap-worse does not start" in result.err


def test_packages_as_of_its_release(checkout: Checkout) -> None:
    """A tap that a later release of its dependency has broken gets those of its day, also in the lock of later commands."""
    source = f"import shop_sdk\nshop_sdk.start(1)\n{TAP}"
    with HubServer() as server:
        server.package("shop-sdk", "def start(count): pass", version="1", uploaded="2021-01-05T10:00:00Z")
        server.package("shop-sdk", "def start(): pass", version="2", uploaded="2024-01-05T10:00:00Z")
        server.package("old-tap", source, "tap-shop", needs="shop-sdk", uploaded="2021-03-30T23:59:00Z")
        server.package("new-tap", source, "tap-shop", needs="shop-sdk>1", uploaded="2024-03-30T10:00:00Z")
        result = succeeded(checkout.invoke("new", "tap-shop", "--pip-url", "old-tap", UV_DEFAULT_INDEX=server.index))
        assert "! tap-shop" in result.out
        assert result.out.count("it is older than its dependencies: its packages are resolved as of 2021-03-31") == 1
        assert made(checkout, "tap-shop", "connector.yaml")["exclude_newer"] == "2021-03-31T00:00:00Z"
        lock = (checkout.root / "singer-configs/tap-shop/requirements.lock").read_text()
        assert "uploaded before 2021-03-31T00:00:00Z" in lock.splitlines()[0]
        assert "shop-sdk==1" in lock

        before = files(checkout)
        refused = checkout.invoke("new", "tap-other", "--pip-url", "new-tap", UV_DEFAULT_INDEX=server.index)
        assert refused.out.count("its packages are resolved as of 2024-03-31") == 1
        assert "E-CONNECTOR  tap-shop does not start: TypeError" in refused.err
        assert files(checkout) == before


def test_packages_as_of_a_commit(checkout: Checkout, tmp_path: Path) -> None:
    """A tap from git that a later release of its dependency has broken gets those of the day of its commit."""
    repository = tmp_path / "tap-shop"
    repository.mkdir()
    manifest = '[project]\nname = "tap-shop"\nversion = "1"\ndependencies = ["shop-sdk"]\n[project.scripts]\ntap-shop = "tap_shop:main"\n'
    (repository / "pyproject.toml").write_text(manifest + BACKEND)
    (repository / "backend.py").write_text(WHEEL)
    (repository / "tap_shop.py").write_text(f"import shop_sdk\nshop_sdk.start(1)\n{TAP}")
    when = {"GIT_COMMITTER_DATE": "2021-03-30T23:59:00Z", "GIT_AUTHOR_DATE": "2021-03-30T23:59:00Z"}
    for words in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "x"]):
        command = ["git", "-c", "user.name=Ada", "-c", "user.email=ada@example.org", *words]
        subprocess.run(command, cwd=repository, check=True, env={**os.environ, **when})
    with HubServer() as server:
        server.package("shop-sdk", "def start(count): pass", version="1", uploaded="2021-01-05T10:00:00Z")
        server.package("shop-sdk", "def start(): pass", version="2", uploaded="2024-01-05T10:00:00Z")
        result = succeeded(checkout.invoke("new", "tap-shop", "--pip-url", f"git+file://{repository}", UV_DEFAULT_INDEX=server.index))
    assert "its packages are resolved as of 2021-03-31" in result.out
    assert "shop-sdk==1" in (checkout.root / "singer-configs/tap-shop/requirements.lock").read_text()


def test_a_build_that_is_older_than_what_builds_it(checkout: Checkout) -> None:
    """The last packages that can build it are used for the build, kept in ``connector.yaml``, and part of the lock."""
    (checkout.local / "environments").unlink()  # an earlier session has made the same one
    folder = checkout.root / "connectors" / "old"
    folder.mkdir(parents=True)
    manifest = '[project]\nname = "tap-shop"\nversion = "1"\n[project.scripts]\ntap-shop = "tap_shop:main"\n'
    (folder / "pyproject.toml").write_text(manifest + BACKEND.replace("[]", '["cython"]', 1))
    refuse = (
        "import cython, sys\nif cython.MAJOR > 2:\n    sys.exit(\"AttributeError: 'build_ext' object has no attribute 'cython_sources'\")\n"
    )
    (folder / "backend.py").write_text(refuse + WHEEL.replace("Requires-Dist: shop-sdk\\n", ""))
    (folder / "tap_shop.py").write_text(TAP)
    with HubServer() as server:
        for major in (2, 3):
            server.package("cython", f"MAJOR = {major}", version=f"{major}")
        words = ["new", "tap-shop", "--pip-url", "connectors/old", "--no-input"]
        result = succeeded(checkout.invoke(*words, UV_DEFAULT_INDEX=server.index))
    assert "its build is older than cython: cython<3 is used for the build" in result.out
    assert made(checkout, "tap-shop", "connector.yaml")["build_constraints"] == ["cython<3"]
    assert "built with cython<3" in (checkout.root / "singer-configs/tap-shop/requirements.lock").read_text().partition("\n")[0]
