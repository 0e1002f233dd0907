"""Buckets on S3, through the ``minio`` package. The only importer of ``minio``."""

from __future__ import annotations

import io
import random
import re
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from xml.etree.ElementTree import ParseError

import certifi
import urllib3
from minio import Minio
from minio.commonconfig import ENABLED
from minio.credentials.providers import AWSConfigProvider, ChainedProvider, IamAwsProvider, Provider
from minio.deleteobjects import DeleteObject
from minio.error import InvalidResponseError, S3Error, ServerError
from minio.versioningconfig import VersioningConfig

from cluster.errors import SetupError
from cluster.host.files import file_errors
from cluster.host.parallel import PARALLEL
from cluster.net.proxy import login
from cluster.store.protocol import Object, Version, can_begin, checked, fetching, parted
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from datetime import datetime
    from pathlib import Path

    from minio.credentials.credentials import Credentials
    from minio.lifecycleconfig import LifecycleConfig

TIMEOUT = urllib3.Timeout(connect=3, read=30)
PIECE_BYTES = 1 << 20
MISSING = {"NoSuchKey", "NoSuchVersion", "NoSuchObject", "MethodNotAllowed"}
"""S3 answers MethodNotAllowed to a GET of a delete marker by its version."""
UNREACHABLE = {
    "407 ": "the proxy asks for a user and a password",
    "Unable to connect to proxy": "the proxy does not answer",
    "Connection refused": "connection refused",
    "Connection reset": "connection reset",
    "timed out": "timed out",
    "No route to host": "no route to host",
    "Network is unreachable": "network is unreachable",
    "Name or service not known": "name or service not known",
    "Temporary failure in name resolution": "temporary failure in name resolution",
    "certificate verify failed": "certificate verify failed",
    "No such file or directory": "SSL_CERT_FILE names no file",
}
UNEXPECTED = {
    "IncompleteRead": "its answer broke off",
    "InvalidChunkLength": "its answer broke off",
    "without response": "it closes the connection without an answer",
    "BadStatusLine": "it is not an HTTP server",
    "error responses": "it keeps answering with server errors",
    "too many redirects": "it redirects too often",
    "SSL": "the TLS connection fails",
}
"""Parts of urllib3's errors, and the reason to show for each."""
ELSEWHERE = {
    "AuthorizationHeaderMalformed",
    "IllegalLocationConstraintException",
    "InvalidRegion",
    "PermanentRedirect",
    "TemporaryRedirect",
}
"""S3's error codes for a request signed for, or sent to, another region than the bucket's."""
OVERTAKEN = {"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey"}
"""S3's error codes for a conditional write whose object another writer has changed."""
CHANGES, PAUSE = 40, (0.02, 0.3)
"""How often ``change`` tries, and the shortest and longest pause between, in seconds."""
REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch"}
EXPIRED = {"ExpiredToken", "InvalidTokenId"}


