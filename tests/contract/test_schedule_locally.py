"""Schedules without a cluster: what starts them, and what a started command decides."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from scenarios import GOOD

if TYPE_CHECKING:
    from checkout import Checkout


def test_what_starts_them_is_printed(checkout: Checkout) -> None:
    """A crontab and files; a paused pipeline is left out; nothing else is printed, so a file can take it."""
    checkout.scripted({"steps": GOOD}, schedule="0 6 * * *")
    printed = checkout.invoke("schedule", "--print", "cron")
    assert (printed.code, printed.err) == (0, "")
    line = printed.out.rstrip().splitlines()[-1]
    assert f"{checkout.root}/invoke run p --engine local" in line
    assert subprocess.run(["sh", "-nc", line.split("  ", 1)[1]], check=False).returncode == 0
    assert (checkout.local / "schedule").is_dir()
    events = checkout.invoke("schedule", "--print", "systemd", "--json").events
    assert [event["path"].rpartition("@")[2] for event in events] == [".service", "p.timer"]
    checkout.invoke("schedule", "--print", "launchd", "--out", str(checkout.root / "agents"))
    assert [file.suffix for file in (checkout.root / "agents").iterdir()] == [".plist"]
    checkout.scripted({"steps": GOOD}, schedule="0 6 * * *", paused=True)
    assert "No pipeline has a schedule" in checkout.invoke("schedule", "--print", "cron").out
    assert "E-SETTING" in checkout.invoke("schedule", "--print", "anacron").err


def test_a_pipeline_runs_only_if_it_is_due(checkout: Checkout) -> None:
    """It runs once for a time of its schedule that has passed, and not again before the next one."""
    checkout.scripted({"steps": GOOD}, schedule="* * * * *")
    assert checkout.run("p", "--if-due").last["run"]
    checkout.scripted({"steps": GOOD}, schedule="0 0 29 2 *")
    done = checkout.run("p", "--if-due")
    assert (done.code, done.last["event"], done.last["run"]) == (0, "run.finished", None)
    assert "is not due before" in checkout.invoke("run", "p", "--if-due").out
    checkout.scripted({"steps": GOOD})
    assert checkout.run("p", "--if-due").error == "E-SETTING"


def test_a_retry_is_not_the_run_that_was_due(checkout: Checkout) -> None:
    """It loads one part only, so the time of the schedule that was missed before it still counts."""
    checkout.scripted({"steps": [["streams", {"a": 2, "b": 2}, 2, {"b": 1}]]}, {"often": True}, split="streams", schedule="* * * * *")
    streams = [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": True} for name in "ab"]
    checkout.write("tap-scripted/catalog.json", {"streams": streams})
    assert checkout.run().code == 2
    [record] = (checkout.local / "buckets" / "artifacts" / "runs").rglob("run.json")
    facts = json.loads(record.read_text(encoding="utf-8"))
    began = datetime.fromisoformat(facts["started"]) - timedelta(hours=2)
    record.write_text(json.dumps(facts | {"started": began.isoformat()}), encoding="utf-8")
    checkout.write("tap-scripted/config.json", {"steps": [["streams", {"a": 2, "b": 2}]]})
    assert checkout.invoke("retry", "last").code == 0
    assert checkout.run("p", "--if-due").last["run"]
