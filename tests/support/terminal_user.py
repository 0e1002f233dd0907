"""Somebody at a terminal, for what is asked there alone."""

from __future__ import annotations

import codecs
import os
import pty
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from checkout import Checkout


class Typist:
    """Somebody at a terminal, who reads and types."""

    def __init__(self, checkout: Checkout, *words: str) -> None:
        """Start a command on a new terminal."""
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "invoke", *words],
            cwd=checkout.root,
            env={**checkout.environ, "TERM": "dumb"},
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
        )
        os.close(slave)
        self.seen = ""
        self._returned = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode

    def sees(self, text: str, seconds: float = 120) -> str:
        """Wait for a text, and return all that was shown since the last one."""
        deadline = time.monotonic() + seconds
        while text not in self.seen[self._returned :] and time.monotonic() < deadline and self._read(deadline):
            pass
        assert text in self.seen[self._returned :], self.seen
        shown, self._returned = self.seen[self._returned :], len(self.seen)
        return shown

    def _read(self, deadline: float) -> bool:
        if not select.select([self.master], [], [], max(0.0, deadline - time.monotonic()))[0]:
            return False
        try:
            part = os.read(self.master, 4096)
        except OSError:  # the other side has ended
            return False
        self.seen += self._decode(part)  # it may end within a character
        return bool(part)

    def types(self, text: str) -> None:
        """Type a line."""
        os.write(self.master, f"{text}\n".encode())

    def ends(self) -> int:
        """Wait for the end of the command, and return its exit code."""
        while self._read(time.monotonic() + 120):
            pass
        os.close(self.master)
        return self.process.wait()
