"""A cluster of our own. ``up`` creates it, ``stop`` stops it, ``teardown`` deletes it.

The instance file names the cluster before it is created. So a creation that was killed is known as
ours and starts over, and a cluster of the same name that somebody else made is left alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Generic, TypeVar

from cluster.errors import SetupError
from cluster.host.subprocesses import ended

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.project.model import Connector
    from cluster.providers.instance import Instance

State = TypeVar("State")
FOREIGN = "a cluster of this name is there, and is not ours"


class Owned(ABC, Generic[State]):
    """The life of a cluster, in terms of what a tool such as kind does.

    *State* is how the tool reports it.
    """

    name: ClassVar[str]
    start_words: ClassVar[tuple[str, ...]]
    """The tool's command that creates or starts a cluster, to recognise its process."""
    noun: ClassVar[str]
    """What the tool calls a cluster."""
    ours = True
    platform = ""

    def __init__(self, settings: Settings, instance: Instance, runtime: Runtime) -> None:
        """Take the settings and the memory of this checkout. Nothing is started yet."""
        self.settings = settings
        self.instance = instance
        self.runtime = runtime
        self.cluster = settings.cluster
        self.file = settings.local / "kubeconfig"

    def describe(self) -> str:
        """See ``Provider``."""
        return f'{self.name} cluster "{self.cluster}"'

    def kubeconfig(self) -> Path:
        """See ``Provider``."""
        return self.file

    # -- what the tool does

    @abstractmethod
    def _state(self) -> State | None:
        """Return the state of the cluster; None if there is no cluster of this name.

        :raises SetupError: E-PROGRAM, E-RUNTIME, E-CLUSTER: the tool cannot report it.
        """

    @abstractmethod
    def _trouble(self, state: State) -> str | None:
        """Return what keeps a complete cluster from working."""

    @abstractmethod
    def _create(self, say: Callable[[str], None]) -> None:
        """Create the cluster.

        :raises SetupError: E-CLUSTER, the tool failed.
        """

    @abstractmethod
    def _repair(self, state: State, say: Callable[[str], None]) -> str:
        """Start a complete cluster and restore its kubeconfig, if needed. Return what was done."""

    @abstractmethod
    def _delete(self) -> None:
        """Delete the cluster.

        :raises SetupError: E-CLUSTER, the tool failed.
        """

    def _deleted(self) -> None:
        """Remove what the tool leaves behind."""

    # -- what Provider needs

    def put_edit(self, connector: Connector, say: Callable[[str], None]) -> bool:  # noqa: ARG002 - see Provider
        """See ``Provider``."""
        return False

    def foreign(self) -> SetupError | None:
        """See ``Provider``."""
        if self.instance.owns(self.cluster) or self._state() is None:
            return None
        return SetupError(
            "E-CLUSTER",
            f'There is a {self.noun} "{self.cluster}" that this checkout did not make.',
            hint="Use another name: INVOKE_SINGER_CLUSTER=singer2, or singer.cluster in invoke.yaml.",
        )

    def pending(self) -> str | None:
        """See ``Provider``."""
        state = self._state()
        if state is None:
            return "not created yet"
        if not self.instance.owns(self.cluster):
            return FOREIGN
        if not self.instance.complete:
            return "its creation was interrupted"
        return self._trouble(state)

    def ensure(self, say: Callable[[str], None]) -> str:
        """See ``Provider``.

        :raises SetupError: E-CLUSTER, a cluster of this name is not ours, or the tool failed.
        """
        foreign = self.foreign()
        if foreign:
            raise foreign
        self._end_start()
        state, done = self._state(), "created"
        if state is not None and not self.instance.complete:
            say("removing an incomplete cluster")
            self._delete()
            state, done = None, "created again"
        if state is None:
            self._create(say)
            return done
        return self._repair(state, say)

    def delete(self) -> list[str]:
        """See ``Provider``. Its data goes with it."""
        if self.instance.owns(self.cluster):
            self._end_start()  # else it would create again what is deleted here
        there = self._state() is not None
        if there and not self.instance.owns(self.cluster):
            return []
        if there:
            self._delete()
        self.file.unlink(missing_ok=True)
        self._deleted()
        return [self.describe()] if there else []

    def _end_start(self) -> None:
        """End the tool's process that an earlier command of ours started before it was killed."""
        if self.instance.maker:
            ended(self.instance.maker, (*self.start_words, self.cluster))
