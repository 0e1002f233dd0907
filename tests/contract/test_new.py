"""``new``: from a package to a connector, or to nothing at all and a sentence."""

from __future__ import annotations

import json
import re
import signal
import stat
from typing import TYPE_CHECKING, Any

import pytest
from made_connectors import TAP, environments, files, made, project, succeeded
from terminal_user import Typist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from checkout import Checkout

TARGET = """
def main():
    print("usage: target-files [--config CONFIG]")
"""
TWO = 'tap-one = "odd:main"\ntap-two = "odd:main"'

MISTAKES: dict[str, tuple[Callable[[Checkout], list[str]], str, str]] = {
    "no such package": (lambda _: ["tap-there-is-no-such-thing"], "E-INSTALL", "was not found.*--pip-url"),
    "no program": (lambda _: ["tap-time", "--pip-url", "pytz"], "E-EXECUTABLE", "pytz installs no program"),
    "two programs": (lambda c: ["tap-odd", "--pip-url", project(c, scripts=TWO)], "E-EXECUTABLE", "2 programs: tap-one, tap-two.*--executable tap-one"),
    "a program that is not there": (lambda c: ["tap-odd", "--pip-url", project(c), "--executable", "tap-shpo"], "E-EXECUTABLE", 'Did you mean "tap-shop"'),
    "a target that is called a tap": (lambda c: ["tap-files", "--pip-url", project(c, TARGET)], "E-CONNECTOR", "tap-shop is a target, not a tap.*new target-files --pip-url connectors/odd"),
    "a target that is called a tap, and repaired": (lambda c: ["tap-files", "--pip-url", project(c, f"import pkg_resources\n{TARGET}")], "E-CONNECTOR", "new target-files --pip-url 'connectors/odd setuptools<81'"),
    "a tap that is asked for as a target": (lambda c: ["shop", "--target", "--pip-url", project(c)], "E-CONNECTOR", "tap-shop is a tap, not a target"),
    "no Singer connector": (lambda _: ["cow", "--pip-url", "cowsay"], "E-CONNECTOR", "cowsay is no Singer connector"),
    "does not start": (lambda c: ["tap-odd", "--pip-url", project(c, "raise SystemExit('broken')")], "E-CONNECTOR", "does not start: broken.*--python 3.10"),
    "misses a module": (lambda c: ["tap-odd", "--pip-url", project(c, "import nothing_like_it")], "E-CONNECTOR", "nothing_like_it.*--pip-url"),
    "a Python that is not there": (lambda _: ["tap-odd", "--pip-url", "tests/connectors/tap-scripted", "--python", "3.5"], "E-PYTHON", "needs Python 3.5"),
    "a Python that is none": (lambda _: ["tap-odd", "--python", "4"], "E-CONFIG", 'python is "4".*Correct the command'),
    "no such folder": (lambda _: ["tap-odd", "--pip-url", "connectors/none"], "E-CONFIG", "connectors/none is neither"),
    "a name that is taken": (lambda _: ["tap-exchange-rates", "--kind", "tap"], "E-EXISTS", "tap-exchange-rates is there already.*Choose another name"),
    "another variant": (
        lambda _: ["tap-exchange-rates", "--variant", "ecb"],
        "E-EXISTS",
        "is there already.*new tap-exchange-rates-2 --variant tap-exchange-rates--ecb",
    ),
    "a pipeline's name": (lambda _: ["exchange-rates-to-csv"], "E-EXISTS", "name of a pipeline"),
    "a name that is not allowed": (lambda _: ["Tap_X"], "E-CONFIG", "Tap_X.*small letters"),
    "a path for a name": (lambda _: ["../tap-x"], "E-CONFIG", "not allowed"),
    "no kind": (lambda _: ["tap-x", "--kind", "tab"], "E-SETTING", "allowed is tap, target, mapper"),
    "a setting without a value": (lambda _: ["tap-x", "--set", "start_date"], "E-SETTING", "start_date is not key=value"),
    "a setting twice": (lambda _: ["tap-x", "--set", "a=1", "--set", "a=2"], "E-SETTING", "a stands twice"),
    "a setting that it has not": (lambda _: ["tap-dbase", "--pip-url", "tap-dbf", "--set", "pth=x"], "E-SETTING", 'no setting "pth". Did you mean "path"'),
    "a value that it cannot take": (lambda _: ["tap-dbase", "--pip-url", "tap-dbf", "--set", "s3=x"], "E-SETTING", 's3 is "x"; allowed is object'),
    "no Meltano project": (lambda _: ["tap-x", "--from-meltano", "none.yml"], "E-CONFIG", "none.yml is not there"),
    "a target from scratch": (lambda _: ["target-x", "--from-scratch"], "E-CONFIG", "Name it tap-x"),
}  # fmt: skip


