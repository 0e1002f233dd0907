"""Connectors that tests make with ``new``: a tap's project, and what the command leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from checkout import Checkout, Result

TAP = """
import json, sys

def main():
    if "--help" in sys.argv:
        print("usage: tap-shop --config CONFIG [--state STATE] [--catalog CATALOG] [--discover]")
        return
    if "--about" in sys.argv:
        sys.exit("error: unrecognized arguments: --about")
    config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
    missing = [key for key in ("api_key", "start_date") if key not in config]
    if missing:
        raise SystemExit(f"Config is missing required keys: {missing}")
    schema = {"type": "object", "properties": {"id": {"type": "integer"}, "note": {"type": "string"}}}
    if "--discover" in sys.argv:
        entry = {"tap_stream_id": "orders", "stream": "orders", "key_properties": ["id"], "schema": schema, "metadata": []}
        print(json.dumps({"streams": [entry]}))
        return
    print(json.dumps({"type": "SCHEMA", "stream": "orders", "schema": schema, "key_properties": ["id"]}))
    print(json.dumps({"type": "RECORD", "stream": "orders", "record": {"id": 1, "note": config["api_key"][::-1]}}))
    print(json.dumps({"type": "STATE", "value": {"n": 1}}))
"""


def project(checkout: Checkout, source: str = TAP, scripts: str = 'tap-shop = "odd:main"', readme: str = "") -> str:
    """Make a connector's project in the repository and return what ``--pip-url`` takes."""
    folder = checkout.root / "connectors" / "odd"
    (folder / "odd").mkdir(parents=True)
    (folder / "odd" / "__init__.py").write_text(source)
    (folder / "README.md").write_text(readme or "A shop.")
    (folder / "pyproject.toml").write_text(
        '[project]\nname = "odd"\nversion = "1"\ndescription = "Orders of a shop"\nreadme = "README.md"\n'
        f'[project.scripts]\n{scripts}\n[build-system]\nrequires = ["uv_build>=0.13,<0.14"]\nbuild-backend = "uv_build"\n'
        '[tool.uv.build-backend]\nmodule-root = ""\n'
    )
    return "connectors/odd"


def files(checkout: Checkout) -> dict[str, bytes]:
    """Return all that a user sees in the checkout, and what a command may have left half-made."""
    seen = {str(file.relative_to(checkout.root)): file.read_bytes() for file in checkout.root.rglob("*") if file.is_file()}
    assert not any(name.startswith((".local/making/", ".local/probes/")) for name in seen)
    unseen = (".local/", "cluster/", "tests/")
    return {name: content for name, content in seen.items() if not name.startswith(unseen) and "/__pycache__/" not in name}


def environments(checkout: Checkout, name: str) -> list[str]:
    """Return the environments of a connector."""
    return [file.name for file in (checkout.local / "environments").glob(f"{name}-*") if file.is_dir()]


def made(checkout: Checkout, name: str, file: str) -> Any:
    """Return the content of a file of a connector."""
    text = (checkout.root / "singer-configs" / name / file).read_text(encoding="utf-8")
    return yaml.safe_load(text)


def succeeded(result: Result) -> Result:
    """Check that the command succeeded, and return its result."""
    assert (result.code, result.err) == (0, ""), result
    return result
