"""Container images: public ones are pulled, connectors' are built, tagged by content hash.

A tag is the hash of all inputs of an image, so nothing is built twice and no outdated image runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.containers.registry import ANSWERS, meaning, refusal
from cluster.containers.runtime import full_name
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private
from cluster.host.subprocesses import last_line
from cluster.net import proxy
from cluster.project.venvs import content, project_content, project_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.project.model import Connector

REPOSITORY = "localhost/singer"
"""The repository without a registry. It names a host, because podman would add one."""
DEFAULT_PYTHON = "3.13"
LEFT_BY_TOOLS = ("__pycache__", "*.pyc", "*.egg-info", ".git", ".local", ".venv", ".*_cache")
LEFT_BY_BUILDS = ("build", "dist", "output")
"""Names that are not copied into the build context."""
LEFT_BY_DBT = {"logs", "target"}
"""What dbt leaves in a project. The image has none of it."""
COMMIT = "commit"
COMMIT_FILES = (
    "singer-containers/Dockerfile.commit",
    "singer-containers/commit.lock",
    "singer-containers/commit.py",
    "singer-containers/notify.py",
    "cluster/__init__.py",
    "cluster/errors.py",
    "cluster/config/__init__.py",
    "cluster/config/settings.py",
    "cluster/config/strict.py",
    "cluster/host/__init__.py",
    "cluster/host/files.py",
    "cluster/host/locks.py",
    "cluster/net/__init__.py",
    "cluster/net/proxy.py",
    "cluster/runs/__init__.py",
    "cluster/runs/format_version.py",
    "cluster/runs/history.py",
    "cluster/runs/journal.py",
    "cluster/runs/libraries.py",
    "cluster/runs/outcome.py",
    "cluster/runs/record.py",
    "cluster/runs/state.py",
    "cluster/ui/__init__.py",
    "cluster/ui/command_line.py",
    "cluster/ui/exact_json.py",
    "cluster/ui/format.py",
    "cluster/store",
)
"""The inputs of the image ``commit``. A test compares them with the Dockerfile, and runs them
alone."""
OURS = "app.kubernetes.io/part-of=singer"
"""The label of every image that any checkout builds."""
CONTENT = "singer.content"
"""The label with name and content hash of an image. A new tag does not change it."""
FOREIGN = "exec format error|no match for platform|does not match the specified platform|unsupported platform|unknown flag: --platform"
"""Messages of builders that only build for their own platform."""
PULLING = {
    "throttled": "Wait an hour",
    "missing": "Name another one in singer.images",
    "login": "docker login {registry}",
    "denied": "docker login {registry}",
    "helper": "docker login {registry}",
    "nowhere": "Connect to the network",
    "silent": "Connect to the network",
    "untrusted": "Give Docker your company's CA certificate",
    "proxy": "Correct the proxy in Docker's own settings",
}
"""Remedies for an image that cannot be pulled, by meaning. A mirror is the alternative."""
UNPULLED = {"throttled": "too many requests", "missing": "no image of that name", "denied": "it wants a login, or the image is gone"}
"""Problems of pulling whose words differ from those of pushing."""


def tag(connector: Connector, settings: Settings) -> str:
    """Return a connector's image: ``localhost/singer/<name>:<hash>``, or that in the registry."""
    containers = settings.root / "singer-containers"
    digest = hashlib.sha256()
    for file in (containers / "Dockerfile", containers / "entrypoint.py", connector.lock):
        digest.update(file.read_bytes() if file.exists() else b"")  # created before a build
    digest.update(project_content(connector))
    if connector.kind == "transform":
        files = [file for file in project_files(connector.folder) if file.relative_to(connector.folder).parts[0] not in LEFT_BY_DBT]
        digest.update(content(connector.folder, files))
    digest.update(repr(sorted(arguments(connector, settings).items())).encode())
    digest.update(settings.image_platform.encode())
    return f"{settings.registry or REPOSITORY}/{connector.name}:{digest.hexdigest()[:12]}"


def readable(name: str) -> str:
    """Return the name for people of the image that was built last."""
    return f"{name}:dev"