@pytest.mark.full
@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_leaves_nothing(checkout: Checkout, name: str) -> None:
    """What cannot be a connector is answered with one sentence and one thing to do, and nothing of it is left."""
    words, code, says = MISTAKES[name]
    command = words(checkout)
    before, there = files(checkout), environments(checkout, command[0])
    result = checkout.invoke("new", *command)

    sentence, hint = result.err.strip().splitlines()
    assert result.code == 1
    assert sentence.startswith(f"{code}  ")
    assert hint.startswith("→ ")
    assert re.search(says, f"{sentence} {hint}"), result.err
    assert files(checkout) == before
    assert environments(checkout, command[0]) == there


@pytest.mark.full
def test_a_path_with_a_space(checkout: Checkout) -> None:
    """The folder of a package may have a space in its name: the text is one path, and connector.yaml keeps it as one."""
    (checkout.root / "my taps").mkdir()
    (checkout.root / project(checkout)).rename(checkout.root / "my taps" / "odd")
    succeeded(checkout.invoke("new", "tap-shop", "--pip-url", "my taps/odd"))
    assert made(checkout, "tap-shop", "connector.yaml")["pip_url"] == ["my taps/odd"]


def test_the_shortest_command(checkout: Checkout) -> None:
    """An older tap shows itself what it needs: program, kind, capabilities and settings are found without an option for them."""
    result = succeeded(checkout.invoke("new", "tap-shop", "--pip-url", project(checkout)))

    assert made(checkout, "tap-shop", "connector.yaml") == {
        "kind": "tap",
        "pip_url": "connectors/odd",
        "capabilities": ["catalog", "discover", "state"],
        "settings": ["api_key", "start_date"],
        "required": ["api_key start_date"],
    }
    assert made(checkout, "tap-shop", "config.json") == {"api_key": "${TAP_SHOP_API_KEY}"}
    schema, summary, *_ = (checkout.root / "singer-configs/tap-shop/connector.yaml").read_text().splitlines()
    assert (schema, summary) == ("# yaml-language-server: $schema=../../docs/schemas/connector.json", "# Orders of a shop")
    assert "missing: start_date" in result.out
    assert "missing: TAP_SHOP_API_KEY" in result.out
    assert (
        "Next: write start_date into singer-configs/tap-shop/config.json and TAP_SHOP_API_KEY into .env, or invoke new tap-shop"
        in result.out
    )
    assert not (checkout.root / ".env").exists()
    checked = checkout.invoke("check", "tap-shop")
    assert "E-CONFIG  singer-configs/tap-shop/config.json has no start_date, and tap-shop needs it." in checked.err
    assert "two runs" not in checked.out


def test_secrets_are_kept_secret(checkout: Checkout) -> None:
    """A secret goes into ``.env``, which only the user may read, and is nowhere else, nor shown."""
    env = checkout.root / ".env"
    env.write_text("OTHER=1")
    words = ["new", "tap-shop", "--pip-url", project(checkout), "--set", "api_key=s3cr3t#'", "--set", "start_date=2024-01-01"]
    result = succeeded(checkout.invoke(*words))

    assert made(checkout, "tap-shop", "config.json") == {"api_key": "${TAP_SHOP_API_KEY}", "start_date": "2024-01-01"}
    assert env.read_text() == 'OTHER=1\nTAP_SHOP_API_KEY="s3cr3t#\'"\n'
    assert stat.S_IMODE(env.stat().st_mode) == 0o600
    assert [name for name, content in files(checkout).items() if b"s3cr3t" in content] == [".env"]
    assert "s3cr3t" not in result.out
    assert "✓ tap-shop" in result.out
    assert "does what Singer asks of a tap" in result.out
    add = result.out.strip().splitlines()[-1].partition("Next: ")[2].split()[1:]
    succeeded(checkout.invoke(*add))
    assert succeeded(checkout.run(add[1])).last["records"] == {"orders": 1}


