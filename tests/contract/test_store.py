"""Both stores keep the promises of ``cluster/store/protocol.py``, also where disks, servers and writers fail."""

from __future__ import annotations

import fcntl
import hashlib
import inspect
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import urllib3
from broken_store import BrokenStore
from processes import eventually

from cluster.errors import SetupError
from cluster.host.locks import sweep
from cluster.runs.record import Record, Side, new_run_id, write_record
from cluster.store import FolderStore
from cluster.store.protocol import fetching
from cluster.store.s3 import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from checkout import Checkout
    from real_stores import Buckets, Minio

    from cluster.store import Store

ROOT = Path(__file__).resolve().parents[2]
KEY = "pipelines/p/state.json"
HANGS_SECONDS = 60
"""Nobody waits as long as this for an answer that should come within seconds."""
LARGE = 17 * 1024 * 1024
"""More than S3 takes in one piece from us."""

KEYS = (
    "a",
    "a.csv",
    "a-b/c.csv",
    "a b/c d.csv",
    "a+b.csv",
    "100%.csv",
    "%2F%20.csv",
    "a#b?c=d&e;f=.csv",
    'it\'s "quoted" `so`.csv',
    "Übergröße/ß € 😀.csv",
    "é composed",
    "e\u0301 decomposed",
    "back\\slash",
    "tab\t and new\nline",
    " spaces around ",
    "~star*(1)[2]{3}|<4>,:@$!^.csv",
    ".hidden/.file",
    "...",
    "dots../..dots",
    "x" * 250,
    "/".join("y" * 200 for _ in range(4)),
    "ü" * 125,
)
NOT_KEYS = (
    "",
    "/",
    "/a",
    "a/",
    "a//b",
    ".",
    "..",
    "../a",
    "a/../b",
    "a/./b",
    "a/..",
    " .. /a",
    " ",
    "nul\0",
    "x" * 256,
    "ü" * 128,
    "/".join("y" * 200 for _ in range(6)),
    "not text \udcff",
)


def value(writer: int, number: int, most: int) -> bytes:
    """Return a JSON object that tells how long it is: a reader can say whether it is whole."""
    size = (writer * 7919 + number * 104729) % most
    return json.dumps({"writer": writer, "number": number, "most": most, "filling": "x" * size}).encode()


def whole(data: bytes | None) -> bool:
    """Say whether this is one complete ``value``."""
    assert data is not None
    written = json.loads(data)
    return data == value(written["writer"], written["number"], written["most"])


OTHER = f"""
import json, os, sys
from pathlib import Path
import cluster.store.s3
from cluster.config.settings import Settings
from cluster.store import open_store

given = json.loads(sys.argv[1])
bucket, key = sys.argv[2:4]

def opened() -> None:
    return open_store(Settings(**{{**given, "root": Path(given["root"])}}), os.environ)

{inspect.getsource(value)}
"""
WRITER = """
store = opened()
writer, count, most = map(int, sys.argv[4:])
print("ready", flush=True)
sys.stdin.readline()
for number in range(count):
    store.put(bucket, key, value(writer, number, most))
"""
FORKER = """
for line in sys.stdin:
    pid = os.fork()
    if not pid:
        store, number = opened(), 0
        print(os.getpid(), flush=True)
        while True:
            store.put(bucket, key, value(int(line), number, 6_000_000))
            number += 1
    os.waitpid(pid, 0)
    print("ended", flush=True)
"""


