"""Container images: those of other people, pulled, and the connectors' own, built under content-hash tags.

A tag is the hash of everything that the image is made from, so that nothing is built twice and nothing stale is run.
"""

from __future__ import annotations

import hashlib
import os
from typing import TYPE_CHECKING

from cluster import network
from cluster.environments import content, project_content, project_files
from cluster.errors import SetupError
from cluster.files import file_errors, private_folder, write_private
from cluster.programs import last_line

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.connectors import Connector
    from cluster.runtime import Runtime
    from cluster.settings import Settings

REPOSITORY = "localhost/singer"
"""Where no registry is chosen. Named as a host, because podman would put that before it: the same for every runtime and node."""
DEFAULT_PYTHON = "3.13"
LEFT_BY_DBT = {"logs", "target"}
"""What dbt leaves in a project where people run it by hand; the image has none of it."""
COMMIT = "commit"
COMMIT_FILES = (
    "singer-containers/Dockerfile.commit",
    "singer-containers/commit.lock",
    "singer-containers/commit.py",
    "singer-containers/notify.py",
    "cluster/__init__.py",
    "cluster/errors.py",
    "cluster/fields.py",
    "cluster/files.py",
    "cluster/layout.py",
    "cluster/network.py",
    "cluster/progress.py",
    "cluster/runs.py",
    "cluster/settings.py",
    "cluster/verdict.py",
    "cluster/store",
)
"""What the image ``commit`` is made from; a test compares it with the Dockerfile and runs the program with these files alone."""
OURS = "app.kubernetes.io/part-of=singer"
"""The label of every image that is built here, by whichever checkout."""


def tag(connector: Connector, settings: Settings) -> str:
    """Return the image of a connector: ``localhost/singer/<name>:<hash>``, or in the registry that was chosen."""
    containers = settings.root / "singer-containers"
    digest = hashlib.sha256()
    for file in (containers / "Dockerfile", containers / "entrypoint.py", connector.lock):
        digest.update(file.read_bytes() if file.exists() else b"")  # a lock that is not there yet is made before the image
    digest.update(project_content(connector))
    if connector.kind == "transform":
        files = [file for file in project_files(connector.folder) if file.relative_to(connector.folder).parts[0] not in LEFT_BY_DBT]
        digest.update(content(connector.folder, files))
    digest.update(repr(sorted(arguments(connector, settings).items())).encode())
    return f"{settings.registry or REPOSITORY}/{connector.name}:{digest.hexdigest()[:12]}"


def readable(connector: Connector) -> str:
    """Return the second name of a connector's image, for people: that of the last one that was built."""
    return f"{connector.name}:dev"


def arguments(connector: Connector, settings: Settings) -> dict[str, str]:
    """Return the build arguments: the values of its ``connector.yaml``."""
    base = settings.image("python")
    if connector.python:
        base = base.replace(f":{DEFAULT_PYTHON}-", f":{connector.python}-")
    found = {"BASE": base, "CONNECTOR": connector.name, "KIND": connector.kind, "EXECUTABLE": connector.executable}
    found["CAPABILITIES"] = ",".join(connector.capabilities)
    if connector.kind == "transform":
        found["TRANSFORM"] = connector.folder.relative_to(settings.root).as_posix()
    if connector.projects:
        found["PROJECT"] = connector.projects[0].relative_to(settings.root).as_posix()
    return found


def build(connector: Connector, settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Build a connector's image, for the platform of the runtime, with a second name for people: ``<name>:dev``.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    _build(connector.name, "Dockerfile", tag(connector, settings), arguments(connector, settings), settings, runtime, say)


def commit_tag(settings: Settings) -> str:
    """Return the image of the container that stores what a run has left."""
    digest = hashlib.sha256(settings.image("python").encode())
    for name in COMMIT_FILES:
        path = settings.root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    return f"{settings.registry or REPOSITORY}/{COMMIT}:{digest.hexdigest()[:12]}"


def build_commit(settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Build the image of the container that stores what a run has left.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    _build(COMMIT, "Dockerfile.commit", commit_tag(settings), {"BASE": settings.image("python")}, settings, runtime, say)


def _build(
    name: str, file: str, full: str, arguments: Mapping[str, str], settings: Settings, runtime: Runtime, say: Callable[[str], None]
) -> None:
    command = ["build", "--file", str(settings.root / "singer-containers" / file)]
    command += ["--tag", full, "--tag", f"{name}:dev", "--label", OURS]
    for key, value in arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    found = network.read(settings, os.environ)
    told = found.in_containers()
    for key in told:
        command += ["--build-arg", key]  # with its value from the environment: a password is nobody's argument
    certificates = found.trusted()
    if certificates:
        command += ["--build-arg", f"NETWORK={certificates.parent.relative_to(settings.root)}"]
    code, text = runtime.follow([*command, str(settings.root)], lambda line: say(found.hide(line)), environ=told)
    text = found.hide(text)
    if code:
        log = settings.local / "logs" / "images" / f"{name}.log"
        with file_errors("The log", log):
            private_folder(log.parent)
            write_private(log, text)
        refused = found.refusal(f"The image of {name} cannot be built", text, str(log))
        if refused:
            raise refused
        raise SetupError("E-BUILD", f"The image of {name} cannot be built: {last_line(text)}", hint=f"See {log}; then run it again.")


def pull(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Pull an image into the laptop's container runtime.

    :raises SetupError: E-IMAGE-PULL, with what the registry says.
    """
    code, text = runtime.follow(["pull", image], say)
    if code:
        problem, hint = refusal(image, text)
        raise SetupError("E-IMAGE-PULL", problem, hint=hint)


def push(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Push an image to the registry that it is named after.

    :raises SetupError: E-IMAGE, with what the registry says.
    """
    code, text = runtime.follow(["push", image], say)
    if code:
        registry = image.partition("/")[0]
        raise SetupError(
            "E-IMAGE", f"{image} cannot be pushed: {last_line(text)}", hint=f"{runtime.program} login {registry}, then run it again."
        )


def refusal(image: str, text: str) -> tuple[str, str]:
    """Turn what a registry answers into a problem and a hint."""
    registry = image.partition("/")[0]
    mirror = f"name a mirror: INVOKE_SINGER_MIRROR={registry}=registry.example.com"
    known = (
        ("too many requests", "too many requests", f"Wait an hour, or {mirror}"),
        ("toomanyrequests", "too many requests", f"Wait an hour, or {mirror}"),
        ("manifest unknown", "no image of that name", f"Name another one in singer.images, or {mirror}"),
        ("not found", "no image of that name", f"Name another one in singer.images, or {mirror}"),
        ("unauthorized", "it wants a login", f"docker login {registry}, or {mirror}"),
        ("denied", "it wants a login, or the image is gone", f"docker login {registry}, or {mirror}"),
        ("no such host", "its name is not known", f"Connect to the network, or {mirror}"),
        ("timeout", "it does not answer", f"Connect to the network, or {mirror}"),
        ("connection refused", "it does not answer", f"Connect to the network, or {mirror}"),
        ("x509", "its certificate is not trusted", f"Give Docker your company's CA certificate, or {mirror}"),
        ("proxy", "the proxy on the way there refuses", f"Correct the proxy in Docker's own settings, or {mirror}"),
    )
    for sign, answer, hint in known:
        if sign in text.lower():
            return f"{image} cannot be pulled from {registry}: {answer}.", hint
    return f"{image} cannot be pulled: {last_line(text)}", f"Run it again, or {mirror}"
