"""Strict reading of what people write: a mistake is answered with the file, the key, what was found and what is allowed."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cluster.config.strict import Fields, describe, listed, nearest, read_object, read_text, read_yaml
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Return where a file may be written."""
    return tmp_path / "file"


def refused(call: Callable[[], object]) -> SetupError:
    """Return the error that a call ends with."""
    with pytest.raises(SetupError) as caught:
        call()
    assert caught.value.problem.endswith((".", "?"))
    assert caught.value.hint.endswith(".")
    return caught.value


# ------------------------------------------------------------------------------------------------------------ files


def test_files_from_windows_are_read(file: Path) -> None:
    """A byte order mark and CRLF, as editors on Windows write them, change nothing."""
    file.write_bytes("\ufeffp:\r\n  tap: x\r\n  note: |\r\n    a\r\n    b\r\n".encode())
    assert read_yaml(file, "a.yaml") == {"p": {"tap": "x", "note": "a\nb\n"}}
    file.write_bytes('\ufeff{\r\n  "p": 1\r\n}\r\n'.encode())
    assert read_object(file, "a.json") == {"p": 1}


@given(st.dictionaries(st.text(), values))
def test_a_yaml_file_is_read_as_it_was_meant(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    """What YAML can say of texts, numbers, lists and mappings is read as it was written."""
    file = tmp_path_factory.getbasetemp() / "fields.yaml"
    file.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert read_yaml(file, "x.yaml") == data


@given(st.dictionaries(st.text(), values))
def test_a_json_file_is_read_as_it_was_meant(tmp_path_factory: pytest.TempPathFactory, data: dict[str, Any]) -> None:
    """A JSON object is read as it was written."""
    file = tmp_path_factory.getbasetemp() / "fields.json"
    file.write_text(json.dumps(data), encoding="utf-8")
    assert read_object(file, "x.json") == data


YAML_MISTAKES = {
    "a: 1\nb: [1\nc: 2\n": "x.yaml, line 3, column ",
    "a: 1\na: 2\n": "x.yaml, line 2, column 1: the key 'a' stands twice.",
    "p:\n  a: 1\n  b: 2\n  a: 3\n": "x.yaml, line 4, column 3: the key 'a' stands twice.",
    "on: 1\n": "x.yaml, line 1, column 1: the key True is not a string.",
    "[a]: 1\n": "x.yaml, line 1, column 1: ",
    "a: !!python/name:os.system\n": "x.yaml, line 1, column 4: ",
    "a: *nowhere\n": "x.yaml, line 1, column 4: ",
    "a: 1\n---\nb: 2\n": "x.yaml, line 2, column 1: ",
    "a: \t- x\n": "x.yaml, line 1, column ",
    "a: \x07\n": "x.yaml",
    "a: 2026-99-99\n": "x.yaml",
    "[" * 10_000: "x.yaml",
}


@pytest.mark.parametrize(("text", "problem"), YAML_MISTAKES.items())
def test_yaml_that_is_wrong_is_shown_where(file: Path, text: str, problem: str) -> None:
    """Text that is no YAML, or has a key twice, is E-CONFIG with its line and column."""
    file.write_text(text, encoding="utf-8")
    error = refused(lambda: read_yaml(file, "x.yaml"))
    assert (error.code, error.problem[: len(problem)]) == ("E-CONFIG", problem)


JSON_MISTAKES = {
    '{"a": 1,\n "b": }': "x.json, line 2, column 7: ",
    "": "x.json, line 1, column 1: ",
    "[1, 2]": "x.json holds [1, 2], not a JSON object.",
    '"a"': 'x.json holds "a", not a JSON object.',
    '{"a": [NaN]}': "x.json is not JSON: it has NaN, which JSON does not allow.",
    '{"a": ' + "9" * 5000 + "}": "x.json is not JSON: ",
    '{"a": ' * 100_000: "x.json is not JSON: ",
}


@pytest.mark.parametrize(("text", "problem"), JSON_MISTAKES.items(), ids=[key[:20] for key in JSON_MISTAKES])
def test_json_that_is_wrong_is_shown_where(file: Path, text: str, problem: str) -> None:
    """What is no JSON object has the code that was asked for, and a line and column where there are any."""
    file.write_text(text, encoding="utf-8")
    error = refused(lambda: read_object(file, "x.json", "E-STATE"))
    assert (error.code, error.problem[: len(problem)]) == ("E-STATE", problem)
    assert len(error.problem) < 300


def test_a_mapping_may_take_over_another(file: Path) -> None:
    """What YAML calls a merge works: the keys of an anchor, and those that stand here instead."""
    file.write_text("a: &a {tap: t, retries: 1}\nb: {<<: *a, retries: 2}\n")
    assert read_yaml(file, "x.yaml") == {"a": {"tap": "t", "retries": 1}, "b": {"tap": "t", "retries": 2}}


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A file that is missing, is a folder or is not UTF-8 is E-CONFIG and named."""
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    for path, problem in (
        (tmp_path / "none", "x is not there."),
        (tmp_path, "x cannot be read: "),
        (tmp_path / "latin", "x cannot be read: "),
    ):
        assert refused(partial(read_text, path, "x")).problem.startswith(problem)


# ---------------------------------------------------------------------------------------------------------- wording


@given(values)
def test_any_value_fits_into_a_sentence(value: object) -> None:
    """A found value is shown as JSON on one line, a long one cut with an ellipsis."""
    text = describe(value)
    assert len(text) <= 81
    assert "\n" not in text
    assert text.endswith("…") or json.loads(text) == value


@pytest.mark.parametrize(
    "text", ["a: 2026-01-01\n", "a: !!binary aGVsbG8=\n", "a: !!set {x}\n", "a: .nan\n", "a: &a [*a]\n", "a: &a {b: *a}\n"]
)
def test_whatever_yaml_can_say_can_be_refused(file: Path, text: str) -> None:
    """A value of any kind that YAML knows, also one that holds itself, is refused with a sentence."""
    file.write_text(text, encoding="utf-8")
    fields = Fields(read_yaml(file, "x.yaml"), shown="x.yaml")
    assert refused(lambda: fields.text("a", allowed="a text")).problem.startswith("x.yaml: a is ")


@given(st.sampled_from(["schedule", "timezone", "retries", "executable"]), st.integers(0, 7))
def test_a_misspelt_word_is_recognised(word: str, missing: int) -> None:
    """A word with one letter missing is answered with the word that was meant."""
    assert nearest(word[:missing] + word[missing + 1 :], ["schedule", "timezone", "retries", "executable"]) == f' Did you mean "{word}"?'


def test_words_are_listed() -> None:
    """Words are joined for a sentence; an empty list reads "none", and nothing is like nothing."""
    assert (listed(["a", "b"]), listed([]), nearest("zzz", ["a", "b"]), nearest("a", [])) == ("a, b", "none", "", "")


# ------------------------------------------------------------------------------------------------------------- keys


def fields(**data: object) -> Fields:
    """Return the keys of a file ``x.yaml``."""
    return Fields(data, shown="x.yaml", at="p")


@pytest.mark.parametrize("data", [None, [], "x", 1, [{"a": 1}]], ids=repr)
def test_a_document_is_a_mapping(data: object) -> None:
    """What is no mapping is refused, and what was found is shown."""
    error = refused(lambda: Fields(data, shown="x.yaml"))
    assert error.problem == f"x.yaml: the document is {json.dumps(data)}; allowed is a mapping of keys to values."


def test_what_is_absent_has_its_default() -> None:
    """A key that is missing, or null, has the default; one without a default is asked for, with what it may be."""
    section = fields(empty=None)
    assert (section.text("a", "x"), section.text("empty", "y"), section.text("b", None)) == ("x", "y", None)
    assert (section.texts("c", ()), section.flag("d", default=True), section.number("e", default=3, least=0, most=9)) == ((), True, 3)
    assert section.choice("f", ("one", "two"), "two") == "two"
    error = refused(lambda: section.choice("g", ("one", "two")))
    assert error.problem == "x.yaml: p.g is missing; it is one of one, two."
    assert error.hint == "Add p.g to x.yaml."


def test_a_missing_key_that_is_there_misspelt() -> None:
    """Where a required key is missing and a similar one is there, that one is named."""
    error = refused(lambda: fields(kidn="tap").choice("kind", ("tap", "target")))
    assert error.problem.endswith('"kidn" may be a mistyped "kind".')
    assert error.hint == 'Rename "kidn" to "kind" in x.yaml.'


@given(values.filter(lambda value: value is not None))
def test_each_kind_takes_its_own_kind_only(value: Any) -> None:
    """A value is returned as it stands or refused; nothing is turned into another kind."""
    section = fields(a=value)
    reads: dict[str, tuple[Callable[[], object], bool, object]] = {
        "text": (lambda: section.text("a", pattern="(?s).*"), isinstance(value, str), value),
        "texts": (
            lambda: section.texts("a", pattern="(?s).*"),
            isinstance(value, str) or (isinstance(value, list) and all(isinstance(item, str) for item in value)),
            (value,) if isinstance(value, str) else value,
        ),
        "flag": (lambda: section.flag("a", default=False), isinstance(value, bool), value),
        "number": (lambda: section.number("a", default=1, least=0, most=10), type(value) is int and 0 <= value <= 10, value),
        "mapping": (lambda: section.mapping("a").at, isinstance(value, dict), "p.a"),
    }
    for name, (read, fits, expected) in reads.items():
        if fits:
            result = read()
            assert (tuple(expected) if name == "texts" else expected) == result  # type: ignore[arg-type]
        else:
            assert refused(read).problem.startswith(f"x.yaml: p.a is {describe(value)}; allowed is ")


@pytest.mark.parametrize("text", ["", "a\nb", "tab\t", "nul\x00"])
def test_a_text_is_one_line(text: str) -> None:
    """An empty text, and one with line breaks or control characters, is no text for a key."""
    refused(lambda: fields(a=text).text("a"))
    refused(lambda: fields(a=["x", text]).texts("a"))


def test_a_key_that_nobody_asked_for() -> None:
    """An unknown key is refused with the one that was meant and all that are known, also below another key."""
    section = fields(mode="x", resources={"cpus": "1"})
    section.text("mode")
    inner = section.mapping("resources")
    inner.text("cpu", None)
    section.finish()
    error = refused(inner.finish)
    assert error.problem == 'x.yaml: p.resources.cpus is not a known key. Did you mean "cpu"? Known are cpu.'
    assert error.hint == "Correct or remove p.resources.cpus in x.yaml."
