"""Read the results of a run's sides: the files to publish, and the error that explains a failure.

Both engines call this module, so that a failure has the same message in both: ``local`` after its
processes have ended, ``argo`` in the cluster. It starts and stores nothing.
"""

from __future__ import annotations

import re
import signal
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cluster.errors import RunError, SetupError
from cluster.host.files import log_lines
from cluster.runs.libraries import missing
from cluster.ui.command_line import command
from cluster.ui.format import STYLING, count, megabytes, shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cluster.runs.record import Record

SHOWN_WARNINGS = 3
NOISE = re.compile("Stream is assumed to be unsorted")
"""The SDK prints this in every run, for every stream without a sorted key."""
SHOWN_ERRORS = 3
TAIL_BYTES = 1 << 16
"""How much of a log's end this module reads."""
OWN_ERROR = 90
"""The exit code for the entrypoint's own errors."""
# Argo's messages about the nodes of a run.
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
"""How messages of Argo end that do not name a cause."""
VAGUE = re.compile(r"^(No more retries left|retryStrategy\.expression evaluated to false|child '.*' failed|Backoff.*)$", re.IGNORECASE)
"""Messages of Argo about a node that failed because one of its children did."""
UNCHANGED = "State and earlier files are unchanged."
KEPT = "The state has moved on as far as rows are safe; the next run goes on from there."
LOADED = "The data is loaded and the state has moved on; the next run goes on from there, and transforms again."
"""Ends of hints: for a failed run, one that has saved some rows, one whose transform failed."""
ERROR_LINE = re.compile(r"\b(ERROR|CRITICAL|FATAL)\b")
NEW_LINE = re.compile(r"(\S+\s+){0,4}?\W*(CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b")
"""The beginning of a new log entry, in contrast to further lines of an exception."""
WRAPPED = re.compile(r"^sqlalchemy\.exc\.\w+: \([\w.]+\) ")
UNREADABLE = re.compile(r"json|decod|utf|unicode|surrogate|codec|expecting value|BOM\b|pars(e|ing)", re.IGNORECASE)
"""Words in the error of a target that could not parse a message."""
RULES = re.compile(
    r"RecordsWithoutSchema|before a corresponding schema|InvalidRecord|InvalidJSONSchema|Record Message Validation"
    r"|RecordValidationException|does not pass schema validation|jsonschema\.exceptions\.ValidationError|Could not parse value"
    r"|null value in column|NULL result in a non-nullable column|PrimaryKeyNotFoundException"
)
"""Words in the error of a target whose tap sent a record without a schema or a key, or against its
schema."""
NO_METHOD = re.compile(r"\breplication[ _-]?method:? ['\"]?(None|null)\b", re.IGNORECASE)
"""Words of a tap that needs the replication method of each stream, and discovers none."""
SYNTAX = re.compile(r"(?:SyntaxError|IndentationError|TabError)\b")
"""A program with a mistake that Python finds when it reads the file."""
PLACE = re.compile(r'\s+File "(.+)", line (\d+)')
AWAY_WORDS = (
    r"connection refused|could not connect|can'?t connect to|no route to host|network is unreachable|max retries exceeded",
    r"could not translate host name|name or service not known|nodename nor servname|failed to resolve|getaddrinfo failed",
    r"failure in name resolution|failed to establish a new connection|(connection|connect|server selection) ?timed? ?out",
)
AWAY = re.compile("|".join(AWAY_WORDS), re.IGNORECASE)
"""Words of a connector whose source or destination does not answer."""
SUMMARY = re.compile(
    r"validation failed$|^Aborted!?$|see (the )?(errors?|log|messages?) above|^(exit|return) ?code|^Exiting", re.IGNORECASE
)
"""A last line that only summarizes; the errors before it contain the reason."""


