"""What uv and git print, as sentences. Pure."""

from __future__ import annotations

import re

NETWORK = re.compile(
    r"error sending request|dns error|failed to lookup|connection refused|network unreachable|tcp connect|timed out|"
    r"client error \(Connect\)|request failed after \d+ retr|network was disabled|couldn't connect to server|could not resolve host",
    re.IGNORECASE,
)
LOGIN = re.compile(
    r"could not read (?:Username|Password)|terminal prompts disabled|Authentication failed for|Permission denied \(publickey|"
    r"Host key verification failed",
    re.IGNORECASE,
)
"""What git and SSH print if a server asks for a login that they do not have."""


def reason(text: str) -> str:
    """Return uv's error as one sentence: what failed, and the last cause."""
    error = re.split(r"^hint: ", re.split(r"^error: ", text, flags=re.MULTILINE)[-1], flags=re.MULTILINE)[0]
    parts = re.split(r"^ +cause: ", error, flags=re.MULTILINE)
    failed, *causes = ([line.strip() for line in part.splitlines() if line.strip()] for part in parts)
    sentence = failed[0] if failed else "uv gave no reason"
    if causes and causes[-1]:
        # Of git, its first error. Of another program that uv ran, the last line of its output, or
        # the last that names an error. Of a conflict, uv's first sentence.
        printed = any("stderr]" in line or "-- stderr" in line for line in causes[-1])
        errors = [line for line in causes[-1] if re.search(r"[Ee]rror\b", line)]
        cause = (errors or causes[-1])[-1] if printed else causes[-1][0]
        cause = next((line.removeprefix("fatal: ") for line in causes[-1] if line.startswith("fatal: ")), cause)
        sentence = cause if sentence.startswith("No solution found") else f"{sentence}: {cause}"
    sentence = re.sub(r"^Because |, we can conclude that .*| in `-` at position \d+", "", sentence)[:300]
    return sentence if sentence.endswith((".", "?")) else sentence + "."


def without_login(text: str) -> str:
    """Return *text* without the users and passwords of web addresses, which may be tokens."""
    return re.sub(r"(https?://)[^\s/@'\"]+@", r"\1", text)
