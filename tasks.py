"""The commands, in the order of a first day. Wiring only: each says which module of ``cluster`` does it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from invoke.collection import Collection

from cluster.commands.frame import command, see_choices
from cluster.config.settings import DEFAULTS, ROOT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cluster.session import Session

ENGINE = "local or argo; default: argo if the platform is up, else local"
JSON = "print one JSON object per line"
RUN = "a run's id, a part of it, or last"


@command(
    help={
        "engine": ENGINE,
        "fix": "do what is safe: fetch kind into .local/bin, close .env, remove what killed commands have left",
        "bundle": "write all of it into one file without secrets, for asking for help",
        "json": JSON,
    }
)
def doctor(session: Session, engine: str = "", *, fix: bool = False, bundle: bool = False, json: bool = False) -> None:
    """Look at everything that the other commands need. invoke doctor --fix"""
    from cluster import doctor

    doctor.doctor(session, engine=engine, fix=fix, bundle=bundle)


@command(help={"plan": "only show what would be done", "timings": "show how long each step took", "json": JSON})
def up(session: Session, *, plan: bool = False, timings: bool = False, json: bool = False) -> None:
    """Bring the platform up, or make right what is wrong with it. invoke up"""
    from cluster.commands import platform

    platform.up(session, timings=timings, plan_only=plan)


@command(help={"json": JSON})
def status(session: Session, *, json: bool = False) -> None:
    """Show the platform's parts and what each waits for. invoke status"""
    from cluster.commands import platform

    platform.status(session)


@command(help={"door": "argo or minio", "print": "only print the address", "json": JSON})
def open(session: Session, door: str, *, print: bool = False, json: bool = False) -> None:
    """Open Argo's or MinIO's pages in the browser. invoke open argo"""
    from cluster.commands import access

    access.open_door(session, door, only_print=print)


@command(help={"json": JSON})
def forward(session: Session, *, json: bool = False) -> None:
    """Forward the platform's ports until Ctrl-C, where none is published. invoke forward"""
    from cluster.commands import access

    access.forward(session)


@command(help={"policy": "only print the rights that pipelines need of an S3, for its administrator", "json": JSON})
def credentials(session: Session, *, policy: bool = False, json: bool = False) -> None:
    """Show MinIO's user and password. invoke credentials"""
    from cluster.commands import access

    access.credentials(session, only_policy=policy)


@command()
def shell(session: Session) -> None:
    """Start a shell for kubectl, k9s, aws and mc, set to this platform. invoke shell"""
    from cluster.commands import access

    access.shell(session)


@command(help={"json": JSON})
def stop(session: Session, *, json: bool = False) -> None:
    """Stop the cluster; up wakes it. invoke stop"""
    from cluster.commands import teardown as commands_teardown

    commands_teardown.stop(session)


@command(
    help={
        "yes": "do not ask",
        "keep-data": "keep buckets, states and runs for the next up",
        "all": "remove environments and images too",
        "json": JSON,
    }
)
def teardown(session: Session, *, yes: bool = False, keep_data: bool = False, all: bool = False, json: bool = False) -> None:
    """Take away everything that up has made. invoke teardown --keep-data"""
    from cluster.commands import teardown as commands_teardown

    commands_teardown.teardown(session, yes=yes, keep_data=keep_data, everything=all)


@command(help={"engine": ENGINE, "full": "start over: forget where the last run ended", "json": JSON})
def demo(session: Session, engine: str = "", *, full: bool = False, json: bool = False) -> None:
    """Run the example: real exchange rates into a CSV file. invoke demo"""
    from cluster.commands import run as running

    running.demo(session, engine=engine, full=full)


@command(
    help={
        "pipeline": "its name in pipelines.yaml; several with commas run at once",
        "engine": ENGINE,
        "full": "start over",
        "raw": "keep what the tap printed",
        "from_": "a backfill: the first day to load; the state is neither used nor changed",
        "to": "the last day of a backfill, where the tap takes an end",
        "json": JSON,
    }
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
    json: bool = False,
) -> None:
    """Run one pipeline. invoke run exchange-rates-to-csv"""
    from cluster.commands import run as running

    running.run(session, pipeline, engine=engine, full=full, keep_raw=raw, first=from_, last=to)


@command(help={"pipeline": "only runs of this one", "limit": "how many, newest first", "json": JSON})
def runs(session: Session, pipeline: str = "", limit: int = 20, *, json: bool = False) -> None:
    """List the newest runs. invoke runs --limit 5"""
    from cluster.commands import history as commands_history

    commands_history.runs(session, pipeline=pipeline, limit=limit)


@command(help={"run": RUN, "json": JSON})
def show(session: Session, run: str, *, json: bool = False) -> None:
    """Show one run: counts, states, files, logs, errors. invoke show last"""
    from cluster.commands import history as commands_history

    commands_history.show(session, run)