def other_process(program: str, buckets: Buckets, *arguments: str) -> subprocess.Popen[str]:
    """Start *program* as a separate process, with the settings of the buckets."""
    settings = json.dumps(asdict(buckets.settings), default=str)
    return subprocess.Popen(
        [sys.executable, "-c", OTHER + program, settings, buckets.versioned, KEY, *arguments],
        cwd=ROOT,
        env={**os.environ, **buckets.environ},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def content(file: Path) -> str:
    """Return a fingerprint of a file."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


class Reads:
    """Reads in a thread, while others write: each is one written value."""

    def __init__(self, read: Callable[[], bytes | None]) -> None:
        """Take the call that reads."""
        self.read = read
        self.begun, self.ended = threading.Event(), threading.Event()

    def until_the_end(self) -> None:
        """Read until ``ended`` is set; after the first read ``begun`` is."""
        while not self.ended.is_set():
            assert whole(self.read())
            self.begun.set()


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(item.name for item in folder.iterdir())


def calls(store: Store, bucket: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Return a call of every method that talks to the store, by its name."""
    folder.mkdir(exist_ok=True)
    (folder / "up").write_bytes(b"1234")
    return {
        "prepare": lambda: store.prepare({bucket: True}),
        "get": lambda: store.get(bucket, KEY),
        "put": lambda: store.put(bucket, KEY, b"{}"),
        "change": lambda: store.change(bucket, KEY, lambda _: b"{}"),
        "upload": lambda: store.upload(bucket, KEY, folder / "up"),
        "download": lambda: store.download(bucket, KEY, folder / "down"),
        "objects": lambda: store.objects(bucket),
        "delete": lambda: store.delete(bucket, KEY),
        "versions": lambda: store.versions(bucket, KEY),
    }


def errors(store: Store, bucket: str, folder: Path, *but: str) -> dict[str, SetupError | None]:
    """Return the error that every method ends with, all called in parallel; anything but a SetupError is a traceback."""

    def call(method: Callable[[], object]) -> SetupError | None:
        try:
            method()
        except SetupError as error:
            return error
        return None

    wanted = {name: method for name, method in calls(store, bucket, folder).items() if name not in but}
    with ThreadPoolExecutor(len(wanted)) as pool:
        return dict(zip(wanted, pool.map(call, wanted.values()), strict=True))


def assert_all_fail(errors_: dict[str, SetupError | None], *hidden: str) -> None:
    """See that every method ended with E-STORE, in one sentence that gives nothing away."""
    assert {name: error and error.code for name, error in errors_.items()} == dict.fromkeys(errors_, "E-STORE")
    for error in errors_.values():
        assert error is not None
        assert "\n" not in error.problem
        assert not [text for text in hidden if text in f"{error.problem} {error.hint}"]


# -------------------------------------------------------------------------------------------------------- promises


def test_an_object_that_is_not_there_is_none(buckets: Buckets) -> None:
    """Reading what nobody has written gives nothing, in a bucket with versions and in one without."""
    buckets.store.put(buckets.plain, "a/b", b"1")
    assert buckets.store.get(buckets.versioned, KEY) is None
    assert buckets.store.get(buckets.plain, KEY) is None
    assert buckets.store.get(buckets.plain, "a") is None
    assert buckets.store.get(buckets.plain, "a/b/c") is None


@pytest.mark.parametrize("data", [b"", b"{}", bytes(range(256)) * 5000])
def test_an_object_is_read_as_it_was_written(buckets: Buckets, data: bytes) -> None:
    """Any bytes that are put are what everybody gets."""
    buckets.store.put(buckets.versioned, KEY, data)
    assert buckets.store.get(buckets.versioned, KEY) == data
    assert buckets.open().get(buckets.versioned, KEY) == data


def test_an_object_is_replaced_as_a_whole(buckets: Buckets) -> None:
    """Nothing of a longer old object is left in a shorter new one."""
    for bucket in (buckets.plain, buckets.versioned):
        buckets.store.put(bucket, KEY, b"a longer value")
        buckets.store.put(bucket, KEY, b"short")
        assert buckets.store.get(bucket, KEY) == b"short"


def test_versions_are_kept_newest_first(buckets: Buckets) -> None:
    """Every write and the removal are versions of their own, newest first, and each can be read again."""
    for data in (b"1", b"22", b"333"):
        buckets.store.put(buckets.versioned, KEY, data)
    buckets.store.delete(buckets.versioned, KEY)
    assert buckets.store.get(buckets.versioned, KEY) is None
    assert buckets.store.objects(buckets.versioned) == []
    buckets.store.put(buckets.versioned, KEY, b"4444")
    versions = buckets.store.versions(buckets.versioned, KEY)
    assert [version.deleted for version in versions] == [False, True, False, False, False]
    assert [buckets.store.get(buckets.versioned, KEY, version.id) for version in versions] == [b"4444", None, b"333", b"22", b"1"]
    assert [version.size for version in versions] == [4, 0, 3, 2, 1]
    assert len({version.id for version in versions}) == len(versions)
    assert all(abs(datetime.now(UTC) - version.modified) < timedelta(minutes=5) for version in versions)
    assert buckets.store.get(buckets.versioned, KEY) == b"4444"


def test_versions_belong_to_one_object(buckets: Buckets) -> None:
    """An object does not show the versions of one whose key begins with its own, nor give them out."""
    for key in (KEY, KEY + ".old", KEY[:-1], KEY + "-folder/x"):
        buckets.store.put(buckets.versioned, key, key.encode())
    (version,) = buckets.store.versions(buckets.versioned, KEY)
    (other,) = buckets.store.versions(buckets.versioned, KEY + ".old")
    assert buckets.store.get(buckets.versioned, KEY, version.id) == KEY.encode()
    assert buckets.store.get(buckets.versioned, KEY, other.id) is None
    assert buckets.store.versions(buckets.versioned, "pipelines/nobody/state.json") == []


def test_versions_are_kept_only_where_asked_for(buckets: Buckets) -> None:
    """In a bucket without versions a write replaces the old object for good, and asking for its versions changes nothing."""
    buckets.store.put(buckets.plain, KEY, b"1")
    buckets.store.get(buckets.plain, KEY, version="00000000-0000-0000-0000-000000000000")
    buckets.store.put(buckets.plain, KEY, b"2")
    versions = buckets.store.versions(buckets.plain, KEY)
    assert [buckets.store.get(buckets.plain, KEY, version.id) for version in versions] in ([], [b"2"])
    buckets.store.delete(buckets.plain, KEY)
    assert buckets.store.versions(buckets.plain, KEY) == []


def test_versions_can_be_asked_for_later(buckets: Buckets) -> None:
    """A bucket that was there before keeps its objects, and versions from then on."""
    buckets.store.put(buckets.plain, KEY, b"1")
    buckets.store.prepare({buckets.plain: True})
    assert buckets.store.get(buckets.plain, KEY) == b"1"
    buckets.store.put(buckets.plain, KEY, b"2")
    buckets.store.put(buckets.plain, KEY, b"3")
    newest = buckets.store.versions(buckets.plain, KEY)[:2]
    assert [buckets.store.get(buckets.plain, KEY, version.id) for version in newest] == [b"3", b"2"]


def test_several_objects_are_removed_together(buckets: Buckets) -> None:
    """Those that are named go, also if one is not there; the others stay, and so do versions."""
    for bucket in (buckets.plain, buckets.versioned):
        keys = [f"a/{number} <&>é" for number in range(4)]
        for key in keys:
            buckets.store.put(bucket, key, key.encode())
        buckets.store.delete(bucket, *keys[:3], "nothing")
        assert [item.key for item in buckets.store.objects(bucket)] == keys[3:]
        buckets.store.delete(bucket)
    assert [version.deleted for version in buckets.store.versions(buckets.versioned, keys[0])] == [True, False]


def test_a_server_that_removes_only_one_by_one(s3: Buckets) -> None:
    """Not every store knows the request for several objects."""
    for key in "abc":
        s3.store.put(s3.plain, key, b"1")
    with BrokenStore(int(s3.settings.s3_endpoint.rpartition(":")[2])) as broken:
        between = replace(s3, settings=replace(s3.settings, s3_endpoint=broken.endpoint)).open()
        broken.set("500", 1)
        between.delete(s3.plain, "a", "b")
        assert [line.split("?")[0].split("/")[0] for line in broken.seen] == ["POST ", "DELETE ", "DELETE "]
    assert [item.key for item in s3.store.objects(s3.plain)] == ["c"]


def test_removing_what_is_not_there_is_fine(buckets: Buckets) -> None:
    """Nothing happens when there is nothing to remove, and removing a folder's name leaves its objects."""
    for bucket in (buckets.plain, buckets.versioned):
        buckets.store.put(bucket, "a/b", b"1")
        for key in ("nothing", "a", "a/b/c"):
            buckets.store.delete(bucket, key)
        assert buckets.store.get(bucket, "a/b") == b"1"
        buckets.store.delete(bucket, "a/b")
        buckets.store.delete(bucket, "a/b")
        assert buckets.store.objects(bucket) == []


def test_objects_are_listed_by_prefix(buckets: Buckets) -> None:
    """A listing has the keys that begin with the prefix, sorted, with sizes and times that have a time zone."""
    sizes = {"a": 0, "b/a": 1, "b/b/c": 22, "b/bc": 333, "b-c": 4, "b.c": 5, "bc": 6, "ü/1": 7, "z/ü": 8, "Z": 9}
    for key in reversed(sizes):
        buckets.store.put(buckets.plain, key, b"x" * sizes[key])
    objects = buckets.store.objects(buckets.plain)
    assert [(item.key, item.size) for item in objects] == sorted(sizes.items())
    assert all(abs(datetime.now(UTC) - item.modified) < timedelta(minutes=5) for item in objects)
    for prefix in (
        "b",
        "b/",
        "b/b",
        "b/b/",
        "b/b/c",
        "ü/",
        "ü/1",
        "z/",
        "c",
        "b/b/c/",
        "a/",
        "b//",
        "/",
        "/a",
        "../",
        "../b",
        "b/../",
        "./",
    ):
        expected = sorted(key for key in sizes if key.startswith(prefix))
        assert [item.key for item in buckets.store.objects(buckets.plain, prefix)] == expected, prefix
    assert buckets.store.objects(buckets.versioned) == []


def test_more_objects_than_one_answer_holds_are_all_listed(s3: Buckets) -> None:
    """A listing goes on where S3 breaks it off, after a thousand objects."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda number: s3.store.put(s3.plain, f"runs/p/{number:04}", b""), range(1010)))
    assert [item.key for item in s3.store.objects(s3.plain, "runs/")] == [f"runs/p/{number:04}" for number in range(1010)]


@pytest.mark.parametrize("size", [0, 1, LARGE])
def test_a_file_is_uploaded_and_downloaded(buckets: Buckets, tmp_path: Path, size: int) -> None:
    """A file of any size comes back as it was, in place of the one that was there."""
    file, copy = tmp_path / "a file", tmp_path / "new folder" / "deep" / "a file"
    file.write_bytes(random.Random(size).randbytes(size))
    before = content(file)
    buckets.store.upload(buckets.plain, "p/r/a file", file)
    assert [(item.key, item.size) for item in buckets.store.objects(buckets.plain)] == [("p/r/a file", size)]
    for old in (None, b"an older file"):
        if old:
            copy.write_bytes(old)
        buckets.store.download(buckets.plain, "p/r/a file", copy)
        assert content(copy) == before
    assert names(copy.parent) == ["a file"]


def test_an_upload_replaces_and_keeps_versions(buckets: Buckets, tmp_path: Path) -> None:
    """An uploaded file is an object like any other: it replaces the old one, and where asked for that one is kept."""
    buckets.store.put(buckets.versioned, KEY, b"old")
    (tmp_path / "new").write_bytes(b"new")
    buckets.store.upload(buckets.versioned, KEY, tmp_path / "new")
    assert buckets.store.get(buckets.versioned, KEY) == b"new"
    assert [buckets.store.get(buckets.versioned, KEY, version.id) for version in buckets.store.versions(buckets.versioned, KEY)] == [
        b"new",
        b"old",
    ]


def test_an_uploaded_link_is_what_it_leads_to(buckets: Buckets, tmp_path: Path) -> None:
    """Of a link the content is stored: the object is still there when the link's folder has gone."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "real").write_bytes(b"content")
    (folder / "latest").symlink_to("real")
    buckets.store.upload(buckets.plain, "latest", folder / "latest")
    buckets.store.upload(buckets.plain, "real", folder / "real")
    shutil.rmtree(folder)
    assert buckets.store.get(buckets.plain, "latest") == b"content"
    assert buckets.store.get(buckets.plain, "real") == b"content"


def test_an_upload_of_no_file_is_an_error(buckets: Buckets, tmp_path: Path) -> None:
    """A file that is not there cannot be uploaded, and the object stays as it was."""
    buckets.store.put(buckets.plain, KEY, b"old")
    with pytest.raises(SetupError) as caught:
        buckets.store.upload(buckets.plain, KEY, tmp_path / "nothing")
    assert caught.value.code == "E-STORE"
    assert buckets.store.get(buckets.plain, KEY) == b"old"


def test_a_download_of_no_object_leaves_the_file(buckets: Buckets, tmp_path: Path) -> None:
    """Where there is no object the file of that name stays as it was, and nothing is left beside it."""
    file = tmp_path / "folder" / "file"
    file.parent.mkdir()
    file.write_bytes(b"old")
    with pytest.raises(SetupError) as caught:
        buckets.store.download(buckets.plain, KEY, file)
    assert caught.value.code == "E-STORE"
    assert file.read_bytes() == b"old"
    assert names(file.parent) == ["file"]


def test_a_download_onto_a_folder_is_an_error(buckets: Buckets, tmp_path: Path) -> None:
    """A folder that has the file's name is not replaced."""
    (tmp_path / "here" / "file").mkdir(parents=True)
    buckets.store.put(buckets.plain, KEY, b"1")
    with pytest.raises(SetupError) as caught:
        buckets.store.download(buckets.plain, KEY, tmp_path / "here" / "file")
    assert caught.value.code == "E-STORE"
    assert names(tmp_path / "here") == ["file"]


def test_readers_of_a_downloaded_file_see_it_whole(buckets: Buckets, tmp_path: Path) -> None:
    """While a file is downloaded again and again, every reader finds it there and whole."""
    file = tmp_path / "file"
    for writer in (1, 2):
        buckets.store.put(buckets.plain, str(writer), value(writer, 0, 400_000))
    buckets.store.download(buckets.plain, "1", file)
    reads = Reads(file.read_bytes)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(reads.until_the_end)
        try:
            assert reads.begun.wait(HANGS_SECONDS)
            for number in range(40):
                buckets.store.download(buckets.plain, str(1 + number % 2), file)
        finally:
            reads.ended.set()
        reader.result()


def test_keys_are_kept_apart(buckets: Buckets, tmp_path: Path) -> None:
    """Keys with spaces, umlauts, signs that URLs and shells know, and long names are keys like any other."""
    for bucket in (buckets.plain, buckets.versioned):
        for key in KEYS:
            buckets.store.put(bucket, key, key.encode())
        assert [item.key for item in buckets.store.objects(bucket)] == sorted(KEYS)
        for key in KEYS:
            assert buckets.store.get(bucket, key) == key.encode()
            assert key in [item.key for item in buckets.store.objects(bucket, key)]
            file = tmp_path / "down" / key.rpartition("/")[2]
            buckets.store.download(bucket, key, file)
            assert file.read_bytes() == key.encode()
    for key in KEYS:
        (version,) = buckets.store.versions(buckets.versioned, key)
        assert buckets.store.get(buckets.versioned, key, version.id) == key.encode()
        (tmp_path / "up").write_bytes(b"uploaded")
        buckets.store.upload(buckets.versioned, key, tmp_path / "up")
        assert buckets.store.get(buckets.versioned, key) == b"uploaded"
        buckets.store.delete(buckets.versioned, key)
    assert buckets.store.objects(buckets.versioned) == []


@pytest.mark.parametrize("key", NOT_KEYS, ids=range(len(NOT_KEYS)))
def test_what_is_not_a_key_is_refused(buckets: Buckets, tmp_path: Path, key: str) -> None:
    """What would leave its bucket, or fits only one kind of store, is refused by both in the same way."""
    store, bucket, file = buckets.store, buckets.versioned, tmp_path / "file"
    file.write_bytes(b"mine")
    methods: list[Callable[[], object]] = [
        lambda: store.get(bucket, key),
        lambda: store.get(bucket, key, "00000000-0000-0000-0000-000000000000"),
        lambda: store.put(bucket, key, b""),
        lambda: store.upload(bucket, key, file),
        lambda: store.download(bucket, key, file),
        lambda: store.delete(bucket, key),
        lambda: store.versions(bucket, key),
        lambda: store.url(bucket, key),
    ]
    for method in methods:
        with pytest.raises(SetupError) as caught:
            method()
        assert caught.value.code == "E-STORE"
        assert "is not a key" in caught.value.problem
    assert file.read_bytes() == b"mine"
    assert store.objects(bucket) == []


def test_preparing_again_changes_nothing(buckets: Buckets) -> None:
    """Opening a store that is there already leaves objects and versions as they are."""
    buckets.store.put(buckets.versioned, KEY, b"1")
    buckets.store.put(buckets.plain, KEY, b"2")
    again = buckets.open()
    assert again.get(buckets.versioned, KEY) == b"1"
    assert again.get(buckets.plain, KEY) == b"2"
    assert len(again.versions(buckets.versioned, KEY)) == 1


def test_a_store_can_be_opened_by_many_at_once(buckets: Buckets) -> None:
    """Commands that start in the same moment do not get into each other's way, also where no bucket is there yet."""
    with ThreadPoolExecutor(6) as pool:
        stores = list(pool.map(lambda _: buckets.open(), range(12)))
    stores[0].put(buckets.versioned, KEY, b"1")
    stores[1].put(buckets.versioned, KEY, b"2")
    assert len(stores[2].versions(buckets.versioned, KEY)) == 2


def test_urls_tell_where_an_object_is(folders: Buckets, s3: Buckets) -> None:
    """A person finds an object by its path or its ``s3://`` URL."""
    folders.store.put(folders.plain, "a b/ü", b"content")
    assert Path(folders.store.url(folders.plain, "a b/ü")).read_bytes() == b"content"
    assert s3.store.url(s3.plain, "a b/ü") == f"s3://{s3.plain}/a b/ü"


def test_only_the_user_may_look_into_folders(folders: Buckets) -> None:
    """States and outputs can be confidential: no other user of the machine gets at them."""
    folders.store.put(folders.versioned, KEY, b"{}")
    assert (folders.settings.local / "buckets").stat().st_mode & 0o077 == 0


# ---------------------------------------------------------------------------------------------------- many in parallel


def test_concurrent_writers_do_not_mix(buckets: Buckets) -> None:
    """While threads and processes write one key, every read is one written value, and no write lacks its version."""
    processes, threads, count, most = 3, 4, 12, 200_000
    store, bucket = buckets.store, buckets.versioned
    store.put(bucket, KEY, value(0, 0, most))
    others = [other_process(WRITER, buckets, str(number), str(count), str(most)) for number in range(1, processes + 1)]
    reads = [Reads(lambda: store.get(bucket, KEY)) for _ in range(2)]

    def write(writer: int) -> None:
        for number in range(count):
            store.put(bucket, KEY, value(writer, number, most))

    try:
        for process in others:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        with ThreadPoolExecutor(threads + 2) as pool:
            readers = [pool.submit(reading.until_the_end) for reading in reads]
            try:
                assert all(reading.begun.wait(HANGS_SECONDS) for reading in reads)
                for process in others:
                    assert process.stdin is not None
                    process.stdin.write("go\n")
                    process.stdin.flush()
                list(pool.map(write, range(processes + 1, processes + threads + 1)))
                assert [process.wait(HANGS_SECONDS) for process in others] == [0] * processes
            finally:
                for reading in reads:
                    reading.ended.set()
            for reader in readers:
                reader.result()
    finally:
        for process in others:
            process.kill()
            process.communicate()
    expected = {(0, 0)} | {(writer, number) for writer in range(1, processes + threads + 1) for number in range(count)}
    versions = store.versions(bucket, KEY)
    kept = [store.get(bucket, KEY, version.id) for version in versions]
    assert all(map(whole, kept))
    assert sorted((written["writer"], written["number"]) for written in (json.loads(data or b"") for data in kept)) == sorted(expected)
    assert store.get(bucket, KEY) == kept[0]


def test_no_change_of_an_object_is_lost(buckets: Buckets) -> None:
    """Many writers change one object at the same time, each by what it reads: nobody's change is lost, also where there was no object."""

    def add(mark: str, data: bytes | None) -> bytes:
        return (data or b"") + mark.encode()

    def change(writer: int) -> None:
        store = buckets.open()
        for number in range(5):
            store.change(buckets.versioned, "k", partial(add, f"{writer}.{number}\n"))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(change, range(8)))
    lines = (buckets.store.get(buckets.versioned, "k") or b"").decode().split()
    assert sorted(lines) == sorted(f"{writer}.{number}" for writer in range(8) for number in range(5))
    assert len(buckets.store.versions(buckets.versioned, "k")) == 40


