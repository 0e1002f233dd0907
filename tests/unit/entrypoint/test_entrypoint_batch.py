"""BATCH messages: their files and records are counted, and moved to where the target sees them."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from entrypoint import Batches, Counter, EntrypointError

if TYPE_CHECKING:
    from pathlib import Path

ROWS = b'{"n": 1}\n{"n": 2}\n{"n": 3}'


def message(*manifest: object, **encoding: Any) -> bytes:
    """Return a BATCH message, by default of compressed lines of JSON."""
    encoding = {"format": "jsonl", "compression": "gzip"} | encoding
    return json.dumps({"type": "BATCH", "stream": "s", "encoding": encoding, "manifest": list(manifest)}).encode() + b"\n"


def test_files_and_records_are_counted(tmp_path: Path) -> None:
    """Compressed or not, even if the message claims the opposite: the SDK always compresses; the last line may lack its end."""
    (tmp_path / "a.gz").write_bytes(gzip.compress(ROWS))
    (tmp_path / "b b").write_bytes(ROWS + b"\n")
    counter = Counter()
    line = message(f"file://{tmp_path}/a.gz", f"file://{tmp_path}/b%20b", compression=None)
    assert counter.feed(b'{"type": "RECORD", "stream": "s", "record": {}}\n' + line) != b""
    assert counter.records == {"s": 7}
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert counter.batches.streams == {"s": {"files": 2, "bytes": size, "uncounted": 0}}
    assert counter.messages == {"RECORD": 1, "BATCH": 1}


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("a.parquet", b"PAR1", {"format": "parquet"}),
        ("a.zst", b"\x28\xb5", {"compression": "zstd"}),
        ("broken.gz", gzip.compress(ROWS, mtime=0)[:-9], {}),
    ],
    ids=["parquet", "zstd", "broken"],
)
def test_files_whose_records_are_not_known(tmp_path: Path, name: str, content: bytes, encoding: dict[str, str]) -> None:
    """Other forms, and broken ones, count as files: the target reports what is wrong with one."""
    (tmp_path / name).write_bytes(content)
    counter = Counter()
    counter.feed(message(f"file://{tmp_path / name}", **encoding))
    assert (counter.records, counter.batches.streams) == ({}, {"s": {"files": 1, "bytes": len(content), "uncounted": 1}})


def test_files_in_a_bucket_are_left_there() -> None:
    """The target opens them with its own keys."""
    counter, line = Counter(Batches("/nowhere")), message("s3://bucket/a.gz", "gs://bucket/b.gz")
    assert counter.feed(line) == line
    assert counter.batches.streams == {"s": {"files": 2, "bytes": 0, "uncounted": 2}}


@pytest.mark.parametrize("size", [1, 50, 100_000])
def test_files_elsewhere_are_shared(tmp_path: Path, size: int) -> None:
    """Files of one name each get a place in the shared folder, the message names it, and the lines around it stay as they are."""
    shared, names = tmp_path / "shared", []
    for folder in ("a", "b", "shared"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.gz").write_bytes(gzip.compress(folder.encode()))
        names.append(f"file://{tmp_path}/{folder}/x.gz")
    around = b'{"type": "RECORD", "stream": "s", "record": {}}\n' * 3
    text = around + message(names[0]) + around + message(names[1], names[2]) + around
    counter = Counter(Batches(str(shared)))
    passed = b"".join(counter.feed(text[start : start + size]) for start in range(0, len(text), size)) + counter.finish()
    lines = passed.splitlines(keepends=True)
    assert [line for line in lines if b"RECORD" in line] == around.splitlines(keepends=True) * 3
    shown = [name for line in lines if b"BATCH" in line for name in json.loads(line)["manifest"]]
    assert shown[2] == names[2]
    assert [gzip.decompress((shared / name.rpartition("/")[2]).read_bytes()) for name in shown] == [b"a", b"b", b"shared"]
    assert all((tmp_path / folder / "x.gz").exists() for folder in ("a", "b"))
    assert len(list(shared.iterdir())) == 3


def test_a_file_that_is_not_there_is_named() -> None:
    """The run ends before the target fails on it, with the line and the file."""
    with pytest.raises(EntrypointError, match=r"^Line 1 of the tap's output names the batch file file:///no/a\.gz, which cannot be read"):
        Counter().feed(message("file:///no/a.gz"))


@pytest.mark.parametrize("manifest", [None, "file:///a", {}])
def test_a_manifest_that_is_no_list_is_passed_on(manifest: object) -> None:
    """The target reports what is wrong with it."""
    line = json.dumps({"type": "BATCH", "stream": "s", "manifest": manifest}).encode()
    counter = Counter()
    assert counter.feed(line) + counter.finish() == line
    assert counter.messages == {"BATCH": 1}
