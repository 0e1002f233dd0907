"""What a user can get wrong before a run begins: one sentence, one hint, exit code 1, nothing begun."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from scenarios import BEFORE, GOOD

if TYPE_CHECKING:
    from collections.abc import Callable

    from checkout import Checkout, Result

pytestmark = pytest.mark.full  # types some commands for each mistake

CONNECTOR = {"kind": "tap", "pip_url": "tests/connectors/tap-scripted"}
PIPELINE = {"tap": "tap-scripted", "target": "target-scripted"}


def tap(checkout: Checkout, **changes: object) -> None:
    """Rewrite the tap's connector.yaml with *changes*; None removes a key."""
    keys = {key: value for key, value in {**CONNECTOR, **changes}.items() if value is not None}
    checkout.write("tap-scripted/connector.yaml", keys)


def pipeline(checkout: Checkout, **changes: object) -> None:
    """Rewrite the pipeline with *changes*; None removes a key."""
    keys = {key: value for key, value in {**PIPELINE, **changes}.items() if value is not None}
    checkout.write("pipelines.yaml", {"p": keys})


MISTAKES: dict[str, tuple[Callable[[Checkout], object], str, str]] = {
    "pipelines.yaml is gone": (lambda c: (c.root / "singer-configs/pipelines.yaml").unlink(), "E-CONFIG", "singer-configs/pipelines.yaml is not there"),
    "pipelines.yaml does not parse": (lambda c: c.write("pipelines.yaml", "p:\n  tap: [x\n  target: y\n"), "E-CONFIG", r"pipelines.yaml, line 3, column \d+"),
    "pipelines.yaml is a list": (lambda c: c.write("pipelines.yaml", "- p\n"), "E-CONFIG", 'is \\["p"\\]; allowed is a mapping'),
    "pipelines.yaml is not UTF-8": (lambda c: (c.root / "singer-configs/pipelines.yaml").write_bytes(b"\xff\xfe\xfa"), "E-CONFIG", "UTF-8"),
    "a key stands twice": (lambda c: c.write("pipelines.yaml", "p: {tap: tap-scripted}\np: {tap: tap-scripted}\n"), "E-CONFIG", "the key 'p' stands twice"),
    "a key is no text": (lambda c: c.write("pipelines.yaml", "p: {1: x}\n"), "E-CONFIG", "the key 1 is not a string"),
    "YAML that makes objects": (lambda c: c.write("pipelines.yaml", "p: !!python/object/apply:os.system ['true']\n"), "E-CONFIG", "constructor"),
    "a pipeline is a text": (lambda c: c.write("pipelines.yaml", "p: nonsense\n"), "E-CONFIG", 'p is "nonsense"; allowed is a mapping'),
    "tap is missing": (lambda c: pipeline(c, tap=None), "E-CONFIG", "p.tap is missing"),
    "tap is misspelt": (lambda c: pipeline(c, tap="tap-scriptd"), "E-CONFIG", 'p.tap is "tap-scriptd".*Did you mean "tap-scripted"'),
    "tap is a target": (lambda c: pipeline(c, tap="target-scripted"), "E-CONFIG", "target-scripted is a target"),
    "a misspelt key": (lambda c: pipeline(c, shedule="0 6 * * *"), "E-CONFIG", 'p.shedule is not a known key. Did you mean "schedule"'),
    "mode": (lambda c: pipeline(c, mode="fast"), "E-CONFIG", 'p.mode is "fast"; allowed is one of streaming, staged'),
    "schedule": (lambda c: pipeline(c, schedule="daily"), "E-CONFIG", 'p.schedule is "daily"; allowed is a cron expression'),
    "timezone": (lambda c: pipeline(c, timezone="Mars/Olympus"), "E-CONFIG", 'p.timezone is "Mars/Olympus"'),
    "paused": (lambda c: pipeline(c, paused="no"), "E-CONFIG", "allowed is true or false"),
    "retries": (lambda c: pipeline(c, retries=True), "E-CONFIG", "a whole number from 0 to 10"),
    "timeout": (lambda c: pipeline(c, timeout="soon"), "E-CONFIG", "a duration such as 90s"),
    "resources": (lambda c: pipeline(c, resources={"memory": "lots"}), "E-CONFIG", 'p.resources.memory is "lots"'),
    "resources with another key": (lambda c: pipeline(c, resources={"disk": "1Gi"}), "E-CONFIG", "p.resources.disk is not a known key"),
    "config of another folder": (lambda c: pipeline(c, config="../tasks.py"), "E-CONFIG", "a file below singer-configs/"),
    "config that is not there": (lambda c: pipeline(c, config="tap-scripted/other.json"), "E-CONFIG", "that is there"),
    "connector.yaml does not parse": (lambda c: c.write("tap-scripted/connector.yaml", "kind: 'tap\n"), "E-CONFIG", "connector.yaml, line"),
    "kind is missing": (lambda c: tap(c, kind=None), "E-CONFIG", "connector.yaml: kind is missing; it is one of tap, mapper, target"),
    "pip_url is missing": (lambda c: tap(c, pip_url=None, pipurl="x"), "E-CONFIG", "pip_url is missing"),
    "pip_url is empty": (lambda c: tap(c, pip_url=" "), "E-CONFIG", "at least one requirement"),
    "pip_url has options": (lambda c: tap(c, pip_url="--index-url http://127.0.0.1 tap-x"), "E-CONFIG", "requirements only"),
    "pip_url leads out": (lambda c: tap(c, pip_url="../../elsewhere"), "E-CONFIG", "elsewhere is neither"),
    "a system package": (lambda c: tap(c, system_packages=["libpq5; rm -rf /"]), "E-CONFIG", "system_packages is .*a list of Debian packages"),
    "pip_url has a stray quote": (lambda c: tap(c, pip_url="tap-x 'y"), "E-CONFIG", "balanced quotes"),
    "executable is a path": (lambda c: tap(c, executable="/bin/sh"), "E-CONFIG", "executable is .*the name of a program"),
    "capabilities": (lambda c: tap(c, capabilities=["catalogue"]), "E-CONFIG", "capabilities is"),
    "python as a number": (lambda c: c.write("tap-scripted/connector.yaml", "kind: tap\npip_url: x\npython: 3.10\n"), "E-CONFIG", 'python is 3.1; allowed is a version in quotes, such as "3.12"'),
    "outputs lead out": (lambda c: tap(c, outputs="../*.csv"), "E-CONFIG", "outputs is .*no leading slash, no .."),
    "outputs at the root": (lambda c: tap(c, outputs=["/etc/*"]), "E-CONFIG", "outputs is"),
    "config.json does not parse": (lambda c: c.write("tap-scripted/config.json", '{"a": 1,}'), "E-CONFIG", r"tap-scripted/config.json, line 1, column \d"),
    "config.json is a list": (lambda c: c.write("tap-scripted/config.json", "[]"), "E-CONFIG", "not a JSON object"),
    "config.json is deeper than deep": (lambda c: c.write("tap-scripted/config.json", "[" * 100_000), "E-CONFIG", "is not JSON"),
    "a secret is not set": (lambda c: c.write("tap-scripted/config.json", {"token": "${NO_SUCH_TOKEN}"}), "E-SECRET", r"asks for \$\{NO_SUCH_TOKEN\}, which is not set.*Put NO_SUCH_TOKEN=… into .env"),
    "a secret in its place": (lambda c: c.write("tap-scripted/config.json", {"steps": [], "auth": {"apiToken": "abc"}}), "E-SECRET-TYPED", r"tap-scripted/config.json: auth.apiToken holds a secret itself.*Put it into .env as TAP_SCRIPTED_APITOKEN=… and write \"\$\{TAP_SCRIPTED_APITOKEN\}\""),
    ".env does not parse": (lambda c: (c.root / ".env").write_text("A=1\nnonsense\n"), "E-CONFIG", ".env, line 2 is not NAME=value"),
    "catalog.json does not parse": (lambda c: c.write("tap-scripted/catalog.json", "{"), "E-CATALOG", "catalog.json, line 1"),
    "catalog.json without streams": (lambda c: c.write("tap-scripted/catalog.json", {"stream": []}), "E-CATALOG", 'has no list "streams"'),
    "catalog.json with a nameless stream": (lambda c: c.write("tap-scripted/catalog.json", {"streams": [{}]}), "E-CATALOG", r"streams\[0\]"),
    "catalog.json without a schema": (lambda c: c.write("tap-scripted/catalog.json", {"streams": [{"tap_stream_id": "s"}]}), "E-CATALOG", '"s" has no "schema"'),
    "initial state does not parse": (lambda c: c.write("tap-scripted/state.json", "{'n': 1}"), "E-STATE", "tap-scripted/state.json, line 1"),
    "initial state is a list": (lambda c: c.write("tap-scripted/state.json", "[]"), "E-STATE", "not a JSON object"),
    "stored state does not parse": (lambda c: (c.local / "buckets/singer-configs/pipelines/p/state.json").write_text("oops"), "E-STATE", r"--set FILE.*--reset"),
    "buckets of another engine": (lambda c: (c.local / "buckets/singer-configs/owner.json").write_text('{"engine": "argo"}'), "E-ENGINE", "belongs to the engine argo, this is local"),
    "a setting that does not exist": (lambda c: (c.root / "invoke.yaml").write_text("singer: {enigne: local}\n"), "E-SETTING", 'singer.enigne is not a setting. Did you mean "engine"'),
    "a setting that is not allowed": (lambda c: (c.root / "invoke.yaml").write_text("singer: {local_store: tape}\n"), "E-SETTING", 'singer.local_store is "tape"; allowed is one of folder, s3'),
    "a setting of another type": (lambda c: (c.root / "invoke.yaml").write_text("singer: {store: false}\n"), "E-SETTING", "singer.store is false"),
    "an S3 store without an address": (lambda c: (c.root / "invoke.yaml").write_text("singer: {local_store: s3}\n"), "E-SETTING", "singer.s3_endpoint"),
    "the bucket folder is a file": (lambda c: (c.local / "buckets/artifacts").rename(c.local / "moved") and (c.local / "buckets/artifacts").write_text("x"), "E-STORE", "artifacts"),
}  # fmt: skip


