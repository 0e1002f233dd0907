"""What ``doctor`` looks at. Each check tells what it has seen, and where it is not as it should be, what to do; it touches nothing.

What ``up``, ``run`` and ``check`` look at before they begin is asked of the same functions here, so that they cannot disagree.
"""

from __future__ import annotations

import platform
import re
import sys
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from http import HTTPStatus
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from cluster.config.settings import IMAGES, ROOT, Settings
from cluster.config.strict import listed, read_text
from cluster.containers.ports import free, holder
from cluster.containers.registry import HOSTS
from cluster.containers.runtime import PROGRAMS, Runtime, full_name
from cluster.doctor import fixes
from cluster.engines.lock import killed
from cluster.errors import SetupError
from cluster.host import system
from cluster.host.locks import held
from cluster.host.subprocesses import install, last_line, run, which
from cluster.kube import kubeconfig
from cluster.net import http
from cluster.net import proxy as network
from cluster.platform.handles import Handles
from cluster.project.dotenv import dotenvs, read_dotenv
from cluster.project.reader import Project, checked
from cluster.project.venvs import Environments, chosen_index, pip_setting
from cluster.providers import kind, preflight
from cluster.ui.command_line import command
from cluster.ui.format import gigabytes, seconds, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cluster.project.model import Connector
    from cluster.project.venvs import Environment
    from cluster.providers.preflight import Shortage
    from cluster.session import Session

PATIENCE = 5
"""Seconds after which a program that is asked is given up."""
LEAST = {"kind": (0, 33), "minikube": (1, 38)}
SKEW_NOTED, SKEW_MOST = 60, 900
"""Seconds. S3 refuses requests of a clock that is wrong by more than a quarter of an hour."""
DENIED = {
    HTTPStatus.UNAUTHORIZED: "asks for a user and a password",
    HTTPStatus.FORBIDDEN: "refuses",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "is behind a proxy that asks for a user and a password",
}


@dataclass(frozen=True)
class CheckResult:
    """What a check has seen."""

    name: str
    status: str
    """``ok``, ``slow`` (works, but look), ``fail``, or ``unneeded`` here."""
    seen: str
    hint: str = ""
    fix: Callable[[], str] | None = field(default=None, compare=False)
    """Puts it right, as far as that is safe, and says what it did."""


class Machine:
    """The machine, the checkout on it, and what the user chose; each is read once."""

    def __init__(self, session: Session) -> None:
        """Take the session. Settings that cannot be are one of the findings; the others are then made with the defaults."""
        self.environ = session.environ
        self.refused: SetupError | None = None
        try:
            self.settings = session.settings
        except SetupError as error:
            self.settings, self.refused = Settings(root=ROOT), error
        self.lost: SetupError | None = None
        """Why it is not known how the world is reached."""
        try:
            self.network = network.read(self.settings, self.environ)
        except SetupError as error:
            self.network, self.lost = network.read(self.settings, {}), error
        self.project = Project.of(self.settings)
        self.answers: list[http.Answer] = []
        self.trouble: SetupError | None = None
        """Why there are no handles to the platform."""
        self.handles: Handles | None = None
        try:
            self.handles = Handles(self.settings, self.environ)
        except SetupError as error:
            self.trouble = error
        self.runtime = self.handles.runtime if self.handles else Runtime(self.settings.runtime)
        self.runtime.patience = PATIENCE

    @property
    def runtime_there(self) -> Runtime | None:
        """The container runtime, None where it is not installed."""
        return self.runtime if any(map(which, PROGRAMS if self.runtime.chosen == "auto" else (self.runtime.chosen,))) else None

    @cached_property
    def environments(self) -> dict[str, Environment | None]:
        """The environments of all connectors that can be read, None for those that are still to be made."""
        made = Environments(self.settings)
        found: dict[str, Environment | None] = {}
        for name in self.project.connector_names:
            with suppress(SetupError, OSError):
                found[name] = made.find(self.project.connector(name))
        return found

    @property
    def index_network(self) -> network.Network:
        """How the package index is reached: with the certificates that pip is set to, where nothing else names any."""
        bundle = pip_setting("cert")
        if self.network.bundle or not bundle:
            return self.network
        return replace(self.network, bundle=Path(bundle), bundle_name="pip's configuration")

    def ask(self, url: str, through: network.Network) -> http.Answer:
        """Ask an address, and keep what its clock says."""
        answer = http.ask(url, through)
        self.answers.append(answer)
        return answer


