"""Data that outlives its cluster: what ``teardown --keep-data`` writes down, and the next ``up`` brings back.

A kind node's volume dies with its container. So MinIO's folder goes into an archive below ``.local/kept``, as it is,
with every version and its own users, and its credentials beside it; both for the user's eyes only.
"""

from __future__ import annotations

import io
import json
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from cluster.errors import SetupError
from cluster.host.files import file_errors, private, private_folder, write_private
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
    while sys.stdin.buffer.read(1 << 20): pass  # where it fails, the rest is still to be read
"""
CLAIM = "argo-artifacts"
SECONDS = 120
LIFE_SECONDS = 3600
POLL_SECONDS = 0.5


def archive(settings: Settings) -> Path:
    """Return where the buckets are kept."""
    return settings.platform / "kept" / "minio.tar"


def _secrets_file(settings: Settings) -> Path:
    return settings.platform / "kept" / "secrets.json"


def kept_secrets(settings: Settings) -> dict[str, dict[str, str]]:
    """Return the credentials that were kept with the data; none where no data is."""
    try:
        found = json.loads(_secrets_file(settings).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if archive(settings).exists() and isinstance(found, dict) else {}


def save(handles: Handles, image: str, secrets: dict[str, dict[str, str]], say: Callable[[str], None]) -> str:
    """Write MinIO's folder and credentials below ``kept``, and return what was kept and where.

    :raises SetupError: E-KEEP, the data cannot be read.
    """
    from cluster.kube.streams import execute  # noqa: PLC0415 - aiohttp takes 0.2 s to import

    file = archive(handles.settings)
    part = file.with_suffix(".part")
    with file_errors("The data", file):
        private_folder(file.parent)
        write_private(_secrets_file(handles.settings), json.dumps(secrets))
        say("MinIO ends")
        handles.kube.patch("Deployment", "minio", handles.namespace, {"spec": {"replicas": 0}})
        with _pod(handles, image, say) as pod, open(part, "wb", opener=private) as target:
            say("copying")
            execute(handles.kube, handles.namespace, pod, "data", ["python", "-c", SAVE], stdout=target)
        part.replace(file)
    return f"{megabytes(file.stat().st_size)} in {shown(file)}"


def load(handles: Handles, image: str, say: Callable[[str], None]) -> str:
    """Bring what was kept into the new volume, before MinIO begins there."""
    from cluster.kube.streams import execute  # noqa: PLC0415 - aiohttp takes 0.2 s to import

    file = archive(handles.settings)
    size = file.stat().st_size
    with file_errors("The data", file):
        with _pod(handles, image, say) as pod, file.open("rb") as source:
            say(f"copying {megabytes(size)}")
            execute(handles.kube, handles.namespace, pod, "data", ["python", "-c", LOAD], stdin=source, stdout=io.BytesIO())
        file.unlink()
        _secrets_file(handles.settings).unlink()
    return f"{megabytes(size)} brought back"


@contextmanager
def _pod(handles: Handles, image: str, say: Callable[[str], None]) -> Iterator[str]:
    """Yield the name of a pod that has MinIO's volume and Python, and remove it at the end.

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
    deadline = time.monotonic() + SECONDS
    while True:
        live = handles.kube.get("Pod", POD, handles.namespace)
        if live is None if gone else (live or {}).get("status", {}).get("phase") == "Running":
            return
        trouble = pod_trouble(live) if live else None
        say(trouble[0] if trouble else "a pod for the copy")
        if time.monotonic() > deadline or (trouble and trouble[1]):
            why = trouble[0] if trouble else "its pod does not start"
            raise SetupError("E-KEEP", f"MinIO's volume cannot be reached: {why}.", hint="invoke status shows more; then run it again.")
        time.sleep(POLL_SECONDS)


def _document(namespace: str, image: str) -> dict[str, Any]:
    """Return the pod: it sleeps, and commands are run in it. The user is MinIO's."""
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
