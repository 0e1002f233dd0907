"""Files that a connector takes along (``files`` in ``connector.yaml``), and paths that it does not.

Both engines give each run a copy, at the same relative places. The bucket of configs has them by
content, so a schedule finds the files that it was made with.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from itertools import islice
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

from cluster.config.strict import read_object
from cluster.errors import SetupError
from cluster.project.model import File
from cluster.project.secrets import texts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from cluster.config.strict import Fields
    from cluster.project.model import Connector
    from cluster.project.reader import Project
    from cluster.ui.output import Output

MOST_MEGABYTES = 32
MOST_FILES = 1000
"""The limits of one connector: every pod downloads its files, the bucket keeps them without limit,
and an export writes them into git."""
ALLOWED = "files and folders of this checkout, such as data/people.jsonl"
PRIVATE = {".git", ".local", ".venv"}
"""Folders that are never taken along, as files that begin with ``.env``: they have secrets."""
TIMES = ".modified.json"
"""The object with the times of modification; ``entrypoint.py`` has this name too."""
PRIVATE_KEY = b"PRIVATE KEY-----"
IN_IMAGES = ("/dev/", "/proc/", "/sys/", "/usr/", "/bin/", "/etc/ssl/")
"""Folders that a container has, too."""


def files_key(files: Mapping[str, File]) -> str:
    """Return the prefix of the files in the bucket of configs: it is new when a file changes."""
    digest = hashlib.sha256()
    for name, file in sorted(files.items()):
        digest.update(f"{name}\0{hashlib.sha256(file.content).hexdigest()}\n".encode())
    return f"files/{digest.hexdigest()[:32]}"


def files_objects(files: Mapping[str, File]) -> dict[str, bytes]:
    """Return the objects of the bucket of configs: the files, and when each was modified."""
    key = files_key(files)
    objects = {f"{key}/{name}": file.content for name, file in files.items()}
    times = {name: file.modified for name, file in sorted(files.items())}
    return {**objects, f"{key}/{TIMES}": json.dumps(times).encode()} if files else {}


def read_files(fields: Fields, root: Path) -> dict[str, File]:
    """Read what ``files`` names, by path below the checkout.

    :raises SetupError: E-CONFIG, a file is missing, outside of the checkout, private, or too large;
        E-SECRET-TYPED, one has a private key.
    """
    files: dict[str, File] = {}
    room = MOST_MEGABYTES * 1_000_000
    for name in fields.texts("files", (), allowed=ALLOWED):
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or "\\" in name:
            fields.refuse("files", f"{ALLOWED}: no leading slash, no .., no backslash")
        base = root / path
        below = (item for item in base.rglob("*") if item.is_symlink() or not item.is_dir()) if base.is_dir() else iter([base])
        listed = sorted(islice(below, MOST_FILES + 1))
        if not listed:
            fields.refuse("files", f"{ALLOWED}; {name} has no file")
        for file in listed:
            inside = file.relative_to(root).as_posix()
            source = _source(fields, root, file, inside)
            facts = source.stat()
            room -= facts.st_size if inside not in files else 0
            if room < 0 or len(files) == MOST_FILES:
                fields.refuse(
                    "files",
                    f"at most {MOST_MEGABYTES} MB in {MOST_FILES:,} files, because every pod downloads them; "
                    "put more into a bucket or a database, and read it from there",
                )
            try:
                files[inside] = File(source.read_bytes(), int(facts.st_mtime))
            except OSError as error:
                fields.refuse("files", f"{ALLOWED}; {inside} cannot be read: {error.strerror}")
            if PRIVATE_KEY in files[inside].content:
                raise SetupError(
                    "E-SECRET-TYPED",
                    f"{fields.shown}: {inside} holds a private key; files go into a bucket.",
                    hint="Remove it from files. Put the key into .env, and write its ${NAME} in config.json.",
                )
    return files


def _source(fields: Fields, root: Path, file: Path, inside: str) -> Path:
    """Return the file itself, which *file* may be a link to."""
    home, source = root.resolve(), file.resolve()
    if not source.is_relative_to(home):
        fields.refuse("files", f"{ALLOWED}; {inside} leads out of it, to {source}")
    if is_private(PurePosixPath(inside)) or is_private(source.relative_to(home)):
        fields.refuse("files", f"{ALLOWED}; {inside} is private, and files go into a bucket")
    if not source.is_file():
        fields.refuse("files", f"{ALLOWED}; {inside} is {'a link to a folder, or no file' if source.exists() else 'not there'}")
    if not inside.isprintable():
        fields.refuse("files", f"{ALLOWED}; the name {inside!r} is not printable")
    return source


def is_private(path: PurePath) -> bool:
    """Return whether a file of the checkout is never taken along."""
    parts = {part.lower() for part in path.parts}
    return bool(parts & PRIVATE) or any(part.startswith(".env") for part in parts)


# -- paths of this machine


def from_checkout(value: Any, root: Path) -> Any:
    """Return a config in which files of the checkout are named by their paths in it.

    Other paths stay, and so do those of files that may not be taken along.
    """
    if isinstance(value, dict):
        return {key: from_checkout(item, root) for key, item in value.items()}
    if isinstance(value, list):
        return [from_checkout(item, root) for item in value]
    if not isinstance(value, str) or not value.startswith("/"):
        return value
    path = Path(os.path.normpath(value))
    inside = next((path.relative_to(base) for base in (root, root.resolve()) if path.is_relative_to(base)), None)
    if inside is None or is_private(inside) or not _is(Path.is_file, path):
        return value
    small = path.stat().st_size <= MOST_MEGABYTES * 1_000_000
    return inside.as_posix() if small and PRIVATE_KEY not in path.read_bytes() else value


def relative_files(config: Mapping[str, object], root: Path) -> list[str]:
    """Return the values of a config that are paths of files, relative to the checkout."""
    return list(dict.fromkeys(os.path.normpath(text) for _, text in texts(config) if _relative(text, root)))


def only_here(config: Mapping[str, object], root: Path, files: Collection[str]) -> Iterator[tuple[str, str, Path]]:
    """Yield key, value and path of what a config names, and what only this machine has."""
    for keys, text in texts(config):
        name = text.removeprefix("file://")
        if name == "~" or name.startswith(("~/", "/")):
            start, *wildcard = re.split(r"[*?\[]", name.replace("~", str(Path.home()), 1) if name[0] == "~" else name, maxsplit=1)
            path = Path(f"{start}x").parent if wildcard else Path(start)
            # A folder such as /users is often a part of an address.
            folder = path.parent.name and _is(Path.is_dir, path)
            if not f"{path}/".startswith(IN_IMAGES) and (folder or _is(Path.is_file, path)):
                yield ".".join(keys), text, path
        elif os.path.normpath(text) not in files and _relative(text, root):
            yield ".".join(keys), text, root / text


def _relative(text: str, root: Path) -> bool:
    """Return whether a text is the path of a file, relative to the checkout."""
    return not text.startswith("/") and ".." not in text.split("/") and _is(Path.is_file, root / text)


def _is(kind: Callable[[Path], bool], path: Path) -> bool:
    """Ask the file system about a text, which need not be a path at all."""
    try:
        return kind(path)
    except (OSError, ValueError):
        return False


def warn_of_paths(output: Output, project: Project, configs: Iterable[tuple[Connector, Path]]) -> None:
    """Show the paths in configs that only this machine has, each with its remedy."""
    for connector, config in dict.fromkeys((connector.name, config) for connector, config in configs):
        files, shown = project.connector(connector).files, project.shown(config)
        definition = project.shown(project.configs / connector / "connector.yaml")
        for key, text, path in only_here(read_object(config, shown) if config.exists() else {}, project.root, files):
            problem = f"{shown}: {key} is {text}, which only this machine has; a run in a cluster does not see it."
            name = project.shown(path)
            if name.startswith(".."):
                hint = f"Copy it into the checkout, list it in files of {definition}, and write its path there as '{key}'."
            else:
                taken = name in files or any(file.startswith(f"{name}/") for file in files)
                line = f'"{key}": "{name}" into {shown}'
                hint = f"Write {' and '.join([f'files: {name} into {definition}'] * (not taken) + [line] * (text != name))}."
            output.line("!", connector, f"{problem} → {hint}")
            output.event("warning", source=connector, problem=problem, hint=hint)
