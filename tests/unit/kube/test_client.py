"""The client of the Kubernetes API, against a server on loopback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml
from fake_apiserver import NAMESPACE

from cluster.errors import SetupError
from cluster.kube.client import Kube

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from fake_apiserver import Api


@pytest.fixture
def kube(api: Api, tmp_path: Path) -> Kube:
    """Return a client of the server."""
    context = {"name": "far", "context": {"cluster": "far", "user": "far"}}
    server = {"name": "far", "cluster": {"server": api.url}}
    file = tmp_path / "kubeconfig"
    file.write_text(yaml.safe_dump({"contexts": [context], "clusters": [server], "users": [{"name": "far", "user": {"token": "x"}}]}))
    return Kube(file, "far")


def test_a_busy_server_is_asked_again(api: Api, kube: Kube) -> None:
    """Each kind of request is repeated until the server has time, and has its effect once."""
    document = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": NAMESPACE}}
    requests: list[Callable[[], object]] = [
        lambda: kube.objects("CronWorkflow", NAMESPACE),
        lambda: kube.create(document),
        lambda: kube.apply(document),
        lambda: kube.delete("Secret", "s", NAMESPACE),
    ]
    for request in requests:
        api.busy = 3
        request()
    assert [item.verb for item in api.asked] == ["list", "create", "patch", "delete"]


def test_a_server_that_stays_busy(api: Api, kube: Kube) -> None:
    """It is not asked forever."""
    api.busy = 100
    with pytest.raises(SetupError) as caught:
        kube.objects("CronWorkflow", NAMESPACE)
    assert (caught.value.problem, caught.value.hint) == (
        "The cluster refuses (429): storage is (re)initializing.",
        "It is busy: wait a moment, then run it again.",
    )
    assert api.busy == 100 - 11
