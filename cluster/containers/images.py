"""Container images: public ones are pulled, connectors' are built, tagged by content hash.

A tag is the hash of all inputs of an image, so nothing is built twice and no outdated image runs.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cluster.config.settings import DIGESTS, IMAGES
from cluster.containers.registry import ANSWERS, meaning, refusal
from cluster.containers.runtime import full_name
from cluster.errors import SetupError
from cluster.host.files import file_errors, private_folder, write_private
from cluster.host.locks import exclusive
from cluster.host.subprocesses import last_line
from cluster.net import proxy
from cluster.project import debian, sources
from cluster.project.editable import content
from cluster.project.uv_messages import reason
from cluster.project.venvs import chosen_index, extra_indexes, project_content

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import PurePath

    from cluster.config.settings import Settings
    from cluster.containers.runtime import Runtime
    from cluster.project.model import Connector

REPOSITORY = "localhost/singer"
"""The repository without a registry. It names a host, because podman would add one."""
DEFAULT_PYTHON = "3.13"
PLAIN = "plain"
"""The stage of the Dockerfile without shared libraries and without own code: fewer steps."""
LEFT_BY_DBT = {"logs", "target"}
"""What dbt leaves in a project. The image has none of it."""
CONNECTOR_FILES = ("singer-containers/build.lock", "singer-containers/entrypoint.py", "singer-containers/samples")
"""The tool's own inputs of a connector's image, beside its Dockerfile."""
COMMIT = "commit"
COMMIT_FILES = (
    "singer-containers/Dockerfile.commit",
    "singer-containers/commit.lock",
    "singer-containers/commit.py",
    "singer-containers/kube_secret.py",
    "singer-containers/late.py",
    "cluster/__init__.py",
    "cluster/errors.py",
    "cluster/config/__init__.py",
    "cluster/config/settings.py",
    "cluster/config/strict.py",
    "cluster/host/__init__.py",
    "cluster/host/files.py",
    "cluster/host/locks.py",
    "cluster/host/parallel.py",
    "cluster/net/__init__.py",
    "cluster/net/proxy.py",
    "cluster/project/__init__.py",
    "cluster/project/due.py",
    "cluster/project/parts.py",
    "cluster/runs/__init__.py",
    "cluster/runs/format_version.py",
    "cluster/runs/history.py",
    "cluster/runs/journal.py",
    "cluster/runs/late.py",
    "cluster/runs/libraries.py",
    "cluster/runs/notify.py",
    "cluster/runs/outcome.py",
    "cluster/runs/record.py",
    "cluster/runs/rotation.py",
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
"""The label of every image that any checkout builds. The Dockerfiles set it."""
CONTENT = "singer.content"
"""The label with name and content hash of an image. A new tag does not change it."""
FOREIGN = "exec format error|no match for platform|does not match the specified platform|unsupported platform|unknown flag: --platform"
"""Messages of builders that only build for their own platform."""
PRUNED = re.compile("No such image: sha256:|unknown parent image ID")
"""What the classic builder prints if somebody has removed its stages during a build: it has no
names for them, so another checkout's ``teardown --all``, or a prune, takes them away."""
RUNNING = re.compile(r"^ ---> Running in ([0-9a-f]{12,64})$", re.MULTILINE)
ENDED = re.compile(r"^(?: ---> Removed|Removing) intermediate container ([0-9a-f]{12,64})$", re.MULTILINE)
"""What the classic builder prints about its containers. It leaves that of a step that failed.
BuildKit and podman leave none, and not all of them know ``--force-rm``."""
BUILDERS_OWN = re.compile(
    r"^(The command '|ERROR: failed to (build|solve)|(#\d+ )?ERROR: process|\S*Dockerfile\S*:\d+$|-{4,}$|\s*\d+ \| ).*$|^#\d+ [\d.]+ ",
    re.MULTILINE,
)
"""What builders print after the output of a command that failed, and BuildKit's numbers."""
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
    digest = hashlib.sha256(dependencies(connector, settings).encode())
    digest.update(project_content(connector))
    digest.update(content(connector.folder, transform_files(connector)))
    return f"{repository(connector.name, settings)}:{digest.hexdigest()[:12]}"


