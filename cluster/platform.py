"""The commands of the platform: up, status, stop, teardown, open, credentials."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
import time
import webbrowser
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster import kept, objects, plan, schedules
from cluster.converge import converge, look
from cluster.errors import SetupError
from cluster.fields import listed
from cluster.files import only_one
from cluster.images import REPOSITORY
from cluster.kubeconfig import on_this_machine
from cluster.preflight import fatal, ports_taken
from cluster.progress import command, gigabytes, megabytes, seconds
from cluster.settings import DEFAULTS, LAPTOP
from cluster.stack import DOORS, KEYS, ROOT_SECRET, USER_SECRET, Stack
from cluster.steps import helper_image, policy, wanted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from cluster.session import Session
    from cluster.steps import Step

IDLE_MEMORY = "0.4 GB"
"""Measured by ``benchmarks/up.py``: see docs/performance.md."""
PAGES = {"argo": "argo", "minio": "console"}
"""What ``open`` opens: one of ``DOORS``."""


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
        with _alone(stack):
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
    found = objects.older_layout(stack)
    if found:
        made = [*stack.documents, *schedules.schedules(stack), *schedules.listeners(stack)]
        objects.upgrade(stack, found, made, {*objects.all_kinds(stack), *schedules.KINDS}).tell(session.output)
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


def stop(session: Session) -> None:
    """Stop the cluster; ``up`` wakes it. Of a cluster that is not ours only our programs are stopped."""
    with Stack(session.settings, session.environ) as stack, _alone(stack), session.output.step("Cluster") as step:
        stopped = stack.provider.stop() if stack.provider.ours else _scaled_down(stack)
        step.result("stopped; nothing is lost" if stopped else "was not running", "done" if stopped else "unchanged")
    session.output.text(f"Next: {command('up')} wakes it.")


def _scaled_down(stack: Stack) -> bool:
    """Stop our programs, and say whether any was running."""
    if stack.provider.pending():
        return False
    wanted_ = [document["metadata"]["name"] for document in stack.documents if document["kind"] == "Deployment"]
    running = [name for name in wanted_ if ((stack.kube.get("Deployment", name, stack.namespace) or {}).get("spec") or {}).get("replicas")]
    for name in running:
        stack.kube.patch("Deployment", name, stack.namespace, {"spec": {"replicas": 0}})
    return bool(running)


def teardown(session: Session, *, yes: bool, keep_data: bool, everything: bool) -> None:
    """Take away what is ours, and see that nothing of it is left."""
    output = session.output
    with Stack(session.settings, session.environ) as stack:
        output.text(f"This removes: {_holdings(stack)}.")
        output.text(
            ("Kept: the buckets with states and runs, " if keep_data else "Kept: ")
            + "connector environments, local runs and files"
            + ("." if everything else f", and images ({command('teardown --all')} removes environments and images).")
        )
        if not yes and not session.agrees("Remove?", "This would remove things"):
            output.text("Nothing was removed.")
            return
        with _alone(stack):
            _remove(session, stack, keep_data=keep_data, everything=everything)


def _holdings(stack: Stack) -> str:
    """Say what there is to remove, as far as it can be seen; a platform that is half gone is removed all the same."""
    if not stack.instance.cluster:
        return "nothing that runs"
    what = stack.provider.describe() if stack.provider.ours else f"our objects in the {stack.provider.describe()}"
    try:
        if stack.provider.pending():
            return f"{what}, with its buckets, states and runs"
        store, settings = stack.store(), stack.settings
        buckets = (settings.bucket_configs, settings.bucket_artifacts, settings.bucket_outputs)
        sizes = [item.size for bucket in buckets for item in store.objects(bucket)]
        schedules = stack.kube.objects("CronWorkflow", stack.namespace)
        return (
            f"{what}, with {len(buckets)} buckets ({megabytes(sum(sizes))}), {len(schedules)} schedules and {len(stack.history.ids())} runs"
        )
    except SetupError:
        return f"{what}, with its buckets, states and runs"


def _remove(session: Session, stack: Stack, *, keep_data: bool, everything: bool) -> None:
    """Remove the cluster or our objects in it, on request our images too, and look whether anything is left.

    :raises SetupError: E-LEFT, something is; E-KEEP, the data cannot be kept, and nothing was removed.
    """
    output, ours = session.output, stack.instance.owns(stack.provider.cluster)
    stays: list[str] = []
    if keep_data and ours and stack.provider.ours and stack.settings.store == "install":
        with output.step("Data") as step:
            step.result(f"kept: {_kept(stack, lambda text: setattr(step, 'detail', text))}")
    with output.step("Cluster") as step:
        if ours and not stack.provider.ours:
            stays = list(objects.remove(stack, lambda text: setattr(step, "detail", text), keep_data=keep_data))
        gone = stack.provider.delete()
        left = stack.provider.left() if ours else []
        if left:
            hint = f"{stack.runtime.program} rm --force --volumes {' '.join(left)}"
            raise SetupError("E-LEFT", f"A part of the cluster is still there: {', '.join(left)}.", hint=hint)
        stack.instance.forget()
        step.result("deleted" if gone else "ours is removed from it" if ours else "was not there", "done" if gone or ours else "unchanged")
    if everything:
        with output.step("Images and environments") as step:
            step.result(f"{_images_removed(stack)} images removed")
            for folder in (
                *(stack.settings.local / name for name in ("environments", "cache", "bin")),
                kept.archive(stack.settings).parent,
            ):
                shutil.rmtree(folder, ignore_errors=True)
    for text in stays:
        output.line("!", "Left", text)
    output.line("✓", "Nothing else of ours is left" if stays else "Nothing of ours is left", "your kubeconfig was never touched")


def _images_removed(stack: Stack) -> int:
    """Remove the images that this checkout has built, and those that came to this machine with it; return how many there were."""
    images = [thing for thing in stack.instance.brought if thing.startswith("image ")]
    for thing in images:
        stack.runtime.run("rmi", thing.removeprefix("image "))
        stack.instance.took_away(thing)
    return len(images)


def _kept(stack: Stack, say: Callable[[str], None]) -> str:
    """Keep the buckets, and return what was kept and where.

    :raises SetupError: E-KEEP, they cannot be read.
    """
    why = stack.provider.pending() or stack.kube.silent()
    secrets = {} if why else {name: stack.secret(name) or {} for name in (ROOT_SECRET, USER_SECRET)}
    if not all(secrets.values()) or why:
        raise SetupError(
            "E-KEEP",
            f"The data cannot be kept: {why or 'its credentials are gone'}. Nothing was removed.",
            hint=f"{command('up')} first, or leave --keep-data out.",
        )
    return kept.save(stack, helper_image(stack), secrets, say)


def _alone(stack: Stack) -> AbstractContextManager[None]:
    """Let only one command change the platform at a time."""
    return only_one(stack.settings.platform / "locks" / "platform", "Another up, stop or teardown of this checkout is under way.")


def open_door(session: Session, door: str, *, only_print: bool) -> None:
    """Open Argo's or MinIO's pages in the browser; where no port is published, forward it until Ctrl-C."""
    if door not in PAGES:
        raise SetupError("E-SETTING", f"There is no door {door!r}; there are {', '.join(PAGES)}.", hint="Name one of these.")
    with Stack(session.settings, session.environ) as stack:
        url = stack.url(PAGES[door])
        session.output.event("open", door=door, url=url)
        session.output.text(
            url if only_print else f"{url}  " + ("read-only, no login" if door == "argo" else f"login: {command('credentials')}")
        )
        if not only_print:
            webbrowser.open(url)
        if not stack.provider.publishes:
            _hold(session)


def forward(session: Session) -> None:
    """Hold the platform's ports on 127.0.0.1 until Ctrl-C, where the provider does not publish them."""
    with Stack(session.settings, session.environ) as stack:
        doors = {door: stack.url(door) for door in DOORS if door == "argo" or stack.settings.store == "install"}
        session.output.event("forward", doors=doors)
        session.output.table([[door, url] for door, url in doors.items()], ["", ""])
        if stack.provider.publishes:
            session.output.text("These ports are published: nothing has to be forwarded.")
            return
        _hold(session)


