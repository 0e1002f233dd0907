"""A Singer state as JSON: every digit is kept, and the wrappings of other tools are taken off."""

from __future__ import annotations

import json
import re
import secrets
from typing import Any, Self

MESSAGES = {"SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH", "LOG"}
"""The ``type`` of a Singer message: an object with one of these is a message, not a state."""


class Number(float):
    """A JSON number with a fraction or an exponent. It keeps its digits as they were written."""

    text: str

    def __new__(cls, text: str | float) -> Self:
        """Parse *text*, and remember it."""
        number = super().__new__(cls, text)
        number.text = str(text)
        return number

    def __eq__(self, other: object) -> bool:
        """Compare the digits with another number's digits, with anything else as a float."""
        return self.text == other.text if isinstance(other, Number) else super().__eq__(other)

    __hash__ = float.__hash__


def loads(data: bytes | str) -> Any:
    """Parse JSON so that ``dumps`` writes each number as it came.

    :raises ValueError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(data, parse_float=Number)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dumps(value: Any, indent: int | None = None) -> str:
    """Return JSON, with the digits of each ``Number`` as they came."""
    mark, numbers = secrets.token_hex(8), list[str]()

    def marked(item: Any) -> Any:
        if isinstance(item, Number):
            numbers.append(item.text)
            return f"{mark}{len(numbers) - 1}"
        if isinstance(item, dict):
            return {key: marked(inner) for key, inner in item.items()}
        return [marked(inner) for inner in item] if isinstance(item, list) else item

    try:
        text = json.dumps(marked(value), indent=indent)
    except RecursionError:  # the encoder itself reaches deeper
        return json.dumps(value, indent=indent)
    return re.sub(f'"{mark}(\\d+)"', lambda number: numbers[int(number[1])], text) if numbers else text


def unwrapped(value: Any) -> dict[str, Any]:
    """Return the state in *value*: a state, a whole STATE message, or what Meltano keeps.

    :raises ValueError: there is none; the text is the reason.
    """
    if isinstance(value, dict) and value.get("type") == "STATE" and "value" in value:
        return unwrapped(value["value"] or {})
    if isinstance(value, dict) and set(value) == {"singer_state"}:
        return unwrapped(value["singer_state"] or {})
    if isinstance(value, dict) and {"completed"} <= set(value) <= {"completed", "partial", "state_id"}:
        return unwrapped(value["completed"] or {})
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - the caller shows the reason
    kind = value.get("type")
    if isinstance(kind, str) and kind in MESSAGES:
        raise ValueError(f"it is a Singer message of the type {kind}")
    return value


def read(data: bytes | str) -> dict[str, Any]:
    """Parse a state and take off its wrapping.

    :raises ValueError: it is none; the text is the reason.
    """
    try:
        value = loads(data)
    except ValueError:
        raise ValueError("it is not valid JSON") from None
    return unwrapped(value)
