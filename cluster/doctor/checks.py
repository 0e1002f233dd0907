"""The checks of ``doctor``. Each reports what it has seen and what to do; none changes anything.

What ``up``, ``run`` and ``check`` look at before they begin is asked of the same functions here, so
that they cannot disagree.
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
from typing import TYPE_CHECKING, Literal

from cluster.config.settings import IMAGES, INVOKE_YAML, ROOT, TOOL, Settings, is_web_address
from cluster.config.strict import listed, read_text, read_yaml
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
from cluster.project.releases import default_index
from cluster.project.venvs import Environments, chosen_index, pip_setting, uv_program
from cluster.providers import kind, preflight
from cluster.ui.command_line import command
from cluster.ui.format import count, gigabytes, seconds, shown, typed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from cluster.project.model import Connector
    from cluster.project.venvs import Environment
    from cluster.providers.preflight import Shortage
    from cluster.session import Session

PATIENCE = 5
"""Seconds that a program may take to answer."""
LEAST = {"kind": (0, 33), "minikube": (1, 38)}
SKEW_NOTED, SKEW_MOST = 60, 900
"""Seconds. S3 refuses requests of a clock that is wrong by more than a quarter of an hour."""
DENIED = {
    HTTPStatus.UNAUTHORIZED: "asks for a user and a password",
    HTTPStatus.FORBIDDEN: "refuses",
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED: "is behind a proxy that asks for a user and a password",
}


Status = Literal["ok", "slow", "fail", "unneeded"]


@dataclass(frozen=True)
class CheckResult:
    """The result of a check."""

    name: str
    status: Status
    """``ok``, ``slow`` (a warning: it works, but look), ``fail`` or ``unneeded``."""
    seen: str
    hint: str = ""
    fix: Callable[[], str] | None = field(default=None, compare=False)
    """Corrects it, as far as that is safe, and returns what it did."""


class Machine:
    """The machine, the checkout and the settings; each is read once."""

    def __init__(self, session: Session) -> None:
        """Take the session.

        Settings that cannot be read are a result themselves; the other checks then use the
        defaults.
        """
        self.environ = session.environ
        self.refused: SetupError | None = None
        try:
            self.settings = session.settings
        except SetupError as error:
            self.settings, self.refused = Settings(root=ROOT), error
        self.lost: SetupError | None = None
        """Why the network settings cannot be read."""
        try:
            self.network = network.read(self.settings, self.environ)
        except SetupError as error:
            self.network, self.lost = network.read(self.settings, {}), error
        self.project = Project.of(self.settings)
        self.answers: list[http.Answer] = []
        self.trouble: SetupError | None = None
        """Why there are no handles of the platform."""
        self.handles: Handles | None = None
        try:
            self.handles = Handles(self.settings, self.environ)
        except SetupError as error:
            self.trouble = error
        self.runtime = self.handles.runtime if self.handles else Runtime(self.settings.runtime)
        self.runtime.patience = PATIENCE

    @property
    def runtime_there(self) -> Runtime | None:
        """The container runtime, None if it is not installed."""
        return self.runtime if any(map(which, PROGRAMS if self.runtime.chosen == "auto" else (self.runtime.chosen,))) else None

    @cached_property
    def environments(self) -> dict[str, Environment | None]:
        """The venvs of all readable connectors; None for those not made yet."""
        made = Environments(self.settings)
        environments: dict[str, Environment | None] = {}
        for name in self.project.connector_names:
            with suppress(SetupError, OSError):
                environments[name] = made.find(self.project.connector(name))
        return environments

    @property
    def index_network(self) -> network.Network:
        """The network settings for the package index: pip's certificates, if no others are set."""
        bundle = pip_setting("cert")
        if self.network.bundle or not bundle:
            return self.network
        return replace(self.network, bundle=Path(bundle), bundle_name="pip's configuration")

    def ask(self, url: str, through: network.Network) -> http.Answer:
        """Ask an address, and keep the answer with its date."""
        answer = http.ask(url, through)
        self.answers.append(answer)
        return answer


