"""What ends a run in the cluster: the program of the container ``main``, on folders and on a real MinIO."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import commit
import pytest
from checkout import ROOT

from cluster.containers import images
from cluster.errors import RunError, SetupError
from cluster.project.parts import Part, Plan
from cluster.runs import notify
from cluster.runs.history import History
from cluster.runs.journal import has_files
from cluster.runs.record import Side

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real_stores import Buckets, Minio

ID = "20261124t081501-2bcd"
BEFORE, AFTER = {"n": 2}, {"n": 5}
REPORT = {"side": "tap", "records": {"s": 3}, "bytes": {"s": 30}, "messages": {"RECORD": 3}, "exit_code": 0, "error": None}


class Pod:
    """A run whose two sides have succeeded, and the store that it belongs into."""

    def __init__(self, buckets: Buckets, folder: Path) -> None:
        """Leave what tap and target leave."""
        self.buckets = buckets
        self.store = buckets.store
        settings = buckets.settings
        self.store.prepare({settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False})
        self.store.put(settings.bucket_configs, "owner.json", b'{"engine": "argo"}')
        self.shared = folder / "shared"
        (self.shared / "data").mkdir(parents=True)
        self.write("data/s.csv", "a\n1\n")
        self.write("tap.json", REPORT)
        self.write("target.json", {**REPORT, "side": "target", "records": {}})
        self.write("new_state.json", AFTER)
        started = "2026-11-24T08:15:01Z"
        self.run = commit.Run("p", ID, started, Side("tap-x", "1.0"), Side("target-x", "2.0"), self.shared, settings=settings)
        self.history = History(self.store, settings)

    def write(self, name: str, content: object) -> None:
        """Write a file of the shared folder."""
        (self.shared / name).write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")

    def left(self, pod: str, name: str, content: object, run: str = ID) -> None:
        """Leave in the bucket what Argo stores of a pod."""
        data = content if isinstance(content, str) else json.dumps(content)
        self.store.put(self.buckets.settings.bucket_artifacts, f"workflows/{run}/{pod}/{name}", data.encode())

    def data(self) -> dict[str, bytes | None]:
        """Return what is published."""
        bucket = self.buckets.settings.bucket_outputs
        return {item.key: self.store.get(bucket, item.key) for item in self.store.objects(bucket)}

    def failed(self, *messages: str, pod: str = "") -> commit.Run:
        """Return the run as the exit handler sees it."""
        nodes = [{"message": text, "podName": pod, "finishedAt": str(number)} for number, text in enumerate(messages)]
        return replace(self.run, status="Failed", failures=tuple(nodes))


@pytest.fixture
def pod(buckets: Buckets, tmp_path: Path) -> Pod:
    """Return a run that is about to be committed."""
    return Pod(buckets, tmp_path)


def test_data_record_and_state_are_stored(pod: Pod) -> None:
    """A run that succeeded has its data, a record in the local engine's form, and the state that the target printed."""
    pod.history.save_state("p", BEFORE)
    commit.commit(pod.run, pod.history)
    record = pod.history.read("p", ID)

    assert record is not None
    assert (record.status, record.engine, record.records, record.tap.exit_code) == ("succeeded", "argo", {"s": 3}, 0)
    assert (record.state_before, record.state_after, record.state_printed) == (BEFORE, AFTER, True)
    assert record.seconds is not None
    assert record.seconds > 0
    assert record.outputs == [{"bucket": pod.buckets.settings.bucket_outputs, "key": f"p/{ID}/s.csv", "bytes": 4}]
    assert pod.data() == {f"p/{ID}/s.csv": b"a\n1\n"}
    assert pod.history.state("p") == AFTER


def test_no_state_is_a_success_with_the_state_unchanged(pod: Pod) -> None:
    """Where the target printed no state, the old one stays; where there was none, there is still none."""
    (pod.shared / "new_state.json").unlink()
    record = commit.commit(pod.run, pod.history)
    assert (record.status, record.state_printed, record.state_after, pod.history.state("p")) == ("succeeded", False, None, None)


@pytest.mark.parametrize("staged", [False, True], ids=["streaming", "staged"])
def test_what_a_mapper_passed_on_is_counted(pod: Pod, *, staged: bool) -> None:
    """The record has the mapper's names of streams, and beside them what the tap sent; a stream that was never sent is a warning."""
    run = replace(pod.run, mapper=Side("map-x", "4.0"), extracted=ID if staged else "")
    reports = {
        "tap.json": REPORT,
        "mapper.json": {**REPORT, "side": "mapper", "records": {"t": 2}, "bytes": {"t": 20}, "maps": ["s", "u"]},
    }
    for name, content in reports.items():
        (pod.shared / name).unlink(missing_ok=True)
        if staged:
            pod.left("pod-1", name, content)
        else:
            pod.write(name, content)
    record = commit.commit(run, pod.history)
    assert (record.records, record.bytes, record.tap_records, record.tap_bytes) == ({"t": 2}, {"t": 20}, {"s": 3}, {"s": 30})
    assert record.mapper == Side("map-x", "4.0", 0)
    assert record.warnings == ["stream_maps of map-x names streams that tap-x did not send: u."]
    assert pod.history.read("p", ID) == record


def test_a_mapper_that_failed_is_named(pod: Pod) -> None:
    """Beside the errors of tap and target, which follow from it; the end of its log is that of the message."""
    ended = {"code": "E-MAPPER-ENDED", "problem": "The mapper ended before it had read everything.", "hint": "See."}
    pod.left("pod-1", "tap.json", {**REPORT, "exit_code": 90, "error": ended})
    pod.left("pod-1", "mapper.json", {**REPORT, "side": "mapper", "exit_code": 3})
    pod.left("pod-1", "mapper.log", "KeyError: 'email'")
    pod.left("pod-1", "main.json", {"ended": {"tap": 90, "mapper": 3}})
    run = replace(pod.failed("main: Error (exit code 1)", pod="pod-1"), mapper=Side("map-x", "4.0"))
    record = commit.failed(run, pod.history)
    assert record.error is not None
    assert (record.error["code"], record.mapper) == ("E-MAPPER-FAILED", Side("map-x", "4.0", 3))
    assert "map-x ended with exit code 3: \"KeyError: 'email'\"" in record.error["problem"]


def test_the_initial_state_is_where_the_first_run_began(pod: Pod) -> None:
    """The connector's own state counts as the state before, until one is stored."""
    pod.store.put(pod.buckets.settings.bucket_configs, "connectors/tap-x/state.json", b'{"n": 0}')
    run = replace(pod.run, initial_state="connectors/tap-x/state.json")
    assert commit.commit(run, pod.history).state_before == {"n": 0}
    assert commit.commit(replace(run, run=ID + "2"), pod.history).state_before == AFTER


