"""The file ``instance.json``: id, ports and cluster of an installation.

A checkout has one installation in each environment. All other facts come from the cluster.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

from cluster.host.files import file_errors, private_folder, write_private

if TYPE_CHECKING:
    from pathlib import Path

PORTS = ("port_argo", "port_s3", "port_console")
NODE_NETWORK = "told"
"""The key keeps the name that earlier versions gave it, so that either version reads the other's
file."""


class Instance:
    """The ``instance.json`` of an environment, written at each change."""

    def __init__(self, file: Path, name: str = "") -> None:
        """Read the file.

        Without a file this is a new instance, not written yet. *name* replaces its id.
        """
        self.file = file
        self._name = name
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            content = {}
        self._facts: dict[str, Any] = content if isinstance(content, dict) else {}
        self._facts.setdefault("id", secrets.token_hex(4))
        self._lock = threading.RLock()  # steps run in parallel
        self.making = False
        """Whether this process creates the cluster now. It is not in the file."""
        self.moved: dict[int, int] = {}
        """Preferred ports that another program uses, each with its replacement."""

    @property
    def id(self) -> str:
        """The value of the label on our objects."""
        return self._name or str(self._facts["id"])

    @property
    def ports(self) -> dict[str, int]:
        """The ports on 127.0.0.1, by the names of their settings."""
        return dict(self._facts.get("ports", {}))

    @property
    def complete(self) -> bool:
        """Whether the creation of the cluster succeeded."""
        return bool(self._facts.get("complete"))

    def owns(self, cluster: str) -> bool:
        """Return whether this checkout made, or began to make, the cluster of that name."""
        return self._facts.get("cluster") == cluster

    def choose_ports(self, preferred: dict[str, int]) -> None:
        """Keep the ports of an existing cluster, or choose free ones from the preferred up.

        Writes nothing.
        """
        if self._facts.get("cluster") and self.ports:
            return
        from cluster.containers.ports import free  # noqa: PLC0415 - a run on this machine needs no port

        chosen: dict[str, int] = {}
        for name in PORTS:
            port = preferred[name]
            while port in chosen.values() or not free(port):
                port += 1
            chosen[name] = port
            if not free(preferred[name]):
                self.moved[preferred[name]] = port
        self._facts["ports"] = chosen

    @property
    def provider(self) -> str:
        """The provider of the cluster; empty without one."""
        return str(self._facts.get("provider", "kind")) if self._facts.get("cluster") else ""

    @property
    def cluster(self) -> str:
        """The name of the cluster; empty without one."""
        return str(self._facts.get("cluster", ""))

    @property
    def server(self) -> str:
        """The address of the API server of an existing cluster; empty for one that we make."""
        return str(self._facts.get("server", ""))

    def claim(self, cluster: str, provider: str = "kind", server: str = "") -> None:
        """Remember that we are about to create, or use, a cluster."""
        with self._lock:
            self._facts.update(cluster=cluster, provider=provider, server=server, complete=False, **{NODE_NETWORK: False})
            self._save()

    @property
    def maker(self) -> int:
        """The process that creates the cluster; 0 without one."""
        return int(self._facts.get("maker", 0))

    def made_by(self, process: int) -> None:
        """Remember the process that creates the cluster: it continues if we are killed."""
        self.making = True
        with self._lock:
            self._facts["maker"] = process
            self._save()

    @property
    def pushed(self) -> list[str]:
        """Images that were seen in the cluster's registry.

        Their names are hashes of their content.
        """
        return list(self._facts.get("pushed", []))

    def saw_pushed(self, image: str) -> None:
        """Remember that the cluster's registry has an image."""
        with self._lock:
            if image not in self.pushed:
                self._facts["pushed"] = [*self.pushed, image]
                self._save()

    @property
    def brought(self) -> list[str]:
        """What we added to this machine outside of the cluster: ``image …`` and ``network …``."""
        return list(self._facts.get("brought", []))

    def bring(self, *things: str) -> None:
        """Remember what we are about to add to this machine."""
        with self._lock:
            new = [thing for thing in things if thing not in self.brought]
            if new:
                self._facts["brought"] = [*self.brought, *new]
                self._save()

    def took_away(self, thing: str) -> None:
        """Remember that something we had added is removed again."""
        with self._lock:
            self._facts["brought"] = [other for other in self.brought if other != thing]
            self._save()

    @property
    def node_network_configured(self) -> bool:
        """Whether the cluster's node has a proxy or certificates from us."""
        return bool(self._facts.get(NODE_NETWORK))

    def configured_network(self, *, configured: bool) -> None:
        """Remember whether the cluster's node has a proxy or certificates from us."""
        with self._lock:
            self._facts[NODE_NETWORK] = configured
            self._save()

    def finish(self) -> None:
        """Remember that the cluster is complete."""
        with self._lock:
            self._facts["complete"] = True
            self._facts.pop("maker", None)
            self._save()

    def forget(self) -> None:
        """Forget the cluster, but not the id and what we added to this machine."""
        with self._lock:
            self._facts = {"id": self._facts["id"], **({"brought": self.brought} if self.brought else {})}
            self.making = False
            self._save()

    def _save(self) -> None:
        with file_errors("The instance", self.file):
            private_folder(self.file.parent)
            part = self.file.with_name(f".{self.file.name}")
            write_private(part, json.dumps(self._facts, indent=1))
            part.replace(self.file)
