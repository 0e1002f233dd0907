"""Time the first day and print one Markdown table: ``python benchmarks/onboarding.py [--rounds 3]``.

Two ways, ours and Meltano's, each in a folder of its own with nothing in any cache: from a fresh clone to the first CSV
file (the example's rates), and from there to the first rows of a connector that was not there before. Both load the same
with the same connectors, which is checked. Nothing but the package index is needed: Meltano's hub is spared its part by
definitions in files (``--from-ref``), which makes its ``add`` faster, and not one command longer.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import re
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from uv import find_uv_bin

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT)]

from cluster.environments import pip_setting  # noqa: E402 - the index that pip is set to, for uv

PEOPLE = [(1, "Ada"), (2, "Grace"), (3, "Katherine")]
FIRST, NEXT = "a fresh clone to the first CSV file", "then to the first rows of a new connector"
PLUGINS = {
    "tap-exchange-rates": ("singer-containers/tap-exchange-rates", ["base", "start_date"]),
    "target-csv": ("meltanolabs-target-csv==0.5.0", ["output_path"]),
    "tap-dbf": ("tap-dbf", ["path"]),
}


class WrongError(Exception):
    """A command did not do what it should, so that its time means nothing."""


class Way:
    """One way through the first day: commands, and how long each took."""

    def __init__(self, folder: Path, **environ: str) -> None:
        """Start in an empty folder; caches are in it."""
        self.folder = folder
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("VIRTUAL_ENV", "INVOKE_", "SINGER_"))}
        index = pip_setting("index-url")
        caches = {"UV_CACHE_DIR": str(folder / "cache" / "uv"), "PIP_CACHE_DIR": str(folder / "cache" / "pip")}
        self.environ = {
            **inherited,
            **({"UV_DEFAULT_INDEX": index} if index and "UV_DEFAULT_INDEX" not in inherited else {}),
            **caches,
            **environ,
        }
        self.taken: dict[str, list[tuple[str, float]]] = defaultdict(list)

    def type(self, part: str, command: str, *, within: Path | None = None) -> None:
        """Type a command, as a shell would read it, and take its time.

        :raises WrongError: it fails.
        """
        begun = time.monotonic()
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=within or self.folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
        )
        self.taken[part].append((command, time.monotonic() - begun))
        if done.returncode:
            raise WrongError(f"{command}\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def dbf(file: Path) -> None:
    """Write the file that the new connector reads."""
    fields = struct.pack("<11sc4xBB14x", b"ID", b"N", 4, 0) + struct.pack("<11sc4xBB14x", b"NAME", b"C", 10, 0)
    head = struct.pack("<BBBBIHH20x", 3, 124, 1, 1, len(PEOPLE), 32 + len(fields) + 1, 15) + fields + b"\r"
    file.write_bytes(head + b"".join(f" {number:>4}{name:<10}".encode("ascii") for number, name in PEOPLE) + b"\x1a")


def clone(folder: Path) -> Path:
    """Return a fresh clone: what is committed, and nothing else."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(folder)], check=True)
    return folder


def ours(folder: Path, data: Path) -> Way:
    """Go our way."""
    checkout = clone(folder / "singer")
    way = Way(folder)
    way.type(FIRST, "./invoke demo", within=checkout)
    way.type(NEXT, f"./invoke new tap-dbf --set path={data}/*.dbf", within=checkout)
    way.type(NEXT, "./invoke add dbf-to-csv --tap tap-dbf --target target-csv", within=checkout)
    way.type(NEXT, "./invoke run dbf-to-csv", within=checkout)
    see(checkout / "output" / "exchange-rates-to-csv" / "exchange_rate.csv", checkout / "output" / "dbf-to-csv" / "people.csv")
    return way