def test_a_secret_that_is_set_already(checkout: Checkout) -> None:
    """A secret whose variable is set is used without a word; one with another value is never overwritten."""
    url = project(checkout)
    env = checkout.root / ".env"
    env.write_text("TAP_SHOP_API_KEY=first\n")
    before = files(checkout)
    result = checkout.invoke("new", "tap-shop", "--pip-url", url, "--set", "api_key=second", "--set", "start_date=2024")
    assert (result.code, result.err.split()[0]) == (1, "E-SECRET")
    assert files(checkout) == before

    succeeded(checkout.invoke("new", "tap-shop", "--pip-url", url, "--set", "start_date=2024"))
    assert made(checkout, "tap-shop", "config.json")["api_key"] == "${TAP_SHOP_API_KEY}"
    assert env.read_text() == "TAP_SHOP_API_KEY=first\n"


def test_what_goes_wrong_when_it_is_tried(checkout: Checkout) -> None:
    """A connector that is made and does not work yet stays, with what is wrong and what to do; the command has done its part."""
    broken = TAP.replace('if "--discover" in sys.argv:', 'if "--discover" in sys.argv:\n        raise SystemExit("401 Unauthorized")')
    words = ["new", "tap-shop", "--pip-url", project(checkout, broken), "--set", "api_key=x", "--set", "start_date=2024"]
    result = succeeded(checkout.invoke(*words))
    assert re.search(r"! E-DISCOVERY +.*401 Unauthorized.* → ", result.out)
    assert "Next: put that right, then invoke check tap-shop" in result.out
    assert (checkout.root / "singer-configs/tap-shop/connector.yaml").exists()


def test_events(checkout: Checkout) -> None:
    """A program gets the list of what was made and what is missing, and no question."""
    result = succeeded(checkout.invoke("new", "shop", "--pip-url", project(checkout), "--json"))
    (event,) = [event for event in result.events if event["event"] == "connector"]
    assert {key: value for key, value in event.items() if key not in {"event", "time", "schema"}} == {
        "connector": "shop",
        "source": None,
        "variant": None,
        "kind": "tap",
        "executable": "tap-shop",
        "capabilities": ["catalog", "discover", "state"],
        "settings": ["api_key"],
        "secrets": ["SHOP_API_KEY"],
        "missing": ["start_date"],
        "left": [],
    }


def test_a_program_may_be_named(checkout: Checkout) -> None:
    """Of a package with two programs the named one is the connector."""
    words = ["new", "tap-odd", "--pip-url", project(checkout, scripts=TWO), "--executable", "tap-two"]
    succeeded(checkout.invoke(*words))
    assert made(checkout, "tap-odd", "connector.yaml")["executable"] == "tap-two"


def test_questions_on_a_terminal(checkout: Checkout) -> None:
    """On a terminal the settings are asked for, those that are needed first; a secret is not shown while it is typed."""
    readme = 'The config:\n\n```json\n{"api_key": "KEY", "page_size": 50}\n```\n'
    source = f"{TAP}# {readme!r}"  # a README alone makes no new environment
    typist = Typist(checkout, "new", "tap-shop", "--pip-url", project(checkout, source, readme=readme))
    shown = typist.sees("(not shown) > ")
    assert "api_key  needed" in shown
    typist.types("s3cr3t")
    assert "start_date  needed" in typist.sees("> ")
    typist.types("2024-01-01")
    assert "page_size  for example 50" in typist.sees("> ")
    typist.types("")
    typist.sees("Next: ")
    assert typist.ends() == 0
    assert "s3cr3t" not in typist.seen
    assert made(checkout, "tap-shop", "config.json") == {"api_key": "${TAP_SHOP_API_KEY}", "start_date": "2024-01-01"}
    assert (checkout.root / ".env").read_text() == "TAP_SHOP_API_KEY=s3cr3t\n"


