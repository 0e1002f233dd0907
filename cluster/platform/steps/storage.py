"""Steps: buckets with their users and policies, and the configs in them."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import urllib3

from cluster.argo.templates import BUCKETS
from cluster.argo.workflow import config_key
from cluster.errors import SetupError
from cluster.host.parallel import in_parallel
from cluster.kube.rbac import visible
from cluster.net.http import in_few_words
from cluster.platform.credentials import ROOT_SECRET, USER_SECRET
from cluster.platform.objects import Objects
from cluster.platform.ownership import need_our_bucket, owner
from cluster.project.files import files_objects
from cluster.runs.history import OWNER
from cluster.store import parted
from cluster.ui.command_line import command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cluster.config.settings import Settings
    from cluster.kube.documents import Document
    from cluster.platform.handles import Handles
    from cluster.store import Object
ARTIFACT_DAYS = 14
ARN = "arn:aws:s3:::"
OWN = ("config", "catalog", "initial_state", "mapper_config", "target_config")
"""Files that a pipeline may have instead of its connectors'."""


@dataclass(frozen=True)
class Buckets:
    """The buckets exist, with versions and expiry, and the pipelines' user may use them."""

    title: str = "Buckets and user"
    ok: str = "usable by the pipelines' user"
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
            root, user = handles.credentials.secret(ROOT_SECRET), handles.credentials.secret(USER_SECRET)
            assert root is not None
            assert user is not None
            Admin(store.endpoint, root).allow(user, policy(settings))
        unversioned = not store.versioned(settings.bucket_configs)
        return (
            f"{len(self.names(handles))} buckets" + f"; {settings.bucket_configs} keeps no versions: states have no history" * unversioned
        )

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``. Asks as the pipelines' user."""
        try:
            store = handles.store()
            for name in self.names(handles):
                store.objects(name, "owner")
            root = handles.credentials.secret(ROOT_SECRET) if handles.settings.store == "install" else None
            if root:
                from cluster.store.minio_admin import Admin  # noqa: PLC0415 - minio takes 0.2 s to import

                if not Admin(store.endpoint, root).follows(policy(handles.settings)):
                    return "the policy of the pipelines' user is outdated"
        except SetupError as error:
            return error.problem.rstrip(".")
        return None

    @staticmethod
    def names(handles: Handles) -> dict[str, bool]:
        """Return the buckets, and whether each keeps every version."""
        settings = handles.settings
        return {settings.bucket_configs: True, settings.bucket_artifacts: False, settings.bucket_outputs: False}


