"""The rates of the example pipeline: the latest ones with a sparkline, and their course over a year."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from cluster.config.strict import read_object
from cluster.project.reader import Project
from cluster.ui.format import shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.config.settings import Settings
    from cluster.runs.history import History
    from cluster.runs.record import Record

BARS = "▁▂▃▄▅▆▇█"
DAYS = 30
YEAR = 262
"""Days in a year on which rates are quoted, or a few more."""
CURRENCIES = ("USD", "GBP", "JPY", "CHF", "CNY", "EUR")


@dataclass(frozen=True)
class Table:
    """The rows of one or several CSV files of rates. ``rates`` maps a date to a currency's rate, where it was quoted."""

    rates: dict[str, dict[str, float]]
    columns: int

    @property
    def dates(self) -> list[str]:
        """All days, ascending."""
        return sorted(self.rates)


def read(files: Iterable[bytes]) -> Table:
    """Read CSV files with a ``date`` column; a day that several have is taken from the last."""
    rates: dict[str, dict[str, float]] = {}
    columns = 0
    for data in files:
        rows = csv.DictReader(io.StringIO(data.decode("utf-8", "replace")))
        names = [name for name in rows.fieldnames or () if not name.startswith("_sdc")]
        columns = max(columns, len(names))
        for row in rows:
            date = (row.get("date") or "")[:10]
            if date:
                rates[date] = {name: value for name in names if name != "date" and (value := _number(row[name])) is not None}
    return Table(rates, columns)


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def sparkline(values: Sequence[float]) -> str:
    """Draw *values* as one bar each, the lowest at the bottom."""
    low, high = min(values), max(values)
    if high == low:
        return BARS[3] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in values)


def latest(table: Table, base: str) -> tuple[list[str], list[list[str]]]:
    """Return headers and a row for each of a few currencies: its latest rate, its course, its change."""
    dates = table.dates[-DAYS:]
    headers = ["", dates[-1], f"{len(dates)} days", "change"]
    rows = []
    for currency in CURRENCIES:
        values = [rate for date in dates if (rate := table.rates[date].get(currency)) is not None]
        if currency == base or not values:
            continue
        change = (values[-1] / values[0] - 1) * 100 if values[0] else 0.0
        rows.append([f"{base}/{currency}", f"{values[-1]:.6g}", sparkline(values[:: max(1, len(values) // 15)]), f"{change:+.1f} %"])
    return headers, rows


def courses(table: Table, base: str) -> list[tuple[str, list[tuple[datetime, float]]]]:
    """Return the last year of a few currencies: a title, and its rates, ascending. One with fewer than two rates has no course."""
    moments = {date: datetime.fromisoformat(date).replace(tzinfo=UTC) for date in table.dates[-YEAR:]}
    found = []
    for currency in CURRENCIES:
        rates = [(moment, rate) for date, moment in moments.items() if (rate := table.rates[date].get(currency)) is not None]
        if currency != base and len(rates) > 1:
            found.append((f"{base}/{currency}", rates))
    return found


DEMO = "exchange-rates-to-csv"


def rates(history: History, records: Sequence[Record], days: int) -> Table:
    """Return what one engine's runs have loaded: of *records*, newest first, back to one that loaded more than *days*.

    :raises SetupError: E-STORE.
    """
    found: list[bytes] = []
    seen: set[str] = set()
    for record in records:
        if record.run in seen or record.engine != records[0].engine or record.status != "succeeded":
            continue
        seen.add(record.run)
        data = [history.store.get(item["bucket"], item["key"]) for item in record.outputs if item["key"].endswith(".csv")]
        found[:0] = [part for part in data if part]
        if record.total > days:
            break
    return read(found)


def base(settings: Settings) -> str:
    """Return the currency that the rates are of.

    :raises SetupError: E-CONFIG, the pipeline or its config cannot be read.
    """
    config = Project.of(settings).pipeline(DEMO).config
    return str(read_object(config, shown(config)).get("base", "EUR"))
