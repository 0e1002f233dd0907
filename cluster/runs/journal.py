"""The rule for data, record and state of a run. Both engines follow it here, and nowhere else.

The order is data, record, state, so that a state never runs ahead of its data. A record that is
``succeeded`` (or ``loaded``, before a transform) is the point of no return: from there the state
follows. A run that ends anywhere before that is taken back. ``recover`` does either for a run
that could not end itself.

A target whose rows are safe outside of the buckets is the exception. The states that it prints
are stored while the run is under way (``keep``): a printed state stands for safe rows.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from cluster.errors import SetupError
from cluster.runs import outcome
from cluster.runs import state as state_json
from cluster.runs.record import DONE
from cluster.ui.format import count, now

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from cluster.runs.history import History, PartHistory
    from cluster.runs.record import Record, Status

KEEP_SECONDS = 8.0
"""Time between two stored states of a run. The entrypoint adds up to two seconds."""
STOPS = {"E-RUNNER", "E-CANCELLED"}
"""The codes of errors with which a run is interrupted, not failed."""
STOPPED = {"code": "E-CANCELLED", "problem": "The run was stopped.", "hint": "Run it again."}
KILLED = {"code": "E-RUNNER", "problem": "The run was killed.", "hint": "Run it again."}


@dataclass(frozen=True)
class Progress:
    """The file with the newest state that a target printed, and whether that state is safe."""

    file: Path
    data: Path
    """The target's working folder: files there are lost when the run fails."""
    safe: bool | None
    """``safe_states`` of the connector; None: while the working folder has no file."""

    def newest(self) -> dict[str, Any] | None:
        """Return the newest state whose rows are safe, None if there is none."""
        if self.safe is False or (self.safe is None and has_files(self.data)):
            return None
        return printed(self.file)


def has_files(folder: Path) -> bool:
    """Return whether there is any file, or link, below *folder*.

    The entrypoint's links to the files that a connector takes along do not count.
    """
    return any((not item.is_dir() or item.is_symlink()) and not _taken_along(item, folder) for item in folder.rglob("*"))


def _taken_along(item: Path, folder: Path) -> bool:
    return item.is_symlink() and item.readlink().as_posix().endswith(f"/files/{item.relative_to(folder).as_posix()}")


def printed(file: Path) -> dict[str, Any] | None:
    """Return the state that the entrypoint left in *file*, None if there is none."""
    try:
        return state_json.read(file.read_bytes()) or None
    except (OSError, ValueError):
        return None


def foreign(state: Mapping[str, Any] | None, report: Mapping[str, Any]) -> bool:
    """Return whether the tap's report lists the states it printed, and *state* is none of them."""
    digests = report.get("states")
    if state is None or not isinstance(digests, list) or not digests:
        return False
    return hashlib.sha256(json.dumps(state, sort_keys=True).encode()).hexdigest()[:16] not in digests


def parts_error(record: Record, otherwise: dict[str, str]) -> dict[str, str]:
    """Return the error of a run whose parts did not all succeed: that of the first one."""
    left = [item for item in record.parts or () if item["status"] not in DONE]
    failed = [item for item in left if item["error"]]
    more = f" {count(len(left) - 1, 'more part')} of {len(record.parts or ())} did not succeed." if len(left) > 1 else ""
    why = failed[0]["error"] if failed else otherwise
    problem = f"Part {failed[0]['name']}: {why['problem']}" if failed else why["problem"]
    rest = outcome.rest(record)
    hint = rest if why["hint"].startswith("Run it again.") else why["hint"].replace(outcome.UNCHANGED, rest)
    return {"code": why["code"], "problem": problem + more, "hint": hint if rest in hint else f"{hint} {rest}"}


