"""Which steps make the platform, and which must wait for which. Pure, but for one look for kept data: read this first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster import kept
from cluster.objects import Objects
from cluster.schedules import Schedules
from cluster.steps import ArgoThere, Buckets, Built, Cluster, Configs, ConnectorSecrets, Loaded, Pulled, Restored, Running, Step

if TYPE_CHECKING:
    from cluster.settings import Settings


def up(settings: Settings) -> tuple[Step, ...]:
    """Return the steps of ``up`` in the order in which people read them; what needs nothing begins at once."""
    argo: Step = Running("Argo Workflows", ("workflow-controller", "argo-server"), door=("argo", "/"))
    if settings.argo == "use":
        argo = ArgoThere()
    minio: tuple[Step, ...] = ()
    if settings.store == "install":
        needs = (Objects.title, Loaded.title, Restored.title)
        minio = (Running("MinIO", ("minio",), door=("s3", "/minio/health/cluster"), needs=needs),)
        minio = (Restored(), *minio) if kept.archive(settings).exists() else minio
    return (Cluster(), Pulled(), Built(), Loaded(), Objects(), argo, *minio, Buckets(), Configs(), ConnectorSecrets(), Schedules())


def sync() -> tuple[Step, ...]:
    """Return the steps that bring what stands in ``singer-configs/`` into the cluster."""
    return (Built(), Loaded(), Configs(), ConnectorSecrets(), Schedules())


def needed() -> tuple[Step, ...]:
    """Return the steps that bring what a run of some pipelines needs."""
    return (Built(), Loaded(), Configs(), ConnectorSecrets())
