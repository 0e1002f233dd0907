"""The first day, our way and Meltano's, each in an empty folder with nothing in any cache, downloads included.

From a fresh clone to the first CSV file (the example's rates), and from there to the first rows of a connector that was not
there before. Both load the same with the same connectors, which is checked. Nothing but the package index is needed.

A third way is that of a team's second member: a clone of a project, whose launcher fetches the tool. Git's server is this machine.
"""

from __future__ import annotations

import csv
import shutil
import struct
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from meltano import Meltano, Typist
from table import ROOT, Row, WrongError, spread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PEOPLE = [(1, "Ada"), (2, "Grace"), (3, "Katherine")]
FIRST, NEXT = "a fresh clone to the first CSV file", "then to the first rows of a new connector"
CLONE, PROJECT = "git clone of the tool", "git clone of a team's project to the first CSV file; the tool is fetched"
GOAL_SECONDS = 12
CAPABILITIES = ("catalog", "discover", "state", "about")


def dbf(file: Path) -> None:
    """Write the file that the new connector reads."""
    fields = struct.pack("<11sc4xBB14x", b"ID", b"N", 4, 0) + struct.pack("<11sc4xBB14x", b"NAME", b"C", 10, 0)
    head = struct.pack("<BBBBIHH20x", 3, 124, 1, 1, len(PEOPLE), 32 + len(fields) + 1, 15) + fields + b"\r"
    file.write_bytes(head + b"".join(f" {number:>4}{name:<10}".encode("ascii") for number, name in PEOPLE) + b"\x1a")


def clone(folder: Path) -> Path:
    """Return a fresh clone: what is committed, and nothing else."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def ours(folder: Path, data: Path) -> Typist:
    """Go our way."""
    checkout, typist = folder / "singer", Typist(folder)
    typist.type(CLONE, f"git clone --quiet '{ROOT}' singer")
    typist.type(FIRST, "./invoke demo", within=checkout)
    typist.type(NEXT, f"./invoke new tap-dbf --set path={data}/*.dbf", within=checkout)
    typist.type(NEXT, "./invoke add dbf-to-csv --tap tap-dbf --target target-csv", within=checkout)
    typist.type(NEXT, "./invoke run dbf-to-csv", within=checkout)
    [rates], [people] = (
        (checkout / "output").glob(f"{name}.csv") for name in ("exchange-rates-to-csv/*/exchange_rate", "dbf-to-csv/*/people")
    )
    see(rates, people)
    return typist


def project(folder: Path, _data: Path) -> Typist:
    """Go the way of a team's second member, on a machine without the tool."""
    tool, made, member = clone(folder / "tool"), folder / "made", folder / "member"
    subprocess.run([sys.executable, str(tool / "tasks.py"), "init", str(made)], check=True, capture_output=True)
    shutil.rmtree(tool)
    for words in (["init"], ["add", "--all"], ["-c", "user.name=x", "-c", "user.email=x@example.com", "commit", "--message", "x"]):
        subprocess.run(["git", *words], cwd=made, check=True, capture_output=True)
    typist = Typist(folder)
    typist.type(PROJECT, "git clone --quiet made member")
    typist.type(PROJECT, "./invoke demo", within=member)
    [rates] = (member / "output").glob("exchange-rates-to-csv/*/exchange_rate.csv")
    if len(rates.read_text(encoding="utf-8").splitlines()) < 1000 or not (member / ".local" / "tool").is_dir():
        raise WrongError(f"{rates} is too short, or the tool was not fetched")
    return typist


def theirs(folder: Path, data: Path) -> Meltano:
    """Go Meltano's way, one command for each setting."""
    tap = clone(folder / "source") / "singer-containers" / "tap-exchange-rates"
    typist = Meltano(folder, FIRST)
    project = typist.project
    typist.add(FIRST, "tap-exchange-rates", str(tap), [{"name": "base"}, {"name": "start_date"}], *CAPABILITIES)
    typist.add(FIRST, "target-csv", "meltanolabs-target-csv==0.5.0", [{"name": "output_path"}], *CAPABILITIES)
    typist.type(FIRST, "meltano config set tap-exchange-rates start_date 2020-01-01", within=project)
    typist.type(FIRST, "meltano config set target-csv output_path output", within=project)
    typist.type(FIRST, "meltano run tap-exchange-rates target-csv", within=project)
    typist.add(NEXT, "tap-dbf", "tap-dbf", [{"name": "path"}], *CAPABILITIES)
    typist.type(NEXT, f"meltano config set tap-dbf path '{data}/*.dbf'", within=project)
    typist.type(NEXT, "meltano run tap-dbf target-csv", within=project)
    see(project / "output" / "exchange_rate.csv", project / "output" / "people.csv")
    return typist


def see(rates: Path, people: Path) -> None:
    """See that both files have what they should.

    :raises WrongError: they have not.
    """
    with people.open(newline="") as file:
        written = [(int(row["ID"]), row["NAME"]) for row in csv.DictReader(file)]
    lines = len(rates.read_text(encoding="utf-8").splitlines())
    if written != PEOPLE or lines < 1000:
        raise WrongError(f"{people}: {written}; {rates}: {lines} lines")


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Go both ways in turn."""
    ways: dict[Callable[[Path, Path], Typist], list[Typist]] = {ours: [], theirs: [], project: []}
    for _ in range(1 if quick else 3):
        for go, gone in ways.items():
            with tempfile.TemporaryDirectory(prefix="singer-onboarding-") as folder:
                data = Path(folder) / "data"
                data.mkdir()
                dbf(data / "people.dbf")
                gone.append(go(Path(folder), data))
                versions |= gone[-1].versions
    for part in (FIRST, NEXT):
        mine, other = ([sum(typist.taken[part]) for typist in ways[side]] for side in (ours, theirs))
        counts = [f"commands: {len(ways[side][0].taken[part])}; " for side in (ours, theirs)]
        goal = (f"at most {GOAL_SECONDS} s", median(mine) <= GOAL_SECONDS) if part == FIRST else ("", None)
        yield Row(part, counts[0] + spread(mine), f"Meltano: {counts[1]}{spread(other)}", f"{median(mine) / median(other):.2f}", *goal)
    mine, other = (
        [sum(typist.taken[PROJECT]) for typist in ways[project]],
        [sum(typist.taken[CLONE] + typist.taken[FIRST]) for typist in ways[ours]],
    )
    yield Row(
        PROJECT, spread(mine), f"git clone of the tool to the first CSV file: {spread(other)}", f"{median(mine) - median(other):+.2f} s"
    )
