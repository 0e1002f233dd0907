"""Backfills: which dates are taken, and what becomes of the tap's config."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from cluster.errors import SetupError
from cluster.project import backfill
from cluster.project.backfill import Backfill
from cluster.project.reader import Project

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("first", "last"),
    [
        ("2024-01-01", "2024-01-31"),
        ("2024-01-01", "2024-01-01"),
        ("2024-01-01", ""),
        ("2024-01-01T06:00:00Z", "2024-01-01T07:00:00+00:30"),
        ("2024-02-29T23:59", "2024-03-01"),
        ("2024-01-31T06:00:00Z", "2024-01-31"),  # the last day is loaded to its end
        ("2024-02-01T00:30:00+02:00", "2024-01-31"),
    ],
)
def test_dates_that_are_taken(first: str, last: str) -> None:
    """A day, or a day and a time, is passed on as it was typed."""
    assert backfill.read(first, last, full=False) == Backfill(first, last or None)


@pytest.mark.parametrize(
    ("first", "last", "full", "says"),
    [
        ("yesterday", "", False, '--from "yesterday" is not a date'),
        ("2023-02-29", "", False, '--from "2023-02-29" is not a date'),
        ("20240101", "", False, "is not a date"),
        ("2024-W01-1", "", False, "is not a date"),
        ("2024-01-01", "2024-13-01", False, '--to "2024-13-01" is not a date'),
        ("2024-01-01", "9999-12-31", False, "--to 9999-12-31 is too late"),
        ("2024-01-02", "2024-01-01", False, "--to 2024-01-01 is before --from 2024-01-02"),
        ("2024-01-01T07:00:00+02:00", "2024-01-01T04:00:00Z", False, "is before"),
        ("2024-01-31T23:30:00-02:00", "2024-01-31", False, "is before"),
        ("", "2024-01-01", False, "--to needs --from"),
        ("2024-01-01", "", True, "--from excludes --full"),
    ],
)
def test_dates_that_are_refused(first: str, last: str, full: bool, says: str) -> None:  # noqa: FBT001 - a parameter of the test
    """What is no date, or no span, is one sentence."""
    with pytest.raises(SetupError, match=says) as caught:
        backfill.read(first, last, full=full)
    assert caught.value.code == "E-SETTING"


def test_no_backfill() -> None:
    """Without the two flags a run is as ever."""
    assert backfill.read("", "", full=True) is None


def project_in(folder: Path, config: dict[str, Any] | None, settings: list[str]) -> Project:
    """Return a smallest checkout."""
    for side in ("tap", "target"):
        (folder / "singer-configs" / f"{side}-x").mkdir(parents=True)
        facts = {"kind": side, "pip_url": f"{side}-x", "settings": settings}
        (folder / "singer-configs" / f"{side}-x" / "connector.yaml").write_text(json.dumps(facts), encoding="utf-8")
    if config is not None:
        (folder / "singer-configs" / "tap-x" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "singer-configs" / "pipelines.yaml").write_text("p: {tap: tap-x, target: target-x}", encoding="utf-8")
    return Project(folder)


def configured(folder: Path, config: dict[str, Any] | None, settings: list[str], first: str, last: str | None) -> dict[str, Any]:
    """Return the config of a backfill in a smallest checkout."""
    project = project_in(folder, config, settings)
    return backfill.config(project, project.pipeline("p"), Backfill(first, last))


@pytest.mark.parametrize(
    ("config", "settings", "last", "expected"),
    [
        ({"start_date": "2020-01-01", "token": "${T}"}, [], None, {"start_date": "2024-01-01", "token": "${T}"}),
        ({"start_date": "2020-01-01"}, ["end_date"], "2024-01-31", {"start_date": "2024-01-01", "end_date": "2024-01-31"}),
        (
            {"start_date": "2020-01-01T00:00:00Z", "end_date": None},
            [],
            "2024-01-31",
            {"start_date": "2024-01-01T00:00:00Z", "end_date": "2024-01-31T23:59:59Z"},
        ),
        ({"start_date": "2020-01-01", "end_date": "2021-01-01"}, [], None, {"start_date": "2024-01-01", "end_date": "2021-01-01"}),
        (None, ["start_date"], None, {"start_date": "2024-01-01"}),
    ],
)
def test_the_config(tmp_path: Path, config: dict[str, Any] | None, settings: list[str], last: str | None, expected: dict[str, Any]) -> None:
    """The two dates are replaced, in the form of the config's own; everything else stays, secrets as their names."""
    assert configured(tmp_path, config, settings, "2024-01-01", last) == expected


