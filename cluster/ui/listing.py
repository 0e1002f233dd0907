"""Files in a list: the first few, and how many there are in all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.ui.format import count, megabytes, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.ui.output import Output

LISTED = 10
"""How many files are listed; the others are counted."""


def list_files(output: Output, files: Sequence[tuple[Path, int]], mark: str = "") -> None:
    """List files with their sizes, each with *mark* at the left edge."""
    for file, size in files[:LISTED]:
        if mark:
            output.line(mark, shown(file), megabytes(size))
        else:
            output.text(f"  {shown(file)}  {megabytes(size)}")
    if len(files) > LISTED:
        size = sum(size for _, size in files)
        folder = Path(os.path.commonpath([file.parent for file, _ in files]))
        output.text(f"  … {count(len(files), 'file')} in all, {megabytes(size)}, in {shown(folder)}")
