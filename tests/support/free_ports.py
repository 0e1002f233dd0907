"""Ports that nobody listens on, for tests."""

from __future__ import annotations

import random

import pytest

from cluster.containers.ports import free

NAMES = ("port_argo", "port_s3", "port_console")


def row(count: int) -> int:
    """Return the first of *count* neighbouring ports that are free. Below the range from which the system gives ports to programs."""
    for first in random.sample(range(20000, 30000), 500):
        if all(free(port) for port in range(first, first + count)):
            return first
    return pytest.skip("no free ports")


def preferred(*ports: int) -> dict[str, int]:
    """Return ports by the names of their settings."""
    return dict(zip(NAMES, ports, strict=True))
