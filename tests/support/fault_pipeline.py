"""A pipeline to be hit, and the one module that checks what must hold of it afterwards.

Its tap goes on from the number in the state to the last row of the source. Its target writes the rows into a file and
prints each state on the way, as targets do. So the state of ``{"n": 7}`` stands for exactly the rows 0 to 6.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from processes import eventually

from cluster.config.settings import Settings
from cluster.runs.history import History
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from checkout import Checkout

    from cluster.runs.record import Record
    from cluster.store import Store

STABLE = Path(__file__).with_name("command_forks.py")
MARK = "FAULTS_MARK"
FIRST, ROWS = 7, 20
"""How many rows there are for the run before, and how many for the one that is hit."""
ENDS = {"succeeded", "failed", "interrupted"}
CODES = {0, 1, 2, 130}
"""How a command of ours may end where nobody killed it; 70 would be a bug, and so would a traceback."""


@dataclass
class Command:
    """A command that was started in a stable."""

    pid: int
    stable: Stable
    code: int | None = None
    """Its exit code once it has ended, -n for signal n."""

    def kill(self, number: int) -> None:
        """Send it a signal; it is waited for afterwards, so that the number is its own."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def children(self) -> int:
        """Return how many processes it has that were started by it."""
        with suppress(OSError):
            return len(Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text(encoding="utf-8").split())
        return 0

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        if self.code is None:
            self.code = self.stable.answer()
        return self.code

    @property
    def out(self) -> str:
        """What it printed."""
        return self.stable.out.read_text(encoding="utf-8", errors="replace")

    @property
    def err(self) -> str:
        """What it printed on standard error."""
        return Path(f"{self.stable.out}.err").read_text(encoding="utf-8", errors="replace")

    @property
    def changes(self) -> int:
        """How many changes it made, where a fault was asked for."""
        return int(Path(f"{self.stable.out}.changes").read_text(encoding="utf-8").split()[0])

    @property
    def run(self) -> str | None:
        """The id of the run that it began, None where it began none."""
        for line in self.out.splitlines():
            with suppress(ValueError):
                event = json.loads(line)
                if event["event"] == "run.started":
                    return str(event["run"])
        return None


