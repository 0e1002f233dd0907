"""Late pipelines: the check in the cluster with its messages, and the command on the local engine."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

import late as program
import pytest
from loopback_server import ServingHTTP
from scenarios import GOOD

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.runs import late
from cluster.runs.history import History
from cluster.runs.record import Record, Side
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from checkout import Checkout

NOW = datetime(2026, 11, 29, 6, tzinfo=UTC)


class Hook:
    """A receiver of messages."""

    def __init__(self) -> None:
        """Begin without messages."""
        self.got: list[dict[str, Any]] = []
        self.status = 200
        self.url = ""


@pytest.fixture
def hook() -> Iterator[Hook]:
    """Yield a receiver on loopback."""
    receiver = Hook()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            if receiver.status == 200:
                receiver.got.append(body)
            self.send_response(receiver.status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ServingHTTP(("127.0.0.1", 0), Handler) as server:
        receiver.url = f"http://127.0.0.1:{server.server_port}/"
        yield receiver


def cron(name: str, notify: str = "failure") -> dict[str, Any]:
    """Return a live CronWorkflow that is due at two o'clock."""
    spec = {"workflowSpec": {"arguments": {"parameters": [{"name": "notify", "value": notify}]}}, "schedules": ["0 2 * * *"]}
    labels = {late.PIPELINE: name}
    return {"metadata": {"name": name, "creationTimestamp": "2026-11-28T12:00:00Z", "labels": labels}, "spec": spec}


def test_the_check_sends_what_is_new(tmp_path: Path, hook: Hook, capsys: pytest.CaptureFixture[str]) -> None:
    """One message for all that is late, none for those without messages, one when a success came; a lost one is sent again."""
    settings = Settings(root=tmp_path)
    history = History(open_store(settings, {}), settings)
    (tmp_path / "url").write_text(hook.url, encoding="utf-8")
    environ = {"SINGER_NOTIFY_FILE": str(tmp_path / "url")}

    def listed(plural: str, _: Mapping[str, str]) -> list[dict[str, Any]]:
        return [cron("a"), cron("b"), cron("quiet", "never")] if plural == "cronworkflows" else []

    hook.status = 500
    program.check(history, environ, NOW, listed)
    assert "answers 500" in capsys.readouterr().err
    hook.status = 200
    program.check(history, environ, NOW + timedelta(minutes=4), listed)
    program.check(history, environ, NOW + timedelta(minutes=8), listed)
    assert [(message["status"], message["pipelines"]) for message in hook.got] == [("late", ["a", "b"])]
    ended = late.stamp(NOW + timedelta(minutes=9))
    run = Record("r-1", "a", "argo", ended, Side("t", "1"), Side("t", "1"), None, status="succeeded", finished=ended, seconds=1.0)
    history.save(run)
    program.check(history, environ, NOW + timedelta(minutes=12), listed)
    program.check(history, environ, NOW + timedelta(minutes=16), listed)
    assert [(message["status"], message["pipelines"]) for message in hook.got[1:]] == [("on time", ["a"])]


def test_without_an_answer_of_the_cluster_nothing_is_sent(tmp_path: Path) -> None:
    """The check fails with its reason, which its log has."""
    with pytest.raises(SetupError) as caught:
        program.objects("workflows", {"SINGER_NAMESPACE": "argo", "KUBERNETES_SERVICE_HOST": "127.0.0.1"})
    assert caught.value.code == "E-KUBE"
    assert not list(tmp_path.iterdir())


def test_late_on_the_local_engine(checkout: Checkout) -> None:
    """A pipeline whose time has passed is late, with the reason; one that was just added is not."""
    checkout.scripted({"steps": GOOD}, schedule="* * * * *", late_after="30m")
    assert checkout.invoke("runs", "--late").code == 0
    file = checkout.root / "singer-configs" / "pipelines.yaml"
    os.utime(file, (file.stat().st_mtime - 7200,) * 2)
    done = checkout.invoke("runs", "--late", "--json")
    assert (done.code, done.error) == (1, "E-LATE")
    assert [(event["pipeline"], event["why"]) for event in done.events if event["event"] == "late"] == [("p", "not-started")]
    assert "schedule --print" in done.err
    checkout.write("tap-scripted/config.json", {"steps": [["exit", 1]]})
    assert checkout.run().code == 2
    next_step = checkout.invoke("runs", "--late").err.rpartition("See invoke ")[2].split()
    assert next_step == ["runs", "--pipeline", "p"]
    assert checkout.invoke(*next_step).code == 0
    checkout.write("tap-scripted/config.json", {"steps": GOOD})
    assert checkout.run().code == 0
    assert checkout.invoke("runs", "--late").code == 0
