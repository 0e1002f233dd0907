"""The language of documents, messages, docstrings and comments: the rules stand in CONTRIBUTING.

``.venv/bin/python tests/support/style.py PATH…`` prints the findings of single files and folders.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import style
from style import CHECKED, EXCEPTIONS, ROOT, Finding, check, files

if TYPE_CHECKING:
    from pathlib import Path

NOT_YET: dict[str, int] = {
    "cluster/argo": 2,
    "cluster/engines": 48,
    "cluster/net": 1,
    "cluster/runs": 43,
    "cluster/store": 47,
    "singer-containers/commit.py": 31,
}
"""Files and folders that are not rewritten yet, with the number of findings that they may have.

Lower a number, or remove an entry, with what you rewrite. An entry for a folder covers what no
longer entry covers.
"""


@cache
def findings() -> dict[str, list[Finding]]:
    """Return the findings of all files, by the entry of ``NOT_YET`` that covers them, or ''."""
    groups: dict[str, list[Finding]] = {"": [], **{entry: [] for entry in NOT_YET}}
    for finding in (finding for path in CHECKED for file in files(ROOT / path) for finding in check(file)):
        covering = [entry for entry in NOT_YET if f"{finding.path}/".startswith(f"{entry}/")]
        groups[max(covering, key=len, default="")].append(finding)
    return groups


def listing(results: list[Finding]) -> str:
    """Return findings as lines that an editor can jump to."""
    return "\n".join(str(finding) for finding in results)


def test_prose_can_be_read_aloud() -> None:
    """No long line, no long sentence and no word of the list is in what people read."""
    assert findings()[""] == [], listing(findings()[""])


@pytest.mark.parametrize("entry", NOT_YET)
def test_what_is_not_rewritten_yet_gets_no_worse(entry: str) -> None:
    """A file or folder that is still to be rewritten has no more findings than it had."""
    assert len(findings()[entry]) <= NOT_YET[entry], listing(findings()[entry])


def test_every_exception_has_its_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each exception stands for a finding that there would be without it."""
    monkeypatch.setattr(style, "EXCEPTIONS", {})
    there = {(finding.path, finding.text) for path in {path for path, _ in EXCEPTIONS} for finding in check(ROOT / path)}
    assert set(EXCEPTIONS) - there == set()


LONG = "A sentence that goes on and on " + "and on " * 14 + "is too long."


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("a.md", f"Short.\n\n{LONG[:80]}\n{LONG[80:]}\n", ["3: 38 words"]),
        ("a.md", "- " + "a, " * 40 + "\n", ["1: 122 columns", "1: 40 words"]),
        ("a.md", f"```\n{LONG}\n```\n<!-- bench: up -->\n- {LONG}\n<!-- end -->\n", []),
        ("a.md", f"| {'a cell that does not wrap ' * 4}. | {LONG} |\n", ["1: 38 words"]),
        ("a.md", "One. `Two` is short. Three\nis `what was said`. It\nis said.\n", ["3: word"]),
        ("a.md", f"See [{'the page' * 3}](https://{'long' * 30}).\n\n- https://{'long' * 30}\n", []),
        ("a.md", "It is done at\nonce, as well as\nwell-kept. It is well.\n", ["1: word", "3: word"]),
        ("a.py", f'"""Short.\n\n{LONG[:80]}\n{LONG[80:]}\n\n    code::\n\n        {LONG}\n"""\n', ["3: 38 words"]),
        ("a.py", f"# Short.\n\n# {LONG[:66]}\n# {LONG[66:]}\n", ["3: 38 words"]),
        ("a.py", f"x = 1  # {'why it is ' * 10}\ny = 2  # noqa: S101 - {'why it is ' * 10}\n", ["1: 109 columns"]),
        ("a.py", f'fail("E-X", f"{LONG} {{x}}")\nkey = "told"\n', ["1: 38 words"]),
        ("a.py", 'x = "The server" " said nothing."\n', ["1: word"]),
        ("a.py", "class Found:\n    def f(self, way):\n        self.told = place_of = way\n", ["1: name", "2: name", "3: name", "3: name"]),
    ],
)
def test_what_is_noticed(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    """Lines and sentences that are too long, and words of the list, are noticed where people read them; code is not."""
    page = tmp_path / name
    page.write_text(text, encoding="utf-8")
    assert [f"{finding.line}: {finding.rule}" for finding in check(page)] == expected
