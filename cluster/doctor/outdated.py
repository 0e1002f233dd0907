"""What is outdated, for ``doctor``: what is here, what the tool pins, what is newer.

Nothing is changed. What cannot be asked, such as an index without a network, is not compared.
"""

from __future__ import annotations

import re
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import InvalidVersion, Version

import cluster
from cluster.config.settings import IMAGES, is_web_address, pairs
from cluster.doctor import fixes
from cluster.doctor.checks import Check, CheckResult, installed
from cluster.errors import SetupError
from cluster.host.parallel import in_parallel
from cluster.kube.rbac import visible
from cluster.platform.rendering import IMAGES as PROGRAMS
from cluster.project import releases, tool, venvs
from cluster.ui.command_line import command
from cluster.ui.format import count, shown, typed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cluster.doctor.checks import Machine
    from cluster.kube.documents import Document
    from cluster.project.model import Connector

SECONDS, LEAST_SECONDS = 4, 0.5
"""The longest wait for an index or a repository: less than what ``doctor`` waits for a check. And
what each of many packages has at least."""
TITLES = {"controller": "Argo Workflows", "server": "Argo's server", "minio": "MinIO"}
COMMIT = re.compile(r"[0-9a-f]{40}")
REPOSITORIES = {"kind": "kubernetes-sigs/kind", "Argo Workflows": "argoproj/argo-workflows", "uv": "astral-sh/uv"}
"""Where the releases of what the tool pins are, at GitHub. MinIO publishes no images any more."""


def all_checks(*, ask_releases: bool) -> list[Check]:
    """Return the checks, in the order of the output."""
    checks = {"Tool": the_tool, "Connectors": connectors, "Platform": platform, **({"Releases": newer_releases} if ask_releases else {})}
    return [Check(name, look, optional=True) for name, look in checks.items()]


def the_tool(machine: Machine) -> Iterator[CheckResult]:
    """Compare the tool that runs a project with the version that ``tool.env`` names for others."""
    root, here = machine.settings.root, machine.settings.tool
    if root == here:
        return
    values = tool.read(root / tool.FILE)
    at = f"{cluster.__version__} in {shown(here)}"
    commit = tool.git(here, "rev-parse", "HEAD")
    if not values["TOOL_PATH"] or (root / values["TOOL_PATH"]).resolve() != here or commit is None:
        yield CheckResult("Tool", "ok", at)
        return
    named = values["TOOL_VERSION"]
    hint = f"{command('upgrade')} writes the version of this checkout into {tool.FILE}."
    if tool.git(here, "rev-parse", "--verify", "--quiet", f"{named}^{{commit}}") != commit:
        others = f"{tool.FILE} names {_short(named)} for other machines" if named else f"{tool.FILE} names no version for other machines"
        yield CheckResult("Tool", "slow", f"{at}, at {_short(tool.version(here))}; {others}", hint)
    elif tool.git(here, "status", "--porcelain"):
        hint = f"Commit them there, then {command('upgrade')}."
        yield CheckResult("Tool", "slow", f"{at}, with changes that are not committed: other machines run without them", hint)
    else:
        yield CheckResult("Tool", "ok", f"{at}, at {_short(named)}")


def _short(version: str) -> str:
    return version[:12] if COMMIT.fullmatch(version) else version


def connectors(machine: Machine) -> Iterator[CheckResult]:
    """Compare the package of each connector with the newest one of the index that uv uses."""
    locked = list(_locked(machine))
    index = venvs.chosen_index(machine.environ) or releases.default_index()
    indexes = [*venvs.extra_indexes(machine.environ), *([index] if index else [])]
    spared = next((f"{name} is set" for name in ("UV_NO_INDEX", "UV_OFFLINE") if machine.environ.get(name)), "")
    if not locked:
        return
    if spared or not indexes or not all(map(is_web_address, indexes)):
        yield CheckResult("Connectors", "unneeded", f"not compared: {spared or 'the index of uv cannot be asked'}")
        return
    deadline, network = time.monotonic() + SECONDS, machine.index_network

    def ask(pair: tuple[Connector, Requirement]) -> str:
        python, seconds = pair[0].python or venvs.LEAST_PYTHON, max(LEAST_SECONDS, deadline - time.monotonic())
        return releases.newest(pair[1].name, python, indexes, network, seconds)

    newest = in_parallel(ask, locked)
    outdated = [(*pair, version) for pair, version in zip(locked, newest, strict=True) if _is_newer(version, venvs.version(pair[0]))]
    for connector, requirement, version in outdated:
        yield _outdated(machine, connector, requirement, version)
    known = sum(map(bool, newest))
    if not outdated:
        result = f"the packages of {count(known, 'connector')} are the newest" if known else "not compared: the index lists no versions"
        yield CheckResult("Connectors", "ok" if known else "unneeded", result)


def _locked(machine: Machine) -> Iterator[tuple[Connector, Requirement]]:
    """Yield the connectors with a package of an index and a lock, and their first requirement."""
    for name in machine.project.connector_names:
        with suppress(SetupError, OSError, InvalidRequirement):
            connector = machine.project.connector(name)
            requirement = Requirement(connector.requirements[0]) if connector.requirements and not connector.projects else None
            if requirement and not requirement.url and connector.lock.exists():
                yield connector, requirement


