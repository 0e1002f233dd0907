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


def test_pips_extra_index_counts(checkout: Checkout) -> None:
    """A package that only a further index of pip's has is installed from there; its needs come from the default one."""
    with HubServer() as server:
        server.package("odd-private-tap", f"import idna\n{TAP}", "tap-shop", needs="idna")
        words = ["new", "tap-shop", "--pip-url", "odd-private-tap", "--no-input"]
        succeeded(checkout.invoke(*words, PIP_EXTRA_INDEX_URL=f"{server.index} {server.index}"))
