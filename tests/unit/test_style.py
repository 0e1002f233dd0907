"""The language of documents, messages, docstrings and comments: CONTRIBUTING explains the rules.

``.venv/bin/python tests/support/style.py PATH…`` prints the findings of single files and folders.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import style
from style import CHECKED, EXCEPTIONS, ROOT, check, files

if TYPE_CHECKING:
    from pathlib import Path


def test_prose_can_be_read_aloud() -> None:
    """No long line, no long sentence and no word of the list is in what people read; tests and benchmarks are read too."""
    findings = [finding for path in CHECKED for file in files(ROOT / path) for finding in check(file)]
    assert findings == [], "\n".join(map(str, findings))


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
        ("a.py", 'x = "# told"\ny = "\\"#"  # It is said.\n', ["2: word"]),
        ("a.py", f'fail("E-X", f"{LONG} {{x}}")\nkey = "told"\n', ["1: 38 words"]),
        ("a.py", 'x = "The server" " said nothing."\n', ["1: word"]),
        ("a.py", "class Found:\n    def f(self, way):\n        self.told = place_of = way\n", ["1: name", "2: name", "3: name", "3: name"]),
    ],
)
def test_what_is_noticed(tmp_path: Path, name: str, text: str, expected: list[str]) -> None:
    """Lines and sentences that are too long, and words of the list, are noticed in text that people read; code is not."""
    page = tmp_path / name
    page.write_text(text, encoding="utf-8")
    assert [f"{finding.line}: {finding.rule}" for finding in check(page)] == expected