def dependencies(connector: Connector, settings: Settings) -> str:
    """Return a hash of what a connector's image is made from, without the connector's own code."""
    containers = settings.tool / "singer-containers"
    digest = hashlib.sha256()
    for file in (containers / "Dockerfile", containers / "build.lock", containers / "entrypoint.py", connector.lock):
        digest.update(file.read_bytes() if file.exists() else b"")  # created before a build
    digest.update(repr(sorted(arguments(connector, settings).items())).encode())
    digest.update(settings.image_platform.encode())
    return digest.hexdigest()


def transform_files(connector: Connector) -> list[Path]:
    """Return the files of a transform's dbt project that its image has, sorted."""
    if connector.kind != "transform":
        return []
    return sorted(file for file in connector.folder.rglob("*") if file.is_file() and _in_image(file.relative_to(connector.folder)))


def _in_image(file: PurePath) -> bool:
    """Return whether a file of a dbt project is in the image: see ``.dockerignore``."""
    ignored = file.parts[0] in LEFT_BY_DBT or "__pycache__" in file.parts or file.suffix == ".json"
    return not ignored and str(file) != "connector.yaml"


def repository(name: str, settings: Settings) -> str:
    """Return an image's name without its tag."""
    return f"{settings.registry or REPOSITORY}/{name}"


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
    version = {"CONNECTOR_PYTHON": connector.python} if connector.python else {}
    values = {"BASE": base, **version, "CONNECTOR": connector.name, "KIND": connector.kind, "EXECUTABLE": connector.executable}
    values["CAPABILITIES"] = ",".join(connector.capabilities)
    if connector.system_packages:
        values["SYSTEM_PACKAGES"] = " ".join(sorted(connector.system_packages))
    return values


def build(connector: Connector, settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build a connector's image for *platform*; without one also as ``<name>:dev``.

    If a package lacks a compiler or headers, it is built again with them, and so is the next image
    of the connector. The image itself only gets the shared libraries.

    :raises SetupError: E-BUILD, the builder's reason; and what ``sources.write`` raises.
    """
    name = tag(connector, settings)
    folder = settings.local / "build" / connector.name  # the same each time, for caches
    context = folder.relative_to(settings.root).as_posix()
    kept = settings.local / "cache" / "builds" / connector.name
    packages = kept.read_text(encoding="utf-8").split() if kept.exists() else []
    values = {**arguments(connector, settings), "SOURCES": f"{context}/locked", "OWN": f"{context}/own"}
    recipe = Recipe(connector.name, "Dockerfile", name, values, platform)
    with file_errors("The build context", folder):
        private_folder(folder.parent)
        private_folder(kept.parent)
    with exclusive(kept.with_name(f"{connector.name}.lock")):
        try:
            sources.write(connector, settings, folder, say)
            _copy_transform(connector, folder / "own" / "project")
            if tag(connector, settings) != name:  # edited meanwhile: the name must tell the content
                raise SetupError("E-BUILD", f"The code of {connector.name} changed while it was packaged.", hint="Run it again.")
            attempts = 2
            while True:
                with_packages = {"BUILD_PACKAGES": " ".join(packages)} if packages else {}
                more = packages or connector.system_packages or connector.projects or connector.kind == "transform"
                final = replace(recipe, arguments={**values, **with_packages}, stage="" if more else PLAIN)
                text = _attempt(final, settings, runtime, say)
                if PRUNED.search(text) and attempts:
                    attempts -= 1
                    continue
                missing = [item for item in debian.for_build(text) if item not in packages]
                if not missing:
                    break
                say(f"needs {' '.join(missing)}: building again with it")
                packages += missing
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    with file_errors("The list of packages", kept):
        write_private(kept, "" if text else " ".join(packages))
    if text:
        raise _failure(recipe, text, settings)
    _check_platform(recipe, runtime)
    remember(connector, settings, name)


def _copy_transform(connector: Connector, folder: Path) -> None:
    """Copy the files of a transform's dbt project that its image has."""
    with file_errors("The build context", folder):
        for file in transform_files(connector):
            copy = folder / file.relative_to(connector.folder)
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, copy)


