"""The table of contents: a function for each command calls the module that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from invoke.collection import Collection

from cluster.commands.frame import check_invoke_yaml, command
from cluster.config.settings import DEFAULTS, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.session import Session


# ---------------------------------------------------------------------------------------------------------- First day


@command(
    "doctor --fix",
    help={
        "fix": "do what is safe: fetch kind into .local/bin, close .env, remove leftovers of killed commands",
        "bundle": "write the results to one file without secrets, for asking for help",
        "releases": "also ask for the newest releases of the tool, kind, Argo Workflows and uv",
    },
)
def doctor(session: Session, engine: str = "", *, fix: bool = False, bundle: bool = False, releases: bool = False) -> None:
    """Check everything that the other commands need, and show what is outdated."""
    from cluster.doctor import doctor

    doctor(session, engine=engine, fix=fix, bundle=bundle, releases=releases)


@command("up", help={"timings": "show how long each step took"})
def up(session: Session, *, plan: bool = False, timings: bool = False) -> None:
    """Start the platform, wake it, or repair it."""
    from cluster.commands import platform

    platform.up(session, timings=timings, plan_only=plan)


@command("demo", help={"full": "start over: forget where the last run ended"})
def demo(session: Session, engine: str = "", *, full: bool = False) -> None:
    """Run the example: real exchange rates into a CSV file."""
    from cluster.commands import run

    run.demo(session, engine=engine, full=full)


@command("status")
def status(session: Session) -> None:
    """Show the platform's parts and what each waits for."""
    from cluster.commands import platform

    platform.status(session)


@command("open argo", help={"door": "argo or minio", "print": "only print the address"})
def open(session: Session, door: str, *, print: bool = False) -> None:
    """Open Argo's or MinIO's pages in the browser."""
    from cluster.commands import access

    access.open_door(session, door, only_print=print)


@command("stop")
def stop(session: Session) -> None:
    """Stop the cluster; up wakes it."""
    from cluster.commands import teardown

    teardown.stop(session)


@command(
    "teardown --keep-data",
    help={
        "keep-data": "keep buckets, states and runs for the next up",
        "all": "remove environments and images too",
    },
)
def teardown(session: Session, *, yes: bool = False, keep_data: bool = False, all: bool = False) -> None:
    """Remove everything that up has created."""
    from cluster.commands import teardown

    teardown.teardown(session, yes=yes, keep_data=keep_data, everything=all)


# ---------------------------------------------------------------------------------------------------------- Pipelines


@command(
    "run exchange-rates-to-csv",
    help={
        "pipeline": "its name in pipelines.yaml; several, with commas, run in parallel on the engine argo",
        "full": "start over",
        "raw": "keep what the tap printed",
        "from_": "a backfill: the first day to load; the state is neither used nor changed",
        "to": "the last day of a backfill, if the tap takes an end",
        "every": "a backfill in chunks: day, week, month or a number such as 30d",
        "watch": "run it again whenever its connectors, configs or catalog change",
        "unattended": "for timers: also send a message if something stops it before it begins",
        "if-due": "only if its schedule was due since its last run: for cron and launchd, which know no time zones",
    },
)
def run(
    session: Session,
    pipeline: str,
    engine: str = "",
    *,
    full: bool = False,
    raw: bool = False,
    from_: str = "",
    to: str = "",
    every: str = "",
    at_once: str = "",
    watch: bool = False,
    if_due: bool = False,
    unattended: bool = False,
) -> None:
    """Run a pipeline."""
    from cluster.commands import run
    from cluster.commands import watch as again

    options: dict[str, Any] = {"engine": engine, "full": full, "keep_raw": raw, "every": every, "at_once": at_once}
    if watch and not if_due:
        again.watch(session, pipeline, first=from_, last=to, **options)
    else:
        run.run(session, pipeline, first=from_, last=to, if_due=if_due, unattended=unattended, **options)


@command("runs --limit 5", help={"pipeline": "only runs of this one", "late": "list the pipelines whose success is overdue, and why"})
def runs(session: Session, pipeline: str = "", limit: int = 20, *, late: bool = False) -> None:
    """List the newest runs."""
    from cluster.commands import history

    if late:
        history.late(session, pipeline=pipeline)
    else:
        history.runs(session, pipeline=pipeline, limit=limit)


