"""A look at the example's files: the latest rates, each with a sparkline, and their course over a year. Pure."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

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
