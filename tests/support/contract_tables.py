"""The tables of ``docs/contracts.md`` and of other pages."""

from __future__ import annotations

import re

from checkout import ROOT

PAGE = (ROOT / "docs" / "contracts.md").read_text(encoding="utf-8")


def table(heading: str, page: str = PAGE) -> list[list[str]]:
    """Return the cells of the table below a heading, without its head."""
    _, _, rest = page.partition(f"\n{heading}\n")
    assert rest, f"there is no heading {heading}"
    rows = re.findall(r"^\|(.+)\|$", re.split(r"^## ", rest, flags=re.MULTILINE)[0], re.MULTILINE)
    return [[cell.strip() for cell in row.split("|")] for row in rows[2:]]


def names(cell: str) -> list[str]:
    """Return the text in backticks."""
    return re.findall(r"`([^`]+)`", cell)


def first_column(heading: str) -> set[str]:
    """Return every name of a table's first column."""
    return {name for row in table(heading) for name in names(row[0])}