@dataclass(frozen=True)
class SideResult:
    """How one side ended."""

    side: str
    """``tap``, ``mapper``, ``target`` or ``transform``."""
    connector: str
    exit_code: int | None
    """None if it is not known."""
    report: Mapping[str, Any] = field(default_factory=dict)
    """The report of the entrypoint."""
    log: bytes = b""
    """The end of its log."""
    killed: bool = False
    """Whether a signal ended its runner."""
    config: str = "its config.json"
    """The path of its config, for hints."""
    log_at: str = ""
    """The path of its log, for hints."""
    unchanged: str = UNCHANGED
    """What happened to data and state, for hints; empty to omit it."""

    @property
    def after(self) -> str:
        """The end of a hint."""
        return " ".join(filter(None, (self.unchanged, f"Log: {self.log_at}" if self.log_at else "")))

    @property
    def fault(self) -> str:
        """The first fault in the bytes of the tap's output, empty if there is none."""
        return next(iter(run_warnings(self.connector, {"fault": self.report.get("fault")})), "")

    def failure(self) -> RunError | None:
        """Return the error of this side, None if it succeeded."""
        code = self.exit_code
        if code == 0:
            return None
        error = self.report.get("error") or (printed_error(self.log) if code in {OWN_ERROR, None} else None)
        if isinstance(error, dict):
            problem = re.sub(r"\bThe (tap|mapper)(?='s )|\bThe (mapper|target)(?= )", lambda _: self.connector, str(error["problem"]))
            hint = error["hint"]
            if error["code"] == "E-DISCOVERY":  # only the tap's log has the reason
                reason = last_words(self.log.rpartition(b"E-DISCOVERY  ")[0])
                problem = f'{problem.rstrip(".")}: "{reason}".' if reason else problem
                hint = remedy(reason, self.connector, self.config) or hint
            return RunError(error["code"], problem, hint=f"{hint} {self.after}")
        if self.report.get("exit_code") is None and (self.killed or code is None):
            exit_code = f" (exit code {code})" if code is not None else ""
            return RunError(
                "E-RUNNER",
                f"The runner of {self.connector} was killed from outside{exit_code}.",
                hint=f"Check the machine's memory and the pipeline's resources, then run it again. {self.after}",
            )
        last = (dbt_words(self.log) if self.side == "transform" else "") or last_words(self.log)
        killed = " (killed, perhaps out of memory)" if code == 128 + signal.SIGKILL else ""
        return RunError(
            f"E-{self.side.upper()}-FAILED",
            f"{self.connector} ended with exit code {code}{killed}" + (f': "{last}".' if last else ", and its log is empty."),
            hint=f"{remedy(last, self.connector, self.config) or f'See its log, and {self.config}.'} {self.after}",
        )


def remedy(text: str, connector: str, config: str) -> str:
    """Return the hint for the last words of a connector, if their cause is known; else empty."""
    if NO_METHOD.search(text):
        wanted = command(f"select {connector} --replication FULL_TABLE")
        return f"{wanted} gives its streams the replication method that their catalog lacks."
    if SYNTAX.match(text):
        return "Correct that line."
    if AWAY.search(text):
        return f"See whether the server runs and can be reached, and its address in {config}."
    return missing(text)


def explain_all(ends: Sequence[SideResult], failures: Mapping[str, RunError | None]) -> RunError | None:
    """Return the error that caused a run to fail, None if all sides succeeded.

    *ends* are the sides in the order of the data, *failures* their errors. With a mapper, the error
    of mapper and target is found first; then the tap may be its cause.
    """
    *sources, after = ends
    error = failures.get(after.side)
    for source in reversed(sources):
        suspects = " or ".join(end.connector for end in sources)
        error = explain(failures.get(source.side), error, source, after, suspects)
        after = source
    return error


