"""Everything of an environment as plain files, for whoever brings it into the cluster by git: ``export``.

What is written is what ``up`` and ``sync`` would apply, word for word, so that they and a controller such as Argo CD never
want two things. Nobody is asked for anything: the same checkout writes the same files on every machine.
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
from cluster.kube import documents as manifests
from cluster.platform.credentials import PULL_KEY, PULL_TYPE
from cluster.platform.handles import KEYS, ROOT_SECRET, Handles
from cluster.platform.ownership import WHOLE_CLUSTER, unowned
from cluster.platform.steps import schedules
from cluster.platform.steps.images import wanted
from cluster.platform.steps.storage import Configs, policy
from cluster.project.secrets import secret_names
from cluster.project.venvs import Environments

if TYPE_CHECKING:
    from pathlib import Path

    from cluster.config.settings import Settings

HEAD = "# Written by `invoke export`. What stands here is replaced by the next one; changes belong into the checkout.\n"
FOLDERS = ("objects", "administrator", "configs", "examples")
"""The folders that are ours as a whole: what is in them and is wanted no more goes."""
PLACEHOLDER = "REPLACE-ME"
PUBLIC = f"secret-{CA}.yaml"
"""A Secret by its kind alone."""


class _Dumper(yaml.SafeDumper):
    """YAML as people write it: a text of several lines stands as such, so that a change in it is a line."""


def _text(dumper: _Dumper, value: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style="|" if "\n" in value else None)


_Dumper.add_representer(str, _text)
_Dumper.ignore_aliases = lambda *_: True  # type: ignore[method-assign]


def dumped(*documents: manifests.Document) -> str:
    """Return documents as YAML."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, width=140, allow_unicode=True)


def files(settings: Settings) -> dict[str, bytes]:
    """Return all that is written, by path. Of the machine nothing counts, neither its variables nor what it may reach.

    :raises SetupError: E-SETTING, something is left to be found out in the cluster, or on this machine.
    """
    _decided(settings)
    with Handles(settings, {}) as handles:
        for connector in handles.connectors:
            Environments(settings).ensure_lock(connector)
        documents = [
            item for item in [*handles.documents, *schedules.documents(handles)] if item["kind"] != "Secret" or _name(item) == PUBLIC
        ]
        whole = [item for item in documents if item["kind"] in WHOLE_CLUSTER]
        objects = {f"objects/{_name(item)}": dumped(item) for item in documents if item not in whole}
        roles = manifests.load([settings.root / "manifests" / "administrator" / "roles.yaml"])
        found = {
            "kustomization.yaml": HEAD + dumped(_kustomization(objects)),
            "README.md": _readme(handles),
            **objects,
            **{f"administrator/{_name(item)}": dumped(unowned(item)) for item in whole},
            "administrator/roles.yaml": dumped(*(handles.placed(role) for role in roles)),
            "examples/secrets.yaml": dumped(*_secrets(handles)),
            "examples/argocd-application.yaml": dumped(_application(settings)),
        }
        if settings.store == "use":
            found["administrator/s3-policy.json"] = json.dumps(policy(settings), indent=2) + "\n"
        configs = {f"configs/{key}": data for key, data in Configs.here(handles).items()}
    return {path: text.encode() for path, text in found.items()} | configs


def _decided(settings: Settings) -> None:
    """See that the settings leave nothing open.

    :raises SetupError: E-SETTING, they do.
    """
    if settings.env == LAPTOP:
        raise SetupError("E-SETTING", "The laptop is not exported: up makes its cluster.", hint="Name an environment: export --env NAME")
    if not settings.instance:
        why, line = "each checkout is an installation of its own", f"instance: {settings.env}"
    elif settings.argo == "install" and settings.initless_pods == "auto":
        why, line = "whether pods are init-less is asked of the cluster", "initless_pods: false"
    else:
        return
    raise SetupError(
        "E-SETTING",
        f"What is exported cannot be told from the checkout alone: {why}.",
        hint=f"Write into environments/{settings.env}.yaml: {line}",
    )


def write(found: dict[str, bytes], folder: Path) -> tuple[list[str], list[str]]:
    """Write the files that are not as they are in *folder*, remove what is wanted no more, and return the paths of both.

    :raises SetupError: E-SETTING, there is something else in the folder.
    """
    head = folder / "kustomization.yaml"
    ours = head.is_file() and head.read_text(encoding="utf-8").startswith(HEAD)
    if folder.exists() and not ours and (not folder.is_dir() or any(folder.iterdir())):
        raise SetupError("E-SETTING", f"{folder} is there, and no export has written it.", hint="Name another folder: --out FOLDER")
    there = {file.relative_to(folder).as_posix() for name in FOLDERS for file in (folder / name).rglob("*") if file.is_file()}
    changed = [path for path in found if not (folder / path).is_file() or (folder / path).read_bytes() != found[path]]
    gone = sorted(there - found.keys())
    for path in sorted(changed, key=lambda path: path != head.name):  # first what says that the folder is ours
        with write_whole(folder / path, found[path].decode()):
            pass
    for path in gone:
        (folder / path).unlink()
    return sorted(changed), gone


def _name(document: manifests.Document) -> str:
    return f"{document['kind'].lower()}-{document['metadata']['name']}.yaml"


def _kustomization(objects: dict[str, str]) -> dict[str, Any]:
    return {"apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": sorted(objects)}


def _secrets(handles: Handles) -> list[manifests.Document]:
    """Return the Secrets that are not exported, with the keys that they must have and nothing in them."""
    settings = handles.settings
    keys: dict[str, list[str]] = {}
    if settings.store == "install":
        keys[ROOT_SECRET] = list(KEYS)
    if settings.s3_credentials != "identity":
        keys[settings.s3_secret] = list(KEYS)
    for pipeline in handles.pipelines:
        for side, file in ((pipeline.tap, pipeline.config), (pipeline.target, pipeline.target_config)):
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


def _application(settings: Settings) -> manifests.Document:
    """Return an Application of Argo CD's. Suspending a schedule by hand stays possible: that field is nobody's."""
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
    """Return what people read first: what is here, and what must be there before it."""
    settings = handles.settings
    images = "\n".join(f"- `{image}`" for image in wanted(handles))
    where = f" --endpoint-url {settings.s3_endpoint} --region {settings.s3_region}" if settings.store == "use" else ""
    return f"""# Singer in the environment {settings.env}

Written by `invoke export --env {settings.env}`; the next one replaces it. `kubectl apply --server-side -k .` applies `objects/`,
and so does Argo CD with `examples/argocd-application.yaml`. What must be there before:

1. Once, by an administrator: `administrator/`, with the namespace, Argo's definitions where they are missing, roles, rights in S3.
2. The Secrets of `examples/secrets.yaml`, filled in by whatever keeps your secrets. None is in this folder.
3. The images, whose names are hashes of their content. `invoke sync --env {settings.env}` builds and pushes what is missing:

{images}

4. The configs, in the bucket. `invoke sync --env {settings.env}` brings them, and so does, for whoever has no checkout:

```
aws s3 sync configs/ s3://{settings.bucket_configs}/{where}
```

Without `--delete`: the states of the pipelines are in the same place.
"""
