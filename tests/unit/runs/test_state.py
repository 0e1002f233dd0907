"""What may be stored as a state, and which wrappings are taken off."""

from __future__ import annotations

import pytest

from cluster.runs import bookmarks, state
from cluster.ui import exact_json

STATE = '{"id": 12345678901234567890.10, "at": null}'
WRAPPED = {
    "a state": STATE,
    "a STATE message": f'{{"type": "STATE", "value": {STATE}}}',
    "Meltano's form": f'{{"singer_state": {STATE}}}',
    "the line of state --json": f'{{"event": "state", "time": "t", "schema": 1, "pipeline": "p", "state": {STATE}}}',
}


@pytest.mark.parametrize("text", WRAPPED.values(), ids=WRAPPED)
def test_a_state_is_taken_out_of_its_wrapping(text: str) -> None:
    """What this and other tools print for a state can be set as a state, with every digit."""
    assert exact_json.dumps(state.read(text)) == STATE


REFUSED = {
    "NaN": ('{"n": NaN}', "it has NaN, which JSON does not allow"),
    "Infinity": ('{"n": [-Infinity]}', "it has -Infinity, which JSON does not allow"),
    "half": ('{"n": 1', "it is not valid JSON"),
    "not UTF-8": (b'{"n": "\xff"}', "it is not valid JSON"),
    "a list": ("[1]", "it is not a JSON object"),
    "a record": ('{"type": "RECORD", "stream": "s", "record": {}}', "it is a Singer message of the type RECORD"),
}


@pytest.mark.parametrize(("text", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_state_is_refused_with_the_reason(text: str | bytes, reason: str) -> None:
    """A state that the next run, or another program, cannot read never replaces one that it can."""
    with pytest.raises(ValueError, match=reason):
        state.read(text)


def test_a_state_without_bookmarks_in_words() -> None:
    """No stream has one: that is none, as without a state."""
    assert bookmarks.change({"bookmarks": {}}, {"bookmarks": {"a": {"n": 1}, "b": {}}}) == "a 1 · b no bookmark (before: none)"