class Stable:
    """Commands of one checkout, one after the other, each a separate process."""

    def __init__(self, root: Path, out: Path, environ: dict[str, str]) -> None:
        """Start the process that commands are forked from."""
        self.out = out
        self.environ = environ
        self.count = 0
        self._process = subprocess.Popen(
            [sys.executable, str(STABLE)], cwd=root, env=environ, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert self.answer() == self.pid

    def start(self, *words: str, fault: dict[str, Any] | None = None, environ: dict[str, str] | None = None) -> Command:
        """Start a command."""
        job: dict[str, Any] = {"words": words, "environ": {**self.environ, **(environ or {})}}
        job |= {"out": str(self.out), "err": f"{self.out}.err"}
        if fault is not None:
            job["fault"] = fault
        self.count += 1
        self.out.write_text("", encoding="utf-8")  # what the command before has printed is not this one's
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(job) + "\n")
        self._process.stdin.flush()
        return Command(self.answer(), self)

    @property
    def pid(self) -> int:
        """Its process."""
        return self._process.pid

    def answer(self) -> int:
        """Return the next answer."""
        assert self._process.stdout is not None
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """Let it end."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(30)


@dataclass(repr=False)
class Ground:
    """A checkout with the pipeline ``p``, and what must hold of it. Used for as long as the body of its ``with`` runs."""

    checkout: Checkout
    environ: dict[str, str] = field(default_factory=dict)
    """Where its buckets are, where they are not folders."""
    rows: int = 0

    def __enter__(self) -> Self:
        """Make the pipeline, its environments, and a stable."""
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        self.checkout.scripted({"steps": [["schema", "s"]]})
        assert self.checkout.run(**self.environ).code == 0
        environ = {**self.checkout.environ, **self.environ, MARK: self.mark}
        self.stable = Stable(self.checkout.root, self.checkout.root.parent / "out", environ)
        self.stables = [self.stable]
        self.clear()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let the stables end, also those of a test that has failed, and tell how many commands came out of the first."""
        for stable in self.stables:
            stable.close()
        print(f"{self.stable.count:,} commands")  # noqa: T201 - with -s: the figure of docs/reliability.md

    # -- what happens

    def clear(self) -> None:
        """Forget everything that the pipeline has done."""
        self.rows = 0
        for name in ("buckets", "runs", "locks", "logs"):
            shutil.rmtree(self.checkout.local / name, ignore_errors=True)
        shutil.rmtree(self.checkout.root / "output", ignore_errors=True)
        if self.environ:
            for bucket in self.buckets:
                for item in self.store.objects(bucket):
                    self.store.delete(bucket, item.key)

    def first(self) -> None:
        """Begin anew, with a run that succeeds."""
        self.clear()
        self.prepare(FIRST)
        self.mended()
        self.prepare(ROWS)

    def prepare(self, rows: int, tap: dict[str, Any] | None = None, target: dict[str, Any] | None = None, batch: int = 4) -> None:
        """Set the number of *rows* in the source from now on, and the faults of the connectors."""
        self.rows = rows
        step = ["source", rows, batch, *([tap] if tap else [])]
        self.checkout.write("tap-scripted/config.json", {"steps": [step]})
        self.checkout.write("target-scripted/config.json", {"often": True, **({"fault": target} if target else {})})

    def start(self, *words: str, fault: dict[str, Any] | None = None, **environ: str) -> Command:
        """Start a command; without words, a run."""
        return self.stable.start(*(words or ("run", "p", "--engine", "local", "--json")), fault=fault, environ=environ)

    def another(self, out: Path) -> Stable:
        """Return a second stable, for commands at the same time. The caller may close it early."""
        self.stables.append(Stable(self.checkout.root, out, self.stable.environ))
        return self.stables[-1]

    def run(self) -> Command:
        """Run the pipeline undisturbed, to its end."""
        command = self.start()
        command.wait()
        return command

    # -- what is there

    @property
    def settings(self) -> Settings:
        """The choices in force."""
        chosen: dict[str, Any] = {
            name.removeprefix("INVOKE_SINGER_").lower(): value for name, value in self.environ.items() if "INVOKE" in name
        }
        return Settings(root=self.checkout.root, **chosen)

    @property
    def buckets(self) -> tuple[str, str, str]:
        """Their names."""
        settings = self.settings
        return settings.bucket_configs, settings.bucket_artifacts, settings.bucket_outputs

    @property
    def store(self) -> Store:
        """A handle of our own."""
        return open_store(self.settings, self.environ)

    def state(self) -> int:
        """Return the number in the state."""
        state = History(self.store, self.settings).state("p")
        return int(state["n"]) if state else 0

    def claimed(self) -> set[Any]:
        """Return the rows that the state stands for."""
        return set(range(self.state()))

    def everything(self) -> set[Any]:
        """Return the rows of the source."""
        return set(range(self.rows))

    def records(self) -> list[Record]:
        """Return all records."""
        return History(self.store, self.settings).newest("p")

    def published(self) -> list[Any]:
        """Return the numbers of all rows that are published, sorted."""
        store, bucket = self.store, self.settings.bucket_outputs
        texts = [store.get(bucket, item.key) or b"" for item in store.objects(bucket)]
        return sorted(json.loads(line)["n"] for text in texts for line in text.splitlines())

    def orphans(self) -> list[str]:
        """Return the processes that our commands have started and that are still there."""
        return [line for pid in Path("/proc").iterdir() if pid.name.isdigit() for line in self._ours(pid)]

    def _ours(self, process: Path) -> Iterator[str]:
        with suppress(OSError):
            if int(process.name) in {stable.pid for stable in self.stables}:
                return
            if f"{MARK}={self.mark}".encode() in (process / "environ").read_bytes().split(b"\0"):
                state = (process / "stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
                if state != "Z":
                    yield f"{process.name} {(process / 'cmdline').read_bytes()!r}"

    def leftovers(self) -> list[str]:
        """Return what should not be there between two commands: folders of runs, temporary files, locks with a run in them."""
        root, local = self.checkout.root, self.checkout.local
        folders = (local / "runs", local / "buckets" / ".part")
        files = [file for folder in folders if folder.exists() for file in folder.iterdir()]
        files += list((root / "output").rglob(".*"))
        files += [file for file in (local / "locks").glob("*") if file.read_text(encoding="utf-8")]
        return [str(file.relative_to(root)) for file in files]

    # -- what must hold

    def killed_after(self, seconds: float, number: int) -> None:
        """Kill a run some seconds after its start, and see that the next one loads the rest."""
        self.first()
        command = self.start()
        time.sleep(seconds)
        command.kill(number)
        self.hit(command, killed=True)
        self.mended()

    def hit(self, command: Command, *, killed: bool = False) -> None:
        """Check what holds immediately, after any fault in a command: the state stands for rows that are published."""
        code = command.wait()
        assert code in (CODES if not killed else {*CODES, -signal.SIGKILL, -signal.SIGTERM, -signal.SIGINT}), (code, command.err)
        assert "\nTraceback" not in f"\n{command.err}", command.err  # a connector's may be quoted within a line
        rows = self.published()
        assert self.claimed() <= set(rows), ("state ahead of the data", self.claimed(), rows)
        known = {record.run: record for record in self.records()}
        if command.run:
            assert command.run in known, ("a run without a record", command.run)
            if code == 0:
                assert known[command.run].status == "succeeded"
        eventually(lambda: not self.orphans(), why=self.orphans)

    def mended(self) -> None:
        """See what holds after one more run that nobody disturbed: all is as if nothing had happened."""
        command = self.run()
        assert command.code == 0, command.err
        self.settled()
        assert self.claimed() == self.everything(), (self.claimed(), self.rows)

    def settled(self) -> None:
        """See what holds between two commands: each row up to the state is there once, each run has ended, nothing is left."""
        assert self.published() == sorted(self.claimed()), (self.claimed(), self.published())
        records = self.records()
        assert {record.status for record in records} <= ENDS, records
        for record in records:
            assert {"succeeded": record.error is None, "failed": record.error is not None}.get(record.status, True), record
            assert record.status == "succeeded" or not record.outputs or record.parts, record
        named = sorted((item["bucket"], item["key"]) for record in records for item in record.outputs)
        bucket = self.settings.bucket_outputs
        stored = sorted((bucket, item.key) for item in self.store.objects(bucket))
        assert named == stored, (named, stored)
        assert self.leftovers() == [], self.leftovers()
        assert self.orphans() == [], self.orphans()
