"""Which steps make the platform, and which must wait for which. Pure, but for one look for kept data: read this first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.platform import backup
from cluster.platform.objects import Objects
from cluster.platform.steps.cluster import Cluster, Restored
from cluster.platform.steps.images import Built, Loaded, Pulled
from cluster.platform.steps.programs import ArgoThere, Running
from cluster.platform.steps.schedules import Schedules
from cluster.platform.steps.secrets import ConnectorSecrets
from cluster.platform.steps.storage import Buckets, Configs

if TYPE_CHECKING:
    from cluster.config.settings import Settings
    from cluster.platform.steps.base import Step


def up(settings: Settings) -> tuple[Step, ...]:
    """Return the steps of ``up`` in the order in which people read them; what needs nothing begins at once."""
    argo: Step = Running("Argo Workflows", ("workflow-controller", "argo-server"), door=("argo", "/"))
    if settings.argo == "use":
        argo = ArgoThere()
    minio: tuple[Step, ...] = ()
    if settings.store == "install":
        needs = (Objects.title, Loaded.title, Restored.title)
        minio = (Running("MinIO", ("minio",), door=("s3", "/minio/health/cluster"), needs=needs),)
        minio = (Restored(), *minio) if backup.archive(settings).exists() else minio
    return (Cluster(), Pulled(), Built(), Loaded(), Objects(), argo, *minio, Buckets(), Configs(), ConnectorSecrets(), Schedules())


def sync() -> tuple[Step, ...]:
    """Return the steps that bring what stands in ``singer-configs/`` into the cluster."""
    return (Built(), Loaded(), Configs(), ConnectorSecrets(), Schedules())


def needed() -> tuple[Step, ...]:
    """Return the steps that bring what a run of some pipelines needs."""
    return (Built(), Loaded(), Configs(), ConnectorSecrets())
