"""The plan of ``up``: every step can run, and ends."""

from __future__ import annotations

from graphlib import TopologicalSorter

from cluster.config.settings import Settings
from cluster.platform import plan


def graph() -> TopologicalSorter[str]:
    """Return what needs what."""
    titles = {step.title for step in plan.up(Settings())}
    return TopologicalSorter({step.title: titles.intersection(step.needs) for step in plan.up(Settings())})


def test_the_plan_can_be_done() -> None:
    """Everything that a step needs is a step of the plan, none needs itself in a circle, and none stands before what it needs."""
    titles = [step.title for step in plan.up(Settings())]

    assert len(set(titles)) == len(titles)
    assert {need for step in plan.up(Settings()) for need in step.needs} <= {*titles, "Kept data"}
    assert set(graph().static_order()) == set(titles)
    assert all(titles.index(need) < titles.index(step.title) for step in plan.up(Settings()) for need in step.needs if need in titles)


def test_what_takes_longest_begins_at_once() -> None:
    """Making the cluster, pulling and building overlap: none of them waits for anything."""
    started = graph()
    started.prepare()
    ready = set(started.get_ready())

    assert ready == {step.title for step in plan.up(Settings()) if not step.needs}
    assert {"Cluster", "Images of Argo and MinIO", "Images of connectors"} <= ready


def test_every_step_has_a_time() -> None:
    """Every step ends some day: none may wait for longer than five minutes."""
    assert all(0 < step.budget <= 300 for step in plan.up(Settings()))


def test_argo_and_minio_start_while_connectors_are_built() -> None:
    """Neither waits for an image of a connector, directly or not."""
    needs = {step.title: step.needs for step in plan.up(Settings())}

    def all_needs(title: str) -> set[str]:
        return {title}.union(*map(all_needs, needs.get(title, ())))

    for title in ("Argo Workflows", "MinIO"):
        assert not {"Images of connectors", "Images on the node"} & all_needs(title)
