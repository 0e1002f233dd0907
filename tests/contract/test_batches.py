"""BATCH messages, as a user sees them: counted, loaded, shown, and nothing left behind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

STEPS: list[list[Any]] = [["schema", "s"], ["batch", "s", 2], ["records", "s", 1, 2], ["state", {"n": 3}]]
CONFIG = {"encoding": {"format": "jsonl", "compression": "gzip"}, "storage": {"root": "file:///home/me/batches"}}


def test_batch_files_are_loaded_and_shown(checkout: Checkout, tmp_path: Path) -> None:
    """Their records, number and size are at the run's end, in runs, show and the record; the target's file is copied."""
    elsewhere = ["batch", "s", 3, str(tmp_path / "of the tap"), 3]
    checkout.scripted({"steps": [*STEPS, elsewhere], "batch_config": CONFIG})
    result = checkout.invoke("run", "p")
    assert "6 records, 2 batch files, " in result.out
    [file] = (checkout.root / "output" / "p").rglob("*.jsonl")
    assert sorted(json.loads(line)["n"] for line in file.read_text().splitlines()) == [0, 1, 2, 3, 4, 5]
    run = checkout.invoke("runs", "--json").last
    assert (run["records"], run["messages"]["BATCH"]) == ({"s": 6}, 2)
    size = run["batches"]["s"]["bytes"]
    assert run["batches"] == {"s": {"files": 2, "bytes": size, "uncounted": 0}}
    assert f"6 · 2 files, {size} bytes" in checkout.invoke("runs").out
    assert f"2 batch files, {size} bytes" in checkout.invoke("show", run["run"]).out
    assert checkout.leftovers() == []
    assert [file.name for file in (tmp_path / "of the tap").iterdir()] == ["s-3.json.gz"]


def test_check_leaves_no_batch_file(checkout: Checkout, tmp_path: Path) -> None:
    """The tap writes into the folder of the try, not where its config names one."""
    root = {"storage": {"root": f"file://{tmp_path}/batches"}}
    checkout.scripted({"steps": STEPS, "batch_config": {**CONFIG, **root}})
    assert "1 record in 1 stream" in checkout.invoke("check", "tap-scripted").out
    assert not (tmp_path / "batches").exists()


def test_files_without_a_count_of_records_are_files(checkout: Checkout, tmp_path: Path) -> None:
    """A load of Parquet is no load without new records: its files are counted, and the target's are copied."""
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    message = {"type": "BATCH", "stream": "s", "encoding": {"format": "parquet"}, "manifest": [f"file://{tmp_path}/x.parquet"]}
    checkout.scripted({"steps": [["schema", "s"], ["say", message], ["state", {"n": 1}]]}, {"table": ["s.csv", "a\n"], "batches": False})
    result = checkout.invoke("run", "p")
    assert "1 batch file (1 without a count of records), " in result.out
    assert [file.name for file in (checkout.root / "output" / "p").rglob("*.csv")] == ["s.csv"]


def test_a_batch_file_that_is_not_there(checkout: Checkout) -> None:
    """The run fails with the line and the file, before the target reads it."""
    message = {"type": "BATCH", "stream": "s", "encoding": {"format": "jsonl"}, "manifest": ["file:///no/x.gz"]}
    checkout.scripted({"steps": [["schema", "s"], ["say", message]]})
    result = checkout.run()
    assert (result.code, result.error) == (2, "E-TAP-OUTPUT")
    assert "names the batch file file:///no/x.gz, which cannot be read" in json.dumps(result.events)


@pytest.mark.full
def test_the_sdks_own_batches(checkout: Checkout) -> None:
    """A tap and a target of the SDK exchange batch files; the second run has nothing new."""
    config = {"source": "packaged", "start_date": "2026-01-01", "base": "EUR", "batch_config": {**CONFIG, "batch_size": 100}}
    checkout.write("own.json", config)
    checkout.write("pipelines.yaml", {"p": {"tap": "tap-exchange-rates", "target": "target-csv", "config": "own.json"}})
    assert checkout.run().code == 0
    run = checkout.invoke("runs", "--json").last
    records = run["records"]["exchange_rate"]
    assert records > 100
    assert run["batches"]["exchange_rate"] | {"bytes": 0} == {"files": -(-records // 100), "bytes": 0, "uncounted": 0}
    [text] = checkout.outputs().values()
    assert len(text.splitlines()) == records + 1
    assert checkout.run().last["records"] == {}