@dataclass(frozen=True)
class Check:
    """Something to look at: its name, how, and whether the local engine can do without it."""

    name: str
    look: Callable[[Machine], Iterable[CheckResult]]
    argo_only: bool = False

    def made(self, machine: Machine) -> list[CheckResult]:
        """Look, and return what was seen; what a user can put right is a failure."""
        found: list[CheckResult] = []
        try:
            found.extend(self.look(machine))
        except SetupError as error:
            found.append(CheckResult(self.name, "fail", error.problem, error.hint))
        return found


def all_checks(settings: Settings) -> list[Check]:
    """Return the checks, in the order in which people read them."""
    registries = [Check(f"Registry {name}", partial(registry, name), argo_only=True) for name in registries_of(settings)]
    return [
        Check("Settings", chosen),
        Check("Python", python),
        Check("uv", uv),
        Check("Checkout", checkout),
        Check("singer-configs/", configs),
        Check(".env", dotenv),
        Check("Proxy", proxy),
        Check("Certificates", certificates),
        Check("Package index", index),
        *([Check("S3", s3)] if settings.s3_endpoint else []),
        Check("Container runtime", runtime, argo_only=True),
        Check("Context" if settings.provider == "existing" else settings.provider, PROVIDERS[settings.provider], argo_only=True),
        Check("Ports", ports, argo_only=True),
        *registries,
        Check("Leftovers", leftovers),
        Check("Other checkouts", others, argo_only=True),
    ]


def _of(finding: Shortage) -> CheckResult:
    return CheckResult(finding.subject, "fail" if finding.fatal else "slow", finding.fact, finding.remedy)


# ------------------------------------------------------------------------------------------------------- the tool itself


def chosen(machine: Machine) -> Iterator[CheckResult]:
    """Look at the settings."""
    if machine.refused:
        raise machine.refused
    changed = machine.settings.changed
    yield CheckResult("Settings", "ok", f"chosen: {listed(changed)}" if changed else "the defaults")


def python(machine: Machine) -> Iterator[CheckResult]:
    """Look at Python, and whether the packages that we stand on are those of the lock."""
    here = f"{platform.python_version()} in {shown(Path(sys.prefix))}"
    lock = read_text(machine.settings.root / "requirements.lock", "requirements.lock")
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+) *\\?$", lock, re.MULTILINE))
    others = [f"{name} {found or 'none'} (wanted {wanted[name]})" for name in wanted if (found := _version(name)) != wanted[name]]
    if others:
        hint = f"Remove .venv and type {command('doctor')} again; in an environment of your own, install requirements.lock."
        yield CheckResult("Python", "slow", f"{here}, with other packages than requirements.lock: {listed(others[:3])}", hint)
    else:
        yield CheckResult("Python", "ok", here)
    made = Environments(machine.settings)
    for name in machine.project.connector_names:
        with suppress(SetupError):  # what is wrong with its files is said elsewhere
            connector = machine.project.connector(name)
            if connector.python and machine.environments.get(name) is None:
                yield from _python_of(made, connector)


def _python_of(made: Environments, connector: Connector) -> Iterator[CheckResult]:
    """Look whether the Python that a connector asks for is there."""
    try:
        made.python(connector)
    except SetupError as error:
        yield CheckResult("Python", "fail", error.problem, error.hint)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def uv(_: Machine) -> Iterator[CheckResult]:
    """Look whether uv, which makes the connectors' environments, is there and runs."""
    hint = f"Remove .venv and type {command('doctor')} again; in an environment of your own, install requirements.lock."
    try:
        from uv import find_uv_bin  # noqa: PLC0415 - it may be broken

        said = run([find_uv_bin(), "--version"], seconds=PATIENCE)
    except (ImportError, OSError, SetupError):
        yield CheckResult("uv", "fail", "its program is not where its package says", hint)
        return
    number = re.search(r"\d+(\.\d+)+", said.stdout)
    if number and said.returncode == 0:
        yield CheckResult("uv", "ok", number[0])
    else:
        yield CheckResult("uv", "fail", f"it does not run: {last_line(said.stderr)}", hint)