def test_a_backfill_leaves_the_state(pod: Pod) -> None:
    """The data and the record of a backfill are stored, the state is not, also by a second attempt; the record has the dates."""
    pod.history.save_state("p", BEFORE)
    run = replace(pod.run, backfill={"from": "2024-01-01", "to": None})
    for _ in range(2):
        record = commit.commit(run, pod.history)
        assert (record.status, record.backfill, record.state_after, record.state_printed) == ("succeeded", run.backfill, BEFORE, True)
        assert pod.data() == {f"p/{ID}/s.csv": b"a\n1\n"}
    assert pod.history.state("p") == BEFORE
    assert pod.history.read("p", ID) == record
    assert len(pod.history.state_versions("p")) == 1


def test_a_second_attempt_replaces_the_first_ones_data(pod: Pod) -> None:
    """What an earlier attempt of this run has stored goes; other runs' data stays."""
    bucket = pod.buckets.settings.bucket_outputs
    pod.store.put(bucket, f"p/{ID}/old.csv", b"half")
    pod.store.put(bucket, "p/other/s.csv", b"whole")
    commit.commit(pod.run, pod.history)
    assert pod.data() == {f"p/{ID}/s.csv": b"a\n1\n", "p/other/s.csv": b"whole"}


@pytest.mark.parametrize("state_moved", [True, False], ids=["killed after the state", "killed before the state"])
def test_an_attempt_after_a_commit_changes_nothing(pod: Pod, *, state_moved: bool) -> None:
    """Killed after its record was written, a run is only finished, not done again: the data of the first attempt stays."""
    commit.commit(pod.run, pod.history)
    if not state_moved:
        pod.history.reset_state("p")
    pod.write("data/s.csv", "another answer\n")
    pod.write("new_state.json", {"n": 6})
    commit.commit(pod.run, pod.history)
    assert pod.data() == {f"p/{ID}/s.csv": b"a\n1\n"}
    assert pod.history.state("p") == AFTER


def test_a_state_that_somebody_else_has_set_is_not_taken_for_ours(pod: Pod) -> None:
    """Where the state is neither the one before nor the one after, the attempt is an ordinary one."""
    commit.commit(pod.run, pod.history)
    pod.history.save_state("p", {"n": 99})
    pod.write("data/s.csv", "b\n")
    record = commit.commit(pod.run, pod.history)
    assert (record.state_before, pod.history.state("p")) == ({"n": 99}, AFTER)
    assert pod.data() == {f"p/{ID}/s.csv": b"b\n"}


def test_raw_output_is_kept_where_it_is_there(pod: Pod) -> None:
    """Streaming leaves it on the shared folder, staged has put it into the bucket before."""
    pod.write("raw", "said")
    record = commit.commit(pod.run, pod.history)
    assert record.raw == f"raw/p/{ID}/tap_output.txt"
    assert pod.store.get(pod.buckets.settings.bucket_artifacts, record.raw) == b"said"

    (pod.shared / "raw").unlink(missing_ok=True)
    pod.history.save_state("p", {"n": 99})
    assert commit.commit(pod.run, pod.history).raw == record.raw


def test_staged_counts_come_from_the_taps_own_pod(pod: Pod) -> None:
    """Where the tap ran in another pod, its report is the one that this pod has left in the bucket."""
    (pod.shared / "tap.json").unlink()
    pod.left(f"{ID}-extract-1", "tap.json", REPORT)
    assert commit.commit(pod.run, pod.history).records == {"s": 3}
    again = replace(pod.run, run=ID + "2", extracted=ID)
    pod.write("data/s.csv", "a\n1\n")
    loaded = commit.commit(again, pod.history)
    assert (loaded.records, loaded.retry_of) == ({"s": 3}, ID)


def test_a_link_out_of_the_folder_is_refused(pod: Pod) -> None:
    """Nothing but the target's own files is published, and the state does not move."""
    (pod.shared / "data" / "passwd").symlink_to("/etc/passwd")
    with pytest.raises(SetupError, match="passwd") as caught:
        commit.commit(pod.run, pod.history)
    assert caught.value.code == "E-OUTPUTS"
    assert (pod.data(), pod.history.state("p")) == ({}, None)