def explain(tap: RunError | None, target: RunError | None, source: SideResult, ended: SideResult, suspects: str = "") -> RunError | None:
    """Return the error that caused a run to fail, None if both sides succeeded.

    If both failed, one caused the other: a target that fails breaks its tap's pipe, and a tap that
    fails may leave half a message for its target. *source* is the tap's result, *ended* the
    target's. If the target cannot parse the tap's bytes, or refuses a record because of its schema,
    the tap is the cause.
    """
    fault = source.fault
    # The codes of a side that failed because the other side did.
    innocent = tap is None or tap.code in {"E-PIPE", f"E-{ended.side.upper()}-ENDED"}
    if fault and target is not None and UNREADABLE.search(target.problem) and innocent:
        return RunError(
            f"E-{source.side.upper()}-OUTPUT",
            f"{fault}; {target.problem}",
            hint=f"Correct the {source.side} or the data that it reads: its output must be lines of JSON in UTF-8. {ended.after}",
        )
    if target is not None and RULES.search(target.problem) and innocent:
        hint = f"Correct {suspects or source.connector} or its data: invoke check {source.connector} names the message. {ended.after}"
        return RunError(target.code, target.problem, hint=hint)
    if tap is None or not innocent:
        return tap or target
    if target is not None or tap.code == "E-PIPE":
        return target if target is not None and target.code != "E-PIPE" else tap
    problem = f"{ended.connector} ended before it had read everything."
    return RunError(f"E-{ended.side.upper()}-ENDED", problem, hint=f"See its log. {ended.after}")


def unchanged(record: Record) -> str:
    """Return the sentence for hints about data and state after a failed run."""
    if record.committed:
        return LOADED
    if record.part is not None:
        return f"Other parts are not affected; {rest(record)}"
    return KEPT if record.state_kept is not None else UNCHANGED


def rest(record: Record) -> str:
    """Return the sentence for hints about a run of which parts are missing."""
    return f"{command(f'retry {record.run}')} loads what is missing."


def stopped(record: Record) -> str:
    """Return what has become of a run that was stopped."""
    if record.parts is not None and not record.loaded:
        files = f" {command(f'fetch {record.run}')} copies the files of what is loaded." if record.outputs else ""
        return f"{record.done} of {count(len(record.parts), 'part')} are loaded; {rest(record)}{files}"
    if record.committed:
        return LOADED if record.transform else "Its data is loaded."
    return KEPT if record.state_kept is not None else UNCHANGED


def doubts(target: str, others: Sequence[str], *, foreign: bool) -> Iterator[str]:
    """Yield warnings about a successful load.

    *others* are files that ``outputs`` does not match. *foreign*: the tap did not send the state.
    """
    if others:
        names = ", ".join(map(repr, others[:SHOWN_WARNINGS])) + (", …" if len(others) > SHOWN_WARNINGS else "")
        number = "1 file" if len(others) == 1 else f"{len(others):,} files"
        yield f'"outputs" of {target} does not match {number} that it left: {names}. Published too.'
    if foreign:
        yield f"{target} printed a state that the tap did not send; the next run starts from it."


def of_argo(pipeline: str, run: str, messages: Iterable[str], again: str = UNCHANGED) -> RunError:
    """Return the error of a run from Argo's *messages* about its nodes, oldest first.

    *again* ends the hint.
    """
    texts = [text.strip() for text in messages]
    if any(map(STOPPED.search, texts)):
        return RunError("E-CANCELLED", f"The run of {pipeline} was stopped.", hint=f"Run it again. {again}")
    if any(map(TOO_LONG.search, texts)):
        return RunError(
            "E-TIMEOUT",
            f"{pipeline} was stopped: it took longer than its timeout.",
            hint=f'Raise "timeout" in singer-configs/pipelines.yaml, or load less at a time. {again}',
        )
    unread = next((match for match in map(UNREAD.search, reversed(texts)) if match), None)
    if unread is not None:
        problem = f"The input {unread[1]} of {pipeline} cannot be read: {unread[2].rstrip('.')}."
        if "does not exist" in unread[2]:
            return RunError("E-CONFIG", problem, hint=f"Run invoke sync, or correct the parameter of that name. {again}")
        return RunError("E-STORE", problem, hint=f"Check that the store is running, then run it again. {again}")
    specific = [text.rstrip(".") for text in reversed(texts) if text and not VAGUE.search(text)]
    # A container that never started is the cause: the other containers fail because of it.
    never = [text for text in specific if NEVER_STARTED.search(text)]
    reason = (never or specific or ["Argo reports no reason"])[0]
    return _of_pod(pipeline, run, reason, "E-POD" if never else "E-RUNNER", again)


