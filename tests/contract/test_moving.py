"""A state carried from the laptop to an environment, and platforms of other layouts: a stand-in for the cluster, and a real MinIO."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from terminal_user import Typist

from cluster.config.settings import Settings, parse
from cluster.platform.handles import Handles
from cluster.runs import format_version

if TYPE_CHECKING:
    from fake_apiserver import Company

OURS = {"n": 3}
OTHER = {"n": 1}
STORE = ("ConfigMap", "singer-store")


@pytest.fixture
def moving(company: Company) -> Company:
    """Return a checkout with a state of the local engine, whose environment is up."""
    assert company.type("run", "p").code == 0
    up = company.there("up", "--json")
    assert up.code == 0, up.err
    return company


def there(company: Company) -> Any:
    """Return the state in the environment."""
    return company.there("state", "p", "--json").last["state"]


def let_there_be(company: Company, state: object) -> None:
    """Give the pipeline a state in the environment."""
    file = company.checkout.write("other.json", state)
    assert company.there("state", "p", "--set", str(file)).code == 0


def settings(company: Company) -> Settings:
    """Return the settings of the environment."""
    return parse({}, {}, env="company", root=company.root)


def owner(company: Company, **more: Any) -> None:
    """Let the bucket say whose it is."""
    with Handles(settings(company), company.checkout.environ) as handles:
        handles.store().put(handles.settings.bucket_configs, "owner.json", json.dumps({"engine": "argo", **more}).encode())


# -- states


def test_a_state_is_copied(moving: Company) -> None:
    """The environment goes on from the laptop's state, which the laptop keeps; both are shown, and what is printed to type is for there."""
    before = {**moving.api.objects}
    result = moving.type("state", "p", "--copy-to", "company")
    assert result.code == 0, result.err
    assert "  local            " in result.out
    assert "  argo in company  none" in result.out
    assert "invoke run p --env company" in result.out
    assert (there(moving), moving.checkout.state()) == (OURS, OURS)
    assert moving.api.objects == before


def test_a_program_reads_what_was_copied(moving: Company) -> None:
    """One event tells from where to where, both states, and whether something changed; the second time nothing does."""
    first = moving.type("state", "p", "--copy-to", "company", "--json").last
    sides = {"source": {"engine": "local", "env": "laptop"}, "destination": {"engine": "argo", "env": "company"}}
    assert {key: first[key] for key in ("event", "pipeline", *sides)} == {"event": "state.copied", "pipeline": "p", **sides}
    assert (first["state"], first["before"], first["changed"]) == (OURS, None, True)
    again = moving.type("state", "p", "--copy-to", "company", "--json").last
    assert (again["before"], again["changed"]) == (OURS, False)
    assert len(moving.there("state", "p", "--history", "--json").events) == 1


def test_another_state_there(moving: Company) -> None:
    """Another state is replaced only with a yes, and can be gone back to."""
    let_there_be(moving, OTHER)
    refused = moving.type("state", "p", "--copy-to", "company")
    assert (refused.code, "E-SETTING" in refused.err, "--yes" in refused.err) == (1, True, True), refused.err
    assert there(moving) == OTHER
    assert moving.type("state", "p", "--copy-to", "company", "--yes").code == 0
    versions = moving.there("state", "p", "--history", "--json").events
    assert [event["state"] for event in versions] == [OURS, OTHER]
    assert moving.there("state", "p", "--rollback", versions[1]["version"]).code == 0
    assert there(moving) == OTHER


@pytest.mark.parametrize(("answer", "state", "answered"), [("y", OURS, "copied to"), ("", OTHER, "Nothing was copied.")])
def test_the_question_on_a_terminal(moving: Company, answer: str, state: object, answered: str) -> None:
    """On a terminal both states are shown before the question; only a yes replaces."""
    let_there_be(moving, OTHER)
    typist = Typist(moving.checkout, "state", "p", "--copy-to", "company")
    shown = typist.sees("Replace it? [y/N] ")
    assert "n 3" in shown
    assert "n 1" in shown
    typist.types(answer)
    typist.sees(answered)
    assert (typist.ends(), there(moving)) == (0, state)


def test_from_one_environment_to_another(moving: Company) -> None:
    """The source is the platform that --env names; nothing of the laptop's is read or written."""
    let_there_be(moving, OTHER)
    text = moving.file.read_text()
    (moving.root / "environments" / "other.yaml").write_text(text.replace("lake-", "other-"))
    assert moving.type("up", "--env", "other").code == 0
    copied = moving.there("state", "p", "--copy-to", "other", "--json").last
    assert (copied["source"]["env"], copied["destination"]["env"], copied["state"]) == ("company", "other", OTHER)
    assert moving.type("state", "p", "--env", "other", "--json").last["state"] == OTHER
    assert moving.checkout.state() == OURS


def test_a_running_pipeline(moving: Company) -> None:
    """While a run of the pipeline is under way there nothing is copied, and the hint is about that run; another pipeline's is no matter."""
    moving.runs("20261124t060000-abcd")
    refused = moving.type("state", "p", "--copy-to", "company", "--yes")
    assert (refused.code, "E-BUSY" in refused.err) == (1, True), refused.err
    assert "invoke cancel 20261124t060000-abcd --env company" in refused.err
    assert there(moving) is None
    moving.api.objects.clear()
    moving.runs("20261124t060000-abce", "q")
    assert moving.type("state", "p", "--copy-to", "company").code == 0


