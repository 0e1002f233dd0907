"""A tap that prints its settings, after a greeting, as those on singer-sdk do; it has nothing to load."""

from __future__ import annotations

import json
import sys

SETTINGS = {"type": "object", "properties": {"pin": {"type": ["string"], "secret": True, "writeOnly": True}}}


def main() -> None:
    """Answer, or say nothing."""
    if "--about" in sys.argv:
        print("tap-about v1.0.0")
        print(json.dumps({"name": "tap-about", "settings": SETTINGS}, indent=2))
