"""Files that connectors take along, and paths in configs that only this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.config.strict import Fields
from cluster.errors import SetupError
from cluster.project.files import MOST_FILES, MOST_MEGABYTES, from_checkout, only_here, read_files, relative_files
from cluster.project.reader import Project

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEY = "-----BEGIN RSA PRIVATE KEY-----\n"


def read(root: Path, *names: str) -> dict[str, bytes]:
    """Read ``files`` of a connector of the checkout."""
    return {name: file.content for name, file in read_files(Fields({"files": list(names)}, shown="x"), root).items()}


def write(root: Path, name: str, text: str = "1") -> Path:
    """Write a file of the checkout."""
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Return a checkout with a folder ``data``; what is beside the checkout is not its own."""
    write(tmp_path, "outside/x")
    write(tmp_path, "checkout/data/a.csv", "a")
    write(tmp_path, "checkout/data/deep/b.csv", "b")
    return tmp_path / "checkout"


def test_files_and_folders(root: Path) -> None:
    """Files and all below folders are read, each once, also through links within the checkout."""
    (root / "data/link.csv").symlink_to("deep/b.csv")
    (root / "other").symlink_to("data/deep")
    expected = {"data/a.csv": b"a", "data/deep/b.csv": b"b", "data/link.csv": b"b"}
    assert read(root, "data") == read(root, "./data/", "data/a.csv") == expected
    assert read(root, "other") == {"other/b.csv": b"b"}
    assert read(root) == {}


def link(name: str, to: str) -> Callable[[Path], object]:
    """Return what makes a link in the checkout."""

    def make(root: Path) -> None:
        (root / name).symlink_to(to)

    return make


REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("gone.csv", lambda _: None, "gone.csv is not there"),
    ("empty", lambda root: (root / "empty").mkdir(), "empty has no file"),
    ("/etc/hosts", lambda _: None, "no leading slash"),
    ("../outside/x", lambda _: None, "no .."),
    ("data/../../outside/x", lambda _: None, "no .."),
    ("data", link("data/out", "../../outside/x"), "data/out leads out of it"),
    ("data", link("data/out", "../../outside"), "data/out leads out of it"),
    ("out", link("out", "../outside"), "out/x leads out of it"),
    ("data", link("data/around", "../data"), "data/around is a link to a folder"),
    ("data", link("data/gone", "nothing"), "data/gone is not there"),
    (".env", lambda root: write(root, ".env"), ".env is private"),
    ("data", lambda root: write(root, "data/.ENV.company"), "data/.ENV.company is private"),
    ("data", lambda root: link("data/x", "../.env")(write(root, ".env").parent), "data/x is private"),
    (".local/kubeconfig", lambda root: write(root, ".local/kubeconfig"), "is private"),
    (".", lambda root: write(root, ".git/config"), ".git/config is private"),
    ("data", lambda root: write(root, "data/a\nb"), "is not printable"),
    ("data", lambda root: [write(root, f"data/{number}") for number in range(MOST_FILES)], "in 1,000 files"),
]


@pytest.mark.parametrize(("name", "prepare", "says"), REFUSED)
def test_what_is_refused(root: Path, name: str, prepare: Callable[[Path], object], says: str) -> None:
    """What is missing, outside, private or too many is refused with its name."""
    prepare(root)
    with pytest.raises(SetupError) as caught:
        read(root, name)
    assert caught.value.code == "E-CONFIG"
    assert says in caught.value.problem


def test_too_large(root: Path) -> None:
    """The limit is the sum of all files, and nothing is read to find that out."""
    with (root / "data/large").open("wb") as file:
        file.truncate(MOST_MEGABYTES * 1_000_000)
    with pytest.raises(SetupError, match="at most 32 MB"):
        read(root, "data")
    (root / "data/large").unlink()
    assert len(read(root, "data")) == 2


def test_a_private_key(root: Path) -> None:
    """A private key is a secret wherever it stands; its value is no part of the message."""
    write(root, "data/account.json", f'{{"private_key": "{KEY}MIIE"}}')
    with pytest.raises(SetupError) as caught:
        read(root, "data")
    assert (caught.value.code, "data/account.json" in caught.value.problem) == ("E-SECRET-TYPED", True)
    assert "MIIE" not in f"{caught.value.problem}{caught.value.hint}"


def test_the_key_of_a_connector(root: Path) -> None:
    """``connector.yaml`` may name files of the checkout, and need not; a transform may not."""
    keys = {"kind": "tap", "pip_url": "tap-x"}
    write(root, "singer-configs/tap-x/connector.yaml", yaml.safe_dump(keys))
    assert Project(root).connector("tap-x").files == {}
    write(root, "singer-configs/tap-x/connector.yaml", yaml.safe_dump({**keys, "files": "data/a.csv"}))
    assert {name: file.content for name, file in Project(root).connector("tap-x").files.items()} == {"data/a.csv": b"a"}
    write(root, "singer-configs/tap-x/connector.yaml", yaml.safe_dump({**keys, "files": "data", "kind": "transform"}))
    with pytest.raises(SetupError, match="left out for a transform"):
        Project(root).connector("tap-x")


def test_paths_that_only_this_machine_has(root: Path) -> None:
    """Files and folders by absolute paths, addresses and globs are found, and files of the checkout that are not taken along."""
    config = {
        "path": str(root / "data/a.csv"),
        "nested": [{"url": f"file://{root}/data/a.csv"}, f"{root}/data/*.csv"],
        "folder": str(root / "data"),
        "relative": "data/deep/b.csv",
        "taken": "data/a.csv",
        "secret": "${NAME}",
    }
    paths = {key: path for key, _, path in only_here(config, root, {"data/a.csv"})}
    assert paths == {
        "path": root / "data/a.csv",
        "nested.0.url": root / "data/a.csv",
        "nested.1": root / "data",
        "folder": root / "data",
        "relative": root / "data/deep/b.csv",
    }
    assert relative_files(config, root) == ["data/deep/b.csv", "data/a.csv"]


@pytest.mark.parametrize(
    "text", ["/users", "/", "/dev/null", "/usr/bin", "data", ".", "", "/gone/x", "x" * 5000, "/" + "x" * 5000, "a\0b", "~x/y", "*"]
)
def test_what_is_no_path_of_this_machine(root: Path, text: str) -> None:
    """Parts of addresses, folders that every container has, and texts of any kind are no such paths."""
    assert list(only_here({"a": text}, root, ())) == []
    assert relative_files({"a": text}, root) == []


def test_absolute_paths_of_the_checkout(tmp_path: Path) -> None:
    """A file of the checkout is named by its path in it, unless it may not be taken along. Other texts stay."""
    root = tmp_path / "checkout"
    (root / "data").mkdir(parents=True)
    for name, text in {"data/a.csv": "1", ".env": "A=1", "key.pem": "-----BEGIN PRIVATE KEY-----"}.items():
        (root / name).write_text(text)
    (tmp_path / "b.csv").touch()
    moved = {"files": [{"path": f"{root}/meltano/../data/a.csv"}]}
    assert from_checkout(moved, root) == {"files": [{"path": "data/a.csv"}]}
    stay = {name: f"{root}/{name}" for name in ("data", "none.csv", ".env", "key.pem", "../b.csv")}
    assert from_checkout({**stay, "start": "data/a.csv", "pages": 5}, root) == {**stay, "start": "data/a.csv", "pages": 5}
