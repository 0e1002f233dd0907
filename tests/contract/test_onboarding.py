"""From nothing to rows of a new connector: the promise, counted, and connectors that nobody has tried here before."""

from __future__ import annotations

import csv
import json
import re
import shlex
import struct
from functools import partial
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from loopback_server import ServingHTTP

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkout import Checkout, Result

FEED = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0"><channel><title>News of a town</title><link>http://example.org/</link><description>All of it</description>
<item><title>Snow</title><link>http://example.org/1</link><guid>1</guid><pubDate>Mon, 05 Jan 2026 08:00:00 +0000</pubDate></item>
<item><title>Thaw, "at last"</title><link>http://example.org/2</link><guid>2</guid><pubDate>Tue, 06 Jan 2026 08:00:00 +0000</pubDate></item>
</channel></rss>
"""
CITIES = [
    {"id": 1, "city": "Ribe", "updated": "2026-01-01T00:00:00Z"},
    {"id": 2, "city": "Køge", "updated": "2026-01-02T00:00:00Z"},
    {"id": 3, "city": "Århus", "updated": "2026-01-03T00:00:00Z"},
]
SCHEMA = {"type": "object", "properties": {name: {"type": ["null", "integer" if name == "id" else "string"]} for name in CITIES[0]}}
STREAMS = '[{{"name": "cities", "path": "/cities.json", "primary_keys": ["id"], "records_path": "$[*]"}}]'
ROWS = "$[*]"
KEYS = {"id": ["1", "2", "3"], "city": ["Ribe", "Køge", "Århus"]}
NEW: dict[str, tuple[dict[str, str], list[str], list[str], dict[str, list[str]]]] = {
    # Built with the SDK of 2022. A field that is not wanted does not come.
    "tap-feed": (
        {"feed_urls": '["{address}/feed.xml"]'},
        [],
        ["--exclude", "feed.entry_link"],
        {"entry_id": ["1", "2"], "entry_title": ["Snow", 'Thaw, "at last"'], "entry_link": ["", ""]},
    ),
    # Of the older kind: no --about; its README and its answer to an empty config show what it needs.
    "tap-rest-api": (
        {
            "url": "{address}/cities.json",
            "schema": "cities",
            "schema_dir": "{folder}/schema",
            "record_list_level": "$[*]",
            "index_key": "id",
        },
        [],
        ["--stream", "cities"],
        KEYS,
    ),
    # Older than what it stands on: it starts with what new gives as its hint.
    "tap-rest-api-msdk": (
        {"api_url": "{address}", "streams": STREAMS},
        ["--pip-url", "tap-rest-api-msdk setuptools<81"],
        ["--stream", "cities"],
        KEYS,
    ),
}
"""Connectors that no other test names: settings, what else is typed, what is selected, and what must come."""


@pytest.fixture
def source(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Serve a feed and a list of cities, and return the address, and the folder in which they are."""
    folder = tmp_path / "source"
    (folder / "schema").mkdir(parents=True)
    (folder / "feed.xml").write_text(FEED, encoding="utf-8")
    (folder / "cities.json").write_text(json.dumps(CITIES), encoding="utf-8")
    (folder / "schema" / "cities.json").write_text(json.dumps(SCHEMA), encoding="utf-8")
    handler = partial(SimpleHTTPRequestHandler, directory=folder)
    with ServingHTTP(("127.0.0.1", 0), handler) as server:
        yield f"http://127.0.0.1:{server.server_port}", folder


def succeeded(result: Result) -> Result:
    """Check that the command succeeded, and return its result."""
    assert (result.code, result.err) == (0, ""), result
    return result


def rows(result: Result) -> list[dict[str, str]]:
    """Return the rows of the only file of a run."""
    (file,) = succeeded(result).last["outputs"]
    with Path(file).open(encoding="utf-8", newline="") as handle:
        return list(csv.DictReader(handle))


def following(result: Result) -> list[str]:
    """Return the words of the command that is printed at the end as the next one."""
    text = succeeded(result).out.strip().splitlines()[-1]
    (words,) = re.findall(r"^Next: invoke ([^·]+)", text)
    return shlex.split(words)


def dbf(file: Path, rows: list[tuple[int, str]]) -> None:
    """Write a dBase file."""
    fields = struct.pack("<11sc4xBB14x", b"ID", b"N", 4, 0) + struct.pack("<11sc4xBB14x", b"NAME", b"C", 10, 0)
    head = struct.pack("<BBBBIHH20x", 3, 124, 1, 1, len(rows), 32 + len(fields) + 1, 15) + fields + b"\r"
    file.write_bytes(head + b"".join(f" {number:>4}{name:<10}".encode("ascii") for number, name in rows) + b"\x1a")