@dataclass(frozen=True)
class Check:
    """A check: its name, its function, and which engines need it."""

    name: str
    look: Callable[[Machine], Iterable[CheckResult]]
    argo_only: bool = False
    optional: bool = False
    """No command needs what it looks at, so it never fails."""

    def made(self, machine: Machine) -> list[CheckResult]:
        """Run the check and return its results; a ``SetupError`` is a failure."""
        results: list[CheckResult] = []
        try:
            results.extend(self.look(machine))
        except SetupError as error:
            results.append(self.failed(error.problem, error.hint))
        return results

    def failed(self, problem: str, hint: str) -> CheckResult:
        """Return the result of a check that could not be made."""
        if self.optional:
            return CheckResult(self.name, "unneeded", f"not compared: {problem.rstrip('.')}")
        return CheckResult(self.name, "fail", problem, hint)


def all_checks(settings: Settings) -> list[Check]:
    """Return the checks, in the order of the output."""
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
    """Check the settings."""
    if machine.refused:
        raise machine.refused
    changed = machine.settings.changed
    yield CheckResult("Settings", "ok", f"chosen: {listed(changed)}" if changed else "the defaults")
    for file in (machine.settings.root / "invoke.yaml", machine.settings.root / "invoke.yml"):
        others = sorted(set(read_yaml(file, file.name) or ()) - INVOKE_YAML) if file.exists() else []
        if others:
            hint = f"Remove what is not for tasks of yours; settings of this tool stand below singer: in {file.name}."
            yield CheckResult("Keys", "slow", f"{file.name} has {listed(others)}, which neither Invoke nor this tool reads", hint)


def python(machine: Machine) -> Iterator[CheckResult]:
    """Check Python, whether our packages are those of the lock, and the connectors' Pythons."""
    here = f"{platform.python_version()} in {shown(Path(sys.prefix))}"
    lock = read_text(TOOL / "requirements.lock", "requirements.lock")
    wanted = dict(re.findall(r"^([\w.-]+)==([^\s;\\]+) *\\?$", lock, re.MULTILINE))
    others = [
        f"{name} {version_here or 'none'} (wanted {wanted[name]})" for name in wanted if (version_here := installed(name)) != wanted[name]
    ]
    if others:
        hint = f"Remove .venv and type {command('doctor')} again; in an environment of your own, install requirements.lock."
        yield CheckResult("Python", "slow", f"{here}, with other packages than requirements.lock: {listed(others[:3])}", hint)
    else:
        yield CheckResult("Python", "ok", here)
    made = Environments(machine.settings)
    for name in machine.project.connector_names:
        with suppress(SetupError):  # the check of singer-configs/ reports its files
            connector = machine.project.connector(name)
            if connector.python and machine.environments.get(name) is None:
                yield from _python_of(made, connector)


def _python_of(made: Environments, connector: Connector) -> Iterator[CheckResult]:
    """Check that the Python of a connector is installed."""
    try:
        made.python(connector)
    except SetupError as error:
        yield CheckResult("Python", "slow", f"{error.problem.rstrip('.')}; the other connectors work without it", error.hint)


def installed(package: str) -> str | None:
    """Return the version of a package of this tool's environment."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def uv(_: Machine) -> Iterator[CheckResult]:
    """Check that uv, which makes the connectors' venvs, runs."""
    hint = f"Remove .venv and type {command('doctor')} again; in an environment of your own, install requirements.lock."
    try:
        version = run([uv_program(), "--version"], seconds=PATIENCE)
    except (ImportError, OSError, SetupError):
        yield CheckResult("uv", "fail", "its package has no program", hint)
        return
    number = re.search(r"\d+(\.\d+)+", version.stdout)
    if number and version.returncode == 0:
        yield CheckResult("uv", "ok", number[0])
    else:
        yield CheckResult("uv", "fail", f"it does not run: {last_line(version.stderr)}", hint)


def checkout(machine: Machine) -> Iterator[CheckResult]:
    """Check the free space on the checkout's disk, and that we may write there."""
    free = fixes.free_bytes(machine.settings.root)
    shortage = preflight.room(free)
    used = gigabytes(fixes.used_bytes(machine.settings.local))
    yield _of(shortage) if shortage else CheckResult("Checkout", "ok", f"{gigabytes(free)} of disk free, .local has {used}")


