"""Batch files and tokens that a tap replaces, in a real cluster, streaming and staged."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import TYPE_CHECKING

import pytest
from argo_checkout import argo_checkout
from scenarios import AFTER, SCHEMA

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
MODES = ("streaming", "staged")
ANYWHERE = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": "file:///home/me/batches"}}
ROLE = "pipeline-secrets"


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def token(argo: Argo) -> str:
    """Return the token in the Secret of the scripted tap."""
    secret = json.loads(argo.kubectl("get", "secret", "-n", "argo", "connector-tap-scripted", "-o", "json"))
    return b64decode(secret["data"]["SHOP_TOKEN"]).decode()


@pytest.mark.parametrize("mode", MODES)
def test_batch_files_reach_the_target(argo: Argo, mode: str) -> None:
    """Files that batch_config places and files in the tap's own container are counted, and the target reads them."""
    steps = [SCHEMA, ["batch", "s", 3], ["batch", "s", 2, "/tmp/elsewhere", 3], ["state", AFTER]]
    name = argo.pipeline(f"batch-{mode}", {"steps": steps, "batch_config": ANYWHERE}, mode=mode)
    done = argo.one(name)
    assert (done.record["status"], done.record["records"], done.record["error"]) == ("succeeded", {"s": 5}, None)
    assert done.record["batches"]["s"] | {"bytes": 0} == {"files": 2, "bytes": 0, "uncounted": 0}
    assert done.record["batches"]["s"]["bytes"] > 0
    [rows] = argo.data(name).values()
    assert sorted(json.loads(line)["n"] for line in rows.splitlines()) == [0, 1, 2, 3, 4]
    assert len(done.last["outputs"]) == 1
    assert argo.get_state(name) == AFTER


@pytest.mark.parametrize("mode", MODES)
def test_the_sdks_own_batches(argo: Argo, mode: str) -> None:
    """A tap and a target of the SDK exchange batch files."""
    config = {"source": "packaged", "start_date": "2026-01-01", "base": "EUR", "batch_config": {**ANYWHERE, "batch_size": 100}}
    name = argo.pipeline(f"sdk-{mode}", config, {"destination_path": "."}, "tap-exchange-rates", "target-csv", mode=mode)
    done = argo.one(name)
    batch = done.record["batches"]["exchange_rate"]
    assert (done.record["status"], batch["uncounted"]) == ("succeeded", 0)
    assert batch["files"] == -(-done.record["records"]["exchange_rate"] // 100)
    [text] = argo.data(name).values()
    assert len(text.splitlines()) == done.record["records"]["exchange_rate"] + 1


@pytest.mark.parametrize("mode", MODES)
def test_a_token_that_the_tap_replaces_is_kept(argo: Argo, mode: str) -> None:
    """The Secret has the new token, also of a failed run; the next run starts with it, and `.env` does not put the old one back."""
    (argo.root / ".env").write_text(f"SHOP_TOKEN=first-{mode}\n")
    again = [SCHEMA, ["renew", "refresh_token", "+1"], ["records", "s", 1], ["state", AFTER]]
    fails = [SCHEMA, ["renew", "refresh_token", "+1"], ["stderr", "CRITICAL no"], ["exit", 1]]
    name = argo.pipeline("rotating", {"refresh_token": "${SHOP_TOKEN}", "steps": again}, mode=mode)
    for times in (1, 2):
        done = argo.one(name)
        assert (done.record["status"], done.record["warnings"]) == ("succeeded", []), argo.type("logs", done.last["run"]).out
        assert token(argo) == f"first-{mode}" + times * "+1"
    argo.pipeline("rotating", {"refresh_token": "${SHOP_TOKEN}", "steps": fails}, mode=mode)
    assert argo.one(name).record["status"] == "failed"
    assert token(argo) == f"first-{mode}+1+1+1"

    (argo.root / ".env").write_text(f"SHOP_TOKEN=mine-{mode}\n")
    argo.pipeline("rotating", {"refresh_token": "${SHOP_TOKEN}", "steps": again}, mode=mode)
    assert argo.one(name).record["status"] == "succeeded"
    assert token(argo) == f"mine-{mode}+1"


def test_a_token_that_cannot_be_kept_is_named(argo: Argo) -> None:
    """Without the right, and in a Secret of somebody else, the run succeeds and has a warning with the variable's name."""
    (argo.root / ".env").write_text("SHOP_TOKEN=first\n")
    steps = [SCHEMA, ["renew", "refresh_token", "+1"], ["records", "s", 1], ["state", AFTER]]
    name = argo.pipeline("losing", {"refresh_token": "${SHOP_TOKEN}", "steps": steps})
    assert argo.one(name).record["warnings"] == []
    rule = {"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["connector-tap-scripted"], "verbs": ["get", "patch"]}
    assert json.loads(argo.kubectl("get", "role", "-n", "argo", ROLE, "-o", "json"))["rules"] == [rule]
    secret = ("secret", "-n", "argo", "connector-tap-scripted")
    instance = json.loads(argo.kubectl("get", *secret, "-o", "json"))["metadata"]["labels"]["singer/instance"]
    for change, why in (
        (("label", *secret, "singer/instance-"), "the Secret connector-tap-scripted is managed by somebody else"),
        (("patch", "role", "-n", "argo", ROLE, "--type", "merge", "-p", '{"rules": []}'), "the pods of runs may not change the Secret"),
    ):
        argo.kubectl(*change)
        before = token(argo)
        [warning] = argo.one(name).record["warnings"]
        assert warning.startswith(f"tap-scripted replaced SHOP_TOKEN in its config, and the new value is lost: {why}")
        assert token(argo) in {before, "first"}  # that of somebody else stays as it is
        argo.kubectl("label", *secret, "--overwrite", f"singer/instance={instance}")
