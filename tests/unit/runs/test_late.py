"""Which pipelines are late, why, and which messages are sent when."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from cluster.runs import late
from cluster.runs.late import Known, Live, Memory, Watched
from cluster.runs.record import Record, Side

if TYPE_CHECKING:
    from cluster.runs.record import Status

NIGHTLY = Watched("p", ("0 2 * * *",), "UTC", since=datetime(2026, 11, 1, tzinfo=UTC))


def at(text: str) -> datetime:
    """Return a moment of November 2026, such as ``29 02:00``."""
    return datetime.strptime(f"2026-11-{text}", "%Y-%m-%d %H:%M").replace(tzinfo=UTC)


def record(status: Status, started: str, minutes: int = 10, **more: Any) -> Record:
    """Return the record of a run."""
    began = at(started)
    ended = None if status == "running" else late.stamp(began + timedelta(minutes=minutes))
    made = Record("r", "p", "argo", late.stamp(began), Side("tap-x", "1"), Side("target-y", "1"), None, status, ended, minutes * 60)
    return replace(made, **more)


@pytest.mark.parametrize(
    ("watched", "success", "now", "expected"),
    [
        (NIGHTLY, "28 02:10", "29 02:49", "on time"),  # half an hour, and twice the ten minutes that it takes
        (NIGHTLY, "28 02:10", "29 02:51", "late"),
        (NIGHTLY, "29 02:10", "29 23:00", "on time"),
        (NIGHTLY, "29 01:59", "29 03:00", "late"),
        (replace(NIGHTLY, late_after=3600), "28 02:10", "29 02:59", "on time"),
        (replace(NIGHTLY, late_after=3600), "28 02:10", "29 03:00", "late"),
        (replace(NIGHTLY, since=at("29 01:00")), "20 02:10", "29 02:49", "on time"),  # the schedule is new
        (replace(NIGHTLY, since=at("29 03:00")), None, "29 23:00", "on time"),
        (replace(NIGHTLY, since=at("29 01:00")), None, "29 03:00", "late"),
        (replace(NIGHTLY, timezone="Europe/Berlin"), "28 01:10", "29 01:51", "late"),
        (replace(NIGHTLY, schedule=("* * * * *",), late_after=60), "29 02:00", "29 02:02", "late"),
        (replace(NIGHTLY, schedule=()), None, "29 02:02", "on time"),
    ],
)
def test_when_a_pipeline_is_late(watched: Watched, success: str | None, now: str, expected: str) -> None:
    """A success must have ended since the last time of the schedule, and a while after that."""
    facts = Known(at(success) if success else None, 600.0)
    assert ("late" if late.judge(watched, facts, at(now)) else "on time") == expected


@pytest.mark.parametrize(
    ("watched", "records", "live", "why", "detail"),
    [
        (NIGHTLY, [], None, "not-started", "no run has begun since"),
        (replace(NIGHTLY, suspended=True), [], None, "suspended", "its schedule is suspended in Argo"),
        (NIGHTLY, [], Live(waiting=True, since="02:00"), "waiting", "its run has been waiting for its turn since 02:00"),
        (
            replace(NIGHTLY, suspended=True),
            [record("running", "29 02:00"), record("succeeded", "28 02:00")],
            Live(waiting=False, since="02:00"),
            "running",
            "its run has been under way since 02:00, and usually takes 10 min",
        ),
        (
            NIGHTLY,
            [record("failed", "29 03:00", error={"code": "E-TAP-FAILED"}), record("failed", "29 02:00"), record("succeeded", "28 02:00")],
            None,
            "failing",
            "2 runs failed one after the other, the last with E-TAP-FAILED",
        ),
        (NIGHTLY, [record("failed", "29 02:00", error={"code": "E-PIPE"})], None, "failing", "its last run failed with E-PIPE"),
        (NIGHTLY, [record("failed", "28 02:00")], None, "not-started", "no run has begun since"),
        (
            NIGHTLY,
            [record("succeeded", "29 02:00", backfill={"from": "2026-01-01", "to": None}), record("succeeded", "28 02:00")],
            None,
            "not-started",
            "no run has begun since",
        ),
    ],
)
def test_why_a_pipeline_is_late(watched: Watched, records: list[Record], live: Live | None, why: str, detail: str) -> None:
    """The reason comes from what is under way, from the schedule, and from the records."""
    watched = replace(watched, since=at("28 02:05"))
    late_ones = late.judge(watched, late.known(records, Known()), at("29 06:00"), live)
    assert late_ones is not None
    assert (late_ones.why, late_ones.due) == (why, at("29 02:00"))
    assert late_ones.detail == detail


class Watch:
    """Looks one after the other, with what the check remembers in between."""

    def __init__(self, *pipelines: Watched) -> None:
        """Begin without a memory."""
        self.pipelines = list(pipelines)
        self.memory = Memory()
        self.records: dict[str, list[Record]] = {}
        self.read: list[str] = []

    def look(self, now: str) -> late.Look:
        """Look at a moment."""

        def records(name: str) -> list[Record]:
            self.read.append(name)
            return self.records.get(name, [])

        seen = late.look(Memory.read(self.memory.write()), self.pipelines, {}, at(now), records)
        self.memory = seen.memory
        return seen


def names(late_ones: tuple[late.Late, ...]) -> list[str]:
    """Return the pipelines that are late."""
    return [item.pipeline for item in late_ones]


def test_it_is_reported_once_and_once_more_when_on_time() -> None:
    """One message when it gets late, none while it stays so, one after the next success."""
    watch = Watch(replace(NIGHTLY, since=at("29 01:00")))
    assert names(watch.look("29 02:28").new) == []
    assert names(watch.look("29 02:32").new) == ["p"]
    seen = watch.look("29 02:36")
    assert (names(seen.late), names(seen.new), seen.again) == (["p"], [], ())
    watch.records["p"] = [record("succeeded", "29 02:37", 1)]
    seen = watch.look("29 02:40")
    assert (names(seen.late), seen.again) == ([], ("p",))
    seen = watch.look("29 02:44")
    assert (names(seen.late), seen.again) == ([], ())


def test_a_message_that_is_lost_comes_again() -> None:
    """What did not arrive is not reported yet."""
    watch = Watch(replace(NIGHTLY, since=at("29 01:00")))
    before = watch.memory
    seen = watch.look("29 02:32")
    watch.memory = late.unreported(seen.memory, before, names(seen.new))
    assert names(watch.look("29 02:36").new) == ["p"]


def test_no_flood_after_a_night_of_sleep() -> None:
    """What was due while the machine slept has its whole time again, from when it woke."""
    watch = Watch(*(replace(NIGHTLY, pipeline=f"p{number}", since=at("28 12:00")) for number in range(30)))
    watch.look("28 23:00")
    assert watch.look("29 08:00").late == ()
    assert watch.look("29 08:04").late == ()
    seen = watch.look("29 08:08")
    for minute in range(12, 32, 4):
        seen = watch.look(f"29 08:{minute}")
    assert len(seen.new) == 0
    assert len(watch.look("29 08:32").new) == 30


def test_records_are_read_only_of_those_that_may_be_late() -> None:
    """A look reads nothing of pipelines that succeeded after their last due time, as far as it remembers."""
    watch = Watch(*(replace(NIGHTLY, pipeline=f"p{number}", since=at("28 12:00")) for number in range(50)))
    watch.records = {item.pipeline: [record("succeeded", "29 02:00")] for item in watch.pipelines}
    for minute in range(2, 58, 4):
        watch.look(f"29 02:{minute:02}")
    assert len(watch.read) == 50


def test_a_success_before_many_backfills() -> None:
    """It counts, though all of the newest runs are backfills."""
    watch = Watch(replace(NIGHTLY, since=at("28 01:00")))
    watch.records["p"] = [record("succeeded", "28 02:00")]
    watch.look("28 02:40")
    watch.memory = replace(watch.memory, looked=late.stamp(at("29 02:56")))
    backfills = [record("succeeded", f"29 02:{minute}", 1, backfill={"from": "2026-01-01", "to": None}) for minute in range(35, 15, -1)]
    watch.records["p"] = [*backfills, record("succeeded", "29 02:00"), *watch.records["p"]]
    assert watch.look("29 03:00").late == ()


@pytest.mark.parametrize("remembered", [True, False])
def test_many_failures(*, remembered: bool) -> None:
    """The success before them is still known, from the memory of the check or from an older record."""
    watch = Watch(replace(NIGHTLY, since=at("01 01:00")))
    watch.records["p"] = [record("succeeded", "02 02:00")]
    if remembered:
        watch.look("02 03:00")
        watch.memory = replace(watch.memory, looked=late.stamp(at("28 23:56")))
    failed = [record("failed", f"{day:02} 02:00", error={"code": "E-PIPE"}) for day in range(28, 2, -1)]
    watch.records["p"] = [*failed, *watch.records["p"]]
    seen = watch.look("29 00:00")
    assert (seen.late[0].due, seen.late[0].success) == (at("03 02:00"), at("02 02:10"))
    assert seen.late[0].detail == "26 runs failed one after the other, the last with E-PIPE"


def test_a_pipeline_that_left_or_changed_is_forgotten() -> None:
    """No message that it is on time again: it has not succeeded."""
    watch = Watch(replace(NIGHTLY, since=at("29 01:00")))
    watch.look("29 02:32")
    watch.pipelines = [replace(NIGHTLY, since=at("29 02:34"))]
    assert watch.look("29 02:36").again == ()
    watch.pipelines = []
    assert watch.look("29 02:40").memory.pipelines == {}


@pytest.mark.parametrize("data", [None, b"", b"[]", b"{", b'{"pipelines": {"p": {"x": 1}}}', b'{"pipelines": 1}'])
def test_a_damaged_memory_is_an_empty_one(data: bytes | None) -> None:
    """The check goes on without it."""
    assert Memory.read(data) == Memory()


def cron(**more: Any) -> dict[str, Any]:
    """Return a live CronWorkflow."""
    metadata = {"name": "p", "creationTimestamp": "2026-11-01T00:00:00Z", "labels": {late.PIPELINE: "p"}}
    metadata["annotations"] = {late.SUSPENDED: "false", **more.pop("annotations", {})}
    parameters = [{"name": "notify", "value": "always"}]
    spec = {"schedules": ["0 2 * * *"], "timezone": "Europe/Berlin", "workflowSpec": {"arguments": {"parameters": parameters}}, **more}
    return {"metadata": metadata, "spec": spec}


def test_what_a_schedule_in_the_cluster_tells() -> None:
    """Schedule, bound and messages; one that is paused in pipelines.yaml is not watched, one suspended by hand is."""
    late_ones = late.of_schedule(cron(annotations={late.SINCE: "2026-11-20T10:00:00.123Z", late.LATE_AFTER: "60"}))
    since = datetime(2026, 11, 20, 10, microsecond=123000, tzinfo=UTC)
    assert late_ones == Watched("p", ("0 2 * * *",), "Europe/Berlin", since, 60, "always")
    assert late.of_schedule(cron(suspend=True)) == replace(NIGHTLY, timezone="Europe/Berlin", notify="always", suspended=True)
    assert late.of_schedule(cron(suspend=True, annotations={late.SUSPENDED: "true"})) is None
    assert late.of_schedule({"metadata": {"name": "theirs"}, "spec": {}}) is None


def test_the_message() -> None:
    """It has the keys of a message about a run, and all pipelines in one text."""
    late_ones = [item for item in (late.judge(replace(NIGHTLY, pipeline=name), Known(), at("29 06:00")) for name in ("a", "b")) if item]
    one, both, again = late.message(late_ones[:1], ()), late.message(late_ones, ()), late.message((), ["a"])
    assert (one["pipeline"], one["status"], one["error"]["code"], both["pipeline"]) == ("a", "late", "E-LATE", None)
    assert (again["pipeline"], again["status"], again["error"], again["text"]) == ("a", "on time", None, "On time again: a")
    assert both["pipelines"] == ["a", "b"]
    assert both["late"][0]["due"] == "2026-11-01T02:00:00Z"
    assert all(f"{name}: a success was due 2026-11-01 02:00 UTC" in both["text"] for name in "ab")
