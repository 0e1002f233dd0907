"""The tap: its configuration and its streams, on the Singer SDK."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar

from singer_sdk import Stream, Tap
from singer_sdk import typing as th
from singer_sdk.helpers.types import Context, Record

from tap_sample import source


class ItemsStream(Stream):
    """Stream ``items``: all items in the first run, later those that have changed."""

    name = "items"
    primary_keys = ("id",)
    replication_key = "updated_at"
    is_sorted = True
    schema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("id", th.IntegerType, required=True),
        th.Property("name", th.StringType),
        th.Property("price", th.NumberType),
        th.Property("updated_at", th.DateTimeType, required=True),
    ).to_dict()

    def get_records(self, context: Context | None) -> Iterable[Record]:
        """Return what has changed since the last run; in a first run, since ``start_date``."""
        return source.changed(self.config, self.get_starting_replication_key_value(context))


class TapSample(Tap):
    """The program ``tap-sample``."""

    name = "tap-sample"
    config_jsonschema: ClassVar[dict[str, Any]] = th.PropertiesList(
        th.Property("api_url", th.StringType, description="The address of the API; without one, the sample is loaded"),
        th.Property("api_token", th.StringType, secret=True, description="The token for the API"),
        th.Property("start_date", th.DateTimeType, description="The first run loads what has changed later"),
        th.Property("end_date", th.DateTimeType, description="The last day or moment to load"),
    ).to_dict()

    def discover_streams(self) -> list[Stream]:
        """Return the streams."""
        return [ItemsStream(self)]
