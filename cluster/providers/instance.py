"""What this checkout remembers of an installation: who it is, its ports, and the cluster it began to make.

One checkout, one instance in each environment. Everything else is asked of the cluster itself.
"""

from __future__ import annotations

import json
import secrets
import threading
from typing import TYPE_CHECKING, Any

from cluster.containers.ports import free
from cluster.host.files import file_errors, private_folder, write_private

if TYPE_CHECKING:
    from pathlib import Path

PORTS = ("port_argo", "port_s3", "port_console")


class Instance:
    """The file ``instance.json`` of an environment, written whenever something in it changes."""

    def __init__(self, file: Path, name: str = "") -> None:
        """Read the file; where there is none this is a new instance, and nothing is written yet. A *name* that was chosen is its id."""
        self.file = file
        self._name = name
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            found = {}
        self._facts: dict[str, Any] = found if isinstance(found, dict) else {}
        self._facts.setdefault("id", secrets.token_hex(4))
        self._lock = threading.RLock()  # steps run at the same time
        self.making = False
        """Whether this very process makes the cluster now. Not remembered: whoever reads the file later does not."""
        self.moved: dict[int, int] = {}
        """Preferred ports that somebody else has, each with the one that was chosen instead."""

    @property
    def id(self) -> str:
        """What our objects are labelled with."""
        return self._name or str(self._facts["id"])

    @property
    def ports(self) -> dict[str, int]:
        """The ports on 127.0.0.1, by the names of their settings."""
        return dict(self._facts.get("ports", {}))

    @property
    def complete(self) -> bool:
        """Whether the creation of the cluster came to its end."""
        return bool(self._facts.get("complete"))

    def owns(self, cluster: str) -> bool:
        """Say whether this checkout made, or began to make, the cluster of that name."""
        return self._facts.get("cluster") == cluster

    def choose_ports(self, preferred: dict[str, int]) -> None:
        """Keep the ports of a cluster that is there; else take the preferred ones, or the next that are free. Nothing is written yet."""
        if self._facts.get("cluster") and self.ports:
            return
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
        """Where the cluster came from that is remembered; nothing where none is."""
        return str(self._facts.get("provider", "kind")) if self._facts.get("cluster") else ""

    @property
    def cluster(self) -> str:
        """The name of the cluster that is remembered; nothing where none is."""
        return str(self._facts.get("cluster", ""))

    @property
    def server(self) -> str:
        """The address of the API server of a cluster that was there already; nothing of one that we make."""
        return str(self._facts.get("server", ""))

    def claim(self, cluster: str, provider: str = "kind", server: str = "") -> None:
        """Write down that a cluster is about to be made, or used, by us."""
        with self._lock:
            self._facts.update(cluster=cluster, provider=provider, server=server, complete=False, told=False)
            self._save()

    @property
    def maker(self) -> int:
        """The process that makes, or last made, the cluster; 0 where there is none."""
        return int(self._facts.get("maker", 0))

    def made_by(self, process: int) -> None:
        """Write down which process makes the cluster: it goes on if we are killed."""
        self.making = True
        with self._lock:
            self._facts["maker"] = process
            self._save()

    @property
    def pushed(self) -> list[str]:
        """The images that the cluster's registry was seen to have. Their names are hashes of their content: they stay what they are."""
        return list(self._facts.get("pushed", []))

    def saw_pushed(self, image: str) -> None:
        """Write down that the cluster's registry has an image."""
        with self._lock:
            if image not in self.pushed:
                self._facts["pushed"] = [*self.pushed, image]
                self._save()

    @property
    def brought(self) -> list[str]:
        """What was not on this machine before us and is not in the cluster: ``image …`` and ``network …``."""
        return list(self._facts.get("brought", []))

    def bring(self, *things: str) -> None:
        """Write down what we are about to bring to this machine."""
        with self._lock:
            new = [thing for thing in things if thing not in self.brought]
            if new:
                self._facts["brought"] = [*self.brought, *new]
                self._save()

    def took_away(self, thing: str) -> None:
        """Write down that something we had brought is gone again."""
        with self._lock:
            self._facts["brought"] = [other for other in self.brought if other != thing]
            self._save()

    @property
    def told(self) -> bool:
        """Whether the cluster's node goes by a proxy or certificates that we gave it."""
        return bool(self._facts.get("told"))

    def tell(self, *, told: bool) -> None:
        """Write down whether the cluster's node goes by a proxy or certificates of ours."""
        with self._lock:
            self._facts["told"] = told
            self._save()

    def finish(self) -> None:
        """Write down that the cluster is made."""
        with self._lock:
            self._facts["complete"] = True
            self._facts.pop("maker", None)
            self._save()

    def forget(self) -> None:
        """Forget the cluster; the instance keeps its id, and what it has brought to this machine."""
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
