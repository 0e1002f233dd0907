"""Secrets in the cluster: the keys of the store, and the login of the image registry."""

from __future__ import annotations

import json
import secrets
from base64 import b64decode
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from cluster.containers.registry import LOGINS, host_of
from cluster.containers.runtime import registry_of
from cluster.errors import SetupError
from cluster.kube import documents
from cluster.kube.rbac import visible
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.config.settings import Settings
    from cluster.kube.client import Kube

Keys = dict[str, str]
KEYS = {"accesskey": "AWS_ACCESS_KEY_ID", "secretkey": "AWS_SECRET_ACCESS_KEY"}
"""The keys in a Secret of the store, and the variables with the keys of an existing S3."""
ROOT_SECRET = "argo-artifacts-root"  # noqa: S105 - its name
USER_SECRET = "argo-artifacts"  # noqa: S105 - its name
PULL_TYPE = "kubernetes.io/dockerconfigjson"
PULL_KEY = ".dockerconfigjson"
"""The type of a Secret for pulling images, and its key with the content of Docker's
``config.json``."""


@dataclass(frozen=True)
class Credentials:
    """The Secrets of one installation."""

    settings: Settings
    environ: Mapping[str, str]
    labels: dict[str, str]
    kube: Callable[[], Kube]
    """Opens the cluster's API."""

    # -- any Secret of ours

    def secret(self, name: str) -> Keys | None:
        """Return the values of a Secret; None if it is missing or empty."""
        data = (self.kube().get("Secret", name, self.settings.namespace) or {}).get("data") or {}
        return {key: b64decode(value).decode() for key, value in data.items()} or None

    def make(self, name: str, values: Mapping[str, str]) -> None:
        """Create or replace a Secret."""
        metadata = {"name": name, "namespace": self.settings.namespace}
        document = {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "type": "Opaque", "stringData": dict(values)}
        self.kube().apply(documents.labelled(document, self.labels))

    # -- the store

    def keys(self, secret: str = "") -> Keys | None:
        """Return the keys of pipelines, or those in *secret*; None if pod identity opens the store.

        :raises SetupError: E-STORE, there are no keys yet; E-SECRET, we may not read them and none
            are set here.
        """
        set_here = {name: self.environ.get(variable, "") for name, variable in KEYS.items()}
        own = set_here if all(set_here.values()) else None
        if not secret and self.settings.s3_credentials == "identity":
            return own
        name = secret or self.settings.s3_secret
        forbidden: Keys | None = {}
        keys = visible(partial(self.secret, name), forbidden)
        if keys is forbidden:  # who may not read Secrets may have keys of their own
            if own is None:
                raise SetupError(
                    "E-SECRET",
                    f"You may not read the Secret {name}, and no keys of your own are set.",
                    hint="Put AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY into .env, or ask for the role singer-operator.",
                )
            return own
        if keys is None:
            raise SetupError("E-STORE", "The store has no credentials yet.", hint=f"{command('up')} creates them.")
        return keys

    def missing(self) -> list[str]:
        """Return the store's Secrets that are missing or empty, if we may read them."""
        if self.settings.store == "install":
            names: tuple[str, ...] = (ROOT_SECRET, USER_SECRET)
        else:
            names = () if self.settings.s3_credentials == "identity" else (self.settings.s3_secret,)
        forbidden: Keys | None = {}
        return [name for name in names if visible(partial(self.secret, name), forbidden) is None]

    def ensure(self, saved: Mapping[str, Keys]) -> None:
        """Create the Secrets of the store that are missing.

        *saved* are credentials that belong to restored data.

        :raises SetupError: E-SECRET, the keys of an existing S3 are not set, or its Secret is
            missing.
        """
        if self.settings.s3_credentials != "keys":
            self._need_secret()
        elif self.settings.store == "use":
            self._copy_keys()
        else:
            for name, user in ((ROOT_SECRET, "root"), (USER_SECRET, "pipeline")):
                if not self.secret(name):
                    self.make(name, saved.get(name) or _random_keys(user))

    def _need_secret(self) -> None:
        for name in self.missing():
            raise SetupError(
                "E-SECRET",
                f"The Secret {name} is not in the namespace {self.settings.namespace}, or it is empty.",
                hint=f"Ask the owner of the bucket to create it with the keys {' and '.join(KEYS)}; or correct singer.s3_secret.",
            )

    def _copy_keys(self) -> None:
        for variable in KEYS.values():
            if not self.environ.get(variable):
                raise SetupError(
                    "E-SECRET",
                    f"store is use, and {variable} is not set.",
                    hint=f"Put {variable}=… into .env, or set it in the environment.",
                )
        wanted = {key: self.environ[variable] for key, variable in KEYS.items()}
        if self.secret(self.settings.s3_secret) != wanted:
            self.make(self.settings.s3_secret, wanted)

    # -- the image registry

    def pull_trouble(self) -> str | None:
        """Return what is wrong with the pull secret; None if nothing is, or we may not read it."""
        name, namespace = self.settings.pull_secret, self.settings.namespace
        forbidden: documents.Document | None = {}
        live = visible(lambda: self.kube().get("Secret", name, namespace), forbidden) if name else forbidden
        if live is forbidden:
            return None
        if live is None:
            return f"the Secret {name} is not in the namespace {namespace}"
        if live.get("type") != PULL_TYPE:
            return f"the Secret {name} has the type {live.get('type')}, not {PULL_TYPE}"
        host = registry_of(self.settings.registry)
        try:
            logins = json.loads(b64decode(live["data"][PULL_KEY]))["auths"]
            known = {host_of(address) for address in logins}
        except (KeyError, ValueError, TypeError):
            return f"the Secret {name} holds no logins"
        if self.settings.registry and LOGINS.get(host, host) not in known:
            return f"the Secret {name} has no login for {host}"
        return None


def _random_keys(user: str) -> Keys:
    return {"accesskey": f"{user}-{secrets.token_hex(4)}", "secretkey": secrets.token_urlsafe(24)}
