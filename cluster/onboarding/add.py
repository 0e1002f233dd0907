"""``add``: append an entry to ``pipelines.yaml``, and leave all other lines as they are.

``select PIPELINE`` gives an entry a ``catalog`` in the same manner.

Comments, order and form stay. The reader of every run reads the result before it replaces the
file. If the file takes no further entry, it stays as it is.
"""

from __future__ import annotations

import re
import shutil
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import yaml

from cluster.config.strict import SCHEMA, describe, parse_yaml, read_exact, yaml_events
from cluster.errors import SetupError
from cluster.host.files import file_errors, write_whole
from cluster.host.locks import only_one
from cluster.onboarding import env_example
from cluster.project.files import warn_of_paths
from cluster.project.model import NAME, NAME_ALLOWED
from cluster.project.reader import Project
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from cluster.project.model import Pipeline
    from cluster.session import Session

CATALOG = "catalog.json"
BYTE_ORDER_MARK = "\ufeff"


def add(session: Session, name: str, entry: Mapping[str, Any]) -> None:
    """Append a pipeline to ``pipelines.yaml``; keys of *entry* without a value are left out.

    A catalog that is not there yet is a copy of the tap's.

    :raises SetupError: E-EXISTS, the name is taken; E-CONFIG, the entry is not allowed or cannot be
        appended; E-CATALOG, the tap has no catalog to copy. Nothing has changed then.
    """
    project, output = Project(session.settings.root), session.output
    file = project.configs / "pipelines.yaml"
    shown = project.shown(file)
    if not re.fullmatch(NAME, name):
        raise SetupError("E-CONFIG", f"{describe(name)} is not allowed as a pipeline's name.", hint=f"Use {NAME_ALLOWED}.")
    with only_one(session.settings.local / "locks" / "pipelines.yaml", f"Another command is writing {shown}."):
        text = read_exact(file, shown) if file.exists() else SCHEMA.format("../", "pipelines")
        if name in (parse_yaml(text, shown) or {}):
            raise SetupError(
                "E-EXISTS", f"{shown} has a pipeline {name} already.", hint="Choose another name, or change that entry by hand."
            )
        if name in project.connector_names:
            raise SetupError("E-EXISTS", f"{name} is the name of a connector.", hint=f"Choose another name, such as {name}-nightly.")
        new = appended(text, name, {key: value for key, value in entry.items() if value}, shown)
        with _copied(project, str(entry["tap"]), str(entry.get("catalog") or "")):
            pipeline = _replace(project, new, name)
    transform = pipeline.transform.name if pipeline.transform else None
    mapper = pipeline.mapper.name if pipeline.mapper else None
    sides = {"tap": pipeline.tap.name, "mapper": mapper, "target": pipeline.target.name, "transform": transform}
    output.event("pipeline", pipeline=name, **sides, schedule=list(pipeline.schedule))
    output.line("✓", name, f"{' → '.join(item.name for item in pipeline.connectors)}, added to {shown}")
    warn_of_paths(output, project, pipeline.configs)
    env_example.update(project.root, output)
    output.text()
    output.text(f"Next: {command(f'run {name}')}")
    if pipeline.schedule:
        output.text(f"Nothing starts it by itself yet: {command('sync')} gives its schedule to the cluster.")
        output.text(f"Without a cluster, {command('schedule --print cron')} prints what starts it here; or systemd, launchd.")


def give_catalog(session: Session, name: str) -> Path:
    """Give a pipeline its own catalog, a copy of the tap's, and return the file.

    :raises SetupError: E-EXISTS, there is such a file; E-CATALOG, the tap has none; E-CONFIG, the
        entry cannot be changed. Nothing has changed then.
    """
    project = Project(session.settings.root)
    shown, value = project.shown(project.configs / "pipelines.yaml"), f"{name}/{CATALOG}"
    with only_one(session.settings.local / "locks" / "pipelines.yaml", f"Another command is writing {shown}."):
        own = project.configs / name / CATALOG
        if own.exists():
            problem = f"{project.shown(own)} is there already, and {shown} does not name it."
            raise SetupError("E-EXISTS", problem, hint=f"Add this to {name} by hand: catalog: {value}; or remove that file.")
        text = with_catalog(read_exact(project.configs / "pipelines.yaml", shown), name, value, shown)
        with _copied(project, project.pipeline(name).tap.name, value):
            _replace(project, text, name)
    return own