def checkout(machine: Machine) -> Iterator[CheckResult]:
    """Look at the room on the checkout's disk, and whether we may write there."""
    found = preflight.room(fixes.free_bytes(machine.settings.root))
    yield _of(found) if found else CheckResult("Checkout", "ok", f"{gigabytes(fixes.free_bytes(machine.settings.root))} of disk free")


def configs(machine: Machine) -> Iterator[CheckResult]:
    """Say in one line what ``check`` says in many."""
    project, wrong = machine.project, []
    names = {"connector": project.connector_names, "pipeline": project.pipeline_names}
    for what, name in ((what, name) for what, found in names.items() for name in found):
        try:
            checked(project, what, name, machine.environ)
        except SetupError as error:
            wrong.append(error)
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        yield CheckResult(
            "singer-configs/", "fail", f"{wrong[0].problem.rstrip('.')}{more}.", f"{wrong[0].hint} All: {command('check all')}"
        )
    else:
        yield CheckResult("singer-configs/", "ok", f"{len(names['connector'])} connectors, {len(names['pipeline'])} pipelines")


def dotenv(machine: Machine) -> Iterator[CheckResult]:
    """Look whether ``.env``, which holds secrets, can be read, by its owner alone; the environment's own likewise."""
    files = [file for file in dotenvs(machine.settings.root, machine.settings.env) if file.exists()]
    if not files:
        yield CheckResult(".env", "unneeded", "there is none: no secret is kept here")
    for file in files:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            fix = partial(fixes.close, file)
            yield CheckResult(
                file.name, "slow", f"others may read the secrets in it (its mode is {mode:04o})", f"chmod 600 {shown(file)}", fix
            )
        values = read_dotenv(file)
        if not mode & 0o077:
            yield CheckResult(file.name, "ok", f"{len(values)} values, readable by you alone")


# --------------------------------------------------------------------------------------------------------- the world


def proxy(machine: Machine) -> Iterator[CheckResult]:
    """Look whether somebody listens where the proxy is said to be, and whether containers can reach it."""
    if machine.lost:
        raise machine.lost
    found = machine.network
    urls = list(dict.fromkeys(filter(None, (found.https, found.http))))
    if not urls:
        yield CheckResult("Proxy", "ok", "none")
    for url in urls:
        why = http.connects(url)
        if why:
            yield CheckResult("Proxy", "fail", f"{network.shown(url)} is not reachable: {why}", "Correct singer.proxy or HTTPS_PROXY.")
        elif network.unreachable(url):
            yield CheckResult("Proxy", "slow", found.warning, "For the local engine it will do.")
        else:
            yield CheckResult("Proxy", "ok", network.shown(url))


def certificates(machine: Machine) -> Iterator[CheckResult]:
    """Look whether the file with CA certificates can be used."""
    count = machine.network.certificates.count("BEGIN CERTIFICATE")
    yield CheckResult("Certificates", "ok", f"{count}, as {machine.network.bundle_name} says" if count else "the system's")


def index(machine: Machine) -> Iterator[CheckResult]:
    """Look whether the package index answers, from which the connectors' environments are made."""
    url = chosen_index(machine.environ) or _default_index()
    if url and not _is_address(url):
        remedy = "Correct PIP_INDEX_URL, UV_DEFAULT_INDEX or pip's configuration."
        yield CheckResult("Package index", "slow", "what pip or uv is set to is not an address that can be asked", remedy)
        return
    missing = [name for name, made in machine.environments.items() if made is None]
    yield from _answer(
        machine, "Package index", url, "" if missing else "the environments of all connectors are there", through=machine.index_network
    )


def _is_address(url: str) -> bool:
    """Say whether an address is one that is asked over the network; a folder of packages is none."""
    try:
        return urlsplit(url).scheme in {"http", "https"} and bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        return False


