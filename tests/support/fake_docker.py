"""Images without content, put into a registry over HTTP; and a stand-in for ``docker`` that does so where there is no container runtime.

It imports little: a test starts it dozens of times.
"""

from __future__ import annotations

import fcntl
import hashlib
import http.client
import itertools
import json
import os
import shutil
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Mapping
    from email.message import Message

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
HERE = Path(__file__).resolve().parent


class Answer(NamedTuple):
    """What a registry has answered."""

    status: int
    headers: Message
    body: bytes


def send(host: str, method: str, path: str, body: bytes, headers: Mapping[str, str], *, trusting: ssl.SSLContext | None = None) -> Answer:
    """Send one request."""
    connection = http.client.HTTPConnection(host, timeout=10)
    if trusting:
        connection = http.client.HTTPSConnection(host, timeout=10, context=trusting)
    connection.request(method, path, body, dict(headers))
    with closing(connection), connection.getresponse() as answer:
        return Answer(answer.status, answer.headers, answer.read())


def put(image: str, platforms: Mapping[str, Mapping[str, str]], request: Callable[..., Answer]) -> None:
    """Put an image without any layer into a registry; for one platform a manifest, for several an index, as builders do it."""
    name, _, tag = image.rpartition(":")

    def sent(method: str, path: str, body: bytes, kind: str) -> None:
        answer = request(method, path, body, kind)
        assert answer.status == http.client.CREATED, answer.body

    entries = []
    for platform, labels in platforms.items():
        system, _, machine = platform.partition("/")
        config = json.dumps({"os": system, "architecture": machine, "config": {"Labels": labels}, "rootfs": {"type": "layers"}}).encode()
        begun = request("POST", f"/v2/{name}/blobs/uploads/", b"", "application/octet-stream")
        assert begun.status == http.client.ACCEPTED, begun.body
        location = begun.headers["Location"].partition("/v2/")[2]
        sent("PUT", f"/v2/{location}&digest={digest(config)}", config, "application/octet-stream")
        described = {"mediaType": CONFIG, "digest": digest(config), "size": len(config)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": []}).encode()
        sent("PUT", f"/v2/{name}/manifests/{tag if len(platforms) == 1 else digest(manifest)}", manifest, MANIFEST)
        where = {"os": system, "architecture": machine}
        entries.append({"mediaType": MANIFEST, "digest": digest(manifest), "size": len(manifest), "platform": where})
    if len(platforms) > 1:
        index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}
        sent("PUT", f"/v2/{name}/manifests/{tag}", json.dumps(index).encode(), INDEX)


def digest(data: bytes) -> str:
    """Return the name that content has in a registry."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def install(folder: Path, desk: Path) -> Path:
    """Put a program ``docker`` into *folder*: it builds nothing but a name, with labels and platform, and really pushes.

    On the *desk* are the images that it has, every call of it, what it is to refuse with, and what it was last given to install.
    """
    for made in (folder, desk):
        made.mkdir(parents=True, exist_ok=True)
    file = folder / "docker"
    lines = (
        f"#!{sys.executable}",
        "import sys",
        f"sys.path.insert(0, {str(HERE)!r})",
        "import fake_docker",
        f"fake_docker.docker({str(desk)!r})",
    )
    file.write_text("\n".join(lines) + "\n")
    file.chmod(0o755)
    return file


def take(desk: Path, context: Path, arguments: Mapping[str, str]) -> None:
    """Keep what the image would install; fail if a compiler is to be missed."""
    for argument in {"SOURCES", "OWN"} & set(arguments):
        shutil.copytree(context / arguments[argument], desk / argument.lower(), dirs_exist_ok=True)
    failure = desk / "fails-without-compiler"
    if failure.exists() and "BUILD_PACKAGES" not in arguments:
        sys.exit(failure.read_text())


def docker(desk: str) -> None:
    """Be the stand-in."""
    words, images = sys.argv[1:], Path(desk) / "images.json"
    one_at_a_time = (Path(desk) / "lock").open("a")
    fcntl.flock(one_at_a_time, fcntl.LOCK_EX)  # until this process ends
    with (Path(desk) / "calls").open("a") as calls:
        calls.write(f"docker {' '.join(words)}\n")
    known = json.loads(images.read_text()) if images.exists() else {}
    refusal = Path(desk) / f"refuses-{words[0]}"
    if refusal.exists():
        sys.exit(refusal.read_text())
    if words[0] == "build":
        options: dict[str, list[str]] = {}
        for option, value in itertools.pairwise(words):
            options.setdefault(option, []).append(value)
        own = "linux/amd64" if (Path(desk) / "builds-its-own").exists() else options.get("--platform", ["linux/amd64"])[0]
        labels = dict(label.split("=", 1) for label in options["--label"])
        take(Path(desk), Path(words[-1]), dict(text.split("=", 1) for text in options.get("--build-arg", []) if "=" in text))
        images.write_text(json.dumps({**known, **{key: {own: labels} for key in options["--tag"]}}))
    elif words[:2] == ["image", "inspect"]:
        for image in words[4:]:
            if image not in known:
                sys.exit(f"Error response from daemon: No such image: {image}")
            print(*known[image])  # noqa: T201 - what docker prints
    elif words[0] == "info":
        print('{"ServerVersion": "28.2.2", "OSType": "linux", "Architecture": "x86_64"}')  # noqa: T201 - likewise
    elif words[0] == "push":
        host, _, name = words[1].partition("/")
        folder = Path(os.environ.get("DOCKER_CONFIG") or Path(os.environ["HOME"]) / ".docker")
        file = folder / "config.json"
        auth = json.loads(file.read_text())["auths"].get(host, {}).get("auth") if file.exists() else ""
        login = {"Authorization": f"Basic {auth}"} if auth else {}

        def request(method: str, path: str, content: bytes, kind: str) -> Answer:
            return send(host, method, path, content, {"Content-Type": kind, **login})

        put(name, known[words[1]], request)
