"""Secrets that a connector replaced: what is kept, what is reported about the others."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from typing import TYPE_CHECKING, Any

import pytest
from kube_secret import changed

from cluster.errors import SetupError
from cluster.platform.steps.secrets import _Secret
from cluster.runs.rotation import Keeper, rotation

if TYPE_CHECKING:
    from pathlib import Path


def test_each_new_value_is_kept_once(tmp_path: Path) -> None:
    """A value that could not be kept is tried again; at the end its variable is named, its value is not."""
    file, kept, broken = tmp_path / "rotated.json", list[str](), list[str]()

    def keep(name: str, values: list[str]) -> None:
        if broken:
            raise SetupError("E-SECRET", "no.", hint="")
        kept.append(f"{name} {values[-1]}")

    keeper = Keeper("tap-x", file, keep)
    assert keeper.look() == []
    for text in ("half", "[]", '{"A": 1}'):
        file.write_text(text)
        assert keeper.look() == []
    file.write_text(json.dumps({"A": ["1", "2"]}))
    assert (keeper.look(), keeper.look()) == (["A"], [])
    broken.append("yes")
    file.write_text(json.dumps({"A": ["1", "2", "3"]}))
    assert keeper.look() == []
    assert keeper.problems == [
        "tap-x replaced A in its config, and the new value is lost: no. Set A again before the next run.",
    ]
    broken.clear()
    assert keeper.look() == []  # a moment later
    assert keeper.look(last=True) == ["A"]
    assert (kept, keeper.problems) == (["A 2", "A 3"], [])


def secret(value: str, annotations: dict[str, str] | None = None, **labels: str) -> dict[str, Any]:
    """Return a Secret as the API server has it."""
    marks = {"singer/instance": "one"} if not labels else {}
    metadata = {"name": "connector-x", "labels": marks, "annotations": annotations or {}, "resourceVersion": "7"}
    return {"metadata": metadata, "data": {"A": b64encode(value.encode()).decode()}}


def patched(live: dict[str, Any], change: dict[str, Any] | None) -> dict[str, Any]:
    """Return the Secret after a merge patch."""
    assert change is not None
    assert change["metadata"]["resourceVersion"] == "7"
    return secret(b64decode(change["data"]["A"]).decode(), {**live["metadata"]["annotations"], **change["metadata"]["annotations"]})


def test_a_secret_remembers_with_which_value_it_began() -> None:
    """While the laptop has the first value, the replaced one counts; another value of the laptop wins, and a new story begins."""
    live = patched(secret("one"), changed(secret("one"), "connector-x", "A", ["one", "two"]))
    live = patched(live, changed(live, "connector-x", "A", ["two", "three"]))
    assert changed(live, "connector-x", "A", ["two", "three"]) is None
    assert _Secret.of(live).newer({"A": "one", "B": "x"}) == {"A": "three"}
    assert _Secret.of(live).newer({"A": "two"}) == {}
    assert "one" not in live["metadata"]["annotations"]["singer/rotated"]

    mine = secret("mine", live["metadata"]["annotations"])
    assert _Secret.of(mine).newer({"A": "one"}) == {}
    mine = patched(mine, changed(mine, "connector-x", "A", ["mine", "next"]))
    assert (_Secret.of(mine).newer({"A": "mine"}), _Secret.of(mine).newer({"A": "one"})) == ({"A": "next"}, {})


@pytest.mark.parametrize(
    ("live", "why"),
    [
        (secret("other"), "has another value by now"),
        (secret("one", name="x"), "managed by somebody else"),
        ({}, "managed by somebody else"),
    ],
)
def test_what_is_not_ours_stays(live: dict[str, Any], why: str) -> None:
    """A value that somebody has set meanwhile stays, and so does a Secret that no installation has made."""
    with pytest.raises(SetupError, match=why):
        changed(live, "connector-x", "A", ["one", "two"])


@pytest.mark.parametrize("text", ["", "[]", "{", '{"A": 1}', '{"A": ["x"]}'])
def test_an_annotation_that_cannot_be_read_is_none(text: str) -> None:
    """Somebody has written it by hand."""
    assert rotation({"singer/rotated": text}) == {}