def made(tag: str, name: str, platform: str) -> list[str]:
    """Return the names of an image. One for another *platform* gets no name for people."""
    return [tag] if platform else [tag, readable(name)]


def arguments(connector: Connector, settings: Settings) -> dict[str, str]:
    """Return the build arguments: the values of its ``connector.yaml``."""
    base = settings.image("python")
    if connector.python:
        base = base.replace(f":{DEFAULT_PYTHON}-", f":{connector.python}-")
    values = {"BASE": base, "CONNECTOR": connector.name, "KIND": connector.kind, "EXECUTABLE": connector.executable}
    values["CAPABILITIES"] = ",".join(connector.capabilities)
    if connector.kind == "transform":
        values["TRANSFORM"] = connector.folder.relative_to(settings.root).as_posix()
    if connector.projects:
        project = connector.projects[0]
        values["PROJECT"] = project.relative_to(settings.root).as_posix() if project.is_relative_to(settings.root) else project.name
    return values


def build(connector: Connector, settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build a connector's image for *platform*; without one also as ``<name>:dev``.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    name = tag(connector, settings)
    with _in_context(connector, settings, name.rpartition(":")[2]) as project:
        recipe = Recipe(connector.name, "Dockerfile", name, {**arguments(connector, settings), **project}, platform)
        _build(recipe, settings, runtime, say)


@contextmanager
def _in_context(connector: Connector, settings: Settings, digest: str) -> Iterator[dict[str, str]]:
    """Copy a connector's project into the build context, and yield the build argument for it.

    The context excludes most folders of the checkout, and everything outside of it.
    """
    if not connector.projects:
        yield {}
        return
    source, folder = connector.projects[0], settings.local / "build" / f"{connector.name}-{digest}"
    with file_errors("The build context", folder):
        shutil.rmtree(folder, ignore_errors=True)
        private_folder(folder.parent)
        shutil.copytree(source, folder, ignore=partial(_left_out, source))
    try:
        yield {"PROJECT": folder.relative_to(settings.root).as_posix()}
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _left_out(source: Path, folder: str, names: list[str]) -> set[str]:
    """Return the names in *folder* to leave out. Those of builds count only in *source*."""
    patterns = LEFT_BY_TOOLS + LEFT_BY_BUILDS * (Path(folder) == source)
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def commit_tag(settings: Settings) -> str:
    """Return the name of the image ``commit``, which stores the results of runs."""
    digest = hashlib.sha256(settings.image("python").encode())
    for name in COMMIT_FILES:
        path = settings.root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    digest.update(settings.image_platform.encode())
    return f"{settings.registry or REPOSITORY}/{COMMIT}:{digest.hexdigest()[:12]}"


def build_commit(settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build the image ``commit``.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    recipe = Recipe(COMMIT, "Dockerfile.commit", commit_tag(settings), {"BASE": settings.image("python")}, platform)
    _build(recipe, settings, runtime, say)


@dataclass(frozen=True)
class Recipe:
    """The inputs of a build."""

    name: str
    file: str
    tag: str
    arguments: Mapping[str, str]
    platform: str
    """Empty for that of the runtime."""


def _build(recipe: Recipe, settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> None:
    name = recipe.name
    command = ["build", "--file", str(settings.root / "singer-containers" / recipe.file)]
    command += ["--label", OURS, "--label", f"{CONTENT}={recipe.tag.rpartition('/')[2]}"]
    command += ["--platform", recipe.platform] if recipe.platform else []
    for full in made(recipe.tag, name, recipe.platform):
        command += ["--tag", full]
    for key, value in recipe.arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    network = proxy.read(settings, os.environ)
    variables = network.in_containers()
    for key in variables:
        command += ["--build-arg", key]  # its value is in the environment: it may be a password
    certificates = network.trusted()
    if certificates:
        command += ["--build-arg", f"NETWORK={certificates.parent.relative_to(settings.root)}"]
    code, text = runtime.follow([*command, str(settings.root)], lambda line: say(network.hide(line)), environ=variables)
    text = network.hide(text)
    if code:
        log = settings.local / "logs" / "images" / f"{name}.log"
        with file_errors("The log", log):
            private_folder(log.parent)
            write_private(log, text)
        refused = network.refusal(f"The image of {name} cannot be built", text, str(log))
        if refused:
            raise refused
        if recipe.platform and re.search(FOREIGN, text):
            raise _cannot(recipe, last_line(text))
        raise SetupError("E-BUILD", f"The image of {name} cannot be built: {last_line(text)}", hint=f"See {log}; then run it again.")
    if recipe.platform and runtime.absent([recipe.tag], recipe.platform):  # may be ignored
        raise _cannot(recipe, "the builder used its own platform.")


def _cannot(recipe: Recipe, why: str) -> SetupError:
    """Return the error for a builder that only builds for its own platform."""
    machine = recipe.platform.rpartition("/")[2]
    return SetupError(
        "E-BUILD",
        f"The image of {recipe.name} cannot be built for {recipe.platform} on this machine: {why}",
        hint=f"Install buildx and an emulator: docker run --privileged --rm tonistiigi/binfmt --install {machine}. "
        "Or run sync once on a machine of that platform: the registry keeps the images.",
    )


def pull(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Pull an image into the laptop's container runtime.

    :raises SetupError: E-IMAGE-PULL, with the registry's answer.
    """
    code, text = runtime.follow(["pull", image], say)
    if code:
        problem, hint = unpulled(image, text)
        raise SetupError("E-IMAGE-PULL", problem, hint=hint)


def push(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Push an image to the registry that it is named after.

    An immutable tag that somebody else pushed stays.

    :raises SetupError: E-IMAGE, with the registry's answer.
    """
    code, text = runtime.follow(["push", image], say)
    if code and meaning(text) != "taken":
        raise refusal(full_name(image), "pushed", text, runtime.program)


def remove(names: Sequence[str], runtime: Runtime) -> int:
    """Remove images, and the untagged stages that Docker's classic builder leaves.

    Return how many images had the names.
    """
    ids = {runtime.run("image", "inspect", "--format", "{{.Id}}", name).stdout.strip() for name in names} - {""}
    for name in names:
        runtime.run("rmi", name)
    runtime.run("image", "prune", "--force", "--filter", f"label={OURS}")
    return len(ids)


def unpulled(image: str, text: str) -> tuple[str, str]:
    """Return problem and hint for a registry's answer to a pull."""
    registry, meant = image.partition("/")[0], meaning(text)
    mirror = f"name a mirror: INVOKE_SINGER_MIRROR={registry}=registry.example.com"
    if meant not in PULLING:
        return f"{image} cannot be pulled: {last_line(text)}", f"Run it again, or {mirror}"
    answer = UNPULLED.get(meant) or ANSWERS[meant][0]
    return f"{image} cannot be pulled from {registry}: {answer}.", f"{PULLING[meant].format(registry=registry)}, or {mirror}"


def other(image: str, live: Mapping[str, Mapping[str, str]], platform: str) -> SetupError | None:
    """Return the error if a registry has another image under our tag; None if it has ours.

    *live* are its labels for each platform. The hash in a tag identifies the content, so an image
    of somebody else is as good as ours. It is not if its label has another hash, or its platform
    differs.
    """
    content = full_name(image).rpartition("/")[2]
    made = next((labels[CONTENT] for labels in live.values() if labels.get(CONTENT, content) != content), "")
    if made:
        return SetupError(
            "E-IMAGE",
            f"The registry has {image}, and its label names other content: {made}.",
            hint="Nothing was pushed over it. Have that tag deleted in the registry, then run it again.",
        )
    if platform and live and platform not in live:
        return SetupError(
            "E-IMAGE",
            f"The registry has {image} for {', '.join(sorted(live))}; the cluster needs {platform}.",
            hint=f"Use separate tags: image_platform: {platform} in its file, or INVOKE_SINGER_IMAGE_PLATFORM={platform}",
        )
    return None
