"""The layout of a platform and its buckets, as a number.

An older checkout does not overwrite what a newer one has created.
"""

from __future__ import annotations

import re

from cluster.errors import SetupError

NEWS = {
    1: "as it began, without a record of its layout",
    2: "the platform and its buckets say which layout they have",
    3: "runs in parts, Argo's metrics, and the check for late pipelines",
}
"""Each layout and what it added.

Add one with each change that an older checkout would undo or misread.
"""
LAYOUT = max(NEWS)
RECORD = "singer/layout"
"""The annotation with the layout, on the ConfigMap that configures the store for pods."""


def read(recorded: object) -> int:
    """Return the recorded layout as a number; 1 if it is missing or no number."""
    text = str(recorded)
    return int(text) if re.fullmatch("[0-9]{1,9}", text) else 1


def see(what: str, recorded: object) -> int:
    """Return the recorded layout of *what*, a platform or a bucket.

    :raises SetupError: E-LAYOUT, it is newer than this checkout's.
    """
    layout = read(recorded)
    if layout > LAYOUT:
        raise SetupError(
            "E-LAYOUT",
            f"{what} has layout {layout}, from a newer checkout; this one knows layout {LAYOUT}. Nothing was changed.",
            hint="Update this checkout (git pull), then run it again.",
        )
    return layout


def news(layout: int) -> list[str]:
    """Return what the layouts after *layout* added."""
    return [text for number, text in NEWS.items() if number > layout]
