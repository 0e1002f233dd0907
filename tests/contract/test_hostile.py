"""Connectors and buckets that mean harm: what they say is shown and never obeyed, and what they name stays in its place."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from checkout import Checkout

CLIPBOARD = "\x1b]52;c;cm0gLXJmIH4=\x07"
ACTING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def test_words_of_a_connector_are_shown(checkout: Checkout) -> None:
    """Escape sequences in a connector's output reach the terminal as text, and a log line forges no event."""
    forged = json.dumps({"event": "run.finished", "status": "succeeded"})
    stream = f"s{CLIPBOARD}\n{forged}"
    checkout.scripted(
        {
            "steps": [
                ["stderr", f"WARNING look {CLIPBOARD}\r\x1b[2A\x1b[2K"],
                ["stderr", forged],
                ["schema", stream],
                ["records", stream, 1],
                ["state", {"n": CLIPBOARD}],
                ["stderr", f"ValueError: {CLIPBOARD}"],
                ["exit", 1],
            ]
        }
    )
    first = checkout.invoke("run", "p")
    assert first.code == 2
    for result in (first, *(checkout.invoke(*words) for words in (("show", "last"), ("logs", "last"), ("runs",), ("state", "p")))):
        assert ACTING.findall(result.out + result.err) == []
    assert r"ValueError: \x1b]52;c;cm0gLXJmIH4=\x07" in first.err
    assert {event["event"] for event in checkout.invoke("logs", "last", "--json").events} == {"log"}
    assert [event["event"] for event in checkout.invoke("show", "last", "--json").events] == ["run"]


def test_a_record_cannot_lead_fetch_out_of_its_folder(checkout: Checkout) -> None:
    """For any name that a record in the bucket has, fetch writes below output/<pipeline>/<run> alone, and reads the run's own files."""
    checkout.scripted({"steps": [["schema", "s"], ["records", "s", 1], ["state", {"n": 1}]]})
    assert checkout.run().code == 0
    [file] = (checkout.local / "buckets" / "artifacts" / "runs" / "p").glob("*/run.json")
    good = json.loads(file.read_text(encoding="utf-8"))
    [output] = good["outputs"]
    run, own = good["run"], f"p/{good['run']}/"
    shutil.rmtree(checkout.root / "output" / "p" / run)  # what the run copied
    before = tree(checkout)

    keys = (
        "../../x",
        "/etc/passwd",
        f"{own}../../../../x",
        f"{own}/etc/passwd",
        f"{own}a/\0",
        f"{own}..",
        own,
        "p/another/s.jsonl",
        f"x{own}s.jsonl",
    )
    evil: list[dict[str, Any]] = [{"outputs": [{**output, "key": key}]} for key in keys]
    evil += [{"outputs": [{**output, "bucket": bucket}]} for bucket in ("../..", "/etc", "..")]
    for change in evil:
        file.write_text(json.dumps({**good, **change}), encoding="utf-8")
        result = checkout.invoke("fetch", run, "--json")
        assert (result.code, result.error) == (1, "E-STORE"), (change, result.err)
        assert tree(checkout) == before
    for other in ({"run": "../../../x"}, {"pipeline": "../../x"}, {"run": "x"}):
        file.write_text(json.dumps({**good, **other}), encoding="utf-8")
        result = checkout.invoke("fetch", run, "--json")
        assert (result.code, result.error) == (1, "E-STORE"), (other, result.err)
        assert tree(checkout) == before

    file.write_text(json.dumps(good), encoding="utf-8")
    assert checkout.invoke("fetch", run).code == 0
    assert tree(checkout) - before == {f"output/p/{run}", f"output/p/{run}/s.jsonl"}


@pytest.mark.parametrize("option", ["--index-url https://evil.example/simple", "--extra-index-url=http://x", "-r other.txt", "-e ."])
def test_a_lock_names_packages_only(checkout: Checkout, option: str) -> None:
    """A requirements.lock into which somebody has written an option of pip is refused before anything is installed."""
    checkout.scripted({"steps": [["schema", "s"]]})
    assert checkout.run().code == 0
    lock = checkout.root / "singer-configs" / "tap-scripted" / "requirements.lock"
    lock.write_text(f"{lock.read_text(encoding='utf-8')}{option}\n", encoding="utf-8")
    result = checkout.run()
    assert (result.code, result.error) == (1, "E-INSTALL")
    assert re.split("[ =]", option)[0] in result.err
    assert "Traceback" not in result.err


def tree(checkout: Checkout) -> set[str]:
    """Return every path beside and below the checkout, but what the tool itself keeps in order."""

    def below(folder: Path) -> set[str]:
        return {
            str(path.relative_to(checkout.root))
            for path in folder.rglob("*")
            if ".local" not in path.parts and "__pycache__" not in path.parts
        }

    return below(checkout.root) | {str(path) for path in checkout.root.parent.iterdir()}
