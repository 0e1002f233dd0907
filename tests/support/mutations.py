"""Deliberately broken variants of the code that must not break: the tests have to notice each of them.

    .venv/bin/python tests/support/mutations.py            # all of them
    .venv/bin/python tests/support/mutations.py state lock # those whose name has one of these words

Each variant is one line of the code changed in a copy of the checkout, in which the tests named for it must then fail.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LOCAL = "cluster/engines/local.py"
LOCK = "cluster/engines/lock.py"
JOURNAL = "cluster/runs/journal.py"
PAIR = "cluster/engines/processes.py"
RUNS = "cluster/runs/history.py"
FOLDERS = "cluster/store/folders.py"
RUNNER = "singer-containers/entrypoint.py"
CONVERGE = "cluster/platform/converge.py"
COPIED = ("cluster", "docs", "invoke", "manifests", "singer-configs", "singer-containers", "tasks.py", "template", "tests", "pyproject.toml",
          "requirements.lock", "requirements-dev.lock", "README.md", "CONTRIBUTING.md", "CHANGELOG.md")  # fmt: skip
SECONDS = 300
SCENARIOS = "tests/contract/test_scenarios.py"
COMMIT = "tests/contract/test_commit.py"
KILLS = "tests/faults/test_kills.py"
COUNTING = "--all tests/unit/entrypoint/test_entrypoint.py"
PROCESS = "tests/contract/test_entrypoint_process.py"
REGISTRY = "--all tests/contract/test_registry.py"


@dataclass(frozen=True)
class Variant:
    """One change, and who must notice it."""

    name: str
    """What it breaks."""
    file: str
    old: str
    """Is in the file exactly once."""
    new: str
    tests: str
    """pytest's arguments."""