def test_files_that_outputs_does_not_match_are_published_too(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """Another suffix and a sub-folder are published under their names, and named in a warning."""
    (pod.shared / "data" / "sub").mkdir()
    pod.write("data/log.tsv", "x")
    pod.write("data/sub/t.csv", "y")
    commit.commit(replace(pod.run, globs=("*.csv",)), pod.history)
    assert sorted(pod.data()) == [f"p/{ID}/log.tsv", f"p/{ID}/s.csv", f"p/{ID}/sub/t.csv"]
    assert "does not match 2 files that it left: 'log.tsv', 'sub/t.csv'" in capsys.readouterr().out


def test_a_state_that_the_tap_never_sent_is_named(pod: Pod, capsys: pytest.CaptureFixture[str]) -> None:
    """A warning, because the next run starts from it; the tap's own state, however it is spaced, gives none."""
    digest = hashlib.sha256(json.dumps(AFTER, sort_keys=True).encode()).hexdigest()[:16]
    pod.write("tap.json", {**REPORT, "states": [digest]})
    commit.commit(pod.run, pod.history)
    assert "did not send" not in capsys.readouterr().out
    pod.write("new_state.json", {"n": 6})
    commit.commit(replace(pod.run, run=ID + "2"), pod.history)
    assert "target-x printed a state that the tap did not send" in capsys.readouterr().out


EXACT = '{"id": 12345678901234567890.123456789, "price": 1.10, "list": [1e400, 0.30]}'


@pytest.mark.parametrize("wrapped", ["%s", '{"type": "STATE", "value": %s}', '{"singer_state": %s}'])
def test_a_state_keeps_every_digit(pod: Pod, wrapped: str) -> None:
    """What is stored are the digits that the target printed, also after a commit that was killed before its state."""
    pod.write("new_state.json", wrapped % EXACT)
    bucket, key = pod.buckets.settings.bucket_configs, "pipelines/p/state.json"
    commit.commit(pod.run, pod.history)
    assert pod.store.get(bucket, key) == EXACT.encode()
    pod.history.reset_state("p")
    commit.commit(pod.run, pod.history)
    assert pod.store.get(bucket, key) == EXACT.encode()


# ------------------------------------------------------------------------------------------------------------ progress


def test_a_state_whose_rows_are_safe_is_kept(pod: Pod) -> None:
    """A database's printed state is stored while the run is under way, survives a failure, and is where the next attempt starts."""
    pod.history.save_state("p", BEFORE)
    (pod.shared / "data" / "s.csv").unlink()
    run = replace(pod.run, safe_states=None)
    journal = commit.attempt(run, pod.history)
    assert pod.history.read("p", ID) == journal.record
    assert journal.record.status == "running"
    pod.write("safe_state.json", {"n": 3})
    journal.keep()
    assert pod.history.state("p") == {"n": 3}
    record = commit.failed(replace(pod.failed("pod deleted"), safe_states=None), pod.history)
    assert (record.status, record.state_before, record.state_after, record.state_kept) == ("failed", BEFORE, {"n": 3}, {"n": 3})
    assert "The state has moved on as far as rows are safe" in (record.error or {})["hint"]
    record = commit.commit(run, pod.history)
    assert (record.status, record.state_before, record.state_after, pod.history.state("p")) == ("succeeded", BEFORE, AFTER, AFTER)


@pytest.mark.parametrize("safe", [False, None])
def test_a_state_of_files_is_not_kept(pod: Pod, safe: bool | None) -> None:  # noqa: FBT001 - a case's value
    """Files in the target's folder are lost when the run fails: their state does not move, unless they are published."""
    pod.history.save_state("p", BEFORE)
    journal = commit.attempt(replace(pod.run, safe_states=safe), pod.history)
    pod.write("safe_state.json", {"n": 3})
    journal.keep(last=True)
    journal.fail("failed")
    assert (pod.history.state("p"), journal.record.state_after) == (BEFORE, BEFORE)


def test_files_that_the_target_takes_along_are_none_of_its_own(pod: Pod) -> None:
    """A database's certificate, linked into the working folder, does not make it a target that leaves files; any other link does."""
    (pod.shared / "data" / "s.csv").unlink()
    link = pod.shared / "data" / "certificates" / "ca.pem"
    link.parent.mkdir()
    link.symlink_to("/singer/in/target/files/certificates/ca.pem")
    assert not has_files(pod.shared / "data")
    link.rename(link.with_name("other.pem"))
    assert has_files(pod.shared / "data")


def test_published_files_do_not_make_their_state_safe(pod: Pod) -> None:
    """A store may move files: a run that fails after its files were published, before its record, keeps the old state."""
    pod.history.save_state("p", BEFORE)
    journal = commit.attempt(replace(pod.run, safe_states=None), pod.history)
    pod.write("safe_state.json", {"n": 3})
    journal.publish(pod.shared / "data", ("**/*",))
    journal.fail("failed")
    assert (pod.history.state("p"), pod.data()) == (BEFORE, {})


def test_a_backfill_keeps_no_state(pod: Pod) -> None:
    """Also not while it is under way."""
    (pod.shared / "data" / "s.csv").unlink()
    journal = commit.attempt(replace(pod.run, safe_states=True, backfill={"from": "2024-01-01", "to": None}), pod.history)
    pod.write("safe_state.json", {"n": 3})
    journal.keep(last=True)
    assert pod.history.state("p") is None


def test_another_engines_buckets_are_left_alone(pod: Pod) -> None:
    """States of the local engine are not ours to move."""
    pod.store.put(pod.buckets.settings.bucket_configs, "owner.json", b'{"engine": "local"}')
    with pytest.raises(SetupError, match="belongs to the engine local"):
        commit.commit(pod.run, pod.history)
    assert pod.data() == {}


# ------------------------------------------------------------------------------------------------------------ failures

FAILURES = [
    ("a tap", {"tap.json": {**REPORT, "exit_code": 3}, "tap.log": "ERROR ValueError: no such base"}, "E-TAP-FAILED", 'exit code 3: "ValueError: no such base"'),
    ("a silent tap", {"tap.json": {**REPORT, "exit_code": 3}}, "E-TAP-FAILED", "its log is empty"),
    ("an error that the entrypoint found", {"tap.json": {**REPORT, "exit_code": 90, "error": {"code": "E-SECRET", "problem": "config.json asks for ${X}", "hint": "Set X."}}}, "E-SECRET", r"asks for \$"),
    ("a target", {"tap.json": {**REPORT, "exit_code": 90, "error": {"code": "E-TARGET-ENDED", "problem": "The target ended", "hint": "See."}}, "target.json": {"side": "target", "exit_code": 7}, "target.log": "no space"}, "E-TARGET-FAILED", "target-x ended with exit code 7"),
    ("a target that could not begin", {"tap.json": {**REPORT, "exit_code": 90, "error": {"code": "E-PIPE", "problem": "No process reads", "hint": "See."}}, "target.json": {"side": "target", "exit_code": 90, "error": {"code": "E-CONFIG", "problem": "The config.json is not valid JSON", "hint": "Correct it."}}}, "E-CONFIG", "not valid JSON"),
    ("a runner that was killed", {"tap.json": {**REPORT, "exit_code": None}}, "E-RUNNER", "The runner of tap-x was killed from outside"),
    ("the commit", {"tap.json": REPORT, "target.json": REPORT, "main.json": {"error": {"code": "E-STORE", "problem": "S3 refuses", "hint": "See."}}}, "E-STORE", "S3 refuses"),
    ("a staged tap", {"tap.json": {**REPORT, "exit_code": 3}, "main.log": "WARNING deep trouble"}, "E-TAP-FAILED", "deep trouble"),
]  # fmt: skip


@pytest.mark.parametrize(("files", "code", "says"), [case[1:] for case in FAILURES], ids=[case[0] for case in FAILURES])
def test_a_failed_run_is_explained(pod: Pod, files: dict[str, Any], code: str, says: str) -> None:
    """Its record has the sentence that the local engine would have found, from what the pod has left."""
    pod.history.save_state("p", BEFORE)
    pod.store.put(pod.buckets.settings.bucket_outputs, f"p/{ID}/half.csv", b"half")
    for name, content in files.items():
        pod.left("pod-1", name, content)
    record = commit.failed(pod.failed("main: Error (exit code 1)", pod="pod-1"), pod.history)

    assert record.error is not None
    assert record.error["code"] == code
    assert re.search(says, record.error["problem"])
    assert "State and earlier files are unchanged." in record.error["hint"]
    assert (record.status, record.state_before, record.state_after) == ("failed", BEFORE, BEFORE)
    assert pod.history.read("p", ID) == record
    assert (pod.data(), pod.history.state("p")) == ({}, BEFORE)


@pytest.mark.parametrize(
    ("message", "status", "code"),
    [
        ("Stopped with strategy 'Stop'", "interrupted", "E-CANCELLED"),
        ("Pod was active on the node longer than the specified deadline", "failed", "E-TIMEOUT"),
        ("Max duration limit exceeded", "failed", "E-TIMEOUT"),
        ("timeout", "failed", "E-POD"),
        ("pod deleted", "failed", "E-RUNNER"),
        ("supervisor: Error (exit code 64): artifact tap-config failed to load: The specified key does not exist.", "failed", "E-CONFIG"),
        ("wait: artifact state failed to load: dial tcp 10.96.9.9:9000: connect: connection refused", "failed", "E-STORE"),
        ("", "failed", "E-RUNNER"),
    ],
)
def test_a_pod_that_left_nothing(pod: Pod, message: str, status: str, code: str) -> None:
    """If there is no report, Argo's message about the pod is what is known; an earlier attempt's report is not used."""
    pod.left("pod-1", "tap.json", {**REPORT, "exit_code": 3})
    record = commit.failed(pod.failed(message, pod="pod-2"), pod.history)
    assert (record.status, (record.error or {}).get("code")) == (status, code)


def test_a_runner_that_was_killed_before_it_could_report(pod: Pod) -> None:
    """What the container beside it has seen of its end is enough to name the side and the signal."""
    pod.left("pod-1", "target.json", {**REPORT, "side": "target"})
    pod.left("pod-1", "main.json", {"ended": {"tap": 137}})
    record = commit.failed(pod.failed("main: Error (exit code 1)", pod="pod-1"), pod.history)
    assert record.error is not None
    assert record.error["problem"] == "The runner of tap-x was killed from outside (exit code 137)."


def test_a_side_that_was_ended_for_the_other_is_not_the_cause(pod: Pod) -> None:
    """The error names what failed, not the side that Argo has ended because of it, whether that could still report or not."""
    for code in (None, 143):
        pod.left("pod-1", "tap.json", {**REPORT, "exit_code": code})
        pod.left("pod-1", "target.json", {**REPORT, "side": "target", "exit_code": 137})
        pod.left("pod-1", "main.json", {"ended": {"target": 137}})
        record = commit.failed(pod.failed("main: Error (exit code 1)", pod="pod-1"), pod.history)
        assert record.error is not None
        assert record.error["problem"].startswith("target-x ended with exit code 137 (killed, perhaps out of memory)"), record.error


def test_a_container_that_could_not_be_started_is_the_cause(pod: Pod) -> None:
    """If the container runtime could not start one container, Argo ends the others; its words are shown, and no side is blamed."""
    messages = ("tap: StartError (exit code 128): failed to create containerd task", "main: Error (exit code 65): context canceled")
    pod.left("pod-1", "target.json", {**REPORT, "side": "target", "exit_code": None})
    record = commit.failed(pod.failed(*messages, pod="pod-1"), pod.history)
    assert record.error is not None
    assert (record.error["code"], "StartError (exit code 128)" in record.error["problem"]) == ("E-POD", True), record.error
    pod.left("pod-1", "target.json", {**REPORT, "side": "target", "exit_code": 7})
    record = commit.failed(pod.failed(*messages, pod="pod-1"), pod.history)
    assert record.error is not None
    assert record.error["code"] == "E-TARGET-FAILED"


def test_a_deleted_pod_is_not_blamed_on_memory(pod: Pod) -> None:
    """Containers of a pod that somebody deletes are killed; the record names the deletion, not what the kill looks like."""
    pod.left("pod-1", "target.json", {**REPORT, "side": "target", "exit_code": None})
    pod.left("pod-1", "main.json", {"ended": {"target": 137}})
    record = commit.failed(pod.failed("pod deleted", pod="pod-1"), pod.history)
    assert record.error is not None
    assert (record.error["code"], record.error["problem"]) == ("E-RUNNER", "The pod of p was deleted during the run.")
    assert "memory" not in record.error["hint"]


LIMITS = {
    "main: OOMKilled (exit code 137)": ("E-RUNNER", "ran out of memory (main: OOMKilled (exit code 137))."),
    "tap: StartError (exit code 128): container init was OOM-killed (memory limit too low?)": ("E-POD", "ran out of memory"),
    "tap: StartError (exit code 128): ": ("E-POD", "without a reason. A memory limit that is too low can cause this."),
}


@pytest.mark.parametrize("message", LIMITS)
def test_a_container_that_a_small_memory_limit_kills(pod: Pod, message: str) -> None:
    """For every container runtime's name for it, the user reads a whole sentence that names memory."""
    record = commit.failed(pod.failed(message, pod="pod-1"), pod.history)
    assert record.error is not None
    code, problem = LIMITS[message]
    assert record.error["code"] == code
    assert problem in record.error["problem"]
    assert record.error["problem"].endswith(".")


def test_a_success_is_never_overwritten(pod: Pod) -> None:
    """The record of a success stays, and its data and state too; a state that is still missing is saved."""
    commit.commit(pod.run, pod.history)
    assert commit.failed(pod.failed("pod deleted"), pod.history).status == "succeeded"
    pod.history.reset_state("p")
    assert commit.failed(pod.failed("pod deleted"), pod.history).status == "succeeded"
    assert pod.history.state("p") == AFTER
    pod.history.save_state("p", {"n": 99})
    assert commit.failed(pod.failed("pod deleted"), pod.history).status == "succeeded"
    assert (pod.history.state("p"), len(pod.data())) == ({"n": 99}, 1)


@pytest.fixture
def loaded(pod: Pod) -> Pod:
    """Return a run that is committed and has a transform before it."""
    pod.run = replace(pod.run, transform=Side("dbt-x", "3.0"))
    commit.commit(pod.run, pod.history)
    return pod


def test_a_run_with_a_transform_is_open_until_that_has_ended(loaded: Pod) -> None:
    """After the commit data and state are there and the record is running; the exit handler closes it, once."""
    record = loaded.history.read("p", ID)
    assert record is not None
    assert (record.status, record.loaded, record.finished, record.state_after) == ("running", True, None, AFTER)
    assert commit.commit(loaded.run, loaded.history) == record
    for _ in range(2):
        assert commit.finish(replace(loaded.run, status="Succeeded"), loaded.history, {}) == 0
    record = loaded.history.read("p", ID)
    assert record is not None
    assert (record.status, record.loaded, record.transform, record.error) == ("succeeded", True, Side("dbt-x", "3.0", 0), None)
    assert record.finished
    assert loaded.history.state("p") == AFTER


@pytest.mark.parametrize(
    ("report", "messages", "status", "code", "says"),
    [
        (
            {"exit_code": 1},
            ("Error (exit code 1)",),
            "failed",
            "E-TRANSFORM-FAILED",
            'dbt-x ended with exit code 1: "test unique_x (models/x.yml): Got 1 result"',
        ),
        (None, ("Error (exit code 137): OOMKilled",), "failed", "E-RUNNER", "OOMKilled"),
        (None, ("workflow shutdown with strategy:  Stop",), "interrupted", "E-CANCELLED", "was stopped"),
        (None, ("Pod was active on the node longer than the specified deadline",), "failed", "E-TIMEOUT", "longer than its timeout"),
    ],
    ids=["it failed", "it was killed", "cancelled", "it took too long"],
)
def test_a_transform_that_did_not_end_well(
    loaded: Pod, report: dict[str, Any] | None, messages: tuple[str, ...], status: str, code: str, says: str
) -> None:
    """The run's record has the reason, and that all is loaded: data and state are as the commit has left them."""
    log = "10:00:00  Failure in test unique_x (models/x.yml)\n10:00:00    Got 1 result\n10:00:00\n10:00:00  Done. PASS=1 WARN=0\n"
    if report is not None:
        loaded.left(f"{ID}-transform-1", "transform.json", {"side": "transform", **report})
        loaded.left(f"{ID}-transform-1", "main.log", log)
    for _ in range(2):
        assert commit.finish(loaded.failed(*messages, pod=f"{ID}-transform-1"), loaded.history, {}, pauses=()) == 0
    record = loaded.history.read("p", ID)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error["code"], record.loaded, record.state_after) == (status, code, True, AFTER)
    assert says in record.error["problem"]
    assert "The data is loaded and the state has moved on" in record.error["hint"]
    assert "unchanged" not in record.error["hint"]
    assert record.transform is not None
    assert record.transform.exit_code == (report or {}).get("exit_code")
    assert loaded.history.state("p") == AFTER
    assert loaded.data() == {f"p/{ID}/s.csv": b"a\n1\n"}