def meltano(folder: Path, data: Path) -> Way:
    """Go Meltano's way, with its quickest means: uv as installer, one command for each setting."""
    source, project = clone(folder / "source"), folder / "project"
    for name, (pip_url, settings) in PLUGINS.items():
        kind = "extractors" if name.startswith("tap-") else "loaders"
        place = str(source / pip_url) if "/" in pip_url else pip_url
        definition = {
            "name": name,
            "namespace": name.replace("-", "_"),
            "variant": "local",
            "label": name,
            "pip_url": place,
            "executable": name,
        }
        definition |= {"docs": "https://example.org", "repo": "https://example.org", "plugin_type": kind}
        definition |= {"capabilities": ["catalog", "discover", "state", "about"], "settings": [{"name": item} for item in settings]}
        (folder / f"{name}.yml").write_text(json.dumps(definition))
    tools = {"UV_TOOL_DIR": str(folder / "tools"), "UV_TOOL_BIN_DIR": str(folder / "bin"), "UV_PYTHON": sys.executable}
    path = f"{folder / 'bin'}{os.pathsep}{Path(find_uv_bin()).parent}{os.pathsep}{os.environ['PATH']}"
    way = Way(folder, **tools, PATH=path, MELTANO_SEND_ANONYMOUS_USAGE_STATS="false")
    way.type(FIRST, "uv tool install --quiet meltano")
    way.type(FIRST, "meltano init project")
    way.type(FIRST, "meltano add --plugin-type extractor tap-exchange-rates --from-ref ../tap-exchange-rates.yml", within=project)
    way.type(FIRST, "meltano add --plugin-type loader target-csv --from-ref ../target-csv.yml", within=project)
    way.type(FIRST, "meltano config set tap-exchange-rates start_date 2020-01-01", within=project)
    way.type(FIRST, "meltano config set target-csv output_path output", within=project)
    way.type(FIRST, "meltano run tap-exchange-rates target-csv", within=project)
    way.type(NEXT, "meltano add --plugin-type extractor tap-dbf --from-ref ../tap-dbf.yml", within=project)
    way.type(NEXT, f"meltano config set tap-dbf path '{data}/*.dbf'", within=project)
    way.type(NEXT, "meltano run tap-dbf target-csv", within=project)
    see(project / "output" / "exchange_rate.csv", project / "output" / "people.csv")
    return way


def see(rates: Path, people: Path) -> None:
    """See that both files have what they should.

    :raises WrongError: they have not.
    """
    with people.open(newline="") as file:
        found = [(int(row["ID"]), row["NAME"]) for row in csv.DictReader(file)]
    lines = len(rates.read_text(encoding="utf-8").splitlines())
    if found != PEOPLE or lines < 1000:
        raise WrongError(f"{people}: {found}; {rates}: {lines} lines")


def main() -> None:
    """Go both ways in turn, and print what they took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="how often each way is gone; the median counts")
    rounds = parser.parse_args().rounds
    taken: dict[str, list[Way]] = {"ours": [], "Meltano": []}
    for number in range(rounds):
        for name, go in (("ours", ours), ("Meltano", meltano)):
            with tempfile.TemporaryDirectory(prefix="singer-onboarding-") as folder:
                data = Path(folder) / "data"
                data.mkdir()
                dbf(data / "people.dbf")
                taken[name].append(go(Path(folder), data))
            seconds = sum(taken_ for steps in taken[name][-1].taken.values() for _, taken_ in steps)
            print(f"round {number + 1}, {name}: {seconds:.1f} s", file=sys.stderr)
    report(taken)


def report(taken: dict[str, list[Way]]) -> None:
    """Print the table, and below it each command with its seconds."""
    version = subprocess.run([find_uv_bin(), "--version"], capture_output=True, text=True, check=True).stdout.split()[1]
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.release()}"
    print(f"- {machine}, Python {platform.python_version()}, uv {version}; {datetime.now(UTC):%Y-%m-%d}\n")
    print("| from | ours | Meltano |\n|---|---|---|")
    for part in (FIRST, NEXT):
        cells = []
        for ways in taken.values():
            seconds = statistics.median(sum(second for _, second in way.taken[part]) for way in ways)
            count = len(ways[0].taken[part])
            cells.append(f"{count} command{'s' * (count > 1)}, {seconds:.1f} s")
        print(f"| {part} | {' | '.join(cells)} |")
    for name, ways in taken.items():
        print(f"\n{name}:\n")
        for part in (FIRST, NEXT):
            for number, (command, _) in enumerate(ways[0].taken[part]):
                seconds = statistics.median(way.taken[part][number][1] for way in ways)
                print(f"    {seconds:6.1f} s  {re.sub(r'/[^ ]*/data/', '$DATA/', command)}")


if __name__ == "__main__":
    main()
