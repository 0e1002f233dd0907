"""The JSON Schemas in ``docs/schemas/``, with which an editor completes and checks the files of a user.

The keys and their forms are those that the reader asks for; descriptions are those of the tables in
the documents. ``PYTHONPATH=. .venv/bin/python tests/support/editor_schemas.py`` writes the files.
"""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from checkout import ROOT
from contract_tables import names, table

from cluster.config.settings import BUCKET, BUCKETS, CHOICES, DEFAULTS, FORMS, LABEL, PORT_KEYS, PORTS
from cluster.project.model import NAME
from cluster.project.reader import Project

if TYPE_CHECKING:
    from cluster.config.strict import Fields

FOLDER = ROOT / "docs" / "schemas"
PATTERNS = {
    **{key: pattern for key, (pattern, _) in FORMS.items()},
    **dict.fromkeys(BUCKETS, BUCKET),
    **dict.fromkeys(("cluster", "namespace", "instance"), f"|{LABEL}"),
}
DRAFT = "http://json-schema.org/draft-07/schema#"
EVERYTHING = {
    "tap-x/connector.yaml": "kind: tap\npip_url: tap-x\nsafe_states: true\n",
    "target-x/connector.yaml": "kind: target\npip_url: target-x\n",
    "mapper-x/connector.yaml": "kind: mapper\npip_url: mapper-x\n",
    "transform-x/connector.yaml": "kind: transform\npip_url: dbt\n",
    "transform-x/dbt_project.yml": "name: x\n",
    "mapper-x/config.json": "{}",
    "pipelines.yaml": """
p:
  {tap: tap-x, target: target-x, mapper: mapper-x, mapper_config: mapper-x/config.json, transform: transform-x, events: {bucket: abc}}
""",
}
"""A project whose reading asks for every key."""


class Recorded(Project):
    """A project that remembers what was asked of each file."""

    def __init__(self, root: Path) -> None:
        """Take the folder."""
        super().__init__(root)
        self.asked: dict[str, Fields] = {}

    def _fields(self, content: object, shown: str, at: str = "") -> Fields:
        self.asked[shown] = super()._fields(content, shown, at)
        return self.asked[shown]


def described(schema: dict[str, Any], rows: list[list[str]], column: int) -> dict[str, Any]:
    """Return a schema with the words that a column of a table has for its keys, then what is allowed."""
    for row in rows:
        for key in names(row[0]):
            if row[column] and key in schema["properties"]:
                one = schema["properties"][key]
                meaning = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", row[column])
                one["description"] = "\n\n".join(filter(None, [meaning, one.get("description", "")]))
    return schema


def of_settings() -> dict[str, Any]:
    """Return the schema of the settings: each is a text, a word, a switch, or a port."""
    properties: dict[str, Any] = {}
    for key, default in DEFAULTS.items():
        form: dict[str, Any] = {"type": "string"}
        if key in PORT_KEYS:
            form = {"anyOf": [{"type": "integer", "minimum": PORTS[0], "maximum": PORTS[-1]}, {"type": "string", "pattern": r"^\d+$"}]}
        elif key in CHOICES:
            switches = [word == "true" for word in CHOICES[key] if word in {"true", "false"}]
            form = {"enum": [*CHOICES[key], *switches, *([True, False] if "yes" in CHOICES[key] else [])]}
        elif key in PATTERNS:
            form = {"type": "string", "pattern": f"^({PATTERNS[key]})$"}
        properties[key] = {"default": default, **form} if default else form
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return described(schema, table("## All settings", (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")), column=1)


METADATA = {
    "selected": "whether the stream or the field is loaded",
    "selected-by-default": "whether it is loaded if selected is absent",
    "inclusion": "available, automatic (always loaded) or unsupported (never loaded)",
    "replication-method": "FULL_TABLE, INCREMENTAL or LOG_BASED",
    "replication-key": "the field by which an incremental stream is read, such as updated_at",
    "view-key-properties": "the key of a view, which has none itself",
    "table-key-properties": "the key, as the tap has found it",
    "forced-replication-method": "the only method of the tap for this stream",
    "valid-replication-keys": "the fields that it can be replicated by, if the tap lists them",
}
"""The keys of a stream's or a field's metadata that Singer knows. A tap may have others."""


def of_catalog() -> dict[str, Any]:
    """Return the schema of a catalog: what ``reader.check_catalog`` takes, with words for the other keys."""
    described = {key: {"description": meaning} for key, meaning in METADATA.items()}
    metadata = {
        "description": "facts and choices about the stream (breadcrumb []) and its fields (breadcrumb [properties, NAME])",
        "items": {"properties": {"breadcrumb": {"description": "where it belongs"}, "metadata": {"properties": described}}},
    }
    name = {"stream": {"description": "its name in messages", "type": "string"}}
    stream = {
        "type": "object",
        "required": ["schema"],
        "anyOf": [{"required": ["tap_stream_id"]}, {"required": ["stream"], "properties": name}],
        "properties": {
            "tap_stream_id": {"description": "its name, unique in the catalog", "type": "string"},
            "stream": {"description": "its name in messages"},
            "schema": {"description": "the JSON Schema of its records", "type": "object"},
            "metadata": metadata,
        },
    }
    streams = {"description": "the streams of the tap, and which of them are selected", "type": "array", "items": stream}
    return {"type": "object", "required": ["streams"], "properties": {"streams": streams}}


def schemas() -> dict[str, dict[str, Any]]:
    """Return the content of each file."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, text in EVERYTHING.items():
            file = root / "singer-configs" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        project = Recorded(root)
        project.pipeline("p")
    connector = described(project.asked["singer-configs/tap-x/connector.yaml"].schema, table("## `singer-configs/<name>/`"), column=3)
    pipeline = described(project.asked["singer-configs/pipelines.yaml"].schema, table("## `singer-configs/pipelines.yaml`"), column=3)
    environment = of_settings()
    del environment["properties"]["env"]
    return {
        "catalog.json": {"title": "A catalog", **of_catalog()},
        "connector.json": {"title": "A connector", **connector},
        "pipelines.json": {
            "title": "Pipelines",
            "type": "object",
            "propertyNames": {"pattern": f"^({NAME})$"},
            "additionalProperties": pipeline,
        },
        "settings.json": {"title": "Settings", "type": "object", "properties": {"singer": of_settings(), **dict.fromkeys(DEFAULTS, False)}},
        "environment.json": {"title": "Settings of an environment", **environment},
    }


def main() -> None:
    """Write the files."""
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / name).write_text(text(schema), encoding="utf-8")


def text(schema: dict[str, Any]) -> str:
    """Return the text of a schema's file."""
    return json.dumps({"$schema": DRAFT, **schema}, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
