"""Pipelines in a cluster whose runs have parts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from argo_checkout import Argo


def by_stream(argo: Argo, name: str, streams: Iterable[str], steps: list[Any], target: object = None, **more: Any) -> str:
    """Make a pipeline whose catalog has these streams."""
    catalog = {"streams": [{"tap_stream_id": stream, "stream": stream, "schema": {}, "selected": True} for stream in streams]}
    argo.write(f"own/{name}-catalog.json", catalog)
    target = {"often": True} if target is None else target
    return argo.pipeline(name, {"steps": steps}, target, catalog=f"own/{name}-catalog.json", **more)


def split(
    argo: Argo, name: str, streams: Iterable[str], *, rows: int = 4, pause: float = 0, faults: dict[str, int] | None = None, **more: Any
) -> str:
    """Make a pipeline whose tap has these streams, and waits after each state."""
    return by_stream(argo, name, streams, [["streams", dict.fromkeys(streams, rows), 2, faults or {}, pause]], **more)


def marks(streams: Iterable[str], number: int = 4) -> dict[str, Any]:
    """Return a state."""
    return {"bookmarks": {stream: {"n": number} for stream in streams}}
