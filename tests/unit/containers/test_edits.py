"""An edit on a node that keeps its images in a folder: only the last layer of the former image is replaced."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sys
import tarfile
from typing import TYPE_CHECKING, Any

import pytest

from cluster.config.settings import Settings
from cluster.containers import edits, images
from cluster.containers.runtime import Runtime
from cluster.project.reader import Project

if TYPE_CHECKING:
    from pathlib import Path

BACKEND = """
import zipfile
def build_wheel(folder, settings=None, metadata=None):
    with zipfile.ZipFile(f"{folder}/tap_x-1-py3-none-any.whl", "w") as wheel:
        wheel.write("tap_x.py")
        wheel.writestr("tap_x-1.dist-info/METADATA", "Name: tap-x\\nVersion: 1\\n")
        wheel.writestr("tap_x-1.dist-info/entry_points.txt", "[console_scripts]\\ntap-x = tap_x:main\\n")
    return "tap_x-1-py3-none-any.whl"
"""
CHECKOUT = {
    "singer-containers/Dockerfile": "FROM x\n",
    "singer-containers/tap-x/pyproject.toml": '[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n',
    "singer-containers/tap-x/backend.py": BACKEND,
    "singer-containers/tap-x/tap_x.py": "x = 1\n",
    "singer-configs/tap-x/connector.yaml": "kind: tap\npip_url: singer-containers/tap-x\n",
    "singer-configs/tap-x/requirements.lock": "requests==1\n",
}
PACKAGES = "opt/connector/lib/python3.13/site-packages"
FORMER = {f"{PACKAGES}/tap_x.py": "x = 0\n", f"{PACKAGES}/deleted.py": "", "opt/connector/bin/tap-x": ""}
DOCKER = """#!/bin/sh
[ "$1" = exec ] || exit 0
shift; [ "$1" = --interactive ] && shift; shift
exec "$@"
"""
CTR = """#!/bin/sh
cd '{node}'
case "$*" in
  *"images list"*) echo REF TYPE DIGEST; echo "${{4#name==}} x $(cat "names/$(echo "${{4#name==}}" | tr / _)")" ;;
  *"content get"*) cat "blobs/$4" ;;
  *"--help"*) echo "   --local  x" ;;
  *"images import --digests --local -") [ ! -e refuses ] && cat >imported.tar ;;
esac
"""


def digest(content: bytes) -> str:
    """Return the name of a blob."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


