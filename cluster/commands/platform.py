"""The commands of the platform: up, status, stop, teardown, open, credentials."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from cluster.commands.access import PAGES
from cluster.commands.teardown import is_alone
from cluster.config.settings import DEFAULTS, LAPTOP
from cluster.config.strict import listed
from cluster.containers.images import REPOSITORY
from cluster.errors import SetupError
from cluster.kube.kubeconfig import on_this_machine
from cluster.platform import ownership, plan, upgrade
from cluster.platform.converge import converge, look
from cluster.platform.handles import Stack
from cluster.platform.steps import schedules
from cluster.platform.steps.images import wanted
from cluster.providers.preflight import fatal, ports_taken
from cluster.ui.command_line import command
from cluster.ui.format import gigabytes, megabytes, seconds

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.platform.steps.base import Step
    from cluster.session import Session

IDLE_MEMORY = "0.4 GB"
"""Measured by ``benchmarks/up.py``: see docs/performance.md."""


def up(session: Session, *, timings: bool, plan_only: bool) -> None:
    """Bring the platform up, or make right what is wrong with it."""
    output, began = session.output, time.monotonic()
    with Stack(session.settings, session.environ) as stack:
        _begin(session, stack)
        steps = plan.up(stack.settings)
        trouble = _preflight(session, stack)
        _upgraded(session, stack)
        if plan_only:
            _show_plan(session, stack, steps, trouble)
            return
        if trouble:
            raise trouble
        if not stack.provider.ours:
            stack.kube.version  # noqa: B018 - where the cluster does not answer, that is said before anything is built
        stack.provider.ready()
        with is_alone(stack):
            changed = converge(steps, stack, output)
        taken = time.monotonic() - began
        output.event("up.finished", changed=sorted(changed), seconds=round(taken, 3), ports=stack.instance.ports)
        if not changed:
            output.line("•", f"Everything is in place ({len(steps)} of {len(steps)}), nothing changed.", seconds(taken))
            return
        if timings:
            rows = [[title, seconds(value)] for title, value in sorted(changed.items(), key=lambda item: -item[1])]
            output.table(rows, ["step", "time"])
        _end(session, stack, taken)


def _begin(session: Session, stack: Stack) -> None:
    """Say where the platform is, or will be, and on what, before anything is done."""
    output = session.output
    output.text(f"singer  {_target(stack)}")
    for line in (_doors(stack), *_others(stack), stack.network.describe() and f"through the proxy {stack.network.describe()}"):
        if line:
            output.text(f"        {line}")
    _started(session, stack)
    if stack.network.warning:
        output.line("!", "Network", stack.network.warning)
        output.event("warning", source="network", problem=stack.network.warning)
    output.text()


def _end(session: Session, stack: Stack, taken: float) -> None:
    """Say what there is now, and what to type next."""
    output = session.output
    output.text()
    output.text(f"Ready in {seconds(taken)}.")
    if stack.settings.argo == "install":
        output.text(f"  Argo     {_page(stack, 'argo')}       read-only, no login")
    if stack.settings.store == "install":
        output.text(f"  MinIO    {_page(stack, 'minio')}       login: {command('credentials')}")
    output.text(f"Next: {command('status')} · {command('demo')}")


def _target(stack: Stack) -> str:
    """Say where the platform is, or will be, and what there is to run it."""
    info, version = stack.host, stack.provider.kubernetes
    env = "" if stack.settings.env == LAPTOP else f"environment {stack.settings.env}"
    return " · ".join(filter(None, (env, stack.provider.describe(), version and f"Kubernetes {version}", str(info or ""))))


def _started(session: Session, stack: Stack) -> None:
    """Tell a program where the platform is, or will be, and on what."""
    info, keys = stack.host, ("product", "version", "platform", "cpus", "memory", "disk")
    session.output.event(
        "up.started",
        provider=stack.provider.name,
        cluster=stack.provider.cluster,
        kubernetes=stack.provider.kubernetes or None,
        runtime={key: getattr(info, key) for key in keys} if info else None,
        ports=stack.instance.ports if stack.provider.publishes else {},
    )


def _preflight(session: Session, stack: Stack) -> SetupError | None:
    """Show what this machine lacks and which ports are taken, before a cluster is made or woken on it; return what nothing works with."""
    if stack.host is None or stack.provider.pending() is None:
        return None
    found = [*stack.lacks(), *ports_taken(stack.instance.moved, stack.runtime)]
    for item in found:
        if not item.fatal:
            session.output.line("!", item.subject, f"{item.fact} {item.remedy}".strip())
            session.output.event("warning", source=item.subject, problem=item.fact, hint=item.remedy)
    if not all(item.fatal for item in found):
        session.output.text()
    return fatal(found)


def _upgraded(session: Session, stack: Stack) -> None:
    """Say what becomes of a platform of an older layout, where it can be seen by now: one that sleeps is not woken for that.

    :raises SetupError: E-LAYOUT, it is of a newer one.
    """
    if (stack.provider.ours and stack.provider.pending()) or stack.kube.silent():
        return
    found = upgrade.older_layout(stack)
    if found:
        made = [*stack.documents, *schedules.schedules(stack), *schedules.listeners(stack)]
        upgrade.upgrade(stack, found, made, {*ownership.all_kinds(stack), *schedules.KINDS}).tell(session.output)
        session.output.text()


def _others(stack: Stack) -> Iterator[str]:
    """Say, before the first cluster is made, why it is one of this kind, and which others are there."""
    if stack.instance.cluster or stack.settings.provider != DEFAULTS["provider"]:
        return
    there = [name for name in on_this_machine(stack.environ) if name != stack.provider.context]
    if there:
        use = f"INVOKE_SINGER_PROVIDER=existing INVOKE_SINGER_CONTEXT={there[0]} {command('up')}"
        yield f"a cluster of its own, because nothing else is chosen; there is also {listed(there)}: {use}"


def _doors(stack: Stack) -> str:
    """Say how the platform will be reached."""
    if not stack.provider.publishes:
        return f"nothing is published: {command('open argo')} and {command('forward')} forward ports for as long as they run"
    ports = stack.instance.ports
    return f"ports {ports['port_argo']} Argo · {ports['port_s3']} S3 · {ports['port_console']} console, on 127.0.0.1 only"


def _page(stack: Stack, page: str) -> str:
    """Return a page's address, or the command that opens it where no port is published."""
    return stack.url(PAGES[page]) if stack.provider.publishes else command(f"open {page}")


