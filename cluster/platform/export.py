"""Writes an environment as plain files, for a deployment by git: the command ``export``.

The files hold exactly what ``up`` and ``sync`` apply, so that a controller such as Argo CD agrees
with them. Neither the cluster nor the machine counts: a checkout writes the same files everywhere.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import yaml

from cluster.argo.templates import CA
from cluster.argo.workflow import NOTIFY
from cluster.config.settings import LAPTOP
from cluster.errors import SetupError
from cluster.host.files import write_whole
from cluster.kube import documents
from cluster.platform.credentials import KEYS, PULL_KEY, PULL_TYPE, ROOT_SECRET
from cluster.platform.handles import Handles
from cluster.platform.ownership import WHOLE_CLUSTER, unowned
from cluster.platform.steps import schedules
from cluster.platform.steps.images import wanted
from cluster.platform.steps.storage import Configs, policy
from cluster.project.files import TIMES
from cluster.project.secrets import secret_names
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.config.settings import Settings

HEAD = "# Written by `invoke export`. The next export replaces it; make changes in the checkout.\n"
HEADS = (HEAD, "# Written by `invoke export`. What stands here is replaced by the next one; changes belong into the checkout.\n")
"""The mark of an exported folder, and that of earlier versions."""
FOLDERS = ("objects", "administrator", "configs", "examples")
"""Folders with only our files: obsolete ones are removed."""
PLACEHOLDER = "REPLACE-ME"
PUBLIC = f"secret-{CA}.yaml"
"""A Secret in name only: certificates are public."""


class _Dumper(yaml.SafeDumper):
    """YAML with texts of several lines as blocks, so that a diff shows the changed line."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def dumped(*items: documents.Document) -> str:
    """Return documents as YAML."""
    return yaml.dump_all(items, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


def files(settings: Settings) -> dict[str, bytes]:
    """Return all files by path. The environment variables of this machine do not count.

    :raises SetupError: E-SETTING, a setting depends on the cluster or on this machine.
    """
    _need_decisions(settings)
    with Handles(settings, {}) as handles:
        for connector in handles.connectors:
            Environments(settings).ensure_lock(connector)
        rendered = [*handles.rendering.documents, *schedules.all_documents(handles)]
        public = [item for item in rendered if item["kind"] != "Secret" or _name(item) == PUBLIC]
        whole = [item for item in public if item["kind"] in WHOLE_CLUSTER]
        objects = {f"objects/{_name(item)}": dumped(item) for item in public if item not in whole}
        roles = documents.load([settings.tool / "manifests" / "administrator" / "roles.yaml"])
        texts = {
            "kustomization.yaml": HEAD + dumped(_kustomization(objects)),
            "README.md": _readme(handles),
            **objects,
            **{f"administrator/{_name(item)}": dumped(unowned(item)) for item in whole},
            "administrator/roles.yaml": dumped(*(handles.rendering.in_namespace(role) for role in roles)),
            "examples/secrets.yaml": dumped(*_secrets(handles)),
            "examples/argocd-application.yaml": dumped(_application(settings)),
        }
        if settings.store == "use":
            texts["administrator/s3-policy.json"] = json.dumps(policy(settings), indent=2) + "\n"
        # Times of modification differ from checkout to checkout.
        configs = {f"configs/{key}": data for key, data in Configs.here(handles).items() if not key.endswith(f"/{TIMES}")}
    return {path: text.encode() for path, text in texts.items()} | configs


def _need_decisions(settings: Settings) -> None:
    """Check that the settings alone determine the files.

    :raises SetupError: E-SETTING, they do not.
    """
    if settings.env == LAPTOP:
        raise SetupError("E-SETTING", "The laptop has no export: up creates its cluster.", hint="Name an environment: export --env NAME")
    if not settings.instance:
        why, line = "each checkout is a separate installation", f"instance: {settings.env}"
    elif settings.argo == "install" and settings.initless_pods == "auto":
        why, line = "the version of Kubernetes decides whether pods have an init container", "initless_pods: false"
    else:
        return
    raise SetupError(
        "E-SETTING",
        f"The checkout alone does not determine the export: {why}.",
        hint=f"Write into environments/{settings.env}.yaml: {line}",
    )


def write(content: dict[str, bytes], folder: Path) -> tuple[list[str], list[str]]:
    """Write changed files into *folder*, remove obsolete ones, and return the paths of both.

    :raises SetupError: E-SETTING, the folder is not from an export.
    """
    head = folder / "kustomization.yaml"
    ours = head.is_file() and head.read_text(encoding="utf-8").startswith(HEADS)
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError("E-SETTING", f"{folder} exists, and no export has written it.", hint="Name another folder: --out FOLDER")
    there = {file.relative_to(folder).as_posix() for name in FOLDERS for file in (folder / name).rglob("*") if file.is_file()}
    changed = [path for path in content if not (folder / path).is_file() or (folder / path).read_bytes() != content[path]]
    gone = sorted(there - content.keys())
    for path in sorted(changed, key=lambda path: path != head.name):  # marks the folder
        with write_whole(folder / path, content[path]):
            pass
    for path in gone:
        (folder / path).unlink()
    return sorted(changed), gone


def _name(document: documents.Document) -> str:
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"


def _kustomization(objects: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(objects)}


def _secrets(handles: Handles) -> list[documents.Document]:
    """Return examples of the Secrets that are not exported: their keys, with placeholders."""
    settings = handles.settings
    keys: dict[str, list[str]] = {}
    if settings.store == "install":
        keys[ROOT_SECRET] = list(KEYS)
    if settings.s3_credentials != "identity":
        keys[settings.s3_secret] = list(KEYS)
    for pipeline in handles.pipelines:
        for side, file in pipeline.configs:
            known = keys.get(f"connector-{side.name}", [])
            keys[f"connector-{side.name}"] = sorted({*known, *secret_names(file)})
    keys[NOTIFY] = ["url"]
    values = {name: ("Opaque", dict.fromkeys(items, PLACEHOLDER)) for name, items in keys.items() if items}
    if settings.pull_secret:
        logins = {"auths": {settings.registry.partition("/")[0] or PLACEHOLDER: {"username": PLACEHOLDER, "password": PLACEHOLDER}}}
        values[settings.pull_secret] = (PULL_TYPE, {PULL_KEY: json.dumps(logins)})
    return [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": handles.namespace, "labels": handles.labels},
            "type": kind,
            "stringData": data,
        }
        for name, (kind, data) in values.items()
    ]


