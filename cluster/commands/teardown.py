"""The commands ``stop`` and ``teardown``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.host.locks import only_one
from cluster.platform import backup, removal
from cluster.platform.handles import ROOT_SECRET, USER_SECRET, Stack
from cluster.platform.steps.images import helper_image
from cluster.ui.command_line import command
from cluster.ui.format import megabytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cluster.session import Session


def stop(session: Session) -> None:
    """Stop the cluster; ``up`` wakes it. Of a cluster that is not ours only our programs are stopped."""
    with Stack(session.settings, session.environ) as stack, is_alone(stack), session.output.step("Cluster") as step:
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
        with is_alone(stack):
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
            stays = list(removal.remove(stack, lambda text: setattr(step, "detail", text), keep_data=keep_data))
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
                backup.archive(stack.settings).parent,
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
    return backup.save(stack, helper_image(stack), secrets, say)


def is_alone(stack: Stack) -> AbstractContextManager[None]:
    """Let only one command change the platform at a time."""
    return only_one(stack.settings.platform / "locks" / "platform", "Another up, stop or teardown of this checkout is under way.")
