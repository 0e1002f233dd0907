"""Schedules: what is left as somebody has set it by hand."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.platform.steps.schedules import as_left
from cluster.runs.late import SUSPENDED


def schedule(*, suspend: bool, applied: bool | None) -> dict[str, Any]:
    """Return a CronWorkflow; *applied* is the value of suspend that we last applied."""
    annotations = {} if applied is None else {SUSPENDED: str(applied).lower()}
    return {"kind": "CronWorkflow", "metadata": {"name": "p", "annotations": annotations}, "spec": {"suspend": suspend}}


@pytest.mark.parametrize(
    ("live", "paused", "suspended"),
    [
        (None, False, False),
        (None, True, True),
        (schedule(suspend=False, applied=False), False, False),
        (schedule(suspend=False, applied=False), True, True),
        (schedule(suspend=True, applied=True), False, False),
        (schedule(suspend=True, applied=False), False, True),
        (schedule(suspend=False, applied=True), True, False),
        (schedule(suspend=True, applied=False), True, True),
        (schedule(suspend=True, applied=None), False, False),
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
    assert as_left(schedule(suspend=paused, applied=paused), live)["spec"]["suspend"] is suspended
