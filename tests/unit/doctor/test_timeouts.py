"""Work in a thread, with a timeout."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cluster.doctor.timeouts import begin, within


def test_work_that_does_not_end_is_not_waited_for() -> None:
    """What comes in time is taken, what does not is replaced, and an error is an error."""
    assert within(10, lambda: 1, 2) == 1
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as endless:
        assert within(0.1, endless.wait, -1) == -1
        endless.kill()
    with pytest.raises(ZeroDivisionError):
        begin(lambda: 1 // 0).result(10)