@command("show last")
def show(session: Session, run: str) -> None:
    """Show a run: counts, states, files, logs, errors."""
    from cluster.commands import history

    history.show(session, run)


@command("logs last", help={"follow": "go on until the run has ended"})
def logs(session: Session, run: str, *, follow: bool = False) -> None:
    """Show the logs of a run's tap and target."""
    from cluster.commands import history

    history.logs(session, run, follow=follow)


@command("fetch last")
def fetch(session: Session, run: str) -> None:
    """Copy a run's files to output/."""
    from cluster.commands import history

    history.fetch(session, run)


@command(
    "state exchange-rates-to-csv",
    help={
        "pipeline": "its name in pipelines.yaml",
        "set": "a file with the new state",
        "reset": "remove the state",
        "history": "show all versions",
        "rollback": "the version to go back to, as --history shows it",
        "copy-to": "the environment whose platform gets this state, too",
        "yes": "with --copy-to: replace another state there without asking",
    },
)
def state(
    session: Session,
    pipeline: str,
    engine: str = "",
    set: str = "",
    rollback: str = "",
    copy_to: str = "",
    *,
    reset: bool = False,
    history: bool = False,
    yes: bool = False,
) -> None:
    """Show where a pipeline's next run begins, or change it."""
    from cluster.commands import state

    change = state.Change(set, rollback, copy_to, reset=reset)
    state.state(session, pipeline, change, engine=engine, versions=history, sure=yes)


@command("sync --plan", help={"yaml": "print the objects of schedules, apply nothing"})
def sync(session: Session, *, plan: bool = False, yaml: bool = False) -> None:
    """Apply singer-configs/ to the cluster: images, secrets, configs, schedules."""
    from cluster.commands import sync

    sync.sync(session, plan_only=plan, as_yaml=yaml)


@command(
    "schedule --print cron",
    help={"print": "cron, systemd or launchd", "out": "a folder to write its files to; default: print them"},
)
def schedule(session: Session, print: str = "", out: str = "") -> None:
    """Print what starts the scheduled pipelines on this machine, without a cluster."""
    from cluster.commands import schedule

    schedule.schedule(session, print, out=out)


@command("cancel last", help={"run": "a run's id, a part of it, or last; several with commas"})
def cancel(session: Session, run: str) -> None:
    """Stop a run in the cluster."""
    from cluster.commands import history

    history.cancel(session, run)


@command("retry last")
def retry(session: Session, run: str, at_once: str = "") -> None:
    """Load what a run in parts has not, or again what a failed staged run has extracted."""
    from cluster.commands.run import retry

    retry(session, run, at_once=at_once)


# ---------------------------------------------------------------------------------------------------------- Connectors


@command(
    "search hubspot",
    help={
        "word": "a part of a connector's name",
        "kind": "tap, target or mapper; default: all",
    },
)
def search(session: Session, word: str, kind: str = "", limit: int = 20) -> None:
    """Search Meltano Hub for connectors."""
    from cluster.onboarding import search

    search.search(session, word, kind=kind, limit=limit)


@command(
    "new tap-dbf --set path=/data/*.dbf",
    iterable=["set"],
    help={
        "name": "the connector's name, such as tap-github",
        "pip-url": "its package as pip takes it, or a folder of this repository; default: the one that Meltano Hub names",
        "variant": "a variant in Meltano Hub, or NAME--VARIANT for another name; default: the Hub's default",
        "kind": "tap, target or mapper; default: detected",
        "target": "the same as --kind target",
        "executable": "its program; default: the one that the package installs",
        "python": 'the Python it needs, such as "3.10"',
        "set": "a setting, key=value; the option may be repeated",
        "from-meltano": "a meltano.yml that has this connector",
        "from-scratch": "write a tap, with a test",
        "no-input": "ask nothing",
    },
)
def new(
    session: Session,
    name: str,
    pip_url: str = "",
    kind: str = "",
    executable: str = "",
    python: str = "",
    set: Sequence[str] | None = None,
    from_meltano: str = "",
    variant: str = "",
    *,
    target: bool = False,
    from_scratch: bool = False,
    no_input: bool = False,
) -> None:
    """Make a connector of a package, install it, and try it out."""
    from cluster.onboarding import new
    from cluster.onboarding.draft import ConnectorRequest

    kind = "target" if target else kind
    request = ConnectorRequest(name, pip_url, kind, executable, python, new.read_settings(set or ()), variant=variant)
    new.new(session, request, meltano_file=from_meltano, from_scratch=from_scratch, ask=not (session.as_json or no_input))


