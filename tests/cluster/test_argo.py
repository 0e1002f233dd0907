"""Pipelines in a real cluster: the scenario table on the argo engine, and what only a cluster can do to a run.

All cases of the table are pipelines of one checkout and run in batches; each has a separate state to begin with.
In parts, each case is a separate pipeline too, and those that fail are retried.
"""

from __future__ import annotations

import hashlib
import json
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import Done, argo_checkout, finished, slow
from pod_inbox import inbox
from scenarios import AFTER, BEFORE, CASES, GOOD, HIT, IN_PARTS, MORE, ROWS, SPLIT, STREAMS, Case, Column

from cluster.argo.status import nodes_of
from cluster.platform.credentials import ROOT_SECRET, USER_SECRET
from cluster.platform.steps.storage import policy
from cluster.runs.record import new_run_id
from cluster.store.minio_admin import Admin

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

    from cluster.runs.record import Record

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
BATCH = 4
TIMEOUT = "20s"
PART_TIMEOUT = "45s"
"""That of each part, of which many start together."""
ELSEWHERE = {
    "tap takes too long": "took longer than its timeout",
    "tap that does not listen takes too long": "took longer than its timeout",
}
"""Errors that the argo engine words differently."""


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


def pipeline_of(case: Case, column: Column | None = None) -> str:
    """Return the name of a case's pipeline."""
    return f"{column.name if column else 'case'}-{CASES.index(case):02}"


