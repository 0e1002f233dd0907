"""The rates of the example pipeline: the latest ones, and their course over a year."""

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

    from cluster.config.settings import Settings
    from cluster.runs.history import History
    from cluster.runs.record import Record

BARS = "▁▂▃▄▅▆▇█"
DAYS = 30
YEAR = 262
"""Days of a year with rates, rounded up."""
CURRENCIES = ("USD", "GBP", "JPY", "CHF", "CNY", "EUR")


@dataclass(frozen=True)
class Table:
    """The rows of CSV files of rates."""

    rates: dict[str, dict[str, float]]
    """Date to currency to rate. A currency without a rate on that day is missing."""
    columns: int

    @property
    def dates(self) -> list[str]:
        """All days, ascending."""
        return sorted(self.rates)


def read(files: Iterable[bytes]) -> Table:
    """Read CSV files with a ``date`` column. If several have a day, the last one counts."""
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
    """Draw a bar for each of *values*, from the lowest to the highest."""
    low, high = min(values), max(values)
    if high == low:
        return BARS[3] * len(values)
    return "".join(BARS[round((value - low) / (high - low) * (len(BARS) - 1))] for value in values)


def latest(table: Table, base: str) -> tuple[list[str], list[list[str]]]:
    """Return headers, and a row per currency with its latest rate, sparkline and change."""
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
    """Return the last year of each currency with two or more rates: a title, and dated rates."""
    moments = {date: datetime.fromisoformat(date).replace(tzinfo=UTC) for date in table.dates[-YEAR:]}
    by_currency = []
    for currency in CURRENCIES:
        rates = [(moment, rate) for date, moment in moments.items() if (rate := table.rates[date].get(currency)) is not None]
        if currency != base and len(rates) > 1:
            by_currency.append((f"{base}/{currency}", rates))
    return by_currency


DEMO = "exchange-rates-to-csv"


def rates(history: History, records: Sequence[Record], days: int) -> Table:
    """Return the rates that the runs of the newest record's engine have loaded.

    Reads *records*, newest first, back to a run that loaded more than *days* records.

    :raises SetupError: E-STORE.
    """
    files: list[bytes] = []
    seen: set[str] = set()
    for record in records:
        if record.run in seen or record.engine != records[0].engine or record.status != "succeeded":
            continue
        seen.add(record.run)
        data = [history.store.get(item["bucket"], item["key"]) for item in record.outputs if item["key"].endswith(".csv")]
        files[:0] = [part for part in data if part]
        if record.total > days:
            break
    return read(files)


def base(settings: Settings) -> str:
    """Return the base currency of the rates.

    :raises SetupError: E-CONFIG, the pipeline or its config cannot be read.
    """
    config = Project.of(settings).pipeline(DEMO).config
    return str(read_object(config, shown(config)).get("base", "EUR"))