VARIANTS = [
    # The state rule
    Variant("state kept though a side failed", LOCAL, "        if failure is not None:\n            raise failure\n        target = job.pipeline.target", "        target = job.pipeline.target", f"{SCENARIOS} -k 'tap_fails or target_fails or halfway'"),
    Variant("state before the data", LOCAL, "                    state = self._load(job, journal, folder, step, part)", "                    self.history.save_state(record.pipeline, {'n': 20})\n                    state = self._load(job, journal, folder, step, part)", f"{KILLS} -k 'any_byte'"),
    Variant("state before the record", JOURNAL, "        try:\n            self._save_commit()", "        self.history.save_state(record.pipeline, state or {})\n        try:\n            self._save_commit()", f"{KILLS} -k 'before_its_record'"),
    Variant("state never saved", JOURNAL, "        if state is not None:\n            self.history.save_state(record.pipeline, state)", "        pass", f"{COMMIT} -k 'data_record_and_state and not s3'"),
    Variant("a backfill moves the state", JOURNAL, "        if record.backfill is not None:\n            state = None\n", "", f"{COMMIT} -k 'a_backfill_leaves and not s3'"),
    Variant("data of a failed run stays", RUNS, "self.store.delete(bucket, *(item.key for item in self.store.objects(bucket, prefix)))", "pass", f"{KILLS} -k 'after_its_data'"),
    Variant("a state is kept though its files are not", JOURNAL, "(self.safe is None and has_files(self.data))", "False", f"{COMMIT} -k 'state_of_files and not s3'"),
    Variant("published files make their state look safe", JOURNAL, "            self.progress.file.unlink(missing_ok=True)\n            self.progress = None", "            pass", f"{COMMIT} -k 'published_files and not s3'"),
    Variant("no state is kept while rows are safe", JOURNAL, "            self.history.save_state(self.record.pipeline, state)\n", "", f"{COMMIT} -k 'rows_are_safe and not s3'"),
    Variant("a state loses its digits", "cluster/ui/exact_json.py", "if isinstance(item, Number):", "if False:", f"{COMMIT} -k 'digit and not s3'"),
    Variant("files that outputs does not match are dropped with their state", JOURNAL, "        for file in files:\n            key", "        for file in [file for file in files if file.relative_to(data).as_posix() not in others]:\n            key", f"{COMMIT} -k 'does_not_match and not s3'"),
    Variant("an empty state wipes out a good one", RUNNER, "        if value:\n            self.state = value\n", "        if True:\n            self.state = value\n", f"{COUNTING} {SCENARIOS} -k 'state'"),
    Variant("the first state counts", RUNNER, "        if value:\n            self.state = value\n", "        if value and self.state is None:\n            self.state = value\n", f"{COUNTING} -k 'state'"),
    Variant("state though the target left messages unread", RUNNER, "if os.read(stdin, 1):", "if False:", f"{SCENARIOS} -k 'early'"),
    Variant("state of a target that failed", RUNNER, "        if code == 0:\n            self.need_all_read(stdin)\n            if", "        if True:\n            self.need_all_read(stdin)\n            if", PROCESS),
    Variant("a killed run that succeeded gets no state", JOURNAL, "self.history.save_state(record.pipeline, record.state_after)", "pass", f"{KILLS} -k 'before_its_state'"),
    Variant("a killed run stays running", JOURNAL, 'record.status, record.error = "interrupted", dict(KILLED)', "record.error = dict(KILLED)", "tests/contract/test_interruption.py -k 'killed'"),
    # One run at a time, and nothing left
    Variant("lock not taken", LOCK, "        if not locks.claim(handle):", "        if False:", f"{KILLS} -k 'at_once or set_during'"),
    Variant("the run's folder is left", LOCAL, "                        sweep(folder, name)", "                        pass", f"{SCENARIOS} -k 'succeeds'"),
    Variant("connectors of a killed run are not waited for", LOCK, 'None if all(map(locks.try_lock, handles)) else ""', "None", f"{KILLS} -k 'outlive'"),
    Variant("a runner that comes too late begins", RUNNER, "        runner.hold()\n        work.mkdir(mode=0o700, parents=True)", "        work.mkdir(mode=0o700, parents=True)\n        runner.hold()", f"{PROCESS} -k 'comes_too_late'"),
    Variant("a second Ctrl-C forgets what is left", LOCAL, "if journal.settled and not folder.exists():", "if True:", f"{KILLS} -k 'puts_things_away or second'"),
    Variant("runners do not hear of the engine's end", PAIR, '"SINGER_LIFELINE": str(lifeline)', '"SINGER_NO_LINE": str(lifeline)', "tests/contract/test_interruption.py -k 'killed'"),
    Variant("a half-written object is seen", FOLDERS, "            self._publish(self._part(data), bucket, key)", "            private_folder(file.parent)\n            file.write_bytes(data)", "tests/contract/test_store.py"),
    Variant("temporary files are never swept", FOLDERS, "                    part.unlink(missing_ok=True)\n\n    def get", "                    pass\n\n    def get", "tests/contract/test_store.py -k 'swept'"),
    Variant("versions by the clock alone", FOLDERS, "max(time.time_ns(), int(newest) + 1)", "time.time_ns()", "tests/contract/test_store.py -k 'clock'"),
    # The entrypoint
    Variant("last line dropped", RUNNER, "pass_on(self.counter.finish(), sinks)", "self.counter.finish()", SCENARIOS + " -k 'newline'"),
    Variant("count off by one", RUNNER, "self._add(self._run_kind, 1, stop - start)", "self._add(self._run_kind, 2, stop - start)", COUNTING),
    Variant("runs of records counted wrong", RUNNER, "self._add(self._run_kind, lines, end - start)", "self._add(self._run_kind, lines - 1, end - start)", COUNTING),
    Variant("secrets not filled", RUNNER, "content = fill(template, self.remembered)", "content = template", PROCESS),
    Variant("secrets for everybody to read", RUNNER, "filled.touch(0o600)", "filled.touch(0o644)", PROCESS),
    Variant("FIFO unbounded", RUNNER, "while thread.is_alive() and time.monotonic() < deadline:", "while thread.is_alive():", f"{COUNTING} -k 'nobody'"),
    Variant("words that are no message pass", RUNNER, "if not isinstance(kind, str) or not isinstance(stream, str):", "if False:", f"{SCENARIOS} -k 'banner'"),
    Variant("our variables reach the connector", RUNNER, "if not name.startswith(hidden)", "if name", PROCESS),
    Variant("exit code of a signal", RUNNER, "return code if code >= 0 else 128 - code\n\n    def stop", "return code if code >= 0 else 0\n\n    def stop", f"{SCENARIOS} -k 'killed'"),
    Variant("a connector that is deaf is not killed", RUNNER, "            process.kill()", "            pass", f"--all {PROCESS} -k 'deaf'"),
    Variant("memory for a line without end", RUNNER, "        except MemoryError:\n            error = self.counter.too_long()", "        except ZeroDivisionError:\n            error = self.counter.too_long()", "--all tests/faults/test_inputs.py -k 'nothing'"),
    # The planner
    Variant("order of the steps lost", CONVERGE, "[need for need in step.needs if need in by_title]", "[]", "tests/unit/platform/test_converge.py"),
    Variant("one step at a time", CONVERGE, "ThreadPoolExecutor(max_workers=len(steps)) as pool:\n        try", "ThreadPoolExecutor(max_workers=1) as pool:\n        try", "tests/unit/platform/test_converge.py"),
    Variant("an error does not stop the rest", CONVERGE, "            stopped.set()", "            pass", "tests/unit/platform/test_converge.py"),
    Variant("what is true is done again", CONVERGE, "if _pending(step, handles) is None:", "if False:", "tests/unit/platform/test_converge.py"),
    Variant("a wait without end", "cluster/host/waiting.py", "if clock.now() > deadline:", "if False:", "tests/unit/platform/test_converge.py -k 'too_long'"),
    # Images in a registry
    Variant("the registry's label is not looked at", "cluster/containers/images.py", "if labels.get(CONTENT, content) != content", "if False", f"{REGISTRY} -k 'other_content'"),
    Variant("the registry has it for any machine", "cluster/containers/images.py", "if platform and live and platform not in live:", "if False:", f"{REGISTRY} -k 'other_machines'"),
    Variant("the registry is given what is here for another machine", "cluster/containers/runtime.py", "(not platform or result.stdout.split() == [platform] * len(names))", "True", f"{REGISTRY} -k 'machines_kind or cannot'"),
    Variant("the registry's memory is believed", "cluster/providers/existing.py", "        if image in self._seen:", "        if image in (*self._seen, *self.instance.pushed):", f"{REGISTRY} -k 'only_what'"),
    Variant("the registry is insisted on", "cluster/providers/existing.py", "            if image not in self.instance.pushed:\n                raise", "            raise", f"{REGISTRY} -k 'away'"),
    Variant("the registry's tag must be ours", "cluster/containers/images.py", 'meaning(text) != "taken"', "True", f"{REGISTRY} -k 'same_time'"),
]  # fmt: skip


