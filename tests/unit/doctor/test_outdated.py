"""What ``doctor`` reports as outdated: connectors by their index, the platform by its pins, the tool by git."""

from __future__ import annotations

import json
import re
import subprocess
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hub_server import HubServer

from cluster.config.settings import IMAGES, Settings
from cluster.doctor import outdated
from cluster.doctor.checks import Machine
from cluster.net import proxy
from cluster.project.reader import Project

if TYPE_CHECKING:
    from pathlib import Path

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.com")
HERE = SimpleNamespace(instance=SimpleNamespace(complete=True), namespace="argo", owns=bool)


class There(Machine):
    """A machine with a project, and nothing else."""

    def __init__(self, root: Path, environ: dict[str, str], handles: Any = None, tool: Path | None = None, **settings: Any) -> None:
        """Take the folder of the project, the variables and the platform."""
        self.settings = Settings(root=root, tool=tool or root, **settings)
        self.environ = environ
        self.project = Project(root)
        self.network = proxy.read(self.settings, {})
        self.handles = handles

    def connector(self, name: str, pip_url: str, version: str, **keys: str) -> None:
        """Write a connector with its lock."""
        self.project = Project(self.settings.root)  # what is there is read once
        folder = self.settings.configs / name
        folder.mkdir(parents=True)
        content = {"kind": "tap", "pip_url": pip_url, **keys}
        (folder / "connector.yaml").write_text(json.dumps(content))
        (folder / "requirements.lock").write_text(f"# For: x\n{re.split('[<=]', pip_url)[0]}=={version} \\\n    --hash=sha256:0\n")


def results_of(results: Any) -> list[tuple[str, str, str]]:
    """Return status, text and hint of each result."""
    return [(result.status, result.seen, result.hint) for result in results]


def test_connectors(tmp_path: Path) -> None:
    """A lock with an older package is a warning; a version that connector.yaml names is none. Each names the one thing to do."""
    with HubServer() as server:
        for version, requires in (("1.0", ""), ("2.0", ""), ("3.0rc1", ""), ("9.0", ">=3.99")):
            server.package("tap-shop", "", version=version, requires=requires)
            server.package("tap-held", "", version=version)
        page = json.loads(server.packages["/simple/tap-shop/"])
        page["files"][-1]["requires-python"] = ">=3.99"
        server.packages["/simple/tap-shop/"] = json.dumps(page).encode()
        machine = There(tmp_path, {"UV_DEFAULT_INDEX": server.index})
        assert results_of(outdated.connectors(machine)) == []
        machine.connector("tap-shop", "tap-shop", "2.0")
        assert results_of(outdated.connectors(machine)) == [("ok", "the packages of 1 connector are the newest", "")]
        machine.connector("tap-old", "tap-shop<3", "1.0", executable="tap-shop")
        machine.connector("tap-held", "tap-held==1.0", "1.0")
        machine.connector("tap-before", "tap-held", "1.0", exclude_newer="2023-05-01")
        held = "singer-configs/tap-held/connector.yaml"
        before = "singer-configs/tap-before/connector.yaml"
        assert results_of(outdated.connectors(machine)) == [
            (
                "ok",
                "tap-before has tap-held 1.0; 9.0 is released, which exclude_newer excludes",
                f"Change exclude_newer in {before}, then invoke lock tap-before",
            ),
            (
                "ok",
                "tap-held has tap-held 1.0; 9.0 is released, which pip_url excludes",
                f"Change pip_url in {held}, then invoke lock tap-held",
            ),
            ("slow", "tap-old has tap-shop 1.0; 2.0 is released", "invoke lock tap-old"),
        ]


def test_an_index_of_html(tmp_path: Path) -> None:
    """A company's index may answer with HTML alone; withdrawn files do not count."""
    links = '<a href="x" data-requires-python="&gt;=3.8">tap_shop-2.0.tar.gz</a><a data-yanked="" href="x">tap_shop-3.0.tar.gz</a>'
    with HubServer() as server:
        server.packages["/simple/tap-shop/"] = f"<!DOCTYPE html><body>{links}</body>".encode()
        machine = There(tmp_path, {"UV_DEFAULT_INDEX": server.index})
        machine.connector("tap-shop", "tap-shop", "1.0")
        assert results_of(outdated.connectors(machine)) == [("slow", "tap-shop has tap-shop 1.0; 2.0 is released", "invoke lock tap-shop")]


@pytest.mark.parametrize(
    ("environ", "says"),
    [
        ({"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple"}, "the connection is refused"),
        ({"UV_OFFLINE": "1"}, "UV_OFFLINE is set"),
    ],
)
def test_without_a_network(tmp_path: Path, environ: dict[str, str], says: str) -> None:
    """It is no error: one line reports that nothing was compared, and why."""
    machine = There(tmp_path, environ)
    machine.connector("tap-shop", "tap-shop", "1.0")
    machine.connector("tap-other", "tap-other", "1.0")
    [check] = [check for check in outdated.all_checks(ask_releases=False) if check.name == "Connectors"]
    [(status, seen, hint)] = results_of(check.made(machine))
    assert (status, hint) == ("unneeded", "")
    assert seen.startswith("not compared")
    assert says in seen


