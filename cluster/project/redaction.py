"""Remove secrets from texts that leave this machine.

``redacted`` replaces two things by ``***``: known secret values, in every form in which programs
write them, and text that looks like a secret.
"""

from __future__ import annotations

import base64
import html
import json
import re
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, quote_plus, unquote, urlsplit

from cluster.errors import SetupError
from cluster.project.dotenv import parse_dotenv
from cluster.project.secrets import config_files, is_secret_key, secret_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cluster.config.settings import Settings

HIDDEN = "***"
SHORT = 4
"""A shorter value is replaced only if it is a whole word, so that the text stays readable."""
NAME = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key|credentials?|signature|authorization)"
KEY = r"(?:^|(?<!primary)(?<!replication)_)key$"
SECRET_NAME = re.compile(rf"{NAME}|webhook|notify_url|(?:^|_)(?:pass|auth)(?:$|_)|_pwd$|{KEY}", re.IGNORECASE)
"""Names of config keys and variables whose values may be secret.

This matches more names than ``is_secret_key``, which must not reject a harmless setting.
"""
TRIVIAL = {"true", "false", "none", "null"}
"""Values that are never secret, whichever variable has them."""
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
"""Texts that look like secrets, with their replacements.

Users in URLs, private keys, JSON Web Tokens, logins to registries, headers, ``password=…``.
"""


def sounds_secret(name: str) -> bool:
    """Return whether a key or variable of this name may hold a secret."""
    return bool(SECRET_NAME.search(name)) or is_secret_key(name)


def redacted(text: str, known: Iterable[str]) -> str:
    """Return *text* without *known* secrets, and without text that looks like a secret."""
    forms = {form for value in known for form in written_forms(value)}
    for form in sorted(forms, key=len, reverse=True):
        text = text.replace(form, HIDDEN) if len(form) >= SHORT else re.sub(rf"(?<![\w*]){re.escape(form)}(?![\w*])", HIDDEN, text)
    for pattern, replacement in LOOKS:
        text = pattern.sub(replacement, text)
    return text


def written_forms(value: str) -> set[str]:
    """Return the value as it is, quoted for URLs, JSON, Python and HTML, and in base64.

    Inside a longer text, such as ``user:password``, base64 encodes a value in one of three ways,
    depending on its position. Webhooks have secrets in their URLs: each long part of a URL's path
    and query counts as a value.

    The entrypoint has a copy without the part about URLs, because it cannot import this module; a
    test compares the two.
    """
    forms: set[str] = set()
    long = re.findall(r"[^/?&=#]{8,}", value.partition("://")[2].partition("/")[2]) if "://" in value else []
    for part in {value, *value.splitlines(), *long}:
        if not part.strip():
            continue
        encoded = part.encode("utf-8", "surrogateescape")
        forms |= {
            part,
            part.strip(),
            quote(part, errors="replace"),
            quote(part, safe="", errors="replace"),
            quote_plus(part, errors="replace"),
            unquote(part),
        }
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
    """Yield the known secrets: in ``.env`` files, configs, environment variables and URLs."""
    for file in settings.root.glob(".env*"):  # of all environments
        with suppress(OSError):
            text = file.read_text(encoding="utf-8", errors="replace")
            yield from _values(text)
            with suppress(SetupError):  # the values as connectors get them
                yield from parse_dotenv(text, file.name).values()
    referenced: set[str] = set()
    for file in config_files(settings.root):
        with suppress(OSError, ValueError, RecursionError):
            referenced |= set(secret_names(file))
            content = json.loads(file.read_bytes())
            if not (isinstance(content, dict) and "streams" in content):  # skip catalogs
                yield from _typed(content)
    named = {name: value for name, value in environ.items() if sounds_secret(name) and value.lower() not in TRIVIAL}
    for value in [*named.values(), *(environ[name] for name in referenced & environ.keys())]:
        yield value
        with suppress(ValueError, RecursionError):
            yield from _typed(json.loads(value), secret=True)
    yield from (part for url in [*environ.values(), settings.proxy] for part in _logins(url))


def _values(text: str) -> Iterator[str]:
    """Yield the value of each line of a ``.env``, with and without quotes and comment.

    This also reads lines that ``.env`` parsers reject.
    """
    for line in text.splitlines():
        raw = (line.partition("=")[2] or line).strip()
        bare = re.sub(r"\s+#.*$", "", raw)
        yield from filter(None, (raw, bare, bare.strip("'\"")))


def _typed(config: object, *, secret: bool = False) -> Iterator[str]:
    """Yield secrets that are typed into a config instead of ``${NAME}``, judged by their keys."""
    if isinstance(config, dict):
        for key, value in config.items():
            yield from _typed(value, secret=secret or sounds_secret(str(key)))
    elif isinstance(config, list):
        for value in config:
            yield from _typed(value, secret=secret)
    elif secret and isinstance(config, str) and "${" not in config:
        yield config


def _logins(url: str) -> Iterator[str]:
    """Yield ``user:password`` and the password of a URL."""
    with suppress(ValueError):
        known = urlsplit(url).netloc.rpartition("@")[0]
        yield from filter(None, (known, known.partition(":")[2] or known))