@pytest.fixture
def used(checkout: Checkout) -> Checkout:
    """Return a checkout in which the pipeline p has run successfully."""
    checkout.scripted({"steps": GOOD})
    assert checkout.run().code == 0
    return checkout


def is_one_sentence(result: Result, code: str, says: str) -> None:
    """Assert that the user sees the error's code, one sentence and one hint, and no traceback."""
    sentence, hint = result.err.strip().splitlines()
    assert sentence.startswith(f"{code}  ")
    assert hint.startswith("→ ")
    assert re.search(says, sentence + hint), result.err


@pytest.mark.parametrize("name", MISTAKES)
def test_mistake(used: Checkout, name: str) -> None:
    """A mistake is answered with the file, the key, what was found and what is allowed; no run begins."""
    make, code, says = MISTAKES[name]
    before = len(used.invoke("runs", "--json").events)
    make(used)
    result = used.run()

    is_one_sentence(result, code, says)
    assert result.code == 1
    assert result.error == code
    assert result.last["event"] == "run.finished"
    assert (result.last["status"], result.last["run"]) == ("failed", None)
    (used.root / "invoke.yaml").unlink(missing_ok=True)
    if (used.local / "buckets/artifacts").is_dir():
        assert len(used.invoke("runs", "--json").events) == before


