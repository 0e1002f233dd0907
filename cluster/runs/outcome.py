"""What two sides have left behind and what it means: the files to publish, and the error that explains a failed run.

Both engines ask here, the local one after its processes have ended and the argo one in the cluster, so that one failure
has one sentence. Nothing is started, nothing is stored.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines
from cluster.ui.format import STYLING, count, megabytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.runs.record import Record

SHOWN_WARNINGS = 3
NOISE = re.compile("Stream is assumed to be unsorted")
"""A warning that Meltano's SDK prints at every run of every stream without a sorted key."""
SHOWN_ERRORS = 3
TAIL_BYTES = 1 << 16
"""Of a log's end, so much is looked at."""
OWN_ERROR = 90
"""The entrypoint's exit code for an error that it found itself."""
STOPPED = re.compile(r"stopped with strategy|shutdown with strategy|workflow shutdown", re.IGNORECASE)
TOO_LONG = re.compile(r"specified deadline|DeadlineExceeded|exceeded (its|workflow) deadline|max duration limit", re.IGNORECASE)
NEVER_STARTED = re.compile(
    r"^timeout$|pending timeout|ImagePull|ErrImage|InvalidImageName|before \S+ container starts"
    r"|\b(StartError|ContainerCannotRun|CreateContainer(Config)?Error|RunContainerError)\b",
    re.IGNORECASE,
)
UNREAD = re.compile(r"artifact (\S+) failed to load: (.+)")
OUT_OF_MEMORY = re.compile(r"\bOOM[-\s]?killed\b", re.IGNORECASE)
DELETED = re.compile(r"\bpod deleted\b", re.IGNORECASE)
NO_REASON = re.compile(r"(Error|exit code \d+\)):?\s*$")
"""Ends of Argo's messages that name no cause."""
VAGUE = re.compile(r"^(No more retries left|retryStrategy\.expression evaluated to false|child '.*' failed|Backoff.*)$", re.IGNORECASE)
"""What Argo says of the nodes of a run. The last is what it says of a whole whose part has failed."""
UNCHANGED = "State and earlier files are unchanged."
KEPT = "The state has moved on as far as rows are safe; the next run goes on from there."
LOADED = "The data is loaded and the state has moved on; the next run goes on from there, and transforms again."
"""What a hint adds about data and state of a run that failed."""
ERROR_LINE = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")
NEW_LINE = re.compile(r"(\S+\s+){0,4}?\W*(CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b")
"""How a line of a log begins, other than one that goes on with what a program has raised."""
WRAPPED = re.compile(r"^sqlalchemy\.exc\.\w+: \([\w.]+\) ")
CONSEQUENCES = {"E-TARGET-ENDED", "E-PIPE"}
"""The codes of a side that failed because the other one did."""
UNREADABLE = re.compile(r"json|decod|utf|unicode|surrogate|codec|expecting value|BOM\b|pars(e|ing)", re.IGNORECASE)
"""How a target's error reads when it could not read a message."""
SUMMARY = re.compile(
    r"validation failed$|^Aborted!?$|see (the )?(errors?|log|messages?) above|^(exit|return) ?code|^Exiting", re.IGNORECASE
)
"""A last line that only sums up; the errors before it hold the reason."""


