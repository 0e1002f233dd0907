"""Files that connectors take along, in the commands of a user."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from made_connectors import made, project, succeeded

from cluster.config.settings import parse
from cluster.platform.handles import Handles
from cluster.project.files import files_key
from cluster.project.model import File

if TYPE_CHECKING:
    from checkout import Checkout
    from fake_apiserver import Company

READS = {"steps": [["schema", "s"], ["file", "people.jsonl"], ["file", "data/more.bin"], ["state", {"n": 1}]]}
TAP = """
import json, sys

def main():
    if "--help" in sys.argv:
        print("usage: tap-shop --config CONFIG [--state STATE] [--catalog CATALOG] [--discover]")
        return
    if "--about" in sys.argv:
        sys.exit("error: unrecognized arguments: --about")
    config = json.load(open(sys.argv[sys.argv.index("--config") + 1]))
    if "path" not in config:
        raise SystemExit("Config is missing required keys: ['path']")
    schema = {"type": "object", "properties": {"line": {"type": "string"}}}
    if "--discover" in sys.argv:
        print(json.dumps({"streams": [{"tap_stream_id": "s", "stream": "s", "key_properties": [], "schema": schema, "metadata": []}]}))
        return
    print(json.dumps({"type": "SCHEMA", "stream": "s", "schema": schema, "key_properties": []}))
    for line in open(config["path"]):
        print(json.dumps({"type": "RECORD", "stream": "s", "record": {"line": line}}))
"""


def scripted(checkout: Checkout, **pipeline: Any) -> dict[str, bytes]:
    """Make the pipeline ``p``, whose tap reads two files and whose target takes one along; return the tap's."""
    files = {"people.jsonl": b"ada", "data/more.bin": b"\xc3\xa4"}
    (checkout.root / "data").mkdir(exist_ok=True)
    for name, content in files.items():
        (checkout.root / name).write_bytes(content)
    checkout.scripted(READS, **pipeline)
    for side, names in (("tap", ["people.jsonl", "data"]), ("target", "data")):
        file = checkout.root / f"singer-configs/{side}-scripted/connector.yaml"
        file.write_text(json.dumps({**yaml.safe_load(file.read_text()), "files": names}))
    return files


def key(files: dict[str, bytes]) -> str:
    """Return the key of files with these contents."""
    return files_key({name: File(content, 0) for name, content in files.items()})


def test_a_run_on_this_machine(checkout: Checkout) -> None:
    """Tap and target have their files at the same relative places; nothing of them is published, and the originals stay."""
    scripted(checkout)
    result = checkout.run()
    assert result.code == 0, result.err
    (text,) = checkout.outputs().values()
    assert [json.loads(line) for line in text.splitlines()] == [{"file": "ada"}, {"file": "ä"}]
    assert (checkout.leftovers(), (checkout.root / "people.jsonl").read_text()) == ([], "ada")
    (checkout.root / "people.jsonl").unlink()
    for words in (("run", "p"), ("check", "p"), ("check", "all")):
        refused = checkout.invoke(*words)
        assert (refused.code, "people.jsonl is not there" in refused.err) == (1, True), refused.err


def test_taps_that_compare_files_with_their_state(checkout: Checkout) -> None:
    """Path and time of a file are the same in each run, and the time is that of the original; no copy stays."""
    scripted(checkout)
    os.utime(checkout.root / "people.jsonl", (1_700_000_000, 1_700_000_000))
    checkout.write("tap-scripted/config.json", {"steps": [["schema", "s"], ["facts", "people.jsonl"]]})
    assert [checkout.run().code, checkout.run().code] == [0, 0]
    first, second = map(json.loads, checkout.outputs().values())
    assert first == second
    assert first["modified"] == 1_700_000_000
    assert not Path(first["is"]).exists()


