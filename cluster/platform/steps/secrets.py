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

    from cluster.platform.handles import Stack
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

    def apply(self, stack: Stack, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        there = self._there(stack)
        wanted_ = self._wanted(stack, there)
        not_others(stack, [("Secret", name) for name in wanted_])
        for name in self._differing(stack, there, wanted_):
            say(name)
            if wanted_.get(name):
                stack.make_secret(name, wanted_[name])
            else:
                stack.kube.delete("Secret", name, stack.namespace)
        theirs = sum(secret.theirs for secret in there.values())
        return f"{len([name for name, values in wanted_.items() if values])} secrets" + (f", {theirs} of others" if theirs else "")

    def pending(self, stack: Stack) -> str | None:
        """See ``Step``."""
        there = self._there(stack)
        differing = self._differing(stack, there, self._wanted(stack, there))
        return f"not up to date: {', '.join(differing)}" if differing else None

    @staticmethod
    def _there(stack: Stack) -> dict[str, _Secret]:
        """Return the Secrets of connectors and of notifications that are in the cluster, by name."""
        found = {item["metadata"]["name"]: item for item in stack.kube.objects("Secret", stack.namespace)}
        return {name: _Secret.of(item) for name, item in found.items() if name == NOTIFY or name.startswith(CONNECTOR)}

    @staticmethod
    def _wanted(stack: Stack, there: Mapping[str, _Secret]) -> dict[str, dict[str, str]]:
        """Return the Secrets by name that we make; one without values shall not be there."""
        connectors = {CONNECTOR + connector.name: connector for connector in stack.connectors}
        found = {name: _secrets_of(stack, connector, there.get(name)) for name, connector in connectors.items()}
        if NOTIFY_URL in stack.environ:
            found[NOTIFY] = {"url": stack.environ[NOTIFY_URL]} if stack.environ[NOTIFY_URL] else {}
        return {name: values for name, values in found.items() if name not in there or not there[name].theirs}

    @staticmethod
    def _differing(stack: Stack, there: Mapping[str, _Secret], wanted_: Mapping[str, dict[str, str]]) -> list[str]:
        """Name the Secrets that are not as they shall be, also those of connectors that no pipeline uses any more."""
        ours = [name for name, secret in there.items() if secret.instance == stack.instance.id]
        gone = [name for name in ours if name != NOTIFY and name not in wanted_ and not stack.only]
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


def _secrets_of(stack: Stack, connector: Connector, there: _Secret | None) -> dict[str, str]:
    """Return the secrets that a connector's configs ask for in any pipeline; what is not set here may be *there*.

    :raises SetupError: E-SECRET, one that the command's pipelines need is not set; what only others need may be missing.
    """
    known = there.values if there and there.theirs else {**(there.values if there else {}), **stack.environ}
    values: dict[str, str] = {}
    needed = {pipeline.name for pipeline in stack.pipelines}
    for name in stack.project.pipeline_names:
        try:
            pipeline = stack.project.pipeline(name)
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
                    secrets(file, known, {}, shown=stack.project.shown(file))
                except SetupError as error:
                    if there and there.theirs:
                        error.hint = f"Have it added to the Secret {CONNECTOR}{connector.name}, which is not ours to change."
                    raise
    return values
