"""What befalls runs in a real cluster: killed, evicted, out of memory, without a controller, with odd values, for too long.

In every case: no row lost or doubled, the state never ahead of the data, and the next run right.
"""

from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import argo_checkout, finished, slow
from argo_kills import CONTAINERS, kill
from scenarios import AFTER, BEFORE, MORE, SCHEMA

from cluster.runs.record import new_run_id

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
KILLS = 50
SPAN = 8.0
"""Seconds from a run's submission within which it is killed: about as long as it takes."""
VICTIMS = ["pod", *CONTAINERS]
WIDE = 50_000_000


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        yield checkout


@pytest.mark.parametrize("mode", ["streaming", "staged"])
@pytest.mark.parametrize("retries", [0, 2])
def test_killed_at_any_moment(argo: Argo, mode: str, retries: int) -> None:
    """Runs that go on from each other and are killed somewhere: all rows up to the state are there, each once."""
    name = argo.pipeline(f"counted-{mode}-{retries}", {"steps": [SCHEMA, ["count", "s", 4, 2, 1]]}, mode=mode, retries=retries)
    assert argo.one(name).last["state"] == {"n": 8}  # brings images and configs
    seed = random.randrange(10**6)
    chance = random.Random(seed)
    history = []
    for _ in range(KILLS // 4):
        run_, victim, moment = new_run_id(), chance.choice(VICTIMS), chance.uniform(0, SPAN)
        before = argo.get_state(name)
        argo.submit(name, run_)
        time.sleep(moment)
        kill(argo, run_, victim)
        record = argo.follow(name, run_)
        history.append(f"{victim} after {moment:.1f} s: {record.status}, {(record.error or {}).get('code')}")
        state = argo.get_state(name)
        rows = sorted(json.loads(line)["n"] for text in argo.data(name).values() for line in text.splitlines())
        assert rows == list(range(state["n"])), (seed, history)
        assert state == ({"n": before["n"] + 8} if record.status == "succeeded" else before), (seed, history)
        assert record.state_after == state, (seed, history)
    print("\n".join(history))  # noqa: T201 - with -rP: what was killed when
    assert argo.one(name).last["status"] == "succeeded"
    assert argo.pods(name) == []


def test_evicted(argo: Argo) -> None:
    """A pod that is evicted, as a node that is drained does: the run goes on in another one, and its rows are there once."""
    name = argo.pipeline("evicted", slow(6), retries=1)
    argo.set_state(name, BEFORE)
    process = argo.background(name, lambda: argo.works(name))
    [pod] = argo.pods(name)
    metadata = {"name": pod["metadata"]["name"], "namespace": "argo"}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    argo.kubectl("create", "--raw", f"/api/v1/namespaces/argo/pods/{metadata['name']}/eviction", "-f", "-", stdin=json.dumps(eviction))
    last = finished(process)
    assert (last["status"], argo.get_state(name)) == ("succeeded", AFTER)
    assert list(argo.data(name).values()) == ['{"n": 2}\n{"n": 3}\n{"n": 4}\n']


def test_out_of_memory(argo: Argo) -> None:
    """A tap that needs more memory than its pipeline has: the run fails, reports that, and nothing has moved."""
    name = argo.pipeline("greedy", {"steps": [SCHEMA, ["records", "s", 1, 0, 400_000_000]]}, resources={"memory": "256Mi"})
    argo.set_state(name, BEFORE)
    done = argo.one(name)
    assert (done.last["status"], argo.get_state(name), argo.data(name)) == ("failed", BEFORE, {})
    assert "out of memory" in done.record["error"]["problem"]
    argo.pipeline(name, {"steps": MORE})
    assert argo.one(name).last["state"] == AFTER


def test_a_controller_that_restarts(argo: Argo) -> None:
    """Argo's controller goes away while a run is under way and another one waits: both end as if nothing had been."""
    name = argo.pipeline("uncontrolled", slow(8))
    processes = [argo.background(name, lambda: argo.works(name)), argo.begin("run", name, "--engine", "argo", "--json")]
    kill(argo, "", "controller")
    ends = [finished(process) for process in processes]
    assert [end["status"] for end in ends] == ["succeeded", "succeeded"]
    assert argo.get_state(name) == AFTER


def test_a_record_of_50_mb(argo: Argo) -> None:
    """A record of 50 MB passes as it is."""
    name = argo.pipeline("wide", {"steps": [SCHEMA, ["records", "s", 1, 0, WIDE], ["state", AFTER]]})
    done = argo.one(name)
    assert (done.last["status"], done.record["records"]) == ("succeeded", {"s": 1})
    [text] = argo.data(name).values()
    assert (len(json.loads(text)["text"]), argo.get_state(name)) == (WIDE, AFTER)


ODD = "{{workflow.name}} \"quoted\" 'single' {{=1+1}} $HOME ${X} `id` \\ line\nbreak ünï\u2028 %s {% raw %}"
"""What Argo, YAML, JSON, a shell and a terminal could take for something else."""


def test_odd_values(argo: Argo) -> None:
    """What looks like templates, quotes or line breaks comes out as it went in: in configs, secrets, records, states, messages."""
    literal = ODD.replace("${", "$${")
    steps: list[list[Any]] = [SCHEMA, ["say", {"type": "RECORD", "stream": "s", "record": {"odd": literal}}], ["state", {"odd": literal}]]
    name = argo.pipeline("odd", {"steps": steps, "token": "${ODD}", "other": literal}, {"say": [{"odd": literal}]})
    result = argo.type("run", name, "--engine", "argo", "--json", ODD=ODD)
    assert result.code == 0, result.err
    [text] = argo.data(name).values()
    assert json.loads(text) == {"odd": ODD}
    assert argo.get_state(name) == {"odd": ODD}

    argo.pipeline(name, {"steps": [["stderr", f"first {literal}"], ["stderr", literal.replace("\n", " ")], ["exit", 3]]})
    done = argo.one(name)
    assert (done.last["status"], done.record["error"]["code"]) == ("failed", "E-TAP-FAILED")
    assert "{{workflow.name}} \"quoted\" 'single' {{=1+1}}" in done.record["error"]["problem"]
    assert argo.get_state(name) == {"odd": ODD}


def test_odd_names_of_files(argo: Argo) -> None:
    """Streams and files with odd names are published under them, and globs with odd signs choose among them."""
    stream = "a 'b' {{c}} \"d\" ü"
    argo.connector("target-odd", "target", [])
    text = (argo.root / "singer-configs/target-odd/connector.yaml").read_text(encoding="utf-8")
    argo.write("target-odd/connector.yaml", {**json.loads(text.replace("target-odd", "target-scripted")), "outputs": ["a *c*", "s.*"]})
    schema = {"type": "SCHEMA", "stream": stream, "key_properties": [], "schema": {"type": "object"}}
    steps = [["say", schema], ["records", stream, 2], SCHEMA, ["records", "s", 1], ["state", AFTER]]
    name = argo.pipeline("names", {"steps": steps}, target_connector="target-odd")
    done = argo.one(name)
    assert done.last["status"] == "succeeded", done.record
    assert {key.rpartition("/")[2] for key in argo.data(name)} == {f"{stream}.jsonl", "s.jsonl"}
    assert done.record["records"] == {stream: 2, "s": 1}


def test_a_run_longer_than_its_limit(argo: Argo) -> None:
    """All tries together have the pipeline's time and no more; then the run fails, and the error names the time."""
    name = argo.pipeline("late", slow(300), timeout="20s", retries=3)
    argo.set_state(name, BEFORE)
    began = time.monotonic()
    done = argo.one(name)
    assert (done.last["status"], done.record["error"]["code"], argo.get_state(name)) == ("failed", "E-TIMEOUT", BEFORE)
    assert time.monotonic() - began < 120
