"""Connectors that are older than their dependencies or than this Python: ``new`` repairs them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hub_server import HubServer
from made_connectors import TAP, environments, files, made, project, succeeded

if TYPE_CHECKING:
    from checkout import Checkout

pytestmark = pytest.mark.full  # installs packages that need repairs

OLDER = [f"3.{minor}" for minor in range(sys.version_info[1] - 1, 7, -1)]


def here(version: str) -> bool:
    """Return whether this machine has a Python of that version."""
    return any(Path.home().glob(f".pyenv/versions/{version}.*/bin/python")) or shutil.which(f"python{version}") is not None


def test_pkg_resources(checkout: Checkout) -> None:
    """A tap that imports ``pkg_resources`` gets the setuptools that still have it, and works."""
    there = set(environments(checkout, "tap-shop"))
    words = ["new", "tap-shop", "--pip-url", project(checkout, f"import pkg_resources\n{TAP}"), "--json"]
    result = succeeded(checkout.invoke(*words, "--set", "api_key=x", "--set", "start_date=2024"))
    assert made(checkout, "tap-shop", "connector.yaml")["pip_url"] == ["connectors/odd", "setuptools<81"]
    (event,) = [event for event in result.events if event["event"] == "repair"]
    assert (event["reason"], event["change"]) == ("it imports pkg_resources", "setuptools<81 is added")
    assert len(set(environments(checkout, "tap-shop")) - there) <= 1  # tests before this one may have made it


def test_a_repair_that_does_not_help(checkout: Checkout) -> None:
    """If the connector does not start with the repair either, nothing is left, and the repair is not tried again."""
    before, there = files(checkout), environments(checkout, "tap-shop")
    source = project(checkout, "import pkg_resources\nraise SystemExit('still broken')")
    before.update(files(checkout))
    result = checkout.invoke("new", "tap-shop", "--pip-url", source)
    assert result.code == 1
    assert result.out.count("setuptools<81 is added") == 1
    assert "E-CONNECTOR  tap-shop does not start: still broken" in result.err
    assert files(checkout) == before
    assert environments(checkout, "tap-shop") == there


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
        assert refused.out.count("its packages are resolved as of") == 1
        assert "E-CONNECTOR  tap-shop does not start: TypeError" in refused.err
        assert files(checkout) == before