def _of_pod(pipeline: str, run: str, reason: str, code: str, again: str) -> RunError:
    """Return the error for Argo's message about the end of a pod."""
    if DELETED.search(reason):
        return RunError("E-RUNNER", f"The pod of {pipeline} was deleted during the run.", hint=f"Run it again. {again}")
    if OUT_OF_MEMORY.search(reason):
        problem = f"The pod of {pipeline} ran out of memory ({reason.rstrip(': ')})."
        return RunError(code, problem, hint=f"Raise resources: memory of {pipeline} in pipelines.yaml. {again}")
    if NO_REASON.search(reason):
        reason = f"{reason.rstrip(': ')}, without a reason. A memory limit that is too low can cause this"
    return RunError(code, f"The pod of {pipeline} ended: {reason}.", hint=f"See invoke logs {run}, then run it again. {again}")


def pod_deleted(messages: Iterable[str]) -> bool:
    """Return whether the pod was deleted, which makes its containers' exit codes meaningless."""
    return any(map(DELETED.search, messages))


def moved(record: Record) -> str:
    """Return how much a run moved, in words; with a mapper also how much the tap sent."""
    sent = sum((record.tap_records or {}).values())
    if record.empty:
        return "no new records" if not sent else f"no records; the mapper passed on none of {sent:,}"
    streams = f" in {len(record.records)} streams" if len(record.records) > 1 else ""
    size = sum(record.bytes.values()) + sum(batch["bytes"] for batch in record.batches.values())
    moved = [f"{count(record.total, 'record')}{streams}"] * bool(record.total)
    moved += [*([batched(record.batches.values())] if record.batches else []), megabytes(size)]
    more = f"; the tap sent {sent:,}" if record.mapper and sent != record.total else ""
    return ", ".join(moved) + more


def counted(record: Record) -> str:
    """Return the number of records; if not all are loaded, with the number of those that are.

    A target whose rows are safe when it prints a state may have loaded some of a failed run.
    """
    if record.stored == record.total or (record.status == "running" and not record.parts):
        return f"{record.total:,}"
    return f"{'some' if record.state_kept and not record.parts else f'{record.stored:,}'} of {record.total:,}"


def batched(batches: Iterable[Mapping[str, int]]) -> str:
    """Return the number of batch files, and of those whose records are not known, in words."""
    files, uncounted = (sum(batch[name] for batch in batches) for name in ("files", "uncounted"))
    return count(files, "batch file") + (f" ({uncounted:,} without a count of records)" if uncounted else "")


def outputs(folder: Path) -> list[Path]:
    """Return all files below *folder*, sorted, without links to folders.

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
    """Return the names of *files* in *folder* that no glob of ``outputs`` matches."""
    matched = {file for glob in globs for file in folder.glob(glob)}
    return [file.relative_to(folder).as_posix() for file in files if file not in matched]


def plain(line: str) -> str:
    """Return a log line without its colours: their codes end in a letter, next to the level."""
    return STYLING.sub("", line)


def message(line: str) -> str:
    """Return the message of a log line, without colours, time, level and logger."""
    text = plain(line)
    match = re.search(r"\b(?:CRITICAL|FATAL|ERROR|WARNING|INFO|DEBUG)\b\s*(?:\|[^|]*\||[|:\]-]+)?\s*(.+)$", text)
    return (match[1] if match else text).strip()


def warnings(lines: Iterable[str], known: list[str]) -> Iterator[str]:
    """Yield the first different warnings among log lines, and add them to *known*."""
    for line in lines:
        text = message(line)
        if len(known) < SHOWN_WARNINGS and re.search(r"\bWARNING\b", plain(line)) and text not in known and not NOISE.search(text):
            known.append(text)
            yield text


def counts(record: Record, reports: Mapping[str, Mapping[str, Any]]) -> None:
    """Copy what the sides have counted into the record: with a mapper, what it passed on."""
    last = reports["mapper"] if record.mapper else reports["tap"]
    for name in ("records", "bytes", "messages", "batches"):
        setattr(record, name, last.get(name, getattr(record, name)))
    if record.mapper:
        record.tap_records = reports["tap"].get("records", record.tap_records or {})
        record.tap_bytes = reports["tap"].get("bytes", record.tap_bytes or {})


def unmapped(record: Record, reports: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Yield a warning if the mapper's config names streams that the tap did not send."""
    sent = reports["tap"].get("bytes") or {}
    names = [name for name in reports.get("mapper", {}).get("maps", ()) if name not in sent]
    if record.mapper and sent and names:
        yield f"stream_maps of {record.mapper.connector} names streams that {record.tap.connector} did not send: {', '.join(names)}."