def fail(tests: str, folder: Path) -> bool:
    """Run tests in *folder*, and say whether they fail. Too long is a failure too."""
    before, _, words = tests.partition(" -k ")
    chosen = ["-k", words.strip("'")] if words else []
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *before.split(), *chosen]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return True
    assert done.returncode in {0, 1}, f"{tests}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done.returncode == 1


def noticed(variant: Variant, folder: Path) -> bool:
    """Break the copy in *folder*, and put it right again; say whether the tests have failed."""
    file = folder / variant.file
    text = file.read_text(encoding="utf-8")
    assert text.count(variant.old) == 1, f"{variant.name}: what it changes is not there"
    file.write_text(text.replace(variant.old, variant.new), encoding="utf-8")
    try:
        return fail(variant.tests, folder)
    finally:
        file.write_text(text, encoding="utf-8")


def main() -> None:
    """Try them, and end with exit code 1 where one was not noticed."""
    chosen = [item for item in VARIANTS if not sys.argv[1:] or any(word in item.name for word in sys.argv[1:])]
    survived = []
    signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background it is ignored, and tests of Ctrl-C would not see any
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "checkout"
        for name in COPIED:
            source, copy = ROOT / name, folder / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(source, copy)
        (folder / ".local").mkdir()
        shared = ROOT / ".local" / "tests"
        shared.mkdir(parents=True, exist_ok=True)
        (folder / ".local" / "tests").symlink_to(shared)
        for tests in {variant.tests: None for variant in chosen}:
            assert not fail(tests, folder), f"{tests}: fails where nothing is broken"
        for variant in chosen:
            began = time.monotonic()
            caught = noticed(variant, folder)
            survived += [] if caught else [variant.name]
            print(f"{'✓' if caught else '✗'} {variant.name:<55} {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201 - what it is for
    print(f"{len(chosen) - len(survived)} of {len(chosen)} were noticed.")  # noqa: T201 - likewise
    raise SystemExit(bool(survived))


if __name__ == "__main__":
    main()
