"""Messages about runs of the local engine: the same as in the cluster, at the same moments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pod_inbox import taking_messages
from scenarios import GOOD

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkout import Checkout

BAD: list[list[Any]] = [["schema", "s"], ["stderr", "no such table"], ["exit", 3]]


@pytest.fixture
def inbox() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield the address of a server, and what was sent to it."""
    with taking_messages("127.0.0.1", path="/secret-path") as taken:
        yield taken


def test_a_failure_is_reported_as_in_the_cluster(checkout: Checkout, inbox: tuple[str, list[dict[str, Any]]]) -> None:
    """A failed run sends its error and its log; a success, and a pipeline that wants none, send nothing."""
    url, messages = inbox
    (checkout.root / ".env").write_text(f"SINGER_NOTIFY_URL={url}\n", encoding="utf-8")
    checkout.scripted({"steps": BAD})
    assert checkout.run().code == 2
    [message] = messages
    assert list(message) == ["pipeline", "run", "status", "error", "warnings", "log", "link", "text"]
    assert (message["pipeline"], message["status"], message["error"]["code"], message["link"]) == ("p", "failed", "E-TAP-FAILED", None)
    assert any("no such table" in line for line in message["log"])
    checkout.scripted({"steps": GOOD})
    assert checkout.run().code == 0
    checkout.scripted({"steps": BAD}, notify="never")
    assert checkout.run("p", "--full").code == 2
    assert len(messages) == 1
    checkout.scripted({"steps": GOOD}, notify="always")
    assert checkout.run("p", "--full").code == 0
    assert messages[1]["status"] == "succeeded"


def test_the_log_of_a_part(checkout: Checkout, inbox: tuple[str, list[dict[str, Any]]]) -> None:
    """A run with parts sends the log of the first part that failed."""
    url, messages = inbox
    parts = {"a": {"steps": GOOD[:1]}, "b": {"steps": BAD}, "c": {"steps": BAD}}
    checkout.scripted({"parts": parts}, split="streams")
    streams = [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": True} for name in parts]
    checkout.write("tap-scripted/catalog.json", {"streams": streams})
    assert checkout.run(SINGER_NOTIFY_URL=url).code == 2
    assert messages[0]["error"]["problem"].startswith("Part b: ")
    assert messages[0]["log"] == ["no such table"]


def test_what_stops_a_run_of_a_timer_before_it_begins(checkout: Checkout, inbox: tuple[str, list[dict[str, Any]]]) -> None:
    """The problem is sent, once until it changes or a run begins. Without --unattended a person has seen it."""
    url, messages = inbox
    steps = [["schema", "s"], ["state", {"n": 1}]]
    checkout.scripted({"steps": steps, "token": "${TOKEN}"}, schedule="0 6 * * *")
    timer = ("p", "--unattended")
    assert checkout.run("p", SINGER_NOTIFY_URL=url).code == 1
    assert messages == []
    for _ in range(2):
        assert checkout.run(*timer, SINGER_NOTIFY_URL=url).error == "E-SECRET"
    [message] = messages
    assert list(message) == ["pipeline", "run", "status", "error", "warnings", "log", "link", "text"]
    assert (message["pipeline"], message["run"], message["status"]) == ("p", None, "failed")
    assert message["text"].startswith("p: no run has begun. E-SECRET  ")
    assert checkout.run(*timer, SINGER_NOTIFY_URL=url, TOKEN="x").code == 0
    assert checkout.run(*timer, SINGER_NOTIFY_URL=url).error == "E-SECRET"
    assert len(messages) == 2
    with (checkout.root / "singer-configs" / "pipelines.yaml").open("a", encoding="utf-8") as file:
        file.write("  mistyped: 1\n")
    assert checkout.run(*timer, SINGER_NOTIFY_URL=url).error == "E-CONFIG"
    assert [message["error"]["code"] for message in messages] == ["E-SECRET", "E-SECRET", "E-CONFIG"]


def test_a_receiver_that_is_down_is_one_warning(checkout: Checkout) -> None:
    """The exit code is that of the run, and the address is never printed."""
    checkout.scripted({"steps": GOOD}, notify="always")
    done = checkout.run("p", SINGER_NOTIFY_URL="http://127.0.0.1:9/secret-path")
    assert done.code == 0
    [warning] = [event for event in done.events if event["event"] == "warning"]
    assert warning["source"] == "notify"
    assert "secret-path" not in done.out + done.err