@command(
    help={
        "out": "the file to write; default: .local/report.html",
        "limit": "how many, newest first",
        "print": "only print where the page is",
        "json": JSON,
    }
)
def report(session: Session, out: str = "", limit: int = 1000, *, print: bool = False, json: bool = False) -> None:
    """Write a page about the runs, and open it in the browser. invoke report --out runs.html"""
    from cluster.commands import history as commands_history

    commands_history.report(session, out=out, limit=limit, only_print=print)


@command(help={"run": RUN, "json": JSON})
def fetch(session: Session, run: str, *, json: bool = False) -> None:
    """Copy a run's files into output/. invoke fetch last"""
    from cluster.commands import history as commands_history

    commands_history.fetch(session, run)


@command(help={"run": RUN, "follow": "go on until the run has ended", "json": JSON})
def logs(session: Session, run: str, *, follow: bool = False, json: bool = False) -> None:
    """Show what tap and target have said. invoke logs last"""
    from cluster.commands import history as commands_history

    commands_history.logs(session, run, follow=follow)


@command(help={"run": RUN, "json": JSON})
def cancel(session: Session, run: str, *, json: bool = False) -> None:
    """Stop a run in the cluster. invoke cancel last"""
    from cluster.commands import history as commands_history

    commands_history.cancel(session, run)


@command(help={"run": RUN, "json": JSON})
def retry(session: Session, run: str, *, json: bool = False) -> None:
    """Load again what a failed run of a staged pipeline has extracted. invoke retry last"""
    from cluster.commands import run as running

    running.retry(session, run)


@command(
    help={
        "pipeline": "its name in pipelines.yaml",
        "engine": ENGINE,
        "set": "a file with the new state",
        "reset": "remove the state",
        "history": "show all versions",
        "rollback": "the version to go back to, as --history shows it",
        "copy-to": "the environment whose platform gets this state, too",
        "yes": "with --copy-to: replace another state there without asking",
        "json": JSON,
    }
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
    json: bool = False,
) -> None:
    """Show where a pipeline's next run begins, or change it. invoke state exchange-rates-to-csv"""
    from cluster.commands import state as commands_state

    change = commands_state.Change(set, rollback, copy_to, reset=reset)
    commands_state.state(session, pipeline, change, engine=engine, versions=history, sure=yes)


@command(help={"plan": "only show what would be done", "yaml": "print the objects of schedules, apply nothing", "json": JSON})
def sync(session: Session, *, plan: bool = False, yaml: bool = False, json: bool = False) -> None:
    """Bring singer-configs/ into the cluster: images, secrets, configs, schedules. invoke sync --plan"""
    from cluster.commands import sync as commands_sync

    commands_sync.sync(session, plan_only=plan, as_yaml=yaml)


@command(help={"out": "the folder to write; default: export/NAME", "json": JSON})
def export(session: Session, out: str = "", *, json: bool = False) -> None:
    """Write all that up and sync would apply to an environment, for GitOps. invoke export --env company"""
    from cluster.commands import sync as commands_sync

    commands_sync.export(session, out=out)


@command(
    help={
        "connector": "a tap, below singer-configs/",
        "stream": "show this one's fields as a tree",
        "all": "show all streams, however many",
        "plan": "only show what would be done",
        "seconds": "how long the tap may take",
        "json": JSON,
    }
)
def discover(
    session: Session, connector: str, stream: str = "", seconds: int = 600, *, all: bool = False, plan: bool = False, json: bool = False
) -> None:
    """Write a tap's catalog, keeping what is selected, and show its streams. invoke discover tap-exchange-rates"""
    from cluster.onboarding import discover as streams

    streams.discover(session, connector, plan_only=plan, stream=stream, everything=all, seconds=seconds)


@command(
    help={
        "connector": "a tap whose catalog was discovered",
        "stream": "these streams and no others; a name or a glob, several with commas",
        "field": "these fields and no others of their streams: stream.field",
        "add": "these streams, or stream.field, as well",
        "exclude": "not these streams, or not stream.field",
        "all": "all streams and fields",
        "none": "no stream",
        "replication": "INCREMENTAL, FULL_TABLE or LOG_BASED; for one stream stream=FULL_TABLE",
        "replication-key": "the field to replicate by; for one stream stream=field",
        "json": JSON,
    }
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
    json: bool = False,
) -> None:
    """Select what a tap loads, or show what is selected. invoke select tap-exchange-rates --exclude currency"""
    from cluster.config.strict import words
    from cluster.onboarding import discover as streams
    from cluster.onboarding.selection import Choice

    lists = map(words, (stream, field, add, exclude, replication, replication_key))
    streams.choose(session, connector, Choice(all, none, *lists))


