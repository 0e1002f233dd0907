"""The messages that ``check`` sends to a target: what real taps send.

All streams are named ``singer_check_…``, so that a database's administrator recognises and drops
them.
"""

from __future__ import annotations

import csv
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

Message = dict[str, Any]
PREFIX = "singer_check_"
LONG = 100_000
DEEP = 12
END: Message = {"bookmarks": {f"{PREFIX}plain": {"id": 2}}, "check": "end"}
"""The last state: what a target must print last."""


def schema(stream: str, *keys: str, **properties: Any) -> Message:
    """Return a SCHEMA message; a property is a JSON type, or a schema.

    All may be null but the keys.
    """
    described = {
        name: kind if isinstance(kind, dict) else {"type": kind if name in keys else ["null", kind]} for name, kind in properties.items()
    }
    return {
        "type": "SCHEMA",
        "stream": PREFIX + stream,
        "key_properties": list(keys),
        "schema": {"type": "object", "properties": described},
    }


def record(stream: str, **values: Any) -> Message:
    """Return a RECORD message."""
    return {"type": "RECORD", "stream": PREFIX + stream, "record": values}


def state(value: Message) -> Message:
    """Return a STATE message."""
    return {"type": "STATE", "value": value}


def of_format(name: str) -> Message:
    """Return the schema of a text of some format, or null."""
    return {"type": ["null", "string"], "format": name}


def _texts(stream: str, *texts: str) -> list[Message]:
    return [
        schema(stream, "id", id="integer", text="string"),
        *(record(stream, id=number, text=text) for number, text in enumerate(texts, start=1)),
    ]


def _deep() -> list[Message]:
    value: Any = {"end": [1, {"two": None}]}
    for level in range(DEEP):
        value = {f"level_{level}": value}
    anything = {"type": ["null", "object"], "properties": {}}
    return [schema("deep", "id", id="integer", value=anything), record("deep", id=1, value=value), record("deep", id=2, value=None)]


def _moments() -> list[Message]:
    return [
        schema("moments", "id", id="integer", at=of_format("date-time"), day=of_format("date"), hour=of_format("time")),
        record("moments", id=1, at="1970-01-01T00:00:00Z", day="1970-01-01", hour="00:00:00"),
        record("moments", id=2, at="2038-01-19T03:14:08.123456+05:30", day="2024-02-29", hour="23:59:59"),
    ]


CASES: dict[str, list[Message]] = {
    "plain": [schema("plain", "id", id="integer", name="string"), record("plain", id=1, name="one"), record("plain", id=2, name="two")],
    "nulls": [
        schema("nulls", "id", id="integer", text="string", number="number", flag="boolean"),
        record("nulls", id=1, text=None, number=None, flag=None),
        record("nulls", id=2),
        record("nulls", id=3, text="", number=0, flag=False),
    ],
    "unicode": _texts("unicode", "Ærø", "日本 😀", "e\u0301 \u202e\u05e9", "\u00a0"),
    "quotes": _texts("quotes", 'say "hello"', "it's", "a\nb\r\nc\td", "a,b;c|d\\e", "{{x}} %s ${Y}", "; DROP TABLE x --"),
    "long": _texts("long", "x" * LONG),
    "deep": _deep(),
    "numbers": [
        schema("numbers", "id", id="integer", big="integer", real="number"),
        record("numbers", id=1, big=2**53 + 1, real=0.1),
        record("numbers", id=2, big=2**63 - 1, real=-1.5e300),
        record("numbers", id=3, big=-(2**63), real=3),
    ],
    "moments": _moments(),
    "empty": [schema("empty", "id", id="integer")],
    "keyless": [schema("keyless", text="string"), record("keyless", text="a"), record("keyless", text="a")],
    "again": [schema("again", "id", id="integer", text="string"), record("again", id=1, text="old"), record("again", id=1, text="new")],
    "interleaved": [
        schema("left", "id", id="integer"),
        schema("right", "id", id="integer"),
        *(record(side, id=number) for number in (1, 2, 3) for side in ("left", "right")),
    ],
    "state": [schema("middle", "id", id="integer"), record("middle", id=1), state({"check": "middle"}), record("middle", id=2)],
    "change": [
        schema("change", "id", id="integer", text="string"),
        record("change", id=1, text=f"{PREFIX}text_1"),
        schema("change", "id", id="integer", more="string", text="string"),
        record("change", id=2, text=f"{PREFIX}text_2", more=f"{PREFIX}more_2"),
    ],
    "version": [
        schema("version", "id", id="integer"),
        {**record("version", id=1), "version": 1},
        {"type": "ACTIVATE_VERSION", "stream": f"{PREFIX}version", "version": 1},
    ],
}
"""The cases by name; each can be sent alone."""
OPTIONAL = "version"
"""ACTIVATE_VERSION is not part of the specification: not every target knows it."""
TO_MAPPERS = tuple(name for name in CASES if name != OPTIONAL)
"""The cases that a mapper gets."""
GROWN = re.compile(rf"{PREFIX}(text|more)_\d")
"""Values of the case ``change``, each with the name of its column."""


def lines(*cases: str) -> bytes:
    """Return the messages of cases, as a tap prints them, and the last state."""
    messages = [message for case in cases for message in CASES[case]] + [state(END)]
    return b"".join(json.dumps(message).encode() + b"\n" for message in messages)


def passed_on() -> list[Message]:
    """Return the states among the messages to a mapper, which it must pass on."""
    return [message["value"] for name in TO_MAPPERS for message in CASES[name] if message["type"] == "STATE"] + [END]


def broken() -> bytes:
    """Return the case ``plain`` with half a record at its end."""
    whole = [json.dumps(message).encode() for message in CASES["plain"]]
    return b"\n".join([*whole, whole[-1][: len(whole[-1]) // 2]]) + b"\n"


def misplaced(file: Path) -> Iterator[str]:
    """Yield what is wrong in a text table with the case ``change``: its schema grows.

    A value under another column's name is read as that column's from then on. Other files yield
    nothing.
    """
    with suppress(OSError, UnicodeDecodeError, csv.Error):
        text = file.read_text(encoding="utf-8-sig")
        if file.suffix.lower() not in {".csv", ".tsv", ".txt"} or not GROWN.search(text):
            return
        header, *rows = csv.reader(text.splitlines(), delimiter=_delimiter(text))
        for row in rows:
            for position, cell in enumerate(row):
                value = GROWN.fullmatch(cell)
                column = header[position] if position < len(header) else ""
                if value and column != value[1]:
                    above = f'the column "{column}"' if column else "no column"
                    yield f'{file.name} has a value of the column "{value[1]}" under {above}.'
        if "text" in header and f"{PREFIX}more_2" not in text:
            yield f'{file.name} lacks the values of the column "more", which came with a later schema.'


def _delimiter(text: str) -> str:
    """Return the delimiter of a table: what its first line has most of."""
    first = text.partition("\n")[0]
    return max(",;\t|", key=first.count)
