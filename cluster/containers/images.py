"""Container images: those of other people, pulled, and the connectors' own, built under content-hash tags.

A tag is the hash of everything that the image is made from, so that nothing is built twice and nothing stale is run.
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
"""Where no registry is chosen. Named as a host, because podman would put that before it: the same for every runtime and node."""
DEFAULT_PYTHON = "3.13"
LEFT_BY_TOOLS = ("__pycache__", "*.pyc", "*.egg-info", ".git", ".local", ".venv", ".*_cache")
LEFT_BY_BUILDS = ("build", "dist", "output")
"""Names that are not copied into the build context."""
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
    "cluster/runs/outcome.py",
    "cluster/runs/record.py",
    "cluster/runs/state.py",
    "cluster/ui/__init__.py",
    "cluster/ui/command_line.py",
    "cluster/ui/format.py",
    "cluster/store",
)
"""What the image ``commit`` is made from; a test compares it with the Dockerfile and runs the program with these files alone."""
OURS = "app.kubernetes.io/part-of=singer"
"""The label of every image that is built here, by whichever checkout."""
CONTENT = "singer.content"
"""The label that says what an image was made of: its name and the hash in its tag. Who tags it anew does not change that."""
FOREIGN = "exec format error|no match for platform|does not match the specified platform|unsupported platform|unknown flag: --platform"
"""What builders say that cannot build for a platform other than their own."""
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
"""What to do where an image cannot be pulled, by what the registry means; a mirror is always the other way."""
UNPULLED = {"throttled": "too many requests", "missing": "no image of that name", "denied": "it wants a login, or the image is gone"}
"""What people are told where an image is pulled, as far as it is not what they are told where one is pushed."""


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
    digest.update(settings.image_platform.encode())
    return f"{settings.registry or REPOSITORY}/{connector.name}:{digest.hexdigest()[:12]}"


def readable(name: str) -> str:
    """Return the second name of an image, for people: that of the last one that was built."""
    return f"{name}:dev"


def made(tag: str, name: str, platform: str) -> list[str]:
    """Return the names that an image gets: that for people is of this machine's kind, and so not one for a *platform*."""
    return [tag] if platform else [tag, readable(name)]


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
        project = connector.projects[0]
        found["PROJECT"] = project.relative_to(settings.root).as_posix() if project.is_relative_to(settings.root) else project.name
    return found


