"""The commands ``stop`` and ``teardown``."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

from cluster.containers import images
from cluster.errors import SetupError
from cluster.host.locks import only_one
from cluster.platform import backup, removal
from cluster.platform.credentials import ROOT_SECRET, USER_SECRET
from cluster.platform.handles import Handles
from cluster.platform.steps.images import helper_image
from cluster.ui.command_line import command
from cluster.ui.format import count, megabytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from cluster.session import Session


def stop(session: Session) -> None:
    """Stop the cluster; in a cluster that is not ours, only our programs."""
    with Handles(session.settings, session.environ) as handles, is_alone(handles), session.output.step("Cluster") as step:
        stopped = handles.provider.stop() if handles.provider.ours else _scaled_down(handles)
        step.result("stopped; nothing is lost" if stopped else "was not running", "done" if stopped else "unchanged")
    session.output.text(f"Next: {command('up')} wakes it.")


def _scaled_down(handles: Handles) -> bool:
    """Stop our programs, and return whether any was running."""
    if handles.provider.pending():
        return False
    names = [document["metadata"]["name"] for document in handles.rendering.documents if document["kind"] == "Deployment"]
    running = [
        name for name in names if ((handles.kube.get("Deployment", name, handles.namespace) or {}).get("spec") or {}).get("replicas")
    ]
    for name in running:
        handles.kube.patch("Deployment", name, handles.namespace, {"spec": {"replicas": 0}})
    return bool(running)


def teardown(session: Session, *, yes: bool, keep_data: bool, everything: bool) -> None:
    """Remove what is ours, and check that nothing of it is left."""
    output = session.output
    with Handles(session.settings, session.environ) as handles:
        output.text(f"This removes: {_holdings(handles)}.")
        output.text(_kept_line(keep_data=keep_data, everything=everything))
        if not yes and not session.agrees("Remove?", "This would remove things"):
            output.text("Nothing was removed.")
            return
        with is_alone(handles):
            _remove(session, handles, keep_data=keep_data, everything=everything)


def _kept_line(*, keep_data: bool, everything: bool) -> str:
    """Return the sentence about what stays."""
    buckets = ["the buckets with states and runs"] * keep_data
    if everything:
        return f"Kept: {', '.join([*buckets, 'local runs and files'])}."
    kept = ", ".join([*buckets, "local runs and files", "connector environments, and images"])
    return f"Kept: {kept} ({command('teardown --all')} removes environments and images)."


def _holdings(handles: Handles) -> str:
    """Return what there is to remove, as far as the cluster answers."""
    if not handles.instance.cluster:
        return "nothing that runs"
    what = handles.provider.describe() if handles.provider.ours else f"our objects in the {handles.provider.describe()}"
    try:
        if handles.provider.pending():
            return f"{what}, with its buckets, states and runs"
        store, settings = handles.store(), handles.settings
        buckets = (settings.bucket_configs, settings.bucket_artifacts, settings.bucket_outputs)
        sizes = [item.size for bucket in buckets for item in store.objects(bucket)]
        schedules = handles.kube.objects("CronWorkflow", handles.namespace)
        counts = f"{count(len(schedules), 'schedule')} and {count(len(handles.history.ids()), 'run')}"
        return f"{what}, with {count(len(buckets), 'bucket')} ({megabytes(sum(sizes))}), {counts}"
    except SetupError:
        return f"{what}, with its buckets, states and runs"


def _remove(session: Session, handles: Handles, *, keep_data: bool, everything: bool) -> None:
    """Remove the cluster or our objects in it, with *everything* our images and venvs too.

    :raises SetupError: E-LEFT, a part is still there; E-KEEP, the data cannot be kept, and nothing
        was removed.
    """
    output, ours = session.output, handles.instance.owns(handles.provider.cluster)
    stays: list[str] = []
    if keep_data and ours and handles.provider.ours and handles.settings.store == "install":
        with output.step("Data") as step:
            step.result(f"kept: {_kept(handles, lambda text: setattr(step, 'detail', text))}")
    with output.step("Cluster") as step:
        if ours and not handles.provider.ours:
            stays = list(removal.remove(handles, lambda text: setattr(step, "detail", text), keep_data=keep_data))
        gone = handles.provider.delete()
        left = handles.provider.left() if ours else []
        if left:
            hint = f"{handles.runtime.program} rm --force --volumes {' '.join(left)}"
            raise SetupError("E-LEFT", f"A part of the cluster is still there: {', '.join(left)}.", hint=hint)
        handles.instance.forget()
        step.result("deleted" if gone else "our objects are removed" if ours else "was not there", "done" if gone or ours else "unchanged")
    if everything:
        with output.step("Images and environments") as step:
            step.result(f"{count(_images_removed(handles), 'image')} removed")
            data = [] if keep_data else [backup.archive(handles.settings).parent]
            for folder in (*(handles.settings.local / name for name in ("environments", "pythons", "cache", "bin", "build")), *data):
                shutil.rmtree(folder, ignore_errors=True)
    for text in stays:
        output.line("!", "Left", text)
    output.line("✓", "Nothing else of ours is left" if stays else "Nothing of ours is left", "your kubeconfig was never touched")


def _images_removed(handles: Handles) -> int:
    """Remove the images that this checkout built or pulled, and return their number.

    Two names may be one image.
    """
    names = [thing.removeprefix("image ") for thing in handles.instance.brought if thing.startswith("image ")]
    if not names:
        return 0
    removed = images.remove(names, handles.runtime)
    for name in names:
        handles.instance.took_away(f"image {name}")
    return removed


def _kept(handles: Handles, say: Callable[[str], None]) -> str:
    """Save the buckets, and return what was saved and where.

    :raises SetupError: E-KEEP, they cannot be read.
    """
    why = handles.provider.pending() or handles.kube.silent()
    secrets = {} if why else {name: handles.credentials.secret(name) or {} for name in (ROOT_SECRET, USER_SECRET)}
    if not all(secrets.values()) or why:
        raise SetupError(
            "E-KEEP",
            f"The data cannot be kept: {why or 'its credentials are gone'}. Nothing was removed.",
            hint=f"Run {command('up')} first, or leave --keep-data out.",
        )
    return backup.save(handles, helper_image(handles), secrets, say)


def is_alone(handles: Handles) -> AbstractContextManager[None]:
    """Let only one command change the platform at a time."""
    return only_one(handles.settings.platform / "locks" / "platform", "Another up, stop or teardown of this checkout is under way.")