def configs(machine: Machine) -> Iterator[CheckResult]:
    """Read all files in ``singer-configs/``, as ``check all`` does.

    A connector or pipeline that cannot be read is a warning if another pipeline can.
    """
    project, wrong, working = machine.project, [], False
    names = {"connector": project.connector_names, "pipeline": project.pipeline_names}
    for what, name in ((what, name) for what, group in names.items() for name in group):
        try:
            checked(project, what, name, machine.environ)
        except SetupError as error:
            wrong.append(error)
        else:
            working = working or what == "pipeline"
    if wrong:
        more = f", and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        others = "; other pipelines work" if working else ""
        problem = f"{wrong[0].problem.rstrip('.')}{more}{others}."
        yield CheckResult("singer-configs/", "slow" if working else "fail", problem, f"{wrong[0].hint} All: {command('check all')}")
    else:
        yield CheckResult(
            "singer-configs/", "ok", f"{count(len(names['connector']), 'connector')}, {count(len(names['pipeline']), 'pipeline')}"
        )


def dotenv(machine: Machine) -> Iterator[CheckResult]:
    """Check that ``.env`` and the environment's own file are readable, by their owner alone."""
    files = [file for file in dotenvs(machine.settings.root, machine.settings.env) if file.exists()]
    if not files:
        yield CheckResult(".env", "unneeded", "there is none: no secret is kept here")
    for file in files:
        mode = file.stat().st_mode & 0o777
        if mode & 0o077:
            fix = partial(fixes.close, file)
            yield CheckResult(
                file.name, "slow", f"others may read the secrets in it (its mode is {mode:04o})", f"chmod 600 {typed(file)}", fix
            )
        values = read_dotenv(file)
        if not mode & 0o077:
            yield CheckResult(file.name, "ok", f"{len(values)} values, readable by you alone")


# --------------------------------------------------------------------------------------------------------- the world


def proxy(machine: Machine) -> Iterator[CheckResult]:
    """Check that the proxy answers, and that containers reach it."""
    if machine.lost:
        raise machine.lost
    settings = machine.network
    urls = list(dict.fromkeys(filter(None, (settings.https, settings.http))))
    if not urls:
        yield CheckResult("Proxy", "ok", "none")
    for url in urls:
        reason = http.connects(url)
        if reason:
            yield CheckResult("Proxy", "fail", f"{network.shown(url)} is not reachable: {reason}", "Correct singer.proxy or HTTPS_PROXY.")
        elif network.unreachable(url):
            yield CheckResult("Proxy", "slow", settings.warning, "For the local engine it will do.")
        else:
            yield CheckResult("Proxy", "ok", network.shown(url))


def certificates(machine: Machine) -> Iterator[CheckResult]:
    """Check that the file with CA certificates can be used."""
    count = machine.network.certificates.count("BEGIN CERTIFICATE")
    yield CheckResult("Certificates", "ok", f"{count}, of {machine.network.bundle_name}" if count else "the system's")


def index(machine: Machine) -> Iterator[CheckResult]:
    """Check that the package index for the connectors' venvs answers."""
    url = chosen_index(machine.environ) or default_index()
    if url and not is_web_address(url):  # a folder of packages is none
        remedy = "Correct PIP_INDEX_URL, UV_DEFAULT_INDEX or pip's configuration."
        yield CheckResult("Package index", "slow", "what pip or uv is set to is not an address that can be asked", remedy)
        return
    missing = [name for name, made in machine.environments.items() if made is None]
    yield from _answer(
        machine, "Package index", url, "" if missing else "the environments of all connectors are there", through=machine.index_network
    )


def registries_of(settings: Settings) -> dict[str, list[str]]:
    """Return the registries, each with its images; the one to push to has none."""
    spared = {
        *(("node",) if settings.provider != "kind" else ()),
        *(("minio",) if settings.store == "use" else ()),
        *(("controller", "server", "executor") if settings.argo == "use" else ()),
    }
    registries: dict[str, list[str]] = {}
    for image in map(settings.image, sorted(IMAGES.keys() - spared)):
        registries.setdefault(full_name(image).partition("/")[0], []).append(image)
    if settings.registry:
        registries.setdefault(settings.registry.partition("/")[0], [])
    return dict(sorted(registries.items()))