def test_a_writer_that_is_killed_leaves_the_object_whole(buckets: Buckets) -> None:
    """When a writer is killed at any moment, the object is one written value, and nothing else has become an object."""
    store, bucket = buckets.store, buckets.versioned
    store.put(bucket, KEY, value(0, 0, 6_000_000))
    moments = random.Random(1)
    forker = other_process(FORKER, buckets)
    assert forker.stdin is not None
    assert forker.stdout is not None
    try:
        for number in range(1, 16):
            forker.stdin.write(f"{number}\n")
            forker.stdin.flush()
            pid = int(forker.stdout.readline())
            time.sleep(moments.uniform(0, 0.15))
            os.kill(pid, 9)
            assert forker.stdout.readline() == "ended\n"
            assert whole(store.get(bucket, KEY))
            assert [item.key for item in store.objects(bucket)] == [KEY]
    finally:
        forker.kill()
        forker.communicate()
    assert all(whole(store.get(bucket, KEY, version.id)) for version in store.versions(bucket, KEY)[:10])
    store.put(bucket, KEY, b"{}")
    assert store.get(bucket, KEY) == b"{}"


def test_what_killed_writers_leave_is_swept(folders: Buckets) -> None:
    """Temporary files of writers that were killed are gone with the next command, unless somebody is writing at that moment."""
    folder = folders.settings.local / "buckets" / ".part"
    folders.store.put(folders.plain, KEY, b"1")
    (folder / "half").write_bytes(b"half")
    writer = os.open(folder, os.O_RDONLY)
    fcntl.flock(writer, fcntl.LOCK_SH)
    folders.open()
    assert names(folder) == ["half"]
    os.close(writer)
    folders.open()
    assert names(folder) == []