def test_none_of_it_fails(tmp_path: Path) -> None:
    """A project without tool.env, and a check that takes too long, are reported and do not make `doctor` fail."""
    machine = There(tmp_path, {}, tool=tmp_path / "tool")
    checks = outdated.all_checks(ask_releases=True)
    assert [check.name for check in checks] == ["Tool", "Connectors", "Platform", "Releases"]
    assert {result.status for check in checks for result in [*check.made(machine), check.failed("no answer within 8 s", "wait")]} == {
        "unneeded"
    }


def running(images: dict[str, str], kubernetes: tuple[int, int]) -> Any:
    """Return a platform whose Deployments have these images."""

    def get(_kind: str, name: str, _namespace: str) -> dict[str, Any] | None:
        image = images.get(name)
        return {"spec": {"template": {"spec": {"containers": [{"image": image}]}}}} if image else None

    kube = SimpleNamespace(get=get, version=kubernetes, silent=lambda: None)
    return SimpleNamespace(**vars(HERE), kube=kube)


def test_a_platform(tmp_path: Path) -> None:
    """What runs in the cluster is compared with what this version pins; `up` changes programs, a new cluster Kubernetes."""
    now = {"workflow-controller": IMAGES["controller"], "minio": IMAGES["minio"]}
    node = tuple(int(part) for part in IMAGES["node"].partition(":v")[2].split(".")[:2])
    [result] = results_of(outdated.platform(There(tmp_path, {}, running(now, (node[0], node[1])))))
    assert (result[0], "Kubernetes 1." in result[1], "Argo Workflows v" in result[1]) == ("ok", True, True)
    old = now | {"workflow-controller": "quay.io/argoproj/workflow-controller:v3.0.1@sha256:0"}
    kubernetes, argo, same = results_of(outdated.platform(There(tmp_path, {}, running(old, (1, 2)))))
    assert kubernetes[1:] == (
        f"Kubernetes 1.2 runs; this version of the tool pins {node[0]}.{node[1]}",
        "invoke teardown --keep-data, then invoke up",
    )
    assert argo[0] == "slow"
    assert argo[1].startswith("Argo Workflows v3.0.1 runs; this version of the tool pins v")
    assert argo[2] == "invoke up"
    assert same[1].startswith("MinIO RELEASE")
    down = SimpleNamespace(**vars(HERE), kube=SimpleNamespace(silent=lambda: "nobody answers"))
    assert results_of(outdated.platform(There(tmp_path, {}, down))) == [("unneeded", "not compared: nobody answers", "")]
    assert results_of(outdated.platform(There(tmp_path, {}))) == []


def commit(folder: Path) -> None:
    """Commit all that is in a folder."""
    for words in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--allow-empty", "--message", "x"]):
        subprocess.run([*GIT, *words], cwd=folder, check=True)


def test_the_tool_of_a_project(tmp_path: Path) -> None:
    """A checkout at another version than tool.env names, or with changes, is a warning: other machines run without them."""
    tool, project = tmp_path / "tool", tmp_path / "project"
    tool.mkdir()
    project.mkdir()
    (tool / "code").write_text("1")
    commit(tool)
    subprocess.run([*GIT, "tag", "v0.1.0"], cwd=tool, check=True)
    machine = There(project, {}, tool=tool)
    assert results_of(outdated.the_tool(There(tool, {}))) == []
    (project / "tool.env").write_text("TOOL_PATH=../tool\nTOOL_VERSION=v0.1.0\n")
    [right] = results_of(outdated.the_tool(machine))
    assert (right[0], right[1].endswith(", at v0.1.0")) == ("ok", True)
    (tool / "code").write_text("2")
    [dirty] = results_of(outdated.the_tool(machine))
    assert (dirty[0], "not committed" in dirty[1], dirty[2]) == ("slow", True, "Commit them there, then invoke upgrade.")
    commit(tool)
    [ahead] = results_of(outdated.the_tool(machine))
    assert (ahead[0], "tool.env names v0.1.0 for other machines" in ahead[1], "upgrade" in ahead[2]) == ("slow", True, True)


def test_releases(tmp_path: Path) -> None:
    """On request the newest tag of the tool is read; what does not answer is not compared, and is no error."""
    tool, project = tmp_path / "tool", tmp_path / "project"
    tool.mkdir()
    project.mkdir()
    commit(tool)
    for tag in ("v0.1.0", "v99.1.0", "v99.2.0rc1"):
        subprocess.run([*GIT, "tag", tag], cwd=tool, check=True)
    (project / "tool.env").write_text(f"TOOL_GIT={tool}\nTOOL_VERSION=v0.1.0\n")
    machine = There(project, {}, tool=tmp_path, mirror="github.com=127.0.0.1:9")
    results = results_of(outdated.newer_releases(machine))
    assert [seen for status, seen, _ in results if status == "unneeded"] == [
        "not compared: kind, Argo Workflows, uv, because 127.0.0.1 does not answer"
    ]
    [(seen, hint)] = [(seen, hint) for status, seen, hint in results if status == "slow"]
    assert (seen.endswith("; v99.1.0 is released"), hint) == (True, "invoke upgrade")
