"""A mapper in a real cluster: what reaches the store, in both modes, and a mapper that fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from argo_checkout import argo_checkout, finished
from scenarios import AFTER

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from argo_checkout import Argo

pytestmark = [pytest.mark.cluster, pytest.mark.slow]
SALT = "mapper-salt-1234"
HASH = 32
"""Characters of an MD5 in hexadecimal."""
PERSON = {"id": 1, "name": "Ada", "email": "ada@example.org"}
FIELDS = {"id": {"type": "integer"}, "name": {"type": "string"}, "email": {"type": "string"}}
STEPS: list[Any] = [
    ["say", {"type": "SCHEMA", "stream": "people", "key_properties": ["id"], "schema": {"type": "object", "properties": FIELDS}}],
    ["say", {"type": "RECORD", "stream": "people", "record": PERSON}],
    ["say", {"type": "RECORD", "stream": "orders", "record": {"id": 7}}],
    ["state", AFTER],
]
STEPS.insert(2, ["say", {"type": "SCHEMA", "stream": "orders", "key_properties": ["id"], "schema": {"properties": {"id": FIELDS["id"]}}}])
MAPS = {
    "stream_maps": {"people": {"name": None, "email": "md5(config['salt'] + email)", "__alias__": "persons"}, "orders": None},
    "stream_map_config": {"salt": "${SALT}"},
}


@pytest.fixture(scope="module")
def argo(tmp_path_factory: pytest.TempPathFactory, shared: Path) -> Iterator[Argo]:
    """Yield a checkout whose platform is up, with two mappers."""
    with argo_checkout(tmp_path_factory.mktemp("argo"), shared) as checkout:
        checkout.connector("mapper-scripted", "mapper", [])
        meltanos = {"kind": "mapper", "pip_url": "meltano-map-transform", "executable": "meltano-map-transform"}
        checkout.write("map-people/connector.yaml", meltanos)
        checkout.write("map-people/config.json", MAPS)
        yield checkout


def mapped(argo: Argo, name: str, mode: str, mapper: str = "map-people", **more: Any) -> str:
    """Make a pipeline whose tap sends people and orders."""
    return argo.pipeline(name, {"steps": STEPS}, mode=mode, mapper=mapper, **more)


@pytest.mark.parametrize("mode", ["streaming", "staged"])
def test_nothing_is_stored_before_the_mapper(argo: Argo, mode: str) -> None:
    """A hidden field, a hashed e-mail and a renamed stream reach the store; no bucket and no log has what the tap sent."""
    name = mapped(argo, f"mapped-{mode}", mode)
    done = argo.runs(name, SALT=SALT)[name]
    assert done.record["status"] == "succeeded", done.record["error"]
    [(key, text)] = argo.data(name).items()
    assert key.endswith("/persons.jsonl")
    row = json.loads(text)
    assert set(row) == {"id", "email"}
    assert len(row["email"]) == HASH
    assert (done.record["records"], done.record["tap_records"]) == ({"persons": 1}, {"people": 1, "orders": 1})
    assert (done.record["mapper"]["connector"], done.record["mapper"]["exit_code"]) == ("map-people", 0)
    assert (done.last["records"], argo.get_state(name)) == ({"persons": 1}, AFTER)
    sides = {event["side"] for event in argo.type("logs", done.record["run"], "--json").events}
    assert sides >= {"mapper", "commit"}  # the others log nothing here
    with argo.handles() as handles:
        store = handles.store()
        for bucket in (handles.settings.bucket_artifacts, handles.settings.bucket_outputs):
            for item in store.objects(bucket):
                content = store.get(bucket, item.key) or b""
                assert not any(text.encode() in content for text in (PERSON["email"], PERSON["name"], SALT) if isinstance(text, str)), (
                    item.key
                )


def test_raw_output_is_the_mappers(argo: Argo) -> None:
    """With --raw, what the mapper passed on is kept."""
    name = mapped(argo, "mapped-raw", "streaming", mapper="mapper-scripted", mapper_config="own/maps.json")
    argo.write("own/maps.json", {"hide": ["name", "email"], "rename": {"people": "persons"}})
    run = argo.type("run", name, "--raw", "--engine", "argo", "--json").last["run"]
    record = argo.type("show", run, "--json").last
    with argo.handles() as handles:
        raw = (handles.store().get(handles.settings.bucket_artifacts, record["raw"]) or b"").decode()
    assert [json.loads(line)["type"] for line in raw.splitlines()] == ["SCHEMA", "RECORD", "SCHEMA", "RECORD", "STATE"]
    assert "Ada" not in raw


@pytest.mark.parametrize("mode", ["streaming", "staged"])
def test_a_mapper_that_fails(argo: Argo, mode: str) -> None:
    """The error is the mapper's, with the last line of its log; nothing is stored, and the corrected pipeline loads all of it."""
    name = mapped(argo, f"failing-{mode}", mode, mapper="mapper-scripted", mapper_config=f"own/failing-{mode}.json")
    argo.write(f"own/failing-{mode}.json", {"exit_at": [2, 3], "stderr": "KeyError: 'email'"})
    done = argo.one(name)
    assert (done.record["status"], done.record["error"]["code"]) == ("failed", "E-MAPPER-FAILED"), done.record
    assert "mapper-scripted ended with exit code 3: \"KeyError: 'email'\"" in done.record["error"]["problem"]
    assert (argo.data(name), argo.get_state(name)) == ({}, None)
    argo.write(f"own/failing-{mode}.json", {"hide": ["name"]})
    done = argo.one(name)
    assert (done.record["status"], done.record["records"], argo.get_state(name)) == ("succeeded", {"people": 1, "orders": 1}, AFTER)


def test_a_tap_or_a_target_that_fails_beside_a_mapper(argo: Argo) -> None:
    """The error is that of the side that failed; a loaded part of a staged pipeline is loaded again without the tap."""
    tap = argo.pipeline("bad-tap", {"steps": [*STEPS[:2], ["exit", 4]]}, mapper="mapper-scripted")
    target = argo.pipeline("bad-target", {"steps": STEPS}, {"exit_at": [2, 5]}, mode="staged", mapper="mapper-scripted")
    done = argo.runs(tap, target)
    assert done[tap].record["error"]["code"] == "E-TAP-FAILED", done[tap].record
    assert done[target].record["error"]["code"] == "E-TARGET-FAILED", done[target].record
    argo.write("own/bad-target-target.json", {})
    again = argo.type("retry", done[target].record["run"], "--json")
    assert (again.last["status"], again.last["records"]) == ("succeeded", {"people": 1, "orders": 1}), again.err
    assert argo.type("show", again.last["run"], "--json").last["tap_records"] == {"people": 1, "orders": 1}


def test_the_pod_of_a_mapper(argo: Argo) -> None:
    """No container sees the config or the Secret of another one."""
    name = argo.pipeline("mapped-slowly", {"steps": [*STEPS, ["sleep", 15]]}, mapper="mapper-scripted")
    process = argo.background(name, lambda: argo.works(name))
    [pod] = argo.pods(name)
    for side in ("tap", "mapper", "target"):
        [container] = [item for item in pod["spec"]["containers"] if item["name"] == side]
        mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
        assert {path for path in mounts if path.startswith("/singer/in/")} == {f"/singer/in/{side}"}
        assert mounts["/singer/secrets"] == f"{side}-secrets"
    assert finished(process)["status"] == "succeeded"
