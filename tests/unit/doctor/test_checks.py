"""The checks of ``doctor`` that need no machine: clocks, registries, pinned programs."""

from __future__ import annotations

from typing import Any

import pytest

from cluster.config.settings import IMAGES, Settings
from cluster.doctor import checks, fixes
from cluster.net.http import Answer


@pytest.mark.parametrize(
    ("ahead", "status"),
    [([None], "unneeded"), ([0.4, 7200], "ok"), ([-61], "slow"), ([61, 7200], "slow"), ([901], "fail"), ([-901], "fail")],
)
def test_the_clock_goes_by_whoever_is_nearest(ahead: list[float | None], status: str) -> None:
    """Of several clocks that disagree, the one that is nearest to ours counts: one server may be wrong."""

    class Machine(checks.Machine):
        def __init__(self) -> None:
            self.answers = [Answer(200, 0.1, seconds) for seconds in ahead]

    assert checks.clock(Machine()).status == status


def test_registries_are_those_of_the_images() -> None:
    """Only registries are asked that images come from, mirrors in their place; the one that images are pushed to as well."""
    images = [image for names in checks.registries_of(Settings()).values() for image in names]
    assert sorted(images) == sorted(IMAGES.values())
    assert "kindest/node" not in str(checks.registries_of(Settings(provider="existing")))
    mirrored = checks.registries_of(Settings(mirror="quay.io=mirror.example.com/quay", registry="registry.example.com/data"))
    assert list(mirrored) == ["docker.io", "mirror.example.com", "registry.example.com"]


def test_every_provider_has_a_check() -> None:
    """For every provider, the names of the checks are unlike each other."""
    for provider in checks.PROVIDERS:
        settings: dict[str, Any] = {"provider": provider}
        names = [check.name for check in checks.all_checks(Settings(**settings))]
        assert len(names) == len(set(names))


def test_kind_is_pinned_for_every_platform_that_it_has() -> None:
    """There is a checksum for Linux and macOS on both processors, and a download of the pinned version."""
    assert set(fixes.CHECKSUMS) == {f"{system}-{processor}" for system in ("darwin", "linux") for processor in ("amd64", "arm64")}
    assert len({*fixes.CHECKSUMS.values()}) == 4
    major, minor, _ = fixes.KIND.removeprefix("v").split(".")
    assert (int(major), int(minor)) >= checks.LEAST["kind"]
