"""The commands ``up`` and ``status``."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from cluster.commands.access import PAGES
from cluster.commands.teardown import is_alone
from cluster.config.settings import DEFAULTS, LAPTOP
from cluster.config.strict import listed
from cluster.containers.images import REPOSITORY
from cluster.engines import late as lateness
from cluster.engines.choice import Engine
from cluster.errors import SetupError
from cluster.kube.kubeconfig import on_this_machine
from cluster.platform import ownership, plan, upgrade
from cluster.platform.converge import converge, look
from cluster.platform.handles import Handles
from cluster.platform.steps import schedules
from cluster.platform.steps.images import wanted
from cluster.providers.preflight import fatal, ports_taken
from cluster.ui.command_line import command
from cluster.ui.format import gigabytes, megabytes, seconds
from cluster.ui.output import warn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from cluster.platform.steps.base import Step
    from cluster.runs.late import Late
    from cluster.session import Session

CLUSTER = "Cluster"
"""The step that all others of the platform need."""
IDLE_MEMORY = "0.4 GB"
"""Measured by ``benchmarks/up.py``: see docs/performance.md."""


def up(session: Session, *, timings: bool, plan_only: bool) -> None:
    """Start the platform, or repair it."""
    output, began = session.output, time.monotonic()
    with Handles(session.settings, session.environ) as handles:
        ahead = handles.provider
        handles.ask_ahead(lambda: handles.host, lambda: ahead.kubernetes, ahead.pending, lambda: ahead.missing_images([]))
        _begin(session, handles)
        steps = plan.up(handles.settings)
        trouble = _preflight(session, handles)
        _upgraded(session, handles)
        if plan_only:
            _show_plan(session, handles, steps, trouble)
            return
        if trouble:
            raise trouble
        if not handles.provider.ours:
            handles.kube.version  # noqa: B018 - an error before anything is built, if the cluster does not answer
        handles.provider.ready()
        with is_alone(handles), _acknowledging():
            changed = converge(steps, handles, output)
        schedules.warn_of_events(handles, output)
        duration = time.monotonic() - began
        output.event("up.finished", changed=sorted(changed), seconds=round(duration, 3), ports=handles.instance.ports)
        if not changed:
            output.line("•", f"Everything is in place ({len(steps)} of {len(steps)}), nothing changed.", seconds(duration))
            return
        if timings:
            slowest = sorted(changed.items(), key=lambda item: -item[1].seconds)
            rows = [[title, seconds(taken.seconds), seconds(taken.waiting)] for title, taken in slowest]
            output.table(rows, ["step", "time", "of it waiting"])
        _end(session, handles, duration)


@contextmanager
def _acknowledging() -> Iterator[None]:
    """Acknowledge Ctrl-C immediately: the steps under way end first, which takes a moment."""
    before = signal.getsignal(signal.SIGINT)

    def acknowledge(number: int, frame: FrameType | None) -> None:
        os.write(2, b"\nInterrupted: stopping the steps that are under way.\n")
        if callable(before):
            before(number, frame)

    if callable(before):  # it is not if we were started with Ctrl-C ignored
        signal.signal(signal.SIGINT, acknowledge)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _begin(session: Session, handles: Handles) -> None:
    """Print where the platform is or will be, before anything is done."""
    output = session.output
    output.text(f"singer  {_target(handles)}")
    for line in (_doors(handles), *_others(handles), handles.network.describe() and f"through the proxy {handles.network.describe()}"):
        if line:
            output.text(f"        {line}")
    _started(session, handles)
    if handles.network.warning:
        output.line("!", "Network", handles.network.warning)
        output.event("warning", source="network", problem=handles.network.warning)
    output.text()


def _end(session: Session, handles: Handles, duration: float) -> None:
    """Print the platform's addresses, and the next commands."""
    output = session.output
    output.text()
    output.text(f"Ready in {seconds(duration)}.")
    if handles.settings.argo == "install":
        output.text(f"  Argo     {_page(handles, 'argo')}       read-only, no login")
    if handles.settings.store == "install":
        output.text(f"  MinIO    {_page(handles, 'minio')}       login: {command('credentials')}")
    output.text(f"Next: {command('status')} · {command('demo')}")


def _target(handles: Handles) -> str:
    """Return where the platform is or will be, and the container runtime."""
    info, version = handles.host, handles.provider.kubernetes
    env = "" if handles.settings.env == LAPTOP else f"environment {handles.settings.env}"
    return " · ".join(filter(None, (env, handles.provider.describe(), version and f"Kubernetes {version}", str(info or ""))))


def _started(session: Session, handles: Handles) -> None:
    """Emit where the platform is or will be, and the container runtime."""
    info, keys = handles.host, ("product", "version", "platform", "cpus", "memory", "disk")
    session.output.event(
        "up.started",
        provider=handles.provider.name,
        cluster=handles.provider.cluster,
        kubernetes=handles.provider.kubernetes or None,
        runtime={key: getattr(info, key) for key in keys} if info else None,
        ports=handles.instance.ports if handles.provider.publishes else {},
    )


def _preflight(session: Session, handles: Handles) -> SetupError | None:
    """Show what this machine lacks and which ports are taken, before a cluster starts.

    Return the error that stops everything, None if there is none.
    """
    if handles.host is None or handles.provider.pending() is None:
        return None
    findings = [*handles.lacks(), *ports_taken(handles.instance.moved, handles.runtime)]
    for item in findings:
        if not item.fatal:
            session.output.line("!", item.subject, f"{item.fact} {item.remedy}".strip())
            session.output.event("warning", source=item.subject, problem=item.fact, hint=item.remedy)
    if not all(item.fatal for item in findings):
        session.output.text()
    return fatal(findings)


