"""One context out of the user's kubeconfig: which one, whether it is on this machine, and what is kept of it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from cluster.config.settings import Settings
from cluster.containers.runtime import Runtime
from cluster.errors import SetupError
from cluster.kube.kubeconfig import find
from cluster.providers.existing import Existing
from cluster.providers.instance import Instance


def entry(name: str, server: str, **user: str) -> dict[str, Any]:
    """Return a kubeconfig with one context."""
    return {
        "current-context": name,
        "contexts": [{"name": name, "context": {"cluster": f"{name}-c", "user": f"{name}-u", "namespace": "team"}}],
        "clusters": [{"name": f"{name}-c", "cluster": {"server": server, "certificate-authority": "ca.pem"}}],
        "users": [{"name": f"{name}-u", "user": user or {"token": "t"}}],
    }


def written(folder: Path, *contents: object) -> dict[str, str]:
    """Write kubeconfigs and return the environment that names them, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, content in enumerate(contents):
        file = folder / f"config-{number}"
        file.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
        paths.append(str(file))
    return {"KUBECONFIG": os.pathsep.join(paths)}


def refused(name: str, environ: dict[str, str]) -> SetupError:
    """Return the error that a context is refused with."""
    with pytest.raises(SetupError) as caught:
        find(name, environ)
    assert caught.value.code == "E-CONTEXT"
    return caught.value


LOCAL = {
    "docker-desktop": "https://kubernetes.docker.internal:6443",
    "docker-desktop-old": "https://127.0.0.1:6443",
    "orbstack": "https://127.0.0.1:26443",
    "rancher-desktop": "https://127.0.0.1:6443",
    "colima": "https://192.168.5.1:6443",
    "minikube": "https://192.168.49.2:8443",
    "kind-work": "https://127.0.0.1:41234",
    "k3d-work": "https://0.0.0.0:6550",
    "anything": "https://localhost:6443",
    "six": "https://[::1]:6443",
}
NOT_LOCAL = {
    "prod": "https://10.0.0.1:6443",
    "minikube": "https://minikube.example.com",
    "eks": "https://ABC.gr7.eu-central-1.eks.amazonaws.com",
    "docker-desktop": "https://203.0.113.4:6443",
    "localhost": "https://localhost.example.com",
}


@pytest.mark.parametrize("name", LOCAL)
def test_a_cluster_on_this_machine_is_taken_unnamed(tmp_path: Path, name: str) -> None:
    """The user's current context is used without being named where its cluster is on this machine."""
    context = find("", written(tmp_path, entry(name, LOCAL[name])))
    assert (context.name, context.server) == (name, LOCAL[name])


@pytest.mark.parametrize("name", NOT_LOCAL)
def test_a_cluster_elsewhere_must_be_named(tmp_path: Path, name: str) -> None:
    """The current context of a cluster elsewhere is refused with its address and the line that names it; named, it is taken."""
    environ = written(tmp_path, entry(name, NOT_LOCAL[name]))
    error = refused("", environ)
    assert NOT_LOCAL[name] in error.problem
    assert f"INVOKE_SINGER_CONTEXT={name}" in error.hint
    assert find(name, environ).server == NOT_LOCAL[name]


def test_several_files_count_in_their_order(tmp_path: Path) -> None:
    """As with kubectl, of two entries of one name the first file's counts, and files that are not there do not matter."""
    environ = written(tmp_path, entry("a", "https://one"), entry("a", "https://two"), entry("b", "https://three"))
    environ["KUBECONFIG"] += os.pathsep + str(tmp_path / "missing")
    assert find("a", environ).server == "https://one"
    assert find("b", environ).server == "https://three"
    assert "not look like" in refused("", environ).problem


def test_a_name_that_is_not_there(tmp_path: Path) -> None:
    """A context that is misspelt is answered with those that are there and the nearest of them."""
    error = refused("docker-desktp", written(tmp_path, entry("docker-desktop", "https://127.0.0.1:6443")))
    assert 'Did you mean "docker-desktop"?' in error.problem


def test_without_any_kubeconfig(tmp_path: Path) -> None:
    """If there is no kubeconfig at all, the error names that as the reason."""
    assert "no current one" in refused("", {"HOME": str(tmp_path)}).problem
    assert "There is no context" in refused("x", {"HOME": str(tmp_path)}).problem


@pytest.mark.parametrize("text", ["{", "[]", "contexts: 7", "contexts: [{}]", "\0", "clusters: [1]"], ids=repr)
def test_a_kubeconfig_that_is_damaged(tmp_path: Path, text: str) -> None:
    """A damaged file is named, with a way out, and is no traceback."""
    error = refused("x", written(tmp_path, text))
    assert str(tmp_path / "config-0") in error.problem


def test_a_context_whose_cluster_was_deleted(tmp_path: Path) -> None:
    """The entries that a half-deleted cluster left are reported, not guessed at."""
    content = entry("a", "https://127.0.0.1:1")
    content["clusters"] = []
    assert 'the cluster "a-c"' in refused("a", written(tmp_path, content)).problem


def test_what_is_kept_of_it(tmp_path: Path) -> None:
    """The project's own file holds this one context with absolute paths, is for the user's eyes only, and the user's file is as it was."""
    environ = written(tmp_path / "home", entry("a", "https://127.0.0.1:1", **{"client-key": "keys/me.pem"}), entry("b", "https://b"))
    before = [(file, Path(file).read_bytes()) for file in environ["KUBECONFIG"].split(os.pathsep)]
    settings = Settings(root=tmp_path, provider="existing", context="a")
    file = Existing(settings, Instance(tmp_path / "instance.json"), Runtime(), environ).kubeconfig()

    kept = yaml.safe_load(file.read_text())
    assert file == tmp_path / ".local" / "kubeconfig"
    assert file.stat().st_mode & 0o077 == 0
    assert [len(kept[kind]) for kind in ("contexts", "clusters", "users")] == [1, 1, 1]
    assert kept["clusters"][0]["cluster"]["certificate-authority"] == str(tmp_path / "home" / "ca.pem")
    assert kept["users"][0]["user"]["client-key"] == str(tmp_path / "home" / "keys" / "me.pem")
    assert [(name, Path(name).read_bytes()) for name, _ in before] == before


def test_new_credentials_are_used_at_once(tmp_path: Path) -> None:
    """When the user's kubeconfig has new credentials, the next command uses them; when nothing changed, nothing is written."""
    settings = Settings(root=tmp_path, provider="existing", context="a")

    def file(token: str) -> Path:
        environ = written(tmp_path, entry("a", "https://127.0.0.1:1", token=token))
        return Existing(settings, Instance(tmp_path / "instance.json"), Runtime(), environ).kubeconfig()

    first = file("old").stat()
    assert file("old").stat().st_mtime_ns == first.st_mtime_ns
    assert yaml.safe_load(file("new").read_text())["users"][0]["user"] == {"token": "new"}
