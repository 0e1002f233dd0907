"""All benchmarks as one suite: what ``./invoke bench`` starts, in an environment with what the tests need.

Each section is measured where this machine can, printed as a table, and put into ``docs/performance.md``, where what cannot be
measured here stays as it was. Everything happens in copies of the checkout, in clusters of their own, and is removed afterwards.
The machine should have nothing else to do; what is compared is measured in turn.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

import argo  # noqa: E402 - from here on the project and its tests can be imported
import fleet  # noqa: E402
import hub  # noqa: E402
import loop  # noqa: E402
import night  # noqa: E402
import onboarding  # noqa: E402
import run  # noqa: E402
import up  # noqa: E402
from platform_checkout import why_not  # noqa: E402
from table import Row, WrongError, age, commit, facts, markdown, page_of, write  # noqa: E402

from cluster.commands.develop import BENCHMARKS  # noqa: E402
from cluster.commands.frame import choose  # noqa: E402
from cluster.config.settings import VARIABLE  # noqa: E402
from cluster.errors import EXIT_INTERRUPTED, SetupError  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

MARKS = {True: "✓", False: "!", None: "•"}
ROWS = {
    "run": run.rows,
    "loop": loop.rows,
    "up": up.rows,
    "argo": argo.rows,
    "fleet": fleet.rows,
    "night": night.rows,
    "onboarding": onboarding.rows,
    "hub": hub.rows,
}
MORE = {"hub": hub.details}
"""What follows a section's table."""


def why_not_anywhere() -> str:
    """Say why there can be no cluster of any kind here, nothing if there can."""
    return why_not() if os.environ.get(f"{VARIABLE}PROVIDER", "kind") == "kind" else ""


NEEDS: dict[str, Callable[[], str]] = {"up": why_not, "argo": why_not, "fleet": why_not, "night": why_not_anywhere}


def main() -> int:
    """Measure, show, and write down; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("sections", nargs="*")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    output = choose(as_json=options.json)
    measured = commit()  # before the page is written
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    wrong: dict[str, str] = {}
    written: list[str] = []
    for section in options.sections or [section for section in BENCHMARKS if section != "hub"]:  # it takes hours
        if reason := NEEDS.get(section, str)():
            skipped[section] = reason
            continue
        load = os.getloadavg()[0]
        versions: dict[str, str] = {}
        mine: list[Row] = []
        try:
            for row in ROWS[section](versions, quick=options.quick):
                mine.append(row)
                output.line(MARKS[row.met], row.what, row.result or row.ours)
                output.event("bench.row", section=section, **vars(row))
        except (WrongError, SetupError) as error:
            wrong[section] = str(error)
        else:
            if not options.quick:
                more = f"\n{MORE[section]()}\n" if section in MORE else ""
                write(section, f"{facts(load, measured, versions)}\n\n{markdown(mine)}\n{more}", page_of(section))
                written.append(section)
        rows += mine
    output.text(f"\n{markdown(rows)}\n")
    for section, why in {**skipped, **wrong}.items():
        last = age(section)
        output.line("✗" if section in wrong else "•", f"not measured: {section}", why + f"; the page's table is of {last}" * bool(last))
    if written:
        output.line("✓", "written", ", ".join(f"{page_of(section).relative_to(ROOT)}: {section}" for section in written))
    elif options.quick:
        output.line("•", "nothing written", "quick: small data and few runs, not to be quoted")
    output.event("bench.finished", written=written, skipped=skipped, wrong=wrong)
    return int(bool(wrong))


def terminated(_number: int, _frame: FrameType | None) -> NoReturn:
    """End as after a Ctrl-C: clusters and folders are taken away."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, terminated)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