@command(
    "discover tap-exchange-rates",
    help={
        "connector": "a tap, a folder in singer-configs/; or a pipeline, for its catalog",
        "stream": "show this one's fields as a tree",
        "all": "show all streams, however many",
        "seconds": "how long the tap may take",
    },
)
def discover(session: Session, connector: str, stream: str = "", seconds: int = 600, *, all: bool = False, plan: bool = False) -> None:
    """Write a tap's catalog, keep its selection, and show its streams."""
    from cluster.onboarding import discover

    discover.discover(session, connector, plan_only=plan, stream=stream, everything=all, seconds=seconds)


@command(
    "select tap-exchange-rates --exclude currency",
    help={
        "connector": "a tap whose catalog was discovered; or a pipeline, for this one alone",
        "stream": "these streams and no others; a name or a glob, several with commas",
        "field": "these fields and no others of their streams: stream.field",
        "add": "these streams, or stream.field, as well",
        "exclude": "not these streams, or not stream.field",
        "all": "all streams and fields",
        "none": "no stream",
        "replication": "INCREMENTAL, FULL_TABLE or LOG_BASED; for one stream stream=FULL_TABLE",
        "replication-key": "the field to replicate by; for one stream stream=field",
    },
)
def select(
    session: Session,
    connector: str,
    stream: str = "",
    field: str = "",
    add: str = "",
    exclude: str = "",
    replication: str = "",
    replication_key: str = "",
    *,
    all: bool = False,
    none: bool = False,
) -> None:
    """Select what a tap loads, or show the selection."""
    from cluster.config.strict import words
    from cluster.onboarding import discover
    from cluster.onboarding.selection import Choice

    lists = map(words, (stream, field, add, exclude, replication, replication_key))
    discover.choose(session, connector, Choice(all, none, *lists))


@command(
    "check tap-exchange-rates",
    help={
        "name": "a connector, to try it; a pipeline, to read its files; or all, to read every file",
        "records": "how many records of a tap are enough",
        "seconds": "how long one run may take",
        "rows": "how many rows of each stream to show",
        "yes": "load into a target that asks for secrets without asking",
    },
)
def check(session: Session, name: str, records: int = 10_000, seconds: int = 60, rows: int = 3, *, yes: bool = False) -> None:
    """Try a connector, or read files, and report what is wrong."""
    from cluster.onboarding import check

    check.check(session, name, check.Limits(records, seconds, rows), sure=yes)


@command(
    "add nightly --tap tap-exchange-rates --target target-csv",
    help={
        "pipeline": "its name: lowercase letters, digits and hyphens",
        "tap": "the connector that extracts",
        "target": "the connector that loads",
        "mapper": "the connector between them, which changes streams and fields",
        "transform": "the connector that runs after each load",
        "config": "the tap's config for this pipeline, below singer-configs/",
        "catalog": "the catalog for this pipeline, below singer-configs/; made as a copy of the tap's",
        "target-config": "the target's config for this pipeline, below singer-configs/",
        "mode": "streaming (default) or staged",
        "schedule": 'a cron expression of five fields, such as "0 6 * * *"',
        "timezone": "of the schedule, such as Europe/Berlin; default: UTC",
        "timeout": "how long a run may take, such as 30m; default: 24h",
    },
)
def add(
    session: Session,
    pipeline: str,
    tap: str,
    target: str,
    mapper: str = "",
    transform: str = "",
    config: str = "",
    catalog: str = "",
    target_config: str = "",
    mode: str = "",
    schedule: str = "",
    timezone: str = "",
    timeout: str = "",
) -> None:
    """Add a pipeline to pipelines.yaml."""
    from cluster.onboarding import add

    keys = {"tap": tap, "mapper": mapper, "target": target, "config": config, "catalog": catalog, "target_config": target_config}
    keys |= {"transform": transform, "mode": mode, "schedule": schedule, "timezone": timezone, "timeout": timeout}
    add.add(session, pipeline, keys)


