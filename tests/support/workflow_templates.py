"""The WorkflowTemplates of pipelines, and what their containers see."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
from manifest_files import WORKFLOWS, Document, name_of

if TYPE_CHECKING:
    from collections.abc import Iterator

TEMPLATES = {name: document for name, document in WORKFLOWS.items() if document["kind"] == "WorkflowTemplate"}
USES = {name: document for name, document in WORKFLOWS.items() if document["kind"] != "WorkflowTemplate"}
RESOURCES = '{"requests": {"memory": "1Gi"}, "limits": {"memory": "1Gi"}}'


def leaves() -> Iterator[tuple[str, Document, Document]]:
    """Return every template that starts a pod, with a readable name and its WorkflowTemplate."""
    for document in TEMPLATES.values():
        for template in document["spec"]["templates"]:
            if "container" in template or "containerSet" in template:
                yield f"{name_of(document)}:{template['name']}", document, template


LEAVES = {name: (document, template) for name, document, template in leaves()}
each_leaf = pytest.mark.parametrize(("document", "template"), LEAVES.values(), ids=LEAVES.keys())
each_template = pytest.mark.parametrize("template", [template for _, template in LEAVES.values()], ids=LEAVES.keys())


def containers(template: Document) -> dict[str, Document]:
    """Return the containers of a template by name; that of one alone Argo calls main."""
    if "container" in template:
        return {"main": template["container"]}
    return {container["name"]: container for container in template["containerSet"]["containers"]}


def mounts(template: Document, container: str) -> dict[str, str]:
    """Return what a container really sees: mount path to volume, after the template's patch."""
    own = containers(template)[container].get("volumeMounts", [])
    shared = template.get("containerSet", {}).get("volumeMounts", [])
    patch = json.loads(template.get("podSpecPatch", "{}").replace("{{workflow.parameters.resources}}", RESOURCES) or "{}")
    changes = [mount for item in patch.get("containers", []) if item["name"] == container for mount in item.get("volumeMounts", [])]
    gone = {mount["mountPath"] for mount in changes if mount.get("$patch") == "delete"}
    return {mount["mountPath"]: mount["name"] for mount in [*shared, *own] if mount["mountPath"] not in gone}


def environment(container: Document) -> dict[str, Any]:
    """Return a container's variables, those from Secrets as their references."""
    return {item["name"]: item.get("value", item.get("valueFrom")) for item in container.get("env", [])}


def side(template: Document, container: str) -> str:
    """Return whose container it is: the tap's, the target's, or ours."""
    image = str(containers(template)[container]["image"])
    return image.removeprefix("{{workflow.parameters.").removesuffix("-image}}")


def parameters(text: str) -> set[str]:
    """Return the workflow's parameters that a text uses."""
    return set(re.findall(r"\{\{workflow\.parameters\.([a-z-]+)\}\}", text))
