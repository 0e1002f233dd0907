"""The layout of what is in a cluster and its buckets, as a number: an older checkout does not write over what a newer one has made."""

from __future__ import annotations

import re

from cluster.errors import SetupError

NEWS = {
    1: "as it began, without a record of its layout",
    2: "the platform and its buckets say which layout they have",
}
"""Each layout, and what came with it. A new one is due with a change that an older checkout would undo, or not understand."""
LAYOUT = max(NEWS)
RECORD = "singer/layout"
"""The annotation of the ConfigMap that tells pods of their store."""


def read(found: object) -> int:
    """Return the layout that is recorded; where nothing legible is, it is the first."""
    text = str(found)
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 1


def see(what: str, found: object) -> int:
    """Return the layout that is recorded of *what*, which this checkout must know.

    :raises SetupError: E-LAYOUT, it is a newer one.
    """
    there = read(found)
    if there > LAYOUT:
        raise SetupError(
            "E-LAYOUT",
            f"{what} was brought by a newer checkout: its layout is {there}, and this checkout knows {LAYOUT}. It is left as it is.",
            hint="Bring this checkout up to date (git pull), then run it again.",
        )
    return there


def news(found: int) -> list[str]:
    """Return what came with the layouts after *found*."""
    return [text for number, text in NEWS.items() if number > found]