@command(
    help={
        "name": "a connector, which is tried; a pipeline, whose files are read; or all, to read every file",
        "records": "how many records of a tap are enough",
        "seconds": "how long one run may take",
        "rows": "how many rows of each stream to show",
        "yes": "load into a target that asks for secrets without asking",
        "json": JSON,
    }
)
def check(
    session: Session, name: str, records: int = 10_000, seconds: int = 60, rows: int = 3, *, yes: bool = False, json: bool = False
) -> None:
    """Try a connector out, or read files, and say what is wrong. invoke check tap-exchange-rates"""
    from cluster.onboarding import check as checking

    checking.check(session, name, checking.Limits(records, seconds, rows), sure=yes)


@command(
    help={
        "word": "a part of a connector's name",
        "kind": "tap, target or mapper; default: all",
        "limit": "how many to show",
        "json": JSON,
    }
)
def search(session: Session, word: str, kind: str = "", limit: int = 20, *, json: bool = False) -> None:
    """Search Meltano Hub for connectors. invoke search hubspot"""
    from cluster.onboarding import search as searching

    searching.search(session, word, kind=kind, limit=limit)


@command(
    iterable=["set"],
    help={
        "name": "what to call it, such as tap-github",
        "pip-url": "its package as pip takes it, or a folder of this repository; default: the one that Meltano Hub names",
        "variant": "a variant in Meltano Hub, or NAME--VARIANT to give it another name; default: the Hub's default",
        "kind": "tap or target; default: found out",
        "target": "the same as --kind target",
        "executable": "its program; default: the one that the package installs",
        "python": 'the Python it needs, such as "3.10"',
        "set": "a setting, key=value; the option may be repeated",
        "from-meltano": "a meltano.yml that has this connector",
        "from-scratch": "make a new tap of your own, with a test",
        "no-input": "ask nothing",
        "json": JSON,
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
    json: bool = False,
) -> None:
    """Make a connector of a package, with its environment, and try it out. invoke new tap-dbf --set path=/data/*.dbf"""
    from cluster.onboarding.draft import ConnectorRequest
    from cluster.onboarding.new import new as make
    from cluster.onboarding.new import read_settings

    kind = "target" if target else kind
    request = ConnectorRequest(name, pip_url, kind, executable, python, read_settings(set or ()), variant=variant)
    make(session, request, meltano_file=from_meltano, from_scratch=from_scratch, ask=not (json or no_input))


@command(
    help={
        "pipeline": "its name: small letters, digits and hyphens",
        "tap": "the connector that extracts",
        "target": "the connector that loads",
        "transform": "what runs after each load",
        "mode": "streaming (default) or staged",
        "schedule": 'a cron expression of five fields, such as "0 6 * * *"',
        "timezone": "of the schedule, such as Europe/Berlin; default: UTC",
        "timeout": "how long a run may take, such as 30m; default: 24h",
        "json": JSON,
    }
)
def add(
    session: Session,
    pipeline: str,
    tap: str,
    target: str,
    transform: str = "",
    mode: str = "",
    schedule: str = "",
    timezone: str = "",
    timeout: str = "",
    *,
    json: bool = False,
) -> None:
    """Add a pipeline to pipelines.yaml. invoke add nightly --tap tap-exchange-rates --target target-csv"""
    from cluster.onboarding import add as adding

    entry = {
        "tap": tap,
        "target": target,
        "transform": transform,
        "mode": mode,
        "schedule": schedule,
        "timezone": timezone,
        "timeout": timeout,
    }
    adding.add(session, pipeline, entry)


@command(help={"all": "also what takes long or needs a cluster", "options": "passed on to pytest"})
def test(session: Session, options: str = "", *, all: bool = False) -> None:
    """Run the tests. invoke test"""
    from cluster.commands import develop

    develop.test(session, everything=all, options=options)


@command(
    help={
        "quick": "small data and few runs, to see that it works; nothing is written",
        "only": "some of run, up, argo, night and onboarding, with commas",
        "json": JSON,
    }
)
def bench(session: Session, only: str = "", *, quick: bool = False, json: bool = False) -> None:
    """Measure what this machine can, for docs/performance.md. invoke bench --only run,up"""
    from cluster.commands import develop

    develop.bench(session, quick=quick, only=only, as_json=json)


PLATFORM = (doctor, up, status, open, forward, credentials, shell, stop, teardown)
PIPELINES = (demo, run, runs, report, show, logs, fetch, cancel, retry, state, sync, export)
CONNECTORS = (search, new, discover, select, check, add)
see_choices(ROOT)
namespace = Collection(*PLATFORM, *PIPELINES, *CONNECTORS, test, bench)
namespace.configure({"singer": dict(DEFAULTS)})
