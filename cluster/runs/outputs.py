"""The files that a run has put into the bucket of outputs, copied to where people look."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe
from cluster.errors import SetupError
from cluster.host.parallel import ahead
from cluster.store import checked

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cluster.runs.history import History
    from cluster.runs.record import Record


def copy(history: History, record: Record, folder: Path) -> list[Path]:
    """Copy a run's files into *folder*; files of the same name are replaced, each as a whole.

    :raises SetupError: E-STORE, a file cannot be copied, or is none of the run's own.
    """
    prefix = f"{record.pipeline}/{record.run}/"

    def download(item: Mapping[str, Any]) -> Path:
        name = item["key"].removeprefix(prefix)
        if name == item["key"]:
            raise SetupError(
                "E-STORE",
                f"The record of {record.run} names {describe(item['key'])}, which is not a file of this run.",
                hint="Somebody else has written into the bucket: see who may, then run the pipeline again.",
            )
        file = folder / checked(name)
        history.store.download(item["bucket"], item["key"], file)
        return file

    return list(ahead(download, record.outputs))
