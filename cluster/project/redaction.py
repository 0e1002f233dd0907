"""Taking secrets out of what is passed on: two nets, one behind the other.

First every value that is known to be secret, wherever it stands, in each form in which programs write it; then whatever
looks like one.
"""

from __future__ import annotations

import base64
import html
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, urlsplit

from cluster.config.settings import ENVIRONMENTS
from cluster.errors import SetupError
from cluster.project.dotenv import parse_dotenv
from cluster.project.secrets import is_secret_key, secret_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cluster.config.settings import Settings

HIDDEN = "***"
SHORT = 4
"""A value shorter than this is only taken out where it stands alone: else nothing could be read any more."""
NAME = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|signature|authorization)"
KEY = r"(?:^|(?<!primary)(?<!replication)_)key$"
SECRET_NAME = re.compile(rf"{NAME}|webhook|notify_url|(?:^|_)(?:pass|auth)(?:$|_)|_pwd$|{KEY}", re.IGNORECASE)
"""What keys of configs and variables may be called whose values are secret: more than ``is_secret_key``, which refuses, is sure of."""
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


def sounds_secret(name: str) -> bool:
    """Say whether what a key or variable of that name holds is better taken out."""
    return bool(SECRET_NAME.search(name)) or is_secret_key(name)


def redacted(text: str, known: Iterable[str]) -> str:
    """Return *text* without the values that are *known* to be secret, and without what looks like one."""
    forms = {form for value in known for form in written_forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN) if len(form) >= SHORT else re.sub(rf"(?<![\w*]){re.escape(form)}(?![\w*])", HIDDEN, text)
    for pattern, instead in LOOKS:
        text = pattern.sub(instead, text)
    return text


def written_forms(value: str) -> set[str]:
    """Return the forms in which programs write a value: as it is, quoted for URLs, JSON, Python and HTML, in base64.

    In base64 a value has one of three forms inside a longer text, by its position; ``user:password`` is the usual case.
    The entrypoint has the same function, because it runs alone on a connector's Python; a test compares the two. Of an
    address each long part of its path and query counts as a value: webhooks carry their secrets there.
    """
    forms: set[str] = set()
    long = re.findall(r"[^/?&=#]{8,}", value.partition("://")[2].partition("/")[2]) if "://" in value else []
    for part in {value, *value.splitlines(), *long}:
        if not part.strip():
            continue
        encoded = part.encode("utf-8", "surrogateescape")
        forms |= {part, part.strip(), quote(part, safe="", errors="replace"), quote_plus(part, errors="replace"), unquote(part)}
        forms |= {json.dumps(part)[1:-1], json.dumps(part, ensure_ascii=False)[1:-1], repr(part)[1:-1], html.escape(part)}
        forms |= {base64.b64encode(encoded).decode(), base64.urlsafe_b64encode(encoded).decode()}
        for before in range(3):
            known = (8 * (before + len(encoded))) // 6
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                inner = encode(bytes(before) + encoded).decode()[(8 * before + 5) // 6 : known]
                if len(inner) >= 2 * SHORT:
                    forms.add(inner)
    return forms - {""}


def known(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """Yield every value that is known to be secret: of ``.env``, configs, the environment, and logins in addresses."""
    for file in settings.root.glob(".env*"):  # those of every environment
        with suppress(OSError):
            text = file.read_text(encoding="utf-8", errors="replace")
            yield from _values(text)
            with suppress(SetupError):  # the values as connectors get them
                yield from parse_dotenv(text, file.name).values()
    asked: set[str] = set()
    for file in [*settings.configs.glob("**/*.json"), *(settings.root / ENVIRONMENTS).glob("**/*.json")]:
        with suppress(OSError, ValueError, RecursionError):
            asked |= set(secret_names(file))
            content = json.loads(file.read_bytes())
            if not (isinstance(content, dict) and "streams" in content):  # a catalog only describes
                yield from _typed(content)
    named = {name: value for name, value in environ.items() if sounds_secret(name) and value.lower() not in TRIVIAL}
    for value in [*named.values(), *(environ[name] for name in asked & environ.keys())]:
        yield value
        with suppress(ValueError, RecursionError):
            yield from _typed(json.loads(value), secret=True)
    yield from (part for url in [*environ.values(), settings.proxy] for part in _logins(url))


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
            yield from _typed(value, secret=secret or sounds_secret(str(key)))
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