def run_warnings(tap: str, *reports: Mapping[str, Any]) -> list[str]:
    """Return the different warnings in the reports of a run; the first report is the *tap*'s."""
    faults = [f"Line {fault['line']:,} of {tap}'s output {fault['problem']}" for report in reports[:1] if (fault := report.get("fault"))]
    return list(dict.fromkeys([*faults, *(str(text) for report in reports for text in report.get("warnings", []))]))


def printed_error(log: bytes) -> dict[str, str] | None:
    """Return the error that the entrypoint printed: with a full disk it cannot write a report."""
    text = log[-TAIL_BYTES:].decode("utf-8", "replace")
    match = re.search(r"^(E-[A-Z-]+)  (.+)\n→ (.+)$", text, re.MULTILINE)
    return {"code": match[1], "problem": match[2], "hint": match[3]} if match else None


def last_words(log: bytes, most: int = 300) -> str:
    """Return the line of a log that explains the failure, without prefix and final punctuation.

    It is the exception of a traceback at the end, else the last line. The errors before a summary
    replace it. A line that ends in a colon includes the next one. An error of syntax includes its
    file and line.
    """
    lines = [line for line in map(plain, log_lines(log[-TAIL_BYTES:])) if line.strip()]
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
    files = PLACE.findall("\n".join(lines[:number])) if SYNTAX.match(text) else []
    where = f" ({shown(Path(files[-1][0]))}, line {files[-1][1]})" if files else ""
    return WRAPPED.sub("", text)[:most].rstrip(".: ") + where


def raised(lines: Sequence[str]) -> int | None:
    """Return the number of the line with the exception, if a traceback ends the log."""
    start = max((number for number, line in enumerate(lines) if line.startswith("Traceback (most recent call last)")), default=len(lines))
    rest = list(enumerate(lines))[start + 1 :]
    first = next((number for number, line in rest if not line.startswith(" ")), None)
    return None if first is None or any(NEW_LINE.match(line) for later, line in rest if later > first) else first


def dbt_words(log: bytes) -> str:
    """Return the first failure in dbt's log: what failed, and why. Empty if there is none."""
    lines = [re.sub(r"^\d\d:\d\d:\d\d", "", line).strip() for line in log_lines(log[-TAIL_BYTES:])]
    for number, line in enumerate(lines):
        failed = re.match(r"Failure in (.+)|Encountered an error:", line)
        if failed:
            reasons = [text for text in lines[number + 1 :] if text and not re.match(r"\w+ Error( in |$)", text)]
            return ": ".join(filter(None, [failed[1], *reasons[:1]])).rstrip(". ")
    return ""


def transformed(log: bytes) -> str:
    """Return how many models and tests of a transform passed, in words."""
    match = re.search(rb"Done\. PASS=(\d+) WARN=(\d+)", log)
    if match is None:
        return "done"
    return f"{int(match[1])} models and tests passed" + (f", {int(match[2])} warned" if int(match[2]) else "")
