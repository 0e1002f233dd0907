"""Euro reference rates: read the file, select days, convert to another base. No input or output."""

from __future__ import annotations

import csv
import zlib
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from decimal import Context, Decimal, DecimalException
from io import BytesIO
from operator import attrgetter
from typing import Any, NamedTuple, Self
from zipfile import BadZipFile, ZipFile

EURO = "EUR"
NAMES = {
    "AUD": "Australian dollar",
    "BGN": "Bulgarian lev",
    "BRL": "Brazilian real",
    "CAD": "Canadian dollar",
    "CHF": "Swiss franc",
    "CNY": "Chinese yuan renminbi",
    "CYP": "Cyprus pound",
    "CZK": "Czech koruna",
    "DKK": "Danish krone",
    "EEK": "Estonian kroon",
    "EUR": "Euro",
    "GBP": "Pound sterling",
    "HKD": "Hong Kong dollar",
    "HRK": "Croatian kuna",
    "HUF": "Hungarian forint",
    "IDR": "Indonesian rupiah",
    "ILS": "Israeli shekel",
    "INR": "Indian rupee",
    "ISK": "Icelandic krona",
    "JPY": "Japanese yen",
    "KRW": "South Korean won",
    "LTL": "Lithuanian litas",
    "LVL": "Latvian lats",
    "MTL": "Maltese lira",
    "MXN": "Mexican peso",
    "MYR": "Malaysian ringgit",
    "NOK": "Norwegian krone",
    "NZD": "New Zealand dollar",
    "PHP": "Philippine peso",
    "PLN": "Polish zloty",
    "ROL": "Romanian leu until 2005",
    "RON": "Romanian leu",
    "RUB": "Russian rouble",
    "SEK": "Swedish krona",
    "SGD": "Singapore dollar",
    "SIT": "Slovenian tolar",
    "SKK": "Slovak koruna",
    "THB": "Thai baht",
    "TRL": "Turkish lira until 2004",
    "TRY": "Turkish lira",
    "USD": "US dollar",
    "ZAR": "South African rand",
}
"""The English names of the currencies, as the ECB writes them."""

CURRENCIES = tuple(NAMES)
"""The euro and the 41 currencies that the ECB has quoted since 1999, in alphabetical order."""

FIRST_DAY = date(1999, 1, 4)
"""The first day for which the ECB quoted rates."""

_NOT_QUOTED = ("N/A", "")
_EIGHT_DIGITS = Context(prec=8)


class FileError(ValueError):
    """A file that is not the ECB's. The message describes what it is."""


class SettingError(ValueError):
    """An invalid setting. The message names it, and what to write instead."""


class Day(NamedTuple):
    """The reference rates of one day: units of each quoted currency for one euro."""

    date: date
    rates: dict[str, Decimal]


class Selection(NamedTuple):
    """The rates to load: against ``base``, from ``first`` to ``last``, both included."""

    base: str
    first: date
    last: date

    @classmethod
    def from_config(cls, config: Mapping[str, Any]) -> Self:
        """Read ``base``, ``start_date`` and ``end_date``.

        Missing or empty ones default to US dollars, ``FIRST_DAY``, and no end.

        :raises SettingError: not a currency, not a date, or a start after the end.
        """
        base = config.get("base") or "USD"
        if base not in CURRENCIES:
            known = ", ".join(CURRENCIES)
            msg = f'base "{base}" is not a currency that the ECB quotes; one of {known}'
            raise SettingError(msg)
        first = parse_date("start_date", config.get("start_date") or FIRST_DAY.isoformat())
        last = parse_date("end_date", config.get("end_date") or date.max.isoformat())
        if first > last:
            msg = f"start_date {first} is after end_date {last}; set start_date to {last} or before"
            raise SettingError(msg)
        return cls(base, first, last)

    def days(self, days: Iterable[Day], *, after: date = date.min) -> list[Day]:
        """Return the days in this selection that are later than ``after``."""
        return [day for day in days if self.first <= day.date <= self.last and day.date > after]


def parse_date(name: str, text: str) -> date:
    """Return the day of an ISO date, or of an ISO date and time, in its own time zone.

    :raises SettingError: *text* is neither; the message contains ``name``.
    """
    try:
        return datetime.fromisoformat(text).date()
    except (TypeError, ValueError):
        msg = f'{name} "{text}" is not a date; write it like 2020-01-31'
        raise SettingError(msg) from None


def read_days(archive: bytes) -> list[Day]:
    """Read all days from the ECB's zip file, and return them in ascending order.

    The zip holds one CSV: a line for each day, newest first, and a column for each currency. A
    missing rate is ``N/A``. Each line ends with a comma.

    :raises FileError: the file is damaged, or is another one.
    """
    try:
        with ZipFile(BytesIO(archive)) as file:
            text = file.read(file.namelist()[0]).decode()
    except (BadZipFile, EOFError, zlib.error):
        msg = "not a zip file, or a damaged one"
        raise FileError(msg) from None
    except (IndexError, UnicodeDecodeError):
        msg = "a zip file without a table of rates"
        raise FileError(msg) from None

    header, *lines = list(csv.reader(text.splitlines())) or [[]]
    if header[:1] != ["Date"] or not lines:
        msg = "a zip file without a table of rates"
        raise FileError(msg)
    try:
        return sorted((_day(header, line) for line in lines), key=attrgetter("date"))
    except (ValueError, DecimalException):
        msg = "a table with a line that is not a day of rates"
        raise FileError(msg) from None


def unknown_currencies(days: Iterable[Day]) -> list[str]:
    """Return the currencies in ``days`` that have no column, in alphabetical order."""
    return sorted(set().union(*(day.rates for day in days)).difference(CURRENCIES))


def convert(day: Day, base: str) -> dict[str, str | Decimal | None]:
    """Return the record of a day: ``date``, and for each currency its units for one ``base``.

    Against the euro these are the ECB's figures, else their quotients with eight significant
    digits. A currency without a rate is None. ``base`` must have a rate on that day.
    """
    rates = day.rates
    if base != EURO:
        divisor = rates[base]
        rates = {name: _EIGHT_DIGITS.divide(rate, divisor) for name, rate in rates.items()}
    return {"date": day.date.isoformat(), **{name: rates.get(name) for name in CURRENCIES}}


def by_currency(day: Day, base: str) -> list[dict[str, str | Decimal | None]]:
    """Return a record for each currency with a rate on a day, with the figures of ``convert``."""
    record = convert(day, base)
    date_ = record.pop("date")
    return [{"date": date_, "currency": currency, "rate": rate} for currency, rate in record.items() if rate is not None]


def currencies(days: Iterable[Day]) -> list[dict[str, str | int]]:
    """Return a record for each currency with a rate on any of ``days``, which are ascending."""
    quotes: dict[str, list[date]] = {}
    for day in days:
        for currency in day.rates:
            quotes.setdefault(currency, []).append(day.date)
    return [
        {
            "code": currency,
            "name": NAMES[currency],
            "first_day": quoted[0].isoformat(),
            "last_day": quoted[-1].isoformat(),
            "days": len(quoted),
        }
        for currency, quoted in sorted(quotes.items())
        if currency in NAMES
    ]


def _day(header: list[str], line: list[str]) -> Day:
    """Return the day of one line of the table.

    :raises ValueError: the date or the number of columns is wrong.
    :raises DecimalException: a rate is not a number.
    """
    figures = zip(header[1:], line[1:], strict=True)
    rates = {name: Decimal(figure) for name, figure in figures if figure not in _NOT_QUOTED}
    return Day(date.fromisoformat(line[0]), {EURO: Decimal(1), **rates})