def test_a_load_that_failed_has_not_come_to_its_transform(pod: Pod) -> None:
    """The record of a run whose tap failed names the transform without an exit code, and the tap as the cause."""
    pod.run = replace(pod.run, transform=Side("dbt-x", "3.0"))
    pod.left(f"{ID}-run-1", "tap.json", {"side": "tap", "exit_code": 1, "error": None})
    pod.left(f"{ID}-run-1", "tap.log", "no\n")
    record = commit.failed(pod.failed("Error (exit code 1)", pod=f"{ID}-run-1"), pod.history)
    assert record.error is not None
    assert (record.error["code"], record.loaded, record.transform) == ("E-TAP-FAILED", False, Side("dbt-x", "3.0"))
    assert pod.history.state("p") is None


PARTS = Plan(tuple(Part(name, (name,)) for name in "abcd"), at_once=2, full=True, retry_of="20261123t081501-2bcd")


def of_part(pod: Pod, index: int, mark: int) -> tuple[commit.Run, History]:
    """Return the run as the pod of a part sees it, whose target has printed a bookmark."""
    name = PARTS.parts[index].name
    pod.store.put(pod.buckets.settings.bucket_configs, PARTS.key, PARTS.data())
    pod.write("tap.json", {**REPORT, "records": {name: 3}, "bytes": {name: 30}})
    pod.write("data/s.csv", name)
    pod.write("new_state.json", {"bookmarks": {name: {"n": mark}}})
    return commit.of_part(replace(pod.run, plan=PARTS.key, index=index, after=("tap", "target")), pod.history)


