"""A run with parts that is killed anywhere: no bookmark ahead of the data, no row lost or doubled, and other streams stay."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, Any

import pytest
from checkout import Checkout
from fault_pipeline import ROWS, Ground
from hypothesis import given, settings
from hypothesis import strategies as st

from cluster.runs.history import History

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fault_pipeline import Command

pytestmark = pytest.mark.full  # a run with parts makes many changes
faults = settings.get_profile("faults")
STREAMS = "abc"
CHANGES = 130
"""Changes to the disk that such a run makes, or fewer."""
SIGNALS = [signal.SIGKILL, signal.SIGTERM, signal.SIGINT]


class Parts(Ground):
    """The pipeline ``p`` is split: each stream has as many rows."""

    def prepare(self, rows: int, tap: dict[str, Any] | None = None, target: dict[str, Any] | None = None, batch: int = 4) -> None:  # noqa: ARG002 - as above
        """Let each stream have so many rows."""
        self.rows = rows
        catalog = [{"tap_stream_id": stream, "stream": stream, "schema": {}, "selected": True} for stream in STREAMS]
        self.checkout.write("tap-scripted/catalog.json", {"streams": catalog})
        self.checkout.write("tap-scripted/config.json", {"steps": [["streams", dict.fromkeys(STREAMS, rows), batch]]})
        self.checkout.write("target-scripted/config.json", {"often": True, **({"fault": target} if target else {})})
        entry = {"tap": "tap-scripted", "target": "target-scripted", "split": "streams"}
        self.checkout.write("pipelines.yaml", {"p": entry})

    def claimed(self) -> set[Any]:
        """Return the rows that the bookmarks stand for."""
        state = History(self.store, self.settings).state("p") or {"bookmarks": {}}
        return {(stream, number) for stream, mark in state["bookmarks"].items() for number in range(mark["n"])}

    def everything(self) -> set[Any]:
        """Return the rows of the source."""
        return {(stream, number) for stream in STREAMS for number in range(self.rows)}

    def published(self) -> list[Any]:
        """Return the stream and the number of all rows that are published, sorted."""
        store, bucket = self.store, self.settings.bucket_outputs
        files = {item.key: store.get(bucket, item.key) or b"" for item in store.objects(bucket)}
        return sorted((key.rpartition("/")[2][0], json.loads(line)["n"]) for key, text in files.items() for line in text.splitlines())

    def retried(self) -> None:
        """Retry what was hit, if it is recorded and did not succeed; the others' bookmarks are as they were."""
        before = self.claimed()
        newest = self.records()[0]
        command: Command = self.start("retry", newest.run, "--json")
        command.wait()
        if newest.status != "succeeded" and command.code == 0:
            assert before <= self.claimed()
        assert command.code in {0, 1}, command.err


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Parts]:
    """Yield a pipeline whose buckets are folders."""
    with Parts(Checkout(tmp_path_factory.mktemp("ground") / "checkout", shared)) as made:
        yield made


@faults
@given(st.integers(1, CHANGES), st.sampled_from(SIGNALS), st.booleans())
def test_killed_at_any_change(ground: Parts, at: int, number: int, again: bool) -> None:  # noqa: FBT001 - an example's value
    """The engine is killed before any change that it makes to the disk; then a retry, or the next run, loads the rest."""
    ground.first()
    ground.hit(ground.start(fault={"at": at, "number": int(number)}), killed=True)
    if again:
        ground.retried()
    ground.mended()


@faults
@given(st.floats(0, 1.2), st.sampled_from(SIGNALS))
def test_killed_at_any_moment(ground: Parts, moment: float, number: int) -> None:
    """The engine is killed at any moment."""
    ground.killed_after(moment, number)


@faults
@given(st.sampled_from(["connector", "runner"]), st.sampled_from([0, *SIGNALS]), st.integers(0, 1500))
def test_a_target_of_a_part_is_killed(ground: Parts, who: str, number: int, at: int) -> None:
    """A target or its runner is killed after any byte, in each part."""
    ground.first()
    ground.prepare(ROWS, target={"at": at, "who": who, "signal": int(number)})
    ground.hit(ground.start(), killed=True)
    ground.prepare(ROWS)
    ground.mended()