class Journal:
    """Writes data, record and state of one run, in this order."""

    def __init__(self, history: History, record: Record, progress: Progress | None = None) -> None:
        """Take the record as far as it is known; nothing is written yet."""
        self.history = history
        self.record = record
        self.progress = progress
        self.settled = False
        """Whether nothing is left for ``recover``."""
        self.doubtful = False
        """Whether the store did not answer to the commit: it may have the record."""
        self._next = 0.0

    def begin(self) -> None:
        """Write the record of a run that is under way."""
        self.history.save(self.record)

    def keep(self, *, last: bool = False) -> None:
        """Store the newest state whose rows are safe, every few seconds; *last*: immediately.

        A store that fails is tried again.
        """
        if self.progress is None or self.record.backfill is not None or (time.monotonic() < self._next and not last):
            return
        state = self.progress.newest()
        with suppress(SetupError):
            state = self.history.own(state)
            if state is None or state == self.record.state_kept:
                return
            self.history.save_state(self.record.pipeline, state)
            self.record.state_kept = state
        self._next = time.monotonic() + KEEP_SECONDS

    def publish(self, data: Path, globs: Iterable[str], raw: Path | None = None) -> list[str]:
        """Store the target's files and the tap's *raw* output; return what no glob matches.

        What an earlier attempt of the run stored goes first.

        :raises SetupError: E-OUTPUTS, E-STORE, E-DISK.
        """
        record, store, settings = self.record, self.history.store, self.history.settings
        self.history.remove_files(record)
        files = outcome.outputs(data)
        others = outcome.unmatched(data, files, globs)
        if files and self.progress is not None and not self.progress.safe:
            # A store may move the files: an empty folder must not make their state look safe.
            self.progress.file.unlink(missing_ok=True)
            self.progress = None
        for file in files:
            key = f"{self.history.folder(record)}{file.relative_to(data).as_posix()}"
            record.outputs.append({"bucket": settings.bucket_outputs, "key": key, "bytes": file.stat().st_size})
            store.upload(settings.bucket_outputs, key, file)
        if raw is not None:
            record.raw = f"raw/{self.history.folder(record)}tap_output.txt"
            store.upload(settings.bucket_artifacts, record.raw, raw)
        return others

    def commit(self, state: dict[str, Any] | None) -> None:
        """Store the record, then *state*, which is None if the target printed none.

        A backfill leaves the state as it is.

        :raises SetupError: if ``record.committed``, only the state is missing: ``recover``.
        """
        record = self.record
        record.state_printed = state is not None
        if record.backfill is not None:
            state = None
        if state is not None:
            state = self.history.own(state)
        record.state_after = state if state is not None else record.state_kept or record.state_before
        before = record.loaded, record.status
        record.loaded = True
        self._close("running" if record.transform else "succeeded")
        try:
            self._save_commit()
        except BaseException:
            record.loaded, record.status = before
            raise
        if state is not None:
            self.history.save_state(record.pipeline, state)
        self.settled = record.transform is None

    def _save_commit(self) -> None:
        """Write the record of a commit. If the store's answer was lost, read the record."""
        try:
            self.history.save(self.record)
        except SetupError:
            self.doubtful = True
            stored = None
            with suppress(SetupError):
                stored = self.history.read(self.record.pipeline, self.record.run)
                self.doubtful = False
            if stored is None or not stored.committed:
                raise

    def end(self, status: Status, error: dict[str, str] | None = None) -> None:
        """Write how the transform of a committed run ended. Data and state stay."""
        self.record.error = error
        self._close(status)
        self.history.save(self.record)
        self.settled = True

    def fail(self, status: Status, error: dict[str, str] | None = None) -> None:
        """Write the record of a run that did not succeed, and take its files back.

        The state stays, or becomes the newest safe one.

        :raises SetupError: the store fails; ``recover`` does it later.
        """
        self.keep(last=True)
        record = self.record
        record.error = error
        record.loaded, record.state_after = False, record.state_kept or record.state_before
        self._close(status)
        self.history.take_back(record)
        self.settled = True
        self.doubtful = False

    def follow(self) -> bool:
        """Let the state follow a committed record; return whether it does.

        A state that is not of this run stays.

        :raises SetupError: E-STORE.
        """
        record = self.record
        # The state follows each part by itself, and never a backfill.
        if not record.committed or record.parts is not None or record.backfill is not None:
            return record.committed
        try:
            state = self.history.state(record.pipeline)
        except SetupError as error:
            if error.code != "E-STATE":
                raise
            return False
        if state not in (None, record.state_before, record.state_kept, record.state_after):
            return False
        if record.state_printed and record.state_after is not None and state != record.state_after:
            self.history.save_state(record.pipeline, record.state_after)
        return True

    def recover(self) -> None:
        """End a killed run: finish its commit, or mark it interrupted and take its files back.

        :raises SetupError: E-STORE, E-DISK.
        """
        record = self.record
        if record.parts is not None:
            self._recover_parts()
            return
        self.follow()
        if record.status == "running":
            record.status, record.error = "interrupted", dict(KILLED)
            if record.committed:
                self.history.save(record)
        if record.committed:
            return
        self.keep(last=True)
        with suppress(SetupError):
            if record.backfill is None:
                record.state_after = self.history.state(record.pipeline) or record.state_before
        self.history.take_back(record)

    def _recover_parts(self) -> None:
        if self.record.status == "running" and not self.record.loaded:
            self.end_parts(dict(KILLED))
        if self.record.status == "running":  # its transform was killed
            self.end("interrupted", dict(KILLED))

    def end_parts(self, otherwise: dict[str, str]) -> None:
        """Write the record of a run whose parts have ended, from theirs.

        A part that could not end itself gets the error *otherwise*; one that is committed gets its
        state. With a transform, the record of a run that loaded all parts stays open.

        :raises SetupError: E-STORE, E-DISK.
        """
        record = self.record

        def ended(view: PartHistory) -> Record | None:
            stored = view.read(record.pipeline, record.run)
            if stored is not None and not Journal(view, stored).follow() and stored.status == "running":
                Journal(view, stored).fail("interrupted" if otherwise["code"] in STOPS else "failed", otherwise)
            return stored

        record.gather(self.history.each_part(record, ended))
        states = [item["status"] for item in record.parts or ()]
        record.loaded = all(status in DONE for status in states)
        with suppress(SetupError):
            record.state_after = self.history.state(record.pipeline)
        if record.loaded:
            self._close("running" if record.transform else "succeeded")
        else:
            record.error = parts_error(record, otherwise)
            self._close("failed" if "failed" in states else "interrupted")
        self.history.save(record)
        self.settled = not record.loaded or record.transform is None

    def _close(self, status: Status) -> None:
        """Write into the record how and when the run ended, unless it is still running."""
        record = self.record
        record.status = status
        if status == "running":
            return
        record.finished = now()
        with suppress(ValueError):
            record.seconds = round((datetime.now(UTC) - datetime.fromisoformat(record.started)).total_seconds(), 3)
