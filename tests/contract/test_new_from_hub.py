"""``new NAME`` and ``search WORD`` with Meltano Hub: what a user sees, also when the Hub misbehaves."""

from __future__ import annotations

import json
import re
import time
from typing import TYPE_CHECKING, Any

import pytest
from hub_server import HubServer
from made_connectors import TAP, environments, files, made, succeeded
from terminal_user import Typist

if TYPE_CHECKING:
    from collections.abc import Iterator

    from checkout import Checkout

SETTINGS: list[dict[str, Any]] = [
    {"name": "page_size", "kind": "integer", "label": "Page Size", "value": 50},
    {"name": "api_key", "kind": "password", "label": "API Key", "description": "From the page Profile of the shop."},
    {"name": "start_date", "kind": "date_iso8601", "label": "Start Date"},
    {"name": "proxy.host", "kind": "string", "label": "Proxy"},
]


MAPPER = """
import json, sys

def main():
    if "--help" in sys.argv:
        print("usage: shop-changes [-h] [--config CONFIG] [--catalog CATALOG]")
        return
    for line in sys.stdin:
        print(json.dumps(json.loads(line)))
"""


@pytest.fixture
def hub(checkout: Checkout) -> Iterator[HubServer]:
    """Serve a Hub whose tap-shop is an older tap with another package name, and let the checkout use it."""
    with HubServer() as server:
        requirement = server.package("odd-shop-tap", TAP, "shop-extract")
        groups = [["api_key", "start_date"]]
        shop: dict[str, Any] = {"pip_url": requirement, "executable": "shop-extract", "capabilities": ["catalog", "log-based"]}
        shop["settings"] = SETTINGS
        server.add("tap-shop", **shop, settings_group_validation=groups, description="Orders of a shop", docs="https://example.com/tap-shop",
                   repo="https://git.example.com/shop-makers/tap-shop", select=["orders.id"])  # fmt: skip
        server.add("tap-shop", "other", pip_url=requirement)
        server.add("target-files", section="loaders", pip_url="target-files")
        server.add(
            "shop-mapper", section="mappers", pip_url=server.package("shop-changes", MAPPER, "shop-changes"), executable="shop-changes"
        )
        checkout.environ["INVOKE_SINGER_HUB_URL"] = server.url
        (checkout.local / "environments").unlink()  # these venvs are of no use to other tests: the packages' addresses differ
        yield server


def test_a_name_is_enough(checkout: Checkout, hub: HubServer) -> None:
    """Package, program, capabilities, settings and selection come from the Hub; a secret goes into ``.env``."""
    words = ["--set", "api_key=s3cr3t", "--set", "start_date=2024-01-01", "--set", "proxy.host=p"]
    result = succeeded(checkout.invoke("new", "tap-shop", *words))

    assert re.search(r"✓ Meltano Hub +tap-shop, variant example; others: other$", result.out, re.MULTILINE)
    assert made(checkout, "tap-shop", "connector.yaml") == {
        "kind": "tap",
        "pip_url": [hub.documents["extractors/tap-shop--example"]["pip_url"]],
        "executable": "shop-extract",
        "capabilities": ["catalog", "discover", "log-based", "state"],
        "settings": ["api_key", "page_size", "proxy", "start_date"],
        "required": ["api_key start_date"],
    }
    assert "# https://example.com/tap-shop\n" in (checkout.root / "singer-configs/tap-shop/connector.yaml").read_text()
    assert made(checkout, "tap-shop", "config.json") == {
        "api_key": "${TAP_SHOP_API_KEY}",
        "start_date": "2024-01-01",
        "proxy": {"host": "p"},
        "page_size": 50,
    }
    assert (checkout.root / ".env").read_text() == "TAP_SHOP_API_KEY=s3cr3t\n"
    metadata = made(checkout, "tap-shop", "catalog.json")["streams"][0]["metadata"]
    chosen = {tuple(item["breadcrumb"]): item["metadata"].get("selected") for item in metadata}
    assert (chosen["properties", "id"], chosen["properties", "note"]) == (True, False)