def _memory(connector: Connector, settings: Settings) -> Path:
    return settings.local / "cache" / "builds" / f"{connector.name}.image"


def remember(connector: Connector, settings: Settings, name: str) -> None:
    """Remember an image, whose own code an edit may replace."""
    file = _memory(connector, settings)
    with file_errors("The name of the image", file):
        private_folder(file.parent)
        write_private(file, f"{dependencies(connector, settings)} {name}")


def former(connector: Connector, settings: Settings) -> str:
    """Return the newest image that differs from the wanted one in the connector's own code."""
    file = _memory(connector, settings)
    made_from, _, name = file.read_text(encoding="utf-8").partition(" ") if file.exists() else ("", "", "")
    return name if made_from == dependencies(connector, settings) else ""


def commit_tag(settings: Settings) -> str:
    """Return the name of the image ``commit``, which stores the results of runs."""
    digest = hashlib.sha256(settings.image("python").encode())
    for name in COMMIT_FILES:
        path = settings.tool / name
        for file in sorted(path.glob("*.py")) if path.is_dir() else [path]:
            digest.update(file.read_bytes())
    digest.update(settings.image_platform.encode())
    return f"{repository(COMMIT, settings)}:{digest.hexdigest()[:12]}"


def build_commit(settings: Settings, runtime: Runtime, say: Callable[[str], None], platform: str = "") -> None:
    """Build the image ``commit``.

    :raises SetupError: E-BUILD, with the last line that the builder printed.
    """
    recipe = Recipe(COMMIT, "Dockerfile.commit", commit_tag(settings), {"BASE": settings.image("python")}, platform)
    text = _attempt(recipe, settings, runtime, say)
    if text:
        raise _failure(recipe, text, settings)
    _check_platform(recipe, runtime)


@dataclass(frozen=True)
class Recipe:
    """The inputs of a build."""

    name: str
    file: str
    tag: str
    arguments: Mapping[str, str]
    platform: str
    """Empty for that of the runtime."""
    stage: str = ""
    """The stage to build; empty for the last one."""


def _attempt(recipe: Recipe, settings: Settings, runtime: Runtime, say: Callable[[str], None]) -> str:
    """Run the builder. Return nothing if it succeeds, else its output without passwords."""
    name = recipe.name
    command = ["build", "--file", str(settings.tool / "singer-containers" / recipe.file)]
    command += ["--label", f"{CONTENT}={recipe.tag.rpartition('/')[2]}"]
    command += ["--platform", recipe.platform] if recipe.platform else []
    command += ["--target", recipe.stage] if recipe.stage else []
    for full in made(recipe.tag, name, recipe.platform):
        command += ["--tag", full]
    for key, value in recipe.arguments.items():
        command += ["--build-arg", f"{key}={value}"]
    network = proxy.read(settings, os.environ)
    variables = network.in_containers()
    index = chosen_index(os.environ)
    if index and not proxy.login(index):  # a builder keeps arguments, and this would be a password
        variables["UV_DEFAULT_INDEX"] = index
    extra = [address for address in extra_indexes(os.environ) if not proxy.login(address)]
    if extra:
        variables["UV_INDEX"] = " ".join(extra)
    for key in variables:
        command += ["--build-arg", key]  # its value is in the environment: it may be a password
    certificates = network.trusted()
    folders = [recipe.arguments[key] for key in ("SOURCES", "OWN") if key in recipe.arguments]
    if certificates:
        folders.append(str(certificates.parent.relative_to(settings.root)))
        command += ["--build-arg", f"NETWORK={folders[-1]}"]
    with _context(settings, folders) as context:
        code, text = runtime.follow([*command, str(context)], lambda line: say(network.hide(line)), environ=variables)
    if not code:
        return ""
    left = set(RUNNING.findall(text)) - set(ENDED.findall(text))
    if left:
        runtime.run("rm", "--force", *sorted(left))
    return network.hide(text).strip() or "it gave no reason"