class S3Store:
    """A ``Store`` on an S3 endpoint: MinIO or any other."""

    def __init__(
        self,
        endpoint: str,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        session_token: str | None = None,
        region: str,
        ca_bundle: Path | str | None = None,
        proxy: str | None = None,
        own: bool = False,
        timeout: urllib3.Timeout = TIMEOUT,
    ) -> None:
        """Take the endpoint (``http://host:port``), credentials and the proxy; nothing is sent yet.

        Without keys, use the profile in ``~/.aws/credentials``, else the identity of the machine or
        the pod. *own* marks the server that came with the platform.

        :raises SetupError: E-SETTING, the endpoint or the region is not valid.
        """
        url = urlsplit(endpoint)
        self.endpoint = endpoint
        self.region = region
        self._repair = f"{command('up')} repairs the platform." if own else "Start it, or correct singer.s3_endpoint."
        http = _http(proxy, ca_bundle, timeout)
        try:
            self._client = Minio(
                url.netloc,
                access_key=access_key,
                secret_key=secret_key,
                session_token=session_token,
                credentials=None if access_key else _Identity(endpoint, region, http),
                region=region,
                secure=url.scheme == "https",
                http_client=http,
            )
        except ValueError as error:
            raise SetupError(
                "E-SETTING",
                f"{endpoint} in the region {region} is not an address: {error}.",
                hint="Correct singer.s3_endpoint or singer.s3_region.",
            ) from None

    def prepare(self, buckets: Mapping[str, bool]) -> None:
        """See ``Store``. Switches versioning on, if allowed, unless the bucket is only a folder."""
        for bucket, versioned in buckets.items():
            name, folder = parted(bucket)
            with self._errors(bucket):
                if self._made(name, folder) or not folder:
                    self._keep_versions(name, versioned=versioned)

    def _made(self, name: str, folder: str) -> bool:
        """Create a bucket if it is missing, and return whether it was.

        Looks by listing, because other requests about a bucket need more rights.
        """
        try:
            next(iter(self._client.list_objects(name, prefix=folder)), None)
        except S3Error as error:
            if error.code != "NoSuchBucket":
                raise
        else:
            return False
        try:
            self._client.make_bucket(name)
        except S3Error as error:  # another process created it first
            if error.code != "BucketAlreadyOwnedByYou":
                raise
        return True

    def _keep_versions(self, name: str, *, versioned: bool) -> None:
        try:
            if versioned and self._client.get_bucket_versioning(name).status != ENABLED:
                self._client.set_bucket_versioning(name, VersioningConfig(ENABLED))
        except S3Error as error:
            if error.code != "AccessDenied":
                raise

    def versioned(self, bucket: str) -> bool:
        """Return whether a bucket is known to keep every version."""
        with self._errors(bucket):
            try:
                return bool(self._client.get_bucket_versioning(parted(bucket)[0]).status == ENABLED)
            except S3Error as error:
                if error.code != "AccessDenied":
                    raise
                return False

    def get(self, bucket: str, key: str, version: str | None = None) -> bytes | None:
        """See ``Store``."""
        with self._errors(bucket, key):
            try:
                return b"".join(self._pieces(bucket, key, version))
            except S3Error as error:
                if error.code in MISSING:
                    return None
                raise

    def put(self, bucket: str, key: str, data: bytes) -> None:
        """See ``Store``."""
        with self._errors(bucket, key):
            name, folder = parted(bucket)
            self._confirmed(self._client.put_object(name, folder + key, io.BytesIO(data), len(data), content_type="application/json").etag)

    def change(self, bucket: str, key: str, changed: Callable[[bytes | None], bytes]) -> None:
        """See ``Store``. A write that another one has overtaken is refused, and tried again."""
        for _ in range(CHANGES):
            with self._errors(bucket, key):
                old, etag = self._tagged(bucket, key)
                if self._put_if(bucket, key, changed(old), {"If-Match": etag} if etag else {"If-None-Match": "*"}):
                    return
            time.sleep(random.uniform(*PAUSE))  # noqa: S311 - not a secret
        raise SetupError(
            "E-STORE", f"{self.url(bucket, key)} is changed by others all the time.", hint="Run it again, with a smaller at_once."
        )

    def _tagged(self, bucket: str, key: str) -> tuple[bytes | None, str]:
        """Return an object and its ETag, None if there is none."""
        name, folder = parted(bucket)
        try:
            response = self._client.get_object(name, folder + key)
        except S3Error as error:
            if error.code in MISSING:
                return None, ""
            raise
        try:
            return response.read(), response.headers.get("ETag", "")
        finally:
            response.close()
            response.release_conn()

    def _put_if(self, bucket: str, key: str, data: bytes, condition: dict[str, str | list[str] | tuple[str]]) -> bool:
        """Write an object under *condition*, and return whether it was met.

        A store without conditional writes writes it in any case.
        """
        name, folder = parted(bucket)
        try:
            headers = {"Content-Type": "application/json", **condition}
            self._confirmed(self._client._put_object(name, folder + key, data, headers).etag)  # noqa: SLF001 - put_object has no conditions
        except S3Error as error:
            if error.code == "NotImplemented":
                self.put(bucket, key, data)
            elif error.code in OVERTAKEN:
                return False
            else:
                raise
        return True

    def upload(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``. Large files go in parts that become visible together."""
        with self._errors(bucket, key), file_errors(key, file):
            name, folder = parted(bucket)
            self._confirmed(self._client.fput_object(name, folder + key, str(file)).etag)

    def download(self, bucket: str, key: str, file: Path) -> None:
        """See ``Store``."""
        with self._errors(bucket, key), fetching(key, file) as part, part.open("wb") as target:
            for piece in self._pieces(bucket, key):
                target.write(piece)

    def objects(self, bucket: str, prefix: str = "") -> list[Object]:
        """See ``Store``."""
        if not can_begin(prefix):
            return []
        name, folder = parted(bucket)
        with self._errors(bucket):
            return [
                Object(
                    (item.object_name or "").removeprefix(folder), item.size or 0, _aware(item.last_modified), (item.etag or "").strip('"')
                )
                for item in self._client.list_objects(name, prefix=folder + prefix, recursive=True)
            ]

    def delete(self, bucket: str, *keys: str) -> None:
        """See ``Store``. Several go with one request, or one by one if the server refuses that."""
        name, folder = parted(bucket)
        if len(keys) > 1:
            with self._errors(bucket), suppress(S3Error, InvalidResponseError, ServerError, ParseError):
                if not list(self._client.remove_objects(name, [DeleteObject(folder + key) for key in keys])):
                    return
        for key in keys:
            with self._errors(bucket, key):
                self._client.remove_object(name, folder + key)

    def versions(self, bucket: str, key: str) -> list[Version]:
        """See ``Store``."""
        with self._errors(bucket, key):
            name, folder = parted(bucket)
            listed = self._client.list_objects(name, prefix=folder + key, recursive=True, include_version=True)
            versions = [
                (
                    item.is_latest == "true",  # S3's times may have a resolution of a second
                    Version(item.version_id or "", item.size or 0, _aware(item.last_modified), bool(item.is_delete_marker)),
                )
                for item in listed
                if item.object_name == folder + key
            ]
        # minio lists the delete markers after all others
        return [version for _, version in sorted(versions, key=lambda item: (item[0], item[1].modified), reverse=True)]

    def set_lifecycle(self, bucket: str, lifecycle: LifecycleConfig) -> None:
        """Set the expiry rules of a bucket."""
        with self._errors(bucket):
            self._client.set_bucket_lifecycle(parted(bucket)[0], lifecycle)

    def url(self, bucket: str, key: str) -> str:
        """See ``Store``."""
        return f"s3://{bucket}/{checked(key)}"

    def _pieces(self, bucket: str, key: str, version: str | None = None) -> Iterator[bytes]:
        name, folder = parted(bucket)
        response = self._client.get_object(name, folder + key, version_id=version)
        try:
            self._confirmed(response.headers.get("ETag"))
            yield from response.stream(PIECE_BYTES)
        finally:
            response.close()
            response.release_conn()

    def _confirmed(self, etag: str | None) -> None:
        """Check that an answer comes from S3, which always sends an ETag."""
        if not etag:
            raise self._not_s3("it returns no ETag for the object")

    @contextmanager
    def _errors(self, bucket: str, key: str | None = None) -> Iterator[None]:
        """Turn errors of the server and the network into SetupErrors, without credentials."""
        what = f"s3://{bucket}/{checked(key)}" if key is not None else f"the bucket {bucket}"
        try:
            yield
        except S3Error as error:
            raise self._refused(error.code, what, error.message or "") from None
        except (InvalidResponseError, ServerError) as error:
            # The rest is the body, which could repeat the request.
            raise self._not_s3(str(error).partition(", Content-Type:")[0]) from None
        except ParseError:
            raise self._not_s3("what it sends is not XML") from None
        except ValueError as error:
            if isinstance(error, UnicodeError) or "bucket name" not in str(error):
                raise self._not_s3("what it sends cannot be read") from None
            raise SetupError(
                "E-STORE", f"S3 does not allow the name of the bucket {bucket}.", hint="Correct the singer.bucket_… that names it."
            ) from None
        except urllib3.exceptions.HTTPError as error:
            raise self._broken(error) from None

    def _refused(self, code: str | None, what: str, message: str) -> SetupError:
        """Return the error for an error code of S3."""
        if code in ELSEWHERE:
            right = re.search(r"expecting '([a-z0-9-]+)'", message)
            return SetupError(
                "E-STORE",
                f"{self.endpoint} reports that {what} is in another region than {self.region}.",
                hint=f"Correct singer.s3_region{f': {right[1]}' if right else ', and singer.s3_endpoint if it names a region'}.",
            )
        if code in REFUSED | EXPIRED:
            problem, hint = f"{self.endpoint} refuses access to {what}: {code}.", "Correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            hint += f"or the rights of that user: {command('credentials --policy')} prints what they must be."
            if code in EXPIRED:
                problem = f"{self.endpoint} refuses the temporary credentials, which have expired: {code}."
                hint = "Log in again. If AWS_SESSION_TOKEN is set, set it and both keys anew."
            return SetupError("E-STORE", problem, hint=hint)
        if code == "RequestTimeTooSkewed":
            return SetupError(
                "E-STORE",
                f"The clocks of this machine and of {self.endpoint} differ by more than 15 minutes.",
                hint="Set the clock; after a laptop's sleep restart Docker's virtual machine. Then run it again.",
            )
        if code == "XMinioStorageFull":
            return SetupError("E-DISK", f"The disk of {self.endpoint} is full.", hint="Make room there, then run it again.")
        if code in {None, "BadRequest"}:  # S3 would describe the error
            return self._not_s3(f"it rejects the request for {what} as bad")
        return SetupError(
            "E-STORE",
            f"{self.endpoint} answers {code} for {what}.",
            hint="See the server's log; then run it again.",
        )

    def _broken(self, error: urllib3.exceptions.HTTPError) -> SetupError:
        """Return the error for an error of the network."""
        reason = str(getattr(error, "reason", None) or error)
        for known, words in UNREACHABLE.items():
            if known.lower() in reason.lower():
                return SetupError("E-STORE", f"{self.endpoint} cannot be reached: {words}.", hint=self._repair)
        return self._not_s3(next((words for name, words in UNEXPECTED.items() if name in reason), type(error).__name__))

    def _not_s3(self, why: str) -> SetupError:
        """Return the error for an answer that S3 would not give."""
        return SetupError(
            "E-STORE", f"{self.endpoint} does not answer as S3 does: {why}.", hint="Correct singer.s3_endpoint; see the server's log."
        )


def _http(proxy: str | None, ca_bundle: Path | str | None, timeout: urllib3.Timeout) -> urllib3.PoolManager:
    """Return the pool of connections, through the proxy if there is one."""
    how: dict[str, Any] = {
        "timeout": timeout,
        "retries": urllib3.Retry(total=3, connect=2, read=1, backoff_factor=0.2, status_forcelist=(500, 502, 503, 504)),
        "maxsize": PARALLEL,
        "cert_reqs": "CERT_REQUIRED",
        "ca_certs": str(ca_bundle or certifi.where()),
    }
    if proxy is None:
        return urllib3.PoolManager(**how)
    return urllib3.ProxyManager(proxy, proxy_headers=urllib3.make_headers(proxy_basic_auth=login(proxy) or None), **how)


class _Identity(Provider):
    """Credentials of the profile in ``~/.aws/credentials``, else of the pod or the machine."""

    def __init__(self, endpoint: str, region: str, http: urllib3.PoolManager) -> None:
        """Take the endpoint and the client that exchanges a pod's token; nothing is sent yet."""
        self._endpoint = endpoint
        self._chain = ChainedProvider([AWSConfigProvider(), IamAwsProvider(region=region, http_client=http)])

    def retrieve(self) -> Credentials:
        """Return credentials that have not expired.

        :raises SetupError: E-SECRET, there are none.
        """
        try:
            return self._chain.retrieve()
        except (ValueError, KeyError, OSError, urllib3.exceptions.HTTPError):
            raise SetupError(
                "E-SECRET",
                f"Nothing here opens {self._endpoint}: no keys, no profile in ~/.aws/credentials, no identity of a pod or a machine.",
                hint="Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; in a cluster, give its ServiceAccount the role.",
            ) from None


def _aware(moment: datetime | None) -> datetime:
    if moment is None:
        raise ValueError("the server returned no time")
    return moment
