"""The parts of a run: who gets which bookmarks, what is merged, and which days a chunk has."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.errors import SetupError
from cluster.project import parts
from cluster.project.backfill import Backfill, chunks
from cluster.project.parts import Part, Plan
from cluster.project.planning import by_streams

PLAN = Plan((Part("a", ("a",)), Part("rest", ("b", "c"))))


def state(**marks: int) -> dict[str, Any]:
    """Return a state by stream."""
    return {"bookmarks": marks}


def test_each_part_has_its_own_bookmarks() -> None:
    """A bookmark of no part's stream goes to each; without any, there is no state."""
    whole = state(a=1, b=2, gone=3)
    assert [PLAN.own(index, whole) for index in (0, 1)] == [state(a=1, gone=3), state(b=2, gone=3)]
    assert [PLAN.own(index, state(b=2)) for index in (0, 1)] == [None, state(b=2)]
    assert PLAN.own(0, None) is None


@pytest.mark.parametrize(
    ("old", "share", "new", "merged"),
    [
        (None, None, state(a=5), state(a=5)),
        (state(a=1, b=2, gone=3), state(a=1, gone=3), state(a=5, gone=3), state(a=5, b=2, gone=3)),
        (state(b=9), None, state(a=5, b=2), state(a=5, b=9)),  # never another part's
        (state(a=1, odd=8), state(a=1, odd=3), state(a=5, odd=3), state(a=5, odd=8)),  # only what it has moved
        (state(a=1), state(a=1), state(a=1, odd=4), state(a=1, odd=4)),
        (state(a=7), state(a=7), {**state(), "currently_syncing": "a"}, state(a=7)),
    ],
)
def test_only_the_parts_own_bookmarks_change(old: Any, share: Any, new: Any, merged: Any) -> None:
    """What another part has stored meanwhile stays."""
    assert PLAN.merged(0, old, share, new) == merged


@pytest.mark.parametrize("other", [{"n": 1}, {"bookmarks": [1]}, {"bookmarks": {}, "version": 1}])
def test_a_state_of_another_form_is_refused(other: Any) -> None:
    """Only bookmarks by stream can be split."""
    with pytest.raises(ValueError, match="bookmarks"):
        PLAN.own(0, other)
    assert Plan((Part("2024-01-01", span=("2024-01-01", "2024-01-31")),)).own(0, other) == other


def test_a_plan_is_read_as_it_was_written() -> None:
    """Also its days, its config, its state, which parts are skipped, and of which run it is a retry; another plan has another key."""
    first = Part("x", (), ("2024-01-01", "2024-01-02"), {"start_date": "2024-01-01"}, state(a=1))
    plan = Plan((first, *PLAN.parts), at_once=3, full=True, retry_of="20261124t081501-2bcd").only(["x", "a"])
    assert (parts.read(plan.data()), plan.numbers) == (plan, [0, 1])
    assert plan.key != PLAN.key


def test_names_of_parts_are_names_of_files() -> None:
    """Each part has another name, and every store can have a folder of that name."""
    streams = ["public-Orders", "public-orders", "a/b", "../x", "日本", "transform", "parts.json"]
    catalog = {"streams": [{"tap_stream_id": stream, "schema": {}} for stream in streams]}
    plan = by_streams(catalog, {}, 4, "catalog.json", "tap-x")
    assert [part.name for part in plan.parts] == ["public-Orders", "public-orders-2", "a-b", "x", "stream", "transform-2", "parts.json-2"]
    assert [part.streams for part in plan.parts] == [(stream,) for stream in streams]
    groups = {"X": streams[:1], "x": streams[1:2], "transform": streams[2:4], "Rest": streams[4:5]}
    named = [part.name for part in by_streams(catalog, groups, 4, "catalog.json", "tap-x").parts]
    assert named == ["X", "x-2", "transform-2", "Rest", "rest-2"]


@pytest.mark.parametrize(
    ("first", "last", "every", "expected"),
    [
        ("2024-01-31", "2024-03-01", "month", ["01-31 01-31", "02-01 02-29", "03-01 03-01"]),
        ("2024-01-01", "2024-01-03", "day", ["01-01 01-01", "01-02 01-02", "01-03 01-03"]),
        ("2024-01-01", "2024-01-10", "week", ["01-01 01-07", "01-08 01-10"]),
        ("2024-01-01", "2024-03-31", "60d", ["01-01 02-29", "03-01 03-31"]),
        ("2024-01-01", "2024-01-01", "month", ["01-01 01-01"]),
    ],
)
def test_each_day_is_in_one_chunk(first: str, last: str, every: str, expected: list[str]) -> None:
    """Chunks follow each other without a gap, from the first day to the last."""
    assert [" ".join(day[5:] for day in span) for span in chunks(Backfill(first, last), every)] == expected


@pytest.mark.parametrize(
    ("first", "last", "every"),
    [("2024-01-01", None, "day"), ("2024-01-01T00:00:00Z", "2024-01-02", "day"), ("2024-01-01", "2024-01-02", "0d")],
)
def test_chunks_need_days(first: str, last: str | None, every: str) -> None:
    """A time of day, no end and no length are refused."""
    with pytest.raises(SetupError):
        list(chunks(Backfill(first, last), every))