@contextmanager
def _context(settings: Settings, folders: Sequence[str]) -> Iterator[Path]:
    """Yield the folder that the builder may copy from: the checkout.

    For a project apart from the tool it is a folder with the tool's files and *folders* of the
    project.
    """
    if settings.root == settings.tool:
        yield settings.root
        return
    with file_errors("The build context", settings.local / "build"):
        private_folder(settings.local / "build")
        with tempfile.TemporaryDirectory(prefix=".context-", dir=settings.local / "build") as name:
            files = [(settings.tool, file) for file in (".dockerignore", *CONNECTOR_FILES, *COMMIT_FILES)]
            for base, file in [*files, *((settings.root, folder) for folder in folders)]:
                copy = Path(name) / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                if (base / file).is_dir():
                    shutil.copytree(base / file, copy, symlinks=True, dirs_exist_ok=True)
                else:
                    shutil.copy2(base / file, copy)
            yield Path(name)


def _failure(recipe: Recipe, text: str, settings: Settings) -> SetupError:
    """Return the error for a build that failed, and keep its output in a log."""
    name = recipe.name
    log = settings.local / "logs" / "images" / f"{name}.log"
    with file_errors("The log", log):
        private_folder(log.parent)
        write_private(log, text)
    package, cause, _ = debian.failed_build(text)
    refused = proxy.read(settings, os.environ).refusal(f"The image of {name} cannot be built", cause or text, str(log))
    if refused:
        return refused
    if recipe.platform and re.search(FOREIGN, text):
        return _cannot(recipe, last_line(text))
    unknown = re.search(r"Unable to locate package (\S+)", text)
    if unknown and unknown[1] in recipe.arguments.get("SYSTEM_PACKAGES", "").split():
        return SetupError(
            "E-BUILD",
            f"The image of {name} cannot be built: Debian has no package {unknown[1]}.",
            hint=f'Correct "system_packages" in singer-configs/{name}/connector.yaml. Log: {log}',
        )
    other = re.search(r"the base image has Python 3\.\d+, not 3\.\d+", text)
    if other:
        hint = f'Let "python" in singer.images name an image with the version in its tag: {IMAGES["python"]}.'
        return SetupError("E-BUILD", f"The image of {name} cannot be built: {other[0]}.", hint=hint)
    if package:
        return SetupError(
            "E-BUILD",
            f"The image of {name} cannot be built, because {package} does not build: {last_line(cause)}",
            hint=f'Add the Debian packages that it needs to "system_packages" in singer-configs/{name}/connector.yaml. Log: {log}',
        )
    lines = BUILDERS_OWN.sub("", text)
    why = reason(lines) if re.search("^error: ", lines, re.MULTILINE) else last_line(lines)
    return SetupError("E-BUILD", f"The image of {name} cannot be built: {why}", hint=f"See {log}; then run it again.")


def _check_platform(recipe: Recipe, runtime: Runtime) -> None:
    """Check the platform of an image: older builders ignore the one that they are asked for."""
    if recipe.platform and runtime.absent([recipe.tag], recipe.platform):
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
    """Pull an image into the laptop's container runtime; by its digest if one is known.

    :raises SetupError: E-IMAGE-PULL, with the registry's answer.
    """
    exact = f"{image.rpartition(':')[0]}@{DIGESTS[image]}" if image in DIGESTS else image
    code, text = runtime.follow(["pull", exact], say)
    if not code and exact != image:
        code, text = runtime.follow(["tag", exact, image], say)
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
