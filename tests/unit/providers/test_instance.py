"""Which ports a cluster gets, and what is remembered of it in ``instance.json``."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from checkout import ROOT
from free_ports import NAMES, preferred, row

from cluster.errors import SetupError
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    from pathlib import Path


def chosen(file: Path, *ports: int) -> list[int]:
    """Return what an instance makes of these preferences."""
    instance = Instance(file)
    instance.choose_ports(preferred(*ports))
    return [instance.ports[name] for name in NAMES]


def test_free_ports_are_as_preferred(tmp_path: Path) -> None:
    """Where nobody listens the ports are those of the settings."""
    first = row(3)
    assert chosen(tmp_path / "instance.json", first + 2, first, first + 1) == [first + 2, first, first + 1]


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0"])  # noqa: S104 - as other people's programs do
def test_a_port_that_is_taken_is_replaced_by_the_next(tmp_path: Path, address: str) -> None:
    """Where somebody listens, on the loopback interface or on all of them, the next free port is taken, and none twice."""
    first = row(5)
    with socket.create_server((address, first)), socket.create_server((address, first + 2)):
        assert chosen(tmp_path / "instance.json", first, first, first) == [first + 1, first + 3, first + 4]
    assert chosen(tmp_path / "instance.json", first, first + 1, first + 2) == [first, first + 1, first + 2]


def test_a_port_that_was_let_go_a_moment_ago_is_free(tmp_path: Path) -> None:
    """A connection that has just ended on a port does not drive the platform to another one."""
    first = row(3)
    with socket.create_server(("127.0.0.1", first)) as server, socket.create_connection(("127.0.0.1", first)) as client:
        accepted, _ = server.accept()
        accepted.close()
        assert client.recv(1) == b""
    assert chosen(tmp_path / "instance.json", first, first + 1, first + 2)[0] == first


def test_ports_stay_while_there_is_a_cluster(tmp_path: Path) -> None:
    """The ports of a cluster that is there are kept, though they are taken by the cluster itself and the settings have changed."""
    file, first = tmp_path / "instance.json", row(6)
    instance = Instance(file)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    instance.claim("singer")
    instance.finish()

    with socket.create_server(("127.0.0.1", first)):
        assert chosen(file, first + 3, first + 4, first + 5) == [first, first + 1, first + 2]
    Instance(file).forget()
    assert chosen(file, first + 3, first + 4, first + 5) == [first + 3, first + 4, first + 5]


def test_steps_write_down_at_the_same_time(tmp_path: Path) -> None:
    """What steps that overlap write down is all there afterwards, and none stumbles over another."""
    instance = Instance(tmp_path / "instance.json")
    things = [f"image {number}" for number in range(200)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(instance.bring, things))

    assert sorted(Instance(tmp_path / "instance.json").brought) == sorted(things)


READ = (
    "import sys; from pathlib import Path; from cluster.providers.instance import Instance;"
    "i = Instance(Path(sys.argv[1])); print(i.id, i.owns('singer'), i.owns('other'), i.complete, sorted(i.ports.values()))"
)


def remembered(file: Path) -> str:
    """Return what a new process reads."""
    environ = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"]}
    return subprocess.run([sys.executable, "-c", READ, str(file)], env=environ, capture_output=True, text=True, check=True).stdout.strip()


def test_whose_the_cluster_is_is_remembered(tmp_path: Path) -> None:
    """That a cluster is being made, that it is made, and that it is gone again is known to every later command; the checkout's id stays."""
    file, first = tmp_path / ".local" / "instance.json", row(3)
    instance = Instance(file)
    instance.choose_ports(preferred(first, first + 1, first + 2))
    ports = [first, first + 1, first + 2]
    assert not file.exists()

    instance.claim("singer")
    assert remembered(file) == f"{instance.id} True False False {ports}"
    instance.finish()
    assert remembered(file) == f"{instance.id} True False True {ports}"
    instance.forget()
    assert remembered(file) == f"{instance.id} False False False []"
    instance.claim("other")
    assert remembered(file) == f"{instance.id} False True False []"
    assert [item.name for item in file.parent.iterdir()] == ["instance.json"]
    assert file.parent.stat().st_mode & 0o077 == 0


def test_a_cluster_is_not_complete_when_it_is_begun_anew(tmp_path: Path) -> None:
    """A cluster that is made a second time counts as broken off until it is made, even if the first one was complete."""
    file = tmp_path / "instance.json"
    instance = Instance(file)
    instance.claim("singer")
    instance.finish()
    instance.claim("singer")

    assert Instance(file).owns("singer")
    assert not Instance(file).complete


def test_the_file_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    """An installation that an earlier version made keeps its cluster, its ports and what it knows of the node's network."""
    file = tmp_path / "instance.json"
    earlier = {"id": "0123abcd", "ports": {"port_argo": 2746}, "cluster": "singer", "provider": "kind", "complete": True, "told": True}
    file.write_text(json.dumps(earlier))
    instance = Instance(file)

    assert (instance.id, instance.complete, instance.node_network_configured) == ("0123abcd", True, True)
    instance.configured_network(configured=False)
    assert json.loads(file.read_text()) == {**earlier, "told": False}


@pytest.mark.parametrize(
    "content", [b"", b"{", b"\0" * 64, b"\xff\xfe", b"null", b"[]", b'"x"', b"7", b'{"id": "0123abcd", "clus'], ids=repr
)
def test_a_file_that_was_damaged(tmp_path: Path, content: bytes) -> None:
    """From a damaged file nothing is believed, above all not that a cluster is ours, and the next command writes a sound one."""
    file = tmp_path / "instance.json"
    file.write_bytes(content)
    instance = Instance(file)

    assert re.fullmatch(r"[0-9a-f]{8}", instance.id)
    assert not instance.owns("singer")
    assert not instance.complete
    assert file.read_bytes() == content
    instance.claim("singer")
    assert Instance(file).id == instance.id
    assert Instance(file).owns("singer")


def test_checkouts_have_different_names(tmp_path: Path) -> None:
    """Two checkouts never have the same id, so that neither takes the other's objects for its own."""
    assert len({Instance(tmp_path / str(number)).id for number in range(50)}) == 50


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    """If the note cannot be written the user gets an error, and no cluster is begun."""
    (tmp_path / "file").write_text("")
    with pytest.raises(SetupError) as caught:
        Instance(tmp_path / "file" / "instance.json").claim("singer")
    assert caught.value.code == "E-STORE"
