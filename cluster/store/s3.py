"""Buckets on S3, through the ``minio`` package. The only importer of ``minio``."""

from __future__ import annotations

import io
from contextlib import contextmanager
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.versioningconfig import VersioningConfig

from cluster.errors import SetupError, file_errors
from cluster.store.protocol import Object, Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

CONNECT_SECONDS = 3
READ_SECONDS = 30
MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchObject", "MethodNotAllowed"}
"""MethodNotAllowed is S3's answer to a GET of a delete marker by its version."""
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidTokenId"}


class S3Store:
    """A ``Store`` on an S3 endpoint: MinIO or any other."""

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str,
        secret_key: str,
        session_token: str | None = None,
        region: str,
        ca_bundle: str | None = None,
    ) -> None:
        """Take the endpoint (``http://host:port``) and credentials; nothing is sent yet."""
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        retry = urllib3.Retry(total=3, connect=2, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504))
        self._client = Minio(
            url.netloc,
            access_key=access_key,
            secret_key=secret_key,
            session_token=session_token,
            region=region,
            secure=url.scheme == "https",
            http_client=urllib3.PoolManager(
                timeout=urllib3.Timeout(connect=CONNECT_SECONDS, read=READ_SECONDS),
                retries=retry,
                maxsize=4,
                cert_reqs="CERT_REQUIRED",
                ca_certs=ca_bundle or certifi.where(),
            ),
        )

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """See ``Store``. Versioning is switched on where it is off."""
        for name, versioned in buckets.items():
            with self._errors(name):
                if not self._client.bucket_exists(name):
                    try:
                        self._client.make_bucket(name)
                    except S3Error as error:  # another one was quicker
                        if error.code != "BucketAlreadyOwnedByYou":
                            raise
                if versioned and self._client.get_bucket_versioning(name).status != ENABLED:
                    self._client.set_bucket_versioning(name, VersioningConfig(ENABLED))

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """See ``Store``."""
        with self._errors(bucket, key):
            try:
                response = self._client.get_object(bucket, key, version_id=version)
            except S3Error as error:
                if error.code in MISSING:
                    return None
                raise
            try:
                return response.read()
            finally:
                response.close()
                response.release_conn()

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """See ``Store``."""
        with self._errors(bucket, key):
            self._client.put_object(bucket, key, io.BytesIO(data), len(data), content_type="application/json")

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``. Large files go in parts that become visible together."""
        with self._errors(bucket, key), file_errors(key, file):
            self._client.fput_object(bucket, key, str(file))

    def download(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``."""
        with self._errors(bucket, key), file_errors(key, file):
            self._client.fget_object(bucket, key, str(file))

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """See ``Store``."""
        with self._errors(bucket):
            return [
                Object(item.object_name or "", item.size or 0, _aware(item.last_modified))
                for item in self._client.list_objects(bucket, prefix=prefix, recursive=True)
            ]

    def delete(self, bucket: str, key: str) -> None:
        """See ``Store``."""
        with self._errors(bucket, key):
            self._client.remove_object(bucket, key)

    def versions(self, bucket: str, key: str) -> list[Version]:
        """See ``Store``."""
        with self._errors(bucket, key):
            return [
                Version(item.version_id or "", item.size or 0, _aware(item.last_modified), bool(item.is_delete_marker))
                for item in self._client.list_objects(bucket, prefix=key, recursive=True, include_version=True)
                if item.object_name == key
            ]

    def url(self, bucket: str, key: str) -> str:
        """See ``Store``."""
        return f"s3://{bucket}/{key}"

    @contextmanager
    def _errors(self, bucket: str, key: str = "") -> Iterator[None]:
        """Turn what the server or the network says into a sentence. Credentials are never part of it."""
        what = f"s3://{bucket}/{key}" if key else f"the bucket {bucket}"
        try:
            yield
        except S3Error as error:
            if error.code in REFUSED:
                raise SetupError(
                    "E-STORE",
                    f"{self.endpoint} refuses access to {what}: {error.code}.",
                    hint="Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or the rights of that user.",
                ) from None
            if error.code == "XMinioStorageFull":
                raise SetupError("E-DISK", f"The disk of {self.endpoint} is full.", hint="Make room there, then run it again.") from None
            raise SetupError(
                "E-STORE", f"{self.endpoint} answers {error.code} for {what}.", hint="See the server's log; then run it again."
            ) from None
        except (InvalidResponseError, ServerError) as error:
            raise SetupError(
                "E-STORE", f"{self.endpoint} does not answer as S3 does: {error}.", hint="Correct singer.s3_endpoint; see the server's log."
            ) from None
        except urllib3.exceptions.HTTPError as error:
            reason = getattr(error, "reason", None) or error
            raise SetupError(
                "E-STORE", f"{self.endpoint} cannot be reached: {_plain(reason)}.", hint="Start it, or correct singer.s3_endpoint."
            ) from None


def _plain(reason: object) -> str:
    """Return the part of a network error that a person can use."""
    text = str(reason)
    for known in ("Connection refused", "timed out", "Name or service not known", "certificate verify failed", "Connection reset"):
        if known.lower() in text.lower():
            return known[0].lower() + known[1:]
    return text.rpartition(": ")[2]


def _aware(moment: object) -> datetime:
    assert isinstance(moment, datetime)
    return moment
