"""The local engine: what a run costs on top of the bare ``tap | target``, in time and memory, and what a long history costs."""

from __future__ import annotations

import json
import secrets
import sys
import time
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from lab import Lab, Pair, Taken, clock, in_turn, lab, shown, since, timed, wall
from meltano import Meltano
from table import Row, WrongError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

POLL_SECONDS = 0.01
KINDS = {"id": "integer", "day": "string", "name": "string", "rate": "number", "note": "string"}


def record(number: int, note: int) -> dict[str, Any]:
    """Return a record with a note of so many characters."""
    day = f"20{number % 25:02d}-{number % 12 + 1:02d}-{number % 28 + 1:02d}"
    return {"id": number, "day": day, "name": f"name {number:07d}", "rate": round(number * 0.37 % 97, 4), "note": "n" * note}


def messages(stream: str, count: int, note: int = 40) -> Iterator[str]:
    """Yield the lines of a stream: schema, records, state."""
    properties = {name: {"type": ["null", kind]} for name, kind in KINDS.items()}
    schema = {"type": "object", "properties": properties}
    yield json.dumps({"type": "SCHEMA", "stream": stream, "schema": schema, "key_properties": ["id"]}) + "\n"
    for number in range(count):
        yield json.dumps({"type": "RECORD", "stream": stream, "record": record(number, note)}) + "\n"
    yield json.dumps({"type": "STATE", "value": {"bookmarks": {stream: {"id": count}}}}) + "\n"


def cat_pair(lab: Lab, count: int, note: int, times: int = 1) -> tuple[Pair, int]:
    """Return the pair that costs next to nothing, with its bytes: *count* records, given *times* times."""
    lines = messages("s", count, note)
    head, body, tail = (lab.data / name for name in ("head", "body", "tail"))
    head.write_text(next(lines), encoding="utf-8")
    with body.open("w", encoding="utf-8") as file:
        for _ in range(count):
            file.write(next(lines))
    tail.write_text(next(lines), encoding="utf-8")
    size = head.stat().st_size + body.stat().st_size * times + tail.stat().st_size
    lab.connector("tap-cat", "benchmarks/connectors/tap-cat", {"files": [str(head), *[str(body)] * times, str(tail)]})
    lab.connector("target-none", "benchmarks/connectors/target-none", {})
    return lab.pair("tap-cat", "target-none", {"s": count * times}), size


# ------------------------------------------------------------------------------------------------------- the rows


def fixed(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure what a run costs beside its connectors."""
    lab.write("tap-exchange-rates/config.json", {"source": "packaged"})
    yield whole_cost(lab.pair("tap-exchange-rates", "target-csv", None, initial=True), "the example, from its state", quick=quick)
    yield whole_cost(cat_pair(lab, 1, 10)[0], "one record, cat into nothing", quick=quick)


def whole_cost(pair: Pair, name: str, *, quick: bool) -> Row:
    """Compare whole runs, start to end, by their seconds."""
    ours, bare = in_turn(3 if quick else 15, pair.ours, pair.bare)
    more = wall(ours) - wall(bare)
    return Row(f"fixed cost of a run: {name}", shown(ours), f"pipe: {shown(bare)}", f"{more:+.3f} s", "at most +0.5 s", more <= 0.5)


def throughput(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure whole runs of real connectors."""
    share = 10 if quick else 1
    count = 1_000_000 // share  # long enough that the fixed cost, which has a separate row, is not what is measured
    folder = lab.data / "singer"
    folder.mkdir()
    with (folder / "rates.singer").open("w", encoding="utf-8") as file:
        file.writelines(messages("rates", count))
    config = {"source": "local", "local": {"folders": [str(folder)]}, "add_record_metadata": False}
    lab.connector("tap-singer-jsonl", "tap-singer-jsonl==0.1.0 setuptools<81", config, "catalog", "discover")
    lab.connector("target-core", "target-core==0.1.0", {"work_dir": ".", "path_template": "{stream}.jsonl"})
    yield whole_run(lab.pair("tap-singer-jsonl", "target-core", {"rates": count}), "tap-singer-jsonl, target-core", quick=quick)

    count = 300_000 // share
    people = lab.data / "people.jsonl"
    with people.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(record(number, 40)) + "\n" for number in range(count))
    config = {"path": str(people), "stream_name": "people", "primary_keys": ["id"]}
    lab.connector("tap-jsonl", "tap-jsonl==0.3.1", config, "about", "catalog", "discover", "state")
    lab.connector("target-jsonl", "target-jsonl==0.1.4", {"destination_path": ".", "do_timestamp_file": False})
    yield whole_run(lab.pair("tap-jsonl", "target-jsonl", {"people": count}), "tap-jsonl, target-jsonl", quick=quick)


