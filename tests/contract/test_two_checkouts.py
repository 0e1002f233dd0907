"""Two checkouts and one bucket: neither deletes the objects of the other. The server is a real MinIO."""

from __future__ import annotations

import secrets
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.platform.handles import Handles
from cluster.platform.steps.storage import Configs
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout
    from real_stores import Minio


@pytest.fixture
def shared_buckets(minio: Minio) -> dict[str, str]:
    """Return settings that lead to buckets of this test's own."""
    names = {f"bucket_{name}": f"{name}-{secrets.token_hex(4)}" for name in ("configs", "artifacts", "outputs")}
    S3Store(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, region="us-east-1").prepare(
        dict.fromkeys(names.values(), True)
    )
    return {"s3_endpoint": minio.endpoint, **names}


def pipelines(checkout: Checkout, *names: str) -> None:
    """Let a checkout have pipelines of these names, each with its own config."""
    checkout.scripted({"steps": []})
    checkout.write(
        "pipelines.yaml", {name: {"tap": "tap-scripted", "target": "target-scripted", "config": f"{name}.json"} for name in names}
    )
    for name in names:
        checkout.write(f"{name}.json", {"steps": []})


def handles(root: Path, minio: Minio, shared_buckets: dict[str, Any], instance: str = "") -> Handles:
    """Return what a command of a checkout works with; its keys are in the environment, and no cluster is asked."""
    settings = Settings(
        root=root, provider="existing", context="none", store="use", s3_credentials="identity", instance=instance, **shared_buckets
    )
    return Handles(settings, {"AWS_ACCESS_KEY_ID": minio.access_key, "AWS_SECRET_ACCESS_KEY": minio.secret_key})


def test_configs_of_two_checkouts(tmp_path: Path, checkout: Checkout, minio: Minio, shared_buckets: dict[str, str]) -> None:
    """The second checkout is refused, with the name that would let it share; the first one's configs stay. With that name both are one."""
    pipelines(checkout, "a", "b")
    mine = handles(checkout.root, minio, shared_buckets)
    Configs().apply(mine, print)
    keys = {item.key for item in mine.store().objects(shared_buckets["bucket_configs"])}
    assert {"pipelines/a/config.json", "pipelines/b/config.json"} <= keys

    theirs = shutil.copytree(checkout.root, tmp_path / "theirs", symlinks=True)
    with pytest.raises(SetupError) as caught:
        Configs().apply(handles(theirs, minio, shared_buckets), print)
    assert caught.value.code == "E-FOREIGN"
    assert f"singer.instance: {mine.instance.id}" in caught.value.hint
    assert {item.key for item in mine.store().objects(shared_buckets["bucket_configs"])} == keys

    shared = handles(theirs, minio, shared_buckets, mine.instance.id)
    assert Configs().pending(shared) is None
    Configs().apply(shared, print)