@dataclass(frozen=True)
class SideResult:
    """How one side ended."""

    side: str
    """``tap``, ``target`` or ``transform``."""
    connector: str
    exit_code: int | None
    """None where nobody knows."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """The entrypoint's."""
    log: bytes = b""
    """The end of its log."""
    killed: bool = False
    """Whether its runner was ended by a signal."""
    config: str = "its config.json"
    """Where a person finds its config."""
    log_at: str = ""
    """Where a person finds its log."""
    unchanged: str = UNCHANGED
    """What a person need not fear for; nothing where there is nothing to fear for."""

    @property
    def after(self) -> str:
        """What a hint ends with."""
        return " ".join(filter(None, (self.unchanged, f"Log: {self.log_at}" if self.log_at else "")))

    @property
    def fault(self) -> str:
        """What the entrypoint noticed in the bytes of the tap's output, empty if nothing."""
        return next(iter(run_warnings(self.connector, {"fault": self.report.get("fault")})), "")

    def failure(self) -> RunError | None:
        """Return what went wrong on this side, None where nothing did."""
        code = self.exit_code
        if code == 0:
            return None
        told = self.report.get("error") or (told_in(self.log) if code in {OWN_ERROR, None} else None)
        if isinstance(told, dict):
            problem = str(told["problem"]).replace("The tap's ", f"{self.connector}'s ").replace("The target ", f"{self.connector} ")
            if told["code"] == "E-DISCOVERY":  # it is the tap's log that says why
                said = last_words(self.log.rpartition(b"E-DISCOVERY  ")[0])
                problem = f'{problem.rstrip(".")}: "{said}".' if said else problem
            return RunError(told["code"], problem, hint=f"{told['hint']} {self.after}")
        if self.report.get("exit_code") is None and (self.killed or code is None):
            which = f" (exit code {code})" if code is not None else ""
            return RunError(
                "E-RUNNER",
                f"The runner of {self.connector} was killed from outside{which}.",
                hint=f"See whether the machine's memory ran out, or what the pipeline's resources give it, then run it again. {self.after}",
            )
        last = (dbt_words(self.log) if self.side == "transform" else "") or last_words(self.log)
        killed = " (killed, perhaps out of memory)" if code == 128 + signal.SIGKILL else ""
        return RunError(
            f"E-{self.side.upper()}-FAILED",
            f"{self.connector} ended with exit code {code}{killed}" + (f': "{last}".' if last else ", and its log is empty."),
            hint=f"See its log, and {self.config}. {self.after}",
        )


def explain(tap: RunError | None, target: RunError | None, ended: SideResult, fault: str = "") -> RunError | None:
    """Return the error that explains the run, None where both sides ended well; *ended* is the target's end.

    Where both failed, the cause comes first: a target that fails breaks its tap's pipe, and a tap that fails may leave
    its target with half a message. *fault* is what the entrypoint noticed in the tap's bytes: a target that then fails to
    read them is not to blame.
    """
    if fault and target is not None and UNREADABLE.search(target.problem) and (tap is None or tap.code in CONSEQUENCES):
        return RunError(
            "E-TAP-OUTPUT",
            f"{fault}; {target.problem}",
            hint=f"Correct the tap or the data that it reads: its output must be lines of JSON in UTF-8. {ended.after}",
        )
    if tap is None or tap.code not in CONSEQUENCES:
        return tap or target
    if target is not None or tap.code == "E-PIPE":
        return target if target is not None and target.code != "E-PIPE" else tap
    return RunError(tap.code, f"{ended.connector} ended before it had read everything.", hint=f"See its log. {ended.after}")


def unchanged(record: Record) -> str:
    """Return what a hint adds about data and state of a run that failed."""
    if record.committed:
        return LOADED
    return KEPT if record.state_kept is not None else UNCHANGED


def doubts(target: str, others: Sequence[str], *, foreign: bool) -> Iterator[str]:
    """Yield warnings about a load: files that ``outputs`` does not match, a foreign state."""
    if others:
        names = ", ".join(map(repr, others[:SHOWN_WARNINGS])) + (", …" if len(others) > SHOWN_WARNINGS else "")
        number = "1 file" if len(others) == 1 else f"{len(others):,} files"
        yield f'"outputs" of {target} does not match {number} that it left: {names}. Published too.'
    if foreign:
        yield f"{target} printed a state that the tap did not send; the next run starts from it."


