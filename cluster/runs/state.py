"""A Singer state: what is one, and the wrappings of other tools that are taken off."""

from __future__ import annotations

import json
from typing import Any

from cluster.config.strict import no_constant
from cluster.ui.exact_json import loads

MESSAGES = {"SCHEMA", "RECORD", "STATE", "ACTIVATE_VERSION", "BATCH", "LOG"}
"""The ``type`` of a Singer message: an object with one of these is a message, not a state."""


def unwrapped(value: Any) -> dict[str, Any]:
    """Return the state in *value*: a state, a STATE message, our JSON event, or what Meltano keeps.

    :raises ValueError: there is none; the text is the reason.
    """
    if isinstance(value, dict) and value.get("type") == "STATE" and "value" in value:
        return unwrapped(value["value"] or {})
    if isinstance(value, dict) and set(value) == {"singer_state"}:
        return unwrapped(value["singer_state"] or {})
    if isinstance(value, dict) and value.get("event") == "state" and "state" in value:
        # The line that state --json prints.
        return unwrapped(value["state"] or {})
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
        value = loads(data, constant=no_constant)
    except (json.JSONDecodeError, UnicodeDecodeError):
        raise ValueError("it is not valid JSON") from None
    return unwrapped(value)