def test_three_commands(checkout: Checkout, tmp_path: Path) -> None:
    """From nothing to the rows of a new connector: new, and twice the command that the last one has printed."""
    dbf(tmp_path / "people.dbf", [(1, "Ada"), (2, "Grace")])

    new = checkout.invoke("new", "tap-dbf", "--set", f"path={tmp_path}/*.dbf")
    add = checkout.invoke(*following(new))
    run = checkout.invoke(*following(add), "--json")

    assert [(row["ID"], row["NAME"]) for row in rows(run)] == [("1", "Ada"), ("2", "Grace")]
    assert "does what Singer asks of a tap" in new.out
    assert (checkout.root / "singer-configs" / "tap-dbf" / "catalog.json").exists()


@pytest.mark.full  # installs connectors of other people
@pytest.mark.parametrize("name", NEW)
def test_connectors_that_nobody_has_tried_here(checkout: Checkout, source: tuple[str, Path], name: str) -> None:
    """A connector of the package index goes the whole way: made, discovered, selected, checked, added, run."""
    settings, others, choice, expected = NEW[name]
    address, folder = source
    options = [word for key, value in settings.items() for word in ("--set", f"{key}={value.format(address=address, folder=folder)}")]
    succeeded(checkout.invoke("new", name, *others, *options))
    succeeded(checkout.invoke("discover", name))
    succeeded(checkout.invoke("select", name, *choice))
    assert "does what Singer asks" in succeeded(checkout.invoke("check", name)).out
    succeeded(checkout.invoke("add", "p", "--tap", name, "--target", "target-csv"))
    loaded = rows(checkout.run("p"))
    assert {column: [row.get(column, "") for row in loaded] for column in expected} == expected


ODD: dict[str, Any] = {
    "in flow style": "{exchange-rates-to-csv: {tap: tap-exchange-rates, target: target-csv}}\n",
    "broken": "exchange-rates-to-csv: {tap: tap-exchange-rates\n",
    "a list": "- exchange-rates-to-csv\n",
}


@pytest.mark.parametrize("name", ODD)
def test_add_to_a_file_that_takes_none(checkout: Checkout, name: str) -> None:
    """If nothing can be added the file stays as it is, and one sentence gives the reason."""
    file = checkout.write("pipelines.yaml", ODD[name])
    result = checkout.invoke("add", "p", "--tap", "tap-exchange-rates", "--target", "target-csv")
    assert (result.code, result.err.split()[0], len(result.err.strip().splitlines())) == (1, "E-CONFIG", 2)
    assert file.read_text() == ODD[name]
    assert [item.name for item in file.parent.glob(".*")] == []


ADD = ["--tap", "tap-exchange-rates", "--target", "target-csv"]
REFUSED = {
    "a name that is there": (["currencies-to-csv", *ADD], "E-EXISTS", "has a pipeline currencies-to-csv already"),
    "a connector's name": (["target-csv", *ADD], "E-EXISTS", "name of a connector"),
    "a name that is not allowed": (["Nightly", *ADD], "E-CONFIG", "small letters"),
    "no such tap": (["p", "--tap", "tap-exchange-rate", "--target", "target-csv"], "E-CONFIG", 'Did you mean "tap-exchange-rates"?'),
    "a target for a tap": (["p", "--tap", "target-csv", "--target", "target-csv"], "E-CONFIG", "target-csv is a target"),
    "a schedule that is none": (["p", *ADD, "--schedule", "daily"], "E-CONFIG", "five fields"),
    "a timezone that is none": (["p", *ADD, "--timezone", "Mars"], "E-CONFIG", "Europe/Berlin"),
    "a mode that is none": (["p", *ADD, "--mode", "fast"], "E-CONFIG", "streaming, staged"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_add_refuses(checkout: Checkout, name: str) -> None:
    """What the next run would refuse is refused before it is written, and the command is what is to be corrected."""
    words, code, says = REFUSED[name]
    file = checkout.root / "singer-configs" / "pipelines.yaml"
    before = file.read_bytes()
    result = checkout.invoke("add", *words)
    assert (result.code, result.err.split()[0]) == (1, code)
    assert says in result.err
    assert file.read_bytes() == before


def test_add_with_a_schedule(checkout: Checkout) -> None:
    """All that was there stays, byte for byte; the new entry is read by the next command, and its schedule asks for sync."""
    file = checkout.root / "singer-configs" / "pipelines.yaml"
    before = file.read_bytes()
    words = ["--schedule", "30 5 * * *", "--timezone", "Europe/Berlin", "--mode", "staged", "--timeout", "20m"]
    result = succeeded(checkout.invoke("add", "nightly", *ADD, *words))
    assert file.read_bytes().startswith(before)
    assert "Next: invoke run nightly\nNothing starts it by itself yet: invoke sync" in result.out
    assert "invoke schedule --print cron" in result.out
    assert succeeded(checkout.invoke("check", "nightly", "--json")).last["ok"] is True


def test_the_first_pipeline_of_all(checkout: Checkout) -> None:
    """Where there is no file yet, it is made."""
    (checkout.root / "singer-configs" / "pipelines.yaml").unlink()
    result = succeeded(checkout.invoke("add", "p", *ADD, "--json"))
    assert (result.last["event"], result.last["pipeline"], result.last["tap"]) == ("pipeline", "p", "tap-exchange-rates")
    succeeded(checkout.invoke("check", "p"))
