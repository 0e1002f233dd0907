"""What a target's config tells of where it writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping

PATHS = ("destination_path", "output_path", "output_dir", "output_file", "file_path", "filepath", "folder", "path")
URLS = ("sqlalchemy_url", "database_url", "connection_string", "dsn", "url")
FACTS = {
    "schema": ("default_target_schema", "target_schema", "schema", "dataset_id", "dataset"),
    "database": ("database", "dbname", "db", "project_id", "project", "warehouse"),
    "host": ("host", "hostname", "server", "account", "endpoint_url"),
    "bucket": ("s3_bucket", "bucket", "bucket_name"),
}


def destination(config: Mapping[str, Any]) -> str:
    """Return where a target writes: a path, or schema, database and host; '' if no key tells.

    Secrets are not in it: values with ``${NAME}`` are left out, of addresses only host and database
    are taken.
    """
    path = _first(config, PATHS)
    if path.strip("./"):
        return path
    facts = {name: value for name, keys in FACTS.items() if (value := _first(config, keys))}
    url = urlsplit(address) if "://" in (address := _first(config, URLS)) else None
    if url is not None:
        facts.setdefault("database", url.path.strip("/"))
        facts.setdefault("host", url.netloc.rpartition("@")[2])
    elif facts.get("host") and config.get("port"):
        facts["host"] += f":{config['port']}"
    return ", ".join(f"{name} {value}" for name, value in facts.items() if value)


def _first(config: Mapping[str, Any], keys: tuple[str, ...]) -> str:
    """Return the first text of *keys* that is no secret."""
    values = (config.get(key) for key in keys)
    return next((value for value in values if isinstance(value, str) and value and "${" not in value), "")