def test_what_killed_downloads_leave_is_swept(tmp_path: Path) -> None:
    """What a copy that was killed has left is gone with the next copy; one that is under way goes on, other files stay."""
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / f".{'a' * 16}.part").write_bytes(b"half")
    (tmp_path / ".mine.part").write_bytes(b"mine")
    with fetching(KEY, tmp_path / "run" / "file") as part:
        part.write_bytes(b"whole")
        sweep(tmp_path)
    assert [path.name for path in sorted(tmp_path.rglob("*")) if path.is_file()] == [".mine.part", "file"]


def test_versions_when_the_clock_goes_back(folders: Buckets) -> None:
    """A state that is saved after the clock was set back is the newest version all the same."""
    folders.store.put(folders.versioned, KEY, b"1")
    [version] = folders.store.versions(folders.versioned, KEY)
    history = folders.settings.local / "buckets" / ".versions" / folders.versioned / KEY
    tomorrow = f"{int(version.id.partition('-')[0]) + 86_400 * 10**9:020d}-00000000"
    (history / version.id).rename(history / tomorrow)
    folders.store.put(folders.versioned, KEY, b"2")
    folders.store.delete(folders.versioned, KEY)
    folders.store.put(folders.versioned, KEY, b"3")
    versions = folders.store.versions(folders.versioned, KEY)
    assert [folders.store.get(folders.versioned, KEY, item.id) for item in versions] == [b"3", None, b"2", b"1"]


