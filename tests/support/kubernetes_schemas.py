"""Objects against the schemas of their kinds that ``kubernetes_validate`` carries. Its own function reads 2 MB for each object."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

(FOLDER,) = (Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema").glob("v1.37.*-local-strict")
"""As strict as the API server: no unknown fields. The version is that of the node image."""


def validate(document: dict[str, Any]) -> None:
    """Raise jsonschema.ValidationError for an object with a wrong or an unknown field."""
    group, _, version = document["apiVersion"].rpartition("/")
    name = f"{group.partition('.')[0]}-{version}" if group else version
    _validator(f"{document['kind'].lower()}-{name}.json").validate(document)


@cache
def _validator(name: str) -> Draft202012Validator:
    schema = json.loads((FOLDER / name).read_bytes())
    return Draft202012Validator(schema, registry=Resource.from_contents(schema) @ _definitions())


@cache
def _definitions() -> Registry:
    return Resource.from_contents(json.loads((FOLDER / "_definitions.json").read_bytes())) @ Registry()