def registry(name: str, machine: Machine) -> Iterator[CheckResult]:
    """Check that a registry answers, or that its images are here already."""
    url = f"{'http' if network.loopback(f'//{name}') else 'https'}://{HOSTS.get(name, name)}/v2/"
    images = registries_of(machine.settings)[name]
    there = ""
    with suppress(SetupError):
        there = "its images are on this machine" if images and not machine.runtime.absent(images) else ""
    refusals = DENIED.keys() - {HTTPStatus.UNAUTHORIZED}  # who has not logged in is answered so
    yield from _answer(machine, f"Registry {name}", url, there, denied=refusals)


def s3(machine: Machine) -> Iterator[CheckResult]:
    """Check that the S3 of the settings answers; its credentials are not tried."""
    yield from _answer(machine, "S3", machine.settings.s3_endpoint, "", denied=())


def _answer(
    machine: Machine, name: str, url: str, spared: str, *, denied: Iterable[int] = DENIED, through: network.Network | None = None
) -> Iterator[CheckResult]:
    """Check that an address answers; *spared* is why it does not matter now."""
    if not url:
        yield CheckResult(name, "unneeded", "not asked: the default index of uv is not known here")
        return
    try:
        answer = machine.ask(url, through or machine.network)
    except SetupError as error:
        status, why, hint = _failed(error)
    else:
        status, why, hint = _understood(answer.status, network.shown(url), denied)
        if status == "ok":
            yield CheckResult(name, "ok", f"{network.shown(url)} answers, {seconds(answer.seconds)}")
            return
    yield CheckResult(name, "slow" if spared else status, f"{why}; {spared}" if spared else why, hint)


def _failed(error: SetupError) -> tuple[Status, str, str]:
    """Return a failure's status, reason and hint."""
    return "fail", error.problem.rstrip("."), error.hint


def _understood(status: int, url: str, denied: Iterable[int]) -> tuple[Status, str, str]:
    """Return what an HTTP status means: ok, slow or fail, a reason and a hint."""
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return "slow", f"{url} answers 429: too many requests", "Wait an hour, or name a mirror in singer.mirror."
    if status in denied:
        hint = "In a company's network name its index (PIP_INDEX_URL) or a mirror of the registry (singer.mirror)."
        return "fail", f"{url} {DENIED[HTTPStatus(status)]} ({status})", hint
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        return "fail", f"{url} answers {status}", "Try again later; in a company's network the answer may be the proxy's."
    return "ok", "", ""


def clock(machine: Machine) -> CheckResult:
    """Compare our clock with those of the servers that have answered."""
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
    """Check the container runtime, and what ``up`` checks before it creates a cluster."""
    info, handles = machine.runtime.info, machine.handles
    yield CheckResult("Container runtime", "ok", f"{info}, {info.platform}, {'rootless' if info.rootless else 'as root'}")
    if handles is None or handles.host is None:
        return
    shortages = handles.lacks()
    limits = preflight.inotify_limits(info)
    readings = {
        "Memory": gigabytes(info.memory) if info.memory else "",
        "Disk": f"{gigabytes(info.disk)} free where {info.product} keeps its images" if info.disk is not None else "",
        "CPUs": str(info.cpus or ""),
        "cgroups": f"v{info.cgroups}" if info.cgroups else "",
        "inotify": ", ".join(f"{value} {name.removeprefix('max_user_')}" for name, value in limits.items()),
    }
    for subject, reading in readings.items():
        lacks = [_of(item) for item in shortages if item.subject == subject]
        yield from lacks or ([CheckResult(subject, "ok", reading)] if reading else [])


def program(name: str, words: Sequence[str], machine: Machine) -> Iterator[CheckResult]:
    """Check that kind or minikube is installed, and new enough."""
    fix = fixes.kind(machine.settings, machine.network) if name == "kind" else None
    path = which(name)
    if path is None:
        yield CheckResult(name, "fail", f"{name} is not installed, or not on PATH", install(name), fix)
        return
    output = run([name, *words], seconds=PATIENCE)
    number = re.search(r"v(\d+)\.(\d+)\S*", output.stdout)
    least = ".".join(map(str, LEAST[name]))
    if number is None:
        yield CheckResult(name, "fail", f"{shown(Path(path))} prints no version: {last_line(output.stderr)}", install(name), fix)
    elif (int(number[1]), int(number[2])) < LEAST[name]:
        yield CheckResult(name, "fail", f"{number[0]} is too old: it takes {least} or later", install(name), fix)
    else:
        yield CheckResult(name, "ok", f"{number[0].removeprefix('v')} in {shown(Path(path).parent)}")