def _hold(session: Session) -> None:
    """Wait until the user ends it."""
    session.output.text("Forwarding until Ctrl-C.")
    with suppress(KeyboardInterrupt):
        threading.Event().wait()


def _keys(stack: Stack, secret: str = "") -> dict[str, str] | None:
    """Return the keys of the store, None where it is no keys that open it.

    :raises SetupError: E-DOWN, the platform is not up.
    """
    why = stack.provider.pending()
    if why:
        raise SetupError("E-DOWN", f"The platform is not up: {why}.", hint=command("up"))
    return stack.keys(secret)


def credentials(session: Session, *, only_policy: bool) -> None:
    """Show the store's credentials, because they were asked for; or the rights that their user needs.

    :raises SetupError: E-DOWN, the platform is not up; E-SECRET, it is no keys that open the store.
    """
    if only_policy:
        rights = policy(session.settings)
        session.output.event("policy", policy=rights)
        session.output.text(json.dumps(rights, indent=2))
        return
    with Stack(session.settings, session.environ) as stack:
        found = _keys(stack, ROOT_SECRET if stack.settings.store == "install" else "")
    if found is None:
        raise SetupError(
            "E-SECRET", "The store is opened by the identity of pods: there are no keys.", hint=command("credentials --policy")
        )
    session.output.event("credentials", user=found["accesskey"], password=found["secretkey"])
    session.output.table([["user", found["accesskey"]], ["password", found["secretkey"]]], ["", ""])


def shell(session: Session) -> None:
    """Start a shell in which kubectl, k9s, aws and mc work with this platform and nothing else."""
    with Stack(session.settings, session.environ) as stack:
        found = _keys(stack) or {}
        address = urlsplit(stack.url("s3"))
        environ = {
            "INVOKE_SINGER_ENV": stack.settings.env,
            "KUBECONFIG": str(stack.provider.kubeconfig),
            "AWS_ENDPOINT_URL": address.geturl(),
            "AWS_DEFAULT_REGION": stack.settings.s3_region,
        }
        if found:
            environ |= {variable: found[name] for name, variable in KEYS.items()}
            environ["MC_HOST_singer"] = f"{address.scheme}://{found['accesskey']}:{found['secretkey']}@{address.netloc}"
        program = os.environ.get("SHELL", "/bin/sh")
        session.output.text(f"{program} with {', '.join(environ)}. exit leaves it.")
        code = subprocess.run([program], env={**os.environ, **environ}, check=False).returncode
    if code:
        raise SystemExit(code)
