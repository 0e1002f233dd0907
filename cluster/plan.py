"""Which steps make the platform, and which must wait for which. Pure: read this first."""

from __future__ import annotations

from cluster.steps import Buckets, Built, Cluster, Configs, ConnectorSecrets, Loaded, Objects, Pulled, Running, Step


def up() -> tuple[Step, ...]:
    """Return the steps of ``up`` in the order in which people read them; what needs nothing begins at once."""
    return (
        Cluster(),
        Pulled(),
        Built(),
        Loaded(),
        Objects(),
        Running("Argo Workflows", ("workflow-controller", "argo-server"), door=("port_argo", "/")),
        Running("MinIO", ("minio",), door=("port_s3", "/minio/health/cluster")),
        Buckets(),
        Configs(),
        ConnectorSecrets(),
    )