def context(machine: Machine) -> Iterator[CheckResult]:
    """Check the existing cluster."""
    context = kubeconfig.find(machine.settings.context, machine.environ)
    reason = http.connects(context.server) if machine.network.proxy_for(context.server) is None else None
    if reason:
        yield CheckResult(
            "Context", "fail", f"the context {context.name} at {context.server} does not answer: {reason}", "Start that cluster."
        )
        return
    if machine.handles:
        machine.handles.provider.ready()
    yield CheckResult("Context", "ok", f"context {context.name} at {context.server}, namespace {machine.settings.namespace}")


PROVIDERS: Mapping[str, Callable[[Machine], Iterable[CheckResult]]] = {
    "kind": partial(program, "kind", ("version",)),
    "minikube": partial(program, "minikube", ("version", "--short")),
    "existing": context,
}


def ports(machine: Machine) -> Iterator[CheckResult]:
    """Check that the ports are free. Those of a stopped cluster are fixed."""
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
    with suppress(SetupError):  # another check reports the runtime
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
    """Check for what killed commands have left in this checkout."""
    results = [*_half_made(machine), *_killed_runs(machine), *_half_environment()]
    yield from results or [CheckResult("Leftovers", "ok", "none")]


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


def _half_environment() -> Iterator[CheckResult]:
    folder = TOOL / ".venv.making"
    if folder.exists() and not fixes.alive(folder / "pid"):
        remedy = f"The next ./invoke that makes an environment removes it, or {command('doctor --fix')}."
        yield CheckResult(
            "Leftovers", "slow", f"making {folder.name.removesuffix('.making')} was broken off", remedy, partial(fixes.drop, folder)
        )


def others(machine: Machine) -> Iterator[CheckResult]:
    """Check kind clusters of other checkouts: those whose checkout is gone are leftovers."""
    if machine.settings.provider != "kind" or machine.handles is None:
        return
    try:
        clusters = kind.clusters(machine.runtime)
    except SetupError:  # another check reports it
        return
    mine = [item for item in clusters if machine.handles.instance.owns(item.name)]
    results = [_other(machine, item) for item in clusters if item not in mine]
    yield from filter(None, results)
    if not any(results):
        yield CheckResult("Other checkouts", "ok", "none is known to have a cluster here")


def _other(machine: Machine, cluster: kind.ClusterContainers) -> CheckResult | None:
    """Return whose a kind cluster is, None if it is no concern of this checkout."""
    same = cluster.name == machine.settings.cluster
    other_name = f"Leave it alone by another name: INVOKE_SINGER_CLUSTER={cluster.name}2, or singer.cluster in invoke.yaml."
    what = f'the kind cluster "{cluster.name}" ({cluster.state})'
    if cluster.checkout is None:
        return CheckResult("Other checkouts", "fail", f"{what} is there, and this checkout did not make it", other_name) if same else None
    if fixes.remembers(cluster.checkout, cluster.name):
        if same:
            return CheckResult("Other checkouts", "fail", f"{what} is that of {cluster.checkout}: two cannot have one name", other_name)
        return CheckResult("Other checkouts", "ok", f"{cluster.checkout} has {what}: the two do not meet")
    hint = f"{typed(Path(which('kind') or 'kind'))} delete cluster --name {cluster.name}"
    gone = "no longer knows it" if cluster.checkout.exists() else "is gone"
    return CheckResult(
        "Other checkouts", "fail" if same else "slow", f"{what} was left behind: its checkout {cluster.checkout} {gone}", hint
    )


def weighed(seen: CheckResult, check: Check, engine: str, *, up: bool) -> CheckResult:
    """Return a result as the engine judges it.

    The local engine needs no platform; a platform that is up no longer needs what making it does.
    """
    if not check.argo_only or seen.status != "fail":
        return seen
    if engine == "local":
        return replace(seen, status="unneeded", seen=f"{seen.seen.rstrip('.')}: the local engine runs without it")
    return replace(seen, status="slow") if up else seen
