"""Images to a node in a container: only the layers that its containerd does not have yet.

An edit of a connector changes a layer of a few kilobytes in an image of 260 MB. A runtime can only
save whole images. So its archive is read here, and an OCI image layout without the present layers
is passed on. containerd accepts it: its content store has these layers, by digest.
"""

from __future__ import annotations

import hashlib
import io
import json
import subprocess
import tarfile
import tempfile
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from cluster.containers.runtime import IMPORT, full_name
from cluster.host.files import private_folder
from cluster.host.subprocesses import find

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cluster.containers.runtime import Runtime
    from cluster.project.wheels import File

HAS = ("ctr", "--namespace=k8s.io", "content", "list", "--quiet")
"""The command that prints the digests in a node's content store."""
READ_MANIFEST = """
digest=$(ctr --namespace=k8s.io images list "name==$1" | awk 'NR == 2 {print $3}')
exec ctr --namespace=k8s.io content get "$digest"
"""
READ_PARTS = """
ctr --namespace=k8s.io content get "$1"
printf '\\0'
ctr --namespace=k8s.io content get "$2" | gzip -cdf | tar -tf -
printf '\\0whole'
"""
"""Prints a configuration and the paths in a layer. Each has an end, so that half of it is seen."""
LAYOUT = ("oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
NAME = "io.containerd.image.name"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
COMPRESSED = {b"\x1f\x8b": "+gzip", b"\x28\xb5": "+zstd"}
"""The first bytes of compressed layers, and what their media type ends with."""


def load(runtime: Runtime, node: str, images: Sequence[str], work: Path) -> None:
    """Load images into a node's containerd. *work* is a folder for an archive.

    :raises SetupError: E-IMAGE, the runtime or containerd refused.
    """
    present = _digests(runtime, node)
    if present.isdisjoint(_layers(runtime, images)):  # as on a new node
        runtime.into_node(node, images)
        return
    with tempfile.TemporaryDirectory(prefix=".", dir=private_folder(work)) as folder:
        archive = Path(folder) / "images.tar"
        runtime.save(images, archive)
        sent = send(runtime, node, lambda file: write(archive, file, present))
    if not sent:
        runtime.into_node(node, images)


def _digests(runtime: Runtime, node: str) -> set[str]:
    """Return the digests of what a node's containerd has; nothing if it does not answer."""
    result = runtime.run("exec", node, *HAS)
    return set(result.stdout.split()) if result.returncode == 0 else set()


def _layers(runtime: Runtime, images: Sequence[str]) -> set[str]:
    """Return the digests of the uncompressed layers of images."""
    result = runtime.run("image", "inspect", "--format", "{{json .RootFS.Layers}}", *images)
    try:
        return {digest for line in result.stdout.splitlines() for digest in json.loads(line) or ()}
    except ValueError:
        return set()


def send(runtime: Runtime, node: str, pack: Callable[[IO[bytes]], object]) -> bool:
    """Send an archive that *pack* writes. Return whether the node's containerd took it."""
    command = [find(runtime.program), "exec", "--interactive", node, *IMPORT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as importing:
        assert importing.stdin is not None
        try:
            pack(importing.stdin)
            importing.stdin.close()
        except (OSError, KeyError, ValueError, tarfile.TarError):  # another form, or a refusal
            importing.kill()
    return importing.returncode == 0


def write(archive: Path, file: IO[bytes], present: set[str]) -> None:
    """Write an archive of docker, podman or nerdctl as an OCI image layout, without some layers.

    :raises KeyError, ValueError, tarfile.TarError: the archive has another form.
    """
    with tarfile.open(archive) as source, tarfile.open(fileobj=file, mode="w|") as layout:
        _add(layout, *LAYOUT)
        manifests, sent = [], set(present)
        for image in json.loads(_read(source, "manifest.json")):
            manifest = _add_image(source, layout, image, sent)
            manifests += [{**manifest, "annotations": {NAME: full_name(name)}} for name in image["RepoTags"]]
        _add(layout, "index.json", json.dumps({"schemaVersion": 2, "manifests": manifests}).encode())


class Image(NamedTuple):
    """An image on a node."""

    manifest: dict[str, Any]
    config: dict[str, Any]
    names: list[str]
    """The paths in its last layer."""


def read(runtime: Runtime, node: str, image: str) -> Image | None:
    """Return an image of a node; None if it is not there, or has a form that is not known."""
    answer = runtime.run("exec", node, "sh", "-c", READ_MANIFEST, "-", full_name(image))
    try:
        manifest = json.loads(answer.stdout)
        digests = manifest["config"]["digest"], manifest["layers"][-1]["digest"]
        config, _, names = runtime.run("exec", node, "sh", "-ec", READ_PARTS, "-", *digests).stdout.partition("\0")
        names, _, whole = names.rpartition("\0")
        return Image(manifest, json.loads(config), names.splitlines()) if whole == "whole" else None
    except (ValueError, LookupError, TypeError):
        return None


def replace(former: Image, content: Mapping[str, File], name: str, labels: Mapping[str, str], file: IO[bytes]) -> None:
    """Write an image as an OCI image layout: a former one with another last layer.

    Only that layer is in it.

    :raises KeyError: the former image has another form.
    """
    layer = _layer(content)
    with tarfile.open(fileobj=file, mode="w|") as layout:
        _add(layout, *LAYOUT)
        added = _add_blob(layout, layer, LAYER)
        rootfs = former.config["rootfs"]
        changed = {**former.config["config"], "Labels": {**(former.config["config"].get("Labels") or {}), **labels}}
        config = {**former.config, "config": changed, "rootfs": {**rootfs, "diff_ids": [*rootfs["diff_ids"][:-1], added["digest"]]}}
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _add_blob(layout, json.dumps(config).encode(), CONFIG),
            "layers": [*former.manifest["layers"][:-1], added],
        }
        described = {**_add_blob(layout, json.dumps(manifest).encode(), MANIFEST), "annotations": {NAME: full_name(name)}}
        _add(layout, "index.json", json.dumps({"schemaVersion": 2, "manifests": [described]}).encode())


def _layer(content: Mapping[str, File]) -> bytes:
    """Return a layer with some files and their folders: the same bytes for the same files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as layer:
        for folder in sorted({str(parent) for name in content for parent in PurePosixPath(name).parents} - {"."}):
            entry = tarfile.TarInfo(folder)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o755
            layer.addfile(entry)
        for name, file in sorted(content.items()):
            _add(layer, name, file.content, file.mode)
    return buffer.getvalue()


def _add_image(source: tarfile.TarFile, layout: tarfile.TarFile, image: dict[str, Any], sent: set[str]) -> dict[str, Any]:
    """Add an image, and return the descriptor of its manifest."""
    config = _read(source, image["Config"])
    layers = []
    for name, diff in zip(image["Layers"], json.loads(config)["rootfs"]["diff_ids"], strict=True):
        content = source.extractfile(name)
        if content is None:
            raise ValueError(name)
        compressed = COMPRESSED.get(content.read(2), "")
        size = content.seek(0, io.SEEK_END)
        content.seek(0)
        digest = f"sha256:{name.rpartition('/')[2]}" if name.startswith("blobs/") else diff
        if digest not in sent:
            sent.add(digest)
            entry = tarfile.TarInfo(_blob(digest))
            entry.size = size
            layout.addfile(entry, content)
        layers.append({"mediaType": LAYER + compressed, "digest": digest, "size": size})
    manifest = {"schemaVersion": 2, "mediaType": MANIFEST, "config": _add_blob(layout, config, CONFIG), "layers": layers}
    return _add_blob(layout, json.dumps(manifest).encode(), MANIFEST)


def _read(source: tarfile.TarFile, name: str) -> bytes:
    content = source.extractfile(name)
    if content is None:
        raise ValueError(name)
    return content.read()


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_blob(layout: tarfile.TarFile, content: bytes, kind: str) -> dict[str, Any]:
    """Add a blob, and return its descriptor."""
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    _add(layout, _blob(digest), content)
    return {"mediaType": kind, "digest": digest, "size": len(content)}


def _add(layout: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.mode = mode
    entry.size = len(content)
    layout.addfile(entry, io.BytesIO(content))