def of_argo(pipeline: str, run: str, messages: Iterable[str], again: str = UNCHANGED) -> RunError:
    """Return the error of a run that only Argo's messages about its nodes explain, oldest first.

    The hint ends with *again*.
    """
    said = [text.strip() for text in messages]
    if any(map(STOPPED.search, said)):
        return RunError("E-CANCELLED", f"The run of {pipeline} was stopped.", hint=f"Run it again. {again}")
    if any(map(TOO_LONG.search, said)):
        return RunError(
            "E-TIMEOUT",
            f"{pipeline} was stopped: it took longer than its timeout.",
            hint=f'Raise "timeout" in singer-configs/pipelines.yaml, or load less at a time. {again}',
        )
    unread = next((found for found in map(UNREAD.search, reversed(said)) if found), None)
    if unread is not None:
        what = f"The input {unread[1]} of {pipeline} cannot be read: {unread[2].rstrip('.')}."
        if "does not exist" in unread[2]:
            return RunError(
                "E-CONFIG", what, hint=f"Bring the configs into the bucket (sync), or correct the parameter of that name. {again}"
            )
        return RunError("E-STORE", what, hint=f"See that the store is up, then run it again. {again}")
    telling = [text.rstrip(".") for text in reversed(said) if text and not VAGUE.search(text)]
    never = [text for text in telling if NEVER_STARTED.search(text)]  # the cause, whatever Argo then says of the containers beside it
    reason = (never or telling or ["it gave no reason"])[0]
    return _of_pod(pipeline, run, reason, "E-POD" if never else "E-RUNNER", again)


def _of_pod(pipeline: str, run: str, reason: str, code: str, again: str) -> RunError:
    """Return the error for Argo's message about the end of a pod."""
    if DELETED.search(reason):
        return RunError("E-RUNNER", f"The pod of {pipeline} was deleted during the run.", hint=f"Run it again. {again}")
    if OUT_OF_MEMORY.search(reason):
        problem = f"The pod of {pipeline} ran out of memory ({reason.rstrip(': ')})."
        return RunError(code, problem, hint=f"Raise resources: memory of {pipeline} in pipelines.yaml. {again}")
    if NO_REASON.search(reason):
        reason = f"{reason.rstrip(': ')}, without a reason. A memory limit that is too low for a start does this"
    return RunError(code, f"The pod of {pipeline} ended: {reason}.", hint=f"See logs {run}; then run it again. {again}")


def pod_deleted(messages: Iterable[str]) -> bool:
    """Return whether somebody deleted the pod: how its containers ended then says nothing."""
    return any(map(DELETED.search, messages))


def moved(total: int, records: Mapping[str, int], size: Mapping[str, int]) -> str:
    """Say what a run moved."""
    if not total:
        return "no new records"
    streams = "" if len(records) == 1 else f" in {len(records)} streams"
    return f"{count(total, 'record')}{streams}, {megabytes(sum(size.values()))}"


def outputs(folder: Path) -> list[Path]:
    """Return all files below *folder*, sorted. Links to folders are left out.

    :raises SetupError: E-OUTPUTS, a link leads out of the folder, or a name is not UTF-8.
    """
    files = [file for file in folder.rglob("*") if not file.is_dir()]
    home = folder.resolve()
    for file in files:
        try:
            str(file).encode()
        except UnicodeEncodeError:
            raise SetupError(
                "E-OUTPUTS", f"The target left a file whose name is not UTF-8: {file.name!r}.", hint="Give its files other names."
            ) from None
        if not file.is_file() or not file.resolve().is_relative_to(home):
            raise SetupError(
                "E-OUTPUTS",
                f"The target left {file.relative_to(folder)}, which is not a file in its own folder.",
                hint="Correct the target's config.",
            )
    return sorted(files)


def unmatched(folder: Path, files: Iterable[Path], globs: Iterable[str]) -> list[str]:
    """Return the names of *files* below *folder* that no glob of the connector's ``outputs`` matches."""
    matched = {file for glob in globs for file in folder.glob(glob)}
    return [file.relative_to(folder).as_posix() for file in files if file not in matched]


