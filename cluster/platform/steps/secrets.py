"""Step: a Secret for each connector that has secrets."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cluster.argo.workflow import NOTIFY
from cluster.errors import SetupError
from cluster.platform.handles import INSTANCE
from cluster.platform.objects import Objects
from cluster.platform.ownership import not_others
from cluster.project.secrets import secret_names, secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.platform.handles import Handles
    from cluster.project.model import Connector
NOTIFY_URL = "SINGER_NOTIFY_URL"
"""The variable, or the line in ``.env``, with the address that is told of failed runs."""
CONNECTOR = "connector-"
"""What the name of a connector's Secret begins with."""


@dataclass(frozen=True)
class ConnectorSecrets:
    """What connectors' configs ask for is in a Secret of each connector. One that others have made is used as it is."""

    title: str = "Connectors' secrets"
    well: str = "as the environment and .env say"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        there = self._there(handles)
        wanted_ = self._wanted(handles, there)
        not_others(handles, [("Secret", name) for name in wanted_])
        for name in self._differing(handles, there, wanted_):
            say(name)
            if wanted_.get(name):
                handles.make_secret(name, wanted_[name])
            else:
                handles.kube.delete("Secret", name, handles.namespace)
        theirs = sum(secret.theirs for secret in there.values())
        return f"{len([name for name, values in wanted_.items() if values])} secrets" + (f", {theirs} of others" if theirs else "")

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        there = self._there(handles)
        differing = self._differing(handles, there, self._wanted(handles, there))
        return f"not up to date: {', '.join(differing)}" if differing else None

    @staticmethod
    def _there(handles: Handles) -> dict[str, _Secret]:
        """Return the Secrets of connectors and of notifications that are in the cluster, by name."""
        found = {item["metadata"]["name"]: item for item in handles.kube.objects("Secret", handles.namespace)}
        return {name: _Secret.of(item) for name, item in found.items() if name == NOTIFY or name.startswith(CONNECTOR)}

    @staticmethod
    def _wanted(handles: Handles, there: Mapping[str, _Secret]) -> dict[str, dict[str, str]]:
        """Return the Secrets by name that we make; one without values shall not be there."""
        connectors = {CONNECTOR + connector.name: connector for connector in handles.connectors}
        found = {name: _secrets_of(handles, connector, there.get(name)) for name, connector in connectors.items()}
        if NOTIFY_URL in handles.environ:
            found[NOTIFY] = {"url": handles.environ[NOTIFY_URL]} if handles.environ[NOTIFY_URL] else {}
        return {name: values for name, values in found.items() if name not in there or not there[name].theirs}

    @staticmethod
    def _differing(handles: Handles, there: Mapping[str, _Secret], wanted_: Mapping[str, dict[str, str]]) -> list[str]:
        """Name the Secrets that are not as they shall be, also those of connectors that no pipeline uses any more."""
        ours = [name for name, secret in there.items() if secret.instance == handles.instance.id]
        gone = [name for name in ours if name != NOTIFY and name not in wanted_ and not handles.only]
        return [name for name, values in wanted_.items() if (there[name].values if name in there else {}) != values] + gone


@dataclass(frozen=True)
class _Secret:
    """A Secret that is in the cluster."""

    instance: str
    """Which installation has made it, as its label says."""
    values: dict[str, str]

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Read one."""
        instance = (item["metadata"].get("labels") or {}).get(INSTANCE, "")
        return cls(instance, {key: b64decode(value).decode(errors="replace") for key, value in (item.get("data") or {}).items()})

    @property
    def theirs(self) -> bool:
        """Whether no installation of ours has made it: an administrator has, or what keeps a company's secrets."""
        return not self.instance


def _secrets_of(handles: Handles, connector: Connector, there: _Secret | None) -> dict[str, str]:
    """Return the secrets that a connector's configs ask for in any pipeline; what is not set here may be *there*.

    :raises SetupError: E-SECRET, one that the command's pipelines need is not set; what only others need may be missing.
    """
    known = there.values if there and there.theirs else {**(there.values if there else {}), **handles.environ}
    values: dict[str, str] = {}
    needed = {pipeline.name for pipeline in handles.pipelines}
    for name in handles.project.pipeline_names:
        try:
            pipeline = handles.project.pipeline(name)
        except SetupError:
            if name in needed:
                raise
            continue
        for side, file in ((pipeline.tap, pipeline.config), (pipeline.target, pipeline.target_config)):
            if side.name != connector.name:
                continue
            values |= {key: known[key] for key in secret_names(file) if key in known}
            if name in needed:
                try:
                    secrets(file, known, {}, shown=handles.project.shown(file))
                except SetupError as error:
                    if there and there.theirs:
                        error.hint = f"Have it added to the Secret {CONNECTOR}{connector.name}, which is not ours to change."
                    raise
    return values