def test_parts_commit_by_themselves(pod: Pod) -> None:
    """Each stores its files, its record and its bookmarks; the run's record sums them up at the end."""
    pod.history.save_state("p", {"bookmarks": {"b": {"n": 1}, "z": {"n": 9}}})
    for index in (0, 3, 2, 1):
        commit.commit(*of_part(pod, index, index + 5))
    marks = {"a": {"n": 5}, "b": {"n": 6}, "c": {"n": 7}, "d": {"n": 8}, "z": {"n": 9}}
    assert pod.history.state("p") == {"bookmarks": marks}
    assert pod.data() == {f"p/{ID}/{name}/s.csv": name.encode() for name in "abcd"}
    running = pod.history.read("p", ID)
    assert running is not None
    assert (running.status, running.records) == ("running", dict.fromkeys("abcd", 3))

    assert commit.finish(replace(pod.run, plan=PARTS.key, status="Succeeded"), pod.history, {}) == 0
    record = pod.history.read("p", ID)
    assert record is not None
    assert (record.status, record.loaded, record.full, record.tap.exit_code) == ("succeeded", True, True, 0)
    assert (record.at_once, record.retry_of) == (2, PARTS.retry_of)
    assert (record.state_before, record.state_after) == ({"bookmarks": {"b": {"n": 1}, "z": {"n": 9}}}, {"bookmarks": marks})
    assert [item["status"] for item in record.parts or ()] == ["succeeded"] * 4


class Watched:
    """A store that remembers what was read."""

    def __init__(self, store: Any) -> None:
        """Take the store."""
        self.store = store
        self.keys: list[str] = []

    def __getattr__(self, name: str) -> Any:
        """Do all else as the store does."""
        return getattr(self.store, name)

    def get(self, bucket: str, key: str) -> bytes | None:
        """Read, and remember it."""
        self.keys.append(key)
        return self.store.get(bucket, key)  # type: ignore[no-any-return]


def test_a_pod_reads_no_record_of_another_part(pod: Pod) -> None:
    """What a pod reads does not grow with the number of parts: of a thousand, each would read a thousand records."""
    commit.commit(*of_part(pod, 0, 5))
    watched = Watched(pod.store)
    pod.history = History(watched, pod.buckets.settings)  # type: ignore[arg-type]
    commit.commit(*of_part(pod, 1, 5))
    assert [key for key in watched.keys if key.startswith("parts/") and "/b.json" not in key] == []
    assert pod.history.state("p") == {"bookmarks": {"a": {"n": 5}, "b": {"n": 5}}}


def test_the_end_of_many_parts_that_are_all_loaded(pod: Pod) -> None:
    """The exit handler reads what the parts have recorded, to check and to sum up, and nothing that their pods have left."""
    for index in range(4):
        commit.commit(*of_part(pod, index, 5))
        pod.left(f"{ID}-run-{index}", "tap.json", {"part": PARTS.parts[index].name})
    watched = Watched(pod.store)
    end = replace(pod.run, plan=PARTS.key, status="Succeeded")
    assert commit.finish(end, History(watched, pod.buckets.settings), {}) == 0  # type: ignore[arg-type]
    assert max(watched.keys.count(key) for key in watched.keys if key.startswith("parts/")) == 2
    assert [key for key in watched.keys if key.startswith("workflows/")] == []


def test_a_transform_after_many_parts(pod: Pod) -> None:
    """The exit handler looks for its failure in its own pods alone."""
    pod.run = replace(pod.run, transform=Side("dbt-x", "3.0"))
    for index in range(4):
        commit.commit(*of_part(pod, index, 5))
        pod.left(f"{ID}-run-{index}", "tap.json", {"part": PARTS.parts[index].name})
    pod.left(f"{ID}-transform-1", "transform.json", {"side": "transform", "exit_code": 1})
    watched = Watched(pod.store)
    end = replace(pod.failed("Error (exit code 1)", pod=f"{ID}-transform-1"), plan=PARTS.key)
    assert commit.finish(end, History(watched, pod.buckets.settings), {}, ()) == 0  # type: ignore[arg-type]
    record = pod.history.read("p", ID)
    assert record is not None
    assert ((record.error or {})["code"], record.done) == ("E-TRANSFORM-FAILED", 4)
    assert [key for key in watched.keys if "-run-" in key] == []