# ----------------------------------------------------------------------------------------------- servers that fail


def test_a_server_that_is_down_is_reported_in_seconds(minio: Minio, s3: Buckets, tmp_path: Path) -> None:
    """While MinIO is down every method reports it; when it is back all is as it was."""
    s3.store.put(s3.versioned, KEY, b"1")
    minio.kill()
    began = time.monotonic()
    by_method = errors(s3.store, s3.versioned, tmp_path / "files")
    assert time.monotonic() - began < HANGS_SECONDS
    assert_all_fail(by_method, minio.access_key, minio.secret_key)
    assert all(error and f"{minio.endpoint} cannot be reached: connection refused." in error.problem for error in by_method.values())
    assert names(tmp_path / "files") == ["up"]
    with pytest.raises(SetupError):
        s3.open()
    minio.restart()
    assert s3.store.get(s3.versioned, KEY) == b"1"


@pytest.mark.parametrize("old", [b"old", None])
def test_a_server_that_is_killed_while_it_takes_an_object(minio: Minio, s3: Buckets, tmp_path: Path, old: bytes | None) -> None:
    """Killed in the middle of an upload, MinIO has the old object or the new one when it is back."""
    if old:
        s3.store.put(s3.versioned, KEY, old)
    file = tmp_path / "large"
    file.write_bytes(random.Random(1).randbytes(4 * LARGE))
    new = content(file)
    parts = minio.data / ".minio.sys" / "multipart"

    def upload() -> str:
        try:
            s3.store.upload(s3.versioned, KEY, file)
        except SetupError as error:
            return error.code
        return ""

    with ThreadPoolExecutor(1) as pool:
        uploading = pool.submit(upload)
        while not any(name.startswith("part.") for *_, files in os.walk(parts) for name in files) and not uploading.done():
            time.sleep(0.001)
        minio.kill()
        code = uploading.result(HANGS_SECONDS)
    assert code in {"E-STORE", ""}
    minio.restart()
    kept = s3.store.get(s3.versioned, KEY)
    if code:
        assert kept == old or (kept and hashlib.sha256(kept).hexdigest() == new)
    else:
        assert kept
        assert hashlib.sha256(kept).hexdigest() == new
    s3.store.upload(s3.versioned, KEY, file)
    s3.store.download(s3.versioned, KEY, tmp_path / "copy")
    assert content(tmp_path / "copy") == new


@pytest.mark.parametrize("wrong", ["access", "secret"])
def test_wrong_credentials_are_reported_and_not_shown(minio: Minio, s3: Buckets, tmp_path: Path, wrong: str) -> None:
    """With a wrong key every method names the settings to correct; neither key is in the message."""
    s3.store.put(s3.versioned, KEY, b"1")
    access = "somebodyelse" if wrong == "access" else minio.access_key
    secret = "a-made-up-secret-key" if wrong == "secret" else minio.secret_key
    stranger = S3Store(minio.endpoint, access_key=access, secret_key=secret, region="us-east-1")
    by_method = errors(stranger, s3.versioned, tmp_path)
    assert_all_fail(by_method, access, secret, minio.access_key, minio.secret_key)
    assert all(error and "AWS_ACCESS_KEY_ID" in error.hint for error in by_method.values())
    assert s3.store.get(s3.versioned, KEY) == b"1"


def test_a_bucket_that_is_not_there_is_reported(s3: Buckets, tmp_path: Path) -> None:
    """If somebody has removed a bucket every method but the one that makes it reports that."""
    by_method = errors(s3.store, "nobody-made-this-one", tmp_path, "prepare")
    assert_all_fail(by_method)
    assert all(error and "NoSuchBucket" in error.problem for error in by_method.values())


@pytest.mark.parametrize(
    ("setting", "wrong", "code"),
    [
        ("s3_endpoint", "http://127.0.0.1:99999", "E-SETTING"),
        ("s3_endpoint", "http://exa mple:9000", "E-STORE"),
        ("s3_region", "not a region", "E-SETTING"),
        ("bucket_configs", "192.168.1.1", "E-STORE"),
        ("s3_endpoint", "http://nobody.invalid:9000", "E-STORE"),
    ],
)
def test_settings_that_cannot_be_right_are_refused(s3: Buckets, setting: str, wrong: str, code: str) -> None:
    """An address, a region or a bucket's name that S3 cannot have is a sentence, with the value in it."""
    change: dict[str, Any] = {setting: wrong}
    broken = replace(s3, settings=replace(s3.settings, **change))
    with pytest.raises(SetupError) as caught:
        broken.open()
    assert caught.value.code == code
    assert wrong in caught.value.problem
    assert "singer." in caught.value.hint