def _default_index() -> str:
    """Return where pip and uv go by themselves, nothing where there is no pip that knows."""
    try:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - an environment of the user's own may lack it
    except ImportError:
        return ""
    return str(PyPI.simple_url)


def registries_of(settings: Settings) -> dict[str, list[str]]:
    """Return the registries that images come from, each with the images; the one that they are pushed to has none for us."""
    spared = {
        *(("node",) if settings.provider != "kind" else ()),
        *(("minio",) if settings.store == "use" else ()),
        *(("controller", "server", "executor") if settings.argo == "use" else ()),
    }
    found: dict[str, list[str]] = {}
    for image in map(settings.image, sorted(IMAGES.keys() - spared)):
        found.setdefault(full_name(image).partition("/")[0], []).append(image)
    if settings.registry:
        found.setdefault(settings.registry.partition("/")[0], [])
    return dict(sorted(found.items()))


def registry(name: str, machine: Machine) -> Iterator[CheckResult]:
    """Look whether a registry of images answers; where it does not, its images may be here already."""
    url = f"{'http' if network.loopback(f'//{name}') else 'https'}://{HOSTS.get(name, name)}/v2/"
    images = registries_of(machine.settings)[name]
    there = ""
    with suppress(SetupError):
        there = "its images are on this machine" if images and not machine.runtime.absent(images) else ""
    refusals = DENIED.keys() - {HTTPStatus.UNAUTHORIZED}  # who has not logged in is answered so
    yield from _answer(machine, f"Registry {name}", url, there, denied=refusals)


def s3(machine: Machine) -> Iterator[CheckResult]:
    """Look whether the S3 that the settings name answers. Whether it takes our credentials is seen by who uses it."""
    yield from _answer(machine, "S3", machine.settings.s3_endpoint, "", denied=())


def _answer(
    machine: Machine, name: str, url: str, spared: str, *, denied: Iterable[int] = DENIED, through: network.Network | None = None
) -> Iterator[CheckResult]:
    """Say whether an address answers; *spared* says why that does not matter at the moment."""
    if not url:
        yield CheckResult(name, "unneeded", "not asked: which one uv goes to by itself is not known here")
        return
    try:
        answer = machine.ask(url, through or machine.network)
    except SetupError as error:
        status, why, hint = "fail", error.problem.rstrip("."), error.hint
    else:
        status, why, hint = _understood(answer.status, network.shown(url), denied)
        if status == "ok":
            yield CheckResult(name, "ok", f"{network.shown(url)} answers, {seconds(answer.seconds)}")
            return
    yield CheckResult(name, "slow" if spared else status, f"{why}; {spared}" if spared else why, hint)


