"""An archive of each container runtime becomes an OCI image layout without the layers that a node has."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from typing import TYPE_CHECKING

import pytest

from cluster.containers.layers import write

if TYPE_CHECKING:
    from pathlib import Path

BASE, OWN = b"base " * 4000, b"own"
GZIPPED = b"\x1f\x8b" + b"compressed base"
NAME = "localhost/singer/tap-x:1"


def digest(content: bytes) -> str:
    """Return a digest as in manifests."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


CONFIG = json.dumps({"rootfs": {"diff_ids": [digest(BASE), digest(OWN)]}}).encode()


def archive(file: Path, entries: dict[str, bytes | str], config: str, layers: list[str]) -> Path:
    """Write what a runtime saves; a text is a symbolic link."""
    manifest = json.dumps([{"Config": config, "RepoTags": [NAME], "Layers": layers}]).encode()
    with tarfile.open(file, "w") as saved:
        for name, content in {**entries, config: CONFIG, "manifest.json": manifest}.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, content
                saved.addfile(entry)
            else:
                entry.size = len(content)
                saved.addfile(entry, io.BytesIO(content))
    return file


def blob(content: bytes) -> str:
    """Return the name of a blob."""
    return "blobs/" + digest(content).replace(":", "/")


def docker_20(file: Path) -> Path:
    """Write the older format of docker, in which a layer that two images share is a link."""
    return archive(
        file, {"aa/layer.tar": BASE, "bb/layer.tar": "../aa/layer.tar", "cc/layer.tar": OWN}, "c.json", ["bb/layer.tar", "cc/layer.tar"]
    )


def docker_25(file: Path) -> Path:
    """Write the newer format of docker."""
    return archive(file, {blob(BASE): BASE, blob(OWN): OWN}, blob(CONFIG), [blob(BASE), blob(OWN)])


def podman(file: Path) -> Path:
    """Write podman's format."""
    names = [f"{hashlib.sha256(content).hexdigest()}.tar" for content in (BASE, OWN)]
    return archive(file, dict(zip(names, (BASE, OWN), strict=True)), "c.json", names)


def containerd(file: Path) -> Path:
    """Write the format of a runtime that keeps layers compressed, as nerdctl."""
    return archive(file, {blob(GZIPPED): GZIPPED, blob(OWN): OWN}, blob(CONFIG), [blob(GZIPPED), blob(OWN)])


@pytest.mark.parametrize(("runtime", "base"), [(docker_20, BASE), (docker_25, BASE), (podman, BASE), (containerd, GZIPPED)])
def test_only_new_layers_are_sent(tmp_path: Path, runtime: type, base: bytes) -> None:
    """All blobs but the present ones are there under their digests, and the manifest names all."""
    saved = runtime(tmp_path / "saved.tar")
    for present, sent in [(set(), {base, OWN}), ({digest(base)}, {OWN}), ({digest(base), digest(OWN)}, set())]:
        layout = io.BytesIO()
        write(saved, layout, present)
        layout.seek(0)
        with tarfile.open(fileobj=layout) as read:
            blobs = {entry.name: read.extractfile(entry).read() for entry in read.getmembers()}  # type: ignore[union-attr]
        index = json.loads(blobs.pop("index.json"))
        assert json.loads(blobs.pop("oci-layout")) == {"imageLayoutVersion": "1.0.0"}
        assert all(name == blob(content) for name, content in blobs.items())
        [image] = index["manifests"]
        assert image["annotations"] == {"io.containerd.image.name": NAME}
        manifest = json.loads(blobs["blobs/" + image["digest"].replace(":", "/")])
        assert (manifest["config"]["digest"], manifest["config"]["size"]) == (digest(CONFIG), len(CONFIG))
        assert [(layer["digest"], layer["size"]) for layer in manifest["layers"]] == [(digest(base), len(base)), (digest(OWN), len(OWN))]
        assert manifest["layers"][0]["mediaType"].endswith("+gzip") == (base is GZIPPED)
        assert set(blobs.values()) & {base, OWN} == sent


def test_another_form_is_refused(tmp_path: Path) -> None:
    """An archive that has no manifest is sent as it is, by another way."""
    with tarfile.open(tmp_path / "saved.tar", "w"):
        pass
    with pytest.raises(KeyError):
        write(tmp_path / "saved.tar", io.BytesIO(), set())
