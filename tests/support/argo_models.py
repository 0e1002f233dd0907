"""Argo's own models of its objects, to find fields that Argo does not know."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

    from manifest_files import Document

NEWER = (".pendingTimeout",)
"""Fields of Argo 4.1 that the models do not have yet."""


def unknown(model: str, data: Document, package: str = "workflows") -> set[str]:
    """Return the keys that a model of Argo's *package* does not know, as paths; raise where a known one has the wrong type."""
    models = importlib.import_module(f"hera.{package}.models")  # 0.6 s: only where a test needs it
    understood = getattr(models, model).model_validate(data).model_dump(mode="json", by_alias=True, exclude_unset=True)
    return {path for path in set(paths(data)) - set(paths(understood)) if not path.endswith(NEWER)}


def paths(value: Any, path: str = "") -> Iterator[str]:
    """Return the path of every key in a tree of mappings and lists."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield f"{path}.{key}"
            yield from paths(item, f"{path}.{key}")
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from paths(item, f"{path}[{number}]")
