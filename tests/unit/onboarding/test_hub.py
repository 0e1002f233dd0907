"""Meltano Hub asked, misbehaving and away."""

from __future__ import annotations

import json
import os
import time
from typing import TYPE_CHECKING

import pytest
from hub_server import HubServer

from cluster.config.settings import Settings
from cluster.errors import SetupError
from cluster.onboarding.hub import Hub, near

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def server() -> Iterator[HubServer]:
    """Serve a Hub with one tap and one target."""
    with HubServer() as hub:
        hub.add("tap-shop", "first", pip_url="tap-shop")
        hub.add("tap-shop", "second", pip_url="other-tap-shop")
        hub.add("target-files", section="loaders", pip_url="target-files")
        yield hub


def client(server: HubServer, folder: Path) -> Hub:
    """Return a client of that Hub, with its cache in a folder. It does not wait long for a slow one."""
    environ = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return Hub(Settings(root=folder, hub_url=server.url), environ, seconds=0.5 if server.delay else 10)


def age(folder: Path, days: float) -> None:
    """Make every copy in the cache older."""
    for copy in (folder / ".local").rglob("*.json"):
        kept = json.loads(copy.read_text())
        copy.write_text(json.dumps({**kept, "time": time.time() - days * 86_400}))


def test_asked_once_an_hour(server: HubServer, tmp_path: Path) -> None:
    """An answer is used again while it is fresh, and the source is stated."""
    entries, answer = client(server, tmp_path).entries(["tap", "target"])
    assert [(entry.name, entry.kind, entry.variants) for entry in entries] == [
        ("tap-shop", "tap", ("first", "second")),
        ("target-files", "target", ("example",)),
    ]
    assert (answer.source, answer.note) == ("hub", "")
    _, answer = client(server, tmp_path).entries(["tap"])
    assert (answer.source, answer.note) == ("cache", "from a copy that is less than a minute old")
    assert server.asked == ["extractors/index", "loaders/index"]

    age(tmp_path, 1)
    assert client(server, tmp_path).entries(["tap"])[1].source == "hub"


@pytest.mark.parametrize("trouble", ["500", "HTML", "a list", "slow", "away"])
def test_an_old_copy_helps(server: HubServer, tmp_path: Path, trouble: str) -> None:
    """If the Hub does not answer as it should, the copy is used and its age is printed."""
    client(server, tmp_path).entries(["tap"])
    age(tmp_path, 3.5)
    misbehave(server, trouble)
    began = time.monotonic()
    entries, answer = client(server, tmp_path).entries(["tap"])
    assert [entry.name for entry in entries] == ["tap-shop"]
    assert answer.source == "cache"
    assert answer.note.startswith("from a copy that is 3 days old: http://127.0.0.1:")
    assert time.monotonic() - began < 30


@pytest.mark.parametrize(
    ("trouble", "code"),
    [
        ("500", "E-HUB"),
        ("HTML", "E-HUB"),
        ("a list", "E-HUB"),
        ("huge", "E-NETWORK"),
        ("slow", "E-NETWORK"),
        ("away", "E-NETWORK"),
    ],
)
def test_without_a_copy(server: HubServer, tmp_path: Path, trouble: str, code: str) -> None:
    """Without a copy the error names the address, and one thing to do. Nothing is kept of a bad answer."""
    misbehave(server, trouble)
    hub = client(server, tmp_path)
    with pytest.raises(SetupError) as caught:
        hub.entries(["tap"])
    assert caught.value.code == code
    assert "127.0.0.1" in caught.value.problem
    assert (trouble == "away") == ("the connection is refused" in caught.value.problem)
    assert caught.value.hint
    assert not list((tmp_path / ".local").rglob("*.json"))


def misbehave(server: HubServer, trouble: str) -> None:
    """Let the Hub answer as one should not."""
    server.status = 500 if trouble == "500" else 200
    server.delay = 60 if trouble == "slow" else 0
    bodies = {"HTML": "<html>Please log in</html>", "a list": "[]", "huge": b" " * (9 << 20)}
    if trouble in bodies:
        server.documents["extractors/index"] = bodies[trouble]
    if trouble == "away":
        server.shutdown()
        server.server_close()


def test_a_hub_that_is_away_is_asked_once(server: HubServer, tmp_path: Path) -> None:
    """A command does not wait for the Hub again and again."""
    client(server, tmp_path).entries(["tap", "target"])
    age(tmp_path, 1)
    server.asked.clear()
    server.delay = 60
    client(server, tmp_path).entries(["tap", "target"])
    assert server.asked == ["extractors/index"]


def test_names_that_would_leave_the_folder(server: HubServer, tmp_path: Path) -> None:
    """A name or a variant that is not plain is as if it were not there."""
    server.add("../../evil", pip_url="x")
    server.add("tap-odd", "../../evil", pip_url="x")
    server.add("tap-mixed", "../evil", pip_url="x")
    server.add("tap-mixed", "good", pip_url="x")
    server.documents["extractors/index"].update({"tap-none": None, "tap-list": {"variants": []}})
    entries, _ = client(server, tmp_path).entries(["tap"])
    assert [(entry.name, entry.variants) for entry in entries] == [("tap-shop", ("first", "second")), ("tap-mixed", ("good",))]


def test_a_copy_that_is_broken(server: HubServer, tmp_path: Path) -> None:
    """A damaged copy is no copy."""
    client(server, tmp_path).entries(["tap"])
    for copy in (tmp_path / ".local").rglob("*.json"):
        copy.write_text('{"time": "x"')
    assert client(server, tmp_path).entries(["tap"])[1].source == "hub"


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("tap-githb", ["tap-github"]),
        ("githb", ["tap-github"]),
        ("github", ["tap-github"]),
        ("target-postgre", ["target-postgres", "tap-postgres"]),
        ("s3", ["tap-s3"]),
        ("tap-entirely-else", []),
    ],
)
def test_similar_names(typed: str, names: list[str]) -> None:
    """A mistyped name is answered with the nearest."""
    assert near(typed, ["tap-github", "tap-postgres", "target-postgres", "tap-s3", "tap-s3-csv"]) == names
