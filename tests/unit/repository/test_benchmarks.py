"""The tables of measurements in ``docs/``, and the suite that writes them: ``benchmarks/``."""

from __future__ import annotations

import re
import runpy
from typing import TYPE_CHECKING

import pytest
from documents import CONTEXTS, ROOT, read

from cluster.commands.develop import BENCHMARKS

if TYPE_CHECKING:
    from pathlib import Path

TABLE = runpy.run_path(str(ROOT / "benchmarks" / "table.py"))
PAGES = ("docs/performance.md", "docs/connectors.md")


def test_the_pages_have_a_section_for_each_benchmark() -> None:
    """Each benchmark has one place, in the order in which they are measured, and the command's help names them all."""
    sections = [section for page in PAGES for section in re.findall(r"<!-- bench: (\w+) -->", read(page))]
    assert tuple(sections) == BENCHMARKS
    assert re.findall(r"\b(?:" + "|".join(BENCHMARKS) + r")\b", CONTEXTS["bench"].args["only"].help) == list(BENCHMARKS)


@pytest.mark.parametrize("section", BENCHMARKS)
def test_a_table_says_where_and_when(section: str) -> None:
    """Above each table stand the machine, the day and the versions; all tables have one form."""
    content = TABLE["content_of"](section, TABLE["page_of"](section).read_text(encoding="utf-8"))
    if content != "Not measured yet.\n":
        machine, day, versions, _, *table = content.partition("\n\n| connector |")[0].splitlines()
        assert re.match(r"- .*\bcores\b", machine)
        assert re.match(r"- \d{4}-\d\d-\d\d\b", day)
        assert re.match(r"- .*\d\.\d", versions)
        assert "\n".join(table[:2]) == TABLE["markdown"]([])
        assert {line.count(" | ") for line in table} == {len(TABLE["HEADERS"]) - 1}


def test_a_section_is_written_between_its_markers(tmp_path: Path) -> None:
    """Only what stands between its markers changes."""
    row = TABLE["Row"]("a run", "1.0 s", "pipe: 0.5 s", "+0.5 s", "at most +0.1 s", met=False)
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- bench: up -->\nold\n<!-- end -->\nbetween\n<!-- bench: run -->\nkept\n<!-- end -->\n", encoding="utf-8")
    TABLE["write"]("up", TABLE["markdown"]([row]) + "\n", page)
    written = page.read_text(encoding="utf-8")
    assert written.startswith("before\n<!-- bench: up -->\n| what | ours |")
    assert "\n| a run | 1.0 s | pipe: 0.5 s | +0.5 s | at most +0.1 s | **no** |\n<!-- end -->\nbetween\n" in written
    assert written.endswith("<!-- bench: run -->\nkept\n<!-- end -->\n")
    assert "old" not in written