def test_parts_that_end_in_the_same_second(pod: Pod, tmp_path: Path) -> None:
    """All commit at the same moment: no bookmark is lost, each has its files, and the bookmarks of other streams stay."""
    pod.history.save_state("p", {"bookmarks": {"z": {"n": 9}}})
    begin = threading.Barrier(4)
    views = []
    for index, name in enumerate("abcd"):
        run, history = of_part(pod, index, 5)
        shutil.copytree(pod.shared, tmp_path / name)
        views.append((replace(run, shared=tmp_path / name), history))

    def end(view: tuple[commit.Run, History]) -> None:
        begin.wait(60)
        commit.commit(*view)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(end, views))
    assert pod.history.state("p") == {"bookmarks": {name: {"n": 5} for name in "abcd"} | {"z": {"n": 9}}}
    assert pod.data() == {f"p/{ID}/{name}/s.csv": name.encode() for name in "abcd"}
    assert commit.finish(replace(pod.run, plan=PARTS.key, status="Succeeded"), pod.history, {}) == 0
    record = pod.history.read("p", ID)
    assert record is not None
    assert (record.status, record.done, record.state_after) == ("succeeded", 4, pod.history.state("p"))


def test_a_part_that_failed_and_one_that_was_killed(pod: Pod, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A part explains its failure by itself; one that could not is explained by what Argo reports. The others stay."""
    monkeypatch.setattr(commit, "CONTAINERS", tmp_path)
    (tmp_path / "tap").mkdir()
    (tmp_path / "tap" / "combined").write_text("ValueError: no such base", encoding="utf-8")
    commit.commit(*of_part(pod, 0, 5))
    run, history = of_part(pod, 1, 5)
    pod.write("tap.json", {**REPORT, "exit_code": 1})
    assert commit.try_commit(run, history, commit.attempt(run, history), lambda **_: None) == 1
    killed, view = of_part(pod, 2, 5)
    commit.attempt(killed, view)
    pod.left("pod-4", "tap.json", {**REPORT, "exit_code": 3, "part": "d"})
    pod.left("pod-4", "tap.log", "KeyError: 7")

    commit.finish(replace(pod.failed("main: OOMKilled (exit code 137)"), plan=PARTS.key), pod.history, {}, ())
    record = pod.history.read("p", ID)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error["code"]) == ("failed", "E-TAP-FAILED")
    assert 'Part b: tap-x ended with exit code 1: "ValueError: no such base"' in record.error["problem"]
    assert "2 more parts of 4 did not succeed" in record.error["problem"]
    assert [(item["status"], (item["error"] or {}).get("code")) for item in record.parts or ()] == [
        ("succeeded", None),
        ("failed", "E-TAP-FAILED"),
        ("interrupted", "E-RUNNER"),
        ("failed", "E-TAP-FAILED"),
    ]
    assert "KeyError: 7" in (record.parts or [])[3]["error"]["problem"]
    assert (pod.history.state("p"), pod.data()) == ({"bookmarks": {"a": {"n": 5}}}, {f"p/{ID}/a/s.csv": b"a"})


def test_a_part_whose_commit_was_stopped_after_its_tap_failed(pod: Pod) -> None:
    """Argo stops the commit when a side fails, perhaps before it knows why: the error is the side's, and the run has failed."""
    commit.commit(*of_part(pod, 0, 5))
    run, history = of_part(pod, 1, 5)
    commit.attempt(run, history).fail("interrupted", commit.STOPPED)
    pod.left("pod-2", "tap.json", {**REPORT, "exit_code": 1, "part": "b"})
    pod.left("pod-2", "tap.log", "KeyError: 7")
    commit.finish(replace(pod.failed("Error (exit code 1)", pod="pod-2"), plan=PARTS.key), pod.history, {}, ())
    record = pod.history.read("p", ID)
    assert record is not None
    assert (record.status, (record.error or {}).get("code")) == ("failed", "E-TAP-FAILED")
    assert "KeyError: 7" in (record.parts or [])[1]["error"]["problem"]
    failures = ({"displayName": "rest(1:1)(0)", "podName": "pod-2"},)
    assert commit.last_log(replace(pod.run, failures=failures), pod.history, record) == b"KeyError: 7"


def test_a_part_that_took_too_long(pod: Pod) -> None:
    """Its pod is killed for the timeout, and leaves no report: the part is not reported as stopped."""
    commit.commit(*of_part(pod, 0, 5))
    run, history = of_part(pod, 2, 5)
    commit.attempt(run, history).fail("interrupted", commit.STOPPED)
    message = "Pod was active on the node longer than the specified deadline"
    ended = replace(pod.failed(message, pod="pod-c"), plan=PARTS.key)
    ended = replace(ended, failures=tuple({**node, "displayName": "rest(1:2)(0)"} for node in ended.failures))
    commit.finish(ended, pod.history, {}, ())
    record = pod.history.read("p", ID)
    assert record is not None
    assert record.error is not None
    assert (record.status, record.error["code"], (record.parts or [])[2]["status"]) == ("failed", "E-TIMEOUT", "failed")
    assert record.error["problem"].startswith("Part c: p was stopped: it took longer than its timeout.")


def test_a_stopped_part_of_which_argo_says_nothing(pod: Pod) -> None:
    """Of very many parts, Argo's list is cut off: those that are not in it were stopped too, when the run was."""
    commit.commit(*of_part(pod, 0, 5))
    run, history = of_part(pod, 2, 5)
    commit.attempt(run, history)
    pod.left("pod-3", "tap.json", {**REPORT, "exit_code": 143, "part": "c"})
    seen, view = of_part(pod, 3, 5)  # its main has seen that its tap was stopped
    killed = RunError("E-RUNNER", "The runner of tap-x was killed from outside (exit code 143).", hint="Run it again.")
    commit.attempt(seen, view).fail("failed", killed.as_dict())
    pod.left("pod-4", "tap.json", {**REPORT, "exit_code": 143, "part": "d"})
    stopped = replace(pod.failed("pod deleted", pod="pod-x"), plan=PARTS.key, stopped=True)
    commit.finish(stopped, pod.history, {}, ())
    record = pod.history.read("p", ID)
    assert record is not None
    assert (record.status, record.error["code"] if record.error else "") == ("interrupted", "E-CANCELLED")
    assert [item["status"] for item in record.parts or ()] == ["succeeded", "waiting", "interrupted", "interrupted"]


def test_a_bookmark_that_was_not_merged_follows(pod: Pod) -> None:
    """A pod that was killed between its record and its bookmarks is not behind for ever: the exit handler merges them."""
    commit.commit(*of_part(pod, 0, 5))
    pod.history.reset_state("p")
    commit.finish(replace(pod.failed("x"), plan=PARTS.key), pod.history, {}, ())
    assert pod.history.state("p") == {"bookmarks": {"a": {"n": 5}}}


def test_what_argo_says_of_many_failures_is_cut_off() -> None:
    """A variable of a pod holds 128 KiB, so the list may end anywhere: its beginning is read."""
    nodes = [{"message": f'it said "{number}"', "podName": f"pod-{number}", "finishedAt": str(number)} for number in range(5)]
    text = json.dumps(json.dumps(nodes))
    for end in range(len(text)):
        assert commit.failures(text[:end]) == nodes[: len(commit.failures(text[:end]))]
    assert len(commit.failures(text[:-5])) == 4


def test_what_argo_says_of_failures_is_read() -> None:
    """A JSON list in a JSON string, in the order in which the nodes ended; nothing where nothing failed."""
    nodes = [{"message": "second", "finishedAt": "2"}, {"message": "first", "finishedAt": "1"}]
    assert [node["message"] for node in commit.failures(json.dumps(json.dumps(nodes)))] == ["first", "second"]
    assert commit.failures(json.dumps(nodes))[0]["message"] == "first"
    assert [commit.failures(text) for text in ('"null"', "null", "", "{{workflow.failures}}")] == [[], [], [], []]


# ----------------------------------------------------------------------------------------------------- the other sides

HOLDER = "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); time.sleep(600)"
ENDS = [
    ("both well", {"tap": 0, "target": 0}, {}, {"tap": 0, "target": 0}),
    ("one has failed, the other is under way", {"tap": 3, "target": None}, {}, {"tap": 3}),
    ("one refuses", {"tap": 0, "target": 90}, {}, {"tap": 0, "target": 90}),
    ("a runner that was killed: Argo knows", {"tap": None, "target": 0}, {"tap": "137"}, {"tap": 137, "target": 0}),
    ("a report that could not be written: Argo knows", {"target": 0}, {"tap": "0"}, {"tap": 0, "target": 0}),
    ("Argo's file is not yet whole", {"tap": 0, "target": None}, {"target": ""}, {"tap": 0, "target": None}),
    ("a container that was killed: nobody knows", {"tap": None, "target": 0}, {}, {"tap": None, "target": 0}),
    ("never begun", {"target": 0}, {}, {"tap": None, "target": 0}),
]


@pytest.mark.parametrize(("reports", "codes", "expected"), [case[1:] for case in ENDS], ids=[case[0] for case in ENDS])
def test_how_the_sides_have_ended(
    pod: Pod, tmp_path: Path, reports: dict[str, int | None], codes: dict[str, str], expected: dict[str, int | None]
) -> None:
    """The commit goes on when both sides have succeeded or one has failed, and learns how from any file that is left of them."""
    for side in ("tap", "target"):
        (pod.shared / f"{side}.json").unlink()
        if side in reports:
            pod.write(f"{side}.json", {**REPORT, "exit_code": reports[side]})
            pod.write(f"{side}.lock", "")
        (tmp_path / "ctr" / side).mkdir(parents=True)
        if side in codes:
            (tmp_path / "ctr" / side / "exitcode").write_text(codes[side], encoding="utf-8")
    run = replace(pod.run, after=("tap", "target"))
    assert commit.ends(run, tmp_path / "ctr", start=0.1, lost=0.1, other=0) == expected


def test_a_side_that_is_running_is_waited_for(pod: Pod, tmp_path: Path) -> None:
    """As long as a side holds its lock it lives, however long it takes; killed, it is lost."""
    pod.write("tap.json", {**REPORT, "exit_code": None})
    run = replace(pod.run, after=("tap", "target"))
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(pod.shared / "tap.lock")], stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        began = time.monotonic()

        def look() -> None:
            if time.monotonic() - began > 1:
                holder.kill()

        assert commit.ends(run, tmp_path, start=0.2, lost=0.2, look=look) == {"tap": None, "target": 0}
        assert time.monotonic() - began > 1


