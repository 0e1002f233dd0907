"""What a live CronWorkflow shows about its schedule."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.argo.status import LAST_SCHEDULE, schedule_trouble

BEFORE, APPLIED, AFTER = "2026-11-29T05:00:00Z", "2026-11-29T06:00:00Z", "2026-11-29T07:00:00Z"


def cron_workflow(written: str = AFTER, used: str = "", last: str = "", **condition: str) -> dict[str, Any]:
    """Return a CronWorkflow as the API server returns it, applied by us and then written by the controller."""
    return {
        "metadata": {
            "name": "p",
            "annotations": {LAST_SCHEDULE: used} if used else {},
            "managedFields": [{"manager": "singer", "time": APPLIED}, {"manager": "workflow-controller", "time": written}],
        },
        "spec": {"schedules": ["0 6 * * *", "0 18 * * *"], "timezone": "Europe/Berlin"},
        "status": {"conditions": [condition] if condition else [], "lastScheduledTime": last or None},
    }


NEW = "CRON_TZ=Europe/Berlin 0 6 * * *,CRON_TZ=Europe/Berlin 0 18 * * *"
OLD = "CRON_TZ=Europe/Berlin 0 3 * * *"
REFUSED = {"type": "SpecError", "status": "True", "message": "cron schedule 0 25 * * 9 is malformed"}


@pytest.mark.parametrize(
    ("live", "trouble"),
    [
        (cron_workflow(**REFUSED), "Argo refuses it: cron schedule 0 25 * * 9 is malformed"),
        (cron_workflow(**{**REFUSED, "type": "SubmissionError"}), "Argo could not start it: cron schedule"),
        (cron_workflow(used=OLD, last=AFTER), "Argo still uses an earlier schedule, 0 3 * * *, and started it at 2026-11-29T07:00:00Z"),
        (cron_workflow(used=NEW, last=AFTER), None),
        (cron_workflow(used=OLD, last=BEFORE), None),
        (cron_workflow(BEFORE, **REFUSED), None),
        (cron_workflow(**{**REFUSED, "status": "False"}), None),
        (cron_workflow(), None),
    ],
    ids=["refused", "not started", "still the old one", "the new one", "not due yet", "refused before the change", "accepted again", "new"],
)
def test_a_schedule_that_argo_does_not_follow_is_reported(live: dict[str, Any], trouble: str | None) -> None:
    """What the controller wrote after our last change counts; what it wrote before does not."""
    reported = schedule_trouble(live)
    assert reported is None if trouble is None else str(reported).startswith(trouble)