def whole_run(pair: Pair, name: str, *, quick: bool) -> Row:
    """Compare whole runs, start to end, by their records per second; each with its neighbour, for a machine's speed drifts in minutes."""
    ours, bare = in_turn(2 if quick else 9, pair.ours, pair.bare)
    ratio = median(one.wall / other.wall for one, other in zip(bare, ours, strict=True))
    title = f"throughput, start and end included: {name}, {pair.records:,} records"
    return Row(title, speed(pair, ours), f"pipe: {speed(pair, bare)}", f"{ratio:.3f}", "at least 0.98", ratio >= 0.98)


def memory(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure the peak of our own processes, for 0.1 GB and for 10 GB. Linux only."""
    if not Path("/proc/self/task").exists():
        return
    peaks = []
    for times in (1, 10 if quick else 100):
        pair, size = cat_pair(lab, 375_000, 136, times)
        pair.ours()
        peaks.append((size, watched(lab, pair)))
    (small, few), (large, many) = peaks
    for name, peak in many.items():
        ratio = peak / few[name]
        sizes = f"{few[name] / 1e6:.1f} MB for {small / 1e9:.2f} GB"
        title = f"peak memory (RSS): {name}"
        yield Row(title, f"{peak / 1e6:.1f} MB for {large / 1e9:.2f} GB", sizes, f"{ratio:.2f}", "at most 1.1", ratio <= 1.1)


def watched(lab: Lab, pair: Pair) -> dict[str, int]:
    """Run a pair and return the peaks of our own processes in bytes: the kernel's, read until the last moment (Linux)."""
    peaks: dict[str, int] = {}
    with lab.start("run", "p", "--json", "--full") as process:
        while process.poll() is None:
            for name, pid in ours(process.pid):
                peaks[name] = max(peaks.get(name, 0), peak(pid))
            time.sleep(POLL_SECONDS)
        out, err = process.communicate()
    if process.returncode or json.loads(out.splitlines()[-1])["records"] != pair.streams:
        raise WrongError(out + err)
    if len(peaks) != 3:
        raise WrongError(f"only {', '.join(peaks)} could be watched")
    return dict(sorted(peaks.items()))


def ours(pid: int) -> Iterator[tuple[str, int]]:
    """Yield names and ids of the command's process and of the entrypoints that it has started."""
    yield "invoke run", pid
    children = [number for file in Path(f"/proc/{pid}/task").glob("*/children") for number in read(file).split()]
    for number in children:
        words = read(Path(f"/proc/{number}/cmdline")).split("\0")
        if words[-2:] in (["tap", ""], ["target", ""]):
            yield f"entrypoint of the {words[-2]}", int(number)


def peak(pid: int) -> int:
    """Return the most memory that a process has had so far, 0 where it has ended."""
    lines = read(Path(f"/proc/{pid}/status")).splitlines()
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")), 0)


def read(file: Path) -> str:
    """Return the text of a file of ``/proc``, nothing where its process has ended."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""


def entrypoint(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure how fast messages go through us where the connectors cost nothing: beside the pipe, and beside Meltano."""
    count = 200_000 if quick else 2_000_000
    for times in (10, 1):
        pair, size = cat_pair(lab, count, 136, times)
        what = f"cat into nothing: {pair.records:,} records of {size / pair.records:.0f} bytes, start and end included"
        ours, bare = in_turn(3 if quick else 7, pair.ours, pair.bare)
        ratio = wall(bare) / wall(ours)
        yield Row(what, speed(pair, ours), f"pipe: {speed(pair, bare)}", f"{ratio:.2f}", "at least 0.5", ratio >= 0.5)
    other = beside(lab, size)
    ours, theirs = in_turn(1 if quick else 3, pair.ours, other)
    yield Row(what, speed(pair, ours), f"`meltano run`: {speed(pair, theirs)}", f"{wall(theirs) / wall(ours):.2f}")


def speed(pair: Pair, times: list[Taken]) -> str:
    """Return how fast a pair was, and in which time."""
    return f"{pair.records / wall(times):,.0f} records/s in {shown(times)}"


def beside(lab: Lab, size: int) -> Callable[[], Taken]:
    """Return an action: run the same connectors with the same files in Meltano; so many bytes must arrive."""
    folder = lab.root / "meltano"
    folder.mkdir()
    meltano = Meltano(folder, **lab.environ)
    config = json.loads((lab.root / "singer-configs" / "tap-cat" / "config.json").read_text(encoding="utf-8"))
    packages = lab.root / "benchmarks" / "connectors"
    meltano.add("", "tap-cat", str(packages / "tap-cat"), [{"name": "files", "kind": "array", "value": config["files"]}])
    meltano.add("", "target-none", str(packages / "target-none"), [])
    lab.versions |= meltano.versions

    def action() -> Taken:
        began = clock()
        meltano.type("", "meltano run tap-cat target-none", within=meltano.project)
        taken = since(began)
        arrived = [int(file.read_text(encoding="utf-8")) for file in meltano.project.rglob("bytes.txt")]
        if arrived != [size]:
            raise WrongError(f"Meltano's target has read {arrived}, the tap printed {size}")
        return taken

    return action


def listing(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure the list of commands."""
    direct = timed(lab, sys.executable, "-m", "invoke", "--list")
    launched = timed(lab, "./invoke", "--list")
    base = timed(lab, sys.executable, "-c", "import invoke")
    *both, least = in_turn(5 if quick else 21, direct, launched, base)
    for name, times in zip(("invoke --list", "./invoke --list"), both, strict=True):
        ratio = wall(times) / wall(least)
        yield Row(name, shown(times), f"import invoke: {shown(least)}", f"{ratio:.2f}", "at most 3", ratio <= 3)


def history(lab: Lab, *, quick: bool) -> Iterator[Row]:
    """Measure what a long history costs."""
    pair, _ = cat_pair(lab, 1, 10)
    many = 100 if quick else 1000
    runs = lab.local / "buckets" / "artifacts" / "runs" / "p"
    commands: dict[str, Callable[[], Taken]] = {
        "invoke run": pair.ours,
        "invoke runs": timed(lab, sys.executable, "-m", "invoke", "runs"),
        f"invoke runs --limit {many}": timed(lab, sys.executable, "-m", "invoke", "runs", "--limit", str(many)),
    }
    pair.ours()
    times = 3 if quick else 11
    before = in_turn(times, *commands.values())
    model = json.loads(next(runs.glob("*/run.json")).read_bytes())
    for number in range(many):
        run = f"202501{number // 60 + 1:02d}t0000{number % 60:02d}-{secrets.token_hex(2)}"
        folder = runs / run
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps({**model, "run": run}, indent=1), encoding="utf-8")
    after = in_turn(times, *commands.values())
    for name, few, lots in zip(commands, before, after, strict=True):
        more = wall(lots) - wall(few)
        title = f"{many:,} runs in the history: {name}"
        yield Row(title, shown(lots), f"a few runs: {shown(few)}", f"{more:+.3f} s", "", None)


def rows(versions: dict[str, str], *, quick: bool) -> Iterator[Row]:
    """Measure, each part in a new checkout."""
    versions |= {name: version(name) for name in ("invoke", "uv")}
    for part in (fixed, throughput, memory, entrypoint, listing, history):
        with lab() as checkout:
            yield from part(checkout, quick=quick)
            versions |= checkout.versions
