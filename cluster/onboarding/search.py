"""``search``: which connectors Meltano Hub has."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from cluster.config.strict import describe, listed
from cluster.errors import SetupError
from cluster.onboarding.hub import HUB, SECTIONS, Hub, near
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.onboarding.hub import Entry
    from cluster.session import Session

WORKERS = 8
WIDTH = 60


def search(session: Session, word: str, *, kind: str, limit: int) -> None:
    """List the Hub's connectors whose name contains every part of *word*.

    :raises SetupError: E-SETTING; E-UNKNOWN, none has such a name; as ``Hub.entries``.
    """
    if kind not in {"", *SECTIONS} or limit < 1:
        raise SetupError("E-SETTING", f"--kind is one of {listed(SECTIONS)}, and --limit is at least 1.", hint="Correct the command.")
    if not session.settings.hub_url:
        raise SetupError("E-SETTING", "singer.hub_url is empty.", hint="Set it to the address of a Meltano Hub: https://hub.meltano.com")
    catalogue, output = Hub(session.settings, session.environ), session.output
    entries, answer = catalogue.entries([kind] if kind else list(SECTIONS))
    matching = _matching(entries, word)
    if not matching:
        names = near(word.lower(), (entry.name for entry in entries))
        hint = f"Search one of these: {listed(names)}." if names else "Search a shorter word."
        raise SetupError("E-UNKNOWN", f"{HUB} has no connector with {describe(word)} in its name.", hint=hint)
    shown = matching[:limit]
    with ThreadPoolExecutor(max_workers=WORKERS) as pool:
        documents = list(pool.map(lambda entry: _document(catalogue, entry), shown))
    for entry, document in zip(shown, documents, strict=True):
        output.event(
            "hub.connector",
            name=entry.name,
            kind=entry.kind,
            default=entry.variants[0],
            variants=list(entry.variants),
            maintainer=_maintainer(entry, document),
            label=_line(document, "label"),
            description=_line(document, "description"),
            page=_line(document, "docs"),
        )
    output.event("search.finished", source=answer.source, age=answer.age, matches=len(matching), shown=len(shown))
    output.table([_row(*pair) for pair in zip(shown, documents, strict=True)], ("name", "kind", "maintainer", "description", "variants"))
    output.text()
    output.line("!" if answer.reason else "✓", HUB, ", ".join(filter(None, (catalogue.url, answer.note))))
    if len(shown) < len(matching):
        output.text(f"{len(matching) - len(shown)} more: {command(f'search {word} --limit {len(matching)}')}")
    if shown:
        output.text(f"Next: {command(f'new {shown[0].name}')} · --variant selects a variant, else the first is used")


def _matching(entries: Sequence[Entry], word: str) -> list[Entry]:
    """Return the connectors whose name has all parts of *word*, the closest first."""
    parts = re.findall(r"[a-z0-9]+", word.lower())
    matching = [entry for entry in entries if parts and all(part in entry.name for part in parts)]
    return sorted(matching, key=lambda entry: (entry.name.partition("-")[2] not in {"-".join(parts), word}, len(entry.name), entry.name))


def _document(catalogue: Hub, entry: Entry) -> dict[str, Any]:
    """Return the definition of the default variant; an empty one if the Hub does not give it."""
    try:
        return catalogue.definition(entry, entry.variants[0]).document
    except SetupError:
        return {}


def _row(entry: Entry, document: dict[str, Any]) -> list[str]:
    text = _line(document, "description") or _line(document, "label")
    short = text if len(text) <= WIDTH else f"{text[:WIDTH].rstrip()}…"
    return [entry.name, entry.kind, _maintainer(entry, document), short, listed(entry.variants)]


def _maintainer(entry: Entry, document: dict[str, Any]) -> str:
    """Return the owner of the repository of the default variant, else the name of the variant."""
    owner = re.match(r"https?://[^/]+/([A-Za-z0-9._-]+)/", _line(document, "repo"))
    return owner[1] if owner else entry.variants[0]


def _line(document: dict[str, Any], key: str) -> str:
    value = document.get(key)
    return " ".join(value.split()) if isinstance(value, str) else ""
