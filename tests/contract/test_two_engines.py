"""Commands that know of two engines, where only one is there: what they say without a cluster."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from scenarios import GOOD

if TYPE_CHECKING:
    from checkout import Checkout


@pytest.fixture
def used(checkout: Checkout) -> Checkout:
    """Return a checkout in which a pipeline has run twice."""
    checkout.scripted({"steps": GOOD, "again": [["schema", "s"], ["records", "s", 1, 2], ["state", {"n": 3}]]})
    assert checkout.run().code == 0
    assert checkout.run().code == 0
    return checkout


def test_why_this_engine(checkout: Checkout) -> None:
    """Without a platform a run is the local engine's, and prints how to get the other."""
    checkout.scripted({"steps": GOOD})
    assert "engine local, because the platform is not up (invoke up starts it)" in checkout.invoke("run", "p").out


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["run", "p", "--engine", "argo"], "E-DOWN", "The platform is not up: there is none yet"),
        (["run", "p,p2"], "E-ENGINE", "one pipeline at a time, and 2 were named"),
        (["sync"], "E-DOWN", "not up"),
        (["state", "p", "--engine", "argo"], "E-DOWN", "not up"),
        (["cancel", "last"], "E-ENGINE", "The run is of the engine local"),
        (["retry", "last"], "E-ENGINE", "is succeeded: there is nothing to retry"),
        (["state", "p", "--history", "--reset"], "E-SETTING", "more than one"),
        (["state", "p", "--rollback", "zzz"], "E-STATE", "no state of the version zzz"),
        (["logs", "20200101"], "E-UNKNOWN", "The latest are: 20"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_needs_the_other_engine(used: Checkout, words: list[str], code: str, says: str) -> None:
    """What only a cluster can do is refused with one sentence and one thing to do."""
    used.write("pipelines.yaml", {name: {"tap": "tap-scripted", "target": "target-scripted"} for name in ("p", "p2")})
    result = used.invoke(*words)
    assert result.code == 1
    assert result.err.strip().startswith(f"{code}  ")
    assert says in result.err
    assert "Traceback" not in result.err


def test_logs(used: Checkout) -> None:
    """Both sides' logs are shown, each line with its side; for programs as events."""
    used.scripted({"steps": [["stderr", "a word"], *GOOD]}, {"stderr": "another"})
    used.run("p", "--full")
    assert used.invoke("logs", "last").out.splitlines() == ["tap     a word", "target  another"]
    events = used.invoke("logs", "last", "--follow", "--json").events
    assert [(event["event"], event["side"], event["line"]) for event in events] == [("log", "tap", "a word"), ("log", "target", "another")]


def test_the_states_history(used: Checkout) -> None:
    """Every version is listed, newest first, and any of them can be gone back to; that is a version too."""
    versions = used.invoke("state", "p", "--history", "--json").events
    assert [event["state"] for event in versions] == [{"n": 3}, {"n": 2}]
    assert used.invoke("state", "p", "--rollback", versions[1]["version"]).code == 0
    assert used.state() == {"n": 2}
    assert used.invoke("state", "p", "--reset").code == 0
    again = used.invoke("state", "p", "--history", "--json").events
    assert [event["state"] for event in again] == [None, {"n": 2}, {"n": 3}, {"n": 2}]
    removed = used.invoke("state", "p", "--rollback", again[0]["version"])
    assert (removed.code, "E-STATE" in removed.err) == (1, True)
    assert "removed" in used.invoke("state", "p", "--history").out


def test_a_version_as_it_is_shown(used: Checkout) -> None:
    """What the history shows of a version is enough to go back to it, also where several are of one moment."""
    for number in (4, 5, 6):
        file = used.write("new.json", {"n": number})
        assert used.invoke("state", "p", "--set", str(file)).code == 0
    shown = [line.split()[0] for line in used.invoke("state", "p", "--history").out.splitlines()[1:]]
    assert len(set(shown)) == 5
    assert used.invoke("state", "p", "--rollback", shown[2]).code == 0
    assert used.state() == {"n": 4}


def test_one_name_twice_is_one_run(used: Checkout) -> None:
    """A list with one pipeline in it is that pipeline."""
    assert used.invoke("run", "p,p,", "--json").last["pipeline"] == "p"
    assert json.dumps(used.invoke("runs", "--json").last["engine"]) == '"local"'
