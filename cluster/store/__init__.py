"""Buckets: folders or S3 behind one protocol, with the same keys.

The setting ``store`` chooses one. A write replaces an object as a whole or not at all. The bucket
of configs and states keeps every version.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cluster.errors import SetupError
from cluster.net import proxy
from cluster.store.folders import FolderStore
from cluster.store.protocol import Object, Store, Version, checked, parted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cluster.config.settings import Settings

__all__ = ["FolderStore", "Object", "Store", "Version", "checked", "open_store", "parted"]


def open_store(settings: Settings, environ: Mapping[str, str]) -> Store:
    """Return the store that the settings choose, with its buckets in place.

    :raises SetupError: E-STORE, it cannot be reached; E-SECRET, its credentials are not set.
    """
    store: Store
    if settings.local_store == "folder":
        store = FolderStore(settings.local / "buckets")
    else:
        from cluster.store.s3 import S3Store  # noqa: PLC0415 - minio takes 0.2 s to import

        names = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
        missing = [name for name in names if not environ.get(name)]
        if missing:
            raise SetupError(
                "E-SECRET",
                f"The store is S3, and {missing[0]} is not set.",
                hint=f"Put {missing[0]}=… into .env, or set it in the environment.",
            )
        network = proxy.read(settings, environ)
        store = S3Store(
            settings.s3_endpoint,
            access_key=environ[names[0]],
            secret_key=environ[names[1]],
            session_token=environ.get("AWS_SESSION_TOKEN"),
            region=settings.s3_region,
            ca_bundle=network.trusted() if settings.s3_endpoint.startswith("https:") else None,
            proxy=network.proxy_for(settings.s3_endpoint),
        )
    store.prepare({settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False})
    return store