def test_what_is_missing(checkout: Checkout, hub: HubServer) -> None:
    """Without an answer the settings of the Hub's group are named, as events too."""
    result = succeeded(checkout.invoke("new", "tap-shop", "--json"))
    (event,) = [event for event in result.events if event["event"] == "connector"]
    assert (event["source"], event["variant"]) == ("hub", "example")
    assert (event["secrets"], event["missing"]) == (["TAP_SHOP_API_KEY"], ["start_date"])
    assert hub.asked == ["extractors/index", "extractors/tap-shop--example"]


def test_one_of_several_groups(checkout: Checkout, hub: HubServer) -> None:
    """On a terminal the group is asked for first, and then its settings, in the words of the Hub."""
    hub.documents["extractors/tap-shop--example"]["settings_group_validation"] = [["api_key", "start_date"], ["proxy.host"]]
    typist = Typist(checkout, "new", "tap-shop")
    shown = typist.sees("1 to 2, Enter for 1 > ")
    assert "1  api_key, start_date" in shown
    assert "2  proxy.host" in shown
    typist.types("")
    shown = typist.sees("(not shown) > ")
    assert "api_key  needed · string\n  From the page Profile of the shop." in shown.replace("\r", "")
    typist.types("s3cr3t")
    typist.sees("> ")
    typist.types("yesterday")
    assert 'start_date is "yesterday"; allowed is a date or a time.' in typist.sees("> ")
    typist.types("2024-01-01")
    typist.sees("Enter to go on > ")
    typist.types("")
    typist.sees("Next: ")
    assert typist.ends() == 0
    assert made(checkout, "tap-shop", "config.json")["start_date"] == "2024-01-01"


def test_a_mapper(checkout: Checkout, hub: HubServer) -> None:
    """A connector that the Hub lists as a mapper is one, under any program name. The next command puts it between tap and target."""
    result = succeeded(checkout.invoke("new", "shop-mapper"))
    assert made(checkout, "shop-mapper", "connector.yaml")["kind"] == "mapper"
    assert hub.asked[-1] == "mappers/shop-mapper--example"
    assert re.search(r"Next: invoke add \S+ --tap \S+ --mapper shop-mapper --target \S+", result.out)


def test_another_name_and_variant(checkout: Checkout, hub: HubServer) -> None:
    """``--variant`` selects a variant; with the Hub's name before it, the connector has another name here."""
    succeeded(checkout.invoke("new", "shop-2", "--variant", "tap-shop--other", "--no-input"))
    assert made(checkout, "shop-2", "connector.yaml")["executable"] == "shop-extract"
    assert hub.asked[-1] == "extractors/tap-shop--other"


TROUBLES: dict[str, tuple[list[str], str]] = {
    "no such variant": (["tap-shop", "--variant", "othr"], 'E-UNKNOWN  tap-shop has no variant othr. Did you mean "other".*--variant'),
    "a variant of an unknown name": (["tap-shp", "--variant", "x"], 'E-UNKNOWN  Meltano Hub has no tap-shp. Did you mean "tap-shop"'),
    "a kind that there is not": (["shop-mapper", "--kind", "loader"], 'E-SETTING  --kind is "loader"; allowed is tap, target, mapper'),
    "two sources": (["tap-shop", "--variant", "other", "--pip-url", "tap-x"], "E-SETTING  --variant is for Meltano Hub.*only one"),
    "no package": (["tap-none"], "E-HUB  .*tap-none, variant example: pip_url is null.*--pip-url"),
    "an option": (["tap-option"], "E-HUB  .*pip_url has the option --index-url.*--pip-url"),
    "a definition that is gone": (["tap-gone"], "E-HUB  http.*tap-gone--example answers 404.*--pip-url"),
    "a definition that is no JSON": (["tap-html"], "E-HUB  .*does not answer with a JSON object.*--pip-url"),
    "a setting of the wrong type": (["tap-shop", "--set", "page_size=many"], 'E-SETTING  page_size is "many"; allowed is integer'),
    "a package that is gone": (["tap-moved"], "E-INSTALL  tap-moved .*→ Try another variant: invoke new tap-moved --variant other"),
    "a similar name": (["tap-shoop"], "E-INSTALL  .*tap-shoop.*→ Name the connector that you mean, such as tap-shop"),
}  # fmt: skip