def test_a_time_and_a_day(tmp_path: Path) -> None:
    """After a first moment, the last day is loaded to its end too."""
    dates = {"start_date": "2024-01-31T06:00:00Z", "end_date": "2024-01-31T23:59:59Z"}
    assert configured(tmp_path, {"start_date": "2020-01-01"}, ["end_date"], dates["start_date"], "2024-01-31") == dates


@pytest.mark.parametrize(("last", "name"), [(None, "start_date"), ("2024-01-31", "end_date")])
def test_a_tap_that_takes_no_such_date(tmp_path: Path, last: str | None, name: str) -> None:
    """Where neither config nor connector.yaml knows the key, the run is refused: the tap would load something else."""
    config = {} if name == "start_date" else {"start_date": "2020-01-01"}
    with pytest.raises(SetupError, match=f'has no "{name}", and tap-x has no such setting in its connector.yaml') as caught:
        configured(tmp_path, config, [], "2024-01-01", last)
    assert caught.value.code == "E-SETTING"
    assert "singer-configs/tap-x/connector.yaml" in (caught.value.hint or "")


def stream(name: str, method: str, key: str = "at", **field: str) -> dict[str, Any]:
    """Return a stream of a catalog."""
    facts = {"selected": True, "replication-method": method, "replication-key": key}
    return {"tap_stream_id": name, "schema": {"properties": {key: field}}, "metadata": [{"breadcrumb": [], "metadata": facts}]}


def test_a_tap_without_a_start(tmp_path: Path) -> None:
    """Streams that are incremental by a date start from bookmarks, the others are named; an end, chunks and a log are refused."""
    project = project_in(tmp_path, {}, [])
    moment = {"type": "string", "format": "date-time"}
    streams = [stream("a", "INCREMENTAL", **moment), stream("b", "INCREMENTAL", type="integer"), stream("c", "FULL_TABLE", **moment)]
    file = tmp_path / "singer-configs" / "tap-x" / "catalog.json"
    file.write_text(json.dumps({"streams": streams}), encoding="utf-8")
    pipeline = project.pipeline("p")
    plan = backfill.from_bookmarks(project, pipeline, Backfill("2024-01-01"), None, {"bookmarks": {"a": {"version": 7}, "c": {"n": 1}}})
    assert plan is not None
    mark = {"replication_key": "at", "replication_key_value": "2024-01-01", "at": "2024-01-01", "last_replication_method": "INCREMENTAL"}
    assert [part.state for part in plan.parts] == [{"bookmarks": {"a": mark | {"version": 7}}}]
    assert backfill.whole(project, pipeline, plan) == ["b", "c"]
    with pytest.raises(SetupError, match="cannot be bounded above"):
        backfill.from_bookmarks(project, pipeline, Backfill("2024-01-01", "2024-02-01"), None, None)
    with pytest.raises(SetupError, match="cannot be bounded above"):
        backfill.plan(project, pipeline, [("2024-01-01", "2024-01-31")], 4)
    backfill.check(project, pipeline)
    file.write_text(json.dumps({"streams": [*streams, stream("d", "LOG_BASED")]}), encoding="utf-8")
    with pytest.raises(SetupError, match="d is LOG_BASED"):
        backfill.check(project, pipeline)
