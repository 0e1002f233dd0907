"""The one form of all tables: a row, what ran where, and the places of ``docs/performance.md`` that are written."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
PAGES = {"hub": ROOT / "docs" / "connectors.md"}
"""The pages of sections that are not on the page about performance."""
HEADERS = ("what", "ours", "compared with", "ratio or difference", "goal", "met")
MET = {True: "yes", False: "**no**", None: ""}


class WrongError(Exception):
    """Something did not do what it should, so that its time means nothing."""


@dataclass(frozen=True)
class Row:
    """One line of a table. ``met`` is None where there is no goal."""

    what: str
    ours: str
    compared: str = ""
    result: str = ""
    goal: str = ""
    met: bool | None = None


def spread(values: Sequence[float], also: str = "") -> str:
    """Return the median of seconds, the least and the most, and how many there are; *also* stands beside these."""
    least, middle, most = (_figures(value) for value in (min(values), median(values), max(values)))
    return f"{middle} s ({least} to {most}, {len(values)} runs{also})" if len(values) > 1 else f"{middle} s (1 run{also})"


def _figures(value: float) -> str:
    return f"{value:.3f}" if value < 1 else f"{value:.2f}" if value < 10 else f"{value:.1f}"


def markdown(rows: Sequence[Row]) -> str:
    """Return a table."""
    return grid(HEADERS, [(row.what, row.ours, row.compared, row.result, row.goal, MET[row.met]) for row in rows])


def grid(headers: Sequence[str], cells: Sequence[Sequence[str]]) -> str:
    """Return a table of these cells."""
    return "\n".join(f"| {' | '.join(line)} |" for line in [headers, ["---"] * len(headers), *cells])


def facts(load: float, measured: str, versions: Mapping[str, str]) -> str:
    """Return what has to be known of figures: the machine, its load before, the day, the commit that was *measured*, what took part."""
    model = next(iter(re.findall(r"^model name\s*: (.+)$", _read("/proc/cpuinfo"), re.MULTILINE)), platform.machine())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = platform.freedesktop_os_release()["PRETTY_NAME"] if Path("/etc/os-release").exists() else ""
    machine = [model, f"{os.cpu_count()} cores", f"{memory:.0f} GiB", system, f"{platform.system()} {platform.release()}"]
    when = f"{datetime.now(UTC):%Y-%m-%d}, commit {measured}, load before {load:.1f}"
    tools = ", ".join(f"{name} {version}" for name, version in {"Python": platform.python_version(), **versions}.items())
    return f"- {', '.join(filter(None, machine))}\n- {when}\n- {tools}"


def commit() -> str:
    """Return the commit that is measured, with a plus sign where files differ from it."""
    number, changed = (output_of("git", "-C", str(ROOT), *words) for words in (["rev-parse", "--short", "HEAD"], ["status", "--porcelain"]))
    return (number or "unknown") + "+" * bool(changed)


def output_of(*command: str) -> str:
    """Return what a program prints, nothing where it is not there or fails."""
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
    except FileNotFoundError:
        return ""


def content_of(section: str, page: str) -> str:
    """Return the text of a page between a section's markers."""
    match = re.search(rf"<!-- bench: {section} -->\n(.*?)<!-- end -->", page, re.DOTALL)
    assert match, f"no place for {section}"
    return match[1]


def page_of(section: str) -> Path:
    """Return the page that has a section."""
    return PAGES.get(section, ROOT / "docs" / "performance.md")


def write(section: str, text: str, page: Path) -> None:
    """Put a section into a page, in the place of what stands there."""
    old, marker = page.read_text(encoding="utf-8"), f"<!-- bench: {section} -->\n"
    page.write_text(old.replace(f"{marker}{content_of(section, old)}", f"{marker}{text}"), encoding="utf-8")


def age(section: str) -> str:
    """Return of which day a section of the page is, nothing where it has never been measured."""
    match = re.search(r"^- (\d{4}-\d\d-\d\d)", content_of(section, page_of(section).read_text(encoding="utf-8")), re.MULTILINE)
    return match[1] if match else ""


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError:
        return ""
