"""JSON whose numbers keep every digit: ``1.10`` in a state is written as it came."""

from __future__ import annotations

import json
import re
import secrets
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import Callable


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


def loads(data: bytes | str, constant: Callable[[str], Any] | None = None) -> Any:
    """Parse JSON so that ``dumps`` writes each number as it came.

    *constant* converts ``NaN`` and ``Infinity``, which Python's parser takes for numbers.

    :raises ValueError: it is not JSON, or nested too deep.
    """
    try:
        return json.loads(data, parse_float=Number, parse_constant=constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def dumps(value: Any, *, indent: int | None = None, default: Callable[[Any], Any] | None = None) -> str:
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
        text = json.dumps(marked(value), indent=indent, default=default)
    except RecursionError:  # the encoder itself reaches deeper
        return json.dumps(value, indent=indent, default=default)
    return re.sub(f'"{mark}(\\d+)"', lambda number: numbers[int(number[1])], text) if numbers else text