def _upgraded(session: Session, handles: Handles) -> None:
    """Print what changes for a platform of an older layout, if its cluster answers by now.

    :raises SetupError: E-LAYOUT, the layout is a newer one.
    """
    if (handles.provider.ours and handles.provider.pending()) or handles.kube.silent():
        return
    older = upgrade.older_layout(handles)
    if older:
        made = [*handles.rendering.documents, *schedules.objects(handles)]
        upgrade.upgrade(handles, older, made, {*ownership.all_kinds(handles), *schedules.KINDS}).show(session.output)
        session.output.text()


def _others(handles: Handles) -> Iterator[str]:
    """Yield, before the first cluster is created, which other clusters exist and how to use one."""
    if handles.instance.cluster or handles.settings.provider != DEFAULTS["provider"]:
        return
    there = [name for name in on_this_machine(handles.environ) if name != handles.provider.context]
    if there:
        use = f"INVOKE_SINGER_PROVIDER=existing INVOKE_SINGER_CONTEXT={there[0]} {command('up')}"
        yield f"a new cluster, because nothing else is chosen; there is also {listed(there)}: {use}"


def _doors(handles: Handles) -> str:
    """Return the ports of the platform, or how to forward them."""
    if not handles.provider.publishes:
        return f"no port is published: {command('open argo')} and {command('forward')} forward ports while they run"
    ports = handles.instance.ports
    return f"ports {ports['port_argo']} Argo · {ports['port_s3']} S3 · {ports['port_console']} console, on 127.0.0.1 only"


def _page(handles: Handles, page: str) -> str:
    """Return a page's address, or the command that opens it if no port is published."""
    return handles.url(PAGES[page]) if handles.provider.publishes else command(f"open {page}")


def _show_plan(session: Session, handles: Handles, steps: tuple[Step, ...], trouble: SetupError | None) -> None:
    """Show what ``up`` would do, and what would stop it."""
    output = session.output
    if trouble:
        output.line("✗", "This would stop it", f"{trouble.problem} {trouble.hint}")
        output.event("warning", source="preflight", problem=trouble.problem, hint=trouble.hint)
        output.text()
    for title, why in look(steps, handles).items():
        output.line("•" if why is None else " ", title, why or "in place")
        output.event("step", step=title, pending=why)
    sizes = _sizes(handles)
    output.text()
    rows = [[image.partition("@")[0], _to_come(handles, image) if size is None else megabytes(size)] for image, size in sizes.items()]
    output.table(rows, ["image", "size"])
    output.event("plan", images=sizes, ports=handles.instance.ports)
    info = handles.host
    output.text()
    output.text(f"  The idle platform takes {IDLE_MEMORY} of memory" + (", and an empty cluster about 1 GB." if info else "."))
    if info:
        free = f"{gigabytes(info.disk)} of disk free" if info.disk is not None else "a disk that cannot be seen from here"
        output.text(f"  {info.product} has {gigabytes(info.memory)} of memory, and {free}.")


def _sizes(handles: Handles) -> dict[str, int | None]:
    """Return every image with its unpacked size, None if it is not on this machine."""
    names = [handles.settings.image("node")] * (handles.provider.name == "kind") + wanted(handles)
    sizes = {}
    with suppress(SetupError):  # an existing cluster needs no runtime here
        sizes = handles.runtime.sizes(names)
    return {name: sizes.get(name) for name in names}


def _to_come(handles: Handles, image: str) -> str:
    if handles.settings.registry and image.startswith(f"{handles.settings.registry}/"):
        return "in the registry, or to be built"
    return "to be built" if image.startswith(REPOSITORY) else "to be pulled"


def _late(session: Session, handles: Handles) -> tuple[list[Late], str | None]:
    """Return what is late, and why the check for that does not work.

    What is down, the steps show.
    """
    with suppress(SetupError):
        engine = Engine("argo", handles.history, session, handles)
        return lateness.report(engine), lateness.unwatched(engine)
    return [], None


def status(session: Session) -> None:
    """Show every step of the platform and what it waits for; one sentence if there is no cluster.

    :raises SetupError: E-DOWN, a step is not as it should be.
    """
    with Handles(session.settings, session.environ) as handles:
        handles.ask_ahead(lambda: handles.provider.missing_images([]))
        foreign = handles.provider.foreign()
        if foreign:
            raise foreign
        steps = plan.up(handles.settings)
        pending = look(steps, handles)
        overdue, unwatched = _late(session, handles) if not pending.get(CLUSTER) else ([], None)
    for title, why in pending.items():
        session.output.event("step", step=title, pending=why)
    if pending.get(CLUSTER):
        raise SetupError("E-DOWN", f"The platform is not up: {pending[CLUSTER]}.", hint=command("up"))
    details = {step.title: step.ok for step in steps}
    for title, why in pending.items():
        session.output.line("✓" if why is None else "!", title, why or details[title])
    if unwatched:
        warn(session.output, "Check for late pipelines", unwatched)
    for item in overdue:
        session.output.event("late", engine="argo", **item.fields())
        session.output.line("!", "Late", str(item))
    missing = [title for title, why in pending.items() if why is not None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise SetupError("E-DOWN", f"{len(missing)} of {len(pending)} {are} not ready: {', '.join(missing)}.", hint=command("up"))
