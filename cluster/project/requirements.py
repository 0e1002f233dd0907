"""Requirements as people type them: one that uv would refuse is noticed without a network.

Addresses, folders and files are left to uv.
"""

from __future__ import annotations

import json
import os
import re
import shlex
from contextlib import suppress
from pathlib import Path

PLAIN = re.compile(r"[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?(\[[\w,.-]+\])?((==|>=|<=|!=|<|>)\d+(\.\d+)*(,(?!$)|$))*", re.ASCII)
"""Most requirements. The import of ``packaging`` for the others takes longer than reading files."""
ADDRESS = re.compile(r"\.|.*(/|\$\{)|[A-Za-z][\w+]+:(?!\d)")
"""The beginning of an address, a path or a text with a variable, which uv fills in."""
REST = re.compile(r"\s(#|--)")
"""Where a comment or an option of one requirement begins."""
SPACES = (r"\s*([<>=!~^,]+)\s*", r"\1")
"""Those around an operator, which split a requirement in a text of several."""
CORRECTIONS = (
    SPACES,
    (r"^([\w.-]+(?:\[[^\]]*\])?)\s*[:@]\s*(?=v?\d)", r"\1=="),  # as npm and Docker write it
    (r"@latest$", ""),
    (r"=*\^=?|~(?!=)", "~="),  # as Poetry writes it
    (r"=>", ">="),
    (r"=<", "<="),
    (r"(?<![<>=!~])=(?!=)", "=="),
)
"""What people mistype, and what they mean. Applied one after the other."""


def is_wrong(requirement: str, root: Path) -> bool:
    """Return whether uv would refuse a requirement; it may be a file of the folder *root*."""
    text = REST.split(requirement, maxsplit=1)[0].strip()
    if PLAIN.fullmatch(text) or ADDRESS.match(text) or os.path.lexists(root / text.rpartition("@")[2].strip()):
        return False
    return bool(re.fullmatch(r"[^@;]+@\s*(latest|v?\d[\w.]*)", text)) or not _parses(text)


def with_space(root: Path, text: str) -> bool:
    """Return whether a text is the path of a file or folder with a space in it."""
    return " " in text.strip() and os.path.lexists(root / Path(text).expanduser())


def correction(requirement: str) -> str:
    """Return what a wrong requirement probably means; empty if that is not clear."""
    text, semicolon, marker = requirement.partition(";")
    for pattern, replacement in CORRECTIONS:
        text = re.sub(pattern, replacement, text)
    corrected = (text + semicolon + marker).strip()
    return corrected if _parses(corrected) else ""


def correction_of_words(text: str, root: Path) -> str:
    """Return what a text of several requirements, separated by spaces, probably means."""
    if with_space(root, text) or (";" in text and _parses(text)):
        # The items of a list are not split.
        return json.dumps([text], ensure_ascii=False)
    with suppress(ValueError):
        parts = shlex.split(re.sub(*SPACES, text))
        words = [word if PLAIN.fullmatch(word) or ADDRESS.match(word) else correction(word) for word in parts]
        return " ".join(words) if all(words) else ""
    return ""


def _parses(requirement: str) -> bool:
    from packaging.requirements import InvalidRequirement, Requirement  # noqa: PLC0415 - see PLAIN

    try:
        Requirement(requirement)
    except InvalidRequirement:
        return False
    return True
