"""The day of a release, as the package index tells it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hub_server import HubServer

from cluster.config.settings import Settings
from cluster.net import proxy
from cluster.project.releases import day_after

if TYPE_CHECKING:
    from pathlib import Path


def test_the_day_after_the_first_file(tmp_path: Path) -> None:
    """Of the files of a release the first counts; other releases and other files do not."""
    files = {
        "tap_shop-1.0-py3-none-any.whl": "2021-02-28T23:30:00.123Z",
        "tap_shop-1.0.tar.gz": "2021-03-28T10:00:00Z",
        "tap_shop-0.9.tar.gz": "2019-03-28T10:00:00Z",
        "tap_shop-1.0.exe": "2018-03-28T10:00:00Z",
    }
    page = {"files": [{"filename": name, "upload-time": time} for name, time in files.items()]}
    network = proxy.read(Settings(root=tmp_path), {})
    with HubServer() as server:
        server.packages["/simple/tap-shop/"] = json.dumps(page).encode()
        assert day_after("Tap_Shop", "1.0", server.index, network) == "2021-03-01T00:00:00Z"
        assert day_after("tap-shop", "2.0", server.index, network) == ""
        assert day_after("tap-other", "1.0", server.index, network) == ""


@pytest.mark.parametrize("page", [b"<html>", b"[]", b'{"files": [{"filename": "tap_shop-1.0.tar.gz"}]}', b'{"files": [3]}'])
def test_an_index_that_does_not_tell(tmp_path: Path, page: bytes) -> None:
    """An index without upload times, or with another kind of page, gives no day."""
    with HubServer() as server:
        server.packages["/simple/tap-shop/"] = page
        assert day_after("tap-shop", "1.0", server.index, proxy.read(Settings(root=tmp_path), {})) == ""