ABOUT = """
import json, sys

ITEM = {"type": "object", "properties": {"table": {"type": "string"}, "keys": {"type": "array", "items": {"type": "string"}}}, "required": ["table"]}
PARTS = {"files": {"type": ["array", "null"], "items": ITEM}, "encoding": {"type": ["string", "null"]}}

def main():
    assert "--about" in sys.argv
    print(json.dumps({"capabilities": ["catalog"], "settings": {"properties": PARTS, "required": ["files"]}}))
"""


def test_a_half_made_connector_is_completed(checkout: Checkout) -> None:
    """A connector that lacks a setting is asked for it; a list of objects is explained, and taken part by part."""
    words = ["new", "tap-shop", "--pip-url", project(checkout, ABOUT)]
    result = succeeded(checkout.invoke(*words))
    assert "write files into singer-configs/tap-shop/config.json, or invoke new tap-shop asks for them" in result.out
    refused = checkout.invoke("new", "tap-shop")
    assert "E-CONFIG  singer-configs/tap-shop/config.json has no files, and tap-shop needs it." in refused.err

    typist = Typist(checkout, "new", "tap-shop")
    assert "    table  needed · string" in typist.sees("JSON, or + for one question after the other > ")
    typist.types('[{"keys": ["id"]}]')
    assert "files[0] has no table." in typist.sees("> ")
    typist.types("+")
    for question, answer in (("table  needed", "people"), ("keys  array", "id,name"), ("Another item", "n"), ("encoding", "")):
        assert question in typist.sees("> " if answer != "n" else "[y/N] ")
        typist.types(answer)
    typist.sees("Next: ")
    typist.ends()
    assert made(checkout, "tap-shop", "config.json") == {"files": [{"table": "people", "keys": ["id", "name"]}]}

    assert succeeded(checkout.invoke("add", "shop", "--tap", "tap-shop", "--target", "target-csv"))
    assert "run shop\n" in succeeded(checkout.invoke("new", "tap-shop", "--set", "encoding=latin1")).out.rpartition("Next: ")[2]
    refused = checkout.invoke("new", "tap-shop")
    assert "E-EXISTS  singer-configs/tap-shop is there already, and lacks no setting." in refused.err
    assert "new tap-shop --set key=value" in refused.err


def test_a_config_that_is_there_already(checkout: Checkout) -> None:
    """A folder with a config alone becomes a connector with these values."""
    checkout.write("tap-shop/config.json", {"start_date": "2024-01-01"})
    succeeded(checkout.invoke("new", "tap-shop", "--pip-url", project(checkout), "--set", "api_key=s3cr3t"))
    assert made(checkout, "tap-shop", "config.json") == {"start_date": "2024-01-01", "api_key": "${TAP_SHOP_API_KEY}"}


def test_ctrl_c_at_a_question(checkout: Checkout) -> None:
    """Who goes away while being asked leaves nothing behind."""
    (checkout.local / "environments").unlink()  # other tests make the same connector
    words = ["new", "tap-shop", "--pip-url", project(checkout)]
    before, there = files(checkout), environments(checkout, "tap-shop")
    typist = Typist(checkout, *words)
    typist.sees("(not shown) > ")
    typist.process.send_signal(signal.SIGINT)
    assert typist.ends() == 130
    assert files(checkout) == before
    assert environments(checkout, "tap-shop") == there


def test_from_meltano(checkout: Checkout, tmp_path: Path) -> None:
    """A connector of a Meltano project loads the same here: its config, its secrets, what it selects."""
    plugin = {
        "name": "tap-shop",
        "pip_url": "tap-shop",
        "config": {"api_key": "$SHOP_KEY", "start_date": "2024-01-01", "names": f"{checkout.root}/names.txt"},
        "select": ["orders.id"],
        "load_schema": "raw",
    }
    (tmp_path / "meltano.yml").write_text(json.dumps({"plugins": {"extractors": [plugin]}}))
    (tmp_path / ".env").write_text("SHOP_KEY=s3cr3t\n")
    (checkout.root / "names.txt").write_text("ada")
    words = ["new", "tap-shop", "--from-meltano", str(tmp_path / "meltano.yml"), "--pip-url", project(checkout)]
    result = succeeded(checkout.invoke(*words))

    assert "not taken over: load_schema" in result.out
    assert made(checkout, "tap-shop", "config.json") == {"api_key": "${SHOP_KEY}", "start_date": "2024-01-01", "names": "names.txt"}
    assert made(checkout, "tap-shop", "connector.yaml")["files"] == ["names.txt"]
    assert (checkout.root / ".env").read_text() == "SHOP_KEY=s3cr3t\n"
    catalog = made(checkout, "tap-shop", "catalog.json")
    chosen = {tuple(item["breadcrumb"]): item["metadata"].get("selected") for item in catalog["streams"][0]["metadata"]}
    assert (chosen[()], chosen["properties", "id"], chosen["properties", "note"]) == (True, True, False)