def test_a_tap_that_reads_a_file(checkout: Checkout) -> None:
    """`new` takes a file of the checkout along, and warns about any other path that only this machine has it; so does `add`."""
    (checkout.root / "people.jsonl").write_text("ada\n")
    words = ("new", "tap-shop", "--pip-url", project(checkout, TAP))
    result = succeeded(checkout.invoke(*words, "--set", "path=people.jsonl"))
    assert made(checkout, "tap-shop", "connector.yaml")["files"] == ["people.jsonl"]
    assert "only this machine" not in result.out
    assert "ada" in result.out
    succeeded(checkout.invoke("add", "q", "--tap", "tap-shop", "--target", "target-csv"))

    absolute = str(checkout.root / "people.jsonl")
    result = succeeded(checkout.invoke("new", "tap-shop", "--set", f"path={absolute}"))
    wanted = rf'config.json: path is {re.escape(absolute)}, which only this machine has.*→ Write "path": "people.jsonl" into'
    assert re.search(wanted, result.out), result.out
    result = checkout.invoke("add", "r", "--tap", "tap-shop", "--target", "target-csv", "--json")
    assert [event["source"] for event in result.events if event["event"] == "warning"] == ["tap-shop"], result.out


def test_they_are_exported(checkout: Checkout) -> None:
    """An export has the files, under the key that its schedule names."""
    files = scripted(checkout, schedule="0 6 * * *")
    (checkout.root / "data/more.bin").write_bytes(b"\xff\0")
    files["data/more.bin"] = b"\xff\0"
    (checkout.root / "environments").mkdir()
    (checkout.root / "environments/company.yaml").write_text("{context: far, namespace: rates, instance: rates-team, argo: use}\n")
    result = checkout.invoke("export", "--env", "company")
    assert result.code == 0, result.err
    folder = checkout.root / "export/company"
    schedule = (folder / "objects/cronworkflow-p.yaml").read_text()
    assert key(files) in schedule
    assert {name: (folder / "configs" / key(files) / name).read_bytes() for name in files} == files


def test_they_go_to_the_cluster(company: Company) -> None:
    """`sync` uploads changed files once; what was there stays for runs that name it. Paths that are not taken along are named."""
    checkout = company.checkout
    files = scripted(checkout, schedule="0 6 * * *")
    result = company.there("up")
    assert result.code == 0, result.err
    (schedule,) = [item["value"] for item in parameters(company) if item["name"] == "tap-files"]
    assert schedule == key(files)
    os.utime(checkout.root / "people.jsonl", (1, 1))
    assert "nothing changed" in company.there("up").out

    (checkout.root / "people.jsonl").write_text("grace")
    checkout.write("tap-scripted/config.json", {**READS, "path": str(checkout.root / "people.jsonl")})
    result = company.there("sync")
    assert (result.code, "which only this machine has" in result.out) == (0, True), result.err
    (schedule,) = [item["value"] for item in parameters(company) if item["name"] == "tap-files"]
    assert schedule == key({**files, "people.jsonl": b"grace"})
    with Handles(parse({}, {}, env="company", root=company.root), checkout.environ) as handles:
        store, bucket = handles.store(), handles.settings.bucket_configs
        contents = [[store.get(bucket, f"{prefix}/{name}") for name in sorted(files)] for prefix in (key(files), schedule)]
        versions = [len(store.versions(bucket, item.key)) for item in store.objects(bucket, "files/")]
    assert contents == [["ä".encode(), b"ada"], ["ä".encode(), b"grace"]]
    assert set(versions) == {1}


def test_a_platform_that_is_older(company: Company) -> None:
    """A run whose files would be left out never begins, and the paths that only this machine has are named before that."""
    scripted(company.checkout)
    assert company.there("up").code == 0
    spec = company.api.get("WorkflowTemplate", "streaming")["spec"]
    spec["arguments"]["parameters"] = [item for item in spec["arguments"]["parameters"] if item["name"] != "tap-files"]
    (company.root / "people.jsonl").write_text("grace")
    company.checkout.write("tap-scripted/config.json", {**READS, "path": str(company.root / "people.jsonl")})
    result = company.there("run", "p")
    assert (result.code, "E-DOWN" in result.err, "invoke up" in result.err) == (1, True, True), result.err
    assert "which only this machine has" in result.out
    assert "Workflow" not in {kind for kind, _ in company.api.objects}


def parameters(company: Company) -> list[dict[str, str]]:
    """Return the parameters of the schedule in the cluster."""
    return list(company.api.get("CronWorkflow", "p")["spec"]["workflowSpec"]["arguments"]["parameters"])
