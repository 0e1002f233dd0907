"""The levels of tests, and the fixtures that all tests share."""

from __future__ import annotations

import os
import signal
import subprocess
from typing import TYPE_CHECKING

import go_servers
import pytest
from checkout import ROOT, Checkout
from hypothesis import HealthCheck, Phase, is_hypothesis_test, settings
from hypothesis.configuration import set_hypothesis_home_dir

if TYPE_CHECKING:
    from pathlib import Path

BUILD = pytest.StashKey[subprocess.Popen[bytes] | None]()
pytest_plugins = ["real_stores", "real_registry", "fake_apiserver", "fake_machine", "company_cluster"]


SERVERS = {"minio_server", "registries"}
"""Fixtures that start a server built by Go, which takes minutes the first time."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that select a level; without one, what most changes can break."""
    parser.addoption("--full", action="store_true", help="run the rest that needs no cluster")
    parser.addoption("--all", action="store_true", help="run all tests")


def pytest_configure(config: pytest.Config) -> None:
    """Set the number of examples of properties and faults: few by default, and the same each time."""
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # so starts a shell what it runs in the background
        signal.signal(signal.SIGINT, signal.default_int_handler)  # for the commands in which tests press Ctrl-C
    everything, full = config.getoption("--all"), config.getoption("--full")
    set_hypothesis_home_dir(ROOT / ".local" / "tests" / "hypothesis")
    settings.register_profile(
        "properties",
        database=None,
        deadline=None,  # the machine may be busy
        derandomize=True,
        max_examples=100 if everything or full else 10,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("properties")
    settings.register_profile(
        "faults",
        database=None,
        deadline=None,
        derandomize=not everything,
        max_examples=200 if everything else 20 if full else 4,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),  # a smaller example of a race is not a smaller race
        report_multiple_bugs=False,
    )


@pytest.hookimpl(optionalhook=True)  # pytest without xdist does not know it
def pytest_xdist_auto_num_workers() -> int:
    """Return one process more than there are cores: many tests wait."""
    return (os.cpu_count() or 1) + 1


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Select the tests of the level. Those that need a server come last: until then it is built."""
    if config.getoption("--all"):
        selected = items
    elif config.getoption("--full"):
        selected = [item for item in items if (in_full(item) or is_hypothesis_test(getattr(item, "obj", None))) and not is_slow(item)]
    else:
        selected = [item for item in items if not in_full(item) and not is_slow(item)]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(selected)])
    items[:] = sorted(selected, key=needs_server)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Begin to build the servers that selected tests need."""
    if any(map(needs_server, session.items)) and not session.config.option.collectonly:
        session.config.stash[BUILD] = go_servers.build()


def pytest_unconfigure(config: pytest.Config) -> None:
    """End a build that nobody needs any more."""
    build = config.stash.get(BUILD, None)
    if build is not None and build.poll() is None:
        os.killpg(build.pid, signal.SIGTERM)
        build.wait()


def needs_server(item: pytest.Item) -> bool:
    """Return whether a test needs a server built by Go."""
    parameters = getattr(item, "callspec", None)
    return bool(SERVERS.intersection(getattr(item, "fixturenames", ()))) or bool(parameters and parameters.params.get("buckets") == "s3")


def in_full(item: pytest.Item) -> bool:
    """Return whether a test is left to ``--full``."""
    return needs_server(item) or item.get_closest_marker("full") is not None


def is_slow(item: pytest.Item) -> bool:
    """Return whether a test is left to ``--all``."""
    return item.get_closest_marker("slow") is not None


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder that tests share, also from one session to the next: environments and downloads."""
    folder = ROOT / ".local" / "tests"
    (folder / "environments").mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def checkout(tmp_path: Path, shared: Path) -> Checkout:
    """Return a fresh copy of the project."""
    return Checkout(tmp_path / "checkout", shared)
