"""The requests of pods on the page on a company's cluster, compared with the manifests."""

from __future__ import annotations

import re
from typing import Any

import pytest
from documents import read
from manifest_files import argo_config
from workflow_templates import LEAVES, containers

ROW = r"^\| ((?:streaming|staged|record).+) \|$"
ROWS = [[cell.strip() for cell in row.split("|")] for row in re.findall(ROW, read("docs/company.md"), re.MULTILINE)]
PODS = {
    "streaming: run": ["streaming:run"],
    "streaming: run-with-mapper": ["streaming:run-with-mapper"],
    "staged: extract": ["staged:extract"],
    "staged: extract-with-mapper": ["staged:extract-with-mapper"],
    "staged: load": ["staged:load"],
    "streaming, staged: transform, where a pipeline has one": ["streaming:transform", "staged:transform"],
}


def requests(template: dict[str, Any]) -> tuple[int, int]:
    """Return the thousandths of a CPU and the MiB that a pod asks for, Argo's own container included."""
    config = argo_config()
    resources = [container.get("resources", config["mainContainer"]["resources"]) for container in containers(template).values()]
    asked = [item["requests"] for item in [*resources, config["executor"]["resources"]]]
    return sum(int(item["cpu"].removesuffix("m")) for item in asked), sum(int(item["memory"].removesuffix("Mi")) for item in asked)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_the_costs_are_those_of_the_manifests(row: list[str]) -> None:
    """CPU and memory of each pod are what its containers ask for, together."""
    for leaf in PODS.get(row[0], ["streaming:record", "staged:record"]):
        cpu, memory = requests(LEAVES[leaf][1])
        assert (row[2], row[3]) == (f"{cpu}m", f"{memory} MiB")


def test_every_pod_is_in_the_table() -> None:
    """There is a row for each pod that a pipeline can have."""
    assert len(ROWS) == len(PODS) + 1
    assert {leaf for leaf in LEAVES if not leaf.endswith(":record")} == {leaf for leaves in PODS.values() for leaf in leaves}
