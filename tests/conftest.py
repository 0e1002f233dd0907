"""What all rings share: a checkout of its own for a test, and the commands typed in it."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT, Checkout
from hypothesis import HealthCheck, Phase, settings

if TYPE_CHECKING:
    from pathlib import Path

pytest_plugins = ["real_stores", "real_registry", "fake_apiserver", "fake_machine", "company_cluster"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--all``: what takes longer than CI should."""
    parser.addoption("--all", action="store_true", help="run slow tests too")


def pytest_configure(config: pytest.Config) -> None:
    """Let tests send Ctrl-C, and choose the faults: some that are the same each time, or with ``--all`` many."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background is started with it ignored
    everything = config.getoption("--all")
    settings.register_profile(
        "faults",
        database=None,
        deadline=None,  # the machine may be busy
        derandomize=not everything,
        max_examples=200 if everything else 4,
        suppress_health_check=list(HealthCheck),
        phases=(Phase.explicit, Phase.generate),  # a smaller example of a race is not a smaller race
        report_multiple_bugs=False,
    )


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip slow tests unless ``--all`` was given."""
    if not config.getoption("--all"):
        for item in items:
            if item.get_closest_marker("slow"):
                item.add_marker(pytest.mark.skip(reason="takes long: ./invoke test --all runs it"))


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
