"""Removing images, with a runtime that has some."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cluster.containers import images
from cluster.containers.runtime import Runtime

if TYPE_CHECKING:
    import pytest

DOCKER = """#!/bin/sh
echo "$*" >>"$(dirname "$0")/calls"
case "$*" in
  *inspect*tap:1 | *inspect*tap:dev) echo sha256:aa ;;
  *inspect*minio*) echo sha256:bb ;;
  *inspect*) exit 1 ;;
esac
"""


def test_two_names_of_an_image_are_one_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number that ``teardown --all`` shows is that of images; untagged stages of builds go as well, and only ours."""
    program = tmp_path / "docker"
    program.write_text(DOCKER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    assert images.remove(["localhost/singer/tap:1", "tap:dev", "quay.io/minio/minio:1", "gone:1"], Runtime("docker")) == 2
    calls = (tmp_path / "calls").read_text().splitlines()
    assert [call for call in calls if call.startswith("rmi")] == [
        "rmi localhost/singer/tap:1", "rmi tap:dev", "rmi quay.io/minio/minio:1", "rmi gone:1",
    ]  # fmt: skip
    assert calls[-1] == "image prune --force --filter label=app.kubernetes.io/part-of=singer"


def test_stages_of_builds_carry_our_label() -> None:
    """What a builder leaves untagged is known as ours: each stage begins with one that has the label."""
    for file in ("Dockerfile", "Dockerfile.commit"):
        lines = (Path(__file__).parents[3] / "singer-containers" / file).read_text(encoding="utf-8").splitlines()
        assert lines[lines.index("FROM ${BASE} AS compiled") + 1] == f"LABEL {images.OURS}"
        assert {line.split()[1] for line in lines if line.startswith("FROM ")} <= {"${BASE}", "compiled", "build", "plain", "libraries"}
