"""MinIO's administration, as root: the user of the pipelines, its policy, and expiry rules."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import urllib3
from minio import MinioAdmin
from minio.commonconfig import ENABLED, Filter
from minio.credentials.providers import StaticProvider
from minio.error import MinioAdminException
from minio.lifecycleconfig import Expiration, LifecycleConfig, NoncurrentVersionExpiration, Rule

from cluster.errors import SetupError
from cluster.store.protocol import parted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from cluster.store.s3 import S3Store

POLICY = "singer-pipelines"
EXPIRING = ("workflows/", "raw/", "uploads/")
"""Prefixes of the artifacts bucket that expire; records below ``runs/`` do not."""
BACKFILLS = ("backfills/",)
"""Prefixes of the bucket of configs that expire; all else there stays, with its versions."""


class Admin:
    """MinIO's administration. Every call is safe to repeat."""

    def __init__(self, endpoint: str, credentials: Mapping[str, str]) -> None:
        """Take the endpoint and root's credentials; nothing is sent yet."""
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self._admin = MinioAdmin(
            endpoint=url.netloc,
            credentials=StaticProvider(credentials["accesskey"], credentials["secretkey"]),
            secure=url.scheme == "https",
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=3, read=30), retries=urllib3.Retry(total=2, backoff_factor=0.2)
            ),
        )

    def allow(self, user: Mapping[str, str], policy: Mapping[str, Any]) -> None:
        """Create the user with these credentials and the rights in *policy*, and no others."""
        with self._errors():
            self._admin.policy_add(POLICY, policy=dict(policy))
            self._admin.user_add(user["accesskey"], user["secretkey"])
            self._admin.policy_set(POLICY, user=user["accesskey"])

    def follows(self, policy: Mapping[str, Any]) -> bool:
        """Return whether *policy* is in force. An earlier version may have set another one."""
        with self._errors():
            return _statements(json.loads(self._admin.policy_info(POLICY))) == _statements(policy)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (MinioAdminException, urllib3.exceptions.HTTPError, ValueError) as error:
            reason = str(getattr(error, "reason", None) or error).partition("\n")[0][:200]
            raise SetupError(
                "E-STORE", f"MinIO's administration at {self.endpoint} failed: {reason}.", hint="invoke status shows how MinIO is."
            ) from None


def _statements(policy: Mapping[str, Any]) -> dict[str, tuple[str, frozenset[str], frozenset[str]]]:
    """Return the statements of a policy in a form that ignores their order."""
    return {
        item["Sid"]: (item["Effect"], frozenset(item.get("Action", ())), frozenset(item.get("Resource", ())))
        for item in policy["Statement"]
    }


def expire(store: S3Store, expiring: Mapping[str, Iterable[str]], days: int) -> None:
    """Let objects expire after *days*; *expiring* has the prefixes of each bucket.

    Their older versions, where a bucket keeps them, expire a day later.
    """
    by_bucket: dict[str, list[str]] = {}
    for bucket, prefixes in expiring.items():
        name, folder = parted(bucket)
        by_bucket.setdefault(name, []).extend(folder + prefix for prefix in prefixes)
    for name, prefixes in by_bucket.items():  # S3 replaces all rules of a bucket
        _set(store, name, prefixes, days)


def _set(store: S3Store, bucket: str, prefixes: Iterable[str], days: int) -> None:
    rules = [
        Rule(
            ENABLED,
            rule_id=f"singer-{prefix.rstrip('/').replace('/', '-')}",
            rule_filter=Filter(prefix=prefix),
            expiration=Expiration(days=days),
            noncurrent_version_expiration=NoncurrentVersionExpiration(noncurrent_days=1),
        )
        for prefix in prefixes
    ]
    store.set_lifecycle(bucket, LifecycleConfig(rules))