@pytest.mark.parametrize("name", TROUBLES)
def test_trouble_leaves_nothing(checkout: Checkout, hub: HubServer, name: str) -> None:
    """What the Hub gets wrong, or the user, is one sentence and one thing to do; nothing is half made."""
    hub.add("tap-none")
    hub.add("tap-option", pip_url="--index-url https://example.com tap-option")
    hub.add("tap-gone")
    del hub.documents["extractors/tap-gone--example"]
    hub.add("tap-moved", pip_url="tap-there-is-no-such-thing")
    hub.add("tap-moved", "other", pip_url="tap-shop")
    hub.add("tap-html")
    hub.documents["extractors/tap-html--example"] = "<html>"
    words, sentence = TROUBLES[name]
    before, there = files(checkout), environments(checkout, words[0])
    result = checkout.invoke("new", *words)
    assert result.code == 1
    assert re.search(sentence, " ".join(result.err.split("\n"))), result.err
    assert files(checkout) == before
    assert environments(checkout, words[0]) == there


@pytest.mark.parametrize("trouble", ["500", "slow"])
def test_a_hub_that_does_not_answer(checkout: Checkout, hub: HubServer, trouble: str) -> None:
    """Without the Hub its copy is used, else the package index; the sentence states which, and nobody waits long."""
    succeeded(checkout.invoke("search", "shop"))
    for copy in (checkout.local / "cache" / "hub").rglob("*.json"):
        copy.write_text(json.dumps({**json.loads(copy.read_text()), "time": time.time() - 90_000}))
    hub.status, hub.delay = (500, 0) if trouble == "500" else (200, 120)
    result = succeeded(checkout.invoke("new", "tap-shop", "--no-input"))
    reason = "answers 500" if trouble == "500" else "does not answer within 5 s"
    assert re.search(rf"! Meltano Hub +tap-shop, variant example; .*from a copy that is 1 day old: http\S+ {reason}", result.out)

    began = time.monotonic()
    result = checkout.invoke("new", "there-is-no-such-tap-shop", INVOKE_SINGER_HUB_URL=f"{hub.url}/other")
    assert re.search(rf"! Meltano Hub +http\S+ {reason}; the package index is used", result.out)
    assert result.err.strip().startswith("E-INSTALL  ")
    assert time.monotonic() - began < 60


def test_search(checkout: Checkout, hub: HubServer) -> None:
    """``search`` lists names, variants, maintainers and descriptions; ``new`` is the next command."""
    result = succeeded(checkout.invoke("search", "shop"))
    assert re.search(r"tap-shop +tap +shop-makers +Orders of a shop +example, other\n", result.out)
    assert re.search(r"shop-mapper +mapper +example +example\n", result.out)
    assert "Next: invoke new tap-shop" in result.out

    events = succeeded(checkout.invoke("search", "shop", "--kind", "tap", "--json")).events
    assert [(event["event"], event.get("name")) for event in events] == [("hub.connector", "tap-shop"), ("search.finished", None)]
    assert events[0]["variants"] == ["example", "other"]
    assert (events[1]["source"], events[1]["matches"]) == ("cache", 1)

    mistyped = checkout.invoke("search", "shoop")
    assert re.match(
        r"\s*E-UNKNOWN  Meltano Hub has no connector with \"shoop\" in its name\.\n→ Search one of these: tap-shop\.", mistyped.err
    )
    hub.status = 500
    assert checkout.invoke("search", "shop", INVOKE_SINGER_HUB_URL=f"{hub.url}/other").err.strip().startswith("E-HUB  http")


def test_a_git_server_that_asks_for_a_login(checkout: Checkout, hub: HubServer) -> None:
    """Nobody is asked for a user or a password, not even on a terminal: the command ends with a sentence."""
    hub.documents[""], hub.status = "log in", 401
    typist = Typist(checkout, "new", "tap-private", "--pip-url", f"git+{hub.url}/tap-private.git")
    assert f"tap-private cannot be installed: {hub.url}/tap-private.git asks for a login." in typist.sees("→ Log in with git once").replace(
        "\r\n", ""
    )
    assert typist.ends() == 1
    assert "Username" not in typist.seen
    assert environments(checkout, "tap-private") == []