def test_a_side_that_comes_late_is_not_lost(pod: Pod, tmp_path: Path) -> None:
    """On a busy node a side may begin long after the commit: its lock is given its time from when it is there."""
    (pod.shared / "tap.json").unlink()
    run = replace(pod.run, after=("tap", "target"))
    lost, began = 1.0, time.monotonic()

    def look() -> None:
        if (pod.shared / "tap.lock").exists():
            pod.write("tap.json", {**REPORT, "exit_code": 0})
        elif time.monotonic() - began > lost:
            pod.write("tap.lock", "")

    assert commit.ends(run, tmp_path, start=60, lost=lost, look=look) == {"tap": 0, "target": 0}


def test_the_other_side_may_end_by_itself(pod: Pod, tmp_path: Path) -> None:
    """Where one side has failed the other has a moment to tell how it ended: it may be the cause."""
    (pod.shared / "target.json").unlink()
    pod.write("target.lock", "")
    pod.write("tap.json", {**REPORT, "exit_code": 3})
    run = replace(pod.run, after=("tap", "target"))
    looks: list[int] = []

    def look() -> None:
        looks.append(1)
        if len(looks) == 3:
            pod.write("target.json", {**REPORT, "side": "target", "exit_code": 7})

    assert commit.ends(run, tmp_path, lost=60, other=60, look=look) == {"tap": 3, "target": 7}
    assert len(looks) == 3


# --------------------------------------------------------------------------------------------------------- the program


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """Return a folder with what the image has, and nothing else."""
    for name in images.COMMIT_FILES[2:]:
        copy = tmp_path / "image" / Path(name).relative_to("singer-containers" if name.startswith("singer") else ".")
        copy.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy2)(ROOT / name, copy)
    return tmp_path / "image"


