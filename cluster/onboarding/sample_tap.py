"""A tap of one's own: a copy of the sample under another name, with its test."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cluster.config.settings import TOOL
from cluster.errors import SetupError
from cluster.host.files import file_errors

if TYPE_CHECKING:
    from pathlib import Path

SAMPLE = "tap-sample"


def write(root: Path, name: str) -> Path:
    """Make the project of the tap *name* below ``singer-containers/`` and return its folder.

    :raises SetupError: E-CONFIG, no tap is called so; E-EXISTS, there is such a folder.
    """
    folder = root / "singer-containers" / name
    if not name.startswith("tap-") or name == "tap-":
        raise SetupError(
            "E-CONFIG", f"A tap of one's own is called tap-…, not {name}.", hint=f"Name it tap-{name.removeprefix('target-')}."
        )
    if folder.exists():
        raise SetupError("E-EXISTS", f"singer-containers/{name} is there already.", hint=f"Choose another name, such as {name}-2.")
    sample = TOOL / "singer-containers" / "samples" / SAMPLE
    names = {SAMPLE: name, _module(SAMPLE): _module(name), _class(SAMPLE): _class(name)}
    with file_errors("The tap", folder):
        try:
            for file in sorted(sample.rglob("*")):
                if file.is_dir() or "__pycache__" in file.parts:
                    continue
                copy = folder / _renamed(str(file.relative_to(sample)), names)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text(_renamed(file.read_text(encoding="utf-8"), names), encoding="utf-8")
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _renamed(text: str, names: dict[str, str]) -> str:
    for old, new in names.items():
        text = text.replace(old, new)
    return text


def _module(name: str) -> str:
    return name.replace("-", "_")


def _class(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))
