"""The Secrets of the store and of the image registry."""

from __future__ import annotations

import json
from base64 import b64decode
from functools import partial
from typing import TYPE_CHECKING

from cluster.containers.registry import LOGINS, host_of
from cluster.containers.runtime import registry_of
from cluster.errors import SetupError
from cluster.platform.backup import kept_secrets
from cluster.platform.handles import KEYS, ROOT_SECRET, USER_SECRET
from cluster.platform.ownership import visible

if TYPE_CHECKING:
    from cluster.kube import documents
    from cluster.platform.handles import Handles
PULL_TYPE = "kubernetes.io/dockerconfigjson"
PULL_KEY = ".dockerconfigjson"
"""Of a Secret that pods pull images with: its type, and the key that holds what Docker's ``config.json`` does."""


# ------------------------------------------------------------------------------------------------------------ secrets


def _secret_names(handles: Handles) -> tuple[str, ...]:
    if handles.settings.store == "install":
        return (ROOT_SECRET, USER_SECRET)
    return () if handles.settings.s3_credentials == "identity" else (handles.settings.s3_secret,)


def unfilled(handles: Handles) -> list[str]:
    """Name the Secrets of the store that are not there or are empty, as far as we may look."""
    hidden: dict[str, str] | None = {"": ""}
    return [name for name in _secret_names(handles) if visible(partial(handles.secret, name), hidden) is None]


def make_credentials(handles: Handles) -> None:
    """Make random credentials once; those that are there stay, and those that were kept with the data come back.

    :raises SetupError: E-SECRET, those of an S3 that is there are not set, or the Secret with them is not there.
    """
    if handles.settings.s3_credentials != "keys":
        for name in unfilled(handles):
            raise SetupError(
                "E-SECRET",
                f"The Secret {name} is not in the namespace {handles.namespace}, or it is empty.",
                hint=f"Let whoever owns the bucket make it, with the keys {' and '.join(KEYS)}; or correct singer.s3_secret.",
            )
        return
    if handles.settings.store == "use":
        missing = [name for name in KEYS.values() if not handles.environ.get(name)]
        if missing:
            raise SetupError(
                "E-SECRET",
                f"store is use, and {missing[0]} is not set.",
                hint=f"Put {missing[0]}=… into .env, or set it in the environment.",
            )
        wanted = {key: handles.environ[name] for key, name in KEYS.items()}
        if handles.secret(handles.settings.s3_secret) != wanted:
            handles.make_secret(handles.settings.s3_secret, wanted)
        return
    kept = kept_secrets(handles.settings)
    for name, user in ((ROOT_SECRET, "root"), (USER_SECRET, "pipeline")):
        if not handles.secret(name):
            handles.make_secret(name, kept.get(name) or handles.new_credentials(user))


def cannot_pull(handles: Handles) -> str | None:
    """Say what is wrong with the Secret that pods pull images with, None where nothing is, as far as we may look."""
    name = handles.settings.pull_secret
    hidden: documents.Document | None = {}
    found = visible(lambda: handles.kube.get("Secret", name, handles.namespace), hidden) if name else hidden
    if found is hidden:
        return None
    if found is None:
        return f"the Secret {name} is not in the namespace {handles.namespace}"
    if found.get("type") != PULL_TYPE:
        return f"the Secret {name} is of the type {found.get('type')}, not {PULL_TYPE}"
    host = registry_of(handles.settings.registry)
    try:
        logins = json.loads(b64decode(found["data"][PULL_KEY]))["auths"]
        known = {host_of(address) for address in logins}
    except (KeyError, ValueError, TypeError):
        return f"the Secret {name} holds no logins"
    if handles.settings.registry and LOGINS.get(host, host) not in known:
        return f"the Secret {name} has no login for {host}"
    return None
