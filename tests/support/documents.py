"""The documents as a reader uses them: their fenced blocks, and the commands in them."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from invoke.parser import Parser

import tasks

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / ".github").glob("*.md")])
PLATFORM = "With the platform"
"""The sections whose commands need a cluster."""
CONTEXTS = {context.name: context for context in tasks.namespace.to_contexts()}
"""What Invoke's parser knows of each command; made once, because Invoke hands out an option's help only once."""
SECONDS = 900


@dataclass(frozen=True)
class Block:
    """A fenced block: below which heading it stands, its language, its text."""

    heading: str
    language: str
    text: str

    @property
    def platform(self) -> bool:
        """Whether it needs a cluster."""
        return self.heading == PLATFORM


def read(page: str) -> str:
    """Return a page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(text: str) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    results, heading = [], ""
    for part in re.split(r"^(```\w*\n.*?^```$)", text, flags=re.MULTILINE | re.DOTALL):
        fenced = re.fullmatch(r"```(\w*)\n(.*?)```", part, re.DOTALL)
        if fenced:
            results.append(Block(heading, fenced[1], fenced[2]))
        else:
            heading = next(reversed(re.findall(r"^#+ (.+)$", part, re.MULTILINE)), heading)
    return results


def commands(text: str) -> list[str]:
    """Return every command of ours that a page shows, in a block or within a sentence, without what a shell makes of it."""
    lines = [line for block in blocks(text) for line in block.text.splitlines()]
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    matches = (re.search(r"(?:^|[\s(=])\./invoke ([^|;)#…]+)", piece) for piece in [*lines, *spans])
    return [match[1].strip() for match in matches if match]


@cache
def understood(command: str) -> None:
    """See that Invoke would take a command: its name, its flags, no argument too few or too many."""
    words = shlex.split(command)
    if words[0].startswith("-"):
        return  # Invoke's own, such as --list
    (context,) = Parser(contexts=list(CONTEXTS.values())).parse_argv(words)
    assert context.name == words[0]
    assert not context.missing_positional_args, command


def type_block(block: Block, folder: Path, environ: dict[str, str]) -> str:
    """Type a block's commands in *folder*, and return what they have printed."""
    done = subprocess.run(
        ["sh", "-euc", block.text],
        cwd=folder,
        env={**environ, "SINGER_LAUNCHER": ""},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{block.text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def masked(line: str) -> str:
    """Return a line without what differs from run to run: ids of runs, figures, their units, spaces."""
    line = re.sub(r"\b\d{8}t\d{6}-[a-z0-9]{4}\b", "RUN", line)
    return re.sub(r"\s+", " ", re.sub(r"\d[\d.,:]*(?: (?:bytes|kB|MB|GB|s|min)\b)?", "0", line)).strip()


def walk(text: str, folder: Path, environ: dict[str, str], *, platform: bool) -> int:
    """Type all commands of a page in order, and compare what is shown of their output; return how many blocks were typed.

    Without *platform* the sections that need one are left out. The tests themselves are not typed: they would never end.
    """
    printed, count = "", 0
    for block in blocks(text):
        if block.platform and not platform:
            continue
        if block.language == "sh":
            typed = Block(block.heading, "sh", re.sub(r"^\./invoke test.*\n", "", block.text, flags=re.MULTILINE))
            printed = type_block(typed, folder, environ)
            count += 1
        elif block.language == "text":
            there = {masked(line) for line in printed.splitlines()}
            missing = [line for line in block.text.splitlines() if masked(line) not in there]
            assert missing == [], printed
    return count


def fresh_clone(folder: Path) -> Path:
    """Clone what is committed."""
    clone = folder / "singer"
    owner = {"GIT_CONFIG_COUNT": "1", "GIT_CONFIG_KEY_0": "safe.directory", "GIT_CONFIG_VALUE_0": "*"}
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], env={**os.environ, **owner}, check=True, timeout=SECONDS)
    return clone