@command("lock all --plan", help={"connector": "a connector, several with commas, or all"})
def lock(session: Session, connector: str, *, plan: bool = False) -> None:
    """Resolve a connector's packages again, show what changes, and try it."""
    from cluster.config.strict import words
    from cluster.onboarding.lock import renew

    renew(session, words(connector), plan=plan)


# ---------------------------------------------------------------------------------------------------------- Operations


@command("credentials", help={"policy": "only print the rights that pipelines need of an S3, for its administrator"})
def credentials(session: Session, *, policy: bool = False) -> None:
    """Show MinIO's user and password."""
    from cluster.commands import access

    access.credentials(session, only_policy=policy)


@command("shell")
def shell(session: Session) -> None:
    """Start a shell in which kubectl, k9s, aws and mc use this platform."""
    from cluster.commands import access

    access.shell(session)


@command("forward")
def forward(session: Session) -> None:
    """Forward the platform's ports until Ctrl-C, if the provider publishes none."""
    from cluster.commands import access

    access.forward(session)


@command("export --env company", help={"out": "the folder to write; default: export/NAME"})
def export(session: Session, out: str = "") -> None:
    """Write what up and sync would apply to an environment, for GitOps."""
    from cluster.commands import sync

    sync.export(session, out=out)


@command("report --out runs.html", help={"out": "the file to write; default: .local/report.html", "print": "only print the page's path"})
def report(session: Session, out: str = "", limit: int = 1000, *, print: bool = False) -> None:
    """Write a page about the runs, and open it in the browser."""
    from cluster.commands import history

    history.report(session, out=out, limit=limit, only_print=print)


@command(
    "test",
    help={
        "options": "options for pytest",
        "unit": "only unit tests",
        "full": "the rest without a cluster",
        "all": "all",
        "connector": "only the tests of this connector's project",
    },
)
def test(session: Session, options: str = "", connector: str = "", *, unit: bool = False, full: bool = False, all: bool = False) -> None:
    """Run the tests that most changes can break, or those of one connector."""
    from cluster.commands import develop

    develop.test(session, options=options, connector=connector, unit=unit, full=full, all=all)


@command(
    "bench --only run,up",
    help={
        "quick": "small data and few runs, to see that it works; nothing is written",
        "only": "some of run, loop, up, argo, fleet, night, onboarding and hub, with commas; the last one only if it is named",
    },
)
def bench(session: Session, only: str = "", *, quick: bool = False) -> None:
    """Measure this machine for docs/performance.md."""
    from cluster.commands import develop

    develop.bench(session, quick=quick, only=only)


@command("init ../pipelines", help={"folder": "the folder of the new project, outside of this checkout"})
def init(session: Session, folder: str) -> None:
    """Write a project for a team's pipelines, in another folder, which this tool runs."""
    from cluster.onboarding.init import init

    init(session, folder)


@command(
    "upgrade --plan",
    help={
        "to": "a tag or a commit; without it the newest release",
        "back": "the version before the last upgrade",
    },
)
def upgrade(session: Session, to: str = "", *, back: bool = False, plan: bool = False, yes: bool = False) -> None:
    """Change the version of the tool that a project names, and show what changes."""
    from cluster.onboarding.upgrade import upgrade

    upgrade(session, to, back=back, plan=plan, yes=yes)


GROUPS = {
    "First day": (doctor, up, demo, status, open, stop, teardown),
    "Pipelines": (run, runs, show, logs, fetch, state, schedule, sync, cancel, retry),
    "Connectors": (search, new, discover, select, check, add, lock),
    "Operations": (credentials, shell, forward, export, report, init, upgrade, test, bench),
}
namespace = Collection(*(task for group in GROUPS.values() for task in group))
namespace.configure({"singer": dict(DEFAULTS)})

if __name__ == "__main__":
    from cluster.commands.program import main

    main(namespace, GROUPS)
else:
    check_invoke_yaml(ROOT)