def test_settings_that_aliases_make_endless(checkout: Checkout) -> None:
    """An invoke.yaml of a few lines that would be a thousand million values is refused, before anybody writes them out."""
    lines = [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    (checkout.root / "invoke.yaml").write_text("\n".join(["a0: &a0 [x]", *lines]))
    result = checkout.invoke("runs")
    is_one_sentence(result, "E-CONFIG", "invoke.yaml holds too much")
    assert result.code == 1


@pytest.mark.parametrize("name", ["nope", "with space", "../p", "a/b", "", "-x", "é", "p\n", "x" * 300])
def test_unknown_pipeline(used: Checkout, name: str) -> None:
    """For any name that is no pipeline's, the answer lists those that are."""
    result = used.invoke("run", "--json", f"--pipeline={name}")

    is_one_sentence(result, "E-UNKNOWN", "Pipelines are p")
    assert result.code == 1


@pytest.mark.parametrize("name", ["Upper", "under_score", "x" * 51, "p-", "tap-scripted"])
def test_pipeline_names(used: Checkout, name: str) -> None:
    """A pipeline's name is a DNS label that no connector has."""
    used.write("pipelines.yaml", {name: PIPELINE})

    is_one_sentence(used.invoke("run", f"--pipeline={name}"), "E-CONFIG", "Rename")


def test_unknown_engine_and_run(used: Checkout) -> None:
    """An engine, a run or a connector that does not exist is answered with those that do."""
    is_one_sentence(used.invoke("run", "p", "--engine", "loca"), "E-SETTING", 'Did you mean "local"')
    is_one_sentence(used.invoke("run", "p", "--engine", "argo"), "E-DOWN", "The platform is not up")
    is_one_sentence(used.invoke("show", "20200101"), "E-UNKNOWN", "The latest are: 20")
    is_one_sentence(used.invoke("check", "tap-scriptd"), "E-UNKNOWN", 'Did you mean "tap-scripted"')
    is_one_sentence(used.invoke("run", "p", INVOKE_SINGER_ENGIN="local"), "E-SETTING", "INVOKE_SINGER_ENGIN is not a setting")


def test_two_runs_at_once(used: Checkout) -> None:
    """While a run is under way a second one of the same pipeline is refused and leaves the first alone."""
    gate = used.root / "gate"
    used.scripted({"steps": GOOD}, {"wait_for": str(gate)})
    with used.start("run", "p", "--json") as first:
        assert first.stdout is not None
        started = json.loads(first.stdout.readline())
        assert started["event"] == "run.started"
        second = used.run()
        assert used.invoke("runs", "--json").events[0]["status"] == "running"
        is_one_sentence(used.invoke("state", "p", "--reset"), "E-BUSY", "under way")
        gate.touch()
        rest = [json.loads(line) for line in first.stdout]

    is_one_sentence(second, "E-BUSY", rf"Another run of p is under way \({started['run']}\)")
    assert second.code == 1
    assert (first.returncode, rest[-1]["status"]) == (0, "succeeded")


def test_state_command(used: Checkout) -> None:
    """State can be shown, replaced from a file and removed; what is not a JSON object is refused and changes nothing."""
    file = used.root / "new.json"
    for text in ("", "[1]", '"x"', "{", "null"):
        file.write_text(text)
        is_one_sentence(used.invoke("state", "p", "--set", str(file)), "E-STATE", "new.json")
    is_one_sentence(used.invoke("state", "p", "--set", "no-such-file.json"), "E-CONFIG", "no-such-file.json")
    is_one_sentence(used.invoke("state", "p", "--set", str(file), "--reset"), "E-SETTING", "Use only one of them")
    is_one_sentence(used.invoke("state", "q"), "E-UNKNOWN", "Pipelines are p")
    assert used.state() == BEFORE

    file.write_text('{"n": 7}')
    assert used.invoke("state", "p", "--set", "new.json").code == 0
    assert used.state() == {"n": 7}
    assert used.invoke("state", "p", "--reset").code == 0
    assert used.state() is None
    versions = list((used.local / "buckets/.versions/singer-configs/pipelines/p/state.json").iterdir())
    assert {file.read_text() for file in versions} == {'{"n": 2}', '{"n": 7}', ""}


def test_check_shows_everything_that_is_wrong(used: Checkout) -> None:
    """The command check all reads all of singer-configs/ and names every mistake, each once."""
    assert used.invoke("check", "all").code == 0
    tap(used, kind="tab")
    used.write("target-csv/config.json", "{")
    result = used.invoke("check", "all")

    assert result.code == 1
    assert [line[0] for line in result.out.splitlines()].count("✗") == 2
    assert 'kind is "tab"' in result.out
    assert "target-csv/config.json, line 1" in result.out
    assert used.invoke("check", "exchange-rates-to-csv").code == 1
    used.write("target-csv/config.json", {})
    used.write("pipelines.yaml", {"q": {"tap": "tap-exchange-rates", "target": "target-csv"}})
    assert used.invoke("check", "q").code == 0