def _is_newer(one: str, other: str) -> bool:
    try:
        return Version(one) > Version(other)
    except InvalidVersion:
        return False


def _outdated(machine: Machine, connector: Connector, requirement: Requirement, newest: str) -> CheckResult:
    """Return the result for a connector with an older package.

    If its ``connector.yaml`` names that version, it is not a warning.
    """
    seen = f"{connector.name} has {requirement.name} {venvs.version(connector)}; {newest} is released"
    if requirement.specifier.contains(newest) and not connector.exclude_newer:
        return CheckResult("Connectors", "slow", seen, command("lock", connector.name))
    file = machine.project.shown(connector.folder / "connector.yaml")
    key = "exclude_newer" if connector.exclude_newer else "pip_url"
    return CheckResult(
        "Connectors", "ok", f"{seen}, which {key} excludes", f"Change {key} in {file}, then {command('lock', connector.name)}"
    )


def platform(machine: Machine) -> Iterator[CheckResult]:
    """Compare what runs in the cluster with what this version of the tool pins."""
    handles, settings = machine.handles, machine.settings
    if handles is None or not handles.instance.complete:
        return
    why = handles.kube.silent()
    if why:
        yield CheckResult("Platform", "unneeded", f"not compared: {why}")
        return
    alike = []
    node = re.search(r":v(\d+)\.(\d+)", settings.image("node"))
    if settings.provider == "kind" and node:
        runs, pinned = (".".join(map(str, version)) for version in (handles.kube.version, node.groups()))
        alike += [f"Kubernetes {runs}"] if runs == pinned else []
        if runs != pinned:
            remedy = f"{command('teardown --keep-data')}, then {command('up')}"
            yield CheckResult("Platform", "slow", f"Kubernetes {runs} runs; this version of the tool pins {pinned}", remedy)
    for name, image in PROGRAMS.items():
        nothing: Document | None = None
        live = visible(partial(handles.kube.get, "Deployment", name, handles.namespace), nothing)
        if live is None or not handles.owns(live):
            continue
        runs, pinned = (_tag(image) for image in (live["spec"]["template"]["spec"]["containers"][0]["image"], settings.image(image)))
        alike += [f"{TITLES[image]} {runs}"] if runs == pinned else []
        if runs != pinned:
            yield CheckResult("Platform", "slow", f"{TITLES[image]} {runs} runs; this version of the tool pins {pinned}", command("up"))
    if alike:
        yield CheckResult("Platform", "ok", f"{', '.join(alike)}, as this version of the tool pins")


def _tag(image: str) -> str:
    """Return the tag of an image, else its digest."""
    name, _, digest = image.partition("@")
    return name.rpartition("/")[2].partition(":")[2] or digest


def newer_releases(machine: Machine) -> Iterator[CheckResult]:
    """Compare the tool and what it pins with their newest releases."""
    settings, project = machine.settings, machine.settings.root != machine.settings.tool
    host = pairs(settings.mirror).get(fixes.PUBLISHER, fixes.PUBLISHER)
    address = (tool.read(settings.root / tool.FILE)["TOOL_GIT"] if project else "") or tool.origin(settings.tool)
    pinned = {"kind": fixes.KIND, "Argo Workflows": _tag(IMAGES["controller"]), "uv": installed("uv") or ""}
    here = {"The tool": (address, cluster.__version__)} if address else {}
    here |= {title: (f"https://{host}/{path}", pinned[title]) for title, path in REPOSITORIES.items()}
    results = dict(zip(here, in_parallel(lambda item: _newest(machine, item[0]), here.values()), strict=True))
    for why in dict.fromkeys(why for _, why in results.values() if why):
        titles = ", ".join(title for title, (_, its) in results.items() if its == why)
        yield CheckResult("Releases", "unneeded", f"not compared: {titles}, because {why}")
    newer = [(title, newest) for title, (newest, _) in results.items() if newest and _is_newer(newest, here[title][1])]
    for title, newest in newer:
        update = command("upgrade") if project else f"git -C {typed(settings.tool)} pull"
        hint = update if title == "The tool" else f"A newer version of the tool may pin it: {update}"
        yield CheckResult("Releases", "slow", f"{title} is {here[title][1]}; {newest} is released", hint)
    asked = [title for title, (_, why) in results.items() if not why]
    if asked and not newer:
        yield CheckResult("Releases", "ok", f"{', '.join(asked)}: the newest")


def _newest(machine: Machine, address: str) -> tuple[str, str]:
    """Return the newest release of a repository, or why it cannot be read."""
    try:
        newest = tool.newest(address, SECONDS, machine.network.variables(machine.environ))
    except ValueError:
        return "", f"{urlsplit(address).hostname or address} does not answer"
    except SetupError as error:
        return "", error.problem.rstrip(".")
    return newest, "" if newest else f"{address} has no release"
