"""The second example: several streams, of which a catalog selects some and some of their fields, from an initial state on."""

from __future__ import annotations

import csv
import json
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import Settings
from cluster.project.reader import Project
from cluster.project.venvs import Environments
from cluster.ui.plain import Plain

if TYPE_CHECKING:
    from checkout import Checkout, Result

NAME = "currencies-to-csv"


def offline(checkout: Checkout, last: str) -> None:
    """Let the example read the packaged file, up to a day."""
    file = checkout.root / "singer-configs" / NAME / "config.json"
    checkout.write(f"{NAME}/config.json", {**json.loads(file.read_text()), "source": "packaged", "end_date": last})


def tables(result: Result) -> dict[str, list[dict[str, str]]]:
    """Return the rows of a run's files by stream."""
    assert (result.code, result.err) == (0, "")
    rows = {}
    for name in result.last["outputs"]:
        with Path(name).open(encoding="utf-8", newline="") as file:
            rows[Path(name).stem] = list(csv.DictReader(file))
    return rows


def test_the_second_example(checkout: Checkout) -> None:
    """Only what the catalog selects arrives; every stream has its own bookmark, and the next run loads what is new."""
    offline(checkout, "2026-01-05")
    first = checkout.run(NAME)
    rates, currencies = tables(first)["exchange_rate_long"], tables(first)["currency"]

    assert first.last["records"] == {"exchange_rate_long": len(rates), "currency": len(currencies)}
    assert list(rates[0]) == ["date", "currency", "rate"]
    assert {row["date"] for row in rates} == {"2026-01-02", "2026-01-05"}  # the initial state is 2025-12-31
    assert list(currencies[0]) == ["code", "name", "last_day"]
    assert {row["code"]: row["last_day"] for row in currencies}.items() >= {"CYP": "2007-12-31", "USD": "2026-01-05"}.items()
    marks = {name: mark["replication_key_value"] for name, mark in first.last["state"]["bookmarks"].items()}
    assert marks == {"exchange_rate_long": "2026-01-05", "currency": "2026-01-05"}

    assert checkout.run(NAME).last["records"] == {}
    offline(checkout, "2026-01-06")
    second = tables(checkout.run(NAME))
    assert {row["date"] for row in second["exchange_rate_long"]} == {"2026-01-06"}
    assert {row["last_day"] for row in second["currency"]} == {"2026-01-06"}
    assert "CYP" not in {row["code"] for row in second["currency"]}
    assert len(second["currency"]) == len(second["exchange_rate_long"])


def test_the_catalog_is_the_taps(checkout: Checkout) -> None:
    """The catalog that is shipped has every stream and field that the tap discovers, with the same types and keys."""
    offline(checkout, "1999-01-04")
    assert checkout.run(NAME).code == 0
    folder = checkout.root / "singer-configs" / NAME
    tap = Project(checkout.root).connector("tap-exchange-rates")
    (environment,) = Environments(Settings(root=checkout.root)).ensure([tap], Plain())
    discovered = subprocess.run(
        [environment.executable, "--config", folder / "config.json", "--discover"], capture_output=True, check=True
    ).stdout
    facts = ("tap_stream_id", "schema", "key_properties", "replication_key", "replication_method")
    taps, shipped = (
        [{name: stream[name] for name in facts} for stream in json.loads(text)["streams"]]
        for text in (discovered, (folder / "catalog.json").read_bytes())
    )
    assert shipped == taps
