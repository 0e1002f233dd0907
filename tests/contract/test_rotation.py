"""A token that a tap replaces in its config is kept in .env: as a user sees it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from processes import eventually

if TYPE_CHECKING:
    from checkout import Checkout

STEPS = [["schema", "s"], ["renew", "refresh_token", "+1"], ["records", "s", 1], ["state", {"n": 1}]]
LINES = "# mine\nOTHER=1\nTOKEN=first # of the shop\n"


def config(*more: object) -> dict[str, object]:
    """Return a config whose token is in the environment or .env."""
    return {"refresh_token": "${TOKEN}", "steps": [*STEPS, *more]}


def test_each_run_begins_with_the_token_of_the_last(checkout: Checkout) -> None:
    """Also after a run that failed, and after `check`, which runs the tap twice; nothing else of the file changes."""
    file = checkout.root / ".env"
    file.write_text(LINES)
    file.chmod(0o640)
    checkout.scripted(config())
    result = checkout.invoke("run", "p")
    assert "replaced TOKEN in its config; .env has the new value" in result.out
    assert file.read_text() == LINES.replace("first", "first+1")
    checkout.scripted(config(["stderr", "CRITICAL 401 for first+1+1"], ["exit", 1]))
    assert checkout.run().code == 2
    assert file.read_text() == LINES.replace("first", "first+1+1")
    assert "+1" not in (checkout.invoke("runs", "--json").out + checkout.invoke("logs", "last").out)
    checkout.scripted(config())
    assert checkout.invoke("check", "tap-scripted").code == 0
    assert file.read_text() == LINES.replace("first", "first+1+1+1+1")
    assert file.stat().st_mode & 0o777 == 0o640


def test_each_part_begins_with_the_token_of_the_last(checkout: Checkout) -> None:
    """The parts of a run use a token that works once after each other."""
    file = checkout.root / ".env"
    file.write_text(LINES)
    steps = [["renew", "refresh_token", "+1"], ["streams", {"a": 1, "b": 1}]]
    checkout.scripted({"refresh_token": "${TOKEN}", "steps": steps}, split="streams")
    streams: list[dict[str, object]] = [{"tap_stream_id": name, "stream": name, "schema": {}, "selected": True} for name in ("a", "b")]
    checkout.write("tap-scripted/catalog.json", {"streams": streams})
    assert checkout.run().last["records"] == {"a": 1, "b": 1}
    assert file.read_text() == LINES.replace("first", "first+1+1")


def test_what_cannot_be_kept_is_named(checkout: Checkout) -> None:
    """A value of the environment is lost: a warning of the run names the variable and the connector, and no value."""
    checkout.scripted(config())
    result = checkout.run(TOKEN="first")
    wanted = (
        "tap-scripted replaced TOKEN in its config, and the new value is lost: it came from the environment. "
        "Set TOKEN again before the next run."
    )
    assert [event["problem"] for event in result.events if event["event"] == "warning"] == [wanted]
    assert checkout.invoke("show", result.last["run"], "--json").last["warnings"] == [wanted]


def runner(engine: int, side: str) -> int:
    """Return the runner of a side that an engine has started."""
    children = Path(f"/proc/{engine}/task/{engine}/children").read_text().split()
    return next(int(pid) for pid in children if Path(f"/proc/{pid}/cmdline").read_bytes().endswith(f"\0{side}\0".encode()))


@pytest.mark.full
@pytest.mark.parametrize(
    ("pause", "words", "times"),
    [(0, ["run", "p"], 2), (2, ["run", "p"], 2), (2, ["check", "tap-scripted"], 3)],
    ids=["run", "slow", "check"],
)
def test_a_kill_loses_nothing(checkout: Checkout, pause: float, words: list[str], times: int) -> None:
    """A run is killed after the token was replaced: the next command begins with the new one, however slow the runner of the first is."""
    file = checkout.root / ".env"
    file.write_text(LINES)
    checkout.scripted(config(["touch", str(checkout.root / "renewed")], ["sleep", 60]))
    with checkout.start("run", "p") as process:
        eventually((checkout.root / "renewed").exists)
        slow = runner(process.pid, "tap")
        os.kill(slow, signal.SIGSTOP if pause else 0)
        process.kill()
    checkout.scripted(config())
    with checkout.start(*words) as second:
        time.sleep(pause)
        os.kill(slow, signal.SIGCONT if pause else 0)
        out, err = second.communicate(timeout=60)
    assert second.returncode == 0, out + err
    assert file.read_text() == LINES.replace("first", "first" + "+1" * times)
