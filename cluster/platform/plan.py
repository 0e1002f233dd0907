"""The steps of ``up``, ``sync`` and ``run``, and their order. Read this first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.platform import backup
from cluster.platform.objects import Objects
from cluster.platform.steps.capacity import Capacity
from cluster.platform.steps.cluster import Cluster, Restored
from cluster.platform.steps.images import PLATFORM_LOADED, Built, ImageNames, Loaded, Pulled
from cluster.platform.steps.programs import ArgoThere, Running
from cluster.platform.steps.schedules import Schedules
from cluster.platform.steps.secrets import ConnectorSecrets
from cluster.platform.steps.storage import Buckets, Configs

if TYPE_CHECKING:
    from cluster.config.settings import Settings
    from cluster.platform.steps.base import Step


def up(settings: Settings) -> tuple[Step, ...]:
    """Return the steps of ``up``, in the order in which people read them."""
    argo: Step = Running("Argo Workflows", ("workflow-controller", "argo-server"), door=("argo", "/"))
    if settings.argo == "use":
        argo = ArgoThere()
    minio: tuple[Step, ...] = ()
    if settings.store == "install":
        needs = (Objects.title, PLATFORM_LOADED, Restored.title)
        minio = (Running("MinIO", ("minio",), door=("s3", "/minio/health/cluster"), needs=needs),)
        minio = (Restored(), *minio) if backup.archive(settings).exists() else minio
    first = (Loaded.of_platform(),) if "install" in {settings.argo, settings.store} else ()
    cluster: tuple[Step, ...] = (Cluster(), Capacity(), Pulled(), Built(), *first, Loaded(), Objects(), argo)
    return (*cluster, *minio, Buckets(), Configs(), ConnectorSecrets(), ImageNames(), Schedules())


def sync() -> tuple[Step, ...]:
    """Return the steps that bring ``singer-configs/`` into the cluster."""
    return (Capacity(), Built(), Loaded(), Configs(), ConnectorSecrets(), ImageNames(), Schedules())


def needed() -> tuple[Step, ...]:
    """Return the steps that a run needs."""
    return (Capacity(), Built(), Loaded(), Configs(), ConnectorSecrets(), ImageNames())
