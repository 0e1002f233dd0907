"""Backfills on the local engine: the tap gets the dates and no state, and the pipeline's state stays as it was."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from checkout import Checkout

STEPS = [["schema", "s"], ["records", "s", 2], ["state", {"n": 2}]]
ASKED = [["schema", "s"], ["argument", "--config"], ["argument", "--state"], ["state", {"n": 99}]]
JANUARY = ("--from", "2024-01-01", "--to", "2024-01-31")


def test_a_backfill_leaves_the_state(checkout: Checkout) -> None:
    """The tap gets the dates instead of the state; its records are loaded, and its state is not the pipeline's."""
    checkout.scripted({"steps": STEPS})
    checkout.run()
    checkout.scripted({"steps": ASKED, "again": [["exit", 1]], "start_date": "2020-01-01", "end_date": None})

    result = checkout.run("p", *JANUARY)

    assert (result.code, result.err) == (0, "")
    (file,) = result.last["outputs"]
    assert Path(file).parent.name == result.last["run"]
    configs = [json.loads(line).get("given") for line in Path(file).read_text(encoding="utf-8").splitlines()]
    assert (configs[0]["start_date"], configs[0]["end_date"], configs[1:]) == ("2024-01-01", "2024-01-31", [None])
    assert result.last["state"] == checkout.state() == {"n": 2}
    record = checkout.invoke("show", "last", "--json").last
    assert record["backfill"] == {"from": "2024-01-01", "to": "2024-01-31"}
    assert (record["state_before"], record["state_after"], record["state_printed"]) == ({"n": 2}, {"n": 2}, True)
    assert "from 2024-01-01 to 2024-01-31" in checkout.invoke("show", "last").out
    assert checkout.leftovers() == []


def test_a_backfill_before_the_first_run(checkout: Checkout) -> None:
    """A pipeline that has no state has none after a backfill either: its first run still loads everything."""
    checkout.scripted({"steps": STEPS, "start_date": "2020-01-01"})
    assert checkout.run("p", "--from", "2024-01-01").code == 0
    assert checkout.state() is None


@pytest.mark.parametrize("words", [("--from", "2024-01-01"), ("--from", "tomorrow"), ("--to", "2024-01-01"), (*JANUARY, "--full")])
def test_a_backfill_that_is_refused(checkout: Checkout, words: tuple[str, ...]) -> None:
    """Dates that are none, and a tap that takes none, are one sentence and one hint before anything has begun."""
    checkout.scripted({"steps": STEPS})

    result = checkout.invoke("run", "p", *words)

    assert result.code == 1
    sentence, hint = result.err.strip().splitlines()
    assert sentence.startswith("E-SETTING  ")
    assert hint.startswith("→ ")
    assert "No runs yet" in checkout.invoke("runs").out


def test_january_of_the_example(checkout: Checkout) -> None:
    """The example's month is loaded as a month, and the next run goes on from where it was before."""
    checkout.write("tap-exchange-rates/config.json", {"base": "EUR", "source": "packaged", "start_date": "2026-10-26"})
    first = checkout.run("exchange-rates-to-csv")

    result = checkout.run("exchange-rates-to-csv", *JANUARY)

    (file,) = result.last["outputs"]
    with Path(file).open(encoding="utf-8", newline="") as handle:
        days = [row["date"] for row in csv.DictReader(handle)]
    assert (days[0], days[-1], len(days)) == ("2024-01-02", "2024-01-31", 22)
    assert result.last["state"] == first.last["state"]
    assert checkout.run("exchange-rates-to-csv").last["records"] == {}
