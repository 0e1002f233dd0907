"""An S3 that somebody else looks after: one bucket of many teams, few rights, another region, no keys. The server is a real MinIO."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import pytest
from loopback_server import ServingHTTP

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.store import open_store
from cluster.store.minio_admin import Admin
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from checkout import Checkout, Result
    from real_stores import Minio

STATE = {"n": 1}


@dataclass
class Lake:
    """A bucket of many teams, in which pipelines have three folders and a user with no more rights than they need."""

    minio: Minio
    checkout: Checkout
    name: str
    root: S3Store
    user: dict[str, str]
    folder: str = "singer/prod"

    def environ(self, **more: str) -> dict[str, str]:
        """Return what the user sets."""
        places = {
            f"INVOKE_SINGER_BUCKET_{name.upper()}": f"{self.name}/{self.folder}/{name}" for name in ("configs", "artifacts", "outputs")
        }
        keys = {"AWS_ACCESS_KEY_ID": self.user["accesskey"], "AWS_SECRET_ACCESS_KEY": self.user["secretkey"]}
        return {**self.minio.environ(), **places, **keys, **more}

    def type(self, *words: str, **more: str) -> Result:
        """Type a command as that user."""
        return self.checkout.invoke(*words, **self.environ(**more))

    def policy(self) -> dict[str, Any]:
        """Return the rights as they are printed for an administrator."""
        return dict(self.type("credentials", "--policy", "--json").last["policy"])

    def allow(self, policy: dict[str, Any]) -> None:
        """Give the user these rights and no others."""
        root = {"accesskey": self.minio.access_key, "secretkey": self.minio.secret_key}
        Admin(self.minio.endpoint, root).allow(self.user, policy)

    def all_keys(self) -> set[str]:
        """Return all keys in the bucket."""
        return {item.key for item in self.root.objects(self.name)}


@pytest.fixture
def lake(minio: Minio, checkout: Checkout) -> Lake:
    """Return a bucket that another team uses already, with a pipeline that the user may run into it."""
    name = f"lake-{secrets.token_hex(4)}"
    root = S3Store(minio.endpoint, access_key=minio.access_key, secret_key=minio.secret_key, region="us-east-1")
    root.prepare({name: False})
    root.put(name, "singer/other/secret.json", b"theirs")
    made = Lake(minio, checkout, name, root, {"accesskey": secrets.token_hex(8), "secretkey": secrets.token_hex(16)})
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", STATE]]})
    made.allow(made.policy())
    return made


def test_a_run_with_the_rights_that_are_printed(lake: Lake) -> None:
    """The printed rights suffice for a run and for looking at it; nothing outside of the folder can be seen, or is touched."""
    first = lake.type("run", "p", "--json")
    assert first.code == 0, first.out
    run = first.last["run"]
    assert lake.type("state", "p", "--json").last["state"] == STATE
    assert lake.type("runs", "--json").last["run"] == run
    shown = lake.type("show", "last")
    assert (shown.code, f"s3://{lake.name}/singer/prod/outputs/p/{run}/" in shown.out) == (0, True), shown.out
    assert lake.type("fetch", run).code == 0
    assert lake.type("state", "p", "--reset").code == 0

    assert all(key.startswith(("singer/prod/", "singer/other/")) for key in lake.all_keys())
    assert lake.root.get(lake.name, "singer/other/secret.json") == b"theirs"
    user = S3Store(lake.minio.endpoint, access_key=lake.user["accesskey"], secret_key=lake.user["secretkey"], region="us-east-1")
    for forbidden in (
        lambda: user.objects(lake.name),
        lambda: user.objects(f"{lake.name}/singer/other"),
        lambda: user.get(lake.name, "singer/other/secret.json"),
        lambda: user.put(lake.name, "singer/other/mine.json", b""),
    ):
        with pytest.raises(SetupError, match="AccessDenied"):
            forbidden()


def test_a_bucket_without_versions(lake: Lake) -> None:
    """A bucket of which we have but a folder is not given versions: the state is kept as ever, and its history is what is there."""
    assert lake.type("run", "p").code == 0
    assert lake.type("run", "p", "--full").code == 0
    assert not lake.root.versioned(lake.name)
    history = lake.type("state", "p", "--history", "--json").events
    assert [event["state"] for event in history if "version" in event] == [STATE]


def test_no_right_to_list(lake: Lake) -> None:
    """Without the right to list the answer is what it must be, and nothing has run."""
    rights = lake.policy()
    lake.allow({**rights, "Statement": [item for item in rights["Statement"] if "s3:ListBucket" not in item["Action"]]})
    result = lake.type("run", "p")
    assert (result.code, "E-STORE" in result.err, "credentials --policy" in result.err) == (1, True, True), result.err
    assert "Traceback" not in result.err
    assert lake.all_keys() == {"singer/other/secret.json"}


def test_two_environments_in_one_bucket(lake: Lake) -> None:
    """What has run in one folder of a bucket is not known in another; buckets within each other are refused."""
    assert lake.type("run", "p").code == 0
    other = replace(lake, folder="singer/trial")
    lake.allow(other.policy())
    assert other.type("state", "p", "--json").last["state"] is None
    assert other.type("run", "p").code == 0
    assert {key.split("/")[1] for key in lake.all_keys()} == {"other", "prod", "trial"}
    within = lake.type("run", "p", INVOKE_SINGER_BUCKET_OUTPUTS=f"{lake.name}/singer/prod/configs/data")
    assert (within.code, "is inside singer.bucket_configs" in within.err) == (1, True), within.err


def test_a_bucket_of_another_region(minio: Minio, checkout: Checkout, tmp_path: Path) -> None:
    """If the bucket is in another region than the settings name, the error names the right one; with it the store is ready."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", STATE]]})
    (tmp_path / "far").mkdir()
    far = replace(minio, folder=tmp_path / "far", process=None, region="eu-central-1")
    far.start()
    try:
        wrong = checkout.invoke("run", "p", **far.environ())
        assert (wrong.code, "E-STORE" in wrong.err, "another region than us-east-1" in wrong.err) == (1, True, True), wrong.err
        assert "singer.s3_region: eu-central-1" in wrong.err
        right = checkout.invoke("run", "p", **far.environ(), INVOKE_SINGER_S3_REGION="eu-central-1")
        assert right.code == 0, right.err
    finally:
        far.stop()


