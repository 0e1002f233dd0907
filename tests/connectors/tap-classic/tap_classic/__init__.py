"""A tap as they were written on singer-python: what it loads is up to that library's own rules.

Its two streams and their rows are its own; ``start`` in the config is where it begins without a state.
"""

from __future__ import annotations

import singer
from singer import Transformer, metadata, utils
from singer.catalog import Catalog

ROWS = {
    "people": [
        {"id": 1, "name": "Zoë", "email": "z@example.com", "address": {"street": "A", "town": "B"}, "at": "2024-01-01T00:00:00Z"},
        {"id": 2, "name": "Ada", "email": None, "address": None, "at": "2024-01-02T00:00:00Z"},
        {"id": 3, "name": "Bo", "email": "b@example.com", "address": {"street": "C", "town": "D"}, "at": "2024-01-03T00:00:00Z"},
    ],
    "orders": [{"id": 7, "total": 1.5, "at": "2024-01-02T00:00:00Z"}],
}
TYPES = {
    "id": {"type": "integer"},
    "total": {"type": ["null", "number"]},
    "at": {"type": "string", "format": "date-time"},
    "address": {
        "type": ["null", "object"],
        "properties": {"street": {"type": ["null", "string"]}, "town": {"type": ["null", "string"]}},
    },
}


def discover() -> dict:
    """Return the catalog, with the metadata that the library makes of a schema."""
    streams = []
    for name, rows in ROWS.items():
        schema = {"type": "object", "properties": {field: TYPES.get(field, {"type": ["null", "string"]}) for field in rows[0]}}
        facts = metadata.get_standard_metadata(
            schema, key_properties=["id"], valid_replication_keys=["at"], replication_method="INCREMENTAL"
        )
        streams.append({"tap_stream_id": name, "stream": name, "schema": schema, "key_properties": ["id"], "metadata": facts})
    return {"streams": streams}


def sync(catalog: Catalog, config: dict, state: dict) -> None:
    """Send what is selected of each stream that is selected, from the bookmark on."""
    for stream in catalog.get_selected_streams(state):
        name, schema = stream.tap_stream_id, stream.schema.to_dict()
        singer.write_schema(name, schema, stream.key_properties, bookmark_properties=["at"])
        begin = singer.get_bookmark(state, name, "at") or config.get("start", "")
        with Transformer() as transformer:
            for row in ROWS[name]:
                if row["at"] >= begin:
                    singer.write_record(name, transformer.transform(row, schema, metadata.to_map(stream.metadata)))
                    state = singer.write_bookmark(state, name, "at", row["at"])
        singer.write_state(state)


def main() -> None:
    """Discover or sync, as the library reads the command line."""
    arguments = utils.parse_args([])
    if arguments.discover:
        print("tap-classic: discovering")
        singer.catalog.write_catalog(Catalog.from_dict(discover()))
    elif arguments.catalog:
        sync(arguments.catalog, arguments.config, arguments.state or {})
