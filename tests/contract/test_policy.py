"""What the pipelines' user may do in the store, and what not: a real MinIO, the shipped policy, every right tried both ways."""

from __future__ import annotations

import io
import json
import secrets
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from cluster.errors import SetupError
from cluster.platform.steps.storage import policy
from cluster.store.minio_admin import Admin, expire
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable

    from real_stores import Buckets

ROOT = Path(__file__).resolve().parents[2]
KEY = "pipelines/p/state.json"


class User:
    """The pipelines' user, its buckets, and a bucket that is somebody else's."""

    def __init__(self, own: Buckets) -> None:
        """Let root make the user and fill the buckets, as ``up`` does."""
        self.own = own
        settings = replace(own.settings, root=ROOT)
        self.buckets = (settings.bucket_configs, settings.bucket_artifacts, settings.bucket_outputs)
        self.configs = settings.bucket_configs
        self.foreign = f"foreign-{secrets.token_hex(4)}"
        self.credentials = {"accesskey": secrets.token_hex(8), "secretkey": secrets.token_hex(16)}
        root = {"accesskey": own.environ["AWS_ACCESS_KEY_ID"], "secretkey": own.environ["AWS_SECRET_ACCESS_KEY"]}
        self.root = S3Store(settings.s3_endpoint, access_key=root["accesskey"], secret_key=root["secretkey"], region=settings.s3_region)
        self.root.prepare({self.configs: True, self.buckets[1]: False, self.buckets[2]: False, self.foreign: True})
        for bucket in (*self.buckets, self.foreign):
            for content in (b"1", b"2"):
                self.root.put(bucket, KEY, content)
        self.admin = Admin(settings.s3_endpoint, root)
        self.admin.allow(self.credentials, policy(settings))
        self.store = S3Store(
            settings.s3_endpoint,
            access_key=self.credentials["accesskey"],
            secret_key=self.credentials["secretkey"],
            region=settings.s3_region,
        )
        self.s3 = self.store._client
        self.administration = Admin(settings.s3_endpoint, self.credentials)

    def refused(self, what: Callable[[], Any]) -> bool:
        """Say whether MinIO refuses it, and not for another reason."""
        try:
            answer = what()
            if not isinstance(answer, str | bool) and hasattr(answer, "__iter__"):
                list(answer)
        except Exception as error:  # noqa: BLE001 - MinIO's client and its administration have errors of their own
            message = f"{getattr(error, 'code', '')} {error}"
            assert "AccessDenied" in message or "Access Denied" in message, message
            return True
        return False


@pytest.fixture
def user(s3: Buckets) -> User:
    """Return the pipelines' user of a separate store."""
    return User(s3)


def test_what_a_pipeline_needs(user: User, tmp_path: Path) -> None:
    """The user reads, writes, lists and removes objects of our three buckets, in parts too, and sees the versions of a state."""
    for bucket in user.buckets:
        user.store.put(bucket, "a/b", b"data")
        assert user.store.get(bucket, "a/b") == b"data"
        assert [item.key for item in user.store.objects(bucket, "a/")] == ["a/b"]
        user.store.delete(bucket, "a/b")
        assert user.store.get(bucket, "a/b") is None
        assert user.s3.bucket_exists(bucket)
    large = tmp_path / "large"
    large.write_bytes(b"x" * (11 << 20))
    user.s3.fput_object(user.buckets[1], "large", str(large), part_size=5 << 20)
    newest, oldest = user.store.versions(user.configs, KEY)
    assert (user.store.get(user.configs, KEY, newest.id), user.store.get(user.configs, KEY, oldest.id)) == (b"2", b"1")
    user.store.prepare({user.configs: True})


def test_a_policy_of_yesterday_is_noticed(user: User) -> None:
    """A policy that an earlier version left, or that somebody has changed, is recognised as not ours of today, and replaced."""
    ours = policy(replace(user.own.settings, root=ROOT))
    assert user.admin.follows(ours)
    user.admin.allow(user.credentials, {**ours, "Statement": ours["Statement"][:-1]})
    assert not user.admin.follows(ours)
    user.admin.allow(user.credentials, ours)
    assert user.admin.follows(ours)


def test_no_other_bucket(user: User) -> None:
    """Somebody else's bucket cannot be read, written, listed or removed, nor a new one made."""
    s3, other = user.s3, user.foreign
    tries: list[Callable[[], Any]] = [
        lambda: s3.get_object(other, KEY),
        lambda: s3.stat_object(other, KEY).etag,
        lambda: s3.put_object(other, "x", io.BytesIO(b"x"), 1),
        lambda: s3.remove_object(other, KEY),
        lambda: s3.list_objects(other),
        lambda: s3.list_objects(other, include_version=True),
        lambda: s3.remove_bucket(other),
        lambda: s3.make_bucket(f"new-{other}"),
        lambda: s3.get_bucket_versioning(other).status or "",
    ]
    assert [user.refused(what) for what in tries] == [True] * len(tries)
    assert other not in [bucket.name for bucket in s3.list_buckets()]
    assert user.root.get(other, KEY) == b"2"


def test_no_change_of_the_rules(user: User) -> None:
    """The user changes no policy, versioning, lifecycle, encryption, notification or replication, and removes no bucket."""
    s3, configs = user.s3, user.configs
    open_to_all = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject"], "Resource": [f"arn:aws:s3:::{configs}/*"]}
    anyone = {"Version": "2012-10-17", "Statement": [open_to_all]}
    from minio.commonconfig import Tags  # noqa: PLC0415, TID251 - the client's own words
    from minio.versioningconfig import SUSPENDED, VersioningConfig  # noqa: PLC0415, TID251 - the client's own words

    tries: list[Callable[[], Any]] = [
        lambda: s3.set_bucket_policy(configs, json.dumps(anyone)),
        lambda: s3.get_bucket_policy(configs),
        lambda: s3.set_bucket_versioning(configs, VersioningConfig(SUSPENDED)),
        lambda: s3.delete_bucket_lifecycle(configs),
        lambda: s3.delete_bucket_encryption(configs),
        lambda: s3.set_bucket_tags(configs, Tags.new_bucket_tags()),
        lambda: s3.remove_bucket(configs),
    ]
    assert [user.refused(what) for what in tries] == [True] * len(tries)
    with pytest.raises(SetupError):
        expire(user.store, {configs: ("pipelines/",)}, 1)


def test_history_stays(user: User) -> None:
    """No version of a state or a config can be deleted; removing a state keeps its versions."""
    versions = user.store.versions(user.configs, KEY)
    assert len(versions) == 2
    for item in versions:
        assert user.refused(partial(user.s3.remove_object, user.configs, KEY, version_id=item.id))
    assert user.store.versions(user.configs, KEY) == versions
    user.store.delete(user.configs, KEY)
    assert [item.deleted for item in user.store.versions(user.configs, KEY)] == [True, False, False]


def test_no_administration(user: User) -> None:
    """The user can make no users, policies or further keys, and does not see those that are there."""
    admin = user.administration._admin
    mine = user.credentials["accesskey"]
    tries: list[Callable[[], Any]] = [
        lambda: admin.user_add("intruder", "intruder-secret"),
        admin.user_list,
        lambda: admin.policy_add("all", policy={"Version": "2012-10-17", "Statement": []}),
        lambda: admin.policy_set("consoleAdmin", user=mine),
        admin.info,
        lambda: admin.add_service_account(access_key="further-key-0", secret_key="further-secret-0", name="x"),
    ]
    assert [user.refused(what) for what in tries] == [True] * len(tries)
