"""Schedules: what is left as somebody has set it by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.platform.steps.schedules import as_left
from cluster.runs.late import SUSPENDED


def schedule(*, suspend: bool, said: bool | None) -> dict[str, Any]:
    """Return a CronWorkflow; *said* is what we said when we applied it."""
    annotations = {} if said is None else {SUSPENDED: str(said).lower()}
    return {"kind": "CronWorkflow", "metadata": {"name": "p", "annotations": annotations}, "spec": {"suspend": suspend}}


@pytest.mark.parametrize(
    ("live", "paused", "suspended"),
    [
        (None, False, False),
        (None, True, True),
        (schedule(suspend=False, said=False), False, False),
        (schedule(suspend=False, said=False), True, True),
        (schedule(suspend=True, said=True), False, False),
        (schedule(suspend=True, said=False), False, True),
        (schedule(suspend=False, said=True), True, False),
        (schedule(suspend=True, said=False), True, True),
        (schedule(suspend=True, said=None), False, False),
    ],
    ids=[
        "new",
        "new and paused",
        "unchanged",
        "paused now",
        "resumed now",
        "suspended by hand",
        "resumed by hand",
        "suspended by hand, then paused",
        "by an older version",
    ],
)
def test_what_somebody_has_set_by_hand_stays(live: dict[str, Any] | None, *, paused: bool, suspended: bool) -> None:
    """A schedule that was suspended or resumed by hand stays so until `paused` changes in pipelines.yaml."""
    assert as_left(schedule(suspend=paused, said=paused), live)["spec"]["suspend"] is suspended
