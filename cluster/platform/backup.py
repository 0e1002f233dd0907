"""Saves data for ``teardown --keep-data``, and restores it at the next ``up``.

A kind node's volume is deleted with its container. So MinIO's folder becomes an archive in
``.local/kept``, with all versions and users, next to its credentials. Only the user may read
either.
"""

from __future__ import annotations

import io
import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder, write_private
from cluster.host.waiting import until
from cluster.kube.documents import labelled, pod_trouble
from cluster.ui.format import megabytes, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from cluster.config.settings import Settings
    from cluster.platform.handles import Handles

POD = "singer-data"
FOLDER = "/data"
SAVE = f"import sys, tarfile; t = tarfile.open(fileobj=sys.stdout.buffer, mode='w|'); t.add('{FOLDER}', '.'); t.close()"
LOAD = f"""
import sys, tarfile
try:
    tarfile.open(fileobj=sys.stdin.buffer, mode='r|').extractall('{FOLDER}', filter='data')
finally:
    while sys.stdin.buffer.read(1 << 20): pass  # after an error the sender still writes
"""
CLAIM = "argo-artifacts"
POD_SECONDS = 120
LIFE_SECONDS = 3600


def archive(settings: Settings) -> Path:
    """Return the file with the buckets."""
    return settings.platform / "kept" / "minio.tar"


def _secrets_file(settings: Settings) -> Path:
    return settings.platform / "kept" / "secrets.json"


def saved_credentials(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the credentials that belong to the saved data; empty if there is no saved data."""
    try:
        saved = json.loads(_secrets_file(settings).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return saved if archive(settings).exists() and isinstance(saved, dict) else {}


def save(handles: Handles, image: str, secrets: dict[str, dict[str, str]], say: Callable[[str], None]) -> str:
    """Save MinIO's folder and credentials, and return size and file.

    :raises SetupError: E-KEEP, the data cannot be read.
    """
    from cluster.kube.streams import execute  # noqa: PLC0415 - aiohttp takes 0.2 s to import

    file = archive(handles.settings)
    part = file.with_suffix(".part")
    with file_errors("The data", file):
        private_folder(file.parent)
        write_private(_secrets_file(handles.settings), json.dumps(secrets))
        say("stopping MinIO")
        handles.kube.patch("Deployment", "minio", handles.namespace, {"spec": {"replicas": 0}})
        with _pod(handles, image, say) as pod, open(part, "wb", opener=private) as target:
            say("copying")
            execute(handles.kube, handles.namespace, pod, "data", ["python", "-c", SAVE], stdout=target)
        part.replace(file)
    return f"{megabytes(file.stat().st_size)} in {shown(file)}"


def load(handles: Handles, image: str, say: Callable[[str], None]) -> str:
    """Restore the saved data into the new volume, before MinIO starts."""
    from cluster.kube.streams import execute  # noqa: PLC0415 - aiohttp takes 0.2 s to import

    file = archive(handles.settings)
    size = file.stat().st_size
    with file_errors("The data", file):
        with _pod(handles, image, say) as pod, file.open("rb") as source:
            say(f"copying {megabytes(size)}")
            execute(handles.kube, handles.namespace, pod, "data", ["python", "-c", LOAD], stdin=source, stdout=io.BytesIO())
        file.unlink()
        _secrets_file(handles.settings).unlink()
    return f"{megabytes(size)} restored"


@contextmanager
def _pod(handles: Handles, image: str, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the name of a pod with MinIO's volume and Python, and delete it afterwards.

    :raises SetupError: E-KEEP, it does not start.
    """
    handles.kube.delete("Pod", POD, handles.namespace)
    _wait(handles, say, gone=True)
    handles.kube.apply(labelled(_document(handles.namespace, image), handles.labels))
    try:
        _wait(handles, say, gone=False)
        yield POD
    finally:
        handles.kube.delete("Pod", POD, handles.namespace)


def _wait(handles: Handles, say: Callable[[str], None], *, gone: bool) -> None:
    """Wait until the pod is gone, or runs.

    :raises SetupError: E-KEEP, it takes too long or cannot start.
    """

    def error(reason: str) -> SetupError:
        return SetupError("E-KEEP", f"MinIO's volume cannot be reached: {reason}.", hint="invoke status shows more; then run it again.")

    def pending() -> str | None:
        live = handles.kube.get("Pod", POD, handles.namespace)
        if live is None if gone else (live or {}).get("status", {}).get("phase") == "Running":
            return None
        reason, hopeless = (pod_trouble(live) if live else None) or ("its pod does not start", False)
        say(f"the pod that copies: {reason}")
        if hopeless:
            raise error(reason)
        return reason

    until(pending, seconds=POD_SECONDS, error=error)


def _document(namespace: str, image: str) -> dict[str, Any]:
    """Return the pod: it sleeps, and we run commands in it. Its user is MinIO's."""
    container = {
        "name": "data",
        "image": image,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", f"import time; time.sleep({LIFE_SECONDS})"],
        "securityContext": {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "data", "mountPath": FOLDER}],
    }
    security = {"runAsNonRoot": True, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 1000, "seccompProfile": {"type": "RuntimeDefault"}}
    spec = {
        "restartPolicy": "Never",
        "activeDeadlineSeconds": LIFE_SECONDS,
        "terminationGracePeriodSeconds": 0,
        "automountServiceAccountToken": False,
        "securityContext": security,
        "containers": [container],
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": CLAIM}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": POD, "namespace": namespace}, "spec": spec}
