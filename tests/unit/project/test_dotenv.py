"""Secrets are appended to ``.env``."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.errors import SetupError
from cluster.project.dotenv import keep, read_dotenv

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


@given(st.dictionaries(st.sampled_from(["A", "B_1", "_C"]), st.text(st.characters(exclude_categories=["Cs"])), max_size=3))
def test_what_is_written_is_what_is_read(tmp_path_factory: pytest.TempPathFactory, values: dict[str, str]) -> None:
    """Whatever a secret is, it is read as it was given, or refused."""
    file = tmp_path_factory.mktemp("env") / ".env"
    try:
        keep(file, values)
    except SetupError as error:
        assert error.code == "E-SECRET"  # noqa: PT017 - either this or what follows
        assert not file.exists()
    else:
        assert read_dotenv(file) == values