def message(line: str) -> str:
    """Return what a log line says, without its colours, time, level and logger."""
    text = STYLING.sub("", line)
    found = re.search(r"\b(?:CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b\s*(?:\|[^|]*\||[|:\]-]+)?\s*(.+)$", text)
    return (found[1] if found else text).strip()


def warnings(lines: Iterable[str], known: list[str]) -> Iterator[str]:
    """Yield what the first warnings among log lines say, each once: what a connector works around is worth knowing."""
    for line in lines:
        said = message(line)
        if len(known) < SHOWN_WARNINGS and re.search(r"\bWARNING\b", line) and said not in known and not NOISE.search(said):
            known.append(said)
            yield said


def run_warnings(tap: str, *reports: Mapping[str, Any]) -> list[str]:
    """Return the warnings of a run from the reports of its sides, the *tap*'s first: each once."""
    faults = [f"Line {fault['line']:,} of {tap}'s output {fault['problem']}" for report in reports[:1] if (fault := report.get("fault"))]
    return list(dict.fromkeys([*faults, *(str(text) for report in reports for text in report.get("warnings", []))]))


def told_in(log: bytes) -> dict[str, str] | None:
    """Return the error that the entrypoint wrote at the end of its log: where the disk is full, there is no report."""
    text = log[-TAIL_BYTES:].decode("utf-8", "replace")
    found = re.search(r"^(E-[A-Z-]+)  (.+)\n→ (.+)$", text, re.MULTILINE)
    return {"code": found[1], "problem": found[2], "hint": found[3]} if found else None


def last_words(log: bytes, most: int = 300) -> str:
    """Return the decisive line of a log, without its prefix and any final full stop or colon.

    That is what a traceback at the end raised, else the last line. A line that only sums up is replaced by the errors
    logged before it; a line that ends in a colon continues with the next one.
    """
    lines = [line for line in log_lines(log[-TAIL_BYTES:]) if line.strip()]
    if not lines:
        return ""
    number = raised(lines)
    number = len(lines) - 1 if number is None else number
    text = message(lines[number])
    if text.endswith(":"):
        text = f"{text} {message(lines[number + 1])}" if number + 1 < len(lines) else message(lines[number - 1]) if number else text
    if SUMMARY.search(text.rstrip(". ")):
        errors = [message(line) for line in lines[:number] if ERROR_LINE.search(line)]
        distinct = list(dict.fromkeys(error for error in errors if not SUMMARY.search(error.rstrip(". "))))[-SHOWN_ERRORS:]
        text = "; ".join(error.rstrip(". ") for error in distinct) or text
    return WRAPPED.sub("", text)[:most].rstrip(".: ")


def raised(lines: Sequence[str]) -> int | None:
    """Return the number of the line with which a traceback at the end of a log names what was raised."""
    start = max((number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")), default=len(lines))
    rest = list(enumerate(lines))[start + 1 :]
    first = next((number for number, line in rest if not line.startswith(" ")), None)
    return None if first is None or any(NEW_LINE.match(line) for later, line in rest if later > first) else first


def dbt_words(log: bytes) -> str:
    """Return the first failure that dbt's log tells of, what failed and why; nothing where it tells of none."""
    lines = [re.sub(r"^\d\d:\d\d:\d\d", "", line).strip() for line in log_lines(log[-TAIL_BYTES:])]
    for number, line in enumerate(lines):
        what = re.match(r"Failure in (.+)|Encountered an error:", line)
        if what:
            said = [text for text in lines[number + 1 :] if text and not re.match(r"\w+ Error( in |$)", text)]
            return ": ".join(filter(None, [what[1], *said[:1]])).rstrip(". ")
    return ""


def transformed(log: bytes) -> str:
    """Say what a transform has done."""
    found = re.search(rb"Done\. PASS=(\d+) WARN=(\d+)", log)
    if found is None:
        return "done"
    return f"{int(found[1])} models and tests passed" + (f", {int(found[2])} warned" if int(found[2]) else "")