@pytest.mark.full
def test_from_scratch(checkout: Checkout) -> None:
    """A local tap runs without a change, and the command that was printed for its test finds and passes it."""
    result = succeeded(checkout.invoke("new", "tap-mine", "--from-scratch"))
    assert "invoke test --connector tap-mine" in result.out
    succeeded(checkout.invoke("add", "mine", "--tap", "tap-mine", "--target", "target-csv"))
    assert succeeded(checkout.run("mine")).last["records"] == {"items": 3}
    again = succeeded(checkout.run("mine")).last
    assert again["records"] == {}

    assert re.search(r"✓ tap-mine +6 tests passed", succeeded(checkout.invoke("test", "--connector", "tap-mine")).out)
    source = checkout.root / "singer-containers/tap-mine/tap_mine/source.py"
    source.write_text(source.read_text().replace('"end_date"', '"end"'))
    failed = checkout.invoke("test", "--connector", "tap-mine")
    assert (failed.code, "test_end_date" in failed.out) == (1, True)
    refused = checkout.invoke("test", "--connector", "target-csv")
    assert "E-SETTING  target-csv has no project with tests in this checkout." in refused.err


OLD = """
import argparse, json

def main():
    parser = argparse.ArgumentParser()
    for flag in ("--config", "--catalog", "--properties"):
        parser.add_argument(flag)
    parser.add_argument("--discover", action="store_true")
    options = parser.parse_args()
    schema = {"type": "object", "properties": {"id": {"type": "integer"}}}
    if options.discover:
        print(json.dumps({"streams": [{"tap_stream_id": "s", "stream": "s", "key_properties": ["id"], "schema": schema, "metadata": []}]}))
    elif options.properties:
        print(json.dumps({"type": "SCHEMA", "stream": "s", "key_properties": ["id"], "schema": schema}))
        print(json.dumps({"type": "RECORD", "stream": "s", "record": {"id": 1}}))
        print(json.dumps({"type": "STATE", "value": {"s": 1}}))
"""


@pytest.mark.full
def test_an_old_tap_gets_what_it_reads(checkout: Checkout) -> None:
    """A tap that accepts --catalog, reads --properties alone and has no --state loads its stream at every run."""
    succeeded(checkout.invoke("new", "tap-shop", "--pip-url", project(checkout, OLD)))
    assert made(checkout, "tap-shop", "connector.yaml")["capabilities"] == ["catalog", "discover", "properties"]
    succeeded(checkout.invoke("add", "shop", "--tap", "tap-shop", "--target", "target-csv"))
    for _ in range(2):
        assert succeeded(checkout.run("shop")).last["records"] == {"s": 1}


@pytest.mark.full
def test_typed_variables_of_meltano(checkout: Checkout, tmp_path: Path) -> None:
    """A number or a flag from Meltano's .env keeps its type in the config."""
    config = {"output_path": ".", "batch_size_rows": "$BATCH_ROWS", "add_record_metadata": "${ADD_META}"}
    plugin: dict[str, Any] = {
        "name": "target-files",
        "pip_url": "meltanolabs-target-csv==0.5.0",
        "executable": "target-csv",
        "config": config,
    }
    plugin["settings"] = [{"name": "batch_size_rows", "kind": "integer"}]
    (tmp_path / "meltano.yml").write_text(json.dumps({"plugins": {"loaders": [plugin]}}))
    (tmp_path / ".env").write_text("BATCH_ROWS=100\nADD_META=false\n")
    result = succeeded(checkout.invoke("new", "target-files", "--from-meltano", str(tmp_path / "meltano.yml")))
    assert made(checkout, "target-files", "config.json") == {"output_path": ".", "batch_size_rows": 100, "add_record_metadata": False}
    assert not (checkout.root / ".env").exists()
    assert "target-columns" in result.out
