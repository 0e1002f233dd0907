"""Whether a pipeline's pod fits on a node."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from cluster.platform.steps.capacity import excess, quantity

NODE = {"cpu": 4.0, "memory": 8e9}


def pipeline(mode: str = "streaming", *, mapper: bool = False, **resources: str) -> Any:
    """Return what counts of a pipeline."""
    return cast("Any", SimpleNamespace(name="p", mode=mode, resources=resources, mapper=mapper or None))


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        (pipeline(cpu="64"), "p asks for cpu: 64 for tap and target each, and the largest node has 4"),
        (pipeline(cpu="2"), None),
        (pipeline(cpu="2001m"), "p asks for cpu: 2001m for tap and target each"),
        (pipeline("staged", cpu="4"), None),
        (pipeline(cpu="2", mapper=True), "p asks for cpu: 2 for tap, mapper and target each"),
        (pipeline("staged", cpu="2", mapper=True), None),
        (pipeline("staged", memory="9Gi"), "p asks for memory: 9Gi, and the largest node has 8.0 GB"),
        (pipeline(memory="512Mi"), None),
        (pipeline(), None),
    ],
)
def test_a_request_that_no_node_can_meet_is_named(asked: Any, problem: str | None) -> None:
    """The user reads immediately that a pod could never start, instead of waiting for a quarter of an hour."""
    trouble = excess(asked, NODE)
    assert trouble is None if problem is None else str(trouble).startswith(problem)


@pytest.mark.parametrize(("text", "number"), [("2", 2), ("500m", 0.5), ("1.5", 1.5), ("16Ki", 16384), ("1Gi", 2**30), ("2G", 2e9)])
def test_quantities(text: str, number: float) -> None:
    """Kubernetes' quantities are read as it reads them."""
    assert quantity(text) == number
