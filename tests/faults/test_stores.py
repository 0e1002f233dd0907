"""A store that errs, breaks off, is late, dies, or kills: at any request of a run, on a real MinIO."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from broken_store import WAYS, BrokenStore
from checkout import Checkout
from fault_pipeline import ROWS, Ground
from hypothesis import given, settings
from hypothesis import strategies as st
from real_stores import Minio, s3_buckets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

faults = settings.get_profile("faults")
REQUESTS = 45
"""Requests that such a run makes, a few more."""


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, shared: Path, minio_server: Minio) -> Iterator[Ground]:
    """Yield a pipeline whose buckets are in MinIO."""
    root = tmp_path_factory.mktemp("ground") / "checkout"
    with Ground(Checkout(root, shared), s3_buckets(minio_server, root).variables()) as made:
        yield made


@pytest.fixture(scope="module")
def broken(minio_server: Minio) -> Iterator[BrokenStore]:
    """Yield the way there."""
    with BrokenStore(minio_server.port) as started:
        yield started


@faults
@given(st.integers(1, REQUESTS), st.sampled_from(WAYS), st.booleans())
def test_trouble_at_any_request(ground: Ground, broken: BrokenStore, at: int, how: str, for_good: bool) -> None:  # noqa: FBT001 - an example's value
    """For any failure at any request, once or from there on: the state is never ahead, and the next run puts all right."""
    ground.first()
    broken.set(how, at, for_good=for_good and not how.startswith("killed"))
    command = ground.start(INVOKE_SINGER_S3_ENDPOINT=broken.endpoint)
    broken.victim = command
    code = command.wait()
    ground.hit(command, killed=how.startswith("killed"))
    if how in {"500", "503", "slow"} and not for_good:
        assert code == 0, command.err
    ground.mended()


@faults
@given(st.integers(1, REQUESTS), st.integers(1, REQUESTS), st.sampled_from(WAYS))
def test_the_mending_meets_trouble_too(ground: Ground, broken: BrokenStore, at: int, again: int, how: str) -> None:
    """A run is killed at any request, and the one that would have put it right meets trouble at any other."""
    ground.first()
    for number, trouble in ((at, "killed after"), (again, how)):
        broken.set(trouble, number)
        command = ground.start(INVOKE_SINGER_S3_ENDPOINT=broken.endpoint)
        broken.victim = command
        ground.hit(command, killed=True)
    ground.mended()


@pytest.mark.parametrize("at", [12, 20, 26, 30])
def test_the_server_is_killed(ground: Ground, broken: BrokenStore, minio_server: Minio, at: int) -> None:
    """MinIO is killed while a run is under way: what it had confirmed is there afterwards, and the next run succeeds."""
    ground.first()
    broken.set("nothing", at, for_good=True)  # as the run sees it
    command = ground.start(INVOKE_SINGER_S3_ENDPOINT=broken.endpoint)
    command.wait()
    minio_server.kill()
    minio_server.restart()
    ground.hit(command)
    ground.mended()


def test_a_slow_store(ground: Ground, broken: BrokenStore) -> None:
    """A store that takes its time with everything makes a run longer and nothing else."""
    ground.first()
    broken.set("slow", 1, for_good=True)
    command = ground.start(INVOKE_SINGER_S3_ENDPOINT=broken.endpoint)
    ground.hit(command)
    assert (command.code, ground.state(), len(broken.seen) <= REQUESTS) == (0, ROWS, True), len(broken.seen)
    ground.settled()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_while_the_store_is_away(ground: Ground, broken: BrokenStore, number: int) -> None:
    """Ctrl-C while the store does not answer: the next command, which reaches it, ends the run."""
    ground.first()
    ground.prepare(ROWS, tap={"at": 600, "who": "engine", "signal": int(number)})
    broken.set("nothing", 12, for_good=True)
    ground.hit(ground.start(INVOKE_SINGER_S3_ENDPOINT=broken.endpoint))
    ground.prepare(ROWS)
    ground.mended()
