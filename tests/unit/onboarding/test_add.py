"""Pipelines added to a ``pipelines.yaml`` that people have written."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import SetupError
from cluster.onboarding.add import appended, with_catalog

ENTRY = {"tap": "tap-a", "target": "target-b", "schedule": "*/5 0 * * 1-5"}
AS_IT_IS = {
    "nothing": "",
    "only comments": "# Pipelines.\n\n# None yet.\n",
    "only a comment, no newline": "# None yet",
    "no newline at the end": "a:\n  tap: t\n  target: x",
    "blank lines at the end": "a: {tap: t, target: x}\n\n\n\n",
    "a comment at the end": "a: {tap: t, target: x}\n# the end",
    "a comment to the right at the end": "a:\n  tap: t\n  target: x\n  # retries: 3\n",
    "line ends of Windows": "# ä\r\na:\r\n  tap: t\r\n  target: x\r\n",
    "a mark at the beginning": "---\na: {tap: t, target: x}\n",
    "a mark and nothing else": "---\n",
    "a directive": "%YAML 1.1\n---\na: {tap: t, target: x}\n",
    "a byte order mark": "\ufeffa: {tap: t, target: x}\n",
    "all of it to the right": "    a:\n      tap: t\n      target: x\n",
    "anchors": "a: &a\n  tap: t\n  target: x\nb:\n  <<: *a\n  retries: 1\n",
    "a text block that keeps its newlines": "a:\n  tap: t\n  target: |+\n    x\n\n\n",
    "a folded text at the end": "a:\n  tap: t\n  target: >-\n    x\n    y\n",
    "a quoted text over lines": 'a:\n  tap: t\n  target: "x\n    y"\n',
    "flow style over lines": "a: {\n  tap: t,\n  target: x\n}\n",
    "a list that is not to the right": "a:\n  schedule:\n  - 0 6 * * *\n  - 0 7 * * *\n",
    "an entry of nothing": "a:\n",
    "tabs behind": "a: {tap: t, target: x} #\tend\t\n",
    "keys with a question mark": "? a\n: {tap: t}\n? b",
}
"""What ``add`` leaves as it stands, byte for byte, before the new entry."""

MARKED = {"a mark at the end": ("a: {tap: t, target: x}\n", "...\n"), "a mark and a comment": ("a: {tap: t}\n", "... # done\n# over\n")}
REFUSED = {
    "flow style": "{a: {tap: t, target: x}}\n",
    "flow style, empty": "{}\n",
    "flow style behind a mark": "--- {a: {tap: t, target: x}}\n",
    "a list": "- a\n- b\n",
    "a word": "pipelines\n",
    "two documents": "a: {tap: t}\n---\nb: {tap: t}\n",
    "the same key twice": "a: {tap: t}\na: {tap: t}\n",
    "tabs before a key": "a:\n\ttap: t\n",
    "a line of tabs": "a: {tap: t, target: x}\n\t\n",
    "half of an entry": "a: {tap: t",
    "holds itself": "a: &a {tap: *a}\n",
}


@pytest.mark.parametrize("case", AS_IT_IS)
def test_what_stands_there_stays(case: str) -> None:
    """Everything before the new entry stays as it was, byte for byte, and means the same."""
    text = AS_IT_IS[case]
    new = appended(text, "new-one", ENTRY, "pipelines.yaml")
    assert new.startswith(text)
    assert yaml.safe_load(new) == {**(yaml.safe_load(text) or {}), "new-one": ENTRY}
    assert ("\r\n" in new) == ("\r\n" in text)
    assert new.count("\n") == new.count("\r\n") or "\r\n" not in text


@pytest.mark.parametrize("case", MARKED)
def test_a_mark_ends_the_document(case: str) -> None:
    """Where a mark ends the document, the entry stands before it."""
    head, tail = MARKED[case]
    new = appended(head + tail, "new-one", ENTRY, "pipelines.yaml")
    assert new.startswith(head)
    assert new.endswith(tail)
    assert yaml.safe_load(new) == {**yaml.safe_load(head), "new-one": ENTRY}


@pytest.mark.parametrize("case", REFUSED)
def test_what_takes_no_entry_is_refused(case: str) -> None:
    """What cannot be appended to is refused with what to do, never damaged."""
    with pytest.raises(SetupError) as caught:
        appended(REFUSED[case], "new-one", ENTRY, "pipelines.yaml")
    assert caught.value.code == "E-CONFIG"
    assert "pipelines.yaml" in caught.value.problem + caught.value.hint


def test_a_refusal_names_the_entry() -> None:
    """Who has to write the entry by hand can copy it from the hint."""
    with pytest.raises(SetupError) as caught:
        appended("{}", "new-one", ENTRY, "pipelines.yaml")
    assert yaml.safe_load(caught.value.hint.partition("by hand: ")[2]) == {"new-one": ENTRY}


@pytest.mark.parametrize("name", ["on", "null", "123", "1e3", "no", "0x1f", "2024-01-01", "y"])
def test_names_that_yaml_takes_for_something_else(name: str) -> None:
    """A pipeline may be called what YAML would read as a number, a date or a truth."""
    assert list(yaml.safe_load(appended("a: {tap: t}\n", name, ENTRY, "pipelines.yaml"))) == ["a", name]


WORDS = st.sampled_from(["tap-a", "target-b", "ä ö", "0 6 * * *", "", "#", "a: b", "yes", "12", "it's", '"q"', "- x"])
COMMENTS = st.sampled_from(["", "\n", "# one\n", "\n# two: {\n\n", "    # far to the right\n", "#\n"])


@st.composite
def files(draw: st.DrawFn) -> str:
    """Return a valid file as people write them: entries in several styles, comments and blank lines between."""
    text = draw(COMMENTS)
    for name in draw(st.lists(st.sampled_from(["a", "b-c", "d1", "nightly", "x-y-z"]), unique=True, max_size=5)):
        values = {
            "tap": draw(WORDS),
            "target": draw(WORDS),
            "retries": draw(st.integers(0, 9)),
            "schedule": draw(st.lists(WORDS, max_size=2)),
        }
        text += yaml.safe_dump({name: values}, default_flow_style=draw(st.sampled_from([False, None])), indent=draw(st.integers(2, 6)))
        text += draw(COMMENTS)
    text = text if draw(st.booleans()) else text.rstrip("\n")
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@given(files(), st.lists(st.sampled_from(["new-1", "new-2", "new-3"]), unique=True, min_size=1))
def test_any_number_of_entries(text: str, names: list[str]) -> None:
    """However many entries are added to any file: all that was there stays, byte for byte, and is read as before."""
    new = text
    for name in names:
        longer = appended(new, name, ENTRY, "pipelines.yaml")
        assert longer.startswith(new)
        new = longer
    assert yaml.safe_load(new) == {**(yaml.safe_load(text) or {}), **dict.fromkeys(names, ENTRY)}


WITH_CATALOG = {
    "a: {tap: t, target: x}\n": "a: {tap: t, catalog: a/catalog.json, target: x}\n",
    "a:\n  tap: t  # ours\n  target: x": "a:\n  tap: t  # ours\n  catalog: a/catalog.json\n  target: x",
    "a:\n  target: x\n  tap: t": "a:\n  target: x\n  tap: t\n  catalog: a/catalog.json\n",
    "a:\r\n    tap: 't'\r\n    target: x\r\n": "a:\r\n    tap: 't'\r\n    catalog: a/catalog.json\r\n    target: x\r\n",
}  # fmt: skip


@pytest.mark.parametrize("text", WITH_CATALOG)
def test_an_entry_gets_a_catalog(text: str) -> None:
    """The catalog stands behind the tap, and every other byte stays."""
    assert with_catalog(text, "a", "a/catalog.json", "pipelines.yaml") == WITH_CATALOG[text]


@pytest.mark.parametrize(
    "text",
    [
        "a: &a {tap: t, target: x}\nb: {<<: *a, retries: 1}\n",
        "b: &b {tap: t}\na: {<<: *b, target: x}\n",
        "b: &b {tap: t, target: x}\na: *b\n",
        "{a: {target: x}}\n",
    ],
)
def test_an_entry_that_others_repeat(text: str) -> None:
    """An entry that cannot be changed alone is left to the user, with the line to write."""
    with pytest.raises(SetupError) as caught:
        with_catalog(text, "a", "a/catalog.json", "pipelines.yaml")
    assert (caught.value.code, caught.value.hint.endswith("catalog: a/catalog.json")) == ("E-CONFIG", True)
