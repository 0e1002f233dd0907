"""One file for asking for help: what doctor has seen, versions, settings, the platform, the newest runs, the ends of logs. No secrets.

Two nets, one behind the other: every value that is known to be secret is taken out wherever it stands, in each form in
which programs write it; then whatever looks like one.
"""

from __future__ import annotations

import base64
import json
import os
import platform
import re
import sys
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, quote_plus, unquote, urlsplit

from cluster import kept, plan
from cluster.connectors import secret_names
from cluster.converge import look
from cluster.doctor.limits import within
from cluster.errors import SetupError
from cluster.files import file_errors, private_folder
from cluster.programs import run, which
from cluster.runs import History
from cluster.settings import DEFAULTS
from cluster.stack import ROOT_SECRET, USER_SECRET
from cluster.steps import NOTIFY_URL
from cluster.store import open_store

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from cluster.doctor.checks import Machine
    from cluster.runs import Record

SECONDS = 10
"""For the platform to say how it is."""
RUNS, LOGS, LINES = 5, 8, 60
HIDDEN = "***"
SHORT = 4
"""A value shorter than this is only taken out where it stands alone: else nothing could be read any more."""
NAME = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|signature|authorization)"
SECRET_NAME = re.compile(rf"{NAME}|webhook|(?:^|_)(?:pass|auth)(?:$|_)|_pwd$|(?:^|_)key$", re.IGNORECASE)
"""What keys of configs and variables are called whose values are secret."""
TRIVIAL = {"true", "false", "none", "null"}
"""No secrets, whatever a variable with them is called."""
LOOKS = (
    (re.compile(r"(?<=://)[^/\s\"']+@"), f"{HIDDEN}@"),
    (re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"), HIDDEN),
    (re.compile(r"(\\?\"auth\\?\"\s*:\s*)\\?\"[^\"]*\"", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(basic|bearer)\s+[\w.~+/=-]{6,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (
        re.compile(rf"(\b[\w-]*{NAME}[\w-]*[\\\"']*\s*[=:]\s*)(\\?\"[^\"\n]*\"|'[^'\n]*'|[^\s\"',;&)}}\]]+)", re.IGNORECASE),
        rf"\1{HIDDEN}",
    ),
)
"""What looks like a secret, whoever wrote it: users in addresses, private keys, JSON Web Tokens, headers, ``password=…``."""


def write(machine: Machine, findings: Sequence[str]) -> Path:
    """Write the file, for the user's eyes only, and return where it is.

    :raises SetupError: E-DISK, E-STORE, it cannot be written.
    """
    silence = [f"no answer within {SECONDS} s"]
    nothing: tuple[list[str], list[str]] = (silence, [])
    platform_lines, passwords = within(SECONDS, partial(_platform, machine), nothing)
    known = {*_known(machine), *passwords}
    parts = {
        "Doctor": list(findings),
        "Versions": _versions(machine),
        "Settings": _settings(machine),
        "Platform": platform_lines,
        "Runs": within(SECONDS, partial(_runs, machine), silence),
        "Logs": list(_logs(machine.settings.local / "logs")),
    }
    text = "\n".join(f"## {title}\n\n" + "\n".join(lines) + "\n" for title, lines in parts.items())
    file = machine.settings.local / f"support-{datetime.now(UTC):%Y%m%dt%H%M%S}.txt"
    with file_errors("The file", file):
        private_folder(file.parent)
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8", errors="replace") as target:
            target.write(redacted(text, known))
    return file


# ------------------------------------------------------------------------------------------------------------ secrets


def redacted(text: str, known: Iterable[str]) -> str:
    """Return *text* without the values that are *known* to be secret, and without what looks like one."""
    forms = {form for value in known for form in _forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN) if len(form) >= SHORT else re.sub(rf"(?<![\w*]){re.escape(form)}(?![\w*])", HIDDEN, text)
    for pattern, instead in LOOKS:
        text = pattern.sub(instead, text)
    return text


def _forms(value: str) -> Iterator[str]:
    """Yield the forms in which a value may be written: as it is, each of its lines, in an address, in JSON, in base64.

    Of an address what is long in its path and query counts for itself: so webhooks are made.
    """
    long = re.findall(r"[^/?&=#]{8,}", value.partition("://")[2].partition("/")[2]) if "://" in value else []
    for part in {value, *value.splitlines(), *long}:
        if part.strip():
            yield from (part, part.strip(), quote(part, safe=""), quote_plus(part), unquote(part), json.dumps(part)[1:-1])
            yield json.dumps(part, ensure_ascii=False)[1:-1]
            yield base64.b64encode(part.encode(errors="surrogateescape")).decode()


def _known(machine: Machine) -> Iterator[str]:
    """Yield every value that is known to be secret."""
    settings = machine.settings
    with suppress(OSError):
        yield from _values((settings.root / ".env").read_text(encoding="utf-8", errors="replace"))
    asked = {NOTIFY_URL}
    for file in settings.configs.glob("**/*.json"):
        with suppress(OSError, ValueError, RecursionError):
            asked |= set(secret_names(file))
            yield from _typed(json.loads(file.read_bytes()))
    named = {name: value for name, value in machine.environ.items() if SECRET_NAME.search(name) and value.lower() not in TRIVIAL}
    for value in [*named.values(), *(machine.environ[name] for name in asked & machine.environ.keys())]:
        yield value
        with suppress(ValueError, RecursionError):
            yield from _typed(json.loads(value), secret=True)
    urls = [*machine.environ.values(), settings.proxy, machine.network.http, machine.network.https]
    yield from (part for url in urls for part in _logins(url))
    with suppress(SetupError):
        yield from (value for values in kept.kept_secrets(settings).values() for value in values.values())


def _values(text: str) -> Iterator[str]:
    """Yield what stands behind each ``=`` of a ``.env``, also of one that cannot be parsed: with its quotes and comments, and without."""
    for line in text.splitlines():
        raw = (line.partition("=")[2] or line).strip()
        bare = re.sub(r"\s+#.*$", "", raw)
        yield from filter(None, (raw, bare, bare.strip("'\"")))


def _typed(config: object, *, secret: bool = False) -> Iterator[str]:
    """Yield the values in a config whose keys sound like secrets and that somebody has typed in there."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _typed(value, secret=secret or bool(SECRET_NAME.search(str(key))))
    elif isinstance(config, list):
        for value in config:
            yield from _typed(value, secret=secret)
    elif secret and isinstance(config, str) and "${" not in config:
        yield config


def _logins(url: str) -> Iterator[str]:
    """Yield user and password of an address."""
    with suppress(ValueError):
        known = urlsplit(url).netloc.rpartition("@")[0]
        yield from filter(None, (known, known.partition(":")[2] or known))


# -------------------------------------------------------------------------------------------------------------- parts


def _versions(machine: Machine) -> list[str]:
    """Return what runs here, in which version."""
    found = [f"system    {platform.platform()}", f"python    {sys.version.splitlines()[0]}"]
    asked = {"git": ("rev-parse", "HEAD"), machine.settings.provider: ("version",)}
    with suppress(SetupError):
        asked[machine.runtime.program] = ("version",)
    for name, words in asked.items():
        if which(name):
            place = ["-C", str(machine.settings.root)] if name == "git" else []
            said = run([name, *place, *words], seconds=SECONDS)
            found += [f"{name}  {line}" for line in (said.stdout or said.stderr).splitlines()]
    return found


def _settings(machine: Machine) -> list[str]:
    """Return the settings that are not the defaults, and the variables that other programs go by."""
    values = {key: getattr(machine.settings, key) for key in DEFAULTS}
    lines = [f"{key} = {value}" for key, value in values.items() if value != DEFAULTS[key]] or ["the defaults"]
    names = re.compile(
        r"(INVOKE_|UV_|PIP_|KIND_|DOCKER_(HOST|CONTEXT|CONFIG)$|MINIKUBE_|KUBECONFIG|.*_PROXY$|.*_CA_BUNDLE$|SSL_CERT)", re.IGNORECASE
    )
    return lines + [f"{name}={value}" for name, value in sorted(machine.environ.items()) if names.match(name)]


def _platform(machine: Machine) -> tuple[list[str], list[str]]:
    """Return how each part of the platform is, and the passwords in it, which must not be written."""
    stack, passwords = machine.stack, []
    if stack is None or not stack.instance.cluster:
        return [str(machine.trouble or "none")], []
    found = look(plan.up(stack.settings), stack)
    with suppress(SetupError):
        passwords = [value for name in (ROOT_SECRET, USER_SECRET) for value in (stack.secret(name) or {}).values()]
    return [f"{title}: {why or 'in place'}" for title, why in found.items()], passwords


def _runs(machine: Machine) -> list[str]:
    """Return the records of the newest runs of either engine."""
    stack, settings = machine.stack, machine.settings
    records = []
    try:
        records += History(open_store(settings, _with_dotenv(machine)), settings).newest(limit=RUNS)
        if stack is not None and stack.instance.complete:
            records += stack.history.newest(limit=RUNS)
    except SetupError as error:
        return [*map(_record, records), f"{error.code}  {error.problem}"]
    return [*map(_record, records)] or ["none"]


def _record(record: Record) -> str:
    return json.dumps(asdict(record), indent=1)


def _with_dotenv(machine: Machine) -> Mapping[str, Any]:
    return machine.stack.environ if machine.stack else machine.environ


def _logs(folder: Path) -> Iterator[str]:
    """Yield the ends of the newest logs."""
    files = [file for file in folder.glob("**/*") if file.is_file()]
    for file in sorted(files, key=lambda file: file.stat().st_mtime, reverse=True)[:LOGS]:
        with suppress(OSError), file.open("rb") as log:
            log.seek(max(0, file.stat().st_size - LINES * 400))
            lines = log.read().decode("utf-8", "replace").splitlines()[-LINES:]
            yield "\n".join([f"### {file.relative_to(folder)}", *lines, ""])
