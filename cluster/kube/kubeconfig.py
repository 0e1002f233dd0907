"""Copies one context of the user's kubeconfig into a separate file. Never writes the user's."""

from __future__ import annotations

import os
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import yaml

from cluster.config.strict import describe, listed, nearest
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private

if TYPE_CHECKING:
    from collections.abc import Mapping

FILES = {"cluster": ("certificate-authority",), "user": ("client-certificate", "client-key", "tokenFile")}
"""Keys with paths, which are relative to the kubeconfig."""
HERE = ("localhost", "kubernetes.docker.internal", "host.docker.internal")
LOCAL_NAMES = ("docker-desktop", "rancher-desktop", "orbstack", "colima", "minikube", "kind-", "k3d-")
PRIVATE = tuple(map(ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")))


class Context:
    """A context with its cluster and user: what is needed to reach one cluster."""

    def __init__(self, name: str, cluster: dict[str, Any], user: dict[str, Any]) -> None:
        """Take the three parts of a kubeconfig, with absolute paths."""
        self.name = name
        self.cluster = cluster
        self.user = user

    @property
    def server(self) -> str:
        """The address of the API server."""
        return str(self.cluster.get("server", ""))

    @property
    def is_local(self) -> bool:
        """Whether the cluster looks local: by its address, or by name and a private address."""
        host = urlsplit(self.server).hostname or ""
        try:
            address = ip_address(host)
        except ValueError:
            return host in HERE
        private = any(address in network for network in PRIVATE)
        return address.is_loopback or address.is_unspecified or (private and self.name.startswith(LOCAL_NAMES))

    def save(self, file: Path) -> None:
        """Write it as a kubeconfig for the user's eyes only, unless that is what the file holds."""
        content = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": self.name,
            "contexts": [{"name": self.name, "context": {"cluster": self.name, "user": self.name}}],
            "clusters": [{"name": self.name, "cluster": self.cluster}],
            "users": [{"name": self.name, "user": self.user}],
        }
        text = yaml.safe_dump(content, sort_keys=False)
        with file_errors("The kubeconfig", file):
            if file.exists() and file.read_text(encoding="utf-8") == text:
                return
            private_folder(file.parent)
            part = file.with_name(f".{file.name}")
            write_private(part, text)
            part.replace(file)


def files(environ: Mapping[str, str]) -> list[Path]:
    """Return the user's kubeconfig files: of ``KUBECONFIG``, else of the home folder."""
    named = [Path(part).expanduser() for part in environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    return named or [Path(environ.get("HOME") or Path.home()) / ".kube" / "config"]


def find(name: str, environ: Mapping[str, str]) -> Context:
    """Return the context *name* of the user's kubeconfig, by default a local current one.

    :raises SetupError: E-CONTEXT, there is none of that name, or the current one is not local.
    """
    contexts, clusters, users, current = _merged(environ)
    if not name and not current:
        raise SetupError(
            "E-CONTEXT",
            f"No context is named, and your kubeconfig has no current one. Contexts are: {listed(contexts)}.",
            hint="Name one: INVOKE_SINGER_CONTEXT=…, or singer.context in invoke.yaml.",
        )
    chosen = name or current
    if chosen not in contexts:
        raise SetupError(
            "E-CONTEXT",
            f"There is no context {describe(chosen)} in {', '.join(map(str, files(environ)))}.{nearest(chosen, contexts)} "
            f"Contexts are: {listed(contexts)}.",
            hint="Name one of these: INVOKE_SINGER_CONTEXT=…, or singer.context in invoke.yaml.",
        )
    entry = contexts[chosen]
    missing = [
        f"{kind} {describe(entry.get(kind))}" for kind, known in (("cluster", clusters), ("user", users)) if entry.get(kind) not in known
    ]
    if missing:
        raise SetupError(
            "E-CONTEXT",
            f"The context {chosen} names the {' and the '.join(missing)}, which your kubeconfig does not have.",
            hint="Make the kubeconfig anew with the program of that cluster, then run it again.",
        )
    context = Context(chosen, clusters[entry["cluster"]], users[entry["user"]])
    if not name and not context.is_local:
        raise SetupError(
            "E-CONTEXT",
            f"Your current context {chosen} at {context.server} does not look like a cluster on this machine.",
            hint=f"If it is the one you mean, name it: INVOKE_SINGER_CONTEXT={chosen}",
        )
    return context


def on_this_machine(environ: Mapping[str, str]) -> list[str]:
    """Return the contexts of clusters on this machine; none without a readable kubeconfig."""
    try:
        contexts, clusters, users, _ = _merged(environ)
    except SetupError:
        return []
    whole = [(name, entry) for name, entry in contexts.items() if entry.get("cluster") in clusters and entry.get("user") in users]
    return [name for name, entry in whole if Context(name, clusters[entry["cluster"]], users[entry["user"]]).is_local]


def _merged(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any], str]:
    """Return contexts, clusters, users and the current context. The first of a name counts."""
    named: dict[str, dict[str, Any]] = {"context": {}, "cluster": {}, "user": {}}
    current = ""
    for file in files(environ):
        try:
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for kind, entries in named.items():
                for item in content.get(f"{kind}s") or []:
                    entries.setdefault(str(item["name"]), _absolute(kind, item.get(kind) or {}, file.parent))
            current = current or str(content.get("current-context") or "")
        except FileNotFoundError:
            continue
        except (OSError, ValueError, yaml.YAMLError, AttributeError, KeyError, TypeError):
            raise SetupError(
                "E-CONTEXT", f"{file} cannot be read as a kubeconfig.", hint="Correct it, or name another file in KUBECONFIG."
            ) from None
    return named["context"], named["cluster"], named["user"], current


def _absolute(kind: str, entry: dict[str, Any], folder: Path) -> dict[str, Any]:
    return {key: str(folder / value) if key in FILES.get(kind, ()) and value else value for key, value in entry.items()}
