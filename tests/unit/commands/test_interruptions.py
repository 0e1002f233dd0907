"""Ctrl-C: it is acknowledged immediately, and names the runs that go on."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING, cast

import pytest

from cluster.commands.platform import _acknowledging
from cluster.engines.argo import ArgoEngine
from cluster.errors import Interrupted
from cluster.runs.record import Record, Side
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from cluster.platform.handles import Handles


def test_up_acknowledges_immediately(capfd: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C prints a line before the steps under way have ended, and raises as usual; then the handler is as before."""
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), _acknowledging():
        signal.raise_signal(signal.SIGINT)
    assert capfd.readouterr().err == "\nInterrupted: stopping the steps that are under way.\n"
    assert signal.getsignal(signal.SIGINT) is before


class Followed(ArgoEngine):
    """Runs of which one has ended and the others go on until they are left. While they go on, Ctrl-C is pressed."""

    def _follow(self, run: str, title: str) -> Record:
        if run == "r-2":
            threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
        if run != "r-ended":
            self._left.wait()
        return Record(run, title, "argo", "2026-01-01T00:00:00Z", Side("tap-x", ""), Side("target-x", ""), None)


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (["r-ended", "r-2", "r-3"], "r-2 and r-3 go on in the cluster. invoke logs r-2 · invoke cancel r-2,r-3 stops them."),
        (["r-2"], "r-2 goes on in the cluster. invoke logs r-2 · invoke cancel r-2 stops it."),
    ],
)
def test_what_goes_on_is_named(runs: list[str], message: str) -> None:
    """Of several runs those that have not ended are named, and one command stops all of them."""
    engine = Followed(cast("Handles", None), Plain())
    with pytest.raises(Interrupted) as caught:
        engine.follow({run: run for run in runs})
    assert str(caught.value) == message
