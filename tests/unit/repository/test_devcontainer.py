"""The development containers, of the tool and of a project: what they name is there, and is pinned."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

import pytest
from documents import ROOT, understood

from cluster.config.settings import Settings

FILES = (".devcontainer/devcontainer.json", "template/devcontainer.json")


def configured(name: str) -> dict[str, Any]:
    """Return the content of a file, which is JSON without comments."""
    content: dict[str, Any] = json.loads((ROOT / name).read_text(encoding="utf-8"))
    return content


@pytest.mark.parametrize("name", FILES)
def test_what_the_container_has(name: str) -> None:
    """It forwards the ports that ``up`` publishes, types a command that there is, and its versions are pinned."""
    content, settings = configured(name), Settings(root=ROOT)
    ports = [settings.port_argo, settings.port_s3, settings.port_console]
    assert content["forwardPorts"] == ports
    assert list(content["portsAttributes"]) == [str(port) for port in ports]
    program, *words = shlex.split(content["postCreateCommand"])
    assert program == "./invoke"
    understood(shlex.join(words))
    assert re.fullmatch(r"mcr\.microsoft\.com/devcontainers/python:\d+\.\d+-3\.13-\w+", content["image"])
    for feature, options in content["features"].items():
        assert re.search(r":\d+\.\d+\.\d+$", feature)
        assert options["version"].isdecimal()


def test_a_project_has_the_container_of_the_tool() -> None:
    """A project's container differs from the tool's only in its name and in what belongs to the code of the tool."""
    tool, project = map(configured, FILES)
    del tool["customizations"]["vscode"]["settings"]["python.defaultInterpreterPath"]
    assert tool | {"name": ""} == project | {"name": ""}
