"""The commands of the platform: up, status, stop, teardown, open, credentials."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import webbrowser
from typing import TYPE_CHECKING

from cluster import plan
from cluster.converge import converge, look
from cluster.errors import SetupError
from cluster.files import only_one
from cluster.images import OURS
from cluster.progress import command, seconds
from cluster.stack import ROOT_SECRET, USER_SECRET, Stack
from cluster.steps import wanted

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from cluster.session import Session

DOORS = {"argo": "port_argo", "minio": "port_console"}


def up(session: Session, *, timings: bool, plan_only: bool) -> None:
    """Bring the platform up, or make right what is wrong with it."""
    output, began = session.output, time.monotonic()
    stack = Stack(session.settings, session.environ)
    ports = stack.instance.ports
    output.text(f"singer  {stack.provider.describe()}")
    output.text(f"        ports {ports['port_argo']} Argo · {ports['port_s3']} S3 · {ports['port_console']} console, on 127.0.0.1 only")
    output.text()
    steps = plan.up()
    if plan_only:
        for title, why in look(steps, stack).items():
            output.line("•" if why is None else " ", title, why or "in place")
            output.event("step", step=title, pending=why)
        for image in wanted(stack):
            output.text(f"  {image}")
        return
    with _alone(stack):
        changed = converge(steps, stack, output)
    taken = time.monotonic() - began
    output.event("up.finished", changed=sorted(changed), seconds=round(taken, 3), ports=ports)
    if not changed:
        output.line("•", f"Everything is in place ({len(steps)} of {len(steps)}), nothing changed.", seconds(taken))
        return
    if timings:
        output.table([[title, seconds(value)] for title, value in sorted(changed.items(), key=lambda item: -item[1])], ["step", "time"])
    output.text()
    output.text(f"Ready in {seconds(taken)}.")
    output.text(f"  Argo     http://127.0.0.1:{ports['port_argo']}       read-only, no login")
    output.text(f"  MinIO    http://127.0.0.1:{ports['port_console']}       login: {command('credentials')}")
    output.text(f"Next: {command('status')} · {command('demo')}")


def status(session: Session) -> None:
    """Show every fact and what it waits for.

    :raises SetupError: E-DOWN, not all is well.
    """
    stack = Stack(session.settings, session.environ)
    found = look(plan.up(), stack)
    for title, why in found.items():
        session.output.line("✓" if why is None else "!", title, why or "")
        session.output.event("step", step=title, pending=why)
    missing = [title for title, why in found.items() if why is not None]
    if missing:
        raise SetupError("E-DOWN", f"{len(missing)} of {len(found)} are not as they should be: {', '.join(missing)}.", hint=command("up"))


def stop(session: Session) -> None:
    """Stop the cluster; ``up`` wakes it."""
    stack = Stack(session.settings, session.environ)
    with _alone(stack), session.output.step("Cluster") as step:
        stopped = stack.provider.stop()
        step.result("stopped; nothing is lost" if stopped else "was not running", "done" if stopped else "unchanged")
    session.output.text(f"Next: {command('up')} wakes it.")


def teardown(session: Session, *, yes: bool, everything: bool) -> None:
    """Take away what is ours, and see that nothing of it is left."""
    output = session.output
    stack = Stack(session.settings, session.environ)
    ours = stack.instance.owns(stack.settings.cluster)
    output.text(f"This removes: {stack.provider.describe() if ours else 'nothing that runs'}, with its buckets, states and runs.")
    output.text(
        "Kept: connector environments, local runs and files"
        + (" (--all: connector images go too)." if everything else f" and images ({command('teardown --all')} removes these).")
    )
    if not yes and not _agreed():
        output.text("Nothing was removed.")
        return
    with _alone(stack):
        _remove(session, stack, everything=everything)


def _remove(session: Session, stack: Stack, *, everything: bool) -> None:
    """Remove the cluster, on request our images too, and look whether anything is left.

    :raises SetupError: E-LEFT, something is.
    """
    output, ours = session.output, stack.instance.owns(stack.settings.cluster)
    with output.step("Cluster") as step:
        gone = stack.provider.delete()
        left = stack.provider.left() if ours else []
        if left:
            hint = f"{stack.runtime.program} rm --force --volumes {' '.join(left)}"
            raise SetupError("E-LEFT", f"A part of the cluster is still there: {', '.join(left)}.", hint=hint)
        stack.instance.forget()
        step.result("deleted" if gone else "was not there", "done" if gone else "unchanged")
    if everything:
        with output.step("Images of connectors") as step:
            names = stack.runtime.run("images", "--quiet", "--filter", f"label={OURS}").stdout.split()
            if names:
                stack.runtime.run("rmi", "--force", *names)
            step.result(f"{len(set(names))} removed")
    output.line("✓", "Nothing of ours is left", "0 containers; your kubeconfig was never touched")


def _alone(stack: Stack) -> AbstractContextManager[None]:
    """Let only one command change the platform at a time."""
    return only_one(stack.settings.local / "locks" / "platform", "Another up, stop or teardown of this checkout is under way.")


def _agreed() -> bool:
    """Ask on a terminal; elsewhere nobody can answer.

    :raises SetupError: E-SETTING, there is no terminal and no --yes.
    """
    if not sys.stdin.isatty():
        raise SetupError("E-SETTING", "This would remove things, and nobody is there to be asked.", hint="Say it beforehand: --yes")
    return input("Remove? [y/N] ").strip().lower() in {"y", "yes"}


def open_door(session: Session, door: str, *, only_print: bool) -> None:
    """Open Argo's or MinIO's pages in the browser."""
    if door not in DOORS:
        raise SetupError("E-SETTING", f"There is no door {door!r}; there are {', '.join(DOORS)}.", hint="Name one of these.")
    stack = Stack(session.settings, session.environ)
    url = f"http://127.0.0.1:{stack.instance.ports[DOORS[door]]}"
    session.output.event("open", door=door, url=url)
    session.output.text(
        url if only_print else f"{url}  " + ("read-only, no login" if door == "argo" else f"login: {command('credentials')}")
    )
    if not only_print:
        webbrowser.open(url)


def _secret(stack: Stack, name: str) -> dict[str, str]:
    """Return the values of one of the platform's Secrets.

    :raises SetupError: E-DOWN, the platform is not up.
    """
    why = stack.provider.pending()
    found = None if why else stack.secret(name)
    if found is None:
        raise SetupError("E-DOWN", f"The platform is not up: {why or 'its credentials are not there'}.", hint=command("up"))
    return found


def credentials(session: Session) -> None:
    """Show MinIO's credentials, because they were asked for."""
    stack = Stack(session.settings, session.environ)
    found = _secret(stack, ROOT_SECRET)
    session.output.event("credentials", user=found["accesskey"], password=found["secretkey"])
    session.output.table([["user", found["accesskey"]], ["password", found["secretkey"]]], ["", ""])


def shell(session: Session) -> None:
    """Start a shell in which kubectl, k9s, aws and mc work with this platform and nothing else."""
    stack = Stack(session.settings, session.environ)
    found = _secret(stack, USER_SECRET)
    address = f"127.0.0.1:{stack.instance.ports['port_s3']}"
    environ = {
        "KUBECONFIG": str(stack.provider.kubeconfig),
        "AWS_ACCESS_KEY_ID": found["accesskey"],
        "AWS_SECRET_ACCESS_KEY": found["secretkey"],
        "AWS_ENDPOINT_URL": f"http://{address}",
        "AWS_DEFAULT_REGION": stack.settings.s3_region,
        "MC_HOST_singer": f"http://{found['accesskey']}:{found['secretkey']}@{address}",
    }
    program = os.environ.get("SHELL", "/bin/sh")
    session.output.text(f"{program} with {', '.join(environ)}. exit leaves it.")
    code = subprocess.run([program], env={**os.environ, **environ}, check=False).returncode
    if code:
        raise SystemExit(code)
