"""An environment and the cluster that it met first."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import yaml

from cluster.config.settings import parse
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.providers.existing import Existing
from cluster.providers.instance import Instance

if TYPE_CHECKING:
    from pathlib import Path


def kubeconfig(folder: Path, **servers: str) -> dict[str, str]:
    """Write a kubeconfig with these contexts, and return the environment that names it."""
    content = {
        "contexts": [{"name": name, "context": {"cluster": name, "user": name}} for name in servers],
        "clusters": [{"name": name, "cluster": {"server": server}} for name, server in servers.items()],
        "users": [{"name": name, "user": {"token": "x"}} for name in servers],
    }
    file = folder / "kubeconfig"
    file.write_text(yaml.safe_dump(content), encoding="utf-8")
    return {"KUBECONFIG": str(file)}


def provider(root: Path, environ: dict[str, str], env: str = "company", context: str = "far") -> Existing:
    """Return what a command finds."""
    (root / "environments").mkdir(exist_ok=True)
    (root / "environments" / "company.yaml").write_text(f"context: {context}\n", encoding="utf-8")
    settings = parse({"provider": "existing", "context": context}, {}, env=env, root=root)
    return Existing(settings, Instance(settings.platform / "instance.json"), Runtime("docker"), environ)


def test_an_environment_stays_with_its_cluster(tmp_path: Path) -> None:
    """A context whose server has changed, and another context, are refused with both addresses; as it was, it works on."""
    environ = kubeconfig(tmp_path, far="https://far.example.com", near="https://near.example.com")
    provider(tmp_path, environ).ensure(print)
    assert provider(tmp_path, environ).pending() is None
    moved = kubeconfig(tmp_path, far="https://elsewhere.example.com", near="https://near.example.com")
    for context, now in (("far", "elsewhere"), ("near", "near")):
        with pytest.raises(SetupError) as caught:
            provider(tmp_path, moved, context=context).pending()
        assert caught.value.code == "E-CONTEXT"
        assert "https://far.example.com" in caught.value.problem
        assert f"https://{now}.example.com" in caught.value.problem
    kubeconfig(tmp_path, far="https://far.example.com")
    assert provider(tmp_path, environ).pending() is None


def test_the_laptops_own_cluster_may_move(tmp_path: Path) -> None:
    """A cluster on the laptop has another port after each start, and is the same all the same."""
    environ = kubeconfig(tmp_path, near="https://127.0.0.1:6443")
    provider(tmp_path, environ, "laptop", "near").ensure(print)
    kubeconfig(tmp_path, near="https://127.0.0.1:6444")
    assert provider(tmp_path, environ, "laptop", "near").pending() is None


def test_a_context_that_is_not_there(tmp_path: Path) -> None:
    """An environment whose context your kubeconfig does not have is refused with those that it has."""
    environ = kubeconfig(tmp_path, far="https://far.example.com")
    with pytest.raises(SetupError, match='Did you mean "far"') as caught:
        provider(tmp_path, environ, context="fra").pending()
    assert caught.value.code == "E-CONTEXT"