def test_the_console_is_not_the_store(minio: Minio, s3: Buckets) -> None:
    """For the address of MinIO's web page as the endpoint, the error is that this is not S3."""
    with pytest.raises(SetupError) as caught:
        replace(s3, settings=replace(s3.settings, s3_endpoint=minio.console)).open()
    assert caught.value.code == "E-STORE"
    assert f"{minio.console} does not answer as S3 does" in caught.value.problem


@pytest.mark.parametrize("bundle", ["", "/nobody/made/this/file"])
def test_a_server_without_tls_is_reported(minio: Minio, s3: Buckets, bundle: str) -> None:
    """Who writes https where there is http, or names certificates that are not there, gets a sentence."""
    endpoint = minio.endpoint.replace("http:", "https:")
    wrong = replace(s3, settings=replace(s3.settings, s3_endpoint=endpoint), environ={**s3.environ, "SSL_CERT_FILE": bundle})
    with pytest.raises(SetupError) as caught:
        wrong.open()
    assert caught.value.code == ("E-SETTING" if bundle else "E-STORE")
    assert ("SSL_CERT_FILE" if bundle else "TLS") in caught.value.problem


def answer(head: str, body: bytes = b"", kind: str = "text/html", length: int | None = None) -> bytes:
    """Return an HTTP answer."""
    size = len(body) if length is None else length
    return f'HTTP/1.1 {head}\r\nETag: "1"\r\nContent-Type: {kind}\r\nContent-Length: {size}\r\nConnection: close\r\n\r\n'.encode() + body


ANSWERS: dict[str, bytes | Callable[[bytes], bytes] | None] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
    "half a body": answer("200 OK", b"<?xml", "application/xml", 100_000),
    "an internal error": answer("500 Internal Server Error", b"<h1>Oops</h1>"),
    "busy": answer("503 Slow Down", b"<Error><Code>SlowDown</Code></Error>", "application/xml"),
    "not implemented": answer("501 Not Implemented"),
    "a web page": answer("403 Forbidden", b"<html><br></html>"),
    "half XML": answer("400 Bad Request", b"<Error><Code>Acc", "application/xml"),
    "no text": answer("400 Bad Request", b"\xff\xfe\x00", "application/xml"),
    "another XML": answer("418 I'm a teapot", b"<teapot/>", "application/xml"),
    "an echo": lambda request: answer("400 Bad Request", request, "text/plain"),
    "an echo of the first line": lambda request: request,
    "silence": None,
}


@contextmanager
def server(answer: bytes | Callable[[bytes], bytes] | None) -> Iterator[str]:
    """Serve the same answer to everybody, on a real socket; None is never to answer."""
    ended = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.settimeout(HANGS_SECONDS)
            request = b""
            while b"\r\n\r\n" not in request:
                more = connection.recv(65536)
                if not more:
                    return
                request += more
            if answer is None:
                ended.wait(HANGS_SECONDS)
                return
            connection.sendall(answer(request) if callable(answer) else answer)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):  # the rest of the request, so that it is our answer that is read
                pass

    def accept() -> None:
        while not ended.is_set():
            with suppress(TimeoutError):
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0), backlog=64) as listener:
        listener.settimeout(0.05)
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            ended.set()
            for thread in threads:
                thread.join()


@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
def test_a_server_that_does_not_answer_as_s3_does_is_reported(answer: bytes | Callable[[bytes], bytes] | None, tmp_path: Path) -> None:
    """If another program listens at the endpoint, every method ends with a sentence and within seconds."""
    keys = ("AKIAMADEUP", "a-made-up-secret", "a-made-up-session-token")
    with server(answer) as endpoint:
        store = S3Store(
            endpoint, access_key=keys[0], secret_key=keys[1], session_token=keys[2], region="us-east-1", timeout=urllib3.Timeout(0.3)
        )
        began = time.monotonic()
        by_method = errors(store, "bucket", tmp_path / "files")
        assert time.monotonic() - began < HANGS_SECONDS
    assert_all_fail(by_method, *keys)
    assert all(error and endpoint in error.problem for error in by_method.values())
    assert names(tmp_path / "files") == ["up"]


def test_clocks_that_differ() -> None:
    """After a laptop's sleep the store's clock may be behind: the message names that, and how the clock is set, not a code."""
    refused = answer("403 Forbidden", b"<Error><Code>RequestTimeTooSkewed</Code><Message>x</Message></Error>", "application/xml")
    with server(refused) as endpoint:
        store = S3Store(endpoint, access_key="AKIAMADEUP", secret_key="a-made-up-secret", region="us-east-1")
        with pytest.raises(SetupError, match=r"clocks of this machine and of .* differ") as caught:
            store.get("bucket", "key")
    assert caught.value.hint.startswith("Set the clock")


def test_credentials_that_have_expired() -> None:
    """Keys that were right an hour ago: the hint is a new login, not other rights."""
    refused = answer("400 Bad Request", b"<Error><Code>ExpiredToken</Code><Message>x</Message></Error>", "application/xml")
    with server(refused) as endpoint:
        store = S3Store(endpoint, access_key="AKIAMADEUP", secret_key="a-made-up-secret", session_token="x", region="us-east-1")
        with pytest.raises(SetupError, match="have expired: ExpiredToken") as caught:
            store.get("bucket", "key")
    assert "AWS_SESSION_TOKEN" in caught.value.hint


def test_a_web_page_is_not_an_object(tmp_path: Path) -> None:
    """A web server that answers OK to everything is no store: no page is taken for a state, and no write for done."""
    page = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 17\r\nConnection: close\r\n\r\n<html><br></html>"
    with server(page) as endpoint:
        store = S3Store(endpoint, access_key="AKIAMADEUP", secret_key="a-made-up-secret", region="us-east-1")
        assert_all_fail(errors(store, "bucket", tmp_path, "delete"))
    assert names(tmp_path) == ["up"]