class TapAndNode:
    """A checkout with a tap that lives in it, and a node."""

    def __init__(self, root: Path) -> None:
        """Write the files, and put programs on PATH."""
        self.root, self.node = root / "checkout", root / "node"
        for name, text in CHECKOUT.items():
            self.write(name, text)
        for name in ("names", "blobs"):
            (self.node / name).mkdir(parents=True)
        for name, text in (("docker", DOCKER), ("ctr", CTR.format(node=self.node))):
            (root / name).write_text(text)
            (root / name).chmod(0o755)
        self.settings = Settings(root=self.root, tool=self.root)

    @property
    def image(self) -> str:
        """The image that is wanted."""
        return images.tag(Project(self.root).connector("tap-x"), self.settings)

    def write(self, name: str, text: str) -> None:
        """Write a file of the checkout."""
        file = self.root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def built(self, layer: dict[str, str]) -> None:
        """Let the wanted image be on the node, with this last layer."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for name, text in layer.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(text)
                tar.addfile(entry, io.BytesIO(text.encode()))
        config = {"config": {"User": "8737", "Labels": {"a": "b"}}, "rootfs": {"diff_ids": ["sha256:base", "sha256:own"]}}
        layers = [{"digest": "sha256:base", "size": 5, "mediaType": "any"}, {"digest": self._blob(buffer.getvalue())}]
        manifest = {"config": {"digest": self._blob(json.dumps(config).encode())}, "layers": layers}
        (self.node / "names" / self.image.replace("/", "_")).write_text(self._blob(json.dumps(manifest).encode()))
        images.remember(Project(self.root).connector("tap-x"), self.settings, self.image)

    def _blob(self, content: bytes) -> str:
        (self.node / "blobs" / digest(content)).write_bytes(content)
        return digest(content)

    def put(self) -> bool:
        """Put the edit on the node."""
        return edits.put(Project(self.root).connector("tap-x"), self.settings, Runtime("docker"), "node", lambda _: None)

    def imported(self) -> tuple[str, dict[str, Any], dict[str, Any], dict[str, str]]:
        """Return name, manifest and configuration of the image that the node was given, and the files of its last layer."""
        with tarfile.open(self.node / "imported.tar") as tar:
            blobs_read = {entry.name: tar.extractfile(entry).read() for entry in tar.getmembers()}  # type: ignore[union-attr]
        blobs = {name.replace("blobs/sha256/", "sha256:"): content for name, content in blobs_read.items()}
        [described] = json.loads(blobs["index.json"])["manifests"]
        manifest = json.loads(blobs[described["digest"]])
        layer = blobs[manifest["layers"][-1]["digest"]]
        assert digest(layer) == manifest["layers"][-1]["digest"]
        assert len(blobs) == 5, "only the new layer is sent"
        with tarfile.open(fileobj=io.BytesIO(layer)) as tar:
            files = {entry.name: tar.extractfile(entry).read().decode() for entry in tar.getmembers() if entry.isfile()}  # type: ignore[union-attr]
        return described["annotations"]["io.containerd.image.name"], manifest, json.loads(blobs[manifest["config"]["digest"]]), files


@pytest.fixture
def tap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TapAndNode:
    """Return a checkout and a node."""
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.path.dirname(sys.executable)}:/usr/bin:/bin")  # noqa: PTH120 - not resolved
    return TapAndNode(tmp_path)


def test_an_edit_is_the_last_layer(tap: TapAndNode) -> None:
    """The node gets the edited code, no module that is deleted, and the rest of the former image."""
    tap.built(FORMER)
    assert not tap.put(), "nothing is edited"
    tap.write("singer-containers/tap-x/tap_x.py", "x = 2\n")
    assert tap.put()

    name, manifest, config, files = tap.imported()
    assert name == tap.image
    assert manifest["layers"][0] == {"digest": "sha256:base", "size": 5, "mediaType": "any"}
    assert config["rootfs"]["diff_ids"] == ["sha256:base", manifest["layers"][1]["digest"]]
    assert config["config"] == {"User": "8737", "Labels": {"a": "b", "singer.content": name.rpartition("/")[2]}}
    assert files.pop(f"{PACKAGES}/tap_x.py") == "x = 2\n"
    assert "from tap_x import main" in files.pop("opt/connector/bin/tap-x")
    assert all("/tap_x-1.dist-info/" in file for file in files)


@pytest.mark.parametrize("what", ["lock", "Dockerfile", "another last layer", "no last layer", "not on the node", "refused", "no wheel"])
def test_anything_else_is_left_to_the_builder(tap: TapAndNode, what: str) -> None:
    """What is in other layers is edited, or the node or the project is not as expected."""
    layer = {"another last layer": {**FORMER, "opt/connector/pyvenv.cfg": ""}, "no last layer": {}}
    tap.built(layer.get(what, FORMER))
    tap.write("singer-containers/tap-x/tap_x.py", "x = 2\n")
    if what == "lock":
        tap.write("singer-configs/tap-x/requirements.lock", "requests==2\n")
    elif what == "Dockerfile":
        tap.write("singer-containers/Dockerfile", "FROM y\n")
    elif what == "not on the node":
        next((tap.node / "names").iterdir()).unlink()
    elif what == "refused":
        (tap.node / "refuses").touch()
    elif what == "no wheel":
        tap.write("singer-containers/tap-x/backend.py", BACKEND.replace("none-any", "none-linux_x86_64"))
    assert not tap.put()
    assert not (tap.node / "imported.tar").exists()