def program(image: Path, buckets: Buckets, shared: Path, command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run the program as the template does."""
    settings = buckets.settings
    variables = {
        "SINGER_PIPELINE": "p",
        "SINGER_RUN": ID,
        "SINGER_STARTED": "2026-11-24T08:15:01Z",
        "SINGER_TAP": "tap-x",
        "SINGER_TARGET": "target-x",
        "SINGER_SHARED": str(shared),
        "SINGER_S3_ENDPOINT": settings.s3_endpoint,
        "SINGER_BUCKET_CONFIGS": settings.bucket_configs,
        "SINGER_BUCKET_ARTIFACTS": settings.bucket_artifacts,
        "SINGER_BUCKET_OUTPUTS": settings.bucket_outputs,
        **buckets.environ,
        **environ,
    }
    start = f"import sys; sys.path.insert(0, {str(image)!r}); sys.argv = ['commit.py', {command!r}]; import commit; commit.main()"
    words = [sys.executable, "-P", "-c", start]
    return subprocess.run(words, env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, check=False, timeout=120)


def test_the_program_in_its_image(image: Path, s3: Buckets, tmp_path: Path) -> None:
    """With the files of its image alone it commits a run, and ends a failed one."""
    pod = Pod(s3, tmp_path)
    done = program(image, s3, pod.shared, "commit")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "3 records, 30 bytes, 1 file, state moved\n"
    assert pod.history.state("p") == AFTER

    pod.left("pod-1", "tap.json", {**REPORT, "exit_code": 3}, ID + "2")
    failures = json.dumps(json.dumps([{"message": "no", "podName": "pod-1"}]))
    ended = program(image, s3, pod.shared, "finish", SINGER_STATUS="Failed", SINGER_FAILURES=failures, SINGER_RUN=ID + "2")
    assert (ended.returncode, ended.stderr) == (0, "")
    record = pod.history.read("p", ID + "2")
    assert record is not None
    assert (record.status, (record.error or {})["code"]) == ("failed", "E-TAP-FAILED")
    assert program(image, s3, pod.shared, "nonsense").returncode == 2


def test_a_store_that_is_away(image: Path, minio: Minio, s3: Buckets, tmp_path: Path) -> None:
    """Nothing is lost when the store is down at the commit: it is reported, the state stays, and the next attempt succeeds."""
    pod = Pod(s3, tmp_path)
    minio.stop()
    done = program(image, s3, pod.shared, "commit")
    assert (done.returncode, done.stderr.split()[0]) == (1, "E-STORE")
    assert "Traceback" not in done.stderr
    assert json.loads((pod.shared / "main.json").read_text())["error"]["code"] == "E-STORE"
    minio.restart()
    assert program(image, s3, pod.shared, "commit").returncode == 0
    assert Pod(s3, tmp_path / "again").history.state("p") == AFTER


def test_the_dockerfile_copies_what_the_hash_covers() -> None:
    """Everything that is in the image is in its tag, so that none is ever stale."""
    lines = (ROOT / "singer-containers/Dockerfile.commit").read_text(encoding="utf-8").replace("\\\n", " ").splitlines()
    copies = [line.split()[1:-1] for line in lines if line.startswith("COPY") and not line.startswith(("COPY --from", "COPY ${NETWORK}"))]
    copied = [word for words in copies for word in words]
    assert {"singer-containers/Dockerfile.commit", *copied} == set(images.COMMIT_FILES)


# ------------------------------------------------------------------------------------------------------- notifications


@dataclass
class Hook:
    """A server that takes messages, in the way in which this test wants it to."""

    status: int = 200
    pause: float = 0.0
    got: list[dict[str, Any]] = field(default_factory=list)
    url: str = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Start a server on a free port."""
    hook = Hook()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            time.sleep(hook.pause)
            hook.got.append(body)
            self.send_response(hook.status)
            self.send_header("Location", "http://127.0.0.1:9/")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hook.url = f"http://127.0.0.1:{server.server_port}/secret-path"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hook
    server.shutdown()
    server.server_close()
    thread.join()


def tell(url: str, folder: Path, seconds: float = 60.0) -> bool:
    """Send a message about a failed run to an address."""
    (folder / "url").write_text(url + "\n", encoding="utf-8")
    error = {"code": "E-TAP-FAILED", "problem": "tap-x ended with exit code 3.", "hint": "See its log."}
    environ = {"SINGER_NOTIFY_FILE": str(folder / "url"), "SINGER_LINK": "http://127.0.0.1:2746/workflows/argo/x"}
    return commit.tell(environ, notify.message("p", ID, error, ["one", "two"], [], environ["SINGER_LINK"]), seconds)


def test_a_message_says_what_failed(hook: Hook, tmp_path: Path) -> None:
    """Pipeline, run, error, last lines and link arrive, for programs and as a text for people."""
    assert tell(hook.url, tmp_path)
    [got] = hook.got
    assert (got["pipeline"], got["run"], got["status"], got["error"]["code"], got["log"]) == (
        "p",
        ID,
        "failed",
        "E-TAP-FAILED",
        ["one", "two"],
    )
    for part in ("p: run", "E-TAP-FAILED", "→ See its log.", "two", "http://127.0.0.1:2746/"):
        assert part in got["text"]


@pytest.mark.parametrize(
    ("status", "pause", "says"), [(500, 0, "answers 500"), (403, 0, "answers 403"), (302, 0, "answers 302"), (200, 2, "timed out")]
)
def test_a_server_that_refuses_or_sleeps(
    hook: Hook, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, pause: float, says: str
) -> None:
    """What goes wrong is one line that does not repeat the address, and is nobody else's trouble."""
    hook.status, hook.pause = status, pause
    assert not tell(hook.url, tmp_path, seconds=0.5 if pause else 60)
    printed = capsys.readouterr().err
    assert says in printed
    assert "secret-path" not in printed


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/secret-path", "file:///etc/secret-path", "secret-path", "http://[secret-path", "", "http://a b/secret-path"]
)
def test_an_address_that_is_none(tmp_path: Path, capsys: pytest.CaptureFixture[str], url: str) -> None:
    """A server that is down and an address that is none are reported; without an address there is no message."""
    assert not tell(url, tmp_path)
    printed = capsys.readouterr().err
    assert bool(printed) is bool(url)
    assert "secret-path" not in printed


def test_the_message_never_changes_the_result(hook: Hook, buckets: Buckets, tmp_path: Path) -> None:
    """The record is written first, and the exit code is the record's, for any answer of the server."""
    hook.status = 500
    pod = Pod(buckets, tmp_path)
    (tmp_path / "url").write_text(hook.url, encoding="utf-8")
    environ = {"SINGER_NOTIFY_FILE": str(tmp_path / "url")}
    assert commit.finish(pod.failed("pod deleted"), pod.history, environ, pauses=()) == 0
    assert len(hook.got) == 1
    assert commit.finish(replace(pod.run, status="Succeeded"), pod.history, environ, pauses=()) == 0
    assert len(hook.got) == 1
    assert commit.finish(replace(pod.run, status="Succeeded"), pod.history, {**environ, "SINGER_NOTIFY": "always"}, pauses=()) == 0
    assert hook.got[1]["status"] == "succeeded"
    assert commit.finish(pod.failed("pod deleted"), pod.history, {**environ, "SINGER_NOTIFY": "never"}, pauses=()) == 0
    assert len(hook.got) == 2


@pytest.mark.parametrize(("wanted", "messages"), [("never", 0), ("failure", 0), ("warning", 1), ("always", 1)])
def test_a_message_about_warnings(hook: Hook, buckets: Buckets, tmp_path: Path, wanted: str, messages: int) -> None:
    """A run that succeeds with a warning sends a message if ``notify`` is warning or always."""
    pod = Pod(buckets, tmp_path)
    pod.write("tap.json", {**REPORT, "warnings": ["Stream orders sent nothing."]})
    commit.commit(pod.run, pod.history)
    (tmp_path / "url").write_text(hook.url, encoding="utf-8")
    environ = {"SINGER_NOTIFY_FILE": str(tmp_path / "url"), "SINGER_NOTIFY": wanted}
    assert commit.finish(replace(pod.run, status="Succeeded"), pod.history, environ, pauses=()) == 0
    assert [(got["status"], got["warnings"]) for got in hook.got] == [("succeeded", ["Stream orders sent nothing."])] * messages
