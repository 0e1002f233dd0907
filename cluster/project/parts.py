"""The parts of a run: some streams of the catalog each, or some days each.

A plan names them. Both engines pass it to the entrypoint, which gives the tap its part: the
catalog, the state and the config. The image ``commit`` has this module too.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from cluster.ui import exact_json

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MOST = 1000
"""How many parts a run may have. ``argo.workflow.retries`` limits the attempts of so many."""
BY_STREAM = {"bookmarks", "currently_syncing"}
"""The keys of a state that has its bookmarks by stream."""


@dataclass(frozen=True)
class Part:
    """A part of a run."""

    name: str
    streams: tuple[str, ...] = ()
    """Its streams, as ``tap_stream_id`` of the catalog; empty for all."""
    span: tuple[str, str] | None = None
    """The first and the last day that it loads."""
    config: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Keys that replace those of the tap's config."""
    state: Mapping[str, Any] | None = field(default=None, hash=False)
    """The state from which the tap starts, instead of the pipeline's."""


@dataclass(frozen=True)
class Plan:
    """The parts of a run, in order."""

    parts: tuple[Part, ...]
    at_once: int = 1
    """How many parts may run at the same time, on the argo engine."""
    first_alone: bool = False
    """Whether the first part runs alone, so that only it creates tables."""
    skipped: frozenset[str] = frozenset()
    """The parts that an earlier run has loaded, in a retry."""
    full: bool = False
    """Whether the parts start over, without a state; a retry of the run does the same."""
    retry_of: str = ""
    """The run whose parts a retry loads; of a retry of a retry, the first run."""

    def data(self) -> bytes:
        """Return the plan as the entrypoint and ``commit`` read it."""
        parts = []
        for part in self.parts:
            own: dict[str, Any] = {"name": part.name, "streams": list(part.streams)}
            own |= {"from": part.span[0], "to": part.span[1]} if part.span else {}
            own |= {"config": dict(part.config)} if part.config else {}
            own |= {"state": dict(part.state)} if part.state else {}
            parts.append(own | ({"skipped": True} if part.name in self.skipped else {}))
        more = ({"full": True} if self.full else {}) | ({"retry_of": self.retry_of} if self.retry_of else {})
        return exact_json.dumps({"parts": parts, "at_once": self.at_once} | more).encode()

    @property
    def key(self) -> str:
        """Return where in the bucket of configs the plan is, by its content."""
        return f"plans/{hashlib.sha256(self.data()).hexdigest()[:32]}.json"

    @property
    def numbers(self) -> list[int]:
        """The indexes of the parts to run."""
        return [number for number, part in enumerate(self.parts) if part.name not in self.skipped]

    def only(self, names: Collection[str]) -> Plan:
        """Return the plan that runs the parts *names* and skips the others."""
        return replace(self, skipped=frozenset(part.name for part in self.parts) - {*names})

    def others(self, index: int) -> set[str]:
        """Return the streams of all parts but one."""
        return {stream for number, part in enumerate(self.parts) if number != index for stream in part.streams} - {
            *self.parts[index].streams
        }

    def own(self, index: int, state: Mapping[str, Any] | None) -> dict[str, Any] | None:
        """Return a part's share of a state: all bookmarks but those of the other parts' streams.

        :raises ValueError: the state has not its bookmarks by stream.
        """
        others = self.others(index)
        if not any(part.streams for part in self.parts):
            return dict(state) if state else None  # parts by days use no state
        marks = {key: value for key, value in bookmarks(state).items() if key not in others}
        return {"bookmarks": marks} if marks else None

    def merged(self, index: int, old: Mapping[str, Any] | None, share: Mapping[str, Any] | None, new: Mapping[str, Any]) -> dict[str, Any]:
        """Return the pipeline's *old* state with the bookmarks that a part has moved.

        These are the bookmarks of its streams, and others that no part's stream has, if they differ
        from *share*, what the part got.

        :raises ValueError: a state has not its bookmarks by stream.
        """
        others, before = self.others(index), bookmarks(share)
        own = self.parts[index].streams
        marks = {
            key: value
            for key, value in bookmarks(new).items()
            if key not in others and (key in own or key not in before or before[key] != value)
        }
        return {"bookmarks": bookmarks(old) | marks}


def read(data: bytes) -> Plan:
    """Read a plan.

    :raises ValueError, KeyError, TypeError: it is none.
    """
    content = exact_json.loads(data)
    full, retry_of = content.get("full") is True, content.get("retry_of", "")
    return replace(planned(content["parts"]), at_once=content.get("at_once", 1), full=full, retry_of=retry_of)


def planned(parts: Collection[Mapping[str, Any]]) -> Plan:
    """Return the plan of *parts*, as a plan and the record of a run list them."""
    made = (
        Part(
            item["name"],
            tuple(item["streams"]),
            (item["from"], item["to"]) if "from" in item else None,
            item.get("config", {}),
            item.get("state"),
        )
        for item in parts
    )
    return Plan(tuple(made), skipped=frozenset(item["name"] for item in parts if item.get("skipped") or item.get("status") == "skipped"))


def bookmarks(state: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the bookmarks of a state, by stream.

    :raises ValueError: it has another form; the text is the reason.
    """
    marks = (state or {}).get("bookmarks", {})
    other = sorted(set(state or {}) - BY_STREAM)
    if other:
        raise ValueError(f'it has "{other[0]}" beside bookmarks')
    if not isinstance(marks, dict):
        raise ValueError("its bookmarks are not by stream")  # noqa: TRY004 - the caller shows the reason
    return marks
