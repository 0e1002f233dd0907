"""The table of the most used connectors: what ``benchmarks/hub.py`` makes of its measurements."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest
from documents import ROOT, read

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType


@pytest.fixture(scope="module")
def hub() -> ModuleType:
    """Return the module, which is no part of the package."""
    sys.path.insert(0, str(ROOT / "benchmarks"))
    try:
        import hub  # noqa: PLC0415 - found by this path only
    finally:
        sys.path.pop(0)
    return hub


def events(*more: dict[str, Any], missing: list[str] | None = None) -> list[dict[str, Any]]:
    """Return what ``new --json`` prints of a connector that it has made."""
    return [{"event": "connector", "missing": missing or [], "secrets": []}, *more]


@pytest.mark.parametrize(
    ("printed", "words"),
    [
        (events(missing=["start_date"]), "missing: start_date"),
        (events({"event": "check", "ok": True}), "checked"),
        (events({"event": "check", "ok": False}), "checked, with findings"),
        (events({"event": "catalog"}), "discovered"),
        (events({"event": "warning", "problem": "401 Unauthorized"}), "401 Unauthorized"),
    ],
)
def test_how_far_a_trial_came(hub: ModuleType, printed: list[dict[str, Any]], words: str) -> None:
    """A connector without a login is tried as far as it goes, and the table shows how far."""
    assert hub.tried("tap", printed) == words


def test_a_row_names_the_reason_of_a_failure(hub: ModuleType) -> None:
    """What did not work has no time but its reason, in a form that keeps the table whole."""
    failed = hub.Attempt("tap-a", "b", source="hub", problem="E-INSTALL a|b does\nnot build", bare_problem="not there")
    assert hub.cells(failed) == ["tap-a, b", "hub", "**no**: E-INSTALL a/b does not build", "", "", "", "**no**: not there"]
    assert hub.cells(hub.Attempt("tap-a", "b")) == ["tap-a, b", "", "", "", "", "", ""]
    made = hub.Attempt("tap-a", "b", "hub", 12.34, 0.5, "checked", 20, "3.9", ["Python 3.9 is used", "setuptools<81 is added"], image=41.2)
    assert hub.cells(made)[1:6] == ["hub", "12.3 s", "0.5 s (Python 3.9, `setuptools<81`)", "checked", "41 s"]


def test_the_list_is_that_of_the_page_or_of_a_file(hub: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The page's own rows are tried again, in their order; a file with other connectors takes their place."""
    rows = hub.listing()
    assert len(rows) == read("docs/connectors.md").partition("<!-- bench: hub -->")[2].partition("<!-- end -->")[0].count("\n| ta")
    file = tmp_path / "list.tsv"
    file.write_text("type\tname\tvariant\nextractors\ttap-a\tb\t12\nloaders\ttarget-c\td\n", encoding="utf-8")
    monkeypatch.setenv("BENCH_HUB_LIST", str(file))
    assert hub.listing() == [("tap", "tap-a", "b"), ("target", "target-c", "d")]
