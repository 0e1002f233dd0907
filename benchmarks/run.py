"""Measure this checkout and print one Markdown table: ``python benchmarks/run.py [--quick] [row …]``.

Everything happens in a copy of the checkout below ``.local``, which is removed afterwards. The machine should have
nothing else to do; what is compared is measured in turn, and medians are printed with the least and the most.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from lab import ROOT, lab
from rows import ROWS, Row, commit

HEADERS = ("what", "ours", "compared with", "ratio or difference", "goal", "met")


def machine() -> str:
    """Return the machine in one line: processor, cores, memory, systems."""
    facts = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in facts if line.startswith("model name")), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"] if Path("/etc/os-release").exists() else ""
    kernel = f"{platform.system()} {platform.release()}"
    return ", ".join(filter(None, (model, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", system, kernel)))


def table(rows: list[Row]) -> str:
    """Return the rows as Markdown."""
    met = {True: "yes", False: "**no**", None: ""}
    lines = [HEADERS, ("---",) * len(HEADERS), *((row.name, row.ours, row.compared, row.result, row.goal, met[row.met]) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    """Measure the rows that were asked for, all where none was."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"only these: {', '.join(ROWS)}")
    parser.add_argument("--quick", action="store_true", help="small data and few runs: to see that it works, not to quote")
    options = parser.parse_args()
    unknown = [name for name in options.rows if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}")
    load = os.getloadavg()[0]
    found: list[Row] = []
    versions = {name: version(name) for name in ("invoke", "uv")}
    for name in options.rows or ROWS:
        with lab() as place:
            for row in ROWS[name](place, quick=options.quick):
                print(f"{row.name}: {row.result}", file=sys.stderr, flush=True)
                found.append(row)
            versions |= place.versions
    print(f"- {machine()}; load before {load:.1f}")
    print(f"- Python {platform.python_version()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, commit {commit(ROOT)}")
    print(f"- {', '.join(f'{name} {number}' for name, number in versions.items())}")
    if options.quick:
        print("- quick: small data and few runs, not to be quoted")
    print(f"\n{table(found)}")


if __name__ == "__main__":
    main()