@dataclass(frozen=True)
class Configs:
    """The bucket has the files of ``singer-configs/``. States in it never change."""

    title: str = "Configs"
    ok: str = "the same as singer-configs/"
    needs: tuple[str, ...] = (Buckets.title,)
    budget: float = 10

    def apply(self, handles: Handles, say: Callable[[str], None]) -> str:
        """See ``Step``."""
        store, bucket = handles.store(), handles.settings.bucket_configs
        need_our_bucket(handles, store.get(bucket, OWNER))
        here = self.here(handles)
        there = self._there(handles, here)
        _need_templates(handles, here)

        def put(name: str) -> None:
            say(name)
            store.put(bucket, name, here[name])

        in_parallel(put, [name for name in sorted(here) if there.get(name) != here[name]])
        gone = sorted(there.keys() - here.keys())
        store.delete(bucket, *gone)
        return f"{len(here)} objects" + (f", {len(gone)} removed" if gone else "")

    def pending(self, handles: Handles) -> str | None:
        """See ``Step``."""
        here = self.here(handles)
        there = self._there(handles, here)
        differing = sorted({name for name in here if there.get(name) != here[name]} | (there.keys() - here.keys()))
        return f"not as in singer-configs/: {', '.join(differing)}" if differing else None

    @staticmethod
    def here(handles: Handles) -> dict[str, bytes]:
        """Return the wanted objects of the bucket, by key."""
        files = {OWNER: owner(handles)}
        connectors = handles.connectors if handles.only else map(handles.project.connector, handles.project.connector_names)
        for connector in connectors:
            for file in (connector.config, connector.catalog, connector.initial_state):
                key = f"connectors/{connector.name}/{file.name}"
                if file.exists():
                    files[key] = file.read_bytes()
                elif file == connector.config and connector.kind == "tap":  # a Workflow needs it
                    files[key] = b"{}"
            files |= files_objects(connector.files)
        for pipeline in handles.pipelines:
            for name in OWN:
                if getattr(pipeline, name) is None:  # no mapper
                    continue
                key = config_key(pipeline, name)
                if key.startswith("pipelines/"):
                    files[key] = getattr(pipeline, name).read_bytes()
            if pipeline.plan:
                files[pipeline.plan.key] = pipeline.plan.data()
        return files

    @staticmethod
    def _there(handles: Handles, here: Mapping[str, bytes]) -> dict[str, bytes | None]:
        """Return the objects of the bucket that the steps compare with those of *here*.

        What is to be removed is not read, its value is None. The keys of connectors' files and of
        plans have a hash of the content, so nobody reads them again. Those of earlier content stay:
        a schedule or a run may name them.
        """
        store, bucket = handles.store(), handles.settings.bucket_configs
        prefixes = ["connectors/", "pipelines/"]
        if handles.only:
            prefixes = [f"connectors/{connector.name}/" for connector in handles.connectors] + [
                f"pipelines/{name}/" for name in handles.only
            ]
        states = re.compile("pipelines/[^/]+/state.json")
        listed = [item for prefix in (*prefixes, OWNER) for item in store.objects(bucket, prefix) if not states.fullmatch(item.key)]
        # Most stores list the MD5 of an object. Only what differs, or has another tag, is read.
        there = {item.key: here[item.key] if item.key in here and same(here[item.key], item) else None for item in listed}
        names = [key for key, content in there.items() if content is None and key in here]
        there |= dict(zip(names, in_parallel(lambda name: store.get(bucket, name), names), strict=True))
        hashes = sorted({"/".join(key.split("/")[:2]) for key in here if key.startswith(("files/", "plans/"))})
        stored = {item.key for prefix in hashes for item in store.objects(bucket, prefix)}
        return there | {key: here[key] for key in stored & here.keys()}


def same(content: bytes, listed: Object) -> bool:
    """Return whether a listing shows that an object has this content."""
    return listed.size == len(content) and listed.etag == hashlib.md5(content, usedforsecurity=False).hexdigest()


def _need_templates(handles: Handles, here: Mapping[str, bytes]) -> None:
    """Check that the WorkflowTemplates of the cluster take files along, and know mappers and parts.

    :raises SetupError: E-DOWN, they are older.
    """
    needed = {
        "tap-files": any(key.startswith("files/") for key in here),
        "mapper": any(item.mapper for item in handles.pipelines),
        "plan": any(key.startswith("plans/") for key in here),
    }
    if not any(needed.values()):
        return
    hidden: Document | None = None
    live = visible(lambda: handles.kube.get("WorkflowTemplate", "streaming", handles.namespace), hidden)
    known = {item["name"] for item in live["spec"].get("arguments", {}).get("parameters", [])} if live else needed.keys()
    for name, what in (("tap-files", "take no files of a connector along"), ("mapper", "know no mappers"), ("plan", "know no parts")):
        if needed[name] and name not in known:
            problem = f"The WorkflowTemplates in the cluster are older than this checkout, and {what}."
            raise SetupError("E-DOWN", problem, hint=command("up"))


def silent(url: str) -> str | None:
    """Return why an address does not answer 200, or None."""
    try:
        # A new connection each time: on an old one MinIO repeats its first answer.
        status = urllib3.request("GET", url, timeout=2, retries=False, headers={"Connection": "close"}).status
    except urllib3.exceptions.HTTPError as error:
        return f"{url} does not answer yet: {in_few_words(error)}"
    return None if status == HTTPStatus.OK else f"{url} answers {status}"


def policy(settings: Settings) -> dict[str, Any]:
    """Return the policy of the pipelines' user, for the buckets of the settings."""
    template: dict[str, Any] = json.loads((settings.tool / "manifests" / "minio" / "pipeline-policy.json").read_text(encoding="utf-8"))
    # Statements without a resource are about MinIO's own API.
    ours = [item for item in template["Statement"] if "Resource" in item or settings.store == "install"]
    return {**template, "Statement": [made for statement in ours for made in _granted(statement, settings)]}


def _granted(statement: dict[str, Any], settings: Settings) -> list[dict[str, Any]]:
    """Return a statement for the chosen buckets.

    In a bucket of which we have a folder, it only lists that folder.
    """
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
