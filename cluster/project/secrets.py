"""Secrets in a ``config.json``: their names, their values, and secrets typed into it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

from cluster.config.settings import ENVIRONMENTS, is_web_address
from cluster.config.strict import listed
from cluster.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

SECRET = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
"""The same as in the entrypoint; a test compares the two."""

SECRET_KEY = re.compile(
    r"(^|[_-])(password|passwd|passphrase|secret|token|pat|dsn|credentials?|connection_string|sqlalchemy_url)$"
    r"|(^|[_-])(api|access|account|auth|client|private|secret|signing|encryption)_?key$",
    re.IGNORECASE,
)
"""How keys end whose values are nobody else's business. ``token_url`` and ``access_key_id`` are
none."""


MAPS = "stream_maps"
"""A setting of Meltano's SDK. Its values are expressions, such as ``md5(password)``."""


NOTIFY_URL = "SINGER_NOTIFY_URL"
"""The variable with the address for messages about runs. It is a secret."""


def check_notify_url(known: Mapping[str, str]) -> None:
    """Check the address for messages among the variables that are *known*, if there is one.

    :raises SetupError: E-SETTING, it is no web address. It is not part of the message.
    """
    address = known.get(NOTIFY_URL, "").strip()
    if address and not is_web_address(address):
        problem = f"{NOTIFY_URL} is no web address: no message about a run would arrive."
        raise SetupError("E-SETTING", problem, hint="Correct it in .env or in the environment: https://…, as the service shows it.")


def config_files(root: Path) -> list[Path]:
    """Return the JSON files of all connectors, pipelines and environments, sorted; catalogs too."""
    return sorted(file for folder in ("singer-configs", ENVIRONMENTS) for file in (root / folder).glob("**/*.json"))


def secret_names(file: Path) -> list[str]:
    """Return the names of the secrets that a config asks for, each once, in order.

    A missing file asks for none.
    """
    return secret_names_in(json.loads(file.read_bytes())) if file.exists() else []


def secret_names_in(config: object) -> list[str]:
    """Return the names of the secrets in a config that has been read."""
    names: dict[str, None] = {}

    def look(value: object) -> None:
        if isinstance(value, str):
            names.update((secret[1], None) for secret in SECRET.finditer(value) if secret[1])
        elif isinstance(value, dict):
            for item in value.values():
                look(item)
        elif isinstance(value, list):
            for item in value:
                look(item)

    look(config)
    return list(names)


def may_rotate(file: Path) -> bool:
    """Return whether a config has a ``${NAME}`` at a key with ``token`` in its name.

    Connectors replace such values in their config; a missing file has none.
    """

    def look(value: object, key: str) -> bool:
        if isinstance(value, dict):
            return any(look(item, str(name)) for name, item in value.items())
        if isinstance(value, list):
            return any(look(item, key) for item in value)
        return isinstance(value, str) and "token" in key.lower() and any(secret[1] for secret in SECRET.finditer(value))

    return file.exists() and look(json.loads(file.read_bytes()), "")


def is_secret_key(key: str) -> bool:
    """Return whether a key names a secret: ``api_key``, ``apiKey``, ``auth_token``."""
    return bool(SECRET_KEY.search(re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key)))


def refuse_typed_secrets(config: Mapping[str, Any], connector: str, *, shown: str, known: Collection[str] = ()) -> None:
    """Refuse a secret that is typed into a config.

    It is a secret by *known* keys, by the name of its key, or as the login of an address. An
    expression of a stream map is none.

    :raises SetupError: E-SECRET-TYPED, one does. Its value is no part of the message.
    """
    typed = dict[str, str]()
    for path, value in texts(config):
        key = next((part for part in reversed(path) if not part.isdigit()), "")
        if path[0] != MAPS and (key in known or is_typed_secret(key, value)):
            typed[".".join(path)] = re.sub(r"[^A-Z0-9]+", "_", f"{connector}_{key}".upper())
    if typed:
        them, theirs, hold = ("it", "its", "holds a secret itself") if len(typed) == 1 else ("them", "their", "hold secrets themselves")
        lines, written = (listed(form.format(name) for name in dict.fromkeys(typed.values())) for form in ("{}=…", '"${{{}}}"'))
        raise SetupError(
            "E-SECRET-TYPED",
            f"{shown}: {listed(typed)} {hold}; the file goes into a bucket, and into git.",
            hint=f"Put {them} into .env as {lines} and write {written} in {theirs} place.",
        )


def texts(value: object, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield the texts and numbers in a config with their paths, except ``${NAME}``."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(item, (*path, key))
    elif isinstance(value, list):
        for number, item in enumerate(value):
            yield from texts(item, (*path, str(number)))
    elif isinstance(value, str | int | float) and not isinstance(value, bool):
        text = str(value)
        if text.strip() and not any(secret[1] for secret in SECRET.finditer(text)):
            yield path, text


def is_typed_secret(key: str, text: str) -> bool:
    """Return whether a text is certainly a secret."""
    if re.search(r"://[^/@:\s]*:[^/@\s]+@", text):
        return True
    address = re.search(r"(^|[_-])(dsn|connection_string|sqlalchemy_url)$", key, re.IGNORECASE)
    return is_secret_key(key.replace("-", "_")) and not address and not re.match(r"[~.]?/|[A-Za-z]:\\", text)


def secrets(file: Path, environ: Mapping[str, str], dotenv: Mapping[str, str], *, shown: str) -> dict[str, str]:
    """Return the values of a config's secrets: of the environment, else of ``.env``.

    :raises SetupError: E-SECRET, some are not set, or empty in ``.env``, as in a copy of
        ``.env.example``. Values are never part of a message.
    """
    values = {name: environ.get(name, dotenv.get(name)) for name in secret_names(file)}
    unset = [name for name, value in values.items() if value is None or (value == "" and name not in environ)]
    if unset:
        empty = all(values[name] == "" for name in unset)
        are, them = ("is", "it") if len(unset) == 1 else ("are", "them")
        raise SetupError(
            "E-SECRET",
            f"{shown} asks for {listed(f'${{{name}}}' for name in unset)}, which {are} {'empty in .env' if empty else 'not set'}.",
            hint=f"Put {listed(f'{name}=…' for name in unset)} into .env, or set {them} in the environment.",
        )
    return {name: value or "" for name, value in values.items()}