def _replace(project: Project, text: str, name: str) -> Pipeline:
    """Replace ``pipelines.yaml``, and return one pipeline of it.

    :raises SetupError: it cannot be read. The file is then unchanged.
    """
    file = project.configs / "pipelines.yaml"
    shown = project.shown(file)
    with write_whole(file, text) as part:
        try:
            return Project(project.root, pipelines=part).pipeline(name)
        except SetupError as error:
            problem = error.problem.replace(project.shown(part), shown)
            raise SetupError(error.code, problem, hint=f"Correct the command; {shown} is unchanged.") from None


@contextmanager
def _copied(project: Project, tap: str, catalog: str) -> Iterator[None]:
    """Copy the tap's catalog to a file below ``singer-configs/`` that is not there yet.

    If the body fails, the copy is removed.

    :raises SetupError: E-CATALOG, the tap has none.
    """
    file = project.configs / catalog
    if not catalog or file.exists() or tap not in project.connector_names or not file.resolve().is_relative_to(project.configs.resolve()):
        yield
        return
    source = project.connector(tap).folder / CATALOG
    if not source.exists():
        problem = f"{tap} has no {CATALOG} that {project.shown(file)} could be a copy of."
        raise SetupError("E-CATALOG", problem, hint=f"Discover it first: {command('discover', tap)}")
    folder_is_new = not file.parent.exists()
    with file_errors("The catalog", file):
        file.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, file)
    try:
        yield
    except BaseException:
        file.unlink()
        if folder_is_new:
            file.parent.rmdir()
        raise


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


def with_catalog(text: str, name: str, value: str, shown: str) -> str:
    """Return the file's *text* with a ``catalog`` in the entry *name*, after its ``tap``.

    :raises SetupError: E-CONFIG, the entry has no ``tap`` itself, or other entries repeat it.
    """
    before = parse_yaml(text, shown)
    with suppress(SetupError, yaml.YAMLError, RecursionError, TypeError):
        flow, end = _tap(text, name)
        if flow:
            candidate = f"{text[:end]}, catalog: {value}{text[end:]}"
        else:
            newline = "\r\n" if "\r\n" in text else "\n"
            line_end = text.find("\n", end) + 1 or len(text)
            start = text.rfind("\n", 0, end) + 1
            indent = re.match(r"[ \ufeff]*", text[start:])
            gap = "" if text[:line_end].endswith("\n") else newline
            candidate = f"{text[:line_end]}{gap}{indent[0] if indent else ''}catalog: {value}{newline}{text[line_end:]}"
        if parse_yaml(candidate, shown) == {**before, name: {**before[name], "catalog": value}}:
            return candidate
    problem = f"The entry {name} of {shown} cannot be changed without its other lines; nothing has changed."
    raise SetupError("E-CONFIG", problem, hint=f"Copy the tap's {CATALOG} to {value}, and add this to the entry: catalog: {value}")


def _tap(text: str, name: str) -> tuple[bool, int]:
    """Return whether the entry *name* is in flow style, and where the value of its ``tap`` ends.

    :raises TypeError: there is no such place.
    """
    document = yaml.compose(text, Loader=yaml.SafeLoader)
    for key, entry in document.value if isinstance(document, yaml.MappingNode) else ():
        if key.value == name and isinstance(entry, yaml.MappingNode):
            for inner, value in entry.value:
                if inner.value == "tap":
                    return bool(entry.flow_style), value.end_mark.index
    raise TypeError


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