@pytest.fixture
def identity(minio: Minio) -> Iterator[str]:
    """Serve the credentials of a pod, as a cluster's agent does to those who show the pod's token."""

    class Agent(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            keys = {"AccessKeyId": minio.access_key, "SecretAccessKey": minio.secret_key, "Token": "", "Expiration": "2099-01-01T00:00:00Z"}
            known = self.headers.get("Authorization") == "a-token-of-the-pod"
            self.send_response(200 if known else 401)
            self.end_headers()
            self.wfile.write(json.dumps(keys if known else {}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ServingHTTP(("127.0.0.1", 0), Agent) as server:
        yield f"http://127.0.0.1:{server.server_port}/v1/credentials"


def test_the_identity_of_a_pod(minio: Minio, identity: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without keys a pod's identity opens the store; without an identity the error is one sentence."""
    token = tmp_path / "token"
    token.write_text("a-token-of-the-pod")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", identity)
    monkeypatch.setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", str(token))
    bucket = f"b-{secrets.token_hex(4)}"
    store = S3Store(minio.endpoint, region="us-east-1")
    store.prepare({bucket: True})
    store.put(bucket, "k", b"1")
    assert S3Store(minio.endpoint, region="us-east-1").get(bucket, "k") == b"1"

    token.write_text("another-pods")
    with pytest.raises(SetupError, match="Nothing here opens") as caught:
        S3Store(minio.endpoint, region="us-east-1").get(bucket, "k")
    assert caught.value.code == "E-SECRET"


def test_folders_of_a_bucket_are_folders(tmp_path: Path) -> None:
    """The store of folders takes the same names."""
    settings = Settings(root=tmp_path, bucket_configs="lake/a", bucket_artifacts="lake/b", bucket_outputs="lake/c")
    store = open_store(settings, {})
    store.put("lake/a", "pipelines/p/state.json", b"{}")
    assert [item.key for item in store.objects("lake/a")] == ["pipelines/p/state.json"]
    assert store.objects("lake/b") == []
    assert len(store.versions("lake/a", "pipelines/p/state.json")) == 1
