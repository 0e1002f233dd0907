"""One line of a tap changed, and run again: on this machine, and in a cluster; beside a run without a change.

The tap is the example's, whose code is in the checkout. Each edit adds a comment, in turn with a run of what is there.
"""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING

from argo import EXAMPLE
from lab import Platform, lab
from platform_checkout import why_not
from table import Row, spread

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab import Lab

NAME = "singer-benchmark-loop"
CODE = "singer-containers/tap-exchange-rates/tap_exchange_rates/tap.py"
PIPELINE = "exchange-rates-to-csv"
ADDED = {"local": 0.2, "argo": 2.5}
"""The goals, by engine: seconds on top of a run without a change."""


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure."""
    with lab() as checkout:
        checkout.write("tap-exchange-rates/config.json", EXAMPLE)
        platform = Platform(checkout, INVOKE_SINGER_CLUSTER=NAME, INVOKE_SINGER_PROVIDER="kind")
        yield _row(platform, checkout, "local", runs=2 if quick else 7)
        if why_not():
            return
        versions |= platform.versions
        try:
            platform.invoke("up")
            yield _row(platform, checkout, "argo", runs=2 if quick else 5)
        finally:
            platform.invoke("teardown", "--yes")


def _row(platform: Platform, checkout: Lab, engine: str, *, runs: int) -> Row:
    """Run with and without an edit in turn."""
    platform.invoke("run", PIPELINE, "--engine", engine)
    same, edited = [], []
    for number in range(runs):
        same.append(platform.invoke("run", PIPELINE, "--engine", engine))
        with (checkout.root / CODE).open("a", encoding="utf-8") as file:
            file.write(f"# {number}\n")
        edited.append(platform.invoke("run", PIPELINE, "--engine", engine))
    added, goal = median(edited) - median(same), ADDED[engine]
    where = "on this machine" if engine == "local" else "in the cluster"
    what = f"one line of a tap changed, `invoke run` {where}"
    return Row(what, spread(edited), f"without a change: {spread(same)}", f"{added:+.2f} s", f"at most +{goal} s", added <= goal)
