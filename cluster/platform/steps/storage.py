"""Steps: buckets with their users and policies, and the configs in them."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3

from cluster.argo.templates import BUCKETS
from cluster.argo.workflow import config_key
from cluster.errors import SetupError
from cluster.platform.handles import ROOT_SECRET, USER_SECRET, at_once
from cluster.platform.objects import Objects
from cluster.platform.ownership import not_anothers_bucket, owner
from cluster.runs.history import OWNER
from cluster.store import parted

if TYPE_CHECKING:
    from collections.abc import Callable

    from cluster.config.settings import Settings
    from cluster.platform.handles import Handles
ARTIFACT_DAYS = 14
ARN = "arn:aws:s3:::"
OWN = ("config", "catalog", "initial_state", "target_config")
"""What a pipeline may have of its own instead of its connectors'."""


@dataclass(frozen=True)
class Buckets:
    """The buckets are there, with their versions and expiry, and the pipelines' user may use them."""

    title: str = "Buckets and user"
    well: str = "there, and the pipelines' user may use them"
    needs: tuple[str, ...] = ("MinIO", Objects.title)
    budget: float = 30

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        from cluster.store.minio_admin import BACKFILLS, EXPIRING, Admin, expire  # noqa: PLC0415 - minio takes 0.2 s to import

        settings, ours = handles.settings, handles.settings.store == "install"
        store = handles.store(ROOT_SECRET if ours else "")
        say("buckets")
        store.prepare(self.names(handles))
        if ours:
            expire(store, {settings.bucket_artifacts: EXPIRING, settings.bucket_configs: BACKFILLS}, ARTIFACT_DAYS)
            say("user")
            root, user = handles.secret(ROOT_SECRET), handles.secret(USER_SECRET)
            assert root is not None
            assert user is not None
            Admin(store.endpoint, root).allow(user, policy(settings))
        unkept = (
            "" if store.versioned(settings.bucket_configs) else f"; {settings.bucket_configs} keeps no versions: states have no history"
        )
        return f"{len(self.names(handles))} buckets{unkept}"

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``. Asked as the pipelines' user: what it sees is what they will see."""
        try:
            store = handles.store()
            for name in self.names(handles):
                store.objects(name, "owner")
            root = handles.secret(ROOT_SECRET) if handles.settings.store == "install" else None
            if root:
                from cluster.store.minio_admin import Admin  # noqa: PLC0415 - minio takes 0.2 s to import

                if not Admin(store.endpoint, root).follows(policy(handles.settings)):
                    return "the policy of the pipelines' user is not ours of today"
        except SetupError as error:
            return error.problem.rstrip(".")
        return None

    @staticmethod
    def names(handles: Handles) -> dict[str, bool]:
        """Return the buckets, and whether every version is kept."""
        settings = handles.settings
        return {settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False}


@dataclass(frozen=True)
class Configs:
    """The files of ``singer-configs/`` are in the bucket as they are here; states there are never touched."""

    title: str = "Configs"
    well: str = "the same as singer-configs/"
    needs: tuple[str, ...] = (Buckets.title,)
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        store, bucket = handles.store(), handles.settings.bucket_configs
        not_anothers_bucket(handles, store.get(bucket, OWNER))
        here, there = self.here(handles), self._there(handles)

        def put(name: str) -> None:
            say(name)
            store.put(bucket, name, here[name])

        at_once(put, [name for name in sorted(here) if there.get(name) != here[name]])
        gone = sorted(there.keys() - here.keys())
        at_once(lambda name: store.delete(bucket, name), gone)
        return f"{len(here)} objects" + (f", {len(gone)} removed" if gone else "")

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        here, there = self.here(handles), self._there(handles)
        differing = [name for name in sorted(here.keys() | there.keys()) if here.get(name) != there.get(name)]
        return f"not as in singer-configs/: {', '.join(differing)}" if differing else None

    @staticmethod
    def here(handles: Handles) -> dict[str, bytes]:
        """Return what shall be in the bucket, by key."""
        files = {OWNER: owner(handles)}
        connectors = handles.connectors if handles.only else map(handles.project.connector, handles.project.connector_names)
        for connector in connectors:
            for file in (connector.config, connector.folder / "catalog.json", connector.folder / "state.json"):
                key = f"connectors/{connector.name}/{file.name}"
                if file.exists():
                    files[key] = file.read_bytes()
                elif file == connector.config and connector.kind == "tap":  # a Workflow's input that may not be missing
                    files[key] = b"{}"
        for pipeline in handles.pipelines:
            for name in OWN:
                key = config_key(pipeline, name)
                if key.startswith("pipelines/"):
                    files[key] = getattr(pipeline, name).read_bytes()
        return files

    @staticmethod
    def _there(handles: Handles) -> dict[str, bytes | None]:
        store, bucket = handles.store(), handles.settings.bucket_configs
        prefixes = ["connectors/", "pipelines/"]
        if handles.only:
            prefixes = [f"connectors/{connector.name}/" for connector in handles.connectors] + [
                f"pipelines/{name}/" for name in handles.only
            ]
        names = [item.key for prefix in (*prefixes, OWNER) for item in store.objects(bucket, prefix)]
        states = re.compile("pipelines/[^/]+/state.json")
        names = [name for name in names if not states.fullmatch(name)]
        return dict(zip(names, at_once(lambda name: store.get(bucket, name), names), strict=True))


def silent(url: str) -> str | None:
    """Say why an address does not answer 200, None if it does."""
    try:
        # A connection of its own each time: MinIO goes on answering as it did when a connection was made.
        status = urllib3.request("GET", url, timeout=2, retries=False, headers={"Connection": "close"}).status
    except urllib3.exceptions.HTTPError as error:
        return f"{url} does not answer yet: {str(error).rpartition(': ')[2]}"
    return None if status == HTTPStatus.OK else f"{url} answers {status}"


def policy(settings: Settings) -> dict[str, Any]:
    """Return the policy of the pipelines' user, for the buckets that the settings name."""
    found: dict[str, Any] = json.loads((settings.root / "manifests" / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
    ours = [item for item in found["Statement"] if "Resource" in item or settings.store == "install"]  # the rest is MinIO's own
    return {**found, "Statement": [made for statement in ours for made in _granted(statement, settings)]}


def _granted(statement: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """Return a statement about the buckets that were chosen. Where we have a folder of one, only what is below it can be listed."""
    chosen = {ARN + name: parted(getattr(settings, setting)) for name, setting in BUCKETS.items()}
    whole, below = list[str](), list[dict[str, Any]]()
    for resource in statement.get("Resource", ()):
        name, folder = chosen[resource.removesuffix("/*")]
        if resource.endswith("/*"):
            whole.append(f"{ARN}{name}/{folder}*")
        elif folder and "s3:ListBucket" in statement["Action"]:
            condition = {"StringLike": {"s3:prefix": [f"{folder}*"]}}
            sid = f"{statement['Sid']}{len(below) + 1}"
            below.append({**statement, "Sid": sid, "Resource": [ARN + name], "Condition": condition})
        else:
            whole.append(ARN + name)
    if not below and not whole:
        return [statement]
    return ([{**statement, "Resource": list(dict.fromkeys(whole))}] if whole else []) + below