def _understood(status: int, url: str, denied: Iterable[int]) -> tuple[str, str, str]:
    """Return what an HTTP status means: ok, slow or fail, in words, and what to do."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "slow", f"{url} answers 429: too many requests", "Wait an hour, or name a mirror in singer.mirror."
    if status in denied:
        hint = "In a company's network name its index (PIP_INDEX_URL) or a mirror of the registry (singer.mirror)."
        return "fail", f"{url} {DENIED[HTTPStatus(status)]} ({status})", hint
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "fail", f"{url} answers {status}", "Try again later; in a company it may be the proxy that says so."
    return "ok", "", ""


def clock(machine: Machine) -> CheckResult:
    """Compare our clock with those of whoever has answered."""
    skews = [answer.ahead for answer in machine.answers if answer.ahead is not None]
    if not skews:
        return CheckResult("Clock", "unneeded", "not compared: nobody outside has answered")
    skew = min(skews, key=abs)
    if abs(skew) <= SKEW_NOTED:
        return CheckResult("Clock", "ok", "right to the minute")
    fact = f"it is {seconds(abs(skew))} {'behind' if skew > 0 else 'ahead'} of others: certificates and S3 go by the time"
    return CheckResult("Clock", "fail" if abs(skew) > SKEW_MOST else "slow", fact, system.here().choose(system.SET_CLOCK))


# ------------------------------------------------------------------------------------------------------ the platform


def runtime(machine: Machine) -> Iterator[CheckResult]:
    """Look at the container runtime, and at what ``up`` looks at before it makes a cluster in it."""
    info, handles = machine.runtime.info, machine.handles
    yield CheckResult("Container runtime", "ok", f"{info}, {info.platform}, {'rootless' if info.rootless else 'as root'}")
    if handles is None or handles.host is None:
        return
    found = handles.lacks()
    limits = preflight.inotify_limits(info)
    well = {
        "Memory": gigabytes(info.memory) if info.memory else "",
        "Disk": f"{gigabytes(info.disk)} free where {info.product} keeps its images" if info.disk is not None else "",
        "CPUs": str(info.cpus or ""),
        "cgroups": f"v{info.cgroups}" if info.cgroups else "",
        "inotify": ", ".join(f"{value} {name.removeprefix('max_user_')}" for name, value in limits.items()),
    }
    for subject, reading in well.items():
        lacks = [_of(item) for item in found if item.subject == subject]
        yield from lacks or ([CheckResult(subject, "ok", reading)] if reading else [])


def program(name: str, words: Sequence[str], machine: Machine) -> Iterator[CheckResult]:
    """Look at kind or minikube: there, and new enough."""
    fix = fixes.kind(machine.settings, machine.network) if name == "kind" else None
    where = which(name)
    if where is None:
        yield CheckResult(name, "fail", f"{name} is not installed, or not on PATH", install(name), fix)
        return
    said = run([name, *words], seconds=PATIENCE)
    number = re.search(r"v(\d+)\.(\d+)\S*", said.stdout)
    least = ".".join(map(str, LEAST[name]))
    if number is None:
        yield CheckResult(name, "fail", f"{shown(Path(where))} does not tell its version: {last_line(said.stderr)}", install(name), fix)
    elif (int(number[1]), int(number[2])) < LEAST[name]:
        yield CheckResult(name, "fail", f"{number[0]} is too old: it takes {least} or later", install(name), fix)
    else:
        yield CheckResult(name, "ok", f"{number[0].removeprefix('v')} in {shown(Path(where).parent)}")


def context(machine: Machine) -> Iterator[CheckResult]:
    """Look at the cluster that is there already."""
    found = kubeconfig.find(machine.settings.context, machine.environ)
    why = http.connects(found.server) if machine.network.proxy_for(found.server) is None else None
    if why:
        yield CheckResult("Context", "fail", f"the context {found.name} at {found.server} does not answer: {why}", "Start that cluster.")
        return
    if machine.handles:
        machine.handles.provider.ready()
    yield CheckResult("Context", "ok", f"context {found.name} at {found.server}, namespace {machine.settings.namespace}")


PROVIDERS: Mapping[str, Callable[[Machine], Iterable[CheckResult]]] = {
    "kind": partial(program, "kind", ("version",)),
    "minikube": partial(program, "minikube", ("version", "--short")),
    "existing": context,
}


def ports(machine: Machine) -> Iterator[CheckResult]:
    """Look whether the ports are free; those of a cluster that is stopped cannot be changed any more."""
    if machine.trouble:
        raise machine.trouble
    handles = machine.handles
    assert handles is not None
    if not handles.provider.publishes:
        yield CheckResult("Ports", "ok", f"none is published; {command('forward')} forwards them")
        return
    chosen_ports = handles.instance.ports
    line = f"{chosen_ports['port_argo']} Argo, {chosen_ports['port_s3']} S3, {chosen_ports['port_console']} console"
    if not handles.instance.cluster:
        for item in preflight.ports_taken(handles.instance.moved, machine.runtime_there):
            yield _of(item)
        yield CheckResult("Ports", "ok", f"{line}, on 127.0.0.1 only")
        return
    ours: list[str] = []
    with suppress(SetupError):  # that the runtime does not answer is said already
        ours = handles.provider.left()
    busy = [port for port in chosen_ports.values() if not free(port)]
    held_by_us = [port for port in busy if ours and machine.runtime.publisher(port) in ours]
    busy = [port for port in busy if port not in held_by_us]
    for port in busy:
        who = holder(port, machine.runtime_there)
        fact = f"{port}, which the stopped cluster needs, is taken{f' by {who}' if who else ''}"
        yield CheckResult("Ports", "fail", fact, "End that program: a cluster's ports are fixed when it is made.")
    if not busy:
        yield CheckResult("Ports", "ok", f"{line}: the platform's" if held_by_us else f"{line}: kept for the cluster, which is stopped")


# ---------------------------------------------------------------------------------------------------------- leftovers


def leftovers(machine: Machine) -> Iterator[CheckResult]:
    """Look for what commands that were killed have left in this checkout."""
    found = [*_half_made(machine), *_killed_runs(machine), *_half_environment(machine)]
    yield from found or [CheckResult("Leftovers", "ok", "none")]


def _half_made(machine: Machine) -> Iterator[CheckResult]:
    handles = machine.handles
    if handles is None or not handles.instance.cluster or handles.instance.complete or not handles.provider.ours:
        return
    if held(fixes.platform_lock(machine.settings)):
        return
    remedy = f"{command('up')} makes it anew; {command('doctor --fix')} removes what is there."
    yield CheckResult(
        "Leftovers",
        "slow",
        f"the creation of the {handles.provider.describe()} was broken off",
        remedy,
        partial(fixes.remove_half, handles),
    )


def _killed_runs(machine: Machine) -> Iterator[CheckResult]:
    for pipeline, left in killed(machine.settings).items():
        remedy = f"The next run of it tidies up, or {command('doctor --fix')}."
        fix = partial(fixes.tidy, machine.settings, machine.environ, pipeline)
        yield CheckResult("Leftovers", "slow", f"the run {left} of {pipeline} was killed", remedy, fix)


def _half_environment(machine: Machine) -> Iterator[CheckResult]:
    folder = machine.settings.root / ".venv.making"
    if folder.exists() and not fixes.alive(folder / "pid"):
        remedy = f"The next ./invoke that makes an environment removes it, or {command('doctor --fix')}."
        yield CheckResult(
            "Leftovers", "slow", f"making {folder.name.removesuffix('.making')} was broken off", remedy, partial(fixes.drop, folder)
        )


def others(machine: Machine) -> Iterator[CheckResult]:
    """Look for kind clusters of other checkouts: one beside this is fine, one whose checkout is gone is a leftover."""
    if machine.settings.provider != "kind" or machine.handles is None:
        return
    try:
        found = kind.clusters(machine.runtime)
    except SetupError:  # said already
        return
    mine = [item for item in found if machine.handles.instance.owns(item.name)]
    told = [_other(machine, item) for item in found if item not in mine]
    yield from filter(None, told)
    if not any(told):
        yield CheckResult("Other checkouts", "ok", "none is known to have a cluster here")


def _other(machine: Machine, found: kind.ClusterContainers) -> CheckResult | None:
    """Say whose a kind cluster is; nothing where it is somebody's own that does not concern us."""
    same = found.name == machine.settings.cluster
    other_name = f"Leave it alone by another name: INVOKE_SINGER_CLUSTER={found.name}2, or singer.cluster in invoke.yaml."
    what = f'the kind cluster "{found.name}" ({found.state})'
    if found.checkout is None:
        return CheckResult("Other checkouts", "fail", f"{what} is there, and this checkout did not make it", other_name) if same else None
    if fixes.remembers(found.checkout, found.name):
        if same:
            return CheckResult("Other checkouts", "fail", f"{what} is that of {found.checkout}: two cannot have one name", other_name)
        return CheckResult("Other checkouts", "ok", f"{found.checkout} has {what}: the two do not meet")
    hint = f"{shown(Path(which('kind') or 'kind'))} delete cluster --name {found.name}"
    gone = "no longer knows it" if found.checkout.exists() else "is gone"
    return CheckResult("Other checkouts", "fail" if same else "slow", f"{what} was left behind: its checkout {found.checkout} {gone}", hint)


def weighed(seen: CheckResult, check: Check, engine: str, *, up: bool) -> CheckResult:
    """Return what was seen as it counts: the local engine works without a platform, and one that is up without what making it needs."""
    if not check.argo_only or seen.status != "fail":
        return seen
    if engine == "local":
        return replace(seen, status="unneeded", seen=f"{seen.seen.rstrip('.')}: the local engine runs without it")
    return replace(seen, status="slow") if up else seen