def _show_plan(session: Session, stack: Stack, steps: tuple[Step, ...], trouble: SetupError | None) -> None:
    """Show what ``up`` would do, and what it would stop at."""
    output = session.output
    if trouble:
        output.line("✗", "This would stop it", f"{trouble.problem} {trouble.hint}")
        output.event("warning", source="preflight", problem=trouble.problem, hint=trouble.hint)
        output.text()
    for title, why in look(steps, stack).items():
        output.line("•" if why is None else " ", title, why or "in place")
        output.event("step", step=title, pending=why)
    sizes = _sizes(stack)
    output.text()
    rows = [[image.partition("@")[0], _to_come(stack, image) if size is None else megabytes(size)] for image, size in sizes.items()]
    output.table(rows, ["image", "size"])
    output.event("plan", images=sizes, ports=stack.instance.ports)
    info = stack.host
    output.text()
    output.text(f"  The idle platform takes {IDLE_MEMORY} of memory" + (", and an empty cluster about 1 GB." if info else "."))
    if info:
        free = f"{gigabytes(info.disk)} of disk free" if info.disk is not None else "a disk of its own, which cannot be seen from here"
        output.text(f"  {info.product} has {gigabytes(info.memory)} of memory, and {free}.")


def _sizes(stack: Stack) -> dict[str, int | None]:
    """Return every image with its unpacked size, None where it is not on this machine."""
    names = [stack.settings.image("node")] * (stack.provider.name == "kind") + wanted(stack)
    found = {}
    with suppress(SetupError):  # a cluster that is there needs no runtime here
        found = stack.runtime.sizes(names)
    return {name: found.get(name) for name in names}


def _to_come(stack: Stack, image: str) -> str:
    if stack.settings.registry and image.startswith(f"{stack.settings.registry}/"):
        return "in the registry, or to be built"
    return "to be built" if image.startswith(REPOSITORY) else "to be pulled"


def status(session: Session) -> None:
    """Show every fact and what it waits for.

    :raises SetupError: E-DOWN, not all is well.
    """
    with Stack(session.settings, session.environ) as stack:
        steps = plan.up(stack.settings)
        found = look(steps, stack)
    well = {step.title: step.well for step in steps}
    for title, why in found.items():
        session.output.line("✓" if why is None else "!", title, why or well[title])
        session.output.event("step", step=title, pending=why)
    missing = [title for title, why in found.items() if why is not None]
    if missing:
        raise SetupError("E-DOWN", f"{len(missing)} of {len(found)} are not as they should be: {', '.join(missing)}.", hint=command("up"))
