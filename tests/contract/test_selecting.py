"""``discover`` and ``select``, typed, with taps on singer-sdk and on singer-python: what was selected is what arrives."""

from __future__ import annotations

import json
import re
import signal
from typing import TYPE_CHECKING, Any

import pytest
from processes import alive, eventually

if TYPE_CHECKING:
    from checkout import Checkout, Result

SDK = {"kind": "tap", "pip_url": "singer-containers/tap-exchange-rates", "capabilities": ["about", "catalog", "discover", "state"]}
CLASSIC = {"kind": "tap", "pip_url": "tests/connectors/tap-classic", "capabilities": ["catalog", "discover", "state"]}
TAPS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "tap-exchange-rates": (SDK, {"source": "packaged", "start_date": "2024-01-01", "end_date": "2024-01-05"}),
    "tap-classic": (CLASSIC, {}),
}
FIELDS: dict[str, Any] = {"type": "object", "properties": {"n": {"type": "integer"}, "text": {"type": ["null", "string"]}}}


def stream(name: str, **more: Any) -> dict[str, Any]:
    """Return a stream as the scripted tap may discover it."""
    return {"tap_stream_id": name, "stream": name, "schema": FIELDS, "key_properties": ["n"], "metadata": [], **more}


def scripted(checkout: Checkout, *lines: object, **config: Any) -> None:
    """Make the scripted tap discover these lines."""
    checkout.scripted({"discover": list(lines), **config})
    keys = {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": ["catalog", "discover", "state"]}
    checkout.write("tap-scripted/connector.yaml", keys)


def pipeline(checkout: Checkout, tap: str) -> None:
    """Make p of a real tap and the target that writes down what it gets."""
    checkout.scripted({})
    keys, config = TAPS[tap]
    checkout.write(f"{tap}/connector.yaml", keys)
    checkout.write(f"{tap}/config.json", config)
    checkout.write("pipelines.yaml", {"p": {"tap": tap, "target": "target-scripted"}})


def typed(checkout: Checkout, *words: str) -> Result:
    """Type a command that must succeed."""
    result = checkout.invoke(*words)
    assert (result.code, result.err) == (0, ""), result
    return result


def refused(result: Result, code: str, *says: str) -> None:
    """See a refusal: one sentence and one hint."""
    sentence, hint = result.err.strip().splitlines()
    assert (result.code, sentence.partition("  ")[0], hint[:2]) == (1, code, "→ ")
    for text in says:
        assert text in sentence + hint


def catalog(checkout: Checkout, tap: str = "tap-scripted") -> dict[str, Any]:
    """Return the catalog that is there."""
    return dict(json.loads((checkout.root / "singer-configs" / tap / "catalog.json").read_text(encoding="utf-8")))


def selected(result: Result) -> dict[str, list[str]]:
    """Return the streams that are selected, and their fields, as the events say."""
    return {event["stream"]: event["selected_fields"] for event in result.events if event["event"] == "stream" and event["selected"]}


def arrived(checkout: Checkout) -> dict[str, set[str]]:
    """Run the pipeline from the beginning, and return the streams that arrived, with the fields of their records."""
    result = checkout.run("p", "--full")
    assert result.code == 0, result.err
    files = {
        name.rpartition("/")[2].removesuffix(".jsonl"): text for name, text in checkout.outputs().items() if result.last["run"] in name
    }
    return {name: {key for line in text.splitlines() for key in json.loads(line)} for name, text in files.items()}


@pytest.mark.full
@pytest.mark.parametrize(
    ("tap", "words", "expected"),
    [
        ("tap-exchange-rates", "--stream currency --exclude currency.name,currency.days", "currency: code first_day last_day"),
        ("tap-exchange-rates", "--none --field exchange_rate.USD,exchange_rate.C?F", "exchange_rate: date USD CHF"),
        (
            "tap-exchange-rates",
            "--all --exclude exchange_rate,*.*day*",
            "currency: code name last_day, exchange_rate_long: date currency rate",
        ),
        ("tap-classic", "--stream orders", "orders: id total at"),
        ("tap-classic", "--exclude people.email,*.total", "people: id name address at, orders: id at"),
        ("tap-classic", "--none --field people.name", "people: id name at"),
    ],
)
def test_what_is_selected_is_what_arrives(checkout: Checkout, tap: str, words: str, expected: str) -> None:
    """For a tap written with any library, a run loads exactly the streams and fields that were selected, and check agrees."""
    pipeline(checkout, tap)
    typed(checkout, "discover", tap)
    result = typed(checkout, "select", tap, *words.split(), "--json")
    fields = {name: set(names.split()) for name, _, names in (part.partition(": ") for part in expected.split(", "))}
    assert {name: set(chosen) for name, chosen in selected(result).items()} == fields
    assert arrived(checkout) == fields
    assert typed(checkout, "check", tap, "--json").last["ok"]


@pytest.mark.full
@pytest.mark.parametrize("tap", TAPS)
def test_discovering_changes_no_run(checkout: Checkout, tap: str) -> None:
    """A run loads the same with the catalog that discover writes as without one."""
    pipeline(checkout, tap)
    before = arrived(checkout)
    typed(checkout, "discover", tap)
    assert arrived(checkout) == before


def test_streams_and_fields_are_shown(checkout: Checkout) -> None:
    """Streams are a table: fields, keys, replication, whether selected; the fields of one are a tree, with type and inclusion."""
    pipeline(checkout, "tap-classic")
    out = typed(checkout, "discover", "tap-classic").out
    assert re.search(r"^  people +5 of 5 +id +INCREMENTAL at +✓$", out, re.MULTILINE)
    assert "written; 2 of 2 streams selected" in out
    assert "Next: invoke check tap-classic · invoke select tap-classic" in out
    typed(checkout, "select", "tap-classic", "--exclude", "people.address.town,orders")
    out = typed(checkout, "discover", "tap-classic", "--stream", "people").out
    lines = [line.split() for line in out.splitlines() if line.startswith("  ")]
    assert lines[1:] == [
        ["id", "integer", "key", "automatic", "✓"],
        ["name", "string?", "available", "✓"],
        ["email", "string?", "available", "✓"],
        ["address", "object?", "available", "✓"],
        ["street", "string?", "available", "✓"],
        ["town", "string?", "available"],
        ["at", "date-time", "available", "✓"],
    ]
    assert "unchanged; 1 of 2 streams selected" in out
    events = typed(checkout, "discover", "tap-classic", "--stream", "people", "--json").events
    assert [event["field"] for event in events if event["event"] == "field" and not event["selected"]] == [["address", "town"]]


def test_another_discovery_keeps_the_selection_and_says_what_changed(checkout: Checkout) -> None:
    """What was chosen stays; new, gone and changed streams are named; --plan shows it and writes nothing."""
    scripted(checkout, {"streams": [stream("a"), stream("b"), stream("gone")]})
    typed(checkout, "discover", "tap-scripted")
    typed(checkout, "select", "tap-scripted", "--stream", "a", "--exclude", "a.text")
    other = {"type": "object", "properties": {**FIELDS["properties"], "text": {"type": "integer"}, "new": {"type": "string"}}}
    scripted(checkout, {"streams": [stream("a", schema=other), stream("b"), stream("new")]})
    before = catalog(checkout)
    plan = typed(checkout, "discover", "tap-scripted", "--plan", "--json")
    assert (catalog(checkout), plan.last["written"]) == (before, False)
    out = typed(checkout, "discover", "tap-scripted").out
    facts = plan.last
    assert (facts["new"], facts["gone"], facts["changed"]) == (["new"], ["gone"], {"a": ["+new", "text: string? → integer"]})
    for line in (r"! new streams +new", r"! streams that are gone +gone", r"! a +\+new, text: string\? → integer"):
        assert re.search(f"^{line}$", out, re.MULTILINE)
    assert selected(typed(checkout, "select", "tap-scripted", "--json")) == {"a": ["n"]}
    assert "• singer-configs/tap-scripted/catalog.json" in typed(checkout, "discover", "tap-scripted").out


def test_a_greeting_does_no_harm(checkout: Checkout) -> None:
    """A tap that prints a banner before its catalog is understood."""
    scripted(checkout, "Welcome to tap 2.0", '{"level": "INFO", "message": "hello"}', {"streams": [stream("a")]})
    assert typed(checkout, "discover", "tap-scripted", "--json").last["streams"] == 1


@pytest.mark.full
def test_ten_thousand_streams(checkout: Checkout) -> None:
    """Of a very large catalog the table is cut with a word, --all shows the rest, programs get all of it, and one stream is found."""
    scripted(checkout, {"streams": [stream(f"table_{number:05}") for number in range(10_000)]})
    out = typed(checkout, "discover", "tap-scripted").out
    assert len(out.splitlines()) < 60
    assert "… and 9,960 more: invoke discover tap-scripted --all" in out
    assert len(typed(checkout, "discover", "tap-scripted", "--all").out.splitlines()) > 10_000
    result = typed(checkout, "select", "tap-scripted", "--stream", "table_0777*", "--json")
    assert (len(selected(result)), result.last["selected"], result.last["streams"]) == (10, 10, 10_000)
    refused(
        checkout.invoke("select", "tap-scripted", "--stream", "tabel_00001"), "E-UNKNOWN", 'Did you mean "table_00001"', "and 9,980 more"
    )


def test_what_cannot_be_discovered(checkout: Checkout) -> None:
    """A target, a tap without that capability, a failed discovery and other output: each is reported, nothing is written."""
    scripted(checkout, {"streams": [{"stream": "a"}]})
    refused(checkout.invoke("discover", "target-scripted"), "E-DISCOVERY", "target-scripted is a target")
    refused(checkout.invoke("discover", "tap-scriptd"), "E-UNKNOWN", 'Did you mean "tap-scripted"')
    refused(checkout.invoke("discover", "tap-scripted"), "E-DISCOVERY", 'the stream "a" has no "schema"')
    scripted(checkout, "no", discover_exit=3, before_discovery=[["stderr", "ValueError: no such account"]])
    failed = checkout.invoke("discover", "tap-scripted")
    refused(failed, "E-DISCOVERY", 'exit code 3: "ValueError: no such account"', "config.json")
    log = checkout.root / failed.err.rpartition("Log: ")[2].strip()
    assert "no such account" in log.read_text(encoding="utf-8")
    scripted(checkout, "Hello", {"no": "streams"})
    refused(checkout.invoke("discover", "tap-scripted"), "E-DISCOVERY", "printed no catalog", "Hello")
    scripted(checkout, before_discovery=[["sleep", 60]])
    refused(checkout.invoke("discover", "tap-scripted", "--seconds", "1"), "E-DISCOVERY", "longer than 1.0 s", "--seconds")
    checkout.write("tap-scripted/connector.yaml", {"kind": "tap", "pip_url": "tests/connectors/tap-scripted", "capabilities": ["catalog"]})
    refused(
        checkout.invoke("discover", "tap-scripted"), "E-DISCOVERY", "tap-scripted cannot discover its streams", "connector.yaml are catalog"
    )
    assert not (checkout.root / "singer-configs/tap-scripted/catalog.json").exists()


def test_what_cannot_be_selected(checkout: Checkout) -> None:
    """A missing catalog, a broken one, and names that are none are reported, and the catalog stays as it was."""
    scripted(checkout, {"streams": [stream("users"), stream("orders")]})
    refused(checkout.invoke("select", "tap-scripted"), "E-CATALOG", "It has none yet", "invoke discover tap-scripted")
    refused(checkout.invoke("select", "target-scripted"), "E-CATALOG", "only taps have streams")
    typed(checkout, "discover", "tap-scripted")
    before = catalog(checkout)
    refused(checkout.invoke("select", "tap-scripted", "--exclude", "orders,usr"), "E-UNKNOWN", 'no stream "usr"')
    refused(checkout.invoke("select", "tap-scripted", "--replication", "INCREMENTAL"), "E-SETTING", "no replication key")
    assert catalog(checkout) == before
    out = typed(checkout, "select", "tap-scripted", "--exclude", "users.n").out
    assert re.search(r"! tap-scripted +users\.n is a key: it is loaded with every record", out)
    assert re.search(r"! tap-scripted +nothing is selected: a run loads nothing", typed(checkout, "select", "tap-scripted", "--none").out)
    checkout.write("tap-scripted/catalog.json", "{")
    refused(checkout.invoke("select", "tap-scripted"), "E-CATALOG", "catalog.json, line 1")
    refused(checkout.invoke("discover", "tap-scripted"), "E-CATALOG", "catalog.json, line 1")


def test_replication_is_set(checkout: Checkout) -> None:
    """Method and key of a stream are written, shown, and kept by another discovery."""
    scripted(checkout, {"streams": [stream("users"), stream("orders")]})
    typed(checkout, "discover", "tap-scripted")
    typed(checkout, "select", "tap-scripted", "--replication", "FULL_TABLE,users=INCREMENTAL", "--replication-key", "users=n")
    out = typed(checkout, "discover", "tap-scripted").out
    assert re.search(r"^  users .*INCREMENTAL n +✓$", out, re.MULTILINE)
    assert re.search(r"^  orders .*FULL_TABLE +✓$", out, re.MULTILINE)


def test_one_pipeline_selects_for_itself(checkout: Checkout) -> None:
    """``select PIPELINE`` writes a catalog of that pipeline, which its runs load; the tap's stays, and so does a refused one."""
    pipeline(checkout, "tap-classic")
    checkout.write("pipelines.yaml", "# Ours\np: {tap: tap-classic, target: target-scripted}\n")
    refused(checkout.invoke("select", "p", "--stream", "orders"), "E-CATALOG", "tap-classic has no catalog.json", "discover tap-classic")
    typed(checkout, "discover", "tap-classic")
    before = catalog(checkout, "tap-classic")
    refused(checkout.invoke("select", "p", "--stream", "ordrs"), "E-UNKNOWN")
    assert not (checkout.root / "singer-configs/p").exists()

    chosen = {"orders": ["id", "total", "at"]}
    assert selected(typed(checkout, "select", "p", "--stream", "orders", "--json")) == chosen
    assert selected(typed(checkout, "select", "p", "--json")) == chosen
    assert catalog(checkout, "tap-classic") == before
    assert arrived(checkout) == {"orders": {"id", "total", "at"}}
    typed(checkout, "select", "p", "--exclude", "orders.total")
    assert arrived(checkout) == {"orders": {"id", "at"}}

    typed(checkout, "add", "q", "--tap", "tap-classic", "--target", "target-scripted", "--catalog", "q/mine.json")
    assert catalog(checkout, "tap-classic") == json.loads((checkout.root / "singer-configs/q/mine.json").read_text())
    words = ["--tap", "tap-classic", "--target", "target-scripted", "--catalog", "r/mine.json", "--target-config", "r/none.json"]
    refused(checkout.invoke("add", "r", *words), "E-CONFIG", "target_config")
    assert not (checkout.root / "singer-configs/r").exists()


def test_a_secret_goes_to_the_tap_alone(checkout: Checkout) -> None:
    """Discovery gets the secrets of its config, not those of the environment, and nothing of them is left."""
    scripted(checkout, {"streams": [stream("a")]}, before_discovery=[["environment"]], token="${TOKEN}")
    refused(checkout.invoke("discover", "tap-scripted"), "E-SECRET", "TOKEN")
    result = checkout.invoke("discover", "tap-scripted", TOKEN="canary-7f3a9c", INVOKE_SINGER_ENGINE="local")
    assert result.code == 0
    log = (checkout.local / "logs/probes/tap-scripted.log").read_text(encoding="utf-8")
    assert "PATH" in log
    assert "INVOKE_SINGER_ENGINE" not in log
    assert list((checkout.local / "probes").iterdir()) == []
    for file in checkout.root.rglob("*"):
        if file.is_file() and not file.is_symlink():
            assert b"canary-7f3a9c" not in file.read_bytes(), file


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=["Ctrl-C", "SIGTERM", "SIGKILL"])
def test_interrupted(checkout: Checkout, number: signal.Signals) -> None:
    """However the command is ended, the tap and what it has started end too; the catalog stays as it was, and nothing is left."""
    scripted(checkout, {"streams": [stream("a")]})
    typed(checkout, "discover", "tap-scripted")
    before = catalog(checkout)
    scripted(checkout, {"streams": []}, before_discovery=[["child"], ["pid"], ["sleep", 60]])
    log = checkout.local / "logs/probes/tap-scripted.log"
    with checkout.start("discover", "tap-scripted") as process:
        pids = eventually(lambda: numbers if len(numbers := re.findall(r"^\d+$", log.read_text(), re.MULTILINE)) == 2 else None)
        process.send_signal(number)
        process.communicate(timeout=120)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    eventually(lambda: not [pid for pid in pids if alive(int(pid))])
    assert catalog(checkout) == before
    if number == signal.SIGKILL:  # the next one sweeps
        typed(checkout, "check", "target-scripted")
    assert list((checkout.local / "probes").iterdir()) == []
