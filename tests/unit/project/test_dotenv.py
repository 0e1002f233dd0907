"""Secrets are appended to ``.env``."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.errors import SetupError
from cluster.project.dotenv import keep, read_dotenv, renew

if TYPE_CHECKING:
    from pathlib import Path


def test_it_is_appended_to(tmp_path: Path) -> None:
    """What stands there stays, byte for byte; only the user may read it from then on."""
    file = tmp_path / ".env"
    file.write_bytes(b"# mine\r\nA = 'x'  # y\r\nB=2")
    keep(file, {"B": "2", "C": "a # b"})
    assert file.read_bytes().startswith(b"# mine\r\nA = 'x'  # y\r\nB=2\n")
    assert read_dotenv(file) == {"A": "x", "B": "2", "C": "a # b"}
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_another_value_is_never_overwritten(tmp_path: Path) -> None:
    """A variable that has another value is refused, without showing either, and nothing is written."""
    file = tmp_path / ".env"
    file.write_text("A=first\n")
    with pytest.raises(SetupError) as caught:
        keep(file, {"NEW": "n", "A": "second"})
    assert caught.value.code == "E-SECRET"
    assert not {"first", "second"} & set((caught.value.problem + caught.value.hint).split())
    assert file.read_text() == "A=first\n"


NAMES = st.sampled_from(["A", "B_1", "_C"])
ODD = "".join(map(chr, range(256))) + "\u2028\u2029\ufeff\u200b😀"
"""Every character of one byte, and line ends and marks that only Unicode has."""
PEM = "-----BEGIN KEY-----\nMIIE+/ab==\n-----END KEY-----\n"


@given(st.dictionaries(NAMES, st.text(st.sampled_from(ODD) | st.characters(exclude_categories=["Cs"])), max_size=3))
@example({"A": ODD})
@example({"A": PEM})
@example({"A": "", "B_1": " a # b ", "_C": 'it\'s \\n "quoted" $HOME `x`'})
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    """A secret is read back exactly as it was passed, with any bytes."""
    file = tmp_path_factory.mktemp("env") / ".env"
    keep(file, values)
    assert read_dotenv(file) == values
    keep(file, values)
    assert read_dotenv(file) == values


def test_a_value_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are not UTF-8 come from a command line as surrogates: they are refused, and nothing is written."""
    with pytest.raises(SetupError, match="A is not UTF-8") as caught:
        keep(tmp_path / ".env", {"A": b"\xff".decode(errors="surrogateescape")})
    assert caught.value.code == "E-SECRET"
    assert not (tmp_path / ".env").exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f'KEY="{PEM}"\nB=2\n', {"KEY": PEM, "B": "2"}),
        ('KEY="-----BEGIN KEY-----\\nMIIE\\n-----END KEY-----"', {"KEY": "-----BEGIN KEY-----\nMIIE\n-----END KEY-----"}),
        (r'A="a \"b\" c"', {"A": 'a "b" c'}),
        (r"A='it\'s'", {"A": "it's"}),
        ("A=pass$HOME\nB=${A}", {"A": "pass$HOME", "B": "${A}"}),
        ("\ufeffA=1\r\n\r\n# two\r\nexport B='2'\r\n", {"A": "1", "B": "2"}),
        ("A=#1", {"A": "#1"}),
        ("A=C:\\new", {"A": "C:\\new"}),
    ],
)
def test_it_is_read_as_everybody_reads_it(tmp_path: Path, text: str, values: dict[str, str]) -> None:
    """A key over several lines, escapes, a byte order mark and CRLF are read; nothing is expanded."""
    (tmp_path / ".env").write_bytes(text.encode())
    assert read_dotenv(tmp_path / ".env") == values


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("A=1\n\n\nB", 4, "NAME=value"),
        ("KEY=-----BEGIN KEY-----\nMIIE\n-----END KEY-----\n", 2, "NAME=value"),
        ("A='x\ny'\nB C=1\n", 3, "NAME=value"),
        ("A=1\r\n  \r\n  B='2\r\n", 3, "quote is not closed"),
        ('A=1\nB="2"3', 2, "quote is not closed"),
        ("A=1\n'B'\n", 2, "NAME=value"),
    ],
)
def test_what_cannot_be_read_is_named_by_its_line(tmp_path: Path, text: str, line: int, word: str) -> None:
    """A line that the parser would skip is an error with its number."""
    (tmp_path / ".env").write_bytes(text.encode())
    with pytest.raises(SetupError, match=rf"\.env, line {line}\b.*{word}") as caught:
        read_dotenv(tmp_path / ".env")
    assert caught.value.code == "E-CONFIG"


LINES = [
    "TOKEN=a",
    "TOKEN=a\n",
    "# mine\r\nexport TOKEN = 'a'  # the token\r\nB=2\r\n",
    'B=1\nTOKEN="a"\n\n# end',
    "TOKEN=first\nTOKEN=a # this one counts\n",
    "\ufeffTOKEN=a\nTOKENS=a\n",
]


@pytest.mark.parametrize("text", LINES)
@pytest.mark.parametrize("value", ["b", "b c", "it's", 'q"q', "two\nlines", "a\\1 #x", "ü"])
def test_a_value_is_renewed(tmp_path: Path, text: str, value: str) -> None:
    """One value changes; every other character, and who may read the file, stays."""
    file = tmp_path / ".env"
    file.write_bytes(text.encode())
    file.chmod(0o640)
    renew(file, "TOKEN", ["a", "in between", value])
    assert read_dotenv(file)["TOKEN"] == value
    assert file.stat().st_mode & 0o777 == 0o640
    before, _, after = text.rpartition("TOKEN" + text.rpartition("TOKEN")[2]) if "TOKENS" not in text else ("\ufeff", "", "TOKENS=a\n")
    new = file.read_bytes().decode()
    assert new.startswith(before)
    assert new.endswith(after)
    for rest in ("# this one counts", "# the token\r\nB=2\r\n", "\n\n# end", "TOKENS=a\n"):
        assert (rest in new) is (rest in text)
    renew(file, "TOKEN", ["a", "in between", value])  # nothing to do
    assert file.read_bytes().decode() == new


def test_a_value_of_somebody_else_stays(tmp_path: Path) -> None:
    """A value that somebody else has set meanwhile stays; the message has no value."""
    file = tmp_path / ".env"
    file.write_text("TOKEN=mine\n")
    with pytest.raises(SetupError, match=r"^\.env has another value by now$"):
        renew(file, "TOKEN", ["a", "b"])
    assert file.read_text() == "TOKEN=mine\n"


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """The file that it leads to is changed."""
    (tmp_path / "kept").write_text("TOKEN=a\n")
    (tmp_path / ".env").symlink_to("kept")
    renew(tmp_path / ".env", "TOKEN", ["a", "b"])
    assert (tmp_path / ".env").is_symlink()
    assert (tmp_path / "kept").read_text() == "TOKEN=b\n"