def _application(settings: Settings) -> documents.Document:
    """Return an Application of Argo CD.

    It ignores ``suspend``, so that people can suspend a schedule by hand.
    """
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {"name": f"singer-{settings.env}", "namespace": "argocd"},
        "spec": {
            "project": "default",
            "source": {"repoURL": PLACEHOLDER, "targetRevision": "main", "path": f"export/{settings.env}"},
            "destination": {"server": "https://kubernetes.default.svc", "namespace": settings.namespace},
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["ServerSideApply=true", "RespectIgnoreDifferences=true"],
            },
            "ignoreDifferences": [{"group": "argoproj.io", "kind": "CronWorkflow", "jsonPointers": ["/spec/suspend"]}],
        },
    }


def _readme(handles: Handles) -> str:
    """Return the README: what the folder holds, and what the cluster needs before it."""
    settings = handles.settings
    images = "\n".join(f"- `{image}`" for image in wanted(handles))
    where = f" --endpoint-url {settings.s3_endpoint} --region {settings.s3_region}" if settings.store == "use" else ""
    return f"""# Singer in the environment {settings.env}

Written by `invoke export --env {settings.env}`; the next export replaces it. `kubectl apply --server-side -k .` applies `objects/`.
Argo CD does the same with `examples/argocd-application.yaml`. The cluster needs first:

1. Once, by an administrator: `administrator/`, with the namespace, missing CRDs of Argo, roles and rights in S3.
2. The Secrets of `examples/secrets.yaml`, with values from your secret manager. This folder has none.
3. The images, whose names are hashes of their content. `invoke sync --env {settings.env}` builds and pushes missing ones:

{images}

4. The configs, in the bucket. `invoke sync --env {settings.env}` uploads them. Without a checkout:

```
aws s3 sync configs/ s3://{settings.bucket_configs}/{where}
```

Do not add `--delete`: the bucket also holds the states of the pipelines.
"""