def build(connector: Connector, settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build a connector's image: for *platform*, else for that of the runtime and with a second name for people, ``<name>:dev``.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    name = tag(connector, settings)
    with _in_context(connector, settings, name.rpartition(":")[2]) as project:
        recipe = Recipe(connector.name, "Dockerfile", name, {**arguments(connector, settings), **project}, platform)
        _build(recipe, settings, runtime, say)


@contextmanager
def _in_context(connector: Connector, settings: Settings, digest: str) -> Iterator[dict[str, str]]:
    """Copy a connector's project into the build context, and yield the build argument with that folder.

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
    """Return the names in *folder* that builds and tools leave behind; ``build`` and ``dist`` at the top of a project only."""
    patterns = LEFT_BY_TOOLS + LEFT_BY_BUILDS * (Path(folder) == source)
    return {name for name in names if any(fnmatch(name, pattern) for pattern in patterns)}


def commit_tag(settings: Settings) -> str:
    """Return the image of the container that stores what a run has left."""
    digest = hashlib.sha256(settings.image("python").encode())
    for name in COMMIT_FILES:
        path = settings.root / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    digest.update(settings.image_platform.encode())
    return f"{settings.registry or REPOSITORY}/{COMMIT}:{digest.hexdigest()[:12]}"


def build_commit(settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build the image of the container that stores what a run has left.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    recipe = Recipe(COMMIT, "Dockerfile.commit", commit_tag(settings), {"BASE": settings.image("python")}, platform)
    _build(recipe, settings, runtime, say)


@dataclass(frozen=True)
class Recipe:
    """What an image is built from and for."""

    name: str
    file: str
    tag: str
    arguments: Mapping[str, str]
    platform: str
    """Nothing: that of the runtime."""


def _build(recipe: Recipe, settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> None:
    name = recipe.name
    command = ["build", "--file", str(settings.root / "singer-containers" / recipe.file)]
    command += ["--label", OURS, "--label", f"{CONTENT}={recipe.tag.rpartition('/')[2]}"]
    command += ["--platform", recipe.platform] if recipe.platform else []
    for full in made(recipe.tag, name, recipe.platform):
        command += ["--tag", full]
    for key, value in recipe.arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    found = proxy.read(settings, os.environ)
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
        if recipe.platform and re.search(FOREIGN, text):
            raise _cannot(recipe, last_line(text))
        raise SetupError("E-BUILD", f"The image of {name} cannot be built: {last_line(text)}", hint=f"See {log}; then run it again.")
    if recipe.platform and runtime.absent([recipe.tag], recipe.platform):  # Docker's older builder may ignore what it was asked for
        raise _cannot(recipe, "the builder has made it for its own.")


def _cannot(recipe: Recipe, why: str) -> SetupError:
    """Return the error for a builder that knows its own platform alone."""
    machine = recipe.platform.rpartition("/")[2]
    return SetupError(
        "E-BUILD",
        f"The image of {recipe.name} cannot be built for {recipe.platform} on this machine: {why}",
        hint=f"Let Docker have buildx, and run programs of that kind: docker run --privileged --rm tonistiigi/binfmt --install {machine}; "
        "or run sync once on a machine of that kind: the registry keeps the images.",
    )


def pull(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Pull an image into the laptop's container runtime.

    :raises SetupError: E-IMAGE-PULL, with what the registry says.
    """
    code, text = runtime.follow(["pull", image], say)
    if code:
        problem, hint = unpulled(image, text)
        raise SetupError("E-IMAGE-PULL", problem, hint=hint)


def push(image: str, runtime: Runtime, say: Callable[[str], None]) -> None:
    """Push an image to the registry that it is named after. One that somebody else has pushed meanwhile, for good, stays.

    :raises SetupError: E-IMAGE, with what the registry says.
    """
    code, text = runtime.follow(["push", image], say)
    if code and meaning(text) != "taken":
        raise refusal(full_name(image), "pushed", text, runtime.program)


def remove(names: Sequence[str], runtime: Runtime) -> int:
    """Remove images, and the untagged stages that Docker's classic builder leaves. Return how many images had the names."""
    found = {runtime.run("image", "inspect", "--format", "{{.Id}}", name).stdout.strip() for name in names} - {""}
    for name in names:
        runtime.run("rmi", name)
    runtime.run("image", "prune", "--force", "--filter", f"label={OURS}")
    return len(found)


def unpulled(image: str, text: str) -> tuple[str, str]:
    """Turn what a registry answers to who pulls an image into a problem and a hint."""
    registry, meant = image.partition("/")[0], meaning(text)
    mirror = f"name a mirror: INVOKE_SINGER_MIRROR={registry}=registry.example.com"
    if meant not in PULLING:
        return f"{image} cannot be pulled: {last_line(text)}", f"Run it again, or {mirror}"
    answer = UNPULLED.get(meant) or ANSWERS[meant][0]
    return f"{image} cannot be pulled from {registry}: {answer}.", f"{PULLING[meant].format(registry=registry)}, or {mirror}"


def other(image: str, found: Mapping[str, Mapping[str, str]], platform: str) -> SetupError | None:
    """Return the error for an image whose tag a registry has for something else, None where it is what we would push.

    *found* are its labels for each platform. The hash in a tag stands for the content: what is there counts, whoever has built it
    and when, unless its own label says that it was made of something else, or it is for other machines.
    """
    content = full_name(image).rpartition("/")[2]
    made = next((labels[CONTENT] for labels in found.values() if labels.get(CONTENT, content) != content), "")
    if made:
        return SetupError(
            "E-IMAGE",
            f"The registry has {image}, and its label says that it was made of something else: {made}.",
            hint="Nothing was pushed over it. Let whoever may delete that tag in the registry do so, then run it again.",
        )
    if platform and found and platform not in found:
        return SetupError(
            "E-IMAGE",
            f"The registry has {image} for {', '.join(sorted(found))}; the cluster needs {platform}.",
            hint=f"Give it tags of its own: image_platform: {platform} in its file, or INVOKE_SINGER_IMAGE_PLATFORM={platform}",
        )
    return None
