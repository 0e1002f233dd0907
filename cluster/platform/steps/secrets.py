"""Step: a Secret for each connector that has secrets."""

from __future__ import annotations

from base64 import b64decode
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from cluster.argo.workflow import NOTIFY
from cluster.errors import SetupError
from cluster.host.parallel import in_parallel
from cluster.kube import documents
from cluster.kube.rbac import visible
from cluster.platform.objects import Objects
from cluster.platform.ownership import need_ours
from cluster.platform.rendering import CONNECTOR, INSTANCE
from cluster.project.secrets import NOTIFY_URL, check_notify_url, secret_names, secrets
from cluster.runs.rotation import digest, rotation
from cluster.ui.format import count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles


@dataclass(frozen=True)
class ConnectorSecrets:
    """Each connector's Secret has the values that its configs ask for.

    Secrets of others are used unchanged.
    """

    title: str = "Connectors' secrets"
    ok: str = "as in the environment and .env"
    needs: tuple[str, ...] = (Objects.title,)
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        live = _live_secrets(handles)
        wanted = _wanted_secrets(handles, live)
        need_ours(handles, [("Secret", name) for name in wanted])

        def change(name: str) -> None:
            say(name)
            if wanted.get(name):
                handles.credentials.make(name, wanted[name])
            else:
                handles.kube.delete("Secret", name, handles.namespace)

        in_parallel(change, _differing(handles, live, wanted))
        role = _role(handles)
        if role is not None:
            handles.kube.apply(role)
        made, others = sum(map(bool, wanted.values())), sum(secret.of_others for secret in live.values())
        return count(made, "secret") + (f", {others} of others" if others else "")

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        live = _live_secrets(handles)
        differing = _differing(handles, live, _wanted_secrets(handles, live))
        if not differing and _role(handles) is not None:
            return "runs may not keep the tokens that connectors replace"
        return f"not up to date: {', '.join(differing)}" if differing else None


def _role(handles: Handles) -> Document | None:
    """Return the role with which runs keep replaced tokens, if it must change and we may do that.

    Without it, such a run has a warning. Not everybody who runs pipelines may change roles.
    """
    role = handles.rendering.secrets_role
    if role is None:
        return None
    hidden: Document | None = {}
    live = visible(lambda: handles.kube.get("Role", role["metadata"]["name"], handles.namespace), hidden)
    if live is hidden or not documents.differs(role, live):
        return None
    allowed = handles.provider.ours or handles.kube.may("patch", "rbac.authorization.k8s.io", "roles", handles.namespace)
    return role if allowed and (live is None or handles.owns(live)) else None


@dataclass(frozen=True)
class _Secret:
    """A Secret in the cluster."""

    instance: str
    """The installation that made it, from its label."""
    values: dict[str, str]
    rotated: dict[str, list[str]]
    """The values that runs have replaced; see ``rotation``."""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> Self:
        """Decode one."""
        instance = (item["metadata"].get("labels") or {}).get(INSTANCE, "")
        values = {key: b64decode(value).decode(errors="replace") for key, value in (item.get("data") or {}).items()}
        return cls(instance, values, rotation(item["metadata"].get("annotations") or {}))

    def newer(self, set_here: Mapping[str, str]) -> dict[str, str]:
        """Return the values that runs have replaced since the one that is set here."""
        return {
            name: self.values[name]
            for name, (first, last) in self.rotated.items()
            if name in set_here and name in self.values and [digest(set_here[name]), digest(self.values[name])] == [first, last]
        }

    @property
    def of_others(self) -> bool:
        """Whether no installation made it, but an administrator or a secret manager."""
        return not self.instance


def _live_secrets(handles: Handles) -> dict[str, _Secret]:
    """Return the Secrets of connectors and of notifications in the cluster, by name."""
    items = {item["metadata"]["name"]: item for item in handles.kube.objects("Secret", handles.namespace)}
    return {name: _Secret.of(item) for name, item in items.items() if name == NOTIFY or name.startswith(CONNECTOR)}


def _wanted_secrets(handles: Handles, live: Mapping[str, _Secret]) -> dict[str, dict[str, str]]:
    """Return the values of our Secrets, by name. Without values a Secret should not exist.

    :raises SetupError: E-SECRET, one is not set; E-SETTING, the address for messages is none.
    """
    configs = _configs(handles)
    names = [connector.name for connector in handles.connectors]
    wanted = {CONNECTOR + name: _values(handles, name, configs.get(name, {}), live.get(CONNECTOR + name)) for name in names}
    if NOTIFY_URL in handles.environ:
        check_notify_url(handles.environ)
        wanted[NOTIFY] = {"url": handles.environ[NOTIFY_URL]} if handles.environ[NOTIFY_URL] else {}
    return {name: values for name, values in wanted.items() if name not in live or not live[name].of_others}


def _differing(handles: Handles, live: Mapping[str, _Secret], wanted: Mapping[str, dict[str, str]]) -> list[str]:
    """Return the Secrets to change, also those of connectors that no pipeline uses any more."""
    ours = [name for name, secret in live.items() if secret.instance == handles.instance.id]
    obsolete = [name for name in ours if name != NOTIFY and name not in wanted and not handles.only]
    return [name for name, values in wanted.items() if (live[name].values if name in live else {}) != values] + obsolete


def _configs(handles: Handles) -> dict[str, dict[Path, bool]]:
    """Return the configs of each connector in any pipeline, and whether the command needs them.

    :raises SetupError: an entry or a file of a pipeline that the command needs is wrong.
    """
    configs: defaultdict[str, dict[Path, bool]] = defaultdict(dict)
    needed = {pipeline.name for pipeline in handles.pipelines}
    for name in handles.project.pipeline_names:
        try:
            pipeline = handles.project.pipeline(name)
        except SetupError:
            if name in needed:
                raise
            continue
        for side, file in pipeline.configs:
            configs[side.name][file] = name in needed or configs[side.name].get(file, False)
    return configs


def _values(handles: Handles, connector: str, configs: Mapping[Path, bool], live: _Secret | None) -> dict[str, str]:
    """Return the secrets that the configs of a connector ask for.

    Values that are not set here come from *live*.

    :raises SetupError: E-SECRET, the command needs one that is not set. Others may be missing.
    """
    known: Mapping[str, str] = handles.environ
    if live is not None:
        known = live.values if live.of_others else {**live.values, **handles.environ, **live.newer(handles.environ)}
    values: dict[str, str] = {}
    for file, needed in configs.items():
        names = secret_names(file)
        values |= {name: known[name] for name in names if name in known}
        if names and needed:
            try:
                secrets(file, known, {}, shown=handles.project.shown(file))
            except SetupError as error:
                if live and live.of_others:
                    error.hint = f"Have it added to the Secret {CONNECTOR}{connector}, which is not ours to change."
                raise
    return values
