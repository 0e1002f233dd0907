"""Programs that do not end."""

from __future__ import annotations

import sys

from cluster.host.subprocesses import TOO_LONG, run


def test_a_program_that_does_not_end_is_killed_with_its_children() -> None:
    """A program that takes too long is killed with what it has started, also where that holds its output open."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    done = run([sys.executable, "-c", code], seconds=1)
    assert (done.returncode, done.stdout, done.stderr) == (TOO_LONG, "", "no answer within 1 s")