def test_what_cannot_be_copied(moving: Company) -> None:
    """No state, a misspelt environment, the environment itself, or two options together are refused, each with what to do."""
    assert moving.type("state", "p", "--reset").code == 0
    for words, code, problem in (
        (("--copy-to", "company"), "E-STATE", "has no state on local"),
        (("--copy-to", "compayn"), "E-SETTING", 'Did you mean "company"?'),
        (("--copy-to", "company", "--env", "company"), "E-SETTING", "it is there already"),
        (("--copy-to", "company", "--reset"), "E-SETTING", "more than one of"),
        (("--copy-to", "laptop", "--env", "company"), "E-STATE", "has no state on argo in company"),
    ):
        refused = moving.type("state", "p", *words)
        assert (refused.code, code in refused.err, problem in refused.err) == (1, True, True), refused.err
    let_there_be(moving, OTHER)
    down = moving.type("state", "p", "--copy-to", "laptop", "--env", "company")
    assert (down.code, "E-DOWN" in down.err, "invoke up --env laptop" in down.err) == (1, True, True), down.err


def test_a_bucket_of_others(moving: Company) -> None:
    """A bucket that another installation has, or a newer checkout, is left as it is."""
    for owned, code in (({"instance": "another-team"}, "E-FOREIGN"), ({"layout": format_version.LAYOUT + 1}, "E-LAYOUT")):
        owner(moving, **owned)
        refused = moving.type("state", "p", "--copy-to", "company", "--yes")
        assert (refused.code, code in refused.err) == (1, True), refused.err
    owner(moving)
    assert there(moving) is None


# -- layouts


def test_the_layout_is_recorded(moving: Company) -> None:
    """The cluster and the bucket say which layout they have."""
    assert moving.api.get(*STORE)["metadata"]["annotations"][format_version.RECORD] == str(format_version.LAYOUT)
    with Handles(settings(moving), moving.checkout.environ) as handles:
        recorded = json.loads(handles.store().get(handles.settings.bucket_configs, "owner.json") or b"{}")
    assert recorded == {"engine": "argo", "instance": "rates-team", "layout": format_version.LAYOUT}


def test_an_upgrade_is_announced_before_it_is_made(moving: Company) -> None:
    """For a platform without a record the upgrade lists both layouts, and what changes, comes and goes; --plan does nothing else."""
    api = moving.api
    metadata = api.get(*STORE)["metadata"]
    del metadata["annotations"][format_version.RECORD]
    metadata["annotations"]["singer/content"] = "another"
    api.add("Role", "old", metadata={"labels": metadata["labels"], "annotations": {"singer/content": "x"}})
    del api.objects["WorkflowTemplate", "staged"]
    del api.objects["CronWorkflow", "p"]
    before = {**api.objects}
    planned = moving.there("up", "--plan", "--json")
    (event,) = [item for item in planned.events if item["event"] == "upgrade"]
    assert (event["from"], event["to"], event["changed"], event["gone"]) == (
        1,
        format_version.LAYOUT,
        ["configmap/singer-store"],
        ["role/old"],
    )
    assert event["new"] == ["workflowtemplate/staged", "cronworkflow/p"]
    assert api.objects == before

    made = moving.there("up")
    lines = made.out.splitlines()
    (announced,) = [number for number, line in enumerate(lines) if line.startswith("! Upgrade")]
    assert f"layout 1 to {format_version.LAYOUT}" in lines[announced]
    done = next(number for number, line in enumerate(lines) if line.startswith("✓ Objects"))
    assert announced < done
    assert f"layout 1 to {format_version.LAYOUT}" in lines[done]
    assert ("Role", "old") not in api.objects
    assert "Upgrade" not in moving.there("up").out


def test_sync_tells_of_an_older_platform(moving: Company) -> None:
    """Schedules are applied to a platform of an older layout too; the message lists them, and that up applies the rest."""
    del moving.api.get(*STORE)["metadata"]["annotations"][format_version.RECORD]
    moving.checkout.scripted({"steps": []}, schedule="0 7 * * *")
    result = moving.there("sync", "--json")
    (event,) = [item for item in result.events if item["event"] == "upgrade"]
    assert (event["from"], event["changed"], event["gone"]) == (1, ["cronworkflow/p"], [])
    assert "invoke up --env company" in moving.there("sync", "--plan").out


def test_a_newer_layout_is_left_as_it_is(moving: Company) -> None:
    """The objects of a newer checkout are not overwritten by any command: the answer is to update this one."""
    api = moving.api
    api.get(*STORE)["metadata"]["annotations"][format_version.RECORD] = str(format_version.LAYOUT + 1)
    before, asked = {**api.objects}, len(api.asked)
    for words in (("up",), ("up", "--plan"), ("sync",), ("sync", "--plan"), ("run", "p")):
        refused = moving.there(*words)
        assert (refused.code, refused.err.strip().startswith("E-LAYOUT"), "git pull" in refused.err) == (1, True, True), refused.err
    assert api.objects == before
    assert [item for item in api.asked[asked:] if item.verb not in {"get", "list"}] == []


def test_a_store_of_a_newer_checkout(company: Company) -> None:
    """The local engine leaves a newer checkout's buckets as they are; without a record they are the first layout's, and go on."""
    assert company.type("run", "p").code == 0
    (file,) = (company.checkout.local / "buckets").glob("*configs/owner.json")
    file.write_text(json.dumps({"engine": "local", "layout": format_version.LAYOUT + 1}))
    refused = company.type("run", "p")
    assert (refused.code, "E-LAYOUT" in refused.err) == (1, True), refused.err
    for damaged in ('{"engine": "local"}', '{"engine": "local", "layout": "' + "9" * 5000 + '"}', '{"engine": "local", "layout": []}'):
        file.write_text(damaged)
        assert company.type("run", "p").code == 0