def chosen(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    """Return the parameters of the tests that this session has chosen."""
    return [item.callspec.params for item in request.session.items if isinstance(item, pytest.Function) and hasattr(item, "callspec")]


@pytest.fixture(scope="module")
def results(argo: Argo, request: pytest.FixtureRequest) -> dict[str, Done]:
    """Run all cases that this session has chosen, a few at a time."""
    cases = [values["case"] for values in chosen(request) if "case" in values and "column" not in values]
    for case in cases:
        name, more = pipeline_of(case), {**case.pipeline}
        if "timeout" in more:
            more["timeout"] = TIMEOUT  # a pod needs longer than a second to begin
        argo.pipeline(name, case.tap, case.target, "tap-discovering" if "discover" in case.capabilities else "tap-scripted", **more)
        argo.set_state(name, BEFORE)
    done: dict[str, Done] = {}
    names = [pipeline_of(case) for case in cases]
    for start in range(0, len(names), BATCH):
        batch = names[start : start + BATCH]
        done |= argo.runs(*batch) if len(batch) > 1 else {batch[0]: argo.one(batch[0])}
    return done


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_scenario(argo: Argo, results: dict[str, Done], case: Case) -> None:
    """A run ends in the cluster as it does on the laptop: same error, same state, same data, and a record of it."""
    name = pipeline_of(case)
    done = results[name]
    record, error = done.record, done.record["error"] or {}
    assert error.get("code", "") == case.error, error or record
    assert done.last["status"] == record["status"] == ("failed" if case.error else "succeeded")
    assert argo.get_state(name) == record["state_after"] == case.state
    assert record["state_before"] == BEFORE
    data = {key: text for key, text in argo.data(name).items() if record["run"] in key}
    if case.error:
        says = ELSEWHERE.get(case.name, case.says)
        assert re.search(says, f"{error['problem']} {error['hint']}"), error
        assert data == {}
    else:
        assert sum(text.count("\n") for text in data.values()) == case.records
        assert record["records"] == ({"s": case.records} if case.records else {})


def together(argo: Argo, commands: dict[str, tuple[str, ...]]) -> dict[str, Done]:
    """Type the commands of pipelines, a few at a time, and return the result of each."""

    def one(words: tuple[str, ...]) -> Done:
        result = argo.type(*words, "--json")
        assert "Traceback" not in result.err, result.err
        return Done(result.last, argo.type("show", result.last["run"], "--json").last)

    with ThreadPoolExecutor(BATCH) as pool:
        return dict(zip(commands, pool.map(one, commands.values()), strict=True))


def write_parts(argo: Argo, column: Column, case: Case, *, corrected: bool = False) -> str:
    """Write the pipeline of a case with parts; corrected, all of its parts load their rows."""
    name, tap = pipeline_of(case, column), "tap-discovering" if "discover" in case.capabilities else "tap-scripted"
    more = {**column.pipeline, **dict.fromkeys(case.pipeline, PART_TIMEOUT)}
    if column is SPLIT:
        streams = [{"tap_stream_id": stream, "stream": stream, "schema": {}, "selected": True} for stream in STREAMS]
        argo.write("own/parts-catalog.json", {"streams": streams})
        more["catalog"] = "own/parts-catalog.json"
    return argo.pipeline(name, *column.configs(None if corrected else case), tap, **more)


@pytest.fixture(scope="module")
def in_parts(argo: Argo, request: pytest.FixtureRequest) -> dict[str, tuple[Done, Done | None]]:
    """Run all cases with parts that this session has chosen, and retry those that failed."""
    cases = {}
    for column, case in ((values["column"], values["case"]) for values in chosen(request) if "column" in values):
        name = write_parts(argo, column, case)
        cases[name] = column, case
        argo.set_state(name, column.state(BEFORE, BEFORE))
    first = together(argo, {name: ("run", name, "--engine", "argo", *column.words) for name, (column, _) in cases.items()})
    failed = [name for name, done in first.items() if done.record["error"]]
    for name in failed:
        write_parts(argo, *cases[name], corrected=True)
    again = together(argo, {name: ("retry", first[name].last["run"]) for name in failed})
    return {name: (done, again.get(name)) for name, done in first.items()}


def traces(argo: Argo, record: dict[str, Any]) -> str:
    """Return what is known about a run: its record, its logs, and Argo's messages about its nodes."""
    live = argo.kubectl("get", "workflow", record["run"], "-n", "argo", "-o", "json")
    nodes = [(node["displayName"], node["phase"], node.get("message")) for node in nodes_of(json.loads(live)["status"])]
    return f"{record}\n{argo.type('logs', record['run']).out}\n{nodes}"


@pytest.mark.parametrize(("column", "case"), IN_PARTS, ids=lambda item: item.name)
def test_scenario_in_parts(argo: Argo, in_parts: dict[str, tuple[Done, Done | None]], column: Column, case: Case) -> None:
    """One part ends in the cluster as it does on the laptop; the others load, and the retry loads what is missing alone."""
    name, status = pipeline_of(case, column), "failed" if case.error else "succeeded"
    done, again = in_parts[name]
    record, error = done.record, done.record["error"] or {}
    states = dict.fromkeys(column.parts, "succeeded") | {column.hit: status}
    ended = {part["name"]: part["status"] for part in record["parts"]}
    assert (error.get("code", ""), ended, done.last["status"]) == (case.error, states, status), traces(argo, record)
    assert record["status"] == status
    assert (record["state_before"], record["state_after"]) == (column.state(BEFORE, BEFORE), column.state(case.state, AFTER))
    files = {(key.split("/")[1], key.split("/")[2]): text for key, text in argo.data(name).items()}
    hit = files.pop((record["run"], column.hit), "")
    loaded = {(record["run"], part): ROWS for part in column.parts if part != column.hit}
    if not case.error:
        assert (files, hit.count("\n")) == (loaded, case.records)
        assert record["records"] == {stream: count for stream, count in {"a": 3, HIT: case.records, "c": 3}.items() if count}
        return
    assert (hit, record["parts"][1]["error"]["code"]) == ("", case.error)
    assert error["problem"].startswith(f"Part {column.hit}: ")
    assert re.search(ELSEWHERE.get(case.name, case.says), f"{error['problem']} {record['parts'][1]['error']['hint']}"), error
    assert again is not None
    assert (again.record["error"], again.record["records"]) == (None, {HIT: 3})
    assert files == loaded | {(again.record["run"], column.hit): ROWS}
    assert argo.get_state(name) == again.record["state_after"] == column.state(AFTER, AFTER)


# ------------------------------------------------------------------------------------------------- equal on both engines


def test_the_example_is_the_same_on_both_engines(argo: Argo) -> None:
    """From the packaged rates up to a fixed day, the two engines leave the same file, byte for byte."""
    config = json.loads((argo.root / "singer-configs/tap-exchange-rates/config.json").read_text())
    argo.write("tap-exchange-rates/config.json", {**config, "source": "packaged", "end_date": "2024-12-31"})
    hashes = set()
    for engine in ("local", "argo"):
        result = argo.type("run", "exchange-rates-to-csv", "--engine", engine, "--full", "--json")
        assert result.code == 0, result.err
        [file] = result.last["outputs"]
        with open(file, "rb") as content:  # noqa: PTH123 - a path in an event
            hashes.add(hashlib.sha256(content.read()).hexdigest())
    assert len(hashes) == 1
    engines = {event["engine"] for event in argo.type("runs", "--pipeline", "exchange-rates-to-csv", "--json").events}
    assert engines == {"local", "argo"}


# ---------------------------------------------------------------------------------------------- what a cluster can do


@pytest.mark.parametrize("seconds", [0, 5, 14, 21])
def test_a_pod_that_is_killed(argo: Argo, seconds: float) -> None:
    """A pod that is deleted at any moment: the run succeeds with its rows once, or it fails and nothing has moved."""
    name = argo.pipeline(f"killed-{seconds}", slow(12))
    argo.set_state(name, BEFORE)
    process = argo.background(name, lambda: argo.works(name))
    time.sleep(seconds)
    for pod in argo.pods(name):
        argo.kubectl("-n", "argo", "delete", "pod", pod["metadata"]["name"], "--grace-period=0", "--force", "--ignore-not-found")
    last = finished(process)
    state, data = argo.get_state(name), list(argo.data(name).values())
    assert (last["status"], state, data) in [("succeeded", AFTER, ['{"n": 2}\n{"n": 3}\n{"n": 4}\n']), ("failed", BEFORE, [])]


def submit(argo: Argo, name: str, **other: str) -> Record:
    """Run a pipeline to its end, with other parameters than it would have."""
    run_ = new_run_id()
    argo.submit(name, run_, **other)
    return argo.follow(name, run_)


@pytest.mark.parametrize("side", ["tap", "target", "commit"])
def test_an_image_that_is_not_there(argo: Argo, side: str) -> None:
    """A run of which an image is missing is stopped in seconds, and names the image; nothing hangs and nothing moves."""
    name = argo.pipeline(f"imageless-{side}", {"steps": MORE})
    argo.set_state(name, BEFORE)
    began = time.monotonic()
    record = submit(argo, name, **{f"{side}_image": "localhost/singer/gone:1"})
    assert record.error is not None
    assert (record.error["code"], argo.get_state(name)) == ("E-IMAGE-PULL", BEFORE)
    assert "localhost/singer/gone:1" in record.error["problem"]
    assert time.monotonic() - began < 120
    assert argo.one(name).last["state"] == AFTER


def test_a_config_that_is_not_there(argo: Argo) -> None:
    """A config that is missing in the bucket fails the run, which names it; a run of ours stores it again first."""
    name = argo.pipeline("configless", {"steps": MORE})
    argo.set_state(name, BEFORE)
    record = submit(argo, name, tap_config="pipelines/configless/gone.json")
    assert (record.status, argo.get_state(name)) == ("failed", BEFORE)
    assert record.error is not None
    assert (record.error["code"], "tap-config" in record.error["problem"]) == ("E-CONFIG", True)
    with argo.handles() as handles:
        handles.store().delete(handles.settings.bucket_configs, f"pipelines/{name}/config.json")
    assert argo.one(name).last["state"] == AFTER


def test_a_store_that_goes_away(argo: Argo) -> None:
    """MinIO down when results shall be stored: the run fails with the state as it was, and the reason; the next one loads all."""
    name = argo.pipeline("storeless", slow(12))
    argo.set_state(name, BEFORE)
    process = argo.background(name, lambda: argo.works(name))
    argo.kubectl("-n", "argo", "scale", "deployment/minio", "--replicas=0")
    deadline = time.monotonic() + 180
    while not any(item["name"] == "main" and "terminated" in item["state"] for item in argo.statuses(name)):
        assert time.monotonic() < deadline
        time.sleep(1)
    argo.kubectl("-n", "argo", "scale", "deployment/minio", "--replicas=1")
    last = finished(process)
    argo.kubectl("-n", "argo", "rollout", "status", "deployment/minio", "--timeout=120s")
    assert last["status"] == "failed"
    assert (argo.get_state(name), argo.data(name)) == (BEFORE, {})
    record = argo.type("show", last["run"], "--json").last
    assert (record["status"], record["error"]["code"], record["state_after"]) == ("failed", "E-STORE", BEFORE)
    assert argo.one(name).last["state"] == AFTER


def test_a_bucket_that_refuses_data(argo: Argo) -> None:
    """Where the data bucket takes nothing and the state bucket does, the state does not move."""
    name = argo.pipeline("refused", {"steps": MORE})
    argo.set_state(name, BEFORE)
    with argo.handles() as handles:
        root, user = handles.credentials.secret(ROOT_SECRET), handles.credentials.secret(USER_SECRET)
        assert root
        assert user
        admin = Admin(handles.url("s3"), root)
        rules = policy(handles.settings)
        deny = {"Effect": "Deny", "Action": ["s3:PutObject"], "Resource": [f"arn:aws:s3:::{handles.settings.bucket_outputs}/*"]}
        admin.allow(user, {**rules, "Statement": [*rules["Statement"], deny]})
        try:
            done = argo.one(name)
        finally:
            admin.allow(user, rules)
    assert (done.last["status"], done.record["error"]["code"]) == ("failed", "E-STORE")
    assert (argo.get_state(name), argo.data(name)) == (BEFORE, {})
    assert argo.one(name).last["state"] == AFTER


def test_credentials_that_are_replaced_during_a_run(argo: Argo) -> None:
    """What a run has loaded when the store's key became another one is tried again with the new one: each row once, the state right."""
    name = argo.pipeline("rotated", slow(12), retries=1)
    argo.set_state(name, BEFORE)
    process = argo.background(name, lambda: argo.works(name))
    with argo.handles() as handles:
        root, user = handles.credentials.secret(ROOT_SECRET), handles.credentials.secret(USER_SECRET)
        assert root
        assert user
        new = {**user, "secretkey": user["secretkey"][::-1]}
        Admin(handles.url("s3"), root).allow(new, policy(handles.settings))
    argo.kubectl("-n", "argo", "patch", "secret", USER_SECRET, "--patch", json.dumps({"stringData": {"secretkey": new["secretkey"]}}))
    last = finished(process)  # it has begun with the old key too, and sees the Workflow alone
    assert last["status"] == "succeeded"
    record = argo.type("show", last["run"], "--json").last
    assert (record["status"], record["records"], record["state_before"], record["state_after"]) == ("succeeded", {"s": 3}, BEFORE, AFTER)
    assert [key.split("/")[1] for key in argo.data(name)] == [last["run"]]
    assert argo.get_state(name) == AFTER


def test_two_runs_of_one_pipeline(argo: Argo) -> None:
    """The second waits for the first; both succeed, one after the other."""
    name = argo.pipeline("twice", slow(10))
    processes = [argo.background(name, lambda: argo.works(name)), argo.begin("run", name, "--engine", "argo", "--json")]
    ends = [finished(process) for process in processes]
    assert [end["status"] for end in ends] == ["succeeded", "succeeded"]
    records = [argo.type("show", end["run"], "--json").last for end in ends]
    assert records[1]["state_before"] == AFTER
    assert records[0]["finished"] <= records[1]["finished"]


def test_cancel(argo: Argo) -> None:
    """A run that is stopped is interrupted, its state stays, and the terminal that followed it shows the end."""
    name = argo.pipeline("cancelled", slow(120))
    argo.set_state(name, BEFORE)
    process = argo.background(name, lambda: argo.works(name))
    assert argo.type("cancel", "last").code == 0
    last = finished(process)
    record = argo.type("show", last["run"], "--json").last
    assert (last["status"], record["status"], record["error"]["code"]) == ("failed", "interrupted", "E-CANCELLED")
    assert (argo.get_state(name), [key for key in argo.data(name) if record["run"] in key]) == (BEFORE, [])


def test_staged(argo: Argo) -> None:
    """The tap's output is kept; a load that failed is retried from it, without the tap."""
    name = argo.pipeline("staged", {"steps": GOOD}, {"exit": 3}, mode="staged")
    failed = argo.one(name)
    assert (failed.record["status"], failed.record["error"]["code"]) == ("failed", "E-TARGET-FAILED")
    assert argo.data(name) == {}
    argo.pipeline(name, {"steps": [["exit", 1]]}, {}, mode="staged")
    again = argo.type("retry", failed.last["run"], "--json")
    assert again.code == 0, again.err
    assert (argo.get_state(name), list(argo.data(name).values())) == (BEFORE, ['{"n": 0}\n{"n": 1}\n'])
    record = argo.type("show", again.last["run"], "--json").last
    assert (record["records"], failed.last["run"] in record["raw"]) == ({"s": 2}, True)

    argo.pipeline(name, {"steps": [["exit", 1]]}, {}, mode="staged")
    assert argo.one(name).record["error"]["code"] == "E-TAP-FAILED"
    argo.pipeline(name, {"steps": MORE}, {}, mode="staged")
    assert argo.one(name).last["state"] == AFTER


@pytest.mark.parametrize("mode", ["streaming", "staged"])
def test_files_that_are_taken_along(argo: Argo, mode: str) -> None:
    """A tap reads files of the checkout by their relative paths and can write none of them; changed files are those of the next run."""
    tap, target = f"tap-with-files-{mode}", f"target-with-files-{mode}"
    for name, side in ((tap, "tap"), (target, "target")):
        argo.connector(name, side, [])
        words = {"kind": side, "pip_url": f"tests/connectors/{side}-scripted", "executable": f"{side}-scripted", "capabilities": []}
        argo.write(f"{name}/connector.yaml", {**words, "files": ["people.jsonl", "data"]})
    (argo.root / "data").mkdir(exist_ok=True)
    (argo.root / "data" / "more.txt").write_text("more")
    steps = [["schema", "s"], ["file", "people.jsonl"], ["file", "data/more.txt"], ["facts", "data/more.txt"]]
    name = argo.pipeline(f"files-{mode}", {"steps": steps}, {}, tap, target, mode=mode)
    for text in ("ada", "grace"):
        (argo.root / "people.jsonl").write_text(text)
        record = argo.one(name).record
        assert record["status"] == "succeeded", record["error"]
        (published,) = (content for key, content in argo.data(name).items() if record["run"] in key)
        *texts, facts = map(json.loads, published.splitlines())
        assert texts == [{"file": text}, {"file": "more"}]
        assert facts["modified"] <= int((argo.root / "data" / "more.txt").stat().st_mtime)

    refused = argo.pipeline(name, {"steps": [["schema", "s"], ["touch", "people.jsonl"]]}, {}, tap, target, mode=mode)
    assert argo.one(refused).record["error"]["code"] == "E-TAP-FAILED"
    assert (argo.root / "people.jsonl").read_text() == "grace"
    lacking = argo.pipeline(name, {"steps": steps}, {}, tap, target, mode=mode)
    error = submit(argo, lacking, tap_files="files/gone").error
    assert error is not None
    assert (error["code"], "files/gone" in error["problem"]) == ("E-CONFIG", True)


def test_backfills(argo: Argo) -> None:
    """Several in parallel, each over the same days; one whose load failed is retried; no state moves, and the records show the days."""
    dated = [["schema", "s"], ["argument", "--config"], ["state", AFTER]]
    config = {"steps": dated, "start_date": "2020-01-01", "end_date": "2020-12-31"}
    names = [argo.pipeline("dated-a", config), argo.pipeline("dated-b", config, {"exit": 3}, mode="staged")]
    for name in names:
        argo.set_state(name, BEFORE)
    result = argo.type("run", ",".join(names), "--engine", "argo", "--from", "2024-01-01", "--to", "2024-01-31", "--json")
    ends = {event["pipeline"]: event for event in result.events if event["event"] == "run.finished"}
    assert {name: end["status"] for name, end in ends.items()} == {"dated-a": "succeeded", "dated-b": "failed"}
    argo.pipeline("dated-b", config, {}, mode="staged")
    again = argo.type("retry", ends["dated-b"]["run"], "--json")
    assert again.code == 0, again.err
    for name in names:
        [text] = argo.data(name).values()
        passed = json.loads(text)["given"]
        assert (passed["start_date"], passed["end_date"], argo.get_state(name)) == ("2024-01-01", "2024-01-31", BEFORE)
        [record] = [event for event in argo.type("runs", "--pipeline", name, "--json").events if event["status"] == "succeeded"]
        assert record["backfill"] == {"from": "2024-01-01", "to": "2024-01-31"}


def test_a_schedule(argo: Argo) -> None:
    """A schedule runs by itself; paused it does not; one that has left pipelines.yaml is gone. Each sync changes what changed."""
    name = argo.pipeline("minutely", {"steps": GOOD}, schedule="* * * * *")
    assert argo.type("sync", "--json").last["changed"]
    assert argo.type("sync", "--json").last["changed"] == []
    deadline = time.monotonic() + 150
    while not (succeeded := [event for event in argo.type("runs", "--pipeline", name, "--json").events if event["status"] == "succeeded"]):
        assert time.monotonic() < deadline
        time.sleep(2)
    assert succeeded[0]["run"].startswith("minutely-")
    assert succeeded[0]["records"] == {"s": 2}
    argo.pipeline(name, {"steps": GOOD}, schedule="* * * * *", paused=True)
    assert argo.type("sync", "--json").last["changed"] == ["Schedules"]
    [cron] = [item for item in argo.there("cronworkflows", "-n", "argo") if item["metadata"]["name"] == name]
    assert cron["spec"]["suspend"] is True
    argo.pipeline(name, {"steps": GOOD})
    assert argo.type("sync", "--json").last["changed"] == ["Schedules"]
    assert name not in {item["metadata"]["name"] for item in argo.there("cronworkflows", "-n", "argo")}


def test_a_schedule_that_is_removed_while_it_runs(argo: Argo) -> None:
    """A pipeline that has left pipelines.yaml is not started again; the run that is under way goes on to its end."""
    name = argo.pipeline("leaving", slow(20), schedule="* * * * *")
    assert argo.type("sync").code == 0
    deadline = time.monotonic() + 120
    while not argo.works(name):
        assert time.monotonic() < deadline
        time.sleep(1)
    argo.pipeline(name, slow(20))
    assert argo.type("sync", "--json").last["changed"] == ["Schedules"]
    [run_] = {event["run"] for event in argo.type("runs", "--pipeline", name, "--json").events}
    argo.type("logs", run_, "--follow")
    assert argo.type("show", run_, "--json").last["status"] == "succeeded"
    assert argo.get_state(name) == AFTER


def test_a_secret_shows_up_nowhere(argo: Argo) -> None:
    """A connector's secret is in its Secret alone: not in the bucket, not in a Workflow, a pod, a log."""
    secret = "s3cr3t-7f1d9a"
    name = argo.pipeline("secretive", {"steps": GOOD, "token": "${TOKEN}"})
    result = argo.type("run", name, "--engine", "argo", "--json", TOKEN=secret)
    assert result.code == 0, result.err
    assert secret not in result.out + result.err
    assert secret not in argo.kubectl("-n", "argo", "get", "workflows,pods,configmaps,events,cronworkflows", "-o", "json")
    assert secret not in argo.type("logs", "last").out
    with argo.handles() as handles:
        store = handles.store()
        for bucket in (handles.settings.bucket_configs, handles.settings.bucket_artifacts, handles.settings.bucket_outputs):
            for item in store.objects(bucket):
                assert secret.encode() not in (store.get(bucket, item.key) or b"")
        assert handles.credentials.secret("connector-tap-scripted") == {"TOKEN": secret}


def test_examples_for_people_who_write_yaml(argo: Argo) -> None:
    """The Workflow of the repository runs as `kubectl create` gives it to the cluster, and its run is one of ours."""
    text = (argo.root / "manifests/singer/examples/workflow.yaml").read_text(encoding="utf-8")
    run_ = argo.kubectl("create", "-f", "-", "-o", "jsonpath={.metadata.name}", stdin=text)
    argo.kubectl("-n", "argo", "wait", f"workflow/{run_}", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=120s")
    assert argo.type("show", run_, "--json").last["status"] == "succeeded"


def test_the_terminal_is_not_needed(argo: Argo) -> None:
    """A run whose command was interrupted goes on, prints how to see and how to stop it, and ends as any other."""
    name = argo.pipeline("left", slow(10))
    process = argo.background(name, lambda: argo.works(name))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "goes on in the cluster" in err
    [run_] = {event["run"] for event in argo.type("runs", "--pipeline", name, "--json").events}
    assert f"cancel {run_}" in err
    assert '"line": ' in argo.type("logs", run_, "--follow", "--json").out
    assert argo.type("show", run_, "--json").last["status"] == "succeeded"
    assert argo.get_state(name) == AFTER


def test_a_message_about_a_failed_run(argo: Argo) -> None:
    """The cluster sends a notification: which pipeline, what failed, the last lines of the log, the link."""
    with inbox(status=500) as (url, got):  # for any answer the run ends as it ended
        name = argo.pipeline("told", {"steps": [["stderr", "last words"], ["exit", 3]]})
        result = argo.type("run", name, "--engine", "argo", "--json", SINGER_NOTIFY_URL=url)
    assert (result.code, result.last["status"]) == (2, "failed")
    [message] = got
    assert (message["pipeline"], message["error"]["code"], message["log"]) == (name, "E-TAP-FAILED", ["last words"])
    assert message["link"].endswith(f"/workflows/argo/{result.last['run']}")
    assert argo.type("run", name, "--engine", "argo", "--json", SINGER_NOTIFY_URL="").code == 2
