"""Meltano Hub: which connectors it lists, and what it states about each variant.

An answer is kept in ``.local/cache/hub/`` with its time. A fresh copy saves the request; an older
one is used if the Hub does not answer. Nothing here trusts the Hub: an answer that is not what it
should be is an error with the code E-HUB, and a name that is not plain is dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cached_property
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from cluster.errors import SetupError
from cluster.host.files import private_folder, write_whole
from cluster.net import http, proxy
from cluster.project.model import NAME

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cluster.config.settings import Settings

HUB = "Meltano Hub"
SECTIONS = {"tap": "extractors", "target": "loaders", "mapper": "mappers"}
"""Kinds of connectors, and what the Hub calls them."""
VARIANT = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
FRESH_SECONDS = 3600
ANSWER_SECONDS = 5
MOST_BYTES = 8 << 20
UNITS = (("day", 86_400), ("hour", 3600), ("minute", 60))


@dataclass(frozen=True)
class Entry:
    """A connector in the Hub's index."""

    kind: str
    name: str
    variants: tuple[str, ...]
    """The default variant is the first."""


@dataclass(frozen=True)
class Answer:
    """A document of the Hub, and where it comes from."""

    document: dict[str, Any]
    age: float | None = None
    """Seconds since the Hub gave it; None if it was asked just now."""
    reason: str = ""
    """Why an old copy is used."""

    @property
    def source(self) -> str:
        """``hub`` or ``cache``."""
        return "hub" if self.age is None else "cache"

    @property
    def note(self) -> str:
        """The source in words, to be appended to a line; empty if the Hub was asked just now."""
        if self.age is None:
            return ""
        return f"from a copy that is {_duration(self.age)} old" + (f": {self.reason}" if self.reason else "")


class Hub:
    """Meltano Hub, through the proxy and with a cache."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], seconds: float = ANSWER_SECONDS) -> None:
        """Take the Hub's address from the settings, and how long an answer may take."""
        self._seconds = seconds
        self.url = settings.hub_url.rstrip("/")
        digest = hashlib.sha256(self.url.encode()).hexdigest()[:12]
        self.cache = settings.local / "cache" / "hub" / digest
        self._network = proxy.read(settings, environ)
        self._down: SetupError | None = None

    def entries(self, kinds: Iterable[str]) -> tuple[list[Entry], Answer]:
        """Return the connectors of these kinds, and the oldest of the answers that list them.

        :raises SetupError: E-HUB, E-NETWORK, E-PROXY, E-CERTIFICATE, if there is no copy either.
        """
        answers = {kind: self._ask(f"{SECTIONS[kind]}/index") for kind in kinds}
        listed = [entry for kind, answer in answers.items() for entry in _entries(kind, answer.document)]
        return listed, max(answers.values(), key=lambda answer: answer.age or 0)

    def definition(self, entry: Entry, variant: str) -> Answer:
        """Return what the Hub states about a variant.

        :raises SetupError: as ``entries``.
        """
        return self._ask(f"{SECTIONS[entry.kind]}/{entry.name}--{variant}")

    @cached_property
    def _connections(self) -> Any:
        return http.pool(self.url, self._network)

    def _ask(self, path: str) -> Answer:
        copy = self.cache / f"{path}.json"
        kept = self._kept(copy)
        if kept and kept.age is not None and kept.age < FRESH_SECONDS:
            return kept
        try:
            document = self._request(path)
        except SetupError as error:
            if kept is None:
                raise
            return Answer(kept.document, kept.age, error.problem)
        with suppress(SetupError, OSError):  # the command works without a copy
            private_folder(copy.parent)
            with write_whole(copy, json.dumps({"time": time.time(), "answer": document}), mode=0o600):
                pass
        return Answer(document)

    def _kept(self, copy: Path) -> Answer | None:
        try:
            kept = json.loads(copy.read_bytes())
            return Answer(dict(kept["answer"]), max(0.0, time.time() - float(kept["time"])))
        except (OSError, ValueError, TypeError, KeyError, RecursionError):
            return None

    def _request(self, path: str) -> dict[str, Any]:
        """Ask the Hub. If it cannot be reached once, it is not asked again."""
        if self._down is not None:
            raise self._down
        url = f"{self.url}/meltano/api/v1/plugins/{path}"
        try:
            status, body = http.read(url, self._network, self._connections, seconds=self._seconds, most=MOST_BYTES)
        except SetupError as error:
            self._down = error
            raise
        if status != HTTPStatus.OK:
            raise unusable(f"{url} answers {status}")
        with suppress(ValueError, RecursionError):
            document = json.loads(body)
            if isinstance(document, dict):
                return document
        raise unusable(f"{url} does not answer with a JSON object")


def unusable(problem: str) -> SetupError:
    """Return the error for an answer of the Hub that cannot be used."""
    hint = "Name the package with --pip-url; or correct singer.hub_url, if no Meltano Hub is there."
    return SetupError("E-HUB", f"{problem}.", hint=hint)


def _entries(kind: str, index: Mapping[str, Any]) -> Iterable[Entry]:
    """Return the connectors of an index, without those whose names could lead out of a folder."""
    for name, facts in index.items():
        variants = facts.get("variants") if isinstance(facts, dict) else None
        if not isinstance(variants, dict) or not re.fullmatch(NAME, name):
            continue
        names = [variant for variant in variants if re.fullmatch(VARIANT, variant)]
        names.sort(key=lambda variant: variant != facts.get("default_variant"))
        if names:
            yield Entry(kind, name, tuple(names))


def near(name: str, names: Iterable[str]) -> list[str]:
    """Return at most three names that are similar to *name*, the nearest first."""
    known = sorted(names, key=len)
    word = _bare(name)
    parts = [item for item in known if len(word) > 2 and word in item]  # noqa: PLR2004 - "s3" is in too many names
    close = get_close_matches(word, {_bare(item) for item in known}, n=3, cutoff=0.75)
    similar = [item for bare in close for item in known if _bare(item) == bare]
    similar.sort(key=lambda item: not item.startswith(name.partition("-")[0]))
    return list(dict.fromkeys([*similar, *parts]))[:3]


def _bare(name: str) -> str:
    return re.sub(r"^(tap|target)-", "", name)


def _duration(seconds: float) -> str:
    for unit, length in UNITS:
        count = int(seconds // length)
        if count:
            return f"{count} {unit}{'s' * (count > 1)}"
    return "less than a minute"
