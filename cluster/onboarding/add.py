"""``add``: append an entry to ``pipelines.yaml``, and leave all other lines as they are.

Comments, order and form stay. The reader of every run reads the result before it replaces the
file. If the file takes no further entry, it stays as it is.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.strict import describe, parse_yaml, read_exact, yaml_events
from cluster.errors import SetupError
from cluster.host.files import write_whole
from cluster.host.locks import only_one
from cluster.project.files import warn_of_paths
from cluster.project.model import NAME, NAME_ALLOWED
from cluster.project.reader import Project
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.session import Session

BYTE_ORDER_MARK = "\ufeff"


def add(session: Session, name: str, entry: Mapping[str, Any]) -> None:
    """Append a pipeline to ``pipelines.yaml``; keys of *entry* without a value are left out.

    :raises SetupError: E-EXISTS, the name is taken; E-CONFIG, the entry is not allowed or cannot be
        appended. The file is then unchanged.
    """
    project, output = Project(session.settings.root), session.output
    file = project.configs / "pipelines.yaml"
    shown = project.shown(file)
    if not re.fullmatch(NAME, name):
        raise SetupError("E-CONFIG", f"{describe(name)} is not allowed as a pipeline's name.", hint=f"Use {NAME_ALLOWED}.")
    with only_one(session.settings.local / "locks" / "pipelines.yaml", f"Another command is writing {shown}."):
        text = read_exact(file, shown) if file.exists() else ""
        if name in (parse_yaml(text, shown) or {}):
            raise SetupError(
                "E-EXISTS", f"{shown} has a pipeline {name} already.", hint="Choose another name, or change that entry by hand."
            )
        if name in project.connector_names:
            raise SetupError("E-EXISTS", f"{name} is the name of a connector.", hint=f"Choose another name, such as {name}-nightly.")
        new = appended(text, name, {key: value for key, value in entry.items() if value}, shown)
        with write_whole(file, new) as part:
            try:
                pipeline = Project(session.settings.root, pipelines=part).pipeline(name)
            except SetupError as error:
                problem = error.problem.replace(project.shown(part), shown)
                raise SetupError(error.code, problem, hint=f"Correct the command; {shown} is unchanged.") from None
    transform = pipeline.transform.name if pipeline.transform else None
    mapper = pipeline.mapper.name if pipeline.mapper else None
    sides = {"tap": pipeline.tap.name, "mapper": mapper, "target": pipeline.target.name, "transform": transform}
    output.event("pipeline", pipeline=name, **sides, schedule=list(pipeline.schedule))
    output.line("✓", name, f"{' → '.join(item.name for item in pipeline.connectors)}, added to {shown}")
    warn_of_paths(output, project, pipeline.configs)
    output.text()
    nightly = f" · {command('sync')} for its schedule" if pipeline.schedule else ""
    output.text(f"Next: {command(f'run {name}')}{nightly}")


def appended(text: str, name: str, entry: Mapping[str, Any], shown: str) -> str:
    """Return the file's *text* with one more entry.

    :raises SetupError: E-CONFIG, it cannot be read, or no entry can be appended to it: it is
        written as ``{…}``, for example.
    """
    before = parse_yaml(text, shown) or {}
    for gap in ("\n", ""):  # a text block that keeps its last lines would swallow the empty one
        with suppress(SetupError, yaml.YAMLError, RecursionError):
            candidate = _inserted(text, gap, name, entry)
            if isinstance(before, dict) and parse_yaml(candidate, shown) == {**before, name: dict(entry)}:
                return candidate
    block = yaml.safe_dump({name: dict(entry)}, sort_keys=False, default_flow_style=True, width=10_000).strip()
    raise SetupError(
        "E-CONFIG",
        f"{shown} is not a list of entries, one below the other, to which one more can be appended; it is unchanged.",
        hint=f"Add this entry by hand: {block[1:-1]}",
    )


def _inserted(text: str, gap: str, name: str, entry: Mapping[str, Any]) -> str:
    """Return the text with the entry after the last one.

    It has the indentation of the others, and comes before a mark that ends the document.
    """
    mark = text[:1] if text.startswith(BYTE_ORDER_MARK) else ""
    text = text.removeprefix(mark)
    end, indent = len(text), None
    for event in yaml_events(text):
        mark_at = event.start_mark
        if mark_at and isinstance(event, yaml.MappingStartEvent) and indent is None:
            indent = mark_at.column
        elif mark_at and isinstance(event, yaml.DocumentEndEvent) and event.explicit:
            end = mark_at.index
    head, tail = text[:end], text[end:]
    newline = "\r\n" if "\r\n" in text else "\n"
    before = "" if not head or head.endswith("\n") else newline
    before += gap.replace("\n", newline) if head else ""
    lines = yaml.safe_dump({name: dict(entry)}, sort_keys=False, allow_unicode=True, width=10_000).splitlines()
    return mark + head + before + "".join(" " * (indent or 0) + line + newline for line in lines) + tail