def test_a_download_that_breaks_off_leaves_the_file(tmp_path: Path) -> None:
    """Where the transfer breaks in the middle the file of that name stays as it was, and nothing is left beside it."""
    (tmp_path / "file").write_bytes(b"old")
    with server(answer("200 OK", b"x" * 3_000_000, length=9_000_000)) as endpoint:
        store = S3Store(endpoint, access_key="AKIAMADEUP", secret_key="a-made-up-secret", region="us-east-1")
        with pytest.raises(SetupError) as caught:
            store.download("bucket", KEY, tmp_path / "file")
        with pytest.raises(SetupError) as also:
            store.get("bucket", KEY)
    assert caught.value.code == also.value.code == "E-STORE"
    assert "broke off" in caught.value.problem
    assert (tmp_path / "file").read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


# ------------------------------------------------------------------------------------------------- disks that fail


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """Return a folder on a file system of one megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    if not shutil.which("mount"):
        pytest.skip("a small file system cannot be made here: there is no mount")
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small file system cannot be made here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def in_use(folder: Path) -> dict[str, int]:
    """Return all files below a folder with their sizes."""
    return {str(file.relative_to(folder)): file.stat().st_size for file in folder.rglob("*") if file.is_file()}


@pytest.mark.parametrize("size", [2_000_000, 300_000])
@pytest.mark.parametrize("method", ["put", "upload"])
def test_a_full_disk_is_reported_and_nothing_is_lost(small: Path, tmp_path: Path, method: str, size: int) -> None:
    """An object that does not fit, or fits only once where its version needs room too, leaves all as it was."""
    store = FolderStore(small / "buckets")
    store.prepare({"states": True, "outputs": False})
    store.put("states", KEY, b"x" * 200_000)
    store.put("outputs", KEY, b"y" * 200_000)
    file = tmp_path / "file"
    file.write_bytes(b"z" * size)
    before = in_use(small)
    with pytest.raises(SetupError) as caught:
        store.put("states", KEY, b"z" * size) if method == "put" else store.upload("states", KEY, file)
    assert caught.value.code == "E-DISK"
    assert "disk is full" in caught.value.problem
    assert in_use(small) == before
    assert store.get("states", KEY) == b"x" * 200_000
    assert [store.get("states", KEY, version.id) for version in store.versions("states", KEY)] == [b"x" * 200_000]
    store.delete("outputs", KEY)
    store.put("outputs", KEY, b"there is room again")


def test_a_download_onto_a_full_disk_leaves_the_file(buckets: Buckets, small: Path) -> None:
    """Where a file does not fit the one that was there stays as it was, and nothing is left beside it."""
    (small / "file").write_bytes(b"old")
    buckets.store.put(buckets.plain, KEY, b"x" * 2_000_000)
    with pytest.raises(SetupError) as caught:
        buckets.store.download(buckets.plain, KEY, small / "file")
    assert caught.value.code == "E-DISK"
    assert in_use(small) == {"file": 3}


def test_a_folder_that_cannot_be_made_is_reported(tmp_path: Path) -> None:
    """A file where the buckets should be is a sentence with its path."""
    (tmp_path / "buckets").write_bytes(b"")
    with pytest.raises(SetupError) as caught:
        FolderStore(tmp_path / "buckets").prepare({"states": True})
    assert caught.value.code == "E-STORE"
    assert str(tmp_path / "buckets") in caught.value.problem


# --------------------------------------------------------------------------------------------------------- history


def record(run: str, pipeline: str = "p") -> Record:
    """Return the record of a run."""
    return Record(run, pipeline, "local", "2026-11-22T20:35:12Z", Side("tap-a", "1"), Side("target-b", "2"), {"n": 1})


def test_states_are_kept(buckets: Buckets) -> None:
    """A state is what was saved last; earlier ones stay as versions, also when it is removed."""
    history = buckets.history
    assert history.state("p") is None
    for state in ({"n": 1}, {"bookmarks": {"ü": "2026-11-22T00:00:00Z"}, "deep": [{"a": None}]}):
        history.save_state("p", state)
        assert history.state("p") == state
    assert history.state("other") is None
    history.reset_state("p")
    assert history.state("p") is None
    assert [version.deleted for version in history.state_versions("p")] == [True, False, False]


@pytest.mark.parametrize("data", [b"", b"{", b"[1]", b"null", b'"text"', b"\xff\xfe", b"[" * 100_000])
def test_a_state_that_is_not_an_object_is_refused(buckets: Buckets, data: bytes) -> None:
    """A state that somebody has damaged stops the run before it begins, and the message names its object."""
    buckets.store.put(buckets.versioned, KEY, data)
    with pytest.raises(SetupError) as caught:
        buckets.history.state("p")
    assert caught.value.code == "E-STATE"
    assert buckets.store.url(buckets.versioned, KEY) in caught.value.problem


def test_buckets_belong_to_one_engine(buckets: Buckets) -> None:
    """The engine that came first keeps the buckets; another one gets an error, with the hint to use other buckets."""
    buckets.history.claim("local")
    buckets.history.claim("local")
    with pytest.raises(SetupError) as caught:
        buckets.history.claim("argo")
    assert caught.value.code == "E-ENGINE"
    assert buckets.versioned in caught.value.problem
    buckets.history.claim("local")
    buckets.store.put(buckets.versioned, "owner.json", b"not JSON")
    with pytest.raises(SetupError) as caught:
        buckets.history.claim("local")
    assert caught.value.code == "E-ENGINE"


def test_records_are_listed_newest_first(buckets: Buckets) -> None:
    """Runs are listed by their time, across pipelines or for one of them, as many as asked for."""
    history = buckets.history
    runs = [("20260101t000000-aaaa", "p"), ("20260103t000000-aaaa", "q"), ("20260102t000000-aaaa", "p"), ("20260104t000000-aaaa", "pq")]
    for run, pipeline in runs:
        history.save(record(run, pipeline))
    assert [item.run[:8] for item in history.newest()] == ["20260104", "20260103", "20260102", "20260101"]
    assert [item.run[:8] for item in history.newest("p")] == ["20260102", "20260101"]
    assert [item.run[:8] for item in history.newest(limit=1)] == ["20260104"]
    assert history.newest("nobody") == []


def test_a_record_is_read_as_it_was_saved(buckets: Buckets) -> None:
    """A record that is saved again replaces the first one."""
    first = record(new_run_id())
    buckets.history.save(first)
    last = replace(first, status="succeeded", records={"ü": 3}, state_after={"n": 2}, outputs=[{"bucket": "b", "key": "k", "bytes": 1}])
    buckets.history.save(last)
    assert buckets.history.newest() == [last]


def test_a_run_can_be_named_as_people_type_it(buckets: Buckets) -> None:
    """A run is found by its id, by a part that only it has, and as the last one; anything else names the latest."""
    runs = ["20260101t000000-bcdf", "20260101t000001-ghjk", "20260102t000000-ghjm"]
    for run in runs:
        buckets.history.save(record(run))
    assert buckets.history.find("last").run == runs[2]
    assert buckets.history.find(runs[0]).run == runs[0]
    assert buckets.history.find("bcdf").run == runs[0]
    assert buckets.history.find("20260102").run == runs[2]
    for unclear in ("ghj", "20260101", "nothing", "", "../p"):
        with pytest.raises(SetupError) as caught:
            buckets.history.find(unclear)
        assert caught.value.code == "E-UNKNOWN"
        assert all(run in caught.value.problem for run in runs)


@pytest.mark.parametrize("change", ['"schema": 2', '"schema": null', ""])
def test_a_record_of_an_unknown_schema_is_skipped(buckets: Buckets, change: str) -> None:
    """A record that a newer version wrote, or that is damaged, does not keep the others from being listed."""
    known, unknown = record("20260101t000000-bcdf"), record("20260102t000000-bcdf")
    buckets.history.save(known)
    data = write_record(unknown).replace(b'"schema": 1', change.encode())
    buckets.store.put(buckets.plain, buckets.history.record_key("p", unknown.run), data)
    assert buckets.history.newest() == [known]
    assert buckets.history.find(known.run) == known
    with pytest.raises(SetupError) as caught:
        buckets.history.find(unknown.run)
    assert caught.value.code == "E-UNKNOWN"


def test_a_record_with_keys_of_a_later_version_is_read(buckets: Buckets) -> None:
    """What a later version has added to a record does not hide it."""
    known = record("20260101t000000-bcdf")
    data = write_record(known).replace(b'"schema": 1', b'"schema": 1, "more": 1')
    buckets.store.put(buckets.plain, buckets.history.record_key("p", known.run), data)
    assert buckets.history.newest() == [known]


# ------------------------------------------------------------------------------------------- through the command line


def test_runs_with_s3(checkout: Checkout, s3: Buckets, tmp_path: Path) -> None:
    """With the store S3 outputs, records and states are in its buckets, and every command finds them there."""
    again = [["schema", "s"], ["argument", "--state"], ["state", {"n": 5}]]
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}]], "again": again})
    environ = s3.variables()
    for state in ({"n": 3}, {"n": 5}):
        result = checkout.run(**environ)
        assert (result.code, result.last["status"], result.last["state"]) == (0, "succeeded", state), result.err
    keys = [item.key for item in s3.store.objects(s3.settings.bucket_outputs)]
    assert [key.split("/")[2:] for key in keys] == [["s.jsonl"], ["s.jsonl"]]
    assert json.loads(s3.store.get(s3.settings.bucket_outputs, keys[1]) or b"") == {"given": {"n": 3}}
    assert not (checkout.local / "buckets").exists()

    runs = checkout.invoke("runs", "--json", **environ).events
    assert [(run["status"], run["state_after"]) for run in runs] == [("succeeded", {"n": 5}), ("succeeded", {"n": 3})]
    shown = checkout.invoke("show", "last", **environ)
    assert shown.code == 0
    assert f"s3://{s3.settings.bucket_outputs}/{keys[1]}" in shown.out
    fetched = checkout.invoke("fetch", "last", "--json", **environ)
    assert [json.loads(Path(event["path"]).read_text(encoding="utf-8")) for event in fetched.events] == [{"given": {"n": 3}}]
    assert checkout.invoke("state", "p", "--json", **environ).last["state"] == {"n": 5}
    (tmp_path / "new.json").write_text('{"n": 9}', encoding="utf-8")
    assert checkout.invoke("state", "p", "--set", str(tmp_path / "new.json"), "--json", **environ).last["state"] == {"n": 9}
    assert checkout.invoke("state", "p", "--reset", "--json", **environ).last["state"] is None
    assert checkout.leftovers() == []


def test_a_server_that_dies_during_a_run(checkout: Checkout, minio: Minio, s3: Buckets, tmp_path: Path) -> None:
    """When MinIO is killed while a run is under way the run fails, and its state is as it was when MinIO is back."""
    begun, gone = tmp_path / "begun", tmp_path / "gone"
    again = [["schema", "s"], ["records", "s", 2], ["touch", str(begun)], ["wait", str(gone)], ["state", {"n": 5}]]
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}]], "again": again})
    environ = s3.variables()
    assert checkout.run(**environ).code == 0
    before = s3.store.objects(s3.settings.bucket_outputs)
    with checkout.start("run", "p", "--json", **environ) as process:
        eventually(lambda: begun.exists() or process.poll() is not None, HANGS_SECONDS)
        minio.kill()
        gone.touch()
        out, err = process.communicate(timeout=HANGS_SECONDS)
    assert process.returncode == 2, err
    events = [json.loads(line) for line in out.splitlines()]
    assert [event["code"] for event in events if event["event"] == "error"] == ["E-STORE"]
    assert (events[-1]["event"], events[-1]["status"]) == ("run.finished", "failed")
    assert "Traceback" not in out + err
    minio.restart()
    assert checkout.invoke("state", "p", "--json", **environ).last["state"] == {"n": 3}
    assert s3.store.objects(s3.settings.bucket_outputs) == before
    assert [run["status"] for run in checkout.invoke("runs", "--json", **environ).events] in (
        ["failed", "succeeded"],
        ["interrupted", "succeeded"],
    )
    assert checkout.run(**environ).last["state"] == {"n": 5}


def test_commands_while_the_server_is_down(checkout: Checkout, minio: Minio, s3: Buckets) -> None:
    """With MinIO stopped every command ends with exit code 1, one sentence and a hint, and begins nothing."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 3], ["state", {"n": 3}]]})
    minio.stop()
    result = checkout.run(**s3.variables())
    assert (result.code, result.error, result.last["event"], result.last["run"]) == (1, "E-STORE", "run.finished", None)
    for words in (["runs"], ["show", "last"], ["fetch", "last"], ["state", "p"]):
        result = checkout.invoke(*words, **s3.variables())
        assert result.code == 1
        problem, hint = result.err.strip().splitlines()
        assert problem == f"E-STORE  {minio.endpoint} cannot be reached: connection refused."
        assert hint.startswith("→ ")
