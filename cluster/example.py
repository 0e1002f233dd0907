"""The example pipeline's own: what ``demo`` and ``report`` show of its rates."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import preview
from cluster.connectors import Project
from cluster.fields import read_object
from cluster.progress import shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.runs import History, Record
    from cluster.settings import Settings

DEMO = "exchange-rates-to-csv"


def rates(history: History, records: Sequence[Record], days: int) -> preview.Table:
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
    return preview.read(found)


def base(settings: Settings) -> str:
    """Return the currency that the rates are of.

    :raises SetupError: E-CONFIG, the pipeline or its config cannot be read.
    """
    config = Project.of(settings).pipeline(DEMO).config
    return str(read_object(config, shown(config)).get("base", "EUR"))
